"""Streams: rows that are read as they are asked for, and what becomes of those that are not."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fakes import proxy, without_deprecate_eof
from footprint import resident_bytes
from private_server import Certificates
from pymysql import err
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    bindparam,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.exc import MultipleResultsFound, NoResultFound
from sqlalchemy.ext.asyncio import create_async_engine
from watch import cancelled_at, now, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
METADATA = MetaData()
DIGITS = Table("digits", METADATA, Column("n", Integer, primary_key=True, autoincrement=False))
NUMBERS = Table(
    "numbers",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("name", String(100)),
)
MANY = 30_000
ALL = select(NUMBERS).order_by(NUMBERS.c.id)
BUSY = "another statement is in progress on this connection, a stream: read it to its end or close"
CLOSED = "This result object is closed."


@pytest.fixture
async def auto(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode, and the tables `digits` and `numbers` of 30,000 rows."""
    # Not by a connection of the engine's: the server has longer buffers for what has sent much.
    async with (
        sa.create_engine(**connect_kwargs, autocommit=True) as filling,
        filling.acquire() as conn,
    ):
        await conn.create_all(METADATA)
        await conn.execute(DIGITS.insert(), [{"n": n} for n in range(10)])
        rows = [{"id": n + 1, "name": f"{n + 1:x>100}"} for n in range(MANY)]
        await conn.execute(NUMBERS.insert(), rows)
    async with sa.create_engine(**connect_kwargs, autocommit=True, maxsize=2) as engine:
        yield engine


@pytest.fixture
async def conn(auto: sa.Engine) -> AsyncIterator[sa.SAConnection]:
    async with auto.acquire() as conn:
        yield conn


def buffered(conn: sa.SAConnection) -> int:
    raw = conn.connection
    assert raw is not None
    return int(raw._session.protocol.reader.buffered)


# -- rows ------------------------------------------------------------------------------------------


async def test_rows_of_a_stream_are_those_of_the_result(conn: sa.SAConnection) -> None:
    whole = await (await conn.execute(ALL)).fetchall()

    streamed = [row async for row in conn.stream(ALL)]

    assert len(streamed) == MANY
    assert [row.as_tuple() for row in streamed] == [row.as_tuple() for row in whole]
    assert streamed[0].name == streamed[0][NUMBERS.c.name] == whole[0].name
    assert type(streamed[0]) is type(whole[0])


@pytest.mark.parametrize("statement", [ALL, "SELECT * FROM numbers"], ids=["construct", "text"])
async def test_no_more_waits_than_the_bound(conn: sa.SAConnection, statement: Any) -> None:
    async with conn.stream(statement, max_buffer=1 << 16) as result:
        await result.fetchone()
        await until(lambda: buffered(conn) > 1 << 16)
        await asyncio.sleep(0.05)

        assert buffered(conn) < 1 << 18
        assert len(await result.fetchall()) == MANY - 1


async def test_first_row_comes_before_the_last_is_sent(conn: sa.SAConnection) -> None:
    statement = "SELECT REPEAT('x', 60000), SLEEP(0.05) FROM digits, digits AS more LIMIT 60"
    start = now()

    async with conn.stream(statement) as r:
        await r.fetchone()

        assert now() - start < 2


async def test_connection_is_free_after_the_last_row(conn: sa.SAConnection) -> None:
    async for row in conn.stream(ALL):
        last = row.id

    assert last == MANY
    assert await conn.scalar("SELECT 5") == 5


async def test_stream_that_is_broken_off_leaves_the_connection_in_order(
    conn: sa.SAConnection,
) -> None:
    gc.disable()
    try:
        async for row in conn.stream(ALL):
            if row.id == 3:
                break

        assert await conn.scalar("SELECT 5") == 5
    finally:
        gc.enable()


async def test_statement_beside_an_open_stream_is_refused(conn: sa.SAConnection) -> None:
    async with conn.stream(ALL) as result:
        with pytest.raises(sa.InvalidRequestError, match=BUSY.replace("(", r"\(")):
            await conn.execute("SELECT 1")

        assert len(await result.fetchall()) == MANY


async def test_fetches_one_after_the_other(conn: sa.SAConnection) -> None:
    async with conn.stream(ALL, yield_per=10) as result:
        assert result.keys() == ("id", "name")
        assert result.returns_rows
        assert not result.closed
        assert result.rowcount == -1
        first = await result.fetchone()
        assert first is not None
        assert first.id == 1
        assert [row.id for row in await result.fetchmany(3)] == [2, 3, 4]
        assert [row.id for row in await result.fetchmany()] == list(range(5, 15))
        assert len(await result.fetchmany(2000)) == 2000
        assert await result.fetchmany(0) == []
        assert len(await result.fetchall()) == MANY - 2014
        assert result.closed
        assert result.rowcount == MANY
        with pytest.raises(sa.ResourceClosedError, match=CLOSED):
            await result.fetchone()


