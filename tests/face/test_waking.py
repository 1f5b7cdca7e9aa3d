"""Tasks that go on as their answers come: cut off at any moment, each has its own rows only."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from programs import RunProgram
from pymysql import err
from watch import check_capacity, spawn

import aiomysqlx as sa

pytestmark = [pytest.mark.server]

Kwargs = dict[str, Any]
Work = Callable[[sa.SAConnection, int, random.Random], Any]
MODES = ["plain", "debug"]
if sys.version_info >= (3, 12):
    MODES.append("eager")
TASKS = 12


# -- what a task does on its connection: each checks that the rows are its own --------------------


async def one_row(conn: sa.SAConnection, tag: int, _chance: random.Random) -> None:
    assert await conn.scalar("SELECT %s", (tag,)) == tag


async def slow_row(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    row = await (await conn.execute("SELECT SLEEP(%s), %s", (chance.random() / 500, tag))).first()
    assert row is not None and row[1] == tag


async def many_rows(conn: sa.SAConnection, tag: int, _chance: random.Random) -> None:
    result = await conn.execute("SELECT %s, REPEAT('x', 2000) UNION ALL SELECT %s, 'y'", (tag, tag))
    assert [row[0] async for row in result] == [tag, tag]


async def refused(conn: sa.SAConnection, tag: int, _chance: random.Random) -> None:
    with pytest.raises(err.ProgrammingError, match=f"nothing_{tag}"):
        await conn.execute(f"SELECT * FROM nothing_{tag}")


async def transaction(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    async with conn.begin():
        await one_row(conn, tag, chance)
        async with conn.begin_nested():
            await many_rows(conn, tag, chance)


async def in_another_task(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    inner = spawn(one_row(conn, tag, chance))
    try:
        await inner
    finally:
        inner.cancel()
        await asyncio.wait([inner])  # or it would use the connection with who comes next


async def limited(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    sleep, seconds = chance.random() / 500, chance.random() / 300
    try:
        result = await conn.execute("SELECT SLEEP(%s), %s", (sleep, tag), timeout=seconds)
        assert (await result.fetchall())[0][1] == tag
    except sa.StatementTimeoutError:
        await one_row(conn, tag, chance)


async def waited_for(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    if sys.version_info < (3, 12):  # it loses a cancellation, now and then
        return
    try:
        await asyncio.wait_for(slow_row(conn, tag, chance), chance.random() / 300)
    except asyncio.TimeoutError:
        await one_row(conn, tag, chance)


async def in_time(conn: sa.SAConnection, tag: int, chance: random.Random) -> None:
    if sys.version_info < (3, 11):
        return
    try:
        async with asyncio.timeout(chance.random() / 300):
            await slow_row(conn, tag, chance)
            await one_row(conn, tag, chance)
    except TimeoutError:
        await one_row(conn, tag, chance)


WORK: list[Work] = [
    one_row,
    slow_row,
    many_rows,
    refused,
    transaction,
    in_another_task,
    limited,
    waited_for,
    in_time,
]


async def toil(engine: sa.Engine, number: int, chance: random.Random) -> None:
    """Work on one connection after the other, without end."""
    tag = number
    while True:
        async with engine.acquire() as conn:
            for _ in range(chance.randint(1, 6)):
                tag += 1000
                await chance.choice(WORK)(conn, tag, chance)


async def cut_off(engine: sa.Engine, chance: random.Random, cuts: int) -> None:
    """Have tasks work, and cut one off now and then; another takes its place."""
    tasks = {number: spawn(toil(engine, number, chance)) for number in range(TASKS)}
    for _ in range(cuts):
        for _ in range(chance.randint(0, 3)):
            await asyncio.sleep(chance.choice([0, 0, 0.0003, 0.002]))
        number = chance.randrange(TASKS)
        task = tasks[number]
        task.cancel()
        if chance.random() < 0.3:
            asyncio.get_running_loop().call_soon(task.cancel)
        _, hanging = await asyncio.wait([task], timeout=20)
        assert not hanging, f"{task!r} hangs"
        assert task.cancelled(), task.exception()
        tasks[number] = spawn(toil(engine, number, chance))
    for task in tasks.values():
        task.cancel()
    ends = await asyncio.wait_for(asyncio.gather(*tasks.values(), return_exceptions=True), 20)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


def eagerly(loop: Any, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
    """Make a task as `asyncio.eager_task_factory` does, whatever else the loop says of it."""
    return asyncio.Task(coroutine, loop=loop, **{**options, "eager_start": True})


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    return mode


@pytest.fixture
async def pool(connect_kwargs: Kwargs, mode: str) -> AsyncIterator[sa.Engine]:
    loop = asyncio.get_running_loop()
    if mode == "eager":
        loop.set_task_factory(eagerly)
    loop.set_debug(mode == "debug")
    loop.slow_callback_duration = 60  # of what is slow on a busy machine it tells too
    async with sa.create_engine(**connect_kwargs, minsize=0, maxsize=5, autocommit=True) as engine:
        yield engine
    loop.set_debug(False)
    loop.set_task_factory(None)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", range(2))
async def test_tasks_that_are_cut_off_leave_others_their_own_rows(
    pool: sa.Engine, seed: int
) -> None:
    await cut_off(pool, random.Random(seed), 150)

    await check_capacity(pool, 5)


# -- a task that ends the event loop --------------------------------------------------------------

ENDS = """\
import asyncio, json, sys
import aiomysqlx as sa

async def leave():
    async with sa.connect(**json.loads(sys.argv[1])) as raw:
        await raw.query("SELECT 1")
        raise {"exit": SystemExit, "interrupt": KeyboardInterrupt}[sys.argv[3]](7)

async def main():
    if sys.argv[4] == "main":
        await leave()
    task = asyncio.ensure_future(leave())
    await asyncio.sleep(20)
    print("went on")

start = asyncio.run
if sys.argv[2] == "uvloop":
    import uvloop
    start = uvloop.run
try:
    start(main())
except BaseException as error:
    print(type(error).__name__, error.args)
"""


@pytest.mark.parametrize("task", ["main", "other"])
@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_task_may_end_the_program_as_its_answer_comes(
    connect_kwargs: Kwargs, loop_name: str, run_program: RunProgram, how: str, task: str
) -> None:
    process = run_program(ENDS, json.dumps(connect_kwargs), loop_name, how, task)

    name = {"exit": "SystemExit", "interrupt": "KeyboardInterrupt"}[how]
    assert process.stdout.strip() == f"{name} (7,)"


SLOW = """\
import asyncio, json, sys, time
import aiomysqlx as sa

async def compute():
    async with sa.connect(**json.loads(sys.argv[1])) as raw:
        asyncio.get_running_loop().slow_callback_duration = 0.05
        await raw.query("SELECT 1")
        time.sleep(0.1)
        await raw.query("SELECT 1")

async def main():
    await asyncio.ensure_future(compute())

start = asyncio.run
if sys.argv[2] == "uvloop":
    import uvloop
    start = uvloop.run
start(main(), debug=True)
"""


def test_debug_mode_names_the_task_that_is_slow(
    connect_kwargs: Kwargs, loop_name: str, run_program: RunProgram
) -> None:
    process = run_program(SLOW, json.dumps(connect_kwargs), loop_name)

    assert "coro=<compute()" in process.stderr
