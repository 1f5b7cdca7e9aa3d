"""What a statement has brought, before anybody fetches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cursor import Cursor
from .exc import ResourceClosedError
from .sql.keys import Inserted
from .sql.rows import ResultMetaData, RowProxy
from .wire._impl import make_rows
from .wire.columns import Columns
from .wire.reply import ResultSet

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Self


class Loaded:
    """The results of a statement, and how its rows are made."""

    __slots__ = (
        "_connection",
        "_cursor",
        "_inserted",
        "_lastrowid",
        "_metadata",
        "_results",
        "_rowcount",
        "_statement",
    )

    def __init__(self, connection: Any, statement: Any = None) -> None:
        self._connection = connection
        self._statement = statement
        self._metadata: ResultMetaData | None = None
        self._results: list[ResultSet] | None = None
        self._cursor: Cursor | None = None
        self._lastrowid: int | None = None
        self._inserted: Inserted | None = None

    @property
    def lastrowid(self) -> int | None:
        """The AUTO_INCREMENT value generated for the first row inserted; 0 if there was none."""
        return self._lastrowid

    @property
    def returns_rows(self) -> bool:
        """Whether the statement returns rows, even if there are none."""
        return self._metadata is not None

    @property
    def closed(self) -> bool:
        """Whether the result is closed."""
        return self._results is None

    def keys(self) -> tuple[str, ...]:
        """Return the column names."""
        return () if self._metadata is None else self._metadata._keys

    def _shape(self, columns: Columns) -> tuple[type[RowProxy], ResultMetaData]:
        """Keep the columns, and return the class and the metadata of the rows."""
        metadata: Any = columns.metadata
        if metadata is None:
            names = [column.name for column in columns.definitions]
            metadata = columns.metadata = ResultMetaData(names)
        elif metadata._statement is not None and metadata._statement is not self._statement:
            metadata = metadata.adapted(self._statement)
        self._metadata = metadata
        return RowProxy, metadata

    def _load(self, results: list[ResultSet]) -> Self:
        """Load the results of the statement, which are complete, and return this result."""
        result = results[0]
        self._rowcount = result.affected_rows
        if result.columns is None:
            self._lastrowid = result.insert_id
            return self
        if not result.shaped:
            self._make_rows(result)
        self._results = results
        return self

    def _take_keys(self, result: ResultSet) -> None:
        """Keep the row with an INSERT's key for `inserted_primary_key`: the user asked for none."""
        assert self._inserted is not None
        self._inserted.take(result)
        self._metadata = None

    def _make_rows(self, result: ResultSet) -> None:
        """Make the rows of a result, if it has rows that are not made yet."""
        if result.columns is not None and not result.shaped:
            make_rows(*self._shape(result.columns), result.rows, 0)
            result.shaped = True

    def _open(self) -> ResultSet:
        results = self._results
        if results is None:
            raise self._ended()
        if self._cursor is None:
            return results[0]
        result = (self._cursor.results or results)[0]  # where its nextset() has gone on to
        self._make_rows(result)
        return result

    def _ended(self) -> ResourceClosedError:
        """Return the error for what is fetched once there is nothing any more."""
        if self._metadata is None:
            return ResourceClosedError(
                "This result object does not return rows. It has been closed automatically."
            )
        return ResourceClosedError("This result object is closed.")

    def _end(self) -> None:
        self._results = None
        if self._cursor is not None:
            self._cursor.detach()
            self._cursor = None

    def _take_first(self) -> RowProxy[Any] | None:
        rows: list[RowProxy[Any]] = self._open().take(1)
        self._end()
        return rows[0] if rows else None
