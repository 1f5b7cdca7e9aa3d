"""How values of a user's types are written: by encoders, and as what scalars of NumPy are."""

from __future__ import annotations

import datetime
import sys
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import PurePath, PurePosixPath
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from aiomysqlx.exc import ArgumentError
from aiomysqlx.wire.encoders import Encoder, Encoders, Mode

pytestmark = pytest.mark.twins


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class Euro(Money):
    pass


class Color(Enum):
    RED = "r"


class Level(IntEnum):
    HIGH = 3


class Text(str):
    pass


def mode(encoders: dict[type, Encoder], flags: int = 0) -> Mode:
    return Mode(flags, Encoders(encoders))


ENCODERS: dict[type, Encoder] = {
    Money: lambda money: Decimal(money.cents) / 100,
    PurePath: str,
    dict: lambda value: ",".join(value),
}
WRITTEN: dict[str, tuple[dict[type, Encoder], Any, bytes]] = {
    "its type": (ENCODERS, Money(150), b"1.5"),
    "a subclass": (ENCODERS, Euro(250), b"2.5"),
    "an inner class": (ENCODERS, PurePosixPath("/it's"), b"'/it\\'s'"),
    "in a list": (ENCODERS, [Money(100), [Euro(200)]], b"(1, (2))"),
    "dict": (ENCODERS, {"a": 1, "b": 2}, b"'a,b'"),
    "others as ever": (ENCODERS, [1, "x", None, True, 1.5], b"(1, 'x', NULL, 1, 1.5e0)"),
    "a built-in type": ({float: Decimal}, 0.5, b"0.5"),
    "a built-in type, in a list": ({bool: str}, (True, 1), b"('True', 1)"),
    "not once more": ({int: lambda n: n + 1}, 1, b"2"),
    "nearest base": ({int: str}, True, b"1"),
    "nearest base of a date": (
        {datetime.date: lambda _: "day"},
        datetime.datetime(2026, 1, 2),
        b"'2026-01-02 00:00:00'",
    ),
    "text": ({str: lambda value: value.encode()}, "x", b"_binary'x'"),
    "subclass of text": ({Text: len}, Text("xyz"), b"3"),
    "text of a subclass's encoder": ({Text: len}, "xyz", b"'xyz'"),
    "member": ({Color: lambda color: color.name}, Color.RED, b"'RED'"),
    "any member": ({Enum: lambda member: member.name}, Level.HIGH, b"'HIGH'"),
    "a member's value": ({str: str.upper}, Color.RED, b"'R'"),
    "memory": ({bytes: len}, memoryview(b"xyz"), b"3"),
    "None": ({type(None): lambda _: 0}, None, b"0"),
    "list": ({list: len}, [1, 2], b"2"),
    "anything": ({object: lambda _: 7}, object(), b"7"),
    "gives a list": ({range: list}, range(3), b"(0, 1, 2)"),
    "asked once": ({range: list, int: lambda number: number + 1}, range(3), b"(0, 1, 2)"),
}


@pytest.mark.parametrize(("encoders", "value", "literal"), WRITTEN.values(), ids=WRITTEN)
def test_value_is_written_as_its_encoder_makes_it(
    escape: ModuleType, encoders: dict[type, Encoder], value: Any, literal: bytes
) -> None:
    for _ in range(2):
        assert escape.escape(value, "utf8", mode(encoders)) == literal
        packet = escape.render((b"", b""), (value,), "utf8", mode(encoders))
        assert packet[5:] == literal
        packet, _ = escape.render_rows(
            b"", (b"", b""), [(value,)], b"", "utf8", mode(encoders), 0, 99
        )
        assert packet[5:] == literal


def test_values_nest_as_deep_beside_encoders(escape: ModuleType) -> None:
    deep: Any = Money(100)
    for _ in range(32):
        deep = [deep]
    literal = b"(" * 32 + b"1" + b")" * 32

    assert escape.escape(deep, "utf8", mode(ENCODERS)) == literal
    assert escape.render((b"", b""), (deep,), "utf8", mode(ENCODERS))[5:] == literal
    with pytest.raises(ArgumentError, match="^expected values nested at most 32 deep$"):
        escape.render((b"", b""), ([deep],), "utf8", mode(ENCODERS))


def test_flags_go_with_the_encoders(escape: ModuleType) -> None:
    encoders: dict[type, Encoder] = {Money: lambda _: b"\\"}

    assert escape.escape(Money(1), "utf8", mode(encoders)) == b"_binary'\\\\'"
    assert escape.escape(Money(1), "utf8", mode(encoders) | 2) == b"_binary X'5C'"
    assert escape.escape(Money(1), "utf8", 2 | mode(encoders)) == b"_binary X'5C'"


