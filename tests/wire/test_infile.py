"""LOAD DATA LOCAL: several files in one string, files that end early, servers that ask for any."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import (
    CAPABILITIES,
    OK,
    Peer,
    connected,
    error,
    fake_server,
    greeting,
    packet,
    packets,
    result,
    session,
)
from pymysql import err
from pymysql.constants import CLIENT
from watch import at_rest, check_capacity, closed_in_time, one, spawn, until

import aiomysqlx as sa
from aiomysqlx.wire import infile

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
    made = sa.create_engine(
        **connect_kwargs,
        maxsize=1,
        autocommit=True,
        local_infile=True,
        client_flag=CLIENT.MULTI_STATEMENTS,
    )
    async with closed_in_time(made) as engine:
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
    arguments = {"client_flag": CLIENT.MULTI_STATEMENTS, "local_infile": lambda _: False}
    async with sa.create_engine(**connect_kwargs, **arguments) as engine:
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
        protocol = conn.connection._session.protocol  # type: ignore[union-attr]
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
@pytest.mark.parametrize("numbers", [(2,), (2, 3)], ids=["once", "twice"])
async def test_server_that_asks_out_of_turn_loses_its_client(
    tmp_path: Path, allowed: bool, numbers: tuple[int, ...]
) -> None:
    path = tmp_path / "rows"
    path.write_text("1,a\n")
    ask = b"\xfb" + str(path).encode()

    async def script(peer: Peer) -> None:
        await peer.answer(packet(ask))
        peer.write(b"".join(packet(ask, number) for number in numbers))
        await peer.read()
        await peer.read()
        await peer.read()

    async with connected(script, local_infile=allowed) as raw:
        with pytest.raises(err.OperationalError, match="2027, .*out of turn"):
            await asyncio.wait_for(raw.query(LOAD.format(path)), 5)

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


# -- files that were not named, and such as are not allowed ----------------------------------------


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that no statement names."""
    path = tmp_path / "secret"
    path.write_text("1,secret\n")
    return path


ANSWERS: dict[str, Callable[[sa.Connection, str], Any]] = {
    "select": lambda raw, _: raw.query("SELECT 1"),
    "ping": lambda raw, _: raw.ping(reconnect=False),
    "begin": lambda raw, _: raw.begin(),
    "warnings": lambda raw, _: raw.show_warnings(),
    "load of another file": lambda raw, _: raw.query(LOAD.format("other")),
    "load of the server's file": lambda raw, path: raw.query(f"LOAD DATA INFILE '{path}'"),
    "load in a string": lambda raw, path: raw.query(f'SELECT "{LOAD.format(path)}"'),
    "load in a comment": lambda raw, path: raw.query(f"SELECT 1 /* ; {LOAD.format(path)} */"),
    "load in an executable comment": lambda raw, path: raw.query(
        f"/*!99999 {LOAD.format(path)} */"
    ),
    "second statement of one": lambda raw, path: raw.query(f"SELECT 1; {LOAD.format(path)}"),
    "same folder": lambda raw, path: raw.query(LOAD.format(os.path.dirname(path) + "/other")),
    "other spelling": lambda raw, path: raw.query(LOAD.format(path.replace("/", "//", 1))),
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("allowed", ["all", "folder", "function"])
async def test_server_gets_no_file_that_the_statement_does_not_name(
    secret: Path, name: str, allowed: str
) -> None:
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.answer(packet(b"\xfb" + str(secret).encode()))
        sent.append(await peer.read())
        peer.write(packet(OK, 3))
        await peer.answer(packet(OK))

    local_infile: Any = {"all": True, "folder": secret.parent, "function": lambda _: True}[allowed]
    async with connected(script, local_infile=local_infile) as raw:
        with pytest.raises(err.OperationalError, match="2068, .*does not name it") as caught:
            await asyncio.wait_for(ANSWERS[name](raw, str(secret)), 5)

        assert isinstance(caught.value, RuntimeError)  # as aiomysql's
        await raw.query("DO 0")
    assert sent == [b""]


@pytest.mark.parametrize("kwargs", [{}, {"kill_on_cancel": True}], ids=["session", "server"])
async def test_question_of_the_login_is_answered_with_no_file(secret: Path, kwargs: Kwargs) -> None:
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(OK, 2))
        await peer.read()
        if kwargs:
            peer.write(session(CAPABILITIES))
            await peer.read()
        peer.write(packet(b"\xfb" + str(secret).encode()))
        sent.append(await peer.read())
        peer.write(packet(OK, 3))
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError, match="2068, .*does not name it"):
            await sa.connect(**arguments, **kwargs, local_infile=True)
    assert sent == [b""]


