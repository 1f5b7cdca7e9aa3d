"""Plans: compiled statements, ready to take values.

A *plan* is what is left of a statement once SQLAlchemy has compiled it: its SQL cut into fragments
around the parameters, for each parameter where its value comes from, and the columns of its
result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import types as sqltypes
from sqlalchemy.engine.processors import int_to_boolean, to_float
from sqlalchemy.sql.elements import ClauseElement

from ..exc import ArgumentError
from ..wire._impl import has_lists, render
from ..wire.charset import encode_sql
from ..wire.codes import BOOL, DECIMAL, DECIMAL_AS_FLOAT, FLOAT, INT, InList, Syntax
from ..wire.columns import MOST_REMEMBERED, Column, Columns, Converters, parse_columns
from ..wire.encoders import has_encoder
from ..wire.prepared import Kind
from .keys import Keys, Prefetched, add_defaults, prefetched
from .rows import ResultMetaData
from .slots import Extracted, Parameters, Rows, Slot, cannot_send, cut, find_rows, marked
from .template import LISTS, check_empty, check_values
from .typekeys import Types

_UNTYPED = (sqltypes.NullType, sqltypes.TupleType)

Translation = frozenset[tuple["str | None", "str | None"]]
"""The items of a schema_translate_map."""


class Text:
    """A plan's SQL in one encoding, and the columns that its latest results had there.

    `binary_columns` are those of its execution as a prepared statement.
    """

    __slots__ = ("binary_columns", "columns", "fragments", "group", "head", "tail")

    def __init__(self, fragments: tuple[str, ...], rows: Rows | None, encoding: str) -> None:
        def encoded(texts: tuple[str, ...]) -> tuple[bytes, ...]:
            return tuple(encode_sql(text, encoding) for text in texts)

        self.columns: Columns | None = None
        self.binary_columns: Columns | None = None
        self.fragments: tuple[bytes, ...] = encoded(fragments)
        if rows is not None:
            self.head: tuple[bytes, ...] = encoded(rows.head)
            self.group: tuple[bytes, ...] = encoded(rows.group)
            self.tail: tuple[bytes, ...] = encoded(rows.tail)


class Plan:
    """A compiled statement, ready to take values."""

    __slots__ = (
        "_columns",
        "_take",
        "_take_extracted",
        "_taken",
        "_texts",
        "compiled",
        "converters",
        "fragments",
        "is_decided",
        "keys",
        "kinds",
        "names",
        "prefetch",
        "processors",
        "returning",
        "rows",
        "slots",
        "sql",
        "statement",
        "translated",
        "types",
    )

    types: Types
    """What tells it from the plans of other statements with the same cache key."""

    def __init__(
        self,
        statement: ClauseElement,
        compiled: Any,
        sql: str,
        extracted: Extracted,
        translated: Translation | None,
        converters: Converters | None = None,
    ) -> None:
        self.statement: ClauseElement = statement
        self.compiled: Any = compiled
        # What a user has the values of results made of, before their types get them.
        self.converters: Converters | None = converters
        self.translated: Translation | None = translated
        self.fragments: tuple[str, ...]
        self.slots: tuple[Slot, ...]
        self.fragments, self.slots = cut(sql, compiled, extracted)
        self.sql: str = marked(sql)
        self.prefetch: Prefetched = prefetched(compiled)
        self.rows: Rows | None = find_rows(sql, compiled)
        # Whether it returns the rows that it has written.
        self.returning: bool = bool(compiled.effective_returning)
        # What is known of the keys that it writes, unless it returns them itself.
        self.keys: Keys | None = Keys(compiled, self.slots) if _tells_keys(compiled) else None
        # What its parameters take as those of a prepared statement; `None`: it stays text, or has
        # not been decided on.
        self.kinds: tuple[Kind, ...] | None = None
        self.is_decided: bool = False
        self._texts: dict[str, Text] = {}
        self._columns: dict[tuple[bytes, str, bool], Columns] = {}
        self.names: frozenset[str] = frozenset(slot.bind.key for slot in self.slots)
        self._taken = self.names.union(slot.name for slot in self.slots).difference(
            name for _, name, _ in self.prefetch
        )
        self._take = self._take_extracted = None
        if not self.prefetch and not any(slot.late for slot in self.slots):
            self._take = _taker([slot.bind.key for slot in self.slots])
            positions = [slot.extracted for slot in self.slots]
            self._take_extracted = _taker(positions) if -1 not in positions else None
        self.processors: list[tuple[int, Any]] = [
            (index, slot.process) for index, slot in enumerate(self.slots) if slot.process
        ]

    # -- values ----------------------------------------------------------------------------------

    def check_names(self, names: Iterable[str]) -> None:
        """Raise an `ArgumentError` for names of parameters whose values would be dropped."""
        if not self._taken.issuperset(names):
            unconsumed = ", ".join(map(str, sorted(set(names) - self._taken, key=str)))
            raise ArgumentError(
                f"Unconsumed column names: {unconsumed}: the statement neither writes such a"
                " column nor has such a parameter"
            )

    def values(
        self, parameters: Parameters | None, extracted: Extracted, syntax: Syntax
    ) -> list[Any]:
        """Return the values for the slots, in their order.

        If there is a `prefetch`, *parameters* are what `completed()` returns.
        """
        values = None
        if not parameters:
            values = self._taken_extracted(extracted)
        elif self._take is not None and type(parameters) is dict:
            try:
                values = self._take(parameters)
            except KeyError:
                values = None  # one is part of the statement, or missing
        if values is not None:
            for index, process in self.processors:
                values[index] = process(values[index])
        else:
            values = [slot.processed(parameters, extracted, syntax) for slot in self.slots]
        if has_lists(values):
            self.check_lists(values, syntax[1])
        return values

    def _taken_extracted(self, extracted: Extracted) -> list[Any] | None:
        """Return the values, not yet processed, if all are part of the statement."""
        if self._take_extracted is None or extracted is None:
            return None
        binds = self._take_extracted(extracted)
        values = []
        for bind in binds:
            if bind.required or bind.callable is not None:
                return None
            values.append(bind.value)
        return values

    def check_lists(self, values: Sequence[Any], mode: int) -> None:
        """Refuse lists but in `text()`, where they stand for `IN`, and those with an encoder.

        Written as `('x')`, a list of one would pass for its element, an empty one for NULL.
        """
        for slot, before, value in zip(self.slots, self.fragments[:-1], values, strict=True):
            if type(value) is InList:
                continue
            if isinstance(slot.bind.type, _UNTYPED):
                check_empty(slot.label, before, value, mode)
            elif isinstance(value, LISTS) and not has_encoder(mode, type(value)):
                raise cannot_send(slot, value)

    def completed(
        self, parameters: Parameters | None, extracted: Extracted, statement: Any
    ) -> dict[str, Any]:
        """Return the parameters by bind name, with the Python-side defaults of `prefetch`.

        *statement* is the one at hand, whose options a default may ask for.
        """
        completed = {slot.name: slot.value(parameters, extracted) for slot in self.slots}
        options = statement.get_execution_options()
        add_defaults(completed, self.prefetch, self.compiled, options)
        return completed

    def defaulted(self, values: Sequence[Any], statement: Any) -> list[Any]:
        """Return values for the slots, not yet processed, with the defaults of `prefetch`."""
        names = [slot.name for slot in self.slots]
        completed = dict(zip(names, values, strict=True))
        options = statement.get_execution_options()
        add_defaults(completed, self.prefetch, self.compiled, options)
        return [completed[name] for name in names]

    # -- text ------------------------------------------------------------------------------------

    def render(
        self, text: Text, parameters: Parameters | None, extracted: Extracted, syntax: Syntax
    ) -> bytes:
        """Return the packet of one execution, in the SQL of *text*."""
        encoding, mode = syntax
        values = self.values(parameters, extracted, syntax)
        try:
            return render(text.fragments, values, encoding, mode)
        except ArgumentError:
            check_values(self.labels, values, syntax)
            raise

    @property
    def labels(self) -> list[str]:
        """The parameters' names in messages, in the order of the slots."""
        return [slot.label for slot in self.slots]

    def text(self, encoding: str) -> Text:
        """Return the SQL in *encoding*."""
        text = self._texts.get(encoding)
        if text is None:
            text = self._texts[encoding] = Text(self.fragments, self.rows, encoding)
        return text

    def decide(self) -> None:
        """Decide, at the first execution that asks, whether it may be prepared."""
        from .preparable import kinds_of  # of which those who never prepare have no need

        self.is_decided = True
        # A user's own functions expect what stands in the rows of text.
        self.kinds = kinds_of(self) if self.converters is None else None

    # -- columns ---------------------------------------------------------------------------------

    def describe(self, raw: bytes, encoding: str) -> Columns:
        """Return the columns of a result whose definitions are *raw*.

        The same bytes mean the same columns, so a repeated query parses no definition.
        """
        if len(raw) > MOST_REMEMBERED:
            return self._result_columns(raw, encoding, False)
        columns = self.text(encoding).columns = self._described(raw, encoding, False)
        return columns

    def describe_binary(self, raw: bytes, encoding: str) -> Columns:
        """Return the columns of a result of the prepared statement, whose definitions are *raw*."""
        if len(raw) > MOST_REMEMBERED:
            return self._result_columns(raw, encoding, True)
        columns = self.text(encoding).binary_columns = self._described(raw, encoding, True)
        return columns

    def _described(self, raw: bytes, encoding: str, binary: bool) -> Columns:
        key = raw, encoding, binary
        columns = self._columns.get(key)
        if columns is None:
            if len(self._columns) >= 16:  # SELECT * of a table that keeps changing
                self._columns.clear()
            columns = self._columns[key] = self._result_columns(raw, encoding, binary)
        return columns

    def _result_columns(self, raw: bytes, encoding: str, binary: bool) -> Columns:
        return result_columns(self.compiled, self.statement, raw, encoding, binary, self.converters)


