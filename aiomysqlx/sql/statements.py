"""What can be executed, and its parameters, in all the ways that they may be given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, NoReturn

from sqlalchemy import Sequence as SequenceGenerator
from sqlalchemy import select
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.dml import Delete, Insert, Update, UpdateBase
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.lambdas import StatementLambdaElement
from sqlalchemy.sql.selectable import FromClause

from ..exc import ArgumentError
from ..runtime.words import brief, counted, listed, type_name
from ..wire.warning import check_warnings
from .slots import Extracted, Parameters

_OPTIONS = {
    "insertmanyvalues_page_size",
    "logging_token",
    "max_row_buffer",
    "no_parameters",
    "preserve_rowcount",
    "schema_translate_map",
    "stream_results",
    "timeout",
    "warnings",
    "yield_per",
}
# What SQLAlchemy's own `execute()` takes by these names, and where it belongs here.
_BELONGS = {
    "execution_options": "a statement has them, statement.execution_options(…), and a str has none",
    "parameters": "give them behind the statement, without that name",
}
KEYWORDS = frozenset({"timeout", *_BELONGS})
_NOT_A_STATEMENT = "sql statement should be str or SQLAlchemy data selection/modification clause"


def executable(statement: Any) -> ClauseElement:
    """Return *statement*, or the SELECT of a function or sequence; else raise `ArgumentError`."""
    if isinstance(statement, FunctionElement):
        return statement.select()
    if isinstance(statement, SequenceGenerator):
        return select(statement.next_value())
    if not isinstance(statement, Executable) or not isinstance(statement, ClauseElement):
        raise ArgumentError(
            f"{_NOT_A_STATEMENT}, got {type_name(type(statement))}{_remedy(statement)}"
        )
    options = statement.get_execution_options()
    if options:
        _check_options(options)
    return statement


def _remedy(value: object) -> str:
    if isinstance(value, (FromClause, ColumnElement)):
        return ": select() makes a statement of it"
    return ": decode() it" if isinstance(value, (bytes, bytearray)) else ""


def _check_options(options: Mapping[str, Any]) -> None:
    unknown = set(options) - _OPTIONS
    if unknown:
        name = min(unknown)
        raise ArgumentError(
            f"execution option {name!r} is not supported: there are {listed(sorted(_OPTIONS))}"
        )
    translate = options.get("schema_translate_map")
    if translate is not None and not isinstance(translate, Mapping):
        raise ArgumentError(f"schema_translate_map: expected a dictionary, got {brief(translate)}")
    check_warnings(options.get("warnings"))
    size = options.get("insertmanyvalues_page_size")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ArgumentError(
            f"insertmanyvalues_page_size: expected a positive int, got {brief(size)}"
        )


def wants_stream(options: Mapping[str, Any]) -> bool:
    """Tell whether a statement with these execution options is to be streamed."""
    return bool(options.get("stream_results") or options.get("yield_per"))


def refuse_many() -> NoReturn:
    """Raise an `ArgumentError` for many groups of parameters to a statement that is streamed."""
    raise ArgumentError(
        "a stream is of one execution, got many groups of parameters: execute() takes them"
    )


def resolved(statement: Any) -> Any:
    """Return the statement that a lambda made when it was first called; any other as it is."""
    return (
        statement._rec.expected_expr if isinstance(statement, StatementLambdaElement) else statement
    )


def writes(statement: Any) -> bool:
    """Tell whether *statement* is an INSERT, UPDATE or DELETE."""
    return isinstance(resolved(statement), UpdateBase)


def sets_values(statement: Update) -> bool:
    """Tell whether an UPDATE has values of its own."""
    return bool(statement._values or getattr(statement, "_ordered_values", None))


# -- parameters ------------------------------------------------------------------------------------


def distill_params(multiparams: Sequence[Any], params: Mapping[str, Any]) -> Sequence[Any]:
    """Return the parameters of `execute()` as a list, one item for each execution."""
    if not multiparams:
        return [params] if params else []
    first = multiparams[0]
    if len(multiparams) > 1:
        return multiparams if _is_group(first) else [multiparams]
    if isinstance(first, (list, tuple)):
        return first if not first or _is_group(first[0]) else [first]
    return [first] if hasattr(first, "keys") else [[first]]


def _is_group(value: Any) -> bool:
    """Tell whether *value* holds the parameters of one execution, rather than being one."""
    if isinstance(value, (memoryview, Enum)):  # a combination of flags can be iterated over
        return False
    return hasattr(value, "__iter__") and not hasattr(value, "strip")


def by_name(statement: ClauseElement, group: Any) -> Parameters:
    """Return one execution's parameters by name; positional ones follow the table's columns."""
    if type(group) is dict or isinstance(group, Mapping):
        return group
    if hasattr(group, "keys"):
        return dict(group)
    if isinstance(group, (str, bytes)) or not isinstance(group, Iterable):
        raise ArgumentError(
            f"expected a dictionary or a sequence of parameters, got {type(group).__name__}:"
            " give values by name, or in a tuple in the order of the table's columns"
        )
    statement = resolved(statement)
    if not isinstance(statement, (Insert, Update)):
        clause = "DELETE" if isinstance(statement, Delete) else "SELECT"
        raise ArgumentError(
            f"Don't mix sqlalchemy {clause} clause with positional parameters: give values by name"
        )
    columns = statement.table.c
    values = list(group)
    if len(values) > len(columns):
        raise ArgumentError(
            f"expected at most {counted(len(columns), 'parameter')}, one for each column of"
            f" {statement.table.description!r}, got {len(values)}"
        )
    return {columns[index].key: value for index, value in enumerate(values)}


def refuse_empty(statement: ClauseElement) -> None:
    """Raise an `ArgumentError` for an empty list of parameters that says what to write.

    An INSERT would write a row of defaults, an UPDATE would write its `onupdate` into every row.
    What has its values itself, or needs none, is executed once, as without a list.
    """
    statement = resolved(statement)
    if isinstance(statement, Update) and not sets_values(statement):
        raise ArgumentError("expected parameters with values to set, got an empty list")
    if isinstance(statement, Insert) and not (
        statement._values or statement._multi_values or statement.select is not None
    ):
        raise ArgumentError("expected rows to insert, got an empty list")


def refuse_mixed(params: Mapping[str, Any]) -> NoReturn:
    """Raise an `ArgumentError` for keywords beside other parameters, which aiomysql drops."""
    names = listed(sorted(params))
    raise ArgumentError(
        f"expected parameters behind the statement or as keywords, got both: give {names} in the"
        " same way as the others"
    )


def has_parameter(statement: Any, name: str) -> bool:
    """Tell whether a value can be given to *statement* under *name*."""
    if isinstance(statement, str):
        return f"%({name})s" in statement
    target = resolved(statement)
    if isinstance(target, (Insert, Update)) and name in target.table.c:
        return True
    return isinstance(statement, ClauseElement) and any(
        isinstance(element, BindParameter) and element.key == name
        for element in visitors.iterate(statement)
    )


def check_keywords(statement: Any, multiparams: Sequence[Any], params: Mapping[str, Any]) -> None:
    """Raise `ArgumentError` for a keyword of SQLAlchemy's own `execute()` that is no parameter."""
    for name, where in _BELONGS.items():
        if name in params and (multiparams or not has_parameter(statement, name)):
            raise ArgumentError(f"argument {name!r} is not taken: {where}")


