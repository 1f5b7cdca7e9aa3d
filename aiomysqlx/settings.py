"""The arguments of an engine: those of its pool and those of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pymysql
from aiomysql import DictCursor, SSCursor
from sqlalchemy.engine.interfaces import Dialect

from .cursor import Cursor, is_cursor_class
from .exc import ArgumentError, SizeError
from .runtime.words import brief, type_name
from .wire.checks import check_seconds, number_or_truth, truth
from .wire.option import Options, option
from .wire.options import ConnectOptions
from .wire.settling import settled

if TYPE_CHECKING:
    from sqlalchemy.dialects.mysql.base import MySQLDialect

# What an engine calls with the connections that it makes.
Hook = Callable[[Any], Awaitable[object]]

POSITIONAL = ("minsize", "maxsize", "loop", "dialect", "pool_recycle", "compiled_cache")


class LendingOptions(Options):
    """The options of any pool, of an engine or of a driver's connections."""

    minsize: int = option(
        "How many connections are opened at once, and kept.", 1, int, int, aliases=("min_size",)
    )
    maxsize: int = option(
        "The most connections that there will be; 0: no limit.",
        *(10, int, int),
        aliases=("max_size",),
        meant_by=("pool_size", "max_overflow", "max_connections"),
    )
    pool_recycle: float = option(
        "Seconds unused after which a connection is replaced when it is asked for; -1: never.",
        *(-1, (int, float), float),
    )
    acquire_timeout: float | None = option(
        "Seconds that `acquire()` waits for a connection; `None`: as long as it takes.",
        *(None, float, float),
        aliases=("pool_timeout",),
    )
    pool_pre_ping: float | bool = option(
        "Seconds unused after which a connection is pinged before it is lent; `True`: always.",
        *(False, (bool, float), number_or_truth),
        as_text="true, false or a number",
    )
    max_lifetime: float | None = option(
        "Seconds after which a connection is replaced, up to a tenth less.", None, float, float
    )
    max_idle: float | None = option(
        "Seconds idle after which a connection beyond *minsize* is closed.", None, float, float
    )
    max_waiting: int = option(
        "How many `acquire()` may wait for a borrower, others are refused; 0: no limit.",
        *(0, int, int),
    )


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


class PoolSettings:
    """The arguments of a pool, checked."""

    def __init__(self, options: LendingOptions) -> None:
        self._set_sizes(options)
        self._set_times(options)

    def _set_sizes(self, options: LendingOptions) -> None:
        self.minsize: int = _integer("minsize", options.minsize)
        self.maxsize: int = _integer("maxsize", options.maxsize)
        self.max_waiting: int = _integer("max_waiting", options.max_waiting)
        if self.max_waiting < 0:
            raise SizeError(f"max_waiting should be zero or greater, got {self.max_waiting}")
        if self.minsize < 0:
            raise SizeError(f"minsize should be zero or greater, got {self.minsize}")
        if self.maxsize < 0:
            raise SizeError(f"maxsize should be zero or greater, got {self.maxsize}")
        if self.maxsize and self.maxsize < self.minsize:
            raise SizeError(
                f"maxsize should be not less than minsize, got {self.maxsize} and {self.minsize}"
            )

    def _set_times(self, options: LendingOptions) -> None:
        self.recycle: float = options.pool_recycle
        if type(self.recycle) not in (int, float) or self.recycle != self.recycle:
            raise _refusal("pool_recycle", self.recycle)
        self.acquire_timeout: float | None = _seconds("acquire_timeout", options.acquire_timeout)
        self.max_lifetime: float | None = _seconds("max_lifetime", options.max_lifetime)
        self.max_idle: float | None = _seconds("max_idle", options.max_idle)
        ping = options.pool_pre_ping
        if not isinstance(ping, bool):
            check_seconds("pool_pre_ping", ping)
        self.pre_ping: float | None = None if ping is False else 0.0 if ping is True else ping


class Settings(PoolSettings):
    """The arguments of `create_engine()`, checked."""

    def __init__(self, given: dict[str, Any]) -> None:
        given = EngineOptions.named(given)
        own = given.keys() & PoolOptions.fields.keys()
        options = PoolOptions(**{name: given[name] for name in own})
        super().__init__(options)
        self.held_warning: float | None = _seconds("held_warning", options.held_warning)
        self.statement_timeout: float | None = _seconds(
            "statement_timeout", options.statement_timeout
        )
        self._set_hooks(options)
        self.dialect: Dialect = (
            _check_dialect(options.dialect) if "dialect" in given else default_dialect()
        )
        self.compiled_cache: dict[Any, Any] | None = options.compiled_cache
        if self.compiled_cache is not None and not hasattr(self.compiled_cache, "get"):
            raise _refusal("compiled_cache", self.compiled_cache)
        self.loop: asyncio.AbstractEventLoop | None = check_loop(given.pop("loop", None))
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


def check_loop(loop: Any) -> asyncio.AbstractEventLoop | None:
    """Return *loop*; raises `ArgumentError` if it is no event loop."""
    if not isinstance(loop, (asyncio.AbstractEventLoop, type(None))):
        raise _refusal("loop", loop)
    return loop


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


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _refusal(name, value)
    return value


def _refusal(name: str, value: Any) -> ArgumentError:
    expected = EngineOptions.fields[name].expected
    return ArgumentError(f"argument {name!r} does not take {brief(value)}: expected {expected}")


def _seconds(name: str, value: Any) -> float | None:
    return None if value is None else check_seconds(name, value)


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
