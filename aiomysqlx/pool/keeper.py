"""What a pool asks of the things that it lends and of their keeper, for type checkers.

Nothing imports this when it runs: making these classes would take 0.4 ms.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, Protocol

from ..runtime.words import Place


class Defect(Protocol):
    """Why a thing is not to be lent again."""

    @property
    def is_of_the_node(self) -> bool:
        """Whether the other things of its node have it too."""


class Thing(Protocol):
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
    def node(self) -> Hashable:
        """Where it leads to: what one thing meets there awaits the others of it."""

    @property
    def overdue(self) -> bool:
        """Whether its node has not answered in time."""

    @property
    def connected_at(self) -> float | None:
        """When it was opened, by the event loop's clock."""

    @property
    def last_usage(self) -> float:
        """When it was last used, by the event loop's clock."""

    def on_lost(self, call: Callable[[], object]) -> None:
        """Call *call* once it has ended, by whichever side."""

    def on_unfit(self, call: Callable[[], object]) -> None:
        """Call *call* whenever an answer says that it is not to be lent again."""

    def on_killed(self, call: Callable[[], object]) -> None:
        """Call *call* once what was under way as it was closed goes on no more."""

    async def ensure_closed(self) -> None:
        """Close it, and wait until it is closed."""


class Keeper(Protocol):
    """What is done to things before and after they are lent."""

    @property
    def owner(self) -> str:
        """What the users know the pool as: "engine", or "pool"."""

    @property
    def has_init(self) -> bool:
        """Whether users' code is part of `begin()`."""

    @property
    def has_reset(self) -> bool:
        """Whether everything that comes back is put back, at rest or not."""

    async def open(self) -> Any:
        """Open a thing."""

    async def begin(self, thing: Any) -> None:
        """Bring what has been opened to rest, or raise."""

    def is_passing(self, error: BaseException) -> bool:
        """Tell whether a thing may yet be opened if that is tried again after *error*."""

    async def check(self, thing: Any, suspect: bool) -> None:
        """Raise an error if a thing does not answer, or its *suspect* node does not do the work."""

    def shun(self, thing: Any) -> None:
        """Have things be opened elsewhere first than where *thing* leads to, if they may be."""

    def interrupt(self, thing: Any, place: Place | None) -> None:
        """Close a thing if what its borrower waits for is still under way."""

    def start_back(self, thing: Any, place: Place | None) -> asyncio.Future[Any] | None:
        """Begin to put a thing back without a task, if that is possible; return the future."""

    async def settle(self, thing: Any, place: Place | None) -> None:
        """Wait for what a borrower has left under way."""

    async def put_back(self, thing: Any) -> None:
        """Bring a thing to rest that has come back, or close it."""

    def warn_of_loss(self, thing: Any, place: Place | None) -> None:
        """Log that a borrower's work is lost, if some is."""

    def close(self, thing: Any, cause: str) -> None:
        """Close a thing for one of the causes in `PoolStats`."""
