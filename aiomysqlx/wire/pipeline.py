"""A pipeline: statements that are sent before the answers to those before them are there.

A server executes them in their order, and goes on after one that it refuses. So nothing is sent
behind a statement that might change how text is read, or end a transaction, until it is answered;
and if a transaction may have ended with an error, a savepoint tells whether it has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from pymysql.constants import COMMAND

from ..exc import InvalidRequestError
from ..runtime.awaitable import copy_error, set_free
from ..runtime.timers import Timer
from ..runtime.waiter import Waiter
from .claims import refused
from .command import READY, Command, Duty, packet_of, too_slow
from .dialogue import SHOW_WARNINGS, Dialogue
from .outcome import CUT_OFF, ROLLED_BACK, Refusal, of_refusal
from .pipelining import is_calm
from .reply import Reply, ResultSet

MOST = 200
"""How many statements there are at most that are sent and not answered."""

MOST_BYTES = 1 << 20
"""How many bytes they have at most, unless there is only one."""

_TEXT = 5  # where it begins in a packet
_LOOKED_AT = 64
_AUTOCOMMIT_OFF = Duty(packet_of(COMMAND.COM_QUERY, b"SET autocommit = 0"))
_SAVEPOINT = Duty(packet_of(COMMAND.COM_QUERY, b"SAVEPOINT aiomysqlx_pipeline"))
_RELEASE = Duty(packet_of(COMMAND.COM_QUERY, b"RELEASE SAVEPOINT aiomysqlx_pipeline"))
_ROLLBACK = READY["ROLLBACK", True]
_OUTSIDE = (
    "the transaction had ended before this statement was executed, which has been rolled back"
)
_NO_FILES = "LOAD DATA LOCAL sends a file, for which a pipeline does not wait: execute it outside"


class Tally:
    """What is known of all statements of a pipeline: whether one has `failed`."""

    __slots__ = ("failed",)

    def __init__(self) -> None:
        self.failed: bool = False


class Entry:
    """A statement of a pipeline: how it is made, and its outcome once it is `done`.

    *make* is called again if the session reads text otherwise by the time that it is sent. An error
    is told to *tally*: not to the pipeline, which holds its statements.
    """

    __slots__ = (
        "_tally",
        "_waiters",
        "command",
        "done",
        "error",
        "make",
        "refused",
        "results",
        "syntax",
        "told",
        "wants_warnings",
        "warnings",
    )

    def __init__(
        self,
        make: Callable[[], Command],
        syntax: tuple[str, int],
        wants_warnings: bool,
        tally: Tally,
    ) -> None:
        self._tally = tally
        self.make: Callable[[], Command] = make
        self.syntax: tuple[str, int] = syntax
        self.wants_warnings: bool = wants_warnings
        self.command: Command | None = None
        self.done: bool = False
        self.results: list[ResultSet] = []
        self.warnings: list[tuple[Any, ...]] = []
        self.error: BaseException | None = None
        self.refused: Refusal | None = None
        self.told: bool = False  # whether somebody was raised its error
        self._waiters: list[Waiter] = []

    async def wait(self, dialogue: Dialogue) -> list[ResultSet]:
        """Wait for the outcome; return the results or raise the error."""
        if not self.done:
            waiter = Waiter(dialogue.loop)
            self._waiters.append(waiter)
            await waiter
        self.raise_error()
        return self.results

    def raise_error(self) -> None:
        """Raise a copy of the error, if there is one: its traceback would hold who holds this."""
        if self.error is not None:
            self.told = True
            raise set_free(self.error)

    def make_again(self, syntax: tuple[str, int]) -> None:
        """Make the command anew: text is read otherwise."""
        assert self.command is not None
        observed = self.command.observed
        self.syntax, self.command = syntax, self.make()
        self.command.observed = observed

    def fail(self, error: BaseException) -> None:
        """Have the outcome be an error."""
        self.error = error
        self._tally.failed = True

    def settle(self, error: BaseException | None = None) -> None:
        """Have the outcome be final, and wake whoever waits."""
        if self.done:
            return
        if error is not None:
            self.fail(error)
        self.done = True
        observed = None if self.command is None else self.command.observed
        if observed is not None:
            if self.error is None:
                observed.end(self.results)
            else:
                observed.fail(self.error)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Pipe:
    """Sends statements while others are under way, as many as there is room for.

    In a transaction, *in_block*, each error is followed up before more is sent: what is behind it
    is rolled back if the transaction has ended with it. *suspends* says that autocommit is switched
    off for that, until the block's end. *seconds* limit each statement.
    """

    def __init__(
        self, dialogue: Dialogue, in_block: bool, suspends: bool, most: int, seconds: float | None
    ) -> None:
        self._dialogue = dialogue
        self._protocol = dialogue.protocol
        self._claim = dialogue.claim
        self._in_block = in_block
        self._suspends = suspends
        self._most = most
        self._seconds = seconds
        self._waiting: deque[Entry] = deque()
        self._flying: deque[Entry] = deque()
        self._bytes = 0
        self._is_closed = False  # by a statement behind which nothing is sent
        self._is_guarded = False
        self._checking = self._is_cut = False
        self._doubts: Refusal | None = None  # an error that may have ended the transaction
        self._doubted = b""  # the statement that it is of
        self._held: list[Entry] = []
        self._idle: Waiter | None = None
        self._timer: Timer | None = None

    @property
    def busy(self) -> bool:
        """Whether an outcome is still to come."""
        return bool(self._flying or self._waiting or self._checking)

    # -- what goes out ---------------------------------------------------------------------------

    def add(self, entry: Entry) -> None:
        """Send a statement, or have it wait for its turn."""
        self._waiting.append(entry)
        self._pump()

    def _pump(self) -> None:
        while self._waiting and not self._checking:
            if not self._may_go_on() or not self._has_room(self._waiting[0]):
                return
            entry = self._waiting.popleft()
            try:
                self._send(entry)
            except Exception as error:  # nothing was sent
                entry.settle(error)
        self._end_idle()

    def _may_go_on(self) -> bool:
        """Tell whether something may be sent; what never will be gets its error."""
        dialogue, protocol = self._dialogue, self._protocol
        try:
            dialogue.check_claim(self._claim)
            if dialogue.barred is not None:
                raise dialogue.barred()
            if dialogue.closed or dialogue.protocol is not protocol:
                raise copy_error(protocol.lost or dialogue.not_connected())
            if self._in_block and protocol.ended is not None:
                raise refused(protocol.ended)
        except Exception as error:
            self.drop(error)
            return False
        if protocol.unsure or protocol.untold:
            if not self._flying:
                self._checking = True
                dialogue.start(dialogue.assurance()).then = self._sure
            return False
        return self._doubts is None

    def _has_room(self, entry: Entry) -> bool:
        if not self._flying:
            return True
        if self._protocol.is_ending:  # asyncio would log a warning for each that is written
            return False
        if self._is_closed or len(self._flying) >= self._most:
            return False
        assert entry.command is not None
        return self._bytes + len(entry.command.packet) <= MOST_BYTES

    def _send(self, entry: Entry) -> None:
        dialogue, behind = self._dialogue, bool(self._flying)
        if entry.syntax is not dialogue.syntax:
            entry.make_again(dialogue.syntax)
        command = entry.command
        assert command is not None
        if self._in_block and not self._is_guarded:
            behind = self._guard(behind)
        reply = dialogue.start(command, behind=behind)
        reply.then = partial(self._answered, entry)
        self._flying.append(entry)
        if len(self._flying) == 1:
            self._give_time()
        self._bytes += len(command.packet)
        text = command.packet[_TEXT : _TEXT + _LOOKED_AT]
        self._is_closed = not is_calm(text, dialogue)
        if entry.wants_warnings:
            dialogue.start(SHOW_WARNINGS, behind=True).then = partial(self._warned, entry)

    def _guard(self, behind: bool) -> bool:
        """Have a savepoint tell whether the transaction goes on, and what is behind its end wait.

        With autocommit off, what is executed behind its end is in another transaction.
        """
        dialogue = self._dialogue
        if self._suspends:
            dialogue.start(_AUTOCOMMIT_OFF, behind=behind).then = self._check_guard
            self._suspends, behind = False, True
        dialogue.start(_SAVEPOINT, behind=behind).then = self._check_guard
        self._is_guarded = True
        return True

    def _check_guard(self, reply: Reply) -> None:
        if reply.refused is not None:
            self._protocol.fail(reply.refused.error())

    # -- what comes in ---------------------------------------------------------------------------

    def _answered(self, entry: Entry, reply: Reply) -> None:
        """Take the answer to a statement."""
        if reply.infile is not None:
            entry.fail(InvalidRequestError(_NO_FILES))
            self._dialogue.loop.call_soon(self._protocol.drop, reply)
            return
        entry.refused = reply.refused
        if reply.error is not None:
            error, reply.error = reply.error, None
            self._dialogue._add_hint(reply, error)
            entry.fail(entry.error or error)
        elif not reply.abandoned:
            entry.results = reply.results
            latest = entry.results[-1]
            self._dialogue.counts = latest.warning_count, latest.affected_rows, latest.insert_id
            if latest.error is not None:
                entry.fail(latest.take_error())
        if not entry.wants_warnings:
            self._end(entry)

    def _warned(self, entry: Entry, reply: Reply) -> None:
        """Take the warnings of a statement, which are its last answer.

        A refusal of them may be of a conflict in a cluster, which has ended the transaction.
        """
        if entry.error is None and reply.error is None and not reply.abandoned:
            entry.warnings = reply.results[0].rows
        elif entry.refused is None and reply.refused is not None and self._in_block:
            entry.refused = reply.refused
            if reply.refused.sqlstate == ROLLED_BACK and reply.error is not None:
                error, reply.error = reply.error, None
                entry.fail(error)
        self._end(entry)

    def _end(self, entry: Entry) -> None:
        if not self._flying or self._flying[0] is not entry:  # it was cut off
            return
        self._flying.popleft()
        self._give_time()
        assert entry.command is not None
        self._bytes -= len(entry.command.packet)
        if not self._flying:
            self._is_closed = False
        guarded = self._in_block and self._protocol.lost is None
        if guarded and self._doubts is None and entry.refused is not None:
            self._doubts, self._doubted = entry.refused, entry.command.packet
        if guarded and entry.refused is not None and entry.refused.sqlstate == ROLLED_BACK:
            self._doubts, self._doubted = entry.refused, entry.command.packet
        if guarded and self._doubts is not None and entry.error is None:
            self._held.append(entry)
        else:
            entry.settle()
        if guarded and self._doubts is not None and not self._flying and not self._checking:
            self._checking = True
            self._dialogue.start(_RELEASE).then = self._released
        elif self._protocol.lost is not None:
            self._lose()
        else:
            self._pump()

    def _released(self, reply: Reply) -> None:
        """Learn from its savepoint whether the transaction goes on."""
        if self._is_cut:
            return
        if self._protocol.lost is not None:
            self._lose()
            return
        doubts, self._doubts = self._doubts, None
        self._is_guarded = False
        if reply.refused is None:
            self._checking = False
            self._settle_held(None)
            self._pump()
            return
        assert doubts is not None
        self._protocol.ended = of_refusal(doubts, self._doubted, self._dialogue.encoding)
        self._dialogue.start(_ROLLBACK).then = self._rolled_back

    def _rolled_back(self, _: Reply) -> None:
        if self._is_cut:
            return
        self._checking = False
        if self._protocol.lost is not None:
            self._lose()
            return
        self._settle_held(InvalidRequestError(_OUTSIDE))
        self._pump()

    def _sure(self, _: Reply) -> None:
        if self._is_cut:
            return
        self._protocol.unsure = self._checking = False
        self._protocol.untold = 0
        self._pump()

    def _settle_held(self, error: BaseException | None) -> None:
        held, self._held = self._held, []
        for entry in held:
            entry.settle(error)

    # -- ending ----------------------------------------------------------------------------------

    def _lose(self) -> None:
        """Give everything that is left the loss of the connection."""
        self._checking = False
        lost = self._protocol.lost or self._dialogue.not_connected()
        self._settle_held(copy_error(lost))
        if not self._flying:
            self.drop(copy_error(lost))

    def drop(self, error: BaseException) -> None:
        """Give *error* to what has not been sent."""
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            entry.settle(error)
        self._end_idle()

    def cut_off(self, error: BaseException) -> None:
        """Wait for nothing any more: what was sent is read for nobody, the rest is not sent."""
        flying, self._flying = self._flying, deque()
        self._give_time()
        if (flying or self._checking) and self._in_block and self._protocol.lost is None:
            # What is executed yet may be behind the end of the transaction.
            self._protocol.ended = CUT_OFF
        if flying or self._checking:
            for reply in list(self._protocol.replies):
                self._dialogue._abandon(reply)
        self._checking, self._is_cut = False, True
        for entry in flying:
            entry.settle(error)
        self._settle_held(error)
        self.drop(error)

    async def idle(self) -> None:
        """Wait until everything has its outcome."""
        while self.busy:
            self._idle = Waiter(self._dialogue.loop)
            await self._idle

    def _end_idle(self) -> None:
        if self._idle is not None and not self.busy:
            idle, self._idle = self._idle, None
            if not idle.done():
                idle.set_result(None)

    def _give_time(self) -> None:
        """Give the statement that is answered next its time, from now on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._seconds is not None and self._flying:
            due = self._dialogue.loop.time() + self._seconds
            self._timer = self._protocol.timers.call_at(due, self._expire, self._seconds)

    def _expire(self, seconds: float) -> None:
        self.cut_off(too_slow(seconds))
