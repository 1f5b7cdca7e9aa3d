"""`SAConnection.pipeline()`: statements that are sent without waiting for those before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, overload

from sqlalchemy.sql.elements import ClauseElement

from .blocks import closed
from .exc import ArgumentError, InvalidRequestError, NotAwaitedError
from .result import ResultProxy
from .runtime.awaitable import Asynchronous, AsynchronousRows
from .runtime.record import Generic
from .sql.plan import Plan
from .sql.rows import Values
from .sql.statements import distill_params, refuse_mixed
from .wire.command import Command
from .wire.pipeline import MOST, Entry, Pipe, Tally
from .wire.pipelining import prove
from .wire.session import Session
from .wire.warning import issue, wants_warnings

if TYPE_CHECKING:
    from sqlalchemy import Executable
    from sqlalchemy.sql.selectable import TypedReturnsRows
    from typing_extensions import Unpack

    from .statement_types import Columns, Row

_CUT_OFF = "the pipeline was cut off before this statement was answered: it may have been executed"
_OUTSIDE = "a pipeline executes within its block alone: async with conn.pipeline() as pipe"
_RAISED = "the pipeline's block has raised an error before this statement was sent"
_CHANGED = "a transaction has begun or ended within the pipeline's block: use another pipeline"
_FAILED = "a statement of this pipeline was refused, and its transaction is rolled back"


class Pipelined(AsynchronousRows, Generic[Values]):
    """A statement of a pipeline: await it for its result, within the block or behind it."""

    __slots__ = ("_entry", "_finish", "_raw", "_result")

    _usage = "rows = await (await statement).fetchall()"

    def __init__(
        self, raw: Session, entry: Entry, finish: Callable[[Entry], ResultProxy[Values]]
    ) -> None:
        self._raw = raw  # not the pipeline, which has this one: nothing is to stay in a cycle
        self._entry = entry
        self._finish = finish
        self._result: ResultProxy[Values] | None = None

    @property
    def done(self) -> bool:
        """Whether there is an outcome."""
        return self._entry.done

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise NotAwaitedError(f"it has to be awaited before {name!r} is used: {self._usage}")

    def __await__(self) -> Generator[Any, Any, ResultProxy[Values]]:
        return self._wait().__await__()

    async def _wait(self) -> ResultProxy[Values]:
        await self._entry.wait(self._raw)
        if self._result is None:
            self._result = self._finish(self._entry)
            told, self._entry.warnings = self._entry.warnings, []
            issue(told)
        return self._result


class Pipeline(Asynchronous):
    """Sends statements without waiting for the answers to those before them.

    `async with connection.pipeline()` gives it. Each statement has its own outcome: the server goes
    on after one that it refuses. Leaving the block waits for all, and raises the first error that
    nobody has awaited. With *transaction* all are committed at the end of the block, or none.
    """

    __slots__ = (
        "_connection",
        "_pipe",
        "_raw",
        "_root",
        "_statements",
        "_tally",
        "_transaction",
        "_wants_transaction",
    )

    _raw: Session
    _usage = "async with conn.pipeline() as pipe"

    def __init__(self, connection: Any, transaction: bool) -> None:
        self._connection = connection
        self._wants_transaction = transaction
        self._transaction: Any = None
        self._pipe: Pipe | None = None
        self._statements: list[Pipelined] = []
        self._tally = Tally()

    @overload
    def execute(
        self, query: TypedReturnsRows[Row], *multiparams: Any, **params: Any
    ) -> Pipelined[Row]: ...
    @overload
    def execute(
        self, query: TypedReturnsRows[Unpack[Columns]], *multiparams: Any, **params: Any
    ) -> Pipelined[tuple[Unpack[Columns]]]: ...
    @overload
    def execute(self, query: str | Executable, *multiparams: Any, **params: Any) -> Pipelined: ...
    def execute(self, query: Any, *multiparams: Any, **params: Any) -> Pipelined[Any]:
        """Send a statement once there is room for it; await what is returned for its result.

        *query* and its parameters are those of `SAConnection.execute()`, but for one execution.
        What is wrong with them is raised where the outcome is awaited.
        """
        pipe = self._pipe
        if pipe is None:
            raise InvalidRequestError(_OUTSIDE)
        conn, raw = self._connection, self._raw
        if not pipe.busy:
            conn._open()
        elif conn._own() is not raw:
            raise closed()
        if params and multiparams:
            refuse_mixed(params)
        groups = distill_params(multiparams, params)
        given = [dict(group) if type(group) is dict else group for group in groups]
        statement = self._not_sent(query, given)
        self._statements.append(statement)
        entry = statement._entry
        try:
            self._check_root()
            entry.command = entry.make()
        except Exception as error:
            entry.settle(error)
        else:
            if entry.command.observed is not None:
                entry.command.observed.begin()
            pipe.add(entry)
        return statement

    def _not_sent(self, query: Any, given: list[Any]) -> Pipelined[Any]:
        """Return a statement, with what makes its command and, of the answer, its result."""
        conn, raw = self._connection, self._raw
        made: list[tuple[Plan | None, ResultProxy]] = []

        def make() -> Command:
            if len(given) > 1:
                raise ArgumentError(
                    f"a pipeline executes a statement once, got {len(given)} groups of parameters:"
                    " execute() it for each, or by connection.execute()"
                )
            command: Command
            plan, result, command = conn._made(raw, query, given)
            made[:] = [(plan, result)]
            return command

        def finish(entry: Entry) -> ResultProxy[Any]:
            result: ResultProxy[Any] = conn._finished(raw, *made[0], entry.results)
            return result

        wanted = conn._warnings
        if isinstance(query, ClauseElement):
            wanted = conn._wanted_warnings(query)
        return Pipelined(
            raw, Entry(make, raw.syntax, wants_warnings(raw, wanted), self._tally), finish
        )

    def _check_root(self) -> None:
        blocks = self._connection._blocks
        if self._root is not (None if blocks is None else blocks.root):
            raise InvalidRequestError(_CHANGED)
        if self._wants_transaction and self._tally.failed:
            raise InvalidRequestError(_FAILED)

    async def __aenter__(self) -> Pipeline:
        if self._pipe is not None:
            raise InvalidRequestError("this pipeline has its block: begin another")
        conn = self._connection
        raw = self._raw = conn._open()
        raw.check_loop()
        if raw.is_unsettled():
            with conn._use_blocks().limit(raw):
                await raw.ready()
            conn._open()
        raw.check_free()
        if raw.protocol.runs_ahead is None:
            with conn._use_blocks().limit(raw):
                await prove(raw)
            conn._open()
            raw.check_free()
        if self._wants_transaction:
            self._transaction = await conn._begin_for_pipeline()
        blocks = conn._blocks
        root = self._root = None if blocks is None else blocks.root
        in_block = raw.in_block
        suspends, most = False, MOST
        if in_block and raw.autocommits and (root is None or root._xid is None):
            # Behind a transaction that an error has ended, each statement would commit by itself.
            suspends = root is not None
            most = MOST if suspends else 1
        if not raw.protocol.runs_ahead:
            most = 1
        raw.suspended = raw.suspended or suspends
        self._pipe = Pipe(raw, in_block, suspends, most, conn._timeout)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        pipe, self._pipe = self._pipe, None
        assert pipe is not None
        try:
            if isinstance(exc, (asyncio.CancelledError, GeneratorExit)):
                pipe.cut_off(InvalidRequestError(_CUT_OFF))
            elif exc is not None:
                pipe.drop(InvalidRequestError(_RAISED))
            try:
                await pipe.idle()
            except BaseException:
                pipe.cut_off(InvalidRequestError(_CUT_OFF))
                raise
        except BaseException:
            await self._undo()
            raise
        failed = [each for each in self._statements if each._entry.error is not None]
        if self._transaction is not None:
            if exc is None and not failed:
                await self._transaction._leave(None)
            else:
                await self._undo()
                for each in failed:  # all or nothing: nobody is to take it for done
                    each._entry.told = False
        if exc is None:
            self._raise_first(failed)

    def _raise_first(self, failed: Sequence[Pipelined]) -> None:
        for each in failed:
            if not each._entry.told:
                each._entry.raise_error()
        for each in self._statements:
            told, each._entry.warnings = each._entry.warnings, []
            issue(told)

    async def _undo(self) -> None:
        """Roll the transaction back, or close a connection that cannot."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            with suppress(Exception):
                await transaction._leave(InvalidRequestError(_FAILED))


def check_transaction(wanted: object) -> None:
    """Raise `ArgumentError` if *wanted* is not true or false."""
    if not isinstance(wanted, bool):
        raise ArgumentError(f"transaction: expected True or False, got {wanted!r}")
