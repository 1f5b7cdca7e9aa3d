"""How a pool of sessions is made, and what becomes of one that nobody has given back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from .pool.home import Ages
from .pool.pool import Pool
from .runtime.words import Place, shown, warn_at
from .wire.observing import observer_of
from .wire.session import Session

if TYPE_CHECKING:
    from .pool_settings import PoolSettings
    from .upkeep import Upkeep
    from .wire.hosts import Hosts
    from .wire.options import ConnectOptions


def new_pool(
    settings: PoolSettings,
    upkeep: Upkeep,
    options: ConnectOptions,
    hosts: Hosts,
    *,
    named: str = "",
    rotates: bool = False,
) -> Pool:
    """Return a pool of the sessions that *upkeep* opens, with these options and on these hosts.

    *named* is put behind its name, which OpenTelemetry is told.
    """
    ages = Ages(
        asyncio.get_running_loop(),
        settings.recycle,
        settings.pre_ping,
        settings.max_lifetime,
        settings.max_idle,
    )
    make: Callable[..., Pool] = Pool
    observer = observer_of(options)
    if observer is not None and observer.telemetry is not None:
        from .telemetry import MeteredPool  # which imports OpenTelemetry

        name = f"{','.join(map(str, hosts.addresses))}/{options.db or ''}{named}"
        make = partial(MeteredPool, observer.telemetry, name)
    return make(
        upkeep,
        settings.minsize,
        settings.maxsize or None,
        ages,
        settings.max_waiting,
        options.connect_timeout or 0.0,
        rotates,
    )


def reclaim(pool: Pool | None, session: Session, place: Place, source: object) -> None:
    """Have a pool take back what was acquired at *place* and dropped without a release."""
    if pool is None or not pool.lends(session):
        return
    with suppress(RuntimeError):  # the event loop is closed
        pool.home.loop.call_soon_threadsafe(pool.reclaim, session, place)
    # Last: it may be an error.
    warn_at(place, f"a connection acquired at {shown(place)} was never released", source)


class Released:
    """What `Engine.release()` returns for a connection that is not at rest yet."""

    __slots__ = ("_future",)

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self._future = future

    def __await__(self) -> Generator[Any, Any, None]:
        yield from asyncio.wait([self._future]).__await__()
