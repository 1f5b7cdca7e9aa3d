"""The end of an event loop whose pool is busy: nothing is left that would still have to run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from programs import RunProgram
from watch import connections, one

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long]

Kwargs = dict[str, Any]

SCRIPT = """\
import asyncio, json, os, signal, sys
import aiomysqlx as sa

kwargs, loop, how, options = json.loads(sys.argv[1]), *sys.argv[2:4], json.loads(sys.argv[4])
kept = []

async def init(conn):
    await conn.execute("SELECT SLEEP(0.01)")

async def select(conn):
    await conn.execute("SELECT SLEEP(0.05)")

async def transaction(conn):
    async with conn.begin():
        await conn.execute("SELECT SLEEP(0.05)")

async def change(conn):
    await conn.execute("SET time_zone = '+01:00'")
    await conn.execute("SELECT SLEEP(0.05)")

async def close(conn):
    await conn.execute("SELECT SLEEP(0.05)")
    conn.connection.close()

async def leave_sibling(conn):
    task = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
    task.add_done_callback(lambda task: task.cancelled() or task.exception())
    await asyncio.wait([task])

async def borrow(engine, ways):
    while True:
        for way in ways:
            async with engine.acquire() as conn:
                await way(conn)

async def work(engine):
    kept.append(engine)
    ways = [select, transaction, change, close, leave_sibling]
    tasks = [asyncio.ensure_future(borrow(engine, ways[n % 5:] + ways[:n % 5])) for n in range(12)]
    kept.extend(tasks)
    loop = asyncio.get_running_loop()
    if how == "interrupted":
        loop.call_later(0.12, os.kill, os.getpid(), signal.SIGINT)
    else:
        loop.call_later(0.12, asyncio.current_task().cancel)
    await asyncio.gather(*tasks)

async def main():
    # Of what is slow on a busy machine a loop in debug mode tells too.
    asyncio.get_running_loop().slow_callback_duration = 60
    hooks = {name: init for name in ("init", "reset") if options.pop(name, False)}
    create = sa.create_engine(**kwargs, **options, **hooks, minsize=2, maxsize=4)
    if how == "closed":
        async with create as engine:
            await work(engine)
    else:
        await work(await create)

# What was started in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
start = asyncio.run
if loop == "uvloop":
    import uvloop
    start = uvloop.run
try:
    start(main())
except (asyncio.CancelledError, KeyboardInterrupt) as error:
    print(type(error).__name__)
"""
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "kill_on_cancel": {"kill_on_cancel": True, "autocommit": True},
    "hooks": {"init": True, "reset": True},
    "renewed": {"reset": True, "pool_pre_ping": True, "max_idle": 0.01, "max_lifetime": 0.05},
}


@pytest.mark.parametrize("how", ["cancelled", "closed", "interrupted"])
@pytest.mark.parametrize("options", OPTIONS)
def test_busy_pool_ends_quietly_with_its_event_loop(
    connect_kwargs: Kwargs, loop_name: str, run_program: RunProgram, how: str, options: str
) -> None:
    given = [json.dumps(connect_kwargs), loop_name, how, json.dumps(OPTIONS[options])]
    process = run_program(SCRIPT, *given, options=("-X", "dev"))

    assert process.stderr == ""
    ended = "KeyboardInterrupt" if how == "interrupted" else "CancelledError"
    assert (process.returncode, process.stdout.strip()) == (0, ended)


CONNECTIONS = """\
import asyncio, json, sys
import aiomysqlx as sa

kwargs, loop = json.loads(sys.argv[1]), sys.argv[2]
kept = []

async def select(raw):
    async with raw:
        await raw.query("SELECT SLEEP(30)")

async def main():
    # As above: a busy machine is slow, too.
    asyncio.get_running_loop().slow_callback_duration = 60
    raws = [await sa.connect(**kwargs, kill_on_cancel=True) for _ in range(3)]
    kept.extend(asyncio.ensure_future(select(raw)) for raw in raws)
    await asyncio.sleep(0.1)

start = asyncio.run
if loop == "uvloop":
    import uvloop
    start = uvloop.run
start(main())
"""


def test_statements_of_connections_are_killed_quietly_at_the_end_of_the_event_loop(
    connect_kwargs: Kwargs, admin: Any, loop_name: str, run_program: RunProgram
) -> None:
    given = [json.dumps(connect_kwargs), loop_name]
    process = run_program(CONNECTIONS, *given, options=("-X", "dev"))

    assert process.stderr == ""
    assert process.returncode == 0
    running = "SELECT COUNT(*) FROM information_schema.processlist WHERE INFO = 'SELECT SLEEP(30)'"
    assert one(admin, running) == 0


def test_connections_say_goodbye_at_the_end_of_the_event_loop(
    connect_kwargs: Kwargs, admin: Any, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    aborted = "SHOW GLOBAL STATUS WHERE Variable_name = 'Aborted_clients'"
    loop = new_loop()
    try:
        with admin.cursor() as cursor:
            cursor.execute(aborted)
            before = cursor.fetchone()
        engine = loop.run_until_complete(sa.create_engine(**connect_kwargs, minsize=3))
        conn = loop.run_until_complete(engine.acquire())

        loop.run_until_complete(loop.shutdown_asyncgens())

        assert engine.closed and conn.closed and engine.size == 0
        assert engine.stats().closed == {"engine": 3}
        while connections(admin, connect_kwargs["db"]):
            assert one(admin, "SELECT SLEEP(0.01)") == 0
        with admin.cursor() as cursor:
            cursor.execute(aborted)
            assert cursor.fetchone() == before
    finally:
        loop.close()
