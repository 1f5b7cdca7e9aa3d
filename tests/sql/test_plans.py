"""Statements executed again: their plans are found by identity, their columns by their bytes."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any

import fakes
import pymysql
import pytest
from prepared import prepared
from sqlalchemy import (
    JSON,
    LABEL_STYLE_DISAMBIGUATE_ONLY,
    LABEL_STYLE_NONE,
    Boolean,
    Column,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    Interval,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    bindparam,
    column,
    delete,
    func,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    select,
    table,
    text,
    update,
)
from sqlalchemy import types as sqltypes
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql

import aiomysqlx
from aiomysqlx.sql import planner as statement_module
from aiomysqlx.sql.plan import Plan, result_columns
from aiomysqlx.sql.planner import PLANS, Planner, planner_for
from aiomysqlx.wire._impl import execute

Conn = aiomysqlx.SAConnection
Create = Callable[..., Awaitable[None]]
Fetch = Callable[..., Awaitable[list[Any]]]

on_server = pytest.mark.server
ROUNDS = 4  # the first two executions of a statement are not yet the later ones'

users = Table(
    "users",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(50)),
    Column("age", Integer),
)
u = users.c
wide = Table(
    "wide",
    MetaData(),
    Column("id", Integer, primary_key=True),
    *(Column(f"c{number}", Integer) for number in range(20)),
)


@pytest.fixture
async def filled(create: Create, conn: Conn) -> None:
    """The table `users` with three rows."""
    await create(users)
    await conn.execute(users.insert(), [(1, "ann", 30), (2, "bob", None), (3, "cid", 20)])


@pytest.fixture
def planner() -> Planner:
    """A planner of its own, which needs no server."""
    return Planner(MySQLDialect_pymysql(paramstyle="pyformat"), "11.4.2-MariaDB", False)


def plan(planner: Planner, statement: Any, parameters: Any = None, many: bool = False) -> Plan:
    """Give the plan of one execution, as a connection asks for it."""
    return planner.plan(statement, parameters, many, planner.known(statement))[0]


def test_long_definitions_are_not_remembered(planner: Planner) -> None:
    one = plan(planner, select(u.id))
    short, long = (fakes.packets(*[fakes.column(b"x" * 250)] * number) for number in (200, 240))
    assert len(short) < 1 << 16 < len(long)

    assert one.describe(short, "utf-8") is one.describe(short, "utf-8")
    assert one.describe(long, "utf-8") is not one.describe(long, "utf-8")


def refuse(*_: Any) -> Any:
    pytest.fail("what is known was looked at again")


# -- the memo --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        pytest.param(select(u.id).where(u.id == bindparam("x")), {"x": 1}, id="select"),
        pytest.param(select(u.id).where(u.id == 1), None, id="literal"),
        pytest.param(insert(users), {"id": 1}, id="insert"),
        pytest.param(update(users).where(u.id == bindparam("x")), {"x": 1, "age": 2}, id="update"),
        pytest.param(delete(users).where(u.id == bindparam("x")), {"x": 1}, id="delete"),
    ],
)
def test_statement_executed_before_needs_no_cache_key(
    planner: Planner, statement: Any, parameters: Any
) -> None:
    first = plan(planner, statement, parameters)
    plan(planner, statement, parameters)
    vars(statement)["_generate_cache_key"] = refuse

    assert plan(planner, statement, parameters) is first


def test_statement_alike_is_not_the_same(planner: Planner) -> None:
    one, two = (select(u.id).where(u.id == value) for value in (1, 2))
    for _ in range(ROUNDS):
        plan(planner, one)

    assert planner.known(two) is None
    _, extracted, _ = planner.plan(two, None)
    assert extracted is not None and [bind.value for bind in extracted] == [2]


def test_statement_executed_once_is_not_kept(planner: Planner) -> None:
    plan(planner, select(u.id).where(u.id == 1))
    statement = select(u.id).where(u.id == 2)
    reference = weakref.ref(statement)

    plan(planner, statement)
    del statement
    gc.collect()

    assert reference() is None


def test_memo_does_not_outgrow_its_bound(planner: Planner) -> None:
    statements = [select(literal(number)) for number in range(PLANS + 50)]

    for statement in statements:
        for _ in range(3):
            plan(planner, statement)

    assert len(planner._known) == PLANS


def test_memo_filled_from_every_side_does_not_outgrow_its_bound(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statement_module, "PLANS", 4)
    statements = [insert(users).values(age=number) for number in range(6)]

    for _ in range(3):
        for statement in statements:
            plan(planner, statement, {"id": 1})
            planner.plan(statement, {"id": 1}, many=True)
            planner.plan(statement, {"id": 1, "name": "x"})

            assert len(planner._known) <= 4


def test_evicted_statement_is_let_go(planner: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement_module, "PLANS", 4)
    plan(planner, select(u.id).where(u.id == 0))  # the plan keeps the first statement of its kind
    statement = select(u.id).where(u.id == 1)
    reference = weakref.ref(statement)
    for _ in range(3):
        plan(planner, statement)
    del statement
    assert reference() is not None

    others = [select(u.id).where(u.id == number) for number in range(4)]
    for other in others * 2:
        plan(planner, other)
    gc.collect()

    assert reference() is None


def test_plans_of_one_statement_are_bounded(planner: Planner) -> None:
    statement = insert(wide)

    for _ in range(2):
        for number in range(100):
            plan(planner, statement, {f"c{number % 20}": 1, f"c{number // 20}": 2})

    known = planner.known(statement)
    assert known is not None and 0 < len(known.plans) <= 16


def test_plan_depends_on_the_keys_and_on_how_many_there_are(planner: Planner) -> None:
    statement = insert(wide)
    groups: list[tuple[Any, bool]] = [
        (None, False),
        (None, True),
        ({"c1": 1}, False),
        ({"c1": 1}, True),
        ({"c1": 1, "c2": 2}, False),
        ({"c2": 2}, False),
    ]

    first = [plan(planner, statement, *group).sql for group in groups]
    again = [plan(planner, statement, *group).sql for _ in range(3) for group in groups]

    assert again == first * 3
    assert [sql.count("%(c") for sql in first] == [0, 0, 1, 1, 2, 1]


def test_name_that_is_none_is_refused_by_a_known_statement_too(planner: Planner) -> None:
    statement = insert(users)
    for _ in range(ROUNDS):
        plan(planner, statement, {"id": 1})

    with pytest.raises(aiomysqlx.ArgumentError, match="expected a parameter's name as str, got 1"):
        plan(planner, statement, {1: 1})


def test_statement_without_a_cache_key_is_never_known(planner: Planner) -> None:
    class Uncached(TypeDecorator[int]):
        impl = Integer
        cache_ok = False

    statement = select(column("a", Uncached()))

    for _ in range(ROUNDS):
        plan(planner, statement)

    assert planner.known(statement) is None


def test_dialects_do_not_share_what_they_know(planner: Planner) -> None:
    statement = select(u.id)
    for _ in range(ROUNDS):
        plan(planner, statement)
    other = planner_for(MySQLDialect_pymysql(paramstyle="pyformat"), "8.4.0", False)

    assert other.known(statement) is None
    assert plan(other, statement) is not plan(planner, statement)


# -- executed again --------------------------------------------------------------------------------


@on_server
@pytest.mark.usefixtures("filled")
async def test_each_execution_takes_its_own_values(conn: Conn) -> None:
    statement = select(u.name).where(u.id == bindparam("x"))

    names = [await conn.scalar(statement, x=x) for x in (1, 2, 3, 9, 1, 2, 3)]

    assert names == ["ann", "bob", "cid", None, "ann", "bob", "cid"]


@on_server
@pytest.mark.usefixtures("filled")
async def test_value_of_the_statement_stands_in_when_none_is_given(conn: Conn) -> None:
    statement = select(u.name).where(u.id == bindparam("x", 2))

    for _ in range(ROUNDS):
        assert [await conn.scalar(statement, x=3), await conn.scalar(statement)] == ["cid", "bob"]


@on_server
@pytest.mark.usefixtures("filled")
async def test_missing_value_is_asked_for_at_every_execution(conn: Conn) -> None:
    statement = select(u.name).where(u.id == bindparam("x"))

    for _ in range(ROUNDS):
        assert await conn.scalar(statement, x=1) == "ann"
        with pytest.raises(aiomysqlx.ArgumentError, match="'x'"):
            await conn.execute(statement)


@on_server
@pytest.mark.usefixtures("filled")
async def test_params_of_a_statement_keep_apart(conn: Conn) -> None:
    base = select(u.name).where(u.id == bindparam("x"))
    two, three = base.params(x=2), base.params(x=3)

    for _ in range(ROUNDS):
        assert await conn.scalar(two) == "bob"
        assert await conn.scalar(two, x=1) == "ann"
        assert await conn.scalar(three) == "cid"
        assert await conn.scalar(base, x=1) == "ann"
        assert await conn.scalar(base.params(x=1)) == "ann"


@on_server
@pytest.mark.usefixtures("filled")
async def test_literals_of_statements_alike_keep_apart(conn: Conn) -> None:
    statements = [select(u.name).where(u.id == number) for number in (1, 2, 3)]

    for _ in range(ROUNDS):
        assert [await conn.scalar(each) for each in statements] == ["ann", "bob", "cid"]


@on_server
@pytest.mark.usefixtures("filled")
async def test_list_may_change_its_length(fetch: Fetch) -> None:
    statement = select(u.id).where(u.id.in_(bindparam("ids", expanding=True))).order_by(u.id)

    for ids in ([1], [1, 2, 3], [], [3, 2], [2], [9], [], list(range(100)), [1]):
        assert await fetch(statement, ids=ids) == [(i,) for i in sorted(ids) if 1 <= i <= 3]


@on_server
async def test_callable_is_called_at_every_execution(conn: Conn) -> None:
    numbers = count(1)
    statement = select(bindparam("x", callable_=lambda: next(numbers), type_=Integer))

    assert [await conn.scalar(statement) for _ in range(ROUNDS)] == [1, 2, 3, 4]
    assert await conn.scalar(statement, x=99) == 99
    assert await conn.scalar(statement) == 5


@on_server
async def test_callable_default_is_called_at_every_execution(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    numbers = count(1)
    tbl = Table("d", MetaData(), Column("n", Integer, default=lambda: next(numbers)))
    await create(tbl)
    statement = tbl.insert()

    for _ in range(ROUNDS):
        await conn.execute(statement)
        await conn.execute(statement, [{}, {}])

    assert await fetch(select(tbl).order_by(tbl.c.n)) == [(n,) for n in range(1, 13)]


@on_server
async def test_insert_writes_the_columns_at_hand_whatever_it_wrote_before(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    await create(wide)
    statement = wide.insert()
    ids = count(1)
    written: dict[int, tuple[str, ...]] = {}

    for _ in range(3):
        for number in (*range(20), 0):
            for names in ((f"c{number}",), (f"c{number}", f"c{(number + 1) % 20}")):
                written[row_id := next(ids)] = names
                await conn.execute(statement, {"id": row_id, **dict.fromkeys(names, row_id)})

    for row in await fetch(select(wide)):
        present = {name for name in row if name != "id" and row[name] is not None}
        assert present == set(written[row.id])
        assert {row[name] for name in present} == {row.id}
    assert len(written) == 126


@on_server
async def test_update_writes_the_columns_at_hand_whatever_it_wrote_before(
    conn: Conn, create: Create
) -> None:
    await create(wide)
    await conn.execute(wide.insert(), {"id": 1})
    statement = wide.update().where(wide.c.id == bindparam("key"))
    expected: dict[str, Any] = {f"c{number}": None for number in range(20)}

    for turn in range(3):
        for number in (*range(20), 0):
            change = {f"c{number}": 100 * turn + number}
            expected.update(change)
            await conn.execute(statement, {"key": 1, **change})

            row = await (await conn.execute(wide.select())).one()
            assert {name: row[name] for name in expected} == expected


@on_server
async def test_order_of_the_keys_does_not_matter(conn: Conn, create: Create, fetch: Fetch) -> None:
    await create(wide)
    statement = wide.insert()

    for number in range(1, 2 * ROUNDS, 2):
        await conn.execute(statement, {"id": number, "c1": 1, "c2": 2})
        await conn.execute(statement, {"c2": 2, "c1": 1, "id": number + 1})

    assert await fetch(select(wide.c.c1, wide.c.c2).distinct()) == [(1, 2)]


@on_server
@pytest.mark.usefixtures("filled")
async def test_one_and_many_take_turns(conn: Conn, fetch: Fetch) -> None:
    add, change = users.insert(), users.update().where(u.id == bindparam("key"))
    ids = count(10)

    for number in range(ROUNDS):
        await conn.execute(add, {"id": next(ids), "name": "one"})
        await conn.execute(add, [{"id": next(ids), "name": "many"} for _ in range(3)])
        await conn.execute(add, {"id": next(ids), "age": 7})
        await conn.execute(change, {"key": 1, "age": number})
        await conn.execute(change, [{"key": 2, "age": number}, {"key": 3, "age": -number}])

        assert await fetch(select(u.age).where(u.id < 4).order_by(u.id)) == [
            (number,),
            (number,),
            (-number,),
        ]
    counted = select(u.name, u.age, func.count()).where(u.id > 9).group_by(u.name, u.age)
    assert await fetch(counted.order_by(u.name)) == [
        (None, 7, ROUNDS),
        ("many", None, 3 * ROUNDS),
        ("one", None, ROUNDS),
    ]


@on_server
@pytest.mark.usefixtures("mariadb", "filled")
async def test_insert_in_order_gives_its_rows_one_or_many(fetch: Fetch) -> None:
    statement = insert(users).returning(u.id, u.name, sort_by_parameter_order=True)
    ids = count(10)

    for _ in range(ROUNDS):
        one = next(ids)
        assert await fetch(statement, {"id": one, "name": "x"}) == [(one, "x")]
        many = [{"id": next(ids), "name": str(number)} for number in range(3)]
        assert await fetch(statement, many) == [(each["id"], each["name"]) for each in many]


@on_server
async def test_statement_is_compiled_for_each_dialect(connect_kwargs: dict[str, Any]) -> None:
    class Shouting(sqltypes.String):
        def result_processor(self, dialect: Any, coltype: Any) -> Any:
            return lambda value: value.upper()

    class ShoutingDialect(MySQLDialect_pymysql):
        colspecs = {**MySQLDialect_pymysql.colspecs, sqltypes.String: Shouting}  # noqa: RUF012
        supports_statement_cache = True

    statement = select(literal("abc", String(3)))
    loud = ShoutingDialect(paramstyle="pyformat")

    async with (
        aiomysqlx.create_engine(**connect_kwargs) as engine,
        aiomysqlx.create_engine(**connect_kwargs, dialect=loud) as other,
        engine.acquire() as conn,
        other.acquire() as other_conn,
    ):
        for _ in range(ROUNDS):
            assert await conn.scalar(statement) == "abc"
            assert await other_conn.scalar(statement) == "ABC"


@on_server
async def test_statement_reads_the_database_of_its_connection(
    admin: pymysql.Connection[Any],
    connect_kwargs: dict[str, Any],
    database: str,
    other_database: str,
    engine: aiomysqlx.Engine,
) -> None:
    with admin.cursor() as cursor:
        for schema, type_, value in ((database, "TEXT", "'x'"), (other_database, "INT", "7")):
            cursor.execute(f"CREATE TABLE {schema}.users (id INT, name {type_})")
            cursor.execute(f"INSERT INTO {schema}.users VALUES (1, {value})")
    statement = select(u.name).where(u.id == bindparam("x"))

    async with (
        aiomysqlx.create_engine(**{**connect_kwargs, "db": other_database}) as other,
        engine.acquire() as conn,
        other.acquire() as other_conn,
    ):
        for _ in range(ROUNDS):
            assert await conn.scalar(statement, x=1) == "x"
            assert await other_conn.scalar(statement, x=1) == 7


@on_server
async def test_value_is_escaped_for_the_mode_at_hand(conn: Conn) -> None:
    statement = select(bindparam("x", type_=String))
    value = "a\\' OR \"1\" = '1"

    for _ in range(ROUNDS):
        for mode in ("NO_BACKSLASH_ESCAPES", ""):
            await conn.execute(f"SET sql_mode = '{mode}'")

            assert await conn.scalar(statement, x=value) == value


@on_server
async def test_literal_is_escaped_for_the_mode_at_hand(conn: Conn, create: Create) -> None:
    await create(users)
    await conn.execute(users.insert(), {"id": 1, "name": "100%"})
    statement = select(u.id).where(u.name.contains("%", autoescape=True))

    for _ in range(ROUNDS):
        for mode in ("NO_BACKSLASH_ESCAPES", ""):
            await conn.execute(f"SET sql_mode = '{mode}'")

            assert await conn.scalar(statement) == 1


@pytest.fixture
def tenants(admin: pymysql.Connection[Any], database: str, other_database: str) -> list[Any]:
    """The schema_translate_maps of two tenants, whose tables hold 0 and 1."""
    with admin.cursor() as cursor:
        for number, schema in enumerate((database, other_database)):
            cursor.execute(f"CREATE TABLE {schema}.t (a INT)")
            cursor.execute(f"INSERT INTO {schema}.t VALUES ({number})")
    return [{"tenant": database}, {"tenant": other_database}]


tenanted = Table("t", MetaData(schema="tenant"), Column("a", Integer))


@on_server
async def test_schema_translate_maps_keep_apart(tenants: list[Any], conn: Conn) -> None:
    statement = tenanted.select()
    statements = [statement.execution_options(schema_translate_map=each) for each in tenants]

    for _ in range(ROUNDS):
        assert [await conn.scalar(each) for each in statements] == [0, 1]


@on_server
async def test_schema_translate_map_may_change(tenants: list[Any], conn: Conn) -> None:
    translate: dict[str | None, str | None] = {}
    statement = tenanted.select().execution_options(schema_translate_map=translate)

    for _ in range(ROUNDS):
        for number, tenant in enumerate(tenants):
            translate.update(tenant)

            assert await conn.scalar(statement) == number


@on_server
async def test_schema_translate_map_may_be_empty_at_first(tenants: list[Any], conn: Conn) -> None:
    translate: dict[str | None, str | None] = {}
    tbl = Table("t", MetaData(), Column("a", Integer))
    statement = tbl.select().execution_options(schema_translate_map=translate)
    for _ in range(ROUNDS):
        assert await conn.scalar(statement) == 0

    translate[None] = tenants[1]["tenant"]

    for _ in range(ROUNDS):
        assert await conn.scalar(statement) == 1


@on_server
async def test_enums_of_statements_alike_keep_apart(conn: Conn) -> None:
    statements = [select(literal(name, Enum(name))) for name in ("a", "b")]

    for _ in range(ROUNDS):
        assert [await conn.scalar(statement) for statement in statements] == ["a", "b"]


@on_server
async def test_statements_beyond_the_bound_still_give_their_own_rows(conn: Conn) -> None:
    statements = [
        select(literal(number), literal(-number).label(f"c{number}"))
        for number in range(PLANS + 20)
    ]

    for first, last in ((0, 3), (0, len(statements)), (0, len(statements)), (0, 30)):
        for number, statement in enumerate(statements[first:last]):
            row = await (await conn.execute(statement)).one()

            assert row == (number, -number)
            assert row[f"c{number}"] == -number


@on_server
async def test_statement_that_takes_the_place_of_a_dead_one_gives_its_own_rows(conn: Conn) -> None:
    shapes: list[Callable[[int], Any]] = [
        lambda number: select(literal(number).label("a")),
        lambda number: select(literal(str(number)).label("b"), literal(1).label("a")),
        lambda number: select(literal(number).label("c"), literal(2), literal(3)),
        lambda number: text("SELECT :x AS d").bindparams(x=number),
    ]
    expected: list[Callable[[int], tuple[Any, ...]]] = [
        lambda number: (number,),
        lambda number: (str(number), 1),
        lambda number: (number, 2, 3),
        lambda number: (number,),
    ]
    planner = conn._choose_planner(conn._open())

    for number in range(200):
        statement = shapes[number % 4](number)
        for _ in range(3):
            row = await (await conn.execute(statement)).one()

            assert row == expected[number % 4](number)
            assert row._fields[0] == "abcd"[number % 4]
        del statement
        if number % 50 == 0:
            # As if others had come in between: nothing of the dead is left but what it may leave.
            planner._known.clear()
            gc.collect()


@on_server
@pytest.mark.usefixtures("filled")
async def test_users_cache_and_the_memo_agree(engine: aiomysqlx.Engine, conn: Conn) -> None:
    cached = Conn(conn.connection, engine, compiled_cache={})  # type: ignore[arg-type]
    by_id = select(u.name).where(u.id == bindparam("x"))
    literally = select(u.name).where(u.id == 2)
    add = users.insert()
    ids = count(10)

    for _ in range(ROUNDS):
        for each in (conn, cached):
            assert [await each.scalar(by_id, x=x) for x in (1, 3)] == ["ann", "cid"]
            assert await each.scalar(literally) == "bob"
            for parameters in ({"name": "x"}, {"name": "y", "age": 1}):
                key = next(ids)
                await each.execute(add, {"id": key, **parameters})
                row = await (await each.execute(users.select().where(u.id == key))).one()
                assert row == (key, parameters["name"], parameters.get("age"))


# -- columns ---------------------------------------------------------------------------------------


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The column definitions that were looked at."""
    seen: list[bytes] = []

    def recorded(compiled: Any, statement: Any, raw: bytes, *reading: Any) -> Any:
        seen.append(raw)
        return result_columns(compiled, statement, raw, *reading)

    monkeypatch.setattr("aiomysqlx.sql.plan.result_columns", recorded)
    return seen


