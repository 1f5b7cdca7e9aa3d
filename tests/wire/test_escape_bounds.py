"""Each bound of the writers of literals: at it, just under it and just over it."""

from __future__ import annotations

import enum
import random
import sys
from collections import deque
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal, localcontext
from time import struct_time
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from aiomysqlx.exc import ArgumentError
from aiomysqlx.wire.codes import HEX_BYTES, ZONES_DROPPED, ZONES_TO_UTC, InList

pytestmark = pytest.mark.twins

NO_BACKSLASH_ESCAPES = 1
MAX = 0xFFFFFF


# -- numbers


def around(number: int) -> Iterator[int]:
    yield from (number - 1, number, number + 1, -number - 1, -number, -number + 1)


INTS = {near for power in range(23) for near in around(10**power)}
INTS |= {near for power in range(130) for near in around(2**power)}


def test_int_is_its_digits(escape: ModuleType) -> None:
    for number in sorted(INTS):
        assert escape.escape(number, "utf8", 0) == str(number).encode()


def test_int_may_have_as_many_digits_as_the_interpreter_writes(escape: ModuleType) -> None:
    most = sys.get_int_max_str_digits()
    largest = 10**most - 1

    assert escape.escape(largest, "utf8", 0) == b"9" * most
    assert escape.escape(-largest, "utf8", 0) == b"-" + b"9" * most
    for number in (largest + 1, -largest - 1):
        with pytest.raises(
            ArgumentError, match=f"^cannot send an int of {number.bit_length()} bits"
        ):
            escape.escape(number, "utf8", 0)


# As they are written, and as the server has to read them.
FLOATS = {
    0.0001: b"0.0001e0",
    0.00010000000000000002: b"0.00010000000000000002e0",
    0.00009999999999999999: b"9.999999999999999e-05",
    0.000101: b"0.000101e0",
    0.0001015: b"0.0001015e0",
    0.000001: b"1e-06",
    0.1: b"0.1e0",
    0.5: b"0.5e0",
    0.999999: b"0.999999e0",
    0.9999995: b"0.9999995e0",
    0.9999999: b"0.9999999e0",
    1.0: b"1.0e0",
    1.000001: b"1.000001e0",
    1.0000001: b"1.0000001e0",
    9.9: b"9.9e0",
    9.99999: b"9.99999e0",
    10.0: b"10.0e0",
    100.01: b"100.01e0",
    123456.789: b"123456.789e0",
    999999999.0: b"999999999.0e0",
    999999999.999999: b"999999999.999999e0",
    999999999.9999999: b"999999999.9999999e0",
    1e9: b"1000000000.0e0",
    1000000000.000001: b"1000000000.000001e0",
    8589934591.999999: b"8589934591.999999e0",
    8589934592.000001: b"8589934592.000002e0",
    9643044116.844275: b"9643044116.844275e0",
    97242172009.92493: b"97242172009.92493e0",
    670843852309.9071: b"670843852309.9071e0",
    99999999999.99998: b"99999999999.99998e0",
    123456789012.12344: b"123456789012.12344e0",
    999999999999.9999: b"999999999999.9999e0",
    1e12: b"1000000000000.0e0",
    9007199254740991.0: b"9007199254740991.0e0",
    9007199254740992.0: b"9007199254740992.0e0",
    9007199254740994.0: b"9007199254740994.0e0",
    9999999999999998.0: b"9999999999999998.0e0",
    1e16: b"1e+16",
    1e22: b"1e+22",
    1e23: b"1e+23",
    sys.float_info.max: b"1.7976931348623157e+308",
    sys.float_info.min: b"2.2250738585072014e-308",
    5e-324: b"5e-324",
    0.0: b"0.0e0",
}


@pytest.mark.parametrize(("number", "literal"), FLOATS.items(), ids=map(repr, FLOATS))
def test_float_is_its_shortest_text(escape: ModuleType, number: float, literal: bytes) -> None:
    assert escape.escape(number, "utf8", 0) == literal
    assert escape.escape(-number, "utf8", 0) == b"-" + literal


