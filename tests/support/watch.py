"""What tests of the pool need to see: that something comes about, and that the books balance."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest
from pymysql import err

import aiomysqlx as sa
from aiomysqlx.runtime.words import shown

CLOSE_SECONDS = 10.0
"""How long the end of a fixture waits for the connections that its test has acquired."""


def now() -> float:
    """Give the time of the loop."""
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], Any], seconds: float = 10) -> None:
    """Let the loop go on until *condition* holds; fail after so many seconds."""
    deadline = now() + seconds
    while not condition():
        assert now() < deadline, f"not within {seconds} seconds"
        await asyncio.sleep(0.001)


async def passed(seconds: float) -> None:
    """Let so much time pass that a limit is reached."""
    end = now() + seconds
    await until(lambda: now() > end, seconds + 10)


async def steps(count: int = 5) -> None:
    """Let the loop turn so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


def spawn(awaitable: Any) -> asyncio.Future[Any]:
    """Run *awaitable* as a task."""
    task: asyncio.Future[Any] = asyncio.ensure_future(awaitable)
    return task


def cause_of(cancellation: BaseException) -> BaseException | None:
    """Give the cause of the cancellation of a task that was awaited.

    Python 3.10 raises another one there, behind which is that of the task.
    """
    while cancellation.__cause__ is None and cancellation.__context__ is not None:
        cancellation = cancellation.__context__
    return cancellation.__cause__


class CancelledAt:
    """Await a coroutine; have the task cancelled whenever it is suspended as one of *turns*.

    If *late*, what it waits for has come by then, and the task has not taken it yet.
    """

    def __init__(self, coroutine: Awaitable[Any], *turns: int, late: bool = False) -> None:
        self._steps = coroutine.__await__()
        self._turns = turns
        self._late = late
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        error: BaseException | None = None
        while True:
            try:
                waited_for = next(self._steps) if error is None else self._steps.throw(error)
            except StopIteration as end:
                return end.value
            self.suspended += 1
            if self.suspended in self._turns:
                if self._late and waited_for is not None:
                    # Called before the task's own, which is added once this has yielded.
                    waited_for.add_done_callback(lambda _: task.cancel())
                else:
                    task.cancel()  # which is told as it is suspended, before anything can come
            error = None
            try:
                yield waited_for
            except BaseException as thrown:
                error = thrown


async def cancelled_at(work: Awaitable[Any], *turns: int, late: bool = False) -> bool:
    """Run *work* as a task cancelled at *turns*; tell whether it came to the first of them."""
    stepped = CancelledAt(work, *turns, late=late)

    async def run() -> None:
        await stepped

    task = spawn(run())
    await asyncio.wait([task], timeout=20)
    assert task.done(), f"hangs when cancelled at {turns}"
    if stepped.suspended < turns[0]:
        task.result()
        return False
    assert task.cancelled(), f"cancelled at {turns}, but the caller got {task.exception()!r}"
    return True


def kill(admin: Any, raw: Any, what: str = "CONNECTION") -> None:
    """End a connection, or what it does, on the server."""
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {what} {raw.thread_id()}")


def one(admin: Any, sql: str, *args: Any) -> Any:
    """Give the first value of what the server answers."""
    with admin.cursor() as cursor:
        cursor.execute(sql, args or None)
        return cursor.fetchone()[0]


def connections(admin: Any, db: str) -> int:
    """Count the server's connections to a database."""
    count = one(admin, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = %s", db)
    return int(count)


def prepared(admin: Any) -> list[bytes]:
    """Give the prepared transactions of SQLAlchemy's ids, after rolling back those that may be."""
    with admin.cursor() as cursor:
        cursor.execute("XA RECOVER")
        rows = [row[3] if isinstance(row[3], bytes) else row[3].encode() for row in cursor]
        xids = [xid for xid in rows if xid.startswith(b"_sa_")]
        for xid in xids:
            # Not that of a connection which the server has not seen the end of.
            with contextlib.suppress(err.MySQLError):
                cursor.execute(f"XA ROLLBACK '{xid.decode()}'")
    return xids


async def lend(engine: sa.Engine, count: int) -> list[Any]:
    """Lend so many connections at once; give the driver's connections."""
    lent = [await asyncio.wait_for(engine.acquire(), 10) for _ in range(count)]
    raws = [conn.connection for conn in lent]
    for conn in lent:
        await engine.release(conn)
    return raws


def at_rest(engine: sa.Engine, size: int | None = None) -> bool:
    """Tell whether everything is idle, and accounted for."""
    stats = engine.stats()
    balance = stats.opened - sum(stats.closed.values())
    settled = balance == stats.size == stats.idle and stats.in_use == stats.waiting == 0
    return settled and size in (None, stats.size)


async def check_capacity(engine: sa.Engine, maxsize: int) -> None:
    """All connections can be had at once, answer what they are asked, and the books balance."""
    lent = [await asyncio.wait_for(engine.acquire(), 10) for _ in range(maxsize)]
    answers = await asyncio.gather(
        *(conn.scalar("SELECT %s", number) for number, conn in enumerate(lent))
    )
    assert answers == list(range(maxsize))
    assert len({conn.connection for conn in lent}) == maxsize
    assert engine.stats().in_use == maxsize
    for conn in lent:
        await engine.release(conn)
    await until(lambda: at_rest(engine))


@contextlib.asynccontextmanager
async def closed_in_time(engine: Awaitable[sa.Engine]) -> AsyncIterator[sa.Engine]:
    """Close an engine at the end of a fixture; what its test has not given back fails the test.

    A fixture is not told whether its test has failed, and an engine waits for what is lent.
    """
    opened = await engine
    yield opened
    opened.close()
    try:
        await asyncio.wait_for(opened.wait_closed(), CLOSE_SECONDS)
    except asyncio.TimeoutError:
        left = ", ".join(sorted(unreleased(opened)))
        opened.terminate()
        await opened.wait_closed()
        pytest.fail(f"the test has not released what it acquired at {left}", pytrace=False)


def unreleased(engine: sa.Engine) -> list[str]:
    """Give the places where the connections were acquired that an engine waits for."""
    return [
        shown(conn._place)
        for conn in gc.get_objects()
        if type(conn) is sa.SAConnection and conn._engine is engine and not conn._released
        if conn._place is not None and conn._session is not None
    ]
