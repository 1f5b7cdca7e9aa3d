"""Dialects: what a server knows is known to its engine alone; those of other drivers."""

from __future__ import annotations

import copy
import gc
import importlib
import json
import uuid
import weakref
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from itertools import permutations
from typing import Any

import fakes
import pytest
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    Integer,
    MetaData,
    Numeric,
    Sequence,
    String,
    Table,
    Uuid,
    bindparam,
    cast,
    column,
    delete,
    insert,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql.base import MySQLDialect
from sqlalchemy.dialects.mysql.mariadb import loader
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.schema import CreateTable, DropTable

import aiomysqlx as sa
from aiomysqlx.settings import default_dialect
from aiomysqlx.sql.planner import planner_for
from aiomysqlx.sql.server import known_server, learn, taught

Kwargs = dict[str, Any]

# In the order of what they have: each knows something that another does not.
VERSIONS = [
    "5.7.44-log",
    "8.0.11",
    "9.7.4-2",
    "5.5.5-10.1.48-MariaDB",
    "11.8.9-MariaDB-4 from Debian",
]
T = Table(
    "t",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(9)),
    Column("key", Uuid),
    Column("number", Float, server_default=text("(1 + 1)")),
)
NEW = mysql.insert(T).values(id=1, name="a")
STATEMENTS: dict[str, Any] = {
    "upsert": NEW.on_duplicate_key_update(name=NEW.inserted.name),
    "lock for reading": select(T.c.id).with_for_update(read=True),
    "lock of a table": select(T.c.id).with_for_update(of=T),
    "insert returning": insert(T).values(id=7).returning(T.c.id),
    "delete returning": delete(T).returning(T.c.id),
    "cast to float": select(cast(T.c.name, Float)),
    "sequence": select(Sequence("numbers").next_value()),
    "regular expression": select(T.c.name.regexp_match("a", flags="i")),
    "reserved words": select(*map(column, ("lateral", "offset", "rank", "returning", "system"))),
    "types": CreateTable(T),
}


def compiled(dialect: Any) -> dict[str, str]:
    return {name: str(each.compile(dialect=dialect)) for name, each in STATEMENTS.items()}


def new() -> MySQLDialect_pymysql:
    return MySQLDialect_pymysql(paramstyle="pyformat")


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """Leave the default dialect as it was."""
    before = dict(vars(default_dialect()))
    yield
    vars(default_dialect()).clear()
    vars(default_dialect()).update(before)


pytestmark = pytest.mark.filterwarnings("ignore:Datatype .* does not support CAST")


@pytest.mark.parametrize(("before", "version"), list(permutations(VERSIONS, 2)))
def test_server_before_leaves_nothing_behind(before: str, version: str) -> None:
    fresh, used = new(), new()
    learn(fresh, version)
    learn(used, before)
    compiled(used)  # which remembers types

    learn(used, version)

    assert vars(used).keys() == vars(fresh).keys()
    assert compiled(used) == compiled(fresh)
    assert compiled(taught(used, before)) == compiled(taught(new(), before))


@pytest.mark.parametrize("order", list(permutations(VERSIONS, 3)), ids=" then ".join)
def test_planners_of_a_shared_dialect_know_their_own_server(order: tuple[str, ...]) -> None:
    expected = {each: compiled(planner_for(new(), each, False).dialect) for each in order}
    shared = new()

    for _ in range(2):
        for version in order:
            learn(shared, version)
            assert compiled(planner_for(shared, version, False).dialect) == expected[version]
    # No two of them say the same.
    assert len({json.dumps(each) for each in expected.values()}) == len(order)


def test_copy_of_a_dialect_has_planners_of_its_own() -> None:
    dialect = new()
    planner = planner_for(dialect, VERSIONS[-1], False)

    copied = copy.copy(dialect)

    assert planner_for(copied, VERSIONS[-1], False) is not planner
    assert planner_for(dialect, VERSIONS[-1], False) is planner


def test_dialect_is_not_kept_in_memory() -> None:
    dialects = [new(), loader("pymysql")(), taught(new(), VERSIONS[-1])]
    for dialect in dialects:
        learn(dialect, VERSIONS[-1])
        compiled(planner_for(dialect, VERSIONS[-1], False).dialect)
    gone = [weakref.ref(dialect) for dialect in dialects]
    gone += [weakref.ref(planner_for(dialect, VERSIONS[-1], False)) for dialect in dialects]

    del dialects, dialect
    gc.collect()

    assert [each() for each in gone] == [None] * 6


