"""Values to a real server and back: every column type, every parameter type, every charset."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from time import struct_time
from typing import Any
from uuid import UUID

import pymysql
import pytest
from fakes import proxy, without_deprecate_eof
from hypothesis import given, settings
from hypothesis import strategies as st

import aiomysqlx

pytestmark = pytest.mark.server

examples = settings(max_examples=60)
INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "BIGINT": 64}
TEXT = ["''", "'plain'", "'it''s'", "'ünï ¶'", "NULL"]


def integers() -> Iterator[Any]:
    for name, bits in INTEGERS.items():
        half = 1 << (bits - 1)
        yield pytest.param(name, [f"{-half}", "-1", "0", "7", f"{half - 1}", "NULL"], id=name)
        for kind in ("UNSIGNED", "ZEROFILL"):
            values = ["0", "42", f"{2 * half - 1}", "NULL"]
            yield pytest.param(f"{name} {kind}", values, id=f"{name} {kind}")


def moments() -> Iterator[Any]:
    for digits in range(7):
        second = f"59.{'123456'[:digits]}" if digits else "59"
        times = [f"'23:58:{second}'", f"'-838:59:{second[:2]}'", f"'-00:00:{second}'", "'00:00:00'"]
        yield pytest.param(f"TIME({digits})", [*times, "'838:59:59'", "NULL"], id=f"TIME({digits})")
        values = [f"'2024-02-29 12:34:{second}'", "'1970-01-02 00:00:00'", "NULL"]
        yield pytest.param(f"TIMESTAMP({digits}) NULL", values, id=f"TIMESTAMP({digits})")
        wide = ["'0000-00-00 00:00:00'", "'2024-00-00 10:00:00'", "'9999-12-31 23:59:59'"]
        yield pytest.param(f"DATETIME({digits})", values + wide, id=f"DATETIME({digits})")


def texts() -> Iterator[Any]:
    kinds = ("CHAR(20)", "VARCHAR(20)", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT")
    for charset in ("utf8mb4", "latin1", "gbk", "binary"):
        values = ["''", "'plain'", "'it''s'", "'¶'" if charset == "latin1" else "'你'", "NULL"]
        for kind in kinds:
            column = f"{kind} CHARACTER SET {charset}"
            yield pytest.param(column, values, id=f"{kind} {charset}")


@contextlib.asynccontextmanager
async def connected(kwargs: dict[str, Any], **more: Any) -> AsyncIterator[aiomysqlx.Connection]:
    connection = await aiomysqlx.connect(**{**kwargs, "charset": "utf8mb4", **more})
    try:
        yield connection
    finally:
        await connection.ensure_closed()


async def fetch(connection: aiomysqlx.Connection, sql: str, *args: Any) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(sql, args or None)
        return await cursor.fetchall()


@contextlib.contextmanager
def pymysql_cursor(kwargs: dict[str, Any], charset: str = "utf8mb4") -> Iterator[Any]:
    server = {"database" if name == "db" else name: value for name, value in kwargs.items()}
    server["ssl_disabled"] = True  # certificates of authorities take long to read
    with (
        pymysql.connect(**server, charset=charset, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("SET SESSION sql_mode = ''")
        yield cursor


def shown(rows: Any) -> list[list[tuple[type, Any]]]:
    """Give the values with their types: 1 is not True, and 1.0 not Decimal(1)."""
    return [[(type(value), value) for value in row] for row in rows]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        *integers(),
        *moments(),
        *texts(),
        pytest.param("BOOL", ["TRUE", "FALSE", "NULL"], id="BOOL"),
        pytest.param("DECIMAL(65,30)", ["0", "-1.5", "9" * 35 + "." + "9" * 30], id="DECIMAL"),
        pytest.param("DECIMAL(10,0) UNSIGNED ZEROFILL", ["0", "12"], id="DECIMAL ZEROFILL"),
        pytest.param("FLOAT", ["0", "-1.25", "3.4e38", "1e-30", "1e10"], id="FLOAT"),
        pytest.param("DOUBLE", ["0", "-0.1", "1.7976931348623157e308", "5e-300"], id="DOUBLE"),
        pytest.param("BIT(1)", ["0", "1", "NULL"], id="BIT(1)"),
        pytest.param("BIT(64)", ["0", "b'101'", "18446744073709551615"], id="BIT(64)"),
        pytest.param("BINARY(5)", ["''", "X'00FF7F'", "NULL"], id="BINARY"),
        pytest.param("VARBINARY(20)", ["''", "X'00FF7F'", "NULL"], id="VARBINARY"),
        pytest.param("TINYBLOB", ["''", "X'00FF7F'", "NULL"], id="TINYBLOB"),
        pytest.param("BLOB", ["''", "X'00FF7F'", "NULL"], id="BLOB"),
        pytest.param("LONGBLOB", ["''", "X'00FF7F'", "NULL"], id="LONGBLOB"),
        pytest.param("ENUM('a', 'it''s', 'ü')", ["'a'", "3", "0", "NULL"], id="ENUM"),
        pytest.param("SET('a', 'b', 'ü')", ["'a,b'", "''", "'b,ü'", "NULL"], id="SET"),
        pytest.param("JSON", ["'[1, \"ü\", null]'", "'{}'", "NULL"], id="JSON"),
        pytest.param(
            "DATE",
            ["'2024-02-29'", "'0000-00-00'", "'2024-00-00'", "'2024-01-00'", "'9999-12-31'"],
            id="DATE",
        ),
        pytest.param("YEAR", ["1901", "2155", "0", "NULL"], id="YEAR"),
        pytest.param("GEOMETRY", ["ST_GeomFromText('POINT(1 2)')", "NULL"], id="GEOMETRY"),
        pytest.param("POINT", ["ST_GeomFromText('POINT(-1 0.5)')", "NULL"], id="POINT"),
    ],
)
async def test_column_decodes_to_what_pymysql_gives(
    connect_kwargs: dict[str, Any], column: str, values: list[str]
) -> None:
    with pymysql_cursor(connect_kwargs) as cursor:
        cursor.execute(f"CREATE TABLE t (n INT PRIMARY KEY, c {column})")
        for number, value in enumerate(values):
            cursor.execute(f"INSERT INTO t VALUES ({number}, {value})")
        cursor.execute("SELECT c, n FROM t ORDER BY n")
        expected = cursor.fetchall()

    async with connected(connect_kwargs) as connection:
        rows = await fetch(connection, "SELECT c, n FROM t ORDER BY n")

    assert shown(rows) == shown(expected)
    assert len(rows) == len(values)


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize(
    ("column", "value"),
    [
        pytest.param("UUID", "123e4567-e89b-12d3-a456-426655440000", id="UUID"),
        pytest.param("INET6", "2001:db8::ff00:42:8329", id="INET6"),
    ],
)
async def test_mariadb_column_decodes_to_text(
    connect_kwargs: dict[str, Any], column: str, value: str
) -> None:
    async with connected(connect_kwargs, autocommit=True) as connection:
        await fetch(connection, f"CREATE TABLE t (c {column})")
        await fetch(connection, "INSERT INTO t VALUES (%s), (NULL)", value)

        assert await fetch(connection, "SELECT c FROM t") == ((value,), (None,))


@pytest.mark.usefixtures("mysql_only")
async def test_vector_decodes_to_its_bytes(connect_kwargs: dict[str, Any]) -> None:
    async with connected(connect_kwargs, autocommit=True) as connection:
        await fetch(connection, "CREATE TABLE t (c VECTOR(2))")
        await fetch(connection, "INSERT INTO t VALUES (STRING_TO_VECTOR('[1, -2.5]')), (NULL)")

        rows = await fetch(connection, "SELECT c FROM t")

    assert rows == ((bytes.fromhex("0000803f000020c0"),), (None,))


@pytest.mark.parametrize("charset", ["utf8mb4", "latin1", "gbk"])
async def test_text_reads_alike_through_every_connection_charset(
    connect_kwargs: dict[str, Any], charset: str
) -> None:
    columns = ", ".join(f"{c} VARCHAR(9) CHARACTER SET {c}" for c in ("latin1", "gbk", "utf8mb4"))
    with pymysql_cursor(connect_kwargs) as cursor:
        cursor.execute(f"CREATE TABLE t ({columns}, b VARBINARY(9), j JSON)")
        cursor.execute("INSERT INTO t VALUES ('é', '你', 'aé你', 'é', '[\"a\"]')")
    sql = "SELECT latin1, b, j, utf8mb4 AS 'x' FROM t" if charset == "latin1" else "SELECT * FROM t"
    with pymysql_cursor(connect_kwargs, charset) as cursor:
        cursor.execute(sql)
        expected = cursor.fetchall()

    async with connected(connect_kwargs, charset=charset) as connection:
        rows = await fetch(connection, sql)

    assert shown(rows) == shown(expected)


async def test_text_through_a_binary_connection_is_in_the_charset_of_its_column(
    connect_kwargs: dict[str, Any],
) -> None:
    async with connected(connect_kwargs, charset="binary") as connection:
        await fetch(connection, "CREATE TABLE t (a TEXT CHARACTER SET latin1, b BLOB)")
        await fetch(connection, "INSERT INTO t VALUES (X'E9', %s)", b"\xff")

        rows = await fetch(connection, "SELECT *, 'é' FROM t")

    assert rows == ((b"\xe9", b"\xff", "é".encode()),)


@pytest.mark.parametrize("deprecate_eof", [True, False], ids=["DEPRECATE_EOF", "with EOFs"])
@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0xFFFFFF - 20, id="below a packet"),
        *(pytest.param(0xFFFFFF - 9 + n, id=f"a packet {n - 5:+}") for n in range(4, 7)),
        pytest.param(0xFFFFFF, id="value of a packet"),
        pytest.param(1 << 24, id="16 MiB"),
        pytest.param(2 * 0xFFFFFF + 5, id="two packets"),
    ],
)
async def test_value_beyond_a_packet_comes_and_goes(
    connect_kwargs: dict[str, Any], size: int, deprecate_eof: bool
) -> None:
    value = "abcdefg" * (size // 7) + "x" * (size % 7)
    change = None if deprecate_eof else without_deprecate_eof

    async with proxy(connect_kwargs, change) as kwargs, connected(kwargs) as connection:
        assert bool(connection.client_flag & 1 << 24) is deprecate_eof
        rows = await fetch(connection, "SELECT 1, %s, 2", value)
        sent = await fetch(connection, "SELECT LENGTH(%s), 'next'", value)

    assert rows == ((1, value, 2),)
    assert sent == ((size, "next"),)


@pytest.mark.parametrize("offset", range(-2, 3), ids=lambda n: f"{n:+}")
async def test_statement_of_exactly_a_packet_is_answered(
    connect_kwargs: dict[str, Any], offset: int
) -> None:
    async with connected(connect_kwargs) as connection:
        rest = "SELECT LENGTH('')"
        value = "x" * (0xFFFFFF + offset - len(rest) - 1)

        assert await fetch(connection, f"SELECT LENGTH('{value}')") == ((len(value),),)
        assert await fetch(connection, "SELECT 1") == ((1,),)


async def test_statement_longer_than_the_server_takes_is_refused_and_nothing_is_lost(
    connect_kwargs: dict[str, Any],
) -> None:
    async with connected(connect_kwargs) as connection:
        limit = connection.max_allowed_packet

        with pytest.raises(pymysql.err.OperationalError, match="max_allowed_packet"):
            await fetch(connection, "SELECT %s", "x" * limit)

        assert await fetch(connection, "SELECT 1") == ((1,),)


# -- parameters


class Colour(Enum):
    RED = "réd"


class Loud(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "' OR 1=1"


@pytest.mark.parametrize(
    ("given_value", "column", "got"),
    [
        pytest.param(None, "INT", None, id="None"),
        pytest.param(True, "INT", 1, id="bool"),
        pytest.param(-(1 << 63), "BIGINT", -(1 << 63), id="int"),
        pytest.param((1 << 64) - 1, "BIGINT UNSIGNED", (1 << 64) - 1, id="big int"),
        pytest.param(0.1, "DOUBLE", 0.1, id="float"),
        pytest.param(1e300, "DOUBLE", 1e300, id="large float"),
        pytest.param(Decimal("-1.50"), "DECIMAL(5,2)", Decimal("-1.50"), id="Decimal"),
        pytest.param(Loud("it's"), "TEXT", "it's", id="subclass of str"),
        pytest.param(b"\0'\\\xff", "BLOB", b"\0'\\\xff", id="bytes"),
        pytest.param(bytearray(b"\xfe"), "BLOB", b"\xfe", id="bytearray"),
        pytest.param(memoryview(b"abcd")[::2], "BLOB", b"ac", id="memoryview"),
        pytest.param(date(1, 2, 3), "DATE", date(1, 2, 3), id="date"),
        pytest.param(
            datetime(2024, 2, 29, 1, 2, 3, 40),
            "DATETIME(6)",
            datetime(2024, 2, 29, 1, 2, 3, 40),
            id="datetime",
        ),
        pytest.param(time(1, 2, 3), "TIME", timedelta(hours=1, minutes=2, seconds=3), id="time"),
        pytest.param(timedelta(-3, 5), "TIME", timedelta(-3, 5), id="timedelta"),
        pytest.param(
            struct_time((2024, 1, 2, 3, 4, 5, 1, 2, 0)),
            "DATETIME",
            datetime(2024, 1, 2, 3, 4, 5),
            id="struct_time",
        ),
        pytest.param(Colour.RED, "TEXT", "Colour.RED", id="Enum"),
        pytest.param(UUID(int=7), "CHAR(36)", str(UUID(int=7)), id="UUID"),
    ],
)
async def test_parameter_is_stored_as_its_value(
    connect_kwargs: dict[str, Any], given_value: Any, column: str, got: Any
) -> None:
    async with connected(connect_kwargs) as connection:
        await fetch(connection, f"CREATE TABLE t (c {column})")
        await fetch(connection, "INSERT INTO t VALUES (%s)", given_value)

        assert shown(await fetch(connection, "SELECT c FROM t")) == shown([[got]])


@pytest.mark.parametrize(
    "values",
    [
        pytest.param((1, 3), id="tuple"),
        pytest.param([1, 3], id="list"),
        pytest.param({1, 3}, id="set"),
        pytest.param(frozenset((1, 3)), id="frozenset"),
    ],
)
async def test_sequence_is_the_right_side_of_in(
    connect_kwargs: dict[str, Any], values: Any
) -> None:
    sql = "SELECT n FROM (SELECT 1 AS n UNION SELECT 2 UNION SELECT 3) AS t WHERE n IN %s"

    async with connected(connect_kwargs) as connection:
        assert await fetch(connection, sql, values) == ((1,), (3,))
        assert await fetch(connection, sql, type(values)()) == ()


class Mirror:
    """A connection that sends values through a real server, from tests that are not coroutines."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: aiomysqlx.Connection) -> None:
        self.loop = loop
        self.connection = connection

    def fetch(self, sql: str, *args: Any) -> Any:
        return self.loop.run_until_complete(fetch(self.connection, sql, *args))

    def __call__(self, value: Any, sql: str = "SELECT %s, 'behind'") -> Any:
        ((got, behind),) = self.fetch(sql, value)
        assert behind == "behind"
        return got


