"""Plans: compiled statements, ready to take values.

A *plan* is what is left of a statement once SQLAlchemy has compiled it: its SQL cut into fragments
around the parameters, for each parameter where its value comes from, and the columns of its
result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from sqlalchemy import types as sqltypes
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.processors import int_to_boolean, to_float
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BindParameter, ClauseElement

from ..exc import ArgumentError
from ..runtime.printable import type_name
from ..runtime.record import Record
from ..wire._impl import InList, Verbatim, escape, has_lists
from ..wire._packet_py import BOOL, DECIMAL, DECIMAL_AS_FLOAT, FLOAT, INT
from ..wire.charset import encode_sql
from ..wire.columns import MOST_REMEMBERED, Column, Columns, parse_columns
from ..wire.encoders import has_encoder
from . import template
from .keys import Keys
from .literals import Literal, Processor, literal_processor
from .rows import ResultMetaData
from .typekeys import Types

_LISTS = (list, tuple, set, frozenset)
_UNTYPED = (sqltypes.NullType, sqltypes.TupleType)

Parameters = Mapping[str, Any]

# Compiled when they are first used: that takes 0.4 ms, which no import has to wait for.
_MARK = r"%%|%\((?P<name>[^)]+)\)s|__\[POSTCOMPILE_(?P<late>[^\]~]+)(?:~~(?P<wrap>.*?)~~)?\]"

_LATE = r"__\[POSTCOMPILE_([^\]~]+)(?:~~.*?~~)?\]"


class HasSchema(Protocol):
    """A session, of which the current schema is known."""

    @property
    def schema(self) -> str:
        """The current schema."""


Translation = frozenset[tuple[str | None, str | None]]
"""The items of a schema_translate_map."""

_DEFAULT = "\0"  # what stands for the default schema in them
_SCHEMA = r"__\[SCHEMA_([^\]]+)\](\.?)"


class Slot(Record):
    """A parameter's place in the SQL and how its value is found."""

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

    def value(self, parameters: Parameters | None, extracted: Sequence[Any] | None) -> Any:
        """Give the parameter's value, not yet processed by its type."""
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
                f" {template.listed(parameters or ())}"
            )
        return bind.value if bind.callable is None else bind.callable()

    def processed(
        self,
        parameters: Parameters | None,
        extracted: Sequence[Any] | None,
        encoding: str,
        mode: int,
    ) -> Any:
        """Give what `render` takes for the parameter's value."""
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
                self._check_scalars(item if untyped and isinstance(item, _LISTS) else (item,))
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
            raise cannot_send(self, next(v for v in values if isinstance(v, _LISTS)))


Cut = tuple[tuple[str, ...], tuple[Slot, ...]]
"""Fragments of SQL, and the slots between them."""


def cannot_send(slot: Slot, value: Any) -> ArgumentError:
    """Give the error for a value of a type that no literal is known for."""
    return ArgumentError(
        f"parameter {slot.label!r}: cannot send a value of type {type_name(type(value))!r}"
    )


def _shown(item: Any) -> str:
    """Give what an item of a list is, without its values."""
    sized = f" of {len(item)}" if isinstance(item, (tuple, list)) else ""
    return f"a {type_name(type(item))}{sized}"


def _apply(process: Any, value: Any) -> Any:
    return value if process is None else process(value)


def _encoded(value: Any, encoding: str) -> Any:
    """Give *value* as `render` takes it, a tuple's members too."""
    if type(value) is Literal:
        return Verbatim(encode_sql(value, encoding))
    if type(value) is tuple:
        return tuple(_encoded(member, encoding) for member in value)
    return value


def _written(
    cut: Cut,
    parameters: Parameters | None,
    extracted: Sequence[Any] | None,
    encoding: str,
    mode: int,
) -> bytes:
    """Give a piece of SQL with its parameters."""
    fragments, slots = cut
    sql = encode_sql(fragments[0], encoding)
    for slot, fragment in zip(slots, fragments[1:], strict=True):
        value = slot.processed(parameters, extracted, encoding, mode)
        sql += escape(value, encoding, mode) + encode_sql(fragment, encoding)
    return sql


class Rows(NamedTuple):
    """An INSERT's VALUES group: the slots `start` to `stop` and the text between them."""

    start: int
    stop: int
    head: tuple[str, ...]
    group: tuple[str, ...]
    tail: tuple[str, ...]


