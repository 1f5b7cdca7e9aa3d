"""SQLAlchemy statements to plans, and plans and parameters to values.

A *plan* is what is left of a statement once it has been compiled: its SQL cut into fragments
around the parameters, and for each parameter where its value comes from. Plans are cached by the
statement's structure, so that executing one again means collecting values and rendering them.
"""

from __future__ import annotations

import copy
import re
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Sequence as SequenceGenerator
from sqlalchemy import select
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects import mysql
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Delete, Insert, Update, UpdateBase
from sqlalchemy.sql.elements import BindParameter, ClauseElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.util import LRUCache

from . import template
from ._impl import InList, Verbatim, escape
from ._packet_py import BOOL, DECIMAL, DECIMAL_AS_FLOAT, FLOAT, INT
from .arguments import encode_sql
from .exc import ArgumentError
from .protocol import Column, Columns, parse_columns
from .result import ResultMetaData

PLANS = 500
"""How many plans are kept for each dialect and kind of server."""

_SEQUENCES = frozenset((list, tuple, set, frozenset))
_UNTYPED = (sqltypes.NullType, sqltypes.TupleType)

Parameters = Mapping[str, Any]
Processor = Callable[[Any], Any]

_MARK = re.compile(
    r"%%|%\((?P<name>[^)]+)\)s|__\[POSTCOMPILE_(?P<late>[^\]~]+)(?:~~(?P<wrap>.*?)~~)?\]", re.DOTALL
)
_OPTIONS = {"schema_translate_map", "no_parameters", "preserve_rowcount"}
_OPTIONS |= {"insertmanyvalues_page_size", "logging_token"}
_NOT_A_STATEMENT = "sql statement should be str or SQLAlchemy data selection/modification clause"


class Slot(NamedTuple):
    """A parameter's place in the SQL and how its value is found."""

    name: str
    bind: BindParameter[Any]
    extracted: int
    """Index into the parameters extracted from the statement at hand; -1 if it is not of those."""
    process: Processor | None
    late: bool
    """Whether SQLAlchemy expands or renders it after compiling: `IN` lists, literals."""
    wrap: tuple[str, str] | None
    """SQL around each element of an expanding parameter, from its type's `bind_expression()`."""
    empty: str
    """What stands for an expanding parameter without elements."""

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
            raise ArgumentError(f"A value is required for bind parameter {self.bind.key!r}")
        return bind.value if bind.callable is None else bind.callable()

    def processed(self, value: Any, encoding: str, no_backslash_escapes: bool) -> Any:
        """Give what `render` takes for *value*."""
        if not self.late or not self.bind.expanding:
            return value if self.process is None else self.process(value)
        items = self._elements(value)
        if not items:
            return Verbatim(encode_sql(self.empty, encoding))
        if self.wrap is None:
            return InList(items)
        left, right = (encode_sql(text, encoding) for text in self.wrap)
        literals = (escape(item, encoding, no_backslash_escapes) for item in items)
        return Verbatim(b", ".join(left + literal + right for literal in literals))

    def _elements(self, value: Any) -> list[Any]:
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise ArgumentError(
                f"parameter {self.bind.key!r} takes a list, got {type(value).__name__}"
            )
        process = self.process
        if process is None:
            return list(value)
        if isinstance(process, tuple):
            return [tuple(map(_apply, process, item)) for item in value]
        return [process(item) for item in value]


def _apply(process: Processor | None, value: Any) -> Any:
    return value if process is None else process(value)


class Rows(NamedTuple):
    """An INSERT's VALUES group: the slots `start` to `stop` and the text between them."""

    start: int
    stop: int
    head: tuple[str, ...]
    group: tuple[str, ...]
    tail: tuple[str, ...]


