"""What errors say: what was expected, what came, and what to do."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiomysql
import pymysql
import pytest
import sqlalchemy
from fakes import Peer, fake_server, packet
from pymysql import err
from pymysql.constants import CLIENT
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, func, literal, select
from sqlalchemy.dialects.mysql.pymysql import dialect as mysql_dialect
from sqlalchemy.exc import NoInspectionAvailable

import aiomysqlx as sa
from aiomysqlx.exc import NotAwaitedError
from aiomysqlx.runtime.words import brief

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
UNSENDABLE = f"cannot send a value of type {ODD}; encoders={{Odd: …}} takes a function that makes"


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

    assert isinstance(error, NotAwaitedError)
    assert isinstance(error, RuntimeError)  # as aiomysql.sa's
    assert str(error).startswith("expected async with, got with: ")


async def test_options_of_a_connection_that_were_not_awaited(conn: sa.SAConnection) -> None:
    options = conn.execution_options(warnings=False)
    use = "conn = await conn.execution_options(…)"

    with pytest.raises(NotAwaitedError) as caught:
        _ = options.execute  # type: ignore[attr-defined]

    assert str(caught.value) == f"it has to be awaited before 'execute' is used: {use}"
    assert await options is conn


async def test_option_that_a_connection_does_not_have(conn: sa.SAConnection) -> None:
    error = await said(lambda: conn.execution_options(stream_results=True))  # type: ignore[arg-type]

    assert isinstance(error, sa.ArgumentError)
    assert isinstance(error, TypeError)
    assert str(error).startswith("a connection has no execution option 'stream_results': there are")


@pytest.mark.parametrize("name", ["yield_per", "max_row_buffer"])
async def test_option_of_a_stream(conn: sa.SAConnection, name: str) -> None:
    statement = select(tbl).execution_options(stream_results=True, **{name: 0})

    error = await said(lambda: conn.execute(statement))

    assert str(error) == f"{name}: expected a positive int, got 0"


# -- coming in -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "shown"),
    [(None, "None"), (b"mysql://u:secret@h/d", "bytes"), (5.5, "float"), (Odd(), ODD)],
    ids=["None", "bytes", "float", "object"],
)
async def test_engine_of_no_url(first: Any, shown: str) -> None:
    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(first)

    expected = "expected a URL like 'mysql://user:password@host/db', or 'minsize' as an int"
    assert str(caught.value) == f"{expected}, got {shown.replace(chr(39), '')}"


def test_name_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'aiomysqlx' has no attribute 'nothing'"):
        _ = sa.nothing


MAKE_ONE = "leave it out, or make one, as sqlalchemy.dialects.mysql.pymysql.dialect()"
REFUSED_ARGUMENTS: dict[str, tuple[Kwargs, str]] = {
    "a part of a name": ({"isolation": "x"}, "did you mean 'isolation_level'?"),
    "a dialect's name": (
        {"dialect": "mysql"},
        "takes a MySQL dialect, not 'mysql': " + MAKE_ONE,
    ),
    "a dialect's class": (
        {"dialect": mysql_dialect},
        ": " + MAKE_ONE,
    ),
    "no file": ({"ssl_ca": ""}, "argument 'ssl_ca' is empty: give a value, or leave it out"),
    "a flag of files": (
        {"client_flag": CLIENT.LOCAL_FILES},
        "has CLIENT.LOCAL_FILES, which local_infile= stands for: give a folder, True or a function",
    ),
}


@pytest.mark.parametrize("case", REFUSED_ARGUMENTS)
async def test_argument_is_refused_with_what_to_do(case: str) -> None:
    arguments, words = REFUSED_ARGUMENTS[case]

    error = await said(lambda: sa.create_engine(**arguments))

    assert isinstance(error, sa.ArgumentError)
    assert str(error).endswith(words)


async def test_flag_of_files_is_taken_with_what_it_stands_for(connect_kwargs: Kwargs) -> None:
    arguments = {**connect_kwargs, "client_flag": CLIENT.LOCAL_FILES, "local_infile": True}

    async with sa.connect(**arguments) as connection:
        assert connection.client_flag & CLIENT.LOCAL_FILES


def test_certificate_without_its_key(tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")

    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(ssl_cert=path)

    why = "has no key: give its file as 'ssl_key'"
    assert str(caught.value) == f"argument 'ssl_cert' {why}: {str(path)!r}"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("port = abc", "a number from 1 to 65535"),
        ("port = 70000", "a number from 1 to 65535"),
        ("connect-timeout = soon", "a number of seconds"),
        ("host = a b", "names or addresses, with commas and no spaces between"),
        ("target-session-attrs = primary", "one of any, read-write, read-only, prefer-standby"),
        ("load-balance-hosts = yes", "one of disable, random"),
        ("default-character-set = klingon", "a charset of the server's"),
        ("get-server-public-key = maybe", "true or false"),
        ("server-public-key-path = /nowhere", "the path of a file that can be read"),
    ],
    ids=lambda text: text.partition(" = ")[::2][1] or None,
)
def test_value_in_an_option_file(tmp_path: Path, line: str, expected: str) -> None:
    path = tmp_path / "my.cnf"
    path.write_text(f"[client]\n{line}\n")
    name, _, value = line.partition(" = ")

    with pytest.raises(sa.ArgumentError) as caught:
        sa.create_engine(read_default_file=path)

    place = f"option file {str(path)!r}, line 2: option {name!r}"
    assert str(caught.value) == f"{place} does not take its value: expected {expected}"
    assert value not in str(caught.value).removeprefix(place)


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


@pytest.mark.parametrize("given", [{"ssl": True}, {"ssl_mode": "VERIFY_CA"}], ids=["ssl", "mode"])
async def test_certificate_that_does_not_verify(
    connect_kwargs: Kwargs, tls: Any, given: Kwargs
) -> None:
    with pytest.raises((err.OperationalError, sa.ArgumentError)) as caught:
        await sa.connect(**connect_kwargs, **given)

    for word in ("ssl_ca", "ssl_mode"):
        assert word in str(caught.value)
    assert "verif" in str(caught.value).lower()
    assert not sa.is_disconnect(caught.value)


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
    "key of another": (
        lambda odd: select(bindparam(literal(1).key, odd)),
        "param_1",
    ),
    "insert": (lambda odd: tbl.insert().values(name=odd), "name"),
    "update": (lambda odd: tbl.update().values(name=odd).where(tbl.c.id == 1), "name"),
    "where of an update": (lambda odd: tbl.update().values(id=1).where(tbl.c.name == odd), "name"),
}


@pytest.mark.parametrize("case", WHERES)
async def test_refused_parameter_names_its_column(conn: sa.SAConnection, case: str) -> None:
    statement, name = WHERES[case]

    error = await said(lambda: conn.execute(statement(Odd())))

    assert type(error) is sa.ArgumentError
    assert str(error) == f"parameter {name!r}: {UNSENDABLE} a str or number of it"


async def test_refused_dictionary_says_what_makes_a_text_of_it(conn: sa.SAConnection) -> None:
    statement = tbl.insert().values(id=1, name={"a": 1})

    error = await said(lambda: conn.execute(statement))

    assert str(error).startswith("parameter 'name': cannot send a value of type 'dict'; encoders=")
    assert "encoders={dict: json.dumps} takes a function" in str(error)


@pytest.mark.parametrize(
    ("encoder", "words"),
    [
        (lambda _: object(), "returned a value of type 'object', which cannot be sent"),
        (lambda odd: odd, f"returned a value of type {ODD}, which cannot be sent"),
        (lambda _: float("nan"), "returned a value that cannot be sent: expected a finite float"),
    ],
    ids=["object", "itself", "nan"],
)
async def test_encoder_that_returns_what_cannot_be_sent(
    connect_kwargs: Kwargs, encoder: Callable[[Odd], object], words: str
) -> None:
    arguments = {**connect_kwargs, "encoders": {Odd: encoder}}
    async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
        error = await said(lambda: conn.execute("SELECT %s", Odd()))

    assert type(error) is sa.ArgumentError
    assert str(error).startswith(f"parameter 1: the encoder of {__name__}.Odd {words}")


async def test_parameter_left_out_is_named(conn: sa.SAConnection) -> None:
    statement = select(bindparam("own", unique=True, required=True).label("left_out"))

    error = await said(lambda: conn.execute(statement))

    assert str(error) == "A value is required for bind parameter 'own', got none"


@pytest.mark.parametrize(
    ("sql", "parameters", "words"),
    [
        pytest.param("select %s, %s", (1,), ("expected 2", "got 1", "parameter 2"), id="too few"),
        pytest.param("select %s", (1, 2), ("got 2", "each %s takes one value"), id="too many"),
        pytest.param("x IN %s", (1, 2), ("'… IN %(ids)s', {'ids': [1, 2]}",), id="list"),
        pytest.param("x in (%s)", ((1, 2),), ("'… IN %(ids)s', {'ids': [1, 2]}",), id="group"),
        pytest.param("select %(a)s", (1,), ("'a'", "got 1 value", "by name"), id="no name"),
        pytest.param("select %(a)s", ({"b": 1},), ("'a'", "got 'b'"), id="another name"),
        pytest.param("select %s", ({"b": 1},), ("a mapping", "%(name)s"), id="a name"),
        pytest.param("select 1 % 2, %s", (1,), ("'% '", "%%"), id="percent"),
        pytest.param("select ?", (1,), ("got 1", "no %s"), id="question mark"),
    ],
)
async def test_parameters_that_do_not_fit_text(
    conn: sa.SAConnection, sql: str, parameters: tuple[Any, ...], words: Words
) -> None:
    error = await said(lambda: conn.execute(sql, *parameters))

    assert type(error) is sa.ArgumentError
    for word in words:
        assert word in str(error)


async def test_list_is_taken_as_the_words_say(conn: sa.SAConnection) -> None:
    assert await conn.scalar("SELECT 1 IN %(ids)s", {"ids": [1, 2]}) == 1


# -- syntax ----------------------------------------------------------------------------------------

SEVERAL = (
    " (several statements in one string take multi_statements=True, which is"
    " client_flag=CLIENT.MULTI_STATEMENTS: execute one at a time, or connect with it)"
)
DELIMITER = " (DELIMITER is a command of the clients, not of the server: leave it out)"
NONE_GIVEN = " (a placeholder takes a parameter, and none was given)"
SPELT = " (placeholders are %s or %(name)s in a str, :name in sqlalchemy.text())"


@pytest.mark.parametrize(
    ("sql", "hint"),
    [
        pytest.param("SELECT 1; SELECT 2", SEVERAL, id="two"),
        pytest.param("SELECT 1;\n\n  (SELECT 2)", SEVERAL, id="lines"),
        pytest.param("SET @a = 1; SET @b = 'it''s'; SET @c = 3", SEVERAL, id="three"),
        pytest.param("SELECT ';', 1;SELECT '" + "x" * 200 + "'", SEVERAL, id="long"),
        pytest.param("DELIMITER //\nSELECT 1 //", DELIMITER, id="delimiter"),
        pytest.param("SELECT %s", NONE_GIVEN, id="placeholder"),
        pytest.param("SELECT %(a)s", NONE_GIVEN, id="named placeholder"),
        pytest.param("SELECT ?", SPELT, id="question mark"),
        pytest.param("SELECT :a", SPELT, id="colon"),
        pytest.param("SELEC 1", "", id="mistake"),
        pytest.param("SELECT 1 FRM t", "", id="mistake within"),
        pytest.param("SELEC ';', 1; SELECT 2", "", id="mistake before a second one"),
        pytest.param("SELECT 1 '; SELECT 2' FROM", "", id="semicolon in a literal"),
        pytest.param("SELECT 1; , 2", "", id="no statement behind a semicolon"),
        pytest.param("SELECT 1 +", "", id="the end"),
    ],
)
async def test_hint_at_what_is_meant(conn: sa.SAConnection, sql: str, hint: str) -> None:
    error = await said(lambda: conn.execute(sql))

    assert type(error) is err.ProgrammingError
    code, message = error.args
    assert code == 1064
    assert getattr(error, "sqlstate") == "42000"  # noqa: B009 - PyMySQL 1.1 knows of none
    assert message.partition(" (")[1:] == ((" (", hint[2:]) if hint else ("", ""))
    assert message.removesuffix(hint)[-1].isdigit()  # the line


@pytest.mark.parametrize("sql", ["SELECT 1 IN (%(ids)s)", "DO 1 in ( %(ids)s )"])
async def test_hint_at_a_list_in_parentheses(conn: sa.SAConnection, sql: str) -> None:
    error = await said(lambda: conn.execute(sql, {"ids": [1, 2]}))

    assert isinstance(error, err.OperationalError | err.InternalError)
    assert error.args[0] in (1241, 4078)
    assert "a list brings its own parentheses: write IN %(name)s" in error.args[1]


async def test_hint_at_a_list_in_parentheses_of_a_pipeline(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        waits = pipe.execute("SELECT 1 IN (%(ids)s)", {"ids": [1, 2]})
        error = await said(lambda: waits)

    assert "a list brings its own parentheses: write IN %(name)s" in error.args[1]


async def test_no_hint_at_rows_that_were_written_so(conn: sa.SAConnection) -> None:
    error = await said(lambda: conn.execute("SELECT 1 IN ((1, 2))"))
    other = await said(lambda: conn.execute("SELECT (SELECT 1, 2)"))

    assert "parentheses" in str(error) and "parentheses" not in str(other)


async def test_hint_at_several_statements_that_are_taken(connect_kwargs: Kwargs) -> None:
    flag = CLIENT.MULTI_STATEMENTS
    async with sa.connect(**connect_kwargs, client_flag=flag) as raw, raw.cursor() as cursor:
        await cursor.execute("SELECT 1; SELECT 2")

        with pytest.raises(err.ProgrammingError) as caught:
            await cursor.execute("SELECT 1; SELECT 2 FROM; SELECT 3")
            await cursor.nextset()

    assert "MULTI_STATEMENTS" not in str(caught.value)


async def test_hint_at_several_statements_of_an_init_command(connect_kwargs: Kwargs) -> None:
    with pytest.raises(err.ProgrammingError) as caught:
        await sa.connect(
            **connect_kwargs,
            init_command="SET @a = 'secret'; SET @b = 'secret'",
            multi_statements=False,
        )

    assert caught.value.args[1].endswith(SEVERAL)
    assert "SET" not in str(caught.value)
    assert "secret (" in str(caught.value)  # the word of the message


# -- what SQLAlchemy's own engine is for -----------------------------------------------------------


@pytest.mark.parametrize("bind", ["engine", "conn"])
async def test_tables_created_by_sqlalchemy_itself(
    engine: sa.Engine, conn: sa.SAConnection, bind: str
) -> None:
    given = {"engine": engine, "conn": conn}[bind]
    for provoke in (metadata.create_all, metadata.drop_all, tbl.create, tbl.drop):
        with pytest.raises(sa.InvalidRequestError, match=r"await engine\.create_all\(metadata\)"):
            provoke(given)  # type: ignore[operator]


@pytest.mark.parametrize("bind", ["engine", "conn"])
async def test_reflection_by_sqlalchemy_itself(
    engine: sa.Engine, conn: sa.SAConnection, bind: str
) -> None:
    given: Any = {"engine": engine, "conn": conn}[bind]
    provokers: tuple[Callable[[], Any], ...] = (
        lambda: sqlalchemy.inspect(given),
        lambda: MetaData().reflect(given),
        lambda: MetaData().reflect(bind=given),
        lambda: Table("absent", MetaData(), autoload_with=given),
    )
    for provoke in provokers:
        with pytest.raises(sa.InvalidRequestError, match="inspect.*own engines.*mysql.pymysql"):
            provoke()
        with pytest.raises(NoInspectionAvailable):
            provoke()


# -- cursors and the connection --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (aiomysql.SSCursor, "got aiomysql.cursors.SSCursor: aiomysqlx.SSCursor does"),
        (aiomysql.SSDictCursor, "got aiomysql.cursors.SSDictCursor: aiomysqlx.SSCursor "),
        (aiomysql.DictCursor, "got aiomysql.cursors.DictCursor: aiomysqlx.DictCursor does the"),
        (pymysql.cursors.DictCursor, "got pymysql.cursors.DictCursor: aiomysqlx.DictCursor "),
        (aiomysql.Cursor, "got aiomysql.cursors.Cursor"),
        (dict, "got dict"),
        (5, "got int"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_cursor_class_of_another_package(
    raw: sa.Connection, connect_kwargs: Kwargs, cls: Any, words: str
) -> None:
    for provoke, kind, begin in (
        (lambda: raw.cursor(cls), TypeError, "Custom cursor must be subclass of Cursor"),
        (lambda: sa.connect(**connect_kwargs, cursorclass=cls), sa.ArgumentError, "argument 'curs"),
        (
            lambda: sa.create_engine(**connect_kwargs, cursorclass=cls),
            sa.ArgumentError,
            "SQLAlchemy engine does not support this cursor class",
        ),
    ):
        error = await said(provoke)

        assert type(error) is kind
        assert str(error).startswith(begin)
        assert words in str(error) or (cls == 5 and "'cursorclass' does not take 5" in str(error))


@pytest.mark.parametrize(
    "name",
    [
        *("next_result", "write_packet", "caching_sha2_password_auth", "sha256_password_auth"),
        *("_read_packet", "_read_query_result", "_execute_command", "_write_bytes"),
    ],
)
async def test_connection_has_nothing_that_breaks_the_wire(raw: sa.Connection, name: str) -> None:
    assert not hasattr(raw, name)
    assert name not in dir(raw)
    with pytest.raises(AttributeError, match=f"^'Connection' object has no attribute '{name}'"):
        getattr(raw, name)


async def test_everything_that_a_connection_has_can_be_asked_for(raw: sa.Connection) -> None:
    names = [name for name in dir(raw) if not name.startswith("_")]

    assert {"query", "cursor", "ping", "close", "literal", "thread_id"} <= {*names}
    for name in names:
        getattr(raw, name)
    assert raw.literal("it's") == r"'it\'s'"
    assert raw.get_transaction_status() is False
    assert raw.character_set_name() == "utf8mb4"
    assert dir(sa.Connection(user="u"))  # not open
    assert await raw.query("SELECT 1") == 1


# -- time ------------------------------------------------------------------------------------------


async def test_statement_out_of_time_reads_the_same_on_every_python(conn: sa.SAConnection) -> None:
    with pytest.raises(sa.StatementTimeoutError) as caught:
        await conn.execute("SELECT SLEEP(5)", timeout=0.05)

    what = "the statement took more than 0.05 seconds"
    assert caught.value.args == (3024, what)
    assert str(caught.value) == f"(3024, '{what}')"
    assert repr(caught.value) == f"StatementTimeoutError(3024, '{what}')"
    assert str(pickle.loads(pickle.dumps(caught.value))) == f"(3024, '{what}')"


async def test_connection_not_had_in_time(engine: sa.Engine) -> None:
    held = [await engine.acquire() for _ in range(5)]

    error = await said(lambda: engine.acquire(timeout=0.01))

    assert str(error) == (
        "no connection within 0.01 seconds: 5 of 5 in use, 0 more waiting:"
        " borrow for a shorter time, or raise maxsize"
    )
    for conn in held:
        engine.release(conn)


# -- values and states -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (5, "5"),
        ("x" * 101, f"'{'x' * 100}…'"),
        (Odd(), f"{__name__}.Odd"),
        (Odd, f"{__name__}.Odd"),
        (b"secret", "bytes"),
    ],
    ids=["None", "number", "long text", "object", "type", "bytes"],
)
def test_value_in_a_message_is_brief(value: object, shown: str) -> None:
    assert brief(value) == shown


@pytest.mark.parametrize(
    ("provoke", "words"),
    [
        pytest.param(
            lambda conn: conn.execute(tbl),
            ("sqlalchemy.sql.schema.Table", "select() makes"),
            id="table",
        ),
        pytest.param(
            lambda conn: conn.execute(tbl.c.id), ("Column", "select() makes"), id="column"
        ),
        pytest.param(lambda conn: conn.execute(b"SELECT 1"), ("bytes: decode()",), id="bytes"),
        pytest.param(lambda conn: conn.execute(Odd()), (f"got {__name__}.Odd",), id="object"),
        pytest.param(
            lambda conn: conn.execute(select(1).execution_options(autocommit=True)),
            ("'autocommit'", "there are", "'timeout'"),
            id="option",
        ),
        pytest.param(lambda conn: conn.connection.query(5), ("str or bytes, got 5",), id="query"),
        pytest.param(
            lambda conn: conn.connection.query([]), ("str or bytes, got list",), id="list"
        ),
        pytest.param(
            lambda conn: conn.connection.select_db(None), ("as str, got None",), id="database"
        ),
        pytest.param(
            lambda conn: sa.connect(auth_plugin="native"),
            ("'native'", "expected one of mysql_native_password, "),
            id="plugin",
        ),
        pytest.param(
            lambda conn: sa.connect(host="db.example:p"),
            ("a port that is a number",),
            id="host's port",
        ),
        pytest.param(
            lambda conn: sa.connect(host="db..example"), ("'host'", "between its dots"), id="dots"
        ),
        pytest.param(
            lambda conn: sa.create_engine("mysql://u@db..example/x"),
            ("'host'", "between its dots"),
            id="dots in a URL",
        ),
        pytest.param(lambda conn: sa.create_engine(minsize=2, maxsize=1), ("1 and 2",), id="sizes"),
        pytest.param(
            lambda conn: sa.create_engine(init=5), ("coroutine function, got 5",), id="init"
        ),
        pytest.param(
            lambda conn: sa.create_engine(init=asyncio.sleep(0)), ("do not call it",), id="called"
        ),
        pytest.param(
            lambda conn: sa.create_engine(reset="yes"), ("True or a coroutine", "'yes'"), id="reset"
        ),
        pytest.param(
            lambda conn: conn.execute("SELECT 1", timeout="1"), ("seconds, got '1'",), id="timeout"
        ),
    ],
)
async def test_refusal_says_what_was_expected_and_what_came(
    conn: sa.SAConnection, provoke: Provoke, words: Words
) -> None:
    error = await said(lambda: provoke(conn))

    assert isinstance(error, sa.ArgumentError)
    for word in words:
        assert word in str(error)
    assert " at 0x" not in str(error)


async def test_init_that_is_no_coroutine_function(connect_kwargs: Kwargs) -> None:
    def plain(conn: sa.SAConnection) -> None:
        pass

    error = await said(lambda: sa.create_engine(**connect_kwargs, init=plain))  # type: ignore[arg-type]

    assert isinstance(error, sa.ArgumentError)
    assert isinstance(error, TypeError)
    for word in ("'init'", "coroutine function", plain.__qualname__, __file__, "gave None"):
        assert word in str(error)


async def test_column_that_a_row_does_not_have(conn: sa.SAConnection) -> None:
    row: Any = await (await conn.execute("SELECT 1 AS a, 2 AS b")).first()

    for provoke in (lambda: row["c"], lambda: row.c):
        error = await said(provoke)

        assert str(error) == "Could not locate column in row for column 'c'; it has 'a' and 'b'"


async def test_column_that_a_row_has_twice(conn: sa.SAConnection) -> None:
    row: Any = await (await conn.execute("SELECT 1 AS a, 2 AS a")).first()

    for provoke in (lambda: row["a"], lambda: row.a):
        error = await said(provoke)

        assert type(error) is sa.InvalidRequestError
        assert str(error) == (
            "Ambiguous column name 'a' in result set! name each column by AS or label()"
        )


@pytest.mark.parametrize(
    ("name", "of_engine", "of_connection"),
    [
        ("connect", "acquire()", None),
        ("dispose", "wait_closed()", None),
        ("execute", "acquire()", ""),
        ("commit", None, "conn.begin()"),
        ("rollback", None, "conn.begin()"),
        ("scalars", None, "(await conn.execute(…)).scalars()"),
        ("run_sync", "create_all()", "create_all()"),
        ("executemany", None, "execute(statement, [parameters, …])"),
        ("nope", None, None),
    ],
)
async def test_method_of_sqlalchemys_own(
    engine: sa.Engine,
    conn: sa.SAConnection,
    name: str,
    of_engine: str | None,
    of_connection: str | None,
) -> None:
    for each, words in ((engine, of_engine), (conn, of_connection)):
        if words == "":
            continue  # which it has
        assert not hasattr(each, name)
        assert name not in dir(each)
        with pytest.raises(AttributeError) as caught:
            getattr(each, name)

        begin = f"'{type(each).__name__}' object has no attribute {name!r}"
        assert str(caught.value).startswith(begin)
        assert (words or "") in str(caught.value).removeprefix(begin)


async def test_connection_that_was_released(engine: sa.Engine) -> None:
    conn = await engine.acquire()
    engine.release(conn)

    error = await said(lambda: conn.execute("SELECT 1"))

    assert type(error) is sa.ResourceClosedError
    assert str(error) == "This connection is closed: it has been released, acquire another"


# -- warnings --------------------------------------------------------------------------------------


async def test_warnings_are_about_the_line_of_the_user(
    engine: sa.Engine, connect_kwargs: Kwargs
) -> None:
    line = inspect.currentframe().f_lineno  # type: ignore[union-attr]
    conn = await engine.acquire()
    raw = await sa.connect(**connect_kwargs)
    with pytest.warns(sa.ServerWarning) as issued:
        await conn.execute("SELECT CAST('x' AS SIGNED)")
    with pytest.warns(ResourceWarning) as leaked:  # noqa: PT031 - both are dropped
        del conn, raw
        gc.collect()

    places = [(warning.filename, warning.lineno - line) for warning in [*issued, *leaked]]
    assert sorted(places) == [(__file__, 1), (__file__, 2), (__file__, 4)]
    shown = [f"{__file__}:{line + 1}", f"{__file__}:{line + 2}"]
    assert sorted(str(warning.message) for warning in leaked) == [
        f"{unclosed(connect_kwargs)}, opened at {shown[1]}",
        f"a connection acquired at {shown[0]} was never released",
    ]


def unclosed(kwargs: Kwargs) -> str:
    return (
        f"Unclosed connection on {kwargs['host']!r}, port {kwargs['port']}, user"
        f" {kwargs['user']!r}, database {kwargs['db']!r}"
    )


async def test_pooled_connection_that_is_dropped_with_its_engine_says_where_it_leads(
    connect_kwargs: Kwargs,
) -> None:
    engine = await sa.create_engine(**connect_kwargs)
    with pytest.warns(ResourceWarning) as dropped:  # noqa: PT031 - as above
        del engine
        gc.collect()

    assert [str(warning.message) for warning in dropped] == [unclosed(connect_kwargs)]


def test_compiled_modules_that_do_not_load_are_told_of_at_the_import(tmp_path: Path) -> None:
    copy = copy_of_the_texts(tmp_path)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (copy / "runtime" / f"_compiled{suffix}").write_bytes(b"of another Python")
    code = """
