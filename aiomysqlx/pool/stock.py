"""The things of a pool: opened, kept, brought back and closed."""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Coroutine, Hashable
from functools import partial
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any

from ..exc import InvalidRequestError
from ..runtime.awaitable import set_free
from ..runtime.words import Place, printable
from .home import JITTER, Ages, Home, Timer
from .nodes import Nodes
from .pace import OPENED_AT_ONCE, Pace
from .remaining import Remaining
from .stats import Counts
from .waiters import Underway, Waiters, Work, until

if TYPE_CHECKING:
    from .keeper import Keeper, Thing

logger: logging.Logger = logging.getLogger("aiomysqlx.pool")

# How long to wait before `minsize` is seen to again while the server is away, first and at most.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0
# The generation of what is not lent again as its node cannot do the work.
_RETIRED = -1


class Stock:
    """All that one keeper looks after for a pool, from `minsize` to `maxsize` things.

    What takes time is under way in a task, which opens, checks or puts back one thing; that then
    serves the first waiter. A thing that comes back is idle at once if it is at rest. Otherwise it
    is on its way back until its keeper has brought it to rest: nobody has it before, and if that
    fails it is closed. Who waits goes on waiting if the keeper says of an error that it passes:
    what is there may come back, and opening is tried again, ever more rarely.

    Every thing, and every task that opens one, is in just one of `idle`, `lent` and what is under
    way: their lengths make up `size`, and room is given back by leaving them. No step takes longer
    the more there are, but for dropping those of a node.
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
        self.keeper = keeper
        # Whether what is idle is lent in turn; otherwise what came last goes first.
        self._rotates = rotates
        self.minsize = minsize
        self.maxsize = maxsize
        self.ages = ages
        # For how many seconds who has no time limit waits where nothing is there nor can be opened.
        self._patience = patience
        self.closing: bool = False
        # Whether things are looked at before they are lent and kept.
        self.careful: bool = ages.any
        # With the time from which they are, in the order in which they came.
        self.idle: dict[Thing, float] = {}
        self.lent: set[Thing] = set()
        self.underway: Underway = Underway(home)
        self._home = home
        self.waiters: Waiters = Waiters(home.loop)
        self.counts: Counts = Counts()
        self.nodes: Nodes = Nodes(home.loop)
        self.pace: Pace = Pace(home)
        self._retry = Timer(home)
        self._retry_seconds = RETRY_SECONDS
        self._idle_check = Timer(home)
        # Of the things that may be lent: those of an earlier one have been cleared out.
        self._generation = 0
        self._leaving: list[Thing] = []
        self._ended: list[asyncio.Future[Any]] = []
        self.empty: asyncio.Event = asyncio.Event()

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

    @property
    def room(self) -> float:
        """How many who wait need not wait for a borrower: for what is there, or can be opened."""
        if self.pace.refusal is not None:
            return len(self.idle) + len(self.underway.works) - self.underway.opening
        return inf if self.maxsize is None else self.maxsize - len(self.lent)

    # -- opening ---------------------------------------------------------------------------------

    def open(self, waiter: asyncio.Future[Thing] | None = None) -> asyncio.Future[Any]:
        """Begin to open a thing; *waiter* is told if that fails."""
        return self._work(self._open(), "init", waiter=waiter)

    def open_first(self, count: int) -> list[asyncio.Future[Any]]:
        """Begin to open so many things, a few at a time."""
        turns = asyncio.Semaphore(OPENED_AT_ONCE)
        return [self._work(self._open_in_turn(turns), "init") for _ in range(count)]

    async def _open_in_turn(self, turns: asyncio.Semaphore) -> Thing:
        async with turns:
            return await self._open()

    async def _open(self) -> Thing:
        generation, drops = self._generation, self.nodes.drops
        thing: Thing = await self.keeper.open()
        thing.generation = generation
        self.counts.opened += 1
        known = weakref.ref(self), weakref.ref(thing)
        thing.on_lost(partial(_lose, *known))
        thing.on_unfit(partial(_learn_unfit, *known))
        try:
            await self.keeper.begin(thing)
        except BaseException as error:
            if self.keeper.has_init and isinstance(error, Exception):
                self._complain("init has failed", thing, error)
            self._bury(thing, self._blame(thing, "init"))
            raise
        # Last: one that takes longer to make ready than it is to last is lent all the same, once.
        self.ages.begin(thing)
        if self.nodes.dropped_since(thing.node, drops):
            thing.generation = _RETIRED
        if self.nodes.suspects:
            self._forget_suspicions()
        self.pace.go_on()
        self._retry_seconds = RETRY_SECONDS
        self._retry.cancel()
        return thing

    def _tell(self, work: Work, error: BaseException) -> None:
        """Tell who waits why nothing can be opened, unless that passes."""
        if self.keeper.is_passing(error):
            self.counts.refused += 1
            if not self.closing:
                most = inf
                if self._has_none:
                    most = self.waiters.earliest + self._patience - self._home.loop.time()
                self.pace.hold(error, max(0.0, most), self._try_again)
                self._tell_impatient(error)
        elif work.waiter is not None:
            self.waiters.refuse(work.waiter, error)
            if self._patience and self._home.loop.time() >= work.since + self._patience:
                self._tell_impatient(error)  # it would be the same, after as long again
        if work.waiter is None:  # nobody to tell
            self._retry_later()

    def _retry_later(self) -> None:
        if not self.closing and self._retry.handle is None:
            self._retry.start(self._retry_seconds * (1 + JITTER * random.random()), self.grow)
            self._retry_seconds = min(2 * self._retry_seconds, MOST_RETRY_SECONDS)

    @property
    def _has_none(self) -> bool:
        """Whether there is nothing that may yet serve who waits."""
        if self.idle or len(self.underway.works) > self.underway.opening:
            return False
        return all(thing.generation != self._generation for thing in self.lent)

    def _tell_impatient(self, error: BaseException, tried: float = inf) -> None:
        """Tell those who have waited for long enough, if there is nothing to wait for.

        Who has come after *tried*, the latest attempt, has one made on their own behalf.
        """
        if self._has_none:
            latest = min(tried, self._home.loop.time() - self._patience)
            self.waiters.refuse_early(latest, partial(set_free, error))

    def _try_again(self) -> None:
        """Open one more, if somebody still waits for it, after a refusal that passes."""
        if self.pace.refusal is not None:
            self._tell_impatient(self.pace.refusal, self.pace.refused_at)
        self.grow()

    @property
    def refusal(self) -> BaseException | None:
        """Why nothing is opened for those who wait, if that is so."""
        if self.pace.is_held or self.underway.opening:
            return self.pace.refusal
        return None

    def grow(self) -> None:
        """Open and check what is missing for those who wait, and for `minsize`."""
        if self.closing or (not self.idle and self.is_full):
            return
        while self.idle and len(self.waiters) > self.underway.returning:
            thing = self._next_idle()
            if thing is not None:
                check = self.keeper.check(thing, self.nodes.is_suspect(thing))
                self._work(check, "ping", thing)
        while (waiter := self._unattended()) is not None:
            if self.is_full or not self._may_open:
                break
            self.open(waiter)
        while self._retry.handle is None and self.size < self.minsize and self._may_open:
            self.open()

    @property
    def _may_open(self) -> bool:
        return self.pace.permits(self.underway.opening)

    def _unattended(self) -> asyncio.Future[Thing] | None:
        """Return the first whom nothing will serve that is under way."""
        if self.waiters:
            self.underway.be_impatient(self.grow)
        return self.waiters.unattended(self.underway.expected)

    def pop_idle(self) -> Thing:
        """Take what is to be lent next out of `idle`."""
        idle = self.idle
        if not self._rotates:
            return idle.popitem()[0]
        thing = next(iter(idle))
        del idle[thing]
        return thing

    def next_is_doubtful(self) -> bool:
        """Tell whether what is to be lent next is fit, but to be checked before; it stays there."""
        thing = next(iter(self.idle) if self._rotates else reversed(self.idle))
        return thing.at_rest and self.unfit(thing) is None and self.doubtful(thing)

    def _next_idle(self) -> Thing | None:
        while self.idle:
            thing = self.pop_idle()
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
        work = Work(failure, thing, waiter, place, self._home.loop.time())
        self.underway.add(task, work, self._finished)
        return task

    def _finished(self, future: asyncio.Future[Any]) -> None:
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

    # -- nodes -----------------------------------------------------------------------------------

    def suspect(self, node: Hashable) -> None:
        """Have what is idle of a node checked before it is lent."""
        if not self.closing:
            self.nodes.suspect(node)
            self.careful = True

    def _trust(self, thing: Thing, time: float) -> None:
        """Suspect the node of *thing* no more, if what was sent on that at *time* is answered."""
        if self.nodes.suspects:
            self.nodes.has_answered(thing, time)
            self._relax()

    def _forget_suspicions(self) -> None:
        """Suspect no node more of which there is nothing but what was opened since."""
        there = {thing.node for thing in self.things if self.nodes.is_suspect(thing)}
        for node in self.nodes.suspects.keys() - there:
            del self.nodes.suspects[node]
        self._relax()

    def _relax(self) -> None:
        self.careful = self.ages.any or bool(self.nodes.suspects)

    def doubtful(self, thing: Thing) -> bool:
        """Tell whether *thing* is to be checked before it is lent."""
        return self.nodes.is_suspect(thing) or self.ages.doubtful(thing)

    def trusted(self) -> Thing | None:
        """Return what was idle last of those that can be lent as they are, beside suspects."""
        if not self.nodes.suspects:
            return None
        for thing in self.idle if self._rotates else reversed(self.idle):
            if thing.at_rest and not self.doubtful(thing) and self.unfit(thing) is None:
                del self.idle[thing]
                return thing
        return None

    def learn_unfit(self, thing: Thing) -> None:
        """Replace all of a node, if that is why *thing* is not to be lent again.

        What one has met awaits the others; unless it has been cleared out: others may lead
        elsewhere by the same address.
        """
        unfit = thing.unfit
        if unfit is None or not unfit.is_of_the_node or thing.generation != self._generation:
            return
        if not self.closing and not self.nodes.just_dropped(thing.node):
            node = thing.node
            self.nodes.drop(node)
            self._retire([each for each in self.things if each.node == node], thing)

    def _drop_suspects(self, thing: Thing) -> None:
        """Replace what was there of a node that did not answer, as *thing* has none again."""
        if not self.closing:
            node, is_suspect = thing.node, self.nodes.is_suspect
            suspects = [each for each in self.things if each.node == node and is_suspect(each)]
            self.nodes.suspects.pop(node, None)
            self._retire(suspects, thing)

    def _retire(self, things: list[Thing], because: Thing) -> None:
        """Close what is idle of *things*, and the others as they come back."""
        self.keeper.shun(because)
        self._relax()
        for thing in things:
            if thing in self.idle:
                del self.idle[thing]
                self._bury(thing, "lost" if thing.closed else "cleared")
            else:
                thing.generation = _RETIRED
        self.grow()

    # -- closing ---------------------------------------------------------------------------------

    def lose(self, thing: Thing) -> None:
        """Retire a thing that has ended while nobody used it."""
        if thing in self.idle:
            del self.idle[thing]
            self.discard(thing, "lost")

    def discard(self, thing: Thing, cause: str) -> None:
        """Close a thing that is in none of the pool's hands, and use the room."""
        if thing.overdue:
            self.suspect(thing.node)
        self._bury(thing, cause)
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

    def clear(self) -> None:
        """Close what is idle, and all else as it comes back; open up to `minsize`."""
        self._generation += 1
        self._clear_idle("cleared")
        self.grow()

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

    def _clear_idle(self, cause: str) -> None:
        while self.idle:
            thing, _ = self.idle.popitem()
            self._bury(thing, "lost" if thing.closed else cause)

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


def _learn_unfit(stock: weakref.ref[Stock], thing: weakref.ref[Thing]) -> None:
    """Tell a stock that a thing is not to be lent again, if both are still there."""
    known, unfit = stock(), thing()
    if known is not None and unfit is not None:
        known.learn_unfit(unfit)


def error_of(task: asyncio.Future[Any]) -> BaseException | None:
    """Return a task's error; whoever is told of it has not been cancelled."""
    if task.cancelled():
        return InvalidRequestError("a connection's opening was cancelled, by init or from outside")
    return task.exception()
