"""Code of the user's that runs while an answer is read: what it raises, closes and gives back."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fakes import Peer, error, fake_server, packet, result
from pymysql import err
from sqlalchemy import Integer, TypeDecorator, literal_column, select, text
from watch import at_rest, check_capacity, closed_in_time, lend, spawn, steps, until

import aiomysqlx as sa

Kwargs = dict[str, Any]
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")


class OwnInterrupt(BaseException):
    """An error that is no `Exception`, as test frameworks have them."""


class Calling(TypeDecorator[int]):
    """A type whose result processor calls a function, at one of the rows."""

    impl = Integer
    cache_ok = False

    def __init__(self, call: Callable[[], Any], at: int = 0, factory: bool = False) -> None:
        super().__init__()
        self.call = call
        self.at = at
        self.factory = factory

    def result_processor(self, dialect: Any, coltype: Any) -> Any:
        if self.factory:
            self.call()
        count = 0

        def process(value: Any) -> Any:
            nonlocal count
            if count == self.at and not self.factory:
                self.call()
            count += 1
            return value

        return process


NUMBERS = text("numbers")
MANY = 700


def statement(call: Callable[[], Any], at: int = 0, factory: bool = False) -> Any:
    """Select the numbers from 0 on, of a type that calls a function."""
    column = literal_column("n", Calling(call, at, factory)).label("n")
    return select(column).select_from(NUMBERS)


def raising(error: BaseException) -> Callable[[], Any]:
    def call() -> None:
        raise error

    return call


@pytest.fixture
async def pool(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of one connection, and a table of numbers."""
    made = sa.create_engine(**connect_kwargs, autocommit=True, maxsize=1)
    async with closed_in_time(made) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE numbers (n INT PRIMARY KEY)")
            await conn.execute("INSERT INTO numbers VALUES (%s)", [(n,) for n in range(MANY)])
        yield engine


ERRORS = {
    "StopIteration": StopIteration(1),
    "CancelledError": asyncio.CancelledError("mine"),
    "GeneratorExit": GeneratorExit(),
}
PASSED = {
    "KeyError": KeyError("mine"),
    "TimeoutError": asyncio.TimeoutError(),
    "StopAsyncIteration": StopAsyncIteration(),
    "no Exception": OwnInterrupt("mine"),
    "server's": err.OperationalError(2013, "mine"),
}
WHERE = [
    pytest.param({}, id="first row"),
    pytest.param({"at": MANY - 1}, id="last row"),
    pytest.param({"factory": True}, id="factory"),
]


@server
@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("where", WHERE)
async def test_error_that_would_end_its_task_is_the_cause_of_one_that_does_not(
    pool: sa.Engine, name: str, where: Any
) -> None:
    async with pool.acquire() as conn:
        raw = conn.connection
        query = statement(raising(ERRORS[name]), **where)
        for _ in range(2):  # the second time with the plan of the first
            with pytest.raises(RuntimeError, match=f"a result processor raised {name}") as caught:
                await conn.execute(query)
            assert caught.value.__cause__ is ERRORS[name]
            assert await conn.scalar("SELECT 42") == 42
        assert conn.connection is raw
    await check_capacity(pool, 1)


@server
@pytest.mark.parametrize("name", PASSED)
@pytest.mark.parametrize("where", WHERE)
async def test_error_of_a_processor_passes_and_the_connection_goes_on(
    pool: sa.Engine, name: str, where: Any
) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(type(PASSED[name])) as caught:
            await conn.execute(statement(raising(PASSED[name]), **where))
        assert caught.value is PASSED[name]
        assert await conn.scalar("SELECT 42") == 42
    assert pool.stats().closed == {}


