"""What a hostile, broken or leaving server sends, and what becomes of the connection."""

from __future__ import annotations

import asyncio
import ssl
import tracemalloc
from typing import Any

import pytest
from fakes import (
    CAPABILITIES,
    DEPRECATE_EOF,
    EOF,
    OK,
    Peer,
    column,
    connected,
    error,
    fake_server,
    greeting,
    packet,
    packets,
    result,
    session,
    text,
)
from pymysql import err
from pymysql.constants import CLIENT, FIELD_TYPE

import aiomysqlx
from aiomysqlx import driver
from aiomysqlx.wire import columns, stopping
from aiomysqlx.wire.greeting import SESSION_TRACK
from aiomysqlx.wire.opening import open_session
from aiomysqlx.wire.packets import length

pytestmark = pytest.mark.usefixtures("quiet")

NOT_OFFERED = (
    "TLS was asked for, but the server does not offer it: switch it on there, or do not ask for it"
)
MALFORMED = r"^\(2027, ['\"]Malformed packet"


async def execute(connection: aiomysqlx.Connection, sql: str = "SELECT 1") -> Any:
    async with connection.cursor() as cursor:
        await cursor.execute(sql)
        return await cursor.fetchall()


async def fails_to_connect(script: Any, **kwargs: Any) -> BaseException:
    async with fake_server(script) as arguments:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - the caller looks at it
            await asyncio.wait_for(aiomysqlx.connect(**{**arguments, **kwargs}), 5)
    return caught.value


# -- the greeting


@pytest.mark.parametrize(
    ("first", "message"),
    [
        pytest.param(packet(b"", 0), MALFORMED, id="empty"),
        pytest.param(packet(b"\x0a", 0), MALFORMED, id="protocol only"),
        pytest.param(packet(greeting()[:16], 0), MALFORMED, id="cut in the salt"),
        pytest.param(packet(greeting(version=b"\xff\xfe"), 0), MALFORMED, id="version is no text"),
        pytest.param(packet(b"\xff", 0), MALFORMED, id="error without a code"),
        pytest.param(
            packet(greeting(protocol=9), 0), "protocol version of the server is 9", id="protocol 9"
        ),
        pytest.param(
            packet(greeting(protocol=11), 0), "version of the server is 11", id="protocol 11"
        ),
        pytest.param(
            packet(greeting(protocol=0), 0), "version of the server is 0", id="protocol 0"
        ),
        pytest.param(
            packet(greeting(protocol=254), 0), "version of the server is 254", id="protocol 254"
        ),
        pytest.param(packet(greeting()[:30], 0), MALFORMED, id="cut in the capabilities"),
        pytest.param(b"\x01\0\x01\0", "2020, 'packet of 65537 bytes during", id="too long"),
        pytest.param(
            packet(error(1040, "Too many connections", "08004"), 0), "1040, 'Too many", id="error"
        ),
        pytest.param(packet(greeting(), 3), "sequence number wrong", id="sequence"),
        pytest.param(b"", "2013, .Lost connection", id="nothing"),
        pytest.param(packet(greeting(), 0)[:20], "2013, .Lost connection", id="cut"),
    ],
)
async def test_malformed_greeting_fails_the_connect(first: bytes, message: str) -> None:
    async def script(peer: Peer) -> None:
        peer.write(first)

    failure = await fails_to_connect(script)

    assert isinstance(failure, (err.OperationalError, err.InternalError))
    with pytest.raises(err.MySQLError, match=message):
        raise failure


async def test_silent_server_fails_the_connect_after_connect_timeout() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()

    failure = await fails_to_connect(script, connect_timeout=0.05)

    assert isinstance(failure, err.OperationalError)
    assert "timed out after 0.05 seconds" in failure.args[1]


async def test_server_that_falls_silent_after_its_greeting_is_timed_out() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        await peer.read()

    failure = await fails_to_connect(script, connect_timeout=0.05)

    assert isinstance(failure, err.OperationalError)
    assert "timed out" in failure.args[1]


async def test_cancelled_connect_closes_its_socket() -> None:
    gone = asyncio.Event()
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        begun.set()
        try:
            await peer.read()
        finally:
            gone.set()

    async with fake_server(script) as arguments:
        task = asyncio.create_task(driver._connect((), arguments))
        await begun.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

        await asyncio.wait_for(gone.wait(), 5)


