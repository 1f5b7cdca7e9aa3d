"""Statements on a real server: what SQLAlchemy can express, and the parameters that go with it."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from typing import Any

import pymysql
import pytest
import sqlalchemy.exc
from sqlalchemy import (
    DDL,
    JSON,
    Column,
    Enum,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    and_,
    bindparam,
    case,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    lambda_stmt,
    literal,
    literal_column,
    null,
    or_,
    select,
    table,
    text,
    tuple_,
    type_coerce,
    union,
    union_all,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.schema import CreateTable, DropTable, Index

import aiomysqlx
from aiomysqlx.connection import _distill_params
from aiomysqlx.sql.planner import PLANS, planner_for
from aiomysqlx.sql.server import learn

pytestmark = [pytest.mark.server, pytest.mark.any_loop]

Create = Callable[..., Awaitable[None]]
Fetch = Callable[..., Awaitable[list[Any]]]
Conn = aiomysqlx.SAConnection

metadata = MetaData()
users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50)),
    Column("age", Integer),
)
orders = Table(
    "orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("user_id", ForeignKey("users.id")),
    Column("name", String(50)),
)

QUOTES = 'it\'s \\ "x"'
USERS = [(1, "ann", 30), (2, "bob", None), (3, "100%", 20), (4, QUOTES, 40)]
ORDERS = [(1, 1, "pen"), (2, 1, "ink"), (3, 3, "cup")]


@pytest.fixture
async def filled(create: Create, conn: Conn) -> None:
    """The tables `users` and `orders` with a few rows."""
    await create(users, orders)
    await conn.execute(users.insert(), USERS)
    await conn.execute(orders.insert(), ORDERS)


class Lowered(TypeDecorator[str]):
    """A type whose parameters go through a SQL function."""

    impl = String(50)
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.lower(bindvalue)


class Prefixed(TypeDecorator[str]):
    """A type whose parameters go through a Python function."""

    impl = String(50)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.removeprefix("user:")

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else "user:" + value


# -- SELECT --------------------------------------------------------------------------------------

u, o = users.c, orders.c


@pytest.mark.parametrize(
    ("where", "ids"),
    [
        pytest.param(u.id == 2, [2], id="eq"),
        pytest.param(u.id != 2, [1, 3, 4], id="ne"),
        pytest.param(u.name == QUOTES, [4], id="quotes"),
        pytest.param(u.age.is_(None), [2], id="is null"),
        pytest.param(u.age == null(), [2], id="eq null"),
        pytest.param(u.id.between(2, 3), [2, 3], id="between"),
        pytest.param(and_(u.id > 1, or_(u.age > 30, u.age.is_(None))), [2, 4], id="and or"),
        pytest.param(~(u.id > 1), [1], id="not"),
        pytest.param(u.name.like("%n%"), [1], id="like"),
        pytest.param(u.name.like(r"100\%"), [3], id="like escaped"),
        pytest.param(u.name.like("100/%", escape="/"), [3], id="like escape"),
        pytest.param(u.name.contains("%", autoescape=True), [3], id="contains autoescape"),
        pytest.param(u.name.startswith("a"), [1], id="startswith"),
        pytest.param(u.name.regexp_match("^b"), [2], id="regexp"),
        pytest.param(u.id.in_([1, 3]), [1, 3], id="in"),
        pytest.param(u.id.in_([1, None]), [1], id="in with null"),
        pytest.param(u.id.not_in([1, 3]), [2, 4], id="not in"),
        pytest.param(u.id.in_([]), [], id="in empty"),
        pytest.param(u.id.not_in([]), [1, 2, 3, 4], id="not in empty"),
        pytest.param(u.name.in_([QUOTES, "%s", "100%"]), [3, 4], id="in strings"),
        pytest.param(u.id.in_(range(1000)), [1, 2, 3, 4], id="in of a range"),
        pytest.param(and_(u.id.in_([1, 2]), u.name.in_(["bob", "x"])), [2], id="two ins"),
        pytest.param(
            tuple_(u.id, u.name).in_([(1, "ann"), (2, "ann"), (3, "100%")]), [1, 3], id="tuple in"
        ),
        pytest.param(tuple_(u.id, u.name).in_([]), [], id="tuple in empty"),
        pytest.param(tuple_(u.id, u.name).not_in([(1, "ann")]), [2, 3, 4], id="tuple not in"),
        pytest.param(tuple_(u.id, u.name).not_in([]), [1, 2, 3, 4], id="tuple not in empty"),
        pytest.param(u.id.in_(select(o.user_id)), [1, 3], id="in subquery"),
        pytest.param(exists().where(o.user_id == u.id), [1, 3], id="exists"),
        pytest.param(u.id == select(func.max(o.user_id)).scalar_subquery(), [3], id="scalar"),
        pytest.param(type_coerce(u.name, Lowered).in_(["ANN", "BOB"]), [1, 2], id="in expression"),
        pytest.param(type_coerce(u.name, Lowered).in_([]), [], id="in expression empty"),
        pytest.param(
            tuple_(u.id, type_coerce(u.name, Lowered)).in_([(1, "ANN"), (2, "x")]),
            [1],
            id="tuple in expression",
        ),
        pytest.param(type_coerce(u.name, Prefixed) == "user:bob", [2], id="bind processor"),
        pytest.param(
            type_coerce(u.name, Prefixed).in_(["user:bob", "user:ann"]), [1, 2], id="in processor"
        ),
        pytest.param(
            tuple_(u.id, type_coerce(u.name, Prefixed)).in_([(2, "user:bob"), (1, "user:x")]),
            [2],
            id="tuple in processor",
        ),
        pytest.param(case((u.id == 1, "x"), else_="y") == "x", [1], id="case"),
        pytest.param(cast(u.id, String(5)) == "3", [3], id="cast"),
        pytest.param(func.lower(func.concat(u.name, "%S")) == "bob%s", [2], id="functions"),
        pytest.param(u.id % 2 == 0, [2, 4], id="modulo"),
        pytest.param(u.name.collate("utf8mb4_bin") == "bob", [2], id="collate"),
        pytest.param(text("users.id = :x").bindparams(x=3), [3], id="text"),
        pytest.param(literal(True), [1, 2, 3, 4], id="true"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_where_finds_rows(fetch: Fetch, where: Any, ids: list[int]) -> None:
    statement = select(u.id).where(where).order_by(u.id)

    first = await fetch(statement)
    again = await fetch(statement)

    assert [row.id for row in first] == [row.id for row in again] == ids


@pytest.mark.parametrize(
    ("build", "rows"),
    [
        pytest.param(
            lambda: select(u.name, o.name.label("thing")).join(orders).order_by(o.id),
            [("ann", "pen"), ("ann", "ink"), ("100%", "cup")],
            id="join",
        ),
        pytest.param(
            lambda: select(u.id, func.count(o.id)).outerjoin(orders).group_by(u.id).order_by(u.id),
            [(1, 2), (2, 0), (3, 1), (4, 0)],
            id="outer join and group by",
        ),
        pytest.param(
            lambda: (
                select(o.user_id, func.count().label("n"))
                .group_by(o.user_id)
                .having(func.count() > literal(1))
            ),
            [(1, 2)],
            id="having",
        ),
        pytest.param(
            lambda: union(select(u.id).where(u.id < 3), select(o.id)).order_by("id"),
            [(1,), (2,), (3,)],
            id="union",
        ),
        pytest.param(
            lambda: union_all(
                select(u.id, literal("%s").label("x")).where(u.id.in_([1])),
                select(o.id, literal("o")).where(o.id.in_([2, 3])),
            ).order_by("id"),
            [(1, "%s"), (2, "o"), (3, "o")],
            id="union all",
        ),
        pytest.param(
            lambda: select(u.id).order_by(u.id.desc()).limit(2).offset(1),
            [(3,), (2,)],
            id="limit offset",
        ),
        pytest.param(
            lambda: select(func.row_number().over(order_by=u.id.desc()), u.id).order_by(u.id),
            [(4, 1), (3, 2), (2, 3), (1, 4)],
            id="window",
        ),
        pytest.param(
            lambda: select(o.user_id).distinct().order_by(o.user_id), [(1,), (3,)], id="distinct"
        ),
        pytest.param(
            lambda: (lambda c: select(c.c.id, c.c.x).where(c.c.x != "b").order_by(c.c.id))(
                select(u.id, func.left(u.name, 1).label("x")).where(u.id.in_([1, 2, 3])).cte("c")
            ),
            [(1, "a"), (3, "1")],
            id="cte",
        ),
        pytest.param(lambda: _counting(4), [(1,), (2,), (3,), (4,)], id="recursive cte"),
        pytest.param(
            lambda: (lambda a, b: select(a.c.id, b.c.id).where(a.c.id == b.c.id + 2))(
                users.alias("a"), users.alias("b")
            ).order_by("id"),
            [(3, 1), (4, 2)],
            id="aliases",
        ),
        pytest.param(
            lambda: select(func.group_concat(u.id.op("ORDER BY")(u.id))), [("1,2,3,4",)], id="func"
        ),
        pytest.param(
            lambda: text("select id from users where id in :ids order by id").bindparams(
                bindparam("ids", [1, 2], expanding=True)
            ),
            [(1,), (2,)],
            id="text expanding",
        ),
        pytest.param(
            lambda: (
                text("select name, '\\:x', '\\:y', '%s %', '%%' from users where id = :id")
                .bindparams(id=1)
                .columns(u.name)
            ),
            [("ann", ":x", ":y", "%s %", "%%")],
            id="text with escapes",
        ),
        pytest.param(
            lambda: (
                text("select id, name from users")
                .columns(u.id, u.name)
                .subquery("s")
                .select()
                .where(column("id") == 2)
            ),
            [(2, "bob")],
            id="text as subquery",
        ),
        pytest.param(
            lambda: select(literal(None), literal("x"), literal(1.5), literal(b"\x00'\\")),
            [(None, "x", 1.5, b"\x00'\\")],
            id="literals",
        ),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_queries_give_rows(
    fetch: Fetch, build: Callable[[], Any], rows: list[tuple[Any, ...]]
) -> None:
    assert await fetch(build()) == rows
    assert await fetch(build()) == rows


def _counting(limit: int) -> Any:
    numbers = select(literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(select(numbers.c.n + 1).where(numbers.c.n < limit))
    return select(numbers.c.n)


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="update"),
        pytest.param({"read": True}, id="read"),
        pytest.param({"nowait": True}, id="nowait"),
        pytest.param({"skip_locked": True}, id="skip locked"),
    ],
)
async def test_with_for_update_gives_rows(fetch: Fetch, options: dict[str, Any]) -> None:
    assert await fetch(select(u.id).where(u.id < 3).with_for_update(**options)) == [(1,), (2,)]


@pytest.mark.usefixtures("filled")
async def test_with_for_update_locks(conn: Conn, engine: aiomysqlx.Engine) -> None:
    statement = select(u.id).where(u.id == 1).with_for_update(nowait=True)

    await conn.connection.commit()  # type: ignore[union-attr]
    async with conn.begin(), engine.acquire() as other:
        await conn.execute(statement)

        with pytest.raises(pymysql.err.OperationalError):
            await other.execute(statement)


@pytest.mark.usefixtures("filled")
async def test_locked_rows_are_skipped(conn: Conn, engine: aiomysqlx.Engine) -> None:
    statement = select(u.id).order_by(u.id).limit(1).with_for_update(skip_locked=True)

    await conn.connection.commit()  # type: ignore[union-attr]
    async with conn.begin(), engine.acquire() as other:
        assert await conn.scalar(statement) == 1

        assert await other.scalar(statement) == 2


async def test_function_executes_directly(conn: Conn) -> None:
    assert await conn.scalar(func.concat("50%", "%s")) == "50%%s"


# -- text ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sql", "args", "rows"),
    [
        pytest.param("select '%s', '%', '%%'", (), [("%s", "%", "%%")], id="no parameters"),
        pytest.param("select '%s'", ((),), [("%s",)], id="empty tuple"),
        pytest.param("select '%s'", ([],), [("%s",)], id="empty list"),
        pytest.param("select '%s'", ({},), [("%s",)], id="empty dict"),
        pytest.param("select %s, '%%', '%%s'", (5,), [(5, "%", "%s")], id="one"),
        pytest.param("select %s, %s", (1, "b"), [(1, "b")], id="two"),
        pytest.param("select %s, %s", ((1, "b"),), [(1, "b")], id="tuple"),
        pytest.param("select %s, %s", ([1, "b"],), [(1, "b")], id="list"),
        pytest.param("select %s, %s", ([(1, "b")],), [(1, "b")], id="list of one tuple"),
        pytest.param(
            "select %s, %s", ([(1, "b"), (2, "c")],), [(1, "b"), (2, "c")], id="two tuples"
        ),
        pytest.param(
            "select %s, %s", ((1, "b"), (2, "c")), [(1, "b"), (2, "c")], id="tuples as args"
        ),
        pytest.param("select %(a)s, %(b)s, %(a)s", ({"a": 1, "b": 2},), [(1, 2, 1)], id="dict"),
        pytest.param("select %(a)s", ({"a": 1, "more": 2},), [(1,)], id="dict with more"),
        pytest.param("select %(a)s", ([{"a": 1}],), [(1,)], id="list of one dict"),
        pytest.param("select %s", ("%s",), [("%s",)], id="placeholder as value"),
        pytest.param("select %s", ("it's \\",), [("it's \\",)], id="quotes"),
        pytest.param("select %s", (None,), [(None,)], id="none"),
        pytest.param("select %s", (0,), [(0,)], id="zero"),
        pytest.param("select %s", (b"\xff'",), [(b"\xff'",)], id="bytes"),
        pytest.param("select %s, 2 in %s", ("x", (1, 2)), [("x", 1)], id="in tuple"),
        pytest.param("select 2 in %(ids)s", ({"ids": [1, 2]},), [(1,)], id="in list"),
        pytest.param("select 2 in %(ids)s", ({"ids": []},), [(0,)], id="in empty list"),
    ],
)
async def test_str_takes_parameters(
    fetch: Fetch, sql: str, args: tuple[Any, ...], rows: list[Any]
) -> None:
    assert await fetch(sql, *args) == rows


async def test_str_takes_keywords(fetch: Fetch) -> None:
    assert await fetch("select %(a)s, %(b)s", a=1, b="x") == [(1, "x")]


@pytest.mark.parametrize(
    ("sql", "args"),
    [
        pytest.param("select %s, %s", (1,), id="too few"),
        pytest.param("select %s", (1, 2), id="too many"),
        pytest.param("select 1", (1,), id="no placeholder"),
        pytest.param("select %(a)s", ({"b": 1},), id="missing key"),
        pytest.param("select '50%' = %s", (1,), id="bare percent"),
        pytest.param("select %s", (object(),), id="object"),
        pytest.param("select %s, 1", ({"x": {"a": 1}},), id="dict for position"),
        pytest.param("select %(x)s", ({"x": {"a": 1}},), id="dict value"),
        pytest.param("select %s", (float("nan"),), id="nan"),
        pytest.param("select %s", ("\udce4",), id="lone surrogate"),
    ],
)
async def test_str_with_wrong_parameters_is_refused(
    conn: Conn, sql: str, args: tuple[Any, ...]
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError):
        await conn.execute(sql, *args)

    assert await conn.scalar("select 1") == 1


@pytest.mark.parametrize(
    ("multiparams", "params", "distilled"),
    [
        pytest.param((), {}, [], id="nothing"),
        pytest.param((), {"a": 1}, [{"a": 1}], id="keywords"),
        pytest.param(({"a": 1},), {}, [{"a": 1}], id="dict"),
        pytest.param(({"a": 1},), {"b": 2}, [{"a": 1}], id="dict and keywords"),
        pytest.param((["x", "y"],), {}, [["x", "y"]], id="list"),
        pytest.param(([("x", "y"), ("z", "w")],), {}, [("x", "y"), ("z", "w")], id="tuples"),
        pytest.param(([("x", "y")],), {}, [("x", "y")], id="one tuple in a list"),
        pytest.param(([("a",)], [("b",)]), {}, ([("a",)], [("b",)]), id="lists as args"),
        pytest.param(("x", "y"), {}, [("x", "y")], id="values"),
        pytest.param((("x", "y"),), {}, [("x", "y")], id="tuple"),
        pytest.param(("x",), {}, [["x"]], id="str"),
        pytest.param((1,), {}, [[1]], id="int"),
        pytest.param(([],), {}, [], id="empty list"),
        pytest.param(((),), {}, (), id="empty tuple"),
        pytest.param((None,), {}, [[None]], id="none"),
        pytest.param(([None],), {}, [[None]], id="none in a list"),
        pytest.param(([[1, 2]],), {}, [[1, 2]], id="list in a list"),
        pytest.param((({"a": 1}, {"a": 2}),), {}, ({"a": 1}, {"a": 2}), id="tuple of dicts"),
        pytest.param(({"a": 1}, {"a": 2}), {}, ({"a": 1}, {"a": 2}), id="dicts"),
        pytest.param(([{}],), {}, [{}], id="empty dict in a list"),
        pytest.param(("x", {"a": 1}), {}, [("x", {"a": 1})], id="str and dict"),
        pytest.param((b"x",), {}, [[b"x"]], id="bytes"),
        pytest.param(([5, 6],), {}, [[5, 6]], id="ints in a list"),
        pytest.param(({1},), {}, [[{1}]], id="set"),
        pytest.param(((1, (2, 3)),), {}, [(1, (2, 3))], id="tuple with a tuple"),
        pytest.param((1,), {"a": 2}, [[1]], id="int and keyword"),
    ],
)
def test_parameters_are_distilled(
    multiparams: tuple[Any, ...], params: dict[str, Any], distilled: Any
) -> None:
    assert _distill_params(multiparams, params) == distilled


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        pytest.param(({"id": 2},), {}, id="dict"),
        pytest.param(([{"id": 2}],), {}, id="list of one dict"),
        pytest.param((), {"id": 2}, id="keyword"),
        pytest.param(({"id": 2, "more": 3},), {}, id="dict with more"),
    ],
)
@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(text("select name from users where id = :id"), id="text"),
        pytest.param(select(u.name).where(u.id == bindparam("id")), id="select"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_named_parameters_are_taken(
    fetch: Fetch, statement: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    assert await fetch(statement, *args, **kwargs) == [("bob",)]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("statement", "groups"),
    [
        pytest.param(
            select(u.id).where(u.id < bindparam("x")), [{"x": 4}, {"x": 1}, {"x": 2}], id="select"
        ),
        pytest.param(
            lambda_stmt(lambda: select(u.id).where(u.id < bindparam("x"))),
            [{"x": 4}, {"x": 2}],
            id="lambda",
        ),
        pytest.param(text("SELECT id FROM users WHERE id < :x"), [{"x": 4}, {"x": 2}], id="text()"),
        pytest.param("SELECT id FROM users WHERE id < %s", [(4,), (1,), (2,)], id="text"),
        pytest.param("SELECT id FROM users WHERE id < %(x)s", [{"x": 4}, {"x": 2}], id="names"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_many_selects_give_the_rows_of_each(
    conn: Conn, statement: Any, groups: list[Any]
) -> None:
    result = await conn.execute(statement, groups)

    assert result.rowcount == 4
    rows = await result.fetchall()
    assert [(row.id, row["id"], row[0]) for row in rows] == [(n, n, n) for n in (1, 2, 3, 1)]


@pytest.mark.usefixtures("filled")
async def test_many_selects_without_rows_have_columns(conn: Conn) -> None:
    result = await conn.execute(select(u.id).where(u.id == bindparam("x")), [{"x": 8}, {"x": 9}])

    assert list(result.keys()) == ["id"]
    assert await result.fetchall() == []


async def test_rows_of_many_executions_have_to_fit_together(conn: Conn) -> None:
    await conn.execute(
        "CREATE PROCEDURE wide(n INT) BEGIN IF n = 1 THEN SELECT 1; ELSE SELECT 1, 2; END IF; END"
    )
    fit = await conn.execute("CALL wide(%s)", [(2,), (2,)])

    assert [row.as_tuple() for row in await fit.fetchall()] == [(1, 2), (1, 2)]
    for statement in ("CALL wide(%s)", text("CALL wide(:n)")):
        with pytest.raises(aiomysqlx.InvalidRequestError, match="1 columns, another of 2: execute"):
            await conn.execute(
                statement, [(1,), (2,)] if isinstance(statement, str) else [{"n": 1}, {"n": 2}]
            )
    assert await conn.scalar("SELECT 1") == 1


# -- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        pytest.param(None, id="None"),
        pytest.param(1, id="int"),
        pytest.param(b"select 1", id="bytes"),
        pytest.param({"a": 1}, id="dict"),
        pytest.param(object(), id="object"),
        pytest.param(select, id="function"),
        pytest.param(metadata, id="metadata"),
        pytest.param(users, id="table"),
        pytest.param(u.id, id="column"),
        pytest.param(u.id == 1, id="expression"),
        pytest.param(literal(1), id="literal"),
        pytest.param(bindparam("x"), id="bindparam"),
        pytest.param(select(u.id).subquery(), id="subquery"),
        pytest.param(select(u.id).cte(), id="cte"),
        pytest.param(Integer(), id="type"),
        pytest.param(Index("ix", column("x")), id="index"),
    ],
)
async def test_what_is_no_statement_is_refused(conn: Conn, query: Any) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="sql statement should be str or SQLAlchemy"):
        await conn.execute(query)

    assert await conn.scalar("select 1") == 1


async def test_empty_str_is_refused_by_the_server(conn: Conn) -> None:
    with pytest.raises(pymysql.err.Error, match="Query was empty"):
        await conn.execute("")


@pytest.mark.parametrize(
    "args",
    [
        pytest.param((1,), id="int"),
        pytest.param((None,), id="None"),
        pytest.param(("x",), id="str"),
        pytest.param(((1, 2),), id="tuple"),
        pytest.param(([(1, 2), (3, 4)],), id="tuples"),
        pytest.param(([{"id": 1}, (1,)],), id="dict and tuple"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_positional_parameters_to_a_select_are_refused(
    conn: Conn, args: tuple[Any, ...]
) -> None:
    statement = select(u.id).where(u.id == bindparam("id"))

    with pytest.raises(
        aiomysqlx.ArgumentError,
        match="Don't mix sqlalchemy SELECT clause with positional parameters",
    ):
        await conn.execute(statement, *args)

    assert await conn.scalar("select 1") == 1


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        pytest.param(({"a": 1},), {}, id="dict"),
        pytest.param((1,), {}, id="int"),
        pytest.param(((1,),), {}, id="tuple"),
        pytest.param(([{"a": 1}, {"a": 2}],), {}, id="list"),
        pytest.param((), {"a": 1}, id="keyword"),
    ],
)
async def test_parameters_to_ddl_are_refused(
    conn: Conn, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(
        aiomysqlx.ArgumentError,
        match="Don't mix sqlalchemy DDL clause and execution with parameters",
    ):
        await conn.execute(CreateTable(users), *args, **kwargs)


@pytest.mark.parametrize(
    ("statement", "args"),
    [
        pytest.param(select(u.id).where(u.id == bindparam("x")), (), id="select"),
        pytest.param(select(u.id).where(u.id == bindparam("x")), ({"y": 1},), id="other key"),
        pytest.param(
            select(u.id).where(u.id == bindparam("x")), ([{"x": 1}, {"y": 1}],), id="many"
        ),
        pytest.param(text("select :x"), (), id="text"),
        pytest.param(select(u.id).where(u.id.in_(bindparam("x"))), (), id="in"),
        pytest.param(
            select(u.id).where(u.id == bindparam("x", literal_execute=True)), (), id="literal"
        ),
        pytest.param(insert(users).values(name=bindparam("x")), (), id="insert"),
        pytest.param(update(users).values(name=bindparam("x")), (), id="update"),
        pytest.param(delete(users).where(u.id == bindparam("x")), (), id="delete"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_missing_parameter_is_named(
    conn: Conn, statement: Any, args: tuple[Any, ...]
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="value is required for bind parameter 'x'"):
        await conn.execute(statement, *args)

    assert await conn.scalar("select 1") == 1


@pytest.mark.parametrize(
    ("statement", "args", "message"),
    [
        pytest.param(
            select(u.id).where(u.id == bindparam("x")),
            ({"y": 1, "z": 2},),
            "A value is required for bind parameter 'x', got 'y' and 'z'",
            id="missing",
        ),
        pytest.param(
            select(u.id).where(u.id == bindparam("x")),
            (),
            "A value is required for bind parameter 'x', got none",
            id="none",
        ),
        pytest.param(
            insert(users),
            (tuple(range(9)),),
            "expected at most 3 parameters, one for each column of 'users', got 9",
            id="too many values",
        ),
        pytest.param(
            delete(users),
            (1,),
            "Don't mix sqlalchemy DELETE clause with positional parameters: give values by name",
            id="positional",
        ),
        pytest.param(
            insert(users),
            ([(1,), "x"],),
            "expected a dictionary or a sequence of parameters, got str: give values by name, or in"
            " a tuple in the order of the table's columns, in parameter group 1",
            id="text",
        ),
        pytest.param(
            select(u.id).where(u.id.in_(bindparam("ids"))),
            ({"ids": 1},),
            "parameter 'ids' takes the list of values of an IN, got int",
            id="no list",
        ),
        pytest.param(
            CreateTable(users),
            (1,),
            "Don't mix sqlalchemy DDL clause and execution with parameters: it takes none",
            id="ddl",
        ),
    ],
)
async def test_refusal_says_what_is_expected(
    conn: Conn, statement: Any, args: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError) as caught:
        await conn.execute(statement, *args)

    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param({"a": 1}, "'x'.*dict", id="dict"),
        pytest.param(object(), "'x'.*object", id="object"),
        pytest.param(float("inf"), "'x'.*inf", id="infinity"),
        pytest.param("\ud800", "'x'", id="lone surrogate"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_value_of_a_wrong_type_is_named(conn: Conn, value: Any, message: str) -> None:
    statement = select(u.id).where(u.id == bindparam("n"), u.age == bindparam("x"))

    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        await conn.execute(statement, n=1, x=value)

    assert await conn.scalar("select 1") == 1


@pytest.mark.parametrize("value", [["x"], [], ("x",), {"x"}, frozenset("x")], ids=repr)
@pytest.mark.usefixtures("filled")
async def test_list_does_not_stand_for_a_value(conn: Conn, fetch: Fetch, value: Any) -> None:
    before = await fetch(select(users))

    for statement, parameters in (
        (insert(users), {"name": value}),
        (insert(users), [{"name": "x"}, {"name": value}]),
        (insert(users).values(name=bindparam("name_")), {"name_": value}),
        (update(users), {"name": value}),
        (select(u.id).where(u.name == bindparam("name")), {"name": value}),
    ):
        with pytest.raises(aiomysqlx.ArgumentError, match=f"'name_?'.*{type(value).__name__}"):
            await conn.execute(statement, parameters)

    assert await fetch(select(users)) == before


@pytest.mark.usefixtures("filled")
async def test_list_stands_for_in_within_text(fetch: Fetch) -> None:
    statement = text("select id from users where id in :ids order by id")

    assert await fetch(statement, ids=(1, 3)) == [(1,), (3,)]
    assert await fetch(statement, ids=[]) == []


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(insert(users).prefix_with("IGNORE").values(id=1), id="insert"),
        pytest.param(select(cast("x", Integer)), id="select"),
        pytest.param("select cast('x' as signed)", id="str"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_warning_of_the_server_is_issued(conn: Conn, statement: Any) -> None:
    with pytest.warns(pymysql.err.Warning):
        await conn.execute(statement)


@pytest.mark.parametrize("value", [5, None, "ab", b"ab", {"a": 1}], ids=repr)
@pytest.mark.usefixtures("filled")
async def test_in_takes_a_sequence_only(conn: Conn, value: Any) -> None:
    statement = select(u.id).where(u.id.in_(bindparam("ids", expanding=True)))

    with pytest.raises(aiomysqlx.ArgumentError, match="'ids'"):
        await conn.execute(statement, ids=value)


@pytest.mark.parametrize(
    "value", [[1, 2], (1, 2), {1, 2}, frozenset((1, 2)), range(1, 3), {1: 0, 2: 0}.keys()], ids=repr
)
@pytest.mark.usefixtures("filled")
async def test_in_takes_any_sequence(fetch: Fetch, value: Any) -> None:
    statement = select(u.id).where(u.id.in_(bindparam("ids"))).order_by(u.id)

    assert await fetch(statement, ids=value) == [(1,), (2,)]


@pytest.mark.usefixtures("filled")
async def test_error_of_a_bind_processor_passes_through(conn: Conn) -> None:
    from_json = type_coerce(u.name, JSON)

    with pytest.raises(TypeError, match="not JSON serializable"):
        await conn.execute(select(u.id).where(from_json == bindparam("x")), x=object())

    assert await conn.scalar("select 1") == 1


async def test_error_of_the_compiler_passes_through(conn: Conn) -> None:
    with pytest.raises(sqlalchemy.exc.CompileError, match="nope"):
        await conn.execute(insert(users).values(nope=1))


# -- bindparam -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bind", "parameters", "names"),
    [
        pytest.param(bindparam("x", 1), {}, ["ann"], id="value"),
        pytest.param(bindparam("x", 1), {"x": 2}, ["bob"], id="value overridden"),
        pytest.param(bindparam("x", callable_=lambda: 2), {}, ["bob"], id="callable"),
        pytest.param(
            bindparam("x", callable_=lambda: 2), {"x": 1}, ["ann"], id="callable overridden"
        ),
        pytest.param(bindparam("x", required=False), {}, [], id="not required"),
        pytest.param(bindparam("x", None), {}, [], id="none"),
        pytest.param(bindparam("x", 1, literal_execute=True), {}, ["ann"], id="literal"),
        pytest.param(bindparam("x", literal_execute=True), {"x": 2}, ["bob"], id="literal given"),
        pytest.param(bindparam("x", 1, unique=True), {}, ["ann"], id="unique"),
        pytest.param(bindparam("x", type_=Integer), {"x": "2"}, ["bob"], id="typed"),
        pytest.param(bindparam("a b%c(d)", 1), {"a b%c(d)": 2}, ["bob"], id="odd name"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_bindparam_gives_its_value(
    fetch: Fetch, bind: Any, parameters: dict[str, Any], names: list[str]
) -> None:
    statement = select(u.name).where(u.id == bind)

    assert [row.name for row in await fetch(statement, parameters)] == names


@pytest.mark.usefixtures("filled")
async def test_callable_of_a_bindparam_is_called_at_each_execution(fetch: Fetch) -> None:
    ids = iter([3, 1])
    statement = select(u.id).where(u.id == bindparam("x", callable_=lambda: next(ids)))

    assert await fetch(statement) == [(3,)]
    assert await fetch(statement) == [(1,)]


@pytest.mark.parametrize("ids", [[3, 1], [1], [], [2, 3, 4, 99]], ids=str)
@pytest.mark.parametrize("literal_execute", [False, True], ids=["bound", "literal"])
@pytest.mark.usefixtures("filled")
async def test_expanding_bindparam_takes_any_number(
    fetch: Fetch, ids: list[int], literal_execute: bool
) -> None:
    bind = bindparam("ids", expanding=True, literal_execute=literal_execute)
    statement = select(u.id).where(u.id.in_(bind)).order_by(u.id)

    rows = [await fetch(statement, ids=ids) for _ in range(2)]

    assert rows == [[(i,) for i in sorted(ids) if i < 5]] * 2


@pytest.mark.usefixtures("filled")
async def test_one_bindparam_in_many_places(fetch: Fetch) -> None:
    x = bindparam("x", type_=Integer)
    statement = select(u.id, x, x + 1).where(or_(u.id == x, u.id == x + 1)).order_by(u.id)

    assert await fetch(statement, x=2) == [(2, 2, 3), (3, 2, 3)]


@pytest.mark.usefixtures("filled")
async def test_expanding_bindparam_in_many_places(fetch: Fetch) -> None:
    ids = bindparam("ids", expanding=True)
    statement = select(u.id).where(or_(u.id.in_(ids), u.age.in_(ids))).order_by(u.id)

    assert await fetch(statement, ids=[1, 20]) == [(1,), (3,)]


@pytest.mark.parametrize("value", [QUOTES, "\\", "%s", "%(x)s", "a\nb\0"], ids=repr)
@pytest.mark.parametrize("mode", ["''", "'NO_BACKSLASH_ESCAPES'", "'ANSI_QUOTES'"])
async def test_literal_execute_quotes_as_the_session_does(
    conn: Conn, mode: str, value: str
) -> None:
    await conn.execute(f"set sql_mode = {mode}")

    bound = await conn.scalar(select(bindparam("x", value, String)))
    literal_ = await conn.scalar(select(bindparam("x", value, String, literal_execute=True)))

    assert (bound, literal_) == (value, value)


@pytest.mark.usefixtures("filled")
async def test_params_of_a_statement_are_used(fetch: Fetch) -> None:
    statement = select(u.id).where(u.id == bindparam("x"))

    assert await fetch(statement.params(x=1)) == [(1,)]
    assert await fetch(statement.params(x=2)) == [(2,)]
    assert await fetch(statement.params(x=2), x=3) == [(3,)]
    assert await fetch(statement, x=4) == [(4,)]


# -- the same structure, other contents ----------------------------------------------------------


class Small(enum.Enum):
    A = "x"
    B = "y"


class Swapped(enum.Enum):
    A = "y"
    B = "x"


@pytest.mark.usefixtures("filled")
async def test_other_literals_are_sent(fetch: Fetch) -> None:
    def statement(user_id: int, names: list[str], limit: int) -> Any:
        query = select(u.id, literal(user_id).label("x"))
        return query.where(or_(u.id == user_id, u.name.in_(names))).order_by(u.id).limit(limit)

    assert await fetch(statement(1, ["bob"], 5)) == [(1, 1), (2, 1)]
    assert await fetch(statement(3, ["ann", "bob", "x"], 2)) == [(1, 3), (2, 3)]
    assert await fetch(statement(4, [], 9)) == [(4, 4)]


VALUES_OF = {
    "value": lambda members: [member.value for member in members],
    "name": lambda members: [member.name for member in members],
    "swapped": lambda members: [member.value for member in reversed(members)],
}


@pytest.mark.parametrize(
    ("sql", "kinds", "expected"),
    [
        pytest.param(
            "'A'", [Enum(Small), Enum(Swapped)], [Small.A, Swapped.A], id="members of an enum"
        ),
        pytest.param(
            "'x'",
            [
                Enum(Small, values_callable=VALUES_OF["value"]),
                Enum(Small, values_callable=VALUES_OF["swapped"]),
            ],
            [Small.A, Small.B],
            id="values_callable",
        ),
        pytest.param(
            "'a,b'",
            [mysql.SET("a", "b"), mysql.SET("b", "c")],
            [{"a", "b"}, {"a", "b"}],
            id="members of a set",
        ),
        pytest.param(
            "cast(3 as unsigned)",
            [
                mysql.SET("a", "b", retrieve_as_bitwise=True),
                mysql.SET("x", "y", retrieve_as_bitwise=True),
            ],
            [{"a", "b"}, {"x", "y"}],
            id="bits of a set",
        ),
        pytest.param("'x'", [Prefixed(), String()], ["user:x", "x"], id="decorator"),
        pytest.param(
            "'A'",
            [String(5).with_variant(Enum(each), "mysql") for each in (Small, Swapped)],
            [Small.A, Swapped.A],
            id="members of a variant",
        ),
    ],
)
async def test_types_alike_keep_their_own_results(
    conn: Conn, sql: str, kinds: list[Any], expected: list[Any]
) -> None:
    for _ in range(2):
        for kind, value in zip(kinds, expected, strict=True):
            bare = select(literal_column(sql, kind).label("v"))
            assert await conn.scalar(text(f"select {sql} as v").columns(v=kind)) == value
            if "unsigned" not in sql:  # a bitwise SET is selected as `v + 0`
                assert await conn.scalar(bare) == value


async def test_enums_alike_keep_their_own_parameters(conn: Conn) -> None:
    got = [
        await conn.scalar(
            select(cast(literal(Small.A, Enum(Small, values_callable=VALUES_OF[which])), String(9)))
        )
        for which in ("value", "name", "value")
    ]

    assert got == ["x", "A", "x"]


async def test_variants_alike_keep_their_own_parameters(conn: Conn) -> None:
    for members in (Small, Swapped, Small):
        kind = String(5).with_variant(Enum(members), "mysql")
        statement = select(cast(bindparam("v", type_=kind), String(5)))

        assert await conn.scalar(statement, v=members.A) == "A"


async def test_lightweight_tables_alike_keep_their_own_enums(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    await create(Table("z", MetaData(), Column("q", String(5))))

    for members in (Small, Swapped, Small):
        light = table("z", column("q", Enum(members)))
        await conn.execute(light.delete())
        await conn.execute(light.insert().values(q=members.A))
        await conn.execute(light.insert(), {"q": members.B})

        assert await fetch(select(light).where(light.c.q == members.A)) == [(members.A,)]
        assert await fetch(select(light.c.q).order_by(light.c.q)) == [(members.A,), (members.B,)]


async def test_anonymous_aliases_in_swapped_roles_find_their_columns(
    conn: Conn, create: Create
) -> None:
    tree = Table(
        "tree", MetaData(), Column("id", Integer, primary_key=True), Column("parent", Integer)
    )
    await create(tree)
    await conn.execute(tree.insert(), [(1, None), (2, 1)])
    a, b = tree.alias(), tree.alias()
    child_first = select(a.c.id, b.c.id).where(a.c.parent == b.c.id)
    swapped = select(b.c.id, a.c.id).where(b.c.parent == a.c.id)

    for statement, ids in ((child_first, (2, 1)), (swapped, (1, 2)), (child_first, (2, 1))):
        row = await (await conn.execute(statement)).first()

        assert row is not None
        assert (row[a.c.id], row[b.c.id]) == ids


async def test_enum_alike_validates_strings_or_not(conn: Conn) -> None:
    for strict in (False, True, False):
        kind = Enum("a", "b", validate_strings=strict)
        statement = select(cast(literal("c", kind), String(5)))
        if not strict:
            assert await conn.scalar(statement) == "c"
            continue
        with pytest.raises(LookupError, match="'c'"):
            await conn.scalar(statement)


@pytest.mark.usefixtures("filled")
async def test_plans_of_ever_new_types_are_bounded(conn: Conn, engine: aiomysqlx.Engine) -> None:
    for _ in range(3 * PLANS):
        kind = Enum(Small, values_callable=lambda members: [member.value for member in members])
        assert await conn.scalar(select(cast(literal(Small.A, kind), String(9)))) == "x"

    raw = conn.connection
    assert raw is not None
    planner = planner_for(engine.dialect, raw.server_version, raw.no_backslash_escapes)
    assert len(planner._plans) <= 2 * PLANS


async def test_set_alike_keeps_its_own_result(conn: Conn, create: Create) -> None:
    def made(name: str, **options: Any) -> Table:
        return Table(
            name, MetaData(), Column("id", Integer, primary_key=True),
            Column("s", mysql.SET("a", "b", **options)),
        )  # fmt: skip

    plain, bitwise = made("plain"), made("bitwise", retrieve_as_bitwise=True)
    await create(plain, bitwise)
    for tbl in (plain, bitwise):
        await conn.execute(tbl.insert().values(s={"a", "b"}))

    for tbl in (plain, bitwise, plain):
        assert await conn.scalar(select(tbl.c.s)) == {"a", "b"}


@pytest.mark.usefixtures("filled")
async def test_required_is_kept_apart_from_not_required(conn: Conn, fetch: Fetch) -> None:
    def statement(required: bool) -> Any:
        return select(u.id).where(u.id == bindparam("x", type_=Integer, required=required))

    for _ in range(2):
        assert await fetch(statement(False)) == []
        with pytest.raises(aiomysqlx.ArgumentError, match="'x'"):
            await conn.execute(statement(True))


@pytest.mark.usefixtures("filled")
async def test_callable_is_kept_apart_from_value(fetch: Fetch) -> None:
    for value in (1, 2):
        called = bindparam("x", callable_=lambda value=value: value, type_=Integer)
        plain = bindparam("x", value + 1, type_=Integer)

        assert await fetch(select(u.id).where(u.id == called)) == [(value,)]
        assert await fetch(select(u.id).where(u.id == plain)) == [(value + 1,)]


@pytest.mark.usefixtures("filled")
async def test_rows_take_the_columns_of_the_statement_at_hand(fetch: Fetch) -> None:
    for user_id in (1, 2):
        alias = users.alias("a")
        label = (alias.c.id + user_id).label("plus")
        counted = func.coalesce(alias.c.name, "x")
        sub = select(alias.c.age).where(alias.c.id == user_id).subquery()

        row = (await fetch(select(alias.c.id, label, counted).where(alias.c.id == user_id)))[0]
        (inner,) = await fetch(select(sub.c.age))

        assert (row[alias.c.id], row[label], row[counted]) == (
            user_id,
            2 * user_id,
            USERS[user_id - 1][1],
        )
        assert inner[sub.c.age] == USERS[user_id - 1][2]


@pytest.mark.usefixtures("filled")
async def test_text_columns_are_those_of_the_statement_at_hand(fetch: Fetch) -> None:
    for kind, value in ((String, "bob"), (Prefixed, "user:bob"), (String, "bob")):
        name = column("name", kind)

        (row,) = await fetch(text("select name from users where id = 2").columns(name))

        assert (row[name], row.name) == (value, value)


@pytest.mark.usefixtures("filled")
async def test_same_sum_twice_keeps_both(fetch: Fetch) -> None:
    (row,) = await fetch(select(func.sum(u.id), func.sum(u.age)))

    assert [int(value) for value in row.as_tuple()] == [10, 90]


# -- percent signs and odd names -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        pytest.param(select(literal_column("'%'")), ("%",), id="literal column"),
        pytest.param(select(literal_column("'%s %(x)s %%'")), ("%s %(x)s %%",), id="placeholders"),
        pytest.param(select(literal_column("'%'"), literal("%%")), ("%", "%%"), id="and a value"),
        pytest.param(select(literal("x").label("50%")), ("x",), id="label"),
        pytest.param(select(literal("x").label("%(a)s")), ("x",), id="label like a parameter"),
        pytest.param(text("select '%', '%%', :x").bindparams(x="%s"), ("%", "%%", "%s"), id="text"),
        pytest.param(text("select '%', '%%'"), ("%", "%%"), id="text without parameters"),
        pytest.param(select(literal(5) % literal(3)), (2,), id="modulo"),
        pytest.param(select(literal(1)).prefix_with("/* 50% %s */"), (1,), id="comment"),
        pytest.param(select(literal(1)).suffix_with("-- %s"), (1,), id="comment at the end"),
        pytest.param(select(bindparam("x%s", "y")), ("y",), id="bind name"),
        pytest.param(select(bindparam(None, "%", literal_execute=True)), ("%",), id="literal"),
        pytest.param(select(literal("%", literal_execute=True)), ("%",), id="literal_execute"),
        pytest.param(select(func.date_format(func.date("2020-01-02"), "%Y")), ("2020",), id="func"),
    ],
)
async def test_percent_signs_arrive(fetch: Fetch, statement: Any, row: tuple[Any, ...]) -> None:
    assert await fetch(statement) == [row]
    assert await fetch(statement, {"unused": "%s"}) == [row]


async def test_percent_signs_in_ddl_arrive(conn: Conn, create: Create, fetch: Fetch) -> None:
    odd = Table(
        "100% %s",
        MetaData(),
        Column("id%", Integer, primary_key=True, comment="5% %(x)s"),
        Column("v", String(20), server_default="50%% %s"),
        comment="all of it: 100%",
    )
    await create(odd)

    await conn.execute(odd.insert().values({"id%": 1}))

    (row,) = await fetch(select(odd))
    assert (row["id%"], row[odd.c["id%"]], row.v) == (1, 1, "50%% %s")
    comments = text(
        "select table_comment, column_comment from information_schema.tables "
        "join information_schema.columns using (table_schema, table_name) "
        "where table_name = '100% %s' and table_schema = database() and column_name = 'id%'"
    )
    assert await fetch(comments) == [("all of it: 100%", "5% %(x)s")]
    await conn.execute(DropTable(odd))


async def test_ddl_string_is_formatted_as_sqlalchemy_does(conn: Conn, fetch: Fetch) -> None:
    await conn.execute(DDL("create table t (a varchar(9) default '5%%')"))

    await conn.execute("insert into t values ()")

    assert await fetch("select a from t") == [("5%",)]


ODD_NAMES = [
    "a b",
    "a~b",
    "~~",
    "x%y",
    "c(d)",
    "e:f",
    "g.h",
    "i[j]",
    "k`l",
    "m'n",
    'o"p',
    "%s",
    "%(q)s",
    "ö",
]


@pytest.fixture
async def odd(create: Create) -> Table:
    """A table whose columns have names that bind names cannot have."""
    odd = Table(
        "odd (x%) [y]",
        MetaData(),
        Column("id", Integer, primary_key=True),
        *(Column(name, Integer) for name in ODD_NAMES),
    )
    await create(odd)
    return odd


async def test_odd_names_insert_and_select(conn: Conn, fetch: Fetch, odd: Table) -> None:
    row = {name: index for index, name in enumerate(ODD_NAMES)}

    await conn.execute(odd.insert().values(row))
    await conn.execute(odd.insert(), row)
    await conn.execute(odd.insert(), [row, row])

    rows = await fetch(select(odd).where(and_(*(odd.c[name] == row[name] for name in ODD_NAMES))))
    assert [{name: got[name] for name in ODD_NAMES} for got in rows] == [row] * 4
    assert [{name: got[odd.c[name]] for name in ODD_NAMES} for got in rows] == [row] * 4


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_names_take_parameters(conn: Conn, fetch: Fetch, odd: Table, name: str) -> None:
    await conn.execute(odd.insert(), [{"id": 1, name: 1}, {"id": 2, name: 2}])
    await conn.execute(odd.update().where(odd.c.id == 2), {name: 5})
    await conn.execute(
        odd.update().where(odd.c[name] == bindparam("old")),
        [{"old": 1, name: 10}, {"old": 5, name: 50}],
    )

    assert await fetch(select(odd.c[name]).where(odd.c[name].in_([10, 50, 99]))) == [(10,), (50,)]
    assert await fetch(select(odd.c.id).where(odd.c[name] == bindparam(name)), {name: 50}) == [(2,)]


async def test_names_alike_after_escaping_keep_their_values(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    names = ["a b", "a_b", "a.b", "a[b"]
    alike = Table("alike", MetaData(), *(Column(name, Integer) for name in names))
    await create(alike)
    row = {name: index for index, name in enumerate(names)}

    await conn.execute(alike.insert(), row)
    await conn.execute(alike.insert(), [row, row])

    assert await fetch(select(alike)) == [(0, 1, 2, 3)] * 3


@pytest.mark.parametrize("name", ["täble", "表", "select", "😀".encode().hex(), "UPPER"])
async def test_names_of_tables_are_quoted(
    conn: Conn, create: Create, fetch: Fetch, name: str
) -> None:
    tbl = Table(name, MetaData(), Column("käy", String(20), key="key"))
    await create(tbl)

    await conn.execute(tbl.insert(), [{"key": "💙"}, {"key": "ä"}])

    rows = await fetch(select(tbl).where(tbl.c.key == "💙"))
    assert rows == [("💙",)]
    assert rows[0][tbl.c.key] == "💙"


# -- INSERT, UPDATE, DELETE ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "args", "rows"),
    [
        pytest.param(
            lambda: insert(users).values(id=1, name="x"), (), [(1, "x", None)], id="values"
        ),
        pytest.param(lambda: insert(users), ({"id": 1, "age": 5},), [(1, None, 5)], id="subset"),
        pytest.param(lambda: insert(users), ({"name": "x"},), [(1, "x", None)], id="no key"),
        pytest.param(lambda: insert(users), ((1, "x", 5),), [(1, "x", 5)], id="tuple"),
        pytest.param(lambda: insert(users), ([1, "x", 5],), [(1, "x", 5)], id="list"),
        pytest.param(lambda: insert(users), (1, "x", 5), [(1, "x", 5)], id="args"),
        pytest.param(lambda: insert(users), (), [(1, None, None)], id="nothing"),
        pytest.param(lambda: insert(users), ({},), [(1, None, None)], id="empty dict"),
        pytest.param(
            lambda: insert(users),
            ([(1, "x", 5), (2, "y", 6)],),
            [(1, "x", 5), (2, "y", 6)],
            id="tuples",
        ),
        pytest.param(
            lambda: insert(users),
            ({"id": 1, "name": "x"}, {"id": 2, "name": "y"}),
            [(1, "x", None), (2, "y", None)],
            id="dicts as args",
        ),
        pytest.param(
            lambda: insert(users).values([{"id": 1, "name": "x"}, {"id": 2, "name": "%s"}]),
            (),
            [(1, "x", None), (2, "%s", None)],
            id="values of many",
        ),
        pytest.param(
            lambda: insert(users).values([(1, "x", 5), (2, "y", 6)]),
            (),
            [(1, "x", 5), (2, "y", 6)],
            id="values of tuples",
        ),
        pytest.param(
            lambda: insert(users).values(id=func.abs(-7), name=func.upper("x"), age=literal(1) + 2),
            (),
            [(7, "X", 3)],
            id="expressions",
        ),
        pytest.param(
            lambda: insert(users).values(id=1, name=bindparam("n"), age=bindparam("a", 5)),
            ({"n": "x"},),
            [(1, "x", 5)],
            id="bindparam",
        ),
        pytest.param(
            lambda: insert(users).values(name="x"), ({"id": 3},), [(3, "x", None)], id="values+dict"
        ),
        pytest.param(
            lambda: insert(users).values(
                name=select(literal("sub%").label("x")).scalar_subquery(), id=1
            ),
            (),
            [(1, "sub%", None)],
            id="subquery",
        ),
        pytest.param(
            lambda: insert(users).from_select(
                ["id", "name"], select(literal(4), literal("four%")).where(literal(1).in_([1, 2]))
            ),
            (),
            [(4, "four%", None)],
            id="from select",
        ),
        pytest.param(
            lambda: insert(users).prefix_with("IGNORE").values([{"id": 1}, {"id": 1}]),
            (),
            [(1, None, None)],
            id="prefix",
            marks=pytest.mark.filterwarnings("ignore::pymysql.err.Warning"),
        ),
        pytest.param(
            lambda: insert(users).inline().values(id=2), (), [(2, None, None)], id="inline"
        ),
    ],
)
async def test_insert_writes_rows(
    conn: Conn,
    create: Create,
    fetch: Fetch,
    build: Callable[[], Any],
    args: tuple[Any, ...],
    rows: list[tuple[Any, ...]],
) -> None:
    await create(users)

    result = await conn.execute(build(), *args)

    assert result.rowcount == len(rows)
    assert not result.returns_rows and result.closed
    assert await fetch(select(users).order_by(u.id)) == rows


async def test_insert_gives_lastrowid(conn: Conn, create: Create) -> None:
    await create(users)

    first = await conn.execute(insert(users).values(name="x"))
    second = await conn.execute(insert(users), {"id": 70})
    third = await conn.execute(insert(users), {"name": "y"})

    assert (first.lastrowid, second.lastrowid, third.lastrowid) == (1, 70, 71)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param(((1, "x", 5, 9),), "expected.* 3 .*4", id="one too many"),
        pytest.param(((1,), (2, "x", 3, 4)), "expected.* 3 .*4", id="in the second"),
        pytest.param(([(1, "x", 5), 7],), "int", id="no group"),
        pytest.param(([{"id": 1}, None],), "None", id="none among groups"),
        pytest.param(({1: 2},), "1", id="key that is no name"),
    ],
)
async def test_insert_refuses_parameters_that_do_not_fit(
    conn: Conn, create: Create, fetch: Fetch, args: tuple[Any, ...], message: str
) -> None:
    await create(users)

    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        await conn.execute(insert(users), *args)

    assert await fetch(select(users)) == []


@pytest.mark.parametrize(
    ("build", "args", "count", "rows"),
    [
        pytest.param(
            lambda: update(users).where(u.id == 1).values(name="x"),
            (),
            1,
            {1: ("x", 30)},
            id="values",
        ),
        pytest.param(
            lambda: update(users).where(u.id == 1).values(name="ann"),
            (),
            1,
            {1: ("ann", 30)},
            id="same value counts",
        ),
        pytest.param(
            lambda: update(users).where(u.id == 1), ({"age": 5},), 1, {1: ("ann", 5)}, id="subset"
        ),
        pytest.param(
            lambda: update(users).where(u.id == 1), ((1, "x", 5),), 1, {1: ("x", 5)}, id="tuple"
        ),
        pytest.param(
            lambda: update(users).where(u.id.in_([1, 3])).values(age=u.age + 1),
            (),
            2,
            {1: ("ann", 31), 3: ("100%", 21)},
            id="expression",
        ),
        pytest.param(
            lambda: update(users).where(u.id == bindparam("id")),
            ([{"id": 1, "name": "x"}, {"id": 2, "name": "y"}],),
            2,
            {1: ("x", 30), 2: ("y", None)},
            id="bindparam like a column",
        ),
        pytest.param(
            lambda: update(users).where(u.id == bindparam("id")),
            ({"id": 1, "name": "x"},),
            1,
            {1: ("x", 30)},
            id="bindparam like a column, once",
        ),
        pytest.param(
            lambda: update(users).where(u.id == bindparam("b_id")).values(name=bindparam("n")),
            ([{"b_id": 1, "n": "x"}, {"b_id": 99, "n": "y"}],),
            1,
            {1: ("x", 30)},
            id="bindparams",
        ),
        pytest.param(
            lambda: update(users).where(u.id == 4).ordered_values((u.age, 1), (u.name, u.age)),
            (),
            1,
            {4: ("1", 1)},
            id="ordered values",
        ),
        pytest.param(
            lambda: update(users).where(u.id == o.user_id, o.id == 3).values({u.name: o.name}),
            (),
            1,
            {3: ("cup", 20)},
            id="two tables",
        ),
        pytest.param(
            lambda: (
                update(users)
                .where(u.id == 2)
                .values(name=select(func.max(o.name)).scalar_subquery())
            ),
            (),
            1,
            {2: ("pen", None)},
            id="subquery",
        ),
        pytest.param(
            lambda: update(users).where(u.id > 1).values(age=0).with_dialect_options(mysql_limit=1),
            (),
            1,
            {},
            id="limit",
        ),
        pytest.param(
            lambda: update(users).where(u.id == 99).values(name="x"), (), 0, {}, id="no match"
        ),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_update_changes_rows(
    conn: Conn,
    fetch: Fetch,
    build: Callable[[], Any],
    args: tuple[Any, ...],
    count: int,
    rows: dict[int, tuple[Any, ...]],
) -> None:
    result = await conn.execute(build(), *args)

    assert result.rowcount == count
    got = {row.id: (row.name, row.age) for row in await fetch(select(users))}
    assert {key: got[key] for key in rows} == rows


@pytest.mark.parametrize(
    ("build", "args", "gone"),
    [
        pytest.param(lambda: delete(users).where(u.id == 2), (), {2}, id="where"),
        pytest.param(lambda: delete(users).where(u.id.in_([2, 4, 9])), (), {2, 4}, id="in"),
        pytest.param(lambda: delete(users).where(u.id.in_([])), (), set(), id="in empty"),
        pytest.param(
            lambda: delete(users).where(u.id == bindparam("x")),
            ([{"x": 2}, {"x": 4}, {"x": 9}],),
            {2, 4},
            id="many",
        ),
        pytest.param(
            lambda: delete(orders).where(o.user_id == u.id, u.name == "ann"), (), set(), id="using"
        ),
        pytest.param(
            lambda: text("delete from users where id = :x"),
            ([{"x": 2}, {"x": 4}],),
            {2, 4},
            id="text",
        ),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_delete_removes_rows(
    conn: Conn, fetch: Fetch, build: Callable[[], Any], args: tuple[Any, ...], gone: set[int]
) -> None:
    result = await conn.execute(build(), *args)

    assert {row.id for row in await fetch(select(u.id))} == {1, 2, 3, 4} - gone
    assert result.rowcount == len(gone) or not gone


# -- upserts -------------------------------------------------------------------------------------


def _upsert(**changes: Any) -> Any:
    """Make an upsert of `users`; a function among *changes* takes the inserted row."""
    statement = mysql.insert(users)
    return statement.on_duplicate_key_update(
        {
            name: change(statement.inserted) if callable(change) else change
            for name, change in changes.items()
        }
    )


UPSERTS = [
    pytest.param(
        lambda: _upsert(name=lambda new: new.name), {}, [("n1", 30), ("n9", 9)], id="inserted"
    ),
    pytest.param(lambda: _upsert(name="const%s"), {}, [("const%s", 30), ("n9", 9)], id="constant"),
    pytest.param(lambda: _upsert(age=u.age + 1), {}, [("ann", 31), ("n9", 9)], id="expression"),
    pytest.param(
        lambda: _upsert(name=lambda new: func.concat(new.name, "!%s")),
        {},
        [("n1!%s", 30), ("n9", 9)],
        id="function of inserted",
    ),
    pytest.param(
        lambda: _upsert(name=bindparam("new")),
        {"new": "given"},
        [("given", 30), ("n9", 9)],
        id="bind",
    ),
    pytest.param(
        lambda: _upsert(name=bindparam("new", "default")),
        {},
        [("default", 30), ("n9", 9)],
        id="value",
    ),
]


@pytest.mark.parametrize(("build", "more", "rows"), UPSERTS)
@pytest.mark.usefixtures("filled")
async def test_upsert_of_one_row(
    conn: Conn, fetch: Fetch, build: Callable[[], Any], more: dict[str, Any], rows: list[Any]
) -> None:
    changed = await conn.execute(build(), {"id": 1, "name": "n1", "age": 1, **more})
    added = await conn.execute(build(), {"id": 9, "name": "n9", "age": 9, **more})

    assert added.rowcount == 1 and changed.rowcount in (1, 2)
    assert await fetch(select(u.name, u.age).where(u.id.in_([1, 9])).order_by(u.id)) == rows


@pytest.mark.parametrize(("build", "more", "rows"), UPSERTS)
@pytest.mark.usefixtures("filled")
async def test_upsert_of_many_rows(
    conn: Conn, fetch: Fetch, build: Callable[[], Any], more: dict[str, Any], rows: list[Any]
) -> None:
    await conn.execute(
        build(),
        [{"id": 1, "name": "n1", "age": 1, **more}, {"id": 9, "name": "n9", "age": 9, **more}],
    )

    assert await fetch(select(u.name, u.age).where(u.id.in_([1, 9])).order_by(u.id)) == rows


@pytest.mark.usefixtures("filled")
async def test_upsert_of_many_rows_has_its_own_parameters_per_row(conn: Conn, fetch: Fetch) -> None:
    statement = _upsert(name=bindparam("new"))

    await conn.execute(
        statement,
        [{"id": i, "name": f"n{i}", "new": f"new{i}"} for i in (1, 2, 8, 3)],
    )

    rows = await fetch(select(u.id, u.name).where(u.id.in_([1, 2, 3, 8])).order_by(u.id))
    assert rows == [(1, "new1"), (2, "new2"), (3, "new3"), (8, "n8")]


@pytest.mark.usefixtures("filled")
async def test_upsert_with_literals_keeps_them_apart(conn: Conn, fetch: Fetch) -> None:
    for value in ("first", "second"):
        await conn.execute(_upsert(name=value), [{"id": 1, "age": 0}, {"id": 2, "age": 0}])

        assert await fetch(select(u.name).where(u.id < 3)) == [(value,)] * 2


# -- RETURNING -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("mariadb", "filled")
async def test_insert_returning_gives_rows(fetch: Fetch) -> None:
    statement = insert(users).values(id=9, name="x").returning(u.id, u.name, (u.id + 1).label("n"))

    (row,) = await fetch(statement)

    assert row == (9, "x", 10)
    assert (row[u.id], row.n) == (9, 10)


@pytest.mark.usefixtures("mariadb", "filled")
async def test_values_of_many_returning_gives_rows(fetch: Fetch) -> None:
    statement = insert(users).values([{"id": 8}, {"id": 9}]).returning(u.id)

    assert await fetch(statement) == [(8,), (9,)]


@pytest.mark.usefixtures("mariadb", "filled")
async def test_delete_returning_gives_rows(fetch: Fetch) -> None:
    assert await fetch(delete(users).where(u.id == 2).returning(u.name)) == [("bob",)]


@pytest.mark.usefixtures("mariadb", "filled")
async def test_upsert_returning_gives_rows(fetch: Fetch) -> None:
    statement = mysql.insert(users).values(id=1, name="x")
    statement = statement.on_duplicate_key_update(name=statement.inserted.name + "!")

    assert await fetch(statement.returning(u.id, u.name)) == [(1, "x!")]


@pytest.mark.usefixtures("mariadb", "create")
async def test_returning_processes_types(create: Create, fetch: Fetch) -> None:
    tbl = Table(
        "t", MetaData(), Column("id", Integer, primary_key=True),
        Column("e", Enum(Small)), Column("p", Prefixed), Column("j", JSON),
    )  # fmt: skip
    await create(tbl)

    rows = await fetch(
        tbl.insert()
        .values(e=Small.B, p="user:x", j={"a": [1]})
        .returning(tbl.c.e, tbl.c.p, tbl.c.j)
    )

    assert rows == [(Small.B, "user:x", {"a": [1]})]


@pytest.mark.usefixtures("mysql_only", "filled")
async def test_returning_on_mysql_is_refused(conn: Conn) -> None:
    with pytest.raises((sqlalchemy.exc.CompileError, pymysql.err.Error), match="RETURNING"):
        await conn.execute(insert(users).values(id=9).returning(u.id))


# -- schema_translate_map and the other options --------------------------------------------------


async def test_schema_translate_map_is_honoured(
    database: str, other_database: str, conn: Conn, fetch: Fetch
) -> None:
    tbl = Table("t", MetaData(schema="per_user"), Column("a", Integer))
    unnamed = Table("t", MetaData(), Column("a", Integer))
    maps = [{"per_user": database}, {"per_user": other_database}]
    for number, translate in enumerate(maps):
        option = {"schema_translate_map": translate}
        await conn.execute(CreateTable(tbl).execution_options(**option))
        await conn.execute(tbl.insert().execution_options(**option), {"a": number})
        await conn.execute(
            tbl.insert().execution_options(**option), [{"a": number + 10}, {"a": number + 20}]
        )

    for _ in range(2):
        for number, translate in enumerate(maps):
            statement = select(tbl).order_by(tbl.c.a)
            rows = await fetch(statement.execution_options(schema_translate_map=translate))
            assert rows == [(number,), (number + 10,), (number + 20,)]
            assert rows[0][tbl.c.a] == number
        rows = await fetch(
            select(func.min(unnamed.c.a)).execution_options(
                schema_translate_map={None: other_database}
            )
        )
        assert rows == [(1,)]


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"nonsense": 1}, id="unknown"),
        pytest.param({"yield_per": -1}, id="yield_per"),
        pytest.param({"schema_translate_map": ["x"]}, id="map that is none"),
        pytest.param({"insertmanyvalues_page_size": 0}, id="page size"),
        pytest.param({"insertmanyvalues_page_size": "x"}, id="page size that is none"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_option_that_cannot_be_honoured_is_refused(
    conn: Conn, options: dict[str, Any]
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=next(iter(options))):
        await conn.execute(select(u.id).execution_options(**options))


async def test_page_size_splits_an_insert(
    conn: Conn, create: Create, count_statements: Callable[[], Awaitable[int]]
) -> None:
    await create(users)
    before = await count_statements()

    await conn.execute(
        insert(users).execution_options(insertmanyvalues_page_size=10),
        [{"name": str(i)} for i in range(25)],
    )

    assert await count_statements() - before == 3


@pytest.fixture
async def count_statements(fetch: Fetch) -> Callable[[], Awaitable[int]]:
    """Tell how many INSERTs the session has sent."""

    async def count() -> int:
        (row,) = await fetch("show session status like 'Com_insert'")
        return int(row["Value"])

    return count


# -- compiled_cache ------------------------------------------------------------------------------

by_id = select(u.id).where(u.id == bindparam("x"))


@pytest.mark.parametrize(
    ("statement", "args", "stored"),
    [
        pytest.param(select(u.id), (), True, id="no parameters"),
        pytest.param(select(u.id).where(u.id == 1), (), False, id="literal"),
        pytest.param(by_id, ({"x": 1},), True, id="given"),
        pytest.param(by_id.where(u.name == "ann"), ({"x": 1},), False, id="given and literal"),
        pytest.param(
            select(u.id).where(u.id == bindparam("x", 1)), (), False, id="default not given"
        ),
        pytest.param(
            select(u.id).where(u.id == bindparam("x", 1)), ({"x": 1},), True, id="default given"
        ),
        pytest.param(select(u.id).where(u.id.in_([1, 2])), (), False, id="in"),
        pytest.param(by_id.where(), ([{"x": 1}, {"x": 2}],), False, id="many"),
        pytest.param(text("select 1"), (), True, id="text"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_compiled_cache_stores(
    engine: aiomysqlx.Engine, conn: Conn, statement: Any, args: tuple[Any, ...], stored: bool
) -> None:
    cache: dict[Any, Any] = {}
    cached = aiomysqlx.SAConnection(conn.connection, engine, compiled_cache=cache)  # type: ignore[arg-type]

    await cached.execute(statement, *args)

    assert list(cache) == ([statement] if stored else [])


@pytest.mark.usefixtures("filled")
async def test_compiled_cache_gives_the_values_at_hand(
    engine: aiomysqlx.Engine, conn: Conn
) -> None:
    cache: dict[Any, Any] = {}
    cached = aiomysqlx.SAConnection(conn.connection, engine, compiled_cache=cache)  # type: ignore[arg-type]
    ids = select(u.id).where(u.id.in_(bindparam("ids"))).order_by(u.id)

    assert [await cached.scalar(by_id, x=x) for x in (1, 2, 9)] == [1, 2, None]
    assert [await cached.scalar(ids, ids=given) for given in ([3, 2], [], [4])] == [2, None, 4]
    assert set(cache) == {by_id, ids}
    row = await (await cached.execute(by_id, x=3)).first()
    assert row is not None and row[u.id] == 3
    with pytest.raises(aiomysqlx.ArgumentError, match="'x'"):
        await cached.execute(by_id)


@pytest.mark.usefixtures("filled")
async def test_compiled_cache_keeps_statements_alike_apart(
    engine: aiomysqlx.Engine, conn: Conn
) -> None:
    cached = aiomysqlx.SAConnection(conn.connection, engine, compiled_cache={})  # type: ignore[arg-type]
    one, two = (select(u.id).where(u.id == bindparam("x", value)) for value in (1, 2))
    required = select(u.id).where(u.id == bindparam("x"))

    assert [await cached.scalar(statement, x=3) for statement in (one, two, required)] == [3] * 3

    assert [await cached.scalar(statement) for statement in (one, two)] == [1, 2]
    with pytest.raises(aiomysqlx.ArgumentError, match="'x'"):
        await cached.scalar(required)


@pytest.mark.usefixtures("filled")
async def test_compiled_cache_leaves_params_of_a_statement_alone(
    engine: aiomysqlx.Engine, conn: Conn
) -> None:
    cached = aiomysqlx.SAConnection(conn.connection, engine, compiled_cache={})  # type: ignore[arg-type]
    statement = by_id.params(x=2)

    assert [await cached.scalar(statement) for _ in range(2)] == [2, 2]
    assert [await cached.scalar(statement, x=3), await cached.scalar(statement)] == [3, 2]


async def test_compiled_cache_knows_the_columns_of_an_insert(
    engine: aiomysqlx.Engine, conn: Conn, create: Create, fetch: Fetch
) -> None:
    await create(users)
    cached = aiomysqlx.SAConnection(conn.connection, engine, compiled_cache={})  # type: ignore[arg-type]
    statement = insert(users)

    await cached.execute(statement, {"id": 1, "name": "x"})
    await cached.execute(statement, {"id": 2})
    await cached.execute(statement, {"id": 3, "age": 5})
    await cached.execute(statement, {"id": 4, "name": "y"})

    rows = [(1, "x", None), (2, None, None), (3, None, 5), (4, "y", None)]
    assert await fetch(select(users)) == rows


async def test_compiled_cache_of_the_engine_is_used(connect_kwargs: dict[str, Any]) -> None:
    cache: dict[Any, Any] = {}
    statement = select(bindparam("x", type_=Integer))

    async with (
        aiomysqlx.create_engine(**connect_kwargs, compiled_cache=cache) as engine,
        engine.acquire() as conn,
    ):
        assert [await conn.scalar(statement, x=x) for x in (1, 2)] == [1, 2]

    assert list(cache) == [statement]


async def test_compiled_cache_keeps_a_function_by_itself(connect_kwargs: dict[str, Any]) -> None:
    cache: dict[Any, Any] = {}
    now = func.now()

    async with (
        aiomysqlx.create_engine(**connect_kwargs, compiled_cache=cache) as engine,
        engine.acquire() as conn,
    ):
        for _ in range(5):
            await conn.execute(now)

    assert list(cache) == [now]


# -- statements without a cache key --------------------------------------------------------------


class Uncached(TypeDecorator[int]):
    """A type that has no cache key."""

    impl = Integer
    cache_ok = False

    def __init__(self, plus: int) -> None:
        super().__init__()
        self.plus = plus

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        return None if value is None else value + self.plus


@pytest.mark.usefixtures("filled")
async def test_statement_without_a_cache_key_is_compiled_each_time(fetch: Fetch) -> None:
    for plus in (1, 2):
        statement = select(type_coerce(u.id, Uncached(plus)).label("v")).where(u.id == plus)

        assert await fetch(statement) == [(2 * plus,)]


@pytest.mark.usefixtures("filled")
async def test_bytes_are_compared_as_bytes(fetch: Fetch) -> None:
    name = type_coerce(u.name, LargeBinary)

    assert await fetch(select(u.id).where(name.in_([b"ann", b"100%"])).order_by(u.id)) == [
        (1,),
        (3,),
    ]


async def test_lightweight_tables_work(conn: Conn, create: Create, fetch: Fetch) -> None:
    await create(users)
    light = table("users", column("id"), column("name"))

    await conn.execute(light.insert(), [{"id": 1, "name": "x"}, {"id": 2, "name": "y"}])
    await conn.execute(light.update().where(light.c.id == 1).values(name="z"))

    assert await fetch(select(light).order_by(light.c.id)) == [(1, "z"), (2, "y")]


# -- servers ---------------------------------------------------------------------------------------


def test_one_dialect_serves_servers_of_both_kinds() -> None:
    dialect = MySQLDialect_pymysql(paramstyle="pyformat")
    versions = ("10.11.6-MariaDB", "9.7.0", "5.5.5-10.11.6-MariaDB", "8.0.40")

    kinds = []
    for version in versions:
        learn(dialect, version)
        planner = planner_for(dialect, version, False)
        quotes = planner.dialect.identifier_preparer.quote("offset") == "`offset`"
        kinds.append((dialect.is_mariadb, planner.dialect.is_mariadb, quotes))

    assert kinds == [(True,) * 3, (False,) * 3, (True,) * 3, (False,) * 3]


async def test_word_that_only_one_server_reserves_is_a_name(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    words = ("offset", "returning", "lateral", "rank", "system", "period")
    reserved = Table("reserved", MetaData(), *(Column(word, Integer) for word in words))
    await create(reserved)

    await conn.execute(reserved.insert(), dict.fromkeys(words, 1))
    (row,) = await fetch(select(reserved).order_by(*reserved.c))

    assert row == (1,) * len(words)
