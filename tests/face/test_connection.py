"""`SAConnection` built directly around a raw connection, and what it refuses."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from pymysql import err
from sqlalchemy import Integer, bindparam, column, func, literal, select, text

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
    with pytest.raises(TypeError, match="positional argument"):
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
async def test_released_connection_of_an_engine_with_a_time_limit_does_nothing(
    connect_kwargs: dict[str, Any], use: Any
) -> None:
    async with sa.create_engine(**connect_kwargs, statement_timeout=5) as engine:
        conn = await engine.acquire()
        await engine.release(conn)

        with pytest.raises(sa.ResourceClosedError, match="This connection is closed"):
            await use(conn)


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


HOSTILE = "' AS a, 1337 AS injected -- "


@pytest.mark.parametrize("how", ["text", "construct", "cursor"])
async def test_value_is_escaped_for_the_mode_that_a_cancelled_statement_sets(
    direct: sa.SAConnection, raw: sa.Connection, how: str
) -> None:
    mode = "SET sql_mode = concat('NO_BACKSLASH_ESCAPES', if(sleep(0.1), '', ''))"
    task = asyncio.ensure_future(raw.query(mode))
    while not raw.busy:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    if how == "cursor":
        async with raw.cursor() as cursor:
            await cursor.execute("SELECT %s AS a", (HOSTILE,))
            rows = list(await cursor.fetchall())
    else:
        query: Any = "SELECT %s AS a" if how == "text" else select(bindparam("a"))
        args = (HOSTILE,) if how == "text" else {"a": HOSTILE}
        rows = [row.as_tuple() for row in await (await direct.execute(query, args)).fetchall()]

    assert rows == [(HOSTILE,)]
    assert raw.no_backslash_escapes


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


CONSTRUCT = select(bindparam("a", type_=Integer).label("a"))


def _forget_to_await(conn: sa.SAConnection) -> None:
    conn.execute(CONSTRUCT, a=1)
    gc.collect()


async def test_execute_that_is_never_awaited_warns_once(direct: sa.SAConnection) -> None:
    for _ in range(3):
        with pytest.warns(RuntimeWarning) as issued:
            _forget_to_await(direct)

        (warning,) = issued
        assert "coroutine 'Executing._execute' was never awaited" in str(warning.message)
        assert await direct.scalar(CONSTRUCT, a=2) == 2


async def test_execute_that_is_closed_does_not_warn(direct: sa.SAConnection) -> None:
    direct.execute(CONSTRUCT, a=1).close()
    gc.collect()

    assert await direct.scalar(CONSTRUCT, a=2) == 2


async def test_execute_sends_nothing_before_it_is_awaited(direct: sa.SAConnection) -> None:
    first = direct.execute(CONSTRUCT, a=1)
    second = direct.execute(CONSTRUCT, a=2)
    assert direct.connection is not None and not direct.connection.busy

    assert await (await second).scalar() == 2
    assert await (await first).scalar() == 1


async def test_execute_of_a_construct_is_awaited_entered_and_iterated_over(
    direct: sa.SAConnection,
) -> None:
    for _ in range(3):
        assert [row.a async for row in direct.execute(CONSTRUCT, a=1)] == [1]
        async with direct.execute(CONSTRUCT, a=2) as result:
            assert await result.fetchone() == (2,)
        assert result.closed
        assert await (await direct.execute(CONSTRUCT, a=3)).scalar() == 3


GIVEN: dict[str, tuple[Any, list[Any], str]] = {
    "construct": (select(bindparam("a", 1)), [], "execution_options"),
    "beside parameters": (select(bindparam("a", 1)), [{"a": 2}], "execution_options"),
    "text": (text("SELECT :a").bindparams(a=1), [], "execution_options"),
    "str": ("SELECT 1", [], "execution_options"),
    "parameters": (select(bindparam("a", 1)), [], "parameters"),
    "parameters of a str": ("SELECT 1", [], "parameters"),
}


@pytest.mark.parametrize("call", ["execute", "scalar"])
@pytest.mark.parametrize(("statement", "values", "name"), GIVEN.values(), ids=GIVEN)
async def test_keyword_of_another_execute_is_not_taken_for_a_parameter(
    direct: sa.SAConnection, call: str, statement: Any, values: list[Any], name: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=f"^argument '{name}' is not taken: "):
        await getattr(direct, call)(statement, *values, **{name: {"a": 3}})


@pytest.mark.parametrize("name", ["execution_options", "parameters"])
async def test_parameter_may_have_the_name_of_a_keyword(direct: sa.SAConnection, name: str) -> None:
    for statement in (select(bindparam(name, type_=Integer)), f"SELECT %({name})s"):
        assert await direct.scalar(statement, **{name: 5}) == 5


async def test_execute_entered_is_closed_after_an_error_too(direct: sa.SAConnection) -> None:
    with pytest.raises(LookupError):
        async with direct.execute(CONSTRUCT, a=2) as result:
            raise LookupError

    assert result.closed
    assert await direct.scalar(CONSTRUCT, a=2) == 2


async def test_iteration_left_early_leaves_the_connection_usable(direct: sa.SAConnection) -> None:
    for _ in range(3):
        async for row in direct.execute("SELECT 1 AS a UNION ALL SELECT 2"):
            assert row.a == 1
            break

        assert await direct.scalar(CONSTRUCT, a=2) == 2


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
        async with conn.begin(isolation_level="SERIALIZABLE"):
            pass
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


async def _fail(conn: sa.SAConnection, statement: Any, *args: Any) -> None:
    with pytest.raises(err.MySQLError):
        await conn.execute(statement, *args)


async def _cursor(conn: sa.SAConnection, method: str, *args: Any) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await getattr(cursor, method)(*args)


ECHOED: dict[str, tuple[Callable[[sa.SAConnection], Any], str]] = {
    "failing text": (lambda conn: _fail(conn, "SELECT nope, %s", "s3cret"), "SELECT nope, %s"),
    "failing construct": (lambda conn: _fail(conn, select(column("nope"))), "SELECT nope"),
    "failing savepoint": (lambda conn: _fail(conn, "RELEASE SAVEPOINT nope"), "SAVEPOINT nope"),
    "text of SQLAlchemy": (
        lambda conn: conn.execute(text("SELECT :x AS asked"), {"x": "s3cret"}),
        "AS asked",
    ),
    "construct": (
        lambda conn: conn.execute(select(func.concat(bindparam("x"))), {"x": "s3cret"}),
        "SELECT concat(",
    ),
    "in": (
        lambda conn: conn.execute(select(literal("a").in_(["s3cret", "b"]))),
        "SELECT ",
    ),
    "executemany": (
        lambda conn: _cursor(conn, "executemany", "INSERT INTO t VALUES (%s)", ["s3cret", "b"]),
        "INSERT INTO t VALUES",
    ),
    "executemany of another statement": (
        lambda conn: _cursor(conn, "executemany", "DELETE FROM t WHERE s = %s", ["s3cret", "b"]),
        "DELETE FROM t",
    ),
    "callproc": (lambda conn: _cursor(conn, "callproc", "p", ["s3cret"]), "CALL `p`"),
    "begin of a level": (
        lambda conn: _begin(conn, "SERIALIZABLE"),
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN",
    ),
}


async def _begin(conn: sa.SAConnection, level: str) -> None:
    async with conn.begin(isolation_level=level):
        pass


@pytest.mark.parametrize(("execute", "told"), ECHOED.values(), ids=ECHOED)
async def test_echo_logs_every_statement_without_its_values(
    connect_kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture, execute: Any, told: str
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, echo=True) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("CREATE TABLE t (s VARCHAR(9))")
        await conn.execute("CREATE PROCEDURE p (x VARCHAR(9)) SELECT 1")
        caplog.set_level(logging.INFO, "aiomysqlx")
        await execute(conn)
        caplog.set_level(logging.WARNING, "aiomysqlx")

    log = "\n".join(record.getMessage() for record in caplog.records)
    assert told in log and " ms]" in log
    assert "s3cret" not in log
    assert "POSTCOMPILE" not in log
