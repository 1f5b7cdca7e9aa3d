"""What a server sends to a connection that has asked for nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fakes import EOF, OK, Peer, connected, error, fake_server, packet, result
from pymysql import err
from watch import at_rest, until

import aiomysqlx as sa

pytestmark = pytest.mark.usefixtures("quiet")

HUGE = b"\xff\xff\xff"
UNASKED = {
    "an OK": packet(OK, 0),
    "an OK numbered as an answer": packet(OK, 1),
    "an EOF": packet(EOF, 0),
    "a result": result(b"one"),
    "a question for a file": packet(b"\xfb/etc/passwd", 0),
    "a greeting": packet(b"\x0a8.0.0\0", 0),
    "an empty packet": packet(b"", 0),
    "the first byte of a huge packet": HUGE + b"\0\x00",
    "the header of a huge packet": HUGE + b"\0",
    "a huge error": HUGE + b"\0" + error(1053, "x"),
    "an error of 5000 bytes": packet(error(1053, "x" * 5000), 0)[:5],
}


@pytest.mark.parametrize("what", UNASKED)
@pytest.mark.parametrize("split", [False, True], ids=["at once", "in single bytes"])
async def test_packet_that_is_no_error_closes_an_idle_connection_at_once(
    what: str, split: bool
) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await go.wait()
        data = UNASKED[what]
        with contextlib.suppress(RuntimeError):  # uvloop's, once the client has gone
            for start in range(0, len(data), 1 if split else len(data)):
                peer.write(data[start : start + (1 if split else len(data))])
                await asyncio.sleep(0)
        await peer.reader.read()

    async with connected(script) as raw:
        go.set()
        await until(lambda: raw.closed, 5)

        with pytest.raises(err.OperationalError, match="2027, .*a packet nobody asked for"):
            await raw.query("SELECT 1")


async def test_flood_to_an_idle_connection_is_not_kept() -> None:
    """Not even a part of what is announced is waited for."""
    go = asyncio.Event()
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await go.wait()
        peer.write(HUGE + b"\0")
        while sent < 1 << 28:
            peer.write(bytes(1 << 16))
            await peer.writer.drain()
            sent += 1 << 16

    async with connected(script) as raw:
        go.set()
        await until(lambda: raw.closed, 5)

        assert raw._session.protocol is not None
        assert raw._session.protocol.reader.buffered < 1 << 18
        assert sent < 1 << 25


async def test_idle_connection_of_an_engine_is_replaced_at_once() -> None:
    go = asyncio.Event()
    peers: list[Peer] = []

    async def script(peer: Peer) -> None:
        peers.append(peer)
        await peer.welcome()
        if len(peers) == 1:
            await go.wait()
            peer.write(HUGE + b"\0\x00")
        await peer.reader.read()

    async with fake_server(script) as arguments, sa.create_engine(**arguments) as engine:
        go.set()
        await until(lambda: engine.stats().closed == {"lost": 1}, 5)
        await until(lambda: at_rest(engine, 1), 5)


@pytest.mark.parametrize("sequence", [0, 1, 9])
@pytest.mark.parametrize("size", [1, 512, 4000])
async def test_reason_of_the_server_is_taken_whatever_its_number(sequence: int, size: int) -> None:
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        await go.wait()
        whole = packet(error(4031, "x" * size), sequence)
        for byte in whole[:8]:
            peer.write(bytes((byte,)))
            await asyncio.sleep(0)
        peer.write(whole[8:])
        await peer.reader.read()

    async with connected(script) as raw:
        go.set()
        await until(lambda: raw.closed, 5)

        with pytest.raises(err.OperationalError, match=f"4031, 'x{{{size}}}'"):
            await raw.query("SELECT 1")


async def test_what_follows_an_answer_closes_the_connection_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packet(OK) + HUGE + b"\2")
        await peer.reader.read()

    async with connected(script) as raw:
        await raw.query("DO 0")

        assert raw.closed


# -- answers that do not end -----------------------------------------------------------------------

MORE = b"\0\0\0\x0a\0\0\0"  # an OK with another result behind it


async def test_results_without_end_are_not_kept_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    most = 0

    async def script(peer: Peer) -> None:
        nonlocal most
        await peer.read()
        sequence = 1
        while True:
            numbers = range(sequence, sequence + 1000)
            peer.write(b"".join(packet(MORE, number % 256) for number in numbers))
            sequence += 1000
            await peer.writer.drain()
            await asyncio.sleep(0)

    async with connected(script) as raw:
        task = asyncio.ensure_future(raw.query("SELECT 1"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert raw._session.protocol is not None
        (reply,) = raw._session.protocol.replies
        for _ in range(50):
            await asyncio.sleep(0.002)
            most = max(most, len(reply.results))

        assert most == 0
        raw.close()
