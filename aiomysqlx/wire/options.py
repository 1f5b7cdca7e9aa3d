"""The options: each one field, with its names, the types it takes and how it is read from text.

Arguments, URLs and option files all go by it.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import re
import ssl as ssl_module
import stat
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import FrozenInstanceError
from typing import Any, ClassVar, NoReturn

from ..exc import ArgumentError
from .encoders import Encoder
from .tls import TLS

# What an engine calls with the connections that it makes of these.
Hook = Callable[[Any], Awaitable[object]]
Password = str | None | Callable[[], str | Awaitable[str]]
LocalInfile = bool | str | os.PathLike[str] | Callable[[str], bool | Awaitable[bool]]
File = str | os.PathLike[str] | None

MAX_PACKET = 1 << 30
"""The most that a packet can have: the largest value of the server's `max_allowed_packet`."""


class Option:
    """One option, whichever way it is given."""

    __slots__ = ("aliases", "annotation", "default", "in_files", "name", "parse", "secret", "types")

    name: str

    def __init__(
        self,
        default: Any,
        types: tuple[Any, ...],
        parse: Callable[[str], Any] | None,
        aliases: tuple[str, ...],
        in_files: str | None,
        secret: bool,
    ) -> None:
        self.default = default
        self.types = types
        self.parse = parse  # raises ValueError; None: it cannot be given as text
        self.aliases = aliases
        self.in_files = in_files  # its name in option files, if the clients have it
        self.secret = secret  # whether no message shows its value

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.annotation = owner.__annotations__[name]

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        *others, last = [word for type_, word in _WORDS.items() if type_ in self.types]
        expected = f"{', '.join(others)} or {last}" if others else last
        return (
            f"{expected}; 'ssl_mode' takes REQUIRED and the like"
            if self.name == "ssl"
            else expected
        )


_WORDS: dict[Any, str] = {
    str: "a str",
    bytes: "bytes",
    os.PathLike: "a path",
    Callable: "a function",
    int: "an int",
    float: "a float",
    tuple: "a tuple",
    Mapping: "a mapping",
    type: "a class",
    ssl_module.SSLContext: "an ssl.SSLContext",
    asyncio.AbstractEventLoop: "an event loop",
    bool: "a bool",
    type(None): "None",
}


def _option(
    default: Any,
    types: type | tuple[type, ...] = object,
    parse: Callable[[str], Any] | None = None,
    *,
    aliases: tuple[str, ...] = (),
    in_files: str | None = None,
    secret: bool = False,
) -> Any:
    types = types if isinstance(types, tuple) else (types,)
    return Option(default, types, parse, aliases, in_files, secret)


class Options:
    """Options that belong together: each `Option` of the class is an attribute, else its default.

    A frozen dataclass but for what that compiles, which would take 2 ms of an import.
    """

    fields: ClassVar[dict[str, Option]] = {}

    def __init_subclass__(cls) -> None:
        own = {name: option for name, option in vars(cls).items() if isinstance(option, Option)}
        cls.fields = {**cls.fields, **own}
        for name, option in own.items():
            setattr(cls, name, option.default)

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - self.fields.keys()
        assert not unknown, unknown
        vars(self).update(given)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")


_TRUTH = {"true": True, "1": True, "yes": True, "on": True}
_TRUTH |= {"false": False, "0": False, "no": False, "off": False}


def truth(text: str) -> bool:
    """Return what *text* says of something that is or is not; raises `ValueError`."""
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def _number_or_truth(text: str) -> float | bool:
    try:
        return float(text)
    except ValueError:
        return truth(text)


def _truth_or_text(text: str) -> bool | str:
    try:
        return truth(text)
    except ValueError:
        return text


