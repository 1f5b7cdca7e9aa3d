"""The arguments of any pool, be it an engine's or one of a driver's connections."""

from __future__ import annotations

import asyncio
from typing import Any

from .exc import ArgumentError, SizeError
from .runtime.words import brief
from .wire.checks import check_seconds, number_or_truth
from .wire.option import Options, option
from .wire.options import ConnectOptions


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
            raise refusal(LendingOptions, "pool_recycle", self.recycle)
        self.acquire_timeout: float | None = seconds("acquire_timeout", options.acquire_timeout)
        self.max_lifetime: float | None = seconds("max_lifetime", options.max_lifetime)
        self.max_idle: float | None = seconds("max_idle", options.max_idle)
        ping = options.pool_pre_ping
        if not isinstance(ping, bool):
            check_seconds("pool_pre_ping", ping)
        self.pre_ping: float | None = None if ping is False else 0.0 if ping is True else ping


def check_loop(loop: Any) -> asyncio.AbstractEventLoop | None:
    """Return *loop*; raises `ArgumentError` if it is no event loop."""
    if not isinstance(loop, (asyncio.AbstractEventLoop, type(None))):
        raise refusal(ConnectOptions, "loop", loop)
    return loop


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise refusal(LendingOptions, name, value)
    return value


def refusal(options: type[Options], name: str, value: Any) -> ArgumentError:
    """Return the error for a value of an option that is none."""
    expected = options.fields[name].expected
    return ArgumentError(f"argument {name!r} does not take {brief(value)}: expected {expected}")


def seconds(name: str, value: Any) -> float | None:
    """Return a bound in seconds, or `None` for no bound; raises `ArgumentError` for others."""
    return None if value is None else check_seconds(name, value)
