"""A server that takes no more connections: who waits is served by those that there are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from pymysql import err
from watch import at_rest, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
USER = "'limited'@'%'"


@pytest.fixture
def limited(admin: Admin, connect_kwargs: Kwargs) -> Iterator[Kwargs]:
    """The arguments of a user who may have two connections."""
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE USER {USER} IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 2")
        cursor.execute(f"GRANT ALL ON {connect_kwargs['db']}.* TO {USER}")
        yield {**connect_kwargs, "user": "limited", "password": "secret"}
        cursor.execute(f"DROP USER {USER}")


async def test_more_tasks_than_connections_are_all_served(limited: Kwargs) -> None:
    async def ask(number: int) -> int:
        async with engine.acquire() as conn:
            return int(await conn.scalar("SELECT %s + SLEEP(0.005)", number))

    async with sa.create_engine(**limited, maxsize=10) as engine:
        answers = await asyncio.gather(*map(ask, range(60)))

        assert answers == list(range(60))
        await until(lambda: at_rest(engine))
        stats = engine.stats()
        assert stats.size <= 2 and stats.refused >= 1
        assert stats.refused < 20  # it is not asked again for each


async def test_connection_of_another_process_that_ends_makes_room(limited: Kwargs) -> None:
    other = await sa.connect(**limited)
    async with sa.create_engine(**limited, maxsize=10) as engine, engine.acquire():
        waiting = spawn(engine.acquire())
        await until(lambda: engine.stats().held_back)
        await other.ensure_closed()

        engine.release(await asyncio.wait_for(waiting, 10))
        assert engine.stats().opened == 2


async def test_limit_of_the_server_is_an_error_if_nothing_is_there(limited: Kwargs) -> None:
    others: list[sa.Connection] = []
    async with sa.create_engine(**limited, minsize=0, connect_timeout=0.5) as engine:
        others.append(await sa.connect(**limited))
        async with engine.acquire() as conn:
            conn.invalidate()
        others.append(await sa.connect(**limited))

        with pytest.raises(err.OperationalError) as caught:
            await engine.acquire()
        assert caught.value.args[0] in (1203, 1226)
        with pytest.raises(sa.AcquireTimeoutError, match="none is opened"):
            await engine.acquire(timeout=0.2)
    for other in others:
        await other.ensure_closed()
