"""The DB-API connection, and `connect()`, which makes it."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Coroutine, Mapping
from functools import cache
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pymysql import err
from pymysql.constants import SERVER_STATUS

from .cursor import Cursor, Errors, is_cursor_class, leave_unbuffered
from .customs import CUSTOMS, with_customs
from .exc import ArgumentError
from .runtime.awaitable import Asynchronous, AwaitableContext, CallbackContext
from .runtime.record import Absent, Lacking, Single
from .runtime.words import Place, brief
from .wire.charset import current_name
from .wire.ending import commit, fate_of, warn_of_loss
from .wire.leaving import is_undone, settle_left
from .wire.session import Session

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Self, Unpack

    from .argument_types import ConnectArguments
    from .wire.hosts import Hosts
    from .wire.options import ConnectOptions

AnyCursor = TypeVar("AnyCursor", bound="Cursor[Any]")

_CONNECT = "connection = await connect(…), or async with connect(…) as connection"
_CURSOR = "cursor = await connection.cursor(), or async with connection.cursor() as cursor"


def _of_session(name: str, doc: str) -> Any:
    """Return a property of a connection: what its session has by that name."""
    return property(attrgetter(f"_session.{name}"), doc=doc)


class _Signature:
    """The signature of `Connection`, made when somebody asks for it."""

    def __get__(self, instance: object, owner: type) -> Any:
        from .wire.options import ConnectOptions

        return ConnectOptions.signature(CUSTOMS)


class _Command:
    """What a connection executes that is no statement of its user's.

    The counts of the latest statement stay, but for its id. What is left of an unbuffered cursor's
    rows is read before, for nobody. It *tells* of an error that came behind a cursor's results, if
    no one has gone on to it.
    """

    __slots__ = ("_counts", "_session")

    def __init__(self, session: Session, tells: bool = True) -> None:
        leave_unbuffered(session)
        self._session = session
        if tells:
            session.raise_later()

    def __enter__(self) -> None:
        self._counts = self._session.counts

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        if error is None and self._session.counts is not self._counts:
            self._session.counts = *self._counts[:2], 0


class Connection(Errors, Lacking, Single, Asynchronous):
    """A connection to a MySQL or MariaDB server.

    Made by `connect()`. One statement at a time: a second one started before the first has been
    answered raises `InvalidRequestError`. A statement that is cancelled leaves the connection in
    order; what the server still sends for it is read and thrown away.
    """

    # Beside its dictionary, which a session keeps and has no reference to itself in.
    __slots__ = ("__dict__", "__weakref__", "_session")

    if not TYPE_CHECKING:
        __signature__ = _Signature()
        # What aiomysql's has.
        next_result = Absent("cursor.nextset() goes to the next result")
        server_thread_id = Absent("thread_id() gives the number")

    _usage = "async with connect(…) as connection"

    def __init__(self, *args: Any, **kwargs: Unpack[ConnectArguments]) -> None:
        from .wire.settling import settled  # with the first connection: 3 ms of an import

        self._begin(settled(with_customs(_given(args, kwargs))))

    def _begin(self, options: ConnectOptions) -> None:
        """Be the connection with these options, not opened yet."""
        # What connects comes with the first connection, here and below: 3 ms of an import.
        from .wire.hosts import Hosts
        from .wire.opening import new_session

        check_cursor_class(options)
        self.cursorclass: type[Cursor[Any]] = options.cursorclass or Cursor
        self._session = new_session(
            options, options.loop or asyncio.get_running_loop(), Hosts.of(options)
        )
        self._session.view = weakref.ref(self)

    # -- what it is ------------------------------------------------------------------------------

    host: str = _of_session("address.host", "The name or address of the server.")
    port: int = _of_session("address.port", "The port of the server.")
    unix_socket: str | None = _of_session(
        "address.unix_socket", "The path of the server's Unix socket, if that is the way to it."
    )
    user: str = _of_session("login.user", "The name that the connection logs in by.")
    db: str | None = _of_session(
        "db", "The database that was asked for, at first or by `select_db()`."
    )
    charset: str = _of_session(
        "charset", "The character set that was asked for, at first or by `set_charset()`."
    )
    encoding: str = _of_session(
        "encoding", "The Python codec of the session's statements, which follows a SET NAMES."
    )
    loop: asyncio.AbstractEventLoop = _of_session(
        "loop", "The event loop that the connection belongs to."
    )

    @property
    def echo(self) -> bool | str:
        """Whether statements are logged; `"values"`: the values of constructs too."""
        return self._session.echo

    @echo.setter
    def echo(self, value: bool | str) -> None:
        self._session.echo = value

    @property
    def warnings(self) -> bool:
        """Whether the server's warnings are asked for, and issued as Python's."""
        return self._session.warnings

    @warnings.setter
    def warnings(self, value: bool) -> None:
        self._session.warnings = value

    closed: bool = _of_session("closed", "Whether the connection is closed, by either side.")
    busy: bool = _of_session("busy", "Whether an answer is still to come.")
    last_usage: float = _of_session(
        "last_usage",
        "When something was sent the last time, by the event loop's clock, in seconds.",
    )
    in_transaction: bool = _of_session(
        "in_transaction",
        "Whether the server is in a transaction, or may be since the latest error.",
    )
    server_status: int = _of_session(
        "server_status",
        "The status flags of the server's latest reply, see `pymysql.constants.SERVER_STATUS`.",
    )
    no_backslash_escapes: bool = _of_session(
        "no_backslash_escapes",
        "Whether a backslash stands for itself in a string literal (an SQL mode).",
    )
    max_allowed_packet: int = _of_session(
        "max_allowed_packet", "The size in bytes from which on the server refuses a packet."
    )
    client_flag: int = _of_session(
        "flags", "The flags that both sides have agreed on, see `pymysql.constants.CLIENT`."
    )
    autocommit_mode: bool | None = _of_session(
        "autocommit_mode", "The autocommit mode that was asked for; `None`: the server's default."
    )
    server_version: str = _of_session(
        "server_version", "What the server calls itself, as `get_server_info()` has it."
    )
    host_info: str = _of_session(
        "login.host_info", "How the connection leads to the server, as `get_host_info()` has it."
    )
    protocol_version: int = _of_session(
        "greeting.protocol", "The version of the protocol, as `get_proto_info()` has it."
    )
    server_capabilities: int = _of_session(
        "greeting.capabilities", "The flags that the server offers, see `pymysql.constants.CLIENT`."
    )
    server_language: int = _of_session(
        "greeting.collation", "The number of the server's default collation."
    )
    last_gtid: str | None = _of_session(
        "last_gtid", "The GTID of the latest transaction that was committed, with `track_gtids`."
    )
    connected_time: float | None = _of_session(
        "connected_at", "When the connection was made, by the event loop's clock, in seconds."
    )

    def thread_id(self) -> int:
        """Return the number that the server has for this connection."""
        number = self._session.thread_id
        if number is None:
            raise self._session.not_connected()
        return number

    def get_server_info(self) -> str:
        """Return the version of the server."""
        return self._session.server_version

    def get_host_info(self) -> str:
        """Return how the connection leads to the server: by a socket of which sort."""
        return self._session.login.host_info

    def get_proto_info(self) -> int:
        """Return the version of the protocol, 10."""
        return self._session.greeting.protocol

    def character_set_name(self) -> str:
        """Return the character set, as `charset` has it."""
        return self._session.charset

    def get_transaction_status(self) -> bool:
        """Tell whether the server's latest reply shows a transaction."""
        return bool(self._session.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS)

    # -- the latest statement --------------------------------------------------------------------

    @property
    def warning_count(self) -> int:
        """The number of warnings of the latest statement, see `show_warnings()`."""
        return self._session.counts[0]

    def affected_rows(self) -> int:
        """Return the number of rows that the latest statement found, changed or returned.

        A cursor's or `query()`'s: `commit()`, `ping()` and the other commands leave it as it is.
        """
        return self._session.counts[1]

    def insert_id(self) -> int:
        """Return the AUTO_INCREMENT value that the latest statement generated first, or 0.

        It is 0 after a command too: ask before `commit()`, or `cursor.lastrowid`.
        """
        return self._session.counts[2]

    async def show_warnings(self) -> tuple[tuple[Any, ...], ...]:
        """Return the latest statement's warnings: (level, code, message)."""
        leave_unbuffered(self._session)
        return tuple(await self._session.show_warnings())

    get_warnings = show_warnings

    # -- commands --------------------------------------------------------------------------------

    async def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """Execute *sql* as it stands and return the number of affected rows."""
        if unbuffered:
            raise err.NotSupportedError(
                "unbuffered is not supported here: a cursor of class SSCursor reads so"
            )
        leave_unbuffered(self._session)
        self._session.raise_later()
        return await self._session.query(sql)

    async def begin(self) -> None:
        """Begin a transaction; within a block this commits the block's, which is over then."""
        with _Command(self._session):
            await self._session.begin(fate_of("BEGIN"))

    async def commit(self) -> None:
        """Commit the current transaction; raise `CommitUnknownError` if the answer is lost.

        Raises the error that came in the rest of a cursor's rows or results, if they were left: a
        procedure's, or that of a later one of several statements.
        """
        command = _Command(self._session)
        if self._session.left is not None:
            await settle_left(self._session)
        with command:
            await commit(self._session)

    async def rollback(self) -> None:
        """Roll the current transaction back.

        Raises nothing if the connection was lost over the rest of a cursor's rows, if they were
        left: that has rolled back, and what is executed next raises it.
        """
        command = _Command(self._session, tells=False)
        if self._session.left is not None and await is_undone(self._session):
            return
        self._session.later = None
        with command:
            await self._session.query("ROLLBACK")

    async def autocommit(self, value: bool) -> None:
        """Switch the server's autocommit mode on or off."""
        with _Command(self._session):
            await self._session.autocommit(value, fate=fate_of("SET AUTOCOMMIT = 1"))

    def get_autocommit(self) -> bool:
        """Tell whether the server is in autocommit mode."""
        return self._session.autocommits

    async def select_db(self, db: str) -> None:
        """Make *db* the current database."""
        if not isinstance(db, str):
            raise ArgumentError(f"expected the name of a database as str, got {brief(db)}")
        with _Command(self._session):
            await self._session.use(db)

    async def set_charset(self, charset: str) -> None:
        """Make *charset* the connection's character set (SET NAMES), with its default collation.

        The charset that the connection was made with keeps the `collation` that it was given.

        A SET NAMES that is executed is followed where the server tells of it: MySQL 5.7 and
        MariaDB 10.2 do, unless `session_track_system_variables` or a proxy keeps them from it.
        MariaDB does not tell of `SET @@character_set_client`, without `SESSION.`.
        """
        if not charset:
            raise ArgumentError("argument 'charset' is empty")
        with _Command(self._session):
            first = self._session.first
            same = current_name(charset) == current_name(first.charset)
            await self._session.set_names(charset, first.collation if same else "")

    async def kill(self, thread_id: int) -> None:
        """End the server's thread *thread_id*, a connection."""
        with _Command(self._session):
            await self._session.query(f"KILL {thread_id:d}")

    async def ping(self, reconnect: bool = True) -> None:
        """Check that the server answers; with *reconnect*, connect anew if it does not.

        A connection that is lost is replaced if that loses nothing: if nothing was executed since
        it was made or `reset()`, or after `close()`. From any other the loss is raised, since a
        transaction, locks, temporary tables or variables may have gone with it; it is closed then,
        and the next ping connects anew. One that belongs to an engine or a pool is never replaced:
        others have its place once it is given back.
        """
        from .wire.opening import ping

        with _Command(self._session, tells=False):
            await ping(self._session, reconnect)

    async def reset(self) -> None:
        """Set the session back to the state of a new one: `COM_RESET_CONNECTION`, then its set-up.

        An open transaction is rolled back; temporary tables, user variables, locks and whatever
        was `SET` are gone. The role stays, and so does the current database unless one was given.
        """
        from .wire.opening import reset

        leave_unbuffered(self._session)
        await reset(self._session)

    # -- text ------------------------------------------------------------------------------------

    def escape(self, obj: object) -> str:
        """Return *obj* as a SQL literal.

        Raises `InvalidRequestError` where it depends on what a statement may have changed for
        itself alone, a procedure, and the next one asks for: the SQL mode or the character set.
        """
        return self._session.literal(obj)

    literal = escape

    def escape_string(self, s: str) -> str:
        """Return the inside of the SQL literal for *s*.

        Raises `ArgumentError` for anything but a text, as other literals are not between quotes,
        and `InvalidRequestError` as `escape()` does.
        """
        if not isinstance(s, str):
            raise ArgumentError(f"expected a text as str, got {brief(s)}: escape() takes others")
        return self._session.literal(s)[1:-1]

    # -- cursors ---------------------------------------------------------------------------------

    @overload
    def cursor(self) -> AwaitableContext[Cursor]: ...
    @overload
    def cursor(self, cursor_class: type[AnyCursor], /) -> AwaitableContext[AnyCursor]: ...
    @overload
    def cursor(self, *cursors: type[Cursor[Any]]) -> AwaitableContext[Cursor[Any]]: ...
    def cursor(self, *cursors: type[Cursor[Any]]) -> AwaitableContext[Any]:
        """Return a cursor, of class `Cursor` or the one given, once it is awaited.

        Several classes make one that does as all of them: `cursor(DictCursor, SSCursor)`.
        """
        return CallbackContext(_ready(self.new_cursor(*cursors)), _close_cursor, _CURSOR)

    def new_cursor(self, *cursors: type[Cursor[Any]]) -> Cursor[Any]:
        """Return a cursor, as `cursor()` does, without a coroutine.

        Its `take()`, `advance()` and `detach()` do without one too; executing alone is awaited.
        """
        if self._session.writer is None:
            raise self._session.not_connected()
        for cursor_class in cursors:
            if not is_cursor_class(cursor_class):
                from .settings import no_cursor_class

                raise TypeError(
                    "Custom cursor must be subclass of Cursor (aiomysqlx.Cursor), got"
                    f" {no_cursor_class(cursor_class)}"
                )
        cursor_class = cursors[0] if cursors else self.cursorclass
        if len(cursors) > 1:
            cursor_class = joined(cursors)
        return cursor_class(self, bool(self.echo))

    # -- ending ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Take leave of the server and close the socket, without waiting.

        What is uncommitted is rolled back; the log has a warning if rows were written.
        """
        warn_of_loss(self._session, "opened", self._session.opened_at)
        self._session.close()

    async def ensure_closed(self) -> None:
        """Do as `close()` does, and wait until the socket is closed."""
        warn_of_loss(self._session, "opened", self._session.opened_at)
        await self._session.ensure_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await _close_connection(self, exc)


def connect(*args: Any, **kwargs: Unpack[ConnectArguments]) -> AwaitableContext[Connection]:
    """Connect to a server: await it, or use it with `async with`.

    The arguments are those of `aiomysql.connect()` in their order, then our own: docs/connecting.md
    has a table of all. What may surprise:

    Some defaults are aiomysql's, not those of an engine: one text may have several statements
    (`multi_statements=False` refuses that), an UPDATE counts the rows that it changes
    (`found_rows`), a value of a type that has no literal is sent as its `str()` (`encoders`), and
    an aware datetime without its zone (`aware_datetimes`).

    `host` may be several, of which the first is taken that fits `target_session_attrs`.
    `connect_timeout` is for the whole login, on whichever host. `autocommit` is off unless asked
    for; `None` is the server's default. `password` may be a function, called for every login. What
    is given as an argument wins over `read_default_file`.

    TLS: each option of it asks for TLS by itself, and only `ssl_mode="PREFERRED"` goes on in clear
    text with a server that offers none. `"REQUIRED"` verifies no certificate unless `ssl_ca` is
    given; `ssl=True` verifies it, and the host's name.

    `client_flag` takes flags that mean something to the server, not those that decide how packets
    look. `CLIENT.HANDLE_EXPIRED_PASSWORDS` lets in with a password that has expired, to change it
    and then to connect anew.

    Without TLS, `caching_sha2_password` and `sha256_password` send the password under the server's
    public key, which somebody between the two could replace: unless it is given as
    `server_public_key`, or `get_server_public_key` is `False`.

    Of LOAD DATA LOCAL INFILE, whatever `local_infile` allows, only a regular file is sent, and
    only that which the statement names.

    A server that announces a row of more than `max_packet` gets the connection closed, with error
    2020. `warnings` costs a round trip for each statement that has some. `encoders` go by the
    nearest base of a value's type.

    Raises `ArgumentError` for a wrong argument, `pymysql.err.OperationalError` where the server
    cannot be reached or refuses; `NoHostError`, which is one, where none of several hosts fits.
    """
    frame = sys._getframe(1)
    place = frame.f_code, frame.f_lasti
    return CallbackContext(_connect(args, dict(kwargs), place), _close_connection, _CONNECT)


def connect_among(
    known: dict[object, Hosts], *args: Any, **kwargs: Any
) -> Coroutine[Any, Any, Connection]:
    """Connect as `connect()` does, and share what is *known* of hosts with others who do so."""
    return _connect(args, kwargs, known=known)


async def _connect(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    place: Place | None = None,
    known: dict[object, Hosts] | None = None,
) -> Connection:
    from .wire.opening import open_session
    from .wire.settling import settled

    given: dict[str, Any] = {}
    try:
        connection = Connection.__new__(Connection)
        given = _given(args, kwargs)
        connection._begin(settled(with_customs(given)) if known is None else settled(given))
    except ArgumentError as error:
        raise error.with_traceback(None)  # noqa: B904 - it is the same
    finally:
        del args, kwargs, given  # no traceback is to show the password
    session = connection._session
    session.opened_at = place
    if known is not None:
        session.hosts = known.setdefault(session.hosts.key, session.hosts)
    await open_session(session)
    return connection


def connection_of(session: Session) -> Connection:
    """Return the connection that stands for a session: the one that somebody has, or a new one."""
    connection: Connection | None = None if session.view is None else session.view()
    if connection is None:
        connection = Connection.__new__(Connection)
        connection._session = session
        if session.view_attributes is None:
            connection.cursorclass = session.options.cursorclass or Cursor
            session.view_attributes = connection.__dict__
        else:
            connection.__dict__ = session.view_attributes
        session.view = weakref.ref(connection)
    return connection


def check_cursor_class(options: ConnectOptions) -> None:
    """Raise `ArgumentError` if `cursorclass` is no class of cursors."""
    if options.cursorclass is not None and not is_cursor_class(options.cursorclass):
        from .settings import no_cursor_class

        raise ArgumentError(
            "argument 'cursorclass' takes a subclass of aiomysqlx.Cursor, got"
            f" {no_cursor_class(options.cursorclass)}"
        )


@cache
def joined(cursors: tuple[type[Cursor[Any]], ...]) -> type[Cursor[Any]]:
    """Return a class of cursors that does as all of *cursors* do."""
    names = [each.__name__.removesuffix("Cursor") for each in cursors]
    return type("".join([*names, "Cursor"]), cursors, {})


def _given(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments by the options' names; raises `ArgumentError`."""
    from .settings import PoolOptions
    from .wire.options import CONNECT, ConnectOptions

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


async def _close_cursor(cursor: Cursor[Any], error: BaseException | None) -> None:
    await cursor.close()


async def _ready(value: Any) -> Any:
    return value
