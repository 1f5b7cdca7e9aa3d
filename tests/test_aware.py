"""Datetimes and times with a zone: stored as UTC, refused, converted or stripped; never quietly."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    Table,
    Time,
    bindparam,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.mysql import DATETIME, TIME, TIMESTAMP

import aiomysqlx
from aiomysqlx.exc import ArgumentError

REFUSE, UTC, DROP = 0, 4, 8
EAST = timezone(timedelta(hours=5, minutes=30))
WEST = timezone(-timedelta(hours=3))
SHORT = timezone(timedelta(seconds=1))
FINE = timezone(-timedelta(microseconds=1))
LONDON = ZoneInfo("Europe/London")
PARIS = ZoneInfo("Europe/Paris")


class Zone(tzinfo):
    """A zone whose offset is what it is made with, or raises."""

    def __init__(self, offset: Any) -> None:
        self.offset = offset

    def utcoffset(self, moment: datetime | None) -> Any:
        if isinstance(self.offset, BaseException):
            raise self.offset
        return self.offset


class LyingDelta(timedelta):
    """Says that it is nothing."""

    def __bool__(self) -> bool:
        return False

    def __neg__(self) -> Any:
        return "' OR 1=1 -- "

    __add__ = __radd__ = __sub__ = __rsub__ = __str__ = __repr__ = __neg__


class Stamp(datetime):
    """What pandas' Timestamp is: its own constructor, its own texts, more digits."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if len(args) != 7:
            raise TypeError("made by nobody but me")
        return super().__new__(cls, *args, **kwargs)

    def isoformat(self, *args: Any, **kwargs: Any) -> str:
        return super().isoformat(*args, **kwargs) + "123"

    __str__ = __repr__ = isoformat

    def utcoffset(self) -> Any:
        return timedelta()

    date = time = replace = astimezone = utcoffset  # type: ignore[assignment]


class Clock(time):
    def utcoffset(self) -> Any:
        return timedelta()

    isoformat = replace = utcoffset  # type: ignore[assignment]


def at(zone: tzinfo | None, *rest: int, fold: int = 0) -> datetime:
    return datetime(2024, 1, 15, 12, *rest, tzinfo=zone, fold=fold)


AS_IT_STANDS = [
    pytest.param(at(timezone.utc), b"'2024-01-15 12:00:00'", id="utc"),
    pytest.param(at(timezone.utc, 1, 2, 3), b"'2024-01-15 12:01:02.000003'", id="microseconds"),
    pytest.param(at(timezone(timedelta())), b"'2024-01-15 12:00:00'", id="offset-of-zero"),
    pytest.param(at(timezone(timedelta(), "Z")), b"'2024-01-15 12:00:00'", id="named-zero"),
    pytest.param(at(ZoneInfo("UTC")), b"'2024-01-15 12:00:00'", id="zoneinfo-utc"),
    pytest.param(at(LONDON), b"'2024-01-15 12:00:00'", id="london-in-winter"),
    pytest.param(
        datetime(2024, 10, 27, 1, 30, tzinfo=LONDON, fold=1),
        b"'2024-10-27 01:30:00'",
        id="second-half-past-one",
    ),
    pytest.param(at(Zone(None)), b"'2024-01-15 12:00:00'", id="zone-without-offset"),
    pytest.param(at(Zone(timedelta())), b"'2024-01-15 12:00:00'", id="own-zone"),
    pytest.param(datetime.min.replace(tzinfo=timezone.utc), b"'0001-01-01 00:00:00'", id="first"),
    pytest.param(
        datetime.max.replace(tzinfo=timezone.utc), b"'9999-12-31 23:59:59.999999'", id="last"
    ),
    pytest.param(
        Stamp(2024, 1, 15, 12, 1, 2, 3, tzinfo=timezone.utc),
        b"'2024-01-15 12:01:02.000003'",
        id="subclass",
    ),
    pytest.param(time(1, 2, 3, 4, tzinfo=timezone.utc), b"'01:02:03.000004'", id="time-in-utc"),
    pytest.param(time(1, tzinfo=timezone(timedelta())), b"'01:00:00'", id="time-of-zero"),
    pytest.param(time(1, tzinfo=PARIS), b"'01:00:00'", id="time-of-a-zone-that-needs-a-date"),
    pytest.param(Clock(1, 2, tzinfo=timezone.utc), b"'01:02:00'", id="subclass-of-time"),
]


