"""The arguments of a connection: their names, types and meanings."""

from __future__ import annotations

import asyncio
import codecs
import re
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, TypedDict

from pymysql.charset import charset_by_id, charset_by_name

from ._escape_py import ZONES_DROPPED, ZONES_TO_UTC
from .cursor import Cursor
from .exc import ArgumentError

Password = str | None | Callable[[], str | Awaitable[str]]


class ServerArguments(TypedDict, total=False):
    """What `connect()` and `create_engine()` take alike."""

    host: str
    user: str | None
    password: Password
    db: str | None
    port: int
    unix_socket: str | None
    charset: str
    sql_mode: str | None
    read_default_file: str | None
    conv: Mapping[int, Callable[[Any], Any]] | None
    use_unicode: bool | None
    client_flag: int
    cursorclass: type[Cursor]
    init_command: str | None
    connect_timeout: float | None
    read_default_group: str | None
    autocommit: bool | None
    echo: bool | str
    local_infile: bool
    ssl: ssl_module.SSLContext | bool | None
    auth_plugin: str
    program_name: str
    server_public_key: bytes | None
    tcp_keepalive: tuple[int, int, int] | None
    kill_on_cancel: bool
    max_packet: int
    collation: str
    aware_datetimes: str
    warnings: bool


class ConnectArguments(ServerArguments, total=False):
    """What `connect()` takes."""

    loop: asyncio.AbstractEventLoop | None


DEFAULT_CHARSET = "utf8mb4"

MAX_PACKET = 1 << 30
"""The most that a packet can have: the largest value of the server's `max_allowed_packet`."""

_LEAST_PACKET = 1024  # and its smallest one

AWARE_DATETIMES = {"refuse": 0, "utc": ZONES_TO_UTC, "drop": ZONES_DROPPED}
"""What `aware_datetimes` takes, and the flag of `render` that it means."""

ARGUMENTS: dict[str, tuple[type, ...]] = {
    "host": (str,),
    "user": (str, type(None)),
    "password": (str, type(None), Callable),  # type: ignore[dict-item]  # an abstract class
    "db": (str, type(None)),
    "port": (int,),
    "unix_socket": (str, type(None)),
    "charset": (str,),
    "sql_mode": (str, type(None)),
    "read_default_file": (str, type(None)),
    "conv": (Mapping, type(None)),
    "use_unicode": (bool, type(None)),
    "client_flag": (int,),
    "cursorclass": (type,),
    "init_command": (str, type(None)),
    "connect_timeout": (int, float, type(None)),
    "read_default_group": (str, type(None)),
    "autocommit": (bool, type(None)),
    "echo": (bool, str),
    "local_infile": (bool,),
    "loop": (asyncio.AbstractEventLoop, type(None)),
    "ssl": (ssl_module.SSLContext, bool, type(None)),
    "auth_plugin": (str,),
    "program_name": (str,),
    "server_public_key": (bytes, type(None)),
    "tcp_keepalive": (tuple, type(None)),
    "kill_on_cancel": (bool,),
    "max_packet": (int,),
    "collation": (str,),
    "aware_datetimes": (str,),
    "warnings": (bool,),
}
"""The names and types of what `connect()` takes."""


def check_arguments(given: Mapping[str, Any]) -> None:
    """Check arguments of `connect()`; raises `ArgumentError` naming the first wrong one."""
    unknown = given.keys() - ARGUMENTS.keys()
    if unknown:
        raise ArgumentError(f"unknown argument {min(unknown)!r}")
    for name, value in given.items():
        types = ARGUMENTS[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise ArgumentError(f"argument {name!r} does not take {_shown(name, value)}")
        if isinstance(value, str):
            check_text(name, value)
    if not given.get("auth_plugin", "").isascii():
        raise ArgumentError(f"argument 'auth_plugin' does not take {given['auth_plugin']!r}")
    if given.get("echo", False) not in (False, True, "values"):
        raise ArgumentError(f"argument 'echo' does not take {given['echo']!r}")
    if "://" in given.get("host", ""):  # not shown: a URL may hold a password
        raise ArgumentError(
            "argument 'host' takes a name or an address; create_engine() takes a URL"
        )
    port = given.get("port", 3306)
    if not 0 < port < 65536:
        raise ArgumentError(f"argument 'port' must be from 1 to 65535, got {port}")
    timeout = given.get("connect_timeout")
    if timeout is not None and not timeout > 0:
        raise ArgumentError(f"argument 'connect_timeout' must be positive, got {timeout!r}")
    keepalive = given.get("tcp_keepalive")
    if keepalive is not None and not (
        len(keepalive) == 3 and all(type(value) is int and value > 0 for value in keepalive)
    ):
        raise ArgumentError(
            "argument 'tcp_keepalive' takes seconds of silence, seconds between probes and a"
            f" number of probes, got {keepalive!r}"
        )
    max_packet = given.get("max_packet", MAX_PACKET)
    if max_packet < _LEAST_PACKET:
        raise ArgumentError(
            f"argument 'max_packet' must be {_LEAST_PACKET} or more, got {max_packet}"
        )
    aware = given.get("aware_datetimes", "refuse")
    if aware not in AWARE_DATETIMES:
        raise ArgumentError(
            f"argument 'aware_datetimes' takes 'refuse', 'utc' or 'drop', got {aware!r}"
        )
    if given.get("read_default_group") and not given.get("read_default_file"):
        raise ArgumentError("argument 'read_default_group' needs 'read_default_file'")
    charset = check_charset(given.get("charset", ""))
    if charset or not given.get("read_default_file"):  # which may name another
        check_collation(given.get("collation", ""), charset or DEFAULT_CHARSET)


def check_seconds(name: str, value: Any) -> float:
    """Give *value*, a number of seconds; raises `ArgumentError` if it is none or not positive."""
    if type(value) not in (int, float) or not value > 0:
        raise ArgumentError(f"argument {name!r} takes a positive number of seconds, got {value!r}")
    seconds: float = value
    return seconds


def _shown(name: str, value: Any) -> str:
    """Give *value* for a message, unless it may hold a secret."""
    secret = name in ("password", "init_command", "server_public_key", "ssl")
    scalar = isinstance(value, (str, int, float, type(None)))
    return repr(value) if scalar and not secret else f"a {type(value).__name__}"


_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_text(name: str, text: str) -> str:
    """Return *text*; raises `ArgumentError`, which does not show it, if it has a surrogate."""
    found = _SURROGATE.search(text)
    if found is not None:
        raise ArgumentError(
            f"argument {name!r} has no utf8 encoding: a surrogate at character {found.start()}"
        )
    return text


def quoted_mode(mode: str | None) -> str | None:
    """Give the SQL text that sets `sql_mode` to a list of modes, quoted if it is no expression."""
    return f"'{mode}'" if mode is not None and re.fullmatch(r"[\w, ]*", mode) else mode


def check_charset(charset: str) -> str:
    """Give *charset*; raises `ArgumentError` if MySQL or Python does not know it."""
    if charset:
        try:
            codecs.lookup(python_encoding(charset))
        except (KeyError, LookupError, AttributeError):
            raise ArgumentError(f"unknown charset {charset!r}") from None
    return charset


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
