"""The DB-API connection: a login, and then our protocol.

`Connection` takes the transport over once the server has welcomed it: from there on a command is
one write, and its answer one future.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR
from pymysql.converters import decoders as default_decoders
from pymysql.converters import through

from .cursor import Cursor
from .cursorclass import is_cursor_class, no_cursor_class
from .exc import ArgumentError, InvalidRequestError, is_disconnect
from .runtime.awaitable import AwaitableContext, CallbackContext
from .runtime.fork import keep_in_process
from .runtime.log import Logged
from .runtime.place import Place
from .runtime.printable import brief
from .settings import PoolOptions
from .wire import state as session
from .wire._impl import KNOWN, escape, frame, render
from .wire.channel import DRAIN_SECONDS, PING, Channel, command
from .wire.charset import DEFAULT_CHARSET, check_charset, current_name, python_encoding
from .wire.checks import AWARE_DATETIMES
from .wire.codes import BYTES, HEX_BYTES, TEXT
from .wire.columns import MOST_REMEMBERED, Columns, Describe, parse_columns
from .wire.encoders import Encoders, Mode
from .wire.ending import WITH_A_BEGIN, WITH_ITS_SESSION
from .wire.greeting import DEPRECATE_EOF, EXPIRED, SESSION_TRACK
from .wire.isolation import AUTOCOMMIT, characteristics, check_level
from .wire.learned import (
    BACKSLASHES,
    MOST_ASSUMED,
    Learned,
    is_not_understood,
    learned_from,
    question,
)
from .wire.option import Signature
from .wire.options import CONNECT, ConnectOptions, quoted_mode, settled
from .wire.protocol import Protocol
from .wire.refusal import MUST_CHANGE_PASSWORD, Refusal, concealed
from .wire.tls import TLS
from .wire.tracking import SCHEMA

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Self, Unpack

    from .argument_types import ConnectArguments

_CONNECT = "connection = await connect(…), or async with connect(…) as connection"
_CURSOR = "cursor = await connection.cursor(), or async with connection.cursor() as cursor"

_COM_RESET_CONNECTION = 0x1F
_MOST_ATTRIBUTES = (1 << 16) - 1  # bytes, that a server takes

# What a connection that ends another one's statement has of it: how to log in, and nothing that the
# server might refuse, as a database that has been dropped.
_LOGIN_ARGUMENTS = {
    *("ssl", "auth_plugin", "server_public_key", "get_server_public_key", "program_name"),
    *("tcp_keepalive", "loop", "echo"),
}
_LOGIN_ATTRIBUTES = ("_host", "_port", "_unix_socket", "_user", "_password", "_password_source")


class _Session(NamedTuple):
    """What `reset()` goes back to."""

    charset: str
    collation: str  # empty: the server's default for the charset
    db: str | None
    autocommit: bool | None


class Connection(Channel):
    """A connection to a MySQL or MariaDB server.

    Made by `connect()`. One statement at a time: a second one started before the first has been
    answered raises `InvalidRequestError`. A statement that is cancelled leaves the connection in
    order; what the server still sends for it is read and thrown away.
    """

    __signature__ = Signature(ConnectOptions)

    def __init__(self, *args: Any, **kwargs: Unpack[ConnectArguments]) -> None:
        self._begin(settled(_given(args, kwargs)))

    @classmethod
    def _of(cls, options: ConnectOptions) -> Self:
        """Return a connection with these options, which are checked already."""
        connection = cls.__new__(cls)
        connection._begin(options)
        return connection

    def _begin(self, options: ConnectOptions) -> None:
        cursorclass = options.cursorclass or Cursor
        if not is_cursor_class(cursorclass):
            raise ArgumentError(
                "argument 'cursorclass' takes a subclass of aiomysqlx.Cursor, got"
                f" {no_cursor_class(cursorclass)}"
            )
        password, client_flag = options.password, options.client_flag
        multi_statements = client_flag & CLIENT.MULTI_STATEMENTS
        super().__init__(
            host=options.host,
            user=options.user,
            password=None if callable(password) else password,
            db=options.db,
            port=options.port,
            unix_socket=options.unix_socket,
            charset=options.charset,
            sql_mode=quoted_mode(options.sql_mode),
            conv=default_decoders if options.conv is None else options.conv,
            use_unicode=options.use_unicode,
            client_flag=client_flag | CLIENT.FOUND_ROWS,
            cursorclass=cursorclass,
            init_command=options.init_command,
            connect_timeout=None,
            autocommit=options.autocommit,
            echo=options.echo,
            local_infile=bool(options.local_infile),
            loop=options.loop or asyncio.get_running_loop(),
            auth_plugin=options.auth_plugin,
            program_name=options.program_name,
            server_public_key=options.server_public_key,
        )
        self.echo = options.echo
        assert options.ssl is None or isinstance(options.ssl, TLS)
        self._tls = options.ssl
        self._password_source = password if callable(password) else None
        self._local_infile = options.local_infile
        level = check_level(options.isolation_level, autocommit=True)
        if level == AUTOCOMMIT:
            self.autocommit_mode, level = True, None
        # What is set of the session's transactions, at every login.
        self._characteristics = characteristics(level, options.read_only or None, "SESSION ")
        self._reads_only = options.read_only
        self._connect_timeout = options.connect_timeout
        self._tcp_keepalive = options.tcp_keepalive
        self._collation = options.collation
        self._first = _Session(self._charset, self._collation, self._db, self.autocommit_mode)
        if options.kill_on_cancel:
            self._side_arguments = {
                **{name: getattr(options, name) for name in _LOGIN_ARGUMENTS},
                "connect_timeout": DRAIN_SECONDS,
                "autocommit": None,
            }
        attributes = sum(6 + len(k) + len(v.encode()) for k, v in self._connect_attrs.items())
        if attributes > _MOST_ATTRIBUTES:
            raise ArgumentError(
                "argument 'program_name' is too long: the attributes of a connection have"
                f" {_MOST_ATTRIBUTES} bytes at most, got {attributes}"
            )
        if not multi_statements:
            self.client_flag &= ~CLIENT.MULTI_STATEMENTS
        self._wanted_flags = self.client_flag | SESSION_TRACK | DEPRECATE_EOF
        self._encoding = python_encoding(self._charset)
        self._may_ask_for_key = options.get_server_public_key
        self.warnings = options.warnings
        self._max_packet = options.max_packet
        self._mode: int = AWARE_DATETIMES[options.aware_datetimes]
        if options.encoders:
            self._mode = Mode(self._mode, Encoders(options.encoders, KNOWN))
        self._describe = self._choose_describe()
        # What each statement asks for: an instance's own attributes are read faster.
        self.barred = self._killing = None

    # -- opening ---------------------------------------------------------------------------------

    async def _take_over(self) -> None:
        deprecate_eof = bool(self.client_flag & DEPRECATE_EOF)
        protocol = Protocol(
            self._loop,
            deprecate_eof,
            self._status,
            self._encoding,
            self._max_packet,
            self._mode,
            mariadb="MariaDB" in self.server_version,
        )
        if self._in_block:  # which is not carried on in another session
            protocol.ended = WITH_ITS_SESSION
        reader, transport = self._reader, self._writer.transport
        protocol.begin_login()
        protocol.reads_only = self._reads_only
        protocol.attach(transport)
        self._protocol = protocol
        keep_in_process(self)
        if reader._buffer:
            protocol.reader.feed(bytes(reader._buffer))
            protocol.buffer_updated(0)
        if reader._eof_received or transport.is_closing():
            protocol.eof_received()  # which went to the protocol before
        try:
            await self._begin_session()
        except err.MySQLError as error:
            if error.args[:1] != (MUST_CHANGE_PASSWORD,) or not self.client_flag & EXPIRED:
                raise
            self._begin_sandbox(error)

    async def _begin_session(self) -> None:
        """Make the session what it is asked for to be; others are barred, if there are some."""
        always = partial(self.query, always=True)
        if self._db and not self.client_flag & CLIENT.CONNECT_WITH_DB:  # of which it does not know
            await self._use(self._db, True)
        if self.sql_mode is not None:  # before the question that tells what it makes of backslashes
            await always(f"SET sql_mode={self.sql_mode}")
        await self._learn_session()
        assert self._protocol is not None
        if self.init_command is not None:
            self._protocol.end_login()  # what it is answered is the user's
            await always(self.init_command)
            await always("COMMIT")
        if self.autocommit_mode not in (None, self.get_autocommit()):
            await self._send_autocommit_mode(True)
        await self._ask_backslashes()
        self._protocol.end_login()

    def _begin_sandbox(self, error: err.MySQLError) -> None:
        """Take a session that only changes the user's password: nothing is set of it.

        Nor is it ever lent.
        """
        assert self._protocol is not None
        self._protocol.end_login()
        self._protocol.unfit = Refusal(error.args[0], None, error.args[1])
        self._max_allowed_packet = MOST_ASSUMED
        session.begin(self)

    async def _learn_session(self) -> None:
        """Learn what the session takes, and set charset and collation right where they are not.

        A server may choose others than it was told. Escaping for one charset is an injection in
        another.
        """
        learned = await self._ask_session()
        self._max_allowed_packet = learned.limit or MOST_ASSUMED
        charset = current_name(self._charset)
        collation = current_name(self._collation) if self._collation else learned.default
        if learned.charset is None:
            await self._insist_on_charset()
        elif learned.charset != charset or collation not in (None, learned.collation):
            await self._set_names(self._charset, self._collation, True)
        session.begin(self, learned.time_zone)
        self._learn_backslashes(learned.backslashes)
        if learned.thread_id is not None:
            self.server_thread_id = (learned.thread_id,)
        if self._side_arguments is not None:
            await self._learn_thread(learned.thread_id)

    async def _learn_thread(self, number: int | None) -> None:
        """Learn what it takes to end a statement of this session, where the server tells."""
        from .wire.kill import Thread  # which few have use for: 0.4 ms of an import

        socket_name = self._writer.transport.get_extra_info("sockname")
        if number is not None:
            self._thread = Thread.of(number, self._greeting.thread_id, socket_name)
        try:
            await self.identify()
        except err.MySQLError as error:
            if not self._is_of_the_question(error):
                raise

    async def _ask_session(self) -> Learned:
        """Ask what the session takes; not every server understands the question."""
        try:
            asked = question(self._charset)
            if self._characteristics is None:
                answer = await self.send(asked, _describe, always=True)
            else:
                setting = self.rendered(self._characteristics)
                answer = await self.send_behind(setting, asked, _describe, always=True)
            rows = answer[0].rows
        except err.MySQLError as error:
            if not self._is_of_the_question(error):
                raise
            if self._characteristics is not None:
                # raises the error if it was of this
                await self.query(self._characteristics, always=True)
            rows = []
        return learned_from(rows)

    async def _insist_on_charset(self) -> None:
        """Set the charset of a session that does not tell which it has.

        A server that has no SET NAMES is taken to read UTF-8, which is what it is sent: no byte of
        another character is that of a quote there.
        """
        try:
            await self._set_names(self._charset, self._collation, True)
        except err.MySQLError as error:
            as_sent = self._charset == DEFAULT_CHARSET and not self._collation
            if not as_sent or not self._is_of_the_question(error):
                raise

    def _is_of_the_question(self, error: err.MySQLError) -> bool:
        """Whether the server does not understand what it was asked, and goes on."""
        ended = self.closed or self.unfit is not None or is_disconnect(error)
        return not ended and is_not_understood(error.args[0])

    def _learn_backslashes(self, count: str | None) -> None:
        """Take how many characters two backslashes are: a proxy may not show the server's flag."""
        assert self._protocol is not None
        self._protocol.assume_no_escapes(count == "2")

    async def _ask_backslashes(self) -> None:
        """Learn what `init_command` may have made of backslashes, where no flag shows it."""
        assert self._protocol is not None
        text = (self.init_command or "").lower()
        assumed = self._protocol.assumes_no_escapes
        if text and (assumed or ("backslash" in text and not self.no_backslash_escapes)):
            (count,) = await self.ask(BACKSLASHES, _describe)
            self._learn_backslashes(str(count))

    def beside(self) -> Connection:
        assert self._side_arguments is not None
        side = type(self)(**self._side_arguments)
        for name in _LOGIN_ATTRIBUTES:  # of which an option file may have told
            setattr(side, name, getattr(self, name))
        return side

    # -- commands --------------------------------------------------------------------------------

    async def query(
        self, sql: str | bytes, unbuffered: bool = False, *, always: bool = False
    ) -> int:
        """Execute *sql* as it stands and give the number of affected rows.

        *always* is for what ends a transaction or looks after the session: nothing bars it.
        """
        if unbuffered:
            raise err.NotSupportedError(
                "results are read whole: unbuffered is not supported, leave it out"
            )
        if self.busy if always else self.is_unsettled():
            await self.ready()
        if isinstance(sql, bytes):
            packet = render((sql,), (), self.encoding, 0)
        elif not isinstance(sql, str):
            raise ArgumentError(f"expected a statement as str or bytes, got {brief(sql)}")
        else:
            packet = _RENDERED.get(sql) or render((self.encode(sql),), (), self.encoding, 0)
        if sql is self.init_command:
            return await self._send_init_command(packet, always)
        if self.echo:
            with Logged(True, sql):
                return (await self.send(packet, always=always))[0].affected_rows
        reply = self.start(packet, None, None, None, always)
        return (await self.finish(reply))[0].affected_rows

    async def _send_init_command(self, packet: bytes, always: bool) -> int:
        """Execute init_command, which may set a password or a key, and show nothing of it."""
        with Logged(self.echo, "(init_command)"):
            try:
                return (await self.send(packet, always=always))[0].affected_rows
            except err.MySQLError as error:
                if getattr(error, "sqlstate", None) is None and 2000 <= error.args[0] < 3000:
                    raise  # it is not the server's
                from .wire import hints  # as late as the channel does

                several = self.client_flag & CLIENT.MULTI_STATEMENTS != 0
                hint = hints.of_syntax(self.init_command or "", error.args[1], several)
                refused = concealed(error, hint)
        # Not from within: the server's error has the text around a mistake.
        try:
            raise refused
        finally:
            refused.__context__ = None  # which Python 3.10 has set to it nonetheless

    def rendered(self, sql: str) -> bytes:
        """Return the packet of *sql*."""
        packet: bytes = render((self.encode(sql),), (), self.encoding, 0)
        return packet

    def begin_or_end(self, sql: str, *, always: bool = False) -> Coroutine[Any, Any, object]:
        """Execute what begins or ends a transaction, on a connection that is not busy."""
        packet = _RENDERED.get(sql)
        if packet is None or self.echo:
            return self.query(sql, always=always)
        return self.finish(self.start(packet, None, None, None, always))

    async def begin(self) -> None:
        """Begin a transaction; within a block this commits the block's, which is over then."""
        in_block = self._in_block
        await self.query("BEGIN")
        if in_block:
            self.end_with(WITH_A_BEGIN)

    async def commit(self) -> None:
        """Commit the current transaction."""
        await self.query("COMMIT")

    async def rollback(self) -> None:
        """Roll the current transaction back."""
        await self.query("ROLLBACK")

    async def _send_autocommit_mode(self, always: bool = False) -> None:
        mode = int(bool(self.autocommit_mode))
        await self.query(f"SET AUTOCOMMIT = {mode}", always=always)

    @property
    def schema(self) -> str:
        """The current database, as far as the server tells; empty if there is none."""
        assert self._protocol is not None
        name: bytes = self._protocol.changes.get(SCHEMA, self.session.values[SCHEMA])
        return name.decode(self.encoding)

    async def select_db(self, db: str) -> None:
        """Make *db* the current database."""
        if not isinstance(db, str):
            raise ArgumentError(f"expected the name of a database as str, got {brief(db)}")
        await self._use(db)

    async def _use(self, db: str, always: bool = False) -> None:
        packet = frame(bytes((COMMAND.COM_INIT_DB,)) + self.encode(db))
        if self.busy if always else self.is_unsettled():
            await self.ready()
        reply = self.start(packet, None, None, None, always)
        try:
            await self.finish(reply)
        except (asyncio.CancelledError, GeneratorExit):
            if self._protocol is not None:  # it is executed, and not every server tells
                self._protocol.changes.setdefault(SCHEMA, db.encode())
            raise
        self._db = db
        if self._protocol is not None:  # not every server tells
            self._protocol.changes[SCHEMA] = db.encode()

    async def kill(self, thread_id: int) -> None:
        """End the server's thread *thread_id*, a connection."""
        await self.query(f"KILL {thread_id:d}")

    async def ping(self, reconnect: bool = True) -> None:
        """Check that the server answers; with *reconnect*, connect anew if it does not.

        A connection that is lost is replaced if that loses nothing: if nothing was executed since
        it was made or `reset()`, or after `close()`. From any other the loss is raised, since a
        transaction, locks, temporary tables or variables may have gone with it; it is closed then,
        and the next ping connects anew. One that belongs to an engine is never replaced: others
        have its place once it is given back.
        """
        if self.closed and not reconnect:
            raise err.Error("Already closed")
        if self._writer is not None or self.pooled:
            try:
                await self.send(PING, always=True)
            except (err.MySQLError, OSError) as error:
                if not reconnect or not self.closed:
                    raise
                if self.pooled or not self._pristine:
                    raise self._not_replaced(error) from error
            else:
                return
        await self._connect_anew()

    def _not_replaced(self, error: BaseException) -> err.OperationalError:
        """Return what to raise for the loss of the connection, and close it."""
        if self.pooled:
            why = "it belongs to an engine: release it and acquire another"
        elif self.in_transaction:
            why = "its transaction is lost: ping again to connect"
        else:
            why = (
                "its session may have held variables, temporary tables or locks:"
                " ping again to connect"
            )
        self.close(f"it was lost: {self.remedy}")
        code = error.args[0] if len(error.args) == 2 else CR.CR_SERVER_LOST
        return err.OperationalError(code, f"{error.args[-1]}; not connected anew, as {why}")

    async def _connect_anew(self) -> None:
        """Connect as at first, whatever the session was set to since."""
        if self.barred is _connecting:
            raise _connecting()
        self.close(f"it could not be connected anew: {self.remedy}")
        self._charset, _, self._db, self.autocommit_mode = self._first
        self._encoding = python_encoding(self._charset)
        barred, self.barred = self.barred, _connecting
        try:
            await self._connect()
        finally:
            if self.barred is _connecting:  # else there is another reason by now
                self.barred = barred

    @property
    def _in_block(self) -> bool:
        """Whether there is a block, though its transaction may have ended."""
        protocol = self._protocol
        return protocol is not None and (protocol.watched is not None or protocol.ended is not None)

    async def _connect(self) -> None:
        await super()._connect()
        self._pristine = True

    async def set_charset(self, charset: str) -> None:
        """Make *charset* the connection's character set (SET NAMES), with its default collation.

        The charset that the connection was made with keeps the `collation` that it was given.

        A SET NAMES that is executed is followed where the server tells of it: MySQL 5.7 and
        MariaDB 10.2 do, unless `session_track_system_variables` or a proxy keeps them from it.
        MariaDB does not tell of `SET @@character_set_client`, without `SESSION.`.
        """
        if not charset:
            raise ArgumentError("argument 'charset' is empty")
        first = current_name(charset) == current_name(self._first.charset)
        await self._set_names(charset, self._first.collation if first else "")

    async def _set_names(self, charset: str, collation: str = "", always: bool = False) -> None:
        encoding = python_encoding(check_charset(charset))
        collate = f" COLLATE {collation}" if collation else ""
        lease = self.lease
        if self._protocol is not None:  # before it is given back meanwhile: not every server tells
            self._protocol.changes[b"character_set_client"] = charset.encode()
        try:
            await self.query(f"SET NAMES {charset}{collate}", always=always)
        except (asyncio.CancelledError, GeneratorExit):
            # Nobody knows which character set the server reads now; or others have it since.
            if lease == self.lease:
                self.close(f"a change of its character set was cut off: {self.remedy}")
            raise
        self._charset = charset
        self._encoding = encoding
        if self._protocol is not None:
            self._protocol.set_encoding(encoding)
        self._describe = self._choose_describe()

    async def reset(self) -> None:
        """Give the session the state of a new one: `COM_RESET_CONNECTION`, then its set-up.

        An open transaction is rolled back; temporary tables, user variables, locks and whatever
        was `SET` are gone. The role stays, and so does the current database unless one was given.
        """
        lease = self.lease
        if self.busy:
            await self.ready()
        self.check_free()
        self.check_bar()
        try:
            await self.send(_RESET)
            self.check_lease(lease)
            session.forget(self)
            for step in self._set_up():
                await step()
                self.check_lease(lease)
        except BaseException:
            if lease == self.lease:
                # Half of it is done, at most.
                self.close(f"a reset of its session failed or was cut off: {self.remedy}")
            raise
        assert self._protocol is not None
        # A database that was chosen meanwhile stays.
        self._pristine = bool(self._first.db) or not self._protocol.changes.get(SCHEMA)

    def _set_up(self) -> Iterator[Callable[[], Coroutine[Any, Any, Any]]]:
        """Give what makes a session that was reset as it was when the connection was made."""
        first, always = self._first, partial(self.query, always=True)
        yield partial(self._set_names, first.charset, first.collation, True)
        if first.db:
            yield partial(self._use, first.db, True)
        if self.sql_mode is not None:
            yield partial(always, f"SET sql_mode={self.sql_mode}")
        if self._characteristics is not None:
            yield partial(always, self._characteristics)
        if self.init_command is not None:
            yield self._initialize
            yield partial(always, "COMMIT")
        if first.autocommit is not None:
            self.autocommit_mode = first.autocommit
            if self.get_autocommit() != first.autocommit:
                yield partial(self._send_autocommit_mode, True)

    async def _initialize(self) -> None:
        """Execute init_command anew."""
        try:
            await self.query(self.init_command or "", always=True)
        except Exception as error:
            # Without the frames that have its text.
            raise error.with_traceback(None)  # noqa: B904 - it is the same

    async def keep_session(self) -> None:
        """Have `put_back()` go back to the session as it is."""
        await session.keep(self)

    def accept_session(self) -> None:
        """Have `put_back()` go back from the session as it is: the rest is set again by itself."""
        session.accept(self)

    async def put_back(self) -> bool:
        """Undo what has been set of the session since it was kept; false if that cannot be."""
        return await session.put_back(self)

    async def lasting(self) -> tuple[Any, ...]:
        """Give what `reset()` leaves as it is: the current database and the role."""
        return await self.ask(_LASTING)

    async def show_warnings(self) -> list[tuple[Any, ...]]:
        """Give the latest statement's warnings: (level, code, message)."""
        counts = self._counts
        try:
            return (await self.send(_SHOW_WARNINGS, always=True))[0].rows
        finally:
            self._counts = counts

    # -- text ------------------------------------------------------------------------------------

    def escape(self, obj: object) -> str:
        """Give *obj* as a SQL literal."""
        encoding, mode = self.syntax
        literal: bytes = escape(obj, encoding, mode | HEX_BYTES)
        return literal.decode(encoding)

    def escape_string(self, s: str) -> str:
        """Give the inside of the SQL literal for *s*."""
        return self.escape(s)[1:-1]

    def _choose_describe(self) -> Describe:
        if self.decoders is default_decoders and self.use_unicode:
            return _describe
        # Not a closure over the connection, which would then live until the collector comes by.
        return partial(_describe_custom, converters=self.decoders, use_unicode=self.use_unicode)

    # -- cursors ---------------------------------------------------------------------------------

    def cursor(self, *cursors: type[Cursor]) -> AwaitableContext[Cursor]:
        """Make a cursor, of class `Cursor` or the one given."""
        if self._writer is None:
            self._ensure_alive()
        for cursor_class in cursors:
            if not is_cursor_class(cursor_class):
                raise TypeError(
                    "Custom cursor must be subclass of Cursor (aiomysqlx.Cursor), got"
                    f" {no_cursor_class(cursor_class)}"
                )
        if len(cursors) > 1:
            raise TypeError(f"expected one class of a cursor, got {len(cursors)}")
        cursor_class = cursors[0] if cursors else self.cursorclass
        cursor = cursor_class(self, bool(self.echo))
        return CallbackContext(_ready(cursor), _close_cursor, _CURSOR)


