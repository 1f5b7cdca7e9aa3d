"""What applications do every day, as programs that end if all is as they expect.

Each takes the keyword arguments of a connection, and the database there is its own.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, func, select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine

import aiomysqlx as sa

Kwargs = dict[str, Any]
Program = Callable[[Kwargs], Awaitable[None]]
metadata = MetaData()
accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40)),
    mysql_engine="InnoDB",
)
by_id = select(accounts).where(accounts.c.id == bindparam("wanted"))
count = select(func.count()).select_from(accounts)
SLOW = "SELECT SLEEP(0.5)"


class FailedError(Exception):
    """What a block is left with."""


async def blocks(kwargs: Kwargs) -> None:
    """Commit what ends well, and nothing of what does not."""
    async with sa.create_engine(**kwargs, maxsize=3) as engine:
        await engine.create_all(metadata)
        async with engine.begin() as conn:
            await conn.execute(accounts.insert(), [{"name": "Ada"}, {"name": "Grace"}])
            async with conn.begin_nested() as savepoint:
                await conn.execute(accounts.insert(), {"name": "nobody"})
                await savepoint.rollback()
            async with conn.begin_nested():
                await conn.execute(accounts.insert(), {"name": "Edsger"})
        with pytest.raises(FailedError):
            async with engine.begin() as conn:
                await conn.execute(accounts.delete())
                raise FailedError
        async with engine.acquire() as conn:
            assert await conn.scalar(count) == 3
            row = await (await conn.execute(by_id, wanted=1)).first()
            assert (row.id, row.name) == (1, "Ada")
            assert await conn.scalar("SELECT COUNT(*) FROM accounts WHERE name = %s", "Ada") == 1


async def keys(kwargs: Kwargs) -> None:
    """Insert rows and have their keys."""
    async with sa.create_engine(**kwargs, maxsize=2) as engine:
        await engine.create_all(metadata)
        async with engine.begin() as conn:
            first = await conn.execute(accounts.insert(), {"name": "a"})
            second = await conn.execute(accounts.insert(), {"name": "b"})
            assert second.lastrowid == first.lastrowid + 1 == second.inserted_primary_key.id
            assert await conn.scalar("SELECT LAST_INSERT_ID()") == second.lastrowid
            updated = await conn.execute(accounts.update().values(name="c"))
            assert updated.rowcount == 2


async def released(kwargs: Kwargs) -> None:
    """Leave a transaction open, and other things of the session behind."""
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        await engine.create_all(metadata)
        async with engine.acquire() as conn:
            await conn.execute("START TRANSACTION")
            await conn.execute(accounts.insert(), {"name": "lost"})
        async with engine.acquire() as conn:
            assert await conn.scalar(count) == 0
            await conn.execute("SET NAMES latin1")
            assert await conn.scalar("SELECT %s", "é") == "é"
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT %s", "é→") == "é→"


async def reset(kwargs: Kwargs) -> None:
    """Have a new session whenever a connection is borrowed."""
    async with sa.create_engine(**kwargs, maxsize=1, reset=True) as engine:
        for _ in range(3):
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT @a") is None
                await conn.execute("SET @a = 1")
                assert await conn.scalar("SELECT @a") == 1
                assert await conn.scalar("SELECT %s", "é→") == "é→"


async def slow(kwargs: Kwargs) -> None:
    """Wait no longer than a limit, on the only connection there is."""
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        for number in range(2):
            async with engine.acquire() as conn:
                with pytest.raises(sa.StatementTimeoutError):
                    await conn.execute(SLOW, timeout=0.1)
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT %s", number) == number


async def cancelled(kwargs: Kwargs) -> None:
    """Cancel a task that waits, and go on within its transaction."""
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        await engine.create_all(metadata)
        async with engine.begin() as conn:
            await conn.execute(accounts.insert(), {"name": "a"})
            task = asyncio.ensure_future(conn.execute(SLOW))
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])
            await conn.execute(accounts.insert(), {"name": "b"})
        async with engine.acquire() as conn:
            assert await conn.scalar(count) == 2


async def many(kwargs: Kwargs) -> None:
    """Write many rows, in one statement and one by one."""
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        await engine.create_all(metadata)
        rows = [{"id": number, "name": f"n{number}"} for number in range(1, 500)]
        async with engine.begin() as conn:
            await conn.execute(accounts.insert(), rows)
            change = accounts.update().where(accounts.c.id == bindparam("wanted"))
            result = await conn.execute(
                change, [{"wanted": number, "name": "x"} for number in range(1, 50)]
            )
            assert result.rowcount == 49
        async with engine.acquire() as conn, conn.connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO accounts (name) VALUES (%s)", [("a",), ("b",)])
            assert cursor.rowcount == 2
            await conn.connection.commit()


async def prepared(kwargs: Kwargs) -> None:
    """Execute the same statement again and again."""
    async with sa.create_engine(**kwargs, maxsize=1, prepare_threshold=0, prepared_max=2) as engine:
        await engine.create_all(metadata)
        for number in range(1, 6):
            async with engine.begin() as conn:
                await conn.execute(accounts.insert(), {"id": number, "name": "é→"})
                row = await (await conn.execute(by_id, {"wanted": number})).first()
                assert (row.id, row.name) == (number, "é→")
                changed = accounts.update().where(accounts.c.id == bindparam("wanted"))
                assert (await conn.execute(changed, {"wanted": number, "name": "b"})).rowcount == 1
            async with engine.acquire() as conn:
                assert (await (await conn.execute(by_id, {"wanted": number})).first()).name == "b"


async def streams(kwargs: Kwargs) -> None:
    """Read a long result as it comes, to its end and not."""
    numbers = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900)"
    text = f"{numbers} SELECT i, REPEAT('x', 2000) FROM n"
    async with sa.create_engine(**kwargs, maxsize=1) as engine, engine.acquire() as conn:
        async with conn.stream(text) as rows:
            assert sum([row.i async for row in rows]) == 900 * 901 / 2
        async with conn.stream(text) as rows:
            assert (await rows.fetchone()).i == 1
        assert await conn.scalar("SELECT 1") == 1


async def isolation(kwargs: Kwargs) -> None:
    """Choose how transactions are isolated, for all of them and for one."""
    async with sa.create_engine(**kwargs, maxsize=1, isolation_level="REPEATABLE READ") as engine:
        await engine.create_all(metadata)
        for _ in range(2):
            async with engine.begin(isolation_level="SERIALIZABLE") as conn:
                await conn.execute(accounts.insert(), {"name": "a"})
            async with engine.begin(read_only=True) as conn:
                with pytest.raises(err.OperationalError, match="READ ONLY transaction"):
                    await conn.execute(accounts.insert(), {"name": "b"})
        async with engine.acquire() as conn:
            await conn.execution_options(isolation_level="READ COMMITTED")
            assert await conn.get_isolation_level() == "READ COMMITTED"
            assert await conn.scalar(count) == 2
        async with engine.acquire() as conn:
            assert await conn.get_isolation_level() == "REPEATABLE READ"


async def warned(kwargs: Kwargs) -> None:
    """Be told of the server's warnings."""
    async with sa.create_engine(**kwargs, maxsize=1) as engine, engine.acquire() as conn:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            await conn.execute("SELECT CAST('1x' AS SIGNED)")
        assert [each.message.code for each in told] == [1292]  # type: ignore[union-attr]


