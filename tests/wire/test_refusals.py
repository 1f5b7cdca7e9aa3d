"""What a server's errors say: their numbers and classes, and which of them end a connection."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes import OK, Peer, connected, error, fake_server, greeting, packet, packets, result
from pymysql import err
from watch import until

import aiomysqlx as sa
from aiomysqlx.exc import DISCONNECTS
from aiomysqlx.wire.outcome import Refusal, parse_refusal

pytestmark = pytest.mark.usefixtures("quiet")

READ_ONLY = "The MariaDB server is running with the --read-only option so it cannot execute this"
OF_THE_NODE = [
    pytest.param(error(1290, READ_ONLY), id="read_only"),
    pytest.param(error(1290, "… with the --super-read-only option …"), id="super_read_only"),
    pytest.param(error(1836, "Running in read-only mode"), id="read-only mode"),
    pytest.param(error(1874, "InnoDB is in read only mode."), id="InnoDB read only"),
    pytest.param(error(1047, "WSREP has not yet prepared node", "08S01"), id="no quorum"),
    pytest.param(error(3100, "Error on observer while running hook"), id="expelled"),
    pytest.param(error(4094, "All queries have been blocked while …"), id="being switched"),
]
DOUBTFUL = [
    pytest.param(error(1792, "READ ONLY transaction", "25006"), id="transaction_read_only"),
    pytest.param(error(3101, "Plugin instructed the server to rollback", "40000"), id="hook"),
    pytest.param(error(1180, "Error while appending streaming fragment"), id="no commit"),
]
STATEMENT_ONLY = [
    pytest.param(error(1064, "syntax", "42000"), id="syntax"),
    pytest.param(error(1213, "deadlock", "40001"), id="deadlock"),
    pytest.param(error(1290, "… with the --secure-file-priv option …"), id="another option"),
    pytest.param(error(1290, READ_ONLY, "45000"), id="1290 of a SIGNAL"),
    pytest.param(error(1047, "Unknown command", "08S01"), id="unknown command"),
    pytest.param(error(1047, "Unsupported 'LOAD DATA LOCAL INFILE' command", "08S01"), id="file"),
    pytest.param(error(1792, "signalled", "45001"), id="1792 of a SIGNAL"),
    pytest.param(error(1053, "signalled", "45000"), id="1053 of a SIGNAL"),
]
LOSSES = [1053, 1927, 2006, 2013, 2055, 4031, *range(1158, 1162)]


# -- numbers and classes ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param(1, err.InternalError, id="1"),
        pytest.param(999, err.InternalError, id="999"),
        pytest.param(1000, err.OperationalError, id="1000"),
        pytest.param(1062, err.IntegrityError, id="1062"),
        pytest.param(1064, err.ProgrammingError, id="1064"),
        pytest.param(32767, err.OperationalError, id="32767"),
        pytest.param(32768, err.OperationalError, id="32768"),
        pytest.param(33830, err.OperationalError, id="33830"),  # 1062 and a sign
        pytest.param(65534, err.OperationalError, id="65534"),  # the last one
    ],
)
@pytest.mark.server
async def test_number_of_an_error_is_what_was_signalled(
    conn: sa.SAConnection, code: int, kind: type[Exception]
) -> None:
    with pytest.raises(err.MySQLError) as caught:
        await conn.execute(f"SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = 'é'")

    assert type(caught.value) is kind
    assert caught.value.args == (code, "é")
    assert getattr(caught.value, "sqlstate") == "45000"  # noqa: B009 - PyMySQL 1.1 knows of none
    assert await conn.scalar("SELECT 1") == 1


@pytest.mark.parametrize("code", [1045, 32767, 32768, 65535])
@pytest.mark.parametrize("greeted", [True, False], ids=["after the greeting", "instead of it"])
async def test_number_of_an_error_in_the_handshake_is_unsigned(code: int, greeted: bool) -> None:
    async def script(peer: Peer) -> None:
        if not greeted:
            peer.write(packet(b"\xff" + code.to_bytes(2, "little") + b"too many", 0))
            return
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(error(code, "too many"), 2))

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError) as caught:
            await sa.connect(**arguments)

    assert caught.value.args == (code, "too many")


@pytest.mark.parametrize(
    "payload",
    [b"\xff", b"\xff\x15", b"\xff\x15\x04#", b"\xff\x15\x04#2800", b"\xff\x15\x04#28\xff00x"],
    ids=["no code", "half a code", "no SQLSTATE", "a cut SQLSTATE", "a SQLSTATE that is no text"],
)
@pytest.mark.parametrize("where", ["handshake", "first", "rows", "unasked"])
async def test_error_that_is_cut_short_is_malformed(payload: bytes, where: str) -> None:
    async def script(peer: Peer) -> None:
        if where == "handshake":
            peer.write(packet(greeting(), 0))
            await peer.read()
            peer.write(packet(payload, 2))
            return
        await peer.welcome()
        head = result(b"x")[: -len(packet(b"\xfe\0\0\2\0"))] if where == "rows" else b""
        if where == "unasked":
            peer.write(packet(payload, 0))
        else:
            await peer.answer(head + packet(payload, 5 if head else 1))
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError, match=r"^\(2027, ['\"]Malformed packet"):
            async with sa.connect(**arguments) as raw:
                if where == "unasked":
                    await until(lambda: raw.closed)
                await raw.query("SELECT 1")


def test_error_without_a_sqlstate_or_message_is_taken() -> None:
    assert parse_refusal(b"\xff\x10\x04Too many") == Refusal(1040, None, "Too many")
    assert parse_refusal(b"\xff\x10\x04") == Refusal(1040, None, "")
    assert parse_refusal(b"\xff\x10\x04#08004") == Refusal(1040, "08004", "")
    assert parse_refusal(b"\xff\x10\x04#08004\xff") == Refusal(1040, "08004", "\ufffd")


# -- what ends a connection ------------------------------------------------------------------------


@pytest.fixture(params=["first", "behind a result", "in the rows", "abandoned"])
def answer_with(request: pytest.FixtureRequest) -> Any:
    """A function that has a connection answered with an error, and tells what became of it."""

    async def answer(payload: bytes, before: bytes = b"") -> sa.Connection:
        asked = asyncio.Event()
        go_on = asyncio.Event()

        async def script(peer: Peer) -> None:
            if before:
                await peer.answer(before)
            await peer.read()
            asked.set()
            await go_on.wait()
            if request.param == "behind a result":
                more = (before or packet(OK))[4:]
                peer.write(packets(more[:3] + bytes((more[3] | 8,)) + more[4:], payload))
            elif request.param == "in the rows":
                peer.write(result(b"x")[:-9] + packet(payload, 5))
            else:
                peer.write(packet(payload))
            await peer.answer(result(b"next"))

        async with connected(script) as raw:
            if before:
                await raw.query("BEGIN")
            task = asyncio.ensure_future(raw.query("SELECT 1"))
            await asked.wait()
            if request.param == "abandoned":
                task.cancel()
            go_on.set()
            await asyncio.gather(task, return_exceptions=True)
            await raw._session.settled()
            return raw

    return answer


@pytest.mark.parametrize("code", LOSSES)
async def test_error_of_a_lost_session_closes_the_connection(answer_with: Any, code: int) -> None:
    raw = await answer_with(error(code, "gone", "08S01"))

    assert raw._session.protocol.lost.args == (code, "gone")


async def test_error_of_a_lost_session_is_the_statements_and_the_next_ones() -> None:
    async def script(peer: Peer) -> None:
        await peer.answer(packet(error(1053, "Server shutdown in progress", "08S01")))
        await peer.read()

    async with connected(script) as raw:
        for _ in range(2):
            with pytest.raises(err.OperationalError) as caught:
                await raw.query("SELECT 1")
            assert caught.value.args == (1053, "Server shutdown in progress")
            assert raw.closed


@pytest.mark.parametrize("payload", [*OF_THE_NODE, *DOUBTFUL])
async def test_error_of_a_node_marks_the_connection_which_goes_on(
    answer_with: Any, payload: bytes
) -> None:
    raw = await answer_with(payload)

    assert raw._session.unfit is not None
    assert raw.closed and raw._session.protocol.lost.args[0] == 0  # by the end of the test


@pytest.mark.parametrize("payload", STATEMENT_ONLY)
async def test_error_of_a_statement_leaves_the_connection(answer_with: Any, payload: bytes) -> None:
    raw = await answer_with(payload)

    assert raw._session.unfit is None
    assert raw.closed and raw._session.protocol.lost.args[0] == 0


async def test_error_of_a_read_only_transaction_of_ones_own_leaves_the_connection(
    answer_with: Any,
) -> None:
    raw = await answer_with(error(1792, "READ ONLY", "25006"), packet(b"\0\0\0\x01\x20\0\0"))

    assert raw._session.unfit is None


@pytest.mark.server
async def test_absent_trigger_of_mariadb_is_no_end_of_the_session(
    conn: sa.SAConnection, mariadb: None
) -> None:
    await conn.execute("CREATE TABLE t (id INT)")

    with pytest.raises(err.MySQLError, match="4031"):
        await conn.execute(
            "CREATE TRIGGER a BEFORE INSERT ON t FOR EACH ROW FOLLOWS absent SET @x = 1"
        )

    assert not conn.closed
    assert await conn.scalar("SELECT 1") == 1


def test_losses_are_disconnects_unless_signalled() -> None:
    for code in LOSSES:
        assert code in DISCONNECTS
        assert sa.is_disconnect(parse_refusal(error(code, "gone", "HY000")).error())
        assert not sa.is_disconnect(parse_refusal(error(code, "mine", "45000")).error())
