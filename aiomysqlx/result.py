"""Results and rows, as `SAConnection.execute()` returns them."""

from __future__ import annotations

import copyreg
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar, overload

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.sql.elements import ColumnElement

from .cursor import Cursor
from .exc import ArgumentError, InvalidRequestError
from .loaded import Loaded
from .runtime.awaitable import AsynchronousRows, AwaitableContext
from .runtime.record import Generic
from .runtime.words import brief
from .sql.rows import ResultMetaData as ResultMetaData
from .sql.rows import RowMapping as RowMapping
from .sql.rows import RowProxy as RowProxy
from .sql.rows import Values

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Unpack

T = TypeVar("T")
Item = TypeVar("Item", covariant=True)


class Fetcher(AsynchronousRows, Generic[Item]):
    """The fetch methods, over what a subclass has at hand."""

    __slots__ = ()
    _usage = "async for row in result, or rows = await result.fetchall()"

    def _take(self, size: int) -> list[Item]:
        """Return the next *size* items; once there are none, end and return an empty list."""
        raise NotImplementedError

    def _take_all(self) -> list[Item]:
        """Return the items that are left, and end."""
        raise NotImplementedError

    def _default_size(self) -> int:
        raise NotImplementedError

    async def fetchone(self) -> Item | None:
        """Return the next row; after the last one return `None` and close the result."""
        rows = self._take(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[Item]:
        """Return the next *size* rows (default: the cursor's `arraysize`)."""
        if size is None:
            return self._take(self._default_size())
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ArgumentError(f"expected a number of rows, zero or more, got {brief(size)}")
        return self._take(size)

    async def fetchall(self) -> list[Item]:
        """Return the rows that are left and close the result."""
        return self._take_all()

    async def all(self) -> list[Item]:
        """Return the rows that are left and close the result."""
        return self._take_all()

    async def first(self) -> Item | None:
        """Return the first row that is left, or `None`, and close the result."""
        rows = self._take(1)
        self._end()
        return rows[0] if rows else None

    async def one(self) -> Item:
        """Return the only row and close the result.

        Raises `sqlalchemy.exc.NoResultFound` or `MultipleResultsFound`.
        """
        rows = self._take_only()
        if not rows:
            raise NoResultFound("no row was found when one was required")
        return rows[0]

    async def one_or_none(self) -> Item | None:
        """Return the only row or `None`, and close the result.

        Raises `sqlalchemy.exc.MultipleResultsFound`.
        """
        rows = self._take_only()
        return rows[0] if rows else None

    def _take_only(self) -> list[Item]:
        rows = self._take(2)
        self._end()
        if len(rows) > 1:
            raise MultipleResultsFound("multiple rows were found when one was required")
        return rows

    def _end(self) -> None:
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        rows = self._take(1)
        if not rows:
            raise StopAsyncIteration
        return rows[0]


class ResultProxy(Loaded, Fetcher[RowProxy[Values]]):
    """The result of a statement.

    Its rows have been read when it is made, and stay readable after its connection was given back.
    It closes itself once the rows are used up, at once if it has none (an INSERT, say);
    from then on fetching raises `ResourceClosedError`.
    """

    __slots__ = ()

    def __getstate__(self) -> tuple[dict[str, Any] | None, dict[str, Any]]:
        """Return what a copy begins with, which a compiled class does not by itself."""
        names = copyreg._slotnames(type(self))  # type: ignore[attr-defined]
        slots = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return getattr(self, "__dict__", None), slots

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect."""
        dialect: Dialect = self._connection._dialect
        return dialect

    @property
    def cursor(self) -> Cursor | None:
        """A DB-API cursor over the result; `None` once the result is closed."""
        if self._cursor is None and self._results is not None:
            conn = self._connection
            raw = None if conn._released else conn.connection
            self._cursor = Cursor(raw, raw is not None and bool(raw.echo))
            self._cursor.load(self._results)
        return self._cursor

    @property
    def rowcount(self) -> int:
        """The number of rows returned, or matched by an UPDATE or DELETE, or inserted."""
        return self._rowcount

    @property
    def inserted_primary_key(self) -> Any:
        """The primary key of the row inserted, a named tuple of SQLAlchemy's.

        What a default of the server's has written is not known, and is `None` in it, and so is
        what an expression or a sequence has made where the server cannot return it (MySQL). Raises
        `InvalidRequestError` for what is no `insert()`, for one of many groups of parameters, and
        for one with `returning()`, which returns the key itself.
        """
        if self._inserted is not None and self._inserted.many:
            raise InvalidRequestError(
                "the statement was executed with many groups of parameters: use"
                " inserted_primary_key_rows, or lastrowid for the first AUTO_INCREMENT value"
            )
        rows = self.inserted_primary_key_rows
        return rows[0] if rows else None

    @property
    def inserted_primary_key_rows(self) -> list[Any]:
        """The primary keys of the rows inserted, as `inserted_primary_key` has that of one.

        For many groups of parameters, they hold what the groups contain; an AUTO_INCREMENT value is
        `None`.
        """
        if self._inserted is None:
            raise InvalidRequestError(
                "only an insert() construct without returning() tells the primary keys of what it"
                " has inserted"
            )
        return self._inserted.rows(self._lastrowid)

    async def close(self) -> None:
        """Close the result; rows that are left are dropped."""
        self._end()

    async def first(self) -> RowProxy[Values] | None:
        """Return the first row that is left, or `None`, and close the result."""
        return self._take_first()

    async def scalar(self: ResultProxy[tuple[T, Unpack[tuple[Any, ...]]]]) -> T | None:
        """Return the first column of the first row, `None` if there is no row, and close."""
        row = await self.first()
        return None if row is None else row[0]

    @overload
    def scalars(self: ResultProxy[tuple[T, Unpack[tuple[Any, ...]]]]) -> ResultView[T]: ...
    @overload
    def scalars(self, index: ColumnElement[T]) -> ResultView[T]: ...
    @overload
    def scalars(self, index: int | str) -> ResultView[Any]: ...
    def scalars(self, index: int | str | ColumnElement[Any] = 0) -> ResultView[Any]:
        """Return the result as the values of one column."""
        # A result without rows says so when it is fetched from.
        position = 0 if self._metadata is None else self._metadata._index(index)
        return ResultView(self, lambda row: row[position])

    def tuples(self) -> ResultView[Values]:
        """Return the result as plain tuples, which have the types of the statement's columns."""
        return ResultView(self, RowProxy.as_tuple)

    def mappings(self) -> ResultView[RowMapping]:
        """Return the result as mappings that equal dictionaries."""
        return ResultView(self, RowMapping)

    def _take(self, size: int) -> list[RowProxy[Values]]:
        rows = self._open().take(size)
        if not rows and size > 0:
            self._end()
        return rows

    def _take_all(self) -> list[RowProxy[Values]]:
        rows = self._open().give_all()
        self._end()
        return rows

    def _default_size(self) -> int:
        self._open()
        return 1 if self._cursor is None else self._cursor.arraysize


class ExecuteContext(AwaitableContext[ResultProxy[Values]]):
    """What `SAConnection.execute()` returns."""

    __slots__ = ()
    _usage = "result = await conn.execute(…), or async for row in conn.execute(…)"

    def _leave(
        self, value: ResultProxy[Values], error: BaseException | None
    ) -> Coroutine[Any, Any, None]:
        return value.close()

    def __aiter__(self) -> AsyncIterator[RowProxy[Values]]:
        return self._rows()

    async def _rows(self) -> AsyncIterator[RowProxy[Values]]:
        async for row in await self:
            yield row


class ResultView(Fetcher[Item]):
    """A result whose rows pass through a function."""

    __slots__ = ("_make", "_result")

    def __init__(self, result: ResultProxy[Any], make: Callable[[Any], Item]) -> None:
        self._result = result
        self._make = make

    def _take(self, size: int) -> list[Item]:
        return [self._make(row) for row in self._result._take(size)]

    def _take_all(self) -> list[Item]:
        return [self._make(row) for row in self._result._take_all()]

    def _default_size(self) -> int:
        return self._result._default_size()

    def _end(self) -> None:
        self._result._end()
