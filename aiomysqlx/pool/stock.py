"""The things of a pool: opened, kept, brought back and closed."""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Coroutine
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..exc import InvalidRequestError
from ..runtime.words import Place, printable
from .home import JITTER, Ages, Home, Timer
from .stats import Counts
from .waiters import Underway, Waiters, Work, until

if TYPE_CHECKING:
    from .keeper import Keeper, Thing

logger = logging.getLogger("aiomysqlx.pool")

# How long to wait before `minsize` is seen to again while the server is away, first and at most.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0
# How long a server that cannot do the work is not held against the connections opened since.
FAILOVER_SECONDS = 5.0


class Stock:
    """All that one keeper looks after for a pool, from `minsize` to `maxsize` things.

    What takes time is under way in a task, which opens, checks or puts back one thing; that then
    serves the first waiter. A thing that comes back is idle at once if it is at rest. Otherwise it
    is on its way back until its keeper has brought it to rest: nobody has it before, and if that
    fails it is closed.

    Every thing, and every task that opens one, is in just one of `idle`, `lent` and what is under
    way: their lengths make up `size`, and room is given back by leaving them. No step takes longer
    the more there are.
    """

    def __init__(
        self, keeper: Keeper, minsize: int, maxsize: int | None, ages: Ages, home: Home
    ) -> None:
        self.keeper = keeper
        self.minsize = minsize
        self.maxsize = maxsize
        self.ages = ages
        self.closing = False
        # With the time from which they are, in the order in which they came.
        self.idle: dict[Thing, float] = {}
        self.lent: set[Thing] = set()
        self.underway = Underway(home)
        self._home = home
        self.waiters = Waiters(home.loop)
        self.counts = Counts()
        self._retry = Timer(home)
        self._retry_seconds = RETRY_SECONDS
        self._idle_check = Timer(home)
        # Of the things that may be lent: those of an earlier one have been cleared out.
        self._generation = 0
        self._failover = -FAILOVER_SECONDS
        self._leaving: list[Thing] = []
        self._ended: list[asyncio.Future[Any]] = []
        self.empty = asyncio.Event()

    @property
    def size(self) -> int:
        """The number of things: idle, lent, and in the hands of a task."""
        return len(self.idle) + len(self.lent) + len(self.underway.works)

    @property
    def things(self) -> list[Thing]:
        """All things that are there, whoever has them."""
        works = self.underway.works.values()
        underway = [work.thing for work in works if work.thing is not None]
        return [*self.idle, *self.lent, *underway]

    @property
    def is_full(self) -> bool:
        """Whether there are `maxsize` things."""
        return self.maxsize is not None and self.size >= self.maxsize

    # -- opening ---------------------------------------------------------------------------------

    def open(self, waiter: asyncio.Future[Thing] | None = None) -> asyncio.Future[Any]:
        """Begin to open a thing; *waiter* is told if that fails."""
        return self._work(self._open(), "init", waiter=waiter)

    async def _open(self) -> Thing:
        generation = self._generation
        thing: Thing = await self.keeper.open()
        thing.generation = generation
        self.counts.opened += 1
        thing.on_lost(partial(_lose, weakref.ref(self), weakref.ref(thing)))
        try:
            await self.keeper.begin(thing)
        except BaseException as error:
            if self.keeper.has_init and isinstance(error, Exception):
                self._complain("init has failed", thing, error)
            self._bury(thing, self._blame(thing, "init"))
            raise
        # Last: one that takes longer to make ready than it is to last is lent all the same, once.
        self.ages.begin(thing)
        self._retry_seconds = RETRY_SECONDS
        if self._retry.cancel():
            self.grow()
        return thing

    def _tell(self, waiter: asyncio.Future[Thing] | None, error: BaseException) -> None:
        """Tell who waits why nothing can be opened; with nobody to tell, try later."""
        if waiter is not None:
            self.waiters.refuse(waiter, error)
        elif not self.closing and self._retry.handle is None:
            self._retry.start(self._retry_seconds * (1 + JITTER * random.random()), self.grow)
            self._retry_seconds = min(2 * self._retry_seconds, MOST_RETRY_SECONDS)

    def grow(self) -> None:
        """Open and check what is missing for those who wait, and for `minsize`."""
        if self.closing or (not self.idle and self.is_full):
            return
        while (waiter := self._unattended()) is not None:
            thing = self._next_idle()
            if thing is not None:
                self._work(self.keeper.check(thing), "ping", thing)
            elif self.is_full:
                break
            else:
                self.open(waiter)
        while self._retry.handle is None and self.size < self.minsize:
            self.open()

    def _unattended(self) -> asyncio.Future[Thing] | None:
        """Return the first whom nothing will serve that is under way."""
        if self.waiters:
            self.underway.be_impatient(self.grow)
        return self.waiters.unattended(self.underway.expected)

    def _next_idle(self) -> Thing | None:
        while self.idle:
            thing, _ = self.idle.popitem()
            cause = self.unfit(thing)
            if cause is None:
                return thing
            self._bury(thing, cause)
        return None

    # -- tasks -----------------------------------------------------------------------------------

    def _work(
        self,
        coroutine: Coroutine[Any, Any, Thing | None],
        failure: str,
        thing: Thing | None = None,
        *,
        waiter: asyncio.Future[Thing] | None = None,
        place: Place | None = None,
    ) -> asyncio.Future[Any]:
        """Make a thing ready to serve, in a task."""
        task = self._home.apart(self._home.loop.create_task, coroutine)
        self.underway.add(task, Work(failure, thing, waiter, place), self._finished)
        return task

    def _finished(self, future: asyncio.Future[Any]) -> None:
        work = self.underway.remove(future)
        error = error_of(future)
        if work is None:
            return
        if error is None:
            self._keep(work.thing or future.result(), work, future)
        elif work.thing is not None:
            if future.cancelled():  # by who ends the loop: open nothing in its last steps
                self._tell(None, error)
            elif work.failure == "reset":
                self._complain("a connection could not be put back", work.thing, error)
            self.discard(work.thing, self._blame(work.thing, work.failure))
        else:
            self._tell(work.waiter, error)
            self.grow()
            self.check_empty()

    def _keep(self, thing: Thing, work: Work, done: asyncio.Future[Any]) -> None:
        """Offer a thing that is open, answers or is back, if it is at rest by then."""
        cause = self.unfit(thing)
        if cause == "lost":
            cause = self._blame(thing, work.failure)
        if cause is None and not thing.at_rest:
            if not isinstance(done, asyncio.Task):  # that was not all that there is to do
                self._work(self._put_back(thing, work.place), "reset", thing, place=work.place)
                return
            cause = work.failure
        if cause is None:
            self.offer(thing)
        else:
            self.discard(thing, cause)

    def _complain(self, what: str, thing: Thing, error: BaseException) -> None:
        """Log an error that is not the end of the thing, or of the pool."""
        if thing.loss is None and not self.closing:
            logger.error("%s: %s", what, printable(error), exc_info=error)

    def _blame(self, thing: Thing, failure: str) -> str:
        """Return the cause of closing a thing at which something has failed."""
        if self.closing:
            return "engine"
        return failure if thing.loss is None or failure == "ping" else "lost"

    # -- keeping ---------------------------------------------------------------------------------

    def bring_back(self, thing: Thing, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin what has to be done before a thing is lent again; return the future of its end."""
        self.keeper.interrupt(thing, place)
        busy = thing.busy and not thing.closed
        cause = None if busy else self.unfit(thing)
        if cause is not None:
            self.keeper.warn_of_loss(thing, place)
            self.discard(thing, cause)
            return None
        future = None if busy else self.keeper.start_back(thing, place)
        if future is None:
            future = self._work(self._put_back(thing, place), "reset", thing, place=place)
        else:
            self.underway.add(future, Work("reset", thing, None, place), self._finished)
        if not busy and not self.keeper.has_reset:
            self.underway.rely_on(future)
        return future

    async def _put_back(self, thing: Thing, place: Place | None) -> None:
        await self.keeper.settle(thing, place)
        if self.unfit(thing) is None:
            await self.keeper.put_back(thing)

    def offer(self, thing: Thing) -> None:
        """Hand a thing at rest to the first waiter, or keep it for whoever comes."""
        if self.ages.any or self.closing or thing.generation != self._generation:
            cause = self.unfit(thing)
            if cause is not None:
                self.discard(thing, cause)
                return
        if self.waiters.serve(thing):
            self.lent.add(thing)
            self.counts.acquired += 1
        elif self.ages.max_idle is None:
            self.idle[thing] = 0.0
        else:
            self.idle[thing] = self._home.loop.time()
            self._watch_idle(self.ages.max_idle)

    def unfit(self, thing: Thing) -> str | None:
        """Return why a thing is not to be lent again, if it is not."""
        cause = self.ages.unfit(thing)
        if cause is None and self.closing:
            cause = "engine"
        if cause is None and thing.generation != self._generation:
            cause = "cleared"
        return cause

    def _watch_idle(self, seconds: float) -> None:
        if self._idle_check.handle is None and self.size > self.minsize:
            self._idle_check.start(seconds, self._close_unused)

    def _close_unused(self) -> None:
        """Close what has been idle for `max_idle` seconds, down to `minsize`."""
        most = self.ages.max_idle
        assert most is not None
        now = self._home.loop.time()
        spare = islice(self.idle.items(), max(0, self.size - self.minsize))
        for thing in until(spare, now - most):
            del self.idle[thing]
            self.discard(thing, "idle")
        if self.idle:
            self._watch_idle(next(iter(self.idle.values())) + most - now)

    # -- closing ---------------------------------------------------------------------------------

    def lose(self, thing: Thing) -> None:
        """Retire a thing that has ended while nobody used it."""
        if thing in self.idle:
            del self.idle[thing]
            self.discard(thing, "lost")

    def discard(self, thing: Thing, cause: str) -> None:
        """Close a thing that is in none of the pool's hands, and use the room."""
        self._bury(thing, cause)
        if thing.unfit is not None and thing.unfit.is_of_the_node:
            self._suspect_others()
        self.grow()
        self.check_empty()

    def _bury(self, thing: Thing, cause: str) -> None:
        self.keeper.close(thing, cause)
        self.counts.closed[cause] += 1
        self.ages.end(thing)
        if self.closing or thing.busy:
            self._leaving.append(thing)
            if not self.closing:  # until nothing of it goes on any more
                thing.on_killed(partial(self._forget_leaving, thing))

    def _forget_leaving(self, thing: Thing) -> None:
        if not self.closing:  # else its end is waited for
            self._leaving.remove(thing)

    def _suspect_others(self) -> None:
        """Close the others too: what one thing has met awaits all of its node.

        New ones may lead to another node, or to the same: not again at each of their errors.
        """
        if self._home.loop.time() >= self._failover + FAILOVER_SECONDS:
            self._failover = self._home.loop.time()
            self.clear()

    def clear(self) -> None:
        """Close what is idle, and all else as it comes back; open up to `minsize`."""
        self._generation += 1
        self._clear_idle("cleared")
        self.grow()

    def _clear_idle(self, cause: str) -> None:
        while self.idle:
            thing, _ = self.idle.popitem()
            self._bury(thing, "lost" if thing.closed else cause)

    def close(self) -> None:
        """Close what is idle, and all else as it comes back; open nothing."""
        self.closing = True
        self._retry.cancel()
        self._idle_check.cancel()
        self.underway.cancel()
        self._clear_idle("engine")

    def terminate(self) -> None:
        """Close what is lent, or on its way back."""
        while self.lent:
            self.discard(self.lent.pop(), "engine")
        for future, work in tuple(self.underway.works.items()):
            if work.thing is not None:
                future.cancel()
                del self.underway.works[future]
                self._ended.append(future)
                self.discard(work.thing, "engine")

    async def end(self) -> None:
        """Wait until everything is closed, and nothing is under way."""
        await self.empty.wait()
        ended, self._ended = self._ended, []
        if ended:
            await asyncio.wait(ended)
        leaving, self._leaving = self._leaving, []
        await asyncio.gather(*(thing.ensure_closed() for thing in leaving))

    def check_empty(self) -> None:
        """Set `empty` if this was the last thing."""
        if self.closing and not self.size:
            self.empty.set()

    def forget(self) -> None:
        """Forget all things, in a child process: they are its parent's."""
        self.idle.clear()
        self.lent.clear()
        self.underway.forget()


def _lose(stock: weakref.ref[Stock], thing: weakref.ref[Thing], _closed: object = None) -> None:
    """Tell a stock that a thing has ended, if both are still there."""
    known, lost = stock(), thing()
    if known is not None and lost is not None:
        known.lose(lost)


def error_of(task: asyncio.Future[Any]) -> BaseException | None:
    """Return a task's error; whoever is told of it has not been cancelled."""
    if task.cancelled():
        return InvalidRequestError("a connection's opening was cancelled, by init or from outside")
    return task.exception()
