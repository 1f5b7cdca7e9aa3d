"""Bytes to rows: `_packet`, in both implementations."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Context, Decimal, Inexact, Rounded, Subnormal, localcontext
from itertools import pairwise, product
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twins import twins

from aiomysqlx.wire.codes import (
    BOOL,
    BYTES,
    DATE,
    DATETIME,
    DECIMAL,
    DECIMAL_AS_FLOAT,
    FLOAT,
    INT,
    TEXT,
    TIME,
)
from aiomysqlx.wire.packets import (
    CAPACITY,
    IDLE_CAPACITY,
    MAX_PIECE,
    MalformedPacket,
    PacketTooLarge,
    UndecodableValue,
)

pytestmark = pytest.mark.twins

TWINS = twins("packet")
PURE = TWINS[0]
CODES = [TEXT, BYTES, INT, FLOAT, DECIMAL, DATETIME, DATE, TIME, BOOL, DECIMAL_AS_FLOAT]
EOF = b"\xfe\x00\x00\x02\x00"
OK = b"\xfe\x00\x00\x02\x00\x00\x00"
ERROR = b"\xff\x28\x04#HY000gone"
NULL = b"\xfb"


def length(size: int) -> bytes:
    """A length-encoded integer."""
    if size < 0xFB:
        return bytes([size])
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little")
    if size < 1 << 24:
        return b"\xfd" + size.to_bytes(3, "little")
    return b"\xfe" + size.to_bytes(8, "little")


def text_row(*values: bytes | None) -> bytes:
    """The payload of a row packet."""
    return b"".join(NULL if value is None else length(len(value)) + value for value in values)


def wire(*payloads: bytes, sequence: int = 0) -> bytes:
    """The payloads as the server sends them."""
    packets = []
    for payload in payloads:
        for start in range(0, len(payload) + 1, MAX_PIECE):
            piece = payload[start : start + MAX_PIECE]
            packets.append(len(piece).to_bytes(3, "little") + bytes([sequence & 0xFF]) + piece)
            sequence += 1
    return b"".join(packets)


def make_decoder(packet: ModuleType, *conversions: int, encoding: str = "utf-8") -> Any:
    names = [f"c{column}" for column in range(len(conversions))]
    return packet.Decoder(names, conversions, [None] * len(conversions), encoding)


def make_reader(packet: ModuleType, data: bytes = b"") -> Any:
    reader = packet.Reader()
    reader.feed(data)
    return reader


def capacity(reader: Any) -> int:
    """The size of the buffer that the reader receives into."""
    return len(reader.get_buffer(-1).obj)


def decode(packet: ModuleType, conversion: int, value: bytes, encoding: str = "utf-8") -> Any:
    return make_decoder(packet, conversion, encoding=encoding).row(text_row(value))[0]


def outcome(call: Callable[[], Any]) -> Any:
    """What *call* gives or raises, to be compared with a twin's: repr shows values and types."""
    try:
        return repr(call())
    except Exception as error:
        return type(error), str(error), type(error.__cause__)


def agree(call: Callable[[ModuleType], Any]) -> Any:
    """Assert that all implementations give or raise the same; give that."""
    first, *others = [outcome(lambda packet=packet: call(packet)) for packet in TWINS]
    for other in others:
        assert other == first
    return first


def receive(reader: Any, data: bytes) -> None:
    """Bytes as a transport delivers them."""
    while data:
        room = reader.get_buffer(-1)
        size = min(len(room), len(data))
        room[:size] = data[:size]
        reader.buffer_updated(size)
        data = data[size:]


def read_rows(
    packet: ModuleType,
    chunks: Iterable[bytes],
    conversions: Sequence[int],
    *,
    encoding: str = "utf-8",
    deprecate_eof: bool = False,
    sequence: int = 0,
    limit: int = 1 << 30,
) -> list[Any]:
    """What comes of rows arriving in *chunks*: rows, errors, the packet at the end, the rest."""
    reader = packet.Reader(limit)
    reader.sequence = sequence
    decoder = make_decoder(packet, *conversions, encoding=encoding)
    events: list[Any] = []
    end = None
    chunks = list(chunks)
    for number, chunk in enumerate(chunks):
        (reader.feed if number % 2 else lambda data: receive(reader, data))(chunk)
        while end is None:
            rows: list[Any] = []
            try:
                end = reader.rows(decoder, rows, deprecate_eof)
            except UndecodableValue as error:
                events += [*rows, str(error)]
                continue
            except MalformedPacket as error:
                return [*events, *rows, f"malformed: {error}"]
            events += rows
            break
    return [*events, end, reader.sequence, reader.buffered]


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """*data* in chunks that begin at *cuts*."""
    edges = [0, *sorted({cut % len(data) for cut in cuts if data} - {0}), len(data)]
    return [data[start:stop] for start, stop in pairwise(edges)]


# Values


@pytest.mark.parametrize(
    ("conversion", "value", "expected"),
    [
        pytest.param(TEXT, b"", "", id="empty text"),
        pytest.param(TEXT, b"a", "a", id="one character"),
        pytest.param(TEXT, b"12345678", "12345678", id="eight characters"),
        pytest.param(TEXT, b"123456789\x7f", "123456789\x7f", id="ten characters"),
        pytest.param(TEXT, "1234567é".encode(), "1234567é", id="two bytes at the end"),
        pytest.param(TEXT, "日本語 🐬".encode(), "日本語 🐬", id="three and four bytes"),
        pytest.param(TEXT, b"a\x00b", "a\x00b", id="zero byte"),
        pytest.param(TEXT, b"x" * 251, "x" * 251, id="251 bytes"),
        pytest.param(TEXT, b"x" * 70_000, "x" * 70_000, id="70,000 bytes"),
        pytest.param(BYTES, b"\x00\xff", b"\x00\xff", id="bytes"),
        pytest.param(BYTES, b"", b"", id="no bytes"),
        pytest.param(INT, b"0", 0, id="zero"),
        pytest.param(INT, b"-0", 0, id="minus zero"),
        pytest.param(INT, b"-128", -128, id="tinyint"),
        pytest.param(INT, b"-9223372036854775808", -(1 << 63), id="least bigint"),
        pytest.param(INT, b"-9999999999999999999", -9999999999999999999, id="19 digits"),
        pytest.param(INT, b"18446744073709551615", (1 << 64) - 1, id="greatest unsigned bigint"),
        pytest.param(INT, b"18446744073709551616", 1 << 64, id="beyond 64 bits"),
        pytest.param(INT, b"00042", 42, id="zerofill"),
        pytest.param(INT, b"0" * 199 + b"7", 7, id="zerofill of 200 digits"),
        pytest.param(INT, b"9" * 100, 10**100 - 1, id="100 digits"),
        pytest.param(FLOAT, b"0", 0.0, id="integral float"),
        pytest.param(FLOAT, b"1.5", 1.5, id="float"),
        pytest.param(FLOAT, b"23.290000000000003", 23.290000000000003, id="17 digits"),
        pytest.param(FLOAT, b"9007199254740993", 9007199254740992.0, id="tie goes to even"),
        pytest.param(FLOAT, b"9007199254740993.1", 9007199254740994.0, id="above a tie"),
        pytest.param(FLOAT, b"6.722046807850880601", 6.722046807850881, id="hardly above a tie"),
        pytest.param(FLOAT, b".1234567890123456789", 0.12345678901234568, id="19 decimals"),
        pytest.param(FLOAT, b"18446744073709551617", 2.0**64, id="20 digits"),
        pytest.param(FLOAT, b"1" * 63, float("1" * 63), id="63 digits"),
        pytest.param(FLOAT, b"1" * 64, float("1" * 64), id="64 digits"),
        pytest.param(FLOAT, b"-2.5e-308", -2.5e-308, id="negative exponent"),
        pytest.param(FLOAT, b"1.7976931348623157e308", 1.7976931348623157e308, id="greatest"),
        pytest.param(FLOAT, b"1e15", 1e15, id="exponent"),
        pytest.param(FLOAT, b"0" * 100 + b"1.5", 1.5, id="zerofill float"),
        pytest.param(FLOAT, b"0." + b"3" * 100, 1 / 3, id="100 decimals"),
        pytest.param(DECIMAL, b"1.50", Decimal("1.50"), id="decimal keeps its zeros"),
        pytest.param(DECIMAL, b"-" + b"9" * 65, Decimal(-(10**65) + 1), id="65 digits"),
        pytest.param(DECIMAL, b"00000001.50", Decimal("1.50"), id="zerofill decimal"),
        pytest.param(DECIMAL, b".5", Decimal("0.5"), id="bare fraction"),
        pytest.param(DECIMAL_AS_FLOAT, b"1.10", 1.1, id="decimal as float"),
        pytest.param(BOOL, b"0", False, id="false"),
        pytest.param(BOOL, b"1", True, id="true"),
        pytest.param(BOOL, b"-7", True, id="any other number"),
        pytest.param(DATE, b"2024-02-29", date(2024, 2, 29), id="date"),
        pytest.param(DATE, b"0001-01-01", date(1, 1, 1), id="first date"),
        pytest.param(DATE, b"9999-12-31", date(9999, 12, 31), id="last date"),
        pytest.param(DATE, b"0000-00-00", "0000-00-00", id="zero date"),
        pytest.param(DATE, b"0000-05-06", "0000-05-06", id="no year"),
        pytest.param(DATE, b"2024-00-10", "2024-00-10", id="no month"),
        pytest.param(DATE, b"2024-10-00", "2024-10-00", id="no day"),
        pytest.param(DATE, b"2024-13-01", "2024-13-01", id="month 13"),
        pytest.param(DATE, b"2024-04-31", "2024-04-31", id="31 April"),
        pytest.param(DATE, b"2023-02-29", "2023-02-29", id="29 February, common year"),
        pytest.param(DATE, b"1900-02-29", "1900-02-29", id="29 February 1900"),
        pytest.param(DATE, b"2000-02-29", date(2000, 2, 29), id="29 February 2000"),
        pytest.param(DATETIME, b"2024-02-29 23:59:58", datetime(2024, 2, 29, 23, 59, 58), id="s"),
        pytest.param(
            DATETIME, b"2024-02-29 23:59:58.9", datetime(2024, 2, 29, 23, 59, 58, 900_000), id="ds"
        ),
        pytest.param(
            DATETIME, b"2024-02-29 23:59:58.012", datetime(2024, 2, 29, 23, 59, 58, 12_000), id="ms"
        ),
        pytest.param(
            DATETIME, b"2024-02-29 23:59:58.000001", datetime(2024, 2, 29, 23, 59, 58, 1), id="us"
        ),
        pytest.param(DATETIME, b"0000-00-00 00:00:00", "0000-00-00 00:00:00", id="zero datetime"),
        pytest.param(
            DATETIME, b"0000-00-00 00:00:00.000", "0000-00-00 00:00:00.000", id="zero milliseconds"
        ),
        pytest.param(DATETIME, b"2020-02-30 10:00:00", "2020-02-30 10:00:00", id="30 February"),
        pytest.param(DATETIME, b"2020-02-01 24:00:00", "2020-02-01 24:00:00", id="hour 24"),
        pytest.param(DATETIME, b"2020-02-01 10:60:00", "2020-02-01 10:60:00", id="minute 60"),
        pytest.param(DATETIME, b"2020-02-01 10:00:60.5", "2020-02-01 10:00:60.5", id="second 60"),
        pytest.param(DATETIME, b"2024-02-29", date(2024, 2, 29), id="datetime without time"),
        pytest.param(DATETIME, b"2024-02-30", "2024-02-30", id="no such day without time"),
        pytest.param(TIME, b"00:00:00", timedelta(0), id="no time"),
        pytest.param(TIME, b"23:59:58", timedelta(hours=23, minutes=59, seconds=58), id="time"),
        pytest.param(
            TIME, b"838:59:59", timedelta(hours=838, minutes=59, seconds=59), id="longest"
        ),
        pytest.param(
            TIME, b"-838:59:59.999999", -timedelta(hours=839) + timedelta(0, 0, 1), id="negative"
        ),
        pytest.param(TIME, b"-00:00:00.000001", timedelta(microseconds=-1), id="microsecond ago"),
        pytest.param(TIME, b"-00:00:00", timedelta(0), id="negative zero"),
        pytest.param(TIME, b"12:00:00.5", timedelta(hours=12, milliseconds=500), id="fraction"),
        pytest.param(TIME, b"12:60:00", "12:60:00", id="time of minute 60"),
        pytest.param(TIME, b"-12:00:60.25", "-12:00:60.25", id="time of second 60"),
    ],
)
def test_value_is_converted(
    packet: ModuleType, conversion: int, value: bytes, expected: object
) -> None:
    decoded = decode(packet, conversion, value)

    assert (type(decoded), repr(decoded)) == (type(expected), repr(expected))


