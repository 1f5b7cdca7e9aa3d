"""The pool: opens, lends, checks and retires DB-API connections."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from pymysql.constants import SERVER_STATUS

from .driver import Connection
from .exc import InvalidRequestError

_CLOSED = "Cannot acquire connection after closing pool"


class Pool:
    """At most *maxsize* connections, lent to one borrower at a time.

    Idle connections are lent last in, first out; who waits is served first in, first out. A
    waiter is handed a connection, or the right to open one (`None`), by whoever gives capacity
    back; a waiter cancelled in between hands it on.
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
        self._opening = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._leaving: list[Connection] = []
        self._empty = asyncio.Event()
        self.minsize = minsize
        self.maxsize = maxsize
        self.closing = False

    @property
    def size(self) -> int:
        """The number of connections, lent, idle and being opened."""
        return len(self._lent) + len(self._idle) + len(self._settling) + self._opening

    @property
    def freesize(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    async def open(self) -> None:
        """Open the first connections, all at once: `minsize`, but at least one."""
        opened = await asyncio.gather(
            *(self._open() for _ in range(max(1, self.minsize))), return_exceptions=True
        )
        for connection in opened:
            if isinstance(connection, Connection):
                self.release(connection)
        for error in opened:
            if isinstance(error, BaseException):
                self.close()
                await self.wait_closed()
                raise error

    # -- lending ---------------------------------------------------------------------------------

    async def acquire(self) -> Connection:
        """Lend a connection: an idle one, a new one, or the next that comes back."""
        if self.closing:
            raise RuntimeError(_CLOSED)
        connection = self._take()
        if connection is not None:
            return connection
        if self.maxsize is None or self.size < self.maxsize:
            return await self._open()
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            connection = await waiter
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        if connection is not None:
            return connection
        self._opening -= 1  # reserved for this waiter by `_free_capacity`
        return await self._open()

    def _withdraw(self, waiter: asyncio.Future[Connection | None]) -> None:
        if not waiter.done() or waiter.cancelled():
            self._waiters.remove(waiter)
        elif waiter.exception() is None:
            connection = waiter.result()
            if connection is None:
                self._opening -= 1
                self._free_capacity()
            else:
                self.release(connection)

    def _take(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.closed or self._is_stale(connection):
                connection.close()
                continue
            self._lent.add(connection)
            return connection
        return None

    def _is_stale(self, connection: Connection) -> bool:
        return self._recycle > -1 and (self._loop.time() - connection.last_usage > self._recycle)

    async def _open(self) -> Connection:
        self._opening += 1
        try:
            connection = await self._connect()
        except BaseException:
            self._opening -= 1
            self._free_capacity()
            raise
        self._opening -= 1
        if self.closing:
            connection.close()
            self._check_empty()
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
        if connection.closed:
            self._free_capacity()
            return None
        if self.closing:
            self._retire(connection)
            return None
        if connection.busy:
            task = self._loop.create_task(self._settle(connection))
            self._settling[connection] = task
            return task
        self._give(connection)
        return None

    async def _settle(self, connection: Connection) -> None:
        try:
            await connection.settled()
        finally:
            del self._settling[connection]
            if connection.closed or self.closing:
                self._retire(connection)
            else:
                self._give(connection)

    def _give(self, connection: Connection) -> None:
        """Hand a connection to the first waiter, or keep it."""
        if connection.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS:
            connection.rollback_nowait()
        if connection.closed:
            self._free_capacity()
            return
        waiter = self._next_waiter()
        if waiter is None:
            self._idle.append(connection)
        else:
            self._lent.add(connection)
            waiter.set_result(connection)

    def _free_capacity(self) -> None:
        """Let the first waiter open a connection in the place of one that is gone."""
        self._check_empty()
        if self.closing or (self.maxsize is not None and self.size >= self.maxsize):
            return
        waiter = self._next_waiter()
        if waiter is not None:
            self._opening += 1
            waiter.set_result(None)

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _retire(self, connection: Connection) -> None:
        connection.close()
        self._leaving.append(connection)
        self._free_capacity()

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections, and the others as they come back; refuse to lend."""
        self.closing = True
        while self._idle:
            self._retire(self._idle.pop())
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(RuntimeError(_CLOSED))
        self._check_empty()

    def terminate(self) -> None:
        """Close all connections, also those that are lent."""
        self.close()
        for connection in (*self._lent, *self._settling):
            connection.close()
            self._leaving.append(connection)
        self._lent.clear()
        self._check_empty()

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