async def test_greeting_cut_anywhere_is_a_documented_error() -> None:
    whole = greeting()

    for cut in range(len(whole)):

        async def script(peer: Peer, cut: int = cut) -> None:
            peer.write(packet(whole[:cut], 0))
            await peer.answer(b"")

        failure = await fails_to_connect(script)

        assert isinstance(failure, err.OperationalError)


# -- authentication


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(packet(b"", 2), MALFORMED, id="empty"),
        pytest.param(packet(b"\x00", 2), MALFORMED, id="short OK"),
        pytest.param(packet(b"Hello, client", 2), MALFORMED, id="garbage"),
        pytest.param(packet(b"\xfe", 2), "from before MySQL 4.1", id="switch to nothing"),
        pytest.param(packet(b"\xfemysql_old_password\0salt", 2), "MySQL 4.1", id="old password"),
        pytest.param(packet(b"\xfeno_such_plugin\0salt", 2), "2059", id="unknown plugin"),
        pytest.param(packet(b"\x01\x03", 2), "Received extra packet", id="extra"),
        pytest.param(packet(b"\xff\x15", 2), MALFORMED, id="cut error"),
        pytest.param(packet(error(1045, "Access denied"), 2), "1045", id="denied"),
        pytest.param(packet(error(1049, "Unknown database"), 2), "1049", id="database"),
        pytest.param(packet(OK, 9), "sequence number wrong", id="sequence"),
        pytest.param(b"", "2013, .Lost connection", id="nothing"),
        pytest.param(packet(OK, 2)[:6], "2013, 'Lost connection", id="cut"),
    ],
)
async def test_malformed_authentication_fails_the_connect(answer: bytes, message: str) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(answer)

    failure = await fails_to_connect(script, password="secret")

    assert isinstance(failure, (err.OperationalError, err.InternalError))
    with pytest.raises(err.MySQLError, match=message):
        raise failure


@pytest.mark.parametrize(
    "answers",
    [
        pytest.param([packet(b"\x01", 2)], id="cut result"),
        pytest.param([packet(b"\x01\x07", 2)], id="unknown result"),
        pytest.param([packet(b"\x01\x03", 2) + packet(b"\x01", 3)], id="no OK"),
        pytest.param([packet(b"\x01\x04", 2), packet(b"\x01no key", 4)], id="no public key"),
        pytest.param([packet(b"\x01\x04", 2), packet(b"\x02", 4)], id="not a key"),
    ],
)
async def test_malformed_caching_sha2_exchange_fails_the_connect(answers: list[bytes]) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=b"caching_sha2_password"), 0))
        for answer in answers:
            await peer.answer(answer)
        await peer.read()

    failure = await fails_to_connect(script, password="secret")

    assert isinstance(failure, err.OperationalError)


async def test_password_is_sent_as_utf8() -> None:
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(b"\xfemysql_clear_password\0", 2))
        sent.append(await peer.read())
        peer.write(packet(OK, 4))
        await peer.answer(session(CAPABILITIES))

    async with fake_server(script) as arguments:
        arguments["auth_plugin"] = "mysql_clear_password"
        connection = driver.Connection(**arguments, password="пароль")
        # As if it were encrypted.
        connection._session.login._check_clear_password = lambda: None  # type: ignore[method-assign]
        await open_session(connection._session)
        connection.close()

    assert sent == ["пароль\0".encode()]


@pytest.mark.parametrize("plugin", ["", "mysql_clear_password"])
async def test_clear_password_is_not_sent_over_plain_tcp(plugin: str) -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        seen.append(await peer.read())
        peer.write(packet(b"\xfemysql_clear_password\0", 2))
        seen.append(await peer.read())

    failure = await fails_to_connect(script, password="secret", auth_plugin=plugin)

    assert isinstance(failure, err.OperationalError)
    assert "clear text" in failure.args[1]
    assert b"secret" not in b"".join(seen)


