"""Replies while they come in: columns known beforehand, rows made on arrival, turns of the loop."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Iterable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import (
    EOF,
    OK,
    Peer,
    column,
    connected,
    error,
    packets,
    proxy,
    text,
    without_deprecate_eof,
)
from faults import faulty_proxy
from private_server import Certificates
from pymysql import err
from pymysql.constants import FIELD_TYPE
from sqlalchemy import Column, Integer, MetaData, String, Table, TypeDecorator, bindparam, select
from sqlalchemy import text as sql_text
from wires import Wire

import aiomysqlx
from aiomysqlx.exc import InvalidRequestError
from aiomysqlx.result import ResultMetaData, RowProxy
from aiomysqlx.runtime.awaitable import set_free
from aiomysqlx.wire import protocol as protocol_module
from aiomysqlx.wire._impl import frame
from aiomysqlx.wire.columns import Columns
from aiomysqlx.wire.columns import describe as _describe
from aiomysqlx.wire.command import Command
from aiomysqlx.wire.protocol import Protocol, wire_packets

pytestmark = pytest.mark.usefixtures("quiet")

MORE = b"\x0a\x00"  # autocommit, and more results
DEFINITIONS = (column(b"n", FIELD_TYPE.LONG, 63), column(b"s"))
KNOWN = _describe(packets(*DEFINITIONS, first=2), "utf-8")
ROWS = (text(b"17") + text(b"one"), b"\xfb\xfb", text(b"-1") + text(b""))
VALUES = [(17, "one"), (None, None), (-1, "")]
BOTH_ENDS = pytest.mark.parametrize("eofs", [True, False], ids=["with-EOFs", "without-EOFs"])


def answer(
    definitions: Iterable[bytes],
    rows: Iterable[bytes],
    eofs: bool,
    first: int = 1,
    status: bytes = b"\2\0",
) -> list[bytes]:
    """Give the payloads of one result."""
    definitions = list(definitions)
    between, end = ([EOF], b"\xfe\0\0" + status) if eofs else ([], b"\xfe\0\0" + status + b"\0\0")
    return [bytes((len(definitions),)), *definitions, *between, *rows, end]


# -- columns that are known ------------------------------------------------------------------------


@BOTH_ENDS
async def test_known_columns_are_not_described(eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    wire.receive(packets(*answer(DEFINITIONS, ROWS, eofs)))

    (result,) = reply.future.result()
    assert (result.rows, result.columns, wire.described) == (VALUES, KNOWN, [])
    assert (result.affected_rows, wire.protocol.reader.buffered) == (3, 0)


@BOTH_ENDS
async def test_known_columns_may_come_in_pieces(eofs: bool) -> None:
    whole = packets(*answer(DEFINITIONS, ROWS, eofs))

    for cut in range(1, len(whole)):
        wire = Wire(eofs)
        reply = wire.send(KNOWN)
        wire.receive(whole[:cut])
        assert not reply.future.done()
        wire.receive(whole[cut:])

        (result,) = reply.future.result()
        assert result.rows == VALUES
        assert [each.name for each in result.columns.definitions] == ["n", "s"]
        assert wire.described == ([KNOWN.head[5:]] if cut < len(KNOWN.head) else [])


@BOTH_ENDS
async def test_known_columns_may_come_in_single_bytes(eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    for byte in packets(*answer(DEFINITIONS, ROWS, eofs)):
        wire.receive(bytes((byte,)))

    assert reply.future.result()[0].rows == VALUES


@BOTH_ENDS
@pytest.mark.parametrize("number", [1, 250, 251, 252, 255, 256, 600])
async def test_known_columns_may_be_many(number: int, eofs: bool) -> None:
    definitions = [column(b"c%d" % index) for index in range(number)]
    raw = b"".join(
        packets(definition, first=(2 + index) % 256) for index, definition in enumerate(definitions)
    )
    known = _describe(raw, "utf-8")
    values = tuple(str(index) for index in range(number))
    row = b"".join(text(value.encode()) for value in values)
    end = answer([], [row], eofs)[1:]
    wire = Wire(eofs)
    reply = wire.send(known)

    count = bytes((number,)) if number < 251 else b"\xfc" + number.to_bytes(2, "little")
    wire.receive(packets(count) + raw)
    assert wire.protocol.reader.buffered == 0
    for sequence, payload in enumerate(end, 2 + number):
        wire.receive(packets(payload, first=sequence % 256))

    assert reply.future.result()[0].rows == [values] and wire.described == []


OTHERS = [
    pytest.param((column(b"m", FIELD_TYPE.LONG, 63), column(b"s")), VALUES, id="name"),
    pytest.param(
        (column(b"n"), column(b"s")), [("17", "one"), (None, None), ("-1", "")], id="type"
    ),
    pytest.param(
        (DEFINITIONS[0], column(b"s", charset=63)),
        [(17, b"one"), (None, None), (-1, b"")],
        id="charset",
    ),
    pytest.param((DEFINITIONS[0], column(b"a longer name")), VALUES, id="longer"),
]


@BOTH_ENDS
@pytest.mark.parametrize(("definitions", "values"), OTHERS)
async def test_other_columns_than_known_are_described(
    definitions: tuple[bytes, ...], values: list[Any], eofs: bool
) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    wire.receive(packets(*answer(definitions, ROWS, eofs)))

    (result,) = reply.future.result()
    assert (result.rows, len(wire.described)) == (values, 1)


@BOTH_ENDS
@pytest.mark.parametrize(
    ("definitions", "row", "values"),
    [
        pytest.param(DEFINITIONS[:1], text(b"1"), (1,), id="fewer"),
        pytest.param(
            (*DEFINITIONS, DEFINITIONS[0]), ROWS[0] + text(b"2"), (17, "one", 2), id="more"
        ),
    ],
)
async def test_other_number_of_columns_than_known_is_described(
    definitions: tuple[bytes, ...], row: bytes, values: tuple[Any, ...], eofs: bool
) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    wire.receive(packets(*answer(definitions, [row], eofs)))

    assert reply.future.result()[0].rows == [values]


@BOTH_ENDS
async def test_error_after_known_columns_is_the_statements(eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)
    payloads = answer(DEFINITIONS, ROWS[:1], eofs)[:-1]

    wire.receive(packets(*payloads, error(1317, "interrupted")))

    with pytest.raises(err.OperationalError, match="1317"):
        reply.future.result()
    assert wire.protocol.lost is None and not wire.protocol.replies


@BOTH_ENDS
async def test_error_in_the_place_of_known_columns_is_the_statements(eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    wire.receive(packets(error(1064, "no")))

    with pytest.raises(err.ProgrammingError, match="1064"):
        reply.future.result()


@BOTH_ENDS
async def test_counts_in_the_place_of_known_columns_are_taken(eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    wire.receive(packets(b"\0\5\7\2\0\1\0"))

    (result,) = reply.future.result()
    assert (result.columns, result.affected_rows, result.insert_id) == (None, 5, 7)


@BOTH_ENDS
async def test_known_columns_may_have_no_rows(eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)

    wire.receive(packets(*answer(DEFINITIONS, [], eofs)))

    (result,) = reply.future.result()
    assert (result.rows, result.columns) == ([], KNOWN)


@BOTH_ENDS
@pytest.mark.parametrize("cut", [0, 1, 2], ids=["whole", "by-results", "in-bytes"])
async def test_known_columns_are_those_of_the_first_result(eofs: bool, cut: int) -> None:
    wire = Wire(eofs)
    reply = wire.send(KNOWN)
    payloads = answer(DEFINITIONS, ROWS, eofs, status=MORE)
    second = answer([column(b"x")], [text(b"y")], eofs, status=MORE)
    third = answer(DEFINITIONS, ROWS, eofs)
    whole = packets(*payloads, *second, *third)
    size = len(packets(*payloads))
    chunks = [[whole], [whole[:size], whole[size:]], [bytes((byte,)) for byte in whole]]

    for chunk in chunks[cut]:
        wire.receive(chunk)

    results = reply.future.result()
    assert [result.rows for result in results] == [VALUES, [("y",)], VALUES]


async def test_malformed_row_after_known_columns_ends_the_connection() -> None:
    wire = Wire()
    reply = wire.send(KNOWN)

    wire.receive(packets(*answer(DEFINITIONS, [text(b"1")], True)))

    with pytest.raises(err.OperationalError, match="2027.*cut short"):
        reply.future.result()


async def test_other_end_of_the_known_columns_than_an_eof_ends_the_connection() -> None:
    wire = Wire()
    reply = wire.send(KNOWN)

    wire.receive(packets(b"\2", *DEFINITIONS, *ROWS, EOF))

    with pytest.raises(err.OperationalError, match="2027.*expected an EOF"):
        reply.future.result()


async def test_next_reply_takes_its_own_columns() -> None:
    wire = Wire()
    for _ in range(3):
        first = wire.send(KNOWN)
        wire.receive(packets(*answer(DEFINITIONS, ROWS, True)))
        second = wire.send(KNOWN)
        wire.receive(packets(*answer([column(b"x")], [text(b"y")], True)))

        assert first.future.result()[0].rows == VALUES
        assert second.future.result()[0].rows == [("y",)]


# -- rows on arrival -------------------------------------------------------------------------------


def shape(columns: Columns) -> tuple[type[RowProxy], ResultMetaData]:
    return RowProxy, ResultMetaData([each.name for each in columns.definitions])


@BOTH_ENDS
@pytest.mark.parametrize("known", [None, KNOWN], ids=["unknown", "known"])
async def test_rows_are_made_as_they_come_in(known: Columns | None, eofs: bool) -> None:
    wire = Wire(eofs)
    reply = wire.send(known, shape)
    head, end = packets(*answer(DEFINITIONS, [], eofs)[:-1]), len(DEFINITIONS) + 2 + eofs
    first = packets(ROWS[0], first=end)

    wire.receive(head + first)

    (row,) = reply.result.rows
    assert type(row) is RowProxy and row == (17, "one") and row.s == "one"

    wire.receive(packets(*ROWS[1:], answer([], [], eofs)[-1], first=end + 1))
    (result,) = reply.future.result()
    assert result.rows[0] is row and result.rows == VALUES
    assert {type(each) for each in result.rows} == {RowProxy}


async def test_rows_of_the_first_result_only_are_made() -> None:
    wire = Wire()
    reply = wire.send(None, shape)

    wire.receive(
        packets(
            *answer(DEFINITIONS, ROWS, True, status=MORE),
            *answer([column(b"x")], [text(b"y")], True),
        )
    )

    first, second = reply.future.result()
    assert [type(row) for row in (*first.rows, *second.rows)] == [RowProxy] * 3 + [tuple]
    assert (first.shaped, second.shaped) == (True, False)
    assert first.take_tuples(3) == VALUES and second.take_tuples(1) == [("y",)]


async def test_reply_that_is_dropped_keeps_no_rows() -> None:
    wire = Wire()
    reply = wire.send(None, shape)
    whole = packets(*answer(DEFINITIONS, ROWS * 5, True))
    wire.receive(whole[:-40])
    assert reply.result.rows

    wire.protocol.drop(reply)
    assert reply.result.rows == []
    wire.receive(whole[-40:])

    assert reply.result.rows == [] and not wire.protocol.replies


# -- turns of the event loop -----------------------------------------------------------------------

LONG = [text(b"1") + text(b"x" * 100)] * 500


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any long read of an unfinished answer uses its time up."""
    monkeypatch.setattr(protocol_module, "SLICE_SECONDS", 0.0)


