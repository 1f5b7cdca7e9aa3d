"""What is written that is not given: Python-side defaults, and the keys of an INSERT's rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.sql.compiler import SQLCompiler

from ..wire.reply import ResultSet
from .slots import Extracted, Parameters, Slot

Row = tuple[Any, ...]
Prefetched = tuple[tuple[Any, str, Any], ...]
"""Columns, each with its parameter's name and what SQLAlchemy knows of its default."""


class Keys:
    """How a plan's primary keys are known: from parameters, and from what the server generates."""

    __slots__ = ("_compiled", "_generated", "_names", "_slots", "are_given", "returned")

    def __init__(self, compiled: Any, slots: Sequence[Slot]) -> None:
        self._compiled = compiled
        # Whether the statement returns a row with them, which SQLAlchemy has added to it.
        self.returned: bool = bool(compiled.implicit_returning)
        name_of = compiled._within_exec_param_key_getter
        table = compiled.compile_state.statement.table
        names = {name_of(column) for column in table.primary_key}
        self._slots = [(index, slot) for index, slot in enumerate(slots) if slot.name in names]
        self._names = [slot.name for _, slot in self._slots]
        # Whether each execution has the whole key, unless the server generates a part of it.
        self.are_given: bool = bool(names) and len(self._slots) == len(names)
        generated = getattr(table, "autoincrement_column", None)
        name = generated is not None and name_of(generated)
        self._generated = [index for index, slot in self._slots if slot.name == name]

    def given(self, parameters: Parameters | None, extracted: Extracted) -> Row:
        """Return the values of the key's columns that the statement is executed with."""
        return tuple([slot.value(parameters, extracted) for _, slot in self._slots])

    def are_in(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Tell whether the server generates nothing of the keys of *rows*, as for NULL and 0."""
        for index in self._generated:
            values = list(map(itemgetter(index), rows))
            if set(map(type, values)) != {int} or 0 in values:
                return False
        return True

    def of_many(self) -> Given:
        """Return where to keep the values of many executions."""
        return Given([index for index, _ in self._slots])

    def rows(self, given: Iterable[Row], lastrowid: int | None) -> list[Any]:
        """Return the keys as SQLAlchemy's rows; `None` stands for what is not known.

        *lastrowid* is what the server has generated, if the statement was executed once.
        """
        make = self._compiled._inserted_primary_key_from_lastrowid_getter
        generated = lastrowid if self._compiled.postfetch_lastrowid else None
        return [make(generated, self._named(each)) for each in given]

    def rows_with(self, given: Iterable[Row], returned: Sequence[Row]) -> list[Any]:
        """Return the keys, completed by the rows that the statement has *returned*."""
        make = self._compiled._inserted_primary_key_from_returning_getter
        return [make(row, self._named(each)) for row, each in zip(returned, given, strict=False)]

    def _named(self, given: Row) -> dict[str, Any]:
        return dict(zip(self._names, given, strict=True))


class Given:
    """The values that many executions have for the key's columns.

    A tuple for each would have the garbage collector look at all there is.
    """

    __slots__ = ("_columns", "_count", "_indexes")

    def __init__(self, indexes: Sequence[int]) -> None:
        self._indexes = indexes
        self._columns: list[list[Any]] = [[] for _ in indexes]
        self._count = 0

    def add(self, row: Row) -> None:
        """Add the key's values of one execution."""
        for column, value in zip(self._columns, row, strict=True):
            column.append(value)
        self._count += 1

    def add_from(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add those among *rows* of values for the slots, which no type has processed yet."""
        for column, index in zip(self._columns, self._indexes, strict=True):
            column.extend(map(itemgetter(index), rows))
        self._count += len(rows)

    def __iter__(self) -> Iterator[Row]:
        return zip(*self._columns, strict=True) if self._columns else repeat((), self._count)


class Inserted:
    """The keys of the rows that one execution has written."""

    __slots__ = ("_given", "_keys", "_returned", "many")

    def __init__(self, keys: Keys, given: Iterable[Row], many: bool) -> None:
        self._keys = keys
        self._given = given
        self._returned: Sequence[Row] | None = None
        self.many: bool = many

    def take(self, result: ResultSet) -> None:
        """Remove the returned row from *result*, and keep it: the user has not asked for it."""
        self._returned = result.take_tuples(len(result.rows))
        result.rows, result.columns = [], None

    def rows(self, lastrowid: int | None) -> list[Any]:
        """Return the keys; *lastrowid* is what the server has generated first."""
        if self._returned is not None:
            return self._keys.rows_with(self._given, self._returned)
        return self._keys.rows(self._given, None if self.many else lastrowid)


def prefetched(compiled: Any) -> Prefetched:
    """Return the columns whose defaults are found before a statement is executed."""
    name_of = (
        compiled._within_exec_param_key_getter if compiled.isinsert or compiled.isupdate else None
    )
    if name_of is None:
        return ()
    inserted = [(c, name_of(c), c._default_description_tuple) for c in compiled.insert_prefetch]
    updated = [(c, name_of(c), c._onupdate_description_tuple) for c in compiled.update_prefetch]
    return tuple(inserted + updated)


class _DefaultContext(DefaultExecutionContext):
    """What a context-sensitive default is called with."""

    def __init__(
        self, compiled: SQLCompiler, parameters: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        self.current_parameters = parameters
        self.compiled = compiled
        self.dialect = compiled.dialect
        self.isinsert = compiled.isinsert
        self.isupdate = compiled.isupdate
        self.isdelete = compiled.isdelete
        self.statement = compiled.string
        self.execution_options = options  # type: ignore[assignment]  # a mapping will do


def add_defaults(
    parameters: dict[str, Any],
    columns: Prefetched,
    compiled: SQLCompiler,
    options: Mapping[str, Any],
) -> None:
    """Add the defaults of *columns* to *parameters*, which context-sensitive ones look at."""
    context = None
    for column, name, (arg, is_scalar, is_callable, _) in columns:
        if is_scalar:
            parameters[name] = arg
        elif is_callable:
            context = context or _DefaultContext(compiled, parameters, options)
            context.current_column = column
            parameters[name] = arg(context)
