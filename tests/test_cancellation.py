"""Cancellation at every point where a task can be cancelled: the caller learns it, nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest
from pymysql import err
from watch import at_rest, check_capacity, now, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Work = Callable[[sa.Engine], Awaitable[None]]


class CancelledAt:
    """Await a coroutine; have the task cancelled whenever it is suspended as one of *turns*."""

    def __init__(self, coroutine: Awaitable[Any], *turns: int) -> None:
        self._steps = coroutine.__await__()
        self._turns = turns
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        while True:
            try:
                waited_for = next(self._steps) if error is None else self._steps.throw(error)
            except StopIteration as end:
                return end.value
            self.suspended += 1
            if self.suspended in self._turns:
                task.get_loop().call_soon(task.cancel)
            error = None
            try:
                yield waited_for
            except BaseException as thrown:
                error = thrown


async def cancelled_at(work: Awaitable[Any], *turns: int) -> bool:
    """Run *work* as a task cancelled at *turns*; tell whether it came to the first of them."""
    stepped = CancelledAt(work, *turns)

    async def run() -> None:
        await stepped

    task = spawn(run())
    await asyncio.wait([task], timeout=20)
    assert task.done(), f"hangs when cancelled at {turns}"
    if stepped.suspended < turns[0]:
        task.result()
        return False
    assert task.cancelled(), f"cancelled at {turns}, but the caller got {task.exception()!r}"
    return True


@pytest.fixture
async def pool(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of up to two connections, and a table t."""
    engine = await sa.create_engine(**connect_kwargs, minsize=0, maxsize=2, autocommit=True)
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


@pytest.mark.usefixtures("much")
@pytest.mark.parametrize("work", WORKLOADS)
async def test_cancelled_at_any_point(pool: sa.Engine, work: Work) -> None:
    turn = 1
    while await cancelled_at(work(pool), turn):
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
        task = spawn(conn.execute("SELECT SLEEP(0.2), 'stale'"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() - start < 0.15

        assert await conn.scalar("SELECT 'fresh'") == "fresh"

        assert now() - start >= 0.19
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
        for number in range(250):
            tasks.append(spawn(ask(number)))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            if chance.random() < 0.6:
                chance.choice(tasks[-20:]).cancel()
        _, waiting = await asyncio.wait(tasks, timeout=60)

        assert not waiting
        failed = [task.exception() for task in tasks if not task.cancelled()]
        assert failed == [None] * len(failed) and failed
        await check_capacity(engine, 3)
