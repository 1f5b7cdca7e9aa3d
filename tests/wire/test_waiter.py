"""What a task waits for: it does what asyncio's futures do, and may wake the task at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from fakes import OK, packets
from hypothesis import given
from hypothesis import strategies as st
from pymysql import err
from watch import spawn, steps
from wires import Wire

from aiomysqlx.runtime.waiter import Waiter
from aiomysqlx.wire.reply import Reply

Make = Callable[[asyncio.AbstractEventLoop], Any]
Step = tuple[str, int]
# What is done to a future, and to which of three callbacks, or of the tasks that wait.
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["add", "remove", "await", "stop", "stop it"]), st.integers(0, 2)
        ),
        st.tuples(st.sampled_from(["turn", "result", "error", "cancel", "cancel it"]), st.just(0)),
    ),
    max_size=12,
)


class Trial:
    """A future of one kind, and what comes of what is done to it."""

    def __init__(self, make: Make) -> None:
        self.seen: list[Any] = []
        self.loop = asyncio.new_event_loop()
        self.future = make(self.loop)
        self.tasks: list[asyncio.Task[None]] = []
        self.callbacks = [lambda _, name=name: self.seen.append(name) for name in "abc"]

    def run(self, taken: list[Step], settle: Callable[[Any, Any, Any], None]) -> list[Any]:
        for step in taken:
            self.loop.call_soon(self.attempt, settle, *step)
            self.turn()
        for task in self.tasks:
            task.cancel()
        self.turn(5)
        self.seen += [(task.done(), task.cancelled()) for task in self.tasks]
        self.note(self.future.result)
        self.note(self.future.exception)
        self.loop.close()
        return self.seen

    def turn(self, count: int = 1) -> None:
        for _ in range(count):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def attempt(self, settle: Callable[[Any, Any, Any], None], step: str, number: int) -> None:
        self.note(lambda: self.take(settle, step, number))
        self.seen.append((self.future.done(), self.future.cancelled()))

    def take(self, settle: Callable[[Any, Any, Any], None], step: str, number: int) -> Any:
        if step == "add":
            return self.future.add_done_callback(self.callbacks[number])
        if step == "remove":
            return self.future.remove_done_callback(self.callbacks[number])
        if step == "await":
            return self.tasks.append(self.loop.create_task(self.wait(len(self.tasks))))
        if step.startswith("stop"):
            message = ["enough"] if step == "stop it" else []
            return [task.cancel(*message) for task in self.tasks[number : number + 1]]
        if step.startswith("cancel"):
            return self.future.cancel("enough" if step == "cancel it" else None)
        if step == "result":
            return settle(self.future, 7, None)
        if step == "error":
            return settle(self.future, None, LookupError("lost"))
        return None

    async def wait(self, number: int) -> None:
        try:
            self.seen.append((number, await self.future))
        except BaseException as error:
            self.seen.append((number, type(error), error.args))
            raise

    def note(self, call: Callable[[], Any]) -> None:
        try:
            self.seen.append(repr(call()))
        except asyncio.InvalidStateError:
            self.seen.append("invalid")
        except BaseException as error:
            self.seen.append((type(error), error.args))


def announce(future: Any, result: Any, error: Any) -> None:
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def wake(future: Any, result: Any, error: Any) -> None:
    if isinstance(future, Waiter):
        future.settle(result, error)
        future.wake()
    else:
        announce(future, result, error)


@given(STEPS)
def test_waiter_does_what_a_future_does(taken: list[Step]) -> None:
    assert Trial(Waiter).run(taken, announce) == Trial(_future).run(taken, announce)


@given(STEPS)
def test_tasks_woken_at_once_end_as_those_of_a_future(taken: list[Step]) -> None:
    """Some earlier: what they do is the same, and whether they are cancelled."""
    woken, later = (Trial(make).run([*taken, ("turn", 0)], wake) for make in (Waiter, _future))

    assert sorted(map(repr, woken)) == sorted(map(repr, later))


def _future(loop: asyncio.AbstractEventLoop) -> asyncio.Future[Any]:
    return asyncio.Future(loop=loop)


# -- the tasks that wait for the answers of a connection -------------------------------------------


async def answered(reply: Reply, seen: list[Any], name: str) -> Any:
    """Wait for a reply, and note that it has come."""
    try:
        return await reply.future
    finally:
        seen.append(name)


@pytest.fixture
async def wire() -> Wire:
    return Wire()


async def receive(wire: Wire, count: int) -> None:
    """Have so many answers come in with one read, in a callback of the event loop."""
    came = asyncio.Event()

    def read() -> None:
        came.set()
        wire.receive(b"".join(packets(OK) for _ in range(count)))

    asyncio.get_running_loop().call_soon(read)
    await came.wait()


async def test_task_goes_on_in_the_very_callback_that_brings_its_answer(wire: Wire) -> None:
    seen: list[str] = []
    task = spawn(answered(wire.send(), seen, "task"))
    await steps(2)
    done = asyncio.Event()

    def read() -> None:
        wire.receive(packets(OK))
        seen.append("read")
        done.set()

    asyncio.get_running_loop().call_soon(read)
    await done.wait()

    assert seen == ["task", "read"]
    assert len(await task) == 1


async def test_what_a_task_at_work_reads_wakes_others_after_it(wire: Wire) -> None:
    """As a TLS transport does that is closed: no task can go on within another."""
    seen: list[str] = []
    task = spawn(answered(wire.send(), seen, "task"))
    await steps(2)

    wire.receive(packets(OK))
    seen.append("read")
    await task

    assert seen == ["read", "task"]


async def test_debug_mode_goes_on_with_a_task_by_its_own_callback() -> None:
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    wire = Wire()
    seen: list[str] = []
    task = spawn(answered(wire.send(), seen, "task"))
    await steps(2)
    loop.call_soon(lambda: (wire.receive(packets(OK)), seen.append("read")))
    await task
    loop.set_debug(False)

    assert seen == ["read", "task"]


async def test_task_woken_first_may_cancel_the_next(wire: Wire) -> None:
    seen: list[str] = []
    second: asyncio.Future[Any]

    async def cancel_next(reply: Reply) -> None:
        await answered(reply, seen, "first")
        second.cancel("not wanted")

    first = spawn(cancel_next(wire.send()))
    second = spawn(answered(wire.send(), seen, "second"))
    await steps(2)
    await receive(wire, 2)

    await asyncio.wait([first, second])
    assert seen == ["first", "second"]
    assert second.cancelled() and not first.cancelled()


async def test_task_woken_first_may_end_the_connection(wire: Wire) -> None:
    seen: list[str] = []

    async def close(reply: Reply) -> None:
        await answered(reply, seen, "first")
        wire.protocol.fail(err.OperationalError(2013, "closed"))

    tasks = [spawn(close(wire.send()))]
    tasks += [spawn(answered(wire.send(), seen, name)) for name in ("second", "third")]
    await steps(2)
    await receive(wire, 2)

    _, second, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(second) == 1  # it was there already
    assert isinstance(third, err.OperationalError)


async def test_task_that_goes_on_may_send_the_next_command(wire: Wire) -> None:
    async def converse() -> list[int]:
        return [len(await wire.send().future) for _ in range(3)]

    task = spawn(converse())
    for _ in range(3):
        await steps(2)
        await receive(wire, 1)

    assert await task == [1, 1, 1]
    assert not wire.protocol.replies


async def test_two_tasks_may_wait_for_one_answer(wire: Wire) -> None:
    seen: list[str] = []
    reply = wire.send()
    tasks = [spawn(answered(reply, seen, name)) for name in "ab"]
    await steps(2)
    await receive(wire, 1)

    first, second = await asyncio.gather(*tasks)
    assert first is second and seen == ["a", "b"]


@pytest.mark.parametrize(
    "wait",
    [
        lambda future: asyncio.wait([future]),
        asyncio.shield,
        lambda future: asyncio.wait_for(future, 5),
        lambda future: asyncio.wait_for(asyncio.shield(future), 5),
    ],
    ids=["wait", "shield", "wait_for", "both"],
)
async def test_answer_may_be_waited_for_as_any_future(
    wire: Wire, wait: Callable[[Any], Any]
) -> None:
    reply = wire.send()
    task = spawn(wait(reply.future))
    await steps(3)
    await receive(wire, 1)
    await task

    assert len(reply.future.result()) == 1


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_interrupt_of_a_task_ends_the_event_loop_and_others_go_on(
    raised: type[BaseException],
) -> None:
    loop = asyncio.new_event_loop()
    seen: list[str] = []

    async def give_up(reply: Reply) -> None:
        await answered(reply, seen, "first")
        raise raised

    async def run() -> asyncio.Future[Any]:
        wire = Wire()
        spawn(give_up(wire.send())).add_done_callback(lambda task: task.exception())
        second = spawn(answered(wire.send(), seen, "second"))
        await steps(2)
        # Not every transport passes it on.
        loop.call_soon(lambda: wire.receive(packets(OK) + packets(OK)))
        seconds.append(second)
        return await second

    seconds: list[asyncio.Future[Any]] = []
    whole = loop.create_task(run())
    with pytest.raises(raised):
        loop.run_until_complete(whole)
    assert loop.run_until_complete(asyncio.wait_for(whole, 5)) is seconds[0].result()
    assert seen == ["first", "second"]
    loop.close()


async def test_task_that_an_interrupt_kept_from_its_answer_can_be_cancelled() -> None:
    waiter = Waiter(asyncio.get_running_loop())

    async def wait() -> Any:
        return await waiter

    task = spawn(wait())
    await steps(2)
    waiter.settle("an answer")  # and nobody comes to call wake()
    task.cancel()

    await asyncio.wait([task], timeout=5)
    assert task.cancelled()


async def test_task_is_woken_in_its_own_context(wire: Wire) -> None:
    name: ContextVar[str] = ContextVar("name", default="nobody")
    names = []

    async def introduce(reply: Reply) -> None:
        await reply.future
        names.append(name.get())
        name.set("somebody")

    def spawn_in_context(given: str) -> asyncio.Future[Any]:
        context = copy_context()
        context.run(name.set, given)
        return context.run(spawn, introduce(wire.send()))

    tasks = [spawn_in_context(given) for given in ("a", "b")]
    await steps(2)
    await receive(wire, 2)
    await asyncio.wait(tasks)

    assert names == ["a", "b"] and name.get() == "nobody"


if sys.version_info >= (3, 11):  # where a task may be given its context

    async def test_tasks_that_share_a_context_are_woken_in_it(wire: Wire) -> None:
        name: ContextVar[int] = ContextVar("name", default=0)

        async def count(reply: Reply) -> int:
            await reply.future
            name.set(name.get() + 1)
            return name.get()

        context = copy_context()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(count(wire.send()), context=context) for _ in range(3)]
        await steps(2)
        await receive(wire, 3)

        assert await asyncio.gather(*tasks) == [1, 2, 3]
        assert context[name] == 3


async def test_waiting_task_can_be_shown(wire: Wire) -> None:
    async def wait() -> Any:
        return await reply.future

    reply = wire.send()
    task = spawn(wait())
    await steps(2)

    assert "wait_for=<Waiter pending>" in repr(task)
    assert isinstance(task, asyncio.Task)
    assert [frame.f_code.co_name for frame in task.get_stack()] == ["wait"]
    await receive(wire, 1)
    await task
    assert repr(reply.future) == "<Waiter finished>"
