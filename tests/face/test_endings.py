"""The end of a block: nothing of one that failed stays, and none reports work that is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fakes import EOF, OK, Peer, error, fake_server, one_row, packet
from fakes import proxy as changing_proxy
from pymysql import err
from pymysql.constants import CLIENT
from watch import cancelled_at, check_capacity, now, prepared, spawn, steps, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Enter = Callable[[sa.SAConnection], Any]


@pytest.fixture
def table(admin: Admin, database: str) -> str:
    """The name of an empty table of one column, its key."""
    name = f"{database}.pay"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY) ENGINE=InnoDB")
    return name


async def opened(connect_kwargs: Kwargs, **more: Any) -> sa.Engine:
    return await sa.create_engine(
        **{**connect_kwargs, "minsize": 0, "maxsize": 2, "autocommit": True, **more}
    )


@pytest.fixture
async def pool(connect_kwargs: Kwargs, table: str) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode that takes several statements in one string."""
    engine = await opened(connect_kwargs, client_flag=CLIENT.MULTI_STATEMENTS)
    yield engine
    engine.terminate()
    await engine.wait_closed()


def committed(admin: Admin, table: str) -> list[int]:
    """Give what another connection sees of a table."""
    with admin.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {table} ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def insert(number: int, seconds: float = 0) -> str:
    """Give the text of an INSERT that takes so many seconds."""
    return f"INSERT INTO pay SELECT {number} + SLEEP({seconds})"


async def running(conn: sa.SAConnection, sql: str) -> asyncio.Future[Any]:
    """Have another task execute a statement, and wait until it is under way."""
    raw = conn.connection
    assert raw is not None
    task = spawn(conn.execute(sql))
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    await until(lambda: raw._session.awaited)
    return task


@contextlib.asynccontextmanager
async def inner(conn: sa.SAConnection, how: str) -> AsyncIterator[None]:
    async with conn.begin(), getattr(conn, how)():
        yield


BLOCKS: dict[str, Enter] = {
    "begin": lambda conn: conn.begin(),
    "begin_nested": lambda conn: conn.begin_nested(),
    "begin_twophase": lambda conn: conn.begin_twophase(),
    "savepoint": lambda conn: inner(conn, "begin_nested"),
    "begin in begin": lambda conn: inner(conn, "begin"),
}
blocks = pytest.mark.parametrize("enter", BLOCKS.values(), ids=BLOCKS)


async def go_on(conn: sa.SAConnection) -> None:
    """Do what commits whatever is still in progress, if the connection is still there."""
    with contextlib.suppress(err.Error):
        async with conn.begin():
            await conn.execute(insert(9))


# -- a statement of another task is under way ------------------------------------------------------


