"""Executing statements: from a construct and its parameters to the result."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.elements import ClauseElement

from .cursor import Cursor
from .driver import Connection, connection_of
from .exc import SERVER_ERRORS, ArgumentError
from .result import ExecuteContext, ResultProxy
from .runtime.words import logger
from .sending import Sending, description_of
from .sql.keys import Inserted
from .sql.plan import Plan
from .sql.planner import Known, Planner
from .sql.statements import (
    KEYWORDS,
    check_keywords,
    executable,
    has_parameter,
    refuse_empty,
    refuse_many,
    refuse_mixed,
    wants_stream,
    writes,
)
from .sql.statements import distill_params as _distill_params
from .wire.checks import check_seconds
from .wire.command import Command
from .wire.preparing import is_void
from .wire.reply import ResultSet
from .wire.session import Session
from .wire.warning import issue, wants_warnings, warn

if TYPE_CHECKING:
    from .sql.groups import Execution
    from .stream import StreamContext
    from .wire.turns import Turns


class Executing(Sending):
    """Executes statements in a session, as an `SAConnection` does."""

    __slots__ = ()

    @property
    def _dialect(self) -> Dialect:
        dialect: Dialect = self._engine.dialect
        return dialect

    @property
    def connection(self) -> Connection | None:
        """The DB-API connection; `None` after `close()`."""
        if self._connection is None and self._session is not None:
            self._connection = connection_of(self._session)
        return self._connection

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
            if options and wants_stream(options):
                return cast(ExecuteContext, self._streamed(query, multiparams, params, options))
            return ExecuteContext(self._execute_in_time(query, multiparams, params, options or {}))
        return ExecuteContext(self._execute(query, multiparams, params))

    def stream(
        self,
        query: Any,
        *multiparams: Any,
        yield_per: int | None = None,
        max_buffer: int | None = None,
        **params: Any,
    ) -> StreamContext:
        """Execute a statement whose rows are read from the server as they are asked for.

        Await it, use it with `async with` or `async for`: the result is a `StreamResult`. Until it
        is closed, or read to its end, nothing else is executed on the connection. The arguments are
        those of `execute()`, but there is one group of parameters at most; *timeout* limits how
        long the server is waited for, not what is done between two rows.

        *max_buffer* is how many bytes may wait, received and not yet taken, besides the row at
        hand: 1 MiB unless it is said. *yield_per* is how many rows `partitions()` has in each, and
        how many are decoded at a time.
        """
        options = {} if isinstance(query, str) else getattr(query, "_execution_options", {})
        given = {"yield_per": yield_per, "max_buffer": max_buffer}
        given = {name: value for name, value in given.items() if value is not None}
        options = {**options, **given}
        return cast("StreamContext", self._streamed(query, multiparams, params, options))

    def _streamed(
        self,
        query: Any,
        multiparams: Sequence[Any],
        params: dict[str, Any],
        options: Mapping[str, Any],
    ) -> Any:
        from .stream import StreamContext, StreamResult  # few have use for it

        stream = StreamResult(self, options)
        return StreamContext(self._execute_in_time(query, multiparams, params, options, stream))

    async def _execute_in_time(
        self,
        query: Any,
        multiparams: Sequence[Any],
        params: dict[str, Any],
        options: Mapping[str, Any],
        stream: Any = None,
    ) -> Any:
        check_keywords(query, multiparams, params)
        timeout = options.get("timeout", self._timeout)
        if "timeout" in params and (multiparams or not has_parameter(query, "timeout")):
            params = {**params}
            timeout = params.pop("timeout")
        try:
            if timeout is None:
                return await self._execute(query, multiparams, params, stream)
            raw = self._open()
            started = raw.loop.time()
            with raw.limit(check_seconds("timeout", timeout)):
                result = await self._execute(query, multiparams, params, stream)
        except BaseException:
            if stream is not None:
                stream._read_by(None)  # nothing is to stay in a cycle
            raise
        if stream is not None:
            stream._limit(timeout, raw.loop.time() - started)
        return result

    async def _execute(
        self, query: Any, multiparams: Sequence[Any], params: dict[str, Any], stream: Any = None
    ) -> Any:
        raw = self._usable()
        if raw._unsettled():
            await raw.ready()
            self._usable()
        groups = _groups(raw, multiparams, params)
        if isinstance(query, str):
            return await self._execute_text(raw, query, groups, stream)
        planner = self._planner_for(raw)
        known = planner._look_up(query)
        statement = query if known is not None else executable(query)
        if known is None and isinstance(statement, ExecutableDDLElement):
            return await self._execute_ddl(raw, planner, statement, groups, stream)
        if len(groups) > 1:
            if stream is not None:
                refuse_many()
            return await self._execute_many(raw, planner, statement, groups, known)
        if not groups and multiparams:
            refuse_empty(statement)
        plan, result, answer = self._send(raw, planner, query, statement, groups, known, stream)
        try:
            results = await answer
        except SERVER_ERRORS as error:
            if not is_void(raw, error, writes(statement)):
                raise
            self._usable()  # nobody else has it since
            plan, result, answer = self._send(raw, planner, query, statement, groups, known, stream)
            results = await answer
        if stream is not None and plan.keys is None:
            if plan.returning:
                self._note_write(raw)
            return await stream._begin(raw, results, self._wanted_warnings(statement))
        if plan.returning:
            self._take_returned(raw, plan, results[0], result)
        if results[-1].warning_count:
            await warn(self._raw(), self._wanted_warnings(statement))
        return result._load(results)

    def _made(
        self, raw: Session, query: Any, groups: Sequence[Any]
    ) -> tuple[Plan | None, ResultProxy, Command]:
        """Return what `_command()` does for a statement of any sort, executed once."""
        planner = self._planner_for(raw)
        known = None if isinstance(query, str) else planner._look_up(query)
        statement = query if isinstance(query, str) or known is not None else executable(query)
        if isinstance(statement, ExecutableDDLElement):
            check_ddl(groups)
            query, groups = planner.ddl(statement, raw), ()
        if not isinstance(query, str):
            return self._command(raw, planner, query, statement, groups, known, None, False)
        result = ResultProxy(self)
        cursor = Cursor(self.connection)
        return (
            None,
            result,
            cursor.command(raw, query, groups[0] if groups else None, result._shape),
        )

    def _finished(
        self, raw: Session, plan: Plan | None, result: ResultProxy, results: list[ResultSet]
    ) -> ResultProxy:
        """Load what `_made()` has been answered."""
        if plan is not None and plan.returning:
            self._take_returned(raw, plan, results[0], result)
        return result._load(results)

    async def _execute_text(self, raw: Session, sql: str, dps: Sequence[Any], stream: Any) -> Any:
        cursor = Cursor(self.connection)
        cursor.warnings = self._warnings
        args = (dps[0] or None) if dps else None
        if stream is not None:
            if len(dps) > 1:
                refuse_many()
            command = cursor.command(raw, sql, args, stream._shape)
            stream._read_by(command)
            return await stream._begin(raw, await raw.run(command), self._warnings)
        result = ResultProxy(self)
        if len(dps) > 1:
            await cursor.executemany(sql, dps)
        else:
            await cursor.execute_shaped(sql, args, result._shape)
            cursor.raise_later()
        return result._load(cursor.results)

    async def _execute_ddl(
        self,
        raw: Session,
        planner: Planner,
        statement: ExecutableDDLElement,
        dps: Sequence[Any],
        stream: Any,
    ) -> Any:
        check_ddl(dps)
        cursor = Cursor(self.connection)
        sql = planner.ddl(statement, raw)
        cursor.warnings = self._wanted_warnings(statement)
        await cursor.execute_shaped(sql, None, None)
        result = ResultProxy(self) if stream is None else stream
        return result._load(cursor.results)

    async def _execute_many(
        self,
        raw: Session,
        planner: Planner,
        statement: ClauseElement,
        groups: Sequence[Any],
        known: Known | None,
    ) -> ResultProxy:
        # Which few have use for: 0.6 ms of an import.
        from .sql.batch import merged
        from .sql.groups import plan_many
        from .wire.turns import Turns

        groups = list(groups)  # the caller may change theirs
        told: list[tuple[Any, ...]] | None
        told = [] if wants_warnings(raw, self._wanted_warnings(statement)) else None
        with Turns(raw) as turns:
            execution = plan_many(turns, planner, statement, groups, known)
            plan = execution.plan
            send = await _sender(turns, execution, statement, groups, told)
        described = {} if raw.observer is None else description_of(plan, statement)
        with raw.observe(plan.sql, executions=len(groups), **described) as observed:
            whole = merged(await send())
            observed.take([whole])
        if plan.returning and whole.rows:
            self._note_write(raw)
        issue(told or ())
        result = ResultProxy(self, statement)
        if plan.keys is not None and execution.given is not None:
            result._inserted = Inserted(plan.keys, execution.given, many=True)
        return result._load([whole])

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

    def _wanted_warnings(self, statement: ClauseElement) -> bool | None:
        """Return whether the server's warnings are wanted; `None`: as the raw connection has it."""
        wanted: bool | None = _options(statement).get("warnings")
        return self._warnings if wanted is None else wanted