@on_server
@pytest.mark.usefixtures("filled")
async def test_columns_that_come_again_are_not_looked_at(
    conn: Conn, fetch: Fetch, described: list[bytes]
) -> None:
    tbl = Table("users", MetaData(), Column("id", Integer), Column("name", String(50)))
    statement = tbl.select().where(tbl.c.id == bindparam("x"))

    rows = [await fetch(statement, x=x) for x in (1, 2, 9, 1)]

    assert rows == [[(1, "ann")], [(2, "bob")], [], [(1, "ann")]]
    assert len(described) == 1


ALTERED = [
    pytest.param("MODIFY age VARCHAR(10)", ("id", "name", "age"), (1, "ann", "30"), id="type"),
    pytest.param("MODIFY name VARBINARY(50)", ("id", "name", "age"), (1, b"ann", 30), id="bytes"),
    pytest.param("MODIFY age DECIMAL(10, 2)", ("id", "name", "age"), (1, "ann", 30), id="decimal"),
    pytest.param("MODIFY age BIGINT NOT NULL", ("id", "name", "age"), (1, "ann", 30), id="wider"),
    pytest.param("CHANGE name nom VARCHAR(50)", ("id", "nom", "age"), (1, "ann", 30), id="renamed"),
    pytest.param("ADD z INT DEFAULT 5", ("id", "name", "age", "z"), (1, "ann", 30, 5), id="added"),
    pytest.param("DROP name", ("id", "age"), (1, 30), id="dropped"),
    pytest.param(
        "CONVERT TO CHARACTER SET latin1", ("id", "name", "age"), (1, "ann", 30), id="charset"
    ),
]


