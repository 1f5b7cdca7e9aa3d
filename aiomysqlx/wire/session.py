"""A session with a server: how it is opened and closed, what is set of it, what it tells."""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Hashable
from contextvars import Context
from typing import TYPE_CHECKING, Any, TypeVar

from pymysql import err
from pymysql.constants import COMMAND, CR, ER, SERVER_STATUS

from ..exc import (
    ArgumentError,
    InvalidRequestError,
)
from ..runtime.awaitable import copy_error
from ..runtime.fork import keep_in_process
from ..runtime.words import Place, brief, shown, warn_at
from . import kept
from ._impl import escape, render
from .charset import DEFAULT_CHARSET, check_charset, encode_sql, python_encoding
from .checks import AUTOCOMMIT, AWARE_DATETIMES, check_level
from .codes import HEX_BYTES, NO_BACKSLASH_ESCAPES
from .columns import describe_bytes
from .command import (
    PING,
    READY,
    Begin,
    Command,
    Duty,
    Effect,
    Fate,
    SetNames,
    Use,
    packet_of,
)
from .dialogue import Dialogue
from .encoders import Encoders, Mode
from .kept import First, characteristics
from .observing import LOG
from .outcome import (
    NEXT_TRANSACTION,
    SCHEMA,
    UNTOLD_SYNTAX,
    WITH_ITS_SESSION,
    Ending,
    Refusal,
)
from .prepared import Statements
from .protocol import Protocol

if TYPE_CHECKING:
    from .addresses import Address
    from .command import Command
    from .greeting import Greeting
    from .hosts import Hosts
    from .kill import Thread
    from .login import Login
    from .options import ConnectOptions

T = TypeVar("T")
_AUTOCOMMIT: int = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
# MySQL alone executes the comment. The number is asked for anew: with a variable in the statement
# ProxySQL keeps the session to one of the server's from here on.
_IDENTITY = packet_of(
    COMMAND.COM_QUERY,
    b"SELECT CONNECTION_ID(), @@hostname, @@port, @@server_id /*!80000 , @@server_uuid */",
)
_QUIT = packet_of(COMMAND.COM_QUIT)

# How long a polite close may take.
CLOSE_SECONDS = 1.0

# Connections of a parent process: kept, so that nothing ends them.
_inherited: list[object] = []


