"""Types of SQLAlchemy: parameters on their way in, columns on their way out."""

from __future__ import annotations

import asyncio
import enum
import uuid
from collections.abc import Awaitable, Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pymysql
import pytest
import sqlalchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    PickleType,
    SmallInteger,
    String,
    Table,
    Text,
    Time,
    TypeDecorator,
    Unicode,
    UnicodeText,
    Uuid,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import mysql

import aiomysqlx

pytestmark = [pytest.mark.server, pytest.mark.any_loop]

Create = Callable[..., Awaitable[None]]
Fetch = Callable[..., Awaitable[list[Any]]]
Conn = aiomysqlx.SAConnection


class Color(enum.Enum):
    RED = "r"
    BLUE = "it's %s"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Points(TypeDecorator[tuple[int, int]]):
    """A pair of numbers as text."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str | None:
        return None if value is None else "{}:{}".format(*value)

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return None if value is None else tuple(map(int, value.split(":")))


class Never(TypeDecorator[str]):
    """A type that turns NULL into something."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> str:
        return "was none" if value is None else value

    def process_result_value(self, value: Any, dialect: Any) -> str:
        return f"<{value}>"


class Hexed(TypeDecorator[str]):
    """A type that goes through SQL functions both ways."""

    impl = String(50)
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.hex(bindvalue)

    def column_expression(self, column: Any) -> Any:
        return cast(func.unhex(column), String(50))


ID = uuid.UUID("12345678-1234-5678-1234-567812345678")
MOMENT = datetime(2020, 2, 29, 23, 59, 58)
EXACT = MOMENT.replace(microsecond=123456)

CASES = [
    pytest.param(Integer(), -5, id="Integer"),
    pytest.param(SmallInteger(), 32767, id="SmallInteger"),
    pytest.param(BigInteger(), -(2**63), id="BigInteger"),
    pytest.param(mysql.BIGINT(unsigned=True), 2**64 - 1, id="BIGINT UNSIGNED"),
    pytest.param(mysql.TINYINT(), 127, id="TINYINT"),
    pytest.param(
        mysql.TINYINT(1),
        1,
        id="TINYINT(1)",
        marks=pytest.mark.filterwarnings("ignore:Integer display width:pymysql.err.Warning"),
    ),
    pytest.param(Boolean(), True, id="Boolean true"),
    pytest.param(Boolean(), False, id="Boolean false"),
    pytest.param(Float(), 1.5, id="Float"),
    pytest.param(Float(asdecimal=True), Decimal("1.5"), id="Float asdecimal"),
    pytest.param(Float(53), 0.1, id="Float(53)"),
    pytest.param(Double(), 1e300, id="Double"),
    pytest.param(Double(asdecimal=True), Decimal("2.5"), id="Double asdecimal"),
    pytest.param(mysql.DOUBLE(asdecimal=False), -0.25, id="DOUBLE"),
    pytest.param(Numeric(20, 5), Decimal("123456789012345.12345"), id="Numeric"),
    pytest.param(Numeric(10, 2, asdecimal=False), 1.25, id="Numeric as float"),
    pytest.param(mysql.DECIMAL(65, 30), Decimal("1" * 35 + "." + "2" * 30), id="DECIMAL(65,30)"),
    pytest.param(String(50), 'it\'s \\ "%s" 💙', id="String"),
    pytest.param(String(50), "", id="String empty"),
    pytest.param(Unicode(50), "ünï %", id="Unicode"),
    pytest.param(Text(), "x" * 70 + "\0\n\r\x1a", id="Text"),
    pytest.param(UnicodeText(), "表", id="UnicodeText"),
    pytest.param(mysql.CHAR(5), "ab", id="CHAR"),
    pytest.param(LargeBinary(), bytes(range(256)), id="LargeBinary"),
    pytest.param(LargeBinary(), b"", id="LargeBinary empty"),
    pytest.param(mysql.VARBINARY(10), b"\xff\x00'", id="VARBINARY"),
    pytest.param(mysql.BIT(1), 1, id="BIT(1)"),
    pytest.param(mysql.BIT(64), 2**64 - 1, id="BIT(64)"),
    pytest.param(mysql.BIT(8), 0, id="BIT zero"),
    pytest.param(Date(), date(2020, 2, 29), id="Date"),
    pytest.param(DateTime(), MOMENT, id="DateTime"),
    pytest.param(mysql.DATETIME(fsp=6), EXACT, id="DATETIME(6)"),
    pytest.param(mysql.DATETIME(fsp=3), MOMENT.replace(microsecond=123000), id="DATETIME(3)"),
    pytest.param(mysql.TIMESTAMP(fsp=6), EXACT, id="TIMESTAMP(6)"),
    pytest.param(Time(), time(23, 59, 58), id="Time"),
    pytest.param(Time(), time(0, 0), id="Time zero"),
    pytest.param(mysql.TIME(fsp=6), time(1, 2, 3, 456789), id="TIME(6)"),
    pytest.param(mysql.YEAR(), 2020, id="YEAR"),
    pytest.param(Interval(), timedelta(days=3, seconds=5), id="Interval"),
    pytest.param(Interval(), timedelta(days=-3), id="Interval negative"),
    pytest.param(Enum("a", "b%", "it's"), "it's", id="Enum of str"),
    pytest.param(Enum(Color), Color.BLUE, id="Enum"),
    pytest.param(Enum(Level), Level.HIGH, id="Enum of int"),
    pytest.param(
        Enum(Color, values_callable=lambda e: [m.value for m in e]), Color.BLUE, id="Enum values"
    ),
    pytest.param(Enum(Color, native_enum=False), Color.RED, id="Enum not native"),
    pytest.param(mysql.ENUM("x", "y"), "y", id="ENUM"),
    pytest.param(mysql.SET("a", "b", "c"), {"a", "c"}, id="SET"),
    pytest.param(mysql.SET("a", "b"), set(), id="SET empty"),
    pytest.param(mysql.SET("a", "b", "", retrieve_as_bitwise=True), {"a", ""}, id="SET bitwise"),
    pytest.param(mysql.SET("a", "b", retrieve_as_bitwise=True), set(), id="SET bitwise empty"),
    pytest.param(JSON(), {"a": [1, None, "it's %s \\ 💙"], "b": {}}, id="JSON"),
    pytest.param(JSON(), [], id="JSON list"),
    pytest.param(JSON(), 0, id="JSON number"),
    pytest.param(JSON(), "x", id="JSON str"),
    pytest.param(JSON(), False, id="JSON false"),
    pytest.param(mysql.JSON(), {"a": 1}, id="mysql.JSON"),
    pytest.param(Uuid(), ID, id="Uuid"),
    pytest.param(Uuid(as_uuid=False), str(ID), id="Uuid as str"),
    pytest.param(Uuid(native_uuid=False), ID, id="Uuid not native"),
    pytest.param(PickleType(), {"a": (1, b"\x00")}, id="PickleType"),
    pytest.param(Points(), (3, -4), id="TypeDecorator"),
    pytest.param(Hexed(), "it's", id="SQL functions"),
    pytest.param(Integer().with_variant(mysql.BIGINT(), "mysql"), 2**40, id="variant"),
]


