"""Coroutines that may be awaited or entered with `async with`, or that have a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class AwaitableContext(Coroutine[Any, Any, T], Generic[T]):
    """A coroutine whose result is also an `async with` target.

    Subclasses have a `_leave`: what the end of the block does with the result.
    """

    __slots__ = ("_coroutine", "_value")

    _leave: Callable[[T, BaseException | None], Coroutine[Any, Any, None]]

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._value: T | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    async def __aenter__(self) -> T:
        self._value = value = await self._coroutine
        return value

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        value, self._value = self._value, None
        assert value is not None
        await self._leave(value, exc)


class Done:
    """What a method gives that has done its work when it returns: it may be awaited as well."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


class CallbackContext(AwaitableContext[T]):
    """An `AwaitableContext` left through a coroutine function given with it."""

    __slots__ = ("_leave",)

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        on_leave: Callable[[T, BaseException | None], Coroutine[Any, Any, None]],
    ) -> None:
        self._coroutine = coroutine
        self._value = None
        self._leave = on_leave


async def in_time(
    coroutine: Coroutine[Any, Any, T],
    seconds: float | None,
    late: Callable[[], Exception] = asyncio.TimeoutError,
) -> T:
    """Give what *coroutine* gives, or raise what *late* makes once it has taken *seconds*.

    `asyncio.wait_for()` of Python 3.11 and before loses a cancellation that comes as the coroutine
    ends; here it passes, and the coroutine's end is not waited for.
    """
    if seconds is None:
        return await coroutine
    task = asyncio.ensure_future(coroutine)
    task.add_done_callback(_retrieve)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done():
            raise late()
        return task.result()
    finally:
        task.cancel()


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Ask for an error that nobody may ask for any more: asyncio would log it."""
    if not task.cancelled():
        task.exception()
