"""Networks that delay, cut, withhold and change what the server says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faults import QUERY, FaultyProxy
from pymysql import err
from pymysql.constants import SERVER_STATUS
from watch import check_capacity, one, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
LOST = (err.OperationalError, err.InterfaceError)
DOCUMENTED = (err.MySQLError, sa.Error, asyncio.TimeoutError)


@pytest.fixture
async def pool(proxy: FaultyProxy, admin: Admin, database: str) -> AsyncIterator[sa.Engine]:
    """An engine of one connection at most, through the proxy, and a table t."""
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {database}.t (id INT) ENGINE=InnoDB")
    engine = await sa.create_engine(**proxy.kwargs, minsize=0, maxsize=1, autocommit=True)
    yield engine
    engine.terminate()
    await engine.wait_closed()


async def ask(engine: sa.Engine, token: str) -> str | None:
    async with engine.acquire() as conn:
        value: str | None = await conn.scalar("SELECT %s", token)
    return value


async def length_of_an_answer(proxy: FaultyProxy, engine: sa.Engine) -> int:
    await ask(engine, "first 000")
    passed = proxy.open[0].passed
    before = passed["down"]
    await ask(engine, "first 000")
    return passed["down"] - before


# -- answers that end too soon ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fin", "reset"])
async def test_answer_cut_at_any_byte_is_an_error_and_not_asked_again(
    proxy: FaultyProxy, pool: sa.Engine, kind: Any
) -> None:
    length = await length_of_an_answer(proxy, pool)
    for at in range(length):
        token = f"token {at:03}"
        raws = len(proxy.passages)
        proxy.fault(at, kind)

        with pytest.raises(LOST) as caught:
            await asyncio.wait_for(ask(pool, token), 5)

        assert sa.is_disconnect(caught.value)
        assert sum(token.encode() in command for command in proxy.commands) == 1
        assert await asyncio.wait_for(ask(pool, "after"), 5) == "after"
        assert len(proxy.passages) == raws + 1
    await check_capacity(pool, 1)


@pytest.mark.parametrize("kind", ["fin", "reset"])
async def test_connection_cut_behind_an_answer_is_replaced(
    proxy: FaultyProxy, pool: sa.Engine, kind: Any
) -> None:
    length = await length_of_an_answer(proxy, pool)
    async with pool.acquire() as conn:
        raw: Any = conn.connection
        proxy.fault(length, kind)
        assert await conn.scalar("SELECT 'token 001'") == "token 001"
        await until(lambda: raw.closed)
        with pytest.raises(LOST) as caught:
            await conn.execute("SELECT 'lost'")
        assert sa.is_disconnect(caught.value)

    assert await ask(pool, "after") == "after"
    assert not any(b"lost" in command for command in proxy.commands)


@pytest.mark.parametrize("at", [0, 3, 30])
async def test_request_that_is_cut_off_is_an_error(
    proxy: FaultyProxy, pool: sa.Engine, at: int
) -> None:
    async with pool.acquire() as conn:
        proxy.fault(at, "reset", "up")

        with pytest.raises(LOST) as caught:
            await asyncio.wait_for(conn.execute("INSERT INTO t VALUES (1), (2), (3), (4)"), 5)

        assert sa.is_disconnect(caught.value)
    async with pool.acquire() as conn:
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0


@pytest.mark.parametrize("kind", ["hang", "skip"])
async def test_answer_that_never_ends_is_given_up_and_its_connection_closed(
    proxy: FaultyProxy, pool: sa.Engine, kind: Any
) -> None:
    await ask(pool, "token 000")
    conn = await pool.acquire()
    raw: Any = conn.connection
    proxy.fault(20, kind)

    with pytest.raises((asyncio.TimeoutError, *LOST)):
        await asyncio.wait_for(conn.execute("SELECT 'token 001'"), 0.05)

    pool.release(conn)
    assert await asyncio.wait_for(ask(pool, "after"), 5) == "after"
    assert raw.closed


async def test_silence_while_the_connection_is_made_is_given_up(proxy: FaultyProxy) -> None:
    proxy.fault(10, "hang")

    with pytest.raises(LOST) as caught:
        await asyncio.wait_for(sa.connect(**proxy.kwargs, connect_timeout=0.05), 5)

    assert sa.is_disconnect(caught.value)
    await until(lambda: not proxy.open)


async def test_connection_cut_at_any_byte_of_its_beginning_is_an_error(
    proxy: FaultyProxy,
) -> None:
    await (await sa.connect(**proxy.kwargs)).ensure_closed()
    for at in range(0, proxy.passages[0].passed["down"], 3):
        proxy.fault(at, "reset")

        with pytest.raises(LOST):
            await asyncio.wait_for(sa.connect(**proxy.kwargs), 5)

        await until(lambda: not proxy.open)


# -- answers that are not what was sent ------------------------------------------------------------


async def question(connection: sa.Connection, token: str) -> list[tuple[Any, ...]]:
    async with connection.cursor() as cursor:
        await cursor.execute(f"SELECT '{token}', 17")
        return list(await cursor.fetchall())


def is_whole(answer: bytes) -> bool:
    """Tell whether an answer of rows, or what is left of one, is decided by the bytes that came.

    It is not if one of its packets, its columns, its rows or its results go on beyond them.
    """
    columns = rest = 0
    for sequence in range(1, 256):
        end = 4 + int.from_bytes(answer[:3], "little")
        if len(answer) < end:
            return False
        payload, answer, wrong = answer[4:end], answer[end:], answer[3] != sequence
        if wrong or not payload:
            return True
        if not columns:  # the beginning of a result
            if payload[0] in (0x00, 0xFB, 0xFF) or len(payload) > 1:
                return True
            columns = rest = payload[0]
        elif rest:
            rest -= 1
        elif payload[0] == 0xFF:
            return True
        elif payload[0] == 0xFE:
            if len(payload) < 5 or not payload[3] & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS:
                return True
            columns = 0
    return True


@pytest.mark.parametrize("mask", [0x01, 0x08, 0x10, 0x80, 0xFF], ids=hex)
async def test_changed_byte_of_an_answer_spoils_no_other_answer(
    proxy: FaultyProxy, mask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without TLS a changed value passes; it never becomes, or moves, another statement's."""
    monkeypatch.setattr("aiomysqlx.wire.stopping.DRAIN_SECONDS", 0.1)
    undecided = 0

    async def spoil(at: int) -> int:
        nonlocal undecided
        connection = await sa.connect(**proxy.kwargs, connect_timeout=5)
        try:
            await question(connection, f"early {at:03}")
            answer = bytearray(proxy.passages[-1].latest["down"].replace(b"early", b"token"))
            answer[at] ^= mask
            whole = is_whole(bytes(answer))
            undecided += not whole
            proxy.fault(at, "flip", mask=mask)
            asked = spawn(question(connection, f"token {at:03}"))
            done, _ = await asyncio.wait([asked], timeout=5 if whole else 0.02)
            if done:
                try:
                    rows = await asked
                except (err.MySQLError, sa.Error):
                    pass
                else:
                    assert len(rows) <= 1 and "early" not in str(rows)
            else:
                assert not whole, f"hangs with the byte {at} changed: {bytes(answer)!r}"
                asked.cancel()
                await asyncio.wait([asked])
            proxy.clear()
            try:
                later = await asyncio.wait_for(question(connection, f"later {at:03}"), 5)
                assert done and later == [(f"later {at:03}", 17)]
            except LOST:
                assert connection.closed
            return len(answer)
        finally:
            connection.close()

    length = await spoil(0)
    for at in range(1, length):
        await spoil(at)

    assert 0 < undecided < length / 2


