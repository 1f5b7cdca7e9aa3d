"""What an engine, or a driver's pool, does to a connection before and after it is lent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from pymysql import err
from pymysql.constants import CR, ER

from .exc import (
    DISCONNECTS,
    SERVER_ERRORS,
    InvalidRequestError,
    NoHostError,
)
from .runtime.awaitable import in_time
from .runtime.words import Place
from .wire.addresses import READ_ONLY, READ_WRITE
from .wire.ending import roll_back, warn_of_loss
from .wire.session import Session

if TYPE_CHECKING:
    from .settings import Hook

logger: logging.Logger = logging.getLogger("aiomysqlx.pool")

# What is told to whoever still uses a connection then.
_ENDED = "its {0} has been terminated, or closed: create another {0}"
_RETIRED = "its {0} has replaced it: acquire another"

# How long a hook may take, a ping, and what puts a session back.
HOOK_SECONDS = 5.0
# How long a server may take to answer that has not answered in time.
SUSPECT_SECONDS = 1.0
# What is refused while there are too many connections: in all, or of one user.
_TOO_MANY = frozenset({ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED})
# Why a host cannot be asked what it is, besides: it is down, or out of its cluster.
_OFFLINE_MODE = 3032
_GONE = _TOO_MANY | DISCONNECTS | {ER.UNKNOWN_COM_ERROR, _OFFLINE_MODE}


class Upkeep:
    """Opens, checks, puts back and closes connections, as the pool of its *owner* asks for it.

    *init* is run on every new connection, *reset* on every one that comes back. *renews* tells
    that *reset* leaves the session as new, whatever it was.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Session]],
        *,
        init: Hook | None = None,
        reset: Hook | None = None,
        renews: bool = False,
        owner: str = "engine",
    ) -> None:
        self._connect = connect
        self._init = init
        self._reset = reset
        self._renews = renews
        self.owner: str = owner
        self.has_init: bool = init is not None
        self.has_reset: bool = reset is not None

    async def open(self) -> Session:
        """Open a connection that belongs to the pool, whoever borrows it."""
        session = await self._connect()
        session.pooled = True
        return session

    async def begin(self, session: Session) -> None:
        """Run `init`, and keep the session that `put_back()` goes back to."""
        if self._init is not None:
            await self._init(session)
        await _come_to_rest(session, "init")
        await in_time(session.keep(), HOOK_SECONDS)
        if not session.at_rest:  # another one would be opened, and closed, without end
            raise _broken(session)

    def is_passing(self, error: BaseException) -> bool:
        """Tell whether a server may take another connection later, or another host may be fit."""
        if not isinstance(error, NoHostError):
            if not isinstance(error, SERVER_ERRORS):  # but of `init`, whose arguments may be any
                return False
            return any(code in error.args[:1] for code in _TOO_MANY)
        if error.want in (READ_WRITE, READ_ONLY):  # one may come to be that
            return error.some_misfit or not _GONE.isdisjoint(error.codes)
        return not _TOO_MANY.isdisjoint(error.codes)

    async def check(self, session: Session, suspect: bool) -> None:
        """Ping the server; of a *suspect* one, find out soon whether it does work.

        That takes no longer, so it is found out of one of several hosts at once.
        """
        several = session.hosts.asks_role(session.want)
        work = session.prove() if suspect or several else session.ping()
        await in_time(work, SUSPECT_SECONDS if suspect else HOOK_SECONDS)

    def shun(self, session: Session) -> None:
        """Have other hosts be tried before that of a session, which does no work."""
        unfit = session.unfit
        error = err.OperationalError(CR.CR_SERVER_LOST, "it has not answered in time")
        session.hosts.failed(session.address, error if unfit is None else unfit.error())

    def interrupt(self, session: Session, place: Place | None) -> None:
        """Close a connection whose borrower still waits for a statement."""
        session.leave_stream()
        if session.awaited:
            self.warn_of_loss(session, place)
            session.close()  # its statement would go on in the hands of the next borrower
        session.left = session.later = None  # and nobody commits what it may have failed in

    def start_back(self, session: Session, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin to roll back, if that is all that there is to do: it takes no task.

        Without autocommit, every release is of this kind but one after a COMMIT or ROLLBACK.
        """
        if self._reset is not None or not session.as_begun:
            return None
        self.warn_of_loss(session, place)
        return session.start_rollback()

    async def settle(self, session: Session, place: Place | None) -> None:
        """Wait for the statement that a borrower has left, and warn of what is uncommitted."""
        if await session.settled():
            await in_time(session.learn_transaction(), HOOK_SECONDS)
        session.forget_gtid()
        self.warn_of_loss(session, place)

    async def put_back(self, session: Session) -> None:
        """Roll back, put back what was set of the session, and run `reset`."""
        if not session.at_rest and not self._renews:
            await in_time(_undo(session), HOOK_SECONDS)
        # MariaDB's reset leaves a session to the transaction that was prepared in it, and its flags
        # do not show that. Nor does it count the rows that it returns: it may have written any.
        elif session.wrote or (session.in_transaction and session.is_mariadb):
            await in_time(_roll_back(session), HOOK_SECONDS)
        if self._reset is not None and not session.closed:
            await self._reset(session)
            await _come_to_rest(session, "reset")
            session.accept()

    def warn_of_loss(self, session: Session, place: Place | None) -> None:
        """Log that a borrower has left uncommitted what is rolled back."""
        warn_of_loss(session, "acquired", place)

    def close(self, session: Session, cause: str) -> None:
        """Close a session, and tell why to whoever still uses it."""
        session.close((_ENDED if cause == "engine" else _RETIRED).format(self.owner))


async def _come_to_rest(session: Session, what: str) -> None:
    """Make sure that a hook leaves nothing under way, and nobody who goes on with it."""
    session.lease += 1
    if session.awaited:
        raise InvalidRequestError(f"{what} has left a statement in progress")
    if await session.settled():
        await in_time(session.learn_transaction(), HOOK_SECONDS)
    if session.protocol.untold and not session.closed:
        await in_time(session.ready(), HOOK_SECONDS)
    if session.owes_rollback and not session.closed:
        if session.wrote:
            logger.warning("rolled back what %s has left uncommitted", what)
        await in_time(_roll_back(session), HOOK_SECONDS)


async def _undo(session: Session) -> None:
    """Roll back, and put back what was set of the session; or close the session."""
    await _roll_back(session)
    with session.observed_by_log_alone():
        if not session.in_transaction and not await session.put_back():
            session.close()


async def _roll_back(session: Session) -> None:
    """End the transaction of a session, if it may be in one."""
    with session.observed_by_log_alone():
        if session.owes_rollback:
            await roll_back(session)
        if session.in_transaction:  # another one, which the `completion_type` CHAIN begins
            await session.query("ROLLBACK AND NO CHAIN")


def _broken(session: Session) -> BaseException:
    """Return the reason why a connection that was opened cannot be lent."""
    if session.unfit is not None:
        error: BaseException = session.unfit.error()
        return error
    return session.loss or InvalidRequestError(
        "init has closed the connection, or goes on using it"
    )
