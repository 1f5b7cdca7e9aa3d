"""A program of a user, for type checkers alone: what is typed has its type, what is wrong is told.

A line with `# type: ignore` is wrong on purpose: the checkers say so if they find nothing there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    union,
    update,
)
from sqlalchemy.engine import URL, Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import assert_type

import aiomysqlx as sa
from aiomysqlx.result import ResultView, RowMapping
from aiomysqlx.stream import StreamView


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "user"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    born: Mapped[int | None]


tbl = Table("tbl", MetaData(), Column("id", Integer, primary_key=True))
by_id = select(User.id, User.name).where(User.id == 1)
typed: Column[int] = Column("typed", Integer)


# -- engines ---------------------------------------------------------------------------------------


async def engines(url: URL) -> None:
    assert_type(await sa.create_engine("mysql://root@localhost/test", maxsize=5), sa.Engine)
    assert_type(await sa.create_engine(url, 1, 5, charset="utf8mb4"), sa.Engine)
    assert_type(await sa.create_engine(url=url, autocommit=True), sa.Engine)
    assert_type(await sa.create_engine(2, 3, None, host="localhost", db="test"), sa.Engine)
    async with sa.create_engine(host="localhost") as engine, engine.acquire() as conn:
        assert_type(engine, sa.Engine)
        assert_type(conn, sa.SAConnection)
        assert_type(engine.dialect, Dialect)
        assert_type(engine.name, str)
        assert_type(engine.driver, str)
        assert_type(engine.minsize, int)
        assert_type(engine.maxsize, int | None)
        assert_type(engine.size, int)
        assert_type(engine.freesize, int)
        assert_type(engine.closed, bool)
        assert_type(engine.stats(), sa.PoolStats)
        assert_type(engine.stats().waiting, int)
        await engine.release(conn)
        await engine.create_all(tbl.metadata, [tbl], checkfirst=False)
        await engine.drop_all(tbl.metadata)
        assert_type(await engine.drain(1.5), int)
        engine.clear()
        engine.terminate()
        engine.close()
        await engine.wait_closed()


async def lending(engine: sa.Engine) -> None:
    assert_type(await engine.acquire(), sa.SAConnection)
    assert_type(await engine.acquire(1.5, read_only=True, after=True), sa.SAConnection)
    async with engine.begin(isolation_level="READ COMMITTED", read_only=True) as begun:
        assert_type(begun, sa.SAConnection)


async def count(conn: sa.SAConnection) -> int:
    return await conn.scalar(select(func.count())) or 0


async def repeated(engine: sa.Engine) -> None:
    async def rename(conn: sa.SAConnection) -> tuple[str, int]:
        await conn.execute(update(User).values(name="a"))
        return "a", 1

    assert_type(await engine.run(count), int)
    assert_type(await engine.run(rename, retries=2, timeout=1.5), tuple[str, int])


async def hooks() -> None:
    async def prepare(conn: sa.SAConnection) -> None:
        await conn.execute("SET time_zone = '+00:00'")

    def tell(event: sa.QueryEvent) -> None:
        assert_type(event.statement, str)
        assert_type(event.duration, float)

    sa.create_engine(init=prepare, reset=prepare, on_query=tell, slow_query=0.5)


async def wrong_engines(engine: sa.Engine, url: URL) -> None:
    sa.create_engine(hots="localhost")  # type: ignore[call-overload]  # pyright: ignore
    sa.create_engine(port="3306")  # type: ignore[call-overload]  # pyright: ignore
    sa.create_engine("mysql://localhost", url=url)  # type: ignore[call-overload]  # pyright: ignore
    sa.create_engine(init=42)  # type: ignore[call-overload]  # pyright: ignore
    engine.release(engine)  # type: ignore[arg-type]  # pyright: ignore
    engine.maxsize = 5  # type: ignore[misc]  # pyright: ignore
    await engine.run(lambda: None)  # type: ignore[arg-type,misc]  # pyright: ignore
    async with engine.begin("READ COMMITTED"):  # type: ignore[call-arg]  # pyright: ignore
        pass
    with engine.acquire():  # type: ignore[attr-defined]  # pyright: ignore
        pass


# -- statements and results ------------------------------------------------------------------------


async def typed_results(conn: sa.SAConnection) -> None:
    result = await conn.execute(by_id)
    assert_type(result, sa.ResultProxy[tuple[int, str]])
    row = await result.fetchone()
    assert_type(row, sa.RowProxy[tuple[int, str]] | None)
    assert_type(await result.fetchmany(5), list[sa.RowProxy[tuple[int, str]]])
    assert_type(await result.fetchall(), list[sa.RowProxy[tuple[int, str]]])
    assert_type(await result.all(), list[sa.RowProxy[tuple[int, str]]])
    assert_type(await result.first(), sa.RowProxy[tuple[int, str]] | None)
    assert_type(await result.one(), sa.RowProxy[tuple[int, str]])
    assert_type(await result.one_or_none(), sa.RowProxy[tuple[int, str]] | None)
    assert_type(await result.scalar(), int | None)
    assert_type(await result.scalars().all(), list[int])
    assert_type(await result.scalars().one(), int)
    assert_type(await result.scalars("name").all(), list[Any])
    assert_type(await result.scalars(1).first(), Any | None)
    assert_type(await result.scalars(typed).all(), list[int])
    assert_type(result.tuples(), ResultView[tuple[int, str]])
    assert_type(await result.tuples().fetchall(), list[tuple[int, str]])
    assert_type(await result.mappings().one(), RowMapping)
    async for number, name in result.tuples():
        assert_type(number, int)
        assert_type(name, str)
    async for each in result.scalars():
        assert_type(each, int)


async def ways_to_execute(conn: sa.SAConnection) -> None:
    async with conn.execute(by_id) as result:
        assert_type(result, sa.ResultProxy[tuple[int, str]])
        async for row in result:
            assert_type(row, sa.RowProxy[tuple[int, str]])
    async for row in conn.execute(by_id, {"id": 1}):
        assert_type(row.as_tuple(), tuple[int, str])
    (gathered,) = await asyncio.gather(conn.execute(by_id))
    assert_type(gathered, sa.ResultProxy[tuple[int, str]])
    assert_type(await asyncio.create_task(conn.execute(by_id)), sa.ResultProxy[tuple[int, str]])
    assert_type(await conn.scalar(by_id), int | None)
    assert_type(await conn.scalar(select(User.born)), int | None)
    assert_type(await conn.scalar("SELECT 1"), Any)
    assert_type(await conn.scalar(text("SELECT 1")), Any)


async def kinds_of_statements(conn: sa.SAConnection) -> None:
    single = await conn.execute(select(User.id))
    assert_type(single, sa.ResultProxy[tuple[int]])
    counted = await conn.execute(select(func.count()).select_from(User))
    assert_type(await counted.scalars().one(), int)
    optional = await conn.execute(select(User.born))
    assert_type(await optional.scalars().all(), list[int | None])
    both = await conn.execute(union(select(User.id), select(User.id)))
    assert_type(await both.scalar(), int | None)
    inserted = await conn.execute(insert(User).returning(User.id, User.name), [{"name": "a"}])
    assert_type(await inserted.tuples().all(), list[tuple[int, str]])
    deleted = await conn.execute(delete(User).returning(User.id))
    assert_type(await deleted.scalars().all(), list[int])
    from_text = await conn.execute("SELECT %s", 1)
    assert_type(from_text, sa.ResultProxy)
    assert_type(await from_text.fetchone(), sa.RowProxy | None)
    assert_type(await from_text.tuples().all(), list[tuple[Any, ...]])
    assert_type(await conn.execute(text("SELECT 1")), sa.ResultProxy)
    assert_type(await conn.execute(tbl.insert(), [{"id": 1}, {"id": 2}]), sa.ResultProxy)
    assert_type(await conn.execute(update(User).values(name="a")), sa.ResultProxy)
    untyped = await conn.execute(select(tbl))  # a table's columns have no types
    for row in await untyped.fetchall():
        row.as_dict()


async def what_a_result_tells(conn: sa.SAConnection) -> None:
    result = await conn.execute(insert(User), {"name": "a"})
    assert_type(result.rowcount, int)
    assert_type(result.lastrowid, int | None)
    assert_type(result.returns_rows, bool)
    assert_type(result.closed, bool)
    assert_type(result.keys(), tuple[str, ...])
    assert_type(result.dialect, Dialect)
    assert_type(result.cursor, sa.Cursor | None)
    assert_type(result.inserted_primary_key, Any)
    assert_type(result.inserted_primary_key_rows, list[Any])
    await result.close()


async def wrong_statements(conn: sa.SAConnection, result: sa.ResultProxy) -> None:
    conn.execute(42)  # type: ignore[call-overload]  # pyright: ignore
    conn.execute(tbl)  # type: ignore[call-overload]  # pyright: ignore
    conn.stream(42)  # type: ignore[call-overload]  # pyright: ignore
    conn.stream(by_id, yield_per="5")  # type: ignore[call-overload]  # pyright: ignore
    await conn.scalar(42)  # type: ignore[call-overload]  # pyright: ignore
    number = await conn.scalar(by_id)
    name: str | None = number  # type: ignore[assignment]  # pyright: ignore
    print(name)
    result.fetchall().append(1)  # type: ignore[attr-defined]  # pyright: ignore
    for _ in result:  # type: ignore[attr-defined]  # pyright: ignore
        pass
    conn.execute(by_id).first()  # type: ignore[attr-defined]  # pyright: ignore


def rows(row: sa.RowProxy[tuple[int, str]]) -> None:
    assert_type(row.as_tuple(), tuple[int, str])
    number, name = row.as_tuple()
    assert_type(number, int)
    assert_type(name, str)
    assert_type(row.id, Any)
    assert_type(row["id"], Any)
    assert_type(row[0], Any)
    assert_type(row[typed], int)
    assert_type(row[:2], tuple[Any, ...])
    assert_type(row.as_dict(), dict[str, Any])
    assert_type(row.as_mapping(), RowMapping)
    assert_type(list(row), list[str])
    assert_type(len(row), int)
    anything: sa.RowProxy = row
    mapping: Mapping[str, Any] = row
    assert_type(anything.as_tuple(), tuple[Any, ...])
    print(mapping)


def wrong_rows(row: sa.RowProxy[tuple[int, str]]) -> None:
    row.id = 2  # type: ignore[attr-defined]  # pyright: ignore
    name: str = row.as_tuple()[0]  # type: ignore[assignment]  # pyright: ignore
    print(name)


async def streams(conn: sa.SAConnection) -> None:
    async with conn.stream(by_id, yield_per=100, max_buffer=1 << 20) as result:
        assert_type(result, sa.StreamResult[tuple[int, str]])
        assert_type(await result.fetchone(), sa.RowProxy[tuple[int, str]] | None)
        assert_type(await result.fetchmany(5), list[sa.RowProxy[tuple[int, str]]])
        assert_type(await result.scalar(), int | None)
        assert_type(await result.scalars().all(), list[int])
        assert_type(await result.scalars(typed).one(), int)
        assert_type(await result.scalars("name").one(), Any)
        assert_type(result.tuples(), StreamView[tuple[int, str]])
        assert_type(await result.mappings().one(), RowMapping)
        async for row in result:
            assert_type(row, sa.RowProxy[tuple[int, str]])
        async for part in result.partitions(10):
            assert_type(part, list[sa.RowProxy[tuple[int, str]]])
        async for numbers in result.scalars().partitions():
            assert_type(numbers, list[int])
    async for row in conn.stream(by_id):
        assert_type(row, sa.RowProxy[tuple[int, str]])
    assert_type(await conn.stream("SELECT 1"), sa.StreamResult)


async def pipelines(conn: sa.SAConnection) -> None:
    async with conn.pipeline(transaction=True) as pipe:
        first = pipe.execute(by_id)
        second = pipe.execute("SELECT %s", 1)
        assert_type(await first, sa.ResultProxy[tuple[int, str]])
        assert_type(await second, sa.ResultProxy)
        assert_type(first.done, bool)
        pipe.execute(42)  # type: ignore[call-overload]  # pyright: ignore


# -- transactions ----------------------------------------------------------------------------------


async def transactions(conn: sa.SAConnection) -> None:
    assert_type(await conn.begin(), sa.Transaction[sa.SAConnection])
    async with conn.begin() as transaction, conn.begin_nested() as savepoint:
        assert_type(transaction, sa.Transaction[sa.SAConnection])
        assert_type(savepoint, sa.Transaction[sa.SAConnection])
        assert_type(transaction.connection, sa.SAConnection)
        assert_type(transaction.is_active, bool)
        outer: sa.Transaction = transaction
        assert_type(outer.connection, Any)
        await savepoint.rollback()
        await transaction.commit()
    prepared = await conn.begin_twophase("xid")
    assert_type(prepared, sa.TwoPhaseTransaction[sa.SAConnection])
    assert_type(prepared.xid, str | bytes)
    await prepared.prepare()
    assert_type(await conn.recover_twophase(), list[str | bytes])
    await conn.commit_prepared("xid", is_prepared=True)
    await conn.rollback_prepared(b"xid")
    await conn.begin(isolation_level=1)  # type: ignore[arg-type]  # pyright: ignore


def kinds_of_transactions(transaction: sa.Transaction) -> None:
    if isinstance(transaction, sa.RootTransaction):
        print(transaction.is_active)
    if isinstance(transaction, sa.NestedTransaction):
        print(transaction.is_active)


async def connections(conn: sa.SAConnection) -> None:
    assert_type(conn.closed, bool)
    assert_type(conn.in_transaction, bool)
    assert_type(conn.last_gtid, str | None)
    assert_type(conn.connection, sa.Connection | None)
    assert_type(await conn.execution_options(isolation_level="AUTOCOMMIT"), sa.SAConnection)
    assert_type(await conn.get_isolation_level(), str)
    await conn.create_all(tbl.metadata)
    await conn.invalidate()
    await conn.close()
    conn.execution_options(read_olny=True)  # type: ignore[arg-type]  # pyright: ignore


# -- the driver ------------------------------------------------------------------------------------


async def driver() -> None:
    connection = await sa.connect(host="localhost", connect_timeout=1.5)
    assert_type(connection, sa.Connection)
    sa.connect(hots="localhost")  # type: ignore[call-arg]  # pyright: ignore
    async with sa.connect(db="test") as raw, raw.cursor() as cursor:
        assert_type(cursor, sa.Cursor)
        assert_type(await cursor.execute("SELECT %s", (1,)), int)
        assert_type(await cursor.fetchone(), tuple[Any, ...] | None)
        assert_type(await cursor.fetchmany(5), Sequence[tuple[Any, ...]])
        assert_type(await cursor.fetchall(), Sequence[tuple[Any, ...]])
        async for row in cursor:
            assert_type(row, tuple[Any, ...])


async def cursors(raw: sa.Connection) -> None:
    async with raw.cursor(sa.DictCursor) as cursor:
        assert_type(cursor, sa.DictCursor)
        assert_type(await cursor.fetchone(), dict[str, Any] | None)
        assert_type(await cursor.fetchmany(5), Sequence[dict[str, Any]])
        assert_type(await cursor.fetchall(), Sequence[dict[str, Any]])
        async for row in cursor:
            assert_type(row, dict[str, Any])
    unbuffered: sa.SSCursor = await raw.cursor(sa.SSCursor)
    assert_type(await unbuffered.fetchone(), tuple[Any, ...] | None)
    async with raw.cursor(sa.SSDictCursor) as both:
        assert_type(both, sa.SSDictCursor)
        assert_type(await both.fetchone(), dict[str, Any] | None)
        async for row in both:
            assert_type(row, dict[str, Any])
    raw.cursor(dict)  # type: ignore[type-var]  # pyright: ignore
    any_cursor: sa.Cursor[Any] = cursor
    print(any_cursor)


async def pools() -> None:
    async with sa.create_pool(2, 5, host="localhost") as pool, pool.acquire() as connection:
        assert_type(pool, sa.Pool)
        assert_type(connection, sa.Connection)
        assert_type(await connection.cursor(sa.DeserializationCursor), sa.DeserializationCursor)
    sa.create_pool(hots="localhost")  # type: ignore[call-arg]  # pyright: ignore


async def within(session: AsyncSession, connection: AsyncConnection, raw: sa.Connection) -> None:
    async with sa.native(session) as conn:
        assert_type(conn, sa.SAConnection)
    assert_type(await sa.native(connection), sa.SAConnection)
    assert_type(await sa.native(raw), sa.SAConnection)
    sa.native("mysql://localhost")  # type: ignore[arg-type]  # pyright: ignore


# -- errors ----------------------------------------------------------------------------------------


async def errors(conn: sa.SAConnection) -> None:
    try:
        await conn.execute(by_id)
    except sa.StatementTimeoutError as error:
        assert_type(error, sa.StatementTimeoutError)
    except sa.CommitUnknownError as error:
        assert_type(error, sa.CommitUnknownError)
    except sa.NoHostError as error:
        assert_type(error.codes, tuple[int, ...])
    except (
        sa.AcquireTimeoutError,
        sa.TooManyWaitingError,
        sa.NoSuchColumnError,
        sa.ResourceClosedError,
        sa.InvalidRequestError,
        sa.ArgumentError,
    ) as error:
        problem: sa.Error = error
        assert_type(sa.is_disconnect(problem), bool)
    warning = sa.ServerWarning(1265, "data truncated")
    assert_type(warning.code, int)
    assert_type(warning.level, str)


def implementation() -> None:
    assert_type(sa.IMPLEMENTATION, Literal["cython", "python"])


async def servers_errors(conn: sa.SAConnection) -> None:
    try:
        await conn.execute(by_id)
    except (sa.IntegrityError, sa.DataError, sa.NotSupportedError) as error:
        print(error)
    except (sa.ProgrammingError, sa.InternalError, sa.OperationalError) as error:
        print(error)
    except (sa.InterfaceError, sa.DatabaseError, sa.MySQLError, sa.Warning) as error:
        print(error)


def texts() -> None:
    print(sa.escape_string("a"), sa.escape_dict({"a": 1}, "utf8mb4"), sa.escape_sequence)
