"""The tasks of a pool and its connections, whatever the event loop makes of its users' tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import aiomysqlx as sa

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]


async def lend(engine: sa.Engine) -> None:
    async with engine.acquire() as one, engine.acquire() as other:
        assert await one.scalar("SELECT 1") == await other.scalar("SELECT 1") == 1


async def clean_up(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        await conn.execute("SET @a = 1, autocommit = 0")
        await conn.execute("SELECT 1 FROM DUAL")


async def cut_off(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("SELECT SLEEP(1)", timeout=0.05)


async def run_again(engine: sa.Engine) -> None:
    async def work(conn: sa.SAConnection) -> Any:
        return await conn.scalar("SELECT 1")

    assert await engine.run(work, timeout=5) == 1


USES = {"lent": lend, "cleaned up": clean_up, "killed": cut_off, "run again": run_again}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_own_tasks_are_not_made_by_the_loops_factory(
    connect_kwargs: Kwargs, use: Callable[[sa.Engine], Awaitable[None]]
) -> None:
    """An eager one would run in the middle of what the pool does, its connection in no list."""
    loop = asyncio.get_running_loop()
    made = []

    def factory(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        made.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    options: Kwargs = {"minsize": 0, "maxsize": 2, "kill_on_cancel": True, "reset": True}
    loop.set_task_factory(factory)
    try:
        engine = await sa.create_engine(**connect_kwargs, **options, pool_pre_ping=True)
        await use(engine)
        await lend(engine)
    finally:
        loop.set_task_factory(None)
    engine.close()
    await engine.wait_closed()

    assert made == []
