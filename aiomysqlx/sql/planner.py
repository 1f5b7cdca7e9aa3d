"""SQLAlchemy statements to plans.

Plans are cached by the statement's structure, so that executing one again means collecting values
and rendering them. The dialect they are compiled with is a copy that knows the server.
"""

from __future__ import annotations

import re
import weakref
from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from typing import Any

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.util import LRUCache

from ..exc import ArgumentError
from ..wire.columns import Converters
from ..wire.session import Session
from .plan import Plan, Translation
from .server import tuned
from .shapes import Recent, shape_of
from .slots import Extracted, Parameters
from .statements import column_names, writes
from .typekeys import Types

PLANS = 500
"""How many plans are kept for each dialect and kind of server."""

_PLANS_OF_ONE = 16
"""How many plans are kept for one INSERT or UPDATE that writes now these columns, now others."""

Planned = tuple[Plan, Extracted, "Parameters | None"]
"""A plan, the parameters extracted from the statement, and those that it was executed with."""

# The attribute of a dialect that holds its planners: elsewhere they would keep it in memory.
_PLANNERS = "_aiomysqlx_planners"
_Kept = tuple["weakref.ref[Dialect]", dict[tuple[str, bool, Converters | None], "Planner"]]

_DEFAULT = "\0"  # what stands for the default schema in a `Translation`
_SCHEMA = r"__\[SCHEMA_([^\]]+)\](\.?)"


class Known:
    """A statement that was executed before, and its plans."""

    __slots__ = ("collected", "extracted", "plans", "statement", "writes")

    def __init__(
        self, statement: ClauseElement, extracted: Sequence[Any], collected: Parameters | None
    ) -> None:
        self.statement: ClauseElement = statement
        self.writes: bool = writes(statement)
        self.extracted: Sequence[Any] = extracted
        self.collected: Parameters | None = collected
        # By whether they are of many executions at once, and by what they write.
        self.plans: dict[Any, Plan] = {}

    def planned(self, parameters: Parameters | None, many: bool) -> Planned | None:
        """Return what `Planner.plan()` returns, if such an execution has been planned before."""
        plan = self.plans.get((many, *parameters) if self.writes and parameters else many)
        if plan is None:
            return None
        if self.collected:
            parameters = _joined(self.collected, parameters)
        return plan, self.extracted, parameters

    def store(self, plan: Plan, parameters: Parameters | None, many: bool) -> None:
        """Keep the plan of an execution."""
        if len(self.plans) >= _PLANS_OF_ONE:
            self.plans.clear()
        self.plans[(many, *parameters) if self.writes and parameters else many] = plan


