"""Values that try to get out of their literal, and what a server must get of each."""

from __future__ import annotations

import enum
import functools
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID

MARK = "INSERT INTO marker VALUES (1)"
REFUSED = object()

# Also what a charset has at the place of a backslash, or ends in the byte of one or of a quote.
TEXTS = {
    "empty": "",
    "quote": f"'; {MARK}; -- ",
    "double quote": f'"; {MARK}; -- ',
    "two quotes": f"''; {MARK}; -- ",
    "backslash": "\\",
    "trailing backslash": "a\\",
    "backslash and quote": f"\\'; {MARK}; -- ",
    "backslashes and quote": f"\\\\'; {MARK}; -- ",
    "backtick": f"`; {MARK}; -- ",
    "parenthesis": f"'); {MARK}; -- ",
    "NUL": f"\0'; {MARK}; -- ",
    "ctrl-Z": f"\x1a'; {MARK}; -- ",
    "line ends": f"\r\n'; {MARK}\n; # \n",
    "other controls": "\b\t\x7f",
    "percent": "%s %(v)s %% %d %_ \\%",
    "dashes": f"-- ' {MARK}",
    "comment": f"/*' */ {MARK} /*! {MARK} */",
    "semicolon": f"; {MARK};",
    "pipes": "' || (SELECT 1) || '",
    "unicode quotes": f"ʼ’＇‘´; {MARK}; -- ",
    "fullwidth backslash": f"＼'; {MARK}; -- ",
    "yen": f"¥'; {MARK}; -- ",
    "yen doubled": f"¥\\'; {MARK}; -- ",
    "overline": f"‾'; {MARK}; -- ",
    "won": f"₩'; {MARK}; -- ",
    "sjis 0x5C": f"ソ表能'; {MARK}; -- ",
    "sjis 0x5C at the end": "ソ",
    "gbk 0x5C": f"縗誠'; {MARK}; -- ",
    "gbk 0x5C at the end": "縗\\",
    "big5 0x5C": f"許功蓋'; {MARK}; -- ",
    "latin1 0xBF": f"\xbf'; {MARK}; -- ",
    "latin1 0xBF backslash": f"\xbf\\'; {MARK}; -- ",
    "latin1": f"é'; {MARK}; -- ",
    "four bytes": f"😀'; {MARK}; -- ",
    "surrogate of 0xBF": f"\udcbf'; {MARK}; -- ",
    "surrogate of 0x5C": f"\udc5c'; {MARK}; -- ",
    "high surrogate": f"\ud800'; {MARK}; -- ",
    "long": f"{'x' * 5000}'; {MARK}; -- ",
}

BYTES = {
    "gbk": b"\xbf'; " + MARK.encode() + b"; -- ",
    "gbk and backslash": b"\xbf\x5c'; " + MARK.encode() + b"; -- ",
    "sjis": b"\x83\x5c'; " + MARK.encode() + b"; -- ",
    "0x5C": b"\x5c",
    "0x27": b"\x27",
    "all": bytes(range(256)),
    "none": b"",
}

QUOTE = f"'; {MARK}; -- "


def _quote(*_args: Any, **_kwargs: Any) -> Any:
    return QUOTE


def _lying(base: type, *names: str) -> Any:
    """Give a subclass of *base* that shows itself as a hostile text."""
    shown = ("__str__", "__repr__", "__format__", *names)
    return type(f"Lying{base.__name__}", (base,), dict.fromkeys(shown, _quote))


LyingStr = _lying(str, "encode", "replace", "translate", "join", "__add__", "__mod__", "isascii")
LyingInt = _lying(int, "__int__", "__index__", "__add__", "bit_length", "__neg__")
LyingFloat = _lying(float, "__float__", "hex", "is_integer", "__neg__")
LyingDecimal = _lying(Decimal, "as_tuple", "to_eng_string", "is_finite", "__abs__", "__neg__")
LyingDate = _lying(date, "isoformat", "strftime", "timetuple")
LyingDatetime = _lying(datetime, "isoformat", "strftime", "timetuple", "date")
LyingTime = _lying(time, "isoformat", "strftime")
LyingTimedelta = _lying(timedelta, "total_seconds", "__floordiv__", "__abs__", "__neg__")
LyingBytes = _lying(bytes, "hex", "decode", "__bytes__", "__iter__", "__getitem__")
LyingBytearray = _lying(bytearray, "hex", "decode", "__bytes__", "__iter__", "__getitem__")
LyingUUID = _lying(UUID)


class TextMember(str, enum.Enum):
    A = "it's"
    __str__ = __repr__ = __format__ = _quote  # type: ignore[assignment]


