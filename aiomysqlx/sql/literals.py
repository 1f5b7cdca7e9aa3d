"""Literals: the values of parameters that SQLAlchemy is to write into the SQL, `literal_execute`.

A type's literal processor writes them. That of bytes takes them for text, though, and those of
dates and times write an offset, which servers convert, cut off or refuse: they become values that
are written as any others.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy.types import Date, DateTime, LargeBinary, Time, TypeDecorator

Processor = Callable[[Any], Any]


class Literal(str):
    """A value's SQL, as its type's literal processor writes it."""

    __slots__ = ()


def literal_processor(compiled: Any, type_: Any) -> Processor | None:
    """Return what makes a `Literal` of a type's value, or what is written as any other value."""
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
    convert, takes_null = (
        _converter(type_.dialect_impl(dialect), dialect),
        type_.should_evaluate_none,
    )

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


def _as_it_is(value: Any) -> Any:
    return value


def _date(value: Any) -> Any:
    return value.date() if _is_in_utc(value) else value


def _time(value: Any) -> Any:
    return value.time() if _is_in_utc(value) else value


def _is_in_utc(value: Any) -> bool:
    """Tell whether *value* is a datetime whose parts are what is stored of it."""
    return isinstance(value, datetime) and not value.utcoffset()


# What a literal processor of SQLAlchemy's makes of a value, as a value.
_PLAIN: dict[Any, Processor] = {
    LargeBinary.literal_processor: _as_it_is,
    DateTime.literal_processor: _as_it_is,
    Date.literal_processor: _date,
    Time.literal_processor: _time,
}
