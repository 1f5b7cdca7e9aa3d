"""Hostile bytes: what both twins make of a server's answers, and what a handshake gives away.

    python tools/fuzz.py --seconds 60

With atheris (`pip install ".[fuzz]"`) the coverage of the Python code leads the way, else, or with
`--random`, recorded answers are changed at random. The exit status is 0 if nothing was found; else
the bytes are shown, and `--again HEX` takes them once more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import importlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

from aiomysql.connection import _StreamReader
from cases import (
    ALIKE,
    BINARY,
    DEPRECATE_EOF,
    DROPPED,
    HANDSHAKE,
    KNOWN,
    PREPARED,
    REPAIRED,
    SHAPED,
    SMALL,
    UNCHECKED,
    chunks,
    mutated,
    packets_of,
    repaired,
    seeds,
)
from pymysql import err
from replies import REPLIES

QUERY = b"\x09\0\0\0\x03SELECT 1"
PASSWORD = "s3cret-passw0rd"
SMALL_LIMIT = 1024
_WIRE = "aiomysqlx.wire"
_COPIED = (
    "aiomysqlx.runtime.waiter",
    *(
        f"{_WIRE}.{name}"
        for name in ("command", "columns", "reply", "preparing", "session_state", "protocol")
    ),
)
_BUFFERS = 1 << 20  # what a reader may keep for nothing


class Twin:
    """The reading half of the driver in one build: `cy` as it is imported, `py` from its texts."""

    def __init__(self, suffix: str) -> None:
        names = [*_COPIED, f"{_WIRE}._row_{suffix}"]
        modules = source_modules() if suffix == "py" else {}
        self.waiter, command, self.columns, reply, self.preparing, _, self.protocol, self.row = (
            modules.get(name) or importlib.import_module(name) for name in names
        )
        self.command = command.Command
        self.alike = reply.Alike

    def describe(self, raw: bytes, encoding: str, binary: bool = False) -> Any:
        definitions = self.columns.parse_columns(raw, encoding)
        conversions = [column.conversion for column in definitions]
        processors = [None] * len(definitions)
        given = raw, definitions, conversions, processors, encoding
        return self.columns.Columns(*given, binary=binary)

    def shape(self, columns: Any) -> Any:
        return self.row.BaseRow, self.row.BaseMetadata({}, {})


class Wire:
    """A transport, and loop, that keep what they are told."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.create_future, self.get_debug = loop.create_future, loop.get_debug
        self.written: list[bytes] = []
        self.aborted = False
        self.set_protocol = self.call_soon = self.pause_reading = lambda *_: None
        self.write = self.written.append

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True


