"""A session with a server: how it begins, and what is executed and set in it."""

from __future__ import annotations

import asyncio
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

from pymysql import err
from pymysql.constants import COMMAND, ER

from ..exc import (
    ArgumentError,
    InvalidRequestError,
)
from ..runtime.fork import keep_in_process
from ..runtime.words import brief
from . import kept
from ._impl import escape, render
from .charset import DEFAULT_CHARSET, check_charset, encode_sql, python_encoding
from .checks import AUTOCOMMIT, AWARE_DATETIMES, check_level
from .closing import Closing
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
from .encoders import Encoders, Mode
from .kept import First, characteristics
from .outcome import (
    UNTOLD_SYNTAX,
    WITH_ITS_SESSION,
    Refusal,
)
from .prepared import Statements
from .protocol import Protocol

if TYPE_CHECKING:
    from .command import Command
    from .hosts import Hosts
    from .kill import Thread
    from .login import Login
    from .options import ConnectOptions

T = TypeVar("T")
# MySQL alone executes the comment. The number is asked for anew: with a variable in the statement
# ProxySQL keeps the session to one of the server's from here on.
_IDENTITY = packet_of(
    COMMAND.COM_QUERY,
    b"SELECT CONNECTION_ID(), @@hostname, @@port, @@server_id /*!80000 , @@server_uuid */",
)


class Session(Closing):
    """What is going on with a server, over one protocol after the other if it is opened anew."""

    # A dialogue's, which are set anew here: checkers are not to infer others.
    connected_at: float | None
    identity: object
    leading: list[Command] | None
    thread: Thread | None
    told_version: str | None
    writer: Any
    # Tells which connections were opened together, to who lends them.
    generation = 0
    # The number that the server shows for it; a greeting's may be a proxy's own.
    thread_id: int | None = None
    # `hosts.PRIMARY` or `hosts.STANDBY`, where that was asked as it was opened and told.
    role: str | None = None
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

    def start_over(self) -> None:
        """Be as before anything was opened: the next server may be another one."""
        first = self.first
        self.charset, self.db, self.autocommit_mode = first.charset, first.db, first.autocommit
        self.identity = None
        self.thread_id = self.thread = self.role = self.clusters = None

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
