"""Sending a planned statement: its plan, its packet, and what gives its answer."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref

from sqlalchemy.sql.elements import ClauseElement

from .blocks import closed
from .lending import Lent
from .result import ResultProxy
from .sql.keys import Inserted
from .sql.plan import Plan, Text
from .sql.planner import Known, Planned, Planner, cached_plan, planner_for
from .sql.slots import Extracted, Parameters
from .sql.statements import by_name
from .wire.columns import converters_of
from .wire.command import Command
from .wire.prepared import takes, written
from .wire.preparing import First, execute_first
from .wire.reply import ResultSet
from .wire.session import Session

if TYPE_CHECKING:
    from .wire.observing import Observation


class Sending(Lent):
    """Sends executions of statements, each as text or as one of a prepared statement."""

    __slots__ = ()

    def _send(
        self,
        raw: Session,
        planner: Planner,
        query: Any,
        statement: ClauseElement,
        groups: Sequence[Any],
        known: Known | None,
        stream: Any,
    ) -> tuple[Plan, Any, Coroutine[Any, Any, list[ResultSet]]]:
        """Send one execution, and return its plan, its result, and what gives its answer."""
        prepares = stream is None and raw.protocol.statements is not None
        plan, result, command = self._command(
            raw, planner, query, statement, groups, known, stream, prepares
        )
        if isinstance(command, Command):
            return plan, result, raw._launch(command)
        return plan, result, command

    def _command(
        self,
        raw: Session,
        planner: Planner,
        query: Any,
        statement: ClauseElement,
        groups: Sequence[Any],
        known: Known | None,
        stream: Any,
        prepares: bool,
    ) -> tuple[Plan, Any, Any]:
        """Return the plan of one execution, its result, and its command.

        If it *prepares* it may be of a prepared statement, and sent: then there is what gives its
        answer in the command's place.
        """
        given = None
        if groups:
            given = groups[0]
            if type(given) is not dict:
                given = by_name(statement, given)
        plan, extracted, parameters = self._planned(raw, planner, query, statement, given, known)
        text = plan.text(self._syntax[0])
        if plan.prefetch:
            parameters = plan.completed(parameters, extracted, statement)
        if stream is None:
            result = ResultProxy(self, statement)
        else:
            result = stream
            result._statement = statement
        if plan.keys is not None:
            keys = [plan.keys.given(parameters, extracted)]
            result._inserted = Inserted(plan.keys, keys, many=False)
        observed = None
        if raw.observer is not None:
            observed = raw.observer.observe(raw, plan.sql, **description_of(plan, statement))
        if prepares:
            answer = self._send_prepared(raw, plan, text, parameters, extracted, result, observed)
            if answer is not None:
                return plan, result, answer
        packet = plan.render(text, parameters, extracted, self._syntax)
        command = Command(packet, plan.describe, text.columns, result._shape, observed)
        if stream is not None and plan.keys is None:
            stream._read_by(command)
        return plan, result, command

    def _planned(
        self,
        raw: Session,
        planner: Planner,
        query: Any,
        statement: ClauseElement,
        parameters: Parameters | None,
        known: Known | None,
    ) -> Planned:
        """Return the plan of one execution, with what `Planner.plan()` returns besides."""
        planned: Planned | None = None
        cache = self._compiled_cache
        if cache is not None:
            planned = cached_plan(cache, query, planner, statement, parameters, known, raw)
        elif known is not None:  # as plan() would ask: it costs a reused statement a call less
            planned = known.planned(parameters, False)
        if planned is None:
            planned = planner.plan(statement, parameters, False, known, raw)
        return planned

    def _send_prepared(
        self,
        raw: Session,
        plan: Plan,
        text: Text,
        parameters: Parameters | None,
        extracted: Extracted,
        result: ResultProxy,
        observed: Observation | None,
    ) -> Coroutine[Any, Any, list[ResultSet]] | None:
        """Send one execution of a prepared statement, or what prepares it; `None`: it is text."""
        statements = raw.protocol.statements
        assert statements is not None
        statements.latest = None
        if not plan.is_decided:
            plan.decide()
        if plan.kinds is None:
            return None
        statement = statements._find(text)
        if statement is None:
            return None
        encoding, mode = self._syntax
        values = plan.values(parameters, extracted, self._syntax)
        if not takes(plan.kinds, values):
            return None
        shape = result._shape
        if statement.number is None or not statement.fits:
            command = Command(
                plan.render(text, parameters, extracted, self._syntax),
                *(plan.describe, text.columns, shape, observed),
            )
            prepared = First(values, self._syntax, plan.describe_binary, shape, observed)
            sql = b"?".join(text.fragments)
            return execute_first(raw, statement, sql, plan.kinds, prepared, command)
        packet = written(statement.number, values, encoding, mode)
        if packet is None:
            return None
        command = Command(packet, plan.describe_binary, text.binary_columns, shape, observed)
        answer = raw._launch(command)
        statements.latest = statement
        return answer

    def _planner_for(self, raw: Session) -> Planner:
        """Return the planner for how the session reads text."""
        planner = self._planner
        if planner is None or raw.protocol.syntax is not self._syntax:
            planner = self._choose_planner(raw)
        return planner

    def _choose_planner(self, raw: Session) -> Planner:
        self._syntax = syntax = raw.protocol.syntax
        dialect = self._engine.dialect
        planner: Planner | None = None
        if raw.chosen is not None:
            before, of_syntax, planner = raw.chosen
            if before() is not dialect or of_syntax is not syntax:
                planner = None
        if planner is None:
            own = converters_of(raw.options.conv, raw.options.use_unicode)
            planner = planner_for(dialect, raw.server_version, raw.no_backslash_escapes, own)
            raw.chosen = ref(dialect), syntax, planner
        self._planner = planner
        return planner

    def _usable(self) -> Session:
        return self._open()

    def _open(self) -> Session:
        """Return the session, if anything may be executed; a native() block has more to say."""
        raw = self._session
        if raw is None or self._released:
            raise closed()
        if raw.barred is not None:
            raise raw.barred()
        return raw

    def _raw(self) -> Session:
        raw = self._own()
        if raw is None:
            raise closed()
        return raw

    def _own(self) -> Session | None:
        """Return the session; `None` once it was given back."""
        return None if self._released else self._session


# What sorts of statements do, by the names that SQLAlchemy has for them.
_OPERATIONS = {
    "compound_select": "SELECT",
    "delete": "DELETE",
    "insert": "INSERT",
    "select": "SELECT",
    "update": "UPDATE",
}


def description_of(plan: Plan, statement: ClauseElement) -> dict[str, Any]:
    """Return what whoever is told of a statement is told besides its text."""
    return {
        "parameterized": bool(plan.slots),
        "operation": _OPERATIONS.get(statement.__visit_name__),
        "token": statement._execution_options.get("logging_token"),  # type: ignore[attr-defined]
    }
