"""Whoever waits on a connection: it is left alone if it was given back meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from faults import faulty_proxy
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, Table
from watch import check_capacity, one, spawn, steps, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Act = Callable[[sa.SAConnection], Awaitable[Any]]
SLOW = "SELECT SLEEP(0.1)"
tables = MetaData()
Table("created", tables, Column("id", Integer))


@pytest.fixture
async def pool(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of one connection at most, in autocommit mode, and an empty table t."""
    engine = await sa.create_engine(**connect_kwargs, minsize=0, maxsize=1, autocommit=True)
    async with engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
    yield engine
    engine.terminate()
    await engine.wait_closed()


async def leave_statement(conn: sa.SAConnection) -> None:
    """Leave an answer behind that is still to be read."""
    with pytest.raises(sa.StatementTimeoutError):
        await conn.execute(SLOW, timeout=0.01)


async def call(conn: sa.SAConnection) -> Any:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        return await cursor.callproc("nothing", (1,))


WAITING: dict[str, Act] = {
    "begin": lambda conn: conn.begin(),
    "begin_nested": lambda conn: conn.begin_nested(),
    "begin_twophase": lambda conn: conn.begin_twophase(),
    "execute": lambda conn: conn.execute("INSERT INTO t VALUES (1)"),
    "many": lambda conn: conn.execute("INSERT INTO t VALUES (%s)", [(1,), (2,)]),
    "commit_prepared": lambda conn: conn.commit_prepared("x"),
    "recover_twophase": lambda conn: conn.recover_twophase(),
    "cursor": lambda conn: conn.connection.query("INSERT INTO t VALUES (1)"),  # type: ignore[union-attr]
    "callproc": call,
    "ping": lambda conn: conn.connection.ping(reconnect=False),  # type: ignore[union-attr]
    "set_charset": lambda conn: conn.connection.set_charset("latin1"),  # type: ignore[union-attr]
    "select_db": lambda conn: conn.connection.select_db("mysql"),  # type: ignore[union-attr]
    "autocommit": lambda conn: conn.connection.autocommit(False),  # type: ignore[union-attr]
    "reset": lambda conn: conn.connection.reset(),  # type: ignore[union-attr]
    "execution_options": lambda conn: conn.execution_options(isolation_level="SERIALIZABLE"),
    "get_isolation_level": lambda conn: conn.get_isolation_level(),
    "create_all": lambda conn: conn.create_all(tables),
}


@pytest.mark.parametrize("act", WAITING.values(), ids=WAITING)
async def test_who_waits_for_a_connection_that_is_given_back_sends_nothing(
    pool: sa.Engine, admin: Admin, database: str, act: Act
) -> None:
    conn = await pool.acquire()
    await leave_statement(conn)
    waiting = spawn(act(conn))
    await steps()
    assert not waiting.done()

    pool.release(conn)

    async with pool.acquire() as other:
        await other.execute("INSERT INTO t VALUES (9)")
        await asyncio.wait([waiting])
        assert isinstance(waiting.exception(), sa.ResourceClosedError)
        assert not other.in_transaction
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {database}.t") == "9"
    assert pool.stats().opened == 1
    await check_capacity(pool, 1)


@pytest.mark.parametrize("act", WAITING.values(), ids=WAITING)
async def test_who_is_cancelled_after_the_release_leaves_the_next_borrowers_connection(
    pool: sa.Engine, act: Act
) -> None:
    conn = await pool.acquire()
    await leave_statement(conn)
    waiting = spawn(act(conn))
    await steps()
    released = pool.release(conn)
    waiting.cancel()
    await asyncio.wait([waiting])
    await released

    async with pool.acquire() as other:
        assert await other.scalar("SELECT 1") == 1
    assert pool.stats().opened == 1


ASKING: dict[str, Act] = {
    **{name: WAITING[name] for name in ("begin", "begin_nested", "begin_twophase")},
    "begin of a level": lambda conn: conn.begin(isolation_level="SERIALIZABLE"),
    "commit_prepared": WAITING["commit_prepared"],
    "execution_options": lambda conn: conn.execution_options(isolation_level="SERIALIZABLE"),
}


