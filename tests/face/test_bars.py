"""What bars a connection's statements bars all of them, by whichever way they go to the server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from pymysql import err
from watch import cancelled_at, closed_in_time, kill, spawn, until

import aiomysqlx as sa
from aiomysqlx.exc import TransactionPreparedError

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Way = Callable[[sa.SAConnection, int], Awaitable[Any]]


@pytest.fixture
def table(admin: Admin, database: str) -> str:
    """The name of an empty table of one column, its key; a procedure inserts into it."""
    name = f"{database}.pay"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY) ENGINE=InnoDB")
        cursor.execute(
            f"CREATE PROCEDURE {database}.pays(n INT)"
            f" BEGIN INSERT INTO {name} VALUES (n); SELECT n; END"
        )
    return name


@pytest.fixture
async def pool(connect_kwargs: Kwargs, table: str) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode."""
    arguments = {**connect_kwargs, "minsize": 0, "maxsize": 1, "autocommit": True}
    async with closed_in_time(sa.create_engine(**arguments)) as engine:
        yield engine


def committed(admin: Admin, table: str) -> list[int]:
    """Give what another connection sees of a table."""
    with admin.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {table} ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


# -- the ways to the server ----------------------------------------------------------------------


async def by_cursor(conn: sa.SAConnection, n: int) -> None:
    raw: Any = conn.connection
    async with raw.cursor() as cursor:
        await cursor.execute("INSERT INTO pay VALUES (%s)", (n,))


async def by_rows(conn: sa.SAConnection, n: int) -> None:
    raw: Any = conn.connection
    async with raw.cursor() as cursor:
        await cursor.executemany("INSERT INTO pay VALUES (%s)", [(n,)])


async def one_by_one(conn: sa.SAConnection, n: int) -> None:
    raw: Any = conn.connection
    async with raw.cursor() as cursor:
        await cursor.executemany("INSERT INTO pay SELECT %s", [(n,)])


async def by_procedure(conn: sa.SAConnection, n: int) -> None:
    raw: Any = conn.connection
    async with raw.cursor() as cursor:
        await cursor.callproc("pays", (n,))


async def as_it_stands(conn: sa.SAConnection, n: int) -> None:
    raw: Any = conn.connection
    await raw.query(f"INSERT INTO pay VALUES ({n})")


async def executed(conn: sa.SAConnection, n: int) -> None:
    await conn.execute("INSERT INTO pay VALUES (%s)", n)


async def executed_many(conn: sa.SAConnection, n: int) -> None:
    await conn.execute("INSERT INTO pay VALUES (%s)", [(n,)])


async def within_another(conn: sa.SAConnection, n: int) -> None:
    raw: Any = conn.connection
    await sa.SAConnection(raw, conn._engine).execute(f"INSERT INTO pay VALUES ({n})")


WAYS: dict[str, Way] = {
    "execute": executed,
    "execute, many": executed_many,
    "cursor": by_cursor,
    "cursor, rows": by_rows,
    "cursor, one by one": one_by_one,
    "callproc": by_procedure,
    "query": as_it_stands,
    "another SAConnection": within_another,
}


# -- what bars them ------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def ended(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin():
        await conn.execute("ROLLBACK")
        yield


