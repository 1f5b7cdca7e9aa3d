"""The driver as the DB-API that SQLAlchemy's dialect calls, without `await`: in its greenlets."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import pymysql
from sqlalchemy import exc
from sqlalchemy.connectors.asyncio import (
    AsyncAdapt_dbapi_connection,
    AsyncAdapt_dbapi_cursor,
)
from sqlalchemy.util.concurrency import await_only, in_greenlet

from . import __version__, driver
from .cursor import Cursor
from .cursors import SSCursor
from .driver import Connection
from .exc import (
    SERVER_ERRORS,
    ArgumentError,
    ArgumentProgrammingError,
    Error,
    InvalidRequestError,
    InvalidRequestProgrammingError,
)
from .wire.claims import refused
from .wire.ending import commit
from .wire.leaving import is_undone, leave_further, settle_left
from .wire.warning import warn

if TYPE_CHECKING:
    from .wire.hosts import Hosts
    from .wire.outcome import Ending
    from .wire.session import Session

_CUT_OFF = (
    "this savepoint has ended with the one of native() in which it was begun: end the inner one"
    " first"
)
_OF_PYMYSQL = (
    "Warning",
    "Error",
    "InterfaceError",
    "DatabaseError",
    "DataError",
    "OperationalError",
    "IntegrityError",
    "InternalError",
    "ProgrammingError",
    "NotSupportedError",
    "STRING",
    "BINARY",
    "NUMBER",
    "DATETIME",
    "TIMESTAMP",
    "Binary",
)


class AsyncAdapt_aiomysqlx_cursor(AsyncAdapt_dbapi_cursor):  # noqa: N801 - SQLAlchemy's way
    """A cursor without `await`: of what it does, only executing waits."""

    __slots__ = ()
    _awaitable_cursor_close = False
    _adapt_connection: AsyncAdapt_aiomysqlx_connection
    _connection: Connection  # type: ignore[assignment]  # whose cursors are awaited
    _cursor: Cursor  # type: ignore[assignment]  # likewise

    def __init__(self, adapt_connection: AsyncAdapt_aiomysqlx_connection) -> None:
        self._adapt_connection = adapt_connection
        self._connection = adapt_connection._connection
        try:
            self._cursor = self._new_cursor()
        except Error as error:
            adapt_connection._handle_exception(error)

    def _new_cursor(self) -> Cursor:
        return self._connection.new_cursor()

    @property
    def description(self) -> Any:
        """The columns of the current result, see `Cursor`."""
        return self._cursor.description

    def execute(self, operation: str, parameters: Any = None) -> int:
        """Execute a statement, as `Cursor.execute()` does.

        Raises the error of a later result, a procedure's: SQLAlchemy does not ask for that.
        """
        try:
            self._adapt_connection.wait()
            if type(self._cursor) is Cursor and in_greenlet():
                return self._execute(operation, parameters)
            rows = await_only(self._cursor.execute(operation, parameters))  # or tells who is not
            self._cursor.raise_later()
            return rows
        except Error as error:
            self._adapt_connection._handle_exception(error)

    def _execute(self, operation: str, parameters: Any) -> int:
        """Do what `Cursor.execute()` does, with one thing awaited: a coroutine's own."""
        cursor = self._cursor
        session = cursor._alive()
        if session.is_unsettled():
            await_only(session.ready())
        sent = cursor.send(session, operation, parameters)
        try:
            results = await_only(sent)
        except BaseException as error:
            cursor.forget(error)
            raise
        cursor.load(results)
        cursor.raise_later()
        if results[-1].warning_count:
            await_only(warn(session, cursor.warnings))
        return cursor.rowcount

    def executemany(self, operation: str, seq_of_parameters: Any) -> int | None:
        """Execute a statement for each group, as `Cursor.executemany()` does."""
        try:
            self._adapt_connection.wait()
            rows = await_only(self._cursor.executemany(operation, seq_of_parameters))
            self._cursor.raise_later()
            return rows
        except Error as error:
            self._adapt_connection._handle_exception(error)

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, `None` at the end."""
        rows = self._cursor.take(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[tuple[Any, ...]]:
        """Return the next *size* rows."""
        return self._cursor.take(self.arraysize if size is None else size)

    def fetchall(self) -> Sequence[tuple[Any, ...]]:
        """Return the rows that are left."""
        return self._cursor.take_all()

    def __iter__(self) -> Any:
        while rows := self._cursor.take(1):
            yield rows[0]

    def nextset(self) -> bool | None:  # type: ignore[override]  # as PEP 249 has it
        """Go to the next result; `None` if there is none."""
        return self._cursor.advance()

    def setinputsizes(self, *inputsizes: Any) -> None:
        """Do nothing; the DB-API requires it."""

    def close(self) -> None:
        """Forget the results."""
        self._cursor.detach()


class AsyncAdapt_aiomysqlx_ss_cursor(AsyncAdapt_aiomysqlx_cursor):  # noqa: N801
    """A cursor for `stream()`, whose rows are read from the server as they are fetched."""

    __slots__ = ()
    server_side = True
    _cursor: SSCursor

    def _new_cursor(self) -> Cursor:
        return self._connection.new_cursor(SSCursor)

    def fetchone(self) -> Any:
        """Return the next row, `None` at the end."""
        rows = self._cursor.buffered(1) or self._fetch(self._cursor.fetchmany(1))
        return rows[0] if rows else None

    def fetchmany(self, size: int | None = None) -> Sequence[Any]:
        """Return the next *size* rows."""
        rows: Sequence[Any] = self._fetch(self._cursor.fetchmany(size))
        return rows

    def fetchall(self) -> Sequence[Any]:
        """Return the rows that are left."""
        rows: Sequence[Any] = self._fetch(self._cursor.fetchall())
        return rows

    def __iter__(self) -> Any:
        while (row := self.fetchone()) is not None:
            yield row

    def nextset(self) -> bool | None:  # type: ignore[override]  # as PEP 249 has it
        """Go to the next result; `None` if there is none."""
        more: bool | None = self._fetch(self._cursor.nextset())
        return more

    def _fetch(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await_only(work)
        except Error as error:
            self._adapt_connection._handle_exception(error)


class AsyncAdapt_aiomysqlx_connection(AsyncAdapt_dbapi_connection):  # noqa: N801
    """A connection without `await`, for SQLAlchemy's greenlets."""

    __slots__ = ()
    _cursor_cls: Any = AsyncAdapt_aiomysqlx_cursor
    _ss_cursor_cls: Any = AsyncAdapt_aiomysqlx_ss_cursor
    _connection: Connection  # type: ignore[assignment]  # whose cursors are awaited

    def __init__(self, dbapi: Any, connection: Connection) -> None:
        # Without the lock of the class above: wait() does its work.
        self.dbapi = dbapi
        self._connection = connection

    def wait(self) -> None:
        """Wait for what another task executes on this connection."""
        session = self._connection._session
        if session.sharers:
            session.check_turn()
        if session.protocol.replies:
            leave_further(session)  # SQLAlchemy does not ask for further results
        while session.at_work or (session.protocol.replies and session.awaited):
            await_only(asyncio.sleep(0) if session.at_work else session.protocol.idle())

    def end_sharing(self) -> None:
        """Have no `native()` block execute any more, and wait for what one executes."""
        self._connection._session.end_sharing()
        self.wait()

    @property
    def lost(self) -> bool:
        """Whether the connection is closed, or will do no work any more."""
        return self._connection._session.useless

    def check_savepoint(self, name: str) -> None:
        """Raise what SQLAlchemy would, if the savepoint has ended with one of `native()`."""
        if name in self._connection._session.cut_off:
            raise exc.InvalidRequestError(_CUT_OFF)

    def _handle_exception(self, error: Exception) -> NoReturn:
        raise _of_dbapi(error)

    def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for *work*, after what another task executes."""
        try:
            self.wait()
            await_only(work)
        except Error as error:
            self._handle_exception(error)
        finally:
            work.close()  # or it would be warned about, where it is not its turn

    def ping(self, reconnect: bool = False) -> None:
        """Check that the server answers."""
        self._finish(self._connection.ping(reconnect))

    def check(self) -> None:
        """Check that the server answers; with several hosts or a target, that it does work."""
        session = self._connection._session
        several = session.hosts.asks_role(session.want)
        self._finish(session.prove() if several else session.ping())

    def character_set_name(self) -> str:
        """Return the character set of the session."""
        return self._connection.character_set_name()

    def autocommit(self, value: bool) -> None:
        """Switch the server's autocommit mode on or off."""
        self._finish(self._connection.autocommit(value))

    def get_autocommit(self) -> bool:
        """Tell whether the server is in autocommit mode."""
        return self._connection.get_autocommit()

    def commit(self) -> None:
        """Commit the current transaction."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Roll back, if anything was executed since the latest end of a transaction.

        SQLAlchemy asks for it whenever a connection goes back to its pool.
        """
        self._end("ROLLBACK")

    def _end(self, sql: str) -> None:
        """Execute COMMIT, or ROLLBACK if there may be anything to end.

        In the end there is none: SQLAlchemy would lend the connection as a refusal has left it.
        """
        session = self._connection._session
        try:
            lost = self._lost_work(session) if session.sharers and sql == "COMMIT" else None
            self.end_sharing()
            if sql == "ROLLBACK" and self.is_undone():
                return
            session.leave_stream()
            if session.left is not None:
                await_only(settle_left(session))
            if sql == "COMMIT":
                session.raise_later()
            session.forget_left()
            if sql == "COMMIT" and lost is None:
                await_only(commit(session))
            elif lost is not None or not session.surely_ended:
                await_only(session.query("ROLLBACK"))
            if lost is not None:
                raise refused(lost)
        except Error as error:
            self._handle_exception(error)

    def leave_stream(self) -> None:
        """End the stream that is open, if one is: what has begun it has ended."""
        try:
            self.wait()
        except Error as error:
            self._handle_exception(error)
        self._connection._session.leave_stream()

    def is_undone(self) -> bool:
        """Tell whether the connection was lost over a stream that was left, which rolls back.

        It is waited for. SQLAlchemy would raise it in the place of the error by which the stream
        was left.
        """
        self.leave_stream()
        session = self._connection._session
        try:
            return session.left is not None and await_only(is_undone(session))
        except Error as error:
            self._handle_exception(error)

    def _lost_work(self, session: Session) -> Ending | None:
        """Return what has ended the transaction that is shared, if its work was not committed."""
        if session.in_doubt and not session.busy:
            await_only(session.resolve_doubt())
        ending = session.ended
        return None if ending is None or ending.committed else ending

    def close(self) -> None:
        """Take leave of the server, close the socket and wait until it is closed."""
        await_only(self._connection._session.ensure_closed())

    def terminate(self) -> None:
        """Close the connection without waiting, in a greenlet or out of it.

        Neither this nor `close()` warns of what is lost: SQLAlchemy closes what it has given up.
        """
        self._connection._session.close()


