"""A server that crashes, or is restarted, under load: the pool finds back to it by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from faults import faulty_proxy
from private_server import MortalServer
from pymysql import err
from watch import at_rest, check_capacity, lend, spawn, until

import aiomysqlx as sa

# Most of the time goes into starting a server of their own and starting it again.
pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]


@pytest.fixture
async def kwargs(mortal: MortalServer) -> Kwargs:
    """The arguments that connect to that server, which runs."""
    server = mortal.server
    kwargs = {"host": server.host, "port": server.port, "user": server.user, "db": server.database}
    await answers(kwargs)
    return kwargs


async def answers(kwargs: Kwargs) -> None:
    """Wait until the server is back."""
    end = asyncio.get_running_loop().time() + 60
    while True:
        try:
            connection = await sa.connect(**kwargs, connect_timeout=5)
        except err.OperationalError:
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.05)
        else:
            await connection.ensure_closed()
            return


class Load:
    """Tasks that insert one row after the other, and what each of them was told."""

    def __init__(self, engine: sa.Engine, table: str) -> None:
        self.engine = engine
        self.insert = f"INSERT INTO {table} VALUES (%s)"
        self.committed: list[int] = []
        self.unknown: list[int] = []
        self.other_errors: list[BaseException] = []
        self.stopped = False
        self._next = 0

    async def run(self) -> None:
        while not self.stopped:
            self._next += 1
            number = self._next
            try:
                async with self.engine.acquire(timeout=5) as conn, conn.begin():
                    await conn.execute(self.insert, number)
            except Exception as error:
                if not sa.is_disconnect(error):
                    self.other_errors.append(error)
                self.unknown.append(number)
                await asyncio.sleep(0.01)
            else:
                self.committed.append(number)
                await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_load_goes_on_after_the_server_was_restarted(
    mortal: MortalServer, kwargs: Kwargs, how: str
) -> None:
    async with sa.create_engine(**kwargs, minsize=2, maxsize=4) as engine:
        async with engine.acquire() as conn:
            # A commit outlives a crash of the server, if not one of the machine.
            await conn.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
            await conn.execute(f"CREATE TABLE crash_{how} (id INT) ENGINE=InnoDB")
        load = Load(engine, f"crash_{how}")
        tasks = [spawn(load.run()) for _ in range(8)]
        await until(lambda: len(load.committed) > 50)

        await asyncio.to_thread(getattr(mortal, how))
        await until(lambda: len(load.unknown) > 20)
        mortal.launch()
        before = len(load.committed)
        await until(lambda: len(load.committed) > before + 50, 60)
        load.stopped = True
        await asyncio.wait_for(asyncio.gather(*tasks), 20)

        assert load.other_errors == []
        async with engine.acquire() as conn:
            result = await conn.execute(f"SELECT id FROM crash_{how}")
            there = [row.id for row in await result.fetchall()]
            await conn.execute(f"DROP TABLE crash_{how}")
        assert len(there) == len(set(there)), "a statement was sent twice"
        assert set(load.committed) <= set(there)
        assert set(there) <= set(load.committed) | set(load.unknown)
        await check_capacity(engine, 4)


async def test_connections_come_back_unasked_after_a_crash(
    mortal: MortalServer, kwargs: Kwargs
) -> None:
    async with sa.create_engine(**kwargs, minsize=3, maxsize=3) as engine:
        await lend(engine, 3)
        mortal.kill()
        await until(lambda: engine.size == 0)
        with pytest.raises(err.OperationalError) as caught:
            await asyncio.wait_for(engine.acquire(), 5)
        assert sa.is_disconnect(caught.value)
        mortal.launch()
        await answers(kwargs)

        await until(lambda: at_rest(engine, 3), 30)


async def test_statement_in_progress_fails_when_the_server_crashes(
    mortal: MortalServer, kwargs: Kwargs
) -> None:
    async with faulty_proxy(kwargs) as proxy, sa.create_engine(**proxy.kwargs) as engine:
        conn = await engine.acquire()
        task = spawn(conn.execute("SELECT SLEEP(30)"))
        await until(lambda: any(b"SLEEP" in command for command in proxy.commands))
        mortal.kill()

        with pytest.raises((err.OperationalError, err.InterfaceError)) as caught:
            await asyncio.wait_for(task, 10)

        assert sa.is_disconnect(caught.value)
        engine.release(conn)
        mortal.launch()
        await answers(kwargs)
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT 1") == 1