async def test_tls_asked_of_a_server_without_it_is_refused_before_the_user_is_named() -> None:
    seen: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(CAPABILITIES & ~CLIENT.SSL), 0))
        seen.append(await peer.read())

    failure = await fails_to_connect(script, ssl=ssl.create_default_context())

    assert isinstance(failure, err.OperationalError)
    assert failure.args == (2026, NOT_OFFERED)
    assert seen == []


async def test_server_that_closes_after_the_handshake_fails_the_first_statement() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()

    async with fake_server(script) as arguments:
        connection = await aiomysqlx.connect(**arguments)

        with pytest.raises(err.OperationalError, match="2013"):
            await asyncio.wait_for(execute(connection), 5)

        assert connection.closed


@pytest.mark.parametrize("more", [b"", packet(b"surprise", 3)], ids=["nothing", "bytes"])
async def test_server_that_lets_in_and_leaves_fails_the_connect(more: bytes) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(OK, 2) + more)

    failure = await fails_to_connect(script)

    assert isinstance(failure, err.OperationalError)
    assert failure.args[0] == (2027 if more else 2013)


async def test_charset_that_the_server_chose_itself_is_set_right() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(OK, 2))
        await peer.answer(session(CAPABILITIES, b"gbk"))
        heard.append(await peer.answer(packet(OK)))

    async with (
        fake_server(script) as arguments,
        aiomysqlx.connect(**arguments, charset="utf8mb4") as connection,
    ):
        assert connection.charset == "utf8mb4"
    assert heard == [b"\x03SET NAMES utf8mb4"]


# -- replies


@pytest.mark.parametrize("deprecate_eof", [0, DEPRECATE_EOF], ids=["with EOFs", "without EOFs"])
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(packet(b""), "empty packet", id="empty"),
        pytest.param(packet(b"\x00"), "cut short", id="short OK"),
        pytest.param(packet(b"\x00\xfe\x01"), "cut short", id="OK with half a length"),
        pytest.param(packet(b"\x00\xff\x00\x02\x00\x00\x00"), "length prefix", id="OK with a lie"),
        pytest.param(packet(b"\xff\x15"), "error packet ends", id="short error"),
        pytest.param(packet(b"\xff"), "error packet ends", id="error without a code"),
        pytest.param(packet(OK, 2), "sequence 2, expected 1", id="sequence"),
        pytest.param(packet(b"\x01\x00"), "number of columns", id="count with a tail"),
        # What MariaDB's query cache gives of a session that has its column definitions kept.
        pytest.param(packet(b"\x01\x01"), "number of columns", id="count before definitions"),
        pytest.param(packet(b"\xfc\x01"), "cut short", id="half a count"),
        pytest.param(packet(b"\xfd\0\0\x01"), "65536 columns, limit 65535", id="count too high"),
        pytest.param(
            packet(b"\xfe\0\0\0\0\0\x01\0\0"), "1099511627776 columns", id="count of 2**40"
        ),
        pytest.param(packets(b"\x01", b""), "definition of 0 bytes", id="empty definition"),
        pytest.param(
            packets(b"\x01", error(1105, "no")), "expected a column definition", id="error in place"
        ),
        pytest.param(packets(b"\x01", column()[:9], EOF), "", id="definition cut in a name"),
        pytest.param(packets(b"\x01", column()[:-8], EOF), "", id="definition cut in its type"),
        pytest.param(packets(b"\x01", b"\xfe" + b"\xff" * 8, EOF), "", id="8-byte length"),
        pytest.param(packets(b"\x01", b"\x03def\xff", EOF), "", id="definition with a lie"),
    ],
)
async def test_malformed_reply_closes_the_connection(
    answer: bytes, message: str, deprecate_eof: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(answer)
        await peer.read()

    async with connected(script, CAPABILITIES | deprecate_eof) as connection:
        with pytest.raises(err.OperationalError, match=MALFORMED + f".*{message}"):
            await asyncio.wait_for(execute(connection), 5)

        assert connection.closed
        with pytest.raises(err.OperationalError, match=MALFORMED):
            await execute(connection)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param(b"", "empty packet", id="empty"),
        pytest.param(b"\x05abc", "cut short", id="value cut"),
        pytest.param(b"\x01a\x01b", "2 bytes left over", id="a value too many"),
        pytest.param(b"\xfc\x01", "cut short", id="length cut"),
        pytest.param(b"\xfe" + b"\xff" * 8 + b"a", "cut short", id="8-byte length"),
    ],
)
async def test_malformed_row_closes_the_connection(row: bytes, message: str) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packets(b"\x01", column(), EOF, b"\x01a", row, EOF))
        await peer.read()

    async with connected(script) as connection:
        with pytest.raises(err.OperationalError, match=MALFORMED + f".*{message}"):
            await asyncio.wait_for(execute(connection), 5)

        assert connection.closed


