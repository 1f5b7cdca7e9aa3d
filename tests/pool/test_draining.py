"""Connections replaced for a server that is about to be restarted, while others go on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from watch import at_rest, check_capacity, connections, lend, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection


async def test_drained_engine_has_new_connections_alone(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=2, maxsize=4) as engine:
        before = await lend(engine, 3)

        assert await asyncio.wait_for(engine.drain(), 5) == 0

        assert all(raw.closed for raw in before)
        await until(lambda: at_rest(engine, 2))
        assert not set(before) & set(await lend(engine, 4))
        assert engine.stats().closed == {"cleared": 3}
        await check_capacity(engine, 4)


async def test_drain_waits_for_what_is_in_use_and_cuts_nothing_off(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:
        async with engine.begin() as conn:
            first = conn.connection
            draining = spawn(engine.drain())
            async with engine.acquire() as other:  # nobody is refused meanwhile
                assert other.connection is not first
                assert await other.scalar("SELECT 1") == 1
            assert await conn.scalar("SELECT 2") == 2
            assert not draining.done()

        assert await asyncio.wait_for(draining, 5) == 0
        assert first is not None and first.closed
        await until(lambda: connections(admin, connect_kwargs["db"]) == 1)


async def test_drain_tells_how_many_are_in_use_after_its_time(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=3) as engine:
        async with engine.acquire() as conn, engine.acquire():
            assert await engine.drain(timeout=0.05) == 2
            assert await conn.scalar("SELECT 1") == 1

        await until(lambda: engine.stats().closed == {"cleared": 2})


async def test_waiters_go_on_waiting_while_an_engine_is_drained(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        waiting = [spawn(engine.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        draining = spawn(engine.drain())
        await asyncio.sleep(0)
        old = conn.connection
        engine.release(conn)
        taken = []
        for task in waiting:
            conn = await asyncio.wait_for(task, 10)
            taken.append(conn.connection)
            engine.release(conn)

        assert await draining == 0
        assert old not in taken and len({*taken}) == 1


async def test_connection_that_was_being_opened_is_waited_for_too(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:
        conn = await engine.acquire()
        waiting = spawn(engine.acquire())
        while engine.size < 2:
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # its task has begun
        draining = spawn(engine.drain())
        await asyncio.sleep(0)
        engine.release(conn)

        assert await asyncio.wait_for(draining, 5) == 0
        other = await waiting
        assert engine.stats().closed == {"cleared": 2}
        assert await other.scalar("SELECT 1") == 1
        engine.release(other)


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_drain_ends_with_its_engine(connect_kwargs: Kwargs, how: str) -> None:
    engine = await sa.create_engine(**connect_kwargs, maxsize=1)
    conn = await engine.acquire()
    draining = spawn(engine.drain())
    await asyncio.sleep(0)
    getattr(engine, how)()
    engine.release(conn)
    await engine.wait_closed()

    assert await asyncio.wait_for(draining, 5) == 0


async def test_drain_that_is_cancelled_leaves_the_engine_clear(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            first = conn.connection
            draining = spawn(engine.drain())
            await asyncio.sleep(0)
            draining.cancel()
            await asyncio.wait([draining])

        assert draining.cancelled()
        assert await lend(engine, 1) != [first]


@pytest.mark.parametrize("timeout", [0, -1, "5"])
async def test_time_that_is_none_is_refused_before_anything_is_closed(
    timeout: Any, connect_kwargs: Kwargs
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine:
        with pytest.raises(sa.ArgumentError, match="'timeout' takes a positive number of seconds"):
            await engine.drain(timeout=timeout)

        assert not engine.stats().closed
