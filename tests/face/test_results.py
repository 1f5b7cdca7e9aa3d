"""Results: fetching, closing, and what a result knows."""

from __future__ import annotations

import asyncio
import gc
import pickle
import sys
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymysql.constants import CLIENT
from sqlalchemy import (
    JSON,
    LABEL_STYLE_NONE,
    LABEL_STYLE_TABLENAME_PLUS_COL,
    Boolean,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    func,
    select,
    text,
)
from sqlalchemy.exc import MultipleResultsFound, NoResultFound

import aiomysqlx as sa

pytestmark = pytest.mark.server

CLOSED = "This result object is closed."
NO_ROWS = "This result object does not return rows. It has been closed automatically."
METADATA = MetaData()
T = Table("t", METADATA, Column("id", Integer, primary_key=True), Column("name", String(10)))
T2 = Table(
    "t2",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(10)),
    Column("flag", Boolean),
)
KEYED = Table("t", MetaData(), Column("id", Integer, key="ident", primary_key=True))
FETCHES: dict[str, Callable[[sa.ResultProxy], Awaitable[Any]]] = {
    "fetchone": lambda result: result.fetchone(),
    "fetchmany": lambda result: result.fetchmany(2),
    "fetchall": lambda result: result.fetchall(),
    "all": lambda result: result.all(),
    "first": lambda result: result.first(),
    "one": lambda result: result.one(),
    "one_or_none": lambda result: result.one_or_none(),
    "scalar": lambda result: result.scalar(),
    "async-for": lambda result: collect(result),
    "scalars": lambda result: result.scalars().all(),
    "tuples": lambda result: result.tuples().all(),
    "mappings": lambda result: result.mappings().fetchone(),
}


async def collect(rows: AsyncIterator[Any]) -> list[Any]:
    return [row async for row in rows]


