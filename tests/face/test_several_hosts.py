"""A server that is at several hosts: one that fits is found, whatever the others do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pymysql
import pytest
from clusters import Cluster, Galera, Group, Replicas, wait_until
from fakes import (
    CAPABILITIES,
    DEPRECATE_EOF,
    OK,
    Peer,
    error,
    fake_server,
    greeting,
    packet,
    session,
)
from faults import FaultyProxy, faulty_proxy
from private_server import MortalServer, Server, free_port
from pymysql import err
from sqlalchemy import text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import create_async_engine
from watch import now, until

import aiomysqlx as sa

pytestmark = pytest.mark.server

USER = "hosted"


class Pair:
    """Two servers, the second read-only, an address that refuses and one that says nothing."""

    def __init__(self, primary: Server, standby: Server, silent: int) -> None:
        self.servers = primary, standby
        self.primary = f"127.0.0.1:{primary.port}"
        self.standby = f"127.0.0.1:{standby.port}"
        self.silent = f"127.0.0.1:{silent}"
        self.dead = f"127.0.0.1:{free_port()}"

    def switch(self) -> None:
        """Have the second take writes, and the first none."""
        self.set_read_only(True, False)

    def set_read_only(self, *read_only: bool) -> None:
        for server, value in zip(self.servers, read_only, strict=True):
            ask(server, f"SET GLOBAL read_only = {value}")


def ask(server: Server, *statements: str) -> None:
    with pymysql.connect(
        host=server.host, port=server.port, user="root", ssl_disabled=True
    ) as admin:
        cursor = admin.cursor()
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def pair(server: Server, mortal: MortalServer) -> Iterator[Pair]:
    servers = server, mortal.server
    for each in servers:  # without SUPER, who writes to a server that is read-only
        ask(
            each,
            f"CREATE USER IF NOT EXISTS {USER}@'127.0.0.1'",
            f"GRANT ALL ON test.* TO {USER}@'127.0.0.1'",
        )
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(100)
        pair = Pair(*servers, silent.getsockname()[1])
        pair.set_read_only(False, True)
        try:
            yield pair
        finally:
            pair.set_read_only(False, False)
            for each in servers:
                ask(each, f"DROP USER {USER}@'127.0.0.1'")


async def reached(*hosts: str, **others: Any) -> str:
    """Connect and give the address that this leads to."""
    async with sa.connect(host=list(hosts), user=USER, **others) as connection:
        assert (await connection.query("SELECT 1")) == 1
        return f"{connection.host}:{connection.port}"


@pytest.mark.parametrize("order", [1, -1], ids=["primary first", "standby first"])
@pytest.mark.parametrize(
    ("target", "expected"),
    [("read-write", "primary"), ("read-only", "standby"), ("prefer-standby", "standby")],
)
async def test_host_of_the_role_asked_for_is_found(
    target: str, expected: str, order: int, pair: Pair
) -> None:
    hosts = [pair.primary, pair.standby][::order]

    assert await reached(*hosts, target_session_attrs=target) == getattr(pair, expected)


async def test_first_host_is_taken_unless_a_role_is_asked_for(pair: Pair) -> None:
    assert await reached(pair.standby, pair.primary) == pair.standby
    assert await reached(pair.primary, pair.standby) == pair.primary


@pytest.mark.parametrize("lost", ["dead", "silent"])
async def test_standby_is_preferred_and_the_primary_is_better_than_none(
    lost: str, pair: Pair
) -> None:
    hosts = getattr(pair, lost), pair.primary

    found = await reached(*hosts, target_session_attrs="prefer-standby", connect_timeout=2)

    assert found == pair.primary


async def test_random_order_leads_to_each_host(pair: Pair) -> None:
    async with sa.create_engine(
        host=[pair.primary, pair.standby], user=USER, load_balance_hosts="random", minsize=20,
        maxsize=20,
    ) as engine:  # fmt: skip
        connections = {name: host["connections"] for name, host in engine.stats().hosts.items()}

    assert sum(connections.values()) == 20
    assert min(connections.values()) > 0


async def test_silent_host_has_its_share_of_the_time(pair: Pair) -> None:
    begun = now()

    assert await reached(pair.silent, pair.primary, connect_timeout=2) == pair.primary
    assert 0.9 < now() - begun < 2


async def test_silent_hosts_leave_time_for_the_last(pair: Pair) -> None:
    begun = now()

    assert await reached(*[pair.silent] * 1, pair.dead, pair.standby, connect_timeout=3)
    assert now() - begun < 3


async def test_silent_host_is_left_without_a_limit_too(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.choosing._SECONDS", 0.5)

    assert await reached(pair.silent, pair.primary, connect_timeout=None) == pair.primary


async def test_slow_host_has_its_time_again_where_all_have_failed(pair: Pair) -> None:
    async with proxied({"host": "127.0.0.1", "port": pair.servers[0].port}) as proxy:
        proxy.delay["down"] = 0.5
        slow = f"127.0.0.1:{proxy.kwargs['port']}"
        connection = sa.Connection(host=[slow, pair.dead], user=USER)
        hosts = connection._session.hosts
        for address in hosts.addresses:
            hosts.failed(address, err.OperationalError(2013, "lost"))

        await connection.ping()

        assert f"127.0.0.1:{connection.port}" == slow
        connection.close()


async def test_error_lists_each_host_with_its_reason(pair: Pair) -> None:
    hosts = pair.standby, pair.dead, pair.silent
    begun = now()

    with pytest.raises(sa.NoHostError) as caught:
        await reached(*hosts, target_session_attrs="read-write", connect_timeout=1)

    assert now() - begun < 3
    assert isinstance(caught.value, err.OperationalError)
    code, message = caught.value.args
    assert code == 2003 and message == (
        f"no host is read-write: {pair.standby}: it is read-only; {pair.dead}: [Errno 111]"
        f" Connection refused; {pair.silent}: timed out after 1 seconds"
    )
    assert (caught.value.codes, caught.value.some_misfit) == ((2003, 2003), True)
    assert sa.is_disconnect(caught.value)


async def test_error_has_the_number_that_all_hosts_refuse_with(pair: Pair) -> None:
    with pytest.raises(
        sa.NoHostError, match="no host lets a session in: .*Access denied"
    ) as caught:
        await sa.connect(host=[pair.primary, pair.standby], user="nobody", password="s3cret")

    assert caught.value.args[0] == 1045 and caught.value.codes == (1045, 1045)
    assert "s3cret" not in str(caught.value)
    assert not sa.is_disconnect(caught.value)


async def test_single_host_has_its_own_error(pair: Pair) -> None:
    with pytest.raises(err.OperationalError, match="Can't connect to MySQL server on") as caught:
        await reached(pair.dead)

    assert type(caught.value) is err.OperationalError


async def test_single_host_has_to_be_as_it_is_asked_for(pair: Pair) -> None:
    assert await reached(pair.primary, target_session_attrs="read-write") == pair.primary
    assert await reached(pair.primary, target_session_attrs="prefer-standby") == pair.primary
    with pytest.raises(sa.NoHostError, match=f"read-only: {pair.primary}: it is not read-only'"):
        await reached(pair.primary, target_session_attrs="read-only")


async def test_new_connections_follow_the_primary(pair: Pair) -> None:
    async with sa.create_engine(
        host=[pair.primary, pair.standby], user=USER, target_session_attrs="read-write"
    ) as engine:
        pair.switch()
        engine.clear()
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE test.hosted (id INT)")
            await conn.execute("DROP TABLE test.hosted")
            assert conn.connection.port == pair.servers[1].port
        hosts = engine.stats().hosts

    assert hosts[pair.primary]["role"] == "standby" and hosts[pair.primary]["passed_over"] == 1
    assert hosts[pair.standby]["role"] == "primary" and hosts[pair.standby]["connections"] == 1


async def test_pool_goes_on_with_the_other_host_when_one_dies(
    pair: Pair, mortal: MortalServer
) -> None:
    hosts = [pair.standby, pair.primary]
    async with sa.create_engine(host=hosts, user=USER, minsize=3, pool_pre_ping=True) as engine:
        mortal.kill()
        try:
            for _ in range(5):
                async with engine.acquire() as conn:
                    assert await conn.scalar("SELECT 1") == 1
            stats = engine.stats().hosts
        finally:
            mortal.crash()

    assert stats[pair.standby]["error"] == "[Errno 111] Connection refused"
    assert stats[pair.standby]["connections"] == 0 < stats[pair.primary]["connections"]


async def test_host_comes_back_by_itself(pair: Pair) -> None:
    kwargs = {"host": "127.0.0.1", "port": pair.servers[0].port}
    async with proxied(kwargs) as proxy:
        first = f"127.0.0.1:{proxy.kwargs['port']}"
        async with sa.create_engine(host=[first, pair.standby], user=USER) as engine:
            proxy.refuse()
            proxy.drop()
            await renewed(engine)
            assert engine.stats().hosts[pair.standby]["connections"] == 1
            await proxy.accept()

            async def back() -> None:
                while not engine.stats().hosts[first]["connections"]:
                    await renewed(engine)

            await asyncio.wait_for(back(), 10)


async def renewed(engine: sa.Engine) -> None:
    engine.clear()
    async with engine.acquire():
        pass
    await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def proxied(kwargs: dict[str, Any]) -> AsyncIterator[FaultyProxy]:
    async with faulty_proxy(kwargs) as proxy:
        yield proxy


async def test_host_that_hangs_within_the_login_is_passed_over(pair: Pair) -> None:
    async def hang(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await asyncio.sleep(60)

    async with fake_server(hang) as fake:
        hanging = f"{fake['host']}:{fake['port']}"

        assert await reached(hanging, pair.primary, connect_timeout=1) == pair.primary


@pytest.mark.parametrize("code", [1040, 1047, 3032, 1053])
async def test_host_that_refuses_to_work_is_passed_over(code: int, pair: Pair) -> None:
    async def refuse(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(error(code, "no"), 2))

    async with fake_server(refuse) as fake:
        refusing = f"{fake['host']}:{fake['port']}"

        assert await reached(refusing, pair.primary) == pair.primary


async def test_host_without_its_cluster_refuses_the_question_and_is_passed_over(
    pair: Pair,
) -> None:
    asked = b""

    async def without_quorum(peer: Peer) -> None:
        nonlocal asked
        peer.write(packet(greeting(CAPABILITIES), 0))
        await peer.read()
        peer.write(packet(b"\0\0\0\2\0\0\0", 2))
        asked = await peer.read()
        peer.write(packet(error(1047, "WSREP has not yet prepared node", "08S01")))

    async with fake_server(without_quorum) as fake:
        node = f"{fake['host']}:{fake['port']}"

        assert await reached(node, pair.primary) == pair.primary
    assert b" FROM (SELECT 1) " in asked


async def test_host_that_does_not_tell_its_role_fits_no_target(pair: Pair) -> None:
    async def tell_nothing(peer: Peer) -> None:
        await peer.welcome(CAPABILITIES | DEPRECATE_EOF)
        await peer.answer(packet(b"\0\0\0\2\0\0\0"))

    async with fake_server(tell_nothing) as fake:
        host = f"{fake['host']}:{fake['port']}"

        with pytest.raises(sa.NoHostError, match="it does not tell whether it is read-only"):
            await reached(host, target_session_attrs="read-write")


async def test_server_that_knows_no_roles_is_asked_the_rest_alone(pair: Pair) -> None:
    async def know_no_roles(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(OK, 2))
        assert b"read_only" in await peer.answer(packet(error(1193, "Unknown system variable")))
        assert b"read_only" not in await peer.answer(session(CAPABILITIES))
        await peer.answer(packet(OK))

    async with fake_server(know_no_roles) as fake:
        host = f"{fake['host']}:{fake['port']}"

        async with sa.connect(host=[host, pair.dead], autocommit=None) as connection:
            assert connection.max_allowed_packet == 1 << 24


@pytest.mark.parametrize("target", ["any", "prefer-standby"])
async def test_server_that_knows_no_roles_is_not_asked_at_every_ping(target: str) -> None:
    async def know_no_roles(peer: Peer) -> None:
        await peer.welcome()
        while (command := await peer.read()) != b"\1":
            unknown = error(1193, "Unknown system variable") if b"read_only" in command else OK
            peer.write(packet(unknown))

    async with (
        fake_server(know_no_roles) as first,
        fake_server(know_no_roles) as second,
        sa.create_engine(
            host=[f"127.0.0.1:{each['port']}" for each in (first, second)],
            user="u",
            minsize=1,
            pool_pre_ping=True,
            target_session_attrs=target,
        ) as engine,
    ):
        for _ in range(3):
            async with engine.acquire():
                pass

        assert engine.stats().opened == 1


@pytest.mark.parametrize(("target", "expected"), [("read-write", 0), ("read-only", 1)])
async def test_each_address_of_a_name_may_be_another_server(
    target: str, expected: int, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found(*_: Any) -> list[str]:
        return ["127.0.0.3", "127.0.0.2", "127.0.0.1"]  # dead, standby, primary

    monkeypatch.setattr("aiomysqlx.wire.login.addresses_of", found)
    primary, standby = pair.servers
    proxy = FaultyProxy({"host": standby.host, "port": standby.port})
    proxy.kwargs.update(host="127.0.0.2", port=primary.port)
    await proxy.accept()
    try:
        host = f"db.example:{primary.port}"
        async with sa.connect(host=host, user=USER, target_session_attrs=target) as connection:
            cursor = await connection.cursor()
            await cursor.execute("SELECT @@port")

            assert await cursor.fetchone() == (pair.servers[expected].port,)
    finally:
        await proxy.finish()


async def test_name_none_of_whose_addresses_answers_is_tried_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def found(host: str, port: int) -> list[str]:
        if host != "db.example":
            return [host]
        asked.append(port)
        return ["127.0.0.2", "127.0.0.3"]

    monkeypatch.setattr("aiomysqlx.wire.login.addresses_of", found)
    port = free_port()

    assert await reached(f"db.example:{port}", pair.primary) == pair.primary
    with pytest.raises(sa.NoHostError, match="db.example"):
        await reached(pair.dead, f"db.example:{port}")
    assert asked == [port, port]


async def test_name_whose_time_is_over_leaves_it_to_the_next_host(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def say_nothing_after_the_greeting(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.reader.read(-1)

    async def found(host: str, _: int) -> list[str]:
        await asyncio.sleep(0.01)  # as a resolver takes
        return ["127.0.0.1", "127.0.0.2"] if host == "db.example" else [host]

    monkeypatch.setattr("aiomysqlx.wire.login.addresses_of", found)
    async with fake_server(say_nothing_after_the_greeting) as fake:
        host = f"db.example:{fake['port']}"

        assert await reached(host, pair.primary, connect_timeout=2) == pair.primary


async def test_wrong_argument_is_no_hosts_fault(pair: Pair) -> None:
    with pytest.raises(sa.ArgumentError, match="'user' has 200 characters"):
        await sa.connect(host=[pair.primary, pair.standby], user="x" * 200)


async def test_password_is_asked_for_once(pair: Pair) -> None:
    asked = []

    def password() -> str:
        asked.append(1)
        return ""

    assert await reached(pair.dead, pair.primary, password=password) == pair.primary
    assert asked == [1]


async def test_password_that_does_not_come_is_no_hosts_fault(pair: Pair) -> None:
    async def password() -> str:
        await asyncio.sleep(60)
        return ""

    with pytest.raises(err.OperationalError, match=r"timed out after 0\.2 seconds"):
        await reached(pair.primary, pair.standby, password=password, connect_timeout=0.2)


@pytest.mark.usefixtures("quiet")
async def test_cancelled_while_hosts_are_tried(pair: Pair) -> None:
    task = asyncio.ensure_future(reached(pair.dead, pair.silent, pair.primary))
    await asyncio.sleep(0.1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_connection_that_is_closed_while_hosts_are_tried(pair: Pair) -> None:
    connection = sa.Connection(host=[pair.silent, pair.primary], user=USER)
    ping = asyncio.ensure_future(connection.ping())
    await asyncio.sleep(0.1)

    connection.close()

    with pytest.raises(err.OperationalError, match="it was closed"):
        await ping
    assert connection.closed


async def test_ping_connects_anew_to_whichever_host_fits(pair: Pair) -> None:
    hosts = [pair.primary, pair.standby]
    async with sa.connect(host=hosts, user=USER, target_session_attrs="read-write") as connection:
        pair.switch()
        connection.close()
        await connection.ping()

        assert connection.port == pair.servers[1].port


async def test_statement_is_killed_on_the_host_that_has_it(pair: Pair) -> None:
    hosts = [pair.dead, pair.standby, pair.primary]
    async with sa.connect(host=hosts, user=USER, kill_on_cancel=True) as connection:
        begun = now()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.query("SELECT SLEEP(20)"), 0.2)
        await connection.query("SELECT 1")

    assert now() - begun < 5


async def test_init_command_that_has_not_ended_in_time_is_killed_on_its_host(pair: Pair) -> None:
    slow = f"SELECT SLEEP(IF(@@port = {pair.servers[0].port}, 30, 0))"
    hosts = pair.primary, pair.standby

    found = await reached(*hosts, init_command=slow, kill_on_cancel=True, connect_timeout=2)

    assert found == pair.standby
    await until(lambda: not running(pair.servers[0], slow), 3)


def running(server: Server, sql: str) -> int:
    with pymysql.connect(
        host=server.host, port=server.port, user="root", ssl_disabled=True
    ) as admin:
        cursor = admin.cursor()
        cursor.execute("SELECT * FROM information_schema.processlist WHERE info = %s", [sql])
        return len(cursor.fetchall())


async def test_url_has_several_hosts(pair: Pair) -> None:
    url = f"mysql://{USER}@{pair.dead},{pair.standby},{pair.primary}/test"
    async with sa.create_engine(f"{url}?target_session_attrs=read-write") as engine:
        async with engine.acquire() as conn:
            assert conn.connection.port == pair.servers[0].port
        assert list(engine.stats().hosts) == [pair.dead, pair.standby, pair.primary]


async def test_sqlalchemys_url_has_several_hosts_in_its_query(pair: Pair) -> None:
    query = {"host": (pair.dead, pair.standby, pair.primary), "target_session_attrs": "read-write"}
    url = URL.create("mysql+aiomysqlx", USER, database="test", query=query)

    await check_port(create_async_engine(url), pair)
    await check_port(create_async_engine(url.render_as_string()), pair)


async def test_sqlalchemys_connect_args_have_several_hosts(pair: Pair) -> None:
    hosts = {"host": [pair.dead, pair.standby, pair.primary], "target_session_attrs": "read-write"}

    await check_port(
        create_async_engine(f"mysql+aiomysqlx://{USER}@/test", connect_args=hosts), pair
    )


async def test_async_engine_knows_which_host_was_silent(pair: Pair) -> None:
    hosts = {"host": [pair.silent, pair.primary], "connect_timeout": 4}
    engine = create_async_engine(f"mysql+aiomysqlx://{USER}@/test", connect_args=hosts)
    try:
        async with engine.connect():
            begun = now()
            async with engine.connect():
                assert now() - begun < 0.5
    finally:
        await engine.dispose()


async def test_ping_of_sqlalchemys_pool_finds_a_host_that_writes_no_more(pair: Pair) -> None:
    hosts = {"host": [pair.primary, pair.standby], "target_session_attrs": "read-write"}
    engine = create_async_engine(
        f"mysql+aiomysqlx://{USER}@/test", connect_args=hosts, pool_pre_ping=True
    )
    try:
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT @@port")) == pair.servers[0].port
        pair.switch()
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT @@port")) == pair.servers[1].port
    finally:
        await engine.dispose()


async def check_port(engine: Any, pair: Pair) -> None:
    async with engine.connect() as conn:
        port = await conn.scalar(text("SELECT @@port"))
    await engine.dispose()
    assert port == pair.servers[0].port


async def test_one_host_without_a_target_is_asked_what_it_was(pair: Pair) -> None:
    async with proxied({"host": "127.0.0.1", "port": pair.servers[0].port}) as proxy:
        host = f"127.0.0.1:{proxy.kwargs['port']}"

        assert await reached(host) == await reached(pair.dead, host) == host

        one, several = [each.commands[:3] for each in proxy.passages]
        added = b", CONCAT(@@read_only, ',', @@innodb_read_only) FROM (SELECT 1) AS node"
        assert not any(b"read_only" in command for command in one)
        assert several == [one[0] + added, *one[1:]]


@pytest.mark.long
@pytest.mark.once
async def test_node_without_its_cluster_is_passed_over(galera: Galera) -> None:
    first, second, third = galera.nodes
    hosts = [node.address for node in (third, first, second)]
    galera.partition(third)
    wait_until(lambda: third.status("wsrep_ready") == "OFF", "the node to be out")

    async with sa.connect(host=hosts, user="app") as connection:
        assert connection.port != third.port
    with pytest.raises(sa.NoHostError, match="WSREP has not yet prepared node .*1047") as caught:
        await sa.connect(host=third.address, user="app", target_session_attrs="read-write")
    assert caught.value.args[0] == 1047


@pytest.mark.long
@pytest.mark.once
async def test_promoted_replica_is_found(replicas: Replicas) -> None:
    await check_promotion(replicas)


@pytest.mark.long
@pytest.mark.once
async def test_promoted_member_of_a_group_is_found(group: Group) -> None:
    await check_promotion(group)


async def check_promotion(cluster: Cluster) -> None:
    old, (new, *_) = cluster.primary, cluster.others
    async with sa.create_engine(
        host=[node.address for node in cluster.nodes], user="app", target_session_attrs="read-write"
    ) as engine:
        cluster.promote(new)
        engine.clear()
        async with engine.acquire() as conn:
            assert conn.connection.port == new.port

        hosts = engine.stats().hosts
        assert hosts[new.address]["role"] == "primary" and hosts[old.address]["role"] != "primary"


@pytest.mark.parametrize("args", [(), ("no secret",), (1045, "no", "more")])
async def test_error_of_a_function_that_gives_the_password_is_raised_as_it_is(
    connect_kwargs: dict[str, Any], args: tuple[object, ...]
) -> None:
    failure = err.OperationalError(*args)

    def password() -> str:
        raise failure

    with pytest.raises(err.OperationalError) as caught:
        await sa.create_engine(**{**connect_kwargs, "password": password})

    assert caught.value is failure
