"""Logging in: what is answered to the server's plugins, and what the response to a greeting has."""

from __future__ import annotations

import asyncio
import gc
import os
import ssl
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha1, sha256
from typing import Any

import pytest
from fakes import (
    CAPABILITIES,
    DEPRECATE_EOF,
    EOF,
    OK,
    Peer,
    column,
    error,
    fake_server,
    greeting,
    packet,
    packets,
    result,
    session,
    text,
)
from private_server import Certificates
from pymysql import err
from pymysql.constants import CLIENT, FIELD_TYPE
from sqlalchemy import literal_column, select

import aiomysqlx

pytestmark = pytest.mark.usefixtures("quiet")

Admin = Any
Kwargs = dict[str, Any]

USER = "aiomysqlx_auth"
PASSWORD = "it's sécret"
SECRET = PASSWORD.encode()
GREETED = b"12345678abcdefghijkl"  # what `greeting()` sends
NONCE = bytes(range(65, 85))
DENIED = error(1045, "Access denied")


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def native(nonce: bytes, password: bytes = SECRET) -> bytes:
    """Give what mysql_native_password makes of a password."""
    stage = sha1(password).digest()
    return xor(stage, sha1(nonce + sha1(stage).digest()).digest())


def fast(nonce: bytes, password: bytes = SECRET) -> bytes:
    """Give what the fast path of caching_sha2_password makes of a password."""
    stage = sha256(password).digest()
    return xor(stage, sha256(sha256(stage).digest() + nonce).digest())


class Talk:
    """A server that greets, and says one thing after the other; it keeps what it hears."""

    def __init__(self, *said: bytes, plugin: bytes = b"mysql_native_password", **kwargs: Any):
        self.said = said
        self.greeting = greeting(plugin=plugin, **kwargs)
        self.heard: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        peer.write(packet(self.greeting, 0))
        number = 2
        for payload in self.said:
            self.heard.append(await peer.read())
            peer.write(packet(payload, number))
            number += 2
        await peer.answer(session(CAPABILITIES))
        await peer.read()


async def log_in(script: Callable[[Peer], Awaitable[None]], **kwargs: Any) -> None:
    async with fake_server(script) as arguments:
        connection = await asyncio.wait_for(aiomysqlx.connect(**{**arguments, **kwargs}), 5)
        await connection.ensure_closed()


def flags(response: bytes) -> int:
    return int.from_bytes(response[:4], "little")


# -- switches


@pytest.mark.parametrize("end", [b"\0", b""], ids=["NUL", "no NUL"])
@pytest.mark.parametrize("nonce", [NONCE, NONCE[:19] + b"\0"], ids=["text", "NUL at its end"])
@pytest.mark.parametrize(
    ("plugin", "answer"), [(b"caching_sha2_password", fast), (b"mysql_native_password", native)]
)
async def test_nonce_of_a_switch_has_twenty_bytes(
    plugin: bytes, answer: Callable[[bytes], bytes], nonce: bytes, end: bytes
) -> None:
    server = Talk(b"\xfe" + plugin + b"\0" + nonce + end, OK, plugin=b"something_else")

    await log_in(server, password=PASSWORD)

    assert server.heard[1] == answer(nonce)


async def test_server_that_only_has_the_fast_path_lets_in_after_a_switch() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        answer = await peer.answer(packet(b"\xfecaching_sha2_password\0" + NONCE + b"\0", 2))
        answer = await peer.read()
        known = packet(b"\x01\x03", 4) + packet(OK, 5)
        peer.write(known if answer == fast(NONCE) else packet(DENIED, 4))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    await log_in(script, password=PASSWORD)


async def test_plugin_of_the_greeting_is_answered_with_the_response() -> None:
    server = Talk(OK, plugin=b"caching_sha2_password")

    await log_in(server, password=PASSWORD)

    assert fast(GREETED) in server.heard[0]
    assert b"caching_sha2_password\0" in server.heard[0]


async def test_plugin_of_the_user_is_the_one_that_is_answered() -> None:
    server = Talk(OK, plugin=b"mysql_native_password")

    await log_in(server, password=PASSWORD, auth_plugin="caching_sha2_password")

    answer = fast(GREETED)
    assert bytes((len(answer),)) + answer + b"caching_sha2_password\0" in server.heard[0]


