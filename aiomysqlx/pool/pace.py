"""How fast things are opened: a few at a time, and ever more slowly while that is refused."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..runtime.awaitable import set_free
from .home import Home, Timer

OPENED_AT_ONCE = 8
"""How many things are being opened at most, however many are wanted."""

# How long nothing is opened after a refusal that passes, first and at most.
HOLD_SECONDS = 0.1
MOST_HOLD_SECONDS = 2.0


class Pace:
    """Says when the next thing may be opened.

    After a refusal that passes, "too many connections" for example, nothing is opened for a while.
    Then one is tried: if that succeeds two are next, and so on; if not, the while is twice as long.
    """

    def __init__(self, home: Home) -> None:
        self._now = home.loop.time
        self._hold = Timer(home)
        self._seconds = HOLD_SECONDS
        self._most = OPENED_AT_ONCE
        # The latest such error, until something is opened again.
        self.refusal: BaseException | None = None
        self.refused_at: float = 0.0

    @property
    def is_held(self) -> bool:
        """Whether nothing is to be opened at the moment."""
        return self._hold.handle is not None

    def permits(self, opening: int) -> bool:
        """Tell whether another may be opened beside so many."""
        return opening < self._most and self._hold.handle is None

    def hold(self, error: BaseException, most: float, call: Callable[[], None]) -> None:
        """Call *call* when one more is to be tried, in *most* seconds at the latest."""
        self.refused_at = self._now()
        self.refusal = set_free(error)  # its traceback would hold all that its callers had
        if self._hold.handle is None:  # else it is one of those that were begun with the first
            seconds = self._seconds * random.uniform(0.5, 1)
            self._hold.start(min(seconds, most), call)
            self._seconds = min(2 * self._seconds, MOST_HOLD_SECONDS)
            self._most = 1

    def go_on(self) -> None:
        """Open faster again: one was opened."""
        if self._hold.handle is None:  # else it was begun before the refusal
            self.refusal = None
            self._seconds = HOLD_SECONDS
            self._most = min(2 * self._most, OPENED_AT_ONCE)

    def cancel(self) -> None:
        """Call nothing."""
        self._hold.cancel()