def test_float_of_any_size_reads_back(escape: ModuleType) -> None:
    source = random.Random(7)
    for power in range(-12, 20):
        for decimals in range(10):
            for _ in range(20):
                number = round(source.uniform(1, 10) * 10.0**power, decimals)
                text = repr(number)

                assert escape.escape(number, "utf8", 0).decode() == (
                    text if "e" in text else f"{text}e0"
                )


def digits_of(count: int) -> list[Decimal]:
    """Give decimals of *count* digits before and behind the point, and none that need not be."""
    return [
        Decimal("9" * count),
        Decimal("-" + "9" * count),
        Decimal("0." + "0" * (count - 2) + "1"),
        Decimal("-0." + "9" * (count - 1)),
        Decimal("9." + "9" * (count - 1)),
        Decimal(f"1E+{count - 1}"),
        Decimal(f"-12E+{count - 2}"),
        Decimal(f"1E-{count - 1}"),
        Decimal(f"-12E-{count - 1}"),
        Decimal(f"0E-{count - 1}"),
    ]


@pytest.mark.parametrize("count", [998, 999, 1000])
def test_decimal_may_have_1000_digits(escape: ModuleType, count: int) -> None:
    for number in digits_of(count):
        literal = escape.escape(number, "utf8", 0)

        assert literal == f"{number:f}".encode()
        assert sum(map(str.isdigit, literal.decode())) == count


@pytest.mark.parametrize("count", [1001, 1002])
def test_decimal_of_more_than_1000_digits_is_refused(escape: ModuleType, count: int) -> None:
    for number in digits_of(count):
        with pytest.raises(ArgumentError, match=r"^expected a Decimal of at most 1000 digits$"):
            escape.escape(number, "utf8", 0)


@pytest.mark.parametrize(
    ("number", "literal"),
    [
        ("0", b"0"),
        ("-0.0", b"-0.0"),
        ("0E+1000", b"0"),
        ("0E+9999", b"0"),
        ("-0E+1", b"-0"),
        ("0E-7", b"0.0000000"),
        ("1E-6", b"0.000001"),
        ("1E-7", b"0.0000001"),
        ("1E+0", b"1"),
        ("1E+1", b"10"),
        ("10E-1", b"1.0"),
        ("12E-1", b"1.2"),
        ("12E-2", b"0.12"),
        ("12E-3", b"0.012"),
    ],
)
def test_decimal_is_written_without_an_exponent(
    escape: ModuleType, number: str, literal: bytes
) -> None:
    assert escape.escape(Decimal(number), "utf8", 0) == literal


class OtherText(Decimal):
    def __str__(self) -> str:
        return "7"


def test_decimal_has_no_exponent_in_small_letters_either(escape: ModuleType) -> None:
    with localcontext() as context:
        context.capitals = 0
        assert str(Decimal("1E+5")) == "1e+5"

        assert escape.escape(Decimal("1E+5"), "utf8", 0) == b"100000"
        assert escape.escape(Decimal("1E-9"), "utf8", 0) == b"0.000000001"


def test_decimal_is_written_by_its_value_whatever_its_text(escape: ModuleType) -> None:
    assert escape.escape(OtherText("12.50"), "utf8", 0) == b"12.50"


# -- text

BACKSLASHED = {
    "\0": b"\\0",
    "\n": b"\\n",
    "\r": b"\\r",
    "\x1a": b"\\Z",
    '"': b'\\"',
    "'": b"\\'",
    "\\": b"\\\\",
}
# The last character of each length, and the first of the next; those around the surrogates.
EDGES = [0x7F, 0x80, 0xFF, 0x100, 0x7FF, 0x800, 0xFFF, 0x1000, 0xD7FF, 0xE000, 0xFFFD, 0xFFFF]
EDGES += [0x10000, 0x3FFFF, 0x40000, 0xFFFFF, 0x100000, 0x10FFFF]