@pytest.mark.parametrize(
    ("definitions_end", "deprecate_eof"),
    [pytest.param(b"\x01a", 0, id="row in the EOF's place"), pytest.param(b"\xfe", 0, id="cut")],
)
async def test_definitions_that_do_not_end_close_the_connection(
    definitions_end: bytes, deprecate_eof: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packets(b"\x01", column(), definitions_end, EOF))
        await peer.read()

    async with connected(script, CAPABILITIES | deprecate_eof) as connection:
        with pytest.raises(err.OperationalError, match=MALFORMED):
            await asyncio.wait_for(execute(connection), 5)


@pytest.mark.parametrize(
    "cut",
    [
        pytest.param(0, id="before the reply"),
        pytest.param(2, id="in a header"),
        pytest.param(12, id="in a definition"),
        pytest.param(-11, id="in a row"),
        pytest.param(-9, id="before the end"),
        pytest.param(-3, id="in the last packet"),
    ],
)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_connection_lost_in_a_reply_fails_the_statement(cut: int, reset: bool) -> None:
    whole = result(b"one")

    async def script(peer: Peer) -> None:
        await peer.answer(whole[:cut])
        if reset:
            peer.reset()

    async with connected(script) as connection:
        with pytest.raises(err.OperationalError, match=r"^\(2013, .*Lost connection to MySQL"):
            await asyncio.wait_for(execute(connection), 5)

        assert connection.closed
        with pytest.raises(err.OperationalError, match="2013"):
            await execute(connection)


async def test_reply_in_single_bytes_is_read() -> None:
    whole = result(b"one", b"two")

    async def script(peer: Peer) -> None:
        await peer.read()
        for index in range(len(whole)):
            peer.write(whole[index : index + 1])
            await asyncio.sleep(0)
        await peer.read()

    async with connected(script) as connection:
        assert await execute(connection) == (("one",), ("two",))


async def test_packet_behind_a_reply_fails_the_next_statement_only() -> None:
    async def script(peer: Peer) -> None:
        whole = result(b"one")
        await peer.answer(whole + packet(OK, 6))
        await peer.read()

    async with connected(script) as connection:
        assert await execute(connection) == (("one",),)

        assert connection.closed
        with pytest.raises(err.OperationalError, match="a packet nobody asked for"):
            await execute(connection)


# -- leave taken by the server

TIMED_OUT = error(4031, "The client was disconnected by the server because of inactivity.")


async def test_reason_for_the_end_of_an_idle_connection_is_told_to_the_next_statement() -> None:
    leave = asyncio.Event()

    async def script(peer: Peer) -> None:
        await leave.wait()
        peer.write(packet(TIMED_OUT, 0))

    async with connected(script) as connection:
        leave.set()
        await asyncio.wait_for(connection._session.protocol.closed, 5)  # type: ignore[union-attr]

        assert connection.closed
        with pytest.raises(err.OperationalError, match="4031"):
            await execute(connection)


async def test_reason_that_crosses_a_statement_on_the_way_is_its_error() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packet(TIMED_OUT, 0))

    async with connected(script) as connection:
        with pytest.raises(err.OperationalError, match="4031"):
            await execute(connection)

        assert connection.closed


# -- values and errors that leave the connection in order


async def test_text_that_does_not_decode_leaves_the_connection_usable() -> None:
    async def script(peer: Peer) -> None:
        rows = (text(b"good"), text(b"\xff\xfe"), text(b"good"))
        await peer.answer(packets(b"\x01", column(), EOF, *rows, EOF))
        await peer.answer(result(b"next"))

    async with connected(script, charset="utf8mb4") as connection:
        with pytest.raises(err.DataError, match="column 'a': 'utf-8' codec"):
            await execute(connection)

        assert await execute(connection) == (("next",),)


