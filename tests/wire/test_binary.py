"""Parameters of prepared statements: `_binary`, in both implementations."""

from __future__ import annotations

import enum
import struct
import time
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from datetime import time as clock
from decimal import Decimal
from types import ModuleType
from typing import Any
from uuid import UUID

import hostile
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twins import twins

from aiomysqlx import exc
from aiomysqlx.wire import _escape_py
from aiomysqlx.wire.codes import ZONES_DROPPED, ZONES_TO_UTC, InList, Verbatim
from aiomysqlx.wire.encoders import Encoders, Mode
from aiomysqlx.wire.packets import MAX_PIECE

pytestmark = pytest.mark.twins

TWINS = twins("binary")
HEADER = b"\x17\x07\0\0\0\0\1\0\0\0"
DOUBLE, NULL, LONGLONG, NEWDECIMAL, BLOB, VAR_STRING = 5, 6, 8, 0xF6, 0xFC, 0xFD


def outcome(call: Callable[[], Any]) -> Any:
    """What *call* gives or raises, to be compared with a twin's."""
    try:
        return call()
    except Exception as error:
        return type(error), str(error), type(error.__cause__)


def agree(call: Callable[[ModuleType], Any]) -> Any:
    """Assert that all implementations give or raise the same; give that."""
    first, *others = [outcome(lambda binary=binary: call(binary)) for binary in TWINS]
    for other in others:
        assert other == first
    return first


def unframed(packets: bytes) -> bytes:
    """The payload of wire packets numbered from 0."""
    payload = b""
    number = 0
    while packets:
        size = int.from_bytes(packets[:3], "little")
        assert packets[3] == number & 0xFF
        payload += packets[4 : 4 + size]
        packets = packets[4 + size :]
        number += 1
        assert bool(packets) == (size == MAX_PIECE)
    return payload


def parameter(binary: ModuleType, value: Any, encoding: str = "utf8", mode: int = 0) -> Any:
    """The type, its second byte and the bytes of one value."""
    payload = unframed(binary.execute(7, [value], encoding, mode))
    assert payload[:10] == HEADER
    assert payload[11] == 1
    assert payload[10] == (payload[12] == NULL)
    return payload[12], payload[13], payload[14:]


def text(value: str) -> tuple[int, int, bytes]:
    return VAR_STRING, 0, bytes([len(value.encode())]) + value.encode()


