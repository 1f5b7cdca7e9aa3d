"""`create_engine()` and `Engine` on a real server."""

from __future__ import annotations

import asyncio
import gc
import random
import warnings
from collections.abc import Coroutine
from typing import Any

import pymysql
import pytest
from pymysql import err
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from watch import at_rest, until

import aiomysqlx as sa

pytestmark = pytest.mark.server

UNFINISHED = "Cannot release a connection with not finished transaction: commit it or roll it back"
CLOSED = "Cannot acquire connection after closing pool"
SLOW = "SELECT SLEEP(60)"


def kill(admin: pymysql.Connection[Any], raw: Any) -> None:
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {raw.thread_id()}")


async def lost(raw: sa.Connection) -> None:
    """Wait until the client has noticed."""
    while not raw.closed:
        await asyncio.sleep(0)


def connections(admin: pymysql.Connection[Any], db: str) -> int:
    with admin.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s", (db,))
        (count,) = cursor.fetchone()
    return int(count)


async def gone(admin: pymysql.Connection[Any], db: str) -> None:
    while connections(admin, db):
        await asyncio.sleep(0)


# -- create_engine() -------------------------------------------------------------------------------


async def test_create_engine_is_awaitable(connect_kwargs: dict[str, Any]) -> None:
    engine = await sa.create_engine(**connect_kwargs)

    assert (engine.minsize, engine.maxsize, engine.size, engine.freesize) == (1, 10, 1, 1)
    engine.close()
    await engine.wait_closed()
    assert (engine.size, engine.freesize) == (0, 0)


async def test_create_engine_is_a_block_that_closes(connect_kwargs: dict[str, Any]) -> None:
    async with sa.create_engine(**connect_kwargs) as engine:
        assert isinstance(engine, sa.Engine)

    assert engine.closed and engine.size == 0
    with pytest.raises(RuntimeError, match=CLOSED):
        await engine.acquire()


async def test_engine_is_a_block_that_closes(connect_kwargs: dict[str, Any]) -> None:
    engine = await sa.create_engine(**connect_kwargs)

    async with engine as same:
        assert same is engine

    assert engine.closed


async def test_error_of_the_engines_block_does_not_wait_for_lent_connections(
    connect_kwargs: dict[str, Any],
) -> None:
    async def work() -> None:
        async with sa.create_engine(**connect_kwargs) as engine:
            kept = await engine.acquire()
            assert not kept.closed
            raise ValueError("body")

    with pytest.raises(ValueError, match="body"):
        await asyncio.wait_for(work(), 10)


async def test_create_engine_runs_as_a_task(connect_kwargs: dict[str, Any]) -> None:
    engine = await asyncio.create_task(sa.create_engine(**connect_kwargs))

    async with engine:
        assert engine.size == 1


async def test_create_engine_twice_awaited_is_refused(connect_kwargs: dict[str, Any]) -> None:
    create = sa.create_engine(**connect_kwargs)
    async with await create:
        with pytest.raises(RuntimeError, match="already awaited"):
            await create


async def test_arguments_go_by_position(connect_kwargs: dict[str, Any]) -> None:
    dialect = MySQLDialect_pymysql()
    cache: dict[Any, Any] = {}
    loop = asyncio.get_running_loop()

    async with sa.create_engine(2, 3, loop, dialect, 60, cache, **connect_kwargs) as engine:
        assert (engine.minsize, engine.maxsize, engine.size) == (2, 3, 2)
        assert engine.dialect is dialect
        assert engine._compiled_cache is cache


@pytest.mark.parametrize(
    ("minsize", "maxsize", "expected"),
    [
        pytest.param(0, 10, (0, 10, 1, 1), id="minsize-zero"),
        pytest.param(0, 0, (0, None, 1, 1), id="no-limit"),
        pytest.param(4, 0, (4, None, 4, 4), id="minsize-without-limit"),
        pytest.param(3, 3, (3, 3, 3, 3), id="fixed"),
    ],
)
async def test_sizes(
    connect_kwargs: dict[str, Any], minsize: int, maxsize: int, expected: tuple[Any, ...]
) -> None:
    async with sa.create_engine(minsize, maxsize, **connect_kwargs) as engine:
        assert (engine.minsize, engine.maxsize, engine.size, engine.freesize) == expected


