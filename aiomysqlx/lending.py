"""What every borrowing goes through: how a connection is asked for, lent and given back.

All else of an engine and a connection is in engine.py and connection.py.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any

from .exc import ArgumentError, InvalidRequestError
from .pooling import Released
from .reads import Reads, check_reads
from .runtime.awaitable import DONE, AwaitableContext
from .runtime.words import Place, brief
from .wire.checks import check_seconds
from .wire.session import Session

if TYPE_CHECKING:
    from types import FrameType

    from .blocks import Blocks
    from .driver import Connection
    from .pool.pool import Pool
    from .sql.planner import Planner

_UNFINISHED = "Cannot release a connection with not finished transaction: commit it or roll it back"
_ROLLED_BACK = (
    f"{_UNFINISHED} before its block ends, or begin it by async with conn.begin(); it has been"
    " rolled back"
)
# How many frames the caller of a function here is above its own: compiled, it has none.
_CALLER = int(sys._getframe().f_globals is globals())


class Lent:
    """A connection on its way from and to an engine, without all that it does meanwhile."""

    __slots__ = (
        "_blocks",
        "_compiled_cache",
        "_connection",
        "_engine",
        "_gtid",
        "_place",
        "_planner",
        "_pool",
        "_released",
        "_session",
        "_syntax",
        "_timeout",
        "_warnings",
    )

    def __init__(
        self,
        connection: Connection | Session | None,
        engine: Any,
        compiled_cache: dict[Any, Any] | None = None,
    ) -> None:
        self._connection: Connection | None = None
        self._session: Session | None = None  # none yet: the engine that lends it sets it
        if connection is not None:
            if isinstance(connection, Session):
                self._session = connection
            else:
                self._connection, self._session = connection, connection._session
        self._engine = engine
        self._compiled_cache = compiled_cache
        self._released = False
        # Of the latest that was committed, once the connection is given back.
        self._gtid: str | None = None
        # Set by the engine that lends the connection.
        self._place: Place | None = None
        self._pool: Pool | None = None
        self._timeout: float | None = None
        self._blocks: Blocks | None = None  # made at the first transaction
        # What the planner is for: how the server reads a statement.
        self._syntax: tuple[str, int] = _NO_SYNTAX
        self._planner: Planner | None = None
        self._warnings: bool | None = None

    def _detach(self) -> Session | None:
        """Return the session, the first time; from then on nothing is executed on it."""
        if self._released:
            return None
        self._released = True
        if self._blocks is not None:
            self._blocks.detach()
        raw = self._session
        if raw is not None and raw.protocol.last_gtid is not None:
            self._gtid = raw.protocol.last_gtid
            if self._pool is not None:  # the next borrower has committed nothing yet
                raw.protocol.last_gtid = None
        return raw

    def __del__(self) -> None:
        session = getattr(self, "_session", None)  # none has what could not be made
        if session is not None and self._place is not None and not self._released:
            self._engine._reclaim(self, session, self._place)


_NO_SYNTAX = "", 0


class Acquire(AwaitableContext[Any]):
    """What `Engine.acquire()` returns."""

    __slots__ = ()
    _usage = "conn = await engine.acquire(), or async with engine.acquire() as conn"

    def __init__(self, coroutine: Coroutine[Any, Any, Any], conn: Lent) -> None:
        super().__init__(coroutine)
        self._value = conn  # to which the coroutine gives a session

    def __aenter__(self) -> Coroutine[Any, Any, Any]:
        return self._coroutine

    def _leave(self, value: Lent, error: BaseException | None) -> Awaitable[None]:
        lender: Lender = value._engine
        return lender._take_back(value, error)


class Lender:
    """What lends connections out of a pool."""

    __slots__ = (
        "_acquire_timeout",
        "_compiled_cache",
        "_lends",
        "_pool",
        "_reads",
        "_statement_timeout",
    )

    _acquire_timeout: float | None
    _compiled_cache: dict[Any, Any] | None
    _lends: Callable[..., Any]  # SAConnection, or what makes one and looks after it
    _pool: Pool
    _reads: Reads
    _statement_timeout: float | None

    def acquire(
        self,
        timeout: float | None = None,
        *,
        read_only: bool = False,
        after: str | bool | None = None,
    ) -> AwaitableContext[Any]:
        """Acquire a connection: await it and `release()` it afterwards, or use `async with`.

        Waits while all are in use; raises `AcquireTimeoutError` after *timeout* seconds, by default
        the engine's `acquire_timeout`. Raises what `connect()` raises if a connection has to be
        opened and cannot, `TooManyWaitingError` if *max_waiting* wait already, and `RuntimeError`
        once the engine is closed, in another event loop and in a forked process.

        With *read_only* the connection is one of those whose transactions only read, on a standby
        if one is alive. It reads *after* what has that GTID, a connection's `last_gtid`, or with
        `True` after all that was committed before, in a cluster: a standby that lags is waited for,
        for half of the timeout or a second, and then the primary is read.
        """
        if read_only is not False or after is not None:
            check_reads(read_only, after)
            if read_only:
                conn = self._new(sys._getframe(_CALLER))
                return Acquire(self._acquire_to_read(conn, after, timeout), conn)
        return self._lend(timeout, sys._getframe(_CALLER))

    def _new(self, frame: FrameType) -> Lent:
        conn: Lent = self._lends(None, self, self._compiled_cache)
        conn._place = frame.f_code, frame.f_lasti
        conn._pool = self._pool
        conn._timeout = self._statement_timeout
        return conn

    def _lend(self, timeout: float | None, frame: FrameType) -> Acquire:
        conn = self._new(frame)
        return Acquire(self._acquire(conn, timeout), conn)

    async def _acquire(self, conn: Lent, timeout: float | None) -> Lent:
        if timeout is None:
            timeout = self._acquire_timeout
        else:
            check_seconds("timeout", timeout)
        raw = self._pool.take()
        if raw is None:
            raw = await self._pool.wait(timeout)
        conn._session = raw
        return conn

    async def _acquire_to_read(
        self, conn: Lent, after: str | bool | None, timeout: float | None
    ) -> Lent:
        default, place = self._acquire_timeout, conn._place
        conn._session, conn._pool = await self._reads.acquire(after, timeout, default, place)
        return conn

    def _take_back(self, conn: Lent, error: BaseException | None) -> Awaitable[None]:
        """Close a connection whose block is over: at once, if there is nothing to roll back."""
        blocks = conn._blocks
        if blocks is not None and blocks.current is not None:
            return _close_unfinished(conn, error)
        self._pool.home.check_loop()
        raw = conn._detach()
        conn._session = conn._connection = None
        if raw is not None and conn._pool is not None:
            conn._pool.release(raw, conn._place)
        return DONE

    def release(self, conn: Any) -> Awaitable[None]:
        """Return a connection to the pool; do nothing the second time.

        The release is done when this returns. The return value may be awaited, to wait until the
        connection can be lent again: what a cancelled statement left is read, a transaction of the
        server's is rolled back, the session's settings are put back, `reset` is run. Raises
        `InvalidRequestError` within a transaction, which must be ended before, and for a connection
        of another engine; `RuntimeError` in another event loop, and in a thread without one.
        """
        if not isinstance(conn, Lent):
            raise ArgumentError(f"expected an SAConnection, got {brief(conn)}")
        block = None if conn._blocks is None else conn._blocks.current
        if block is not None and block.is_active:
            raise InvalidRequestError(_UNFINISHED)
        if conn._engine is not self:
            raise InvalidRequestError(
                "the connection does not belong to this engine: release it to its own"
            )
        if conn._pool is None:  # built around a connection that is somebody else's
            conn._detach()
            return DONE
        self._pool.home.check_loop()
        raw = conn._detach()
        if raw is None:
            return DONE
        future = conn._pool.release(raw, conn._place)
        return DONE if future is None else Released(future)


async def _close_unfinished(conn: Any, error: BaseException | None) -> None:
    """Roll back, release, and refuse a block that has left its transaction to that."""
    unfinished = conn.in_transaction
    await conn.close()
    if unfinished and error is None:
        raise InvalidRequestError(_ROLLED_BACK)
