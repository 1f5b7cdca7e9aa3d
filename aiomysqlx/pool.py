"""The pool: opens, lends, checks and retires DB-API connections."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from typing import Any

from pymysql import err
from pymysql.constants import SERVER_STATUS

from .driver import Connection
from .exc import InvalidRequestError

_CLOSED = "Cannot acquire connection after closing pool"
_Waiter = asyncio.Future["Connection | None"]


class Pool:
    """At most *maxsize* connections, lent to one borrower at a time.

    Idle connections are lent last in, first out; who waits is served first in, first out. A
    waiter is handed a connection, or the right to open one (`None`), by whoever gives capacity
    back; a waiter cancelled in between hands it on. So somebody waits only while nothing is idle
    and *maxsize* is reached.

    *size* counts connections lent, idle, settling and being opened, and rights handed out.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Connection]],
        minsize: int,
        maxsize: int | None,
        recycle: float,
    ) -> None:
        self._connect = connect
        self._recycle = recycle
        self._loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._lent: set[Connection] = set()
        self._settling: dict[Connection, asyncio.Task[None]] = {}
        self._waiters: OrderedDict[_Waiter, None] = OrderedDict()
        self._leaving: list[Connection] = []
        self._empty = asyncio.Event()
        self.minsize = minsize
        self.maxsize = maxsize
        self.size = 0
        self.closing = False

    @property
    def freesize(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    async def open(self) -> None:
        """Open the first connections, all at once: `minsize`, but at least one."""
        count = max(1, self.minsize)
        self.size += count
        try:
            opened = await asyncio.gather(
                *(self._open() for _ in range(count)), return_exceptions=True
            )
        except BaseException:  # cancelled: some may be open
            self.terminate()
            raise
        errors = [error for error in opened if isinstance(error, BaseException)]
        if errors:
            self.terminate()
            await self.wait_closed()
            raise errors[0]
        for connection in tuple(self._lent):
            self.release(connection)

    # -- lending ---------------------------------------------------------------------------------

    def take(self) -> Connection | None:
        """Lend an idle connection, if there is one and `minsize` needs no new one."""
        if self.closing:
            raise RuntimeError(_CLOSED)
        return self._pop() if self.size >= self.minsize else None

    async def acquire(self) -> Connection:
        """Lend a connection: an idle one, a new one, or the next that comes back."""
        connection = self.take()
        if connection is not None:
            return connection
        if self.maxsize is None or self.size < self.maxsize:
            self.size += 1
            try:
                return await self._open()
            except err.MySQLError:
                connection = None if self.closing else self._pop()
                if connection is None:
                    raise
                return connection
        return await self._wait()

    async def _wait(self) -> Connection:
        waiter: _Waiter = self._loop.create_future()
        self._waiters[waiter] = None
        try:
            connection = await waiter
        except BaseException:  # cancelled, or its coroutine closed
            self._withdraw(waiter)
            raise
        if connection is None:
            return await self._open()
        if not connection.closed:
            return connection
        if connection not in self._lent:  # `terminate()` came before us
            raise RuntimeError(_CLOSED)
        self._lent.remove(connection)
        return await self._open()

    def _withdraw(self, waiter: _Waiter) -> None:
        """Pass on what *waiter*, whose task has been cancelled, may have been handed."""
        if not waiter.done():
            waiter.cancel()
        if waiter.cancelled():  # and nobody hands a cancelled one anything
            self._waiters.pop(waiter, None)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._vacate()
            else:
                self.release(connection)

    def _pop(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.closed and not self._is_stale(connection):
                self._lent.add(connection)
                return connection
            connection.close()
            self.size -= 1  # while something is idle nobody waits for its place
        return None

    def _is_stale(self, connection: Connection) -> bool:
        return self._recycle > -1 and (self._loop.time() - connection.last_usage > self._recycle)

    async def _open(self) -> Connection:
        """Open a connection for its borrower, in a place that `size` counts already."""
        try:
            if self.closing:
                raise RuntimeError(_CLOSED)
            connection = await self._connect()
        except BaseException:
            self._vacate()
            raise
        if self.closing:
            self._retire(connection)
            raise RuntimeError(_CLOSED)
        self._lent.add(connection)
        return connection

    # -- taking back -----------------------------------------------------------------------------

    def release(self, connection: Connection) -> asyncio.Task[None] | None:
        """Take a connection back.

        An open transaction is rolled back. A connection that still has to read what a cancelled
        statement brings is kept apart until it has, which the task given back waits for.
        """
        if connection not in self._lent:
            if self.closing and connection.closed:  # by `terminate()`
                return None
            raise InvalidRequestError("the connection does not belong to this pool")
        self._lent.remove(connection)
        if connection.closed or self.closing:
            self._retire(connection)
        elif connection.busy:
            return self._set_apart(connection)
        else:
            self._give(connection)
        return None

    def _set_apart(self, connection: Connection) -> asyncio.Task[None]:
        task = self._loop.create_task(self._settle(connection))
        self._settling[connection] = task
        # Cancelled before its first step, the task would not run at all.
        task.add_done_callback(lambda _: self._settled(connection))
        return task

    async def _settle(self, connection: Connection) -> None:
        await connection.settled()
        self._settled(connection)

    def _settled(self, connection: Connection) -> None:
        if self._settling.pop(connection, None) is None:
            return
        if connection.closed or connection.busy or self.closing:
            self._retire(connection)
        else:
            self._give(connection)

    def _give(self, connection: Connection) -> None:
        """Hand a connection to the first waiter, or keep it."""
        if connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
            connection.rollback_nowait()
            if connection.closed:
                self._retire(connection)
                return
        waiter = self._next_waiter()
        if waiter is None:
            self._idle.append(connection)
        else:
            self._lent.add(connection)
            waiter.set_result(connection)

    def _retire(self, connection: Connection) -> None:
        connection.close()
        if self.closing:
            self._leaving.append(connection)
        self._vacate()

    def _vacate(self) -> None:
        """Let the first waiter open a connection in the place of one that is gone."""
        waiter = None if self.closing else self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
            return
        self.size -= 1
        self._check_empty()

    def _next_waiter(self) -> _Waiter | None:
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():
                return waiter
        return None

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections, and the others as they come back; refuse to lend."""
        self.closing = True
        while self._idle:
            connection = self._idle.pop()
            if connection.busy and not connection.closed:
                self._set_apart(connection)  # to take leave of the server once it has answered
            else:
                self._retire(connection)
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(RuntimeError(_CLOSED))
        self._check_empty()

    def terminate(self) -> None:
        """Close all connections, also those that are lent."""
        self.close()
        while self._lent:
            self._retire(self._lent.pop())
        for connection in tuple(self._settling):
            connection.close()
            self._settled(connection)

    async def wait_closed(self) -> None:
        """Wait until every connection has come back and is closed."""
        if not self.closing:
            raise RuntimeError(".wait_closed() should be called after .close()")
        await self._empty.wait()
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(connection.ensure_closed() for connection in leaving))

    def _check_empty(self) -> None:
        if self.closing and not self.size:
            self._empty.set()
