"""Any order of what borrowers, the server and time do to a pool: nothing is lost or mixed up.

AIOMYSQLX_MACHINE_EXAMPLES is the number of generated sequences.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import warnings
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymysql import err
from watch import at_rest, check_capacity, connections, spawn, steps, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long]

Admin = Any  # PyMySQL's connection
EXAMPLES = int(os.environ.get("AIOMYSQLX_MACHINE_EXAMPLES", "30"))
LOST = (err.OperationalError, err.InterfaceError)
ACTIONS = {
    "acquire": 6,
    "acquire_briefly": 3,
    "give_up": 3,
    "release": 3,
    "drop": 2,
    "leave_begun": 2,
    "leave_begun_in_text": 1,
    "change_and_return": 2,
    "ask": 3,
    "ask_and_give_up": 3,
    "ask_and_return": 2,
    "kill_lent": 2,
    "kill_any": 2,
    "refuse_work": 1,
    "have_too_many": 2,
    "time_out": 1,
    "drain": 1,
    "turn": 4,
    "pause": 4,
}
CHANGES = (
    "SET time_zone = '+01:00'",
    "SET NAMES latin1",
    "SET autocommit = 1",
    "SET autocommit = 0",
    "USE mysql",
)
# As of a node that takes no writes any more.
REFUSED = "SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = 'the --read-only option'"
STATE = "CONCAT(@@time_zone, @@character_set_client, @@autocommit + 0, DATABASE())"
CHOICES = [name for name, weight in ACTIONS.items() for _ in range(weight)]


@dataclass
class Machine:
    """A pool and its borrowers, doing one thing after the other."""

    engine: sa.Engine
    admin: Admin
    chance: random.Random
    acquiring: list[asyncio.Future[Any]] = field(default_factory=list)
    asking: list[asyncio.Future[None]] = field(default_factory=list)
    lent: list[sa.SAConnection] = field(default_factory=list)
    killed: set[int] = field(default_factory=set)
    states: set[str] = field(default_factory=set)
    draining: list[asyncio.Future[int]] = field(default_factory=list)
    tokens: int = 0
    too_many: int = 0

    def __post_init__(self) -> None:
        keeper: Any = self.engine._pool.stock.keeper
        self.connect, keeper._connect = keeper._connect, self.open

    async def run(self, actions: list[str]) -> None:
        for action in actions:
            await getattr(self, action)()
            await steps(self.chance.randrange(3))
            self.collect()
            stats = self.engine.stats()
            assert 0 <= stats.idle + stats.in_use <= stats.size <= self.engine.maxsize

    def collect(self) -> None:
        """Take over what acquire() has given."""
        for task in [task for task in self.acquiring if task.done()]:
            self.acquiring.remove(task)
            # A connection may be killed while it is being opened.
            with contextlib.suppress(
                asyncio.CancelledError, asyncio.TimeoutError, sa.TooManyWaitingError, *LOST
            ):
                self.lent.append(task.result())

    def take(self) -> sa.SAConnection | None:
        """Take one of the lent connections."""
        if not self.lent:
            return None
        return self.lent.pop(self.chance.randrange(len(self.lent)))

    # -- what can happen

    async def acquire(self) -> None:
        self.acquiring.append(spawn(self.engine.acquire()))

    async def acquire_briefly(self) -> None:
        limit = self.chance.choice((0.0001, 0.001, 0.004))
        self.acquiring.append(spawn(self.engine.acquire(timeout=limit)))

    async def give_up(self) -> None:
        if self.acquiring:
            self.chance.choice(self.acquiring).cancel()

    async def release(self) -> None:
        conn = self.take()
        if conn is not None:
            self.engine.release(conn)

    async def drop(self) -> None:
        self.take()

    async def leave_begun(self) -> None:
        conn = self.take()
        if conn is None:
            return
        with contextlib.suppress(sa.InvalidRequestError, *LOST):
            async with conn:
                await conn.begin()

    async def leave_begun_in_text(self) -> None:
        conn = self.take()
        if conn is not None:
            with contextlib.suppress(*LOST):
                await conn.execute("BEGIN")
            self.engine.release(conn)

    async def change_and_return(self) -> None:
        """Set something of the session, or give that up, and give the connection back."""
        conn = self.take()
        if conn is None:
            return
        task = spawn(conn.execute(self.chance.choice(CHANGES)))
        await steps(self.chance.choice((0, 1, 20)))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, *LOST):
            await task
        self.engine.release(conn)

    async def ask(self) -> None:
        """Ask, and give the connection back when the answer is there."""
        conn = self.take()
        if conn is not None:
            self.asking.append(spawn(self.question(conn)))

    async def ask_and_give_up(self) -> None:
        await self.ask()
        if self.asking:
            await steps(self.chance.randrange(6))
            self.chance.choice(self.asking).cancel()

    async def ask_and_return(self) -> None:
        """Cancel a statement and give the connection back while its answer is on the way."""
        conn = self.take()
        if conn is not None:
            task = spawn(self.answer(conn))
            await steps(self.chance.randrange(1, 6))
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() or task.exception() is None
            self.engine.release(conn)

    async def kill_lent(self) -> None:
        raws: list[Any] = [conn.connection for conn in self.lent if not conn.closed]
        if raws:
            self.kill(self.chance.choice(raws).thread_id())

    async def kill_any(self) -> None:
        found = self.threads()
        if found:
            self.kill(self.chance.choice(found))

    async def refuse_work(self) -> None:
        conn = self.take()
        if conn is not None:
            self.asking.append(spawn(self.refused(conn)))

    async def have_too_many(self) -> None:
        self.too_many += self.chance.randrange(1, 4)

    async def time_out(self) -> None:
        conn = self.take()
        if conn is not None:
            self.asking.append(spawn(self.late(conn)))

    async def drain(self) -> None:
        self.draining.append(spawn(self.engine.drain(self.chance.choice((0.001, 1)))))

    async def turn(self) -> None:
        await steps(self.chance.randrange(1, 5))

    async def pause(self) -> None:
        await asyncio.sleep(0.002)

    # -- how it is done

    async def open(self) -> Any:
        if self.too_many:
            self.too_many -= 1
            await asyncio.sleep(0)
            raise err.OperationalError(1040, "Too many connections")
        return await self.connect()

    async def refused(self, conn: sa.SAConnection) -> None:
        try:
            with pytest.raises(LOST):
                await conn.execute(REFUSED)
        finally:
            self.engine.release(conn)

    async def late(self, conn: sa.SAConnection) -> None:
        """Run out of time; the answer comes later."""
        try:
            with contextlib.suppress(*LOST):
                await conn.execute("SELECT SLEEP(0.003)", timeout=0.001)
        finally:
            self.engine.release(conn)

    def threads(self) -> list[int]:
        """Give the ids of the server's connections to the test's database, but for the own."""
        with self.admin.cursor() as cursor:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = DATABASE()")
            return sorted({row[0] for row in cursor.fetchall()} - {self.admin.thread_id()})

    def kill(self, thread: int) -> None:
        with contextlib.suppress(err.OperationalError), self.admin.cursor() as cursor:
            cursor.execute(f"KILL {thread}")  # unless it has gone by itself
        self.killed.add(thread)

    async def answer(self, conn: sa.SAConnection) -> None:
        """Ask for something that nobody else asks for; a lost connection gives no answer."""
        self.tokens += 1
        token = self.tokens
        sleep = self.chance.choice((0, 0.001, 0.003))
        with contextlib.suppress(*LOST):
            result = await conn.execute(f"SELECT %s, SLEEP(%s), {STATE}", token, sleep)
            ((answer, _, state),) = [row.as_tuple() for row in await result.fetchall()]
            assert answer == token
            self.states.add(state)

    async def question(self, conn: sa.SAConnection) -> None:
        try:
            await self.answer(conn)
        finally:
            self.engine.release(conn)

    async def end(self) -> None:
        """Give everything back; nobody waits for ever and nothing went wrong."""
        self.too_many = 0  # the pauses after ever more refusals are longer than is waited here
        await self.settle_questions()
        if self.draining:
            _, waiting = await asyncio.wait(self.draining, timeout=10)
            assert not waiting, "a drain does not end"
        while self.acquiring or self.lent:
            while self.lent:
                self.engine.release(self.lent.pop())
            if self.acquiring and not await self.one_is_served(0.5):
                gc.collect()  # a dropped one may be part of a cycle
                assert await self.one_is_served(9.5), "a waiter is not served"
            self.collect()
        gc.collect()
        await until(lambda: not self.killed & set(self.threads()))
        await asyncio.sleep(0.005)  # what the server has closed arrives

    async def one_is_served(self, seconds: float) -> bool:
        """Wait for one of those who wait; false if none is served in so many seconds."""
        first = "FIRST_COMPLETED"
        done, _ = await asyncio.wait(self.acquiring, timeout=seconds, return_when=first)
        return bool(done)

    async def settle_questions(self) -> None:
        if self.asking:
            _, waiting = await asyncio.wait(self.asking, timeout=10)
            assert not waiting, "a question is not answered"
        failed = [task.exception() for task in self.asking if not task.cancelled()]
        assert failed == [None] * len(failed)
        self.asking.clear()

    async def close(self, how: str) -> None:
        """Close with connections lent and waiters waiting."""
        self.collect()
        getattr(self.engine, how)()
        await steps()
        done, waiting = await asyncio.wait([*self.acquiring, spawn(steps())], timeout=5)
        assert not waiting, "a waiter is not turned away"
        for task in done & set(self.acquiring):
            if not task.cancelled() and task.exception() is not None:
                assert isinstance(task.exception(), (RuntimeError, asyncio.TimeoutError, *LOST))
        await asyncio.wait_for(self.engine.wait_closed(timeout=0.01), 5)
        for tasks in (self.asking, self.draining):
            if tasks:
                _, waiting = await asyncio.wait(tasks, timeout=5)
                assert not waiting
        stats = self.engine.stats()
        assert (stats.size, stats.idle, stats.in_use, stats.waiting) == (0, 0, 0, 0)
        assert stats.opened == sum(stats.closed.values())


@pytest.fixture
def in_database(admin: Admin, database: str) -> Admin:
    """The administrator's connection, in the test's database."""
    admin.select_db(database)
    return admin


@settings(max_examples=EXAMPLES)
@given(
    minsize=st.integers(0, 2),
    more=st.integers(0, 2),
    kwargs=st.fixed_dictionaries(
        {},
        optional={
            "pool_pre_ping": st.just(True),
            "reset": st.just(True),
            "max_waiting": st.integers(1, 6),
            "max_lifetime": st.sampled_from((0.005, 0.05)),
            "max_idle": st.sampled_from((0.002, 0.02)),
            "kill_on_cancel": st.just(True),
            "autocommit": st.booleans(),
        },
    ),
    actions=st.lists(st.sampled_from(CHOICES), min_size=10, max_size=60),
    end=st.sampled_from(("serve", "serve", "close", "terminate")),
    seed=st.integers(0, 1 << 16),
)
@pytest.mark.timeout(60 + EXAMPLES)
async def test_nothing_is_lost_or_mixed_up_in_any_order_of_events(
    connect_kwargs: dict[str, Any],
    in_database: Admin,
    minsize: int,
    more: int,
    kwargs: dict[str, Any],
    actions: list[str],
    end: str,
    seed: int,
) -> None:
    maxsize = max(1, minsize + more)
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    port = connect_kwargs["port"]
    hosts = {"host": [f"127.0.0.1:{port}", f"localhost:{port}"], "load_balance_hosts": "random"}
    engine = await sa.create_engine(
        **connect_kwargs | hosts, minsize=minsize, maxsize=maxsize, **kwargs
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of dropped connections
            machine = Machine(engine, in_database, random.Random(seed))
            async with engine.acquire() as conn:
                machine.states.add(await conn.scalar(f"SELECT {STATE}"))
            del conn
            await machine.run(actions)
            if end == "serve":
                await asyncio.wait_for(machine.end(), 30)
                await check_capacity(engine, maxsize)
                await until(lambda: at_rest(engine))
                end = "close"
            await machine.close(end)
    finally:
        engine.terminate()
    assert len(machine.states) == 1, "what a borrower has set is the next one's"
    await until(lambda: connections(in_database, connect_kwargs["db"]) == 1)
    assert noise == []