def made(kind: Any) -> Table:
    """Make a table with a column of the type."""
    return Table(
        "t", MetaData(), Column("id", Integer, primary_key=True), Column("v", kind, nullable=True)
    )


@pytest.mark.parametrize(("kind", "value"), CASES)
async def test_value_comes_back(
    create: Create, fetch: Fetch, conn: Conn, kind: Any, value: Any
) -> None:
    tbl = made(kind)
    await create(tbl)

    await conn.execute(tbl.insert().values(id=1, v=value))
    await conn.execute(tbl.insert(), {"id": 2, "v": value})
    await conn.execute(tbl.insert(), [{"id": 3, "v": value}, {"id": 4, "v": value}])
    await conn.execute(tbl.insert().values([{"id": 5, "v": value}, {"id": 6, "v": value}]))
    await conn.execute(tbl.update().where(tbl.c.id == 6).values(v=value))

    rows = await fetch(select(tbl.c.v).order_by(tbl.c.id))
    assert [row.v for row in rows] == [value] * 6
    assert {type(row.v) for row in rows} == {type(value)}
    assert await conn.scalar(select(tbl.c.v).where(tbl.c.id == 1)) == value


@pytest.mark.parametrize(("kind", "value"), CASES)
async def test_null_comes_back(
    create: Create, fetch: Fetch, conn: Conn, kind: Any, value: Any
) -> None:
    tbl = made(kind)
    await create(tbl)

    await conn.execute(tbl.insert().values(id=1))
    if not isinstance(kind, JSON):
        await conn.execute(tbl.insert(), [{"id": 2, "v": None}, {"id": 3, "v": value}])
        await conn.execute(tbl.update().where(tbl.c.id == 3).values(v=None))

    if isinstance(kind, mysql.TIMESTAMP):
        return
    assert {row.v for row in await fetch(select(tbl.c.v))} == {None}


