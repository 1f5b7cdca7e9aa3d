"""Calls that are due at a time, most of which are cancelled before it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from math import inf
from typing import Any
from weakref import ref


class Timer:
    """A call that is due at a time, of `Timers.call_at()`."""

    __slots__ = ("_arguments", "_call", "_timers", "when")

    def __init__(
        self, timers: Timers, when: float, call: Callable[..., object], arguments: tuple[Any, ...]
    ) -> None:
        self.when: float = when
        self._timers: Timers | None = timers
        self._call: Callable[..., object] | None = call
        self._arguments = arguments

    def cancel(self) -> None:
        """Have nothing called, if nothing was."""
        timers, self._timers = self._timers, None
        if timers is not None:
            timers._pending.remove(self)
            self._call = None
            self._arguments = ()

    def cancelled(self) -> bool:
        """Whether nothing will be called any more."""
        return self._timers is None

    def _ring(self) -> None:
        call, arguments = self._call, self._arguments
        self.cancel()
        assert call is not None
        call(*arguments)


class Timers:
    """The timers of one connection, for which the event loop has one.

    That is left as it is when the call it was for is cancelled, and set anew when it is over: to
    set and to cancel one of asyncio's for each statement costs more than to write the statement.
    """

    __slots__ = ("__weakref__", "_handle", "_loop", "_pending", "_rings_at")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: list[Timer] = []
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at = inf

    def call_at(self, when: float, call: Callable[..., object], *arguments: Any) -> Timer:
        """Have *call* called at a time of the event loop's, in an empty context."""
        timer = Timer(self, when, call, arguments)
        if when < self._rings_at:
            self._set(when)
        self._pending.append(timer)
        return timer

    def close(self) -> None:
        """Have nothing called any more."""
        while self._pending:
            self._pending[0].cancel()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._rings_at = inf

    def _set(self, when: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        # Weakly: the event loop keeps it for long after the connection may have gone.
        self._handle = self._loop.call_at(when, _ring, ref(self), context=Context())
        self._rings_at = when

    def ring(self) -> None:
        """Call what is due."""
        now = max(self._loop.time(), self._rings_at)  # the event loop may be early by a little
        self._handle = None
        self._rings_at = inf
        try:
            for timer in list(self._pending):
                if timer.when <= now and not timer.cancelled():
                    timer._ring()
        finally:
            if self._pending:
                earliest = min([timer.when for timer in self._pending])
                if earliest < self._rings_at:
                    self._set(earliest)


def _ring(timers: ref[Timers]) -> None:
    found = timers()
    if found is not None:
        found.ring()
