"""Compiled SQL, cut into the fragments around its parameters and the parameters' slots."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sqlalchemy import types as sqltypes
from sqlalchemy.sql.elements import BindParameter

from .literals import literal_processor
from .slots import Cut, Extracted, Slot
from .valuesgroup import find_values

# Compiled when they are first used: that takes 0.4 ms, which no import has to wait for.
_MARK = r"%%|%\((?P<name>[^)]+)\)s|__\[POSTCOMPILE_(?P<late>[^\]~]+)(?:~~(?P<wrap>.*?)~~)?\]"
_LATE = r"__\[POSTCOMPILE_([^\]~]+)(?:~~.*?~~)?\]"


def marked(sql: str) -> str:
    """Return compiled SQL as a log shows it: all of its parameters as `%(name)s`."""
    return re.sub(_LATE, r"%(\1)s", sql, flags=re.DOTALL)


class Rows(NamedTuple):
    """An INSERT's VALUES group: the slots `start` to `stop` and the text between them."""

    start: int
    stop: int
    head: tuple[str, ...]
    group: tuple[str, ...]
    tail: tuple[str, ...]


def find_rows(sql: str, compiled: Any) -> Rows | None:
    """Return the VALUES group of an INSERT that has one; `None` of what is no such INSERT."""
    if not compiled.isinsert or compiled.compile_state is None:
        return None
    statement = compiled.compile_state.statement
    if statement.select is not None or compiled.compile_state._has_multi_parameters:
        return None
    span = find_values(sql)
    if span is None:
        return None
    head, group, tail = sql[: span[0]], sql[span[0] : span[1]], sql[span[1] :]
    parts = [cut(text, compiled, None) for text in (head, group, tail)]
    start = len(parts[0][1])
    return Rows(start, start + len(parts[1][1]), *(fragments for fragments, _ in parts))


def cut(sql: str, compiled: Any, extracted: Extracted) -> Cut:
    """Cut compiled SQL into the fragments around its parameters, and the parameters' slots."""
    names = {escaped: name for name, escaped in (compiled.escaped_bind_names or {}).items()}
    positions = _positions(compiled, extracted)
    fragments: list[str] = []
    slots: list[Slot] = []
    text = ""
    start = 0
    for match in re.finditer(_MARK, sql, re.DOTALL):
        text += sql[start : match.start()]
        start = match.end()
        found: str = match["name"] or match["late"]
        name = names.get(found, found)
        if name not in compiled.binds:
            text += "%" if match[0] == "%%" else match[0]
            continue
        position = positions.get(compiled.binds[name], -1)
        wrap = None if match["wrap"] is None else _wrap(match["wrap"], compiled, extracted)
        slots.append(_slot(compiled, name, position, match["late"] is not None, wrap))
        fragments.append(text)
        text = ""
    fragments.append(text + sql[start:])
    return tuple(fragments), tuple(slots)


def _slot(
    compiled: Any, name: str, position: int, is_late: bool, wrap: tuple[Cut, Cut] | None
) -> Slot:
    bind = compiled.binds[name]
    literal = bind in compiled.literal_execute_params
    return Slot(
        name,
        bind,
        position,
        _processor(compiled, name, literal),
        is_late,
        literal,
        wrap,
        _empty_set(compiled, bind) if is_late and bind.expanding else "",
    )


def _processor(compiled: Any, name: str, literal: bool) -> Any:
    """Return what a parameter's type does to a value; of a tuple's type, to each of its members."""
    if not literal:
        return compiled._bind_processors.get(name)
    type_ = compiled.binds[name].type
    if isinstance(type_, sqltypes.TupleType):
        return [literal_processor(compiled, member) for member in type_.types]
    return literal_processor(compiled, type_)


def _positions(compiled: Any, extracted: Extracted) -> dict[BindParameter[Any], int]:
    if extracted is None:
        return {}
    by_original = compiled._cache_key_bind_match[0]
    return {
        bind: position
        for position, original in enumerate(extracted)
        for bind in by_original.get(original, ())
    }


def _wrap(text: str, compiled: Any, extracted: Extracted) -> tuple[Cut, Cut]:
    left, _, right = text.partition("~~REPL~~")
    return cut(left, compiled, extracted), cut(right, compiled, extracted)


def _empty_set(compiled: Any, bind: BindParameter[Any]) -> str:
    types = bind.type.types if isinstance(bind.type, sqltypes.TupleType) else [bind.type]
    empty: str = compiled.visit_empty_set_op_expr(types, bind.expand_op)
    return empty.replace("%%", "%")
