"""What is slow or unsafe of the server, of what it allows, and of what its session is set to."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import NOTE, SLOW, UNSAFE, Facts, Limits, Problem, Server, Session, Settings

# Seconds.
_SHORT_WAIT = 3600
_CLOCK_SKEW = 1.0
_LAG = 10.0
_SMALL_PACKET = 16 << 20


def server(facts: Facts) -> Iterator[Problem]:
    """Judge the server, and its part in a cluster."""
    server = facts.server
    if server is None:
        return
    single = facts.settings.hosts == 1 and facts.settings.target_session_attrs == "any"
    if server.read_only and single:
        yield Problem(
            "read_only",
            NOTE,
            "this server is read-only: what writes is refused",
            "give all hosts, and target_session_attrs=read-write, if that is not meant",
        )
    yield from _cluster(server)


def _cluster(server: Server) -> Iterator[Problem]:
    galera, group, replica = server.galera, server.group, server.replica
    if galera is not None and (galera.state, galera.status) != ("Synced", "Primary"):
        yield Problem(
            "galera",
            UNSAFE,
            f"this node of Galera is {galera.state or '?'}, in a part of the"
            f" cluster that is {galera.status or '?'}",
            "see to the node; give all hosts, so that another one is taken",
        )
    if group is not None and group.state != "ONLINE":
        yield Problem(
            "group",
            UNSAFE,
            f"this member of the group is {group.state or '?'}",
            "see to the member; give all hosts, so that another one is taken",
        )
    if replica is not None and not replica.running:
        yield Problem(
            "replica_stopped",
            UNSAFE,
            "this replica does not replicate: it gives old rows",
            "SHOW REPLICA STATUS tells why",
        )
    if replica is not None and replica.lag is not None and replica.lag > _LAG:
        yield Problem(
            "replica_lag",
            UNSAFE,
            f"this replica is {replica.lag:.0f} seconds behind",
            "read what must be fresh on the primary, or with acquire(read_only=True, after=…)",
        )


def limits(facts: Facts) -> Iterator[Problem]:
    """Judge what the server allows."""
    limits = facts.limits
    if limits is None:
        return
    yield from _idle(facts.settings, limits)
    yield from _room(facts.settings, limits)
    packet = limits.max_allowed_packet
    if packet is not None and packet < _SMALL_PACKET:
        yield Problem(
            "small_packet",
            NOTE,
            f"max_allowed_packet is {packet} bytes",
            "raise it if values or bulk inserts are refused with error 1153",
        )


def _idle(settings: Settings, limits: Limits) -> Iterator[Problem]:
    wait = limits.wait_timeout
    if wait is None:
        return
    for name in ("pool_recycle", "max_idle"):
        seconds = getattr(settings, name)
        if seconds is not None and seconds >= wait:
            yield Problem(
                "outlived",
                NOTE,
                f"{name} is {seconds:g} seconds, but the server ends idle"
                f" connections after {wait:g} (wait_timeout)",
                f"give a {name} of less than {wait:g}",
            )
    if wait < _SHORT_WAIT and settings.pool_recycle < 0 and not settings.pool_pre_ping:
        yield Problem(
            "short_wait_timeout",
            NOTE,
            f"the server ends connections that are idle for {wait:g}"
            " seconds (wait_timeout), and the pool does not come before that",
            f"give a pool_recycle of less than {wait:g}: a statement sent just then is lost",
        )


def _room(settings: Settings, limits: Limits) -> Iterator[Problem]:
    for name in ("max_connections", "max_user_connections"):
        most: int | None = getattr(limits, name)
        if most and settings.maxsize > most:
            yield Problem(
                "pool_too_large",
                UNSAFE,
                f"maxsize is {settings.maxsize}, but the server's {name} is {most}",
                f"give a smaller maxsize, or raise {name}: all processes share it",
            )
    if limits.max_connections and limits.connections and settings.maxsize:
        free = max(0, limits.max_connections - limits.connections)
        if settings.maxsize <= limits.max_connections and free < 2 * settings.maxsize:
            yield Problem(
                "little_room",
                NOTE,
                f"{limits.connections} of {limits.max_connections}"
                f" connections are in use: there is room for {free // settings.maxsize} more"
                f" processes with a pool of {settings.maxsize}",
                "make the pools smaller, or raise max_connections",
            )


# -- the session -----------------------------------------------------------------------------------


def session(facts: Facts) -> Iterator[Problem]:
    """Judge what the session is set to."""
    session = facts.session
    if session is None:
        return
    yield from _charset(session)
    yield from _mode(session)
    yield from _transactions(facts.settings, session)
    yield from _clock(session)


def _charset(session: Session) -> Iterator[Problem]:
    if session.character_set not in (None, "utf8mb4"):
        yield Problem(
            "charset",
            UNSAFE,
            f"the session's charset is {session.character_set}, which does not"
            " have every character",
            "leave charset out: it is utf8mb4 then",
        )
    if session.has_database and session.database_character_set not in (None, "utf8mb4"):
        yield Problem(
            "database_charset",
            NOTE,
            "new tables of this database are"
            f" {session.database_character_set}, which does not have every character",
            "ALTER DATABASE … CHARACTER SET utf8mb4; CONVERT the tables that there are",
        )


def _mode(session: Session) -> Iterator[Problem]:
    modes = None if session.sql_mode is None else session.sql_mode.split(",")
    if modes is None:
        return
    if not {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"}.intersection(modes):
        yield Problem(
            "not_strict",
            UNSAFE,
            "sql_mode is not strict: values that do not fit are cut, and stored",
            "add STRICT_TRANS_TABLES to the server's sql_mode, or to ?sql_mode=",
        )
    if "NO_BACKSLASH_ESCAPES" in modes:
        yield Problem(
            "no_backslash_escapes",
            NOTE,
            "sql_mode has NO_BACKSLASH_ESCAPES",
            "parameters are right here; text that other code has escaped may be an SQL injection",
        )


def _transactions(settings: Settings, session: Session) -> Iterator[Problem]:
    if settings.autocommit is not None and settings.autocommit != session.autocommit:
        yield Problem(
            "autocommit_differs",
            UNSAFE,
            f"autocommit={settings.autocommit} was asked for, and is not what the session has",
            "look at init_command, and at what is between this side and the server",
        )
    if settings.autocommit is None and not session.autocommit:
        yield Problem(
            "server_without_autocommit",
            NOTE,
            "the server's autocommit is off: what is not committed is lost",
            "give autocommit=true or false, so that it does not depend on the server",
        )
    if session.completion_type not in (None, "NO_CHAIN"):
        yield Problem(
            "completion_type",
            UNSAFE,
            f"completion_type is {session.completion_type}: a COMMIT"
            " begins another transaction, or ends the session",
            "set it to NO_CHAIN",
        )
    level = (session.isolation_level or "").replace(" ", "-")
    if level == "READ-UNCOMMITTED":
        yield Problem(
            "read_uncommitted",
            UNSAFE,
            "transactions read what others may yet roll back",
            "give isolation_level=READ COMMITTED, or leave the server's default",
        )
    if level == "SERIALIZABLE":
        yield Problem(
            "serializable",
            SLOW,
            "every read takes locks: the isolation level is SERIALIZABLE",
            "give it to the transactions that need it: engine.begin(isolation_level=…)",
        )


def _clock(session: Session) -> Iterator[Problem]:
    ahead = session.clock_skew
    if ahead is not None and abs(ahead) > _CLOCK_SKEW:
        where = "ahead of" if ahead > 0 else "behind"
        yield Problem(
            "clock_skew",
            NOTE,
            f"the server's clock is {abs(ahead):.1f} seconds {where} this one",
            "keep both by NTP; do not compare times of the two",
        )