ENDS: dict[str, tuple[Callable[[sa.StreamResult], Awaitable[Any]], Any]] = {
    "first": (lambda result: result.first(), (1,)),
    "scalar": (lambda result: result.scalar(), 1),
    "scalars": (lambda result: result.scalars().first(), 1),
    "tuples": (lambda result: result.tuples().first(), (1,)),
    "mappings": (lambda result: result.mappings().first(), {"id": 1}),
    "close": (lambda result: result.close(), None),
}


@pytest.mark.parametrize(("end", "value"), ENDS.values(), ids=ENDS)
async def test_what_ends_a_stream_frees_its_connection(
    conn: sa.SAConnection, end: Callable[[sa.StreamResult], Awaitable[Any]], value: Any
) -> None:
    result = await conn.stream(select(NUMBERS.c.id).order_by(NUMBERS.c.id))

    assert await end(result) == value
    assert result.closed
    assert await conn.scalar("SELECT 5") == 5


async def test_one_row_is_asked_for(conn: sa.SAConnection) -> None:
    one = select(NUMBERS.c.id).where(NUMBERS.c.id <= bindparam("most"))

    assert (await (await conn.stream(one, most=1)).one()).id == 1
    assert await (await conn.stream(one, most=0)).one_or_none() is None
    assert await (await conn.stream(one, most=1)).scalars().one() == 1
    with pytest.raises(NoResultFound):
        await (await conn.stream(one, most=0)).one()
    with pytest.raises(MultipleResultsFound):
        await (await conn.stream(one, most=9)).one_or_none()
    assert await conn.scalar("SELECT 5") == 5


async def test_partitions_have_so_many_rows(conn: sa.SAConnection) -> None:
    few = select(NUMBERS.c.id).where(NUMBERS.c.id <= 25)

    async with conn.stream(few, yield_per=10) as result:
        assert [len(rows) async for rows in result.partitions()] == [10, 10, 5]
    async with conn.stream(few) as result:
        parts = [part async for part in result.scalars().partitions(20)]
    assert [len(part) for part in parts] == [20, 5]
    assert parts[0][0] == 1


@pytest.mark.parametrize(
    "options",
    [{"stream_results": True}, {"yield_per": 7}, {"stream_results": True, "max_row_buffer": 3}],
    ids=["stream_results", "yield_per", "max_row_buffer"],
)
async def test_execution_options_ask_for_a_stream(
    conn: sa.SAConnection, options: dict[str, Any]
) -> None:
    result: Any = await conn.execute(ALL.execution_options(**options))

    assert isinstance(result, sa.StreamResult)
    with pytest.raises(sa.InvalidRequestError, match="a stream"):
        await conn.execute("SELECT 1")
    assert len(await result.fetchall()) == MANY
    async for row in conn.execute(ALL.execution_options(**options)):
        assert row.id == 1
        break
    assert await conn.scalar("SELECT 5") == 5


async def test_statements_without_rows_are_executed(conn: sa.SAConnection) -> None:
    result = await conn.stream(NUMBERS.insert(), id=MANY + 1, name="new")
    ddl = await conn.stream(text("CREATE TABLE other (id INT)"))
    string = await conn.stream("DELETE FROM numbers WHERE id > %s", MANY)

    assert (result.returns_rows, result.rowcount, result.closed) == (False, 1, True)
    assert not ddl.returns_rows
    assert string.rowcount == 1
    with pytest.raises(sa.ResourceClosedError, match="does not return rows"):
        await result.fetchall()
    with pytest.raises(sa.ResourceClosedError, match="does not return rows"):
        async for _ in conn.stream("DELETE FROM numbers WHERE id > 1000000"):
            pass


async def test_result_without_a_row(conn: sa.SAConnection) -> None:
    async with conn.stream(ALL.where(NUMBERS.c.id < 0)) as result:
        assert result.keys() == ("id", "name")
        assert await result.fetchall() == []
    assert [row async for row in conn.stream("SELECT 1 FROM numbers WHERE id < 0")] == []


async def test_many_groups_are_refused(conn: sa.SAConnection) -> None:
    for statement in (NUMBERS.insert(), "INSERT INTO numbers VALUES (%s, %s)"):
        with pytest.raises(sa.ArgumentError, match="a stream is of one execution, got many"):
            await conn.stream(statement, [(1, "a"), (2, "b")])


