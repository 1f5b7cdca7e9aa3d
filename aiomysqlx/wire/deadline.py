"""Time limits: until when what a task executes is to be answered."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar
from typing import Any

from ..exc import StatementTimeoutError
from .reply import Reply

_ER_QUERY_TIMEOUT = 3024

Deadline = tuple[float, float]
"""When the time is over, by the event loop's clock, and the seconds that were given."""

# The session that a task's time limit is for, when it ends, and how many seconds it gives.
_limit_of_task: ContextVar[tuple[weakref.ref[Any], float, float] | None]
_limit_of_task = ContextVar("limit", default=None)

any_limit = _limit_of_task.get
"""Returns what limits this task, for whichever session; `None` in most tasks."""


@contextmanager
def limit(session: Any, loop: asyncio.AbstractEventLoop, seconds: float) -> Iterator[None]:
    """Raise `StatementTimeoutError` in the block once it has taken *seconds*.

    Statements of other tasks have limits of their own.
    """
    token = _limit_of_task.set((weakref.ref(session), loop.time() + seconds, seconds))
    try:
        yield
    finally:
        with suppress(ValueError):  # a coroutine that another task closes
            _limit_of_task.reset(token)


def deadline_of(session: Any) -> Deadline | None:
    """Return until when what this task executes on *session* is to be answered."""
    found = _limit_of_task.get()
    return None if found is None or found[0]() is not session else found[1:]


def limit_reply(reply: Reply, deadline: Deadline | None, loop: asyncio.AbstractEventLoop) -> None:
    """Have a reply end with an error when the time is over."""
    if deadline is not None:
        when, seconds = deadline
        reply.deadline = loop.call_at(when, _expire, reply, seconds, context=Context())


def _expire(reply: Reply, seconds: float) -> None:
    if not reply.future.done():
        reply.future.set_exception(too_slow(seconds))


def too_slow(seconds: float) -> StatementTimeoutError:
    """Return the error for what has taken longer than *seconds*."""
    return StatementTimeoutError(
        _ER_QUERY_TIMEOUT, f"the statement took more than {seconds} seconds"
    )
