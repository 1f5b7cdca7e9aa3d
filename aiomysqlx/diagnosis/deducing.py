"""What follows from what a server answers, and from the socket to it: pure functions."""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import suppress
from typing import Any

from .facts import Galera, Member, Replica

_DAY = 86400


def vendor(version: str, comment: str | None, aurora: bool) -> str:
    """Return whose server it is."""
    if aurora:
        return "Amazon Aurora"
    known = {"mariadb": "MariaDB", "tidb": "TiDB", "percona": "Percona Server"}
    said = f"{version} {comment or ''}".lower()
    return next((name for word, name in known.items() if word in said), "MySQL")


def role(
    read_only: bool | None,
    galera: Galera | None,
    group: Member | None,
    replication: Replica | None,
) -> str:
    """Return a server's part in words."""
    if galera is not None:
        part = f"Galera node, {galera.state or '?'}, {galera.status or '?'} of {galera.size}"
    elif group is not None:
        part = f"Group Replication, {group.role.lower() or 'no member'}, {group.state}"
    elif replication is not None:
        part = "replica"
    else:
        part = "" if read_only else "not told" if read_only is None else "primary"
    return ", ".join(filter(None, (part, "read-only" if read_only else "")))


def replica(result: Any) -> Replica:
    """Return what the first row of a replica's status says."""
    names = [column.name.lower() for column in result.columns.definitions]
    row = dict(zip(names, result.rows[0], strict=True))

    def value(*known: str) -> str:
        found = next((row[name] for name in known if row.get(name) is not None), b"")
        return str(found.decode("utf8", "replace"))

    running = [
        value("replica_io_running", "slave_io_running"),
        value("replica_sql_running", "slave_sql_running"),
    ]
    lag = value("seconds_behind_source", "seconds_behind_master")
    return Replica(running == ["Yes", "Yes"], float(lag) if lag.isdecimal() else None)


def behind(greeted: str, comment: str | None, renumbered: bool, other_port: bool) -> str | None:
    """Return what is between this side and the server, by how it *greeted* and what it shows."""
    said = f"{greeted} {comment or ''}".lower()
    known = {"proxysql": "ProxySQL", "maxscale": "MaxScale", "-router": "MySQL Router"}
    for word, name in known.items():
        if word in said:
            return name
    if renumbered:
        return "a proxy that knows the protocol: it gives connections numbers of its own"
    if other_port:
        return "a proxy or an address translation: the server sees the client at another port"
    return None


def is_remote(peer: Any) -> bool:
    """Tell whether the address of a socket's peer is on another machine."""
    with suppress(ValueError, TypeError, IndexError):
        return not ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback
    return True


def is_port(host: str, port: int) -> bool:
    """Tell whether a server shows its client at that port, as far as it shows one."""
    _, _, shown = host.rpartition(":")
    return not shown.isdecimal() or int(shown) == port


def verified(context: ssl.SSLContext) -> str:
    """Return what is verified of a server."""
    if context.verify_mode == ssl.CERT_NONE:
        return "nothing"
    return "certificate and name" if context.check_hostname else "certificate"


def days_left(certificate: Any, at: float) -> int | None:
    """Return how many days a certificate has left, unless it was not verified."""
    end = (certificate or {}).get("notAfter")
    return None if end is None else int((ssl.cert_time_to_seconds(end) - at) // _DAY)


def account(name: str | None) -> str | None:
    """Return whose account it is, without the name of one's own."""
    if name is None:
        return None
    return {"root": "root", "": "anonymous"}.get(name, "named")


def skew(clock: str | None, before: float, after: float) -> float | None:
    """Return how far the server's clock is ahead, which was asked between two times of this one."""
    try:
        told = float(clock or "")
    except ValueError:
        return None
    if before <= told <= after:
        return 0.0
    return round(told - (after if told > after else before), 3)
