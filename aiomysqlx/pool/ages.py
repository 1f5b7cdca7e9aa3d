"""How long a thing is good for."""

from __future__ import annotations

import asyncio
import random

from .keeper import Lendable

# By how much lifetimes vary, so that things opened together do not end together.
JITTER = 0.1


class Ages:
    """The times after which a thing is replaced, checked or closed, in seconds.

    *recycle* and *pre_ping* count from a thing's last use, *max_idle* from its return,
    *max_lifetime* from its opening.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        recycle: float = -1,
        pre_ping: float | None = None,
        max_lifetime: float | None = None,
        max_idle: float | None = None,
    ) -> None:
        self.loop = loop
        self.recycle = recycle
        self.pre_ping = pre_ping
        self.max_lifetime = max_lifetime
        self.max_idle = max_idle
        self.any = recycle > -1 or (pre_ping, max_lifetime, max_idle) != (None, None, None)
        self._ends: dict[Lendable, float] = {}

    def begin(self, thing: Lendable) -> None:
        """Start the lifetime of *thing*."""
        if self.max_lifetime is not None:
            lifetime = self.max_lifetime * (1 - JITTER * random.random())
            self._ends[thing] = self.loop.time() + lifetime

    def end(self, thing: Lendable) -> None:
        """Forget *thing*, which is closed."""
        self._ends.pop(thing, None)

    def unfit(self, thing: Lendable) -> str | None:
        """Return why *thing* is not to be lent again, if it is not."""
        if thing.closed:
            return "lost"
        if thing.unfit is not None:
            return "unfit"
        if self.recycle > -1 and self.unused(thing) > self.recycle:
            return "recycle"
        if self.max_lifetime is not None and self.loop.time() > self._ends[thing]:
            return "lifetime"
        return None

    def doubtful(self, thing: Lendable) -> bool:
        """Tell whether *thing* is to be checked before it is lent."""
        return self.pre_ping is not None and self.unused(thing) >= self.pre_ping

    def unused(self, thing: Lendable) -> float:
        """Return the seconds since *thing* was last used."""
        seconds: float = self.loop.time() - thing.last_usage
        return seconds
