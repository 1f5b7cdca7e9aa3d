"""Values of a user's types, on connections that have encoders for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import PurePath, PurePosixPath
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, text

import aiomysqlx
from aiomysqlx.exc import ArgumentError
from aiomysqlx.wire.encoders import Encoder


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class Euro(Money):
    pass


goods = Table(
    "goods",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("price", Integer),
    Column("name", String(40)),
)
CENTS: dict[type, Encoder] = {Money: lambda money: money.cents, PurePath: str}


@pytest.fixture
async def shop(connect_kwargs: dict[str, Any]) -> AsyncIterator[aiomysqlx.SAConnection]:
    """A connection with encoders and a table."""
    async with (
        aiomysqlx.create_engine(**connect_kwargs, encoders=CENTS) as engine,
        engine.acquire() as conn,
    ):
        await conn.create_all(goods.metadata)
        yield conn
        await conn.execute("ROLLBACK")


async def prices(conn: aiomysqlx.SAConnection) -> list[int]:
    result = await conn.execute(select(goods.c.price).order_by(goods.c.id))
    return [row.price for row in await result.fetchall()]


@pytest.mark.server
async def test_every_way_to_execute_takes_encoded_values(shop: aiomysqlx.SAConnection) -> None:
    await shop.execute(insert(goods), {"price": Money(1), "name": PurePosixPath("/a")})
    await shop.execute(insert(goods), [{"price": Money(2)}, {"price": Euro(3)}])
    await shop.execute(insert(goods).values(price=bindparam("p")), {"p": Money(4)})
    await shop.execute("INSERT INTO goods (price) VALUES (%s)", Money(5))
    await shop.execute("INSERT INTO goods (price) VALUES (%s)", [(Money(6),), (Money(7),)])
    assert shop.connection is not None
    async with shop.connection.cursor() as cursor:
        await cursor.execute("INSERT INTO goods (price) VALUES (%(p)s)", {"p": Money(8)})
        await cursor.executemany("INSERT INTO goods (price) VALUES (%s)", [(Money(9),)] * 2)
        assert cursor.mogrify("SELECT %s", (Money(1),)) == "SELECT 1"

    assert await prices(shop) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 9]
    assert shop.connection.escape(Money(1)) == "1"
    found = select(goods.c.name).where(goods.c.price.in_([Money(1), Money(77)]))
    assert await shop.scalar(found) == "/a"
    assert await shop.scalar(select(goods.c.id).where(goods.c.price == Money(3))) == 3
    assert await shop.scalar(text("SELECT id FROM goods WHERE price IN :p"), {"p": [Money(4)]}) == 4


@pytest.mark.server
async def test_encoders_stay_in_another_sql_mode(shop: aiomysqlx.SAConnection) -> None:
    await shop.execute("SET sql_mode = 'NO_BACKSLASH_ESCAPES'")

    assert await shop.scalar("SELECT %s", PurePosixPath("\\")) == "\\"
    assert await shop.scalar("SELECT %s", Money(5)) == 5


@pytest.mark.server
async def test_encoder_that_fails_names_the_parameter(connect_kwargs: dict[str, Any]) -> None:
    async with aiomysqlx.connect(**connect_kwargs, encoders={Money: lambda _: 1 / 0}) as raw:
        cursor = await raw.cursor()
        with pytest.raises(ArgumentError, match="parameter 'm': the encoder of .*Money failed"):
            await cursor.execute("SELECT %(m)s", {"m": Money(1)})
        await cursor.close()


@pytest.mark.server
async def test_list_of_a_column_may_have_an_encoder(connect_kwargs: dict[str, Any]) -> None:
    async with (
        aiomysqlx.create_engine(**connect_kwargs, encoders={list: len}) as engine,
        engine.acquire() as conn,
    ):
        assert await conn.scalar(select(bindparam("n", type_=Integer)), {"n": [1, 2]}) == 2


WRONG: dict[str, tuple[Any, str]] = {
    "no mapping": ([int], "argument 'encoders'"),
    "name": ({"int": str}, "argument 'encoders' takes types for keys, got 'int'"),
    "no function": ({Money: 5}, "takes a function for .*test_encoders.Money, got 5"),
}


@pytest.mark.parametrize(("encoders", "message"), WRONG.values(), ids=WRONG)
async def test_wrong_encoders_are_refused(encoders: Any, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        await aiomysqlx.connect(encoders=encoders)
    with pytest.raises(ArgumentError, match=message):
        aiomysqlx.create_engine(encoders=encoders)
    assert asyncio.get_running_loop().is_running()