@pytest.mark.parametrize("again", [False, True], ids=["in order", "one twice"])
async def test_server_gets_each_file_once_and_in_the_order_of_its_naming(
    files: Any, again: bool
) -> None:
    first, second = files(1, 2)
    sent: list[bytes] = []

    async def ask(peer: Peer, path: Path, sequence: int) -> int:
        peer.write(packet(b"\xfb" + str(path).encode(), sequence))
        while sent.append(await peer.read()) or sent[-1]:
            sequence += 1
        return sequence + 2

    async def script(peer: Peer) -> None:
        await peer.read()
        sequence = await ask(peer, first, 1)
        if again:
            sequence = await ask(peer, first, sequence)
        sequence = await ask(peer, second, sequence)
        peer.write(packet(OK, sequence))
        await peer.read()

    text = f"{LOAD}; {LOAD}".format(first, second)
    kwargs = {"local_infile": True, "client_flag": CLIENT.MULTI_STATEMENTS}
    async with connected(script, CAPABILITIES | CLIENT.MULTI_STATEMENTS, **kwargs) as raw:
        if again:
            with pytest.raises(err.OperationalError, match="2068, .*rows0.*does not name it"):
                await asyncio.wait_for(raw.query(text), 5)
        else:
            await asyncio.wait_for(raw.query(text), 5)

    # An empty packet is the end of each.
    contents = [b"", b""] if again else [second.read_bytes(), b""]
    assert sent == [first.read_bytes(), b"", *contents]


@pytest.mark.parametrize("lie", ["backslashes", "charset"])
async def test_what_a_server_says_meanwhile_does_not_change_what_a_statement_names(
    secret: Path, lie: str
) -> None:
    sent: list[bytes] = []
    track = b"\x14character_set_client\x03gbk"
    info = b"\0" + bytes((len(track) + 2,)) + b"\0" + bytes((len(track),)) + track
    more = {
        "backslashes": b"\0\0\0\x0a\x02\0\0",
        "charset": b"\0\0\0\x0a\x40\0\0" + info,
    }[lie]
    # What a user has entered is inside of the string for who has sent it.
    entered = {"backslashes": "\\'; {} -- ", "charset": "中\\'; {} -- "}[lie]
    load = LOAD.partition(" FIELDS")[0].replace("'", '"').format(secret)
    text = f"INSERT INTO t VALUES ('{entered.format(load)}')"

    async def script(peer: Peer) -> None:
        await peer.answer(packet(more))
        peer.write(packet(b"\xfb" + str(secret).encode(), 2))
        sent.append(await peer.read())
        peer.write(packet(OK, 4))
        await peer.read()

    capabilities = CAPABILITIES | CLIENT.MULTI_STATEMENTS | 1 << 23  # SESSION_TRACK
    kwargs = {"local_infile": True, "client_flag": CLIENT.MULTI_STATEMENTS}
    async with connected(script, capabilities, **kwargs) as raw:
        with pytest.raises(err.OperationalError, match="2068"):
            await asyncio.wait_for(raw.query(text), 5)
    assert sent == [b""]


