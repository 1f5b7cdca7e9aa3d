"""The twins in several threads at a time, as in a program with an event loop in each of them.

Each thread has connections, and so readers, of its own. All may have in common what the modules
remember, decoders, and the metadata of rows.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from aiomysqlx.wire.codes import DATETIME, INT, TEXT, ZONES_TO_UTC

pytestmark = pytest.mark.twins

THREADS = 8
ROUNDS = 100
MODE = ZONES_TO_UTC
NAMES = ("id", "name", "at")
EOF = b"\xfe\x00\x00\x02\x00"


class Zone(tzinfo):
    """A time zone in Python: threads change while a datetime is written."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        return timedelta(hours=2)


class Color(Enum):
    RED = "red"


class Name(str):
    """A type that is found by what it inherits from."""


VALUES = (
    *(None, True, 1 << 70, 1.5, Decimal("1.50"), "it's 😀", Name("a\\b"), b"\0\xff", Color.RED),
    *(date(2024, 2, 29), datetime(2024, 2, 29, tzinfo=Zone()), timedelta(days=-1)),
    *(datetime(2024, 2, 29, 1, tzinfo=timezone.utc), UUID(int=7)),
)


@pytest.fixture(autouse=True)
def _change_threads_often() -> Iterator[None]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def assert_alike_in_threads(work: Callable[[], Any]) -> None:
    """Assert that *work* gives each of several threads, again and again, what it gives to one."""
    expected = work()
    together = threading.Barrier(THREADS)

    def differences() -> list[Any]:
        together.wait()
        return [found for found in (work() for _ in range(ROUNDS)) if found != expected]

    with ThreadPoolExecutor(THREADS) as threads:
        found = [threads.submit(differences) for _ in range(THREADS)]
    assert [each.result() for each in found] == [[]] * THREADS


def text_row(*values: bytes) -> bytes:
    return b"".join(bytes([len(value)]) + value for value in values)


def packets(*payloads: bytes) -> bytes:
    return b"".join(
        len(payload).to_bytes(3, "little") + bytes([number]) + payload
        for number, payload in enumerate(payloads)
    )


ROWS = [text_row(b"%d" % number, b"n" * number, b"2024-02-29 01:02:03") for number in range(40)]


def make_decoder(packet: ModuleType) -> Any:
    """A decoder with a processor in Python: threads change in the middle of a row."""
    return packet.Decoder(
        NAMES, [INT, TEXT, DATETIME], [None, lambda text: text.upper(), None], "utf8"
    )


def test_threads_write_the_same_statements(escape: ModuleType) -> None:
    fragments = [b"SELECT ", *[b", "] * (len(VALUES) - 2), b", (", b")"]
    values = (*VALUES[:-1], [*VALUES])

    assert_alike_in_threads(lambda: escape.render(fragments, values, "utf8", MODE))


def test_threads_write_the_same_rows_of_an_insert(escape: ModuleType) -> None:
    row = [b"(", *[b", "] * (len(VALUES) - 1), b")"]

    assert_alike_in_threads(
        lambda: escape.render_rows(b"VALUES ", row, [VALUES] * 5, b"", "utf8", MODE, 0, 1 << 20)
    )


def test_threads_write_the_same_parameters(binary: ModuleType) -> None:
    assert_alike_in_threads(lambda: binary.execute(7, VALUES, "utf8", MODE))


def test_threads_meet_types_for_the_first_time(escape: ModuleType) -> None:
    def new_types() -> list[bool]:
        plain, kept = type("Plain", (), {}), type("Kept", (list,), {})
        return [escape.has_lists([1, plain()]), escape.has_lists([plain(), kept()])]

    assert_alike_in_threads(new_types)


def test_threads_share_a_decoder(packet: ModuleType) -> None:
    decoder = make_decoder(packet)

    assert_alike_in_threads(lambda: [decoder.row(payload) for payload in ROWS])


def test_readers_of_threads_share_a_decoder(packet: ModuleType) -> None:
    decoder, stream = make_decoder(packet), packets(*ROWS, EOF)

    def read() -> tuple[Any, ...]:
        reader, rows = packet.Reader(), []
        for start in range(0, len(stream), 100):
            reader.feed(stream[start : start + 100])
            end = reader.rows(decoder, rows, False)
        return end, rows

    assert_alike_in_threads(read)


def test_threads_share_the_metadata_of_rows(row: ModuleType) -> None:
    metadata = row.BaseMetadata({name: at for at, name in enumerate(NAMES)}, {})

    def read() -> list[Any]:
        rows: list[Any] = [(number, "a", None) for number in range(40)]
        row.make_rows(row.BaseRow, metadata, rows, 0)
        return [(one["id"], one["at"], len(one), one.as_tuple()) for one in rows]

    assert_alike_in_threads(read)
