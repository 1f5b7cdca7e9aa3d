"""The DB-API connection: aiomysql's handshake, our protocol.

`Connection` takes the transport over once the server has welcomed it: from there on a command is
one write, and its answer one future.
"""

from __future__ import annotations

import asyncio
import ssl as ssl_module
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR, SERVER_STATUS
from pymysql.converters import decoders as default_decoders
from pymysql.converters import through

from ._awaitable import AwaitableContext, CallbackContext, in_time
from ._impl import escape, frame, render
from ._packet_py import BYTES, TEXT
from .arguments import (
    ARGUMENTS,
    MAX_PACKET,
    ConnectArguments,
    Password,
    check_arguments,
    check_charset,
    encode_sql,
    latin1_password,
    python_encoding,
    quoted_mode,
)
from .columns import MOST_REMEMBERED, Columns, Describe, Shape, parse_columns
from .cursor import BATCH_BYTES, Cursor, Logged, logger
from .exc import ArgumentError, InvalidRequestError, StatementTimeoutError
from .handshake import DEPRECATE_EOF, Handshake
from .process import keep_in_process
from .protocol import Protocol
from .reply import Reply, ResultSet

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Unpack

_CR_LOCAL_INFILE_REJECTED = 2068
_ER_FILE_NOT_FOUND = 1017
_ER_ERROR_ON_READ = 1024
_ER_QUERY_TIMEOUT = 3024
_COM_RESET_CONNECTION = 0x1F
_INFILE_CHUNK = 1 << 16
_MOST_ATTRIBUTES = 255
_NO_COUNTS = (0, 0, 0)
_NO_BACKSLASH_ESCAPES: int = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
_IN_PROGRESS = (
    "another statement is in progress on this connection: await it first,"
    " or use a connection for each task"
)

# How long the rest of a cancelled statement's answer is waited for before the connection is given
# up, and how long a polite close may take.
DRAIN_SECONDS = 2.0
CLOSE_SECONDS = 1.0


# Connections of a parent process: kept, so that nothing ends them.
_inherited: list[object] = []

# How a connection differs that is there to end another one's statement.
_SIDE_ARGUMENTS: dict[str, Any] = {
    "autocommit": None,
    "init_command": None,
    "sql_mode": None,
    "connect_timeout": DRAIN_SECONDS,
    "kill_on_cancel": False,
}


class LocalInfileRefusedError(err.OperationalError, RuntimeError):
    """The server asked for a local file, and `local_infile` is not set.

    aiomysql raises a `RuntimeError` here.
    """


class _Session(NamedTuple):
    """What `reset()` goes back to."""

    charset: str
    collation: str  # empty: the charset's default
    db: str | None
    autocommit: bool | None


