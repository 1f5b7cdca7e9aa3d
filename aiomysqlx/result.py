"""Results and rows, as `SAConnection.execute()` gives them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import CompoundSelect, Join, Select, Table
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnElement, TextClause

from .cursor import Cursor
from .exc import ArgumentError, InvalidRequestError, NoSuchColumnError, ResourceClosedError
from .runtime.awaitable import AsynchronousRows
from .runtime.printable import brief
from .sql.template import listed
from .wire._impl import BaseMetadata, BaseRow, make_rows
from .wire.columns import Columns
from .wire.reply import ResultSet

if TYPE_CHECKING:  # the connection makes its results
    from .connection import SAConnection
    from .sql.keys import Inserted

T = TypeVar("T")


class ResultMetaData(BaseMetadata):
    """The columns of a result: their names, and how a row finds them.

    *objects* holds, for each column, what else finds it: SQLAlchemy's column objects and the
    labels that they go by. The names in *keys* come first; one that two columns have, or a
    label shared by two, is ambiguous and raises `InvalidRequestError` when it is used.
    """

    __slots__ = (
        "_ambiguous",
        "_keys",
        "_made_of",
        "_objects",
        "_portable",
        "_selected",
        "_statement",
    )

    def __init__(
        self,
        keys: Sequence[str],
        objects: Sequence[tuple[Any, ...]] | None = None,
        statement: Any = None,
    ) -> None:
        self._keys = tuple(keys)
        self._objects = tuple(objects) if objects is not None else ((),) * len(self._keys)
        # A table's own columns are found without it.
        self._statement = (
            None
            if all(objects and all(map(_is_portable, objects)) for objects in self._objects)
            else statement
        )
        keymap: dict[Any, int] = {index: index for index in range(len(self._keys))}
        ambiguous = _add(keymap, ((key, index) for index, key in enumerate(self._keys)))
        others = [
            (name, index)
            for index, names in enumerate(self._objects)
            for name in dict.fromkeys(names)
            if not isinstance(name, str) or (name not in keymap and name not in ambiguous)
        ]
        ambiguous |= _add(keymap, others)
        self._ambiguous = ambiguous
        self._portable: dict[Any, int] | None = None
        self._selected: dict[Any, int] | None = None
        self._made_of: dict[int, list[Any]] = {}
        attributes = {
            name: index
            for name, index in keymap.items()
            if isinstance(name, str) and not name.startswith("__") and name not in _RESERVED
        }
        super().__init__(keymap, attributes)

    def __reduce__(self) -> tuple[Any, ...]:
        # Column objects belong to the process; the names that they went by stay.
        names = tuple(tuple(n for n in each if isinstance(n, str)) for each in self._objects)
        return ResultMetaData, (self._keys, names)

    def adapted(self, statement: Any) -> ResultMetaData:
        """Give the metadata of *statement*, which only differs in its column objects.

        A table's own columns are the same in both. The others, an alias's say, may be in another
        one's place, and are found in *statement* itself.
        """
        if self._portable is None:
            self._portable = {key: i for key, i in self._keymap.items() if _is_portable(key)}
        copy = ResultMetaData.__new__(ResultMetaData)
        copy._keys = self._keys
        copy._objects = self._objects
        copy._portable = self._portable
        copy._ambiguous = self._ambiguous
        copy._statement = statement
        copy._selected = None
        copy._made_of = self._made_of
        BaseMetadata.__init__(copy, self._portable, self._attributes)
        return copy

    def _locate(self, key: Any) -> int:
        """Give the index of a column that the keymap does not have; raises if there is none."""
        if key in self._ambiguous and _is_portable(key):
            raise _ambiguous(key)
        index = self._locate_element(key) if isinstance(key, ColumnElement) else None
        if index is None:
            raise NoSuchColumnError(
                f"Could not locate column in row for column '{key}'; it has {listed(self._keys)}"
            )
        return index

    def _locate_element(self, key: ColumnElement[Any]) -> int | None:
        index = self._find_selected(key)
        if index is not None:
            return index
        for name in (getattr(key, "_label", None), getattr(key, "key", None)):
            if isinstance(name, str) and (name in self._ambiguous or name in self._keymap):
                if name in self._ambiguous:
                    raise _ambiguous(key)
                index = self._keymap[name]
                if not self._is_same(key, index):
                    return None
                if self._selected is not None:
                    self._selected[key] = index
                return index
        return None

    def _find_selected(self, key: ColumnElement[Any]) -> int | None:
        """Give the index of an element of the statement at hand."""
        if self._selected is None:
            self._selected = {}
            for index, element in enumerate(self._selected_columns()):
                self._selected.setdefault(element, index)
        return self._selected.get(key)

    def _selected_columns(self) -> Sequence[Any]:
        """Give the elements of the statement at hand, if the result has a column for each."""
        if isinstance(self._statement, TextClause):  # which names no columns, and raises
            return ()
        selected = getattr(self._statement, "_all_selected_columns", ())
        return selected if len(selected) == len(self._keys) else ()

    def _columns_of(self, index: int) -> list[Any]:
        """Give the tables' columns that the column at *index* is, or is computed from."""
        columns = self._made_of.get(index)
        if columns is None:
            columns = self._made_of[index] = [
                part
                for element in self._objects[index]
                if isinstance(element, ColumnElement)
                for part in visitors.iterate(element)
                if getattr(part, "table", None) is not None
            ]
        return columns

    def _is_same(self, key: ColumnElement[Any], index: int) -> bool:
        """Whether *key*, whose name fits, can be the column at *index*: not another table's.

        It is if that one is made of it, as `table.alias().c.x` is of `table.c.x`; but not if two
        of what the statement reads from have such a column, as in a join of a table with itself.
        """
        if getattr(key, "table", None) is None:
            return True
        columns = self._columns_of(index)
        base = key._deannotate()
        if columns and not any(base in column.proxy_set for column in columns):
            return False
        sources = [source for source in _sources(self._statement) if _column_of(source, key)]
        return len(sources) <= 1

    def _index(self, key: Any) -> int:
        """Give the index of a column; raises if there is none."""
        index = self._keymap.get(key)
        return self._locate(key) if index is None else index

    def _has(self, key: Any) -> bool:
        if key in self._keymap or key in self._ambiguous:
            return True
        return isinstance(key, ColumnElement) and self._locate_element(key) is not None


