"""Compiled SQL, cut into fragments and slots: the places of parameters, which find their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import types as sqltypes
from sqlalchemy.sql.elements import BindParameter
from sqlalchemy.types import TypeDecorator

from ..exc import ArgumentError
from ..runtime.record import Record
from ..runtime.words import listed, type_name
from ..wire._impl import escape, has_lists
from ..wire.charset import encode_sql
from ..wire.codes import InList, Syntax, Verbatim
from ..wire.encoders import UnsendableError
from .template import LISTS, find_values

# Compiled when they are first used: that takes 0.4 ms, which no import has to wait for.
_MARK = r"%%|%\((?P<name>[^)]+)\)s|__\[POSTCOMPILE_(?P<late>[^\]~]+)(?:~~(?P<wrap>.*?)~~)?\]"
_LATE = r"__\[POSTCOMPILE_([^\]~]+)(?:~~.*?~~)?\]"

Processor = Callable[[Any], Any]

Parameters = Mapping[str, Any]
"""The parameters of one execution, by name."""

Extracted = Sequence[Any] | None
"""The parameters extracted from the statement at hand, if it has a cache key."""


class Literal(str):
    """A value's SQL, as its type's literal processor writes it."""

    __slots__ = ()


class Slot(Record):
    """A parameter's place in the SQL, and how its value is found."""

    name: str
    bind: BindParameter[Any]
    extracted: int
    """Index into the parameters extracted from the statement at hand; -1 if it is not of those."""
    process: Any
    """What its type does to a value, or to each member of a tuple; `None` if nothing."""
    late: bool
    """Whether SQLAlchemy expands or renders it after compiling: `IN` lists, literals."""
    literal: bool
    """Whether its type may write it as SQL."""
    wrap: tuple[Cut, ...] | None
    """SQL around each element of an expanding parameter, from its type's `bind_expression()`."""
    empty: str
    """What stands for an expanding parameter without elements."""

    @property
    def label(self) -> str:
        """The parameter's name in messages: its own, its column's or, failing that, the SQL's."""
        unique = self.bind.unique
        own = self.bind._orig_key if unique else self.bind.key
        # A key that SQLAlchemy has made up, also of a bind that this one was made of.
        made_up = own.startswith("%(") or (unique and own == "param")
        return self.name if made_up else own

    def value(self, parameters: Parameters | None, extracted: Extracted) -> Any:
        """Return the parameter's value, not yet processed by its type."""
        bind = self.bind
        if parameters:
            if bind.key in parameters:
                return parameters[bind.key]
            if self.name in parameters:
                return parameters[self.name]
        own = self.own(extracted)
        if own.required:
            raise ArgumentError(
                f"A value is required for bind parameter {self.label!r}, got"
                f" {listed(parameters or ())}"
            )
        return own.value if own.callable is None else own.callable()

    def own(self, extracted: Extracted) -> BindParameter[Any]:
        """Return the bind of the statement at hand, which has the value if no parameter has."""
        if extracted is not None and self.extracted >= 0:
            bind: BindParameter[Any] = extracted[self.extracted]
            return bind
        return self.bind

    def processed(self, parameters: Parameters | None, extracted: Extracted, syntax: Syntax) -> Any:
        """Return the parameter's value as `render` takes it."""
        value = self.value(parameters, extracted)
        if not self.late or not self.bind.expanding:
            if self.process is not None:
                value = self.process(value)
            return _encoded(value, syntax[0]) if self.literal else value
        items = self._elements(value)
        if self.literal:
            items = [_encoded(item, syntax[0]) for item in items]
        if not items:
            return Verbatim(encode_sql(self.empty, syntax[0]))
        if self.wrap is None:
            return InList(items)
        left, right = (_written(cut, parameters, extracted, syntax) for cut in self.wrap)
        try:
            literals = [escape(item, *syntax) for item in items]
        except ArgumentError as error:
            raise ArgumentError(f"parameter {self.label!r}: {error}") from error.__cause__
        return Verbatim(b", ".join(left + literal + right for literal in literals))

    def _elements(self, value: Any) -> list[Any]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise ArgumentError(
                f"parameter {self.label!r} takes the list of values of an IN, got"
                f" {type_name(type(value))}"
            )
        type_, process = self.bind.type, self.process
        if isinstance(type_, sqltypes.TupleType):
            return [self._member(item, len(type_.types)) for item in value]
        items = list(value) if process is None else [process(item) for item in value]
        if has_lists(items):
            # Without a type, a row of columns may be on the other side: what is in one is checked.
            untyped = isinstance(type_, sqltypes.NullType)
            for item in items:
                self._check_scalars(item if untyped and isinstance(item, LISTS) else (item,))
        return items

    def _member(self, item: Any, size: int) -> tuple[Any, ...]:
        if not isinstance(item, (tuple, list)) or len(item) != size:
            raise ArgumentError(
                f"parameter {self.label!r} takes tuples of {size} values, got {_shown(item)}"
            )
        values = tuple(item)
        if self.process is not None:  # not in a map(), which a StopIteration of a type's would end
            pairs = zip(self.process, item, strict=False)
            values = tuple([value if each is None else each(value) for each, value in pairs])
        self._check_scalars(values)
        return values

    def _check_scalars(self, values: Iterable[Any]) -> None:
        """Refuse lists, which would be written in parentheses and pass for something else."""
        if has_lists(values):
            raise cannot_send(self, next(v for v in values if isinstance(v, LISTS)))