MEMBER = enum.Enum("MEMBER", {"A": 5, "B": "it's", "C": None})
VALUES = {
    "None": (None, (NULL, 0, b"")),
    "True": (True, (LONGLONG, 0, b"\1\0\0\0\0\0\0\0")),
    "False": (False, (LONGLONG, 0, bytes(8))),
    "-1": (-1, (LONGLONG, 0, b"\xff" * 8)),
    "least": (-(1 << 63), (LONGLONG, 0, bytes(7) + b"\x80")),
    "most": ((1 << 63) - 1, (LONGLONG, 0, b"\xff" * 7 + b"\x7f")),
    "unsigned": (1 << 63, (LONGLONG, 0x80, bytes(7) + b"\x80")),
    "most unsigned": ((1 << 64) - 1, (LONGLONG, 0x80, b"\xff" * 8)),
    "over": (1 << 64, (NEWDECIMAL, 0, b"\x1418446744073709551616")),
    "under": (-(1 << 63) - 1, (NEWDECIMAL, 0, b"\x14-9223372036854775809")),
    "float": (-1.5, (DOUBLE, 0, struct.pack("<d", -1.5))),
    "-0.0": (-0.0, (DOUBLE, 0, struct.pack("<d", -0.0))),
    "Decimal": (Decimal("-1.50"), (NEWDECIMAL, 0, b"\5-1.50")),
    "Decimal of a point": (Decimal("5.0"), (NEWDECIMAL, 0, b"\x035.0")),
    "Decimal of 46 characters": (Decimal(10**45), (NEWDECIMAL, 0, b".1" + b"0" * 45)),
    "Decimal of an exponent": (Decimal("1E+5"), (LONGLONG, 0, b"\xa0\x86\1" + bytes(5))),
    "Decimal without a point": (Decimal("-5"), (LONGLONG, 0, b"\xfb" + b"\xff" * 7)),
    "Decimal of 18": (Decimal(10**17), (LONGLONG, 0, (10**17).to_bytes(8, "little"))),
    "Decimal of 19": (Decimal(10**18), (LONGLONG, 0, (10**18).to_bytes(8, "little"))),
    "least Decimal": (Decimal(-(1 << 63)), (LONGLONG, 0, bytes(7) + b"\x80")),
    "Decimal without a sign": (Decimal((1 << 64) - 1), (LONGLONG, 0x80, b"\xff" * 8)),
    "Decimal over": (Decimal(1 << 64), (NEWDECIMAL, 0, b"\x1418446744073709551616")),
    "Decimal of 21": (Decimal(10**20), (NEWDECIMAL, 0, b"\x151" + b"0" * 20)),
    "Decimal of 250 digits": (Decimal(10**249), (NEWDECIMAL, 0, b"\xfa1" + b"0" * 249)),
    "Decimal of 251 digits": (Decimal(10**250), (NEWDECIMAL, 0, b"\xfc\xfb\x001" + b"0" * 250)),
    "Decimal of 1000": (Decimal(10**999), (NEWDECIMAL, 0, b"\xfc\xe8\x031" + b"0" * 999)),
    "str": ("it's \\ \0 ünï 😀", text("it's \\ \0 ünï 😀")),
    "empty str": ("", (VAR_STRING, 0, b"\0")),
    "str of 250": ("x" * 250, (VAR_STRING, 0, b"\xfa" + b"x" * 250)),
    "str of 251": ("x" * 251, (VAR_STRING, 0, b"\xfc\xfb\0" + b"x" * 251)),
    "str of 65535": ("é" + "x" * 65533, (VAR_STRING, 0, b"\xfc\xff\xff\xc3\xa9" + b"x" * 65533)),
    "str of 65536": ("x" * 65536, (VAR_STRING, 0, b"\xfd\0\0\1" + b"x" * 65536)),
    "bytes": (b"'\\\0\xff", (BLOB, 0, b"\4'\\\0\xff")),
    "bytearray": (bytearray(b"\xff"), (BLOB, 0, b"\1\xff")),
    "memoryview": (memoryview(b"abc")[::2], (BLOB, 0, b"\2ac")),
    "date": (date(24, 2, 29), text("0024-02-29")),
    "datetime": (datetime(2024, 2, 29, 1, 2, 3), text("2024-02-29 01:02:03")),
    "datetime.f": (datetime(1, 1, 1, 1, 2, 3, 4), text("0001-01-01 01:02:03.000004")),
    "time": (clock(1, 2, 3), text("01:02:03")),
    "timedelta": (timedelta(days=-40, microseconds=1), text("-959:59:59.999999")),
    "most timedelta": (timedelta.max, text("23999999999:59:59.999999")),
    "UUID": (UUID(int=7), text("00000000-0000-0000-0000-000000000007")),
    "struct_time": (time.gmtime(0), text("1970-01-01 00:00:00")),
    "member": (MEMBER.A, (LONGLONG, 0, b"\5\0\0\0\0\0\0\0")),
    "member of str": (MEMBER.B, text("it's")),
    "member of None": (MEMBER.C, (NULL, 0, b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", VALUES)
def test_value_becomes_a_parameter(binary: ModuleType, name: str) -> None:
    value, expected = VALUES[name]

    assert parameter(binary, value) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Verbatim(b"NOW()"), "aiomysqlx.wire.codes.Verbatim"),
        (InList([1]), "aiomysqlx.wire.codes.InList"),
        ([1], "list"),
        ((1,), "tuple"),
        ({1}, "set"),
        (frozenset([1]), "frozenset"),
        (type("Mine", (list,), {})(), "test_binary.Mine"),
        ({1: 2}, "dict"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_only_a_text_has_is_refused(binary: ModuleType, value: Any, kind: str) -> None:
    with pytest.raises(exc.ArgumentError, match=f"^cannot send a value of type '.*{kind[-5:]}'"):
        parameter(binary, value)


def test_packet_has_the_parameters_in_order(binary: ModuleType) -> None:
    packet = binary.execute(7, [None, 1, None, "a"], "utf8", 0)

    payload = HEADER + b"\x05\1\6\0\x08\0\6\0\xfd\0" + b"\1\0\0\0\0\0\0\0" + b"\1a"
    assert packet == len(payload).to_bytes(3, "little") + b"\0" + payload


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 300, 65535])
def test_null_has_a_bit_in_every_place(binary: ModuleType, count: int) -> None:
    payload = unframed(binary.execute(7, [None] * count, "utf8", 0))

    bits = ((1 << count) - 1).to_bytes(count + 7 >> 3, "little")
    assert payload == HEADER + (bits + b"\1" + b"\6\0" * count if count else b"")


@pytest.mark.parametrize("statement", [0, 1, 0x12345678, 0xFFFFFFFF, -1])
def test_statement_is_named_by_four_bytes(binary: ModuleType, statement: int) -> None:
    packet = binary.execute(statement, (), "utf8", 0)

    assert packet == b"\x0a\0\0\0\x17" + (statement & 0xFFFFFFFF).to_bytes(4, "little") + HEADER[5:]


@pytest.mark.parametrize("more", [-1, 0, 1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1])
def test_long_packet_goes_in_pieces(binary: ModuleType, more: int) -> None:
    fixed = len(HEADER) + 4 + 4
    data = b"x" * (MAX_PIECE - fixed + more)
    long_length = len(data) >= 1 << 24
    payload = unframed(binary.execute(7, [data], "utf8", 0))

    length = (
        b"\xfe" + len(data).to_bytes(8, "little")
        if long_length
        else b"\xfd" + len(data).to_bytes(3, "little")
    )
    assert payload == HEADER + b"\0\1\xfc\0" + length + data  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf8", "cp1252", "gbk", "shift_jis", "big5", "ascii"])
def test_parameter_is_what_the_literal_would_be(encoding: str) -> None:
    for name, given_value, expected in hostile.values(encoding):
        found = agree(lambda binary, value=given_value: parameter(binary, value, encoding))
        literal = outcome(lambda value=given_value: _escape_py.escape(value, encoding, 0))

        if expected is hostile.REFUSED:
            if not isinstance(given_value, (list, tuple, set)):
                assert found == literal, name
        elif expected is None:
            assert found == (NULL, 0, b"")
        elif found[0] == LONGLONG:
            assert str(int.from_bytes(found[2], "little", signed=True)).encode() == expected
        elif found[0] == DOUBLE:
            assert repr(struct.unpack("<d", found[2])[0]).encode() == expected
        else:
            assert found[2].endswith(expected), name
            assert len(found[2]) in (len(expected) + 1, len(expected) + 3)


AWARE = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
FIRST = datetime.min.replace(tzinfo=AWARE.tzinfo)


@pytest.mark.parametrize("mode", [0, ZONES_TO_UTC, ZONES_DROPPED])
@pytest.mark.parametrize(
    "value",
    [AWARE, AWARE.timetz(), AWARE.replace(tzinfo=timezone.utc), FIRST],
    ids=["datetime", "time", "UTC", "first"],
)  # fmt: skip
def test_zone_is_treated_as_in_a_literal(mode: int, value: Any) -> None:
    found = agree(lambda binary: parameter(binary, value, mode=mode))
    literal = outcome(lambda: _escape_py.escape(value, "utf8", mode))

    if isinstance(literal, bytes):
        literal = VAR_STRING, 0, bytes([len(literal) - 2]) + literal[1:-1]
    assert found == literal


class Money:
    def __init__(self, value: Any) -> None:
        self.value = value


class Nested(enum.Enum):
    A = enum.Enum("Inner", {"B": 5}).B  # type: ignore[attr-defined]


def test_encoder_comes_first() -> None:
    for mine in (
        5,
        "é",
        None,
        b"x",
        Decimal("1.5"),
        [1],
        object(),
        float("nan"),
        MEMBER.A,
        1 << 70,
    ):
        mode = Mode(0, Encoders({Money: lambda money: money.value, str: len}))
        for value in (Money(mine), "four", MEMBER.B, Nested.A):
            agree(lambda binary, value=value, mode=mode: parameter(binary, value, mode=mode))

    assert agree(lambda binary: parameter(binary, Money(None), mode=mode)) == (NULL, 0, b"")
    assert agree(lambda binary: parameter(binary, "four", mode=mode))[2][0] == 4


def test_failing_encoder_is_named(binary: ModuleType) -> None:
    mode = Mode(0, Encoders({Money: lambda money: 1 / 0}))

    with pytest.raises(exc.ArgumentError, match=r"^the encoder of .*Money failed: ZeroDiv"):
        parameter(binary, Money(1), mode=mode)


@pytest.mark.parametrize("depth", [32, 33])
def test_members_are_nested_as_deep_as_in_a_literal(depth: int) -> None:
    value: Any = 5
    for _ in range(depth):
        value = enum.Enum("Deep", {"A": value}).A  # type: ignore[attr-defined]

    found = agree(lambda binary: parameter(binary, value))
    literal = outcome(lambda: _escape_py.escape(value, "utf8", 0))

    assert found == (literal if depth > 32 else (LONGLONG, 0, b"\5\0\0\0\0\0\0\0"))


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


def test_type_that_cannot_be_hashed_is_refused_alike() -> None:
    value = Unhashable("Value", (int,), {})(5)

    assert agree(lambda binary: parameter(binary, value))[0] is TypeError


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(1 << 65), 1 << 65),
    st.floats(),
    st.decimals(),
    st.text(st.characters()),
    st.text(),
    st.binary(),
    st.binary().map(bytearray),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.uuids(),
    st.lists(st.integers(), max_size=2),
    st.sampled_from(MEMBER),
    st.sampled_from([given for _, given, _ in hostile.values("utf8")]),
)


