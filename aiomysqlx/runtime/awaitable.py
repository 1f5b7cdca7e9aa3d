"""What is awaited: coroutines with an `async with` or a time limit, futures and their errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from pymysql import err

from ..exc import NotAwaitedError
from .record import Generic, Single
from .waiter import Waiter
from .wrapped import Wrapped

T = TypeVar("T")
Value = TypeVar("Value", covariant=True)

if TYPE_CHECKING:
    _Coroutine = Coroutine[Any, Any, Value]
else:  # asyncio takes what has a coroutine's methods; an abstract class takes longer to make
    _Coroutine = Generic


class Asynchronous:
    """What takes `async with` and refuses `with`, saying so."""

    __slots__ = ()
    _usage: str  # an example of how to use it, which whoever does otherwise is told

    if not TYPE_CHECKING:  # which is to refuse it, too

        def __enter__(self) -> NoReturn:
            raise NotAwaitedError(f"expected async with, got with: {self._usage}")

        def __exit__(self, *error: object) -> None:
            raise AssertionError("a block that cannot be entered was left")


class AsynchronousRows(Asynchronous):
    """What takes `async for` and refuses `for`, saying so."""

    __slots__ = ()

    if not TYPE_CHECKING:

        def __iter__(self) -> NoReturn:
            raise NotAwaitedError(f"expected await or async for, got for: {self._usage}")


class Promise(Wrapped, AsynchronousRows, Single, _Coroutine[Value]):
    """A coroutine that tells whoever uses it as its result to await it."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __await__(self) -> Generator[Any, Any, Value]: ...

    else:

        def __getattr__(self, name: str) -> NoReturn:
            if name == "_usage":  # of what __new__() alone has made
                raise AttributeError(name)
            raise NotAwaitedError(f"it has to be awaited before {name!r} is used: {self._usage}")

        def __getitem__(self, key: object) -> NoReturn:
            raise NotAwaitedError(f"it has to be awaited before [{key!r}] is used: {self._usage}")


class AwaitableContext(Promise[Value]):
    """A coroutine whose result is also an `async with` target.

    Subclasses have a `_leave`: what the end of the block does with the result.
    """

    __slots__ = ()

    _leave: Callable[[Any, BaseException | None], Awaitable[None]]

    async def __aenter__(self) -> Value:
        value: Value = await self._coroutine
        self._value = value
        return value

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Awaitable[None]:
        value, self._value = self._value, None
        assert value is not None
        return self._leave(value, exc)


class Done:
    """What a method gives that has done its work when it returns: it may be awaited as well."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return _ENDED


# An iterator that has ended, in the place of a generator for each await.
_ENDED = cast("Generator[Any, Any, None]", iter(()))
DONE = Done()


class CallbackContext(AwaitableContext[Value]):
    """An `AwaitableContext` left through a coroutine function given with it."""

    __slots__ = ("_leave", "_usage")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Value],
        on_leave: Callable[[Value, BaseException | None], Awaitable[None]],
        usage: str,
    ) -> None:
        super().__init__(coroutine)
        self._leave = on_leave
        self._usage = usage


def task_of(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Return a task that runs *coroutine* from the event loop's next turn on.

    It is not made by the loop's factory: an eager task runs on its caller's stack, in the middle of
    what the caller does, and an error in its first step leads back to the caller, in a cycle.
    """
    return asyncio.Task(coroutine, loop=loop)


async def in_time(
    coroutine: Coroutine[Any, Any, T],
    seconds: float | None,
    late: Callable[[], Exception] = asyncio.TimeoutError,
) -> T:
    """Return what *coroutine* gives, or raise what *late* makes once it has taken *seconds*.

    `asyncio.wait_for()` of Python 3.11 and before loses a cancellation that comes as the coroutine
    ends; here it passes, and the coroutine's end is not waited for. Nor is a time-out that the
    coroutine raises taken for *late*.
    """
    if seconds is None:
        return await coroutine
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    task = task_of(loop, coroutine)
    task.add_done_callback(partial(_end, over))
    # A timer that is cancelled stays for its time, with its context.
    timer = loop.call_later(seconds, _end, over, context=Context())
    try:
        await over
        if not task.done():
            raise late()
        return task.result()
    finally:
        timer.cancel()
        task.cancel()
        del task  # or it would hold an error whose traceback holds this frame


def _end(over: asyncio.Future[None], task: asyncio.Future[Any] | None = None) -> None:
    if task is not None:
        _retrieve(task)
    if not over.done():
        over.set_result(None)


async def without_context(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what *coroutine* returns, run without its caller's context variables.

    Transports and callbacks keep the context that they were made in for as long as they live.
    """
    task = Context().run(task_of, asyncio.get_running_loop(), coroutine)
    task.add_done_callback(_retrieve)
    try:
        return await task
    finally:
        del task  # likewise


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Ask for an error that nobody may ask for any more: asyncio would log it."""
    if not task.cancelled():
        task.exception()


def forget(future: asyncio.Future[Any] | Waiter) -> None:
    """Have nobody wait for *future*, whose error asyncio would log if nobody asked for it."""
    if not future.done() and not future.get_loop().is_closed():
        future.cancel()
    if future.done() and not future.cancelled():
        future.exception()


def copy_error(error: BaseException) -> BaseException:
    """Return a fresh copy of *error*.

    An error that was raised holds, by its traceback, all that its callers had at hand: nothing
    that outlives them may hold it.
    """
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy


def set_free(error: BaseException) -> BaseException:
    """Return what to raise in the place of *error*, which a future has raised: a copy if it can be.

    The event loop has that future until its turn is over, and with it all that its callers had.
    """
    if type(error).__module__ not in (
        err.__name__,
        NotAwaitedError.__module__,
    ):  # a user's own, say
        return error
    return copy_error(error.with_traceback(None))
