"""What becomes of the things of a pool: brought back, offered, kept, and closed at the end."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any

from ..exc import InvalidRequestError
from ..runtime.words import Place
from .home import Ages, Home, Timer
from .remaining import Remaining
from .supply import Supply
from .waiters import Work, until

if TYPE_CHECKING:
    from .keeper import Keeper, Thing


class Stock(Supply):
    """All that one keeper looks after for a pool, from `minsize` to `maxsize` things.

    What takes time is under way in a task, which opens, checks or puts back one thing; that then
    serves the first waiter. A thing that comes back is idle at once if it is at rest. Otherwise it
    is on its way back until its keeper has brought it to rest: nobody has it before, and if that
    fails it is closed.
    """

    def __init__(
        self,
        keeper: Keeper,
        minsize: int,
        maxsize: int | None,
        ages: Ages,
        home: Home,
        patience: float = 0.0,
        rotates: bool = False,
    ) -> None:
        super().__init__(keeper, minsize, maxsize, ages, home, patience, rotates)
        self._idle_check = Timer(home)
        # What `terminate()` has cut off, of which the end is waited for.
        self._ended: list[asyncio.Future[Any]] = []

    def bring_back(self, thing: Thing, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin what has to be done before a thing is lent again; return the future of its end."""
        self.keeper.interrupt(thing, place)
        if thing.overdue:
            self.suspect(thing.node)
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

    def _finished(self, future: asyncio.Future[Any]) -> None:
        """Offer what was opened, checked or put back, or tell of it and replace it."""
        work = self.underway.remove(future)
        error = error_of(future)
        if work is None:
            return
        if error is None:
            if work.thing is not None and not work.thing.closed:
                self._trust(work.thing, inf)
            self._keep(work.thing or future.result(), work, future)
            if work.thing is None:
                self.grow()  # what had to wait for its turn
        elif work.thing is not None:
            if future.cancelled():  # by who ends the loop: open nothing in its last steps
                self._retry_later()
            else:
                self._doubt(work, error)
            self.discard(work.thing, self._blame(work.thing, work.failure))
        else:
            self._tell(work, error)
            self.grow()
            self.check_empty()

    def _doubt(self, work: Work, error: BaseException) -> None:
        """Take note that a thing could not be checked, or put back."""
        assert work.thing is not None
        if work.failure == "reset":
            unfit = work.thing.unfit
            if unfit is None or not unfit.is_of_the_node:  # else the node refuses all, as is known
                self._complain("a connection could not be put back", work.thing, error)
        elif self.nodes.is_suspect(work.thing):
            self._drop_suspects(work.thing)
            return
        if isinstance(error, asyncio.TimeoutError):
            self.suspect(work.thing.node)

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

    # -- keeping ---------------------------------------------------------------------------------

    def offer(self, thing: Thing) -> None:
        """Hand a thing at rest to the first waiter, or keep it for whoever comes."""
        if self.careful or self.closing or thing.generation != self._generation:
            cause = self.unfit(thing)
            if cause is not None:
                self.discard(thing, cause)
                return
            self._trust(thing, thing.last_usage)
        if self.waiters.serve(thing):
            self.lent.add(thing)
            self.counts.acquired += 1
        elif self.ages.max_idle is None:
            self.idle[thing] = 0.0
        else:
            self.idle[thing] = self._home.loop.time()
            self._watch_idle(self.ages.max_idle)

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

    def drain(self) -> Remaining:
        """Clear, and return what is to end since it was opened before, or was being opened."""
        old = Remaining(self._home.loop)
        for thing in self.things:
            if not thing.closed:
                old.add(thing)
                thing.on_lost(partial(old.remove, thing))
        for future, work in self.underway.works.items():
            if work.thing is None:
                old.add(future)
                future.add_done_callback(old.remove)
        self.clear()
        return old

    def close(self) -> None:
        """Close what is idle, and all else as it comes back; open nothing."""
        self.closing = True
        self.pace.cancel()
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


def error_of(task: asyncio.Future[Any]) -> BaseException | None:
    """Return a task's error; whoever is told of it has not been cancelled."""
    if task.cancelled():
        return InvalidRequestError("a connection's opening was cancelled, by init or from outside")
    return task.exception()
