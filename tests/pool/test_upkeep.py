"""Keeping the pool healthy: lifetimes, idle connections, pings."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from faults import PING, QUERY, QUIT, FaultyProxy
from watch import at_rest, lend, now, passed, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]


# -- max_lifetime ----------------------------------------------------------------------------------


async def test_connection_is_replaced_after_its_lifetime(connect_kwargs: Kwargs) -> None:
    start = now()
    async with sa.create_engine(**connect_kwargs, max_lifetime=0.3) as engine:
        (raw,) = await lend(engine, 1)
        while (await lend(engine, 1)) == [raw]:
            assert now() < start + 5
            await asyncio.sleep(0.001)

        assert now() >= start + 0.3 * 0.9
        assert raw.closed
        assert engine.stats().closed["lifetime"] == 1


async def test_connection_beyond_its_lifetime_is_closed_as_it_comes_back(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=1, max_lifetime=0.05) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            await passed(0.1)
            assert await conn.scalar("SELECT 1") == 1
            assert not raw.closed

        await until(lambda: raw.closed)
        assert engine.stats().closed["lifetime"] == 1


async def test_connection_that_takes_its_lifetime_to_be_made_ready_is_lent(
    connect_kwargs: Kwargs,
) -> None:
    async def init(conn: sa.SAConnection) -> None:
        await passed(0.06)

    async with sa.create_engine(
        **connect_kwargs, minsize=0, maxsize=1, max_lifetime=0.05, init=init
    ) as engine:
        await passed(0.06)

        async with engine.acquire(timeout=10) as conn:
            assert await conn.scalar("SELECT 1") == 1


async def test_closed_connection_of_a_limited_lifetime_is_forgotten(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, max_lifetime=3600) as engine:
        known = weakref.ref((await lend(engine, 1))[0])
        engine.clear()
        await lend(engine, 1)

        await until(lambda: gc.collect() >= 0 and known() is None, 5)


async def test_idle_connections_are_looked_after_by_one_timer(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=0, max_idle=3600) as engine:
        await lend(engine, 1)
        timer = engine._pool.stock._idle_check.handle
        await lend(engine, 2)

        assert timer is not None and engine._pool.stock._idle_check.handle is timer


async def test_closed_engine_is_not_kept_until_its_connections_would_have_been_idle_for_long(
    connect_kwargs: Kwargs,
) -> None:
    engine = await sa.create_engine(**connect_kwargs, minsize=0, max_idle=3600)
    await lend(engine, 1)
    known = weakref.ref(engine._pool.stock)
    engine.close()
    await engine.wait_closed()
    del engine
    gc.collect()

    assert known() is None


async def test_connections_opened_together_do_not_end_together(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(
        **connect_kwargs, minsize=10, maxsize=10, max_lifetime=0.6
    ) as engine:
        missing = set(await lend(engine, 10))
        ends: list[float] = []
        while missing:
            there = set(await lend(engine, 10))
            ends += [now()] * len(missing - there)
            missing &= there
            await asyncio.sleep(0.001)

        assert max(ends) - min(ends) > 0.005


async def test_connection_that_ended_its_life_says_goodbye(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=1, max_lifetime=0.05) as engine:
        await passed(0.1)
        await lend(engine, 1)

        await until(lambda: not proxy.passages[0].open)
        assert proxy.passages[0].commands[-1] == QUIT


# -- max_idle --------------------------------------------------------------------------------------


async def test_idle_connections_beyond_minsize_are_closed_unasked(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=2, maxsize=5, max_idle=0.05) as engine:
        await lend(engine, 5)
        assert engine.size == 5

        await until(lambda: len(proxy.open) == 2)

        assert at_rest(engine, 2)
        assert engine.stats().closed["idle"] == 3
        ended = [passage for passage in proxy.passages if not passage.open]
        assert [passage.commands[-1] for passage in ended] == [QUIT] * 3


async def test_connection_in_use_is_not_idle(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=0, maxsize=2, max_idle=0.05) as engine:
        async with engine.acquire() as conn:
            await passed(0.15)
            assert await conn.scalar("SELECT 1") == 1
        await until(lambda: engine.size == 0)

        assert await lend(engine, 2)


async def test_task_that_closes_idle_connections_ends_with_the_engine(
    connect_kwargs: Kwargs,
) -> None:
    before = asyncio.all_tasks()
    async with sa.create_engine(**connect_kwargs, maxsize=3, max_idle=60) as engine:
        await lend(engine, 3)

    await until(lambda: asyncio.all_tasks() <= before)


# -- pool_pre_ping and pool_recycle ----------------------------------------------------------------


async def test_connection_is_pinged_before_it_is_lent(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, pool_pre_ping=True, autocommit=None) as engine:
        await lend(engine, 1)
        known = len(proxy.commands)
        for _ in range(3):
            async with engine.acquire() as conn:
                await conn.scalar("SELECT 1")

        kinds = [command[:1] for command in proxy.commands[known:]]
        assert [kind for kind in kinds if kind in (PING, QUERY)] == [PING, QUERY] * 3


async def test_connection_is_pinged_only_after_it_was_idle(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, pool_pre_ping=0.2) as engine:
        for _ in range(5):
            await lend(engine, 1)
        assert PING not in proxy.commands

        await passed(0.25)
        await lend(engine, 1)

        assert proxy.commands.count(PING) == 1


@pytest.mark.parametrize("kind", ["fin", "reset", "hang"])
async def test_connection_that_does_not_answer_a_ping_is_replaced_unseen(
    proxy: FaultyProxy, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.5)
    async with sa.create_engine(**proxy.kwargs, pool_pre_ping=True) as engine:
        await lend(engine, 1)
        proxy.fault(0, kind)

        async with await asyncio.wait_for(engine.acquire(), 15) as conn:
            assert await conn.scalar("SELECT 'fresh'") == "fresh"

        assert engine.stats().closed["ping"] == 1
        await until(lambda: at_rest(engine))


async def test_time_limit_of_acquire_is_for_the_ping_too(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.5)
    async with sa.create_engine(**proxy.kwargs, maxsize=1, pool_pre_ping=True) as engine:
        await lend(engine, 1)
        proxy.hang()

        with pytest.raises(sa.AcquireTimeoutError):
            await asyncio.wait_for(engine.acquire(timeout=0.05), 5)

        async with engine.acquire(timeout=10) as conn:
            assert await conn.scalar("SELECT 'fresh'") == "fresh"


async def test_acquire_cancelled_in_its_ping_loses_nothing(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, pool_pre_ping=True) as engine:
        await lend(engine, 1)
        pings = proxy.commands.count(PING)
        proxy.hold()
        task = asyncio.ensure_future(engine.acquire())
        await until(lambda: proxy.commands.count(PING) > pings)
        task.cancel()
        proxy.flow()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with engine.acquire(timeout=10) as conn:
            assert await conn.scalar("SELECT 'own'") == "own"
        await until(lambda: at_rest(engine, 1))


async def test_recycled_connections_are_counted(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, pool_recycle=1000) as engine:
        (raw,) = await lend(engine, 1)
        raw._session.last_usage -= 1001

        assert await lend(engine, 1) != [raw]

        assert engine.stats().closed["recycle"] == 1
