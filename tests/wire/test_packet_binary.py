"""Binary rows to values: `_packet`'s `Decoder` with wire codes, in both implementations."""

from __future__ import annotations

import math
import random
import struct
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import product
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twins import twins

from aiomysqlx.wire.codes import (
    BOOL,
    BYTES,
    CALENDAR,
    CLOCK,
    DATE,
    DATETIME,
    DECIMAL,
    DECIMAL_AS_FLOAT,
    FLOAT,
    FLOAT32,
    FLOAT64,
    INT,
    INT8,
    INT16,
    INT32,
    INT64,
    KIND_BITS,
    SIZED,
    TEXT,
    TIME,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
    WIDTHS,
)
from aiomysqlx.wire.packets import MalformedPacket, UndecodableValue, length

pytestmark = pytest.mark.twins

TWINS = twins("packet")
KINDS = range(len(WIDTHS))
CONVERSIONS = range(DECIMAL_AS_FLOAT + 1)
FITTING = {
    **dict.fromkeys(range(INT8, FLOAT32), (INT, BOOL)),
    **dict.fromkeys((FLOAT32, FLOAT64), (FLOAT, DECIMAL_AS_FLOAT)),
    SIZED: tuple(CONVERSIONS),
    CALENDAR: (DATETIME, DATE),
    CLOCK: (TIME,),
}
PAIRS = [(kind, conversion) for kind in KINDS for conversion in FITTING[kind]]


def wire(kind: int, decimals: int = 31) -> int:
    return kind | decimals << KIND_BITS


def make_decoder(
    packet: ModuleType,
    columns: Sequence[tuple[int, int]],
    processors: Sequence[Callable[[Any], Any] | None] | None = None,
    encoding: str = "utf-8",
) -> Any:
    """A decoder of columns that each have a wire code and a conversion."""
    names = [f"c{column}" for column in range(len(columns))]
    wires = [code for code, _ in columns]
    conversions = [conversion for _, conversion in columns]
    processors = processors or [None] * len(columns)
    return packet.Decoder(names, conversions, processors, encoding, wires)


def binary_row(*values: bytes | None) -> bytes:
    """The payload of a row packet; each value as it stands there."""
    nulls = sum(4 << column for column, value in enumerate(values) if value is None)
    bitmap = nulls.to_bytes(len(values) + 9 >> 3, "little")
    return b"\0" + bitmap + b"".join(value for value in values if value is not None)


def sized(value: bytes) -> bytes:
    return length(len(value)) + value


def decode(packet: ModuleType, code: int, conversion: int, value: bytes | None) -> Any:
    return make_decoder(packet, [(code, conversion)]).row(binary_row(value))[0]


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


def calendar(*fields: int) -> bytes:
    """A date or datetime: year, month, day, hour, minute, second, microsecond, or fewer."""
    data = struct.pack("<HBBBBBI", *fields, *[0] * (7 - len(fields)))
    return sized(data[: {0: 0, 3: 4, 6: 7, 7: 11}[len(fields)]])


def clock(negative: int, *fields: int) -> bytes:
    """A time: days, hour, minute, second and microsecond, or without that."""
    data = struct.pack("<BIBBBI", negative, *fields, *[0] * (5 - len(fields)))
    return sized(data[: {4: 8, 5: 12}[len(fields)]])


INTEGERS = {INT8: (1, True), UINT8: (1, False), INT16: (2, True), UINT16: (2, False)}
INTEGERS |= {INT32: (4, True), UINT32: (4, False), INT64: (8, True), UINT64: (8, False)}


@pytest.mark.parametrize("kind", INTEGERS)
def test_integer_has_its_sign_and_size(packet: ModuleType, kind: int) -> None:
    size, signed = INTEGERS[kind]
    half = 1 << 8 * size - 1
    for number in (0, 1, half - 1, *((-1, -half) if signed else (half, 2 * half - 1))):
        data = number.to_bytes(size, "little", signed=signed)

        found = decode(packet, wire(kind, 0), INT, data)
        truth = decode(packet, wire(kind, 0), BOOL, data)

        assert (found, type(found)) == (number, int)
        assert truth is (number != 0)


def test_any_byte_of_a_number_makes_it_true(packet: ModuleType) -> None:
    for kind, (size, _) in INTEGERS.items():
        for byte in range(size):
            assert decode(packet, kind, BOOL, (1 << 8 * byte).to_bytes(size, "little")) is True


