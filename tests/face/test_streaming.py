"""Streams: rows that are read as they are asked for, and what becomes of those that are not."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    select,
)
from watch import now, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
METADATA = MetaData()
DIGITS = Table("digits", METADATA, Column("n", Integer, primary_key=True, autoincrement=False))
NUMBERS = Table(
    "numbers",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(100)),
)
MANY = 30_000
ALL = select(NUMBERS).order_by(NUMBERS.c.id)
BUSY = "another statement is in progress on this connection, a stream: read it to its end or close"
CLOSED = "This result object is closed."


@pytest.fixture
async def auto(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode, and the tables `digits` and `numbers` of 30,000 rows."""
    async with sa.create_engine(**connect_kwargs, autocommit=True, maxsize=2) as engine:
        async with engine.acquire() as conn:
            await conn.create_all(METADATA)
            await conn.execute(DIGITS.insert(), [{"n": n} for n in range(10)])
            rows = [{"id": n + 1, "name": f"{n + 1:x>100}"} for n in range(MANY)]
            await conn.execute(NUMBERS.insert(), rows)
        yield engine


@pytest.fixture
async def conn(auto: sa.Engine) -> AsyncIterator[sa.SAConnection]:
    async with auto.acquire() as conn:
        yield conn


def buffered(conn: sa.SAConnection) -> int:
    raw = conn.connection
    assert raw is not None
    return int(raw._session.protocol.reader.buffered)


# -- rows ------------------------------------------------------------------------------------------


async def test_rows_of_a_stream_are_those_of_the_result(conn: sa.SAConnection) -> None:
    whole = await (await conn.execute(ALL)).fetchall()

    streamed = [row async for row in conn.stream(ALL)]

    assert len(streamed) == MANY
    assert [row.as_tuple() for row in streamed] == [row.as_tuple() for row in whole]
    assert streamed[0].name == streamed[0][NUMBERS.c.name] == whole[0].name
    assert type(streamed[0]) is type(whole[0])


@pytest.mark.parametrize("statement", [ALL, "SELECT * FROM numbers"], ids=["construct", "text"])
async def test_no_more_waits_than_the_bound(conn: sa.SAConnection, statement: Any) -> None:
    async with conn.stream(statement, max_buffer=1 << 16) as result:
        await result.fetchone()
        await until(lambda: buffered(conn) > 1 << 16)
        await asyncio.sleep(0.05)

        assert buffered(conn) < 1 << 18
        assert len(await result.fetchall()) == MANY - 1


async def test_first_row_comes_before_the_last_is_sent(conn: sa.SAConnection) -> None:
    statement = "SELECT REPEAT('x', 60000), SLEEP(0.05) FROM digits, digits AS more LIMIT 60"
    start = now()

    async with conn.stream(statement) as r:
        await r.fetchone()

        assert now() - start < 2


async def test_connection_is_free_after_the_last_row(conn: sa.SAConnection) -> None:
    async for row in conn.stream(ALL):
        last = row.id

    assert last == MANY
    assert await conn.scalar("SELECT 5") == 5


async def test_stream_that_is_broken_off_leaves_the_connection_in_order(
    conn: sa.SAConnection,
) -> None:
    gc.disable()
    try:
        async for row in conn.stream(ALL):
            if row.id == 3:
                break

        assert await conn.scalar("SELECT 5") == 5
    finally:
        gc.enable()


async def test_statement_beside_an_open_stream_is_refused(conn: sa.SAConnection) -> None:
    async with conn.stream(ALL) as result:
        with pytest.raises(sa.InvalidRequestError, match=BUSY.replace("(", r"\(")):
            await conn.execute("SELECT 1")

        assert len(await result.fetchall()) == MANY
