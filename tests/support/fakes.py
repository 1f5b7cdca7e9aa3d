"""Servers that do what a real one will not: a scripted one, and a proxy in front of a real one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from pymysql.constants import CLIENT, FIELD_TYPE

import aiomysqlx

DEPRECATE_EOF = 1 << 24
OK = b"\x00\x00\x00\x02\x00\x00\x00"
EOF = b"\xfe\x00\x00\x02\x00"
CAPABILITIES = CLIENT.CAPABILITIES | CLIENT.PLUGIN_AUTH | CLIENT.PLUGIN_AUTH_LENENC_CLIENT_DATA


def packet(payload: bytes, sequence: int = 1) -> bytes:
    """Give *payload* as one wire packet."""
    return len(payload).to_bytes(3, "little") + bytes((sequence,)) + payload


def packets(*payloads: bytes, first: int = 1) -> bytes:
    """Give *payloads* as wire packets with successive sequence ids."""
    return b"".join(packet(payload, first + index) for index, payload in enumerate(payloads))


def text(value: bytes) -> bytes:
    """Give *value* behind its length."""
    assert len(value) < 251
    return bytes((len(value),)) + value


def error(code: int, message: str, state: str = "HY000") -> bytes:
    """Give the payload of an error packet."""
    return b"\xff" + code.to_bytes(2, "little") + b"#" + state.encode() + message.encode()


def column(name: bytes = b"a", type_code: int = FIELD_TYPE.VAR_STRING, charset: int = 45) -> bytes:
    """Give the payload of a column definition."""
    names = b"".join(map(text, (b"def", b"", b"", b"", name, b"")))
    fixed = charset.to_bytes(2, "little") + b"\xff\0\0\0" + bytes((type_code,)) + b"\0\0\0\0\0"
    return names + b"\x0c" + fixed


def result(*values: bytes) -> bytes:
    """Give the packets of a result of one text column, with the EOFs of old."""
    return packets(b"\x01", column(), EOF, *map(text, values), EOF)


def one_row(*values: bytes) -> bytes:
    """Give the packets of a result of one row, with the EOFs of old."""
    columns = [column()] * len(values)
    return packets(bytes((len(values),)), *columns, EOF, b"".join(map(text, values)), EOF)


def greeting(
    capabilities: int = CAPABILITIES,
    plugin: bytes = b"mysql_native_password",
    version: bytes = b"8.0.0-fake",
    protocol: int = 10,
    extended: int = 0,
    thread_id: int = 7,
) -> bytes:
    """Give the payload that a server begins with; *extended* are MariaDB's own capabilities."""
    bits, number = capabilities.to_bytes(4, "little"), thread_id.to_bytes(4, "little")
    reserved = b"\0" * 6 + extended.to_bytes(4, "little")
    return b"".join(
        (
            *(bytes((protocol,)), version, b"\0", number, b"12345678", b"\0"),
            *(bits[:2], b"\x2d", b"\x02\0", bits[2:], b"\x15", reserved),
            *(b"abcdefghijkl", b"\0", plugin, b"\0"),
        )
    )


def session(capabilities: int, charset: bytes = b"utf8mb4") -> bytes:
    """Give the answer to what a client asks first.

    Its packet limit, charset and collation, the default collation of the charset, the time zone,
    how many characters two backslashes are, and the session's number.
    """
    names = text(charset) + 2 * text(charset + b"_bin")
    row = text(b"16777216") + names + text(b"SYSTEM") + text(b"1") + text(b"7")
    columns = [column()] * 7
    if capabilities & DEPRECATE_EOF:
        return packets(b"\x07", *columns, row, b"\xfe" + OK[1:])
    return packets(b"\x07", *columns, EOF, row, EOF)


class Peer:
    """One client, as the scripted server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def read(self) -> bytes:
        """Give the payload of the next packet."""
        header = await self.reader.readexactly(4)
        return await self.reader.readexactly(int.from_bytes(header[:3], "little"))

    def write(self, data: bytes) -> None:
        """Write *data* as it stands."""
        self.writer.write(data)

    async def welcome(
        self,
        capabilities: int = CAPABILITIES,
        version: bytes = b"8.0.0-fake",
        extended: int = 0,
    ) -> bytes:
        """Let the client in and answer what it asks by itself; give its first packet."""
        self.write(packet(greeting(capabilities, version=version, extended=extended), 0))
        response = await self.read()
        self.write(packet(OK, 2))
        await self.read()
        self.write(session(capabilities))
        return response

    async def answer(self, data: bytes) -> bytes:
        """Read a command, write *data*; give the command."""
        command = await self.read()
        self.write(data)
        return command

    def reset(self) -> None:
        """End the connection with a reset."""
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[Any]]


@contextlib.asynccontextmanager
async def fake_server(script: Script) -> AsyncIterator[dict[str, Any]]:
    """Serve clients by *script*; give the keyword arguments that connect to it."""
    failures: list[BaseException] = []
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        try:
            await script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        except Exception as failure:
            failures.append(failure)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield {"host": "127.0.0.1", "port": port, "user": "u", "autocommit": None}
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await server.wait_closed()
    assert not failures


@contextlib.asynccontextmanager
async def connected(
    script: Script, capabilities: int = CAPABILITIES, **kwargs: Any
) -> AsyncIterator[aiomysqlx.Connection]:
    """Give a connection to a server that lets it in and then follows *script*."""

    async def serve(peer: Peer) -> None:
        await peer.welcome(capabilities)
        await script(peer)

    async with fake_server(serve) as arguments:
        connection = await aiomysqlx.connect(**{**arguments, **kwargs})
        try:
            yield connection
        finally:
            await connection.ensure_closed()


@contextlib.asynccontextmanager
async def proxy(
    connect_kwargs: dict[str, Any],
    change: Callable[[bytes], bytes] | None = None,
    host: str = "127.0.0.1",
) -> AsyncIterator[dict[str, Any]]:
    """Stand in front of a real server; *change* sees every packet that it sends."""
    tasks: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def back(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert change is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                header = await reader.readexactly(4)
                payload = await reader.readexactly(int.from_bytes(header[:3], "little"))
                writer.write(change(header + payload))
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        real_reader, real_writer = await asyncio.open_connection(
            connect_kwargs["host"], connect_kwargs["port"]
        )
        answer = forward if change is None else back
        for coroutine in (forward(reader, real_writer), answer(real_reader, writer)):
            task = asyncio.create_task(coroutine)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, host, 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield {**connect_kwargs, "host": host, "port": port}
    finally:
        server.close()
        if tasks:
            await asyncio.wait(tasks, timeout=5)
        await server.wait_closed()


def without_deprecate_eof(data: bytes) -> bytes:
    """Take DEPRECATE_EOF out of a greeting; leave any other packet as it is."""
    if data[3] != 0 or data[4] != 10:
        return data
    high = data.index(b"\0", 5) + 1 + 4 + 8 + 1 + 2 + 1 + 2
    return data[: high + 1] + bytes((data[high + 1] & ~0x01,)) + data[high + 2 :]