async def turn() -> None:
    await asyncio.sleep(0)


@pytest.mark.usefixtures("at_once")
async def test_long_answer_lets_others_have_the_loop() -> None:
    wire = Wire()
    wire.send()
    whole = packets(*answer(DEFINITIONS, LONG, True)[:200])

    wire.receive(whole[:10_000])
    assert wire.transport.told == ["pause"]
    await turn()
    assert wire.transport.told == ["pause", "resume"]
    wire.receive(whole[10_000:20_000])
    await turn()

    assert wire.transport.told == ["pause", "resume"] * 2


@pytest.mark.usefixtures("at_once")
async def test_end_of_an_answer_does_not_pause() -> None:
    wire = Wire()
    reply = wire.send()

    wire.receive(packets(*answer(DEFINITIONS, LONG[:200], True)))

    assert reply.future.done() and wire.transport.told == []


@pytest.mark.usefixtures("at_once")
async def test_short_reads_do_not_pause() -> None:
    wire = Wire()
    wire.send()
    whole = packets(*answer(DEFINITIONS, LONG[:200], True)[:-1])

    for start in range(0, len(whole), 1000):
        wire.receive(whole[start : start + 1000])

    assert wire.transport.told == []


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("size", "told"), [(4095, []), (4096, ["pause"])])
async def test_long_read_is_one_of_a_page(size: int, told: list[str]) -> None:
    wire = Wire()
    wire.send()

    wire.receive(packets(*answer(DEFINITIONS, LONG[:100], True))[:size])

    assert wire.transport.told == told


