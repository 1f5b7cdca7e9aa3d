"""HAProxy and MySQL Router, the real ones, in front of private servers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import proxies
import pymysql
import pytest
from everyday import PROGRAMS, Program
from private_server import MortalServer, Server, ServerError
from pymysql import err
from watch import one, passed, until

import aiomysqlx as sa

pytestmark = [
    *(pytest.mark.server, pytest.mark.once, pytest.mark.any_loop),
    pytest.mark.usefixtures("quiet"),
]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
SLOW = "SELECT SLEEP(30)"
RUNNING = f"SELECT COUNT(*) FROM information_schema.processlist WHERE info = '{SLOW}'"
EVERYDAY = [pytest.param(run, id=name) for name, run in PROGRAMS.items()]


def execute(server: Server, *statements: str) -> None:
    with (
        pymysql.connect(
            host=server.host, port=server.port, user=server.user, ssl_disabled=True
        ) as connection,
        connection.cursor() as cursor,
    ):
        for statement in statements:
            cursor.execute(statement)


# -- HAProxy ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def haproxy(server: Server, own_server: MortalServer) -> Iterator[proxies.HAProxy]:
    """HAProxy in front of the suite's server and of one that a test may kill.

    Its checks log in: without a user, the server would count them as failures, and refuse the host
    after a hundred.
    """
    own_server.revive()
    first = f"server first {server.host}:{server.port}"
    second = f"server second 127.0.0.1:{own_server.server.port}"
    check = f"option mysql-check user {proxies.CHECK_USER}"
    for each in (server, own_server.server):
        execute(each, f"CREATE USER IF NOT EXISTS {proxies.CHECK_USER}@'127.0.0.1'")
    listeners = {
        "plain": [first],
        # The second is used while the first does not answer; here it is the other way round.
        "failover": [check, second, f"{first} backup"],
        "spread": [check, "balance roundrobin", first, second],
        "idle": ["timeout client 200ms", first],
        "hasty": ["timeout server 200ms", first],
        "nobody": ["server nobody 127.0.0.1:1"],
    }
    with contextlib.ExitStack() as stack:
        try:
            proxy = stack.enter_context(proxies.haproxy(listeners))
        except ServerError as error:
            pytest.fail(str(error), pytrace=False)
        yield proxy


def through(proxy: proxies.HAProxy, listener: str, connect_kwargs: Kwargs) -> Kwargs:
    return {**connect_kwargs, "host": proxies.ADDRESS, "port": proxy.ports[listener]}


@pytest.mark.parametrize("program", EVERYDAY)
async def test_everyday_program_runs_behind_haproxy(
    haproxy: proxies.HAProxy, connect_kwargs: Kwargs, program: Program
) -> None:
    await program(through(haproxy, "plain", connect_kwargs))


async def test_connection_that_haproxy_has_cut_idle_is_replaced_unseen(
    haproxy: proxies.HAProxy, connect_kwargs: Kwargs
) -> None:
    kwargs = through(haproxy, "idle", connect_kwargs)
    async with sa.create_engine(**kwargs, maxsize=1) as engine:
        for number in range(2):
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT %s", number) == number
            await passed(0.4)

        # MySQL notices, and says 1158.
        with pytest.raises(err.OperationalError, match="Lost conn|error reading") as caught:
            async with engine.begin() as conn:
                await conn.scalar("SELECT 1")
                await passed(0.4)
                await conn.scalar("SELECT 2")

    assert sa.is_disconnect(caught.value)


async def test_statement_that_takes_longer_than_haproxy_waits_is_lost(
    haproxy: proxies.HAProxy, connect_kwargs: Kwargs
) -> None:
    kwargs = through(haproxy, "hasty", connect_kwargs)
    async with sa.create_engine(**kwargs, maxsize=1) as engine, engine.acquire() as conn:
        with pytest.raises(err.OperationalError, match="Lost connection") as caught:
            await conn.execute("SELECT SLEEP(0.6)")

    assert sa.is_disconnect(caught.value)


async def test_haproxy_without_a_server_says_what_may_be_wrong(
    haproxy: proxies.HAProxy, connect_kwargs: Kwargs
) -> None:
    with pytest.raises(err.OperationalError, match="before a greeting") as caught:
        await sa.connect(**through(haproxy, "nobody", connect_kwargs))

    assert sa.is_disconnect(caught.value)


@pytest.mark.usefixtures("mariadb")  # HAProxy's check does not know how MySQL 9 logs in
async def test_statement_is_killed_on_its_server_though_haproxy_spreads_connections(
    haproxy: proxies.HAProxy, connect_kwargs: Kwargs, admin: Admin, mortal: MortalServer
) -> None:
    execute(mortal.server, f"CREATE DATABASE IF NOT EXISTS {connect_kwargs['db']}")
    kwargs = {**through(haproxy, "spread", connect_kwargs), "kill_on_cancel": True}
    async with sa.create_engine(**kwargs, minsize=4, maxsize=4) as engine:
        conns = [await engine.acquire() for _ in range(4)]
        # One after the other: else some might be led to the wrong server each time.
        for conn in conns:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute(SLOW, timeout=0.3)
            assert await asyncio.wait_for(conn.scalar("SELECT 1"), 4) == 1
            await conn.close()

        assert engine.stats().opened == 4  # none had to be closed
        assert one(admin, RUNNING) == 0


@pytest.mark.usefixtures("mariadb")  # HAProxy's check does not know how MySQL 9 logs in
async def test_statement_in_flight_is_lost_once_and_the_next_goes_to_the_backup(
    haproxy: proxies.HAProxy, connect_kwargs: Kwargs, mortal: MortalServer
) -> None:
    execute(mortal.server, f"CREATE DATABASE IF NOT EXISTS {connect_kwargs['db']}")
    kwargs = through(haproxy, "failover", connect_kwargs)
    async with sa.create_engine(**kwargs, minsize=3, maxsize=3) as engine:
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@port") == mortal.server.port
            task = asyncio.ensure_future(conn.execute(SLOW))
            await passed(0.1)
            haproxy.ask("set server failover/second state maint")
            haproxy.ask("shutdown sessions server failover/second")
            with pytest.raises(err.OperationalError, match="Lost connection"):
                await task
        await until(lambda: engine.size == 0 or engine.freesize > 0)
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@port") == connect_kwargs["port"]

        haproxy.ask("set server failover/second state ready")
        await until(lambda: "UP" in state_of(haproxy, "failover", "second"))
        engine.clear()
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@port") == mortal.server.port

        await until(lambda: engine.freesize == 3)
        lost = engine.stats().closed.get("lost", 0)
        mortal.kill()
        await until(lambda: "DOWN" in state_of(haproxy, "failover", "second"))
        await until(lambda: engine.stats().closed.get("lost", 0) >= lost + 3)
        await until(lambda: engine.freesize > 0)
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@port") == connect_kwargs["port"]


def state_of(proxy: proxies.HAProxy, listener: str, name: str) -> str:
    """Give what HAProxy says of a server's state."""
    header, *lines = proxy.ask("show stat").lstrip("# ").splitlines()
    fields = header.split(",")
    for line in lines:
        values = dict(zip(fields, line.split(","), strict=False))
        if (values.get("pxname"), values.get("svname")) == (listener, name):
            return values["status"]
    raise AssertionError(f"{listener} has no server {name}")