@pytest.mark.parametrize("name", ["yield_per", "max_buffer"])
async def test_number_that_is_none_is_refused(conn: sa.SAConnection, name: str) -> None:
    with pytest.raises(sa.ArgumentError, match=f"{name}: expected a positive int, got 0"):
        await conn.stream(ALL, **{name: 0})


async def test_row_of_many_columns(conn: sa.SAConnection) -> None:
    wide = select(*[literal(n).label(f"c{n}") for n in range(300)])

    async for row in conn.stream(wide):
        assert row.as_tuple() == tuple(range(300))


async def test_row_beyond_16_mib(connect_kwargs: Kwargs, conn: sa.SAConnection) -> None:
    await conn.execute("SET GLOBAL max_allowed_packet = 67108864")
    size = (1 << 24) + 5
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as other:
        rows = [
            row[0] async for row in other.stream(f"SELECT REPEAT('x', {size}) UNION SELECT 'y'")
        ]
    assert [len(value) for value in rows] == [size, 1]


# -- errors amid rows ------------------------------------------------------------------------------

FAILS_LATE = "SELECT id, IF(id > 700, (SELECT 1 UNION SELECT 2), 3) FROM numbers ORDER BY id"


async def test_error_comes_after_the_rows_before_it(conn: sa.SAConnection) -> None:
    seen = []

    with pytest.raises(err.OperationalError, match="Subquery returns more than 1 row"):
        async for row in conn.stream(FAILS_LATE):
            seen.append(row.id)

    assert seen == list(range(1, 701))
    assert await conn.scalar("SELECT 5") == 5


async def test_fetchmany_gives_the_rows_before_an_error(conn: sa.SAConnection) -> None:
    async with conn.stream(FAILS_LATE) as result:
        assert len(await result.fetchmany(1000)) == 700
        with pytest.raises(err.OperationalError, match="Subquery returns more than 1 row"):
            await result.fetchmany(1000)
        with pytest.raises(sa.ResourceClosedError, match=CLOSED):
            await result.fetchmany(1000)


class Picky(TypeDecorator[int]):
    impl = Integer
    cache_ok = True

    def process_result_value(self, value: int | None, dialect: Any) -> int | None:
        if value == 600:
            raise ArithmeticError("600")
        return value


async def test_processor_that_raises(conn: sa.SAConnection) -> None:
    statement = select(func.coalesce(NUMBERS.c.id, type_=Picky()).label("n")).order_by("n")
    seen = []

    with pytest.raises(ArithmeticError, match="600"):
        async for row in conn.stream(statement):
            seen.append(row.n)

    assert seen == list(range(1, 600))
    assert await conn.scalar("SELECT 5") == 5


async def test_statement_that_is_refused(conn: sa.SAConnection) -> None:
    with pytest.raises(err.ProgrammingError, match="absent"):
        await conn.stream("SELECT * FROM absent")
    assert await conn.scalar("SELECT 5") == 5


# -- cutting off -----------------------------------------------------------------------------------

SLOW = "SELECT REPEAT('x', 60000) AS x, SLEEP(IF(n < 3, 0, 0.4)) FROM digits"


async def test_cancelled_while_it_waits_for_a_row(conn: sa.SAConnection) -> None:
    result = await conn.stream(SLOW)

    async def take() -> None:
        await result.fetchall()

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(take(), 0.2)
    assert result.closed
    with pytest.raises(sa.ResourceClosedError, match=CLOSED):
        await result.fetchone()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("turns", range(1, 8))
async def test_stream_cancelled_at_any_moment(
    conn: sa.SAConnection, turns: int, late: bool
) -> None:
    async def take() -> None:
        async for _ in conn.stream(ALL):
            pass

    assert await cancelled_at(take(), turns, late=late)

    assert await conn.scalar("SELECT 5") == 5


async def test_time_limit_is_for_the_time_the_server_takes(conn: sa.SAConnection) -> None:
    async with conn.stream(ALL, timeout=0.5) as result:
        await result.fetchone()
        await asyncio.sleep(0.6)
        assert len(await result.fetchall()) == MANY - 1

    with pytest.raises(sa.StatementTimeoutError, match=r"0\.5 seconds"):
        async for _ in conn.stream(SLOW, timeout=0.5):
            pass


async def test_two_tasks_at_one_stream(conn: sa.SAConnection) -> None:
    result = await conn.stream(SLOW)
    task = asyncio.ensure_future(result.fetchall())
    await until(lambda: conn.connection is not None and conn.connection._session.awaited)

    with pytest.raises(sa.InvalidRequestError, match="another task takes rows"):
        await result.fetchone()
    assert len(await task) == 10