@on_server
@pytest.mark.parametrize(("change", "names", "row"), ALTERED)
@pytest.mark.usefixtures("filled")
async def test_columns_of_a_text_may_change(
    conn: Conn, fetch: Fetch, change: str, names: tuple[str, ...], row: tuple[Any, ...]
) -> None:
    await conn.execute(users.delete().where(u.id > 1))
    statement = text("SELECT * FROM users")
    for _ in range(3):
        (before,) = await fetch(statement)
        assert before == (1, "ann", 30)

    await conn.execute(f"ALTER TABLE users {change}")

    for _ in range(3):
        result = await conn.execute(statement)
        assert result.keys() == names
        (after,) = await result.fetchall()
        assert after == row
        assert [after[name] for name in names] == list(row)


@on_server
@pytest.mark.usefixtures("filled")
async def test_type_of_a_column_may_change_back_and_forth(conn: Conn) -> None:
    statement = select(u.age).where(u.id == 1)

    for type_, value in [("VARCHAR(10)", "30"), ("INT", 30)] * 2:
        await conn.execute(f"ALTER TABLE users MODIFY age {type_}")
        for _ in range(3):
            assert await conn.scalar(statement) == value


@on_server
async def test_fused_processor_follows_the_type_of_the_column(conn: Conn, create: Create) -> None:
    tbl = Table("f", MetaData(), Column("yes", Boolean))
    await create(tbl)
    await conn.execute(tbl.insert(), {"yes": True})
    statement = tbl.select()

    for type_ in ("TINYINT", "BIGINT", "TINYINT"):
        await conn.execute(f"ALTER TABLE f MODIFY yes {type_}")
        for _ in range(3):
            assert await conn.scalar(statement) is True


