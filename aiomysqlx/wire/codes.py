"""Codes: how a value is read from what the server sends, and how one is written as a literal."""

from __future__ import annotations

from typing import Any

# The conversions of a value that is received, each one for a kind of column.
TEXT, BYTES, INT, FLOAT, DECIMAL, DATETIME, DATE, TIME, BOOL, DECIMAL_AS_FLOAT = range(10)

# How a value stands in a binary row. A *wire* code is one of these, and above its four bits the
# number of digits that the column has after the point.
SIZED, INT8, UINT8, INT16, UINT16, INT32, UINT32, INT64, UINT64 = range(9)
FLOAT32, FLOAT64, CALENDAR, CLOCK = range(9, 13)
KIND_BITS = 4
WIDTHS = (0, 1, 1, 2, 2, 4, 4, 8, 8, 4, 8, 0, 0)  # in their order; 0 where a length tells
NO_DECIMALS = 31  # and more: as many as the value has
FLOAT_DIGITS = 6  # that a FLOAT has in text

# The flags of a *mode*: how the session reads literals, and how the user wants them.
NO_BACKSLASH_ESCAPES = 1
HEX_BYTES = 2  # bytes as X'…', for a literal that becomes text
# Of aware datetimes and times, which are refused otherwise if their offset is not zero.
ZONES_TO_UTC = 4
ZONES_DROPPED = 8

# What both twins write, and where they stop.
ESCAPES = {"\\": "\\", "'": "'", '"': '"', "\0": "0", "\n": "n", "\r": "r", "\x1a": "Z"}
"""What follows a backslash for what is special inside '…', unless NO_BACKSLASH_ESCAPES is on."""
EMPTY_SET = b"SELECT 1 FROM (SELECT 1) AS _empty_set WHERE 1 != 1"
MAX_DEPTH = 32
MAX_DECIMAL_DIGITS = 1000


class Verbatim(bytes):
    """SQL text, already encoded, that `render` writes as it stands."""

    __slots__ = ()


class InList(list[Any]):
    """Values that `render` writes without parentheses: the inside of IN (...)."""

    __slots__ = ()


Syntax = tuple[str, int]
"""The Python codec of a session's statements, and the mode in which values are written."""


_BINARY = {
    **dict.fromkeys(range(SIZED + 1, FLOAT32), (INT, BOOL)),
    **dict.fromkeys((FLOAT32, FLOAT64), (FLOAT, DECIMAL_AS_FLOAT)),
    CALENDAR: (DATETIME, DATE),
    CLOCK: (TIME,),
}


def check_wire(wire: int, conversion: int) -> None:
    """Raise a `ValueError` if there is no such wire code, or not with such a conversion."""
    kind = wire & (1 << KIND_BITS) - 1
    if wire not in range(256 << KIND_BITS) or kind >= len(WIDTHS):
        raise ValueError(f"unknown wire code {wire!r}")
    if conversion not in _BINARY.get(kind, range(DECIMAL_AS_FLOAT + 1)):
        raise ValueError(f"conversion {conversion!r} does not go with wire code {wire!r}")
