"""What an engine does to a connection before and after it is lent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from . import hooks
from .driver import Connection
from .exc import InvalidRequestError
from .runtime.awaitable import in_time
from .runtime.place import Place, shown

logger = logging.getLogger("aiomysqlx.pool")

# What is told to whoever still uses a connection then.
_ENDED = "its engine has been terminated, or closed: create another engine"
_RETIRED = "its engine has replaced it: acquire another"

Hook = Callable[[Connection], Coroutine[Any, Any, object]]


class Upkeep:
    """Opens, checks, puts back and closes connections, as an engine's pool asks for it.

    *init* is run on every new connection, *reset* on every one that comes back. *renews* tells
    that *reset* leaves the session as new, whatever it was.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Connection]],
        *,
        init: Hook | None = None,
        reset: Hook | None = None,
        renews: bool = False,
    ) -> None:
        self._connect = connect
        self._init = init
        self._reset = reset
        self._renews = renews

    @property
    def has_init(self) -> bool:
        """Whether something is run on every new connection."""
        return self._init is not None

    @property
    def has_reset(self) -> bool:
        """Whether something is run on every connection that comes back."""
        return self._reset is not None

    async def open(self) -> Connection:
        """Open a connection that belongs to the pool, whoever borrows it."""
        connection = await self._connect()
        connection.pooled = True
        return connection

    async def begin(self, connection: Connection) -> None:
        """Run `init`, and keep the session that `put_back()` goes back to."""
        if self._init is not None:
            await self._init(connection)
        await _come_to_rest(connection, "init")
        await in_time(connection.keep_session(), hooks.HOOK_SECONDS)
        if not connection.at_rest:  # another one would be opened, and closed, without end
            raise _broken(connection)

    async def check(self, connection: Connection) -> None:
        """Ping the server."""
        await in_time(connection.ping(reconnect=False), hooks.HOOK_SECONDS)

    def interrupt(self, connection: Connection, place: Place | None) -> None:
        """Close a connection whose borrower still waits for a statement."""
        if connection.awaited:
            self.warn_of_loss(connection, place)
            connection.close()  # its statement would go on in the hands of the next borrower

    def start_back(self, connection: Connection, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin to roll back, if that is all that there is to do: it takes no task.

        Without autocommit, every release is of this kind.
        """
        if self._reset is not None or not connection.as_begun:
            return None
        self.warn_of_loss(connection, place)
        return connection.start_rollback()

    async def settle(self, connection: Connection, place: Place | None) -> None:
        """Wait for the statement that a borrower has left, and warn of what is uncommitted."""
        if await connection.settled():
            await in_time(connection.learn_transaction(), hooks.HOOK_SECONDS)
        self.warn_of_loss(connection, place)

    async def put_back(self, connection: Connection) -> None:
        """Roll back, put back what was set of the session, and run `reset`."""
        # MariaDB's reset leaves a session to the transaction that was prepared in it.
        if not connection.at_rest and (connection.wrote or not self._renews):
            await in_time(_undo(connection), hooks.HOOK_SECONDS)
        if self._reset is not None and not connection.closed:
            await self._reset(connection)
            await _come_to_rest(connection, "reset")
            connection.accept_session()

    def warn_of_loss(self, connection: Connection, place: Place | None) -> None:
        """Log that a borrower has left uncommitted what is rolled back."""
        if connection.wrote and not connection.closed:
            where = "" if place is None else f" acquired at {shown(place)}"
            logger.warning("rolled back what was left uncommitted on a connection%s", where)

    def close(self, connection: Connection, cause: str) -> None:
        """Close a connection, and tell why to whoever still uses it."""
        connection.close(_ENDED if cause == "engine" else _RETIRED)


async def _come_to_rest(connection: Connection, what: str) -> None:
    """See to it that a hook leaves nothing under way, and nobody who goes on with it."""
    connection.lease += 1
    if connection.awaited:
        raise InvalidRequestError(f"{what} has left a statement in progress")
    if await connection.settled():
        await in_time(connection.learn_transaction(), hooks.HOOK_SECONDS)
    if connection.in_transaction and not connection.closed:
        if connection.wrote:
            logger.warning("rolled back what %s has left uncommitted", what)
        await in_time(_roll_back(connection), hooks.HOOK_SECONDS)


async def _undo(connection: Connection) -> None:
    """Roll back, and put back what was set of the session; or close the connection."""
    await _roll_back(connection)
    if not connection.in_transaction and not await connection.put_back():
        connection.close()


async def _roll_back(connection: Connection) -> None:
    """End the transaction of a connection, if it is in one."""
    if connection.in_transaction:
        await connection.rollback()
    if connection.in_transaction:  # another one, which the `completion_type` CHAIN begins
        await connection.query("ROLLBACK AND NO CHAIN")


def _broken(connection: Connection) -> BaseException:
    """Return the reason why a connection that was opened cannot be lent."""
    if connection.unfit is not None:
        error: BaseException = connection.unfit.error()
        return error
    return connection.loss or InvalidRequestError(
        "init has closed the connection, or goes on using it"
    )
