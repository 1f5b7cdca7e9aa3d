"""What errors say: what was expected, what came, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Peer, fake_server, packet
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, func, literal, select

import aiomysqlx as sa
from aiomysqlx.exc import NotAwaitedError

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
# What is provoked has its connection from here.
Provoke = Callable[[Any], Any]
Words = tuple[str, ...]

metadata = MetaData()
tbl = Table("tbl", metadata, Column("id", Integer, primary_key=True), Column("name", String(50)))


class Odd:
    """What no server has a type for."""


ODD = f"'{__name__}.Odd'"


async def said(provoke: Callable[[], Any]) -> BaseException:
    """Give the error that something raises, at once or when it is awaited."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any: its class is looked at
        outcome = provoke()
        if inspect.isawaitable(outcome):
            await outcome
    return caught.value


def iterate(over: Any) -> list[Any]:
    return [each for each in over]  # noqa: C416 - list() asks for a length first


def enter(block: Any) -> None:
    with block:
        pass


# -- await -----------------------------------------------------------------------------------------

ENGINE = "engine = await create_engine(…), or async with create_engine(…) as engine"
ACQUIRE = "conn = await engine.acquire(), or async with engine.acquire() as conn"
CONNECT = "connection = await connect(…), or async with connect(…) as connection"
CURSOR = "cursor = await connection.cursor(), or async with connection.cursor() as cursor"
BEGIN = "async with conn.begin(), or transaction = await conn.begin()"
EXECUTE = "result = await conn.execute(…), or async for row in conn.execute(…)"
RESULT = "async for row in result, or rows = await result.fetchall()"


@pytest.fixture
async def unawaited(
    engine: sa.Engine, conn: sa.SAConnection, raw: sa.Connection, connect_kwargs: Kwargs
) -> Any:
    """What gives things that are to be awaited, and closes them after the test."""
    with contextlib.ExitStack() as stack:
        makers: dict[str, Callable[[], Any]] = {
            ENGINE: lambda: sa.create_engine(**connect_kwargs),
            ACQUIRE: engine.acquire,
            CONNECT: lambda: sa.connect(**connect_kwargs),
            CURSOR: raw.cursor,
            BEGIN: conn.begin,
            EXECUTE: lambda: conn.execute("SELECT 1"),
        }

        def make(use: str) -> Any:
            made = makers[use]()
            stack.callback(made.close)
            return made

        yield make


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (ENGINE, "acquire"),
        (ENGINE, "dialect"),
        (ACQUIRE, "execute"),
        (CONNECT, "cursor"),
        (CURSOR, "fetchone"),
        (BEGIN, "commit"),
        (EXECUTE, "fetchall"),
        (EXECUTE, "first"),
        (EXECUTE, "rowcount"),
    ],
    ids=lambda text: text.partition(" ")[0],
)
async def test_attribute_of_what_was_not_awaited(unawaited: Any, use: str, name: str) -> None:
    not_awaited = unawaited(use)

    with pytest.raises(NotAwaitedError) as caught:
        getattr(not_awaited, name)

    assert str(caught.value) == f"it has to be awaited before {name!r} is used: {use}"
    assert isinstance(caught.value, AttributeError)
    assert isinstance(caught.value, sa.Error)
    assert not hasattr(not_awaited, name)
    assert getattr(not_awaited, name, 5) == 5


@pytest.mark.parametrize("use", [ENGINE, ACQUIRE, CONNECT, CURSOR, BEGIN, EXECUTE])
async def test_for_and_with_of_what_was_not_awaited(unawaited: Any, use: str) -> None:
    for provoke, words in (
        (iterate, f"expected await or async for, got for: {use}"),
        (enter, f"expected async with, got with: {use}"),
        (lambda each: each[0], f"it has to be awaited before [0] is used: {use}"),
    ):
        with pytest.raises(TypeError) as caught:
            provoke(unawaited(use))

        assert str(caught.value) == words
        assert type(caught.value) is NotAwaitedError


async def test_what_was_not_awaited_is_a_coroutine_still(unawaited: Any) -> None:
    execution = unawaited(EXECUTE)

    assert asyncio.iscoroutine(execution)
    assert not inspect.iscoroutine(execution)  # which has a frame and more
    assert (await (await asyncio.gather(execution))[0].scalar()) == 1


async def test_for_over_what_is_here_already(conn: sa.SAConnection, raw: sa.Connection) -> None:
    result = await conn.execute("SELECT 1")
    cursor = await raw.cursor()
    for each, use in (
        (result, RESULT),
        (result.scalars(), RESULT),
        (result.mappings(), RESULT),
        (cursor, "async for row in cursor, or rows = await cursor.fetchall()"),
    ):
        with pytest.raises(TypeError, match="^expected await or async for, got for: ") as caught:
            iterate(each)

        assert str(caught.value).endswith(use)
    assert await result.scalar() == 1


async def test_with_of_what_is_here_already(conn: sa.SAConnection, raw: sa.Connection) -> None:
    async with conn.begin() as transaction:
        for each, use in (
            (conn, "async with engine.acquire() as conn"),
            (raw, "async with connect(…) as connection"),
            (transaction, "async with conn.begin()"),
        ):
            with pytest.raises(TypeError) as caught:
                enter(each)

            assert str(caught.value) == f"expected async with, got with: {use}"
            assert not each.closed if each is not transaction else transaction.is_active