async def test_answer_within_its_time_does_not_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "SLICE_SECONDS", 1e9)
    wire = Wire()
    wire.send()

    wire.receive(packets(*answer(DEFINITIONS, LONG[:200], True)[:-1]))

    assert wire.transport.told == []


async def test_time_of_several_reads_adds_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "SLICE_SECONDS", 2.5)
    ticks = count(1)
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr(protocol_module, "time", clock)
    wire = Wire()
    wire.send()
    whole = packets(*answer(DEFINITIONS, LONG[:200], True)[:-1])
    paused = []

    for start in range(0, 18_000, 6000):
        wire.receive(whole[start : start + 6000])
        paused.append(wire.transport.told == ["pause"])

    assert paused == [False, False, True]


async def test_time_of_an_answer_is_not_that_of_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol_module, "SLICE_SECONDS", 2.5)
    ticks = count(1)
    clock = SimpleNamespace(monotonic=lambda: float(next(ticks)))
    monkeypatch.setattr(protocol_module, "time", clock)
    wire = Wire()
    whole = packets(*answer(DEFINITIONS, LONG[:100], True))

    for _ in range(3):
        wire.send()
        for start in range(0, len(whole), 4500):
            wire.receive(whole[start : start + 4500])

    assert wire.transport.told == [] and not wire.protocol.replies


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("how", ["closing", "lost"])
async def test_reading_is_not_resumed_once_the_connection_ends(how: str) -> None:
    wire = Wire()
    reply = wire.send()
    wire.receive(packets(*answer(DEFINITIONS, LONG[:200], True)[:-1]))

    if how == "closing":
        wire.transport.closing = True
    else:
        wire.protocol.connection_lost(None)
        with pytest.raises(err.OperationalError, match="2013"):
            reply.future.result()
    await turn()

    assert wire.transport.told == ["pause"]