class Plan:
    """A compiled statement, ready to take values."""

    __slots__ = (
        "_columns",
        "_encoded",
        "_processors",
        "_take",
        "compiled",
        "fragments",
        "names",
        "prefetch",
        "rows",
        "slots",
        "sql",
        "statement",
    )

    def __init__(
        self,
        statement: ClauseElement,
        compiled: Any,
        extracted: Sequence[Any] | None,
        schema_translate_map: Mapping[str | None, str | None] | None,
    ) -> None:
        self.statement = statement
        self.compiled = compiled
        sql = compiled.string
        if schema_translate_map:
            sql = compiled.preparer._render_schema_translates(sql, dict(schema_translate_map))
        self.fragments, self.slots = _cut(sql, compiled, extracted)
        self.sql = sql
        self.prefetch: tuple[tuple[Any, str, Any], ...] = _prefetch(compiled)
        self.rows = _find_rows(sql, compiled)
        self._encoded: dict[tuple[str, str], Any] = {}
        self._columns: dict[tuple[bytes, str], Columns] = {}
        self.names = frozenset(slot.bind.key for slot in self.slots)
        simple = not self.prefetch and not any(slot.late for slot in self.slots)
        self._take = _taker([slot.bind.key for slot in self.slots]) if simple else None
        self._processors = [
            (index, slot.process) for index, slot in enumerate(self.slots) if slot.process
        ]

    # -- values ----------------------------------------------------------------------------------

    def values(
        self,
        parameters: Parameters | None,
        extracted: Sequence[Any] | None,
        encoding: str,
        no_backslash_escapes: bool,
    ) -> list[Any]:
        """Give the values for the slots, in their order."""
        if self._take is not None and type(parameters) is dict:
            try:
                values = self._take(parameters)
            except KeyError:  # one is part of the statement, or missing
                pass
            else:
                for index, process in self._processors:
                    values[index] = process(values[index])
                return self._checked(values)
        if self.prefetch:
            parameters = self._with_defaults(parameters, extracted)
        return self._checked(
            [
                slot.processed(slot.value(parameters, extracted), encoding, no_backslash_escapes)
                for slot in self.slots
            ]
        )

    def _checked(self, values: list[Any]) -> list[Any]:
        """Give *values*, if no list is among them but in `text()`, where it stands for `IN`.

        Written as `('x')`, a list of one would pass for its element, an empty one for NULL.
        """
        if not _SEQUENCES.isdisjoint(map(type, values)):
            for slot, value in zip(self.slots, values, strict=True):
                if type(value) in _SEQUENCES and not isinstance(slot.bind.type, _UNTYPED):
                    raise ArgumentError(
                        f"parameter {slot.bind.key!r}:"
                        f" cannot send a value of type {type(value).__name__!r}"
                    )
        return values

    def _with_defaults(
        self, parameters: Parameters | None, extracted: Sequence[Any] | None
    ) -> dict[str, Any]:
        """Give the parameters by bind name, Python-side defaults included."""
        current = {slot.name: slot.value(parameters, extracted) for slot in self.slots}
        context = None
        for column, name, (arg, is_scalar, is_callable, _) in self.prefetch:
            if is_scalar:
                current[name] = arg
            elif is_callable:
                context = context or _DefaultContext(self.compiled, current)
                context.current_column = column
                current[name] = arg(context)
        return current

    # -- text ------------------------------------------------------------------------------------

    def encoded(self, encoding: str) -> tuple[bytes, ...]:
        """Give the fragments in *encoding*."""
        return self._encode("sql", self.fragments, encoding)

    def encoded_rows(
        self, encoding: str
    ) -> tuple[tuple[bytes, ...], tuple[bytes, ...], tuple[bytes, ...]]:
        """Give the fragments before, in and after the VALUES group in *encoding*."""
        assert self.rows is not None
        return (
            self._encode("head", self.rows.head, encoding),
            self._encode("group", self.rows.group, encoding),
            self._encode("tail", self.rows.tail, encoding),
        )

    def _encode(self, part: str, fragments: tuple[str, ...], encoding: str) -> tuple[bytes, ...]:
        encoded = self._encoded.get((part, encoding))
        if encoded is None:
            encoded = tuple(encode_sql(text, encoding) for text in fragments)
            self._encoded[part, encoding] = encoded
        return encoded

    # -- columns ---------------------------------------------------------------------------------

    def describe(self, raw: bytes, encoding: str) -> Columns:
        """Give the columns of a result whose definitions are *raw*.

        The same bytes mean the same columns, so a repeated query parses no definition.
        """
        columns = self._columns.get((raw, encoding))
        if columns is None:
            if len(self._columns) >= 16:  # SELECT * of a table that keeps changing
                self._columns.clear()
            columns = self._columns[raw, encoding] = self._describe(raw, encoding)
        return columns

    def _describe(self, raw: bytes, encoding: str) -> Columns:
        definitions = parse_columns(raw, encoding)
        entries = _match(self.compiled, definitions)
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
        keys = [
            definition.name if entry is None else entry.keyname
            for definition, entry in zip(definitions, entries, strict=True)
        ]
        objects = [() if entry is None else entry.objects for entry in entries]
        metadata = ResultMetaData(keys, objects, self.statement)
        return Columns(definitions, conversions, processors, encoding, metadata)


def _taker(names: list[str]) -> Callable[[dict[str, Any]], list[Any]] | None:
    """Give a function that takes *names* out of a dictionary; `None` if there are none."""
    if not names:
        return None
    take = itemgetter(*names)
    if len(names) == 1:
        return lambda parameters: [take(parameters)]
    return lambda parameters: list(take(parameters))