@pytest.fixture
async def db(conn: sa.SAConnection) -> sa.SAConnection:
    """The connection, with tables t (three rows) and t2 (two)."""
    await conn.execute("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(10))")
    await conn.execute("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    await conn.execute("CREATE TABLE t2 (id INT PRIMARY KEY, name VARCHAR(10), flag TINYINT)")
    await conn.execute("INSERT INTO t2 VALUES (10, 'x', 1), (20, 'y', 0)")
    await conn.execute("COMMIT")
    return conn


@pytest.fixture
async def result(db: sa.SAConnection) -> sa.ResultProxy:
    """The three rows of t."""
    return await db.execute(T.select().order_by(T.c.id))


async def test_what_a_result_knows(result: sa.ResultProxy, engine: sa.Engine) -> None:
    assert result.keys() == ("id", "name")
    assert (result.rowcount, result.lastrowid, result.returns_rows) == (3, None, True)
    assert not result.closed
    assert isinstance(result.cursor, sa.Cursor)
    assert result.dialect is engine.dialect

    await result.close()
    await result.close()

    assert result.closed and result.cursor is None
    assert result.keys() == ("id", "name")
    assert (result.rowcount, result.lastrowid, result.returns_rows) == (3, None, True)


async def test_what_a_result_without_rows_knows(db: sa.SAConnection) -> None:
    result = await db.execute(T.insert().values(name="d"))

    assert result.keys() == ()
    assert (result.rowcount, result.lastrowid, result.returns_rows) == (1, 4, False)
    assert result.closed and result.cursor is None
    await result.close()


async def test_rowcount_is_of_matched_rows(db: sa.SAConnection) -> None:
    result = await db.execute(T.update().where(T.c.id < 3).values(name="a"))

    assert (result.rowcount, result.lastrowid) == (2, 0)


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
async def test_closed_result_gives_nothing(result: sa.ResultProxy, fetch: Any) -> None:
    await result.close()

    with pytest.raises(sa.ResourceClosedError) as caught:
        await fetch(result)
    assert caught.value.args == (CLOSED,)


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
@pytest.mark.parametrize("sql", ["SET @x = 1", "UPDATE t SET id = 1 WHERE id = 99"])
async def test_result_without_rows_gives_nothing(db: sa.SAConnection, sql: str, fetch: Any) -> None:
    result = await db.execute(sql)

    with pytest.raises(sa.ResourceClosedError) as caught:
        await fetch(result)
    assert caught.value.args == (NO_ROWS,)


GIVE_BACK: dict[str, Callable[[sa.Engine, sa.SAConnection], Awaitable[Any]]] = {
    "release": lambda engine, conn: engine.release(conn),
    "close": lambda _, conn: conn.close(),
    "block": lambda engine, conn: engine._take_back(conn, None),
}


@pytest.mark.parametrize("give_back", GIVE_BACK.values(), ids=GIVE_BACK)
@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
async def test_result_outlives_the_lending_of_its_connection(
    engine: sa.Engine, fetch: Any, give_back: Any
) -> None:
    conn = await engine.acquire()
    before, after = [await conn.execute("SELECT 7 AS a") for _ in range(2)]
    expected = await fetch(before)

    await give_back(engine, conn)

    assert after.keys() == ("a",) and after.rowcount == 1 and not after.closed
    assert await fetch(after) == expected


async def test_result_is_returned_out_of_a_block(engine: sa.Engine) -> None:
    async def rows(sql: str) -> sa.ResultProxy:
        async with engine.acquire() as conn:
            return await conn.execute(sql)

    result = await rows("SELECT 1 UNION SELECT 2")
    async with engine.acquire() as conn:  # the same connection, with another answer
        other = await conn.execute("SELECT 3")

        assert await result.fetchone() == (1,)
        assert await other.fetchall() == [(3,)]
    assert await result.fetchall() == [(2,)] and result.closed
    assert (await rows("DO 1")).rowcount == 0


@pytest.mark.parametrize("taken", ["before", "after"])
async def test_cursor_of_a_result_outlives_the_lending(
    connect_kwargs: dict[str, Any], taken: str
) -> None:
    many = {"client_flag": CLIENT.MULTI_STATEMENTS}
    async with sa.create_engine(**connect_kwargs, **many) as engine:
        async with engine.acquire() as conn:
            result = await conn.execute("SELECT 1 AS a UNION SELECT 2; SELECT 'x' AS b; DO 1")
            cursor = result.cursor if taken == "before" else None
        cursor = cursor or result.cursor
        assert cursor is not None and not cursor.closed

        assert [each[0] for each in cursor.description or ()] == ["a"]
        assert await cursor.fetchall() == ((1,), (2,))
        assert await cursor.nextset()
        assert await result.fetchone() == ("x",)
        assert await cursor.nextset() and await cursor.nextset() is None


@pytest.mark.parametrize(
    "execute",
    {
        "execute": lambda cursor: cursor.execute("SELECT 1"),
        "executemany": lambda cursor: cursor.executemany("INSERT INTO t VALUES (%s)", [1]),
        "callproc": lambda cursor: cursor.callproc("p"),
    }.items(),
    ids=lambda item: item[0],
)
async def test_cursor_executes_nothing_once_its_connection_was_given_back(
    engine: sa.Engine, execute: tuple[str, Callable[[Any], Awaitable[Any]]]
) -> None:
    async with engine.acquire() as conn:
        assert conn.connection is not None
        cursors = [(await conn.execute("SELECT 1")).cursor, await conn.connection.cursor()]

    async with engine.acquire():  # where the next borrower has it
        for cursor in cursors:
            with pytest.raises(sa.ResourceClosedError, match="it has been released"):
                await execute[1](cursor)


async def test_rows_that_were_read_survive_the_loss_of_the_connection(
    result: sa.ResultProxy, db: sa.SAConnection
) -> None:
    assert db.connection is not None
    await db.connection.ensure_closed()

    assert await result.fetchall() == [(1, "a"), (2, "b"), (3, "c")]


async def test_fetchone_closes_after_the_last_row(result: sa.ResultProxy) -> None:
    seen = [(await result.fetchone(), result.closed) for _ in range(4)]

    assert seen == [((1, "a"), False), ((2, "b"), False), ((3, "c"), False), (None, True)]
    with pytest.raises(sa.ResourceClosedError):
        await result.fetchone()


async def test_fetchmany_closes_after_the_last_rows(result: sa.ResultProxy) -> None:
    seen = [(await result.fetchmany(2), result.closed) for _ in range(3)]

    assert seen == [([(1, "a"), (2, "b")], False), ([(3, "c")], False), ([], True)]


async def test_fetchmany_takes_the_cursors_arraysize(result: sa.ResultProxy) -> None:
    assert await result.fetchmany() == [(1, "a")]
    assert result.cursor is not None
    result.cursor.arraysize = 2
    assert await result.fetchmany() == [(2, "b"), (3, "c")]


@pytest.mark.parametrize("size", [sys.maxsize, 1 << 64])
async def test_fetchmany_of_more_than_any_result_has_gives_what_is_left(
    result: sa.ResultProxy, size: int
) -> None:
    await result.fetchone()
    assert await result.fetchmany(size) == [(2, "b"), (3, "c")]


async def test_fetchmany_of_none_gives_none_and_stays_open(result: sa.ResultProxy) -> None:
    assert await result.fetchmany(0) == []
    assert not result.closed


@pytest.mark.parametrize("size", [-1, 1.5, "2", True], ids=["negative", "float", "str", "bool"])
async def test_fetchmany_of_a_wrong_size_is_refused(result: sa.ResultProxy, size: Any) -> None:
    with pytest.raises(sa.ArgumentError, match="expected a number of rows"):
        await result.fetchmany(size)
    assert len(await result.fetchall()) == 3


@pytest.mark.parametrize(
    ("fetch", "expected"),
    [
        pytest.param("fetchall", [(1, "a"), (2, "b"), (3, "c")], id="fetchall"),
        pytest.param("all", [(1, "a"), (2, "b"), (3, "c")], id="all"),
        pytest.param("first", (1, "a"), id="first"),
        pytest.param("scalar", 1, id="scalar"),
    ],
)
async def test_fetches_that_close_at_once(
    result: sa.ResultProxy, fetch: str, expected: Any
) -> None:
    assert await getattr(result, fetch)() == expected
    assert result.closed


async def test_fetchall_gives_a_list_of_rows(result: sa.ResultProxy) -> None:
    rows = await result.fetchall()

    assert type(rows) is list and {type(row) for row in rows} == {sa.RowProxy}


async def test_fetchall_gives_what_is_left(result: sa.ResultProxy) -> None:
    await result.fetchone()

    assert await result.fetchall() == [(2, "b"), (3, "c")]


EMPTY = {
    "fetchone": None,
    "fetchmany": [],
    "fetchall": [],
    "all": [],
    "first": None,
    "one_or_none": None,
    "scalar": None,
    "async-for": [],
    "scalars": [],
    "mappings": None,
}


@pytest.mark.parametrize(("fetch", "expected"), EMPTY.items(), ids=EMPTY)
async def test_empty_result_is_open_until_it_is_fetched(
    db: sa.SAConnection, fetch: str, expected: Any
) -> None:
    result = await db.execute(T.select().where(T.c.id == 99))
    assert not result.closed and result.returns_rows and result.rowcount == 0

    assert await FETCHES[fetch](result) == expected
    assert result.closed


async def test_one(db: sa.SAConnection) -> None:
    assert await (await db.execute(T.select().where(T.c.id == 1))).one() == (1, "a")

    for empty in ("one", "one_or_none"):
        result = await db.execute(T.select())
        with pytest.raises(MultipleResultsFound, match="multiple rows were found"):
            await getattr(result, empty)()
        assert result.closed

    result = await db.execute(T.select().where(T.c.id == 99))
    with pytest.raises(NoResultFound, match="no row was found"):
        await result.one()
    assert result.closed


async def test_async_for_closes_at_its_end(result: sa.ResultProxy) -> None:
    await result.fetchone()

    assert [row.id async for row in result] == [2, 3]
    assert result.closed


async def test_async_for_left_early_stays_open(result: sa.ResultProxy) -> None:
    async for row in result:
        assert row.id == 1
        break

    assert not result.closed
    assert await result.fetchone() == (2, "b")


async def test_scalars(db: sa.SAConnection) -> None:
    async def scalars(*index: Any) -> Any:
        return (await db.execute(T.select().order_by(T.c.id))).scalars(*index)

    assert await (await scalars()).all() == [1, 2, 3]
    assert await (await scalars("name")).fetchall() == ["a", "b", "c"]
    assert await (await scalars(T.c.name)).first() == "a"
    assert await (await scalars(1)).fetchmany(2) == ["a", "b"]
    assert [name async for name in await scalars(1)] == ["a", "b", "c"]
    with pytest.raises(sa.NoSuchColumnError):
        await scalars("nope")
    with pytest.raises(MultipleResultsFound):
        await (await scalars()).one()


async def test_scalar_that_is_null_is_a_row(db: sa.SAConnection) -> None:
    result = await db.execute("SELECT NULL")

    assert await result.scalars().one() is None


async def test_fetchone_of_null_scalars_goes_on(db: sa.SAConnection) -> None:
    result = await db.execute("SELECT NULL AS a UNION ALL SELECT 1")

    assert [value async for value in result.scalars()] == [None, 1]


async def test_tuples_are_no_rows(result: sa.ResultProxy) -> None:
    tuples = result.tuples()

    first = await tuples.fetchone()
    assert first == (1, "a") and type(first) is tuple
    assert [name async for _, name in tuples] == ["b", "c"]
    assert result.closed


async def test_mappings(result: sa.ResultProxy) -> None:
    mappings = result.mappings()

    assert await mappings.fetchone() == {"id": 1, "name": "a"}
    assert [dict(each) async for each in mappings] == [
        {"id": 2, "name": "b"},
        {"id": 3, "name": "c"},
    ]
    assert result.closed


async def test_older_result_outlives_a_newer_statement(
    result: sa.ResultProxy, db: sa.SAConnection
) -> None:
    await db.execute("SELECT 5")

    assert len(await result.fetchall()) == 3


async def test_execute_is_a_block_that_closes(db: sa.SAConnection) -> None:
    async with db.execute(T.select()) as result:
        assert not result.closed

    assert result.closed


async def test_execute_is_iterable(db: sa.SAConnection) -> None:
    execute = db.execute("SELECT id FROM t ORDER BY id")

    assert [row.id async for row in execute] == [1, 2, 3]
    with pytest.raises(RuntimeError, match="already awaited"):
        await collect(execute)
    with pytest.raises(sa.ResourceClosedError):
        await collect(db.execute("SET @x = 1"))


async def test_result_is_no_sequence(result: sa.ResultProxy) -> None:
    for use in (iter, len, lambda each: each[0]):
        with pytest.raises(TypeError):
            use(result)
    with pytest.raises(AttributeError):
        result.rowcount = 1  # type: ignore[misc]


# -- columns ---------------------------------------------------------------------------------------


async def test_columns_of_two_tables_with_the_same_names(db: sa.SAConnection) -> None:
    statement = select(T, T2).where(T.c.id == 1, T2.c.id == 10)
    row = await (await db.execute(statement.set_label_style(LABEL_STYLE_NONE))).one()

    assert row._fields == ("id", "name", "id", "name", "flag")
    assert (row[T.c.id], row[T2.c.id], row[T2.c.name]) == (1, 10, "x")
    assert row.flag is True
    with pytest.raises(sa.InvalidRequestError, match="Ambiguous column name 'id'"):
        _ = row.id
    assert row == (1, "a", 10, "x", True)


async def test_text_join_with_the_same_names(db: sa.SAConnection) -> None:
    row = await (await db.execute("SELECT t.id, t2.id FROM t, t2 WHERE t2.id = 20")).first()
    assert row is not None

    with pytest.raises(sa.InvalidRequestError, match="Ambiguous column name 'id'"):
        _ = row["id"]
    with pytest.raises(sa.InvalidRequestError, match="Ambiguous column name 't.id'"):
        _ = row[T.c.id]


async def test_labels(db: sa.SAConnection) -> None:
    label = T.c.id.label("x")
    row = await (await db.execute(select(label, T.c.name).where(T.c.id == 2))).one()

    assert row._fields == ("x", "name")
    assert row.x == row[label] == row["x"] == 2
    assert "id" not in row


async def test_table_name_labels(db: sa.SAConnection) -> None:
    statement = select(T, T2).where(T.c.id == 1, T2.c.id == 10)
    row = await (await db.execute(statement.set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL))).one()

    assert row._fields == ("t_id", "t_name", "t2_id", "t2_name", "t2_flag")
    assert (row.t_id, row[T.c.id], row[T2.c.id], row.t2_name) == (1, 1, 10, "x")
    assert row.t2_flag is True