import warnings
with warnings.catch_warnings(record=True) as issued:
    warnings.simplefilter("always")
    import aiomysqlx  # line 5
told = [warning for warning in issued if warning.category is RuntimeWarning]
print([(warning.filename, warning.lineno) for warning in told], aiomysqlx.IMPLEMENTATION)
"""
    script = tmp_path / "importing.py"
    script.write_text(code)
    environment = {**os.environ, "AIOMYSQLX_IMPL": "", "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True
    )

    assert done.stdout.strip() == f"[({str(script)!r}, 5)] python"


def copy_of_the_texts(folder: Path) -> Path:
    """Copy the package as a pure install has it, into *folder*; give where it is."""
    ignored = shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    return Path(shutil.copytree(Path(sa.__file__).parent, folder / "aiomysqlx", ignore=ignored))


def test_compiled_modules_that_are_insisted_on_and_not_built(tmp_path: Path) -> None:
    copy_of_the_texts(tmp_path)
    environment = {**os.environ, "AIOMYSQLX_IMPL": "cython", "PYTHONPATH": str(tmp_path)}

    done = subprocess.run(
        [sys.executable, "-c", "import aiomysqlx"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )

    assert done.stderr.splitlines()[-1].startswith(
        "ImportError: AIOMYSQLX_IMPL is 'cython', and there are no compiled modules of aiomysqlx"
    )
    assert "'pip install -e .' in the source tree builds them" in done.stderr
