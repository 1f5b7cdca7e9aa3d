"""LOAD DATA LOCAL: several files in one string, files that end early, servers that ask for any."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import OK, Peer, connected, error, fake_server, packet, packets, result
from pymysql import err
from pymysql.constants import CLIENT
from watch import at_rest, check_capacity, one, spawn, until

import aiomysqlx as sa
from aiomysqlx import infile

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")

ASK = b"\xfb/etc/passwd"
MORE = b"\0\0\0\x0a\0\0\0"  # an OK with another result behind it
LOAD = "LOAD DATA LOCAL INFILE '{}' INTO TABLE t FIELDS TERMINATED BY ','"


@pytest.fixture
async def loader(connect_kwargs: Kwargs, admin: Admin) -> AsyncIterator[sa.Engine]:
    """An engine of one connection that may load files into t, several by one string."""
    admin.cursor().execute("SET GLOBAL local_infile = 1")
    async with sa.create_engine(
        **connect_kwargs,
        maxsize=1,
        autocommit=True,
        local_infile=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
    ) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT, s TEXT) ENGINE=InnoDB")
        yield engine


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., list[Path]]:
    """A function that makes files of the given numbers of rows."""

    def make(*counts: int) -> list[Path]:
        paths = [tmp_path / f"rows{number}" for number in range(len(counts))]
        for path, count in zip(paths, counts, strict=True):
            path.write_text("".join(f"{number},{'x' * 200}\n" for number in range(count)))
        return paths

    return make


def loaded(admin: Admin, database: str) -> int:
    return int(one(admin, f"SELECT COUNT(*) FROM {database}.t"))


# -- several files ---------------------------------------------------------------------------------


@server
@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{LOAD}; {LOAD}; {LOAD}", id="one behind the other"),
        pytest.param(f"{LOAD}; SELECT 1, 2; {LOAD}; DO 0; {LOAD}", id="with results between"),
    ],
)
async def test_files_of_one_string_are_all_loaded(
    loader: sa.Engine, admin: Admin, database: str, files: Any, text: str
) -> None:
    async with loader.acquire() as conn:
        await asyncio.wait_for(conn.execute(text.format(*files(1, 2000, 3))), 10)
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 2004

    await check_capacity(loader, 1)
    assert loader.stats().closed == {}


@server
async def test_file_that_is_not_there_leaves_the_others_of_its_string(
    loader: sa.Engine, files: Any, tmp_path: Path
) -> None:
    first, last = files(2, 3)
    text = f"{LOAD}; {LOAD}; {LOAD}".format(first, tmp_path / "absent", last)
    async with loader.acquire() as conn:
        with pytest.raises(err.OperationalError, match="1017, .*absent"):
            await conn.execute(text)

        assert await conn.scalar("SELECT COUNT(*) FROM t") == 5
    assert loader.stats().closed == {}


@server
@pytest.mark.parametrize("what", ["folder", "name with a NUL"])
async def test_file_that_cannot_be_opened_is_an_empty_one(
    loader: sa.Engine, tmp_path: Path, what: str
) -> None:
    name = str(tmp_path) if what == "folder" else f"{tmp_path}/a\\0b"
    async with loader.acquire() as conn:
        with pytest.raises(err.OperationalError, match=r"^\(1017, ['\"]Can't find file"):
            await conn.execute(LOAD.format(name))

        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0


@server
async def test_files_of_one_string_are_refused_and_the_connection_stays_usable(
    connect_kwargs: Kwargs, loader: sa.Engine, files: Any
) -> None:
    text = f"{LOAD}; {LOAD}".format(*files(1, 2))
    # The server would not even ask a client that says it has no files.
    flags = CLIENT.MULTI_STATEMENTS | CLIENT.LOCAL_FILES
    async with sa.create_engine(**connect_kwargs, client_flag=flags) as engine:
        async with engine.acquire() as conn:
            with pytest.raises(RuntimeError, match="asked for '.*rows0'"):
                await asyncio.wait_for(conn.execute(text), 10)
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 0
        await check_capacity(engine, 10)


# -- files that end early --------------------------------------------------------------------------


@server
async def test_nothing_is_kept_of_a_file_that_cannot_be_read_to_its_end(
    loader: sa.Engine, admin: Admin, database: str, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = infile._LocalFile.read

    def failing(self: Any) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 4:
            raise OSError(5, "Input/output error")
        return read(self)

    monkeypatch.setattr(infile._LocalFile, "read", failing)
    async with loader.acquire() as conn:
        with pytest.raises(err.OperationalError, match="1024, .*rows0.*closed") as caught:
            await conn.execute(LOAD.format(*files(5000)))

        assert isinstance(caught.value.__cause__, OSError)
        assert conn.closed
    await until(lambda: at_rest(loader, 1))
    await until(lambda: one(admin, _LOADING) == 0)
    assert loaded(admin, database) == 0


_LOADING = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'LOAD DATA%%'"


@pytest.fixture
async def slow(loader: sa.Engine) -> sa.Engine:
    """An engine whose table takes two seconds over the first row."""
    async with loader.acquire() as conn:
        await conn.execute(
            "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW SET @x = SLEEP(2 * (NEW.id = 0))"
        )
    return loader


@server
async def test_nothing_is_kept_of_a_file_that_shrinks(
    slow: sa.Engine, admin: Admin, database: str, files: Any
) -> None:
    (path,) = files(100_000)
    async with slow.acquire() as conn:
        protocol = conn.connection._protocol  # type: ignore[union-attr]
        task = spawn(conn.execute(LOAD.format(path)))
        await until(lambda: protocol is not None and protocol._paused)
        os.truncate(path, 1)

        with pytest.raises(err.OperationalError, match=r"1024, .*closed") as caught:
            await task

        assert "cut off while it was read" in str(caught.value.__cause__)
    await until(lambda: one(admin, _LOADING) == 0)
    assert loaded(admin, database) == 0


@server
@pytest.mark.parametrize("how", ["cancelled", "out of time", "coroutine closed"])
async def test_nothing_is_kept_of_a_file_that_is_cut_off(
    slow: sa.Engine, admin: Admin, database: str, files: Any, how: str
) -> None:
    (path,) = files(100_000)
    async with slow.acquire() as conn:
        statement = conn.execute(LOAD.format(path), timeout=0.5 if how == "out of time" else 60)
        if how == "coroutine closed":
            waited_for = statement.send(None)
            await until(lambda: one(admin, _LOADING) == 1)
            await asyncio.wait([waited_for], timeout=0.5)
            statement.close()
        else:
            task = spawn(statement)
            await until(lambda: one(admin, _LOADING) == 1)
            if how == "cancelled":
                task.cancel()
            with pytest.raises((asyncio.CancelledError, sa.StatementTimeoutError)):
                await task
    await until(lambda: at_rest(slow, 1))
    await until(lambda: one(admin, _LOADING) == 0)
    assert loaded(admin, database) == 0


# -- servers that ask for any file -----------------------------------------------------------------


class Asker:
    """A server that answers one kind of command by asking for files, and the rest as it should."""

    def __init__(self, command: bytes, before: bytes = b"", times: int = 2) -> None:
        self.command = command
        self.before = before
        self.times = times
        self.sent: list[bytes] = []

    async def serve(self, peer: Peer) -> None:
        await peer.welcome()
        while True:
            command = await peer.read()
            if not command.startswith(self.command):
                peer.write(result(b"1") if b"SELECT" in command else packet(OK))
                continue
            sequence = 1
            peer.write(self.before)
            sequence += self.before.count(b"\0\0\x0a") if self.before else 0
            for _ in range(self.times):
                peer.write(packet(ASK, sequence % 256))
                self.sent.append(await peer.read())
                sequence += 2
            peer.write(packet(OK, sequence % 256))


COMMANDS = {
    "ping": (b"\x0e", lambda raw: raw.ping(reconnect=False)),
    "begin": (b"\x03BEGIN", lambda raw: raw.begin()),
    "commit": (b"\x03COMMIT", lambda raw: raw.commit()),
    "use": (b"\x02", lambda raw: raw.select_db("other")),
    "select": (b"\x03SELECT 7", lambda raw: raw.query("SELECT 7")),
    "set autocommit": (b"\x03SET", lambda raw: raw.autocommit(False)),
    "warnings": (b"\x03SHOW", lambda raw: raw.show_warnings()),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("times", [1, 2, 300])
async def test_any_command_may_be_answered_with_questions_for_files(name: str, times: int) -> None:
    command, run = COMMANDS[name]
    asker = Asker(command, times=times)
    async with fake_server(asker.serve) as arguments, sa.connect(**arguments) as raw:
        with pytest.raises(err.OperationalError, match="asked for '/etc/passwd'"):
            await asyncio.wait_for(run(raw), 5)

        assert await asyncio.wait_for(raw.query("SELECT 1"), 5) == 1
    assert asker.sent == [b""] * times


async def test_reset_answered_with_questions_for_files_closes_the_connection() -> None:
    asker = Asker(b"\x1f")
    async with fake_server(asker.serve) as arguments, sa.connect(**arguments) as raw:
        with pytest.raises(err.OperationalError, match="asked for '/etc/passwd'"):
            await asyncio.wait_for(raw.reset(), 5)

        assert raw.closed


async def test_question_for_a_file_behind_a_result_is_refused() -> None:
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.answer(packets(MORE, MORE, ASK))
        sent.append(await peer.read())
        peer.write(packets(MORE, ASK, first=5))
        sent.append(await peer.read())
        peer.write(packet(OK, 8))
        await peer.answer(result(b"next"))

    async with connected(script) as raw:
        with pytest.raises(err.OperationalError, match="asked for '/etc/passwd'"):
            await asyncio.wait_for(raw.query("SELECT 1"), 5)

        assert await asyncio.wait_for(raw.query("SELECT 2"), 5) == 1
    assert sent == [b"", b""]


async def test_error_behind_a_question_for_a_file_is_not_the_statements() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packet(ASK))
        await peer.read()
        peer.write(packet(error(1064, "syntax"), 3))
        await peer.answer(result(b"next"))

    async with connected(script) as raw:
        with pytest.raises(err.OperationalError, match="asked for '/etc/passwd'"):
            await asyncio.wait_for(raw.query("SELECT 1"), 5)

        assert await raw.query("SELECT 2") == 1


@pytest.mark.parametrize("allowed", [True, False], ids=["allowed", "refused"])
async def test_server_that_asks_out_of_turn_loses_its_client(tmp_path: Path, allowed: bool) -> None:
    path = tmp_path / "rows"
    path.write_text("1,a\n")
    ask = b"\xfb" + str(path).encode()

    async def script(peer: Peer) -> None:
        await peer.answer(packet(ask))
        peer.write(packet(ask, 2) + packet(ask, 3))
        await peer.read()
        await peer.read()
        await peer.read()

    async with connected(script, local_infile=allowed) as raw:
        with pytest.raises(err.OperationalError, match="2027, .*out of turn|2013|asked for"):
            await asyncio.wait_for(raw.query("SELECT 1"), 5)

        assert raw.closed
        assert not raw.busy


@pytest.mark.parametrize("times", [1, 3])
async def test_questions_for_files_cost_an_abandoned_statement_no_place(times: int) -> None:
    asker = Asker(b"\x03SELECT 7", times=times)
    async with (
        fake_server(asker.serve) as arguments,
        sa.create_engine(**arguments, maxsize=1) as engine,
    ):
        conn = await engine.acquire()
        task = spawn(conn.execute("SELECT 7"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        engine.release(conn)

        async with await asyncio.wait_for(engine.acquire(), 5) as conn:
            assert await conn.scalar("SELECT 1") == "1"
    assert asker.sent == [b""] * times


async def test_server_that_asks_without_end_costs_the_time_given_and_no_place() -> None:
    asker = Asker(b"\x03SELECT 7", times=1 << 30)
    async with (
        fake_server(asker.serve) as arguments,
        sa.create_engine(**arguments, maxsize=1) as engine,
    ):
        async with engine.acquire() as conn:
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute("SELECT 7", timeout=0.3)

        async with await asyncio.wait_for(engine.acquire(), 8) as conn:
            assert await conn.scalar("SELECT 1") == "1"
