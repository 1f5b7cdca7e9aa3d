"""The pool: order, capacity and cancellation, on connections that answer when they are told to."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from collections.abc import Callable, Coroutine
from operator import attrgetter
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pretended import FakeConnection, FakeServer, pool_of
from pymysql import err
from pymysql.constants import SERVER_STATUS

import aiomysqlx as sa
from aiomysqlx.pool import pace
from aiomysqlx.pool.supply import RETRY_SECONDS, logger
from aiomysqlx.pool.waiters import until

CLOSED = "Cannot acquire connection after closing pool"


@pytest.fixture
def server() -> FakeServer:
    """A server whose connections are only pretended."""
    return FakeServer()


async def opened(
    server: FakeServer, minsize: int = 1, maxsize: int | None = 2, recycle: float = -1
) -> Any:
    pool = pool_of(server, minsize, maxsize, recycle)
    await pool.open()
    return pool


async def steps(count: int = 10) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


def spawn(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.ensure_future(coroutine)


@pytest.mark.parametrize(("minsize", "size"), [(0, 1), (1, 1), (4, 4)])
async def test_first_connections_are_opened_at_once(
    server: FakeServer, minsize: int, size: int
) -> None:
    server.slow = True
    pool = pool_of(server, minsize, 10, -1)
    opening = spawn(pool.open())
    await steps()

    assert len(server.pending) == size
    while server.pending:
        server.accept()
    await opening
    assert (pool.size, pool.freesize) == (size, size)


async def test_failing_first_connection_closes_the_others(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ensure_closed(connection: FakeConnection) -> None:
        connection.close()
        waited_for.append(connection)

    waited_for: list[FakeConnection] = []
    monkeypatch.setattr(FakeConnection, "ensure_closed", ensure_closed)
    server.slow = True
    opening = spawn(pool_of(server, 3, 5, -1).open())
    await steps()
    server.accept()
    server.refuse()
    server.accept()

    with pytest.raises(err.OperationalError, match="Refused"):
        await opening
    assert len(server.opened) == 2 and all(each.closed for each in server.opened)
    assert {*waited_for} == {*server.opened}


async def test_cancelled_opening_closes_what_it_opened(server: FakeServer) -> None:
    server.slow = True
    opening = spawn(pool_of(server, 3, 5, -1).open())
    await steps()
    server.accept()
    await steps()
    opening.cancel()

    with pytest.raises(asyncio.CancelledError):
        await opening
    assert [each.closed for each in server.opened] == [True]
    assert not server.pending


async def test_idle_connections_are_lent_last_in_first_out(server: FakeServer) -> None:
    pool = await opened(server, 3, 3)
    a, b, c = [await pool.acquire() for _ in range(3)]
    for each in (b, c, a):
        pool.release(each)

    assert [await pool.acquire() for _ in range(3)] == [a, c, b]


async def test_idle_connection_is_taken_without_waiting(server: FakeServer) -> None:
    pool = await opened(server)
    acquire = pool.acquire()

    with pytest.raises(StopIteration) as taken:
        acquire.send(None)

    assert taken.value.value is server.opened[0]


async def test_waiters_are_served_in_their_order(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    served: list[int] = []

    async def wait(number: int) -> None:
        connection = await pool.acquire()
        served.append(number)
        pool.release(connection)

    tasks = [spawn(wait(number)) for number in range(5)]
    await steps()
    assert served == []
    pool.release(lent)
    await asyncio.wait_for(asyncio.gather(*tasks), 10)

    assert served == [0, 1, 2, 3, 4]
    assert pool.stats().acquired == 6


async def test_newcomer_does_not_overtake_a_waiter(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiter = spawn(pool.acquire())
    await steps()
    pool.release(lent)

    newcomer = spawn(pool.acquire())
    await steps()

    assert waiter.done() and not newcomer.done()
    pool.release(waiter.result())
    assert await newcomer is lent


async def test_connects_do_not_wait_for_one_another(server: FakeServer) -> None:
    pool = await opened(server, 1, 6)
    await pool.acquire()
    server.slow = True
    tasks = [spawn(pool.acquire()) for _ in range(5)]
    await steps()

    assert len(server.pending) == 5
    while server.pending:
        server.accept()
    assert len(set(await asyncio.gather(*tasks))) == 5


async def test_no_more_than_maxsize_is_opened(server: FakeServer) -> None:
    pool = await opened(server, 1, 3)
    server.slow = True
    tasks = [spawn(pool.acquire()) for _ in range(8)]
    await steps()

    assert len(server.pending) == 2
    assert pool.size == 3
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_without_maxsize_nobody_waits(server: FakeServer) -> None:
    pool = await opened(server, 1, None)

    lent = [await pool.acquire() for _ in range(50)]

    assert len(set(lent)) == pool.size == 50


@pytest.mark.parametrize("how", ["refuse", "cancel"])
async def test_failing_connect_lets_the_next_waiter_try(server: FakeServer, how: str) -> None:
    pool = await opened(server, 1, 2)
    await pool.acquire()
    server.slow = True
    first, second = spawn(pool.acquire()), spawn(pool.acquire())
    await steps()
    if how == "refuse":
        server.refuse()
        with pytest.raises(err.OperationalError):
            await first
    else:
        first.cancel()
        await asyncio.wait([first])
    await steps()
    server.accept()

    assert await asyncio.wait_for(second, 10) is server.opened[-1]
    assert pool.size == 2


async def test_closed_connection_given_back_lets_a_waiter_open_one(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiter = spawn(pool.acquire())
    await steps()
    lent.close()
    pool.release(lent)

    assert await asyncio.wait_for(waiter, 10) is server.opened[1]
    assert pool.size == 1


async def test_dead_idle_connections_are_replaced(server: FakeServer) -> None:
    pool = await opened(server, 3, 3)
    for each in server.opened:
        each.closed = True

    connection = await pool.acquire()

    assert not connection.closed
    pool.release(connection)
    assert pool.freesize == pool.size


async def test_minsize_is_restored_in_the_background(server: FakeServer) -> None:
    pool = await opened(server, 4, 4)
    lent = await pool.acquire()
    lent.close()
    pool.release(lent)
    await steps()

    assert (pool.size, pool.freesize) == (4, 4)


async def test_idle_connection_serves_while_minsize_cannot_be_restored(
    server: FakeServer,
) -> None:
    pool = await opened(server, 2, 2)
    lent = await pool.acquire()
    server.refuses = True
    lent.close()
    pool.release(lent)
    await steps()

    connection = await pool.acquire()

    assert not connection.closed
    assert (pool.size, pool.freesize) == (1, 0)


async def test_stale_idle_connection_is_replaced(server: FakeServer) -> None:
    pool = await opened(server, 1, 1, recycle=10)
    server.opened[0].last_usage -= 11

    connection = await pool.acquire()

    assert connection is server.opened[1]
    assert server.opened[0].closed
    assert pool.size == 1


async def test_idle_connection_that_ages_while_another_is_pinged_is_replaced(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping(connection: FakeConnection, reconnect: bool = True) -> None:
        for each in server.opened:
            each.last_usage -= 11
        raise err.OperationalError(2013, "no answer")

    pool: Any = pool_of(server, 2, 2, 10, pre_ping=0)
    await pool.open()
    monkeypatch.setattr(FakeConnection, "ping", ping)

    connection = await asyncio.wait_for(pool.acquire(), 10)

    assert connection not in server.opened[:2]
    assert all(each.closed for each in server.opened[:2])
    assert pool.stats().closed == {"ping": 1, "recycle": 1}
    pool.terminate()
    await pool.wait_closed()


async def test_idle_connection_is_pinged_while_another_is_being_opened(server: FakeServer) -> None:
    pool: Any = pool_of(server, 1, 2, pre_ping=0)
    await pool.open()
    lent = await pool.acquire()
    server.slow = True
    with pytest.raises(asyncio.TimeoutError):
        await pool.acquire(0.01)
    pool.release(lent)

    assert await asyncio.wait_for(pool.acquire(), 10) is lent
    assert len(server.pending) == 1
    pool.terminate()
    await pool.wait_closed()


async def test_work_on_a_connection_that_was_lost_is_not_told_of_again(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await opened(server)
    connection = await pool.acquire()
    connection.wrote = True
    connection.close()

    pool.release(connection)

    assert caplog.records == []


async def test_implicit_transaction_is_rolled_back_and_kept(server: FakeServer) -> None:
    pool = await opened(server)
    connection = await pool.acquire()
    connection.server_status |= SERVER_STATUS.SERVER_STATUS_IN_TRANS

    pool.release(connection)

    assert connection.rollbacks == 1
    assert (pool.size, pool.freesize) == (1, 0)
    connection.finish()
    await steps()
    assert pool.freesize == 1 and not connection.closed


async def test_connection_that_stays_in_its_transaction_is_replaced(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = await opened(server)
    connection = await pool.acquire()
    monkeypatch.setattr(FakeConnection, "in_transaction", True)

    pool.release(connection)
    connection.finish()
    await steps()

    assert connection.closed and connection.rollbacks == 1
    assert pool.stats().closed["reset"] == 1


async def test_nothing_of_a_session_is_put_back_within_a_transaction(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def put_back(connection: FakeConnection) -> bool:
        called.append(connection)  # it would commit
        return True

    called: list[FakeConnection] = []
    pool = await opened(server)
    connection = await pool.acquire()
    connection.as_begun = False
    monkeypatch.setattr(FakeConnection, "in_transaction", True)
    monkeypatch.setattr(FakeConnection, "put_back", put_back)

    await asyncio.wait([pool.release(connection)])

    assert called == []
    assert connection.closed and pool.stats().closed == {"reset": 1}


async def test_error_of_an_opening_is_not_blamed_on_an_init_that_is_not_there(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def keep(connection: FakeConnection) -> None:
        raise err.OperationalError(1, "no good")

    pool = await opened(server)
    await pool.acquire()
    monkeypatch.setattr(FakeConnection, "keep", keep)

    with pytest.raises(err.OperationalError, match="no good"):
        await pool.acquire()

    assert caplog.records == []


@pytest.mark.parametrize("count", [2, 3])
async def test_connection_given_back_twice_is_refused(server: FakeServer, count: int) -> None:
    pool = await opened(server)
    connection = await pool.acquire()
    pool.release(connection)

    for _ in range(count - 1):
        with pytest.raises(sa.InvalidRequestError, match="does not belong to this pool"):
            pool.release(connection)
    assert (pool.size, pool.freesize) == (1, 1)


async def test_foreign_connection_is_refused(server: FakeServer) -> None:
    pool = await opened(server)

    with pytest.raises(sa.InvalidRequestError, match="does not belong to this pool"):
        pool.release(FakeConnection(99))
    assert pool.size == 1


async def test_foreign_connection_is_refused_closed_or_while_the_pool_closes(
    server: FakeServer,
) -> None:
    pool = await opened(server)
    foreign = FakeConnection(99)
    foreign.closed = True
    with pytest.raises(sa.InvalidRequestError, match="does not belong to this pool"):
        pool.release(foreign)

    pool.close()
    with pytest.raises(sa.InvalidRequestError, match="does not belong to this pool"):
        pool.release(FakeConnection(98))
    await pool.wait_closed()


async def test_idle_connection_that_had_died_is_not_counted_as_cleared(server: FakeServer) -> None:
    pool = await opened(server, 2, 2)
    server.opened[0].closed = True

    pool.clear()

    assert pool.stats().closed == {"lost": 1, "cleared": 1}


# -- unread answers --------------------------------------------------------------------------------


async def test_unread_answer_keeps_the_connection_apart(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    connection.leave_unread()
    waiting = pool.release(connection)
    waiter = spawn(pool.acquire())
    await steps()

    assert waiting is not None and not waiting.done()
    assert (pool.size, pool.freesize) == (1, 0) and not waiter.done()
    connection.finish()
    assert await asyncio.wait_for(waiter, 10) is connection
    assert connection.rollbacks == 0


async def test_way_back_that_is_cancelled_as_the_loop_ends_opens_nothing_at_once(
    server: FakeServer,
) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    connection.leave_unread()
    settling = pool.release(connection)
    await steps()
    settling.cancel()
    await steps()

    assert connection.closed and (pool.size, len(server.opened)) == (0, 1)
    pool.close()
    await pool.wait_closed()


@pytest.mark.parametrize("how", ["closed", "cancelled"])
async def test_connection_that_does_not_settle_is_replaced(
    server: FakeServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    connection.leave_unread()
    settling = pool.release(connection)
    waiter = spawn(pool.acquire())
    await steps()
    if how == "closed":
        connection.close()
    else:
        settling.cancel()

    assert await asyncio.wait_for(waiter, 10) is server.opened[1]
    assert connection.closed and pool.size == 1
    assert caplog.records == []


@pytest.mark.parametrize("reset", [False, True], ids=["answer", "reset"])
async def test_waiter_does_not_rely_on_what_may_take_long_to_come_back(
    server: FakeServer, reset: bool
) -> None:
    async def stay(connection: Any) -> None:
        await asyncio.Event().wait()

    pool: Any = pool_of(server, 1, 2, -1, reset=stay if reset else None)
    await pool.open()
    connection = await pool.acquire()
    if not reset:
        connection.leave_unread()
    pool.release(connection)

    waiter = spawn(pool.acquire())
    await steps()

    assert waiter.done() and waiter.result() is server.opened[1]
    pool.terminate()
    await pool.wait_closed()


async def test_waiter_relies_on_a_rollback_for_so_long(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.pool.waiters.BACK_SECONDS", 1000)
    pool = await opened(server, 1, 2)
    connection = await pool.acquire()
    connection.server_status = SERVER_STATUS.SERVER_STATUS_IN_TRANS
    since = pool.home.loop.time()
    pool.release(connection)
    waiter = spawn(pool.acquire())
    await steps()

    assert not waiter.done() and len(server.opened) == 1
    timer = pool.stock.underway._impatience.handle
    assert timer.when() == pytest.approx(since + 1000, abs=5)
    another = spawn(pool.acquire())
    assert await asyncio.wait_for(waiter, 10) is server.opened[1]
    assert pool.stock.underway._impatience.handle is timer
    connection.finish()
    assert await asyncio.wait_for(another, 10) is connection


async def test_waiters_rely_on_each_rollback_for_so_long(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.pool.waiters.BACK_SECONDS", 0.3)
    pool = await opened(server, 1, 4)
    first, second = [await pool.acquire() for _ in range(2)]
    for connection in (first, second):
        connection.server_status = SERVER_STATUS.SERVER_STATUS_IN_TRANS
    pool.release(first)
    waiters = [spawn(pool.acquire()) for _ in range(2)]
    await asyncio.sleep(0.15)
    pool.release(second)
    while len(pool.stock.underway._coming_back) == 2:
        await asyncio.sleep(0.001)
    await steps()

    assert len(server.opened) == 3
    second.finish()
    assert {await waiter for waiter in waiters} == {server.opened[2], second}


async def test_waiter_does_not_rely_for_long_on_a_later_rollback_either(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.pool.waiters.BACK_SECONDS", 0.02)
    pool = await opened(server, 1, 4)
    for connection in [await pool.acquire() for _ in range(2)]:
        connection.server_status = SERVER_STATUS.SERVER_STATUS_IN_TRANS
        pool.release(connection)

        await asyncio.wait_for(pool.acquire(), 10)

    assert len(server.opened) == 4


async def test_closed_connection_gives_its_place_on_though_its_statement_is_being_ended(
    server: FakeServer,
) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    connection.leave_unread()
    connection.closed = True

    assert pool.release(connection) is None

    assert pool.stats().closed == {"lost": 1}
    assert await asyncio.wait_for(pool.acquire(), 10) is server.opened[1]


async def test_busy_connection_of_a_cleared_pool_is_closed_once_it_is_answered(
    server: FakeServer,
) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    connection.leave_unread()
    pool.clear()
    settling = pool.release(connection)
    await steps()
    assert not connection.closed

    connection.finish()
    await settling

    assert connection.closed and pool.stats().closed == {"cleared": 1}


async def test_waiter_does_not_rely_on_what_has_come_back(server: FakeServer) -> None:
    pool = await opened(server, 1, 2)
    connection = await pool.acquire()
    connection.server_status = SERVER_STATUS.SERVER_STATUS_IN_TRANS
    pool.release(connection)
    connection.finish()
    await steps()
    assert await pool.acquire() is connection

    waiter = spawn(pool.acquire())
    await steps()

    assert waiter.done() and waiter.result() is server.opened[1]


def test_what_is_due_at_the_moment_is_late() -> None:
    assert until([("a", 1.0), ("b", 2.0), ("c", 2.5)], 2.0) == ["a", "b"]


# -- unused connections ----------------------------------------------------------------------------


async def with_idle(server: FakeServer, minsize: int, count: int, most: float) -> Any:
    """Give a pool with so many idle connections, of which all but `minsize` may be unused."""
    pool = pool_of(server, minsize, count, -1, max_idle=most)
    await pool.open()
    for connection in [await pool.acquire() for _ in range(count)]:
        pool.release(connection)
    return pool


async def test_no_unused_connection_is_closed_when_others_were_lost(server: FakeServer) -> None:
    pool = await with_idle(server, 2, 3, 1000)
    lent = await pool.acquire()
    lent.close()
    pool.release(lent)
    for connection in pool.stock.idle:
        pool.stock.idle[connection] -= 1001

    pool.stock._close_unused()

    assert (pool.size, pool.stats().closed) == (2, {"lost": 1})


async def test_unused_connections_are_looked_for_when_the_next_one_is_due(
    server: FakeServer,
) -> None:
    pool = await with_idle(server, 1, 3, 1000)
    first, second, _ = pool.stock.idle
    pool.stock.idle[first] -= 1001
    pool.stock.idle[second] -= 400
    due = pool.stock.idle[second] + 1000
    pool.stock._idle_check.cancel()

    pool.stock._close_unused()

    assert first.closed and pool.size == 2
    assert pool.stock._idle_check.handle.when() == pytest.approx(due, abs=5)
    pool.close()


# -- cancellation ----------------------------------------------------------------------------------


async def test_cancelled_waiter_leaves_the_queue(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    tasks = [spawn(pool.acquire()) for _ in range(3)]
    await steps()
    tasks[0].cancel()
    await steps()
    pool.release(lent)

    assert await asyncio.wait_for(tasks[1], 10) is lent
    pool.release(lent)
    assert await asyncio.wait_for(tasks[2], 10) is lent


@pytest.mark.parametrize("first", ["cancel", "release"])
async def test_waiter_cancelled_as_it_is_served_passes_on(server: FakeServer, first: str) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    cancelled, other = spawn(pool.acquire()), spawn(pool.acquire())
    await steps()
    for step in (first, "release" if first == "cancel" else "cancel"):
        if step == "cancel":
            cancelled.cancel()
        else:
            pool.release(lent)

    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await asyncio.wait_for(other, 10) is lent


@pytest.mark.parametrize("first", ["cancel", "release"])
async def test_waiter_cancelled_as_it_may_open_passes_the_right_on(
    server: FakeServer, first: str
) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    lent.close()
    cancelled, other = spawn(pool.acquire()), spawn(pool.acquire())
    await steps()
    for step in (first, "release" if first == "cancel" else "cancel"):
        if step == "cancel":
            cancelled.cancel()
        else:
            pool.release(lent)

    with pytest.raises(asyncio.CancelledError):
        await cancelled
    assert await asyncio.wait_for(other, 10) is server.opened[1]
    assert pool.size == 1


async def test_last_waiter_cancelled_as_it_is_served_gives_back(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiter = spawn(pool.acquire())
    await steps()
    pool.release(lent)
    waiter.cancel()
    await asyncio.wait([waiter])

    assert (pool.size, pool.freesize) == (1, 1)


@pytest.mark.parametrize("first", ["close", "release"])
async def test_waiting_acquire_that_is_closed_takes_nothing(server: FakeServer, first: str) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    acquire = pool.acquire()
    acquire.send(None)
    for step in (first, "release" if first == "close" else "close"):
        if step == "close":
            acquire.close()
        else:
            pool.release(lent)

    assert (pool.size, pool.freesize) == (1, 1)
    assert await asyncio.wait_for(pool.acquire(), 10) is lent


async def test_timers_of_acquires_end_with_them(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    timers: list[asyncio.TimerHandle] = []
    call_at = pool.home.loop.call_at

    def noted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(call_at(*args, **kwargs))
        return timers[-1]

    lent = await pool.acquire()
    pool.home.loop.call_at = noted
    try:
        served, cancelled = spawn(pool.acquire(1000)), spawn(pool.acquire(1000))
        await steps()
        cancelled.cancel()
        pool.release(lent)
        await asyncio.wait([served, cancelled], timeout=10)
    finally:
        del pool.home.loop.call_at

    assert [timer.cancelled() for timer in timers[:2]] == [True, True]


async def test_connection_that_dies_on_its_way_to_a_waiter_is_replaced(
    server: FakeServer,
) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiter = spawn(pool.acquire())
    await steps()
    pool.release(lent)
    lent.closed = True

    assert await asyncio.wait_for(waiter, 10) is server.opened[1]
    assert pool.size == 1
    assert pool.stats().closed == {"lost": 1}


async def test_waiter_whose_connection_dies_on_its_way_keeps_its_turn(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    first, second = spawn(pool.acquire()), spawn(pool.acquire())
    await steps()
    pool.release(lent)
    lent.closed = True

    done, _ = await asyncio.wait([first, second], timeout=10, return_when=asyncio.FIRST_COMPLETED)
    assert done == {first}
    pool.release(first.result())
    assert await asyncio.wait_for(second, 10) is server.opened[1]


async def test_idle_connection_that_is_not_at_rest_is_put_back_first(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    (idle,) = server.opened
    idle.server_status = SERVER_STATUS.SERVER_STATUS_IN_TRANS
    waiter = spawn(pool.acquire())
    await steps()
    assert idle.rollbacks == 1 and not waiter.done()

    idle.finish()

    assert await asyncio.wait_for(waiter, 10) is idle
    assert pool.size == len(server.opened) == 1


async def test_waiter_whose_connection_dies_as_the_pool_closes_is_turned_away(
    server: FakeServer,
) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiter = spawn(pool.acquire())
    await steps()
    pool.release(lent)
    lent.closed = True
    pool.close()

    with pytest.raises(RuntimeError, match=CLOSED):
        await asyncio.wait_for(waiter, 10)
    await asyncio.wait_for(pool.wait_closed(), 10)


async def test_time_out_without_maxsize_tells_of_no_limit(server: FakeServer) -> None:
    pool = await opened(server, 1, None)
    await pool.acquire()
    server.slow = True

    with pytest.raises(sa.AcquireTimeoutError) as caught:
        await pool.acquire(0.001)

    assert str(caught.value) == (
        "no connection within 0.001 seconds: 1 in use, 1 being opened or put back, 0 more waiting"
    )
    pool.terminate()
    await pool.wait_closed()


async def test_wait_for_that_times_out_loses_nothing(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    for _ in range(20):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.acquire(), 0.001)
    pool.release(lent)

    assert await asyncio.wait_for(pool.acquire(), 10) is lent


# -- closing ---------------------------------------------------------------------------------------


async def test_close_closes_idle_connections_and_lent_ones_as_they_return(
    server: FakeServer,
) -> None:
    pool = await opened(server, 2, 2)
    lent = await pool.acquire()
    pool.close()
    waiting = spawn(pool.wait_closed())
    await steps()

    assert [each.closed for each in server.opened].count(True) == 1
    assert not lent.closed and not waiting.done()
    pool.release(lent)
    await asyncio.wait_for(waiting, 10)
    assert lent.closed and pool.size == 0
    assert pool.stats().closed == {"engine": 2}
    pool.close()
    await pool.wait_closed()


async def test_close_turns_waiters_away(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiters = [spawn(pool.acquire()) for _ in range(3)]
    await steps()
    pool.close()

    for waiter in waiters:
        with pytest.raises(RuntimeError, match=CLOSED):
            await asyncio.wait_for(waiter, 10)
    pool.release(lent)
    await asyncio.wait_for(pool.wait_closed(), 10)


async def test_acquire_after_close_is_refused(server: FakeServer) -> None:
    pool = await opened(server)
    pool.close()

    with pytest.raises(RuntimeError, match=CLOSED):
        await pool.acquire()


async def test_pool_of_another_process_is_called_from_any_thread(server: FakeServer) -> None:
    pool = await opened(server)
    pool.disown()

    await asyncio.to_thread(pool.home.check_thread)

    assert pool.size == 0


async def test_wait_closed_before_close_is_refused(server: FakeServer) -> None:
    pool = await opened(server)

    with pytest.raises(RuntimeError, match=r"\.wait_closed\(\) should be called after \.close\(\)"):
        await pool.wait_closed()


@pytest.mark.parametrize("how", ["close", "terminate"])
@pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "unanswered"])
async def test_opening_ends_with_the_pool(server: FakeServer, how: str, accepted: bool) -> None:
    pool = await opened(server, 1, 2)
    lent = await pool.acquire()
    server.slow = True
    opening = spawn(pool.acquire())
    await steps()
    if accepted:
        server.accept()
    getattr(pool, how)()
    waiting = spawn(pool.wait_closed())

    with pytest.raises(RuntimeError, match=CLOSED):
        await opening
    pool.release(lent)
    await asyncio.wait_for(waiting, 10)
    assert all(connection.closed for connection in server.opened)
    assert pool.size == 0


async def test_work_that_comes_back_as_the_pool_closes_is_told_of(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    lent.leave_unread()
    lent.wrote = True
    pool.release(lent)
    await steps()
    pool.close()
    lent.finish()
    await asyncio.wait_for(pool.wait_closed(), 10)

    (record,) = caplog.records
    assert record.getMessage() == (
        "rolled back what was left uncommitted on a connection: commit() it, or begin it by"
        " async with conn.begin()"
    )


@pytest.mark.parametrize("stage", ["init", "reset"])
async def test_end_waits_for_a_hook_that_it_cuts_off(server: FakeServer, stage: str) -> None:
    async def hook(connection: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await steps(30)
            ended.append(connection)

    ended: list[Any] = []
    pool: Any = pool_of(server, 1, 2, -1, reset=hook if stage == "reset" else None)
    await pool.open()
    lent = await pool.acquire()
    if stage == "reset":
        pool.release(lent)
    else:
        pool.stock.keeper._init = hook
        waiter = spawn(pool.acquire())
    await steps()

    await asyncio.wait_for(pool.end(), 10)

    assert len(ended) == 1 and pool.size == 0
    if stage == "init":
        with pytest.raises(RuntimeError, match=CLOSED):
            await waiter


async def test_pool_that_closes_while_it_opens_unasked_sets_no_timer(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    server.slow = True
    lent = await pool.acquire()
    lent.close()
    pool.release(lent)
    await steps()
    assert len(server.pending) == 1

    pool.close()
    await asyncio.wait_for(pool.wait_closed(), 10)

    assert pool.stock._retry.handle is None


@pytest.mark.parametrize("stage", ["init", "reset"])
async def test_connection_that_an_end_cuts_off_is_counted_as_closed_with_the_engine(
    server: FakeServer, stage: str
) -> None:
    async def stay(connection: Any) -> None:
        if connection is not server.opened[0] or stage == "reset":
            staying.set()
            await asyncio.Event().wait()

    staying = asyncio.Event()
    hooks: Any = {stage: stay}
    pool: Any = pool_of(server, 1, 2, -1, **hooks)
    await pool.open()
    lent = await pool.acquire()
    if stage == "reset":
        pool.release(lent)
    else:
        waiter = spawn(pool.acquire())
    await asyncio.wait_for(staying.wait(), 10)
    pool.terminate()
    await asyncio.wait_for(pool.wait_closed(), 10)

    assert pool.stats().closed == {"engine": len(server.opened)}
    if stage == "init":
        with pytest.raises(RuntimeError, match=CLOSED):
            await waiter


async def test_terminate_closes_everything(server: FakeServer) -> None:
    pool = await opened(server, 3, 3)
    lent, unread = await pool.acquire(), await pool.acquire()
    unread.leave_unread()
    pool.release(unread)
    pool.terminate()

    assert all(each.closed for each in server.opened)
    await asyncio.wait_for(pool.wait_closed(), 10)
    assert pool.size == 0
    assert pool.release(lent) is None
    pool.terminate()


async def test_waiter_that_was_served_before_terminate_is_turned_away(
    server: FakeServer,
) -> None:
    pool = await opened(server, 1, 1)
    lent = await pool.acquire()
    waiter = spawn(pool.acquire())
    await steps()
    pool.release(lent)
    pool.terminate()

    with pytest.raises(RuntimeError, match=CLOSED):
        await asyncio.wait_for(waiter, 10)
    assert pool.size == 0


@pytest.mark.usefixtures("quiet")
async def test_pool_that_is_dropped_is_collected_without_a_word(server: FakeServer) -> None:
    pool = await opened(server)
    known = weakref.ref(pool)

    del pool
    gc.collect()
    await steps(20)

    assert known() is None


async def test_retired_connections_are_not_remembered(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    for _ in range(20):
        connection = await pool.acquire()
        connection.leave_unread()
        settling = pool.release(connection)
        connection.close()
        await settling

    assert not pool.stock._leaving


# -- any order of events ---------------------------------------------------------------------------

ACTIONS = (
    "acquire",
    "acquire",
    "release",
    "release",
    "cancel",
    "kill-lent",
    "kill-idle",
    "unread",
    "finish",
    "in-transaction",
    "set",
    "accept",
    "accept",
    "refuse",
    "have-too-many",
    "change-node",
    "refuse-work",
    "time-out",
    "drain",
    "step",
    "step",
)


class Interleaving:
    """A pool, its borrowers and its server, doing one thing after the other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = FakeServer()
        self.tasks: list[asyncio.Task[Any]] = []
        self.lent: list[Any] = []
        self.pool: Any = None
        self.draining: list[asyncio.Task[int]] = []

    async def run_unfailing(self, minsize: int, maxsize: int, actions: list[str]) -> None:
        """Do it, and see that nothing has failed but what the server refused."""
        with patch.object(logger, "error") as told:
            await self.run(minsize, maxsize, actions)
        for call in told.mock_calls:
            assert isinstance(call.kwargs["exc_info"], err.Error), call

    async def run(self, minsize: int, maxsize: int, actions: list[str]) -> None:
        self.pool = await opened(self.server, minsize, maxsize)
        self.server.slow = True
        for action in actions:
            getattr(self, action.replace("-", "_"))()
            if action == "step":
                await asyncio.sleep(0)
            self.collect()
            assert self.pool.size <= maxsize
            assert len(set(self.lent)) == len(self.lent)
        await self.check_capacity(maxsize)
        await self.close()

    def pick(self, items: Any) -> Any:
        items = list(items)
        return self.random.choice(items) if items else None

    def collect(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled() and task.exception() is None:
                self.lent.append(task.result())

    def acquire(self) -> None:
        self.tasks.append(spawn(self.pool.acquire()))

    def release(self) -> None:
        connection = self.pick(self.lent)
        if connection is not None:
            self.lent.remove(connection)
            self.pool.release(connection)

    def cancel(self) -> None:
        task = self.pick(self.tasks)
        if task is not None:
            task.cancel()

    def kill_lent(self) -> None:
        self._apply(self.lent, FakeConnection.close)

    def kill_idle(self) -> None:
        self._apply(self.pool.stock.idle, FakeConnection.close)

    def unread(self) -> None:
        self._apply(self.lent, FakeConnection.leave_unread)

    def finish(self) -> None:
        self._apply(self.server.opened, FakeConnection.finish)

    def in_transaction(self) -> None:
        for connection in self.lent[:1]:
            connection.server_status = SERVER_STATUS.SERVER_STATUS_IN_TRANS

    def set(self) -> None:
        for connection in self.lent[:1]:
            connection.as_begun = False

    def _apply(self, connections: Any, do: Callable[[FakeConnection], None]) -> None:
        connection = self.pick(connections)
        if connection is not None:
            do(connection)

    def accept(self) -> None:
        if self.server.pending:
            self.server.accept()

    def refuse(self) -> None:
        if self.server.pending:
            self.server.refuse()

    def have_too_many(self) -> None:
        if self.server.pending:
            self.server.code = 1040
            self.server.refuse()
            self.server.code = 2003

    def change_node(self) -> None:
        self.server.node = self.random.choice("ab")

    def refuse_work(self) -> None:
        self._apply(self.lent, FakeConnection.refuse_work)

    def time_out(self) -> None:
        for connection in self.lent[:1]:
            connection.overdue = True
            connection.leave_unread()

    def drain(self) -> None:
        self.draining.append(spawn(self.pool.drain().end(None)))

    def step(self) -> None:
        """Let the tasks go on; the caller waits."""

    async def settle(self) -> None:
        self.server.slow = False
        for _ in range(5):
            while self.server.pending:
                self.server.accept()
            for connection in self.server.opened:
                connection.overdue = False
                connection.finish()
            await steps()
            self.collect()

    async def check_capacity(self, maxsize: int) -> None:
        """Everyone still waiting is served, and then the whole pool can be had."""
        await self.settle()
        while self.tasks:
            assert self.lent, "somebody waits although everything has been given back"
            self.pool.release(self.lent.pop())
            await self.settle()
        while self.lent:
            self.pool.release(self.lent.pop())
        await self.settle()
        assert self.pool.size == self.pool.freesize
        assert not self.pool.stats().held_back
        assert all(task.cancelled() or task.result() == 0 for task in self.draining)
        tasks = [spawn(self.pool.acquire()) for _ in range(maxsize)]
        done, waiting = await asyncio.wait(tasks, timeout=10)
        assert len(done) == maxsize and not waiting
        self.lent = [task.result() for task in tasks]
        assert not any(connection.closed for connection in self.lent)
        assert len(set(self.lent)) == maxsize == self.pool.size

    async def close(self) -> None:
        self.pool.close()
        while self.lent:
            self.pool.release(self.lent.pop())
        await asyncio.wait_for(self.pool.wait_closed(), 10)
        assert self.pool.size == 0
        assert all(connection.closed for connection in self.server.opened)


@settings(max_examples=150)
@given(
    minsize=st.integers(0, 3),
    more=st.integers(0, 2),
    actions=st.lists(st.sampled_from(ACTIONS), max_size=60),
    seed=st.integers(0, 1 << 16),
)
async def test_capacity_survives_any_order_of_events(
    minsize: int, more: int, actions: list[str], seed: int
) -> None:
    maxsize = max(1, minsize + more)

    with patch.object(pace, "HOLD_SECONDS", 0):
        await asyncio.wait_for(Interleaving(seed).run_unfailing(minsize, maxsize, actions), 60)


# -- what becomes of connections -------------------------------------------------------------------


async def test_connection_that_is_lost_and_cleared_is_counted_as_lost(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    pool.clear()
    connection.closed = True

    pool.release(connection)

    assert pool.stats().closed == {"lost": 1}


async def test_connection_that_does_not_answer_a_ping_is_replaced_without_a_word(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Silent(FakeConnection):
        async def ping(self, reconnect: bool = True) -> None:
            raise asyncio.TimeoutError

    server = FakeServer(Silent)
    pool = pool_of(server, 1, 1, -1, pre_ping=0)
    await pool.open()

    assert await asyncio.wait_for(pool.acquire(), 10) is server.opened[1]

    assert pool.stats().closed == {"ping": 1}
    assert caplog.records == []


async def test_connection_left_behind_may_end_with_the_pool(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    connection = await pool.acquire()
    pool.terminate()

    pool.reclaim(connection)

    assert pool.stats().closed == {"engine": 1}


async def test_connection_may_outlive_its_pool(server: FakeServer) -> None:
    pool = await opened(server, 1, 1)
    known = weakref.ref(pool)
    del pool
    gc.collect()
    assert known() is None

    server.opened[0].when_lost()


@pytest.mark.parametrize("call", ["home.check_loop", "take"])
async def test_other_event_loop_is_refused(server: FakeServer, call: str) -> None:
    pool = await opened(server, 1, 1)

    async def check() -> None:
        attrgetter(call)(pool)()

    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(asyncio.run, check())
    attrgetter(call)(pool)()


async def test_several_failures_at_once_are_one_reason_to_try_later(server: FakeServer) -> None:
    pool = await opened(server, 2, 2)
    server.refuses = True
    for connection in [await pool.acquire() for _ in range(2)]:
        connection.close()
        pool.release(connection)
    await steps()

    assert pool.stock._retry_seconds == 2 * RETRY_SECONDS
    pool.close()
    await pool.wait_closed()


async def test_error_of_an_opening_that_a_waiter_was_told_holds_nothing(
    server: FakeServer,
) -> None:
    class OwnError(Exception):
        """A user's own, of which there is no copy."""

    async def connect() -> Any:
        raise OwnError

    pool = await opened(server, 1, 2)
    lent = await pool.acquire()
    pool.stock.keeper._connect = connect

    with pytest.raises(OwnError) as caught:
        await pool.acquire()

    # In no frame of the package, which its traceback holds: Python 3.10's tasks have their own.
    frames = [frame.frame for frame in caught.traceback if "aiomysqlx" in Path(frame.path).parts]
    held = [value for frame in frames for value in frame.f_locals.values()]
    assert frames and not any(isinstance(value, (OwnError, asyncio.Future)) for value in held)
    pool.release(lent)
