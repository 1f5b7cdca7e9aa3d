"""Statements that are ended on the server once nobody waits for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from faults import faulty_proxy
from pymysql import err
from watch import check_capacity, now, one, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
RUNNING = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'SELECT SLEEP(30)%%'"
SLOW = "SELECT SLEEP(30)"


async def running(admin: Admin, count: int) -> None:
    """Wait until so many slow statements run on the server."""
    await until(lambda: one(admin, RUNNING) == count, 5)


async def cancelled(admin: Admin, awaitable: Any) -> None:
    task = spawn(awaitable)
    await running(admin, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_statement_ends_on_the_server(connect_kwargs: Kwargs, admin: Admin) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True) as engine:
        async with engine.acquire() as conn:
            await cancelled(admin, conn.execute(SLOW))

            await running(admin, 0)
        await check_capacity(engine, 1)


async def test_timed_out_statement_ends_on_the_server(connect_kwargs: Kwargs, admin: Admin) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True) as engine:
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute(SLOW, timeout=0.1)

            await running(admin, 0)
        await check_capacity(engine, 1)


async def test_connection_is_kept_when_its_statement_is_killed(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True) as engine,
        engine.acquire() as conn,
    ):
        raw = conn.connection
        await cancelled(admin, conn.execute(SLOW))

        assert await asyncio.wait_for(conn.scalar("SELECT SLEEP(0.01)"), 3) == 0
        assert conn.connection is raw


async def test_statement_of_a_connection_without_an_engine_is_killed(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with sa.connect(**connect_kwargs, kill_on_cancel=True) as raw:
        await cancelled(admin, raw.query(SLOW))

        await running(admin, 0)


async def test_statement_goes_on_unless_asked_for(connect_kwargs: Kwargs, admin: Admin) -> None:
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as conn:
        await cancelled(admin, conn.execute(SLOW))
        start = now()
        await until(lambda: now() > start + 0.3)

        assert one(admin, RUNNING) == 1
        engine.terminate()
    with admin.cursor() as cursor:
        cursor.execute("SHOW PROCESSLIST")
        for row in cursor.fetchall():
            if row[7] == SLOW:
                cursor.execute(f"KILL {row[0]}")


async def test_transaction_goes_on_after_its_statement_was_killed(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        async with conn.begin():
            await conn.execute("INSERT INTO t VALUES (1)")
            await cancelled(admin, conn.execute(SLOW))
            await conn.execute("INSERT INTO t VALUES (2)")

        assert await conn.scalar("SELECT COUNT(*) FROM t") == 2


async def test_later_statement_is_never_killed(connect_kwargs: Kwargs) -> None:
    chance = random.Random(5)
    async with sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True) as engine:
        for number in range(200):
            async with engine.acquire() as conn:
                task = spawn(conn.execute("SELECT SLEEP(%s)", chance.uniform(0, 0.004)))
                for _ in range(chance.randrange(1, 6)):
                    await asyncio.sleep(chance.choice((0, 0, 0.0005, 0.001)))
                task.cancel()
                await asyncio.wait([task])

                # SLEEP() that is killed gives 1, or an error.
                result = await conn.execute("SELECT %s, SLEEP(0.002), SLEEP(0.001)", number)
                row = (await result.fetchall())[0]
                assert (row[0], row[1], row[2]) == (number, 0, 0)


async def test_next_borrowers_statement_is_never_killed(connect_kwargs: Kwargs) -> None:
    chance = random.Random(6)
    async with sa.create_engine(**connect_kwargs, maxsize=2, kill_on_cancel=True) as engine:

        async def give_up() -> None:
            async with engine.acquire() as conn:
                await conn.execute("SELECT SLEEP(%s)", chance.uniform(0, 0.004))

        async def ask(number: int) -> None:
            async with engine.acquire() as conn:
                result = await conn.execute("SELECT %s, SLEEP(0.002)", number)
                row = (await result.fetchall())[0]
                assert (row[0], row[1]) == (number, 0)

        for number in range(60):
            tasks = [spawn(give_up()), spawn(give_up()), spawn(ask(number)), spawn(ask(-number))]
            await asyncio.sleep(chance.uniform(0, 0.004))
            for task in tasks[:2]:
                task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks[2:]), 10)
            await asyncio.wait(tasks[:2])


@pytest.mark.parametrize("how", ["refused", "silent"])
async def test_side_connection_that_cannot_be_made_changes_nothing(
    connect_kwargs: Kwargs, how: str
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, kill_on_cancel=True) as engine,
    ):
        conn = await engine.acquire()
        task = spawn(conn.execute("SELECT SLEEP(0.3), 'stale'"))
        await until(lambda: any(b"stale" in command for command in proxy.commands))
        if how == "refused":
            proxy.refuse()
        else:
            proxy.hold()
        task.cancel()
        start = now()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() - start < 0.2
        if how == "silent":
            await until(lambda: len(proxy.passages) == 2)
            proxy.passages[1].deaf = True
            proxy.flow()
        else:
            await until(lambda: now() > start + 0.05)
            await proxy.accept()

        engine.release(conn)
        async with await asyncio.wait_for(engine.acquire(), 6) as conn:
            assert await conn.scalar("SELECT 'fresh'") == "fresh"


async def test_side_connections_are_closed(connect_kwargs: Kwargs, admin: Admin) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, kill_on_cancel=True) as engine,
        engine.acquire() as conn,
    ):
        for _ in range(3):
            await cancelled(admin, conn.execute(SLOW))
            assert await conn.scalar("SELECT 1") == 1

        await until(lambda: len(proxy.open) == 1, 4)


async def test_end_of_the_engine_does_not_leave_a_kill_behind(connect_kwargs: Kwargs) -> None:
    before = asyncio.all_tasks()
    engine = await sa.create_engine(**connect_kwargs, maxsize=1, kill_on_cancel=True)
    conn = await engine.acquire()
    task = spawn(conn.execute(SLOW))
    await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.wait([task])
    engine.terminate()

    await asyncio.wait_for(engine.wait_closed(), 5)

    await until(lambda: asyncio.all_tasks() <= before, 5)


# -- closed connections, and cancellations that come twice -----------------------------------------


def is_locked(admin: Admin) -> bool:
    """Tell whether a row of t is locked."""
    try:
        with admin.cursor() as cursor:
            cursor.execute("SELECT id FROM test_aiomysqlx.t FOR UPDATE NOWAIT")
    except err.OperationalError:
        return True
    return False


async def cancel_until_done(task: asyncio.Future[Any]) -> None:
    """Cancel a task again whenever it waits, as anyio does."""
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)


async def sleep_in(conn: sa.SAConnection, how: str) -> None:
    """Have a slow statement executed in one of the ways there are."""
    if how == "execute":
        await conn.execute(SLOW)
    elif how == "scalar":
        await conn.scalar(SLOW)
    elif how == "executemany":
        await conn.execute("SELECT SLEEP(%s)", [(30,), (30,)])
    else:
        begin = {"begin": conn.begin, "nested": conn.begin, "twophase": conn.begin_twophase}[how]
        async with begin():
            await conn.execute("INSERT INTO t VALUES (1)")
            if how == "nested":
                async with conn.begin_nested():
                    await conn.execute(SLOW)
            await conn.execute(SLOW)


WAYS = ["execute", "scalar", "executemany", "begin", "nested", "twophase"]


@pytest.fixture
async def killing(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of one connection that ends what is cancelled, and a table t."""
    async with sa.create_engine(
        **connect_kwargs, maxsize=1, autocommit=True, kill_on_cancel=True
    ) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        yield engine


