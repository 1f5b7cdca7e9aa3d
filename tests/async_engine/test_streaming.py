"""Streams of SQLAlchemy's AsyncEngine: rows are read from the server as they are fetched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from footprint import resident_bytes
from sqlalchemy import Connection, Integer, String, func, insert, select, text
from sqlalchemy.exc import OperationalError, PendingRollbackError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

import aiomysqlx

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
async def test_end_of_a_savepoint_ends_its_stream(filled: AsyncEngine, end: str) -> None:
    async with filled.connect() as conn:
        await conn.execute(insert(Thing), {"id": MANY + 1, "name": "before"})
        savepoint = await conn.begin_nested()
        await conn.execute(insert(Thing), {"id": MANY + 2, "name": "within"})
        result = await conn.stream(ALL)
        await result.fetchone()

        await getattr(savepoint, end)()

        count = MANY + (2 if end == "commit" else 1)
        assert (await conn.execute(select(func.count(Thing.id)))).scalar() == count
        with pytest.raises(ProgrammingError, match="this stream is over"):
            await result.fetchmany(MANY)


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


# -- what is too long to be dropped ----------------------------------------------------------------

LONG = text("SELECT a.name FROM things a JOIN things b ON b.id <= 5")
Leave = Callable[[], None]


class UsersError(Exception):
    """An error of the user's."""


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a stream be too long to be dropped that has more than 1 MiB to come."""
    monkeypatch.setattr("aiomysqlx.wire.leaving.MOST_DROPPED", 1 << 20)


async def connection(engine: AsyncEngine, leave: Leave) -> None:
    async with engine.connect() as conn:
        async for _ in await conn.stream(LONG):
            leave()
            break


async def closed_stream(engine: AsyncEngine, leave: Leave) -> None:
    async with engine.connect() as conn, conn.stream(LONG) as result:
        await result.fetchone()
        leave()


async def autocommit(engine: AsyncEngine, leave: Leave) -> None:
    await connection(engine.execution_options(isolation_level="AUTOCOMMIT"), leave)


async def session(engine: AsyncEngine, leave: Leave) -> None:
    async with AsyncSession(engine) as session:
        async for _ in await session.stream(LONG):
            leave()
            break


async def pooled(engine: AsyncEngine, leave: Leave) -> None:
    lent = await engine.raw_connection()
    raw: Any = lent.driver_connection
    try:
        await raw.begin()
        cursor = await raw.cursor(aiomysqlx.SSCursor)
        await cursor.execute(LONG.text)
        leave()
    finally:
        await greenlet_spawn(lent.close)


async def transaction(engine: AsyncEngine, leave: Leave) -> None:
    async with engine.begin() as conn:
        await conn.execute(insert(Thing), {"id": MANY + 1, "name": "lost"})
        async for _ in await conn.stream(LONG):
            leave()


async def savepoint(engine: AsyncEngine, leave: Leave) -> None:
    async with engine.begin() as conn, conn.begin_nested():
        async for _ in await conn.stream(LONG):
            leave()


async def savepoint_of_a_session(engine: AsyncEngine, leave: Leave) -> None:
    async with AsyncSession(engine) as session, session.begin(), session.begin_nested():
        session.add(Thing(id=MANY + 1, name="lost"))
        await session.flush()
        async for _ in await session.stream(LONG):
            leave()


async def two_phases(engine: AsyncEngine, leave: Leave) -> None:
    def leave_stream(conn: Connection) -> None:
        with conn.begin_twophase():
            for _ in conn.execution_options(stream_results=True).execute(LONG):
                leave()

    async with engine.connect() as conn:
        await conn.run_sync(leave_stream)


async def rolled_back(engine: AsyncEngine, leave: Leave) -> None:
    async with engine.connect() as conn:
        async for _ in await conn.stream(LONG):
            try:
                leave()
            except BaseException:
                await conn.rollback()
                raise


WAYS = [connection, closed_stream, autocommit, session, pooled]
IN_TRANSACTIONS = [transaction, savepoint, savepoint_of_a_session, two_phases, rolled_back]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(
    ("way", "error"),
    [
        *((way, error) for way in WAYS for error in (None, UsersError, asyncio.CancelledError)),
        *(
            (way, error)
            for way in IN_TRANSACTIONS
            for error in (UsersError, asyncio.CancelledError)
        ),
    ],
    ids=lambda each: "none" if each is None else each.__name__,
)
async def test_stream_too_long_to_be_dropped_replaces_no_error(
    filled: AsyncEngine,
    way: Callable[[AsyncEngine, Leave], Awaitable[None]],
    error: type[BaseException] | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def leave() -> None:
        if error is not None:
            raise error("mine")

    async with filled.connect() as conn:
        number = await conn.scalar(select(func.connection_id()))

    with nullcontext() if error is None else pytest.raises(error, match="mine"):
        await way(filled, leave)

    assert isinstance(filled.pool, QueuePool)
    assert filled.pool.checkedout() == 0
    async with filled.connect() as conn:
        assert await conn.scalar(select(func.connection_id())) != number
        assert await conn.scalar(select(func.count(Thing.id))) == MANY
    assert not caplog.records


@pytest.mark.usefixtures("short")
async def test_stream_too_long_to_be_dropped_costs_no_other_connection(
    filled: AsyncEngine,
) -> None:
    async with filled.connect() as other:
        number = await other.scalar(select(func.connection_id()))
        await connection(filled, lambda: None)

    async with filled.connect() as one_of_them, filled.connect() as another:
        numbers = [
            await each.scalar(select(func.connection_id())) for each in (one_of_them, another)
        ]
    assert number in numbers


@pytest.mark.usefixtures("short")
async def test_loss_over_a_stream_that_was_left_is_raised_by_what_comes_next(
    filled: AsyncEngine,
) -> None:
    async with filled.connect() as conn:
        async for _ in await conn.stream(LONG):
            break
        with pytest.raises(OperationalError, match="a stream was left early") as caught:
            await conn.commit()
        assert caught.value.connection_invalidated
        await conn.rollback()
        assert await conn.scalar(select(func.count(Thing.id))) == MANY
        async for _ in await conn.stream(LONG):
            break
        await conn.rollback()
        with pytest.raises(OperationalError, match="a stream was left early") as caught:
            await conn.execute(select(1))
        assert caught.value.connection_invalidated


@pytest.mark.usefixtures("short")
async def test_nothing_is_committed_whose_savepoint_was_lost_over_a_stream(
    filled: AsyncEngine,
) -> None:
    with pytest.raises(PendingRollbackError):
        async with filled.begin() as conn:
            await conn.execute(insert(Thing), {"id": MANY + 1, "name": "lost"})
            with suppress(UsersError):
                async with conn.begin_nested():
                    async for _ in await conn.stream(LONG):
                        raise UsersError

    async with filled.connect() as conn:
        assert await conn.scalar(select(func.count(Thing.id))) == MANY


@pytest.mark.parametrize("taken", [0, 1])
async def test_further_results_of_a_procedure_bar_no_statement(url: str, taken: int) -> None:
    engine = create_async_engine(url.replace("mysql://", "mysql+aiomysqlx://"))
    async with engine.connect() as conn:
        await conn.execute(
            text("CREATE PROCEDURE two() BEGIN SELECT 1 UNION SELECT 2; SELECT 3; END")
        )
        result = await conn.stream(text("CALL two()"))
        rows = [await result.fetchone() for _ in range(taken)]

        assert (await conn.execute(text("SELECT 4"))).scalar() == 4
        assert [row[0] for row in (*rows, *await result.fetchall())] == [1, 2]
    await engine.dispose()
