"""`SAConnection`: executes SQLAlchemy statements and owns the transactions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import Enum
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from pymysql import err
from pymysql.constants import COMMAND, SERVER_STATUS
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.elements import ClauseElement

from .cursor import Cursor
from .driver import Connection
from .exc import (
    ArgumentError,
    InvalidRequestError,
    ResourceClosedError,
    StatementTimeoutError,
    TransactionPreparedError,
    is_disconnect,
)
from .result import ResultProxy, RowProxy
from .runtime.absent import Absent, Lacking
from .runtime.awaitable import Asynchronous, AwaitableContext, Done
from .runtime.log import Logged, logger
from .runtime.place import shown
from .runtime.printable import brief, printable
from .sql.batch import merged
from .sql.executemany import Execution, packets_of_each, packets_of_rows, render_plan
from .sql.keys import Inserted
from .sql.plan import Parameters, Plan, translation
from .sql.planner import (
    Known,
    Planned,
    Planner,
    by_name,
    executable,
    has_parameter,
    planner_for,
    refuse_empty,
    resolved,
)
from .transaction import (
    INACTIVE,
    LOST,
    Begin,
    Kind,
    NestedTransaction,
    RootTransaction,
    Transaction,
    TwoPhaseTransaction,
)
from .wire.arguments import check_seconds
from .wire.channel import RELEASED, command, over, refused
from .wire.columns import describe_bytes
from .wire.ending import Ending, of_savepoint
from .wire.isolation import (
    begin_statement,
    characteristics,
    check_inner,
    check_level,
    check_read_only,
    current_level,
    set_of_session,
)
from .wire.turns import Turns, each_group
from .wire.warning import check_warnings, issue, wants_warnings, warn

if TYPE_CHECKING:  # the engine makes its connections; SQLAlchemy has CheckFirst from 2.1 on
    from sqlalchemy import MetaData, Table
    from sqlalchemy.sql.ddl import CheckFirst

    from .engine import Engine
    from .runtime.place import Place
T = TypeVar("T")
_UNLIMITED = nullcontext()
_BEING_ENDED = "this transaction is being ended: nothing is executed in it any more"
_PREPARED = "this transaction is prepared: commit it, or roll it back"
_ER_XAER_RMFAIL = 1399
_IN_TRANSACTION_FLAG: int = SERVER_STATUS.SERVER_STATUS_IN_TRANS
_OVER = {
    "COMMIT": "this transaction has been committed: leave its block, and begin again",
    "RELEASE": "this savepoint has been released: leave its block",
    "ROLLBACK": "this transaction has been rolled back: leave its block, and begin again",
    "ROLLBACK TO": "this savepoint has been rolled back: leave its block",
}


class SAConnection(Lacking, Asynchronous):
    """A connection that executes SQLAlchemy statements.

    Taken from an engine with `engine.acquire()`, or built around a connection of this package's
    `connect()` and an engine, whose dialect it takes: then the connection stays open, and its
    owner's, once `close()` is called. Nothing begins by itself: without `begin()` a
    statement runs in the server's autocommit mode, or in the transaction that the server began
    when autocommit is off.
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
    _connection: Connection | None = None
    # Set by the engine that lends the connection.
    _place: Place | None = None
    _warnings: bool | None = None
    _savepoints = 0
    # The `async with` blocks of transactions that are not left yet.
    _blocks: tuple[Transaction, ...] = ()
    # What is being ended in several steps, by two tasks perhaps.
    _endings: tuple[str, ...] = ()
    # What the planner is for: how the server reads a statement.
    _syntax: tuple[str, int] | None = None

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        compiled_cache: dict[Any, Any] | None = None,
    ) -> None:
        self._connection = connection
        self._released = False
        self._engine: Engine = engine
        self._dialect: Dialect = engine.dialect
        self._compiled_cache = compiled_cache
        # What each statement asks for: an instance's own attributes are read faster.
        self._planner: Planner | None = None
        self._timeout: float | None = None  # set by the engine that lends the connection
        self._transaction: Transaction | None = None

    @property
    def closed(self) -> bool:
        """Whether `close()` has been called, or the DB-API connection is closed."""
        return self._connection is None or self._connection.closed

    @property
    def connection(self) -> Connection | None:
        """The DB-API connection; `None` after `close()`."""
        return self._connection

    # -- executing -------------------------------------------------------------------------------

    def execute(self, query: Any, *multiparams: Any, **params: Any) -> ExecuteContext:
        """Execute a statement: await it, use it with `async with` or `async for`.

        *query* is a `str` with `%s` or `%(name)s` placeholders, or an executable SQLAlchemy
        construct. Parameters are positional values, one tuple, one dictionary, keywords, or a
        list of tuples or dictionaries, for which the statement is executed many times: an INSERT
        then sends many rows in each packet. The rows that come back are those of all executions.

        All of it may take *timeout* seconds: the keyword, if the statement has no parameter of
        that name, the statement's execution option or the engine's `statement_timeout`, in this
        order; `None`: any time.

        Raises `ArgumentError` for what is no statement or for parameters that do not fit,
        the server's error (`pymysql.err`) for what the server refuses, `StatementTimeoutError`
        after *timeout* seconds.
        """
        options = getattr(query, "_execution_options", None)
        if options or "timeout" in params or self._timeout is not None:
            return ExecuteContext(self._execute_in_time(query, multiparams, params, options or {}))
        return ExecuteContext(self._execute(query, multiparams, params))

    async def scalar(self, query: Any, *multiparams: Any, **params: Any) -> Any:
        """Execute a statement and give the first column of the first row, or `None`."""
        result = await self.execute(query, *multiparams, **params)
        return await result.scalar()

    async def _execute_in_time(
        self,
        query: Any,
        multiparams: Sequence[Any],
        params: dict[str, Any],
        options: Mapping[str, Any],
    ) -> ResultProxy:
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
        if len(multiparams) == 1 and type(multiparams[0]) is dict:
            dps = multiparams
        else:
            dps = _distill_params(multiparams, params)
        echo = raw.echo
        if echo and echo == "values":
            logger.info("%r", dps)
        if isinstance(query, str):
            return await self._execute_text(raw, query, dps)
        syntax = raw.syntax
        planner = self._planner
        if planner is None or syntax is not self._syntax:
            planner = self._choose_planner(raw)
        known = planner.known(query)
        statement = query
        if known is None:
            statement = executable(query)
            if isinstance(statement, ExecutableDDLElement):
                return await self._execute_ddl(raw, planner, statement, dps)
        parameters = None
        if len(dps) > 1:
            return await self._execute_many(raw, planner, statement, dps, known)
        if dps:
            parameters = dps[0]
            if type(parameters) is not dict:
                parameters = by_name(statement, parameters)
        elif multiparams:
            refuse_empty(statement)
        if self._compiled_cache is None:
            plan, extracted, parameters = planner.plan(statement, parameters, False, known, raw)
        else:
            plan, extracted, parameters = self._cached_plan(
                raw, planner, query, statement, parameters, known
            )
        text = plan.text(syntax[0])
        if plan.prefetch:
            parameters = plan.completed(parameters, extracted, statement)
        packet = render_plan(plan, text, parameters, extracted, syntax)
        result = ResultProxy(self, statement)
        if plan.keys is not None:
            result._inserted = Inserted(
                plan.keys, [plan.keys.given(parameters, extracted)], many=False
            )
        if echo:
            with Logged(echo, _echoed(raw, plan, statement)):
                reply = raw.start(packet, plan.describe, text.columns, result._shape)
                results = await raw.finish(reply)
        else:
            reply = raw.start(packet, plan.describe, text.columns, result._shape)
            results = await raw.finish(reply)
        if plan.returning and results[0].rows:
            self._note_write(raw)
        if plan.keys is not None and plan.keys.returned:
            result._take_keys(results[0])
        if results[-1].warning_count:
            await warn(self._raw(), self._wanted_warnings(statement))
        return result._load(results)

    async def _execute_text(self, raw: Connection, sql: str, dps: Sequence[Any]) -> ResultProxy:
        result = ResultProxy(self)
        cursor = Cursor(raw, bool(raw.echo))
        cursor.warnings = self._warnings
        if len(dps) > 1:
            await cursor.executemany(sql, dps)
        else:
            await cursor.execute_shaped(sql, (dps[0] or None) if dps else None, result._shape)
            cursor.raise_later()
        return result._load(cursor.results)

    async def _execute_ddl(
        self,
        raw: Connection,
        planner: Planner,
        statement: ExecutableDDLElement,
        dps: Sequence[Any],
    ) -> ResultProxy:
        if len(dps) > 1 or any(dps):
            raise ArgumentError(
                "Don't mix sqlalchemy DDL clause and execution with parameters: it takes none"
            )
        cursor = Cursor(raw, bool(raw.echo))
        sql = planner.ddl(statement, raw)
        cursor.warnings = self._wanted_warnings(statement)
        await cursor.execute_shaped(sql, None, None)
        return ResultProxy(self)._load(cursor.results)

    async def _execute_many(
        self,
        raw: Connection,
        planner: Planner,
        statement: ClauseElement,
        groups: Sequence[Any],
        known: Known | None,
    ) -> ResultProxy:
        in_order = getattr(resolved(statement), "_sort_by_parameter_order", False)
        options = _options(statement)
        with Turns(raw) as turns:
            groups = list(groups)  # the caller may change theirs
            (given,) = each_group(groups[:1], lambda group: by_name(statement, group))
            plan, extracted, first = planner.plan(statement, given, not in_order, known, raw)
            # What statement.params() gave stands for what a group leaves out.
            collected = None if first is given else first
            execution = Execution(statement, plan, extracted, collected, raw.syntax, [])
            as_rows = plan.rows is not None and not in_order
            if as_rows:
                most = options.get("insertmanyvalues_page_size")
                packets = await packets_of_rows(turns, execution, groups, most)
            else:
                packets = await packets_of_each(turns, execution, groups)
        told: list[tuple[Any, ...]] | None
        told = [] if wants_warnings(raw, self._wanted_warnings(statement)) else None
        with Logged(raw.echo, _echoed(raw, plan, statement)):
            results = await raw.send_each(packets, plan.describe, told)
        whole = merged(results)
        if plan.returning and whole.rows:
            self._note_write(raw)
        issue(told or ())
        result = ResultProxy(self, statement)
        if plan.keys is not None:
            result._inserted = Inserted(plan.keys, execution.given, many=True)
        return result._load([whole])

    def _cached_plan(
        self,
        raw: Connection,
        planner: Planner,
        query: Any,
        statement: ClauseElement,
        parameters: Parameters | None,
        known: Known | None,
    ) -> Planned:
        """Give the plan for one execution, from the user's `compiled_cache`."""
        cache = self._compiled_cache
        assert cache is not None
        names = (parameters or {}).keys()
        plan = cache.get(query)
        if (
            plan is not None
            and plan.names == names
            and plan.compiled.dialect is planner.dialect
            # The map is the user's, who may have changed it.
            and plan.translated == translation(_options(statement).get("schema_translate_map"), raw)
        ):
            return plan, None, parameters
        plan, extracted, parameters = planner.plan(statement, parameters, False, known, raw)
        if plan.names == names:
            cache[query] = plan
        return plan, extracted, parameters

    def _choose_planner(self, raw: Connection) -> Planner:
        self._syntax = raw.syntax
        self._planner = planner_for(self._dialect, raw.server_version, raw.no_backslash_escapes)
        return self._planner

    def _open(self) -> Connection:
        raw = self._connection
        if raw is None or self._released:
            raise _closed()
        if raw.barred is not None:
            raise raw.barred()
        return raw

    def _limited(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Give what runs *coroutine* in the time limit of `_limit()`."""
        return coroutine if self._timeout is None else self._in_time(coroutine)

    async def _in_time(self, coroutine: Coroutine[Any, Any, T]) -> T:
        raw = self._connection
        if raw is None:  # as it says itself
            return await coroutine
        with self._limit(raw):
            return await coroutine

    def _limit(self, raw: Connection) -> AbstractContextManager[None]:
        """Limit what begins or ends a transaction to the engine's `statement_timeout`."""
        return _UNLIMITED if self._timeout is None else raw.limit(self._timeout)

    def _raw(self) -> Connection:
        if self._connection is None or self._released:
            raise _closed()
        return self._connection

    def _note_write(self, raw: Connection) -> None:
        """Have the transaction be one that wrote: the server does not count rows it returns."""
        if raw is self._connection and not self._released:
            raw.note_write()

    def _give_up(self, raw: Connection) -> None:
        """Close the DB-API connection, unless it was given back meanwhile: others may have it."""
        if self._connection is raw and not self._released:
            raw.close(f"the end of a transaction failed or was cut off: {raw.remedy}")

    # -- transactions ----------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of `begin()` or its siblings is in progress."""
        return self._transaction is not None and self._transaction.is_active

    def begin(
        self, *, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Begin[Transaction]:
        """Begin a transaction: await it, or use it with `async with`.

        Within a transaction, the new one is emulated: its commit does nothing, its rollback ends
        the outer one.

        *isolation_level* is one of SQLAlchemy's names, as `"READ COMMITTED"`; with *read_only*
        the server refuses what writes (`False`: it does not, whatever the session's mode). They
        are for this transaction, and sent together with its begin. Within a transaction they
        raise `InvalidRequestError` unless they are those of the outermost.
        """
        return Begin(self._begin(isolation_level, read_only))

    async def _begin(
        self, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Transaction:
        kind = _ANY_KIND
        if isolation_level is not None or read_only is not None:
            kind = _kind(isolation_level, read_only)
        if self._transaction is not None:
            check_inner(*kind, self._transaction._root._kind)
            raw = self._open()
            if raw.in_doubt:
                with self._limit(raw):
                    await raw.ready()
                self._open()
            raw.check_bar()
            return Transaction(self, self._transaction)
        if kind is _ANY_KIND:
            await self._limited(self._begin_with("BEGIN"))
        else:
            setting = characteristics(kind[0], None)
            await self._limited(self._begin_with(begin_statement(kind[1]), setting))
        self._transaction = RootTransaction(self, kind)
        return self._transaction

    def begin_nested(
        self, *, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Begin[Transaction]:
        """Begin a savepoint, or the root transaction if there is none.

        *isolation_level* and *read_only* are those of `begin()`.
        """
        return Begin(self._begin_nested(isolation_level, read_only))

    async def _begin_nested(
        self, isolation_level: str | None, read_only: bool | None
    ) -> Transaction:
        if self._transaction is None:
            return await self._begin(isolation_level, read_only)
        check_inner(*_kind(isolation_level, read_only), self._transaction._root._kind)
        self._savepoints += 1
        savepoint = f"aiomysqlx_savepoint_{self._savepoints}"
        await self._command(f"SAVEPOINT {savepoint}")
        self._transaction = NestedTransaction(self, self._transaction, savepoint)
        return self._transaction

    def begin_twophase(
        self,
        xid: str | bytes | None = None,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
    ) -> Begin[TwoPhaseTransaction]:
        """Begin a two-phase (XA) transaction, with the id *xid* or a new one.

        *isolation_level* and *read_only* are those of `begin()`. Raises `InvalidRequestError`
        within a transaction.
        """
        return Begin(self._begin_twophase(xid, _kind(isolation_level, read_only)))

    async def _begin_twophase(self, xid: str | bytes | None, kind: Kind) -> TwoPhaseTransaction:
        if self._transaction is not None:
            raise InvalidRequestError(
                "Cannot start a two phase transaction when a transaction is already in progress."
            )
        if xid is None:
            xid = self._dialect.create_xid()
        start = self._begin_with(f"XA START {_literal(xid)}", characteristics(*kind))
        await self._limited(start)
        self._transaction = transaction = TwoPhaseTransaction(self, xid, kind)
        return transaction

    async def recover_twophase(self) -> list[str | bytes]:
        """Give the ids of the server's prepared transactions: text, or bytes that are none.

        Left out are those of other programs, with a branch qualifier or a format id, which are
        not for `commit_prepared()` and `rollback_prepared()` to end. `XA RECOVER` lists them.
        """
        raw = self._raw()
        with self._limit(raw):
            results = await raw.send(_XA_RECOVER, describe_bytes, always=True)
        return [_recovered(row) for row in results[0].rows if (row[0], row[2]) == _OUR_XID]

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
        """Execute what ends a prepared transaction, this connection's or another's."""
        statements = _end_twophase(how, xid, is_prepared)
        raw = self._raw()
        lease = raw.lease
        switched = False
        try:
            with self._limit(raw), self._ending_as("a prepared transaction is being ended"):
                if raw.busy:
                    await raw.ready()
                if not isinstance(self._root(), TwoPhaseTransaction):
                    await self._check_outside(raw)
                    # Without autocommit, MariaDB takes a session to be in a transaction at all
                    # times.
                    switched = _is_mariadb(raw) and not raw.get_autocommit()
                if switched:
                    statements = ["SET autocommit = 1", *statements, "SET autocommit = 0"]
                for sql in statements:
                    raw.check_lease(lease)
                    await raw.query(sql, always=True)
        except BaseException as error:
            if switched:
                await self._restore_autocommit(raw, error)
            raise
        root = self._root()
        if isinstance(root, TwoPhaseTransaction) and _literal(root.xid) == _literal(xid):
            raw.unwatch()
            self._finish(root, _OVER[how], root)

    async def _check_outside(self, raw: Connection) -> None:
        """Raise `InvalidRequestError` in a transaction, which the end of another would commit."""
        if raw.in_doubt:
            await raw.resolve_doubt()
        inside = self._transaction is not None or raw.in_transaction
        if not inside and _is_mariadb(raw) and not raw.get_autocommit():
            # A proxy may not show it.
            inside = int((await raw.ask(_IN_TRANSACTION))[0]) != 0
        if inside:
            raise InvalidRequestError(
                "the connection is in a transaction: commit it or roll it back before a prepared"
                " one is ended"
            )

    async def _restore_autocommit(self, raw: Connection, error: BaseException) -> None:
        """Switch autocommit off again, or close the connection, after *error*."""
        if self._released:  # whoever lends it sees to that
            return
        try:
            if not _is_refusal(error):
                self._give_up(raw)  # nobody knows which mode it is in
            elif raw.get_autocommit():
                await raw.query("SET autocommit = 0", always=True)
        except BaseException as failure:
            self._give_up(raw)
            if not isinstance(failure, Exception):
                raise

    async def _command(self, sql: str) -> None:
        raw = self._open()
        with self._limit(raw):
            await raw.query(sql)
        self._raw()  # raises if the connection was given back as the answer came

    async def _begin_with(self, sql: str, setting: str | None = None) -> None:
        """Begin a transaction with *sql*; *setting* is a statement for it, sent before."""
        raw = self._open()
        if raw.is_unsettled():
            if raw.busy:
                await raw.ready()
            if raw.in_doubt:
                await (raw.learn_transaction() if setting is None else raw.resolve_doubt())
        if self._transaction is not None:
            raise InvalidRequestError(
                "another task has begun a transaction meanwhile: use a connection for each task"
            )
        if setting is not None and raw.in_transaction:
            raise InvalidRequestError(
                "the server is in a transaction, whose isolation level stays as it is:"
                " commit it or roll it back before"
            )
        try:
            if setting is None:
                await raw.begin_or_end(sql)
            else:
                await self._begin_behind(raw, setting, sql)
        except BaseException as error:
            if not _is_refusal(error):
                # The server may have begun a transaction that nobody would end.
                self._give_up(raw)
            raise
        if self._released:  # as the answer came
            raise _closed()
        if raw.watch():
            logger.warning("%s", self._committed())

    async def _begin_behind(self, raw: Connection, setting: str, sql: str) -> None:
        """Send *setting*, which is for the next transaction, and the *sql* that begins it."""
        try:
            with Logged(raw.echo, f"{setting}; {sql}"):
                await raw.send_behind(raw.rendered(setting), raw.rendered(sql))
        except err.MySQLError as error:
            if _is_refusal(error) and not self._released:
                # One may have begun without it, or the next one would be of that sort.
                try:
                    await raw.query("BEGIN", always=True)
                    await raw.query("ROLLBACK", always=True)
                except err.MySQLError:  # as in a two-phase one, whose error is not the one to tell
                    self._give_up(raw)
            raise

    async def execution_options(
        self,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
        warnings: bool | None = None,
    ) -> SAConnection:
        """Set what is to hold until the connection is given back; gives the connection itself.

        *isolation_level* is one of SQLAlchemy's names, `"AUTOCOMMIT"` among them; *read_only* tells
        whether transactions only read: for these it raises `InvalidRequestError` within a
        transaction. *warnings* tells whether the server's are asked for and issued.
        """
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
        """Ask the server for the isolation level of the session's transactions."""
        return await current_level(self._open())

    def _wanted_warnings(self, statement: ClauseElement) -> bool | None:
        """Tell whether the server's warnings are wanted; `None`: as the raw connection has it."""
        wanted: bool | None = _options(statement).get("warnings")
        return self._warnings if wanted is None else wanted

    def _committed(self) -> str:
        """Give the words for what a begin() has committed."""
        where = "" if self._place is None else f" acquired at {shown(self._place)}"
        return (
            "begin() has committed what was written before it, outside of any begin(),"
            f" on a connection{where}"
        )

    async def _check_transaction(self) -> None:
        """Raise `InvalidRequestError` if the server has ended the transaction and not committed."""
        raw = self._raw()
        if raw.in_doubt and not raw.busy:
            with self._limit(raw):
                await raw.resolve_doubt()
        if raw.ended is not None and not raw.ended.committed:
            raise refused(raw.ended)

    def _end_transaction(
        self, transaction: Transaction, how: str, asked: Transaction
    ) -> Coroutine[Any, Any, None]:
        """End the outermost transaction: *how* is COMMIT or ROLLBACK, of *asked*."""
        return self._limited(self._end_outermost(transaction, how, asked))

    async def _end_outermost(self, transaction: Transaction, how: str, asked: Transaction) -> None:
        raw = self._raw()
        raw.check_loop()
        commits = how == "COMMIT"
        try:
            if raw.is_unsettled():
                if raw.busy:
                    await raw.ready()
                if commits and raw.in_doubt:  # a ROLLBACK is right in any case
                    await raw.resolve_doubt()
            ending = raw.ended
            if commits:
                self._check_commit(transaction, ending)
            elif not transaction.is_active:  # another task was first
                return
            elif ending is not None and ending.committed is not False:
                came = "came" if ending.committed else "may have come"
                logger.warning("a rollback %s too late: %s", came, printable(ending.words))
            raw.check_free()  # or it would be refused, and the transaction go on unwatched
            raw.unwatch()
            if ending is not None and ending.committed and not raw.in_transaction:
                pass
            elif isinstance(transaction, TwoPhaseTransaction):
                await self._send_twophase_end(raw, transaction, how)
            else:  # also what a statement has begun in the place of what it has committed
                await raw.begin_or_end(how, always=True)
                if raw.server_status & _IN_TRANSACTION_FLAG:
                    # With completion_type=CHAIN another one has begun.
                    await raw.query("ROLLBACK AND NO CHAIN", always=True)
            if ending is not None and ending.committed is not False:
                # A LOCK TABLES commits, and its locks would reach the next borrower.
                await raw.query("UNLOCK TABLES", always=True)
        except InvalidRequestError:  # nothing was sent
            raise
        except BaseException:
            # Nobody knows what became of the transaction: the connection must not be used again.
            self._give_up(raw)
            self._lose(commits)
            raise
        self._finish(transaction, _OVER[how] if ending is None else over(ending), asked)

    def _check_commit(self, transaction: Transaction, ending: Ending | None) -> None:
        """Raise `InvalidRequestError` if there is nothing to commit."""
        if self._endings:
            raise InvalidRequestError(self._endings[-1])
        if ending is not None and not ending.committed:
            raise refused(ending)
        if not transaction.is_active:
            raise InvalidRequestError(INACTIVE)

    async def _send_twophase_end(
        self, raw: Connection, transaction: TwoPhaseTransaction, how: str
    ) -> None:
        statements = _end_twophase(how, transaction.xid, transaction._is_prepared)
        with self._ending_as(_BEING_ENDED):
            if len(statements) > 1:
                try:
                    await raw.query(statements[0], always=True)
                except err.MySQLError as error:  # after a deadlock there is nothing but a ROLLBACK
                    if how == "COMMIT" or not _is_refusal(error):
                        raise
            await raw.query(statements[-1], always=True)

    def _finish(self, ended: Transaction, words: str, asked: Transaction) -> None:
        """Let a transaction be over; blocks in it that are not left yet execute nothing more.

        That is what *words* say. The block of *asked*, which has ended the transaction, does not
        raise as it is left.
        """
        ended._is_active = False
        self._transaction = ended._outer
        over = False
        for block in self._blocks:
            if not block._is_leaving and block._is_within(ended):
                block._over = words
                block._has_ended_itself = block is asked
                over = True
        raw = self._connection
        if over or (raw is not None and raw.barred is not None):
            self._update_bar()

    async def _end_savepoint(self, nested: NestedTransaction, how: str, asked: Transaction) -> None:
        """End a savepoint: *how* is RELEASE or ROLLBACK TO, of *asked*."""
        raw = self._raw()
        try:
            with self._limit(raw):
                if raw.busy:
                    await raw.ready()
                if raw.in_doubt:
                    await raw.resolve_doubt()
                ending = raw.ended
                if how == "RELEASE":
                    self._check_commit(nested, ending)
                elif not nested.is_active:  # another task was first
                    return
                is_prepared = self._is_prepared()
                if is_prepared and how != "RELEASE":  # it is all or nothing
                    raise TransactionPreparedError(_ER_XAER_RMFAIL, _PREPARED)
                if is_prepared and raw.closed:
                    await raw.resolve_doubt()  # which raises the loss
                # Else the savepoint is gone with the transaction.
                if ending is None and not is_prepared:
                    await raw.query(f"{how} SAVEPOINT {nested._savepoint}", always=True)
        except InvalidRequestError:  # nothing was sent
            raise
        except BaseException as error:
            if _is_refusal(error):
                # There is none: a statement has put another transaction in the place of this one.
                raw.end_with(of_savepoint(error.args[0]))
                nested._is_lost = True
                self._finish(nested, _OVER[how], nested)
            else:
                self._give_up(raw)
                self._lose(True)
            raise
        self._finish(nested, _OVER[how] if ending is None else over(ending), asked)

    def _leave_nested(self, nested: NestedTransaction) -> None:
        self._finish(nested, _OVER["RELEASE"], nested)

    def _lose(self, work: bool) -> None:
        """Let the transactions of a closed connection be over; blocks raise, if *work* is lost.

        It may be connected anew, by ping(): they execute nothing then.
        """
        transaction, self._transaction = self._transaction, None
        while transaction is not None:
            transaction._is_active = False
            transaction = transaction._outer
        if self._connection is not None and not self._released:
            self._connection.unwatch()
        for block in self._blocks:
            if not block._is_leaving and block._over is None:
                block._over = LOST
                block._has_ended_itself = not work
        self._update_bar()

    async def _prepare_twophase(self, transaction: TwoPhaseTransaction) -> None:
        xid = _literal(transaction.xid)
        raw = self._raw()
        with self._limit(raw), self._ending_as(_BEING_ENDED):
            if raw.is_unsettled():
                await raw.ready()
            if raw.ended is not None:
                raise refused(raw.ended)
            if transaction._is_prepared:
                raise TransactionPreparedError(_ER_XAER_RMFAIL, _PREPARED)
            await raw.query(f"XA END {xid}", always=True)
            # Or about to be: if that is cut off, XA END is done.
            transaction._is_prepared = True
            raw.unwatch()
            await raw.query(f"XA PREPARE {xid}", always=True)

    async def _undo(self, transaction: Transaction) -> None:
        """Roll back, though a statement of another task may be under way; or close the connection.

        Nothing else is executed meanwhile, nor does another task's statement of several packets go
        on.
        """
        raw = self._connection
        if raw is None or self._released or not transaction._can_roll_back:
            return
        raw.undone += 1
        try:
            with self._ending_as(_BEING_ENDED):
                with self._limit(raw):
                    await raw.quiet()
                await transaction.rollback()
        except BaseException:
            if transaction._can_roll_back:  # else its rollback has done what there is to do
                self._give_up(raw)
                self._lose(True)
            raise

    @contextmanager
    def _ending_as(self, what: str) -> Iterator[None]:
        """Refuse, with the words *what*, what others would execute between the steps of a block."""
        self._endings = (*self._endings, what)
        self._update_bar()
        try:
            yield
        finally:
            # Not what there was before: another task may have begun, or ended, meanwhile.
            left = list(self._endings)
            left.remove(what)
            self._endings = tuple(left)
            self._update_bar()

    def _enter_block(self, transaction: Transaction) -> None:
        if not transaction.is_active:
            raise InvalidRequestError(INACTIVE)
        if transaction in self._blocks:  # its end would leave the outer one without transaction
            raise InvalidRequestError(
                "this transaction has its block: begin() another one within, or begin_nested()"
            )
        self._blocks = (*self._blocks, transaction)

    def _leave_block(self, transaction: Transaction) -> None:
        if self._blocks == (transaction,):
            self._blocks = ()
        else:
            self._blocks = tuple(block for block in self._blocks if block is not transaction)
        raw = self._connection
        if raw is not None and raw.barred is not None:
            self._update_bar()

    def _is_prepared(self) -> bool:
        root = self._root()
        return isinstance(root, TwoPhaseTransaction) and root._is_prepared

    def _update_bar(self) -> None:
        """Set why nothing is executed now, by whatever way to the server, if that is so."""
        raw = self._connection
        if raw is None or self._released:
            return
        words = next((block._over for block in self._blocks if block._over), None)
        if self._endings:
            raw.barred = partial(InvalidRequestError, self._endings[-1])
        elif self._is_prepared():
            raw.barred = partial(TransactionPreparedError, _ER_XAER_RMFAIL, _PREPARED)
        else:
            raw.barred = None if words is None else partial(InvalidRequestError, words)

    # -- tables ----------------------------------------------------------------------------------

    async def create_all(
        self,
        metadata: MetaData,
        tables: Sequence[Table] | None = None,
        checkfirst: bool | CheckFirst = True,
        *,
        schema_translate_map: Mapping[str | None, str | None] | None = None,
    ) -> None:
        """Create the tables of *metadata*, all or *tables*, in the order that they depend on.

        As SQLAlchemy does it: with sequences, indexes, comments, constraints of tables that refer
        to each other, and the events of all these. *checkfirst* leaves alone what is there already.
        *schema_translate_map* stands for the execution option.

        Listeners are called in a thread, with a connection like SQLAlchemy's own. Raises
        `InvalidRequestError` within a transaction, which the server would commit.
        """
        from . import ddl  # which services have no need of: 0.4 ms of an import

        await ddl.run(self, "create_all", metadata, tables, checkfirst, schema_translate_map)

    async def drop_all(
        self,
        metadata: MetaData,
        tables: Sequence[Table] | None = None,
        checkfirst: bool | CheckFirst = True,
        *,
        schema_translate_map: Mapping[str | None, str | None] | None = None,
    ) -> None:
        """Drop the tables of *metadata*, all or *tables*; as `create_all()` creates them."""
        from . import ddl

        await ddl.run(self, "drop_all", metadata, tables, checkfirst, schema_translate_map)

    def _run_ddl_visitor(self, *_arguments: Any, **_keywords: Any) -> NoReturn:
        from . import ddl

        ddl.refuse()

    # -- ending ----------------------------------------------------------------------------------

    def invalidate(self) -> Done:
        """Close the DB-API connection at once; releasing it afterwards has the pool replace it.

        For a connection that is known to be of no more use. A transaction in progress ends: nothing
        of it is committed, and its block raises `InvalidRequestError`. It is done when this
        returns, and may be awaited, as SQLAlchemy's own is a coroutine.
        """
        raw = self._raw()
        raw.check_loop()
        self._lose(True)
        raw.close(f"the connection has been invalidated: {raw.remedy}")
        return Done()

    async def close(self) -> None:
        """Roll an open transaction back and give the connection back to the engine.

        A connection that cannot roll back is closed, which ends the transaction too.
        """
        raw = self._connection
        if raw is None:
            return
        raw.check_loop()
        root = self._root()
        try:
            if root is not None:
                await self._undo(root)
        except (err.MySQLError, InvalidRequestError):
            pass  # the connection is closed
        finally:
            self._give_back()

    def _give_back(self) -> None:
        """Give the connection back to the engine, whatever became of the transaction."""
        self._transaction = None
        self._engine.release(self)
        self._connection = None

    def __del__(self) -> None:
        if self._connection is not None and self._place is not None and not self._released:
            self._engine._reclaim(self, self._connection, self._place)

    def _root(self) -> Transaction | None:
        transaction = self._transaction
        while transaction is not None and transaction._outer is not None:
            transaction = transaction._outer
        return transaction

    def _detach(self) -> Connection | None:
        """Give the DB-API connection away, the first time; from then on nothing is executed."""
        raw = self._connection
        if self._released:
            return None
        self._released = True
        if raw is not None and (self._transaction is not None or self._blocks or self._endings):
            raw.barred = None  # else it is not this one's
            if self._transaction is not None:
                raw.unwatch()
        return raw

    async def __aenter__(self) -> SAConnection:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()


class ExecuteContext(AwaitableContext[ResultProxy]):
    """What `SAConnection.execute()` gives."""

    __slots__ = ()
    _usage = "result = await conn.execute(…), or async for row in conn.execute(…)"

    def _leave(self, value: ResultProxy, error: BaseException | None) -> Coroutine[Any, Any, None]:
        return value.close()

    def __aiter__(self) -> AsyncIterator[RowProxy]:
        return self._rows()

    async def _rows(self) -> AsyncIterator[RowProxy]:
        async for row in await self:
            yield row


_ANY_KIND: Kind = (None, None)


def _kind(isolation_level: object, read_only: object) -> Kind:
    """Return what a transaction is to be; raises `ArgumentError`."""
    if isolation_level is None and read_only is None:
        return _ANY_KIND
    return check_level(isolation_level, autocommit=False), check_read_only(read_only)


def _distill_params(multiparams: Sequence[Any], params: Mapping[str, Any]) -> Sequence[Any]:
    """Give the parameters of `execute()` as a list, one item for each execution."""
    if not multiparams:
        return [params] if params else []
    first = multiparams[0]
    if len(multiparams) > 1:
        return multiparams if _is_group(first) else [multiparams]
    if isinstance(first, (list, tuple)):
        return first if not first or _is_group(first[0]) else [first]
    return [first] if hasattr(first, "keys") else [[first]]


def _is_group(value: Any) -> bool:
    """Whether *value* holds the parameters of one execution, rather than being one."""
    if isinstance(value, (memoryview, Enum)):  # a combination of flags can be iterated over
        return False
    return hasattr(value, "__iter__") and not hasattr(value, "strip")


def _options(statement: ClauseElement) -> Mapping[str, Any]:
    options: Mapping[str, Any] = statement.get_execution_options()  # type: ignore[attr-defined]
    return options


def _echoed(raw: Connection, plan: Plan, statement: ClauseElement) -> str:
    """Give what the log shows of a statement."""
    if not raw.echo:
        return plan.sql
    token = _options(statement).get("logging_token")
    return f"[{token}] {plan.sql}" if token else plan.sql


def _closed() -> ResourceClosedError:
    return ResourceClosedError(RELEASED)


def _is_refusal(error: BaseException) -> bool:
    """Tell whether *error* is the server's, or ours before anything was sent."""
    if isinstance(error, (StatementTimeoutError, asyncio.CancelledError)):
        return False
    return isinstance(error, InvalidRequestError) or (
        isinstance(error, err.MySQLError) and not is_disconnect(error)
    )


# -- two-phase transactions ------------------------------------------------------------------------

_XA_RECOVER = command(COMMAND.COM_QUERY, b"XA RECOVER")
_IN_TRANSACTION = command(COMMAND.COM_QUERY, b"SELECT @@in_transaction")  # MariaDB's


def _is_mariadb(raw: Connection) -> bool:
    return "MariaDB" in raw.server_version


# The format id and the length of the branch qualifier that XA START gives to `X'…'` alone.
_OUR_XID = (b"1", b"0")


def _recovered(row: tuple[Any, ...]) -> str | bytes:
    _, gtrid_length, _, data = row
    gtrid: bytes = data[: int(gtrid_length)]
    try:
        return gtrid.decode()
    except UnicodeDecodeError:
        return gtrid


def _end_twophase(how: str, xid: str | bytes, is_prepared: bool) -> list[str]:
    """Give the statements that end a two-phase transaction: COMMIT or ROLLBACK."""
    literal = _literal(xid)
    if is_prepared:
        return [f"XA {how} {literal}"]
    return [f"XA END {literal}", f"XA {how} {literal}{' ONE PHASE' if how == 'COMMIT' else ''}"]


def _literal(xid: str | bytes) -> str:
    """Give *xid* as a SQL literal, in any character set."""
    if not isinstance(xid, (str, bytes)):
        raise ArgumentError(f"expected an xid as str or bytes, got {brief(xid)}")
    data = _encode_xid(xid) if isinstance(xid, str) else xid
    if not 0 < len(data) <= 64:
        raise ArgumentError(f"an xid has 1 to 64 bytes, got {len(data)}")
    return f"X'{data.hex()}'"


def _encode_xid(xid: str) -> bytes:
    try:
        return xid.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"an xid has no utf-8 encoding: {error.reason}") from None
