"""The pool: opens, lends, checks and retires DB-API connections."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from ._awaitable import in_time
from .driver import Connection
from .exc import AcquireTimeoutError, InvalidRequestError
from .limits import JITTER, Limits
from .process import keep_in_process
from .queue import Queue, Waiter
from .stats import Counts, PoolStats

_CLOSED = "Cannot acquire connection after closing pool"
_ELSEWHERE = "the engine belongs to another event loop: create an engine for each event loop"
Hook = Callable[[Connection], Coroutine[Any, Any, object]]

# How long a ping, a hook or the cleaning of a connection that came back may take.
HOOK_SECONDS = 5.0
# How long to wait before `minsize` is seen to again while the server is away, first and at most.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0
# How long a server that cannot do the work is not held against the connections opened since.
FAILOVER_SECONDS = 5.0


@dataclass(frozen=True)
class _Work:
    """What a task of the pool is at: opening a connection, pinging or cleaning one."""

    failure: str  # the cause of closing the connection if the task fails
    connection: Connection | None  # none while it is being opened
    waiter: Waiter | None  # who is told why it cannot be opened


class Pool:
    """At most `maxsize` connections, lent to one borrower at a time.

    Idle connections are lent last in, first out; who finds none waits, first in, first out. All
    that takes time is done by tasks of the pool: each opens, pings or cleans one connection, which
    then serves the first waiter. A borrower only ever waits for a future, and one that is
    cancelled or out of time leaves nothing behind but its place in the queue.

    Every connection, and every task that opens one, is in just one of `_idle`, `_lent` and
    `_working`: their lengths make up `size`, and room is given back by leaving them.
    """

    def __init__(
        self,
        connect: Callable[[], Coroutine[Any, Any, Connection]],
        minsize: int,
        maxsize: int | None,
        recycle: float,
        *,
        pre_ping: float | None = None,
        max_lifetime: float | None = None,
        max_idle: float | None = None,
        init: Hook | None = None,
        reset: Hook | None = None,
    ) -> None:
        self.minsize = minsize
        self.maxsize = maxsize
        self.closing = False
        self._connect = connect
        self._init = init
        self._reset = reset
        self.loop = asyncio.get_running_loop()
        self._idle: deque[Connection] = deque()
        self._lent: set[Connection] = set()
        self._working: dict[asyncio.Task[Connection], _Work] = {}
        self._queue = Queue(self.loop)
        self._limits = Limits(self.loop, recycle, pre_ping, max_lifetime, max_idle)
        self._leaving: list[Connection] = []
        self._empty = asyncio.Event()
        self._counts = Counts()
        self._acquired = 0
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = RETRY_SECONDS
        self._idle_check: asyncio.TimerHandle | None = None
        # Of the connections that may be lent: those of an earlier one have been cleared out.
        self._generation = 0
        self._failover = -FAILOVER_SECONDS
        self.inherited = False
        keep_in_process(self)

    @property
    def size(self) -> int:
        """The number of connections: idle, lent, and in the hands of a task."""
        return len(self._idle) + len(self._lent) + len(self._working)

    @property
    def freesize(self) -> int:
        """The number of idle connections."""
        return len(self._idle)

    def stats(self) -> PoolStats:
        """Give the pool's state and what it has done so far."""
        counts = self._counts
        return PoolStats(
            size=self.size,
            idle=len(self._idle),
            in_use=len(self._lent),
            waiting=len(self._queue),
            opened=counts.opened,
            closed=dict(counts.closed),
            acquired=self._acquired,
            waited=counts.waited,
            wait_seconds=counts.wait_seconds,
            longest_wait=counts.longest_wait,
            timeouts=counts.timeouts,
        )

    async def open(self) -> None:
        """Open the first connections, all at once: `minsize`, but at least one."""
        tasks = [self._work(self._open(), "init") for _ in range(max(1, self.minsize))]
        try:
            await asyncio.wait(tasks)
            errors = [error for task in tasks if (error := _error(task)) is not None]
        except BaseException:  # cancelled: some may be open
            self.terminate()
            raise
        if errors:
            self.terminate()
            await self.wait_closed()
            raise errors[0]

    # -- lending ---------------------------------------------------------------------------------

    def take(self) -> Connection | None:
        """Lend an idle connection, if there is one that can be lent as it is."""
        if self.closing or self.inherited or asyncio.get_running_loop() is not self.loop:
            raise self._refusal()
        while self._idle:
            connection = self._idle[-1]
            if connection.closed or self._limits.any:
                cause = self._limits.unfit(connection)
                if cause is not None:
                    self._idle.pop()
                    self._discard(connection, cause)
                    continue
                if self._limits.doubtful(connection):
                    return None
            self._lent.add(self._idle.pop())
            self._acquired += 1
            return connection
        return None

    async def acquire(self, timeout: float | None = None) -> Connection:
        """Lend a connection: an idle one, a new one, or the next that comes back.

        Raises `AcquireTimeoutError` after *timeout* seconds.
        """
        connection = self.take()
        if connection is not None:
            return connection
        started = self.loop.time()
        try:
            return await self._wait(timeout, started)
        finally:
            self._counts.add_wait(self.loop.time() - started)

    async def _wait(
        self, timeout: float | None, started: float, *, first: bool = False
    ) -> Connection:
        waiter = self._queue.join(first=first)
        timer = None
        try:
            if timeout is not None:
                timer = self.loop.call_at(started + timeout, self._expire, waiter, timeout)
            self._grow()
            connection = await waiter
        except BaseException:  # cancelled, or its coroutine closed
            handed = self._queue.leave(waiter)
            if handed is not None:
                self.release(handed)
            raise
        finally:
            if timer is not None:
                timer.cancel()
        if not connection.closed:
            return connection
        if connection not in self._lent:  # `terminate()` came before us
            raise self._refusal()
        self._lent.remove(connection)
        self._discard(connection, "lost")
        if self.closing:
            raise self._refusal()
        return await self._wait(timeout, started, first=True)  # it had its turn

    def _expire(self, waiter: Waiter, timeout: float) -> None:
        limit = "" if self.maxsize is None else f" of {self.maxsize}"
        error = AcquireTimeoutError(
            f"no connection within {timeout} seconds: {len(self._lent)}{limit} in use,"
            f" {len(self._queue) - 1} more waiting"
        )
        if self._queue.refuse(waiter, error):
            self._counts.timeouts += 1

    def _refusal(self) -> RuntimeError:
        if self.inherited:
            return RuntimeError(
                "the engine belongs to the process that created it: create one after the fork"
            )
        if self.closing:
            return RuntimeError(_CLOSED)
        return RuntimeError(_ELSEWHERE)

    def check_loop(self) -> None:
        """Raise a `RuntimeError` if another event loop than the pool's is running."""
        if self.inherited:  # there is nothing to wait for, nor to give back
            return
        try:
            elsewhere = asyncio.get_running_loop() is not self.loop
        except RuntimeError:  # none is
            return
        if elsewhere:
            raise RuntimeError(_ELSEWHERE)

    # -- tasks -----------------------------------------------------------------------------------

    def _work(
        self,
        coroutine: Coroutine[Any, Any, Connection],
        failure: str,
        connection: Connection | None = None,
        waiter: Waiter | None = None,
    ) -> asyncio.Task[Connection]:
        """Have a task of the pool give a connection that is ready to serve."""
        task = self.loop.create_task(coroutine)
        self._working[task] = _Work(failure, connection, waiter)
        # Not at the coroutine's end: a task cancelled before its first step does not get there.
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Connection]) -> None:
        work = self._working.pop(task, None)
        error = _error(task)
        if work is None:
            return
        if error is None:
            self._keep(task.result())
        elif work.connection is not None:
            if task.cancelled():  # by who ends the loop: open nothing in its last steps
                self._tell(None, error)
            self._discard(work.connection, "engine" if self.closing else work.failure)
        else:
            self._tell(work.waiter, error)
            self._grow()
            self._check_empty()

    async def _open(self) -> Connection:
        generation = self._generation
        connection = await self._connect()
        connection.generation = generation
        self._counts.opened += 1
        self._limits.begin(connection)
        connection.on_lost(partial(_forget, weakref.ref(self), weakref.ref(connection)))
        try:
            if self._init is not None:
                await in_time(self._init(connection), HOOK_SECONDS, _late)
                if connection.closed:  # another one would be opened, and closed, without end
                    raise connection.loss or InvalidRequestError("init has closed the connection")
                if connection.unfit is not None:  # likewise
                    raise connection.unfit.error()
        except BaseException:
            cause = "init" if connection.loss is None else "lost"
            self._bury(connection, "engine" if self.closing else cause)
            raise
        self._retry_seconds = RETRY_SECONDS
        if self._retry is not None:
            self._retry.cancel()
            self._try_again()
        return connection

    def _tell(self, waiter: Waiter | None, error: BaseException) -> None:
        """Tell who waits why no connection can be opened; with nobody to tell, try later."""
        if waiter is not None:
            self._queue.refuse(waiter, error)
        elif not self.closing and self._retry is None:
            seconds = self._retry_seconds * (1 + JITTER * random.random())
            self._retry = self.loop.call_later(seconds, self._try_again)
            self._retry_seconds = min(2 * self._retry_seconds, MOST_RETRY_SECONDS)

    def _try_again(self) -> None:
        self._retry = None
        self._grow()

    def _grow(self) -> None:
        """Start what it takes to serve those who wait, and to have `minsize` connections."""
        if self.closing:
            return
        for waiter in self._unattended():
            connection = self._next_idle()
            if connection is not None:
                self._work(self._ping(connection), "ping", connection)
            elif self.maxsize is None or self.size < self.maxsize:
                self._work(self._open(), "init", waiter=waiter)
            else:
                break
        while self._retry is None and self.size < self.minsize:
            self._work(self._open(), "init")

    def _unattended(self) -> list[Waiter]:
        """Give those whom nothing will serve that is being opened or pinged."""
        coming = sum(work.failure != "reset" for work in self._working.values())
        return self._queue.behind(coming)

    def _next_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            cause = self._limits.unfit(connection)
            if cause is None:
                return connection
            self._bury(connection, cause)
        return None

    async def _ping(self, connection: Connection) -> Connection:
        await in_time(connection.ping(reconnect=False), HOOK_SECONDS)
        return connection

    async def _clean(self, connection: Connection) -> Connection:
        await connection.settled()
        if self._reset is not None and self._unfit(connection) is None:
            await in_time(self._reset(connection), HOOK_SECONDS)
        return connection

    # -- taking back -----------------------------------------------------------------------------

    def release(self, connection: Connection) -> asyncio.Task[Connection] | None:
        """Take a connection back.

        An open transaction is rolled back. A connection that still has to read what a cancelled
        statement brings, or to be reset, is kept apart until it has, by the task given back.
        """
        if connection not in self._lent:
            if self.inherited or (self.closing and connection.closed):  # by `terminate()`
                return None
            raise InvalidRequestError("the connection does not belong to this pool")
        self._lent.remove(connection)
        connection.lease += 1
        busy = connection.busy
        if busy and connection.awaited:
            connection.close()  # its statement would go on in the hands of the next borrower
        elif (busy or (self._reset is not None and not self.closing)) and not connection.closed:
            return self._work(self._clean(connection), "reset", connection)
        self._keep(connection)
        return None

    def lends(self, connection: Connection) -> bool:
        """Tell whether a connection of this pool is in use."""
        return connection in self._lent

    def reclaim(self, connection: Connection) -> None:
        """Close a connection whose borrower has gone without a word."""
        if connection in self._lent:
            self._lent.remove(connection)
            self._discard(connection, "leaked")

    def _keep(self, connection: Connection) -> None:
        """Have a connection serve the first waiter, or whoever comes."""
        cause = self._unfit(connection)
        if cause is None and connection.in_transaction:
            connection.rollback_nowait()
            cause = "lost" if connection.closed else None
        if cause is not None:
            self._discard(connection, cause)
        elif self._queue and self._queue.serve(connection):
            self._lent.add(connection)
            self._acquired += 1
        else:
            self._idle.append(connection)
            if self._limits.any:
                self._watch_idle()

    def _unfit(self, connection: Connection) -> str | None:
        """Tell why a connection that comes back is not to be lent again, if it is not."""
        cause = None
        if connection.closed or self._limits.any or connection.unfit is not None:
            cause = self._limits.unfit(connection)
        if cause is None and self.closing:
            cause = "engine"
        if cause is None and connection.generation != self._generation:
            cause = "cleared"
        return cause

    def _watch_idle(self) -> None:
        most = self._limits.max_idle
        if most is not None and self._idle_check is None and self.size > self.minsize:
            self._idle_check = self.loop.call_later(most, self._close_unused)

    def _close_unused(self) -> None:
        """Close what nobody has used for `max_idle` seconds, down to `minsize`."""
        self._idle_check = None
        most = self._limits.max_idle
        assert most is not None
        for connection in sorted(self._idle, key=self._limits.unused, reverse=True):
            if self.size <= self.minsize:
                return
            left = most - self._limits.unused(connection)
            if left > 0:
                self._idle_check = self.loop.call_later(left, self._close_unused)
                return
            self._idle.remove(connection)
            self._discard(connection, "idle")

    def lose(self, connection: Connection) -> None:
        """Retire a connection that has ended while nobody used it."""
        if connection.closed and connection in self._idle:
            self._idle.remove(connection)
            self._discard(connection, "lost")

    def clear(self) -> None:
        """Close the idle connections, and the others as they come back; open up to `minsize`."""
        if self.closing or self.inherited:
            return
        self._generation += 1
        self._clear_idle("cleared")
        self._grow()

    def _clear_idle(self, cause: str) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.busy and not connection.closed:
                # To take leave of the server once it has answered.
                self._work(self._clean(connection), "reset", connection)
            else:
                self._bury(connection, "lost" if connection.closed else cause)

    def _suspect_others(self) -> None:
        """Clear the pool, as what a connection has met awaits the others of its server too.

        New ones may lead to another server, or to the same: not again at each of their errors.
        """
        if self.loop.time() >= self._failover + FAILOVER_SECONDS:
            self._failover = self.loop.time()
            self.clear()

    def _discard(self, connection: Connection, cause: str) -> None:
        """Close a connection that is in none of the pool's hands, and use the room."""
        self._bury(connection, cause)
        if connection.unfit is not None and connection.unfit.is_of_the_node:
            self._suspect_others()
        self._grow()
        self._check_empty()

    def _bury(self, connection: Connection, cause: str) -> None:
        connection.close()
        self._counts.closed[cause] += 1
        self._limits.end(connection)
        if self.closing:
            self._leaving.append(connection)

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections, and the others as they come back; refuse to lend."""
        self.closing = True
        for timer in (self._retry, self._idle_check):
            if timer is not None:
                timer.cancel()
        for task, work in self._working.items():
            if work.failure != "reset":
                task.cancel()
        self._clear_idle("engine")
        for waiter in self._queue.behind(0):
            self._queue.refuse(waiter, RuntimeError(_CLOSED))
        self._check_empty()

    def terminate(self) -> None:
        """Close all connections, also those that are lent."""
        self.close()
        while self._lent:
            self._discard(self._lent.pop(), "engine")
        for task, work in tuple(self._working.items()):
            if work.connection is not None:
                task.cancel()
                del self._working[task]
                self._discard(work.connection, "engine")

    async def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until every connection has come back and is closed.

        After *timeout* seconds those that have not come back are closed as they are.
        """
        if not self.closing:
            raise RuntimeError(".wait_closed() should be called after .close()")
        self.check_loop()
        try:
            await in_time(self._empty.wait(), timeout)
        except asyncio.TimeoutError:
            self.terminate()
            await self._empty.wait()
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(connection.ensure_closed() for connection in leaving))

    def _check_empty(self) -> None:
        if self.closing and not self.size:
            self._empty.set()

    def disown(self) -> None:
        """Forget the connections, in a child process: they are its parent's."""
        self.inherited = True
        self._queue.forget()
        for connections in (self._idle, self._lent, self._working):
            connections.clear()


def _forget(
    pool: weakref.ref[Pool], connection: weakref.ref[Connection], _closed: object = None
) -> None:
    """Tell a pool that a connection has ended, if both are still there."""
    known, lost = pool(), connection()
    if known is not None and lost is not None:
        known.lose(lost)


def _late() -> AcquireTimeoutError:
    return AcquireTimeoutError(f"init did not end within {HOOK_SECONDS} seconds")


def _error(task: asyncio.Task[Connection]) -> BaseException | None:
    """Give a task's error; whoever is told of it has not been cancelled."""
    if task.cancelled():
        return InvalidRequestError("a connection's opening was cancelled, by init or from outside")
    return task.exception()
