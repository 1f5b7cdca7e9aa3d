"""Codes: how a value is read from what the server sends, and how one is written as a literal."""

from __future__ import annotations

from typing import Any

# The conversions of a value that is received, each one for a kind of column.
TEXT, BYTES, INT, FLOAT, DECIMAL, DATETIME, DATE, TIME, BOOL, DECIMAL_AS_FLOAT = range(10)

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
