"""A diagnosis as text, to be read and pasted, or as JSON with the same content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from ..runtime.words import printable
from .facts import (
    Capabilities,
    Client,
    Facts,
    Limits,
    PoolTest,
    Problem,
    Route,
    Security,
    Server,
    Session,
    Spread,
    Timings,
)

Line = tuple[str, str]
"""What something is called, and what it is."""

_WIDTH = 23  # of the names, with the space behind them
_UNKNOWN = "not told"
_HIDDEN = "not visible to this user"


def as_json(facts: Facts, problems: Iterable[Problem]) -> str:
    """Return a diagnosis as a JSON object: the fields of `Facts`, and `problems`."""
    found: dict[str, Any] = {**asdict(facts), "problems": [asdict(each) for each in problems]}
    return json.dumps(found, indent=2, ensure_ascii=False)


def as_text(facts: Facts, problems: Iterable[Problem]) -> str:
    """Return a diagnosis as text."""
    lines = [line for title, part in _parts(facts) for line in _part(title, part)]
    if facts.out_of_time:
        lines += ["", f"out of time (--timeout): {', '.join(facts.out_of_time)}"]
    if facts.error is not None:
        lines += ["", "error", f"  {facts.error}", f"  -> {facts.advice}"]
    lines += ["", "slow or unsafe", *_problems(problems)]
    return "\n".join(map(printable, lines))


def _part(title: str, part: Iterable[Line]) -> Iterator[str]:
    yield from (["", title] if title else [])
    indent = "  " if title else ""
    for name, text in part:
        yield f"{indent}{name:<{_WIDTH - len(indent)}}{text}"


def _parts(facts: Facts) -> Iterator[tuple[str, Iterable[Line]]]:
    yield "", _client(facts.client)
    if facts.route is not None:
        hidden = facts.not_visible
        yield "server", [*_route(facts.route), *_server(facts.server, hidden)]
        yield "security", _security(facts.security)
        yield "session", _session(facts.session, hidden)
        yield "limits", _limits(facts.limits, hidden)
        yield "capabilities", _capabilities(facts.capabilities)
    if facts.timings is not None:
        yield "times", [*_timings(facts.timings), *_pool(facts.pool_test)]


def _client(client: Client) -> Iterator[Line]:
    yield "aiomysqlx", f"{client.aiomysqlx}, {client.implementation}: {client.reason}"
    yield "Python", f"{client.python}, {client.platform}"
    yield "event loop", f"{client.event_loop}{' in debug mode' if client.debug else ''}"
    for name, version in client.libraries.items():
        yield name, version or "not installed"


def _route(route: Route) -> Iterator[Line]:
    where = "another machine" if route.remote else "this machine"
    yield "address", f"{route.address} ({route.way}, {where})"
    yield "behind", route.behind or "nothing that shows"
    for host in route.hosts:
        yield "host", f"{host.address}: {host.error or host.role or _UNKNOWN}"


def _server(server: Server | None, hidden: tuple[str, ...]) -> Iterator[Line]:
    if server is None:
        return
    yield "vendor", server.vendor
    yield "version", f"{server.version} ({server.comment or _unknown('variables', hidden)})"
    yield "role", server.role
    if "group" in hidden:
        yield "group", _HIDDEN
    if server.replica is not None:
        runs = "running" if server.replica.running else "stopped"
        yield "replication", f"{runs}, lag {_seconds(server.replica.lag)}"
    elif "replica" in hidden:
        yield "replication", _HIDDEN


def _security(security: Security | None) -> Iterator[Line]:
    if security is None:
        return
    if security.tls is None:
        offered = "offers it" if security.tls_offered else "does not offer it"
        yield "TLS", f"off, the server {offered}"
    else:
        days = security.certificate_days
        left = "" if days is None else f", certificate valid for {days} days"
        yield "TLS", f"{security.tls}, {security.cipher}, verified: {security.verified}{left}"
    word = "with a" if security.has_password else "without a"
    yield "login", f"{security.auth_plugin}, {word} password"


def _session(session: Session | None, hidden: tuple[str, ...]) -> Iterator[Line]:
    if session is None:
        return
    unknown = _unknown("variables", hidden)
    yield "charset", _pair(session.character_set, session.collation, unknown)
    yield "of the server", _pair(session.server_character_set, session.server_collation, unknown)
    if session.has_database:
        database = session.database_character_set, session.database_collation
        yield "of the database", _pair(*database, unknown)
    yield "sql_mode", unknown if session.sql_mode is None else session.sql_mode or "(empty)"
    yield "time zone", _zone(session, unknown)
    yield "isolation level", session.isolation_level or unknown
    yield "autocommit", "on" if session.autocommit else "off"
    yield "clock", _clock(session.clock_skew)


def _zone(session: Session, unknown: str) -> str:
    if session.time_zone == "SYSTEM":
        return f"SYSTEM ({session.system_time_zone or unknown})"
    return session.time_zone or unknown


def _clock(ahead: float | None) -> str:
    return _UNKNOWN if ahead is None else f"{ahead:+.3f} s to this side's"


def _limits(limits: Limits | None, hidden: tuple[str, ...]) -> Iterator[Line]:
    if limits is None:
        return
    unknown = _unknown("variables", hidden)
    yield "max_allowed_packet", _count(limits.max_allowed_packet, "bytes", unknown)
    yield "wait_timeout", _count(limits.wait_timeout, "s", unknown)
    yield "max_connections", _count(limits.max_connections, "", unknown)
    if limits.max_user_connections:
        yield "for this user", str(limits.max_user_connections)
    in_use = _count(limits.connections, "", _unknown("status", hidden))
    most = "" if limits.most_connections is None else f", {limits.most_connections} at most so far"
    yield "in use", f"{in_use}{most}"


def _capabilities(found: Capabilities | None) -> Iterator[Line]:
    if found is None:
        return
    for name, value in asdict(found).items():
        yield (
            name.replace("_", " "),
            _UNKNOWN if value is None else "yes" if value else "no",
        )


def _timings(timings: Timings) -> Iterator[Line]:
    if timings.name_lookup is not None:
        yield "name lookup", f"{timings.name_lookup:.1f} ms"
    yield "connect", _UNKNOWN if timings.connect is None else f"{timings.connect:.1f} ms"
    yield "ping", _spread(timings.ping)
    yield "SELECT 1", _spread(timings.select)
    yield "acquire, release", _spread(timings.acquire)
    yield "release after use", _spread(timings.release)


def _pool(test: PoolTest | None) -> Iterator[Line]:
    if test is None:
        return
    if test.error is not None:
        yield "pool", f"failed: {test.error}"
        return
    work = f"{test.statements} statements of {test.tasks} tasks on {test.maxsize} connections"
    waits = f"{test.waited} waits, {test.longest_wait * 1000:.1f} ms at most"
    yield "pool", f"{work} in {test.seconds:.3f} s, {test.opened} opened, {waits}"


def _problems(problems: Iterable[Problem]) -> Iterator[str]:
    found = list(problems)
    if not found:
        yield "  nothing that shows"
    for each in found:
        yield f"  {each.severity}: {each.what} [{each.key}]"
        yield f"    -> {each.do}"


# -- values ----------------------------------------------------------------------------------------


def _unknown(what: str, hidden: tuple[str, ...]) -> str:
    return _HIDDEN if what in hidden else _UNKNOWN


def _pair(charset: str | None, collation: str | None, unknown: str) -> str:
    return unknown if charset is None else f"{charset}, {collation or unknown}"


def _count(value: float | None, unit: str, unknown: str) -> str:
    return unknown if value is None else f"{value} {unit}".rstrip()


def _seconds(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:g} s"


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return _UNKNOWN
    return f"p50 {spread.p50:.3f} ms, p99 {spread.p99:.3f} ms ({spread.count} times)"