class Session(Dialogue):
    """What is going on with a server, over one protocol after the other if it is opened anew."""

    # A dialogue's, which are set anew here: checkers are not to infer others.
    connected_at: float | None
    identity: object
    leading: list[Command] | None
    writer: Any
    # Tells which connections were opened together, to who lends them.
    generation = 0
    # The number that the server shows for it; a greeting's may be a proxy's own.
    thread_id: int | None = None
    # `hosts.PRIMARY` or `hosts.STANDBY`, where that was asked as it was opened and told.
    role: str | None = None
    # What the server calls itself, if its greeting is not its own.
    told_version: str | None = None
    # What the server knows this session by, if it has told.
    thread: Thread | None = None
    # Where it was opened, if somebody's code did.
    opened_at: Place | None = None
    # The DB-API connection that stands for it, while somebody has that, and what is set of it.
    view: weakref.ref[Any] | None = None
    view_attributes: dict[str, Any] | None = None
    # The task that has borrowed it the last time, of those who have given it back.
    former: weakref.ref[asyncio.Task[Any]] | None = None
    # How many savepoints there have been, whose names tell them apart.
    savepoints = 0
    # How often statements were text that might have been prepared, by reasons, for who counts.
    sent_as_text: Counter[str]
    # Those of SQLAlchemy's own, by name, that have ended with one of ours around them.
    cut_off: frozenset[str] = frozenset()
    # Whether autocommit is switched off until the end of a block, for a pipeline in it.
    suspended: bool = False
    # What its server has set of the clusters that it may be in, by variables, once it was asked.
    clusters: dict[bytes, bytes] | None = None
    # What is called once a transaction is over, by whom it belongs to: for those who share it.
    sharers: tuple[Callable[[], object], ...] = ()

    def __init__(
        self,
        options: ConnectOptions,
        loop: asyncio.AbstractEventLoop,
        hosts: Hosts,
        want: str | None = None,
    ) -> None:
        # What opens sessions comes with the first of them, here and elsewhere: 3 ms of an import.
        from .login import Login

        super().__init__(options, loop)
        # Where it may be opened, and what is wanted of the server there, see `hosts`.
        self.hosts = hosts
        self.want: str = want or hosts.target
        self.login: Login = Login(options, loop, hosts.addresses[0])
        self.sent_as_text = Counter()
        # Whether the server's warnings are asked for, and issued as Python's.
        self.warnings: bool = options.warnings
        level = check_level(options.isolation_level, autocommit=True)
        autocommit = options.autocommit
        if level == AUTOCOMMIT:
            autocommit, level = True, None
        # What is set of the session's transactions, whenever it begins.
        self.characteristics: str | None = characteristics(
            level, options.read_only or None, "SESSION "
        )
        charset = options.charset or DEFAULT_CHARSET
        self.first: First = First(charset, options.collation, options.db, autocommit)
        self.charset: str = charset
        self.db, self.autocommit_mode = options.db, autocommit
        # What the user wants of literals, see `codes`.
        self.mode: int = AWARE_DATETIMES[options.aware_datetimes]
        if options.encoders:
            self.mode = Mode(self.mode, Encoders(options.encoders))
        # Of a session that is not opened yet: nothing comes in.
        self.protocol: Protocol = self._new_protocol(0, 0)

    def take_over(self, login: Login) -> Protocol:
        """Go on with the transport of a login, which the server has welcomed."""
        self.renumbered = False
        self.told_version = None
        protocol = self._new_protocol(login.flags, login.status, self.is_mariadb)
        self.leading = None
        self.forget_left()
        self.suspended = False
        if self.in_block:  # which is not carried on in another session
            protocol.ended = WITH_ITS_SESSION
        self.writer = login.writer
        self.thread_id = self.greeting.thread_id
        self.connected_at = self.loop.time()
        protocol.begin_login()
        protocol.reads_only = self.options.read_only
        protocol.attach(login.writer.transport)
        threshold = self.options.prepare_threshold
        if threshold is not None:
            most = self.options.prepared_max
            protocol.statements = Statements(threshold, most, self.sent_as_text)
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
        from .greeting import DEPRECATE_EOF

        encoding, most = python_encoding(self.charset), self.options.max_packet
        eof = bool(flags & DEPRECATE_EOF)
        return Protocol(self.loop, eof, status, encoding, most, self.mode, mariadb)

    # -- state -----------------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """Where its server is; before it is opened, where that is tried."""
        return self.login.address

    @property
    def node(self) -> Hashable:
        """What tells its server from others, as far as this side knows."""
        return self.login.address, self.login.peer

    @property
    def echo(self) -> bool | str:
        """Whether statements are logged; `"values"`: with their values."""
        return False if self.observer is None else self.observer.echo

    @echo.setter
    def echo(self, value: bool | str) -> None:
        self.observer = (self.observer or LOG).with_echo(value)
        if not self.observer.tells:
            self.observer = None

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
    def no_backslash_escapes(self) -> bool:
        """Whether a backslash stands for itself in a string literal (an SQL mode)."""
        return self.syntax[1] & NO_BACKSLASH_ESCAPES != 0

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

    @property
    def last_gtid(self) -> str | None:
        """What the server calls the latest transaction that it has committed, if it has told."""
        return self.protocol.last_gtid

    def forget_gtid(self) -> None:
        """Have nothing been committed yet: what was is not the next borrower's."""
        self.protocol.last_gtid = None

    def note_write(self) -> None:
        """Have the transaction in progress, if one is, be one in which rows were written."""
        if self.in_transaction:
            self.protocol.wrote = True

    @property
    def as_begun(self) -> bool:
        """Whether nothing is set of the session but what was when it was kept."""
        protocol = self.protocol
        if protocol.untold or protocol.changes:
            return False
        return protocol.status & _AUTOCOMMIT == self.kept.status

    def watch(self) -> None:
        """Begin to see whether the transaction goes on that BEGIN has just begun."""
        self.forget_left()
        self.protocol.watch()

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
    def greeting(self) -> Greeting:
        """What the server says of itself at a login."""
        greeting = self.login.greeting
        if greeting is None:
            raise self.not_connected()
        return greeting

    @property
    def server_version(self) -> str:
        """What the server calls itself."""
        return self.told_version or self.greeting.version

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB."""
        return "MariaDB" in self.server_version

    @property
    def takes_bulk(self) -> bool:
        """Whether the server takes many executions of a statement in one command.

        Not where it could not be ended as text can, which a server shows as it is; nor where
        nothing is to be prepared.
        """
        from .greeting import BULK

        if self.options.prepare_threshold is None:
            return False
        renumbered = self.thread is not None and self.thread.renumbered
        return self.login.extended & BULK != 0 and not renumbered

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

    def literal(self, obj: object) -> str:
        """Return *obj* as a SQL literal."""
        encoding, mode = self.syntax
        literal: bytes = escape(obj, encoding, self.sure_mode(mode | HEX_BYTES))
        return self.sure(literal).decode(encoding)

    def sure_mode(self, mode: int) -> int:
        """Return the mode to write values in where nobody waits for the server."""
        return mode | NO_BACKSLASH_ESCAPES if self.protocol.unsure else mode

    def sure(self, written: bytes, around: bytes = b"") -> bytes:
        """Return what was written in a `sure_mode()`, the text *around* values included.

        Raises `InvalidRequestError` if it depends on an SQL mode or a charset that is not known.
        """
        protocol = self.protocol
        if (protocol.unsure and written.count(b"\\") > around.count(b"\\")) or (
            protocol.untold == UNTOLD_SYNTAX and not written.isascii()
        ):
            raise InvalidRequestError(
                "how the server reads text is not known behind a statement that may have changed"
                " the SQL mode or the character set for itself alone: execute another one first"
            )
        return written

    def encode(self, sql: str) -> bytes:
        """Encode *sql* strictly in the connection's character set."""
        return encode_sql(sql, self.encoding)

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
            ready = READY.get((sql, always))
            if ready is not None:
                if self.observer is None:
                    return ready
                told = self.observer.observe(self, sql, operation=sql.partition(" ")[0])
                return type(ready)(ready.packet, observed=told, always=always)
        if isinstance(sql, bytes):
            packet = render((sql,), (), self.encoding, 0)
        elif not isinstance(sql, str):
            raise ArgumentError(f"expected a statement as str or bytes, got {brief(sql)}")
        else:
            packet = self.rendered(sql)
        observed = None if self.observer is None else self.observer.observe(self, sql)
        if effect is None and not always:
            return Command(packet, observed=observed)
        return Duty(packet, observed=observed, always=always, effect=effect)

    def rendered(self, sql: str) -> bytes:
        """Return the packet of *sql*."""
        packet: bytes = render((self.encode(sql),), (), self.encoding, 0)
        return packet

    async def begin(self, fate: Fate | None = None) -> None:
        """Begin a transaction; within a block this commits the block's, which is over then.

        *fate* is for an error of what commits rows that were written before.
        """
        if self.is_unsettled():
            await self.ready()
        command = self.text("BEGIN", effect=Begin())
        command.fate = fate if self.wrote else None
        await self.run(command)
        self.forget_left()

    async def autocommit(
        self, value: bool, *, always: bool = False, fate: Fate | None = None
    ) -> None:
        """Switch the server's autocommit mode on or off, if it is not so; *fate* as for BEGIN."""
        self.autocommit_mode = bool(value)
        if self.autocommit_mode == self.autocommits:
            return
        if self.busy if always else self.is_unsettled():
            await self.ready()
        command = self.text(f"SET AUTOCOMMIT = {int(self.autocommit_mode)}", always=always)
        command.fate = fate if self.wrote and self.autocommit_mode else None
        await self.run(command)

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

    async def prove(self) -> None:
        """Check that the server does work, which a node that has lost its cluster refuses.

        It answers a ping, and most questions. With several hosts, or a target, check also that the
        server still is as it is wanted, if it tells.
        """
        if self.closed:
            raise err.Error("Already closed")
        if self.role is None:
            await self.run(READY["ROLLBACK", True])
            return
        from .greeting import ROLE, is_read_only
        from .hosts import PRIMARY, STANDBY, misfit

        (told,) = await self.ask(ROLE, describe_bytes)
        read_only = is_read_only(told.decode())
        self.role = None if read_only is None else STANDBY if read_only else PRIMARY
        why_not = misfit(self.want, self.role)
        if why_not is not None:
            reason = Refusal(ER.OPTION_PREVENTS_STATEMENT, None, f"{self.address}: {why_not}")
            self.protocol.retire(reason)
            raise reason.error()

    async def keep(self) -> None:
        """Have `put_back()` go back to the session as it is."""
        await kept.keep(self)
        self.forget_gtid()

    def accept(self) -> None:
        """Have `put_back()` go back from the session as it is: the rest is set again by itself."""
        kept.accept(self)
        self.forget_gtid()

    async def put_back(self) -> bool:
        """Undo what has been set of the session since it was kept; false if that cannot be."""
        return await kept.put_back(self)

    async def identify(self) -> int | None:
        """Learn which server this is; return its number of this session, if it tells that."""
        from .greeting import number_of

        # Bytes: a charset or converters of one connection's own tell nothing of the server.
        number, *identity = await self.ask(_IDENTITY, describe_bytes)
        self.identity = tuple(identity)
        return number_of(number)

    # -- ending ---------------------------------------------------------------------------------

    def start_over(self) -> None:
        """Be as before anything was opened: the next server may be another one."""
        first = self.first
        self.charset, self.db, self.autocommit_mode = first.charset, first.db, first.autocommit
        self.identity = None
        self.thread_id = self.thread = self.role = self.clusters = None

    def close(self, reason: str | None = None) -> None:
        """Take leave of the server and close the socket, without waiting.

        *reason* is told to whoever uses the connection afterwards, and what to do. In another
        thread than its event loop's, that loop is told to do it.
        """
        if self.loop.is_running() and asyncio._get_running_loop() is not self.loop:
            self.loop.call_soon_threadsafe(self.close, reason)
            return
        self.login.give_up()
        writer, protocol = self.writer, self.protocol
        self.writer = None
        if writer is None:
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

    async def ensure_closed(self) -> None:
        """Take leave of the server, close the socket and wait until it is closed.

        In another event loop than its own nothing is waited for: what there is to come about would
        do so in that one.
        """
        protocol = self.protocol
        self.close()
        if asyncio.get_running_loop() is not self.loop:
            return
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

    def on_unfit(self, call: Callable[[], object]) -> None:
        """Have *call* called when an answer says that the connection is not to be lent again."""
        self.protocol.on_unfit = call

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
        writer = getattr(self, "writer", None)  # it has none if it was not made
        if writer is None or self.closed:
            return
        if not self.loop.is_closed():
            # The writer, kept alive until then, would warn too.
            self.loop.call_soon_threadsafe(lambda: writer.transport.abort())
        database = f", database {self.db!r}" if self.db else ""
        unclosed = f"Unclosed connection {self.address.place}, user {self.login.user!r}{database}"
        # Last: it may be an error.
        if self.opened_at is not None:
            where = shown(self.opened_at)
            warn_at(self.opened_at, f"{unclosed}, opened at {where}", self)
            return
        warnings.warn(unclosed, ResourceWarning, source=self, stacklevel=1)
