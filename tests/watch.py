"""What tests of the pool need to see: that something comes about, and that the books balance."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiomysqlx as sa


def now() -> float:
    """Give the time of the loop."""
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Let the loop go on until *condition* holds; fail after so many seconds."""
    deadline = now() + seconds
    while not condition():
        assert now() < deadline, f"not within {seconds} seconds"
        await asyncio.sleep(0.001)


async def passed(seconds: float) -> None:
    """Let so much time pass that a limit is reached."""
    end = now() + seconds
    await until(lambda: now() > end, seconds + 10)


async def steps(count: int = 5) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def spawn(awaitable: Any) -> asyncio.Future[Any]:
    """Run *awaitable* as a task."""
    task: asyncio.Future[Any] = asyncio.ensure_future(awaitable)
    return task


def kill(admin: Any, raw: Any, what: str = "CONNECTION") -> None:
    """End a connection, or what it does, on the server."""
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {what} {raw.thread_id()}")


def one(admin: Any, sql: str, *args: Any) -> Any:
    """Give the first value of what the server answers."""
    with admin.cursor() as cursor:
        cursor.execute(sql, args or None)
        return cursor.fetchone()[0]


def connections(admin: Any, db: str) -> int:
    """Count the server's connections to a database."""
    count = one(admin, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s", db)
    return int(count)


async def lend(engine: sa.Engine, count: int) -> list[Any]:
    """Lend so many connections at once; give the driver's connections."""
    lent = [await asyncio.wait_for(engine.acquire(), 10) for _ in range(count)]
    raws = [conn.connection for conn in lent]
    for conn in lent:
        await engine.release(conn)
    return raws


def at_rest(engine: sa.Engine, size: int | None = None) -> bool:
    """Tell whether everything is idle, and accounted for."""
    stats = engine.stats()
    balance = stats.opened - sum(stats.closed.values())
    settled = balance == stats.size == stats.idle and stats.in_use == stats.waiting == 0
    return settled and size in (None, stats.size)


async def check_capacity(engine: sa.Engine, maxsize: int) -> None:
    """All connections can be had at once, answer what they are asked, and the books balance."""
    lent = [await asyncio.wait_for(engine.acquire(), 10) for _ in range(maxsize)]
    answers = await asyncio.gather(
        *(conn.scalar("SELECT %s", number) for number, conn in enumerate(lent))
    )
    assert answers == list(range(maxsize))
    assert len({conn.connection for conn in lent}) == maxsize
    assert engine.stats().in_use == maxsize
    for conn in lent:
        await engine.release(conn)
    await until(lambda: at_rest(engine))