def _content(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError(path)
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        raise ValueError(path) from None


_NONE = type(None)
_PASSWORD: tuple[Any, ...] = (str, _NONE, Callable)
_LOCAL_INFILE: tuple[Any, ...] = (bool, str, os.PathLike, Callable)
_TEXT = (str, _NONE)
_FILE = (str, os.PathLike, _NONE)
_FLAG = (bool, _NONE)
_SECONDS = (int, float, _NONE)


class ConnectOptions(Options):
    """The options of a connection, with what they are if they are not given."""

    host: str = _option("localhost", str, str, in_files="host")
    user: str | None = _option(None, _TEXT, str, aliases=("username",), in_files="user")
    password: Password = _option(
        "", _PASSWORD, str, aliases=("passwd",), in_files="password", secret=True
    )
    db: str | None = _option(None, _TEXT, str, aliases=("database",), in_files="database")
    port: int = _option(3306, int, int, in_files="port")
    unix_socket: str | None = _option(None, _TEXT, str, in_files="socket")
    charset: str = _option("", str, str, in_files="default-character-set")
    sql_mode: str | None = _option(None, _TEXT, str)
    read_default_file: File = _option(None, _FILE, str)
    conv: Mapping[int, Callable[[Any], Any]] | None = _option(None, (Mapping, _NONE))
    use_unicode: bool | None = _option(None, _FLAG, truth)
    client_flag: int = _option(0, int, int)
    cursorclass: type[Any] | None = _option(None, type)
    init_command: str | None = _option(None, _TEXT, str, secret=True)
    connect_timeout: float | None = _option(
        10, _SECONDS, float, aliases=("connection_timeout",), in_files="connect-timeout"
    )
    read_default_group: str | None = _option(None, _TEXT, str)
    autocommit: bool | None = _option(False, _FLAG, truth)
    echo: bool | str = _option(False, (bool, str), _truth_or_text)
    local_infile: LocalInfile = _option(False, _LOCAL_INFILE, _truth_or_text)
    loop: asyncio.AbstractEventLoop | None = _option(None, (asyncio.AbstractEventLoop, _NONE))
    ssl: ssl_module.SSLContext | bool | Mapping[str, Any] | TLS | None = _option(
        None, (ssl_module.SSLContext, *_FLAG, Mapping, TLS), truth, in_files="ssl", secret=True
    )
    auth_plugin: str = _option("", str, str)
    program_name: str = _option("", str, str)
    server_public_key: bytes | None = _option(
        None, (bytes, _NONE), _content, in_files="server-public-key-path", secret=True
    )
    tcp_keepalive: tuple[int, int, int] | None = _option(None, (tuple, _NONE))
    kill_on_cancel: bool = _option(False, bool, truth)
    max_packet: int = _option(MAX_PACKET, int, int)
    collation: str = _option("", str, str)
    aware_datetimes: str = _option("refuse", str, str)
    encoders: Mapping[type, Encoder] | None = _option(None, (Mapping, _NONE))
    warnings: bool = _option(True, bool, truth)
    isolation_level: str | None = _option(None, _TEXT, str)
    read_only: bool = _option(False, bool, truth)
    get_server_public_key: bool = _option(True, bool, truth, in_files="get-server-public-key")
    # What becomes of these stands in `ssl`, once they are put together.
    ssl_mode: str | None = _option(None, _TEXT, str, in_files="ssl-mode")
    ssl_ca: File = _option(None, _FILE, str, in_files="ssl-ca")
    ssl_capath: File = _option(None, _FILE, str, in_files="ssl-capath")
    ssl_cert: File = _option(None, _FILE, str, in_files="ssl-cert")
    ssl_key: File = _option(None, _FILE, str, in_files="ssl-key", secret=True)
    ssl_key_password: str | None = _option(
        None, _TEXT, str, aliases=("ssl_passphrase",), in_files="ssl-passphrase", secret=True
    )
    ssl_cipher: str | None = _option(None, _TEXT, str, in_files="ssl-cipher")
    ssl_crl: File = _option(None, _FILE, str, in_files="ssl-crl")
    ssl_crlpath: File = _option(None, _FILE, str, in_files="ssl-crlpath")
    tls_version: str | None = _option(None, _TEXT, str, in_files="tls-version")
    ssl_verify_cert: bool | None = _option(None, _FLAG, truth, in_files="ssl-verify-cert")
    ssl_verify_identity: bool | None = _option(
        None, _FLAG, truth, aliases=("ssl_check_hostname",), in_files="ssl-verify-identity"
    )
    ssl_verify_server_cert: bool | None = _option(
        None, _FLAG, truth, in_files="ssl-verify-server-cert"
    )
    ssl_strict: bool | None = _option(None, _FLAG, truth)
    ssl_disabled: bool | None = _option(None, _FLAG, truth)


class PoolOptions(Options):
    """The options of a pool; those without a default have one that has to be made."""

    minsize: int = _option(1, int, int, aliases=("min_size",))
    maxsize: int = _option(10, int, int, aliases=("max_size",))
    dialect: Any = _option(None)
    pool_recycle: float = _option(-1, (int, float), float)
    compiled_cache: dict[Any, Any] | None = _option(None, (Mapping, _NONE))
    acquire_timeout: float | None = _option(None, float, float, aliases=("pool_timeout",))
    pool_pre_ping: float | bool = _option(False, (bool, float), _number_or_truth)
    max_lifetime: float | None = _option(None, float, float)
    max_idle: float | None = _option(None, float, float)
    statement_timeout: float | None = _option(None, float, float)
    init: Hook | None = _option(None)
    reset: bool | Hook = _option(False, object, truth)


class Signature:
    """The signature of a class that takes options, made when somebody asks for it."""

    def __init__(self, options: type[Options]) -> None:
        self._options = options

    def __get__(self, instance: object, owner: type) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(name, kind, default=option.default, annotation=option.annotation)
                for name, option in self._options.fields.items()
            ]
        )


