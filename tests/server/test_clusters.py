"""The clusters that other tests break: that they are what they say, and can be mended."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from clusters import Cluster, Galera, Group, Replicas, wait_until
from environments import ROOT
from pymysql import err

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.once]


async def write(cluster: Cluster, number: int) -> None:
    """Insert a row as the application does, on the primary."""
    async with sa.create_engine(**reached(cluster.primary.port)) as engine, engine.begin() as conn:
        await conn.execute("INSERT INTO numbers VALUES (%s)", number)


def reached(port: int) -> dict[str, Any]:
    """Give the arguments of a connection as the application has it."""
    return {"host": "127.0.0.1", "port": port, "user": "app", "db": "test"}


def numbers(cluster: Cluster) -> list[list[int]]:
    """Give the rows of every node."""
    cluster.level()
    return [
        [number for (number,) in node.ask("SELECT id FROM numbers ORDER BY id")]
        for node in cluster.nodes
    ]


def create(cluster: Cluster) -> None:
    cluster.primary.ask("CREATE TABLE numbers (id INT PRIMARY KEY)")
    cluster.level()


async def test_replicas_keep_what_a_killed_primary_has_acknowledged(replicas: Replicas) -> None:
    create(replicas)
    first, second, _ = replicas.nodes
    await write(replicas, 1)

    replicas.kill(first)
    replicas.promote(second)
    await write(replicas, 2)
    replicas.start(first)

    assert replicas.primary is second
    assert numbers(replicas) == [[1, 2]] * 3


async def test_paused_primary_is_fenced_when_another_one_is_promoted(replicas: Replicas) -> None:
    create(replicas)
    first, second, _ = replicas.nodes

    replicas.pause(first)
    replicas.promote(second)
    await write(replicas, 1)

    assert not first.runs
    replicas.restore()
    assert replicas.primary is first
    assert numbers(replicas) == [[1]] * 3


async def test_replica_says_that_it_takes_no_writes(replicas: Replicas) -> None:
    create(replicas)

    async with sa.create_engine(**reached(replicas.nodes[1].port)) as engine:
        with pytest.raises(err.OperationalError) as caught:
            async with engine.begin() as conn:
                await conn.execute("INSERT INTO numbers VALUES (1)")

    assert caught.value.args[0] == 1290


async def test_galera_goes_on_without_a_killed_node_which_comes_back(galera: Galera) -> None:
    create(galera)
    first, *_ = galera.nodes
    await write(galera, 1)

    galera.kill(first)
    await write(galera, 2)
    galera.start(first)

    assert numbers(galera) == [[1, 2]] * 3


async def test_node_of_galera_that_is_cut_off_serves_no_more(galera: Galera) -> None:
    create(galera)
    first, second, _ = galera.nodes

    galera.partition(first)
    wait_until(lambda: not galera.serves(first), "the node to be without a quorum")

    assert galera.primary is second
    await write(galera, 1)
    galera.restore()
    assert numbers(galera) == [[1]] * 3


async def test_group_goes_on_without_a_stopped_primary_which_comes_back(group: Group) -> None:
    create(group)
    first, *_ = group.nodes
    await write(group, 1)

    group.stop(first)
    wait_until(group.elected, "a primary")
    await write(group, 2)
    group.start(first)

    assert group.primary is not first
    assert numbers(group) == [[1, 2]] * 3


async def test_group_is_switched_in_order(group: Group) -> None:
    create(group)
    second = group.nodes[1]

    group.promote(second)
    await write(group, 1)

    assert group.primary is second
    assert numbers(group) == [[1]] * 3


def test_cluster_to_try_things_on_does_what_it_is_told(mariadb: None) -> None:
    command = [sys.executable, str(ROOT / "tools" / "serve_cluster.py"), "replicas"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        said = []
        for line in ("kill", "kill 4", "kill 1", "promote 2"):
            print(line, file=process.stdin, flush=True)
            said.append(process.stdout.readline().split()[0])

        found = asyncio.run(roles(url))
        process.stdin.close()

    assert process.returncode == 0
    assert said == ["expected", "expected", "done", "done"]
    assert found[1] == "primary"


async def roles(url: str) -> list[str | None]:
    """Give the roles of the hosts of a URL, as far as an engine that writes has to know them."""
    async with sa.create_engine(url, target_session_attrs="read-write") as engine:
        return [host["role"] for host in engine.stats().hosts.values()]