@contextlib.asynccontextmanager
async def ended_by_an_error(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin():
        with contextlib.suppress(err.OperationalError):
            await conn.execute("CREATE TABLE pay (id INT)")
        yield


@contextlib.asynccontextmanager
async def rolled_back_within(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin():
        with contextlib.suppress(ZeroDivisionError):
            async with conn.begin():
                raise ZeroDivisionError
        yield


@contextlib.asynccontextmanager
async def committed_by_itself(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin() as transaction:
        await transaction.commit()
        yield


@contextlib.asynccontextmanager
async def is_prepared(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin_twophase() as transaction:
        await transaction.prepare()
        yield
        await transaction.rollback()


@contextlib.asynccontextmanager
async def savepoint_over(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin(), conn.begin_nested() as savepoint:
        await savepoint.rollback()
        yield


BARS: dict[str, Any] = {
    "ended by a statement": ended,
    "ended by an error": ended_by_an_error,
    "rolled back within": rolled_back_within,
    "committed by itself": committed_by_itself,
    "prepared": is_prepared,
    "savepoint rolled back": savepoint_over,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("bar", BARS.values(), ids=BARS)
async def test_nothing_passes_by_whichever_way(
    pool: sa.Engine, admin: Admin, table: str, bar: Any, way: Way
) -> None:
    async with pool.acquire() as conn:
        with contextlib.suppress(sa.InvalidRequestError):
            async with bar(conn):
                with pytest.raises(sa.InvalidRequestError, match=r"leave its block|commit it, or"):
                    await way(conn, 1)
                with pytest.raises(sa.InvalidRequestError):  # and does not pass later either
                    await way(conn, 2)

        assert committed(admin, table) == []
        await way(conn, 3)
        assert committed(admin, table) == [3]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("bar", BARS.values(), ids=BARS)
async def test_bar_ends_with_the_release(
    pool: sa.Engine, admin: Admin, table: str, bar: Any, way: Way
) -> None:
    with contextlib.suppress(sa.InvalidRequestError):
        async with pool.acquire() as conn, bar(conn):
            await conn.close()

    async with pool.acquire() as conn:
        await way(conn, 1)
    assert committed(admin, table) == [1]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_nothing_passes_while_a_block_is_rolled_back(
    pool: sa.Engine, admin: Admin, table: str, way: Way
) -> None:
    async with pool.acquire() as conn:
        raw: Any = conn.connection

        async def fail() -> None:
            async with conn.begin():
                spawn(raw.query("INSERT INTO pay SELECT 1 + SLEEP(0.2)"))
                await until(lambda: raw._session.awaited)
                raise ZeroDivisionError

        task = spawn(fail())
        await until(lambda: raw._session.barred is not None)
        with pytest.raises(sa.InvalidRequestError):
            await way(conn, 2)
        with pytest.raises(ZeroDivisionError):
            await task

        assert committed(admin, table) == []
        await way(conn, 3)
        assert committed(admin, table) == [3]


@pytest.mark.parametrize("call", ["select_db", "set_charset", "autocommit", "begin", "reset"])
async def test_nothing_is_set_of_a_session_whose_block_is_over(
    pool: sa.Engine, database: str, call: str
) -> None:
    arguments = {"select_db": (database,), "set_charset": ("latin1",), "autocommit": (False,)}
    async with pool.acquire() as conn:
        raw: Any = conn.connection
        with pytest.raises(ZeroDivisionError):
            async with ended(conn):
                with pytest.raises(sa.InvalidRequestError, match="leave its block"):
                    await getattr(raw, call)(*arguments.get(call, ()))
                raise ZeroDivisionError

        result = await conn.execute("SELECT @@autocommit, @@character_set_client, DATABASE()")
        row: Any = await result.first()
        assert row.as_tuple() == (1, "utf8mb4", database)


async def test_session_that_is_reset_in_a_block_is_as_new_and_barred(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    arguments = {**connect_kwargs, "autocommit": False, "init_command": "SET @a = 7"}
    async with sa.create_engine(**arguments, maxsize=1) as engine, engine.acquire() as conn:
        raw: Any = conn.connection
        with pytest.raises(sa.InvalidRequestError, match="reset of the session"):
            async with conn.begin():
                await conn.execute("SET @a = 8")
                await raw.reset()
                with pytest.raises(sa.InvalidRequestError, match="reset of the session"):
                    await raw.query("INSERT INTO pay VALUES (1)")

        assert not raw.closed
        assert await conn.scalar("SELECT @a") == 7
        assert raw.get_autocommit() is False
    assert committed(admin, table) == []


async def test_server_answers_a_ping_and_tells_warnings_in_a_block_that_is_over(
    pool: sa.Engine,
) -> None:
    async with pool.acquire() as conn:
        raw: Any = conn.connection
        with pytest.raises(ZeroDivisionError):
            async with ended(conn):
                await raw.ping()
                assert await raw.show_warnings() == ()
                raise ZeroDivisionError


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_begin_of_the_raw_connection_ends_the_block(
    pool: sa.Engine, admin: Admin, table: str, way: Way
) -> None:
    async with pool.acquire() as conn:
        raw: Any = conn.connection
        with pytest.raises(sa.InvalidRequestError, match="ended this transaction"):
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1)")
                await raw.begin()
                with pytest.raises(sa.InvalidRequestError, match="committed its work"):
                    await way(conn, 2)
                raise sa.InvalidRequestError("ended this transaction")

    assert committed(admin, table) == [1]  # by the BEGIN, as the error says


async def test_bar_of_an_end_that_is_cut_off_is_lifted(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async def fail(conn: sa.SAConnection) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with conn.begin_twophase():
                raise ZeroDivisionError

    turn, cut = 1, True
    while cut:
        async with pool.acquire() as conn:
            cut = await cancelled_at(fail(conn), turn)
            raw: Any = conn.connection
            if not raw.closed:  # else nobody knows what became of its transaction
                await by_cursor(conn, turn)
                assert turn in committed(admin, table)
        turn += 1

    assert turn > 3


@pytest.mark.parametrize("bar", BARS.values(), ids=BARS)
async def test_bar_is_not_lifted_by_another_that_is_closed(
    pool: sa.Engine, admin: Admin, table: str, bar: Any
) -> None:
    async with pool.acquire() as conn:
        raw: Any = conn.connection
        with contextlib.suppress(sa.InvalidRequestError):
            async with bar(conn):
                other = sa.SAConnection(raw, pool)
                with pytest.raises(sa.InvalidRequestError):
                    await other.begin()
                await other.close()
                with pytest.raises(sa.InvalidRequestError, match=r"leave its block|commit it, or"):
                    await as_it_stands(conn, 1)
        assert committed(admin, table) == []


@pytest.mark.parametrize("bar", BARS.values(), ids=BARS)
async def test_bar_is_not_lifted_by_a_block_that_is_left_after_the_release(
    pool: sa.Engine, admin: Admin, table: str, bar: Any
) -> None:
    before = contextlib.AsyncExitStack()
    conn = await pool.acquire()
    transaction = await before.enter_async_context(conn.begin())
    await transaction.rollback()
    await pool.release(conn)

    async with pool.acquire() as other:
        with contextlib.suppress(sa.InvalidRequestError):
            async with bar(other):
                await before.aclose()
                with pytest.raises(sa.InvalidRequestError, match=r"leave its block|commit it, or"):
                    await as_it_stands(other, 1)
        assert committed(admin, table) == []


@pytest.mark.parametrize("end", ["commit", "rollback", "close", "invalidate"])
async def test_begin_of_the_raw_connection_bars_nothing_once_the_block_has_ended(
    pool: sa.Engine, end: str
) -> None:
    conn = await pool.acquire()
    raw: Any = conn.connection
    transaction = await conn.begin()
    begun = spawn(raw.begin())
    await asyncio.sleep(0)
    (reply,) = raw._session.protocol.replies
    reply.future.add_done_callback(id)  # of two who wait none is told at once
    while raw.busy:
        await asyncio.sleep(0)

    assert not begun.done()  # its answer is there, and it is not told yet
    with contextlib.suppress(sa.InvalidRequestError):  # where the server tells of the BEGIN
        await getattr(transaction if end in ("commit", "rollback") else conn, end)()
    await begun
    await conn.close()

    async with pool.acquire() as conn:
        assert await conn.scalar("SELECT 1") == 1
        assert conn.connection is raw or end == "invalidate"


@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_transaction_is_prepared_once(
    pool: sa.Engine, admin: Admin, table: str, how: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin_twophase()
        await conn.execute("INSERT INTO pay VALUES (1)")
        await transaction.prepare()

        with pytest.raises(TransactionPreparedError, match="commit it, or roll it back"):
            await transaction.prepare()
        await getattr(transaction, how)()
    assert committed(admin, table) == ([1] if how == "commit" else [])


@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_savepoint_of_a_prepared_transaction_goes_with_it(
    pool: sa.Engine, admin: Admin, table: str, how: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin_twophase()
        savepoint = await conn.begin_nested()
        await conn.execute("INSERT INTO pay VALUES (1)")
        async with conn.begin_nested():
            await conn.execute("INSERT INTO pay VALUES (2)")
            await transaction.prepare()

        with pytest.raises(TransactionPreparedError, match="commit it, or roll it back"):
            await savepoint.rollback()
        await savepoint.commit()
        await getattr(transaction, how)()
        await conn.execute("INSERT INTO pay VALUES (3)")
    assert committed(admin, table) == ([1, 2, 3] if how == "commit" else [3])


async def test_block_of_a_savepoint_that_fails_once_all_is_prepared_is_not_committed(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin_twophase("failed")
        with pytest.raises(ZeroDivisionError):
            async with conn.begin_nested():
                await conn.execute("INSERT INTO pay VALUES (1)")
                await transaction.prepare()
                raise ZeroDivisionError
        assert conn.closed
        with pytest.raises(sa.InvalidRequestError):
            await transaction.commit()
    async with pool.acquire() as conn:
        assert await conn.recover_twophase() == ["failed"]
        await conn.rollback_prepared("failed")
    assert committed(admin, table) == []


async def test_savepoint_of_a_prepared_transaction_tells_of_the_lost_connection(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin_twophase("lost")
        savepoint = await conn.begin_nested()
        await conn.execute("INSERT INTO pay VALUES (1)")
        await transaction.prepare()
        raw: Any = conn.connection
        kill(admin, raw)
        await until(lambda: raw.closed)

        with pytest.raises(err.OperationalError):
            await savepoint.commit()
    async with pool.acquire() as conn:
        await conn.rollback_prepared("lost")
    assert committed(admin, table) == []