def connect(*args: Any, **kwargs: Unpack[ConnectArguments]) -> AwaitableContext[Connection]:
    """Connect to a server: await it, or use it with `async with`.

    Takes what `aiomysql.connect()` takes: `host`, `user`, `password` (or a function that gives it,
    or an awaitable of it, called for every handshake), `db`, `port`, `unix_socket`, `charset`,
    `sql_mode`, `read_default_file`, `read_default_group`, `conv`, `use_unicode`, `client_flag`,
    `cursorclass`, `init_command`, `connect_timeout` (seconds, for the whole handshake; 10),
    `autocommit` (`None`: the server's default), `echo`, `loop`, `ssl`,
    `auth_plugin`, `program_name`, `server_public_key`. And these:

    TLS: `ssl` is `True` (what the system trusts is verified, and the host's name), a context, or a
    dictionary of the following without `ssl_`. `ssl_mode`: `"DISABLED"`, `"PREFERRED"` (the only
    one that goes on in clear text with a server that offers no TLS), `"REQUIRED"` (verifies the
    certificate if `ssl_ca` is given), `"VERIFY_CA"`, `"VERIFY_IDENTITY"` (the name, too).
    `ssl_ca`, `ssl_capath`, `ssl_cert`, `ssl_key`, `ssl_key_password`, `ssl_crl`, `ssl_crlpath`,
    `ssl_cipher`, `tls_version`, each of which asks for TLS by itself. `ssl_verify_cert`,
    `ssl_verify_identity`: `False` leaves that unverified. `ssl_strict`: `False` takes
    certificates that Python 3.13 refuses (VERIFY_X509_STRICT) and the servers' clients take.

    `client_flag`: flags that mean something to the server; not those that decide how packets look,
    which are refused. `CLIENT.HANDLE_EXPIRED_PASSWORDS` lets in with a password that has expired,
    to change it and then to connect anew.

    `server_public_key`: the PEM text of the public key under which `caching_sha2_password` and
    `sha256_password` send the password without TLS; if it is given, no other is used. Without it
    the server is asked for its key, which somebody between the two could replace, unless
    `get_server_public_key` is `False`.

    `read_default_file`: a file of options, read as the servers' clients read it, groups `[client]`
    and *read_default_group*. What is given as an argument wins over it.

    `local_infile`: which files LOAD DATA LOCAL INFILE may load: all (`True`), those in a folder or
    below, or those for whose name a function gives `True`, or an awaitable of it. In any case only
    a regular file is sent, and only that which the statement names.

    `isolation_level`: that of the session's transactions, by SQLAlchemy's names (`"READ COMMITTED"`
    and so on; `"AUTOCOMMIT"` is `autocommit=True`). `read_only`: whether they only read.

    `tcp_keepalive`: seconds of silence before a peer is probed, seconds between probes, number of
    probes. `kill_on_cancel`: end a statement that is cancelled, out of time or whose connection is
    closed on the server too, with a `KILL` from a connection beside. `max_packet`: the most bytes
    that one row, or the column definitions of one result, may have (1 GiB); a server that announces
    more gets the connection closed, with error 2020. `collation`: that of literals, casts and user
    variables, one of `charset`; by default the server's own default for `charset`.
    `aware_datetimes`: what becomes of a datetime or time whose offset from UTC is not zero: it is
    refused (`"refuse"`), converted to UTC (`"utc"`), or stored without its zone (`"drop"`).
    `encoders`: a dictionary of types to functions that make of a value one of a type that has a
    literal (`{numpy.datetime64: str}`); the nearest base of a value's type counts.
    `warnings`: whether the server's warnings are asked for and issued as Python's, of class
    `ServerWarning`; `False` saves a round trip for each statement that has some.

    Raises `ArgumentError` for a wrong argument, `pymysql.err.OperationalError` where the server
    cannot be reached or refuses.
    """
    frame = sys._getframe(1)
    place = frame.f_code, frame.f_lasti
    return CallbackContext(_connect(args, dict(kwargs), place), _close_connection, _CONNECT)