class Text:
    """A plan's SQL in one encoding, and the columns that its latest result had there."""

    __slots__ = ("columns", "fragments", "group", "head", "tail")

    def __init__(self, fragments: tuple[str, ...], rows: Rows | None, encoding: str) -> None:
        def encoded(texts: tuple[str, ...]) -> tuple[bytes, ...]:
            return tuple(encode_sql(text, encoding) for text in texts)

        self.columns: Columns | None = None
        self.fragments = encoded(fragments)
        if rows is not None:
            self.head, self.group, self.tail = map(encoded, (rows.head, rows.group, rows.tail))


class Plan:
    """A compiled statement, ready to take values."""

    __slots__ = (
        "_columns",
        "_processors",
        "_take",
        "_take_extracted",
        "_taken",
        "_texts",
        "compiled",
        "fragments",
        "keys",
        "names",
        "prefetch",
        "required",
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
        extracted: Sequence[Any] | None,
        translated: Translation | None,
    ) -> None:
        self.statement = statement
        self.compiled = compiled
        sql = compiled.string
        if translated:
            sql = translate_schemas(sql, compiled.preparer, translated)
        self.translated = translated
        self.fragments, self.slots = _cut(sql, compiled, extracted)
        self.sql = re.sub(_LATE, r"%(\1)s", sql, flags=re.DOTALL)
        self.prefetch: tuple[tuple[Any, str, Any], ...] = _prefetch(compiled)
        self.rows = _find_rows(sql, compiled)
        # Whether it gives the rows that it has written.
        self.returning: bool = compiled.effective_returning is not None
        # What is known of the keys that it writes, unless it returns them itself.
        self.keys = Keys(compiled, self.slots) if _tells_keys(compiled) else None
        self._texts: dict[str, Text] = {}
        self._columns: dict[tuple[bytes, str], Columns] = {}
        self.names = frozenset(slot.bind.key for slot in self.slots)
        self.required = frozenset(slot.bind.key for slot in self.slots if slot.bind.required)
        self._taken = self.names.union(slot.name for slot in self.slots).difference(
            name for _, name, _ in self.prefetch
        )
        self._take = self._take_extracted = None
        if not self.prefetch and not any(slot.late for slot in self.slots):
            self._take = _taker([slot.bind.key for slot in self.slots])
            positions = [slot.extracted for slot in self.slots]
            self._take_extracted = _taker(positions) if -1 not in positions else None
        self._processors = [
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
        self,
        parameters: Parameters | None,
        extracted: Sequence[Any] | None,
        encoding: str,
        mode: int,
    ) -> list[Any]:
        """Give the values for the slots, in their order.

        If there is a `prefetch`, *parameters* are what `completed()` gives.
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
            for index, process in self._processors:
                values[index] = process(values[index])
        else:
            values = [slot.processed(parameters, extracted, encoding, mode) for slot in self.slots]
        if has_lists(values):
            self._check_lists(values, mode)
        return values

    def _taken_extracted(self, extracted: Sequence[Any] | None) -> list[Any] | None:
        """Give the values, not yet processed, if all are part of the statement."""
        if self._take_extracted is None or extracted is None:
            return None
        binds = self._take_extracted(extracted)
        values = []
        for bind in binds:
            if bind.required or bind.callable is not None:
                return None
            values.append(bind.value)
        return values

    def _check_lists(self, values: list[Any], mode: int) -> None:
        """Refuse lists but in `text()`, where they stand for `IN`, and those with an encoder.

        Written as `('x')`, a list of one would pass for its element, an empty one for NULL.
        """
        for slot, value in zip(self.slots, values, strict=True):
            if isinstance(slot.bind.type, _UNTYPED) or type(value) is InList:
                continue
            if isinstance(value, _LISTS) and not has_encoder(mode, type(value)):
                raise cannot_send(slot, value)

    def completed(
        self,
        parameters: Parameters | None,
        extracted: Sequence[Any] | None,
        statement: Any,
    ) -> dict[str, Any]:
        """Give the parameters by bind name, with the Python-side defaults of `prefetch`.

        *statement* is the one at hand, whose options a default may ask for.
        """
        options = statement.get_execution_options()
        current = {slot.name: slot.value(parameters, extracted) for slot in self.slots}
        context = None
        for column, name, (arg, is_scalar, is_callable, _) in self.prefetch:
            if is_scalar:
                current[name] = arg
            elif is_callable:
                context = context or _DefaultContext(self.compiled, current, options)
                context.current_column = column
                current[name] = arg(context)
        return current

    # -- text ------------------------------------------------------------------------------------

    def text(self, encoding: str) -> Text:
        """Give the SQL in *encoding*."""
        text = self._texts.get(encoding)
        if text is None:
            text = self._texts[encoding] = Text(self.fragments, self.rows, encoding)
        return text

    # -- columns ---------------------------------------------------------------------------------

    def describe(self, raw: bytes, encoding: str) -> Columns:
        """Give the columns of a result whose definitions are *raw*.

        The same bytes mean the same columns, so a repeated query parses no definition.
        """
        if len(raw) > MOST_REMEMBERED:
            return self._describe(raw, encoding)
        columns = self._columns.get((raw, encoding))
        if columns is None:
            if len(self._columns) >= 16:  # SELECT * of a table that keeps changing
                self._columns.clear()
            columns = self._columns[raw, encoding] = self._describe(raw, encoding)
        self.text(encoding).columns = columns
        return columns

    def _describe(self, raw: bytes, encoding: str) -> Columns:
        definitions = parse_columns(raw, encoding)
        keys, entries = _match(self.compiled, definitions)
        conversions = []
        processors = []
        for definition, entry in zip(definitions, entries, strict=True):
            process = None
            if entry is not None:
                process = entry.type._cached_result_processor(
                    self.compiled.dialect, definition.type_code
                )
            conversion, process = _fuse(definition.conversion, process)
            conversions.append(conversion)
            processors.append(process)
        objects = [() if entry is None else entry.objects for entry in entries]
        metadata = ResultMetaData(keys, objects, self.statement)
        return Columns(raw, definitions, conversions, processors, encoding, metadata)


def _tells_keys(compiled: Any) -> bool:
    if not compiled.isinsert or compiled.compile_state is None:
        return False
    return bool(compiled.implicit_returning) or not compiled.effective_returning


def _taker(keys: Sequence[Any]) -> Callable[[Any], list[Any]] | None:
    """Give a function that takes the items at *keys*; `None` if there are none."""
    if not keys:
        return None
    take = itemgetter(*keys)
    if len(keys) == 1:
        return lambda items: [take(items)]
    return lambda items: list(take(items))


class _DefaultContext(DefaultExecutionContext):
    """What a context-sensitive default is called with."""

    def __init__(
        self, compiled: SQLCompiler, parameters: dict[str, Any], options: Mapping[str, Any]
    ) -> None:
        self.current_parameters = parameters
        self.compiled = compiled
        self.dialect = compiled.dialect
        self.isinsert = compiled.isinsert
        self.isupdate = compiled.isupdate
        self.isdelete = compiled.isdelete
        self.statement = compiled.string
        self.execution_options = options  # type: ignore[assignment]  # a mapping will do


def translation(
    schema_translate_map: Mapping[str | None, str | None] | None, session: HasSchema | None
) -> Translation | None:
    """Give a map as it stands, with the default schema if that is mapped to; `None` if empty."""
    if not schema_translate_map:
        return None
    items = frozenset(schema_translate_map.items())
    if all(schema_translate_map.values()):
        return items
    return items | {(_DEFAULT, session.schema if session is not None else None)}


def translate_schemas(sql: str, preparer: Any, translated: Translation) -> str:
    """Write the schemas of a map in compiled SQL.

    The default one is left out, which is right also where the server does not tell of a `USE`;
    but not beside others, whose tables may have the same names.
    """
    schemas = dict(translated)

    def effective(name: str) -> str | None:
        key = None if name == "_none" else name
        return schemas.get(key, key)

    alone = not any(effective(match[1]) for match in re.finditer(_SCHEMA, sql))
    default = None if alone else schemas.get(_DEFAULT)

    def schema(match: re.Match[str]) -> str:
        name = effective(match[1]) or default
        return preparer.quote_schema(name) + match[2] if name else ""

    return re.sub(_SCHEMA, schema, sql)


def _prefetch(compiled: Any) -> tuple[tuple[Any, str, Any], ...]:
    name_of = (
        compiled._within_exec_param_key_getter if compiled.isinsert or compiled.isupdate else None
    )
    if name_of is None:
        return ()
    inserted = [(c, name_of(c), c._default_description_tuple) for c in compiled.insert_prefetch]
    updated = [(c, name_of(c), c._onupdate_description_tuple) for c in compiled.update_prefetch]
    return tuple(inserted + updated)


def _cut(sql: str, compiled: Any, extracted: Sequence[Any] | None) -> Cut:
    """Cut compiled SQL into the fragments around its parameters, and the parameters' slots."""
    names = {escaped: name for name, escaped in (compiled.escaped_bind_names or {}).items()}
    positions = _extracted_positions(compiled, extracted)
    fragments: list[str] = []
    slots: list[Slot] = []
    text = ""
    start = 0
    for match in re.finditer(_MARK, sql, re.DOTALL):
        text += sql[start : match.start()]
        start = match.end()
        if match.group() == "%%":
            text += "%"
            continue
        found: str = match.group("name") or match.group("late")
        name = names.get(found, found)
        if name not in compiled.binds:
            text += match.group()
            continue
        bind = compiled.binds[name]
        is_late = match.group("late") is not None
        literal = bind in compiled.literal_execute_params
        wrap = match.group("wrap")
        slots.append(
            Slot(
                name,
                bind,
                positions.get(bind, -1),
                _processor(compiled, name, literal),
                is_late,
                literal,
                _wrap(wrap, compiled, extracted) if wrap is not None else None,
                _empty_set(compiled, bind) if is_late and bind.expanding else "",
            )
        )
        fragments.append(text)
        text = ""
    fragments.append(text + sql[start:])
    return tuple(fragments), tuple(slots)


