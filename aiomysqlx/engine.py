"""The engine: arguments to a dialect and a pool, and connections out of it."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, overload
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import NoInspectionAvailable
from sqlalchemy.inspection import _inspects

from .connection import SAConnection
from .exc import ArgumentError, InvalidRequestError, NotAsyncError
from .lending import Lender
from .pool.pool import Pool
from .pool.stats import PoolStats
from .pooling import new_pool, reclaim
from .reads import Reads
from .runtime.awaitable import AwaitableContext, CallbackContext
from .runtime.record import Absent, Lacking, Single
from .runtime.words import Place, place_of_block, type_name
from .sql.server import known_server, learn, taught
from .tables import Tables
from .wire.checks import check_seconds
from .wire.ending import commit
from .wire.session import Session

if TYPE_CHECKING:  # the standard library has Unpack from Python 3.11 on
    from sqlalchemy.dialects.mysql.base import MySQLDialect
    from typing_extensions import Unpack

    from .engine_types import EngineArguments
    from .holding import Holders
    from .hooks import Hooks
    from .settings import Settings
    from .wire.hosts import Hosts
    from .wire.options import ConnectOptions


T = TypeVar("T")
# The engines that have taught a dialect which server they are for.
_users: WeakKeyDictionary[Dialect, WeakSet[Engine]] = WeakKeyDictionary()

_CREATE = "engine = await create_engine(…), or async with create_engine(…) as engine"


def __getattr__(name: str) -> Any:
    if name == "_dialect":
        from .settings import default_dialect

        return default_dialect()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


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
    **arguments: Unpack[EngineArguments],
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
    **arguments: Unpack[EngineArguments],
) -> AwaitableContext[Engine]: ...
def create_engine(*args: Any, **kwargs: Any) -> AwaitableContext[Engine]:
    """Create an engine and open its first connections: await it, or use it with `async with`.

    `create_engine(minsize=1, maxsize=10, loop=None, dialect=…, pool_recycle=-1,
    compiled_cache=None, **arguments)`; a URL, `mysql://user:password@host:port/db?…`, may
    come first (or as `url=`) in place of connect arguments. It may have several hosts, with commas.

    docs/connecting.md has a table of all arguments: these, more of the pool's, and those of
    `connect()`. What may surprise:

    At least one connection is opened at once, and lost ones of *minsize* are replaced in the
    background. *maxsize* counts all connections (0: no limit). A connection is replaced when it is
    asked for, if it is unused for *pool_recycle*; up to a tenth before `max_lifetime` is over; and
    closed if idle for `max_idle` beyond *minsize*. `statement_timeout` also limits what begins and
    ends transactions.

    Without `reset`, what a borrower sets of autocommit, database, character sets and time zone is
    put back when the connection comes back; with `reset=True` its session is made as new.

    Raises `ArgumentError`, at once, for a wrong, unknown or contradictory argument. Awaiting it
    raises what `connect()` raises.
    """
    try:
        settings = _settings(args, kwargs)
    except ArgumentError as error:
        raise error.with_traceback(None)  # noqa: B904 - it is the same
    finally:
        del args, kwargs  # no traceback is to show the password
    return CallbackContext(_create_engine(settings), Engine._leave, _CREATE)


def _settings(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Settings:
    # What an engine connects with comes with the first one, here and below: 3 ms of an import.
    from .settings import POSITIONAL, EngineOptions, Settings

    url = kwargs.pop("url", None)
    if args and not isinstance(args[0], int):
        if not isinstance(args[0], (str, URL)):
            raise ArgumentError(
                "expected a URL like 'mysql://user:password@host/db', or 'minsize' as an int,"
                f" got {None if args[0] is None else type_name(type(args[0]))}"
            )
        if url is not None:
            raise ArgumentError("argument 'url' is given twice")
        url, args = args[0], args[1:]
    if len(args) > len(POSITIONAL):
        raise ArgumentError(
            f"expected at most {len(POSITIONAL)} positional arguments, got {len(args)}"
        )
    given = dict(zip(POSITIONAL, args, strict=False))
    in_url = {}
    if url is not None:
        from .url import from_url  # whoever gives none has no use for it: 0.2 ms of an import

        in_url = from_url(url)
    for more in (in_url, EngineOptions.named(kwargs)):
        twice = given.keys() & more.keys()
        if twice:
            name = min(twice)
            where = ", in the URL and by itself" if name in in_url else ""
            raise ArgumentError(f"argument {name!r} is given twice{where}")
        given.update(more)
    return Settings(given)


async def _create_engine(settings: Settings) -> Engine:
    if settings.loop is not None and settings.loop is not asyncio.get_running_loop():
        raise ArgumentError("argument 'loop' is not the running event loop: leave it out")
    engine = Engine(settings)
    await engine._pool.open()
    try:
        engine._learn()
    except BaseException:
        engine.terminate()
        raise
    return engine


def _new_pool(
    settings: Settings,
    hooks: Hooks | None,
    hosts: Hosts,
    sent_as_text: Counter[str],
    options: ConnectOptions,
    want: str | None = None,
) -> Pool:
    """Return a pool of sessions with these options, on hosts that are as *want* says."""
    from .upkeep import Upkeep
    from .wire.opening import opened_session

    init, reset = settings.init, settings.reset
    upkeep = Upkeep(
        partial(opened_session, options, hosts, want, sent_as_text=sent_as_text),
        init=hooks.begin if hooks is not None and (reset is True or init is not None) else None,
        reset=hooks.reset if hooks is not None and reset is not False else None,
        renews=reset is True,
    )
    reads = "" if want is None else " (reads)"
    return new_pool(settings, upkeep, options, hosts, named=reads)


class Engine(Tables, Lacking, Single, Lender):
    """A source of connections to a server, on one host or several, made by `create_engine()`."""

    if not TYPE_CHECKING:  # what SQLAlchemy's own engines have
        connect = Absent("acquire() gives a connection")
        dispose = Absent(
            "close() and wait_closed() end the engine, clear() replaces its connections"
        )
        execute = Absent("async with engine.acquire() as conn, and conn.execute()")
        raw_connection = Absent("async with engine.acquire() as conn, and conn.connection")
        run_sync = Absent("there is create_all() and drop_all()")
        scalar = Absent("async with engine.acquire() as conn, and conn.scalar()")

    if TYPE_CHECKING:  # which the module of what is lent cannot say

        def acquire(
            self,
            timeout: float | None = None,
            *,
            read_only: bool = False,
            after: str | bool | None = None,
        ) -> AwaitableContext[SAConnection]: ...
        def release(self, conn: SAConnection) -> Awaitable[None]: ...

    def __init__(self, settings: Settings) -> None:
        from .hooks import Hooks
        from .wire.addresses import PREFER_STANDBY
        from .wire.hosts import Hosts

        self._dialect = settings.dialect
        self._lends = SAConnection
        self._sent_as_text: Counter[str] = Counter()
        self._hosts = Hosts.of(settings.connect)
        self._compiled_cache = settings.compiled_cache
        self._acquire_timeout = settings.acquire_timeout
        self._statement_timeout = settings.statement_timeout
        self._tracks_gtids = settings.connect.track_gtids
        hooks = None
        if settings.init is not None or settings.reset is not False:
            lend = partial(SAConnection, engine=self, compiled_cache=self._compiled_cache)
            hooks = Hooks(lend, settings.init, settings.reset)
        # Without hooks, nothing of it refers to the engine: one that is dropped ends at once.
        make = partial(_new_pool, settings, hooks, self._hosts, self._sent_as_text)
        reading = settings.connect.but(read_only=True)
        self._pool = make(settings.connect)
        self._reads = Reads(self._pool, partial(make, reading, PREFER_STANDBY))
        self._holders: Holders | None = None
        if settings.held_warning is not None:
            from .holding import Holders  # which few ask for: 0.1 ms of an import

            self._holders = Holders(settings.held_warning, self._pool.home)
            self._lends = self._holders.lend

    @property
    def _pools(self) -> tuple[Pool, ...]:
        return (self._pool,) if self._reads.pool is None else (self._pool, self._reads.pool)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.Engine size={self.size} freesize={self.freesize}>"

    @property
    def dialect(self) -> Dialect:
        """The SQLAlchemy dialect, which knows the server.

        It is the one given, or the default of all engines; or a copy of that, if another engine
        uses it for a server of another version.
        """
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

    def stats(self) -> PoolStats:
        """Return the pool's state and what it has done so far, in numbers."""
        things: list[Any] = [thing for pool in self._pools for thing in pool.stock.things]
        hosts = self._hosts.stats(Counter(thing.address for thing in things))
        reads = None if self._reads.pool is None else self._reads.pool.stats()
        return self._pool.stats(dict(self._sent_as_text), hosts, reads)

    def _reclaim(self, conn: SAConnection, raw: Session, place: Place) -> None:
        """Return a connection to the pool whose `SAConnection` was dropped without a release."""
        reclaim(conn._pool, raw, place, conn)

    @asynccontextmanager
    async def begin(
        self,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
        after: str | bool | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[SAConnection]:
        """Acquire a connection for the block, in a transaction committed at its end.

        *isolation_level* and *read_only* are for this transaction, as in `SAConnection.begin()`. A
        transaction that only reads has one of the connections of `acquire(read_only=True)`, where
        the engine has several hosts; with *after*, wherever. *timeout* is for the acquire.

        Raises what `acquire()` and `SAConnection.begin()` raise, and `CommitUnknownError` where the
        answer to the COMMIT is lost.
        """
        place = place_of_block(sys._getframe(1))
        elsewhere = bool(read_only) and (after is not None or len(self._hosts.addresses) > 1)
        async with self.acquire(timeout, read_only=elsewhere, after=after) as conn:
            conn._place = place
            async with conn.begin(isolation_level=isolation_level, read_only=read_only):
                yield conn

    async def run(
        self,
        function: Callable[[SAConnection], Awaitable[T]],
        *,
        retries: int = 5,
        timeout: float | None = None,
        isolation_level: str | None = None,
        read_only: bool | None = None,
    ) -> T:
        """Run `async def function(conn)` in a transaction, and return what it returns.

        After an error that passes it is run again, *retries* times at most and after a pause, on
        whichever connection there is then, but only if surely nothing was committed: a deadlock, a
        conflict with another node, a lock that was waited for too long, a connection lost before
        its COMMIT was sent, a server that cannot be reached, is full or does not write. Never after
        a `CommitUnknownError`. *function* is to do nothing that may not be done twice but by
        *conn*.

        *timeout* is for all of it, in seconds: `StatementTimeoutError` then, and nothing is
        committed, or `CommitUnknownError`. *isolation_level* and *read_only* are those of
        `begin()`.
        """
        from .running import run  # which few have use for

        begin = partial(self.begin, isolation_level=isolation_level, read_only=read_only)
        return await run(begin, function, retries, timeout)

    @asynccontextmanager
    async def _for_tables(self) -> AsyncIterator[SAConnection]:
        """Acquire a connection for the block, and commit what is left to commit at its end."""
        async with self.acquire() as conn:
            yield conn
            if conn._session is not None and conn._session.in_transaction:
                await commit(conn._session)

    def clear(self) -> None:
        """Close the idle connections at once and the others as they come back; lend new ones.

        This is for a server that has changed behind its address: no connection that was opened
        before, or is being opened, is lent again. Up to *minsize* are opened anew.
        """
        self._pool.home.check_loop()
        for pool in self._pools:
            pool.clear()

    async def drain(self, timeout: float | None = None) -> int:
        """Replace every connection as it comes back, and wait until all old ones are closed.

        This is `clear()` for a server that is about to be restarted: nothing is refused, nothing
        that is in use is cut off, and what is lent meanwhile is new. Returns how many old
        connections are still in use after *timeout* seconds, 0 if none: these are replaced later.
        """
        if timeout is not None:
            check_seconds("timeout", timeout)
        self._pool.home.check_loop()
        old = [pool.drain() for pool in self._pools]
        return sum(await asyncio.gather(*(each.end(timeout) for each in old)))

    def close(self) -> None:
        """Close the idle connections, and the others as they come back."""
        self._pool.home.check_thread()
        for pool in self._pools:
            pool.close()

    def terminate(self) -> None:
        """Close every connection, also those in use."""
        self._pool.home.check_thread()
        for pool in self._pools:
            pool.terminate()

    async def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until every connection has come back and is closed; `close()` comes first.

        After *timeout* seconds, those still in use are closed as `terminate()` does. Raises
        `RuntimeError` before `close()`, and in another event loop.
        """
        await asyncio.gather(*(pool.wait_closed(timeout) for pool in self._pools))

    def _learn(self) -> None:
        """Teach the dialect which server this is.

        If another engine uses it for another server, teach a copy of it instead.
        """
        raw: Any  # of the pool's things
        for raw in self._pool.stock.idle:
            version = raw.server_version
            users = _users.setdefault(self._dialect, WeakSet())
            if known_server(self._dialect) != version and any(not user.closed for user in users):
                self._dialect = taught(self._dialect, version)
                return
            learn(self._dialect, version)
            users.add(self)
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
        raise NotAsyncError("expected async with, got with: async with engine, or engine.acquire()")

    def __exit__(self, *error: object) -> None:
        raise AssertionError("a block that cannot be entered was left")


# -- what SQLAlchemy's inspect(), and with it reflection, says of what is not its own --------------


class InspectionError(InvalidRequestError, NoInspectionAvailable):
    """An engine or a connection of this package was given to `inspect()` or to reflection."""


@_inspects(Engine, SAConnection)
def _refuse(subject: Any) -> NoReturn:
    raise InspectionError(
        "inspect(), reflect() and autoload_with= take one of SQLAlchemy's own engines or"
        f" connections, got {type_name(type(subject))}: make one with"
        " sqlalchemy.create_engine('mysql+pymysql://…'), and use it before the event loop runs, or"
        " in asyncio.to_thread()"
    )
