"""The driver's connections on a real server: transports, authentication, arguments, state."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiomysql
import pymysql
import pytest
from fakes import proxy, without_deprecate_eof
from private_server import Certificates
from pymysql import err
from pymysql.constants import CLIENT, FIELD_TYPE, SERVER_STATUS
from sqlalchemy import Column, MetaData, String, Table, text

import aiomysqlx
from aiomysqlx.wire.options import CONNECT, LocalInfile

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
USER = "aiomysqlx_user"
DEPRECATED = pytest.mark.filterwarnings("ignore:.*PROCESSLIST.* is deprecated")


async def value(connection: aiomysqlx.Connection, sql: str, *args: Any) -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(sql, args or None)
        row = await cursor.fetchone()
    return row[0] if row else None


async def connected_value(kwargs: Kwargs, sql: str, **more: Any) -> Any:
    async with aiomysqlx.connect(**{**kwargs, **more}) as connection:
        return await value(connection, sql)


# -- transports


async def test_tcp_connects(connect_kwargs: Kwargs) -> None:
    assert await connected_value(connect_kwargs, "SELECT 1") == 1


async def test_unix_socket_connects(connect_kwargs: Kwargs, unix_socket: str) -> None:
    async with aiomysqlx.connect(**connect_kwargs, unix_socket=unix_socket) as connection:
        assert await value(connection, "SELECT 1") == 1
        assert connection.get_host_info() == f"Localhost via UNIX socket: {unix_socket}"


def client_context(tls: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(tls.ca))


async def test_tls_connects_with_a_verified_certificate(
    connect_kwargs: Kwargs, tls: Certificates
) -> None:
    async with aiomysqlx.connect(**connect_kwargs, ssl=client_context(tls)) as connection:
        async with connection.cursor() as cursor:
            await cursor.execute("SHOW SESSION STATUS LIKE 'Ssl_cipher'")
            assert (await cursor.fetchone())[1]
        text = "x" * 300_000
        assert await value(connection, "SELECT %s", text) == text


async def test_tls_of_another_authority_is_refused(
    connect_kwargs: Kwargs, tls: Certificates
) -> None:
    with pytest.raises(err.OperationalError, match="2026") as caught:
        await aiomysqlx.connect(**connect_kwargs, ssl=ssl.create_default_context())

    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_tls_of_another_host_is_refused(connect_kwargs: Kwargs, tls: Certificates) -> None:
    async with proxy(connect_kwargs, host="127.0.0.2") as kwargs:
        with pytest.raises(err.OperationalError, match="2026") as caught:
            await aiomysqlx.connect(**kwargs, ssl=client_context(tls))

    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_unknown_host_is_an_operational_error(connect_kwargs: Kwargs) -> None:
    with pytest.raises(err.OperationalError, match=r"2003, .*connect to MySQL server on 'no.such"):
        await aiomysqlx.connect(**{**connect_kwargs, "host": "no.such.host.invalid"})


async def test_port_that_nobody_listens_on_is_an_operational_error(connect_kwargs: Kwargs) -> None:
    listener = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()

    with pytest.raises(err.OperationalError, match="2003"):
        await aiomysqlx.connect(**{**connect_kwargs, "port": port})


async def test_missing_unix_socket_is_an_operational_error(
    connect_kwargs: Kwargs, tmp_path: Path
) -> None:
    with pytest.raises(err.OperationalError, match="2003"):
        await aiomysqlx.connect(**connect_kwargs, unix_socket=str(tmp_path / "none"))


async def test_missing_database_is_named(connect_kwargs: Kwargs) -> None:
    with pytest.raises(err.OperationalError, match="Unknown database 'no_such_db'"):
        await aiomysqlx.connect(**{**connect_kwargs, "db": "no_such_db"})


# -- authentication


@pytest.fixture
def user(admin: Admin) -> Iterator[Any]:
    """Create a user, authenticated by a plugin; give the arguments to connect as it."""

    def create(plugin: str, password: str) -> Kwargs:
        by = "USING PASSWORD(%s)" if "MariaDB" in admin.get_server_info() else "BY %s"
        with admin.cursor() as cursor:
            cursor.execute(f"CREATE USER {USER}@'%%' IDENTIFIED WITH {plugin} {by}", (password,))
            cursor.execute(f"GRANT ALL ON test_aiomysqlx.* TO {USER}@'%'")
        return {"user": USER, "password": password}

    yield create
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")


PASSWORDS = [
    pytest.param("secret", id="ASCII"),
    pytest.param("pässwörd", id="latin-1"),
    pytest.param("пароль♥", id="beyond latin-1"),
    pytest.param("", id="empty"),
]


@pytest.fixture(params=["plain TCP", "TLS"])
def authenticate(request: pytest.FixtureRequest, connect_kwargs: Kwargs, tls: Certificates) -> Any:
    """Connect as a user, over TCP with and without TLS."""
    more = {"ssl": client_context(tls)} if request.param == "TLS" else {}

    async def authenticate(kwargs: Kwargs) -> None:
        kwargs = {**connect_kwargs, **more, **kwargs}
        # The second time caching_sha2_password takes its fast path.
        for _ in range(2):
            assert (await connected_value(kwargs, "SELECT USER()")).startswith(USER)
        with pytest.raises(err.OperationalError, match=f"1045, .*denied for user '{USER}'"):
            await aiomysqlx.connect(**{**kwargs, "password": "wrong"})

    return authenticate


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("password", PASSWORDS)
async def test_native_password_authenticates(authenticate: Any, user: Any, password: str) -> None:
    await authenticate(user("mysql_native_password", password))


@pytest.mark.usefixtures("mysql_only")
@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("plugin", ["caching_sha2_password", "sha256_password"])
async def test_sha2_password_authenticates(
    authenticate: Any, user: Any, plugin: str, password: str
) -> None:
    await authenticate(user(plugin, password))


# -- arguments


async def test_read_default_file_gives_what_the_arguments_do_not(
    connect_kwargs: Kwargs, tmp_path: Path
) -> None:
    file = tmp_path / "my.cnf"
    file.write_text(
        "[client]\nhost = nowhere.invalid\n[app]\n"
        f"host = {connect_kwargs['host']}\nport = {connect_kwargs['port']}\n"
        f"user = {connect_kwargs['user']}\npassword = {connect_kwargs['password']}\n"
        f"database = {connect_kwargs['db']}\ndefault-character-set = latin1\n"
    )

    async with aiomysqlx.connect(
        read_default_file=str(file), read_default_group="app"
    ) as connection:
        assert await value(connection, "SELECT DATABASE()") == connect_kwargs["db"]
        assert await value(connection, "SELECT @@character_set_client") == "latin1"
        assert await value(connection, "SELECT %s", "é€") == "é€"


async def test_init_command_is_executed(connect_kwargs: Kwargs) -> None:
    got = await connected_value(connect_kwargs, "SELECT @x", init_command="SET @x = 42")

    assert got == 42


async def test_init_command_that_fails_fails_the_connect(connect_kwargs: Kwargs) -> None:
    with pytest.raises(err.ProgrammingError, match="1064"):
        await aiomysqlx.connect(**connect_kwargs, init_command="xyzzy")


@pytest.mark.parametrize(
    ("mode", "got"),
    [
        pytest.param("ANSI_QUOTES", "ANSI_QUOTES", id="one"),
        pytest.param(
            "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
            "STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION",
            id="list",
        ),
        pytest.param("", "", id="none"),
        pytest.param("'ANSI_QUOTES'", "ANSI_QUOTES", id="quoted"),
    ],
)
async def test_sql_mode_is_set(connect_kwargs: Kwargs, mode: str, got: str) -> None:
    assert await connected_value(connect_kwargs, "SELECT @@sql_mode", sql_mode=mode) == got


@pytest.mark.parametrize(
    ("autocommit", "expected"), [(True, 1), (False, 0), (None, 1)], ids=["on", "off", "as it is"]
)
async def test_autocommit_is_set(
    connect_kwargs: Kwargs, autocommit: bool | None, expected: int
) -> None:
    async with aiomysqlx.connect(**connect_kwargs, autocommit=autocommit) as connection:
        assert await value(connection, "SELECT @@autocommit") == expected
        assert connection.get_autocommit() is bool(expected)

        await connection.autocommit(not expected)

        assert await value(connection, "SELECT @@autocommit") == 1 - expected


@pytest.mark.parametrize("charset", ["utf8mb4", "utf8mb3", "latin1", "gbk", "sjis", "ascii"])
async def test_charset_is_that_of_the_session(connect_kwargs: Kwargs, charset: str) -> None:
    sql = "SELECT CONCAT(@@character_set_client, ' ', @@character_set_results)"

    got = await connected_value(connect_kwargs, sql, charset=charset)

    assert re.sub(r"utf8\b", "utf8mb3", got).split() == [charset, charset]


@pytest.mark.usefixtures("mariadb")
async def test_charset_that_the_server_lacks_fails_the_connect(connect_kwargs: Kwargs) -> None:
    with pytest.raises(err.OperationalError, match="Unknown character set: 'gb18030'"):
        await aiomysqlx.connect(**connect_kwargs, charset="gb18030")


async def test_program_name_that_is_too_long_is_refused(connect_kwargs: Kwargs) -> None:
    assert await connected_value(connect_kwargs, "SELECT 1", program_name="é" * 40) == 1

    with pytest.raises(aiomysqlx.ArgumentError, match="'program_name' is too long.* 65535 bytes"):
        await aiomysqlx.connect(**connect_kwargs, program_name="x" * 65500)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        pytest.param({"prot": 1}, "unknown argument 'prot'", id="unknown"),
        pytest.param({"port": "3306"}, "'port' does not take '3306'", id="port"),
        pytest.param({"port": 0}, "'port' must be from 1 to 65535, got 0", id="port 0"),
        pytest.param({"charset": "klingon"}, "unknown charset 'klingon'", id="charset"),
        pytest.param({"connect_timeout": 0}, "'connect_timeout' must be positive", id="timeout"),
        pytest.param({"max_packet": 1023}, "must be 1024 or more, got 1023", id="max_packet"),
        pytest.param({"max_packet": "1M"}, "'max_packet' does not take '1M'", id="packet as text"),
        pytest.param({"password": 5}, "'password' does not take a int", id="password"),
        pytest.param({"cursorclass": dict}, "subclass of aiomysqlx.Cursor", id="cursorclass"),
        pytest.param({"user": "\udcff"}, "no utf8 encoding", id="user"),
    ],
)
async def test_wrong_argument_is_named(
    connect_kwargs: Kwargs, argument: Kwargs, message: str
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        await aiomysqlx.connect(**{**connect_kwargs, **argument})


async def test_too_many_positional_arguments_are_refused() -> None:
    most = len(CONNECT)
    with pytest.raises(aiomysqlx.ArgumentError, match=f"at most {most} arguments, got {most + 1}"):
        await aiomysqlx.connect("h", "u", "p", "d", 3306, *[None] * (most - 4))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        pytest.param((), {"password": b"s3cret"}, id="password"),
        pytest.param((), {"init_command": b"SET PASSWORD s3cret"}, id="init_command"),
        pytest.param((), {"server_public_key": "s3cret"}, id="server_public_key"),
        pytest.param(({"password": "s3cret"},), {}, id="dictionary for the host"),
    ],
)
async def test_refusal_of_an_argument_shows_no_secret(args: Any, kwargs: Kwargs) -> None:
    with pytest.raises(aiomysqlx.ArgumentError) as caught:
        await aiomysqlx.connect(*args, **kwargs)

    assert "s3cret" not in str(caught.value)


# -- local files

ROWS = 120_000


@pytest.fixture
def numbers(tmp_path: Path) -> str:
    """A file of more than 1 MiB."""
    file = tmp_path / "numbers"
    file.write_text("".join(f"{n},{'x' * (n % 7)}\n" for n in range(ROWS)))
    assert os.path.getsize(file) > 1 << 20
    return str(file)


LOAD = "LOAD DATA LOCAL INFILE %s INTO TABLE t FIELDS TERMINATED BY ','"


async def test_local_file_is_loaded(connect_kwargs: Kwargs, numbers: str) -> None:
    async with aiomysqlx.connect(**connect_kwargs, local_infile=True) as connection:
        cursor = await connection.cursor()
        await cursor.execute("CREATE TABLE t (n INT, s VARCHAR(9))")

        assert await cursor.execute(LOAD, (numbers,)) == ROWS
        assert await value(connection, "SELECT SUM(n) FROM t") == ROWS * (ROWS - 1) // 2


async def test_missing_local_file_leaves_the_connection_usable(
    connect_kwargs: Kwargs, tmp_path: Path
) -> None:
    async with aiomysqlx.connect(**connect_kwargs, local_infile=True) as connection:
        await value(connection, "CREATE TABLE t (n INT, s VARCHAR(9))")

        for missing in (tmp_path / "none", tmp_path, "nul\0"):
            with pytest.raises(err.OperationalError, match="1017, .*find file"):
                await value(connection, LOAD, str(missing))
            assert await value(connection, "SELECT COUNT(*) FROM t") == 0


@pytest.mark.parametrize("allowed", [False, lambda _: False], ids=["server refuses", "we refuse"])
async def test_local_file_is_refused_unless_asked_for(
    connect_kwargs: Kwargs, numbers: str, allowed: LocalInfile
) -> None:
    async with aiomysqlx.connect(**connect_kwargs, local_infile=allowed) as connection:
        await value(connection, "CREATE TABLE t (n INT, s VARCHAR(9))")

        with pytest.raises(err.MySQLError, match="3948|1148|4166|local_infile"):
            await value(connection, LOAD, numbers)

        assert await value(connection, "SELECT COUNT(*) FROM t") == 0


# -- state


@pytest.fixture(params=["DEPRECATE_EOF", "with EOFs"])
async def either(request: pytest.FixtureRequest, connect_kwargs: Kwargs) -> Any:
    """A connection with and without DEPRECATE_EOF."""
    change = None if request.param == "DEPRECATE_EOF" else without_deprecate_eof
    async with (
        proxy(connect_kwargs, change) as kwargs,
        aiomysqlx.connect(**kwargs, client_flag=CLIENT.MULTI_STATEMENTS) as connection,
    ):
        yield connection


async def test_select_that_begins_a_transaction_is_seen(either: aiomysqlx.Connection) -> None:
    await value(either, "CREATE TABLE t (n INT) ENGINE = InnoDB")
    assert not either.get_transaction_status()

    await value(either, "SELECT * FROM t")
    assert either.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS

    await either.rollback()
    assert not either.get_transaction_status()


async def test_warnings_are_counted_and_shown(either: aiomysqlx.Connection) -> None:
    with pytest.warns(err.Warning, match="Truncated incorrect"):
        await value(either, "SELECT 1 + 'x'")

    async with either.cursor() as cursor:
        with pytest.warns(err.Warning, match="Truncated incorrect"):
            await cursor.execute("SELECT 1 + 'x'")
        assert cursor.warning_count == 1
    ((level, code, _),) = await either.show_warnings()
    assert (level, code) == ("Warning", 1292)


async def test_counts_outlive_the_look_at_the_warnings(either: aiomysqlx.Connection) -> None:
    await either.query("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, s VARCHAR(2))")
    await either.query("SET sql_mode = ''")

    async with either.cursor() as cursor:
        with pytest.warns(err.Warning, match="truncated"):
            await cursor.execute("INSERT INTO t (s) VALUES ('long'), ('ok')")

    assert (either.insert_id(), either.affected_rows(), either.warning_count) == (1, 2, 1)


async def _cursor(conn: aiomysqlx.SAConnection, method: str, *args: Any) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await getattr(cursor, method)(*args)


async def _block(conn: aiomysqlx.SAConnection) -> None:
    async with conn.execute("SELECT 1 + 'x'"):
        pass


WARNED: dict[str, Callable[[aiomysqlx.SAConnection], Awaitable[Any]]] = {
    "cursor": lambda conn: _cursor(conn, "execute", "SELECT 1 + 'x'"),
    "executemany": lambda conn: _cursor(conn, "executemany", "SELECT 1 + %s", ["x"]),
    "text": lambda conn: _awaited(conn.execute("SELECT 1 + 'x'")),
    "construct": lambda conn: _awaited(conn.execute(text("SELECT 1 + 'x'"))),
    "scalar": lambda conn: _awaited(conn.scalar("SELECT 1 + 'x'")),
    "block": _block,
}


async def _awaited(awaitable: Awaitable[Any]) -> None:
    await awaitable


@pytest.mark.parametrize("execute", WARNED.values(), ids=WARNED)
async def test_warning_is_issued_at_the_place_of_the_execute(
    conn: aiomysqlx.SAConnection, execute: Callable[[aiomysqlx.SAConnection], Awaitable[Any]]
) -> None:
    with pytest.warns(err.Warning) as issued:
        await execute(conn)

    assert [warning.filename for warning in issued] == [__file__]


_PLUS = text("SELECT 1 + :x")


async def _iterated(conn: aiomysqlx.SAConnection) -> None:
    async for _ in conn.execute(_PLUS, x="x"):
        pass


async def _again(conn: aiomysqlx.SAConnection) -> None:
    for _ in range(3):
        await conn.execute(_PLUS, x="x")


WARNED_MORE: dict[str, tuple[int, Callable[[aiomysqlx.SAConnection], Awaitable[Any]]]] = {
    "construct again": (3, _again),
    "construct for many": (
        2,
        lambda conn: _awaited(conn.execute(_PLUS, [{"x": "x"}, {"x": "y"}])),
    ),
    "text for many": (
        2,
        lambda conn: _awaited(conn.execute("SELECT 1 + %s", [("x",), ("y",)])),
    ),
    "insert": (1, lambda conn: _awaited(conn.execute(short.insert(), {"s": "long"}))),
    "insert of many": (
        2,
        lambda conn: _awaited(conn.execute(short.insert(), [{"s": "long"}, {"s": "longer"}])),
    ),
    "update": (1, lambda conn: _awaited(conn.execute(short.update().values(s="long")))),
    "async for": (1, _iterated),
}
short = Table("short", MetaData(), Column("s", String(2)))


@pytest.mark.parametrize(("count", "execute"), WARNED_MORE.values(), ids=WARNED_MORE)
async def test_warnings_of_every_kind_of_execute_are_issued_at_its_place(
    conn: aiomysqlx.SAConnection,
    count: int,
    execute: Callable[[aiomysqlx.SAConnection], Awaitable[Any]],
) -> None:
    await conn.execute("CREATE TABLE short (s VARCHAR(2))")
    await conn.execute("INSERT INTO short VALUES ('ok')")
    await conn.execute("SET sql_mode = ''")

    with pytest.warns(err.Warning, match="[Tt]runcated") as issued:
        await execute(conn)

    assert [warning.filename for warning in issued] == [__file__] * count


async def test_warning_that_is_an_error_leaves_the_connection_usable(
    conn: aiomysqlx.SAConnection,
) -> None:
    for _ in range(3):
        with pytest.raises(err.Warning, match="Truncated"):
            await conn.execute(_PLUS, x="x")

        assert await conn.scalar(_PLUS, x=1) == 2


async def test_counts_are_those_of_the_last_statement(either: aiomysqlx.Connection) -> None:
    await either.query("CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, n INT)")
    assert await either.query("INSERT INTO t (n) VALUES (1), (1), (2)") == 3
    assert (either.affected_rows(), either.insert_id()) == (3, 1)

    # Rows changed, not those found.
    assert await either.query("UPDATE t SET n = 2 WHERE n < 9") == 2
    assert await either.query("SELECT * FROM t") == 3


async def test_rows_found_are_counted_if_asked_for(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs, found_rows=True) as connection:
        await connection.query("CREATE TEMPORARY TABLE t (n INT)")
        await connection.query("INSERT INTO t VALUES (1), (2)")

        assert await connection.query("UPDATE t SET n = 2") == 2


async def test_statements_follow_one_another_unless_refused(connect_kwargs: Kwargs) -> None:
    assert await connected_value(connect_kwargs, "SELECT 1; SELECT 2") == 1
    with pytest.raises(err.ProgrammingError, match="1064"):
        await connected_value(connect_kwargs, "SELECT 1; SELECT 2", multi_statements=False)


async def test_engine_refuses_several_statements_and_counts_the_rows_found(
    engine: aiomysqlx.Engine,
) -> None:
    async with engine.acquire() as conn:
        await conn.execute("CREATE TEMPORARY TABLE t (n INT)")
        await conn.execute("INSERT INTO t VALUES (1)")
        assert (await conn.execute("UPDATE t SET n = 1")).rowcount == 1
        with pytest.raises(err.ProgrammingError, match="1064"):
            await conn.execute("SELECT 1; SELECT 2")


async def test_error_is_caught_by_the_connections_own_name(raw: aiomysqlx.Connection) -> None:
    with pytest.raises(raw.ProgrammingError):
        await raw.query("SELEKT")

    names = [name for name in aiomysql.Connection.__dict__ if name.endswith(("Error", "Warning"))]
    assert len(names) == 10
    for name in names:
        assert getattr(raw, name) is getattr(aiomysqlx.Connection, name) is getattr(err, name)


async def test_database_can_be_selected(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**{**connect_kwargs, "db": None}) as connection:
        await connection.select_db(connect_kwargs["db"])

        assert await value(connection, "SELECT DATABASE()") == connect_kwargs["db"]
        assert connection.db == connect_kwargs["db"]


@DEPRECATED
async def test_killed_statement_leaves_the_connection_usable(connect_kwargs: Kwargs) -> None:
    async with (
        aiomysqlx.connect(**connect_kwargs) as connection,
        aiomysqlx.connect(**connect_kwargs) as other,
    ):
        await other.query(f"SELECT GET_LOCK('{USER}', 10)")
        waiting = asyncio.create_task(
            value(connection, f"SELECT GET_LOCK('{USER}', 10) FROM (SELECT 1) AS t")
        )
        await until_waiting(other, connection.thread_id())
        await other.query(f"KILL QUERY {connection.thread_id()}")

        with contextlib.suppress(err.OperationalError):
            assert await waiting is None  # MariaDB and MySQL differ
        assert await value(connection, "SELECT 1") == 1


async def until_waiting(connection: aiomysqlx.Connection, thread: int) -> None:
    async with connection.cursor() as cursor:
        state = None
        while state != "User lock":
            await cursor.execute("SHOW PROCESSLIST")
            state = {row[0]: row[6] for row in await cursor.fetchall()}[thread]


@DEPRECATED
async def test_server_gone_in_a_statement_is_an_operational_error(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as other:
        connection = await aiomysqlx.connect(**connect_kwargs)
        await other.query(f"SELECT GET_LOCK('{USER}', 10)")
        waiting = asyncio.create_task(value(connection, f"SELECT GET_LOCK('{USER}', 10)"))
        await until_waiting(other, connection.thread_id())
        await other.kill(connection.thread_id())

        with pytest.raises(err.OperationalError, match="2013|1317|1927"):
            await waiting
        with pytest.raises(err.OperationalError, match="2013|1927"):
            await value(connection, "SELECT 1")
        assert connection.closed


async def test_ping_reconnects_if_asked_to(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        before = connection.thread_id()
        connection.close()
        with pytest.raises(err.Error, match="Already closed"):
            await connection.ping(reconnect=False)

        await connection.ping()

        assert connection.thread_id() != before
        assert await value(connection, "SELECT 1") == 1


async def test_cancelled_statement_leaves_the_connection_in_step(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        for number in range(20):
            task = asyncio.create_task(value(connection, f"SELECT {number}"))
            for _ in range(number % 5):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert await task == number

            assert await value(connection, "SELECT %s", -number) == -number


async def test_charset_of_the_connection_is_escaped_for(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs, charset="gbk") as connection:
        # In gbk the first byte of the value and a backslash are one character.
        with pytest.raises(aiomysqlx.ArgumentError, match="cannot encode"):
            await value(connection, "SELECT %s", "\udcbf' OR 1=1 -- ")

        assert connection.escape("it's") == r"'it\'s'"
        assert connection.escape_string("it's") == r"it\'s"
        assert connection.escape(b"\xbf'") == "_binary X'BF27'"


async def test_cancelled_change_of_the_charset_closes_the_connection(
    raw: aiomysqlx.Connection,
) -> None:
    task = asyncio.create_task(raw.set_charset("gbk"))
    while not raw.busy:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert raw.closed


async def test_charset_that_is_set_is_told(raw: aiomysqlx.Connection) -> None:
    await raw.set_charset("latin1")

    assert raw.charset == raw.character_set_name() == "latin1"


async def test_empty_charset_is_refused(raw: aiomysqlx.Connection) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="charset"):
        await raw.set_charset("")

    assert await value(raw, "SELECT %s", "é") == "é"


async def test_own_converters_are_used(connect_kwargs: Kwargs) -> None:
    shown = dict.fromkeys((FIELD_TYPE.LONG, FIELD_TYPE.LONGLONG), "n={}".format)
    conv = {**pymysql.converters.decoders, **shown}

    async with aiomysqlx.connect(**connect_kwargs, conv=conv) as connection:
        assert await value(connection, "SELECT CAST(7 AS SIGNED)") == "n=7"


async def test_text_is_bytes_without_use_unicode(connect_kwargs: Kwargs) -> None:
    got = await connected_value(connect_kwargs, "SELECT 'é'", charset="utf8mb4", use_unicode=False)

    assert got == "é".encode()


@pytest.mark.server
async def test_time_of_last_use_is_the_loops(raw: aiomysqlx.Connection) -> None:
    loop = asyncio.get_running_loop()
    real = loop.time
    loop.time = lambda: real() + 1e6  # type: ignore[method-assign]
    try:
        await raw.query("SELECT 1")
        assert 0 <= loop.time() - raw.last_usage < 10
    finally:
        loop.time = real  # type: ignore[method-assign]


# -- what is lost at the end


@pytest.fixture
def written(admin: Admin, connect_kwargs: Kwargs) -> Iterator[str]:
    """A table to write to."""
    table = f"{connect_kwargs['db']}.written"
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {table} (n INT) ENGINE=InnoDB")
        yield table
        cursor.execute(f"DROP TABLE {table}")


@pytest.mark.parametrize("end", ["close", "ensure_closed", "block"])
async def test_rows_that_a_closed_connection_loses_are_warned_of(
    connect_kwargs: Kwargs, written: str, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await aiomysqlx.connect(**connect_kwargs, autocommit=False)
    await connection.query(f"INSERT INTO {written} VALUES (1)")

    if end == "block":
        async with connection:
            pass
    elif end == "close":
        connection.close()
    else:
        await connection.ensure_closed()
    connection.close()

    (record,) = caplog.records
    assert (record.name, record.levelname) == ("aiomysqlx.pool", "WARNING")
    lost = (
        "rolled back what was left uncommitted on a connection opened at .*test_driver.py:[0-9]+:"
        " commit.*"
    )
    assert re.fullmatch(lost, record.getMessage())


@pytest.mark.parametrize(
    "last",
    [
        *("BEGIN", "begin work ;", "/* now */ START TRANSACTION", "-- now\nCOMMIT AND CHAIN"),
        *("ROLLBACK AND CHAIN", "ROLLBACK WORK AND CHAIN"),
    ],
)
async def test_rows_that_are_not_of_the_latest_transaction_are_not_warned_of(
    connect_kwargs: Kwargs, written: str, last: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiomysqlx.connect(**connect_kwargs, autocommit=False) as connection:
        await connection.query(f"INSERT INTO {written} VALUES (1)")
        await (connection.begin() if last == "BEGIN" else connection.query(last))
        assert connection._session.in_transaction
    kept = None if last.startswith("ROLLBACK") else 1
    assert await connected_value(connect_kwargs, f"SELECT n FROM {written}") == kept
    assert caplog.records == []

    async with aiomysqlx.connect(**connect_kwargs, autocommit=False) as connection:
        await connection.query(f"INSERT INTO {written} VALUES (1)")
        await connection.query(last)
        await connection.query(f"INSERT INTO {written} VALUES (2)")
        await connection.query("SAVEPOINT a")
        await connection.query("ROLLBACK WORK TO a")
        await connection.query("SELECT 'BEGIN'")
    assert len(caplog.records) == 1


async def test_rows_that_are_prepared_are_not_warned_of(
    connect_kwargs: Kwargs, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        await connection.query("XA START 'kept'")
        await connection.query(f"INSERT INTO {written} VALUES (1)")
        await connection.query("XA END 'kept'")
        lost = [connection._session.wrote]
        await connection.query("XA PREPARE 'kept'")
        lost.append(connection._session.wrote)
        await connection.query("XA COMMIT 'kept'")
    assert lost == [True, False]
    assert caplog.records == []


@pytest.mark.parametrize("last", ["COMMIT", "ROLLBACK", "SELECT 1"])
async def test_connection_that_loses_nothing_is_closed_without_a_word(
    connect_kwargs: Kwargs, written: str, last: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiomysqlx.connect(**connect_kwargs, autocommit=False) as connection:
        if last != "SELECT 1":
            await connection.query(f"INSERT INTO {written} VALUES (1)")
        await connection.query(last)

    assert caplog.records == []


@pytest.mark.parametrize("text", ["COMMIT", "ANALYZE TABLE {}", "SELECT 1; COMMIT"])
@pytest.mark.parametrize("end", ["close", "ensure_closed", "release"])
async def test_rows_that_a_closed_connection_may_have_committed_are_not_called_lost(
    connect_kwargs: Kwargs, written: str, end: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with aiomysqlx.create_pool(**connect_kwargs, autocommit=False) as pool:
        pooled = end == "release"
        connection = await (pool.acquire() if pooled else aiomysqlx.connect(**connect_kwargs))
        await connection.query(f"INSERT INTO {written} VALUES (1)")
        task = asyncio.create_task(connection.query(text.format(written)))
        await asyncio.sleep(0)
        if pooled:
            await pool.release(connection)
        elif end == "close":
            connection.close()
        else:
            await connection.ensure_closed()
        with pytest.raises(err.OperationalError, match="closed during query"):
            await task

    (record,) = caplog.records
    told = r"what was left .* at \S+ was committed or rolled back: .*, look for its work before .*"
    assert re.fullmatch(told, record.getMessage())


async def test_rollback_that_a_close_cuts_off_loses_nothing_unasked(
    connect_kwargs: Kwargs, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await aiomysqlx.connect(**connect_kwargs, autocommit=False)
    await connection.query(f"INSERT INTO {written} VALUES (1)")
    task = asyncio.create_task(connection.rollback())
    await asyncio.sleep(0)
    connection.close()

    with pytest.raises(err.OperationalError, match="closed during query"):
        await task
    assert caplog.records == []


async def test_rows_that_no_statement_under_way_commits_are_called_lost(
    connect_kwargs: Kwargs, written: str, caplog: pytest.LogCaptureFixture
) -> None:
    connection = await aiomysqlx.connect(**connect_kwargs, autocommit=False)
    await connection.query(f"INSERT INTO {written} VALUES (1)")
    task = asyncio.create_task(connection.query("SELECT 1"))
    await asyncio.sleep(0)
    connection.close()

    with pytest.raises(err.OperationalError, match="closed during query"):
        await task
    assert [record.getMessage().partition(" a ")[0] for record in caplog.records] == [
        "rolled back what was left uncommitted on"
    ]


async def test_connection_may_be_closed_in_another_thread(connect_kwargs: Kwargs) -> None:
    loop = asyncio.get_running_loop()
    connection = await aiomysqlx.connect(**connect_kwargs)
    waiting = asyncio.ensure_future(connection.query("SELECT SLEEP(30)"))
    while not connection.busy:
        await asyncio.sleep(0)
    started = loop.time()

    threading.Timer(0.05, connection.close).start()  # an executor would wake the loop

    with pytest.raises(err.OperationalError, match="the connection was closed during query"):
        await asyncio.wait_for(waiting, 10)
    assert connection.closed
    assert loop.time() - started < 5