@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("year", [1, 4, 100, 400, 1900, 2000, 2023, 2024, 9999])
def test_each_month_ends_as_the_calendar_has_it(packet: ModuleType, year: int, month: int) -> None:
    for day in range(28, 33):
        text = f"{year:04}-{month:02}-{day:02}"
        try:
            expected: date | str = date(year, month, day)
        except ValueError:
            expected = text

        assert decode(packet, DATE, text.encode()) == expected


@pytest.mark.parametrize("scale", range(20))
def test_float_of_each_number_of_decimals_is_the_nearest(packet: ModuleType, scale: int) -> None:
    for mantissa in (1, 7, 123_456_789, (1 << 53) - 1, (1 << 53) + 1, 10**18 + 1, 10**19 - 1):
        digits = f"{mantissa:0{scale + 1}}"
        text = f"{digits[: len(digits) - scale]}.{digits[len(digits) - scale :]}"

        assert decode(packet, FLOAT, text.encode()) == float(text)


@pytest.mark.parametrize("byte", [b"\x80", b"\x81", b"\xe9", b"\xff"])
def test_byte_beyond_ascii_is_seen_wherever_it_stands(packet: ModuleType, byte: bytes) -> None:
    decoder = make_decoder(packet, TEXT, TEXT, encoding="latin1")
    for size in range(1, 27):
        for position in range(size):
            value = b"x" * position + byte + b"x" * (size - position - 1)

            _, text = decoder.row(text_row(b"before it is nothing but ASCII", value))

            assert (text, text.isascii()) == (value.decode("latin1"), False)


def test_text_of_ascii_knows_that_it_is(packet: ModuleType) -> None:
    for size in range(20):
        text = decode(packet, TEXT, b"\x7f" * size)

        assert text.isascii() and text == "\x7f" * size


@pytest.mark.parametrize("conversion", [INT, FLOAT, DECIMAL, TIME, DATE, DATETIME, BOOL])
def test_empty_value_does_not_take_its_sign_from_what_follows(
    packet: ModuleType, conversion: int
) -> None:
    with pytest.raises(UndecodableValue, match="got b''$"):
        make_decoder(packet, conversion, TEXT).row(text_row(b"", b"x" * ord("-")))


def test_float_keeps_the_sign_of_zero(packet: ModuleType) -> None:
    assert repr(decode(packet, FLOAT, b"-0")) == "-0.0"
    assert repr(decode(packet, FLOAT, b"-0e0")) == "-0.0"


@pytest.mark.parametrize("conversion", CODES)
def test_null_is_none(packet: ModuleType, conversion: int) -> None:
    assert make_decoder(packet, conversion).row(NULL) == (None,)


@pytest.mark.parametrize(
    ("encoding", "value", "expected"),
    [
        ("latin1", b"caf\xe9", "café"),
        ("cp1252", b"\x80 10", "€ 10"),
        ("gbk", b"\xd6\xd0\xce\xc4", "中文"),
        ("cp932", b"\x83\x5c", "ソ"),
        ("big5", b"\xa5\x5c ascii", "功 ascii"),
        ("utf-16-le", b"a\x00", "a"),
        ("utf-7", b"1 +- 1 ascii text", "1 + 1 ascii text"),
        ("ascii", b"plain text", "plain text"),
        ("utf8", "é".encode(), "é"),
    ],
    ids=["latin1", "cp1252", "gbk", "cp932", "big5", "utf-16", "utf-7", "ascii", "utf8"],
)
def test_text_is_decoded_in_the_encoding(
    packet: ModuleType, encoding: str, value: bytes, expected: str
) -> None:
    assert decode(packet, TEXT, value, encoding) == expected


@pytest.mark.parametrize(
    ("conversion", "values", "expected"),
    [
        (
            INT,
            b"|-|+1| 1|1 |1_0|1.0|1/2|1:2|--1|-1_0|- 1|-1 |x|\xd9\xa1|999999999999999999x|"
            + b"1" * 25
            + b"_1",
            "an integer",
        ),
        (BOOL, b"|t|\x01|true", "a boolean"),
        (
            FLOAT,
            b"|-|.|e5|1e|nan|-inf|Infinity| 1|1\n|1_0|1.2.3|0x1p3|1-2|\x00|1\x00|\xd9\xa1",
            "a float",
        ),
        (FLOAT, b"1/5|1:5|,5", "a float"),
        (FLOAT, b"1" * 100 + b"-|" + b"1" * 100 + b"_", "a float"),
        (DECIMAL_AS_FLOAT, b"|1,5|-", "a decimal"),
        (
            DECIMAL,
            b"|-|.|-.|1e5|NaN|sNaN|Infinity| 1|1 |1_0|1.2.3|1/5|--1|1-|+1|\xd9\xa1",
            "a decimal",
        ),
        (
            DATE,
            b"|2024-1-01|2024-01-1x|2024/01/01|2024/01-01|2024-01/01|20240101|2024-01-01 00:00:00",
            "a date",
        ),
        (DATE, b"x024-13-01|2024-13-0x|2024-:0-01|2024-01-:0|:024-01-01|2024-0/-01", "a date"),
        (DATE, b"-024-01-01|2024-W01-1| 024-01-01|2024-01-0\xb2|2024-0x-01", "a date"),
        (DATETIME, b"|now|2024-01-01T00:00:00|2024-01-01 00:00|2024-01-01 00:00:00.", "a datetime"),
        (DATETIME, b"2024-01-01 00:00:00.1234567|2024-01-01 00:00:00+01|2024-01-1x", "a datetime"),
        (
            DATETIME,
            b"2024-01-01 00:00:00.12x|2024-01-01 00-00:00|x024-01-01 00:00:00",
            "a datetime",
        ),
        (DATETIME, b"2024-01-01 00:00:0x|2024-01-01 00:00:00Z|2024-W01-1T00:00:00", "a datetime"),
        (
            DATETIME,
            b"2024-01-01 00:00:000|2024-01-01 0x:00:00|2024-01-01 00:0x:00|2024-01-01 00:00:00,5",
            "a datetime",
        ),
        (
            TIME,
            b"|-|1:00:00|1000:00:00|00:00|00:00:00.|00:00:000|00:00:00.1234567|--1:00:00",
            "a time",
        ),
        (TIME, b"+01:00:00|00:00:0x|00:0x:00|0x:00:00|00:00:00,5|00:00:00.x|00-00-00", "a time"),
        (TIME, b"00:00-00|00::0:00|00:00::0|0/:00:00|0::00:00", "a time"),
        (DATETIME, b"2024-13-01 x0:00:00|2024-01-01 00:00-00|2024-01-01 00::0:00", "a datetime"),
        (TIME, b"000000|-0:00:00|-0000:00:00|00:00:00:00", "a time"),
    ],
    ids=[
        "int",
        "bool",
        "float",
        "float",
        "long",
        "decimal_as_float",
        "decimal",
        "date",
        "date",
        "date",
        "datetime",
        "datetime",
        "datetime",
        "datetime",
        "datetime",
        "time",
        "time",
        "time",
        "datetime",
        "time",
    ],
)
def test_garbage_is_refused(
    packet: ModuleType, conversion: int, values: bytes, expected: str
) -> None:
    for value in values.split(b"|"):
        with pytest.raises(UndecodableValue) as raised:
            decode(packet, conversion, value)

        assert str(raised.value) == f"column 'c0': expected {expected}, got {value[:64]!r}"


