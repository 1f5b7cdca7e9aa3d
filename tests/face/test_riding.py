"""`pipelining=True`: the begin of a transaction is sent with its first statement."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import OK, Peer, error, fake_server, packet, result
from faults import FaultyProxy, faulty_proxy
from pymysql import err

import aiomysqlx

pytestmark = pytest.mark.server


@pytest.fixture
async def proxy(connect_kwargs: dict[str, Any]) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(connect_kwargs) as proxy:
        yield proxy


@pytest.fixture(params=[False, True], ids=["autocommit off", "autocommit on"])
async def conn(
    proxy: FaultyProxy, request: pytest.FixtureRequest
) -> AsyncIterator[aiomysqlx.SAConnection]:
    async with (
        aiomysqlx.create_engine(
            **proxy.kwargs, pipelining=True, autocommit=request.param
        ) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("CREATE TABLE things (id INT PRIMARY KEY)")
        proxy.passages[-1].commands.clear()
        yield conn


def sent(proxy: FaultyProxy) -> list[bytes]:
    return [command[1:] for command in proxy.passages[0].commands]


async def test_begin_goes_with_the_first_statement(
    conn: aiomysqlx.SAConnection, proxy: FaultyProxy
) -> None:
    async with conn.begin():
        assert sent(proxy) == []
        proxy.hold()
        execution = conn.execute("INSERT INTO things VALUES (1)")
        proxy.flow()
        await execution
        assert conn.connection._session.in_transaction

    assert sent(proxy) == [b"BEGIN", b"INSERT INTO things VALUES (1)", b"COMMIT"]
    assert await conn.scalar("SELECT COUNT(*) FROM things") == 1


async def test_block_that_executes_nothing_sends_nothing(
    conn: aiomysqlx.SAConnection, proxy: FaultyProxy
) -> None:
    async with conn.begin():
        pass
    transaction = await conn.begin()
    await transaction.rollback()

    assert sent(proxy) == []
    assert not conn.in_transaction


async def test_isolation_level_goes_with_it(
    conn: aiomysqlx.SAConnection, proxy: FaultyProxy
) -> None:
    async with conn.begin(isolation_level="SERIALIZABLE", read_only=True):
        with pytest.raises(err.OperationalError, match="READ ONLY"):
            await conn.execute("INSERT INTO things VALUES (1)")

    assert sent(proxy)[:2] == [
        b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        b"START TRANSACTION READ ONLY",
    ]


async def test_savepoint_is_within_it(conn: aiomysqlx.SAConnection, proxy: FaultyProxy) -> None:
    async with conn.begin(), conn.begin_nested() as inner:
        await conn.execute("INSERT INTO things VALUES (1)")
        await inner.rollback()

    assert sent(proxy)[0] == b"BEGIN"
    assert await conn.scalar("SELECT COUNT(*) FROM things") == 0


async def test_rollback_undoes_it(conn: aiomysqlx.SAConnection) -> None:
    with pytest.raises(ZeroDivisionError):
        async with conn.begin():
            await conn.execute("INSERT INTO things VALUES (1)")
            1 / 0  # noqa: B018

    assert await conn.scalar("SELECT COUNT(*) FROM things") == 0


async def test_statement_that_ends_it_is_noticed(conn: aiomysqlx.SAConnection) -> None:
    with pytest.raises(aiomysqlx.InvalidRequestError, match="has ended this transaction"):
        async with conn.begin():
            await conn.execute("CREATE TABLE more (id INT)")
            await conn.execute("INSERT INTO things VALUES (1)")

    assert await conn.scalar("SELECT COUNT(*) FROM things") == 0


async def test_refused_first_statement_leaves_it_open(conn: aiomysqlx.SAConnection) -> None:
    async with conn.begin():
        with pytest.raises(err.ProgrammingError):
            await conn.execute("SELEC 1")
        await conn.execute("INSERT INTO things VALUES (1)")
        await conn.execute("INSERT INTO things VALUES (2)")

    assert await conn.scalar("SELECT COUNT(*) FROM things") == 2


@pytest.mark.parametrize("at", [0, 1, 5, 12, 25])
async def test_loss_with_the_first_statement(
    conn: aiomysqlx.SAConnection, proxy: FaultyProxy, at: int
) -> None:
    with pytest.raises((err.OperationalError, aiomysqlx.InvalidRequestError)):
        async with conn.begin():
            proxy.fault(at, "fin")
            await conn.execute("INSERT INTO things VALUES (1)")
            await conn.execute("INSERT INTO things VALUES (2)")

    assert conn.closed


async def test_connection_given_back_before_it_was_sent(proxy: FaultyProxy) -> None:
    async with aiomysqlx.create_engine(**proxy.kwargs, pipelining=True, maxsize=1) as engine:
        conn = await engine.acquire()
        await conn.begin()
        await conn.close()

        async with engine.acquire() as conn:
            await conn.execute("SELECT 1")

    assert b"BEGIN" not in sent(proxy)


async def test_stream_left_before_the_block_does_not_refuse_its_commit(
    connect_kwargs: dict[str, Any],
) -> None:
    async with aiomysqlx.create_engine(
        **connect_kwargs, pipelining=True, autocommit=True, maxsize=1
    ) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE things (id INT PRIMARY KEY)")
            await conn.execute(
                "CREATE PROCEDURE fails() BEGIN SELECT 1;"
                " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'theirs'; END"
            )
            async with conn.stream("CALL fails()"):
                pass

        async with engine.acquire() as conn:
            async with conn.begin():
                await conn.execute("INSERT INTO things VALUES (1)")

            assert await conn.scalar("SELECT COUNT(*) FROM things") == 1


async def test_nothing_is_sent_behind_a_begin_that_was_refused_before() -> None:
    commands = []

    async def mix_up(peer: Peer) -> None:
        await peer.welcome()
        while (command := await peer.read()) != b"\1":
            commands.append(command[1:])
            if command.startswith(b"\3BEGIN"):
                peer.write(packet(error(1105, "no transactions")))
            else:
                probes = command.startswith(b"\3SELECT ")
                peer.write(result(b"99") if probes else packet(OK))

    async with (
        fake_server(mix_up) as fake,
        aiomysqlx.create_engine(**{**fake, "autocommit": True}, pipelining=True) as engine,
        engine.acquire() as conn,
    ):
        with pytest.raises(err.OperationalError, match="no transactions"):
            async with conn.begin():
                await conn.execute("INSERT INTO things VALUES (1)")

    assert commands[-1] == b"BEGIN"
