"""The arguments of a connection: what they may be, and what they mean."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymysql.charset import charset_by_id, charset_by_name

from ..exc import ArgumentError
from ..runtime.printable import brief, type_name
from . import auth
from ._escape_py import ZONES_DROPPED, ZONES_TO_UTC
from .encoders import check_encoders
from .greeting import check_client_flag
from .isolation import check_level
from .options import CONNECT, MAX_PACKET, ConnectOptions, Option, named
from .tls import NAMES as TLS_NAMES
from .tls import over, wanted

if TYPE_CHECKING:
    from .optionfile import Given

DEFAULT_CHARSET = "utf8mb4"

_LEAST_PACKET = 1024  # the smallest value of the server's `max_allowed_packet`

# Where it ends nothing, or is looked for elsewhere; it begins an abstract socket's name, too.
_MAY_HAVE_NUL = frozenset({"password", "init_command", "host"})

_MOST_KEEPALIVE = 32767, 32767, 127  # as Linux has it

AWARE_DATETIMES = {"refuse": 0, "utc": ZONES_TO_UTC, "drop": ZONES_DROPPED}
"""What `aware_datetimes` takes, and the flag of `render` that it means."""

# What people try, as codecs or elsewhere, and what servers call it.
_CHARSETS = {"utf-8": "utf8mb4", "iso8859-1": "latin1", "cp1252": "latin1", "ascii": "ascii"}


def settled(given: Mapping[str, Any]) -> ConnectOptions:
    """Return the options of a connection: those given, else an option file's, else the defaults.

    Raises `ArgumentError` naming the first that is wrong.
    """
    given = named(given, CONNECT)
    check_arguments(given)
    labels: dict[str, str] = {}
    file, group = given.pop("read_default_file", None), given.pop("read_default_group", None)
    if file:
        found = _from_file(file, group)
        labels = {name: line.label for name, line in found.items() if given.get(name) is None}
        given = _merged(given, {name: line.value for name, line in found.items()})
        check_collation(given.get("collation", ""), given.get("charset") or DEFAULT_CHARSET)
    tls = wanted(given, labels)
    rest = {name: value for name, value in given.items() if name not in TLS_NAMES}
    options = ConnectOptions(**rest, ssl=tls)
    encoding = python_encoding(options.charset or DEFAULT_CHARSET)
    for name in ("user", "db"):
        if not is_encodable(getattr(options, name), encoding):
            raise ArgumentError(f"argument {name!r} has no {encoding} encoding")
    return options


def _from_file(path: str, group: str | None) -> dict[str, Given]:
    """Return the options of an option file, each of which is right by itself."""
    # Few have one: 0.4 ms of an import.
    from .optionfile import read_options

    found = read_options(path, group)
    for name, option in found.items():
        try:
            check_arguments({name: option.value})
        except ArgumentError:
            wrong = option.label
        else:
            continue
        # Not from within: that error may show the value.
        raise ArgumentError(f"{wrong} does not take its value")
    return found


def _merged(given: dict[str, Any], file: dict[str, Any]) -> dict[str, Any]:
    """Return what is given over what the option file has."""
    defaults = ConnectOptions()
    given = {
        name: value
        for name, value in given.items()
        if value is not None or (getattr(defaults, name) is not None and name != "password")
    }
    elsewhere = file.get("host", "localhost") != "localhost"
    if "unix_socket" not in given and (elsewhere or given.keys() & {"host", "port"}):
        file.pop("unix_socket", None)  # the clients use it for localhost only
    return {**over(given, file), **given}


def check_arguments(given: Mapping[str, Any]) -> None:
    """Check arguments of `connect()`; raises `ArgumentError` naming the first wrong one."""
    for name, value in given.items():
        option = CONNECT[name]
        types = option.types
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ArgumentError(
                f"argument {name!r} does not take {_shown(option, value)}:"
                f" expected {option.expected}"
            )
        if isinstance(value, str):
            check_text(name, value)
            if "\0" in value[name == "unix_socket" :] and name not in _MAY_HAVE_NUL:
                raise ArgumentError(f"argument {name!r} has a NUL character")
    plugin = given.get("auth_plugin", "")
    if plugin and plugin not in auth.PLUGINS:
        raise ArgumentError(
            f"argument 'auth_plugin' does not take {brief(plugin)}: expected one of"
            f" {', '.join(auth.PLUGINS)}"
        )
    if given.get("echo", False) not in (False, True, "values"):
        raise ArgumentError(
            f"argument 'echo' does not take {given['echo']!r}: expected True, False or 'values'"
        )
    check_host(given.get("host", ""))
    port = given.get("port", 3306)
    if not 0 < port < 65536:
        raise ArgumentError(f"argument 'port' must be from 1 to 65535, got {port}")
    timeout = given.get("connect_timeout")
    if timeout is not None and not timeout > 0:
        raise ArgumentError(f"argument 'connect_timeout' must be positive, got {timeout!r}")
    check_client_flag(given.get("client_flag", 0))
    check_keepalive(given.get("tcp_keepalive"))
    max_packet = given.get("max_packet", MAX_PACKET)
    if max_packet < _LEAST_PACKET:
        raise ArgumentError(
            f"argument 'max_packet' must be {_LEAST_PACKET} or more, got {max_packet}"
        )
    check_encoders(given.get("encoders") or {})
    aware = given.get("aware_datetimes", "refuse")
    if aware not in AWARE_DATETIMES:
        raise ArgumentError(
            f"argument 'aware_datetimes' takes 'refuse', 'utc' or 'drop', got {aware!r}"
        )
    check_level(given.get("isolation_level"), autocommit=True)
    if given.get("local_infile") == "":
        raise ArgumentError("argument 'local_infile' takes a folder, True or a function, got ''")
    if given.get("read_default_group") and not given.get("read_default_file"):
        raise ArgumentError("argument 'read_default_group' needs 'read_default_file'")
    charset = check_charset(given.get("charset", ""))
    if charset or not given.get("read_default_file"):  # which may name another
        check_collation(given.get("collation", ""), charset or DEFAULT_CHARSET)


def check_host(host: str) -> None:
    """Raise `ArgumentError`, which does not show it, if *host* cannot be a name or an address.

    What a URL has left there may be a part of its password, which would go to the resolver.
    """
    expected = "argument 'host' takes a name or an address"
    if "://" in host:
        raise ArgumentError(f"{expected}; create_engine() takes a URL")
    if "@" in host:
        raise ArgumentError(f"{expected}, without '@': in a URL, one in a password is written %40")
    if re.fullmatch(r"[^:]+:[0-9]+", host):
        raise ArgumentError(f"{expected}, without a port: give port={host.partition(':')[2]}")
    found = re.search(r"[\x00-\x20\x7f/&;#?=,]", host) or (":" not in host and re.search("%", host))
    if found:
        raise ArgumentError(f"{expected}, without {found[0]!r}")
    try:
        host.encode("idna")
    except UnicodeError:
        wrong = True
    else:
        wrong = False
    if wrong:  # not from within: that error may show the host
        raise ArgumentError(f"{expected}, with 1 to 63 letters between its dots")


def check_keepalive(given: tuple[Any, ...] | None) -> None:
    """Raise `ArgumentError` if *given* is not what `tcp_keepalive` takes."""
    if given is None:
        return
    if len(given) != 3 or not all(type(value) is int for value in given):
        raise ArgumentError(
            "argument 'tcp_keepalive' takes seconds of silence, seconds between probes and a"
            f" number of probes, got {given!r}"
        )
    for value, most in zip(given, _MOST_KEEPALIVE, strict=True):
        if not 0 < value <= most:
            raise ArgumentError(
                "argument 'tcp_keepalive' takes up to 32,767 seconds of silence, as many between"
                f" probes and up to 127 probes, got {given!r}"
            )


def check_seconds(name: str, value: Any) -> float:
    """Give *value*, a number of seconds; raises `ArgumentError` if it is none or not positive."""
    if type(value) not in (int, float) or not value > 0:
        raise ArgumentError(
            f"argument {name!r} takes a positive number of seconds, got {brief(value)}"
        )
    seconds: float = value
    return seconds


def _shown(option: Option, value: Any) -> str:
    """Return *value* for a message, unless it may hold a secret."""
    scalar = isinstance(value, (str, int, float, type(None)))
    return repr(value) if scalar and not option.secret else f"a {type_name(type(value))}"


def check_text(name: str, text: str) -> str:
    """Return *text*; raises `ArgumentError`, which does not show it, if it has a surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        start = error.start
    else:
        return text
    # Not from within: that error has the text.
    raise ArgumentError(f"argument {name!r} has no utf8 encoding: a surrogate at character {start}")