def test_undecodable_text_names_the_column_and_the_reason(packet: ModuleType) -> None:
    decoder = make_decoder(packet, INT, TEXT)

    with pytest.raises(UndecodableValue) as raised:
        decoder.row(text_row(b"1", b"ab\xff"))

    reason = "'utf-8' codec can't decode byte 0xff in position 2: invalid start byte"
    assert str(raised.value) == f"column 'c1': {reason}"


@pytest.mark.parametrize(
    ("encoding", "value"),
    [("ascii", b"\x80"), ("gbk", b"a\xff"), ("cp1252", b"\x81"), ("utf-8", b"\xed\xa0\x80")],
    ids=["ascii", "gbk", "cp1252", "utf-8"],
)
def test_text_is_decoded_strictly(packet: ModuleType, encoding: str, value: bytes) -> None:
    with pytest.raises(UndecodableValue):
        decode(packet, TEXT, value, encoding)


def utf8_outcomes(packet: ModuleType, values: Iterable[bytes]) -> Iterator[tuple[Any, Any]]:
    """What a decoder and `bytes.decode` make of *values*: texts and their sizes, or errors."""
    row = make_decoder(packet, TEXT).row
    for value in values:
        try:
            text = value.decode()
            expected: Any = text, sys.getsizeof(text)
        except UnicodeDecodeError as error:
            expected = f"column 'c0': {error}"
        try:
            (text,) = row(text_row(value))
            found: Any = text, sys.getsizeof(text)
        except UndecodableValue as error:
            found = str(error)
        yield found, expected


def test_each_one_and_two_bytes_are_text_or_refused_as_by_python(packet: ModuleType) -> None:
    ones = [bytes([first]) for first in range(256)]
    twos = [bytes(pair) for pair in product(range(256), repeat=2)]

    for found, expected in utf8_outcomes(packet, [*ones, *twos]):
        assert found == expected


def test_three_and_four_bytes_are_text_or_refused_as_by_python(packet: ModuleType) -> None:
    rest = [0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF]
    threes = [bytes(found) for found in product(range(0xE0, 0xF0), rest, rest)]
    fours = [bytes(found) for found in product(range(0xF0, 0xF8), rest, rest, rest)]

    for found, expected in utf8_outcomes(packet, [*threes, *fours]):
        assert found == expected


@pytest.mark.parametrize(
    "character", [0xFF, 0x100, 0x7FF, 0x800, 0xFFFF, 0x10000, 0x10FFFF], ids=hex
)
@pytest.mark.parametrize("size", [0, 1, 7, 250, 251, 252, 253, 254, 255, 256, 257, 1000])
def test_text_is_as_wide_as_its_widest_character(
    packet: ModuleType, character: int, size: int
) -> None:
    text = chr(character)
    texts = ["x" * size + text, text + "x" * size, text + "é" * size, text + "\U000fffff" * size]

    for found, expected in utf8_outcomes(packet, [each.encode() for each in texts]):
        assert found == expected


@given(st.lists(st.one_of(st.text(), st.binary(max_size=4)), max_size=4))
def test_any_bytes_are_text_or_refused_as_by_python(parts: list[str | bytes]) -> None:
    value = b"".join([part.encode() if isinstance(part, str) else part for part in parts])

    for packet in TWINS:
        for found, expected in utf8_outcomes(packet, [value]):
            assert found == expected


DECIMALS = [
    *("0", "-0", "0.00", "-0.00", ".5", "5.", "-.5", "000.50", "-1.10", "1.1", "11", "1.10"),
    *("999999999999999999", "-0.999999999999999999", ".999999999999999999"),
    *("1000000000000000000", "0.9999999999999999999", "-12345678901234567.89", "9" * 65),
]


@pytest.mark.parametrize("precision", [1, 28])
def test_decimal_has_all_its_digits_whatever_the_context(
    packet: ModuleType, precision: int
) -> None:
    row = make_decoder(packet, DECIMAL).row
    context = Context(prec=precision, Emin=0, Emax=0, traps=[Inexact, Rounded, Subnormal])

    with localcontext(context) as current:
        for text in [*DECIMALS, *DECIMALS]:
            (found,) = row(text_row(text.encode()))

            assert type(found) is Decimal
            assert found.as_tuple() == Decimal(text).as_tuple()
        assert not any(current.flags.values())


@given(st.from_regex(r"-?([0-9]{1,20}\.?|[0-9]{0,20}\.[0-9]{1,20})", fullmatch=True))
def test_decimal_is_that_of_its_text(text: str) -> None:
    for packet in TWINS:
        (found,) = make_decoder(packet, DECIMAL).row(text_row(text.encode()))

        assert found.as_tuple() == Decimal(text).as_tuple()