async def test_server_that_greets_with_an_unknown_plugin_may_switch() -> None:
    server = Talk(
        b"\xfemysql_native_password\0" + NONCE + b"\0", OK, plugin="größer".encode("latin1")
    )

    await log_in(server, password=PASSWORD)

    assert server.heard[1] == native(NONCE)


async def test_plugin_that_there_is_none_of_is_named() -> None:
    with pytest.raises(err.OperationalError, match="2059, .* plugin 'dialog', .*caching_sha2"):
        await log_in(Talk(b"\xfedialog\0Password: "), password=PASSWORD)


async def test_server_may_switch_once() -> None:
    switch = b"\xfemysql_native_password\0" + NONCE + b"\0"
    server = Talk(switch, switch, OK)

    with pytest.raises(err.OperationalError, match="2027"):
        await log_in(server, password=PASSWORD)

    assert len(server.heard) == 2


# -- what the response has


@pytest.mark.parametrize("flag", [1 << bit for bit in range(32) if bit not in (9,)], ids=hex)
async def test_response_has_nothing_that_is_not_offered(flag: int) -> None:
    offered = (CAPABILITIES | CLIENT.LOCAL_FILES | CLIENT.MULTI_STATEMENTS) & ~flag
    server = Talk(OK, capabilities=offered)

    await log_in(
        server, local_infile=True, client_flag=CLIENT.MULTI_STATEMENTS | CLIENT.INTERACTIVE
    )

    assert flags(server.heard[0]) & ~offered == 0


async def test_server_from_before_mysql_4_1_is_refused() -> None:
    with pytest.raises(err.OperationalError, match="2007, .*before MySQL 4.1"):
        await log_in(Talk(OK, capabilities=CAPABILITIES & ~CLIENT.PROTOCOL_41))


async def test_database_is_chosen_where_the_response_cannot_name_it() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(CAPABILITIES & ~CLIENT.CONNECT_WITH_DB), 0))
        heard.append(await peer.answer(packet(OK, 2)))
        heard.append(await peer.answer(packet(OK)))
        heard.append(await peer.answer(session(CAPABILITIES)))
        await peer.read()

    await log_in(script, db="dictionary")

    assert b"dictionary" not in heard[0]
    assert heard[1] == b"\x02dictionary"
    assert b"max_allowed_packet" in heard[2]


# -- errors


@pytest.mark.parametrize("number", [0, 2, 9])
async def test_error_that_answers_the_login_keeps_its_reason(number: int) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(error(1040, "Too many connections"), number))

    with pytest.raises(err.OperationalError) as caught:
        await log_in(script)

    assert caught.value.args == (1040, "Too many connections")


# -- servers that do not know the session


VARIED = {
    "an error": packet(error(1064, "syntax error", "42000")),
    "the error of ProxySQL's admin": packet(error(1045, "ProxySQL Admin Error: near", "28000")),
    "the error of ClickHouse": packet(error(47, "Unknown identifier", "00000")),
    "the error of Doris": packet(error(1105, "errCode = 2, detailMessage = Unknown function")),
    "no result": packet(OK),
    "no rows": packets(b"\x01", column(), EOF, EOF),
    "one column": result(b"16777216"),
    "no number": packets(b"\x02", column(), column(), EOF, b"\x01x\x07utf8mb4", EOF),
    "NULL": packets(b"\x06", *6 * [column()], EOF, 6 * b"\xfb", EOF),
    "NULL and zero": packets(b"\x06", *6 * [column()], EOF, b"\x010" + 5 * b"\xfb", EOF),
    "empty": packets(b"\x06", *6 * [column()], EOF, 6 * b"\0", EOF),
    "many columns": packets(b"\x14", *20 * [column()], EOF, 20 * b"\x01x", EOF),
    "no text": packets(b"\x02", column(), column(), EOF, b"\x0216\x02\xff\xfe", EOF),
    "infinity": packets(
        *(b"\x02", column(b"a", FIELD_TYPE.DOUBLE), column(), EOF),
        *(text(b"1e999") + text(b"utf8mb4"), EOF),
    ),
}


