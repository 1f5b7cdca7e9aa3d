"""References and memory that each function of the twins leaves behind: none, also when it fails."""

from __future__ import annotations

import ast
import gc
import struct
import sys
import tracemalloc
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest
from twins import implementations, load

import aiomysqlx
from aiomysqlx.wire.codes import InList, Verbatim

pytestmark = pytest.mark.twins

Call = tuple[Any, ...]  # a callable and its arguments

CALLS = 24
ROUNDS = 4
PIECES = {
    "binary": ("execute", "bulk"),
    "escape": ("escape", "frame", "render", "render_rows", "has_lists", "take_values"),
    "packet": ("Decoder", "Reader", "parse_ok", "parse_eof"),
    "row": ("BaseMetadata", "BaseRow", "make_rows"),
}
SINGLETONS = (None, True, False, NotImplemented, (), b"", "", 0, 1)


def names_of_the_contract() -> list[str]:
    """Give the functions, classes, methods and attributes that `_impl.pyi` declares."""
    contract = Path(aiomysqlx.__path__[0], "wire", "_impl.pyi").read_text()
    return [name for node in ast.parse(contract).body for name in declared(node)]


def declared(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.ClassDef):
        members = [name for member in node.body for name in member_of(member)]
        yield from [f"{node.name}.{name}" for name in members] or [node.name]