@pytest.mark.usefixtures("at_once")
async def test_malformed_answer_does_not_pause() -> None:
    wire = Wire()
    reply = wire.send()

    wire.receive(packets(*answer(DEFINITIONS, [*LONG[:100], b"\5"], True)))

    with pytest.raises(err.OperationalError, match="2027"):
        reply.future.result()
    assert wire.transport.told == []


# -- the same on a server --------------------------------------------------------------------------

on_server = pytest.mark.server
digits = Table("digits", MetaData(), Column("d", Integer))
LONG_SQL = (
    "SELECT a.d + 10 * b.d + 100 * c.d AS n, REPEAT('x', 2000) AS s"
    " FROM digits a, digits b, digits c ORDER BY n"
)
LONG_BYTES = 2_000_000


@pytest.fixture
async def long(conn: aiomysqlx.SAConnection) -> aiomysqlx.SAConnection:
    """The connection, with a table that makes `LONG_SQL` a result of two megabytes."""
    await conn.execute("CREATE TABLE digits (d INT)")
    await conn.execute(digits.insert(), [{"d": number} for number in range(10)])
    await conn.execute("COMMIT")
    return conn


@on_server
@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("sql", [LONG_SQL, sql_text(LONG_SQL)], ids=["text", "construct"])
async def test_others_run_while_a_long_result_comes_in(
    long: aiomysqlx.SAConnection, sql: Any
) -> None:
    turns = 0
    done = False

    async def others() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    for _ in range(3):
        turns = 0
        rows = await (await long.execute(sql)).fetchall()

        assert [row.n for row in rows] == list(range(1000))
        # At most one read of the buffer's 64 KiB for each.
        assert turns >= LONG_BYTES // (1 << 16)
    done = True
    await task


@pytest.fixture
def on_pause(monkeypatch: pytest.MonkeyPatch, at_once: None) -> list[Callable[[], None]]:
    """What is called, last first, when reading has been paused."""
    callbacks: list[Callable[[], None]] = []
    yield_after = Protocol.yield_after

    def observed(self: Protocol, seconds: float) -> None:
        yield_after(self, seconds)
        if callbacks:
            callbacks.pop()()

    monkeypatch.setattr(Protocol, "yield_after", observed)
    return callbacks