async def test_with_of_an_engine(engine: sa.Engine) -> None:
    error = await said(lambda: enter(engine))

    assert type(error) is RuntimeError
    assert str(error).startswith("expected async with, got with: ")


# -- coming in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "shown"),
    [(None, "None"), (b"mysql://u:secret@h/d", "a bytes"), (5.5, "a float"), (Odd(), f"a {ODD}")],
    ids=["None", "bytes", "float", "object"],
)
async def test_engine_of_no_url(first: Any, shown: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(first)

    expected = "expected a URL like 'mysql://user:password@host/db', or 'minsize' as an int"
    assert str(caught.value) == f"{expected}, got {shown.replace(chr(39), '')}"


async def test_socket_that_does_not_exist(tmp_path: Path) -> None:
    path = str(tmp_path / "mysql.sock")

    with pytest.raises(err.OperationalError) as caught:
        await sa.connect(unix_socket=path, user="u")

    why = "[Errno 2] No such file or directory"
    what = f"Can't connect to MySQL server through socket {path!r} ({why})"
    assert caught.value.args == (2003, what)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert sa.is_disconnect(caught.value)


async def test_socket_whose_path_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(err.OperationalError, match=r"2003.*x{200}.*(too long|Errno)"):
        await sa.connect(unix_socket=str(tmp_path / ("x" * 200)), user="u")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_port_that_nobody_listens_at(host: str) -> None:
    with pytest.raises(err.OperationalError) as caught:
        await sa.connect(host=host, port=1, user="u")

    code, what = caught.value.args
    assert code == 2003
    assert what.startswith(f"Can't connect to MySQL server on {host!r}, port 1 (")
    assert "[Errno 111] " in what
    assert sa.is_disconnect(caught.value)


async def test_host_that_has_no_address() -> None:
    with pytest.raises(err.OperationalError) as caught:
        await sa.connect(host="no-such-host.invalid", user="u")

    code, what = caught.value.args
    assert code == 2003
    assert what.startswith("Can't connect to MySQL server on 'no-such-host.invalid', port 3306 (")
    assert "[Errno -" in what
    assert what.endswith(f"{getattr(caught.value.__cause__, 'strerror')})")  # noqa: B009


async def test_server_that_does_not_answer() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError) as caught:
            await sa.connect(**arguments, connect_timeout=0.05)

    place = f"on '127.0.0.1', port {arguments['port']}"
    what = f"Can't connect to MySQL server {place} (timed out after 0.05 seconds)"
    assert caught.value.args == (2003, what)


@pytest.mark.parametrize(
    ("greeting", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "expected a MySQL server {}, got what begins with 'SSH-'"),
        (b"HTTP/1.1 400 Bad Request\r\n", "expected a MySQL server {}, got what begins with 'HTT"),
        (b"\5\0\0\0\x0b\x08\5\x1a\0", "expected 10; port 33060 is that of the X Protocol, try 330"),
    ],
    ids=["ssh", "http", "X Protocol"],
)
async def test_server_of_another_protocol(greeting: bytes, words: str) -> None:
    async def script(peer: Peer) -> None:
        peer.write(greeting)
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError) as caught:
            await sa.connect(**arguments)

    code, what = caught.value.args
    assert code == 2007
    assert words.format(f"on '127.0.0.1', port {arguments['port']}") in what
    assert not sa.is_disconnect(caught.value)


async def test_packet_of_a_login_that_is_malformed() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(b"\x0a8.0", 0))
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError) as caught:
            await sa.connect(**arguments)

    what = "Malformed packet during the handshake: a greeting has no version"
    assert caught.value.args == (2027, what)


# -- parameters ------------------------------------------------------------------------------------

WHERES: dict[str, tuple[Any, str]] = {
    "column": (lambda odd: select(tbl).where(tbl.c.name == odd), "name"),
    "alias": (lambda odd: select(tbl.c.id).where(tbl.alias().c.name == odd), "name"),
    "in": (lambda odd: select(tbl).where(tbl.c.name.in_(["a", odd])), "name"),
    "arithmetic": (lambda odd: select(tbl.c.id + odd), "id"),
    "second of two": (lambda odd: select(tbl).where(tbl.c.id > 1, tbl.c.id < odd), "id"),
    "bindparam": (lambda odd: select(tbl).where(tbl.c.id == bindparam("own", odd)), "own"),
    "function": (lambda odd: select(func.concat("a", odd)), "concat"),
    "literal": (lambda odd: select(literal(odd)), "param_1"),
    "insert": (lambda odd: tbl.insert().values(name=odd), "name"),
    "update": (lambda odd: tbl.update().values(name=odd).where(tbl.c.id == 1), "name"),
    "where of an update": (lambda odd: tbl.update().values(id=1).where(tbl.c.name == odd), "name"),
}


@pytest.mark.parametrize("case", WHERES)
async def test_refused_parameter_names_its_column(conn: sa.SAConnection, case: str) -> None:
    statement, name = WHERES[case]

    error = await said(lambda: conn.execute(statement(Odd())))

    assert type(error) is sa.ArgumentError
    assert str(error) == f"parameter {name!r}: cannot send a value of type {ODD}"


async def test_parameter_left_out_is_named(conn: sa.SAConnection) -> None:
    statement = select(bindparam("own", unique=True, required=True).label("left_out"))

    error = await said(lambda: conn.execute(statement))

    assert str(error) == "A value is required for bind parameter 'own', got none"
