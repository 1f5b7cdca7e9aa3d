"""Cursors by aiomysql's names: rows as dictionaries, and results that are not read whole."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiomysql
import pytest
from pymysql import err
from pymysql.constants import CLIENT

import aiomysqlx as sa
from aiomysqlx import cursors

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
ROWS = [(n, f"name {n}") for n in range(1, 3001)]
TWICE = "SELECT a.id, a.name, b.id FROM c AS a JOIN c AS b ON a.id = b.id ORDER BY a.id LIMIT 2"


@pytest.fixture
async def filled(connect_kwargs: Kwargs) -> AsyncIterator[sa.Connection]:
    """A connection that takes several statements at a time, and a table of 3,000 rows."""
    options = {**connect_kwargs, "autocommit": True, "client_flag": CLIENT.MULTI_STATEMENTS}
    async with sa.connect(**options) as raw:
        cursor = await raw.cursor()
        await cursor.execute("CREATE TABLE c (id INT PRIMARY KEY, name VARCHAR(20))")
        await cursor.executemany("INSERT INTO c VALUES (%s, %s)", ROWS)
        yield raw


@pytest.mark.parametrize("name", ["Cursor", "DictCursor", "SSCursor", "SSDictCursor"])
async def test_classes_have_aiomysqls_names(name: str) -> None:
    assert getattr(sa, name) is getattr(cursors, name)
    assert name in sa.__all__


@pytest.mark.parametrize("name", ["DictCursor", "SSCursor", "SSDictCursor"])
async def test_rows_are_those_of_aiomysql(
    filled: sa.Connection, connect_kwargs: Kwargs, name: str
) -> None:
    async with aiomysql.connect(**connect_kwargs) as theirs:
        their_cursor = await theirs.cursor(getattr(aiomysql, name))
        our_cursor = await filled.cursor(getattr(sa, name))
        for sql in (TWICE, "SELECT * FROM c ORDER BY id", "SELECT * FROM c WHERE id < 0"):
            got = []
            for cursor in (their_cursor, our_cursor):
                executed = await cursor.execute(sql)
                one = await cursor.fetchone()
                position = cursor.rownumber
                many = await cursor.fetchmany(5)
                rest = await cursor.fetchall()
                got.append((executed, cursor.description, one, position, list(many), list(rest)))
            assert got[0] == got[1]


async def test_dictionaries_of_another_type(filled: sa.Connection) -> None:
    class Ordered(sa.DictCursor):
        dict_type = collections.OrderedDict

    async with filled.cursor(Ordered) as cursor:
        await cursor.execute("SELECT * FROM c ORDER BY id LIMIT 2")
        row = await cursor.fetchone()
        assert type(row) is collections.OrderedDict
        assert row == {"id": 1, "name": "name 1"}
        assert [row async for row in cursor] == [{"id": 2, "name": "name 2"}]


async def test_unbuffered_rows_come_one_by_one(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        assert (
            await cursor.execute("SELECT * FROM c WHERE id > %s ORDER BY id", (10,))
            == (1 << 64) - 1
        )
        assert filled.busy
        rows = [row async for row in cursor]

        assert rows == ROWS[10:]
        assert cursor.rowcount == 2990
        assert not filled.busy
        assert await cursor.fetchone() is None
        assert await cursor.fetchall() == []


async def test_unbuffered_cursor_that_is_closed_early(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSDictCursor) as cursor:
        await cursor.execute("SELECT c.* FROM c, c AS more LIMIT 200000")
        assert await cursor.fetchone() is not None
    async with filled.cursor() as cursor:
        await cursor.execute("SELECT 5")
        assert await cursor.fetchone() == (5,)


async def test_statement_on_an_unbuffered_cursor_ends_the_one_before(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute("SELECT c.* FROM c, c AS more LIMIT 200000")
        await cursor.execute("SELECT 5")
        assert await cursor.fetchall() == [(5,)]


async def test_many_groups_on_an_unbuffered_cursor_end_the_statement_before(
    filled: sa.Connection,
) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute("SELECT c.* FROM c, c AS more LIMIT 200000")
        assert (
            await cursor.executemany("INSERT INTO c VALUES (%s, %s)", [(-1, "a"), (-2, "b")]) == 2
        )
        await cursor.execute("SELECT 5")
        assert await cursor.executemany("SELECT %s", []) is None
        assert await cursor.fetchall() == [(5,)]


async def test_unbuffered_cursor_keeps_the_count_of_rows_affected(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute("DELETE FROM c WHERE id < 4")
        assert await cursor.fetchone() is None
        assert cursor.rowcount == 3


BESIDE: dict[str, Callable[[sa.Connection], Awaitable[Any]]] = {
    "commit": lambda raw: raw.commit(),
    "rollback": lambda raw: raw.rollback(),
    "begin": lambda raw: raw.begin(),
    "ping": lambda raw: raw.ping(),
    "query": lambda raw: raw.query("SELECT 5"),
    "show_warnings": lambda raw: raw.show_warnings(),
    "autocommit": lambda raw: raw.autocommit(False),
    "select_db": lambda raw: raw.select_db("information_schema"),
    "set_charset": lambda raw: raw.set_charset("latin1"),
    "reset": lambda raw: raw.reset(),
}
INCOMPLETE = "Previous unbuffered result was left incomplete"


@pytest.mark.parametrize("kind", [sa.Cursor, sa.SSCursor])
async def test_statement_beside_an_unbuffered_cursor_ends_its_rows(
    filled: sa.Connection, kind: type[sa.Cursor]
) -> None:
    async with filled.cursor(sa.SSCursor) as cursor, filled.cursor(kind) as other:
        await cursor.execute("SELECT c.* FROM c, c AS more LIMIT 200000")
        assert await cursor.fetchone() is not None

        with pytest.warns(UserWarning, match=INCOMPLETE):
            await other.execute("SELECT 5")

        assert await cursor.fetchone() is None
        assert list(await other.fetchall()) == [(5,)]


@pytest.mark.parametrize("use", BESIDE.values(), ids=BESIDE)
async def test_use_of_the_connection_ends_the_rows_of_an_unbuffered_cursor(
    filled: sa.Connection, use: Any
) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute("SELECT c.* FROM c, c AS more LIMIT 200000")

        with pytest.warns(UserWarning, match=INCOMPLETE):
            await use(filled)

        assert await cursor.fetchall() == []


async def test_rows_of_a_connections_stream_stay(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        raw = conn.connection
        assert raw is not None
        async with conn.stream("SELECT 1 UNION SELECT 2") as rows, raw.cursor() as other:
            with pytest.raises(sa.InvalidRequestError, match="a stream: read it to its end"):
                await other.execute("SELECT 5")
            assert [tuple(row.values()) async for row in rows] == [(1,), (2,)]


async def test_several_results_unbuffered(filled: sa.Connection) -> None:
    sql = (
        "SELECT * FROM c ORDER BY id; DELETE FROM c WHERE id < 3; SELECT COUNT(*) FROM c; SELECT x"
    )
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute(sql)
        assert await cursor.fetchmany(2) == ROWS[:2]
        assert await cursor.nextset()
        assert cursor.rowcount == 2
        assert cursor.description is None
        assert await cursor.nextset()
        assert await cursor.fetchall() == [(2998,)]
        with pytest.raises(err.OperationalError, match="x"):
            await cursor.nextset()
        assert await cursor.nextset() is None


async def test_procedure_unbuffered(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute(
            "CREATE PROCEDURE two(n INT) BEGIN SELECT * FROM c WHERE id < n; SELECT 'end'; END"
        )
        await cursor.callproc("two", (3,))
        assert await cursor.fetchall() == ROWS[:2]
        assert await cursor.nextset()
        assert await cursor.fetchone() == ("end",)
        await cursor.nextset()
        assert await cursor.nextset() is None


async def test_scrolling_goes_forward_only(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute("SELECT * FROM c ORDER BY id")
        await cursor.scroll(1500)
        assert await cursor.fetchone() == ROWS[1500]
        await cursor.scroll(2000, "absolute")
        assert await cursor.fetchone() == ROWS[2000]
        with pytest.raises(err.NotSupportedError, match="Backwards"):
            await cursor.scroll(5, "absolute")
        with pytest.raises(err.ProgrammingError, match="unknown scroll mode"):
            await cursor.scroll(5, "x")


async def test_many_groups_unbuffered(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        assert (
            await cursor.executemany("UPDATE c SET name = %s WHERE id = %s", [("a", 1), ("b", 2)])
            == 2
        )
        assert (
            await cursor.executemany("INSERT INTO c VALUES (%s, %s)", [(-1, "a"), (-2, "b")]) == 2
        )
        await cursor.execute("SELECT name FROM c WHERE id < 3 ORDER BY id")
        assert await cursor.fetchall() == [("b",), ("a",), ("a",), ("b",)]


@pytest.mark.parametrize("sql", ["SELECT %s, 'x'", "SELECT '\\\\', %s"], ids=["rows", "backslash"])
async def test_rows_of_many_groups_unbuffered_are_there(filled: sa.Connection, sql: str) -> None:
    async with filled.cursor() as buffered, filled.cursor(sa.SSCursor) as cursor:
        assert await buffered.executemany(sql, [(1,), (2,), (3,)]) == 3
        assert await cursor.executemany(sql, [(1,), (2,), (3,)]) == 3
        assert cursor.description == buffered.description
        assert await cursor.fetchone() == await buffered.fetchone()
        assert (cursor.rownumber, cursor.rowcount) == (1, 3)
        assert [row async for row in cursor] == list(await buffered.fetchall())
        assert await cursor.nextset() is None


async def test_rows_of_a_returning_of_many_groups_are_there(filled: sa.Connection) -> None:
    sql = "INSERT INTO c VALUES (%s, %s) RETURNING id, name"
    groups = [(-1, "a"), (-2, "b")]
    async with filled.cursor(sa.SSDictCursor) as cursor:
        await cursor.execute("SELECT VERSION() AS v")
        (version,) = await cursor.fetchall()
        if "MariaDB" in version["v"]:  # MySQL has no RETURNING
            await cursor.executemany(sql, groups)
            expected = [{"id": id_, "name": name} for id_, name in groups]
            assert await cursor.fetchall() == expected
        else:
            with pytest.raises(err.ProgrammingError, match="1064"):
                await cursor.executemany(sql, groups)


async def test_first_id_of_many_groups_unbuffered(filled: sa.Connection) -> None:
    async with filled.cursor(sa.SSCursor) as cursor:
        await cursor.execute("CREATE TEMPORARY TABLE n (id INT AUTO_INCREMENT PRIMARY KEY, a INT)")
        await cursor.executemany("INSERT INTO n SET a = %s", [(1,), (2,), (3,)])
        assert cursor.lastrowid == 1


async def test_unbuffered_cursor_of_the_connection(connect_kwargs: Kwargs) -> None:
    async with (
        sa.connect(**connect_kwargs, cursorclass=sa.SSDictCursor) as raw,
        raw.cursor() as cursor,
    ):
        await cursor.execute("SELECT 1 AS a UNION SELECT 2")
        assert [row async for row in cursor] == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("allowed", [True, False], ids=["a file", "a file that is refused"])
async def test_file_that_is_loaded_behind_unbuffered_rows(
    connect_kwargs: Kwargs, filled: sa.Connection, admin: Any, tmp_path: Path, allowed: bool
) -> None:
    admin.cursor().execute("SET GLOBAL local_infile = 1")
    path = tmp_path / "rows"
    path.write_text("5000\tone\n5001\tother\n")
    sql = f"SELECT 1; LOAD DATA LOCAL INFILE '{path}' INTO TABLE c; SELECT MAX(id) FROM c"
    options = {**connect_kwargs, "autocommit": True, "client_flag": CLIENT.MULTI_STATEMENTS}
    async with (
        sa.connect(**options, local_infile=lambda _: allowed) as raw,
        raw.cursor(sa.SSCursor) as cursor,
    ):
        await cursor.execute(sql)
        assert await cursor.fetchall() == [(1,)]
        if allowed:
            assert await asyncio.wait_for(cursor.nextset(), 5)
            assert cursor.rowcount == 2
            assert await cursor.nextset()
            assert await cursor.fetchall() == [(5001,)]
        else:
            with pytest.raises(err.OperationalError, match="local_infile does not allow"):
                await asyncio.wait_for(cursor.nextset(), 5)

        await cursor.execute("SELECT 2")
        assert await cursor.fetchall() == [(2,)]


PROCEDURE = """
CREATE PROCEDURE fails_late() BEGIN
    SELECT 1;
    INSERT INTO c VALUES (5000, 'half done');
    SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'behind the rows';
