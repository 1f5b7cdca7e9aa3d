"""Cancellation at every point where a task can be cancelled: the caller learns it, nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, func, select
from watch import at_rest, cancelled_at, check_capacity, now, one, prepared, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Work = Callable[[sa.Engine], Awaitable[None]]
WorkOnOne = Callable[[sa.SAConnection, Path], Awaitable[None]]
late = pytest.mark.parametrize("late", [False, True], ids=["early", "late"])


t = Table("t", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(40)))


@pytest.fixture
async def pool(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of up to two connections, and a table t."""
    engine = await sa.create_engine(
        **connect_kwargs, minsize=0, maxsize=2, autocommit=True, local_infile=True
    )
    async with engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(40)) ENGINE=InnoDB")
    yield engine
    engine.terminate()
    await engine.wait_closed()


# -- workloads: each leaves an even number of rows in t, or none of what it did -------------------


async def read(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        assert await conn.scalar("SELECT 'one'") == "one"
        result = await conn.execute("SELECT 2 UNION SELECT 3 ORDER BY 1")
        assert [row[0] async for row in result] == [2, 3]


async def write(engine: sa.Engine) -> None:
    async with engine.begin() as conn:
        await conn.execute("DELETE FROM t")
        await conn.execute("INSERT INTO t VALUES (%s, %s)", [(1, "a"), (2, "b")])
        async with conn.begin_nested() as nested:
            await conn.execute("INSERT INTO t VALUES (3, 'c')")
            await nested.rollback()
        async with conn.begin_nested():
            await conn.execute("INSERT INTO t VALUES (4, 'd'), (5, 'e')")


async def fail(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        with pytest.raises(err.ProgrammingError):
            async with conn.begin():
                await conn.execute("INSERT INTO t VALUES (6, 'f')")
                await conn.execute("SELEKT")
        assert await conn.scalar("SELECT 'after'") == "after"


async def read_much(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        result = await conn.execute("SELECT REPEAT('x', 1000) FROM seq")
        assert len(await result.fetchall()) == 4096


async def queue(engine: sa.Engine) -> None:
    async with engine.acquire(), engine.acquire():
        third = spawn(engine.acquire())
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.wait([third])


async def release_late(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    try:
        await conn.execute("SELECT SLEEP(0.002)")
    finally:
        await engine.release(conn)


WORKLOADS = [read, write, fail, read_much, queue, release_late]


async def check(engine: sa.Engine) -> None:
    """The pool is whole, and what was in progress is done or undone."""
    await check_capacity(engine, 2)
    async with engine.acquire() as conn:
        assert await conn.scalar("SELECT COUNT(*) FROM t") in (0, 4)


@pytest.fixture
async def much(pool: sa.Engine) -> None:
    """A view seq of 4,096 rows."""
    async with pool.acquire() as conn:
        digits = " UNION ALL ".join(f"SELECT {digit}" for digit in range(16))
        await conn.execute(f"CREATE VIEW d AS {digits}")
        await conn.execute("CREATE VIEW seq AS SELECT 1 FROM d AS a, d AS b, d AS c")


@late
@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("work", WORKLOADS)
async def test_cancelled_at_any_point(pool: sa.Engine, work: Work, late: bool) -> None:
    turn = 1
    while await cancelled_at(work(pool), turn, late=late):
        await check(pool)
        turn += 1

    assert turn > 1
    await check(pool)


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("work", WORKLOADS)
async def test_cancelled_again_while_it_cleans_up(pool: sa.Engine, work: Work) -> None:
    turn = 1
    while await cancelled_at(work(pool), turn, turn + 1, turn + 2):
        await check(pool)
        turn += 1

    await check(pool)


# -- workloads on one connection, which goes on: each leaves four rows in t, or what was there -----

FOUR = [{"id": number, "name": "four"} for number in range(4)]


async def construct(conn: sa.SAConnection, file: Path) -> None:
    async with conn.begin():
        await conn.execute(t.delete())
        await conn.execute(t.insert(), FOUR)
        await conn.execute(t.update().where(t.c.id == 3), name="three")
        result = await conn.execute(select(t.c.id).where(t.c.name == "four").order_by(t.c.id))
        assert [row.id for row in await result.fetchall()] == [0, 1, 2]


async def savepoint(conn: sa.SAConnection, file: Path) -> None:
    async with conn.begin():
        await conn.execute("DELETE FROM t")
        async with conn.begin_nested() as undone:
            await conn.execute("INSERT INTO t VALUES (9, 'undone')")
            await undone.rollback()
        async with conn.begin_nested(), conn.begin_nested():
            await conn.execute(t.insert(), FOUR)


async def twophase(conn: sa.SAConnection, file: Path) -> None:
    async with conn.begin_twophase() as transaction:
        await conn.execute("DELETE FROM t")
        await conn.execute(t.insert(), FOUR)
        await transaction.prepare()


async def local_infile(conn: sa.SAConnection, file: Path) -> None:
    async with conn.begin():
        await conn.execute("DELETE FROM t")
        await conn.execute(
            "LOAD DATA LOCAL INFILE %s INTO TABLE t FIELDS TERMINATED BY ','", str(file)
        )


async def failing(conn: sa.SAConnection, file: Path) -> None:
    with pytest.raises(err.IntegrityError):
        async with conn.begin():
            await conn.execute(t.insert(), {"id": 9, "name": "undone"})
            await conn.execute(t.insert(), {"id": 9, "name": "twice"})
    assert await conn.scalar("SELECT 'after'") == "after"


WORK_ON_ONE = [construct, savepoint, twophase, local_infile, failing]


def gone(admin: Admin, thread: int) -> bool:
    return not one(
        admin, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = %s", thread
    )


async def check_same(conn: sa.SAConnection, admin: Admin, database: str, token: str) -> None:
    """The connection is closed, or as good as any, and sees what all others see."""
    if conn.closed:
        return
    assert not conn.in_transaction
    assert await conn.scalar("SELECT %s", token) == token
    count = await conn.scalar(select(func.count()).select_from(t))
    assert count in (0, 4)
    assert count == one(admin, f"SELECT COUNT(*) FROM {database}.t")
    with pytest.raises(ZeroDivisionError):
        async with conn.begin():
            await conn.execute("DELETE FROM t")
            async with conn.begin_nested():
                await conn.execute(t.insert(), {"id": 9, "name": "undone"})
            raise ZeroDivisionError
    assert await conn.scalar("SELECT COUNT(*) FROM t") == count


@pytest.mark.parametrize("again", [0, 2], ids=["once", "again"])
@late
@pytest.mark.parametrize("work", WORK_ON_ONE)
async def test_connection_goes_on_after_it_was_cancelled_at_any_point(
    pool: sa.Engine,
    admin: Admin,
    database: str,
    tmp_path: Path,
    work: WorkOnOne,
    late: bool,
    again: int,
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
    file = tmp_path / "rows"
    file.write_text("".join(f"{number},four\n" for number in range(4)))
    turn, cut = 1, True
    while cut:
        async with pool.acquire() as conn:
            thread = conn.connection.thread_id()
            turns = range(turn, turn + again + 1)

            cut = await cancelled_at(work(conn, file), *turns, late=late)

            await check_same(conn, admin, database, f"turn {turn}")
            closed = conn.closed
        if closed:
            # What it prepares in its last steps is for nobody else to end.
            await until(partial(gone, admin, thread))
        await until(lambda: not prepared(admin))
        await check(pool)
        turn += 1

    assert turn > 5


@pytest.mark.parametrize("kwargs", [{"pool_pre_ping": True}, {"reset": True}], ids=str)
async def test_cancelled_at_any_point_of_what_a_pool_does_besides(
    connect_kwargs: Kwargs, kwargs: Kwargs
) -> None:
    async def init(conn: sa.SAConnection) -> None:
        await conn.execute("SET @init = 'run'")

    async def work(engine: sa.Engine) -> None:
        async with engine.acquire(timeout=10) as first, engine.acquire() as second:
            assert await first.scalar("SELECT @init") == "run"
            assert await second.scalar("SELECT @init") == "run"

    async with sa.create_engine(
        **connect_kwargs, minsize=0, maxsize=2, init=init, max_lifetime=0.02, **kwargs
    ) as engine:
        turn = 1
        while await cancelled_at(work(engine), turn):
            await check_capacity(engine, 2)
            turn += 1


async def test_creation_cancelled_at_any_point_leaves_nothing(connect_kwargs: Kwargs) -> None:
    async def create() -> None:
        async with sa.create_engine(**connect_kwargs, minsize=2):
            pass

    before = asyncio.all_tasks()
    turn = 1
    while await cancelled_at(create(), turn):
        turn += 1

    await until(lambda: asyncio.all_tasks() <= before)


async def test_closing_cancelled_at_any_point_can_be_done_again(connect_kwargs: Kwargs) -> None:
    turn, came_so_far = 1, True
    while came_so_far:
        engine = await sa.create_engine(**connect_kwargs, minsize=2, maxsize=2)
        conn = await engine.acquire()
        engine.close()
        closing = engine.wait_closed()
        asyncio.get_running_loop().call_soon(engine.release, conn)
        came_so_far = await cancelled_at(closing, turn)
        turn += 1

        await asyncio.wait_for(engine.wait_closed(), 5)
        assert engine.stats().size == 0


# -- the connection after it -----------------------------------------------------------------------


async def test_next_statement_waits_for_the_rest_of_the_cancelled_one(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as conn:
        raw = conn.connection
        start = now()
        task = spawn(conn.execute("SELECT SLEEP(1), 'stale'"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() - start < 0.8

        assert await conn.scalar("SELECT 'fresh'") == "fresh"

        assert now() - start >= 0.99
        assert conn.connection is raw


async def test_connection_whose_answer_does_not_end_is_closed(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        task = spawn(conn.execute("SELECT SLEEP(60)"))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.wait([task])
        start = now()
        engine.release(conn)

        async with await asyncio.wait_for(engine.acquire(), 5) as other:
            assert other.connection is not raw and raw.closed
            assert await other.scalar("SELECT 1") == 1
        assert 1.5 < now() - start < 3.5


async def test_cancelling_with_a_deadline_raises_a_time_out(pool: sa.Engine) -> None:
    async with pool.acquire() as conn:
        for number in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(conn.execute("SELECT SLEEP(0.02), 'stale'"), 0.001)
            assert await conn.scalar("SELECT %s", number) == number
    await until(lambda: at_rest(pool))


# -- many at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"reset": True}, {"kill_on_cancel": True}], ids=str)
async def test_every_answer_is_to_its_question_whoever_is_cancelled(
    connect_kwargs: Kwargs, kwargs: Kwargs
) -> None:
    chance = random.Random(11)
    async with sa.create_engine(**connect_kwargs, maxsize=3, **kwargs) as engine:

        async def ask(number: int) -> None:
            async with engine.acquire() as conn:
                for part in range(3):
                    token = f"{number}.{part}"
                    sleep = chance.choice((0, 0, 0.001))
                    result = await conn.execute("SELECT %s, SLEEP(%s)", token, sleep)
                    assert [row[0] for row in await result.fetchall()] == [token]

        tasks = []
        for number in range(1500):
            tasks.append(spawn(ask(number)))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.6:
                chance.choice(tasks[-20:]).cancel()
        _, waiting = await asyncio.wait(tasks, timeout=60)

        assert not waiting
        failed = [task.exception() for task in tasks if not task.cancelled()]
        assert failed == [None] * len(failed) and failed
        assert len(tasks) - len(failed) > 500
        await check_capacity(engine, 3)