CONNECT = ConnectOptions.fields
POOL = PoolOptions.fields
OPTIONS = {**CONNECT, **POOL}
_BY_NAME = {name: option for option in OPTIONS.values() for name in (option.name, *option.aliases)}
# What others call something that is alike but not the same, or has to be said otherwise.
_MEANT = {
    "pool_size": "'maxsize', which counts all connections",
    "max_overflow": "'maxsize', which counts all connections",
    "connect_args": "its entries, as arguments",
    "timeout": "'connect_timeout'",
    "read_timeout": "'statement_timeout'",
    "write_timeout": "'statement_timeout'",
    "command_timeout": "'statement_timeout'",
    **dict.fromkeys(("hostname", "server"), "'host'"),
    **dict.fromkeys(("dbname", "schema"), "'db'"),
    **dict.fromkeys(("pass", "pwd"), "'password'"),
    "uid": "'user'",
    **dict.fromkeys(("ssl_context", "tls", "usessl", "use_ssl", "use_tls", "requiressl"), "'ssl'"),
    "time_zone": 'init_command="SET time_zone = …"',
    "readonly": "'read_only'",
}


def find(name: str) -> Option | None:
    """Return the option of that name, with hyphens or underscores, if there is one."""
    return _BY_NAME.get(name.replace("-", "_"))


def named(given: Mapping[str, Any], known: Mapping[str, Option] = OPTIONS) -> dict[str, Any]:
    """Return what is given by the options' own names; raises `ArgumentError`."""
    result: dict[str, Any] = {}
    for name, value in given.items():
        option = find(name)
        if option is None:
            raise ArgumentError(f"unknown argument{_shown_name(name)}{_meant(name, known)}")
        if option.name not in known:
            raise ArgumentError(f"unknown argument {name!r}: create_engine() takes it")
        if option.name in result:
            raise ArgumentError(f"argument {option.name!r} is given twice")
        result[option.name] = value
    return result


def _shown_name(name: str) -> str:
    """Return *name* to be shown, unless it may be a part of a URL's password."""
    return f" {name!r}" if re.fullmatch(r"[\w.-]+", name) else ""


def _meant(name: str, known: Iterable[str]) -> str:
    name = name.replace("-", "_").lower()
    from difflib import get_close_matches  # which few need: 0.4 ms of an import

    close = get_close_matches(name, known, 1, 0.7)
    meant = _MEANT.get(name) or (f"'{close[0]}'" if close else None)
    return f"; did you mean {meant}?" if meant else ""


def from_text(name: str, text: str) -> Any:
    """Return the value of an option that is given as text; raises `ArgumentError`."""
    option = find(name)
    if option is None:
        return text  # it is refused with all else that is given
    if option.parse is None:
        raise ArgumentError(f"argument {name!r} cannot be given in a URL")
    try:
        return option.parse(text)
    except ValueError:
        shown = "this value" if option.secret else repr(text)
    expected = "true or false" if option.parse is truth and name != "ssl" else option.expected
    raise ArgumentError(f"argument {name!r} does not take {shown}: expected {expected}")
