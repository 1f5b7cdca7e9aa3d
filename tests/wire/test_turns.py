"""Statements of many rows are written in turns: the event loop serves others meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, text
from sqlalchemy.dialects.mysql import insert

import aiomysqlx
from aiomysqlx.sql import batch as many
from aiomysqlx.wire import turns
from aiomysqlx.wire._impl import render_rows
from aiomysqlx.wire.dialogue import BATCH_BYTES

names = Table(
    "names", MetaData(), Column("id", Integer, primary_key=True), Column("name", String(40))
)
ROWS = [{"id": number, "name": f"name {number}"} for number in range(1, 401)]
_upsert = insert(names).on_duplicate_key_update(name=bindparam("other"))
_update = names.update().where(names.c.id == bindparam("which")).values(name=bindparam("new"))


async def _with_cursor(conn: aiomysqlx.SAConnection) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        rows = [tuple(row.values()) for row in ROWS]
        await cursor.executemany("INSERT INTO names (id, name) VALUES (%s, %s)", rows)


async def _insert(conn: aiomysqlx.SAConnection) -> None:
    await conn.execute(names.insert(), ROWS)


EXECUTES: dict[str, Callable[[aiomysqlx.SAConnection], Awaitable[Any]]] = {
    "insert": _insert,
    "insert by position": lambda c: c.execute(names.insert(), [tuple(r.values()) for r in ROWS]),
    "insert with parameters behind the rows": lambda c: c.execute(
        _upsert, [{**row, "other": row["id"] // 100} for row in ROWS]
    ),
    "text": lambda c: c.execute("INSERT INTO names (id, name) VALUES (%(id)s, %(name)s)", ROWS),
    "update": lambda c: c.execute(_update, [{"which": r["id"], "new": r["name"]} for r in ROWS]),
    "select": lambda c: c.execute(text("DO :id"), [{"id": row["id"]} for row in ROWS]),
    "cursor": _with_cursor,
}


@pytest.fixture
async def conn(
    engine: aiomysqlx.Engine, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiomysqlx.SAConnection]:
    """A connection with a table, that works in slices as short as can be."""
    async with engine.acquire() as conn:
        await conn.execute("CREATE TABLE names (id INT PRIMARY KEY, name VARCHAR(40))")
        monkeypatch.setattr(turns, "SLICE_SECONDS", 0.0)
        yield conn


async def turns_before_sending(conn: aiomysqlx.SAConnection, work: Awaitable[Any]) -> int:
    """Do *work*, and count the turns of the event loop before anything of it is sent."""
    assert conn.connection is not None
    task = asyncio.ensure_future(work)
    count = 0
    await asyncio.sleep(0)
    while not (task.done() or conn.connection.busy):
        count += 1
        await asyncio.sleep(0)
    await task
    return count


async def count(conn: aiomysqlx.SAConnection) -> int:
    return cast(int, await conn.scalar("SELECT count(*) FROM names"))


@pytest.mark.server
@pytest.mark.parametrize("execute", EXECUTES.values(), ids=EXECUTES)
async def test_others_have_their_turns_while_many_rows_are_written(
    conn: aiomysqlx.SAConnection, execute: Callable[[aiomysqlx.SAConnection], Awaitable[Any]]
) -> None:
    assert await turns_before_sending(conn, execute(conn)) >= len(ROWS) // turns.STEP


@pytest.mark.server
async def test_work_that_fits_in_a_slice_is_not_interrupted(
    conn: aiomysqlx.SAConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SLICE_SECONDS", 60.0)

    assert await turns_before_sending(conn, _insert(conn)) == 0


@pytest.mark.server
async def test_packets_of_few_long_rows_are_written_in_turns(conn: aiomysqlx.SAConnection) -> None:
    await conn.execute("ALTER TABLE names MODIFY name LONGTEXT")
    rows = [{"id": number, "name": "x" * 800_000} for number in range(5)]

    before = await turns_before_sending(conn, conn.execute(names.insert(), rows))

    assert before >= len(rows)


@pytest.mark.server
@pytest.mark.parametrize(
    "other",
    [
        lambda conn: conn.execute("SELECT 1"),
        lambda conn: conn.execute(names.select()),
        lambda conn: conn.execute(names.insert(), [{"id": 1}, {"id": 2}]),
        lambda conn: conn.begin(),
        lambda conn: conn.connection.query("SET NAMES latin1"),
        lambda conn: conn.connection.ping(),
        lambda conn: conn.connection.reset(),
    ],
    ids=["text", "construct", "many", "begin", "query", "ping", "reset"],
)
async def test_other_statement_is_refused_meanwhile(
    conn: aiomysqlx.SAConnection, other: Callable[[aiomysqlx.SAConnection], Awaitable[Any]]
) -> None:
    task = asyncio.ensure_future(_insert(conn))
    await asyncio.sleep(0)

    with pytest.raises(aiomysqlx.InvalidRequestError, match="another statement is in progress"):
        await other(conn)

    await task
    assert await count(conn) == len(ROWS)


@pytest.mark.server
async def test_work_in_another_event_loop_bars_nobody(conn: aiomysqlx.SAConnection) -> None:
    other = asyncio.new_event_loop()
    task = other.create_task(_insert(conn))
    await asyncio.to_thread(other.run_until_complete, asyncio.sleep(0))

    assert await count(conn) == 0
    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        await asyncio.to_thread(other.run_until_complete, task)
    other.close()


@pytest.mark.server
async def test_nothing_is_sent_of_what_is_cancelled_meanwhile(
    conn: aiomysqlx.SAConnection,
) -> None:
    task = asyncio.ensure_future(_insert(conn))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert await count(conn) == 0


@pytest.mark.server
async def test_nothing_is_sent_for_a_connection_given_back_meanwhile(
    engine: aiomysqlx.Engine, conn: aiomysqlx.SAConnection
) -> None:
    task = asyncio.ensure_future(_insert(conn))
    await asyncio.sleep(0)
    raw = conn.connection
    engine.release(conn)

    async with engine.acquire() as other:
        assert other.connection is raw
        assert await count(other) == 0
        await other.execute(names.insert(), ROWS[:100])
        with pytest.raises(aiomysqlx.ResourceClosedError):
            await task
        assert await count(other) == 100


@pytest.mark.server
async def test_nothing_is_sent_in_a_block_left_meanwhile(conn: aiomysqlx.SAConnection) -> None:
    with pytest.raises(ZeroDivisionError):
        async with conn.begin():
            task = asyncio.ensure_future(_insert(conn))
            await asyncio.sleep(0)
            raise ZeroDivisionError

    with pytest.raises(aiomysqlx.InvalidRequestError, match="is being ended: begin another"):
        await task
    assert await count(conn) == 0


@pytest.mark.server
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_transaction_whose_end_is_refused_meanwhile_is_seen_to_its_end(
    conn: aiomysqlx.SAConnection, end: str
) -> None:
    transaction = await conn.begin()
    task = asyncio.ensure_future(_insert(conn))
    await asyncio.sleep(0)
    with pytest.raises(aiomysqlx.InvalidRequestError, match="another statement is in progress"):
        await getattr(transaction, end)()
    await task

    await conn.execute("CREATE TABLE other (id INT)")

    with pytest.raises(aiomysqlx.InvalidRequestError, match="has ended this transaction"):
        await conn.execute("INSERT INTO names VALUES (1000, 'after it')")
    await transaction.rollback()
    assert await count(conn) == len(ROWS)


@pytest.mark.server
async def test_nothing_is_written_in_a_block_that_is_over_while_it_is_rolled_back(
    conn: aiomysqlx.SAConnection,
) -> None:
    transaction = await conn.begin()
    await conn.execute("CREATE TABLE other (id INT)")
    task = asyncio.ensure_future(_insert(conn))
    await asyncio.sleep(0)
    await asyncio.wait([task, asyncio.ensure_future(transaction.rollback())])

    assert isinstance(task.exception(), aiomysqlx.InvalidRequestError)
    assert await count(conn) == 0


@pytest.mark.server
async def test_rows_are_those_that_the_list_had_at_first(conn: aiomysqlx.SAConnection) -> None:
    rows = [dict(row) for row in ROWS]
    task = asyncio.ensure_future(conn.execute(names.insert(), rows))
    await asyncio.sleep(0)
    rows.clear()

    await task
    assert await count(conn) == len(ROWS)


@pytest.mark.server
async def test_nothing_is_sent_of_what_is_out_of_time(conn: aiomysqlx.SAConnection) -> None:
    rows = [{"id": number, "name": "x"} for number in range(50_000)]

    with pytest.raises(aiomysqlx.StatementTimeoutError, match="more than 0.005 seconds"):
        await conn.execute(names.insert(), rows, timeout=0.005)

    assert await count(conn) == 0


@pytest.mark.server
@pytest.mark.parametrize("number", [0, 63, 64, 399])
async def test_refused_value_is_found_in_its_group(
    conn: aiomysqlx.SAConnection, number: int
) -> None:
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    rows[number]["name"] = object()

    message = rf"parameter 'name': .*'object'.*, in parameter group {number}$"
    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        await conn.execute(names.insert(), rows)
    assert await count(conn) == 0


class _Room:
    """What rows are written for."""

    schema = ""
    syntax = "utf8", 0

    def __init__(self, max_allowed_packet: int) -> None:
        self.max_allowed_packet = max_allowed_packet
        self.claim = 0, 0

    def begin_work(self, claim: tuple[int, int]) -> None:
        pass

    end_work = check_claim = begin_work

    def check_deadline(self) -> None:
        pass

    def check_length(self, packet: bytes) -> None:
        pass


def _whole(limit: int, head: bytes, rows: list[tuple[str]], tail: bytes) -> list[bytes]:
    """Give the packets, each written at once."""
    packets, start = [], 0
    while start < len(rows):
        packet, start = render_rows(head, (b"(", b")"), rows, tail, "utf8", 0, start, limit)
        packets.append(packet)
    return packets


@given(
    rows=st.lists(st.tuples(st.text("x", max_size=60)), min_size=1, max_size=30),
    limit=st.integers(1, 300),
    step=st.integers(1, 30),
    head=st.sampled_from([b"", b"INSERT INTO t VALUES "]),
    tail=st.sampled_from([b"", b" RETURNING id"]),
)
def test_packets_of_rows_that_come_by_and_by_are_those_written_at_once(
    rows: list[tuple[str]], limit: int, step: int, head: bytes, tail: bytes
) -> None:
    async def written() -> list[bytes]:
        with turns.Turns(_Room(limit + 1)) as in_turns:
            packets = many.RowPackets(in_turns, (b"(", b")"))
            for first in range(0, len(rows), step):
                await packets.add(head, rows[first : first + step], tail)
            return packets.finished()

    assert asyncio.run(written()) == _whole(limit, head, rows, tail)


async def test_row_longer_than_a_wire_packet_is_written_between_others() -> None:
    rows = [("short",), ("x" * (1 << 24),), ("short",)]

    with turns.Turns(_Room(1 << 26)) as in_turns:
        packets = many.RowPackets(in_turns, (b"(", b")"))
        await packets.add(b"INSERT ", rows, b" TAIL")

    assert packets.finished() == _whole(BATCH_BYTES, b"INSERT ", rows, b" TAIL")