async def test_number_that_is_none_leaves_the_connection_usable() -> None:
    async def script(peer: Peer) -> None:
        definition = column(b"n", FIELD_TYPE.LONG, 63)
        await peer.answer(packets(b"\x01", definition, EOF, text(b"1x"), EOF))
        await peer.answer(packets(b"\x01", definition, EOF, text(b"17"), EOF))

    async with connected(script) as connection:
        with pytest.raises(err.DataError, match="column 'n': expected an integer, got b'1x'"):
            await execute(connection)

        assert await execute(connection) == ((17,),)


async def test_error_among_the_rows_leaves_the_connection_usable() -> None:
    async def script(peer: Peer) -> None:
        failure = error(1317, "Query execution was interrupted", "70100")
        await peer.answer(packets(b"\x01", column(), EOF, text(b"one"), failure))
        await peer.answer(packet(OK))

    async with connected(script) as connection:
        with pytest.raises(err.OperationalError, match="1317"):
            await execute(connection)

        assert await execute(connection) == []


# -- more than one statement


async def test_second_statement_is_refused_and_the_first_goes_on() -> None:
    asked = asyncio.Event()
    answer = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        asked.set()
        await answer.wait()
        peer.write(result(b"one"))
        await peer.read()

    async with connected(script) as connection:
        first = asyncio.create_task(execute(connection))
        await asked.wait()

        with pytest.raises(aiomysqlx.InvalidRequestError, match="another statement is in progress"):
            await execute(connection)

        answer.set()
        assert await first == (("one",),)


async def test_answer_of_a_cancelled_statement_is_not_given_to_the_next() -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        first = result(b"first")
        await peer.answer(first[:-20])
        asked.set()
        await go_on.wait()
        peer.write(first[-20:])
        await peer.answer(result(b"second"))

    async with connected(script) as connection:
        first = asyncio.create_task(execute(connection, "first"))
        await asked.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert connection.busy
        asyncio.get_running_loop().call_soon(go_on.set)

        assert await execute(connection, "second") == (("second",),)
        assert not connection.busy


async def test_connection_whose_cancelled_statement_is_not_answered_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 0.05)
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        asked.set()
        await peer.read()

    async with connected(script) as connection:
        task = asyncio.create_task(execute(connection))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        with pytest.raises(err.OperationalError, match="was not answered within 0.05 seconds"):
            await asyncio.wait_for(execute(connection), 5)

        assert connection.closed


async def test_close_fails_the_statement_in_progress() -> None:
    asked = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        asked.set()
        await peer.read()

    async with connected(script) as connection:
        task = asyncio.create_task(execute(connection))
        await asked.wait()
        connection.close()

        with pytest.raises(err.OperationalError, match="closed during query"):
            await asyncio.wait_for(task, 5)


async def test_two_that_wait_for_a_cancelled_statement_do_not_share_the_connection() -> None:
    asked = asyncio.Event()
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.read()
        asked.set()
        await go_on.wait()
        peer.write(packet(OK))
        await peer.answer(result(b"next"))

    async with connected(script) as connection:
        cancelled = asyncio.create_task(execute(connection))
        await asked.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        waiting = [asyncio.create_task(execute(connection)) for _ in range(2)]
        asyncio.get_running_loop().call_soon(go_on.set)

        outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)

    assert outcomes[0] == (("next",),)
    assert isinstance(outcomes[1], aiomysqlx.InvalidRequestError)


# -- local files


async def test_local_file_is_refused_and_the_connection_stays_usable() -> None:
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.answer(packet(b"\xfb/etc/passwd"))
        sent.append(await peer.read())
        peer.write(packet(OK, 3))
        await peer.answer(result(b"next"))

    async with connected(script) as connection:
        with pytest.raises(err.OperationalError, match="asked for '/etc/passwd'") as caught:
            await execute(connection)

        assert isinstance(caught.value, RuntimeError)
        assert await execute(connection) == (("next",),)
    assert sent == [b""]


