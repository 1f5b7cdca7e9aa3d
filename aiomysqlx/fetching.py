"""Fetching: the results that a cursor has, one after the other, and their rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from pymysql import err

from .exc import ArgumentError, InvalidRequestError
from .runtime.awaitable import AsynchronousRows
from .runtime.record import Generic
from .runtime.words import brief
from .wire.columns import Columns
from .wire.reply import ResultSet
from .wire.session import Session

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on, and defaults from 3.13 on
    from typing_extensions import TypeVar

    Row = TypeVar("Row", default=tuple[Any, ...])
else:
    from typing import TypeVar

    Row = TypeVar("Row")


class Fetching(AsynchronousRows, Generic[Row]):
    """Has the results of what a cursor has executed, and returns their rows."""

    # Whether something is made of the rows, by `_made()`.
    _makes_rows = False
    # What many rows are returned in.
    _sequence: Callable[[list[Any]], Sequence[Any]] = tuple
    _usage = "async for row in cursor, or rows = await cursor.fetchall()"

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._lease = 0 if connection is None else connection._session.lease
        self._results: list[ResultSet] = []
        self.arraysize = 1
        self.description: tuple[tuple[Any, ...], ...] | None = None
        self.rowcount: int = -1
        self.lastrowid: int | None = None

    @property
    def rownumber(self) -> int:
        """The position in the current result."""
        return self._results[0].position if self._results else 0

    @property
    def warning_count(self) -> int:
        """The number of warnings of the current result."""
        return self._results[0].warning_count if self._results else 0

    @property
    def results(self) -> list[ResultSet]:
        """The current result and those that `nextset()` goes on to."""
        return self._results

    # -- results ---------------------------------------------------------------------------------

    def load(self, results: list[ResultSet]) -> None:
        """Take the results of a command; the first one becomes the current."""
        self._results = results
        result = results[0]
        self.rowcount = result.affected_rows
        if result.columns is None:
            self.lastrowid = result.insert_id
            self.description = None
        else:
            self.lastrowid = None
            self.description = result.columns.description

    def forget(self, error: BaseException) -> None:
        """Have no rows after an error: an earlier statement's are not those of one that failed.

        What was not sent leaves them. Without an earlier one there is still no result.
        """
        if not isinstance(error, (ArgumentError, InvalidRequestError)):
            is_first = not self._results
            self.load([ResultSet()])
            self.lastrowid = None
            if is_first:
                self._results = []

    async def nextset(self) -> bool | None:
        """Go to the next result; `None` if there is none.

        Raises the error of the statement whose result it would be.
        """
        return self.advance()

    def advance(self) -> bool | None:
        """Do what `nextset()` does, without a coroutine."""
        if not self._results:
            self._alive()
        if len(self._results) < 2:
            return None
        if self._results[1].error is not None:
            self.raise_later()
        self.load(self._results[1:])
        return True

    def raise_later(self) -> None:
        """Raise the server's error that came in the place of the last result; once."""
        if self._results and self._results[-1].error is not None:
            latest = self._results[-1]
            self._results = self._results[:1]
            raise latest.take_error()

    # -- rows ------------------------------------------------------------------------------------

    async def fetchone(self) -> Row | None:
        """Return the next row, `None` at the end."""
        rows = self.take(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Row]:
        """Return the next *size* rows (default: `arraysize`), as a tuple.

        After a statement without rows: an empty list.
        """
        rows = self.take(self.arraysize if size is None else size)
        return rows if self.description is None else self._sequence(rows)

    async def fetchall(self) -> Sequence[Row]:
        """Return the rows that are left, as a tuple.

        After a statement without rows: an empty list.
        """
        rows = self.take()
        return rows if self.description is None else self._sequence(rows)

    def take(self, size: int | None = None) -> list[Row]:
        """Return the next *size* rows, or those that are left, without a coroutine."""
        result = self._fetchable()
        rows: list[Any] = result.take_tuples(len(result.rows) if size is None else size)
        return self._made(result.columns, rows) if self._makes_rows else rows

    def take_all(self) -> list[Row]:
        """Return the rows that are left, without a copy: there is no `scroll()` to them then."""
        result = self._fetchable()
        rows: list[Any] = result.give_all()
        return self._made(result.columns, rows) if self._makes_rows else rows

    def _made(self, columns: Columns | None, rows: list[Any]) -> list[Any]:
        """Return what is made of rows; those of several classes do so in turn, by `super()`."""
        return rows

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Move the position in the result by (`relative`) or to (`absolute`) *value* rows."""
        result = self._fetchable()
        if mode not in ("relative", "absolute"):
            raise err.ProgrammingError(
                f"unknown scroll mode {brief(mode)}: expected 'relative' or 'absolute'"
            )
        position = value + (result.position if mode == "relative" else 0)
        if not 0 <= position < len(result.rows):
            raise IndexError(
                f"out of range: the result has {len(result.rows)} rows, got position {position}"
            )
        result.position = position

    def __aiter__(self) -> AsyncIterator[Row]:
        return self

    async def __anext__(self) -> Row:
        rows = self.take(1)
        if not rows:
            raise StopAsyncIteration
        return rows[0]

    def _fetchable(self) -> ResultSet:
        if not self._results:
            self._alive()
            raise err.ProgrammingError("execute() first: there is no result")
        return self._results[0]

    def _alive(self) -> Session:
        """Return the session; raises an error if nothing is executed in it by this cursor."""
        if self._connection is None:
            raise err.ProgrammingError("Cursor closed: make another with connection.cursor()")
        session: Session = self._connection._session
        session.check_lease(self._lease)
        return session