# JSON and pickles are not equal to their text, floats not exact, and SQLAlchemy 2.1 warns of
# comparing a BIT or YEAR.
NOT_COMPARED = (
    JSON, PickleType, Float, mysql.DOUBLE, mysql.SET, mysql.BIT, mysql.YEAR,
)  # fmt: skip
COMPARABLE = [case for case in CASES if not isinstance(case.values[0], NOT_COMPARED)]


@pytest.mark.parametrize(("kind", "value"), COMPARABLE)
async def test_value_is_compared(create: Create, conn: Conn, kind: Any, value: Any) -> None:
    tbl = made(kind)
    await create(tbl)
    await conn.execute(tbl.insert().values(id=1, v=value))

    for where in (
        tbl.c.v == value,
        tbl.c.v.in_([value]),
        tbl.c.v.in_([value, value]),
        tbl.c.v == bindparam("x", value, tbl.c.v.type),
        tbl.c.v == type_coerce(value, tbl.c.v.type),
    ):
        assert await conn.scalar(select(tbl.c.id).where(where)) == 1
    assert await conn.scalar(select(tbl.c.id).where(tbl.c.v.in_([]))) is None


async def test_time_beyond_a_day_is_what_the_server_gives(conn: Conn, create: Create) -> None:
    tbl = made(mysql.TIME(fsp=6))
    await create(tbl)

    await conn.execute("insert into t (id, v) values (1, '-01:00:00.5')")

    raw = await conn.scalar(text("select v from t"))
    assert raw == -timedelta(hours=1, microseconds=500_000)


@pytest.mark.parametrize(
    ("value", "sql_null", "loaded"),
    [
        pytest.param(None, False, None, id="None"),
        pytest.param(JSON.NULL, False, None, id="JSON.NULL"),
        pytest.param(sqlalchemy.null(), True, None, id="null()"),
    ],
)
async def test_json_null_is_told_from_null(
    conn: Conn, create: Create, value: Any, sql_null: bool, loaded: Any
) -> None:
    tbl = made(JSON())
    await create(tbl)

    await conn.execute(tbl.insert().values(id=1, v=value))
    if not sql_null:
        await conn.execute(tbl.insert(), [{"id": 2, "v": value}, {"id": 3, "v": value}])

    rows = await (await conn.execute(select(tbl.c.v, text("v is null")))).fetchall()
    assert {row.as_tuple() for row in rows} == {(loaded, int(sql_null))}


async def test_json_none_as_null_is_null(conn: Conn, create: Create) -> None:
    tbl = made(JSON(none_as_null=True))
    await create(tbl)

    await conn.execute(tbl.insert(), [{"id": 1, "v": None}, {"id": 2, "v": JSON.NULL}])

    rows = await (await conn.execute(select(text("v is null")).select_from(tbl))).fetchall()
    assert rows == [(1,), (0,)]


async def test_json_is_queried_by_path(conn: Conn, create: Create, fetch: Fetch) -> None:
    tbl = made(JSON())
    await create(tbl)
    await conn.execute(tbl.insert().values(id=1, v={"a": {"b c%": [1, "x"]}, "n": 2.5, "t": True}))
    path = tbl.c.v[("a", "b c%")]

    (row,) = await fetch(
        select(
            path.label("list"),
            tbl.c.v[("a", "b c%", 1)].as_string().label("s"),
            tbl.c.v["n"].as_float().label("n"),
            tbl.c.v["t"].as_boolean().label("t"),
        )
    )

    assert row == ([1, "x"], "x", 2.5, True)
    assert await conn.scalar(select(tbl.c.id).where(tbl.c.v["n"].as_float() == 2.5)) == 1


async def test_type_decorator_sees_null(conn: Conn, create: Create, fetch: Fetch) -> None:
    tbl = made(Never())
    await create(tbl)

    await conn.execute(tbl.insert(), [{"id": 1, "v": None}, {"id": 2, "v": "x"}])
    await conn.execute("insert into t (id) values (3)")

    assert [row.v for row in await fetch(select(tbl.c.v))] == ["<was none>", "<x>", "<None>"]


class Stopping(TypeDecorator[int]):
    """A type whose results stop an iteration."""

    impl = Integer
    cache_ok = True

    def process_result_value(self, value: int | None, dialect: Any) -> int:
        raise StopIteration