async def test_changed_byte_of_the_beginning_is_a_documented_error(proxy: FaultyProxy) -> None:
    await (await sa.connect(**proxy.kwargs)).ensure_closed()
    for at in range(proxy.passages[0].passed["down"]):
        proxy.fault(at, "flip")
        try:
            connection = await asyncio.wait_for(sa.connect(**proxy.kwargs), 0.05)
        except DOCUMENTED:
            continue
        finally:
            proxy.clear()
        connection.close()
    await until(lambda: not proxy.open)


# -- answers in pieces, and late -------------------------------------------------------------------


async def test_anything_may_come_in_single_bytes(proxy: FaultyProxy, pool: sa.Engine) -> None:
    proxy.split = True
    async with pool.acquire() as conn:
        async with conn.begin():
            await conn.execute("INSERT INTO t VALUES (%s)", [(1,), (2,)])
        result = await conn.execute("SELECT id, REPEAT('é', 300), NULL FROM t ORDER BY id")
        rows = [(row[0], row[1], row[2]) for row in await result.fetchall()]
        with pytest.raises(err.ProgrammingError, match="1064"):
            await conn.execute("SELEKT")

    assert rows == [(1, "é" * 300, None), (2, "é" * 300, None)]
    await check_capacity(pool, 1)


async def test_answers_that_come_late_are_to_their_questions(proxy: FaultyProxy) -> None:
    proxy.delay["down"] = 0.01
    async with sa.create_engine(**proxy.kwargs, maxsize=3) as engine:
        tokens = [f"token {number}" for number in range(12)]

        answers = await asyncio.gather(*(ask(engine, token) for token in tokens))

        assert answers == tokens


