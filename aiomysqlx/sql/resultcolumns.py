"""The columns of a plan's result: SQLAlchemy's, matched with those that the server describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.engine.processors import int_to_boolean, to_float

from ..wire.codes import BOOL, DECIMAL, DECIMAL_AS_FLOAT, FLOAT, INT
from ..wire.columns import Column, Columns, parse_columns
from .literals import Processor
from .rows import ResultMetaData

# What SQLAlchemy's Boolean and Numeric(asdecimal=False) have for MySQL.
_TO_BOOL: Processor = int_to_boolean
_TO_FLOAT: Processor = to_float


def result_columns(compiled: Any, statement: Any, raw: bytes, encoding: str) -> Columns:
    """Return the columns of a result of *statement*, whose definitions are *raw*."""
    definitions = parse_columns(raw, encoding)
    keys, entries = _match(compiled, definitions)
    conversions = []
    processors = []
    for definition, entry in zip(definitions, entries, strict=True):
        process = None
        if entry is not None:
            process = entry.type._cached_result_processor(compiled.dialect, definition.type_code)
        conversion, process = _fuse(definition.conversion, process)
        conversions.append(conversion)
        processors.append(process)
    objects = [() if entry is None else entry.objects for entry in entries]
    metadata = ResultMetaData(keys, objects, statement)
    return Columns(raw, definitions, conversions, processors, encoding, metadata)


def _match(compiled: Any, definitions: list[Column]) -> tuple[list[str], list[Any]]:
    """Return the columns' keys, and for each column SQLAlchemy's result entry or `None`.

    They are matched by position where all of the columns are SQLAlchemy's own, or the user has
    named all or those of a text in their order. Where there is a text, the server names them.
    """
    entries = compiled._result_columns
    fits = len(entries) == len(definitions)
    if fits and compiled._ordered_columns and not compiled._textual_ordered_columns:
        return [entry.keyname for entry in entries], entries
    names = [definition.name for definition in definitions]
    if compiled._textual_ordered_columns or (fits and compiled._ad_hoc_textual):
        missing = max(0, len(names) - len(entries))
        return names, [*entries[: len(names)], *[None] * missing]
    by_name = _by_name(entries, compiled._loose_column_name_matching)
    return names, [by_name.get(name) for name in names]


def _by_name(entries: Sequence[Any], loose: bool) -> dict[Any, Any]:
    """Return result entries by their names; if *loose*, by all names that their columns have."""
    found: dict[Any, Any] = {}
    for entry in entries:
        first = found.get(entry.keyname)
        if first is not None:
            entry = first._replace(objects=first.objects + entry.objects)
        found[entry.keyname] = entry
        if loose:
            for name in entry.objects:
                found.setdefault(name, entry)
    return found


def _fuse(conversion: int, process: Processor | None) -> tuple[int, Processor | None]:
    """Return a conversion, and what is left to process, where the decoder can do a part of it."""
    if process is None:
        return conversion, None
    if process is _TO_BOOL and conversion == INT:
        return BOOL, None
    if process is _TO_FLOAT and conversion == DECIMAL:
        return DECIMAL_AS_FLOAT, None
    if process is _TO_FLOAT and conversion == FLOAT:
        return FLOAT, None
    return conversion, process
