"""Statements alike but for their types: each gets its own plan, and its own processors."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import pytest
from oracle import Oracle
from sqlalchemy import (
    Boolean,
    Column,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    TypeDecorator,
    bindparam,
    cast,
    column,
    func,
    insert,
    label,
    literal,
    literal_column,
    select,
    table,
    text,
    tuple_,
    type_coerce,
    update,
    values,
)
from sqlalchemy.dialects.mysql import ENUM, SET
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.sql import visitors

import aiomysqlx
from aiomysqlx.sql import typekeys
from aiomysqlx.sql.planner import Planner

MAKE = (
    "create table typed (id int primary key, e varchar(20))",
    "insert into typed values (1, 'x'), (2, '1'), (3, '3')",
)


class Name(enum.Enum):
    """Members of one sort."""

    x = "1"
    y = "2"


class Other(enum.Enum):
    """Members of the same names and other values."""

    x = "3"
    y = "4"


class Hidden(TypeDecorator[str]):
    """Text with a mark that the constructor's arguments do not show."""

    impl = String(20)
    cache_ok = True

    def __init__(self, mark: str) -> None:
        super().__init__()
        self._mark = mark

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        return value and value + self._mark

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        return value and value + self._mark


class Inner(TypeDecorator[Any]):
    """Another type, chosen for each dialect."""

    impl = String(20)
    cache_ok = True

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self._inner = inner

    def load_dialect_impl(self, dialect: Any) -> Any:
        return dialect.type_descriptor(self._inner)


def values_of(members: Any) -> list[str]:
    return [member.value for member in members]


by_value = Enum(Name, values_callable=values_of)
PAIRS = {
    "members": (Enum("x", "1", "3"), Enum("x", "y")),
    "enum class": (Enum(Name), Enum(Other)),
    "values_callable": (Enum(Name), by_value),
    "native_enum": (Enum(Name, native_enum=False), by_value),
    "variant or none": (String(20), String(20).with_variant(Hidden("v"), "mysql", "mariadb")),
    "other variants": (
        String(20).with_variant(Enum(Name), "mysql"),
        String(20).with_variant(by_value, "mysql"),
    ),
    "set": (SET("x", "1"), SET("x", "1", "3")),
    "mysql enum": (ENUM("x", "1"), ENUM("x", "1", "3", "y")),
    "hidden attribute": (Hidden("a"), Hidden("b")),
    "inner type": (Inner(String(20)), Inner(by_value)),
    "number": (Numeric(10, 2), Numeric(10, 2, asdecimal=False)),
    "boolean": (Boolean(), Boolean().with_variant(Hidden("v"), "mysql", "mariadb")),
}
Build = Callable[[Any, Any], Any]
e = literal_column("e", String)
typed = text("typed")


def lightweight(type_: Any) -> Any:
    return table("typed", column("id"), column("e", type_))


def json_table(type_: Any) -> Any:
    document = '[{"q": "x"}, {"q": "1"}]'
    columns = text("'$[*]' columns (q varchar(10) path '$.q')")
    return func.json_table(document, columns).table_valued(column("q", type_), name="jt")


READS: dict[str, Build] = {
    "literal_column": lambda ty, v: select(literal_column("e", ty)).select_from(typed),
    "column": lambda ty, v: select(column("e", ty)).select_from(typed),
    "type_coerce": lambda ty, v: select(type_coerce(e, ty).label("q")).select_from(typed),
    "cast": lambda ty, v: select(cast(e, ty).label("q")).select_from(typed),
    "table": lambda ty, v: select(lightweight(ty)),
    "alias": lambda ty, v: select(lightweight(ty).alias("z")),
    "subquery": lambda ty, v: select(select(lightweight(ty)).subquery("z")),
    "cte": lambda ty, v: select(select(lightweight(ty)).cte("z")),
    "textual": lambda ty, v: text("select e from typed").columns(e=ty),
    "textual by position": lambda ty, v: text("select e from typed").columns(column("e", ty)),
    "textual subquery": lambda ty, v: select(
        text("select e from typed").columns(e=ty).subquery("z")
    ),
    "function": lambda ty, v: select(func.max(e, type_=ty).label("q")).select_from(typed),
    "label": lambda ty, v: select(label("q", e, type_=ty)).select_from(typed),
    "operator": lambda ty, v: select(e.op("||", return_type=ty)(text("0"))).select_from(typed),
    "union": lambda ty, v: select(literal_column("e", ty)).select_from(typed).union(select(e)),
    "values": lambda ty, v: select(values(column("e", ty), name="v").data([(v,)])),
    "literal": lambda ty, v: select(literal(v, ty).label("q")),
    "parameter": lambda ty, v: (
        select(literal_column("id")).select_from(typed).where(e == bindparam("q", v, type_=ty))
    ),
    "in": lambda ty, v: (
        select(literal_column("id"))
        .select_from(typed)
        .where(e.in_(bindparam("q", [v], type_=ty, expanding=True)))
    ),
    "tuple": lambda ty, v: (
        select(literal_column("id"))
        .select_from(typed)
        .where(tuple_(literal_column("id", Integer), literal_column("e", ty)).in_([(1, v), (2, v)]))
    ),
    "text": lambda ty, v: text("select id from typed where e = :q").bindparams(
        bindparam("q", v, type_=ty)
    ),
    "table_valued": lambda ty, v: select(json_table(ty)),
    "column of table_valued": lambda ty, v: select(json_table(ty).c.q),
    "scalar subquery": lambda ty, v: select(
        select(literal_column("e", ty)).select_from(typed).limit(1).scalar_subquery().label("q")
    ),
}


