"""What becomes of a statement that nobody waits for any more.

The rest of its answer is read for nobody, so the next answer is never taken for it; if that is
asked for, the server is told to end it. If it does not come within a bound, the connection is given
up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from functools import partial
from math import inf
from typing import Any, TypeVar

from pymysql import err
from pymysql.constants import CR

from ..runtime.awaitable import forget, in_time, task_of
from .claims import Claims
from .command import Deadline, Limit, deadline_of, too_slow
from .protocol import Protocol
from .reply import Reply, ResultSet

T = TypeVar("T")

# How long the rest of a cancelled statement's answer is waited for before the connection is given
# up.
DRAIN_SECONDS = 2.0
# The same for a statement that is killed: MariaDB takes two seconds over a KILL, now and then, that
# meets its statement's end.
KILL_SECONDS = 5.0


class Stopping(Claims):
    """A session whose statements may be cut off, by a cancellation or a time limit."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.last_usage: float = loop.time()
        # How a session beside this one is opened, to end a statement that this one waits for.
        self.open_beside: Callable[[Any, Any], Awaitable[Any]] | None = None
        # Tells the server from others that the same address leads to.
        self.identity: object = None
        # The latest stream that was left early in the transaction: its rest may bring an error.
        self.left: Reply | None = None
        # A cursor's result in the place of which an error came, until somebody is told of that.
        self.later: ResultSet | None = None
        # When the latest answer that was not there in time was due.
        self._late_at = -inf
        # What ends a statement on the server.
        self._killing: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._killing is not None or bool(self.protocol.replies)

    @property
    def overdue(self) -> bool:
        """Whether the server has not answered in time what was sent last, and has not since."""
        late, lost = self._late_at >= self.last_usage, self.protocol.lost
        if lost is None:
            return late and bool(self.protocol.replies)
        return late or isinstance(lost.__cause__, TimeoutError)  # its peer was silent

    def limit(self, seconds: float) -> AbstractContextManager[None]:
        """Raise `StatementTimeoutError` in the block once it has taken *seconds*."""
        return Limit(self, self.loop, seconds)

    def deadline(self) -> Deadline | None:
        """Return until when what this task executes is to be answered, and the seconds given."""
        return deadline_of(self)

    def check_deadline(self) -> None:
        """Raise `StatementTimeoutError` if what this task executes is out of time."""
        deadline = deadline_of(self)
        if deadline is not None and self.loop.time() >= deadline[0]:
            raise too_slow(deadline[1])

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns, within the time that this task has left."""
        deadline = self.deadline()
        if deadline is None:
            return await work
        when, seconds = deadline
        return await in_time(work, max(0, when - self.loop.time()), partial(too_slow, seconds))

    async def _settle(self, protocol: Protocol) -> None:
        """Wait for the replies under way, and for what ends their statements."""
        await protocol.idle()
        if self._killing is not None:
            await asyncio.wait([self._killing])

    async def settled(self) -> bool:
        """Wait for what is still to come; false if the connection is lost."""
        await self._settle(self.protocol)
        return not self.closed

    async def quiet(self) -> None:
        """Wait, within a bound, until no statement is under way, whoever waits for it.

        Raises `OperationalError` after that, or the limit's `StatementTimeoutError`, and
        `ResourceClosedError` if the connection is given back meanwhile.
        """
        protocol = self.protocol
        seconds = KILL_SECONDS if self.open_beside is not None else DRAIN_SECONDS
        late = partial(_still_busy, seconds)
        end = self.loop.time() + seconds
        deadline = self.deadline()
        if deadline is not None and deadline[0] < end:
            end, late = deadline[0], partial(too_slow, deadline[1])
        lease = self.lease
        self.leave_stream()
        while self.busy:
            await in_time(self._settle(protocol), max(0, end - self.loop.time()), late)
            self.check_lease(lease)

    def _abandon(self, reply: Reply) -> None:
        """Have the rest of a reply read for nobody, if there is more to come."""
        protocol = self.protocol
        forget(reply.future)
        if reply in protocol.replies and not self.loop.is_closed():
            protocol.drop(reply)
            self._expect(protocol, reply, None if self.open_beside is None else KILL_SECONDS)
            self._kill(protocol, reply)

    def _expect(self, protocol: Protocol, reply: Reply, seconds: float | None = None) -> None:
        """Close the connection if an abandoned *reply* is not there in time.

        It has *seconds*, or as many as what is not killed.
        """
        if seconds is None:
            seconds = DRAIN_SECONDS
        if reply.deadline is not None:
            reply.deadline.cancel()
        when = self.loop.time() + seconds
        reply.deadline = protocol.timers.call_at(when, self._give_up, protocol, reply, seconds)

    def _give_up(self, protocol: Protocol, reply: Reply, seconds: float) -> None:
        if reply in protocol.replies:
            self._late_at = self.loop.time()
            late = f"a cancelled statement was not answered within {seconds} seconds"
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, late))

    def _kill_first(self, protocol: Protocol) -> None:
        """Have the statement under way ended likewise, if there is one that somebody waits for."""
        if protocol.replies and not protocol.replies[0].abandoned:
            self._kill(protocol, protocol.replies[0])

    def _kill(self, protocol: Protocol, reply: Reply) -> None:
        """Have the statement of *reply* ended on the server, if `kill_on_cancel` is set."""
        if self.open_beside is None or self._killing is not None:
            return
        if reply.answered or not self.loop.is_running():
            return
        if self.identity is None:  # it is being opened, or does not tell
            return
        from .kill import end_surely, keep_until_done  # few have use for it

        self._killing = task_of(self.loop, end_surely(self, protocol, reply, KILL_SECONDS))
        keep_until_done(self._killing)
        # Not at its end: a task cancelled before its first step does not get there.
        self._killing.add_done_callback(self._forget_kill)

    def on_killed(self, call: Callable[[], object]) -> None:
        """Have *call* called once what ends a statement of this connection is over."""
        if self._killing is not None:
            self._killing.add_done_callback(lambda _: call())

    def _forget_kill(self, _: asyncio.Task[None]) -> None:
        self._killing = None

    def leave_stream(self) -> None:
        """Read the rest of a stream for nobody, if one is open."""
        replies = self.protocol.replies
        if replies and replies[0].stream and replies[0].future.done():
            from .leaving import leave  # few have use for it

            leave(self, replies[0])

    def raise_later(self) -> None:
        """Raise the error that came behind a cursor's results, if no one has gone on to it."""
        later, self.later = self.later, None
        if later is not None and later.error is not None:
            raise later.take_error()

    def forget_left(self) -> None:
        """Raise no error any more of what was left of a stream's rows, or a cursor's results."""
        self.left = self.later = None


def _still_busy(seconds: float) -> err.OperationalError:
    late = f"a statement was not answered within {seconds} seconds, and its transaction has to end"
    return err.OperationalError(CR.CR_SERVER_LOST, late)
