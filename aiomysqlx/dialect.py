"""SQLAlchemy's dialect for this driver: `create_async_engine("mysql+aiomysqlx://…")`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymysql import err
from sqlalchemy import exc
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.pool import AsyncAdaptedQueuePool

from .adapted import AsyncAdapt_aiomysqlx_dbapi, AsyncAdapt_aiomysqlx_ss_cursor
from .driver import Connection
from .exc import ArgumentError, is_disconnect
from .settings import PoolOptions
from .url import from_url
from .wire.ending import PREPARED, unknown_fate
from .wire.options import CONNECT, ConnectOptions

if TYPE_CHECKING:
    from sqlalchemy.engine.interfaces import ConnectArgsType, DBAPIConnection
    from sqlalchemy.engine.url import URL
    from sqlalchemy.pool import PoolProxiedConnection

# What SQLAlchemy's own engine and pool take, which no URL gives them.
_OF_THE_ENGINE = frozenset(
    {
        *("echo_pool", "max_overflow", "pool_logging_name", "pool_pre_ping", "pool_recycle"),
        *("pool_reset_on_return", "pool_size", "pool_timeout", "pool_use_lifo", "poolclass"),
    }
)


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
        for name in url.query:
            if (own := name.replace("-", "_")) in _OF_THE_ENGINE:
                raise ArgumentError(
                    f"argument {name!r} in the URL: give it to create_async_engine() itself,"
                    f" as {own}=…"
                )
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
