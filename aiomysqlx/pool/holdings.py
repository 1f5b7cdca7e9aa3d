"""What a pool has: which things there are, in whose hands, and which of them may be lent."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from .home import Ages, Home
from .nodes import Nodes
from .pace import Pace
from .stats import Counts
from .waiters import Underway, Waiters

if TYPE_CHECKING:
    from .keeper import Keeper, Thing


class Holdings:
    """All things of a pool, and what is known of each; it opens none.

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
        rotates: bool = False,
    ) -> None:
        self.keeper = keeper
        # Whether what is idle is lent in turn; otherwise what came last goes first.
        self._rotates = rotates
        self.minsize = minsize
        self.maxsize = maxsize
        self.ages = ages
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
        # Of the things that may be lent: those of an earlier one have been cleared out.
        self._generation = 0
        self._leaving: list[Thing] = []
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

    # -- lending ---------------------------------------------------------------------------------

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

    def trusted(self) -> Thing | None:
        """Return what was idle last of those that can be lent as they are, beside suspects."""
        if not self.nodes.suspects:
            return None
        for thing in self.idle if self._rotates else reversed(self.idle):
            if thing.at_rest and not self.doubtful(thing) and self.unfit(thing) is None:
                del self.idle[thing]
                return thing
        return None

    def _next_idle(self) -> Thing | None:
        while self.idle:
            thing = self.pop_idle()
            cause = self.unfit(thing)
            if cause is None:
                return thing
            self._bury(thing, cause)
        return None

    def unfit(self, thing: Thing) -> str | None:
        """Return why a thing is not to be lent again, if it is not."""
        cause = self.ages.unfit(thing)
        if cause is None and self.closing:
            cause = "engine"
        if cause is None and thing.generation != self._generation:
            cause = "cleared"
        return cause

    def doubtful(self, thing: Thing) -> bool:
        """Tell whether *thing* is to be checked before it is lent."""
        return self.nodes.is_suspect(thing) or self.ages.doubtful(thing)

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

    # -- closing ---------------------------------------------------------------------------------

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

    def _clear_idle(self, cause: str) -> None:
        while self.idle:
            thing, _ = self.idle.popitem()
            self._bury(thing, "lost" if thing.closed else cause)

    def check_empty(self) -> None:
        """Set `empty` if this was the last thing."""
        if self.closing and not self.size:
            self.empty.set()

    def forget(self) -> None:
        """Forget all things, in a child process: they are its parent's."""
        self.idle.clear()
        self.lent.clear()
        self.underway.forget()