@pytest.mark.parametrize("doubt", [False, True], ids=["", "after an error"])
@pytest.mark.parametrize("act", ASKING.values(), ids=ASKING)
async def test_who_is_answered_as_the_connection_is_given_back_sends_nothing_more(
    pool: sa.Engine, admin: Admin, database: str, act: Act, doubt: bool
) -> None:
    conn = await pool.acquire()
    async with conn.begin():  # the server shows transactions
        pass
    if doubt:
        with pytest.raises(err.ProgrammingError):
            await conn.execute("SELECT 1 FROM nowhere")
    asking = act(conn).__await__()
    await asyncio.wait([next(asking)])  # the answer is here, and nobody has seen it

    pool.release(conn)

    async with pool.acquire() as other:
        level = await other.get_isolation_level()
        with pytest.raises((sa.ResourceClosedError, err.MySQLError)):
            next(asking)
        assert other.connection is not None and not other.connection.busy
        await other.execute("INSERT INTO t VALUES (9)")
        assert await other.get_isolation_level() == level
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {database}.t") == "9"


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_connection_is_closed_twice_while_its_transaction_ends(
    pool: sa.Engine, admin: Admin, database: str, end: str
) -> None:
    conn = await pool.acquire()
    transaction = await conn.begin()
    await conn.execute("INSERT INTO t VALUES (1)")
    await leave_statement(conn)
    waiting = [spawn(getattr(transaction, end)()), spawn(conn.close()), spawn(conn.close())]

    async with pool.acquire() as other:
        await other.execute("INSERT INTO t VALUES (9)")
        await asyncio.wait(waiting)
        assert await other.scalar("SELECT 1") == 1
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {database}.t") in ("9", "1,9")
    assert isinstance(waiting[0].exception(), sa.InvalidRequestError)
    assert [task.exception() for task in waiting[1:]] == [None, None]
    await check_capacity(pool, 1)


async def test_begin_that_is_answered_as_its_connection_is_given_back_begins_nothing(
    pool: sa.Engine, admin: Admin, database: str
) -> None:
    conn = await pool.acquire()
    beginning = conn.begin().__await__()
    await asyncio.wait([next(beginning)])  # the answer is here, and nobody has seen it

    pool.release(conn)

    async with pool.acquire() as other:
        await other.execute("INSERT INTO t VALUES (9)")
        with pytest.raises(sa.ResourceClosedError):
            next(beginning)
        assert not other.in_transaction and not conn.in_transaction
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {database}.t") == "9"


async def test_begin_that_is_refused_as_its_connection_is_given_back_rolls_nothing_back(
    pool: sa.Engine, connect_kwargs: Kwargs, admin: Admin, database: str
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as first:
        taken = await first.begin_twophase("taken")
        conn = await pool.acquire()
        beginning = conn.begin_twophase("taken", isolation_level="SERIALIZABLE").__await__()
        next(beginning)
        # The refusal is here, and nobody has seen it.
        await until(lambda: conn.connection is not None and not conn.connection.busy)

        pool.release(conn)

        async with pool.acquire() as other, other.begin():
            await other.execute("INSERT INTO t VALUES (9)")
            with pytest.raises(err.OperationalError, match="XAER_DUPID"):
                next(beginning)
            await other.execute("INSERT INTO t VALUES (10)")
        await taken.rollback()
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {database}.t") == "9,10"
    assert pool.stats().opened == 1


@pytest.mark.usefixtures("mariadb")  # where autocommit is switched on for it
async def test_end_of_a_prepared_transaction_leaves_the_next_borrowers_autocommit_alone(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        ending = conn.commit_prepared("nobody's").__await__()
        await asyncio.wait([next(ending)])  # whether it is in a transaction
        await asyncio.wait([next(ending)])  # autocommit is on
        engine.release(conn)

        async with engine.acquire() as other:
            await other.execution_options(isolation_level="AUTOCOMMIT")
            with pytest.raises(sa.ResourceClosedError):
                next(ending)
            assert await other.scalar("SELECT @@autocommit") == 1


async def test_block_that_fails_after_the_release_leaves_the_next_borrowers_statement_alone(
    pool: sa.Engine, admin: Admin, database: str
) -> None:
    conn = await pool.acquire()
    groups = [(number,) for number in range(3)]
    with pytest.raises(ZeroDivisionError):
        async with conn.begin() as transaction:
            await transaction.rollback()
            pool.release(conn)
            other = await pool.acquire()
            many = spawn(other.execute("INSERT INTO t SELECT %s + SLEEP(0.02)", groups))
            await until(lambda: other.connection is not None and other.connection._session.awaited)
            raise ZeroDivisionError

    await many
    await pool.release(other)
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {database}.t") == "0,1,2"


async def test_commit_that_a_closed_connection_cuts_off_raises_the_loss(
    connect_kwargs: Kwargs,
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1) as engine,
    ):
        conn = await engine.acquire()
        transaction = await conn.begin()
        proxy.hold("up")
        committing = spawn(transaction.commit())
        await steps()
        closing = spawn(conn.close())
        await steps()
        closing.cancel()

        await asyncio.wait([committing, closing])
        proxy.flow()

        assert isinstance(committing.exception(), err.OperationalError)


async def test_rollback_of_what_another_task_has_lost_does_nothing(
    connect_kwargs: Kwargs,
) -> None:
    async def fail(transaction: sa.Transaction) -> None:
        async with transaction:
            raise ZeroDivisionError

    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, statement_timeout=5) as engine,
        engine.acquire() as conn,
    ):
        transaction = await conn.begin()
        proxy.hold()
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute(SLOW, timeout=0.01)
        leaving = spawn(fail(transaction))
        await steps()
        ending = spawn(transaction.rollback())
        await steps()

        proxy.drop()

        await asyncio.wait([leaving, ending])
        assert isinstance(leaving.exception(), ZeroDivisionError)
        assert ending.exception() is None
        proxy.flow()


