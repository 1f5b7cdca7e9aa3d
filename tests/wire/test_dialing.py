"""A name with several addresses: the first that says something is taken, and the rest is closed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import Peer, fake_server
from private_server import Certificates, Server
from pymysql import err
from watch import now, until

import aiomysqlx as sa
from aiomysqlx.wire import dialing, login
from aiomysqlx.wire.dialing import addresses_of, is_address

NAME = "several.example"
FIRST, SECOND = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What sets the addresses of names; tells how often they were asked for."""
    asked = []

    def to(*addresses: str) -> list[str]:
        async def found(host: str, _port: int) -> list[str]:
            asked.append(host)
            return [host] if is_address(host) else list(addresses)

        monkeypatch.setattr(login, "addresses_of", found)
        return asked

    return to


@contextlib.contextmanager
def listener(address: str, port: int, backlog: int = 100) -> Iterator[socket.socket]:
    """Take connections, as the kernel does for a process that is stopped, and say nothing."""
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(backlog)
        yield listening


@contextlib.contextmanager
def full(address: str, port: int) -> Iterator[None]:
    """Take no connection and refuse none, as what drops all packets."""
    with listener(address, port, 0), contextlib.ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


def arguments(server: Server, **others: Any) -> dict[str, Any]:
    return {"host": NAME, "port": server.port, "user": server.user, **others}


@pytest.mark.server
@pytest.mark.parametrize("silent", [listener, full], ids=["says nothing", "takes none"])
async def test_silent_address_costs_a_quarter_of_a_second(
    silent: Any, server: Server, resolve: Any
) -> None:
    resolve(FIRST, "127.0.0.1")
    with silent(FIRST, server.port):
        begun = now()
        async with sa.connect(**arguments(server)) as connection:
            seconds = now() - begun
            assert connection._session.login.peer == "127.0.0.1"

    assert 0.2 < seconds < 2


@pytest.mark.server
async def test_dead_address_costs_nothing(
    server: Server, resolve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "PATIENCE", 5)
    resolve(FIRST, SECOND, "127.0.0.1")

    begun = now()
    async with sa.connect(**arguments(server)):
        assert now() - begun < 4


@pytest.mark.server
async def test_first_address_is_taken_if_it_answers(server: Server, resolve: Any) -> None:
    resolve("127.0.0.1", FIRST)
    with listener(FIRST, server.port) as other:
        other.setblocking(False)
        async with sa.connect(**arguments(server)):
            with pytest.raises(BlockingIOError):
                other.accept()


@pytest.mark.server
@pytest.mark.usefixtures("quiet")
async def test_addresses_that_are_not_taken_are_closed(server: Server, resolve: Any) -> None:
    resolve(FIRST, "127.0.0.1")
    with listener(FIRST, server.port) as silent:
        async with sa.connect(**arguments(server)):
            client, _ = silent.accept()
            with client:
                await until(lambda: _ended(client))