# -- statements in progress when the connection ends -----------------------------------------------


async def test_statement_is_never_sent_again(
    proxy: FaultyProxy, pool: sa.Engine, admin: Admin, database: str
) -> None:
    for number in range(10):
        await ask(pool, "before")
        proxy.fault(0, "reset")  # the server has done it, nobody learns it
        with pytest.raises(LOST):
            async with pool.acquire() as conn:
                await conn.execute("INSERT INTO t VALUES (%s)", number)

    sent = [command for command in proxy.commands if b"INSERT INTO t" in command]
    assert len(sent) == len(set(sent)) == 10
    assert one(admin, f"SELECT COUNT(*) FROM {database}.t") == 10


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("kind", ["fin", "reset"])
async def test_connection_whose_transaction_failed_to_end_is_not_used_again(
    proxy: FaultyProxy, pool: sa.Engine, end: str, kind: Any
) -> None:
    conn = await pool.acquire()
    raw: Any = conn.connection
    transaction = await conn.begin()
    await conn.execute("INSERT INTO t VALUES (1)")
    proxy.fault(0, kind)

    with pytest.raises(LOST) as caught:
        await getattr(transaction, end)()

    assert sa.is_disconnect(caught.value)
    assert raw.closed and not conn.in_transaction
    pool.release(conn)
    async with pool.acquire() as other:
        assert other.connection is not raw
        # A COMMIT whose answer is lost has been done.
        assert await other.scalar("SELECT COUNT(*) FROM t") == (end == "commit")
    assert proxy.commands.count(QUERY + end.upper().encode()) == 1
    assert sum(pool.stats().closed.values()) == 1


async def test_transaction_cut_in_its_middle_leaves_nothing(
    proxy: FaultyProxy, pool: sa.Engine
) -> None:
    with pytest.raises(LOST):
        async with pool.begin() as conn:
            await conn.execute("INSERT INTO t VALUES (1)")
            proxy.drop()
            await conn.execute("INSERT INTO t VALUES (2)")

    async with pool.acquire() as conn:
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0
    assert not any(b"(2)" in command for command in proxy.passages[-1].commands)


async def test_waiters_are_served_when_every_connection_is_cut(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=2, maxsize=2) as engine:
        lent = [await engine.acquire() for _ in range(2)]
        asked = [spawn(conn.execute("SELECT SLEEP(30)")) for conn in lent]
        waiters = [spawn(ask(engine, f"token {number}")) for number in range(5)]
        await until(lambda: sum(b"SLEEP" in command for command in proxy.commands) == 2)
        proxy.drop()
        for conn, task in zip(lent, asked, strict=True):
            with pytest.raises(LOST):
                await task
            engine.release(conn)

        answers = await asyncio.wait_for(asyncio.gather(*waiters), 10)

        assert answers == [f"token {number}" for number in range(5)]