async def test_functions_of_the_same_name_keep_apart(db: sa.SAConnection) -> None:
    first, second = func.sum(T.c.id), func.sum(T.c.id * 10)
    row = await (await db.execute(select(first, second))).one()

    assert row == (6, 60)
    assert (row.sum_1, row.sum_2) == (6, 60)
    assert (row[first], row[second]) == (6, 60)


async def test_cached_plan_finds_the_columns_of_the_statement_at_hand(
    db: sa.SAConnection,
) -> None:
    for number in (1, 2, 3):
        total = func.max(T.c.id)
        row = await (await db.execute(select(total).where(T.c.id <= number))).one()

        assert row[total] == number
        assert row[0] == number


async def test_alias_and_its_table_find_the_same_column(db: sa.SAConnection) -> None:
    alias = T.alias()
    row = await (await db.execute(select(alias).where(alias.c.id == 1))).one()

    assert row[alias.c.id] == row[T.c.id] == 1


async def test_column_with_a_key_goes_by_its_name(db: sa.SAConnection) -> None:
    row = await (await db.execute(select(KEYED).where(KEYED.c.ident == 1))).one()

    assert row[KEYED.c.ident] == 1
    assert row._fields == ("id",) and row.id == 1


async def test_duplicated_and_odd_names(db: sa.SAConnection) -> None:
    row = await (await db.execute("SELECT 1 AS a, 2 AS a, 3 AS `keys`, 4 AS `a b`")).one()

    assert list(row) == ["a", "a", "keys", "a b"]
    assert row["keys"] == 3 and callable(row.keys) and row["a b"] == 4
    with pytest.raises(sa.InvalidRequestError):
        _ = row.a