class Planner:
    """Makes plans for one dialect and one kind of server, and keeps them."""

    def __init__(
        self,
        dialect: Dialect,
        server_version: str,
        no_backslash_escapes: bool,
        converters: Converters | None = None,
    ) -> None:
        self.dialect: Any = tuned(dialect, server_version, no_backslash_escapes)
        self.no_backslash_escapes = no_backslash_escapes
        self._converters = converters
        # By the statements' identity, so that no cache key has to be built. Threads share it, each
        # with an event loop of its own: what is done to it is one step.
        self._known: OrderedDict[int, Known] = OrderedDict()
        # By what SQLAlchemy keys its compiled cache with, which is too little to tell all types
        # apart: the plans of others than the first are under a longer key.
        self._plans: LRUCache[Any, Any] = LRUCache(PLANS)
        # By the statements' shapes, which are exact: what is built anew costs no key that way.
        self._shapes: Recent[Plan] = Recent(PLANS)
        self._seen: OrderedDict[int, weakref.ref[ClauseElement]] = OrderedDict()

    def known(self, statement: Any) -> Known | None:
        """Return what is known of a statement if this very object was executed before."""
        return self._look_up(statement)

    def _look_up(self, statement: Any) -> Known | None:
        known = self._known.get(id(statement))
        return known if known is not None and known.statement is statement else None

    def plan(
        self,
        statement: ClauseElement,
        parameters: Parameters | None,
        many: bool = False,
        known: Known | None = None,
        session: Session | None = None,
    ) -> Planned:
        """Return the plan of *statement*, the parameters extracted from it, and those to use.

        *parameters* are of the (first) execution; their keys take part in an INSERT or UPDATE.
        *known* is what `known()` returns; *session* is the one that is to execute it.
        """
        planned = None if known is None else known.planned(parameters, many)
        if planned is not None:
            return planned
        # SQLAlchemy keeps its key there: this is not the first time.
        shape = None if "_generate_cache_key" in vars(statement) else shape_of(statement)
        if shape is None:
            return self._plan_by_key(statement, parameters, many, known, session)
        place, binds = shape
        place.append(many)
        if parameters:
            place.extend(column_names(statement, parameters, binds))
        plan = self._shapes.get(tuple(place))
        if plan is None:
            planned = self._plan_by_key(statement, parameters, many, known, session)
            if planned[1] is not None and list(map(id, planned[1])) == list(map(id, binds)):
                self._shapes.put(tuple(place), planned[0])
            return planned
        if self._was_seen(statement):
            self._remember(statement, binds, None, known).store(plan, parameters, many)
        return plan, binds, parameters

    def _plan_by_key(
        self,
        statement: ClauseElement,
        parameters: Parameters | None,
        many: bool,
        known: Known | None,
        session: Session | None,
    ) -> Planned:
        """Return the plan of *statement* by SQLAlchemy's cache key, if it has one."""
        translated = _translation(statement, session)
        seen = "_generate_cache_key" in vars(statement)
        key = statement._generate_cache_key()
        names = column_names(statement, parameters, key and key.bindparams)
        if key is None:
            fresh = self._compile(statement, None, names, many, translated)
            collected = getattr(fresh.compiled, "_collected_params", None)
            return fresh, None, _joined(collected, parameters)
        place: Any = key.key, names, many, translated
        plan: Any = self._plans.get(place)
        if plan is not None and not plan.types.match(statement, key.bindparams):
            place = place, Types(statement, key.bindparams).key
            plan = self._plans.get(place)
        if plan is None:
            plan = self._compile(statement, key, names, many, translated)
            plan.types = Types(statement, key.bindparams)
            self._plans[place] = plan
        collected = getattr(key, "params", None)
        if seen and _schema_map(statement) is None:  # that is the user's, who may change it
            self._remember(statement, key.bindparams, collected, known).store(
                plan, parameters, many
            )
        return plan, key.bindparams, _joined(collected, parameters)

    def _was_seen(self, statement: ClauseElement) -> bool:
        """Tell whether this very object was executed before, as far as that is remembered."""
        seen = self._seen.get(id(statement))
        if seen is not None and seen() is statement:
            return True
        if len(self._seen) >= PLANS:
            self._seen.popitem(last=False)
        self._seen[id(statement)] = weakref.ref(statement)
        return False

    def _remember(
        self,
        statement: ClauseElement,
        extracted: Sequence[Any],
        collected: Parameters | None,
        known: Known | None,
    ) -> Known:
        if known is None:
            if len(self._known) >= PLANS:
                self._known.popitem(last=False)
            known = self._known[id(statement)] = Known(statement, extracted, collected)
        return known

    def ddl(self, statement: ExecutableDDLElement, session: Session | None = None) -> str:
        """Return the SQL of a DDL construct."""
        translate = _schema_map(statement)
        compiled = statement.compile(dialect=self.dialect, schema_translate_map=translate)
        return _sql(compiled, _translation(statement, session)).replace("%%", "%")

    def _compile(
        self,
        statement: ClauseElement,
        key: Any,
        names: tuple[str, ...],
        many: bool,
        translated: Translation | None,
    ) -> Plan:
        def compile_it(for_executemany: bool, statement: ClauseElement = statement) -> Any:
            return statement.compile(
                dialect=self.dialect,
                cache_key=key,
                column_keys=list(names),
                for_executemany=for_executemany,
                schema_translate_map=_schema_map(statement),
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
            # compiled for many rows, the expression stands in the INSERT itself, and so it does
            # in one that returns the key, where the server can.
            compiled = compile_it(True)
            if _lacks_key(compiled) and isinstance(statement, Insert):
                key_columns = compiled.compile_state.statement.table.primary_key
                returning = compile_it(False, statement.return_defaults(*key_columns))
                if not any(_is_expression(column) for column in returning.insert_prefetch):
                    compiled = returning
        sql = _sql(compiled, translated)
        extracted = key.bindparams if key else None
        plan = Plan(statement, compiled, sql, extracted, translated, self._converters)
        plan.check_names(names)
        return plan


def _lacks_key(compiled: Any) -> bool:
    """Tell whether an expression makes a part of the key that an INSERT writes."""
    if compiled.effective_returning or not compiled.dialect.insert_returning:
        return False
    columns = compiled.compile_state.statement.table.primary_key
    return any(
        column.default is not None
        and _is_expression(column)
        and compiled._within_exec_param_key_getter(column) not in compiled.binds
        for column in columns
    )


def _is_expression(column: Any) -> bool:
    _, is_scalar, is_callable, _ = column._default_description_tuple
    return not is_scalar and not is_callable


def _joined(collected: Parameters | None, parameters: Parameters | None) -> Parameters | None:
    return {**collected, **(parameters or {})} if collected else parameters


def planner_for(
    dialect: Dialect,
    server_version: str,
    no_backslash_escapes: bool,
    converters: Converters | None = None,
) -> Planner:
    """Return the planner for *dialect* on a server of that version, in that SQL mode.

    *converters* are what a user has values made of, if not of their types.
    """
    kept: _Kept | None = vars(dialect).get(_PLANNERS)
    if kept is None or kept[0]() is not dialect:  # but one that this is a copy of
        kept = vars(dialect)[_PLANNERS] = weakref.ref(dialect), {}
    planners = kept[1]
    key = server_version, no_backslash_escapes, converters
    planner = planners.get(key)
    if planner is None:
        planner = planners[key] = Planner(dialect, *key)
    return planner


def cached_plan(
    cache: MutableMapping[Any, Any],
    query: Any,
    planner: Planner,
    statement: ClauseElement,
    parameters: Parameters | None,
    known: Known | None,
    session: Session,
) -> Planned:
    """Return the plan of one execution of *query*, whose *statement* it is, from a user's cache.

    One that is not there, or is for other parameters, another dialect or another map of schemas, is
    planned and kept.
    """
    names = (parameters or {}).keys()
    plan = cache.get(query)
    if (
        plan is not None
        and plan.names == names
        and plan.compiled.dialect is planner.dialect
        and plan.translated == _translation(statement, session)  # the map may have been changed
    ):
        return plan, None, parameters
    plan, extracted, parameters = planner.plan(statement, parameters, False, known, session)
    if plan.names == names:
        cache[query] = plan
    return plan, extracted, parameters


def _schema_map(statement: Any) -> Any:
    return statement.get_execution_options().get("schema_translate_map")


def _translation(statement: Any, session: Session | None) -> Translation | None:
    """Return the items of a statement's schema map, with the session's schema if it maps to that.

    `None` if it has no map, or an empty one.
    """
    schemas = _schema_map(statement)
    if not schemas:
        return None
    items = frozenset(schemas.items())
    if all(schemas.values()):
        return items
    return items | {(_DEFAULT, session.schema if session is not None else None)}


def _sql(compiled: Any, translated: Translation | None) -> str:
    """Return compiled SQL, with the schemas of a map.

    The default one is left out, which is right also where the server does not tell of a `USE`;
    but not beside others, whose tables may have the same names.
    """
    sql: str = compiled.string
    if not translated:
        return sql
    schemas = dict(translated)

    def effective(name: str) -> str | None:
        key = None if name == "_none" else name
        return schemas.get(key, key)

    alone = not any(effective(match[1]) for match in re.finditer(_SCHEMA, sql))
    default = None if alone else schemas.get(_DEFAULT)

    def schema(match: re.Match[str]) -> str:
        name = effective(match[1]) or default
        return compiled.preparer.quote_schema(name) + match[2] if name else ""

    return re.sub(_SCHEMA, schema, sql)
