"""What a pool asks of the things that it lends and of their keeper, and how long they last."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ..runtime.place import Place

# By how much lifetimes vary, so that things opened together do not end together.
JITTER = 0.1


class Defect(Protocol):
    """Why a thing is not to be lent again."""

    @property
    def is_of_the_node(self) -> bool:
        """Whether the other things of its node have it too."""


class Lendable(Protocol):
    """A thing as the pool sees it."""

    # Counts the borrowings: whoever has waited compares it to what it was before.
    lease: int
    # Tells which things were opened together.
    generation: int

    @property
    def at_rest(self) -> bool:
        """Whether it can be lent as it is."""

    @property
    def busy(self) -> bool:
        """Whether something is still under way on it."""

    @property
    def closed(self) -> bool:
        """Whether it is closed, by either side."""

    @property
    def loss(self) -> BaseException | None:
        """The error with which it was lost, if not this side has closed it."""

    @property
    def unfit(self) -> Defect | None:
        """Why it is not to be lent again, if it is not."""

    @property
    def last_usage(self) -> float:
        """When it was last used, by the event loop's clock."""

    def on_lost(self, call: Callable[[], object]) -> None:
        """Call *call* once it has ended, by whichever side."""

    def on_killed(self, call: Callable[[], object]) -> None:
        """Call *call* once what was under way as it was closed goes on no more."""

    async def ensure_closed(self) -> None:
        """Close it, and wait until it is closed."""


T = TypeVar("T", bound=Lendable)


class Keeper(Protocol[T]):
    """What is done to things before and after they are lent."""

    @property
    def has_init(self) -> bool:
        """Whether users' code is part of `begin()`."""

    @property
    def has_reset(self) -> bool:
        """Whether everything that comes back is put back, at rest or not."""

    async def open(self) -> T:
        """Open a thing."""

    async def begin(self, thing: T) -> None:
        """Bring what has been opened to rest, or raise."""

    async def check(self, thing: T) -> None:
        """Raise an error if a thing does not answer."""

    def interrupt(self, thing: T, place: Place | None) -> None:
        """Close a thing if what its borrower waits for is still under way."""

    def start_back(self, thing: T, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin to put a thing back without a task, if that is possible; return the future."""

    async def settle(self, thing: T, place: Place | None) -> None:
        """Wait for what a borrower has left under way."""

    async def put_back(self, thing: T) -> None:
        """Bring a thing to rest that has come back, or close it."""

    def warn_of_loss(self, thing: T, place: Place | None) -> None:
        """Log that a borrower's work is lost, if some is."""

    def close(self, thing: T, cause: str) -> None:
        """Close a thing for one of the causes in `PoolStats`."""


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