async def test_other_tables_column_of_the_same_name_is_not_found(db: sa.SAConnection) -> None:
    row = await (await db.execute(T.select().where(T.c.id == 1))).one()

    with pytest.raises(sa.NoSuchColumnError):
        row[T2.c.name]


async def test_column_of_a_text_is_found_by_its_name(db: sa.SAConnection) -> None:
    row = await (await db.execute(text("SELECT id, name FROM t WHERE id = 1"))).one()

    assert row[T.c.name] == row["name"]
    assert T.c.id in row
    with pytest.raises(sa.NoSuchColumnError):
        row[T2.c.flag]


async def test_types_of_constructs_text_and_typed_text(db: sa.SAConnection) -> None:
    sql = "SELECT flag FROM t2 ORDER BY id"
    typed = text(sql).columns(flag=Boolean)

    assert await (await db.execute(sql)).scalars().all() == [1, 0]
    values = await (await db.execute(typed)).scalars().all()
    assert [type(value) for value in values] == [bool, bool]


async def test_processor_runs_once_and_its_error_is_the_statements(
    db: sa.SAConnection,
) -> None:
    calls: list[Any] = []

    class Counted(TypeDecorator[str]):
        impl = String
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> Any:
            calls.append(value)
            if value == "c":
                raise ValueError("bad value")
            return value

    counted = Table("t", MetaData(), Column("id", Integer), Column("name", Counted))
    row = await (await db.execute(select(counted.c.name).where(counted.c.id == 1))).one()
    assert (row.name, row.name, calls) == ("a", "a", ["a"])

    with pytest.raises(ValueError, match="bad value"):
        await db.execute(select(counted.c.name))
    assert await db.scalar("SELECT 1") == 1