@on_server
async def test_binary_rows_are_processed_as_text_is(
    conn: Conn, create: Create, planner: Planner, connect_kwargs: dict[str, Any]
) -> None:
    numbers = [Numeric(10, 2, asdecimal=False), Numeric(10, 2), Float(), Float(asdecimal=True)]
    kinds = [Boolean(), *numbers, Double(), DateTime(), String(9), JSON(), Interval()]
    tbl = Table("f", MetaData(), *(Column(f"c{at}", kind) for at, kind in enumerate(kinds)))
    await create(tbl)
    now = datetime(2020, 1, 1)
    values = [True, 1.25, Decimal("1.5"), 0.1, Decimal("0.1"), 1 / 3, now, "é", [1], timedelta(1)]
    async with conn.begin():
        await conn.execute(tbl.insert(), dict(zip(tbl.c.keys(), values, strict=True)))
        await conn.execute(tbl.insert(), {"c0": None})
    one = plan(planner, tbl.select())
    connect_kwargs["database"] = connect_kwargs.pop("db")

    with prepared(**connect_kwargs, charset="utf8mb4") as session:
        describe = partial(result_columns, one.compiled, one.statement)
        sql = str(one.compiled)
        statement = session.prepare(sql)
        text = session.text(sql, describe=describe)
        binary = session.send(execute(statement, (), "utf8", 0), describe=describe)

    assert repr(binary) == repr(text)
    assert [type(value) for value in binary[0][:4]] == [bool, float, Decimal, float]
    assert binary[1][0] is None