def quoted_mode(mode: str | None) -> str | None:
    """Give the SQL text that sets `sql_mode` to a list of modes, quoted if it is no expression."""
    return f"'{mode}'" if mode is not None and re.fullmatch(r"[\w, ]*", mode) else mode


def check_charset(charset: str) -> str:
    """Give *charset*; raises `ArgumentError` if MySQL or Python does not know it."""
    if charset:
        try:
            codecs.lookup(python_encoding(charset))
        except (KeyError, LookupError, AttributeError):
            raise ArgumentError(f"unknown charset {charset!r}{_meant(charset)}") from None
    return charset


def _meant(charset: str) -> str:
    """Return a hint at the charset that somebody means by the name of a codec or collation."""
    owner = charset.partition("_")[0]
    with suppress(KeyError, LookupError, AttributeError):
        codecs.lookup(python_encoding(owner))
        return f"; did you mean charset={owner!r} and collation={charset!r}?"
    with suppress(LookupError, ValueError):
        known = _CHARSETS.get(codecs.lookup(charset).name)
        return f"; did you mean {known!r}?" if known else ""
    return ""


def check_collation(collation: str, charset: str) -> str:
    """Return *collation*; raises `ArgumentError` if it is not one of *charset*."""
    if collation:
        name, owner = current_name(collation), current_name(charset)
        if not (name == owner == "binary" or re.fullmatch(rf"{owner}_[a-z0-9_]+", name)):
            raise ArgumentError(
                f"argument 'collation' takes a collation of charset {charset!r}, got {collation!r}"
            )
    return collation


