"""Those who wait for something to be lent, and what is under way for them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain, takewhile
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar

from ..runtime.words import Place
from .home import Home, Timer

if TYPE_CHECKING:
    from .keeper import Thing

# How long a waiter relies on a thing that is on its way back, before another is opened.
BACK_SECONDS = 0.1
R = TypeVar("R")


class Waiters:
    """Those who wait for something to be lent, first in, first out.

    Who waits awaits the future that `join()` returns, and calls `leave()` if that is cut off. A
    future that is done is in the queue no longer: each gets one thing or one error. No step takes
    longer the more there are who wait, but for telling those who have waited for too long.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The first ones, for as many of whom something is under way, and those behind them. With
        # the time from which each of them has waited, of those who set no limit of their own.
        self._attended: OrderedDict[asyncio.Future[Thing], float] = OrderedDict()
        self._behind: OrderedDict[asyncio.Future[Thing], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._attended) + len(self._behind)

    def __bool__(self) -> bool:
        return bool(self._behind or self._attended)

    def join(self, first: bool = False, since: float = inf) -> asyncio.Future[Thing]:
        """Join behind all others, or before them; return the future to wait for.

        *since* is when the waiting has begun, of who is not to be told of it by somebody else.
        """
        waiter: asyncio.Future[Thing] = self._loop.create_future()
        if first:
            self._attended[waiter] = since
            self._attended.move_to_end(waiter, last=False)
        else:
            self._behind[waiter] = since
        return waiter

    def leave(self, waiter: asyncio.Future[Thing]) -> Thing | None:
        """Stop waiting; return what has been handed over meanwhile, if anything has."""
        self._remove(waiter)
        if not waiter.done():
            waiter.cancel()
        elif not waiter.cancelled() and waiter.exception() is None:
            return waiter.result()
        return None

    def serve(self, thing: Thing) -> bool:
        """Hand *thing* to the first; return false if nobody waits."""
        if self._behind or self._attended:
            waiter = self._pop()
            if waiter is not None:
                waiter.set_result(thing)
                return True
        return False

    def refuse(self, waiter: asyncio.Future[Thing], error: BaseException) -> bool:
        """Hand *waiter* an error; return false if it waits no longer."""
        if waiter.done() or not self._remove(waiter):
            return False
        waiter.set_exception(error)
        return True

    def refuse_all(self, error: Callable[[], BaseException]) -> None:
        """Hand everyone an error."""
        while (waiter := self._pop()) is not None:
            waiter.set_exception(error())

    @property
    def earliest(self) -> float:
        """The time from which the first has waited, of those who set no limit of their own."""
        return min(chain(self._attended.values(), self._behind.values()), default=inf)

    def refuse_early(self, latest: float, error: Callable[[], BaseException]) -> None:
        """Hand those of them an error who have waited from *latest*, or from before that."""
        for waiters in (self._attended, self._behind):
            for waiter in [waiter for waiter, since in waiters.items() if since <= latest]:
                self.refuse(waiter, error())

    def unattended(self, count: int) -> asyncio.Future[Thing] | None:
        """Return the first one behind *count* others, for whom something is under way."""
        while self._behind and len(self._attended) < count:
            waiter, since = self._behind.popitem(False)
            self._attended[waiter] = since
        while len(self._attended) > count:
            waiter, since = self._attended.popitem()
            self._behind[waiter] = since
            self._behind.move_to_end(waiter, last=False)
        while self._behind:
            waiter = next(iter(self._behind))
            if not waiter.done():
                return waiter
            del self._behind[waiter]
        return None

    def forget(self) -> None:
        """Forget everyone, without a word."""
        self._attended.clear()
        self._behind.clear()

    def _pop(self) -> asyncio.Future[Thing] | None:
        while waiters := self._attended or self._behind:
            waiter, _ = waiters.popitem(False)
            if not waiter.done():  # cancelled, and about to leave
                return waiter
        return None

    def _remove(self, waiter: asyncio.Future[Thing]) -> bool:
        for waiters in (self._attended, self._behind):
            if waiter in waiters:
                del waiters[waiter]
                return True
        return False


class Work:
    """What a future stands for: a thing that is being opened, checked or put back."""

    __slots__ = ("failure", "place", "since", "thing", "waiter")

    def __init__(
        self,
        failure: str,
        thing: Thing | None,
        waiter: asyncio.Future[Thing] | None,
        place: Place | None,
        since: float = 0.0,
    ) -> None:
        self.failure: str = failure  # the cause of closing the thing if that fails
        self.thing: Thing | None = thing  # none while it is being opened
        self.waiter: asyncio.Future[Thing] | None = waiter  # who is told why it cannot be opened
        self.place: Place | None = place  # where the thing was acquired that is on its way back
        self.since: float = since  # when the opening has begun


class Underway:
    """All that is under way, and for how many of those who wait it will do."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.works: dict[asyncio.Future[Any], Work] = {}
        # How many of them open something.
        self.opening: int = 0
        # Those of them that serve a waiter next: by number, and with the time of their beginning
        # those whose thing may not come back soon.
        self._coming = 0
        self._coming_back: dict[asyncio.Future[Any], float] = {}
        self._impatience = Timer(home)

    def add(
        self,
        future: asyncio.Future[Any],
        work: Work,
        finished: Callable[[asyncio.Future[Any]], None],
    ) -> None:
        """Note what *future* stands for, and call *finished* once it is done."""
        self.works[future] = work
        if work.thing is None:
            self.opening += 1
        if work.failure != "reset":
            self._coming += 1
        # Not at a coroutine's end: a task cancelled before its first step does not get there.
        future.add_done_callback(finished)

    def remove(self, future: asyncio.Future[Any]) -> Work | None:
        """Return what *future* stood for, if it has not been given up."""
        work = self.works.pop(future, None)
        if work is not None:
            self._coming_back.pop(future, None)
            if work.thing is None:
                self.opening -= 1
            if work.failure != "reset":
                self._coming -= 1
        return work

    def rely_on(self, future: asyncio.Future[Any]) -> None:
        """Expect a thing that is on its way back to serve a waiter, for a while."""
        self._coming_back[future] = self._home.loop.time()

    @property
    def expected(self) -> int:
        """How many of those who wait will be served soon."""
        return self._coming + len(self._coming_back)

    @property
    def returning(self) -> int:
        """How many of them by what is there: it is checked, or on its way back."""
        return self.expected - self.opening

    def be_impatient(self, call: Callable[[], None]) -> None:
        """Call *call* once fewer are expected, as a thing has been on its way back for too long."""
        if self._coming_back:
            since = next(iter(self._coming_back.values()))
            seconds = since + BACK_SECONDS - self._home.loop.time()
            self._impatience.start(seconds, partial(self._stop_relying, call))

    def _stop_relying(self, call: Callable[[], None]) -> None:
        latest = self._home.loop.time() - BACK_SECONDS
        for future in until(self._coming_back.items(), latest):
            del self._coming_back[future]
        call()

    def cancel(self) -> None:
        """Cancel what was to serve those who wait."""
        self._impatience.cancel()
        for future, work in self.works.items():
            if work.failure != "reset":
                future.cancel()

    def forget(self) -> None:
        """Forget all, in a child process: it is its parent's."""
        self.works.clear()
        self._coming_back.clear()


def until(times: Iterable[tuple[R, float]], latest: float) -> list[R]:
    """Return what has a time up to *latest*, out of what is in their order."""
    return [each for each, _ in takewhile(lambda item: item[1] <= latest, times)]
