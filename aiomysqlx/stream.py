"""Streamed results, as `SAConnection.stream()` returns them."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.sql.elements import ColumnElement

from .exc import ArgumentError
from .loaded import Loaded
from .runtime.awaitable import AsynchronousRows, AwaitableContext
from .runtime.record import Generic
from .runtime.words import brief
from .sql.rows import RowMapping, RowProxy, Values
from .wire.command import Command
from .wire.flow import MAX_BUFFER, MOST_ROWS, Flow
from .wire.reply import ResultSet
from .wire.session import Session
from .wire.warning import warn

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Self, Unpack

T = TypeVar("T")
Item = TypeVar("Item", covariant=True)


class StreamFetcher(AsynchronousRows, Generic[Item]):
    """The fetch methods, over what a subclass waits for."""

    __slots__ = ()
    _usage = "async for row in result, or rows = await result.fetchmany(100)"

    async def _take(self, size: int | None) -> list[Item]:
        """Return the next *size* items, or all; once there are none, end and return none."""
        raise NotImplementedError

    def _page(self) -> int | None:
        """Return the *yield_per* of the stream."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close the result; what is still to come of it is read for nobody."""
        raise NotImplementedError

    async def fetchone(self) -> Item | None:
        """Return the next row; after the last one return `None` and close the result."""
        rows = await self._take(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Item]:
        """Return the next *size* rows (default: *yield_per*, or else one)."""
        if size is None:
            size = self._page() or 1
        elif isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ArgumentError(f"expected a number of rows, zero or more, got {brief(size)}")
        return await self._take(size)

    async def fetchall(self) -> list[Item]:
        """Return the rows that are left and close the result."""
        return await self._take(None)

    async def all(self) -> list[Item]:
        """Return the rows that are left and close the result."""
        return await self._take(None)

    async def first(self) -> Item | None:
        """Return the first row that is left, or `None`, and close the result."""
        rows = await self._take(1)
        await self.close()
        return rows[0] if rows else None

    async def one(self) -> Item:
        """Return the only row and close the result.

        Raises `sqlalchemy.exc.NoResultFound` or `MultipleResultsFound`.
        """
        rows = await self._take_only()
        if not rows:
            raise NoResultFound("no row was found when one was required")
        return rows[0]

    async def one_or_none(self) -> Item | None:
        """Return the only row or `None`, and close the result.

        Raises `sqlalchemy.exc.MultipleResultsFound`.
        """
        rows = await self._take_only()
        return rows[0] if rows else None

    async def _take_only(self) -> list[Item]:
        rows = await self._take(2)
        await self.close()
        if len(rows) > 1:
            raise MultipleResultsFound("multiple rows were found when one was required")
        return rows

    async def partitions(self, size: int | None = None) -> AsyncIterator[list[Item]]:
        """Iterate over lists of *size* rows (default: *yield_per*, or else some hundred)."""
        while rows := await self.fetchmany(size or self._page() or MOST_ROWS):
            yield rows

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        rows = await self._take(1)
        if not rows:
            raise StopAsyncIteration
        return rows[0]


