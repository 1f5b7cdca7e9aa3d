"""Connections that are opened unasked after others were lost, and what the pool tells of itself."""

from __future__ import annotations

import asyncio
import dataclasses
import pprint
from itertools import pairwise
from typing import Any

import pytest
from faults import FaultyProxy
from pymysql import err
from watch import at_rest, kill, lend, now, passed, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection


# -- connections opened in the background ----------------------------------------------------------


async def test_lost_connections_are_replaced_unasked(connect_kwargs: Kwargs, admin: Admin) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=3, maxsize=5) as engine:
        raws = await lend(engine, 3)
        for raw in raws:
            kill(admin, raw)
        await until(lambda: all(raw.closed for raw in raws))

        await until(lambda: engine.stats().opened == 6 and at_rest(engine, 3))

        stats = engine.stats()
        assert (stats.opened, stats.closed["lost"]) == (6, 3)


async def test_connections_come_back_after_the_server_does(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=2) as engine:
        proxy.refuse()
        proxy.drop()
        await until(lambda: engine.size == 0)
        with pytest.raises(err.OperationalError):
            await asyncio.wait_for(engine.acquire(), 5)
        await passed(0.3)
        await proxy.accept()

        await until(lambda: at_rest(engine, 2))

        assert len(await lend(engine, 2)) == 2


async def test_attempts_become_rarer_while_the_server_is_away(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=1) as engine:
        attempts: list[float] = []
        proxy.hold()
        proxy.drop()
        while len(attempts) < 4:
            for passage in proxy.open:
                attempts.append(now())
                passage.end(reset=True)
            await asyncio.sleep(0.001)

        gaps = [later - earlier for earlier, later in pairwise(attempts)]
        assert all(gap >= least for gap, least in zip(gaps, (0.1, 0.2, 0.4), strict=True))
        proxy.flow()
        await until(lambda: at_rest(engine, 1))


class Hurried:
    """An event loop that calls at once what was to be called later, and notes the delay."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.delays: list[float] = []
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def call_later(self, delay: float, call: Any, *args: Any) -> asyncio.Handle:
        self.delays.append(delay)
        return self._loop.call_soon(call, *args)


async def test_attempts_become_no_rarer_than_every_half_minute(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()  # for what knows a loop of its own, as tasks do
    monkeypatch.setattr("aiomysqlx.pool.supply.task_of", lambda _, work: loop.create_task(work))
    async with sa.create_engine(**proxy.kwargs, minsize=1) as engine:
        hurried = Hurried(loop)
        for _ in range(2):  # the second time, all begins anew
            engine._pool.home.loop = hurried
            hurried.delays.clear()
            proxy.refuse()
            proxy.drop()
            await until(lambda: len(hurried.delays) > 12)
            delays = tuple(hurried.delays)
            await proxy.accept()
            await until(lambda: at_rest(engine, 1))
            engine._pool.home.loop = loop

            for number, delay in enumerate(delays):
                least = min(0.1 * 2**number, 30)
                assert least <= delay <= least * 1.1 + 1e-9


async def test_connection_opened_unasked_serves_the_first_waiter(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=1, maxsize=1) as engine:
        (raw,) = await lend(engine, 1)
        proxy.hold()
        proxy.drop()
        await until(lambda: raw.closed)
        await until(lambda: len(proxy.passages) == 2)  # opened by nobody's acquire
        waiters = [spawn(engine.acquire()) for _ in range(2)]
        await asyncio.sleep(0)
        proxy.flow()

        first = await asyncio.wait_for(waiters[0], 10)

        assert not waiters[1].done()
        engine.release(first)
        engine.release(await asyncio.wait_for(waiters[1], 10))
        assert engine.stats().opened == 2


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_end_of_the_engine_ends_the_attempts(proxy: FaultyProxy, how: str) -> None:
    before = asyncio.all_tasks()
    engine = await sa.create_engine(**proxy.kwargs, minsize=3)
    proxy.refuse()
    proxy.drop()
    await until(lambda: engine.size == 0)

    getattr(engine, how)()
    await asyncio.wait_for(engine.wait_closed(), 3)

    await until(lambda: asyncio.all_tasks() <= before)


async def test_connection_being_opened_unasked_is_closed_with_the_engine(
    proxy: FaultyProxy,
) -> None:
    engine = await sa.create_engine(**proxy.kwargs, minsize=1)
    proxy.hold()
    proxy.drop()
    await until(lambda: len(proxy.passages) == 2)
    engine.close()
    proxy.flow()

    await asyncio.wait_for(engine.wait_closed(), 3)

    await until(lambda: not proxy.open)
    assert engine.stats().size == 0


# -- stats() ---------------------------------------------------------------------------------------


async def test_stats_count_what_was_lent_and_waited_for(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=2) as engine:
        first, second = await engine.acquire(), await engine.acquire()
        waiter = spawn(engine.acquire())
        await passed(0.05)
        stats = engine.stats()
        assert (stats.size, stats.idle, stats.in_use, stats.waiting) == (2, 0, 2, 1)
        engine.release(first)
        engine.release(await asyncio.wait_for(waiter, 10))
        engine.release(second)

        stats = engine.stats()

        assert (stats.size, stats.idle, stats.in_use, stats.waiting) == (2, 2, 0, 0)
        assert (stats.opened, stats.acquired, stats.waited, stats.timeouts) == (2, 3, 2, 0)
        assert 0.04 <= stats.longest_wait <= stats.wait_seconds < 5
        assert sum(stats.closed.values()) == 0


async def test_stats_are_a_frozen_moment(engine: sa.Engine) -> None:
    stats = engine.stats()
    assert isinstance(stats, sa.PoolStats)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.size = 7
    stats.closed["lost"] = 99

    async with engine.acquire():
        assert (stats.in_use, engine.stats().in_use) == (0, 1)
    assert engine.stats().closed.get("lost", 0) == 0


async def test_stats_are_reported_as_those_of_a_dataclass(engine: sa.Engine) -> None:
    stats = engine.stats()

    reported = dataclasses.asdict(stats)

    assert list(reported) == list(sa.PoolStats.__annotations__)
    assert sa.PoolStats(**reported) == stats == dataclasses.replace(stats)
    assert pprint.pformat(stats, width=1) == repr(stats)
    assert repr(stats).startswith("PoolStats(size=1, idle=1, in_use=0, waiting=0, opened=1,")