class NumberMember(enum.IntEnum):
    A = 7
    __str__ = __repr__ = __format__ = _quote  # type: ignore[assignment]


class HostileMember(enum.Enum):
    A = QUOTE


class Flags(enum.IntFlag):
    A = 1
    B = 2


OTHERS: dict[str, tuple[Any, Any]] = {
    "None": (None, None),
    "True": (True, b"1"),
    "int": (-5, b"-5"),
    "huge int": (10**60, b"1" + b"0" * 60),
    "int of too many digits": (10**5000, REFUSED),
    "float": (-1.5, b"-1.5"),
    "nan": (float("nan"), REFUSED),
    "infinity": (float("-inf"), REFUSED),
    "Decimal": (Decimal("-1.50"), b"-1.50"),
    "Decimal exponent": (Decimal("1E+5"), b"100000"),
    "Decimal NaN": (Decimal("NaN"), REFUSED),
    "Decimal sNaN": (Decimal("sNaN123"), REFUSED),
    "Decimal infinity": (Decimal("Infinity"), REFUSED),
    "date": (date(2024, 2, 29), b"2024-02-29"),
    "datetime": (datetime(1, 2, 3, 4, 5, 6, 7), b"0001-02-03 04:05:06.000007"),
    "time": (time(1, 2, 3), b"01:02:03"),
    "timedelta": (timedelta(days=-40, seconds=1), b"-959:59:59"),
    "UUID": (UUID(int=7), b"00000000-0000-0000-0000-000000000007"),
    "bytearray": (bytearray(BYTES["gbk"]), BYTES["gbk"]),
    "memoryview": (memoryview(BYTES["sjis"]), BYTES["sjis"]),
    "memoryview with steps": (memoryview(b"'\x5c\x27\x00")[::2], b"''"),
    "subclass of str": (LyingStr("it's"), b"it's"),
    "subclass of int": (LyingInt(7), b"7"),
    "subclass of float": (LyingFloat(1.5), b"1.5"),
    "subclass of Decimal": (LyingDecimal("1.50"), b"1.50"),
    "subclass of date": (LyingDate(2024, 2, 29), b"2024-02-29"),
    "subclass of datetime": (LyingDatetime(2024, 2, 29), b"2024-02-29 00:00:00"),
    "subclass of time": (LyingTime(1, 2, 3), b"01:02:03"),
    "subclass of timedelta": (LyingTimedelta(seconds=3), b"00:00:03"),
    "subclass of bytes": (LyingBytes(b"\x5c'"), b"\x5c'"),
    "subclass of bytearray": (LyingBytearray(b"\x5c'"), b"\x5c'"),
    "subclass of UUID": (LyingUUID(int=7), b"00000000-0000-0000-0000-000000000007"),
    "member of str": (TextMember.A, b"it's"),
    "member of int": (NumberMember.A, b"7"),
    "member of hostile value": (HostileMember.A, QUOTE.encode()),
    "flags": (Flags.A | Flags.B, b"3"),
    "dict": ({"a": QUOTE}, REFUSED),
    "object": (object(), REFUSED),
    "class": (LyingStr, REFUSED),
    "complex": (1j, REFUSED),
    "range": (range(3), REFUSED),
    "list": (["a", QUOTE], REFUSED),
    "tuple": (("a", QUOTE), REFUSED),
    "set": ({"a", QUOTE}, REFUSED),
}


class Value(NamedTuple):
    """A value, and the bytes that a server must get: None for NULL, or REFUSED."""

    name: str
    given: Any
    expected: Any


def values(encoding: str) -> Iterator[Value]:
    """Give every value with what becomes of it in *encoding*."""
    for name, text in TEXTS.items():
        yield Value(f"text: {name}", text, encoded(text, encoding))
    for name, data in BYTES.items():
        yield Value(f"bytes: {name}", data, data)
    for name, (given, expected) in OTHERS.items():
        yield Value(name, given, expected)


def texts(encoding: str) -> dict[str, str]:
    """Give the texts that *encoding* has."""
    return {name: text for name, text in TEXTS.items() if encoded(text, encoding) is not REFUSED}


@functools.lru_cache(1000)  # some are long, and every test of a charset asks for all of them
def encoded(text: str, encoding: str) -> Any:
    """Give the bytes of *text*, REFUSED if they are no true ones."""
    try:
        data = b"".join(character.encode(encoding) for character in text)
    except UnicodeEncodeError:
        return REFUSED
    misread = any(
        character.encode(encoding).isascii() and not character.isascii() for character in text
    )
    return REFUSED if misread else data
