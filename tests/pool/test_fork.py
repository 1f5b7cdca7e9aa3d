"""What the child of a fork inherits: of no use there, and whole in the parent."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from programs import RunProgram
from watch import one

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection

# The parent has a connection in a transaction, an idle one, one that only reads and one without an
# engine. Its loop
# stands still while it forks: a child that closes a running one takes the parent's with it.
SCRIPT = """\
import asyncio, contextlib, gc, json, os, sys
import pymysql, uvloop
import aiomysqlx as sa

kwargs, child_does = json.loads(sys.argv[1]), sys.argv[2]

def new_loop():
    loop = eval(sys.argv[3])()
    loop.slow_callback_duration = 60  # a slow machine is no noise
    return loop

async def failure(what, awaitable):
    try:
        await awaitable
    except Exception as error:
        print(what, type(error).__name__, error)
    else:
        print(what, "succeeded")

async def use():
    await failure("acquire", engine.acquire())
    await failure("read", engine.acquire(read_only=True))
    await failure("execute", conn.execute("SELECT 1"))
    await failure("commit", transaction.commit())
    await failure("query", raw.query("SELECT 1"))
    async with sa.create_engine(**kwargs) as own, own.acquire() as mine:
        print("own", await mine.scalar("SELECT 'answer'"))

async def give_back():
    async def release():
        await engine.release(conn)

    await failure("close", conn.close())
    await failure("release", release())
    await failure("end", engine.wait_closed())
    engine.terminate()
    await failure("end", engine.wait_closed())

async def prepare():
    engine = await sa.create_engine(**kwargs, minsize=2, maxsize=2)
    conn = await engine.acquire()
    async with engine.acquire(read_only=True):
        pass
    transaction = await conn.begin()
    await conn.execute("CREATE TEMPORARY TABLE t (id INT) ENGINE=InnoDB")
    await conn.execute("INSERT INTO t VALUES (7)")
    return engine, conn, transaction, await sa.connect(**kwargs)

async def wait():
    full = await sa.create_engine(**kwargs, maxsize=1)
    lent = await full.acquire()
    waiter = asyncio.ensure_future(full.acquire())
    await asyncio.sleep(0)
    return full, lent, waiter

async def serve():
    await full.release(lent)
    async with await waiter as served:
        print("served", await served.scalar("SELECT 'answer'"))
    full.close()
    await full.wait_closed()

def take():
    asyncio._set_running_loop(loop)  # as of a child that goes on with the same one
    try:
        engine.acquire().send(None)
    except RuntimeError as error:
        print(error)
    finally:
        asyncio._set_running_loop(None)

def clear():
    for each in (engine, full):
        each.clear()
        stats = each.stats()
        print(stats.size, stats.idle, stats.in_use, stats.waiting, flush=True)
    os._exit(0)  # at the end of Python the waiter's task would be told of

async def check():
    print("lent", await conn.scalar("SELECT id FROM t"))
    await transaction.commit()
    await engine.release(conn)
    lent = [await engine.acquire() for _ in range(2)]
    print("idle", *[await each.scalar("SELECT 'answer'") for each in lent])
    async with engine.acquire(read_only=True) as each:
        print("reads", await each.scalar("SELECT 'answer'"))
    for each in lent:
        await engine.release(each)
    await raw.query("SELECT 1")
    await raw.ensure_closed()
    engine.close()
    await engine.wait_closed()

loop = new_loop()
engine, conn, transaction, raw = loop.run_until_complete(prepare())
if child_does == "clear":
    full, lent, waiter = loop.run_until_complete(wait())
pid = os.fork()
if pid == 0:
    if child_does == "use":
        new_loop().run_until_complete(use())
    elif child_does == "give back":
        new_loop().run_until_complete(asyncio.wait_for(give_back(), 5))
    elif child_does == "collect":
        engine = conn = transaction = raw = None
        gc.collect()
    elif child_does == "clear":
        clear()
    elif child_does == "take":
        take()
    elif child_does == "terminate":
        with contextlib.suppress(RuntimeError, pymysql.err.InterfaceError):
            engine.terminate()
    sys.exit()
print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
loop.run_until_complete(asyncio.wait_for(check(), 5))
if child_does == "clear":
    loop.run_until_complete(asyncio.wait_for(serve(), 5))
loop.close()
"""
PARENT = ["child 0", "lent 7", "idle answer answer", "reads answer"]


Run = Callable[[str], list[str]]


@pytest.fixture
def run(connect_kwargs: Kwargs, loop_name: str, run_program: RunProgram) -> Run:
    """What runs the script, and gives the lines that the child and the parent print."""

    def run(child_does: str) -> list[str]:
        arguments = [json.dumps(connect_kwargs), child_does, f"{loop_name}.new_event_loop"]
        options = ("-X", "dev", "-W", "ignore::ResourceWarning")
        done = run_program(SCRIPT, *arguments, options=options)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.splitlines()

    return run


def test_child_may_not_use_what_it_inherited(run: Run) -> None:
    told = run("use")

    for found, what in zip(told, ("acquire", "read", "execute", "commit", "query"), strict=False):
        assert found.split()[:2] in ([what, "RuntimeError"], [what, "InterfaceError"])
        assert "process" in found
    assert told[5:] == ["own answer", *PARENT]


def test_child_has_nothing_to_give_back(run: Run) -> None:
    told = run("give back")

    closing_first = "RuntimeError .wait_closed() should be called after .close()"
    assert told[:2] == ["close succeeded", "release succeeded"]
    assert told[2:] == [f"end {closing_first}", "end succeeded", *PARENT]


def test_child_that_goes_on_with_the_event_loop_is_refused_too(run: Run) -> None:
    told = run("take")

    message = "the engine belongs to the process that created it: create one after the fork"
    assert told == [message, *PARENT]


def test_child_has_no_connections_nor_waiters_and_opens_none(run: Run) -> None:
    told = run("clear")

    assert told == ["0 0 0 0", "0 0 0 0", *PARENT, "served answer"]


@pytest.mark.parametrize("child_does", ["collect", "exit", "terminate"])
def test_end_of_a_child_does_not_disturb_its_parent(run: Run, child_does: str) -> None:
    assert run(child_does) == PARENT


@pytest.mark.parametrize("child_does", ["collect", "exit"])
def test_parent_closes_in_order(run: Run, admin: Admin, child_does: str) -> None:
    question = "SELECT VARIABLE_VALUE FROM {} WHERE VARIABLE_NAME = 'Aborted_clients'"
    table = "information_schema.GLOBAL_STATUS"
    if "MariaDB" not in admin.get_server_info():
        table = "performance_schema.global_status"
    before = one(admin, question.format(table))

    run(child_does)

    assert one(admin, question.format(table)) == before
