"""Creating and dropping tables, as SQLAlchemy does it on its own engines."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from oracle import Oracle
from pymysql import err
from sqlalchemy import (
    DDL,
    Column,
    Computed,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Sequence,
    String,
    Table,
    UniqueConstraint,
    event,
    exc,
    func,
    select,
    text,
)

import aiomysqlx

pytestmark = [
    pytest.mark.server,
    pytest.mark.filterwarnings("error::aiomysqlx.ServerWarning"),
]


def family() -> tuple[MetaData, Table, Table]:
    """Give tables of which the first refers to the second."""
    metadata = MetaData()
    child = Table(
        "child",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("parent_id", ForeignKey("parent.id")),
    )
    parent = Table("parent", metadata, Column("id", Integer, primary_key=True))
    return metadata, child, parent


def cycle(*names: str | None) -> MetaData:
    """Give two tables that refer to each other, by constraints of these names."""
    metadata = MetaData()
    for table, other, name in zip("ab", "ba", names, strict=True):
        Table(
            table,
            metadata,
            Column("id", Integer, primary_key=True),
            Column("other", ForeignKey(f"{other}.id", name=name)),
        )
    return metadata


def shop() -> MetaData:
    """Give tables with what else there is to create."""
    metadata = MetaData()
    Table(
        "goods",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("kind", Enum("food", "it's", name="kinds"), nullable=False, comment="what % it is"),
        Column("name", String(40, collation="utf8mb4_bin"), server_default="100%"),
        Column("length", Integer, Computed("char_length(name)")),
        UniqueConstraint("kind", "name", name="one of a kind"),
        comment="goods: 'all' of \\ them",
        mysql_engine="InnoDB",
    )
    Index("by length", metadata.tables["goods"].c.length.desc(), mysql_using="btree")
    Table(
        "sales `now`",
        metadata,
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("a %(b)s", ForeignKey("goods.id", ondelete="CASCADE")),
    )
    return metadata


METADATA: dict[str, Callable[[], MetaData]] = {
    "family": lambda: family()[0],
    "cycle": lambda: cycle("to_b", "to_a"),
    "shop": shop,
}


def made(oracle: Oracle) -> dict[str, str]:
    """Give the text that creates each table of the database."""
    names = [name for (name,) in oracle.rows("SHOW TABLES")]
    return {
        name: oracle.rows("SHOW CREATE TABLE `{}`".format(name.replace("`", "``")))[0][1]
        for name in names
    }


async def tables(conn: aiomysqlx.SAConnection) -> list[str]:
    return [row[0] for row in await (await conn.execute("SHOW TABLES")).fetchall()]


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
async def test_tables_are_those_that_sqlalchemy_creates(
    oracle: Oracle, metadata: Callable[[], MetaData]
) -> None:
    theirs = metadata()
    theirs.create_all(oracle._sync)
    expected = made(oracle)
    theirs.drop_all(oracle._sync)

    ours = metadata()
    await oracle.conn.create_all(ours)

    assert made(oracle) == expected
    assert len(expected) == len(ours.tables)

    await oracle.conn.create_all(ours)
    await oracle.conn.drop_all(ours)
    assert made(oracle) == {}
    await oracle.conn.drop_all(ours)


async def test_engine_creates_and_drops(engine: aiomysqlx.Engine) -> None:
    metadata, child, parent = family()

    await engine.create_all(metadata)
    async with engine.begin() as conn:
        await conn.execute(parent.insert(), {"id": 1})
        await conn.execute(child.insert(), {"id": 1, "parent_id": 1})
    await engine.drop_all(metadata)

    async with engine.acquire() as conn:
        assert await tables(conn) == []
    assert engine.size == 1


async def test_cycle_without_names_cannot_be_dropped(conn: aiomysqlx.SAConnection) -> None:
    metadata = cycle(None, None)
    await conn.create_all(metadata)

    with pytest.raises(exc.CircularDependencyError, match="have names"):
        await conn.drop_all(metadata)


async def test_some_of_the_tables_are_created(conn: aiomysqlx.SAConnection) -> None:
    metadata, child, parent = family()

    await conn.create_all(metadata, tables=[parent])
    assert await tables(conn) == ["parent"]

    await conn.create_all(metadata, [child, parent])
    await conn.drop_all(metadata, [child])
    assert await tables(conn) == ["parent"]


async def test_what_is_there_is_an_error_unless_checked_first(
    conn: aiomysqlx.SAConnection,
) -> None:
    metadata, _, parent = family()
    await conn.create_all(metadata, [parent])

    with pytest.raises(err.MySQLError) as raised:
        await conn.create_all(metadata, [parent], checkfirst=False)

    assert raised.value.args[0] == 1050
    assert type(raised.value).__module__ == "pymysql.err"
    assert await conn.scalar("SELECT 1") == 1


async def test_temporary_table_is_there(conn: aiomysqlx.SAConnection) -> None:
    metadata = MetaData()
    table = Table("t", metadata, Column("id", Integer), prefixes=["TEMPORARY"])

    await conn.create_all(metadata)
    await conn.create_all(metadata)
    assert await conn.scalar(select(func.count()).select_from(table)) == 0

    await conn.drop_all(metadata)
    await conn.drop_all(metadata)


async def test_tables_are_looked_for_in_their_schema(
    conn: aiomysqlx.SAConnection, other_database: str
) -> None:
    metadata = MetaData()
    Table("t", metadata, Column("here", Integer))
    Table("t", metadata, Column("there", Integer), schema=other_database)

    await conn.create_all(metadata)
    await conn.execute(f"DROP TABLE {other_database}.t")
    await conn.create_all(metadata)

    assert await conn.scalar(f"SELECT count(there) FROM {other_database}.t") == 0
    assert await conn.scalar("SELECT count(here) FROM t") == 0
    await conn.drop_all(metadata)
    assert await tables(conn) == []


@pytest.mark.parametrize("schema", [None, "elsewhere"])
async def test_tables_are_created_in_translated_schemas(
    conn: aiomysqlx.SAConnection, other_database: str, schema: str | None
) -> None:
    metadata = MetaData()
    parent = Table("parent", metadata, Column("id", Integer, primary_key=True), schema=schema)
    Table("child", metadata, Column("id", ForeignKey(parent.c.id)), schema=schema)

    await conn.create_all(metadata, schema_translate_map={schema: other_database})
    await conn.create_all(metadata, schema_translate_map={schema: other_database})

    assert await tables(conn) == []
    assert await conn.scalar(f"SELECT count(*) FROM {other_database}.child") == 0
    if schema is not None:
        await conn.create_all(metadata, schema_translate_map={schema: None})
        assert await tables(conn) == ["child", "parent"]
    await conn.drop_all(metadata, schema_translate_map={schema: other_database})
    assert await (await conn.execute(f"SHOW TABLES FROM {other_database}")).fetchall() == []
    await conn.execute("ROLLBACK")  # or the other database could not be dropped


async def test_names_stand_as_they_are(conn: aiomysqlx.SAConnection) -> None:
    metadata = MetaData()
    table = Table("100%s `%%` %(x)s", metadata, Column("id", Integer), comment="%s")

    await conn.create_all(metadata)
    await conn.create_all(metadata)

    assert await tables(conn) == [table.name]
    await conn.drop_all(metadata)
    assert await tables(conn) == []


async def test_unknown_schema_is_the_servers_error(conn: aiomysqlx.SAConnection) -> None:
    metadata = MetaData()
    Table("t", metadata, Column("id", Integer), schema="missing")

    with pytest.raises(err.MySQLError, match="missing"):
        await conn.create_all(metadata)


async def test_sequences_are_created(mariadb: None, conn: aiomysqlx.SAConnection) -> None:
    metadata = MetaData()
    alone = Sequence("alone", start=7, metadata=metadata)
    table = Table("t", metadata, Column("id", Integer, Sequence("of t"), primary_key=True))

    await conn.create_all(metadata)
    await conn.create_all(metadata)

    assert await conn.scalar(alone) == 7
    await conn.execute(table.insert())
    assert await conn.scalar(select(table.c.id)) == 1

    await conn.drop_all(metadata)
    await conn.drop_all(metadata)
    assert await tables(conn) == []


# -- events ----------------------------------------------------------------------------------------


def _named(target: Any) -> str:
    return f"{type(target).__name__} {getattr(target, 'name', None)}"


def recorded(metadata: MetaData) -> list[tuple[str, str]]:
    """Give what takes the events of *metadata*, of its tables and their indexes, as they come."""
    events: list[tuple[str, str]] = []
    targets: list[Any] = [metadata]
    for table in metadata.tables.values():
        targets += [table, *table.indexes, *table.foreign_key_constraints]
    for target in targets:
        for name in ("before_create", "after_create", "before_drop", "after_drop"):
            event.listen(
                target,
                name,
                lambda target, _, name=name, **kw: events.append((name, _named(target))),
            )
    return events


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
async def test_events_are_those_of_sqlalchemy(
    oracle: Oracle, metadata: Callable[[], MetaData]
) -> None:
    theirs, ours = metadata(), metadata()
    expected, events = recorded(theirs), recorded(ours)
    theirs.create_all(oracle._sync)
    theirs.drop_all(oracle._sync)

    await oracle.conn.create_all(ours)
    await oracle.conn.drop_all(ours)

    # What is neither a table nor depends on one comes in the order of a set.
    assert sorted(events) == sorted(expected)
    of_tables = [each for each in expected if each[1].startswith(("Table", "MetaData"))]
    assert [each for each in events if each in of_tables] == of_tables
    assert len(of_tables) >= 12


async def test_listeners_ask_and_write_as_the_tables_come(engine: aiomysqlx.Engine) -> None:
    metadata, child, parent = family()
    seen: list[Any] = []

    @event.listens_for(parent, "after_create")
    def fill(_: Table, connection: Any, **_kw: Any) -> None:
        connection.execute(parent.insert(), [{"id": 1}, {"id": 2}])
        done = connection.execute(text("UPDATE parent SET id = 3 WHERE id = :id"), {"id": 2})
        seen.append(done.rowcount)
        seen.append(
            connection.scalar(
                text(
                    "SELECT count(*) FROM information_schema.tables WHERE table_schema = database()"
                )
            )
        )

    @event.listens_for(child, "after_create")
    def look(_: Table, connection: Any, **_kw: Any) -> None:
        seen.append(connection.execute(select(parent).order_by(parent.c.id)).all())
        seen.append(connection.scalars(select(parent.c.id)).all())
        seen.append((connection.dialect.name, connection.engine))

    await engine.create_all(metadata)

    assert seen == [1, 1, [(1,), (3,)], [1, 3], ("mysql", engine)]
    async with engine.acquire() as conn:
        assert await conn.scalar("SELECT count(*) FROM parent") == 2


async def test_ddl_listens_if_a_function_that_asks_says_so(conn: aiomysqlx.SAConnection) -> None:
    metadata, _, parent = family()

    def is_there(_ddl: Any, _target: Any, bind: Any, **_: Any) -> bool:
        return bool(bind.execute(text("SHOW TABLES LIKE 'parent'")).first())

    add = DDL("ALTER TABLE %(table)s ADD COLUMN more INT")
    event.listen(parent, "before_create", add.execute_if(callable_=is_there))
    event.listen(parent, "after_create", add.execute_if(callable_=is_there))
    event.listen(parent, "after_create", add.execute_if(dialect="postgresql"))

    await conn.create_all(metadata)

    assert await conn.scalar("SELECT count(more) FROM parent") == 0


async def test_error_of_the_server_is_the_listeners_first(conn: aiomysqlx.SAConnection) -> None:
    metadata, _, parent = family()
    codes = []

    @event.listens_for(parent, "before_create")
    def fail(_: Table, connection: Any, **_kw: Any) -> None:
        try:
            connection.execute(text("SELECT missing"))
        except err.MySQLError as error:
            codes.append(error.args[0])
        with pytest.raises(aiomysqlx.ArgumentError, match=r"as text\(\) makes of a str"):
            connection.execute("SELECT 1")

    await conn.create_all(metadata)

    assert codes == [1054]
    assert await tables(conn) == ["child", "parent"]


async def test_what_a_listener_raises_ends_it(conn: aiomysqlx.SAConnection) -> None:
    metadata, child, _ = family()

    @event.listens_for(child, "before_create")
    def fail(*_: Any, **_kw: Any) -> None:
        raise ZeroDivisionError("of the listener")

    with pytest.raises(ZeroDivisionError, match="of the listener"):
        await conn.create_all(metadata)

    assert await tables(conn) == ["parent"]


# -- connections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["create_all", "drop_all"])
async def test_transaction_is_not_committed_unasked(
    conn: aiomysqlx.SAConnection, method: str
) -> None:
    async with conn.begin():
        with pytest.raises(aiomysqlx.InvalidRequestError, match="outside of begin()"):
            await getattr(conn, method)(family()[0])
        assert await conn.scalar("SELECT 1") == 1


async def test_cancelled_one_leaves_the_connection_usable(
    conn: aiomysqlx.SAConnection, admin: Any, database: str
) -> None:
    metadata, _, parent = family()
    begun = threading.Event()
    event.listen(parent, "before_create", lambda *_, **_kw: begun.set())
    event.listen(parent, "before_create", DDL("DO SLEEP(20)"))

    task = asyncio.ensure_future(conn.create_all(metadata))
    await asyncio.to_thread(begun.wait, 10)
    while conn.connection is None or not conn.connection.busy:
        await asyncio.sleep(0)
    thread = _thread()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()
    with pytest.raises((err.OperationalError, aiomysqlx.Error)):  # it sleeps for too long
        await conn.scalar("SELECT 1")


def _thread() -> threading.Thread:
    (thread,) = [t for t in threading.enumerate() if t.name == "aiomysqlx-ddl"]
    return thread


async def test_one_cancelled_in_a_listener_executes_nothing_more(
    conn: aiomysqlx.SAConnection,
) -> None:
    metadata, _, parent = family()
    begun, go = threading.Event(), threading.Event()

    @event.listens_for(parent, "before_create")
    def wait(*_: Any, **_kw: Any) -> None:
        begun.set()
        go.wait(10)

    task = asyncio.ensure_future(conn.create_all(metadata))
    await asyncio.to_thread(begun.wait, 10)
    thread = _thread()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    await asyncio.to_thread(thread.join, 10)

    assert not thread.is_alive()
    assert await tables(conn) == []


async def test_every_statement_has_the_engines_time_limit(connect_kwargs: dict[str, Any]) -> None:
    metadata, _, parent = family()
    event.listen(parent, "before_create", DDL("DO SLEEP(20)"))

    async with aiomysqlx.create_engine(**connect_kwargs, statement_timeout=0.2) as engine:
        with pytest.raises(aiomysqlx.StatementTimeoutError, match="more than 0.2 seconds"):
            await engine.create_all(metadata)
        engine.terminate()


THEIR_WAYS: dict[str, Callable[[Any], Any]] = {
    "create_all": lambda bind: family()[0].create_all(bind),
    "drop_all": lambda bind: family()[0].drop_all(bind),
    "create": lambda bind: family()[1].create(bind),
    "drop": lambda bind: family()[1].drop(bind),
}


@pytest.mark.parametrize("their_way", THEIR_WAYS.values(), ids=THEIR_WAYS)
async def test_sqlalchemys_own_ways_name_ours(
    engine: aiomysqlx.Engine, conn: aiomysqlx.SAConnection, their_way: Callable[[Any], Any]
) -> None:
    for bind in (engine, conn):
        with pytest.raises(aiomysqlx.InvalidRequestError, match=r"await engine.create_all\("):
            their_way(bind)


NOT_METADATA: dict[str, Any] = {"table": family()[1], "none": None, "class": MetaData}


@pytest.mark.parametrize("given", NOT_METADATA.values(), ids=NOT_METADATA)
async def test_only_metadata_is_taken(conn: aiomysqlx.SAConnection, given: Any) -> None:
    call: Callable[[Any], Awaitable[None]] = conn.create_all
    with pytest.raises(aiomysqlx.ArgumentError, match="expected a MetaData, got"):
        await call(given)