@given(
    st.integers(0, (1 << 32) - 1),
    st.lists(scalars, max_size=20),
    st.sampled_from(["utf8", "cp1252", "sjis", "gb18030"]),
)
@example(1, ["\ud800"], "utf8")
@example(1, ["¥"], "shift_jis")
def test_twins_write_the_same(statement: int, values: list[Any], encoding: str) -> None:
    agree(lambda binary: binary.execute(statement, values, encoding, 0))


BULK = b"\xfa\x07\0\0\0\x80\0"


def packets(
    binary: ModuleType, rows: Any, limit: int = 1 << 20, encoding: str = "utf8", mode: int = 0
) -> list[tuple[bytes, int]]:
    """The payloads that all *rows* take, and the number of rows in each."""
    found = []
    start = 0
    while start < len(rows):
        packet, stop = binary.bulk(7, rows, encoding, mode, start, limit)
        found.append((unframed(packet), stop - start))
        start = stop
    return found


def test_bulk_has_the_types_once_and_an_indicator_for_each_value(binary: ModuleType) -> None:
    rows = [(1, "a"), (None, "b"), (2, None)]

    (packet,) = packets(binary, rows)

    one, two = bytes([1, *bytes(7)]), bytes([2, *bytes(7)])
    values = b"\0" + one + b"\0\1a" + b"\1\0\1b" + b"\0" + two + b"\1"
    assert packet == (BULK + b"\x08\0\xfd\0" + values, 3)