async def test_rows_of_the_server_are_pickled(result: sa.ResultProxy) -> None:
    rows = await result.fetchall()

    loaded = pickle.loads(pickle.dumps(rows))

    assert loaded == rows and loaded[0].name == "a" and loaded[0][T.c.id] == 1


@pytest.mark.usefixtures("mariadb")
async def test_returning_is_rows(db: sa.SAConnection) -> None:
    statement = T.insert().values(name=bindparam("n")).returning(T.c.id, T.c.name)

    result = await db.execute(statement, {"n": "z"})

    assert result.returns_rows and await result.one() == (4, "z")


# -- the cursor behind a result --------------------------------------------------------------------

STATEMENTS: dict[str, Any] = {
    "construct": T.select().order_by(T.c.id),
    "text": "SELECT id, name FROM t ORDER BY id",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_cursor_of_a_result_gives_tuples(db: sa.SAConnection, statement: Any) -> None:
    for _ in range(3):
        result = await db.execute(statement)
        cursor = result.cursor
        assert cursor is not None and cursor is result.cursor
        assert (cursor.rowcount, cursor.rownumber) == (3, 0)
        assert [each[0] for each in cursor.description or ()] == ["id", "name"]

        fetched = [await cursor.fetchone(), *await cursor.fetchmany(1), *await cursor.fetchall()]

        assert fetched == [(1, "a"), (2, "b"), (3, "c")]
        assert {type(row) for row in fetched} == {tuple}
        assert await cursor.fetchone() is None and await cursor.fetchall() == ()


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_cursor_of_a_result_scrolls(db: sa.SAConnection, statement: Any) -> None:
    cursor = (await db.execute(statement)).cursor
    assert cursor is not None

    await cursor.fetchall()
    await cursor.scroll(1, "absolute")
    assert [row async for row in cursor] == [(2, "b"), (3, "c")]

    await cursor.scroll(-3)
    assert await cursor.fetchone() == (1, "a")


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_result_and_its_cursor_are_at_the_same_row(
    db: sa.SAConnection, statement: Any
) -> None:
    result = await db.execute(statement)
    cursor = result.cursor
    assert cursor is not None

    assert await cursor.fetchone() == (1, "a")
    row = await result.fetchone()
    assert type(row) is sa.RowProxy and row == (2, "b") and cursor.rownumber == 2
    await cursor.scroll(0, "absolute")
    assert await result.fetchall() == [(1, "a"), (2, "b"), (3, "c")]

    assert result.closed and cursor.closed


async def two_results(db: sa.SAConnection) -> sa.ResultProxy:
    """Call a procedure that gives two results."""
    await db.execute("CREATE PROCEDURE two() BEGIN SELECT id FROM t; SELECT id, name FROM t2; END")
    return await db.execute("CALL two()")


async def test_result_gives_the_first_of_several_results(db: sa.SAConnection) -> None:
    result = await two_results(db)

    assert result.keys() == ("id",) and result.rowcount == 3
    assert await result.fetchall() == [(1,), (2,), (3,)]
    assert await db.scalar("SELECT 5") == 5


async def test_cursor_of_a_result_goes_on_to_the_next_one(db: sa.SAConnection) -> None:
    cursor = (await two_results(db)).cursor
    assert cursor is not None

    assert await cursor.fetchall() == ((1,), (2,), (3,))
    assert await cursor.nextset()
    assert [each[0] for each in cursor.description or ()] == ["id", "name"]
    assert await cursor.fetchall() == ((10, "x"), (20, "y"))
    assert await cursor.nextset() and cursor.description is None
    assert await cursor.nextset() is None


async def test_result_goes_on_with_the_results_of_its_cursor(db: sa.SAConnection) -> None:
    result = await two_results(db)
    assert await result.fetchone() == (1,)
    assert result.cursor is not None

    assert await result.cursor.nextset()

    assert await result.fetchall() == [(10, "x"), (20, "y")]


async def test_result_and_cursor_share_the_rows_of_the_next_result(db: sa.SAConnection) -> None:
    result = await two_results(db)
    cursor = result.cursor
    assert cursor is not None and await cursor.nextset()

    row = await result.fetchone()

    assert row is not None and row.name == "x" and row.id == 10
    assert await cursor.fetchall() == ((20, "y"),)


# -- each row once and in order --------------------------------------------------------------------

MIXES = {
    "one-many-all": [("fetchone",), ("fetchmany", 2), ("fetchall",)],
    "many-one-all": [("fetchmany", 3), ("fetchone",), ("fetchall",)],
    "one-one-all": [("fetchone",), ("fetchone",), ("all",)],
    "none-many-many": [("fetchmany", 0), ("fetchmany", 4), ("fetchmany", 100)],
    "one-rest": [("fetchone",), ("rest",)],
    "many-rest": [("fetchmany", 5), ("rest",)],
    "rest": [("rest",)],
    "scalars": [("fetchone",), ("scalars",)],
}


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
@pytest.mark.parametrize("statement", [T.select().order_by(T.c.id), "SELECT * FROM t ORDER BY id"])
async def test_any_mix_of_fetches_gives_each_row_once(
    conn: sa.SAConnection, statement: Any, mix: list[tuple[Any, ...]]
) -> None:
    await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(10))")
    await conn.execute(T.insert(), [{"id": number, "name": f"n{number}"} for number in range(9)])

    for _ in range(3):
        result = await conn.execute(statement)
        ids: list[Any] = []
        for name, *size in mix:
            if name == "rest":
                ids += [row.id async for row in result]
            elif name == "scalars":
                ids += await result.scalars().all()
            else:
                rows = await getattr(result, name)(*size)
                ids += [row.id for row in (rows if isinstance(rows, list) else [rows])]

        assert ids == list(range(9))


