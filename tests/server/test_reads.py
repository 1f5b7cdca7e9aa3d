"""Reads elsewhere: connections that only read, on a standby, and after what was committed."""

from __future__ import annotations

import pytest
from pair import Pair
from pymysql import err

import aiomysqlx as sa

# Most of the time goes into starting two servers.
pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.usefixtures("quiet")]

PRIMARY = 1
REFUSED = 1792  # Cannot execute statement in a READ ONLY transaction
SERVER = "SELECT @@server_id"
COUNT = "SELECT COUNT(*) FROM t"


async def write(engine: sa.Engine, number: int) -> str:
    async with engine.begin() as conn:
        await conn.execute("INSERT INTO t VALUES (%s)", number)
    assert conn.last_gtid is not None
    return conn.last_gtid


@pytest.mark.parametrize("how", ["statement", "begin", "savepoint", "text"])
async def test_server_refuses_writes_of_what_only_reads(both: Pair, how: str) -> None:
    sql = "INSERT INTO t VALUES (1)"
    async with sa.create_engine(**both.alone) as engine:
        for _ in range(2):
            async with engine.acquire(read_only=True) as conn:
                assert await conn.scalar(SERVER) == PRIMARY
                with pytest.raises(err.MySQLError) as caught:
                    if how == "statement":
                        await conn.execute(sql)
                    elif how == "begin":
                        async with conn.begin():
                            await conn.execute(sql)
                    elif how == "savepoint":
                        async with conn.begin(), conn.begin_nested():
                            await conn.execute(sql)
                    else:
                        await conn.execute("BEGIN")
                        await conn.execute(sql)
                assert caught.value.args[0] == REFUSED
        assert engine.stats().read_only.opened == 1
        assert engine.stats().read_only.closed == {}
    assert both.primary.ask("SELECT COUNT(*) FROM test_pair.t") == 0


async def test_transaction_that_may_write_may_be_asked_for(both: Pair) -> None:
    async with sa.create_engine(**both.alone) as engine:
        async with engine.acquire(read_only=True) as conn:
            async with conn.begin(read_only=False):
                await conn.execute("INSERT INTO t VALUES (1)")
            await conn.execution_options(read_only=False)
            await conn.execute("INSERT INTO t VALUES (2)")
        async with engine.acquire(read_only=True) as conn:
            with pytest.raises(err.MySQLError, match="READ ONLY"):
                await conn.execute("INSERT INTO t VALUES (3)")
        assert engine.stats().read_only.closed == {}


async def test_engine_of_one_host_begins_what_reads_on_the_connections_it_has(both: Pair) -> None:
    async with sa.create_engine(**both.alone) as engine:
        async with engine.begin(read_only=True) as conn:
            with pytest.raises(err.MySQLError, match="READ ONLY"):
                await conn.execute("INSERT INTO t VALUES (1)")
        assert engine.stats().read_only is None
        async with engine.begin() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")


async def test_primary_has_what_was_committed_there(both: Pair) -> None:
    async with sa.create_engine(**both.alone, track_gtids=True) as engine:
        gtid = await write(engine, 1)
        async with engine.acquire(5, read_only=True, after=gtid) as conn:
            assert await conn.scalar(COUNT) == 1
        # On a connection that was opened to read.
        assert engine.stats().acquired == 1
