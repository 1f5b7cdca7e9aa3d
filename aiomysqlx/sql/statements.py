"""Statements: what can be executed, and what it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Sequence as SequenceGenerator
from sqlalchemy import select
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.dml import Update, UpdateBase
from sqlalchemy.sql.elements import ClauseElement, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.lambdas import StatementLambdaElement
from sqlalchemy.sql.selectable import FromClause

from ..exc import ArgumentError
from ..runtime.printable import brief, listed, type_name
from ..wire.warning import check_warnings

_OPTIONS = {
    "insertmanyvalues_page_size",
    "logging_token",
    "no_parameters",
    "preserve_rowcount",
    "schema_translate_map",
    "timeout",
    "warnings",
}
_STREAMING = ("max_row_buffer", "stream_results", "yield_per")
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
        if name in _STREAMING:
            why = "a result is read whole, take a part of it by LIMIT"
        else:
            why = f"there are {listed(sorted(_OPTIONS))}"
        raise ArgumentError(f"execution option {name!r} is not supported: {why}")
    translate = options.get("schema_translate_map")
    if translate is not None and not isinstance(translate, Mapping):
        raise ArgumentError(f"schema_translate_map: expected a dictionary, got {brief(translate)}")
    check_warnings(options.get("warnings"))
    size = options.get("insertmanyvalues_page_size")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ArgumentError(
            f"insertmanyvalues_page_size: expected a positive int, got {brief(size)}"
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
