"""How long a connection is good for, at and around each bound."""

from __future__ import annotations

import random
from typing import Any

import pytest
from pretended import FakeConnection

from aiomysqlx.pool.home import Ages


class Clock:
    """The part of an event loop that tells the time."""

    now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Any:
    """A clock that stands still."""
    return Clock()


@pytest.fixture
async def connection(clock: Clock) -> Any:
    """A connection whose latest statement is just over."""
    connection = FakeConnection(0)
    connection.last_usage = clock.now
    return connection


def test_without_limits_there_is_none_to_look_at(clock: Any) -> None:
    assert not Ages(clock).any
    assert not Ages(clock, -1).any


@pytest.mark.parametrize("name", ["recycle", "pre_ping", "max_lifetime", "max_idle"])
def test_each_limit_is_one_to_look_at(clock: Any, name: str) -> None:
    assert Ages(clock, **{name: 0}).any


async def test_connection_without_limits_is_fit(clock: Any, connection: Any) -> None:
    ages = Ages(clock)
    ages.begin(connection)
    clock.now += 1e9

    assert ages.unfit(connection) is None
    assert not ages.doubtful(connection)
    ages.end(connection)


@pytest.mark.parametrize("recycle", [0, 10])
async def test_connection_is_recycled_once_it_is_older(
    clock: Any, connection: Any, recycle: float
) -> None:
    ages = Ages(clock, recycle)
    clock.now += recycle
    assert ages.unfit(connection) is None

    clock.now += 0.5

    assert ages.unfit(connection) == "recycle"


@pytest.mark.parametrize("pre_ping", [0, 10])
async def test_connection_is_doubtful_once_it_is_as_old(
    clock: Any, connection: Any, pre_ping: float
) -> None:
    ages = Ages(clock, pre_ping=pre_ping)
    clock.now += pre_ping - 0.5
    assert not ages.doubtful(connection)

    clock.now += 0.5

    assert ages.doubtful(connection)


@pytest.mark.parametrize(("chance", "lifetime"), [(0.0, 100), (0.5, 95), (1.0, 90)])
async def test_lifetimes_vary_by_a_tenth(
    clock: Any,
    connection: Any,
    chance: float,
    lifetime: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(random, "random", lambda: chance)
    ages = Ages(clock, max_lifetime=100)
    ages.begin(connection)
    clock.now += lifetime
    assert ages.unfit(connection) is None

    clock.now += 0.5

    assert ages.unfit(connection) == "lifetime"
    ages.end(connection)
    ages.begin(connection)
    assert ages.unfit(connection) is None


async def test_closed_connections_are_forgotten(clock: Any, connection: Any) -> None:
    ages = Ages(clock, max_lifetime=100)
    ages.begin(connection)

    ages.end(connection)
    ages.end(connection)

    assert not ages._ends


async def test_first_reason_is_the_one_that_is_told(clock: Any, connection: Any) -> None:
    ages = Ages(clock, 10, max_lifetime=10)
    ages.begin(connection)
    clock.now += 20
    assert ages.unfit(connection) == "recycle"
    connection.unfit = object()
    assert ages.unfit(connection) == "unfit"

    connection.closed = True

    assert ages.unfit(connection) == "lost"