@on_server
async def test_statement_is_decoded_in_the_charset_of_its_connection(
    connect_kwargs: dict[str, Any],
) -> None:
    statement = select(bindparam("x", type_=String).label("é"), literal_column("'ü'"))

    async with (
        aiomysqlx.create_engine(**connect_kwargs, charset="utf8mb4") as engine,
        aiomysqlx.create_engine(**connect_kwargs, charset="latin1") as other,
        engine.acquire() as conn,
        other.acquire() as other_conn,
    ):
        for _ in range(ROUNDS):
            for each in (conn, other_conn):
                row = await (await each.execute(statement, x="né")).one()

                assert row == ("né", "ü") and row["é"] == "né"


@on_server
async def test_statement_follows_a_change_of_the_charset(conn: Conn) -> None:
    statement = select(bindparam("x", type_=String).label("é"))
    assert conn.connection is not None

    for _ in range(ROUNDS):
        for charset in ("latin1", "utf8mb4", "gbk"):
            await conn.connection.set_charset(charset)
            row = await (await conn.execute(statement, x="é")).one()

            assert row == ("é",) and row._fields == ("é",)


@on_server
async def test_results_of_a_call_are_told_apart(conn: Conn) -> None:
    await conn.execute(
        "CREATE PROCEDURE p() BEGIN SELECT 1 AS a, 'x' AS b; SELECT 'y' AS c; SELECT 2 AS d; END"
    )
    statement = text("CALL p()")

    for _ in range(ROUNDS):
        result = await conn.execute(statement)
        cursor = result.cursor
        assert cursor is not None and result.keys() == ("a", "b")
        assert [await cursor.fetchall()] == [((1, "x"),)]
        assert await cursor.nextset() and await cursor.fetchall() == (("y",),)
        assert await cursor.nextset() and await cursor.fetchall() == ((2,),)


