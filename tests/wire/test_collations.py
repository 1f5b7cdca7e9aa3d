"""Collations: the server's own default, or the one that was asked for."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pymysql
import pytest
from faults import QUIT, FaultyProxy, faulty_proxy
from sqlalchemy import Column, MetaData, String, Table, cast, func, insert, literal, select, union

import aiomysqlx as sa

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
SESSION = "SELECT @@character_set_client, @@character_set_results, @@collation_connection"


async def session(connection: sa.Connection) -> tuple[str, ...]:
    """Give the charsets and the collation of a session."""
    async with connection.cursor() as cursor:
        await cursor.execute(SESSION)
        row = await cursor.fetchone()
    assert row is not None
    return tuple(value.decode() if isinstance(value, bytes) else value for value in row)


def names(admin: pymysql.Connection[Any], names: str) -> tuple[str, ...]:
    """Give what `SET NAMES` leaves a new session with."""
    fresh = pymysql.connect(
        host=admin.host,
        port=admin.port,
        user=admin.user,
        password=admin.password,
        ssl_disabled=True,  # certificates of authorities take long to read
    )
    with fresh, fresh.cursor() as cursor:
        cursor.execute(f"SET NAMES {names}")
        cursor.execute(SESSION)
        (row,) = cursor.fetchall()
    return tuple(value.decode() if isinstance(value, bytes) else value for value in row)


@pytest.fixture
def set_global(admin: pymysql.Connection[Any]) -> Iterator[Callable[..., None]]:
    """Set the server's variables, and back after the test."""
    before: dict[str, str] = {}

    def set_global(**values: str) -> None:
        with admin.cursor() as cursor:
            for name, value in values.items():
                cursor.execute(f"SELECT @@GLOBAL.{name}")
                ((before[name],),) = cursor.fetchall()
                cursor.execute(f"SET GLOBAL {name} = {value}")

    yield set_global
    with admin.cursor() as cursor:
        for name, value in reversed(before.items()):
            cursor.execute(f"SET GLOBAL {name} = {value}")


@pytest.fixture
async def proxy(connect_kwargs: Kwargs) -> AsyncIterator[FaultyProxy]:
    """A proxy that knows what passes."""
    async with faulty_proxy(connect_kwargs) as proxy:
        yield proxy


CHARSETS = ["", "utf8mb4", "UTF8MB4", "utf8", "utf8mb3", "latin1", "gbk", "cp1251", "binary"]


@pytest.mark.parametrize("charset", CHARSETS)
async def test_collation_is_the_servers_default_for_the_charset(
    proxy: FaultyProxy, admin: pymysql.Connection[Any], charset: str
) -> None:
    async with sa.connect(**proxy.kwargs, charset=charset, autocommit=True) as connection:
        got = await session(connection)

    assert got == names(admin, "utf8mb4" if charset in ("", "utf8") else charset)
    # Nothing had to be set right: one command to learn the session, and the test's own.
    assert len([command for command in proxy.commands if command != QUIT]) == 2


async def test_default_does_not_depend_on_the_default_of_new_databases(
    proxy: FaultyProxy, admin: pymysql.Connection[Any], set_global: Callable[..., None]
) -> None:
    set_global(collation_server="utf8mb4_unicode_ci")

    async with sa.connect(**proxy.kwargs, autocommit=True) as connection:
        assert await session(connection) == names(admin, "utf8mb4")

    assert len([command for command in proxy.commands if command != QUIT]) == 2


async def test_default_that_a_variable_sets_is_followed(
    connect_kwargs: Kwargs, set_global: Callable[..., None], mysql_only: None
) -> None:
    set_global(default_collation_for_utf8mb4="utf8mb4_general_ci")

    async with sa.connect(**connect_kwargs) as connection:
        assert (await session(connection))[2] == "utf8mb4_general_ci"
        await connection.reset()
        assert (await session(connection))[2] == "utf8mb4_general_ci"


@pytest.mark.parametrize("version", [b"8.0.36", b"5.7.44", b"10.0.1"])
async def test_version_that_a_proxy_gives_need_not_be_the_servers(
    connect_kwargs: Kwargs,
    admin: pymysql.Connection[Any],
    set_global: Callable[..., None],
    version: bytes,
) -> None:
    # What a server chooses that does not know the collation, or does not listen.
    set_global(
        character_set_client="latin1",
        character_set_results="latin1",
        collation_connection="latin1_swedish_ci",
    )

    def change(data: bytes) -> bytes:
        if data[3] != 0 or data[4] != 10:
            return data
        end = data.index(b"\0", 5)
        payload = data[4:5] + version + data[end:]
        return len(payload).to_bytes(3, "little") + b"\0" + payload

    async with fakes.proxy(connect_kwargs, change) as kwargs, sa.connect(**kwargs) as connection:
        assert connection.server_version == version.decode()
        assert await session(connection) == names(admin, "utf8mb4")


# -- a collation that was asked for ----------------------------------------------------------------

ASKED = {
    "of the charset's oldest": {"collation": "utf8mb4_bin"},
    "in capitals": {"collation": "UTF8MB4_Unicode_CI", "charset": "UTF8MB4"},
    "of another charset": {"charset": "latin1", "collation": "latin1_german1_ci"},
    "by the old name": {"charset": "utf8", "collation": "utf8_bin"},
    "by the new name": {"charset": "utf8mb3", "collation": "utf8mb3_bin"},
    "that was the default once": {"collation": "utf8mb4_general_ci"},
    "binary": {"charset": "binary", "collation": "binary"},
}


