"""Which plans may be prepared on the server: those that are answered as text is, whatever comes.

A server decides on a prepared statement before it sees a value: on its parameters' types, and with
them on those of its result. Where a value is compared with a column, or assigned to one, the column
decides, as it does in text; anywhere else answers differ. So does what a value of another type than
the column's becomes. What is not known to be alike is sent as text.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from pymysql.constants import FIELD_TYPE
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import Column, Table
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.dml import Delete, Update
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.sql.selectable import Alias, Select
from sqlalchemy.types import TypeDecorator

from ..wire.prepared import Kind

_STRINGS = frozenset(
    (
        FIELD_TYPE.VARCHAR,
        FIELD_TYPE.VAR_STRING,
        FIELD_TYPE.STRING,
        FIELD_TYPE.TINY_BLOB,
        FIELD_TYPE.MEDIUM_BLOB,
        FIELD_TYPE.LONG_BLOB,
        FIELD_TYPE.BLOB,
    )
)


def _kind(codes: Any, *types: type, is_binary: bool = False) -> Kind:
    return Kind(frozenset((*types, type(None))), frozenset(codes), is_binary)


# By the types of SQLAlchemy's that a column may have, the first that fits. What MySQL makes of a
# TIME's fraction differs. Where it has found a date's parameter, it goes on to make dates of it,
# and of what that is compared with, once the column has become another: there those are text.
_KINDS: tuple[tuple[Any, Kind | None], ...] = (
    ((sqltypes.Enum, mysql.SET, mysql.YEAR, mysql.BIT, sqltypes.JSON), None),
    ((sqltypes.Integer, sqltypes.Boolean), _kind((FIELD_TYPE.LONGLONG,), int, bool)),
    (sqltypes.Float, _kind((FIELD_TYPE.DOUBLE,), float)),
    (sqltypes.Numeric, _kind((FIELD_TYPE.NEWDECIMAL,), Decimal)),
    (sqltypes.String, _kind(_STRINGS, str)),
    (sqltypes._Binary, _kind(_STRINGS, bytes, is_binary=True)),
    (sqltypes.DateTime, _kind((), datetime)),
    (sqltypes.Date, _kind((), date)),
)
_COMPARISONS = frozenset(
    (operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge)
)
# What the elements of a SELECT may be, by the names that SQLAlchemy visits them by.
_ELEMENTS = frozenset(
    (
        *("select", "table", "alias", "join", "column", "label", "label_reference", "clause"),
        *("binary", "unary", "grouping", "clauselist", "expression_clauselist"),
        *("bindparam", "null", "true", "false"),
    )
)
_FUNCTIONS = frozenset(("count", "max", "min", "sum"))
_NAME = r"(?:`[^`]+`|\w+)"
_GIVEN = rf"(?:{_NAME} = (?:VALUES\({_NAME}\)|new\.{_NAME}), )*{_NAME} = "
_UPSERT = re.compile(rf"\)(?: AS new)? ON DUPLICATE KEY UPDATE {_GIVEN}")
_UPSERT_MORE = re.compile(rf", {_GIVEN}")
_SET = re.compile(rf"UPDATE {_NAME}(?:\.{_NAME})? SET {_NAME}=")
_SET_MORE = re.compile(rf", {_NAME}=")
_INSERT = re.compile(rf"INSERT INTO {_NAME}(?:\.{_NAME})? \((?:{_NAME}, )*{_NAME}\) VALUES \(")
# User variables, comments, and what a server might take for a parameter.
_DOUBTFUL = re.compile(r"[@?#]|--|/\*")


def kinds_of(plan: Any) -> tuple[Kind, ...] | None:
    """Return what is taken by each parameter of a plan; `None` if it is to be sent as text."""
    if any(_DOUBTFUL.search(fragment) for fragment in plan.fragments):
        return None
    kinds = []
    for slot in plan.slots:
        kind = None if slot.late or slot.literal else _kind_of(slot.bind.type, plan.compiled)
        if kind is None:
            return None
        kinds.append(kind)
    return tuple(kinds) if _is_plain(plan) else None


def _kind_of(type_: Any, compiled: Any) -> Kind | None:
    if type_._has_bind_expression:
        return None
    while isinstance(type_, TypeDecorator):
        type_ = type_.impl_instance
    type_ = type_.dialect_impl(compiled.dialect)
    for classes, kind in _KINDS:
        if isinstance(type_, classes):
            return kind
    return None


def compares(plan: Any, kinds: tuple[Kind, ...], class_: type) -> bool:
    """Tell whether an UPDATE or DELETE of these *kinds* compares a column with such values."""
    if not any(class_ in kind.classes for kind in kinds):
        return False
    compared = _compared(*plan.statement._where_criteria) or ()
    slots = zip(plan.slots, kinds, strict=True)
    return any(id(slot.bind) in compared and class_ in kind.classes for slot, kind in slots)


def _is_plain(plan: Any) -> bool:
    """Tell whether each parameter is compared with a column, or assigned to one."""
    statement, compiled = plan.statement, plan.compiled
    if compiled.isinsert:
        return plan.rows is not None and _inserts_plainly(plan)
    binds = [slot.bind for slot in plan.slots]
    if type(statement) is Select:
        return _selects_plainly(statement) and all_in(binds, _compared(statement))
    if type(statement) is Delete:
        return all_in(binds, _compared(*statement._where_criteria))
    if type(statement) is Update:
        compared = _compared(*statement._where_criteria)
        if compared is None:
            return False
        count = sum(id(bind) not in compared for bind in binds)
        return all_in(binds[count:], compared) and _sets_plainly(plan.fragments, count)
    return False


def all_in(binds: list[Any], compared: set[int] | None) -> bool:
    """Tell whether *binds* are among those *compared*, if all of these are known."""
    return compared is not None and all(id(bind) in compared for bind in binds)


def _inserts_plainly(plan: Any) -> bool:
    """Tell whether an INSERT has a parameter for each of its columns, in VALUES and after it."""
    fragments, count = plan.fragments, plan.rows.stop
    if plan.rows.start or not count or not _INSERT.fullmatch(fragments[0]):
        return False
    if any(fragment != ", " for fragment in fragments[1:count]):
        return False
    upsert = fragments[count:-1]
    if upsert and not _UPSERT.fullmatch(upsert[0]):
        return False
    return all(_UPSERT_MORE.fullmatch(fragment) for fragment in upsert[1:])


def _sets_plainly(fragments: tuple[str, ...], count: int) -> bool:
    """Tell whether the first *count* parameters of an UPDATE are what columns are set to."""
    if not count:
        return True
    last = fragments[count]
    return (
        _SET.fullmatch(fragments[0]) is not None
        and all(_SET_MORE.fullmatch(fragment) for fragment in fragments[1:count])
        and (not last or last.startswith((" WHERE ", ", ")))
    )


def _selects_plainly(statement: Any) -> bool:
    """Tell whether a SELECT has its parameters in WHERE and ON only, and nothing out of the way."""
    if statement._prefixes or statement._suffixes or statement._hints:
        return False
    if statement._statement_hints or statement._having_criteria or statement._distinct_on:
        return False
    elsewhere = (
        *statement._raw_columns,
        *statement._order_by_clauses,
        *statement._group_by_clauses,
    )
    return not any(
        isinstance(element, BindParameter)
        for clause in elsewhere
        for element in visitors.iterate(clause)
    )


def _compared(*clauses: Any) -> set[int] | None:
    """Return the identities of the binds that are compared with columns.

    `None` if there is an element of which too little is known.
    """
    compared: set[int] = set()
    for clause in clauses:
        for element in visitors.iterate(clause):
            if not _is_known(element):
                return None
            if element.__visit_name__ == "binary":
                compared.update(map(id, _binds(element)))
    return compared


def _is_known(element: Any) -> bool:
    name = element.__visit_name__
    if not type(element).__module__.startswith("sqlalchemy."):
        return False
    if name == "function":
        return type(element).__module__ == "sqlalchemy.sql.functions" and (
            element.name in _FUNCTIONS
        )
    if name == "column":
        return isinstance(element, Column)
    if name == "table":
        return isinstance(element, Table)
    if name == "alias":
        return type(element) is Alias
    return name in _ELEMENTS


def _binds(comparison: Any) -> list[Any]:
    """Return the binds that a comparison compares with a column."""
    left, right = comparison.left, comparison.right
    if comparison.operator is operators.between_op:
        if not isinstance(left, Column) or right.__visit_name__ != "expression_clauselist":
            return []
        return list(right.clauses)
    if comparison.operator not in _COMPARISONS:
        return []
    if isinstance(left, BindParameter):
        left, right = right, left
    return [right] if isinstance(left, Column) and isinstance(right, BindParameter) else []
