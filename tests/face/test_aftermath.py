"""What errors, cancellations and time limits leave behind: nothing for whoever comes next."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyProxy
from private_server import MortalServer
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, Table, TypeDecorator, text
from watch import at_rest, cancelled_at, check_capacity, now, one, prepared, spawn, steps, until

import aiomysqlx as sa
from aiomysqlx.wire import infile

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
LOST = (err.OperationalError, err.InterfaceError)
ENDED = "rolled this transaction back|ended this transaction"
ELSEWHERE = "another event loop"
pay = Table("pay", MetaData(), Column("id", Integer, primary_key=True))
late = pytest.mark.parametrize("late", [False, True], ids=["early", "late"])


@pytest.fixture
def table(admin: Admin, database: str) -> str:
    """The name of an empty table of one column, its key."""
    name = f"{database}.pay"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY) ENGINE=InnoDB")
    return name


@pytest.fixture
async def pool(connect_kwargs: Kwargs, table: str) -> AsyncIterator[sa.Engine]:
    """An engine of one connection at most, in autocommit mode."""
    engine = await sa.create_engine(**connect_kwargs, minsize=0, maxsize=1, autocommit=True)
    yield engine
    engine.terminate()
    await engine.wait_closed()


def committed(admin: Admin, table: str) -> list[int]:
    """Give what another connection sees of a table."""
    with admin.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {table} ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


async def give_back(engine: sa.Engine, conn: sa.SAConnection) -> None:
    """Release a connection, whatever is in progress on it."""
    await conn.close()
    await until(lambda: at_rest(engine))


# -- savepoints ------------------------------------------------------------------------------------


async def leave_statement(conn: sa.SAConnection) -> None:
    """Leave an answer behind that is still to be read."""
    task = spawn(conn.execute("SELECT SLEEP(0.02), 'stale'"))
    await steps()
    task.cancel()
    await asyncio.wait([task])


@late
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_transaction_whose_savepoint_was_cut_off_as_it_ended_is_lost_as_a_whole(
    pool: sa.Engine, admin: Admin, table: str, end: str, busy: bool, late: bool
) -> None:
    turn, cut = 1, True
    while cut:
        conn = await pool.acquire()
        ended = False
        with contextlib.suppress(sa.InvalidRequestError, err.Error):
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1)")
                nested = await conn.begin_nested()
                await conn.execute("INSERT INTO pay VALUES (2)")
                if busy:
                    await leave_statement(conn)
                cut = await cancelled_at(getattr(nested, end)(), turn, late=late)
                if not cut:
                    raise sa.InvalidRequestError("not cut off: the last turn is over")
                assert not conn.in_transaction
            ended = True

        if cut:
            assert not ended, f"cut off at turn {turn}, and the block ended as if it had committed"
            assert conn.closed
            with contextlib.suppress(sa.InvalidRequestError, err.Error):
                async with conn.begin():
                    pass
        await give_back(pool, conn)
        assert committed(admin, table) == []
        turn += 1

    assert turn > 2


@pytest.mark.parametrize("limit", ["of the task", "of the engine"])
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_transaction_whose_savepoint_ran_out_of_time_as_it_ended_is_lost_as_a_whole(
    proxy: FaultyProxy, admin: Admin, table: str, end: str, limit: str
) -> None:
    seconds = 0.1 if limit == "of the engine" else None
    async with sa.create_engine(
        **proxy.kwargs, maxsize=1, autocommit=True, statement_timeout=seconds
    ) as engine:
        conn = await engine.acquire()
        with pytest.raises((sa.InvalidRequestError, err.Error)):
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1)")
                nested = await conn.begin_nested()
                await conn.execute("INSERT INTO pay VALUES (2)")
                proxy.hold()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(getattr(nested, end)(), 1 if seconds else 0.05)
                proxy.flow()

        assert conn.closed
        with contextlib.suppress(sa.InvalidRequestError, err.Error):
            async with conn.begin():
                pass
        await give_back(engine, conn)
        assert committed(admin, table) == []
        await check_capacity(engine, 1)


@late
async def test_block_that_is_cut_off_with_its_savepoint_is_not_committed_by_the_next(
    pool: sa.Engine, admin: Admin, table: str, late: bool
) -> None:
    async def block(conn: sa.SAConnection) -> None:
        async with conn.begin():
            await conn.execute("INSERT INTO pay VALUES (1)")
            async with conn.begin_nested():
                await conn.execute("INSERT INTO pay VALUES (2)")
            undone = await conn.begin_nested()
            await conn.execute("INSERT INTO pay VALUES (5)")
            await undone.rollback()
            await conn.execute("INSERT INTO pay VALUES (3)")

    turn, cut = 1, True
    while cut:
        conn = await pool.acquire()
        cut = await cancelled_at(block(conn), turn, late=late)
        assert not conn.in_transaction
        # Of a COMMIT that is cut off nobody knows whether it has been done.
        with contextlib.suppress(sa.InvalidRequestError, err.Error):
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (9)")

        await give_back(pool, conn)
        assert [key for key in committed(admin, table) if key != 9] in ([], [1, 2, 3])
        with admin.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")
        turn += 1

    assert turn > 9


# -- transactions of the server's own --------------------------------------------------------------

FAILING = {
    "signal": "SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no funds'",
    "duplicate": "INSERT INTO pay VALUES (1)",
    "unknown table": "SELECT * FROM nowhere",
    "after a result": "SELECT 'result'; SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no funds'",
}


@pytest.mark.parametrize("how", ["execute", "construct", "cursor"])
@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
async def test_transaction_that_a_failing_procedure_began_ends_with_the_release(
    pool: sa.Engine, admin: Admin, table: str, failing: str, how: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute(
            "CREATE PROCEDURE move() BEGIN"
            f" START TRANSACTION; INSERT INTO pay VALUES (1); {failing}; COMMIT; END"
        )
        raw: Any = conn.connection
        with pytest.raises(err.MySQLError):
            if how == "execute":
                await conn.execute("CALL move()")
            elif how == "construct":
                await conn.execute(text("CALL move()"))
            else:
                async with raw.cursor() as cursor:
                    await cursor.execute("CALL move()")
                    while await cursor.nextset():
                        pass

    async with pool.acquire() as conn:
        assert await conn.scalar("SELECT COUNT(*) FROM pay") == 0
        await conn.execute("INSERT INTO pay VALUES (2)")
        assert committed(admin, table) == [2]
    assert committed(admin, table) == [2]
    await check_capacity(pool, 1)


async def test_transaction_that_a_cancelled_procedure_began_ends_with_the_release(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    conn = await pool.acquire()
    await conn.execute(
        "CREATE PROCEDURE move() BEGIN START TRANSACTION; INSERT INTO pay VALUES (1);"
        " DO SLEEP(0.05); SIGNAL SQLSTATE '45000'; END"
    )
    task = spawn(conn.execute("CALL move()"))
    await steps()
    task.cancel()
    await asyncio.wait([task])
    await pool.release(conn)

    async with pool.acquire() as conn:
        assert await conn.scalar("SELECT COUNT(*) FROM pay") == 0
        await conn.execute("INSERT INTO pay VALUES (2)")
        assert committed(admin, table) == [2]


# -- prepared transactions -------------------------------------------------------------------------


@late
@pytest.mark.parametrize("how", ["commit_prepared", "rollback_prepared"])
async def test_autocommit_stays_off_though_the_end_of_a_prepared_transaction_is_cut_off(
    connect_kwargs: Kwargs, server: Any, how: str, late: bool
) -> None:
    async def end(conn: sa.SAConnection) -> None:
        with contextlib.suppress(err.MySQLError):
            await getattr(conn, how)("nobody's")

    async with sa.create_engine(**connect_kwargs, minsize=0, maxsize=1) as engine:
        turn, cut = 1, True
        while cut:
            conn = await engine.acquire()
            assert await conn.scalar("SELECT @@autocommit") == 0

            cut = await cancelled_at(end(conn), turn, late=late)

            await give_back(engine, conn)
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT @@autocommit") == 0, f"cut off at turn {turn}"
            turn += 1

        # MariaDB is asked first, and autocommit switched.
        assert turn > {"mariadb": 3, "mysql": 2}[server.flavour]


# -- transactions that the server has ended --------------------------------------------------------

HANDLERS = {"resignal": "RESIGNAL", "signal": "SIGNAL SQLSTATE '45000'"}


@pytest.fixture(params=HANDLERS.values(), ids=HANDLERS)
async def gives_up(request: pytest.FixtureRequest, pool: sa.Engine) -> None:
    """A procedure `give_up` that rolls back and raises."""
    async with pool.acquire() as conn:
        await conn.execute(
            "CREATE PROCEDURE give_up() BEGIN"
            f" DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; {request.param}; END;"
            " INSERT INTO pay VALUES (1); END"
        )


@pytest.mark.usefixtures("gives_up")
async def test_nothing_is_executed_after_an_error_that_ended_the_transaction(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute("INSERT INTO pay VALUES (1)")
        with pytest.raises(err.MySQLError):
            await conn.execute("CALL give_up()")

        with pytest.raises(sa.InvalidRequestError, match=ENDED):
            await conn.execute("INSERT INTO pay VALUES (3)")
        with pytest.raises(sa.InvalidRequestError, match=ENDED):
            await conn.execute(pay.insert(), {"id": 4})
        with pytest.raises(sa.InvalidRequestError, match=ENDED):
            await transaction.commit()

        assert committed(admin, table) == []
        await transaction.rollback()
        async with conn.begin():
            await conn.execute("INSERT INTO pay VALUES (5)")
    assert committed(admin, table) == [5]


@pytest.mark.usefixtures("gives_up")
@pytest.mark.parametrize("nested", [False, True], ids=["root", "savepoint"])
async def test_block_that_goes_on_after_its_transaction_was_ended_raises(
    pool: sa.Engine, admin: Admin, table: str, nested: bool
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match=ENDED):
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1)")
                if nested:
                    await conn.begin_nested()
                with pytest.raises(err.MySQLError):
                    await conn.execute("CALL give_up()")

        assert not conn.in_transaction
        async with conn.begin():
            await conn.execute("INSERT INTO pay VALUES (5)")
    assert committed(admin, table) == [5]


async def lose_the_snapshot(conn: sa.SAConnection, admin: Admin, table: str) -> None:
    """Change a row that another one changes too: MariaDB then ends the transaction (1020)."""
    await conn.scalar("SELECT COUNT(*) FROM pay")
    await conn.execute("UPDATE pay SET id = 10 WHERE id = 1")
    with admin.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET id = 3 WHERE id = 2")
    with pytest.raises(err.MySQLError, match="1020"):
        await conn.execute("UPDATE pay SET id = 20 WHERE id = 3 OR id = 2")


async def test_nothing_is_executed_after_a_row_of_the_snapshot_has_changed(
    pool: sa.Engine, admin: Admin, table: str, mariadb: None
) -> None:
    async with pool.acquire() as conn:
        await conn.execute("SET SESSION innodb_snapshot_isolation = 1")
        await conn.execute("INSERT INTO pay VALUES (1), (2)")
        transaction = await conn.begin()
        await lose_the_snapshot(conn, admin, table)

        with pytest.raises(sa.InvalidRequestError, match=ENDED):
            await conn.execute("INSERT INTO pay VALUES (30)")
        with pytest.raises(sa.InvalidRequestError, match=ENDED):
            await transaction.commit()

        assert committed(admin, table) == [1, 3]
        await transaction.rollback()
        await conn.execute("SET SESSION innodb_snapshot_isolation = DEFAULT")


async def test_two_phase_transaction_that_was_ended_is_not_prepared(
    pool: sa.Engine, admin: Admin, table: str, mariadb: None
) -> None:
    async with pool.acquire() as conn:
        await conn.execute("SET SESSION innodb_snapshot_isolation = 1")
        await conn.execute("INSERT INTO pay VALUES (1), (2)")
        transaction = await conn.begin_twophase()
        await lose_the_snapshot(conn, admin, table)

        for end in (transaction.prepare, transaction.commit):
            with pytest.raises(sa.InvalidRequestError, match=ENDED):
                await end()
        with contextlib.suppress(err.MySQLError):
            await transaction.rollback()
        assert committed(admin, table) == [1, 3]
    await check_capacity(pool, 1)


@pytest.mark.parametrize("nested", [False, True], ids=["root", "savepoint"])
@pytest.mark.parametrize("error", ["1062", "1064", "1146", "1205", "1644"])
async def test_transaction_goes_on_after_an_error_of_one_statement(
    pool: sa.Engine, admin: Admin, table: str, error: str, nested: bool
) -> None:
    with admin.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} VALUES (7)")
        cursor.execute("SET autocommit = 0")
        cursor.execute(f"SELECT * FROM {table} WHERE id = 7 FOR UPDATE")
    statements = {
        "1062": "INSERT INTO pay VALUES (1)",
        "1064": "SELEKT",
        "1146": "SELECT * FROM nowhere",
        "1205": "DELETE FROM pay WHERE id = 7",
        "1644": "CALL complain()",
    }
    try:
        async with pool.acquire() as conn:
            await conn.execute("SET SESSION innodb_lock_wait_timeout = 1")
            await conn.execute(
                "CREATE PROCEDURE complain() BEGIN"
                " INSERT INTO pay VALUES (2); SIGNAL SQLSTATE '45000'; END"
            )
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1)")
                if nested:
                    await conn.begin_nested()
                with pytest.raises(err.MySQLError, match=error):
                    await conn.execute(statements[error])
                assert conn.in_transaction
                await conn.execute("INSERT INTO pay VALUES (3)")
    finally:
        with admin.cursor() as cursor:
            cursor.execute("ROLLBACK")
            cursor.execute("SET autocommit = 1")

    assert committed(admin, table) == ([1, 2, 3, 7] if error == "1644" else [1, 3, 7])


# -- local files -----------------------------------------------------------------------------------


def is_open(path: Path) -> bool:
    """Tell whether this process has a file open."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/self/fd/{name}") == str(path):
                return True
    return False


