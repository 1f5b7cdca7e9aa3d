"""Lending on a real server: order, time limits, concurrent connects, closing, other loops."""

from __future__ import annotations

import asyncio
import gc
import random
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
import watch
from faults import QUIT, FaultyProxy, faulty_proxy
from pymysql import err
from watch import check_capacity, now, one, spawn, steps, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]


# -- time limits -----------------------------------------------------------------------------------


async def test_acquire_that_takes_too_long_tells_the_state_of_the_pool(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=5) as engine:
        lent = [await engine.acquire() for _ in range(5)]
        waiters = [spawn(engine.acquire()) for _ in range(2)]
        await steps()

        with pytest.raises(sa.AcquireTimeoutError) as caught:
            await engine.acquire(timeout=0.1)

        assert str(caught.value).startswith(
            "no connection within 0.1 seconds: 5 of 5 in use, 2 more waiting:"
        )
        assert isinstance(caught.value, sa.Error)
        assert isinstance(caught.value, asyncio.TimeoutError)
        for conn in lent:
            engine.release(conn)
        for waiter in waiters:
            engine.release(await asyncio.wait_for(waiter, 10))
        await check_capacity(engine, 5)
        assert engine.stats().timeouts == 1


async def test_acquire_timeout_is_the_default_of_acquire(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, acquire_timeout=0.05) as engine:
        async with engine.acquire():
            with pytest.raises(sa.AcquireTimeoutError, match=r"within 0\.05 seconds: 1 of 1"):
                await engine.acquire()
            with pytest.raises(sa.AcquireTimeoutError, match=r"within 0\.01 seconds"):
                await engine.acquire(timeout=0.01)
            with pytest.raises(sa.AcquireTimeoutError, match=r"within 0\.05 seconds"):
                async with engine.acquire():
                    pass
        await check_capacity(engine, 1)


async def test_acquire_within_its_time_is_served(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire(timeout=10)
        waiter = spawn(engine.acquire(timeout=10))
        await steps()
        engine.release(conn)

        async with await asyncio.wait_for(waiter, 10) as conn:
            assert await conn.scalar("SELECT 1") == 1
        assert engine.stats().timeouts == 0


async def test_time_limit_is_for_waiting_and_opening_together(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=1, maxsize=2) as engine,
        engine.acquire(),
    ):
        proxy.hold()
        opening = spawn(engine.acquire())
        await until(lambda: len(proxy.passages) == 2)
        start = now()
        late = spawn(engine.acquire(timeout=1.6))
        await until(lambda: now() > start + 0.8)
        opening.cancel()  # the place is free, the rest of the time goes into opening

        with pytest.raises(sa.AcquireTimeoutError):
            await asyncio.wait_for(late, 10)

        assert now() - start < 2.3
        proxy.flow()
        async with engine.acquire(timeout=10) as conn:
            assert await conn.scalar("SELECT 1") == 1


async def test_place_of_a_connect_that_takes_too_long_is_free_again(
    connect_kwargs: Kwargs,
) -> None:
    async with faulty_proxy(connect_kwargs) as proxy:
        async with sa.create_engine(**proxy.kwargs, maxsize=2) as engine:
            async with engine.acquire():
                proxy.hold()
                for _ in range(3):
                    with pytest.raises(sa.AcquireTimeoutError):
                        await engine.acquire(timeout=0.02)
                proxy.flow()
                async with engine.acquire(timeout=10) as conn:
                    assert await conn.scalar("SELECT 1") == 1
            await check_capacity(engine, 2)
        await until(lambda: not proxy.open)


async def test_acquire_timing_out_as_it_is_served_loses_nothing(connect_kwargs: Kwargs) -> None:
    chance = random.Random(7)
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:

        async def borrow(number: int) -> bool:
            try:
                async with engine.acquire(timeout=chance.uniform(0.0001, 0.004)) as conn:
                    assert await conn.scalar("SELECT %s + SLEEP(0.001)", number) == number
            except sa.AcquireTimeoutError:
                return False
            return True

        served = await asyncio.wait_for(asyncio.gather(*map(borrow, range(300))), 60)

        assert engine.stats().timeouts == served.count(False)
        assert True in served and False in served
        await check_capacity(engine, 2)


# -- order -----------------------------------------------------------------------------------------


async def test_waiters_are_served_in_their_order_whoever_gives_up(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        lent = await engine.acquire()
        served: list[int] = []

        async def wait(number: int) -> None:
            async with engine.acquire(timeout=0.01 if number % 3 == 1 else 10) as conn:
                served.append(number)
                await conn.scalar("SELECT 1")

        tasks = [spawn(wait(number)) for number in range(9)]
        await steps()
        tasks[2].cancel()
        await until(lambda: all(task.done() for task in tasks[1::3]))
        engine.release(lent)
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)

        assert served == [0, 3, 5, 6, 8]
        assert isinstance(outcomes[2], asyncio.CancelledError)
        assert all(isinstance(each, sa.AcquireTimeoutError) for each in outcomes[1::3])


