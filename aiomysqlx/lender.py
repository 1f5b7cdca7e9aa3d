"""The driver's pool: lends DB-API connections, with the names of aiomysql's."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Awaitable, Coroutine, Generator, Iterable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from .customs import with_customs
from .driver import Connection, check_cursor_class, connection_of
from .exc import ArgumentError, InvalidRequestError, NotAsyncError
from .pool_settings import LendingOptions, PoolSettings, check_loop
from .pooling import Released, new_pool, reclaim
from .runtime.awaitable import DONE, AwaitableContext, CallbackContext
from .runtime.record import Single
from .runtime.words import Place, brief, shown
from .upkeep import Upkeep, logger
from .wire.checks import check_seconds
from .wire.hosts import Hosts
from .wire.opening import opened_session
from .wire.options import ConnectOptions
from .wire.session import Session
from .wire.settling import settled

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Self, Unpack

    from .argument_types import PoolArguments

_CREATE = "pool = await create_pool(…), or async with create_pool(…) as pool"
_RELEASED_TWICE = (
    "a connection was released a second time, at %s: it is left to who has acquired it since, at %s"
)
_ACQUIRE = "conn = await pool.acquire(), or async with pool.acquire() as conn"


class PooledOptions(LendingOptions, ConnectOptions):
    """What `create_pool()` takes: the options of its connections, and of its pool."""


def create_pool(
    minsize: int = 1,
    maxsize: int = 10,
    echo: bool | str = False,
    pool_recycle: float = -1,
    loop: asyncio.AbstractEventLoop | None = None,
    **kwargs: Unpack[PoolArguments],
) -> AwaitableContext[Pool]:
    """Create a pool and open *minsize* connections: await it, or use it with `async with`.

    The other arguments are those of `connect()`, and `acquire_timeout`, `pool_pre_ping`,
    `max_lifetime`, `max_idle` and `max_waiting` of `create_engine()`. *maxsize* 0 is no limit.

    Raises `ArgumentError` for a wrong argument, which is a `ValueError` if sizes do not fit.
    Awaiting it raises what `connect()` raises.
    """
    try:
        check_loop(loop)
        own = {"minsize": minsize, "maxsize": maxsize, "pool_recycle": pool_recycle, "echo": echo}
        # The rest may have other names of these.
        own = {name: value for name, value in own.items() if not _is_default(name, value)}
        given = PooledOptions.named({**own, **kwargs})
        lending = {name: given.pop(name) for name in LendingOptions.fields if name in given}
        lending = {name: value for name, value in lending.items() if value is not None}
        settings = PoolSettings(LendingOptions(**lending))
        options = settled(with_customs(given))
        check_cursor_class(options)
    except ArgumentError as error:
        raise error.with_traceback(None)  # noqa: B904 - it is the same
    finally:
        given = {}
        del kwargs  # no traceback is to show the password
    return CallbackContext(_create_pool(settings, options, loop), Pool._leave, _CREATE)


def _is_default(name: str, value: object) -> bool:
    default = PooledOptions.fields[name].default
    return type(value) is type(default) and value == default


async def _create_pool(
    settings: PoolSettings, options: ConnectOptions, loop: asyncio.AbstractEventLoop | None
) -> Pool:
    if loop is not None and loop is not asyncio.get_running_loop():
        raise ArgumentError("argument 'loop' is not the running event loop: leave it out")
    pool = Pool(settings, options)
    await (pool._pool.open() if settings.minsize else pool._pool.begin())
    return pool


class Pool(Single):
    """A pool of DB-API connections, made by `create_pool()`.

    Connections are lent in turn. A transaction that is left open is rolled back when its
    connection comes back, and what was set of the session (autocommit, database, character set,
    time zone) is put back. A lost connection of *minsize* is replaced in the background.
    """

    def __init__(self, settings: PoolSettings, options: ConnectOptions) -> None:
        hosts = Hosts.of(options)
        upkeep = Upkeep(partial(opened_session, options, hosts), owner="pool")
        self._pool = new_pool(settings, upkeep, options, hosts, rotates=True)
        self._acquire_timeout = settings.acquire_timeout
        self._options = options
        self._closed = False
        # Who has what is lent.
        self._loans: dict[Session, _Loan] = {}
        self._this = weakref.ref(self)

    def __repr__(self) -> str:
        return f"<aiomysqlx.Pool size={self.size} freesize={self.freesize}>"

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
        """The number of connections, with those that are being opened."""
        return self._pool.size

    @property
    def freesize(self) -> int:
        """The number of connections that are idle, or about to be: on their way back."""
        stock = self._pool.stock
        return stock.size - len(stock.lent) - stock.underway.opening

    @property
    def echo(self) -> bool | str:
        """Whether statements are logged, as `connect()` has it."""
        return self._options.echo

    @property
    def closed(self) -> bool:
        """Whether all connections are closed, after `wait_closed()`."""
        return self._closed

    @property
    def _free(self) -> list[Connection]:
        """The connections that are idle or on their way back, as aiomysql has them."""
        lent, things = self._pool.stock.lent, self._pool.stock.things
        free: Iterable[Any] = [thing for thing in things if thing not in lent]
        return [connection_of(session) for session in free]

    @property
    def _used(self) -> set[Connection]:
        """The connections that are lent, as aiomysql has them."""
        lent: Iterable[Any] = self._pool.stock.lent
        return {connection_of(session) for session in lent}

    # -- lending ---------------------------------------------------------------------------------

    def acquire(self, timeout: float | None = None) -> AwaitableContext[Connection]:
        """Acquire a connection: await it and `release()` it afterwards, or use `async with`.

        Waits while all are in use; raises `AcquireTimeoutError` after *timeout* seconds, by default
        `acquire_timeout`. Raises what `connect()` raises if a connection has to be opened and
        cannot, and `RuntimeError` once the pool is closed, and in another event loop.
        """
        frame = sys._getframe(1)
        place = frame.f_code, frame.f_lasti
        return _Acquire(self._acquire(timeout, place), self)

    async def _acquire(self, timeout: float | None, place: Place) -> Connection:
        if timeout is None:
            timeout = self._acquire_timeout
        else:
            check_seconds("timeout", timeout)
        session = self._pool.take()
        if session is None:
            session = await self._pool.wait(timeout)
        connection = connection_of(session)
        _lend(self, session, connection, place)
        return connection

    def release(self, conn: Connection) -> Awaitable[None]:
        """Return a connection to the pool; do nothing the second time.

        The release is done when this returns. The return value may be awaited, to wait until the
        connection can be lent again. Raises `InvalidRequestError` for a connection of another
        pool, and `RuntimeError` in another event loop.

        Whoever acquires the connection next gets the same object, so that a second release may be
        theirs: do not release twice. It does nothing, and the log has a warning, in a task that has
        had the connection just before, while another task that has acquired it since goes on.
        """
        if not isinstance(conn, Connection):
            raise ArgumentError(f"expected a Connection of this pool, got {brief(conn)}")
        self._pool.home.check_loop()
        session = conn._session
        loan = self._loans.get(session)
        if loan is not None and not _may_release(loan, self._pool.home.loop):
            frame = sys._getframe(1)
            place = shown((frame.f_code, frame.f_lasti))
            logger.warning(_RELEASED_TWICE, place, shown(loan.place))
            return DONE
        return self._release(session)

    def _release(self, session: Session) -> Awaitable[None]:
        loan = self._loans.pop(session, None)
        if loan is None or not self._pool.lends(session):
            if not session.closed and session not in self._pool.stock.things:
                raise InvalidRequestError("the connection does not belong to this pool")
            return DONE
        session.former = loan.task
        future = self._pool.release(session, loan.place)
        return DONE if future is None else Released(future)

    def __await__(self) -> Generator[Any, Any, Held]:
        """Acquire a connection for a `with` block, as in aiomysql: `with await pool as conn`."""
        frame = sys._getframe(1)
        connection = yield from self._acquire(None, (frame.f_code, frame.f_lasti)).__await__()
        return Held(self, connection)

    async def clear(self) -> None:
        """Close the idle connections at once and the others as they come back; lend new ones."""
        self._pool.home.check_loop()
        self._pool.clear()

    # -- closing ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the idle connections, and the others as they come back."""
        self._pool.home.check_thread()
        self._pool.close()

    def terminate(self) -> None:
        """Close every connection, also those in use."""
        self._pool.home.check_thread()
        self._pool.terminate()

    async def wait_closed(self, timeout: float | None = None) -> None:
        """Wait until every connection has come back and is closed; `close()` comes first.

        After *timeout* seconds, those still in use are closed as `terminate()` does. Raises
        `RuntimeError` before `close()`, and in another event loop.
        """
        if not self._closed:
            await self._pool.wait_closed(timeout)
            self._closed = True

    async def _leave(self, error: BaseException | None) -> None:
        if error is None:
            self.close()
        else:
            # The error may be why a connection does not come back: do not wait for it.
            self.terminate()
        await self.wait_closed()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._leave(exc)

    def __enter__(self) -> NoReturn:
        raise NotAsyncError("expected async with, got with: async with pool, or pool.acquire()")

    def __exit__(self, *error: object) -> None:
        raise AssertionError("a block that cannot be entered was left")