# -- engines ---------------------------------------------------------------------------------------


def passing_for(connect_kwargs: Kwargs, version: str) -> AbstractAsyncContextManager[Kwargs]:
    """Stand in front of the server with a greeting of another version."""

    def change(data: bytes) -> bytes:
        if data[3] != 0 or data[4] != 10:
            return data
        payload = data[4:5] + version.encode() + data[data.index(b"\0", 5) :]
        return len(payload).to_bytes(3, "little") + b"\0" + payload

    return fakes.proxy(connect_kwargs, change)


@pytest.mark.server
@pytest.mark.parametrize("given", [False, True], ids=["default", "given"])
@pytest.mark.parametrize("order", list(permutations(VERSIONS[-3:], 2)), ids=" then ".join)
async def test_engines_of_two_servers_do_not_teach_each_other(
    connect_kwargs: Kwargs, order: tuple[str, str], given: bool
) -> None:
    shared = new() if given else default_dialect()
    arguments: Kwargs = {"dialect": shared} if given else {}
    first, second = order
    async with (
        passing_for(connect_kwargs, first) as kwargs,
        passing_for(connect_kwargs, second) as other_kwargs,
        sa.create_engine(**kwargs, **arguments) as one,
        sa.create_engine(**other_kwargs, **arguments) as other,
        sa.create_engine(**kwargs, **arguments) as third,
    ):
        assert one.dialect is third.dialect is shared
        for engine, version in ((one, first), (other, second), (third, first)):
            expected = compiled(taught(new(), version))
            async with engine.acquire() as conn:
                await conn.scalar(select(1))
                assert conn._planner is not None
                assert compiled(conn._planner.dialect) == expected
            assert compiled(engine.dialect) == expected
            assert (engine.name, engine.driver) == ("mysql", "pymysql")


@pytest.mark.server
async def test_dialect_that_no_engine_uses_any_more_learns_the_next_server(
    connect_kwargs: Kwargs,
) -> None:
    for version in VERSIONS[-3:]:
        async with (
            passing_for(connect_kwargs, version) as kwargs,
            sa.create_engine(**kwargs) as engine,
        ):
            assert engine.dialect is default_dialect()
            assert known_server(engine.dialect) == version


@pytest.mark.server
async def test_dialect_for_mariadb_is_not_for_mysql(connect_kwargs: Kwargs) -> None:
    async with passing_for(connect_kwargs, "8.0.40") as kwargs:
        for dialect in (loader("pymysql")(), MySQLDialect_pymysql(is_mariadb=True)):
            with pytest.raises(sa.ArgumentError, match="'dialect' is for another server: MySQL.*8"):
                await sa.create_engine(**kwargs, dialect=dialect)


# -- dialects of other drivers ---------------------------------------------------------------------

FITTING = ["pymysql", "aiomysql", "asyncmy", "mysqldb", "cymysql"]
FOREIGN = ["mysqlconnector", "mariadbconnector", "pyodbc"]


def dialect_for(driver: str, flavour: str = "mysql", **options: Any) -> Any:
    if flavour == "mariadb":
        return loader(driver)(**options)
    module = importlib.import_module(f"sqlalchemy.dialects.mysql.{driver}")
    return module.dialect(**options)


@pytest.mark.parametrize("flavour", ["mysql", "mariadb"])
@pytest.mark.parametrize("driver", FOREIGN)
def test_dialect_of_a_driver_that_does_not_fit_is_refused(driver: str, flavour: str) -> None:
    with pytest.raises(sa.ArgumentError, match=f"pymysql, .* or cymysql,.* not that for {driver}$"):
        sa.create_engine(dialect=dialect_for(driver, flavour))


class Fit(MySQLDialect_pymysql):
    """A dialect of somebody's own."""

    driver = "fit"


V = Table(
    "v",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("100%", String(20)),
    Column("exact", Numeric(40, 10)),
    Column("rough", Numeric(10, 2, asdecimal=False)),
    Column("bits", mysql.BIT(20)),
    Column("flag", Boolean),
    Column("json", JSON),
    Column("uuid", Uuid),
    Column("time", mysql.TIME(fsp=6)),
    Column("set", mysql.SET("a", "b")),
    Column("year", mysql.YEAR),
    Column("blob", mysql.LONGBLOB),
)
VALUES = {
    "id": 1,
    "100%": "50 % or %s",
    "exact": Decimal("123456789012345678901234567890.0123456789"),
    "rough": 1.25,
    "flag": True,
    "json": {"a": ["é", None]},
    "uuid": uuid.UUID(int=5),
    "set": {"a", "b"},
    "year": 2026,
    "blob": b"\0%'\\",
}


