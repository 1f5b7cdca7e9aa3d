"""What executing a statement returns, for type checkers, which alone import this.

SQLAlchemy 2.1 has the types of a statement's columns one by one, `Select[int, str]`, and 2.0 has
them in a tuple, `Select[tuple[int, str]]`. With either, the first signature that fits is the one
of that version.
"""

from __future__ import annotations

from typing import Any, TypeVar, overload

from sqlalchemy import Executable
from sqlalchemy.sql.selectable import TypedReturnsRows
from typing_extensions import TypeVarTuple, Unpack

from . import executing
from .result import ExecuteContext
from .stream import StreamContext

T = TypeVar("T")
Row = TypeVar("Row", bound=tuple[Any, ...])
Columns = TypeVarTuple("Columns")


class Executing(executing.Executing):
    """Executes statements, whose types its results have."""

    @overload
    def execute(
        self, query: TypedReturnsRows[Row], *multiparams: Any, **params: Any
    ) -> ExecuteContext[Row]: ...
    @overload
    def execute(
        self, query: TypedReturnsRows[Unpack[Columns]], *multiparams: Any, **params: Any
    ) -> ExecuteContext[tuple[Unpack[Columns]]]: ...
    @overload
    def execute(
        self, query: str | Executable, *multiparams: Any, **params: Any
    ) -> ExecuteContext: ...
    def execute(self, query: Any, *multiparams: Any, **params: Any) -> Any: ...

    @overload
    def stream(
        self,
        query: TypedReturnsRows[Row],
        *multiparams: Any,
        yield_per: int | None = None,
        max_buffer: int | None = None,
        **params: Any,
    ) -> StreamContext[Row]: ...
    @overload
    def stream(
        self,
        query: TypedReturnsRows[Unpack[Columns]],
        *multiparams: Any,
        yield_per: int | None = None,
        max_buffer: int | None = None,
        **params: Any,
    ) -> StreamContext[tuple[Unpack[Columns]]]: ...
    @overload
    def stream(
        self,
        query: str | Executable,
        *multiparams: Any,
        yield_per: int | None = None,
        max_buffer: int | None = None,
        **params: Any,
    ) -> StreamContext: ...
    def stream(self, query: Any, *multiparams: Any, **keywords: Any) -> Any: ...