def test_decimals_are_exact_where_python_has_them_written_in_python(packet: ModuleType) -> None:
    program = f"""
import sys
sys.modules["_decimal"] = None  # which makes the import of it fail
from {packet.__name__} import Decoder
row = Decoder(["price"], [{DECIMAL}], [None], "utf-8").row(b"\\x0419.9")
assert repr(row) == "(Decimal('19.9'),)" and hasattr(type(row[0]).__mul__, "__code__")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd="/")


def test_decimals_that_share_their_digits_are_told_apart(packet: ModuleType) -> None:
    texts = [f"{sign}{digits}" for sign in ("", "-") for digits in (".17", "1.7", "17", "17.0")]
    row = make_decoder(packet, *[DECIMAL] * len(texts)).row

    for _ in range(2):
        found = row(text_row(*[text.encode() for text in texts]))

        assert [value.as_tuple() for value in found] == [Decimal(t).as_tuple() for t in texts]


def test_integer_beyond_pythons_digit_limit_is_refused(packet: ModuleType) -> None:
    with pytest.raises(UndecodableValue, match="^column 'c0': expected an integer, got b'99"):
        decode(packet, INT, b"9" * 5000)


@given(st.from_regex(r"-?[0-9]{0,21}(\.[0-9]{0,21})?(e-?[0-9]{1,3})?", fullmatch=True))
@example("9007199254740993")
@example("9223372036854775807.5")
@example("0.0000000000000000001")
def test_float_is_the_nearest(text: str) -> None:
    try:
        expected = repr((float(text),))
    except ValueError:
        expected = None

    result = agree(lambda packet: make_decoder(packet, FLOAT).row(text_row(text.encode())))

    assert result == expected or (expected is None and result[0].__name__ == "UndecodableValue")


# Rows


def test_row_has_a_value_per_column(packet: ModuleType) -> None:
    decoder = make_decoder(packet, INT, TEXT, DECIMAL)

    assert decoder.row(text_row(b"1", None, b"2.50")) == (1, None, Decimal("2.50"))


def test_row_cut_anywhere_is_malformed(packet: ModuleType) -> None:
    decoder = make_decoder(packet, INT, TEXT, TEXT, BYTES)
    payload = text_row(b"1", b"x" * 300, None, b"y" * 70_000)
    ends = [*range(320), *range(len(payload) - 5, len(payload))]

    for end in ends:
        with pytest.raises(MalformedPacket, match="cut short"):
            decoder.row(payload[:end])


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        pytest.param(b"", "row packet is cut short", id="empty"),
        pytest.param(b"\x02a", "row packet is cut short", id="length beyond the end"),
        pytest.param(b"\xfc\x05", "packet is cut short", id="cut 2-byte length"),
        pytest.param(b"\xfd\x05\x00", "packet is cut short", id="cut 3-byte length"),
        pytest.param(b"\xfe" + bytes(7), "packet is cut short", id="cut 8-byte length"),
        pytest.param(b"\xfe" + b"\xff" * 8 + b"a", "row packet is cut short", id="length 2**64-1"),
        pytest.param(
            b"\xfe" + bytes(7) + b"\x80" + b"a", "row packet is cut short", id="length 2**63"
        ),
        pytest.param(
            b"\xfe" + b"\xf6" + b"\xff" * 7 + b"a" * 30, "row packet is cut short", id="length -10"
        ),
        pytest.param(b"\xffa", "invalid length prefix 0xff", id="prefix 0xff"),
        pytest.param(b"\x01ab", "row packet has 1 bytes left over", id="left over"),
        pytest.param(b"\xfb\xfb", "row packet has 1 bytes left over", id="another column"),
    ],
)
def test_row_of_wrong_length_is_malformed(packet: ModuleType, payload: bytes, message: str) -> None:
    with pytest.raises(MalformedPacket) as raised:
        make_decoder(packet, TEXT).row(payload)

    assert str(raised.value) == message


@pytest.mark.parametrize("prefix", [b"\x00", b"\xfc\0\0", b"\xfd\0\0\0", b"\xfe" + bytes(8)])
def test_empty_value_at_the_very_end_of_a_row_is_one(packet: ModuleType, prefix: bytes) -> None:
    assert make_decoder(packet, TEXT).row(prefix) == ("",)


@pytest.mark.parametrize("size", [250, 251, 252, (1 << 16) - 1, 1 << 16, (1 << 24) - 1, 1 << 24])
def test_value_of_each_form_of_length_is_whole(packet: ModuleType, size: int) -> None:
    value = bytes(size - 1) + b"x"

    row = make_decoder(packet, BYTES, BYTES).row(text_row(value, b"y"))

    assert row == (value, b"y")


def test_long_form_of_a_short_length_is_accepted(packet: ModuleType) -> None:
    decoder = make_decoder(packet, TEXT, TEXT, TEXT)

    row = decoder.row(b"\xfc\x01\x00a" + b"\xfd\x01\x00\x00b" + b"\xfe\x01" + bytes(7) + b"c")

    assert row == ("a", "b", "c")


def test_processors_run_in_column_order_on_converted_values_and_none(packet: ModuleType) -> None:
    seen = []

    def processor(value: object) -> object:
        seen.append(value)
        return [value]

    decoder = packet.Decoder("abc", [INT, TEXT, TEXT], [processor, None, processor], "utf-8")

    assert decoder.row(text_row(b"1", b"x", None)) == ([1], "x", [None])
    assert seen == [1, None]


def test_processors_run_on_sound_rows_only(packet: ModuleType) -> None:
    decoder = packet.Decoder("ab", [INT, INT], [pytest.fail, None], "utf-8")

    with pytest.raises(UndecodableValue):
        decoder.row(text_row(b"1", b"x"))
    with pytest.raises(MalformedPacket):
        decoder.row(text_row(b"1"))


AS_MANY = "expected as many names as conversions and processors"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("ab", [INT], [None], "utf-8"), ValueError, f"{AS_MANY}, got 2, 1 and 1"),
        (("a", [INT, INT], [None], "utf-8"), ValueError, f"{AS_MANY}, got 1, 2 and 1"),
        (("a", [INT], [], "utf-8"), ValueError, f"{AS_MANY}, got 1, 1 and 0"),
        (("a", [10], [None], "utf-8"), ValueError, "unknown conversion 10"),
        (("a", [-1], [None], "utf-8"), ValueError, "unknown conversion -1"),
        (("a", [TEXT], [None], "klingon"), LookupError, "unknown encoding: klingon"),
    ],
)
def test_decoder_refuses_what_it_cannot_serve(
    packet: ModuleType, arguments: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=f"^{message}$"):
        packet.Decoder(*arguments)


def test_decoder_that_was_never_filled_has_no_columns(packet: ModuleType) -> None:
    decoder = packet.Decoder.__new__(packet.Decoder)

    assert outcome(lambda: decoder.row(b"")) == "()" or packet is PURE


def test_reader_that_was_never_initialized_gives_nothing(packet: ModuleType) -> None:
    reader = packet.Reader.__new__(packet.Reader)

    with pytest.raises((AttributeError, PacketTooLarge)):
        reader.feed(wire(b"x" * 70_000))
        reader.packet()


def test_decoder_in_a_cycle_is_collected(packet: ModuleType) -> None:
    def make_cycle() -> weakref.ref[Any]:
        def processor(value: object) -> object:
            return decoder.row(value)

        decoder = packet.Decoder("a", [TEXT], [processor], "utf-8")
        return weakref.ref(processor)

    alive = make_cycle()

    gc.collect()

    assert alive() is None


def test_cycle_through_what_a_processor_gives_is_collected(packet: ModuleType) -> None:
    class Document(list[Any]):
        pass

    def load(value: str) -> Document:
        gc.collect()  # finds the row to be of plain values
        return Document([value])

    row = packet.Decoder(["doc"], [TEXT], [load], "utf-8").row(text_row(b"x"))
    document = weakref.ref(row[0])
    row[0].append(row)

    del row
    gc.collect()

    assert document() is None


# Framing


def test_packets_come_one_by_one(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"first", b"second", sequence=1))
    reader.sequence = 1

    assert [reader.packet(), reader.packet(), reader.packet()] == [b"first", b"second", None]
    assert (reader.sequence, reader.buffered) == (3, 0)


def test_packet_waits_for_its_last_byte(packet: ModuleType) -> None:
    reader = packet.Reader()
    *start, last = split(wire(b"payload"), range(20))

    for byte in start:
        reader.feed(byte)
        assert reader.packet() is None
    reader.feed(last)

    assert reader.packet() == b"payload"


def test_sequence_wraps_at_256(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(*[b"x"] * 300, sequence=250))
    reader.sequence = 250

    assert [reader.packet() for _ in range(300)] == [b"x"] * 300
    assert reader.sequence == (250 + 300) % 256


@pytest.mark.parametrize(
    "read",
    [
        lambda reader: reader.packet(),
        lambda reader: reader.definitions(1),
        lambda reader: reader.rows(None, [], False),
    ],
    ids=["packet", "definitions", "rows"],
)
def test_wrong_sequence_is_malformed_as_soon_as_it_is_seen(packet: ModuleType, read: Any) -> None:
    reader = make_reader(packet, wire(b"payload", sequence=5)[:4])
    reader.sequence = 2

    for _ in range(2):
        with pytest.raises(MalformedPacket, match="^packet sequence 5, expected 2$"):
            read(reader)


def test_sequence_is_checked_from_zero_on(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"payload", sequence=5))
    reader.sequence = 0

    with pytest.raises(MalformedPacket, match="^packet sequence 5, expected 0$"):
        reader.packet()


def test_sequence_is_not_checked_when_negative(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"a", sequence=5) + wire(b"b", sequence=77))

    assert (reader.sequence, reader.packet(), reader.packet()) == (-1, b"a", b"b")
    assert reader.sequence == -1


@pytest.mark.parametrize("size", [MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 1, 2 * MAX_PIECE])
def test_split_payload_is_joined(packet: ModuleType, size: int) -> None:
    payload = b"z" * size
    reader = make_reader(packet, wire(payload, b"next"))
    reader.sequence = 0

    assert reader.packet() == payload
    assert reader.packet() == b"next"


def test_sequence_is_checked_between_pieces(packet: ModuleType) -> None:
    reader = make_reader(packet, b"\xff\xff\xff\x00" + bytes(MAX_PIECE) + b"\x00\x00\x00\x02")
    reader.sequence = 0

    with pytest.raises(MalformedPacket, match="packet sequence 2, expected 1"):
        reader.packet()


@pytest.mark.parametrize("read", ["packet", "rows"])
def test_empty_packet_is_malformed(packet: ModuleType, read: str) -> None:
    reader = make_reader(packet, wire(b""))

    with pytest.raises(MalformedPacket, match="^empty packet$"):
        reader.packet() if read == "packet" else reader.rows(None, [], False)


def test_packet_beyond_the_limit_is_refused_at_its_header(packet: ModuleType) -> None:
    reader = packet.Reader(limit=100)
    reader.feed(wire(b"x" * 100, b"x" * 101)[: 104 + 4])

    assert reader.packet() == b"x" * 100
    with pytest.raises(PacketTooLarge, match="^packet of 101 bytes, limit 100$"):
        reader.packet()


def test_limit_holds_for_the_sum_of_the_pieces(packet: ModuleType) -> None:
    reader = packet.Reader(limit=MAX_PIECE + 10)
    reader.feed(b"\xff\xff\xff\x00" + bytes(MAX_PIECE) + b"\x0b\x00\x00\x01")

    with pytest.raises(MalformedPacket, match=r"^packet of 16777226 bytes, limit 16777225$"):
        reader.packet()


def test_limit_may_be_any_integer(packet: ModuleType) -> None:
    reader = packet.Reader(1 << 100)
    reader.feed(wire(b"x"))

    assert reader.packet() == b"x"


def test_limit_may_be_changed(packet: ModuleType) -> None:
    reader = packet.Reader(limit=100)
    reader.feed(wire(b"x" * 101))
    reader.limit = 101

    assert reader.limit == 101
    assert reader.packet() == b"x" * 101


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"", True, id="nothing"),
        pytest.param(b"\x0a\0\0", True, id="part of a header"),
        pytest.param(b"\x0a\0\0\0", True, id="header"),
        pytest.param(b"\x0a\0\0\0\xff", True, id="error begun"),
        pytest.param(b"\x01\0\0\x07\xff", True, id="error of one byte"),
        pytest.param(b"\x0a\0\0\0\x00", False, id="ok begun"),
        pytest.param(b"\x0a\0\0\0\xfe", False, id="eof begun"),
        pytest.param(b"\0\0\0\0", False, id="empty packet"),
        pytest.param(b"\0\0\0\0\xff", False, id="empty packet and more"),
        pytest.param(b"\xff\0\0\0", True, id="longest"),
        pytest.param(b"\0\x01\0\0", False, id="too long"),
        pytest.param(b"\0\x01\0\0\xff", False, id="error too long"),
        pytest.param(b"\0\0\x01\0", False, id="far too long"),
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\x01\0\0\0\0"], ids=["first", "behind another"])
def test_packet_that_is_no_error_is_known_by_its_first_bytes(
    packet: ModuleType, data: bytes, expected: bool, behind: bytes
) -> None:
    reader = packet.Reader()
    reader.feed(behind + data)
    if behind:
        reader.packet()

    assert reader.may_be_error(255) is expected
    assert reader.buffered == len(data)


@pytest.mark.parametrize("size", [1, 0xFF, 0x100, 0x101, 0xFFFF, 0x1_0000, 0x1_0203, 0xFF_FFFF])
def test_error_may_be_as_long_as_is_said(packet: ModuleType, size: int) -> None:
    reader = packet.Reader()
    reader.feed(size.to_bytes(3, "little") + b"\0\xff")

    assert reader.may_be_error(size) is True
    assert reader.may_be_error(size - 1) is False


def test_claimed_length_takes_no_memory(packet: ModuleType) -> None:
    reader = make_reader(packet, b"\xff\xff\xff\x00\xfe" + b"\xff" * 8)

    assert reader.rows(make_decoder(packet, TEXT), [], True) is None
    assert len(reader.get_buffer(-1)) == CAPACITY - 13


# The buffer


def test_buffer_is_64_kib_of_which_a_quarter_is_free_at_least(packet: ModuleType) -> None:
    reader = packet.Reader()

    assert len(reader.get_buffer(-1)) == CAPACITY == 65536
    for _ in range(CAPACITY):
        reader.feed(b"\xff")
        assert len(reader.get_buffer(1 << 40)) >= CAPACITY // 4


def test_buffer_grows_with_what_arrives_and_shrinks_once_empty(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"x" * (3 << 20)))

    assert 4 << 20 <= capacity(reader) <= 8 << 20
    reader.buffer_updated(0)
    assert len(reader.packet()) == 3 << 20
    assert capacity(reader) == CAPACITY


def test_buffer_of_up_to_1_mib_is_kept(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"x" * (600 << 10)))

    reader.packet()

    assert capacity(reader) == IDLE_CAPACITY


def test_room_is_for_one_read_or_for_the_rest_of_a_packet(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"x" * (600 << 10)))
    reader.packet()

    assert len(reader.get_buffer(-1)) == CAPACITY
    reader.buffer_updated(0)
    reader.feed(wire(b"x" * (300 << 10))[: 100 << 10])
    assert len(reader.get_buffer(-1)) == (200 << 10) + 4


def test_room_of_a_packet_whose_header_is_not_all_there_is_for_one_read(packet: ModuleType) -> None:
    for arrived, room in ((3, CAPACITY), (4, 100 << 10)):
        reader = make_reader(packet, wire(b"x" * (600 << 10)))
        reader.feed(wire(b"x" * (100 << 10))[:arrived])
        reader.packet()

        assert len(reader.get_buffer(-1)) == room


@pytest.mark.parametrize(("arrived", "room"), [(49_152, 16_384), (49_153, CAPACITY)])
def test_buffer_grows_when_less_than_a_quarter_is_free(
    packet: ModuleType, arrived: int, room: int
) -> None:
    reader = make_reader(packet, wire(b"x" * 60_000)[:arrived])

    assert len(reader.get_buffer(-1)) == room


@pytest.mark.parametrize(("unread", "size"), [(32_768, CAPACITY), (32_769, 2 * CAPACITY)])
def test_buffer_that_is_half_unread_is_large_enough(
    packet: ModuleType, unread: int, size: int
) -> None:
    reader = make_reader(packet, wire(b"x" * 20_000) + wire(b"y" * 60_000)[:unread])
    reader.packet()

    assert capacity(reader) == size
    reader.buffer_updated(0)
    reader.feed(wire(b"y" * 60_000)[unread:])
    assert reader.packet() == b"y" * 60_000


def read_packet(reader: Any, stream: bytes) -> None:
    reader.packet()


def read_rows_only(reader: Any, stream: bytes) -> None:
    reader.rows(None, [], True)


def skip_packet(reader: Any, stream: bytes) -> None:
    assert reader.skip(stream, 1) is True


def feed(reader: Any, data: bytes) -> None:
    reader.feed(data)


@pytest.mark.parametrize("read", [read_packet, read_rows_only, skip_packet])
@pytest.mark.parametrize("arrive", [feed, receive])
def test_large_buffer_is_given_back_as_soon_as_it_is_empty(
    packet: ModuleType,
    read: Callable[[Any, bytes], None],
    arrive: Callable[[Any, bytes], None],
) -> None:
    stream = wire(b"\x05" * (2 << 20))
    reader = packet.Reader()
    tracemalloc.start()
    try:
        arrive(reader, stream)
        before, _ = tracemalloc.get_traced_memory()
        read(reader, stream)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert before - after > 2 << 20


def test_packets_that_are_expected_are_skipped(packet: ModuleType) -> None:
    head = wire(b"a", b"bc", sequence=1)
    reader = make_reader(packet, head + wire(b"rest", sequence=3))
    reader.sequence = 1

    assert reader.skip(head, 2) is True

    assert (reader.packet(), reader.sequence, reader.buffered) == (b"rest", 4, 0)


def test_packet_without_payload_is_skipped(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"", b"rest", sequence=1))
    reader.sequence = 1

    assert reader.skip(wire(b"", sequence=1), 1) is True
    assert (reader.packet(), reader.sequence) == (b"rest", 3)


def test_packets_that_are_expected_are_skipped_after_others(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"first", b"a", b"bc", b"rest"))
    reader.sequence = 0
    reader.packet()

    assert reader.skip(wire(b"a", b"bc", sequence=1), 2) is True
    assert reader.packet() == b"rest"


@pytest.mark.parametrize(
    ("expected", "sequence"),
    [
        pytest.param(wire(b"a", b"bd", sequence=1), 1, id="other-bytes"),
        pytest.param(wire(b"a", b"bc", b"d", sequence=1), 1, id="more-than-is-there"),
        pytest.param(wire(b"a", b"bc", sequence=2), 1, id="other-numbers"),
        pytest.param(wire(b"a", b"bc", sequence=1), 2, id="out-of-sequence"),
        pytest.param(b"\x01\x00", 1, id="less-than-a-header"),
    ],
)
def test_packets_that_are_not_expected_stay(
    packet: ModuleType, expected: bytes, sequence: int
) -> None:
    reader = make_reader(packet, wire(b"a", b"bc", sequence=1))
    reader.sequence = sequence

    assert reader.skip(expected, 2) is False

    assert (reader.sequence, reader.buffered) == (sequence, 11)


@given(
    st.lists(st.binary(max_size=5), max_size=4),
    st.binary(max_size=12),
    st.integers(0, 30),
    st.integers(-1, 2),
)
def test_twins_skip_the_same(
    payloads: list[bytes], other: bytes, length: int, sequence: int
) -> None:
    stream = wire(*payloads, sequence=1)

    def skip(packet: ModuleType, expected: bytes) -> list[Any]:
        reader = make_reader(packet, stream)
        reader.sequence = sequence
        return [reader.skip(expected, 2), reader.sequence, reader.buffered, reader.packet()]

    for expected in (stream[:length], other):
        agree(lambda packet, expected=expected: skip(packet, expected))


HEAD = wire(b"abc", b"", b"de", sequence=1)


@pytest.mark.parametrize("position", range(len(HEAD)))
def test_packets_that_differ_in_one_byte_are_not_skipped(packet: ModuleType, position: int) -> None:
    other = bytearray(HEAD)
    other[position] ^= 0x01
    reader = make_reader(packet, bytes(other) + wire(b"rest", sequence=4))
    reader.sequence = -1

    assert reader.skip(HEAD, 3) is False
    assert reader.buffered == len(HEAD) + 8


@pytest.mark.parametrize("arrived", range(len(HEAD)))
def test_packets_that_have_not_all_arrived_are_read_one_by_one(
    packet: ModuleType, arrived: int
) -> None:
    head = wire(b"abc", b"fg", b"de", sequence=1)
    arrived = min(arrived, len(head) - 1)
    reader = make_reader(packet, head[:arrived])
    reader.sequence = 1

    assert reader.skip(head, 3) is False
    reader.feed(head[arrived:])

    assert [reader.packet() for _ in range(4)] == [b"abc", b"fg", b"de", None]
    assert reader.sequence == 4


@pytest.mark.parametrize("before", [b"", wire(b"before")], ids=["first", "behind another"])
def test_packets_are_not_skipped_for_what_an_earlier_read_has_left_in_the_buffer(
    packet: ModuleType, before: bytes
) -> None:
    reader = packet.Reader()
    receive(reader, before + HEAD)
    if before:
        reader.packet()
    assert reader.skip(HEAD, 3) is True

    receive(reader, before + HEAD[:-1])
    if before:
        reader.packet()

    assert reader.skip(HEAD, 3) is False
    assert reader.buffered == len(HEAD) - 1


def test_packets_are_skipped_unchecked_while_the_sequence_is(packet: ModuleType) -> None:
    reader = make_reader(packet, HEAD + wire(b"rest", sequence=9))

    assert reader.sequence == -1 and reader.skip(HEAD, 3) is True

    assert (reader.packet(), reader.sequence) == (b"rest", -1)


def test_sequence_wraps_over_skipped_packets(packet: ModuleType) -> None:
    head = wire(b"a", b"b", b"c", sequence=254)
    reader = make_reader(packet, head + wire(b"rest", sequence=1))
    reader.sequence = 254

    assert reader.skip(head, 3) is True

    assert (reader.sequence, reader.packet()) == (1, b"rest")


def test_nothing_is_skipped_within_definitions(packet: ModuleType) -> None:
    definitions = wire(b"a", b"b", b"a", b"b", sequence=1)
    reader = make_reader(packet, definitions[:5])
    reader.sequence = 1
    assert reader.definitions(4) is None

    reader.feed(definitions[5:])

    assert reader.skip(wire(b"b", b"a", sequence=2), 2) is False
    assert reader.definitions(4) == definitions


def test_nothing_is_skipped_within_a_split_packet(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"x" * MAX_PIECE)[: MAX_PIECE + 4])
    reader.sequence = 0
    assert reader.packet() is None

    tail = wire(b"tail", sequence=1)
    reader.feed(tail)

    assert reader.skip(tail, 1) is False
    assert reader.packet() == b"x" * MAX_PIECE + b"tail"


def test_skipping_all_that_is_there_leaves_the_lent_room_alone(packet: ModuleType) -> None:
    reader = make_reader(packet, HEAD)
    reader.sequence = 1
    room = reader.get_buffer(-1)
    more = wire(b"more", sequence=4)
    room[: len(more)] = more

    assert reader.skip(HEAD, 3) is True
    reader.buffer_updated(len(more))

    assert reader.packet() == b"more"


def test_skipped_packets_leave_room_for_more(packet: ModuleType) -> None:
    reader = packet.Reader()

    for _ in range(2 * CAPACITY // len(HEAD)):
        reader.sequence = 1
        receive(reader, HEAD)
        assert reader.skip(HEAD, 3) is True

    assert (reader.buffered, capacity(reader)) == (0, CAPACITY)


# -- many OK packets -------------------------------------------------------------------------------


def counts(rows: int, warnings: int = 0, status: int = 10, insert_id: bytes = b"\0") -> bytes:
    """The payload of an OK packet that counts rows."""
    numbers = status.to_bytes(2, "little") + warnings.to_bytes(2, "little")
    return b"\0" + length(rows) + insert_id + numbers


BEHIND = [b"\x01", b"a definition", EOF]


def test_plain_oks_are_counted(packet: ModuleType) -> None:
    payloads = [counts(1), counts(250, 3), counts(0) + b"info", counts(7, 65535)]
    reader = make_reader(packet, wire(*payloads, b"rest", sequence=254))
    reader.sequence = 254

    assert reader.oks(10, b"") == (4, 251, 3, 7, 65535)

    assert (reader.packet(), reader.sequence, reader.buffered) == (b"rest", 3, 0)


def test_plain_oks_are_counted_with_what_is_behind_each(packet: ModuleType) -> None:
    payloads = [counts(1), *BEHIND, counts(2), *BEHIND, counts(3, 1), b"\x01", b"another"]
    reader = make_reader(packet, wire(*payloads, sequence=1))
    reader.sequence = 1

    assert reader.oks(10, wire(*BEHIND, sequence=77)) == (2, 1, 0, 2, 0)

    assert (reader.packet(), reader.sequence) == (counts(3, 1), 10)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(counts(251), id="rows in two bytes"),
        pytest.param(counts(1, insert_id=b"\1"), id="insert id"),
        pytest.param(counts(1, status=11), id="other status"),
        pytest.param(counts(1, status=0x010A), id="other status in its second byte"),
        pytest.param(counts(1)[:-1], id="cut short"),
        pytest.param(b"\xfe" + counts(1)[1:], id="end of rows"),
        pytest.param(ERROR, id="error"),
        pytest.param(b"", id="empty"),
    ],
)
@pytest.mark.parametrize("before", [[], [counts(1)]], ids=["first", "second"])
def test_what_is_no_plain_ok_stays(packet: ModuleType, payload: bytes, before: list[bytes]) -> None:
    reader = make_reader(packet, wire(*before, payload))
    reader.sequence = 0

    assert reader.oks(10, b"") == (len(before), 0, 0, len(before), 0)

    assert (reader.sequence, reader.buffered) == (len(before), 4 + len(payload))


@pytest.mark.parametrize("sequence", [0, 2])
def test_ok_out_of_sequence_stays(packet: ModuleType, sequence: int) -> None:
    stream = wire(counts(1), sequence=1)
    reader = make_reader(packet, stream)
    reader.sequence = sequence

    assert reader.oks(10, b"")[0] == 0
    assert reader.buffered == len(stream)


def test_what_is_behind_an_ok_out_of_sequence_stays(packet: ModuleType) -> None:
    stream = wire(counts(1), sequence=1) + wire(*BEHIND, sequence=3)
    reader = make_reader(packet, stream)
    reader.sequence = 1

    assert reader.oks(10, wire(*BEHIND))[0] == 0
    assert (reader.buffered, reader.sequence) == (len(stream), 1)


def test_ok_that_is_longer_than_the_limit_stays(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(counts(1) + bytes(20)))
    reader.limit = 26

    assert reader.oks(10, b"")[0] == 0
    reader.limit = 27
    assert reader.oks(10, b"")[0] == 1


def test_no_ok_is_taken_within_definitions(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"a", b"b", counts(1)))
    assert reader.definitions(4) is None

    assert reader.oks(10, b"") == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("behind", [b"", wire(*BEHIND)], ids=["alone", "with others"])
def test_oks_that_have_not_all_arrived_stay(packet: ModuleType, behind: bytes) -> None:
    one = wire(counts(1), *(BEHIND if behind else []), sequence=1)
    for arrived in range(len(one)):
        reader = make_reader(packet, one[:arrived])
        reader.sequence = 1

        assert reader.oks(10, behind)[0] == 0
        reader.feed(one[arrived:])
        assert reader.oks(10, behind) == (1, 0, 0, 1, 0)


@given(
    st.lists(
        st.one_of(
            st.builds(
                counts, st.integers(0, 300), st.integers(0, 70_000).map(lambda n: n & 0xFFFF)
            ),
            st.sampled_from([*BEHIND, b"", counts(1, status=1), counts(1)[:-1], ERROR]),
            st.binary(max_size=12),
        )
    ),
    st.one_of(st.just(b""), st.just(wire(*BEHIND)), st.binary(max_size=20)),
    st.integers(-1, 2),
    st.integers(0, 300),
)
def test_twins_count_the_same_oks(
    payloads: list[bytes], behind: bytes, sequence: int, arrived: int
) -> None:
    stream = wire(*payloads, sequence=1)[:arrived]

    def oks(packet: ModuleType) -> list[Any]:
        reader = make_reader(packet, stream)
        reader.sequence = sequence
        return [reader.oks(10, behind), reader.sequence, reader.buffered]

    agree(oks)


def test_view_outlives_the_buffer_it_is_of(packet: ModuleType) -> None:
    reader = packet.Reader()
    view = reader.get_buffer(-1)
    view[:4] = b"\x05\x00\x00\x00"
    reader.buffer_updated(4)

    reader.feed(bytes(5) + wire(bytes(1 << 20)))
    view[:] = b"\xff" * len(view)
    del reader

    assert len(view) == CAPACITY
    assert view[-1] == 0xFF


def test_view_can_be_released(packet: ModuleType) -> None:
    reader = packet.Reader()

    reader.get_buffer(-1).release()

    reader.feed(wire(b"whole"))
    assert reader.packet() == b"whole"
    assert len(reader.get_buffer(-1)) == CAPACITY


def test_bytes_of_a_pending_receive_are_not_lost(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"first"))

    room = reader.get_buffer(-1)
    assert reader.packet() == b"first"
    room[:10] = wire(b"second")
    reader.buffer_updated(10)

    assert reader.packet() == b"second"


@pytest.mark.parametrize("size", [-1, CAPACITY + 1, 1 << 70])
def test_more_bytes_than_there_is_room_for_are_refused(packet: ModuleType, size: int) -> None:
    reader = packet.Reader()
    reader.get_buffer(-1)

    with pytest.raises(ValueError, match=f"^expected 0 to 65536 bytes, got {size}$"):
        reader.buffer_updated(size)


def test_all_that_is_free_can_be_received_and_no_more(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(bytes(30)))
    reader.get_buffer(-1)

    with pytest.raises(ValueError, match="^expected 0 to 65502 bytes, got 65503$"):
        reader.buffer_updated(CAPACITY - 33)
    reader.buffer_updated(CAPACITY - 34)

    assert reader.buffered == CAPACITY


def test_buffered_counts_the_pieces_of_an_unfinished_packet(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"x" * (MAX_PIECE + 100))[:-1])

    assert reader.packet() is None
    assert reader.buffered == MAX_PIECE + 4 + 99
    reader.feed(b"x")
    assert len(reader.packet()) == MAX_PIECE + 100
    assert reader.buffered == 0


def test_bytearrays_and_views_can_be_fed(packet: ModuleType) -> None:
    reader = packet.Reader()

    first = bytearray(wire(b"first"))
    reader.feed(first)
    first.clear()  # which no view of it is in the way of
    reader.feed(memoryview(wire(b"second")))
    reader.feed(b"")

    assert (reader.packet(), reader.packet()) == (b"first", b"second")


async def test_reader_can_be_the_base_of_a_protocol(packet: ModuleType) -> None:
    class Protocol(packet.Reader, asyncio.BufferedProtocol):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.received = asyncio.get_running_loop().create_future()

        def buffer_updated(self, nbytes: int) -> None:
            super().buffer_updated(nbytes)
            payload = self.packet()
            if payload is not None:
                self.received.set_result(payload)

    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(wire(b"hello" * 50_000))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        address = server.sockets[0].getsockname()
        transport, protocol = await asyncio.get_running_loop().create_connection(Protocol, *address)
        assert await protocol.received == b"hello" * 50_000
        transport.close()


# Definitions


def test_definitions_come_as_they_are_once_all_are_there(packet: ModuleType) -> None:
    raw = wire(b"one", b"two", b"three", sequence=2)
    reader = packet.Reader()
    reader.sequence = 2

    for byte in split(raw, range(len(raw))):
        assert reader.definitions(3) is None
        reader.feed(byte)
    reader.feed(wire(b"next", sequence=5))

    assert reader.definitions(3) == raw
    assert reader.packet() == b"next"


def test_no_definitions_are_no_bytes(packet: ModuleType) -> None:
    assert packet.Reader().definitions(0) == b""


def test_error_among_definitions_does_not_wait_for_more(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(b"one", ERROR))

    with pytest.raises(MalformedPacket, match=r"^expected a column definition, got b'\\xff"):
        reader.definitions(3)


@pytest.mark.parametrize("size", [0, MAX_PIECE])
def test_definition_of_impossible_size_is_malformed(packet: ModuleType, size: int) -> None:
    reader = make_reader(packet, wire(bytes(size)))

    with pytest.raises(MalformedPacket, match=f"^column definition of {size} bytes$"):
        reader.definitions(1)


def test_limit_holds_for_the_sum_of_the_definitions(packet: ModuleType) -> None:
    reader = packet.Reader(limit=100)
    reader.feed(wire(*[b"x" * 40] * 3))

    with pytest.raises(MalformedPacket, match="^packet of 128 bytes, limit 100$"):
        reader.definitions(3)


# Rows


@pytest.mark.parametrize(
    ("deprecate_eof", "end"),
    [
        (False, EOF),
        (False, b"\xfe" + bytes(7)),
        (True, OK),
        (True, OK + b"x" * (MAX_PIECE - 1 - len(OK))),
        (False, ERROR),
        (True, ERROR),
    ],
    ids=["eof", "longest eof", "ok", "longest ok", "error for eof", "error for ok"],
)
def test_rows_stop_at_their_end(packet: ModuleType, deprecate_eof: bool, end: bytes) -> None:
    reader = make_reader(packet, wire(text_row(b"1"), text_row(b"2"), end, b"next"))
    reader.sequence = 0
    out: list[Any] = []

    assert reader.rows(make_decoder(packet, INT), out, deprecate_eof) == end
    assert out == [(1,), (2,)]
    assert reader.packet() == b"next"


@pytest.mark.parametrize(
    ("deprecate_eof", "size"), [(False, 9), (True, MAX_PIECE)], ids=["eof", "ok"]
)
def test_packet_too_long_for_an_end_is_a_row(
    packet: ModuleType, deprecate_eof: bool, size: int
) -> None:
    value = b"v" * (size - 9)
    row = b"\xfe" + len(value).to_bytes(8, "little") + value
    reader = make_reader(packet, wire(row, OK if deprecate_eof else EOF))
    out: list[Any] = []

    assert reader.rows(make_decoder(packet, BYTES), out, deprecate_eof) is not None
    assert out == [(value,)]


def test_rows_are_added_to_those_there(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(text_row(b"1")))
    out = [(0,)]

    assert reader.rows(make_decoder(packet, INT), out, True) is None
    assert out == [(0,), (1,)]


def test_rows_are_skipped_without_a_decoder(packet: ModuleType) -> None:
    reader = make_reader(packet, wire(text_row(b"1"), b"\x05garbage", EOF))
    out: list[Any] = []

    assert reader.rows(None, out, False) == EOF
    assert out == []


@pytest.mark.parametrize("deprecate_eof", [False, True])
@pytest.mark.parametrize("size", [MAX_PIECE - 4, MAX_PIECE, 1 << 24, (1 << 24) + 5])
def test_row_of_16_mib_is_a_row(packet: ModuleType, size: int, deprecate_eof: bool) -> None:
    reader = make_reader(packet, wire(text_row(b"v" * size, b"1"), OK if deprecate_eof else EOF))
    reader.sequence = 0
    out: list[Any] = []

    assert reader.rows(make_decoder(packet, BYTES, INT), out, deprecate_eof) is not None
    assert out == [(b"v" * size, 1)]


def test_short_packet_that_begins_as_a_huge_row_does_is_a_row_without_deprecate_eof(
    packet: ModuleType,
) -> None:
    reader = make_reader(packet, wire(b"\xfe\x03" + bytes(7) + b"abc", EOF))
    out: list[Any] = []

    assert reader.rows(make_decoder(packet, TEXT), out, False) == EOF
    assert out == [("abc",)]


def test_undecodable_row_leaves_the_packets_in_step(packet: ModuleType) -> None:
    stream = wire(text_row(b"1"), text_row(b"x"), text_row(b"3"), EOF)
    reader = make_reader(packet, stream)
    out: list[Any] = []

    with pytest.raises(UndecodableValue):
        reader.rows(make_decoder(packet, INT), out, False)

    assert out == [(1,)]
    assert reader.rows(None, out, False) == EOF


def test_exception_of_a_processor_leaves_the_packets_in_step(packet: ModuleType) -> None:
    def processor(value: int) -> float:
        return 1 / value

    decoder = packet.Decoder("a", [INT], [processor], "utf-8")
    reader = make_reader(packet, wire(text_row(b"1"), text_row(b"0"), text_row(b"2"), EOF))
    out: list[Any] = []

    with pytest.raises(ZeroDivisionError):
        reader.rows(decoder, out, False)

    assert reader.rows(decoder, out, False) == EOF
    assert out == [(1.0,), (0.5,)]


@pytest.mark.parametrize("error", [ValueError, IndexError])
def test_exception_of_a_processor_is_not_taken_for_a_bad_value(
    packet: ModuleType, error: type[Exception]
) -> None:
    def processor(value: object) -> object:
        raise error("mine")

    decoder = packet.Decoder("a", [INT], [processor], "utf-8")

    with pytest.raises(error, match="^mine$"):
        decoder.row(text_row(b"1"))


def test_processor_that_reads_on_gets_the_rows_after_its_own(packet: ModuleType) -> None:
    inner: list[Any] = []

    def processor(value: str) -> str:
        if value == "row 1":
            reader.rows(make_decoder(packet, TEXT), inner, False)
        return value

    reader = make_reader(packet, wire(*[text_row(b"row %d" % n) for n in range(4)]))
    reader.sequence = 0
    out: list[Any] = []
    decoder = packet.Decoder("a", [TEXT], [processor], "utf-8")

    assert reader.rows(decoder, out, False) is None
    assert (out, inner) == ([("row 0",), ("row 1",)], [("row 2",), ("row 3",)])


def test_processor_that_receives_grows_the_buffer_under_the_rows(packet: ModuleType) -> None:
    def processor(value: str) -> str:
        if value < "row 9":
            following = wire(text_row(b"row %d" % (int(value[4:]) + 1), b"x" * 40_000))
            (reader.feed if value < "row 4" else lambda data: receive(reader, data))(following)
        return value

    reader = make_reader(packet, wire(text_row(b"row 0", b"")))
    out: list[Any] = []
    decoder = packet.Decoder("ab", [TEXT, TEXT], [processor, None], "utf-8")

    assert reader.rows(decoder, out, False) is None
    assert out[0] == ("row 0", "")
    assert out[1:] == [(f"row {n}", "x" * 40_000) for n in range(1, 10)]


def test_processor_that_starts_everything_over_does_no_harm(packet: ModuleType) -> None:
    def processor(value: str) -> str:
        decoder.__init__("abc", [INT] * 3, [None] * 3, "utf-8")
        reader.__init__()
        return value * 2

    reader = make_reader(packet, wire(text_row(b"a" * 100, b"b"), text_row(b"c", b"d")))
    out: list[Any] = []
    decoder = packet.Decoder("ab", [TEXT, TEXT], [processor, processor], "utf-8")

    assert reader.rows(decoder, out, False) is None
    assert out == [("a" * 200, "bb")]


def test_rows_fed_byte_by_byte_take_linear_time(packet: ModuleType) -> None:
    reader = packet.Reader()
    decoder = make_decoder(packet, BYTES)
    out: list[Any] = []
    stream = wire(*[text_row(b"x" * 150_000)] * 2, EOF)

    for position in range(len(stream)):
        reader.feed(stream[position : position + 1])
        end = reader.rows(decoder, out, False)

    assert (len(out), end) == (2, EOF)


def test_row_of_40_mib_in_small_chunks_takes_linear_time(packet: ModuleType) -> None:
    reader = packet.Reader()
    decoder = make_decoder(packet, BYTES)
    out: list[Any] = []
    stream = memoryview(wire(text_row(b"x" * (40 << 20)), EOF))

    for position in range(0, len(stream), 1000):
        reader.feed(stream[position : position + 1000])
        end = reader.rows(decoder, out, False)

    assert (len(out[0][0]), end) == (40 << 20, EOF)


PLAIN = {
    "int": (INT, b"1"),
    "big int": (INT, b"9" * 40),
    "text": (TEXT, "é".encode()),
    "bytes": (BYTES, b"\xff"),
    "float": (FLOAT, b"1.5"),
    "decimal": (DECIMAL, b"1.50"),
    "date": (DATE, b"2024-02-29"),
    "datetime": (DATETIME, b"2024-02-29 23:59:58"),
    "time": (TIME, b"23:59:58"),
    "bool": (BOOL, b"1"),
    "null": (INT, None),
}


def is_tracked_in_python(row: tuple[Any, ...]) -> bool:
    """Whether the collector tracks a new tuple of a row's values; 3.14 looks at what they are."""
    values = [*row]
    return gc.is_tracked(tuple(values))