def test_encoders_of_one_are_not_those_of_another(escape: ModuleType) -> None:
    first, second = mode({Money: lambda _: 1}), mode({Money: lambda _: 2})

    assert escape.escape(Money(0), "utf8", first) == b"1"
    assert escape.escape(Money(0), "utf8", second) == b"2"
    with pytest.raises(ArgumentError):
        escape.escape(Money(0), "utf8", 0)
    assert first != second
    assert first != 0
    assert first == Mode(0, first.encoders)


REFUSED: dict[str, tuple[Encoder, str]] = {
    "fails": (
        lambda _: 1 / 0,
        r"^the encoder of .*test_escape_encoders.Money failed: ZeroDivisionError: div",
    ),
    "gives no such value": (
        lambda _: object(),
        "^the encoder of .*Money returned a value of type 'object', which cannot be sent$",
    ),
    "gives what it takes": (
        lambda m: m,
        "^the encoder of .*Money returned a value of type .*Money', which cannot be sent$",
    ),
    "gives no finite number": (
        lambda _: float("nan"),
        "^the encoder of .*Money returned a value that cannot be sent: expected a finite float",
    ),
}


@pytest.mark.parametrize(("function", "message"), REFUSED.values(), ids=REFUSED)
def test_encoder_that_gives_no_value_is_refused(
    escape: ModuleType, function: Encoder, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        escape.escape([1, Money(1)], "utf8", mode({Money: function}))
    with pytest.raises(ArgumentError, match=message):
        escape.escape([1, Money(1)], "utf8", mode({Money: function}))


# -- scalars of NumPy ------------------------------------------------------------------------------


class Generic:
    """What NumPy's scalars are, as far as they are looked at."""

    __slots__ = ("dtype", "value")
    __module__ = "numpy"

    def __init__(self, kind: str, value: Any) -> None:
        self.dtype = SimpleNamespace(kind=kind)
        self.value = value

    def item(self) -> Any:
        return self.value


class Long(Generic):
    __module__ = "numpy"

    def item(self) -> Any:
        return self


@pytest.fixture
def numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", SimpleNamespace(generic=Generic))  # type: ignore[arg-type]


EXACT: dict[str, tuple[str, Any, bytes]] = {
    "bool": ("b", True, b"1"),
    "int": ("i", -(2**63), b"-9223372036854775808"),
    "unsigned": ("u", 2**64 - 1, b"18446744073709551615"),
    "float": ("f", 0.5, b"0.5e0"),
    "date": ("M", datetime.date(2026, 1, 2), b"'2026-01-02'"),
    "datetime": ("M", datetime.datetime(2026, 1, 2, 3), b"'2026-01-02 03:00:00'"),
    "timedelta": ("m", datetime.timedelta(seconds=1), b"'00:00:01'"),
}


@pytest.mark.parametrize(("kind", "value", "literal"), EXACT.values(), ids=EXACT)
def test_scalar_is_written_as_the_value_that_it_is(
    escape: ModuleType, numpy: None, kind: str, value: Any, literal: bytes
) -> None:
    assert escape.escape(Generic(kind, value), "utf8", 0) == literal
    assert escape.escape([Generic(kind, value)], "utf8", 0) == b"(%b)" % literal


INEXACT = {
    "nanoseconds": Generic("M", 1_000_000_007),
    "no unit": Generic("m", 5),
    "not a time": Generic("M", None),
    "complex": Generic("c", 1j),
    "record": Generic("V", (1, 2)),
    "object": Generic("O", 5),
    "long double": Long("f", None),
}


@pytest.mark.parametrize("value", INEXACT.values(), ids=INEXACT)
def test_scalar_that_is_no_value_exactly_is_refused(
    escape: ModuleType, numpy: None, value: Generic
) -> None:
    message = f"^cannot send a value of type 'numpy.{type(value).__name__}'; encoders="
    with pytest.raises(ArgumentError, match=message):
        escape.escape(value, "utf8", 0)


def test_not_finite_scalar_is_refused(escape: ModuleType, numpy: None) -> None:
    with pytest.raises(ArgumentError, match="expected a finite float, got nan"):
        escape.escape(Generic("f", float("nan")), "utf8", 0)


def test_scalar_has_the_encoder_of_its_type(escape: ModuleType, numpy: None) -> None:
    value = Generic("M", 1_000)

    assert escape.escape(value, "utf8", mode({Generic: lambda v: v.item() // 1000})) == b"1"


def test_what_looks_like_a_scalar_is_none_without_numpy(
    escape: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "numpy", raising=False)

    with pytest.raises(ArgumentError, match="type 'numpy.Generic'"):
        escape.escape(Generic("i", 1), "utf8", 0)
