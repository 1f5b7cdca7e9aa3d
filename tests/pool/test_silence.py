"""A server that falls silent, or loses its cluster: what it has not answered tells of the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fakes import OK, Peer, error, fake_server, packet, result
from faults import FaultyProxy, faulty_proxy
from pymysql import err
from watch import at_rest, lend, now, spawn, until

import aiomysqlx as sa

Kwargs = dict[str, Any]
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")

ROLLBACK = b"\x03ROLLBACK"


@pytest.fixture
async def proxy(connect_kwargs: Kwargs) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of the test's server."""
    async with faulty_proxy({**connect_kwargs, "autocommit": True}) as proxy:
        yield proxy


@server
async def test_connections_of_a_silent_server_are_replaced_after_one_limit(
    proxy: FaultyProxy,
) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3) as engine:
        before = await lend(engine, 3)
        proxy.hang()
        started = now()
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("SELECT 1", timeout=0.1)

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT 2") == 2
            assert conn.connection not in before

        assert now() - started < 2.5  # and not a limit, or a ping's five seconds, for each
        assert proxy.commands.count(ROLLBACK) == 1
        await until(lambda: at_rest(engine, 3))
        assert not set(before) & set(await lend(engine, 3))


@server
async def test_slow_statement_costs_the_others_one_check(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3) as engine:
        await lend(engine, 3)
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("SELECT SLEEP(1)", timeout=0.05)
        lent = [await engine.acquire() for _ in range(2)]

        assert proxy.commands.count(ROLLBACK) == 1
        for conn in lent:
            assert await conn.scalar("SELECT 1") == 1
            engine.release(conn)
        await until(lambda: at_rest(engine, 3))
        assert engine.stats().opened == 3


@server
async def test_abandoned_statement_that_is_given_up_makes_its_server_suspect(
    proxy: FaultyProxy,
) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=2, maxsize=2) as engine:
        before = await lend(engine, 2)
        proxy.hang()
        async with engine.acquire() as conn:
            task = spawn(conn.execute("SELECT 1"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await until(lambda: engine.stats().closed)  # given up after its time

        assert not set(before) & set(await lend(engine, 2))
        assert proxy.commands.count(ROLLBACK) == 1


@server
async def test_cancelled_statement_makes_nobody_suspect(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=2, maxsize=2) as engine:
        await lend(engine, 2)
        async with engine.acquire() as conn:
            task = spawn(conn.execute("SELECT SLEEP(0.2)"))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        async with engine.acquire():
            pass
        await until(lambda: at_rest(engine, 2))
        assert proxy.commands.count(ROLLBACK) == 0


# -- a node that has lost its cluster, and answers what takes no quorum ----------------------------

NO_QUORUM = error(1047, "WSREP has not yet prepared node for application use", "08S01")


class Node:
    """A server of a cluster, which answers a ping and SELECT whatever has happened."""

    def __init__(self) -> None:
        self.has_quorum = True
        self.silent = False
        self.commands: list[bytes] = []

    async def serve(self, peer: Peer) -> None:
        await peer.welcome()
        while True:
            command = await peer.read()
            self.commands.append(command)
            if command[:1] == b"\x01":
                return
            if self.silent and b"UPDATE" in command:
                await asyncio.sleep(60)
            if b"SELECT" in command:
                peer.write(result(b"1"))
            elif command == b"\x0e" or self.has_quorum:
                peer.write(packet(OK))
            else:
                peer.write(packet(NO_QUORUM))


@asynccontextmanager
async def engine_of(node: Node, **kwargs: Any) -> AsyncIterator[sa.Engine]:
    async with (
        fake_server(node.serve) as arguments,
        sa.create_engine(**arguments, **kwargs) as engine,
    ):
        yield engine


async def test_suspect_node_without_quorum_does_not_pass_as_healthy() -> None:
    node = Node()
    async with engine_of(node, minsize=3, maxsize=3) as engine:
        before = await lend(engine, 3)
        node.silent = True
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("UPDATE t SET a = 1", timeout=0.05)
        node.has_quorum = False

        async with engine.acquire() as conn:
            assert conn.connection not in before
        assert node.commands.count(ROLLBACK) == 1
        assert engine.stats().closed["cleared"] + engine.stats().closed["ping"] >= 2


async def test_first_answer_without_quorum_closes_idle_connections_at_once() -> None:
    node = Node()
    async with engine_of(node, minsize=3, maxsize=3) as engine:
        before = await lend(engine, 3)
        node.has_quorum = False
        async with engine.acquire() as conn:
            with pytest.raises(err.MySQLError, match="1047"):
                await conn.execute("UPDATE t SET a = 1")

            assert sum(raw.closed for raw in before) == 2  # all but the one in use
