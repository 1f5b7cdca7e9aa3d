"""The arguments of an engine: those of its pool and those of its connections."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine.interfaces import Dialect

from .arguments import ARGUMENTS, ServerArguments, check_arguments, check_seconds
from .cursor import Cursor
from .exc import ArgumentError

if TYPE_CHECKING:
    from sqlalchemy.dialects.mysql.base import MySQLDialect

    from .connection import SAConnection

    Hook = Callable[[SAConnection], Awaitable[object]]

POSITIONAL = ("minsize", "maxsize", "loop", "dialect", "pool_recycle", "compiled_cache")
_TIMES = ("acquire_timeout", "max_lifetime", "max_idle", "statement_timeout")
_OWN = {*POSITIONAL, *_TIMES, "pool_pre_ping", "init", "reset"}


class EngineArguments(ServerArguments, total=False):
    """What `create_engine()` takes by keyword only."""

    acquire_timeout: float | None
    pool_pre_ping: float | bool
    max_lifetime: float | None
    max_idle: float | None
    statement_timeout: float | None
    init: Hook | None
    reset: bool | Hook


class Settings:
    """The arguments of `create_engine()`, checked."""

    def __init__(self, given: dict[str, Any]) -> None:
        unknown = given.keys() - ARGUMENTS.keys() - _OWN
        if unknown:
            raise ArgumentError(f"unknown argument {min(unknown)!r}")
        self._set_sizes(given)
        self._set_times(given)
        self._set_hooks(given)
        self.dialect: Dialect = (
            _check_dialect(given["dialect"]) if "dialect" in given else default_dialect()
        )
        self.compiled_cache: dict[Any, Any] | None = given.get("compiled_cache")
        if self.compiled_cache is not None and not hasattr(self.compiled_cache, "get"):
            raise ArgumentError(f"argument 'compiled_cache' does not take {self.compiled_cache!r}")
        self.loop = given.get("loop")
        if not isinstance(self.loop, (asyncio.AbstractEventLoop, type(None))):
            raise ArgumentError(f"argument 'loop' does not take {self.loop!r}")
        self.connect = {name: value for name, value in given.items() if name not in _OWN}
        cursorclass = self.connect.get("cursorclass", Cursor)
        if not (isinstance(cursorclass, type) and issubclass(cursorclass, Cursor)):
            raise ArgumentError("SQLAlchemy engine does not support this cursor class")
        check_arguments(self.connect)

    def _set_sizes(self, given: dict[str, Any]) -> None:
        self.minsize: int = _integer(given, "minsize", 1)
        self.maxsize: int = _integer(given, "maxsize", 10)
        if self.minsize < 0:
            raise SizeError("minsize should be zero or greater")
        if self.maxsize < 0:
            raise SizeError("maxsize should be zero or greater")
        if self.maxsize and self.maxsize < self.minsize:
            raise SizeError("maxsize should be not less than minsize")

    def _set_times(self, given: dict[str, Any]) -> None:
        self.recycle = given.get("pool_recycle", -1)
        if type(self.recycle) not in (int, float) or self.recycle != self.recycle:
            raise ArgumentError(f"argument 'pool_recycle' does not take {self.recycle!r}")
        times = {
            name: None if given.get(name) is None else check_seconds(name, given[name])
            for name in _TIMES
        }
        self.acquire_timeout = times["acquire_timeout"]
        self.max_lifetime = times["max_lifetime"]
        self.max_idle = times["max_idle"]
        self.statement_timeout = times["statement_timeout"]
        ping = given.get("pool_pre_ping", False)
        if not isinstance(ping, bool):
            check_seconds("pool_pre_ping", ping)
        self.pre_ping: float | None = None if ping is False else 0.0 if ping is True else ping

    def _set_hooks(self, given: dict[str, Any]) -> None:
        self.init: Hook | None = given.get("init")
        if self.init is not None and not callable(self.init):
            raise ArgumentError(f"argument 'init' takes a coroutine function, got {self.init!r}")
        self.reset: bool | Hook = given.get("reset", False)
        if not (isinstance(self.reset, bool) or callable(self.reset)):
            raise ArgumentError(
                f"argument 'reset' takes True or a coroutine function, got {self.reset!r}"
            )


class SizeError(ArgumentError, ValueError):
    """The sizes do not fit; aiomysql.sa raises a `ValueError` here."""


@cache
def default_dialect() -> MySQLDialect:
    """Give the dialect of engines that were given none."""
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
        raise ArgumentError(f"argument 'dialect' takes a MySQL dialect, not {dialect!r}")
    driver = getattr(dialect, "driver", None)
    if driver is not None and not isinstance(dialect, MySQLDialect_mysqldb):
        raise ArgumentError(
            "argument 'dialect' takes SQLAlchemy's dialect for pymysql, aiomysql, asyncmy, mysqldb"
            f" or cymysql, or a subclass of one, not that for {driver}"
        )
    return dialect


def _integer(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(f"argument {name!r} does not take {value!r}")
    return value