@on_server
async def test_first_result_of_a_call_may_change(conn: Conn) -> None:
    await conn.execute(
        "CREATE PROCEDURE p(n INT)"
        " BEGIN IF n = 1 THEN SELECT 1 AS a; SELECT 'x' AS b; ELSEIF n = 2 THEN SELECT 'x' AS b;"
        " END IF; END"
    )
    statement = text("CALL p(:n)")

    for _ in range(ROUNDS):
        row = await (await conn.execute(statement, n=1)).one()
        assert row == (1,) and row.a == 1
        row = await (await conn.execute(statement, n=2)).one()
        assert row == ("x",) and row.b == "x"
        result = await conn.execute(statement, n=3)
        assert not result.returns_rows and result.closed


@on_server
async def test_error_of_the_server_leaves_a_known_statement_usable(conn: Conn) -> None:
    one_or_error = text("SELECT (SELECT a FROM (SELECT 1 a UNION SELECT :x) t) AS n")

    for _ in range(ROUNDS):
        assert await conn.scalar(one_or_error, x=1) == 1
        with pytest.raises(pymysql.err.OperationalError, match="1242"):
            await conn.execute(one_or_error, x=2)


@on_server
@pytest.mark.usefixtures("filled")
async def test_rows_of_nulls_and_no_rows_take_turns(fetch: Fetch) -> None:
    statement = select(u.age, u.age).where(u.id == bindparam("x"))

    for _ in range(ROUNDS):
        assert await fetch(statement, x=2) == [(None, None)]
        assert await fetch(statement, x=9) == []
        assert await fetch(statement, x=1) == [(30, 30)]