# -- MySQL Router ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def router(server: Server) -> Iterator[dict[str, int]]:
    """MySQL Router in front of the suite's server: as it is, and sharing its connections."""
    lines = [
        "protocol = classic",
        f"destinations = {server.host}:{server.port}",
        "routing_strategy = first-available",
        "client_ssl_mode = DISABLED",
    ]
    sharing = ["connection_sharing = 1", "connection_sharing_delay = 0"]
    with contextlib.ExitStack() as stack:
        try:
            ports = stack.enter_context(
                proxies.router({"plain": lines, "sharing": [*lines, *sharing]})
            )
        except ServerError as error:
            pytest.fail(str(error), pytrace=False)
        yield ports


@pytest.mark.usefixtures("mysql_only")
@pytest.mark.parametrize("route", ["plain", "sharing"])
@pytest.mark.parametrize("program", EVERYDAY)
async def test_everyday_program_runs_behind_mysql_router(
    router: dict[str, int], connect_kwargs: Kwargs, route: str, program: Program
) -> None:
    await program({**connect_kwargs, "port": router[route]})


@pytest.mark.usefixtures("mysql_only")
@pytest.mark.parametrize("route", ["plain", "sharing"])
@pytest.mark.parametrize("pipelining", [False, True])
async def test_pipeline_behind_mysql_router_executes_what_it_was_given(
    router: dict[str, int],
    connect_kwargs: Kwargs,
    caplog: pytest.LogCaptureFixture,
    route: str,
    pipelining: bool,
) -> None:
    kwargs = {**connect_kwargs, "port": router[route], "pipelining": pipelining}
    with caplog.at_level(logging.WARNING):
        async with sa.create_engine(**kwargs, maxsize=1) as engine, engine.acquire() as conn:
            await conn.execute("CREATE TABLE written (i INT)")
            async with conn.begin(isolation_level="READ COMMITTED"):
                await conn.scalar("SELECT 1")
            for whole in (False, True):
                async with conn.pipeline(transaction=whole) as pipe:
                    asked = [pipe.execute("SELECT %s", number) for number in range(100, 150)]
                    for number in range(100, 150):
                        pipe.execute("INSERT INTO written VALUES (%s)", number)
                assert [await (await each).scalar() for each in asked] == list(range(100, 150))
            result = await conn.execute("SELECT i, COUNT(*) FROM written GROUP BY i ORDER BY i")
            assert [tuple(row.values()) for row in await result.fetchall()] == [
                (number, 2) for number in range(100, 150)
            ]

    assert "pipelining is off on a connection" in caplog.text


@pytest.mark.usefixtures("mysql_only")
async def test_statement_behind_mysql_router_is_killed(
    router: dict[str, int], connect_kwargs: Kwargs, admin: Admin
) -> None:
    for port in router.values():
        kwargs = {**connect_kwargs, "port": port, "kill_on_cancel": True}
        async with sa.create_engine(**kwargs, maxsize=1) as engine, engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute(SLOW, timeout=0.2)
            assert await asyncio.wait_for(conn.scalar("SELECT 1"), 4) == 1
        assert one(admin, RUNNING) == 0
