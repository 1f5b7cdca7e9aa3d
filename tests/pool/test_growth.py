"""What a step of the pool costs, with few and with many who wait, or connections: the same.

Counted are the instructions of the package, the comparisons of connections and the bytes that are
allocated at once; a clock is not asked.
"""

from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from meter import PACKAGE, Meter
from pretended import FakeConnection, FakeServer, pool_of

FEW, MANY = 40, 400
# What a step may allocate more, for a table that is about to grow.
SLACK_BYTES = 1024
# A branch more or less; what grows with the number takes one for each at least.
SLACK_INSTRUCTIONS = 10


@pytest.fixture(autouse=True)
def text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the pool run from its Python text, whose instructions can be counted."""
    for name in ("home", "stats", "waiters", "holdings", "supply", "stock", "pool"):
        module = f"aiomysqlx.pool.{name}"
        spec = spec_from_file_location(module, Path(PACKAGE, "pool", f"{name}.py"))
        assert spec is not None and spec.loader is not None
        monkeypatch.setitem(sys.modules, module, module_from_spec(spec))
        spec.loader.exec_module(sys.modules[module])
    monkeypatch.setattr("pretended.Ages", sys.modules["aiomysqlx.pool.home"].Ages)
    monkeypatch.setattr("pretended.Pool", sys.modules["aiomysqlx.pool.pool"].Pool)


class Counted(FakeConnection):
    """A connection whose comparisons are counted, as looking through a sequence makes them."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Cost(NamedTuple):
    """What a step has cost."""

    instructions: int
    comparisons: int
    allocated: int


