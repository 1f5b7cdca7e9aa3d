"""Conflicts between the nodes of a real Galera cluster, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clusters import Galera, Node
from pymysql import err

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.once]


@contextlib.asynccontextmanager
async def engine_of(node: Node) -> AsyncIterator[sa.Engine]:
    """Give an engine of the application's on a node, in autocommit mode."""
    async with sa.create_engine(
        host="127.0.0.1", port=node.port, user="app", db="test", autocommit=True
    ) as engine:
        yield engine


def create(galera: Galera) -> tuple[Node, Node]:
    first, second, _ = galera.nodes
    first.ask("CREATE TABLE counters (id INT PRIMARY KEY, n INT)")
    first.ask("INSERT INTO counters VALUES (1, 0), (2, 0)")
    galera.level()
    return first, second


def read(galera: Galera) -> list[tuple[Any, ...]]:
    galera.level()
    (rows,) = {tuple(node.ask("SELECT n FROM counters ORDER BY id")) for node in galera.nodes}
    return list(rows)


@pytest.mark.parametrize("sql", ["SELECT n FROM counters", "INSERT INTO counters VALUES (3, 0)"])
async def test_block_that_another_node_has_rolled_back_executes_nothing_more(
    galera: Galera, sql: str
) -> None:
    first, second = create(galera)
    async with engine_of(first) as engine, engine.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="rolled this transaction back"):
            async with conn.begin():
                await conn.execute("UPDATE counters SET n = 1 WHERE id = 1")
                second.ask("UPDATE counters SET n = 2 WHERE id = 1")
                galera.level()
                with pytest.raises(err.OperationalError, match="1213"):
                    await conn.execute(sql)
                with pytest.raises(sa.InvalidRequestError, match="rolled this transaction back"):
                    await conn.execute("UPDATE counters SET n = 9 WHERE id = 2")
        assert not conn.closed
        async with conn.begin():
            await conn.execute("UPDATE counters SET n = 5 WHERE id = 2")
    assert read(galera) == [(2,), (5,)]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_end_of_what_another_node_has_rolled_back_leaves_the_connection(
    galera: Galera, end: str
) -> None:
    first, second = create(galera)
    async with engine_of(first) as engine, engine.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute("UPDATE counters SET n = 1 WHERE id = 1")
        second.ask("UPDATE counters SET n = 2 WHERE id = 1")
        galera.level()

        if end == "rollback":
            await transaction.rollback()
        else:
            with pytest.raises(err.OperationalError, match="1213") as caught:
                await transaction.commit()
            assert not isinstance(caught.value, sa.CommitUnknownError)

        assert not conn.closed and not conn.in_transaction
        async with conn.begin():
            await conn.execute("UPDATE counters SET n = 5 WHERE id = 2")
    assert read(galera) == [(2,), (5,)]


async def test_every_run_on_every_node_counts_once(galera: Galera) -> None:
    nodes = create(galera)

    async def add(conn: sa.SAConnection) -> None:
        n = await conn.scalar("SELECT n FROM counters WHERE id = 1 FOR UPDATE")
        await conn.execute("UPDATE counters SET n = %s WHERE id = 1", n + 1)

    async with engine_of(nodes[0]) as first, engine_of(nodes[1]) as second:
        runs = [engine.run(add, retries=50) for engine in (first, second) for _ in range(20)]
        await asyncio.gather(*runs)

    assert read(galera)[0] == (40,)


async def test_two_phase_block_is_refused_and_executes_nothing(galera: Galera) -> None:
    first, _ = create(galera)
    async with engine_of(first) as engine, engine.acquire() as conn:
        with pytest.raises(err.MySQLError, match="1235"):
            async with conn.begin_twophase():
                await conn.execute("UPDATE counters SET n = 9 WHERE id = 1")
        async with conn.begin():
            await conn.execute("UPDATE counters SET n = 5 WHERE id = 2")
    assert read(galera) == [(0,), (5,)]