class _Loan(weakref.ref[Connection]):
    """Whom a connection is lent to: one that is dropped without a release comes back by this."""

    __slots__ = ("place", "pool", "session", "task")

    place: Place
    pool: weakref.ref[Pool]
    session: Session
    task: weakref.ref[asyncio.Task[Any]] | None  # the one that has acquired it


def _lend(pool: Pool, session: Session, connection: Connection, place: Place) -> None:
    loan = _Loan(connection, _end)
    loan.session, loan.place, loan.pool = session, place, pool._this
    task = asyncio.current_task(pool._pool.home.loop)
    loan.task = None if task is None else weakref.ref(task)
    pool._loans[session] = loan


def _may_release(loan: _Loan, loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether what is lent may be meant by a release in this task.

    A task may release what another one has acquired. One that has had the connection just before
    means that, though, and as long as the other one goes on, that one may be using it.
    """
    former, borrower = loan.session.former, loan.task
    if former is None or borrower is None:
        return True
    task, other = asyncio.current_task(loop), borrower()
    if task is None or other is None or other is task or other.done():
        return True
    return former() is not task


def _end(loan: Any) -> None:
    pool: Pool | None = loan.pool()
    if pool is None:
        return
    session: Session = loan.session
    if session in pool._loans and pool._loans[session] is loan:
        del pool._loans[session]
        reclaim(pool._pool, session, loan.place, None)


class _Acquire(AwaitableContext[Connection]):
    """What `Pool.acquire()` returns."""

    __slots__ = ("_lease", "_pool")
    _usage = _ACQUIRE

    def __init__(self, coroutine: Coroutine[Any, Any, Connection], pool: Pool) -> None:
        super().__init__(coroutine)
        self._pool = pool

    async def __aenter__(self) -> Connection:
        connection: Connection = await self._coroutine
        self._value, self._lease = connection, connection._session.lease
        return connection

    def _leave(self, value: Connection, error: BaseException | None) -> Awaitable[None]:
        _take_back(self._pool, value, self._lease)
        return DONE


def _take_back(pool: Pool, connection: Connection, lease: int) -> None:
    """Release what its block may have released: others may have it since, as the same object."""
    if connection._session.lease == lease:
        pool._pool.home.check_loop()
        pool._release(connection._session)


class Held:
    """A connection that was acquired by `await pool`, released at the end of its block."""

    __slots__ = ("_connection", "_lease", "_pool")

    def __init__(self, pool: Pool, connection: Connection) -> None:
        self._pool = pool
        self._connection = connection
        self._lease = connection._session.lease

    def __enter__(self) -> Connection:
        return self._connection

    def __exit__(self, *error: object) -> None:
        _take_back(self._pool, self._connection, self._lease)

    async def __aenter__(self) -> Connection:
        return self._connection

    def __aexit__(self, *error: object) -> Coroutine[Any, Any, None]:
        return _released(self._pool, self._connection, self._lease)


async def _released(pool: Pool, connection: Connection, lease: int) -> None:
    _take_back(pool, connection, lease)