async def test_connection_given_back_last_is_lent_first(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=3, maxsize=3) as engine:
        lent = [await engine.acquire() for _ in range(3)]
        raws = [conn.connection for conn in lent]
        for index in (1, 2, 0):
            await engine.release(lent[index])

        again = [await engine.acquire() for _ in range(3)]

        assert [conn.connection for conn in again] == [raws[0], raws[2], raws[1]]
        for conn in again:
            engine.release(conn)


@pytest.mark.parametrize("turns", range(4))
async def test_waiter_cancelled_as_it_is_served_passes_on(
    connect_kwargs: Kwargs, turns: int
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        lent = await engine.acquire()
        first, second = spawn(engine.acquire()), spawn(engine.acquire())
        await steps()
        engine.release(lent)
        await steps(turns)
        if not first.cancel():  # it has been served: the caller owns the connection
            engine.release(first.result())

        async with await asyncio.wait_for(second, 10) as conn:
            assert await conn.scalar("SELECT 1") == 1
        await check_capacity(engine, 1)


# -- opening ---------------------------------------------------------------------------------------


async def test_connects_run_at_the_same_time(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=1, maxsize=6) as engine,
        engine.acquire(),
    ):
        proxy.hold()
        tasks = [spawn(engine.acquire()) for _ in range(5)]

        await until(lambda: len(proxy.open) == 6)
        assert [passage.passed["down"] for passage in proxy.passages[1:]] == [0] * 5

        proxy.flow()
        for conn in await asyncio.wait_for(asyncio.gather(*tasks), 10):
            engine.release(conn)


async def refused_at_the_greeting(proxy: FaultyProxy, engine: sa.Engine) -> None:
    proxy.fault(0, "reset")
    with pytest.raises((err.OperationalError, err.InterfaceError)) as caught:
        await asyncio.wait_for(engine.acquire(), 10)
    assert sa.is_disconnect(caught.value)


async def test_failing_connect_is_not_tried_again(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=1, maxsize=2) as engine,
    ):
        async with engine.acquire():
            for attempts in (1, 2, 3):
                await refused_at_the_greeting(proxy, engine)
                assert len(proxy.passages) == 1 + attempts
        await check_capacity(engine, 2)


async def test_failing_connect_lets_the_waiters_try(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=1, maxsize=2) as engine,
        engine.acquire(),
    ):
        proxy.hold()
        first, second = spawn(engine.acquire()), spawn(engine.acquire())
        await until(lambda: len(proxy.passages) == 2)
        proxy.fault(0, "fin")
        proxy.flow()

        with pytest.raises((err.OperationalError, err.InterfaceError)):
            await asyncio.wait_for(first, 10)
        async with await asyncio.wait_for(second, 10) as conn:
            assert await conn.scalar("SELECT 1") == 1


# -- closing ---------------------------------------------------------------------------------------


async def test_wait_closed_ends_what_is_lent_after_its_time(connect_kwargs: Kwargs) -> None:
    engine = await sa.create_engine(**connect_kwargs, minsize=2)
    conn = await engine.acquire()
    slow = spawn(conn.execute("SELECT SLEEP(60)"))
    await steps()
    engine.close()

    await asyncio.wait_for(engine.wait_closed(timeout=0.05), 3)

    with pytest.raises((err.OperationalError, err.InterfaceError)):
        await asyncio.wait_for(slow, 5)
    assert conn.closed
    stats = engine.stats()
    assert (stats.size, stats.opened, sum(stats.closed.values())) == (0, 2, 2)


async def test_wait_closed_ends_when_everything_is_given_back(connect_kwargs: Kwargs) -> None:
    engine = await sa.create_engine(**connect_kwargs)
    conn = await engine.acquire()
    engine.close()
    waiting = spawn(engine.wait_closed(timeout=30))
    await steps()
    assert await conn.scalar("SELECT 1") == 1
    assert not waiting.done()

    engine.release(conn)

    await asyncio.wait_for(waiting, 5)
    assert engine.stats().closed["engine"] == 1


async def test_idle_connections_say_goodbye(connect_kwargs: Kwargs) -> None:
    async with faulty_proxy(connect_kwargs) as proxy:
        async with sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3) as engine:
            await check_capacity(engine, 3)

        await until(lambda: not proxy.open)
        assert [passage.commands[-1] for passage in proxy.passages] == [QUIT] * 3


