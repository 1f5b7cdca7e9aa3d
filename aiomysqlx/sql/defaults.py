"""Python-side defaults: what a column has for `default` and `onupdate` when nothing is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.sql.compiler import SQLCompiler

Prefetched = tuple[tuple[Any, str, Any], ...]
"""Columns, each with its parameter's name and what SQLAlchemy knows of its default."""


def prefetched(compiled: Any) -> Prefetched:
    """Return the columns whose defaults are found before a statement is executed."""
    name_of = (
        compiled._within_exec_param_key_getter if compiled.isinsert or compiled.isupdate else None
    )
    if name_of is None:
        return ()
    inserted = [(c, name_of(c), c._default_description_tuple) for c in compiled.insert_prefetch]
    updated = [(c, name_of(c), c._onupdate_description_tuple) for c in compiled.update_prefetch]
    return tuple(inserted + updated)


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


def add_defaults(
    parameters: dict[str, Any],
    columns: Prefetched,
    compiled: SQLCompiler,
    options: Mapping[str, Any],
) -> None:
    """Add the defaults of *columns* to *parameters*, which context-sensitive ones look at."""
    context = None
    for column, name, (arg, is_scalar, is_callable, _) in columns:
        if is_scalar:
            parameters[name] = arg
        elif is_callable:
            context = context or _DefaultContext(compiled, parameters, options)
            context.current_column = column
            parameters[name] = arg(context)
