"""Streams: results whose rows are read from the server as somebody asks for them.

What has come waits as the bytes received, and is decoded by the task that takes the rows. Once
enough waits the transport is paused, so that the server waits in turn.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import deque
from collections.abc import Sequence
from typing import Any

from pymysql import err
from pymysql.constants import CR

from ..exc import InvalidRequestError, ResourceClosedError
from ..runtime.awaitable import copy_error, set_free
from ..runtime.waiter import Waiter
from .command import Command, limit_reply
from .leaving import bound, leave
from .protocol import Protocol
from .reply import Reply, ResultSet
from .warning import warn

MAX_BUFFER = 1 << 20
"""How many bytes of a stream may wait, unless it is said otherwise."""

MOST_ROWS = 512
"""How many rows are decoded at a time: more gain nothing, and take the event loop's time."""

# A server waits a minute, unless `net_write_timeout` is set, and closes the connection.
_LONG_STALL = 1.0
_RELEASED = "this stream is over: its connection has been released"
_LEFT = "this stream is over: what was executed, or ended, on its connection since has ended it"
_CLOSED = "this stream is over: another task has closed it"
_TWO_TASKS = "another task takes rows from this stream: let one take them"


class Flow:
    """The results of one command, read as they are asked for.

    `buffer` has rows of the current one that are decoded and not taken yet. What is dropped before
    its end is left as `leave()` does.
    """

    __slots__ = (
        "__weakref__",
        "_command",
        "_current",
        "_failure",
        "_lease",
        "_left",
        "_observed",
        "_protocol",
        "_reply",
        "_seconds",
        "buffer",
        "is_a_cursors",
        "session",
        "warnings",
    )

    def __init__(self, session: Any, command: Command) -> None:
        self.session: Any = session
        self.buffer: deque[Any] = deque()
        # Whether the server's warnings are wanted, see `warn()`.
        self.warnings: bool | None = None
        # Whether it gives way to whatever else is executed.
        self.is_a_cursors: bool = False
        self._command = command
        self._protocol: Protocol = session.protocol
        self._lease = session.lease
        self._reply: Reply | None = None
        self._current = ResultSet()
        # What is to be raised once the rows before it are taken.
        self._failure: BaseException | None = None
        # How long the server may yet be waited for, and how long that was at first.
        self._left: float | None = None
        self._seconds = 0.0
        # Whoever is told of it, until it has ended.
        self._observed = command.observed

    def begin(self, results: list[ResultSet]) -> None:
        """Take what the command was answered with, which is the first result, or its columns."""
        protocol = self._protocol
        self._current = results[0]
        reply = protocol.replies[0] if protocol.replies else None
        if reply is not None and reply.held:
            self._reply = reply
            reply.flow = weakref.ref(self)
            # Which has made its rows' class by now: it belongs to whoever may drop this stream.
            reply._shape = self._command.shape = None
            protocol.longest_stall = 0.0
        elif results[0].columns is not None:  # it has been lost, or left, since
            lost = protocol.lost
            self._failure = ResourceClosedError(_LEFT) if lost is None else copy_error(lost)
            self._tell(self._failure)
            self._raise_failure()
        else:
            self._tell(results=results)

    def limit(self, seconds: float, spent: float) -> None:
        """Have the server waited for *seconds* in all, of which *spent* have passed."""
        self._seconds = seconds
        self._left = max(0.0, seconds - spent)

    @property
    def result(self) -> ResultSet:
        """The current result."""
        return self._current

    @property
    def awaited(self) -> bool:
        """Whether a task waits for rows."""
        return self._reply is not None and not self._reply.future.done()

    async def fill(self, wanted: int = MOST_ROWS) -> bool:
        """Put the next rows of the current result into the buffer, *wanted* at most.

        False at its end. Raises what came in the place of the next row, and `ResourceClosedError`
        once the stream was left, or its connection given back.
        """
        current = self._current
        while True:
            if current.rows:
                rows, current.rows = current.rows, []
                current.position += len(rows)
                self.buffer += rows
                return True
            self._raise_failure()
            reply = self._reply
            if reply is None or reply.result is not current:
                return False
            await self._pull(reply, wanted)

    async def advance(self) -> ResultSet | None:
        """Go on to the next result and return it, `None` if there is none.

        Rows of the current one that are left are dropped. Raises the error that came in the place
        of the next one.
        """
        self.buffer.clear()
        while await self.fill():
            self.buffer.clear()
        reply = self._reply
        if reply is None:
            return None
        following = reply.result
        while self._reply is not None and following.columns is None and reply.result is following:
            await self._pull(reply, 1)
        if following.columns is None:
            self._raise_failure()
        self._current = following
        return following

    def _raise_failure(self) -> None:
        """Raise what came in the place of the next row, if anything did; once."""
        failure, self._failure = self._failure, None
        try:
            if failure is not None:
                raise failure
        finally:
            del failure  # whose traceback holds this frame

    async def _pull(self, reply: Reply, wanted: int) -> None:
        """Take what has come, or wait until something does."""
        self._check(reply)
        protocol, result = self._protocol, reply.result
        columns = result.columns
        started = time.monotonic()
        protocol.pull(reply, wanted)
        if reply.answered:
            await self._finish(reply)
        elif protocol.lost is not None:
            self._reply = None
            self._failure = self._loss(reply.error or copy_error(protocol.lost))
            self._tell(self._failure)
        elif result.rows or result.columns is not columns or reply.result is not result:
            protocol.yield_after(time.monotonic() - started)
        elif reply.error is not None:
            self._failure = set_free(reply.error)
            self._tell(self._failure)
            self.leave()
        elif reply.infile is not None:
            await self._answer_infiles(reply)
        else:
            await self._wait(reply)

    def _check(self, reply: Reply) -> None:
        """Raise an error if the rest of *reply* is not this one's any more."""
        if self._lease != self.session.lease:
            self.leave()
            raise ResourceClosedError(_RELEASED)
        if reply.abandoned:
            self._reply = None
            self._tell()
            raise ResourceClosedError(_LEFT)
        if not reply.future.done():
            raise InvalidRequestError(_TWO_TASKS)
        self.session.check_loop()

    async def _finish(self, reply: Reply) -> None:
        """Take note of what came last, and ask for its warnings."""
        self._reply = None
        latest = reply.results[-1] if reply.results else None
        error = reply.error
        if error is None and latest is not None:
            error = latest.error
        if error is not None:
            self._failure = set_free(error)
            self._tell(self._failure)
        elif latest is not None:
            self._tell(results=reply.results)
            self.session.counts = latest.warning_count, latest.affected_rows, latest.insert_id
            if latest.warning_count:
                try:
                    await warn(self.session, self.warnings)
                except Exception as failure:  # a warning that is to be an error
                    self._failure = failure

    async def _answer_infiles(self, reply: Reply) -> None:
        """Send the local file that a later statement loads; what comes of it is to be read yet."""
        try:
            await self.session._answer_infiles(reply)
        except BaseException as error:
            self._tell(error)
            self.leave()
            raise

    async def _wait(self, reply: Reply) -> None:
        session = self.session
        reply.future = Waiter(session.loop)
        started = session.loop.time()
        if self._left is not None:
            limit_reply(reply, (started + self._left, self._seconds), self._protocol.timers)
        self._protocol.flow()
        observed = self._observed
        if observed is not None:
            observed.resume()
        try:
            await session.finish(reply, self._command)
        except BaseException as error:
            self._tell(error)
            self._reply = None
            # Else it is killed, which takes a moment.
            if session.open_beside is None and reply in self._protocol.replies:
                bound(self._protocol, reply)
            if isinstance(error, err.OperationalError) and self._protocol.lost is not None:
                raise self._loss(error) from error.__cause__
            raise
        if observed is not None:
            observed.pause()
        if self._reply is not reply:  # another task has closed it: the rest is not its end
            raise ResourceClosedError(_CLOSED)
        if self._left is not None:
            self._left = max(0.0, self._left - (session.loop.time() - started))

    def _loss(self, error: BaseException) -> BaseException:
        """Return the error for a connection that is lost amid rows."""
        protocol = self._protocol
        seconds = protocol.longest_stall
        if protocol.closed_here or seconds < _LONG_STALL or error.args[:1] != (CR.CR_SERVER_LOST,):
            return error
        slow: BaseException = err.OperationalError(
            CR.CR_SERVER_LOST,
            f"{error.args[1]}: rows of the stream were not taken for {seconds:.1f} seconds, and the"
            " server waits for net_write_timeout: take them sooner, or set it to more",
        )
        return slow

    def _tell(
        self, error: BaseException | None = None, results: Sequence[ResultSet] | None = None
    ) -> None:
        """Tell whoever is told of it that it has ended; with no *results*, early."""
        observed, self._observed = self._observed, None
        if observed is None:
            return
        if error is not None:
            observed.fail(error)
        elif results is not None:
            observed.end(results)
        else:
            observed.finish(self._current.position, self._current.position, None)

    def leave(self) -> None:
        """Take nothing more: what is still to come is read for nobody, within bounds."""
        reply, self._reply = self._reply, None
        self.let_go()
        if reply is not None and reply.stream and not self.session.loop.is_closed():
            leave(self.session, reply)

    def let_go(self) -> None:
        """Keep no rows, and tell whoever is told of it that it has ended."""
        self.buffer.clear()
        self._tell()

    def fail(self, error: BaseException) -> None:
        """Have *error* raised as the next rows are asked for."""
        self._failure = error

    def end(self) -> None:
        """Take nothing more of this command, not even an error that came."""
        self._failure = None
        self.leave()

    def __del__(self) -> None:
        self._tell()
        reply = self._reply
        if reply is None or not reply.stream:
            return
        loop = self.session.loop
        if asyncio._get_running_loop() is loop:
            self.leave()
        elif not loop.is_closed():  # it is dropped in another thread, or between two runs
            loop.call_soon_threadsafe(leave, self.session, reply)
