"""However a program ends, nothing is said at its exit but what the program itself says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from programs import Ended, RunProgram

pytestmark = [pytest.mark.server, pytest.mark.long]

SCRIPT = """\
import asyncio, json, os, signal, sys
import aiomysqlx as sa

kwargs, loop, ways = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3].split()
kept = []

async def normal():
    async with sa.create_engine(**kwargs, minsize=2) as engine:
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT 1") == 1

async def not_closed():
    engine = await sa.create_engine(**kwargs, minsize=2, max_idle=60)
    async with engine.acquire() as conn:
        await conn.scalar("SELECT 1")
    kept.append(engine)

async def forgotten():
    engine = await sa.create_engine(**kwargs, minsize=2, max_lifetime=60)
    async with engine.acquire() as conn:
        await conn.scalar("SELECT 1")

async def only_closed():
    engine = await sa.create_engine(**kwargs, minsize=2)
    conn = await engine.acquire()
    engine.close()
    await engine.release(conn)

async def terminated():
    engine = await sa.create_engine(**kwargs, minsize=2)
    kept.append(await engine.acquire())
    engine.terminate()

async def transaction_left():
    async with sa.create_engine(**kwargs) as engine:
        conn = await engine.acquire()
        kept.append((conn, await conn.begin()))
        kept.append(await conn.execute("SELECT 1 UNION SELECT 2"))
        engine.terminate()

async def cancelled():
    async with sa.create_engine(**kwargs, maxsize=1, kill_on_cancel=True) as engine:
        for _ in range(2):
            try:
                async with engine.acquire() as conn:
                    await asyncio.wait_for(conn.execute("SELECT SLEEP(0.2)"), 0.01)
            except asyncio.TimeoutError:
                pass

async def cancelled_and_not_closed():
    engine = await sa.create_engine(**kwargs, maxsize=1)
    kept.append(engine)
    conn = await engine.acquire()
    try:
        await asyncio.wait_for(conn.execute("SELECT SLEEP(0.2)"), 0.01)
    except asyncio.TimeoutError:
        engine.release(conn)

async def waiting():
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            task = asyncio.ensure_future(engine.acquire())
            kept.append(asyncio.ensure_future(conn.execute("SELECT SLEEP(0.1)")))
            await asyncio.sleep(0.01)
            task.cancel()
            await kept.pop()

async def refused():
    try:
        await sa.create_engine(**{**kwargs, "user": "nobody", "password": "wrong"}, minsize=3)
    except Exception:
        pass

async def out_of_main():
    async with sa.create_engine(**kwargs, minsize=2) as engine:
        async with engine.acquire() as conn, conn.begin():
            await conn.execute("SELECT 1")
            raise LookupError("from main")

async def interrupted():
    async with sa.create_engine(**kwargs, minsize=2) as engine:
        async with engine.acquire() as conn:
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
            await conn.execute("SELECT SLEEP(0.5)")

async def system_exit():
    async with sa.create_engine(**kwargs, minsize=2) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SELECT 1")
            sys.exit(0)

async def run(way):
    # Of what is slow on a busy machine a loop in debug mode tells too.
    asyncio.get_running_loop().slow_callback_duration = 60
    await way()

# What was started in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
start = asyncio.run
if loop == "uvloop":
    import uvloop
    start = uvloop.run
try:
    for way in ways:
        start(run(globals()[way]))
except (LookupError, KeyboardInterrupt) as error:
    print(type(error).__name__)
else:
    print("ended")
"""


Run = Callable[..., Ended]


@pytest.fixture
def ended(connect_kwargs: dict[str, Any], loop_name: str, run_program: RunProgram) -> Run:
    """What runs a program under options of Python's, and gives what it said."""

    def ended(ways: str, *options: str) -> Ended:
        return run_program(SCRIPT, json.dumps(connect_kwargs), loop_name, ways, options=options)

    return ended


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        (
            "normal only_closed terminated transaction_left cancelled refused waiting",
            "ended",
        ),
        ("out_of_main", "LookupError"),
        ("normal interrupted", "KeyboardInterrupt"),
        ("system_exit", ""),
    ],
)
def test_exit_is_quiet(ended: Run, ways: str, said: str) -> None:
    process = ended(ways, "-X", "dev", "-W", "error")

    assert process.stderr == ""
    assert (process.returncode, process.stdout.strip()) == (0, said)


@pytest.mark.parametrize("how", ["not_closed", "forgotten", "cancelled_and_not_closed"])
def test_engine_that_is_not_closed_is_warned_of_and_no_more(ended: Run, how: str) -> None:
    process = ended(how)
    warned = ended(how, "-X", "dev", "-W", "always")

    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "ended", "")
    assert (warned.returncode, warned.stdout.strip()) == (0, "ended")
    told = set(re.findall(r"\w+(?:Warning|Error|Exception)\b", warned.stderr))
    assert told <= {"ResourceWarning"}
    for noise in ("Task was destroyed", "never retrieved", "Event loop is closed", "ignored in"):
        assert noise not in warned.stderr


NOISY = """\
import asyncio

kept = []

async def forever():
    await asyncio.sleep(100)

async def main():
    kept.append(asyncio.ensure_future(forever()))
    kept.append(forever())

asyncio.new_event_loop().run_until_complete(main())
"""


def test_program_says_at_its_exit_what_it_says_in_a_new_python(run_program: RunProgram) -> None:
    new = subprocess.run([sys.executable, "-c", NOISY], capture_output=True, text=True)

    forked = run_program(NOISY)

    assert "Task was destroyed" in forked.stderr and "never awaited" in forked.stderr
    numbers = re.compile(r"0x[0-9a-f]+|\d+")
    assert numbers.sub("", forked.stderr) == numbers.sub("", new.stderr)
    assert forked.returncode == new.returncode
