"""The options of a connection, each declared by one field, and how they are put together."""

from __future__ import annotations

import os
import re
import ssl as ssl_module
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from . import checks
from .addresses import ORDERS, TARGETS, check_hosts, check_load_balance, check_target
from .charset import check_charset
from .checks import truth
from .encoders import Encoder, check_encoders
from .greeting import TLS, check_client_flag
from .option import Options, option

if TYPE_CHECKING:
    from .observing import Hook

Host = str | list[str] | tuple[str, ...]
Password = str | None | Callable[[], str | Awaitable[str]]
LocalInfile = bool | str | os.PathLike[str] | Callable[[str], bool | Awaitable[bool]]
File = str | os.PathLike[str] | None

MAX_PACKET = 1 << 30
"""The most that a packet can have: the largest value of the server's `max_allowed_packet`."""

_NONE = type(None)
_PASSWORD: tuple[Any, ...] = (str, _NONE, Callable)
_LOCAL_INFILE: tuple[Any, ...] = (bool, str, os.PathLike, Callable)
_SSL = (ssl_module.SSLContext, bool, _NONE, Mapping, TLS)
_TEXT = (str, _NONE)
_FILE = (str, os.PathLike, _NONE)
_FLAG = (bool, _NONE)
_SECONDS = (int, float, _NONE)


