"""The driver's pool: what it lends, what it takes back, and what a borrower leaves behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from collections.abc import AsyncIterator
from typing import Any

import pymysql
import pytest

import aiomysqlx

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]


@pytest.fixture
async def pool(connect_kwargs: Kwargs) -> AsyncIterator[aiomysqlx.Pool]:
    """A pool of one or two connections, and a table."""
    pool = await aiomysqlx.create_pool(minsize=1, maxsize=2, **connect_kwargs)
    async with pool.acquire() as conn:
        await conn.query("CREATE TABLE lent (n INT) ENGINE=InnoDB")
    del conn  # which would go on standing for its session
    yield pool
    pool.terminate()
    await pool.wait_closed()


async def value(conn: aiomysqlx.Connection, sql: str) -> Any:
    async with conn.cursor() as cursor:
        await cursor.execute(sql)
        (row,) = await cursor.fetchall()
    return row[0]


async def test_transaction_left_open_is_rolled_back_and_its_connection_kept(
    pool: aiomysqlx.Pool, caplog: pytest.LogCaptureFixture
) -> None:
    conn = await pool.acquire()
    thread = conn.thread_id()
    await conn.query("INSERT INTO lent VALUES (1)")

    await pool.release(conn)

    assert "rolled back what was left uncommitted on a connection acquired at" in caplog.text
    async with pool.acquire() as conn:
        assert conn.thread_id() == thread
        assert await value(conn, "SELECT COUNT(*) FROM lent") == 0


async def test_settings_of_a_borrower_are_put_back(
    pool: aiomysqlx.Pool, connect_kwargs: Kwargs
) -> None:
    conn = await pool.acquire()
    await conn.autocommit(True)
    await conn.select_db("information_schema")
    await conn.set_charset("latin1")
    await conn.query("SET time_zone = '+05:00'")

    await pool.release(conn)

    async with pool.acquire() as conn:
        assert not conn.get_autocommit()
        assert await value(conn, "SELECT DATABASE()") == connect_kwargs["db"]
        assert await value(conn, "SELECT @@character_set_client") == "utf8mb4"
        assert await value(conn, "SELECT @@time_zone") != "+05:00"


async def test_release_after_a_commit_takes_no_round_trip(pool: aiomysqlx.Pool) -> None:
    async with pool.acquire() as conn:
        await conn.query("INSERT INTO lent VALUES (1)")
        await conn.commit()
        session = conn._session

    assert not session.busy and session in pool._pool.stock.idle


async def test_cursor_of_a_former_borrower_executes_nothing(pool: aiomysqlx.Pool) -> None:
    async with pool.acquire() as conn:
        cursor = await conn.cursor()

    with pytest.raises(aiomysqlx.ResourceClosedError, match="it has been released"):
        await cursor.execute("SELECT 1")


async def test_unbuffered_cursor_of_a_former_borrower_is_over(pool: aiomysqlx.Pool) -> None:
    async with pool.acquire() as conn:
        cursor = await conn.cursor(aiomysqlx.SSCursor)
        await cursor.execute("SELECT 1 UNION SELECT 2")

    async with pool.acquire() as conn:
        assert await value(conn, "SELECT 3") == 3
    with pytest.raises(aiomysqlx.ResourceClosedError):
        await cursor.fetchone()


FAILS_LATE = (
    "CREATE PROCEDURE fails_late() BEGIN SELECT 1; SELECT 2;"
    " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'of another'; END"
)


@pytest.mark.parametrize("kind", [aiomysqlx.Cursor, aiomysqlx.SSCursor])
async def test_error_behind_results_that_a_borrower_has_left_is_not_the_next_ones(
    connect_kwargs: Kwargs, kind: type[aiomysqlx.Cursor]
) -> None:
    pool: aiomysqlx.Pool
    async with aiomysqlx.create_pool(**connect_kwargs, maxsize=1, autocommit=True) as pool:
        async with pool.acquire() as conn:
            await conn.query(FAILS_LATE)
            await conn.query("CREATE TABLE next (n INT) ENGINE=InnoDB")
            await conn.ping()
            cursor = await conn.cursor(kind)
            await cursor.callproc("fails_late")
            await cursor.fetchone()
            cursor.detach()
            await conn.ping()  # which tells that there is no transaction
        del cursor

        async with pool.acquire() as conn:
            await conn.query("START TRANSACTION")
            await conn.query("INSERT INTO next VALUES (1)")
            await conn.commit()
            await conn.rollback()
            assert await value(conn, "SELECT COUNT(*) FROM next") == 1


async def test_connection_is_released_once(pool: aiomysqlx.Pool) -> None:
    conn = await pool.acquire()

    await pool.release(conn)
    await pool.release(conn)

    assert (pool.size, pool.freesize) == (1, 1)


@pytest.mark.parametrize("first", ["release", "block"])
async def test_second_release_leaves_the_connection_to_the_task_that_has_it_since(
    pool: aiomysqlx.Pool, caplog: pytest.LogCaptureFixture, first: str
) -> None:
    acquired, over = asyncio.Event(), asyncio.Event()

    async def other() -> Any:
        conn = await pool.acquire()
        acquired.set()
        await over.wait()
        pool.release(conn)
        return conn

    if first == "release":
        conn = await pool.acquire()
        pool.release(conn)
    else:
        async with pool.acquire() as conn:
            pass
    task = asyncio.create_task(other())
    await acquired.wait()
    pool.release(conn)

    assert pool._used == {conn}
    (record,) = caplog.records
    told = r"a connection was released a second time, at \S+: it is left to who has .*, at \S+"
    assert re.fullmatch(told, record.getMessage())
    over.set()
    assert await task is conn
    assert (pool.size, pool.freesize) == (1, 1)


async def test_task_releases_what_another_has_acquired(pool: aiomysqlx.Pool) -> None:
    queue: asyncio.Queue[aiomysqlx.Connection] = asyncio.Queue()
    over = asyncio.Event()

    async def producer() -> None:
        for _ in range(3):
            queue.put_nowait(await pool.acquire())
        await over.wait()

    task = asyncio.create_task(producer())
    for _ in range(3):
        pool.release(await queue.get())

    assert not pool._used
    over.set()
    await task


async def test_task_releases_what_one_that_has_ended_has_acquired(pool: aiomysqlx.Pool) -> None:
    pool.release(await pool.acquire())
    conn = await asyncio.create_task(acquired(pool))

    pool.release(conn)

    assert not pool._used


async def acquired(pool: aiomysqlx.Pool) -> aiomysqlx.Connection:
    return await pool.acquire()


@pytest.mark.parametrize("way", ["acquire()", "await pool"])
async def test_block_that_has_released_leaves_the_connection_to_who_has_it_since(
    pool: aiomysqlx.Pool, way: str
) -> None:
    async with pool.acquire() if way == "acquire()" else await pool as conn:
        pool.release(conn)
        others = [await pool.acquire(), await pool.acquire()]

    assert pool.freesize == 0
    for each in others:
        pool.release(each)


async def test_connection_of_another_pool_is_refused(
    pool: aiomysqlx.Pool, connect_kwargs: Kwargs
) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as conn:
        with pytest.raises(aiomysqlx.InvalidRequestError, match="does not belong to this pool"):
            pool.release(conn)
        assert await value(conn, "SELECT 1") == 1
    with pytest.raises(aiomysqlx.ArgumentError, match="expected a Connection of this pool"):
        pool.release(None)  # type: ignore[arg-type]  # what is refused


async def test_connection_of_another_pool_stays_with_its_borrower(
    pool: aiomysqlx.Pool, connect_kwargs: Kwargs
) -> None:
    async with aiomysqlx.create_pool(**connect_kwargs) as other, other.acquire() as conn:
        with pytest.raises(aiomysqlx.InvalidRequestError, match="does not belong to this pool"):
            pool.release(conn)
        assert await value(conn, "SELECT 1") == 1


async def test_connection_that_is_dropped_comes_back_with_a_warning(pool: aiomysqlx.Pool) -> None:
    conn = await pool.acquire()
    thread = conn.thread_id()
    circle = [conn]  # so that it is dropped by the collector
    circle.append(circle)  # type: ignore[arg-type]  # anything does
    del conn, circle
    with pytest.warns(ResourceWarning, match=r"acquired at .*test_driver_pool.* never released"):
        gc.collect()

    async with pool.acquire() as first, pool.acquire() as second:
        assert thread not in (first.thread_id(), second.thread_id())


async def test_borrower_who_waits_too_long_is_told(pool: aiomysqlx.Pool) -> None:
    async with pool.acquire(), pool.acquire():
        with pytest.raises(aiomysqlx.AcquireTimeoutError, match="2 of 2 in use"):
            await pool.acquire(timeout=0.01)

    async with pool.acquire(timeout=5) as conn:
        assert await value(conn, "SELECT 1") == 1


async def test_borrower_who_is_cancelled_leaves_the_connection_to_the_next(
    pool: aiomysqlx.Pool,
) -> None:
    async with pool.acquire() as one, pool.acquire():
        waiting = asyncio.ensure_future(pool.acquire())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert one.thread_id()

    assert pool.freesize == pool.size == 2


async def test_idle_connections_are_lent_in_turn(pool: aiomysqlx.Pool) -> None:
    first, second = await pool.acquire(), await pool.acquire()
    pool.release(first)
    pool.release(second)

    for expected in (first, second, first):
        async with pool.acquire() as conn:
            assert conn is expected


async def test_connections_that_are_checked_before_are_lent_in_turn(
    connect_kwargs: Kwargs,
) -> None:
    threads = []
    async with aiomysqlx.create_pool(minsize=2, pool_pre_ping=True, **connect_kwargs) as pool:
        for _ in range(3):
            async with pool.acquire() as conn:
                threads.append(conn.thread_id())

    assert threads[0] == threads[2] != threads[1]


async def test_lost_connection_is_not_lent_again(
    pool: aiomysqlx.Pool, admin: pymysql.Connection[Any]
) -> None:
    async with pool.acquire() as conn:
        thread = conn.thread_id()
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {thread}")
    while pool._pool.stock.counts.closed["lost"] == 0:
        await asyncio.sleep(0)

    async with pool.acquire() as conn:
        assert conn.thread_id() != thread and await value(conn, "SELECT 1") == 1


async def test_connection_of_a_pool_is_not_connected_anew(
    pool: aiomysqlx.Pool, admin: pymysql.Connection[Any]
) -> None:
    async with pool.acquire() as conn:
        with admin.cursor() as cursor:
            cursor.execute(f"KILL {conn.thread_id()}")
        with pytest.raises(pymysql.err.OperationalError, match="belongs to an engine or a pool"):
            await conn.ping()


async def test_clear_replaces_what_is_idle_and_what_comes_back(pool: aiomysqlx.Pool) -> None:
    held = await pool.acquire()
    async with pool.acquire() as conn:
        idle = conn.thread_id()

    await pool.clear()

    async with pool.acquire() as conn:
        assert conn.thread_id() != idle
    await pool.release(held)
    assert held.closed


async def test_leaving_the_block_of_a_pool_by_an_error_waits_for_nobody(
    connect_kwargs: Kwargs,
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with aiomysqlx.create_pool(**connect_kwargs) as pool:
            held = await pool.acquire()
            raise ZeroDivisionError

    assert held.closed and pool.closed


async def test_pool_of_the_driver_logs_statements_if_asked_to(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with (
        aiomysqlx.create_pool(echo=True, **connect_kwargs) as pool,
        pool.acquire() as conn,
    ):
        assert conn.echo and pool.echo
        await value(conn, "SELECT 'to be logged'")

    assert "to be logged" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param({"nothing": 1}, "unknown argument 'nothing'", id="unknown"),
        pytest.param({"minsize": "1"}, "argument 'minsize' does not take '1'", id="text"),
        pytest.param({"loop": 5}, "argument 'loop' does not take 5", id="loop"),
        pytest.param({"dialect": None}, "unknown argument 'dialect'", id="of an engine"),
        pytest.param({"cursorclass": int}, "takes a subclass of aiomysqlx.Cursor", id="cursor"),
        pytest.param({"acquire_timeout": -1}, "acquire_timeout", id="time"),
    ],
)
def test_wrong_argument_is_refused_at_the_call(arguments: Kwargs, message: str) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        aiomysqlx.create_pool(**arguments)


async def test_pool_that_cannot_connect_says_why(connect_kwargs: Kwargs) -> None:
    with pytest.raises(pymysql.err.OperationalError, match="Unknown database"):
        await aiomysqlx.create_pool(**{**connect_kwargs, "db": "no_such_db"})


async def test_pool_is_for_its_own_event_loop(pool: aiomysqlx.Pool) -> None:
    async def acquire() -> None:
        with pytest.raises(RuntimeError, match="the pool belongs to another event loop: create"):
            await pool.acquire()

    await asyncio.to_thread(asyncio.run, acquire())


async def test_thread_beside_the_event_loop_is_told_how_a_pool_is_closed(
    pool: aiomysqlx.Pool,
) -> None:
    with pytest.raises(RuntimeError, match="the pool belongs .* as in .*pool.release, conn"):
        await asyncio.to_thread(pool.close)


async def test_connection_that_its_pool_has_closed_says_so(pool: aiomysqlx.Pool) -> None:
    replaced, terminated = await pool.acquire(), await pool.acquire()
    await pool.clear()
    await pool.release(replaced)
    pool.terminate()

    with pytest.raises(pymysql.err.InterfaceError, match="its pool has replaced it: acquire ano"):
        await replaced.query("SELECT 1")
    with pytest.raises(pymysql.err.InterfaceError, match="its pool .* closed: create another pool"):
        await terminated.query("SELECT 1")


@pytest.mark.parametrize("sizes", [{"minsize": -1}, {"maxsize": -1}, {"minsize": 2, "maxsize": 1}])
def test_sizes_that_do_not_fit_are_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(aiomysqlx.exc.SizeError, match="size should be") as caught:
        aiomysqlx.create_pool(**sizes)
    assert isinstance(caught.value, ValueError)


async def test_sizes_may_have_the_names_that_other_packages_have(connect_kwargs: Kwargs) -> None:
    pools = aiomysqlx.create_pool(**connect_kwargs, min_size=0, max_size=3)
    async with pools as pool:
        assert (pool.minsize, pool.maxsize) == (0, 3)
    with pytest.raises(aiomysqlx.ArgumentError, match="'maxsize' is given twice"):
        aiomysqlx.create_pool(**connect_kwargs, maxsize=2, max_size=3)


async def test_pool_shows_its_sizes(pool: aiomysqlx.Pool) -> None:
    assert repr(pool) == "<aiomysqlx.Pool size=1 freesize=1>"
