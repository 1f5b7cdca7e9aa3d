"""Timers of a connection: many calls that are due, and one timer of the event loop."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from aiomysqlx.runtime.timers import Timers


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts the timers it is asked for."""

    timers = 0

    def call_at(self, *args, **options):  # type: ignore[no-untyped-def]
        self.timers += 1
        return super().call_at(*args, **options)


def run(main) -> int:  # type: ignore[no-untyped-def]
    """Run *main* with the event loop, and return how many timers that was asked for."""
    loop = CountingLoop()
    try:
        loop.run_until_complete(main(loop))
        return loop.timers
    finally:
        loop.close()


async def test_calls_come_in_time_and_only_those_that_are_due() -> None:
    loop = asyncio.get_running_loop()
    timers, called = Timers(loop), []
    at = loop.time()
    late = timers.call_at(at + 60, called.append, "late")
    timers.call_at(at + 0.03, called.append, "third")
    timers.call_at(at + 0.01, called.append, "first")
    dropped = timers.call_at(at + 0.02, called.append, "dropped")
    timers.call_at(at + 0.02, called.append, "second")
    dropped.cancel()
    dropped.cancel()

    while len(called) < 3:
        await asyncio.sleep(0.005)

    assert loop.time() >= at + 0.03
    assert called == ["first", "second", "third"]
    assert dropped.cancelled() and not late.cancelled()
    late.cancel()


async def test_a_call_may_cancel_another_that_is_due_and_set_more() -> None:
    loop = asyncio.get_running_loop()
    timers, called = Timers(loop), []
    at = loop.time() + 0.01

    def first() -> None:
        second.cancel()
        timers.call_at(loop.time(), called.append, "third")

    timers.call_at(at, first)
    second = timers.call_at(at, called.append, "second")

    while not called:
        await asyncio.sleep(0.005)

    assert called == ["third"]


async def test_an_error_of_one_call_does_not_hold_up_the_others() -> None:
    loop = asyncio.get_running_loop()
    told: list[dict[str, object]] = []
    loop.set_exception_handler(lambda _, context: told.append(context))
    timers, called = Timers(loop), []
    at = loop.time() + 0.01
    timers.call_at(at, [].pop)
    timers.call_at(at, called.append, "second")

    while not called:
        await asyncio.sleep(0.005)

    assert [type(each["exception"]) for each in told] == [IndexError]


@pytest.mark.parametrize("count", [1, 1000])
def test_loop_has_one_timer_for_all_that_are_cancelled_in_time(count: int) -> None:
    async def main(loop: asyncio.AbstractEventLoop) -> None:
        timers = Timers(loop)
        for index in range(count):
            timers.call_at(loop.time() + 60 + index, print).cancel()
        timers.close()

    assert run(main) == 1


async def test_nothing_is_called_after_the_end() -> None:
    loop = asyncio.get_running_loop()
    timers, called = Timers(loop), []
    timer = timers.call_at(loop.time(), called.append, "late")
    timers.close()

    await asyncio.sleep(0.01)

    assert timer.cancelled()
    assert called == []


async def test_the_loop_keeps_nothing_alive() -> None:
    loop = asyncio.get_running_loop()
    timers = Timers(loop)
    timers.call_at(loop.time() + 60, print)
    kept = weakref.ref(timers)

    del timers
    gc.collect()

    assert kept() is None
