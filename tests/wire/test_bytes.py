"""Bytes as parameters, on a server: any charset and sql_mode reads them back."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pymysql
import pytest
from pymysql.charset import charset_by_id
from pymysql.constants import CLIENT
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table, bindparam, select

import aiomysqlx
from aiomysqlx.exc import ArgumentError
from aiomysqlx.sql.batch import RowPackets
from aiomysqlx.wire.charset import check_charset
from aiomysqlx.wire.turns import Turns


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

    with Turns(raw._session) as turns:
        packets = RowPackets(turns, (b"(", b")"))
        await packets.add(b"INSERT INTO t VALUES ", rows, b"")

    assert [len(packet) // 200_000 for packet in packets.finished()] == [5, 5]


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
