"""SQLAlchemy statements to plans.

Plans are cached by the statement's structure, so that executing one again means collecting values
and rendering them. The dialect they are compiled with is a copy that knows the server.
"""

from __future__ import annotations

import copy
import inspect
import re
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import Sequence as SequenceGenerator
from sqlalchemy import exc, select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import visitors
from sqlalchemy.sql.base import Executable
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import Delete, Insert, Update, UpdateBase
from sqlalchemy.sql.elements import BindParameter, ClauseElement, ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.lambdas import StatementLambdaElement
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.util import LRUCache, memoized_property

from ..exc import ArgumentError
from ..runtime.printable import brief, type_name
from ..runtime.record import Record
from ..wire.warning import check_warnings
from .plan import HasSchema, Parameters, Plan, Translation, translate_schemas, translation
from .template import counted, listed
from .typekeys import Types

PLANS = 500
"""How many plans are kept for each dialect and kind of server."""

_PLANS_OF_ONE = 16
"""How many plans are kept for one INSERT or UPDATE that writes now these columns, now others."""

_OPTIONS = {
    "insertmanyvalues_page_size",
    "logging_token",
    "no_parameters",
    "preserve_rowcount",
    "schema_translate_map",
    "timeout",
    "warnings",
}
_NOT_A_STATEMENT = "sql statement should be str or SQLAlchemy data selection/modification clause"

Planned = tuple[Plan, "Sequence[Any] | None", "Parameters | None"]
"""A plan, the parameters extracted from the statement, and those that it was executed with."""


class Known:
    """A statement that was executed before, and its plans."""

    __slots__ = ("collected", "extracted", "plans", "statement", "writes")

    def __init__(self, statement: ClauseElement, key: Any) -> None:
        self.statement = statement
        self.writes = writes(statement)
        self.extracted: Sequence[Any] = key.bindparams
        self.collected: Parameters | None = getattr(key, "params", None)
        self.plans: dict[Any, Plan] = {}

    def planned(self, parameters: Parameters | None, many: bool) -> Planned | None:
        """Give what `Planner.plan()` gives, if such an execution has been planned before."""
        plan = self.plans.get(self.place(parameters, many) if self.writes else many)
        if plan is None:
            return None
        if self.collected:
            parameters = _joined(self.collected, parameters)
        return plan, self.extracted, parameters

    def place(self, parameters: Parameters | None, many: bool) -> Any:
        """Give the key in *plans* of an execution: whether many at once, and what it writes."""
        return (many, *parameters) if parameters else many

    def store(self, plan: Plan, parameters: Parameters | None, many: bool) -> None:
        """Keep the plan of an execution."""
        if len(self.plans) >= _PLANS_OF_ONE:
            self.plans.clear()
        self.plans[self.place(parameters, many) if self.writes else many] = plan


