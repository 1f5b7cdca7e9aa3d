"""Datetimes and times with a zone, in every sort of statement: none is changed without a word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Integer,
    MetaData,
    Table,
    Time,
    TypeDecorator,
    bindparam,
    func,
    insert,
    literal,
    select,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects.mysql import DATETIME, TIME, TIMESTAMP

import aiomysqlx
from aiomysqlx.exc import ArgumentError

EAST = timezone(timedelta(hours=5, minutes=30))


def at(zone: tzinfo | None, *rest: int) -> datetime:
    return datetime(2024, 1, 15, 12, *rest, tzinfo=zone)


events = Table(
    "events",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", DATETIME(fsp=6)),
    Column("stamp", TIMESTAMP(fsp=6), nullable=True),
    Column("plain", DateTime),
    Column("clock", TIME(fsp=6)),
    Column("hour", Time),
)
CREATE = (
    "CREATE TABLE events (id INT PRIMARY KEY AUTO_INCREMENT, at DATETIME(6), stamp TIMESTAMP(6)"
    " NULL, plain DATETIME, clock TIME(6), hour TIME)"
)
pytestmark = [pytest.mark.any_loop, pytest.mark.filterwarnings("error::pymysql.err.Warning")]


async def connected(kwargs: dict[str, Any], **more: Any) -> AsyncIterator[aiomysqlx.SAConnection]:
    async with (
        aiomysqlx.create_engine(**kwargs, **more) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute(CREATE)
        yield conn


@pytest.fixture
async def refusing(connect_kwargs: dict[str, Any]) -> AsyncIterator[aiomysqlx.SAConnection]:
    """A connection as it is without the option."""
    async for conn in connected(connect_kwargs):
        yield conn


@pytest.fixture(params=["utc", "drop"])
async def taking(
    request: pytest.FixtureRequest, connect_kwargs: dict[str, Any]
) -> AsyncIterator[tuple[aiomysqlx.SAConnection, bool]]:
    """A connection that takes any offset, and whether it converts it."""
    async for conn in connected(connect_kwargs, aware_datetimes=request.param):
        yield conn, request.param == "utc"


async def rows_of(conn: aiomysqlx.SAConnection, *columns: Any) -> list[Any]:
    result = await conn.execute(select(*columns).order_by(events.c.id))
    return [row.as_tuple() for row in await result.fetchall()]


@pytest.mark.server
async def test_now_in_utc_is_stored_by_every_statement(refusing: aiomysqlx.SAConnection) -> None:
    now = datetime.now(timezone.utc)
    plain = now.replace(tzinfo=None)
    await refusing.execute(insert(events), {"at": now, "stamp": now, "clock": now.timetz()})
    await refusing.execute(insert(events).values(at=now))
    await refusing.execute(insert(events), [{"at": now}, {"at": now}])
    await refusing.execute("INSERT INTO events (at) VALUES (%s)", now)
    await refusing.execute("INSERT INTO events (at) VALUES (%s)", [(now,), (now,)])
    await refusing.execute("INSERT INTO events (at) VALUES (%(at)s)", {"at": now})
    await refusing.execute(update(events).where(events.c.at == now).values(plain=now))

    rows = await rows_of(refusing, events.c.at)

    assert rows == [(plain,)] * 8
    found = select(events.c.id).where(events.c.at.in_([now, now - timedelta(days=1)]))
    assert len(await (await refusing.execute(found)).fetchall()) == 8


@pytest.mark.server
async def test_other_offset_is_converted_or_dropped_in_every_statement(
    taking: tuple[aiomysqlx.SAConnection, bool],
) -> None:
    conn, converts = taking
    value = at(EAST, 1, 2, 3)
    stored = datetime(2024, 1, 15, 6, 31, 2, 3) if converts else datetime(2024, 1, 15, 12, 1, 2, 3)
    hour = time(6, 31, 2, 3) if converts else time(12, 1, 2, 3)
    await conn.execute(insert(events), {"at": value, "clock": value.timetz()})
    await conn.execute(insert(events), [{"at": value, "clock": value.timetz()}] * 2)
    text = "INSERT INTO events (at, clock) VALUES (%s, %s)"
    await conn.execute(text, value, value.timetz())
    await conn.execute(text, [(value, value.timetz())] * 2)
    later = bindparam("later", expanding=True)

    assert await rows_of(conn, events.c.at, events.c.clock) == [(stored, hour)] * 6
    found = await conn.execute(select(events.c.id).where(events.c.at.in_(later)), later=[value])
    assert len(await found.fetchall()) == 6
    pairs = tuple_(events.c.at, events.c.id).in_([(value, 1), (value, 2)])
    assert len(await (await conn.execute(select(events.c.id).where(pairs))).fetchall()) == 2


@pytest.mark.server
async def test_value_written_as_literal_is_as_any_other(
    taking: tuple[aiomysqlx.SAConnection, bool],
) -> None:
    conn, converts = taking
    value = at(EAST, 1, 2, 3)
    stored = datetime(2024, 1, 15, 6, 31, 2, 3) if converts else datetime(2024, 1, 15, 12, 1, 2, 3)
    literals = {
        name: bindparam(f"new_{name}", given, literal_execute=True, type_=events.c[name].type)
        for name, given in (("at", value), ("stamp", value), ("clock", value.timetz()))
    }
    every = bindparam("every", [value], expanding=True, literal_execute=True)

    await conn.execute(insert(events).values(literals))

    columns = (events.c.at, events.c.stamp, events.c.clock)
    assert await rows_of(conn, *columns) == [(stored, stored, stored.time())]
    assert await conn.scalar(select(events.c.id).where(events.c.at.in_(every))) == 1


class Later(TypeDecorator[datetime]):
    """A datetime with a literal processor of its own."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value + timedelta(hours=1)

    def process_literal_param(self, value: datetime | None, dialect: Any) -> Any:
        assert value is not None  # SQLAlchemy writes NULL by itself
        return value + timedelta(hours=1)


