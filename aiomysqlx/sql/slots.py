"""Slots: the places of parameters in compiled SQL, and how their values are found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import types as sqltypes
from sqlalchemy.sql.elements import BindParameter

from ..exc import ArgumentError
from ..runtime.printable import listed, type_name
from ..runtime.record import Record
from ..wire._impl import InList, Verbatim, escape, has_lists
from ..wire.charset import encode_sql
from ..wire.encoders import UnsendableError
from .literals import Literal

LISTS = (list, tuple, set, frozenset)

Parameters = Mapping[str, Any]
"""The parameters of one execution, by name."""

Extracted = Sequence[Any] | None
"""The parameters extracted from the statement at hand, if it has a cache key."""


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
    wrap: tuple[Cut, Cut] | None
    """SQL around each element of an expanding parameter, from its type's `bind_expression()`."""
    empty: str
    """What stands for an expanding parameter without elements."""

    @property
    def label(self) -> str:
        """The parameter's name in messages: its own, its column's or, failing that, the SQL's."""
        if not self.bind.unique:
            return self.bind.key
        return self.name if self.bind._orig_key == "param" else self.bind._orig_key

    def value(self, parameters: Parameters | None, extracted: Extracted) -> Any:
        """Return the parameter's value, not yet processed by its type."""
        bind = self.bind
        if parameters:
            if bind.key in parameters:
                return parameters[bind.key]
            if self.name in parameters:
                return parameters[self.name]
        if extracted is not None and self.extracted >= 0:
            bind = extracted[self.extracted]
        if bind.required:
            raise ArgumentError(
                f"A value is required for bind parameter {self.label!r}, got"
                f" {listed(parameters or ())}"
            )
        return bind.value if bind.callable is None else bind.callable()

    def processed(
        self,
        parameters: Parameters | None,
        extracted: Extracted,
        encoding: str,
        mode: int,
    ) -> Any:
        """Return the parameter's value as `render` takes it."""
        value = self.value(parameters, extracted)
        if not self.late or not self.bind.expanding:
            if self.process is not None:
                value = self.process(value)
            return _encoded(value, encoding) if self.literal else value
        items = self._elements(value)
        if self.literal:
            items = [_encoded(item, encoding) for item in items]
        if not items:
            return Verbatim(encode_sql(self.empty, encoding))
        if self.wrap is None:
            return InList(items)
        around = (parameters, extracted, encoding, mode)
        left, right = (_written(cut, *around) for cut in self.wrap)
        try:
            literals = [escape(item, encoding, mode) for item in items]
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
            values = tuple([_apply(*pair) for pair in zip(self.process, item, strict=False)])
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
    return ArgumentError(f"parameter {slot.label!r}: {UnsendableError(type(value))}")


def _shown(item: Any) -> str:
    """Return the type and size of a list's item: not its values, which may be secret."""
    sized = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    return f"a {type_name(type(item))}{sized}"


def _apply(process: Any, value: Any) -> Any:
    return value if process is None else process(value)


def _encoded(value: Any, encoding: str) -> Any:
    """Return *value* as `render` takes it, a tuple's members too."""
    if type(value) is Literal:
        return Verbatim(encode_sql(value, encoding))
    if type(value) is tuple:
        return tuple(_encoded(member, encoding) for member in value)
    return value


def _written(
    cut: Cut,
    parameters: Parameters | None,
    extracted: Extracted,
    encoding: str,
    mode: int,
) -> bytes:
    """Return a piece of SQL with its parameters' values."""
    fragments, slots = cut
    sql = encode_sql(fragments[0], encoding)
    for slot, fragment in zip(slots, fragments[1:], strict=True):
        value = slot.processed(parameters, extracted, encoding, mode)
        sql += escape(value, encoding, mode) + encode_sql(fragment, encoding)
    return sql