class Planner:
    """Makes plans for one dialect and one kind of server, and keeps them."""

    def __init__(self, dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> None:
        self.dialect = _tuned(dialect, server_version, no_backslash_escapes)
        self.no_backslash_escapes = no_backslash_escapes
        # By the statements' identity, so that no cache key has to be built. Threads share it, each
        # with an event loop of its own: what is done to it is one step.
        self._known: OrderedDict[int, Known] = OrderedDict()
        # By what SQLAlchemy keys its compiled cache with, which is too little to tell all types
        # apart: the plans of others than the first are under a longer key.
        self._plans: LRUCache[Any, Any] = LRUCache(PLANS)

    def known(self, statement: Any) -> Known | None:
        """Give what is known of a statement if this very object was executed before."""
        known = self._known.get(id(statement))
        return known if known is not None and known.statement is statement else None

    def plan(
        self,
        statement: ClauseElement,
        parameters: Parameters | None,
        many: bool = False,
        known: Known | None = None,
        session: HasSchema | None = None,
    ) -> Planned:
        """Give the plan of *statement*, the parameters extracted from it, and those to use.

        *parameters* are of the (first) execution; their keys take part in an INSERT or UPDATE.
        *known* is what `known()` gives; *session* is the one that is to execute it.
        """
        planned = None if known is None else known.planned(parameters, many)
        if planned is not None:
            return planned
        translate = statement.get_execution_options().get("schema_translate_map")  # type: ignore[attr-defined]
        translated = translation(translate, session) if translate else None
        seen = "_generate_cache_key" in vars(statement)  # where SQLAlchemy keeps it
        key = statement._generate_cache_key()
        names = _column_names(statement, parameters, key)
        if key is None:
            fresh = self._compile(statement, None, names, many, translate, translated)
            collected = getattr(fresh.compiled, "_collected_params", None)
            return fresh, None, _joined(collected, parameters)
        place: Any = key.key, names, many, translated
        plan: Any = self._plans.get(place)
        if plan is not None and not plan.types.match(statement, key.bindparams):
            place = place, Types(statement, key.bindparams).key
            plan = self._plans.get(place)
        if plan is None:
            plan = self._compile(statement, key, names, many, translate, translated)
            plan.types = Types(statement, key.bindparams)
            self._plans[place] = plan
        if seen and translate is None:  # a map is the user's, who may change it
            self._remember(statement, key, known).store(plan, parameters, many)
        return plan, key.bindparams, _joined(getattr(key, "params", None), parameters)

    def _remember(self, statement: ClauseElement, key: Any, known: Known | None) -> Known:
        if known is None:
            if len(self._known) >= PLANS:
                self._known.popitem(last=False)
            known = self._known[id(statement)] = Known(statement, key)
        return known

    def ddl(self, statement: ExecutableDDLElement, session: HasSchema | None = None) -> str:
        """Give the SQL of a DDL construct."""
        translate = statement.get_execution_options().get("schema_translate_map")
        compiled = statement.compile(dialect=self.dialect, schema_translate_map=translate)
        sql = str(compiled.string)
        translated = translation(translate, session)
        if translated:
            sql = translate_schemas(sql, compiled.preparer, translated)
        return sql.replace("%%", "%")

    def _compile(
        self,
        statement: ClauseElement,
        key: Any,
        names: tuple[str, ...],
        many: bool,
        translate: Mapping[str | None, str | None] | None,
        translated: Translation | None,
    ) -> Plan:
        def compile_it(for_executemany: bool) -> Any:
            return statement.compile(
                dialect=self.dialect,
                cache_key=key,
                column_keys=list(names),
                for_executemany=for_executemany,
                schema_translate_map=translate,
            )

        try:
            compiled = compile_it(many)
        except CompileError as error:
            # A parameter of that name is a column's and a bindparam()'s too.
            words = " ".join(error.args[0].split())
            if "bindparam() name" not in words and not any(repr(name) in words for name in names):
                raise
            raise ArgumentError(words) from error
        if not many and any(_is_expression(column) for column in compiled.insert_prefetch):
            # SQLAlchemy would ask the server for the value first, to know the primary key;
            # compiled for many rows, the expression stands in the INSERT itself.
            compiled = compile_it(True)
        plan = Plan(statement, compiled, key.bindparams if key else None, translated)
        plan.check_names(names)
        return plan


def _is_expression(column: Any) -> bool:
    _, is_scalar, is_callable, _ = column._default_description_tuple
    return not is_scalar and not is_callable


def _joined(collected: Parameters | None, parameters: Parameters | None) -> Parameters | None:
    return {**collected, **(parameters or {})} if collected else parameters


def _column_names(
    statement: ClauseElement, parameters: Parameters | None, key: Any
) -> tuple[str, ...]:
    """Give the names of parameters that an INSERT, UPDATE or DELETE has to take.

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
    if not isinstance(statement, Update) or _own_names(statement, key).isdisjoint(parameters):
        return tuple(parameters)
    own = {
        element.key
        for criterion in statement._where_criteria
        for element in visitors.iterate(criterion)
        if isinstance(element, BindParameter)
    }
    written = tuple(name for name in parameters if name not in own)
    return written if written or _sets_values(statement) else tuple(parameters)


def _sets_values(statement: Update) -> bool:
    """Tell whether an UPDATE has values of its own."""
    return bool(statement._values or getattr(statement, "_ordered_values", None))


def _own_names(statement: ClauseElement, key: Any) -> set[str]:
    """Give the names of a statement's `bindparam()`."""
    if key is not None:
        binds: Iterable[Any] = key.bindparams
    else:
        binds = (e for e in visitors.iterate(statement) if isinstance(e, BindParameter))
    return {bind.key for bind in binds if not bind.unique}


def executable(statement: Any) -> ClauseElement:
    """Give the statement that *statement* stands for; raises `ArgumentError` if it is none."""
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


def resolved(statement: Any) -> Any:
    """Give what a lambda stands for, with what it closed over at first; else the statement."""
    return (
        statement._rec.expected_expr if isinstance(statement, StatementLambdaElement) else statement
    )


def writes(statement: Any) -> bool:
    """Tell whether *statement* is an INSERT, UPDATE or DELETE."""
    return isinstance(resolved(statement), UpdateBase)


def _check_options(options: Mapping[str, Any]) -> None:
    unknown = set(options) - _OPTIONS
    if unknown:
        raise ArgumentError(
            f"execution option {min(unknown)!r} is not supported: there are"
            f" {listed(sorted(_OPTIONS))}"
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


def refuse_empty(statement: ClauseElement) -> None:
    """Raise an `ArgumentError` for an empty list of parameters that says what to write.

    An INSERT would write a row of defaults, an UPDATE what `onupdate` gives into every row. What
    has its values itself, or needs none, is executed once, as without a list.
    """
    statement = resolved(statement)
    if isinstance(statement, Update) and not _sets_values(statement):
        raise ArgumentError("expected parameters with values to set, got an empty list")
    if isinstance(statement, Insert) and not (
        statement._values or statement._multi_values or statement.select is not None
    ):
        raise ArgumentError("expected rows to insert, got an empty list")


def by_name(statement: ClauseElement, group: Any) -> Parameters:
    """Give one execution's parameters by name; positional ones follow the table's columns."""
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


# -- dialects ------------------------------------------------------------------------------------


class _Lesson(Record):
    """Which server a dialect knows, and the attributes that it had before by their names."""

    server_version: str
    before: dict[str, Any]


# The dialect's attributes that hold it and the planners: elsewhere they would keep the dialect in
# memory.
_LESSON = "_aiomysqlx_lesson"
_PLANNERS = "_aiomysqlx_planners"
_Kept = tuple["weakref.ref[Dialect]", dict[tuple[str, bool], Planner]]
_MISSING = object()
# Engines of several threads may share a dialect.
_learning = threading.RLock()


def planner_for(dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> Planner:
    """Give the planner for *dialect* on a server of that version, in that SQL mode."""
    kept: _Kept | None = vars(dialect).get(_PLANNERS)
    if kept is None or kept[0]() is not dialect:  # but one that this is a copy of
        kept = vars(dialect)[_PLANNERS] = weakref.ref(dialect), {}
    planners = kept[1]
    key = server_version, no_backslash_escapes
    planner = planners.get(key)
    if planner is None:
        planner = planners[key] = Planner(dialect, server_version, no_backslash_escapes)
    return planner


def _tuned(dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> Any:
    """Give a copy of *dialect* that knows the server and marks parameters as `_cut` reads them."""
    with _learning:
        tuned = _copied(dialect)
        tuned.statement_compiler = _compiler(tuned.statement_compiler)
        tuned.paramstyle = "pyformat"
        tuned.positional = False
        # As the decoder gives them; SQLAlchemy would have them pass through a float.
        tuned.supports_native_decimal = True
        _teach(tuned, server_version)
        tuned._backslash_escapes = not no_backslash_escapes
    return tuned


def taught(dialect: Dialect, server_version: str) -> Dialect:
    """Return a copy of *dialect* that knows the server, and nothing of another one."""
    with _learning:
        copied: Dialect = _copied(dialect)
        _teach(copied, server_version)
    return copied


def _copied(dialect: Dialect) -> Any:
    copied = copy.copy(dialect)
    _unlearn(copied)
    return copied


def _teach(copied: Any, server_version: str) -> None:
    # These belong to the dialect that they were made for.
    copied.identifier_preparer = copied.preparer(copied)
    copied.type_compiler_instance = copied.type_compiler = copied.type_compiler_cls(copied)
    learn(copied, server_version)


def known_server(dialect: Dialect) -> str | None:
    """Return the version of the server that *dialect* knows, if it knows one."""
    lesson: _Lesson | None = vars(dialect).get(_LESSON)
    return None if lesson is None else lesson.server_version


@cache
def _compiler(compiler: Any) -> type[SQLCompiler]:
    """Give a *compiler* in whose SQL no two parameters have the same name.

    SQLAlchemy 2.0 escapes `a b` and `a.b` alike, to `a_b`, and they get each other's values.
    """
    escapes = {character: chr(0xE000 + ord(character)) for character in "%():.[] ~"}
    return type("_Compiler", (compiler,), {"bindname_escape_characters": escapes})


def learn(dialect: Any, server_version: str) -> None:
    """Set what *dialect* has to know of the server, from the version that its greeting gave.

    What it knew of another server is forgotten: SQLAlchemy sets what a server has, and leaves as it
    is what the server before had.
    """
    with _learning:
        if known_server(dialect) == server_version:
            return
        _unlearn(dialect)
        before = dict(vars(dialect))
        try:
            _learn(dialect, server_version)
        finally:
            changed = {
                name: before.get(name, _MISSING)
                for name, value in vars(dialect).items()
                if value is not before.get(name, _MISSING)
            }
            vars(dialect)[_LESSON] = _Lesson(server_version, changed)


def _unlearn(dialect: Any) -> None:
    """Have *dialect* forget the server, and what SQLAlchemy has worked out from it since."""
    attributes = vars(dialect)
    lesson = attributes.pop(_LESSON, None)
    for name, value in lesson.before.items() if lesson is not None else ():
        if value is _MISSING:
            attributes.pop(name, None)
        else:
            attributes[name] = value
    for name in list(attributes):
        if isinstance(inspect.getattr_static(type(dialect), name, None), memoized_property):
            del attributes[name]


def _parse_version(dialect: Any, server_version: str) -> tuple[int, ...]:
    """Return the numbers of a version, or those of the oldest server that SQLAlchemy is at home on.

    Servers that only speak the protocol have versions of their own.
    """
    # MariaDB's greeting starts with a version for clients that know MySQL only.
    text = re.sub(r"^[^0-9]+", "", server_version.removeprefix("5.5.5-"))
    suffix = "-MariaDB" if "MariaDB" in server_version else ""
    try:
        try:
            version: tuple[int, ...] = dialect._parse_server_version(text)
        except (NotImplementedError, ValueError):  # too old, or a number of thousands of digits
            version = dialect._parse_server_version(_OLDEST[suffix])
    except exc.InvalidRequestError as error:
        raise ArgumentError(f"argument 'dialect' is for another server: {error}") from None
    return version


_OLDEST = {"": "5.7.0", "-MariaDB": "10.2.9-MariaDB"}


def _learn(dialect: Any, server_version: str) -> None:
    version = _parse_version(dialect, server_version)
    dialect.server_version_info = version
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
