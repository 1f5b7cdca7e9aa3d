"""How fast connections are opened: a few at a time, slowly while the server has too many."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from pretended import FakeConnection, FakeServer, pool_of
from pymysql import err
from pymysql.constants import ER
from watch import now, passed, spawn, steps, until

import aiomysqlx as sa
from aiomysqlx.pool import pace
from aiomysqlx.pool.pace import OPENED_AT_ONCE

TOO_MANY = 1040


class Busy(FakeServer):
    """A server that takes so many connections, and notes when it refuses one."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.code = TOO_MANY
        self.refused: list[float] = []

    async def connect(self) -> Any:
        open_now = [each for each in self.opened if not each.closed]
        self.refuses = len(open_now) >= self.most
        if self.refuses:
            self.refused.append(now())
        return await super().connect()


async def opened(server: FakeServer, minsize: int = 1, maxsize: int = 10, **kwargs: Any) -> Any:
    pool = pool_of(server, minsize, maxsize, **kwargs)
    await pool.open()
    return pool


# -- a few at a time -------------------------------------------------------------------------------


async def test_many_who_wait_have_a_few_opened_at_a_time() -> None:
    server = FakeServer()
    pool = await opened(server, 1, 100)
    server.opened[0].close()
    server.opened[0].when_lost()
    server.slow = True
    waiting = [spawn(pool.acquire()) for _ in range(1000)]
    most = served = 0
    lent: list[Any] = []

    while served < 1000:
        await steps(3)
        most = max(most, len(server.pending))
        if server.pending:
            server.accept()
        done = [task for task in waiting if task.done()]
        waiting = [task for task in waiting if not task.done()]
        served += len(done)
        lent += [task.result() for task in done]
        if len(lent) > 50:
            pool.release(lent.pop())

    assert most == OPENED_AT_ONCE
    assert len({*server.opened}) <= 101


async def test_first_connections_are_opened_a_few_at_a_time() -> None:
    server = FakeServer()
    server.slow = True
    pool = pool_of(server, 3 * OPENED_AT_ONCE, 100)
    opening = spawn(pool.open())
    while not opening.done():
        await steps()
        assert len(server.pending) <= OPENED_AT_ONCE
        if server.pending:
            server.accept()

    assert pool.freesize == 3 * OPENED_AT_ONCE


async def test_minsize_is_restored_a_few_at_a_time() -> None:
    server = FakeServer()
    pool = await opened(server, 3 * OPENED_AT_ONCE, 100)
    server.slow = True
    pool.clear()
    while pool.freesize < 3 * OPENED_AT_ONCE:
        await steps()
        assert len(server.pending) <= OPENED_AT_ONCE
        if server.pending:
            server.accept()

    assert pool.size == 3 * OPENED_AT_ONCE


# -- too many connections --------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1040, 1203, 1226])
async def test_who_waits_is_served_by_what_comes_back(code: int) -> None:
    server = Busy(1)
    server.code = code
    pool = await opened(server)
    lent = await pool.acquire()
    waiting = spawn(pool.acquire())
    await until(lambda: pool.stats().refused)

    assert pool.stats().held_back and not waiting.done()
    pool.release(lent)
    assert await waiting is lent
    assert (pool.stats().refused, pool.size) == (1, 1)


async def test_opening_is_tried_again_ever_more_rarely() -> None:
    server = Busy(1)
    pool = await opened(server)
    await pool.acquire()
    waiting = [spawn(pool.acquire()) for _ in range(20)]
    await until(lambda: len(server.refused) >= OPENED_AT_ONCE + 4)

    gaps = [later - earlier for earlier, later in pairwise(server.refused[OPENED_AT_ONCE - 1 :])]
    for number, gap in enumerate(gaps):  # the load of the machine makes them longer
        assert gap >= 0.5 * pace.HOLD_SECONDS * 2**number
    for task in waiting:
        task.cancel()


async def test_pause_is_bounded_and_begins_anew_after_a_success() -> None:
    server = Busy(1)
    pool = await opened(server)
    pool.stock.pace._seconds = 1e-9
    await pool.acquire()
    with patch.object(pace, "MOST_HOLD_SECONDS", 0.001):
        waiting = spawn(pool.acquire())
        await until(lambda: len(server.refused) >= 12)
        assert pool.stock.pace._seconds <= 0.001
    server.most = 2

    await waiting

    assert pool.stock.pace._seconds == pace.HOLD_SECONDS
    assert pool.stats().held_back is False


async def test_opening_gains_speed_once_the_server_takes_more() -> None:
    server = Busy(1)
    pool = await opened(server, 1, 50)
    await pool.acquire()
    waiting = [spawn(pool.acquire()) for _ in range(40)]
    await until(lambda: server.refused)
    server.most = 50
    server.slow = True
    under_way = []
    while len(server.opened) < 30:
        await until(lambda: server.pending)
        await steps()
        under_way.append(len(server.pending))
        server.accept()
        await steps()

    assert under_way[0] == 1
    assert max(under_way) == OPENED_AT_ONCE
    for task in waiting:
        task.cancel()


