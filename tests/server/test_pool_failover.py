"""A pool of a cluster whose primary goes, however it goes: it finds the next, and waits for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clusters import Cluster, Galera, Replicas, wait_until
from pymysql import err
from watch import at_rest, lend, now, passed, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.once, pytest.mark.usefixtures("quiet")]

INSERT = "INSERT INTO t VALUES (1)"


def arguments(cluster: Cluster, **others: Any) -> dict[str, Any]:
    """Give the arguments of an engine for whichever node takes writes."""
    cluster.primary.ask("CREATE TABLE t (id INT)")
    cluster.level()
    return {
        "host": cluster.hosts,
        "user": "app",
        "db": "test",
        "autocommit": True,
        "target_session_attrs": "read-write",
        "minsize": 3,
        "maxsize": 3,
        **others,
    }


def port(conn: Any) -> int:
    return int(conn.connection.port)


async def promote(cluster: Cluster) -> int:
    """Make the second node the primary; give its port."""
    await asyncio.to_thread(cluster.promote, cluster.nodes[1])
    return cluster.nodes[1].port


async def test_acquire_waits_for_a_primary_to_appear(replicas: Replicas) -> None:
    async with sa.create_engine(**arguments(replicas)) as engine:
        before = await lend(engine, 3)
        replicas.kill(replicas.nodes[0])
        await until(lambda: all(raw.closed for raw in before))
        waiting = [spawn(engine.acquire(timeout=30)) for _ in range(20)]
        await until(lambda: engine.stats().held_back)
        await passed(0.3)
        assert not any(task.done() for task in waiting)
        second = await promote(replicas)

        for task in waiting:
            conn = await task
            assert port(conn) == second
            await conn.execute(INSERT)
            engine.release(conn)
        assert engine.stats().refused >= 1


async def test_without_a_primary_the_error_names_each_host(replicas: Replicas) -> None:
    async with sa.create_engine(**arguments(replicas, connect_timeout=2)) as engine:
        before = await lend(engine, 3)
        replicas.kill(replicas.nodes[0])
        await until(lambda: all(raw.closed for raw in before))

        with pytest.raises(sa.AcquireTimeoutError, match="no host is read-write: .*is read-only"):
            await engine.acquire(timeout=0.3)
        with pytest.raises(sa.NoHostError):  # after connect_timeout
            await engine.acquire()


async def test_demoted_primary_costs_one_error_however_many_are_idle(replicas: Replicas) -> None:
    async with sa.create_engine(**arguments(replicas)) as engine:
        before = await lend(engine, 3)
        second = await promote(replicas)
        errors = 0
        for _ in range(9):
            async with engine.acquire(timeout=10) as conn:
                try:
                    await conn.execute(INSERT)
                except err.OperationalError as error:
                    errors += error.args[0] == 1290
                else:
                    assert port(conn) == second

        assert errors == 1
        assert all(raw.closed for raw in before)
        await until(lambda: at_rest(engine, 3))


async def test_waiters_are_served_by_the_new_primary(replicas: Replicas) -> None:
    async with sa.create_engine(**arguments(replicas)) as engine:
        lent = [await engine.acquire() for _ in range(3)]
        waiting = [spawn(engine.acquire(timeout=10)) for _ in range(3)]
        second = await promote(replicas)
        with pytest.raises(err.OperationalError, match="1290"):
            await lent[0].execute(INSERT)
        for conn in lent:
            engine.release(conn)

        for conn in await asyncio.gather(*waiting):
            assert port(conn) == second
            engine.release(conn)


async def test_paused_primary_is_left_after_one_limit(replicas: Replicas) -> None:
    async with sa.create_engine(**arguments(replicas, connect_timeout=3)) as engine:
        before = await lend(engine, 3)
        replicas.pause(replicas.nodes[0])
        started = now()
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute(INSERT, timeout=0.2)
        second = await promote(replicas)

        async with engine.acquire(timeout=20) as conn:
            assert port(conn) == second
            await conn.execute(INSERT)
        assert now() - started < 10
        assert all(raw.closed for raw in before)


async def test_pinged_connection_of_a_demoted_primary_is_not_lent(replicas: Replicas) -> None:
    async with sa.create_engine(**arguments(replicas, pool_pre_ping=True)) as engine:
        await lend(engine, 3)
        second = await promote(replicas)

        for _ in range(4):
            async with engine.acquire(timeout=10) as conn:
                assert port(conn) == second
                await conn.execute(INSERT)


# -- Galera ----------------------------------------------------------------------------------------


async def lose_quorum(galera: Galera) -> None:
    """Cut the first node off, and wait until it knows."""
    first = galera.nodes[0]
    await asyncio.to_thread(galera.partition, first)
    await asyncio.to_thread(
        wait_until, lambda: first.status("wsrep_ready") == "OFF", "the node to be out"
    )


@pytest.mark.long
async def test_node_without_quorum_does_not_pass_a_ping(galera: Galera) -> None:
    async with sa.create_engine(**arguments(galera, pool_pre_ping=True)) as engine:
        await lend(engine, 3)
        await lose_quorum(galera)

        async with engine.acquire(timeout=10) as conn:
            assert port(conn) != galera.nodes[0].port
            await conn.execute(INSERT)


@pytest.mark.long
@pytest.mark.parametrize("target", ["any", "read-write"])
async def test_node_without_quorum_costs_one_error(galera: Galera, target: str) -> None:
    kwargs = arguments(galera, target_session_attrs=target)
    async with sa.create_engine(**kwargs) as engine:
        before = await lend(engine, 3)
        await lose_quorum(galera)
        async with engine.acquire() as conn:
            with pytest.raises(err.MySQLError, match="1047"):
                await conn.execute(INSERT)
            assert sum(raw.closed for raw in before) == 2

        for _ in range(3):
            async with engine.acquire(timeout=10) as conn:
                await conn.execute(INSERT)


@pytest.mark.long
async def test_node_without_quorum_refuses_what_proves_a_suspect(galera: Galera) -> None:
    kwargs = arguments(galera, host=galera.hosts[:1], target_session_attrs="any")
    async with sa.create_engine(**kwargs) as engine:
        before = await lend(engine, 3)
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("SELECT SLEEP(1)", timeout=0.05)
            await lose_quorum(galera)  # the answer has come
            engine._pool.stock.suspect(conn.connection._session.node)

        async with engine.acquire() as conn:
            assert conn.connection not in before
        assert engine.stats().closed["ping"] == 1
