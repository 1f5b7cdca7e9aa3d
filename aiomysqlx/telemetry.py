"""OpenTelemetry: what instruments this package, and the metrics of a pool.

The spans and durations of statements are made in `wire/spans.py`.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import CallbackOptions, Histogram, Observation

from .pool.pool import Pool
from .wire import observing
from .wire.spans import SECONDS, Telemetry

if TYPE_CHECKING:
    from .pool.keeper import Keeper, Thing
    from .pool.stats import PoolStats
    from .runtime.words import Place

_POOL = "db.client.connection.pool.name"
_STATE = "db.client.connection.state"


class AiomysqlxInstrumentor:
    """Has OpenTelemetry told of all engines and connections that are made from then on.

    Those that are made with `telemetry=False` are left out. All objects of this class are one and
    the same instrumentor, as OpenTelemetry's own have it; `opentelemetry-instrument` finds it.
    """

    def instrument(
        self, *, tracer_provider: Any = None, meter_provider: Any = None, **_others: Any
    ) -> None:
        """Begin; do nothing the second time. Without a provider the program's own is used."""
        if observing.instrumented is None:
            observing.instrumented = Telemetry(tracer_provider, meter_provider)

    def uninstrument(self, **_others: Any) -> None:
        """End, also for the engines and connections that there are."""
        telemetry, observing.instrumented = observing.instrumented, None
        if telemetry is not None:
            telemetry.is_on = False

    @property
    def is_instrumented_by_opentelemetry(self) -> bool:
        """Whether it is between `instrument()` and `uninstrument()`."""
        return observing.instrumented is not None

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return what has to be installed besides: nothing."""
        return ()


class PoolMetrics:
    """The metrics of the pools that one `Telemetry` is told of."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._pools: dict[str, weakref.ref[MeteredPool]] = {}
        self._lock = threading.Lock()  # for engines of several threads
        meter = telemetry.meter
        self.waits: Histogram
        self.uses: Histogram
        self.openings: Histogram
        self.waits, self.uses, self.openings = (
            meter.create_histogram(
                f"db.client.connection.{name}",
                unit="s",
                description=description,
                explicit_bucket_boundaries_advisory=SECONDS,
            )
            for name, description in (
                ("wait_time", "The time it took to obtain an open connection from the pool."),
                ("use_time", "The time between borrowing a connection and returning it."),
                ("create_time", "The time it took to create a new connection."),
            )
        )
        for name, unit, counts, description in _COUNTED:
            make: Any = meter.create_observable_up_down_counter
            if name == "timeouts":
                make = meter.create_observable_counter
            make(
                f"db.client.connection.{name}",
                [self._observer(counts)],
                unit=unit,
                description=description,
            )

    def add(self, pool: MeteredPool, name: str) -> str:
        """Tell of *pool* too; return a name that it has alone, which is *name* if that is free."""
        with self._lock:
            number, free = 1, name
            while self._known(free) is not None:
                number += 1
                free = f"{name}#{number}"
            self._pools = {**self._pools, free: weakref.ref(pool)}
            return free

    def _known(self, name: str) -> MeteredPool | None:
        """Return the pool of that name, if it is in use."""
        pool = self._pools[name]() if name in self._pools else None
        if pool is None or pool.home.inherited or (pool.closing and not pool.size):
            return None
        return pool

    def _observer(self, counts: Counts) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return what OpenTelemetry calls for the numbers of all pools, in a thread of its own."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            if not self._telemetry.is_on:
                return
            for name in self._pools:
                pool = self._known(name)
                if pool is None:
                    continue
                for state, count in counts(pool, pool.stats()).items():
                    attributes = {_POOL: name, _STATE: state} if state else {_POOL: name}
                    yield Observation(count, attributes)

        return observe


class MeteredPool(Pool):
    """A pool that OpenTelemetry is told of."""

    def __init__(
        self, telemetry: Telemetry, name: str, keeper: Keeper, *arguments: Any, **options: Any
    ) -> None:
        if telemetry.pools is None:
            telemetry.pools = PoolMetrics(telemetry)
        self._metrics: PoolMetrics = telemetry.pools
        self._telemetry = telemetry
        self._lent_since: dict[Thing, float] = {}
        timed: Any = _Timed(keeper, self._opened)
        super().__init__(timed, *arguments, **options)
        self._attributes = {_POOL: self._metrics.add(self, name)}

    def take(self) -> Any:
        """Lend an idle thing; `None` if there is none that can be lent as it is."""
        started = time.perf_counter()
        thing = super().take()
        if thing is not None:
            self._lend(thing, started)
        return thing

    async def wait(self, timeout: float | None = None) -> Any:
        """Lend a thing, after `take()` has found none: a new one, or the next that comes back."""
        started = time.perf_counter()
        thing = await super().wait(timeout)
        self._lend(thing, started)
        return thing

    def release(self, thing: Thing, place: Place | None = None) -> Any:
        """Take a thing back, which was acquired at *place*."""
        self._end(thing)
        return super().release(thing, place)

    def reclaim(self, thing: Thing, place: Place | None = None) -> None:
        """Close a thing whose borrower has gone without a word."""
        self._end(thing)
        super().reclaim(thing, place)

    def terminate(self) -> None:
        """Close all things, also those that are lent."""
        self._lent_since.clear()
        super().terminate()

    def _lend(self, thing: Thing, started: float) -> None:
        now = self._lent_since[thing] = time.perf_counter()
        self._record(self._metrics.waits, now - started)

    def _end(self, thing: Thing) -> None:
        since = self._lent_since.pop(thing, None)
        if since is not None:
            self._record(self._metrics.uses, time.perf_counter() - since)

    def _opened(self, seconds: float) -> None:
        self._record(self._metrics.openings, seconds)

    def _record(self, histogram: Any, seconds: float) -> None:
        if self._telemetry.is_on:
            histogram.record(seconds, self._attributes)


class _Timed:
    """A pool's keeper that tells how long it has taken to open a thing."""

    def __init__(self, keeper: Keeper, opened: Callable[[float], None]) -> None:
        self._keeper = keeper
        self._opened = opened

    async def open(self) -> Any:
        """Open a thing."""
        started = time.perf_counter()
        thing = await self._keeper.open()
        self._opened(time.perf_counter() - started)
        return thing

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keeper, name)


Counts = Callable[["MeteredPool", "PoolStats"], dict[str, int]]


def _of(count: int | None) -> dict[str, int]:
    """Return a number that is of no one state, if there is one."""
    return {} if count is None else {"": count}


# The names, units and numbers of what is counted, and how the conventions describe it.
_COUNTED: tuple[tuple[str, str, Counts, str], ...] = (
    (
        *("count", "{connection}"),
        lambda pool, stats: {"idle": stats.idle, "used": stats.in_use},
        "The number of connections that are currently in the state described by the attribute.",
    ),
    (
        *("max", "{connection}"),
        lambda pool, stats: _of(pool.maxsize),
        "The maximum number of open connections allowed.",
    ),
    (
        *("idle.min", "{connection}"),
        lambda pool, stats: _of(pool.minsize),
        "The minimum number of idle open connections allowed.",
    ),
    (
        *("pending_requests", "{request}"),
        lambda pool, stats: _of(stats.waiting),
        "The number of current pending requests for an open connection.",
    ),
    (
        *("timeouts", "{timeout}"),
        lambda pool, stats: _of(stats.timeouts),
        "The number of timeouts that have occurred trying to obtain a connection from the pool.",
    ),
)
