"""Everyday programs through proxies that know the protocol and answer some of it by themselves."""

from __future__ import annotations

from typing import Any

import pytest
from everyday import PROGRAMS, Program
from fakes import error
from middlemen import RESET, MaxScale, Middleman, ProxySQL, middleman
from private_server import Server
from pymysql import err
from watch import one, until

import aiomysqlx as sa

# What is replayed is of the proxies: any server will do, any build and either event loop.
pytestmark = [
    *(pytest.mark.server, pytest.mark.once, pytest.mark.any_loop),
    pytest.mark.usefixtures("mariadb", "quiet"),
]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
SLOW = "SELECT SLEEP(30)"
RUNNING = f"SELECT COUNT(*) FROM information_schema.processlist WHERE info = '{SLOW}'"


def proxysql(connect_kwargs: Kwargs, server: Server) -> Middleman:
    """Give one with a rule for the question that a session begins with."""
    return ProxySQL(connect_kwargs)


def without_rule(connect_kwargs: Kwargs, server: Server) -> Middleman:
    """Give one without it."""
    return ProxySQL(connect_kwargs, keeps_multiplexing=False)


def maxscale(connect_kwargs: Kwargs, server: Server) -> Middleman:
    """Give one that calls itself what its server is."""
    return MaxScale(connect_kwargs, version=server.version)


@pytest.mark.parametrize("kind", [proxysql, without_rule, maxscale])
@pytest.mark.parametrize("program", [pytest.param(run, id=name) for name, run in PROGRAMS.items()])
async def test_everyday_program_runs_behind_a_proxy(
    connect_kwargs: Kwargs, server: Server, kind: Any, program: Program
) -> None:
    async with middleman(kind(connect_kwargs, server)) as proxy:
        await program(proxy.kwargs)

    # Their answers are mixed up where a command comes before the answer to the one before it.
    assert proxy.pipelined == 0


async def test_statements_of_one_session_are_executed_by_several(
    connect_kwargs: Kwargs, server: Server
) -> None:
    threads = set()
    async with (
        middleman(ProxySQL(connect_kwargs)) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        for number in range(4):
            threads.add(await conn.scalar("SELECT CONNECTION_ID() + %s", number) - number)

    assert len(threads) > 1


async def test_version_is_the_servers_whatever_its_proxy_says(
    connect_kwargs: Kwargs, server: Server
) -> None:
    async with (
        middleman(ProxySQL(connect_kwargs, version="5.5.30")) as proxy,
        sa.connect(**proxy.kwargs) as raw,
    ):
        told = raw.server_version

    assert server.version.removeprefix("MySQL ") in told


# -- what a proxy does not take --------------------------------------------------------------------


async def test_reset_that_a_proxy_refuses_says_what_to_do(connect_kwargs: Kwargs) -> None:
    refusals = {RESET: error(1047, "Unknown command", "08S01")}
    async with (
        middleman(ProxySQL(connect_kwargs, refusals=refusals)) as proxy,
        sa.connect(**proxy.kwargs) as raw,
    ):
        with pytest.raises(err.OperationalError, match=r"does not take COM_RESET_CONNECTION: have"):
            await raw.reset()


@pytest.mark.parametrize(
    "refusal", [error(1047, "Unknown command", "08S01"), None], ids=["refused", "cut off"]
)
async def test_session_is_a_new_one_though_a_proxy_takes_no_reset(
    connect_kwargs: Kwargs, refusal: bytes | None
) -> None:
    async with (
        middleman(ProxySQL(connect_kwargs, refusals={RESET: refusal})) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, reset=True) as engine,
    ):
        for _ in range(3):
            async with engine.acquire() as conn:
                assert await conn.scalar("SELECT @a") is None
                await conn.execute("SET @a = 1")
        stats = engine.stats()

    assert stats.acquired == 3 and stats.opened >= 3


async def test_file_that_a_proxy_does_not_load_costs_no_other_connection(
    connect_kwargs: Kwargs,
) -> None:
    async with (
        middleman(ProxySQL(connect_kwargs)) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=2, maxsize=2, local_infile=True) as engine,
    ):
        async with engine.acquire() as conn:
            with pytest.raises(err.OperationalError, match="Unsupported"):
                await conn.execute("LOAD DATA LOCAL INFILE 'x' INTO TABLE y")
            assert await conn.scalar("SELECT 1") == 1
        await until(lambda: engine.freesize == 2)

        assert engine.stats().opened == 2


# -- KILL ------------------------------------------------------------------------------------------


async def test_statement_of_a_session_that_its_proxy_has_to_keep_is_killed(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with (
        middleman(ProxySQL(connect_kwargs)) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=3, minsize=3, kill_on_cancel=True) as engine,
        engine.acquire() as conn,
    ):
        for _ in range(3):
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute(SLOW, timeout=0.1)

            await until(lambda: one(admin, RUNNING) == 0, 4)
        assert await conn.scalar("SELECT 1") == 1


async def test_statement_that_a_proxy_executes_elsewhere_is_not_killed_and_that_is_told(
    connect_kwargs: Kwargs, server: Server, admin: Admin, caplog: pytest.LogCaptureFixture
) -> None:
    slow = f"{SLOW} FOR UPDATE"  # the question who it is only reads
    async with (
        middleman(MaxScale(connect_kwargs, version=server.version)) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, kill_on_cancel=True, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute(slow, timeout=0.1)
        await until(lambda: "could not be killed" in caplog.text, 4)
        assert one(admin, RUNNING.replace(SLOW, slow)) == 1
        engine.terminate()

    assert "is idle: the proxy executes the statement elsewhere" in caplog.text