@pytest.mark.parametrize("mode", [REFUSE, UTC, DROP], ids=["refuse", "utc", "drop"])
@pytest.mark.parametrize(("value", "literal"), AS_IT_STANDS)
def test_offset_of_zero_is_stored_as_it_stands(
    escape: ModuleType, value: object, literal: bytes, mode: int
) -> None:
    assert escape.escape(value, "utf8", mode) == literal
    assert escape.escape([value], "utf8", mode) == b"(" + literal + b")"


OTHERS = [
    pytest.param(at(EAST), "UTC+05:30", b"'2024-01-15 06:30:00'", id="east"),
    pytest.param(at(WEST), "UTC-03:00", b"'2024-01-15 15:00:00'", id="west"),
    pytest.param(at(SHORT, 0, 0, 1), "UTC+00:00:01", b"'2024-01-15 11:59:59.000001'", id="second"),
    pytest.param(at(FINE), "UTC-00:00:00.000001", b"'2024-01-15 12:00:00.000001'", id="fine"),
    pytest.param(
        at(Zone(timedelta(hours=24, microseconds=-1))),
        "UTC+23:59:59.999999",
        b"'2024-01-14 12:00:00.000001'",
        id="most",
    ),
    pytest.param(at(Zone(LyingDelta(hours=1))), "UTC+01:00", b"'2024-01-15 11:00:00'", id="lying"),
    pytest.param(
        datetime(2024, 7, 1, 12, tzinfo=LONDON),
        "UTC+01:00",
        b"'2024-07-01 11:00:00'",
        id="london-in-summer",
    ),
    pytest.param(
        datetime(2024, 10, 27, 1, 30, tzinfo=LONDON),
        "UTC+01:00",
        b"'2024-10-27 00:30:00'",
        id="first-half-past-one",
    ),
    pytest.param(
        datetime(2024, 10, 27, 2, 30, tzinfo=PARIS, fold=1),
        "UTC+01:00",
        b"'2024-10-27 01:30:00'",
        id="second-half-past-two",
    ),
    pytest.param(
        Stamp(2024, 1, 1, 0, 0, 0, 7, tzinfo=EAST),
        "UTC+05:30",
        b"'2023-12-31 18:30:00.000007'",
        id="subclass",
    ),
    pytest.param(
        datetime(1, 1, 1, 5, 30, tzinfo=EAST), "UTC+05:30", b"'0001-01-01 00:00:00'", id="first"
    ),
    pytest.param(
        datetime(9999, 12, 31, 20, 59, 59, 999999, tzinfo=WEST),
        "UTC-03:00",
        b"'9999-12-31 23:59:59.999999'",
        id="last",
    ),
    pytest.param(time(12, 0, 1, 2, EAST), "UTC+05:30", b"'06:30:01.000002'", id="time"),
    pytest.param(time(1, tzinfo=EAST), "UTC+05:30", b"'19:30:00'", id="time-of-the-day-before"),
    pytest.param(time(22, tzinfo=WEST), "UTC-03:00", b"'01:00:00'", id="time-of-the-day-after"),
    pytest.param(Clock(1, tzinfo=WEST), "UTC-03:00", b"'04:00:00'", id="subclass-of-time"),
]


