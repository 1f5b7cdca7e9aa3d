"""Results as a server sends them, written byte by byte: the same in every run.

Only ever added to: what is changed here cannot be compared with earlier figures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import NamedTuple

OK = b"\x00\x00\x00\x02\x00\x00\x00"  # no rows affected, no id generated, autocommit, no warning
END = b"\xfe" + OK[1:]  # of rows, where EOF packets are deprecated

_UTF8MB4, _BINARY = 45, 63


class Kind(NamedTuple):
    """A kind of column: the protocol's type code and charset, and a row's value as text."""

    type_code: int
    charset: int
    value: Callable[[int], bytes | None]


KINDS = {
    "integer": Kind(3, _BINARY, lambda index: b"%d" % (index * 7)),
    "bigint": Kind(8, _BINARY, lambda index: b"%d" % (-(1 << 62) + index)),
    "float": Kind(5, _BINARY, lambda index: repr(index * 1.1).encode()),
    "decimal": Kind(246, _BINARY, lambda index: b"%d.4567" % (123 + index)),
    "text": Kind(253, _UTF8MB4, lambda index: b"name %d" % index),
    "long text": Kind(253, _UTF8MB4, lambda _: b"x" * 1000),
    "unicode": Kind(253, _UTF8MB4, lambda index: f"naïve 名前 {index}".encode()),
    "bytes": Kind(252, _BINARY, lambda index: index.to_bytes(16, "big")),
    "datetime": Kind(12, _BINARY, lambda index: b"2020-01-02 03:04:%02d" % (index % 60)),
    "microseconds": Kind(12, _BINARY, lambda index: b"2020-01-02 03:04:05.%06d" % (index % 10**6)),
    "date": Kind(10, _BINARY, lambda index: b"2020-01-%02d" % (1 + index % 28)),
    "time": Kind(11, _BINARY, lambda index: b"%02d:%02d:05" % (index % 24, index % 60)),
    "flag": Kind(1, _BINARY, lambda index: b"%d" % (index % 2)),
    "sparse": Kind(253, _UTF8MB4, lambda index: None if index % 3 else b"text %d" % index),
    "null": Kind(253, _UTF8MB4, lambda _: None),
}

# The columns of the tables in `tables`, by name.
MIXED = {
    "id": "integer",
    "name": "text",
    "code": "text",
    "number": "integer",
    "price": "decimal",
    "ratio": "float",
    "made": "datetime",
    "day": "date",
    "done": "flag",
    "note": "sparse",
}


def mixed(count: int) -> tuple[str, ...]:
    """Give the kinds of *count* columns, those of `MIXED` over and over."""
    kinds = tuple(MIXED.values())
    return tuple(kinds[index % len(kinds)] for index in range(count))


class Recording(NamedTuple):
    """A result of *size* rows, without its first packet."""

    definitions: bytes
    rows: bytes
    columns: int
    size: int

    @property
    def reply(self) -> bytes:
        """The whole answer to a query."""
        return b"".join((packet(bytes((self.columns,)), 1), self.definitions, self.rows))


@cache
def recording(count: int, kinds: Sequence[str]) -> Recording:
    """Give a result of *count* rows, with columns of these kinds."""
    names = list(MIXED) if tuple(MIXED.values()) == kinds else [f"column{i}" for i in range(250)]
    definitions = (_definition(name, KINDS[kind]) for name, kind in zip(names, kinds, strict=False))
    values = [KINDS[kind].value for kind in kinds]
    rows = (b"".join([_text(value(index)) for value in values]) for index in range(count))
    return Recording(
        packets(definitions, first=2),
        packets((*rows, END), first=2 + len(kinds)),
        len(kinds),
        count,
    )


def packets(payloads: Iterable[bytes], first: int) -> bytes:
    """Give *payloads* as wire packets with successive sequence ids."""
    return b"".join(packet(payload, first + index) for index, payload in enumerate(payloads))


def packet(payload: bytes, sequence: int) -> bytes:
    """Give *payload* as one wire packet."""
    return len(payload).to_bytes(3, "little") + bytes((sequence & 0xFF,)) + payload


def _text(value: bytes | None) -> bytes:
    """Give *value* behind its length."""
    if value is None:
        return b"\xfb"
    size = len(value)
    return (bytes((size,)) if size < 251 else b"\xfc" + size.to_bytes(2, "little")) + value


def _definition(name: str, kind: Kind) -> bytes:
    names = ("def", "bench_aiomysqlx", "samples", "samples", name, name)
    fixed = (
        kind.charset.to_bytes(2, "little"),
        (255).to_bytes(4, "little"),
        bytes((kind.type_code,)),
        b"\0\0\0\0\0",  # flags, decimals, filler
    )
    return b"".join((*(_text(each.encode()) for each in names), b"\x0c", *fixed))