def _groups(raw: Session, multiparams: Sequence[Any], params: dict[str, Any]) -> Sequence[Any]:
    """Return the groups of parameters; log them if that is asked for."""
    if params and multiparams:
        refuse_mixed(params)
    groups = multiparams
    if len(groups) != 1 or type(groups[0]) is not dict:
        groups = _distill_params(multiparams, params)
    observer = raw.observer
    if observer is not None and observer.echo == "values":
        logger.info("%r", groups)
    return groups


async def _sender(
    turns: Turns,
    execution: Execution,
    statement: ClauseElement,
    groups: Sequence[Any],
    told: list[tuple[Any, ...]] | None,
) -> Callable[[], Coroutine[Any, Any, list[ResultSet]]]:
    """Return what executes *statement* for *groups*: in bulk, in windows or packet by packet."""
    from .sql.batch import packets_of, take_windows
    from .wire.windows import run_windows

    raw, plan = turns.session, execution.plan
    if raw.takes_bulk:
        from .sql.bulk import take_bulk

        bulk = await take_bulk(turns, execution, statement, groups)
        if bulk is not None:
            return partial(bulk.run, raw, told)
    if raw.options.pipelining:
        windows = await take_windows(turns, execution, statement, groups, told is not None)
        if windows is not None:
            return partial(run_windows, raw, windows, plan.describe, told)
    packets = await packets_of(turns, execution, statement, groups)
    commands = [Command(each, plan.describe) for each in packets]
    return partial(raw.run_each, commands, told)


def check_ddl(groups: Sequence[Any]) -> None:
    """Raise an `ArgumentError` if there are parameters for DDL."""
    if len(groups) > 1 or any(groups):
        raise ArgumentError(
            "Don't mix sqlalchemy DDL clause and execution with parameters: it takes none"
        )


def _options(statement: ClauseElement) -> Mapping[str, Any]:
    options: Mapping[str, Any] = statement.get_execution_options()  # type: ignore[attr-defined]
    return options
