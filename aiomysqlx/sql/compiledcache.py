"""The `compiled_cache` that a user gives an engine: plans by the statement objects themselves."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from sqlalchemy.sql.elements import ClauseElement

from .planner import Known, Planned, Planner
from .schemas import HasSchema, translation
from .slots import Parameters


def cached_plan(
    cache: MutableMapping[Any, Any],
    query: Any,
    planner: Planner,
    statement: ClauseElement,
    parameters: Parameters | None,
    known: Known | None,
    session: HasSchema,
) -> Planned:
    """Return the plan of one execution of *query*, whose *statement* it is, from the cache.

    One that is not there, or is for other parameters, another dialect or another map of schemas, is
    planned and kept.
    """
    names = (parameters or {}).keys()
    plan = cache.get(query)
    if (
        plan is not None
        and plan.names == names
        and plan.compiled.dialect is planner.dialect
        # The map is the user's, who may have changed it.
        and plan.translated == translation(_translate_map(statement), session)
    ):
        return plan, None, parameters
    plan, extracted, parameters = planner.plan(statement, parameters, False, known, session)
    if plan.names == names:
        cache[query] = plan
    return plan, extracted, parameters


def _translate_map(statement: Any) -> Any:
    return statement.get_execution_options().get("schema_translate_map")
