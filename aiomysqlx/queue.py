"""Those who wait for a connection."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from itertools import islice

from .driver import Connection

Waiter = asyncio.Future[Connection]


class Queue:
    """Those who wait for a connection, first in, first out.

    Who waits awaits the future that `join()` gives, and calls `leave()` if that is cut off. A
    future that is done is in the queue no longer: each gets one connection or one error.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiters: OrderedDict[Waiter, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiters)

    def join(self, *, first: bool = False) -> Waiter:
        """Wait behind all others, or before them."""
        waiter: Waiter = self._loop.create_future()
        self._waiters[waiter] = None
        if first:
            self._waiters.move_to_end(waiter, last=False)
        return waiter

    def leave(self, waiter: Waiter) -> Connection | None:
        """Wait no longer; give the connection that has been handed over meanwhile, if any."""
        self._waiters.pop(waiter, None)
        if not waiter.done():
            waiter.cancel()
        elif not waiter.cancelled() and waiter.exception() is None:
            return waiter.result()
        return None

    def serve(self, connection: Connection) -> bool:
        """Hand *connection* to the first; false if nobody waits."""
        while self._waiters:
            waiter, _ = self._waiters.popitem(last=False)
            if not waiter.done():  # cancelled, and about to leave
                waiter.set_result(connection)
                return True
        return False

    def refuse(self, waiter: Waiter, error: BaseException) -> bool:
        """Let *waiter* go with an error; false if it waits no longer."""
        if waiter in self._waiters and not waiter.done():
            del self._waiters[waiter]
            waiter.set_exception(error)
            return True
        return False

    def behind(self, count: int) -> list[Waiter]:
        """Give all but the first *count*."""
        return list(islice(self._waiters, count, None))

    def forget(self) -> None:
        """Let nobody wait any more, without a word."""
        self._waiters.clear()
