"""Many parameter groups in one execute, on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import date
from typing import Any

import pymysql
import pytest
from sqlalchemy import (
    Column,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import mysql

import aiomysqlx

pytestmark = pytest.mark.server

Create = Callable[..., Awaitable[None]]
Fetch = Callable[..., Awaitable[list[Any]]]
Conn = aiomysqlx.SAConnection

items = Table(
    "items",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(200), unique=True),
    Column("size", Integer),
)
blobs = Table(
    "blobs",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("data", mysql.LONGBLOB),
)
i = items.c


@pytest.fixture
async def filled(create: Create, conn: Conn) -> None:
    """The table `items` with 100 rows."""
    await create(items)
    await conn.execute(
        insert(items), [{"id": n, "name": f"n{n}", "size": n} for n in range(1, 101)]
    )


async def counted(conn: Conn, command: str = "insert") -> int:
    """Tell how many statements of one kind the session has sent."""
    result = await conn.execute(f"show session status like 'Com_{command}'")
    row = await result.first()
    return int(row["Value"]) if row else 0


# -- INSERT --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [1, 2, 3, 1000, 5000])
async def test_insert_of_many_is_one_statement(
    conn: Conn, create: Create, fetch: Fetch, rows: int
) -> None:
    await create(items)
    before = await counted(conn)

    result = await conn.execute(
        insert(items), [{"name": f"it's {n}%s", "size": n} for n in range(rows)]
    )

    assert await counted(conn) - before == 1
    assert (result.rowcount, result.returns_rows) == (rows, False)
    got = await fetch(select(i.id, i.name, i.size).order_by(i.size))
    assert got == [(n + 1, f"it's {n}%s", n) for n in range(rows)]


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param([(1, "a", 1), (2, "b", 2)], id="tuples"),
        pytest.param([[1, "a", 1], [2, "b", 2]], id="lists"),
        pytest.param([{"id": 1, "name": "a", "size": 1}, (2, "b", 2)], id="mixed"),
        pytest.param(
            [{"id": 1, "name": "a", "size": 1}, {"size": 2, "name": "b", "id": 2}], id="order"
        ),
    ],
)
async def test_insert_takes_groups(
    conn: Conn, create: Create, fetch: Fetch, groups: list[Any]
) -> None:
    await create(items)

    await conn.execute(insert(items), groups)

    assert await fetch(select(items)) == [(1, "a", 1), (2, "b", 2)]


async def test_insert_of_many_gives_the_last_packets_first_id(conn: Conn, create: Create) -> None:
    await create(items)

    first = await conn.execute(insert(items), [{"name": str(n)} for n in range(10)])
    given = await conn.execute(insert(items), [{"id": n, "name": str(n)} for n in (50, 51, 52)])

    assert first.lastrowid == 1
    assert given.lastrowid in (50, 52)


@pytest.mark.parametrize(
    ("build", "parameters", "expected"),
    [
        pytest.param(
            lambda: insert(items).values(name=bindparam("n"), size=literal(1) + bindparam("s")),
            [{"n": "a", "s": 1}, {"n": "b", "s": 2}],
            [("a", 2), ("b", 3)],
            id="expression of a parameter",
        ),
        pytest.param(
            lambda: insert(items).values(size=7),
            [{"name": "a"}, {"name": "b"}],
            [("a", 7), ("b", 7)],
            id="constant",
        ),
        pytest.param(
            lambda: insert(items).values(size=func.length("abc%"), name=func.upper(bindparam("n"))),
            [{"n": "a"}, {"n": "b"}],
            [("A", 4), ("B", 4)],
            id="function",
        ),
        pytest.param(
            lambda: insert(items).values(
                name=bindparam("n"), size=select(literal(3)).scalar_subquery()
            ),
            [{"n": "VALUES (a)"}, {"n": ") VALUES ("}],
            [("VALUES (a)", 3), (") VALUES (", 3)],
            id="subquery",
        ),
        pytest.param(
            lambda: insert(items).prefix_with("/* VALUES (1) %s */"),
            [{"name": "a"}, {"name": "b"}],
            [("a", None), ("b", None)],
            id="prefix",
        ),
        pytest.param(
            lambda: insert(items).values(name=bindparam("n", literal_execute=True)),
            [{"n": "a%"}, {"n": "b'"}],
            [("a%", None), ("b'", None)],
            id="literal",
        ),
        pytest.param(
            lambda: insert(items).from_select(["name"], select(bindparam("n", type_=String))),
            [{"n": "a"}, {"n": "b"}],
            [("a", None), ("b", None)],
            id="from select",
        ),
        pytest.param(
            lambda: insert(items).values([{"name": "a"}, {"name": bindparam("n")}]),
            [{"n": "b"}],
            [("a", None), ("b", None)],
            id="values of many",
        ),
    ],
)
async def test_insert_of_many_with(
    conn: Conn,
    create: Create,
    fetch: Fetch,
    build: Callable[[], Any],
    parameters: list[dict[str, Any]],
    expected: list[Any],
) -> None:
    await create(items)

    result = await conn.execute(build(), parameters)

    assert await fetch(select(i.name, i.size).order_by(i.id)) == expected
    assert result.rowcount == 2


async def test_insert_of_a_table_without_values(conn: Conn, create: Create, fetch: Fetch) -> None:
    await create(items)

    await conn.execute(insert(items), [{}, {}, {}])

    assert len(await fetch(select(items))) in (1, 3)


async def test_insert_into_a_table_named_value(
    conn: Conn, create: Create, fetch: Fetch, database: str
) -> None:
    # MariaDB takes the name unquoted after that of its database only.
    tbl = Table("value", MetaData(), Column("a", Integer), schema=database)
    await create(tbl)
    before = await counted(conn)

    await conn.execute(insert(tbl), [{"a": 1}, {"a": 2}])

    assert await counted(conn) - before == 1
    assert await fetch(select(tbl.c.a).order_by(tbl.c.a)) == [(1,), (2,)]


@pytest.mark.parametrize("rows", [[], ()], ids=["list", "tuple"])
async def test_insert_of_no_rows_is_refused(
    conn: Conn, create: Create, fetch: Fetch, rows: Any
) -> None:
    await create(items)

    with pytest.raises(aiomysqlx.ArgumentError, match="empty list"):
        await conn.execute(insert(items), rows)
    await conn.execute(insert(items).values(name="x"), rows)

    assert await fetch(select(i.name)) == [("x",)]


# -- max_allowed_packet --------------------------------------------------------------------------


@pytest.fixture
def small_packets(admin: pymysql.Connection[Any]) -> Iterator[int]:
    """The server's max_allowed_packet, made small for connections opened from here on."""
    with admin.cursor() as cursor:
        cursor.execute("SELECT @@global.max_allowed_packet")
        ((usual,),) = cursor.fetchall()
        cursor.execute("SET GLOBAL max_allowed_packet = 65536")
        yield 65536
        cursor.execute(f"SET GLOBAL max_allowed_packet = {usual}")


