"""Proxies that know the protocol, as ProxySQL and MaxScale do, in front of a real server.

What they do to a session is what their manuals and sources say; Debian has neither. They log in to
the server by themselves, as a user without a password, and speak for whoever comes to them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from fakes import CAPABILITIES, error, greeting, one_row, packet
from pymysql.constants import CLIENT, COMMAND, SERVER_STATUS

from aiomysqlx.wire.greeting import SESSION_TRACK, parse_greeting, response
from aiomysqlx.wire.packets import read_length

IN_TRANSACTION = SERVER_STATUS.SERVER_STATUS_IN_TRANS
AUTOCOMMIT = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
MORE_RESULTS = SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
NO_BACKSLASH_ESCAPES = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES
RESET = 0x1F
UTF8MB4 = 45
QUESTION = "SELECT @@max_allowed_packet"
"""How the statement begins that a session of this package is asked first."""


def ok(status: int, affected: int = 0) -> bytes:
    """Give an OK packet that a proxy makes up."""
    return packet(bytes((0, affected, 0)) + status.to_bytes(2, "little") + b"\0\0")


async def read_packet(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Give the next packet's number and payload."""
    header = await reader.readexactly(4)
    return header[3], await reader.readexactly(int.from_bytes(header[:3], "little"))


def with_status(payload: bytes, change: Callable[[int], int]) -> tuple[int, bytes]:
    """Give the status of an OK or EOF packet, and the packet with another one."""
    at = 3
    if payload[0] == 0:
        _, at = read_length(payload, 1)
        _, at = read_length(payload, at)
    status = int.from_bytes(payload[at : at + 2], "little")
    changed = change(status).to_bytes(2, "little")
    return status, payload[:at] + changed + payload[at + 2 :]


class Backend:
    """A proxy's own connection to the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.thread_id = 0
        self.status = AUTOCOMMIT
        self.warned = False
        self.pinned = False
        # What it was set to: the schema, and statements by what they are about.
        self.schema: str | None = None
        self.settings: dict[str, str] = {}
        self.delay = 0  # how many statements it is kept for after an AUTO_INCREMENT value

    @classmethod
    async def open(cls, kwargs: dict[str, Any], flags: int) -> Backend:
        """Log in with the capabilities of a client, without a schema."""
        backend = cls(*await asyncio.open_connection(kwargs["host"], kwargs["port"]))
        _, payload = await read_packet(backend._reader)
        greeted = parse_greeting(payload)
        backend.thread_id = greeted.thread_id
        flags &= greeted.capabilities & ~(CLIENT.CONNECT_WITH_DB | CLIENT.CONNECT_ATTRS)
        user, plugin = kwargs["user"].encode(), greeted.plugin
        answer = response(flags, 0, UTF8MB4, user, b"", b"", plugin, {})
        backend.writer.write(packet(answer, 1))
        while True:
            number, payload = await read_packet(backend._reader)
            if payload[0] == 0:
                return backend
            assert payload[0] == 0xFE, payload  # another plugin, for which there is no password
            backend.writer.write(packet(b"", number + 1))

    async def ask(self, sql: str) -> None:
        """Execute a statement of the proxy's own."""
        answer = await self.run(bytes((COMMAND.COM_QUERY,)) + sql.encode())
        assert answer[4] != 0xFF, answer

    async def run(
        self, command: bytes, change: Callable[[int], int] = lambda status: status
    ) -> bytes:
        """Send a command and give the whole of its answer, with changed status flags."""
        self.writer.write(packet(command, 0))
        if command[0] == COMMAND.COM_STMT_CLOSE:
            return b""
        answer = b""
        more = True
        while more:
            number, payload = await read_packet(self._reader)
            more = False
            if command[0] == COMMAND.COM_STMT_PREPARE and payload[0] == 0:
                answer += packet(payload, number)
                counts = payload[5:7], payload[7:9]
                for count in (int.from_bytes(each, "little") for each in reversed(counts)):
                    for _ in range(count + 1 if count else 0):
                        number, payload = await read_packet(self._reader)
                        answer += packet(payload, number)
                continue
            ends = payload[0] in (0, 0xFF)
            while not ends and (payload[0] != 0xFE or len(payload) > 8):
                answer += packet(payload, number)
                number, payload = await read_packet(self._reader)
            if not ends:  # of the columns; now the rows
                _, payload = with_status(payload, change)
                answer += packet(payload, number)
                number, payload = await read_packet(self._reader)
                while payload[0] != 0xFF and (payload[0] != 0xFE or len(payload) > 8):
                    answer += packet(payload, number)
                    number, payload = await read_packet(self._reader)
            if payload[0] != 0xFF:
                self.status, payload = with_status(payload, change)
                more = self.status & MORE_RESULTS != 0
            self._note(payload)
            answer += packet(payload, number)
        return answer

    def _note(self, payload: bytes) -> None:
        self.warned = False
        if payload[0] == 0:
            _, at = read_length(payload, 1)
            insert_id, at = read_length(payload, at)
            self.warned = payload[at + 2 : at + 4] != b"\0\0"
            if insert_id:
                self.delay = 6
        elif payload[0] == 0xFE:
            self.warned = payload[1:3] != b"\0\0"
        self.delay = max(0, self.delay - 1)

    @property
    def in_transaction(self) -> bool:
        return self.status & IN_TRANSACTION != 0

    def close(self) -> None:
        self.writer.close()


