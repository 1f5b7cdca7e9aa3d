"""What happens to a connection between its release and its next borrower."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults import QUERY, FaultyProxy
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, select
from watch import at_rest, cancelled_at, check_capacity, now, one, spawn, steps, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
LOGGER = "aiomysqlx.pool"
ROLLBACK = QUERY + b"ROLLBACK"
PING = b"\x0e"
# Has a server tell nothing of what is set of its session.
UNTOLD = "SET session_track_system_variables = '', session_track_schema = 0"
MODES = pytest.mark.parametrize("autocommit", [False, True], ids=["manual", "autocommit"])
pay = Table("pay", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(9)))


@pytest.fixture
def table(admin: Admin, database: str) -> str:
    """The name of an empty table."""
    name = f"{database}.pay"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, name CHAR(9)) ENGINE=InnoDB")
    return name


def place() -> str:
    """Give the caller's place, as messages show it."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return f"{Path(__file__)}:{frame.f_back.f_lineno}"


# -- what was set of the session -------------------------------------------------------------------

STATE = (
    "SELECT @@autocommit, DATABASE(), @@character_set_client, @@character_set_connection,"
    " @@character_set_results, @@collation_connection, @@time_zone"
)


async def state(conn: sa.SAConnection) -> tuple[Any, ...]:
    row = await (await conn.execute(STATE)).fetchone()
    assert row is not None
    return tuple(row.as_tuple())


CHANGES = {
    "autocommit off": "SET autocommit = 0",
    "autocommit on": "SET autocommit = 1",
    "autocommit by name": "SET @@session.autocommit = NOT @@session.autocommit",
    "schema": "USE {other}",
    "names": "SET NAMES latin1",
    "names with a collation": "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "charset": "SET CHARACTER SET latin1",
    "results": "SET character_set_results = NULL",
    "connection": "SET character_set_connection = latin1",
    "time zone": "SET time_zone = '+03:00'",
    "several": "SET autocommit = NOT @@autocommit, time_zone = '-01:00', NAMES latin1",
}


@MODES
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_what_a_borrower_sets_is_put_back(
    connect_kwargs: Kwargs, other_database: str, autocommit: bool, change: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=autocommit) as engine:
        async with engine.acquire() as conn:
            raw, before = conn.connection, await state(conn)
            await conn.execute(change.format(other=other_database))

        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await state(conn) == before
            assert await conn.scalar("SELECT %s", "zoë€") == "zoë€"
        assert engine.stats().closed == {}