async def test_type_that_raises_stop_iteration_does_not_hang(conn: Conn) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(conn.execute(select(literal(1, Stopping()))), 1)

    assert await conn.scalar("select 1") == 1


# A type raises what it likes; what it lets pass, the server refuses.
REFUSED = (
    aiomysqlx.ArgumentError, TypeError, ValueError, AttributeError, pymysql.err.DataError,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "value", "error"),
    [
        pytest.param(Boolean(), "maybe", "maybe", id="Boolean"),
        pytest.param(Enum("a", "b"), "c", "'v'", id="Enum"),
        pytest.param(Enum(Color), "GREEN", "'v'", id="Enum of members"),
        pytest.param(JSON(), object(), "JSON", id="JSON"),
        pytest.param(Integer(), object(), "'v'.*object", id="Integer"),
        pytest.param(String(5), {"a": 1}, "'v'.*dict", id="String"),
        pytest.param(Uuid(native_uuid=False), "no uuid", "hex", id="Uuid"),
    ],
)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_value_that_the_type_refuses_is_an_error(
    conn: Conn, create: Create, fetch: Fetch, kind: Any, value: Any, error: str, many: bool
) -> None:
    tbl = made(kind)
    await create(tbl)
    row = {"id": 1, "v": value}

    with pytest.raises(REFUSED, match=error):
        await conn.execute(tbl.insert(), [row, row] if many else row)

    assert await fetch(select(tbl)) == []


async def test_literal_types_are_chosen_by_the_value(fetch: Fetch) -> None:
    given = (1, 1.5, Decimal("2.50"), "x", b"\xff", True, None)

    (row,) = await fetch(select(*(literal(value).label(f"c{n}") for n, value in enumerate(given))))

    assert row == given
    assert row[5] is True


@pytest.mark.parametrize(
    ("sql", "kind", "value"),
    [
        pytest.param("1", Boolean(), True, id="boolean"),
        pytest.param("1.50", Numeric(asdecimal=False), 1.5, id="decimal as float"),
        pytest.param("7", Float(asdecimal=True, decimal_return_scale=2), Decimal("7"), id="int"),
        pytest.param("'3:4'", Points(), (3, 4), id="decorator"),
        pytest.param("'RED'", Enum(Color), Color.RED, id="enum"),
        pytest.param("'[1]'", JSON(), [1], id="json"),
        pytest.param("'2020-02-29'", String(), "2020-02-29", id="string"),
        pytest.param("time '10:11:12'", Time(), time(10, 11, 12), id="time"),
        pytest.param("x'05'", mysql.BIT(), 5, id="bit"),
        pytest.param("'12345678123456781234567812345678'", Uuid(native_uuid=False), ID, id="uuid"),
    ],
)
async def test_result_type_is_that_of_the_expression(
    fetch: Fetch, sql: str, kind: Any, value: Any
) -> None:
    (typed,) = await fetch(select(literal_column(sql, kind).label("v"), literal_column(sql)))
    (by_text,) = await fetch(text(f"select {sql} as v").columns(v=kind))

    assert (typed.v, type(typed.v)) == (value, type(value))
    assert (by_text.v, type(by_text.v)) == (value, type(value))


async def test_two_columns_of_one_name_keep_their_types(conn: Conn, create: Create) -> None:
    first = Table("a", MetaData(), Column("v", Boolean))
    second = Table("b", MetaData(), Column("v", Numeric(5, 2, asdecimal=False)))
    await create(first, second)
    await conn.execute(first.insert(), {"v": True})
    await conn.execute(second.insert(), {"v": 2.5})

    row = await (await conn.execute(select(first.c.v, second.c.v).select_from(
        first.join(second, literal(True))
    ))).first()  # fmt: skip

    assert row is not None
    assert (row[0], row[1]) == (True, 2.5)
    assert (row[first.c.v], row[second.c.v]) == (True, 2.5)


async def test_session_without_backslash_escapes_round_trips(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    tbl = made(String(50))
    await create(tbl)
    await conn.execute("set sql_mode = 'NO_BACKSLASH_ESCAPES'")
    values = ["\\", "\\'", "it's", "%\\%", "a\\nb", "'; drop table t; -- "]

    await conn.execute(tbl.insert(), [{"id": n, "v": value} for n, value in enumerate(values, 1)])

    assert [row.v for row in await fetch(select(tbl.c.v).order_by(tbl.c.id))] == values
    found = await fetch(select(tbl.c.v).where(tbl.c.v.in_(values)).order_by(tbl.c.id))
    assert [row.v for row in found] == values