def column_names(
    statement: ClauseElement, parameters: Parameters | None, extracted: Extracted
) -> tuple[str, ...]:
    """Return the names of the parameters that are columns for an INSERT, UPDATE or DELETE to write.

    Those of columns to write are among them, not those in an UPDATE's WHERE, as in
    `where(c.id == bindparam("id"))`, unless there is nothing else to write: then a column of that
    name may be meant, and the statement does not compile.
    """
    if not parameters or not writes(statement):
        return ()
    for name in parameters:
        if not isinstance(name, str):
            raise ArgumentError(f"expected a parameter's name as str, got {brief(name)}")
    statement = resolved(statement)
    if not isinstance(statement, Update) or _own_names(statement, extracted).isdisjoint(parameters):
        return tuple(parameters)
    own = {
        element.key
        for criterion in statement._where_criteria
        for element in visitors.iterate(criterion)
        if isinstance(element, BindParameter)
    }
    written = tuple(name for name in parameters if name not in own)
    return written if written or sets_values(statement) else tuple(parameters)


def _own_names(statement: ClauseElement, extracted: Extracted) -> set[str]:
    """Return the names of a statement's `bindparam()`."""
    binds: Iterable[Any]
    if extracted is not None:
        binds = extracted
    else:
        binds = (e for e in visitors.iterate(statement) if isinstance(e, BindParameter))
    return {bind.key for bind in binds if not bind.unique}