@server
@pytest.mark.parametrize("how", ["close", "invalidate", "terminate", "release", "lost"])
@pytest.mark.parametrize("at", [0, MANY - 1], ids=["first row", "last row"])
async def test_processor_that_ends_its_connection_fails_its_statement_only(
    connect_kwargs: Kwargs, pool: sa.Engine, how: str, at: int
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        end = {
            "close": raw.close,
            "invalidate": conn.invalidate,
            "terminate": engine.terminate,
            "release": lambda: engine.release(conn),
            "lost": lambda: raw._session.protocol.eof_received(),
        }[how]

        with pytest.raises(err.OperationalError, match="2013") as caught:
            await conn.execute(statement(end, at))

        assert sa.is_disconnect(caught.value)
        assert raw.closed
        if how != "terminate":
            engine.release(conn)
            await check_capacity(engine, 1)


@server
@pytest.mark.parametrize("known", [False, True], ids=["first time", "again"])
async def test_statement_within_a_processor_is_refused(pool: sa.Engine, known: bool) -> None:
    async with pool.acquire() as conn:

        def execute() -> None:
            with pytest.raises(sa.InvalidRequestError, match="another statement is in progress"):
                conn.execute("SELECT 1").send(None)

        query = statement(execute)
        for _ in range(1 + known):
            rows = await (await conn.execute(query)).fetchall()
            assert [row.n for row in rows] == list(range(MANY))
        assert await conn.scalar("SELECT 42") == 42


@server
@pytest.mark.parametrize("at", [0, MANY - 1], ids=["first row", "last row"])
async def test_processor_may_cancel_its_own_task(pool: sa.Engine, at: int) -> None:
    async with pool.acquire() as conn:
        task: asyncio.Future[Any] = spawn(conn.execute(statement(lambda: task.cancel(), at)))
        await asyncio.wait([task])

        assert task.cancelled()
        assert await conn.scalar("SELECT 42") == 42
    assert pool.stats().closed == {}


@server
async def test_processor_may_close_its_own_coroutine(pool: sa.Engine) -> None:
    async with pool.acquire() as conn:
        execution = conn.execute(statement(lambda: execution.close()))
        waited_for = execution.send(None)

        await asyncio.wait([waited_for])

        assert await conn.scalar("SELECT 42") == 42
    assert pool.stats().closed == {}


# -- coroutines that are closed --------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "collect"])
@pytest.mark.parametrize("when", ["before the answer", "after the answer"])
@pytest.mark.parametrize(
    "answer", [packet(error(1064, "no", "42000")), result(b"x")], ids=["error", "row"]
)
async def test_coroutine_that_is_closed_leaves_nothing_behind(
    how: str, when: str, answer: bytes
) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        await go_on.wait()
        peer.write(answer)
        await peer.answer(result(b"next"))
        await peer.read()

    async with (
        fake_server(script) as arguments,
        sa.create_engine(**arguments, maxsize=1) as engine,
    ):
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            execution = conn.execute("SELECT 1")
            execution.send(None)
            if when == "after the answer":
                go_on.set()
                await until(lambda: not raw.busy)
            if how == "close":
                execution.close()
            del execution
            gc.collect()
            go_on.set()

            assert await asyncio.wait_for(conn.scalar("SELECT 2"), 5) == "next"
        gc.collect()
        await steps()
        assert engine.stats().closed == {}


@server
async def test_statements_that_fail_as_they_are_given_up_leave_nothing_behind(
    pool: sa.Engine,
) -> None:
    async with pool.acquire() as conn:
        for turns in range(40):
            task = spawn(asyncio.wait_for(conn.execute("SELEKT"), 0.0002 * turns))
            await asyncio.wait([task])
            assert isinstance(task.exception(), (asyncio.TimeoutError, err.ProgrammingError))
        assert await conn.scalar("SELECT 42") == 42
        gc.collect()


# -- mistakes of this package ----------------------------------------------------------------------


@server
def cannot_learn(conn: sa.SAConnection, mistake: BaseException) -> None:
    """Have the next answer on a connection be read with a mistake of this package's."""

    class Status(int):
        def __xor__(self, other: object) -> int:
            raise mistake

    assert conn.connection is not None
    conn.connection._session.protocol.status = Status(2 | 1 << 15)  # and no answer's


@pytest.mark.parametrize("mistake", [KeyError("row"), AssertionError(), RecursionError()], ids=repr)
async def test_mistake_while_reading_costs_one_connection_and_no_place(
    pool: sa.Engine, mistake: Exception
) -> None:
    (before,) = await lend(pool, 1)

    async with pool.acquire() as conn:
        cannot_learn(conn, mistake)
        with pytest.raises(err.OperationalError, match="2013, .*not taken") as caught:
            await asyncio.wait_for(conn.execute("SELECT 1"), 5)
        assert caught.value.__cause__ is mistake
        with pytest.raises(err.OperationalError, match=f"not taken: {type(mistake).__name__}"):
            await conn.execute("SELECT 2")

    await until(lambda: at_rest(pool, 1))
    assert before not in await lend(pool, 1)


@server
@pytest.mark.parametrize("error", [RuntimeError("closed"), ValueError("no bytes")], ids=repr)
@pytest.mark.parametrize("where", ["statement", "rollback", "goodbye"])
async def test_command_that_cannot_be_written_costs_one_connection_and_no_place(
    pool: sa.Engine, error: Exception, where: str
) -> None:
    (before,) = await lend(pool, 1)

    class Broken:
        """A transport that takes nothing more."""

        def __init__(self, transport: Any) -> None:
            self.abort = transport.abort

        def write(self, data: bytes) -> None:
            raise error

    conn = await pool.acquire()
    if where == "rollback":
        await conn.execute("START TRANSACTION")
    protocol: Any = before._session.protocol
    protocol._transport = Broken(protocol._transport)
    if where == "statement":
        with pytest.raises(err.OperationalError, match="2013") as caught:
            await asyncio.wait_for(conn.execute("SELECT 1"), 5)
        assert caught.value.__cause__ is error
    elif where == "goodbye":
        conn.invalidate()
    pool.release(conn)

    await until(lambda: at_rest(pool, 1))
    assert before not in await lend(pool, 1)


@server
async def test_mistake_in_the_answer_to_nobody_costs_no_place(pool: sa.Engine) -> None:
    async with pool.acquire() as conn:
        task = spawn(conn.execute("SELECT SLEEP(0.1)"))
        await steps()
        task.cancel()
        await asyncio.wait([task])
        cannot_learn(conn, KeyError("row"))

    await until(lambda: pool.stats().closed != {})
    await check_capacity(pool, 1)
