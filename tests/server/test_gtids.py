"""What a connection knows of the GTIDs of what it commits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import Peer, fake_server
from faults import faulty_proxy
from pair import Pair
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, Table
from watch import at_rest, cancelled_at, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]


@pytest.fixture
def kwargs(both: Pair) -> Kwargs:
    """The arguments of connections to the primary that know GTIDs."""
    return {**both.alone, "track_gtids": True}


@pytest.fixture(params=[True, False], ids=["autocommit", "without"])
async def engine(kwargs: Kwargs, request: pytest.FixtureRequest) -> AsyncIterator[sa.Engine]:
    async with sa.create_engine(**kwargs, autocommit=request.param, maxsize=1) as engine:
        yield engine


def latest(both: Pair) -> str:
    """Give the GTID of the latest transaction that the primary has committed."""
    if both.mariadb:
        return str(both.primary.ask("SELECT @@gtid_binlog_pos"))
    source, number = both.primary.ask("SELECT @@gtid_executed").split(":")[:2]
    return f"{source}:{number.split('-')[-1]}"


INSERT = "INSERT INTO t VALUES (%s)"
TABLE = Table("t", MetaData(), Column("id", Integer, primary_key=True))


async def test_gtid_is_that_of_what_was_committed(both: Pair, engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        assert conn.last_gtid is None
        await conn.execute("SELECT * FROM t")
        assert conn.last_gtid is None
        async with conn.begin():
            await conn.execute(INSERT, 1)
            assert conn.last_gtid is None
        first = latest(both)
        assert conn.last_gtid == first
        transaction = await conn.begin()
        await conn.execute(INSERT, 2)
        await transaction.rollback()
        assert conn.last_gtid == first
        await conn.execute("CREATE TABLE IF NOT EXISTS u (id INT)")
        await conn.execute("DROP TABLE u")
        assert conn.last_gtid == latest(both) != first


async def test_gtid_is_known_after_the_release(both: Pair, engine: sa.Engine) -> None:
    async with engine.begin() as conn:
        await conn.execute(INSERT, 1)
    assert conn.last_gtid == latest(both)
    other = await engine.acquire()
    assert other.last_gtid is None
    async with other.begin():
        await other.execute(INSERT, 2)
    await engine.release(other)
    assert other.last_gtid == latest(both) != conn.last_gtid


@pytest.mark.parametrize("how", ["pipeline", "twophase", "prepared", "nested"])
async def test_gtid_is_told_whichever_way_it_was_committed(
    both: Pair, kwargs: Kwargs, how: str
) -> None:
    async with (
        sa.create_engine(**kwargs, maxsize=1, prepare_threshold=0) as engine,
        engine.acquire() as conn,
    ):
        if how == "pipeline":
            async with conn.pipeline(transaction=True) as pipe:
                pipe.execute(INSERT, 1)
        elif how == "twophase":
            two = await conn.begin_twophase()
            await conn.execute(INSERT, 1)
            await two.prepare()
            await two.commit()
        elif how == "prepared":
            async with conn.begin():
                await conn.execute(TABLE.insert(), id=1)
        else:
            async with conn.begin(), conn.begin_nested():
                await conn.execute(INSERT, 1)
        assert conn.last_gtid == latest(both)


async def test_gtids_cost_no_round_trip_and_no_connection(both: Pair, kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, autocommit=True) as engine,
    ):
        before = len(proxy.commands)
        for number in range(3):
            async with engine.begin() as conn:
                await conn.execute(INSERT, number)
            assert conn.last_gtid == latest(both)
        assert len(proxy.commands) == before + 9
        assert at_rest(engine, 1) and engine.stats().opened == 1


async def test_gtids_are_told_after_a_reset(both: Pair, kwargs: Kwargs) -> None:
    async with sa.create_engine(**kwargs, maxsize=1, reset=True) as engine:
        for number in range(2):
            async with engine.begin() as conn:
                await conn.execute(INSERT, number)
            assert conn.last_gtid == latest(both)
            await until(lambda: at_rest(engine, 1))
        assert engine.stats().opened == 1
    async with sa.connect(**kwargs) as connection:
        await connection.reset()
        await connection.query("INSERT INTO t VALUES (5)")
        assert connection.last_gtid is None
        await connection.commit()
        assert connection.last_gtid == latest(both)


async def test_what_hooks_commit_is_nobodys(both: Pair, kwargs: Kwargs) -> None:
    async def hook(conn: sa.SAConnection) -> None:
        async with conn.begin():
            await conn.execute("REPLACE INTO t VALUES (9)")

    async with sa.create_engine(**kwargs, maxsize=1, init=hook, reset=hook) as engine:
        for _ in range(2):
            async with engine.acquire() as conn:
                assert conn.last_gtid is None
            await until(lambda: at_rest(engine, 1))


async def test_what_a_cancelled_statement_commits_is_nobodys(both: Pair, kwargs: Kwargs) -> None:
    async with sa.create_engine(**kwargs, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            assert await cancelled_at(conn.execute("INSERT INTO t SELECT 1 + SLEEP(0.2)"), 1)
        async with engine.acquire() as conn:
            assert conn.last_gtid is None
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 1
        assert engine.stats().opened == 1


async def test_gtids_that_nobody_asked_for_are_said_to_be_so(both: Pair, kwargs: Kwargs) -> None:
    async with sa.create_engine(**{**kwargs, "track_gtids": False}) as engine:
        async with engine.begin() as conn:
            await conn.execute(INSERT, 1)
            with pytest.raises(sa.InvalidRequestError, match="track_gtids=True"):
                conn.last_gtid  # noqa: B018 - which raises
        with pytest.raises(sa.InvalidRequestError, match="track_gtids=True"):
            conn.last_gtid  # noqa: B018


async def test_server_that_cannot_tell_gtids_is_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()

    async with fake_server(script) as kwargs:
        with pytest.raises(err.NotSupportedError, match="track_gtids=True needs a server"):
            await sa.connect(**kwargs, track_gtids=True)
