"""Two-phase transactions: xids of any bytes, lost connections, killed servers, other programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pymysql
import pytest
from private_server import MortalServer
from pymysql import err

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long]

XIDS = {
    "text": "plain",
    "quotes": "a'b\"c\\d`; --",
    "percent": "%s%(a)s%%",
    "unicode": "zoë€😀",
    "nulls": b"\x00\x01\x00",
    "trailing blanks": b"a \x00 ",
    "gbk": b"\xbf'\xbf\\",
    "one byte": b"\xff",
    "one character": "x",
    "longest": "x" * 64,
    "longest in bytes": "é" * 32,
    **{f"bytes from {start}": bytes(range(start, start + 64)) for start in range(0, 256, 64)},
}


@pytest.fixture
def recoverable(admin: pymysql.Connection[Any]) -> Iterator[None]:
    """Roll back what a test prepared and did not end."""
    yield
    with admin.cursor() as cursor:
        cursor.execute("XA RECOVER")
        for form, length, _, data in cursor.fetchall():
            raw = data if isinstance(data, bytes) else data.encode("latin1", "replace")
            xid = f"X'{raw[:length].hex()}', X'{raw[length:].hex()}', {form}"
            try:
                cursor.execute(f"XA ROLLBACK {xid}")
            except err.MySQLError:
                continue


async def opened(kwargs: dict[str, Any], **more: Any) -> sa.Engine:
    return await sa.create_engine(**kwargs, autocommit=True, **more)


async def closed(engine: sa.Engine) -> None:
    engine.terminate()
    await engine.wait_closed()


@pytest.fixture
async def auto(connect_kwargs: dict[str, Any]) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode, with a table t of one row, (1, 'a')."""
    engine = await opened(connect_kwargs)
    await create(engine)
    yield engine
    await closed(engine)


async def create(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(10)) ENGINE=InnoDB")
        await conn.execute("INSERT INTO t VALUES (1, 'a')")


async def names(engine: sa.Engine) -> list[str]:
    async with engine.acquire() as conn:
        return [row.name async for row in conn.execute("SELECT name FROM t ORDER BY id")]


# -- xids ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recoverable")
@pytest.mark.parametrize("xid", XIDS.values(), ids=XIDS)
async def test_prepared_transaction_is_recovered_by_its_xid(
    auto: sa.Engine, xid: str | bytes
) -> None:
    async with auto.acquire() as conn:
        transaction = await conn.begin_twophase(xid)
        assert transaction.xid == xid
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
        await transaction.prepare()

        found = await conn.recover_twophase()

        recovered = next(each for each in found if _same(each, xid))
        await conn.commit_prepared(recovered)
        assert not any(_same(each, xid) for each in await conn.recover_twophase())
    assert await names(auto) == ["a", "b"]


def _same(found: str | bytes, xid: str | bytes) -> bool:
    return _bytes(found) == _bytes(xid)


def _bytes(xid: str | bytes) -> bytes:
    return xid.encode() if isinstance(xid, str) else xid