async def test_lost_connection_of_a_full_server_costs_no_waiter_its_turn() -> None:
    server = Busy(2)
    pool = await opened(server, 2, 2)
    first, second = await pool.acquire(), await pool.acquire()
    waiting = spawn(pool.acquire())
    server.most = 1
    first.close()
    pool.release(first)
    await until(lambda: server.refused)

    pool.release(second)

    assert await waiting is second


async def test_minsize_is_restored_after_too_many_connections() -> None:
    server = Busy(3)
    pool = await opened(server, 3)
    server.most = 2
    server.opened[0].close()
    server.opened[0].when_lost()
    await until(lambda: server.refused)
    server.most = 3

    await until(lambda: pool.freesize == 3)


async def test_engine_that_can_open_some_begins_with_them() -> None:
    server = Busy(2)
    pool = await opened(server, 5)

    assert pool.freesize == 2
    assert pool.stats().refused == 3
    server.most = 5
    await until(lambda: pool.freesize == 5)


async def test_engine_that_can_open_none_says_why() -> None:
    with pytest.raises(err.OperationalError, match="1040"):
        await opened(Busy(0), 5)


# -- with nothing to wait for ----------------------------------------------------------------------


async def alone(patience: float) -> tuple[Busy, Any]:
    """A pool whose only connection was lost, of a server that has too many."""
    server = Busy(1)
    pool = await opened(server, 0, patience=patience)
    server.most = 0
    server.opened[0].close()
    server.opened[0].when_lost()
    return server, pool


async def test_error_comes_after_the_time_limit_and_names_the_reason() -> None:
    server, pool = await alone(10)
    started = now()
    with pytest.raises(sa.AcquireTimeoutError, match="none is opened: .*1040") as caught:
        await pool.acquire(0.3)

    assert now() - started >= 0.29  # a clock of milliseconds
    assert isinstance(caught.value.__cause__, err.OperationalError)
    assert len(server.refused) >= 2


async def test_error_of_the_server_comes_after_the_patience_without_a_limit() -> None:
    server, pool = await alone(0.3)
    started = now()
    waiting = [spawn(pool.acquire()) for _ in range(20)]
    done, _ = await asyncio.wait(waiting, timeout=5)

    assert {type(task.exception()) for task in done} == {err.OperationalError}
    assert len({id(task.exception()) for task in done}) == len(done) == 20
    assert 0.29 <= now() - started < 2
    assert len(server.refused) > OPENED_AT_ONCE


async def test_who_came_later_has_as_much_patience() -> None:
    _, pool = await alone(0.3)
    first = spawn(pool.acquire())
    await passed(0.2)
    second = spawn(pool.acquire())
    await asyncio.wait([first])

    assert not second.done()
    await asyncio.wait([second], timeout=5)
    assert isinstance(second.exception(), err.OperationalError)


async def test_who_has_a_limit_waits_for_that() -> None:
    _, pool = await alone(0.1)
    waiting = spawn(pool.acquire(0.5))
    without = spawn(pool.acquire())
    await asyncio.wait([without], timeout=5)

    assert isinstance(without.exception(), err.OperationalError)
    assert not waiting.done()
    with pytest.raises(sa.AcquireTimeoutError):
        await waiting


async def test_without_any_limit_the_error_comes_at_once() -> None:
    server, pool = await alone(0)
    with pytest.raises(err.OperationalError, match="1040"):
        await asyncio.wait_for(pool.acquire(), 5)

    assert len(server.refused) == 1


@pytest.mark.parametrize("patience", [0, 0.01], ids=["none", "little"])
async def test_who_comes_after_a_refusal_has_an_opening_tried(patience: float) -> None:
    server, pool = await alone(patience)
    with pytest.raises(asyncio.TimeoutError):
        await pool.acquire(0.01)
    assert pool.stats().held_back
    server.most = 1

    assert await asyncio.wait_for(pool.acquire(), 10) is server.opened[1]


async def test_place_in_time_is_better_than_an_error() -> None:
    server, pool = await alone(5)
    waiting = [spawn(pool.acquire()) for _ in range(3)]
    await until(lambda: server.refused)
    server.most = 3

    assert len({*await asyncio.gather(*waiting)}) == 3


async def test_connection_that_will_not_be_lent_again_is_nothing_to_wait_for() -> None:
    server = Busy(1)
    pool = await opened(server, patience=0.2)
    await pool.acquire()
    pool.clear()

    with pytest.raises(err.OperationalError, match="1040"):
        await asyncio.wait_for(pool.acquire(), 5)


