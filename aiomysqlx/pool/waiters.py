"""Those who wait for something to be lent."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic

from .keeper import T


class Waiters(Generic[T]):
    """Those who wait for something to be lent, first in, first out.

    Who waits awaits the future that `join()` returns, and calls `leave()` if that is cut off. A
    future that is done is in the queue no longer: each gets one thing or one error. No step takes
    longer the more there are who wait.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # The first ones, for as many of whom something is under way, and those behind them.
        self._attended: OrderedDict[asyncio.Future[T], None] = OrderedDict()
        self._behind: OrderedDict[asyncio.Future[T], None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._attended) + len(self._behind)

    def __bool__(self) -> bool:
        return bool(self._behind or self._attended)

    def join(self, *, first: bool = False) -> asyncio.Future[T]:
        """Join behind all others, or before them; return the future to wait for."""
        waiter: asyncio.Future[T] = self._loop.create_future()
        if first:
            self._attended[waiter] = None
            self._attended.move_to_end(waiter, last=False)
        else:
            self._behind[waiter] = None
        return waiter

    def leave(self, waiter: asyncio.Future[T]) -> T | None:
        """Stop waiting; return what has been handed over meanwhile, if anything has."""
        self._remove(waiter)
        if not waiter.done():
            waiter.cancel()
        elif not waiter.cancelled() and waiter.exception() is None:
            return waiter.result()
        return None

    def serve(self, thing: T) -> bool:
        """Hand *thing* to the first; return false if nobody waits."""
        waiter = self._pop()
        if waiter is None:
            return False
        waiter.set_result(thing)
        return True

    def refuse(self, waiter: asyncio.Future[T], error: BaseException) -> bool:
        """Hand *waiter* an error; return false if it waits no longer."""
        if waiter.done() or not self._remove(waiter):
            return False
        waiter.set_exception(error)
        return True

    def refuse_all(self, error: Callable[[], BaseException]) -> None:
        """Hand everyone an error."""
        while (waiter := self._pop()) is not None:
            waiter.set_exception(error())

    def unattended(self, count: int) -> asyncio.Future[T] | None:
        """Return the first one behind *count* others, for whom something is under way."""
        while self._behind and len(self._attended) < count:
            waiter, _ = self._behind.popitem(last=False)
            self._attended[waiter] = None
        while len(self._attended) > count:
            waiter, _ = self._attended.popitem()
            self._behind[waiter] = None
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

    def _pop(self) -> asyncio.Future[T] | None:
        while waiters := self._attended or self._behind:
            waiter, _ = waiters.popitem(last=False)
            if not waiter.done():  # cancelled, and about to leave
                return waiter
        return None

    def _remove(self, waiter: asyncio.Future[T]) -> bool:
        for waiters in (self._attended, self._behind):
            if waiter in waiters:
                del waiters[waiter]
                return True
        return False
