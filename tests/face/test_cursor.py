"""The DB-API cursor on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymysql import err
from pymysql.constants import CLIENT

import aiomysqlx

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
Cursor = aiomysqlx.Cursor


@pytest.fixture
async def connection(connect_kwargs: Kwargs) -> AsyncIterator[aiomysqlx.Connection]:
    """A connection that takes several statements at a time."""
    flag = CLIENT.MULTI_STATEMENTS
    async with aiomysqlx.connect(**connect_kwargs, client_flag=flag) as connection:
        yield connection


@pytest.fixture
async def cursor(connection: aiomysqlx.Connection) -> AsyncIterator[Cursor]:
    """A cursor, and the table t."""
    async with connection.cursor() as cursor:
        await cursor.execute("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT UNIQUE)")
        yield cursor


COUNTING = "SELECT 1 AS n UNION SELECT 2 UNION SELECT 3 UNION SELECT 4"


async def test_rows_are_fetched_in_order(cursor: Cursor) -> None:
    assert await cursor.execute(COUNTING) == 4

    assert await cursor.fetchone() == (1,)
    assert await cursor.fetchmany() == ((2,),)
    assert await cursor.fetchmany(1) == ((3,),)
    assert cursor.rownumber == 3
    assert await cursor.fetchall() == ((4,),)
    assert await cursor.fetchone() is None
    assert await cursor.fetchmany(5) == ()
    assert await cursor.fetchall() == ()


async def test_cursor_is_iterated_over(cursor: Cursor) -> None:
    await cursor.execute(COUNTING)

    assert [row async for row in cursor] == [(1,), (2,), (3,), (4,)]


async def test_scroll_moves_within_the_rows(cursor: Cursor) -> None:
    await cursor.execute(COUNTING)

    await cursor.scroll(2)
    assert await cursor.fetchone() == (3,)
    await cursor.scroll(-2)
    assert await cursor.fetchone() == (2,)
    await cursor.scroll(0, mode="absolute")
    assert await cursor.fetchone() == (1,)
    with pytest.raises(IndexError, match="out of range"):
        await cursor.scroll(4, mode="absolute")
    with pytest.raises(err.ProgrammingError, match="unknown scroll mode 'sideways'"):
        await cursor.scroll(1, mode="sideways")


async def test_statement_without_rows_gives_counts(cursor: Cursor) -> None:
    assert await cursor.execute("INSERT INTO t (n) VALUES (1), (2)") == 2

    assert (cursor.rowcount, cursor.lastrowid, cursor.description) == (2, 1, None)
    assert await cursor.fetchall() == []
    assert await cursor.fetchmany(2) == []
    assert await cursor.fetchone() is None


async def test_select_has_no_lastrowid(cursor: Cursor) -> None:
    await cursor.execute("INSERT INTO t (n) VALUES (1)")
    await cursor.execute("SELECT 1 AS a")

    assert cursor.lastrowid is None
    assert cursor.description is not None
    assert cursor.description[0][0] == "a"


async def test_fetching_before_executing_is_refused(connection: aiomysqlx.Connection) -> None:
    cursor = await connection.cursor()

    with pytest.raises(err.ProgrammingError, match="execute"):
        await cursor.fetchone()


async def test_closed_cursor_is_refused(cursor: Cursor) -> None:
    await cursor.close()
    await cursor.close()

    assert cursor.closed
    assert cursor.connection is None
    with pytest.raises(err.ProgrammingError, match="Cursor closed"):
        await cursor.execute("SELECT 1")


@pytest.mark.parametrize(
    ("args", "row"),
    [
        pytest.param(None, ("%s",), id="none: the text as it stands"),
        pytest.param((1,), ("1",), id="tuple"),
        pytest.param([1], ("1",), id="list"),
        pytest.param(1, ("1",), id="value"),
    ],
)
async def test_placeholders_take_the_arguments(
    cursor: Cursor, args: Any, row: tuple[Any, ...]
) -> None:
    await cursor.execute("SELECT CONCAT('', '%s')" if args is None else "SELECT CONCAT(%s)", args)

    assert await cursor.fetchone() == row


async def test_named_placeholders_take_a_mapping(cursor: Cursor) -> None:
    await cursor.execute("SELECT %(a)s, %(b)s, %(a)s", {"a": 1, "b": "x", "c": None})

    assert await cursor.fetchone() == (1, "x", 1)


@pytest.mark.parametrize(
    ("query", "args", "message"),
    [
        pytest.param(5, None, "statement as str, got 5", id="number"),
        pytest.param("SELECT %s", (), "expected 1 parameter, got 0", id="missing"),
        pytest.param("SELECT %s", ({"a": 1},), "dict can not be used as parameter", id="type"),
        pytest.param("SELECT '\udc80'", None, "no utf8 encoding at character 8", id="surrogate"),
    ],
)
async def test_wrong_argument_is_refused_and_nothing_is_sent(
    cursor: Cursor, query: Any, args: Any, message: str
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        await cursor.execute(query, args)

    assert await cursor.execute("SELECT 1") == 1


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        pytest.param("xyzzy", err.ProgrammingError, id="syntax"),
        pytest.param("SELECT * FROM nowhere", err.ProgrammingError, id="table"),
        pytest.param("INSERT INTO t (n) VALUES (1), (1)", err.IntegrityError, id="duplicate"),
        pytest.param("SELECT nothing FROM t", err.OperationalError, id="column"),
        pytest.param("INSERT INTO t (n) VALUES (99999999999)", err.DataError, id="range"),
        pytest.param("", err.OperationalError, id="empty"),
    ],
)
async def test_error_of_the_server_has_its_class(
    cursor: Cursor, sql: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await cursor.execute(sql)

    assert await cursor.execute("SELECT 1") == 1


async def test_mogrify_gives_what_is_sent(cursor: Cursor) -> None:
    assert cursor.mogrify("SELECT %s, %s, '%%'", ("it's", None)) == "SELECT 'it\\'s', NULL, '%'"
    assert cursor.mogrify("SELECT '%'") == "SELECT '%'"


# -- executemany


async def commands(cursor: Cursor, name: str) -> int:
    await cursor.execute(f"SHOW SESSION STATUS LIKE 'Com_{name}'")
    row = await cursor.fetchone()
    assert row is not None
    return int(row[1])


@pytest.mark.filterwarnings("ignore:'VALUES function' is deprecated")
async def test_executemany_of_an_insert_is_one_statement(cursor: Cursor) -> None:
    before = await commands(cursor, "insert")

    sql = "INSERT INTO t (n) VALUES (%s) ON DUPLICATE KEY UPDATE n = VALUES(n)"
    assert await cursor.executemany(sql, [(n,) for n in range(500)]) == 500

    assert (cursor.rowcount, cursor.lastrowid) == (500, 1)
    assert await commands(cursor, "insert") == before + 1


async def test_executemany_into_a_table_named_value(cursor: Cursor, database: str) -> None:
    await cursor.execute("CREATE TABLE value (a INT)")
    before = await commands(cursor, "insert")

    # MariaDB takes the name unquoted after that of its database only.
    sql = f"INSERT INTO {database}.value (a) VALUES (%s)"
    assert await cursor.executemany(sql, [(1,), (2,)]) == 2

    assert await commands(cursor, "insert") == before + 1
    await cursor.execute("SELECT a FROM value ORDER BY a")
    assert list(await cursor.fetchall()) == [(1,), (2,)]


async def test_executemany_of_another_statement_is_one_for_each(cursor: Cursor) -> None:
    await cursor.executemany("INSERT INTO t (n) VALUES (%s)", [1, 2, 3])

    assert await cursor.executemany("UPDATE t SET n = %s WHERE n > %s", [(9, 2), (8, 3)]) == 2
    assert (
        await cursor.executemany("DELETE FROM t WHERE n = %(n)s", ({"n": n} for n in (1, 8))) == 2
    )


async def test_executemany_of_nothing_does_nothing(cursor: Cursor) -> None:
    assert await cursor.executemany("xyzzy", []) is None


async def test_executemany_with_one_wrong_row_sends_none(cursor: Cursor) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="dict can not be used as parameter"):
        await cursor.executemany("INSERT INTO t (n) VALUES (%s)", [(1,), ({},)])

    assert await cursor.execute("SELECT * FROM t") == 0


async def test_executemany_larger_than_a_batch_is_split(cursor: Cursor) -> None:
    await cursor.execute("CREATE TABLE big (s MEDIUMTEXT)")
    before = await commands(cursor, "insert")

    assert await cursor.executemany("INSERT INTO big VALUES (%s)", ["x" * 400_000] * 6) == 6

    assert await commands(cursor, "insert") == before + 3


# -- several results


async def test_results_follow_one_another(cursor: Cursor) -> None:
    await cursor.execute("SELECT 1; INSERT INTO t (n) VALUES (5), (6); SELECT 2, 3")

    assert await cursor.fetchall() == ((1,),)
    assert await cursor.nextset() is True
    assert (cursor.rowcount, cursor.description) == (2, None)
    assert await cursor.nextset() is True
    assert await cursor.fetchall() == ((2, 3),)
    assert await cursor.nextset() is None


async def test_error_of_a_later_statement_is_raised_in_its_turn(cursor: Cursor) -> None:
    await cursor.execute("SELECT 1; SELECT 2; xyzzy; SELECT 3")

    assert await cursor.fetchall() == ((1,),)
    assert await cursor.nextset() is True
    assert await cursor.fetchall() == ((2,),)
    with pytest.raises(err.ProgrammingError, match="1064"):
        await asyncio.wait_for(cursor.nextset(), 5)
    assert await cursor.nextset() is None
    assert await cursor.execute("SELECT 1") == 1


async def test_error_of_a_later_statement_is_not_lost(connection: aiomysqlx.Connection) -> None:
    cursor = await connection.cursor()
    await cursor.execute("SELECT 1; xyzzy")
    with pytest.raises(err.ProgrammingError, match="1064"):
        await cursor.execute("SELECT 2")

    await cursor.execute("SELECT 1; xyzzy")
    with pytest.raises(err.ProgrammingError, match="1064"):
        await cursor.close()

    with pytest.raises(err.ProgrammingError, match="1064"):
        await connection.query("SELECT 1; xyzzy")


TWO_ROWS = "INSERT INTO t VALUES (1, 1); INSERT INTO t VALUES (1, 2)"
# What is not executed before its user is told of an error behind the results of a cursor.
BEHIND: dict[str, Callable[[aiomysqlx.Connection, Cursor], Awaitable[Any]]] = {
    "commit": lambda connection, _: connection.commit(),
    "begin": lambda connection, _: connection.begin(),
    "autocommit": lambda connection, _: connection.autocommit(True),
    "query": lambda connection, _: connection.query("COMMIT"),
    "another cursor": lambda _, cursor: cursor.execute("COMMIT"),
    "another cursor's executemany": lambda _, cursor: cursor.executemany("DO %s", [1, 2]),
    "another cursor's callproc": lambda _, cursor: cursor.callproc("p"),
}


@pytest.mark.parametrize("kind", [aiomysqlx.Cursor, aiomysqlx.SSCursor])
@pytest.mark.parametrize("execute", BEHIND.values(), ids=BEHIND)
async def test_nothing_is_executed_behind_results_that_were_left_if_one_is_an_error(
    connection: aiomysqlx.Connection,
    cursor: Cursor,
    execute: Callable[[aiomysqlx.Connection, Cursor], Awaitable[Any]],
    kind: type[Cursor],
) -> None:
    other = await connection.cursor(kind)
    await cursor.execute(TWO_ROWS)

    with pytest.raises(err.IntegrityError, match="1062"):
        await execute(connection, other)

    await connection.rollback()
    assert await cursor.execute("SELECT * FROM t") == 0


async def test_error_behind_results_that_were_left_ends_with_its_transaction(
    connection: aiomysqlx.Connection, cursor: Cursor
) -> None:
    await (await connection.cursor()).execute(TWO_ROWS)
    await connection.rollback()

    await connection.query("INSERT INTO t VALUES (3, 3)")
    await connection.commit()
    await connection.rollback()

    assert await cursor.execute("SELECT * FROM t") == 1


async def test_block_whose_cursor_has_left_an_error_is_not_committed(
    connect_kwargs: Kwargs, cursor: Cursor
) -> None:
    flag = CLIENT.MULTI_STATEMENTS
    engine = await aiomysqlx.create_engine(**connect_kwargs, client_flag=flag)
    async with engine, engine.acquire() as conn:
        with pytest.raises(err.IntegrityError, match="1062"):
            async with conn.begin():
                raw: Any = conn.connection
                await (await raw.cursor()).execute(TWO_ROWS)

    assert await cursor.execute("SELECT * FROM t") == 0


async def test_callproc_gives_results_and_out_parameters(cursor: Cursor) -> None:
    await cursor.execute(
        "CREATE PROCEDURE p (IN a INT, OUT b INT, INOUT c VARCHAR(9))"
        " BEGIN SELECT a; SELECT c, a; SET b = a + 1; SET c = CONCAT(c, '!'); END"
    )

    assert await cursor.callproc("p", (5, None, "it's")) == (5, None, "it's")

    assert await cursor.fetchall() == ((5,),)
    assert await cursor.nextset() is True
    assert await cursor.fetchall() == (("it's", 5),)
    assert await cursor.nextset() is True
    assert await cursor.fetchall() == []
    assert await cursor.nextset() is None
    await cursor.execute("SELECT @_p_0, @_p_1, @_p_2")
    assert await cursor.fetchone() == (5, 6, "it's!")


async def test_callproc_quotes_the_name(cursor: Cursor, database: str) -> None:
    await cursor.execute("CREATE PROCEDURE `a ``b` () SELECT 7")

    await cursor.callproc(f"{database}.a `b")

    assert await cursor.fetchall() == ((7,),)


async def test_error_in_a_procedure_comes_after_its_results(cursor: Cursor) -> None:
    await cursor.execute(
        "CREATE PROCEDURE p () BEGIN SELECT 1; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no'; END"
    )

    await cursor.callproc("p")

    assert await cursor.fetchall() == ((1,),)
    with pytest.raises(err.OperationalError, match="1644, 'no'"):
        await cursor.nextset()


async def test_engine_raises_the_error_of_a_later_statement(
    conn: aiomysqlx.SAConnection,
) -> None:
    await conn.execute("CREATE PROCEDURE p () BEGIN SELECT 1; SELECT * FROM nowhere; END")

    with pytest.raises(err.ProgrammingError, match="1146"):
        await conn.execute("CALL p()")

    assert await conn.scalar("SELECT 1") == 1


# -- the rest


async def test_own_cursor_class_is_made(connect_kwargs: Kwargs) -> None:
    class Own(Cursor):
        pass

    async with aiomysqlx.connect(**connect_kwargs, cursorclass=Own) as connection:
        assert type(await connection.cursor()) is Own
        assert type(await connection.cursor(Cursor)) is Cursor
        with pytest.raises(TypeError, match="subclass of Cursor"):
            await connection.cursor(dict)  # type: ignore[arg-type]


async def test_echo_logs_statements_and_never_values(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "aiomysqlx"):
        async with aiomysqlx.connect(**connect_kwargs, echo=True) as connection:
            cursor = await connection.cursor()
            await cursor.execute("SELECT %s", ("secret",))

    assert "SELECT %s [" in caplog.text
    assert "secret" not in caplog.text