def value(type_: Any) -> Any:
    found = type_.dialect_impl(MySQLDialect_pymysql())
    return Name.x if type_ is by_value or getattr(found, "enum_class", None) is Name else "x"


@pytest.mark.server
@pytest.mark.filterwarnings("ignore")  # of casts to types that none is for
@pytest.mark.parametrize("pair", list(PAIRS))
async def test_statements_alike_read_by_their_own_types(oracle: Oracle, pair: str) -> None:
    oracle.run(*MAKE)
    oracle.forget()

    for name, build in READS.items():
        for types in (PAIRS[pair], PAIRS[pair][::-1]):
            statements = [build(type_, value(type_)) for type_ in types]
            theirs = [oracle.theirs(statement) for statement in statements]

            assert [await oracle.ours(statement) for statement in statements] == theirs, name


@pytest.mark.server
@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("pair", ["values_callable", "other variants", "hidden attribute"])
async def test_statements_alike_write_by_their_own_types(
    oracle: Oracle, pair: str, many: bool
) -> None:
    oracle.run(*MAKE)
    oracle.forget()

    for number, type_ in enumerate(PAIRS[pair]):
        target = lightweight(type_)
        groups = [{"id": n, "e": value(type_)} for n in ((10, 11) if many else (10,))]
        written = []
        for _ in range(2):
            oracle.run("delete from typed where id > 2")
            if not written:
                assert oracle.theirs(insert(target), groups) == ("wrote", len(groups))
                oracle.theirs(update(target).where(target.c.id == 2).values(e=value(type_)))
            else:
                await oracle.conn.execute(insert(target), groups if many else groups[0])
                await oracle.conn.execute(
                    update(target).where(target.c.id == 2).values(e=value(type_))
                )
            written.append(oracle.rows("select * from typed"))

        assert written[0] == written[1], number


@pytest.mark.server
async def test_map_that_changes_is_followed_by_the_users_cache(
    oracle: Oracle, connect_kwargs: dict[str, Any], other_database: str
) -> None:
    oracle.run("create table m (x int)", "insert into m values (1)")
    oracle.run(
        f"create table {other_database}.m (x int)", f"insert into {other_database}.m values (2)"
    )
    translate = {"tenant": connect_kwargs["db"]}
    tbl = Table("m", MetaData(), Column("x", Integer), schema="tenant")
    statement = select(tbl.c.x).execution_options(schema_translate_map=translate)
    got = []

    async with (
        aiomysqlx.create_engine(**connect_kwargs, compiled_cache={}) as engine,
        engine.acquire() as conn,
    ):
        for schema in (connect_kwargs["db"], other_database, None, connect_kwargs["db"]):
            translate["tenant"] = schema
            got.append(await conn.scalar(statement))

    assert got == [1, 2, 1, 1]
    assert translate == {"tenant": connect_kwargs["db"]}


@pytest.mark.server
@pytest.mark.parametrize("schema", [None, "tenant"], ids=["no schema", "schema"])
@pytest.mark.parametrize("mapped", ["default", "other"])
async def test_map_to_and_from_the_default_schema(
    oracle: Oracle, other_database: str, schema: str | None, mapped: str
) -> None:
    oracle.run("create table m (x int)", "insert into m values (1)")
    oracle.run(
        f"create table {other_database}.m (x int)", f"insert into {other_database}.m values (2)"
    )
    tbl = Table("m", MetaData(), Column("x", Integer), schema=schema)
    options = {"schema_translate_map": {schema: other_database if mapped == "other" else None}}
    read = select(tbl.c.x, tbl).where(tbl.c.x > 0).execution_options(**options)
    write = update(tbl).values(x=tbl.c.x + 1).execution_options(**options)

    for statement in (read, write, read):
        theirs = oracle.theirs(statement)
        assert theirs != ("refused",)
        if statement is write:
            assert await oracle.ours(write) == theirs
        else:
            assert await oracle.ours(statement) == theirs


