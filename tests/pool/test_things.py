"""The pool lends whatever its keeper opens: here keys, which know nothing of a database."""

from __future__ import annotations

import ast
import asyncio
import sys
from collections.abc import Callable, Iterator
from importlib.util import resolve_name
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from watch import spawn, steps

import aiomysqlx as sa
import aiomysqlx.pool
from aiomysqlx.pool.home import Ages
from aiomysqlx.pool.pool import Pool

ROOM = Path(aiomysqlx.pool.__file__).parent


class Key:
    """What is lent."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lease = self.generation = 0
        self.at_rest = True
        self.busy = self.closed = False
        self.loss: BaseException | None = None
        self.unfit: Any = None
        self.node = "the node"
        self.overdue = False
        self.connected_at = self.last_usage = asyncio.get_running_loop().time()

    def __repr__(self) -> str:
        return f"<key {self.number}>"

    def on_lost(self, call: Callable[[], object]) -> None:
        self.tell = call

    def on_unfit(self, call: Callable[[], object]) -> None:
        self.tell_unfit = call

    def on_killed(self, call: Callable[[], object]) -> None:
        """Nothing goes on once it is closed."""

    async def ensure_closed(self) -> None:
        self.closed = True


class Porter:
    """Who keeps the keys, and notes what is asked of it."""

    has_init = has_reset = False
    owner = "rack"

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.opened = 0
        self.fails: str | None = None
        self.defect: Any = None  # of the key at which it fails
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def open(self) -> Key:
        await self.goes_on.wait()
        self.opened += 1
        return Key(self.opened)

    async def begin(self, key: Key) -> None:
        self.note("begin", key)

    def is_passing(self, error: BaseException) -> bool:
        return False

    async def check(self, key: Key, suspect: bool) -> None:
        self.note("check", key)

    def shun(self, key: Key) -> None:
        self.note("shun", key)

    def interrupt(self, key: Key, place: Any) -> None:
        """Nobody waits for a key."""

    def start_back(self, key: Key, place: Any) -> asyncio.Future[Any] | None:
        return None

    async def settle(self, key: Key, place: Any) -> None:
        self.note("settle", key)

    async def put_back(self, key: Key) -> None:
        await self.goes_on.wait()
        self.note("put back", key)
        key.at_rest = True

    def warn_of_loss(self, key: Key, place: Any) -> None:
        self.note("warn", key, place)

    def close(self, key: Key, cause: str) -> None:
        self.note("close", key, cause)
        key.closed = True

    def note(self, what: str, key: Key, *details: Any) -> None:
        self.done.append((what, key.number, *details))
        if what == self.fails:
            key.unfit = self.defect
            raise OSError("it is bent")


@pytest.fixture
async def porter() -> Porter:
    return Porter()


async def opened(porter: Porter, minsize: int, maxsize: int | None, **times: Any) -> Pool[Key]:
    pool = Pool(porter, minsize, maxsize, Ages(asyncio.get_running_loop(), **times))
    await pool.open()
    porter.done.clear()
    return pool


async def test_key_that_came_back_last_is_lent_first(porter: Porter) -> None:
    pool = await opened(porter, 3, 3)
    keys = [await pool.acquire() for _ in range(3)]
    for key in keys:
        pool.release(key)

    assert [await pool.acquire() for _ in range(3)] == keys[::-1]
    assert porter.done == []


async def test_who_has_waited_longest_is_served_first(porter: Porter) -> None:
    pool = await opened(porter, 1, 1)
    key = await pool.acquire()
    waiters = [spawn(pool.acquire()) for _ in range(3)]
    await steps()

    for number in range(3):
        pool.release(key)
        await steps()
        assert [waiter.done() for waiter in waiters] == [each <= number for each in range(3)]


async def test_pool_grows_up_to_maxsize(porter: Porter) -> None:
    pool = await opened(porter, 1, 2)
    waiters = [spawn(pool.acquire()) for _ in range(3)]
    await steps()

    assert (pool.size, porter.opened) == (2, 2)
    assert [waiter.done() for waiter in waiters] == [True, True, False]
    waiters[2].cancel()


async def test_who_waits_for_too_long_is_told_how_many_are_in_use(porter: Porter) -> None:
    pool = await opened(porter, 1, 1)
    await pool.acquire()

    with pytest.raises(sa.AcquireTimeoutError, match="1 of 1 in use, 0 more waiting"):
        await pool.acquire(0.01)
    assert pool.stats().timeouts == 1


async def test_key_that_is_not_at_rest_is_put_back_before_it_is_lent(porter: Porter) -> None:
    pool = await opened(porter, 1, 1)
    key = await pool.acquire()
    key.at_rest = False
    porter.goes_on.clear()
    back = pool.release(key)
    waiter = spawn(pool.acquire())
    await steps()

    assert back is not None and not waiter.done()
    porter.goes_on.set()
    assert await waiter is key
    assert porter.done == [("settle", 1), ("put back", 1)]
    assert key.lease == 1


async def test_every_key_is_put_back_if_its_keeper_wants_that(porter: Porter) -> None:
    porter.has_reset = True
    pool = await opened(porter, 1, 1)

    back = pool.release(await pool.acquire())

    assert back is not None
    await back
    assert porter.done == [("settle", 1), ("put back", 1)]


async def test_key_that_cannot_be_put_back_is_replaced(
    porter: Porter, caplog: pytest.LogCaptureFixture
) -> None:
    pool = await opened(porter, 1, 1)
    key = await pool.acquire()
    key.at_rest = False
    porter.fails = "put back"
    back = pool.release(key)

    assert (await pool.acquire()).number == 2
    assert back is not None and isinstance(back.exception(), OSError)
    assert ("close", 1, "reset") in porter.done
    assert caplog.messages == ["a connection could not be put back: it is bent"]


@pytest.mark.parametrize(
    ("of_the_node", "told"),
    [(True, []), (False, ["a connection could not be put back: it is bent"])],
)
async def test_log_is_told_of_a_put_back_that_fails_unless_its_node_does_no_work(
    porter: Porter, caplog: pytest.LogCaptureFixture, of_the_node: bool, told: list[str]
) -> None:
    pool = await opened(porter, 1, 1)
    key = await pool.acquire()
    key.at_rest = False
    porter.fails, porter.defect = "put back", SimpleNamespace(is_of_the_node=of_the_node)
    pool.release(key)

    assert (await pool.acquire()).number == 2
    assert ("close", 1, "reset") in porter.done
    assert caplog.messages == told


async def test_key_that_fails_its_check_is_replaced_unseen(porter: Porter) -> None:
    pool = await opened(porter, 1, 1, pre_ping=0)
    porter.fails = "check"

    assert (await pool.acquire()).number == 2
    assert porter.done == [("check", 1), ("close", 1, "ping"), ("begin", 2)]


async def test_key_that_is_lost_while_idle_is_replaced(porter: Porter) -> None:
    pool = await opened(porter, 1, 1)
    key = await pool.acquire()
    pool.release(key)
    key.closed = True

    key.tell()
    await steps()

    assert (pool.freesize, porter.opened) == (1, 2)
    assert pool.stats().closed == {"lost": 1}


async def test_defect_of_the_node_closes_its_other_keys(porter: Porter) -> None:
    pool = await opened(porter, 3, 3)
    one, *others = [await pool.acquire() for _ in range(3)]
    for key in others:
        pool.release(key)
    one.at_rest, one.unfit = False, SimpleNamespace(is_of_the_node=True)

    one.tell_unfit()
    pool.release(one)

    assert pool.stats().closed == {"unfit": 1, "cleared": 2}


async def test_dropped_key_is_closed_after_its_keeper_was_told(porter: Porter) -> None:
    pool = await opened(porter, 1, 1)
    place = sys._getframe().f_code, 0

    pool.reclaim(await pool.acquire(), place)

    assert porter.done == [("warn", 1, place), ("close", 1, "leaked")]


async def test_closed_pool_waits_for_the_keys_that_are_lent(porter: Porter) -> None:
    pool = await opened(porter, 2, 2)
    key = await pool.acquire()
    pool.close()
    waiting = spawn(pool.wait_closed())
    await steps()

    assert porter.done == [("close", 1, "engine")]
    assert not waiting.done()
    pool.release(key)
    await waiting
    assert porter.done[1:] == [("close", 2, "engine")]
    with pytest.raises(RuntimeError, match="after closing"):
        pool.take()


async def test_terminated_pool_closes_the_keys_that_are_lent(porter: Porter) -> None:
    pool = await opened(porter, 1, 1)
    key = await pool.acquire()

    pool.terminate()
    await pool.wait_closed()

    assert key.closed and pool.size == 0
    assert pool.release(key) is None


# -- what the pool knows ---------------------------------------------------------------------------


def imported(path: Path) -> Iterator[str]:
    """Give the absolute names of the modules that a module of the pool imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            name = "." * node.level + (node.module or "")
            names = [name] if node.module else [name + alias.name for alias in node.names]
            yield from (resolve_name(each, "aiomysqlx.pool") for each in names)


@pytest.mark.parametrize("path", sorted(ROOM.glob("*.py")), ids=lambda path: path.stem)
def test_room_knows_neither_what_is_lent_nor_sqlalchemy(path: Path) -> None:
    below = ("aiomysqlx.pool", "aiomysqlx.runtime", "aiomysqlx.exc")
    others = {
        name
        for name in imported(path)
        if name.partition(".")[0] not in sys.stdlib_module_names
        and not f"{name}.".startswith(tuple(f"{each}." for each in below))
    }

    assert others == set()