MODES = {"backslashes": "", "NO_BACKSLASH_ESCAPES": "NO_BACKSLASH_ESCAPES"}


@pytest.fixture(scope="module")
def module_kwargs(server: Any) -> dict[str, Any]:
    names = ("host", "port", "user", "password")
    return {name: getattr(server, name) for name in names}


@pytest.fixture(scope="module", params=["utf8mb4", "latin1", "gbk", "sjis"])
def charset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=MODES)
def mirror(
    request: pytest.FixtureRequest, module_kwargs: dict[str, Any], charset: str
) -> Iterator[Mirror]:
    async def connect() -> aiomysqlx.Connection:
        return await aiomysqlx.connect(
            **module_kwargs, charset=charset, sql_mode=MODES[request.param]
        )

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        connection = loop.run_until_complete(connect())
        assert connection.no_backslash_escapes is bool(MODES[request.param])
        yield Mirror(loop, connection)
        loop.run_until_complete(connection.ensure_closed())


QUOTING = st.text(st.sampled_from("'\"\\\0\n\r\x1a%;-/*`aé¥ソ能表啊你縗♥"), max_size=12)


@given(st.text(max_size=40) | QUOTING)
@examples
def test_text_comes_back_or_is_refused(mirror: Mirror, value: str) -> None:
    encoding = mirror.connection.encoding
    try:
        mirror.connection.escape(value)
    except aiomysqlx.ArgumentError:
        with pytest.raises(aiomysqlx.ArgumentError, match="cannot encode"):
            mirror(value)
        value = ""
    # cp932 takes some characters for their look-alikes.
    assert mirror(value) == value.encode(encoding).decode(encoding)


