"""Values to the parameters of prepared statements, and those to packets.

This is the specification; `_binary_cy` is its compiled twin.

A parameter is what the literal that `_escape_py` writes would be, by the same rules: what that
refuses is refused in the same words. So are SQL texts and lists besides, which have no place in a
parameter: a caller who gets an `ArgumentError` has the statement sent as text, or told why not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache, partial
from struct import Struct
from time import struct_time
from typing import Any
from uuid import UUID

from ..exc import ArgumentError
from ._escape_py import (
    _date,
    _datetime,
    _decimal,
    _float,
    _int,
    _Literals,
    _struct_time,
    _text_writer,
    _time,
    _timedelta,
    _uuid,
    frame,
)
from .codes import InList, Verbatim
from .encoders import UnsendableError
from .packets import length

# What a parameter begins with here: its type, and 0x80 if it has no sign.
_NULL = b"\x06\x00"
_LONGLONG = b"\x08\x00"
_UNSIGNED_LONGLONG = b"\x08\x80"
_DOUBLE = Struct("<BBd")
_NEWDECIMAL = b"\xf6\x00"
_BLOB = b"\xfc\x00"
_VAR_STRING = b"\xfd\x00"
_TYPE = 2
# More characters than these are no integer that has a type of its own.
_MOST_DIGITS = 20


def execute(statement_id: int, values: Sequence[object], encoding: str, mode: int) -> bytes:
    """Return the COM_STMT_EXECUTE packet of a statement, whose parameters are *values*."""
    parameters = _parameters(encoding, mode)
    written = [_as_literal(parameters[type(value)](value)) for value in tuple(values)]
    # After the id: no cursor, and once.
    pieces = [b"\x17", (statement_id & 0xFFFFFFFF).to_bytes(4, "little"), b"\0\1\0\0\0"]
    if written:
        nulls = sum(1 << column for column, piece in enumerate(written) if piece == _NULL)
        pieces += nulls.to_bytes(len(written) + 7 >> 3, "little"), b"\1"  # the types follow
        pieces += [piece[:_TYPE] for piece in written]
        pieces += [piece[_TYPE:] for piece in written]
    return frame(b"".join(pieces))


def bulk(
    statement_id: int,
    rows: Sequence[Sequence[object]],
    encoding: str,
    mode: int,
    start: int,
    limit: int,
) -> tuple[bytes, int]:
    """Return MariaDB's COM_STMT_BULK_EXECUTE packet of rows[start:stop], and *stop*.

    It holds as many rows as keep the payload within *limit* bytes, and at least one. A parameter
    has one type in a packet: a value of another type than the values before it begins a new one.
    """
    parameters = _parameters(encoding, mode)
    if not 0 <= start < len(rows):
        raise ArgumentError(f"expected a start within {len(rows)} rows, got {start}")
    kinds = [_NULL] * len(tuple(rows[start]))
    written: list[bytes] = []
    size = 7 + _TYPE * len(kinds)
    stop = start
    for stop in range(start, len(rows)):
        values = tuple(rows[stop])
        if len(values) != len(kinds):
            raise ArgumentError(f"expected {len(kinds)} parameters, got {len(values)}")
        row = [parameters[type(value)](value) for value in values]
        common = _common(kinds, row)
        # In front of each value is whether it is NULL.
        data = b"".join([b"\1" if piece == _NULL else b"\0" + piece[_TYPE:] for piece in row])
        size += len(data)
        if written and (common is None or size > limit):
            break
        assert common is not None
        kinds = common
        written.append(data)
    else:
        stop += 1
    # After the id: the types follow.
    head = b"\xfa", (statement_id & 0xFFFFFFFF).to_bytes(4, "little"), b"\x80\0"
    return frame(b"".join((*head, *kinds, *written))), stop


def _as_literal(parameter: bytes) -> bytes:
    """Return a DECIMAL that has no point as an integer, which its literal is.

    MariaDB compares a text with an integer as DECIMAL, with a DECIMAL as DOUBLE. In a bulk it stays
    one: a parameter has one type there, and assigning either to a column does the same.
    """
    if parameter[:_TYPE] != _NEWDECIMAL or parameter[_TYPE] > _MOST_DIGITS:
        return parameter
    digits = parameter[_TYPE + 1 :]
    return parameter if b"." in digits else _integer(int(digits))


def _common(kinds: list[bytes], row: list[bytes]) -> list[bytes] | None:
    """Return the types that both have, a NULL being of any; `None` if they have not."""
    common = []
    for kind, piece in zip(kinds, row, strict=True):
        other = piece[:_TYPE]
        if kind != other and _NULL not in (kind, other):
            return None
        common.append(other if kind == _NULL else kind)
    return common


class _Parameters(_Literals):
    """What writes a value, by its type, as a parameter: the type, and then the value."""

    def _fill(self, encoding: str, mode: int) -> None:
        write = _text_writer(encoding, str.__str__)
        self.update(_WRITERS)
        self[str] = lambda value: _sized(_VAR_STRING, write(value))
        self[memoryview] = self._memoryview
        self[datetime] = _unquoted(partial(_datetime, mode))
        self[time] = _unquoted(partial(_time, mode))
        self[Enum] = self._member

    def _at(self, mode: int, depth: int) -> _Parameters:
        return _parameters(self._setting[0], mode, depth)


_parameters = lru_cache(maxsize=256)(_Parameters)


def _sized(kind: bytes, data: bytes | bytearray) -> bytes:
    return b"".join((kind, length(len(data)), data))


def _unquoted(write: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """Return what writes what stands between the quotes of a literal."""
    return lambda value: _sized(_VAR_STRING, write(value)[1:-1])


def _null(_value: None) -> bytes:
    return _NULL


def _integer(value: int) -> bytes:
    if -(1 << 63) <= value < 1 << 63:
        return _LONGLONG + int.to_bytes(value, 8, "little", signed=True)
    if 0 < value < 1 << 64:
        return _UNSIGNED_LONGLONG + int.to_bytes(value, 8, "little")
    return _sized(_NEWDECIMAL, _int(value))


def _double(value: float) -> bytes:
    _float(value)  # which refuses what is not finite
    return _DOUBLE.pack(5, 0, value)


def _fixed(value: Decimal) -> bytes:
    return _sized(_NEWDECIMAL, _decimal(value))


def _blob(value: bytes) -> bytes:
    return _sized(_BLOB, bytes.__getitem__(value, slice(None)))


def _changeable_blob(value: bytearray) -> bytes:
    return _sized(_BLOB, bytearray.__getitem__(value, slice(None)))


def _unsendable(value: Any) -> bytes:
    raise UnsendableError(type(value))


_WRITERS: dict[type, Callable[[Any], bytes]] = {
    type(None): _null,
    bool: _integer,
    int: _integer,
    float: _double,
    Decimal: _fixed,
    bytes: _blob,
    bytearray: _changeable_blob,
    date: _unquoted(_date),
    timedelta: _unquoted(_timedelta),
    struct_time: _unquoted(_struct_time),
    UUID: _unquoted(_uuid),
    **dict.fromkeys((Verbatim, InList, tuple, list, set, frozenset), _unsendable),
}
