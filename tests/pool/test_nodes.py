"""Connections of several nodes: what one has met of its node is held against that node alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pretended import FakeConnection, FakeServer, pool_of
from pymysql import err
from watch import spawn, steps, until

from aiomysqlx.pool import nodes


@pytest.fixture
def server() -> FakeServer:
    """A server whose connections are only pretended."""
    return FakeServer()


async def pool_with(server: FakeServer, on: str, **kwargs: Any) -> tuple[Any, list[Any]]:
    """Open a pool with a connection on each of the nodes; give them too, lent."""
    server.node = on[0]
    pool = pool_of(server, 0, 10, **kwargs)
    await pool.open()
    lent = [await pool.acquire()]
    for server.node in on[1:]:
        lent.append(await pool.acquire())
    return pool, lent


def give_back(pool: Any, *connections: Any) -> None:
    for connection in connections:
        pool.release(connection)


def idle(pool: Any) -> list[FakeConnection]:
    return list(pool.stock.idle)


def let_time_pass(pool: Any, seconds: float) -> None:
    """Have what was noted of nodes be so many seconds older."""
    known = pool.stock.nodes
    known._dropped = {node: (number, at - seconds) for node, (number, at) in known._dropped.items()}


# -- a node that cannot do the work ----------------------------------------------------------------


async def test_answer_of_a_node_drops_what_is_idle_of_it_at_once(server: FakeServer) -> None:
    pool, (a, other, b, lent) = await pool_with(server, "aaba")
    give_back(pool, a, other, b)

    lent.refuse_work()

    assert a.closed and other.closed and not lent.closed
    assert idle(pool) == [b]
    pool.release(lent)
    assert pool.stats().closed == {"cleared": 2, "unfit": 1}


async def test_what_is_lent_of_a_node_is_dropped_as_it_comes_back(server: FakeServer) -> None:
    pool, (a, b, lent) = await pool_with(server, "aba")
    lent.refuse_work()

    give_back(pool, a, b)

    assert a.closed and idle(pool) == [b]


async def test_what_is_put_back_of_a_node_is_dropped_then(server: FakeServer) -> None:
    pool, (a, lent) = await pool_with(server, "aa")
    a.leave_unread()
    settling = pool.release(a)
    lent.refuse_work()
    a.finish()
    await settling
    await steps()

    assert a.closed and not idle(pool)


async def test_what_is_checked_of_a_node_is_dropped_then(server: FakeServer) -> None:
    pool, (a, lent) = await pool_with(server, "aa", pre_ping=0)
    pool.release(a)
    server.node = "b"
    waiting = spawn(pool.acquire())
    while a in pool.stock.idle:
        await asyncio.sleep(0)
    lent.refuse_work()

    assert (await waiting).node == "b"
    assert a.closed


async def test_what_is_being_opened_on_a_node_is_dropped_then(server: FakeServer) -> None:
    pool, (lent,) = await pool_with(server, "a")
    server.slow = True
    waiting = spawn(pool.acquire())
    await steps()
    lent.refuse_work()
    server.accept()
    await until(lambda: server.pending)
    server.node = "b"
    server.accept()

    assert (await waiting).node == "b"
    assert server.opened[1].closed


async def test_waiters_have_others_opened_than_those_of_the_node(server: FakeServer) -> None:
    pool, lent = await pool_with(server, "a" * 10)
    waiting = [spawn(pool.acquire()) for _ in range(10)]
    await steps()
    server.node = "b"
    lent[0].refuse_work()
    give_back(pool, *lent)

    assert {each.node for each in await asyncio.gather(*waiting)} == {"b"}


async def test_node_is_dropped_once_in_a_while_at_the_errors_of_new_connections(
    server: FakeServer,
) -> None:
    pool, (first, idle_one) = await pool_with(server, "aa")
    first.refuse_work()
    give_back(pool, first, idle_one)
    second, third, fourth = [await pool.acquire() for _ in range(3)]
    pool.release(third)

    second.refuse_work()

    assert idle(pool) == [third]
    let_time_pass(pool, nodes.FAILOVER_SECONDS)
    fourth.refuse_work()
    assert idle(pool) == []


async def test_each_node_has_a_while_of_its_own(server: FakeServer) -> None:
    pool, (a, other, b, another) = await pool_with(server, "aabb")
    give_back(pool, other, another)

    a.refuse_work()
    b.refuse_work()

    assert other.closed and another.closed


async def test_error_of_a_connection_that_was_dropped_drops_no_new_ones(
    server: FakeServer,
) -> None:
    pool, (first, long_used) = await pool_with(server, "aa")
    first.refuse_work()
    pool.release(first)
    new = await pool.acquire()
    pool.release(new)
    let_time_pass(pool, nodes.FAILOVER_SECONDS + 1)

    long_used.refuse_work()

    assert idle(pool) == [new]


async def test_nodes_that_were_dropped_long_ago_are_forgotten(server: FakeServer) -> None:
    pool, _ = await pool_with(server, "a")
    for number in range(100):
        pool.stock.nodes.drop(number)
        let_time_pass(pool, 100)

    assert len(pool.stock.nodes._dropped) < 10


async def test_answer_of_a_node_as_the_pool_closes_changes_nothing(server: FakeServer) -> None:
    pool, (lent,) = await pool_with(server, "a")
    pool.close()

    lent.refuse_work()

    pool.release(lent)
    await asyncio.wait_for(pool.wait_closed(), 5)
    assert pool.stats().closed == {"unfit": 1}
    assert not pool.stock.nodes._dropped


# -- a node that has not answered in time ----------------------------------------------------------


def time_out(pool: Any, connection: Any) -> None:
    """Give back what has not answered in time, and never will."""
    connection.overdue = True
    connection.leave_unread()
    pool.release(connection)


async def test_idle_connection_of_a_suspect_node_is_checked_before_it_is_lent(
    server: FakeServer,
) -> None:
    pool, (a, other, late) = await pool_with(server, "aaa")
    give_back(pool, a, other)
    time_out(pool, late)

    assert await pool.acquire() is other
    assert (a.proofs, other.proofs) == (0, 1)


async def test_node_that_has_answered_is_suspect_no_more(server: FakeServer) -> None:
    pool, (a, other, late) = await pool_with(server, "aaa")
    give_back(pool, a, other)
    time_out(pool, late)
    await pool.acquire()

    assert await pool.acquire() is a
    assert a.proofs == 0
    assert not pool.stock.careful


async def test_suspect_node_that_does_not_answer_is_dropped(server: FakeServer) -> None:
    pool, (a, b, other, late, lent) = await pool_with(server, "abaaa")
    give_back(pool, a, other)
    time_out(pool, late)
    a.silent = other.silent = True
    server.node = "c"

    taken = await pool.acquire()

    assert taken.node == "c"
    assert a.closed and other.closed and a.proofs + other.proofs == 1
    give_back(pool, lent, b)
    assert lent.closed and idle(pool) == [b]


async def test_other_nodes_are_lent_from_beside_a_suspect(server: FakeServer) -> None:
    pool, (b, a, late) = await pool_with(server, "baa")
    give_back(pool, b, a)  # the latter is to be lent first
    time_out(pool, late)

    assert await pool.acquire() is b
    assert (a.proofs, b.proofs) == (0, 0)
    assert idle(pool) == [a]


async def test_what_is_too_old_is_not_lent_beside_a_suspect(server: FakeServer) -> None:
    pool, (b, a, late) = await pool_with(server, "baa", recycle=10)
    give_back(pool, b, a)
    b.last_usage -= 11
    time_out(pool, late)

    assert await pool.acquire() is a
    assert a.proofs == 1


async def test_connection_that_was_answered_meanwhile_proves_its_node(server: FakeServer) -> None:
    pool, (a, used, late) = await pool_with(server, "aaa")
    pool.release(a)
    time_out(pool, late)
    used.last_usage = asyncio.get_running_loop().time() + 1

    pool.release(used)

    assert [await pool.acquire(), await pool.acquire()] == [used, a]
    assert (a.proofs, used.proofs) == (0, 0)


async def test_connection_that_was_answered_before_proves_nothing(server: FakeServer) -> None:
    pool, (used, late) = await pool_with(server, "aa")
    time_out(pool, late)

    pool.release(used)

    assert await pool.acquire() is used
    assert used.proofs == 1


async def test_late_answer_proves_its_node(server: FakeServer) -> None:
    pool, (a, late) = await pool_with(server, "aa")
    pool.release(a)
    time_out(pool, late)
    late.overdue = False
    late.finish()
    await steps()

    assert {await pool.acquire(), await pool.acquire()} == {late, a}
    assert (a.proofs, late.proofs) == (0, 0)


async def test_connection_opened_since_is_lent_and_proves_nothing_of_the_others(
    server: FakeServer,
) -> None:
    pool, (a, late) = await pool_with(server, "aa")
    pool.release(a)
    time_out(pool, late)
    a.silent = True
    new = await pool.stock._open()
    pool.stock.offer(new)
    new.connected_at += 1  # the clock may stand still

    assert await pool.acquire() is new
    pool.release(new)
    assert {await pool.acquire(), await pool.acquire()} == {new, server.opened[3]}
    assert (a.proofs, new.proofs) == (1, 0)
    assert a.closed and not new.closed


async def test_node_is_suspect_no_more_once_all_of_it_is_new(server: FakeServer) -> None:
    pool, (late,) = await pool_with(server, "a")
    time_out(pool, late)
    assert pool.stock.careful
    late.closed = True
    late.finish()
    await steps()

    new = await pool.acquire()

    assert not pool.stock.careful
    pool.release(new)
    assert await pool.acquire() is new
    assert new.proofs == 0


async def test_node_of_which_nothing_is_left_is_suspected_no_longer(server: FakeServer) -> None:
    pool, (late,) = await pool_with(server, "a")
    late.overdue = True
    late.close()
    pool.release(late)
    server.node = "b"

    await pool.acquire()

    assert pool.stock.nodes.suspects == {}
    assert not pool.stock.careful


@pytest.mark.parametrize("what", ["lost", "given up"])
async def test_connection_that_was_lost_by_silence_makes_its_node_suspect(
    server: FakeServer, what: str
) -> None:
    pool, (a, late) = await pool_with(server, "aa")
    pool.release(a)
    late.overdue = True
    late.closed = True
    if what == "lost":
        pool.release(late)
    else:
        pool.reclaim(late)

    assert await pool.acquire() is a
    assert a.proofs == 1


async def test_connection_that_was_lost_otherwise_makes_nobody_suspect(server: FakeServer) -> None:
    pool, (a, killed) = await pool_with(server, "aa")
    pool.release(a)
    killed.closed = True
    killed.loss = err.OperationalError(2013, "Lost connection")
    pool.release(killed)

    assert await pool.acquire() is a
    assert a.proofs == 0


async def test_ping_out_of_time_makes_the_node_suspect(server: FakeServer) -> None:
    class Silent(FakeConnection):
        pings = 0

        async def ping(self) -> None:
            if self.silent:
                self.pings += 1
                raise asyncio.TimeoutError

    server.kind = Silent
    pool, lent = await pool_with(server, "aaa", pre_ping=0)
    give_back(pool, *lent)
    for each in lent:
        each.silent = True
    server.node = "b"

    assert (await pool.acquire()).node == "b"
    assert sum(each.pings for each in lent) == 1
    assert sum(each.proofs for each in lent) == 1  # of the two others
    assert all(each.closed for each in lent)


async def test_rollback_out_of_time_makes_the_node_suspect(server: FakeServer) -> None:
    async def settled(self: FakeConnection) -> bool:
        raise asyncio.TimeoutError

    pool, (a, late) = await pool_with(server, "aa")
    pool.release(a)
    late.settled = settled.__get__(late)
    late.as_begun = False
    await asyncio.wait([pool.release(late)])
    await steps()

    assert await pool.acquire() is a
    assert a.proofs == 1


async def test_silence_as_the_pool_closes_makes_nobody_suspect(server: FakeServer) -> None:
    pool, (late,) = await pool_with(server, "a")
    pool.close()
    time_out(pool, late)
    late.finish()
    await asyncio.wait_for(pool.wait_closed(), 5)

    assert not pool.stock.nodes.suspects
