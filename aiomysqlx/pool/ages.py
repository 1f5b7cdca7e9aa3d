"""How long a connection is good for."""

from __future__ import annotations

import asyncio
import random

from .keeper import Lendable

# By how much lifetimes vary, so that connections opened together do not end together.
JITTER = 0.1


class Ages:
    """The times after which a connection is replaced, pinged or closed, in seconds.

    *recycle* and *pre_ping* count from a connection's latest statement, *max_idle* from its return,
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

    def begin(self, connection: Lendable) -> None:
        """Have the lifetime of *connection* begin."""
        if self.max_lifetime is not None:
            lifetime = self.max_lifetime * (1 - JITTER * random.random())
            self._ends[connection] = self.loop.time() + lifetime

    def end(self, connection: Lendable) -> None:
        """Forget *connection*, which is closed."""
        self._ends.pop(connection, None)

    def unfit(self, connection: Lendable) -> str | None:
        """Tell why *connection* is not to be lent again, if it is not."""
        if connection.closed:
            return "lost"
        if connection.unfit is not None:
            return "unfit"
        if self.recycle > -1 and self.unused(connection) > self.recycle:
            return "recycle"
        if self.max_lifetime is not None and self.loop.time() > self._ends[connection]:
            return "lifetime"
        return None

    def doubtful(self, connection: Lendable) -> bool:
        """Tell whether *connection* is to be pinged before it is lent."""
        return self.pre_ping is not None and self.unused(connection) >= self.pre_ping

    def unused(self, connection: Lendable) -> float:
        """Give the seconds since the latest statement."""
        seconds: float = self.loop.time() - connection.last_usage
        return seconds