async def check_ended(admin: Admin) -> None:
    """See that nothing runs on the server, nor holds a lock."""
    await until(lambda: one(admin, RUNNING) == 0 and not is_locked(admin))


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("often", ["once", "twice", "again and again"])
async def test_statement_ends_on_the_server_however_often_it_is_cancelled(
    killing: sa.Engine, admin: Admin, how: str, often: str
) -> None:
    async def work() -> None:
        async with killing.acquire() as conn:
            await sleep_in(conn, how)

    task = spawn(work())
    await running(admin, 1)
    task.cancel()
    if often != "once":
        await asyncio.sleep(0)
        task.cancel()
    if often == "again and again":
        await cancel_until_done(task)
    await asyncio.wait([task])

    assert task.cancelled()
    await check_ended(admin)
    await check_capacity(killing, 1)
    assert one(admin, "SELECT COUNT(*) FROM test_aiomysqlx.t") == 0


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("often", ["once", "again and again"])
async def test_statement_ends_on_the_server_though_its_engine_does_too(
    connect_kwargs: Kwargs, killing: sa.Engine, admin: Admin, how: str, often: str
) -> None:
    async def work() -> None:
        async with (
            sa.create_engine(**connect_kwargs, kill_on_cancel=True) as engine,
            engine.acquire() as conn,
        ):
            await sleep_in(conn, how)

    task = spawn(work())
    await running(admin, 1)
    task.cancel()
    if often == "again and again":
        await cancel_until_done(task)
    await asyncio.wait([task])

    assert task.cancelled()
    await check_ended(admin)


