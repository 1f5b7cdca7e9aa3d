"""Connections that are dropped without having been given back."""

from __future__ import annotations

import asyncio
import gc
import inspect
from pathlib import Path
from typing import Any

import pytest
from watch import at_rest, check_capacity, connections, spawn, steps, until

import aiomysqlx as sa

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
HERE = Path(__file__).name


def line() -> int:
    """Give the number of the caller's line."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def drop(*holders: list[Any]) -> None:
    """Forget what *holders* hold."""
    for holder in holders:
        holder.clear()
    gc.collect()


# -- dropped connections ---------------------------------------------------------------------------


async def test_dropped_connection_is_told_with_the_place_of_its_acquire(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        place, lent = line(), [await engine.acquire()]
        raw: Any = lent[0].connection

        with pytest.warns(ResourceWarning, match=rf"{HERE}\D+{place}\b") as told:
            drop(lent)

        assert len(told) == 1
        await until(lambda: raw.closed)
        await check_capacity(engine, 1)
        assert engine.stats().closed["leaked"] == 1


async def test_place_is_that_of_the_acquire_in_a_task_too(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        place, tasks = line(), [spawn(engine.acquire())]
        await asyncio.wait(tasks)

        with pytest.warns(ResourceWarning, match=rf"{HERE}\D+{place}\b"):
            drop(tasks)

        await check_capacity(engine, 1)


async def test_waiter_is_served_after_a_connection_was_dropped(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        lent = [await engine.acquire()]
        waiter = spawn(engine.acquire())
        await steps()

        with pytest.warns(ResourceWarning):
            drop(lent)

        async with await asyncio.wait_for(waiter, 10) as conn:
            assert await conn.scalar("SELECT 1") == 1


@pytest.mark.parametrize("state", ["a cycle", "a transaction", "a result", "a cancelled statement"])
async def test_dropped_connection_leaves_nothing_behind(
    connect_kwargs: Kwargs, admin: Admin, state: str
) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=2) as engine:

        async def borrow() -> None:
            conn = await engine.acquire()
            if state == "a cycle":
                try:
                    raise ValueError
                except ValueError as error:
                    kept = error  # keeps this frame, which keeps it
                    assert kept
            elif state == "a transaction":
                await conn.begin()
                await conn.execute("INSERT INTO t VALUES (1)")
            elif state == "a result":
                await conn.execute("SELECT 1 UNION SELECT 2")
            else:
                task = spawn(conn.execute("SELECT SLEEP(0.1)"))
                await steps()
                task.cancel()
                await asyncio.wait([task])

        async def borrow_and_drop() -> None:
            await borrow()
            gc.collect()

        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        del conn
        for _ in range(3):
            with pytest.warns(ResourceWarning):
                await borrow_and_drop()

        await until(lambda: engine.stats().in_use == 0)
        await check_capacity(engine, 2)
        assert engine.stats().closed["leaked"] == 3
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 0
    await until(lambda: connections(admin, connect_kwargs["db"]) == 0)


async def test_acquire_that_was_cancelled_leaks_nothing(engine: sa.Engine) -> None:
    for turns in range(4):
        task = spawn(engine.acquire())
        await steps(turns)
        if not task.cancel():
            engine.release(task.result())
        await asyncio.wait([task])
        del task
        gc.collect()

    await until(lambda: at_rest(engine))
    assert engine.stats().closed.get("leaked", 0) == 0


async def test_wait_closed_does_not_wait_for_a_dropped_connection(connect_kwargs: Kwargs) -> None:
    engine = await sa.create_engine(**connect_kwargs)
    lent = [await engine.acquire()]
    engine.close()
    waiting = spawn(engine.wait_closed())
    await steps()

    with pytest.warns(ResourceWarning):
        drop(lent)

    await asyncio.wait_for(waiting, 5)


async def test_connection_given_back_is_no_leak(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    await engine.release(conn)
    async with engine.acquire() as other:
        await other.scalar("SELECT 1")
    del conn, other

    gc.collect()  # warnings are errors

    assert engine.stats().closed.get("leaked", 0) == 0


async def test_connection_of_a_terminated_engine_is_no_leak(connect_kwargs: Kwargs) -> None:
    engine = await sa.create_engine(**connect_kwargs)
    conn = await engine.acquire()
    engine.terminate()
    await asyncio.wait_for(engine.wait_closed(), 5)

    del conn
    gc.collect()

    assert engine.stats().closed == {**engine.stats().closed, "engine": 1}