def current_name(name: str) -> str:
    """Return what servers call the charset or collation *name* today: utf8 is utf8mb3."""
    return re.sub(r"^utf8(?=_|$)", "utf8mb3", name.lower())


def encode_sql(sql: str, encoding: str) -> bytes:
    """Encode *sql* strictly; raises `ArgumentError` where it has no bytes in *encoding*.

    Nor has what euc_jp writes as ASCII: its yen sign is the byte of the backslash, which would
    escape the quote behind it.
    """
    try:
        text = sql.encode(encoding)
    except UnicodeEncodeError as error:
        position, reason = error.start, error.reason
    else:
        if encoding != "utf8" and not sql.isascii():
            _check_reading(sql, text, encoding)
        return text
    # Not from within: that error would be the context, and holds the text, maybe with a secret.
    raise _unencodable(encoding, position, reason)


def _check_reading(sql: str, text: bytes, encoding: str) -> None:
    pairs = zip(sql, text.decode(encoding, "replace"), strict=False)
    for position, (character, read) in enumerate(pairs):
        if read.isascii() and character != read:
            raise _unencodable(encoding, position, f"it would be read as {read!r}")


def is_encodable(text: str | None, encoding: str) -> bool:
    """Tell whether *text* has bytes in *encoding*."""
    try:
        (text or "").encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _unencodable(encoding: str, position: int, reason: str) -> ArgumentError:
    return ArgumentError(
        f"the statement has no {encoding} encoding at character {position}: {reason}"
    )


# Where the codec of that name is missing or, as shift_jis does, reads a backslash as a yen sign.
_ENCODINGS = {"binary": "utf8", "sjis": "cp932", "ujis": "euc_jp", "eucjpms": "euc_jp"}


def python_encoding(charset: str) -> str:
    """Give the Python codec of a MySQL character set."""
    encoding: str = _ENCODINGS.get(charset) or charset_by_name(charset).encoding
    return encoding


_UTF8MB4_0900_AI_CI = 255


def collation_id(charset: str, collation: str, server_version: str) -> int:
    """Return the id to name in the handshake for *collation*, or for the server's default.

    That of another collation of *charset* where it has no id that fits into the handshake's byte.
    MySQL has its own default for utf8mb4 since version 8. MariaDB takes the default of old for
    whatever is its default.
    """
    if collation:
        for known in range(1, 256):
            with suppress(KeyError):
                if charset_by_id(known).collation == current_name(collation):
                    return known
    number: int = charset_by_name(current_name(charset)).id
    if current_name(charset) == DEFAULT_CHARSET and "MariaDB" not in server_version:
        return _UTF8MB4_0900_AI_CI if re.match(r"[89]\.|\d\d", server_version) else number
    return number