class Client:
    """A client of a proxy's: what it has set, and which of its commands came how."""

    def __init__(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.number = number
        self.reader = reader
        self.writer = writer
        self.flags = 0
        self.schema: str | None = None
        self.autocommit = True
        self.settings: dict[str, str] = {}
        self.backend: Backend | None = None

    async def log_in(self, version: str, hidden: int) -> None:
        """Let the client in, whatever its password."""
        offered = CAPABILITIES | CLIENT.MULTI_STATEMENTS | CLIENT.FOUND_ROWS | SESSION_TRACK
        greet = greeting(offered & ~hidden, version=version.encode(), thread_id=self.number)
        self.writer.write(packet(greet, 0))
        _, payload = await read_packet(self.reader)
        self.flags = int.from_bytes(payload[:4], "little")
        _, _, rest = payload[32:].partition(b"\0")
        if self.flags & CLIENT.CONNECT_WITH_DB:
            length, at = read_length(rest, 0)
            self.schema = rest[at + length :].partition(b"\0")[0].decode()
        self.writer.write(packet(ok(AUTOCOMMIT)[4:], 2))


class Middleman:
    """A proxy that answers for a server; `pipelined` counts commands that came too soon."""

    version = "8.0.27"
    hidden = SESSION_TRACK  # of the capabilities
    # What it sends in the place of an answer; a connection is ended without a word by `None`.
    refusals: dict[int, bytes | None]

    def __init__(self, connect_kwargs: dict[str, Any], **options: Any) -> None:
        self.target = connect_kwargs
        self.kwargs = {**connect_kwargs, "host": "127.0.0.1"}
        self.pipelined = 0
        self.commands: list[bytes] = []
        self.clients: dict[int, Client] = {}
        self.refusals = {}
        self._numbers = itertools.count(1_000_001)
        self.opened: list[Backend] = []
        vars(self).update(options)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client."""
        client = Client(next(self._numbers), reader, writer)
        self.clients[client.number] = client
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await client.log_in(self.version, self.hidden)
                while True:
                    _, command = await read_packet(reader)
                    if command[0] == COMMAND.COM_QUIT:
                        break
                    self.commands.append(command)
                    if command[0] in self.refusals:
                        refusal = self.refusals[command[0]]
                        if refusal is None:
                            break
                        writer.write(packet(refusal))
                        continue
                    answer = await self.answer(client, command)
                    # A client that has waited sends nothing meanwhile.
                    if answer:
                        self.pipelined += len(reader._buffer) > 0  # type: ignore[attr-defined]
                    writer.write(answer)
        finally:
            del self.clients[client.number]
            self.leave(client)
            writer.close()

    async def answer(self, client: Client, command: bytes) -> bytes:
        """Give the answer to a command."""
        raise NotImplementedError

    def leave(self, client: Client) -> None:
        """Take note that a client has gone."""
        raise NotImplementedError

    async def close(self) -> None:
        """End all that is open."""
        writers = [client.writer for client in self.clients.values()]
        for writer in (*writers, *(backend.writer for backend in self.opened)):
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def kill(self, backend: Backend) -> None:
        """End what a connection executes."""
        side = await Backend.open(self.target, CAPABILITIES)
        self.opened.append(side)
        await side.ask(f"KILL QUERY {backend.thread_id}")

    async def open(self, client: Client) -> Backend:
        """Log in to the server for a client."""
        backend = await Backend.open(self.target, client.flags)
        self.opened.append(backend)
        return backend


def text_of(command: bytes) -> str:
    """Give the statement of a command, without its comments; "" if it is none."""
    if command[0] not in (COMMAND.COM_QUERY, COMMAND.COM_STMT_PREPARE):
        return ""
    return command[1:].decode("utf8", "replace").strip()


class ProxySQL(Middleman):
    """ProxySQL: statements of one client go out over whichever connection is free.

    It answers `SET NAMES`, `SET AUTOCOMMIT`, `USE`, ping, and COMMIT and ROLLBACK outside of a
    transaction by itself, and sets what is set before the next statement. It shows no session
    tracking. What has an `@` in it keeps its connection for good, unless *keeps_multiplexing* says
    that it has a rule for the question that a session begins with.
    """

    keeps_multiplexing = True
    _TRACKED = re.compile(
        r"SET\s+(?:SESSION\s+)?(?:@@)?"
        r"(?P<name>sql_mode|time_zone|TRANSACTION(?P<next>\s+ISOLATION|\s+READ))\b[^@]*$",
        re.IGNORECASE,
    )
    _PINS = re.compile(
        r"@|GET_LOCK\(|^CREATE TEMPORARY|^LOCK TABLE|SQL_CALC_FOUND_ROWS|^PREPARE ", re.IGNORECASE
    )

    def __init__(self, connect_kwargs: dict[str, Any], **options: Any) -> None:
        super().__init__(connect_kwargs, **options)
        self.idle: list[Backend] = []

    async def answer(self, client: Client, command: bytes) -> bytes:
        code, sql = command[0], text_of(command)
        if code == COMMAND.COM_PING:
            return self._ok(client)
        if code == COMMAND.COM_INIT_DB:
            client.schema = command[1:].decode()
            return self._ok(client)
        if code == RESET:
            await self._reset(client)
            return self._ok(client)
        if code == COMMAND.COM_QUERY:
            own = await self._answer_itself(client, sql)
            if own is not None:
                return own
        return await self._pass_on(client, command, sql)

    def _ok(self, client: Client) -> bytes:
        begun = client.backend is not None and client.backend.in_transaction
        return ok(self._shown(client, IN_TRANSACTION if begun else 0))

    async def _answer_itself(self, client: Client, sql: str) -> bytes | None:
        upper = " ".join(sql.upper().split())
        begun = client.backend is not None and client.backend.in_transaction
        if upper in ("COMMIT", "ROLLBACK"):
            return None if begun else self._ok(client)
        if match := re.fullmatch(r"SET (?:SESSION )?AUTOCOMMIT ?= ?([01])", upper):
            client.autocommit = match[1] == "1"
            if not begun or not client.autocommit:
                return self._ok(client)
            assert client.backend is not None
            return await client.backend.run(b"\x03COMMIT")
        if match := re.fullmatch(r"USE `?(\w+)`?", sql, re.IGNORECASE):
            client.schema = match[1]
            return self._ok(client)
        if upper.startswith("SET NAMES ") and "," not in upper:
            client.settings["names"] = sql
            return self._ok(client)
        if match := self._TRACKED.match(sql):
            name = match["name"].lower().split()[0] + (match["next"] or "").strip().lower()
            if name.startswith("transaction") and "SESSION" not in upper:
                return None
            client.settings[name] = sql
            return self._ok(client)
        if upper == "SELECT CONNECTION_ID()":
            return one_row(str(client.number).encode())
        if upper.startswith("LOAD DATA LOCAL INFILE"):
            return packet(error(1047, "Unsupported 'LOAD DATA LOCAL INFILE' command", "08S01"))
        if match := re.fullmatch(r"KILL (QUERY |CONNECTION |)(\d+)", upper):
            return await self._kill(int(match[2]))
        return None

    async def _kill(self, number: int) -> bytes:
        client = self.clients.get(number)
        if client is None:
            return packet(error(1094, f"Unknown thread id: {number}"))
        if client.backend is not None:
            await self.kill(client.backend)
        return ok(AUTOCOMMIT)

    async def _pass_on(self, client: Client, command: bytes, sql: str) -> bytes:
        if client.backend is None:
            client.backend = await self._take(client)
        backend = client.backend
        if not backend.in_transaction:
            await self._set(backend, client, sql)
        answer = await backend.run(command, lambda status: self._shown(client, status))
        if self._PINS.search(sql) and not (self.keeps_multiplexing and sql.startswith(QUESTION)):
            backend.pinned = True
        kept = backend.in_transaction or backend.pinned or backend.warned or backend.delay
        if not (kept or backend.status & NO_BACKSLASH_ESCAPES):
            client.backend = None
            self.idle.append(backend)
        return answer

    @staticmethod
    def _shown(client: Client, status: int) -> int:
        """Give the flags that the client is shown: its own autocommit, and the rest as it is."""
        return status & ~AUTOCOMMIT | (AUTOCOMMIT if client.autocommit else 0)

    async def _take(self, client: Client) -> Backend:
        """Give a connection with nothing set that the client has not, another one than before."""
        for backend in self.idle:
            if backend.settings.keys() <= client.settings.keys():
                self.idle.remove(backend)
                break
        else:
            backend = await self.open(client)
        if len(self.idle) < 2:  # so that the next statement is another one's
            self.idle.append(await self.open(client))
        return backend

    async def _set(self, backend: Backend, client: Client, sql: str) -> None:
        """Set a connection as its client has it."""
        if client.schema != backend.schema and client.schema is not None:
            await backend.run(bytes((COMMAND.COM_INIT_DB,)) + client.schema.encode())
            backend.schema = client.schema
        for name, setting in client.settings.items():
            if backend.settings.get(name) != setting:
                await backend.ask(setting)
                backend.settings[name] = setting
        autocommit = backend.status & AUTOCOMMIT != 0
        # What only reads is executed as it is.
        if client.autocommit != autocommit and not sql.upper().startswith("SELECT"):
            await backend.ask(f"SET autocommit = {int(client.autocommit)}")

    async def _reset(self, client: Client) -> None:
        self.leave(client)
        client.autocommit, client.settings = True, {}

    def leave(self, client: Client) -> None:
        backend, client.backend = client.backend, None
        if backend is not None:
            backend.close()


class MaxScale(Middleman):
    """MaxScale's readwritesplit: what reads outside of a transaction goes to another server.

    Here it is the same server, but another session of it. What is set goes to both.
    """

    version = "10.11.9-MariaDB-log"
    hidden = 0

    def __init__(self, connect_kwargs: dict[str, Any], **options: Any) -> None:
        super().__init__(connect_kwargs, **options)
        self._both: dict[int, tuple[Backend, Backend]] = {}
        # The text and the two numbers of prepared statements, by the client's.
        self._prepared: dict[tuple[int, int], tuple[str, bytes, bytes]] = {}
        self._statements = itertools.count(1)

    async def answer(self, client: Client, command: bytes) -> bytes:
        if client.number not in self._both:
            both = await self.open(client), await self.open(client)
            self._both[client.number] = both
            for backend in both:
                if client.schema is not None:
                    await backend.run(bytes((COMMAND.COM_INIT_DB,)) + client.schema.encode())
            await both[1].ask("PREPARE other FROM 'SELECT 1'")
        first, second = self._both[client.number]
        code, sql = command[0], text_of(command)
        if code in (COMMAND.COM_STMT_PREPARE, COMMAND.COM_STMT_CLOSE, COMMAND.COM_STMT_EXECUTE):
            return await self._prepare(client, command)
        if code == COMMAND.COM_QUERY and (match := re.fullmatch(r"KILL (QUERY |)(\d+)", sql)):
            return await self._kill(int(match[2]))
        to_both = code in (COMMAND.COM_INIT_DB, RESET) or re.match(r"(SET|USE)\s", sql.upper())
        answer = await (second if self._reads(first, sql) and not to_both else first).run(command)
        if to_both:
            await second.run(command)
        return answer

    async def _prepare(self, client: Client, command: bytes) -> bytes:
        first, second = self._both[client.number]
        if command[0] == COMMAND.COM_STMT_PREPARE:
            answers = [await first.run(command), await second.run(command)]
            if answers[0][4] != 0:
                return answers[0]
            number = next(self._statements)
            theirs = [answer[5:9] for answer in answers]
            self._prepared[client.number, number] = text_of(command), theirs[0], theirs[1]
            return answers[0][:5] + number.to_bytes(4, "little") + answers[0][9:]
        key = client.number, int.from_bytes(command[1:5], "little")
        if command[0] == COMMAND.COM_STMT_CLOSE:
            _, *numbers = self._prepared.pop(key)
            for backend, theirs_ in zip((first, second), numbers, strict=True):
                await backend.run(command[:1] + theirs_)
            return b""
        if key not in self._prepared:
            return packet(error(1243, "Unknown prepared statement handler"))
        sql, *numbers = self._prepared[key]
        reads = self._reads(first, sql)
        backend = second if reads else first
        return await backend.run(command[:1] + numbers[reads] + command[5:])

    @staticmethod
    def _reads(first: Backend, sql: str) -> bool:
        if first.in_transaction or not first.status & AUTOCOMMIT:
            return False
        return bool(
            re.match(r"SELECT\b(?!.*(FOR UPDATE|LAST_INSERT_ID|:=|GET_LOCK))", sql, re.I | re.S)
        )

    async def _kill(self, number: int) -> bytes:
        if number not in self._both:
            return packet(error(1094, f"Unknown thread id: {number}"))
        for backend in self._both[number]:
            await self.kill(backend)
        return ok(AUTOCOMMIT)

    def leave(self, client: Client) -> None:
        for backend in self._both.pop(client.number, ()):
            backend.close()


@contextlib.asynccontextmanager
async def middleman(proxy: Middleman) -> AsyncIterator[Middleman]:
    """Have a proxy serve; `kwargs` connects through it."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        proxy.kwargs["port"] = server.sockets[0].getsockname()[1]
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()
