"""Who may use a session now: whoever has borrowed it, one statement at a time.

Whoever waits for something asks, on waking, whether what the session was used for still goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pymysql import err

from ..exc import InvalidRequestError, ResourceClosedError
from .outcome import Ending
from .protocol import Protocol

RELEASED = "This connection is closed: it has been released, acquire another"
_IN_PROGRESS = (
    "another statement is in progress on this connection: await it first,"
    " or use a connection for each task"
)
_STREAMING = (
    "another statement is in progress on this connection, a stream: read it to its end or close()"
    " it first, or use a connection for each"
)
_SHARED = (
    "another statement is in progress on this connection, which a native() block shares with its"
    " AsyncSession or AsyncConnection: await one before the other, or use a session for each task"
)


class OtherLoopError(InvalidRequestError, RuntimeError):
    """A connection was used in another event loop than its own; nothing was sent."""


class Claims:
    """A session as those use it who have borrowed it, in their event loop."""

    protocol: Protocol

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.writer: Any = None
        # Counts the borrowings, by whoever lends the connection: whoever has waited compares it to
        # what it was before, and leaves the connection alone if it is another.
        self.lease = 0
        # The same for transactions that are rolled back although a statement may be under way.
        self.undone = 0
        # Why nothing is executed now, if that is so, though its transaction goes on: it is
        # prepared, say. For whoever has the transactions to set; it makes the error.
        self.barred: Callable[[], InvalidRequestError] | None = None
        # Whether an engine has opened it: then it belongs to a pool, whoever borrows it.
        self.pooled = False
        self.connected_at: float | None = None
        self.close_reason: str | None = None
        # The claim of whoever writes a statement in turns, of which nothing has been sent.
        self._working: tuple[int, int] | None = None

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for an answer that is still to come."""
        return any(
            not (reply.abandoned or (reply.future.done() and reply.infile is None))
            for reply in self.protocol.replies
        )

    @property
    def ended(self) -> Ending | None:
        """What has ended the transaction of the block in progress, if something has."""
        return self.protocol.ended

    def check_bar(self) -> None:
        """Raise `InvalidRequestError` if nothing is executed now.

        Its transaction has ended, of the block in progress; or what `barred` says.
        """
        if self.ended is not None:
            raise refused(self.ended)
        if self.barred is not None:
            raise self.barred()

    def check_lease(self, lease: int) -> None:
        """Raise `ResourceClosedError` if the connection has been given back since *lease*."""
        if lease != self.lease:
            raise ResourceClosedError(RELEASED)

    @property
    def claim(self) -> tuple[int, int]:
        """What `check_claim()` takes, from before something was waited for."""
        return self.lease, self.undone

    def check_claim(self, claim: tuple[int, int]) -> None:
        """Raise `InvalidRequestError` if what the connection was used for then is over."""
        lease, undone = claim
        self.check_lease(lease)
        if undone != self.undone:
            raise InvalidRequestError(
                "the transaction that this belongs to is being ended: begin another"
            )

    def begin_work(self, claim: tuple[int, int]) -> None:
        """Have nothing executed until `end_work()`, while a statement is written in turns.

        Unless *claim* is void before that: whoever has the connection then may use it. Raises
        `InvalidRequestError` if another statement is in progress, or nothing is executed.
        """
        self.check_loop()
        self.check_free()
        self.check_bar()
        self._working = claim

    @property
    def at_work(self) -> bool:
        """Whether a statement is being written in turns."""
        return self._working is not None and self._working == self.claim

    def end_work(self, claim: tuple[int, int]) -> None:
        """Have statements executed again, unless that was begun by another one."""
        if self._working is claim:
            self._working = None

    def check_free(self) -> None:
        """Raise `InvalidRequestError` if a statement is in progress, or is written in turns."""
        if self.at_work or self.protocol.replies:
            raise self._in_progress()

    def _in_progress(self) -> InvalidRequestError:
        """Return the error for what is executed while another statement is in progress."""
        replies = self.protocol.replies
        return InvalidRequestError(_STREAMING if replies and replies[0].stream else _IN_PROGRESS)

    def check_turn(self) -> None:
        """Raise `InvalidRequestError` if a statement is in progress, of any who share it."""
        if self.awaited or self.at_work:
            raise InvalidRequestError(_SHARED)

    def check_loop(self) -> None:
        """Raise a `RuntimeError` in another event loop than that of a connection that is open."""
        if asyncio.get_running_loop() is not self.loop and not self.closed:
            raise OtherLoopError(
                "the connection belongs to another event loop: create one for each event loop"
            )

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by either side."""
        return self.writer is None or self.protocol.lost is not None

    @property
    def remedy(self) -> str:
        """What to do once this connection is closed."""
        return "release it and acquire another" if self.pooled else "ping() connects anew"

    def not_connected(self) -> err.InterfaceError:
        """Return the error for what is asked of a connection that this side has closed."""
        reason = self.close_reason
        if reason is None and self.connected_at is None:
            reason = "it has not been opened yet: use connect()"
        elif reason is None:
            reason = f"close() was called: {self.remedy}"
        return err.InterfaceError(0, f"Not connected: {reason}")


def over(ending: Ending) -> str:
    """Return the words for what is not executed in a block whose transaction is over."""
    return f"{ending.words}: roll it back, or leave its block, and begin again"


def refused(ending: Ending) -> InvalidRequestError:
    """Return the error for it."""
    return InvalidRequestError(over(ending))
