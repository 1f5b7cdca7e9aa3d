"""Cancelled and lost statements of an `AsyncEngine`: nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.pool import QueuePool

from aiomysqlx import Connection

pytestmark = pytest.mark.server

numbers = Table(
    "numbers", MetaData(), Column("id", Integer, primary_key=True), mysql_engine="InnoDB"
)
SLOW = select(func.sleep(30))


@pytest.fixture
async def engine(async_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine of two connections, with a table."""
    engine = create_async_engine(async_url, pool_size=2, max_overflow=0, pool_timeout=10)
    async with engine.begin() as conn:
        await conn.run_sync(numbers.create)
    yield engine
    await engine.dispose()


def lent(engine: AsyncEngine) -> int:
    """Return how many connections of an engine are lent."""
    assert isinstance(engine.pool, QueuePool)
    return engine.pool.checkedout()


async def count(engine: AsyncEngine) -> int:
    """Return how many numbers the table has."""
    async with engine.connect() as conn:
        return (await conn.execute(select(func.count()).select_from(numbers))).scalar_one()


async def begin_slowly(engine: AsyncEngine) -> None:
    """Write a number, then wait for the server."""
    async with engine.begin() as conn:
        await conn.execute(numbers.insert().values(id=1))
        await conn.execute(SLOW)


async def session_slowly(engine: AsyncEngine) -> None:
    """Write a number in a session, then wait for the server."""
    async with AsyncSession(engine) as session, session.begin():
        await session.execute(numbers.insert().values(id=1))
        await session.execute(SLOW)


async def stream_slowly(engine: AsyncEngine) -> None:
    """Write a number, then stream what the server takes long for."""
    async with engine.begin() as conn:
        await conn.execute(numbers.insert().values(id=1))
        async for _ in await conn.stream(SLOW):
            pass


ways = pytest.mark.parametrize(
    "way", [begin_slowly, session_slowly, stream_slowly], ids=["begin", "session", "stream"]
)


async def at_work(engine: AsyncEngine) -> None:
    """Wait until the server executes the slow statement."""
    query = text("SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%sleep(3%'")
    async with engine.connect() as conn:
        while (await conn.execute(query)).scalar_one() < 2:  # the question itself is one
            await asyncio.sleep(0.01)


@ways
async def test_cancelled_block_commits_nothing(
    engine: AsyncEngine, way: Callable[[AsyncEngine], Awaitable[None]]
) -> None:
    task = asyncio.ensure_future(way(engine))
    await at_work(engine)

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert lent(engine) == 0
    assert await count(engine) == 0


async def test_block_that_is_left_by_an_error_is_not_warned_of(
    engine: AsyncEngine, caplog: pytest.LogCaptureFixture
) -> None:
    task = asyncio.ensure_future(begin_slowly(engine))
    await at_work(engine)
    task.cancel()
    await asyncio.wait([task])
    async with engine.connect() as conn:
        await conn.execute(numbers.insert().values(id=1))
        await conn.invalidate()

    assert [record for record in caplog.records if record.name == "aiomysqlx.pool"] == []


@ways
async def test_block_out_of_time_commits_nothing(
    engine: AsyncEngine, way: Callable[[AsyncEngine], Awaitable[None]]
) -> None:
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(way(engine), 0.1)

    assert lent(engine) == 0
    assert await count(engine) == 0


async def test_session_goes_on_after_a_cancelled_statement(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.execute(SLOW), 0.1)
        await session.rollback()

        assert (await session.execute(text("SELECT 'mine'"))).scalar_one() == "mine"