class AsyncAdapt_aiomysqlx_dbapi:  # noqa: N801
    """This package as a DB-API module without `await`."""

    def __init__(self) -> None:
        # SQLAlchemy has a class for this, but not in all versions, and not with the same arguments.
        self.exceptions_module: ModuleType = pymysql
        self.VERSION_STRING: str = __version__  # as PyMySQL calls its own
        self.paramstyle = "format"
        # What is known of the hosts of an engine's connections, each of which is opened by itself.
        self._hosts: dict[object, Hosts] = {}
        for name in _OF_PYMYSQL:
            setattr(self, name, getattr(pymysql, name))

    def connect(self, *args: Any, **kwargs: Any) -> AsyncAdapt_aiomysqlx_connection:
        """Connect to a server, see `aiomysqlx.connect()`."""
        if not in_greenlet():
            raise exc.MissingGreenlet(
                "mysql+aiomysqlx connects from asyncio alone: make the engine by"
                " sqlalchemy.ext.asyncio.create_async_engine(), or use mysql+pymysql"
            )
        creator = kwargs.pop("async_creator_fn", None)
        if creator is None:
            # As SQLAlchemy has it with its other drivers: most do not want a trip for each warning.
            creator = partial(driver.connect_among, self._hosts, warnings=False)
        try:
            return AsyncAdapt_aiomysqlx_connection(self, await_only(creator(*args, **kwargs)))
        except Error as error:
            raise _of_dbapi(error) from error.__cause__


def _of_dbapi(error: BaseException) -> BaseException:
    """Return *error* as one of the DB-API's, if it is not: SQLAlchemy wraps those."""
    if isinstance(error, SERVER_ERRORS) or not isinstance(error, ArgumentError):
        return error
    kind = (
        InvalidRequestProgrammingError
        if isinstance(error, InvalidRequestError)
        else ArgumentProgrammingError
    )
    return kind(str(error))
