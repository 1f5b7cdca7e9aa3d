"""Whatever is done, however often: nothing is left behind, and nothing is said at the exit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from faults import faulty_proxy
from footprint import SECONDS, SOAK, check_flat
from private_server import MortalServer
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, literal, select, text
from watch import at_rest, check_capacity, closed_in_time, connections, kill, spawn, steps, until

import aiomysqlx as sa
from aiomysqlx.sql.planner import PLANS

pytestmark = [
    pytest.mark.server,
    pytest.mark.long,
    pytest.mark.timeout(120 + SECONDS),
    pytest.mark.usefixtures("quiet"),
]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Check = Callable[..., Awaitable[None]]
LOST = (err.OperationalError, err.InterfaceError)

users = Table(
    "users", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(40))
)
BY_ID = select(users).where(users.c.id == bindparam("id"))


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Check:
    """See that work leaves nothing behind; print what was measured when it is done at length."""

    async def check(
        what: str, work: Callable[[int], Awaitable[int]], count: float, warm_up: int = 3
    ) -> None:
        line = await check_flat(what, work, count, warm_up)
        if SOAK != 1:
            with capsys.disabled():
                print(f"\n{line}", flush=True)

    return check


@pytest.fixture
async def pool(connect_kwargs: Kwargs) -> Any:
    """An engine of up to three connections, and the table of users."""
    made = sa.create_engine(**connect_kwargs, maxsize=3, autocommit=True)
    async with closed_in_time(made) as engine:
        async with engine.acquire() as conn:
            await conn.execute(
                "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(40)) ENGINE=InnoDB"
            )
            await conn.execute(users.insert(), [{"id": n, "name": f"n{n}"} for n in range(10)])
        yield engine


# -- statements ------------------------------------------------------------------------------------


async def read(conn: sa.SAConnection, number: int) -> int:
    """Read in every way: reused, made anew, expanded, as text; whole, by row, and not at all."""
    for _ in range(50):
        assert (await (await conn.execute(BY_ID, id=3)).first()).name == "n3"
    for size in range(10):
        anew = select(users.c.name).where(users.c.id == number % 10, users.c.name != f"x{size}")
        assert await conn.scalar(anew) == f"n{number % 10}"
        among = await conn.execute(select(users).where(users.c.id.in_(range(size))))
        assert len(await among.fetchall()) == size
        assert await conn.scalar("SELECT %s + %s AS total", number, size) == number + size
    async for row in conn.execute(text("SELECT * FROM users WHERE id < :most").params(most=5)):
        assert row.id < 5 and row["name"] == row[users.c.name]
    unread = await conn.execute(users.select())
    await unread.fetchone()
    return 82


async def write(conn: sa.SAConnection, number: int) -> int:
    many = [{"id": 100 + n, "name": f"{number}"} for n in range(50)]
    assert (await conn.execute(users.insert(), many)).rowcount == 50
    await conn.execute(users.update().where(users.c.id >= 100).values(name="changed"))
    deleted = await conn.execute(users.delete().where(users.c.id >= 100))
    assert deleted.rowcount == 50
    raw: Any = conn.connection
    async with raw.cursor() as cursor:
        await cursor.execute("INSERT INTO users VALUES (%s, %s)", (99, "cursor"))
        await cursor.execute("DELETE FROM users WHERE id = 99")
    return 5


async def transact(engine: sa.Engine, number: int) -> int:
    async with engine.begin() as conn:
        await conn.execute(users.insert().values(id=200, name="one"))
        inner = await conn.begin_nested()
        await conn.execute(users.insert().values(id=201, name="two"))
        await inner.rollback()
    async with engine.acquire() as conn:
        with contextlib.suppress(LookupError):
            async with conn.begin():
                await conn.execute(users.insert().values(id=202, name="three"))
                raise LookupError
        found = await conn.scalar(select(users.c.id).where(users.c.id >= 200))
        await conn.execute("DELETE FROM users WHERE id >= 200")
        assert found == 200
        await conn.execute("BEGIN")  # for the pool to roll back
    return 15


async def fail(conn: sa.SAConnection, number: int) -> int:
    """Fail on the server, before it, and in reading what comes back."""
    with pytest.raises(err.ProgrammingError):
        await conn.execute("SELEC 1")
    with pytest.raises(err.IntegrityError):
        await conn.execute(users.insert().values(id=1, name="again"))
    for value in (object(), float("nan"), [[object()]]):
        with pytest.raises(sa.ArgumentError):
            await conn.execute("SELECT %s", (value,))
    with pytest.raises(sa.ArgumentError):
        await conn.execute(BY_ID)
    with pytest.raises(sa.ResourceClosedError):
        await (await conn.execute("DO 0")).fetchall()
    row = await (await conn.execute(users.select())).first()
    with pytest.raises(sa.NoSuchColumnError):
        row["none"]
    return 6


async def fill(pool: sa.Engine) -> None:
    """Have the planner remember as many statements as it ever does."""
    statements = [select(literal(number)) for number in range(PLANS)]
    async with pool.acquire() as conn:
        for statement in statements:
            await conn.execute(statement)


async def test_statements_leave_nothing_behind(pool: sa.Engine, check: Check) -> None:
    async def work(number: int) -> int:
        done = await transact(pool, number)
        async with pool.acquire() as conn:
            for repeat in range(4):
                done += await read(conn, number + repeat)
            return done + await write(conn, number) + await fail(conn, number)

    await fill(pool)
    await check("statements", work, 3500)


async def test_statements_of_many_tasks_leave_nothing_behind(pool: sa.Engine, check: Check) -> None:
    async def one(number: int) -> int:
        async with pool.acquire(timeout=30) as conn:
            return await read(conn, number) + await fail(conn, number)

    async def work(number: int) -> int:
        return sum(await asyncio.gather(*(one(number) for _ in range(10))))

    await fill(pool)
    await check("statements of ten tasks at once", work, 6500)


# -- connections -----------------------------------------------------------------------------------


async def test_connects_leave_nothing_behind(
    connect_kwargs: Kwargs, admin: Admin, check: Check
) -> None:
    async def alone() -> None:
        connection = await sa.connect(**connect_kwargs)
        await connection.query("SELECT 1")
        connection.close()
        async with sa.connect(**connect_kwargs, kill_on_cancel=True) as connection:
            await connection.reset()

    async def pooled() -> None:
        options: Kwargs = {"minsize": 2, "max_idle": 60}
        async with (
            sa.create_engine(**connect_kwargs, **options) as engine,
            engine.acquire() as conn,
        ):
            await conn.scalar("SELECT 1")

    async def work(number: int) -> int:
        await alone()
        await pooled()
        for wrong in ({"password": "wrong"}, {"db": "nowhere"}, {"init_command": "SELEC 1"}):
            with pytest.raises(err.MySQLError):
                await sa.connect(**{**connect_kwargs, "user": "nobody"} | wrong)
        with pytest.raises(err.OperationalError):
            await sa.connect(host="127.0.0.1", port=1, user="nobody")
        with contextlib.suppress(asyncio.TimeoutError, err.OperationalError):
            (await sa.connect(**connect_kwargs, connect_timeout=0.001)).close()
        return 9

    await check("connects", work, 100)
    await until(lambda: connections(admin, connect_kwargs["db"]) == 0)


async def test_retired_connections_leave_nothing_behind(
    connect_kwargs: Kwargs, check: Check
) -> None:
    async def init(conn: sa.SAConnection) -> None:
        await conn.execute("SET @a = 1")

    options: Kwargs = {"pool_pre_ping": True, "max_lifetime": 0.01, "reset": True, "init": init}
    async with sa.create_engine(**connect_kwargs, minsize=2, maxsize=2, **options) as engine:

        async def work(number: int) -> int:
            for _ in range(10):
                async with engine.acquire() as conn:
                    assert await conn.scalar("SELECT @a") == 1
            await until(lambda: at_rest(engine, 2))
            return 10

        await check("connections pinged, reset and retired", work, 30)


async def test_lost_connections_leave_nothing_behind(
    connect_kwargs: Kwargs, admin: Admin, check: Check
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=1, maxsize=3) as engine,
    ):

        async def work(number: int) -> int:
            async with engine.acquire() as conn:
                if number % 2:
                    kill(admin, conn.connection)
                else:
                    proxy.fault(number % 40, "reset" if number % 4 else "fin")
                with contextlib.suppress(*LOST):
                    await conn.execute("SELECT 'a', 'b' UNION SELECT 'c', 'd'")
                    await conn.execute("SELECT 1")
            if number % 5 == 0:
                proxy.drop()
            proxy.clear()
            await until(lambda: engine.size >= 1 and at_rest(engine), 20)
            proxy.passages[:] = proxy.open
            return 1

        await check("lost connections", work, 20)


async def test_dropped_connections_leave_nothing_behind(
    connect_kwargs: Kwargs, check: Check
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:

        async def borrow() -> None:
            conn = await engine.acquire()
            await conn.begin()
            await conn.execute("SELECT 1")

        async def work(number: int) -> int:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                await borrow()
                gc.collect()
                await until(lambda: engine.stats().in_use == 0)
            return 1

        await check("dropped connections", work, 3)
        await check_capacity(engine, 2)


# -- what is cut short -----------------------------------------------------------------------------


async def ask(engine: sa.Engine, number: int) -> None:
    async with engine.acquire() as conn, conn.begin():
        assert await conn.scalar("SELECT %s AS number", number) == number
        await conn.execute("SELECT SLEEP(0.0002) AS slept")


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 1000), ({"reset": True}, 100), ({"kill_on_cancel": True}, 30)],
    ids=["plain", "reset", "kill"],
)
async def test_cancellations_leave_nothing_behind(
    connect_kwargs: Kwargs, check: Check, options: Kwargs, count: int
) -> None:
    chance = random.Random(5)
    async with sa.create_engine(**connect_kwargs, minsize=3, maxsize=3, **options) as engine:

        async def work(number: int) -> int:
            tasks = [spawn(ask(engine, number)) for _ in range(8)]
            for task in tasks:
                await steps(chance.randrange(4))
                task.cancel()
            await asyncio.wait(tasks)
            failed = [task.exception() for task in tasks if not task.cancelled()]
            assert failed == [None] * len(failed)
            if number % 10 == 0:
                await until(lambda: at_rest(engine))
            return sum(task.cancelled() for task in tasks)

        name = "".join(f" ({option})" for option in options)
        await ask(engine, 0)  # what is kept of a statement is not left behind
        await check(f"cancellations{name}", work, count)
        await until(lambda: at_rest(engine))
        await check_capacity(engine, 3)


async def test_time_outs_leave_nothing_behind(connect_kwargs: Kwargs, check: Check) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:

        async def late(number: int) -> int:
            async with engine.acquire() as conn:
                try:  # a machine that is busy may answer first
                    await conn.execute("SELECT SLEEP(0.005) AS slept", timeout=0.001)
                except sa.StatementTimeoutError:
                    return 1
                finally:
                    assert await conn.scalar("SELECT %s AS number", number, timeout=20) == number
            return 0

        async def work(number: int) -> int:
            done = await late(number)
            async with engine.acquire(), engine.acquire():
                with pytest.raises(sa.AcquireTimeoutError):
                    await engine.acquire(timeout=0.0005)
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(engine.acquire(), 0.0005)
            return done + 2

        await check("time-outs", work, 60)


# -- a server that goes and comes back -------------------------------------------------------------


async def test_restarts_under_load_leave_nothing_behind(mortal: MortalServer, check: Check) -> None:
    server = mortal.server
    kwargs = {"host": server.host, "port": server.port, "user": server.user, "db": server.database}
    async with faulty_proxy(kwargs) as proxy:
        engine = await sa.create_engine(**proxy.kwargs, minsize=1, maxsize=3)

        async def load(stop: asyncio.Event) -> int:
            answers = 0
            while not stop.is_set():
                try:
                    async with engine.acquire(timeout=2) as conn:
                        answers += await conn.scalar("SELECT 1", timeout=2)
                        await asyncio.sleep(0.001)
                except Exception as error:
                    if not (sa.is_disconnect(error) or isinstance(error, asyncio.TimeoutError)):
                        raise
                    await asyncio.sleep(0.01)
            return answers

        async def work(number: int) -> int:
            stop = asyncio.Event()
            tasks = [spawn(load(stop)) for _ in range(6)]
            await asyncio.sleep(0.05)
            proxy.hang() if number % 2 else proxy.drop()
            proxy.refuse()
            await asyncio.to_thread(mortal.crash)
            await proxy.accept()
            await until(lambda: engine.stats().idle or engine.stats().in_use, 40)
            await asyncio.sleep(0.05)
            stop.set()
            assert sum(await asyncio.wait_for(asyncio.gather(*tasks), 30)) > 0
            await check_capacity(engine, 3)
            await until(lambda: at_rest(engine))
            proxy.passages[:] = proxy.open
            return 1

        await check("restarts under load", work, 0.1, 1)
        engine.terminate()
        await engine.wait_closed()