@pytest.mark.parametrize("way", ["close", "async with", "release"])
@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "without"])
async def test_connection_that_another_was_built_around_stays_its_owners(
    pool: sa.Engine, connect_kwargs: Kwargs, admin: Admin, way: str, autocommit: bool
) -> None:
    raw = await sa.connect(**connect_kwargs, autocommit=autocommit)
    async with raw:
        conn = sa.SAConnection(raw, pool)
        transaction = await conn.begin()
        await conn.execute("INSERT INTO t VALUES (1)")
        if way == "close":
            await conn.close()
        elif way == "async with":
            async with conn:
                pass
        else:
            with pytest.raises(sa.InvalidRequestError, match="not finished transaction"):
                pool.release(conn)
            await transaction.rollback()
            await pool.release(conn)

        # As in aiomysql.sa, only close() takes the DB-API connection away.
        assert conn.closed == (way != "release")
        assert not raw.closed
        with pytest.raises(sa.ResourceClosedError):
            await conn.execute("SELECT 1")
        await raw.query("INSERT INTO t VALUES (2)")
        await raw.commit()
    assert one(admin, f"SELECT GROUP_CONCAT(id) FROM {connect_kwargs['db']}.t") == "2"
    await check_capacity(pool, 1)


async def test_connection_built_around_a_borrowed_one_does_not_give_it_back(
    pool: sa.Engine,
) -> None:
    async with pool.acquire() as conn:
        async with sa.SAConnection(conn.connection, pool) as another:  # type: ignore[arg-type]
            await another.execute("SELECT 1")
        assert pool.freesize == 0
        await conn.execute("SELECT 1")
    await check_capacity(pool, 1)


@pytest.mark.parametrize("hook", ["init", "reset"])
async def test_hook_may_close_what_it_is_called_with(connect_kwargs: Kwargs, hook: str) -> None:
    calls = []

    async def closes(conn: sa.SAConnection) -> None:
        async with conn:
            calls.append(await conn.scalar("SELECT 1"))

    arguments = {**connect_kwargs, hook: closes}
    async with sa.create_engine(**arguments, minsize=0, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SELECT 1")
        async with engine.acquire() as conn:
            await conn.execute("SELECT 1")
        assert calls == [1]
        assert engine.stats().opened == 1


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda conn: conn.begin(), id="begin"),
        pytest.param(lambda conn: conn.connection.set_charset("latin1"), id="set_charset"),
    ],
)
async def test_who_is_cut_off_after_the_release_leaves_the_connection_open(
    connect_kwargs: Kwargs, call: Any
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        calling = call(conn).__await__()
        await asyncio.wait([next(calling)])
        released = engine.release(conn)

        with pytest.raises(asyncio.CancelledError):
            calling.throw(asyncio.CancelledError())

        await released
        async with engine.acquire() as other:
            assert await other.scalar("SELECT @@character_set_client") == "utf8mb4"
        assert engine.stats().closed == {}


async def test_savepoint_whose_connection_was_closed_as_its_answer_came_is_refused(
    pool: sa.Engine,
) -> None:
    conn = await pool.acquire()
    await conn.begin()
    nesting = conn.begin_nested().__await__()
    await asyncio.wait([next(nesting)])
    await conn.close()

    with pytest.raises(sa.ResourceClosedError, match="has been released"):
        next(nesting)
    assert not conn.in_transaction


async def test_block_that_is_left_in_another_event_loop_keeps_its_connection(
    pool: sa.Engine,
) -> None:
    async def leave() -> None:
        await block.__aexit__(None, None, None)

    block = pool.acquire()
    conn = await block.__aenter__()
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(asyncio.run, leave())
    assert pool.stats().in_use == 1
    assert await conn.scalar("SELECT 1") == 1
    await conn.close()
    assert pool.stats().idle == 1