class LaterAsLoaded(Later):
    """One whose implementation is the dialect's."""

    cache_ok = True

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(DATETIME(fsp=6))


class Within(TypeDecorator[datetime]):
    """One within another type, which does nothing to literals."""

    impl = Later
    cache_ok = True


class Earlier(TypeDecorator[datetime]):
    """One within another type that has a bind processor only."""

    impl = Within
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        return None if value is None else value - timedelta(hours=1)


DECORATED = {
    "own literals": (Later(), 1),
    "dialect's own": (LaterAsLoaded(), 1),
    "within another": (Within(), 1),
    "within one with binds": (Earlier(), 0),
    "variant": (Integer().with_variant(Later(), "mysql", "mariadb"), 1),
}


@pytest.mark.server
@pytest.mark.parametrize(("type_", "hours"), DECORATED.values(), ids=DECORATED)
async def test_literal_of_a_decorated_type_is_as_any_other_value(
    taking: tuple[aiomysqlx.SAConnection, bool], type_: Any, hours: int
) -> None:
    conn, converts = taking
    stored = at(None) - timedelta(hours=5, minutes=30) * converts + timedelta(hours=hours)
    await conn.execute(insert(events), {"at": stored})
    column = type_coerce(events.c.at, type_)
    conditions = [
        column == bindparam("x", at(EAST), type_, literal_execute=True),
        column.in_(bindparam("x", [at(EAST)], type_, expanding=True, literal_execute=True)),
        tuple_(column, events.c.id).in_(
            bindparam("x", [(at(EAST), 1)], expanding=True, literal_execute=True)
        ),
    ]

    assert [await conn.scalar(select(events.c.id).where(each)) for each in conditions] == [1, 1, 1]
    unknown = select(bindparam("x", None, type_, literal_execute=True))
    assert await conn.scalar(unknown) is None


@pytest.mark.server
@pytest.mark.parametrize(("type_", "hours"), DECORATED.values(), ids=DECORATED)
async def test_literal_of_a_decorated_type_is_refused_by_its_name(
    refusing: aiomysqlx.SAConnection, type_: Any, hours: int
) -> None:
    literal_ = bindparam("x", at(EAST), type_, literal_execute=True)

    with pytest.raises(ArgumentError, match=rf"parameter 'x': {MESSAGE}"):
        await refusing.execute(select(literal_))

    stored = await refusing.scalar(select(literal_), x=at(timezone.utc))
    assert str(stored) == f"2024-01-15 {12 + hours}:00:00"


@pytest.mark.server
async def test_datetime_written_as_literal_date_or_time_is_its_part(
    refusing: aiomysqlx.SAConnection,
) -> None:
    for type_, part in ((Date(), "2024-01-15"), (Time(), "12:30:00")):
        written = select(func.concat(bindparam("x", None, type_, literal_execute=True)))

        assert str(await refusing.scalar(written, x=at(None, 30))) == part
        assert str(await refusing.scalar(written, x=at(timezone.utc, 30))) == part
        with pytest.raises(ArgumentError, match=rf"parameter 'x': {MESSAGE}"):
            await refusing.scalar(written, x=at(EAST, 30))


@pytest.mark.server
async def test_literal_processor_of_ones_own_writes_what_it_says(
    refusing: aiomysqlx.SAConnection,
) -> None:
    class Own(DateTime):
        """A datetime that is written as its year."""

        cache_ok = True

        def literal_processor(self, dialect: Any) -> Any:
            return lambda value: f"'{value.year}'"

    assert await refusing.scalar(select(literal(at(EAST), Own(), literal_execute=True))) == "2024"


MESSAGE = r"cannot send an aware datetime of UTC\+05:30: .* aware_datetimes='utc' or 'drop'"