class SilentFile:
    """A file of a disk that hangs, as it is opened or as it is read, until it ends."""

    def __init__(self, path: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path.write_text("1,a\n")
        self.path = path
        self._goes_on = threading.Event()
        opening, read = infile._open, infile._LocalFile.read

        def hanging_open(name: str) -> Any:
            self._wait()
            return opening(name)

        def hanging_read(file: Any) -> bytes:
            data = read(file)
            self._wait()
            return data

        if when == "opened":
            monkeypatch.setattr(infile, "_open", hanging_open)
        else:
            monkeypatch.setattr(infile._LocalFile, "read", hanging_read)

    def _wait(self) -> None:
        # A loop that stands still does not let the test end it.
        self._goes_on.wait(4)

    def end(self) -> None:
        """Let whoever opens or reads it go on."""
        self._goes_on.set()


@pytest.fixture(params=["opened", "read"])
def silent(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SilentFile]:
    """A file of which nothing comes."""
    file = SilentFile(tmp_path / "silent", request.param, monkeypatch)
    yield file
    file.end()


@pytest.mark.parametrize("how", ["out of time", "cancelled"])
async def test_local_file_that_does_not_come_holds_nobody_up(
    connect_kwargs: Kwargs,
    table: str,
    silent: SilentFile,
    admin: Admin,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    with admin.cursor() as cursor:
        cursor.execute("SET GLOBAL local_infile = 1")
    standstills: list[float] = []

    async def turn() -> None:
        latest = now()
        while True:
            await asyncio.sleep(0.01)
            standstills.append(now() - latest)
            latest = now()

    turning = spawn(turn())
    async with sa.create_engine(
        **connect_kwargs, maxsize=1, local_infile=True, autocommit=True
    ) as engine:
        start = now()
        async with engine.acquire() as conn:
            loading = f"LOAD DATA LOCAL INFILE '{silent.path}' INTO TABLE pay"
            if how == "cancelled":
                task = spawn(conn.execute(loading))
                await asyncio.wait([task], timeout=0.3)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            else:
                with pytest.raises(sa.StatementTimeoutError):
                    await conn.execute(loading, timeout=0.3)

        assert now() - start < 2
        await check_capacity(engine, 1)
    turning.cancel()
    assert len(standstills) > 5 and max(standstills) < 1
    assert committed(admin, table) == []
    silent.end()
    await until(lambda: not is_open(silent.path))
    gc.collect()
    assert seen == []


# -- KILL ------------------------------------------------------------------------------------------


async def answer(raw: sa.Connection, sql: str) -> Any:
    async with raw.cursor() as cursor:
        await cursor.execute(sql)
        return (await cursor.fetchone())[0]


async def test_statement_on_another_server_is_never_killed(
    proxy: FaultyProxy, mortal: MortalServer
) -> None:
    other = mortal.server
    stranger_kwargs: Kwargs = {
        "host": other.host,
        "port": other.port,
        "user": other.user,
        "password": other.password,
    }
    del proxy.kwargs["db"]  # which the other server does not have
    mine = await sa.connect(**proxy.kwargs, kill_on_cancel=True)
    stranger = await sa.connect(**stranger_kwargs)
    while mine.thread_id() != stranger.thread_id():
        if mine.thread_id() < stranger.thread_id():
            await mine.ensure_closed()
            mine = await sa.connect(**proxy.kwargs, kill_on_cancel=True)
        else:
            await stranger.ensure_closed()
            stranger = await sa.connect(**stranger_kwargs)
    known = len(proxy.passages)
    proxy.turn_to(other.host, other.port)
    try:
        theirs = spawn(answer(stranger, "SELECT SLEEP(1)"))
        task = spawn(mine.query("SELECT SLEEP(1.5)"))
        await until(lambda: any(b"SLEEP(1.5)" in command for command in proxy.commands))

        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.wait_for(theirs, 10) == 0
        commands = [command for passage in proxy.passages[known:] for command in passage.commands]
        assert not any(b"KILL" in command for command in commands)
    finally:
        mine.close()
        stranger.close()
        await until(lambda: not proxy.open)


# -- time limits -----------------------------------------------------------------------------------

LIMITED: dict[str, tuple[str, Callable[[Any, Any], Awaitable[Any]]]] = {
    "begin": ("", lambda conn, _: conn.begin()),
    "begin_nested": ("root", lambda conn, _: conn.begin_nested()),
    "begin_twophase": ("", lambda conn, _: conn.begin_twophase()),
    "commit": ("root", lambda _, transaction: transaction.commit()),
    "rollback": ("root", lambda _, transaction: transaction.rollback()),
    "release savepoint": ("nested", lambda _, transaction: transaction.commit()),
    "roll back to savepoint": ("nested", lambda _, transaction: transaction.rollback()),
    "prepare": ("twophase", lambda _, transaction: transaction.prepare()),
    "commit prepared": ("prepared", lambda _, transaction: transaction.commit()),
    "recover": ("", lambda conn, _: conn.recover_twophase()),
    "commit another's": ("", lambda conn, _: conn.commit_prepared("another")),
    "roll another's back": ("", lambda conn, _: conn.rollback_prepared("another")),
    "execute": ("root", lambda conn, _: conn.execute("SELECT 1")),
    "execute many": ("", lambda conn, _: conn.execute("SELECT %s", [(1,), (2,)])),
    "scalar": ("", lambda conn, _: conn.scalar("SELECT 1")),
}


async def begun(conn: sa.SAConnection, what: str) -> Any:
    """Give the transaction that a case begins with."""
    if what in ("twophase", "prepared"):
        transaction = await conn.begin_twophase()
        if what == "prepared":
            await transaction.prepare()
        return transaction
    transaction = await conn.begin() if what else None
    return await conn.begin_nested() if what == "nested" else transaction


@pytest.mark.parametrize(("first", "act"), LIMITED.values(), ids=LIMITED)
async def test_limit_of_the_engine_is_for_what_begins_and_ends_transactions_too(
    proxy: FaultyProxy,
    admin: Admin,
    first: str,
    act: Callable[[Any, Any], Awaitable[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.stopping.DRAIN_SECONDS", 0.2)
    async with sa.create_engine(
        **proxy.kwargs, maxsize=1, autocommit=True, statement_timeout=0.2
    ) as engine:
        conn = await engine.acquire()
        transaction = await begun(conn, first)
        proxy.hang()
        start = now()

        with pytest.raises(sa.StatementTimeoutError):
            await asyncio.wait_for(act(conn, transaction), 3)

        assert now() - start < 1.5
        await asyncio.wait_for(conn.close(), 3)
        await check_capacity(engine, 1)
    proxy.drop()
    await until(lambda: not prepared(admin))


@pytest.mark.parametrize("end", ["commit", "roll back"])
async def test_block_of_a_silent_server_is_left_in_time(proxy: FaultyProxy, end: str) -> None:
    async with sa.create_engine(
        **proxy.kwargs, maxsize=1, autocommit=True, statement_timeout=0.2
    ) as engine:
        expected = sa.StatementTimeoutError if end == "commit" else ZeroDivisionError

        async def block() -> None:
            async with engine.begin() as conn:
                await conn.execute("DO 0")
                proxy.hang()
                if end == "roll back":
                    raise ZeroDivisionError

        start = now()
        with pytest.raises(expected):
            await asyncio.wait_for(block(), 3)

        assert now() - start < 1.5
        await check_capacity(engine, 1)


async def test_refused_statement_leaves_the_limit_of_the_running_one(
    connect_kwargs: Kwargs,
) -> None:
    many = text("DO SLEEP(:seconds)"), [{"seconds": 0.1}] * 20
    for kwargs, first, second in (
        ({}, {"timeout": 0.4}, {"timeout": 5}),
        ({}, {"timeout": 0.4}, {}),
        ({"statement_timeout": 0.4}, {}, {}),
        ({"statement_timeout": 0.4}, {}, {"timeout": 5}),
        ({"statement_timeout": 5}, {"timeout": 0.4}, {}),
    ):
        async with (
            sa.create_engine(**connect_kwargs, maxsize=1, **kwargs) as engine,
            engine.acquire() as conn,
        ):
            start = now()
            if "timeout" in first:
                statement = many[0].execution_options(timeout=first["timeout"])
            else:
                statement = many[0]
            running = spawn(conn.execute(statement, many[1]))
            await asyncio.sleep(0.05)
            with pytest.raises(sa.InvalidRequestError, match="in progress"):
                await conn.execute("SELECT 1", **second)

            with pytest.raises(sa.StatementTimeoutError, match=r"0\.4"):
                await running

            assert now() - start < 1.5


async def test_refused_statement_has_no_limit_left_for_what_comes_after(
    conn: sa.SAConnection,
) -> None:
    running = spawn(conn.execute("SELECT SLEEP(0.1)"))
    await steps()
    with pytest.raises(sa.InvalidRequestError, match="in progress"):
        await conn.execute("SELECT 1", timeout=0.01)
    await running

    assert await conn.scalar("SELECT SLEEP(0.1)") == 0


# -- sessions that are reset -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["USE", "select_db"])
async def test_reset_leaves_no_database_where_none_was_given(
    connect_kwargs: Kwargs, database: str, how: str
) -> None:
    kwargs = {name: value for name, value in connect_kwargs.items() if name != "db"}
    async with sa.create_engine(**kwargs, maxsize=1, reset=True) as engine:
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT DATABASE()") is None
            if how == "USE":
                await conn.execute(f"USE {database}")
            else:
                await conn.connection.select_db(database)
            assert await conn.scalar("SELECT DATABASE()") == database

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT DATABASE()") is None
        await check_capacity(engine, 1)


async def test_reset_goes_back_to_the_database_that_was_given(
    connect_kwargs: Kwargs, database: str, other_database: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute(f"USE {other_database}")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT DATABASE()") == database


@pytest.fixture
def role(admin: Admin) -> Iterator[str]:
    """A role that the tests' user may take."""
    name = "aiomysqlx_role"
    user, _, host = one(admin, "SELECT CURRENT_USER()").rpartition("@")
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE ROLE IF NOT EXISTS {name}")
        cursor.execute(f"GRANT {name} TO '{user}'@'{host}'")
        yield name
        cursor.execute(f"DROP ROLE {name}")


async def test_reset_takes_the_role_away(connect_kwargs: Kwargs, role: str) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=True) as engine:
        async with engine.acquire() as conn:
            at_first = await conn.scalar("SELECT CURRENT_ROLE()")
            await conn.execute(f"SET ROLE {role}")
            assert role in await conn.scalar("SELECT CURRENT_ROLE()")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT CURRENT_ROLE()") == at_first
        await check_capacity(engine, 1)


# -- other event loops -----------------------------------------------------------------------------


class Elsewhere:
    """An engine of one event loop, and another event loop that runs while the first does not."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop], kwargs: Kwargs) -> None:
        self._kwargs = kwargs
        self._here, self._there = new_loop(), new_loop()
        self.engine = self.here(self._create)

    async def _create(self) -> sa.Engine:
        return await sa.create_engine(**self._kwargs)

    def here(self, call: Callable[[], Any]) -> Any:
        """Await what *call* gives in the event loop of the engine."""
        return self._here.run_until_complete(_awaited(call))

    def there(self, call: Callable[[], Any]) -> Any:
        """Await what *call* gives in the other one."""
        return self._there.run_until_complete(_awaited(call))

    def end(self) -> None:
        self.engine.terminate()
        self.here(self.engine.wait_closed)
        for loop in (self._here, self._there):
            loop.close()


async def _awaited(call: Callable[[], Any]) -> Any:
    return await asyncio.wait_for(call(), 5)


@pytest.fixture
def elsewhere(
    request: pytest.FixtureRequest,
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    connect_kwargs: Kwargs,
) -> Iterator[Elsewhere]:
    """An engine of one connection, and two event loops; a parameter gives it more arguments."""
    more = getattr(request, "param", {})
    kwargs = {**connect_kwargs, "maxsize": 1, "autocommit": True, **more}
    elsewhere = Elsewhere(new_loop, kwargs)
    yield elsewhere
    elsewhere.end()


USES: dict[str, Callable[[sa.SAConnection], Awaitable[Any]]] = {
    "execute": lambda conn: conn.execute("INSERT INTO pay VALUES (1)"),
    "execute in time": lambda conn: conn.execute("INSERT INTO pay VALUES (1)", timeout=1),
    "construct": lambda conn: conn.execute(pay.insert(), {"id": 1}),
    "many": lambda conn: conn.execute(pay.insert(), [{"id": 1}, {"id": 2}]),
    "scalar": lambda conn: conn.scalar("INSERT INTO pay VALUES (1)"),
    "begin": lambda conn: conn.begin(),
    "query": lambda conn: conn.connection.query("INSERT INTO pay VALUES (1)"),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_connection_is_not_used_in_another_event_loop(
    elsewhere: Elsewhere, admin: Admin, table: str, use: Callable[[Any], Awaitable[Any]]
) -> None:
    conn = elsewhere.here(elsewhere.engine.acquire)

    with pytest.raises(RuntimeError, match=ELSEWHERE):
        elsewhere.there(lambda: use(conn))

    assert not conn.in_transaction
    assert elsewhere.here(lambda: conn.scalar("SELECT 'here'")) == "here"
    assert committed(admin, table) == []
    elsewhere.here(conn.close)


@pytest.mark.parametrize("elsewhere", [{}, {"reset": True}], ids=str, indirect=True)
def test_connection_is_not_released_in_another_event_loop(elsewhere: Elsewhere) -> None:
    conn = elsewhere.here(elsewhere.engine.acquire)

    async def release() -> None:
        await elsewhere.engine.release(conn)

    with pytest.raises(RuntimeError, match=ELSEWHERE):
        elsewhere.there(release)

    assert elsewhere.here(lambda: conn.scalar("SELECT 'here'")) == "here"
    elsewhere.here(release)
    elsewhere.here(lambda: check_capacity(elsewhere.engine, 1))


@pytest.mark.parametrize("begun", [False, True], ids=["idle", "begun"])
def test_connection_is_not_closed_in_another_event_loop(
    elsewhere: Elsewhere, admin: Admin, table: str, begun: bool
) -> None:
    conn = elsewhere.here(elsewhere.engine.acquire)
    transaction = elsewhere.here(conn.begin) if begun else None

    with pytest.raises(RuntimeError, match=ELSEWHERE):
        elsewhere.there(conn.close)

    assert conn.in_transaction is begun
    elsewhere.here(lambda: conn.execute("INSERT INTO pay VALUES (1)"))
    if transaction is not None:
        elsewhere.here(transaction.commit)
    assert committed(admin, table) == [1]
    elsewhere.here(conn.close)
    elsewhere.here(lambda: check_capacity(elsewhere.engine, 1))


def test_connection_is_not_invalidated_in_another_event_loop(elsewhere: Elsewhere) -> None:
    conn = elsewhere.here(elsewhere.engine.acquire)

    async def invalidate() -> None:
        await conn.invalidate()

    with pytest.raises(RuntimeError, match=ELSEWHERE):
        elsewhere.there(invalidate)

    assert elsewhere.here(lambda: conn.scalar("SELECT 'here'")) == "here"
    elsewhere.here(invalidate)
    elsewhere.there(invalidate)  # it is closed already
    elsewhere.here(conn.close)
    elsewhere.here(lambda: check_capacity(elsewhere.engine, 1))


@pytest.mark.parametrize("lent", [False, True], ids=["idle", "lent"])
def test_end_of_an_engine_is_not_waited_for_in_another_event_loop(
    elsewhere: Elsewhere, lent: bool
) -> None:
    engine = elsewhere.engine
    conn = elsewhere.here(engine.acquire) if lent else None

    async def close() -> None:
        engine.close()

    elsewhere.here(close)

    with pytest.raises(RuntimeError, match=ELSEWHERE):
        elsewhere.there(engine.wait_closed)

    if conn is not None:
        elsewhere.here(conn.close)
    elsewhere.here(engine.wait_closed)


# -- those who wait --------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"pool_pre_ping": True}, {"acquire_timeout": 10}], ids=str)
async def test_waiter_whose_connection_dies_on_its_way_is_served_first(
    connect_kwargs: Kwargs, kwargs: Kwargs
) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=0, maxsize=1, **kwargs) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        served: list[int] = []

        async def wait(number: int) -> None:
            async with engine.acquire():
                served.append(number)

        waiting = [spawn(wait(number)) for number in range(4)]
        await steps()
        engine.release(conn)
        raw.close()
        await asyncio.wait_for(asyncio.gather(*waiting), 10)

        assert served == [0, 1, 2, 3]
        await check_capacity(engine, 1)


async def test_waiter_whose_connection_dies_on_its_way_keeps_its_time_limit(
    proxy: FaultyProxy,
) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=0, maxsize=1) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        start = now()
        waiting = spawn(engine.acquire(timeout=2))
        await asyncio.sleep(1)
        proxy.hold()
        engine.release(conn)
        raw.close()

        with pytest.raises(sa.AcquireTimeoutError):
            await waiting

        assert 1.95 < now() - start < 2.8
        proxy.flow()
        await check_capacity(engine, 1)


# -- what a status tells ---------------------------------------------------------------------------


async def test_prepared_transaction_outlives_an_error_that_follows(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin_twophase() as transaction:
        await conn.execute("INSERT INTO pay VALUES (1)")
        await transaction.prepare()
        with pytest.raises(err.MySQLError):
            await conn.execute("SELECT nonsense")

    assert committed(admin, table) == [1]


async def test_statement_that_commits_and_fails_is_not_called_a_rollback(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="committed or not, with error 1050"):
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1)")
                with pytest.raises(err.OperationalError):
                    await conn.execute("CREATE TABLE pay (id INT)")
                await conn.execute("INSERT INTO pay VALUES (2)")

    assert committed(admin, table) == [1]


async def test_error_is_no_transaction_to_who_asks_for_the_status(pool: sa.Engine) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(err.MySQLError):
            await conn.execute("nonsense")

        assert conn.connection is not None
        assert conn.connection.get_transaction_status() is False


async def test_error_of_a_processor_is_not_taken_for_the_servers(
    pool: sa.Engine, table: str
) -> None:
    class Picky(TypeDecorator[int]):
        impl = Integer
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> Any:
            raise err.DataError

    rows = "SELECT 1 AS n UNION ALL SELECT (SELECT 1 UNION SELECT 2)"
    async with pool.acquire() as conn:
        with pytest.raises(err.MySQLError):
            await conn.execute(text(rows).columns(n=Picky()))

        assert await conn.scalar("SELECT 3") == 3
        assert not conn.closed


# -- time limits of several tasks ------------------------------------------------------------------


async def test_limits_of_several_tasks_leave_none_behind(pool: sa.Engine) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("SELECT SLEEP(0.5)", timeout=0.05)
        await asyncio.gather(
            conn.execute("SELECT 1", timeout=0.1),
            conn.execute("SELECT 2", timeout=0.2),
            return_exceptions=True,
        )
        await asyncio.sleep(0.3)

    async with pool.acquire() as conn:
        assert await conn.scalar("SELECT 3") == 3


async def test_transaction_that_was_never_begun_costs_no_connection(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, statement_timeout=0.1) as engine:
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("SELECT SLEEP(0.6)")
            with pytest.raises(sa.StatementTimeoutError):
                await conn.begin()

            assert not conn.closed
        await until(lambda: at_rest(engine))
        assert engine.stats().closed == {}


# -- resets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["init", "init_command"])
async def test_database_that_every_session_begins_with_is_kept(
    connect_kwargs: Kwargs, how: str
) -> None:
    database = connect_kwargs["db"]

    async def use(conn: sa.SAConnection) -> None:
        await conn.execute(f"USE {database}")

    begin: Kwargs = {"init": use} if how == "init" else {"init_command": f"USE {database}"}
    arguments = {**connect_kwargs, "db": None, **begin}
    async with sa.create_engine(**arguments, maxsize=1, reset=True) as engine:
        for _ in range(3):
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT DATABASE()") == database
            await until(lambda: at_rest(engine))

        assert (engine.stats().opened, engine.stats().closed) == (1, {})
