"""Streams of SQLAlchemy's AsyncEngine: rows are read from the server as they are fetched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from footprint import resident_bytes
from sqlalchemy import Integer, String, func, insert, select
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

MANY = 20_000


class Base(DeclarativeBase):
    pass


class Thing(Base):
    __tablename__ = "things"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(100))


ALL = select(Thing.id, Thing.name).order_by(Thing.id)


@pytest.fixture
async def filled(url: str) -> AsyncIterator[AsyncEngine]:
    """An engine, and a table of 20,000 rows."""
    engine = create_async_engine(url.replace("mysql://", "mysql+aiomysqlx://"))
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
        rows = [{"id": n, "name": f"{n:x>100}"} for n in range(1, MANY + 1)]
        await conn.execute(insert(Thing), rows)
    yield engine
    await engine.dispose()


async def test_rows_are_streamed(filled: AsyncEngine) -> None:
    async with filled.connect() as conn:
        async with conn.stream(ALL) as result:
            assert (await result.fetchone()) is not None
            raw: Any = (await conn.get_raw_connection()).driver_connection
            assert raw.busy
            rows = await result.all()
        assert [row.id for row in rows] == list(range(2, MANY + 1))
        assert (await conn.execute(select(func.count(Thing.id)))).scalar() == MANY


async def test_scalars_and_partitions_are_streamed(filled: AsyncEngine) -> None:
    async with filled.connect() as conn:
        ids = [each async for each in await conn.stream_scalars(ALL)]
        assert ids == list(range(1, MANY + 1))
        result = await conn.stream(ALL.execution_options(yield_per=3000))
        assert [len(part) async for part in result.partitions()] == [3000] * 6 + [2000]


async def test_session_streams(filled: AsyncEngine) -> None:
    async with AsyncSession(filled) as session:
        things = await session.stream_scalars(select(Thing).execution_options(yield_per=100))
        count = 0
        async for thing in things:
            assert thing.name.endswith(str(thing.id))
            count += 1
        assert count == MANY
        result = await session.stream(ALL)
        assert (await result.first()) is not None
        assert await session.scalar(select(func.count(Thing.id))) == MANY


async def test_stream_that_is_left_early(filled: AsyncEngine) -> None:
    async with filled.connect() as conn:
        async for row in await conn.stream(ALL):
            assert row.id == 1
            break
    async with filled.connect() as conn:
        assert (await conn.execute(select(func.count(Thing.id)))).scalar() == MANY


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_end_of_a_transaction_ends_its_stream(filled: AsyncEngine, end: str) -> None:
    async with filled.connect() as conn:
        result = await conn.stream(ALL)
        await result.fetchone()

        await getattr(conn, end)()

        assert (await conn.execute(select(func.count(Thing.id)))).scalar() == MANY
        with pytest.raises(ProgrammingError, match="this stream is over"):
            await result.fetchmany(MANY)


async def test_statement_beside_an_open_stream_is_refused(filled: AsyncEngine) -> None:
    async with filled.connect() as conn, conn.stream(ALL) as result:
        await result.fetchone()
        with pytest.raises(ProgrammingError, match="a stream: read it to its end or close"):
            await conn.execute(select(1))
        assert len(await result.fetchall()) == MANY - 1


async def test_memory_is_bounded(filled: AsyncEngine) -> None:
    more = Thing.__table__.alias()
    statement = select(Thing.id, Thing.name).where(more.c.id <= 10).join(more, more.c.id > 0)
    async with filled.connect() as conn:
        async for _ in await conn.stream(ALL):
            pass
        before = resident_bytes()
        count = 0
        async for _ in await conn.stream(statement):
            count += 1

    assert count == 10 * MANY
    assert resident_bytes() - before < 10 << 20