def test_bulk_of_nothing_but_null_has_its_type(binary: ModuleType) -> None:
    assert packets(binary, [(None, None)] * 2) == [(BULK + b"\6\0\6\0" + b"\1" * 4, 2)]


def test_type_of_a_parameter_is_that_of_its_first_value(binary: ModuleType) -> None:
    (packet,) = packets(binary, [(None,), ("a",), (None,), ("b",)])

    assert packet == (BULK + b"\xfd\0" + b"\1\0\1a\1\0\1b", 4)


def test_value_of_another_type_begins_a_packet(binary: ModuleType) -> None:
    rows = [(None, 1), (None, 2), ("a", 2.5), (3, 1 << 63), (3, 1), (None, True)]

    found = packets(binary, rows)

    assert [(payload[7:11], count) for payload, count in found] == [
        (b"\6\0\x08\0", 2),
        (b"\xfd\0\x05\0", 1),
        (b"\x08\0\x08\x80", 1),
        (b"\x08\0\x08\0", 2),
    ]


LIMITS = {-(10**30): [1] * 4, 0: [1] * 4, 28: [1] * 4, 29: [2, 2], 38: [2, 2], 39: [3, 1]}


@pytest.mark.parametrize(("limit", "counts"), [*LIMITS.items(), (49, [4]), (10**30, [4])])
def test_packet_has_as_many_rows_as_the_limit_takes(
    binary: ModuleType, limit: int, counts: list[int]
) -> None:
    # 7 bytes and a type, then ten for each row.
    found = packets(binary, [("x" * 8,)] * 4, limit)

    assert [count for _, count in found] == counts
    assert [len(payload) for payload, _ in found] == [9 + 10 * count for count in counts]


