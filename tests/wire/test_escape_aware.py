"""Datetimes and times with a zone: stored as UTC, refused, converted or stripped; never quietly."""

from __future__ import annotations

from datetime import datetime, time, timedelta, timezone, tzinfo
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from aiomysqlx.exc import ArgumentError

pytestmark = pytest.mark.twins

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
