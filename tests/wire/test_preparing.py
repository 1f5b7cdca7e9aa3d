"""Preparing a statement: what the server answers, whoever waits for it, and what closes one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from fakes import EOF, OK, column, error, packets
from pymysql import err
from wires import Wire

from aiomysqlx.wire.columns import describe
from aiomysqlx.wire.command import Question, packet_of
from aiomysqlx.wire.outcome import Refusal
from aiomysqlx.wire.prepared import Statements
from aiomysqlx.wire.preparing import Prepare, Statement, closing, is_void

COM_QUERY = 3


def refusal(code: int, message: str, sqlstate: str = "HY000") -> err.MySQLError:
    error: err.MySQLError = Refusal(code, sqlstate, message).error()
    return error


HEAD = b"\0\7\0\0\0\2\0\1\0\0\3\0"  # number 7, two columns, one parameter, three warnings


def prepare(wire: Wire, sql: bytes = b"SELECT ?") -> tuple[Statement, Any]:
    statement = Statement()
    return statement, wire.protocol.send(Prepare(sql, statement), describe, "utf-8")


def answer(eofs: bool, head: bytes = HEAD, parameters: int = 1, columns: int = 2) -> bytes:
    payloads = [head]
    for count in filter(None, (parameters, columns)):
        payloads += [column(b"a")] * count + [EOF] * eofs
    return packets(*payloads)


@pytest.mark.parametrize("eofs", [True, False], ids=["EOFs", "no EOFs"])
@pytest.mark.parametrize("size", [1, 7, 1 << 16], ids=["byte by byte", "in pieces", "whole"])
async def test_answer_tells_the_number_the_parameters_and_the_columns(
    eofs: bool, size: int
) -> None:
    wire = Wire(eofs)
    statement, reply = prepare(wire)
    stream = answer(eofs)

    for start in range(0, len(stream), size):
        wire.receive(stream[start : start + size])

    (result,) = await reply.future
    assert (statement.number, statement.parameters, statement.refused) == (7, 1, None)
    assert [each.name for each in statement.columns] == ["a", "a"]
    assert (result.columns, result.rows, result.warning_count) == (None, [], 3)
    assert wire.protocol.status == 2  # what it was
    assert reply.answered


@pytest.mark.parametrize("eofs", [True, False], ids=["EOFs", "no EOFs"])
async def test_statement_may_have_neither_parameters_nor_columns(eofs: bool) -> None:
    wire = Wire(eofs)
    statement, reply = prepare(wire)

    wire.receive(answer(eofs, b"\0\xff\xff\xff\xff\0\0\0\0\0\0\0", 0, 0))

    await reply.future
    assert (statement.number, statement.parameters, statement.columns) == (0xFFFFFFFF, 0, [])


async def test_answer_goes_into_the_statement_when_nobody_waits() -> None:
    wire = Wire()
    statement, reply = prepare(wire)
    reply.future.cancel()
    wire.protocol.drop(reply)

    wire.receive(answer(True))

    assert statement.number == 7 and len(statement.columns) == 2
    assert not wire.protocol.replies and wire.protocol.lost is None


async def test_refusal_is_the_error_and_stands_in_the_statement() -> None:
    wire = Wire()
    statement, reply = prepare(wire)

    wire.receive(packets(error(1295, "not supported")))

    with pytest.raises(err.MySQLError, match="not supported"):
        await reply.future
    assert statement.number is None
    assert statement.refused is not None and statement.refused.code == 1295


MALFORMED = {
    "a head that is cut short": [HEAD[:-1]],
    "an OK packet": [OK],
    "a result's number of columns": [b"\1"],
    "a local file": [b"\xfbfile"],
    "an error among the definitions": [HEAD, error(1105, "no more")],
    "a parameter that is cut short": [HEAD, column(b"a")[:-9], EOF],
    "a column that is cut short": [HEAD, column(b"a"), EOF, column(b"a"), b"\3def", EOF],
    "no EOF": [HEAD, column(b"a"), column(b"a")],
    "another packet for an EOF": [HEAD, column(b"a"), b"\xfe" + bytes(8)],
}


@pytest.mark.parametrize("payloads", MALFORMED.values(), ids=MALFORMED)
async def test_malformed_answer_ends_the_connection(payloads: list[bytes]) -> None:
    wire = Wire()
    statement, reply = prepare(wire)

    wire.receive(packets(*payloads))

    with pytest.raises(err.OperationalError, match="Malformed packet"):
        await reply.future
    assert statement.number is None and wire.transport.aborted


@pytest.mark.server
async def test_server_prepares_executes_and_closes(raw: Any) -> None:
    session = raw._session
    statements = [Statement() for _ in range(3)]
    counting = packet_of(COM_QUERY, b"SHOW SESSION STATUS LIKE 'Com_stmt_close'")
    before = (await session.ask(counting))[1]

    for sql, statement in zip(
        (b"SELECT 1.5 AS a, ? + 1 AS b, ? AS c", b"DO ?", b"SELECT 1"), statements, strict=True
    ):
        await session.run(Prepare(sql, statement))
    for statement in statements:
        assert statement.number is not None
        session.protocol.write(closing(statement.number))

    after = (await session.ask(counting))[1]
    names = [[c.name for c in each.columns] for each in statements]
    assert [each.parameters for each in statements] == [2, 1, 0]
    assert names == [["a", "b", "c"], [], ["1"]]
    assert int(after) - int(before) == 3


@pytest.mark.server
async def test_statement_behind_a_cancelled_preparation_has_its_own_answer(
    raw: Any,
) -> None:
    session = raw._session
    statement = Statement()
    preparing = session.run(Prepare(b"SELECT 1, ?", statement))
    preparing.send(None)  # up to where it waits, with no turn of the event loop

    with pytest.raises(asyncio.CancelledError):
        preparing.throw(asyncio.CancelledError())
    await session.ready()
    row = (await session.run(Question(packet_of(COM_QUERY, b"SELECT 'mine'"))))[0].rows

    assert row == [("mine",)]
    assert statement.number is not None and statement.parameters == 1


UNKNOWN = "Unknown prepared statement handler (7) given to mysqld_stmt_execute"
ANEW = "Prepared statement needs to be re-prepared"
CONVERSION = "Conversion from collation utf8mb4_bin into latin1_bin impossible for parameter"


@pytest.mark.parametrize(
    ("refused", "again", "writing_again"),
    [
        pytest.param(refusal(1243, UNKNOWN), True, True, id="unknown"),
        pytest.param(refusal(1243, UNKNOWN.replace("7", "77")), True, False, id="other number"),
        pytest.param(refusal(1243, UNKNOWN, "45000"), False, False, id="unknown in a SIGNAL"),
        pytest.param(refusal(1615, ANEW), True, False, id="anew"),
        pytest.param(refusal(3988, CONVERSION), True, True, id="conversion"),
        pytest.param(refusal(3988, CONVERSION + "s"), True, False, id="other words"),
        pytest.param(refusal(1213, ANEW), False, False, id="other code"),
    ],
)
@pytest.mark.parametrize("writes", [False, True], ids=["reads", "writes"])
async def test_statement_goes_again_as_text_if_it_surely_was_not_executed(
    raw: Any, refused: err.MySQLError, again: bool, writing_again: bool, writes: bool
) -> None:
    session = raw._session
    statements = session.protocol.statements = Statements(0, 9, Counter())
    statements.latest = Statement()
    statements.latest.number = 7

    expected = writing_again if writes else again

    assert [is_void(session, refused, writes) for _ in range(2)] == [expected, False]
