"""`SAConnection`: executes SQLAlchemy statements and owns the transactions."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import groupby
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement

from ._awaitable import AwaitableContext, CallbackContext
from ._impl import escape, render
from ._packet_py import BYTES
from .cursor import Cursor, logger, send_checked, send_rows
from .driver import Connection
from .exc import ArgumentError, InvalidRequestError, ResourceClosedError
from .protocol import Column, Columns, ResultSet, parse_columns
from .result import ResultMetaData, ResultProxy
from .statement import Parameters, Plan, Planner, by_position, executable, planner_for
from .transaction import NestedTransaction, RootTransaction, Transaction, TwoPhaseTransaction

if TYPE_CHECKING:  # the engine makes its connections
    from .engine import Engine

_NOT_A_STATEMENT = "sql statement should be str or SQLAlchemy data selection/modification clause"


class SAConnection:
    """A connection that executes SQLAlchemy statements.

    Taken from an engine with `engine.acquire()`, or built around a connection of this package's
    `connect()`. Nothing begins by itself: without `begin()` a statement runs in the server's
    autocommit mode, or in the transaction that the server began when autocommit is off.
    """

    def __init__(
        self,
        connection: Connection,
        engine: Engine,
        compiled_cache: dict[Any, Any] | None = None,
    ) -> None:
        self._connection: Connection | None = connection
        self._engine: Engine = engine
        self._dialect: Dialect = engine.dialect
        self._compiled_cache = compiled_cache
        self._transaction: Transaction | None = None
        self._savepoints = 0

    @property
    def closed(self) -> bool:
        """Whether the connection has been released, or lost."""
        return self._connection is None or self._connection.closed

    @property
    def connection(self) -> Connection | None:
        """The DB-API connection; `None` once released."""
        return self._connection

    # -- executing -------------------------------------------------------------------------------

    def execute(self, query: Any, *multiparams: Any, **params: Any) -> ExecuteContext:
        """Execute a statement: await it, use it with `async with` or `async for`.

        *query* is a `str` with `%s` or `%(name)s` placeholders, or an executable SQLAlchemy
        construct. Parameters are positional values, one tuple, one dictionary, keywords, or a
        list of tuples or dictionaries, for which the statement is executed many times: an INSERT
        then sends many rows in each packet.

        Raises `ArgumentError` for what is no statement or for parameters that do not fit,
        the server's error (`pymysql.err`) for what the server refuses.
        """
        return ExecuteContext(self._execute(query, multiparams, params))

    async def scalar(self, query: Any, *multiparams: Any, **params: Any) -> Any:
        """Execute a statement and give the first column of the first row, or `None`."""
        result = await self._execute(query, multiparams, params)
        return await result.scalar()

    async def _execute(
        self, query: Any, multiparams: Sequence[Any], params: dict[str, Any]
    ) -> ResultProxy:
        raw = self._open()
        dps = _distill_params(multiparams, params)
        started = time.perf_counter() if raw.echo else 0.0
        if isinstance(query, str):
            result = await self._execute_text(raw, query, dps)
            sql, token = query, None
        else:
            if not isinstance(query, ClauseElement):
                raise ArgumentError(_NOT_A_STATEMENT)
            statement = executable(query)
            token = statement.get_execution_options().get("logging_token")  # type: ignore[attr-defined]
            if isinstance(statement, ExecutableDDLElement):
                result, sql = await self._execute_ddl(raw, statement, dps)
            else:
                result, sql = await self._execute_construct(raw, statement, dps)
        if raw.echo:
            _log(raw, sql, dps, token, time.perf_counter() - started)
        return result

    async def _execute_text(self, raw: Connection, sql: str, dps: Sequence[Any]) -> ResultProxy:
        cursor = Cursor(raw)
        if len(dps) > 1:
            await cursor.executemany(sql, dps)
        else:
            await cursor.execute(sql, (dps[0] or None) if dps else None)
        return self._result(cursor, None)

    async def _execute_ddl(
        self, raw: Connection, statement: ExecutableDDLElement, dps: Sequence[Any]
    ) -> tuple[ResultProxy, str]:
        if len(dps) > 1 or any(dps):
            raise ArgumentError("Don't mix sqlalchemy DDL clause and execution with parameters")
        sql = self._planner(raw).ddl(statement)
        cursor = Cursor(raw)
        await cursor.execute(sql)
        return self._result(cursor, None), sql

    async def _execute_construct(
        self, raw: Connection, statement: ClauseElement, dps: Sequence[Any]
    ) -> tuple[ResultProxy, str]:
        sequence = [_named(statement, item) for item in dps]
        cursor = Cursor(raw)
        if len(sequence) > 1:
            plan = await self._execute_many(raw, cursor, statement, sequence)
        else:
            plan = await self._execute_once(raw, cursor, statement, sequence[0] if dps else None)
        return self._result(cursor, statement), plan.sql

    async def _execute_once(
        self,
        raw: Connection,
        cursor: Cursor,
        statement: ClauseElement,
        parameters: Parameters | None,
    ) -> Plan:
        plan, extracted, parameters = self._plan(raw, statement, parameters)
        packet = _render(raw, plan, parameters, extracted)
        cursor.load(await send_checked(raw, packet, plan.describe))
        return plan

    async def _execute_many(
        self,
        raw: Connection,
        cursor: Cursor,
        statement: ClauseElement,
        sequence: Sequence[Parameters],
    ) -> Plan:
        in_order = getattr(statement, "_sort_by_parameter_order", False)
        plan, extracted, first = self._planner(raw).plan(statement, sequence[0], not in_order)
        if plan.rows is not None and not in_order:
            values = _values_of_many(raw, plan, sequence, extracted)
            batches = await _send_rows(raw, plan, values, statement)
            cursor.load_batches(batches)
            return plan
        packets = [_render(raw, plan, parameters, extracted) for parameters in sequence]
        results = [(await send_checked(raw, packet, plan.describe))[0] for packet in packets]
        keep_all = plan.compiled.isinsert or plan.compiled.isupdate or plan.compiled.isdelete
        cursor.load_batches(results)
        if not keep_all:
            cursor.load(results[-1:])
            cursor.rowcount = sum(result.affected_rows for result in results)
        return plan

    def _plan(
        self, raw: Connection, statement: ClauseElement, parameters: Parameters | None
    ) -> tuple[Plan, Sequence[Any] | None, Parameters | None]:
        """Give the plan for one execution, from the user's `compiled_cache` if there is one."""
        options = statement.get_execution_options()  # type: ignore[attr-defined]
        cache = options.get("compiled_cache", self._compiled_cache)
        if not isinstance(cache, dict):
            return self._planner(raw).plan(statement, parameters)
        plan = cache.get(statement)
        if plan is not None:
            return plan, None, parameters
        plan, extracted, parameters = self._planner(raw).plan(statement, parameters)
        if all(slot.bind.key in (parameters or ()) for slot in plan.slots):
            cache[statement] = plan
        return plan, extracted, parameters

    def _planner(self, raw: Connection) -> Planner:
        return planner_for(self._dialect, raw.server_version, raw.no_backslash_escapes)

    def _result(self, cursor: Cursor, statement: ClauseElement | None) -> ResultProxy:
        metadata = None
        columns = cursor.columns
        if columns is not None:
            metadata = columns.metadata
            if metadata is None:
                names = [column.name for column in columns.definitions]
                metadata = columns.metadata = ResultMetaData(names)
            elif statement is not None:
                metadata = metadata.adapted(statement)
        return ResultProxy(self, cursor, self._dialect, metadata)

    def _open(self) -> Connection:
        if self._connection is None:
            raise ResourceClosedError("This connection is closed: it has been released.")
        return self._connection

    # -- transactions ----------------------------------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction of `begin()` or its siblings is in progress."""
        return self._transaction is not None and self._transaction.is_active

    def begin(self) -> AwaitableContext[Transaction]:
        """Begin a transaction: await it, or use it with `async with`.

        Within a transaction, the new one is emulated: its commit does nothing, its rollback ends
        the outer one.
        """
        return CallbackContext(self._begin(), Transaction._leave)

    async def _begin(self) -> Transaction:
        if self._transaction is not None:
            return Transaction(self, self._transaction)
        await self._command("BEGIN")
        self._transaction = RootTransaction(self)
        return self._transaction

    def begin_nested(self) -> AwaitableContext[Transaction]:
        """Begin a savepoint, or the root transaction if there is none."""
        return CallbackContext(self._begin_nested(), Transaction._leave)

    async def _begin_nested(self) -> Transaction:
        if self._transaction is None:
            return await self._begin()
        self._savepoints += 1
        savepoint = f"aiomysqlx_savepoint_{self._savepoints}"
        await self._command(f"SAVEPOINT {savepoint}")
        self._transaction = NestedTransaction(self, self._transaction, savepoint)
        return self._transaction

    def begin_twophase(
        self, xid: str | bytes | None = None
    ) -> AwaitableContext[TwoPhaseTransaction]:
        """Begin a two-phase (XA) transaction, with the id *xid* or a new one.

        Raises `InvalidRequestError` within a transaction.
        """
        return CallbackContext(self._begin_twophase(xid), Transaction._leave)

    async def _begin_twophase(self, xid: str | bytes | None) -> TwoPhaseTransaction:
        if self._transaction is not None:
            raise InvalidRequestError(
                "Cannot start a two phase transaction when a transaction is already in progress."
            )
        if xid is None:
            xid = self._dialect.create_xid()
        await self._command(f"XA START {self._xid(xid)}")
        self._transaction = transaction = TwoPhaseTransaction(self, xid)
        return transaction

    async def recover_twophase(self) -> list[str | bytes]:
        """Give the ids of the server's prepared transactions: text, or bytes that are none."""
        results = await self._open().send(_XA_RECOVER, _describe_bytes)
        return [_recovered(row) for row in results[0].rows]

    async def rollback_prepared(self, xid: str | bytes, *, is_prepared: bool = True) -> None:
        """Roll the transaction with the id *xid* back."""
        if not is_prepared:
            await self._command(f"XA END {self._xid(xid)}")
        await self._command(f"XA ROLLBACK {self._xid(xid)}")

    async def commit_prepared(self, xid: str | bytes, *, is_prepared: bool = True) -> None:
        """Commit the transaction with the id *xid*; in one phase if it is not prepared."""
        if is_prepared:
            await self._command(f"XA COMMIT {self._xid(xid)}")
        else:
            await self._command(f"XA END {self._xid(xid)}")
            await self._command(f"XA COMMIT {self._xid(xid)} ONE PHASE")

    def _xid(self, xid: str | bytes) -> str:
        if not isinstance(xid, (str, bytes)):
            raise ArgumentError(f"expected an xid as str or bytes, got {type(xid).__name__}")
        data = xid.encode() if isinstance(xid, str) else xid
        if not 0 < len(data) <= 64:
            raise ArgumentError(f"an xid has 1 to 64 bytes, got {len(data)}")
        return f"X'{data.hex()}'"

    async def _command(self, sql: str) -> None:
        await self._open().query(sql)

    async def _end_transaction(self, how: str) -> None:
        self._transaction = None
        raw = self._open()
        try:
            await raw.query(how)
        except BaseException:
            # Nobody knows what became of the transaction: the connection must not be used again.
            raw.close()
            raise

    async def _end_savepoint(self, sql: str, parent: Transaction) -> None:
        self._transaction = parent
        await self._command(sql)

    async def _prepare_twophase(self, xid: str | bytes) -> None:
        await self._command(f"XA END {self._xid(xid)}")
        await self._command(f"XA PREPARE {self._xid(xid)}")

    async def _end_twophase(self, how: str, xid: str | bytes, is_prepared: bool) -> None:
        self._transaction = None
        raw = self._open()
        try:
            if how == "COMMIT":
                await self.commit_prepared(xid, is_prepared=is_prepared)
            else:
                await self.rollback_prepared(xid, is_prepared=is_prepared)
        except BaseException:
            raw.close()
            raise

    # -- ending ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Roll an open transaction back and give the connection back to the engine."""
        if self._connection is None:
            return
        transaction, self._transaction = self._root(), None
        try:
            if transaction is not None and transaction.is_active:
                await transaction.rollback()
        finally:
            self._transaction = None
            self._engine.release(self)
            self._connection = None

    def _root(self) -> Transaction | None:
        transaction = self._transaction
        while transaction is not None and transaction._parent is not transaction:
            transaction = transaction._parent
        return transaction

    def _detach(self) -> Connection | None:
        """Give the DB-API connection away."""
        raw, self._connection = self._connection, None
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

    async def _leave(self, value: ResultProxy, error: BaseException | None) -> None:
        await value.close()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._rows()

    async def _rows(self) -> AsyncIterator[Any]:
        async for row in await self:
            yield row


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
    return hasattr(value, "__iter__") and not hasattr(value, "strip")


