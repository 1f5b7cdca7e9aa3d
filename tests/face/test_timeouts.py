"""Time limits of statements: where they come from, what they raise and what they leave behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faults import faulty_proxy
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, select, text
from watch import at_rest, check_capacity, now, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
SLOW = text("SELECT SLEEP(0.3)")
limited = Table(
    "limited",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("timeout", Integer),
    Column("name", String(20)),
)
CREATE = "CREATE TABLE limited (id INT PRIMARY KEY AUTO_INCREMENT, timeout INT, name VARCHAR(20))"


@pytest.fixture
async def auto(connect_kwargs: Kwargs) -> AsyncIterator[sa.SAConnection]:
    """A connection in autocommit mode, and the table `limited`."""
    async with (
        sa.create_engine(**connect_kwargs, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute(CREATE)
        yield conn


async def limit_of(conn: sa.SAConnection, statement: Any, **kwargs: Any) -> str | None:
    """Give the seconds that the error of a slow statement names, None if it is let end."""
    try:
        await conn.execute(statement, **kwargs)
    except sa.StatementTimeoutError as error:
        return str(error.args[1]).split()[-2]
    return None


# -- the error -------------------------------------------------------------------------------------


async def test_statement_that_takes_too_long_raises(conn: sa.SAConnection) -> None:
    start = now()

    with pytest.raises(sa.StatementTimeoutError) as caught:
        await conn.execute("SELECT SLEEP(5)", timeout=0.05)

    assert now() - start < 3
    assert caught.value.args == (3024, "the statement took more than 0.05 seconds")
    for cls in (sa.Error, err.OperationalError, asyncio.TimeoutError):
        assert isinstance(caught.value, cls)
    assert not sa.is_disconnect(caught.value)


async def test_connection_is_usable_after_a_time_out(conn: sa.SAConnection) -> None:
    raw = conn.connection
    for number in range(5):
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("SELECT SLEEP(0.2), 'stale'", timeout=0.005)

        assert await conn.scalar("SELECT %s", number) == number
    assert conn.connection is raw


async def test_connection_whose_answer_does_not_come_is_replaced(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1) as engine,
    ):
        async with engine.acquire() as conn:
            proxy.hang()
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("SELECT 1", timeout=0.05)
        start = now()
        await check_capacity(engine, 1)
        assert now() - start < 3.5


async def test_time_out_within_a_transaction_rolls_it_back(auto: sa.SAConnection) -> None:
    with pytest.raises(sa.StatementTimeoutError):
        async with auto.begin():
            await auto.execute(limited.insert(), {"name": "lost"})
            await auto.execute(SLOW, timeout=0.01)

    assert await auto.scalar("SELECT COUNT(*) FROM limited") == 0


async def test_limit_is_for_reading_the_answer_too(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1) as engine,
        engine.acquire() as conn,
    ):
        proxy.fault(20, "hang")

        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("SELECT REPEAT('x', 1000)", timeout=0.1)


async def test_limit_is_for_all_of_many_executions(auto: sa.SAConnection) -> None:
    statement = text("UPDATE limited SET name = :name WHERE SLEEP(0.2) = 0")
    await auto.execute(limited.insert(), {"name": "a"})
    start = now()

    with pytest.raises(sa.StatementTimeoutError):
        await auto.execute(statement, [{"name": str(number)} for number in range(20)], timeout=0.5)

    assert now() - start < 3


async def test_limit_is_not_for_what_comes_after(auto: sa.SAConnection) -> None:
    result = await auto.execute("SELECT 1 UNION SELECT 2", timeout=0.05)
    await asyncio.sleep(0.06)

    assert len(await result.fetchall()) == 2
    assert await limit_of(auto, SLOW) is None


# -- where it comes from ---------------------------------------------------------------------------


async def test_nearest_limit_wins(connect_kwargs: Kwargs) -> None:
    async with (
        sa.create_engine(**connect_kwargs, statement_timeout=0.03) as engine,
        engine.acquire() as conn,
    ):
        optioned = SLOW.execution_options(timeout=0.02)

        assert await limit_of(conn, SLOW) == "0.03"
        assert await limit_of(conn, optioned) == "0.02"
        assert await limit_of(conn, optioned, timeout=0.01) == "0.01"
        assert await limit_of(conn, SLOW, timeout=0.04) == "0.04"
        assert await limit_of(conn, SLOW.execution_options(timeout=None)) is None


async def test_limit_of_the_engine_is_for_strings_too(connect_kwargs: Kwargs) -> None:
    async with (
        sa.create_engine(**connect_kwargs, statement_timeout=0.03) as engine,
        engine.acquire() as conn,
    ):
        assert await limit_of(conn, "SELECT SLEEP(0.3)") == "0.03"
        with pytest.raises(sa.StatementTimeoutError):
            await conn.scalar("SELECT SLEEP(0.3)")


async def test_statement_keeps_its_limit_when_it_is_remembered(conn: sa.SAConnection) -> None:
    quick = select(text("SLEEP(0.3)"))

    assert await limit_of(conn, quick.execution_options(timeout=0.01)) == "0.01"
    assert await limit_of(conn, quick) is None
    assert await limit_of(conn, quick.execution_options(timeout=0.02)) == "0.02"


@pytest.mark.parametrize("limit", [0, -1, "1", float("nan"), b"1", True, [1]], ids=repr)
async def test_wrong_limit_is_refused_before_anything_is_sent(
    auto: sa.SAConnection, limit: Any
) -> None:
    with pytest.raises(sa.ArgumentError, match="timeout"):
        await auto.execute("INSERT INTO limited (name) VALUES ('x')", timeout=limit)
    with pytest.raises(sa.ArgumentError, match="timeout"):
        statement = text("INSERT INTO limited (name) VALUES ('x')")
        await auto.execute(statement.execution_options(timeout=limit))

    assert await auto.scalar("SELECT COUNT(*) FROM limited") == 0


# -- parameters and columns of that name -----------------------------------------------------------


async def test_parameter_of_that_name_is_a_parameter(auto: sa.SAConnection) -> None:
    assert await auto.scalar(text("SELECT :timeout"), timeout=7) == 7
    assert await auto.scalar(select(bindparam("timeout", type_=Integer)), timeout=8) == 8
    assert await auto.scalar(text("SELECT :timeout"), {"timeout": 9}) == 9


async def test_column_of_that_name_is_a_column(auto: sa.SAConnection) -> None:
    await auto.execute(limited.insert(), name="a", timeout=7)
    await auto.execute(limited.update().where(limited.c.name == "a"), timeout=8)

    result = await auto.execute(select(limited.c.timeout))

    assert [row.timeout for row in await result.fetchall()] == [8]


async def test_statement_without_such_a_parameter_takes_the_limit(auto: sa.SAConnection) -> None:
    statement = select(limited.c.timeout).where(limited.c.name == bindparam("name"))
    result = await auto.execute(statement, name="a", timeout=5)
    assert await result.fetchall() == []

    await auto.execute(limited.delete().where(limited.c.timeout == 3), timeout=5)

    assert await limit_of(auto, text("SELECT SLEEP(:seconds)"), seconds=0.3, timeout=0.01) == "0.01"


async def test_statement_with_such_a_parameter_is_limited_by_its_options(
    auto: sa.SAConnection,
) -> None:
    statement = text("SELECT SLEEP(0.3), :timeout").execution_options(timeout=0.01)

    assert await limit_of(auto, statement, timeout=7) == "0.01"


# -- many ------------------------------------------------------------------------------------------


async def test_answers_that_race_their_limit_are_never_mixed_up(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=3, autocommit=True) as engine:
        outcomes: list[bool] = []

        async def ask(number: int) -> None:
            async with engine.acquire() as conn:
                try:
                    result = await conn.execute(
                        "SELECT %s, SLEEP(0.002)", number, timeout=0.001 + number % 10 / 2000
                    )
                    assert [row[0] for row in await result.fetchall()] == [number]
                    outcomes.append(True)
                except sa.StatementTimeoutError:
                    outcomes.append(False)
                assert await conn.scalar("SELECT %s", -number) == -number

        await asyncio.wait_for(asyncio.gather(*map(ask, range(200))), 60)

        assert len(outcomes) == 200 and True in outcomes and False in outcomes
        await until(lambda: at_rest(engine))
