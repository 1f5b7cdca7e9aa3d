"""`SAConnection`: executes SQLAlchemy statements."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy.engine.interfaces import Dialect

from .begin import begin_savepoint, begin_transaction, begin_twophase, checked_kind
from .blocks import Block, Blocks
from .driver import Connection as Connection  # as in `aiomysql.connection`
from .driver import connect as connect
from .exc import SERVER_ERRORS, ArgumentError, InvalidRequestError
from .runtime.awaitable import Asynchronous, Done, Promise
from .runtime.record import Absent, Lacking, Single
from .sql.statements import distill_params as _distill_params  # noqa: F401 - where aiomysql.sa has it
from .tables import Tables
from .transaction import Begin, Transaction, TwoPhaseTransaction
from .transaction import NestedTransaction as NestedTransaction  # where aiomysql.sa has them, too
from .transaction import RootTransaction as RootTransaction
from .wire.checks import check_level, check_read_only
from .wire.kept import current_level, set_of_session
from .wire.warning import check_warnings

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from sqlalchemy import Executable
    from sqlalchemy.sql.selectable import TypedReturnsRows
    from typing_extensions import Never, Unpack

    from .pipeline import Pipeline
    from .statement_types import Executing, T
else:
    from .executing import Executing


class UnknownOptionError(ArgumentError, TypeError):
    """A connection was given an execution option that it does not have."""


class NotTrackedError(InvalidRequestError, AttributeError):
    """A connection was asked for a GTID that its server is not asked to tell."""


class _OptionsSet(Promise["SAConnection"]):
    __slots__ = ()
    _usage = "conn = await conn.execution_options(…)"


class SAConnection(Executing, Tables, Lacking, Single, Asynchronous):
    """A connection that executes SQLAlchemy statements.

    `engine.acquire()` returns one. It may also be built around a connection of this package's
    `connect()` and an engine, whose dialect it uses: `close()` leaves that connection open, for its
    owner. No transaction begins by itself: without `begin()` a statement runs in the server's
    autocommit mode, or in the transaction that the server began when autocommit is off.
    """

    if not TYPE_CHECKING:  # what SQLAlchemy's own connections have, and the DB-API's
        commit = Absent(
            "async with conn.begin() commits at its end; conn.connection.commit() is the DB-API's"
        )
        cursor = Absent("conn.connection.cursor() is the DB-API's")
        exec_driver_sql = Absent("execute() takes a str")
        executemany = Absent("execute(statement, [parameters, …])")
        rollback = Absent(
            "transaction = await conn.begin() has one; conn.connection.rollback() is the DB-API's"
        )
        run_sync = Absent("there is create_all() and drop_all()")
        scalars = Absent("(await conn.execute(…)).scalars()")

    _usage = "async with engine.acquire() as conn"

    # The latest stream, while somebody has it.
    _stream: Callable[[], Any] | None = None

    @property
    def closed(self) -> bool:
        """Whether `close()` has been called, or the DB-API connection is closed."""
        return self._session is None or self._session.closed

    @property
    def last_gtid(self) -> str | None:
        """The GTID of the latest transaction that was committed since the connection was acquired.

        It is there after a release, too. `None`: nothing was committed, or nothing that the server
        writes to its binary log. Raises `InvalidRequestError` without `track_gtids`.
        """
        raw = self._own()
        gtid = self._gtid if raw is None else raw.last_gtid
        tracks = self._engine._tracks_gtids if raw is None else raw.options.track_gtids
        if gtid is None and not tracks:
            raise NotTrackedError(
                "the server is not asked to tell GTIDs: make the engine with track_gtids=True"
            )
        return gtid

    @overload
    async def scalar(
        self,
        query: TypedReturnsRows[tuple[T, Unpack[tuple[Any, ...]]]],
        *multiparams: Any,
        **params: Any,
    ) -> T | None: ...
    @overload
    async def scalar(
        self,
        query: TypedReturnsRows[T, Unpack[tuple[Any, ...]]],
        *multiparams: Any,
        **params: Any,
    ) -> T | None: ...
    @overload
    async def scalar(self, query: str | Executable, *multiparams: Any, **params: Any) -> Any: ...
    async def scalar(self, query: Any, *multiparams: Any, **params: Any) -> Any:
        """Execute a statement and return the first column of the first row, or `None`."""
        result = await self.execute(query, *multiparams, **params)
        return await result.scalar()

    def pipeline(self, *, transaction: bool = False) -> Pipeline:
        """Send statements without waiting for the answers to those before them.

        `async with conn.pipeline() as pipe:`, `first = pipe.execute(…)`, `await first`. The server
        goes on after a statement that it refuses; with *transaction* all are committed as the block
        is left, or none: in a savepoint, if a transaction is in progress.
        """
        from .pipeline import Pipeline, check_transaction  # which few have use for

        check_transaction(transaction)
        return Pipeline(self, transaction)

    async def _begin_for_pipeline(self) -> Transaction[SAConnection]:
        """Begin a transaction at the round trip of its first statement, or a savepoint in one."""
        blocks = self._use_blocks()
        if blocks.current is not None:
            return await begin_savepoint(self, blocks, None, None)
        return await begin_transaction(self, blocks, None, None, rides=True)

    # -- transactions ----------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of `begin()` or its siblings is in progress."""
        transaction = self._transaction
        return transaction is not None and transaction.is_active

    @property
    def _transaction(self) -> Any:
        """The innermost transaction in progress."""
        return None if self._blocks is None else self._blocks.current

    def begin(
        self, *, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Begin[Transaction[SAConnection]]:
        """Begin a transaction: await it, or use it with `async with`.

        Within a transaction, the new one is emulated: its commit does nothing, its rollback ends
        the outer one.

        *isolation_level* is one of SQLAlchemy's names, such as `"READ COMMITTED"`; with *read_only*
        the server refuses what writes (`False`: it does not, whatever the session's mode). They
        hold for this transaction, and are sent together with its begin. Within a transaction they
        raise `InvalidRequestError` unless they are those of the outermost one.
        """
        blocks = self._use_blocks()
        return Begin(begin_transaction(self, blocks, isolation_level, read_only))

    def begin_nested(
        self, *, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Begin[Transaction[SAConnection]]:
        """Begin a savepoint, or the root transaction if there is none.

        *isolation_level* and *read_only* are those of `begin()`.
        """
        blocks = self._use_blocks()
        return Begin(begin_savepoint(self, blocks, isolation_level, read_only))

    def begin_twophase(
        self,
        xid: str | bytes | None = None,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
    ) -> Begin[TwoPhaseTransaction[SAConnection]]:
        """Begin a two-phase (XA) transaction, with the id *xid* or a new one.

        *isolation_level* and *read_only* are those of `begin()`. Raises `InvalidRequestError`
        within a transaction.
        """
        kind = checked_kind(isolation_level, read_only)
        if xid is None:
            xid = self._dialect.create_xid()
        return Begin(begin_twophase(self, self._use_blocks(), xid, kind))

    async def recover_twophase(self) -> list[str | bytes]:
        """Return the ids of the server's prepared transactions, as text or else as bytes.

        Those of other programs, with a branch qualifier or a format id, are left out, since
        `commit_prepared()` and `rollback_prepared()` cannot end them. `XA RECOVER` lists them.
        """
        from . import xa  # which few have use for: 0.2 ms of an import

        return await xa.recover(self._use_blocks())

    async def rollback_prepared(self, xid: str | bytes, *, is_prepared: bool = True) -> None:
        """Roll the transaction with the id *xid* back.

        Raises `InvalidRequestError` while this connection is in a transaction of its own.
        """
        await self._end_prepared("ROLLBACK", xid, is_prepared)

    async def commit_prepared(self, xid: str | bytes, *, is_prepared: bool = True) -> None:
        """Commit the transaction with the id *xid*; in one phase if it is not prepared.

        Raises `InvalidRequestError` while this connection is in a transaction of its own.
        """
        await self._end_prepared("COMMIT", xid, is_prepared)

    async def _end_prepared(self, how: str, xid: str | bytes, is_prepared: bool) -> None:
        from . import xa

        await xa.end_prepared(self._use_blocks(), how, xid, is_prepared)

    def _use_blocks(self) -> Blocks:
        if self._blocks is None:
            self._blocks = Blocks(self._own(), self._timeout, self._place)
        return self._blocks

    def execution_options(
        self,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
        warnings: bool | None = None,
        **others: Never,
    ) -> Promise[SAConnection]:
        """Set options that hold until the connection is released; return the connection itself.

        *isolation_level* is one of SQLAlchemy's names, `"AUTOCOMMIT"` among them; *read_only* says
        whether transactions only read. Within a transaction these two raise `InvalidRequestError`.
        *warnings* says whether the server's warnings are asked for and issued.
        """
        if others:
            raise UnknownOptionError(
                f"a connection has no execution option {min(others)!r}: there are"
                " 'isolation_level', 'read_only' and 'warnings', and more of a statement"
            )
        return _OptionsSet(self._set_options(isolation_level, read_only, warnings))

    async def _set_options(
        self, isolation_level: str | None, read_only: bool | None, warnings: bool | None
    ) -> SAConnection:
        level = check_level(isolation_level, autocommit=True)
        check_read_only(read_only)
        check_warnings(warnings)
        raw = self._open()
        if warnings is not None:
            self._warnings = warnings
        if level is None and read_only is None:
            return self
        if raw.is_unsettled():
            await raw.ready()
            if raw.in_doubt:
                await raw.resolve_doubt()
        if self._transaction is not None or raw.in_transaction:
            raise InvalidRequestError(
                "a transaction is in progress, and this is for those that follow: set it before"
            )
        await set_of_session(raw, level, read_only)
        return self

    async def get_isolation_level(self) -> str:
        """Ask the server for the isolation level of the session's transactions, and return it."""
        return await current_level(self._open())

    # -- tables ----------------------------------------------------------------------------------

    def _for_tables(self) -> AbstractAsyncContextManager[SAConnection]:
        return nullcontext(self)

    def _server_dialect(self) -> Dialect:
        dialect: Dialect = self._choose_planner(self._open()).dialect
        return dialect

    # -- ending ----------------------------------------------------------------------------------

    def invalidate(self) -> Done:
        """Close the DB-API connection at once; the pool replaces it once it is released.

        This is for a connection that is known to be of no more use. A transaction in progress ends:
        nothing of it is committed, and its block raises `InvalidRequestError`. All is done when
        this returns; the return value may be awaited, since SQLAlchemy's own is a coroutine.
        """
        raw = self._raw()
        raw.check_loop()
        self._use_blocks().lose(True)
        raw.close(f"the connection has been invalidated: {raw.remedy}")
        return Done()

    async def close(self) -> None:
        """Roll an open transaction back and release the connection to the engine.

        A connection that cannot roll back is closed, which ends the transaction too.
        """
        raw = self._session
        if raw is None:
            return
        raw.check_loop()
        unfinished = self._unfinished()
        try:
            if unfinished is not None:
                await self._use_blocks().undo(unfinished)
        except (*SERVER_ERRORS, InvalidRequestError):
            pass  # the connection is closed
        finally:
            self._give_back()

    def _unfinished(self) -> Block | None:
        """Return the outermost of the transactions in progress."""
        return None if self._blocks is None else self._blocks.root

    def _give_back(self) -> None:
        """Release the connection to the engine, whatever became of the transaction."""
        if self._blocks is not None:
            self._blocks.current = None
        if self._stream is not None and self._session is not None:
            stream = self._stream()
            if stream is not None and not stream.closed:
                self._session.leave_stream()
        self._engine.release(self)
        self._detach()  # an engine has
        self._session = self._connection = None

    async def __aenter__(self) -> SAConnection:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()
