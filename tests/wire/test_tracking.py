"""What servers tell of a transaction beside their status flags, unasked or as they are told to."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from pymysql import err
from watch import one

import aiomysqlx as sa
from aiomysqlx.wire.outcome import goes_on, read_changes, wrote
from aiomysqlx.wire.packets import MalformedPacket

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Tracked = Kwargs

server = pytest.mark.server
quiet = pytest.mark.usefixtures("quiet")

MODES = ("OFF", "STATE", "CHARACTERISTICS")


@pytest.fixture
def table(admin: Admin, database: str) -> str:
    """The name of an empty table of one column, its key; there is another one, u."""
    with admin.cursor() as cursor:
        for name in ("t", "u"):
            cursor.execute(f"CREATE TABLE {database}.{name} (id INT PRIMARY KEY) ENGINE=InnoDB")
        cursor.execute(
            f"CREATE PROCEDURE {database}.results()"
            f" BEGIN SELECT 1; INSERT INTO {database}.t VALUES (9); SELECT 2; END"
        )
    return f"{database}.t"


@pytest.fixture(params=[True, False], ids=["autocommit", "without"])
def autocommit(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def tracking(connect_kwargs: Kwargs, mode: str, autocommit: bool = True) -> Tracked:
    """Give the arguments of an engine whose sessions tell so much of their transactions."""
    command = f"SET session_track_transaction_info = '{mode}'"
    return {**connect_kwargs, "maxsize": 1, "autocommit": autocommit, "init_command": command}


GOES_ON = (
    "SELECT 1",
    "SELECT * FROM t",
    "SELECT * FROM t FOR UPDATE",
    "INSERT INTO t VALUES (2)",
    "SAVEPOINT s",
    "INSERT INTO t VALUES (3)",
    "ROLLBACK TO SAVEPOINT s",
    "RELEASE SAVEPOINT s",
    "CALL results()",
    "SELECT UUID()",
    "SET @a = 1",
    "SET NAMES utf8mb4",
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "CREATE TEMPORARY TABLE tmp (id INT)",
    "CREATE TEMPORARY TABLE other (id INT)",
    "INSERT INTO tmp VALUES (1)",
    "DROP TEMPORARY TABLE tmp, other",
    "UNLOCK TABLES",
    "SHOW TABLES",
    "DO 0",
)


@server
@quiet
@pytest.mark.parametrize("mode", MODES)
async def test_transaction_goes_on_whatever_is_told_of_it(
    connect_kwargs: Kwargs, admin: Admin, table: str, mode: str, autocommit: bool
) -> None:
    arguments = tracking(connect_kwargs, mode, autocommit)
    async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
        for enter in (conn.begin, conn.begin_twophase):
            with pytest.raises(ZeroDivisionError):
                async with enter():
                    await conn.execute("INSERT INTO t VALUES (1)")
                    for sql in GOES_ON:
                        # MariaDB has no temporary tables in a two-phase transaction, nor savepoints
                        # that are released.
                        with contextlib.suppress(err.MySQLError):
                            await conn.execute(sql)
                    assert await conn.scalar("SELECT COUNT(*) FROM t") == 3
                    raise ZeroDivisionError
            assert one(admin, f"SELECT COUNT(*) FROM {table}") == 0


@server
@quiet
@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("sql", ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "BEGIN"])
@pytest.mark.filterwarnings("ignore:The creation of some temporary tables")  # MySQL's, not undone
@pytest.mark.parametrize("work", ["none", "written", "read", "temporary"])
async def test_transaction_that_takes_a_blocks_place_is_told_of_where_the_server_tracks_it(
    connect_kwargs: Kwargs,
    admin: Admin,
    table: str,
    autocommit: bool,
    mode: str,
    sql: str,
    work: str,
) -> None:
    works = {
        "none": "SELECT 1",
        "written": "INSERT INTO t VALUES (1)",
        "read": "SELECT * FROM t",
        "temporary": "CREATE TEMPORARY TABLE tmp (id INT)",
    }
    arguments = tracking(connect_kwargs, mode, autocommit)
    async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
        with pytest.raises(ZeroDivisionError):
            async with conn.begin():
                await conn.execute(works[work])
                await conn.execute(sql)
                with pytest.raises(sa.InvalidRequestError, match="roll"):
                    await conn.execute("INSERT INTO t VALUES (2)")
                raise ZeroDivisionError
        async with conn.begin():
            await conn.execute("INSERT INTO t VALUES (3)")
    kept = work == "written" and not sql.startswith("ROLLBACK")
    ids = one(admin, f"SELECT GROUP_CONCAT(id ORDER BY id) FROM {table}")
    assert ids == ("1,3" if kept else "3")


@server
@quiet
@pytest.mark.parametrize("fails", [True, False], ids=["fails", "ends"])
async def test_tables_that_a_block_locks_are_unlocked_at_its_end(
    connect_kwargs: Kwargs, admin: Admin, table: str, fails: bool
) -> None:
    arguments = {**connect_kwargs, "maxsize": 1, "autocommit": True}
    async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
        with contextlib.suppress(ZeroDivisionError):
            async with conn.begin():
                await conn.execute("INSERT INTO t VALUES (1)")
                await conn.execute("LOCK TABLES t WRITE")
                with pytest.raises(sa.InvalidRequestError, match="committed its work"):
                    await conn.execute("INSERT INTO t VALUES (2)")
                if fails:
                    raise ZeroDivisionError

        assert await conn.scalar("SELECT COUNT(*) FROM u") == 0
        assert one(admin, f"SELECT COUNT(*) FROM {table}") == 1


@server
@quiet
@pytest.mark.parametrize("mode", MODES[1:])
async def test_tables_that_a_borrower_leaves_locked_are_unlocked_where_the_server_tracks_it(
    connect_kwargs: Kwargs, table: str, autocommit: bool, mode: str
) -> None:
    async with sa.create_engine(**tracking(connect_kwargs, mode, autocommit)) as engine:
        async with engine.acquire() as conn:
            await conn.execute("LOCK TABLES t WRITE")
            await conn.execute("INSERT INTO t VALUES (1)")
            await conn.execute("COMMIT")
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM u") == 0
            await conn.execute("LOCK TABLES t WRITE")
            await conn.execute("UNLOCK TABLES")
        assert engine.stats().closed == {}


@server
@quiet
@pytest.mark.parametrize("mode", MODES[1:])
async def test_lock_tables_ends_a_block_without_autocommit_where_the_server_tracks_it(
    connect_kwargs: Kwargs, admin: Admin, table: str, mode: str
) -> None:
    arguments = tracking(connect_kwargs, mode, False)
    async with sa.create_engine(**arguments) as engine:
        async with engine.acquire() as conn:
            with pytest.raises(ZeroDivisionError):
                async with conn.begin():
                    await conn.execute("INSERT INTO t VALUES (1)")
                    await conn.execute("LOCK TABLES t WRITE")
                    with pytest.raises(sa.InvalidRequestError, match="committed its work"):
                        await conn.execute("INSERT INTO t VALUES (2)")
                    raise ZeroDivisionError
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM u") == 0
    assert one(admin, f"SELECT COUNT(*) FROM {table}") == 1


# -- what is told, byte for byte -------------------------------------------------------------------

STATES = {
    "begun": (b"________", b"T_______", False),
    "the same": (b"T_______", b"T_______", True),
    "has written": (b"T_______", b"T___W___", True),
    "has read, too": (b"T___W___", b"T_R_W_S_", True),
    "begun anew": (b"T___W___", b"T_______", False),
    "less": (b"T_R_W_S_", b"T___W_S_", False),
    "taken for over": (b"T___W___", b"________", True),
    "taken for implicit": (b"T___W___", b"I___W___", True),
    "begun after that": (b"________", b"T_______", False),
    "locked": (b"T___W___", b"_______L", False),
    "locked, implicit": (b"T_______", b"I___W__L", False),
}


@pytest.mark.parametrize(("before", "after", "expected"), STATES.values(), ids=STATES)
def test_state_goes_on_or_not(before: bytes, after: bytes, expected: bool) -> None:
    assert goes_on(before, after) is expected


BEGUN = b"\x05\x09\x08T_______"
VARIABLE = b"\x00\x0f\x0aautocommit\x03OFF"
NEXT = b"SET TRANSACTION"
TOLD = {
    "nothing": (b"\x00\x00", ({}, [], False)),
    "a variable": (b"\x00\x11" + VARIABLE, ({b"autocommit": b"OFF"}, [], False)),
    "a schema": (b"\x00\x06\x01\x04\x03abc", ({b"DATABASE()": b"abc"}, [], False)),
    "a state": (b"\x00\x0b" + BEGUN, ({}, [b"T_______"], False)),
    "both": (b"\x00\x1c" + VARIABLE + BEGUN, ({b"autocommit": b"OFF"}, [b"T_______"], False)),
    "seven letters": (b"\x00\x0a\x05\x08\x07T______", ({}, [], False)),
    "nine letters": (b"\x00\x0c\x05\x0a\x09T________", ({}, [], False)),
    "characteristics": (b"\x00\x05\x04\x03\x02AB", ({NEXT: b"AB"}, [], True)),
    "no characteristics": (b"\x00\x03\x04\x01\x00", ({NEXT: b""}, [], False)),
    "characteristics and none": (b"\x00\x08\x04\x03\x02AB\x04\x01\x00", ({NEXT: b""}, [], True)),
    "both of a transaction": (
        b"\x00\x0e" + BEGUN + b"\x04\x01\x00",
        ({NEXT: b""}, [b"T_______"], False),
    ),
    "another kind": (b"\x00\x03\x02\x01\x31", ({}, [], False)),
    "a GTID of MySQL's": (b"\x00\x07\x03\x05\x00\x03u:1", ({b"last_gtid": b"u:1"}, [], False)),
    "a GTID of MariaDB's": (
        b"\x00\x12\x00\x10\x09last_gtid\x050-1-2",
        ({b"last_gtid": b"0-1-2"}, [], False),
    ),
    "a GTID and a state": (
        b"\x00\x12" + BEGUN + b"\x03\x05\x00\x03u:1",
        ({b"last_gtid": b"u:1"}, [b"T_______"], False),
    ),
    "cut short": (b"\x00\x0c" + BEGUN, ({}, [], False)),
}


@pytest.mark.parametrize(("info", "expected"), TOLD.values(), ids=TOLD)
def test_end_of_an_ok_packet_is_read(info: bytes, expected: Any) -> None:
    assert read_changes(info) == expected


def test_charset_that_is_told_in_part_is_not_passed_over() -> None:
    info = b"\x00\x40\x00\x1b\x14character_set_client\x06latin1"

    with pytest.raises(MalformedPacket, match="cut short"):
        read_changes(info)


@pytest.mark.parametrize(("state", "expected"), [(b"T_R_W_S_", True), (b"T_R_____", False)])
def test_state_tells_whether_rows_were_written(state: bytes, expected: bool) -> None:
    assert wrote(state) is expected
