"""A dialogue with a server: one command at a time, and its results.

A command is one write and its answer one future.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, ER, SERVER_STATUS

from ..exc import (
    SERVER_ERRORS,
    InvalidRequestError,
    StatementTimeoutError,
)
from ..runtime.awaitable import copy_error, set_free
from .columns import Describe, describe_with
from .command import (
    PING,
    READY,
    Command,
    Duty,
    Question,
    any_limit,
    deadline_of,
    limit_reply,
    packet_of,
)
from .kept import Kept
from .observing import UNOBSERVED, Observation, Observer, Unobserved, observer_of
from .outcome import SETS_THE_SAME, UNTOLD_SYNTAX
from .protocol import Protocol, wire_packets
from .reply import Reply, ResultSet
from .stopping import Stopping

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
# Besides, MySQL's and MariaDB's for a row in place of a value.
_HINTED = ((ER.PARSE_ERROR,), (ER.OPERAND_COLUMNS,), (4078,))
BATCH_BYTES = 1 << 20
"""The longest packet that a batch of rows is written in: longer ones gain nothing."""

OTHER_SYNTAX = (
    "the statement has changed the SQL mode or the character set, for which the values of the"
    " parameter groups that follow are not written: execute it by itself for each"
)


class Dialogue(Stopping):
    """What goes on with a server, command by command, over one protocol after the other."""

    login: Login
    last_usage: float
    later: ResultSet | None

    def __init__(self, options: ConnectOptions, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.options = options
        # Who is told of its statements, if anybody is.
        self.observer: Observer | None = observer_of(options)
        self.describe: Describe = describe_with(options.conv, options.use_unicode)
        # Of the latest command: its warnings, its rows, and the AUTO_INCREMENT value.
        self.counts: tuple[int, int, int] = _NO_COUNTS
        # Whether nothing but questions of our own was sent since the session began, or was reset.
        self.pristine: bool = False
        # Whether the latest of what else was sent is a COMMIT or ROLLBACK.
        self.just_ended: bool = False
        # What was set of the session when it was kept.
        self.kept: Kept = Kept(0, ("", "", None), {})
        self.max_allowed_packet = 0
        # Whether something between has numbers of its own for the server's sessions.
        self.renumbered = False
        # What whoever executes statements has chosen for how the server reads them.
        self.chosen: tuple[Any, ...] | None = None
        # What is sent before the next command, at one round trip: the begin of a transaction.
        self.leading: list[Command] | None = None

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

    def is_unsettled(self) -> bool:
        """Whether `ready()`, or `resolve_doubt()` in a block, may have something to see to."""
        return self._unsettled()

    def _unsettled(self) -> bool:
        protocol = self.protocol
        if protocol.replies or protocol.doubt is not None or protocol.unsure or protocol.untold:
            return True
        return self._killing is not None

    @property
    def flags(self) -> int:
        """The flags that both sides have agreed on, see `pymysql.constants.CLIENT`."""
        return self.login.flags

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
            and not protocol.untold
            and protocol.lost is None
            and protocol.unfit is None
            and self._killing is None
            and self.writer is not None
            # Whose errors are not the next borrower's.
            and self.left is None
            and (self.later is None or self.later.error is None)
        )

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
        self._expect(protocol, reply)
        return cast("asyncio.Future[Any]", reply.future)  # as which it may be waited for

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
        """Add to an error what may have been meant, if there is a hint at that."""
        if error.args[:1] not in _HINTED or reply.packet[4] != COMMAND.COM_QUERY:
            return
        if len(reply.packet) > _MOST_LOOKED_AT:
            return
        from . import hints  # of which services have no need: 0.2 ms of an import

        code, message = error.args
        sql = reply.packet[5:].decode(self.encoding, "replace")
        several = self.flags & CLIENT.MULTI_STATEMENTS != 0
        error.args = code, message + hints.of_error(code, sql, message, several)

    async def _answer_infiles(self, reply: Reply) -> list[ResultSet]:
        # Few load files: threads, and how SQL names a file, are 5 ms of an import.
        from .infile import answer_infiles

        several = self.flags & CLIENT.MULTI_STATEMENTS != 0
        # The reply's own timer ends its future, for which nobody waits while the file is sent.
        return await self._in_time(
            answer_infiles(self.protocol, reply, self.options.local_infile, several)
        )

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
        if protocol.unsure or protocol.untold:
            command = self.assurance()
            await self.finish(self.start(command), command)
            protocol.unsure, protocol.untold = False, 0
            self.check_claim(claim)

    def assurance(self) -> Command:
        """Return what has the server tell what it has not told, or shown wrongly, of the session.

        What a program has set that failed, MySQL tells with the next answer, and MariaDB never. A
        ping leaves the warnings that the error has come with.
        """
        protocol = self.protocol
        if protocol.untold == UNTOLD_SYNTAX or (protocol.untold and protocol._mariadb):
            return _SAME_SETTINGS
        return SAME_SQL_MODE if protocol.unsure else PING

    def start_rollback(self) -> asyncio.Future[Any]:
        """Write ROLLBACK and return the future of its answer, which is due within a bound.

        If only an error leaves open whether there is a transaction, a ping asks: what a failed
        procedure has begun is not to be rolled back without a word. A ROLLBACK may be due then.
        """
        protocol = self.protocol
        asks = protocol.doubt is not None and protocol.shows
        return self._post(PING if asks and not protocol.status & _IN_TRANSACTION else _ROLLBACK)

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


SHOW_WARNINGS = Question(packet_of(COMMAND.COM_QUERY, b"SHOW WARNINGS"))
# A procedure leaves its caller's sql_mode as it was, but not the flag that shows it: this does.
SAME_SQL_MODE = Duty(packet_of(COMMAND.COM_QUERY, SETS_THE_SAME))
# Each of them is told as one that has been set. MariaDB keeps the warnings of before.
_SAME_SETTINGS = Duty(
    packet_of(
        COMMAND.COM_QUERY,
        SETS_THE_SAME + b", character_set_client = @@character_set_client,"
        b" character_set_results = @@character_set_results, time_zone = @@time_zone",
    )
)
_NOTHING = Duty(packet_of(COMMAND.COM_QUERY, b"DO 0"))
_ROLLBACK = READY["ROLLBACK", True]