class Connection(Handshake):
    """A connection to a MySQL or MariaDB server.

    Made by `connect()`. One statement at a time: a second one started before the first has been
    answered raises `InvalidRequestError`. A statement that is cancelled leaves the connection in
    order; what the server still sends for it is read and thrown away.
    """

    _protocol: Protocol | None = None

    def __init__(
        self,
        host: str = "localhost",
        user: str | None = None,
        password: Password = "",
        db: str | None = None,
        port: int = 3306,
        unix_socket: str | None = None,
        charset: str = "",
        sql_mode: str | None = None,
        read_default_file: str | None = None,
        conv: Mapping[int, Callable[[Any], Any]] | None = None,
        use_unicode: bool | None = None,
        client_flag: int = 0,
        cursorclass: type[Cursor] = Cursor,
        init_command: str | None = None,
        connect_timeout: float | None = 10,
        read_default_group: str | None = None,
        autocommit: bool | None = False,
        echo: bool | str = False,
        local_infile: bool = False,
        loop: asyncio.AbstractEventLoop | None = None,
        ssl: ssl_module.SSLContext | bool | None = None,
        auth_plugin: str = "",
        program_name: str = "",
        server_public_key: bytes | None = None,
        tcp_keepalive: tuple[int, int, int] | None = None,
        kill_on_cancel: bool = False,
        max_packet: int = MAX_PACKET,
    ) -> None:
        given = {name: value for name, value in locals().items() if name in ARGUMENTS}
        check_arguments(given)
        if not issubclass(cursorclass, Cursor):
            raise ArgumentError("argument 'cursorclass' takes a subclass of aiomysqlx.Cursor")
        multi_statements = client_flag & CLIENT.MULTI_STATEMENTS
        super().__init__(
            host=host,
            user=user,
            password=None if callable(password) else password,
            db=db,
            port=port,
            unix_socket=unix_socket,
            charset=check_charset(charset),
            sql_mode=quoted_mode(sql_mode),
            read_default_file=read_default_file,
            conv=default_decoders if conv is None else conv,
            use_unicode=use_unicode,
            client_flag=client_flag | CLIENT.FOUND_ROWS,
            cursorclass=cursorclass,
            init_command=init_command,
            connect_timeout=None,
            read_default_group=read_default_group,
            autocommit=autocommit,
            echo=echo,
            local_infile=local_infile,
            loop=loop or asyncio.get_running_loop(),
            ssl=ssl or None,
            auth_plugin=auth_plugin,
            program_name=program_name,
            server_public_key=server_public_key,
        )
        self._password = latin1_password(self._password)
        self._password_source = password if callable(password) else None
        self._connect_timeout = connect_timeout
        self._tcp_keepalive = tcp_keepalive
        self._first = _Session(self._charset, "", self._db, self.autocommit_mode)
        # What a side connection is made with, to end a statement that this one waits for.
        self._arguments = given if kill_on_cancel else None
        self._killing: asyncio.Task[None] | None = None
        self._deadline: tuple[float, float] | None = None
        attributes = sum(2 + len(k) + len(v.encode()) for k, v in self._connect_attrs.items())
        if attributes > _MOST_ATTRIBUTES:
            raise ArgumentError(
                f"argument 'program_name' is too long: {len(program_name)} characters"
            )
        if not multi_statements:
            self.client_flag &= ~CLIENT.MULTI_STATEMENTS
        self._encoding = python_encoding(self._charset)
        self._counts = _NO_COUNTS
        self._max_allowed_packet = 0
        self._max_packet = max_packet
        self._describe = self._choose_describe()

    # -- opening ---------------------------------------------------------------------------------

    async def _take_over(self) -> None:
        deprecate_eof = bool(self.client_flag & DEPRECATE_EOF)
        protocol = Protocol(
            self._loop, deprecate_eof, self._status, self._encoding, self._max_packet
        )
        reader, transport = self._reader, self._writer.transport
        protocol.attach(transport)
        self._protocol = protocol
        keep_in_process(self)
        if reader._buffer:
            protocol.reader.feed(bytes(reader._buffer))
            protocol.buffer_updated(0)
        if reader._eof_received or transport.is_closing():
            protocol.eof_received()  # which went to the protocol before
        await self._learn_session()

    async def _learn_session(self) -> None:
        """Learn what the session takes; a server may choose another charset than it was told.

        Escaping for one charset is an injection in another: it sets the right one or fails.
        """
        ((limit, charset, collation),) = (await self.send(_SESSION, _describe))[0].rows
        self._max_allowed_packet = int(limit)
        if str(charset).replace("utf8mb3", "utf8") == self._charset.replace("utf8mb3", "utf8"):
            self._first = self._first._replace(collation=str(collation))
        else:
            await self.set_charset(self._charset)

    # -- state -----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, by either side."""
        protocol = self._protocol
        return self._writer is None or (protocol is not None and protocol.lost is not None)

    @property
    def server_status(self) -> int:
        """The status flags of the server's latest reply, see `pymysql.constants.SERVER_STATUS`."""
        return self._status if self._protocol is None else self._protocol.status

    @server_status.setter
    def server_status(self, value: int) -> None:
        self._status = value

    @property
    def no_backslash_escapes(self) -> bool:
        """Whether a backslash stands for itself in a string literal (an SQL mode)."""
        protocol = self._protocol
        status = self._status if protocol is None else protocol.status
        return status & _NO_BACKSLASH_ESCAPES != 0

    @property
    def encoding(self) -> str:
        """The Python codec of the session's statements, which follows a SET NAMES."""
        protocol = self._protocol
        return self._encoding if protocol is None else protocol.encoding

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        protocol = self._protocol
        return protocol is not None and (bool(protocol.replies) or self._killing is not None)

    @property
    def deadlock(self) -> BaseException | None:
        """The latest deadlock error: with it the server has rolled the transaction back."""
        return None if self._protocol is None else self._protocol.deadlock

    def forget_deadlock(self) -> None:
        """Let a deadlock belong to a transaction that has ended."""
        if self._protocol is not None:
            self._protocol.deadlock = None

    @property
    def warning_count(self) -> int:
        """The number of warnings of the latest statement, see `show_warnings()`."""
        return self._counts[0]

    def affected_rows(self) -> int:
        """Give the number of rows that the latest statement found, changed or returned."""
        return self._counts[1]

    def insert_id(self) -> int:
        """Give the AUTO_INCREMENT value that the latest statement generated first, or 0."""
        return self._counts[2]

    # -- commands --------------------------------------------------------------------------------

    async def send(
        self,
        packet: bytes,
        describe: Describe | None = None,
        *,
        shape: Shape | None = None,
        partial: bool = False,
    ) -> list[ResultSet]:
        """Write the packet of one command and give its results.

        Raises the server's error (`pymysql.err`), `InvalidRequestError` while another command is
        in progress, `OperationalError` once the connection is lost. With *partial* an error that
        comes after some results is left in the last one.
        """
        if self.busy:
            await self.ready()
        return await self.finish(self.start(packet, describe, None, shape), partial=partial)

    def start(
        self,
        packet: bytes,
        describe: Describe | None = None,
        known: Columns | None = None,
        shape: Shape | None = None,
    ) -> Reply:
        """Write the packet of one command; its reply is for `finish()`, at once.

        *known* are the columns of an earlier result, which *describe* would give again. *shape*
        makes the first result's rows; without it they are tuples.
        """
        protocol = self._protocol
        if protocol is None or self._writer is None:
            self._ensure_alive()
            raise err.InterfaceError("(0, 'Not connected')")
        if protocol.replies:
            raise InvalidRequestError(_IN_PROGRESS)
        if protocol.lost is not None:
            raise _again(protocol.lost)
        if len(packet) > BATCH_BYTES:
            self.check_length(packet)
        self._last_usage = self._loop.time()
        reply = protocol.send(
            packet, describe or self._describe, protocol.results_encoding, known, shape
        )
        if self._deadline is not None:
            when, seconds = self._deadline
            reply.deadline = self._loop.call_at(when, _expire, reply, seconds)
        return reply

    @contextmanager
    def limit(self, seconds: float) -> Iterator[None]:
        """Raise `StatementTimeoutError` in the block once it has taken *seconds*."""
        self._deadline = self._loop.time() + seconds, seconds
        try:
            yield
        finally:
            self._deadline = None

    async def finish(self, reply: Reply, *, partial: bool = False) -> list[ResultSet]:
        """Wait for a reply and give its results; raises as `send()` does."""
        try:
            results: list[ResultSet] | None = await reply.future
            if reply.infile is not None:
                results = await self._answer_infile(reply)
        except BaseException:  # cancelled, or its coroutine closed
            self._abandon(reply)
            raise
        assert results is not None
        latest = results[-1]
        # Not the result itself: its rows are the caller's, to keep or to forget.
        self._counts = latest.warning_count, latest.affected_rows, latest.insert_id
        if latest.error is not None and not partial:
            raise latest.error
        return results

    def check_length(self, packet: bytes) -> None:
        """Raise an error if the server would close the connection over the length of *packet*."""
        if len(packet) - 4 >= self._max_allowed_packet:
            raise err.OperationalError(
                1153,
                f"the statement has {len(packet) - 4} bytes, the server's max_allowed_packet"
                f" is {self._max_allowed_packet}",
            )

    async def ready(self) -> None:
        """Wait for what a cancelled statement still brings: values are escaped for what it leaves.

        Raises `InvalidRequestError` while another statement is in progress.
        """
        protocol = self._protocol
        while protocol is not None and self.busy:
            if not all(reply.abandoned for reply in protocol.replies):
                raise InvalidRequestError(_IN_PROGRESS)
            if self._deadline is None:
                await self._settle(protocol)
            else:
                await self._settle_in_time(protocol, *self._deadline)

    async def _settle(self, protocol: Protocol) -> None:
        """Wait for the replies under way, and for what ends their statements."""
        await protocol.idle()
        if self._killing is not None:
            await asyncio.wait([self._killing])

    async def _settle_in_time(self, protocol: Protocol, when: float, seconds: float) -> None:
        try:
            await in_time(self._settle(protocol), max(0, when - self._loop.time()))
        except asyncio.TimeoutError:
            raise _too_slow(seconds) from None

    def _abandon(self, reply: Reply) -> None:
        """Have the rest of a reply read for nobody, if there is more to come."""
        protocol = self._protocol
        if protocol is not None and reply in protocol.replies and not self._loop.is_closed():
            protocol.drop(reply)
            if reply.deadline is not None:
                reply.deadline.cancel()
            reply.deadline = self._loop.call_later(DRAIN_SECONDS, self._give_up, protocol, reply)
            if self._arguments is not None and self._killing is None:
                self._killing = self._loop.create_task(self._kill_query(protocol, reply))

    def _give_up(self, protocol: Protocol, reply: Reply) -> None:
        if reply in protocol.replies:
            protocol.fail(
                err.OperationalError(
                    CR.CR_SERVER_LOST,
                    f"a cancelled statement was not answered within {DRAIN_SECONDS} seconds",
                )
            )

    def rollback_nowait(self) -> None:
        """Write ROLLBACK without waiting for its answer, which the next command waits for."""
        protocol = self._protocol
        assert protocol is not None
        reply = protocol.send(_ROLLBACK, self._describe, protocol.results_encoding)
        reply.abandoned = True
        reply.future.add_done_callback(self._check_rollback)
        reply.deadline = self._loop.call_later(DRAIN_SECONDS, self._give_up, protocol, reply)

    def _check_rollback(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is not None:
            self._abort()

    async def settled(self) -> bool:
        """Wait for what is still to come; false if the connection is lost."""
        protocol = self._protocol
        if protocol is not None:
            await self._settle(protocol)
        return not self.closed

    async def _kill_query(self, protocol: Protocol, reply: Reply) -> None:
        """End the statement of *reply* on the server, from a connection beside this one."""
        assert self._arguments is not None
        side = Connection(**{**self._arguments, **_SIDE_ARGUMENTS})
        sent = False
        try:
            await side._connect()
            if reply in protocol.replies:  # it may have been answered meanwhile
                sent = True
                await in_time(side.query(f"KILL QUERY {self.thread_id()}"), DRAIN_SECONDS)
        except (err.MySQLError, OSError, asyncio.TimeoutError) as error:
            logger.warning("a cancelled statement could not be killed: %s", error)
        finally:
            side.close()
            if sent:
                await self._absorb_kill(protocol)
            self._killing = None

    async def _absorb_kill(self, protocol: Protocol) -> None:
        """Execute nothing: a KILL that came too late for its statement would end the next one."""
        await protocol.idle()
        if protocol.lost is None:
            absorber = protocol.send(_NOTHING, self._describe, protocol.results_encoding)
            absorber.abandoned = True
            absorber.deadline = self._loop.call_later(
                DRAIN_SECONDS, self._give_up, protocol, absorber
            )
            await protocol.idle()

    async def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """Execute *sql* as it stands and give the number of affected rows."""
        if unbuffered:
            raise err.NotSupportedError("results are read whole: unbuffered is not supported")
        if self.busy:
            await self.ready()
        text = sql if isinstance(sql, bytes) else self.encode(sql)
        packet = render((text,), (), self.encoding, False)
        if self._echo:
            # It may set a password or a key.
            with Logged(True, "(init_command)" if sql is self.init_command else sql):
                return (await self.send(packet))[0].affected_rows
        return (await self.finish(self.start(packet)))[0].affected_rows

    async def begin(self) -> None:
        """Begin a transaction."""
        await self.query("BEGIN")

    async def commit(self) -> None:
        """Commit the current transaction."""
        await self.query("COMMIT")

    async def rollback(self) -> None:
        """Roll the current transaction back."""
        await self.query("ROLLBACK")

    async def _send_autocommit_mode(self) -> None:
        await self.query(f"SET AUTOCOMMIT = {int(self.autocommit_mode)}")

    async def select_db(self, db: str) -> None:
        """Make *db* the current database."""
        await self.send(frame(bytes((COMMAND.COM_INIT_DB,)) + self.encode(db)))
        self._db = db

    async def kill(self, thread_id: int) -> None:
        """End the server's thread *thread_id*, a connection."""
        await self.query(f"KILL {thread_id:d}")

    async def ping(self, reconnect: bool = True) -> None:
        """Check that the server answers; connect anew if it does not and *reconnect* is set."""
        if self.closed and not reconnect:
            raise err.Error("Already closed")
        try:
            await self.send(_PING)
        except (err.MySQLError, OSError):
            if not reconnect:
                raise
            self.close()
            await self._connect()

    async def set_charset(self, charset: str) -> None:
        """Make *charset* the connection's character set (SET NAMES).

        A SET NAMES that is executed is followed where the server tells of it: MySQL 5.7 and
        MariaDB 10.2 do, unless `session_track_system_variables` or a proxy keeps them from it.
        MariaDB does not tell of `SET @@character_set_client`, without `SESSION.`.
        """
        if not charset:
            raise ArgumentError("argument 'charset' is empty")
        await self._set_names(charset)

    async def _set_names(self, charset: str, collation: str = "") -> None:
        encoding = python_encoding(check_charset(charset))
        collate = f" COLLATE {collation}" if collation else ""
        try:
            await self.query(f"SET NAMES {charset}{collate}")
        except (asyncio.CancelledError, GeneratorExit):
            self.close()  # nobody knows which character set the server reads now
            raise
        self._charset = charset
        self._encoding = encoding
        if self._protocol is not None:
            self._protocol.encoding = self._protocol.results_encoding = encoding
        self._describe = self._choose_describe()

    async def reset(self) -> None:
        """Give the session the state of a new one: `COM_RESET_CONNECTION`, then its set-up.

        An open transaction is rolled back; temporary tables, user variables, locks and whatever
        was `SET` are gone.
        """
        try:
            await self.send(_RESET)
            await self._set_names(self._first.charset, self._first.collation)
            if self._first.db:
                await self.select_db(self._first.db)
            if self.sql_mode is not None:
                await self.query(f"SET sql_mode={self.sql_mode}")
            if self.init_command is not None:
                await self.query(self.init_command)
                await self.commit()
            if self._first.autocommit is not None:
                await self.autocommit(self._first.autocommit)
        except BaseException:
            self.close()  # half of it is done, at most
            raise

    async def show_warnings(self) -> list[tuple[Any, ...]]:
        """Give the latest statement's warnings: (level, code, message)."""
        counts = self._counts
        try:
            return (await self.send(_SHOW_WARNINGS))[0].rows
        finally:
            self._counts = counts

    @property
    def max_allowed_packet(self) -> int:
        """The size in bytes from which on the server refuses a packet."""
        return self._max_allowed_packet

    # -- text ------------------------------------------------------------------------------------

    def encode(self, sql: str) -> bytes:
        """Encode *sql* strictly in the connection's character set."""
        return encode_sql(sql, self.encoding)

    def escape(self, obj: object) -> str:
        """Give *obj* as a SQL literal."""
        literal: bytes = escape(obj, self.encoding, self.no_backslash_escapes)
        return literal.decode(self.encoding)

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
        if len(cursors) > 1 or not all(
            isinstance(cursor, type) and issubclass(cursor, Cursor) for cursor in cursors
        ):
            raise TypeError("Custom cursor must be subclass of Cursor")
        cursor_class = cursors[0] if cursors else self.cursorclass
        return CallbackContext(_ready(cursor_class(self, bool(self._echo))), _close_cursor)

    # -- local files -----------------------------------------------------------------------------

    async def _answer_infile(self, reply: Reply) -> Any:
        """Send the local file that the server asks for, or nothing, and give the answer."""
        protocol = self._protocol
        assert protocol is not None and reply.infile is not None
        if protocol.lost is not None:  # since it asked: nobody would end another future
            raise _again(protocol.lost)
        name, reply.infile = reply.infile.decode(self.encoding, "replace"), None
        sequence = protocol.reader.sequence
        # The number of packets on the way decides the answer's sequence id.
        protocol.reader.sequence = -1
        reply.future = self._loop.create_future()
        error: Exception | None = None
        try:
            if self._local_infile:
                sequence, error = await self._send_file(protocol, name, sequence)
            else:
                error = LocalInfileRefusedError(
                    _CR_LOCAL_INFILE_REJECTED,
                    "Received LOAD_LOCAL packet but local_infile option is false:"
                    f" the server asked for {name!r}",
                )
        except BaseException:
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, "LOAD DATA LOCAL was cut off"))
            reply.future.exception()
            raise
        if protocol.lost is None:
            self._writer.transport.write(frame(b"", sequence))  # the file's end, if only of nothing
            protocol.buffer_updated(0)  # a server may answer what it has not read
        try:
            results = await reply.future
        except err.MySQLError:
            if error is None or protocol.lost is not None:
                raise
        if error is not None:
            raise error
        return results

    async def _send_file(
        self, protocol: Protocol, name: str, sequence: int
    ) -> tuple[int, Exception | None]:
        """Send what is in the file; give the next sequence id and what went wrong with the file."""
        run = self._loop.run_in_executor
        try:
            file = await run(None, open, name, "rb")
        except Exception as cause:
            return sequence, _file_error(_ER_FILE_NOT_FOUND, f"Can't find file {name!r}", cause)
        try:
            while protocol.lost is None and (chunk := await run(None, file.read, _INFILE_CHUNK)):
                self._writer.transport.write(frame(chunk, sequence))
                sequence = (sequence + 1) % 256
                await protocol.drain()
        except Exception as cause:
            return sequence, _file_error(_ER_ERROR_ON_READ, f"Error reading file {name!r}", cause)
        finally:
            file.close()
        return sequence, None

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have *call* called once the connection has ended, by whichever side."""
        protocol = self._protocol
        assert protocol is not None
        protocol.closed.add_done_callback(lambda _: call())

    def disown(self) -> None:
        """Leave the socket to the process that opened it, of which this one is a fork."""
        protocol = self._protocol
        if protocol is not None:
            # Even to unregister the socket would change what the parent waits for.
            _inherited.append((protocol, self._writer))
            self._writer = self._reader = None
            self._close_reason = "the connection belongs to the process that opened it"
            protocol.lost = err.InterfaceError(0, self._close_reason)
            protocol.replies.clear()

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Take leave of the server and close the socket, without waiting."""
        writer, protocol = self._writer, self._protocol
        self._writer = self._reader = None
        if writer is None:
            return
        if protocol is not None and protocol.lost is None and not self._loop.is_closed():
            idle = not protocol.replies
            if idle:
                writer.transport.write(_QUIT)
                writer.transport.close()
                protocol.lost = err.InterfaceError("(0, 'Not connected')")
                return
            protocol.fail(
                err.OperationalError(CR.CR_SERVER_LOST, "the connection was closed during query")
            )
        if not self._loop.is_closed():
            writer.transport.close()

    async def ensure_closed(self) -> None:
        """Take leave of the server, close the socket and wait until it is closed."""
        protocol = self._protocol
        self.close()
        if protocol is not None:
            await protocol.wait_closed(CLOSE_SECONDS)

    def _abort(self) -> None:
        writer = self._writer
        self._writer = self._reader = None
        if self._protocol is not None:
            self._protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, "connection aborted"))
        if writer is not None and not self._loop.is_closed():
            writer.transport.abort()

    def __del__(self) -> None:
        writer = getattr(self, "_writer", None)
        if writer is None or self.closed:
            return
        warnings.warn(f"Unclosed connection {self!r}", ResourceWarning, source=self, stacklevel=1)
        if not self._loop.is_closed():
            # The writer, kept alive until then, would warn too.
            self._loop.call_soon_threadsafe(lambda: writer.transport.abort())


