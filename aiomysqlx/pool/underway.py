"""What is under way for a pool, beside its borrowers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from itertools import takewhile
from typing import Any, Generic, TypeVar

from ..runtime.place import Place
from ..runtime.record import Record
from .home import Home, Timer
from .keeper import T

# How long a waiter relies on a thing that is on its way back, before another is opened.
BACK_SECONDS = 0.1
R = TypeVar("R")


class Work(Record, Generic[T]):
    """What a future stands for: a thing that is being opened, checked or put back."""

    failure: str  # the cause of closing the thing if that fails
    thing: T | None  # none while it is being opened
    waiter: asyncio.Future[T] | None  # who is told why it cannot be opened
    place: Place | None  # where the thing was acquired that is on its way back


class Underway(Generic[T]):
    """All that is under way, and for how many of those who wait it will do."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self.works: dict[asyncio.Future[Any], Work[T]] = {}
        # Those of them that serve a waiter next: by number, and with the time of their beginning
        # those whose thing may not come back soon.
        self._coming = 0
        self._coming_back: dict[asyncio.Future[Any], float] = {}
        self._impatience = Timer(home)

    def add(
        self,
        future: asyncio.Future[Any],
        work: Work[T],
        finished: Callable[[asyncio.Future[Any]], None],
    ) -> None:
        """Note what *future* stands for, and call *finished* once it is done."""
        self.works[future] = work
        if work.failure != "reset":
            self._coming += 1
        # Not at a coroutine's end: a task cancelled before its first step does not get there.
        future.add_done_callback(finished)

    def remove(self, future: asyncio.Future[Any]) -> Work[T] | None:
        """Return what *future* stood for, if it has not been given up."""
        work = self.works.pop(future, None)
        if work is not None:
            self._coming_back.pop(future, None)
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
