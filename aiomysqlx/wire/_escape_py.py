"""Statements to bytes: Python values as SQL literals, SQL text as command packets.

This is the specification; `_escape_cy` is its compiled twin.

A value is written for what its type is in C terms, never by its own `__str__`, `__format__`,
`__iter__` or properties: a subclass cannot put a byte of its choice into a statement. An
enumeration member stands for its `value`, which is escaped like any other. The encoders that a
*mode* may have come first; what they give is written as it is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from itertools import compress
from math import isfinite
from operator import itemgetter
from time import struct_time
from typing import Any
from uuid import UUID

from ..exc import ArgumentError
from .charset import is_utf8, keeps_quotes, reads_as
from .codes import (
    EMPTY_SET,
    ESCAPES,
    HEX_BYTES,
    MAX_DECIMAL_DIGITS,
    MAX_DEPTH,
    NO_BACKSLASH_ESCAPES,
    ZONES_DROPPED,
    ZONES_TO_UTC,
    InList,
    Verbatim,
)
from .encoders import BASES, Encoders, UnsendableError, encoded, misencoded
from .packets import MAX_PIECE

_special = re.compile(f"[{re.escape(''.join(ESCAPES))}]").search

_COMMA = b","
_MICROSECOND = timedelta(microseconds=1)
_SOME_DAY = date(2000, 1, 1)

_LISTS = (list, tuple, set, frozenset)
_MOST_SCALARS = 1000

# The stored attributes, whatever a subclass makes of the names.
_datetime_zone = datetime.tzinfo.__get__
_time_zone = time.tzinfo.__get__
_uuid_number = UUID.__dict__["int"].__get__

# Types seen that are no lists, so that values need not be looked at one by one.
_scalars: set[type] = {str, int, float, bool, bytes, type(None), InList, Verbatim}


def escape(value: object, encoding: str, mode: int) -> bytes:
    """Return *value* as a SQL literal in *encoding*."""
    return _literals(encoding, mode)[type(value)](value)


def frame(payload: bytes, sequence: int = 0) -> bytes:
    """Return *payload* as wire packets.

    A packet is a 3-byte little-endian length, a sequence id and up to 0xFFFFFF bytes; one that is
    full says that another follows, if only an empty one.
    """
    if len(payload) < MAX_PIECE:
        return b"%b%c%b" % (len(payload).to_bytes(3, "little"), sequence & 0xFF, payload)
    packets: list[bytes] = []
    for number, start in enumerate(range(0, len(payload) + 1, MAX_PIECE), sequence):
        part = payload[start : start + MAX_PIECE]
        packets += (len(part).to_bytes(3, "little"), bytes((number & 0xFF,)), part)
    return b"".join(packets)


def render(fragments: Sequence[bytes], values: Sequence[object], encoding: str, mode: int) -> bytes:
    """Return the COM_QUERY packet of *fragments* with *values* written between them."""
    literals = _literals(encoding, mode)
    return frame(b"\x03" + _interleave(fragments, values, literals))


def render_rows(
    head: bytes,
    row: Sequence[bytes],
    rows: Sequence[Sequence[object]],
    tail: bytes,
    encoding: str,
    mode: int,
    start: int,
    limit: int,
    between: bytes = _COMMA,
) -> tuple[bytes, int]:
    """Return the COM_QUERY packet of *head*, rows[start:stop] and *tail*, and *stop*.

    It holds as many rows, each written between the fragments *row*, as keep the payload within
    *limit* bytes, and at least one; *between* is written between two.
    """
    literals = _literals(encoding, mode)
    if not 0 <= start < len(rows):
        raise ArgumentError(f"expected a start within {len(rows)} rows, got {start}")
    rendered: list[bytes] = []
    size = 1 + len(head) + len(tail)
    stop = start
    for stop in range(start, len(rows)):
        sql = _interleave(row, rows[stop], literals)
        size += len(sql) if stop == start else len(sql) + len(between)
        if size > limit and rendered:
            break
        rendered.append(sql)
    else:
        stop += 1
    return frame(b"".join((b"\x03", head, between.join(rendered), tail))), stop


def has_lists(values: Iterable[object]) -> bool:
    """Tell whether there is a list, tuple or set among *values*, other than an `InList`."""
    if _scalars.issuperset(map(type, values := tuple(values))):
        return False
    for kind in {type(value) for value in values} - _scalars:
        if issubclass(kind, _LISTS):
            return True
        if len(_scalars) < _MOST_SCALARS:
            _scalars.add(kind)
    return False


def take_values(
    groups: Sequence[object],
    keys: Sequence[object] | None,
    checked: Sequence[bool],
    constants: Mapping[Any, object] | None,
) -> list[tuple[Any, ...]]:
    """Return the values at *keys* of each of *groups*, up to the first that is not plain.

    Plain is a dict with all of *keys*, but for those that *constants* has the values of, and with
    no others, unless *constants* is `None`. If *keys* is `None`, it is a tuple as long as
    *checked*. Where *checked* is true, a plain group has no list, tuple or set.
    """
    checked = tuple(map(bool, checked))
    if keys is None:
        take: Callable[[object], tuple[Any, ...] | None] = partial(_whole, len(checked))
    else:
        keys = tuple(keys)
        if len(keys) != len(checked):
            raise ValueError(f"expected {len(keys)} keys to be checked or not, got {len(checked)}")
        take = _taker(keys, None if constants is None else dict(constants))
    rows: list[tuple[Any, ...]] = []
    for group in groups:
        row = take(group)
        if row is None or (has_lists(row) and has_lists(compress(row, checked))):
            break
        rows.append(row)
    return rows


def _whole(count: int, group: object) -> tuple[Any, ...] | None:
    """Return a tuple of *count* values; `None` for anything else."""
    return group if type(group) is tuple and len(group) == count else None


def _taker(
    keys: tuple[object, ...], constants: dict[Any, object] | None
) -> Callable[[object], tuple[Any, ...] | None]:
    """Return what takes the values at *keys* out of a dict; it returns `None` for anything else."""
    size = None if constants is None else len({*keys}) - len(constants)
    get = itemgetter(*keys) if len(keys) > 1 else lambda group: tuple([group[key] for key in keys])

    def take(group: object) -> tuple[Any, ...] | None:
        if type(group) is not dict or (size is not None and len(group) != size):
            return None
        try:
            return get({**constants, **group} if constants else group)
        except KeyError:
            return None

    return take


def _interleave(fragments: Sequence[bytes], values: Sequence[object], literals: _Literals) -> bytes:
    values = tuple(values)
    if len(fragments) != len(values) + 1:
        raise ArgumentError(f"expected {len(fragments) - 1} parameters, got {len(values)}")
    pieces = [b""] * (2 * len(values) + 1)
    pieces[::2] = fragments
    pieces[1::2] = [literals[type(value)](value) for value in values]
    return b"".join(pieces)


class _Literals(dict[type, Callable[[Any], bytes]]):
    """What writes a value, by its type, in one encoding, mode and depth of nesting.

    The writers of `int`, `float` and `str` are given nothing but the exact type; the others are
    given subclasses too.
    """

    def __init__(self, encoding: str, mode: int, depth: int = 0) -> None:
        super().__init__(_WRITERS)
        self._setting = encoding, mode
        self._encoders: Encoders | None = getattr(mode, "encoders", None)
        self._depth = depth
        self._fill(encoding, mode)
        if self._encoders is not None:
            for known in list(self):
                if self._encoders.find(known) is not None:
                    self[known] = self._encoded

    def _fill(self, encoding: str, mode: int) -> None:
        self[str] = _text_writer(
            encoding, _doubled if mode & NO_BACKSLASH_ESCAPES else _backslashed
        )
        in_hex = mode & (NO_BACKSLASH_ESCAPES | HEX_BYTES) or not keeps_quotes(encoding)
        for cls in (bytes, bytearray):
            self[cls] = partial(_hex, cls.hex) if in_hex else partial(_raw, cls.replace)
        self[memoryview] = self._memoryview
        self[datetime] = partial(_datetime, mode)
        self[time] = partial(_time, mode)
        self[Enum] = self._member
        self[InList] = partial(self._values, list.__iter__)
        for base in (tuple, list, set, frozenset):
            self[base] = partial(self._row, base.__iter__)

    def _at(self, mode: int, depth: int) -> _Literals:
        return _literals(self._setting[0], mode, depth)

    def __missing__(self, cls: type) -> Callable[[Any], bytes]:
        if self._encoders is not None and self._encoders.find(cls) is not None:
            return self._encoded
        base = next((base for base in BASES if issubclass(cls, base)), None)
        if base is None:
            return self._foreign
        write, strip = self[base], _STRIP.get(base)
        return write if strip is None else lambda value: write(strip(value))

    def _deeper(self) -> _Literals:
        depth = self._depth + 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        return self._at(self._setting[1], depth)

    def _member(self, member: Enum) -> bytes:
        literals = self._deeper()
        value = member.value
        return literals[type(value)](value)

    def _encoded(self, value: Any) -> bytes:
        """Write what an encoder makes of *value*, which no encoder is asked about again."""
        assert self._encoders is not None
        function = self._encoders.find(type(value))
        assert function is not None
        result = encoded(function, value)
        try:
            return self._at(int(self._setting[1]), self._depth)[type(result)](result)
        except ArgumentError as error:
            refused = misencoded(value, error)
        try:
            raise refused
        finally:
            del refused  # whose traceback holds this frame

    def _foreign(self, value: Any) -> bytes:
        builtin = built_in(value)
        return self[type(builtin)](builtin)

    def _memoryview(self, value: memoryview) -> bytes:
        return self[bytes](value.tobytes())

    def _row(self, iterate: Callable[[Any], Iterable[object]], value: Any) -> bytes:
        return b"(%b)" % self._values(iterate, value)

    def _values(self, iterate: Callable[[Any], Iterable[object]], value: Any) -> bytes:
        literals = self._deeper()
        # A copy: reading an enumeration member's value runs code that may change the list.
        values = tuple(iterate(value))
        if not values:
            return EMPTY_SET
        return b", ".join([literals[type(item)](item) for item in values])


_literals = lru_cache(maxsize=256)(_Literals)


# What a NumPy scalar's item() gives, by the kind of its dtype, where it is exactly the scalar.
_EXACT: dict[str, tuple[type, ...]] = {
    "b": (bool,),
    "i": (int,),
    "u": (int,),
    "f": (float,),
    "M": (datetime, date),
    "m": (timedelta,),
}


def built_in(value: Any) -> Any:
    """Return the built-in value that a NumPy scalar is exactly; refuse what is none."""
    generic = getattr(sys.modules.get("numpy"), "generic", None)
    if isinstance(generic, type) and isinstance(value, generic):
        scalar: Any = value
        item = scalar.item()
        if type(item) in _EXACT.get(scalar.dtype.kind, ()):
            return item
    raise UnsendableError(type(value))


def _too_deep() -> ArgumentError:
    return ArgumentError(f"expected values nested at most {MAX_DEPTH} deep")


def _backslashed(value: str) -> str:
    """Return *value* between quotes, as the default sql_mode reads them."""
    if _special(value):
        for character, letter in ESCAPES.items():  # the backslash first
            value = value.replace(character, f"\\{letter}")
    return f"'{value}'"


def _doubled(value: str) -> str:
    """Return *value* between quotes, as NO_BACKSLASH_ESCAPES has them read."""
    value = value.replace("'", "''")
    return f"'{value}'"


def _text_writer(encoding: str, quoted: Callable[[str], str]) -> Callable[[str], bytes]:
    utf8 = is_utf8(encoding)

    def write(value: str) -> bytes:
        text = quoted(value)
        try:
            data = text.encode(encoding)
            if utf8 or value.isascii() or reads_as(data.decode(encoding), text):
                return data
        except UnicodeError:
            pass
        raise _unencodable(value, encoding)

    return write


def _unencodable(value: str, encoding: str) -> ArgumentError:
    """Return the error that says which character of *value* has no place in *encoding*."""
    try:
        encoded = value.encode(encoding)
        read = encoded.decode(encoding)
    except UnicodeEncodeError as error:
        position = error.start
    except UnicodeDecodeError as error:
        position = len(encoded[: error.start].decode(encoding))
    else:
        resized = len(read) != len(value)
        pairs = enumerate(zip(value, read, strict=False))
        position = next((i for i, (a, b) in pairs if a != b and (resized or b.isascii())), 0)
    return ArgumentError(
        f"cannot encode {value[position]!r} at position {position} in {encoding!r}"
    )


def _none(_value: None) -> bytes:
    return b"NULL"


def _bool(value: bool) -> bytes:
    return b"1" if value else b"0"


def _int(value: int) -> bytes:
    try:
        return b"%d" % value
    except ValueError:
        # The limit of sys.set_int_max_str_digits().
        raise ArgumentError(f"cannot send an int of {value.bit_length()} bits") from None


def _float(value: float) -> bytes:
    text = repr(value)
    if not isfinite(value):
        raise ArgumentError(f"expected a finite float, got {text}")
    # Without an exponent the server reads a DECIMAL.
    return (text if "e" in text else f"{text}e0").encode()


def _decimal(value: Decimal) -> bytes:
    text = Decimal.__str__(value)
    if not Decimal.is_finite(value):
        raise ArgumentError(f"expected a finite Decimal, got {text}")
    if len(text) <= MAX_DECIMAL_DIGITS and "E" not in text and "e" not in text:
        return text.encode()
    _, digits, exponent = Decimal.as_tuple(value)
    assert isinstance(exponent, int)
    if exponent < 0:
        count = max(len(digits), 1 - exponent)
    else:
        count = len(digits) + exponent if any(digits) else 1
    if count > MAX_DECIMAL_DIGITS:
        raise ArgumentError(f"expected a Decimal of at most {MAX_DECIMAL_DIGITS} digits")
    return Decimal.__format__(value, "f").encode()


def _raw(replace: Callable[[Any, bytes, bytes], Any], value: Any) -> bytes:
    """Write bytes as they stand, but for quotes and backslashes.

    And carriage returns: a `mysql` that replays a log drops them in front of newlines.
    """
    quoted = replace(value, b"\\", b"\\\\").replace(b"'", b"\\'").replace(b"\r", b"\\r")
    return b"_binary'%b'" % quoted


def _hex(to_hex: Callable[[Any], str], value: Any) -> bytes:
    return f"_binary X'{to_hex(value).upper()}'".encode()


def _verbatim(value: Verbatim) -> bytes:
    return bytes.__getitem__(value, slice(None))


def _datetime(mode: int, value: datetime) -> bytes:
    if _datetime_zone(value) is not None:
        value = _naive_datetime(value, mode)
    return f"'{datetime.isoformat(value, ' ')}'".encode()


def _naive_datetime(value: datetime, mode: int) -> datetime:
    """Return an aware datetime as it is stored."""
    naive = datetime.combine(datetime.date(value), datetime.time(value))
    offset = _offset(datetime.utcoffset, value, mode)
    try:
        return naive - offset if offset else naive
    except OverflowError:
        raise ArgumentError(
            f"cannot send {naive} of {timezone(offset)}: there is no such date in UTC"
        ) from None


def _offset(utcoffset: Callable[[Any], timedelta | None], value: Any, mode: int) -> timedelta:
    """Return what to take from the clock of *value*; refuse an offset that *mode* does not take."""
    nothing = timedelta()
    if mode & ZONES_DROPPED:
        return nothing
    kind = "datetime" if isinstance(value, datetime) else "time"
    try:
        offset = utcoffset(value)
    except Exception as error:
        raise ArgumentError(f"cannot tell the offset of an aware {kind}: {error}") from error
    # Not a subclass.
    offset = nothing if offset is None else timedelta.__pos__(offset)
    if offset and not mode & ZONES_TO_UTC:
        raise ArgumentError(
            f"cannot send an aware {kind} of {timezone(offset)}: convert it to UTC,"
            " or choose aware_datetimes='utc' or 'drop'"
        )
    return offset


def _date(value: date) -> bytes:
    return f"'{date.isoformat(value)}'".encode()


def _time(mode: int, value: time) -> bytes:
    if _time_zone(value) is not None:
        value = _naive_time(value, mode)
    return f"'{time.isoformat(value)}'".encode()


def _naive_time(value: time, mode: int) -> time:
    """Return an aware time as it is stored: in UTC it may be one of the day before or after."""
    return (datetime.combine(_SOME_DAY, value, None) - _offset(time.utcoffset, value, mode)).time()


def _timedelta(value: timedelta) -> bytes:
    total = timedelta.__floordiv__(value, _MICROSECOND)
    sign = "-" if total < 0 else ""
    seconds, microsecond = divmod(abs(total), 1_000_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    fraction = f".{microsecond:06}" if microsecond else ""
    return f"'{sign}{hour:02}:{minute:02}:{second:02}{fraction}'".encode()


def _struct_time(value: struct_time) -> bytes:
    try:
        return _datetime(0, datetime(*value[:6]))
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"expected a struct_time that is a date: {error}") from None


def _uuid(value: UUID) -> bytes:
    text = int.to_bytes(_uuid_number(value), 16, "big").hex()
    return f"'{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}'".encode()


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): _none,
    bool: _bool,
    int: _int,
    float: _float,
    Decimal: _decimal,
    Verbatim: _verbatim,
    date: _date,
    timedelta: _timedelta,
    struct_time: _struct_time,
    UUID: _uuid,
}

_STRIP: dict[type, Callable[[Any], Any]] = {
    int: int.__int__,
    float: float.__float__,
    str: str.__str__,
}