@given(st.binary(max_size=60) | st.binary(max_size=8).map(lambda b: b + b"\\' OR 1=1 -- "))
@examples
def test_bytes_come_back(mirror: Mirror, value: bytes) -> None:
    assert mirror(value) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
@examples
def test_float_comes_back(mirror: Mirror, value: float) -> None:
    # The server takes a denormal for zero or gives it back with fewer digits.
    if value and abs(value) < 2.3e-308:
        value = 0.0
    assert math.isclose(mirror(value), value, rel_tol=1e-15)


@given(st.integers(-(1 << 63), (1 << 64) - 1))
@examples
def test_int_comes_back(mirror: Mirror, value: int) -> None:
    assert mirror(value) == value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**40)))
@examples
def test_decimal_comes_back(mirror: Mirror, value: Decimal) -> None:
    if len(value.as_tuple().digits) > 60:
        value = Decimal("1.5")
    assert mirror(value) == value


@given(st.datetimes())
@examples
def test_datetime_comes_back(mirror: Mirror, value: datetime) -> None:
    assert mirror(value, "SELECT CAST(%s AS DATETIME(6)), 'behind'") == value


@given(st.dates())
@examples
def test_date_comes_back(mirror: Mirror, value: date) -> None:
    assert mirror(value, "SELECT CAST(%s AS DATE), 'behind'") == value