@pytest.mark.parametrize(("conversion", "value"), PLAIN.values(), ids=PLAIN)
def test_row_of_plain_values_is_the_collectors_in_the_pure_build_alone(
    packet: ModuleType, conversion: int, value: bytes | None
) -> None:
    row = make_decoder(packet, conversion, INT).row(text_row(value, b"2"))

    assert gc.is_tracked(row) is (packet is PURE and is_tracked_in_python(row))


def test_row_of_plain_processed_values_is_the_collectors_in_the_pure_build_alone(
    packet: ModuleType,
) -> None:
    decoder = packet.Decoder(["a", "b"], [INT, TEXT], [str, str.upper], "utf-8")

    row = decoder.row(text_row(b"1", b"x"))

    assert row == ("1", "X")
    assert gc.is_tracked(row) is (packet is PURE and is_tracked_in_python(row))


OBJECTS: dict[str, Callable[[Any], Any]] = {
    "dict": lambda value: {},
    "list": lambda value: [],
    "tuple": lambda value: (value, []),
    "set": lambda value: {value},
    "function": lambda value: lambda: value,
    "class": lambda value: type("C", (), {}),
    "int of a class": lambda value: type("I", (int,), {})(1),
    "text of a class": lambda value: type("S", (str,), {})("x"),
}


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("processor", OBJECTS.values(), ids=OBJECTS)
def test_row_of_objects_is_the_collectors(
    packet: ModuleType, processor: Callable[[Any], Any], position: int
) -> None:
    processors: list[Any] = [None, str, None]
    processors[position] = processor
    decoder = packet.Decoder(["a", "b", "c"], [INT] * 3, processors, "utf-8")

    row = decoder.row(text_row(b"1", b"2", b"3"))

    assert gc.is_tracked(row)


