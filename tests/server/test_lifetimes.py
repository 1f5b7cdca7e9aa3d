"""What errors, connections and timers keep of those who were there: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import fakes
import pymysql
import pytest
from faults import faulty_proxy
from private_server import Certificates
from pymysql.constants import CLIENT
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    Table,
    bindparam,
    event,
    func,
    literal_column,
    select,
    text,
)
from watch import until

import aiomysqlx as sa

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
Call = Callable[[], Awaitable[Any]]


class Thing:
    """Something that a caller has at hand."""


@pytest.fixture(autouse=True)
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from what is left in cycles."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def kept_by_the_error_of(call: Call) -> tuple[type[BaseException], Any]:
    """Give the class of the error that *call* raises, and what is left of its caller's variable."""
    known: list[weakref.ref[Thing]] = []

    async def caller() -> None:
        thing = Thing()
        known.append(weakref.ref(thing))
        await call()

    try:
        await caller()
    except BaseException as error:
        kind = type(error)
        assert known[0]() is not None  # the traceback has the frame, as long as it is there
    return kind, known[0]()


# -- connecting ------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
        return port


def raising(kind: type[Exception]) -> Callable[[], str]:
    def password() -> str:
        raise kind("no password")

    return password


FAILURES: dict[str, Callable[[], Kwargs]] = {
    "nobody listens": lambda: {"port": closed_port()},
    "no such socket": lambda: {"unix_socket": "/nonexistent/socket"},
    "no such host": lambda: {"host": "nowhere.invalid"},
    "access denied": lambda: {"user": "nobody", "password": "wrong"},
    "no such database": lambda: {"db": "nonexistent"},
    "init_command": lambda: {"init_command": "NONSENSE"},
    "argument": lambda: {"charset": "nonsense"},
    "surrogate": lambda: {"password": "\udcff"},
    "password": lambda: {"password": raising(LookupError)},
    "time-out of the password": lambda: {"password": raising(TimeoutError)},
}


