"""Backslashes behind a proxy that never shows the flag of NO_BACKSLASH_ESCAPES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pymysql
import pytest
from fakes import proxy
from faults import QUIT, faulty_proxy
from sqlalchemy import String, bindparam, literal, select, text

import aiomysqlx

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
FLAG = "NO_BACKSLASH_ESCAPES"
EVIL = ["\\' OR 1 = 1 -- ", "\\", "a\\'b\\\\'", "'\\"]


def number_at(payload: bytes, position: int) -> int:
    """Give the position behind a length-encoded number."""
    return position + {0xFC: 3, 0xFD: 4, 0xFE: 9}.get(payload[position], 1)


def without_the_flag(data: bytes) -> bytes:
    """Take the flag out of a packet that ends a statement or its rows."""
    payload = data[4:]
    if payload[:1] == b"\xfe" and len(payload) == 5:
        status = 3
    elif payload[:1] == b"\0" or (payload[:1] == b"\xfe" and 7 <= len(payload) < 0xFFFFFF):
        status = number_at(payload, number_at(payload, 1))
    else:
        return data
    if status + 2 > len(payload) or len(payload) > 200:
        return data
    return data[: 5 + status] + bytes((data[5 + status] & ~2,)) + data[6 + status :]


@pytest.fixture
async def hiding(connect_kwargs: Kwargs) -> AsyncIterator[Kwargs]:
    """How to connect through a proxy that does not show the flag."""
    async with proxy(connect_kwargs, without_the_flag) as kwargs:
        yield kwargs


@pytest.fixture(params=["", FLAG], ids=["escapes", "no escapes"])
def global_mode(request: pytest.FixtureRequest, admin: pymysql.Connection[Any]) -> Iterator[str]:
    """The mode that sessions begin with."""
    with admin.cursor() as cursor:
        cursor.execute("SELECT @@global.sql_mode")
        ((usual,),) = cursor.fetchall()
        cursor.execute(f"SET GLOBAL sql_mode = '{request.param}'")
        yield request.param
        cursor.execute(f"SET GLOBAL sql_mode = '{usual}'")


# What sets the mode as a connection is made, and whether it has the flag then; `None`: as before.
SET_UP: dict[str, tuple[Kwargs, bool | None]] = {
    "nothing": ({}, None),
    "mode with it": ({"sql_mode": f"STRICT_ALL_TABLES,{FLAG}"}, True),
    "mode without it": ({"sql_mode": "ANSI"}, False),
    "mode as expression": ({"sql_mode": f"CONCAT(@@sql_mode, ',{FLAG}')"}, True),
    "command with it": ({"init_command": f"SET sql_mode = '{FLAG.lower()}'"}, True),
    "command without it": ({"init_command": "SET sql_mode = ''"}, False),
    "command of another kind": ({"init_command": "SET @a = 1"}, None),
}


async def check(conn: aiomysqlx.SAConnection, expected: bool) -> None:
    raw = conn.connection
    assert raw is not None
    assert raw.no_backslash_escapes == expected
    for value in EVIL:
        assert await conn.scalar("SELECT %s", value) == value
        assert await conn.scalar(select(literal(value))) == value
        assert (
            await conn.scalar(select(bindparam("x", value, String, literal_execute=True))) == value
        )
        assert await conn.scalar("SELECT 1 WHERE %s = 1", value) is None
        async with raw.cursor() as cursor:
            await cursor.execute(f"SELECT {raw.escape(value)}")
            assert await cursor.fetchone() == (value,)


@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")
@pytest.mark.parametrize("reset", [False, True], ids=["", "reset"])
@pytest.mark.parametrize(("given", "sets"), SET_UP.values(), ids=SET_UP)
async def test_backslashes_are_escaped_as_the_server_reads_them(
    hiding: Kwargs, global_mode: str, given: Kwargs, sets: bool | None, reset: bool
) -> None:
    expected = bool(global_mode) if sets is None else sets
    async with aiomysqlx.create_engine(**hiding, **given, maxsize=1, reset=reset) as engine:
        for _ in range(2):
            async with engine.acquire() as conn:
                await check(conn, expected)


@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")
@pytest.mark.parametrize(("given", "sets"), SET_UP.values(), ids=SET_UP)
async def test_flag_that_is_shown_is_believed(
    connect_kwargs: Kwargs, global_mode: str, given: Kwargs, sets: bool | None
) -> None:
    async with (
        aiomysqlx.create_engine(**connect_kwargs, **given) as engine,
        engine.acquire() as conn,
    ):
        await check(conn, bool(global_mode) if sets is None else sets)
        await conn.execute("SET sql_mode = ''")
        await check(conn, False)
        await conn.execute(f"SET sql_mode = '{FLAG}'")
        await check(conn, True)


@pytest.mark.parametrize(
    ("given", "most"),
    [({}, 1), ({"sql_mode": FLAG}, 2), ({"init_command": "SET sql_mode = 'ANSI'"}, 3)],
    ids=["nothing", "mode", "command"],
)
async def test_knowing_it_takes_no_round_trip(
    connect_kwargs: Kwargs, given: Kwargs, most: int
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as counting,
        aiomysqlx.connect(**counting.kwargs, **given, autocommit=None),
    ):
        commands = [command for command in counting.commands if command != QUIT]

    # The greeting's answer is not among them, as it is not the first of its sequence.
    assert len(commands) == most


CHANGES = {
    "SQL mode": ("SET @v = :v, sql_mode = :to", FLAG),
    "character set": ("SET @v = :v, character_set_client = :to", "latin1"),
}


@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")
@pytest.mark.parametrize(("sql", "to"), CHANGES.values(), ids=CHANGES)
async def test_values_of_many_are_not_sent_for_another_syntax_than_theirs(
    connect_kwargs: Kwargs, sql: str, to: str
) -> None:
    evil = "', @evil = 1 -- "
    async with (
        aiomysqlx.create_engine(**connect_kwargs) as engine,
        engine.acquire() as conn,
    ):
        groups = [{"v": "first", "to": to}, {"v": evil, "to": ""}]
        with pytest.raises(aiomysqlx.InvalidRequestError, match="has changed the SQL mode or the"):
            await conn.execute(text(sql), groups)

        result = await conn.execute("SELECT @v, @evil")
        assert (await result.first()).as_tuple() == ("first", None)
        await check(conn, to == FLAG)


async def test_mode_is_kept_for_a_connection_made_anew(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs, sql_mode=FLAG) as connection:
        connection.close()
        await connection.ping()

        assert connection.no_backslash_escapes