@pytest.mark.parametrize("asked_first", [True, False], ids=["asked before", "asked after"])
async def test_local_file_of_a_cancelled_statement_is_refused(asked_first: bool) -> None:
    read = asyncio.Event()
    go_on = asyncio.Event()
    sent: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.read()
        if asked_first:
            peer.write(packet(b"\xfb/etc/passwd"))
        read.set()
        await go_on.wait()
        if not asked_first:
            peer.write(packet(b"\xfb/etc/passwd"))
        sent.append(await peer.read())
        peer.write(packet(OK, 3))
        await peer.answer(packet(OK))

    async with connected(script) as connection:
        task = asyncio.create_task(execute(connection))
        await read.wait()
        task.cancel()
        go_on.set()
        with pytest.raises((asyncio.CancelledError, err.OperationalError)):
            await task

        assert await asyncio.wait_for(execute(connection), 5) == []
    assert sent == [b""]


@pytest.mark.parametrize("together", [True, False], ids=["in one read", "in two"])
@pytest.mark.parametrize("answer", [OK, error(1105, "no")], ids=["OK", "error"])
async def test_answer_that_does_not_wait_for_the_local_file_is_taken(
    together: bool, answer: bytes
) -> None:
    async def script(peer: Peer) -> None:
        await peer.read()
        peer.write(packet(b"\xfb/etc/passwd"))
        if not together:
            await asyncio.sleep(0)
        peer.write(packet(answer, 2))
        assert await peer.read() == b""
        await peer.answer(result(b"next"))

    async with connected(script) as connection:
        with pytest.raises(err.OperationalError, match="asked for '/etc/passwd'"):
            await asyncio.wait_for(execute(connection), 5)

        assert await asyncio.wait_for(execute(connection), 5) == (("next",),)


async def test_server_that_asks_for_a_local_file_and_leaves_at_once_fails_the_statement() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packet(b"\xfb/etc/passwd"))
        await peer.read()

    async with connected(script) as connection:
        protocol = connection._session.protocol
        assert protocol is not None and protocol._transport is not None
        read = protocol.buffer_updated

        def read_all(nbytes: int) -> None:  # as uvloop does, which reads on without a turn
            read(nbytes)
            protocol.eof_received()

        protocol.buffer_updated = read_all  # type: ignore[method-assign]
        protocol._transport.set_protocol(protocol)

        with pytest.raises(err.OperationalError, match="2068"):
            await asyncio.wait_for(execute(connection), 5)


# -- limits


@pytest.mark.parametrize(
    ("rows", "announced"),
    [
        pytest.param(packet(text(b"one"), 4) + b"\x01\x10\0\x05", 4097, id="row"),
        pytest.param(b"\xff\xff\xff\x04", 0xFFFFFF, id="continued row"),
    ],
)
async def test_packet_beyond_max_packet_closes_the_connection_at_its_header(
    rows: bytes, announced: int
) -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packets(b"\x01", column(), EOF) + rows)
        await peer.read()

    async with connected(script, max_packet=4096) as connection:
        for _ in range(2):
            with pytest.raises(err.OperationalError) as caught:
                await asyncio.wait_for(execute(connection), 5)
            code, message = caught.value.args
            assert code == 2020 and "bigger than 'max_packet'" in message
            assert message.endswith(f"packet of {announced} bytes, limit 4096")

        assert connection.closed


async def test_max_packet_holds_for_a_row_in_pieces() -> None:
    whole = packets(b"\x01", column(), EOF) + b"\xff\xff\xff\x04" + bytes(0xFFFFFF)

    async def script(peer: Peer) -> None:
        await peer.answer(whole + b"\x02\0\0\x05")
        await peer.read()

    async with connected(script, max_packet=0xFFFFFF + 1) as connection:
        with pytest.raises(err.OperationalError, match="2020, .*packet of 16777217 bytes"):
            await asyncio.wait_for(execute(connection), 20)


async def test_max_packet_is_for_each_row() -> None:
    async def script(peer: Peer) -> None:
        row = b"\xfc\xfd\x03" + b"x" * 1021
        await peer.answer(packets(b"\x01", column(), EOF, *[row] * 200, EOF))
        await peer.read()

    async with connected(script, max_packet=1024) as connection:
        assert await execute(connection) == (("x" * 1021,),) * 200