@pytest.mark.parametrize("names", [OK, error(1064, "what?")], ids=["SET NAMES", "no SET NAMES"])
@pytest.mark.parametrize("answer", VARIED.values(), ids=VARIED)
async def test_server_that_does_not_know_its_session_lets_in(answer: bytes, names: bytes) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(OK, 2))
        await peer.answer(answer)
        while True:
            heard.append(await peer.read())
            peer.write(packet(names if b"NAMES" in heard[-1] else OK))

    async with (
        fake_server(script) as arguments,
        aiomysqlx.connect(**arguments) as connection,
    ):
        await connection.query("DO 1")
        assert connection.max_allowed_packet == 1 << 24
        assert connection.encoding == "utf8"

    known = answer in (VARIED["no number"], VARIED["infinity"])
    assert heard == [*([] if known else [b"\x03SET NAMES utf8mb4"]), b"\x03DO 1", b"\x01"]


@pytest.mark.parametrize("answer", [error(47, "Unknown identifier"), OK], ids=["error", "nothing"])
@pytest.mark.parametrize("more", [{}, {"kill_on_cancel": True}], ids=["bare", "kill_on_cancel"])
async def test_engine_works_on_a_server_that_does_not_know_its_session(
    more: Kwargs, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(version=b"24.8.4.13-ClickHouse"), 0))
        await peer.answer(packet(OK, 2))
        while command := await peer.read():
            if b"@@" in command:
                peer.write(packet(answer))
            else:
                peer.write(result(b"5") if b"SELECT" in command else packet(OK))

    async with (
        fake_server(script) as arguments,
        aiomysqlx.create_engine(**arguments, **more, maxsize=1) as engine,
    ):
        for _ in range(3):
            async with engine.acquire() as connection:
                assert await connection.scalar(select(literal_column("5"))) == "5"
        assert engine.stats().opened == 1


@pytest.mark.parametrize("given", [{"charset": "gbk"}, {"collation": "utf8mb4_bin"}], ids=str)
async def test_charset_that_a_server_neither_tells_nor_sets_is_refused(
    given: dict[str, Any],
) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(OK, 2))
        await peer.answer(packet(error(1064, "what?")))
        await peer.answer(packet(error(1064, "what names?")))

    with pytest.raises(err.ProgrammingError, match="1064, 'what names"):
        await log_in(script, **given)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (1820, "You must reset your password"),
        (1226, "User has exceeded a limit"),
        (1047, "WSREP has not yet prepared node for application use"),
        (1053, "Server shutdown in progress"),
        (1290, "--read-only, or so"),
    ],
)
async def test_refusal_that_is_not_of_the_question_fails_the_connect(
    code: int, message: str
) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(OK, 2))
        await peer.answer(packet(error(code, message)))
        await peer.read()

    with pytest.raises(err.OperationalError, match=f"{code}, "):
        await log_in(script)


VERSIONS = ["v8.0.33", "", "5.5.5-", "-1.0", "what", "1", "8", "8.", "5.7.44-log", "2.2.11-id64"]
VERSIONS += ["5.5.5-MariaDB", "1.2-MariaDB", "9" * 5000, "8.0.11 (ProxySQL Admin Module)"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: repr(version[:16]))
async def test_version_may_be_anything(version: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome(version=version.encode())
        await peer.answer(result(b"5"))
        await peer.read()

    async with (
        fake_server(script) as arguments,
        aiomysqlx.create_engine(**arguments) as engine,
        engine.acquire() as connection,
    ):
        assert await connection.scalar(select(literal_column("5"))) == "5"


# -- passwords that have expired


NEW = "it's n3w"


@pytest.fixture
def expired(admin: Admin, connect_kwargs: Kwargs) -> Iterator[Kwargs]:
    """The arguments that connect as a user whose password has expired."""
    mariadb = "MariaDB" in admin.get_server_info()
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")
        cursor.execute(f"CREATE USER {USER}@'%%' IDENTIFIED BY %s PASSWORD EXPIRE", (PASSWORD,))
        cursor.execute(f"GRANT ALL ON {connect_kwargs['db']}.* TO {USER}@'%'")
        if mariadb:  # as MySQL has it
            cursor.execute("SET GLOBAL disconnect_on_expired_password = ON")
        yield {**connect_kwargs, "user": USER, "password": PASSWORD}
        if mariadb:
            cursor.execute("SET GLOBAL disconnect_on_expired_password = OFF")
        cursor.execute(f"DROP USER {USER}@'%'")


async def test_expired_password_is_refused_with_the_way_in(expired: Kwargs) -> None:
    with pytest.raises(err.OperationalError) as caught:
        await aiomysqlx.connect(**expired)

    assert caught.value.args[0] == 1862
    assert "client_flag=CLIENT.HANDLE_EXPIRED_PASSWORDS" in caught.value.args[1]
    assert not aiomysqlx.is_disconnect(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"sql_mode": "ANSI", "init_command": "SET @x = 1", "autocommit": True},
        {"charset": "latin1", "kill_on_cancel": True},
    ],
    ids=["bare", "set up", "latin1"],
)
async def test_expired_password_is_changed_through_the_way_in(
    admin: Admin, expired: Kwargs, more: Kwargs
) -> None:
    mariadb = "MariaDB" in admin.get_server_info()
    change = "SET PASSWORD = PASSWORD(%s)" if mariadb else "ALTER USER USER() IDENTIFIED BY %s"
    way_in = {**expired, **more, "client_flag": CLIENT.HANDLE_EXPIRED_PASSWORDS}

    async with aiomysqlx.connect(**way_in) as connection, connection.cursor() as cursor:
        with pytest.raises(err.MySQLError, match="1820, "):
            await cursor.execute("SELECT 1")
        await cursor.execute(change, (NEW,))
        await cursor.execute("SELECT 1")

    async with aiomysqlx.connect(**{**expired, "password": NEW}) as connection:
        await connection.query("DO 1")


