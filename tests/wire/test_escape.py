"""Statements to bytes, by both implementations."""

from __future__ import annotations

import enum
import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from time import struct_time
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twins import twins

from aiomysqlx.exc import ArgumentError
from aiomysqlx.wire import _escape_py
from aiomysqlx.wire.codes import InList, Verbatim

pytestmark = pytest.mark.twins

MAX = 0xFFFFFF
EMPTY_SET = b"SELECT 1 FROM (SELECT 1) AS _empty_set WHERE 1 != 1"


TWINS = twins("escape")


class Color(enum.Enum):
    RED = "r'ed"
    NOTHING = None
    PAIR = (1, "b")


class Number(enum.IntEnum):
    SEVEN = 7


class Word(str, enum.Enum):
    IT = "it's"


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


class IntPermission(enum.IntFlag):
    READ = 1
    WRITE = 2


class Hostile:
    """What a subclass may redefine, to smuggle a quote into the statement."""

    def evil(self, *args: Any, **kwargs: Any) -> Any:
        return "' OR 1=1 -- "

    __str__ = __repr__ = __format__ = evil
    encode = isoformat = hex = tobytes = translate = replace = strftime = tobytes = evil
    __getitem__ = __add__ = __radd__ = __mod__ = __floordiv__ = __abs__ = as_tuple = evil
    adjusted = is_finite = to_bytes = bit_length = evil
    year = month = day = hour = minute = second = microsecond = evil
    days = seconds = microseconds = tzinfo = int = fields = evil

    def __int__(self) -> int:
        return 666

    __index__ = __len__ = __int__

    def __float__(self) -> float:
        return 6.66

    def __bool__(self) -> bool:
        return False

    def __bytes__(self) -> bytes:
        return b"' OR 1=1 -- "

    def __iter__(self) -> Iterator[Any]:
        return iter((Verbatim(b"' OR 1=1 -- "),))


class HostileStr(Hostile, str):
    pass


class HostileInt(Hostile, int):
    pass


class HostileFloat(Hostile, float):
    pass


class HostileDecimal(Hostile, Decimal):
    pass


class HostileBytes(Hostile, bytes):
    pass


class HostileByteArray(Hostile, bytearray):
    pass


class HostileDatetime(Hostile, datetime):
    pass


class HostileDate(Hostile, date):
    pass


class HostileTime(Hostile, time):
    pass


class HostileTimedelta(Hostile, timedelta):
    pass


class HostileUUID(UUID):
    hex = fields = property(lambda self: "' OR 1=1 -- ")

    def __getattribute__(self, name: str) -> Any:
        return "' OR 1=1 -- "

    __str__ = __repr__ = __format__ = Hostile.evil


class HostileList(Hostile, list):
    pass


class HostileTuple(Hostile, tuple):
    pass


class HostileSet(Hostile, set):
    pass


class HostileFrozenset(Hostile, frozenset):
    pass


class HostileInList(Hostile, InList):
    pass


class HostileVerbatim(Hostile, Verbatim):
    pass


class Fallible(tzinfo):
    """Another zone, whose offset is sometimes nothing to go by."""

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone

    def utcoffset(self, moment: datetime | None) -> Any:
        if moment is None or moment.second % 4:
            return self.zone.utcoffset(moment)
        return (None, 7, timedelta(days=1), ZeroDivisionError)[moment.minute % 4]


class Impostor:
    """Says that it is a string."""

    @property
    def __class__(self) -> type:
        return str


class UnhashableType(type):
    __hash__ = None  # type: ignore[assignment]


class OfUnhashableType(metaclass=UnhashableType):
    pass


class StrOfUnhashableType(str, metaclass=UnhashableType):
    pass