def _tells_keys(compiled: Any) -> bool:
    if not compiled.isinsert or compiled.compile_state is None:
        return False
    return bool(compiled.implicit_returning) or not compiled.effective_returning


def _taker(keys: Sequence[Any]) -> Callable[[Any], list[Any]] | None:
    """Return a function that lists the items at *keys*; `None` if there are none."""
    if not keys:
        return None
    take = itemgetter(*keys)
    if len(keys) == 1:
        return lambda items: [take(items)]
    return lambda items: list(take(items))


def result_columns(
    compiled: Any,
    statement: Any,
    raw: bytes,
    encoding: str,
    binary: bool = False,
    converters: Converters | None = None,
) -> Columns:
    """Return the columns of a result of *statement*, whose definitions are *raw*."""
    definitions = parse_columns(raw, encoding)
    keys, entries = _match(compiled, definitions)
    conversions = []
    processors = []
    for definition, entry in zip(definitions, entries, strict=True):
        process = None
        if entry is not None:
            process = entry.type._cached_result_processor(compiled.dialect, definition.type_code)
        if converters is None:
            conversion, process = _fuse(definition.conversion, process)
        else:
            conversion, own = converters.reading(definition)
            conversion, process = _fuse(conversion, _after(own, process))
        conversions.append(conversion)
        processors.append(process)
    objects = [() if entry is None else entry.objects for entry in entries]
    metadata = ResultMetaData(keys, objects, statement)
    return Columns(raw, definitions, conversions, processors, encoding, metadata, binary)


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


def _after(own: Any, process: Any) -> Any:
    """Return what calls a user's *own* function first, and *process* with what that returns."""
    if own is None or process is None:
        return own or process
    return lambda value: process(own(value))


def _fuse(conversion: int, process: Any) -> tuple[int, Any]:
    """Return a conversion, and what is left to process, where the decoder can do a part of it."""
    # What SQLAlchemy's Boolean and Numeric(asdecimal=False) have for MySQL.
    if process is int_to_boolean and conversion == INT:
        return BOOL, None
    if process is to_float and conversion in (DECIMAL, FLOAT):
        return DECIMAL_AS_FLOAT if conversion == DECIMAL else FLOAT, None
    return conversion, process
