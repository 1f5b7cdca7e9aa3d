"""What types do to values and columns, however the value travels: as SQLAlchemy's engine does."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from oracle import Oracle
from sqlalchemy import (
    JSON,
    Column,
    Date,
    DateTime,
    Enum,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    Uuid,
    bindparam,
    cast,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import UserDefinedType

import aiomysqlx

# MySQL warns of documents in an IN.
pytestmark = [
    pytest.mark.server,
    pytest.mark.any_loop,
    pytest.mark.filterwarnings("ignore::pymysql.err.Warning"),
]


class Color(enum.Enum):
    """Members whose values differ from their names."""

    red = "r"
    green = "g"


class Upper(TypeDecorator[str]):
    """Text in capitals."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value.upper()

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and value.lower()


class Marked(TypeDecorator[str]):
    """Text that tells how it was written."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and f"bound {value}"

    def process_literal_param(self, value: Any, dialect: Any) -> str:
        return f"literal {value}"


class Encrypted(UserDefinedType[str]):
    """Text that the server encrypts, with a key that is a parameter of its own."""

    cache_ok = True

    def __init__(self, key: str = "key") -> None:
        self.key = key

    def get_col_spec(self, **_: Any) -> str:
        return "VARBINARY(64)"

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.aes_encrypt(func.concat(bindvalue, "-salt"), self.key)

    def column_expression(self, column: Any) -> Any:
        return cast(func.aes_decrypt(column, self.key), String(30))


class Exclaimed(TypeDecorator[str]):
    """Encrypted text, with a processor around it."""

    impl = Encrypted
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value + "!"


class Tilde(TypeDecorator[str]):
    """Text with a suffix, and brackets around what is read."""

    impl = String(20)
    cache_ok = True

    def bind_expression(self, bindparam: Any) -> Any:
        return func.concat(type_coerce(bindparam, String), "100%~")

    def column_expression(self, column: Any) -> Any:
        return func.concat("<", column, ">")


class Point(UserDefinedType[str]):
    """A geometry, written and read as text."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "GEOMETRY"

    def bind_expression(self, bindvalue: Any) -> Any:
        return func.ST_GeomFromText(bindvalue, 0, type_=self)

    def column_expression(self, column: Any) -> Any:
        return func.ST_AsText(column, type_=self)


def values_of(members: Any) -> list[str]:
    return [member.value for member in members]


VALUES: dict[str, tuple[Any, Any, Any]] = {
    "enum": (Enum(Color), Color.red, Color.green),
    "enum_values": (Enum(Color, values_callable=values_of), Color.red, Color.green),
    "uuid": (Uuid(), uuid.UUID(int=1), uuid.UUID(int=2)),
    "uuid_text": (Uuid(as_uuid=False), str(uuid.UUID(int=1)), str(uuid.UUID(int=2))),
    "day": (Date(), dt.date(2026, 1, 2), dt.date(2026, 2, 3)),
    "moment": (DateTime(), dt.datetime(2026, 1, 2, 3), dt.datetime(2026, 2, 3, 4, 5)),
    "price": (Numeric(10, 2), Decimal("1.50"), Decimal("2.50")),
    "words": (String(40), "it's 100% :x", "back\\slash %(y)s"),
    "upper": (Upper(), "ab", "cd"),
    "marked": (Marked(), "x", "y"),
    "tilde": (Tilde(), "a", "b"),
    "secret": (Encrypted("k2"), "a", "b"),
    "exclaimed": (Exclaimed(), "a", "b"),
    "place": (Point(), "POINT(1 1)", "POINT(2 2)"),
    "bytes": (LargeBinary(20), b"\x00'\\\xff", b"b"),
    "document": (JSON(), {"a": "it's"}, [1]),
}
# What SQLAlchemy refuses to write as a literal, or writes as text; ours is as good as the other.
NO_LITERALS = {"secret", "exclaimed", "place", "bytes", "document"}

t = Table(
    "typed",
    MetaData(),
    Column("id", Integer, primary_key=True),
    *(Column(name, type_) for name, (type_, *_) in VALUES.items()),
)
c = t.c
each = pytest.mark.parametrize("name", list(VALUES))
literals = pytest.mark.parametrize("name", [name for name in VALUES if name not in NO_LITERALS])
Build = Callable[[Any, Any, Any], Any]


def late(value: Any, column: Any) -> Any:
    return bindparam("x", value, type_=column.type, literal_execute=True)


def some(values: Any, **kwargs: Any) -> Any:
    return bindparam("x", values, expanding=True, **kwargs)


