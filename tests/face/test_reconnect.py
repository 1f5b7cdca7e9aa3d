"""`ping()`: connecting anew where that loses nothing, and raising the loss where it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pymysql
import pytest
from faults import QUERY, faulty_proxy
from pymysql import err

import aiomysqlx
import aiomysqlx as sa
from aiomysqlx.settings import default_dialect

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
SESSION = """
    SELECT DATABASE(), @@autocommit, @@sql_mode, @@character_set_client, @@character_set_results,
        @@collation_connection, @began
"""


async def answer(connection: aiomysqlx.Connection, sql: str) -> tuple[Any, ...]:
    """Give the only row of a result."""
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        (row,) = await cursor.fetchall()
    return tuple(row)


def kill(admin: pymysql.Connection[Any], connection: aiomysqlx.Connection) -> None:
    """End a session on the server, and wait until its locks and its transaction are gone."""
    thread = connection.thread_id()
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {thread}")
        while True:
            cursor.execute("SELECT id FROM information_schema.processlist")
            if (thread,) not in cursor.fetchall():
                return


async def begin(connection: aiomysqlx.Connection) -> None:
    await connection.begin()
    await connection.query("INSERT INTO kept VALUES (1)")


def executing(*statements: str) -> Callable[[aiomysqlx.Connection], Awaitable[None]]:
    async def execute(connection: aiomysqlx.Connection) -> None:
        for sql in statements:
            await connection.query(sql)

    return execute


HELD: dict[str, Callable[[aiomysqlx.Connection], Awaitable[Any]]] = {
    "a transaction": begin,
    "a transaction begun by text": executing("START TRANSACTION", "INSERT INTO kept VALUES (1)"),
    "a transaction without autocommit": executing(
        "SET autocommit = 0", "INSERT INTO kept VALUES (1)"
    ),
    "an XA transaction": executing("XA START 'x'", "INSERT INTO kept VALUES (1)"),
    "a snapshot": executing("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
    "a named lock": executing("SELECT GET_LOCK('kept', 0)"),
    "table locks": executing("LOCK TABLES kept WRITE"),
    "a temporary table": executing("CREATE TEMPORARY TABLE temporary (a INT)"),
    "a filled temporary table": executing("CREATE TEMPORARY TABLE temporary SELECT 1 AS a"),
    "a user variable": executing("SET @variable = 1"),
    "a user variable of a SELECT": executing("SELECT 1 INTO @variable"),
    "a session variable": executing("SET SESSION sql_mode = ''"),
    "an isolation level": executing("SET SESSION TRANSACTION READ ONLY"),
    "a prepared statement": executing("PREPARE s FROM 'SELECT 1'"),
    "a database": lambda connection: connection.select_db("information_schema"),
    "a charset": lambda connection: connection.set_charset("latin1"),
    "a mode": lambda connection: connection.autocommit(False),
    "the latest id": executing("INSERT INTO kept VALUES (1)"),
    "nobody knows": executing("SELECT 1"),
}


@pytest.fixture
async def raw(connect_kwargs: Kwargs) -> Any:
    """A connection in autocommit, and a table."""
    raw = await aiomysqlx.connect(**connect_kwargs, autocommit=True)
    await raw.query("CREATE TABLE kept (a INT) ENGINE = InnoDB")
    await raw.reset()
    yield raw
    raw.close()


@pytest.mark.parametrize("hold", HELD.values(), ids=HELD)
async def test_lost_session_that_may_hold_something_is_not_replaced(
    raw: aiomysqlx.Connection, admin: pymysql.Connection[Any], hold: Any
) -> None:
    before = raw.thread_id()
    await hold(raw)
    await raw.ping()  # which leaves no doubt of it
    kill(admin, raw)

    with pytest.raises(
        err.OperationalError, match="not connected anew, as .*: ping again"
    ) as caught:
        await raw.ping()

    assert sa.is_disconnect(caught.value)
    assert raw.closed and raw.thread_id() == before
    with pytest.raises(err.MySQLError):
        await raw.query("SELECT 1")

    await raw.ping()  # whoever was told may have another

    assert raw.thread_id() != before and (await answer(raw, "SELECT 1")) == (1,)


@pytest.mark.parametrize("seen", [False, True], ids=["unseen", "seen"])
async def test_lost_session_in_which_nothing_was_executed_is_replaced(
    raw: aiomysqlx.Connection, admin: pymysql.Connection[Any], seen: bool
) -> None:
    for _ in range(3):
        before = raw.thread_id()
        await raw.ping()
        kill(admin, raw)
        while seen and not raw.closed:
            await asyncio.sleep(0)

        await raw.ping()

        assert raw.thread_id() != before and not raw.closed
    assert (await answer(raw, "SELECT @@autocommit")) == (1,)


async def test_reset_is_a_beginning(
    raw: aiomysqlx.Connection, admin: pymysql.Connection[Any]
) -> None:
    before = raw.thread_id()
    await raw.query("SELECT GET_LOCK('kept', 0)")
    await raw.reset()
    kill(admin, raw)

    await raw.ping()

    assert raw.thread_id() != before


async def test_database_that_a_reset_leaves_is_not_lost_in_silence(
    connect_kwargs: Kwargs, admin: pymysql.Connection[Any]
) -> None:
    connection = await aiomysqlx.connect(**{**connect_kwargs, "db": None})
    await connection.reset()
    kill(admin, connection)
    await connection.ping()
    await connection.query(f"USE {connect_kwargs['db']}")
    await connection.reset()
    kill(admin, connection)

    with pytest.raises(err.OperationalError, match="not connected anew"):
        await connection.ping()


async def test_new_session_is_like_the_first(
    connect_kwargs: Kwargs, admin: pymysql.Connection[Any]
) -> None:
    connection = await aiomysqlx.connect(
        **connect_kwargs,
        charset="latin1",
        collation="latin1_german1_ci",
        autocommit=False,
        sql_mode="ANSI_QUOTES",
        init_command="SET @began = 'yes'",
    )
    first = await answer(connection, SESSION)
    for end in (connection.close, lambda: kill(admin, connection)):
        await connection.autocommit(True)
        await connection.select_db("information_schema")
        await connection.set_charset("utf8mb4")
        await connection.query("SET sql_mode = '', @began = 'no'")
        end()

        with contextlib.suppress(err.OperationalError):
            await connection.ping()
        if connection.closed:
            await connection.ping()

        assert await answer(connection, SESSION) == first
        assert (connection.charset, connection.db) == ("latin1", connect_kwargs["db"])
        assert not connection.get_autocommit() and connection.autocommit_mode is False
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT %s", ("é",))
            assert await cursor.fetchone() == ("é",)
    connection.close()


async def test_ping_without_reconnecting_raises_the_loss(
    raw: aiomysqlx.Connection, admin: pymysql.Connection[Any]
) -> None:
    kill(admin, raw)
    with pytest.raises(err.MySQLError):
        await raw.ping(reconnect=False)
    with pytest.raises(err.Error, match="Already closed"):
        await raw.ping(False)


async def test_ping_to_a_server_that_is_away_raises_that(connect_kwargs: Kwargs) -> None:
    async with faulty_proxy(connect_kwargs) as proxy:
        connection = await aiomysqlx.connect(**proxy.kwargs)
        proxy.refuse()
        proxy.drop()

        for _ in range(2):
            with pytest.raises(err.OperationalError, match="2003"):
                await connection.ping()
            assert connection.closed
        await proxy.accept()
        await connection.ping()

        assert (await answer(connection, "SELECT 1")) == (1,)
        connection.close()


# -- a connection of an engine ---------------------------------------------------------------------


@pytest.mark.parametrize("nested", [False, True], ids=["begin", "begin_nested"])
async def test_block_is_not_carried_on_in_another_session(
    connect_kwargs: Kwargs, admin: pymysql.Connection[Any], nested: bool
) -> None:
    async with sa.create_engine(**connect_kwargs, autocommit=True, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE kept (a INT)")
        with pytest.raises(err.OperationalError, match="belongs to an engine or a pool"):
            async with engine.acquire() as conn:
                begin: Any = conn.begin_nested if nested else conn.begin
                async with conn.begin(), begin():
                    await conn.execute("INSERT INTO kept VALUES (1)")
                    assert conn.connection is not None
                    kill(admin, conn.connection)

                    for _ in range(3):
                        with contextlib.suppress(err.OperationalError):
                            await conn.connection.ping()
                        with pytest.raises((err.MySQLError, sa.Error)):
                            await conn.execute("INSERT INTO kept VALUES (2)")
                    await conn.connection.ping()

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM kept") == 0


async def test_block_around_a_connection_of_ones_own_is_not_carried_on(
    raw: aiomysqlx.Connection, admin: pymysql.Connection[Any]
) -> None:
    conn = sa.SAConnection(raw, SimpleNamespace(dialect=default_dialect()))  # type: ignore[arg-type]
    with pytest.raises(sa.InvalidRequestError):
        async with conn.begin():
            await conn.execute("INSERT INTO kept VALUES (1)")
            kill(admin, raw)
            with pytest.raises(
                err.OperationalError, match="its transaction is lost: ping again to connect"
            ):
                await raw.ping()
            await raw.ping()

            with pytest.raises(sa.InvalidRequestError):
                await conn.execute("INSERT INTO kept VALUES (2)")
    assert await conn.scalar("SELECT COUNT(*) FROM kept") == 0

    async with conn.begin():
        await conn.execute("INSERT INTO kept VALUES (3)")
    assert await conn.scalar("SELECT COUNT(*) FROM kept") == 1


async def test_nothing_of_a_block_is_executed_while_its_connection_is_made_anew(
    raw: aiomysqlx.Connection, admin: pymysql.Connection[Any]
) -> None:
    conn = sa.SAConnection(raw, SimpleNamespace(dialect=default_dialect()))  # type: ignore[arg-type]
    transaction = await conn.begin()
    kill(admin, raw)
    with pytest.raises(err.OperationalError, match="ping again to connect"):
        await raw.ping()

    pinging = asyncio.ensure_future(raw.ping())
    executed = 0
    while not pinging.done():
        with contextlib.suppress(err.MySQLError, sa.Error):
            await conn.execute("INSERT INTO kept VALUES (2)")
            executed += 1
        await asyncio.sleep(0)

    await pinging
    assert executed == 0
    with pytest.raises(sa.InvalidRequestError):
        await conn.execute("INSERT INTO kept VALUES (2)")
    await transaction.rollback()
    assert await conn.scalar("SELECT COUNT(*) FROM kept") == 0


async def test_block_is_not_carried_on_after_a_session_that_could_not_be_set_up(
    connect_kwargs: Kwargs, admin: pymysql.Connection[Any]
) -> None:
    async with faulty_proxy(connect_kwargs) as proxy:
        raw = await aiomysqlx.connect(**proxy.kwargs, autocommit=True)
        answers = proxy.passages[-1].passed["down"]
        await raw.query("CREATE TABLE kept (a INT)")
        conn = sa.SAConnection(raw, SimpleNamespace(dialect=default_dialect()))  # type: ignore[arg-type]
        transaction = await conn.begin()
        kill(admin, raw)
        proxy.fault(answers - 1, "reset")
        for _ in range(2):
            with pytest.raises(err.OperationalError):
                await raw.ping()

        await raw.ping()

        with pytest.raises(sa.InvalidRequestError):
            await conn.execute("INSERT INTO kept VALUES (2)")
        await transaction.rollback()
        assert await conn.scalar("SELECT COUNT(*) FROM kept") == 0
        await raw.ensure_closed()


async def test_connection_is_made_anew_once_by_pings_of_two_tasks(
    raw: aiomysqlx.Connection,
) -> None:
    raw.close()

    first, second = await asyncio.gather(raw.ping(), raw.ping(), return_exceptions=True)

    assert first is None
    assert isinstance(second, sa.InvalidRequestError)
    assert await answer(raw, "SELECT 1") == (1,)


@pytest.mark.parametrize("phase", ["password", "login", "session"])
async def test_connection_that_is_closed_while_it_is_made_anew_stays_closed(
    connect_kwargs: Kwargs, phase: str
) -> None:
    asked, answered = asyncio.Event(), asyncio.Event()
    answered.set()

    async def password() -> str:
        asked.set()
        await answered.wait()
        return str(connect_kwargs["password"])

    async with faulty_proxy({**connect_kwargs, "password": password}) as proxy:
        connection = await aiomysqlx.connect(**proxy.kwargs)
        await connection.ensure_closed()
        while proxy.open:
            await asyncio.sleep(0)
        asked.clear()
        if phase == "password":
            answered.clear()
        elif phase == "login":
            proxy.hold()
        ping = asyncio.ensure_future(connection.ping())
        await asyncio.wait_for(asked.wait(), 5)
        while phase != "password" and not proxy.open:
            await asyncio.sleep(0)
        while phase == "session" and QUERY not in [each[:1] for each in proxy.open[-1].commands]:
            await asyncio.sleep(0)

        connection.close()
        answered.set()
        proxy.flow()

        with pytest.raises(err.OperationalError, match="Lost connection|closed during query"):
            await ping
        assert connection.closed
        await connection.ping()
        assert not connection.closed
        await connection.ensure_closed()


async def test_block_of_an_invalidated_connection_is_not_carried_on_in_another_session(
    raw: aiomysqlx.Connection,
) -> None:
    conn = sa.SAConnection(raw, SimpleNamespace(dialect=default_dialect()))  # type: ignore[arg-type]
    with pytest.raises(sa.InvalidRequestError, match="not committed"):
        async with conn.begin():
            await conn.execute("INSERT INTO kept VALUES (1)")
            conn.invalidate()
            await raw.ping()

            with pytest.raises(sa.InvalidRequestError, match="not committed"):
                await conn.execute("INSERT INTO kept VALUES (2)")
            with pytest.raises(sa.InvalidRequestError, match="not committed"):
                await raw.query("INSERT INTO kept VALUES (2)")
    assert await conn.scalar("SELECT COUNT(*) FROM kept") == 0

    await raw.query("INSERT INTO kept VALUES (3)")
    assert await conn.scalar("SELECT COUNT(*) FROM kept") == 1


async def test_connection_of_an_engine_is_never_replaced(
    connect_kwargs: Kwargs, admin: pymysql.Connection[Any]
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            assert raw is not None
            before = raw.thread_id()
            kill(admin, raw)
            for _ in range(2):
                with pytest.raises(err.MySQLError):
                    await raw.ping()
        with pytest.raises(err.MySQLError):
            await raw.ping()  # when it is back
        async with engine.acquire() as conn:
            assert conn.connection is not raw and await conn.scalar("SELECT 1") == 1
    assert raw.closed and raw.thread_id() == before
    with pytest.raises(err.MySQLError):
        await raw.ping()
