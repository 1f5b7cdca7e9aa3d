"""What answers tell of the session and its transaction, and what ends the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from fakes import EOF, OK, column, error, packet, packets, text
from pymysql import err
from wires import Wire

from aiomysqlx.runtime.waiter import Waiter
from aiomysqlx.wire._impl import frame
from aiomysqlx.wire.command import Command
from aiomysqlx.wire.outcome import (
    TABLE_LOCKS,
    Ending,
    Refusal,
    of_commit,
    of_refusal,
    parse_refusal,
)
from aiomysqlx.wire.packets import MalformedPacket
from aiomysqlx.wire.protocol import Protocol
from aiomysqlx.wire.reply import Reply

pytestmark = pytest.mark.usefixtures("quiet")

IN_TRANSACTION, AUTOCOMMIT, MORE, NO_BACKSLASHES = 1, 2, 8, 1 << 9  # SERVER_STATUS
READ_ONLY, STATE_CHANGED = 1 << 13, 1 << 14
SELECT = b"\x09\0\0\0\3SELECT 1"
PING = b"\1\0\0\0\x0e"
FAILED = Refusal(1205, "HY000", "lock wait timeout")
SAME = b"\x00\x00"
ROWS = (b"\1", column(), EOF, text(b"1"))


def state(letters: bytes) -> bytes:
    return b"\x00\x0b\x05\x09\x08" + letters


def variable(name: bytes, value: bytes) -> bytes:
    entry = text(name) + text(value)
    return b"\0" + text(b"\0" + text(entry))


def ok(status: int = AUTOCOMMIT, info: bytes | None = None, rows: int = 0) -> bytes:
    if info is not None:
        status |= STATE_CHANGED
    return b"\0" + bytes((rows, 0)) + status.to_bytes(2, "little") + b"\0\0" + (info or b"")


def rows_end(status: int) -> bytes:
    return b"\xfe\0\0" + status.to_bytes(2, "little")


@pytest.fixture
async def wire() -> Wire:
    return Wire()


def asked(wire: Wire, *payloads: bytes, command: bytes = SELECT) -> Reply:
    """Ask, and have these payloads for an answer."""
    reply = wire.protocol.send(Command(command), wire.describe, "utf-8")
    wire.receive(packets(*payloads))
    assert reply.future.done()
    reply.future.exception()
    return reply


def begun(wire: Wire, status: int = IN_TRANSACTION | AUTOCOMMIT, info: bytes | None = None) -> None:
    """Begin a block."""
    asked(wire, ok(status, info))
    wire.protocol.watch()


# -- the transaction -------------------------------------------------------------------------------


async def test_status_is_that_of_the_latest_answer(wire: Wire) -> None:
    protocol = wire.protocol
    assert not protocol.in_transaction and not protocol.shows

    asked(wire, ok(IN_TRANSACTION))
    assert protocol.status == IN_TRANSACTION and protocol.in_transaction and protocol.shows

    asked(wire, ok(AUTOCOMMIT))
    assert protocol.status == AUTOCOMMIT and not protocol.in_transaction and protocol.shows


async def test_error_leaves_it_open_whether_there_is_a_transaction(wire: Wire) -> None:
    protocol = wire.protocol

    asked(wire, error(1205, "lock wait timeout"))
    assert protocol.doubt == parse_refusal(error(1205, "lock wait timeout"))
    assert protocol.in_transaction and protocol.status == AUTOCOMMIT

    asked(wire, ok())  # whose status is the same
    assert protocol.doubt is None and not protocol.in_transaction


async def test_rows_that_are_counted_in_a_transaction_are_written_in_it(wire: Wire) -> None:
    asked(wire, ok(AUTOCOMMIT, rows=1))
    assert wire.protocol.wrote is False

    asked(wire, ok(IN_TRANSACTION))
    assert wire.protocol.wrote is False
    asked(wire, ok(IN_TRANSACTION, rows=1))
    assert wire.protocol.wrote is True
    asked(wire, ok(IN_TRANSACTION))
    assert wire.protocol.wrote is True

    asked(wire, ok(AUTOCOMMIT))
    assert wire.protocol.wrote is False


async def test_block_begins_with_nothing_written_and_no_end(wire: Wire) -> None:
    protocol = wire.protocol
    asked(wire, ok(IN_TRANSACTION, rows=1))
    protocol.ended = of_commit(1290)

    protocol.watch()
    assert (protocol.watched, protocol.ended, protocol.wrote) == (True, None, False)

    protocol.unwatch()
    assert protocol.watched is None
    asked(wire, ok(AUTOCOMMIT))
    protocol.watch()
    assert protocol.watched is False


TOLD = "'SELECT 1' has ended this transaction, its work committed or rolled back"
ENDS: dict[str, tuple[tuple[bytes, ...], bool]] = {
    "goes on": ((ok(IN_TRANSACTION),), False),
    "no transaction": ((ok(AUTOCOMMIT),), True),
    "left on the way": ((ok(AUTOCOMMIT | MORE), ok(IN_TRANSACTION)), True),
    "several in it": ((ok(IN_TRANSACTION | MORE), ok(IN_TRANSACTION)), False),
    "goes on, it is told": ((ok(IN_TRANSACTION, state(b"T___W___")),), False),
    "another one": ((ok(IN_TRANSACTION, state(b"T_______")),), True),
    "restarted": ((ok(IN_TRANSACTION, SAME),), True),
    "restarted, then told": (
        (ok(IN_TRANSACTION | MORE, SAME), ok(IN_TRANSACTION, state(b"T_R_W___"))),
        True,
    ),
    "anew, and on": (
        (ok(IN_TRANSACTION | MORE, state(b"T_______")), ok(IN_TRANSACTION, state(b"T_R_____"))),
        True,
    ),
}


@pytest.mark.parametrize(("payloads", "ends"), ENDS.values(), ids=ENDS)
async def test_end_of_a_blocks_transaction_is_seen(
    wire: Wire, payloads: tuple[bytes, ...], ends: bool
) -> None:
    begun(wire, info=state(b"T___W___"))

    asked(wire, *payloads)

    assert wire.protocol.ended == (Ending(TOLD, None) if ends else None)


@pytest.mark.parametrize("told", [False, True], ids=["no state", "a state"])
async def test_restart_proves_nothing_where_no_state_was_ever_told(wire: Wire, told: bool) -> None:
    if told:
        asked(wire, ok(AUTOCOMMIT, state(b"________")))
    begun(wire)

    asked(wire, ok(IN_TRANSACTION, SAME))

    assert (wire.protocol.ended is not None) is told
    assert wire.protocol.lost is None


async def test_nothing_ends_outside_of_a_block(wire: Wire) -> None:
    asked(wire, ok(IN_TRANSACTION, state(b"T___W___")))

    asked(wire, ok(IN_TRANSACTION, state(b"T_______")))
    asked(wire, ok(AUTOCOMMIT))

    assert wire.protocol.ended is None


@pytest.mark.parametrize("watched", [True, False, None])
async def test_state_outside_of_a_block_is_what_the_next_one_begins_with(
    wire: Wire, watched: bool | None
) -> None:
    asked(wire, ok(IN_TRANSACTION, state(b"T_______")))
    wire.protocol.watched = watched

    asked(wire, ok(IN_TRANSACTION, state(b"T_R_____")))
    assert wire.protocol.ended is None
    wire.protocol.watched = True
    asked(wire, ok(IN_TRANSACTION, state(b"T_______")))

    assert wire.protocol.ended is not None


async def test_plain_state_is_what_the_next_block_begins_with(wire: Wire) -> None:
    asked(wire, ok(IN_TRANSACTION, state(b"T_R_____")))
    asked(wire, ok(IN_TRANSACTION, state(b"T_______")))
    wire.protocol.watch()
    asked(wire, ok(IN_TRANSACTION, state(b"T_R_____")))
    assert wire.protocol.ended is None

    fresh = Wire()
    begun(fresh, info=state(b"T_______"))
    asked(fresh, ok(IN_TRANSACTION, state(b"T_R_____")))
    assert fresh.protocol.ended is None


@pytest.mark.parametrize("begins", [True, False], ids=["begun anew", "over"])
async def test_plain_states_of_one_answer_are_taken_one_by_one(wire: Wire, begins: bool) -> None:
    begun(wire, info=state(b"T_______"))
    between = ok(IN_TRANSACTION | MORE, state(b"________"))

    asked(wire, between, ok(IN_TRANSACTION, state(b"T_______" if begins else b"________")))

    assert (wire.protocol.ended is not None) is begins


async def test_last_plain_state_of_an_answer_is_what_the_next_block_begins_with(
    wire: Wire,
) -> None:
    asked(wire, ok(MORE, state(b"T_______")), ok(0, state(b"________")))
    wire.protocol.watched = True

    asked(wire, ok(IN_TRANSACTION, state(b"T_______")))

    assert wire.protocol.ended is not None


async def test_what_was_written_is_told_by_the_last_state_of_an_answer(wire: Wire) -> None:
    states = state(b"T_______"), state(b"T___W___")

    asked(wire, ok(IN_TRANSACTION | MORE, states[0]), ok(IN_TRANSACTION, states[1]))

    assert wire.protocol.wrote is True


async def test_rows_that_were_counted_are_written_whatever_the_state_tells(wire: Wire) -> None:
    asked(wire, ok(IN_TRANSACTION, rows=1))

    asked(wire, ok(IN_TRANSACTION, state(b"T_R_____")))

    assert wire.protocol.wrote is True


async def test_first_end_of_a_block_is_the_one_that_is_told_of(wire: Wire) -> None:
    begun(wire)
    asked(wire, ok(AUTOCOMMIT), command=b"\x07\0\0\0\3COMMIT")
    asked(wire, ok(AUTOCOMMIT | 32))

    assert wire.protocol.ended is not None
    assert wire.protocol.ended.words == "'COMMIT' has ended this transaction and committed its work"


async def test_end_by_one_of_several_statements_may_be_any_ones(wire: Wire) -> None:
    begun(wire)

    asked(wire, ok(IN_TRANSACTION | MORE), ok(AUTOCOMMIT), command=b"\x07\0\0\0\3COMMIT")

    assert wire.protocol.ended is not None and wire.protocol.ended.committed is None


async def test_end_that_shows_after_an_error_is_the_errors(wire: Wire) -> None:
    begun(wire)
    asked(wire, error(1213, "deadlock", "40001"))
    assert wire.protocol.ended is None

    asked(wire, ok(AUTOCOMMIT), command=PING)

    refusal = Refusal(1213, "40001", "deadlock")
    assert wire.protocol.ended == of_refusal(refusal, SELECT, "utf-8")
    assert wire.protocol.ended.committed is False
    assert wire.protocol.doubt is None


@pytest.mark.parametrize(
    ("watched", "sqlstate", "ends"),
    [(False, "40001", True), (False, "HY000", False), (True, "40001", False), (None, "40001", 0)],
)
async def test_deadlock_ends_a_block_whose_transaction_does_not_show(
    wire: Wire, watched: bool | None, sqlstate: str, ends: bool
) -> None:
    wire.protocol.watched = watched

    asked(wire, error(1213, "deadlock", sqlstate))

    assert (wire.protocol.ended is not None) == ends


WRITES: dict[str, tuple[int, bytes, tuple[bytes, ...], bool]] = {
    "a ping": (AUTOCOMMIT, PING, (ok(IN_TRANSACTION | AUTOCOMMIT),), True),
    "a ping, no autocommit": (0, PING, (ok(IN_TRANSACTION),), True),
    "rows": (AUTOCOMMIT, SELECT, (*ROWS, rows_end(IN_TRANSACTION | AUTOCOMMIT)), True),
    "rows, no autocommit": (0, SELECT, (*ROWS, rows_end(IN_TRANSACTION)), False),
    "a statement": (AUTOCOMMIT, SELECT, (ok(IN_TRANSACTION | AUTOCOMMIT),), False),
    "none": (AUTOCOMMIT, PING, (ok(AUTOCOMMIT),), False),
    "in one before": (IN_TRANSACTION, PING, (ok(IN_TRANSACTION),), False),
}


@pytest.mark.parametrize("doubt", [True, False], ids=["error", ""])
@pytest.mark.parametrize(("before", "command", "payloads", "wrote"), WRITES.values(), ids=WRITES)
async def test_failed_procedure_may_have_written_in_the_transaction_that_it_began(
    wire: Wire, before: int, command: bytes, payloads: tuple[bytes, ...], wrote: bool, doubt: bool
) -> None:
    asked(wire, ok(before))
    if doubt:
        asked(wire, error(1205, "lock wait timeout"))

    asked(wire, *payloads, command=command)

    assert wire.protocol.wrote is (wrote and doubt)
    assert wire.protocol.doubt is None


@pytest.mark.parametrize("watched", [True, False])
async def test_states_tell_of_what_was_written_and_of_locks(wire: Wire, watched: bool) -> None:
    protocol = wire.protocol
    if watched:
        begun(wire)
    asked(wire, ok(IN_TRANSACTION, state(b"T___W___")))
    assert protocol.wrote is True and TABLE_LOCKS not in protocol.changes
    asked(wire, ok(IN_TRANSACTION, state(b"T___W_S_")))
    assert protocol.wrote is True

    asked(wire, ok(AUTOCOMMIT, state(b"_______L")))
    assert protocol.wrote is False and protocol.changes == {TABLE_LOCKS: b"_______L"}
    asked(wire, ok(AUTOCOMMIT, variable(b"sql_mode", b"")))
    asked(wire, ok(AUTOCOMMIT, state(b"________")))
    assert protocol.changes == {b"sql_mode": b""}


async def test_state_without_a_lock_leaves_what_was_set(wire: Wire) -> None:
    asked(wire, ok(AUTOCOMMIT, variable(b"sql_mode", b"")))

    asked(wire, ok(IN_TRANSACTION, state(b"T___W___")))

    assert wire.protocol.changes == {b"sql_mode": b""}


@pytest.mark.parametrize(
    ("status", "reads_only", "unfit"),
    [
        (AUTOCOMMIT, False, True),
        (AUTOCOMMIT, True, False),
        (IN_TRANSACTION | READ_ONLY, False, False),
        (IN_TRANSACTION, False, True),
    ],
    ids=["", "session", "transaction", "another transaction"],
)
async def test_refusal_to_write_where_nobody_has_asked_for_it_retires_the_connection(
    wire: Wire, status: int, reads_only: bool, unfit: bool
) -> None:
    asked(wire, ok(status))
    if reads_only:
        wire.protocol.reads_only = True

    asked(wire, error(1792, "cannot execute statement in a READ ONLY transaction", "25006"))

    assert (wire.protocol.unfit is not None) is unfit
    asked(wire, error(1064, "no", "42000"))
    assert (wire.protocol.unfit is not None) is unfit


# -- how statements are written --------------------------------------------------------------------


async def test_character_sets_are_followed(wire: Wire) -> None:
    protocol = wire.protocol
    before = protocol.syntax

    asked(wire, ok(info=variable(b"sql_mode", b"ANSI")))
    assert protocol.syntax is before and protocol.changes == {b"sql_mode": b"ANSI"}

    asked(wire, ok(info=variable(b"character_set_client", b"latin1")))
    assert (protocol.encoding, protocol.results_encoding) == ("cp1252", "utf8")
    assert protocol.syntax == ("cp1252", 0)

    asked(wire, ok(info=variable(b"character_set_results", b"gbk")))
    assert (protocol.encoding, protocol.results_encoding) == ("cp1252", "gbk")

    asked(wire, ok(info=variable(b"character_set_results", b"")))
    assert protocol.results_encoding == "gbk" and protocol.lost is None

    known = protocol.syntax
    asked(wire, ok(info=variable(b"character_set_client", b"latin1")))
    assert protocol.syntax is known


@pytest.mark.parametrize("name", [b"character_set_client", b"character_set_results"])
@pytest.mark.parametrize("value", [b"klingon", b"\xff"])
async def test_unknown_character_set_ends_the_connection(
    wire: Wire, name: bytes, value: bytes
) -> None:
    reply = asked(wire, ok(info=variable(name, value)))

    with pytest.raises(err.OperationalError) as caught:
        reply.future.result()
    unknown = f"the session's character set is unknown to Python: {value!r}"
    assert caught.value.args == (2000 + 19, unknown) and wire.transport.closing
    assert not wire.protocol.replies


async def test_mode_of_backslashes_is_followed(wire: Wire) -> None:
    protocol = wire.protocol
    plain = protocol.syntax

    asked(wire, ok(AUTOCOMMIT | 32))
    assert protocol.syntax is plain and protocol.unsure is False
    asked(wire, ok(AUTOCOMMIT | NO_BACKSLASHES))
    assert protocol.syntax[1] != plain[1] and protocol.unsure is True
    without = protocol.syntax
    protocol.unsure = False
    asked(wire, ok(IN_TRANSACTION | NO_BACKSLASHES))
    assert protocol.syntax is without and protocol.unsure is False
    asked(wire, ok(AUTOCOMMIT))
    assert protocol.syntax == plain and protocol.unsure is True


async def test_mode_that_no_flag_shows_is_what_was_found(wire: Wire) -> None:
    protocol = wire.protocol
    plain = protocol.syntax

    protocol.assume_no_escapes(True)
    assert protocol.assumes_no_escapes is True and protocol.syntax[1] != plain[1]
    asked(wire, ok(AUTOCOMMIT | NO_BACKSLASHES))
    assert protocol.assumes_no_escapes is False
    protocol.assume_no_escapes(True)
    assert protocol.assumes_no_escapes is False and protocol.syntax[1] != plain[1]
    asked(wire, ok(AUTOCOMMIT))
    assert protocol.syntax == plain
    protocol.assume_no_escapes(False)
    assert protocol.assumes_no_escapes is False and protocol.syntax == plain


async def test_mode_of_ones_own_is_kept_beside_the_servers() -> None:
    loop = asyncio.get_running_loop()

    plain, strict = (Protocol(loop, False, status, mode=4) for status in (2, 2 | NO_BACKSLASHES))

    assert plain.syntax == ("utf8", 4)
    assert strict.syntax[1] & 4 and strict.syntax[1] != 4


# -- the size of answers ---------------------------------------------------------------------------


@pytest.mark.parametrize(("most", "limit"), [(1 << 30, 1 << 16), (1 << 16, 1 << 16), (1000, 1000)])
async def test_answers_at_login_are_small(most: int, limit: int) -> None:
    protocol = Protocol(asyncio.get_running_loop(), False, 2, max_packet=most)
    assert Protocol(asyncio.get_running_loop(), False, 2).reader.limit == 1 << 30
    assert protocol.reader.limit == most

    protocol.begin_login()
    assert protocol.reader.limit == limit

    protocol.end_login()
    assert protocol.reader.limit == most and protocol.most_rows is None


@pytest.mark.parametrize("rows", [0, 1, 2])
async def test_answer_at_login_has_one_row_at_most(wire: Wire, rows: int) -> None:
    wire.protocol.begin_login()

    reply = asked(wire, *ROWS[:3], *ROWS[3:] * rows, rows_end(AUTOCOMMIT))

    assert (wire.protocol.lost is None) is (rows < 2)
    assert (reply.future.exception() is None) is (rows < 2)


async def test_answer_that_is_longer_than_the_limit_ends_the_connection(wire: Wire) -> None:
    wire.protocol.reader.limit = 100
    asked(wire, ok(AUTOCOMMIT, bytes(93 - 2)))
    assert wire.protocol.lost is None

    reply = asked(wire, ok(AUTOCOMMIT, bytes(93 + 1)))

    with pytest.raises(err.OperationalError, match="2020, .Got packet bigger than 'max_packet'"):
        reply.future.result()


# -- one answer after the other --------------------------------------------------------------------


async def test_answers_are_those_of_the_commands_in_their_order(wire: Wire) -> None:
    replies = [wire.send() for _ in range(3)]
    at = asyncio.get_running_loop().time() + 60
    timers = [wire.protocol.timers.call_at(at, list) for _ in replies]
    for reply, timer in zip(replies, timers, strict=True):
        reply.deadline = timer

    wire.receive(packets(ok(rows=1)) + packets(error(1064, "no")) + packets(ok(rows=3))[:6])

    first, second, third = (reply.future for reply in replies)
    assert first.result()[0].affected_rows == 1
    with pytest.raises(err.ProgrammingError, match="1064"):
        second.result()
    assert not third.done() and [*wire.protocol.replies] == replies[2:]
    assert [timer.cancelled() for timer in timers] == [True, True, False]

    wire.receive(packets(ok(rows=3))[6:])
    assert third.result()[0].affected_rows == 3 and timers[2].cancelled()


async def test_command_that_is_sent_within_an_answer_leaves_its_order(wire: Wire) -> None:
    first = wire.send()
    whole = packets(*ROWS, rows_end(AUTOCOMMIT))
    wire.receive(whole[:40])

    second = wire.send()
    wire.receive(whole[40:] + packets(ok(rows=2)))

    assert first.future.result()[0].rows == [("1",)]
    assert second.future.result()[0].affected_rows == 2


async def test_statement_killed_between_its_results_leaves_the_next_answer_alone(
    wire: Wire,
) -> None:
    killed, following = wire.send(), wire.send()
    wire.receive(packets(ok(AUTOCOMMIT | MORE), ok(AUTOCOMMIT | MORE)))
    wire.protocol.drop(killed)

    wire.receive(packets(ok(rows=2)))

    assert following.future.result()[0].affected_rows == 2
    assert not wire.protocol.replies and wire.protocol.lost is None


@pytest.mark.parametrize("case", ["awaited", "within a result", "nothing behind", "other number"])
async def test_answer_out_of_turn_ends_the_connection_otherwise(wire: Wire, case: str) -> None:
    first = wire.send()
    if case != "nothing behind":
        wire.send()
    between = [ok(AUTOCOMMIT | MORE), *ROWS[: 2 if case == "within a result" else 0]]
    wire.receive(packets(*between))
    if case != "awaited":
        wire.protocol.drop(first)

    wire.receive(packet(ok(), 7 if case == "other number" else 1))

    assert wire.protocol.lost is not None and wire.protocol.lost.args[0] == 2027


async def test_idle_is_there_once_all_is_answered(wire: Wire) -> None:
    await wire.protocol.idle()
    wire.send()
    wire.send()
    waiting = [asyncio.ensure_future(wire.protocol.idle()) for _ in range(2)]
    await asyncio.sleep(0)

    wire.receive(packets(OK))
    await asyncio.sleep(0)
    assert not waiting[0].done()
    waiting[1].cancel()  # which is not the other's end
    wire.receive(packets(OK))

    await asyncio.wait_for(waiting[0], 5)


async def test_idle_is_there_once_the_connection_is_lost(wire: Wire) -> None:
    reply = wire.send()
    waiting = asyncio.ensure_future(wire.protocol.idle())
    await asyncio.sleep(0)

    wire.protocol.eof_received()

    await asyncio.wait_for(waiting, 5)
    assert isinstance(reply.future.exception(), err.OperationalError)
    wire.send()
    await asyncio.wait_for(wire.protocol.idle(), 5)


@pytest.mark.parametrize("end", ["resumed", "lost"])
async def test_writer_waits_until_the_transport_takes_more(wire: Wire, end: str) -> None:
    protocol = wire.protocol
    await protocol.drain()
    protocol.pause_writing()
    waiting = [asyncio.ensure_future(protocol.drain()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not waiting[0].done()
    waiting[1].cancel()  # which is not the other's end

    if end == "resumed":
        protocol.resume_writing()
    else:
        protocol.connection_lost(None)

    await asyncio.wait_for(waiting[0], 5)
    if end == "lost":
        protocol.pause_writing()
    await asyncio.wait_for(protocol.drain(), 5)


async def test_session_that_an_error_ends_is_lost_with_it(wire: Wire) -> None:
    first, second = wire.send(), wire.send()

    wire.receive(packets(error(1053, "server shutdown in progress", "08S01")))

    for reply in (first, second):
        with pytest.raises(err.OperationalError, match="1053"):
            reply.future.result()
    assert wire.transport.closing and not wire.protocol.replies


@pytest.mark.parametrize("mariadb", [False, True], ids=["MySQL", "MariaDB"])
async def test_number_of_a_session_that_was_idle_is_another_errors_of_mariadb(
    wire: Wire, mariadb: bool
) -> None:
    if mariadb:
        wire.protocol._mariadb = True

    asked(wire, error(4031, "the client was disconnected"))

    assert (wire.protocol.lost is None) is mariadb


# -- what was not asked for ------------------------------------------------------------------------


@pytest.mark.parametrize("message", ["the client was disconnected", "x" * 4087])
@pytest.mark.parametrize("sequence", [0, 1, 7])
async def test_error_that_nobody_asked_for_is_why_the_connection_ends(
    wire: Wire, sequence: int, message: str
) -> None:
    asked(wire, OK)
    whole = packet(error(4031, message), sequence)

    wire.receive(whole[:-1])
    assert wire.protocol.lost is None and not wire.transport.closing
    wire.receive(whole[-1:])

    assert wire.protocol.lost is not None and wire.protocol.lost.args[0] == 4031
    assert wire.transport.closing


@pytest.mark.parametrize(
    "data", [packets(OK), packets(b"\xff" + bytes(1 << 12))], ids=["OK", "long"]
)
async def test_anything_else_that_nobody_asked_for_is_not_taken(wire: Wire, data: bytes) -> None:
    wire.receive(data)

    assert isinstance(wire.protocol.lost, err.OperationalError)
    assert wire.protocol.lost.args[0] == 2027 and "nobody asked for" in wire.protocol.lost.args[1]


async def test_error_that_came_before_the_question_is_its_answer(wire: Wire) -> None:
    reply = wire.send()

    wire.receive(packet(error(4031, "the client was disconnected"), 0))

    with pytest.raises(err.OperationalError, match="4031"):
        reply.future.result()
    assert wire.transport.closing


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", packet(OK, 5)),
        (packets(b"\1", column()), packet(error(1064, "no"), 0)),
        (b"", packet(b"\xff", 0)),
    ],
    ids=["no error", "in an answer", "cut error"],
)
async def test_packet_out_of_order_ends_the_connection(
    wire: Wire, first: bytes, then: bytes
) -> None:
    reply = wire.send()

    wire.receive(first + then)

    with pytest.raises(err.OperationalError, match="2027.*Malformed packet"):
        reply.future.result()
    assert wire.transport.closing


# -- the end of a local file -----------------------------------------------------------------------


def asked_for_a_file(wire: Wire) -> Reply:
    """Have the server ask for a file, and somebody about to send it."""
    reply = wire.send()
    wire.receive(packets(b"\xfbname"))
    assert reply.infile == b"name" and reply.future.result() is None
    reply.infile = None
    reply.future = Waiter(asyncio.get_running_loop())
    wire.protocol.reader.sequence = -1
    wire.transport.written.clear()
    return reply


@pytest.mark.parametrize("sequence", [2, 0, 255])
async def test_answer_to_a_file_counts_on_from_its_end(wire: Wire, sequence: int) -> None:
    reply = asked_for_a_file(wire)

    wire.protocol.end_file(reply, sequence)
    assert wire.transport.written == [frame(b"", sequence)]
    wire.receive(packet(ok(rows=3), (sequence + 1) % 256))

    assert reply.future.result()[0].affected_rows == 3
    reply = asked(wire, OK)
    assert wire.protocol.lost is None


async def test_answer_that_did_not_wait_for_the_file_may_have_any_number(wire: Wire) -> None:
    reply = asked_for_a_file(wire)

    wire.protocol.end_file(reply, 9)
    wire.receive(packet(error(1064, "no"), 2))

    with pytest.raises(err.ProgrammingError, match="1064"):
        reply.future.result()
    asked(wire, OK)
    assert wire.protocol.lost is None


async def test_answer_that_has_come_by_the_files_end_is_taken(wire: Wire) -> None:
    reply = asked_for_a_file(wire)
    wire.protocol.reader.sequence = 7
    early = packet(error(1064, "no"), 2)
    wire.protocol.get_buffer(-1)[: len(early)] = early
    wire.protocol.reader.buffer_updated(len(early))

    wire.protocol.end_file(reply, 9)

    with pytest.raises(err.ProgrammingError, match="1064"):
        reply.future.result()


async def test_answer_to_a_file_that_goes_on_in_any_order_ends_the_connection(wire: Wire) -> None:
    reply = asked_for_a_file(wire)
    wire.protocol.end_file(reply, 2)

    wire.receive(packet(b"\1", 3) + packet(column(), 9))

    with pytest.raises(err.OperationalError, match="2027"):
        reply.future.result()


@pytest.mark.parametrize("sequence", [0, 2])
async def test_answer_to_the_next_command_is_in_order_again(wire: Wire, sequence: int) -> None:
    reply = asked_for_a_file(wire)
    wire.protocol.end_file(reply, sequence)
    wire.receive(packet(OK, sequence + 1))
    assert reply.future.result()

    following = wire.send()
    wire.receive(packet(OK, 5))

    with pytest.raises(err.OperationalError, match="2027"):
        following.future.result()


async def test_what_nobody_asked_for_behind_a_file_is_not_taken(wire: Wire) -> None:
    reply = asked_for_a_file(wire)
    wire.protocol.end_file(reply, 2)

    wire.receive(packet(OK, 3) + packet(OK, 4))

    assert reply.future.result()
    assert wire.protocol.lost is not None and wire.protocol.lost.args[0] == 2027


async def test_file_that_is_asked_for_before_another_has_ended_is_out_of_turn(wire: Wire) -> None:
    reply = asked_for_a_file(wire)
    wire.receive(packet(b"\xfbsecond", 9))
    assert reply.infile == b"second"

    wire.protocol.end_file(reply, 5)

    assert wire.protocol.reader.sequence < 0 and reply.infile == b"second"
    wire.protocol.fail(err.OperationalError(2013, "gone"))


async def test_command_behind_a_file_whose_answer_was_early_has_its_own(wire: Wire) -> None:
    reply, following = wire.send(), wire.send()
    wire.receive(packets(b"\xfbname"))
    reply.infile = None
    reply.future = Waiter(asyncio.get_running_loop())
    wire.protocol.reader.sequence = -1
    wire.receive(packet(ok(rows=1), 2))
    assert reply.future.result()[0].affected_rows == 1

    wire.protocol.end_file(reply, 5)
    wire.receive(packets(ok(rows=2)))

    assert following.future.result()[0].affected_rows == 2 and wire.protocol.lost is None


async def test_file_that_is_asked_for_out_of_turn_is_not_ended(wire: Wire) -> None:
    reply = asked_for_a_file(wire)

    with pytest.raises(MalformedPacket, match="a local file is asked for out of turn"):
        wire.protocol.end_file(reply, -1)

    assert wire.transport.written == []
    wire.protocol.fail(err.OperationalError(2013, "gone"))
    reply.future.exception()


async def test_nothing_is_sent_of_a_file_once_the_connection_is_lost(wire: Wire) -> None:
    reply = asked_for_a_file(wire)
    wire.protocol.fail(err.OperationalError(2013, "gone"))

    wire.protocol.end_file(reply, 2)

    assert wire.transport.written == []
    reply.future.exception()


async def test_file_for_nobody_is_an_empty_one(wire: Wire) -> None:
    reply, following = wire.send(), wire.send()
    wire.transport.written.clear()
    reply.abandon()
    reply.future.cancel()

    wire.receive(packets(b"\xfbname"))
    assert wire.transport.written == [frame(b"", 2)] and reply.infile is None
    wire.receive(packet(OK, 3) + packets(ok(rows=2)))

    assert following.future.result()[0].affected_rows == 2 and wire.protocol.lost is None


async def test_file_that_nobody_waits_to_send_any_more_is_an_empty_one(wire: Wire) -> None:
    reply = wire.send()
    wire.receive(packets(b"\xfbname"))
    wire.transport.written.clear()

    wire.protocol.drop(reply)

    assert wire.transport.written == [frame(b"", 2)]
    wire.receive(packet(OK, 3))
    assert not wire.protocol.replies and wire.protocol.lost is None


# -- the end ---------------------------------------------------------------------------------------


async def test_loss_is_told_to_all_who_wait(wire: Wire) -> None:
    kept, failed, asking = wire.send(), wire.send(), wire.send()
    at = asyncio.get_running_loop().time() + 60
    timer = kept.deadline = wire.protocol.timers.call_at(at, list)
    failed.error = ValueError("its own")
    asking.infile = b"name"
    cause = RuntimeError("why")
    gone = err.OperationalError(2013, "gone")

    wire.protocol.fail(gone, cause)

    error = kept.future.exception()
    assert isinstance(error, err.OperationalError) and error.args == gone.args
    assert error is not gone and error.__cause__ is cause and gone.__cause__ is None
    assert isinstance(failed.future.exception(), ValueError)
    assert asking.infile is None and isinstance(asking.future.exception(), err.OperationalError)
    assert timer.cancelled() and not wire.protocol.replies and wire.transport.closing

    wire.protocol.fail(err.OperationalError(2013, "once more"))
    assert wire.protocol.lost is gone


async def test_loss_has_the_cause_that_it_came_with(wire: Wire) -> None:
    reply = wire.send()
    gone = err.OperationalError(2013, "gone")
    gone.__cause__ = reset = ConnectionResetError("reset")

    wire.protocol.fail(gone)

    error = reply.future.exception()
    assert error is not None and error.__cause__ is reset


@pytest.mark.parametrize("how", ["send", "write"])
async def test_what_cannot_be_written_ends_the_connection(
    wire: Wire, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(data: bytes) -> None:
        raise RuntimeError("the handle is closed")

    monkeypatch.setattr(wire.transport, "write", refuse)

    if how == "send":
        error = wire.send().future.exception()
        assert isinstance(error, err.OperationalError)
        assert isinstance(error.__cause__, RuntimeError)
    else:
        wire.protocol.write(b"")

    assert wire.protocol.lost is not None and wire.transport.closing
    assert wire.protocol.lost.args[1].endswith("during query (the handle is closed)")


async def test_connection_ends_with_its_transport(wire: Wire) -> None:
    protocol, reply = wire.protocol, wire.send()
    reset = ConnectionResetError("reset by peer")

    protocol.connection_lost(reset)
    protocol.connection_lost(None)

    error = reply.future.exception()
    assert isinstance(error, err.OperationalError) and error.__cause__ is reset
    assert error.args == (2013, "Lost connection to MySQL server during query (reset by peer)")
    assert protocol.closed.done()
    wire.transport.written.clear()
    protocol.write(b"\1\0\0\0\1")
    assert wire.transport.written == []
    await protocol.wait_closed(60)


async def test_end_of_the_stream_ends_the_connection_at_once(wire: Wire) -> None:
    reply: Any = wire.send()

    assert wire.protocol.eof_received() is False

    assert reply.future.exception().args == (2013, "Lost connection to MySQL server during query")
    assert wire.transport.closing


async def test_transport_that_does_not_close_is_closed_by_force(wire: Wire) -> None:
    await wire.protocol.wait_closed(0.01)

    assert wire.transport.closing and not wire.protocol.closed.done()


async def test_protocol_may_end_before_it_has_a_transport() -> None:
    protocol = Protocol(asyncio.get_running_loop(), False, 2)
    gone = err.OperationalError(2013, "gone")

    protocol.write(b"")
    protocol.fail(gone)

    assert protocol.lost is gone


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_mistake_while_reading_ends_the_connection(
    new_loop: Callable[[], asyncio.AbstractEventLoop], raised: type[BaseException]
) -> None:
    class Mistake(int):
        """A status that cannot be worked with."""

        def __xor__(self, other: object) -> int:
            raise raised("oops")

    async def receive() -> None:
        wires.append(Wire())
        replies.append(wires[0].send())
        wires[0].protocol.status = Mistake(-1)
        wires[0].receive(packets(OK))
        await asyncio.sleep(0)

    wires: list[Wire] = []
    replies: list[Reply] = []
    loop = new_loop()
    with nullcontext() if raised is ValueError else pytest.raises(raised, match="oops"):
        loop.run_until_complete(receive())
    loop.close()

    error = replies[0].future.exception()
    assert isinstance(error, err.OperationalError) and isinstance(error.__cause__, raised)
    assert error.args[1].endswith(f"(its answer was not taken: {raised.__name__})")
    assert wires[0].transport.closing