@on_server
async def test_many_columns_are_those_of_the_statement(conn: Conn) -> None:
    names = [f"c{number}" for number in range(600)]
    statement = select(*(literal(number).label(name) for number, name in enumerate(names)))

    for _ in range(3):
        row = await (await conn.execute(statement)).one()
        assert row.as_tuple() == tuple(range(600)) and row._fields == tuple(names)


# -- processors ------------------------------------------------------------------------------------

spoken: ContextVar[str] = ContextVar("spoken")


class InContext(TypeDecorator[str]):
    """A type that sees what surrounds the caller."""

    impl = String(20)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str:
        return f"{spoken.get('nothing')}:{value}"


class OnceText(sqltypes.UserDefinedType[Any]):
    """A type that sees it too, but only where the column is text."""

    cache_ok = True

    def get_col_spec(self, **kwargs: Any) -> str:
        return "INT"

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        if coltype == pymysql.constants.FIELD_TYPE.LONG:
            return None
        return lambda value: f"{spoken.get('nothing')}:{value}"


@on_server
async def test_processor_sees_the_callers_context_at_every_execution(conn: Conn) -> None:
    statement = select(literal("x", InContext))

    for word in ("a", "b", "c", "d"):
        spoken.set(word)

        assert await conn.scalar(statement) == f"{word}:x"


@on_server
async def test_processor_of_changed_columns_sees_the_callers_context(
    conn: Conn, create: Create
) -> None:
    tbl = Table("o", MetaData(), Column("v", OnceText))
    await create(tbl)
    await conn.execute("INSERT INTO o VALUES (5)")
    statement = tbl.select()
    spoken.set("said")
    for _ in range(3):
        assert await conn.scalar(statement) == 5

    await conn.execute("ALTER TABLE o MODIFY v VARCHAR(5)")

    assert await conn.scalar(statement) == "said:5"


class Counted(TypeDecorator[int]):
    """A type that counts how often it processes, and raises at one value."""

    impl = Integer
    cache_ok = True
    calls = 0

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        type(self).calls += 1
        if value == 13:
            raise LookupError("thirteen")
        return value


@on_server
async def test_processor_runs_once_for_each_value(conn: Conn, create: Create) -> None:
    tbl = Table("n", MetaData(), Column("n", Counted))
    await create(tbl)
    await conn.execute(tbl.insert(), [{"n": number} for number in range(10)])
    Counted.calls = 0

    for _ in range(ROUNDS):
        rows = await (await conn.execute(tbl.select())).fetchall()
        assert [row.n + row["n"] + row[0] for row in rows] == [3 * n for n in range(10)]

    assert Counted.calls == 10 * ROUNDS


