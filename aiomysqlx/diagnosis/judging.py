"""What is slow or unsafe in the facts, and what to do: pure functions of `Facts`, a rule each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .facts import Facts, Limits, Problem, Route, Security, Server, Session, Settings, Timings

Rule = Callable[[Facts], Iterator[Problem]]

UNSAFE, SLOW, NOTE = "unsafe", "slow", "note"
_ORDER = (UNSAFE, SLOW, NOTE)

# Milliseconds.
SLOW_LOOKUP = 100.0
SLOW_ROUND_TRIP = 5.0
SLOW_CONNECT = 200.0
# How many round trips a login takes at most, by and large: TCP, TLS, the plugin, what is asked.
_LOGIN_ROUND_TRIPS = 15
# From which on the slowest are out of all proportion, and in milliseconds.
_JITTER, _JITTER_LEAST = 10, 20.0
# Seconds.
SHORT_WAIT = 3600
CLOCK_SKEW = 1.0
LAG = 10.0
_SMALL_PACKET = 16 << 20
_CERTIFICATE_DAYS = 14


def judge(facts: Facts) -> tuple[Problem, ...]:
    """Return what is slow or unsafe, what matters most first."""
    found = [problem for rule in _RULES for problem in rule(facts)]
    return tuple(sorted(found, key=lambda problem: _ORDER.index(problem.severity)))


# -- this side -------------------------------------------------------------------------------------


def _client(facts: Facts) -> Iterator[Problem]:
    client = facts.client
    if client.implementation == "python":
        yield Problem(
            "pure_python",
            SLOW,
            f"the pure-Python build runs: {client.reason}",
            "unset AIOMYSQLX_IMPL if it is set; else install a wheel for this Python, or have a C"
            " compiler and pip install --no-binary aiomysqlx aiomysqlx",
        )
    if client.debug:
        yield Problem(
            "loop_debug",
            SLOW,
            "the event loop is in debug mode",
            "unset PYTHONASYNCIODEBUG and PYTHONDEVMODE where speed counts",
        )


def _settings(facts: Facts) -> Iterator[Problem]:
    settings = facts.settings
    if settings.local_infile == "all":
        yield Problem(
            "local_infile",
            UNSAFE,
            "local_infile lets the server ask for any file of this side",
            "leave it out, or give the folder whose files may be loaded",
        )
    if settings.multi_statements:
        yield Problem(
            "multi_statements",
            UNSAFE,
            "client_flag allows several statements in one text",
            "leave CLIENT.MULTI_STATEMENTS out: it makes more of an SQL injection",
        )
    yield from _limits_of_time(settings)
    if settings.maxsize == 0:
        yield Problem(
            "pool_without_limit",
            UNSAFE,
            "maxsize=0: the pool has no limit",
            "give a maxsize, so that a rush of requests does not fill the server",
        )


def _limits_of_time(settings: Settings) -> Iterator[Problem]:
    if settings.connect_timeout is None:
        yield Problem(
            "no_connect_timeout",
            UNSAFE,
            "connect_timeout is off: a login may take forever",
            "leave it at its default, 10 seconds",
        )
    missing = [
        name for name in ("acquire_timeout", "statement_timeout") if getattr(settings, name) is None
    ]
    if missing:
        yield Problem(
            "no_time_limit",
            NOTE,
            f"no {' and no '.join(missing)}: who waits may wait forever",
            "give what your requests can bear, for instance acquire_timeout=5&statement_timeout=30",
        )


# -- the way there ---------------------------------------------------------------------------------


def _tls(facts: Facts) -> Iterator[Problem]:
    route, security = facts.route, facts.security
    if facts.settings.tls == "preferred":
        yield Problem(
            "tls_preferred",
            UNSAFE,
            "ssl_mode=PREFERRED goes on in clear text without TLS",
            "give VERIFY_IDENTITY with ssl_ca, or at least REQUIRED",
        )
    if route is None or security is None or route.way != "TCP":
        return
    if security.tls is None and route.remote:
        yield Problem(
            "tls_off",
            UNSAFE,
            "statements and rows cross the network in clear text",
            "give ssl_mode=VERIFY_IDENTITY, and ssl_ca if the authority is your own",
        )
    yield from _certificate(security, route)


def _certificate(security: Security, route: Route) -> Iterator[Problem]:
    if security.verified == "nothing":
        severity = UNSAFE if route.remote else NOTE
        yield Problem(
            "tls_not_verified",
            severity,
            "TLS is on, but the server's certificate is not"
            " verified: whoever is in between can show his own",
            "give ssl_ca and ssl_mode=VERIFY_IDENTITY",
        )
    if security.verified == "certificate":
        severity = UNSAFE if route.remote else NOTE
        yield Problem(
            "tls_name_not_verified",
            severity,
            "the certificate is verified, but not that it is the host's",
            "give ssl_mode=VERIFY_IDENTITY",
        )
    days = security.certificate_days
    if days is not None and days < _CERTIFICATE_DAYS:
        yield Problem(
            "certificate_expires",
            UNSAFE,
            f"the server's certificate expires in {days} days",
            "renew it: no login works after that",
        )


def _account(facts: Facts) -> Iterator[Problem]:
    security = facts.security
    if security is None:
        return
    over_tcp = facts.route is not None and facts.route.way == "TCP"
    if over_tcp and not security.has_password:
        name = security.account if security.account in ("root", "anonymous") else "the user"
        yield Problem(
            "no_password",
            UNSAFE,
            f"{name} logs in over TCP without a password",
            "set one: ALTER USER … IDENTIFIED BY …",
        )
    if security.account == "root":
        yield Problem(
            "root",
            NOTE,
            "this is root, who may do everything",
            "make an account for the application that may do what that needs",
        )
    if security.auth_plugin == "mysql_clear_password":
        yield Problem(
            "clear_password",
            NOTE,
            "the server is told the password itself",
            "fine for PAM and LDAP over verified TLS; else use another plugin",
        )


def _route(facts: Facts) -> Iterator[Problem]:
    route = facts.route
    if route is None:
        return
    for host in route.hosts:
        if host.error is not None:
            yield Problem(
                "host_down",
                UNSAFE,
                f"no session at {host.address}: {host.error}",
                "see to that host, or take it out of the URL",
            )
    if route.hosts and not facts.settings.track_gtids and _has_standby(route):
        yield Problem(
            "gtids_not_tracked",
            NOTE,
            "a read on a standby may miss what was just written",
            "give track_gtids=true, and acquire(read_only=True, after=conn.last_gtid)",
        )


def _has_standby(route: Route) -> bool:
    return any(host.role == "standby" for host in route.hosts)


# -- how long things take --------------------------------------------------------------------------


def _timings(facts: Facts) -> Iterator[Problem]:
    timings = facts.timings
    if timings is None:
        return
    if timings.name_lookup is not None and timings.name_lookup > SLOW_LOOKUP:
        yield Problem(
            "slow_dns",
            SLOW,
            f"finding the host's name takes {timings.name_lookup:.0f} ms",
            "run a caching resolver, or give an address: each new connection asks anew",
        )
    yield from _round_trips(timings)
    yield from _release(facts, timings)


def _round_trips(timings: Timings) -> Iterator[Problem]:
    ping, connect = timings.ping, timings.connect
    if ping is None:
        return
    if ping.p50 > SLOW_ROUND_TRIP:
        yield Problem(
            "slow_round_trip",
            SLOW,
            f"a round trip takes {ping.p50:.1f} ms: at most"
            f" {1000 / ping.p50:.0f} statements a second, one after the other",
            "move nearer to the server; send fewer statements: many groups of parameters in one"
            " execute(), joins in the place of loops, conn.pipeline()",
        )
    if ping.p99 > _JITTER_LEAST and ping.p99 > _JITTER * ping.p50:
        yield Problem(
            "jitter",
            SLOW,
            f"one round trip of a hundred takes {ping.p99:.0f} ms, most take {ping.p50:.1f}",
            "look for a busy machine on either side, a busy network, or an event loop that is"
            " blocked",
        )
    if connect is not None and connect > SLOW_CONNECT + _LOGIN_ROUND_TRIPS * ping.p50:
        yield Problem(
            "slow_connect",
            SLOW,
            f"a login takes {connect:.0f} ms, out of proportion to a round trip of {ping.p50:.1f}",
            "skip_name_resolve=ON on the server, if it looks up names of clients; minsize as large"
            " as what is used all the time",
        )


def _release(facts: Facts, timings: Timings) -> Iterator[Problem]:
    slow = timings.ping is not None and timings.ping.p50 > 1
    if facts.settings.autocommit is False and slow and timings.release is not None:
        yield Problem(
            "rollback_at_release",
            NOTE,
            "without autocommit, a release after statements costs a"
            f" ROLLBACK, {timings.release.p50:.1f} ms in which nobody else has the connection",
            "autocommit=true where single statements are the rule; engine.begin() makes"
            " transactions there too",
        )


def _pool_test(facts: Facts) -> Iterator[Problem]:
    test = facts.pool_test
    if test is not None and test.error is not None:
        yield Problem(
            "pool_failed",
            UNSAFE,
            f"the pool's test has failed: {test.error}",
            "see the error: the server may have no room for a few connections more",
        )


# -- the server ------------------------------------------------------------------------------------


def _server(facts: Facts) -> Iterator[Problem]:
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
    if replica is not None and replica.lag is not None and replica.lag > LAG:
        yield Problem(
            "replica_lag",
            UNSAFE,
            f"this replica is {replica.lag:.0f} seconds behind",
            "read what must be fresh on the primary, or with acquire(read_only=True, after=…)",
        )


def _limits(facts: Facts) -> Iterator[Problem]:
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
    if wait < SHORT_WAIT and settings.pool_recycle < 0 and not settings.pool_pre_ping:
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


def _session(facts: Facts) -> Iterator[Problem]:
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
    if ahead is not None and abs(ahead) > CLOCK_SKEW:
        where = "ahead of" if ahead > 0 else "behind"
        yield Problem(
            "clock_skew",
            NOTE,
            f"the server's clock is {abs(ahead):.1f} seconds {where} this one",
            "keep both by NTP; do not compare times of the two",
        )


_RULES: tuple[Rule, ...] = (
    *(_tls, _account, _settings, _server, _route, _session, _limits, _pool_test),
    *(_client, _timings),
)