END
"""


async def leave_failing_call(raw: sa.Connection) -> None:
    """Leave the rows of a procedure that fails behind them, and has written something."""
    cursor = await raw.cursor(sa.SSCursor)
    await cursor.execute("CALL fails_late()")
    await cursor.close()


async def test_nothing_is_committed_behind_rows_that_were_left_if_their_procedure_failed(
    filled: sa.Connection,
) -> None:
    await filled.query(PROCEDURE)
    await filled.autocommit(False)
    await leave_failing_call(filled)

    with pytest.raises(err.OperationalError, match="behind the rows"):
        await filled.commit()
    await filled.rollback()

    await filled.commit()
    cursor = await filled.cursor()
    assert await cursor.execute("SELECT * FROM c WHERE id = 5000") == 0


@pytest.mark.parametrize("end", ["rollback", "begin"])
async def test_error_behind_rows_that_were_left_is_no_later_transactions(
    filled: sa.Connection, end: str
) -> None:
    await filled.query(PROCEDURE)
    await filled.autocommit(False)
    await leave_failing_call(filled)
    await getattr(filled, end)()
    cursor = await filled.cursor()
    await cursor.execute("INSERT INTO c VALUES (6000, 'whole')")

    await filled.commit()

    await filled.rollback()
    assert await cursor.execute("SELECT * FROM c WHERE id = 6000") == 1


async def test_connection_that_is_idle_keeps_nothing_of_a_stream_that_was_left(
    filled: sa.Connection, connect_kwargs: Kwargs
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            async for _ in conn.stream("SELECT * FROM c"):
                break
            session: Any = conn._session

        assert await session.settled()
        assert session.left is None