@pytest.mark.server
async def test_default_schema_is_the_current_one_beside_another(
    oracle: Oracle, connect_kwargs: dict[str, Any], other_database: str
) -> None:
    oracle.run("create table m (x int)", "insert into m values (1)")
    oracle.run(
        f"create table {other_database}.m (x int)", f"insert into {other_database}.m values (2)"
    )
    mine = Table("m", MetaData(), Column("x", Integer))
    tenants = Table("m", MetaData(), Column("x", Integer), schema="tenant")
    options = {"schema_translate_map": {None: None, "tenant": other_database}}
    statement = select(mine.c.x, tenants.c.x.label("y")).where(mine.c.x <= tenants.c.x)
    statement = statement.execution_options(**options)
    got = []

    for schema in (connect_kwargs["db"], other_database, connect_kwargs["db"]):
        await oracle.conn.execute(f"use {schema}")
        got.append(await oracle.ours(statement))

    one, two = ((("x", "y"), [((int, n), (int, 2))]) for n in (1, 2))
    assert got[0] == oracle.theirs(statement) == one
    assert got[2] == one
    assert got[1] in (two, ("refused",))  # the same table twice


@pytest.mark.server
async def test_default_sees_the_options_of_the_statement_at_hand(oracle: Oracle) -> None:
    def token(context: Any) -> Any:
        return context.execution_options["logging_token"]

    tbl = Table("d", MetaData(), Column("x", Integer), Column("y", String(20), default=token))
    oracle.create(tbl)

    for word in ("one", "two"):
        await oracle.conn.execute(insert(tbl).execution_options(logging_token=word), {"x": 1})

    assert oracle.rows("select y from d") == [("one",), ("two",)]


# -- what it costs ---------------------------------------------------------------------------------


@pytest.fixture
def planner() -> Planner:
    """A planner of its own, which needs no server."""
    return Planner(MySQLDialect_pymysql(paramstyle="pyformat"), "11.4.2-MariaDB", False)


users = Table("users", MetaData(), Column("id", Integer), Column("name", Enum("a", "b")))


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda: select(users).where(users.c.name == "a"), id="select"),
        pytest.param(lambda: select(users.alias("z").c.id), id="alias"),
        pytest.param(lambda: insert(users).values(id=1, name="a"), id="insert"),
        pytest.param(lambda: update(users).where(users.c.id.in_([1])).values(id=2), id="update"),
    ],
)
def test_types_of_a_tables_columns_are_not_looked_for_again(
    planner: Planner, build: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planner.plan(build(), None)[0]
    looked_at: list[Any] = []
    monkeypatch.setattr(typekeys, "_key", lambda *args: looked_at.append(args))
    monkeypatch.setattr(visitors, "iterate", lambda statement: looked_at.append(statement))

    assert planner.plan(build(), None)[0] is plan
    assert looked_at == []


def test_type_that_comes_again_is_keyed_once(
    planner: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_ = Enum("a", "b")
    plan = planner.plan(select(type_coerce(users.c.id, type_)), None)[0]
    monkeypatch.setattr(typekeys, "_key", lambda *_: pytest.fail("keyed again"))

    assert planner.plan(select(type_coerce(users.c.id, type_)), None)[0] is plan


def test_equal_types_share_a_plan(planner: Planner) -> None:
    plans = {
        planner.plan(select(literal_column("e", Enum(Name, values_callable=values_of))), None)[0]
        for _ in range(3)
    }

    assert len(plans) == 1


@pytest.mark.parametrize("first", [True, False], ids=["a list first", "a value first"])
@pytest.mark.parametrize(
    "build",
    [
        pytest.param(lambda bind: text("SELECT :x").bindparams(bind), id="text"),
        pytest.param(lambda bind: select(func.f(bind)), id="function"),
    ],
)
def test_parameter_that_takes_a_list_shares_no_plan_with_one_that_takes_a_value(
    planner: Planner, build: Callable[[Any], Any], first: bool
) -> None:
    for expanding in (first, not first, first, not first):
        statement = build(bindparam("x", type_=Hidden("!"), expanding=expanding))
        plan, extracted, parameters = planner.plan(statement, {"x": ["a", "b"]})

        assert plan.slots[0].bind.expanding is expanding
        if expanding:
            assert plan.values(parameters, extracted, ("utf-8", 0)) == [["a!", "b!"]]


def test_kept_keys_are_bounded(planner: Planner) -> None:
    for number in range(3000):
        typekeys.type_key(String(number + 1))

    assert len(typekeys._keys) <= 1500