@pytest.mark.parametrize("conversion", [FLOAT, DECIMAL_AS_FLOAT])
@pytest.mark.parametrize("number", [0.0, -0.0, 0.1, 1e308, 5e-324, -1 / 3, 123456.789])
def test_double_has_all_its_digits(packet: ModuleType, number: float, conversion: int) -> None:
    for decimals in (31, 39, 255):
        found = decode(packet, wire(FLOAT64, decimals), conversion, struct.pack("<d", number))

        assert repr(found) == repr(number)


@pytest.mark.parametrize(
    ("number", "decimals", "expected"),
    [
        (1.005, 2, 1.0),
        (0.125, 2, 0.12),
        (0.375, 2, 0.38),
        (-0.001, 2, -0.0),
        (2.5, 0, 2.0),
        (3.5, 0, 4.0),
        (0.1, 30, 0.1),
        (1e300, 30, 1e300),
        (1e-31, 30, 0.0),
    ],
)
def test_double_of_so_many_decimals_is_rounded(
    packet: ModuleType, number: float, decimals: int, expected: float
) -> None:
    found = decode(packet, wire(FLOAT64, decimals), FLOAT, struct.pack("<d", number))

    assert repr(found) == repr(expected)


@pytest.mark.parametrize(
    ("number", "decimals", "expected"),
    [
        (16777216.0, 31, 16777200.0),
        (0.1, 31, 0.1),
        (1234565.0, 31, 1234560.0),
        (-0.0, 31, -0.0),
        (3.4028234e38, 31, 3.40282e38),
        (1e-45, 31, 1.4013e-45),
        (1.0625, 3, 1.062),
        (99999.999, 3, 100000.0),
    ],
)
def test_float_has_six_digits_or_its_decimals(
    packet: ModuleType, number: float, decimals: int, expected: float
) -> None:
    found = decode(packet, wire(FLOAT32, decimals), FLOAT, struct.pack("<f", number))

    assert repr(found) == repr(expected)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("kind", "layout"), [(FLOAT32, "<f"), (FLOAT64, "<d")])
def test_number_that_is_not_finite_is_refused(
    packet: ModuleType, kind: int, layout: str, number: float
) -> None:
    data = struct.pack(layout, number)
    for decimals in (2, 31):
        with pytest.raises(UndecodableValue, match=r"^column 'c0': expected a float, got b'"):
            decode(packet, wire(kind, decimals), FLOAT, data)


MOMENTS: list[tuple[bytes, int, Any]] = [
    (calendar(), 0, "0000-00-00 00:00:00"),
    (calendar(), 3, "0000-00-00 00:00:00.000"),
    (calendar(), 31, "0000-00-00 00:00:00"),
    (calendar(2020, 1, 2), 0, datetime(2020, 1, 2)),
    (calendar(2020, 1, 2, 3, 4, 5), 0, datetime(2020, 1, 2, 3, 4, 5)),
    (calendar(2020, 1, 2, 3, 4, 5, 6), 6, datetime(2020, 1, 2, 3, 4, 5, 6)),
    (calendar(2020, 1, 2, 3, 4, 5, 6), 31, datetime(2020, 1, 2, 3, 4, 5, 6)),
    (calendar(2020, 1, 2, 3, 4, 5, 999999), 0, datetime(2020, 1, 2, 3, 4, 5)),
    (calendar(2020, 1, 2, 3, 4, 5, 999999), 1, datetime(2020, 1, 2, 3, 4, 5, 900000)),
    (calendar(2020, 1, 2, 3, 4, 5, 999999), 5, datetime(2020, 1, 2, 3, 4, 5, 999990)),
    (calendar(1, 1, 1), 6, datetime.min),
    (calendar(9999, 12, 31, 23, 59, 59, 999999), 6, datetime.max),
    (calendar(2020, 0, 1), 0, "2020-00-01 00:00:00"),
    (calendar(2020, 1, 0, 1, 2, 3, 450000), 2, "2020-01-00 01:02:03.45"),
    (calendar(2020, 1, 0, 1, 2, 3, 450000), 31, "2020-01-00 01:02:03.450000"),
    (calendar(2023, 2, 29), 0, "2023-02-29 00:00:00"),
    (calendar(2024, 2, 30), 0, "2024-02-30 00:00:00"),
    (calendar(1900, 2, 29), 0, "1900-02-29 00:00:00"),
    (calendar(2000, 2, 29), 0, datetime(2000, 2, 29)),
    (calendar(2020, 4, 31), 0, "2020-04-31 00:00:00"),
    (calendar(2020, 13, 1), 0, "2020-13-01 00:00:00"),
    (calendar(0, 1, 1), 0, "0000-01-01 00:00:00"),
    (calendar(2020, 1, 1, 24, 0, 0), 0, "2020-01-01 24:00:00"),
    (calendar(2020, 1, 1, 0, 60, 0), 0, "2020-01-01 00:60:00"),
    (calendar(2020, 1, 1, 0, 0, 60), 0, "2020-01-01 00:00:60"),
    (calendar(2020, 99, 99, 99, 99, 99), 0, "2020-99-99 99:99:99"),
]