async def steps(count: int = 12) -> None:
    """Let everything that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


class Scene:
    """A pool with so many of something, and a step that it can do again and again."""

    def __init__(self, server: FakeServer, pool: Any) -> None:
        self.server = server
        self.pool = pool
        self.lent: list[Any] = []
        self.tasks: list[asyncio.Future[Any]] = []

    def wait(self, count: int = 1, timeout: float | None = None) -> None:
        """Have so many more wait."""
        self.tasks += [asyncio.ensure_future(self.pool.acquire(timeout)) for _ in range(count)]

    def served(self, index: int = 0) -> None:
        """Take the connection of one who has been served, the first if not told."""
        self.lent.append(self.tasks.pop(index).result())

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        self.pool.terminate()
        await self.pool.wait_closed()


Step = Callable[[Scene], Awaitable[None]]


async def nothing(scene: Scene) -> None:
    """Restore nothing."""


async def measured(step: Step, restore: Step, scene: Scene) -> Cost:
    """Give the least that a step costs, out of a few."""
    instructions, comparisons, allocated = [], [], []
    for _ in range(4):
        before = Counted.comparisons
        with Meter() as meter:
            await step(scene)
        instructions.append(meter.instructions)
        comparisons.append(Counted.comparisons - before)
        await restore(scene)
        tracemalloc.start()
        try:
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            await step(scene)
            allocated.append(tracemalloc.get_traced_memory()[1] - held)
        finally:
            tracemalloc.stop()
        await restore(scene)
    return Cost(min(instructions), min(comparisons), min(allocated))


async def open_pool(maxsize: int | None, **kwargs: Any) -> Scene:
    server = FakeServer(Counted)
    pool = pool_of(server, 1, maxsize, -1, **kwargs)
    await pool.open()
    return Scene(server, pool)


async def with_waiters(count: int) -> Scene:
    """A pool of one, for which so many wait."""
    scene = await open_pool(1)
    scene.lent.append(await scene.pool.acquire())
    scene.wait(count)
    await steps()
    return scene


async def with_idle(count: int, **kwargs: Any) -> Scene:
    """A pool with so many idle connections."""
    scene = await open_pool(None, **kwargs)
    for connection in [await scene.pool.acquire() for _ in range(count)]:
        scene.pool.release(connection)
    return scene


async def with_lent(count: int) -> Scene:
    """A pool with so many connections lent, and one idle."""
    scene = await open_pool(None)
    lent = [await scene.pool.acquire() for _ in range(count + 1)]
    scene.pool.release(lent.pop())
    scene.lent += lent
    return scene


async def with_openings(count: int) -> Scene:
    """A pool that opens so many connections."""
    scene = await open_pool(None)
    scene.lent.append(await scene.pool.acquire())
    scene.server.slow = True
    scene.wait(count)
    await steps()
    return scene


async def with_ways_back(count: int) -> Scene:
    """A pool with so many connections on their way back, and a waiter."""
    scene = await with_lent(count)
    scene.lent.append(await scene.pool.acquire())
    for connection in scene.lent[:count]:
        connection.server_status = 1
        scene.pool.release(connection)
    del scene.lent[:count]
    return scene


# -- steps -----------------------------------------------------------------------------------------


async def join(scene: Scene) -> None:
    scene.wait()
    await steps()


async def leave_last(scene: Scene) -> None:
    scene.tasks.pop().cancel()
    await steps()


async def leave_first(scene: Scene) -> None:
    scene.tasks.pop(0).cancel()
    await steps()


async def give_on(scene: Scene) -> None:
    scene.pool.release(scene.lent.pop())
    await steps()
    scene.served()


async def give_on_and_join(scene: Scene) -> None:
    await join(scene)


async def run_out_of_time(scene: Scene) -> None:
    scene.wait(timeout=0.0001)
    await asyncio.wait(scene.tasks[-1:])
    scene.tasks.pop().exception()


async def lose_the_lent(scene: Scene) -> None:
    connection = scene.lent.pop()
    connection.close()
    scene.pool.release(connection)
    await steps()
    scene.served()


async def fail_to_open(scene: Scene) -> None:
    connection = scene.lent.pop()
    connection.close()
    scene.server.slow = True
    scene.pool.release(connection)
    await steps()
    scene.server.refuse()
    await steps()
    assert scene.tasks.pop(0).exception() is not None
    scene.server.accept()
    await steps()
    scene.served()


async def join_twice(scene: Scene) -> None:
    scene.wait(2)
    await steps()


async def take(scene: Scene) -> None:
    scene.lent.append(await scene.pool.acquire())


async def give_back(scene: Scene) -> None:
    scene.pool.release(scene.lent.pop())


async def take_and_give_back(scene: Scene) -> None:
    await take(scene)
    await give_back(scene)


async def ping(scene: Scene) -> None:
    scene.wait()
    await steps()
    scene.served()
    await give_back(scene)


async def lose_the_oldest(scene: Scene) -> None:
    connection = next(iter(scene.pool.stock.idle))
    connection.close()
    scene.pool.stock.lose(connection)


async def open_one(scene: Scene) -> None:
    connection = await scene.pool.stock._open()
    scene.pool.stock.offer(connection)


async def close_one_unused(scene: Scene) -> None:
    oldest = next(iter(scene.pool.stock.idle))
    scene.pool.stock.idle[oldest] -= 1000
    scene.pool.stock._close_unused()


async def reclaim(scene: Scene) -> None:
    scene.pool.reclaim(scene.lent.pop())


async def lend_another(scene: Scene) -> None:
    scene.wait()
    await steps()
    scene.served()


async def accept(scene: Scene) -> None:
    scene.server.accept()
    await steps()
    scene.served()


async def go_back(scene: Scene) -> None:
    connection = scene.lent.pop()
    connection.server_status = 1
    scene.pool.release(connection)
    connection.finish()
    await steps()


async def stop_relying(scene: Scene) -> None:
    scene.pool.stock.underway._stop_relying(scene.pool.stock.grow)
    await steps()


async def tell(scene: Scene) -> None:
    scene.pool.stats()


CASES: dict[str, tuple[Callable[[int], Awaitable[Scene]], Step, Step]] = {
    "wait": (with_waiters, join, leave_last),
    "give up": (with_waiters, leave_last, join),
    "give up as the first": (with_waiters, leave_first, join),
    "run out of time": (with_waiters, run_out_of_time, nothing),
    "serve": (with_waiters, give_on, give_on_and_join),
    "replace a lost one": (with_waiters, lose_the_lent, join),
    "fail to open": (with_waiters, fail_to_open, join_twice),
    "stats": (with_waiters, tell, nothing),
    "take and give back, of many idle": (with_idle, take_and_give_back, nothing),
    "take, of many idle": (with_idle, take, give_back),
    "lose one, of many idle": (with_idle, lose_the_oldest, open_one),
    "ping, of many idle": (lambda n: with_idle(n, pre_ping=0), ping, nothing),
    "close one unused, of many idle": (
        lambda n: with_idle(n, max_idle=500),
        close_one_unused,
        open_one,
    ),
    "take and give back, of many lent": (with_lent, take_and_give_back, nothing),
    "reclaim, of many lent": (with_lent, reclaim, lend_another),
    "wait, of many openings": (with_openings, join, leave_last),
    "open, of many openings": (with_openings, accept, join),
    "go back, of many on their way": (with_ways_back, go_back, take),
    "rely no more, of many on their way": (with_ways_back, stop_relying, nothing),
}


@pytest.mark.parametrize(("scene", "step", "restore"), CASES.values(), ids=CASES)
async def test_step_costs_the_same_with_few_and_with_many(
    scene: Callable[[int], Awaitable[Scene]], step: Step, restore: Step
) -> None:
    costs = []
    for count in (FEW, MANY):
        set_up = await scene(count)
        costs.append(await measured(step, restore, set_up))
        await set_up.end()

    few, many = costs
    assert few.instructions > 10
    assert many.instructions <= few.instructions + SLACK_INSTRUCTIONS
    assert many.comparisons <= few.comparisons
    assert many.allocated <= few.allocated + SLACK_BYTES


async def everything(count: int) -> Scene:
    """A pool with as many idle, lent, on their way back and being opened, and waiting."""
    scene = await open_pool(3 * count)
    lent = [await scene.pool.acquire() for _ in range(2 * count)]
    for connection in lent[:count]:
        scene.pool.release(connection)
    scene.lent = lent[count:]
    return scene


@pytest.mark.parametrize("how", ["close", "terminate", "clear", "disown"])
async def test_end_costs_as_much_as_there_is_to_end(how: str) -> None:
    costs = []
    for count in (FEW, MANY):
        scene = await everything(count)
        with Meter() as meter:
            getattr(scene.pool, how)()
        costs.append(meter.instructions)
        if how != "disown":
            await scene.end()

    assert costs[1] <= costs[0] * MANY / FEW


async def test_closing_turns_away_each_waiter_at_the_same_cost() -> None:
    costs = []
    for count in (FEW, MANY):
        scene = await with_waiters(count)
        with Meter() as meter:
            scene.pool.close()
        costs.append(meter.instructions)
        await asyncio.wait(scene.tasks)
        await scene.end()

    assert costs[1] <= costs[0] * MANY / FEW


async def test_closing_what_is_unused_costs_the_same_for_each() -> None:
    costs = []
    for count in (FEW, MANY):
        scene = await with_idle(count, max_idle=500)
        for connection in scene.pool.stock.idle:
            scene.pool.stock.idle[connection] -= 1000
        with Meter() as meter:
            scene.pool.stock._close_unused()
        costs.append(meter.instructions)
        assert scene.pool.size == 1
        await scene.end()

    assert costs[1] <= costs[0] * (MANY - 1) / (FEW - 1)  # one is kept