async def test_cancelled_tasks_never_get_the_rows_of_others(engine: AsyncEngine) -> None:
    dice = random.Random(7)

    async def ask(number: int) -> None:
        async with engine.connect() as conn:
            for _ in range(3):
                query = text("SELECT :number, SLEEP(:seconds)")
                seconds = dice.choice((0, 0, 0.001, 0.005))
                found = await conn.execute(query, {"number": number, "seconds": seconds})
                assert found.scalar_one() == number

    async def cut_off(number: int) -> bool:
        try:
            await asyncio.wait_for(ask(number), dice.uniform(0.001, longest))
        except asyncio.TimeoutError:
            return True
        return False

    started = asyncio.get_running_loop().time()
    await asyncio.gather(*(ask(number) for number in range(4)))
    # By then some are done, however busy the machine is.
    longest = 0.03 + asyncio.get_running_loop().time() - started

    cut = 0
    for first in range(0, 200, 4):
        cut += sum(await asyncio.gather(*(cut_off(first + more) for more in range(4))))

    assert 0 < cut < 200
    assert lent(engine) == 0
    await ask(-1)


async def test_dropped_connection_gives_its_place_back(engine: AsyncEngine) -> None:
    async def borrow() -> AsyncConnection:
        conn = await engine.connect()
        await conn.execute(numbers.insert().values(id=1))
        return conn

    for _ in range(3):
        conn: AsyncConnection | None = await borrow()
        conn = None
        assert conn is None
        with pytest.warns(Warning, match="garbage collector"):
            gc.collect()

    assert lent(engine) == 0
    assert await count(engine) == 0


async def test_server_that_kills_a_session_is_told_of(engine: AsyncEngine) -> None:
    async with engine.connect() as conn, engine.connect() as other:
        number = (await conn.execute(select(func.connection_id()))).scalar_one()
        await other.execute(text(f"KILL {number}"))

        with pytest.raises(OperationalError) as caught:
            await conn.execute(SLOW)

    assert caught.value.connection_invalidated
    assert await count(engine) == 0


async def test_ping_before_lending_replaces_what_was_killed(async_url: str) -> None:
    engine = create_async_engine(async_url, pool_size=2, pool_pre_ping=True)
    async with engine.connect() as other:
        async with engine.connect() as conn:
            number = (await conn.execute(select(func.connection_id()))).scalar_one()
        await other.execute(text(f"KILL {number}"))

    async with engine.connect() as conn:
        assert (await conn.execute(text("SELECT 1"))).scalar_one() == 1
    await engine.dispose()


def test_engine_goes_on_in_another_loop_once_disposed(async_url: str) -> None:
    engine = create_async_engine(async_url)

    async def ask() -> int:
        async with engine.connect() as conn:
            found = (await conn.execute(text("SELECT 1"))).scalar_one()
        await engine.dispose()
        return int(found)

    assert [asyncio.run(ask()) for _ in range(2)] == [1, 1]


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that nobody can close any more
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("pings", [False, True], ids=["no ping", "ping"])
def test_connection_of_a_loop_that_is_over_is_replaced(async_url: str, pings: bool) -> None:
    engine = create_async_engine(async_url, pool_pre_ping=pings)

    async def ask() -> int:
        async with engine.connect() as conn:
            return int(await conn.scalar(text("SELECT 1")) or 0)

    assert asyncio.run(ask()) == 1
    if not pings:
        with pytest.raises(ProgrammingError, match="another event loop") as caught:
            asyncio.run(ask())
        assert caught.value.connection_invalidated

    async def ask_again() -> int:
        answer = await ask()
        await engine.dispose()
        return answer

    assert asyncio.run(ask_again()) == 1
    gc.collect()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets that nobody can close any more
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("over", [True, False], ids=["loop that is over", "loop at rest"])
def test_connections_of_another_loop_are_closed_without_waiting(
    async_url: str,
    over: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.closing.CLOSE_SECONDS", 60.0)
    engine = create_async_engine(async_url)

    async def ask() -> Connection:
        async with engine.connect() as conn:
            raw = (await conn.get_raw_connection()).driver_connection
        assert isinstance(raw, Connection)
        return raw

    async def dispose() -> None:
        await asyncio.wait_for(engine.dispose(), 10)

    loop = asyncio.new_event_loop()
    raw = loop.run_until_complete(ask())
    if over:
        loop.close()
    asyncio.run(dispose())

    assert raw.closed
    assert caplog.records == []
    if not over:
        loop.run_until_complete(raw.ensure_closed())
        loop.close()
    del raw
    gc.collect()
