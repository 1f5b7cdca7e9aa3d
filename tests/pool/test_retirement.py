"""Connections that are not lent again: of a node that cannot do the work, cleared, invalidated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from fakes import OK, Peer, error, fake_server, packet, result
from pymysql import err
from watch import at_rest, check_capacity, closed_in_time, lend, spawn, steps, until

import aiomysqlx as sa
from aiomysqlx.pool import nodes

Kwargs = dict[str, Any]
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")

READ_ONLY = error(1290, "The MySQL server is running with the --read-only option …")


class Node:
    """A server that answers INSERTs as it is told to."""

    def __init__(self) -> None:
        self.answer = READ_ONLY
        self.peers = 0

    async def serve(self, peer: Peer) -> None:
        self.peers += 1
        await peer.welcome()
        while True:
            command = await peer.read()
            if command[:1] == b"\x01":
                return
            if b"SELECT" in command:
                peer.write(result(b"1"))
            else:
                peer.write(packet(self.answer if b"INSERT" in command else OK))


@pytest.fixture
def node() -> Node:
    return Node()


@asynccontextmanager
async def engine_of(node: Node, **kwargs: Any) -> AsyncIterator[sa.Engine]:
    async with (
        fake_server(node.serve) as arguments,
        sa.create_engine(**arguments, **kwargs) as engine,
    ):
        yield engine


async def insert(engine: sa.Engine) -> Any:
    """Have an INSERT refused; give the DB-API connection."""
    async with engine.acquire() as conn:
        with pytest.raises(err.MySQLError):
            await conn.execute("INSERT INTO t VALUES (1)")
        return conn.connection


# -- a node that cannot do the work ----------------------------------------------------------------


async def test_connection_of_a_read_only_node_is_used_on_but_not_lent_again(node: Node) -> None:
    async with engine_of(node, maxsize=1) as engine:
        async with engine.acquire() as conn:
            first = conn.connection
            with pytest.raises(err.OperationalError, match="1290"):
                await conn.execute("INSERT INTO t VALUES (1)")
            assert await conn.scalar("SELECT 1") == "1"

        async with engine.acquire() as conn:
            assert conn.connection is not first
        assert engine.stats().closed == {"unfit": 1}


async def test_waiter_gets_another_connection_than_the_one_that_is_unfit(node: Node) -> None:
    async with engine_of(node, maxsize=1) as engine:
        conn = await engine.acquire()
        waiting = spawn(engine.acquire())
        with pytest.raises(err.OperationalError):
            await conn.execute("INSERT INTO t VALUES (1)")
        first = conn.connection
        engine.release(conn)

        other = await asyncio.wait_for(waiting, 5)
        assert other.connection is not first
        engine.release(other)


async def test_idle_connections_of_a_read_only_node_are_not_lent_again(node: Node) -> None:
    async with engine_of(node, minsize=3, maxsize=3) as engine:
        before = await lend(engine, 3)

        await insert(engine)

        await until(lambda: at_rest(engine, 3))
        assert not set(before) & set(await lend(engine, 3))
        assert engine.stats().closed == {"unfit": 1, "cleared": 2}


async def test_lent_connections_of_a_read_only_node_are_not_lent_again(node: Node) -> None:
    async with engine_of(node, minsize=2, maxsize=2) as engine:
        conn = await engine.acquire()
        before = conn.connection
        await insert(engine)
        assert await conn.scalar("SELECT 1") == "1"
        engine.release(conn)

        await until(lambda: at_rest(engine, 2))
        assert before not in await lend(engine, 2)
        assert engine.stats().closed == {"unfit": 1, "cleared": 1}


async def test_node_that_stays_read_only_costs_each_error_one_connection(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine_of(node, minsize=3, maxsize=3) as engine:
        for _ in range(4):
            await insert(engine)
            await until(lambda: at_rest(engine, 3))
        assert engine.stats().closed == {"unfit": 4, "cleared": 2}

        monkeypatch.setattr(nodes, "FAILOVER_SECONDS", 0)
        await insert(engine)
        await until(lambda: at_rest(engine, 3))
        assert engine.stats().closed == {"unfit": 5, "cleared": 4}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(error(1792, "READ ONLY transaction", "25006"), id="1792"),
        pytest.param(error(3101, "rolled back by a plugin", "40000"), id="3101"),
    ],
)
async def test_error_that_may_have_other_reasons_leaves_the_idle_connections(
    node: Node, answer: bytes
) -> None:
    node.answer = answer
    async with engine_of(node, minsize=2, maxsize=2) as engine:
        before = await lend(engine, 2)
        unfit = await insert(engine)
        await until(lambda: at_rest(engine, 2))

        assert set(before) - set(await lend(engine, 2)) == {unfit}
        assert engine.stats().closed == {"unfit": 1}


async def test_error_of_a_lost_session_gives_the_place_on_at_once(node: Node) -> None:
    node.answer = error(1053, "Server shutdown in progress", "08S01")
    async with engine_of(node, maxsize=1) as engine:
        first = await insert(engine)
        assert first.closed
        await until(lambda: at_rest(engine, 1))

        assert await lend(engine, 1) != [first]
        assert engine.stats().closed == {"lost": 1}


async def swallowing(conn: sa.SAConnection) -> None:
    with suppress(err.OperationalError):
        await conn.execute("INSERT INTO t VALUES (1)")


async def test_error_that_reset_swallows_counts(node: Node) -> None:
    async with engine_of(node, maxsize=1, reset=swallowing) as engine:
        first = (await lend(engine, 1))[0]
        await until(lambda: at_rest(engine, 1))

        assert first.closed
        assert engine.stats().closed == {"unfit": 1}


async def test_error_that_init_swallows_is_told_to_who_asks_for_a_connection(node: Node) -> None:
    node.answer = OK
    async with engine_of(node, minsize=0, maxsize=1, init=swallowing) as engine:
        async with engine.acquire() as conn:
            node.answer = READ_ONLY
            conn.invalidate()

        with pytest.raises(err.OperationalError, match="1290"):
            await asyncio.wait_for(engine.acquire(), 5)
        assert node.peers == 2
        assert engine.stats().closed == {"lost": 1, "init": 1}


async def test_error_of_a_cancelled_statement_counts(node: Node) -> None:
    async with engine_of(node, maxsize=1) as engine:
        conn = await engine.acquire()
        first = conn.connection
        task = spawn(conn.execute("INSERT INTO t VALUES (1)"))
        await steps(1)
        task.cancel()
        await asyncio.wait([task])
        await engine.release(conn)

        async with engine.acquire() as conn:
            assert conn.connection is not first
        assert engine.stats().closed == {"unfit": 1}


# -- engine.clear() --------------------------------------------------------------------------------


@server
async def test_cleared_connections_are_closed_and_others_opened(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=2, maxsize=4) as engine:
        before = await lend(engine, 3)

        engine.clear()

        assert all(raw.closed for raw in before)
        await until(lambda: at_rest(engine, 2))
        assert not set(before) & set(await lend(engine, 3))
        assert engine.stats().closed == {"cleared": 3}
        await check_capacity(engine, 4)


@server
async def test_lent_connection_is_closed_when_it_comes_back_to_a_cleared_pool(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            first = conn.connection
            engine.clear()
            waiting = spawn(engine.acquire())
            assert await conn.scalar("SELECT 1") == 1

        assert first is not None and first.closed
        other = await asyncio.wait_for(waiting, 10)
        assert other.connection is not first
        engine.release(other)
        assert engine.stats().closed == {"cleared": 1}


@server
async def test_connection_that_was_being_opened_is_not_lent_by_a_cleared_pool(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:
        conn = await engine.acquire()
        waiting = spawn(engine.acquire())
        while engine.size < 2:  # no longer: it would be open
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # its task has begun
        engine.clear()

        other = await asyncio.wait_for(waiting, 10)
        assert other.connection is not None
        assert await other.scalar("SELECT 1") == 1
        assert engine.stats().opened == 3
        assert engine.stats().closed == {"cleared": 1}
        engine.release(other)
        engine.release(conn)


@server
async def test_connection_that_is_busy_or_reset_is_not_lent_by_a_cleared_pool(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=True) as engine:
        conn = await engine.acquire()
        first = conn.connection
        released = engine.release(conn)
        engine.clear()
        await released

        assert first is not None and first.closed
        await until(lambda: at_rest(engine, 1))
        assert engine.stats().closed == {"cleared": 1}


async def test_clear_of_a_closed_engine_does_nothing(node: Node) -> None:
    async with engine_of(node) as engine:
        engine.close()
        engine.clear()
        await engine.wait_closed()

        assert engine.size == 0
    assert node.peers == 1


# -- conn.invalidate() -----------------------------------------------------------------------------


@pytest.fixture
async def rows(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of one connection, and a table t that is empty."""
    made = sa.create_engine(**connect_kwargs, autocommit=True, maxsize=1)
    async with closed_in_time(made) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        yield engine


