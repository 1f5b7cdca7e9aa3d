"""The primary keys of inserted rows: as SQLAlchemy's own engine tells them."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy
from oracle import Oracle
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    Uuid,
    bindparam,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.mysql import insert as mysql_insert

import aiomysqlx

pytestmark = [pytest.mark.server, pytest.mark.any_loop]

metadata = MetaData()
auto = Table(
    "auto",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40), unique=True),
)
pair = Table(
    "pair",
    metadata,
    Column("left", Integer, primary_key=True, autoincrement=False),
    Column("right side", String(40), primary_key=True, key="right"),
    Column("name", String(40)),
)
mixed = Table(
    "mixed",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("shard", Integer, primary_key=True, default=7),
    Column("name", String(40)),
)
called = Table(
    "called",
    metadata,
    Column("id", Uuid, primary_key=True, default=lambda: uuid.UUID(int=5)),
    Column("name", String(40)),
)
served = Table(
    "served",
    metadata,
    Column("id", String(40), primary_key=True, server_default="x"),
    Column("name", String(40)),
)
keyless = Table("keyless", metadata, Column("name", String(40)))

U = uuid.UUID(int=9)
CASES: dict[str, tuple[Any, ...]] = {
    "auto": (insert(auto), {"name": "a"}),
    "auto, nothing given": (insert(auto),),
    "auto, given": (insert(auto), {"id": 40, "name": "a"}),
    "auto, given in the statement": (insert(auto).values(id=41, name="a"),),
    "auto, given None": (insert(auto), {"id": None, "name": "a"}),
    "auto, given an expression": (insert(auto).values(id=literal(40) + 2, name="a"),),
    "auto, by a parameter of another name": (
        insert(auto).values(id=bindparam("number")),
        {"number": 43},
    ),
    "auto, expression beside": (insert(auto).values(name=func.lower("A")),),
    "auto, several in the statement": (insert(auto).values([{"name": "a"}, {"name": "b"}]),),
    "auto, inline": (insert(auto).inline(), {"name": "a"}),
    "auto, of a select": (insert(auto).from_select(["name"], select(literal("a"))),),
    "auto, upsert that inserts": (
        mysql_insert(auto).on_duplicate_key_update(name="b"),
        {"name": "a"},
    ),
    "pair": (insert(pair), {"left": 1, "right": "r", "name": "n"}),
    "pair in the statement": (insert(pair).values(left=2).values(right="s"),),
    "mixed": (insert(mixed), {"name": "a"}),
    "mixed, all given": (insert(mixed), {"id": 3, "shard": 4}),
    "called default": (insert(called), {"name": "a"}),
    "called default, given": (insert(called), {"id": U}),
    "default of the server": (insert(served), {"name": "a"}),
    "keyless": (insert(keyless), {"name": "a"}),
    "lambda": (sqlalchemy.lambda_stmt(lambda: insert(auto)), {"name": "a"}),
}
MANY: dict[str, tuple[Any, list[Any]]] = {
    "auto": (insert(auto), [{"name": "a"}, {"name": "b"}]),
    "auto, given": (insert(auto), [{"id": 40}, {"id": 41}]),
    "pair, half in the statement": (
        insert(pair).values(left=3),
        [{"right": "a"}, {"right": "b"}],
    ),
    "pair": (
        insert(pair),
        [{"left": number, "right": f"r{number}"} for number in range(200)],
    ),
    "mixed": (insert(mixed), [{"name": "a"}, {"name": "b"}]),
    "called default, given": (insert(called), [{"id": U}, {"id": uuid.UUID(int=10)}]),
    "keyless": (insert(keyless), [{"name": "a"}, {"name": "b"}]),
}


def _told(keys: Any) -> tuple[Any, ...]:
    """Give keys with their names and the types of their values."""
    return tuple((key._fields, tuple((type(value), value) for value in key)) for key in keys)


@pytest.fixture
def oracle(oracle: Oracle) -> Oracle:
    oracle.create(*metadata.tables.values())
    return oracle


@pytest.mark.parametrize("arguments", CASES.values(), ids=CASES)
async def test_key_of_a_row_is_the_one_that_sqlalchemy_tells(
    oracle: Oracle, arguments: tuple[Any, ...]
) -> None:
    with oracle._sync.begin() as theirs:
        expected = theirs.execute(*arguments)
        keys = _told(expected.inserted_primary_key_rows)
        assert keys[:1] == _told([expected.inserted_primary_key])
    oracle.create(*metadata.tables.values())

    for _ in range(1 + (not arguments[0].is_dml)):  # some are known the second time
        result = await oracle.conn.execute(*arguments)

    assert _told([result.inserted_primary_key]) == keys[:1]
    assert _told(result.inserted_primary_key_rows) == keys
    assert result.lastrowid == (expected.lastrowid or 0)


@pytest.mark.parametrize(("statement", "groups"), MANY.values(), ids=MANY)
async def test_keys_of_many_rows_are_those_that_sqlalchemy_tells(
    oracle: Oracle, statement: Any, groups: list[Any]
) -> None:
    with oracle._sync.begin() as theirs:
        keys = _told(theirs.execute(statement, groups).inserted_primary_key_rows)
    oracle.create(*metadata.tables.values())

    result = await oracle.conn.execute(statement, groups)

    assert _told(result.inserted_primary_key_rows) == keys
    assert len(keys) == len(groups)
    with pytest.raises(aiomysqlx.InvalidRequestError, match="use inserted_primary_key_rows"):
        assert result.inserted_primary_key


async def test_key_is_a_named_tuple(oracle: Oracle) -> None:
    result = await oracle.conn.execute(pair.insert(), {"left": 1, "right": "r"})

    key = result.inserted_primary_key

    assert key == (1, "r")
    assert (key.left, key.right, key[0], len(key)) == (1, "r", 1, 2)
    left, right = key
    assert (left, right) == (1, "r")


async def test_statement_executed_again_tells_each_key(oracle: Oracle) -> None:
    statement = auto.insert()
    keys = [
        (await oracle.conn.execute(statement, {"name": str(n)})).inserted_primary_key.id
        for n in range(3)
    ]

    assert keys == [1, 2, 3]


async def test_defaults_called_for_many_rows_are_their_keys(oracle: Oracle) -> None:
    numbers = iter(range(10))
    table = Table(
        "called",
        MetaData(),
        Column("id", Uuid, primary_key=True, default=lambda: uuid.UUID(int=next(numbers))),
        Column("name", String(40)),
    )

    result = await oracle.conn.execute(table.insert(), [{"name": "a"}, {"name": "b"}])
    stored = [row.id for row in await (await oracle.conn.execute(table.select())).fetchall()]

    assert [key.id for key in result.inserted_primary_key_rows] == stored
    assert next(numbers) == 2


async def test_key_is_that_of_the_execution_whatever_becomes_of_the_parameters(
    oracle: Oracle,
) -> None:
    row = {"left": 1, "right": "r"}
    rows = [{"left": 2, "right": "r"}, {"left": 3, "right": "r"}]
    result = await oracle.conn.execute(pair.insert(), row)
    results = await oracle.conn.execute(pair.insert(), rows)
    row["left"] = rows[0]["left"] = 9

    assert result.inserted_primary_key.left == 1
    assert [key.left for key in results.inserted_primary_key_rows] == [2, 3]


async def test_key_of_a_servers_expression_is_returned_where_it_can_be(
    mariadb: None, oracle: Oracle
) -> None:
    statement = insert(served).values(id=func.upper("x"))

    result = await oracle.conn.execute(statement, {"name": "a"})

    assert result.inserted_primary_key == ("X",)
    assert (result.returns_rows, result.closed, result.rowcount) == (False, True, 1)


@pytest.mark.parametrize("prefix", [(), ("LOW_PRIORITY",), ("IGNORE",)], ids=" ".join)
@pytest.mark.parametrize("default", [Sequence("numbers", start=5), func.lower("5")], ids=type)
async def test_key_of_a_default_that_the_server_computes_is_the_one_that_sqlalchemy_tells(
    mariadb: None, oracle: Oracle, default: Any, prefix: tuple[str, ...]
) -> None:
    with oracle._sync.begin() as theirs:
        theirs.execute(text("DROP SEQUENCE IF EXISTS numbers"))
    numbered = Table(
        "numbered",
        MetaData(),
        Column("shard", Integer, primary_key=True, autoincrement=False, default=7),
        Column("the id", Integer, primary_key=True, key="id", default=default),
        Column("other", String(40), default=func.lower("A")),
        Column("name", String(40)),
    )
    oracle.create(numbered)
    statement = insert(numbered).prefix_with(*prefix)

    result = await oracle.conn.execute(statement, {"name": "a"})
    again = insert(numbered).values(name="b", shard=8)
    second = await oracle.conn.execute(again)

    with oracle._sync.begin() as theirs:
        theirs.execute(numbered.delete())
        expected = theirs.execute(insert(numbered).values(name="c", shard=9))
    first, last = (5, 7) if isinstance(default, Sequence) else (5, 5)
    assert tuple(map(int, expected.inserted_primary_key)) == (9, last)
    assert result.inserted_primary_key._fields == expected.inserted_primary_key._fields
    assert result.inserted_primary_key == (7, first)
    assert second.inserted_primary_key == (8, (first + last) // 2)
    assert (result.returns_rows, result.closed, result.rowcount) == (False, True, 1)


async def test_key_of_a_servers_expression_is_not_known_elsewhere(
    mysql_only: None, oracle: Oracle
) -> None:
    statement = insert(served).values(id=func.upper("x"))

    result = await oracle.conn.execute(statement, {"name": "a"})

    assert result.inserted_primary_key == (None,)


async def test_returning_gives_the_key_itself(mariadb: None, oracle: Oracle) -> None:
    statement = auto.insert().returning(auto.c.id)
    result = await oracle.conn.execute(statement, {"name": "a"})

    with pytest.raises(aiomysqlx.InvalidRequestError, match=r"without returning\(\)"):
        assert result.inserted_primary_key
    assert await result.scalar() == 1


NO_INSERTS: dict[str, Callable[[], Any]] = {
    "text": lambda: "INSERT INTO keyless VALUES ('x')",
    "text construct": lambda: text("INSERT INTO keyless VALUES ('x')"),
    "select": lambda: select(auto),
    "update": lambda: auto.update().values(name="a"),
    "delete": lambda: auto.delete(),
}


@pytest.mark.parametrize("statement", NO_INSERTS.values(), ids=NO_INSERTS)
async def test_nothing_but_an_insert_construct_tells_keys(
    oracle: Oracle, statement: Callable[[], Any]
) -> None:
    result = await oracle.conn.execute(statement())

    for name in ("inserted_primary_key", "inserted_primary_key_rows"):
        with pytest.raises(aiomysqlx.InvalidRequestError, match="only an insert"):
            getattr(result, name)
