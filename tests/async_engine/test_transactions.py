"""Transactions of an `AsyncEngine`: what is sent to end them, and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import Column, Executable, Integer, MetaData, Table, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

import aiomysqlx

pytestmark = pytest.mark.server

numbers = Table(
    "numbers", MetaData(), Column("id", Integer, primary_key=True), mysql_engine="InnoDB"
)
ONE = numbers.insert().values(id=1)
READ = select(numbers)
NO_TABLE = text("SELECT 1")


@pytest.fixture(params=["transactions", "autocommit"])
async def engine(request: pytest.FixtureRequest, async_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine of one connection, with a table."""
    level = "AUTOCOMMIT" if request.param == "autocommit" else "REPEATABLE READ"
    engine = create_async_engine(async_url, pool_size=1, max_overflow=0, isolation_level=level)
    async with engine.begin() as conn:
        await conn.run_sync(numbers.create)
        await conn.execute(READ)
    yield engine
    await engine.dispose()


async def raw_of(engine: AsyncEngine) -> aiomysqlx.Connection:
    """Return the connection that an engine has in its pool."""
    async with engine.connect() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
    assert isinstance(raw, aiomysqlx.Connection)
    return raw


async def ends(raw: aiomysqlx.Connection) -> tuple[int, ...]:
    """Return how many times a session was sent COMMIT, and ROLLBACK."""
    cursor = await raw.cursor()
    await cursor.execute(
        "SHOW SESSION STATUS WHERE Variable_name IN ('Com_commit', 'Com_rollback')"
    )
    return tuple(int(times) for _, times in await cursor.fetchall())


@pytest.mark.parametrize("statement", [ONE, READ, NO_TABLE], ids=["write", "read", "no table"])
async def test_block_costs_one_commit(engine: AsyncEngine, statement: Executable) -> None:
    raw = await raw_of(engine)
    commits, rollbacks = await ends(raw)

    async with engine.begin() as conn:
        await conn.execute(statement)

    assert await ends(raw) == (commits + 1, rollbacks)


@pytest.mark.parametrize("statement", [READ, NO_TABLE], ids=["read", "no table"])
async def test_rollback_is_sent_once_for_what_was_executed(
    engine: AsyncEngine, statement: Executable
) -> None:
    raw = await raw_of(engine)
    commits, rollbacks = await ends(raw)

    async with engine.connect() as conn:
        await conn.execute(statement)
    async with engine.connect():
        pass

    assert await ends(raw) == (commits, rollbacks + 1)
    assert not raw.in_transaction


async def test_transaction_that_a_text_has_begun_is_rolled_back(engine: AsyncEngine) -> None:
    async with engine.connect() as conn:
        await conn.execute(text("BEGIN"))
        await conn.execute(ONE)

    async with engine.connect() as conn:
        assert (await conn.execute(READ)).all() == []


async def test_no_lock_is_left_that_no_flag_shows(
    engine: AsyncEngine, async_engine: AsyncEngine
) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("CREATE TABLE simple (id INT) ENGINE = MyISAM"))
        await conn.execute(READ)

    async with engine.connect() as conn:
        await conn.execute(text("SELECT id FROM simple"))
        with pytest.raises(OperationalError):
            await conn.execute(text("SELECT absent FROM numbers"))
        await conn.execute(NO_TABLE)

    async with async_engine.begin() as conn:
        await conn.execute(text("SET lock_wait_timeout = 1"))
        await conn.execute(text("DROP TABLE simple"))
        await conn.execute(text("ALTER TABLE numbers ADD more INT"))


async def test_settings_of_the_next_transaction_are_not_left_to_the_next(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as conn:
        await conn.execute(text("SET TRANSACTION READ ONLY"))

    async with engine.begin() as conn:
        await conn.execute(ONE)