@pytest.mark.parametrize("other", ["", "a", "é", "€", "😀"], ids=ascii)
def test_character_is_escaped_or_stands_for_itself(escape: ModuleType, other: str) -> None:
    for code in [*range(0x180), *EDGES]:
        character = chr(code)
        plain = character.encode()
        before = other.encode()

        assert escape.escape(other + character, "utf8", 0) == (
            b"'" + before + BACKSLASHED.get(character, plain) + b"'"
        )
        assert escape.escape(other + character, "utf8", NO_BACKSLASH_ESCAPES) == (
            b"'" + before + (b"''" if character == "'" else plain) + b"'"
        )


@pytest.mark.parametrize("code", [0xD800, 0xD801, 0xDBFF, 0xDC00, 0xDFFE, 0xDFFF], ids=hex)
@pytest.mark.parametrize("encoding", ["utf8", "gbk", "cp1252"])
@pytest.mark.parametrize("mode", [0, NO_BACKSLASH_ESCAPES])
def test_surrogate_is_refused_wherever_it_stands(
    escape: ModuleType, code: int, encoding: str, mode: int
) -> None:
    for before in ("", "a", "a'\n"):
        with pytest.raises(ArgumentError) as caught:
            escape.escape(before + chr(code) + "z", encoding, mode)

        assert str(caught.value) == (
            f"cannot encode {chr(code)!r} at position {len(before)} in {encoding!r}"
        )
    with pytest.raises(ArgumentError, match=f"at position 1 in '{encoding}'$"):
        escape.escape(("😀" if encoding == "utf8" else "a") + chr(code), encoding, mode)


# Around the size of the first buffer, of its doubles and of the steps in which text is written.
SIZES = [0, 1, 2, 3, 254, 255, 256, 257]
SIZES += [size + more for size in (1024, 2048, 4096, 8192) for more in range(-4, 3)]


@pytest.mark.parametrize("character", ["a", "'", "é", "€", "😀"], ids=ascii)
@pytest.mark.parametrize("mode", [0, NO_BACKSLASH_ESCAPES], ids=["backslashes", "doubled"])
def test_text_of_any_length_is_whole(escape: ModuleType, character: str, mode: int) -> None:
    quote = b"''" if mode else b"\\'"
    for size in SIZES:
        inside = quote * size if character == "'" else character.encode() * size

        assert escape.escape(character * size, "utf8", mode) == b"'" + inside + b"'"
        assert escape.escape(character * size + "'", "utf8", mode) == b"'" + inside + quote + b"'"
        assert escape.escape("'" + character * size, "utf8", mode) == b"'" + quote + inside + b"'"


@pytest.mark.parametrize("first", [1, 2, 7])
def test_statement_of_any_length_is_whole(escape: ModuleType, first: int) -> None:
    for size in SIZES:
        head = b"H" * first
        values = (None, True, "x" * size, b"\x00" * size, 12345, 1.5, None)
        fragments = (head, *[b", "] * (len(values) - 1), b";" * size)
        sql = head + b"NULL, 1, '%b', _binary'%b', 12345, 1.5e0, NULL" % (
            b"x" * size,
            b"\x00" * size,
        )
        payload = b"\x03" + sql + b";" * size

        packet = escape.render(fragments, values, "utf8", 0)

        assert packet == len(payload).to_bytes(3, "little") + b"\0" + payload


@pytest.mark.parametrize("mode", [0, NO_BACKSLASH_ESCAPES], ids=["backslashes", "doubled"])
def test_character_is_escaped_wherever_it_stands(escape: ModuleType, mode: int) -> None:
    for character in map(chr, range(128)):
        written = escape.escape(character, "utf8", mode)[1:-1]
        assert (len(written) == 2) is (character in ("'" if mode else "'\"\\\0\n\r\x1a"))
        for length in range(1, 19):
            for position in range(length):
                text = "~" * position + character + " " * (length - position - 1)
                expected = text.encode().replace(character.encode(), written)
                assert escape.escape(text, "utf8", mode) == b"'%b'" % expected