@pytest.mark.server
@pytest.mark.parametrize(
    ("statement", "parameters", "named"),
    [
        pytest.param(insert(events), [{"at": at(EAST)}], r"parameter 'at': M", id="column"),
        pytest.param(insert(events).values(at=at(EAST)), [], r"parameter 'at': M", id="values"),
        pytest.param(
            insert(events),
            [[{"at": at(None)}, {"at": at(EAST)}]],
            r"parameter 'at': M, in parameter group 1",
            id="rows",
        ),
        pytest.param(
            update(events).where(events.c.id == bindparam("n")).values(at=bindparam("when")),
            [[{"n": 1, "when": at(timezone.utc)}, {"n": 2, "when": at(EAST)}]],
            r"parameter 'when': M, in parameter group 1",
            id="many updates",
        ),
        pytest.param(
            select(events).where(events.c.at.in_([at(None), at(EAST)])),
            [],
            r"parameter 'at': M",
            id="in",
        ),
        pytest.param(
            select(literal(at(EAST), DateTime, literal_execute=True)),
            [],
            r"parameter 'param_1': M",
            id="literal",
        ),
        pytest.param("SELECT %s, %s", [1, at(EAST)], r"parameter 2: M", id="position"),
        pytest.param(
            "SELECT %(a)s, %(b)s", [{"a": 1, "b": at(EAST)}], r"parameter 'b': M", id="name"
        ),
        pytest.param(
            "INSERT INTO events (id, at) VALUES (%s, %s)",
            [[(1, at(None)), (2, at(None)), (3, at(EAST))]],
            r"parameter 2: M, in parameter group 2",
            id="rows of text",
        ),
        pytest.param(
            "UPDATE events SET at = %(when)s",
            [[{"when": at(None)}, {"when": at(EAST)}]],
            r"parameter 'when': M, in parameter group 1",
            id="many of text",
        ),
        pytest.param("SELECT %s", [[[at(EAST)]]], r"parameter 1: M", id="list in text"),
    ],
)
async def test_refusal_names_parameter_group_and_option(
    refusing: aiomysqlx.SAConnection, statement: Any, parameters: list[Any], named: str
) -> None:
    with pytest.raises(ArgumentError, match=f"^{named.replace('M', MESSAGE)}$"):
        await refusing.execute(statement, *parameters)

    assert await refusing.scalar("SELECT COUNT(*) FROM events") == 0


@pytest.mark.server
async def test_python_side_default_may_be_aware(refusing: aiomysqlx.SAConnection) -> None:
    table = Table(
        "events",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("at", DateTime, default=lambda: at(timezone.utc)),
        Column("plain", DateTime, default=lambda: at(EAST)),
    )

    with pytest.raises(ArgumentError, match=f"^parameter 'plain': {MESSAGE}$"):
        await refusing.execute(insert(table))
    await refusing.execute(insert(table).values(plain=None))

    assert await rows_of(refusing, events.c.at) == [(at(None),)]


@pytest.mark.server
async def test_cursor_and_procedure_name_the_argument(raw: aiomysqlx.Connection) -> None:
    async with raw.cursor() as cursor:
        with pytest.raises(ArgumentError, match=f"^parameter 1: {MESSAGE}$"):
            await cursor.execute("SELECT %s", at(EAST))
        with pytest.raises(ArgumentError, match=f"^parameter 2: {MESSAGE}$"):
            await cursor.callproc("p", (1, at(EAST)))
    with pytest.raises(ArgumentError, match=f"^{MESSAGE}$"):
        raw.escape(at(EAST))


@pytest.mark.server
async def test_option_outlives_charset_mode_and_reset(connect_kwargs: dict[str, Any]) -> None:
    async with aiomysqlx.connect(**connect_kwargs, aware_datetimes="utc") as raw:
        async with raw.cursor() as cursor:
            for sql in ("SET sql_mode = 'NO_BACKSLASH_ESCAPES'", "SET NAMES latin1", "DO 0"):
                await cursor.execute(sql)
                assert raw.escape(at(EAST)) == "'2024-01-15 06:30:00'"
        await raw.set_charset("utf8mb4")
        await raw.reset()
        assert raw.escape(at(EAST)) == "'2024-01-15 06:30:00'"
        assert raw.escape(date(2024, 1, 15)) == "'2024-01-15'"


@pytest.mark.server
@pytest.mark.parametrize("how", ["utc", "drop"])
async def test_option_is_taken_from_a_url(url: str, how: str) -> None:
    sign = "&" if "?" in url else "?"

    async with (
        aiomysqlx.create_engine(f"{url}{sign}aware_datetimes={how}") as engine,
        engine.acquire() as conn,
    ):
        value = await conn.scalar("SELECT CAST(%s AS DATETIME) AS v", at(EAST))

    assert value == datetime(2024, 1, 15, 6 if how == "utc" else 12, 30 if how == "utc" else 0)


@pytest.mark.parametrize("value", ["UTC", "", "convert"])
async def test_unknown_way_is_refused(value: str) -> None:
    message = f"^argument 'aware_datetimes' takes 'refuse', 'utc' or 'drop', got {value!r}$"

    with pytest.raises(ArgumentError, match=message):
        await aiomysqlx.connect(aware_datetimes=value)
    with pytest.raises(ArgumentError, match=message):
        await aiomysqlx.create_engine(aware_datetimes=value)


@pytest.mark.parametrize("value", [None, True, 1], ids=repr)
async def test_way_is_text(value: Any) -> None:
    with pytest.raises(ArgumentError, match="^argument 'aware_datetimes' does not take"):
        aiomysqlx.create_engine(aware_datetimes=value)