@pytest.mark.parametrize(
    ("fetch", "expected"), [("first", (2, "b")), ("scalar", 2)], ids=["first", "scalar"]
)
async def test_first_and_scalar_give_the_first_row_that_is_left(
    result: sa.ResultProxy, fetch: str, expected: Any
) -> None:
    await result.fetchone()

    assert await getattr(result, fetch)() == expected
    assert result.closed


async def test_one_is_of_the_rows_that_are_left(result: sa.ResultProxy) -> None:
    await result.fetchmany(2)

    assert await result.one() == (3, "c")


# -- what is kept ----------------------------------------------------------------------------------


class Kept:
    """A value that can be watched."""


class Watched(TypeDecorator[Any]):
    """A type whose values are objects of Python's, noted in `seen`."""

    impl = Integer
    cache_ok = True
    seen: list[weakref.ref[Kept]] = []  # noqa: RUF012

    def process_result_value(self, value: Any, dialect: Any) -> Kept:
        kept = Kept()
        self.seen.append(weakref.ref(kept))
        return kept


WATCHED = Table("t", MetaData(), Column("id", Watched, primary_key=True))


@pytest.fixture
def alive() -> Callable[[], int]:
    """Count the watched values that are kept."""
    Watched.seen.clear()
    return lambda: sum(reference() is not None for reference in Watched.seen)