# -- dates and times


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (date(1, 1, 1), b"'0001-01-01'"),
        (date(9, 9, 9), b"'0009-09-09'"),
        (date(10, 10, 10), b"'0010-10-10'"),
        (date(99, 12, 31), b"'0099-12-31'"),
        (date(100, 1, 1), b"'0100-01-01'"),
        (date(999, 12, 31), b"'0999-12-31'"),
        (date(1000, 1, 1), b"'1000-01-01'"),
        (date(9999, 12, 31), b"'9999-12-31'"),
        (datetime(1, 1, 1), b"'0001-01-01 00:00:00'"),
        (datetime(9999, 12, 31, 23, 59, 59, 999999), b"'9999-12-31 23:59:59.999999'"),
        (datetime(2024, 1, 2, 9, 9, 9, 9), b"'2024-01-02 09:09:09.000009'"),
        (datetime(2024, 1, 2, 10, 10, 10, 10), b"'2024-01-02 10:10:10.000010'"),
        (datetime(2024, 1, 2, 0, 0, 0, 99999), b"'2024-01-02 00:00:00.099999'"),
        (datetime(2024, 1, 2, 0, 0, 0, 100000), b"'2024-01-02 00:00:00.100000'"),
        (time(0), b"'00:00:00'"),
        (time(0, 0, 0, 1), b"'00:00:00.000001'"),
        (time(9, 9, 9), b"'09:09:09'"),
        (time(10, 10, 10, 999999), b"'10:10:10.999999'"),
        (time(23, 59, 59), b"'23:59:59'"),
        (timedelta(), b"'00:00:00'"),
        (timedelta(microseconds=1), b"'00:00:00.000001'"),
        (timedelta(microseconds=-1), b"'-00:00:00.000001'"),
        (timedelta(microseconds=999999), b"'00:00:00.999999'"),
        (timedelta(microseconds=-999999), b"'-00:00:00.999999'"),
        (timedelta(seconds=1), b"'00:00:01'"),
        (timedelta(seconds=-1), b"'-00:00:01'"),
        (timedelta(seconds=-1, microseconds=-1), b"'-00:00:01.000001'"),
        (timedelta(seconds=-1, microseconds=1), b"'-00:00:00.999999'"),
        (timedelta(seconds=59), b"'00:00:59'"),
        (timedelta(seconds=60), b"'00:01:00'"),
        (timedelta(seconds=3599), b"'00:59:59'"),
        (timedelta(seconds=3600), b"'01:00:00'"),
        (timedelta(seconds=-3600), b"'-01:00:00'"),
        (timedelta(hours=9, minutes=59, seconds=59), b"'09:59:59'"),
        (timedelta(hours=10), b"'10:00:00'"),
        (timedelta(hours=23, minutes=59, seconds=59), b"'23:59:59'"),
        (timedelta(days=1), b"'24:00:00'"),
        (timedelta(days=-1), b"'-24:00:00'"),
        (timedelta(hours=99, minutes=59, seconds=59), b"'99:59:59'"),
        (timedelta(hours=100), b"'100:00:00'"),
        (timedelta(hours=838, minutes=59, seconds=59), b"'838:59:59'"),
        (timedelta(hours=-839), b"'-839:00:00'"),
        (timedelta(days=999999999), b"'23999999976:00:00'"),
        (timedelta(days=-999999999, microseconds=1), b"'-23999999975:59:59.999999'"),
    ],
    ids=str,
)
def test_date_or_time_has_all_its_digits(escape: ModuleType, value: object, literal: bytes) -> None:
    assert escape.escape(value, "utf8", 0) == literal


@pytest.mark.parametrize(
    ("fields", "literal"),
    [
        ((1, 1, 1, 0, 0, 0), b"'0001-01-01 00:00:00'"),
        ((9999, 12, 31, 23, 59, 59), b"'9999-12-31 23:59:59'"),
        ((2024, 2, 29, 0, 0, 0), b"'2024-02-29 00:00:00'"),
    ],
)
def test_struct_time_may_be_any_date(
    escape: ModuleType, fields: tuple[int, ...], literal: bytes
) -> None:
    assert escape.escape(struct_time((*fields, 0, 1, 0)), "utf8", 0) == literal


