"""The pool: lends things of one kind to one borrower at a time."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..exc import AcquireTimeoutError, InvalidRequestError, TooManyWaitingError
from ..runtime.awaitable import in_time, set_free
from ..runtime.fork import keep_in_process
from ..runtime.words import Place
from .home import Ages, Home, end_with_loop
from .remaining import Remaining
from .stats import PoolStats
from .stock import Stock, error_of

if TYPE_CHECKING:
    from .keeper import Keeper, Thing

_CLOSED = "Cannot acquire connection after closing pool: create another, or acquire before that"


class Pool:
    """At most `maxsize` things, lent to one borrower at a time.

    Idle things are lent last in, first out, or in turn if it *rotates*; who finds none waits, first
    in, first out. All that takes time is under way beside the borrowers. A borrower only ever waits
    for a future, and one that is cancelled or out of time leaves nothing behind but its place in
    the queue.
    """

    def __init__(
        self,
        keeper: Keeper,
        minsize: int,
        maxsize: int | None,
        ages: Ages,
        max_waiting: int = 0,
        patience: float = 0.0,
        rotates: bool = False,
    ) -> None:
        self.home: Home = Home(keeper.owner)
        self.stock: Stock = Stock(keeper, minsize, maxsize, ages, self.home, patience, rotates)
        # How many may wait for those who have borrowed; 0: any number.
        self._max_waiting = max_waiting
        self._waiters, self._counts = self.stock.waiters, self.stock.counts
        # Asked at each release: an instance's own attributes are read faster.
        self._has_reset = keeper.has_reset
        self._loop_end = end_with_loop(ref(self))
        keep_in_process(self)

    @property
    def minsize(self) -> int:
        """The number of things that are opened at the start, and opened anew when they are lost."""
        return self.stock.minsize

    @property
    def maxsize(self) -> int | None:
        """The largest number of things; `None`: no limit."""
        return self.stock.maxsize

    @property
    def size(self) -> int:
        """The number of things: idle, lent, and in the hands of a task."""
        return self.stock.size

    @property
    def freesize(self) -> int:
        """The number of idle things."""
        return len(self.stock.idle)

    @property
    def closing(self) -> bool:
        """Whether `close()` has been called."""
        return self.stock.closing

    def stats(
        self,
        sent_as_text: dict[str, int] | None = None,
        hosts: dict[str, dict[str, Any]] | None = None,
        read_only: PoolStats | None = None,
    ) -> PoolStats:
        """Return the pool's state and what it has done so far, and what its user has besides."""
        stock = self.stock
        return self._counts.at(
            sent_as_text or {},
            hosts or {},
            read_only,
            size=stock.size,
            idle=len(stock.idle),
            in_use=len(stock.lent),
            waiting=len(self._waiters),
            held_back=stock.pace.is_held,
        )

    async def begin(self) -> None:
        """Have the pool end with its event loop; nothing is opened yet."""
        await anext(self._loop_end)

    async def open(self) -> None:
        """Open the first things: `minsize`, but at least one.

        With one of them, it does with fewer for now if the others meet an error that passes.
        """
        await self.begin()
        tasks = self.stock.open_first(max(1, self.minsize))
        try:
            await asyncio.wait(tasks)
            errors = [error for error in map(error_of, tasks) if error is not None]
        except BaseException:  # cancelled: some may be open
            self.terminate()
            raise
        passing = self.stock.keeper.is_passing
        if errors and (not self.freesize or not all(map(passing, errors))):
            self.terminate()
            await self.wait_closed()
            try:
                raise errors[0]
            finally:  # its traceback holds this frame
                tasks.clear()
                errors.clear()

    # -- lending ---------------------------------------------------------------------------------

    def take(self) -> Any:
        """Lend an idle thing; `None` if there is none that can be lent as it is."""
        stock, home = self.stock, self.home
        if stock.closing or home.inherited or asyncio.get_running_loop() is not home.loop:
            raise self._refusal()
        while stock.idle:
            if stock.careful and stock.next_is_doubtful():
                thing = stock.trusted()
                if thing is None:
                    return None
            else:
                thing = stock.pop_idle()
                if stock.careful or not thing.at_rest:
                    cause = stock.unfit(thing)
                    if cause is not None:
                        stock.discard(thing, cause)
                        continue
                    if not thing.at_rest:  # in the hands of somebody who kept it
                        stock.bring_back(thing, None)
                        continue
            stock.lent.add(thing)
            self._counts.acquired += 1
            return thing
        return None

    async def acquire(self, timeout: float | None = None) -> Any:
        """Lend a thing: an idle one, a new one, or the next that comes back.

        Raises `AcquireTimeoutError` after *timeout* seconds, and `TooManyWaitingError` if as many
        wait already as may.
        """
        thing = self.take()
        return await self.wait(timeout) if thing is None else thing

    async def wait(self, timeout: float | None = None) -> Any:
        """Lend a thing, after `take()` has found none: a new one, or the next that comes back."""
        self._check_waiting()
        started = self.home.loop.time()
        since = inf if timeout is not None else started
        waiter = timer = failure = None
        try:
            while True:
                waiter = self._waiters.join(waiter is not None, since)  # first: it has had its turn
                if timeout is not None:
                    at = self.home.loop.call_at
                    timer = self.home.apart(at, started + timeout, self._expire, waiter, timeout)
                self.stock.grow()
                thing = await waiter
                if not thing.closed:
                    return thing
                if timer is not None:
                    timer.cancel()
                self._drop(thing)
        except BaseException as error:  # or cancelled, or its coroutine closed
            failure = self._give_up(waiter, error)
        finally:
            if timer is not None:
                timer.cancel()
            self._counts.add_wait(self.home.loop.time() - started)
            del waiter  # or it would hold an error whose traceback holds this frame
        try:
            raise failure
        finally:
            del failure  # likewise

    def _drop(self, thing: Thing) -> None:
        """Discard what was lost as it was handed over; raise if nothing is lent any more."""
        if thing not in self.stock.lent:  # `terminate()` came before us
            raise self._refusal()
        self.stock.lent.remove(thing)
        self.stock.discard(thing, "lost")
        if self.closing:
            raise self._refusal()

    def _give_up(self, waiter: asyncio.Future[Thing] | None, error: BaseException) -> BaseException:
        """Stop waiting, as *error* has it; return what to raise."""
        handed = None if waiter is None else self._waiters.leave(waiter)
        if handed is not None:
            self.release(handed)
        return set_free(error)

    def _check_waiting(self) -> None:
        waiting = len(self._waiters)
        if 0 < self._max_waiting <= waiting - self.stock.room:
            self._counts.turned_away += 1
            raise TooManyWaitingError(
                f"{waiting} wait for a connection already, as many as max_waiting allows:"
                " try again later, borrow for a shorter time, or raise maxsize or max_waiting"
            )

    def _expire(self, waiter: asyncio.Future[Thing], timeout: float) -> None:
        stock = self.stock
        limit = "" if self.maxsize is None else f" of {self.maxsize}"
        works = len(stock.underway.works)
        working = f" {works} being opened or put back," if works else ""
        refusal = None if stock.refusal is None else set_free(stock.refusal)
        why = ""
        if refusal is not None:
            why = f"; none is opened: {refusal}"
        elif stock.is_full:
            why = ": borrow for a shorter time, or raise maxsize"
        error = AcquireTimeoutError(
            f"no connection within {timeout} seconds: {len(stock.lent)}{limit} in use,{working}"
            f" {len(self._waiters) - 1} more waiting{why}"
        )
        error.__cause__ = refusal
        if self._waiters.refuse(waiter, error):
            self._counts.timeouts += 1

    def check_open(self) -> None:
        """Raise a `RuntimeError` where nothing is lent: after `close()`, or somewhere else."""
        home = self.home
        if self.closing or home.inherited or asyncio.get_running_loop() is not home.loop:
            raise self._refusal()

    def _refusal(self) -> RuntimeError:
        # Where it does not belong it is refused for that: its event loop's end has closed it, too.
        if self.home.inherited or asyncio.get_running_loop() is not self.home.loop:
            return self.home.misplaced
        return RuntimeError(_CLOSED)

    # -- taking back -----------------------------------------------------------------------------

    def release(self, thing: Thing, place: Place | None = None) -> asyncio.Future[Any] | None:
        """Take a thing back, which was acquired at *place*.

        One that has something to be put back first is kept apart until it is; the future returned
        tells when.
        """
        stock = self.stock
        if thing not in stock.lent:
            if self.home.inherited or (stock.closing and thing.closed):  # by `terminate()`
                return None
            raise InvalidRequestError("the connection does not belong to this pool")
        stock.lent.remove(thing)
        thing.lease += 1
        if not self._has_reset and thing.at_rest:
            stock.offer(thing)
            return None
        return stock.bring_back(thing, place)

    def lends(self, thing: Thing) -> bool:
        """Tell whether a thing of this pool is in use."""
        return thing in self.stock.lent

    def reclaim(self, thing: Thing, place: Place | None = None) -> None:
        """Close a thing whose borrower has gone without a word."""
        stock = self.stock
        if thing in stock.lent:
            stock.lent.remove(thing)
            stock.keeper.warn_of_loss(thing, place)
            stock.discard(thing, "leaked")

    def clear(self) -> None:
        """Close the idle things, and the others as they come back; open up to `minsize`."""
        if not self.home.inherited:
            self.stock.clear()

    def drain(self) -> Remaining:
        """Replace all things, each as it comes back; return what waits until the old are closed."""
        if self.home.inherited:
            return Remaining(self.home.loop)
        return self.stock.drain()

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle things, and the others as they come back; refuse to lend."""
        self.stock.close()
        self._waiters.refuse_all(partial(RuntimeError, _CLOSED))
        self.stock.check_empty()

    def terminate(self) -> None:
        """Close all things, also those that are lent."""
        self.close()
        self.stock.terminate()

    async def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until every thing has come back and is closed.

        After *timeout* seconds those that have not come back are closed as they are.
        """
        if not self.closing:
            raise RuntimeError(".wait_closed() should be called after .close()")
        self.home.check_loop()
        with suppress(asyncio.TimeoutError):
            await in_time(self.stock.empty.wait(), timeout)
        await self.end()
        await self._loop_end.aclose()

    async def end(self) -> None:
        """Close all things and wait until they are, and until nothing is under way."""
        if not self.home.inherited:
            self.terminate()
            await self.stock.end()

    def disown(self) -> None:
        """Forget all things, in a child process: they are its parent's."""
        self.home.inherited = True
        self._waiters.forget()
        self.stock.forget()
        # Unasked, it would tell the parent's event loop.
        with suppress(StopIteration, RuntimeError):
            self._loop_end.aclose().send(None)
