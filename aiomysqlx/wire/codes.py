"""Codes: how a value is read from what the server sends, and how one is written as a literal."""

from __future__ import annotations

# The conversions of a value that is received, each one for a kind of column.
TEXT, BYTES, INT, FLOAT, DECIMAL, DATETIME, DATE, TIME, BOOL, DECIMAL_AS_FLOAT = range(10)

# The flags of a *mode*: how the session reads literals, and how the user wants them.
NO_BACKSLASH_ESCAPES = 1
HEX_BYTES = 2  # bytes as X'…', for a literal that becomes text
# Of aware datetimes and times, which are refused otherwise if their offset is not zero.
ZONES_TO_UTC = 4
ZONES_DROPPED = 8

Syntax = tuple[str, int]
"""The Python codec of a session's statements, and the mode in which values are written."""
