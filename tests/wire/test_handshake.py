"""The handshake with servers of every sort: what it offers, what ends it, and what is left then."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fakes import CAPABILITIES, DEPRECATE_EOF, OK, Peer, fake_server, greeting, packet, session
from pymysql import err
from pymysql.constants import CLIENT, CR

import aiomysqlx
from aiomysqlx.wire.auth import PLUGINS

pytestmark = pytest.mark.usefixtures("quiet")


async def say_nothing(peer: Peer) -> None:
    pass


async def greet_only(peer: Peer) -> None:
    peer.write(packet(greeting(), 0))
    await peer.read()


STALLS = {"at once": say_nothing, "after the greeting": greet_only}


class Stalling:
    """A server that goes silent within the handshake, and sees when its client leaves."""

    def __init__(self, begin: Callable[[Peer], Awaitable[None]]) -> None:
        self.begin = begin
        self.silent = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(self, peer: Peer) -> None:
        await self.begin(peer)
        self.silent.set()
        try:
            await peer.reader.read()
        finally:
            self.left.set()


@pytest.mark.parametrize("begin", STALLS.values(), ids=STALLS)
async def test_connect_that_is_out_of_time_leaves_no_socket(
    begin: Callable[[Peer], Awaitable[None]],
) -> None:
    script = Stalling(begin)
    async with fake_server(script) as arguments:
        # The error is kept, and all that its traceback leads to.
        with pytest.raises(err.OperationalError, match="timed out after 0.2 seconds") as _caught:
            await aiomysqlx.connect(**arguments, connect_timeout=0.2)

        await asyncio.wait_for(script.left.wait(), 10)


@pytest.mark.parametrize("timeout", [10, None])
@pytest.mark.parametrize("begin", STALLS.values(), ids=STALLS)
async def test_connect_that_is_cancelled_is_that_and_leaves_no_socket(
    begin: Callable[[Peer], Awaitable[None]], timeout: float | None
) -> None:
    script = Stalling(begin)
    async with fake_server(script) as arguments:

        async def connect() -> None:
            await aiomysqlx.connect(**arguments, connect_timeout=timeout)

        task = asyncio.create_task(connect())
        await asyncio.wait_for(script.silent.wait(), 10)

        task.cancel()
        with pytest.raises(asyncio.CancelledError) as _caught:
            await task

        await asyncio.wait_for(script.left.wait(), 10)


@pytest.mark.parametrize("offered", [0, DEPRECATE_EOF], ids=["not offered", "offered"])
async def test_client_takes_what_is_offered_and_no_more(offered: int) -> None:
    responses: list[bytes] = []

    async def script(peer: Peer) -> None:
        responses.append(await peer.welcome(CAPABILITIES | offered))
        await peer.read()

    async with (
        fake_server(script) as arguments,
        aiomysqlx.connect(**arguments),
    ):
        pass

    assert int.from_bytes(responses[0][:4], "little") & DEPRECATE_EOF == offered


@pytest.mark.parametrize("size", [1 << 16, (1 << 16) + 1])
async def test_packet_of_a_handshake_is_of_64_kib_at_most(size: int) -> None:
    padding = b"x" * (size - len(greeting()))

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(version=b"8.0.0-fake" + padding), 0))
        await peer.answer(packet(OK, 2))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    async with fake_server(script) as arguments:
        if size == 1 << 16:
            async with aiomysqlx.connect(**arguments):
                pass
            return
        with pytest.raises(err.OperationalError, match=f"packet of {size} bytes during the hand"):
            await aiomysqlx.connect(**arguments)


@pytest.mark.parametrize("over", [0, 1])
async def test_login_of_a_client_is_of_64_kib_at_most(over: int) -> None:
    sizes: list[int] = []

    async def script(peer: Peer) -> None:
        sizes.append(len(await peer.welcome()))
        await peer.read()

    async with fake_server(script) as arguments:
        async with aiomysqlx.connect(**arguments, program_name="p" * 60_000):
            pass
        name = "p" * (60_000 + (1 << 16) - sizes[0] + over)
        if over:
            with pytest.raises(err.OperationalError, match=r"login takes 65537 bytes, limit 65536"):
                await aiomysqlx.connect(**arguments, program_name=name)
        else:
            async with aiomysqlx.connect(**arguments, program_name=name):
                pass

    assert sizes[1:] == ([] if over else [1 << 16])


@pytest.mark.server
async def test_connection_tells_of_its_server(connect_kwargs: dict[str, Any]) -> None:
    before = asyncio.get_running_loop().time()
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        host, port = connect_kwargs["host"], connect_kwargs["port"]
        assert connection.get_host_info() == f"socket {host}:{port}"
        assert connection.get_proto_info() == 10
        assert connection.server_capabilities & CLIENT.PROTOCOL_41
        assert connection.server_language > 0
        assert connection._session.login.plugin in PLUGINS
        assert connection.connected_time >= before
        tcp = connection._session.writer.transport.get_extra_info("socket")
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x03\x00\x7a\x02\x00"], ids=["at once", "later"])
async def test_server_that_leaves_while_tls_is_set_up_has_closed_the_connection(
    begun: bytes,
) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(CAPABILITIES | CLIENT.SSL), 0))
        await peer.read()
        peer.write(begun)

    async with fake_server(script) as kwargs:
        with pytest.raises(err.OperationalError) as caught:
            await aiomysqlx.connect(**kwargs, ssl=True)
    code, said = caught.value.args
    assert code == 2003
    # Where the client has sent more by then, it is a reset.
    reset = said.endswith("([Errno 104] Connection reset by peer)")
    assert reset or said.endswith("(the server closed the connection)")


async def test_server_without_tls_is_refused_where_tls_is_asked_for() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(CAPABILITIES & ~CLIENT.SSL), 0))
        await peer.reader.read()

    async with fake_server(script) as kwargs:
        with pytest.raises(err.OperationalError, match="the server does not offer it"):
            await aiomysqlx.connect(**kwargs, ssl=True)


async def test_reset_within_the_login_is_a_lost_connection() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        tcp: Any = peer.writer.get_extra_info("socket")
        # Without lingering, closing a socket sends RST in the place of FIN.
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.reset()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError, match="during the handshake: .*reset") as caught:
            await aiomysqlx.connect(**arguments)
    assert caught.value.args[0] == CR.CR_SERVER_LOST


async def test_password_that_is_asked_for_is_named_where_it_cannot_be_sent() -> None:
    async with fake_server(greet_only) as arguments:
        with pytest.raises(aiomysqlx.ArgumentError, match="'password'"):
            await aiomysqlx.connect(**arguments, password=lambda: "\udcff")


async def answer_with_something_else(peer: Peer) -> None:
    peer.write(packet(greeting(), 0))
    await peer.answer(packet(b"\x03abc", 2))


async def greet_with_a_switch(peer: Peer) -> None:
    peer.write(packet(b"\xfe", 0))  # to the oldest passwords, which comes after a greeting only


LATER = {
    "no welcome": (answer_with_something_else, "Malformed packet at the end of the handshake"),
    "switch for a greeting": (greet_with_a_switch, "Malformed packet during the handshake"),
}


@pytest.mark.parametrize(("second", "message"), LATER.values(), ids=LATER)
async def test_second_handshake_of_a_connection_owes_nothing_to_the_first(
    second: Callable[[Peer], Awaitable[None]], message: str
) -> None:
    count = 0

    async def script(peer: Peer) -> None:
        nonlocal count
        count += 1
        if count == 1:
            await peer.welcome()
            await peer.read()  # and hangs up
        else:
            await second(peer)
            await peer.reader.read()

    async with fake_server(script) as arguments:
        connection = await aiomysqlx.connect(**arguments)
        with pytest.raises(err.OperationalError):
            await connection.ping(reconnect=False)

        with pytest.raises(err.OperationalError, match=message):
            await connection.ping()
    assert count == 2
