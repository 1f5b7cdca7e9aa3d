"""Reads elsewhere: connections that only read, on a standby, and after what was committed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faults import faulty_proxy
from pair import Pair
from pymysql import err
from watch import at_rest, cancelled_at, passed, spawn, until

import aiomysqlx as sa
from aiomysqlx import reads
from aiomysqlx.wire import hosts

# Most of the time goes into starting two servers.
pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
PRIMARY, STANDBY = 1, 2
REFUSED = 1792  # Cannot execute statement in a READ ONLY transaction
SERVER = "SELECT @@server_id"
COUNT = "SELECT COUNT(*) FROM t"


@pytest.fixture
async def engine(both: Pair) -> AsyncIterator[sa.Engine]:
    """An engine that knows both."""
    async with sa.create_engine(**both.kwargs, track_gtids=True, autocommit=True) as engine:
        yield engine


async def write(engine: sa.Engine, number: int) -> str:
    async with engine.begin() as conn:
        await conn.execute("INSERT INTO t VALUES (%s)", number)
    assert conn.last_gtid is not None
    return conn.last_gtid


# -- what only reads -------------------------------------------------------------------------------


@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "without"])
async def test_connection_that_only_reads_is_on_the_standby(both: Pair, autocommit: bool) -> None:
    async with sa.create_engine(**both.kwargs, autocommit=autocommit) as engine:
        async with engine.acquire(read_only=True) as conn:
            assert await conn.scalar(SERVER) == STANDBY
            with pytest.raises(err.MySQLError) as caught:
                await conn.execute("INSERT INTO t VALUES (1)")
            assert caught.value.args[0] in (REFUSED, 1290)
            raw = conn.connection
        async with engine.acquire() as other:
            assert await other.scalar(SERVER) == PRIMARY
        async with engine.acquire(read_only=True) as again:
            assert again.connection is raw
        async with engine.begin(read_only=True) as conn:
            assert await conn.scalar(SERVER) == STANDBY
        stats = engine.stats()
        assert stats.size == stats.opened == 1
        assert stats.read_only is not None
        assert (stats.read_only.size, stats.read_only.acquired) == (1, 3)


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


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "as it is"])
async def test_hooks_are_run_on_what_only_reads_and_leave_it_so(both: Pair, reset: bool) -> None:
    calls: list[int] = []

    async def init(conn: sa.SAConnection) -> None:
        calls.append(await conn.scalar(SERVER))
        await conn.execute("SET @mark = 5")

    async with sa.create_engine(**both.kwargs, init=init, reset=reset) as engine:
        for _ in range(2):
            async with engine.acquire(read_only=True) as conn:
                assert await conn.scalar("SELECT @mark") == 5
                sql = "SELECT @@tx_read_only" if both.mariadb else "SELECT @@transaction_read_only"
                assert await conn.scalar(sql) == 1
    assert set(calls) == {PRIMARY, STANDBY}


async def test_what_only_reads_has_places_of_its_own(both: Pair) -> None:
    async with sa.create_engine(**both.kwargs, maxsize=2) as engine:
        conns = [await engine.acquire(read_only=read) for read in (True, False) for _ in range(2)]
        assert [await conn.scalar(SERVER) for conn in conns] == [STANDBY] * 2 + [PRIMARY] * 2
        with pytest.raises(sa.AcquireTimeoutError, match="2 of 2 in use"):
            await engine.acquire(0.05, read_only=True)
        waiting = spawn(engine.acquire(read_only=True))
        await until(lambda: engine.stats().read_only.waiting == 1)
        await engine.release(conns[3])
        await engine.release(conns[0])
        conns[0] = await waiting
        assert await conns[0].scalar(SERVER) == STANDBY
        for conn in conns[:3]:
            await engine.release(conn)


# -- the end ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_end_of_an_engine_is_that_of_what_only_reads(both: Pair, how: str) -> None:
    engine = await sa.create_engine(**both.kwargs)
    conn = await engine.acquire(read_only=True)
    idle = await engine.acquire(read_only=True)
    await engine.release(idle)
    getattr(engine, how)()
    if how == "close":
        waiting = spawn(engine.wait_closed())
        await asyncio.sleep(0)
        assert not waiting.done() and await conn.scalar("SELECT 1") == 1
        await engine.release(conn)
        await waiting
    else:
        with pytest.raises(err.MySQLError, match="terminated"):
            await conn.scalar("SELECT 1")
        await engine.wait_closed()
    with pytest.raises(RuntimeError, match="after closing pool"):
        await engine.acquire(read_only=True)
    await until(lambda: both.replica.connections() == both.primary.connections() == 0)


async def test_engine_that_is_closed_lends_nothing_that_only_reads(both: Pair) -> None:
    async with sa.create_engine(**both.kwargs) as engine:
        pass
    with pytest.raises(RuntimeError, match="after closing pool"):
        await engine.acquire(read_only=True)
    assert engine.stats().read_only is None


async def test_clear_replaces_what_only_reads(both: Pair) -> None:
    async with sa.create_engine(**both.kwargs) as engine:
        async with engine.acquire(read_only=True) as conn:
            raw = conn.connection
        engine.clear()
        async with engine.acquire(read_only=True) as conn:
            assert conn.connection is not raw
        assert engine.stats().read_only.closed == {"cleared": 1}


async def test_connection_that_only_reads_and_is_dropped_comes_back(both: Pair) -> None:
    async with sa.create_engine(**both.kwargs, maxsize=1) as engine:
        conn = await engine.acquire(read_only=True)
        with pytest.warns(ResourceWarning, match="never released"):
            del conn
        async with engine.acquire(5, read_only=True) as conn:
            assert await conn.scalar(SERVER) == STANDBY
        assert engine.stats().read_only.closed == {"leaked": 1}


# -- after what was committed ----------------------------------------------------------------------


async def test_read_sees_what_was_committed_before_it(engine: sa.Engine) -> None:
    read_at = []
    for number in range(1, 101):
        gtid = await write(engine, number)
        async with engine.acquire(read_only=True, after=gtid) as conn:
            assert await conn.scalar(COUNT) == number
            read_at.append(await conn.scalar(SERVER))
        async with engine.begin(read_only=True, after=gtid, timeout=5) as conn:
            assert await conn.scalar(COUNT) == number
    assert read_at == [STANDBY] * 100


@pytest.mark.parametrize("given", [2.0, None], ids=["timeout", "engine's"])
async def test_standby_that_lags_has_the_primary_read_in_time(both: Pair, given: Any) -> None:
    kwargs = {**both.kwargs, "track_gtids": True, "autocommit": True, "acquire_timeout": 2.0}
    async with sa.create_engine(**kwargs) as engine:
        async with engine.acquire(read_only=True):
            pass  # it is open
        with both.lag():
            gtid = await write(engine, 1)
            started = time.monotonic()
            async with engine.acquire(given, read_only=True, after=gtid) as conn:
                took = time.monotonic() - started
                assert await conn.scalar(SERVER) == PRIMARY
                assert await conn.scalar(COUNT) == 1
                with pytest.raises(err.MySQLError) as caught:
                    await conn.execute("INSERT INTO t VALUES (2)")
                assert caught.value.args[0] == REFUSED
            assert 0.6 < took < 2.0

            # Nobody waits for it again so soon.
            started = time.monotonic()
            async with engine.acquire(read_only=True, after=gtid) as conn:
                assert await conn.scalar(SERVER) == PRIMARY
            assert time.monotonic() - started < 0.6
            async with engine.acquire(read_only=True) as conn:
                assert await conn.scalar(SERVER) == STANDBY
                assert await conn.scalar(COUNT) == 0

            # What has read in its place may write again.
            await write(engine, 2)
        async with engine.acquire(read_only=True, after=gtid) as conn:
            assert await conn.scalar(SERVER) == STANDBY
            assert await conn.scalar(COUNT) == 2
        assert engine.stats().closed == engine.stats().read_only.closed == {}


async def test_replica_does_not_know_all_that_was_committed(both: Pair, engine: sa.Engine) -> None:
    await write(engine, 1)
    async with engine.acquire(read_only=True, after=True) as conn:
        assert await conn.scalar(COUNT) == 1
        assert await conn.scalar(SERVER) == PRIMARY


async def test_primary_has_what_was_committed_there(both: Pair) -> None:
    async with sa.create_engine(**both.alone, track_gtids=True) as engine:
        gtid = await write(engine, 1)
        async with engine.acquire(5, read_only=True, after=gtid) as conn:
            assert await conn.scalar(COUNT) == 1
        # On a connection that was opened to read.
        assert engine.stats().acquired == 1


@pytest.mark.usefixtures("mariadb")
async def test_what_was_lost_in_a_failover_is_not_taken_for_what_followed(both: Pair) -> None:
    domain, server, number = both.primary.ask("SELECT @@gtid_binlog_pos").split("-")
    assert int(server) == PRIMARY
    wanted = f"{domain}-{STANDBY}-{number}"  # as the standby counts, without what it has not got
    both.primary.ask("SET GLOBAL read_only = 1")
    try:
        async with sa.create_engine(**both.alone) as engine:
            with pytest.raises(sa.AcquireTimeoutError, match="none of them is a primary"):
                await engine.acquire(1, read_only=True, after=wanted)
    finally:
        both.primary.ask("SET GLOBAL read_only = 0")


async def test_standby_that_is_paused_has_the_primary_read_in_time(
    both: Pair, engine: sa.Engine
) -> None:
    async with engine.acquire(read_only=True):
        pass
    gtid = await write(engine, 1)
    with both.replica.paused():
        started = time.monotonic()
        async with engine.acquire(1, read_only=True, after=gtid) as conn:
            assert time.monotonic() - started < 1
            assert await conn.scalar(SERVER) == PRIMARY
        await until(lambda: at_rest_to_read(engine))


@pytest.mark.parametrize("at", ["all", "the setting"])
async def test_primary_that_does_not_answer_is_waited_for_in_time(
    connect_kwargs: Kwargs, at: str
) -> None:
    async with faulty_proxy(connect_kwargs) as proxy, sa.create_engine(**proxy.kwargs) as engine:
        async with engine.acquire(read_only=True):
            pass
        if at == "all":
            proxy.hang()
        else:
            proxy.fault_at(b"READ ONLY", "hang")
        started = time.monotonic()

        with pytest.raises(sa.AcquireTimeoutError, match="the primary has not answered"):
            await asyncio.wait_for(engine.acquire(0.5, read_only=True, after=True), 10)

        assert time.monotonic() - started < 1.5
        proxy.drop()
        await until(lambda: at_rest_to_read(engine) and at_rest(engine))


def at_rest_to_read(engine: sa.Engine) -> bool:
    stats = engine.stats().read_only
    assert stats is not None
    return stats.size == stats.idle and stats.in_use == stats.waiting == 0


@pytest.mark.parametrize("turn", range(1, 12))
@pytest.mark.parametrize("late", [False, True], ids=["before", "as it comes"])
async def test_wait_that_is_cancelled_leaves_nothing_behind(
    both: Pair, engine: sa.Engine, turn: int, late: bool
) -> None:
    async with engine.acquire(read_only=True):
        pass
    gtid = await write(engine, 1)

    async def read() -> None:
        async with engine.acquire(5, read_only=True, after=gtid) as conn:
            assert await conn.scalar(COUNT) == 1

    await cancelled_at(read(), turn, late=late)
    await until(lambda: at_rest_to_read(engine))
    await until(lambda: at_rest(engine))
    async with engine.acquire(5, read_only=True, after=gtid) as conn:
        assert await conn.scalar(COUNT) == 1


async def test_gtid_that_is_none_is_the_servers_error(both: Pair, engine: sa.Engine) -> None:
    with pytest.raises(err.MySQLError) as caught:
        await engine.acquire(read_only=True, after="it's none")
    assert 1000 < caught.value.args[0] < 4000
    await until(lambda: at_rest_to_read(engine))
    assert engine.stats().read_only.closed == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"after": "0-1-1"}, "takes read_only=True"),
        ({"read_only": True, "after": 5}, "takes a GTID"),
        ({"read_only": True, "after": ""}, "takes a GTID"),
        ({"read_only": True, "after": False}, "takes a GTID"),
        ({"read_only": 1}, "'read_only' takes"),
    ],
)
async def test_wrong_arguments_are_refused_at_once(
    engine: sa.Engine, arguments: Kwargs, words: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=words):
        engine.acquire(**arguments)


# -- a standby that comes and goes -----------------------------------------------------------------


async def test_standby_that_is_dead_has_the_primary_read_until_it_is_back(
    both: Pair, engine: sa.Engine
) -> None:
    async with engine.acquire(read_only=True) as conn:
        assert await conn.scalar(SERVER) == STANDBY
    both.replica.kill()
    try:
        gtid = await write(engine, 1)
        async with engine.acquire(5, read_only=True, after=gtid) as conn:
            assert await conn.scalar(COUNT) == 1
            assert await conn.scalar(SERVER) == PRIMARY
            with pytest.raises(err.MySQLError, match="READ ONLY"):
                await conn.execute("INSERT INTO t VALUES (2)")
    finally:
        both.revive()


async def test_what_reads_on_the_primary_goes_to_a_standby_that_is_back(
    both: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "MAKESHIFT_SECONDS", 0.05)
    monkeypatch.setattr(hosts, "_FIRST_SECONDS", 0.05)
    async with sa.create_engine(**both.kwargs, maxsize=1) as engine:
        both.replica.kill()
        try:
            async with engine.acquire(read_only=True) as conn:
                assert await conn.scalar(SERVER) == PRIMARY
        finally:
            both.revive()
        await passed(0.1)
        async with engine.acquire(read_only=True) as conn:
            assert await conn.scalar(SERVER) == STANDBY
            raw = conn.connection
        await passed(0.1)
        async with engine.acquire(read_only=True) as conn:
            assert conn.connection is raw


async def test_engine_of_standbys_alone_reads_nothing_that_is_stale(both: Pair) -> None:
    kwargs = {**both.alone, "port": both.replica.port, "target_session_attrs": "read-only"}
    async with (
        sa.create_engine(**both.alone, track_gtids=True) as writer,
        sa.create_engine(**kwargs) as reader,
    ):
        with both.lag():
            gtid = await write(writer, 1)
            with pytest.raises(sa.AcquireTimeoutError, match="none of them is a primary"):
                await reader.acquire(0.4, read_only=True, after=gtid)
        async with reader.acquire(read_only=True, after=gtid) as conn:
            assert await conn.scalar(COUNT) == 1
        await until(lambda: at_rest(reader) and at_rest_to_read(reader))
