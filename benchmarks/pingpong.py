"""The least that a statement takes on an event loop: a query is written, its answer awaited.

This uses nothing of the package: what a statement takes beyond it is the client's own work.
"""

from __future__ import annotations

import asyncio
from typing import Any

_EOF = 0xFE


class PingPong(asyncio.BufferedProtocol):
    """Sends the same query again and again; of the answers it only looks for the end."""

    def __init__(self, sql: str) -> None:
        text = b"\x03" + sql.encode()
        self._packet = len(text).to_bytes(3, "little") + b"\0" + text
        self._view = memoryview(bytearray(1 << 16))
        self._length = 0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view[self._length :]

    def buffer_updated(self, count: int) -> None:
        self._length += count
        if self._view[self._length - 5] == _EOF:  # with two counters behind it, it ends the rows
            self._answer.set_result(None)

    async def ask(self, times: int) -> None:
        """Send the query *times* times, and await each answer before the next."""
        for _ in range(times):
            self._length = 0
            self._answer = self._loop.create_future()
            self._transport.write(self._packet)
            await self._answer


async def open_pingpong(connection: Any, sql: str) -> PingPong:
    """Return a protocol that asks *sql* over the socket of *connection*, which is PyMySQL's."""
    loop = asyncio.get_running_loop()
    _, protocol = await loop.create_connection(lambda: PingPong(sql), sock=connection._sock)
    return protocol
