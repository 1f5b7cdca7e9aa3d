"""Reads on other nodes of real clusters see what was committed before them."""

from __future__ import annotations

from typing import Any

import pymysql
import pytest
from clusters import Cluster, Galera, Group, Node, Replicas
from pymysql import err
from watch import passed

import aiomysqlx as sa
from aiomysqlx import reads

# Most of the time goes into starting clusters.
pytestmark = [
    pytest.mark.server,
    pytest.mark.long,
    pytest.mark.once,
    pytest.mark.usefixtures("quiet"),
]

Kwargs = dict[str, Any]
PAIRS = 200
PORT = "SELECT @@port"
COUNT = "SELECT COUNT(*) FROM t WHERE id = %s"


def of(*nodes: Node, **options: Any) -> Kwargs:
    """Give the arguments of an engine that knows these nodes."""
    hosts = [node.address for node in nodes]
    return {"host": hosts, "user": "app", "db": "test", "autocommit": True, **options}


def create(cluster: Cluster) -> None:
    cluster.primary.ask("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    cluster.level()


async def stale(writer: sa.Engine, reader: sa.Engine, port: int, after: bool | None) -> int:
    """Write and then read on the node at *port*, so many times; count what was not seen."""
    missed = 0
    for number in range(PAIRS):
        async with writer.begin() as conn:
            await conn.execute("INSERT INTO t VALUES (%s)", number)
        place = after or conn.last_gtid
        async with reader.acquire(10, read_only=True, after=place) as conn:
            missed += not await conn.scalar(COUNT, number)
            assert await conn.scalar(PORT) == port
    return missed


class Locked:
    """A node that applies nothing of what others write, for the block."""

    def __init__(self, node: Node) -> None:
        socket = str(node.folder / "socket")
        self._root = pymysql.connect(
            unix_socket=socket, user="root", database="test", ssl_disabled=True
        )

    def __enter__(self) -> None:
        with self._root.cursor() as cursor:
            cursor.execute("LOCK TABLES t READ")

    def __exit__(self, *error: object) -> None:
        self._root.close()


async def test_standby_that_was_waited_for_has_it(replicas: Replicas) -> None:
    create(replicas)
    standby = replicas.others[0]
    async with sa.create_engine(**of(*replicas.nodes, track_gtids=True)) as engine:
        assert await stale(engine, engine, standby.port, None) == 0


async def test_standby_that_is_promoted_is_left_for_another(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "MAKESHIFT_SECONDS", 0.05)
    create(replicas)
    first, second, third = replicas.nodes
    options: Kwargs = {"target_session_attrs": "read-write", "track_gtids": True}
    async with sa.create_engine(**of(first, second, third, **options)) as engine:
        async with engine.acquire(read_only=True) as conn:
            assert await conn.scalar(PORT) == second.port
        replicas.promote(second)
        with pytest.raises(err.MySQLError, match="read-only"):
            async with engine.begin() as conn:
                await conn.execute("INSERT INTO t VALUES (1)")
        async with engine.begin() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
        await passed(0.1)
        async with engine.acquire(5, read_only=True, after=conn.last_gtid) as conn:
            assert await conn.scalar(COUNT, 1) == 1
            assert await conn.scalar(PORT) in (first.port, third.port)


async def test_node_of_galera_has_it(galera: Galera) -> None:
    create(galera)
    first, second, _ = galera.nodes
    async with (
        sa.create_engine(**of(first), track_gtids=True) as writer,
        sa.create_engine(**of(second)) as reader,
    ):
        assert await stale(writer, reader, second.port, True) == 0


async def test_node_of_galera_that_lags_is_not_read(galera: Galera) -> None:
    create(galera)
    first, second, _ = galera.nodes
    async with (
        sa.create_engine(**of(first)) as writer,
        sa.create_engine(**of(second)) as reader,
    ):
        async with reader.acquire(read_only=True):
            pass
        with Locked(second):
            async with writer.begin() as conn:
                await conn.execute("INSERT INTO t VALUES (1)")
            with pytest.raises(sa.AcquireTimeoutError, match="none of them is a primary"):
                await reader.acquire(1, read_only=True, after=True)
        async with reader.acquire(10, read_only=True, after=True) as conn:
            assert await conn.scalar(COUNT, 1) == 1


async def test_member_of_a_group_that_was_waited_for_has_it(group: Group) -> None:
    create(group)
    standby = next(node for node in group.nodes if node is not group.primary)
    async with sa.create_engine(**of(group.primary, standby, track_gtids=True)) as engine:
        assert await stale(engine, engine, standby.port, None) == 0


async def test_member_of_a_group_has_what_the_group_has(group: Group) -> None:
    create(group)
    standby = next(node for node in group.nodes if node is not group.primary)
    async with sa.create_engine(**of(group.primary, standby, track_gtids=True)) as engine:
        assert await stale(engine, engine, standby.port, True) == 0
        async with engine.acquire(read_only=True) as conn:
            usual = await conn.scalar("SELECT @@group_replication_consistency")
            assert usual == await conn.scalar("SELECT @@GLOBAL.group_replication_consistency")


async def test_member_that_lags_or_has_left_its_group_has_the_primary_read(group: Group) -> None:
    create(group)
    standby = next(node for node in group.nodes if node is not group.primary)
    async with sa.create_engine(**of(group.primary, standby, track_gtids=True)) as engine:
        async with engine.acquire(read_only=True) as conn:
            assert await conn.scalar(PORT) == standby.port
        with Locked(standby):
            async with engine.begin() as conn:
                await conn.execute("INSERT INTO t VALUES (1)")
            for after in (conn.last_gtid, True):
                async with engine.acquire(2, read_only=True, after=after) as conn:
                    assert await conn.scalar(COUNT, 1) == 1
                    assert await conn.scalar(PORT) == group.primary.port
                    with pytest.raises(err.MySQLError, match="READ ONLY"):
                        await conn.execute("INSERT INTO t VALUES (2)")

        standby.ask("STOP GROUP_REPLICATION")
        try:
            async with engine.begin() as conn:
                await conn.execute("INSERT INTO t VALUES (3)")
            async with engine.acquire(2, read_only=True, after=True) as conn:
                assert await conn.scalar(COUNT, 3) == 1
                assert await conn.scalar(PORT) == group.primary.port
        finally:
            standby.ask("START GROUP_REPLICATION")
            group.wait_for(standby)
