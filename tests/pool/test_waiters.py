"""Those who wait for a connection: who is served, who is told what, and who is attended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiomysqlx.pool.waiters import Waiters

CONNECTION: Any = object()


@pytest.fixture
async def queue() -> Waiters[Any]:
    """A queue of the running event loop."""
    return Waiters(asyncio.get_running_loop())


def order(queue: Waiters[Any], waiters: list[Any]) -> list[int]:
    """Serve all; give the places of *waiters* in the order in which they were served."""
    served = []
    while queue.serve(CONNECTION):
        (latest,) = (
            place
            for place, waiter in enumerate(waiters)
            if waiter.done() and not waiter.cancelled() and place not in served
        )
        served.append(latest)
    return served


async def test_first_come_is_first_served(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(3)]

    assert (len(queue), bool(queue)) == (3, True)
    assert order(queue, waiters) == [0, 1, 2]
    assert (len(queue), bool(queue)) == (0, False)
    assert queue.serve(CONNECTION) is False


async def test_who_joins_first_is_before_all(queue: Waiters[Any]) -> None:
    waiters = [queue.join(), queue.join(first=True), queue.join(), queue.join(first=True)]
    queue.unattended(1)

    assert len(queue) == 4
    assert order(queue, waiters) == [3, 1, 0, 2]


async def test_who_has_waited_before_all_is_one_to_be_told_of(queue: Waiters[Any]) -> None:
    queue.join(first=True)

    assert bool(queue) and len(queue) == 1


async def test_who_leaves_is_not_served(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(4)]
    queue.unattended(2)

    assert queue.leave(waiters[0]) is None and queue.leave(waiters[2]) is None

    assert waiters[0].cancelled() and waiters[2].cancelled()
    assert len(queue) == 2
    assert order(queue, waiters) == [1, 3]


async def test_who_leaves_gives_on_what_was_handed_over(queue: Waiters[Any]) -> None:
    served, refused, cancelled = (queue.join() for _ in range(3))
    queue.serve(CONNECTION)
    queue.refuse(refused, LookupError())
    cancelled.cancel()

    assert queue.leave(served) is CONNECTION
    assert queue.leave(refused) is None
    assert queue.leave(cancelled) is None
    assert isinstance(refused.exception(), LookupError)


async def test_who_is_cancelled_is_passed_over(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(3)]
    waiters[0].cancel()
    waiters[2].cancel()

    assert not queue.refuse(waiters[2], LookupError())
    assert order(queue, waiters) == [1]


async def test_who_is_refused_is_told_once(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(3)]
    queue.unattended(1)

    assert queue.refuse(waiters[0], LookupError("no good"))
    assert queue.refuse(waiters[1], LookupError("no good"))

    assert queue.refuse(waiters[0], ValueError()) is False
    for waiter in waiters[:2]:
        with pytest.raises(LookupError, match="no good"):
            await waiter
    queue.leave(waiters[2])
    assert not queue.refuse(waiters[2], ValueError())
    assert len(queue) == 0


async def test_who_has_been_forgotten_is_told_nothing(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(2)]
    queue.unattended(1)

    queue.forget()

    assert len(queue) == 0 and not queue.serve(CONNECTION)
    assert not queue.refuse(waiters[0], ValueError())
    assert not any(waiter.done() for waiter in waiters)


async def test_all_are_refused_each_with_an_error_of_its_own(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(3)]
    queue.unattended(1)
    waiters[1].cancel()

    queue.refuse_all(LookupError)

    errors = [waiters[place].exception() for place in (0, 2)]
    assert [type(error) for error in errors] == [LookupError, LookupError]
    assert errors[0] is not errors[1] and len(queue) == 0


async def test_first_beyond_those_something_is_under_way_for_is_unattended(
    queue: Waiters[Any],
) -> None:
    waiters = [queue.join() for _ in range(4)]

    for count in (0, 1, 3, 2, 0, 3):  # less, too, when what was under way has failed
        assert queue.unattended(count) is waiters[count]
    assert queue.unattended(4) is None
    assert queue.unattended(5) is None
    assert queue.unattended(1) is waiters[1]
    assert len(queue) == 4
    assert order(queue, waiters) == [0, 1, 2, 3]


async def test_nobody_who_is_cancelled_is_unattended(queue: Waiters[Any]) -> None:
    waiters = [queue.join() for _ in range(3)]
    waiters[0].cancel()

    assert queue.unattended(0) is waiters[1]
    waiters[1].cancel()
    waiters[2].cancel()
    assert queue.unattended(0) is None
    assert len(queue) == 0


async def test_who_joins_first_is_attended_first(queue: Waiters[Any]) -> None:
    behind = queue.join()
    first = queue.join(first=True)

    assert queue.unattended(0) is first
    assert queue.unattended(1) is behind