async def test_others_do_not_wait_each_for_a_silent_server() -> None:
    """What one opening has taken all its time to find out, others need not find out again."""
    server = FakeServer()
    pool = await opened(server, 0, 1, patience=0.1)
    server.opened[0].close()
    server.opened[0].when_lost()
    server.slow = True
    waiting = [spawn(pool.acquire()) for _ in range(5)]
    await passed(0.2)
    server.refuse()
    done, left = await asyncio.wait(waiting, timeout=10)

    assert len(done) == 5 and not left
    assert {task.exception().args[0] for task in done} == {2003}


async def test_refusal_of_another_kind_is_told_to_one_at_once() -> None:
    server = FakeServer()
    pool = await opened(server, 0, 1, patience=10)
    server.opened[0].close()
    server.opened[0].when_lost()
    server.slow = True
    waiting = [spawn(pool.acquire()) for _ in range(2)]
    await steps()
    server.refuse()
    await steps()

    assert [task.done() for task in waiting] == [True, False]
    server.accept()
    await waiting[1]
    with pytest.raises(err.OperationalError, match="2003"):
        await waiting[0]


async def test_timeout_of_a_pool_in_use_names_no_old_refusal() -> None:
    server = Busy(1)
    pool = await opened(server, 1, 2)
    lent = await pool.acquire()
    waiting = spawn(pool.acquire())
    await until(lambda: server.refused)
    pool.release(lent)
    lent = await waiting
    await until(lambda: not pool.stats().held_back)
    server.most = 2
    await pool.acquire()

    with pytest.raises(sa.AcquireTimeoutError) as caught:
        await pool.acquire(0.01)
    assert "none is opened" not in str(caught.value)


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_end_of_the_pool_ends_the_waiting(how: str) -> None:
    server, pool = await alone(60)
    waiting = spawn(pool.acquire())
    await until(lambda: pool.stats().held_back)
    getattr(pool, how)()

    await asyncio.wait_for(pool.wait_closed(), 5)
    with pytest.raises(RuntimeError, match="after closing"):
        await waiting
    attempts = len(server.refused)
    await passed(2 * pace.HOLD_SECONDS)
    assert len(server.refused) == attempts


# -- max_waiting -----------------------------------------------------------------------------------


async def test_more_than_may_wait_are_refused_at_once() -> None:
    pool = await opened(FakeServer(), 1, 1, max_waiting=2)
    lent = await pool.acquire()
    waiting = [spawn(pool.acquire()) for _ in range(2)]
    await steps()

    with pytest.raises(sa.TooManyWaitingError, match="2 wait .* raise maxsize or max_waiting"):
        await pool.acquire()

    assert pool.stats().turned_away == 1
    waiting[0].cancel()
    await steps()
    third = spawn(pool.acquire())
    await steps()
    for task in (waiting[1], third):
        pool.release(lent)
        lent = await task


async def test_who_waits_for_what_is_being_opened_is_not_refused() -> None:
    server = FakeServer()
    pool = await opened(server, 1, 3, max_waiting=1)
    server.slow = True
    borrowers = [spawn(pool.acquire()) for _ in range(4)]
    await steps()
    with pytest.raises(sa.TooManyWaitingError):
        await pool.acquire()

    while server.pending:
        server.accept()
    *served, last = borrowers
    lent = [await task for task in served]
    pool.release(lent[0])
    assert await last is lent[0]
    assert pool.stats().turned_away == 1


async def test_more_than_may_wait_are_refused_while_nothing_is_opened() -> None:
    server = FakeServer()
    pool = await opened(server, 1, 5, max_waiting=2)
    await pool.acquire()
    server.refuses, server.code = True, ER.CON_COUNT_ERROR
    waiting = [spawn(pool.acquire()) for _ in range(2)]
    await steps()

    with pytest.raises(sa.TooManyWaitingError):
        await pool.acquire()

    for task in waiting:
        task.cancel()


async def test_who_waits_for_what_is_checked_is_not_refused_while_nothing_is_opened() -> None:
    server = FakeServer()
    pool = await opened(server, 2, 5, max_waiting=1, pre_ping=0)
    idle = [await pool.acquire() for _ in range(2)]
    server.refuses, server.code = True, ER.CON_COUNT_ERROR
    refused = spawn(pool.acquire())
    await steps()
    refused.cancel()
    await steps()
    for each in idle:
        pool.release(each)

    lent = await asyncio.gather(*(pool.acquire() for _ in idle))

    assert set(lent) == set(idle)
    assert pool.stats().turned_away == 0


async def test_who_is_served_at_once_does_not_wait() -> None:
    pool = await opened(FakeServer(), 2, 2, max_waiting=1)

    assert isinstance(await pool.acquire(), FakeConnection)
    assert isinstance(await pool.acquire(), FakeConnection)


async def test_waiter_whose_connection_was_lost_is_not_refused() -> None:
    pool = await opened(FakeServer(), 1, 1, max_waiting=1)
    lent = await pool.acquire()
    waiting = spawn(pool.acquire())
    await steps()
    pool.release(lent)  # to whom waits, who has not woken yet
    lent.close()

    assert await waiting is not lent
    assert pool.stats().turned_away == 0
