"""`SAConnection` built directly around a raw connection, and what it refuses."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from unittest import mock

import pytest
from pymysql import err
from sqlalchemy import select, text

import aiomysqlx as sa
from aiomysqlx.engine import _dialect

pytestmark = pytest.mark.server


@pytest.fixture
def direct(raw: sa.Connection) -> sa.SAConnection:
    """A connection whose engine is real in its dialect only."""
    engine = mock.Mock()
    engine.dialect = _dialect
    return sa.SAConnection(raw, engine)


async def test_built_directly_it_executes(direct: sa.SAConnection, raw: sa.Connection) -> None:
    assert not direct.closed and not direct.in_transaction
    assert direct.connection is raw and direct._connection is raw
    assert await direct.scalar("SELECT %s", 5) == 5
    assert await direct.scalar(select(text("1"))) == 1
    await raw.commit()


async def test_built_directly_it_begins(direct: sa.SAConnection) -> None:
    transaction = await direct.begin()
    assert direct._transaction is transaction
    nested = await direct.begin_nested()
    await nested.rollback()
    await transaction.rollback()

    assert direct._transaction is None


async def test_close_gives_back_to_the_engine(direct: sa.SAConnection) -> None:
    await direct.begin()
    engine: Any = direct._engine

    await direct.close()
    await direct.close()

    assert direct.closed and direct.connection is None and not direct.in_transaction
    assert engine.release.call_count == 1


async def test_cursor_belongs_to_the_connection(
    direct: sa.SAConnection, raw: sa.Connection
) -> None:
    result = await direct.execute("SELECT 1")

    assert result.cursor is not None and result.cursor._connection is raw


async def test_engine_is_required(raw: sa.Connection) -> None:
    with pytest.raises(TypeError, match="engine"):
        sa.SAConnection(raw)  # type: ignore[call-arg]


USES = {
    "execute": lambda conn: conn.execute("SELECT 1"),
    "construct": lambda conn: conn.execute(select(text("1"))),
    "scalar": lambda conn: conn.scalar("SELECT 1"),
    "begin": lambda conn: conn.begin(),
    "begin_nested": lambda conn: conn.begin_nested(),
    "begin_twophase": lambda conn: conn.begin_twophase("x"),
    "recover_twophase": lambda conn: conn.recover_twophase(),
    "commit_prepared": lambda conn: conn.commit_prepared("x"),
    "rollback_prepared": lambda conn: conn.rollback_prepared("x"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("how", ["close", "release"])
async def test_released_connection_does_nothing(engine: sa.Engine, how: str, use: Any) -> None:
    conn = await engine.acquire()
    if how == "close":
        await conn.close()
    else:
        engine.release(conn)

    with pytest.raises(sa.ResourceClosedError, match="This connection is closed"):
        await use(conn)
    # As in aiomysql.sa, only close() takes the DB-API connection away.
    assert (conn.closed, conn.connection is None) == (how == "close", how == "close")
    await conn.close()
    assert conn.closed and conn.connection is None and not conn.in_transaction


@pytest.mark.parametrize("use", USES.values(), ids=USES)
async def test_terminated_connection_raises_the_drivers_error(engine: sa.Engine, use: Any) -> None:
    conn = await engine.acquire()
    engine.terminate()

    with pytest.raises(err.InterfaceError, match="Not connected"):
        await use(conn)
    assert conn.closed and not conn.in_transaction


async def test_connection_is_a_block_that_gives_it_back(engine: sa.Engine) -> None:
    conn = await engine.acquire()

    async with conn as same:
        assert same is conn
        await conn.begin()

    assert conn.closed and engine.freesize == engine.size == 1


async def test_error_of_the_block_passes(engine: sa.Engine) -> None:
    conn = await engine.acquire()

    with pytest.raises(ValueError, match="body"):
        async with conn:
            await conn.begin()
            raise ValueError("body")

    assert engine.freesize == 1


async def test_second_statement_at_once_is_refused_and_harms_nothing(
    direct: sa.SAConnection,
) -> None:
    first = asyncio.ensure_future(direct.execute("SELECT SLEEP(0.1), 7 AS seven"))
    await asyncio.sleep(0)

    with pytest.raises(sa.InvalidRequestError, match="another statement is in progress"):
        await direct.execute("SELECT 8")

    row = await (await first).first()
    assert row is not None and row.seven == 7
    assert await direct.scalar("SELECT 8") == 8


async def test_cancelled_statement_leaves_the_connection_in_order(
    direct: sa.SAConnection,
) -> None:
    for number in range(5):
        task = asyncio.ensure_future(direct.execute("SELECT SLEEP(0.01), 'stale'"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await direct.scalar("SELECT %s", number) == number


@pytest.mark.parametrize("schedule", ["create_task", "wait_for", "gather"])
async def test_execute_runs_as_a_task(direct: sa.SAConnection, schedule: str) -> None:
    execute = direct.execute("SELECT 1")
    if schedule == "create_task":
        result = await asyncio.create_task(execute)
    elif schedule == "wait_for":
        result = await asyncio.wait_for(execute, 10)
    else:
        (result,) = await asyncio.gather(execute)

    assert await result.scalar() == 1


async def test_task_of_an_execute_has_a_repr_and_a_stack(direct: sa.SAConnection) -> None:
    task = asyncio.create_task(direct.execute("SELECT 1"))

    assert "pending" in repr(task)
    task.get_stack()
    await task
    assert "finished" in repr(task)


# -- echo ------------------------------------------------------------------------------------------


async def echoed(
    connect_kwargs: dict[str, Any], echo: Any, caplog: pytest.LogCaptureFixture
) -> str:
    caplog.set_level(logging.INFO, "aiomysqlx")
    async with (
        sa.create_engine(**connect_kwargs, echo=echo) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("SELECT %s AS told", "s3cret")
        async with conn.begin():
            await conn.execute(select(text(":x AS asked")), {"x": "s3cret"})
    return "\n".join(record.getMessage() for record in caplog.records)


async def test_echo_logs_statements_and_durations_but_no_values(
    connect_kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log = await echoed(connect_kwargs, True, caplog)

    for told in ("SELECT %s AS told", "AS asked", "BEGIN", "COMMIT"):
        assert told in log
    assert " ms]" in log
    assert "s3cret" not in log


async def test_echo_logs_values_when_asked_for(
    connect_kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    log = await echoed(connect_kwargs, "values", caplog)

    assert log.count("s3cret") >= 2


async def test_nothing_is_logged_without_echo(
    connect_kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert await echoed(connect_kwargs, False, caplog) == ""
