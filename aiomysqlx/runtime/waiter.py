"""What a task waits for, and how it goes on without a turn of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import Any

_PENDING, _DONE, _FAILED, _CANCELLED = range(4)


class Waiter:
    """A future whose outcome may be handed to the one task that awaits it in the same step.

    `set_result()`, `set_exception()` and `cancel()` wake whoever waits at the loop's next turn, as
    asyncio's futures do. `settle()` wakes nobody, `wake()` then goes on with the task at once, in
    the task's own context: to be called in a callback of the event loop, as the last thing it does,
    since the task may do anything. Whoever waits otherwise, by `asyncio.wait()` say, is called at
    the loop's next turn.
    """

    __slots__ = (
        "_asyncio_future_blocking",  # by which asyncio knows what a task can wait for
        "_awaited",
        "_callbacks",
        "_error",
        "_loop",
        "_message",
        "_result",
        "_state",
        "_task_context",
        "_task_wakeup",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._state = _PENDING
        self._result: Any = None
        self._error: BaseException | None = None
        self._message: tuple[Any, ...] = ()  # of a cancellation
        # Whether the next callback is that of the task which awaits it.
        self._awaited = False
        self._task_wakeup: Callable[[Any], object] | None = None
        self._task_context: Context | None = None
        self._callbacks: list[tuple[Callable[[Any], object], Context]] | None = None

    def __repr__(self) -> str:
        state = ("pending", "finished", "finished", "cancelled")[self._state]
        return f"<{type(self).__name__} {state}>"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def done(self) -> bool:
        """Whether there is an outcome, or it was cancelled."""
        return self._state != _PENDING

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state == _CANCELLED

    def result(self) -> Any:
        """Return the result, or raise the error."""
        if self._state == _DONE:
            return self._result
        raise self._failure()

    def exception(self) -> BaseException | None:
        """Return the error, `None` if there is a result."""
        if self._state == _DONE:
            return None
        if self._state == _FAILED:
            return self._error
        raise self._failure()

    def _failure(self) -> BaseException:
        if self._state == _PENDING:
            return asyncio.InvalidStateError("there is no outcome yet")
        if self._state == _CANCELLED:
            return asyncio.CancelledError(*self._message)
        error = self._error
        assert error is not None
        return error

    def settle(self, result: Any, error: BaseException | None = None) -> None:
        """Set the outcome, and wake nobody yet."""
        if self._state != _PENDING:
            raise asyncio.InvalidStateError("there is an outcome already")
        self._result = result
        self._error = error
        self._state = _DONE if error is None else _FAILED

    def set_result(self, result: Any) -> None:
        """Set the result."""
        self.settle(result)
        self.announce()

    def set_exception(self, error: BaseException) -> None:
        """Set the error."""
        self.settle(None, error)
        self.announce()

    def cancel(self, msg: Any = None) -> bool:
        """Have whoever waits be cancelled; false if there is an outcome."""
        if self._state != _PENDING:
            self.announce()  # or nobody might, if an interrupt came before wake()
            return False
        self._state = _CANCELLED
        if msg is not None:
            self._message = (msg,)
        self.announce()
        return True

    def let_go(self) -> None:
        """Keep no outcome: an error's traceback may hold who holds this object."""
        self._state = _CANCELLED
        self._result = self._error = None

    def announce(self) -> None:
        """Wake whoever waits at the loop's next turn."""
        wakeup, self._task_wakeup = self._task_wakeup, None
        context, self._task_context = self._task_context, None
        if wakeup is not None:
            self._loop.call_soon(wakeup, self, context=context)
        callbacks, self._callbacks = self._callbacks, None
        for callback, its_context in callbacks or ():
            self._loop.call_soon(callback, self, context=its_context)

    def wake(self) -> None:
        """Go on with the task that waits, until it waits again or is over."""
        if self._callbacks is not None:
            self.announce()
            return
        wakeup, self._task_wakeup = self._task_wakeup, None
        context, self._task_context = self._task_context, None
        if wakeup is None or context is None:
            return
        try:
            context.run(wakeup, self)
        except RuntimeError:  # not the task's: another is at work, out of which a transport reads
            self._loop.call_soon(wakeup, self, context=context)
        # The traceback of an error that ended the task may lead to this frame, and from here to
        # the task, which has the error: a cycle.
        wakeup = None

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Have *callback* called once there is an outcome."""
        awaited, self._awaited = self._awaited, False
        if context is None:
            context = copy_context()
        if self._state != _PENDING:
            self._loop.call_soon(callback, self, context=context)
        elif (
            awaited
            and self._task_wakeup is None
            and self._callbacks is None
            and isinstance(getattr(callback, "__self__", None), asyncio.Task)
        ):
            self._task_wakeup, self._task_context = callback, context
        elif self._callbacks is None:
            self._callbacks = [(callback, context)]
        else:
            self._callbacks.append((callback, context))

    def remove_done_callback(self, callback: Callable[[Any], object]) -> int:
        """Have *callback* not called; return how often it would have been."""
        count = 0
        if self._task_wakeup == callback:
            self._task_wakeup = self._task_context = None
            count += 1
        callbacks = self._callbacks or []
        kept = [each for each in callbacks if each[0] != callback]
        self._callbacks = kept or None
        return count + len(callbacks) - len(kept)

    def __await__(self) -> Generator[Any, Any, Any]:
        if self._state == _PENDING:
            self._asyncio_future_blocking = self._awaited = True
            yield self
            if self._state == _PENDING:
                raise RuntimeError("a waiter was resumed without an outcome")
        if self._state == _DONE:
            return self._result
        raise self._failure()

    __iter__ = __await__
