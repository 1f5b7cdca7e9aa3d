"""`engine.run()`: what is run again, what never is, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from faults import FaultyProxy
from pymysql import err
from pymysql.constants import CLIENT
from watch import CancelledAt, at_rest, cause_of, one, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection


@pytest.fixture
def table(admin: Admin, database: str) -> str:
    """The name of a table of two rows that count; there is a procedure, too."""
    name = f"{database}.counters"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {name} (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
        cursor.execute(f"INSERT INTO {name} VALUES (1, 0), (2, 0)")
        cursor.execute(f"CREATE PROCEDURE {database}.slow() BEGIN DO SLEEP(30); COMMIT; END")
        cursor.execute("COMMIT")
    return name


@contextlib.asynccontextmanager
async def opened(kwargs: Kwargs, **more: Any) -> AsyncIterator[sa.Engine]:
    """Give an engine of two connections at most."""
    engine = await sa.create_engine(
        **{**kwargs, "minsize": 0, "maxsize": 2, "autocommit": True, **more}
    )
    try:
        yield engine
    finally:
        engine.terminate()
        await engine.wait_closed()


@pytest.fixture
async def engine(connect_kwargs: Kwargs, table: str) -> AsyncIterator[sa.Engine]:
    """An engine, to whose server the table belongs."""
    more = {"init_command": "SET innodb_lock_wait_timeout = 1"}
    async with opened(connect_kwargs, **more) as engine:
        yield engine


@pytest.fixture
async def through(proxy: FaultyProxy, table: str) -> AsyncIterator[sa.Engine]:
    """An engine whose connections go through the proxy."""
    async with opened(proxy.kwargs) as engine:
        yield engine


class Counted:
    """A function to run, which notes the connections that it was run with."""

    def __init__(self, *works: Callable[[sa.SAConnection], Awaitable[Any]]) -> None:
        self.calls: list[Any] = []
        self._works = list(works)

    async def __call__(self, conn: sa.SAConnection) -> int:
        """Count in the first row, then do what the next of the works does."""
        self.calls.append(conn.connection)
        await conn.execute(ADD)
        if self._works:
            await self._works.pop(0)(conn)
        return len(self.calls)


ADD = "UPDATE counters SET n = n + 1 WHERE id = 1"


def numbers(admin: Admin, table: str) -> list[int]:
    with admin.cursor() as cursor:
        cursor.execute(f"SELECT n FROM {table} ORDER BY id")
        return [row[0] for row in cursor.fetchall()]


def raising(error: BaseException) -> Callable[[sa.SAConnection], Awaitable[Any]]:
    async def work(_: sa.SAConnection) -> None:
        raise error

    return work


def executing(sql: str) -> Callable[[sa.SAConnection], Awaitable[Any]]:
    async def work(conn: sa.SAConnection) -> None:
        await conn.execute(sql)

    return work


SIGNAL = "SIGNAL SQLSTATE '{}' SET MYSQL_ERRNO = {}"


# -- what is run again -----------------------------------------------------------------------------


async def test_result_of_the_function_is_returned_and_its_work_committed(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    function = Counted()

    assert await engine.run(function) == 1

    assert numbers(admin, table) == [1, 0]
    await until(lambda: at_rest(engine))


async def test_deadlock_is_run_again(engine: sa.Engine, admin: Admin, table: str) -> None:
    calls: list[int] = []
    arrived: set[int] = set()

    async def add(first: int, second: int) -> None:
        async def function(conn: sa.SAConnection) -> None:
            calls.append(first)
            await conn.execute(f"UPDATE counters SET n = n + 1 WHERE id = {first}")
            arrived.add(first)
            await until(lambda: len(arrived) == 2)
            await conn.execute(f"UPDATE counters SET n = n + 10 WHERE id = {second}")

        await engine.run(function)

    await asyncio.gather(add(1, 2), add(2, 1))

    assert numbers(admin, table) == [11, 11]
    assert len(calls) >= 3


async def test_lock_that_is_waited_for_too_long_is_run_again(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"UPDATE {table} SET n = n + 100 WHERE id = 1")
        function = Counted()

        async def insert_first(conn: sa.SAConnection) -> int:
            await conn.execute("UPDATE counters SET n = n + 1 WHERE id = 2")
            return await function(conn)

        task = spawn(engine.run(insert_first))
        await until(lambda: len(function.calls) == 2)
        cursor.execute("COMMIT")

    assert await task == len(function.calls) >= 2
    assert numbers(admin, table) == [101, 1]


@pytest.mark.parametrize("state", ["40001", "HY000"])
@pytest.mark.parametrize("code", [1213, 1205, 1020, 3101])
async def test_conflict_is_run_again_until_the_attempts_are_used_up(
    engine: sa.Engine, admin: Admin, table: str, code: int, state: str
) -> None:
    conflict = executing(SIGNAL.format(state, code))
    function = Counted(*[conflict] * 3)

    with pytest.raises(err.MySQLError, match=str(code)):
        await engine.run(function, retries=2)
    assert len(function.calls) == 3
    assert numbers(admin, table) == [0, 0]

    function = Counted(conflict, conflict)
    assert await engine.run(function, retries=2) == 3
    assert numbers(admin, table) == [1, 0]


async def test_connection_that_is_lost_before_its_commit_is_replaced(
    through: sa.Engine, proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    async def cut(conn: sa.SAConnection) -> None:
        proxy.drop()
        await conn.execute("SELECT 1")

    function = Counted(cut)

    assert await through.run(function) == 2

    assert function.calls[0] is not function.calls[1]
    assert numbers(admin, table) == [1, 0]


@pytest.mark.parametrize("kind", ["fin", "reset"])
@pytest.mark.parametrize("way", ["up", "down"])
@pytest.mark.parametrize("rides", [False, True], ids=["by itself", "rides"])
@pytest.mark.parametrize("statement", ["BEGIN", "UPDATE"])
async def test_statement_that_is_lost_is_run_again_in_a_new_transaction(
    proxy: FaultyProxy, admin: Admin, table: str, statement: str, rides: bool, way: Any, kind: Any
) -> None:
    async with opened(proxy.kwargs, pipelining=rides) as engine:
        proxy.fault_at(statement.encode(), kind, way)
        function = Counted()

        assert await engine.run(function) == len(function.calls)

    assert numbers(admin, table) == [1, 0]
    assert len(proxy.passages) == 2


async def test_server_that_is_away_is_asked_again(
    through: sa.Engine, proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    proxy.refuse()
    proxy.drop()
    await until(lambda: not through.freesize)
    function = Counted()
    task = spawn(through.run(function))
    await until(lambda: through.stats().waiting == 1)
    await until(lambda: through.stats().waiting == 0)

    await proxy.accept()

    assert await task == 1
    assert numbers(admin, table) == [1, 0]


async def test_server_that_stops_writing_for_a_while_is_asked_again(
    connect_kwargs: Kwargs, admin: Admin, table: str
) -> None:
    def make(read_only: int) -> None:
        with admin.cursor() as cursor:
            cursor.execute(f"SET GLOBAL read_only = {read_only}")

    user = "aiomysqlx_plain"
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {user}@'%'")
        cursor.execute(f"CREATE USER {user}@'%' IDENTIFIED BY 'secret'")
        cursor.execute(f"GRANT ALL ON {table.partition('.')[0]}.* TO {user}@'%'")
    try:
        async with opened({**connect_kwargs, "user": user, "password": "secret"}) as engine:
            function = Counted()

            async def work(conn: sa.SAConnection) -> int:
                try:
                    return await function(conn)
                finally:
                    # Once the statement is refused, and once its COMMIT.
                    make(len(function.calls) == 2)

            make(1)
            assert await engine.run(work) == 4
    finally:
        make(0)
        with admin.cursor() as cursor:
            cursor.execute(f"DROP USER {user}@'%'")
    assert numbers(admin, table) == [1, 0]


# -- what never is ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["up", "down"])
async def test_lost_commit_is_not_run_again(
    through: sa.Engine, proxy: FaultyProxy, admin: Admin, table: str, way: Any
) -> None:
    function = Counted()
    proxy.fault_at(b"COMMIT", "reset", way)

    with pytest.raises(sa.CommitUnknownError):
        await through.run(function)

    assert len(function.calls) == 1
    assert numbers(admin, table) == [int(way == "down"), 0]


ENDING = {
    "DDL": "CREATE TABLE other (id INT)",
    "COMMIT": "COMMIT",
    "a new one": "BEGIN",
}


@pytest.mark.parametrize("sql", ENDING.values(), ids=ENDING)
async def test_what_the_function_has_committed_itself_is_not_run_again(
    engine: sa.Engine, admin: Admin, table: str, sql: str
) -> None:
    async def commit(conn: sa.SAConnection) -> None:
        if sql == "BEGIN":
            assert conn.connection is not None
            await conn.connection.begin()
        else:
            await conn.execute(sql)
        raise err.OperationalError(1213, "as if of another connection")

    function = Counted(commit)

    with pytest.raises(err.OperationalError, match="as if"):
        await engine.run(function)

    assert len(function.calls) == 1
    assert numbers(admin, table) == [1, 0]


@pytest.mark.parametrize("sql", ["CALL slow()", "/*!CALL slow() */", "DO SLEEP(30)"])
@pytest.mark.parametrize("several", [False, True], ids=["one", "several"])
async def test_lost_statement_that_may_have_committed_is_not_run_again(
    proxy: FaultyProxy, admin: Admin, table: str, sql: str, several: bool
) -> None:
    async def lose(conn: sa.SAConnection) -> None:
        task = spawn(conn.execute(sql))
        await until(lambda: any(sql.encode() in command for command in proxy.commands))
        proxy.drop()
        await task

    function = Counted(lose)
    more = {"client_flag": CLIENT.MULTI_STATEMENTS} if several else {}
    async with opened(proxy.kwargs, **more) as engine:
        if sql.startswith("DO") and not several:
            assert await engine.run(function) == 2
            return
        with pytest.raises(err.OperationalError) as caught:
            await engine.run(function)

    assert sa.is_disconnect(caught.value)
    assert len(function.calls) == 1


async def test_refused_statement_that_may_have_committed_is_not_run_again(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    with admin.cursor() as cursor:
        name = f"{table.partition('.')[0]}.p"
        signal = SIGNAL.format("40001", 1213)
        cursor.execute(f"CREATE PROCEDURE {name}() BEGIN COMMIT; {signal}; END")
    function = Counted(executing("CALL p()"))

    with pytest.raises(err.OperationalError, match="1213"):
        await engine.run(function)

    assert len(function.calls) == 1
    assert numbers(admin, table) == [1, 0]


OTHERS = {
    "ours": ZeroDivisionError(),
    "duplicate": err.IntegrityError(1062, "duplicate"),
    "a limit": sa.StatementTimeoutError(3024, "too slow"),
    "no connection": sa.AcquireTimeoutError("none within 1 seconds"),
    "refused": sa.InvalidRequestError("no"),
    "without a number": err.OperationalError("1213"),
    "with anything for a number": err.OperationalError({"code": 1213}, "again"),
    "with more than a number": err.OperationalError(1213, "again", "more"),
    "lost commit": sa.CommitUnknownError(2013, "of another engine"),
}


@pytest.mark.parametrize("error", OTHERS.values(), ids=OTHERS)
async def test_any_other_error_is_raised_at_once_and_nothing_kept(
    engine: sa.Engine, admin: Admin, table: str, error: Exception
) -> None:
    function = Counted(raising(error))

    with pytest.raises(type(error)) as caught:
        await engine.run(function)

    assert caught.value is error
    assert len(function.calls) == 1
    assert numbers(admin, table) == [0, 0]


async def test_error_of_a_program_is_not_taken_for_a_conflict(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    function = Counted(executing(SIGNAL.format("45000", 1213)))

    with pytest.raises(err.MySQLError, match="1213"):
        await engine.run(function)

    assert len(function.calls) == 1
    assert numbers(admin, table) == [0, 0]


# -- ends from outside -----------------------------------------------------------------------------


async def test_cancelled_run_is_rolled_back_and_not_run_again(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    async def wait(_: sa.SAConnection) -> None:
        await asyncio.Event().wait()

    function = Counted(wait)
    for more in ({}, {"timeout": 30}):
        function = Counted(wait)
        task = spawn(engine.run(function, **more))
        await until(lambda function=function: function.calls)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        assert len(function.calls) == 1
        await until(lambda: at_rest(engine))
        assert numbers(admin, table) == [0, 0]


@pytest.mark.parametrize("limit", [0.1, 30], ids=["after the time limit", "twice"])
async def test_cancellation_of_what_tidies_up_ends_that_too(
    engine: sa.Engine, admin: Admin, table: str, limit: float
) -> None:
    async def tidy(_: sa.SAConnection) -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            tidying.set()
            await asyncio.Event().wait()

    begun, tidying = asyncio.Event(), asyncio.Event()
    task = spawn(engine.run(Counted(tidy), timeout=limit))
    await begun.wait()
    if limit == 30:
        task.cancel()
    await tidying.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)

    assert at_rest(engine)
    assert numbers(admin, table) == [0, 0]


@pytest.mark.parametrize("limit", [None, 10], ids=["no limit", "a limit"])
async def test_run_cancelled_as_it_is_done_tells_that_it_may_be_committed(
    engine: sa.Engine, admin: Admin, table: str, limit: float | None
) -> None:
    async def count(conn: sa.SAConnection) -> None:
        await conn.execute(f"UPDATE {table} SET n = n + 1 WHERE id = 1")

    async def run() -> None:
        nonlocal told
        told = asyncio.CancelledError()
        try:
            await stepped
        except asyncio.CancelledError as error:
            told = error
            raise
        told.__cause__ = sa.CommitUnknownError()  # it is known

    told: asyncio.CancelledError
    for turn in range(1, 6):
        await engine.run(count)  # its connection is lent again
        before = one(admin, f"SELECT n FROM {table} WHERE id = 1")
        stepped = CancelledAt(engine.run(count, timeout=limit), turn, late=True)
        await asyncio.wait([spawn(run())])

        counted = one(admin, f"SELECT n FROM {table} WHERE id = 1") - before
        assert not counted or isinstance(told.__cause__, sa.CommitUnknownError), turn


async def test_cancelled_pause_ends_the_run(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.running.CONFLICT_SECONDS", 60)
    monkeypatch.setattr("aiomysqlx.running.MOST_SECONDS", 60)
    function = Counted(executing(SIGNAL.format("40001", 1213)))
    task = spawn(engine.run(function))
    await until(lambda: function.calls and at_rest(engine))
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert len(function.calls) == 1


async def test_time_limit_ends_an_attempt_and_keeps_nothing(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    async def wait(_: sa.SAConnection) -> None:
        await asyncio.Event().wait()

    function = Counted(executing(SIGNAL.format("40001", 1213)), wait)

    with pytest.raises(sa.StatementTimeoutError, match="in 2 attempts: nothing is committed"):
        await engine.run(function, timeout=0.3)

    assert at_rest(engine)
    assert numbers(admin, table) == [0, 0]


async def test_time_limit_leaves_no_pause_beyond_it(
    engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.running.CONFLICT_SECONDS", 60)
    monkeypatch.setattr("aiomysqlx.running.MOST_SECONDS", 60)
    function = Counted(executing(SIGNAL.format("40001", 1213)))

    with pytest.raises(err.MySQLError, match="1213"):
        await asyncio.wait_for(engine.run(function, timeout=20), 10)

    assert len(function.calls) == 1


@pytest.mark.parametrize("how", ["time limit", "cancelled"])
async def test_commit_that_is_cut_off_from_outside_is_unknown(
    through: sa.Engine, proxy: FaultyProxy, admin: Admin, table: str, how: str
) -> None:
    function = Counted()
    proxy.fault_at(b"COMMIT", "hang")
    task = spawn(through.run(function, timeout=0.5 if how == "time limit" else 30))
    await until(lambda: any(b"COMMIT" in command for command in proxy.commands))
    if how == "time limit":
        with pytest.raises(sa.CommitUnknownError, match="the COMMIT was sent") as late:
            await task
        assert isinstance(late.value, sa.StatementTimeoutError)
    else:
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
        assert isinstance(cause_of(cancelled.value), sa.CommitUnknownError)

    assert len(function.calls) == 1
    await until(lambda: numbers(admin, table) == [1, 0])


async def test_function_that_ends_in_spite_of_the_time_limit_is_committed(
    engine: sa.Engine, admin: Admin, table: str
) -> None:
    async def insist(_: sa.SAConnection) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    assert await engine.run(Counted(insist), timeout=0.2) == 1

    assert numbers(admin, table) == [1, 0]


# -- arguments -------------------------------------------------------------------------------------


async def test_transaction_is_of_the_kind_asked_for(engine: sa.Engine) -> None:
    function = Counted()

    with pytest.raises(err.MySQLError, match="1792"):
        await engine.run(function, read_only=True, isolation_level="READ COMMITTED")

    assert len(function.calls) == 1


WRONG: dict[str, tuple[Any, Any, str]] = {
    "no function": (None, {}, "run.. takes a coroutine function, to call it, got None"),
    "a coroutine": (lambda conn: 1, {}, r"takes a coroutine function: .*lambda.* gave 1"),
    "negative": (Counted(), {"retries": -1}, "'retries' takes an int from 0, got -1"),
    "half": (Counted(), {"retries": 0.5}, "'retries' takes an int from 0, got 0.5"),
    "true": (Counted(), {"retries": True}, "'retries' takes an int from 0, got True"),
    "timeout": (Counted(), {"timeout": "1"}, "timeout"),
    "level": (Counted(), {"isolation_level": "NONE"}, "NONE"),
}


@pytest.mark.parametrize(("function", "arguments", "words"), WRONG.values(), ids=WRONG)
async def test_wrong_argument_is_refused(
    engine: sa.Engine, admin: Admin, function: Any, arguments: Any, words: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=words):
        await engine.run(function, **arguments)

    assert one(admin, "SELECT 1") == 1
