"""A server in memory, which answers every statement with the same recorded bytes.

All that the package does between a statement and its result takes place, but for sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache
from typing import Any, cast

from . import recorded
from .builds import load

_PLUGIN = b"mysql_native_password"
_CAPABILITIES = 0x0108A285  # protocol 4.1, plugins and DEPRECATE_EOF; no TLS
_VERSION = b"10.11.6-MariaDB"
_GREETING = b"".join(
    (
        *(b"\x0a", _VERSION, b"\0", b"\x07\0\0\0", b"12345678", b"\0"),
        *(_CAPABILITIES.to_bytes(4, "little")[:2], b"\x2d", b"\x02\0"),
        *(_CAPABILITIES.to_bytes(4, "little")[2:], b"\x15", b"\0" * 10),
        *(b"abcdefghijkl", b"\0", _PLUGIN, b"\0"),
    )
)
_WELCOME = recorded.packet(recorded.OK, 2)
DONE = recorded.packet(recorded.OK, 1)


class Loop(asyncio.SelectorEventLoop):
    """An event loop in which every Unix socket leads to the server in memory."""

    reply = DONE
    """What every statement is answered with."""

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], path: str, **_: object
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = protocol_factory()
        transport = _Transport(self, protocol)
        protocol.connection_made(transport)
        self.call_soon(transport.deliver, recorded.packet(_GREETING, 0))
        return transport, protocol


class _Transport(asyncio.Transport):
    """The client's end of a connection to the server in memory."""

    def __init__(self, loop: Loop, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._closing = False
        self._paused = False
        self._undelivered = memoryview(b"")

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self.deliver, self._undelivered)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._loop.call_soon(self.deliver, self._answer(bytes(data[3:20])))

    def _answer(self, command: bytes) -> bytes:
        if command[0] == 1:
            return _WELCOME
        if command.startswith(b"\0\x03SELECT @@"):
            return _session()
        if command.startswith((b"\0\x03SET ", b"\0\x01")):
            return DONE
        return self._loop.reply

    def deliver(self, data: bytes | memoryview) -> None:
        """Hand *data* to the client, in pieces as large as it takes, until it takes no more."""
        protocol = self._protocol
        if not isinstance(protocol, asyncio.BufferedProtocol):
            cast(asyncio.Protocol, protocol).data_received(bytes(data))
            return
        view = memoryview(data)
        while view and not self._paused:
            space = memoryview(cast(bytearray, protocol.get_buffer(-1)))
            taken = min(len(space), len(view))
            space[:taken] = view[:taken]
            protocol.buffer_updated(taken)
            view = view[taken:]
        self._undelivered = view


@cache
def _session() -> bytes:
    """Give the answer to what a client asks first: its packet limit, charset and collation."""
    definitions = recorded.recording(0, ("bigint", "text", "text")).definitions
    row = b"\x0867108864\x07utf8mb4\x12utf8mb4_general_ci"
    head = recorded.packet(b"\x03", 1)
    return head + definitions + recorded.packets((row, recorded.END), first=5)


@cache
def engine(impl: str, size: int, **arguments: Any) -> tuple[Loop, Any]:
    """Give the loop and an engine of *size* connections to the server in memory."""
    loop = Loop()
    package = load(impl)

    async def create() -> Any:
        return await package.create_engine(
            unix_socket="memory",
            user="u",
            autocommit=True,
            minsize=size,
            maxsize=size,
            **arguments,
        )

    return loop, loop.run_until_complete(create())


@cache
def connect(impl: str, **arguments: Any) -> tuple[Loop, Any]:
    """Give the loop and a connection, an `SAConnection`, to the server in memory."""
    loop, engine_ = engine(impl, 1, **arguments)

    async def acquire() -> Any:
        return await engine_.acquire()

    return loop, loop.run_until_complete(acquire())