def _processor(compiled: Any, name: str, literal: bool) -> Any:
    """Give what a parameter's type does to its values; a sequence of these for a tuple's type."""
    if not literal:
        return compiled._bind_processors.get(name)
    type_ = compiled.binds[name].type
    if isinstance(type_, sqltypes.TupleType):
        return [literal_processor(compiled, member) for member in type_.types]
    return literal_processor(compiled, type_)


def _extracted_positions(
    compiled: Any, extracted: Sequence[Any] | None
) -> dict[BindParameter[Any], int]:
    if extracted is None:
        return {}
    by_original = compiled._cache_key_bind_match[0]
    return {
        bind: position
        for position, original in enumerate(extracted)
        for bind in by_original.get(original, ())
    }


def _wrap(text: str, compiled: Any, extracted: Sequence[Any] | None) -> tuple[Cut, Cut]:
    left, _, right = text.partition("~~REPL~~")
    return _cut(left, compiled, extracted), _cut(right, compiled, extracted)


def _empty_set(compiled: Any, bind: BindParameter[Any]) -> str:
    types = bind.type.types if isinstance(bind.type, sqltypes.TupleType) else [bind.type]
    empty: str = compiled.visit_empty_set_op_expr(types, bind.expand_op)
    return empty.replace("%%", "%")