def _sources(statement: Any) -> list[Any]:
    """Give the tables, aliases and subqueries that a statement's columns come from."""
    if isinstance(statement, CompoundSelect):
        statement = statement.selects[0]
    froms = statement.get_final_froms() if isinstance(statement, Select) else []
    return [
        source
        for source in {each: None for from_ in froms for each in from_._from_objects}
        if not isinstance(source, Join)
    ]


def _column_of(source: Any, key: ColumnElement[Any]) -> bool:
    return source.corresponding_column(key) is not None


def _is_portable(key: Any) -> bool:
    return isinstance(key, (str, int)) or isinstance(getattr(key, "table", None), Table)


def _ambiguous(key: Any) -> InvalidRequestError:
    return InvalidRequestError(
        f"Ambiguous column name '{key}' in result set! name each column by AS or label()"
    )


def _add(keymap: dict[Any, int], names: Any) -> set[Any]:
    """Add names to *keymap*, but those that come for two columns; give these."""
    found: dict[Any, int] = {}
    ambiguous = set()
    for name, index in names:
        if found.setdefault(name, index) != index:
            ambiguous.add(name)
    for name, index in found.items():
        if name not in ambiguous:
            keymap[name] = index
    return ambiguous


class RowProxy(BaseRow, Mapping[str, Any]):
    """A row: a mapping of column names to values.

    `row["id"]`, `row.id`, `row[tbl.c.id]` and `row[0]` give a value; iterating gives the names.
    Rows equal rows and tuples of the same values.
    """

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # equal to tuples, but not hashed like them

    _metadata: ResultMetaData

    def __iter__(self) -> Iterator[str]:
        return iter(self._metadata._keys)

    def __contains__(self, key: object) -> bool:
        return self._metadata._has(key)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RowProxy):
            return self._values == other._values
        if isinstance(other, tuple):
            return self._values == other
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __repr__(self) -> str:
        return repr(self._values)

    def __reduce__(self) -> tuple[Any, ...]:
        return RowProxy, (self._metadata, self._values)

    @property
    def _fields(self) -> tuple[str, ...]:
        """The column names."""
        return self._metadata._keys

    @property
    def _mapping(self) -> RowMapping:
        """The row as a mapping that equals dictionaries."""
        return RowMapping(self)

    def _asdict(self) -> dict[str, Any]:
        """Give the row as a dictionary."""
        return {key: self[key] for key in self._metadata._keys}


