"""What a new session takes, as the server tells it in one answer, or does not."""

from __future__ import annotations

import re
from itertools import chain, islice, repeat
from typing import Any

from pymysql.constants import COMMAND, ER

from ..runtime.record import Record
from ._impl import frame
from .charset import DEFAULT_CHARSET, current_name
from .refusal import MUST_CHANGE_PASSWORD

MOST_ASSUMED = 1 << 24
"""The `max_allowed_packet` of a server that does not tell it: MySQL's own for a long time."""

_LEAST_PACKET = 1024
# Those that a client raises by itself.
_CLIENT_CODES = range(2000, 3000)
# What says that it is understood.
_UNDERSTOOD = frozenset({MUST_CHANGE_PASSWORD, ER.UNKNOWN_CHARACTER_SET, ER.USER_LIMIT_REACHED})
# Two, or an escaped one.
_BACKSLASHES = rb"CHAR_LENGTH('\\')"
BACKSLASHES: bytes = frame(bytes((COMMAND.COM_QUERY,)) + b"SELECT " + _BACKSLASHES)


class Learned(Record):
    """What is known of a session; `None` is what is not."""

    limit: int | None
    charset: str | None
    collation: str | None
    default: str | None  # the server's own collation for the charset that was asked for
    time_zone: str | None
    backslashes: str | None
    thread_id: int | None  # a greeting's has 32 bits, and is a proxy's own


def question(charset: str) -> bytes:
    """Return the packet that asks for it."""
    # An introducer has the default that a SET NAMES would have, also where a variable of
    # MySQL's sets another for utf8mb4; of other charsets the server may not know it.
    sample = "_utf8mb4''" if charset == DEFAULT_CHARSET else f"CONVERT('' USING {charset})"
    text = (
        "SELECT @@max_allowed_packet, @@character_set_client, @@collation_connection,"
        f" COLLATION({sample}), @@time_zone, {_BACKSLASHES.decode()}, CONNECTION_ID()"
    )
    packet: bytes = frame(bytes((COMMAND.COM_QUERY,)) + text.encode())
    return packet


def learned_from(rows: list[tuple[Any, ...]]) -> Learned:
    """Return what the answer's *rows* tell: one with a value for each, or anything else."""
    row = rows[0] if len(rows) == 1 and len(rows[0]) <= len(Learned._fields) else ()
    values = chain(map(_text, row), repeat(None))
    limit, charset, collation, default, time_zone, backslashes, thread = islice(
        values, len(Learned._fields)
    )
    return Learned(
        *(_size(limit), _name(charset), _name(collation), _name(default), time_zone, backslashes),
        int(thread) if thread and re.fullmatch(r"[0-9]{1,20}", thread) else None,
    )


def is_not_understood(code: int) -> bool:
    """Tell whether an error may be that of a server which has no such question.

    Such servers have syntax errors of any number.
    """
    return code not in _UNDERSTOOD and code not in _CLIENT_CODES


def _text(value: Any) -> str | None:
    """Return a value as text: a binary session gives bytes."""
    if isinstance(value, bytes):
        return value.decode("utf8", "replace")
    return None if value is None else str(value)


def _size(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[0-9]{1,19}", text) or int(text) < _LEAST_PACKET:
        return None
    return int(text)


def _name(text: str | None) -> str | None:
    return current_name(text) if text else None