WRONG: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "minsize-negative": ([], {"minsize": -1}, "minsize should be zero or greater"),
    "maxsize-negative": ([], {"maxsize": -1}, "maxsize should be zero or greater"),
    "maxsize-smaller": (
        [],
        {"minsize": 5, "maxsize": 2},
        "maxsize should be not less than minsize",
    ),
    "minsize-text": ([], {"minsize": "1"}, "'minsize' does not take '1': expected an int"),
    "minsize-none": ([], {"minsize": None}, "'minsize' does not take None: expected an int"),
    "maxsize-none": ([], {"maxsize": None}, "'maxsize' does not take None: expected an int"),
    "minsize-bool": ([], {"minsize": True}, "'minsize' does not take True: expected an int"),
    "maxsize-float": ([], {"maxsize": 2.5}, "'maxsize' does not take 2.5: expected an int"),
    "recycle-text": (
        [],
        {"pool_recycle": "x"},
        "'pool_recycle' does not take 'x': expected an int or a float",
    ),
    "recycle-none": ([], {"pool_recycle": None}, "'pool_recycle' does not take None"),
    "recycle-nan": ([], {"pool_recycle": float("nan")}, "'pool_recycle' does not take nan"),
    "dialect-other": ([], {"dialect": SQLiteDialect_pysqlite()}, "'dialect' takes a MySQL"),
    "dialect-class": ([], {"dialect": MySQLDialect_pymysql}, "'dialect' takes a MySQL"),
    "cache": (
        [],
        {"compiled_cache": 5},
        "'compiled_cache' does not take 5: expected a mapping or None",
    ),
    "loop": ([], {"loop": 5}, "'loop' does not take 5: expected an event loop or None"),
    "unknown": ([], {"foo": 1}, "unknown argument 'foo'"),
    "unknown-alias": (
        [],
        {"pasword": "s3cret"},
        "unknown argument 'pasword'; did you mean 'password'?",
    ),
    "too-many": ([1, 2, None, None, -1, None, 7], {}, "expected at most 6 positional"),
    "twice": ([1], {"minsize": 1}, "'minsize' is given twice"),
    "host": ([], {"host": 5}, "'host' does not take 5: expected a str"),
    "host-url": ([], {"host": "mysql://u:s3cret@h/d"}, "'host' takes a name or an address"),
    "init": ([], {"init": 5}, "'init' takes a coroutine function, got 5"),
    "reset": ([], {"reset": "yes"}, "'reset' takes True or a coroutine function, got 'yes'"),
    "port": ([], {"port": "3306"}, "'port' does not take '3306'"),
    "password": (
        [],
        {"password": b"s3cret"},
        "'password' does not take a bytes: expected a str, a function or None",
    ),
    "init-command": ([], {"init_command": b"SET PASSWORD s3cret"}, "'init_command'"),
    "public-key": ([], {"server_public_key": "s3cret"}, "'server_public_key'"),
    "charset": ([], {"charset": "nope"}, "unknown charset 'nope'"),
    "autocommit": (
        [],
        {"autocommit": "yes"},
        "'autocommit' does not take 'yes': expected a bool or None",
    ),
    "echo": (
        [],
        {"echo": "maybe"},
        "'echo' does not take 'maybe': expected True, False or 'values'",
    ),
    "cursorclass": ([], {"cursorclass": int}, "engine does not support this cursor class"),
    "cursorclass-none": ([], {"cursorclass": None}, "engine does not support this cursor class"),
    "group-alone": ([], {"read_default_group": "x"}, "needs 'read_default_file'"),
    "timeout": ([], {"connect_timeout": 0}, "'connect_timeout' must be positive"),
}


@pytest.mark.parametrize(("args", "kwargs", "message"), WRONG.values(), ids=WRONG)
def test_wrong_argument_is_refused_at_the_call(
    args: list[Any], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=message) as caught:
        sa.create_engine(*args, **kwargs)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("sizes", [(-1, 1), (1, -1), (5, 2)])
def test_sizes_that_do_not_fit_are_value_errors_too(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="minsize|maxsize"):
        sa.create_engine(*sizes)


async def test_loop_that_does_not_run_is_refused(connect_kwargs: dict[str, Any]) -> None:
    other = asyncio.new_event_loop()
    try:
        with pytest.raises(sa.ArgumentError, match="'loop'"):
            await sa.create_engine(**connect_kwargs, loop=other)
    finally:
        other.close()


