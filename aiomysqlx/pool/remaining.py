"""What is waited for until it is gone."""

from __future__ import annotations

import asyncio


class Remaining:
    """Things, or the openings of some, of which each is taken out as it ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._each: set[object] = set()
        self._over = loop.create_future()

    def __len__(self) -> int:
        return len(self._each)

    def add(self, each: object) -> None:
        """Wait for *each* too."""
        self._each.add(each)

    def remove(self, each: object) -> None:
        """Take note that *each* has ended."""
        self._each.discard(each)
        if not self._each and not self._over.done():
            self._over.set_result(None)

    async def end(self, timeout: float | None) -> int:
        """Wait for the end of all, *timeout* seconds at most; return how many are left."""
        if self._each:
            await asyncio.wait([self._over], timeout=timeout)
        return len(self._each)