@on_server
async def test_result_cancelled_in_a_pause_leaves_the_next_its_answer(
    long: aiomysqlx.SAConnection, on_pause: list[Callable[[], None]]
) -> None:
    for number in range(3):
        task = asyncio.ensure_future(long.execute(LONG_SQL))
        on_pause.append(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

        assert long.connection is not None and long.connection.busy
        assert await long.scalar(f"SELECT {number}") == number
        assert await long.scalar(select(bindparam("x", type_=Integer)), x=number) == number


@on_server
@pytest.mark.usefixtures("long")
async def test_connection_released_in_a_pause_is_used_again(
    connect_kwargs: dict[str, Any], on_pause: list[Callable[[], None]]
) -> None:
    threads = set()

    async with aiomysqlx.create_engine(**connect_kwargs, maxsize=1) as engine:

        async def use() -> None:
            async with engine.acquire() as conn:
                await conn.execute(LONG_SQL)

        for number in range(3):
            task = asyncio.create_task(use())
            on_pause.append(task.cancel)
            with pytest.raises(asyncio.CancelledError):
                await task

            async with engine.acquire() as conn:
                assert await conn.scalar(f"SELECT {number}") == number
                threads.add(await conn.scalar("SELECT CONNECTION_ID()"))

    assert len(threads) == 1


@on_server
@pytest.mark.parametrize("how", ["close", "abort", "terminate"])
async def test_connection_closed_in_a_pause_fails_its_statement(
    engine: aiomysqlx.Engine,
    long: aiomysqlx.SAConnection,
    on_pause: list[Callable[[], None]],
    how: str,
) -> None:
    raw = long.connection
    assert raw is not None
    ways: dict[str, Callable[[], None]] = {
        "close": raw.close,
        "abort": raw._session.abort,
        "terminate": engine.terminate,
    }
    on_pause.append(ways[how])

    with pytest.raises(err.OperationalError, match="2013"):
        await long.execute(LONG_SQL)

    assert raw.closed
    await turn()


@on_server
async def test_connection_killed_in_a_pause_fails_its_statement(
    long: aiomysqlx.SAConnection, admin: Any, on_pause: list[Callable[[], None]]
) -> None:
    assert long.connection is not None
    thread = long.connection.thread_id()

    def kill() -> None:
        with admin.cursor() as cursor:
            cursor.execute(f"KILL {thread}")

    on_pause.append(kill)

    # Twenty megabytes do not fit into what the sockets hold: the server is still writing.
    with pytest.raises(err.OperationalError):
        await long.execute(LONG_SQL.replace("2000", "20000"))

    assert long.closed


async def test_connection_reset_in_a_pause_fails_its_statement(
    on_pause: list[Callable[[], None]],
) -> None:
    async def script(peer: Peer) -> None:
        on_pause.append(peer.reset)
        await peer.answer(packets(*answer(DEFINITIONS, LONG[:200], True)[:-1]))
        await peer.read()

    async with connected(script) as connection:
        async with connection.cursor() as cursor:
            with pytest.raises(err.OperationalError, match="2013"):
                await asyncio.wait_for(cursor.execute("SELECT 1"), 5)

        assert on_pause == [] and connection.closed


@on_server
@pytest.mark.usefixtures("at_once")
async def test_long_result_over_tls_comes_in_whole(
    connect_kwargs: dict[str, Any], tls: Certificates
) -> None:
    context = ssl.create_default_context(cafile=str(tls.ca))
    async with (
        aiomysqlx.create_engine(**{**connect_kwargs, "host": "localhost"}, ssl=context) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("CREATE TABLE digits (d INT)")
        await conn.execute(digits.insert(), [{"d": number} for number in range(10)])

        for _ in range(3):
            rows = await (await conn.execute(LONG_SQL)).fetchall()
            assert [row.n for row in rows] == list(range(1000))


@on_server
async def test_statements_again_on_a_server_with_eofs(connect_kwargs: dict[str, Any]) -> None:
    tbl = Table("t", MetaData(), Column("id", Integer), Column("name", String(10)))
    statement = tbl.select().where(tbl.c.id < bindparam("x")).order_by(tbl.c.id)

    async with (
        proxy(connect_kwargs, without_deprecate_eof) as kwargs,
        aiomysqlx.create_engine(**kwargs) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("CREATE TABLE t (id INT, name VARCHAR(10))")
        await conn.execute(tbl.insert(), [(1, "a"), (2, None)])
        for _ in range(4):
            assert await (await conn.execute(statement, x=9)).fetchall() == [(1, "a"), (2, None)]
            assert await (await conn.execute(statement, x=0)).fetchall() == []
        await conn.execute("ALTER TABLE t MODIFY id VARCHAR(5)")

        assert await (await conn.execute(statement, x=9)).fetchall() == [("1", "a"), ("2", None)]


class Interrupted(TypeDecorator[int]):
    """Interrupts the event loop at one value, once."""

    impl = Integer
    cache_ok = True
    at: int | None = None
    error: type[BaseException] = KeyboardInterrupt

    def process_result_value(self, value: Any, dialect: Any) -> Any:
        if value == Interrupted.at:
            Interrupted.at = None
            raise Interrupted.error
        return value


@pytest.mark.server
@pytest.mark.usefixtures("mariadb", "tls")
@pytest.mark.parametrize("ssl_mode", ["DISABLED", "REQUIRED"])
@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit])
def test_interrupt_in_a_result_ends_the_event_loop_and_the_connection(
    connect_kwargs: dict[str, Any],
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    monkeypatch: pytest.MonkeyPatch,
    raised: type[BaseException],
    ssl_mode: str,
) -> None:
    statement = sql_text("SELECT seq AS id FROM seq_1_to_2000").columns(id=Interrupted)
    monkeypatch.setattr(Interrupted, "error", raised)
    kwargs = {**connect_kwargs, "ssl_mode": ssl_mode}
    loop = new_loop()

    async def fetch() -> Any:
        async with aiomysqlx.create_engine(**kwargs) as engine, engine.acquire() as conn:
            await conn.execute(statement)
            Interrupted.at = 300
            return await (await conn.execute(statement)).fetchall()

    task = loop.create_task(fetch())
    with pytest.raises(raised):
        loop.run_until_complete(task)
    assert not task.done()
    with pytest.raises(err.OperationalError, match="Lost connection"):
        loop.run_until_complete(asyncio.wait_for(task, 5))
    loop.close()


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (0, 1),
        (0xFFFFFE, 1),
        (0xFFFFFF, 2),
        (0x1000000, 2),
        (2 * 0xFFFFFF - 1, 2),
        (2 * 0xFFFFFF, 3),
    ],
)
def test_wire_packets_of_a_command_are_counted(size: int, count: int) -> None:
    assert wire_packets(frame(bytes(size))) == count