def _named(statement: ClauseElement, item: Any) -> Parameters:
    if isinstance(item, Mapping):
        return item
    if hasattr(item, "keys"):
        return dict(item)
    return by_position(statement, list(item))


def _render(
    raw: Connection, plan: Plan, parameters: Parameters | None, extracted: Sequence[Any] | None
) -> bytes:
    encoding, no_backslash = raw.encoding, raw.no_backslash_escapes
    values = plan.values(parameters, extracted, encoding, no_backslash)
    try:
        return render(plan.encoded(encoding), values, encoding, no_backslash)
    except ArgumentError as error:
        raise _naming_parameter(error, raw, plan, values) from None


def _naming_parameter(
    error: ArgumentError, raw: Connection, plan: Plan, values: Sequence[Any]
) -> ArgumentError:
    for slot, value in zip(plan.slots, values, strict=True):
        try:
            escape(value, raw.encoding, raw.no_backslash_escapes)
        except ArgumentError:
            return ArgumentError(f"parameter {slot.bind.key!r}: {error}")
    return error


def _values_of_many(
    raw: Connection, plan: Plan, sequence: Sequence[Parameters], extracted: Sequence[Any] | None
) -> list[list[Any]]:
    encoding, no_backslash = raw.encoding, raw.no_backslash_escapes
    values = []
    for index, parameters in enumerate(sequence):
        try:
            values.append(plan.values(parameters, extracted, encoding, no_backslash))
        except ArgumentError as error:
            raise ArgumentError(f"{error}, in parameter group {index}") from None
    return values


