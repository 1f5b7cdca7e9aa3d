"""The end of a transaction that is asked for, and what its answer means, or the lack of one.

A COMMIT that the server refuses is rolled back by it. If nothing has been answered, or only that
it was interrupted, nobody knows whether it was executed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from pymysql.constants import CLIENT, CR, ER

from ..exc import (
    SERVER_ERRORS,
    CommitTimeoutError,
    CommitUnknownError,
    StatementTimeoutError,
    is_leaving,
)
from ..runtime.words import Place, shown
from .command import READY, Command, End, Fate
from .outcome import ROLLED_BACK, Refusal, may_commit

if TYPE_CHECKING:
    from .reply import Reply, ResultSet
    from .session import Session

logger: logging.Logger = logging.getLogger("aiomysqlx.pool")

LOOK = "look for its work before it is done again"
"""What to do where nobody knows whether a COMMIT was executed."""

PREPARED = "XA RECOVER lists its xid if it was not"
"""The same for what was prepared."""

_ROLLED_BACK = (
    "rolled back what was left uncommitted on a connection%s: commit() it, or begin it by"
    " async with conn.begin()"
)
_CUT_OFF = (
    "what was left uncommitted on a connection%s was committed or rolled back: it was closed during"
    " a statement that may commit, %s"
)
_ROLLBACK = READY["ROLLBACK", True].packet

# That a KILL or a time limit of the server's was met: before the work was committed, or after it.
_INTERRUPTIONS = frozenset({ER.QUERY_INTERRUPTED, 1969, 3024})


def commit(
    session: Session, sql: str = "COMMIT", remedy: str = LOOK, *, always: bool = False
) -> Coroutine[Any, Any, list[ResultSet]]:
    """Execute *sql*, a COMMIT of any sort; raise `CommitUnknownError` if its answer is lost.

    Returns what is to be awaited at once. A task that is cancelled meanwhile gets its
    `CancelledError`, which has that for its cause. The *remedy* is told. With *always* nothing bars
    it.
    """
    command: Command | None = None
    if session.observer is None and remedy is LOOK:
        command = _READY.get((sql, always))
    if command is None:
        command = _told(session.text(sql, always=always), sql, remedy)
    return session.run(command)


def fate_of(sql: str, remedy: str = LOOK) -> Fate:
    """Return what a command that is *sql* has for its `fate`: it commits, and raises so."""
    return partial(_fate, sql, remedy)


def _told(command: Command, sql: str, remedy: str) -> Command:
    command.fate = fate_of(sql, remedy)
    return command


def _fate(
    sql: str, remedy: str, session: Session, reply: Reply, error: BaseException
) -> BaseException:
    """Return what is raised for an error that came once a COMMIT was sent."""
    if isinstance(error, asyncio.CancelledError):
        if reply.refused is None:  # an answer that has come may not be taken any more
            error.__cause__ = cancelled(sql, remedy)
        return error
    if not isinstance(error, SERVER_ERRORS):
        return error
    return unknown_fate(session, error, sql, remedy, reply.refused is not None) or error


# Not the command of a COMMIT as text, which all sessions have too: an error of that stays as it is.
_READY: dict[tuple[str, bool], Command] = {
    ("COMMIT", always): _told(End(READY["COMMIT", always].packet, always=always), "COMMIT", LOOK)
    for always in (False, True)
}


def cancelled(sql: str = "COMMIT", remedy: str = LOOK) -> CommitUnknownError:
    """Return the cause of the cancellation of a task that has sent a COMMIT."""
    return CommitUnknownError(CR.CR_SERVER_LOST, _words("its task was cancelled", sql, remedy))


async def roll_back(session: Session) -> None:
    """Execute ROLLBACK, though the server may have done so already.

    A conflict within a cluster rolls a transaction back while nothing is executed in it. The next
    command, whichever it is, is refused with that, and done by the time that it is sent again.
    """
    try:
        await session.query("ROLLBACK", always=True)
    except SERVER_ERRORS as error:
        if session.closed or getattr(error, "sqlstate", None) != ROLLED_BACK:
            raise
    else:
        return
    await session.query("ROLLBACK", always=True)


def warn_of_loss(session: Session, how: str, place: Place | None) -> None:
    """Log that what is uncommitted on a session is rolled back, and *how* it was got where.

    Or that it may be, where what is under way may commit it.
    """
    if not session.wrote or session.closed:
        return
    where = "" if place is None else f" {how} at {shown(place)}"
    packets = [reply.packet for reply in session.protocol.replies]
    if _ROLLBACK in packets:  # it was asked for
        return
    if any(_may_commit(session, packet) for packet in packets):
        logger.warning(_CUT_OFF, where, LOOK)
    else:
        logger.warning(_ROLLED_BACK, where)


def _may_commit(session: Session, packet: bytes) -> bool:
    """Tell whether a command may commit what was done before it, as one of several may."""
    several = session.flags & CLIENT.MULTI_STATEMENTS and b";" in packet
    return bool(several) or may_commit(packet, session.encoding)


def unknown_fate(
    session: Session, error: Any, sql: str, remedy: str, refused: bool
) -> CommitUnknownError | None:
    """Return the error for a COMMIT that was sent, if *error* leaves open whether it was executed.

    A refusal does so only of what was interrupted, or by a node that leaves its cluster: it rolls
    back, but others may have what it has sent them by then.
    """
    code, message = error.args
    state = getattr(error, "sqlstate", None)
    if refused:
        ends = Refusal(code, state, message).ends_session(session.is_mariadb)
        if not (ends or code in _INTERRUPTIONS or is_leaving(code, message)):
            return None
    late = isinstance(error, StatementTimeoutError)
    unknown: Any = CommitTimeoutError if late else CommitUnknownError
    unknown = unknown(code, _words(message, sql, remedy))
    unknown.sqlstate = state
    unknown.__cause__ = error.__cause__
    return unknown  # type: ignore[no-any-return]  # of a class with an attribute of PyMySQL's


def _words(what: str, sql: str, remedy: str) -> str:
    kind = "XA COMMIT" if sql.startswith("XA") else sql
    return f"{what}: the {kind} was sent, and may have been executed or not: {remedy}"