async def test_server_that_lets_an_expired_password_in_unasked_is_left(
    admin: Admin, expired: Kwargs
) -> None:
    if "MariaDB" in admin.get_server_info():
        with admin.cursor() as cursor:
            cursor.execute("SET GLOBAL disconnect_on_expired_password = OFF")

    with pytest.raises(err.MySQLError, match=r"18[26][02], .*HANDLE_EXPIRED_PASSWORDS"):
        await aiomysqlx.connect(**expired)


async def test_engine_lends_no_connection_of_an_expired_password(expired: Kwargs) -> None:
    with pytest.raises(err.MySQLError, match="1820, "):
        await aiomysqlx.create_engine(**expired, client_flag=CLIENT.HANDLE_EXPIRED_PASSWORDS)


# -- arguments that are refused before anything is sent


FLAGS = {
    "CONNECT_WITH_DB": 1 << 3,
    "COMPRESS": 1 << 5,
    "SSL": 1 << 11,
    "SESSION_TRACK": 1 << 23,
    "DEPRECATE_EOF": 1 << 24,
    "OPTIONAL_RESULTSET_METADATA": 1 << 25,
    "ZSTD_COMPRESSION_ALGORITHM": 1 << 26,
    "QUERY_ATTRIBUTES": 1 << 27,
    "MULTI_FACTOR_AUTHENTICATION": 1 << 28,
    "CAPABILITY_EXTENSION": 1 << 29,
    "SSL_VERIFY_SERVER_CERT": 1 << 30,
    "REMEMBER_OPTIONS": 1 << 31,
    "of 32 bits": 1 << 32,
    "of 32 bits, got -1": -1,
}


@pytest.mark.parametrize(("name", "flag"), FLAGS.items(), ids=FLAGS)
@pytest.mark.parametrize("make", [aiomysqlx.connect, aiomysqlx.create_engine])
async def test_flag_that_decides_how_packets_look_is_refused(
    make: Callable[..., Awaitable[object]], name: str, flag: int
) -> None:
    given = flag | CLIENT.MULTI_STATEMENTS if flag > 0 else flag

    with pytest.raises(aiomysqlx.ArgumentError, match=f"argument 'client_flag' .*{name}"):
        await make(port=1, client_flag=given)


async def test_flags_that_mean_something_to_the_server_are_taken() -> None:
    asked = (
        *(CLIENT.CAPABILITIES, CLIENT.FOUND_ROWS, CLIENT.NO_SCHEMA, CLIENT.ODBC),
        *(CLIENT.IGNORE_SPACE, CLIENT.INTERACTIVE, CLIENT.MULTI_STATEMENTS, CLIENT.LOCAL_FILES),
    )
    wanted = 0
    for flag in asked:
        wanted |= flag
    server = Talk(OK, capabilities=0xFFFFFFFF & ~(DEPRECATE_EOF | CLIENT.SSL))

    await log_in(server, client_flag=wanted, local_infile=True)

    assert flags(server.heard[0]) & wanted == wanted
    assert not flags(server.heard[0]) & (CLIENT.SSL | CLIENT.COMPRESS | CLIENT.CONNECT_WITH_DB)