LITERALS = [
    ("null", None, b"NULL"),
    ("true", True, b"1"),
    ("false", False, b"0"),
    ("zero", 0, b"0"),
    ("int", 1234567890, b"1234567890"),
    ("negative int", -7, b"-7"),
    ("least 64-bit int", -(2**63), b"-9223372036854775808"),
    ("bigint unsigned", 2**64 - 1, b"18446744073709551615"),
    ("100-digit int", -(10**99), b"-1" + b"0" * 99),
    ("float", 1.5, b"1.5e0"),
    ("whole float", 3.0, b"3.0e0"),
    ("negative float", -12.000001, b"-12.000001e0"),
    ("negative zero", -0.0, b"-0.0e0"),
    ("17-digit float", 0.1 + 0.2, b"0.30000000000000004e0"),
    ("least plain float", 0.0001, b"0.0001e0"),
    ("small float", 1e-5, b"1e-05"),
    ("large float", 1e16, b"1e+16"),
    ("largest float", sys.float_info.max, b"1.7976931348623157e+308"),
    ("decimal", Decimal("-12.50"), b"-12.50"),
    ("decimal zero", Decimal("-0"), b"-0"),
    ("decimal zero with exponent", Decimal("0E+5000"), b"0"),
    ("decimal with exponent", Decimal("1E+3"), b"1000"),
    ("small decimal", Decimal("1.5E-10"), b"0.00000000015"),
    ("1000-digit decimal", Decimal("9" * 1000), b"9" * 1000),
    ("1000-digit decimal by exponent", Decimal("-1E+999"), b"-1" + b"0" * 999),
    ("1000-digit fraction", Decimal("1E-999"), b"0." + b"0" * 998 + b"1"),
    ("bytes", b"\x00\xff'", b"_binary'\x00\xff\\''"),
    ("no bytes", b"", b"_binary''"),
    ("bytearray", bytearray(b"\xab\\"), b"_binary'\xab\\\\'"),
    ("memoryview", memoryview(b"abc"), b"_binary'abc'"),
    ("strided memoryview", memoryview(b"a-b-c-")[::2], b"_binary'abc'"),
    ("reversed memoryview", memoryview(b"abc")[::-1], b"_binary'cba'"),
    ("memoryview of shorts", memoryview(b"abcd").cast("H")[1:], b"_binary'cd'"),
    ("datetime", datetime(2024, 5, 6, 7, 8, 9), b"'2024-05-06 07:08:09'"),
    ("datetime with fraction", datetime(1, 1, 1, 0, 0, 0, 42), b"'0001-01-01 00:00:00.000042'"),
    ("datetime in utc", datetime(2024, 5, 6, 7, tzinfo=timezone.utc), b"'2024-05-06 07:00:00'"),
    ("folded datetime", datetime(2024, 5, 6, fold=1), b"'2024-05-06 00:00:00'"),
    ("date", date(987, 6, 5), b"'0987-06-05'"),
    ("time", time(23, 59, 58), b"'23:59:58'"),
    ("time with fraction", time(1, 2, 3, 999999), b"'01:02:03.999999'"),
    ("timedelta", timedelta(hours=1, seconds=2), b"'01:00:02'"),
    ("long timedelta", timedelta(days=40, microseconds=1), b"'960:00:00.000001'"),
    ("negative timedelta", timedelta(seconds=-1), b"'-00:00:01'"),
    ("negative fraction", timedelta(microseconds=-1), b"'-00:00:00.000001'"),
    ("negative with fraction", -timedelta(hours=30, microseconds=5), b"'-30:00:00.000005'"),
    ("least timedelta", timedelta.min, b"'-23999999976:00:00'"),
    ("largest timedelta", timedelta.max, b"'23999999999:59:59.999999'"),
    (
        "uuid",
        UUID("00112233-4455-6677-8899-aabbccddeeff"),
        b"'00112233-4455-6677-8899-aabbccddeeff'",
    ),
    ("verbatim", Verbatim(b"NOW() -- '"), b"NOW() -- '"),
    ("tuple", (1, "a", None), b"(1, 'a', NULL)"),
    ("list", [1], b"(1)"),
    ("set", {"x"}, b"('x')"),
    ("frozenset", frozenset({2.5}), b"(2.5e0)"),
    ("rows", [(1, 2), (3, 4)], b"((1, 2), (3, 4))"),
    ("empty tuple", (), b"(%b)" % EMPTY_SET),
    ("empty list", [], b"(%b)" % EMPTY_SET),
    ("empty set", set(), b"(%b)" % EMPTY_SET),
    ("empty frozenset", frozenset(), b"(%b)" % EMPTY_SET),
    ("in", InList([1, "b"]), b"1, 'b'"),
    ("in rows", InList([(1, 2), (3, 4)]), b"(1, 2), (3, 4)"),
    ("in nothing", InList(), EMPTY_SET),
    ("nothing verbatim in a list", [Verbatim(b"")], b"()"),
    ("enum", Color.RED, b"'r\\'ed'"),
    ("enum of none", Color.NOTHING, b"NULL"),
    ("enum of tuple", Color.PAIR, b"(1, 'b')"),
    ("int enum", Number.SEVEN, b"7"),
    ("str enum", Word.IT, b"'it\\'s'"),
    ("flag", Permission.READ | Permission.WRITE, b"3"),
    ("no flag", Permission(0), b"0"),
    ("int flag", IntPermission.READ | IntPermission.WRITE, b"3"),
    ("hostile str", HostileStr("a'b"), b"'a\\'b'"),
    ("hostile int", HostileInt(5), b"5"),
    ("hostile large int", HostileInt(2**70), b"1180591620717411303424"),
    ("hostile float", HostileFloat(1.5), b"1.5e0"),
    ("hostile 17-digit float", HostileFloat(0.1 + 0.2), b"0.30000000000000004e0"),
    ("hostile decimal", HostileDecimal("1.50"), b"1.50"),
    ("hostile decimal with exponent", HostileDecimal("15E+2"), b"1500"),
    ("hostile bytes", HostileBytes(b"ab"), b"_binary'ab'"),
    ("hostile bytes with a quote", HostileBytes(b"a'b"), b"_binary'a\\'b'"),
    ("hostile bytearray", HostileByteArray(b"ab"), b"_binary'ab'"),
    ("hostile bytearray with a quote", HostileByteArray(b"a'b"), b"_binary'a\\'b'"),
    ("hostile datetime", HostileDatetime(2024, 5, 6, 7, 8, 9, 1), b"'2024-05-06 07:08:09.000001'"),
    ("hostile date", HostileDate(2024, 5, 6), b"'2024-05-06'"),
    ("hostile time", HostileTime(7, 8, 9, 1), b"'07:08:09.000001'"),
    ("hostile timedelta", HostileTimedelta(hours=25, microseconds=-1), b"'24:59:59.999999'"),
    ("hostile uuid", HostileUUID(int=1), b"'00000000-0000-0000-0000-000000000001'"),
    ("uuid of hostile int", UUID(int=HostileInt(1)), b"'00000000-0000-0000-0000-000000000001'"),
    ("hostile list", HostileList([1, 2]), b"(1, 2)"),
    ("hostile tuple", HostileTuple((1, 2)), b"(1, 2)"),
    ("hostile set", HostileSet({1}), b"(1)"),
    ("hostile frozenset", HostileFrozenset({1}), b"(1)"),
    ("hostile in", HostileInList([1, 2]), b"1, 2"),
    ("hostile verbatim", HostileVerbatim(b"NOW()"), b"NOW()"),
]


