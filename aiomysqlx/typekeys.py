"""What SQLAlchemy's cache keys leave out of a statement's types.

A type is keyed by its class and by its constructor's keyword arguments: not by the members of an
Enum, a SET or a tuple, nor by its variants, the columns of a table-valued function or what a
decorator keeps under other names. Statements alike but for these would take each other's
processors. Here a type is keyed by all that it holds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Table, TableClause, Values
from sqlalchemy.sql import elements, visitors
from sqlalchemy.sql.operators import custom_op
from sqlalchemy.sql.selectable import Exists, FromClause, ScalarSelect, TableValuedAlias
from sqlalchemy.types import NullType, TypeEngine
from sqlalchemy.util import LRUCache

# Their types follow from their operands', but for an operator that was given one.
_DERIVED = (
    elements.BinaryExpression,
    elements.BooleanClauseList,
    elements.Case,
    elements.CollationClause,
    elements.ExpressionClauseList,
    elements.False_,
    elements.Grouping,
    elements.Null,
    elements.True_,
    elements.UnaryExpression,
    Exists,
    ScalarSelect,
)
# They belong to the schema, not to the values.
_OF_THE_SCHEMA = frozenset(("dispatch", "metadata"))
_DEEPEST = 16

_keys: LRUCache[TypeEngine[Any], Any] = LRUCache(1000)


class Types:
    """The types in a statement that another one with the same cache key may have otherwise."""

    __slots__ = ("_binds", "_free")

    def __init__(self, statement: Any, binds: Sequence[Any]) -> None:
        self._binds = [bind.type for bind in binds]
        self._free = _free_types(statement)

    @property
    def key(self) -> tuple[Any, ...]:
        """All that the types hold, as a key."""
        return tuple(map(type_key, self._binds)), self._free

    def match(self, statement: Any, binds: Sequence[Any]) -> bool:
        """Tell whether a statement with the same cache key has the same types."""
        for type_, bind in zip(self._binds, binds, strict=True):
            if bind.type is not type_ and type_key(bind.type) != type_key(type_):
                return False
        # Alike as they are, both have such places or neither has.
        return not self._free or _free_types(statement) == self._free


def type_key(type_: TypeEngine[Any]) -> Any:
    """Give what a type holds, as a key."""
    if type(type_) is NullType and not type_._variant_mapping:  # one for each value to write
        return NullType
    key = _keys.get(type_)
    if key is None:
        key = _keys[type_] = _key(type_, 0)
    return key


def _free_types(statement: Any) -> tuple[Any, ...]:
    """Give the keys of the types in a statement that neither a table nor a value determines."""
    return tuple(
        type_key(type_)
        for element in visitors.iterate(statement)
        for type_ in _own_types(element)
        if isinstance(type_, TypeEngine)
    )


def _own_types(element: Any) -> Iterable[Any]:
    if isinstance(element, (TableClause, TableValuedAlias)):
        return () if isinstance(element, Table) else [column.type for column in element.c]
    if isinstance(element, elements.BindParameter):
        return ()
    if isinstance(element, _DERIVED) and not isinstance(
        getattr(element, "operator", None), custom_op
    ):
        return ()
    if isinstance(element, elements.ColumnClause) and _has_types(element.table):
        return ()
    return (getattr(element, "type", None),)


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