def test_cycle_through_a_row_of_values_is_collected(packet: ModuleType) -> None:
    class Value:
        row: Any

    decoder = packet.Decoder(["a", "b"], [INT, INT], [None, lambda _: Value()], "utf-8")
    row = decoder.row(text_row(b"1", b"2"))
    reference = weakref.ref(row[1])
    row[1].row = row

    del row
    gc.collect()

    assert reference() is None


def test_neither_rows_nor_errors_leak(packet: ModuleType) -> None:
    def fail(value: object) -> object:
        raise KeyError(value)

    text = b"a text that is not shared"
    plain = make_decoder(packet, TEXT, INT, DECIMAL)
    processing = packet.Decoder("ab", [TEXT, INT], [repr, repr], "utf-8")
    failing = packet.Decoder("ab", [TEXT, INT], [repr, fail], "utf-8")
    cases = [
        (plain, text_row(text, b"123456789", b"1.5")),
        (plain, text_row(text, b"123456789", b"1.5")[:-1]),
        (plain, text_row(text, b"123456789", b"1.5", b"2")),
        (plain, text_row(text, b"x", b"1")),
        (plain, text_row(text, b"123456789", b"x")),
        (plain, text_row(b"text \xff", b"123456789", b"1")),
        (processing, text_row(text, b"123456789")),
        (failing, text_row(text, b"123456789")),
    ]
    refusals = (UndecodableValue, MalformedPacket, KeyError)

    def run() -> None:
        for decoder, payload in cases:
            reader = make_reader(packet, wire(payload, ERROR))
            with suppress(*refusals):
                reader.rows(decoder, [], False)
            reader.rows(None, [], False)
        for packets in (wire(b"one", b"two"), wire(b""), wire(ERROR), wire(b"x", sequence=7)):
            reader = make_reader(packet, packets)
            reader.sequence = 0
            with suppress(*refusals):
                reader.definitions(2)

    run()
    gc.collect()
    tracemalloc.start()
    try:
        run()
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(500):
            run()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < 10_000  # one small object per round makes 16,000