@pytest.mark.parametrize(("data", "decimals", "expected"), MOMENTS)
def test_moment_is_a_datetime_or_what_text_has(
    packet: ModuleType, data: bytes, decimals: int, expected: Any
) -> None:
    found = decode(packet, wire(CALENDAR, decimals), DATETIME, data)

    assert (found, type(found)) == (expected, type(expected))


DAYS: list[tuple[bytes, Any]] = [
    (calendar(), "0000-00-00"),
    (calendar(2020, 2, 29), date(2020, 2, 29)),
    (calendar(1, 1, 1), date.min),
    (calendar(9999, 12, 31), date.max),
    (calendar(2020, 0, 0), "2020-00-00"),
    (calendar(2021, 2, 29), "2021-02-29"),
    (calendar(9999, 99, 99), "9999-99-99"),
]


@pytest.mark.parametrize(("data", "expected"), DAYS)
def test_day_is_a_date_or_what_text_has(packet: ModuleType, data: bytes, expected: Any) -> None:
    found = decode(packet, wire(CALENDAR, 0), DATE, data)

    assert (found, type(found)) == (expected, type(expected))


TIMES: list[tuple[bytes, int, Any]] = [
    (b"\0", 0, timedelta()),
    (clock(0, 0, 10, 11, 12), 0, timedelta(hours=10, minutes=11, seconds=12)),
    (clock(1, 34, 22, 59, 59), 0, -timedelta(hours=838, minutes=59, seconds=59)),
    (clock(1, 0, 0, 0, 0, 1), 6, timedelta(microseconds=-1)),
    (clock(0, 1, 0, 0, 0, 999999), 2, timedelta(days=1, microseconds=990000)),
    (clock(0, 0, 255, 59, 59), 0, timedelta(hours=255, minutes=59, seconds=59)),
    (clock(0, 41, 15, 59, 59), 0, timedelta(hours=999, minutes=59, seconds=59)),
    (clock(2, 0, 1, 0, 0), 0, timedelta(hours=-1)),
    (clock(0, 0, 1, 60, 0), 0, "01:60:00"),
    (clock(1, 5, 0, 0, 60, 5), 6, "-120:00:60.000005"),
    (clock(0, 0, 1, 99, 99, 123456), 3, "01:99:99.123"),
]


@pytest.mark.parametrize(("data", "decimals", "expected"), TIMES)
def test_time_is_an_interval_or_what_text_has(
    packet: ModuleType, data: bytes, decimals: int, expected: Any
) -> None:
    found = decode(packet, wire(CLOCK, decimals), TIME, data)

    assert (found, type(found)) == (expected, type(expected))


REFUSED = {
    DATE: [
        *(calendar(10000, 1, 1), calendar(65535, 255, 255), calendar(2020, 100, 1)),
        *(calendar(2020, 1, 100), calendar(2020, 1, 1, 1, 1, 1), sized(b"\0")),
        *(calendar(2020, 1, 1, 1, 1, 1, 1), sized(bytes(5)), sized(bytes(250))),
    ],
    DATETIME: [
        *(calendar(10000, 1, 1), calendar(2020, 100, 1), calendar(2020, 1, 100)),
        *(calendar(2020, 1, 1, 100, 0, 0), calendar(2020, 1, 1, 0, 100, 0)),
        *(calendar(2020, 1, 1, 0, 0, 100), calendar(2020, 1, 1, 0, 0, 0, 1000000)),
        *(calendar(0, 0, 0, 0, 0, 0, 1000000), calendar(0, 0, 0, 0, 0, 0, 0xFFFFFFFF)),
        *(sized(bytes(size)) for size in (1, 2, 3, 5, 6, 8, 10, 12, 250)),
    ],
    TIME: [
        *(clock(0, 41, 16, 0, 0), clock(0, 0xFFFFFFFF, 255, 0, 0), clock(1, 0, 0, 100, 0)),
        *(clock(0, 0, 0, 0, 100), clock(0, 0, 0, 0, 0, 1000000)),
        *(sized(bytes(size)) for size in (1, 7, 9, 11, 13, 250)),
    ],
}
WORDS = {DATE: "a date", DATETIME: "a datetime", TIME: "a time"}


