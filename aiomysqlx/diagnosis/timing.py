"""How long things take: to find a server, to go to it and back, to borrow a connection."""

from __future__ import annotations

import asyncio
import math
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from ..engine import Engine
from ..wire.dialing import is_address
from .facts import PoolTest, Spread

_TASKS = 16
_STATEMENTS = 200
_QUESTION = "SELECT 1"


async def look_up(host: str, port: int) -> float | None:
    """Return the milliseconds that it takes to find the addresses of a name, which may have none.

    `None` if it is an address. In a thread of its own: one that hangs keeps nobody waiting, not
    even the end of the program.
    """
    if not host or is_address(host):
        return None
    loop = asyncio.get_running_loop()
    found: asyncio.Future[float] = loop.create_future()

    def tell(seconds: float) -> None:
        if not found.done():
            found.set_result(seconds)

    def ask() -> None:
        started = time.perf_counter()
        with suppress(OSError, UnicodeError):
            socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        with suppress(RuntimeError):  # the event loop is closed
            loop.call_soon_threadsafe(tell, time.perf_counter() - started)

    threading.Thread(target=ask, daemon=True).start()
    return milliseconds(await found)


async def repeated(work: Callable[[], Awaitable[object]], most: int, seconds: float) -> Spread:
    """Do something *most* times, but for no longer than *seconds* if it is done once."""
    clock = time.perf_counter
    end = clock() + seconds
    took: list[float] = []
    while len(took) < most and (not took or clock() < end):
        started = clock()
        await work()
        took.append(clock() - started)
    return spread(took)


async def released(engine: Engine, most: int, seconds: float) -> Spread:
    """Measure how long it is until a connection that has executed something can be lent again."""
    took: list[float] = []
    clock = time.perf_counter
    end = clock() + seconds
    while len(took) < most and (not took or clock() < end):
        conn = await engine.acquire()
        try:
            await conn.scalar(_QUESTION)
        finally:
            started = clock()
            await engine.release(conn)
        took.append(clock() - started)
    return spread(took)


async def tried_pool(engine: Engine, seconds: float) -> PoolTest:
    """Have tasks share the connections of an engine, for no longer than *seconds*."""
    before, clock = engine.stats(), time.perf_counter
    started = clock()
    left = iter(range(_STATEMENTS))
    tasks = [asyncio.ensure_future(_borrow(engine, left, started + seconds)) for _ in range(_TASKS)]
    try:
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        for task in tasks:
            task.cancel()
    took, after = clock() - started, engine.stats()
    errors = [each for each in outcomes if isinstance(each, BaseException)]
    return PoolTest(
        tasks=_TASKS,
        maxsize=engine.maxsize or 0,
        statements=sum(each for each in outcomes if isinstance(each, int)),
        seconds=round(took, 4),
        opened=after.opened - before.opened,
        waited=after.waited - before.waited,
        longest_wait=round(after.longest_wait, 4),
        error=str(errors[0]) if errors else None,
    )


async def _borrow(engine: Engine, left: Iterator[int], end: float) -> int:
    """Execute statements as long as any are *left*, and return how many."""
    executed = 0
    for _ in left:
        async with engine.acquire() as conn:
            await conn.scalar(_QUESTION)
        executed += 1
        if time.perf_counter() > end:
            break
    return executed


def spread(seconds: list[float]) -> Spread:
    """Return how long something took, of which there is at least one."""
    ordered = sorted(seconds)

    def at(part: float) -> float:
        return milliseconds(ordered[math.ceil(part * len(ordered)) - 1])

    return Spread(len(ordered), at(0.5), at(0.99))


def milliseconds(seconds: float) -> float:
    """Return seconds in milliseconds, to the microsecond."""
    return round(seconds * 1000, 3)