def expected(asked: Kwargs) -> str:
    return re.sub("^utf8_", "utf8mb3_", asked["collation"].lower())


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_collation_that_was_asked_for_needs_no_command(
    proxy: FaultyProxy, asked: Kwargs
) -> None:
    async with sa.connect(**proxy.kwargs, **asked, autocommit=True) as connection:
        assert (await session(connection))[2] == expected(asked)

    assert len([command for command in proxy.commands if command != QUIT]) == 2


@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED)
async def test_collation_that_was_asked_for_stays(connect_kwargs: Kwargs, asked: Kwargs) -> None:
    async with sa.connect(**connect_kwargs, **asked) as connection:
        at_first = await session(connection)
        await connection.query("SET NAMES cp1251")
        await connection.reset()
        assert await session(connection) == at_first

        await connection.set_charset("cp1251")
        assert (await session(connection))[2] == "cp1251_general_ci"
        await connection.set_charset(asked.get("charset", "utf8mb4"))
        assert await session(connection) == at_first

        await connection.set_charset("cp1251")
        await connection.reset()
        assert await session(connection) == at_first
        assert at_first[2] == expected(asked)


async def test_newer_collation_than_the_handshake_can_name_is_set(
    connect_kwargs: Kwargs, server: Any
) -> None:
    collation = {"mysql": "utf8mb4_0900_as_cs", "mariadb": "utf8mb4_uca1400_as_cs"}[server.flavour]

    async with sa.connect(**connect_kwargs, collation=collation) as connection:
        assert (await session(connection))[2] == collation
        await connection.reset()
        assert (await session(connection))[2] == collation


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("by_url", [False, True], ids=["keyword", "url"])
async def test_engine_takes_a_collation(
    connect_kwargs: Kwargs, url: str, by_url: bool, reset: bool
) -> None:
    asked: Kwargs = {"charset": "latin1", "collation": "latin1_bin"}
    making = (
        sa.create_engine(f"{url}?charset=latin1&collation=latin1_bin", reset=reset, maxsize=1)
        if by_url
        else sa.create_engine(**connect_kwargs, **asked, reset=reset, maxsize=1)
    )
    async with making as engine:
        for _ in range(3):
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT @@collation_connection") == "latin1_bin"


WRONG = {
    "another charset's": {"collation": "latin1_bin"},
    "another charset's, of a longer name": {"charset": "utf8", "collation": "utf8mb4_bin"},
    "none's": {"collation": "nonsense"},
    "no name": {"collation": "utf8mb4_bin; DROP"},
    "a quoted name": {"collation": "`utf8mb4_bin`"},
    "a letter of Unicode's": {"collation": "utf8mb4_bın"},
    "a line behind it": {"collation": "utf8mb4_bin\n"},
    "the charset": {"collation": "utf8mb4"},
    "no text": {"collation": 5},
}


@pytest.mark.parametrize("asked", WRONG.values(), ids=WRONG)
async def test_wrong_collation_is_refused(asked: Kwargs) -> None:
    with pytest.raises(sa.ArgumentError, match="'collation'"):
        await sa.connect(host="localhost", **asked)
    with pytest.raises(sa.ArgumentError, match="'collation'"):
        sa.create_engine(host="localhost", **asked)


async def test_collation_is_one_of_the_option_files_charset(
    connect_kwargs: Kwargs, tmp_path: Path
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text("[client]\ndefault-character-set = latin1\n")
    given = {**connect_kwargs, "read_default_file": str(file)}

    async with sa.connect(**given, collation="latin1_bin") as connection:
        assert (await session(connection))[2] == "latin1_bin"
    with pytest.raises(sa.ArgumentError, match="charset 'latin1', got 'utf8mb4_bin'"):
        await sa.connect(**given, collation="utf8mb4_bin")


async def test_collation_that_the_server_lacks_fails_the_connect(connect_kwargs: Kwargs) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="1273.*utf8mb4_klingon_ci"):
        await sa.connect(**connect_kwargs, collation="utf8mb4_klingon_ci")


# -- what it is for --------------------------------------------------------------------------------

WORDS = Table("words", MetaData(), Column("word", String(20)))
W = WORDS.c.word
SHAPES = {
    "cast": select(W).where(W.in_([cast(literal("a"), String(20))])),
    "comparison": "SELECT word FROM words WHERE word = CAST('a' AS CHAR)",
    "convert": "SELECT word FROM words WHERE word = CONVERT('a', CHAR)",
    "union": select(W).union(select(cast(literal("a"), String(20)))),
    "union of a literal": union(select(W), select(literal("a"))),
    "concat": select(W).where(
        func.concat(W, "b") == func.concat(cast(literal("a"), String(9)), "b")
    ),
    "coalesce": select(func.coalesce(cast(None, String(9)), W)),
    "case": "SELECT IF(1, word, CAST(1 AS CHAR)) FROM words",
    "user variable": "SELECT word FROM words WHERE word = @variable",
    "number": select(func.concat(W, cast(literal(1), String(9)))),
}


@pytest.mark.parametrize("statement", SHAPES.values(), ids=SHAPES)
async def test_values_and_columns_of_the_default_go_together(
    engine: sa.Engine, statement: Any
) -> None:
    async with engine.acquire() as conn:
        # In the server's default, whatever the database has.
        await conn.execute("CREATE TABLE words (word VARCHAR(20)) CHARACTER SET utf8mb4")
        await conn.execute(insert(WORDS), {"word": "a"})
        await conn.execute("SET @variable = CAST('a' AS CHAR)")

        rows = await (await conn.execute(statement)).fetchall()

    assert [row[0] for row in rows] in (["a"], ["a1"])
