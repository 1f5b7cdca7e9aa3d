"""A protocol at the end of no wire: its transport notes what it is told, a test says what comes."""

from __future__ import annotations

import asyncio
from typing import Any

from aiomysqlx.wire.columns import Columns
from aiomysqlx.wire.columns import describe as _describe
from aiomysqlx.wire.command import Command
from aiomysqlx.wire.protocol import Protocol
from aiomysqlx.wire.reply import Reply


class FakeTransport(asyncio.Transport):
    """A transport that notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []
        self.told: list[str] = []
        self.closing = self.aborted = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def write(self, data: Any) -> None:
        self.written.append(data)

    def pause_reading(self) -> None:
        assert self.told[-1:] != ["pause"]
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class Wire:
    """A protocol at the end of no wire, and what comes over it."""

    def __init__(self, eofs: bool = True) -> None:
        self.transport = FakeTransport()
        self.protocol = Protocol(asyncio.get_running_loop(), not eofs, 2)
        self.protocol.attach(self.transport)
        self.described: list[bytes] = []

    def send(self, known: Columns | None = None, shape: Any = None) -> Reply:
        command = Command(b"\1\0\0\0\3", None, known, shape)
        return self.protocol.send(command, self.describe, "utf-8")

    def describe(self, raw: bytes, encoding: str) -> Columns:
        self.described.append(raw)
        return _describe(raw, encoding)

    def receive(self, data: bytes) -> None:
        while data:
            room = self.protocol.get_buffer(-1)
            size = min(len(room), len(data))
            room[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]