async def test_failing_creation_leaves_no_connection(
    connect_kwargs: dict[str, Any], admin: pymysql.Connection[Any], database: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(err.OperationalError):
            await sa.create_engine(
                **{**connect_kwargs, "init_command": "SELECT nonsense"}, minsize=4
            )
        gc.collect()

    await asyncio.wait_for(gone(admin, database), 10)


async def test_cancelled_creation_leaves_no_connection(
    connect_kwargs: dict[str, Any], admin: pymysql.Connection[Any], database: str
) -> None:
    for turns in range(1, 40, 3):
        task = asyncio.ensure_future(sa.create_engine(**connect_kwargs, minsize=3))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        try:
            engine = await task
        except asyncio.CancelledError:
            continue
        engine.terminate()
        await engine.wait_closed()

    await asyncio.wait_for(gone(admin, database), 10)


# -- Engine ----------------------------------------------------------------------------------------


async def test_properties(engine: sa.Engine) -> None:
    assert (engine.name, engine.driver) == ("mysql", "pymysql")
    assert engine.dialect is sa.engine._dialect  # type: ignore[attr-defined]
    assert not engine.closed
    for name in ("name", "driver", "dialect", "minsize", "maxsize", "size", "freesize"):
        with pytest.raises(AttributeError):
            setattr(engine, name, 1)


async def test_engines_share_the_default_dialect(connect_kwargs: dict[str, Any]) -> None:
    from aiomysqlx.engine import _dialect

    async with (
        sa.create_engine(**connect_kwargs) as one,
        sa.create_engine(**connect_kwargs) as other,
    ):
        assert one.dialect is other.dialect is _dialect is sa.engine._dialect  # type: ignore[attr-defined]
    assert type(_dialect) is MySQLDialect_pymysql and _dialect.paramstyle == "pyformat"


async def test_dialect_knows_the_server(engine: sa.Engine, conn: sa.SAConnection) -> None:
    version = await conn.scalar("SELECT VERSION()")

    assert (
        engine.dialect.server_version_info[:2]
        == tuple(  # type: ignore[index]
            int(part) for part in version.split(".")[:2]
        )
    )
    assert getattr(engine.dialect, "is_mariadb", None) is ("MariaDB" in version)


async def test_repr_shows_no_secrets(server: Any, connect_kwargs: dict[str, Any]) -> None:
    context = sa.create_engine(**{**connect_kwargs, "password": "s3cret", "db": "s3cret"})
    assert "s3cret" not in repr(context)
    context.close()
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as conn:
        for each in (engine, conn, conn.connection, engine.acquire):
            assert connect_kwargs["db"] not in repr(each)


async def test_plain_with_is_refused(engine: sa.Engine) -> None:
    with pytest.raises(RuntimeError, match="expected async with"), engine:  # type: ignore[attr-defined]
        pass


async def test_acquire_and_release(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    assert isinstance(conn, sa.SAConnection)
    assert (engine.size, engine.freesize, conn.closed) == (1, 0, False)

    engine.release(conn)

    assert (engine.size, engine.freesize, conn.closed) == (1, 1, False)
    with pytest.raises(sa.ResourceClosedError):
        await conn.execute("SELECT 1")


async def test_release_may_be_awaited(engine: sa.Engine) -> None:
    conn = await engine.acquire()

    assert await engine.release(conn) is None  # type: ignore[func-returns-value]
    await asyncio.wait_for(engine.release(await engine.acquire()), 10)
    await asyncio.gather(engine.release(await engine.acquire()))
    assert engine.freesize == 1


async def test_acquire_is_a_block(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        assert engine.freesize == 0
        assert await conn.scalar("SELECT 1") == 1

    assert conn.closed
    await until(lambda: engine.freesize == 1)  # after a ROLLBACK


@pytest.mark.parametrize("schedule", ["create_task", "wait_for", "gather"])
async def test_acquire_runs_as_a_task(engine: sa.Engine, schedule: str) -> None:
    if schedule == "create_task":
        conn = await asyncio.create_task(engine.acquire())
    elif schedule == "wait_for":
        conn = await asyncio.wait_for(engine.acquire(), 10)
    else:
        (conn,) = await asyncio.gather(engine.acquire())

    engine.release(conn)
    assert engine.freesize == 1


async def test_releasing_twice_does_nothing(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    engine.release(conn)
    other = await engine.acquire()

    await engine.release(conn)

    assert engine.freesize == 0 and not other.closed
    engine.release(other)


@pytest.mark.parametrize("how", ["close", "release"])
async def test_released_inside_its_block(engine: sa.Engine, how: str) -> None:
    async with engine.acquire() as conn:
        if how == "close":
            await conn.close()
        else:
            engine.release(conn)

    assert (engine.size, engine.freesize) == (1, 1)


async def test_connection_of_another_engine_is_refused(
    engine: sa.Engine, connect_kwargs: dict[str, Any]
) -> None:
    async with sa.create_engine(**connect_kwargs) as other, other.acquire() as foreign:
        with pytest.raises(sa.InvalidRequestError, match="does not belong to this engine"):
            engine.release(foreign)

        assert await foreign.scalar("SELECT 1") == 1
    assert engine.freesize == engine.size == 1


@pytest.mark.parametrize("what", [None, 5, "conn"], ids=["none", "int", "str"])
async def test_releasing_what_is_no_connection_is_refused(engine: sa.Engine, what: Any) -> None:
    with pytest.raises(sa.ArgumentError, match="expected an SAConnection, got"):
        engine.release(what)


async def test_release_in_a_transaction_is_refused_and_harms_nothing(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    transaction = await conn.begin()

    with pytest.raises(sa.InvalidRequestError) as caught:
        engine.release(conn)

    assert caught.value.args == (UNFINISHED,)
    assert transaction.is_active and await conn.scalar("SELECT 1") == 1
    await transaction.commit()
    engine.release(conn)
    assert engine.freesize == 1


async def test_block_left_in_a_transaction_raises_and_loses_nothing(engine: sa.Engine) -> None:
    with pytest.raises(sa.InvalidRequestError, match=UNFINISHED):
        async with engine.acquire() as conn:
            await conn.begin()

    assert conn.closed and (engine.size, engine.freesize) == (1, 1)


@pytest.mark.parametrize("begin", ["begin", "begin_nested", "begin_twophase"])
async def test_error_of_a_block_left_in_a_transaction_passes(engine: sa.Engine, begin: str) -> None:
    with pytest.raises(ValueError, match="body"):
        async with engine.acquire() as conn:
            await getattr(conn, begin)()
            raise ValueError("body")

    await until(lambda: (engine.size, engine.freesize) == (1, 1))


async def test_error_of_a_block_passes_when_the_connection_is_dead(
    engine: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    with pytest.raises(ValueError, match="body"):
        async with engine.acquire() as conn:
            await conn.begin()
            kill(admin, conn.connection)
            raise ValueError("body")

    assert engine.stats().in_use == 0
    assert engine.stats().closed == {"lost": 1}
    async with engine.acquire() as conn:
        assert await conn.scalar("SELECT 1") == 1


async def test_implicit_transaction_is_rolled_back_and_the_connection_kept(
    engine: sa.Engine,
) -> None:
    async with engine.acquire() as conn:
        raw = conn.connection
        await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        await conn.execute("INSERT INTO t VALUES (1)")

    async with engine.acquire() as conn:
        assert conn.connection is raw
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0


async def test_locks_of_a_refused_statement_are_given_up_at_the_release(
    engine: sa.Engine, raw: sa.Connection
) -> None:
    await raw.query("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    await raw.query("INSERT INTO t VALUES (1)")
    await raw.commit()
    await raw.query("SET innodb_lock_wait_timeout = 1")

    async with engine.acquire() as conn:
        with pytest.raises(err.IntegrityError, match="1062"):
            await conn.execute("INSERT INTO t VALUES (1)")

    assert await raw.query("UPDATE t SET id = 2 WHERE id = 1") == 1


async def test_textual_transaction_is_rolled_back_and_the_connection_kept(
    engine: sa.Engine,
) -> None:
    async with engine.acquire() as conn:
        raw = conn.connection
        await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        await conn.execute("START TRANSACTION")
        await conn.execute("INSERT INTO t VALUES (1)")
        assert not conn.in_transaction

    async with engine.acquire() as conn:
        assert conn.connection is raw
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0


async def test_transaction_opened_by_a_select_is_ended(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        await conn.execute("COMMIT")
    async with engine.acquire() as first:
        assert await first.scalar("SELECT COUNT(*) FROM t") == 0
        async with engine.acquire() as second, second.begin():
            await second.execute("INSERT INTO t VALUES (1)")
        old = first.connection
        await engine.release(first)

    async with engine.acquire() as again:
        assert again.connection is old
        # Not the snapshot of the transaction that the first SELECT began.
        assert await again.scalar("SELECT COUNT(*) FROM t") == 1


async def test_connection_killed_while_idle_is_replaced(
    engine: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    async with engine.acquire() as conn:
        raw = conn.connection
    assert raw is not None
    kill(admin, raw)
    await asyncio.wait_for(lost(raw), 10)

    async with engine.acquire() as conn:
        assert conn.connection is not raw
        assert await conn.scalar("SELECT 1") == 1
    assert engine.size == 1


async def test_connection_killed_while_lent_is_replaced(
    engine: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    async with engine.acquire() as conn:
        kill(admin, conn.connection)
        with pytest.raises(err.OperationalError):
            await conn.execute("SELECT 1")
        assert conn.closed
    assert engine.stats().closed == {"lost": 1}

    async with engine.acquire() as conn:
        assert await conn.scalar("SELECT 1") == 1


async def test_connection_closed_by_its_borrower_is_replaced(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        assert conn.connection is not None
        conn.connection.close()
        assert conn.closed

    async with engine.acquire() as conn:
        assert await conn.scalar("SELECT 1") == 1


async def test_stale_connection_is_replaced(connect_kwargs: dict[str, Any]) -> None:
    async with sa.create_engine(**connect_kwargs, pool_recycle=1000) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
        assert raw is not None
        raw._session.last_usage -= 1001

        async with engine.acquire() as conn:
            assert conn.connection is not raw
        assert raw.closed and engine.size == 1


async def test_acquire_timing_out_loses_nothing(connect_kwargs: dict[str, Any]) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire():
            for _ in range(5):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(engine.acquire(), 0.005)
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT 1") == 1


async def test_cancelled_block_gives_its_connection_back_in_order(
    connect_kwargs: dict[str, Any],
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:

        async def work() -> None:
            async with engine.acquire() as conn:
                await conn.execute("SELECT SLEEP(0.05), 'stale'")

        task = asyncio.ensure_future(work())
        while engine.freesize:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert engine.size == 1
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT 'fresh'") == "fresh"


async def test_release_of_a_cancelled_statement_can_be_waited_for(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    task = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    released = engine.release(conn)
    assert (engine.size, engine.freesize) == (1, 0)
    await asyncio.wait_for(released, 10)
    assert (engine.size, engine.freesize) == (1, 1)


async def test_second_cancellation_does_not_skip_the_release(
    connect_kwargs: dict[str, Any],
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        for turns in range(8):

            async def work() -> None:
                async with engine.acquire() as conn, conn.begin():
                    await conn.execute("SELECT SLEEP(0.02)")

            task = asyncio.ensure_future(work())
            for _ in range(6):
                await asyncio.sleep(0)
            for _ in range(turns + 1):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task

            async with engine.acquire() as conn:
                assert await asyncio.wait_for(conn.scalar("SELECT %s", turns), 10) == turns


async def test_cancelled_release_wait_does_not_stop_the_release(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    task = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(engine.release(conn), 0.001)

    async with engine.acquire() as other:
        assert await other.scalar("SELECT 1") == 1
    while engine.freesize < engine.size:
        await asyncio.sleep(0)


# -- closing ---------------------------------------------------------------------------------------


async def test_close_waits_for_lent_connections(connect_kwargs: dict[str, Any]) -> None:
    engine = await sa.create_engine(**connect_kwargs, minsize=2)
    conn = await engine.acquire()
    engine.close()
    waiting = asyncio.ensure_future(engine.wait_closed())
    assert await conn.scalar("SELECT 1") == 1
    assert not waiting.done() and engine.size == 1

    engine.release(conn)

    await asyncio.wait_for(waiting, 10)
    await engine.wait_closed()
    assert engine.size == 0


def aborted(admin: pymysql.Connection[Any]) -> int:
    with admin.cursor() as cursor:
        cursor.execute("SHOW GLOBAL STATUS LIKE 'Aborted_clients'")
        return int(cursor.fetchone()[1])


async def test_close_tells_the_server(
    connect_kwargs: dict[str, Any], admin: pymysql.Connection[Any]
) -> None:
    before = aborted(admin)
    async with sa.create_engine(**connect_kwargs, minsize=3) as engine, engine.acquire():
        pass
    await asyncio.wait_for(gone(admin, connect_kwargs["db"]), 10)

    assert aborted(admin) == before


async def test_close_tells_the_server_behind_a_rollback(
    connect_kwargs: dict[str, Any], admin: pymysql.Connection[Any]
) -> None:
    before = aborted(admin)
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0
    await asyncio.wait_for(gone(admin, connect_kwargs["db"]), 10)

    assert aborted(admin) == before


async def test_acquire_after_close_is_refused_when_awaited(engine: sa.Engine) -> None:
    engine.close()
    acquire = engine.acquire()

    with pytest.raises(RuntimeError, match=CLOSED):
        await acquire
    with pytest.raises(RuntimeError, match=CLOSED):
        async with engine.acquire():
            pass


async def test_wait_closed_comes_after_close(engine: sa.Engine) -> None:
    with pytest.raises(RuntimeError, match=r"should be called after \.close\(\)"):
        await engine.wait_closed()


async def test_terminate_ends_statements_in_progress(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    task = asyncio.ensure_future(conn.execute(SLOW))
    await asyncio.sleep(0)
    engine.terminate()

    with pytest.raises(err.OperationalError):
        await asyncio.wait_for(task, 10)
    await asyncio.wait_for(engine.wait_closed(), 10)
    assert conn.closed and engine.size == 0
    engine.release(conn)
    engine.release(conn)
    engine.terminate()


async def test_terminated_in_a_transaction(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    transaction = await conn.begin()
    engine.terminate()

    with pytest.raises(sa.InvalidRequestError, match=UNFINISHED):
        engine.release(conn)
    with pytest.raises(err.InterfaceError, match="Not connected"):
        await transaction.rollback()
    await conn.close()
    assert conn.closed


async def test_waiting_acquire_is_turned_away_by_close(connect_kwargs: dict[str, Any]) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        waiter = asyncio.ensure_future(engine.acquire())
        await asyncio.sleep(0)
        engine.close()

        with pytest.raises(RuntimeError, match=CLOSED):
            await asyncio.wait_for(waiter, 10)
        engine.release(conn)


async def test_acquire_that_nobody_awaits_lends_nothing(engine: sa.Engine) -> None:
    engine.acquire().close()

    assert engine.freesize == 1


# -- many at once ----------------------------------------------------------------------------------


async def test_many_tasks_share_few_connections(connect_kwargs: dict[str, Any]) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=4) as engine:

        async def work(number: int) -> int:
            async with engine.acquire() as conn:
                value: int = await conn.scalar("SELECT %s", number)
            return value

        numbers = await asyncio.wait_for(asyncio.gather(*map(work, range(100))), 60)

        assert numbers == list(range(100))
        await until(lambda: at_rest(engine))  # after a ROLLBACK each
        assert engine.size <= 4


@pytest.mark.parametrize("seed", range(3))
async def test_random_cancellations_mix_nothing_up_and_lose_nothing(
    connect_kwargs: dict[str, Any], seed: int
) -> None:
    chance = random.Random(seed)
    async with sa.create_engine(**connect_kwargs, maxsize=3) as engine:

        async def work(number: int) -> None:
            async with engine.acquire() as conn:
                if number % 3:
                    assert await conn.scalar("SELECT %s + SLEEP(0.001)", number) == number
                    return
                async with conn.begin():
                    assert await conn.scalar("SELECT %s", number) == number

        tasks: list[asyncio.Future[None]] = []
        for number in range(120):
            job: Coroutine[Any, Any, None] = work(number)
            tasks.append(asyncio.ensure_future(job))
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            chance.choice(tasks).cancel()
        done, pending = await asyncio.wait(tasks, timeout=60)

        assert not pending
        errors = [task.exception() for task in done if not task.cancelled()]
        assert errors == [None] * len(errors)
        lent = [await asyncio.wait_for(engine.acquire(), 10) for _ in range(3)]
        assert [await conn.scalar("SELECT 7") for conn in lent] == [7, 7, 7]
        for conn in lent:
            engine.release(conn)
