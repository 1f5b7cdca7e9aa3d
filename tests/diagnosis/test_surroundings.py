"""What a diagnosis tells of clusters and of proxies, the real ones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import proxies
import pytest
from clusters import Galera, Group, Replicas
from middlemen import MaxScale, ProxySQL, middleman
from private_server import Server, ServerError

pytestmark = [pytest.mark.server, pytest.mark.once]

Found = Callable[..., dict[str, Any]]


def keys(facts: dict[str, Any]) -> set[str]:
    return {problem["key"] for problem in facts["problems"]}


def test_replicas_are_told_with_their_roles(found: Found, replicas: Replicas) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in replicas.nodes)

    facts = found(f"mysql://app@{hosts}/test")

    assert [host["role"] for host in facts["route"]["hosts"]] == ["primary", "standby", "standby"]
    assert facts["server"]["role"] == "primary"
    assert "gtids_not_tracked" in keys(facts)


def test_replica_is_told_whether_it_replicates(found: Found, replicas: Replicas) -> None:
    replica = replicas.nodes[1]
    url = f"mysql://root@127.0.0.1:{replica.port}/test"
    replicas.level()

    runs = found(url)
    replica.ask("STOP SLAVE")
    try:
        stopped = found(url)
    finally:
        replica.ask("START SLAVE")

    assert runs["server"]["role"] == "replica, read-only"
    assert runs["server"]["replica"] == {"running": True, "lag": 0.0}
    assert "read_only" in keys(runs) and "replica_stopped" not in keys(runs)
    assert stopped["server"]["replica"] == {"running": False, "lag": None}
    assert "replica_stopped" in keys(stopped)


def test_node_of_galera_is_told(found: Found, galera: Galera) -> None:
    facts = found(f"mysql://app@127.0.0.1:{galera.nodes[1].port}/test")

    assert facts["server"]["galera"] == {"state": "Synced", "status": "Primary", "size": 3}
    assert facts["server"]["role"] == "Galera node, Synced, Primary of 3"
    assert "galera" not in keys(facts)


def test_member_of_a_group_is_told_to_who_may_see_it(found: Found, group: Group) -> None:
    port = group.nodes[1].port

    root, app = (found(f"mysql://{user}@127.0.0.1:{port}/test") for user in ("root", "app"))

    assert root["server"]["group"] == {"state": "ONLINE", "role": "SECONDARY"}
    assert root["server"]["role"] == "Group Replication, secondary, ONLINE, read-only"
    assert app["server"]["group"] in (None, root["server"]["group"])
    assert ("group" in app["not_visible"]) is (app["server"]["group"] is None)


def test_what_only_passes_bytes_is_told_by_its_port(found: Found, server: Server) -> None:
    listeners = {"plain": [f"server first {server.host}:{server.port}"]}
    try:
        with proxies.haproxy(listeners) as proxy:
            url = f"mysql://root@{proxies.ADDRESS}:{proxy.ports['plain']}/"
            behind = found(url)["route"]["behind"]
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)

    assert behind.startswith("a proxy or an address translation")


@pytest.mark.any_loop
@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("kind", [ProxySQL, MaxScale])
async def test_proxy_that_knows_the_protocol_is_told_by_its_numbers(
    found: Found, connect_kwargs: dict[str, Any], kind: Any
) -> None:
    async with middleman(kind(connect_kwargs)) as proxy:
        url = f"mysql://root@127.0.0.1:{proxy.kwargs['port']}/{connect_kwargs['db']}"
        facts = await asyncio.to_thread(found, url)

    assert facts["route"]["behind"].startswith("a proxy that knows the protocol")
    assert facts["error"] is None and facts["pool_test"]["error"] is None


@pytest.mark.usefixtures("mysql_only")
def test_router_is_told_by_its_version(found: Found, server: Server) -> None:
    lines = [
        *("protocol = classic", f"destinations = {server.host}:{server.port}"),
        *("routing_strategy = first-available", "client_ssl_mode = DISABLED"),
    ]
    try:
        with proxies.router({"plain": lines}) as ports:
            facts = found(f"mysql://root@{proxies.ADDRESS}:{ports['plain']}/")
    except ServerError as error:
        pytest.fail(str(error), pytrace=False)

    assert facts["route"]["behind"] == "MySQL Router"
    assert facts["capabilities"]["pipelining"] is False