# OK and EOF


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (bytes(7), (0, 0, 0, 0, b"")),
        (OK, (0, 0, 2, 0, b"")),
        (b"\x00\x01\x05\x02\x00\x03\x00info", (1, 5, 2, 3, b"info")),
        (
            b"\x00\xfd\x01\x00\x01\xfe" + b"\xff" * 8 + b"\x22\x80\xff\xff",
            (65537, (1 << 64) - 1, 0x8022, 65535, b""),
        ),
    ],
    ids=["zeros", "end of rows", "info", "long forms"],
)
def test_ok_packet_is_parsed(
    packet: ModuleType, payload: bytes, expected: tuple[object, ...]
) -> None:
    assert packet.parse_ok(payload) == expected


@pytest.mark.parametrize(
    "payload", [b"", b"\xff" * 7, b"\x01" * 7], ids=["empty", "error", "count"]
)
def test_other_packet_is_not_taken_for_ok(packet: ModuleType, payload: bytes) -> None:
    with pytest.raises(MalformedPacket, match="^expected an OK packet, got "):
        packet.parse_ok(payload)


def test_ok_packet_cut_anywhere_is_malformed(packet: ModuleType) -> None:
    payload = b"\x00\xfc\x01\x01\xfe" + bytes(8) + b"\x02\x00\x00\x00"

    for end in range(1, len(payload)):
        with pytest.raises(MalformedPacket, match="cut short"):
            packet.parse_ok(payload[:end])