class ConnectOptions(Options):
    """The options of a connection, in the order of `aiomysql.connect()` and ours behind."""

    host: Host = option(
        "The server's name or address, with its port where that is not *port*; or several, with"
        " commas or in a list.",
        *("localhost", (str, list, tuple), str),
        check=check_hosts,
        meant_by=("hostname", "server", "hosts"),
        in_files="host",
        as_text="names or addresses, with commas and no spaces between",
        may_have_nul=True,  # which the check refuses without showing what may be a password
    )
    user: str | None = option(
        "The name to log in with; `None`: that of the operating system's user.",
        *(None, _TEXT, str),
        aliases=("username",),
        meant_by=("uid",),
        in_files="user",
    )
    password: Password = option(
        "The password, or a function that gives it or an awaitable of it, called for every login.",
        *("", _PASSWORD, str),
        aliases=("passwd",),
        meant_by=("pass", "pwd", "password_creator"),
        in_files="password",
        secret=True,
        may_have_nul=True,
    )
    db: str | None = option(
        "The database to use.",
        *(None, _TEXT, str),
        aliases=("database",),
        meant_by=("dbname", "schema"),
        in_files="database",
    )
    port: int = option(
        "The TCP port of hosts that are given without one.",
        *(3306, int, int),
        check=checks.check_port,
        in_files="port",
        as_text="a number from 1 to 65535",
    )
    unix_socket: str | None = option(
        "The path of the server's Unix socket, in place of *host* and *port*.",
        *(None, _TEXT, str),
        check=checks.check_socket,
        meant_by=("sock", "socket"),
        in_files="socket",
        may_have_nul=True,
    )
    charset: str = option(
        "The character set of the session; `utf8mb4` if it is empty.",
        *("", str, str),
        check=check_charset,
        meant_by=("encoding",),
        in_files="default-character-set",
        as_text="a charset of the server's",
    )
    sql_mode: str | None = option(
        "SQL modes to set, or an expression for them; `None`: the server's own.", None, _TEXT, str
    )
    read_default_file: File = option(
        "A file of options, read as the servers' clients read theirs; arguments win over it.",
        *(None, _FILE, str),
    )
    conv: Mapping[int, Callable[[Any], Any]] | None = option(
        "PyMySQL's decoders, what makes values of columns by their type's number.",
        *(None, (Mapping, _NONE)),
    )
    use_unicode: bool | None = option(
        "Whether texts are `str`; `None`: they are.", None, _FLAG, truth
    )
    client_flag: int = option(
        "Flags of `pymysql.constants.CLIENT` that mean something to the server.",
        *(0, int, int),
        check=check_client_flag,
    )
    cursorclass: type[Any] | None = option(
        "The class of the connection's cursors, a subclass of `aiomysqlx.Cursor`.",
        *(None, type),
        meant_by=("cursors", "cursor_class", "cursor_cls"),
    )
    init_command: str | None = option(
        "SQL to execute in every new session.", None, _TEXT, str, secret=True, may_have_nul=True
    )
    connect_timeout: float | None = option(
        "Seconds for the whole login; `None`: no limit.",
        *(10, _SECONDS, float),
        check=checks.check_timeout,
        aliases=("connection_timeout",),
        meant_by=("timeout",),
        in_files="connect-timeout",
        as_text="a number of seconds",
    )
    read_default_group: str | None = option(
        "A group of *read_default_file* to read besides `[client]`.", None, _TEXT, str
    )
    autocommit: bool | None = option(
        "The session's autocommit; `None`: the server's default.", False, _FLAG, truth
    )
    echo: bool | str = option(
        "Whether statements are logged; `'values'`: with their values.",
        *(False, (bool, str), checks.truth_or_text),
        check=checks.check_echo,
    )
    local_infile: LocalInfile = option(
        "Which files LOAD DATA LOCAL INFILE may load: all, those below a folder, or those for whose"
        " name a function gives true.",
        *(False, _LOCAL_INFILE, checks.truth_or_text),
        check=checks.check_local_infile,
    )
    loop: AbstractEventLoop | None = option(
        "The running event loop; nothing else is taken.", None, (AbstractEventLoop, _NONE)
    )
    ssl: ssl_module.SSLContext | bool | Mapping[str, Any] | TLS | None = option(
        "`True`: TLS, with the certificate and the host's name verified; or a context; or a"
        " dictionary of the options that begin with `ssl_`, without that.",
        *(None, _SSL, truth),
        meant_by=("ssl_context", "tls", "usessl", "use_ssl", "use_tls", "requiressl"),
        in_files="ssl",
        secret=True,
        hint="; 'ssl_mode' takes REQUIRED and the like",
    )
    auth_plugin: str = option(
        "The only authentication plugin to log in with; empty: the server's choice.",
        *("", str, str),
        check=checks.check_plugin,
    )
    program_name: str = option(
        "The program's name, to be seen in the server's tables of connections.", "", str, str
    )
    server_public_key: bytes | None = option(
        "The PEM text (in a URL or file: its path) of the one key that encrypts passwords.",
        *(None, (bytes, _NONE), checks.content),
        in_files="server-public-key-path",
        as_text="the path of a file that can be read",
        secret=True,
    )
    tcp_keepalive: tuple[int, int, int] | None = option(
        "Seconds of silence before a peer is probed, seconds between probes, number of probes.",
        *(None, (tuple, _NONE)),
        check=checks.check_keepalive,
    )
    kill_on_cancel: bool = option(
        "Whether a statement that nobody waits for any more is ended on the server, with KILL.",
        *(False, bool, truth),
    )
    pipelining: bool = option(
        "Whether more is sent before the answer to what was sent is there, where that is safe.",
        *(False, bool, truth),
    )
    max_packet: int = option(
        "The most bytes that a row, or a result's column definitions, may have.",
        *(MAX_PACKET, int, int),
        check=checks.check_max_packet,
    )
    collation: str = option(
        "The collation of literals, one of *charset*; empty: the server's default.", "", str, str
    )
    aware_datetimes: str = option(
        "What becomes of a datetime off UTC: `'refuse'`, `'utc'` or `'drop'` its zone.",
        *("refuse", str, str),
        check=checks.check_aware_datetimes,
    )
    encoders: Mapping[type, Encoder] | None = option(
        "Functions by types: each makes of a value one that has a literal.",
        *(None, (Mapping, _NONE)),
        check=check_encoders,
    )
    warnings: bool = option(
        "Whether the server's warnings are issued as Python's, for a round trip each.",
        *(True, bool, truth),
        meant_by=("get_warnings", "raise_on_warnings"),
    )
    found_rows: bool = option(
        "Whether an UPDATE counts the rows that it matches, or else those that it changes.",
        *(True, bool, truth),
    )
    multi_statements: bool = option(
        "Whether one text may have several statements; `CLIENT.MULTI_STATEMENTS` is the same.",
        *(False, bool, truth),
        meant_by=("allow_multi_queries",),
    )
    isolation_level: str | None = option(
        "The isolation level of the session's transactions, by SQLAlchemy's names.",
        *(None, _TEXT, str),
        check=checks.check_isolation_level,
    )
    read_only: bool = option(
        "Whether the session's transactions only read.", False, bool, truth, meant_by=("readonly",)
    )
    track_gtids: bool = option(
        "Whether the server is asked to tell the GTID of what it commits, see `last_gtid`.",
        *(False, bool, truth),
    )
    prepare_threshold: int | None = option(
        "From which execution on a connection a statement is prepared on the server; `0`: from the"
        " first; `None`: none is.",
        *(None, (int, _NONE), checks.number_or_none),
        check=checks.check_threshold,
        as_text="a whole number, or none",
    )
    prepared_max: int = option(
        "The most statements that a connection has prepared at a time.",
        *(100, int, int),
        check=checks.check_prepared_max,
    )
    on_query: Hook | None = option(
        "A function that is called with a `QueryEvent` for each statement that was executed.",
        *(None, (Callable, _NONE)),
        check=checks.check_function,
        meant_by=("query_callback",),
    )
    slow_query: float | None = option(
        "Seconds from which on a statement is logged, with the place that executed it.",
        *(None, _SECONDS, float),
        check=checks.check_slow_query,
        meant_by=("slow_query_threshold", "log_slow_queries"),
    )
    telemetry: bool | None = option(
        "Whether OpenTelemetry is told; `None`: if `AiomysqlxInstrumentor` has it so.",
        *(None, _FLAG, truth),
        check=checks.check_telemetry,
        meant_by=("opentelemetry", "tracing"),
    )
    get_server_public_key: bool = option(
        "Whether the server may be asked for its key, which somebody between could replace.",
        *(True, bool, truth),
        in_files="get-server-public-key",
    )
    # What becomes of these stands in `ssl`, once they are put together.
    ssl_mode: str | None = option(
        "`DISABLED`, `PREFERRED`, `REQUIRED`, `VERIFY_CA` or `VERIFY_IDENTITY`.",
        *(None, _TEXT, str),
        in_files="ssl-mode",
    )
    ssl_ca: File = option(
        "The file of the authorities that are trusted.", None, _FILE, str, in_files="ssl-ca"
    )
    ssl_capath: File = option(
        "The folder of the authorities that are trusted.", None, _FILE, str, in_files="ssl-capath"
    )
    ssl_cert: File = option(
        "The file of the client's certificate.", None, _FILE, str, in_files="ssl-cert"
    )
    ssl_key: File = option(
        "The file of its key, unless that is in *ssl_cert*.",
        *(None, _FILE, str),
        in_files="ssl-key",
        secret=True,
    )
    ssl_key_password: str | None = option(
        "The passphrase of *ssl_key*.",
        *(None, _TEXT, str),
        aliases=("ssl_passphrase",),
        in_files=("ssl-passphrase", "ssl-key-password"),
        secret=True,
    )
    ssl_cipher: str | None = option(
        "The ciphers of TLS 1.2 to use, as OpenSSL names them.",
        *(None, _TEXT, str),
        in_files="ssl-cipher",
    )
    ssl_crl: File = option(
        "The file of the authorities' revoked certificates.", None, _FILE, str, in_files="ssl-crl"
    )
    ssl_crlpath: File = option(
        "The folder of the authorities' revoked certificates.",
        *(None, _FILE, str),
        in_files="ssl-crlpath",
    )
    tls_version: str | None = option(
        "`TLSv1.2`, `TLSv1.3` or both, with a comma.", None, _TEXT, str, in_files="tls-version"
    )
    ssl_verify_cert: bool | None = option(
        "Whether the server's certificate is verified.",
        *(None, _FLAG, truth),
        in_files="ssl-verify-cert",
    )
    ssl_verify_identity: bool | None = option(
        "Whether the certificate has to name the host.",
        *(None, _FLAG, truth),
        aliases=("ssl_check_hostname",),
        in_files=("ssl-verify-identity", "ssl-check-hostname"),
    )
    ssl_verify_server_cert: bool | None = option(
        "Both of these, as MariaDB's clients call it.",
        *(None, _FLAG, truth),
        in_files="ssl-verify-server-cert",
    )
    ssl_strict: bool | None = option(
        "`False`: take certificates that only Python 3.13 and later refuse.", None, _FLAG, truth
    )
    ssl_disabled: bool | None = option("`True`: no TLS.", None, _FLAG, truth)
    target_session_attrs: str = option(
        "What the server has to be: `any`, `read-write`, `read-only`, or `prefer-standby`:"
        " read-only if there is one.",
        *("any", str, str),
        check=check_target,
        in_files="target-session-attrs",
        as_text=f"one of {', '.join(TARGETS)}",
    )
    load_balance_hosts: str = option(
        "The order in which hosts are tried: `disable`, as they are given, or `random`.",
        *("disable", str, str),
        check=check_load_balance,
        in_files="load-balance-hosts",
        as_text=f"one of {', '.join(ORDERS)}",
    )


CONNECT = ConnectOptions.fields
TLS_OPTIONS = frozenset(name for name in CONNECT if name.startswith(("ssl", "tls")))


def quoted_mode(mode: str | None) -> str | None:
    """Return the SQL that sets `sql_mode`: a list of modes is quoted, an expression is not."""
    return f"'{mode}'" if mode is not None and re.fullmatch(r"[\w, ]*", mode) else mode
