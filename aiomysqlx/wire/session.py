"""A session with a server: one command at a time, its results, its time limit and its end.

A command is one write and its answer one future. What is cut off, by a cancellation or a time
limit, is still read to its end for nobody, within a bound: so the next answer is never taken for
it.
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextlib import AbstractContextManager, suppress
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR, ER, SERVER_STATUS

from ..exc import (
    ArgumentError,
    InvalidRequestError,
    ResourceClosedError,
    StatementTimeoutError,
)
from ..runtime.awaitable import copy_error, forget, in_time, set_free
from ..runtime.fork import keep_in_process
from ..runtime.words import Logged, Place, brief, shown, warn_at
from . import kept
from ._impl import escape, render
from .charset import DEFAULT_CHARSET, check_charset, encode_sql, python_encoding
from .checks import AUTOCOMMIT, AWARE_DATETIMES, check_level
from .codes import HEX_BYTES, NO_BACKSLASH_ESCAPES
from .columns import Describe, describe_bytes, describe_with
from .command import (
    Begin,
    Command,
    Deadline,
    Duty,
    Effect,
    End,
    Question,
    SetNames,
    Use,
    any_limit,
    deadline_of,
    limit,
    limit_reply,
    packet_of,
    too_slow,
)
from .encoders import Encoders, Mode
from .greeting import DEPRECATE_EOF, Greeting
from .kept import First, Kept, characteristics
from .login import Login
from .options import ConnectOptions
from .outcome import NEXT_TRANSACTION, SCHEMA, WITH_ITS_SESSION, Ending, Refusal
from .protocol import Protocol, wire_packets
from .reply import Reply, ResultSet

if TYPE_CHECKING:
    from .kill import Thread

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
_SHARED = (
    "another statement is in progress on this connection, which a native() block shares with its"
    " AsyncSession or AsyncConnection: await one before the other, or use a session for each task"
)
_OTHER_SYNTAX = (
    "the statement has changed the SQL mode or the character set, for which the values of the"
    " parameter groups that follow are not written: execute it by itself for each"
)

# How long the rest of a cancelled statement's answer is waited for before the connection is given
# up, and how long a polite close may take.
DRAIN_SECONDS = 2.0
# The same for a statement that is killed: MariaDB takes two seconds over a KILL, now and then, that
# meets its statement's end.
KILL_SECONDS = 5.0
CLOSE_SECONDS = 1.0

# Connections of a parent process: kept, so that nothing ends them.
_inherited: list[object] = []


class OtherLoopError(InvalidRequestError, RuntimeError):
    """A connection was used in another event loop than its own; nothing was sent."""


class Session:
    """What is going on with a server, over one protocol after the other if it is opened anew."""

    # How a session beside this one is opened, to end a statement that this one waits for.
    open_beside: Callable[[Any], Awaitable[Session]] | None = None
    writer: Any = None
    kept = Kept(0, ("", "", None), {})
    # Counts the borrowings, by whoever lends the connection: whoever has waited compares it to what
    # it was before, and leaves the connection alone if it is another.
    lease = 0
    # The same for transactions that are rolled back although a statement may be under way.
    undone = 0
    # Tells which connections were opened together, to who lends them.
    generation = 0
    # Whether an engine has opened it: then it belongs to a pool, whoever borrows it.
    pooled = False
    # Whether nothing but questions of our own was sent since the session began, or was reset.
    pristine = False
    # Whether the latest of what else was sent is a COMMIT or ROLLBACK.
    just_ended = False
    counts = _NO_COUNTS
    max_allowed_packet = 0
    # The number that the server shows for it; a greeting's may be a proxy's own.
    thread_id: int | None = None
    # Tells the server from others that the same address leads to.
    identity: object = None
    # What the server knows this session by, if it has told.
    thread: Thread | None = None
    connected_at: float | None = None
    close_reason: str | None = None
    # Where it was opened, if somebody's code did.
    opened_at: Place | None = None
    # The DB-API connection that stands for it, while somebody has that, and what is set of it.
    view: weakref.ref[Any] | None = None
    view_attributes: dict[str, Any] | None = None
    # How many savepoints there have been, whose names tell them apart.
    savepoints = 0
    # What is called once a transaction is over, by whom it belongs to: for those who share it.
    sharers: tuple[Callable[[], object], ...] = ()
    # The claim of whoever writes a statement in turns, of which nothing has been sent.
    _working: tuple[int, int] | None = None

    def __init__(self, options: ConnectOptions, loop: asyncio.AbstractEventLoop) -> None:
        self.options = options
        self.loop = loop
        self.login = Login(options, loop)
        self.echo = options.echo
        # Whether the server's warnings are asked for, and issued as Python's.
        self.warnings = options.warnings
        level = check_level(options.isolation_level, autocommit=True)
        autocommit = options.autocommit
        if level == AUTOCOMMIT:
            autocommit, level = True, None
        # What is set of the session's transactions, whenever it begins.
        self.characteristics = characteristics(level, options.read_only or None, "SESSION ")
        charset = options.charset or DEFAULT_CHARSET
        self.first = First(charset, options.collation, options.db, autocommit)
        self.charset, self.db, self.autocommit_mode = charset, options.db, autocommit
        self.last_usage = loop.time()
        # What the user wants of literals, see `codes`.
        self.mode: int = AWARE_DATETIMES[options.aware_datetimes]
        if options.encoders:
            self.mode = Mode(self.mode, Encoders(options.encoders))
        self.describe = describe_with(options.conv, options.use_unicode)
        # Of a session that is not opened yet: nothing comes in.
        self.protocol = self._new_protocol(0, 0)
        # What each statement asks for: an instance's own attributes are read faster.
        # Why nothing is executed now, if that is so, though its transaction goes on: it is
        # prepared, say. For whoever has the transactions to set; it makes the error.
        self.barred: Callable[[], InvalidRequestError] | None = None
        self._killing: asyncio.Task[None] | None = None

    def take_over(self, login: Login) -> Protocol:
        """Go on with the transport of a login, which the server has welcomed."""
        protocol = self._new_protocol(login.flags, login.status, self.is_mariadb)
        if self.in_block:  # which is not carried on in another session
            protocol.ended = WITH_ITS_SESSION
        self.writer = login.writer
        self.thread_id = self.greeting.thread_id
        self.connected_at = self.loop.time()
        protocol.begin_login()
        protocol.reads_only = self.options.read_only
        protocol.attach(login.writer.transport)
        self.protocol = protocol
        keep_in_process(self)
        reader, login.reader, login.writer = login.reader, None, None
        if reader._buffer:
            protocol.reader.feed(bytes(reader._buffer))
            protocol.buffer_updated(0)
        if reader._eof_received or self.writer.transport.is_closing():
            protocol.eof_received()  # which went to the protocol before
        return protocol

    def _new_protocol(self, flags: int, status: int, mariadb: bool = False) -> Protocol:
        encoding, most = python_encoding(self.charset), self.options.max_packet
        eof = bool(flags & DEPRECATE_EOF)
        return Protocol(self.loop, eof, status, encoding, most, self.mode, mariadb)

    # -- state -----------------------------------------------------------------------------------
    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by either side."""
        return self.writer is None or self.protocol.lost is not None

    @property
    def loss(self) -> BaseException | None:
        """The error with which the connection was lost, if not this side has closed it."""
        protocol = self.protocol
        if protocol.lost is None or protocol.closed_here:
            return None
        return copy_error(protocol.lost)

    @property
    def unfit(self) -> Refusal | None:
        """The error after which the connection is not to be lent again, if there was one."""
        return self.protocol.unfit

    @property
    def useless(self) -> bool:
        """Whether the connection is closed, its loop too, or its server works for nobody."""
        if self.closed or self.loop.is_closed():
            return True
        return self.unfit is not None and self.unfit.is_of_the_node

    @property
    def server_status(self) -> int:
        """The status flags of the server's latest reply, see `pymysql.constants.SERVER_STATUS`."""
        return self.protocol.status

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
    def no_backslash_escapes(self) -> bool:
        """Whether a backslash stands for itself in a string literal (an SQL mode)."""
        return self.syntax[1] & NO_BACKSLASH_ESCAPES != 0

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return self._killing is not None or bool(self.protocol.replies)

    def is_unsettled(self) -> bool:
        """Whether `ready()`, or `resolve_doubt()` in a block, may have something to see to."""
        protocol = self.protocol
        if protocol.replies or protocol.doubt is not None or protocol.unsure:
            return True
        return self._killing is not None

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
        )

    @property
    def in_transaction(self) -> bool:
        """Whether the server is in a transaction, or may be since the latest error."""
        return self.protocol.in_transaction

    @property
    def surely_ended(self) -> bool:
        """Whether there is surely nothing that ROLLBACK would end, and nothing under way.

        It is not enough that the status shows no transaction. A proxy's may never show one, MySQL
        keeps the locks of what has read a table without transactions, or was refused, if it does
        not autocommit, and a SET TRANSACTION is for the next one, whoever begins it.
        """
        if self.busy or self.in_transaction or self.closed:
            return False
        return self.pristine or self.just_ended

    @property
    def owes_rollback(self) -> bool:
        """Whether there may be something to roll back before others have the session."""
        if not self.autocommits:
            return not self.surely_ended
        return self.in_transaction or NEXT_TRANSACTION in self.protocol.changes

    @property
    def wrote(self) -> bool:
        """Whether rows were written in the transaction, as far as the server counts them."""
        return self.protocol.wrote

    def note_write(self) -> None:
        """Have the transaction in progress, if one is, be one in which rows were written."""
        if self.in_transaction:
            self.protocol.wrote = True

    @property
    def as_begun(self) -> bool:
        """Whether nothing is set of the session but what was when it was kept."""
        protocol = self.protocol
        return protocol.status & _AUTOCOMMIT == self.kept.status and not protocol.changes

    @property
    def ended(self) -> Ending | None:
        """What has ended the transaction of the block in progress, if something has."""
        return self.protocol.ended

    def watch(self) -> bool:
        """Begin to see whether the transaction goes on that BEGIN has just begun.

        Returns whether BEGIN has committed what was written before.
        """
        return self.protocol.watch()

    def unwatch(self) -> None:
        """Let the transaction end: the block is over, or about to be."""
        self.protocol.unwatch()

    def join(self) -> None:
        """Begin to see whether another's transaction goes on, which may not have begun yet."""
        self.protocol.join()

    def part(self) -> None:
        """Leave the transaction to whom it belongs."""
        self.protocol.part()

    def end_sharing(self) -> None:
        """Have nobody share the transaction any more: whom it belongs to is about to end it."""
        self.undone += 1
        for sharer in self.sharers:
            sharer()

    def end_with(self, ending: Ending) -> None:
        """Take note that the transaction of the block in progress has ended."""
        self.protocol.ended = ending

    async def learn_transaction(self) -> None:
        """Learn, after an error, if a failed procedure has left a transaction begun."""
        if self.protocol.doubt is not None and self.protocol.shows:
            await self.resolve_doubt()

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

    @property
    def flags(self) -> int:
        """The flags that both sides have agreed on, see `pymysql.constants.CLIENT`."""
        return self.login.flags

    @property
    def greeting(self) -> Greeting:
        """What the server says of itself at a login."""
        greeting = self.login.greeting
        if greeting is None:
            raise self.not_connected()
        return greeting

    @property
    def server_version(self) -> str:
        """What the server calls itself."""
        return self.greeting.version

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB."""
        return "MariaDB" in self.server_version

    @property
    def autocommits(self) -> bool:
        """Whether the server is in autocommit mode."""
        return self.server_status & _AUTOCOMMIT != 0

    @property
    def in_block(self) -> bool:
        """Whether there is a block, though its transaction may have ended."""
        return self.protocol.watched is not None or self.protocol.ended is not None

    @property
    def schema(self) -> str:
        """The current database, as far as the server tells; empty if there is none."""
        name: bytes = self.protocol.changes.get(SCHEMA, self.kept.values[SCHEMA])
        return name.decode(self.encoding)

    # -- commands --------------------------------------------------------------------------------

    def run(self, command: Command) -> Coroutine[Any, Any, list[ResultSet]]:
        """Send a command; return what is to be awaited at once, and gives its results.

        Raises the server's error (`pymysql.err`), `InvalidRequestError` while another command is
        in progress or nothing is executed, `OperationalError` once the connection is lost.
        """
        protocol = self.protocol
        # As is_unsettled() has it, without the call.
        if (
            protocol.replies
            or protocol.doubt is not None
            or protocol.unsure
            or self._killing is not None
            or command.log is not None
        ):
            return self._run(command)
        return self.finish(self.start(command), command)

    async def _run(self, command: Command) -> list[ResultSet]:
        if self.busy if command.always else self.is_unsettled():
            await self.ready()
        with Logged(command.log is not None, command.log or ""):
            return await self.finish(self.start(command), command)

    async def run_behind(self, setting: Command, command: Command) -> list[ResultSet]:
        """Send what sets something, and *command* behind it, at one round trip.

        Returns the latter's results. Raises the former's error, once both are answered.
        """
        first = self.start(setting)
        second = self.start(command, behind=True)
        with Logged(command.log is not None, command.log or ""):
            try:
                await self.finish(first, setting)
            except err.MySQLError:
                with suppress(err.MySQLError):
                    await self.finish(second, command)
                raise
            except BaseException:  # cancelled, or its coroutine closed
                self._abandon(second)
                raise
            return await self.finish(second, command)

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
                raise InvalidRequestError(_OTHER_SYNTAX)
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
            raise InvalidRequestError(_IN_PROGRESS)

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
        protocol, packet = self.protocol, command.packet
        if self.writer is None:
            raise self.not_connected()
        self.check_loop()
        if not behind:
            if protocol.replies or (self._working is not None and self._working == self.claim):
                raise InvalidRequestError(_IN_PROGRESS)
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
        describe = command.describe or self.describe
        reply = protocol.send(command, describe, protocol.results_encoding)
        if effect is not None:
            reply.expect(effect.changes)
        if command.most_rows is not None:
            reply.most_rows = command.most_rows
        if any_limit() is not None:
            limit_reply(reply, deadline_of(self), self.loop)
        return reply

    def _post(self, command: Command) -> asyncio.Future[Any]:
        """Send a command that looks after the session; nobody has to wait for its answer.

        It is due within a bound. Returns the future of it.
        """
        protocol = self.protocol
        reply = protocol.send(command, self.describe, protocol.results_encoding)
        reply.abandoned = True
        if command.ends:
            self.just_ended = True
        self._expect(protocol, reply, DRAIN_SECONDS)
        return reply.future

    def check_loop(self) -> None:
        """Raise a `RuntimeError` in another event loop than that of a connection that is open."""
        if asyncio.get_running_loop() is not self.loop and not self.closed:
            raise OtherLoopError(
                "the connection belongs to another event loop: create one for each event loop"
            )

    def limit(self, seconds: float) -> AbstractContextManager[None]:
        """Raise `StatementTimeoutError` in the block once it has taken *seconds*."""
        return limit(self, self.loop, seconds)

    def deadline(self) -> Deadline | None:
        """Return until when what this task executes is to be answered, and the seconds given."""
        return deadline_of(self)

    def check_deadline(self) -> None:
        """Raise `StatementTimeoutError` if what this task executes is out of time."""
        deadline = deadline_of(self)
        if deadline is not None and self.loop.time() >= deadline[0]:
            raise too_slow(deadline[1])

    def literal(self, obj: object) -> str:
        """Return *obj* as a SQL literal."""
        encoding, mode = self.syntax
        literal: bytes = escape(obj, encoding, mode | HEX_BYTES)
        return literal.decode(encoding)

    def encode(self, sql: str) -> bytes:
        """Encode *sql* strictly in the connection's character set."""
        return encode_sql(sql, self.encoding)

    async def finish(self, reply: Reply, command: Command) -> list[ResultSet]:
        """Wait for the reply to *command* and return its results; raises as `run()` does."""
        try:
            results: list[ResultSet] | None = await reply.future
            if results is None:
                results = await self._answer_infiles(reply)
        except BaseException as error:  # or cancelled, or its coroutine closed
            ours = reply.refused is not None or isinstance(error, StatementTimeoutError)
            failure = set_free(error) if ours else error
            if failure.args[:1] == (ER.PARSE_ERROR,):
                self._add_hint(reply, failure)
            self._abandon(reply)
            reply.let_go()
            if command.effect is not None and isinstance(error, _CUT_OFF):
                command.effect.cut_off(self)
        else:
            latest = results[-1]
            # Not the result itself: its rows are the caller's, to keep or to forget.
            self.counts = latest.warning_count, latest.affected_rows, latest.insert_id
            if latest.error is not None and not command.partial:
                raise latest.take_error()
            if command.effect is not None:
                command.effect.end(self)
            return results
        try:
            raise failure
        finally:
            del failure  # whose traceback holds this frame

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
                raise InvalidRequestError(_IN_PROGRESS)
            await self._in_time(self._settle(protocol))
            self.check_claim(claim)
        if protocol.watched is not None and self.in_doubt:
            await self.resolve_doubt()
            self.check_claim(claim)
        if protocol.unsure:
            await self.finish(self.start(_SAME_SQL_MODE), _SAME_SQL_MODE)
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
        reply.deadline = self.loop.call_later(
            seconds, self._give_up, protocol, reply, seconds, context=Context()
        )

    def _give_up(self, protocol: Protocol, reply: Reply, seconds: float) -> None:
        if reply in protocol.replies:
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

    async def query(self, sql: str | bytes, *, always: bool = False) -> int:
        """Execute *sql* as it stands and return the number of affected rows.

        *always* is for what ends a transaction or looks after the session: nothing bars it.
        """
        if self.busy if always else self.is_unsettled():  # it may change how text is written
            await self.ready()
        return (await self.run(self.text(sql, always=always)))[0].affected_rows

    def text(
        self, sql: str | bytes, *, always: bool = False, effect: Effect | None = None
    ) -> Command:
        """Return the command that executes *sql* as it stands."""
        if effect is None and type(sql) is str:
            ready = _READY.get((sql, always))
            if ready is not None:
                if not self.echo:
                    return ready
                return type(ready)(ready.packet, log=sql, always=always)
        if isinstance(sql, bytes):
            packet = render((sql,), (), self.encoding, 0)
        elif not isinstance(sql, str):
            raise ArgumentError(f"expected a statement as str or bytes, got {brief(sql)}")
        else:
            packet = self.rendered(sql)
        log = sql if self.echo else None
        if effect is None and not always:
            return Command(packet, log=log)
        return Duty(packet, log=log, always=always, effect=effect)

    def rendered(self, sql: str) -> bytes:
        """Return the packet of *sql*."""
        packet: bytes = render((self.encode(sql),), (), self.encoding, 0)
        return packet

    async def begin(self) -> None:
        """Begin a transaction; within a block this commits the block's, which is over then."""
        if self.is_unsettled():
            await self.ready()
        await self.run(self.text("BEGIN", effect=Begin()))

    async def autocommit(self, value: bool, *, always: bool = False) -> None:
        """Switch the server's autocommit mode on or off, if it is not so."""
        self.autocommit_mode = bool(value)
        if self.autocommit_mode != self.autocommits:
            await self.query(f"SET AUTOCOMMIT = {int(self.autocommit_mode)}", always=always)

    async def use(self, db: str, always: bool = False) -> None:
        """Make *db* the current database."""
        packet = packet_of(COMMAND.COM_INIT_DB, self.encode(db))
        await self.run(Duty(packet, always=always, effect=Use(db)))

    async def set_names(self, charset: str, collation: str = "", always: bool = False) -> None:
        """Make *charset* the session's character set, with a collation or its default one."""
        collate = f" COLLATE {collation}" if collation else ""
        text = f"SET NAMES {check_charset(charset)}{collate}"
        await self.run(self.text(text, always=always, effect=SetNames(charset)))

    async def ping(self) -> None:
        """Check that the server answers; raise the loss if it does not, `Error` once closed."""
        if self.closed:
            raise err.Error("Already closed")
        await self.run(PING)

    async def keep(self) -> None:
        """Have `put_back()` go back to the session as it is."""
        await kept.keep(self)

    def accept(self) -> None:
        """Have `put_back()` go back from the session as it is: the rest is set again by itself."""
        kept.accept(self)

    async def put_back(self) -> bool:
        """Undo what has been set of the session since it was kept; false if that cannot be."""
        return await kept.put_back(self)

    async def show_warnings(self) -> list[tuple[Any, ...]]:
        """Return the latest statement's warnings: (level, code, message)."""
        counts = self.counts
        try:
            return (await self.run(_SHOW_WARNINGS))[0].rows
        finally:
            self.counts = counts

    async def identify(self) -> None:
        """Learn which server this is."""
        # Bytes: a charset or converters of one connection's own tell nothing of the server.
        self.identity = await self.ask(_IDENTITY, describe_bytes)

    async def absorb_kill(self, protocol: Protocol) -> None:
        """Execute nothing: a KILL that came too late for its statement would end the next one."""
        await protocol.idle()
        if protocol.lost is None:
            self._post(_NOTHING).cancel()  # nobody waits for it
            await protocol.idle()

    # -- ending ---------------------------------------------------------------------------------

    def close(self, reason: str | None = None) -> None:
        """Take leave of the server and close the socket, without waiting.

        *reason* is told to whoever uses the connection afterwards, and what to do.
        """
        writer, protocol = self.writer, self.protocol
        self.writer = None
        if writer is None:
            self.login.give_up()
            return
        self.close_reason = reason
        if protocol.lost is None and not self.loop.is_closed():
            protocol.closed_here = True
            if not protocol.replies:
                protocol.write(_QUIT)
                writer.transport.close()
                protocol.lost = self.not_connected()
                return
            self._kill_first(protocol)
            during = "the connection was closed during query"
            if reason is not None:
                during = f"{during}: {reason}"
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, during))
        if not self.loop.is_closed():
            writer.transport.close()

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

    async def ensure_closed(self) -> None:
        """Take leave of the server, close the socket and wait until it is closed."""
        protocol = self.protocol
        self.close()
        if self._killing is not None:
            await asyncio.wait([self._killing])
        await protocol.wait_closed(CLOSE_SECONDS)

    def abort(self) -> None:
        """Close the socket at once."""
        writer = self.writer
        self.writer = None
        if self.protocol.lost is None:
            self.protocol.closed_here = True
            self._kill_first(self.protocol)
        self.protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, "connection aborted"))
        if writer is not None and not self.loop.is_closed():
            writer.transport.abort()

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have *call* called once the connection has ended, by whichever side."""
        self.protocol.closed.add_done_callback(lambda _: call(), context=Context())

    def disown(self) -> None:
        """Leave the socket to the process that opened it, of which this one is a fork."""
        protocol = self.protocol
        # Even to unregister the socket would change what the parent waits for.
        _inherited.append((protocol, self.writer))
        self.writer = None
        self.close_reason = "the connection belongs to the process that opened it"
        protocol.lost = err.InterfaceError(0, self.close_reason)
        protocol.replies.clear()

    def __del__(self) -> None:
        writer = self.writer
        if writer is None or self.closed:
            return
        if not self.loop.is_closed():
            # The writer, kept alive until then, would warn too.
            self.loop.call_soon_threadsafe(lambda: writer.transport.abort())
        database = f", database {self.db!r}" if self.db else ""
        unclosed = f"Unclosed connection {self.login.place}, user {self.login.user!r}{database}"
        # Last: it may be an error.
        if self.opened_at is not None:
            where = shown(self.opened_at)
            warn_at(self.opened_at, f"{unclosed}, opened at {where}", self)
            return
        warnings.warn(unclosed, ResourceWarning, source=self, stacklevel=1)


def _still_busy(seconds: float) -> err.OperationalError:
    late = f"a statement was not answered within {seconds} seconds, and its transaction has to end"
    return err.OperationalError(CR.CR_SERVER_LOST, late)


def over(ending: Ending) -> str:
    """Return the words for what is not executed in a block whose transaction is over."""
    return f"{ending.words}: roll it back, or leave its block, and begin again"


def refused(ending: Ending) -> InvalidRequestError:
    """Return the error for it."""
    return InvalidRequestError(over(ending))


# What begins and ends transactions, the same in every charset of a client.
_READY = {
    (sql, always): kind(packet_of(COMMAND.COM_QUERY, sql.encode()), always=always)
    for sql, kind in (
        ("BEGIN", Duty),
        ("COMMIT", End),
        ("ROLLBACK", End),
        ("ROLLBACK AND NO CHAIN", End),
    )
    for always in (False, True)
}
PING = Question(packet_of(COMMAND.COM_PING))
_SHOW_WARNINGS = Question(packet_of(COMMAND.COM_QUERY, b"SHOW WARNINGS"))
# MySQL alone executes the comment.
_IDENTITY = packet_of(
    COMMAND.COM_QUERY, b"SELECT @@hostname, @@port, @@server_id /*!80000 , @@server_uuid */"
)
# A procedure leaves its caller's sql_mode as it was, but not the flag that shows it: this does.
_SAME_SQL_MODE = Duty(packet_of(COMMAND.COM_QUERY, b"SET sql_mode = @@sql_mode"))
_NOTHING = Duty(packet_of(COMMAND.COM_QUERY, b"DO 0"))
_ROLLBACK = _READY["ROLLBACK", True]
_QUIT = packet_of(COMMAND.COM_QUIT)
