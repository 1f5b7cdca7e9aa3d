"""SQLAlchemy's dialect for this driver: `create_async_engine("mysql+aiomysqlx://…")`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import pymysql
from pymysql import err
from sqlalchemy import exc
from sqlalchemy.connectors.asyncio import (
    AsyncAdapt_dbapi_connection,
    AsyncAdapt_dbapi_cursor,
)
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.pool import AsyncAdaptedQueuePool
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
    is_disconnect,
)
from .settings import PoolOptions
from .url import from_url
from .wire.dialogue import refused
from .wire.ending import PREPARED, commit, unknown_fate
from .wire.leaving import is_undone, leave_further, settle_left
from .wire.options import CONNECT, ConnectOptions
from .wire.warning import warn

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ConnectArgsType, DBAPIConnection
    from sqlalchemy.engine.url import URL
    from sqlalchemy.pool import PoolProxiedConnection

    from .wire.hosts import Hosts
    from .wire.outcome import Ending
    from .wire.session import Session

_CUT_OFF = (
    "this savepoint has ended with the one of native() in which it was begun: end the inner one"
    " first"
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
        await_only(self._connection.ensure_closed())

    def terminate(self) -> None:
        """Close the connection without waiting, in a greenlet or out of it."""
        self._connection.close()


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


class MySQLDialect_aiomysqlx(MySQLDialect_pymysql):  # noqa: N801
    """The dialect behind `mysql+aiomysqlx://`."""

    driver = "aiomysqlx"
    supports_statement_cache = True
    supports_server_side_cursors = True
    _sscursor = AsyncAdapt_aiomysqlx_ss_cursor
    is_async = True
    has_terminate = True
    poolclass = AsyncAdaptedQueuePool

    @classmethod
    def import_dbapi(cls) -> Any:
        """Return what SQLAlchemy takes for a DB-API module."""
        return AsyncAdapt_aiomysqlx_dbapi()

    def create_connect_args(self, url: URL, _translate_args: Any = None) -> ConnectArgsType:
        """Return the arguments of `connect()` that a URL gives; raises `ArgumentError`.

        Each is right by itself then. Whether they fit together, and to `connect_args`, `connect()`
        tells.
        """
        arguments = from_url(url, ConnectOptions, PoolOptions)
        for name, value in arguments.items():
            CONNECT[name].check(value)
        return (), arguments

    def on_connect(self) -> Any:
        """Return what is to be done with a new connection."""
        # Not that of PyMySQL's: a connection of ours has its character set from its login on.
        return MySQLDialect.on_connect(self)

    def do_ping(self, dbapi_connection: Any) -> Any:
        """Check that the server answers; one of several hosts, that it is still as it is wanted."""
        dbapi_connection.check()
        return True

    def do_terminate(self, dbapi_connection: Any) -> None:
        """Close a connection without waiting."""
        dbapi_connection.terminate()

    def do_rollback(self, dbapi_connection: PoolProxiedConnection) -> None:
        """Roll back; have a connection replaced by its pool that does no work any more."""
        super().do_rollback(dbapi_connection)  # type: ignore[no-untyped-call]
        adapted: Any = dbapi_connection.dbapi_connection
        if adapted.lost:
            dbapi_connection.invalidate(soft=True)

    def reset_isolation_level(self, dbapi_conn: DBAPIConnection) -> None:
        """Put back what was set of a connection for who had it, if it is not closed."""
        adapted: Any = dbapi_conn
        if not adapted.driver_connection.closed:
            super().reset_isolation_level(dbapi_conn)  # type: ignore[no-untyped-call]

    def do_savepoint(self, connection: Any, name: str) -> None:
        """Begin a savepoint, whose name may be that of an earlier one."""
        super().do_savepoint(connection, name)  # type: ignore[no-untyped-call]
        connection.connection.driver_connection._session.cut_off -= {name}

    def do_rollback_to_savepoint(self, connection: Any, name: str) -> None:
        """Roll back to a savepoint, which may have ended with one of `native()`."""
        adapted = connection.connection.dbapi_connection
        adapted.check_savepoint(name)
        if adapted.is_undone():
            connection.invalidate()  # all of the transaction is
        else:
            super().do_rollback_to_savepoint(connection, name)  # type: ignore[no-untyped-call]

    def do_release_savepoint(self, connection: Any, name: str) -> None:
        """Release a savepoint, which may have ended with one of `native()`."""
        adapted = connection.connection.dbapi_connection
        adapted.check_savepoint(name)
        adapted.leave_stream()
        super().do_release_savepoint(connection, name)  # type: ignore[no-untyped-call]

    def do_prepare_twophase(self, connection: Any, xid: Any) -> None:
        """Prepare a two-phase transaction, which nobody shares any more."""
        connection.connection.dbapi_connection.end_sharing()
        super().do_prepare_twophase(connection, xid)

    def do_rollback_twophase(
        self, connection: Any, xid: Any, is_prepared: bool = True, recover: bool = False
    ) -> None:
        """Roll a two-phase transaction back, which nobody shares any more."""
        adapted = connection.connection.dbapi_connection
        adapted.end_sharing()
        if not is_prepared and adapted.is_undone():
            connection.invalidate()
        else:
            super().do_rollback_twophase(connection, xid, is_prepared, recover)

    def do_commit_twophase(
        self, connection: Any, xid: Any, is_prepared: bool = True, recover: bool = False
    ) -> None:
        """Commit a two-phase transaction, which nobody shares any more."""
        adapted = connection.connection.dbapi_connection
        adapted.end_sharing()
        if not is_prepared:
            self.do_prepare_twophase(connection, xid)
        was_lost = adapted.lost
        try:
            super().do_commit_twophase(connection, xid, True, recover)
        except exc.DBAPIError as error:
            session = adapted._connection._session
            refused = getattr(error.orig, "sqlstate", None) is not None
            unknown = unknown_fate(session, error.orig, "XA COMMIT", PREPARED, refused)
            if was_lost or unknown is None:
                raise
            raise exc.DBAPIError.instance(
                error.statement,
                error.params,
                unknown,
                err.Error,
                hide_parameters=error.hide_parameters,
                connection_invalidated=error.connection_invalidated,
                dialect=self,
                ismulti=error.ismulti,
            ) from unknown

    def is_disconnect(self, e: BaseException, connection: Any, cursor: Any) -> bool:
        """Tell whether an error says that the connection is lost, or no good any more."""
        adapted = getattr(connection, "dbapi_connection", connection)
        return is_disconnect(e) or (adapted is not None and adapted.lost)

    def get_driver_connection(self, connection: DBAPIConnection) -> Connection:
        """Return the connection of this package's, on which everything is awaited."""
        raw: Connection = connection._connection
        return raw


class MariaDBDialect_aiomysqlx(MariaDBDialect, MySQLDialect_aiomysqlx):  # noqa: N801
    """The dialect behind `mariadb+aiomysqlx://`."""

    supports_statement_cache = True


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
