"""The arguments of an engine: those of its pool and those of its connections."""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pymysql
from aiomysql import DictCursor, SSCursor
from sqlalchemy.engine.interfaces import Dialect

from .cursor import Cursor, is_cursor_class
from .exc import ArgumentError
from .pool_settings import LendingOptions, PoolSettings, check_loop, refusal, seconds
from .runtime.words import brief, type_name
from .wire.checks import truth
from .wire.option import option
from .wire.options import ConnectOptions
from .wire.settling import settled

if TYPE_CHECKING:
    from sqlalchemy.dialects.mysql.base import MySQLDialect

# What an engine calls with the connections that it makes.
Hook = Callable[[Any], Awaitable[object]]

POSITIONAL = ("minsize", "maxsize", "loop", "dialect", "pool_recycle", "compiled_cache")


class PoolOptions(LendingOptions):
    """The options of an engine's pool; those without a default have one that has to be made."""

    dialect: Any = option(
        "A dialect of SQLAlchemy for MySQL; made for the engine if it is not given.", None, Dialect
    )
    compiled_cache: dict[Any, Any] | None = option(
        "A dictionary to keep compiled statements in, besides the engine's own cache.",
        *(None, (Mapping, type(None))),
    )
    held_warning: float | None = option(
        "Seconds after which the log warns of a connection that is still in use.",
        *(None, float, float),
    )
    statement_timeout: float | None = option(
        "Seconds that a statement may take; `None`: as many as it needs.",
        *(None, float, float),
        meant_by=("read_timeout", "write_timeout", "command_timeout"),
    )
    init: Hook | None = option(
        "A coroutine function called with an `SAConnection` for every new connection.",
        *(None, (Callable, type(None))),
    )
    reset: bool | Hook = option(
        "One called for every connection that comes back; `True`: its session is made as new.",
        *(False, (bool, Callable), truth),
        meant_by=("pool_reset_on_return", "pool_reset_session"),
    )


class EngineOptions(PoolOptions, ConnectOptions):
    """What an engine takes: the options of its connections, and of its pool."""


class Settings(PoolSettings):
    """The arguments of `create_engine()`, checked."""

    def __init__(self, given: dict[str, Any]) -> None:
        given = EngineOptions.named(given)
        own = given.keys() & PoolOptions.fields.keys()
        options = PoolOptions(**{name: given[name] for name in own})
        super().__init__(options)
        self.held_warning: float | None = seconds("held_warning", options.held_warning)
        self.statement_timeout: float | None = seconds(
            "statement_timeout", options.statement_timeout
        )
        self._set_hooks(options)
        self.dialect: Dialect = (
            _check_dialect(options.dialect) if "dialect" in given else default_dialect()
        )
        self.compiled_cache: dict[Any, Any] | None = options.compiled_cache
        if self.compiled_cache is not None and not hasattr(self.compiled_cache, "get"):
            raise refusal(EngineOptions, "compiled_cache", self.compiled_cache)
        self.loop: AbstractEventLoop | None = check_loop(given.pop("loop", None))
        cursorclass = given.get("cursorclass", Cursor)
        if not is_cursor_class(cursorclass):
            raise ArgumentError(
                "SQLAlchemy engine does not support this cursor class: expected a subclass of"
                f" aiomysqlx.Cursor, got {no_cursor_class(cursorclass)}"
            )
        self.connect: ConnectOptions = settled(
            {name: given[name] for name in given if name not in own}
        )

    def _set_hooks(self, options: PoolOptions) -> None:
        self.init: Hook | None = options.init
        if self.init is not None and not callable(self.init):
            raise _no_hook("init", "a coroutine function", self.init)
        self.reset: bool | Hook = options.reset
        if not (isinstance(self.reset, bool) or callable(self.reset)):
            raise _no_hook("reset", "True or a coroutine function", self.reset)


def _no_hook(name: str, expected: str, value: object) -> ArgumentError:
    if isinstance(value, Coroutine):
        value.close()  # or it would be warned about
        return ArgumentError(f"argument {name!r} takes {expected}, got a coroutine: do not call it")
    return ArgumentError(f"argument {name!r} takes {expected}, got {brief(value)}")


@cache
def default_dialect() -> MySQLDialect:
    """Return the dialect of engines that were given none."""
    # Importing SQLAlchemy's MySQL dialects takes longer than all the rest of this package, and a
    # service need not wait for it before it makes an engine.
    from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

    return MySQLDialect_pymysql(paramstyle="pyformat")


def _check_dialect(dialect: Any) -> MySQLDialect:
    """Return *dialect*; raises `ArgumentError` if it is not one whose types and SQL fit here.

    The others leave out the doubling of percent signs, or process what only their driver gives.
    """
    # As late as in default_dialect().
    from sqlalchemy.dialects.mysql.base import MySQLDialect
    from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb

    if not isinstance(dialect, MySQLDialect):
        remedy = (
            ": leave it out, or make one, as sqlalchemy.dialects.mysql.pymysql.dialect()"
            if isinstance(dialect, (str, type, ModuleType))
            else ""
        )
        raise ArgumentError(
            f"argument 'dialect' takes a MySQL dialect, not {brief(dialect)}{remedy}"
        )
    driver = getattr(dialect, "driver", None)
    if driver is not None and not isinstance(dialect, MySQLDialect_mysqldb):
        raise ArgumentError(
            "argument 'dialect' takes SQLAlchemy's dialect for pymysql, aiomysql, asyncmy, mysqldb"
            f" or cymysql, or a subclass of one, not that for {driver}"
        )
    return dialect


def no_cursor_class(cls: object) -> str:
    """Return what something is that is taken for a class of cursors, and what to do."""
    if not isinstance(cls, type):
        return type_name(type(cls))
    name = type_name(cls)
    if issubclass(cls, (SSCursor, pymysql.cursors.SSCursor)):
        return f"{name}: aiomysqlx.SSCursor does the same, and SAConnection.stream()"
    if issubclass(cls, (DictCursor, pymysql.cursors.DictCursor)):
        return (
            f"{name}: aiomysqlx.DictCursor does the same, and SAConnection.execute() gives rows"
            " that are mappings"
        )
    return name