async def count(engine: sa.Engine) -> Any:
    async with engine.acquire(timeout=5) as conn:
        return await conn.scalar("SELECT COUNT(*) FROM t")


@server
@pytest.mark.parametrize("awaited", [True, False], ids=["awaited", "not awaited"])
async def test_invalidated_connection_is_replaced(rows: sa.Engine, awaited: bool) -> None:
    async with rows.acquire() as conn:
        raw = conn.connection
        done = conn.invalidate()
        if awaited:
            await done

        assert raw is not None and raw.closed and conn.closed
        with pytest.raises(err.InterfaceError, match="invalidated: release it and acquire"):
            await conn.execute("SELECT 1")
        conn.invalidate()

    assert await count(rows) == 0
    await until(lambda: at_rest(rows, 1))
    assert rows.stats().closed == {"lost": 1}
    with pytest.raises(sa.ResourceClosedError):
        conn.invalidate()


@server
@pytest.mark.parametrize("kind", ["begin", "nested", "twophase"])
async def test_transaction_of_an_invalidated_connection_is_not_committed(
    rows: sa.Engine, kind: str
) -> None:
    async with rows.acquire() as conn:
        begin = conn.begin_twophase if kind == "twophase" else conn.begin
        with pytest.raises(sa.InvalidRequestError, match="with its connection, not committed"):
            async with begin():
                await conn.execute("INSERT INTO t VALUES (1)")
                if kind == "nested":
                    await conn.begin_nested()
                    await conn.execute("INSERT INTO t VALUES (2)")
                conn.invalidate()
                assert not conn.in_transaction

    assert await count(rows) == 0


@server
async def test_block_that_invalidates_its_connection_raises_its_own_error(rows: sa.Engine) -> None:
    with pytest.raises(ValueError, match="mine"):
        async with rows.acquire() as conn, conn.begin():
            await conn.execute("INSERT INTO t VALUES (1)")
            conn.invalidate()
            raise ValueError("mine")

    assert await count(rows) == 0


@server
async def test_statement_in_progress_on_an_invalidated_connection_fails(rows: sa.Engine) -> None:
    async with rows.acquire() as conn:
        task = spawn(conn.execute("SELECT SLEEP(1)"))
        await until(lambda: conn.connection is not None and conn.connection.busy)
        conn.invalidate()

        with pytest.raises(err.OperationalError, match="closed during query"):
            await task

    assert await count(rows) == 0