async def _connect(
    args: tuple[Any, ...], kwargs: dict[str, Any], place: Place | None = None
) -> Connection:
    try:
        connection = Connection(*args, **kwargs)
    except ArgumentError as error:
        raise error.with_traceback(None)  # noqa: B904 - it is the same
    finally:
        del args, kwargs  # no traceback is to show the password
    connection._opened_at = place
    await connection._connect()
    return connection


async def connect_with(options: ConnectOptions) -> Connection:
    """Return a connection with these options, open."""
    connection = Connection._of(options)
    await connection._connect()
    return connection


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by the options' names; raises `ArgumentError`."""
    if len(args) > len(CONNECT):
        raise ArgumentError(f"expected at most {len(CONNECT)} arguments, got {len(args)}")
    given = dict(zip(CONNECT, args, strict=False))
    named_ones = ConnectOptions.named(kwargs, PoolOptions)
    twice = given.keys() & named_ones.keys()
    if twice:
        raise ArgumentError(f"argument {min(twice)!r} is given twice")
    return {**given, **named_ones}


async def _close_connection(connection: Connection, error: BaseException | None) -> None:
    if error is not None:
        connection.close()
    else:
        await connection.ensure_closed()


async def _close_cursor(cursor: Cursor, error: BaseException | None) -> None:
    await cursor.close()