@pytest.mark.parametrize(
    ("conversion", "data"), [(code, data) for code, each in REFUSED.items() for data in each]
)
@pytest.mark.parametrize("decimals", [0, 3, 6, 31])
def test_what_is_no_such_text_is_refused(conversion: int, data: bytes, decimals: int) -> None:
    kind = CLOCK if conversion == TIME else CALENDAR

    error, words, _ = agree(lambda packet: decode(packet, wire(kind, decimals), conversion, data))

    assert error is UndecodableValue
    assert words == f"column 'c0': expected {WORDS[conversion]}, got {data[1:][:64]!r}"


SIZED_VALUES: list[tuple[int, bytes, Any]] = [
    (TEXT, b"", ""),
    (TEXT, "ünï 😀".encode(), "ünï 😀"),
    (TEXT, b"x" * 250, "x" * 250),
    (TEXT, b"x" * 251, "x" * 251),
    (TEXT, b"x" * 65536, "x" * 65536),
    (BYTES, b"\0\xff", b"\0\xff"),
    (DECIMAL, b"-1.50", Decimal("-1.50")),
    (DECIMAL_AS_FLOAT, b"-1.50", -1.5),
    (DECIMAL, b"9" * 65, Decimal("9" * 65)),
]


@pytest.mark.parametrize(("conversion", "data", "expected"), SIZED_VALUES)
def test_value_with_a_length_is_converted_as_in_text(
    packet: ModuleType, conversion: int, data: bytes, expected: Any
) -> None:
    found = decode(packet, SIZED, conversion, sized(data))

    assert repr(found) == repr(expected)


def test_text_that_does_not_decode_is_refused_in_the_words_of_text(packet: ModuleType) -> None:
    with pytest.raises(UndecodableValue, match="^column 'c0': 'utf-8' codec can't decode byte"):
        decode(packet, SIZED, TEXT, sized(b"\xff"))
    with pytest.raises(UndecodableValue, match=r"^column 'c0': expected a decimal, got b'NaN'$"):
        decode(packet, SIZED, DECIMAL, sized(b"NaN"))


