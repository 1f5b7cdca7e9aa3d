"""What the things of a pool have met of their nodes, the servers or addresses that they lead to."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .keeper import Thing

# How long a node that cannot do the work is not held against the connections opened since.
FAILOVER_SECONDS = 5.0
# How long it is known that a node was dropped, to things that were being opened then.
_REMEMBERED_SECONDS = 600.0


class Nodes:
    """The nodes that did not answer in time, or could not do the work."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        # With the time from which they are.
        self.suspects: dict[Hashable, float] = {}
        # How often nodes were dropped; each with the number of its latest time, and that time.
        self.drops: int = 0
        self._dropped: dict[Hashable, tuple[int, float]] = {}

    def suspect(self, node: Hashable) -> None:
        """Suspect what is there of a node, as one thing of it had no answer in time."""
        self.suspects[node] = self._loop.time()

    def is_suspect(self, thing: Thing) -> bool:
        """Tell whether a thing was there when its node did not answer, nor has since.

        One that was opened since works, and does not prove that the others do: their ways to the
        node may be lost.
        """
        since = self.suspects.get(thing.node)
        return since is not None and (thing.connected_at or since) <= since

    def has_answered(self, thing: Thing, time: float) -> None:
        """Suspect a thing's node no more, as it has answered what was sent at *time*."""
        if self.is_suspect(thing) and time > self.suspects[thing.node]:
            del self.suspects[thing.node]

    def drop(self, node: Hashable) -> None:
        """Take note that a node cannot do the work, as far as its things of this moment tell."""
        self.suspects.pop(node, None)
        now = self._loop.time()
        self._dropped = {
            each: (number, time)
            for each, (number, time) in self._dropped.items()
            if time > now - _REMEMBERED_SECONDS  # addresses may be ever new ones
        }
        self.drops += 1
        self._dropped[node] = self.drops, now

    def dropped_since(self, node: Hashable, drops: int) -> bool:
        """Tell whether a node was dropped after so many drops."""
        number, _ = self._dropped.get(node, (0, -inf))
        return number > drops

    def just_dropped(self, node: Hashable) -> bool:
        """Tell whether a node was dropped a moment ago.

        New things may lead to another node, or to the same: not again at each of their errors.
        """
        _, time = self._dropped.get(node, (0, -inf))
        return time > self._loop.time() - FAILOVER_SECONDS