LONGEST = timedelta(hours=838, minutes=59, seconds=59)


@given(st.timedeltas(-LONGEST, LONGEST))
@examples
def test_timedelta_comes_back(mirror: Mirror, value: timedelta) -> None:
    assert mirror(value, "SELECT CAST(%s AS TIME(6)), 'behind'") == value


@given(st.times())
@examples
def test_time_comes_back_as_the_time_since_midnight(mirror: Mirror, value: time) -> None:
    since = datetime.combine(date.min, value) - datetime.min

    assert mirror(value, "SELECT CAST(%s AS TIME(6)), 'behind'") == since


@given(st.lists(QUOTING, min_size=1, max_size=5))
@examples
def test_text_is_found_in_a_list_of_its_like(mirror: Mirror, values: list[str]) -> None:
    encodable = [value for value in values if mirror.connection.encoding == "utf8"] or ["it's \\"]

    assert mirror.fetch("SELECT %s IN %s", encodable[-1], encodable) == ((1,),)


VALUE = "it's a \\ 'backslash\\"


async def test_escaping_follows_the_mode_as_it_changes(connect_kwargs: dict[str, Any]) -> None:
    async with connected(connect_kwargs) as connection:
        for mode in ("NO_BACKSLASH_ESCAPES", "", "ANSI,NO_BACKSLASH_ESCAPES", "ANSI_QUOTES"):
            await fetch(connection, "SET sql_mode = %s", mode)

            assert await fetch(connection, "SELECT %s, %s", VALUE, b"\\'") == ((VALUE, b"\\'"),)


async def test_escaping_knows_the_mode_that_is_the_default_at_connect(
    connect_kwargs: dict[str, Any], admin: pymysql.Connection[Any]
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.sql_mode")
        (before,) = cursor.fetchone() or ("",)
        cursor.execute("SET GLOBAL sql_mode = 'NO_BACKSLASH_ESCAPES'")
        try:
            async with connected(connect_kwargs, autocommit=None) as connection:
                assert connection.no_backslash_escapes
                assert await fetch(connection, "SELECT %s, %s", VALUE, "\\") == ((VALUE, "\\"),)
        finally:
            cursor.execute("SET GLOBAL sql_mode = %s", (before,))


@pytest.mark.parametrize("charset", ["utf8mb4", "utf8", "latin1", "gbk", "sjis", "cp932", "ujis"])
async def test_charset_of_the_connection_can_change(
    connect_kwargs: dict[str, Any], charset: str
) -> None:
    value = "é" if charset == "latin1" else "表"

    async with connected(connect_kwargs) as connection:
        await connection.set_charset(charset)

        assert await fetch(connection, "SELECT %s, @@character_set_client", value) == (
            (value, "utf8mb3" if charset == "utf8" else charset),
        )