Cut = tuple[tuple[str, ...], tuple[Slot, ...]]
"""Fragments of SQL, and the slots between them."""


def cannot_send(slot: Slot, value: Any) -> ArgumentError:
    """Return the error for a value whose type has no literal."""
    listed = (
        ": a list is for column.in_(), or for a JSON column" if isinstance(value, LISTS) else ""
    )
    return ArgumentError(f"parameter {slot.label!r}: {UnsendableError(type(value))}{listed}")


def _shown(item: Any) -> str:
    """Return the type and size of a list's item: not its values, which may be secret."""
    sized = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    return f"a {type_name(type(item))}{sized}"


def _encoded(value: Any, encoding: str) -> Any:
    """Return *value* as `render` takes it, a tuple's members too."""
    if type(value) is Literal:
        return Verbatim(encode_sql(value, encoding))
    if type(value) is tuple:
        return tuple(_encoded(member, encoding) for member in value)
    return value


def _written(
    cut: Cut, parameters: Parameters | None, extracted: Extracted, syntax: Syntax
) -> bytes:
    """Return a piece of SQL with its parameters' values."""
    fragments, slots = cut
    sql = encode_sql(fragments[0], syntax[0])
    for slot, fragment in zip(slots, fragments[1:], strict=True):
        value = slot.processed(parameters, extracted, syntax)
        sql += escape(value, *syntax) + encode_sql(fragment, syntax[0])
    return sql


# -- cutting ---------------------------------------------------------------------------------------


def marked(sql: str) -> str:
    """Return compiled SQL as a log shows it: all of its parameters as `%(name)s`."""
    return re.sub(_LATE, r"%(\1)s", sql, flags=re.DOTALL)


class Rows(Record):
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
        wrap = None
        if match["wrap"] is not None:
            wrap = tuple(cut(s, compiled, extracted) for s in match["wrap"].split("~~REPL~~", 1))
        slots.append(_slot(compiled, name, position, match["late"] is not None, wrap))
        fragments.append(text)
        text = ""
    fragments.append(text + sql[start:])
    return tuple(fragments), tuple(slots)


def _slot(
    compiled: Any, name: str, position: int, is_late: bool, wrap: tuple[Cut, ...] | None
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


def _empty_set(compiled: Any, bind: BindParameter[Any]) -> str:
    types = bind.type.types if isinstance(bind.type, sqltypes.TupleType) else [bind.type]
    empty: str = compiled.visit_empty_set_op_expr(types, bind.expand_op)
    return empty.replace("%%", "%")


# -- literals: values that SQLAlchemy is to write into the SQL, `literal_execute` ------------------


def literal_processor(compiled: Any, type_: Any) -> Processor | None:
    """Return what makes a `Literal` of a type's value, or what is written as any other value.

    A type's literal processor writes it. That of bytes takes them for text, though, and those of
    dates and times write an offset, which servers convert, cut off or refuse.
    """
    dialect = compiled.dialect
    writer = type_.dialect_impl(dialect)
    has_own = False
    while type(writer).literal_processor is TypeDecorator.literal_processor:
        has_own = has_own or writer._has_literal_processor
        writer = writer.impl_instance
    if type(writer).literal_processor in _PLAIN:
        return _plain_processor(type_, dialect)
    if not has_own and writer.literal_processor(dialect) is None:
        process: Processor | None = type_._cached_bind_processor(dialect)
        return process
    return lambda value: Literal(compiled.render_literal_value(value, type_).replace("%%", "%"))


def _plain_processor(type_: Any, dialect: Any) -> Processor:
    convert = _converter(type_.dialect_impl(dialect), dialect)
    takes_null = type_.should_evaluate_none

    def process(value: Any) -> Any:
        return None if value is None and not takes_null else convert(value)

    return process


def _converter(type_: Any, dialect: Any) -> Processor:
    """Return what the literal processors of a type and of those within it do before they write."""
    if type(type_).literal_processor in _PLAIN:
        return _PLAIN[type(type_).literal_processor]
    if type_._has_literal_processor:
        own = type_.process_literal_param
    elif type_._has_bind_processor:
        own = type_.process_bind_param
    elif type(type_).bind_processor is not TypeDecorator.bind_processor:  # Interval, PickleType
        convert: Processor = type_.bind_processor(dialect)
        return convert
    else:
        return _converter(type_.impl_instance, dialect)
    inner = _converter(type_.impl_instance, dialect)
    return lambda value: inner(own(value, dialect))


def _date(value: Any) -> Any:
    return value.date() if _is_in_utc(value) else value


def _time(value: Any) -> Any:
    return value.time() if _is_in_utc(value) else value


def _is_in_utc(value: Any) -> bool:
    """Tell whether *value* is a datetime whose parts are what is stored of it."""
    return isinstance(value, datetime) and not value.utcoffset()


# What a literal processor of SQLAlchemy's makes of a value, as a value.
_PLAIN: dict[Any, Processor] = {
    sqltypes.LargeBinary.literal_processor: lambda value: value,
    sqltypes.DateTime.literal_processor: lambda value: value,
    sqltypes.Date.literal_processor: _date,
    sqltypes.Time.literal_processor: _time,
}
