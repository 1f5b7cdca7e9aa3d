"""Rows, and how a row finds a column: by position, name or SQLAlchemy's column."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy import CompoundSelect, Join, Select, Table
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import ColumnElement, TextClause

from ..exc import InvalidRequestError, NoSuchColumnError
from ..runtime.record import Generic
from ..runtime.words import listed
from ..wire._impl import BaseMetadata, BaseRow

if TYPE_CHECKING:  # TypeVar has defaults from Python 3.13 on
    from typing_extensions import TypeVar

    T = TypeVar("T")
    # A tuple of the types of a row's values.
    Values = TypeVar("Values", bound=tuple[Any, ...], default=tuple[Any, ...], covariant=True)
else:
    from typing import TypeVar

    Values = TypeVar("Values")


class ResultMetaData(BaseMetadata):
    """The columns of a result: their names, and how a row finds them.

    *objects* holds, for each column, what else finds it: SQLAlchemy's column objects and the
    labels that they go by. The names in *keys* come first; one that two columns have, or a
    label shared by two, is ambiguous and raises `InvalidRequestError` when it is used.
    """

    __module__ = "aiomysqlx.result"  # where pickles look for it
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
        """Return the metadata of *statement*, which only differs in its column objects.

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
        """Return the index of a column that the keymap does not have; raise if there is none."""
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
        """Return the index of an element of the statement at hand."""
        if self._selected is None:
            self._selected = {}
            for index, element in enumerate(self._selected_columns()):
                self._selected.setdefault(element, index)
        return self._selected.get(key)

    def _selected_columns(self) -> Sequence[Any]:
        """Return the elements of the statement at hand, if the result has a column for each."""
        if isinstance(self._statement, TextClause):  # which names no columns, and raises
            return ()
        selected = getattr(self._statement, "_all_selected_columns", ())
        return selected if len(selected) == len(self._keys) else ()

    def _columns_of(self, index: int) -> list[Any]:
        """Return the tables' columns that the column at *index* is, or is computed from."""
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
        """Tell whether *key*, whose name fits, can be the column at *index*: not another table's.

        It is if that one is made of it, as `table.alias().c.x` is of `table.c.x`; but not if two
        of what the statement reads from have such a column, as in a join of a table with itself.
        """
        if getattr(key, "table", None) is None:
            return True
        columns = self._columns_of(index)
        base = key._deannotate()
        if columns and not any(base in column.proxy_set for column in columns):
            return False
        found = [source.corresponding_column(key) for source in _sources(self._statement)]
        return sum(column is not None for column in found) <= 1

    def _index(self, key: Any) -> int:
        """Return the index of a column; raise if there is none."""
        index = self._keymap.get(key)
        return self._locate(key) if index is None else index

    def _has(self, key: Any) -> bool:
        if key in self._keymap or key in self._ambiguous:
            return True
        return isinstance(key, ColumnElement) and self._locate_element(key) is not None


def _sources(statement: Any) -> list[Any]:
    """Return the tables, aliases and subqueries that a statement's columns come from."""
    if isinstance(statement, CompoundSelect):
        statement = statement.selects[0]
    froms = statement.get_final_froms() if isinstance(statement, Select) else []
    return [
        source
        for source in {each: None for from_ in froms for each in from_._from_objects}
        if not isinstance(source, Join)
    ]


def _is_portable(key: Any) -> bool:
    return isinstance(key, (str, int)) or isinstance(getattr(key, "table", None), Table)


def _ambiguous(key: Any) -> InvalidRequestError:
    return InvalidRequestError(
        f"Ambiguous column name '{key}' in result set! name each column by AS or label()"
    )


def _add(keymap: dict[Any, int], names: Any) -> set[Any]:
    """Add names to *keymap*, but for those of two columns: return these."""
    found: dict[Any, int] = {}
    ambiguous = set()
    for name, index in names:
        if found.setdefault(name, index) != index:
            ambiguous.add(name)
    for name, index in found.items():
        if name not in ambiguous:
            keymap[name] = index
    return ambiguous


class RowProxy(BaseRow, Mapping[str, Any], Generic[Values]):
    """A row: a mapping of column names to values.

    `row["id"]`, `row.id`, `row[tbl.c.id]` and `row[0]` are values; iterating yields the names.
    Rows equal rows and tuples of the same values. To a type checker, `as_tuple()` is of the types
    that the statement has, `row[column]` is of the column's, and other values are `Any`.
    """

    __module__ = "aiomysqlx.result"  # likewise
    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]  # equal to tuples, but not hashed like them

    _metadata: ResultMetaData

    if TYPE_CHECKING:  # what BaseRow has

        @overload
        def __getitem__(self, key: ColumnElement[T]) -> T: ...
        @overload
        def __getitem__(self, key: slice) -> tuple[Any, ...]: ...
        @overload
        def __getitem__(self, key: str | int) -> Any: ...
        def __getitem__(self, key: Any) -> Any:
            """Return the value of a column by name, position or column; a slice gives a tuple."""

        def as_tuple(self) -> Values:
            """Return the values as a tuple."""

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

    def as_dict(self) -> dict[str, Any]:
        """Return the row as a dictionary."""
        return {key: self[key] for key in self._metadata._keys}

    def as_mapping(self) -> RowMapping:
        """Return the row as a mapping that equals dictionaries."""
        return RowMapping(self)

    # As SQLAlchemy's rows have them; to a strict type checker they are private.

    @property
    def _fields(self) -> tuple[str, ...]:
        """The column names."""
        return self._metadata._keys

    @property
    def _mapping(self) -> RowMapping:
        """The row as a mapping that equals dictionaries."""
        return RowMapping(self)

    _asdict = as_dict


_RESERVED = frozenset(dir(RowProxy))


class RowMapping(Mapping[str, Any]):
    """A row as a mapping that compares like one."""

    __module__ = "aiomysqlx.result"
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
        return repr(self._row.as_dict())