def _connecting() -> InvalidRequestError:
    return InvalidRequestError("the connection is being made anew by a ping(): await that first")


async def _ready(value: Any) -> Any:
    return value


def _describe(raw: bytes, encoding: str) -> Columns:
    parse = _parsed if len(raw) <= MOST_REMEMBERED else _parsed.__wrapped__
    return parse(raw, encoding)


@lru_cache(maxsize=256)
def _parsed(raw: bytes, encoding: str) -> Columns:
    definitions = parse_columns(raw, encoding)
    conversions = [column.conversion for column in definitions]
    return Columns(raw, definitions, conversions, [None] * len(definitions), encoding)


def _describe_custom(
    raw: bytes,
    encoding: str,
    converters: Mapping[int, Callable[[Any], Any]],
    use_unicode: bool,
) -> Columns:
    """Decode by the `conv` given by the user, who expects text or bytes as PyMySQL passes them."""
    definitions = parse_columns(raw, encoding)
    conversions: list[int] = []
    processors: list[Callable[[Any], Any] | None] = []
    for column in definitions:
        conversion = column.conversion
        converter = converters.get(column.type_code)
        if converter is not default_decoders.get(column.type_code):
            conversion = BYTES if conversion == BYTES else TEXT
        if conversion == TEXT and not use_unicode:
            conversion = BYTES
        own = conversion in (TEXT, BYTES) and converter not in (None, through)
        conversions.append(conversion)
        processors.append(_skip_null(converter) if own and converter is not None else None)
    return Columns(raw, definitions, conversions, processors, encoding)


def _skip_null(converter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else converter(value)


# What begins and ends transactions, the same in every charset of a client.
_RENDERED: dict[str, bytes] = {
    sql: command(COMMAND.COM_QUERY, sql.encode()) for sql in ("BEGIN", "COMMIT", "ROLLBACK")
}
_RESET = command(_COM_RESET_CONNECTION)
_SHOW_WARNINGS = command(COMMAND.COM_QUERY, b"SHOW WARNINGS")
# Each server, where it has roles, executes the comment meant for it.
_LASTING = command(
    COMMAND.COM_QUERY,
    b"SELECT DATABASE() /*!80000 , CURRENT_ROLE() */ /*M!100005 , CURRENT_ROLE() */",
)