@pytest.mark.parametrize(
    "fields",
    [
        (0, 1, 1, 0, 0, 0),
        (10000, 1, 1, 0, 0, 0),
        (2024, 0, 1, 0, 0, 0),
        (2024, 13, 1, 0, 0, 0),
        (2024, 1, 0, 0, 0, 0),
        (2023, 2, 29, 0, 0, 0),
        (2024, 1, 1, 24, 0, 0),
        (2024, 1, 1, 0, 60, 0),
        (2024, 1, 1, 0, 0, 60),
        (2024, 1, 1, 0, 0, -1),
        ("2024", 1, 1, 0, 0, 0),
    ],
    ids=str,
)
def test_struct_time_beyond_a_date_is_refused(escape: ModuleType, fields: tuple[Any, ...]) -> None:
    with pytest.raises(ArgumentError, match=r"^expected a struct_time that is a date: "):
        escape.escape(struct_time((*fields, 0, 1, 0)), "utf8", 0)


def test_uuid_has_all_its_digits(escape: ModuleType) -> None:
    for number in (0, 1, 15, 16, 2**64 - 1, 2**64, 2**127, 2**128 - 1):
        digits = f"{number:032x}"
        parts = digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]

        assert escape.escape(UUID(int=number), "utf8", 0) == f"'{'-'.join(parts)}'".encode()


@pytest.mark.parametrize("flag", [HEX_BYTES, ZONES_TO_UTC, ZONES_DROPPED])
def test_flag_of_another_kind_leaves_backslashes_escapes(escape: ModuleType, flag: int) -> None:
    assert escape.escape("\\'", "utf8", flag) == rb"'\\\''"
    assert escape.escape("\\'", "utf8", flag | NO_BACKSLASH_ESCAPES) == rb"'\'''"


# -- nesting


def wrapped(depth: int, wrap: Any) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = wrap(value)
    return value


class Member:
    """Makes members of which one is the value of the other."""

    def __new__(cls, value: Any) -> Any:
        return enum.Enum("Wrapping", {"ONE": value}).ONE  # type: ignore[attr-defined]


NESTING = {
    "tuple": (lambda value: (value,), b"("),
    "list": (lambda value: [value], b"("),
    "frozenset": (lambda value: frozenset((value,)), b"("),
    "in": (lambda value: InList([value]), b""),
    "member": (Member, b""),
}


@pytest.mark.parametrize("kind", NESTING)
@pytest.mark.parametrize("depth", [0, 1, 31, 32])
def test_values_may_nest_32_deep(escape: ModuleType, kind: str, depth: int) -> None:
    wrap, opening = NESTING[kind]
    closing = b")" if opening else b""

    assert escape.escape(wrapped(depth, wrap), "utf8", 0) == (
        opening * depth + b"'x'" + closing * depth
    )


@pytest.mark.parametrize("kind", NESTING)
@pytest.mark.parametrize("depth", [33, 34])
def test_values_may_not_nest_deeper(escape: ModuleType, kind: str, depth: int) -> None:
    wrap, _ = NESTING[kind]

    with pytest.raises(ArgumentError, match=r"^expected values nested at most 32 deep$"):
        escape.escape(wrapped(depth, wrap), "utf8", 0)


def test_values_of_a_statement_may_nest_as_deep(escape: ModuleType) -> None:
    deep, deeper = (wrapped(depth, lambda value: [value]) for depth in (32, 33))
    literal = b"(" * 32 + b"'x'" + b")" * 32

    assert escape.render((b"", b""), (deep,), "utf8", 0)[5:] == literal
    assert escape.render_rows(b"", (b"", b""), [(deep,)], b"", "utf8", 0, 0, 999)[0][5:] == literal
    with pytest.raises(ArgumentError, match=r"^expected values nested at most 32 deep$"):
        escape.render((b"", b""), (deeper,), "utf8", 0)
    with pytest.raises(ArgumentError, match=r"^expected values nested at most 32 deep$"):
        escape.render_rows(b"", (b"", b""), [(deeper,)], b"", "utf8", 0, 0, 999)