READ: dict[str, Build] = {
    "equal": lambda k, a, b: k == b,
    "in": lambda k, a, b: k.in_([a, b]),
    "in one": lambda k, a, b: k.in_([b]),
    "in with a null": lambda k, a, b: k.in_([None, b]),
    "not in": lambda k, a, b: k.not_in([b]),
    "in a parameter": lambda k, a, b: k.in_(some([a, b])),
    "tuple": lambda k, a, b: tuple_(c.id, k).in_([(1, a), (2, b)]),
}
READ_LITERALS: dict[str, Build] = {
    "equal": lambda k, a, b: k == late(b, k),
    "untyped": lambda k, a, b: k == bindparam("x", b, literal_execute=True),
    "in": lambda k, a, b: k.in_(some([a, b], literal_execute=True)),
    "in with a null": lambda k, a, b: k.in_(some([None, b], literal_execute=True)),
    "in nothing": lambda k, a, b: k.in_(some([], literal_execute=True)),
    "tuple": lambda k, a, b: tuple_(c.id, k).in_(some([(1, a), (2, b)], literal_execute=True)),
}


def make(oracle: Oracle) -> None:
    oracle.create(t)
    rows = [{name: first for name, (_, first, _) in VALUES.items()} | {"id": 1}]
    rows.append({name: second for name, (*_, second) in VALUES.items()} | {"id": 2})
    assert oracle.theirs(insert(t), rows) == ("wrote", 2)


@each
async def test_value_is_found_as_sqlalchemy_finds_it(oracle: Oracle, name: str) -> None:
    make(oracle)
    _, first, second = VALUES[name]

    for build in READ.values():
        statement = select(c.id).where(build(c[name], first, second)).order_by(c.id)

        assert await oracle.ours(statement) == oracle.theirs(statement)


@literals
async def test_literal_is_found_as_sqlalchemy_finds_it(oracle: Oracle, name: str) -> None:
    make(oracle)
    _, first, second = VALUES[name]

    for how, build in READ_LITERALS.items():
        statement = select(c.id).where(build(c[name], first, second)).order_by(c.id)
        ours = await oracle.ours(statement)

        assert ours[0] == ("id",)
        # SQLAlchemy puts the expression around the list without elements too.
        if (name, how) != ("tilde", "in nothing"):
            assert ours == oracle.theirs(statement)


@pytest.mark.parametrize("name", sorted(NO_LITERALS - {"document"}))
async def test_what_has_no_literal_is_found_as_a_parameter(oracle: Oracle, name: str) -> None:
    make(oracle)
    second = VALUES[name][2]
    statement = select(c.id).where(c[name] == late(second, c[name]))

    rows = (await oracle.ours(statement))[1]

    assert rows == [((int, 2),)]


WRITE: dict[str, Build] = {
    "values": lambda k, a, b: update(t).where(c.id == 1).values({k.key: b}),
    "null": lambda k, a, b: update(t).where(c.id == 1).values({k.key: None}),
    "insert": lambda k, a, b: insert(t).values({"id": 5, k.key: b}),
    "inserts": lambda k, a, b: insert(t).values([{"id": 5, k.key: a}, {"id": 6, k.key: b}]),
    "upsert": lambda k, a, b: mysql.insert(t).values(id=1).on_duplicate_key_update({k.key: b}),
    "literal": lambda k, a, b: update(t).where(c.id == 1).values({k.key: late(b, k)}),
    "inserted literal": lambda k, a, b: insert(t).values({"id": 5, k.key: late(b, k)}),
}


@each
async def test_value_is_written_as_sqlalchemy_writes_it(oracle: Oracle, name: str) -> None:
    _, first, second = VALUES[name]

    for how, build in WRITE.items():
        if "literal" in how and name in NO_LITERALS:
            continue
        statement = build(c[name], first, second)
        stored = []
        for number in range(2):
            make(oracle)
            if number:
                assert await oracle.ours(statement) != ("refused",)
            else:
                assert oracle.theirs(statement) != ("refused",)
            stored.append(oracle.rows(f"select id, hex({name}) from typed order by id"))

        assert stored[0] == stored[1], how


@each
async def test_column_is_read_as_sqlalchemy_reads_it(oracle: Oracle, name: str) -> None:
    make(oracle)
    column = c[name]
    inner = select(column, c.id).subquery()

    for statement in (
        select(column, column.label("again")).order_by(c.id),
        select(inner.c[name]).order_by(inner.c.id),
        select(literal(VALUES[name][2], column.type).label("it")),
    ):
        assert await oracle.ours(statement) == oracle.theirs(statement)


