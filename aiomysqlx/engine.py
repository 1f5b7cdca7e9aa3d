"""The engine: arguments to a dialect and a pool, and connections out of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import Dialect

from ._awaitable import AwaitableContext, CallbackContext
from .arguments import ARGUMENTS, ServerArguments, check_arguments
from .connection import SAConnection
from .cursor import Cursor
from .driver import Connection, connect
from .exc import ArgumentError, InvalidRequestError
from .pool import Pool
from .statement import learn
from .url import from_url

if TYPE_CHECKING:  # the standard library has Unpack from Python 3.11 on
    from sqlalchemy.dialects.mysql.base import MySQLDialect
    from typing_extensions import Unpack


@cache
def _default_dialect() -> MySQLDialect:
    # Importing SQLAlchemy's MySQL dialects takes longer than all the rest of this package, and a
    # service need not wait for it before it makes an engine.
    from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

    return MySQLDialect_pymysql(paramstyle="pyformat")


def __getattr__(name: str) -> Any:
    if name == "_dialect":
        return _default_dialect()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_POOL_ARGUMENTS = ("minsize", "maxsize", "loop", "dialect", "pool_recycle", "compiled_cache")


@overload
def create_engine(
    url: str | URL,
    /,
    minsize: int = 1,
    maxsize: int = 10,
    loop: asyncio.AbstractEventLoop | None = None,
    dialect: MySQLDialect = ...,
    pool_recycle: float = -1,
    compiled_cache: dict[Any, Any] | None = None,
    **connect_arguments: Unpack[ServerArguments],
) -> AwaitableContext[Engine]: ...
@overload
def create_engine(
    minsize: int = 1,
    maxsize: int = 10,
    loop: asyncio.AbstractEventLoop | None = None,
    dialect: MySQLDialect = ...,
    pool_recycle: float = -1,
    compiled_cache: dict[Any, Any] | None = None,
    *,
    url: str | URL | None = None,
    **connect_arguments: Unpack[ServerArguments],
) -> AwaitableContext[Engine]: ...
def create_engine(*args: Any, **kwargs: Any) -> AwaitableContext[Engine]:
    """Create an engine and open its first connections: await it, or use it with `async with`.

    `create_engine(minsize=1, maxsize=10, loop=None, dialect=…, pool_recycle=-1,
    compiled_cache=None, **connect_arguments)`; a URL, `mysql://user:password@host:port/db?…`, may
    come first (or as `url=`) in place of connect arguments.

    *minsize* connections are opened at once (at least one), *maxsize* is the most there will be
    (0: no limit). A connection idle for more than *pool_recycle* seconds is replaced when it is
    asked for; -1: never. *dialect* is a MySQL dialect of SQLAlchemy. *compiled_cache* is a
    dictionary that keeps compiled statements by statement, besides the cache that every engine
    has. The connect arguments are those of `connect()`.

    Raises `ArgumentError`, at once, for a wrong, unknown or contradictory argument; awaiting it
    raises what `connect()` raises.
    """
    url = kwargs.pop("url", None)
    if args and isinstance(args[0], (str, URL)):
        if url is not None:
            raise ArgumentError("argument 'url' is given twice")
        url, args = args[0], args[1:]
    if len(args) > len(_POOL_ARGUMENTS):
        raise ArgumentError(
            f"expected at most {len(_POOL_ARGUMENTS)} positional arguments, got {len(args)}"
        )
    given = dict(zip(_POOL_ARGUMENTS, args, strict=False))
    for more in (from_url(url) if url is not None else {}, kwargs):
        twice = given.keys() & more.keys()
        if twice:
            raise ArgumentError(f"argument {min(twice)!r} is given twice")
        given.update(more)
    arguments = _Arguments(given)
    return CallbackContext(_create_engine(arguments), Engine._leave)


class SizeError(ArgumentError, ValueError):
    """The sizes do not fit; aiomysql.sa raises a `ValueError` here."""


class _Arguments:
    """The arguments of `create_engine()`, checked."""

    def __init__(self, given: dict[str, Any]) -> None:
        unknown = given.keys() - ARGUMENTS.keys() - set(_POOL_ARGUMENTS)
        if unknown:
            raise ArgumentError(f"unknown argument {min(unknown)!r}")
        self.minsize: int = _integer(given, "minsize", 1)
        self.maxsize: int = _integer(given, "maxsize", 10)
        if self.minsize < 0:
            raise SizeError("minsize should be zero or greater")
        if self.maxsize < 0:
            raise SizeError("maxsize should be zero or greater")
        if self.maxsize and self.maxsize < self.minsize:
            raise SizeError("maxsize should be not less than minsize")
        self.recycle = given.get("pool_recycle", -1)
        if type(self.recycle) not in (int, float) or self.recycle != self.recycle:
            raise ArgumentError(f"argument 'pool_recycle' does not take {self.recycle!r}")
        self.dialect: Dialect = (
            _check_dialect(given["dialect"]) if "dialect" in given else _default_dialect()
        )
        self.compiled_cache: dict[Any, Any] | None = given.get("compiled_cache")
        if self.compiled_cache is not None and not hasattr(self.compiled_cache, "get"):
            raise ArgumentError(f"argument 'compiled_cache' does not take {self.compiled_cache!r}")
        self.loop = given.get("loop")
        if not isinstance(self.loop, (asyncio.AbstractEventLoop, type(None))):
            raise ArgumentError(f"argument 'loop' does not take {self.loop!r}")
        self.connect = {name: value for name, value in given.items() if name not in _POOL_ARGUMENTS}
        cursorclass = self.connect.get("cursorclass", Cursor)
        if not (isinstance(cursorclass, type) and issubclass(cursorclass, Cursor)):
            raise ArgumentError("SQLAlchemy engine does not support this cursor class")
        check_arguments(self.connect)


def _check_dialect(dialect: Any) -> MySQLDialect:
    from sqlalchemy.dialects.mysql.base import MySQLDialect  # as late as in _default_dialect()

    if not isinstance(dialect, MySQLDialect):
        raise ArgumentError(f"argument 'dialect' takes a MySQL dialect, not {dialect!r}")
    return dialect


def _integer(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentError(f"argument {name!r} does not take {value!r}")
    return value


async def _create_engine(arguments: _Arguments) -> Engine:
    if arguments.loop is not None and arguments.loop is not asyncio.get_running_loop():
        raise ArgumentError("argument 'loop' is not the running event loop")

    async def open_connection() -> Connection:
        return await connect(**arguments.connect)

    pool = Pool(open_connection, arguments.minsize, arguments.maxsize or None, arguments.recycle)
    await pool.open()
    engine = Engine(arguments.dialect, pool, arguments.compiled_cache)
    try:
        engine._learn()
    except BaseException:
        engine.terminate()
        raise
    return engine


class Engine:
    """A source of connections to one server, made by `create_engine()`."""

    def __init__(
        self, dialect: Dialect, pool: Pool, compiled_cache: dict[Any, Any] | None = None
    ) -> None:
        self._dialect = dialect
        self._pool = pool
        self._compiled_cache = compiled_cache

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.Engine size={self.size} freesize={self.freesize}>"

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect."""
        return self._dialect

    @property
    def name(self) -> str:
        """The dialect's name, `mysql`."""
        return self._dialect.name

    @property
    def driver(self) -> str:
        """The dialect's driver, `pymysql`."""
        return self._dialect.driver

    @property
    def minsize(self) -> int:
        """The number of connections opened at the start."""
        return self._pool.minsize

    @property
    def maxsize(self) -> int | None:
        """The largest number of connections; `None`: no limit."""
        return self._pool.maxsize

    @property
    def size(self) -> int:
        """The number of connections."""
        return self._pool.size

    @property
    def freesize(self) -> int:
        """The number of idle connections."""
        return self._pool.freesize

    @property
    def closed(self) -> bool:
        """Whether `close()` has been called."""
        return self._pool.closing

    def acquire(self) -> AwaitableContext[SAConnection]:
        """Take a connection: await it and give it back with `release()`, or use `async with`.

        Waits while all are in use. Raises `RuntimeError` once the engine is closed.
        """
        return CallbackContext(self._acquire(), self._leave_connection)

    async def _acquire(self) -> SAConnection:
        raw = self._pool.take()
        if raw is None:
            raw = await self._pool.acquire()
        return SAConnection(raw, self, self._compiled_cache)

    def release(self, conn: SAConnection) -> Released:
        """Give a connection back; a second time does nothing.

        It is done when this returns. What is given back may be awaited, to wait for what a
        cancelled statement left to read. Raises `InvalidRequestError` within a transaction, which
        must be ended before, and for a connection of another engine.
        """
        if not isinstance(conn, SAConnection):
            raise ArgumentError(f"expected an SAConnection, got {type(conn).__name__}")
        if conn.in_transaction:
            raise InvalidRequestError("Cannot release a connection with not finished transaction")
        if conn._engine is not self:
            raise InvalidRequestError("the connection does not belong to this engine")
        raw = conn._detach()
        return Released(None if raw is None else self._pool.release(raw))

    async def _leave_connection(self, conn: SAConnection, error: BaseException | None) -> None:
        if conn._transaction is None and conn._connection is not None:
            conn._give_back()
            return
        unfinished = conn.in_transaction
        await conn.close()
        if unfinished and error is None:
            raise InvalidRequestError("Cannot release a connection with not finished transaction")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[SAConnection]:
        """Take a connection for the block, in a transaction committed at its end."""
        async with self.acquire() as conn, conn.begin():
            yield conn

    def close(self) -> None:
        """Close the idle connections, and the others as they come back."""
        self._pool.close()

    def terminate(self) -> None:
        """Close every connection, also those in use."""
        self._pool.terminate()

    async def wait_closed(self) -> None:
        """Wait until every connection has come back and is closed; `close()` comes first."""
        await self._pool.wait_closed()

    def _learn(self) -> None:
        """Tell the public dialect which server this is."""
        for raw in self._pool._idle:
            learn(self._dialect, raw.server_version)
            return

    async def _leave(self, error: BaseException | None) -> None:
        if error is None:
            self.close()
        else:
            # The error may be why a connection does not come back: do not wait for it.
            self.terminate()
        await self.wait_closed()

    async def __aenter__(self) -> Engine:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._leave(exc)

    def __enter__(self) -> Engine:
        raise RuntimeError('"yield from" should be used as context manager expression')

    def __exit__(self, *error: object) -> None:
        raise AssertionError("a block that cannot be entered was left")


class Released:
    """What `Engine.release()` gives: done already, but for what there is to wait for."""

    __slots__ = ("_task",)

    def __init__(self, task: asyncio.Task[None] | None) -> None:
        self._task = task

    def __await__(self) -> Generator[Any, Any, None]:
        if self._task is not None:
            yield from asyncio.shield(self._task)
