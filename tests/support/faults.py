"""A proxy in front of a real server that delays, withholds, cuts and changes what passes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pymysql.constants import COMMAND

Way = Literal["up", "down"]  # to the server, to the client
Kind = Literal["fin", "reset", "hang", "skip", "flip"]
QUERY = bytes((COMMAND.COM_QUERY,))
QUIT = bytes((COMMAND.COM_QUIT,))
PING = bytes((COMMAND.COM_PING,))
RESET = b"\x1f"


@dataclass
class Fault:
    """What happens once *at* bytes have passed since it was set."""

    at: int
    kind: Kind
    mask: int = 0xFF


@dataclass
class Passage:
    """One connection through the proxy."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    deaf: bool = False
    passed: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    commands: list[bytes] = field(default_factory=list)
    latest: dict[Way, bytes] = field(default_factory=lambda: {"up": b"", "down": b""})
    _unparsed: bytes = b""

    @property
    def open(self) -> bool:
        """Whether neither side has ended it."""
        return not self.client.is_closing()

    def note(self, data: bytes) -> None:
        """Take the commands out of what the client sends: packets with the sequence id 0."""
        self._unparsed += data
        while len(self._unparsed) >= 4:
            end = 4 + int.from_bytes(self._unparsed[:3], "little")
            if len(self._unparsed) < end:
                return
            if self._unparsed[3] == 0:
                self.commands.append(self._unparsed[4:end])
            self._unparsed = self._unparsed[end:]

    def end(self, reset: bool = False) -> None:
        """End both sides, towards the client in order or with a reset."""
        if reset and self.open:
            # Without lingering, closing a socket sends RST in the place of FIN.
            tcp: Any = self.client.get_extra_info("socket")
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.client.transport.abort()
        self.client.close()
        self.server.close()


class FaultyProxy:
    """What passes between clients and a server; every switch takes effect at once."""

    def __init__(self, connect_kwargs: dict[str, Any]) -> None:
        self.delay: dict[Way, float] = {"up": 0, "down": 0}
        self.split = False
        self.passages: list[Passage] = []
        self.kwargs: dict[str, Any] = {**connect_kwargs, "host": "127.0.0.1", "port": 0}
        self._target = connect_kwargs["host"], connect_kwargs["port"]
        self._faults: dict[Way, Fault] = {}
        self._awaited: tuple[bytes, Kind, Way] | None = None
        self._gates: dict[Way, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._finished = False
        self.flow()

    @property
    def open(self) -> list[Passage]:
        """The connections that neither side has ended."""
        return [passage for passage in self.passages if passage.open]

    @property
    def commands(self) -> list[bytes]:
        """The commands of all connections, one connection after the other."""
        return [command for passage in self.passages for command in passage.commands]

    def hold(self, way: Way = "down") -> None:
        """Keep back what comes, until flow()."""
        self._gates[way].clear()

    def flow(self) -> None:
        """Let pass what was held back, and what comes."""
        for gate in self._gates.values():
            gate.set()

    def fault(self, at: int, kind: Kind, way: Way = "down", mask: int = 0xFF) -> None:
        """End, silence or change, once, the connection on which the byte *at* from here passes."""
        self._faults[way] = Fault(at, kind, mask)

    def fault_at(self, text: bytes, kind: Kind, way: Way = "down") -> None:
        """Do that, once, as a command with *text* passes: to it, or to its answer."""
        self._awaited = text, kind, way

    def clear(self) -> None:
        """Take back a fault that has not happened."""
        self._faults.clear()
        self._awaited = None

    def hang(self) -> None:
        """Swallow what comes on the connections that are open, and keep them open."""
        for passage in self.open:
            passage.deaf = True

    def drop(self, reset: bool = True) -> None:
        """End the connections that are open."""
        for passage in self.open:
            passage.end(reset)

    def turn_to(self, host: str, port: int) -> None:
        """Have connections that are made from now on reach another server."""
        self._target = host, port

    async def accept(self) -> None:
        """Listen, always on the same port."""
        self._server = await asyncio.start_server(
            self._meet, self.kwargs["host"], self.kwargs["port"]
        )
        self.kwargs["port"] = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Refuse new connections, until accept()."""
        if self._server is not None:
            self._server.close()

    async def finish(self) -> None:
        """End everything."""
        self._finished = True
        self.refuse()
        for passage in self.passages:
            passage.end()  # its server's side may be open yet
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._server is not None:
            await self._server.wait_closed()

    def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine of its own: the server would not tell of one that has not begun yet.
        if self._finished:
            writer.close()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda task: writer.close() if task.cancelled() else None)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.close()
            return
        passage = Passage(writer, server_writer)
        self.passages.append(passage)
        for forwarding in (
            self._forward(passage, "up", reader, server_writer),
            self._forward(passage, "down", server_reader, writer),
        ):
            task = asyncio.ensure_future(forwarding)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _forward(
        self, passage: Passage, way: Way, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        # uvloop raises RuntimeError when a closed transport is written to.
        with contextlib.suppress(ConnectionError, RuntimeError):
            while data := await source.read(1 << 16):
                await asyncio.sleep(self.delay[way])
                await self._gates[way].wait()
                passage.latest[way] = data
                if way == "up":
                    passage.note(data)
                    self._await_fault(data)
                await self._pass(passage, way, data, sink)
        # Of a peer that has gone without a word the other side learns nothing.
        if not passage.deaf or way == "up":
            passage.end()

    def _await_fault(self, data: bytes) -> None:
        if self._awaited is not None and self._awaited[0] in data:
            _, kind, way = self._awaited
            self._awaited = None
            self.fault(0, kind, way)

    async def _pass(
        self, passage: Passage, way: Way, data: bytes, sink: asyncio.StreamWriter
    ) -> None:
        fault = self._faults.get(way)
        rest = b""
        if fault is not None:
            if fault.at + (fault.kind in ("skip", "flip")) > len(data):
                fault.at -= len(data)
                fault = None
            else:
                del self._faults[way]
                data, rest = data[: fault.at], data[fault.at :]
        if not passage.deaf:
            await self._write(passage, way, data, sink)
        if fault is None:
            return
        if fault.kind == "skip":
            await self._write(passage, way, rest[1:], sink)
        elif fault.kind == "flip":
            await self._write(passage, way, bytes((rest[0] ^ fault.mask,)) + rest[1:], sink)
        elif fault.kind == "hang":
            passage.deaf = True
        else:
            passage.end(fault.kind == "reset")

    async def _write(
        self, passage: Passage, way: Way, data: bytes, sink: asyncio.StreamWriter
    ) -> None:
        size = 1 if self.split else max(len(data), 1)
        for start in range(0, len(data), size):
            piece = data[start : start + size]
            sink.write(piece)
            await sink.drain()
            passage.passed[way] += len(piece)
            if self.split:
                await asyncio.sleep(0)  # lets the other side read it by itself


@contextlib.asynccontextmanager
async def faulty_proxy(connect_kwargs: dict[str, Any]) -> AsyncIterator[FaultyProxy]:
    """Stand in front of a real server; `proxy.kwargs` connects through it."""
    proxy = FaultyProxy(connect_kwargs)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.finish()
