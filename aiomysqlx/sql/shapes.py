"""The shapes of statements, which are keys at a fraction of what SQLAlchemy's own cost.

A shape is a flat list of all that SQLAlchemy's key of a statement is made of: tables, columns and
operators stand for themselves, types for what they hold, and what is built anew with each statement
for its class and its parts. So statements of one shape have equal keys, with the parameters in the
same places. The reverse does not hold: statements with equal keys may be of several shapes.

Only what Core statements are mostly made of is known here. A statement with anything else, be it a
class, a subclass or an attribute, has no shape, and is left to SQLAlchemy.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from inspect import getattr_static
from types import BuiltinFunctionType, FunctionType
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, Table
from sqlalchemy.sql import dml, elements, functions, selectable
from sqlalchemy.sql.elements import (
    BinaryExpression,
    BindParameter,
    ClauseList,
    ColumnClause,
    ExpressionClauseList,
    Grouping,
    Label,
    TextClause,
    UnaryExpression,
    _anonymous_label,
    _label_reference,
    _textual_label_reference,
    quoted_name,
)
from sqlalchemy.sql.selectable import Alias, ForUpdateArg, Join, _OffsetLimitParam
from sqlalchemy.types import NullType

from .typekeys import type_key

Kept = TypeVar("Kept")

Shape = tuple[list[Any], list[Any]]
"""What identifies a statement's shape, and the statement's parameters in the order of its key."""

_MOST_PARTS = 250  # of a statement: longer ones are left alone, and so are very deep ones
_MOST_KEPT = 1000
_AGAIN = "again"  # what stands, before its place, for a part that has been there before
_DEFAULT_LABELS = selectable.LABEL_STYLE_DEFAULT
_OPERATORS = frozenset((FunctionType, BuiltinFunctionType))  # others have an equality of their own
_CONSTANTS = frozenset((bool, str, type(None)))

# -- what is known ---------------------------------------------------------------------------------

# The attributes of statements that may differ, in the order of SQLAlchemy's key.
_ATTRIBUTES: dict[type, tuple[str, ...]] = {
    selectable.Select: (
        "_raw_columns",
        "_from_obj",
        "_where_criteria",
        "_having_criteria",
        "_order_by_clauses",
        "_group_by_clauses",
        "_setup_joins",
        "_limit_clause",
        "_offset_clause",
        "_fetch_clause",
        "_fetch_clause_options",
        "_for_update_arg",
        "_distinct",
        "_label_style",
    ),
    dml.Insert: ("table", "_inline", "_values", "_returning", "_sort_by_parameter_order"),
    dml.Update: ("table", "_where_criteria", "_inline", "_values", "_returning"),
    dml.Delete: ("table", "_where_criteria", "_returning"),
}
# What statements remember of themselves.
_MEMORIES = frozenset(
    (
        "_all_selected_columns",
        "_label_resolve_dict",
        "_memoized_keys",
        "columns",
        "exported_columns",
        "selected_columns",
    )
)
_OPTIONS = "_execution_options"
# Attributes that follow from others, or are there only once something else than a default is set.
_FOLLOWING = ("_correlate_mode", "dialect_options")

# The attributes of elements that SQLAlchemy's key of them is made of.
_COLUMN = frozenset(("name", "type", "table", "is_literal"))
_BIND = frozenset(("key", "type", "callable", "value", "literal_execute"))
_LIST = frozenset(("clauses", "operator"))
_FUNCTION = frozenset(
    ("clause_expr", "_with_ordinality", "_table_value_type", "packagenames", "name", "type")
)
_PARTS: dict[type, frozenset[str]] = {
    Column: _COLUMN,
    ColumnClause: _COLUMN,
    Table: frozenset(("columns", "name", "schema")),
    Alias: frozenset(("element", "name")),
    Join: frozenset(("left", "right", "onclause", "isouter", "full")),
    BindParameter: _BIND,
    _OffsetLimitParam: _BIND,
    BinaryExpression: frozenset(("left", "right", "operator", "modifiers", "type")),
    UnaryExpression: frozenset(("element", "operator", "modifier")),
    ClauseList: _LIST,
    ExpressionClauseList: _LIST,
    elements.BooleanClauseList: _LIST,
    Grouping: frozenset(("element",)),
    Label: frozenset(("name", "_element")),
    TextClause: frozenset(("_bindparams", "text")),
    _label_reference: frozenset(("element",)),
    _textual_label_reference: frozenset(("element",)),
    elements.Null: frozenset(),
    elements.True_: frozenset(),
    elements.False_: frozenset(),
    ForUpdateArg: frozenset(("of", "nowait", "read", "skip_locked", "key_share")),
}
_FUNCTIONS = frozenset(
    cls
    for cls in vars(functions).values()
    if isinstance(cls, type)
    and issubclass(cls, (functions.Function, functions.GenericFunction))
    and cls is not functions.GenericFunction
)
_LISTS = frozenset((ClauseList, ExpressionClauseList, elements.BooleanClauseList))
_REFERENCES = frozenset((Grouping, _label_reference))
_NOTHING_ELSE = frozenset((elements.Null, elements.True_, elements.False_))
# What a text and a function may have besides: nothing that an `options()` or `params()` adds.
_OF_TEXT = frozenset(("text", "_bindparams", "description", "_memoized_keys"))
_OF_FUNCTION = frozenset(
    (
        *("_anon_name_label", "_expression_label", "_has_args", "_memoized_keys", "_proxy_key"),
        *("clause_expr", "clauses", "comparator", "monotonic", "name", "packagenames", "type"),
    )
)


def _is_covered(cls: Any, known: Iterable[str]) -> bool:
    """Tell whether nothing but *known* attributes can make the keys of two of a class differ.

    Those that a class sets are the same for all, unless an instance has its own.
    """
    traversed = getattr(cls, "_cache_key_traversal", None)
    if not isinstance(traversed, list):
        traversed = getattr(cls, "_traverse_internals", None)
    if traversed is None:  # it has no key
        return False
    names = {name for name, _ in traversed}.difference(known)
    return all(
        hasattr(cls, name) and not hasattr(getattr_static(cls, name), "__get__") for name in names
    )


# Whether this version of SQLAlchemy has no more about a class of elements, of those met so far: to
# look at all of them would take a fifth of the package's import, and at the statements 7 % of it.
_taken: dict[type, bool] = {}


def _is_taken(cls: type) -> bool:
    taken = _taken.get(cls)
    if taken is None:
        known = _FUNCTION if cls in _FUNCTIONS else _PARTS.get(cls)
        if known is None:
            return False
        taken = _taken[cls] = _is_covered(cls, known)
    return taken


@cache
def _is_statement(cls: Any) -> bool:
    covered = _is_covered(cls, (*_ATTRIBUTES[cls], *_FOLLOWING))
    return covered and _is_taken(Column) and _is_taken(Table)


# -- statements ------------------------------------------------------------------------------------

# By a statement's class and the names of its attributes: which of them to go through, in the order
# of SQLAlchemy's key; none if one is unknown.
_orders: dict[Any, dict[tuple[str, ...], tuple[str, ...]]] = {cls: {} for cls in _ATTRIBUTES}


def shape_of(statement: Any) -> Shape | None:
    """Return the shape of a statement, and its parameters; `None` if it has none."""
    cls = type(statement)
    orders = _orders.get(cls)
    if orders is None:
        return None
    held = vars(statement)
    order = orders.get(tuple(held))
    if order is None:
        order = orders[tuple(held)] = _order(cls, held)
    key: list[Any] = [cls]
    binds: list[Any] = []
    try:
        return (key, binds) if order and _statement(held, order, key, binds, {}) else None
    except (AttributeError, KeyError):  # what another version has elsewhere, it may have otherwise
        return None


def _order(cls: Any, held: dict[str, Any]) -> tuple[str, ...]:
    known = (_OPTIONS, *_ATTRIBUTES[cls])
    if len(_orders[cls]) >= _MOST_KEPT:
        _orders[cls].clear()
    if not (_is_statement(cls) and _MEMORIES.union(known).issuperset(held)):
        return ()
    return tuple(name for name in known if name in held)


def _statement(
    held: dict[str, Any],
    order: Iterable[str],
    key: list[Any],
    binds: list[Any],
    seen: dict[Any, int],
) -> bool:
    """Add a statement's attributes to *key*, its parameters to *binds*; tell if all is known."""
    for name in order:
        value = held[name]
        if value is None or value is False or value is _DEFAULT_LABELS:
            continue
        if name == _OPTIONS:
            if "schema_translate_map" in value:
                return False
            continue
        key.append(name)
        kind = type(value)
        if kind is tuple or kind is list:
            if name == "_setup_joins":
                taken = _joins(value, key, binds, seen)
            else:
                taken = _elements(value, key, binds, seen)
        elif value is True:
            taken = True
        elif name == "_values":
            taken = _values(value, key, binds, seen)
        elif name == "_label_style":
            key.append(value)
            taken = True
        else:
            taken = _element(value, key, binds, seen)
        if not taken:
            return False
    return True