async def test_stream_that_another_task_closes_has_not_come_to_its_end(
    conn: sa.SAConnection,
) -> None:
    result = await conn.stream(SLOW.replace("0.4", "0.1"))
    task = asyncio.ensure_future(result.fetchall())
    await until(lambda: conn.connection is not None and conn.connection._session.awaited)

    await result.close()

    with pytest.raises(sa.ResourceClosedError, match="another task has closed it"):
        await task


# -- ending what is around it ----------------------------------------------------------------------


@pytest.mark.parametrize("autocommit", [True, False])
async def test_stream_of_a_connection_that_was_released(
    connect_kwargs: Kwargs, auto: sa.Engine, autocommit: bool
) -> None:
    async with sa.create_engine(**connect_kwargs, autocommit=autocommit, maxsize=1) as engine:
        async with engine.acquire() as conn:
            result = await conn.stream(ALL)
            await result.fetchone()
        async with engine.acquire() as other:
            with pytest.raises(sa.ResourceClosedError, match="its connection has been released"):
                await result.fetchone()
            assert await other.scalar("SELECT 5") == 5


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("begin", ["begin", "begin_nested"])
async def test_block_that_is_left_with_an_open_stream(
    conn: sa.SAConnection, end: str, begin: str
) -> None:
    outer = await conn.begin() if begin == "begin_nested" else None
    try:
        async with getattr(conn, begin)():
            await conn.execute("UPDATE numbers SET name = 'new' WHERE id = 1")
            result = await conn.stream(ALL)
            await result.fetchone()
            if end == "rollback":
                raise LookupError
    except LookupError:
        pass

    with pytest.raises(sa.ResourceClosedError, match="this stream is over"):
        await result.fetchall()
    name = await conn.scalar("SELECT name FROM numbers WHERE id = 1")
    assert (name == "new") == (end == "commit")
    if outer is not None:
        await outer.rollback()


async def test_engine_that_is_terminated(connect_kwargs: Kwargs, auto: sa.Engine) -> None:
    async with sa.create_engine(**connect_kwargs) as engine:
        conn = await engine.acquire()
        result = await conn.stream("SELECT * FROM numbers, digits")
        await result.fetchone()
        engine.terminate()
        with pytest.raises((err.OperationalError, sa.ResourceClosedError)):
            await result.fetchall()


async def test_connection_that_is_closed(conn: sa.SAConnection) -> None:
    result = await conn.stream(ALL)
    await result.fetchone()

    await conn.close()

    with pytest.raises(sa.ResourceClosedError, match="its connection has been released"):
        await result.fetchall()


async def test_end_of_a_connection_built_around_another_ends_its_stream(
    auto: sa.Engine, connect_kwargs: Kwargs
) -> None:
    async with sa.connect(**connect_kwargs) as raw:
        conn = sa.SAConnection(raw, auto)
        result = await conn.stream(ALL)
        await result.fetchone()

        await conn.close()

        with pytest.raises(sa.ResourceClosedError, match="this stream is over"):
            await result.fetchall()
        async with raw.cursor() as cursor:
            await cursor.execute("SELECT 5")
            assert await cursor.fetchone() == (5,)


async def test_native_block_that_is_left_with_an_open_stream(auto: sa.Engine, url: str) -> None:
    engine = create_async_engine(url.replace("mysql://", "mysql+aiomysqlx://"))
    async with engine.connect() as owner:
        async with sa.native(owner) as conn:
            result = await conn.stream(ALL)
            assert len(await result.fetchmany(10)) == 10

        assert (await owner.execute(select(func.count(NUMBERS.c.id)))).scalar() == MANY
        with pytest.raises(sa.ResourceClosedError, match="this stream is over"):
            await result.fetchall()
    await engine.dispose()