_RESERVED = frozenset(dir(RowProxy))


class RowMapping(Mapping[str, Any]):
    """A row as a mapping that compares like one."""

    __slots__ = ("_row",)

    def __init__(self, row: RowProxy) -> None:
        self._row = row

    def __getitem__(self, key: Any) -> Any:
        return self._row[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __contains__(self, key: object) -> bool:
        return key in self._row

    def __repr__(self) -> str:
        return repr(self._row._asdict())


class Fetcher(AsynchronousRows, Generic[T]):
    """The fetch methods, over what a subclass gives without waiting."""

    __slots__ = ()
    _usage = "async for row in result, or rows = await result.fetchall()"

    def _take(self, size: int) -> list[T]:
        """Give the next *size* items; none once there are no more, and then end."""
        raise NotImplementedError

    def _take_all(self) -> list[T]:
        """Give the items that are left, and end."""
        raise NotImplementedError

    def _default_size(self) -> int:
        raise NotImplementedError

    async def fetchone(self) -> T | None:
        """Give the next row; `None` after the last, which closes the result."""
        rows = self._take(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> list[T]:
        """Give the next *size* rows (default: the cursor's `arraysize`)."""
        if size is None:
            return self._take(self._default_size())
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ArgumentError(f"expected a number of rows, zero or more, got {brief(size)}")
        return self._take(size)

    async def fetchall(self) -> list[T]:
        """Give the rows that are left and close the result."""
        return self._take_all()

    async def all(self) -> list[T]:
        """Give the rows that are left and close the result."""
        return self._take_all()

    async def first(self) -> T | None:
        """Give the first row that is left, or `None`, and close the result."""
        rows = self._take(1)
        self._end()
        return rows[0] if rows else None

    async def one(self) -> T:
        """Give the only row and close the result.

        Raises `sqlalchemy.exc.NoResultFound` or `MultipleResultsFound`.
        """
        rows = self._take_only()
        if not rows:
            raise NoResultFound("no row was found when one was required")
        return rows[0]

    async def one_or_none(self) -> T | None:
        """Give the only row or `None`, and close the result; raises `MultipleResultsFound`."""
        rows = self._take_only()
        return rows[0] if rows else None

    def _take_only(self) -> list[T]:
        rows = self._take(2)
        self._end()
        if len(rows) > 1:
            raise MultipleResultsFound("multiple rows were found when one was required")
        return rows

    def _end(self) -> None:
        raise NotImplementedError

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        rows = self._take(1)
        if not rows:
            raise StopAsyncIteration
        return rows[0]


class ResultProxy(Fetcher[RowProxy]):
    """The result of a statement.

    Its rows have been read when it is made, and stay readable after its connection was given back.
    It closes itself once the rows are used up, at once if there are none to give (an INSERT, say);
    from then on fetching raises `ResourceClosedError`.
    """

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

    def __init__(self, connection: SAConnection, statement: Any = None) -> None:
        self._connection = connection
        self._statement = statement
        self._metadata: ResultMetaData | None = None
        self._results: list[ResultSet] | None = None
        self._cursor: Cursor | None = None
        self._lastrowid: int | None = None
        self._inserted: Inserted | None = None

    def _shape(self, columns: Columns) -> tuple[type[RowProxy], ResultMetaData]:
        """Take the columns, and give the class and the metadata of the rows."""
        metadata: Any = columns.metadata
        if metadata is None:
            names = [column.name for column in columns.definitions]
            metadata = columns.metadata = ResultMetaData(names)
        elif metadata._statement is not None and metadata._statement is not self._statement:
            metadata = metadata.adapted(self._statement)
        self._metadata = metadata
        return RowProxy, metadata

    def _load(self, results: list[ResultSet]) -> ResultProxy:
        """Take the results of the statement, which are complete."""
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
        """Take the row that tells an INSERT's key, which nobody has asked for."""
        assert self._inserted is not None
        self._inserted.take(result)
        self._metadata = None

    def _make_rows(self, result: ResultSet) -> None:
        """See that the rows of a result are made, if it has rows."""
        if result.columns is not None and not result.shaped:
            make_rows(*self._shape(result.columns), result.rows, 0)
            result.shaped = True

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect."""
        return self._connection._dialect

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
    def lastrowid(self) -> int | None:
        """The AUTO_INCREMENT value generated for the first row inserted; 0 if there was none."""
        return self._lastrowid

    @property
    def inserted_primary_key(self) -> Any:
        """The primary key of the row inserted, a named tuple of SQLAlchemy's.

        `None` is in it for what is not known: what a default of the server's or an expression gave.
        Raises `InvalidRequestError` for what is no `insert()`, one of many groups of parameters, or
        one with `returning()`, which gives the key itself.
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

        Of many groups of parameters, what these give of them: `None` is in them for AUTO_INCREMENT
        values.
        """
        if self._inserted is None:
            raise InvalidRequestError(
                "only an insert() construct without returning() tells the primary keys of what it"
                " has inserted"
            )
        return self._inserted.rows(self._lastrowid)

    @property
    def returns_rows(self) -> bool:
        """Whether the statement gives rows, if only none."""
        return self._metadata is not None

    @property
    def closed(self) -> bool:
        """Whether the result is closed."""
        return self._results is None

    def keys(self) -> tuple[str, ...]:
        """Give the column names."""
        return () if self._metadata is None else self._metadata._keys

    async def close(self) -> None:
        """Close the result; rows that are left are dropped."""
        self._end()

    async def first(self) -> RowProxy | None:
        """Give the first row that is left, or `None`, and close the result."""
        rows = self._open().take(1)
        self._end()
        return rows[0] if rows else None

    async def scalar(self) -> Any:
        """Give the first column of the first row, `None` if there is no row, and close."""
        row = await self.first()
        return None if row is None else row[0]

    def scalars(self, index: int | str | ColumnElement[Any] = 0) -> ResultView[Any]:
        """Give the result as the values of one column."""
        # A result without rows says so when it is fetched from.
        position = 0 if self._metadata is None else self._metadata._index(index)
        return ResultView(self, lambda row: row[position])

    def mappings(self) -> ResultView[RowMapping]:
        """Give the result as mappings that equal dictionaries."""
        return ResultView(self, RowMapping)

    def _take(self, size: int) -> list[RowProxy]:
        rows = self._open().take(size)
        if not rows and size > 0:
            self._end()
        return rows

    def _take_all(self) -> list[RowProxy]:
        rows = self._open().give_all()
        self._end()
        return rows

    def _default_size(self) -> int:
        self._open()
        return 1 if self._cursor is None else self._cursor.arraysize

    def _open(self) -> ResultSet:
        results = self._results
        if results is None:
            if self._metadata is None:
                raise ResourceClosedError(
                    "This result object does not return rows. It has been closed automatically."
                )
            raise ResourceClosedError("This result object is closed.")
        if self._cursor is None:
            return results[0]
        result = (self._cursor.results or results)[0]  # where its nextset() has gone on to
        self._make_rows(result)
        return result

    def _end(self) -> None:
        self._results = None
        if self._cursor is not None:
            self._cursor.detach()
            self._cursor = None


class ResultView(Fetcher[T]):
    """A result whose rows pass through a function."""

    __slots__ = ("_make", "_result")

    def __init__(self, result: ResultProxy, make: Callable[[RowProxy], T]) -> None:
        self._result = result
        self._make = make

    def _take(self, size: int) -> list[T]:
        return [self._make(row) for row in self._result._take(size)]

    def _take_all(self) -> list[T]:
        return [self._make(row) for row in self._result._take_all()]

    def _default_size(self) -> int:
        return self._result._default_size()

    def _end(self) -> None:
        self._result._end()
