"""Statements that are ended on the server once nobody waits for them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fakes import EOF, OK, Peer, column, fake_server, greeting, packet, packets, text
from fakes import proxy as fake_proxy
from faults import faulty_proxy
from pymysql import err
from pymysql.constants import CLIENT
from watch import check_capacity, closed_in_time, now, one, spawn, until

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


@pytest.mark.parametrize("make", [sa.connect, sa.create_engine], ids=["connect", "engine"])
@pytest.mark.parametrize("late", [False, True], ids=["cancelled", "out of time"])
async def test_init_command_of_a_connect_that_is_cut_off_ends_on_the_server(
    connect_kwargs: Kwargs, admin: Admin, make: Any, late: bool
) -> None:
    options: Kwargs = {"init_command": SLOW, "kill_on_cancel": True}
    if late:
        with pytest.raises(err.OperationalError, match="timed out"):
            await make(**connect_kwargs, **options, connect_timeout=0.5)
    else:
        await cancelled(admin, make(**connect_kwargs, **options))

    # A SLEEP notices by itself, some seconds later, that its client has gone.
    await until(lambda: one(admin, RUNNING) == 0, 2)


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
        task = spawn(conn.execute("SELECT SLEEP(1.5), 'stale'"))
        await until(lambda: any(b"stale" in command for command in proxy.commands))
        if how == "refused":
            proxy.refuse()
        else:
            proxy.hold()
        task.cancel()
        start = now()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert now() - start < 1
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
    made = sa.create_engine(**connect_kwargs, maxsize=1, autocommit=True, kill_on_cancel=True)
    async with closed_in_time(made) as engine:
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

    loop = new_loop()  # the server is told, and takes its time
    loop.run_until_complete(running(admin, 0))
    loop.close()


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


# -- what gives sessions numbers of its own --------------------------------------------------------


def renumbering(number: int, *, answers: bool = False, own: list[int] | None = None) -> Any:
    """Return a change of what a server sends: sessions have the number *number*.

    With *answers*, so they have where the server tells it in a result.
    """

    def change(data: bytes) -> bytes:
        if data[3] == 0 and data[4] == 10:
            start = data.index(b"\0", 5) + 1
            if own is not None:
                own.append(int.from_bytes(data[start : start + 4], "little"))
            return data[:start] + number.to_bytes(4, "little") + data[start + 4 :]
        if answers and own:
            text = str(own[-1]).encode()
            shown = str(number).rjust(len(text), "0").encode()
            told = bytes((len(text),))
            if data.endswith(told + text):
                return data[: -len(text)] + shown
            if data.startswith(told + text, 4):
                return data[:5] + shown + data[5 + len(text) :]
        return data

    return change


async def innocent(connect_kwargs: Kwargs) -> tuple[sa.Connection, asyncio.Future[Any]]:
    """Give a connection whose statement takes a second, and that statement."""
    raw = await sa.connect(**connect_kwargs)
    cursor = await raw.cursor()

    async def sleep() -> Any:
        await cursor.execute("SELECT SLEEP(1)")
        return await cursor.fetchone()

    return raw, spawn(sleep())


@pytest.mark.parametrize("answers", [False, True], ids=["in the greeting", "in answers too"])
async def test_statement_of_another_session_is_never_killed(
    connect_kwargs: Kwargs, admin: Admin, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    other, theirs = await innocent(connect_kwargs)
    change = renumbering(other.thread_id(), answers=answers, own=[])
    async with (
        fake_proxy(connect_kwargs, change) as kwargs,
        sa.connect(**kwargs, kill_on_cancel=True) as raw,
    ):
        task = spawn(raw.query("SELECT SLEEP(1.5)"))
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.wait([task])

        assert await asyncio.wait_for(theirs, 5) == (0,)
        await raw.query("DO 0")
    assert ("could not be killed" in caplog.text) is answers
    await other.ensure_closed()


async def test_statement_behind_a_proxy_with_numbers_of_its_own_is_killed(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with (
        fake_proxy(connect_kwargs, renumbering(7)) as kwargs,
        sa.connect(**kwargs, kill_on_cancel=True) as raw,
    ):
        assert raw.thread_id() != 7
        await cancelled(admin, raw.query(f"  {SLOW} ; "))

        await running(admin, 0)
        await raw.query("DO 0")


async def test_number_of_a_session_is_the_servers(connect_kwargs: Kwargs) -> None:
    async with fake_proxy(connect_kwargs, renumbering(7)) as kwargs, sa.connect(**kwargs) as raw:
        cursor = await raw.cursor()
        await cursor.execute("SELECT CONNECTION_ID()")

        assert await cursor.fetchone() == (raw.thread_id(),)


async def test_number_of_more_than_32_bits_is_known() -> None:
    number = (1 << 40) + 5

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(thread_id=5), 0))
        await peer.read()
        peer.write(packet(OK, 2))
        await peer.read()
        values = (b"16777216", *[b"utf8mb4"] * 3, b"SYSTEM", b"1", str(number).encode())
        peer.write(packets(b"\x07", *[column()] * 7, EOF, b"".join(map(text, values)), EOF))
        await peer.read()

    async with fake_server(script) as arguments, sa.connect(**arguments) as raw:
        assert raw.thread_id() == number


@pytest.mark.parametrize("way", ["tcp", "unix socket", "proxy"])
@pytest.mark.parametrize("what", ["procedure", "several", "prepared"])
async def test_statement_that_the_server_shows_otherwise_is_killed(
    connect_kwargs: Kwargs, unix_socket: str, admin: Admin, way: str, what: str
) -> None:
    kwargs = {**connect_kwargs, "client_flag": CLIENT.MULTI_STATEMENTS, "kill_on_cancel": True}
    if way == "unix socket":
        kwargs["unix_socket"] = unix_socket
    async with fake_proxy(connect_kwargs) as through:
        if way == "proxy":
            kwargs |= {"host": through["host"], "port": through["port"]}
        async with sa.connect(**kwargs) as raw:
            await raw.query(f"CREATE PROCEDURE slow() BEGIN DO 1; {SLOW}; END")
            await raw.query(f"PREPARE slow FROM '{SLOW}'")
            statement = {
                "procedure": "CALL slow()",
                "several": f"SELECT 1; {SLOW}; SELECT 2",
                "prepared": "EXECUTE slow",
            }[what]
            await cancelled(admin, raw.query(statement))

            await running(admin, 0)


async def test_nothing_is_killed_where_the_server_does_not_tell_its_number(
    connect_kwargs: Kwargs, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    other, theirs = await innocent(connect_kwargs)
    async with sa.connect(**connect_kwargs, kill_on_cancel=True) as raw:
        raw._session.thread = None
        raw.server_thread_id = (other.thread_id(),)
        task = spawn(raw.query("SELECT SLEEP(0.5)"))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        assert await asyncio.wait_for(theirs, 5) == (0,)
    assert "does not tell its thread's number" in caplog.text
    await other.ensure_closed()