def test_statement_ends_on_the_server_though_the_loop_does_too(
    connect_kwargs: Kwargs, admin: Admin, new_loop: Any
) -> None:
    async def work() -> None:
        async with sa.connect(**connect_kwargs, kill_on_cancel=True) as raw:
            await raw.query(SLOW)

    async def main() -> None:
        task = spawn(work())
        await running(admin, 1)
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)

    loop = new_loop()
    loop.run_until_complete(main())
    # As asyncio.run() does.
    rest = asyncio.all_tasks(loop)
    for task in rest:
        task.cancel()
    loop.run_until_complete(asyncio.wait(rest))
    loop.close()

    assert one(admin, RUNNING) == 0


@pytest.mark.parametrize("how", ["terminate", "invalidate", "close", "release"])
async def test_statement_in_progress_ends_on_the_server_with_its_connection(
    killing: sa.Engine, admin: Admin, how: str
) -> None:
    conn = await killing.acquire()
    raw: Any = conn.connection
    task = spawn(conn.execute(SLOW))
    await running(admin, 1)

    {
        "terminate": killing.terminate,
        "invalidate": conn.invalidate,
        "close": raw.close,
        "release": lambda: killing.release(conn),
    }[how]()
    with pytest.raises(err.OperationalError, match="2013"):
        await task
    if how in ("invalidate", "close"):
        killing.release(conn)

    await check_ended(admin)


# -- the connection beside -------------------------------------------------------------------------


async def test_statement_is_killed_though_its_database_is_gone(
    connect_kwargs: Kwargs, other_database: str, admin: Admin
) -> None:
    kwargs = {**connect_kwargs, "db": other_database}
    async with sa.connect(**kwargs, kill_on_cancel=True) as raw:
        task = spawn(raw.query(SLOW))
        await running(admin, 1)
        admin.cursor().execute(f"DROP DATABASE {other_database}")
        task.cancel()
        await asyncio.wait([task])

        await running(admin, 0)
        await raw.query("SELECT 1")
    admin.cursor().execute(f"CREATE DATABASE {other_database}")


FAILING_NOW: dict[str, Any] = {
    "init_command": {"init_command": "SET @a = (SELECT MAX(id) FROM once)"},
    "converters": {"conv": {253: lambda _: 1 / 0, 254: lambda _: 1 / 0}},
    "no unicode": {"use_unicode": False},
    "binary": {"charset": "binary"},
    "latin1": {"charset": "latin1"},
    "sql_mode": {"sql_mode": "ANSI"},
}


@pytest.mark.parametrize("name", FAILING_NOW)
async def test_statement_is_killed_whatever_its_session_is_like(
    connect_kwargs: Kwargs, killing: sa.Engine, admin: Admin, name: str
) -> None:
    table = f"{connect_kwargs['db']}.once"
    admin.cursor().execute(f"CREATE TABLE {table} (id INT)")
    async with sa.connect(**connect_kwargs, **FAILING_NOW[name], kill_on_cancel=True) as raw:
        task = spawn(raw.query(SLOW))
        await running(admin, 1)
        admin.cursor().execute(f"DROP TABLE {table}")
        task.cancel()
        await asyncio.wait([task])

        await running(admin, 0)


async def test_statement_is_killed_though_the_option_file_is_gone(
    connect_kwargs: Kwargs, admin: Admin, tmp_path: Path
) -> None:
    path = tmp_path / "my.cnf"
    names = {"db": "database"}
    options = "".join(f"{names.get(k, k)}={v}\n" for k, v in connect_kwargs.items())
    path.write_text(f"[client]\n{options}default-character-set=utf8mb4\n")
    async with sa.connect(read_default_file=str(path), kill_on_cancel=True) as raw:
        task = spawn(raw.query(SLOW))
        await running(admin, 1)
        path.unlink()
        task.cancel()
        await asyncio.wait([task])

        await running(admin, 0)


async def test_statement_is_killed_once_there_is_room_for_a_connection(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("DROP USER IF EXISTS aiomysqlx_two@'%'")
        cursor.execute(
            "CREATE USER aiomysqlx_two@'%' IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 2"
        )
    kwargs = {**connect_kwargs, "user": "aiomysqlx_two", "password": "secret", "db": None}
    try:
        async with sa.connect(**kwargs, kill_on_cancel=True) as raw:
            other = await sa.connect(**kwargs)
            task = spawn(raw.query(SLOW))
            await running(admin, 1)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(0.2)
            assert one(admin, RUNNING) == 1
            await other.ensure_closed()

            await running(admin, 0)
            await raw.query("DO 0")
    finally:
        admin.cursor().execute("DROP USER aiomysqlx_two@'%'")
