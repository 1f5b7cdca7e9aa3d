"""The arguments of a connection: what they may be, and what they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..exc import ArgumentError
from ..runtime.printable import brief, type_name
from . import auth
from .charset import DEFAULT_CHARSET, check_charset, check_collation, is_encodable, python_encoding
from .codes import ZONES_DROPPED, ZONES_TO_UTC
from .encoders import check_encoders
from .greeting import check_client_flag
from .isolation import check_level
from .options import CONNECT, MAX_PACKET, ConnectOptions, Option, named
from .tls import NAMES as TLS_NAMES
from .tls import over, wanted

if TYPE_CHECKING:
    from .optionfile import Given

_LEAST_PACKET = 1024  # the smallest value of the server's `max_allowed_packet`

# Where it ends nothing, or is looked for elsewhere; it begins an abstract socket's name, too.
_MAY_HAVE_NUL = frozenset({"password", "init_command", "host"})

_MOST_KEEPALIVE = 32767, 32767, 127  # as Linux has it

AWARE_DATETIMES = {"refuse": 0, "utc": ZONES_TO_UTC, "drop": ZONES_DROPPED}
"""What `aware_datetimes` takes, and the flag of `render` that it means."""


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