@pytest.fixture
async def small(
    small_packets: int, connect_kwargs: dict[str, Any]
) -> AsyncIterator[aiomysqlx.SAConnection]:
    """A connection that sends at most 64 KiB at once."""
    async with (
        aiomysqlx.create_engine(**connect_kwargs, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        yield conn


@pytest.mark.parametrize("length", [1, 50, 190])
@pytest.mark.parametrize("letter", ["é", "'", "💙"])
async def test_insert_is_split_by_bytes(
    small: Conn, create: Create, length: int, letter: str
) -> None:
    await create(items)
    names = [f"{n:05}" + letter * length for n in range(3000)]
    size = len("('00000'), ") + length * len(letter.encode().replace(b"'", b"\\'"))
    before = await counted(small)

    result = await small.execute(insert(items), [{"name": name} for name in names])

    packets = -(-len(names) * size // 65536)
    assert await counted(small) - before in (packets, packets + 1)
    assert result.rowcount == 3000
    rows = await (await small.execute(select(i.name).order_by(i.id))).fetchall()
    assert [row.name for row in rows] == names


async def test_packets_of_every_size_up_to_the_limit_are_taken(small: Conn, create: Create) -> None:
    await create(items)
    rows = [{"id": n, "name": f"{n:090}"} for n in range(1000, 1700)]

    for more in range(100):
        await small.execute(delete(items))
        result = await small.execute(insert(items), [{"id": 1, "name": "x" * more}, *rows])
        assert result.rowcount == 701


@pytest.mark.parametrize("many", [10, 1])
async def test_rows_of_nearly_a_packet_are_sent(small: Conn, create: Create, many: int) -> None:
    await create(blobs)
    data = [bytes([n]) * 32_600 for n in range(many)]

    await small.execute(insert(blobs), [{"data": blob} for blob in data])

    result = await small.execute(select(blobs.c.data).order_by(blobs.c.id))
    assert [row.data for row in await result.fetchall()] == data


async def test_row_beyond_a_packet_is_refused_and_nothing_is_written(
    small: Conn, create: Create
) -> None:
    await create(blobs)
    rows = [{"data": b"x"}] * 5000 + [{"data": b"x" * 70_000}]

    with pytest.raises((aiomysqlx.ArgumentError, pymysql.err.Error), match="max_allowed_packet"):
        await small.execute(insert(blobs), rows)

    assert await small.scalar("select 1") == 1
    assert await small.scalar(select(func.count()).select_from(blobs)) == 0


async def test_upsert_is_split_by_bytes(small: Conn, create: Create) -> None:
    await create(items)
    statement = mysql.insert(items)
    statement = statement.on_duplicate_key_update(
        size=statement.inserted.size, name=func.concat(statement.inserted.name, "!" * 50)
    )
    await small.execute(insert(items), [{"id": n, "name": f"n{n}"} for n in range(1, 11)])

    await small.execute(
        statement, [{"id": n, "name": f"{n:05}" + "x" * 100, "size": n} for n in range(1, 2001)]
    )

    assert await small.scalar(select(func.count()).select_from(items)) == 2000
    assert await small.scalar(select(func.sum(i.size))) == 2000 * 2001 // 2
    changed = select(func.count()).where(i.name.endswith("!" * 50))
    assert await small.scalar(changed) == 10


@pytest.mark.usefixtures("mariadb")
async def test_returning_is_whole_when_split(small: Conn, create: Create) -> None:
    await create(items)
    names = [f"{n:05}" + "x" * 100 for n in range(2000)]

    result = await small.execute(
        insert(items).returning(i.id, i.name), [{"name": n} for n in names]
    )

    rows = await result.fetchall()
    assert sorted(row.name for row in rows) == names
    assert {row.id for row in rows} == set(range(1, 2001))


async def test_text_insert_is_split_or_looped(small: Conn, create: Create) -> None:
    await create(items)
    names = [f"{n:05}" + "x" * 100 for n in range(1500)]

    result = await small.execute("insert into items (name) values (%s)", [(n,) for n in names])

    assert result.rowcount == 1500
    assert await small.scalar(select(func.count()).select_from(items)) == 1500


# -- upserts and RETURNING -----------------------------------------------------------------------


@pytest.mark.usefixtures("filled")
async def test_upsert_of_many_is_one_statement(conn: Conn, fetch: Fetch) -> None:
    statement = mysql.insert(items)
    statement = statement.on_duplicate_key_update(
        size=statement.inserted.size + bindparam("plus"), name="const)%s VALUES ("
    )
    before = await counted(conn)

    result = await conn.execute(
        statement,
        [{"id": 5, "name": "x5", "size": 1, "plus": 7}]
        + [{"id": n, "name": f"x{n}", "size": 1, "plus": 7} for n in range(101, 150)],
    )

    assert await counted(conn) - before == 1
    assert result.rowcount == 2 + 49
    assert await fetch(select(i.name, i.size).where(i.id == 5)) == [("const)%s VALUES (", 8)]


@pytest.mark.usefixtures("filled")
async def test_upsert_with_parameters_per_row(conn: Conn, fetch: Fetch) -> None:
    statement = mysql.insert(items).on_duplicate_key_update(size=bindparam("new"))

    await conn.execute(
        statement,
        [{"id": n, "name": f"n{n}", "size": 0, "new": 1000 + n // 10} for n in range(1, 101)],
    )

    assert [row.size for row in await fetch(select(i.size).order_by(i.id))] == [
        1000 + n // 10 for n in range(1, 101)
    ]


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("rows", [1, 2, 500])
async def test_returning_of_many_gives_a_row_for_each(
    conn: Conn, create: Create, in_order: bool, rows: int
) -> None:
    await create(items)
    statement = insert(items).returning(i.id, i.name, sort_by_parameter_order=in_order)

    result = await conn.execute(statement, [{"name": f"n{n}"} for n in range(rows)])

    got = await result.fetchall()
    assert got == [(n + 1, f"n{n}") for n in range(rows)]
    assert got[0][i.name] == "n0"


@pytest.mark.usefixtures("mariadb")
async def test_returning_in_order_takes_keys_in_any_order(conn: Conn, create: Create) -> None:
    await create(items)
    ids = [5, 3, 9, 1]

    result = await conn.execute(
        insert(items).returning(i.id, sort_by_parameter_order=True), [{"id": n} for n in ids]
    )

    assert [row.id for row in await result.fetchall()] == ids


@pytest.mark.usefixtures("mariadb", "filled")
async def test_delete_returning_of_many_gives_all_rows(conn: Conn) -> None:
    statement = delete(items).where(i.id == bindparam("x")).returning(i.id)

    result = await conn.execute(statement, [{"x": 3}, {"x": 999}, {"x": 5}])

    assert sorted(row.id for row in await result.fetchall()) == [3, 5]


# -- bad groups ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        pytest.param(
            {"name": "x"}, aiomysqlx.ArgumentError, "'size'.*group 3999", id="missing key"
        ),
        pytest.param(
            {"name": "x", "size": 1, "id": 7}, aiomysqlx.ArgumentError, "id.*group 3999", id="more"
        ),
        pytest.param(
            {"name": object(), "size": 1},
            aiomysqlx.ArgumentError,
            "'name'.*object.*group 3999",
            id="type",
        ),
        pytest.param(
            {"name": "x", "size": float("nan")},
            aiomysqlx.ArgumentError,
            "'size'.*nan.*group 3999",
            id="nan",
        ),
        pytest.param(
            {"name": "\ud800", "size": 1},
            aiomysqlx.ArgumentError,
            "'name'.*group 3999",
            id="surrogate",
        ),
        pytest.param(("x",), aiomysqlx.ArgumentError, "group 3999", id="short tuple"),
        pytest.param((1, "x", 3, 4), aiomysqlx.ArgumentError, "group 3999", id="long tuple"),
        pytest.param(None, aiomysqlx.ArgumentError, "group 3999", id="none"),
        pytest.param(5, aiomysqlx.ArgumentError, "group 3999", id="int"),
        pytest.param("abc", aiomysqlx.ArgumentError, "group 3999", id="str"),
        pytest.param(
            {"name": "n1", "size": 1}, pymysql.err.IntegrityError, "Duplicate", id="duplicate"
        ),
    ],
)
@pytest.mark.parametrize("upsert", [False, True], ids=["insert", "upsert"])
async def test_bad_group_leaves_nothing_written(
    conn: Conn,
    create: Create,
    fetch: Fetch,
    bad: Any,
    error: type[Exception],
    message: str,
    upsert: bool,
) -> None:
    await create(items)
    groups: list[Any] = [{"name": f"n{n}", "size": n} for n in range(5000)]
    groups[3999] = bad
    statement: Any = insert(items)
    if upsert:
        statement = mysql.insert(items).on_duplicate_key_update(size=0)
        if error is pymysql.err.IntegrityError:
            statement = mysql.insert(items).on_duplicate_key_update(name="n2")

    with pytest.raises(error, match=message):
        await conn.execute(statement, groups)

    assert await fetch(select(items)) == []


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(update(items).where(i.id == bindparam("x")).values(size=-1), id="update"),
        pytest.param(delete(items).where(i.id == bindparam("x")), id="delete"),
        pytest.param(text("update items set size = -1 where id = :x"), id="text"),
    ],
)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        pytest.param({"y": 1}, "'x'.*group 2", id="missing"),
        pytest.param({"x": object()}, "'x'.*object.*group 2", id="type"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_bad_group_leaves_nothing_changed(
    conn: Conn, fetch: Fetch, statement: Any, bad: dict[str, Any], message: str
) -> None:
    before = await fetch(select(items))

    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        await conn.execute(statement, [{"x": 1}, {"x": 2}, bad])

    assert await fetch(select(items)) == before


async def test_generator_is_refused(conn: Conn, create: Create, fetch: Fetch) -> None:
    await create(items)

    with pytest.raises(aiomysqlx.ArgumentError, match="generator"):
        await conn.execute(insert(items), ({"name": str(n)} for n in range(3)))

    assert await fetch(select(items)) == []


async def test_processor_that_raises_leaves_nothing_written(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    tbl = Table("t", MetaData(), Column("d", Date), Column("b", LargeBinary))
    await create(tbl)
    good = {"d": date(2020, 1, 1), "b": b"x"}

    with pytest.raises((TypeError, ValueError, aiomysqlx.ArgumentError)):
        await conn.execute(tbl.insert(), [good] * 4000 + [{"d": {"a": 1}, "b": b"x"}])

    assert await fetch(select(tbl)) == []


class Known(TypeDecorator[int]):
    """A type that looks its values up, and does not find all."""

    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> int:
        return next(known for known in (1, 2, 3) if known == value)


@pytest.mark.parametrize("many", [3, 200], ids=["few", "many"])
async def test_processor_that_ends_an_iteration_leaves_no_row_out(
    conn: Conn, create: Create, fetch: Fetch, many: int
) -> None:
    tbl = Table("t", MetaData(), Column("n", Known))
    await create(tbl)

    with pytest.raises(RuntimeError, match="StopIteration"):
        await conn.execute(tbl.insert(), [{"n": 1}, {"n": 4}, *[{"n": 3}] * many])

    assert await fetch(select(tbl)) == []


async def test_processor_that_ends_an_iteration_leaves_no_value_of_a_tuple_out(
    conn: Conn, create: Create
) -> None:
    tbl = Table("t", MetaData(), Column("a", Integer), Column("n", Known))
    await create(tbl)

    with pytest.raises(RuntimeError, match="StopIteration"):
        await conn.execute(select(tbl).where(tuple_(tbl.c.a, tbl.c.n).in_([(1, 4)])))


# -- UPDATE, DELETE, text ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "groups", "rowcount"),
    [
        pytest.param(
            update(items).where(i.id == bindparam("x")).values(size=bindparam("s")),
            [{"x": n, "s": n * 2} for n in range(1, 51)],
            50,
            id="update",
        ),
        pytest.param(
            update(items).where(i.id == bindparam("id")),
            [{"id": n, "size": n * 2} for n in range(1, 51)],
            50,
            id="update by column name",
        ),
        pytest.param(
            text("update items set size = :s where id = :x"),
            [{"x": n, "s": n * 2} for n in range(1, 51)],
            50,
            id="text",
        ),
        pytest.param(
            "update items set size = %s where id = %s",
            [(n * 2, n) for n in range(1, 51)],
            50,
            id="str",
        ),
        pytest.param(
            "update items set size = %(s)s where id = %(x)s",
            [{"x": n, "s": n * 2} for n in range(1, 51)],
            50,
            id="str by name",
        ),
        pytest.param(
            update(items).where(i.id.in_(bindparam("ids", expanding=True))).values(size=i.size * 2),
            [{"ids": list(range(1, 11))}, {"ids": []}, {"ids": list(range(11, 51))}],
            50,
            id="in",
        ),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_update_of_many(
    conn: Conn, fetch: Fetch, statement: Any, groups: list[Any], rowcount: int
) -> None:
    result = await conn.execute(statement, groups)

    assert (result.rowcount, result.returns_rows) == (rowcount, False)
    sizes = [row.size for row in await fetch(select(i.size).order_by(i.id))]
    assert sizes == [n * 2 if n <= 50 else n for n in range(1, 101)]


@pytest.mark.parametrize(
    ("statement", "groups"),
    [
        pytest.param(
            delete(items).where(i.id == bindparam("x")),
            [{"x": n} for n in range(1, 51)],
            id="delete",
        ),
        pytest.param("delete from items where id = %s", [(n,) for n in range(1, 51)], id="str"),
    ],
)
@pytest.mark.usefixtures("filled")
async def test_delete_of_many(conn: Conn, statement: Any, groups: list[Any]) -> None:
    result = await conn.execute(statement, groups)

    assert result.rowcount == 50
    assert await conn.scalar(select(func.min(i.id))) == 51


@pytest.mark.usefixtures("filled")
async def test_error_in_a_later_group_is_raised_and_the_connection_usable(conn: Conn) -> None:
    statement = update(items).where(i.id == bindparam("x")).values(name=bindparam("n"))

    with pytest.raises(pymysql.err.IntegrityError):
        await conn.execute(statement, [{"x": 1, "n": "new"}, {"x": 2, "n": "n3"}])

    assert await conn.scalar("select 1") == 1