async def _send_rows(
    raw: Connection, plan: Plan, values: list[list[Any]], statement: ClauseElement
) -> list[ResultSet]:
    """Send an INSERT's rows; those that differ outside of their VALUES group go separately."""
    assert plan.rows is not None and isinstance(statement, Insert)
    start, stop = plan.rows.start, plan.rows.stop
    heads, group, tails = plan.encoded_rows(raw.encoding)
    most = statement.get_execution_options().get("insertmanyvalues_page_size")

    def around(row: list[Any]) -> tuple[bytes, bytes]:
        return _join(raw, heads, row[:start]), _join(raw, tails, row[stop:])

    batches: list[ResultSet] = []
    for (head, tail), rows in groupby(values, around):
        inside = [row[start:stop] for row in rows]
        try:
            batches += await send_rows(raw, head, group, inside, tail, most, plan.describe)
        except ArgumentError as error:
            for row in values:
                named = _naming_parameter(error, raw, plan, row)
                if named is not error:
                    raise named from None
            raise
    return batches


def _join(raw: Connection, fragments: Sequence[bytes], values: Sequence[Any]) -> bytes:
    if not values:
        return fragments[0]
    literals = [escape(value, raw.encoding, raw.no_backslash_escapes) for value in values]
    return b"".join(part for pair in zip(fragments, [*literals, b""], strict=True) for part in pair)


def _log(raw: Connection, sql: str, dps: Sequence[Any], token: str | None, seconds: float) -> None:
    prefix = f"[{token}] " if token else ""
    logger.info("%s%s [%.1f ms]", prefix, sql, seconds * 1e3)
    if raw.echo == "values":
        logger.info("%s%r", prefix, dps)


# -- XA RECOVER ----------------------------------------------------------------------------------

_XA_RECOVER = render((b"XA RECOVER",), (), "ascii", False)


def _describe_bytes(raw: bytes, encoding: str) -> Columns:
    definitions: list[Column] = parse_columns(raw, encoding)
    return Columns(definitions, [BYTES] * len(definitions), [None] * len(definitions), encoding)


def _recovered(row: tuple[Any, ...]) -> str | bytes:
    _, gtrid_length, _, data = row
    gtrid: bytes = data[: int(gtrid_length)]
    try:
        return gtrid.decode()
    except UnicodeDecodeError:
        return gtrid