async def twophase(kwargs: Kwargs) -> None:
    """Prepare a transaction and commit it."""
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        await engine.create_all(metadata)
        async with engine.acquire() as conn, conn.begin_twophase() as transaction:
            await conn.execute(accounts.insert(), {"name": "a"})
            await transaction.prepare()
        async with engine.acquire() as conn:
            assert await conn.scalar(count) == 1


async def many_tasks(kwargs: Kwargs) -> None:
    """Have tasks share a few connections, each with answers of its own."""
    async with sa.create_engine(**kwargs, maxsize=3, autocommit=True) as engine:
        await engine.create_all(metadata)

        async def work(number: int) -> None:
            async with engine.begin() as conn:
                await conn.execute(accounts.insert(), {"id": number + 1, "name": str(number)})
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT %s", number) == number
                row = await (await conn.execute(by_id, wanted=number + 1)).first()
                assert row.name == str(number)

        await asyncio.gather(*[work(number) for number in range(20)])


async def orm(kwargs: Kwargs) -> None:
    """Use SQLAlchemy's AsyncEngine, and `native()` within it."""
    url = URL.create(
        "mysql+aiomysqlx", kwargs["user"], None, kwargs["host"], kwargs["port"], kwargs["db"]
    )
    engine = create_async_engine(url, pool_size=2, pool_pre_ping=True)
    try:
        async with engine.begin() as conn:
            await conn.run_sync(metadata.create_all)
            await conn.execute(accounts.insert(), [{"name": "a"}, {"name": "b"}])
            async with sa.native(conn) as native:
                assert await native.scalar(count) == 2
        async with engine.connect() as conn:
            assert await conn.scalar(count) == 2
            await conn.execute(accounts.delete())
        async with engine.connect() as conn:
            assert await conn.scalar(count) == 2
    finally:
        await engine.dispose()


PROGRAMS: dict[str, Program] = {
    each.__name__.replace("_", " "): each
    for each in (
        *(blocks, keys, released, reset, slow, cancelled, many, prepared, streams, isolation),
        *(warned, twophase, many_tasks, orm),
    )
}
