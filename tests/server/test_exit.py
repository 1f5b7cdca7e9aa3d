"""However a program ends, nothing is said at its exit but what the program itself says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import aiomysqlx

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
if loop == "uvloop":
    import uvloop
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
try:
    for way in ways:
        asyncio.run(run(globals()[way]))
except (LookupError, KeyboardInterrupt) as error:
    print(type(error).__name__)
else:
    print("ended")
"""


def ended(
    kwargs: dict[str, Any], loop: str, ways: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run a program and give what it said."""
    command = [sys.executable, *options, "-c", SCRIPT, json.dumps(kwargs), loop, ways]
    return subprocess.run(
        command,
        cwd=Path(aiomysqlx.__file__).parent.parent,  # the package under test, not the sources
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
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
def test_exit_is_quiet(connect_kwargs: dict[str, Any], loop: str, ways: str, said: str) -> None:
    process = ended(connect_kwargs, loop, ways, "-X", "dev", "-W", "error")

    assert process.stderr == ""
    assert (process.returncode, process.stdout.strip()) == (0, said)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("how", ["not_closed", "forgotten", "cancelled_and_not_closed"])
def test_engine_that_is_not_closed_is_warned_of_and_no_more(
    connect_kwargs: dict[str, Any], loop: str, how: str
) -> None:
    process = ended(connect_kwargs, loop, how)
    warned = ended(connect_kwargs, loop, how, "-X", "dev", "-W", "always")

    assert (process.returncode, process.stdout.strip(), process.stderr) == (0, "ended", "")
    assert (warned.returncode, warned.stdout.strip()) == (0, "ended")
    told = set(re.findall(r"\w+(?:Warning|Error|Exception)\b", warned.stderr))
    assert told <= {"ResourceWarning"}
    for noise in ("Task was destroyed", "never retrieved", "Event loop is closed", "ignored in"):
        assert noise not in warned.stderr