@pytest.mark.usefixtures("recoverable")
async def test_prepared_transaction_outlives_its_connection(
    auto: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    conn = await auto.acquire()
    transaction = await conn.begin_twophase("outlives")
    await conn.execute("INSERT INTO t VALUES (2, 'b')")
    await transaction.prepare()
    assert conn.connection is not None
    await conn.connection.ensure_closed()
    await conn.close()

    async with auto.acquire() as other:
        while "outlives" not in await other.recover_twophase():
            await asyncio.sleep(0)
        await eventually(lambda: other.commit_prepared("outlives"))

    assert await names(auto) == ["a", "b"]


@pytest.mark.usefixtures("recoverable")
@pytest.mark.parametrize(
    ("method", "rows"), [("commit_prepared", ["a", "b"]), ("rollback_prepared", ["a"])]
)
async def test_prepared_transaction_of_a_closed_connection_is_ended_without_autocommit(
    auto: sa.Engine, engine: sa.Engine, method: str, rows: list[str]
) -> None:
    conn = await auto.acquire()
    transaction = await conn.begin_twophase("orphan")
    await conn.execute("INSERT INTO t VALUES (2, 'b')")
    await transaction.prepare()
    assert conn.connection is not None
    await conn.connection.ensure_closed()
    await conn.close()

    async with engine.acquire() as other:
        await asyncio.wait_for(eventually(lambda: getattr(other, method)("orphan")), 10)

        assert "orphan" not in await other.recover_twophase()
        assert await other.scalar("SELECT @@autocommit") == 0
    assert await names(auto) == rows


async def eventually(attempt: Callable[[], Awaitable[None]]) -> None:
    """Repeat until the server has noticed that the transaction's own connection is gone."""
    while True:
        try:
            return await attempt()
        except err.OperationalError as error:
            if error.args[0] != 1397:
                raise
        await asyncio.sleep(0)


async def test_xids_are_made_up_when_none_is_given(conn: sa.SAConnection) -> None:
    first = await conn.begin_twophase()
    xid = first.xid
    await first.rollback()
    second = await conn.begin_twophase()

    assert isinstance(xid, str) and xid != second.xid
    await second.rollback()


@pytest.mark.parametrize("method", ["commit_prepared", "rollback_prepared"])
async def test_unknown_xid_is_the_servers_error(auto: sa.Engine, method: str) -> None:
    async with auto.acquire() as conn:
        with pytest.raises(err.OperationalError, match="XAER_NOTA"):
            await getattr(conn, method)("nobody knows it")

        assert await conn.scalar("SELECT @@autocommit") == 1


@pytest.mark.usefixtures("recoverable")
async def test_prepare_twice_is_refused_as_the_server_does(conn: sa.SAConnection) -> None:
    transaction = await conn.begin_twophase("twice")
    await transaction.prepare()

    with pytest.raises(err.OperationalError, match="1399, 'this transaction is prepared"):
        await transaction.prepare()

    await transaction.rollback()


# -- what XA knows of a transaction ----------------------------------------------------------------


@pytest.mark.usefixtures("recoverable")
@pytest.mark.parametrize("charset", ["latin1", "gbk", "sjis", "binary"])
async def test_xids_are_those_of_any_charset(
    connect_kwargs: dict[str, Any], auto: sa.Engine, charset: str
) -> None:
    engine = await opened(connect_kwargs, charset=charset)
    for number, xid in enumerate(XIDS.values(), 10):
        async with engine.acquire() as conn, auto.acquire() as other:
            transaction = await conn.begin_twophase(xid)
            await conn.execute("INSERT INTO t VALUES (%s, 'b')", number)
            await transaction.prepare()

            for each in (conn, other):
                assert [_bytes(found) for found in await each.recover_twophase()] == [_bytes(xid)]
            await transaction.commit()
    await closed(engine)

    assert len(await names(auto)) == 1 + len(XIDS)


@pytest.mark.usefixtures("recoverable")
@pytest.mark.parametrize(
    "xid", ["X'0161', X'62'", "'a', 'b', 7", "'z', '', 7"], ids=["qualifier", "both", "format"]
)
async def test_transactions_that_other_programs_name_otherwise_are_left_out(
    auto: sa.Engine, xid: str
) -> None:
    async with auto.acquire() as conn, auto.acquire() as own:
        await conn.execute(f"XA START {xid}")
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
        await conn.execute(f"XA END {xid}")
        await conn.execute(f"XA PREPARE {xid}")
        transaction = await own.begin_twophase("a")
        await own.execute("INSERT INTO t VALUES (3, 'c')")
        await transaction.prepare()

        # Its name would end this transaction instead, or none.
        assert await own.recover_twophase() == ["a"]

        await own.commit_prepared("a")
        assert await own.recover_twophase() == []
        assert await names(auto) == ["a", "c"]
        await conn.execute(f"XA COMMIT {xid}")

    assert await names(auto) == ["a", "b", "c"]


# -- crashes ---------------------------------------------------------------------------------------


def reach(server: MortalServer) -> dict[str, Any]:
    at = server.server
    return {"host": at.host, "port": at.port, "user": at.user, "password": "", "db": at.database}


async def prepare(engine: sa.Engine, number: int, xid: str | bytes) -> sa.SAConnection:
    conn = await engine.acquire()
    transaction = await conn.begin_twophase(xid)
    await conn.execute("INSERT INTO t VALUES (%s, %s)", number, str(number))
    await transaction.prepare()
    return conn


async def test_prepared_transactions_outlive_a_killed_server(mortal: MortalServer) -> None:
    engine = await opened(reach(mortal), maxsize=50)
    await create(engine)
    xids = list(XIDS.values())
    conns = [await prepare(engine, number, xid) for number, xid in enumerate(xids, 2)]
    lost = await engine.acquire()
    transaction = await lost.begin_twophase("not prepared")
    await lost.execute("INSERT INTO t VALUES (99, 'lost')")

    mortal.crash()

    with pytest.raises(err.OperationalError):
        await transaction.prepare()
    with pytest.raises(err.OperationalError):
        await conns[0].commit_prepared(xids[0])
    await closed(engine)
    engine = await opened(reach(mortal))
    assert await names(engine) == ["a"]
    async with engine.acquire() as conn:
        found = await conn.recover_twophase()
        assert sorted(map(_bytes, found)) == sorted(map(_bytes, xids))
        # The xids as they are recovered, and as they were given.
        for number, xid in enumerate(xids, 2):
            again = next(each for each in found if _same(each, xid)) if number % 4 < 2 else xid
            await (conn.rollback_prepared if number % 2 else conn.commit_prepared)(again)
        assert await conn.recover_twophase() == []
    wanted = ["a", *(str(number) for number in range(2, 2 + len(xids)) if number % 2 == 0)]
    assert await names(engine) == wanted

    mortal.crash()

    await closed(engine)
    engine = await opened(reach(mortal))
    assert await names(engine) == wanted
    async with engine.acquire() as conn:
        await conn.execute("DROP TABLE t")
    await closed(engine)


@pytest.mark.usefixtures("recoverable")
@pytest.mark.parametrize("end", ["commit_prepared", "rollback_prepared"])
async def test_prepared_transaction_outlives_a_cut_connection(auto: sa.Engine, end: str) -> None:
    conn = await prepare(auto, 2, b"\xffcut")
    raw = conn.connection
    assert raw is not None
    raw._session.writer.transport.abort()

    with pytest.raises(err.MySQLError):
        await conn.commit_prepared(b"\xffcut")
    await conn.close()
    async with auto.acquire() as other:
        assert await other.recover_twophase() == [b"\xffcut"]
        await asyncio.wait_for(eventually(lambda: getattr(other, end)(b"\xffcut")), 10)
        assert await other.recover_twophase() == []

    assert await names(auto) == (["a", "2"] if end == "commit_prepared" else ["a"])


async def test_nothing_is_prepared_behind_rows_that_were_left_if_their_procedure_failed(
    auto: sa.Engine, recoverable: None
) -> None:
    async with auto.acquire() as conn:
        await conn.execute(
            "CREATE PROCEDURE fails_late() BEGIN"
            " SELECT 1; INSERT INTO t VALUES (5, 'e'); SELECT * FROM nowhere; END"
        )
        transaction = await conn.begin_twophase("half done")
        async for _ in conn.stream("CALL fails_late()"):
            break

        with pytest.raises(err.ProgrammingError, match="1146"):
            await transaction.prepare()

        await transaction.rollback()
        assert await conn.recover_twophase() == []
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 1
