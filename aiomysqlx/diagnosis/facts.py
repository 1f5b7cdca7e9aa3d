"""What a diagnosis finds out. The names of the fields are the keys of its JSON.

`None` is what was not found out: the part was not reached, the server does not tell it, or does not
tell it to this user, see `Facts.not_visible`. Nothing here holds a password or the name of a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

UNSAFE, SLOW, NOTE = "unsafe", "slow", "note"
"""How severe a problem is, the worst first."""


@dataclass(frozen=True)
class Client:
    """This side: what is installed, and which build runs."""

    aiomysqlx: str
    implementation: str  # "cython" or "python"
    reason: str  # why it is that
    python: str
    platform: str
    event_loop: str
    debug: bool  # whether the event loop is in debug mode
    libraries: Mapping[str, str | None]  # the versions; `None`: not installed


@dataclass(frozen=True)
class Settings:
    """What the URL, its option file and the defaults ask for, as far as it is judged."""

    hosts: int
    target_session_attrs: str
    minsize: int
    maxsize: int  # 0: no limit
    pool_recycle: float  # seconds; -1: never
    max_idle: float | None  # seconds
    max_lifetime: float | None  # seconds
    pool_pre_ping: bool
    acquire_timeout: float | None  # seconds
    statement_timeout: float | None  # seconds
    connect_timeout: float | None  # seconds
    autocommit: bool | None
    local_infile: str  # "off", "some" files or "all"
    multi_statements: bool
    track_gtids: bool
    tls: str  # "off", "preferred" or "required"


@dataclass(frozen=True)
class Host:
    """One of several hosts."""

    address: str
    role: str | None  # "primary" or "standby"
    error: str | None


@dataclass(frozen=True)
class Route:
    """How the connection leads to the server."""

    address: str
    way: str  # "TCP" or "Unix socket"
    remote: bool  # whether it leaves this machine
    behind: str | None  # what is in between, where that can be told
    hosts: tuple[Host, ...]  # of several


@dataclass(frozen=True)
class Galera:
    """A node of Galera."""

    state: str  # "Synced"
    status: str  # "Primary": it is in the part of the cluster that works
    size: int


@dataclass(frozen=True)
class Member:
    """A member of a Group Replication."""

    state: str  # "ONLINE"
    role: str  # "PRIMARY" or "SECONDARY"


@dataclass(frozen=True)
class Replica:
    """The replication of a replica."""

    running: bool
    lag: float | None  # seconds


@dataclass(frozen=True)
class Server:
    """Which server it is."""

    vendor: str
    version: str
    comment: str | None
    role: str  # in words
    read_only: bool | None
    galera: Galera | None
    group: Member | None
    replica: Replica | None


@dataclass(frozen=True)
class Security:
    """How the connection is protected, and how it has logged in."""

    tls: str | None  # the version; `None`: clear text
    tls_offered: bool  # whether the server, or what is in between, has it
    cipher: str | None
    verified: str | None  # "nothing", "certificate" or "certificate and name"
    certificate_days: int | None  # until it expires
    auth_plugin: str
    has_password: bool
    account: str | None  # "root", "anonymous" or "named"


@dataclass(frozen=True)
class Session:
    """What the session is set to, beside what server and database have."""

    character_set: str | None
    collation: str | None
    server_character_set: str | None
    server_collation: str | None
    database_character_set: str | None
    database_collation: str | None
    has_database: bool
    sql_mode: str | None
    time_zone: str | None
    system_time_zone: str | None
    isolation_level: str | None
    autocommit: bool
    completion_type: str | None
    clock_skew: float | None  # seconds that the server's clock is ahead of this one


@dataclass(frozen=True)
class Limits:
    """What the server allows."""

    max_allowed_packet: int | None  # bytes
    wait_timeout: float | None  # seconds
    max_connections: int | None
    max_user_connections: int | None  # 0: no limit
    connections: int | None  # in use
    most_connections: int | None  # in use at the same time, since the server was started


@dataclass(frozen=True)
class Capabilities:
    """What the server, and whatever is in between, can do."""

    prepared_statements: bool | None
    pipelining: bool | None
    bulk: bool
    session_tracking: bool
    deprecate_eof: bool


@dataclass(frozen=True)
class Spread:
    """How long something took, in milliseconds."""

    count: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Timings:
    """How long things take."""

    name_lookup: float | None  # milliseconds; `None`: an address, or a socket
    connect: float | None  # milliseconds, with the login and what a new session is asked
    ping: Spread | None
    select: Spread | None  # `SELECT 1`
    acquire: Spread | None  # acquire() and release() of an idle connection
    release: Spread | None  # release() after a statement, until the connection can be lent again


@dataclass(frozen=True)
class PoolTest:
    """Many tasks, each of which acquires a connection for a statement, again and again."""

    tasks: int
    maxsize: int
    statements: int
    seconds: float
    opened: int
    waited: int
    longest_wait: float  # seconds
    error: str | None


@dataclass(frozen=True)
class Facts:
    """All of it."""

    client: Client
    settings: Settings
    route: Route | None = None
    server: Server | None = None
    security: Security | None = None
    session: Session | None = None
    limits: Limits | None = None
    capabilities: Capabilities | None = None
    timings: Timings | None = None
    pool_test: PoolTest | None = None
    not_visible: tuple[str, ...] = ()  # what this user may not see
    out_of_time: tuple[str, ...] = ()  # what was left out
    error: str | None = None  # why there is no connection, or that it was lost
    advice: str | None = None  # what to do about that


@dataclass(frozen=True)
class Problem:
    """What is slow or unsafe, and what to do."""

    key: str
    severity: str  # UNSAFE, SLOW or NOTE
    what: str
    do: str