@blocks
@pytest.mark.parametrize("long", [False, True], ids=["ends in time", "does not end"])
@pytest.mark.parametrize("how", ["raises", "is cancelled"])
async def test_nothing_of_a_block_stays_that_fails_while_another_tasks_statement_runs(
    pool: sa.Engine,
    admin: Admin,
    table: str,
    enter: Enter,
    how: str,
    long: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if long:
        monkeypatch.setattr("aiomysqlx.wire.stopping.DRAIN_SECONDS", 0.1)
    others: list[Any] = []

    async def block() -> None:
        async with enter(conn):
            await conn.execute(insert(1))
            others.append(await running(conn, insert(2, 30 if long else 0.1)))
            if how == "raises":
                raise ZeroDivisionError
            await asyncio.Event().wait()

    async with pool.acquire() as conn:
        task = spawn(block())
        await until(lambda: others or task.done())
        if how == "is cancelled":
            task.cancel()
        with pytest.raises(ZeroDivisionError if how == "raises" else asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert not conn.in_transaction
        assert conn.closed is long
        await go_on(conn)

    await asyncio.wait(others)
    assert (others[0].exception() is not None) is long
    assert committed(admin, table) == ([] if long else [9])
    assert prepared(admin) == []


@blocks
async def test_block_that_ends_while_another_tasks_statement_runs_raises_and_keeps_nothing(
    pool: sa.Engine, admin: Admin, table: str, enter: Enter
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="in progress"):
            async with enter(conn):
                await conn.execute(insert(1))
                other = await running(conn, insert(2, 0.1))

        assert not conn.in_transaction
        await other
        await go_on(conn)
    assert committed(admin, table) == [9]


async def test_savepoint_that_fails_while_another_tasks_statement_runs_leaves_the_rest(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin():
        await conn.execute(insert(1))
        with pytest.raises(ZeroDivisionError):
            async with conn.begin_nested():
                await conn.execute(insert(2))
                await running(conn, insert(3, 0.1))
                raise ZeroDivisionError
        await conn.execute(insert(4))

    assert committed(admin, table) == [1, 4]


@pytest.mark.parametrize("begin", ["begin", "begin_nested", "begin_twophase"])
@pytest.mark.parametrize(
    "how", ["conn.close()", "acquire()", "acquire(), raising", "engine.begin()"]
)
async def test_connection_that_is_left_while_another_tasks_statement_runs_is_rolled_back(
    pool: sa.Engine, admin: Admin, table: str, how: str, begin: str
) -> None:
    raises = ZeroDivisionError if "raising" in how or how == "engine.begin()" else None

    async def block() -> Any:
        if how == "engine.begin()":
            async with pool.begin() as conn:
                await conn.execute(insert(1))
                others.append(await running(conn, insert(2, 0.1)))
                raise ZeroDivisionError
        async with pool.acquire() as conn:
            await getattr(conn, begin)()
            await conn.execute(insert(1))
            others.append(await running(conn, insert(2, 0.1)))
            if how == "conn.close()":
                await conn.close()
            if raises is not None:
                raise raises

    others: list[Any] = []
    if how == "acquire()":
        with pytest.raises(sa.InvalidRequestError, match="not finished"):
            await block()
    elif raises is not None:
        with pytest.raises(raises):
            await block()
    else:
        await block()

    await asyncio.wait(others)
    assert others[0].exception() is None
    assert committed(admin, table) == []
    assert pool.stats().opened == 1
    await check_capacity(pool, 2)


@blocks
@pytest.mark.parametrize("kill", [False, True], ids=["drained", "killed"])
async def test_second_cancellation_rolls_back_or_closes(
    connect_kwargs: Kwargs, admin: Admin, table: str, enter: Enter, kill: bool
) -> None:
    engine = await opened(connect_kwargs, kill_on_cancel=kill)
    for turns in (1, 2, 3, 5, 8, 20):
        conn = await engine.acquire()
        begun = asyncio.Event()

        async def block(conn: sa.SAConnection = conn, begun: asyncio.Event = begun) -> None:
            async with enter(conn):
                await conn.execute(insert(1))
                begun.set()
                await conn.execute(insert(2, 0.05))
                await asyncio.Event().wait()

        task = spawn(block())
        await begun.wait()
        await steps(2)
        task.cancel()
        await steps(turns)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not conn.in_transaction
        with contextlib.suppress(err.Error):
            async with conn.begin():
                pass
        await conn.close()
        assert committed(admin, table) == []
    engine.terminate()
    await engine.wait_closed()
    await until(lambda: not prepared(admin))


@blocks
async def test_block_that_is_cut_off_at_any_point_of_its_rollback_leaves_nothing(
    pool: sa.Engine, admin: Admin, table: str, enter: Enter
) -> None:
    async def block(conn: sa.SAConnection) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with enter(conn):
                await conn.execute(insert(1))
                await running(conn, insert(2, 0.02))
                raise ZeroDivisionError

    turn, cut = 1, True
    while cut:
        conn = await pool.acquire()
        cut = await cancelled_at(block(conn), turn)
        assert not conn.in_transaction
        with contextlib.suppress(err.Error, sa.InvalidRequestError):
            async with conn.begin():
                pass
        await conn.close()
        assert committed(admin, table) == []
        turn += 1

    assert turn > 4
    await until(lambda: not prepared(admin))


@pytest.mark.parametrize("many", ["execute", "cursor", "one by one"])
async def test_statements_of_another_task_do_not_hold_up_the_end_of_a_block(
    pool: sa.Engine, admin: Admin, table: str, many: str
) -> None:
    async def fill(conn: sa.SAConnection) -> None:
        sql = "INSERT INTO pay SELECT %s + SLEEP(0.02)"
        if many == "execute":
            await conn.execute(sql, [(n,) for n in range(10, 500)])
        elif many == "cursor":
            assert conn.connection is not None
            async with conn.connection.cursor() as cursor:
                await cursor.executemany(sql, [(n,) for n in range(10, 500)])
        else:
            for n in range(10, 500):
                await conn.execute(sql, n)

    async with pool.acquire() as conn:
        raw = conn.connection
        assert raw is not None
        start = now()
        with pytest.raises(ZeroDivisionError):
            async with conn.begin():
                await conn.execute(insert(1))
                filling = spawn(fill(conn))
                await until(lambda: raw._session.awaited)
                raise ZeroDivisionError
        await asyncio.wait([filling])

        assert now() - start < 1
        assert isinstance(filling.exception(), sa.InvalidRequestError)
        assert not conn.closed
    assert committed(admin, table) == []


async def test_other_tasks_are_refused_while_a_block_is_rolled_back(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin()
        under_way = asyncio.Event()

        async def block() -> None:
            async with transaction:
                await conn.execute(insert(1))
                await running(conn, insert(2, 0.1))
                under_way.set()
                raise ZeroDivisionError

        leaving = spawn(block())
        await under_way.wait()
        await steps()

        for act in (
            lambda: conn.execute(insert(3)),
            lambda: conn.begin(),
            lambda: conn.begin_nested(),
        ):
            with pytest.raises(sa.InvalidRequestError, match="this transaction is being ended"):
                await act()
        for end in (transaction.commit, transaction.rollback):
            with pytest.raises(sa.InvalidRequestError):
                await end()
        with pytest.raises(ZeroDivisionError):
            await leaving
    assert committed(admin, table) == []


async def test_transaction_is_not_committed_by_another_task_while_its_block_is_rolled_back(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    """The answer to a cancelled statement wakes them both."""

    async def fail(transaction: sa.Transaction) -> None:
        async with transaction:
            raise ZeroDivisionError

    async with pool.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute(insert(1))
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute(insert(2, 0.1), timeout=0.01)
        leaving = spawn(fail(transaction))
        await steps()

        with pytest.raises(sa.InvalidRequestError, match="being ended"):
            await transaction.commit()

        with pytest.raises(ZeroDivisionError):
            await leaving
    assert committed(admin, table) == []


async def test_block_around_a_savepoint_that_cannot_be_rolled_back_is_not_left_in_silence(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    engine = await opened(connect_kwargs, statement_timeout=0.1)
    async with engine.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="not committed"):
            async with conn.begin():
                await conn.execute(insert(1))
                with contextlib.suppress(ZeroDivisionError):
                    async with conn.begin_nested():
                        statement = conn.execute(insert(2, 3), timeout=5)
                        other = spawn(statement)
                        await until(
                            lambda: conn.connection is not None and conn.connection._session.awaited
                        )
                        raise ZeroDivisionError
        await asyncio.wait([other])
        assert isinstance(other.exception(), err.OperationalError)
    engine.terminate()
    await engine.wait_closed()
    assert committed(admin, table) == []


async def test_block_is_left_by_two_tasks_at_once(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    conn = await pool.acquire()
    under_way = asyncio.Event()

    async def block() -> None:
        async with conn.begin():
            await conn.execute(insert(1))
            await running(conn, insert(2, 0.05))
            under_way.set()
            raise ZeroDivisionError

    leaving = spawn(block())
    await under_way.wait()
    await steps()
    await asyncio.gather(conn.close(), conn.close(), asyncio.wait([leaving]))

    assert isinstance(leaving.exception(), ZeroDivisionError)
    assert committed(admin, table) == []
    assert pool.stats().opened == 1
    await check_capacity(pool, 2)


async def test_savepoints_blocks_are_left_by_two_tasks_at_once(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async def fail(savepoint: sa.Transaction, begun: asyncio.Event) -> None:
        with contextlib.suppress(ZeroDivisionError):
            async with savepoint:
                begun.set()
                raise ZeroDivisionError

    async with pool.acquire() as conn, conn.begin():
        await conn.execute(insert(1))
        outer, inner = await conn.begin_nested(), await conn.begin_nested()
        await running(conn, insert(2, 0.05))
        first, second = asyncio.Event(), asyncio.Event()
        leaving = [spawn(fail(inner, first))]
        await first.wait()
        leaving.append(spawn(fail(outer, second)))
        await second.wait()
        with pytest.raises(sa.InvalidRequestError, match="being ended"):
            await conn.execute(insert(3))
        await asyncio.gather(*leaving)
        await conn.execute(insert(4))
    assert committed(admin, table) == [1, 4]


async def test_time_limit_of_the_engine_bounds_the_wait_for_another_tasks_statement(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    engine = await opened(connect_kwargs, statement_timeout=0.1)
    start = now()
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as conn:
            await conn.execute(insert(1))
            statement = conn.execute(insert(2, 3), timeout=5)
            other = spawn(statement)
            await until(lambda: conn.connection is not None and conn.connection._session.awaited)
            raise ZeroDivisionError

    assert now() - start < 1
    await asyncio.wait([other])
    assert isinstance(other.exception(), err.OperationalError)
    assert committed(admin, table) == []
    engine.terminate()
    await engine.wait_closed()


# -- the server has ended the transaction ----------------------------------------------------------

ROLLED_BACK, COMMITTED, UNKNOWN = "rolled this transaction back", "committed its work", "ended this"
# What ends a transaction, what became of its work, and how many results tell so.
ENDS: dict[str, tuple[str, str, bool]] = {
    "ROLLBACK": ("ROLLBACK", ROLLED_BACK, False),
    "COMMIT": ("COMMIT", COMMITTED, True),
    "commented": ("/* why */ -- not\n # so\n create table other (id INT)", COMMITTED, True),
    "CREATE": ("CREATE TABLE other (id INT)", COMMITTED, True),
    "TRUNCATE": ("TRUNCATE TABLE vacant", COMMITTED, True),
    "FLUSH": ("FLUSH TABLES", COMMITTED, True),
    "ANALYZE": ("ANALYZE TABLE vacant", COMMITTED, True),
    "procedure, rolling back": ("CALL roll_back()", UNKNOWN, False),
    "procedure, committing": ("CALL commit_it()", UNKNOWN, True),
    "procedure, beginning again": ("CALL begin_again()", UNKNOWN, False),
    "two statements": ("ROLLBACK; BEGIN", UNKNOWN, False),
    "many statements": ("SELECT 1; COMMIT; BEGIN; SELECT 2", UNKNOWN, True),
    "prepared": ("EXECUTE ending", UNKNOWN, False),
    "hidden in a comment": ("/*! ROLLBACK */", UNKNOWN, False),
}
ends = pytest.mark.parametrize(("sql", "words", "kept"), ENDS.values(), ids=ENDS)
WITHIN: dict[str, Enter] = {
    "begin": lambda conn: conn.begin(),
    "savepoint": lambda conn: inner(conn, "begin_nested"),
    "begin in begin": lambda conn: inner(conn, "begin"),
    "savepoint in savepoint": lambda conn: inner_twice(conn),
}
within = pytest.mark.parametrize("enter", WITHIN.values(), ids=WITHIN)


@contextlib.asynccontextmanager
async def inner_twice(conn: sa.SAConnection) -> AsyncIterator[None]:
    async with conn.begin(), conn.begin_nested(), conn.begin_nested():
        yield


async def procedures(conn: sa.SAConnection) -> None:
    for sql in (
        "CREATE TABLE vacant (id INT) ENGINE=InnoDB",
        "CREATE PROCEDURE roll_back() BEGIN ROLLBACK; END",
        "CREATE PROCEDURE commit_it() BEGIN COMMIT; END",
        "CREATE PROCEDURE begin_again() BEGIN ROLLBACK; SELECT 1; START TRANSACTION; END",
        "PREPARE ending FROM 'ROLLBACK'",
    ):
        await conn.execute(sql)


@pytest.fixture(params=[True, False], ids=["autocommit", "no autocommit"])
async def conn(
    request: pytest.FixtureRequest, connect_kwargs: Kwargs, table: str
) -> AsyncIterator[sa.SAConnection]:
    """A connection that takes several statements in one string."""
    engine = await opened(
        connect_kwargs, client_flag=CLIENT.MULTI_STATEMENTS, autocommit=request.param
    )
    async with engine.acquire() as conn:
        await procedures(conn)
        yield conn
    engine.terminate()
    await engine.wait_closed()


@within
@ends
async def test_nothing_is_executed_in_a_block_whose_transaction_a_statement_has_ended(
    conn: sa.SAConnection,
    admin: Admin,
    table: str,
    enter: Enter,
    sql: str,
    words: str,
    kept: bool,
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with enter(conn):
            await conn.execute(insert(1))
            await conn.execute(sql)

            for act in (
                lambda: conn.execute(insert(2)),
                lambda: conn.execute("SELECT 1"),
                lambda: conn.execute("INSERT INTO pay VALUES (%s)", [(3,), (4,)]),
                lambda: conn.begin(),
                lambda: conn.begin_nested(),
            ):
                with pytest.raises(sa.InvalidRequestError, match=words):
                    await act()
            with pytest.raises(sa.InvalidRequestError, match="already in progress"):
                await conn.begin_twophase()
            raise ZeroDivisionError

    assert not conn.in_transaction
    async with conn.begin():
        await conn.execute(insert(9))
    assert committed(admin, table) == ([1, 9] if kept else [9])


async def test_cancelled_text_of_several_statements_is_not_taken_for_its_first_one(
    conn: sa.SAConnection, admin: Admin, table: str
) -> None:
    with admin.cursor() as cursor:
        cursor.execute(
            f"CREATE PROCEDURE {table.split('.')[0]}.drop_it() BEGIN ROLLBACK; DO SLEEP(0.2); END"
        )
    with pytest.raises(sa.InvalidRequestError, match="committed or rolled back"):
        async with conn.begin():
            await conn.execute(insert(1))
            task = await running(conn, "SET @first = 1; CALL drop_it()")
            raw: Any = conn.connection
            await until(lambda: raw._session.protocol.replies[0].results)
            task.cancel()
            await asyncio.wait([task])
    assert committed(admin, table) == []


@pytest.mark.parametrize(
    "enter", [WITHIN["begin"], WITHIN["savepoint"]], ids=["begin", "savepoint"]
)
@ends
async def test_block_whose_transaction_a_statement_has_ended_reports_no_work_that_is_gone(
    conn: sa.SAConnection,
    admin: Admin,
    table: str,
    enter: Enter,
    sql: str,
    words: str,
    kept: bool,
) -> None:
    surely = words == COMMITTED
    with contextlib.nullcontext() if surely else pytest.raises(sa.InvalidRequestError, match=words):
        async with enter(conn):
            await conn.execute(insert(1))
            await conn.execute(sql)

    assert not conn.in_transaction
    async with conn.begin():
        await conn.execute(insert(9))
    assert committed(admin, table) == ([1, 9] if kept else [9])


@ends
async def test_outer_block_is_refused_after_its_savepoints_block(
    conn: sa.SAConnection,
    admin: Admin,
    table: str,
    sql: str,
    words: str,
    kept: bool,
) -> None:
    with pytest.raises(sa.InvalidRequestError, match=words):
        async with conn.begin():
            await conn.execute(insert(1))
            with contextlib.suppress(sa.InvalidRequestError):
                async with conn.begin_nested():
                    await conn.execute(sql)
            with pytest.raises(sa.InvalidRequestError, match=words):
                async with conn.begin_nested():
                    pass
            await conn.execute(insert(2))

    async with conn.begin():
        await conn.execute(insert(9))
    assert committed(admin, table) == ([1, 9] if kept else [9])


@ends
async def test_transaction_held_as_an_object_ends_in_order_after_a_statement_has_ended_it(
    conn: sa.SAConnection,
    admin: Admin,
    table: str,
    sql: str,
    words: str,
    kept: bool,
) -> None:
    root = await conn.begin()
    nested = await conn.begin_nested()
    await conn.execute(insert(1))
    await conn.execute(sql)

    if words == COMMITTED:
        await nested.commit()
        await root.commit()
    else:
        with pytest.raises(sa.InvalidRequestError, match=words):
            await nested.commit()
        with pytest.raises(sa.InvalidRequestError, match=words):
            await root.commit()
        await nested.rollback()
        with pytest.raises(sa.InvalidRequestError, match=words):
            await conn.execute(insert(2))
        await root.rollback()

    assert not conn.in_transaction and not root.is_active and not nested.is_active
    async with conn.begin():
        await conn.execute(insert(9))
    assert committed(admin, table) == ([1, 9] if kept else [9])


@pytest.mark.parametrize("sql", ["BEGIN", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN"])
@pytest.mark.parametrize("end", ["is left", "raises"])
async def test_savepoint_that_went_with_its_transaction_ends_the_blocks_around_it(
    conn: sa.SAConnection, admin: Admin, table: str, mariadb: None, sql: str, end: str
) -> None:
    with pytest.raises(sa.InvalidRequestError, match="savepoint is gone"):
        async with conn.begin():
            await conn.execute(insert(1))
            with contextlib.suppress(err.OperationalError, ZeroDivisionError):
                async with conn.begin_nested():
                    await conn.execute(sql)
                    await conn.execute(insert(2))
                    if end == "raises":
                        raise ZeroDivisionError
            with pytest.raises(sa.InvalidRequestError, match="savepoint is gone"):
                await conn.execute(insert(3))

    assert not conn.in_transaction
    async with conn.begin():
        await conn.execute(insert(9))
    assert committed(admin, table) == ([9] if sql.startswith("ROLLBACK") else [1, 9])


@within
@pytest.mark.parametrize(
    ("sql", "kept"),
    [
        ("BEGIN", True),
        ("START TRANSACTION", True),
        ("COMMIT AND CHAIN", True),
        ("ROLLBACK AND CHAIN", False),
        ("DO 1; BEGIN", True),
        ("CALL anew()", False),
    ],
)
@pytest.mark.parametrize("end", ["is left", "raises"])
async def test_transaction_begun_in_the_place_of_a_blocks_is_told_of_by_mysql(
    conn: sa.SAConnection,
    admin: Admin,
    table: str,
    mysql_only: None,
    enter: Enter,
    sql: str,
    kept: bool,
    end: str,
) -> None:
    with admin.cursor() as cursor:
        schema = table.split(".")[0]
        cursor.execute(f"CREATE PROCEDURE {schema}.anew() BEGIN ROLLBACK; START TRANSACTION; END")
    with contextlib.suppress(ZeroDivisionError):
        async with enter(conn):
            await conn.execute(insert(1))
            await conn.execute(sql)
            with pytest.raises(sa.InvalidRequestError, match="this transaction"):
                await conn.execute(insert(2))
            if end == "raises" or sql not in ("START TRANSACTION", "COMMIT AND CHAIN"):
                raise ZeroDivisionError

    raw: Any = conn.connection
    assert not raw.in_transaction
    assert committed(admin, table) == ([1] if kept else [])


@pytest.mark.parametrize("sql", ["ROLLBACK", "CREATE TABLE pay (id INT)"], ids=["ends", "fails"])
async def test_cursor_executes_nothing_in_a_block_whose_transaction_has_ended(
    pool: sa.Engine, admin: Admin, table: str, sql: str
) -> None:
    async with pool.acquire() as conn:
        raw: Any = conn.connection
        with pytest.raises(ZeroDivisionError):
            async with conn.begin():
                with contextlib.suppress(err.OperationalError):
                    await conn.execute(sql)
                async with raw.cursor() as cursor:
                    with pytest.raises(sa.InvalidRequestError, match="ended|rolled"):
                        await cursor.execute(insert(2))
                raise ZeroDivisionError
    assert committed(admin, table) == []


async def test_many_statements_stop_at_the_one_that_ends_the_transaction(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute(
            "CREATE PROCEDURE put(n INT) BEGIN"
            " INSERT INTO pay VALUES (n); IF n = 2 THEN ROLLBACK; END IF; END"
        )
        for many in ("execute", "cursor"):
            with pytest.raises(sa.InvalidRequestError, match="CALL put"):
                async with conn.begin():
                    if many == "execute":
                        await conn.execute("CALL put(%s)", [(1,), (2,), (3,), (4,)])
                    else:
                        async with conn.connection.cursor() as cursor:
                            await cursor.executemany("CALL put(%s)", [(1,), (2,), (3,), (4,)])

    assert committed(admin, table) == []


async def test_switching_autocommit_on_ends_a_transaction_begun_without_it(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    engine = await opened(connect_kwargs, autocommit=False)
    async with engine.acquire() as conn:
        async with conn.begin():
            await conn.execute(insert(1))
            await conn.execute("SET autocommit = 1")
            with pytest.raises(sa.InvalidRequestError, match=COMMITTED):
                await conn.execute(insert(2))
        assert committed(admin, table) == [1]
    engine.terminate()
    await engine.wait_closed()


async def test_reset_of_the_session_ends_a_transaction(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        assert conn.connection is not None
        with pytest.raises(sa.InvalidRequestError, match=ROLLED_BACK):
            async with conn.begin():
                await conn.execute(insert(1))
                await conn.connection.reset()
                await conn.execute(insert(2))
    assert committed(admin, table) == []


async def test_chained_transaction_of_the_server_ends_with_the_block(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute("SET completion_type = 'CHAIN'")
        async with conn.begin():
            await conn.execute(insert(1))
        await conn.execute(insert(2))
        with pytest.raises(ZeroDivisionError):
            async with conn.begin():
                raise ZeroDivisionError
        await conn.execute(insert(3))
        await conn.execute("SET completion_type = DEFAULT")
    assert committed(admin, table) == [1, 2, 3]


async def test_rollback_that_comes_too_late_is_logged(
    pool: sa.Engine, admin: Admin, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(ZeroDivisionError):
            async with conn.begin():
                await conn.execute(insert(1))
                await conn.execute("CREATE USER ghost IDENTIFIED BY 'very secret'")
                raise ZeroDivisionError
        await conn.execute("DROP USER ghost")

    assert committed(admin, table) == [1]
    (message,) = caplog.messages
    assert message.startswith("a rollback came too late: 'CREATE USER ghost IDENTIFIED BY …' has")
    assert COMMITTED in message


async def test_rollback_that_may_come_too_late_is_logged(
    pool: sa.Engine, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute(f"{insert(1)}; COMMIT")
        await transaction.rollback()

    (message,) = caplog.messages
    assert message.startswith("a rollback may have come too late: ")


async def test_rollback_of_what_a_statement_has_rolled_back_is_not_logged(
    pool: sa.Engine, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute(insert(1))
        await conn.execute("ROLLBACK")
        await transaction.rollback()

    assert caplog.messages == []


async def test_block_says_what_has_ended_it_after_a_rollback_that_comes_too_late(
    pool: sa.Engine, table: str
) -> None:
    async with pool.acquire() as conn:
        async with conn.begin() as transaction:
            await conn.execute("CREATE TABLE late (id INT)")
            await transaction.rollback()
            with pytest.raises(sa.InvalidRequestError, match="'CREATE TABLE late"):
                await conn.execute(insert(1))
        await conn.execute("DROP TABLE late")


async def test_block_of_a_savepoint_says_what_has_ended_it_after_its_rollback(
    pool: sa.Engine, table: str
) -> None:
    async with pool.acquire() as conn:
        outer = await conn.begin()
        async with conn.begin_nested() as nested:
            await conn.execute("CREATE TABLE late (id INT)")
            await nested.rollback()
            with pytest.raises(sa.InvalidRequestError, match="'CREATE TABLE late"):
                await conn.execute(insert(1))
        await outer.rollback()
        await conn.execute("DROP TABLE late")


@pytest.mark.parametrize("act", ["begin", "commit", "rollback"])
async def test_end_that_an_error_hides_is_learnt_before_what_comes_next(
    pool: sa.Engine, admin: Admin, table: str, act: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute("CREATE PROCEDURE vanish() BEGIN ROLLBACK; SIGNAL SQLSTATE '45000'; END")
        transaction = await conn.begin()
        await conn.execute(insert(1))
        nested = await conn.begin_nested()
        with pytest.raises(err.MySQLError):
            await conn.execute("CALL vanish()")

        if act == "rollback":
            await nested.rollback()
        else:
            with pytest.raises(sa.InvalidRequestError, match="ended this transaction"):
                await (conn.begin() if act == "begin" else nested.commit())
        await transaction.rollback()
    assert committed(admin, table) == []


async def test_next_transaction_has_nothing_of_the_end_of_the_one_before(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        for number in range(1, 4):
            async with conn.begin(), conn.begin_nested():
                await conn.execute(insert(number))
                await conn.execute("COMMIT")
            await conn.execute(insert(10 * number))
            async with conn.begin():
                await conn.execute(insert(100 * number))
    async with pool.acquire() as conn:
        await conn.execute("INSERT INTO pay VALUES (%s)", [(7,), (8,)])
    assert committed(admin, table) == [1, 2, 3, 7, 8, 10, 20, 30, 100, 200, 300]


# -- proxies ---------------------------------------------------------------------------------------


def without_transaction_status(data: bytes) -> bytes:
    """Take IN_TRANS out of an OK packet."""
    if data[4] != 0 or len(data) > 60:
        return data
    assert data[5] < 251 and data[6] < 251
    return data[:7] + bytes((data[7] & ~1,)) + data[8:]


async def test_status_that_never_shows_a_transaction_proves_nothing(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    async with changing_proxy(connect_kwargs, without_transaction_status) as kwargs:
        engine = await opened(kwargs, client_flag=CLIENT.MULTI_STATEMENTS)
        async with engine.acquire() as conn:
            async with conn.begin():
                await conn.execute(insert(1))
                async with conn.begin_nested():
                    await conn.execute(insert(2))
                with pytest.raises(err.ProgrammingError):
                    await conn.execute("SELECT * FROM nowhere")
                await conn.execute("INSERT INTO pay VALUES (%s)", [(3,), (4,)])
                await conn.execute("SELECT 1; SELECT 2")
            async with conn.begin_twophase() as transaction:
                await conn.execute(insert(5))
                await transaction.prepare()
            with pytest.raises(sa.InvalidRequestError, match="deadlock, error 1213"):
                async with conn.begin():
                    await conn.execute(insert(6))
                    with pytest.raises(err.OperationalError):
                        await conn.execute("SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213")
                    await conn.execute(insert(7))
        engine.terminate()
        await engine.wait_closed()
    assert committed(admin, table) == [1, 2, 3, 4, 5]


# -- errors that pass for deadlocks ----------------------------------------------------------------


@pytest.mark.parametrize("state", ["45000", "40001", "HY000"])
@pytest.mark.parametrize("code", [1213, 1205, 1614])
@pytest.mark.parametrize(
    "enter", [WITHIN["begin"], WITHIN["savepoint"]], ids=["begin", "savepoint"]
)
async def test_error_of_a_program_is_no_deadlock_whatever_its_number(
    pool: sa.Engine, admin: Admin, table: str, enter: Enter, state: str, code: int
) -> None:
    async with pool.acquire() as conn, enter(conn):
        await conn.execute(insert(1))
        with pytest.raises(err.MySQLError, match=str(code)):
            await conn.execute(f"SIGNAL SQLSTATE '{state}' SET MYSQL_ERRNO = {code}")
        await conn.execute(insert(2))
    assert committed(admin, table) == [1, 2]


async def test_error_of_a_program_that_rolled_back_is_told_by_the_status(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute(
            "CREATE PROCEDURE give_up() BEGIN ROLLBACK;"
            " SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1213; END"
        )
        with pytest.raises(sa.InvalidRequestError, match="ended this .*, with error 1213"):
            async with conn.begin():
                await conn.execute(insert(1))
                with pytest.raises(err.OperationalError):
                    await conn.execute("CALL give_up()")
                await conn.execute(insert(2))
    assert committed(admin, table) == []


@pytest.mark.parametrize("late", [False, True], ids=["before the answer", "with the answer"])
async def test_inner_block_that_is_cancelled_as_it_ends_takes_its_work_with_it(
    pool: sa.Engine, admin: Admin, table: str, late: bool
) -> None:
    async def end(block: Any) -> None:
        await block.__aexit__(None, None, None)

    async with pool.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError):
            async with conn.begin():
                await conn.execute(insert(1))
                inner = conn.begin()
                await inner.__aenter__()
                await conn.execute(insert(2))
                # Whether the transaction goes on is asked as the block ends.
                with pytest.raises(err.MySQLError):
                    await conn.execute("SELECT nonsense")
                assert await cancelled_at(end(inner), 1, late=late)
                await conn.execute(insert(3))

    assert committed(admin, table) == []
    await check_capacity(pool, 2)


async def test_inner_block_does_not_report_work_that_a_hidden_error_has_taken(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute(
            "CREATE PROCEDURE give_up() BEGIN ROLLBACK; SIGNAL SQLSTATE '45000'; END"
        )
        with pytest.raises(sa.InvalidRequestError, match="ended this"):
            async with conn.begin():
                with pytest.raises(sa.InvalidRequestError, match="ended this"):
                    async with conn.begin():
                        await conn.execute(insert(1))
                        with pytest.raises(err.OperationalError):
                            await conn.execute("CALL give_up()")
    assert committed(admin, table) == []


async def test_inner_block_that_fails_after_its_commit_takes_the_outer_transaction_with_it(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
            async with conn.begin():
                await conn.execute(insert(1))
                with pytest.raises(ZeroDivisionError):
                    async with conn.begin() as inner:
                        await inner.commit()
                        raise ZeroDivisionError
    assert committed(admin, table) == []


async def test_inner_transaction_may_end_while_another_task_learns_if_it_goes_on(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin():
        raw: Any = conn.connection
        transaction = await conn.begin()
        with pytest.raises(err.OperationalError):
            await conn.execute("SELECT nonsense")
        inserting = spawn(conn.execute(insert(1)))
        await steps(1)
        assert raw._session.busy and raw._session.in_doubt

        await transaction.commit()

        await inserting
    assert committed(admin, table) == [1]


# -- a transaction within another one --------------------------------------------------------------


@pytest.mark.parametrize("how", ["raises", "rolls back", "held as an object"])
async def test_block_executes_nothing_once_the_one_in_it_was_rolled_back(
    pool: sa.Engine, admin: Admin, table: str, how: str
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
            async with conn.begin():
                await conn.execute(insert(1))
                if how == "held as an object":
                    await (await conn.begin()).rollback()
                else:
                    with contextlib.suppress(ZeroDivisionError):
                        async with conn.begin() as transaction:
                            if how == "raises":
                                raise ZeroDivisionError
                            await transaction.rollback()
                for act in (
                    lambda: conn.execute(insert(2)),
                    lambda: conn.execute("SELECT 1"),
                    lambda: conn.begin(),
                    lambda: conn.begin_nested(),
                    lambda: conn.begin_twophase(),
                ):
                    with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
                        await act()

        assert not conn.in_transaction
        async with conn.begin():
            await conn.execute(insert(9))
    assert committed(admin, table) == [9]


async def test_savepoints_block_executes_nothing_once_a_transaction_in_it_was_rolled_back(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin():
        await conn.execute(insert(1))
        with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
            async with conn.begin_nested():
                await conn.execute(insert(2))
                await (await conn.begin()).rollback()
                with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
                    await conn.execute(insert(3))
        await conn.execute(insert(4))
    assert committed(admin, table) == [1, 4]


async def test_inner_block_executes_nothing_once_the_savepoint_around_it_was_closed(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin():
        outer = await conn.begin_nested()
        await conn.execute(insert(1))
        with pytest.raises(sa.InvalidRequestError, match="has been released"):
            async with conn.begin_nested():
                await conn.execute(insert(2))
                await outer.close()
                with pytest.raises(sa.InvalidRequestError, match="has been released"):
                    await conn.execute(insert(3))
        await conn.execute(insert(4))
    assert committed(admin, table) == [1, 2, 4]


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_inner_block_executes_nothing_once_the_outer_transaction_was_ended(
    pool: sa.Engine, admin: Admin, table: str, end: str
) -> None:
    for begin in ("begin", "begin_nested"):
        async with pool.acquire() as conn, conn.begin() as outer:
            with pytest.raises(sa.InvalidRequestError):
                async with getattr(conn, begin)():
                    await getattr(outer, end)()
                    with pytest.raises(sa.InvalidRequestError, match="has been (com|rolled)"):
                        await conn.execute(insert(1))
            with pytest.raises(sa.InvalidRequestError, match="leave its block"):
                await conn.execute(insert(2))
    assert committed(admin, table) == []


async def test_connection_answers_after_transactions_held_as_objects(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        outer = await conn.begin()
        await conn.execute(insert(1))
        inner = await conn.begin()
        await inner.rollback()

        assert not outer.is_active and not inner.is_active and not conn.in_transaction
        assert await conn.scalar("SELECT COUNT(*) FROM pay") == 0
        with pytest.raises(sa.InvalidRequestError, match="inactive"):
            await outer.commit()
        await outer.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback", "outer"])
async def test_block_of_a_transaction_that_is_over_is_not_entered(
    pool: sa.Engine, admin: Admin, table: str, end: str
) -> None:
    async with pool.acquire() as conn:
        outer = await conn.begin()
        transaction = await conn.begin_nested() if end == "outer" else outer
        await (outer.commit() if end == "outer" else getattr(outer, end)())
        with pytest.raises(sa.InvalidRequestError, match="inactive"):
            async with transaction:
                await conn.execute(insert(1))
        await conn.execute(insert(2))
    assert committed(admin, table) == [2]


async def test_block_within_its_own_is_refused(pool: sa.Engine, admin: Admin, table: str) -> None:
    async with pool.acquire() as conn, conn.begin() as transaction:
        await conn.execute(insert(1))
        with pytest.raises(sa.InvalidRequestError, match="has its block"):
            async with transaction:
                await conn.execute(insert(2))
        await conn.execute(insert(3))
    assert committed(admin, table) == [1, 3]


@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("begin", ["begin", "begin_nested", "begin_twophase"])
async def test_block_that_has_ended_its_transaction_executes_nothing_more(
    pool: sa.Engine, admin: Admin, table: str, begin: str, end: str
) -> None:
    async with pool.acquire() as conn:
        async with getattr(conn, begin)() as transaction:
            await conn.execute(insert(1))
            await getattr(transaction, end)()
            for act in (lambda: conn.execute(insert(2)), conn.begin, conn.begin_nested):
                with pytest.raises(sa.InvalidRequestError, match="leave its block"):
                    await act()
        await conn.execute(insert(3))
    assert committed(admin, table) == ([1, 3] if end == "commit" else [3])


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_outer_block_goes_on_once_the_one_of_a_savepoint_is_left(
    pool: sa.Engine, admin: Admin, table: str, end: str
) -> None:
    async with pool.acquire() as conn, conn.begin():
        async with conn.begin_nested() as savepoint:
            await conn.execute(insert(1))
            await getattr(savepoint, end)()
            with pytest.raises(sa.InvalidRequestError, match="this savepoint has been"):
                await conn.execute(insert(2))
        await conn.execute(insert(3))
    assert committed(admin, table) == ([1, 3] if end == "commit" else [3])


async def test_outer_block_executes_nothing_once_it_was_rolled_back_after_an_inner_one(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        async with conn.begin() as outer:
            async with conn.begin_nested():
                await conn.execute(insert(1))
            async with conn.begin():
                await conn.execute(insert(2))
            await outer.rollback()
            with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
                await conn.execute(insert(3))
        await conn.execute(insert(4))
    assert committed(admin, table) == [4]


async def test_inner_transaction_may_commit_what_a_statement_has_committed(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        outer = await conn.begin()
        inner = await conn.begin()
        await conn.execute(insert(1))
        await conn.execute("COMMIT")

        await inner.commit()
        await outer.commit()

        assert not conn.in_transaction
    assert committed(admin, table) == [1]


async def test_block_whose_own_rollback_is_cut_off_is_left_without_another_error(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin() as transaction:
        await conn.execute(insert(1))
        task = spawn(transaction.rollback())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert conn.closed
    assert committed(admin, table) == []


# -- two-phase -------------------------------------------------------------------------------------


async def test_nothing_is_executed_in_a_transaction_that_is_prepared(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        async with conn.begin_twophase() as transaction:
            await conn.execute(insert(1))
            await transaction.prepare()
            for act in (
                lambda: conn.execute(insert(2)),
                lambda: conn.begin(),
                lambda: conn.begin_nested(),
            ):
                with pytest.raises(sa.InvalidRequestError, match="is prepared"):
                    await act()
            assert transaction.xid in await conn.recover_twophase()
        await conn.execute(insert(3))
    assert committed(admin, table) == [1, 3]


@pytest.fixture
async def orphan(pool: sa.Engine, admin: Admin) -> AsyncIterator[str]:
    """The xid of a prepared transaction that has inserted 1."""
    conn = await pool.acquire()
    transaction = await conn.begin_twophase("orphan")
    await conn.execute(insert(1))
    await transaction.prepare()
    assert conn.connection is not None
    await conn.connection.ensure_closed()
    await conn.close()
    yield "orphan"

    def gone() -> bool:
        with admin.cursor() as cursor:
            cursor.execute("XA RECOVER")
            if all(xid not in ("orphan", b"orphan") for *_, xid in cursor.fetchall()):
                return True
            with contextlib.suppress(err.MySQLError):  # its session has not quite ended
                cursor.execute("XA ROLLBACK 'orphan'")
            return False

    await until(gone)  # the test need not have ended it


ENDING_PREPARED = {"commit_prepared": [1], "rollback_prepared": []}
end_prepared = pytest.mark.parametrize(("how", "kept"), ENDING_PREPARED.items())


@end_prepared
@pytest.mark.parametrize("unknown", [False, True], ids=["known", "unknown"])
@pytest.mark.parametrize(
    ("begin", "autocommit"),
    [
        ("by itself", False),
        ("by text", False),
        ("by text", True),
        ("begin", False),
        ("begin", True),
        ("begin_nested", True),
    ],
)
async def test_end_of_a_prepared_transaction_leaves_the_connections_own_work_alone(
    connect_kwargs: Kwargs,
    admin: Admin,
    table: str,
    orphan: str,
    how: str,
    kept: list[int],
    unknown: bool,
    begin: str,
    autocommit: bool,
) -> None:
    engine = await opened(connect_kwargs, autocommit=autocommit)
    async with engine.acquire() as conn:
        if begin == "by text":
            await conn.execute("BEGIN")
        elif begin != "by itself":
            await getattr(conn, begin)()
        await conn.execute(insert(5))

        for _ in range(2):
            with pytest.raises(sa.InvalidRequestError, match="commit it or roll it back"):
                await getattr(conn, how)("nobody's" if unknown else orphan)
            assert committed(admin, table) == []
        assert await conn.scalar("SELECT COUNT(*) FROM pay") == 1
        if conn.in_transaction:
            await conn.close()
        else:
            await conn.execute("ROLLBACK")
    assert committed(admin, table) == []

    async with engine.acquire() as conn:
        await eventually(lambda: getattr(conn, how)(orphan))
        assert await conn.scalar("SELECT @@autocommit") == int(autocommit)
        assert orphan not in await conn.recover_twophase()
    assert committed(admin, table) == kept
    engine.terminate()
    await engine.wait_closed()


async def eventually(attempt: Callable[[], Any]) -> None:
    """Repeat until the server has noticed that the transaction's own connection is gone."""
    end = now() + 10
    while True:
        try:
            return await attempt()
        except err.OperationalError as error:
            if error.args[0] != 1397 or now() > end:
                raise
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("how", ENDING_PREPARED)
async def test_unknown_prepared_transaction_changes_nothing_without_autocommit(
    connect_kwargs: Kwargs, admin: Admin, table: str, how: str
) -> None:
    engine = await opened(connect_kwargs, autocommit=False)
    async with engine.acquire() as conn:
        with pytest.raises(err.OperationalError, match="1397"):
            await getattr(conn, how)("nobody's")
        await conn.execute(insert(5))
        await conn.execute("ROLLBACK")
    engine.terminate()
    await engine.wait_closed()
    assert committed(admin, table) == []


@pytest.mark.parametrize("how", ENDING_PREPARED)
async def test_unknown_prepared_transaction_changes_nothing_in_a_block_that_has_ended_itself(
    connect_kwargs: Kwargs, table: str, how: str
) -> None:
    engine = await opened(connect_kwargs, autocommit=False)
    async with engine.acquire() as conn:
        async with conn.begin() as transaction:
            await transaction.commit()
            with pytest.raises(err.OperationalError, match="1397"):
                await getattr(conn, how)("nobody's")
        assert await conn.scalar("SELECT @@autocommit") == 0
    engine.terminate()
    await engine.wait_closed()


@pytest.mark.parametrize("how", ENDING_PREPARED)
async def test_connection_is_closed_whose_autocommit_cannot_be_switched_off_again(how: str) -> None:
    on, off = b"SET autocommit = 1", b"SET autocommit = 0"
    without = OK.replace(b"\x02", b"\0"), EOF.replace(b"\x02", b"\0")

    async def script(peer: Peer) -> None:
        await peer.welcome(version=b"5.5.5-10.11.4-MariaDB")
        await peer.answer(packet(without[0]))
        await peer.answer(one_row(b"0").replace(EOF, without[1]))
        assert await peer.answer(packet(OK)) == b"\x03" + on
        await peer.answer(packet(error(1397, "XAER_NOTA", "XAE04")))
        assert await peer.answer(packet(error(1205, "try again"))) == b"\x03" + off

    async with (
        fake_server(script) as arguments,
        sa.create_engine(**{**arguments, "autocommit": False}) as engine,
        engine.acquire() as conn,
    ):
        with pytest.raises(err.OperationalError, match="1397"):
            await getattr(conn, how)("nobody's")

        assert conn.closed


@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "without"])
@pytest.mark.parametrize("how", ENDING_PREPARED)
async def test_prepared_transaction_is_not_ended_within_a_transaction_that_a_statement_has_ended(
    connect_kwargs: Kwargs, table: str, orphan: str, how: str, autocommit: bool
) -> None:
    engine = await opened(connect_kwargs, autocommit=autocommit)
    async with engine.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute("COMMIT")

        with pytest.raises(sa.InvalidRequestError, match="commit it or roll it back"):
            await getattr(conn, how)(orphan)
        await transaction.rollback()
    engine.terminate()
    await engine.wait_closed()


async def test_autocommit_stays_on_though_a_prepared_transaction_is_not_ended(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        await conn.execute("BEGIN")
        with pytest.raises(sa.InvalidRequestError, match="the connection is in a transaction"):
            await conn.commit_prepared("x")
        await conn.execute("ROLLBACK")

        await conn.execute(insert(1))
        assert committed(admin, table) == [1]


@pytest.mark.parametrize("how", ENDING_PREPARED)
async def test_prepared_transaction_is_not_ended_in_what_a_cancelled_statement_has_begun(
    pool: sa.Engine, orphan: str, how: str
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("DO SLEEP(0.1); BEGIN", timeout=0.01)

        with pytest.raises(sa.InvalidRequestError, match="commit it or roll it back"):
            await getattr(conn, how)(orphan)
        await conn.execute("ROLLBACK")


@pytest.mark.parametrize("how", ENDING_PREPARED)
async def test_end_of_a_prepared_transaction_that_is_cut_off_keeps_no_work_of_the_connection(
    connect_kwargs: Kwargs, admin: Admin, table: str, how: str
) -> None:
    async def end(conn: sa.SAConnection) -> None:
        with contextlib.suppress(err.MySQLError, sa.InvalidRequestError):
            await getattr(conn, how)("nobody's")

    engine = await opened(connect_kwargs, autocommit=False)
    for within in (False, True):
        turn, cut = 1, True
        while cut:
            conn = await engine.acquire()
            if within:
                await conn.execute(insert(5))
            cut = await cancelled_at(end(conn), turn)
            if not conn.closed:
                with contextlib.suppress(err.MySQLError):
                    await conn.execute(insert(6))
            await conn.close()
            assert committed(admin, table) == []
            turn += 1
    engine.terminate()
    await engine.wait_closed()


async def test_other_tasks_execute_nothing_while_a_prepared_transaction_is_ended(
    connect_kwargs: Kwargs, admin: Admin, table: str, orphan: str
) -> None:
    engine = await opened(connect_kwargs, autocommit=False)
    async with engine.acquire() as conn:
        ending = spawn(eventually(lambda: conn.commit_prepared(orphan)))
        while not ending.done():
            with contextlib.suppress(sa.InvalidRequestError):
                await conn.execute(insert(6))
                await conn.execute("ROLLBACK")
            await asyncio.sleep(0)
        with contextlib.suppress(sa.InvalidRequestError):
            await ending
    engine.terminate()
    await engine.wait_closed()
    assert 6 not in committed(admin, table)


@end_prepared
async def test_prepared_transaction_may_be_ended_after_an_error(
    pool: sa.Engine, admin: Admin, table: str, orphan: str, how: str, kept: list[int]
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(err.ProgrammingError):
            await conn.execute("SELECT * FROM nowhere")

        await eventually(lambda: getattr(conn, how)(orphan))
    assert committed(admin, table) == kept


async def test_work_that_a_proxy_hides_is_not_committed_with_a_prepared_transaction(
    connect_kwargs: Kwargs, admin: Admin, table: str, orphan: str, mariadb: None
) -> None:
    async with changing_proxy(connect_kwargs, without_transaction_status) as kwargs:
        engine = await opened(kwargs, autocommit=False)
        async with engine.acquire() as conn:
            await conn.execute(insert(5))
            with pytest.raises(sa.InvalidRequestError, match="commit it or roll it back"):
                await conn.commit_prepared(orphan)
        engine.terminate()
        await engine.wait_closed()
    assert committed(admin, table) == []


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_two_phase_transaction_that_cannot_be_left_is_rolled_back(
    pool: sa.Engine, admin: Admin, table: str, end: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin_twophase("left")
        await conn.execute(insert(1))
        await conn.execute("XA END 'left'")

        if end == "commit":
            with pytest.raises(err.OperationalError, match="1399"):
                await transaction.commit()
        else:
            await transaction.rollback()
        assert conn.closed is (end == "commit")
    assert committed(admin, table) == []


async def test_savepoint_of_a_prepared_transaction_is_not_rolled_back_by_itself(
    pool: sa.Engine, admin: Admin, table: str
) -> None:
    async with pool.acquire() as conn:
        transaction = await conn.begin_twophase()
        nested = await conn.begin_nested()
        await conn.execute(insert(1))
        await transaction.prepare()

        with pytest.raises(sa.InvalidRequestError, match="is prepared"):
            await nested.rollback()
        await nested.commit()
        await transaction.commit()
    assert committed(admin, table) == [1]


@end_prepared
async def test_own_two_phase_transaction_goes_on_beside_the_end_of_another(
    pool: sa.Engine, admin: Admin, table: str, orphan: str, how: str, kept: list[int]
) -> None:
    async with pool.acquire() as conn, pool.acquire() as other:
        transaction = await conn.begin_twophase()
        await transaction.prepare()
        with contextlib.suppress(err.OperationalError):  # MySQL has let go of its own by then
            await getattr(conn, how)(orphan)
        assert transaction.is_active
        await transaction.rollback()
        if orphan in await other.recover_twophase():
            await eventually(lambda: getattr(other, how)(orphan))
    assert committed(admin, table) == kept


async def test_block_that_has_ended_itself_is_left_though_its_connection_is_lost(
    pool: sa.Engine, table: str
) -> None:
    async with pool.acquire() as conn, conn.begin() as transaction:
        await transaction.rollback()
        conn.invalidate()