def _ended(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest.mark.server
async def test_limit_is_for_all_addresses_of_a_name(server: Server, resolve: Any) -> None:
    resolve(FIRST, SECOND)
    with listener(FIRST, server.port), full(SECOND, server.port):
        begun = now()
        with pytest.raises(err.OperationalError, match=r"timed out after 0\.6 seconds"):
            await sa.connect(**arguments(server, connect_timeout=0.6))

    assert 0.5 < now() - begun < 3


@pytest.mark.server
@pytest.mark.usefixtures("quiet")
async def test_cancelled_while_several_addresses_are_tried(server: Server, resolve: Any) -> None:
    resolve(FIRST, SECOND)
    with listener(FIRST, server.port) as first, listener(SECOND, server.port) as second:
        task = asyncio.ensure_future(sa.connect(**arguments(server)))
        second.setblocking(False)
        clients: list[socket.socket] = []

        def accepted() -> bool:
            with contextlib.suppress(BlockingIOError):
                clients.append(second.accept()[0])
            return bool(clients)

        await until(accepted)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        clients.append(first.accept()[0])
        for client in clients:
            with client:
                await until(lambda client=client: _ended(client))  # type: ignore[misc]


async def test_dead_addresses_are_one_error(resolve: Any) -> None:
    with listener(FIRST, 0) as unused:
        port = unused.getsockname()[1]
    resolve(FIRST, SECOND)

    with pytest.raises(err.OperationalError, match=r"\(\[Errno 111\] Connection refused\)"):
        await sa.connect(host=NAME, port=port)


async def test_address_that_closes_at_once_is_not_taken_before_one_that_answers(
    resolve: Any,
) -> None:
    async def close(peer: Peer) -> None:
        peer.writer.close()

    async with fake_server(close) as kwargs:
        resolve("127.0.0.1", FIRST)
        with pytest.raises(err.OperationalError, match=r"2013.*during the handshake"):
            await sa.connect(**{**kwargs, "host": NAME})


@pytest.mark.server
async def test_name_is_asked_for_with_each_connection(server: Server, resolve: Any) -> None:
    asked = resolve("127.0.0.1")
    async with sa.create_engine(**arguments(server, minsize=1)) as engine:
        for _ in range(3):
            engine.clear()
            async with engine.acquire():
                pass

    assert len(asked) >= 4 and set(asked) == {NAME}


@pytest.mark.server
async def test_certificate_is_for_the_name_whatever_the_address(
    server: Server, tls: Certificates, resolve: Any
) -> None:
    resolve(FIRST, "127.0.0.1")
    context = ssl.create_default_context(cafile=tls.ca)
    with listener(FIRST, server.port):
        async with sa.connect(**arguments(server, host="localhost", ssl=context)) as connection:
            assert connection._session.login.secure

        with pytest.raises(err.OperationalError, match=NAME):
            await sa.connect(**arguments(server, ssl=context))


@pytest.mark.server
async def test_statement_is_killed_on_the_address_that_has_it(
    server: Server, resolve: Any, admin: Any
) -> None:
    asked = resolve(FIRST, "127.0.0.1")
    with listener(FIRST, server.port) as other:
        async with sa.connect(**arguments(server, kill_on_cancel=True)) as connection:
            other.accept()[0].close()
            sleep = asyncio.ensure_future(connection.query("SELECT SLEEP(60)"))
            cursor = admin.cursor()

            def sleeping() -> bool:
                cursor.execute("SHOW PROCESSLIST")
                return any(row[7] == "SELECT SLEEP(60)" for row in cursor.fetchall())

            await until(sleeping)
            sleep.cancel()
            await until(lambda: not sleeping())
            assert await connection.query("SELECT 1") == 1

    assert asked == [NAME]


@pytest.mark.any_loop
@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("fe80::1%eth0", True), ("h", False), ("h:1", False)],
)
def test_address_is_told_from_a_name(host: str, expected: bool) -> None:
    assert is_address(host) is expected


async def test_addresses_of_the_local_host() -> None:
    assert "127.0.0.1" in await addresses_of("localhost", 1)
    assert await addresses_of("127.0.0.1", 1) == ["127.0.0.1"]


async def test_kinds_of_addresses_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ["2001::1", "2001::2", "2001::3", "192.0.2.1", "192.0.2.2", "2001::1"]

    class Loop:
        async def getaddrinfo(self, *_args: Any, **_kwargs: Any) -> list[Any]:
            return [(":" in place, 0, 0, "", (place, 1)) for place in places]

    monkeypatch.setattr(dialing.asyncio, "get_running_loop", Loop)

    assert await addresses_of("h", 1) == [
        *("2001::1", "192.0.2.1", "2001::2", "192.0.2.2", "2001::3")
    ]


async def test_random_order_is_for_the_addresses_of_a_name_too(
    resolve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve(FIRST, SECOND)
    first = set()

    async def dial(addresses: list[str], _port: int) -> Any:
        first.add(addresses[0])
        raise ConnectionRefusedError

    monkeypatch.setattr(login, "dial", dial)
    for _ in range(40):
        with pytest.raises(err.OperationalError):
            await sa.connect(host=NAME, load_balance_hosts="random")

    assert first == {FIRST, SECOND}