async def test_stream_of_a_server_that_ends_rows_otherwise(
    auto: sa.Engine, connect_kwargs: Kwargs
) -> None:
    async with (
        proxy(connect_kwargs, without_deprecate_eof) as options,
        sa.create_engine(**options, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        assert len([row async for row in conn.stream(ALL)]) == MANY
        await (await conn.stream(ALL)).close()
        assert await conn.scalar("SELECT 5") == 5


async def test_stream_over_tls(auto: sa.Engine, connect_kwargs: Kwargs, tls: Certificates) -> None:
    async with (
        sa.create_engine(**connect_kwargs, autocommit=True, ssl_ca=str(tls.ca)) as engine,
        engine.acquire() as conn,
    ):
        async with conn.stream(ALL, max_buffer=1 << 16) as result:
            await result.fetchone()
            await asyncio.sleep(0.1)
            assert buffered(conn) < 1 << 18
            assert len(await result.fetchall()) == MANY - 1
        await (await conn.stream(ALL)).close()
        assert await conn.scalar("SELECT 5") == 5


async def test_stream_too_long_to_be_dropped_ends_its_connection(
    auto: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.leaving.MOST_DROPPED", 1 << 20)
    async with auto.acquire() as conn:
        raw = conn.connection
        assert raw is not None
        await (await conn.stream("SELECT * FROM numbers, digits")).close()
        with pytest.raises(err.OperationalError, match="a stream was left early"):
            await conn.execute("SELECT 5")
    async with auto.acquire() as conn:
        assert await conn.scalar("SELECT 5") == 5


class UsersError(Exception):
    """An error of the user's."""


async def raw_rollback(conn: sa.SAConnection) -> None:
    raw = conn.connection
    assert raw is not None
    await raw.begin()
    try:
        async with raw.cursor(sa.SSCursor) as cursor:
            await cursor.execute("SELECT * FROM numbers, digits")
            raise UsersError
    except UsersError:
        await raw.rollback()
        raise


async def rollback(conn: sa.SAConnection) -> None:
    transaction = await conn.begin()
    try:
        async with conn.stream("SELECT * FROM numbers, digits"):
            raise UsersError
    except UsersError:
        await transaction.rollback()
        raise


async def block(conn: sa.SAConnection) -> None:
    async with conn.begin(), conn.stream("SELECT * FROM numbers, digits"):
        raise UsersError


async def savepoint(conn: sa.SAConnection) -> None:
    async with conn.begin(), conn.begin_nested(), conn.stream("SELECT * FROM numbers, digits"):
        raise UsersError


async def rollback_to(conn: sa.SAConnection) -> None:
    async with conn.begin():
        nested = await conn.begin_nested()
        try:
            async with conn.stream("SELECT * FROM numbers, digits"):
                raise UsersError
        except UsersError:
            await nested.rollback()
            raise


@pytest.mark.parametrize("way", [raw_rollback, rollback, block, savepoint, rollback_to])
async def test_stream_too_long_to_be_dropped_replaces_no_error(
    auto: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    way: Callable[[sa.SAConnection], Awaitable[None]],
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.leaving.MOST_DROPPED", 1 << 20)
    async with auto.acquire() as conn:
        with pytest.raises(UsersError):
            await way(conn)
        with pytest.raises(err.MySQLError):
            await conn.execute("SELECT 5")

    async with auto.acquire() as conn:
        assert await conn.scalar("SELECT 5") == 5


async def test_nothing_is_committed_whose_savepoint_was_lost_over_a_stream(
    auto: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.leaving.MOST_DROPPED", 1 << 20)
    async with auto.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="with its connection, not committed"):
            async with conn.begin():
                nested = await conn.begin_nested()
                await (await conn.stream("SELECT * FROM numbers, digits")).close()
                await nested.rollback()


async def test_stream_too_long_to_be_dropped_is_killed(
    connect_kwargs: Kwargs, auto: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.leaving.MOST_DROPPED", 1 << 20)
    async with (
        sa.create_engine(**connect_kwargs, autocommit=True, kill_on_cancel=True) as engine,
        engine.acquire() as conn,
    ):
        number = await conn.scalar("SELECT CONNECTION_ID()")
        await (await conn.stream("SELECT * FROM numbers, digits, digits AS more")).close()

        assert await conn.scalar("SELECT CONNECTION_ID()") == number


async def test_consumer_that_is_too_slow_is_told(conn: sa.SAConnection) -> None:
    await conn.execute("SET net_write_timeout = 1")
    async with conn.stream("SELECT * FROM numbers, digits") as result:
        await result.fetchone()
        await asyncio.sleep(4)
        with pytest.raises(err.OperationalError, match="net_write_timeout") as caught:
            await result.fetchall()

    assert caught.value.args[0] == 2013


# -- memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("pause", [0, 0.002], ids=["fast", "slow"])
async def test_memory_is_bounded_whatever_the_result(conn: sa.SAConnection, pause: float) -> None:
    count = 0
    wanted = int(os.environ.get("AIOMYSQLX_STREAM_ROWS", "300000"))
    statement = f"SELECT numbers.* FROM numbers, digits, digits AS more LIMIT {wanted}"
    async for _ in conn.stream(ALL):
        pass
    before = resident_bytes()

    async for _ in conn.stream(statement):
        count += 1
        if pause and count % 1000 == 0:
            await asyncio.sleep(pause)

    assert count == wanted
    assert resident_bytes() - before < 10 << 20
