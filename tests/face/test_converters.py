"""`conv` and `use_unicode` in constructs: types get what a user has values made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pymysql
import pytest
import sqlalchemy
from pymysql.constants import FIELD_TYPE
from pymysql.converters import conversions, encoders
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.pool import NullPool

import aiomysqlx

pytestmark = pytest.mark.server


class Shown(TypeDecorator[Any]):
    """A number that shows what it was made of."""

    impl = Integer
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return type(value).__name__, value


t = Table(
    "own_values",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("price", Numeric(10, 2)),
    Column("size", Float(53)),
    Column("name", String(20)),
    Column("at", DateTime),
    Column("data", LargeBinary),
    Column("done", Boolean),
    Column("shown", Shown),
    Column("doc", JSON),
)
ROWS = [
    {
        "id": 1,
        "price": Decimal("1.50"),
        "size": 0.1,
        "name": "é",
        "at": sqlalchemy.func.timestamp("2024-01-02 03:04:05"),
        "data": b"\xff",
        "done": True,
        "shown": 7,
        "doc": {"a": [1]},
    },
    {"id": 2},
]
OWN: dict[str, dict[str, Any]] = {
    "floats for decimals": {"conv": {**conversions, FIELD_TYPE.NEWDECIMAL: float}},
    "texts for dates": {"conv": {k: v for k, v in conversions.items() if k != FIELD_TYPE.DATETIME}},
    "own integers": {"conv": {**conversions, FIELD_TYPE.LONG: "n={}".format}},
    "own texts": {"conv": {**conversions, FIELD_TYPE.VAR_STRING: str.upper}},
    "no decoders": {"conv": encoders},
}
STATEMENTS: dict[str, Callable[[], Any]] = {
    "columns": lambda: select(t).order_by(t.c.id),
    "by key": lambda: select(t.c.price, t.c.name, t.c.shown).where(t.c.id == bindparam("i", 1)),
    "computed": lambda: select(func.max(t.c.price), func.max(t.c.at), func.max(t.c.name)),
    "literals": lambda: select(literal_column("price"), literal_column("name")).select_from(t),
    "text": lambda: text("select price, name, at from own_values order by id"),
    "typed text": lambda: text("select shown, price, done from own_values").columns(
        t.c.shown, t.c.price, t.c.done
    ),
}


@pytest.fixture(params=list(OWN))
def own(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a user has values made of."""
    return OWN[request.param]


@pytest.fixture
def sync(connect_kwargs: dict[str, Any], own: dict[str, Any]) -> Any:
    """SQLAlchemy's own engine with it, and the table with rows."""
    first = iter([{}])  # what SQLAlchemy asks for itself has to be as it expects

    where = {("database" if k == "db" else k): value for k, value in connect_kwargs.items()}

    def connect() -> Any:
        return pymysql.connect(**where, charset="utf8mb4", ssl_disabled=True, **next(first, own))

    engine = sqlalchemy.create_engine("mysql+pymysql://", creator=connect, poolclass=NullPool)
    with engine.begin() as connection:
        t.drop(connection, checkfirst=True)
        t.create(connection)
        for row in ROWS:
            connection.execute(insert(t).values(row))
    return engine


@pytest.fixture(params=[None, 0], ids=["text", "prepared"])
async def conn(
    request: pytest.FixtureRequest, connect_kwargs: dict[str, Any], own: dict[str, Any]
) -> AsyncIterator[aiomysqlx.SAConnection]:
    """A connection of an engine of ours with the same."""
    async with (
        aiomysqlx.create_engine(
            **connect_kwargs, **own, prepare_threshold=request.param, autocommit=True
        ) as engine,
        engine.acquire() as conn,
    ):
        yield conn


async def executed(conn: aiomysqlx.SAConnection, statement: Any) -> Any:
    return await (await conn.execute(statement)).fetchall()


async def streamed(conn: aiomysqlx.SAConnection, statement: Any) -> Any:
    async with conn.stream(statement) as result:
        return await result.fetchall()


async def pipelined(conn: aiomysqlx.SAConnection, statement: Any) -> Any:
    async with conn.pipeline() as pipe:
        answer = pipe.execute(statement)
    return await (await answer).fetchall()


async def test_types_get_what_they_get_of_pymysql(
    sync: sqlalchemy.Engine, conn: aiomysqlx.SAConnection
) -> None:
    with sync.connect() as connection:
        theirs = {
            name: [tuple(row) for row in connection.execute(build())]
            for name, build in STATEMENTS.items()
        }

    for way in (executed, streamed, pipelined):
        reused = {name: build() for name, build in STATEMENTS.items()}
        for _ in range(3):  # compiled, found again, and prepared
            for statements in (reused, {name: build() for name, build in STATEMENTS.items()}):
                ours = {name: await way(conn, each) for name, each in statements.items()}
                assert {n: [row.as_tuple() for row in rows] for n, rows in ours.items()} == theirs


async def test_texts_of_a_construct_are_bytes_without_use_unicode(
    connect_kwargs: dict[str, Any],
) -> None:
    statement = select(literal_column("'é'"), literal_column("1"))
    async with (
        aiomysqlx.create_engine(**connect_kwargs, use_unicode=False) as engine,
        engine.acquire() as conn,
    ):
        row = await (await conn.execute(statement)).one()

    assert row.as_tuple() == ("é".encode(), 1)


async def test_engines_that_share_a_dialect_keep_their_own_converters(
    connect_kwargs: dict[str, Any],
) -> None:
    dialect = MySQLDialect_pymysql(paramstyle="pyformat")
    statement = select(literal_column("1.5"))
    for convert in (Decimal, float, str):
        conv = {**conversions, FIELD_TYPE.NEWDECIMAL: convert}
        async with (
            aiomysqlx.create_engine(**connect_kwargs, dialect=dialect, conv=conv) as engine,
            engine.acquire() as conn,
        ):
            for _ in range(3):
                assert type(await conn.scalar(statement)) is convert
