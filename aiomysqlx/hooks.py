"""Functions that an engine calls with a connection: `init` once, and `reset` as it comes back."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from . import upkeep
from .connection import SAConnection
from .exc import AcquireTimeoutError, ArgumentError, InvalidRequestError
from .runtime.awaitable import in_time
from .runtime.words import brief, defined
from .settings import Hook
from .wire import opening
from .wire.session import Session


class HookError(ArgumentError, TypeError):
    """A function was given as a hook that is no coroutine function."""


class Hooks:
    """The `init` and the `reset` of an engine, as its upkeep calls them.

    Each of the user's functions is called with an `SAConnection` of its own, which *lend* makes,
    and may take `upkeep.HOOK_SECONDS`.
    """

    def __init__(
        self, lend: Callable[[Session], SAConnection], init: Hook | None, reset: bool | Hook
    ) -> None:
        self._lend = lend
        self._init = init
        self._reset = reset
        # What a reset leaves as it was when the session began: another means another connection.
        self._lasting: WeakKeyDictionary[Session, Any] = WeakKeyDictionary()

    async def begin(self, raw: Session) -> None:
        """Run `init` on a new connection."""
        if self._init is not None:
            await self._call("init", self._init, raw)
        if self._reset is True:
            self._lasting[raw] = await _in_time(_lasting(raw), "init")

    async def reset(self, raw: Session) -> None:
        """Run the reset on a connection that came back."""
        if callable(self._reset):
            await self._call("reset", self._reset, raw)
        else:
            await _in_time(self._renew(raw), "reset")

    async def _renew(self, raw: Session) -> None:
        await opening.reset(raw)
        if self._init is not None:
            await self._call("init", self._init, raw)
        if not raw.closed and await _lasting(raw) != self._lasting[raw]:
            raise InvalidRequestError(
                "reset=True cannot put back the session's database or role: another is opened"
            )

    async def _call(self, name: str, hook: Hook, raw: Session) -> None:
        conn = self._lend(raw)
        try:
            await _in_time(_run(name, hook, conn), name, f": {defined(hook)}")
        finally:
            conn._detach()


async def _lasting(raw: Session) -> Any:
    """Ask for what a reset leaves as it was, after learning if a failed procedure has begun work.

    The answer to the question itself would hide that.
    """
    if not raw.awaited and await raw.settled():
        await raw.learn_transaction()
    return await opening.lasting(raw)


async def _run(name: str, hook: Hook, conn: SAConnection) -> None:
    work = hook(conn)
    if not inspect.isawaitable(work):
        raise HookError(
            f"argument {name!r} takes a coroutine function: {defined(hook)} gave {brief(work)}"
        )
    await work


async def _in_time(work: Coroutine[Any, Any, Any], name: str, where: str = "") -> Any:
    seconds = upkeep.HOOK_SECONDS
    words = f"{name} did not end within {seconds} seconds{where}"
    return await in_time(work, seconds, partial(AcquireTimeoutError, words))