def connect(*args: Any, **kwargs: Unpack[ConnectArguments]) -> AwaitableContext[Connection]:
    """Connect to a server: await it, or use it with `async with`.

    Takes what `aiomysql.connect()` takes: `host`, `user`, `password`, `db`, `port`, `unix_socket`,
    `charset`, `sql_mode`, `read_default_file`, `read_default_group`, `conv`, `use_unicode`,
    `client_flag`, `cursorclass`, `init_command`, `connect_timeout` (seconds, for the whole
    handshake), `autocommit` (`None`: the server's default), `echo`, `local_infile`, `loop`, `ssl`
    (a context or `True`), `auth_plugin`, `program_name`, `server_public_key`; and `max_packet`, the
    most bytes that one row, or the column definitions of one result, may have (1 GiB). A server
    that announces more gets the connection closed, with error 2020.

    Raises `ArgumentError` for a wrong argument, `pymysql.err.OperationalError` where the server
    cannot be reached or refuses.
    """
    return CallbackContext(_connect(args, dict(kwargs)), _close_connection)


async def _connect(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Connection:
    if len(args) > len(ARGUMENTS):
        raise ArgumentError(f"expected at most {len(ARGUMENTS)} arguments, got {len(args)}")
    given = dict(zip(ARGUMENTS, args, strict=False))
    twice = given.keys() & kwargs.keys()
    if twice:
        raise ArgumentError(f"argument {min(twice)!r} is given twice")
    given.update(kwargs)
    check_arguments(given)
    connection = Connection(**given)
    await connection._connect()
    return connection


async def _close_connection(connection: Connection, error: BaseException | None) -> None:
    if error is not None:
        connection.close()
    else:
        await connection.ensure_closed()


async def _close_cursor(cursor: Cursor, error: BaseException | None) -> None:
    await cursor.close()


async def _ready(value: Any) -> Any:
    return value


def _file_error(code: int, message: str, cause: Exception) -> err.OperationalError:
    error = err.OperationalError(code, message)
    error.__cause__ = cause
    return error


def _again(error: BaseException) -> BaseException:
    """Give a fresh copy of *error*, whose traceback belongs to whoever got it first."""
    copy = type(error)(*error.args)
    copy.__cause__ = error.__cause__
    return copy


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


def _command(code: int, text: bytes = b"") -> bytes:
    packet: bytes = frame(bytes((code,)) + text)
    return packet


def _expire(reply: Reply, seconds: float) -> None:
    if not reply.future.done():
        reply.future.set_exception(_too_slow(seconds))


def _too_slow(seconds: float) -> StatementTimeoutError:
    return StatementTimeoutError(
        _ER_QUERY_TIMEOUT, f"the statement took more than {seconds} seconds"
    )


_NOTHING = _command(COMMAND.COM_QUERY, b"DO 0")
_RESET = _command(_COM_RESET_CONNECTION)
_ROLLBACK = _command(COMMAND.COM_QUERY, b"ROLLBACK")
_SHOW_WARNINGS = _command(COMMAND.COM_QUERY, b"SHOW WARNINGS")
_SESSION = _command(
    COMMAND.COM_QUERY,
    b"SELECT @@max_allowed_packet, @@character_set_client, @@collation_connection",
)
_PING = _command(COMMAND.COM_PING)
_QUIT = _command(COMMAND.COM_QUIT)
