"""Reads elsewhere: the connections of an engine that only read, on a standby if one is alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .exc import AcquireTimeoutError, ArgumentError, StatementTimeoutError
from .runtime.words import brief
from .wire.checks import check_read_only, check_seconds
from .wire.kept import set_of_session
from .wire.session import Session

if TYPE_CHECKING:
    from .pool.pool import Pool
    from .runtime.words import Place
    from .wire.addresses import Address

# How long a server is waited for that lags behind what is to be read, unless a time is given.
LAG_SECONDS = 1.0
# How long one that was too late is asked only, and not waited for.
LATE_SECONDS = 5.0
# After how long one that reads on the primary, as there was no standby, makes place for another.
MAKESHIFT_SECONDS = 30.0
# Of the seconds for an acquire, the part that may go by with that: the primary has the rest.
_PART = 0.5
_MAKESHIFT = "it was on the primary for want of a standby: acquire another"


class Reads:
    """The part of an engine's pool whose sessions only read: a pool, made once it is asked for.

    If their server lags behind what is to be read, a session of the *primary*'s pool reads instead.
    """

    def __init__(self, primary: Pool, make: Callable[[], Pool]) -> None:
        self.pool: Pool | None = None
        self._primary = primary
        self._make = make
        self._loop = primary.home.loop
        # Until when servers are taken to be late, by their addresses.
        self._late: dict[Address, float] = {}

    async def acquire(
        self,
        after: str | bool | None,
        timeout: float | None,
        default: float | None,
        place: Place | None,
    ) -> tuple[Session, Pool]:
        """Lend a session that only reads, whose server has what *after* is of, and its pool.

        Raises as `Engine.acquire()` does, with a *timeout* or else the engine's *default*.
        """
        end, seconds = None, LAG_SECONDS
        if timeout is not None:
            seconds = check_seconds("timeout", timeout) * _PART
        elif default is not None:
            timeout, seconds = default, min(seconds, default * _PART)
        if timeout is not None:
            end = self._loop.time() + timeout
        if self.pool is None:
            self.pool = await self._opened()
        raw: Session = await self.pool.acquire(timeout)
        while self._is_makeshift(raw):
            raw.close(_MAKESHIFT)
            self.pool.release(raw, place)
            raw = await self.pool.acquire(self._left(end))
        if after is None:
            return raw, self.pool
        try:
            if await self._has(raw, after, seconds):
                return raw, self.pool
        except BaseException:
            self.pool.release(raw, place)
            raise
        self.pool.release(raw, place)
        return await self._of_primary(after, self._left(end), place), self._primary

    def _left(self, end: float | None) -> float | None:
        return None if end is None else max(0.0, end - self._loop.time())

    def _is_makeshift(self, raw: Session) -> bool:
        """Tell whether a session has been on the primary for long, and may find a standby."""
        since = raw.connected_at
        if since is None or self._loop.time() < since + MAKESHIFT_SECONDS:
            return False
        return raw.hosts.has_standby_beside(raw.address)

    async def _opened(self) -> Pool:
        self._primary.check_open()
        # In none of the borrowers' contexts, whoever comes first.
        pool: Pool = self._primary.home.apart(self._make)
        await pool.begin()
        return pool

    async def _has(self, raw: Session, after: str | bool, seconds: float) -> bool:
        """Tell whether a session's server has what *after* is of, within *seconds*."""
        address = raw.address
        waits = self._late.get(address, 0.0) <= self._loop.time()
        from .wire.gtids import catch_up  # which few have use for: 0.1 ms of an import

        if await catch_up(raw, after, seconds, waits):
            self._late.pop(address, None)
            return True
        if waits and after is not True:
            self._late[address] = self._loop.time() + LATE_SECONDS
        return False

    async def _of_primary(
        self, after: str | bool, seconds: float | None, place: Place | None
    ) -> Session:
        """Lend a session of the primary's, which only reads until it is given back.

        Raises `AcquireTimeoutError` if that is no primary either, and lags.
        """
        end = None if seconds is None else self._loop.time() + seconds
        raw: Session = await self._primary.acquire(seconds)
        try:
            left = self._left(end)
            if left is None:
                await self._have_read(raw, after, LAG_SECONDS)
            else:
                with raw.limit(left):
                    await self._have_read(raw, after, left * _PART)
        except BaseException as error:
            self._primary.release(raw, place)
            if isinstance(error, StatementTimeoutError):
                raise AcquireTimeoutError(
                    f"no connection within {seconds:.3g} seconds: the primary has not answered"
                ) from error
            raise
        return raw

    async def _have_read(self, raw: Session, after: str | bool, seconds: float) -> None:
        """Have a session of the primary's only read, if it is one or has it within *seconds*."""
        from .wire.gtids import takes_writes

        if not (await self._has(raw, after, seconds) or await takes_writes(raw)):
            raise AcquireTimeoutError(
                f"no server that could be waited for has what is to be read after {after!r},"
                " and none of them is a primary"
            )
        if not raw.options.read_only:
            await set_of_session(raw, None, True)


def check_reads(read_only: object, after: object) -> None:
    """Raise `ArgumentError` if `Engine.acquire()` does not take these."""
    check_read_only(read_only)
    if after is not None and not read_only:
        raise ArgumentError("argument 'after' is for reads: it takes read_only=True beside it")
    if after is not None and after is not True and (not isinstance(after, str) or not after):
        raise ArgumentError(
            "argument 'after' takes a GTID, as SAConnection.last_gtid has it, True, or None,"
            f" got {brief(after)}"
        )