async def fetch_all(result: sa.ResultProxy) -> None:
    assert len(await result.fetchall()) == 3


async def fetch_by_one(result: sa.ResultProxy) -> None:
    assert len(await collect(result)) == 3


async def leave(result: sa.ResultProxy) -> None:
    pass


async def fetch_some(result: sa.ResultProxy) -> None:
    assert len(await result.fetchmany(2)) == 2


async def use_the_cursor(result: sa.ResultProxy) -> None:
    assert result.cursor is not None and len(await result.cursor.fetchall()) == 3


USES = {
    "fetched": fetch_all,
    "fetched-by-one": fetch_by_one,
    "fetched-in-part": fetch_some,
    "left-alone": leave,
    "cursor": use_the_cursor,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_idle_connection_keeps_no_rows(
    db: sa.SAConnection, alive: Callable[[], int], use: Callable[[Any], Awaitable[None]]
) -> None:
    gc.disable()
    try:
        for _ in range(3):
            result = await db.execute(WATCHED.select())
            assert alive() == 3
            await use(result)
            del result
            await asyncio.sleep(0)  # the event loop keeps the future that has woken the task

            assert alive() == 0
    finally:
        gc.enable()
    raw = db.connection
    assert raw is not None
    assert (raw.affected_rows(), raw.insert_id(), raw.warning_count) == (3, 0, 0)


async def test_result_that_has_been_fetched_keeps_no_rows(
    db: sa.SAConnection, alive: Callable[[], int]
) -> None:
    result = await db.execute(WATCHED.select())

    rows = await result.fetchall()
    assert alive() == len(rows) == 3
    del rows

    assert alive() == 0 and result.rowcount == 3


async def test_failed_statement_leaves_no_rows(
    db: sa.SAConnection, alive: Callable[[], int]
) -> None:
    failing = select(
        WATCHED.c.id, func.if_(WATCHED.c.id == 3, text("(SELECT 1 UNION SELECT 2)"), 0)
    )
    for _ in range(2):
        with pytest.raises(Exception, match="1242"):
            await db.execute(failing)
        await asyncio.sleep(0)

        gc.collect()
        assert alive() == 0


async def test_counts_outlive_the_result(db: sa.SAConnection) -> None:
    raw = db.connection
    assert raw is not None

    await db.execute(T.insert(), {"name": "d"})
    assert (raw.affected_rows(), raw.insert_id(), raw.warning_count) == (1, 4, 0)

    await (await db.execute(T.select())).fetchall()
    assert (raw.affected_rows(), raw.insert_id(), raw.warning_count) == (4, 0, 0)

    with pytest.warns(Warning, match="Truncated incorrect"):
        await db.scalar("SELECT 1 + 'x'")
    assert (raw.affected_rows(), raw.insert_id(), raw.warning_count) == (1, 0, 1)


async def test_cycle_through_a_row_is_collected(
    db: sa.SAConnection, alive: Callable[[], int]
) -> None:
    for _ in range(3):
        rows = await (await db.execute(WATCHED.select())).fetchall()
        for row in rows:
            row.id.row = row
            row.id.rows = rows
        del rows, row
        gc.collect()

        assert alive() == 0


async def test_cycle_through_a_json_value_is_collected(db: sa.SAConnection) -> None:
    await db.execute("CREATE TABLE j (v LONGTEXT)")
    tbl = Table("j", MetaData(), Column("v", JSON))
    await db.execute(tbl.insert(), [{"v": {"a": [1]}}, {"v": []}])

    for _ in range(3):
        rows = await (await db.execute(tbl.select())).fetchall()
        kept = Kept()
        reference = weakref.ref(kept)
        rows[0].v["row"], rows[0].v["kept"] = rows[0], kept
        rows[1].v.append((rows[1], kept))
        del rows, kept
        gc.collect()

        assert reference() is None
