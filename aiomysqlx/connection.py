"""`SAConnection`: executes SQLAlchemy statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pymysql import err
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.elements import ClauseElement

from .begin import begin_savepoint, begin_transaction, begin_twophase, checked_kind
from .blocks import Block, Blocks, closed
from .cursor import Cursor
from .driver import Connection, connection_of
from .exc import ArgumentError, InvalidRequestError
from .lending import Lent
from .result import ExecuteContext, ResultProxy
from .runtime.awaitable import Asynchronous, Done, Promise
from .runtime.record import Absent, Lacking
from .runtime.words import Logged, logger
from .sql.keys import Inserted
from .sql.plan import Plan
from .sql.planner import Known, Planned, Planner, cached_plan, planner_for
from .sql.statements import (
    KEYWORDS,
    by_name,
    check_keywords,
    executable,
    has_parameter,
    refuse_empty,
    refuse_mixed,
)
from .sql.statements import distill_params as _distill_params
from .tables import Tables
from .transaction import Begin, Transaction, TwoPhaseTransaction
from .transaction import NestedTransaction as NestedTransaction  # where aiomysql.sa has them, too
from .transaction import RootTransaction as RootTransaction
from .wire.checks import check_level, check_read_only, check_seconds
from .wire.columns import Columns
from .wire.command import Command
from .wire.kept import current_level, set_of_session
from .wire.reply import ResultSet
from .wire.session import Session
from .wire.warning import check_warnings, issue, wants_warnings, warn

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Never


class UnknownOptionError(ArgumentError, TypeError):
    """A connection was given an execution option that it does not have."""


class _OptionsSet(Promise["SAConnection"]):
    __slots__ = ()
    _usage = "conn = await conn.execution_options(…)"


class SAConnection(Tables, Lacking, Asynchronous, Lent):
    """A connection that executes SQLAlchemy statements.

    `engine.acquire()` returns one. It may also be built around a connection of this package's
    `connect()` and an engine, whose dialect it uses: `close()` leaves that connection open, for its
    owner. No transaction begins by itself: without `begin()` a statement runs in the server's
    autocommit mode, or in the transaction that the server began when autocommit is off.
    """

    if not TYPE_CHECKING:  # what SQLAlchemy's own connections have, and the DB-API's
        commit = Absent(
            "async with conn.begin() commits at its end; connection.commit() is the DB-API's"
        )
        cursor = Absent("connection.cursor() is the DB-API's")
        exec_driver_sql = Absent("execute() takes a str")
        executemany = Absent("execute(statement, [parameters, …])")
        rollback = Absent(
            "transaction = await conn.begin() has one; connection.rollback() is the DB-API's"
        )
        run_sync = Absent("there is create_all() and drop_all()")
        scalars = Absent("(await conn.execute(…)).scalars()")
        stream = Absent("results are read whole: execute()")

    _usage = "async with engine.acquire() as conn"

    @property
    def _dialect(self) -> Dialect:
        dialect: Dialect = self._engine.dialect
        return dialect

    @property
    def closed(self) -> bool:
        """Whether `close()` has been called, or the DB-API connection is closed."""
        return self._session is None or self._session.closed

    @property
    def connection(self) -> Connection | None:
        """The DB-API connection; `None` after `close()`."""
        if self._connection is None and self._session is not None:
            self._connection = connection_of(self._session)
        return self._connection

    # -- executing -------------------------------------------------------------------------------

    def execute(self, query: Any, *multiparams: Any, **params: Any) -> ExecuteContext:
        """Execute a statement: await it, use it with `async with` or `async for`.

        *query* is a `str` with `%s` or `%(name)s` placeholders, or an executable SQLAlchemy
        construct. Parameters are positional values, one tuple, one dictionary, keywords, or a
        list of tuples or dictionaries, for which the statement is executed many times: an INSERT
        then sends many rows in each packet. The rows that come back are those of all executions.

        *timeout* limits all of it, in seconds: the keyword, if the statement has no parameter of
        that name, or else the statement's execution option or the engine's `statement_timeout`.
        With `None` there is no limit.

        Raises `ArgumentError` if *query* is no statement or the parameters do not fit it, the
        server's error (`pymysql.err`) if the server refuses it, `StatementTimeoutError` after
        *timeout* seconds.
        """
        options = getattr(query, "_execution_options", None)
        if options or self._timeout is not None or (params and not KEYWORDS.isdisjoint(params)):
            return ExecuteContext(self._execute_in_time(query, multiparams, params, options or {}))
        return ExecuteContext(self._execute(query, multiparams, params))

    async def scalar(self, query: Any, *multiparams: Any, **params: Any) -> Any:
        """Execute a statement and return the first column of the first row, or `None`."""
        result = await self.execute(query, *multiparams, **params)
        return await result.scalar()

    async def _execute_in_time(
        self,
        query: Any,
        multiparams: Sequence[Any],
        params: dict[str, Any],
        options: Mapping[str, Any],
    ) -> ResultProxy:
        check_keywords(query, multiparams, params)
        timeout = options.get("timeout", self._timeout)
        if "timeout" in params and (multiparams or not has_parameter(query, "timeout")):
            params = {**params}
            timeout = params.pop("timeout")
        if timeout is None:
            return await self._execute(query, multiparams, params)
        with self._open().limit(check_seconds("timeout", timeout)):
            return await self._execute(query, multiparams, params)

    async def _execute(
        self, query: Any, multiparams: Sequence[Any], params: dict[str, Any]
    ) -> ResultProxy:
        raw = self._open()
        if raw.is_unsettled():
            await raw.ready()
            self._open()
        dps = multiparams
        if params and dps:
            refuse_mixed(params)
        if len(dps) != 1 or type(dps[0]) is not dict:
            dps = _distill_params(multiparams, params)
        echo = raw.echo
        if echo and echo == "values":
            logger.info("%r", dps)
        if isinstance(query, str):
            return await self._execute_text(raw, query, dps)
        planner = self._planner
        if planner is None or raw.syntax is not self._syntax:
            planner = self._choose_planner(raw)
        known = planner.known(query)
        statement = query if known is not None else executable(query)
        if known is None and isinstance(statement, ExecutableDDLElement):
            return await self._execute_ddl(raw, planner, statement, dps)
        if len(dps) > 1:
            return await self._execute_many(raw, planner, statement, dps, known)
        if not dps and multiparams:
            refuse_empty(statement)
        plan, packet, columns, result = self._prepare(raw, planner, query, statement, dps, known)
        log = _told(plan, statement) if echo else None
        results = await raw.run(Command(packet, plan.describe, columns, result._shape, log))
        if plan.returning:
            self._take_returned(raw, plan, results[0], result)
        if results[-1].warning_count:
            await warn(self._raw(), self._wanted_warnings(statement))
        return result._load(results)

    def _prepare(
        self,
        raw: Session,
        planner: Planner,
        query: Any,
        statement: ClauseElement,
        dps: Sequence[Any],
        known: Known | None,
    ) -> tuple[Plan, bytes, Columns | None, ResultProxy]:
        """Return the plan of one execution, its packet, its columns if known, and its result."""
        parameters = None
        if dps:
            parameters = dps[0]
            if type(parameters) is not dict:
                parameters = by_name(statement, parameters)
        planned: Planned | None = None
        cache = self._compiled_cache
        if cache is not None:
            planned = cached_plan(cache, query, planner, statement, parameters, known, raw)
        elif known is not None:  # as plan() would ask: it costs a reused statement a call less
            planned = known.planned(parameters, False)
        if planned is None:
            planned = planner.plan(statement, parameters, False, known, raw)
        plan, extracted, parameters = planned
        text = plan.text(self._syntax[0])
        if plan.prefetch:
            parameters = plan.completed(parameters, extracted, statement)
        packet = plan.render(text, parameters, extracted, self._syntax)
        result = ResultProxy(self, statement)
        if plan.keys is not None:
            given = plan.keys.given(parameters, extracted)
            result._inserted = Inserted(plan.keys, [given], many=False)
        return plan, packet, text.columns, result

    async def _execute_text(self, raw: Session, sql: str, dps: Sequence[Any]) -> ResultProxy:
        result = ResultProxy(self)
        cursor = Cursor(self.connection, bool(raw.echo))
        cursor.warnings = self._warnings
        if len(dps) > 1:
            await cursor.executemany(sql, dps)
        else:
            await cursor.execute_shaped(sql, (dps[0] or None) if dps else None, result._shape)
            cursor.raise_later()
        return result._load(cursor.results)

    async def _execute_ddl(
        self,
        raw: Session,
        planner: Planner,
        statement: ExecutableDDLElement,
        dps: Sequence[Any],
    ) -> ResultProxy:
        if len(dps) > 1 or any(dps):
            raise ArgumentError(
                "Don't mix sqlalchemy DDL clause and execution with parameters: it takes none"
            )
        cursor = Cursor(self.connection, bool(raw.echo))
        sql = planner.ddl(statement, raw)
        cursor.warnings = self._wanted_warnings(statement)
        await cursor.execute_shaped(sql, None, None)
        return ResultProxy(self)._load(cursor.results)

    async def _execute_many(
        self,
        raw: Session,
        planner: Planner,
        statement: ClauseElement,
        groups: Sequence[Any],
        known: Known | None,
    ) -> ResultProxy:
        from .sql.batch import merged, plan_many  # which few have use for: 0.6 ms of an import
        from .wire.turns import Turns

        with Turns(raw) as turns:
            execution, packets = await plan_many(turns, planner, statement, groups, known)
        plan = execution.plan
        told: list[tuple[Any, ...]] | None
        told = [] if wants_warnings(raw, self._wanted_warnings(statement)) else None
        with Logged(raw.echo, _told(plan, statement)):
            results = await raw.run_each([Command(each, plan.describe) for each in packets], told)
        whole = merged(results)
        if plan.returning and whole.rows:
            self._note_write(raw)
        issue(told or ())
        result = ResultProxy(self, statement)
        if plan.keys is not None and execution.given is not None:
            result._inserted = Inserted(plan.keys, execution.given, many=True)
        return result._load([whole])

    def _choose_planner(self, raw: Session) -> Planner:
        self._syntax = raw.syntax
        self._planner = planner_for(self._dialect, raw.server_version, raw.no_backslash_escapes)
        return self._planner

    def _open(self) -> Session:
        raw = self._session
        if raw is None or self._released:
            raise closed()
        if raw.barred is not None:
            raise raw.barred()
        return raw

    def _raw(self) -> Session:
        raw = self._own()
        if raw is None:
            raise closed()
        return raw

    def _own(self) -> Session | None:
        """Return the session; `None` once it was given back."""
        return None if self._released else self._session

    def _note_write(self, raw: Session) -> None:
        """Note that the transaction has written: the server does not count rows that it returns."""
        if raw is self._own():
            raw.note_write()

    def _take_returned(
        self, raw: Session, plan: Plan, returned: ResultSet, result: ResultProxy
    ) -> None:
        if returned.rows:
            self._note_write(raw)
        if plan.keys is not None and plan.keys.returned:
            result._take_keys(returned)

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

    def _wanted_warnings(self, statement: ClauseElement) -> bool | None:
        """Return whether the server's warnings are wanted; `None`: as the raw connection has it."""
        wanted: bool | None = _options(statement).get("warnings")
        return self._warnings if wanted is None else wanted

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
        except (err.MySQLError, InvalidRequestError):
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


def _options(statement: ClauseElement) -> Mapping[str, Any]:
    options: Mapping[str, Any] = statement.get_execution_options()  # type: ignore[attr-defined]
    return options


def _told(plan: Plan, statement: ClauseElement) -> str:
    """Return what the log shows of a statement."""
    token = _options(statement).get("logging_token")
    return f"[{token}] {plan.sql}" if token else plan.sql