@each
async def test_typed_parameter_of_a_text_is_processed(oracle: Oracle, name: str) -> None:
    make(oracle)
    type_, first, second = VALUES[name]
    one = text(f"select id from typed where {name} = :x").bindparams(bindparam("x", type_=type_))
    many = text(f"select id from typed where {name} in :x order by id").bindparams(
        bindparam("x", type_=type_, expanding=True)
    )

    for statement, value in ((one, second), (many, [first, second])):
        assert await oracle.ours(statement, {"x": value}) == oracle.theirs(statement, {"x": value})


@pytest.mark.parametrize(
    ("build", "message"),
    [
        pytest.param(lambda: c.words.in_([["x"]]), "'words'.*'list'", id="list"),
        pytest.param(lambda: c.words.in_([("x", "y")]), "'words'.*'tuple'", id="tuple"),
        pytest.param(lambda: c.words.in_(["x", {"y"}]), "'words'.*'set'", id="set"),
        pytest.param(lambda: c.id.in_([(1,), (2,)]), "'id'.*'tuple'", id="tuples of one"),
        pytest.param(lambda: c.words.in_([[]]), "'words'.*'list'", id="empty list"),
        pytest.param(lambda: c.secret.in_([["x"]]), "'secret'.*'list'", id="bind expression"),
        pytest.param(lambda: c.words.in_(some([["x"]])), "'x'.*'list'", id="parameter"),
        pytest.param(lambda: c.words.not_in([["x"]]), "'words'.*'list'", id="not in"),
        pytest.param(
            lambda: tuple_(c.id, c.words).in_([(1, "x"), (2,)]), "of 2 values.*of 1", id="short"
        ),
        pytest.param(
            lambda: tuple_(c.id, c.words).in_([(1, "x", 2)]), "of 2 values.*of 3", id="long"
        ),
        pytest.param(
            lambda: tuple_(c.id, c.words).in_([(1, "x"), 2]), "of 2 values.*int", id="scalar"
        ),
        pytest.param(lambda: tuple_(c.id, c.words).in_(["ab"]), "of 2 values.*str", id="text"),
        pytest.param(
            lambda: tuple_(c.id, c.words).in_([(1, ["x"])]), "cannot send.*'list'", id="nested"
        ),
    ],
)
async def test_list_in_a_list_is_refused(oracle: Oracle, build: Any, message: str) -> None:
    make(oracle)
    statement = select(c.id).where(build())

    for _ in range(2):
        with pytest.raises(aiomysqlx.ArgumentError, match=message):
            await oracle.conn.execute(statement)


class Names(list[str]):
    """A list of another class."""


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(select(c.id).where(c.words.in_([Names(["x"])])), id="in"),
        pytest.param(select(c.id).where(c.words == bindparam("q", Names(["x"]))), id="equal"),
        pytest.param(update(t).values(words=Names(["x"])), id="update"),
    ],
)
async def test_list_of_another_class_is_refused(oracle: Oracle, statement: Any) -> None:
    make(oracle)

    for _ in range(2):
        with pytest.raises(aiomysqlx.ArgumentError, match="cannot send a value of type '.*Names'"):
            await oracle.conn.execute(statement)


async def test_list_stands_for_a_tuple_of_its_size(oracle: Oracle) -> None:
    make(oracle)
    statement = select(c.id).where(tuple_(c.id, c.upper).in_([[1, "ab"], (2, "x")]))

    assert await oracle.ours(statement) == oracle.theirs(statement) == (("id",), [((int, 1),)])


async def test_literals_of_many_groups_are_each_groups_own(oracle: Oracle) -> None:
    make(oracle)
    x = bindparam("x", literal_execute=True)

    await oracle.conn.execute(
        insert(t).values(id=bindparam("i"), enum_values=x),
        [{"i": 7, "x": Color.green}, {"i": 8, "x": Color.red}],
    )
    await oracle.conn.execute(
        update(t).where(c.id == bindparam("i")).values(upper=x),
        [{"i": 7, "x": "p"}, {"i": 8, "x": "q"}],
    )

    rows = oracle.rows("select id, enum_values, upper from typed where id > 2 order by id")
    assert rows == [(7, "g", "P"), (8, "r", "Q")]


async def test_literal_follows_the_mode_of_its_session(oracle: Oracle) -> None:
    statement = select(bindparam("x", "a\\'b%", String, literal_execute=True).label("it"))

    for mode in ("", "NO_BACKSLASH_ESCAPES"):
        await oracle.conn.execute(f"set sql_mode = '{mode}'")

        assert await oracle.conn.scalar(statement) == "a\\'b%"