@pytest.mark.parametrize("count", [1, 5, 6, 7, 13, 14, 15, 300])
def test_null_is_told_by_a_bit_in_every_place(packet: ModuleType, count: int) -> None:
    decoder = make_decoder(packet, [(INT8, INT)] * count)
    for place in {0, 1, count // 2, count - 1}:
        values = [None if column == place else bytes([column % 100]) for column in range(count)]

        row = decoder.row(binary_row(*values))

        assert row == tuple(None if value is None else value[0] for value in values)
    assert decoder.row(binary_row(*[None] * count)) == (None,) * count


def test_bits_of_no_column_mean_nothing(packet: ModuleType) -> None:
    assert make_decoder(packet, [(INT8, INT)]).row(b"\0\xfb\5") == (5,)


def test_processors_run_last_and_on_null_too(packet: ModuleType) -> None:
    seen: list[Any] = []
    decoder = make_decoder(packet, [(INT8, INT), (INT8, INT)], [seen.append, lambda value: [value]])

    assert decoder.row(binary_row(b"\1", None)) == (None, [None])
    assert seen == [1]
    with pytest.raises(MalformedPacket):
        decoder.row(binary_row(b"\1", b"\2") + b"\0")
    assert seen == [1]


def test_row_begins_with_a_zero(packet: ModuleType) -> None:
    decoder = make_decoder(packet, [(INT8, INT)])

    for first in (1, 0xFB, 0xFE, 0xFF):
        message = f"^row packet begins with {first:#04x}, expected 0x00$"
        with pytest.raises(MalformedPacket, match=message):
            decoder.row(bytes([first, 0, 1]))


@pytest.mark.parametrize("left", [1, 2, 1000])
def test_bytes_left_over_are_refused(packet: ModuleType, left: int) -> None:
    decoder = make_decoder(packet, [(INT8, INT)])

    with pytest.raises(MalformedPacket, match=f"^row packet has {left} bytes left over$"):
        decoder.row(binary_row(b"\1") + bytes(left))


def test_row_cut_anywhere_is_refused() -> None:
    columns = [
        *((INT8, INT), (UINT16, INT), (INT32, BOOL), (UINT64, INT), (FLOAT32, FLOAT)),
        *((FLOAT64, FLOAT), (CALENDAR, DATETIME), (CALENDAR, DATE), (CLOCK, TIME)),
        *((SIZED, TEXT), (SIZED, DECIMAL), (SIZED, BYTES)),
    ]
    row = binary_row(
        *(b"\1", b"\1\2", bytes(4), bytes(8), bytes(4), bytes(8)),
        *(calendar(2020, 1, 1, 1, 1, 1, 1), calendar(2020, 1, 1), clock(0, 1, 1, 1, 1, 1)),
        *(sized(b"abc"), sized(b"1.5"), sized(b"x" * 300)),
    )
    assert "ünexpected" not in agree(lambda packet: make_decoder(packet, columns).row(row))

    for size in range(len(row)):
        cut = row[:size]
        error, words, _ = agree(lambda packet, cut=cut: make_decoder(packet, columns).row(cut))

        assert error is MalformedPacket
        assert words in ("row packet is cut short", "packet is cut short")


LENGTHS = [
    *(b"", b"\xfb", b"\xff", b"\xfc", b"\xfc\1", b"\xfd\1\0"),
    *(b"\xfe" + b"\xff" * 8, b"\xfe\1" + bytes(7)),
]


@pytest.mark.parametrize("kind", [SIZED, CALENDAR, CLOCK])
@pytest.mark.parametrize("data", LENGTHS, ids=repr)
def test_length_is_checked_before_it_is_used(kind: int, data: bytes) -> None:
    for conversion in FITTING[kind]:
        error, _, _ = agree(
            lambda packet, conversion=conversion: decode(packet, kind, conversion, data)
        )

        assert error is MalformedPacket


@pytest.mark.parametrize("code", [-1, 13, 14, 15, 256 << KIND_BITS, (1 << 70) + 1])
def test_unknown_wire_code_is_refused(packet: ModuleType, code: int) -> None:
    with pytest.raises(ValueError, match=f"^unknown wire code {code}$"):
        make_decoder(packet, [(code, INT)])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_each_column_has_a_wire_code(packet: ModuleType, count: int) -> None:
    with pytest.raises(ValueError, match=f"^expected 2 wire codes, got {count}$"):
        packet.Decoder(["a", "b"], [INT, INT], [None, None], "utf-8", [INT8] * count)


def test_conversion_goes_with_its_wire_codes_alone(packet: ModuleType) -> None:
    for kind, conversion in product(KINDS, CONVERSIONS):
        if conversion in FITTING[kind]:
            make_decoder(packet, [(wire(kind, 255), conversion)])
            continue
        message = f"^conversion {conversion} does not go with wire code {wire(kind)}$"
        with pytest.raises(ValueError, match=message):
            make_decoder(packet, [(wire(kind), conversion)])


def test_no_columns_are_a_row_all_the_same(packet: ModuleType) -> None:
    assert make_decoder(packet, []).row(b"\0\0") == ()


def test_decoder_made_anew_decodes_what_it_is_now(packet: ModuleType) -> None:
    decoder = make_decoder(packet, [(INT8, INT)])
    decoder.__init__(["a"], [TEXT], [None], "utf-8")
    assert decoder.row(b"\1x") == ("x",)

    decoder.__init__(["a", "b"], [INT, BOOL], [None, None], "utf-8", [UINT8, UINT8])
    assert decoder.row(binary_row(b"\xff", b"\1")) == (255, True)


@pytest.mark.parametrize("deprecate_eof", [False, True])
def test_reader_reads_binary_rows_up_to_their_end(packet: ModuleType, deprecate_eof: bool) -> None:
    decoder = make_decoder(packet, [(SIZED, BYTES)])
    end = b"\xfe\0\0\2\0\0\0" if deprecate_eof else b"\xfe\0\0\2\0"
    payloads = [binary_row(sized(b"x" * size)) for size in (0, 7, 300)] + [binary_row(None), end]
    reader = packet.Reader()
    for number, payload in enumerate(payloads):
        reader.feed(len(payload).to_bytes(3, "little") + bytes([number]) + payload)
    reader.sequence = 0
    rows: list[Any] = []

    assert reader.rows(decoder, rows, deprecate_eof) == end
    assert rows == [(b"",), (b"x" * 7,), (b"x" * 300,), (None,)]


codes = st.tuples(st.sampled_from(PAIRS), st.integers(0, 255) | st.sampled_from([0, 3, 6, 31])).map(
    lambda drawn: (wire(drawn[0][0], drawn[1]), drawn[0][1])
)
fields = st.binary(max_size=13)


@st.composite
def rows_of(draw: st.DrawFn) -> tuple[list[tuple[int, int]], bytes]:
    """Columns, and the payload of a row of them with values of the sizes that there are."""
    columns = draw(st.lists(codes, max_size=12))
    values = []
    for code, conversion in columns:
        kind = code & (1 << KIND_BITS) - 1
        width = WIDTHS[kind]
        if draw(st.integers(0, 7)) == 0:
            values.append(None)
        elif width:
            values.append(draw(st.binary(min_size=width, max_size=width)))
        elif kind == SIZED:
            text = {DECIMAL: b"-12.50", INT: b"77", DATE: b"2020-01-01", TIME: b"-01:02:03.5"}
            values.append(sized(draw(st.sampled_from([text.get(conversion, b"1")]) | st.binary())))
        else:
            size = draw(st.sampled_from([0, 4, 7, 8, 11, 12]))
            values.append(sized(draw(st.binary(min_size=size, max_size=size))))
    return columns, binary_row(*values)


@given(rows_of(), st.sampled_from(["utf-8", "cp1252", "shift_jis"]))
def test_twins_decode_the_same(drawn: tuple[Any, bytes], encoding: str) -> None:
    columns, row = drawn

    agree(lambda packet: make_decoder(packet, columns, encoding=encoding).row(row))


@given(st.lists(codes, max_size=12), st.binary(max_size=80))
@example([(INT8, INT)], b"")
def test_twins_take_any_bytes_alike(columns: Any, row: bytes) -> None:
    agree(lambda packet: make_decoder(packet, columns).row(row))
    agree(lambda packet: make_decoder(packet, columns).row(b"\0" + row))


@given(rows_of(), st.data())
def test_twins_take_changed_rows_alike(drawn: tuple[Any, bytes], data: Any) -> None:
    columns, row = drawn
    changed = bytearray(row)
    position = data.draw(st.integers(0, len(row)))
    changed[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))

    agree(lambda packet: make_decoder(packet, columns).row(bytes(changed)))


