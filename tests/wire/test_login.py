"""The questions that are asked at every login, and servers that do not end their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from fakes import (
    CAPABILITIES,
    EOF,
    OK,
    Peer,
    column,
    fake_server,
    greeting,
    packet,
    packets,
    session,
    text,
)
from pymysql import err

import aiomysqlx as sa
from aiomysqlx.wire.opening import lasting

Kwargs = dict[str, Any]
MORE = b"\0\0\0\x0a\0\0\0"  # an OK with another result behind it
HUGE = b"\xff\xff\xff"
ROW = text(b"16777216") + 3 * text(b"utf8mb4")


def numbered(payload: bytes, first: int) -> Iterator[bytes]:
    """Give packets of the same payload without end, many at a time."""
    while True:
        yield b"".join(packet(payload, (first + number) % 256) for number in range(256))


def endless(what: str) -> Iterator[bytes]:
    """Give an answer that does not end, in pieces."""
    head = packets(b"\x04", *[column()] * 4, EOF)
    if what == "rows":
        yield head
        yield from numbered(ROW, 7)
    elif what == "results":
        yield from numbered(MORE, 1)
    elif what == "a row":
        yield head + HUGE + b"\7"
        while True:
            yield bytes(1 << 16)
    elif what == "a packet":
        yield HUGE + b"\1\0"
        while True:
            yield bytes(1 << 16)
    else:
        yield packet(b"\xfc\xff\xff")
        yield from numbered(column(b"x" * 250), 2)


ENDLESS = ["rows", "results", "a row", "a packet", "definitions"]
QUESTIONS: dict[str, tuple[int, Kwargs]] = {
    "session": (0, {}),
    "server": (1, {"kill_on_cancel": True}),
    "character set": (1, {"charset": "latin1"}),
    "autocommit": (1, {"autocommit": False}),
    "sql_mode": (1, {"sql_mode": "ANSI"}),
}


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize("question", QUESTIONS)
async def test_answer_without_end_ends_the_login(what: str, question: str) -> None:
    answered, kwargs = QUESTIONS[question]
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(OK, 2))
        for _ in range(answered):
            await peer.read()
            peer.write(session(CAPABILITIES))
        await peer.read()
        for data in endless(what):
            peer.write(data)
            await peer.writer.drain()
            sent += len(data)
            if sent > 1 << 26:
                break

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError, match="20(27|20)"):
            await asyncio.wait_for(sa.connect(**{**arguments, **kwargs}), 10)

    assert sent < 1 << 24


async def test_answer_to_init_command_may_be_large() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        row = b"\xfd\x00\x00\x10" + b"x" * (1 << 20)
        peer.write(packets(b"\x01", column(), EOF, row, row, EOF))
        await peer.answer(packet(OK))
        await peer.read()  # COM_QUIT

    async with (
        fake_server(script) as arguments,
        sa.connect(**arguments, init_command="SELECT s FROM t") as raw,
    ):
        assert not raw.closed


async def test_answers_after_the_login_may_be_large() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        row = b"\xfd\x00\x00\x10" + b"x" * (1 << 20)
        await peer.answer(packets(b"\x01", column(), EOF, row, row, EOF))

    async with fake_server(script) as arguments, sa.connect(**arguments) as raw:
        cursor = await raw.cursor()

        assert await cursor.execute("SELECT s FROM t") == 2


@pytest.mark.parametrize("what", ["rows", "results"])
async def test_answer_without_end_to_a_later_question_of_its_own_ends_the_connection(
    what: str,
) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.read()
        for data in endless(what):
            peer.write(data)
            await peer.writer.drain()

    async with fake_server(script) as arguments, sa.connect(**arguments) as raw:
        with pytest.raises(err.OperationalError, match="2027"):
            await asyncio.wait_for(lasting(raw._session), 10)

        assert raw.closed


async def test_key_of_one_server_is_not_used_at_the_next() -> None:
    """The password would be encrypted with the key of whoever has the key's other half."""
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    asked: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=b"caching_sha2_password"), 0))
        await peer.read()
        peer.write(packet(b"\x01\x04", 2))
        asked.append(await peer.read())
        peer.write(packet(b"\x01" + pem, 4))
        await peer.read()
        peer.write(packet(OK, 6))
        await peer.read()
        peer.write(session(CAPABILITIES))
        await peer.read()  # COM_QUIT

    async with fake_server(script) as arguments:
        raw = await sa.connect(**arguments, password="secret")
        raw.close()
        await raw.ping()
        raw.close()

    assert asked == [b"\x02", b"\x02"]