def member_of(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        yield node.target.id


# -- what is measured ------------------------------------------------------------------------------


def attempt(call: Call) -> bool:
    """Call it; tell whether it succeeded."""
    function, *arguments = call
    try:
        function(*arguments)
    except Exception:
        return False
    return True


def parts(values: Iterable[Any]) -> Iterator[Any]:
    """Give *values*, and what is in those that are sequences or dictionaries."""
    for value in values:
        yield value
        if isinstance(value, (tuple, list)):
            yield from parts(value)
        elif isinstance(value, dict):
            yield from parts(value.items())


def left_behind(calls: list[Call]) -> list[str]:
    """Make the calls time and again; tell what grows with their number.

    What is remembered once, as caches do, is of the first rounds; a leak is in every one.
    """
    watched = list({id(part): part for part in parts((calls, SINGLETONS))}.values())
    names = ["blocks", "bytes", "objects", *(f"references to {value!r:.60}" for value in watched)]
    # Made before, and written to: what measures must not be what grows.
    before, after = (array("q", bytes(8 * len(names))) for _ in range(2))
    growing = list(names)
    gc.collect()
    gc.freeze()  # what is there already need not be looked through, by the next test either
    tracemalloc.start(1)
    try:
        for _ in range(ROUNDS):
            measure(watched, before)
            for _ in range(CALLS):
                for call in calls:
                    attempt(call)
            measure(watched, after)
            growing = [name for name in leaks(names, before, after) if name in growing]
            if not growing:
                break
    finally:
        tracemalloc.stop()
    return growing


def measure(watched: list[Any], into: array[int]) -> None:
    gc.collect()
    into[0] = sys.getallocatedblocks()
    into[1] = tracemalloc.get_traced_memory()[0]
    into[2] = len(gc.get_objects())
    for number, value in enumerate(watched, 3):
        into[number] = sys.getrefcount(value)


def leaks(names: list[str], before: array[int], after: array[int]) -> list[str]:
    """Give what has grown with the number of calls, references that have fallen too."""
    grown = zip(names, before, after, strict=True)
    limits = {"bytes": 16 * CALLS}
    return [
        name
        for name, old, new in grown
        if new - old >= limits.get(name, CALLS // 2)
        or ("references" in name and old - new >= CALLS // 2)
    ]


# -- what is called --------------------------------------------------------------------------------


class Colour(Enum):
    RED = "red"
    DEEP = (((1,),),)


class Text(str):
    pass


class Whole(int):
    pass


class Awkward:
    """Fails at whatever it is asked."""

    __hash__ = None  # type: ignore[assignment]  # a key that cannot be one

    def __index__(self) -> int:
        raise ZeroDivisionError

    def __len__(self) -> int:
        raise ZeroDivisionError


class Two:
    """Its `value` cannot be had."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


UNSENDABLE = (object(), Two(), Awkward(), float("nan"), Decimal("inf"), "\ud800", 1j)
SENDABLE = (
    *(None, True, 7, -(1 << 70), Whole(1 << 40), 1.5, 2e30, Decimal("1.50"), Decimal("1E+5")),
    *("text", "it's\n\\", "é€😀", Text("own"), b"\x00\xff", bytearray(b"ab"), memoryview(b"cd")),
    *(date(2024, 2, 3), datetime(2024, 2, 3, 4, 5, 6, 7), time(1, 2, 3, 4), timedelta(-1, 2, 3)),
    *(UUID(int=5), Colour.RED, Colour.DEEP, [1, "two"], (1, (2,)), {3}, frozenset([4]), [], {}),
)
ENCODINGS = ("utf-8", "latin-1", "cp932", "utf-16", "nonsense", 7)


def escape_calls(twin: ModuleType) -> Iterator[Call]:
    deep: Any = []
    for _ in range(40):
        deep = [deep]
    own = Verbatim(b"NOW()"), InList([1, None, "three"]), InList()
    for value in (*SENDABLE, *UNSENDABLE, *own, deep, [1, object()], (1, [Awkward()])):
        yield twin.escape, value, "utf-8", False
        yield twin.escape, value, "latin-1", True
    for encoding in ENCODINGS:
        yield twin.escape, "ab'ü¥", encoding, False


def frame_calls(twin: ModuleType) -> Iterator[Call]:
    for arguments in ((b"abc",), (b"", 300), (b"abc", -1), ("abc",), (None,), (b"abc", "1")):
        yield twin.frame, *arguments


def render_calls(twin: ModuleType) -> Iterator[Call]:
    for fragments in ((b"a", b"b", b"c"), [b"a", b"b", b"c"], (b"a",), (b"a", None, b"c"), (), 5):
        for values in ((1, "x"), [1, "x"], (1, object()), (1, "\ud800"), (), (1, 2, 3), None):
            yield twin.render, fragments, values, "utf-8", False
    yield twin.render, (b"a", b"b"), (1,), "nonsense", False
    yield twin.render, (b"a", b"b"), ("ü",), "ascii", False
    yield twin.render, (b"a", b"b"), iter((1,)), "utf-8", False


def render_rows_calls(twin: ModuleType) -> Iterator[Call]:
    row = (b"(", b",", b")")
    good = [(1, "one"), [2, None], (3, "three" * 20)]
    bad: tuple[Any, ...] = ([(1,)], [(1, object())], [(1, "x"), None], [], None, [*good, 4])
    for rows in (good, tuple(good), *bad):
        for start, limit in ((0, 1 << 20), (1, 10), (0, 30), (9, 99), (-1, 99)):
            yield twin.render_rows, b"h", row, rows, b"t", "utf-8", False, start, limit
    for head, tail in ((None, b""), (b"", None), ("h", b"")):
        yield twin.render_rows, head, row, good, tail, "utf-8", False, 0, 99
    yield twin.render_rows, b"h", row, good, b"t", "nonsense", False, 0, 99


def execute_calls(twin: ModuleType) -> Iterator[Call]:
    for value in (*SENDABLE, *UNSENDABLE, "x" * 70_000, Decimal(10**300), 1 << 64):
        for encoding in ENCODINGS:
            yield twin.execute, 7, [None, value, "é"], encoding, 0
    for values in ((), iter((1,)), [None] * 300, None, Awkward()):
        yield twin.execute, 7, values, "utf-8", 0
    for number in (-1, 1 << 70, "x", None, Awkward()):
        yield twin.execute, number, (1, "two"), "utf-8", 0
    yield twin.execute, 7, (1,), "utf-8", Awkward()


def bulk_calls(twin: ModuleType) -> Iterator[Call]:
    good = [(1, "one"), [None, None], (3, "three" * 20), ("x", 1.5)]
    bad: tuple[Any, ...] = ([(1,), ()], [(1, object())], [(1, "x"), None], [], None, [*good, 4])
    for rows in (good, tuple(good), [(None,) * 300] * 3, *bad):
        for start, limit in ((0, 1 << 20), (1, 10), (0, 60), (9, 99), (-1, 99), (0, None)):
            yield twin.bulk, 7, rows, "utf-8", False, start, limit
    for number in (-1, 1 << 70, None, Awkward()):
        yield twin.bulk, number, good, "utf-8", False, 0, 99
    yield twin.bulk, 7, good, "nonsense", False, 0, 99


def has_lists_calls(twin: ModuleType) -> Iterator[Call]:
    for values in ([1, "one"], ([2],), [{3}, None], [InList([4])], [], None, Awkward()):
        yield twin.has_lists, values


def take_values_calls(twin: ModuleType) -> Iterator[Call]:
    good = {"a": 1, "b": "two"}
    for groups in ([good, {**good, "c": 3}], [good, {"a": [1], "b": 2}], [{"a": 1}], [None], None):
        for keys in (("a", "b"), ["a", "b", "a"], None, ("a", Awkward()), 5):
            for constants in (None, {}, {"b": 5}, Awkward()):
                yield twin.take_values, groups, keys, (True, False), constants
    for row in ((1, "two"), (1, [2]), (1, 2, 3), (Awkward(), 1)):
        yield twin.take_values, [(1, 2), row], None, (True, False), None


def of_class(name: str, *arguments: tuple[Any, ...]) -> Callable[[ModuleType], Iterator[Call]]:
    """Call a class of the twins."""

    def calls(twin: ModuleType) -> Iterator[Call]:
        for each in arguments:
            yield getattr(twin, name), *each

    return calls


NAMES = tuple("tbifddddob")
CONVERSIONS = tuple(range(10))
TEXTS = (
    *(b"text", b"\xff", b"12", b"1.5", b"2.50", b"2024-02-03 04:05:06", b"2024-02-03"),
    *(b"-12:13:14.5", b"1", b"0.25"),
)
# The same columns of a binary row, and one.
WIRE = (0, 0, 5, 42, 0, 107, 11, 44, 1, 0)
BINARY_ROW = (
    b"\0\0\0\4text\1\xff\1\2\3\4" + struct.pack("<d", 1.005) + b"\x042.50"
    b"\x0b\xe8\7\2\3\4\5\6\1\0\0\0\4\xe8\7\0\3\x08\1\1\0\0\0\2\3\4\1\0040.25"
)
WRONG = (b"\xff", None, b"x", b"nan", b"1e5", b"24", b"0000-13-45", b"12:99", b"yes", b"--1")


def row_of(values: Iterable[bytes | None]) -> bytes:
    return b"".join(b"\xfb" if v is None else bytes((len(v),)) + v for v in values)


def double(value: Any) -> Any:
    return (value, value)


def refuse(value: Any) -> Any:
    raise LookupError(value)


def decoder_calls(twin: ModuleType) -> Iterator[Call]:
    none = (None,) * 10
    yield twin.Decoder, NAMES, CONVERSIONS, none, "utf-8"
    yield twin.Decoder, list(NAMES), list(CONVERSIONS), [double, *none[1:]], "latin-1"
    yield twin.Decoder, NAMES, (99,) * 10, none, "utf-8"
    yield twin.Decoder, NAMES, (object(),) * 10, none, "utf-8"
    yield twin.Decoder, NAMES, (Awkward(),) * 10, none, "utf-8"
    yield twin.Decoder, NAMES, CONVERSIONS, (), "utf-8"
    yield twin.Decoder, NAMES, CONVERSIONS, none, "nonsense"
    yield twin.Decoder, NAMES, CONVERSIONS, none, None
    yield twin.Decoder, None, CONVERSIONS, none, "utf-8"
    for wire in (WIRE, [0] * 10, WIRE[:9], (99,) * 10, (Awkward(),) * 10, ("x",) * 10, 5):
        yield twin.Decoder, NAMES, CONVERSIONS, none, "utf-8", wire


def decode_calls(twin: ModuleType) -> Iterator[Call]:
    for processor in (None, double, refuse, 7):
        decoder = twin.Decoder(NAMES, CONVERSIONS, (processor,) * 10, "utf-8")
        yield decoder.row, row_of(TEXTS)
        yield decoder.row, row_of(none_at(5))
        for column, wrong in enumerate(WRONG):
            yield decoder.row, row_of([*TEXTS[:column], wrong, *TEXTS[column + 1 :]])
    for payload in (b"", b"\x05ab", row_of(TEXTS) + b"x", b"\xfd\x01", b"\xff" * 30, "text", None):
        yield decoder.row, payload
    for processor in (None, double, refuse):
        decoder = twin.Decoder(NAMES, CONVERSIONS, (processor,) * 10, "utf-8", WIRE)
        yield decoder.row, BINARY_ROW
        for size in (0, 1, 2, 3, 20, len(BINARY_ROW) - 1):
            yield decoder.row, BINARY_ROW[:size]
        for position in range(3, len(BINARY_ROW)):
            changed = BINARY_ROW[:position] + b"\xff" + BINARY_ROW[position + 1 :]
            yield decoder.row, changed
        yield decoder.row, b"\0\xff" + BINARY_ROW[2:]
    for encoding in ("latin-1", "cp932", "utf-16"):
        decoder = twin.Decoder(NAMES[:1], (0,), (None,), encoding)
        yield decoder.row, b"\x02ab"
        yield decoder.row, b"\x01\x80"


def none_at(column: int) -> list[bytes | None]:
    return [*TEXTS[:column], None, *TEXTS[column + 1 :]]


def packet_of(payload: bytes, sequence: int = 0) -> bytes:
    return len(payload).to_bytes(3, "little") + bytes((sequence,)) + payload


END = b"\xfe\x00\x00\x02\x00"
ROWS = packet_of(b"\x01a") + packet_of(b"\x012") + packet_of(END)
STREAMS = (
    *(ROWS, ROWS[:9], b"", packet_of(b""), packet_of(b"\x05a"), packet_of(b"\x01\xff")),
    *(packet_of(b"x", 9), packet_of(b"x" * 4000), packet_of(b"\xff\x01\x02error")),
    *(packet_of(b"\x01a") * 300, b"\xff\xff\xff\x00" + b"x" * 70_000),
)


def reader_calls(method: str, *rest: Any) -> Callable[[ModuleType], Iterator[Call]]:
    """Feed new readers, then call *method*, until there is nothing more."""

    def calls(twin: ModuleType) -> Iterator[Call]:
        def use(stream: Any, limit: int, sequence: int) -> None:
            reader = twin.Reader(limit)
            reader.sequence = sequence
            for start in range(0, len(stream), 40_000):
                reader.feed(stream[start : start + 40_000])
            while reader.buffered:
                left = reader.buffered
                getattr(reader, method)(*arguments_of(twin, rest))
                if reader.buffered == left:
                    return

        for stream in STREAMS:
            yield use, stream, 1 << 30, -1
            yield use, stream, 100, 0
        yield use, STREAMS[-1], 1 << 30, 0

    return calls


def arguments_of(twin: ModuleType, given: tuple[Any, ...]) -> list[Any]:
    """Give the arguments, a decoder and a list made anew."""
    return [value(twin) if callable(value) else value for value in given]


def text_decoder(twin: ModuleType) -> Any:
    return twin.Decoder(("name",), (0,), (double,), "utf-8")


def new_list(_twin: ModuleType) -> list[Any]:
    return []


def bad_reader_calls(twin: ModuleType) -> Iterator[Call]:
    for method in ("feed", "get_buffer", "buffer_updated", "skip", "definitions", "rows", "packet"):
        for arguments in ((), (None,), ("text",), (Awkward(),), (-1,), (b"a", None, 1, 2, 3)):
            yield lambda m, *a: getattr(twin.Reader(), m)(*a), method, *arguments


def buffer_calls(twin: ModuleType) -> Iterator[Call]:
    def receive(data: bytes, claimed: Any) -> None:
        reader = twin.Reader()
        view = reader.get_buffer(-1)
        view[: len(data)] = data
        reader.buffer_updated(claimed)
        reader.get_buffer(5)
        reader.packet()

    def overtake(data: bytes) -> None:
        reader = twin.Reader()
        views = [reader.get_buffer(-1)]
        for _ in range(3):
            reader.feed(data)
            views.append(reader.get_buffer(-1))

    yield receive, ROWS, len(ROWS)
    yield receive, ROWS, 1 << 40
    yield receive, ROWS, -1
    yield receive, ROWS, None
    yield overtake, b"x" * 50_000


def skip_calls(twin: ModuleType) -> Iterator[Call]:
    def skip(stream: bytes, packets: Any, count: Any, sequence: int) -> None:
        reader = twin.Reader()
        reader.sequence = sequence
        reader.feed(stream)
        reader.skip(packets, count)

    for packets in (ROWS, ROWS[:6], b"other", b"", ROWS * 2, None, "text"):
        for sequence in (-1, 0, 1):
            yield skip, ROWS, packets, 3, sequence
    yield skip, ROWS, ROWS, Awkward(), 0


def oks_calls(twin: ModuleType) -> Iterator[Call]:
    def oks(stream: bytes, status: Any, behind: Any, sequence: int) -> None:
        reader = twin.Reader()
        reader.sequence = sequence
        reader.feed(stream)
        reader.oks(status, behind)

    ok = b"\x07\0\0\0\0\x01\0\x0a\0\0\0" + ROWS
    for behind in (b"", ROWS, ROWS[:6], b"\x01", None, "text"):
        for status, sequence in ((10, -1), (10, 0), (11, 0), (None, 0), (1 << 70, 0)):
            yield oks, ok, status, behind, sequence


def limit_calls(twin: ModuleType) -> Iterator[Call]:
    def put(value: Any) -> None:
        reader = twin.Reader()
        reader.limit = value
        reader.limit += 1
        reader.feed(ROWS)
        reader.packet()

    for value in (5, -1, 1 << 70, None):
        yield put, value


def sequence_calls(twin: ModuleType) -> Iterator[Call]:
    def put(value: Any) -> None:
        reader = twin.Reader()
        reader.sequence = value
        assert reader.sequence == value

    for value in (5, -1, True, "text", None, Awkward(), 1 << 70):
        yield put, value


PAYLOADS = (
    *(b"\x00\x01\x02\x02\x00\x00\x00info", b"\x00\xfc\x10\x27\xfd\x01\x02\x03\x02\x00\x01\x00"),
    *(b"\xfe\x00\x00\x02\x00", b"\x00", b"", b"\x05abc", b"\x00\xff\x00", b"\xfe\x00", "x", None),
)


def parse_calls(name: str) -> Callable[[ModuleType], Iterator[Call]]:
    return of_class(name, *((payload,) for payload in PAYLOADS))


KEYMAP = {"a": 0, "b": 1, 0: 0, 1: 1, "far": 9}
ATTRIBUTES = {"a": 0, "b": 1, "far": 9}


def row_calls(work: Callable[[Any], Any]) -> Callable[[ModuleType], Iterator[Call]]:
    """Do something with a row: of plain values and of others."""

    def calls(twin: ModuleType) -> Iterator[Call]:
        class Metadata(twin.BaseMetadata):  # type: ignore[misc, name-defined]
            def _locate(self, key: Any) -> int:
                if key == "late":
                    return 1
                raise KeyError(f"no column {key!r}")

        class Row(twin.BaseRow):  # type: ignore[misc, name-defined]
            __slots__ = ()

        metadata = Metadata(KEYMAP, ATTRIBUTES)
        rows = [(1, "x"), ([], {}), (1, "y")]
        twin.make_rows(Row, metadata, rows, 1)
        plain = twin.BaseRow(twin.BaseMetadata(KEYMAP, ATTRIBUTES), (1, 2))
        for row in (*rows[1:], Row(metadata, (object(), 2)), plain):
            yield work, row

    return calls


def every_key(row: Any) -> None:
    for key in ("a", "b", 0, 1, "late", slice(0, 1), "none", "far", None, 1.5, [], Awkward(), -1):
        attempt((row.__getitem__, key))
    assert row["a"] is row._values[0]


def every_attribute(row: Any) -> None:
    for name in ("a", "b", "late", "none", "far", "__none__", "_values", "as_tuple", ""):
        attempt((getattr, row, name))
    for change in (setattr, delattr):
        attempt((change, row, "a", 1))
        attempt((change, row, "a"))
    attempt((getattr, row, 5))
    assert row.a is row._values[0]


def row_constructor_calls(twin: ModuleType) -> Iterator[Call]:
    metadata = twin.BaseMetadata(KEYMAP, ATTRIBUTES)
    for arguments in (
        *((metadata, (1, 2)), (metadata, (1, [])), (metadata, [1])),
        *((None, (1,)), (metadata, None), (), (1, 2, 3)),
    ):
        yield twin.BaseRow, *arguments


def locate_calls(twin: ModuleType) -> Iterator[Call]:
    metadata = twin.BaseMetadata(KEYMAP, ATTRIBUTES)
    for key in ("a", None, Awkward()):
        yield metadata._locate, key


def metadata_calls(name: str) -> Callable[[ModuleType], Iterator[Call]]:
    def calls(twin: ModuleType) -> Iterator[Call]:
        yield getattr, twin.BaseMetadata(KEYMAP, ATTRIBUTES), name
        yield getattr, twin.BaseMetadata.__new__(twin.BaseMetadata), name

    return calls


def make_rows_calls(twin: ModuleType) -> Iterator[Call]:
    class WithMore(twin.BaseRow):  # type: ignore[misc, name-defined]
        pass

    class Failing(twin.BaseRow):  # type: ignore[misc, name-defined]
        def __init__(self, *_: Any) -> None:
            raise LookupError

    def make(cls: Any, metadata: Any, values: list[Any], start: Any) -> None:
        twin.make_rows(cls, metadata, values.copy() if type(values) is list else values, start)

    metadata = twin.BaseMetadata(KEYMAP, ATTRIBUTES)
    values = [(1, 2), ("a", []), (None, "b")]
    for cls in (twin.BaseRow, WithMore, Failing, int, None, Two()):
        for given in (values, [*values, [1]], [*values, None], [], tuple(values), None):
            for start in (0, 2, -1, 9, None, Awkward()):
                yield make, cls, metadata, given, start
    yield make, twin.BaseRow, None, values, 0


CASES: dict[str, Callable[[ModuleType], Iterator[Call]]] = {
    "execute": execute_calls,
    "bulk": bulk_calls,
    "escape": escape_calls,
    "frame": frame_calls,
    "render": render_calls,
    "render_rows": render_rows_calls,
    "has_lists": has_lists_calls,
    "take_values": take_values_calls,
    "Decoder.__init__": decoder_calls,
    "Decoder.row": decode_calls,
    "Reader.limit": limit_calls,
    "Reader.sequence": sequence_calls,
    "Reader.__init__": of_class("Reader", (), (5,), (1 << 70,), ("x",), (Awkward(),), (1, 2)),
    "Reader.buffered": reader_calls("packet"),
    "Reader.get_buffer": buffer_calls,
    "Reader.buffer_updated": buffer_calls,
    "Reader.feed": bad_reader_calls,
    "Reader.skip": skip_calls,
    "Reader.oks": oks_calls,
    "Reader.may_be_error": reader_calls("may_be_error", 255),
    "Reader.packet": reader_calls("packet"),
    "Reader.definitions": reader_calls("definitions", 2),
    "Reader.rows": reader_calls("rows", text_decoder, new_list, True),
    "parse_ok": parse_calls("parse_ok"),
    "parse_eof": parse_calls("parse_eof"),
    "BaseMetadata._keymap": metadata_calls("_keymap"),
    "BaseMetadata._attributes": metadata_calls("_attributes"),
    "BaseMetadata.__init__": of_class(
        "BaseMetadata", (KEYMAP, ATTRIBUTES), ({}, None), (1, {}), (), (KEYMAP,)
    ),
    "BaseMetadata._locate": locate_calls,
    "BaseRow._metadata": row_calls(lambda row: row._metadata),
    "BaseRow._values": row_calls(lambda row: row._values),
    "BaseRow.__init__": row_constructor_calls,
    "BaseRow.__getattribute__": row_calls(every_attribute),
    "BaseRow.__getitem__": row_calls(every_key),
    "BaseRow.__len__": row_calls(len),
    "BaseRow.as_tuple": row_calls(lambda row: row.as_tuple()),
    "make_rows": make_rows_calls,
}
TWINS = [
    pytest.param(name, piece, implementation, id=f"{name}-{implementation}")
    for name in CASES
    for piece, names in PIECES.items()
    if name.partition(".")[0] in names
    for implementation in implementations(piece)
]


@pytest.mark.parametrize(("name", "piece", "implementation"), TWINS)
def test_nothing_is_left_behind_by(name: str, piece: str, implementation: str) -> None:
    calls = list(CASES[name](load(piece, implementation)))
    outcomes = {attempt(call) for call in calls}
    assert True in outcomes or name == "BaseMetadata._locate"

    assert left_behind(calls) == []


def test_everything_that_the_twins_have_is_called() -> None:
    assert set(CASES) == set(names_of_the_contract())


def test_leak_of_each_sort_is_seen() -> None:
    kept: list[Any] = []
    watched = object()

    assert any("references to" in what for what in left_behind([(kept.append, watched)]))
    assert "blocks" in left_behind([(lambda: kept.append(object()),)])
    assert "objects" in left_behind([(lambda: kept.append([[]]),)])
    assert "bytes" in left_behind([(lambda: kept.append(bytearray(5000)),)])