class _DefaultContext(DefaultExecutionContext):
    """What a context-sensitive default is called with."""

    def __init__(self, compiled: SQLCompiler, parameters: dict[str, Any]) -> None:
        self.current_parameters = parameters
        self.compiled = compiled
        self.dialect = compiled.dialect
        self.isinsert = compiled.isinsert
        self.isupdate = compiled.isupdate
        self.isdelete = compiled.isdelete
        self.statement = compiled.string
        self.execution_options = compiled.execution_options


def _prefetch(compiled: Any) -> tuple[tuple[Any, str, Any], ...]:
    name_of = (
        compiled._within_exec_param_key_getter if compiled.isinsert or compiled.isupdate else None
    )
    if name_of is None:
        return ()
    inserted = [(c, name_of(c), c._default_description_tuple) for c in compiled.insert_prefetch]
    updated = [(c, name_of(c), c._onupdate_description_tuple) for c in compiled.update_prefetch]
    return tuple(inserted + updated)


def _cut(
    sql: str, compiled: Any, extracted: Sequence[Any] | None
) -> tuple[tuple[str, ...], tuple[Slot, ...]]:
    """Cut compiled SQL into the fragments around its parameters, and the parameters' slots."""
    names = {escaped: name for name, escaped in (compiled.escaped_bind_names or {}).items()}
    late = compiled.post_compile_params | compiled.literal_execute_params
    positions = _extracted_positions(compiled, extracted)
    fragments: list[str] = []
    slots: list[Slot] = []
    text = ""
    start = 0
    for match in _MARK.finditer(sql):
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
        is_late = bind in late
        slots.append(
            Slot(
                name,
                bind,
                positions.get(bind, -1),
                compiled._bind_processors.get(name),
                is_late,
                _wrap(match.group("wrap")),
                _empty_set(compiled, bind) if is_late and bind.expanding else "",
            )
        )
        fragments.append(text)
        text = ""
    fragments.append(text + sql[start:])
    return tuple(fragments), tuple(slots)


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


