"""What SQLAlchemy's cache keys leave out of a statement's types.

A type is keyed by its class and by its constructor's keyword arguments: not by the members of an
Enum, a SET or a tuple, nor by its variants, the columns of a table-valued function or what a
decorator keeps under other names. Statements alike but for these would take each other's
processors. Here a type is keyed by all that it holds.

Nor do those keys tell a parameter that takes a list, `bindparam(…, expanding=True)`, from one that
takes a value.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, Table, TableClause, Values
from sqlalchemy.sql import elements, visitors
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import Exists, FromClause, ScalarSelect, TableValuedAlias
from sqlalchemy.types import NullType, TypeEngine
from sqlalchemy.util import LRUCache

# Their types follow from their operands'.
_DERIVED = (
    elements.BooleanClauseList,
    elements.Case,
    elements.CollationClause,
    elements.ExpressionClauseList,
    elements.False_,
    elements.Grouping,
    elements.Null,
    elements.TextClause,
    elements.True_,
    Exists,
    ScalarSelect,
)
# So do theirs, but for an operator that was given one.
_OPERATIONS = (elements.BinaryExpression, elements.UnaryExpression)
# They belong to the schema, not to the values.
_OF_THE_SCHEMA = frozenset(("dispatch", "metadata"))
_DEEPEST = 16

_keys: LRUCache[TypeEngine[Any], Any] = LRUCache(1000)


class Types:
    """The types in a statement that another one with the same cache key may have otherwise.

    And which of its parameters take lists.
    """

    __slots__ = ("_binds", "_columns", "_free", "_lists")

    def __init__(self, statement: Any, binds: Sequence[Any]) -> None:
        self._binds = [bind.type for bind in binds]
        self._lists = [bind.expanding for bind in binds]
        free = list(_free_types(statement))
        self._free = [type_ for _, type_ in free]
        # Where all of them stand in some of a SELECT's columns, only these are gone through again.
        self._columns: list[int] | None = None
        if isinstance(statement, Select):
            inside = [list(_free_types(column)) for column in statement._raw_columns]
            if {id(e) for e, _ in free} == {id(e) for column in inside for e, _ in column}:
                self._columns = [index for index, column in enumerate(inside) if column]
                self._free = [type_ for column in inside for _, type_ in column]

    @property
    def key(self) -> tuple[Any, ...]:
        """All that the types hold, as a key."""
        types = tuple(map(type_key, self._binds)), tuple(map(type_key, self._free))
        return *types, tuple(self._lists)

    def match(self, statement: Any, binds: Sequence[Any]) -> bool:
        """Tell whether a statement with the same cache key has the same types."""
        if not _are_alike([bind.type for bind in binds], self._binds):
            return False
        if [bind.expanding for bind in binds] != self._lists:
            return False
        if not self._free:  # alike as they are, neither has such places
            return True
        if self._columns is None:
            parts: Iterable[Any] = (statement,)
        else:
            parts = [statement._raw_columns[index] for index in self._columns]
        found = [type_ for part in parts for _, type_ in _free_types(part)]
        return _are_alike(found, self._free)


def _are_alike(types: Sequence[Any], others: Sequence[Any]) -> bool:
    if types == others:  # the same objects, mostly: types have no equality of their own
        return True
    return len(types) == len(others) and all(
        type_ is other or type_key(type_) == type_key(other)
        for type_, other in zip(types, others, strict=True)
    )


def type_key(type_: TypeEngine[Any]) -> Any:
    """Return what a type holds, as a key."""
    if type(type_) is NullType and not type_._variant_mapping:  # one for each value to write
        return NullType
    key = _keys.get(type_)
    if key is None:
        key = _keys[type_] = _key(type_, 0)
    return key


def _free_types(part: Any) -> Iterator[tuple[Any, TypeEngine[Any]]]:
    """Return the types in a part of a statement that neither a table nor a value determines.

    With each comes the element that has it.
    """
    for element in visitors.iterate(part):
        cls: Any = type(element)
        own = _own_types(cls)
        if own is None:
            continue
        for type_ in own(element):
            if isinstance(type_, TypeEngine):
                yield element, type_


@lru_cache(1000)
def _own_types(cls: Any) -> Callable[[Any], Iterable[Any]] | None:
    """Return the function that lists an element's own types, for a class; `None` if it has none."""
    if issubclass(cls, (Table, elements.BindParameter, *_DERIVED)):
        return None
    if issubclass(cls, (TableClause, TableValuedAlias)):
        return lambda element: [column.type for column in element.c]
    if issubclass(cls, _OPERATIONS):
        return lambda element: (element.type,) if isinstance(element.operator, custom_op) else ()
    if issubclass(cls, elements.ColumnClause):
        return lambda element: () if _has_types(element.table) else (element.type,)
    return lambda element: (getattr(element, "type", None),)


def _has_types(table: Any) -> bool:
    """Whether a table's columns get their types from it, or from what it is made of."""
    if isinstance(table, (TableClause, TableValuedAlias, Values)):
        return isinstance(table, Table)
    return isinstance(table, FromClause)


def _key(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return None
    if isinstance(value, TypeEngine):
        cls = type(value)
        return cls, tuple(
            (name, _key(held, depth + 1))
            for name, held in sorted(vars(value).items())
            # Not what is derived from the others and kept.
            if name not in _OF_THE_SCHEMA and not hasattr(getattr(cls, name, None), "fget")
        )
    if isinstance(value, elements.ColumnElement):
        return getattr(value, "key", None), _key(value.type, depth + 1)
    if isinstance(value, Mapping):
        return tuple((_key(k, depth + 1), _key(v, depth + 1)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return tuple(_key(item, depth + 1) for item in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(_key(item, depth + 1) for item in value)
    return (type(value), value) if isinstance(value, Hashable) else _Same(value)


class _Same:
    """Equal to nothing but the same object."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._value is other._value

    def __hash__(self) -> int:
        return id(self._value)