def _joins(joins: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    """Add the joins of `Select.join()`."""
    key.append(len(joins))
    for target, onclause, left, flags in joins:
        if len(flags) != 2:
            return False
        key.append(flags["isouter"])
        key.append(flags["full"])
        for part in (target, onclause, left):
            if part is None:
                key.append(None)
            elif not _element(part, key, binds, seen):
                return False
    return True


def _values(values: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    """Add the values of an INSERT or UPDATE."""
    key.append(len(values))
    for column, value in values.items():
        if type(column) is str:
            key.append(column)
        elif not _element(column, key, binds, seen):
            return False
        if not _element(value, key, binds, seen):
            return False
    return True


# -- their parts -----------------------------------------------------------------------------------


def _elements(parts: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    key.append(len(parts))
    for part in parts:  # noqa: SIM110 - a generator would cost a third more
        if not _element(part, key, binds, seen):
            return False
    return True


def _element(part: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    cls = type(part)
    if cls is Column:
        held = vars(part)  # what `__getattr__()` makes dear otherwise, here and elsewhere
        if type(held.get("table")) is Table:
            key.append(part)
            key.append(_mark(held["type"]))  # which a foreign key sets late
            return True
    elif cls is Table:
        key.append(part)
        return True
    if not _is_taken(cls):
        return False
    place = seen.get(part)
    if place is not None:
        key.append(_AGAIN)
        key.append(place)
        return True
    if len(seen) >= _MOST_PARTS:
        return False
    seen[part] = len(seen)
    key.append(cls)
    if cls is BinaryExpression:
        return _binary(vars(part), key, binds, seen)
    if cls is BindParameter or cls is _OffsetLimitParam:
        return _bind(part, vars(part), key, binds, seen)
    if cls in _LISTS:
        return _operator(part.operator, key) and _elements(part.clauses, key, binds, seen)
    if cls in _REFERENCES:
        return _element(part.element, key, binds, seen)
    return _rare(cls, part, key, binds, seen)


def _binary(held: dict[str, Any], key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    if not _operator(held["operator"], key):
        return False
    key.append(_mark(held["type"]))
    modifiers = held["modifiers"]
    key.append(len(modifiers))
    if modifiers:
        for name, value in modifiers.items():
            if type(value) not in _CONSTANTS:
                return False
            key.append(name)
            key.append(value)
    return _element(held["left"], key, binds, seen) and _element(held["right"], key, binds, seen)


def _bind(
    part: Any, held: dict[str, Any], key: list[Any], binds: list[Any], seen: dict[Any, int]
) -> bool:
    name = held["key"]
    if name in seen:  # of a copy: they are one parameter
        return False
    seen[name] = len(seen)
    if type(name) is str:
        key.append(name)
    else:
        own = held["_orig_key"]
        if type(name) is not _anonymous_label or type(own) is _anonymous_label:
            return False
        key.append(None)
        key.append(own)
    key.append(_mark(held["type"]))
    key.append(held["literal_execute"])
    key.append(held["expanding"])
    binds.append(part)
    return True


def _rare(cls: Any, part: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    """Add an element of a class that few statements have many of."""
    if cls is UnaryExpression:
        key.append(_mark(part.type))
        return (
            _operator(part.operator, key)
            and _operator(part.modifier, key)
            and _element(part.element, key, binds, seen)
        )
    if cls is Label:
        key.append(_mark(part.type))
        return _name(part.name, key) and _element(part._element, key, binds, seen)
    if cls in _FUNCTIONS:
        return _function(part, key, binds, seen)
    if cls is Join:
        key.append(part.isouter)
        key.append(part.full)
        return (
            _element(part.left, key, binds, seen)
            and _element(part.right, key, binds, seen)
            and _element(part.onclause, key, binds, seen)
        )
    if cls is Column or cls is ColumnClause:
        return _column(cls, part, key, binds, seen)
    if cls is Alias:
        return _alias(part, key, seen)
    if cls is TextClause:
        return not part._bindparams and _OF_TEXT.issuperset(vars(part)) and _name(part.text, key)
    if cls is _textual_label_reference:
        return _name(part.element, key)
    if cls is ForUpdateArg:
        key.extend((part.nowait, part.read, part.skip_locked, part.key_share))
        return part.of is None
    return cls in _NOTHING_ELSE


def _column(cls: Any, part: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    """Add a column of an alias, or one of no table."""
    key.append(part.is_literal)
    key.append(_mark(part.type))
    if cls is Column:
        return (
            type(part.table) is Alias
            and _name(part.name, key)
            and _element(part.table, key, binds, seen)
        )
    return part.table is None and _name(part.name, key)


def _function(part: Any, key: list[Any], binds: list[Any], seen: dict[Any, int]) -> bool:
    if part.packagenames or part._table_value_type is not None or part._with_ordinality:
        return False
    key.append(_mark(part.type))
    return (
        _OF_FUNCTION.issuperset(vars(part))
        and _name(part.name, key)
        and _element(part.clause_expr, key, binds, seen)
    )


def _alias(part: Any, key: list[Any], seen: dict[Any, int]) -> bool:
    """Add an alias of a table."""
    name = part.name
    if type(name) is _anonymous_label:
        if name in seen:  # of a copy
            return False
        seen[name] = len(seen)
        key.append(None)
    elif not _name(name, key):
        return False
    key.append(part.element)
    return type(part.element) is Table


def _name(name: Any, key: list[Any]) -> bool:
    """Add a name; not one that SQLAlchemy makes up."""
    if type(name) is str:
        key.append(name)
        return True
    if type(name) is quoted_name:
        key.append((name, name.quote))
        return True
    return False


def _operator(operator: Any, key: list[Any]) -> bool:
    key.append(operator)
    return operator is None or type(operator) in _OPERATORS


# -- types -----------------------------------------------------------------------------------------

# What stands for a type, by its identity and by what it holds: the types are kept, or another could
# take their place. Nobody's equality is asked that way.
_marks: dict[int, tuple[Any, object]] = {}
_marks_of_keys: dict[Any, object] = {}


def _mark(type_: Any) -> object:
    """Return what stands for a type in keys, the same one for all that hold the same."""
    found = _marks.get(id(type_))
    return _new_mark(type_) if found is None else found[1]


def _new_mark(type_: Any) -> object:
    held = type_key(type_)
    if held is NullType:  # one for each value to write
        return NullType
    if len(_marks_of_keys) >= _MOST_KEPT:
        _marks_of_keys.clear()
    mark = _marks_of_keys.setdefault((type_._static_cache_key, held), object())
    if len(_marks) >= _MOST_KEPT:
        _marks.clear()
    _marks[id(type_)] = type_, mark
    return mark


# -- what is kept by shapes ------------------------------------------------------------------------


class Recent(Generic[Kept]):
    """A dictionary of the entries that were used last: of *size* at least, of twice that at most.

    What is used of its older half moves to the younger one which, once full, takes its place. So an
    entry in use costs a look-up, and no order has to be kept.
    """

    __slots__ = ("_older", "_size", "_younger")

    def __init__(self, size: int) -> None:
        self._size = size
        self._younger: dict[Any, Kept] = {}
        self._older: dict[Any, Kept] = {}

    def get(self, key: Any) -> Kept | None:
        """Return an entry, if it is still there."""
        entry = self._younger.get(key)
        if entry is None:
            entry = self._older.get(key)
            if entry is not None:
                self.put(key, entry)
        return entry

    def put(self, key: Any, entry: Kept) -> None:
        """Keep an entry."""
        if len(self._younger) >= self._size:
            self._older, self._younger = self._younger, {}
        self._younger[key] = entry

    def __len__(self) -> int:
        """Return how many entries are kept."""
        return len(self._younger.keys() | self._older.keys())
