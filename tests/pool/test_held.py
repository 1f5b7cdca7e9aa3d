"""Connections that are held for long: the log names the place that acquired them."""

from __future__ import annotations

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest
from watch import now, passed, spawn, until

import aiomysqlx as sa

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
SECONDS = 0.2


@pytest.fixture(autouse=True)
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the pool warns of."""
    caplog.set_level(logging.WARNING, "aiomysqlx.pool")
    return caplog


def line() -> int:
    """Give the line of the caller."""
    return sys._getframe(1).f_lineno


async def test_connection_held_for_long_is_told_once_with_its_place(
    connect_kwargs: Kwargs, warnings: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, held_warning=SECONDS) as engine:
        started = now()
        conn, where = await engine.acquire(), line()
        await until(lambda: warnings.messages)

        assert now() - started >= SECONDS
        assert f"acquired at {__file__}:{where} is held for more than 0.2" in warnings.text
        await passed(2 * SECONDS)
        engine.release(conn)
    assert len(warnings.messages) == 1


async def test_place_of_a_block_is_that_of_its_user(
    connect_kwargs: Kwargs, warnings: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, held_warning=SECONDS) as engine:
        async with engine.begin():
            where = line() - 1
            await until(lambda: warnings.messages)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(engine.begin())
            stacked = line() - 1
            await until(lambda: len(warnings.messages) == 2)

    assert [
        f"{__file__}:{number}" in text
        for number, text in zip((where, stacked), warnings.messages, strict=True)
    ] == [True, True]


async def test_waiting_is_not_holding(
    connect_kwargs: Kwargs, warnings: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, held_warning=SECONDS) as engine:
        conn = await engine.acquire()
        waiting = spawn(engine.acquire())
        await until(lambda: warnings.messages)
        engine.release(conn)
        conn = await waiting
        await passed(SECONDS / 2)
        engine.release(conn)
        await passed(2 * SECONDS)

    assert len(warnings.messages) == 1


async def test_connection_that_comes_back_in_time_is_not_told_of(
    connect_kwargs: Kwargs, warnings: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, held_warning=SECONDS) as engine:
        end = now() + 3 * SECONDS
        while now() < end:  # the same one, again and again
            async with engine.acquire():
                await asyncio.sleep(SECONDS / 10)

    assert not warnings.messages


async def test_nothing_is_looked_at_while_nothing_is_lent(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, held_warning=0.02) as engine:
        timer = engine._holders._timer
        assert timer.handle is None
        async with engine.acquire():
            assert timer.handle is not None

        await until(lambda: timer.handle is None)


async def test_acquire_that_fails_leaves_nothing_to_look_at(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, held_warning=0.02) as engine:
        async with engine.acquire():
            with pytest.raises(asyncio.TimeoutError):
                await engine.acquire(timeout=0.001)

        await until(lambda: not engine._holders._seen)


async def test_without_the_option_nothing_looks(engine: sa.Engine) -> None:
    assert engine._holders is None
    assert engine._lends is sa.SAConnection
