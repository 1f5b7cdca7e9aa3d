"""Results: fetching, closing, and what a result knows."""

from __future__ import annotations

import pickle
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import (
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


@pytest.mark.parametrize("fetch", FETCHES.values(), ids=FETCHES)
async def test_result_of_a_released_connection_gives_nothing(engine: sa.Engine, fetch: Any) -> None:
    conn = await engine.acquire()
    result = await conn.execute("SELECT 1 UNION SELECT 2")
    engine.release(conn)

    with pytest.raises(sa.ResourceClosedError, match="its connection has been released"):
        await fetch(result)
    assert result.closed


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