@pytest.mark.parametrize(("value", "offset", "converted"), OTHERS)
def test_other_offset_is_refused_converted_or_dropped(
    escape: ModuleType, value: Any, offset: str, converted: bytes
) -> None:
    kind = "datetime" if isinstance(value, datetime) else "time"
    clock = f"{value.hour:02}:{value.minute:02}:{value.second:02}"

    with pytest.raises(ArgumentError) as caught:
        escape.escape(value, "utf8", REFUSE)

    assert str(caught.value) == (
        f"cannot send an aware {kind} of {offset}: convert it to UTC,"
        " or choose aware_datetimes='utc' or 'drop'"
    )
    assert escape.escape(value, "utf8", UTC) == converted
    assert clock.encode() in escape.escape(value, "utf8", DROP)


@pytest.mark.parametrize(
    ("value", "dropped"),
    [
        pytest.param(at(EAST, 1, 2, 3), b"'2024-01-15 12:01:02.000003'", id="datetime"),
        pytest.param(datetime(1, 1, 1, tzinfo=EAST), b"'0001-01-01 00:00:00'", id="first"),
        pytest.param(
            Stamp(2024, 1, 1, 0, 0, 0, 7, tzinfo=EAST), b"'2024-01-01 00:00:00.000007'", id="stamp"
        ),
        pytest.param(time(1, 2, 3, 4, WEST), b"'01:02:03.000004'", id="time"),
        pytest.param(Clock(5, tzinfo=WEST), b"'05:00:00'", id="subclass-of-time"),
        pytest.param(at(Zone(OSError("none"))), b"'2024-01-15 12:00:00'", id="zone-that-raises"),
        pytest.param(at(Zone(7)), b"'2024-01-15 12:00:00'", id="zone-of-junk"),
    ],
)
def test_dropping_a_zone_keeps_the_clock(escape: ModuleType, value: object, dropped: bytes) -> None:
    assert escape.escape(value, "utf8", DROP) == dropped


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(
            datetime(1, 1, 1, 5, 29, 59, 999999, EAST),
            "cannot send 0001-01-01 05:29:59.999999 of UTC+05:30: there is no such date in UTC",
            id="before-the-first",
        ),
        pytest.param(
            datetime(9999, 12, 31, 21, tzinfo=WEST),
            "cannot send 9999-12-31 21:00:00 of UTC-03:00: there is no such date in UTC",
            id="after-the-last",
        ),
    ],
)
def test_date_that_utc_does_not_have_is_refused(
    escape: ModuleType, value: datetime, message: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        escape.escape(value, "utf8", UTC)

    assert str(caught.value) == message


@pytest.mark.parametrize("mode", [REFUSE, UTC], ids=["refuse", "utc"])
@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        pytest.param(OSError("no zone file"), "no zone file", id="raises"),
        pytest.param(NotImplementedError(), "", id="raises-nothing"),
        pytest.param(7, "timedelta, not 'int'", id="int"),
        pytest.param(timedelta(hours=24), "strictly between", id="a-day"),
        pytest.param(-timedelta(hours=24), "strictly between", id="minus-a-day"),
    ],
)
def test_zone_without_a_proper_offset_is_refused(
    escape: ModuleType, offset: Any, reason: str, mode: int
) -> None:
    for kind, value in (("datetime", at(Zone(offset))), ("time", time(1, tzinfo=Zone(offset)))):
        with pytest.raises(ArgumentError) as caught:
            escape.escape(value, "utf8", mode)

        assert str(caught.value).startswith(f"cannot tell the offset of an aware {kind}: ")
        assert reason in str(caught.value)
        assert isinstance(
            caught.value.__cause__, (OSError, NotImplementedError, TypeError, ValueError)
        )


def test_interrupt_in_a_zone_comes_through(escape: ModuleType) -> None:
    with pytest.raises(KeyboardInterrupt):
        escape.escape(at(Zone(KeyboardInterrupt())), "utf8", REFUSE)


# -- on a server


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
pytestmark = pytest.mark.filterwarnings("error::pymysql.err.Warning")


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
            r"parameter 'at_1': M",
            id="in",
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
        await aiomysqlx.connect(aware_datetimes=value)