def written(moment: datetime, decimals: int) -> bytes:
    """A datetime as the text protocol has it."""
    text = f"{moment:%Y-%m-%d %H:%M:%S.%f}".zfill(26)
    return text[: 20 + decimals if decimals else 19].encode()


@given(
    st.datetimes(), st.integers(0, 6), st.timedeltas(timedelta(hours=-838), timedelta(hours=838))
)
def test_moments_are_those_of_text(moment: datetime, decimals: int, interval: timedelta) -> None:
    unit = 10 ** (6 - decimals)
    moment = moment.replace(microsecond=moment.microsecond // unit * unit)
    fields = (*moment.timetuple()[:6], moment.microsecond)
    micros = abs(interval) // timedelta(microseconds=unit) * unit
    seconds, micro = divmod(micros, 10**6)
    sign = "-" if interval < timedelta() else ""
    text = f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{micro:06}"
    text = text[: len(text) - 6 + decimals] if decimals else text[:-7]
    parts = divmod(seconds // 3600, 24)
    time = clock(bool(sign), *parts, seconds // 60 % 60, seconds % 60, micro)
    for packet in TWINS:
        decoder = packet.Decoder(["a", "b"], [DATETIME, TIME], [None, None], "utf-8")
        as_text = decoder.row(sized(written(moment, decimals)) + sized(text.encode()))
        binary = make_decoder(
            packet, [(wire(CALENDAR, decimals), DATETIME), (wire(CLOCK, decimals), TIME)]
        )

        assert repr(binary.row(binary_row(calendar(*fields), time))) == repr(as_text)


def test_random_numbers_are_rounded_alike() -> None:
    chance = random.Random(3)
    for _ in range(3000):
        data = chance.randbytes(8)
        decimals = chance.choice((0, 1, 2, 5, 10, 17, 29, 30, 31))
        for kind, part in ((FLOAT64, data), (FLOAT32, data[:4])):
            code = wire(kind, decimals)
            agree(lambda packet, code=code, part=part: decode(packet, code, FLOAT, part))