@pytest.mark.parametrize("how", ["select_db", "set_charset", "autocommit"])
async def test_what_a_borrower_calls_on_the_driver_is_put_back(
    connect_kwargs: Kwargs, other_database: str, how: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            before = await state(conn)
            argument: Any = {"select_db": other_database, "set_charset": "cp1251"}.get(how, True)
            await getattr(raw, how)(argument)
            assert await state(conn) != before

        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await state(conn) == before
            assert await conn.scalar("SELECT %s", "zoë€") == "zoë€"
            assert (raw.charset, raw.db) == ("utf8mb4", connect_kwargs["db"])


async def test_next_borrowers_insert_is_kept_after_autocommit_was_off(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SET autocommit = 0")
        async with engine.acquire() as conn:
            await conn.execute(pay.insert(), {"id": 1})
    assert one(admin, f"SELECT COUNT(*) FROM {table}") == 1


async def test_nothing_uncommitted_is_committed_as_autocommit_is_put_back(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SET autocommit = 0")
            await conn.execute(pay.insert(), {"id": 1})
        await check_capacity(engine, 1)
    assert one(admin, f"SELECT COUNT(*) FROM {table}") == 0


async def test_what_a_cancelled_statement_sets_is_put_back(
    connect_kwargs: Kwargs, other_database: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            before = await state(conn)
            await conn.execute(
                "CREATE PROCEDURE change_all() BEGIN"
                " DO SLEEP(0.05); SET autocommit = 1; SET time_zone = '+02:00'; END"
            )
            task = spawn(conn.execute("CALL change_all()"))
            await steps()
            task.cancel()
            await asyncio.wait([task])

        async with engine.acquire() as conn:
            assert await state(conn) == before


async def test_autocommit_that_a_failing_procedure_sets_is_put_back(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute(
                "CREATE PROCEDURE fail() BEGIN SET autocommit = 0; SIGNAL SQLSTATE '45000'; END"
            )
            raw = conn.connection
            with pytest.raises(err.MySQLError, match="1644"):
                await conn.execute("CALL fail()")

        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await conn.scalar("SELECT @@autocommit") == 1


async def prepare(conn: sa.SAConnection) -> None:
    await conn.execute("SET NAMES latin1 COLLATE latin1_bin")
    await conn.execute("SET time_zone = '+05:00', autocommit = 1, character_set_results = utf8mb4")
    await conn.execute("USE test_aiomysqlx_other")


@pytest.mark.parametrize("how", ["init", "init_command"])
async def test_what_init_sets_is_what_is_gone_back_to(
    connect_kwargs: Kwargs, other_database: str, how: str
) -> None:
    command = "SET time_zone = '+05:00', NAMES latin1 COLLATE latin1_bin"
    given: Any = {"init": prepare} if how == "init" else {"init_command": command}
    async with sa.create_engine(**connect_kwargs, maxsize=1, **given) as engine:
        async with engine.acquire() as conn:
            raw, before = conn.connection, await state(conn)
            assert before[5:] == ("latin1_bin", "+05:00")
        async with engine.acquire() as conn:
            assert (conn.connection, await state(conn)) == (raw, before)
            await conn.execute("SET NAMES utf8mb4")
            await conn.execute("SET time_zone = '+01:00', autocommit = NOT @@autocommit")
            await conn.execute(f"USE {connect_kwargs['db']}")

        async with engine.acquire() as conn:
            assert (conn.connection, await state(conn)) == (raw, before)


async def test_session_that_a_borrower_resets_is_put_back_as_init_left_it(
    connect_kwargs: Kwargs, other_database: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, init=prepare) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            before = await state(conn)
            await raw.reset()
            assert await state(conn) != before

        async with engine.acquire() as conn:
            assert (conn.connection, await state(conn)) == (raw, before)


async def test_schema_is_put_back_in_the_character_set_of_the_session(
    connect_kwargs: Kwargs, admin: Admin, database: str
) -> None:
    schema = f"{database}_ж€"
    with admin.cursor() as cursor:
        cursor.execute("SET NAMES utf8mb4")
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS `{schema}`")
    try:
        async with sa.create_engine(**{**connect_kwargs, "db": schema}, maxsize=1) as engine:
            async with engine.acquire() as conn:
                raw, before = conn.connection, await state(conn)
                await conn.execute("SET NAMES latin1")
                await conn.execute(f"USE {database}")
            async with engine.acquire() as conn:
                assert (conn.connection, await state(conn)) == (raw, before)
    finally:
        with admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE `{schema}`")


async def test_connection_of_no_schema_is_replaced_after_a_use(
    connect_kwargs: Kwargs, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**{**connect_kwargs, "db": None}, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            await conn.execute(f"USE {database}")

        async with engine.acquire() as conn:
            assert raw.closed
            assert await conn.scalar("SELECT DATABASE()") is None
        assert engine.stats().closed == {"reset": 1}
        assert caplog.records == []


async def test_connection_of_no_schema_is_put_back(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**{**connect_kwargs, "db": None}, maxsize=1) as engine:
        async with engine.acquire() as conn:
            zone = await conn.scalar("SELECT @@time_zone")
            await conn.execute("SET time_zone = '+01:00'")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@time_zone") == zone
        assert engine.stats().closed == {}


async def test_number_that_init_sets_is_gone_back_to(connect_kwargs: Kwargs) -> None:
    async def prepare(conn: sa.SAConnection) -> None:
        await conn.execute("SET session_track_system_variables = '*'")
        await conn.execute("SET lock_wait_timeout = 7")

    async with sa.create_engine(**connect_kwargs, maxsize=1, init=prepare) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SET lock_wait_timeout = 9")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@lock_wait_timeout") == 7
        assert engine.stats().closed == {}


async def test_names_of_a_binary_session_are_gone_back_to(connect_kwargs: Kwargs) -> None:
    command = "SET NAMES latin1, character_set_results = binary"
    async with sa.create_engine(**connect_kwargs, maxsize=1, init_command=command) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SET NAMES utf8mb4")

        async with engine.acquire() as conn:
            names = "@@character_set_client, '/', @@character_set_results"
            assert await conn.scalar(f"SELECT CONCAT({names})") in (
                "latin1/binary",
                b"latin1/binary",
            )
        assert engine.stats().closed == {}


async def test_next_borrower_has_nothing_of_a_read_only_session(connect_kwargs: Kwargs) -> None:
    read_only = "SIGNAL SQLSTATE '25006' SET MYSQL_ERRNO = 1792"
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            await conn.execution_options(read_only=True)

        async with engine.acquire() as conn:
            assert conn.connection is raw
            with pytest.raises(err.MySQLError, match="1792"):
                await conn.execute(read_only)
        assert engine.stats().closed == {"unfit": 1}


async def test_schema_may_be_dropped_and_made_again_by_the_next_borrower(
    connect_kwargs: Kwargs, admin: Admin, other_database: str
) -> None:
    kwargs = {**connect_kwargs, "db": other_database}
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute(f"DROP DATABASE {other_database}")
        async with engine.acquire(timeout=5) as conn:
            assert await conn.scalar("SELECT DATABASE()") is None
            await conn.execute(f"CREATE DATABASE {other_database}")
        async with engine.acquire(timeout=5) as conn:
            await conn.execute(f"USE {other_database}")
        async with engine.acquire(timeout=5) as conn:
            assert await conn.scalar("SELECT DATABASE()") == other_database


async def test_connection_whose_schema_is_gone_is_not_lent_with_another(
    connect_kwargs: Kwargs, database: str, other_database: str
) -> None:
    kwargs = {**connect_kwargs, "db": other_database}
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute(f"USE {database}")
            await conn.execute(f"DROP DATABASE {other_database}")

        with pytest.raises(err.OperationalError, match="1049"):
            await engine.acquire(timeout=5)
        assert engine.stats().closed == {"reset": 1}


async def test_putting_back_takes_no_more_than_was_set(
    proxy: FaultyProxy, other_database: str
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, autocommit=True) as engine:
        for change, expected in {
            "DO 0": [],
            f"USE {proxy.kwargs['db']}": [],
            "SET autocommit = 1": [],
            "SET time_zone = @@time_zone": [],
            "SET time_zone = '+01:00'": [QUERY + b"SET time_zone = 'SYSTEM'"],
            f"USE {other_database}": [b"\x02" + proxy.kwargs["db"].encode()],
            "SET autocommit = 0": [ROLLBACK, QUERY + b"SET AUTOCOMMIT = 1"],
            "SET NAMES latin1": [QUERY + b"SET NAMES utf8mb4"],
            "BEGIN": [ROLLBACK],
        }.items():
            conn = await engine.acquire()
            await conn.execute(change)
            known = len(proxy.commands)
            await engine.release(conn)
            await until(lambda: at_rest(engine, 1))

            assert proxy.commands[known:] == expected, change


async def test_state_that_cannot_be_put_back_means_another_connection(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    command = "SET session_track_system_variables = '*'"
    async with sa.create_engine(**connect_kwargs, maxsize=1, init_command=command) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
        async with engine.acquire() as conn:
            assert conn.connection is raw
            mode = await conn.scalar("SELECT @@sql_mode")
            await conn.execute("SET sql_mode = ''")

        async with engine.acquire() as conn:
            assert conn.connection is not raw
            assert await conn.scalar("SELECT @@sql_mode") == mode
        assert (engine.stats().closed, caplog.records) == ({"reset": 1}, [])


@pytest.mark.parametrize("late", [False, True], ids=["", "late"])
async def test_schema_whose_setting_is_cut_off_is_put_back_though_the_server_does_not_tell(
    connect_kwargs: Kwargs, other_database: str, late: bool
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, init_command=UNTOLD) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            assert raw is not None
            assert await cancelled_at(raw.select_db(other_database), 1, late=late)

        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await conn.scalar("SELECT DATABASE()") == connect_kwargs["db"]


SETTINGS: dict[str, Callable[[Any, str], Any]] = {
    "select_db": lambda raw, database: raw.select_db(database),
    "set_charset": lambda raw, _: raw.set_charset("latin1"),
}


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
async def test_what_is_set_as_a_connection_is_released_is_put_back_though_the_server_does_not_tell(
    connect_kwargs: Kwargs, other_database: str, setting: Callable[[Any, str], Any]
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, init_command=UNTOLD) as engine:
        async with engine.acquire() as conn:
            raw, before = conn.connection, await state(conn)
            work = setting(raw, other_database).__await__()
            await asyncio.wait([next(work)])  # whoever waits for the answer has not seen it yet

        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await state(conn) == before
            assert await conn.scalar("SELECT %s", "zoë€") == "zoë€"
        with pytest.raises(StopIteration):
            next(work)


REFUSED: dict[str, Callable[[Any], Any]] = {
    "select_db": lambda raw: raw.select_db("no_such_database"),
    "set_charset": lambda raw: raw._session.set_names("latin1", "utf8mb4_bin"),
}


@pytest.mark.parametrize("in_its_turn", [False, True], ids=["", "in its turn"])
@pytest.mark.parametrize("setting", REFUSED.values(), ids=REFUSED)
async def test_setting_that_is_refused_has_nothing_put_back(
    proxy: FaultyProxy, setting: Callable[[Any], Any], in_its_turn: bool
) -> None:
    kwargs = {**proxy.kwargs, "db": None}
    async with sa.create_engine(**kwargs, maxsize=1, init_command=UNTOLD) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            work = setting(raw).__await__()
            await asyncio.wait([next(work)])
            if not in_its_turn:
                with pytest.raises(err.OperationalError):
                    next(work)
            known = len(proxy.commands)
        await until(lambda: at_rest(engine, 1))

        assert [sent for sent in proxy.commands[known:] if sent not in (PING, ROLLBACK)] == []
        async with engine.acquire() as conn:
            assert conn.connection is raw
        work.close()


async def test_own_reset_is_not_run_on_what_cannot_be_put_back(
    connect_kwargs: Kwargs, database: str
) -> None:
    async def reset(conn: sa.SAConnection) -> None:
        called.append(conn.connection)

    called: list[Any] = []
    kwargs = {**connect_kwargs, "db": None}
    async with sa.create_engine(**kwargs, maxsize=1, reset=reset) as engine:
        async with engine.acquire() as conn:
            await conn.execute(f"USE {database}")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT DATABASE()") is None
            assert called == []


async def test_server_that_tells_nothing_has_nothing_put_back(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, init_command=UNTOLD) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            await conn.execute("SET time_zone = '+01:00'")
        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await conn.scalar("SELECT @@time_zone") == "+01:00"


# -- uncommitted work ------------------------------------------------------------------------------

WRITES = {
    "text": "INSERT INTO pay VALUES (1, 'a')",
    "many": "INSERT INTO pay VALUES (1, 'a'), (2, 'b')",
    "construct": pay.insert().values(id=1),
    "update": "UPDATE pay SET name = 'b' WHERE id = 9",
    "delete": "DELETE FROM pay WHERE id = 9",
    "procedure": "CALL put()",
}
READS = {
    "text": "SELECT * FROM pay",
    "construct": select(pay),
    "locking": "SELECT * FROM pay FOR UPDATE",
    "nothing found": "UPDATE pay SET name = 'b' WHERE id = 8",
    "show": "SHOW TABLES",
    "procedure": "CALL look()",
}


@pytest.fixture
async def procedures(admin: Admin, table: str, database: str) -> None:
    with admin.cursor() as cursor:
        cursor.execute(f"USE {database}")
        cursor.execute("INSERT INTO pay VALUES (9, 'z')")
        cursor.execute("CREATE PROCEDURE put() INSERT INTO pay VALUES (1, 'p')")
        cursor.execute("CREATE PROCEDURE look() SELECT * FROM pay")


@pytest.mark.usefixtures("procedures")
@pytest.mark.parametrize("begun", [False, True], ids=["manual", "begun by text"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
async def test_uncommitted_work_is_rolled_back_with_a_warning(
    connect_kwargs: Kwargs, write: Any, begun: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=begun) as engine:
        acquired, conn = place(), await engine.acquire()
        if begun:
            await conn.execute("BEGIN")
        await conn.execute(write)
        await engine.release(conn)

        (record,) = caplog.records
        assert (record.name, record.levelno) == (LOGGER, logging.WARNING)
        assert "rolled back" in record.getMessage() and acquired in record.getMessage()
        async with engine.acquire() as conn:
            rows = await (await conn.execute("SELECT id, name FROM pay")).fetchall()
            assert [row.as_tuple() for row in rows] == [(9, "z")]
        assert engine.stats().closed == {}


ENTERS: dict[str, Any] = {
    "begin": lambda conn: conn.begin(),
    "begin_nested": lambda conn: conn.begin_nested(),
}


@pytest.mark.parametrize("enter", ENTERS.values(), ids=ENTERS)
@pytest.mark.parametrize("kept", [True, False], ids=["committed", "rolled back"])
async def test_begin_that_commits_what_was_written_before_it_is_warned_of(
    connect_kwargs: Kwargs,
    admin: Admin,
    table: str,
    enter: Any,
    kept: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=False) as engine:
        acquired, conn = place(), await engine.acquire()
        await conn.execute(pay.insert(), {"id": 1})
        transaction = await enter(conn)
        assert one(admin, f"SELECT COUNT(*) FROM {table}") == 1  # as in aiomysql.sa, and any driver

        (record,) = caplog.records
        assert (record.name, record.levelno) == ("aiomysqlx", logging.WARNING)
        assert "begin() has committed what was written before it" in record.getMessage()
        assert acquired in record.getMessage()

        await (transaction.commit if kept else transaction.rollback)()
        await conn.execute("SELECT * FROM pay")
        async with conn.begin():
            await conn.execute(pay.insert(), {"id": 2})
        async with conn.begin():
            await conn.execute("SELECT * FROM pay")
        await engine.release(conn)
    assert caplog.records == [record]


@pytest.mark.usefixtures("table")
async def test_begin_of_a_connection_that_was_not_acquired_warns_without_a_place(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    opening = sa.create_engine(**connect_kwargs, autocommit=False)
    async with opening as engine, engine.acquire() as acquired:
        conn = sa.SAConnection(acquired.connection, engine)
        await conn.execute(pay.insert(), {"id": 1})
        async with conn.begin():
            pass

    (message,) = (record.getMessage() for record in caplog.records)
    assert message.endswith("outside of any begin(), on a connection")


async def test_begin_without_work_before_it_is_not_warned_of(
    connect_kwargs: Kwargs, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    arguments = {**connect_kwargs, "maxsize": 1, "autocommit": False}
    async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
        await conn.execute("SELECT * FROM pay")
        async with conn.begin():
            pass
        await conn.execute(pay.insert(), {"id": 1})
        await conn.execute("COMMIT")
        with pytest.raises(err.ProgrammingError):
            await conn.execute("SELECT nonsense FROM")
        async with conn.begin():
            pass
    assert caplog.records == []


FAILS = "CREATE PROCEDURE {db}.fails() BEGIN {begin}{write} SIGNAL SQLSTATE '45000'; END"


@pytest.fixture(params=["reset", "hook", "plain"])
def way_back(request: pytest.FixtureRequest) -> Kwargs:
    async def reset(conn: sa.SAConnection) -> None:
        await conn.execute("SELECT 1")

    ways: dict[str, Kwargs] = {"reset": {"reset": True}, "hook": {"reset": reset}, "plain": {}}
    return ways[request.param]


@pytest.mark.parametrize("after", ["", "SELECT 1", "DO 0"], ids=["at once", "rows", "no rows"])
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
async def test_what_a_failing_procedure_has_begun_is_rolled_back_with_a_warning(
    connect_kwargs: Kwargs,
    admin: Admin,
    table: str,
    database: str,
    way_back: Kwargs,
    begun: bool,
    after: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with admin.cursor() as cursor:
        begin = "START TRANSACTION;" if begun else ""
        write = f" INSERT INTO {table} (id) VALUES (1);" if begun else ""
        cursor.execute(FAILS.format(db=database, begin=begin, write=write))
    arguments = {**connect_kwargs, **way_back}
    async with sa.create_engine(**arguments, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            async with conn.begin():  # the server's status shows transactions
                pass
            with pytest.raises(err.MySQLError):
                await conn.execute("CALL fails()")
            if after:
                await conn.execute(after)
        await check_capacity(engine, 1)
    assert one(admin, f"SELECT COUNT(*) FROM {table}") == 0
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * begun


async def test_begin_that_commits_what_a_failing_procedure_has_begun_is_warned_of(
    connect_kwargs: Kwargs,
    admin: Admin,
    table: str,
    database: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with admin.cursor() as cursor:
        write = f" INSERT INTO {table} (id) VALUES (1);"
        cursor.execute(FAILS.format(db=database, begin="START TRANSACTION;", write=write))
    arguments = {**connect_kwargs, "maxsize": 1, "autocommit": True}
    async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
        async with conn.begin():  # the server's status shows transactions
            pass
        with pytest.raises(err.MySQLError):
            await conn.execute("CALL fails()")
        async with conn.begin():
            pass
    assert one(admin, f"SELECT COUNT(*) FROM {table}") == 1
    (record,) = caplog.records
    assert "begin() has committed what was written before it" in record.getMessage()


@pytest.mark.usefixtures("procedures")
@MODES
@pytest.mark.parametrize("read", READS.values(), ids=READS)
async def test_reads_are_not_warned_of(
    connect_kwargs: Kwargs, read: Any, autocommit: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=autocommit) as engine:
        conn = await engine.acquire()
        await conn.execute("INSERT INTO pay VALUES (1, 'a')")
        await conn.execute("COMMIT")
        await conn.execute(read)
        await engine.release(conn)

        await check_capacity(engine, 1)
        assert caplog.records == []


RETURNING = {
    "one": (pay.insert().returning(pay.c.id), [{"id": 1}]),
    "many": (pay.insert().returning(pay.c.id), [{"id": 1}, {"id": 2}]),
    "delete": (pay.delete().where(pay.c.id == 9).returning(pay.c.id), []),
}


@pytest.mark.usefixtures("procedures", "mariadb")
@pytest.mark.parametrize(("statement", "rows"), RETURNING.values(), ids=RETURNING)
async def test_uncommitted_rows_that_were_returned_are_warned_of(
    connect_kwargs: Kwargs, statement: Any, rows: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute(statement, *([rows] if rows else []))
        async with engine.acquire() as conn:
            await conn.execute(pay.delete().where(pay.c.id == 8).returning(pay.c.id))
        await check_capacity(engine, 1)
        assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.usefixtures("procedures")
async def test_committed_work_is_not_warned_of(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            async with conn.begin():
                await conn.execute("INSERT INTO pay VALUES (1, 'a')")
            await conn.execute("SELECT * FROM pay")
        async with engine.acquire() as conn:
            await conn.execute("INSERT INTO pay VALUES (2, 'a')")
            await conn.execute("CREATE TABLE other (id INT)")  # commits
        async with engine.acquire() as conn:
            with pytest.raises(ZeroDivisionError):
                async with conn.begin():
                    await conn.execute("INSERT INTO pay VALUES (3, 'a')")
                    raise ZeroDivisionError
        await check_capacity(engine, 1)
    assert caplog.records == []


LEFT: dict[str, Callable[[sa.Engine, sa.SAConnection], Any]] = {
    "as the engine closes": lambda engine, conn: (engine.close(), engine.release(conn)),
    "with a reset": lambda engine, conn: engine.release(conn),
    "by a drop": lambda engine, conn: engine._reclaim(conn, conn._session, conn._place),  # type: ignore[arg-type]
}


@pytest.mark.usefixtures("procedures")
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
@pytest.mark.filterwarnings("ignore:a connection acquired:ResourceWarning")
async def test_uncommitted_work_is_warned_of_however_it_is_left(
    connect_kwargs: Kwargs, left: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reset = left is LEFT["with a reset"]
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=reset) as engine:
        conn = await engine.acquire()
        await conn.execute("INSERT INTO pay VALUES (1, 'a')")
        left(engine, conn)
        await until(lambda: caplog.records)

        (record,) = caplog.records
        assert record.name == LOGGER and str(Path(__file__)) in record.getMessage()


@pytest.mark.usefixtures("procedures")
async def test_work_of_a_cancelled_statement_is_warned_of(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            task = spawn(conn.execute("INSERT INTO pay SELECT SLEEP(0.05) + 1, 'a'"))
            await steps()
            task.cancel()
            await asyncio.wait([task])
        await check_capacity(engine, 1)
        assert [record.name for record in caplog.records] == [LOGGER]


# -- what no flag shows of a transaction ----------------------------------------------------------


@pytest.fixture
def simple(admin: Admin, database: str) -> str:
    """The name of an empty table without transactions."""
    name = f"{database}.simple"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT) ENGINE=MyISAM")
    return name


@pytest.mark.parametrize(
    "sql",
    ["SELECT id FROM simple", "SELECT absent FROM simple", "CALL absent_of_simple()"],
    ids=["read", "refused", "refused in a procedure"],
)
@pytest.mark.parametrize("shown", [False, True], ids=["", "transactions shown"])
async def test_lock_of_a_table_without_transactions_ends_with_the_release(
    connect_kwargs: Kwargs, admin: Admin, table: str, simple: str, sql: str, shown: bool
) -> None:
    with admin.cursor() as cursor:
        cursor.execute(
            f"CREATE PROCEDURE {simple.replace('simple', 'absent_of_simple')}()"
            f" SELECT absent FROM {simple}"
        )
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            if shown:
                await conn.scalar("SELECT COUNT(*) FROM pay")
        async with engine.acquire() as conn:
            with suppress(err.MySQLError):
                await conn.execute(sql)
        await check_capacity(engine, 1)

        with admin.cursor() as cursor:
            cursor.execute("SET lock_wait_timeout = 1")
            cursor.execute(f"ALTER TABLE {simple} ADD more INT")
        async with engine.acquire() as conn:
            assert conn.connection is raw


@pytest.mark.parametrize("echo", [False, True], ids=["", "echo"])
async def test_settings_of_the_next_transaction_end_with_the_release(
    connect_kwargs: Kwargs, table: str, echo: bool
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, echo=echo) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            await conn.execute("SET TRANSACTION READ ONLY")
        async with engine.acquire() as conn:
            assert conn.connection is raw
            await conn.execute("INSERT INTO pay VALUES (1, 'a')")


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SET TRANSACTION READ ONLY", [ROLLBACK]),
        ("SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED", [ROLLBACK]),
        ("SET TRANSACTION READ ONLY; SELECT * FROM pay", []),
        ("SET TRANSACTION READ ONLY; BEGIN", [ROLLBACK]),
        ("SELECT * FROM pay", []),
        ("BEGIN; INSERT INTO pay VALUES (1, 'a'); COMMIT", []),
    ],
    ids=["read only", "level", "used", "in use", "none", "transaction"],
)
async def test_settings_of_the_next_transaction_are_undone_where_the_server_tracks_them(
    proxy: FaultyProxy, table: str, sql: str, expected: list[bytes]
) -> None:
    arguments: Kwargs = {
        **proxy.kwargs,
        "init_command": "SET session_track_transaction_info = 'CHARACTERISTICS'",
        "autocommit": True,
    }
    async with sa.create_engine(**arguments, maxsize=1) as engine:
        conn = await engine.acquire()
        raw = conn.connection
        for statement in sql.split("; "):
            await conn.execute(statement)
        known = len(proxy.commands)
        engine.release(conn)
        await until(lambda: at_rest(engine, 1))
        assert proxy.commands[known:] == expected

        async with engine.acquire() as conn:
            assert conn.connection is raw
            await conn.execute("INSERT INTO pay VALUES (2, 'a')")


async def do_nothing(conn: sa.SAConnection) -> None:
    pass


async def read_only(conn: sa.SAConnection) -> None:
    await conn.execute("SELECT 1")


async def commit_block(conn: sa.SAConnection) -> None:
    async with conn.begin():
        await conn.execute("INSERT INTO pay VALUES (1, 'a')")


async def roll_back_block(conn: sa.SAConnection) -> None:
    async with conn.begin() as transaction:
        await conn.execute("INSERT INTO pay VALUES (2, 'a')")
        await transaction.rollback()


async def commit_by_hand(conn: sa.SAConnection) -> None:
    raw: Any = conn.connection
    await conn.execute("INSERT INTO pay VALUES (3, 'a')")
    await raw.commit()


async def commit_and_ask(conn: sa.SAConnection) -> None:
    raw: Any = conn.connection
    await conn.execute("SELECT 1")
    await raw.commit()
    await raw.show_warnings()
    await raw.ping()


async def be_refused(conn: sa.SAConnection) -> None:
    with pytest.raises(err.MySQLError):
        await conn.execute("SELECT absent FROM pay")


async def set_time_zone(conn: sa.SAConnection) -> None:
    await conn.execute("SET time_zone = '+01:00'")


SET_ZONE = QUERY + b"SET time_zone = 'SYSTEM'"


@pytest.mark.parametrize("echo", [False, True], ids=["", "echo"])
@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (do_nothing, []),
        (read_only, [ROLLBACK]),
        (commit_block, []),
        (roll_back_block, []),
        (commit_by_hand, []),
        (commit_and_ask, []),
        (be_refused, [PING, ROLLBACK]),
        (set_time_zone, [ROLLBACK, SET_ZONE]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_release_without_autocommit_rolls_back_unless_that_was_the_last_thing(
    proxy: FaultyProxy, table: str, work: Any, expected: list[bytes], echo: bool
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, echo=echo) as engine:
        async with engine.acquire() as conn:
            await conn.scalar("SELECT COUNT(*) FROM pay")
        await until(lambda: at_rest(engine, 1))
        conn = await engine.acquire()
        raw = conn.connection
        await work(conn)
        known = len(proxy.commands)
        engine.release(conn)
        assert engine.freesize == (not expected)
        await until(lambda: at_rest(engine, 1))
        assert proxy.commands[known:] == expected

        async with engine.acquire() as conn:  # and nothing more
            assert conn.connection is raw
        await until(lambda: at_rest(engine, 1))
        assert proxy.commands[known:] == expected


async def read_something(conn: sa.SAConnection) -> None:
    await conn.execute("SELECT 1")


@pytest.mark.parametrize("hook", ["init", "reset"])
async def test_hook_without_autocommit_leaves_its_connection_at_rest(
    proxy: FaultyProxy, hook: str
) -> None:
    arguments: Kwargs = {hook: read_something}
    async with sa.create_engine(**proxy.kwargs, maxsize=1, **arguments) as engine:
        for _ in range(2):
            async with engine.acquire():
                pass
            await until(lambda: at_rest(engine, 1))
        assert proxy.commands[-1] == ROLLBACK
        assert (engine.stats().opened, engine.stats().closed) == (1, {})


@pytest.mark.parametrize("init", [None, read_something], ids=["", "init"])
async def test_reset_session_is_at_rest_without_autocommit(
    proxy: FaultyProxy, table: str, init: Any
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, reset=True, init=init) as engine:
        for number in range(2):
            async with engine.acquire() as conn:
                await conn.execute(f"INSERT INTO pay VALUES ({number}, 'a')")
                await conn.connection.commit()
            await until(lambda: at_rest(engine, 1))
        assert proxy.commands.count(ROLLBACK) == (0 if init is None else 3)
        assert (engine.stats().opened, engine.stats().closed) == (1, {})


@MODES
async def test_autocommit_alone_has_nothing_sent_by_a_release(
    proxy: FaultyProxy, table: str, autocommit: bool
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, autocommit=autocommit) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SELECT * FROM pay")
            known = len(proxy.commands)
        await until(lambda: at_rest(engine, 1))
        assert proxy.commands[known:] == ([] if autocommit else [ROLLBACK])


# -- a way back that takes its time, or does not succeed -------------------------------------------


async def test_connection_is_not_lent_before_its_rollback_is_answered(
    proxy: FaultyProxy, table: str
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        raw = conn.connection
        await conn.scalar("SELECT COUNT(*) FROM pay")
        proxy.hold()
        released = engine.release(conn)
        waiter = spawn(engine.acquire())
        await until(lambda: ROLLBACK in proxy.commands)
        await steps()
        assert not waiter.done()
        assert (engine.size, engine.freesize) == (1, 0)
        proxy.flow()

        async with await asyncio.wait_for(waiter, 10) as conn:
            assert conn.connection is raw
        await asyncio.wait_for(released, 1)


async def test_waiter_gets_another_connection_while_a_rollback_takes_its_time(
    proxy: FaultyProxy, table: str
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=2) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        await conn.scalar("SELECT COUNT(*) FROM pay")
        proxy.hang()
        start = now()
        engine.release(conn)

        async with engine.acquire(timeout=1.5) as conn:
            assert conn.connection is not raw
            assert await conn.scalar("SELECT 1") == 1
        assert now() - start < 1.5
        await until(lambda: engine.stats().closed == {"lost": 1})
        assert raw.closed
        await check_capacity(engine, 2)


async def test_waiter_of_a_pool_of_one_gets_the_place_of_a_rollback_that_is_not_answered(
    proxy: FaultyProxy, table: str
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        await conn.scalar("SELECT COUNT(*) FROM pay")
        proxy.hang()
        engine.release(conn)

        async with engine.acquire(timeout=6) as conn:
            assert raw.closed
            assert await conn.scalar("SELECT 1") == 1


async def test_swift_rollback_opens_no_other_connection(connect_kwargs: Kwargs, table: str) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=5) as engine:
        for number in range(20):
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT COUNT(*) + %s FROM pay", number) == number
        assert engine.stats().opened == 1


XA = {"active": ["XA START 'way'"], "idle": ["XA START 'way'", "XA END 'way'"]}


@pytest.mark.parametrize("reset", [False, True], ids=["kept", "reset"])
@pytest.mark.parametrize("statements", XA.values(), ids=XA)
async def test_connection_whose_rollback_is_refused_is_replaced_unseen(
    connect_kwargs: Kwargs, table: str, statements: list[str], reset: bool
) -> None:
    async with sa.create_engine(
        **connect_kwargs, maxsize=1, autocommit=True, reset=reset
    ) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            for sql in statements[:1]:
                await conn.execute(sql)
            await conn.execute("INSERT INTO pay VALUES (1, 'a')")
            for sql in statements[1:]:
                await conn.execute(sql)

        for _ in range(3):
            async with engine.acquire(timeout=5) as conn:
                assert reset or conn.connection is not raw
                assert await conn.scalar("SELECT COUNT(*) FROM pay") == 0
        if not reset:
            assert raw.closed
            assert engine.stats().closed == {"reset": 1}
        await check_capacity(engine, 1)


@pytest.mark.parametrize("told", ["", " RETURNING id"], ids=["counted", "returned"])
@pytest.mark.parametrize("reset", [False, True], ids=["kept", "reset"])
async def test_prepared_transaction_left_open_on_mariadb_is_not_the_next_borrowers(
    connect_kwargs: Kwargs, admin: Admin, table: str, mariadb: None, reset: bool, told: str
) -> None:
    write = f"INSERT INTO pay VALUES (1, 'a'){told}"
    try:
        async with sa.create_engine(
            **connect_kwargs, maxsize=1, autocommit=True, reset=reset
        ) as engine:
            async with engine.acquire() as conn:
                for sql in ("XA START 'way'", write, "XA END 'way'", "XA PREPARE 'way'"):
                    await conn.execute(sql)

            async with engine.acquire(timeout=5) as conn:
                await conn.execute("INSERT INTO pay VALUES (2, 'b')")
            assert one(admin, f"SELECT COUNT(*) FROM {table}") == 1
    finally:
        with admin.cursor() as cursor:
            cursor.execute("XA ROLLBACK 'way'")


@pytest.mark.parametrize("how", ["close", "terminate"])
async def test_engine_ends_with_connections_on_their_way_back(
    proxy: FaultyProxy, table: str, other_database: str, how: str
) -> None:
    engine = await sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3)
    lent = [await engine.acquire() for _ in range(3)]
    await lent[0].scalar("SELECT COUNT(*) FROM pay")
    await lent[1].execute(f"USE {other_database}")
    task = spawn(lent[2].execute("SELECT SLEEP(0.1)"))
    await steps()
    task.cancel()
    await asyncio.wait([task])
    proxy.hold()
    for conn in lent:
        engine.release(conn)
    waiter = spawn(engine.acquire())
    await steps()
    getattr(engine, how)()
    proxy.flow()

    await asyncio.wait_for(engine.wait_closed(), 3)

    with pytest.raises(RuntimeError, match="closing"):
        await waiter
    stats = engine.stats()
    assert (stats.size, stats.waiting) == (0, 0)
    assert stats.closed == {"engine": 3}


async def test_waiter_cancelled_as_a_way_back_ends_passes_on(
    connect_kwargs: Kwargs, table: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        for turns in range(12):
            conn = await engine.acquire()
            await conn.scalar("SELECT COUNT(*) FROM pay")
            engine.release(conn)
            first, second = spawn(engine.acquire()), spawn(engine.acquire())
            await steps(turns)
            if not first.cancel():
                engine.release(first.result())

            engine.release(await asyncio.wait_for(second, 5))
        await check_capacity(engine, 1)


async def test_minsize_is_kept_while_connections_are_on_their_way_back(
    proxy: FaultyProxy, table: str
) -> None:
    async with sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3) as engine:
        lent = [await engine.acquire() for _ in range(3)]
        for conn in lent:
            await conn.scalar("SELECT COUNT(*) FROM pay")
        proxy.hold()
        for conn in lent:
            engine.release(conn)
        await until(lambda: proxy.commands.count(ROLLBACK) == 3)
        assert (engine.size, len(proxy.passages)) == (3, 3)
        proxy.flow()

        await until(lambda: at_rest(engine, 3))
        assert engine.stats().opened == 3


# -- whoever waits on a connection that is given back ----------------------------------------------


async def leave_statement(conn: sa.SAConnection) -> None:
    """Leave an answer behind that is still to be read."""
    task = spawn(conn.execute("SELECT SLEEP(0.1), 'stale'"))
    await steps()
    task.cancel()
    await asyncio.wait([task])


WAITING: dict[str, Callable[[sa.SAConnection, Any], Any]] = {
    "begin": lambda conn, raw: conn.begin(),
    "begin_nested": lambda conn, raw: conn.begin_nested(),
    "begin_twophase": lambda conn, raw: conn.begin_twophase("way"),
    "recover_twophase": lambda conn, raw: conn.recover_twophase(),
    "commit_prepared": lambda conn, raw: conn.commit_prepared("way"),
    "execute": lambda conn, raw: conn.execute("INSERT INTO pay VALUES (7, 'a')"),
    "construct": lambda conn, raw: conn.execute(pay.insert(), {"id": 7}),
    "many": lambda conn, raw: conn.execute(pay.insert(), [{"id": 7}, {"id": 8}]),
    "query": lambda conn, raw: raw.query("BEGIN"),
    "driver's begin": lambda conn, raw: raw.begin(),
    "autocommit": lambda conn, raw: raw.autocommit(False),
    "select_db": lambda conn, raw: raw.select_db("mysql"),
    "set_charset": lambda conn, raw: raw.set_charset("latin1"),
    "reset": lambda conn, raw: raw.reset(),
    "ping": lambda conn, raw: raw.ping(),
}


@pytest.mark.parametrize("waiting", WAITING.values(), ids=WAITING)
async def test_nothing_is_sent_on_a_connection_that_was_given_back(
    proxy: FaultyProxy, admin: Admin, table: str, waiting: Any
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, autocommit=True) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            await leave_statement(conn)
            late = spawn(waiting(conn, raw))
            await steps()
            known = len(proxy.commands)
            assert not late.done()

        async with engine.acquire(timeout=5) as conn:
            assert conn.connection is raw
            await conn.execute(pay.insert(), {"id": 1})
            assert await conn.scalar("SELECT @@autocommit") == 1
        with pytest.raises(sa.ResourceClosedError):
            await asyncio.wait_for(late, 5)
        sent = [command for command in proxy.commands[known:] if not command.startswith(QUERY)]
        assert sent == []
        assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {table}") == "1"
        assert not raw.closed
        assert engine.stats().closed == {}


async def test_connection_closed_by_two_tasks_is_given_back_once(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=True) as engine:
        conn = await engine.acquire()
        await conn.begin()
        await conn.execute(pay.insert(), {"id": 1})
        await leave_statement(conn)
        closing = [spawn(conn.close()) for _ in range(2)]

        async with engine.acquire(timeout=5) as other:
            for number in range(2, 5):
                await other.execute(pay.insert(), {"id": number})
            assert await other.scalar("SELECT 1") == 1
        await asyncio.wait_for(asyncio.gather(*closing), 5)
        assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {table}") == "2,3,4"
        await check_capacity(engine, 1)


async def test_connection_released_while_a_sibling_executes_is_replaced(
    connect_kwargs: Kwargs, admin: Admin, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            await conn.execute(pay.insert(), {"id": 1})
            sibling = spawn(conn.execute("SELECT SLEEP(0.2)"))
            await steps()

        async with engine.acquire(timeout=5) as conn:
            assert raw.closed and conn.connection is not raw
        with pytest.raises(err.OperationalError, match="closed during query"):
            await sibling
        assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert one(admin, f"SELECT COUNT(*) FROM {table}") == 0


STRAY = {
    "a statement": "SELECT SLEEP(0.2)",
    "a transaction": "BEGIN",
    "a change": "SET autocommit = 1",
}


@pytest.mark.parametrize("sql", STRAY.values(), ids=STRAY)
async def test_idle_connection_that_somebody_goes_on_using_is_not_lent_as_it_is(
    connect_kwargs: Kwargs, sql: str
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
        stray = spawn(raw.query(sql))
        if "SLEEP" in sql:
            await steps()
        else:
            await stray

        async with engine.acquire(timeout=5) as conn:
            other: Any = conn.connection
            assert not (other.busy or other.in_transaction)
            assert await conn.scalar("SELECT @@autocommit") == 0
        await asyncio.wait([stray])
        assert isinstance(stray.exception(), err.OperationalError) == ("SLEEP" in sql)


async def test_work_of_somebody_who_goes_on_with_an_idle_connection_is_told_of(
    connect_kwargs: Kwargs, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
        await raw.query("INSERT INTO pay VALUES (1, 'a')")

        async with engine.acquire(timeout=5) as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM pay") == 0

        (record,) = caplog.records
        assert record.getMessage() == (
            "rolled back what was left uncommitted on a connection: commit() it, or begin it by"
            " async with conn.begin()"
        )


async def test_engine_may_be_waited_for_by_several(connect_kwargs: Kwargs) -> None:
    engine = await sa.create_engine(**connect_kwargs, minsize=3)
    conn = await engine.acquire()
    engine.close()
    waiting = [spawn(engine.wait_closed()) for _ in range(3)]
    await steps()
    engine.release(conn)

    await asyncio.wait_for(asyncio.gather(*waiting), 5)


async def test_acquire_that_takes_too_long_tells_of_ways_back(
    proxy: FaultyProxy, table: str
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        await conn.scalar("SELECT COUNT(*) FROM pay")
        proxy.hold()
        engine.release(conn)

        with pytest.raises(sa.AcquireTimeoutError, match="0 of 1 in use, 1 being opened or put"):
            await engine.acquire(timeout=0.05)
        proxy.flow()


@MODES
async def test_transaction_that_a_rollback_begins_is_not_the_next_borrowers(
    connect_kwargs: Kwargs, admin: Admin, table: str, autocommit: bool
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, autocommit=autocommit) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            await conn.execute("SET completion_type = 'CHAIN'")
            await conn.execute("BEGIN")
            await conn.execute(pay.insert(), {"id": 1})

        async with engine.acquire(timeout=5) as conn:
            assert conn.connection is raw
            await conn.execute(pay.insert(), {"id": 2})
            if not autocommit:
                await conn.execute("COMMIT")
        await check_capacity(engine, 1)
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {table}") == "2"


async def test_own_reset_begins_with_the_session_put_back_and_its_changes_last(
    connect_kwargs: Kwargs,
) -> None:
    seen = []

    async def reset(conn: sa.SAConnection) -> None:
        seen.append(await conn.scalar("SELECT CONCAT(@@autocommit + 0, @@time_zone)"))
        await conn.execute("SET autocommit = 1, time_zone = '+07:00'")

    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=reset) as engine:
        raws = []
        for _ in range(3):
            async with engine.acquire() as conn:
                raws.append(conn.connection)
                await conn.execute("SET time_zone = '+01:00', autocommit = NOT @@autocommit")
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT CONCAT(@@autocommit + 0, @@time_zone)") == "1+07:00"
        assert seen[:3] == ["0SYSTEM", "1SYSTEM", "1SYSTEM"]
        assert len(set(raws)) == 1
