"""Logging in: what is answered to the server's plugins, and what the response to a greeting has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha1, sha256
from typing import Any

import pytest
from fakes import CAPABILITIES, OK, Peer, error, fake_server, greeting, packet, session
from pymysql import err
from pymysql.constants import CLIENT

import aiomysqlx

pytestmark = pytest.mark.usefixtures("quiet")

PASSWORD = "it's sécret"
SECRET = PASSWORD.encode()
GREETED = b"12345678abcdefghijkl"  # what `greeting()` sends
NONCE = bytes(range(65, 85))
DENIED = error(1045, "Access denied")


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def native(nonce: bytes, password: bytes = SECRET) -> bytes:
    """Give what mysql_native_password makes of a password."""
    stage = sha1(password).digest()
    return xor(stage, sha1(nonce + sha1(stage).digest()).digest())


def fast(nonce: bytes, password: bytes = SECRET) -> bytes:
    """Give what the fast path of caching_sha2_password makes of a password."""
    stage = sha256(password).digest()
    return xor(stage, sha256(sha256(stage).digest() + nonce).digest())


class Talk:
    """A server that greets, and says one thing after the other; it keeps what it hears."""

    def __init__(self, *said: bytes, plugin: bytes = b"mysql_native_password", **kwargs: Any):
        self.said = said
        self.greeting = greeting(plugin=plugin, **kwargs)
        self.heard: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        peer.write(packet(self.greeting, 0))
        number = 2
        for payload in self.said:
            self.heard.append(await peer.read())
            peer.write(packet(payload, number))
            number += 2
        await peer.answer(session(CAPABILITIES))
        await peer.read()


async def log_in(script: Callable[[Peer], Awaitable[None]], **kwargs: Any) -> None:
    async with fake_server(script) as arguments:
        connection = await asyncio.wait_for(aiomysqlx.connect(**{**arguments, **kwargs}), 5)
        await connection.ensure_closed()


def flags(response: bytes) -> int:
    return int.from_bytes(response[:4], "little")


# -- switches


@pytest.mark.parametrize("end", [b"\0", b""], ids=["NUL", "no NUL"])
@pytest.mark.parametrize("nonce", [NONCE, NONCE[:19] + b"\0"], ids=["text", "NUL at its end"])
@pytest.mark.parametrize(
    ("plugin", "answer"), [(b"caching_sha2_password", fast), (b"mysql_native_password", native)]
)
async def test_nonce_of_a_switch_has_twenty_bytes(
    plugin: bytes, answer: Callable[[bytes], bytes], nonce: bytes, end: bytes
) -> None:
    server = Talk(b"\xfe" + plugin + b"\0" + nonce + end, OK, plugin=b"something_else")

    await log_in(server, password=PASSWORD)

    assert server.heard[1] == answer(nonce)


async def test_server_that_only_has_the_fast_path_lets_in_after_a_switch() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        answer = await peer.answer(packet(b"\xfecaching_sha2_password\0" + NONCE + b"\0", 2))
        answer = await peer.read()
        known = packet(b"\x01\x03", 4) + packet(OK, 5)
        peer.write(known if answer == fast(NONCE) else packet(DENIED, 4))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    await log_in(script, password=PASSWORD)


async def test_plugin_of_the_greeting_is_answered_with_the_response() -> None:
    server = Talk(OK, plugin=b"caching_sha2_password")

    await log_in(server, password=PASSWORD)

    assert fast(GREETED) in server.heard[0]
    assert b"caching_sha2_password\0" in server.heard[0]


async def test_server_that_greets_with_an_unknown_plugin_may_switch() -> None:
    server = Talk(
        b"\xfemysql_native_password\0" + NONCE + b"\0", OK, plugin="größer".encode("latin1")
    )

    await log_in(server, password=PASSWORD)

    assert server.heard[1] == native(NONCE)


async def test_plugin_that_there_is_none_of_is_named() -> None:
    with pytest.raises(err.OperationalError, match="2059, .* plugin 'dialog', .*caching_sha2"):
        await log_in(Talk(b"\xfedialog\0Password: "), password=PASSWORD)


async def test_server_may_switch_once() -> None:
    switch = b"\xfemysql_native_password\0" + NONCE + b"\0"
    server = Talk(switch, switch, OK)

    with pytest.raises(err.OperationalError, match="2027"):
        await log_in(server, password=PASSWORD)

    assert len(server.heard) == 2


# -- what the response has


@pytest.mark.parametrize("flag", [1 << bit for bit in range(32) if bit not in (9,)], ids=hex)
async def test_response_has_nothing_that_is_not_offered(flag: int) -> None:
    offered = (CAPABILITIES | CLIENT.LOCAL_FILES | CLIENT.MULTI_STATEMENTS) & ~flag
    server = Talk(OK, capabilities=offered)

    await log_in(
        server, local_infile=True, client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.INTERACTIVE
    )

    assert flags(server.heard[0]) & ~offered == 0


async def test_server_from_before_mysql_4_1_is_refused() -> None:
    with pytest.raises(err.OperationalError, match="2007, .*before MySQL 4.1"):
        await log_in(Talk(OK, capabilities=CAPABILITIES & ~CLIENT.PROTOCOL_41))


async def test_database_is_chosen_where_the_response_cannot_name_it() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(CAPABILITIES & ~CLIENT.CONNECT_WITH_DB), 0))
        heard.append(await peer.answer(packet(OK, 2)))
        heard.append(await peer.answer(packet(OK)))
        heard.append(await peer.answer(session(CAPABILITIES)))
        await peer.read()

    await log_in(script, db="dictionary")

    assert b"dictionary" not in heard[0]
    assert heard[1] == b"\x02dictionary"
    assert b"max_allowed_packet" in heard[2]


# -- errors


@pytest.mark.parametrize("number", [0, 2, 9])
async def test_error_that_answers_the_login_keeps_its_reason(number: int) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(error(1040, "Too many connections"), number))

    with pytest.raises(err.OperationalError) as caught:
        await log_in(script)

    assert caught.value.args == (1040, "Too many connections")