def _wrap(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    left, _, right = text.partition("~~REPL~~")
    return left.replace("%%", "%"), right.replace("%%", "%")


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


def _match(compiled: Any, definitions: list[Column]) -> list[Any]:
    """Give SQLAlchemy's result entry of each column, `None` where it knows of none."""
    entries = compiled._result_columns
    by_position = len(entries) == len(definitions) and (
        (compiled._ordered_columns and not compiled._textual_ordered_columns)
        or compiled._ad_hoc_textual
    )
    if by_position or compiled._textual_ordered_columns:
        missing = max(0, len(definitions) - len(entries))
        return [*entries[: len(definitions)], *[None] * missing]
    by_name = {entry.keyname: entry for entry in entries}
    return [by_name.get(definition.name) for definition in definitions]


def _result_processor(type_: Any) -> Processor:
    process: Processor = type_.result_processor(mysql.dialect(), None)
    return process


_TO_BOOL = _result_processor(sqltypes.Boolean())
_TO_FLOAT = _result_processor(sqltypes.Numeric(asdecimal=False))


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


_LOOSE = object()
"""Stands for the plans of statements alike but for what SQLAlchemy's cache key leaves out."""

# -- planning ------------------------------------------------------------------------------------


class Planner:
    """Makes plans for one dialect and one kind of server, and keeps them."""

    def __init__(self, dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> None:
        self.dialect = _tuned(dialect, server_version, no_backslash_escapes)
        # By what SQLAlchemy keys its compiled cache with. Where that leaves out something that the
        # plan depends on, `_LOOSE` is kept in its place, and the plan under a longer key.
        self._plans: LRUCache[Any, Any] = LRUCache(PLANS)

    def plan(
        self,
        statement: ClauseElement,
        parameters: Parameters | None,
        many: bool = False,
    ) -> tuple[Plan, Sequence[Any] | None, Parameters | None]:
        """Give the plan of *statement*, the parameters extracted from it, and those to use.

        *parameters* are of the (first) execution; their keys take part in an INSERT or UPDATE.
        """
        translate = statement.get_execution_options().get("schema_translate_map")  # type: ignore[attr-defined]
        key = statement._generate_cache_key()
        names = _column_names(statement, parameters, key)
        if key is None:
            fresh = self._compile(statement, None, names, many, translate)
            collected = getattr(fresh.compiled, "_collected_params", None)
            return fresh, None, _joined(collected, parameters)
        place: Any = key.key, names, many, frozenset(translate.items()) if translate else None
        plan: Any = self._plans.get(place)
        if plan is _LOOSE:
            place = place, _loose_types(statement)
            plan = self._plans.get(place)
        if plan is None:
            plan = self._compile(statement, key, names, many, translate)
            loose = _loose_types(statement)
            if loose and len(place) == 4:
                self._plans[place] = _LOOSE
                place = place, loose
            self._plans[place] = plan
        return plan, key.bindparams, _joined(getattr(key, "params", None), parameters)

    def ddl(self, statement: ExecutableDDLElement) -> str:
        """Give the SQL of a DDL construct."""
        translate = statement.get_execution_options().get("schema_translate_map")
        compiled = statement.compile(dialect=self.dialect, schema_translate_map=translate)
        sql = str(compiled.string)
        if translate:
            sql = compiled.preparer._render_schema_translates(sql, translate)
        return sql.replace("%%", "%")

    def _compile(
        self,
        statement: ClauseElement,
        key: Any,
        names: tuple[str, ...],
        many: bool,
        translate: Mapping[str | None, str | None] | None,
    ) -> Plan:
        def compile_it(for_executemany: bool) -> Any:
            return statement.compile(
                dialect=self.dialect,
                cache_key=key,
                column_keys=list(names),
                for_executemany=for_executemany,
                schema_translate_map=translate,
            )

        compiled = compile_it(many)
        if not many and any(_is_expression(column) for column in compiled.insert_prefetch):
            # SQLAlchemy would ask the server for the value first, to know the primary key;
            # compiled for many rows, the expression stands in the INSERT itself.
            compiled = compile_it(True)
        return Plan(statement, compiled, key.bindparams if key else None, translate)


def _is_expression(column: Any) -> bool:
    _, is_scalar, is_callable, _ = column._default_description_tuple
    return not is_scalar and not is_callable


def _joined(collected: Parameters | None, parameters: Parameters | None) -> Parameters | None:
    return {**collected, **(parameters or {})} if collected else parameters


def _column_names(
    statement: ClauseElement, parameters: Parameters | None, key: Any
) -> tuple[str, ...]:
    """Give the names of parameters that are columns to write, in an INSERT or UPDATE.

    A parameter of the statement's own, as in `where(c.id == bindparam("id"))`, is none of them.
    """
    if not parameters or not isinstance(statement, UpdateBase):
        return ()
    if key is not None:
        binds: Iterable[Any] = key.bindparams
    else:
        binds = (e for e in visitors.iterate(statement) if isinstance(e, BindParameter))
    own = {bind.key for bind in binds if not bind.unique}
    for name in parameters:
        if not isinstance(name, str):
            raise ArgumentError(f"expected a parameter's name as str, got {name!r}")
    return tuple(name for name in parameters if name not in own)


def _loose_types(statement: ClauseElement) -> tuple[Any, ...]:
    """Give what SQLAlchemy's cache key leaves out of the types in *statement*.

    Enum and SET are keyed without their members, so that statements alike but for those would
    take each other's processors. A table's own columns are safe: their table is in the key.
    """
    found: list[Any] = []
    for element in visitors.iterate(statement):
        type_ = getattr(element, "type", None)
        if isinstance(type_, sqltypes.TypeDecorator):
            type_ = type_.impl_instance
        if isinstance(type_, (sqltypes.Enum, mysql.SET)):
            found.append(_members(type_))
        elif isinstance(type_, sqltypes.TupleType):
            found.extend(_members(t) for t in type_.types if isinstance(t, sqltypes.Enum))
    return tuple(found)


def _members(type_: Any) -> tuple[Any, ...]:
    return (
        type(type_),
        tuple(getattr(type_, "enums", getattr(type_, "values", ()))),
        getattr(type_, "enum_class", None),
        getattr(type_, "values_callable", None),
        getattr(type_, "retrieve_as_bitwise", None),
        getattr(type_, "_omit_aliases", None),
        getattr(type_, "validate_strings", None),
    )


def executable(statement: Any) -> ClauseElement:
    """Give the statement that *statement* stands for; raises `ArgumentError` if it is none."""
    if isinstance(statement, FunctionElement):
        return statement.select()
    if isinstance(statement, SequenceGenerator):
        return select(statement.next_value())
    if not isinstance(statement, Executable) or not isinstance(statement, ClauseElement):
        raise ArgumentError(f"{_NOT_A_STATEMENT}, got {type(statement).__name__}")
    options = statement.get_execution_options()
    if options:
        _check_options(options)
    return statement


def _check_options(options: Mapping[str, Any]) -> None:
    unknown = set(options) - _OPTIONS
    if unknown:
        raise ArgumentError(f"execution option {min(unknown)!r} is not supported")
    translate = options.get("schema_translate_map")
    if translate is not None and not isinstance(translate, Mapping):
        raise ArgumentError(f"schema_translate_map: expected a dictionary, got {translate!r}")
    size = options.get("insertmanyvalues_page_size")
    if size is not None and (not isinstance(size, int) or size < 1):
        raise ArgumentError(f"insertmanyvalues_page_size: expected a positive int, got {size!r}")


def refuse_no_rows(statement: ClauseElement) -> None:
    """Raise an `ArgumentError` for an INSERT of an empty list of rows: it would write one."""
    if isinstance(statement, Insert) and not (
        statement._values or statement._multi_values or statement.select is not None
    ):
        raise ArgumentError("expected rows to insert, got an empty list")


def by_name(statement: ClauseElement, group: Any) -> Parameters:
    """Give one execution's parameters by name; positional ones follow the table's columns."""
    if isinstance(group, Mapping):
        return group
    if hasattr(group, "keys"):
        return dict(group)
    if isinstance(group, (str, bytes)) or not isinstance(group, Iterable):
        raise ArgumentError(
            f"expected a dictionary or a sequence of parameters, got {type(group).__name__}"
        )
    if not isinstance(statement, (Insert, Update)):
        clause = "DELETE" if isinstance(statement, Delete) else "SELECT"
        raise ArgumentError(f"Don't mix sqlalchemy {clause} clause with positional parameters")
    columns = list(statement.table.c)
    values = list(group)
    if len(values) > len(columns):
        raise ArgumentError(f"expected at most {len(columns)} parameters, got {len(values)}")
    return {column.key: value for column, value in zip(columns, values, strict=False)}


# -- dialects ------------------------------------------------------------------------------------

_planners: weakref.WeakKeyDictionary[Dialect, dict[tuple[str, bool], Planner]]
_planners = weakref.WeakKeyDictionary()


def planner_for(dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> Planner:
    """Give the planner for *dialect* on a server of that version, in that SQL mode."""
    planners = _planners.setdefault(dialect, {})
    key = server_version, no_backslash_escapes
    planner = planners.get(key)
    if planner is None:
        planner = planners[key] = Planner(dialect, server_version, no_backslash_escapes)
    return planner


def _tuned(dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> Any:
    """Give a copy of *dialect* that knows the server and marks parameters as `_cut` reads them."""
    tuned: Any = copy.copy(dialect)
    for memo in ("_type_memos", "insert_executemany_returning"):
        tuned.__dict__.pop(memo, None)
    tuned.statement_compiler = _compiler(tuned.statement_compiler)
    tuned.paramstyle = "pyformat"
    tuned.positional = False
    learn(tuned, server_version)
    tuned._backslash_escapes = not no_backslash_escapes
    tuned.identifier_preparer = tuned.preparer(tuned)
    tuned.type_compiler_instance = tuned.type_compiler = tuned.type_compiler_cls(tuned)
    return tuned


@cache
def _compiler(compiler: Any) -> type[SQLCompiler]:
    """Give a *compiler* in whose SQL no two parameters have the same name.

    SQLAlchemy 2.0 escapes `a b` and `a.b` alike, to `a_b`, and they get each other's values.
    """
    escapes = {character: chr(0xE000 + ord(character)) for character in "%():.[] ~"}
    return type("_Compiler", (compiler,), {"bindname_escape_characters": escapes})


def learn(dialect: Any, server_version: str) -> None:
    """Set what *dialect* has to know of the server, from the version that its greeting gave."""
    # MariaDB's greeting starts with a version for clients that know MySQL only.
    server_version = server_version.removeprefix("5.5.5-")
    dialect.server_version_info = version = dialect._parse_server_version(server_version)
    if hasattr(dialect, "_dispatch_for_vendor"):  # SQLAlchemy 2.1
        dialect._casing = 0
        dialect._dispatch_for_vendor(dialect._initialize_mysql, dialect._initialize_mariadb, None)
        return
    mariadb = dialect.is_mariadb
    dialect.supports_sequences = mariadb and version >= (10, 3)
    dialect.supports_for_update_of = not mariadb and version >= (8,)
    dialect.use_mysql_for_share = not mariadb and version >= (8, 0, 1)
    dialect.delete_returning = mariadb and version >= (10, 0, 5)
    dialect.insert_returning = mariadb and version >= (10, 5)
    dialect._requires_alias_for_on_duplicate_key = not mariadb and version >= (8, 0, 20)
    dialect._warn_for_known_db_issues()
