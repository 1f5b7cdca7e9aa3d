"""Where a pool belongs, an event loop with its thread and process, and how long things last."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import ReferenceType

if TYPE_CHECKING:
    from .keeper import Thing

_OTHER_THREAD = (
    "the {owner} belongs to the event loop of another thread: let that call it,"
    " as in loop.call_soon_threadsafe({owner}.release, conn)"
)
# By how much lifetimes vary, so that things opened together do not end together.
JITTER = 0.1
R = TypeVar("R")


class Home:
    """The event loop in which a pool was made, and the context that its own work is done in.

    *owner* is what its users know it as.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        # That of the engine's maker, for hooks and a password's function, and for timers: a
        # borrower's would live as long as what it makes.
        self._context = contextvars.copy_context()
        # Whether this is a child of the process that made the pool: there is nothing to wait for,
        # nor to give back.
        self.inherited = False

    def apart(self, begin: Callable[..., R], *args: Any) -> R:
        """Begin something for the pool, in none of its borrowers' contexts."""
        return self._context.copy().run(begin, *args)

    @property
    def misplaced(self) -> RuntimeError:
        """The error for what is asked for in another process, or another event loop."""
        if self.inherited:
            where, when = "the process that created it", "after the fork"
        else:
            where, when = "another event loop", "for each event loop"
        return RuntimeError(f"the {self._owner} belongs to {where}: create one {when}")

    def check_loop(self) -> None:
        """Raise a `RuntimeError` in another event loop, and in a thread beside the pool's."""
        running = asyncio._get_running_loop()
        if running is None:
            self.check_thread()
        elif running is not self.loop and not self.inherited:
            raise self.misplaced

    def check_thread(self) -> None:
        """Raise a `RuntimeError` while the pool's event loop runs in another thread."""
        if self.inherited or not self.loop.is_running():
            return
        if asyncio._get_running_loop() is not self.loop:
            raise RuntimeError(_OTHER_THREAD.format(owner=self._owner))


class Timer:
    """A call that is due later; there is never more than one."""

    def __init__(self, home: Home) -> None:
        self._home = home
        # That of the call that is due, if one is.
        self.handle: asyncio.TimerHandle | None = None

    def start(self, seconds: float, call: Callable[[], object]) -> None:
        """Call *call* after so many seconds, unless a call is due already."""
        if self.handle is None:
            later = self._home.loop.call_later
            self.handle = self._home.apart(later, seconds, self._fire, call)

    def cancel(self) -> bool:
        """Call nothing; tell whether a call was due."""
        handle, self.handle = self.handle, None
        if handle is not None:
            handle.cancel()
        return handle is not None

    def _fire(self, call: Callable[[], object]) -> None:
        self.handle = None
        call()


class Endable(Protocol):
    """What has to end before its event loop does."""

    def end(self) -> Coroutine[Any, Any, None]:
        """Return what is to be awaited until it has ended."""


async def end_with_loop(reference: ReferenceType[Endable]) -> AsyncGenerator[None, None]:
    """End what is referred to, if it is still there, as the event loop ends.

    The last that `asyncio.run()` does is to cancel all tasks, and then to end such generators: what
    a cancelled borrower gives back would leave tasks behind that never run.
    """
    try:
        yield
    finally:
        known = reference()
        if known is not None:
            await known.end()


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
        self.any: bool = recycle > -1 or (pre_ping, max_lifetime, max_idle) != (None, None, None)
        self._ends: dict[Thing, float] = {}

    def begin(self, thing: Thing) -> None:
        """Start the lifetime of *thing*."""
        if self.max_lifetime is not None:
            lifetime = self.max_lifetime * (1 - JITTER * random.random())
            self._ends[thing] = self.loop.time() + lifetime

    def end(self, thing: Thing) -> None:
        """Forget *thing*, which is closed."""
        self._ends.pop(thing, None)

    def unfit(self, thing: Thing) -> str | None:
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

    def doubtful(self, thing: Thing) -> bool:
        """Tell whether *thing* is to be checked before it is lent."""
        return self.pre_ping is not None and self.unused(thing) >= self.pre_ping

    def unused(self, thing: Thing) -> float:
        """Return the seconds since *thing* was last used."""
        seconds: float = self.loop.time() - thing.last_usage
        return seconds