def source_modules() -> dict[str, Any]:
    """Give copies of the modules as they are without compiled ones, over the Python twins."""
    implementation = ModuleType(f"{_WIRE}._impl")
    for piece in ("binary", "escape", "packet", "row"):
        twin = importlib.import_module(f"{_WIRE}._{piece}_py")
        vars(implementation).update(
            {name: value for name, value in vars(twin).items() if not name.startswith("__")}
        )
    copies: dict[str, Any] = {}
    with mock.patch.dict(sys.modules, {f"{_WIRE}._impl": implementation}):
        for name in _COPIED:
            package, _, module = name.rpartition(".")
            source = Path(sys.modules[package].__path__[0], f"{module}.py")
            spec = importlib.util.spec_from_file_location(name, source)
            assert spec is not None and spec.loader is not None
            sys.modules[name] = copies[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(copies[name])
    return copies


class Fuzzer:
    """Takes cases: a byte of flags, a byte that says how the rest is cut, and what came in."""

    def __init__(self) -> None:
        self.package = importlib.import_module("aiomysqlx")
        self.driver = importlib.import_module("aiomysqlx.driver")
        self.opening = importlib.import_module(f"{_WIRE}.opening")

        compiled = self.package.IMPLEMENTATION == "cython"
        self.twins = [Twin(suffix) for suffix in (("py", "cy") if compiled else ("py",))]
        self.loop = asyncio.new_event_loop()
        eofs = REPLIES["types", False]
        raw = eofs[5 : len(b"".join(packets_of(eofs, 15)))]
        self.known = [twin.describe(raw, "utf-8") for twin in self.twins]

    def close(self) -> None:
        """Close the event loop."""
        self.loop.close()

    def check(self, case: bytes) -> list[Any]:
        """Take one case; raises `AssertionError` for what must not be."""
        flags, cut, stream = case[0], case[1], case[2:]
        binary = flags & BINARY == BINARY
        if flags & HANDSHAKE and flags & PREPARED != PREPARED and not binary:
            return [self.handshake(flags, cut, stream)]
        if flags & REPAIRED and not flags & HANDSHAKE:
            stream = repaired(stream)
        outcomes = [
            self.reply(twin, known, flags, cut, stream)
            for twin, known in zip(self.twins, self.known, strict=True)
        ]
        if outcomes[0] != outcomes[-1]:
            raise AssertionError(f"the twins differ:\n{outcomes[0]}\n{outcomes[-1]}")
        return outcomes[0]

    def reply(self, twin: Twin, known: Any, flags: int, cut: int, stream: bytes) -> list[Any]:
        """Read *stream* as the answers to two commands; give everything that can be seen."""
        wire = Wire(self.loop)
        limit = SMALL_LIMIT if flags & SMALL else 1 << 30
        protocol = twin.protocol.Protocol(wire, bool(flags & DEPRECATE_EOF), 2, max_packet=limit)
        protocol.attach(wire)
        binary = flags & BINARY == BINARY and flags & PREPARED != PREPARED
        describe = functools.partial(twin.describe, binary=binary)
        first = known if flags & KNOWN and not binary else None
        shape = twin.shape if flags & SHAPED else None
        command = twin.command(QUERY, None, first, shape)
        statement = twin.preparing.Statement()
        if flags & HANDSHAKE and not binary:
            command = twin.preparing.Prepare(b"SELECT ?", statement)
        replies = [
            protocol.send(command, describe, "utf-8"),
            protocol.send(twin.command(QUERY), describe, "utf-8"),
        ]
        if flags & ALIKE == ALIKE:
            replies[0].alike = twin.alike(bool(cut & 1))
        if flags & UNCHECKED:
            protocol.reader.sequence = -1
        if flags & DROPPED:
            protocol.drop(replies[0])
        outcomes: list[Any] = []
        for chunk in chunks(stream, cut):
            receive(protocol, chunk)
            outcomes += [
                answered(twin, protocol, reply) for reply in replies if reply.infile is not None
            ]
            if wire.aborted:
                break
        protocol_state = (protocol.status, protocol.reader.sequence, protocol.reader.buffered)
        assert protocol.reader.buffered <= len(stream)
        room = len(memoryview(protocol.get_buffer(-1)).obj)  # type: ignore[arg-type]
        assert room <= max(_BUFFERS, 4 * len(stream)), f"{room} bytes for {len(stream)}"
        outcomes += [settled(reply.future) for reply in replies]
        state = [protocol_state, shown(protocol.lost), wire.aborted, wire.written]
        definitions = [
            [vars(column) for column in kind] for kind in (statement.taken, statement.columns)
        ]
        prepared = (statement.number, statement.parameters, *definitions)
        return [*outcomes, *state, *prepared, statement.refused and vars(statement.refused)]

    def handshake(self, flags: int, cut: int, stream: bytes) -> Any:
        """Connect to a server that says *stream*, over TCP, and give what came of it."""
        peer = Peer(self.loop, stream[:cut], stream[cut:], bool(flags & UNCHECKED))
        plugin = "mysql_clear_password" if flags & SHAPED else ""
        connection = self.driver.Connection(
            host="127.0.0.1",
            user="u",
            password=PASSWORD,
            db="d",
            loop=self.loop,
            auth_plugin=plugin,
            autocommit=None,
        )
        peer.connection = connection
        outcome: Any = "connected"
        with mock.patch("aiomysql.connection._open_connection", peer.open):
            try:
                self.loop.run_until_complete(
                    asyncio.wait_for(self.opening.open_session(connection._session), 10)
                )
            except (err.MySQLError, self.package.Error) as error:
                outcome = shown(error)
                assert PASSWORD not in str(outcome), "the password in an error"
        connection._session.writer = None
        assert PASSWORD.encode() not in b"".join(peer.written), "the password in clear"
        return outcome


class Peer:
    """The server's side of a handshake: it says what it says, whatever it is told."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, first: bytes, then: bytes, number: bool
    ) -> None:
        self.loop, self.then, self.number = loop, then, number
        self.reader: Any = _StreamReader(loop=loop)
        self.reader.feed_data(first)
        if not then:
            self.reader.feed_eof()
        self.read = self.reader.readexactly
        self.reader.readexactly = self.readexactly
        self.written: list[bytes] = []
        self.transport = self
        self.protocol: Any = None
        self.connection: Any = None
        self.pause_reading = self.resume_reading = self.close = self.abort = lambda: None
        socket = SimpleNamespace(setsockopt=lambda *_: None)
        self.get_extra_info = lambda *_, **__: socket
        self.is_closing = lambda: False

    async def open(self, *_: Any, **__: Any) -> Any:
        return self.reader, self  # its own writer

    async def readexactly(self, size: int) -> bytes:
        if self.then and len(self.reader._buffer) < size:
            self.reader.feed_eof()  # what is left is for after the handshake
        data: bytes = await self.read(size)
        if self.number and size == 4:
            return data[:3] + bytes((self.connection._session.login.sequence,))
        return data

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol
        self.reader._eof_received = not self.then

    def write(self, data: bytes) -> None:
        self.written.append(bytes(data))
        if self.protocol is not None:
            self.loop.call_soon(self.answer)

    def answer(self) -> None:
        data, self.then = self.then, b""
        if self.protocol.lost is None and data:
            receive(self.protocol, data)
        self.protocol.eof_received()


def receive(protocol: Any, data: bytes) -> None:
    """Give *data* to *protocol* as an event loop does."""
    while data and protocol.lost is None:
        room = protocol.get_buffer(-1)
        size = min(len(room), len(data))
        room[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]


def answered(twin: Twin, protocol: Any, reply: Any) -> Any:
    """Refuse the local file that *reply* asks for, as a connection does."""
    name, reply.infile = reply.infile, None
    before = settled(reply.future)
    protocol.reader.sequence = -1
    reply.future = twin.waiter.Waiter(protocol._loop)
    protocol.buffer_updated(0)
    return name, before


def settled(future: Any) -> Any:
    """Give what a future ended with, its exception being one that is documented."""
    if not future.done():
        return "pending"
    error = future.exception()
    if error is None:
        return shown(future.result())
    assert isinstance(error, err.MySQLError), f"undocumented {error!r}"
    return shown(error)


def shown(value: Any) -> Any:
    """Give *value* as what can be compared, types included."""
    if isinstance(value, BaseException):
        return type(value).__name__, str(value)
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shown(item) for item in value]
    if hasattr(value, "as_tuple"):
        return "row", shown(value.as_tuple())
    if hasattr(value, "affected_rows"):
        names = ("error", "rows", "affected_rows", "insert_id", "warning_count", "info", "shaped")
        columns = value.columns and [vars(column) for column in value.columns.definitions]
        return columns, [shown(getattr(value, name)) for name in names]
    return type(value).__name__, repr(value)


def fuzz_randomly(seconds: float, seed: int) -> int:
    chance, cases = random.Random(seed), seeds()
    print(f"changing at random (seed {seed})", flush=True)  # should a crash end the process
    count = 0
    with contextlib.closing(Fuzzer()) as fuzzer:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            case = mutated(chance.choice(cases), chance)
            count += 1
            try:
                fuzzer.check(case)
            except Exception:
                print(f"after {count} cases, --again {case.hex()}", file=sys.stderr)
                raise
    print(f"{count} cases, changed at random (seed {seed}): nothing found")
    return 0


def fuzz_guided(seconds: float, folder: str) -> None:
    """Fuzz by coverage; atheris ends the process."""
    import atheris

    with atheris.instrument_imports(include=["aiomysqlx", "aiomysql"]):
        fuzzer = Fuzzer()
    for number, case in enumerate(seeds()):
        Path(folder, f"seed{number}").write_bytes(case)

    def take(case: bytes) -> None:
        if len(case) < 2:
            return
        try:
            fuzzer.check(case)
        except Exception:
            print(f"--again {case.hex()}", file=sys.stderr)
            raise

    options = [f"-max_total_time={seconds:.0f}", "-max_len=4096", "-timeout=20", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", folder], take)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--random", action="store_true", help="without coverage")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--again", metavar="HEX", help="take one case")
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.again:
        with contextlib.closing(Fuzzer()) as fuzzer:
            print(*fuzzer.check(bytes.fromhex(given.again)), sep="\n")
        return 0
    if given.folder:
        fuzz_guided(given.seconds, given.folder)
    if given.random or importlib.util.find_spec("atheris") is None:
        return fuzz_randomly(given.seconds, given.seed)
    with tempfile.TemporaryDirectory() as folder:
        child = [sys.executable, __file__, "--folder", folder, "--seconds", str(given.seconds)]
        return subprocess.run(child).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
