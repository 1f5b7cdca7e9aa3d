"""Bytes as parameters: literals of their own size, which any charset and sql_mode reads back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from types import ModuleType
from typing import Any

import pymysql
import pytest
from pymysql.charset import charset_by_id
from pymysql.constants import CLIENT
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, bindparam, select

import aiomysqlx
from aiomysqlx.arguments import check_charset
from aiomysqlx.cursor import row_packets
from aiomysqlx.exc import ArgumentError

NO_BACKSLASH_ESCAPES, HEX_BYTES = 1, 2
ESCAPED = {0x27: b"\\'", 0x5C: b"\\\\", 0x0D: b"\\r"}

# The codecs whose charsets have the byte of a quote or a backslash within a character, and some
# that the server does not have.
IN_HEX = ["gbk", "gb18030", "big5", "cp932", "shift_jis", "big5hkscs", "johab", "ptcp154", "cp949"]
AS_THEY_STAND = [
    *("utf8", "UTF-8", "ascii", "latin1", "cp1252", "euc_jp", "euc_kr", "gb2312"),
    *("cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "koi8_r", "koi8_u"),
    *("latin2", "greek", "hebrew", "latin5", "latin7", "macroman", "tis620"),
]


@pytest.mark.parametrize("encoding", AS_THEY_STAND)
def test_bytes_stand_for_themselves(escape: ModuleType, encoding: str) -> None:
    for byte in range(256):
        inside = ESCAPED.get(byte, bytes((byte,)))

        assert escape.escape(bytes((byte,)), encoding, 0) == b"_binary'" + inside + b"'"


@pytest.mark.parametrize("encoding", IN_HEX)
def test_bytes_are_hex_where_a_character_may_end_in_a_backslash(
    escape: ModuleType, encoding: str
) -> None:
    assert escape.escape(b"\x81\\'\xff\n", encoding, 0) == b"_binary X'815C27FF0A'"
    assert escape.escape(bytearray(b"\x81\\"), encoding, 0) == b"_binary X'815C'"
    assert escape.escape(memoryview(b"\x81\\"), encoding, 0) == b"_binary X'815C'"


@pytest.mark.parametrize("encoding", ["utf8", "utf-8", "cp1252", "gbk"])
@pytest.mark.parametrize("mode", [NO_BACKSLASH_ESCAPES, HEX_BYTES, 3], ids=["no", "hex", "both"])
def test_bytes_are_hex_where_the_mode_says_so(escape: ModuleType, encoding: str, mode: int) -> None:
    for value in (b"\x00'\\\xab", bytearray(b"\x00'\\\xab"), memoryview(b"\x00'\\\xab")):
        assert escape.escape(value, encoding, mode) == b"_binary X'00275CAB'"
        assert escape.escape([value], encoding, mode) == b"(_binary X'00275CAB')"


def test_every_byte_in_hex(escape: ModuleType) -> None:
    digits = "".join(f"{byte:02X}" for byte in range(256))

    assert escape.escape(bytes(range(256)), "utf8", HEX_BYTES) == f"_binary X'{digits}'".encode()


@pytest.mark.parametrize("size", [*range(1, 26), 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("special", ESCAPED, ids="{:#x}".format)
def test_byte_is_escaped_wherever_it_stands(escape: ModuleType, special: int, size: int) -> None:
    for filler in (b"\x00", b"\xff", bytes((special ^ 1,)), bytes((special ^ 0x80,))):
        for position in {0, 1, size // 2, size - 8, size - 2, size - 1} & set(range(size)):
            before, after = filler * position, filler * (size - 1 - position)
            value = before + bytes((special,)) + after

            assert escape.escape(value, "utf8", 0) == (
                b"_binary'" + before + ESCAPED[special] + after + b"'"
            )
    assert escape.escape(bytes((special,)) * size, "utf8", 0) == (
        b"_binary'" + ESCAPED[special] * size + b"'"
    )


@pytest.mark.parametrize("count", [1, 2, 100])
def test_bytes_lie_in_the_statement_one_beside_the_other(escape: ModuleType, count: int) -> None:
    values = [bytes((0x80 + n,)) * (n * 37) + b"'" for n in range(count)]
    expected = b", ".join(b"_binary'" + value[:-1] + b"\\''" for value in values)

    packet = escape.render((b"", *[b", "] * (count - 1), b""), values, "utf8", 0)

    assert packet[4:] == b"\x03" + expected


def test_bytes_need_no_more_than_their_size(escape: ModuleType) -> None:
    for value in (bytes(1 << 20), b'\n\x1a"' * 100_000, bytes(range(0x80, 0x100)) * 8000):
        assert len(escape.escape(value, "utf8", 0)) == len(value) + len("_binary''")


def test_rows_are_counted_by_the_bytes_they_need(escape: ModuleType) -> None:
    rows = [(b"x" * 90,)] * 30  # of 101 bytes each, and two between them
    group = (b"(", b")")

    for limit, count in ((1 + 2 * 101 + 2, 2), (1 + 3 * 101 + 4 - 1, 2), (1 + 3 * 101 + 4, 3)):
        packet, stop = escape.render_rows(b"", group, rows, b"", "utf8", 0, 0, limit)

        assert (len(packet) - 4, stop) == (1 + count * 101 + (count - 1) * 2, count)


def readable() -> set[str]:
    """Give the charsets that Python has a codec for."""
    names = set()
    for charset_id in range(1, 512):
        with contextlib.suppress(KeyError, ArgumentError):
            names.add(check_charset(charset_by_id(charset_id).name))
    return names


def every_pair() -> list[bytes]:
    """Give all pairs of bytes, each before a quote, a backslash or another pair."""
    pairs = [bytes((first, second)) for first in range(256) for second in range(256)]
    return [end.join(pairs[n : n + 256]) + end for end in (b"", b"'", b"\\", b"\\'", b"\r") for n in
            range(0, 65536, 256)]  # fmt: skip


def random_bytes() -> list[bytes]:
    """Give bytes of which most can be part of a character, or end a literal."""
    source = random.Random(5)
    likely = [*b"''\\\\\r\n\0019@~\x1a\"", *range(0x80, 0x100)]
    return [bytes(source.choices(likely, k=source.randrange(40))) for _ in range(2000)]


@pytest.fixture(scope="module")
def samples() -> list[bytes]:
    return [*every_pair(), *random_bytes()]


async def echoed(connection: aiomysqlx.Connection, values: list[bytes]) -> list[bytes]:
    """Give what the server reads of *values*."""
    got: list[bytes] = []
    async with connection.cursor() as cursor:
        for n in range(0, len(values), 256):
            chosen = values[n : n + 256]
            columns = ", ".join(f"%s AS a{m}" for m in range(len(chosen)))
            await cursor.execute(f"SELECT {columns}", chosen)
            got += (await cursor.fetchall())[0]
            assert cursor.warning_count == 0
    return got


@pytest.fixture
async def several(connect_kwargs: dict[str, Any]) -> AsyncIterator[aiomysqlx.Connection]:
    """A connection that takes several statements in one text, as an injection would have them."""
    connection = await aiomysqlx.connect(**connect_kwargs, client_flag=CLIENT.MULTI_STATEMENTS)
    yield connection
    connection.close()


pytestmark = pytest.mark.filterwarnings("error::pymysql.err.Warning")


@pytest.mark.server
@pytest.mark.parametrize("sql_mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI"])
async def test_any_bytes_come_back_in_any_charset(
    several: aiomysqlx.Connection, samples: list[bytes], sql_mode: str
) -> None:
    async with several.cursor() as cursor:
        await cursor.execute("SHOW CHARACTER SET")
        known = {row[0] for row in await cursor.fetchall()}
        await cursor.execute(f"SET sql_mode = '{sql_mode}'")
    charsets = known & readable() - {"utf16", "utf16le", "utf32"}  # no client has them
    assert charsets > {"utf8mb4", "latin1", "binary", "gbk", "big5", "sjis", "ujis", "euckr"}

    for charset in sorted(charsets):
        await several.set_charset(charset)
        assert await echoed(several, samples) == samples, charset


@pytest.mark.server
async def test_bytes_follow_the_charset_and_the_sql_mode(raw: aiomysqlx.Connection) -> None:
    value = b"\x81'\x81\\\\' OR 1 = 1 -- \r\n\0\xff"
    settings = (
        *("SET NAMES gbk", "SET NAMES utf8mb4", "SET sql_mode = 'NO_BACKSLASH_ESCAPES'"),
        *("SET NAMES big5", "SET sql_mode = ''", "SET NAMES latin1", "SET NAMES sjis"),
    )

    async with raw.cursor() as cursor:
        for setting in settings:
            await cursor.execute(setting)

            assert await echoed(raw, [value]) == [value], setting


@pytest.mark.server
@pytest.mark.parametrize("sql_mode", ["", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize(
    ("sql", "value", "expected"),
    [
        pytest.param("%s + 0", b"31", 31.0, id="plus"),
        pytest.param("%s * 2", b"1.5", 3.0, id="times"),
        pytest.param("%s = 31", b"31", 1, id="equals"),
        pytest.param("%s IN (30, 31)", b"31", 1, id="in"),
        pytest.param("'a1b' LIKE %s", b"a1%", 1, id="like"),
        pytest.param("%s LIKE '1%%'", b"1x", 1, id="like of it"),
        pytest.param("CONCAT(%s, 'x')", b"1\xff", b"1\xffx", id="concat"),
        pytest.param("COALESCE(%s, 5)", b"7", b"7", id="coalesce"),
        pytest.param("%s | 0", b"5", 5, id="bits"),
        pytest.param("IF(%s, 'yes', 'no')", b"0", "no", id="if"),
    ],
)
async def test_bytes_are_a_string_and_no_number(
    raw: aiomysqlx.Connection, sql_mode: str, sql: str, value: bytes, expected: Any
) -> None:
    async with raw.cursor() as cursor:
        await cursor.execute(f"SET sql_mode = '{sql_mode}'")
        await cursor.execute(f"SELECT {sql} AS v", (value,))

        assert await cursor.fetchall() == ((expected,),)


@pytest.mark.server
async def test_blob_may_be_as_large_as_a_packet(raw: aiomysqlx.Connection) -> None:
    room = raw.max_allowed_packet - 1 - len("\3SELECT LENGTH(_binary'') AS n")

    async with raw.cursor() as cursor:
        await cursor.execute("SELECT LENGTH(%s) AS n", (bytes(room),))
        assert await cursor.fetchall() == ((room,),)

        with pytest.raises(pymysql.err.OperationalError, match="max_allowed_packet"):
            await cursor.execute("SELECT LENGTH(%s) AS n", (bytes(room + 1),))
        await cursor.execute("SELECT LENGTH(%s) AS n", (b"",))
        assert await cursor.fetchall() == ((0,),)


@pytest.mark.server
async def test_batches_are_cut_by_the_bytes_they_need(raw: aiomysqlx.Connection) -> None:
    rows = [(bytes(200_000),)] * 10

    packets = row_packets(raw, b"INSERT INTO t VALUES ", (b"(", b")"), rows, b"")

    assert [len(packet) // 200_000 for packet in packets] == [5, 5]


@pytest.mark.server
async def test_blobs_are_stored_and_found_in_lists(conn: aiomysqlx.SAConnection) -> None:
    box = Table(
        "box", MetaData(), Column("id", Integer, primary_key=True), Column("v", LargeBinary)
    )
    values = [b"\\", b"'", b"\r\n", b"", b"\xff" * 100, bytes(range(256)), b"%s %(v)s"]
    await conn.execute("CREATE TABLE box (id INT PRIMARY KEY, v LONGBLOB)")
    await conn.execute(box.insert(), [{"id": n, "v": value} for n, value in enumerate(values)])
    found = select(box.c.v).where(box.c.v.in_(bindparam("values", expanding=True)))

    result = await conn.execute(found.order_by(box.c.id), {"values": values})

    assert [row.v for row in await result.fetchall()] == values
    for n, value in enumerate(values):
        assert await conn.scalar(select(box.c.id).where(box.c.v == value)) == n


@pytest.mark.server
async def test_text_of_a_statement_has_bytes_in_hex(raw: aiomysqlx.Connection) -> None:
    async with raw.cursor() as cursor:
        text = cursor.mogrify("SELECT %s AS v", (b"\xff'\\",))
        await cursor.execute(text)

        assert text == "SELECT _binary X'FF275C' AS v"
        assert await cursor.fetchall() == ((b"\xff'\\",),)
    assert raw.escape([b"\xff", "é"]) == "(_binary X'FF', 'é')"


@pytest.mark.server
async def test_column_named_by_bytes_can_be_read(conn: aiomysqlx.SAConnection) -> None:
    result = await conn.execute("SELECT %s, HEX(%s)", b"\xff\xfe'", b"\xfd")

    row = await result.first()

    assert row is not None
    assert row.as_tuple() == (b"\xff\xfe'", "FD")


@pytest.mark.server
async def test_error_beside_bytes_is_the_servers(conn: aiomysqlx.SAConnection) -> None:
    with pytest.raises(pymysql.err.ProgrammingError) as caught:
        await conn.execute("SELECT %s nonsense here", b"\xff\xfe'")

    assert caught.value.args[0] == 1064
