"""GTIDs: having a server tell what it commits, and waiting until another one has that.

A *session* is a `Session`, which stands above.
"""

from __future__ import annotations

from typing import Any

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, ER

from ..exc import SERVER_ERRORS, StatementTimeoutError
from .columns import describe_bytes
from .command import Question, packet_of

_GALERA = b"wsrep_on"
_GROUP = b"group_replication_consistency"
# Which clusters the server may be in: one that is in none has none of these variables.
_CLUSTERS = packet_of(
    COMMAND.COM_QUERY,
    b"SHOW VARIABLES WHERE Variable_name IN ('%s', '%s') AND Value <> 'OFF'" % (_GALERA, _GROUP),
)
_SYNCED = packet_of(COMMAND.COM_QUERY, b"SET STATEMENT wsrep_sync_wait = 1 FOR SELECT 1")
_BEFORE = packet_of(COMMAND.COM_QUERY, b"SET SESSION group_replication_consistency = 'BEFORE'")
# A query of a table waits, one without does not. The function is refused by a server that is not
# in the group any more, or in a part of it without a majority, and would not wait.
_APPLIED = packet_of(
    COMMAND.COM_QUERY,
    b"SELECT group_replication_get_write_concurrency() FROM (SELECT 1) AS waits",
)
_NOT_IN_GROUP = frozenset((ER.CANT_INITIALIZE_UDF, ER.SP_DOES_NOT_EXIST))
_READ_ONLY = packet_of(COMMAND.COM_QUERY, b"SELECT @@read_only")
# Of the seconds there are, the part that the server waits: in the rest of them it has to answer.
_SERVERS_PART = 0.9
# A server that is not to wait: MySQL takes 0 for no limit.
_AT_ONCE = 0.001


async def track(session: Any) -> None:
    """Have the server tell the GTID of what it commits."""
    if not session.flags & CLIENT.SESSION_TRACK:
        raise err.NotSupportedError(
            0,
            "track_gtids=True needs a server that tells what is set of its sessions, and this one,"
            " or a proxy before it, has no CLIENT_SESSION_TRACK: leave it out",
        )
    if session.is_mariadb:
        names = "CONCAT_WS(',', NULLIF(@@session_track_system_variables, ''), 'last_gtid')"
        await session.query(f"SET SESSION session_track_system_variables = {names}", always=True)
    else:
        await session.query("SET SESSION session_track_gtids = OWN_GTID", always=True)


async def catch_up(session: Any, after: str | bool, seconds: float, waits: bool = True) -> bool:
    """Tell whether the server has what the GTID *after* is of, within *seconds*, once it *waits*.

    With `True` in its place, that is all that was committed before, by whomever: a cluster knows
    that, a replica does not. A server that is lost meanwhile, or cannot do the work, has nothing.
    """
    try:
        with session.limit(seconds):
            return await _has(session, after, seconds * _SERVERS_PART if waits else _AT_ONCE)
    except StatementTimeoutError:
        return False
    except SERVER_ERRORS as error:
        if session.closed or session.unfit is not None or error.args[0] == ER.LOCK_WAIT_TIMEOUT:
            return False
        raise


async def _has(session: Any, after: str | bool, seconds: float) -> bool:
    clusters = await _learned(session)
    if _GALERA in clusters:  # whose nodes do not wait for a GTID
        await session.ask(_SYNCED)
        return True
    if isinstance(after, bool):
        return _GROUP in clusters and await _has_applied(session)
    wanted = session.literal(after)
    if not session.is_mariadb:
        waiting = f"SELECT WAIT_FOR_EXECUTED_GTID_SET({wanted}, {seconds:.3f})"
        (late,) = await session.ask(session.rendered(waiting), describe_bytes)
        return bool(late == b"0")
    # That is about what a replica has applied, not about what the server has written itself.
    waiting = f"MASTER_GTID_WAIT({wanted}, IF(@@read_only, {seconds:.3f}, 0))"
    question = session.rendered(f"SELECT {waiting}, @@gtid_current_pos")
    late, position = await session.ask(question, describe_bytes)
    return late == b"0" or _includes(position.decode(), after)


async def _learned(session: Any) -> dict[bytes, bytes]:
    """Return what the server tells of the clusters that it may be in."""
    if session.clusters is None:
        rows = (await session.run(Question(_CLUSTERS, describe_bytes)))[0].rows
        session.clusters = dict(rows)
    clusters: dict[bytes, bytes] = session.clusters
    return clusters


async def _has_applied(session: Any) -> bool:
    """Have a member apply what its group has had before; false if it is in the group no more."""
    usual = session.clusters[_GROUP].decode()
    in_group = True
    try:
        try:
            await session.run_behind(Question(_BEFORE), Question(_APPLIED))
        except SERVER_ERRORS as error:
            if error.args[0] not in _NOT_IN_GROUP:
                raise
            in_group = False
        back = session.rendered(f"SET SESSION group_replication_consistency = '{usual}'")
        await session.run(Question(back))
    except BaseException:  # or cancelled: whoever has it next would wait before each statement
        session.close()
        raise
    return in_group


async def takes_writes(session: Any) -> bool:
    """Tell whether the server is a primary: what it has not, no other server is to have.

    No node of Galera is that, whatever it takes.
    """
    if session.closed or session.unfit is not None or _GALERA in await _learned(session):
        return False
    (read_only,) = await session.ask(_READ_ONLY, describe_bytes)
    return bool(read_only == b"0")


def _includes(position: str, wanted: str) -> bool:
    """Tell whether a server that is at a position of MariaDB's has itself written what is wanted.

    Either is a list of GTIDs, one of each domain: the domain, a server, the number of what is in
    order there. What servers have written that did not know of each other, after a failover, has
    the same numbers.
    """
    numbers = _numbers(position)
    return all(numbers.get(origin, -1) >= number for origin, number in _numbers(wanted).items())


def _numbers(position: str) -> dict[tuple[str, str], int]:
    """Return the numbers of a position's GTIDs by their domains and servers."""
    parts = (gtid.strip().split("-") for gtid in position.split(",") if gtid.strip())
    return {(domain, server): int(number) for domain, server, number in parts}