def test_long_row_goes_in_pieces(binary: ModuleType) -> None:
    data = b"x" * MAX_PIECE

    assert (
        packets(binary, [(data,), (data,)], 1000)
        == [
            (BULK + b"\xfc\0" + b"\0\xfd\xff\xff\xff" + data, 1),
        ]
        * 2
    )


@pytest.mark.parametrize("start", [-1, 2, 3])
def test_bulk_begins_within_the_rows(binary: ModuleType, start: int) -> None:
    with pytest.raises(exc.ArgumentError, match=f"^expected a start within 2 rows, got {start}$"):
        binary.bulk(7, [(1,), (2,)], "utf8", 0, start, 100)


@pytest.mark.parametrize("row", [(), (1,), (1, 2, 3)])
def test_rows_have_as_many_values_as_the_first(binary: ModuleType, row: tuple[int, ...]) -> None:
    with pytest.raises(exc.ArgumentError, match=f"^expected 2 parameters, got {len(row)}$"):
        binary.bulk(7, [(1, 2), row], "utf8", 0, 0, 100)


def test_value_that_is_refused_raises_from_a_bulk(binary: ModuleType) -> None:
    with pytest.raises(exc.ArgumentError, match=r"^expected a finite float, got nan$"):
        binary.bulk(7, [(1.5,), (float("nan"),)], "utf8", 0, 0, 100)


@given(
    st.lists(st.lists(scalars, min_size=2, max_size=2), min_size=1, max_size=8)
    | st.lists(st.tuples(st.none() | st.integers(), st.none() | st.text()), min_size=1),
    st.integers(-1, 300),
    st.sampled_from(["utf8", "cp1252", "sjis"]),
)
def test_twins_write_the_same_bulk(rows: list[Any], limit: int, encoding: str) -> None:
    agree(lambda binary: packets(binary, rows, limit, encoding))


def test_error_amid_parameters_leaves_nothing_behind() -> None:
    for binary in TWINS:
        with pytest.raises(exc.ArgumentError):
            binary.execute(7, [b"x" * 5000, object()], "utf8", 0)
        with pytest.raises(exc.ArgumentError):
            binary.bulk(7, [(b"x" * 5000, 1), (1, object())], "utf8", 0, 0, 1 << 20)
        with pytest.raises(TypeError):
            binary.bulk(7, [(b"x" * 5000, 1), 5], "utf8", 0, 0, 1 << 20)