async def test_peer_that_does_not_close_its_side_does_not_delay_the_end(
    connect_kwargs: Kwargs,
) -> None:
    async with faulty_proxy(connect_kwargs) as proxy:
        engine = await sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3)
        proxy.hang()
        start = now()
        engine.close()

        await asyncio.wait_for(engine.wait_closed(), 2)

        assert now() - start < 1.5
        assert engine.stats().size == 0


RUNNING = "SELECT COUNT(*) FROM information_schema.processlist WHERE info = 'SELECT SLEEP(29)'"


async def test_wait_closed_waits_for_the_kill_of_a_replaced_connection(
    connect_kwargs: Kwargs, admin: Any
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        task = spawn(conn.execute("SELECT SLEEP(29)"))
        await until(lambda: one(admin, RUNNING) == 1)
        engine.release(conn)
        with pytest.raises(err.OperationalError, match="2013"):
            await task
        engine.close()

        await asyncio.wait_for(engine.wait_closed(), 5)

        assert not raw.busy


# -- other event loops -----------------------------------------------------------------------------


async def test_acquire_from_another_event_loop_is_refused(engine: sa.Engine) -> None:
    async def acquire() -> None:
        await engine.acquire()

    with pytest.raises(RuntimeError, match="event loop"):
        await asyncio.to_thread(asyncio.run, acquire())

    await check_capacity(engine, 5)


async def release_and_wait(engine: sa.Engine, release: Callable[[sa.SAConnection], Any]) -> None:
    """Release a connection of a pool of one, for which somebody waits."""
    conn = await engine.acquire()
    waiter = spawn(engine.acquire())
    await steps()
    release(conn)
    engine.release(await asyncio.wait_for(waiter, 1))


@pytest.mark.parametrize("what", ["release", "close", "terminate", "clear"])
async def test_thread_beside_the_event_loop_is_refused(connect_kwargs: Kwargs, what: str) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        arguments = (conn,) if what == "release" else ()

        with pytest.raises(
            RuntimeError, match=r"loop\.call_soon_threadsafe\(engine\.release, conn"
        ):
            await asyncio.to_thread(getattr(engine, what), *arguments)

        assert await conn.scalar("SELECT 1") == 1
        engine.release(conn)
        await check_capacity(engine, 1)


async def test_thread_may_have_the_event_loop_release(connect_kwargs: Kwargs) -> None:
    loop = asyncio.get_running_loop()
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:

        def release(conn: sa.SAConnection) -> None:
            thread = threading.Thread(target=loop.call_soon_threadsafe, args=(engine.release, conn))
            thread.start()
            thread.join()

        await release_and_wait(engine, release)


async def test_callback_of_the_event_loop_may_release(connect_kwargs: Kwargs) -> None:
    loop = asyncio.get_running_loop()
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        await release_and_wait(engine, lambda conn: loop.call_soon(engine.release, conn))


async def test_signal_handler_may_release(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:

        def release(conn: sa.SAConnection) -> None:
            before = signal.signal(signal.SIGUSR1, lambda *_: engine.release(conn) and None)
            try:
                signal.raise_signal(signal.SIGUSR1)
            finally:
                signal.signal(signal.SIGUSR1, before)

        await release_and_wait(engine, release)


async def test_collector_may_release(connect_kwargs: Kwargs) -> None:
    class Holder:
        def __init__(self, engine: sa.Engine, conn: sa.SAConnection) -> None:
            self.engine, self.conn, self.cycle = engine, conn, self

        def __del__(self) -> None:
            self.engine.release(self.conn)

    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:

        def release(conn: sa.SAConnection) -> None:
            Holder(engine, conn)
            del conn
            gc.collect()

        await release_and_wait(engine, release)


def test_release_between_two_runs_of_the_event_loop(
    connect_kwargs: Kwargs, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    loop = new_loop()
    try:
        engine = loop.run_until_complete(sa.create_engine(**connect_kwargs, maxsize=1))
        conn = loop.run_until_complete(engine.acquire())
        engine.release(conn)

        loop.run_until_complete(check_capacity(engine, 1))
        engine.close()
        loop.run_until_complete(engine.wait_closed())
    finally:
        loop.close()


# -- the ends of fixtures --------------------------------------------------------------------------


async def test_fixture_names_what_its_test_has_not_released(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "CLOSE_SECONDS", 0.05)
    fixture = watch.closed_in_time(sa.create_engine(**connect_kwargs, maxsize=2))
    engine = await fixture.__aenter__()
    await engine.release(await engine.acquire())
    conn = await engine.acquire()

    with pytest.raises(pytest.fail.Exception, match=rf"acquired at {__file__}:\d+$"):
        await fixture.__aexit__(None, None, None)
    assert conn.closed