async def test_max_packet_holds_for_the_definitions_together() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packets(b"\x14", *[column(b"x" * 50)] * 20, EOF, EOF))
        await peer.read()

    async with connected(script, max_packet=1024) as connection:
        with pytest.raises(err.OperationalError, match="2020, .*limit 1024"):
            await execute(connection)


async def test_lengths_that_lie_take_no_memory() -> None:
    lies = [
        b"\xff\xff\xff\x01" + b"\xfe" + b"\xff" * 8,
        packet(b"\xfd\xff\xff\0") + b"\xff\xff\xff\x02",
        packets(b"\x01", column(), EOF) + b"\xff\xff\xff\x04" + b"\xfe" + b"\xff" * 8,
    ]

    for lie in lies:

        async def script(peer: Peer, lie: bytes = lie) -> None:
            await peer.answer(lie)

        async with connected(script) as connection:
            tracemalloc.start()
            try:
                with pytest.raises(err.OperationalError, match="2013"):
                    await execute(connection)
                assert tracemalloc.get_traced_memory()[1] < 1 << 20
            finally:
                tracemalloc.stop()


async def test_long_definitions_are_not_remembered() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packets(b"\xf5", *[column(b"x" * 250)] * 0xF5, EOF, EOF))
        await peer.read()

    async with connected(script) as connection:
        before = columns._parsed.cache_info()
        assert await execute(connection) == ()
        assert columns._parsed.cache_info() == before


def told(*settings: tuple[bytes, bytes]) -> bytes:
    """Give the payload of an OK that tells what is set of the session."""
    entries = b""
    for name, value in settings:
        entry = length(len(name)) + name + length(len(value)) + value
        entries += b"\0" + length(len(entry)) + entry
    return b"\0\0\0\x02\x40\0\0\0" + length(len(entries)) + entries


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param([(b"v%d" % number, b"") for number in range(4200)], id="many"),
        pytest.param([(b"a", b"x" * 600_000), (b"b", b"x" * 600_000)], id="long"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_more_settings_than_a_server_has_close_the_connection(
    settings: list[tuple[bytes, bytes]], at_once: bool
) -> None:
    half = len(settings) // 2

    async def script(peer: Peer) -> None:
        if at_once:
            await peer.answer(packet(told(*settings)))
        else:
            await peer.answer(packet(told(*settings[:half])))
            await peer.answer(packet(told(*settings[half:])))
        await peer.read()

    async with connected(script, CAPABILITIES | SESSION_TRACK) as connection:
        if not at_once:
            await execute(connection)
        with pytest.raises(err.OperationalError, match=MALFORMED + ".*more is set of the session"):
            await execute(connection)

        assert connection.closed


async def test_setting_that_is_told_again_and_again_is_kept_once() -> None:
    async def script(peer: Peer) -> None:
        for _ in range(4):
            await peer.answer(packet(told((b"a", b"x" * 600_000))))

    async with connected(script, CAPABILITIES | SESSION_TRACK) as connection:
        for _ in range(4):
            await execute(connection)

        assert not connection.closed


# -- leaving


async def test_lost_connection_object_warns_and_closes_its_socket() -> None:
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.welcome()
        try:
            await peer.read()
        finally:
            gone.set()

    async with fake_server(script) as arguments:
        connection = await aiomysqlx.connect(**arguments)

        with pytest.warns(ResourceWarning, match="Unclosed connection"):
            del connection

        await asyncio.wait_for(gone.wait(), 5)


async def test_closing_takes_leave_of_the_server() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.welcome()
        heard.append(await peer.read())

    async with fake_server(script) as arguments:
        async with aiomysqlx.connect(**arguments) as connection:
            pass
        await connection.ensure_closed()

    assert heard == [b"\x01"]


async def test_statement_on_a_closed_connection_is_refused() -> None:
    async def script(peer: Peer) -> None:
        await peer.read()

    async with connected(script) as connection:
        cursor = await connection.cursor()
        connection.close()
        connection.close()

        with pytest.raises(err.InterfaceError, match="Not connected"):
            await cursor.execute("SELECT 1")
        with pytest.raises(err.InterfaceError, match="Not connected"):
            await connection.cursor()
