"""A dialogue with a server: one command at a time, its results, its time limit and its cutting off.

A command is one write and its answer one future. What is cut off, by a cancellation or a time
limit, is still read to its end for nobody, within a bound: so the next answer is never taken for
it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR, ER, SERVER_STATUS

from ..exc import (
    SERVER_ERRORS,
    InvalidRequestError,
    ResourceClosedError,
    StatementTimeoutError,
)
from ..runtime.awaitable import copy_error, forget, in_time, set_free
from .columns import Describe, describe_with
from .command import (
    PING,
    READY,
    Command,
    Deadline,
    Duty,
    Limit,
    Question,
    any_limit,
    deadline_of,
    limit_reply,
    packet_of,
    too_slow,
)
from .kept import Kept
from .observing import UNOBSERVED, Observation, Observer, Unobserved, observer_of
from .outcome import Ending
from .protocol import Protocol, wire_packets
from .reply import Reply, ResultSet

if TYPE_CHECKING:
    from .login import Login
    from .options import ConnectOptions

T = TypeVar("T")
_AUTOCOMMIT: int = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
# The flags that a connection is to be lent with: in no transaction, and autocommit as it was.
_IN_TRANSACTION: int = SERVER_STATUS.SERVER_STATUS_IN_TRANS
_LENT_WITH: int = _IN_TRANSACTION | _AUTOCOMMIT
_NO_COUNTS = (0, 0, 0)
_CUT_OFF = (asyncio.CancelledError, GeneratorExit)
_MOST_LOOKED_AT = 1 << 20
BATCH_BYTES = 1 << 20
"""The longest packet that a batch of rows is written in: longer ones gain nothing."""

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
OTHER_SYNTAX = (
    "the statement has changed the SQL mode or the character set, for which the values of the"
    " parameter groups that follow are not written: execute it by itself for each"
)

# How long the rest of a cancelled statement's answer is waited for before the connection is given
# up.
DRAIN_SECONDS = 2.0
# The same for a statement that is killed: MariaDB takes two seconds over a KILL, now and then, that
# meets its statement's end.
KILL_SECONDS = 5.0


class OtherLoopError(InvalidRequestError, RuntimeError):
    """A connection was used in another event loop than its own; nothing was sent."""


class Dialogue:
    """What goes on with a server, command by command, over one protocol after the other."""

    protocol: Protocol
    login: Login

    def __init__(self, options: ConnectOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        # Who is told of its statements, if anybody is.
        self.observer: Observer | None = observer_of(options)
        self.loop = loop
        self.writer: Any = None
        self.describe: Describe = describe_with(options.conv, options.use_unicode)
        self.last_usage: float = loop.time()
        # Of the latest command: its warnings, its rows, and the AUTO_INCREMENT value.
        self.counts: tuple[int, int, int] = _NO_COUNTS
        # Counts the borrowings, by whoever lends the connection: whoever has waited compares it to
        # what it was before, and leaves the connection alone if it is another.
        self.lease = 0
        # The same for transactions that are rolled back although a statement may be under way.
        self.undone = 0
        # Whether nothing but questions of our own was sent since the session began, or was reset.
        self.pristine: bool = False
        # Whether the latest of what else was sent is a COMMIT or ROLLBACK.
        self.just_ended: bool = False
        # What was set of the session when it was kept.
        self.kept: Kept = Kept(0, ("", "", None), {})
        # Why nothing is executed now, if that is so, though its transaction goes on: it is
        # prepared, say. For whoever has the transactions to set; it makes the error.
        self.barred: Callable[[], InvalidRequestError] | None = None
        self.max_allowed_packet = 0
        # How a session beside this one is opened, to end a statement that this one waits for.
        self.open_beside: Callable[[Any, Any], Awaitable[Any]] | None = None
        # Tells the server from others that the same address leads to.
        self.identity: object = None
        # Whether something between has numbers of its own for the server's sessions.
        self.renumbered = False
        # Whether an engine has opened it: then it belongs to a pool, whoever borrows it.
        self.pooled = False
        self.connected_at: float | None = None
        self.close_reason: str | None = None
        # What whoever executes statements has chosen for how the server reads them.
        self.chosen: tuple[Any, ...] | None = None
        # What is sent before the next command, at one round trip: the begin of a transaction.
        self.leading: list[Command] | None = None
        # The latest stream that was left early in the transaction: its rest may bring an error.
        self.left: Reply | None = None
        # A cursor's result in the place of which an error came, until somebody is told of that.
        self.later: ResultSet | None = None
        # When the latest answer that was not there in time was due.
        self._late_at = -inf
        # The claim of whoever writes a statement in turns, of which nothing has been sent.
        self._working: tuple[int, int] | None = None
        # What ends a statement on the server.
        self._killing: asyncio.Task[None] | None = None

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by either side."""
        return self.writer is None or self.protocol.lost is not None

    @property
    def syntax(self) -> tuple[str, int]:
        """The Python codec of the session's statements, and the mode in which values are written.

        The same object for as long as nothing of it changes.
        """
        return self.protocol.syntax

    @property
    def encoding(self) -> str:
        """The Python codec of the session's statements, which follows a SET NAMES."""
        return self.syntax[0]

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._killing is not None or bool(self.protocol.replies)

    def is_unsettled(self) -> bool:
        """Whether `ready()`, or `resolve_doubt()` in a block, may have something to see to."""
        return self._unsettled()

    def _unsettled(self) -> bool:
        protocol = self.protocol
        if protocol.replies or protocol.doubt is not None or protocol.unsure:
            return True
        return self._killing is not None

    @property
    def overdue(self) -> bool:
        """Whether the server has not answered in time what was sent last, and has not since."""
        late, lost = self._late_at >= self.last_usage, self.protocol.lost
        if lost is None:
            return late and bool(self.protocol.replies)
        return late or isinstance(lost.__cause__, TimeoutError)  # its peer was silent

    @property
    def flags(self) -> int:
        """The flags that both sides have agreed on, see `pymysql.constants.CLIENT`."""
        return self.login.flags

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for an answer that is still to come."""
        return any(
            not (reply.abandoned or (reply.future.done() and reply.infile is None))
            for reply in self.protocol.replies
        )

    @property
    def at_rest(self) -> bool:
        """Whether the connection can be lent as it is.

        It is open and good for use, with nothing under way and no transaction, and nothing is set
        of the session but what was when it was kept.
        """
        protocol, kept_status = self.protocol, self.kept.status
        return (
            protocol.status & _LENT_WITH == kept_status
            # Without autocommit no flag shows all that there may be to end.
            and (kept_status != 0 or self.just_ended or self.pristine)
            and not protocol.replies
            and not protocol.changes
            and protocol.doubt is None
            and protocol.lost is None
            and protocol.unfit is None
            and self._killing is None
            and self.writer is not None
            # Whose errors are not the next borrower's.
            and self.left is None
            and (self.later is None or self.later.error is None)
        )

    @property
    def ended(self) -> Ending | None:
        """What has ended the transaction of the block in progress, if something has."""
        return self.protocol.ended

    @property
    def in_doubt(self) -> bool:
        """Whether the latest answer, an error, leaves open if the transaction goes on."""
        return self.protocol.doubt is not None and self.protocol.ended is None

    async def resolve_doubt(self) -> None:
        """Ask the server whether the transaction goes on; `ended` tells, if it does not.

        Raises `ResourceClosedError` if the connection is given back meanwhile.
        """
        lease = self.lease
        await self.finish(self.start(PING), PING)
        self.check_lease(lease)

    def check_bar(self) -> None:
        """Raise `InvalidRequestError` if nothing is executed now.

        Its transaction has ended, of the block in progress; or what `barred` says.
        """
        if self.ended is not None:
            raise refused(self.ended)
        if self.barred is not None:
            raise self.barred()

    def run(self, command: Command) -> Coroutine[Any, Any, list[ResultSet]]:
        """Send a command; return what is to be awaited at once, and gives its results.

        Raises the server's error (`pymysql.err`), `InvalidRequestError` while another command is
        in progress or nothing is executed, `OperationalError` once the connection is lost.
        """
        return self._launch(command)

    def _launch(self, command: Command) -> Coroutine[Any, Any, list[ResultSet]]:
        if command.observed is not None or self._unsettled():
            return self._run(command)
        return self.finish(self._start(command, False), command)

    async def _run(self, command: Command) -> list[ResultSet]:
        if self.busy if command.always else self.is_unsettled():
            await self.ready()
        observed = command.observed
        if observed is None:
            return await self.finish(self.start(command), command)
        with observed:
            results = await self.finish(self.start(command), command)
            observed.take(results)
            if command.stream:  # the rest of which is taken by a `Flow`
                observed.pause()
            return results

    async def run_behind(self, setting: Command, command: Command) -> list[ResultSet]:
        """Send what sets something, and *command* behind it, at one round trip if that may be.

        Returns the latter's results. Raises the former's error, once both are answered.
        """
        first = self.start(setting)
        second = self.start(command, behind=True)
        with command.observed or UNOBSERVED as observed:
            try:
                await self.finish(first, setting)
            except SERVER_ERRORS:
                with suppress(*SERVER_ERRORS):
                    await self.finish(second, command)
                raise
            except BaseException:  # cancelled, or its coroutine closed
                self._abandon(second)
                raise
            results = await self.finish(second, command)
            observed.take(results)
            return results

    async def run_each(
        self, commands: Iterable[Command], told: list[tuple[Any, ...]] | None = None
    ) -> list[ResultSet]:
        """Send commands one after the other and return the first result of each.

        The warnings of all are asked for and added to *told*, unless it is `None`. Raises
        `InvalidRequestError` if one has changed how the server reads the values of the next.
        """
        claim, syntax = self.claim, self.syntax
        results = []
        for command in commands:
            if self.is_unsettled():
                await self.ready()
            self.check_claim(claim)
            if self.syntax is not syntax:
                raise InvalidRequestError(OTHER_SYNTAX)
            results.append((await self.run(command))[0])
            if told is not None and results[-1].warning_count:
                self.check_claim(claim)
                told += await self.show_warnings()
        return results

    async def ask(self, question: bytes, describe: Describe | None = None) -> tuple[Any, ...]:
        """Send the packet of a question that one row answers, and return that row.

        Nothing bars it. Raises `ResourceClosedError` if the connection is given back meanwhile.
        """
        lease = self.lease
        rows: list[tuple[Any, ...]]
        rows = (await self.run(Question(question, describe, most_rows=1)))[0].rows
        self.check_lease(lease)
        if not rows:
            raise err.DataError(0, "expected a row, got none")
        return rows[0]

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

    def end_work(self, claim: tuple[int, int]) -> None:
        """Have statements executed again, unless that was begun by another one."""
        if self._working is claim:
            self._working = None

    def start(self, command: Command, behind: bool = False) -> Reply:
        """Write the packet of a command; its reply is for `finish()`, at once.

        All that is executed passes here, and is refused here if nothing is to be: unless it goes
        *behind* another command that was not refused.
        """
        return self._start(command, behind)

    def _start(self, command: Command, behind: bool) -> Reply:
        protocol, packet = self.protocol, command.packet
        if self.writer is None:
            raise self.not_connected()
        self.check_loop()
        if not behind:
            if protocol.replies or (self._working is not None and self._working == self.claim):
                raise self._in_progress()
            if protocol.lost is not None:
                raise copy_error(protocol.lost)
        if len(packet) > BATCH_BYTES:
            self.check_length(packet)
        self.last_usage = self.loop.time()
        ends = command.ends
        if ends is not None:
            refusing = protocol.ended is not None or self.barred is not None
            if refusing and not command.always and not behind:
                self.check_bar()
            self.pristine = False
            self.just_ended = ends
        effect = command.effect
        if effect is not None:
            effect.begin(self)
        if self.leading is not None:
            self._lead()
        describe = command.describe or self.describe
        reply = protocol._send(command, describe, protocol.results_encoding)
        if effect is not None:
            reply.expect(effect.changes)
        if command.most_rows is not None:
            reply.most_rows = command.most_rows
        if any_limit() is not None:
            limit_reply(reply, deadline_of(self), protocol.timers)
        return reply

    def observe(self, sql: str | bytes, **described: Any) -> Observation | Unobserved:
        """Return what a batch is observed by, see `Observer.observe()`."""
        observer = self.observer
        return UNOBSERVED if observer is None else observer.observe(self, sql, **described)

    @contextmanager
    def observed_by_log_alone(self) -> Iterator[None]:
        """Have nobody but the log told of what is executed in the block: it is not the user's."""
        observer = self.observer
        alone = self.observer = None if observer is None else observer.log_alone
        try:
            yield
        finally:
            if self.observer is alone:
                self.observer = observer

    def lead(self, commands: list[Command]) -> None:
        """Have a block begin by *commands*, which are sent before the first that is sent in it."""
        self.leading = commands
        self.protocol.watched, self.protocol.ended = False, None

    def _lead(self) -> None:
        protocol, leading = self.protocol, self.leading or []
        self.leading = None
        for command in leading:
            if command.observed is not None:
                command.observed.begin()
            reply = protocol.send(command, self.describe, protocol.results_encoding)
            reply.abandoned = True
            then = self._begun if command is leading[-1] else self._led
            reply.then = partial(then, command.observed)
            protocol.led += 1

    def _led(self, observed: Observation | None, reply: Reply) -> None:
        """Close the connection if what a transaction begins with is refused.

        What was sent behind it, outside of the transaction then, has to be told of that.
        """
        self.protocol.led -= 1
        if observed is not None:
            if reply.error is None:
                observed.end(reply.results)
            else:
                observed.fail(reply.error)
        if reply.refused is not None and self.protocol.lost is None:
            self.protocol.fail(reply.refused.error())

    def _begun(self, observed: Observation | None, reply: Reply) -> None:
        self._led(observed, reply)
        if self.protocol.lost is None and self.protocol.watched is not None:
            self.protocol.watch()

    def _post(self, command: Command) -> asyncio.Future[Any]:
        """Send a command that looks after the session; nobody has to wait for its answer.

        It is due within a bound. Returns the future of it.
        """
        protocol = self.protocol
        reply = protocol._send(command, self.describe, protocol.results_encoding)
        reply.abandoned = True
        if command.ends:
            self.just_ended = True
        self._expect(protocol, reply, DRAIN_SECONDS)
        return cast("asyncio.Future[Any]", reply.future)  # as which it may be waited for

    def check_loop(self) -> None:
        """Raise a `RuntimeError` in another event loop than that of a connection that is open."""
        if asyncio.get_running_loop() is not self.loop and not self.closed:
            raise OtherLoopError(
                "the connection belongs to another event loop: create one for each event loop"
            )

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

    async def finish(self, reply: Reply, command: Command) -> list[ResultSet]:
        """Wait for the reply to *command* and return its results; raises as `run()` does."""
        try:
            results: list[ResultSet] | None = await reply.future
            if results is None:
                results = await self._answer_infiles(reply)
        except BaseException as error:  # or cancelled, or its coroutine closed
            ours = reply.refused is not None or isinstance(error, StatementTimeoutError)
            failure = set_free(error) if ours else error
            self.counts = *self.counts[:2], 0  # no id was generated
            if failure.args[:1] == (ER.PARSE_ERROR,):
                self._add_hint(reply, failure)
            self._abandon(reply)
            if isinstance(error, StatementTimeoutError):
                self._late_at = self.loop.time()
            reply.let_go()
            if command.effect is not None and isinstance(error, _CUT_OFF):
                command.effect.cut_off(self)
            if command.fate is not None:
                failure = command.fate(self, reply, failure)
        else:
            self._conclude(results[-1], command)
            return results
        try:
            raise failure
        finally:
            del failure  # whose traceback holds this frame

    def _conclude(self, latest: ResultSet, command: Command) -> None:
        """Keep the counts of the latest result, and have the command take effect, or raise."""
        # Not the result itself: its rows are the caller's, to keep or to forget.
        self.counts = latest.warning_count, latest.affected_rows, latest.insert_id
        if latest.error is not None:
            if not command.partial:
                raise latest.take_error()
            self.later = latest
        if command.effect is not None:
            command.effect.end(self)

    def _add_hint(self, reply: Reply, error: BaseException) -> None:
        """Add to a syntax error what may have been meant."""
        from . import hints  # of which services have no need: 0.2 ms of an import

        if reply.packet[4] != COMMAND.COM_QUERY or len(reply.packet) > _MOST_LOOKED_AT:
            return
        code, message = error.args
        sql = reply.packet[5:].decode(self.encoding, "replace")
        several = self.flags & CLIENT.MULTI_STATEMENTS != 0
        error.args = code, message + hints.of_syntax(sql, message, several)

    async def _answer_infiles(self, reply: Reply) -> list[ResultSet]:
        # Few load files: threads, and how SQL names a file, are 5 ms of an import.
        from .infile import answer_infiles

        several = self.flags & CLIENT.MULTI_STATEMENTS != 0
        # The reply's own timer ends its future, for which nobody waits while the file is sent.
        return await self._in_time(
            answer_infiles(self.protocol, reply, self.options.local_infile, several)
        )

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what *work* returns, within the time that this task has left."""
        deadline = self.deadline()
        if deadline is None:
            return await work
        when, seconds = deadline
        return await in_time(work, max(0, when - self.loop.time()), partial(too_slow, seconds))

    def check_length(self, packet: bytes) -> None:
        """Raise an error if the server would close the connection over the length of *packet*."""
        size = len(packet) - 4 * wire_packets(packet)
        if size >= self.max_allowed_packet:
            raise err.OperationalError(
                1153,
                f"the statement has {size} bytes, the server's max_allowed_packet"
                f" is {self.max_allowed_packet}: send less at a time, or have it take more",
            )

    async def ready(self) -> None:
        """Wait for what a cancelled statement still brings: values are escaped for what it leaves.

        After an error in a block, learn whether its transaction goes on.
        Raises `InvalidRequestError` while another statement is in progress, `ResourceClosedError`
        if the connection is given back meanwhile.
        """
        protocol = self.protocol
        if not self.is_unsettled():
            return
        claim = self.claim
        while self.busy:
            if not all(reply.abandoned for reply in protocol.replies):
                raise self._in_progress()
            await self._in_time(self._settle(protocol))
            self.check_claim(claim)
        if protocol.watched is not None and self.in_doubt:
            await self.resolve_doubt()
            self.check_claim(claim)
        if protocol.unsure:
            await self.finish(self.start(SAME_SQL_MODE), SAME_SQL_MODE)
            protocol.unsure = False
            self.check_claim(claim)

    async def _settle(self, protocol: Protocol) -> None:
        """Wait for the replies under way, and for what ends their statements."""
        await protocol.idle()
        if self._killing is not None:
            await asyncio.wait([self._killing])

    def _abandon(self, reply: Reply) -> None:
        """Have the rest of a reply read for nobody, if there is more to come."""
        protocol = self.protocol
        forget(reply.future)
        if reply in protocol.replies and not self.loop.is_closed():
            protocol.drop(reply)
            kill = self.open_beside is not None
            self._expect(protocol, reply, KILL_SECONDS if kill else DRAIN_SECONDS)
            self._kill(protocol, reply)

    def raise_later(self) -> None:
        """Raise the error that came behind a cursor's results, if no one has gone on to it."""
        later, self.later = self.later, None
        if later is not None and later.error is not None:
            raise later.take_error()

    def forget_left(self) -> None:
        """Raise no error any more of what was left of a stream's rows, or a cursor's results."""
        self.left = self.later = None

    def leave_stream(self) -> None:
        """Read the rest of a stream for nobody, if one is open."""
        replies = self.protocol.replies
        if replies and replies[0].stream and replies[0].future.done():
            from .leaving import leave  # few have use for it

            leave(self, replies[0])

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

        self._killing = self.loop.create_task(end_surely(self, protocol, reply, KILL_SECONDS))
        keep_until_done(self._killing)
        # Not at its end: a task cancelled before its first step does not get there.
        self._killing.add_done_callback(self._forget_kill)

    def _expect(self, protocol: Protocol, reply: Reply, seconds: float) -> None:
        """Close the connection if an abandoned *reply* is not there in time."""
        if reply.deadline is not None:
            reply.deadline.cancel()
        when = self.loop.time() + seconds
        reply.deadline = protocol.timers.call_at(when, self._give_up, protocol, reply, seconds)

    def _give_up(self, protocol: Protocol, reply: Reply, seconds: float) -> None:
        if reply in protocol.replies:
            self._late_at = self.loop.time()
            late = f"a cancelled statement was not answered within {seconds} seconds"
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, late))

    def start_rollback(self) -> asyncio.Future[Any]:
        """Write ROLLBACK and return the future of its answer, which is due within a bound.

        If only an error leaves open whether there is a transaction, a ping asks: what a failed
        procedure has begun is not to be rolled back without a word. A ROLLBACK may be due then.
        """
        protocol = self.protocol
        asks = protocol.doubt is not None and protocol.shows
        return self._post(PING if asks and not protocol.status & _IN_TRANSACTION else _ROLLBACK)

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

    async def settled(self) -> bool:
        """Wait for what is still to come; false if the connection is lost."""
        await self._settle(self.protocol)
        return not self.closed

    def on_killed(self, call: Callable[[], object]) -> None:
        """Have *call* called once what ends a statement of this connection is over."""
        if self._killing is not None:
            self._killing.add_done_callback(lambda _: call())

    def _forget_kill(self, _: asyncio.Task[None]) -> None:
        self._killing = None

    async def show_warnings(self) -> list[tuple[Any, ...]]:
        """Return the latest statement's warnings: (level, code, message)."""
        counts = self.counts
        try:
            return (await self.run(SHOW_WARNINGS))[0].rows
        finally:
            self.counts = counts

    async def absorb_kill(self, protocol: Protocol) -> None:
        """Execute nothing: a KILL that came too late for its statement would end the next one."""
        await protocol.idle()
        if protocol.lost is None:
            self._post(_NOTHING).cancel()  # nobody waits for it
            await protocol.idle()

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


def _still_busy(seconds: float) -> err.OperationalError:
    late = f"a statement was not answered within {seconds} seconds, and its transaction has to end"
    return err.OperationalError(CR.CR_SERVER_LOST, late)


def over(ending: Ending) -> str:
    """Return the words for what is not executed in a block whose transaction is over."""
    return f"{ending.words}: roll it back, or leave its block, and begin again"


def refused(ending: Ending) -> InvalidRequestError:
    """Return the error for it."""
    return InvalidRequestError(over(ending))


SHOW_WARNINGS = Question(packet_of(COMMAND.COM_QUERY, b"SHOW WARNINGS"))
# A procedure leaves its caller's sql_mode as it was, but not the flag that shows it: this does.
SAME_SQL_MODE = Duty(packet_of(COMMAND.COM_QUERY, b"SET sql_mode = @@sql_mode"))
_NOTHING = Duty(packet_of(COMMAND.COM_QUERY, b"DO 0"))
_ROLLBACK = READY["ROLLBACK", True]
