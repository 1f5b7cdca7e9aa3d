"""What opens the things of a pool that are missing, and replaces those that have ended."""

from __future__ import annotations

import asyncio
import logging
import random
import weakref
from collections.abc import Coroutine
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from ..runtime.awaitable import set_free, task_of
from ..runtime.words import Place, printable
from .holdings import Holdings
from .home import JITTER, Ages, Home, Timer
from .pace import OPENED_AT_ONCE
from .waiters import Work

if TYPE_CHECKING:
    from .keeper import Keeper, Thing

logger: logging.Logger = logging.getLogger("aiomysqlx.pool")

# How long to wait before `minsize` is seen to again while the server is away, first and at most.
RETRY_SECONDS = 0.1
MOST_RETRY_SECONDS = 30.0
# The generation of what is not lent again as its node cannot do the work.
_RETIRED = -1


class Supply(Holdings):
    """Opens and checks things for those who wait, and for `minsize`, each in a task.

    Who waits goes on waiting if the keeper says of an error that it passes: what is there may come
    back, and opening is tried again, ever more rarely. What becomes of a thing once a task of it
    has ended is for `_finished()` to say.
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
        super().__init__(keeper, minsize, maxsize, ages, home, rotates)
        # For how many seconds who has no time limit waits where nothing is there nor can be opened.
        self._patience = patience
        self._retry = Timer(home)
        self._retry_seconds = RETRY_SECONDS

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

    # -- growing ---------------------------------------------------------------------------------

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
        task = self._home.apart(task_of, self._home.loop, coroutine)
        work = Work(failure, thing, waiter, place, self._home.loop.time())
        self.underway.add(task, work, self._finished)
        return task

    def _finished(self, future: asyncio.Future[Any]) -> None:
        """Do with a thing what comes next, as what was under way for it has ended."""
        raise NotImplementedError

    # -- refusals --------------------------------------------------------------------------------

    @property
    def refusal(self) -> BaseException | None:
        """Why nothing is opened for those who wait, if that is so."""
        if self.pace.is_held or self.underway.opening:
            return self.pace.refusal
        return None

    @property
    def _has_none(self) -> bool:
        """Whether there is nothing that may yet serve who waits."""
        if self.idle or len(self.underway.works) > self.underway.opening:
            return False
        return all(thing.generation != self._generation for thing in self.lent)

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

    def _retry_later(self) -> None:
        if not self.closing and self._retry.handle is None:
            self._retry.start(self._retry_seconds * (1 + JITTER * random.random()), self.grow)
            self._retry_seconds = min(2 * self._retry_seconds, MOST_RETRY_SECONDS)

    def _complain(self, what: str, thing: Thing, error: BaseException) -> None:
        """Log an error that is not the end of the thing, or of the pool."""
        if thing.loss is None and not self.closing:
            logger.error("%s: %s", what, printable(error), exc_info=error)

    def _blame(self, thing: Thing, failure: str) -> str:
        """Return the cause of closing a thing at which something has failed."""
        if self.closing:
            return "engine"
        return failure if thing.loss is None or failure == "ping" else "lost"

    # -- replacing -------------------------------------------------------------------------------

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

    def clear(self) -> None:
        """Close what is idle, and all else as it comes back; open up to `minsize`."""
        self._generation += 1
        self._clear_idle("cleared")
        self.grow()

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


def _lose(supply: weakref.ref[Supply], thing: weakref.ref[Thing], _closed: object = None) -> None:
    """Tell a supply that a thing has ended, if both are still there."""
    known, lost = supply(), thing()
    if known is not None and lost is not None:
        known.lose(lost)


def _learn_unfit(supply: weakref.ref[Supply], thing: weakref.ref[Thing]) -> None:
    """Tell a supply that a thing is not to be lent again, if both are still there."""
    known, unfit = supply(), thing()
    if known is not None and unfit is not None:
        known.learn_unfit(unfit)