@on_server
async def test_processor_that_raises_among_the_rows_leaves_the_connection_usable(
    conn: Conn, create: Create
) -> None:
    tbl = Table("n", MetaData(), Column("n", Counted))
    await create(tbl)
    await conn.execute(tbl.insert(), [{"n": number} for number in range(30)])
    statement = tbl.select().where(tbl.c.n < bindparam("most")).order_by(tbl.c.n)

    for _ in range(ROUNDS):
        with pytest.raises(LookupError, match="thirteen"):
            await conn.execute(statement, most=30)
        assert await (await conn.execute(statement, most=3)).fetchall() == [(0,), (1,), (2,)]


# -- lightweight constructs ------------------------------------------------------------------------


@on_server
@pytest.mark.usefixtures("filled")
async def test_lightweight_tables_are_known_by_identity_too(conn: Conn, fetch: Fetch) -> None:
    light = [table("users", column("id"), column(name)) for name in ("name", "age")]
    statements = [each.select().where(each.c.id == 1) for each in light]

    for _ in range(ROUNDS):
        assert await fetch(statements[0]) == [(1, "ann")]
        assert await fetch(statements[1]) == [(1, 30)]


@on_server
@pytest.mark.usefixtures("filled")
async def test_lambda_statements_take_what_they_close_over(conn: Conn) -> None:
    def by_id(x: int) -> Any:
        return lambda_stmt(lambda: select(u.name).where(u.id == x))

    kept = by_id(2)

    for _ in range(ROUNDS):
        assert [await conn.scalar(by_id(x)) for x in (1, 3)] == ["ann", "cid"]
        assert await conn.scalar(kept) == "bob"


# -- statements alike ------------------------------------------------------------------------------

nodes = Table(
    "nodes", MetaData(), Column("id", Integer, primary_key=True), Column("parent", Integer)
)


@pytest.fixture
async def parent_and_child(create: Create, conn: Conn) -> None:
    """The table `nodes` with a row and its parent."""
    await create(nodes)
    await conn.execute(nodes.insert(), [{"id": 1, "parent": 2}, {"id": 2, "parent": None}])


def pair() -> tuple[Any, Any, Any]:
    """Give the same SELECT each time, of columns of its own: a node and its parent."""
    child, parent = nodes.alias(), nodes.alias()
    statement = select(child.c.id, parent.c.id).where(child.c.parent == parent.c.id)
    return statement, child, parent


@on_server
@pytest.mark.usefixtures("parent_and_child")
@pytest.mark.parametrize("style", [LABEL_STYLE_NONE, LABEL_STYLE_DISAMBIGUATE_ONLY])
async def test_columns_of_aliases_are_found_in_each_statement(fetch: Fetch, style: Any) -> None:
    for _ in range(3):
        statement, child, parent = pair()
        (row,) = await fetch(statement.set_label_style(style))
        assert (row[child.c.id], row[parent.c.id]) == (1, 2)


@on_server
@pytest.mark.usefixtures("parent_and_child")
async def test_columns_of_subqueries_are_found_in_each_statement(fetch: Fetch) -> None:
    for _ in range(3):
        one, two = select(nodes).subquery(), select(nodes).subquery()
        (row,) = await fetch(select(two.c.id, one.c.id).where(one.c.parent == two.c.id))
        assert (row[one.c.id], row[two.c.id]) == (1, 2)


@on_server
async def test_dialect_is_forgotten_with_its_engine(connect_kwargs: dict[str, Any]) -> None:
    dialect = MySQLDialect_pymysql(paramstyle="pyformat")
    create = aiomysqlx.create_engine(**connect_kwargs, dialect=dialect)
    async with create as engine, engine.acquire() as conn:
        assert await conn.scalar(select(text("1"))) == 1
    gone = weakref.ref(dialect)

    del dialect, create, engine, conn
    gc.collect()

    assert gone() is None


def test_planner_is_shared_between_threads(planner: Planner) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(40):
                for statement in [select(u.id).limit(number) for number in range(50)]:
                    plan(planner, statement)
                    plan(planner, statement)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)

    assert errors == []


@on_server
async def test_many_executions_forget_no_plan(conn: Conn, create: Create) -> None:
    await create(users)
    statement = insert(users)
    for number in range(1, ROUNDS):
        await conn.execute(statement, {"id": number})
    planner = planner_for(conn._dialect, conn.connection.server_version, False)
    known = planner.known(statement)
    assert known is not None

    await conn.execute(statement, [{"id": 10}, {"id": 11}])

    assert planner.known(statement) is known