WRONG: dict[str, tuple[Kwargs, str]] = {
    "NUL in user": ({"user": "root\0x"}, "'user' has a NUL"),
    "NUL in db": ({"db": "x\0caching_sha2_password\0\0"}, "'db' has a NUL"),
    "NUL in program_name": ({"program_name": "x\0"}, "'program_name' has a NUL"),
    "NUL in auth_plugin": ({"auth_plugin": "x\0"}, "'auth_plugin' has a NUL"),
    "NUL in unix_socket": ({"unix_socket": "/tmp/a\0b"}, "'unix_socket' has a NUL"),
    "NUL in host": ({"host": "a\0b"}, "'host' takes"),
    "plugin that is not ASCII": ({"auth_plugin": "é"}, "'auth_plugin' does not take"),
    "host with an empty label": ({"host": "a..b"}, "'host' takes"),
    "host with a long label": ({"host": "a" * 64}, "'host' takes"),
    "host with a long label of others": ({"host": "é" * 64 + ".b"}, "'host' takes"),
    "idle": ({"tcp_keepalive": (32768, 1, 1)}, "'tcp_keepalive' takes up to 32,767"),
    "interval": ({"tcp_keepalive": (1, 1 << 40, 1)}, "'tcp_keepalive' takes up to 32,767"),
    "probes": ({"tcp_keepalive": (1, 1, 128)}, "'tcp_keepalive' .* up to 127"),
    "no probes": ({"tcp_keepalive": (1, 1, 0)}, "'tcp_keepalive'"),
}


@pytest.mark.parametrize("make", [aiomysqlx.connect, aiomysqlx.create_engine])
@pytest.mark.parametrize(("given", "message"), WRONG.values(), ids=WRONG)
async def test_value_that_cannot_be_sent_is_refused_at_once(
    make: Callable[..., Awaitable[object]], given: Kwargs, message: str
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=message) as caught:
        await make(**{"port": 1, **given})

    assert not aiomysqlx.is_disconnect(caught.value)


async def test_longest_keepalive_is_taken(connect_kwargs: Kwargs) -> None:
    async with aiomysqlx.connect(**connect_kwargs, tcp_keepalive=(32767, 32767, 127)):
        pass


@pytest.mark.parametrize("size", [*range(230, 257), 512, 4096, 65000])
async def test_attributes_of_any_length_are_sent(connect_kwargs: Kwargs, size: int) -> None:
    async with aiomysqlx.connect(**connect_kwargs, program_name="x" * size) as connection:
        await connection.query("DO 1")


LIMITS = {
    "9.7.4": 32,
    "8.0.36-0ubuntu0.22.04.1": 32,
    "8.0.33-log": 32,
    "10.11.6-MariaDB": 128,
    "5.7.25-OceanBase-v4.2": 128,
    "": 128,
}


@pytest.mark.parametrize(("version", "most"), LIMITS.items(), ids=LIMITS)
async def test_user_whose_name_the_server_would_cut_is_refused(version: str, most: int) -> None:
    server = Talk(OK, version=version.encode())
    await log_in(server, user="ü" * most)
    assert ("ü" * most).encode() + b"\0" in server.heard[0]

    with pytest.raises(aiomysqlx.ArgumentError, match=f"{most + 1} characters, .* takes {most}"):
        await log_in(Talk(OK, version=version.encode()), user="ü" * (most + 1))


# -- what a refused TLS leaves


def untrusting(_: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context()


def without_a_cipher(tls: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-RSA-AES128-GCM-SHA256")  # and the server has an elliptic key
    return context


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Have nothing closed by the collector."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("make", [untrusting, without_a_cipher])
async def test_refused_tls_leaves_no_descriptor(
    connect_kwargs: Kwargs, tls: Certificates, make: Callable[[Certificates], ssl.SSLContext]
) -> None:
    kwargs = {**connect_kwargs, "ssl": make(tls)}

    async def refused() -> None:
        with pytest.raises(err.OperationalError, match="2026, "):
            await aiomysqlx.connect(**kwargs)
        await asyncio.sleep(0)

    await refused()  # the loop opens what it needs
    before = descriptors()
    for _ in range(5):
        await refused()

    for _ in range(100):  # the loop closes sockets in a later turn
        if descriptors() <= before:
            break
        await asyncio.sleep(0.02)
    assert descriptors() <= before


async def test_context_of_a_server_is_refused() -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="'ssl' is the context of a server"):
        await aiomysqlx.connect(ssl=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