def _find_rows(sql: str, compiled: Any) -> Rows | None:
    if not compiled.isinsert or compiled.compile_state is None:
        return None
    statement = compiled.compile_state.statement
    if statement.select is not None or compiled.compile_state._has_multi_parameters:
        return None
    span = template.find_values(sql)
    if span is None:
        return None
    head, group, tail = sql[: span[0]], sql[span[0] : span[1]], sql[span[1] :]
    parts = [_cut(text, compiled, None) for text in (head, group, tail)]
    start = len(parts[0][1])
    return Rows(start, start + len(parts[1][1]), *(fragments for fragments, _ in parts))


# -- result columns ------------------------------------------------------------------------------


def _match(compiled: Any, definitions: list[Column]) -> tuple[list[str], list[Any]]:
    """Give the columns' keys and SQLAlchemy's result entry of each, `None` where it knows of none.

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
    """Give result entries by their names; if *loose*, by all the names that their columns have."""
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


# What SQLAlchemy's Boolean and Numeric(asdecimal=False) have for MySQL.
_TO_BOOL: Processor = int_to_boolean
_TO_FLOAT: Processor = to_float


def _fuse(conversion: int, process: Processor | None) -> tuple[int, Processor | None]:
    """Let the decoder do what a result processor would, where it can."""
    if process is None:
        return conversion, None
    if process is _TO_BOOL and conversion == INT:
        return BOOL, None
    if process is _TO_FLOAT and conversion == DECIMAL:
        return DECIMAL_AS_FLOAT, None
    if process is _TO_FLOAT and conversion == FLOAT:
        return FLOAT, None
    return conversion, process