@pytest.mark.parametrize("full", [1, 5, 63])
def test_wire_packets_of_a_long_command_are_counted(full: int) -> None:
    packet: Any = range(full * (4 + 0xFFFFFF) + 4)  # whose length alone is asked for

    assert (wire_packets(packet[:-1]), wire_packets(packet)) == (full + 1, full + 1)
    assert wire_packets(packet[:-5]) == full


@pytest.mark.parametrize(("size", "sequence"), [(5, 1), (0xFFFFFE, 1), (0xFFFFFF, 2)])
async def test_answer_counts_on_from_the_last_packet_of_a_command(size: int, sequence: int) -> None:
    wire = Wire()

    reply = wire.protocol.send(Command(frame(bytes(size))), wire.describe, "utf-8")
    wire.receive(packets(OK, first=sequence))

    await asyncio.wait_for(reply.future, 10)
    assert not wire.transport.closing


@pytest.mark.parametrize("kind", [err.OperationalError, InvalidRequestError])
def test_error_of_ours_is_raised_anew_without_its_frames(kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught:
        raise kind(1, "told")

    free = set_free(caught.value)

    assert free is not caught.value and type(free) is kind
    assert free.args == (1, "told")
    assert free.__traceback__ is None


def test_error_of_a_users_own_stays_the_same() -> None:
    error = LookupError("no good")

    assert set_free(error) is error


@pytest.mark.server
async def test_encrypted_connection_whose_peer_is_silent_is_closed_by_force(
    connect_kwargs: dict[str, Any], tls: Certificates
) -> None:
    context = ssl.create_default_context(cafile=str(tls.ca))
    async with faulty_proxy(connect_kwargs) as proxy:
        raw = await aiomysqlx.connect(**proxy.kwargs, ssl=context)
        protocol = raw._session.protocol
        assert protocol is not None
        proxy.hang()

        await asyncio.wait_for(raw.ensure_closed(), 5)  # TLS itself would wait for 30 seconds

        await asyncio.wait_for(protocol.closed, 5)


async def test_what_comes_for_nobody_is_counted_in_small_reads_too() -> None:
    wire = Wire()
    reply = wire.send()
    excess: list[bool] = []
    wire.receive(packets(b"\x01", column(), EOF))
    wire.protocol.drop(reply)
    wire.protocol.spare(10_000, lambda: excess.append(True))

    for number in range(4, 204):
        wire.receive(packets(text(b"x" * 90), first=number))

    assert excess == [True]