def unsendable(name: str, remedy: str = "…") -> str:
    encoders = f"encoders={{{name.rpartition('.')[2]}: {remedy}}}"
    return (
        f"cannot send a value of type {name!r};"
        f" {encoders} takes a function that makes a str or number of it"
    )


AWARE = timezone(timedelta(hours=2))
OFFSET_REFUSED = (
    "cannot send an aware {} of UTC+02:00: convert it to UTC,"
    " or choose aware_datetimes='utc' or 'drop'"
)

REFUSED = [
    ("nan", float("nan"), "expected a finite float, got nan"),
    ("infinity", float("-inf"), "expected a finite float, got -inf"),
    ("hostile nan", HostileFloat("nan"), "expected a finite float, got nan"),
    ("decimal nan", Decimal("NaN"), "expected a finite Decimal, got NaN"),
    ("decimal snan", Decimal("sNaN12"), "expected a finite Decimal, got sNaN12"),
    ("decimal infinity", Decimal("-Infinity"), "expected a finite Decimal, got -Infinity"),
    ("hostile decimal nan", HostileDecimal("NaN"), "expected a finite Decimal, got NaN"),
    ("1001-digit decimal", Decimal("9" * 1001), "expected a Decimal of at most 1000 digits"),
    ("large decimal", Decimal("1E+1000"), "expected a Decimal of at most 1000 digits"),
    ("huge decimal", Decimal("1E+999999999"), "expected a Decimal of at most 1000 digits"),
    ("tiny decimal", Decimal("1E-1000"), "expected a Decimal of at most 1000 digits"),
    ("tiny decimal zero", Decimal("0E-1000"), "expected a Decimal of at most 1000 digits"),
    (
        "aware datetime",
        datetime(2024, 1, 1, tzinfo=AWARE),
        OFFSET_REFUSED.format("datetime"),
    ),
    (
        "hostile aware datetime",
        HostileDatetime(2024, 1, 1, tzinfo=AWARE),
        OFFSET_REFUSED.format("datetime"),
    ),
    (
        "aware time",
        time(1, tzinfo=AWARE),
        OFFSET_REFUSED.format("time"),
    ),
    ("dict", {"a": 1}, unsendable("dict", "json.dumps")),
    ("object", object(), unsendable("object")),
    ("type", int, unsendable("type")),
    ("complex", 1j, unsendable("complex")),
    ("range", range(3), unsendable("range")),
    ("dict in a list", [1, {"a": 1}], unsendable("dict", "json.dumps")),
    ("hostile", Hostile(), unsendable(f"{__name__}.Hostile")),
    ("impostor", Impostor(), unsendable(f"{__name__}.Impostor")),
    ("lone surrogate", "ab\udc27", r"cannot encode '\udc27' at position 2 in 'utf8'"),
    ("surrogate pair", "\ud83d\ude00", r"cannot encode '\ud83d' at position 0 in 'utf8'"),
    (
        "surrogate after escapes",
        HostileStr("'\n\ud800"),
        r"cannot encode '\ud800' at position 2 in 'utf8'",
    ),
]


def named(cases: list[Any]) -> list[Any]:
    return [pytest.param(*case[1:], id=case[0].replace(" ", "-")) for case in cases]


