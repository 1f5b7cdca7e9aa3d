"""The arguments of `connect()` for type checkers.

Nothing imports this when it runs: making these classes would take 3 ms.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

from .wire.encoders import Encoder
from .wire.greeting import TLS
from .wire.observing import Hook
from .wire.options import File, Host, LocalInfile, Password


class UnloggedArguments(TypedDict, total=False):
    """What `connect()`, `create_engine()` and `create_pool()` take alike, by keyword."""

    host: Host
    user: str | None
    password: Password
    db: str | None
    port: int
    unix_socket: str | None
    charset: str
    sql_mode: str | None
    read_default_file: File
    conv: Mapping[int, Callable[[Any], Any]] | None
    use_unicode: bool | None
    client_flag: int
    cursorclass: type[Any]
    init_command: str | None
    connect_timeout: float | None
    read_default_group: str | None
    autocommit: bool | None
    on_query: Hook | None
    slow_query: float | None
    telemetry: bool | None
    local_infile: LocalInfile
    ssl: ssl_module.SSLContext | bool | Mapping[str, Any] | TLS | None
    auth_plugin: str
    program_name: str
    server_public_key: bytes | None
    tcp_keepalive: tuple[int, int, int] | None
    kill_on_cancel: bool
    pipelining: bool
    max_packet: int
    collation: str
    aware_datetimes: str
    encoders: Mapping[type, Encoder] | None
    warnings: bool
    found_rows: bool
    multi_statements: bool
    isolation_level: str | None
    read_only: bool
    track_gtids: bool
    prepare_threshold: int | None
    prepared_max: int
    ssl_mode: str | None
    ssl_ca: File
    ssl_capath: File
    ssl_cert: File
    ssl_key: File
    ssl_key_password: str | None
    ssl_cipher: str | None
    ssl_crl: File
    ssl_crlpath: File
    tls_version: str | None
    ssl_verify_cert: bool | None
    ssl_verify_identity: bool | None
    ssl_verify_server_cert: bool | None
    ssl_strict: bool | None
    ssl_disabled: bool | None
    get_server_public_key: bool
    target_session_attrs: str
    load_balance_hosts: str
    # Other names of theirs
    username: str | None
    passwd: Password
    database: str | None
    connection_timeout: float | None
    ssl_check_hostname: bool | None
    ssl_passphrase: str | None


class ServerArguments(UnloggedArguments, total=False):
    """What `connect()` and `create_engine()` take alike."""

    echo: bool | str


class ConnectArguments(ServerArguments, total=False):
    """What `connect()` takes."""

    loop: asyncio.AbstractEventLoop | None


class PoolArguments(UnloggedArguments, total=False):
    """What `create_pool()` takes by keyword only."""

    acquire_timeout: float | None
    pool_pre_ping: float | bool
    max_lifetime: float | None
    max_idle: float | None
    max_waiting: int
    # Other names of theirs, and of those that may be positional
    pool_timeout: float | None
    min_size: int
    max_size: int
