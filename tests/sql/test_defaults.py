"""Defaults that Python computes, for one row and for many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    TypeDecorator,
    bindparam,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateSequence

import aiomysqlx

pytestmark = [pytest.mark.server, pytest.mark.any_loop]

Create = Callable[..., Awaitable[None]]
Fetch = Callable[..., Awaitable[list[Any]]]
Conn = aiomysqlx.SAConnection


class Shout(TypeDecorator[str]):
    """A type whose parameters are processed, defaults among them."""

    impl = String(50)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        return None if value is None else value.upper()


def named(context: Any) -> str:
    """Give a default made of another parameter of the same row."""
    parameters = context.get_current_parameters()
    return f"for {parameters.get('name', parameters.get('n'))}"


def table(*columns: Column[Any]) -> Table:
    """Make a table with a key, a name and *columns*."""
    return Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("name", String(50)),
        *columns,
    )


WAYS = [
    pytest.param(lambda tbl: (tbl.insert().values(name="a"),), id="values"),
    pytest.param(lambda tbl: (tbl.insert(), {"name": "a"}), id="dict"),
    pytest.param(lambda tbl: (tbl.insert().values(name=bindparam("n")), {"n": "a"}), id="bind"),
    pytest.param(lambda tbl: (tbl.insert().values([{"name": "a"}]),), id="list of values"),
    pytest.param(
        lambda tbl: (mysql.insert(tbl).values(name="a").on_duplicate_key_update(name="b"),),
        id="upsert",
    ),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("make", "value"),
    [
        pytest.param(lambda: Column("v", Integer, default=5), 5, id="scalar"),
        pytest.param(lambda: Column("v", String(9), default="%s"), "%s", id="percent"),
        pytest.param(lambda: Column("v", Integer, default=lambda: 6), 6, id="callable"),
        pytest.param(lambda: Column("v", Integer, default=lambda context: 7), 7, id="context"),
        pytest.param(lambda: Column("v", String(50), default=named), "for a", id="parameters"),
        pytest.param(lambda: Column("v", String(9), default=func.upper("x%")), "X%", id="function"),
        pytest.param(
            lambda: Column("v", Integer, default=select(literal(3) + 4).scalar_subquery()),
            7,
            id="subquery",
        ),
        pytest.param(lambda: Column("v", String(9), default=text("'5%'")), "5%", id="text"),
        pytest.param(lambda: Column("v", String(9), server_default="5%"), "5%", id="server"),
        pytest.param(lambda: Column("v", Shout, default="x"), "X", id="processed scalar"),
        pytest.param(lambda: Column("v", Shout, default=lambda: "x"), "X", id="processed callable"),
        pytest.param(lambda: Column("a b%", Integer, key="v", default=8), 8, id="odd name"),
        pytest.param(lambda: Column("v", Integer, default=None), None, id="none"),
    ],
)
async def test_default_is_written(
    create: Create,
    fetch: Fetch,
    conn: Conn,
    way: Callable[[Table], tuple[Any, ...]],
    make: Callable[[], Column[Any]],
    value: Any,
) -> None:
    tbl = table(make())
    await create(tbl)

    for _ in range(2):
        await conn.execute(*way(tbl))

    assert await fetch(select(tbl.c.name, tbl.c.v)) == [("a", value)] * 2


@pytest.mark.parametrize(
    ("make", "values"),
    [
        pytest.param(lambda: Column("v", Integer, default=5), [5, 9, None, 5], id="scalar"),
        pytest.param(
            lambda: Column("v", Integer, default=count(1).__next__),
            [1, 9, None, 2],
            id="callable",
        ),
        pytest.param(
            lambda: Column("v", String(50), default=named),
            ["for a", "9", None, "for d"],
            id="parameters",
        ),
    ],
)
async def test_default_gives_way_to_a_value(
    create: Create,
    fetch: Fetch,
    conn: Conn,
    make: Callable[[], Column[Any]],
    values: list[Any],
) -> None:
    tbl = table(make())
    await create(tbl)

    await conn.execute(tbl.insert(), {"name": "a"})
    await conn.execute(tbl.insert(), {"name": "b", "v": 9})
    await conn.execute(tbl.insert(), {"name": "c", "v": None})
    await conn.execute(tbl.insert(), {"name": "d"})

    assert [row.v for row in await fetch(select(tbl.c.v).order_by(tbl.c.id))] == values


async def test_default_of_many_rows_is_computed_for_each(
    create: Create, fetch: Fetch, conn: Conn
) -> None:
    numbers = count(1)
    tbl = table(
        Column("n", Integer, default=lambda: next(numbers)),
        Column("v", String(50), default=named),
        Column("s", String(50), default=func.concat("s", "%")),
    )
    await create(tbl)

    result = await conn.execute(tbl.insert(), [{"name": str(i)} for i in range(5)])

    assert result.rowcount == 5
    rows = await fetch(select(tbl.c.n, tbl.c.v, tbl.c.s).order_by(tbl.c.id))
    assert rows == [(i + 1, f"for {i}", "s%") for i in range(5)]


async def test_default_of_the_statement_values_is_seen_by_the_context(
    create: Create, fetch: Fetch, conn: Conn
) -> None:
    tbl = table(Column("v", String(50), default=named))
    await create(tbl)

    await conn.execute(tbl.insert().values(name="x"), [{"id": 1}, {"id": 2}])

    assert await fetch(select(tbl.c.id, tbl.c.v)) == [(1, "for x"), (2, "for x")]


async def test_context_sees_earlier_defaults(create: Create, fetch: Fetch, conn: Conn) -> None:
    tbl = table(
        Column("a", Integer, default=3),
        Column("b", Integer, default=lambda c: c.get_current_parameters()["a"] * 2),
    )
    await create(tbl)

    await conn.execute(tbl.insert(), {"name": "x"})
    await conn.execute(tbl.insert(), [{"name": "y"}, {"name": "z"}])

    assert await fetch(select(tbl.c.a, tbl.c.b)) == [(3, 6)] * 3


async def test_context_of_many_values_gives_the_row_or_all(
    create: Create, fetch: Fetch, conn: Conn
) -> None:
    seen: list[dict[str, Any]] = []

    def default(context: Any) -> str:
        seen.append(dict(context.get_current_parameters(isolate_multiinsert_groups=False)))
        return "row " + context.get_current_parameters()["name"]

    tbl = table(Column("v", String(50), default=default))
    await create(tbl)

    await conn.execute(tbl.insert().values([{"name": "a"}, {"name": "b"}, {"name": "c"}]))

    assert await fetch(select(tbl.c.v)) == [("row a",), ("row b",), ("row c",)]
    assert {"name_m0", "name_m1", "name_m2"} <= set(seen[0])


async def test_context_tells_the_statement(create: Create, conn: Conn) -> None:
    seen: list[Any] = []

    def default(context: Any) -> int:
        seen.append((context.isinsert, context.isupdate, context.current_column))
        seen.append((context.current_parameters["name"], context.compiled.statement is not None))
        seen.append(context.dialect.name)
        return 1

    tbl = table(Column("v", Integer, default=default, onupdate=default))
    await create(tbl)

    await conn.execute(tbl.insert().values(name="a"))
    await conn.execute(tbl.update().values(name="b"))

    assert seen == [
        (True, False, tbl.c.v), ("a", True), "mysql",
        (False, True, tbl.c.v), ("b", True), "mysql",
    ]  # fmt: skip


async def test_default_that_raises_writes_nothing(create: Create, fetch: Fetch, conn: Conn) -> None:
    values = iter([1, 2])
    tbl = table(Column("v", Integer, default=lambda: next(values, None) or 1 / 0))
    await create(tbl)

    with pytest.raises(ZeroDivisionError):
        await conn.execute(tbl.insert(), [{"name": str(i)} for i in range(3)])

    assert await fetch(select(tbl)) == []


async def test_multi_values_compute_a_default_for_each_row(
    create: Create, fetch: Fetch, conn: Conn
) -> None:
    numbers = count(1)
    tbl = table(Column("v", Integer, default=lambda: next(numbers)), Column("s", Shout))
    await create(tbl)

    for _ in range(2):
        await conn.execute(tbl.insert().values([{"name": "a", "s": "x"}, {"name": "b", "s": "y"}]))

    rows = await fetch(select(tbl.c.name, tbl.c.v, tbl.c.s).order_by(tbl.c.v))
    assert rows == [("a", 1, "X"), ("b", 2, "Y"), ("a", 3, "X"), ("b", 4, "Y")]


# -- primary keys --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "key"),
    [
        pytest.param("k%", "k%", id="scalar"),
        pytest.param(lambda: "made", "made", id="callable"),
        pytest.param(func.upper("key%"), "KEY%", id="function"),
        pytest.param(select(literal("sub")).scalar_subquery(), "sub", id="subquery"),
        pytest.param(text("'t%'"), "t%", id="text"),
    ],
)
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
async def test_default_of_a_primary_key(
    create: Create, fetch: Fetch, conn: Conn, default: Any, key: str, many: bool
) -> None:
    tbl = Table(
        "t",
        MetaData(),
        Column("id", Integer, primary_key=True, autoincrement=False),
        Column("key", String(20), primary_key=True, default=default),
        Column("name", String(20)),
    )
    await create(tbl)
    rows = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]

    for parameters in [rows] if many else rows:
        await conn.execute(tbl.insert(), parameters)

    assert await fetch(select(tbl)) == [(1, key, "a"), (2, key, "b")]


async def test_generated_key_is_made_by_the_server(
    create: Create, fetch: Fetch, conn: Conn, server: Any
) -> None:
    default = func.uuid()
    tbl = Table(
        "t",
        MetaData(),
        Column("id", String(36), primary_key=True, default=default),
        Column("name", String(20)),
    )
    await create(tbl)

    await conn.execute(tbl.insert().values(name="a"))
    await conn.execute(tbl.insert(), [{"name": "b"}, {"name": "c"}])

    keys = [row.id for row in await fetch(select(tbl.c.id))]
    assert len(set(keys)) == 3 and {len(key) for key in keys} == {36}


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("key", [True, False], ids=["primary key", "plain column"])
async def test_sequence_gives_the_next_value(
    create: Create, fetch: Fetch, conn: Conn, key: bool
) -> None:
    sequence = Sequence("seq", start=10)
    tbl = Table(
        "t",
        MetaData(),
        Column("id", Integer, *([sequence] if key else []), primary_key=True),
        Column("v", Integer, *([] if key else [sequence])),
        Column("name", String(20)),
    )
    await conn.execute(CreateSequence(sequence))
    await create(tbl)

    await conn.execute(tbl.insert().values(name="a"))
    await conn.execute(tbl.insert(), {"name": "b"})
    await conn.execute(tbl.insert(), [{"name": "c"}, {"name": "d"}])

    column = tbl.c.id if key else tbl.c.v
    assert await fetch(select(column, tbl.c.name).order_by(tbl.c.name)) == [
        (10, "a"),
        (11, "b"),
        (12, "c"),
        (13, "d"),
    ]


@pytest.mark.usefixtures("mariadb")
async def test_sequence_is_executed(conn: Conn) -> None:
    sequence = Sequence("seq", start=5)
    await conn.execute(CreateSequence(sequence))

    assert await conn.scalar(select(sequence.next_value())) == 5
    assert await conn.scalar(sequence) == 6


# -- onupdate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "value"),
    [
        pytest.param(lambda: Column("v", Integer, onupdate=5), 5, id="scalar"),
        pytest.param(lambda: Column("v", Integer, onupdate=lambda: 6), 6, id="callable"),
        pytest.param(lambda: Column("v", String(50), onupdate=named), "for b", id="parameters"),
        pytest.param(
            lambda: Column("v", String(9), onupdate=func.upper("x%")), "X%", id="function"
        ),
        pytest.param(lambda: Column("v", Shout, onupdate=lambda: "x"), "X", id="processed"),
        pytest.param(
            lambda: Column("a b%", Integer, key="v", onupdate=lambda: 8), 8, id="odd name"
        ),
    ],
)
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(lambda tbl: (update(tbl).values(name="b"),), id="values"),
        pytest.param(lambda tbl: (update(tbl), {"name": "b"}), id="dict"),
        pytest.param(
            lambda tbl: (
                update(tbl).where(tbl.c.id == bindparam("key")),
                [{"key": 1, "name": "b"}, {"key": 2, "name": "b"}],
            ),
            id="many",
        ),
    ],
)
async def test_onupdate_is_written(
    create: Create,
    fetch: Fetch,
    conn: Conn,
    way: Callable[[Table], tuple[Any, ...]],
    make: Callable[[], Column[Any]],
    value: Any,
) -> None:
    tbl = table(make())
    await create(tbl)
    await conn.execute(insert(tbl), [{"name": "a"}, {"name": "a"}])

    await conn.execute(*way(tbl))

    assert await fetch(select(tbl.c.name, tbl.c.v)) == [("b", value)] * 2


async def test_onupdate_gives_way_to_a_value(create: Create, fetch: Fetch, conn: Conn) -> None:
    tbl = table(Column("v", Integer, onupdate=5))
    await create(tbl)
    await conn.execute(insert(tbl), {"name": "a"})

    await conn.execute(update(tbl).values(v=1))
    first = await fetch(select(tbl.c.v))
    await conn.execute(update(tbl), {"v": None})

    assert (first, await fetch(select(tbl.c.v))) == ([(1,)], [(None,)])


# -- many rows with different keys ---------------------------------------------------------------


async def test_row_with_a_column_that_the_first_lacks_is_refused(
    create: Create, fetch: Fetch, conn: Conn
) -> None:
    tbl = table(Column("v", Integer, default=5))
    await create(tbl)

    with pytest.raises(aiomysqlx.ArgumentError, match=r"column names: v:.*parameter group 1"):
        await conn.execute(tbl.insert(), [{"name": "a"}, {"name": "b", "v": 9}])

    assert await fetch(select(tbl)) == []


async def test_row_that_lacks_a_column_of_the_first_is_refused(
    create: Create, fetch: Fetch, conn: Conn
) -> None:
    tbl = table(Column("v", Integer, default=5))
    await create(tbl)

    with pytest.raises(aiomysqlx.ArgumentError, match=r"bind parameter 'v'.*parameter group 1"):
        await conn.execute(tbl.insert(), [{"name": "a", "v": 1}, {"name": "b"}])

    assert await fetch(select(tbl)) == []