class StreamResult(Loaded, StreamFetcher[RowProxy[Values]]):
    """The result of a statement whose rows are read from the server as they are asked for.

    Nothing else is executed on its connection until it is closed, which it is by itself once the
    rows are used up. One that is dropped is closed, too. After that, and once its connection was
    given back, fetching raises `ResourceClosedError`.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_command",
        "_failure",
        "_flow",
        "_max_buffer",
        "_per",
        "_wanted",
    )

    def __init__(self, connection: Any, options: Mapping[str, Any]) -> None:
        super().__init__(connection)
        self._per = _positive("yield_per", options.get("yield_per"))
        most = _positive("max_row_buffer", options.get("max_row_buffer"))
        self._wanted = min(self._per or MOST_ROWS, most or MOST_ROWS, MOST_ROWS)
        self._max_buffer = _positive("max_buffer", options.get("max_buffer")) or MAX_BUFFER
        self._command: Command | None = None
        self._flow: Flow | None = None
        self._buffer: deque[RowProxy[Values]] = deque()
        # What is raised once the rows before it are taken.
        self._failure: BaseException | None = None
        self._rowcount = -1

    def _read_by(self, command: Command | None) -> None:
        """Have the answer to *command* be read as its rows are asked for; `None`: to none."""
        if command is not None:
            command.stream = self._max_buffer
        self._command = command

    async def _begin(
        self, session: Session, results: list[ResultSet], warnings: bool | None
    ) -> Self:
        """Take the columns of the rows that are to come, or what came in their place."""
        command, self._command = self._command, None
        assert command is not None
        flow = Flow(session, command)
        flow.warnings = warnings
        flow.begin(results)
        if results[0].columns is None:  # the error of a later statement is raised all the same
            while await flow.advance() is not None:
                pass
            if results[-1].warning_count:
                await warn(session, warnings)
            return self._load(results)
        self._load(results)
        self._rowcount = -1
        self._flow = flow
        self._buffer = flow.buffer
        self._connection._stream = weakref.ref(self)
        return self

    def _limit(self, seconds: float, spent: float) -> None:
        if self._flow is not None:
            self._flow.limit(seconds, spent)

    @property
    def rowcount(self) -> int:
        """The number of rows affected or, at the end, returned; -1 while it is not known."""
        return self._rowcount

    async def close(self) -> None:
        """Close the result; what is still to come of it is read for nobody."""
        self._end()

    def _end(self) -> None:
        flow, self._flow, self._results = self._flow, None, None
        if flow is not None:
            flow.end()

    async def scalar(self: StreamResult[tuple[T, Unpack[tuple[Any, ...]]]]) -> T | None:
        """Return the first column of the first row, `None` if there is no row, and close."""
        row = await self.first()
        return None if row is None else row[0]

    @overload
    def scalars(self: StreamResult[tuple[T, Unpack[tuple[Any, ...]]]]) -> StreamView[T]: ...
    @overload
    def scalars(self, index: ColumnElement[T]) -> StreamView[T]: ...
    @overload
    def scalars(self, index: int | str) -> StreamView[Any]: ...
    def scalars(self, index: int | str | ColumnElement[Any] = 0) -> StreamView[Any]:
        """Return the result as the values of one column."""
        position = 0 if self._metadata is None else self._metadata._index(index)
        return StreamView(self, lambda row: row[position])

    def tuples(self) -> StreamView[Values]:
        """Return the result as plain tuples, which have the types of the statement's columns."""
        return StreamView(self, RowProxy.as_tuple)

    def mappings(self) -> StreamView[RowMapping]:
        """Return the result as mappings that equal dictionaries."""
        return StreamView(self, RowMapping)

    def _page(self) -> int | None:
        return self._per

    async def _take(self, size: int | None) -> list[RowProxy[Values]]:
        if self._results is None:
            raise self._is_closed()
        rows: list[RowProxy[Values]] = []
        while size is None or len(rows) < size:
            buffer = self._buffer
            try:
                if not buffer and not await self._fill():
                    if not rows or size is None:
                        self._end()
                    break
            except Exception as error:
                if not rows or size is None:
                    raise
                self._failure = error
                break
            if size is None or size - len(rows) >= len(buffer):
                rows += buffer
                buffer.clear()
            else:
                rows += [buffer.popleft() for _ in range(size - len(rows))]
        return rows

    async def _fill(self) -> bool:
        """Have rows in the buffer; false at the end. An error closes the result."""
        flow = self._flow
        if flow is None:
            raise self._is_closed()
        try:
            if await flow.fill(self._wanted):
                return True
            result = flow.result
            while await flow.advance() is not None:
                pass
        except BaseException:
            if self._flow is flow and not flow.awaited:  # by another task
                self._end()
            raise
        self._rowcount = result.position
        return False

    def _is_closed(self) -> BaseException:
        failure, self._failure = self._failure, None
        if failure is not None:
            return failure
        return self._ended()

    async def __anext__(self) -> RowProxy[Values]:
        if self._results is not None and (self._buffer or await self._fill()):
            row: RowProxy[Values] = self._buffer.popleft()
            return row
        if self._results is None:
            raise self._is_closed()
        self._end()
        raise StopAsyncIteration


class StreamContext(AwaitableContext[StreamResult[Values]]):
    """What `SAConnection.stream()` returns."""

    __slots__ = ()
    _usage = "result = await conn.stream(…), or async for row in conn.stream(…)"

    def _leave(
        self, value: StreamResult[Values], error: BaseException | None
    ) -> Coroutine[Any, Any, None]:
        return value.close()

    def __aiter__(self) -> AsyncIterator[RowProxy[Values]]:
        return _Rows(self)


class _Rows(Generic[Values]):
    """The rows of a stream that nobody else has: once it is dropped, so is the stream."""

    __slots__ = ("_context", "_result")

    def __init__(self, context: StreamContext[Values]) -> None:
        self._context: StreamContext[Values] | None = context
        self._result: StreamResult[Values] | None = None

    def __aiter__(self) -> _Rows[Values]:
        return self

    async def __anext__(self) -> RowProxy[Values]:
        result = self._result
        if result is None:
            assert self._context is not None
            result = self._result = await self._context
            self._context = None
        buffer = result._buffer
        if buffer or await result._fill():
            row: RowProxy[Values] = buffer.popleft()
            return row
        result._end()
        raise StopAsyncIteration


class StreamView(StreamFetcher[Item]):
    """A stream whose rows pass through a function."""

    __slots__ = ("_make", "_result")

    def __init__(self, result: StreamResult[Any], make: Callable[[Any], Item]) -> None:
        self._result = result
        self._make = make

    async def _take(self, size: int | None) -> list[Item]:
        return [self._make(row) for row in await self._result._take(size)]

    def _page(self) -> int | None:
        return self._result._page()

    async def close(self) -> None:
        """Close the result; what is still to come of it is read for nobody."""
        self._result._end()


def _positive(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(f"{name}: expected a positive int, got {brief(value)}")
    return value
