"""anyio: its scopes cut statements off, time and again, and each task has its own rows."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from watch import check_capacity

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet"), pytest.mark.needs("anyio")]


async def rows(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    result = await conn.execute("SELECT SLEEP(%s), %s", (chance.random() / 500, tag))
    assert [row[1] for row in await result.fetchall()] == [tag]


async def toil(engine: sa.Engine, number: int, chance: random.Random) -> None:
    """Work without end, in scopes that end, that shield, and in groups of tasks."""
    from anyio import CancelScope, create_task_group, lowlevel, move_on_after

    tag = number
    while True:
        async with engine.acquire() as conn:
            tag += 1000
            with move_on_after(chance.random() / 300):
                await rows(conn, tag, chance)
            with move_on_after(chance.random() / 300):
                async with create_task_group() as group:
                    group.start_soon(rows, conn, tag + 100, chance)
                    group.start_soon(lowlevel.checkpoint)
            with CancelScope() as scope:
                scope.cancel()
                try:
                    await rows(conn, tag + 200, chance)
                finally:
                    with CancelScope(shield=True):
                        await rows(conn, tag + 300, chance)
            async with conn.begin():
                await rows(conn, tag + 400, chance)


async def test_scopes_that_end_leave_each_task_its_own_rows(
    connect_kwargs: dict[str, Any],
) -> None:
    from anyio import create_task_group, move_on_after

    chance = random.Random(1)
    async with sa.create_engine(**connect_kwargs, minsize=0, maxsize=4) as engine:
        for _ in range(8):
            with move_on_after(0.1 + chance.random() / 50) as scope:
                async with create_task_group() as group:
                    for number in range(8):
                        group.start_soon(toil, engine, number, chance)
            assert scope.cancelled_caught
        await asyncio.wait_for(check_capacity(engine, 4), 20)