@pytest.mark.server
@pytest.mark.parametrize(
    "dialect", [*FITTING, "none's", "somebody's own", "with a paramstyle", "with other options"]
)
async def test_values_are_the_same_with_every_dialect(
    connect_kwargs: Kwargs, server: Any, dialect: str
) -> None:
    made = {
        "none's": MySQLDialect,
        "somebody's own": Fit,
        "with a paramstyle": lambda: MySQLDialect_pymysql(paramstyle="qmark"),
        "with other options": lambda: MySQLDialect_pymysql(
            label_length=20, max_identifier_length=60
        ),
    }.get(dialect)
    for each in [made()] if made else [dialect_for(dialect), dialect_for(dialect, server.flavour)]:
        async with (
            sa.create_engine(**connect_kwargs, dialect=each, autocommit=True) as engine,
            engine.acquire() as conn,
        ):
            await conn.execute(CreateTable(V))
            await conn.execute(insert(V), [{**VALUES, "bits": 0x81234}])
            mod = type_coerce(V.c.id, Integer) % 100
            like = V.c["100%"].like("%\\%%")
            found = select(V, mod.label("mod")).where(like, V.c.id.in_([1, bindparam("x")]))

            row = await (await conn.execute(found, x=2)).one()
            await conn.execute(DropTable(V))

            assert {name: row[name] for name in VALUES} == VALUES
            assert row.bits == 0x81234 and row.mod == 1 and type(row.flag) is bool
            assert engine.dialect is each


@pytest.mark.server
async def test_options_of_a_dialect_are_kept(connect_kwargs: Kwargs) -> None:
    dialect = MySQLDialect_pymysql(
        json_serializer=lambda value: json.dumps({"in": value}),
        json_deserializer=lambda value: {"out": json.loads(value)},
        isolation_level="SERIALIZABLE",
    )
    mine = {name: vars(dialect)[name] for name in vars(dialect) if "json" in name or "isol" in name}
    assert len(mine) >= 3
    table = Table("j", MetaData(), Column("j", JSON))
    async with (
        sa.create_engine(**connect_kwargs, dialect=dialect) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute(CreateTable(table))
        await conn.execute(insert(table), {"j": 1})

        assert await conn.scalar(select(table)) == {"out": {"in": 1}}
        assert mine.items() <= vars(engine.dialect).items()
        assert conn._planner is not None and mine.items() <= vars(conn._planner.dialect).items()


class Shouting(MySQLDialect_pymysql.statement_compiler):  # type: ignore[misc,name-defined]
    """Writes the words of a SELECT large, and bound values behind a comment."""

    def visit_select(self, *args: Any, **kwargs: Any) -> Any:
        return super().visit_select(*args, **kwargs).replace("SELECT", "SELECT /* loud */", 1)


class Loud(MySQLDialect_pymysql):
    statement_compiler = Shouting


@pytest.mark.server
async def test_compiler_of_a_dialect_of_ones_own_is_used(connect_kwargs: Kwargs) -> None:
    dialect = Loud()
    async with (
        sa.create_engine(**connect_kwargs, dialect=dialect) as engine,
        sa.create_engine(**connect_kwargs) as plain,
    ):
        statement = select(bindparam("a", 1).label("a"))
        seen = []
        for each in (engine, plain, engine, plain):
            async with each.acquire() as conn:
                assert await conn.scalar(statement, a=3) == 3
                assert conn._planner is not None
                seen.append(conn._planner.plan(statement, {"a": 1})[0].sql.count("loud"))
    assert seen == [1, 0, 1, 0]


def test_copy_of_a_dialect_that_knows_a_server_learns_another() -> None:
    dialect = new()
    learn(dialect, VERSIONS[2])
    copied = copy.copy(dialect)

    learn(copied, VERSIONS[-1])

    assert compiled(taught(copied, VERSIONS[-1])) == compiled(taught(new(), VERSIONS[-1]))
    assert compiled(dialect) == compiled(taught(new(), VERSIONS[2]))