@pytest.mark.parametrize("make", [sa.connect, sa.create_engine], ids=["connect", "engine"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failed_connect_keeps_nothing_of_its_caller(
    connect_kwargs: Kwargs, failure: Callable[[], Kwargs], make: Any
) -> None:
    async def call() -> None:
        await make(**{**connect_kwargs, **failure()})

    _, kept = await kept_by_the_error_of(call)

    assert kept is None


@pytest.mark.parametrize("make", [sa.connect, sa.create_engine], ids=["connect", "engine"])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
async def test_failed_connect_keeps_nothing_of_its_caller_where_tasks_are_eager(
    connect_kwargs: Kwargs, failure: Callable[[], Kwargs], make: Any
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(getattr(asyncio, "eager_task_factory", None))  # of Python 3.12

    async def call() -> None:
        await make(**{**connect_kwargs, **failure()})

    try:
        _, kept = await kept_by_the_error_of(call)
    finally:
        loop.set_task_factory(None)

    assert kept is None


async def silent(peer: fakes.Peer) -> None:
    await peer.read()


async def nonsense(peer: fakes.Peer) -> None:
    peer.write(fakes.packet(b"nonsense", 0))
    await peer.read()


@pytest.mark.parametrize("make", [sa.connect, sa.create_engine], ids=["connect", "engine"])
@pytest.mark.parametrize("script", [silent, nonsense])
async def test_connect_to_what_is_no_server_keeps_nothing_of_its_caller(
    script: Any, make: Any
) -> None:
    async with fakes.fake_server(script) as arguments:

        async def call() -> None:
            await make(**arguments, connect_timeout=0.05)

        kind, kept = await kept_by_the_error_of(call)

    assert (kind, kept) == (pymysql.err.OperationalError, None)


async def test_connection_whose_tls_is_refused_is_gone(
    connect_kwargs: Kwargs, tls: Certificates
) -> None:
    async def call() -> None:
        await sa.connect(**connect_kwargs, ssl_mode="VERIFY_IDENTITY")

    assert await kept_by_the_error_of(call) == (pymysql.err.OperationalError, None)
    assert not any(isinstance(one, sa.Connection) for one in gc.get_objects())


# -- executing -------------------------------------------------------------------------------------

STATEMENTS: dict[str, Callable[[sa.SAConnection], Awaitable[Any]]] = {
    "text": lambda conn: conn.execute("NONSENSE"),
    "construct": lambda conn: conn.execute(select(literal_column("nonsense"))),
    "text construct": lambda conn: conn.execute(text("NONSENSE")),
    "many": lambda conn: conn.execute("INSERT INTO nonsense VALUES (%s)", [(1,), (2,)]),
    "warning that is an error": lambda conn: conn.execute("SELECT 1/0"),
    "later statement": lambda conn: conn.execute("SELECT 1; NONSENSE"),
    "argument": lambda conn: conn.execute(select(bindparam("x", required=True))),
    "value": lambda conn: conn.execute("SELECT %s", object()),
    "time-out of a text": lambda conn: conn.execute("SELECT SLEEP(0.5)", timeout=0.02),
    "time-out of a construct": lambda conn: conn.execute(select(func.sleep(0.5)), timeout=0.02),
    "time-out of a BEGIN": lambda conn: begin_late(conn),
    "tables": lambda conn: create(conn),
    "tables whose listener raises": lambda conn: create(conn, Column("id", Integer)),
    "stream": lambda conn: take_all(conn, "SELECT 1 UNION SELECT 1/0"),
    "stream of two": lambda conn: take_all(conn, "SELECT 1; NONSENSE"),
    "rest of a stream": lambda conn: leave_early(conn),
    "pipeline": lambda conn: execute_in_a_pipeline(conn),
    "pipeline's statement": lambda conn: await_in_a_pipeline(conn),
    "group": lambda conn: execute_groups(conn),
    "cursor": lambda conn: execute_by_cursor(conn),
    "block": lambda conn: execute_in_blocks(conn),
    "loss": lambda conn: conn.execute(f"KILL {conn.connection and conn.connection.thread_id()}"),
}


async def create(conn: sa.SAConnection, *columns: Any) -> None:
    """Create a table that cannot be: it has no column, or its listener raises."""
    metadata = MetaData()
    table = Table("nonsense", metadata, *columns)
    if columns:
        event.listen(table, "before_create", lambda *_, **_kw: [].index(1))
    try:
        await conn.create_all(metadata)
    finally:
        for thread in threading.enumerate():
            if thread.name == "aiomysqlx-ddl":  # which has just handed its error over
                thread.join()


async def take_all(conn: sa.SAConnection, sql: str) -> None:
    async with conn.stream(sql) as result:
        await result.fetchall()


async def leave_early(conn: sa.SAConnection) -> None:
    """Take one row of a result behind which an error comes."""
    sql = "SELECT 1 UNION SELECT 2; NONSENSE"
    async with conn.begin(), conn.stream(sql, max_buffer=1) as result:
        await result.fetchone()


async def execute_in_a_pipeline(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        pipe.execute("NONSENSE")


async def await_in_a_pipeline(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        statement = pipe.execute("NONSENSE")
        await statement


async def execute_groups(conn: sa.SAConnection) -> None:
    """Execute for groups of parameters of which the last does not fit."""
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await cursor.execute("CREATE TEMPORARY TABLE pairs (a INT, b INT)")
        await cursor.executemany("UPDATE pairs SET a = %s WHERE b = %s", [(1, 2), (1,)])


async def execute_by_cursor(conn: sa.SAConnection) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await cursor.execute("NONSENSE")


async def execute_in_blocks(conn: sa.SAConnection) -> None:
    async with conn.begin(), conn.begin_nested():
        await conn.execute("NONSENSE")


async def begin_late(conn: sa.SAConnection) -> None:
    with contextlib.suppress(sa.StatementTimeoutError):
        await conn.execute("SELECT SLEEP(0.5)", timeout=0.02)
    conn._timeout = 0.02
    async with conn.begin():
        await conn.execute("SELECT SLEEP(0.2)")


@pytest.mark.parametrize("kill", [False, True], ids=["", "killing"])
@pytest.mark.parametrize("execute", STATEMENTS.values(), ids=STATEMENTS)
async def test_failed_statement_keeps_nothing_of_its_caller(
    connect_kwargs: Kwargs, execute: Any, kill: bool
) -> None:
    options: Kwargs = {"client_flag": CLIENT.MULTI_STATEMENTS, "kill_on_cancel": kill}
    async with sa.create_engine(**connect_kwargs, **options) as engine, engine.acquire() as conn:
        kind, kept = await kept_by_the_error_of(lambda: execute(conn))

        assert issubclass(kind, (pymysql.err.MySQLError, sa.Error, Warning, ValueError))
        assert kept is None


@pytest.mark.parametrize("execute", STATEMENTS.values(), ids=STATEMENTS)
async def test_task_whose_statement_fails_keeps_nothing_of_who_waits_for_it(
    connect_kwargs: Kwargs, execute: Any
) -> None:
    """It ends within the callback that brings its answer, whose frames its traceback leads to."""
    async with (
        sa.create_engine(**connect_kwargs, pipelining=True) as engine,
        engine.acquire() as conn,
    ):

        async def call() -> None:
            task = asyncio.ensure_future(execute(conn))
            await asyncio.wait([task])  # since the event loop has the task until its turn is over
            try:
                task.result()
            finally:
                del task

        _, kept = await kept_by_the_error_of(call)

        assert kept is None


SLOW = "SELECT SLEEP(0.1)"


async def read_slowly(conn: sa.SAConnection) -> None:
    """Be cut off while rows are waited for."""
    async with conn.stream(f"SELECT 1 UNION ALL {SLOW}", max_buffer=1) as result:
        await result.fetchall()


async def send_slowly(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        pipe.execute(SLOW)


CUT_OFF: dict[str, Any] = {
    "text": lambda conn: conn.execute(SLOW),
    "construct": lambda conn: conn.execute(select(func.sleep(0.1))),
    "scalar": lambda conn: conn.scalar(SLOW),
    "stream": lambda conn: conn.stream(SLOW),
    "rows of a stream": read_slowly,
    "pipeline": send_slowly,
}


async def cut_off(call: Call) -> None:
    """Cancel *call* in a task of its own; not by `wait_for()`, whose own error is in a cycle."""
    task = asyncio.ensure_future(call())
    await asyncio.wait([task], timeout=0.02)
    task.cancel()
    await asyncio.wait([task])
    try:
        task.result()
    finally:
        del task


@pytest.mark.parametrize("execute", CUT_OFF.values(), ids=CUT_OFF)
async def test_statement_that_is_cut_off_keeps_nothing_of_its_caller(
    connect_kwargs: Kwargs, execute: Any
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as conn:
        kind, kept = await kept_by_the_error_of(lambda: cut_off(lambda: execute(conn)))

        assert issubclass(kind, asyncio.CancelledError)
        assert kept is None


async def pipe(conn: sa.SAConnection) -> None:
    """Have a pipeline whose statements succeed, awaited and not."""
    async with conn.pipeline() as pipe:
        statement = pipe.execute("SELECT 1")
        pipe.execute(select(1))
        await statement


async def pipe_all(conn: sa.SAConnection) -> None:
    async with conn.pipeline(transaction=True) as pipe:
        pipe.execute("SELECT 1")


async def stop_streaming(conn: sa.SAConnection) -> None:
    async with conn.stream("SELECT 1 UNION SELECT 2") as result:
        await result.fetchone()


SUCCEEDING: dict[str, Any] = {
    "pipeline": pipe,
    "pipeline of a transaction": pipe_all,
    "stream": stop_streaming,
}


async def given_back(engine: sa.Engine, call: Any) -> weakref.ref[sa.SAConnection]:
    """Give a connection that *call* was called with, or what is left of it."""
    async with engine.acquire() as conn:
        with contextlib.suppress(
            asyncio.CancelledError, pymysql.err.MySQLError, sa.Error, Warning, ValueError
        ):
            await call(conn)
        return weakref.ref(conn)


@pytest.mark.parametrize(
    "execute", [*STATEMENTS.values(), *SUCCEEDING.values()], ids=[*STATEMENTS, *SUCCEEDING]
)
async def test_nothing_keeps_a_connection_that_was_given_back(
    connect_kwargs: Kwargs, execute: Any
) -> None:
    options: Kwargs = {"client_flag": CLIENT.MULTI_STATEMENTS}
    async with sa.create_engine(**connect_kwargs, **options) as engine:
        known = await given_back(engine, execute)

        await until(lambda: known() is None)


@pytest.mark.parametrize("execute", CUT_OFF.values(), ids=CUT_OFF)
async def test_nothing_keeps_a_connection_whose_statement_was_cut_off(
    connect_kwargs: Kwargs, execute: Any
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine:
        known = await given_back(engine, lambda conn: cut_off(lambda: execute(conn)))

        await until(lambda: known() is None)


async def test_acquire_out_of_time_keeps_nothing_of_its_caller(connect_kwargs: Kwargs) -> None:
    async with (
        sa.create_engine(**connect_kwargs, maxsize=1) as engine,
        engine.acquire(),
    ):

        async def call() -> None:
            async with engine.acquire(timeout=0.02):
                pass

        assert await kept_by_the_error_of(call) == (sa.AcquireTimeoutError, None)


async def test_acquire_that_cannot_connect_keeps_nothing_of_its_caller(
    connect_kwargs: Kwargs,
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs) as engine,
        engine.acquire(),
    ):
        proxy.refuse()

        async def call() -> None:
            async with engine.acquire():
                pass

        assert await kept_by_the_error_of(call) == (pymysql.err.OperationalError, None)


# -- contexts --------------------------------------------------------------------------------------

variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)


async def kept_of_the_context_of(call: Call) -> Any:
    """Give what is left of a context variable's value that *call* saw, once it has ended."""
    known: list[weakref.ref[Thing]] = []

    async def caller() -> None:
        thing = Thing()
        known.append(weakref.ref(thing))
        variable.set(thing)
        del thing
        await call()

    await asyncio.create_task(caller())
    for _ in range(3):
        await asyncio.sleep(0)
    return known[0]()


@pytest.fixture
async def kept() -> AsyncIterator[list[sa.Connection]]:
    """Connections to close after the test."""
    kept: list[sa.Connection] = []
    yield kept
    for connection in kept:
        await connection.ensure_closed()


CONNECTS: dict[str, Kwargs] = {
    "in time": {},
    "without limit": {"connect_timeout": None},
    "with a password's function": {"password": lambda: ""},
    "with keep-alive": {"tcp_keepalive": (60, 10, 3), "kill_on_cancel": True},
    "over TLS": {"ssl": True},
}


@pytest.mark.parametrize("how", CONNECTS.values(), ids=CONNECTS)
async def test_connection_does_not_keep_the_context_of_its_making(
    connect_kwargs: Kwargs, kept: list[sa.Connection], tls: Any, how: Kwargs
) -> None:
    arguments = {**connect_kwargs, **how}
    if "ssl" in how:
        arguments["ssl"] = tls_context(tls)

    async def call() -> None:
        kept.append(await sa.connect(**arguments))
        await kept[0].ping()
        await kept[0].query("SELECT 1")

    assert await kept_of_the_context_of(call) is None
    await kept[0].query(f"SELECT REPEAT('x', {1 << 20})")  # it is read on in no context of ours


def tls_context(tls: Any) -> Any:
    import ssl

    return ssl.create_default_context(cafile=tls.ca)


async def test_engine_does_not_keep_the_context_of_a_borrower(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(
        **connect_kwargs,
        minsize=0,
        maxsize=2,
        max_idle=60,
        pool_pre_ping=True,
        statement_timeout=60,
        acquire_timeout=60,
        reset=True,
    ) as engine:

        async def borrow() -> None:
            async with engine.acquire() as conn, engine.acquire() as other:
                waiting = asyncio.create_task(wait())
                await conn.execute("SELECT 1", timeout=50)
                async with other.begin():
                    await other.execute(select(1))
                await asyncio.sleep(0)
            await waiting

        async def wait() -> None:
            async with engine.acquire(timeout=50) as conn:
                await conn.execute("SELECT 2")

        async def borrow_and_return() -> None:
            await borrow()
            while engine.freesize < 2:  # their reset is under way
                await asyncio.sleep(0)

        assert await kept_of_the_context_of(borrow_and_return) is None


async def test_hooks_and_a_password_see_the_context_of_the_engines_making(
    connect_kwargs: Kwargs,
) -> None:
    seen: list[tuple[str, Any]] = []

    def password() -> str:
        seen.append(("password", variable.get()))
        return str(connect_kwargs["password"])

    async def init(conn: sa.SAConnection) -> None:
        seen.append(("init", variable.get()))

    async def reset(conn: sa.SAConnection) -> None:
        seen.append(("reset", variable.get()))

    async def borrow(name: str) -> None:
        variable.set(name)
        async with engine.acquire(), engine.acquire():
            await asyncio.sleep(0)

    variable.set("maker")
    async with sa.create_engine(
        **{**connect_kwargs, "password": password}, minsize=0, init=init, reset=reset
    ) as engine:
        await asyncio.create_task(borrow("first"))
        await asyncio.create_task(borrow("second"))

    assert {name for name, _ in seen} == {"password", "init", "reset"}
    assert {context for _, context in seen} == {"maker"}


async def test_password_of_a_connection_sees_the_callers_context(connect_kwargs: Kwargs) -> None:
    seen = []

    async def password() -> str:
        seen.append(variable.get())
        await asyncio.sleep(0)
        seen.append(variable.get())
        return str(connect_kwargs["password"])

    variable.set("caller")
    async with sa.connect(**{**connect_kwargs, "password": password}):
        pass

    assert seen == ["caller", "caller"]
