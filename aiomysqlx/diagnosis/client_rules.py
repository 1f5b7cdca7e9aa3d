"""What is slow or unsafe of this side, of the way to the server, and of how long that takes."""

from __future__ import annotations

from collections.abc import Iterator

from .facts import NOTE, SLOW, UNSAFE, Facts, Problem, Route, Security, Settings, Timings

# Milliseconds.
_SLOW_LOOKUP = 100.0
_SLOW_ROUND_TRIP = 5.0
_SLOW_CONNECT = 200.0
# How many round trips a login takes at most, by and large: TCP, TLS, the plugin, what is asked.
_LOGIN_ROUND_TRIPS = 15
# From which on the slowest are out of all proportion, and in milliseconds.
_JITTER, _JITTER_LEAST = 10, 20.0
_CERTIFICATE_DAYS = 14


def client(facts: Facts) -> Iterator[Problem]:
    """Judge the build and the event loop."""
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


def settings(facts: Facts) -> Iterator[Problem]:
    """Judge what the options ask for."""
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


def tls(facts: Facts) -> Iterator[Problem]:
    """Judge how the connection is protected."""
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


def account(facts: Facts) -> Iterator[Problem]:
    """Judge who logs in, and by what."""
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


def route(facts: Facts) -> Iterator[Problem]:
    """Judge the hosts."""
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


def timings(facts: Facts) -> Iterator[Problem]:
    """Judge how long things take."""
    timings = facts.timings
    if timings is None:
        return
    if timings.name_lookup is not None and timings.name_lookup > _SLOW_LOOKUP:
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
    if ping.p50 > _SLOW_ROUND_TRIP:
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
    if connect is not None and connect > _SLOW_CONNECT + _LOGIN_ROUND_TRIPS * ping.p50:
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


def pool_test(facts: Facts) -> Iterator[Problem]:
    """Judge the pool's test."""
    test = facts.pool_test
    if test is not None and test.error is not None:
        yield Problem(
            "pool_failed",
            UNSAFE,
            f"the pool's test has failed: {test.error}",
            "see the error: the server may have no room for a few connections more",
        )
