"""The pool: opens, lends, checks and retires things of one kind."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable
from contextlib import suppress
from functools import partial
from itertools import islice, takewhile
from typing import Any, Generic, TypeVar

from ..exc import AcquireTimeoutError, InvalidRequestError
from ..runtime.awaitable import in_time
from ..runtime.errors import set_free
from ..runtime.fork import keep_in_process
from ..runtime.place import Place
from ..runtime.printable import printable
from ..runtime.record import Record
from .ages import JITTER, Ages
from .keeper import Keeper, T
from .stats import Counts, PoolStats
from .waiters import Waiters

logger = logging.getLogger("aiomysqlx.pool")

_CLOSED = "Cannot acquire connection after closing pool"
_ELSEWHERE = "the engine belongs to another event loop: create an engine for each event loop"
_OTHER_THREAD = (
    "the engine belongs to the event loop of another thread: let that call it,"
    " as in loop.call_soon_threadsafe(engine.release, conn)"
)
R = TypeVar("R")

# How long a waiter relies on a connection that is on its way back, before another is opened.
BACK_SECONDS = 0.1
# How long to wait before `minsize` is seen to again while the server is away, first and at most.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0
# How long a server that cannot do the work is not held against the connections opened since.
FAILOVER_SECONDS = 5.0


class _Work(Record, Generic[T]):
    """What is under way for the pool: a connection that is being opened, checked or put back."""

    failure: str  # the cause of closing the connection if that fails
    connection: T | None  # none while it is being opened
    waiter: asyncio.Future[T] | None  # who is told why it cannot be opened
    place: Place | None  # where the connection was acquired that is on its way back


class Pool(Generic[T]):
    """At most `maxsize` connections, lent to one borrower at a time.

    Idle connections are lent last in, first out; who finds none waits, first in, first out. All
    that takes time is under way beside the borrowers: each task opens, checks or puts back one
    connection, which then serves the first waiter. A borrower only ever waits for a future, and
    one that is cancelled or out of time leaves nothing behind but its place in the queue.

    A connection that comes back is idle at once if it is at rest. Otherwise it is on its way back
    until its keeper has brought it to rest. Nobody has it before, and if that fails it is closed.

    Every connection, and every task that opens one, is in just one of `_idle`, `_lent` and
    `_working`: their lengths make up `size`, and room is given back by leaving them. No step
    takes longer the more there are.
    """

    def __init__(
        self,
        keeper: Keeper[T],
        minsize: int,
        maxsize: int | None,
        recycle: float,
        *,
        pre_ping: float | None = None,
        max_lifetime: float | None = None,
        max_idle: float | None = None,
    ) -> None:
        self.minsize = minsize
        self.maxsize = maxsize
        self.closing = False
        self._keeper = keeper
        # Asked for at each release: an instance's own attributes are read faster.
        self._has_reset = keeper.has_reset
        self.loop = asyncio.get_running_loop()
        # That of the engine's maker, for hooks and a password's function, and for timers: a
        # borrower's would live as long as what it makes.
        self._context = contextvars.copy_context()
        # With the time from which they are, in the order in which they came.
        self._idle: dict[T, float] = {}
        self._lent: set[T] = set()
        self._working: dict[asyncio.Future[Any], _Work[T]] = {}
        # Those of them that serve a waiter next: by number, and with the time of their beginning
        # those whose connection may not come back soon.
        self._coming = 0
        self._coming_back: dict[asyncio.Future[Any], float] = {}
        self._impatient: asyncio.TimerHandle | None = None
        self._waiters: Waiters[T] = Waiters(self.loop)
        self._ages = Ages(self.loop, recycle, pre_ping, max_lifetime, max_idle)
        self._leaving: list[T] = []
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
            waiting=len(self._waiters),
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

    def take(self) -> T | None:
        """Lend an idle connection, if there is one that can be lent as it is."""
        if self.closing or self.inherited or asyncio.get_running_loop() is not self.loop:
            raise self._refusal()
        while self._idle:
            connection, since = self._idle.popitem()
            if self._ages.any or not connection.at_rest:
                cause = self._unfit(connection)
                if cause is not None:
                    self._discard(connection, cause)
                    continue
                if not connection.at_rest:  # in the hands of somebody who kept it
                    self._bring_back(connection, None)
                    continue
                if self._ages.doubtful(connection):
                    self._idle[connection] = since
                    return None
            self._lent.add(connection)
            self._acquired += 1
            return connection
        return None

    async def acquire(self, timeout: float | None = None) -> T:
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

    async def _wait(self, timeout: float | None, started: float, *, first: bool = False) -> T:
        waiter = self._waiters.join(first=first)
        timer = failure = None
        try:
            if timeout is not None:
                timer = self._apart(
                    self.loop.call_at, started + timeout, self._expire, waiter, timeout
                )
            self._grow()
            connection = await waiter
        except BaseException as error:  # or cancelled, or its coroutine closed
            handed = self._waiters.leave(waiter)
            if handed is not None:
                self.release(handed)
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

    def _expire(self, waiter: asyncio.Future[T], timeout: float) -> None:
        limit = "" if self.maxsize is None else f" of {self.maxsize}"
        working = f" {len(self._working)} being opened or put back," if self._working else ""
        error = AcquireTimeoutError(
            f"no connection within {timeout} seconds: {len(self._lent)}{limit} in use,{working}"
            f" {len(self._waiters) - 1} more waiting"
        )
        if self._waiters.refuse(waiter, error):
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

    def _apart(self, begin: Callable[..., R], *args: Any) -> R:
        """Begin something for the pool, in none of its borrowers' contexts."""
        return self._context.copy().run(begin, *args)

    def _work(
        self,
        coroutine: Coroutine[Any, Any, T | None],
        failure: str,
        connection: T | None = None,
        *,
        waiter: asyncio.Future[T] | None = None,
        place: Place | None = None,
    ) -> asyncio.Future[Any]:
        """Have a task make a connection ready to serve."""
        task = self._apart(self.loop.create_task, coroutine)
        self._watch(task, _Work(failure, connection, waiter, place))
        return task

    def _watch(self, future: asyncio.Future[Any], work: _Work[T]) -> None:
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

    async def _open(self) -> T:
        generation = self._generation
        connection = await self._keeper.open()
        connection.generation = generation
        self._counts.opened += 1
        self._ages.begin(connection)
        connection.on_lost(partial(_forget, weakref.ref(self), weakref.ref(connection)))
        try:
            await self._keeper.begin(connection)
        except BaseException as error:
            if self._keeper.has_init and isinstance(error, Exception):
                self._complain("init has failed", connection, error)
            self._bury(connection, self._blame(connection, "init"))
            raise
        self._retry_seconds = RETRY_SECONDS
        if self._retry is not None:
            self._retry.cancel()
            self._try_again()
        return connection

    def _tell(self, waiter: asyncio.Future[T] | None, error: BaseException) -> None:
        """Tell who waits why no connection can be opened; with nobody to tell, try later."""
        if waiter is not None:
            self._waiters.refuse(waiter, error)
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
                self._work(self._keeper.check(connection), "ping", connection)
            elif self.maxsize is None or self.size < self.maxsize:
                self._work(self._open(), "init", waiter=waiter)
            else:
                break
        while self._retry is None and self.size < self.minsize:
            self._work(self._open(), "init")

    def _unattended(self) -> asyncio.Future[T] | None:
        """Give the first whom nothing will serve that is under way."""
        if self._coming_back and self._waiters and self._impatient is None:
            since = next(iter(self._coming_back.values()))
            self._impatient = self._apart(
                self.loop.call_at, since + BACK_SECONDS, self._stop_relying
            )
        return self._waiters.unattended(self._coming + len(self._coming_back))

    def _stop_relying(self) -> None:
        """Open another connection for who waits on one that is on its way back for too long."""
        self._impatient = None
        late = self.loop.time() - BACK_SECONDS
        for future in _until(self._coming_back.items(), late):
            del self._coming_back[future]
        self._grow()

    def _next_idle(self) -> T | None:
        while self._idle:
            connection, _ = self._idle.popitem()
            cause = self._unfit(connection)
            if cause is None:
                return connection
            self._bury(connection, cause)
        return None

    # -- taking back -----------------------------------------------------------------------------

    def release(self, connection: T, place: Place | None = None) -> asyncio.Future[Any] | None:
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
        if not self._has_reset and connection.at_rest:
            self._offer(connection)
            return None
        return self._bring_back(connection, place)

    def _bring_back(self, connection: T, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin what has to be done before a connection is lent again."""
        self._keeper.interrupt(connection, place)
        busy = connection.busy and not connection.closed
        cause = None if busy else self._unfit(connection)
        if cause is not None:
            self._keeper.warn_of_loss(connection, place)
            self._discard(connection, cause)
            return None
        future = None if busy else self._keeper.start_back(connection, place)
        if future is None:
            future = self._work(self._put_back(connection, place), "reset", connection, place=place)
        else:
            self._watch(future, _Work("reset", connection, None, place))
        if not busy and not self._has_reset:
            self._coming_back[future] = self.loop.time()
        return future

    async def _put_back(self, connection: T, place: Place | None) -> None:
        await self._keeper.settle(connection, place)
        if self._unfit(connection) is None:
            await self._keeper.put_back(connection)

    def _complain(self, what: str, connection: T, error: BaseException) -> None:
        """Log an error that is not the end of the connection, or of the pool."""
        if connection.loss is None and not self.closing:
            logger.error("%s: %s", what, printable(error), exc_info=error)

    def _blame(self, connection: T, failure: str) -> str:
        """Give the cause of closing a connection at which something has failed."""
        if self.closing:
            return "engine"
        return failure if connection.loss is None or failure == "ping" else "lost"

    def lends(self, connection: T) -> bool:
        """Tell whether a connection of this pool is in use."""
        return connection in self._lent

    def reclaim(self, connection: T, place: Place | None = None) -> None:
        """Close a connection whose borrower has gone without a word."""
        if connection in self._lent:
            self._lent.remove(connection)
            self._keeper.warn_of_loss(connection, place)
            self._discard(connection, "leaked")

    def _keep(self, connection: T, work: _Work[T], done: asyncio.Future[Any]) -> None:
        """Have a connection serve that is open, answers or is back, if it is at rest by then."""
        cause = self._unfit(connection)
        if cause == "lost":
            cause = self._blame(connection, work.failure)
        if cause is None and not connection.at_rest:
            if not isinstance(done, asyncio.Task):  # there is more to do than that
                put_back = self._put_back(connection, work.place)
                self._work(put_back, "reset", connection, place=work.place)
                return
            cause = work.failure
        if cause is None:
            self._offer(connection)
        else:
            self._discard(connection, cause)

    def _offer(self, connection: T) -> None:
        """Have a connection at rest serve the first waiter, or whoever comes."""
        if self._ages.any or self.closing or connection.generation != self._generation:
            cause = self._unfit(connection)
            if cause is not None:
                self._discard(connection, cause)
                return
        if self._waiters.serve(connection):
            self._lent.add(connection)
            self._acquired += 1
        elif self._ages.max_idle is None:
            self._idle[connection] = 0.0
        else:
            self._idle[connection] = self.loop.time()
            self._watch_idle(self._ages.max_idle)

    def _unfit(self, connection: T) -> str | None:
        """Tell why a connection is not to be lent again, if it is not."""
        cause = self._ages.unfit(connection)
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
        most = self._ages.max_idle
        assert most is not None
        now = self.loop.time()
        spare = islice(self._idle.items(), max(0, self.size - self.minsize))
        for connection in _until(spare, now - most):
            del self._idle[connection]
            self._discard(connection, "idle")
        if self._idle:
            self._watch_idle(next(iter(self._idle.values())) + most - now)

    def lose(self, connection: T) -> None:
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

    def _discard(self, connection: T, cause: str) -> None:
        """Close a connection that is in none of the pool's hands, and use the room."""
        self._bury(connection, cause)
        if connection.unfit is not None and connection.unfit.is_of_the_node:
            self._suspect_others()
        self._grow()
        self._check_empty()

    def _bury(self, connection: T, cause: str) -> None:
        self._keeper.close(connection, cause)
        self._counts.closed[cause] += 1
        self._ages.end(connection)
        if self.closing or connection.busy:
            self._leaving.append(connection)
            if not self.closing:  # until nothing goes on any more of it
                connection.on_killed(partial(self._forget_leaving, connection))

    def _forget_leaving(self, connection: T) -> None:
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
        self._waiters.refuse_all(partial(RuntimeError, _CLOSED))
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
        with suppress(asyncio.TimeoutError):
            await in_time(self._empty.wait(), timeout)
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
        self._waiters.forget()
        for connections in (self._idle, self._lent, self._working, self._coming_back):
            connections.clear()
        with suppress(
            StopIteration, RuntimeError
        ):  # unasked, it would tell the parent's event loop
            self._loop_end.aclose().send(None)


def _forget(pool: weakref.ref[Pool[T]], connection: weakref.ref[T], _closed: object = None) -> None:
    """Tell a pool that a connection has ended, if both are still there."""
    known, lost = pool(), connection()
    if known is not None and lost is not None:
        known.lose(lost)


async def _end_with_loop(pool: weakref.ref[Pool[Any]]) -> AsyncGenerator[None, None]:
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


def _until(times: Iterable[tuple[R, float]], latest: float) -> list[R]:
    """Give what has a time up to *latest*, out of what is in their order."""
    return [each for each, _ in takewhile(lambda item: item[1] <= latest, times)]


def _error(task: asyncio.Future[Any]) -> BaseException | None:
    """Give a task's error; whoever is told of it has not been cancelled."""
    if task.cancelled():
        return InvalidRequestError("a connection's opening was cancelled, by init or from outside")
    return task.exception()
