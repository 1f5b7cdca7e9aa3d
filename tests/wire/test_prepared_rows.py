"""Binary rows of a real server: each value is the one that the same row has as text."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import ModuleType
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from prepared import Prepared, prepared
from private_server import Server

from aiomysqlx.wire import columns
from aiomysqlx.wire.codes import HEX_BYTES

pytestmark = pytest.mark.server

INTEGERS = {"TINYINT": 8, "SMALLINT": 16, "MEDIUMINT": 24, "INT": 32, "BIGINT": 64}
DATES = ["2020-02-29", "0000-00-00", "2020-00-00", "2020-05-00", "1000-01-01", "9999-12-31"]
DATETIMES = [
    *(f"{day} 00:00:00" for day in DATES),
    *("2020-01-01 10:11:12.123456", "2020-00-00 10:11:12.5", "2020-01-01 00:00:00.000001"),
    *("0000-00-00 00:00:00.25", "9999-12-31 23:59:59.999999"),
]
TIMES = [
    *("00:00:00", "10:11:12", "-00:00:00.000001", "24:00:00.5", "-100:00:01.999999"),
    *("838:59:59", "-838:59:59"),
]
DOUBLES = ["0", "-0.0", "1.5", "0.1", "1e300", "-2.2250738585072014e-308", "12345.678901234567"]
FLOATS = ["0", "-0.0", "16777217", "0.1", "3.4e38", "1e-40", "-123.4567", "99999.95", "1234565"]
STRINGS = ["''", "'abc'", "'é😀'"]


def types() -> Iterator[tuple[str, list[str]]]:
    """Types of columns, each with literals of values."""
    for name, bits in INTEGERS.items():
        half = 1 << (bits - 1)
        yield name, [str(value) for value in (-half, -1, 0, 7, half - 1)]
        for kind in ("UNSIGNED", "ZEROFILL"):
            yield f"{name} {kind}", [str(value) for value in (0, 42, half, 2 * half - 1)]
    yield "INT(30) ZEROFILL", ["0", "42"]
    yield "BOOL", ["0", "1"]
    yield "YEAR", ["0", "1901", "2155"]
    yield "BIT(1)", ["0", "1"]
    yield "BIT(64)", ["0", "258", "18446744073709551615"]
    yield "DOUBLE", DOUBLES
    yield "DOUBLE(12,3)", ["0", "-0.0", "-0.0004", "1.0005", "123456.7895"]
    yield "DOUBLE ZEROFILL", ["1.5"]
    yield "FLOAT", FLOATS
    yield "FLOAT(8,3)", ["0", "-0.0", "-0.0004", "1.0005", "99999.999"]
    digits = "9" * 35 + "." + "9" * 30
    yield "DECIMAL(65,30)", [digits, f"-{digits}", "0", "-0.000000000000000000000000000001"]
    yield "DECIMAL(10,2) ZEROFILL", ["0", "1.5"]
    yield "DATE", [f"'{value}'" for value in DATES]
    for decimals in range(7):
        yield f"DATETIME({decimals})", [f"'{value}'" for value in DATETIMES]
        yield f"TIME({decimals})", [f"'{value}'" for value in TIMES]
        stamps = [value for value in DATETIMES if value[:4] in ("0000", "2020")]
        yield f"TIMESTAMP({decimals}) NULL", [f"'{value}'" for value in stamps]
    for name in ("CHAR(5)", "VARCHAR(50)", "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT"):
        yield name, STRINGS
    for name in ("BINARY(5)", "VARBINARY(20)", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB"):
        yield name, ["''", "X'00FF27'"]
    yield "LONGBLOB NULL", ["REPEAT('x', 250)", "REPEAT('x', 251)", "REPEAT('x', 65536)"]
    yield "ENUM('x', 'é')", ["'x'", "'é'", "''"]
    yield "SET('a', 'b')", ["''", "'a,b'"]
    yield "JSON", ["""'{"a": [1, "é", null]}'""", "'null'"]
    yield "GEOMETRY", ["ST_GeomFromText('POINT(1 2)')"]


TYPES = dict(types())


@pytest.fixture
def session(server: Server, database: str, packet: ModuleType) -> Iterator[Prepared]:
    """A connection that asks either way, whose rows one of the twins decodes."""
    with (
        mock.patch.object(columns, "Decoder", packet.Decoder),
        prepared(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            database=database,
            charset="utf8mb4",
            init_command="SET sql_mode = ''",
        ) as session,
    ):
        columns._parsed.cache_clear()
        yield session
    columns._parsed.cache_clear()


def both(session: Prepared, sql: str) -> list[tuple[Any, ...]]:
    """Assert that the statement gives the same either way; give that."""
    text = session.text(sql)
    statement = session.prepare(sql)
    # COM_STMT_EXECUTE, without parameters.
    packet = b"\x0a\0\0\0\x17" + statement.to_bytes(4, "little") + b"\0\1\0\0\0"
    binary = session.send(packet)
    session.close_statement(statement)

    for row, expected in zip(binary, text, strict=True):
        for column, (value, wanted) in enumerate(zip(row, expected, strict=True)):
            assert repr(value) == repr(wanted), (column, sql)
    return text


@pytest.mark.parametrize("name", TYPES)
def test_value_of_a_type_is_that_of_text(session: Prepared, name: str) -> None:
    session.text(f"CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, c {name})")
    values = ", ".join(f"({value})" for value in [*TYPES[name], "NULL"])
    session.text(f"INSERT INTO t (c) VALUES {values}")

    rows = both(session, "SELECT c, c AS again FROM t ORDER BY id")

    assert len(rows) == len(TYPES[name]) + 1
    assert rows[-1] == (None, None)


def test_null_in_every_place_of_300_columns(session: Prepared) -> None:
    names = [f"c{number}" for number in range(300)]
    session.text(f"CREATE TABLE t ({', '.join(f'{name} TINYINT' for name in names)})")
    for place in range(0, 300, 7):
        values = ["NULL" if number in (place, 299 - place) else "1" for number in range(300)]
        session.text(f"INSERT INTO t VALUES ({', '.join(values)})")
    session.text(f"INSERT INTO t VALUES ({', '.join(['NULL'] * 300)})")

    rows = both(session, "SELECT * FROM t")

    assert rows[-1] == (None,) * 300
    assert rows[0] == (None, *[1] * 298, None)


def test_floating_numbers_at_random_are_those_of_text(session: Prepared) -> None:
    chance = random.Random(1)
    session.text("CREATE TABLE t (f FLOAT, g FLOAT(10,4), d DOUBLE, e DOUBLE(20,5))")
    for _ in range(10):
        rows = []
        for _ in range(100):
            (single,) = struct.unpack("<f", struct.pack("<I", chance.randrange(0x7F800000)))
            (double,) = struct.unpack("<d", struct.pack("<Q", chance.randrange(0x7FF << 52)))
            fixed = chance.uniform(-1e14, 1e14) * 10 ** -chance.randrange(15)
            rows.append(f"({single!r}, {chance.uniform(-1e5, 1e5)!r}, {double!r}, {fixed!r})")
        session.text(f"INSERT INTO t VALUES {', '.join(rows)}")

    both(session, "SELECT f, g, d, e, -f, f + 0, g * 2, e * e, e / 3, ROUND(e, 2) FROM t")
    both(session, "SELECT AVG(f), SUM(g), AVG(d), MAX(e), MIN(f), STD(e) FROM t GROUP BY e > 0, f")


def test_expressions_are_those_of_text(session: Prepared) -> None:
    session.text("CREATE TABLE t (id INT PRIMARY KEY, dt0 DATETIME, dt6 DATETIME(6), d DATE)")
    session.text(
        "INSERT INTO t VALUES (1, '2020-01-01', '2020-01-01 10:11:12.123456', '2020-02-29'),"
        " (2, NULL, NULL, NULL), (3, '0000-00-00', '2020-00-00 00:00:00.5', '0000-00-00')"
    )

    for expressions in (
        "NULL, 1, -1, 1.5, 1e0, 'x', X'00', TRUE, 2147483648, 18446744073709551615, 1 / 3",
        "COUNT(*), SUM(id), AVG(id), BIT_OR(id), MAX(dt0), MIN(dt6), GROUP_CONCAT(d)",
        "COALESCE(dt6, dt0), TIMEDIFF(dt6, dt0), CAST(dt6 AS TIME(2)), CAST(d AS DATETIME)",
        "ADDTIME(dt6, '00:00:00.5'), dt0 + INTERVAL 1 MICROSECOND, LAST_DAY(d)",
        "STR_TO_DATE('2020-01-01', '%Y-%m-%d'), STR_TO_DATE('10:11:12.5', '%H:%i:%s.%f')",
        "FROM_UNIXTIME(1.5), FROM_UNIXTIME(1), SEC_TO_TIME(100.25), MAKETIME(1, 2, 3.75)",
        "TIMESTAMP('2020-01-01', '00:00:00.5'), DATE('2020-01-01'), '2020-01-01' + INTERVAL 1 DAY",
        "CASE WHEN id = 1 THEN dt0 ELSE dt6 END, id + 0, CRC32('a'), @@version",
    ):
        grouped = "" if "COUNT" in expressions else " GROUP BY id, dt0, dt6, d"
        both(session, f"SELECT {expressions} FROM t{grouped}")


PARAMETERS: dict[str, list[Any]] = {
    "BIGINT": [True, False, 0, -5, (1 << 63) - 1, -(1 << 63)],
    "BIGINT UNSIGNED": [0, 1 << 63, (1 << 64) - 1],
    "DOUBLE": [1.5, -0.0, 0.1, 1e300, 5e-324, 7, Decimal("2.5")],
    "DECIMAL(65,30)": [Decimal("1.50"), Decimal("1E+20"), 1 << 64, -(1 << 70), 0.25, 3],
    "VARCHAR(300)": ["", "it's \\ \0", "é😀", "x" * 300, "5", UUID(int=7), b"abc", 7],
    "BLOB": [b"", b"\0\xff'\\", bytearray(b"abc"), "é", b"x" * 65535],
    "DATE": [date(2020, 2, 29), date.max],
    "DATETIME(6)": [datetime(2020, 1, 1), datetime(2020, 1, 1, 10, 11, 12, 345678), date.max],
    "TIME(6)": [time(10, 11, 12, 5), timedelta(hours=-30, microseconds=1), timedelta()],
    "BIT(64)": [0, 258, (1 << 64) - 1],
    "JSON": ['{"a": [1, "é"]}', "null"],
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_is_stored_as_its_literal(
    session: Prepared, binary: ModuleType, escape: ModuleType, name: str
) -> None:
    session.text("SET sql_mode = 'STRICT_ALL_TABLES'")
    session.text(f"CREATE TABLE t (id INT, c {name})")
    for number, value in enumerate([*PARAMETERS[name], None]):
        literal = escape.escape(value, "utf8", HEX_BYTES).decode()
        # Of a statement's own: MySQL keeps the type that a parameter had first.
        statement = session.prepare("INSERT INTO t VALUES (?, ?)")

        session.text(f"INSERT INTO t VALUES ({number}, {literal})")
        session.send(binary.execute(statement, (number, value), "utf8", 0))
        session.close_statement(statement)

        stored, sent = session.text(f"SELECT c FROM t WHERE id = {number}")
        assert repr(sent) == repr(stored)
