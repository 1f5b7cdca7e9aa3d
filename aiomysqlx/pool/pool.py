"""The pool: opens, lends, checks and retires DB-API connections."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice, takewhile
from typing import Any, TypeVar

from ..driver import Connection
from ..exc import AcquireTimeoutError, InvalidRequestError
from ..runtime.awaitable import in_time
from ..runtime.errors import set_free
from ..runtime.fork import keep_in_process
from ..runtime.place import Place, shown
from ..runtime.printable import printable
from .ages import JITTER, Limits
from .stats import Counts, PoolStats
from .waiters import Queue, Waiter

logger = logging.getLogger("aiomysqlx.pool")

_CLOSED = "Cannot acquire connection after closing pool"
# What is told to whoever still uses a connection then.
_ENDED = "its engine has been terminated, or closed: create another engine"
_RETIRED = "its engine has replaced it: acquire another"
_ELSEWHERE = "the engine belongs to another event loop: create an engine for each event loop"
_OTHER_THREAD = (
    "the engine belongs to the event loop of another thread: let that call it,"
    " as in loop.call_soon_threadsafe(engine.release, conn)"
)
T = TypeVar("T")
Hook = Callable[[Connection], Coroutine[Any, Any, object]]

# How long a ping, a hook, or what puts a session back may take.
HOOK_SECONDS = 5.0
# How long a waiter relies on a connection that is on its way back, before another is opened.
BACK_SECONDS = 0.1
# How long to wait before `minsize` is seen to again while the server is away, first and at most.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0
# How long a server that cannot do the work is not held against the connections opened since.
FAILOVER_SECONDS = 5.0


@dataclass(frozen=True)
class _Work:
    """What is under way for the pool: a connection that is being opened, pinged or put back."""

    failure: str  # the cause of closing the connection if that fails
    connection: Connection | None  # none while it is being opened
    waiter: Waiter | None  # who is told why it cannot be opened
    place: Place | None  # where the connection was acquired that is on its way back


class Pool:
    """At most `maxsize` connections, lent to one borrower at a time.

    Idle connections are lent last in, first out; who finds none waits, first in, first out. All
    that takes time is under way beside the borrowers: each task opens, pings or puts back one
    connection, which then serves the first waiter. A borrower only ever waits for a future, and
    one that is cancelled or out of time leaves nothing behind but its place in the queue.

    A connection that comes back is idle at once if it is at rest. Otherwise it is on its way back
    until it is: with its statement answered, its transaction rolled back, and what was set of its
    session put back. Nobody has it before, and if that fails it is closed.

    Every connection, and every task that opens one, is in just one of `_idle`, `_lent` and
    `_working`: their lengths make up `size`, and room is given back by leaving them. No step
    takes longer the more there are.
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
        renews: bool = False,
    ) -> None:
        self.minsize = minsize
        self.maxsize = maxsize
        self.closing = False
        self._connect = connect
        self._init = init
        self._reset = reset
        # Whether that leaves the session as new, whatever it was.
        self._renews = renews
        self.loop = asyncio.get_running_loop()
        # That of the engine's maker, for hooks and a password's function, and for timers: a
        # borrower's would live as long as what it makes.
        self._context = contextvars.copy_context()
        # With the time from which they are, in the order in which they came.
        self._idle: dict[Connection, float] = {}
        self._lent: set[Connection] = set()
        self._working: dict[asyncio.Future[Any], _Work] = {}
        # Those of them that serve a waiter next: by number, and with the time of their beginning
        # those whose connection may not come back soon.
        self._coming = 0
        self._coming_back: dict[asyncio.Future[Any], float] = {}
        self._impatient: asyncio.TimerHandle | None = None
        self._queue = Queue(self.loop)
        self._limits = Limits(self.loop, recycle, pre_ping, max_lifetime, max_idle)
        self._leaving: list[Connection] = []
        self._ended: list[asyncio.Future[Any]] = []
        self._empty = asyncio.Event()
        self._counts = Counts()
        self._acquired = 0
        self._retry: asyncio.TimerHandle | None = None
        self._retry_seconds = RETRY_SECONDS
        self._idle_check: asyncio.TimerHandle | None = None
        # Of the connections that may be lent: those of an earlier one have been cleared out.
        self._generation = 0
        self._failover = -FAILOVER_SECONDS
        self._loop_end = _end_with_loop(weakref.ref(self))
        self._over = False
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
        await anext(self._loop_end)
        tasks = [self._work(self._open(), "init") for _ in range(max(1, self.minsize))]
        try:
            await asyncio.wait(tasks)
            errors = [error for error in map(_error, tasks) if error is not None]
        except BaseException:  # cancelled: some may be open
            self.terminate()
            raise
        if errors:
            self.terminate()
            await self.wait_closed()
            try:
                raise errors[0]
            finally:  # its traceback holds this frame
                tasks.clear()
                errors.clear()

    # -- lending ---------------------------------------------------------------------------------

    def take(self) -> Connection | None:
        """Lend an idle connection, if there is one that can be lent as it is."""
        if self.closing or self.inherited or asyncio.get_running_loop() is not self.loop:
            raise self._refusal()
        while self._idle:
            connection, since = self._idle.popitem()
            if self._limits.any or not connection.at_rest:
                cause = self._unfit(connection)
                if cause is not None:
                    self._discard(connection, cause)
                    continue
                if not connection.at_rest:  # in the hands of somebody who kept it
                    self._bring_back(connection, None)
                    continue
                if self._limits.doubtful(connection):
                    self._idle[connection] = since
                    return None
            self._lent.add(connection)
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
        timer = failure = None
        try:
            if timeout is not None:
                timer = self._apart(
                    self.loop.call_at, started + timeout, self._expire, waiter, timeout
                )
            self._grow()
            connection = await waiter
        except BaseException as error:  # or cancelled, or its coroutine closed
            handed = self._queue.leave(waiter)
            if handed is not None:
                self.release(handed)
            if not isinstance(error, Exception):
                raise
            failure = set_free(error)
        finally:
            if timer is not None:
                timer.cancel()
            del waiter  # or it would hold an error whose traceback holds this frame
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # likewise
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
        working = f" {len(self._working)} being opened or put back," if self._working else ""
        error = AcquireTimeoutError(
            f"no connection within {timeout} seconds: {len(self._lent)}{limit} in use,{working}"
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
        """Raise a `RuntimeError` in another event loop, and in a thread beside the pool's."""
        if self.inherited:  # there is nothing to wait for, nor to give back
            return
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            self.check_thread()
            return
        if running is not self.loop:
            raise RuntimeError(_ELSEWHERE)

    def check_thread(self) -> None:
        """Raise a `RuntimeError` while the pool's event loop runs in another thread."""
        if self.inherited or not self.loop.is_running():
            return
        try:
            here = asyncio.get_running_loop() is self.loop
        except RuntimeError:
            here = False
        if not here:
            raise RuntimeError(_OTHER_THREAD)

    # -- tasks -----------------------------------------------------------------------------------

    def _apart(self, begin: Callable[..., T], *args: Any) -> T:
        """Begin something for the pool, in none of its borrowers' contexts."""
        return self._context.copy().run(begin, *args)

    def _work(
        self,
        coroutine: Coroutine[Any, Any, Connection | None],
        failure: str,
        connection: Connection | None = None,
        *,
        waiter: Waiter | None = None,
        place: Place | None = None,
    ) -> asyncio.Future[Any]:
        """Have a task make a connection ready to serve."""
        task = self._apart(self.loop.create_task, coroutine)
        self._watch(task, _Work(failure, connection, waiter, place))
        return task

    def _watch(self, future: asyncio.Future[Any], work: _Work) -> None:
        self._working[future] = work
        if work.failure != "reset":
            self._coming += 1
        # Not at a coroutine's end: a task cancelled before its first step does not get there.
        future.add_done_callback(self._finished)

    def _finished(self, future: asyncio.Future[Any]) -> None:
        work = self._working.pop(future, None)
        error = _error(future)
        if work is None:
            return
        self._coming_back.pop(future, None)
        if work.failure != "reset":
            self._coming -= 1
        if error is None:
            self._keep(work.connection or future.result(), work, future)
        elif work.connection is not None:
            if future.cancelled():  # by who ends the loop: open nothing in its last steps
                self._tell(None, error)
            elif work.failure == "reset":
                self._complain("a connection could not be put back", work.connection, error)
            self._discard(work.connection, self._blame(work.connection, work.failure))
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
                await self._init(connection)
            await self._come_to_rest(connection, "init")
            await in_time(connection.keep_session(), HOOK_SECONDS)
            if not connection.at_rest:  # another one would be opened, and closed, without end
                raise _broken(connection)
        except BaseException as error:
            if self._init is not None and isinstance(error, Exception):
                self._complain("init has failed", connection, error)
            self._bury(connection, self._blame(connection, "init"))
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
            self._retry = self._apart(self.loop.call_later, seconds, self._try_again)
            self._retry_seconds = min(2 * self._retry_seconds, MOST_RETRY_SECONDS)

    def _try_again(self) -> None:
        self._retry = None
        self._grow()

    def _grow(self) -> None:
        """Start what it takes to serve those who wait, and to have `minsize` connections."""
        if self.closing:
            return
        while (waiter := self._unattended()) is not None:
            connection = self._next_idle()
            if connection is not None:
                self._work(self._ping(connection), "ping", connection)
            elif self.maxsize is None or self.size < self.maxsize:
                self._work(self._open(), "init", waiter=waiter)
            else:
                break
        while self._retry is None and self.size < self.minsize:
            self._work(self._open(), "init")

    def _unattended(self) -> Waiter | None:
        """Give the first whom nothing will serve that is under way."""
        if self._coming_back and self._queue and self._impatient is None:
            since = next(iter(self._coming_back.values()))
            self._impatient = self._apart(
                self.loop.call_at, since + BACK_SECONDS, self._stop_relying
            )
        return self._queue.unattended(self._coming + len(self._coming_back))

    def _stop_relying(self) -> None:
        """Open another connection for who waits on one that is on its way back for too long."""
        self._impatient = None
        late = self.loop.time() - BACK_SECONDS
        for future in _until(self._coming_back.items(), late):
            del self._coming_back[future]
        self._grow()

    def _next_idle(self) -> Connection | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            cause = self._unfit(connection)
            if cause is None:
                return connection
            self._bury(connection, cause)
        return None

    async def _ping(self, connection: Connection) -> None:
        await in_time(connection.ping(reconnect=False), HOOK_SECONDS)

    async def _come_to_rest(self, connection: Connection, what: str) -> None:
        """See to it that a hook leaves nothing under way, and nobody who goes on with it."""
        connection.lease += 1
        if connection.awaited:
            raise InvalidRequestError(f"{what} has left a statement in progress")
        if await connection.settled():
            await in_time(connection.learn_transaction(), HOOK_SECONDS)
        if connection.in_transaction and not connection.closed:
            if connection.wrote:
                logger.warning("rolled back what %s has left uncommitted", what)
            await in_time(_roll_back(connection), HOOK_SECONDS)

    # -- taking back -----------------------------------------------------------------------------

    def release(
        self, connection: Connection, place: Place | None = None
    ) -> asyncio.Future[Any] | None:
        """Take a connection back, which was acquired at *place*.

        One that has something to be put back first is kept apart until it is, by the future given
        back.
        """
        if connection not in self._lent:
            if self.inherited or (self.closing and connection.closed):  # by `terminate()`
                return None
            raise InvalidRequestError("the connection does not belong to this pool")
        self._lent.remove(connection)
        connection.lease += 1
        if self._reset is None and connection.at_rest:
            self._offer(connection)
            return None
        return self._bring_back(connection, place)

    def _bring_back(
        self, connection: Connection, place: Place | None
    ) -> asyncio.Future[Any] | None:
        """Begin what has to be done before a connection is lent again."""
        if connection.awaited:
            self._warn_of_loss(connection, place)
            connection.close()  # its statement would go on in the hands of the next borrower
        busy = connection.busy and not connection.closed
        cause = None if busy else self._unfit(connection)
        if cause is not None:
            self._warn_of_loss(connection, place)
            self._discard(connection, cause)
            return None
        if busy or self._reset is not None or not connection.as_begun:
            future = self._work(self._put_back(connection, place), "reset", connection, place=place)
        else:  # the rollback of every release without autocommit: no task
            self._warn_of_loss(connection, place)
            future = connection.start_rollback()
            self._watch(future, _Work("reset", connection, None, place))
        if not busy and self._reset is None:
            self._coming_back[future] = self.loop.time()
        return future

    async def _put_back(self, connection: Connection, place: Place | None) -> None:
        if await connection.settled():
            await in_time(connection.learn_transaction(), HOOK_SECONDS)
        self._warn_of_loss(connection, place)
        if self._unfit(connection) is not None:
            return
        # MariaDB's reset leaves a session to the transaction that was prepared in it.
        if not connection.at_rest and (connection.wrote or not self._renews):
            await in_time(self._undo(connection), HOOK_SECONDS)
        if self._reset is not None and not connection.closed:
            await self._reset(connection)
            await self._come_to_rest(connection, "reset")
            connection.accept_session()

    async def _undo(self, connection: Connection) -> None:
        """Roll back, and put back what was set of the session; or close the connection."""
        await _roll_back(connection)
        if not connection.in_transaction and not await connection.put_back():
            connection.close()

    def _warn_of_loss(self, connection: Connection, place: Place | None) -> None:
        """Say that a borrower has left uncommitted what is rolled back."""
        if connection.wrote and not connection.closed:
            where = "" if place is None else f" acquired at {shown(place)}"
            logger.warning("rolled back what was left uncommitted on a connection%s", where)

    def _complain(self, what: str, connection: Connection, error: BaseException) -> None:
        """Log an error that is not the end of the connection, or of the pool."""
        if connection.loss is None and not self.closing:
            logger.error("%s: %s", what, printable(error), exc_info=error)

    def _blame(self, connection: Connection, failure: str) -> str:
        """Give the cause of closing a connection at which something has failed."""
        if self.closing:
            return "engine"
        return failure if connection.loss is None or failure == "ping" else "lost"

    def lends(self, connection: Connection) -> bool:
        """Tell whether a connection of this pool is in use."""
        return connection in self._lent

    def reclaim(self, connection: Connection, place: Place | None = None) -> None:
        """Close a connection whose borrower has gone without a word."""
        if connection in self._lent:
            self._lent.remove(connection)
            self._warn_of_loss(connection, place)
            self._discard(connection, "leaked")

    def _keep(self, connection: Connection, work: _Work, done: asyncio.Future[Any]) -> None:
        """Have a connection serve that is open, answers or is back, if it is at rest by then."""
        cause = self._unfit(connection)
        if cause == "lost":
            cause = self._blame(connection, work.failure)
        if cause is None and not connection.at_rest:
            if not isinstance(done, asyncio.Task):  # the answer to ROLLBACK tells of more
                put_back = self._put_back(connection, work.place)
                self._work(put_back, "reset", connection, place=work.place)
                return
            cause = work.failure
        if cause is None:
            self._offer(connection)
        else:
            self._discard(connection, cause)

    def _offer(self, connection: Connection) -> None:
        """Have a connection at rest serve the first waiter, or whoever comes."""
        if self._limits.any or self.closing or connection.generation != self._generation:
            cause = self._unfit(connection)
            if cause is not None:
                self._discard(connection, cause)
                return
        if self._queue.serve(connection):
            self._lent.add(connection)
            self._acquired += 1
        elif self._limits.max_idle is None:
            self._idle[connection] = 0.0
        else:
            self._idle[connection] = self.loop.time()
            self._watch_idle(self._limits.max_idle)

    def _unfit(self, connection: Connection) -> str | None:
        """Tell why a connection is not to be lent again, if it is not."""
        cause = self._limits.unfit(connection)
        if cause is None and self.closing:
            cause = "engine"
        if cause is None and connection.generation != self._generation:
            cause = "cleared"
        return cause

    def _watch_idle(self, seconds: float) -> None:
        if self._idle_check is None and self.size > self.minsize:
            self._idle_check = self._apart(self.loop.call_later, seconds, self._close_unused)

    def _close_unused(self) -> None:
        """Close what has been idle for `max_idle` seconds, down to `minsize`."""
        self._idle_check = None
        most = self._limits.max_idle
        assert most is not None
        now = self.loop.time()
        spare = islice(self._idle.items(), max(0, self.size - self.minsize))
        for connection in _until(spare, now - most):
            del self._idle[connection]
            self._discard(connection, "idle")
        if self._idle:
            self._watch_idle(next(iter(self._idle.values())) + most - now)

    def lose(self, connection: Connection) -> None:
        """Retire a connection that has ended while nobody used it."""
        if connection in self._idle:
            del self._idle[connection]
            self._discard(connection, "lost")

    def clear(self) -> None:
        """Close the idle connections, and the others as they come back; open up to `minsize`."""
        if self.inherited:
            return
        self._generation += 1
        self._clear_idle("cleared")
        self._grow()

    def _clear_idle(self, cause: str) -> None:
        while self._idle:
            connection, _ = self._idle.popitem()
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
        connection.close(_ENDED if cause == "engine" else _RETIRED)
        self._counts.closed[cause] += 1
        self._limits.end(connection)
        if self.closing or connection.busy:
            self._leaving.append(connection)
            if not self.closing:  # until its statement has ended on the server
                connection.on_killed(partial(self._forget_leaving, connection))

    def _forget_leaving(self, connection: Connection) -> None:
        if not self.closing:  # else its end is waited for
            self._leaving.remove(connection)

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections, and the others as they come back; refuse to lend."""
        self.closing = True
        for timer in (self._retry, self._idle_check, self._impatient):
            if timer is not None:
                timer.cancel()
        for future, work in self._working.items():
            if work.failure != "reset":
                future.cancel()
        self._clear_idle("engine")
        self._queue.refuse_all(partial(RuntimeError, _CLOSED))
        self._check_empty()

    def terminate(self) -> None:
        """Close all connections, also those that are lent."""
        self.close()
        while self._lent:
            self._discard(self._lent.pop(), "engine")
        for future, work in tuple(self._working.items()):
            if work.connection is not None:
                future.cancel()
                del self._working[future]
                self._ended.append(future)
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
        await self.end()
        self._over = True
        await self._loop_end.aclose()

    async def end(self) -> None:
        """Close all connections and wait until they are, and until nothing is under way."""
        self.terminate()
        await self._empty.wait()
        ended, self._ended = self._ended, []
        if ended:
            await asyncio.wait(ended)
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(connection.ensure_closed() for connection in leaving))

    def _check_empty(self) -> None:
        if self.closing and not self.size:
            self._empty.set()

    def disown(self) -> None:
        """Forget the connections, in a child process: they are its parent's."""
        self.inherited = self._over = True
        self._queue.forget()
        for connections in (self._idle, self._lent, self._working, self._coming_back):
            connections.clear()
        with suppress(
            StopIteration, RuntimeError
        ):  # unasked, it would tell the parent's event loop
            self._loop_end.aclose().send(None)


def _forget(
    pool: weakref.ref[Pool], connection: weakref.ref[Connection], _closed: object = None
) -> None:
    """Tell a pool that a connection has ended, if both are still there."""
    known, lost = pool(), connection()
    if known is not None and lost is not None:
        known.lose(lost)


async def _end_with_loop(pool: weakref.ref[Pool]) -> AsyncGenerator[None, None]:
    """End a pool with its event loop.

    The last that `asyncio.run()` does is to cancel all tasks, and then to end such generators: what
    a cancelled borrower gives back would leave tasks behind that never run.
    """
    try:
        yield
    finally:
        known = pool()
        if known is not None and not known._over:
            await known.end()


async def _roll_back(connection: Connection) -> None:
    """End the transaction of a connection, if it is in one."""
    if connection.in_transaction:
        await connection.rollback()
    if connection.in_transaction:  # another one, which the `completion_type` CHAIN begins
        await connection.query("ROLLBACK AND NO CHAIN")


def _broken(connection: Connection) -> BaseException:
    """Give the reason why a connection that was opened cannot be lent."""
    if connection.unfit is not None:
        error: BaseException = connection.unfit.error()
        return error
    return connection.loss or InvalidRequestError(
        "init has closed the connection, or goes on using it"
    )


def _until(times: Iterable[tuple[T, float]], latest: float) -> list[T]:
    """Give what has a time up to *latest*, out of what is in their order."""
    return [each for each, _ in takewhile(lambda item: item[1] <= latest, times)]


def _error(task: asyncio.Future[Any]) -> BaseException | None:
    """Give a task's error; whoever is told of it has not been cancelled."""
    if task.cancelled():
        return InvalidRequestError("a connection's opening was cancelled, by init or from outside")
    return task.exception()