def test_nothing_in_the_deepest_list_is_the_empty_set(escape: ModuleType) -> None:
    empty = b"SELECT 1 FROM (SELECT 1) AS _empty_set WHERE 1 != 1"

    assert escape.escape(InList(), "utf8", 0) == empty
    assert escape.escape(wrapped(31, lambda v: [] if v == "x" else [v]), "utf8", 0) == (
        b"(" * 31 + empty + b")" * 31
    )


# -- packets


@pytest.mark.parametrize("size", [0, 1, 0xFE, 0xFF, 0x100, 0xFFFF, 0x10000, MAX - 1])
def test_header_has_the_length_of_a_short_payload(escape: ModuleType, size: int) -> None:
    payload = b"p" * size
    header = bytes((size & 0xFF, size >> 8 & 0xFF, size >> 16))

    assert escape.frame(payload) == header + b"\0" + payload
    assert escape.frame(payload, 255) == header + b"\xff" + payload
    assert escape.frame(payload, 256) == header + b"\0" + payload


@pytest.mark.parametrize(("size", "last"), [(MAX, 0), (MAX + 1, 1), (2 * MAX, 0)])
def test_full_packet_is_followed_by_another(escape: ModuleType, size: int, last: int) -> None:
    packets = escape.frame(b"p" * size, 254)
    full = size // MAX

    for number in range(full):
        start = number * (MAX + 4)
        assert packets[start : start + 5] == b"\xff\xff\xff" + bytes(((254 + number) % 256,)) + b"p"
    rest = packets[full * (MAX + 4) :]
    assert rest == bytes((last, 0, 0, (254 + full) % 256)) + b"p" * last


class Fragments(list[Any]):
    pass


@pytest.mark.parametrize("kind", [list, tuple, deque, Fragments])
def test_fragments_may_be_any_bytes_in_any_sequence(escape: ModuleType, kind: Any) -> None:
    fragments = kind([b"a ", bytearray(b" b "), memoryview(b" c")])

    packet = escape.render(fragments, (1, 2), "utf8", 0)
    inserted, _ = escape.render_rows(b"", fragments, [(1, 2)], b"", "utf8", 0, 0, MAX)

    assert packet == inserted == b"\x0a\0\0\0\x03a 1 b 2 c"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_text_around_rows_may_be_any_bytes(escape: ModuleType, kind: Any) -> None:
    for head, tail in ((kind(b"H "), b" T"), (b"H ", kind(b" T"))):
        packet, stop = escape.render_rows(head, (b"(", b")"), [(1,)], tail, "utf8", 0, 0, MAX)

        assert (packet, stop) == (b"\x08\0\0\0\x03H (1) T", 1)


def test_fragments_that_are_no_sequence_are_refused(escape: ModuleType) -> None:
    with pytest.raises(TypeError, match="has no len"):
        escape.render((fragment for fragment in (b"a", b"b")), (1,), "utf8", 0)


@pytest.mark.parametrize(
    ("limit", "stop"),
    [(0, 1), (7, 1), (8, 1), (11, 1), (12, 2), (13, 2), (15, 2), (16, 3), (17, 3), (99, 3)],
)
def test_rows_fill_a_packet_to_its_last_byte(escape: ModuleType, limit: int, stop: int) -> None:
    rows = [(1,), (2,), (3,)]  # each of 3 bytes, 1 between them; 5 more are always there

    packet, end = escape.render_rows(b"H ", (b"(", b")"), rows, b" T", "utf8", 0, 0, limit)

    assert end == stop
    assert packet[4:] == b"\x03H " + b",".join((b"(1)", b"(2)", b"(3)")[:stop]) + b" T"


def test_rows_begin_at_the_last_row_at_most(escape: ModuleType) -> None:
    rows = [(1,), (2,)]

    packet, end = escape.render_rows(b"", (b"", b""), rows, b"", "utf8", 0, 1, MAX)

    assert (packet[4:], end) == (b"\x032", 2)
    for start in (2, -1):
        with pytest.raises(ArgumentError, match=f"^expected a start within 2 rows, got {start}$"):
            escape.render_rows(b"", (b"", b""), rows, b"", "utf8", 0, start, MAX)
