"""The arguments of `create_engine()` for type checkers, which alone import this."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .argument_types import ServerArguments
from .connection import SAConnection

Hook = Callable[[SAConnection], Awaitable[object]]


class EngineArguments(ServerArguments, total=False):
    """What `create_engine()` takes by keyword only."""

    acquire_timeout: float | None
    pool_pre_ping: float | bool
    max_lifetime: float | None
    max_idle: float | None
    max_waiting: int
    held_warning: float | None
    statement_timeout: float | None
    init: Hook | None
    reset: bool | Hook
    # Other names of theirs, and of those that may be positional
    pool_timeout: float | None
    min_size: int
    max_size: int