@pytest.mark.parametrize("prefix", [b"\xfb", b"\xff"], ids=["fb", "ff"])
def test_ok_packet_with_an_impossible_length_is_malformed(
    packet: ModuleType, prefix: bytes
) -> None:
    with pytest.raises(MalformedPacket, match=f"^invalid length prefix {prefix[0]:#x}$"):
        packet.parse_ok(b"\x00" + prefix + bytes(20))


def test_eof_packet_is_parsed(packet: ModuleType) -> None:
    assert packet.parse_eof(b"\xfe\x01\x02\x22\x80") == (0x0201, 0x8022)


def test_eof_packet_cut_anywhere_is_malformed(packet: ModuleType) -> None:
    for end in range(5):
        with pytest.raises(MalformedPacket):
            packet.parse_eof(EOF[:end])


# Twins

DIGITS = st.text("0123456789", min_size=1, max_size=22)
VALUES = {
    TEXT: st.text(max_size=300).map(str.encode) | st.text("az ", max_size=40).map(str.encode),
    BYTES: st.binary(max_size=300),
    INT: st.integers(-(1 << 70), 1 << 70).map(lambda number: b"%d" % number)
    | DIGITS.map(str.encode),
    FLOAT: st.floats(allow_nan=False, allow_infinity=False).map(lambda value: repr(value).encode()),
    DECIMAL: st.decimals(allow_nan=False, allow_infinity=False, places=3).map(
        lambda value: f"{value:f}".encode()
    ),
    DATETIME: st.datetimes().map(lambda value: value.isoformat(" ").encode())
    | st.from_regex(
        rb"\A[0-2]0[0-9]{2}-[01][0-9]-[0-3][0-9] [0-2][0-9]:[0-6]0:00(\.[0-9]{1,6})?\Z"
    ),
    DATE: st.dates().map(lambda value: value.isoformat().encode())
    | st.from_regex(rb"\A[0-2][0-9]{3}-[01][0-9]-[0-3][0-9]\Z"),
    TIME: st.from_regex(rb"\A-?[0-9]{2,3}:[0-6][0-9]:[0-6][0-9](\.[0-9]{1,6})?\Z"),
    BOOL: st.sampled_from([b"0", b"1"]),
    DECIMAL_AS_FLOAT: st.from_regex(rb"\A-?[0-9]{1,20}(\.[0-9]{1,20})?\Z"),
}
CHARACTERS = [*b"0123456789-+.:eE _TZn", 0, 0x7F, 0x80, 0xC3, 0xFF]
GARBAGE = st.lists(st.sampled_from(CHARACTERS), max_size=28).map(bytes)


@st.composite
def mutated(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Bytes of *source* of which some have been changed, put in or taken out."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(data)))
        replaced = draw(st.integers(0, 2))
        data[position : position + replaced] = draw(st.binary(max_size=2))
    return bytes(data)


@st.composite
def results(draw: st.DrawFn) -> tuple[list[int], bytes]:
    """Conversions, and rows with their end as they come over the wire."""
    conversions = draw(st.lists(st.sampled_from(CODES), min_size=1, max_size=6))
    row = st.tuples(*[st.none() | VALUES[conversion] for conversion in conversions])
    payloads = [text_row(*values) for values in draw(st.lists(row, max_size=6))]
    return conversions, wire(*payloads, draw(st.sampled_from([EOF, OK, ERROR])), b"next")


@given(st.sampled_from(CODES).flatmap(lambda code: st.tuples(st.just(code), VALUES[code])))
def test_twins_convert_the_same(case: tuple[int, bytes]) -> None:
    conversion, value = case

    result = agree(lambda packet: make_decoder(packet, conversion).row(text_row(value)))

    assert isinstance(result, str)  # no error


@given(
    st.sampled_from(CODES).flatmap(
        lambda code: st.tuples(st.just(code), GARBAGE | mutated(VALUES[code]) | st.binary())
    ),
    st.sampled_from(["utf-8", "latin1", "cp1252", "ascii", "gbk", "cp932", "big5", "utf-16"]),
)
def test_twins_refuse_the_same(case: tuple[int, bytes], encoding: str) -> None:
    conversion, value = case

    agree(lambda packet: make_decoder(packet, conversion, encoding=encoding).row(text_row(value)))


@given(st.lists(st.sampled_from(CODES), max_size=4), st.binary(max_size=40))
def test_twins_decode_any_payload_the_same(conversions: list[int], payload: bytes) -> None:
    agree(lambda packet: make_decoder(packet, *conversions).row(payload))


@given(results(), st.booleans(), st.lists(st.integers(0, 3000), max_size=8))
def test_twins_read_the_same_rows_however_they_are_split(
    result: tuple[list[int], bytes], deprecate_eof: bool, cuts: list[int]
) -> None:
    conversions, stream = result

    def read(packet: ModuleType, chunks: list[bytes]) -> list[Any]:
        return read_rows(packet, chunks, conversions, deprecate_eof=deprecate_eof)

    whole = agree(lambda packet: read(packet, [stream]))

    assert agree(lambda packet: read(packet, split(stream, cuts))) == whole
    assert agree(lambda packet: read(packet, split(stream, range(len(stream))))) == whole


@given(
    results().flatmap(lambda case: st.tuples(st.just(case[0]), mutated(st.just(case[1])))),
    st.booleans(),
    st.lists(st.integers(0, 3000), max_size=8),
    st.sampled_from([-1, 0]),
    st.sampled_from([1 << 30, 50]),
)
def test_twins_read_the_same_from_a_broken_stream(
    result: tuple[list[int], bytes],
    deprecate_eof: bool,
    cuts: list[int],
    sequence: int,
    limit: int,
) -> None:
    conversions, stream = result

    def read(packet: ModuleType, chunks: list[bytes]) -> list[Any]:
        return read_rows(
            packet,
            chunks,
            conversions,
            deprecate_eof=deprecate_eof,
            sequence=sequence,
            limit=limit,
        )

    whole = agree(lambda packet: read(packet, [stream]))

    assert agree(lambda packet: read(packet, split(stream, cuts))) == whole
    assert agree(lambda packet: read(packet, split(stream, range(len(stream))))) == whole


def test_stream_cut_at_each_byte_gives_the_rows_before_the_cut(packet: ModuleType) -> None:
    conversions = [INT, TEXT, DECIMAL, DATETIME]
    rows = [
        (b"%d" % n, b"x" * n * 50, None if n % 3 else b"1.50", b"2024-01-01 00:00:00")
        for n in range(8)
    ]
    payloads = [text_row(*values) for values in rows]
    stream = wire(*payloads, EOF)
    ends = [len(wire(*payloads[:count])) for count in range(1, 9)]
    decoder = make_decoder(packet, *conversions)

    for cut in range(len(stream)):
        reader = make_reader(packet, stream[:cut])
        out: list[Any] = []
        assert reader.rows(decoder, out, False) is None
        assert len(out) == sum(end <= cut for end in ends)
        reader.feed(stream[cut:])
        assert reader.rows(decoder, out, False) == EOF
        assert len(out) == 8


@given(st.binary(max_size=60) | st.lists(st.binary(max_size=5)).map(lambda all_: wire(*all_)))
@example(wire(b"a", b"b", ERROR))
@example(wire(b"a", b""))
def test_twins_frame_the_same(stream: bytes) -> None:
    def read(packet: ModuleType, call: Callable[[Any], Any], chunks: list[bytes]) -> list[Any]:
        reader = packet.Reader(1000)
        found = []
        for chunk in chunks:
            reader.feed(chunk)
            try:
                while (data := call(reader)) is not None:
                    found.append(data)
            except MalformedPacket as error:
                return [*found, str(error)]
        return [*found, reader.buffered, reader.sequence]

    in_bytes = split(stream, range(len(stream)))
    for call in (lambda reader: reader.packet(), lambda reader: reader.definitions(2)):
        whole = agree(lambda packet, call=call: read(packet, call, [stream]))
        assert agree(lambda packet, call=call: read(packet, call, in_bytes)) == whole


@given(
    st.binary(max_size=30)
    | st.builds(bytes.__add__, st.sampled_from([b"\x00", b"\xfe"]), st.binary(max_size=30))
)
def test_twins_parse_status_packets_the_same(payload: bytes) -> None:
    agree(lambda packet: packet.parse_ok(payload))
    agree(lambda packet: packet.parse_eof(payload))