@server
@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "socket", "link to a fifo"])
async def test_what_is_no_regular_file_is_refused_at_once(
    loader: sa.Engine, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    else:
        os.mkfifo(tmp_path / "fifo")
        path.symlink_to(tmp_path / "fifo")
    async with loader.acquire() as conn:
        with pytest.raises(err.OperationalError, match="1017, .*not a regular file"):
            await conn.execute(LOAD.format(path), timeout=5)

        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0
    assert loader.stats().closed == {}


async def test_pipe_that_takes_the_place_of_a_file_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows"
    path.write_text("1,a\n")
    check = infile._check_regular

    def swapped(status: os.stat_result) -> None:
        check(status)
        if path.is_file():
            path.unlink()
            os.mkfifo(path)

    monkeypatch.setattr(infile, "_check_regular", swapped)
    with pytest.raises(OSError, match="not a regular file"):
        await asyncio.wait_for(asyncio.to_thread(infile._open, str(path)), 5)


@server
async def test_files_that_do_not_come_leave_the_event_loops_threads_alone(
    connect_kwargs: Kwargs, loader: sa.Engine, files: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    opening, threads = infile._open, set()

    def hanging(name: str) -> Any:
        threads.add(threading.current_thread())
        goes_on.wait(20)
        return opening(name)

    monkeypatch.setattr(infile, "_open", hanging)
    (path,) = files(1)
    async with sa.create_engine(
        **connect_kwargs, maxsize=50, local_infile=True, autocommit=True
    ) as engine:

        async def load() -> None:
            async with engine.acquire() as conn:
                await conn.execute(LOAD.format(path))

        tasks = [spawn(load()) for _ in range(40)]
        await until(lambda: len(threads) == infile._MOST_READERS)

        resolved = asyncio.get_running_loop().getaddrinfo("localhost", 80)
        await asyncio.wait_for(resolved, 5)
        goes_on.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 20)

        assert len(threads) == infile._MOST_READERS
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 40


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_child_process_reads_files_in_threads_of_its_own() -> None:
    readers = infile._readers()
    readers.submit(int).result()
    pid = os.fork()
    if pid == 0:
        done = infile._readers() is not readers and infile._readers().submit(int).result(5) == 0
        os._exit(0 if done else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- what local_infile takes -----------------------------------------------------------------------


@pytest.fixture
async def load(
    connect_kwargs: Kwargs, loader: sa.Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., Any]:
    """A function that loads a file with some `local_infile`, and gives the number of rows."""
    monkeypatch.chdir(tmp_path)

    async def load(local_infile: Any, path: object) -> int:
        async with sa.connect(**connect_kwargs, local_infile=local_infile) as raw:
            return await raw.query(LOAD.format(path))

    return load


def below(tmp_path: Path) -> Path:
    folder = tmp_path / "allowed" / "below"
    folder.mkdir(parents=True)
    (folder / "rows").write_text("1,a\n2,b\n")
    (tmp_path / "outside").write_text("1,a\n")
    (tmp_path / "allowed-not").mkdir()
    (tmp_path / "allowed-not" / "rows").write_text("1,a\n")
    (folder / "link-out").symlink_to(tmp_path / "outside")
    (folder / "link-in").symlink_to(folder / "rows")
    (tmp_path / "link-in").symlink_to(folder / "rows")
    (tmp_path / "link-to-folder").symlink_to(tmp_path / "allowed")
    return tmp_path


@server
@pytest.mark.parametrize("how", ["str", "path", "relative", "through a link", "slash"])
@pytest.mark.parametrize("name", ["allowed/below/rows", "allowed/below/link-in", "link-in"])
async def test_file_in_the_folder_is_loaded(load: Any, tmp_path: Path, how: str, name: str) -> None:
    root = below(tmp_path)
    folder: Any = {
        "str": str(root / "allowed"),
        "path": root / "allowed",
        "relative": "allowed",
        "through a link": root / "link-to-folder",
        "slash": f"{root}/allowed/",
    }[how]

    assert await load(folder, root / name) == 2
    assert await load(folder, name) == 2


@server
@pytest.mark.parametrize(
    "name",
    ["outside", "allowed-not/rows", "allowed/below/link-out", "allowed/../outside", "/etc/passwd"],
)
async def test_file_out_of_the_folder_is_refused(load: Any, tmp_path: Path, name: str) -> None:
    root = below(tmp_path)

    with pytest.raises(err.OperationalError, match="2068, .*not in the folder .*allowed'"):
        await load(root / "allowed", root / name)


@server
@pytest.mark.parametrize("awaitable", [False, True], ids=["function", "coroutine function"])
async def test_function_decides(load: Any, tmp_path: Path, awaitable: bool) -> None:
    root = below(tmp_path)
    asked: list[str] = []

    def decides(name: str) -> bool:
        asked.append(name)
        return name.endswith("rows")

    async def decides_later(name: str) -> bool:
        await asyncio.sleep(0)
        return decides(name)

    local_infile = decides_later if awaitable else decides

    assert await load(local_infile, "allowed/below/rows") == 2
    with pytest.raises(err.OperationalError, match="2068, .*'outside'.*gave False, not True"):
        await load(local_infile, "outside")
    assert asked == ["allowed/below/rows", "outside"]
    assert root == tmp_path


@server
@pytest.mark.parametrize(
    "gives", [None, 1, "yes", object()], ids=lambda value: type(value).__name__
)
async def test_function_that_does_not_give_true_refuses(
    load: Any, tmp_path: Path, gives: Any
) -> None:
    below(tmp_path)

    with pytest.raises(err.OperationalError, match="2068, .*not True"):
        await load(lambda _: gives, "outside")


@server
async def test_error_of_the_function_is_the_statements(
    connect_kwargs: Kwargs, loader: sa.Engine
) -> None:
    def decides(name: str) -> bool:
        raise LookupError(f"no {name}")

    async with sa.connect(**connect_kwargs, local_infile=decides) as raw:
        with pytest.raises(LookupError, match="no outside"):
            await raw.query(LOAD.format("outside"))

        assert await raw.query("SELECT 1") == 1


@pytest.mark.parametrize("value", ["", 1, b"/tmp", None, ["/tmp"]])
def test_other_values_of_local_infile_are_refused(value: Any) -> None:
    with pytest.raises(sa.ArgumentError, match="argument 'local_infile'"):
        sa.create_engine(local_infile=value)


@server
@pytest.mark.parametrize("quotes", ["'{}'", '"{}"'], ids=["quotes", "double quotes"])
@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize("name", ["it's", 'a"b', "a\\b", "ä 日本", "a%b_c", "a;b -- c", "a\nb"])
async def test_file_of_any_name_is_loaded(
    connect_kwargs: Kwargs, loader: sa.Engine, tmp_path: Path, quotes: str, mode: str, name: str
) -> None:
    (tmp_path / name).write_text("1,a\n")
    kwargs: Kwargs = {**connect_kwargs, "charset": "utf8mb4", "sql_mode": mode}
    async with sa.connect(**kwargs, local_infile=True) as raw:
        if quotes == "'{}'":
            literal = raw.escape(str(tmp_path / name))
        else:
            text = str(tmp_path / name).replace('"', '""')
            literal = quotes.format(text if mode else text.replace("\\", "\\\\"))

        assert await raw.query(LOAD.replace("'{}'", literal)) == 1


@server
@pytest.mark.parametrize("charset", ["latin1", "gbk", "sjis", "binary"])
async def test_file_is_loaded_in_other_charsets(
    connect_kwargs: Kwargs, loader: sa.Engine, tmp_path: Path, charset: str
) -> None:
    name = {"latin1": "é", "gbk": "縗誠", "sjis": "ソ表能", "binary": "é"}[charset]
    (tmp_path / name).write_text("1,a\n")
    async with sa.connect(**connect_kwargs, charset=charset, local_infile=True) as raw:
        assert await raw.query(LOAD.format(raw.escape_string(str(tmp_path / name)))) == 1
