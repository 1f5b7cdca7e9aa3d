"""`Engine.run()`: a transaction that is run again after what rolls it back and passes."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Generic, TypeVar

from pymysql import err
from pymysql.constants import CLIENT, ER

from .exc import (
    SERVER_ERRORS,
    USERS_SQLSTATE,
    ArgumentError,
    CommitTimeoutError,
    CommitUnknownError,
    StatementTimeoutError,
    is_disconnect,
)
from .runtime.awaitable import task_of
from .runtime.words import brief, counted, defined
from .wire.checks import check_seconds
from .wire.ending import cancelled
from .wire.outcome import Refusal, may_commit

if TYPE_CHECKING:
    from .connection import SAConnection

T = TypeVar("T")

# How long to wait before the second attempt, after a conflict or where the server is in trouble.
# It is twice as long before each one that follows, up to the most, and half of that is chance.
CONFLICT_SECONDS = 0.01
TROUBLE_SECONDS = 0.1
MOST_SECONDS = 1.0
# A deadlock, a lock that was waited for too long, a row that has changed since it was read, and
# what Group Replication says of a conflict with another node's transaction.
_CONFLICTS = frozenset({ER.LOCK_DEADLOCK, ER.LOCK_WAIT_TIMEOUT, ER.CHECKREAD, 3101})
# That there are too many connections: the server's, all of a user's, or those of its account.
_TOO_MANY = frozenset({ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED})
_QUERY_TIMEOUT = 3024


async def run(
    begin: Callable[[], AbstractAsyncContextManager[SAConnection]],
    function: Callable[[SAConnection], Awaitable[T]],
    retries: int,
    timeout: float | None,
) -> T:
    """Do what `Engine.run()` does; *begin* acquires a connection and begins a transaction."""
    if not callable(function):
        raise ArgumentError(f"run() takes a coroutine function, to call it, got {brief(function)}")
    if type(retries) is not int or retries < 0:
        raise ArgumentError(f"argument 'retries' takes an int from 0, got {brief(retries)}")
    if timeout is None:
        return await _Run(begin, function, None).attempts(retries)
    seconds = check_seconds("timeout", timeout)
    end = asyncio.get_running_loop().time() + seconds
    return await _in_time(_Run(begin, function, end), retries, seconds)


class _Run(Generic[T]):
    """The attempts to run *function* in a transaction, none of which begins after *end*."""

    def __init__(
        self,
        begin: Callable[[], AbstractAsyncContextManager[SAConnection]],
        function: Callable[[SAConnection], Awaitable[T]],
        end: float | None,
    ) -> None:
        self._begin = begin
        self._function = function
        self._end = end
        self.count = 0
        # Whether surely nothing of the latest attempt is committed, unless its COMMIT does that.
        self._is_undone = True
        # That its COMMIT was sent, if its task was cancelled then.
        self.unknown: BaseException | None = None

    async def attempts(self, retries: int) -> T:
        """Run the function until it succeeds, or fails for good."""
        while True:
            try:
                return await self._attempt()
            except SERVER_ERRORS as error:
                if self.count > retries or not self._is_undone or not _passes(error):
                    raise
                pause = self._pause(error)
                if self._end is not None and _now() + pause >= self._end:
                    raise
            await asyncio.sleep(pause)

    async def _attempt(self) -> T:
        self.count += 1
        self._is_undone = True
        try:
            async with self._begin() as conn:
                try:
                    return await _awaited(self._function, conn)
                finally:
                    self._is_undone = _is_undone(conn)
        except asyncio.CancelledError as error:
            if isinstance(error.__cause__, CommitUnknownError):
                self.unknown = error.__cause__
            raise

    def _pause(self, error: err.MySQLError) -> float:
        first = CONFLICT_SECONDS if error.args[0] in _CONFLICTS else TROUBLE_SECONDS
        seconds: float = min(first * 2 ** (self.count - 1), MOST_SECONDS)
        return seconds * (1 + random.random()) / 2


async def _in_time(work: _Run[T], retries: int, seconds: float) -> T:
    """Return what the attempts give, or raise an error once they have taken *seconds*.

    The end of one that is cut off is waited for: its COMMIT may have been sent.
    """
    task = task_of(asyncio.get_running_loop(), work.attempts(retries))
    cut_off: asyncio.CancelledError | None = None
    limit: float | None = seconds
    while not task.done():
        try:
            await asyncio.wait([task], timeout=limit)
        except asyncio.CancelledError as error:  # perhaps once more: that is for the attempt, too
            cut_off = error
        limit = None
        task.cancel()
    if cut_off is not None:
        cut_off.__cause__ = _committed(work, task)
        try:
            raise cut_off
        finally:
            del cut_off, task  # or the error would hold itself by its traceback
    if not task.cancelled():
        return task.result()
    if work.unknown is not None:
        raise CommitTimeoutError(_QUERY_TIMEOUT, work.unknown.args[1])
    raise StatementTimeoutError(
        _QUERY_TIMEOUT,
        f"run() took more than {seconds} seconds, in {counted(work.count, 'attempt')}: nothing is"
        " committed",
    )


def _committed(work: _Run[T], task: asyncio.Task[T]) -> BaseException | None:
    """Return why something may be committed by a *task* that was cut off, if that is so."""
    if task.cancelled():
        return work.unknown
    failure = task.exception()
    if failure is None:  # it was done just before
        return cancelled()
    return failure if isinstance(failure, CommitUnknownError) else work.unknown


async def _awaited(function: Callable[[SAConnection], Awaitable[T]], conn: SAConnection) -> T:
    given = function(conn)
    if not inspect.isawaitable(given):
        raise ArgumentError(
            f"run() takes a coroutine function: {defined(function)} gave {brief(given)}"
        )
    return await given


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_undone(conn: SAConnection) -> bool:
    """Tell whether surely nothing was committed in a block that is about to be left.

    What is under way, or was when the connection was lost, may be a statement that commits; so may
    what was refused, before that.
    """
    raw = conn._own()
    if raw is None:  # it was released
        return False
    protocol = raw.protocol
    if protocol.ended is not None:
        return protocol.ended.committed is False
    open_ones = [*protocol.unanswered, *(reply.packet for reply in protocol.replies)]
    if protocol.doubt is not None:
        open_ones.append(protocol.doubted)
    if open_ones and raw.flags & CLIENT.MULTI_STATEMENTS:
        return False
    return not any(may_commit(packet, raw.encoding) for packet in open_ones)


def _passes(error: err.MySQLError) -> bool:
    """Tell whether what has been refused, or lost, may succeed on another attempt."""
    if isinstance(error, (CommitUnknownError, asyncio.TimeoutError)) or len(error.args) != 2:
        return False
    code, message = error.args
    if not isinstance(code, int):  # a program has made it
        return False
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith(USERS_SQLSTATE):
        return False
    if code in _CONFLICTS or code in _TOO_MANY or is_disconnect(error):
        return True
    return Refusal(code, state, str(message)).is_of_the_node