def outcome(call: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
    """Give what a call returns, or the class and message of what it raises."""
    try:
        result = call(*arguments)
    except Exception as error:
        return type(error), str(error)
    return type(result), result


@pytest.mark.parametrize(("value", "literal"), named(LITERALS))
def test_value_becomes_a_literal(escape: ModuleType, value: object, literal: bytes) -> None:
    result = escape.escape(value, "utf8", False)

    assert result == literal
    assert type(result) is bytes


@pytest.mark.parametrize(("value", "message"), named(REFUSED))
def test_value_is_refused(escape: ModuleType, value: object, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        escape.escape(value, "utf8", False)

    assert str(caught.value) == message


if sys.version_info >= (3, 11):  # StrEnum is new in it

    def test_str_enum_is_escaped(escape: ModuleType) -> None:
        member = enum.StrEnum("Quote", {"ONE": "o'ne"}).ONE

        assert escape.escape(member, "utf8", False) == b"'o\\'ne'"


def test_int_beyond_the_interpreters_limit_is_refused(escape: ModuleType) -> None:
    with pytest.raises(ArgumentError, match=r"^cannot send an int of 20001 bits$"):
        escape.escape(1 << 20000, "utf8", False)

    with pytest.raises(ArgumentError, match=r"^cannot send an int of 20001 bits$"):
        escape.escape(HostileInt(1 << 20000), "utf8", False)


def test_released_memoryview_is_refused(escape: ModuleType) -> None:
    view = memoryview(b"abc")
    view.release()

    with pytest.raises(ValueError, match="released memoryview"):
        escape.escape(view, "utf8", False)


@pytest.mark.parametrize("cls", [OfUnhashableType, StrOfUnhashableType])
def test_unhashable_type_is_refused(escape: ModuleType, cls: type) -> None:
    with pytest.raises(TypeError, match="unhashable type: '.*UnhashableType'"):
        escape.escape(cls(), "utf8", False)
    assert_twins_agree("escape", cls(), "utf8", False)  # the words are those of a look-up


@pytest.mark.parametrize("encoding", ["utf8", "UTF-8", "cp1252", "gbk", "cp932"])
@pytest.mark.parametrize(
    ("text", "backslashed", "doubled"),
    [
        pytest.param("", b"''", b"''", id="nothing"),
        pytest.param("a%sb", b"'a%sb'", b"'a%sb'", id="percent"),
        pytest.param("it's", b"'it\\'s'", b"'it''s'", id="quote"),
        pytest.param("''", b"'\\'\\''", b"''''''", id="quotes"),
        pytest.param('"', b"'\\\"'", b"'\"'", id="double-quote"),
        pytest.param("\\", b"'\\\\'", b"'\\'", id="backslash"),
        pytest.param("\\'", b"'\\\\\\''", b"'\\'''", id="backslash-quote"),
        pytest.param("\0\n\r\x1a", b"'\\0\\n\\r\\Z'", b"'\0\n\r\x1a'", id="control"),
        pytest.param("\t\b\x7f", b"'\t\b\x7f'", b"'\t\b\x7f'", id="other-control"),
    ],
)
def test_text_is_escaped_by_sql_mode(
    escape: ModuleType, text: str, backslashed: bytes, doubled: bytes, encoding: str
) -> None:
    assert escape.escape(text, encoding, False) == backslashed
    assert escape.escape(text, encoding, True) == doubled


@pytest.mark.parametrize(
    "text",
    ["é'", "ÿ" * 5000, "€\\" * 5000, "\uffff\n", "😀'😀", "a" * 4095 + "'é", "\x80\u07ff\u0800"],
    ids=["latin", "long-latin", "long-bmp", "last-bmp", "astral", "at-a-step", "edges"],
)
def test_text_beyond_ascii_is_utf8(escape: ModuleType, text: str) -> None:
    inside = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")

    assert escape.escape(text, "utf8", False) == f"'{inside}'".encode()
    assert escape.escape(text, "utf8", True) == "'{}'".format(text.replace("'", "''")).encode()


@pytest.mark.parametrize(
    ("encoding", "text", "backslashed", "doubled"),
    [
        pytest.param("cp1252", "€'", b"'\x80\\''", b"'\x80'''", id="cp1252"),
        pytest.param("gbk", "誠'", b"'\xd5\\\\''", b"'\xd5\\'''", id="gbk"),
        pytest.param("big5", "功'", b"'\xa5\\\\''", b"'\xa5\\'''", id="big5"),
        pytest.param("cp932", "ソ'", b"'\x83\\\\''", b"'\x83\\'''", id="cp932"),
        pytest.param("sjis", "表\\", b"'\x95\\\\\\'", b"'\x95\\\\'", id="sjis"),
        pytest.param("cp932", "〜\u2212", b"'\x81`\x81|'", b"'\x81`\x81|'", id="cp932-look-alikes"),
        pytest.param("gb18030", "\u00c4'", b"'\x810\x872\\''", b"'\x810\x872'''", id="gb18030"),
    ],
)
def test_characters_are_escaped_before_they_are_encoded(
    escape: ModuleType, encoding: str, text: str, backslashed: bytes, doubled: bytes
) -> None:
    assert escape.escape(text, encoding, False) == backslashed
    assert escape.escape(text, encoding, True) == doubled


@pytest.mark.parametrize(
    ("encoding", "text", "position"),
    [
        pytest.param("cp1252", "é\x81", 1, id="hole-in-cp1252"),
        pytest.param("cp1252", "'ш", 1, id="outside-cp1252"),
        pytest.param("ascii", "abcé", 3, id="outside-ascii"),
        pytest.param("gbk", "\udc27' OR 1=1 -- ", 0, id="surrogate-in-gbk"),
        pytest.param("cp932", "ソ\ud800", 1, id="surrogate-in-cp932"),
        pytest.param("shift_jis", "ソ¥' OR 1=1 -- ", 1, id="yen-is-a-backslash-in-shift-jis"),
        pytest.param("euc_jp", "'ソ¥", 2, id="yen-is-a-backslash-in-euc-jp"),
        pytest.param("euc_kr", "가\u3164나", 1, id="filler-does-not-decode-in-euc-kr"),
        pytest.param("euc_kr", "가\u3164ㄱㅏㄱ", 1, id="jamo-read-back-as-one-in-euc-kr"),
    ],
)
@pytest.mark.parametrize("no_backslash_escapes", [False, True])
def test_text_that_does_not_encode_is_refused(
    escape: ModuleType, encoding: str, text: str, position: int, no_backslash_escapes: bool
) -> None:
    with pytest.raises(ArgumentError) as caught:
        escape.escape(text, encoding, no_backslash_escapes)

    assert str(caught.value) == (
        f"cannot encode {text[position]!r} at position {position} in {encoding!r}"
    )


@pytest.mark.parametrize("encoding", ["utf8mb4", "", "no such", "utf-8\0", "rot13", "hex"])
def test_unknown_encoding_is_refused(escape: ModuleType, encoding: str) -> None:
    for call in calls(escape, None, encoding):
        with pytest.raises(ArgumentError) as caught:
            call()

        assert str(caught.value) == f"unknown encoding {encoding!r}"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-7", "cp037", "idna", "undefined"])
def test_encoding_that_does_not_keep_ascii_is_refused(escape: ModuleType, encoding: str) -> None:
    for call in calls(escape, None, encoding):
        with pytest.raises(ArgumentError) as caught:
            call()

        assert str(caught.value) == f"expected an encoding that keeps ASCII, got {encoding!r}"


@pytest.mark.parametrize("encoding", ["UTF8", "utf_8", "U8", "Utf-8"])
def test_every_spelling_of_utf8_is_utf8(escape: ModuleType, encoding: str) -> None:
    assert escape.escape("é😀", encoding, False) == "'é😀'".encode()


def calls(escape: ModuleType, value: object, encoding: str = "utf8") -> list[Callable[[], Any]]:
    """Give one call of each function that escapes *value*."""
    return [
        lambda: escape.escape(value, encoding, False),
        lambda: escape.render((b"SELECT ", b""), (value,), encoding, False),
        lambda: escape.render_rows(
            b"V ", (b"(", b")"), [(1,), (value,)], b"", encoding, False, 0, MAX
        ),
    ]


def nested(depth: int) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value]
    return value


def test_values_nest_32_deep(escape: ModuleType) -> None:
    assert escape.escape(nested(32), "utf8", False) == b"(" * 32 + b"1" + b")" * 32

    with pytest.raises(ArgumentError, match=r"^expected values nested at most 32 deep$"):
        escape.escape(nested(33), "utf8", False)


def test_list_that_contains_itself_is_refused(escape: ModuleType) -> None:
    endless: list[Any] = []
    endless += [endless, endless]
    endless_in = InList()
    endless_in.append((endless_in,))

    for value in (endless, endless_in):
        for call in calls(escape, value):
            with pytest.raises(ArgumentError, match=r"^expected values nested at most 32 deep$"):
                call()


def test_member_that_is_its_own_value_is_refused(escape: ModuleType) -> None:
    class Endless(enum.Enum):
        ONE = 1

        @property
        def value(self) -> Any:
            return self

    with pytest.raises(ArgumentError, match=r"^expected values nested at most 32 deep$"):
        escape.escape(Endless.ONE, "utf8", False)


def clearing(*victims: list[Any]) -> enum.Enum:
    """Give a member that empties *victims* when its value is read."""

    class Clearing(enum.Enum):
        ONE = 1

        @property
        def value(self) -> Any:
            for victim in victims:
                victim.clear()
            gc.collect()
            return "gone"

    return Clearing.ONE


def test_values_are_those_of_the_moment_of_the_call(escape: ModuleType) -> None:
    fragments = [bytes([65 + n]) * 40 for n in range(4)]
    values: list[Any] = []
    inner: list[Any] = []
    member = clearing(fragments, values, inner)
    inner += [member, "x" * 50, 2**80]
    values += [inner, member, "y" * 50]
    in_list = InList(inner)

    assert escape.render(fragments, values, "utf8", False) == escape.frame(
        b"\x03" + b"A" * 40 + b"('gone', '%b', %d)" % (b"x" * 50, 2**80) + b"B" * 40
        + b"'gone'" + b"C" * 40 + b"'%b'" % (b"y" * 50) + b"D" * 40
    )  # fmt: skip
    assert escape.escape(in_list, "utf8", False) == b"'gone', '%b', %d" % (b"x" * 50, 2**80)


def test_rows_that_vanish_raise_index_error(escape: ModuleType) -> None:
    rows: list[Any] = []
    rows += [(clearing(rows),), (2,)]

    with pytest.raises(IndexError, match=r"^list index out of range$"):
        escape.render_rows(b"", (b"(", b")"), rows, b"", "utf8", False, 0, MAX)


def test_error_of_a_member_comes_through(escape: ModuleType) -> None:
    class Failing(enum.Enum):
        ONE = 1

        @property
        def value(self) -> Any:
            raise ZeroDivisionError("mine")

    for call in calls(escape, Failing.ONE):
        with pytest.raises(ZeroDivisionError, match=r"^mine$"):
            call()


def unframe(packets: bytes, sequence: int = 0) -> bytes:
    """Give the payload of *packets*, which must be whole and numbered from *sequence*."""
    payload = b""
    while True:
        size = int.from_bytes(packets[:3], "little")
        assert packets[3] == sequence % 256
        assert len(packets) >= 4 + size
        payload += packets[4 : 4 + size]
        packets = packets[4 + size :]
        sequence += 1
        if size < MAX:
            assert not packets
            return payload


def test_frame_is_length_sequence_and_payload(escape: ModuleType) -> None:
    assert escape.frame(b"\x03abc") == b"\x04\0\0\0\x03abc"
    assert escape.frame(b"", 2) == b"\0\0\0\2"
    assert escape.frame(b"a" * 0x010203, 255)[:5] == b"\x03\x02\x01\xffa"
    assert escape.frame(b"a", 256 * 2**70 + 3) == b"\1\0\0\3a"
    assert escape.frame(b"a", -1) == b"\1\0\0\xffa"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_frame_takes_any_bytes(escape: ModuleType, kind: type) -> None:
    assert escape.frame(kind(b"abc")) == b"\3\0\0\0abc"


@pytest.mark.parametrize("size", [MAX - 1, MAX, MAX + 1, 2 * MAX - 1, 2 * MAX, 2 * MAX + 1])
def test_frame_splits_large_payloads(escape: ModuleType, size: int) -> None:
    payload = b"x" * (size - 1) + b"y"

    packets = escape.frame(payload, 255)

    assert len(packets) == size + 4 * (size // MAX + 1)
    assert unframe(packets, 255) == payload


@pytest.mark.parametrize("size", [MAX - 1, MAX, MAX + 1, 2 * MAX])
def test_statements_split_as_frames_do(escape: ModuleType, size: int) -> None:
    value = "v" * (size - len("\3I ('')"))
    payload = b"\3I ('%b')" % value.encode()

    rendered = escape.render((b"I (", b")"), (value,), "utf8", False)
    inserted, stop = escape.render_rows(
        b"I ", (b"(", b")"), [(value,), (1,)], b"", "utf8", False, 0, 10
    )

    assert unframe(rendered) == payload
    assert rendered == inserted
    assert stop == 1


def test_render_writes_values_between_fragments(escape: ModuleType) -> None:
    packet = escape.render(
        [b"SELECT ", b" IN (", b") AND b = ", b""],
        (Verbatim(b"a"), InList([1, "x"]), None),
        "utf8",
        False,
    )

    assert unframe(packet) == b"\3SELECT a IN (1, 'x') AND b = NULL"


def test_render_takes_any_sequence(escape: ModuleType) -> None:
    expected = escape.render((b"a", b"b", b"c"), (1, 2), "utf8", False)

    assert escape.render([b"a", b"b", b"c"], [1, 2], "utf8", False) == expected
    assert escape.render((b"a", bytearray(b"b"), b"c"), range(1, 3), "utf8", False) == expected
    assert escape.render((b"a", b"b", b"c"), {1: 0, 2: 0}.keys(), "utf8", False) == expected


def test_render_without_parameters_is_the_text(escape: ModuleType) -> None:
    assert escape.render((b"SELECT '%s'",), (), "utf8", False) == b"\x0c\0\0\0\3SELECT '%s'"


@pytest.mark.parametrize(
    ("fragments", "values", "message"),
    [
        ((b"a", b"b"), (), "expected 1 parameters, got 0"),
        ((b"a", b"b"), (1, 2), "expected 1 parameters, got 2"),
        ((b"a",), [1], "expected 0 parameters, got 1"),
        ((), (), "expected -1 parameters, got 0"),
    ],
    ids=["too-few", "too-many", "none-wanted", "no-fragments"],
)
def test_wrong_number_of_values_is_refused(
    escape: ModuleType, fragments: Any, values: Any, message: str
) -> None:
    with pytest.raises(ArgumentError, match=f"^{message}$"):
        escape.render(fragments, values, "utf8", False)

    with pytest.raises(ArgumentError, match=f"^{message}$"):
        escape.render_rows(b"", fragments, [values], b"", "utf8", False, 0, MAX)


def naive_rows(
    head: bytes, row: Any, rows: Any, tail: bytes, encoding: str, start: int, limit: int
) -> tuple[bytes, int]:
    """Add rows one by one, building the statement anew for each, until it is too long."""
    statement = b""
    for stop in range(start + 1, len(rows) + 1):
        texts = []
        for values in rows[start:stop]:
            literals = [TWINS[0].escape(value, encoding, False) for value in values]
            pairs = zip(row, [*literals, b""], strict=True)
            texts.append(b"".join(fragment + literal for fragment, literal in pairs))
        longer = b"\3" + head + b",".join(texts) + tail
        if len(longer) > limit and statement:
            return TWINS[0].frame(statement), stop - 1
        statement = longer
    return TWINS[0].frame(statement), len(rows)


@pytest.mark.parametrize("start", [0, 1, 4])
def test_render_rows_fills_the_limit(escape: ModuleType, start: int) -> None:
    row = (b"(", b", ", b")")
    rows = [(1, "a"), [22, "b" * 9], (3, None), (4, "é"), (5, "")]

    for limit in range(-1, 100):
        assert escape.render_rows(
            b"INSERT ", row, rows, b" AS new", "utf8", False, start, limit
        ) == naive_rows(b"INSERT ", row, rows, b" AS new", "utf8", start, limit)


def test_render_rows_continues_where_it_stopped(escape: ModuleType) -> None:
    rows = [(n, "x" * n) for n in range(50)]
    row = (b"(", b", ", b")")
    statements = []
    stop = 0
    while stop < len(rows):
        packet, stop = escape.render_rows(b"V", row, rows, b";", "utf8", False, stop, 200)
        statements.append(unframe(packet)[2:-1])

    assert b",".join(statements) == b",".join(b"(%d, '%b')" % (n, b"x" * n) for n in range(50))
    assert all(len(statement) <= 197 for statement in statements)


def test_render_rows_renders_no_row_beyond_the_first_that_does_not_fit(escape: ModuleType) -> None:
    seen: list[Any] = []

    class Seen(enum.Enum):
        ONE, TWO, THREE, FOUR = range(4)

        @property
        def value(self) -> Any:
            seen.append(self)
            return self.name

    rows = [(member,) for member in Seen]
    packet, stop = escape.render_rows(b"", (b"", b""), rows, b"", "utf8", False, 0, 13)

    assert unframe(packet) == b"\3'ONE','TWO'"
    assert stop == 2
    assert seen == [Seen.ONE, Seen.TWO, Seen.THREE]


@pytest.mark.parametrize("limit", [2**200, 2**63 - 1, -(2**200)])
def test_render_rows_takes_any_limit(escape: ModuleType, limit: int) -> None:
    _, stop = escape.render_rows(b"", (b"", b""), [(1,), (2,)], b"", "utf8", False, 0, limit)

    assert stop == (2 if limit > 0 else 1)


@pytest.mark.parametrize("start", [-1, 2, 2**80])
def test_render_rows_starts_at_a_row(escape: ModuleType, start: int) -> None:
    with pytest.raises(ArgumentError, match=f"^expected a start within 2 rows, got {start}$"):
        escape.render_rows(b"", (b"", b""), [(1,), (2,)], b"", "utf8", False, start, 9)


def everything() -> list[Any]:
    return [case[1] for case in (*LITERALS, *REFUSED)] + ["é" * 3000, "x" * 3000, 1 << 20000]


def test_nothing_leaks(escape: ModuleType) -> None:
    # A cache of CPython's keeps the name `utcoffset`, which is made anew for each aware value, in
    # more and more of its places.
    values = [value for value in everything() if getattr(value, "tzinfo", None) is None]

    def use_everything() -> None:
        for value in values:
            for call in calls(escape, value) + calls(escape, value, "cp1252"):
                outcome(call)
        outcome(escape.render, (b"a", b"b"), (), "utf8", False)
        outcome(escape.escape, 1, "no such", False)

    for _ in range(3):
        use_everything()
    gc.collect()
    tracemalloc.start()
    try:
        use_everything()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            use_everything()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    # An object of each of 120 calls would be more.
    assert grown < 5000


def test_reference_counts_stay(escape: ModuleType) -> None:
    values = everything()
    in_list = InList(values)

    def use_everything() -> None:
        outcome(escape.escape, in_list, "utf8", False)
        for value in values:
            for call in calls(escape, value):
                outcome(call)

    use_everything()  # what is kept from the first time on
    before = [sys.getrefcount(value) for value in values]

    for _ in range(10):
        use_everything()

    after = [sys.getrefcount(value) for value in values]
    counts = zip(values, before, after, strict=True)
    # None, True and small ints are counted by everybody.
    assert not [value for value, was, now in counts if abs(now - was) > 5]


def assert_twins_agree(name: str, *arguments: Any) -> None:
    expected, *others = (outcome(getattr(twin, name), *arguments) for twin in TWINS)
    assert all(other == expected for other in others)


characters = st.one_of(
    st.sampled_from("'\"\\\0\n\r\x1a%;-¥‾éß€ソ表誠功〜ㄱㅏ\u3164\ud83d\udc27\U0001f600"),
    st.characters(exclude_categories=()),
    st.characters(max_codepoint=127),
)
texts = st.text(characters)
offsets = st.timedeltas(timedelta(seconds=-86399), timedelta(seconds=86399))
zones = st.one_of(
    st.none(), st.just(timezone.utc), offsets.map(timezone), st.timezones().map(Fallible)
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.integers(10, 20000).map(lambda bits: -1 << bits),
    st.floats(),
    st.decimals(),
    st.decimals(places=4, min_value=-(10**9), max_value=10**9),
    st.builds("{}E{}".format, st.integers(), st.integers(-1100, 1100)).map(Decimal),
    texts,
    st.binary(),
    st.binary().map(bytearray),
    st.binary().map(memoryview),
    st.binary().map(lambda data: memoryview(data)[::-2]),
    st.datetimes(timezones=zones),
    st.dates(),
    st.times(timezones=zones),
    st.timedeltas(),
    st.uuids(),
    st.binary(max_size=9).map(Verbatim),
    st.sampled_from([*Color, *Number, *Word, *Permission]),
    st.sampled_from([object(), {}, int, 1j, range(3), Impostor()]),
)
hashable = st.one_of(st.none(), st.integers(), texts, st.floats(), st.binary())
hostile = st.one_of(
    texts.map(HostileStr),
    st.integers().map(HostileInt),
    st.floats().map(HostileFloat),
    st.decimals().map(HostileDecimal),
    st.binary().map(HostileBytes),
    st.binary().map(HostileByteArray),
    st.binary(max_size=9).map(HostileVerbatim),
    st.uuids().map(lambda value: HostileUUID(int=value.int)),
    st.timedeltas().map(lambda v: HostileTimedelta(v.days, v.seconds, v.microseconds)),
    st.dates().map(lambda v: HostileDate(v.year, v.month, v.day)),
    st.lists(hashable, max_size=3).map(HostileList),
    st.lists(hashable, max_size=3).map(HostileTuple),
    st.lists(hashable, max_size=3).map(HostileSet),
)
values = st.recursive(
    scalars | hostile,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(InList),
        st.sets(hashable, max_size=4),
        st.frozensets(hashable, max_size=4),
    ),
    max_leaves=8,
)
encodings = st.sampled_from(
    ["utf8"] * 6
    + ["UTF-8", "utf_8", "latin-1", "cp1252", "ascii", "gbk", "gb18030", "big5", "cp932"]
    + ["shift_jis", "euc_jp", "euc_kr", "koi8_r", "utf-16", "utf-8-sig", "no such"]
)
fragments = st.lists(st.binary(max_size=9), max_size=5)


@settings(max_examples=1000)
@given(value=values, encoding=encodings, mode=st.integers(0, 15))
def test_twins_escape_alike(value: object, encoding: str, mode: int) -> None:
    assert_twins_agree("escape", value, encoding, mode)


@settings(max_examples=300)
@given(
    fragments=fragments,
    parameters=st.lists(values, max_size=4) | st.tuples(values, values),
    encoding=encodings,
    mode=st.integers(0, 15),
)
def test_twins_render_alike(
    fragments: list[bytes],
    parameters: Any,
    encoding: str,
    mode: int,
) -> None:
    fitting = [*fragments, *[b", "] * len(parameters)][: len(parameters) + 1] or fragments

    for pieces in (fragments, tuple(fitting)):
        assert_twins_agree("render", pieces, parameters, encoding, mode)


@settings(max_examples=300)
@given(
    head=st.binary(max_size=9),
    rows=st.lists(st.tuples(scalars, hashable), max_size=6)
    | st.lists(st.lists(scalars, min_size=1, max_size=3), max_size=3),
    tail=st.binary(max_size=9),
    encoding=encodings,
    mode=st.integers(0, 15),
    start=st.integers(-1, 6),
    limit=st.integers(0, 200),
)
def test_twins_render_rows_alike(
    head: bytes,
    rows: Any,
    tail: bytes,
    encoding: str,
    mode: int,
    start: int,
    limit: int,
) -> None:
    row = (b"(", b", ", b")")
    assert_twins_agree("render_rows", head, row, rows, tail, encoding, mode, start, limit)


@settings(max_examples=300)
@given(value=texts, no_backslash_escapes=st.booleans())
def test_text_reads_back_as_the_server_reads_it(value: str, no_backslash_escapes: bool) -> None:
    for twin in TWINS:
        try:
            literal = twin.escape(value, "utf8", no_backslash_escapes).decode()
        except ArgumentError:
            assert any("\ud800" <= character <= "\udfff" for character in value)
        else:
            assert read_literal(literal, no_backslash_escapes) == value


def read_literal(literal: str, no_backslash_escapes: bool) -> str:
    """Read '…' as the server's lexer does; it must end with the literal."""
    assert literal[0] == literal[-1] == "'"
    characters = iter(literal[1:-1])
    text = ""
    for character in characters:
        if character == "\\" and not no_backslash_escapes:
            character = next(characters)
            character = {"0": "\0", "n": "\n", "r": "\r", "Z": "\x1a"}.get(character, character)
        elif character == "'":
            assert no_backslash_escapes
            assert next(characters) == "'"
        text += character
    return text


@settings(max_examples=200)
@given(payload=st.binary(), sequence=st.integers())
def test_twins_frame_alike(payload: bytes, sequence: int) -> None:
    assert_twins_agree("frame", payload, sequence)


def test_public_names_are_the_same(escape: ModuleType) -> None:
    for name in ("escape", "frame", "render", "render_rows", "has_lists", "take_values"):
        function, specification = getattr(escape, name), getattr(TWINS[0], name)
        assert function.__doc__.splitlines()[0] == specification.__doc__.splitlines()[0]
        assert (
            function.__code__.co_varnames[: function.__code__.co_argcount]
            == (specification.__code__.co_varnames[: specification.__code__.co_argcount])
        )


def test_struct_time_is_its_date_and_time(escape: ModuleType) -> None:
    moment = struct_time((2024, 1, 2, 3, 4, 5, 1, 2, 0))

    assert escape.escape(moment, "utf8", False) == b"'2024-01-02 03:04:05'"


def test_struct_time_that_is_no_date_is_refused(escape: ModuleType) -> None:
    with pytest.raises(ArgumentError, match="expected a struct_time that is a date: month must"):
        escape.escape(struct_time((2024, 13, 1, 0, 0, 0, 0, 1, 0)), "utf8", False)


class Unhashable(type):
    __hash__ = None  # type: ignore[assignment]


class OfUnhashable(metaclass=Unhashable):
    pass


class Pair(tuple[int, int]):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "is_list"),
    [
        (["a"], True),
        ((), True),
        ({1}, True),
        (frozenset(), True),
        (Pair((1, 2)), True),
        (HostileInList([1]), True),
        (struct_time(range(9)), True),
        (InList(["a"]), False),
        (Verbatim(b"a"), False),
        (Color.PAIR, False),
        ({"a": 1}, False),
        (range(2), False),
        ("ab", False),
        (bytearray(b"ab"), False),
        (None, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_lists_are_found_by_their_type(escape: ModuleType, value: Any, is_list: bool) -> None:
    for values in ([value], (1, value, "x"), iter([value, 2])):
        assert escape.has_lists(values) is is_list
        assert escape.has_lists([[], value]) is True
    assert escape.has_lists([]) is False


def test_no_more_types_are_kept_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {*_escape_py._scalars}
    monkeypatch.setattr(_escape_py, "_scalars", known)
    monkeypatch.setattr(_escape_py, "_MOST_SCALARS", len(known) + 2)
    most = len(known) + 2

    for _ in range(4):
        assert _escape_py.has_lists([type("Value", (), {})()]) is False
    assert len(known) == most


def test_types_that_cannot_be_hashed_are_refused_beside_lists(escape: ModuleType) -> None:
    for values in ([OfUnhashable()], [[], OfUnhashable()], [OfUnhashable(), 1]):
        with pytest.raises(TypeError, match="unhashable"):
            escape.has_lists(values)
        assert_twins_agree("has_lists", values)
