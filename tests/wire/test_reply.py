"""What is kept of an answer: its rows, each given once, and whether it has come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fakes import EOF, column, error, packets, text
from pymysql import err
from pymysql.constants import FIELD_TYPE

from aiomysqlx.driver import _describe
from aiomysqlx.wire._impl import MalformedPacket, Reader
from aiomysqlx.wire.columns import Columns
from aiomysqlx.wire.refusal import parse_refusal
from aiomysqlx.wire.reply import Reply, ResultSet

ROWS = [(1,), (2,), (3,)]
IN_TRANSACTION, AUTOCOMMIT, MORE, STATE_CHANGED = 1, 2, 8, 1 << 14  # SERVER_STATUS


def result(shaped: bool = False) -> ResultSet:
    whole = ResultSet()
    whole.rows = [*ROWS]
    whole.shaped = shaped
    return whole


def test_rows_are_taken_in_their_order_once() -> None:
    whole = result()

    assert [whole.take(size) for size in (2, 0, 2, 2)] == [ROWS[:2], [], ROWS[2:], []]
    assert whole.position == 3


def test_rows_that_are_left_are_given_and_not_kept() -> None:
    whole, begun = result(), result()
    begun.take(1)

    assert whole.give_all() == ROWS and whole.rows == []
    assert begun.give_all() == ROWS[1:] and begun.rows == []


def test_shaped_rows_are_given_as_tuples() -> None:
    class Row:
        def as_tuple(self) -> tuple[int, ...]:
            return (7,)

    shaped = result(shaped=True)
    shaped.rows = [Row()]

    assert shaped.take_tuples(1) == [(7,)]
    assert result().take_tuples(2) == ROWS[:2]


def describe(raw: bytes, encoding: str) -> Columns:
    raise AssertionError("there is nothing to describe")


STATUSES: dict[str, tuple[int | None, bool, bool]] = {
    "nothing": (None, False, False),
    "an error": (None, True, True),
    "the last result": (AUTOCOMMIT, False, True),
    "no flags": (0, False, True),
    "one of several": (AUTOCOMMIT | MORE, False, False),
    "an error behind one": (AUTOCOMMIT | MORE, True, True),
}


@pytest.mark.parametrize(("status", "fails", "expected"), STATUSES.values(), ids=STATUSES)
async def test_answer_is_there_with_its_last_result_or_an_error(
    status: int | None, fails: bool, expected: bool
) -> None:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    reply = Reply(b"", 1, future, describe, "utf8", None, None, None)
    reply.status = status
    if fails:
        reply.refused = parse_refusal(b"\xff\x28\x04#42000syntax")

    assert reply.answered is expected


# -- answers as they come in -----------------------------------------------------------------------

BEGUN = b"\x00\x0b\x05\x09\x08T_______"
WROTE = b"\x00\x0b\x05\x09\x08T___W___"
SAME = b"\x00\x00"
AUTOCOMMIT_OFF = b"\x00\x11\x00\x0f\x0aautocommit\x03OFF"
AUTOCOMMIT_ON = b"\x00\x10\x00\x0e\x0aautocommit\x02ON"
SCHEMA = b"\x00\x06\x01\x04\x03abc"


class Fed:
    """A reply, and what it is fed with."""

    def __init__(self, most_rows: int | None = None, eofs: bool = True) -> None:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.reply = Reply(b"", 1, future, _describe, "utf-8", None, None, most_rows)
        self.reader = Reader()
        self.reader.sequence = 1
        self.eofs = eofs

    def take(self, data: bytes) -> bool:
        room = self.reader.get_buffer(-1)
        room[: len(data)] = data
        self.reader.buffer_updated(len(data))
        return self.reply.feed(self.reader, not self.eofs)


def ok(status: int, info: bytes = b"", affected_rows: int = 0, insert_id: int = 0) -> bytes:
    counts = bytes((affected_rows, insert_id))
    return b"\x00" + counts + status.to_bytes(2, "little") + b"\0\0" + info


def selected(*rows: bytes, status: int = AUTOCOMMIT) -> list[bytes]:
    end = b"\xfe\0\0" + status.to_bytes(2, "little")
    return [b"\1", column(b"n", FIELD_TYPE.LONG, 63), EOF, *map(text, rows), end]


@pytest.mark.parametrize(
    ("counts", "wrote"),
    [((0, 0), False), ((1, 0), True), ((0, 1), True)],
    ids=["nothing", "rows", "an id"],
)
async def test_rows_are_written_where_a_count_or_an_id_is_told(
    counts: tuple[int, int], wrote: bool
) -> None:
    fed = Fed()

    assert fed.take(packets(ok(AUTOCOMMIT, b"", *counts)))

    assert (fed.reply.wrote, fed.reply.eventful) == (wrote, wrote)


async def test_several_results_are_told_from_one() -> None:
    one, two, selects = Fed(), Fed(), Fed()

    assert one.take(packets(ok(AUTOCOMMIT)))
    assert two.take(packets(ok(AUTOCOMMIT | MORE), ok(AUTOCOMMIT)))
    assert selects.take(packets(*selected(b"1", status=AUTOCOMMIT | MORE), *selected(b"2")))

    replies = one.reply, two.reply, selects.reply
    assert [len(reply.results) for reply in replies] == [1, 2, 2]
    assert [reply.several for reply in replies] == [False, True, True]
    assert [reply.eventful for reply in replies] == [False, True, True]


@pytest.mark.parametrize(
    ("statuses", "left"),
    [
        ((IN_TRANSACTION, IN_TRANSACTION, IN_TRANSACTION), False),
        ((AUTOCOMMIT, IN_TRANSACTION, IN_TRANSACTION), True),
        ((IN_TRANSACTION, AUTOCOMMIT, IN_TRANSACTION), True),
        ((IN_TRANSACTION, IN_TRANSACTION, AUTOCOMMIT), False),
    ],
    ids=["in it", "first", "second", "last"],
)
async def test_transaction_is_left_where_an_earlier_result_shows_none(
    statuses: tuple[int, ...], left: bool
) -> None:
    *earlier, last = statuses
    fed = Fed()

    assert fed.take(packets(*(ok(status | MORE) for status in earlier), ok(last)))

    assert fed.reply.left is left


async def test_what_all_results_tell_of_the_session_is_put_together() -> None:
    fed = Fed()
    told = (AUTOCOMMIT_OFF, BEGUN, SCHEMA, WROTE, AUTOCOMMIT_ON)
    payloads = [ok(MORE | STATE_CHANGED, info) for info in told]

    assert fed.take(packets(*payloads, ok(0)))

    assert fed.reply.changes == {b"autocommit": b"ON", b"DATABASE()": b"abc"}
    assert fed.reply.states == (b"T_______", b"T___W___")
    assert not fed.reply.restarted


async def test_nothing_is_told_without_the_flag_that_says_so() -> None:
    fed = Fed()

    assert fed.take(packets(ok(MORE, AUTOCOMMIT_OFF), ok(MORE, BEGUN), ok(0, SAME)))

    assert (fed.reply.changes, fed.reply.states, fed.reply.restarted) == (None, (), False)


RESTARTS = {
    "the same state": (SAME, True),
    "characteristics": (b"\x00\x05\x04\x03\x02AB", True),
    "a state": (BEGUN, False),
    "a variable": (AUTOCOMMIT_ON, False),
}


@pytest.mark.parametrize(("info", "restarted"), RESTARTS.values(), ids=RESTARTS)
@pytest.mark.parametrize("then", [None, AUTOCOMMIT_OFF, BEGUN], ids=["", "set", "begun"])
async def test_transaction_may_have_been_restarted(
    info: bytes, restarted: bool, then: bytes | None
) -> None:
    fed = Fed()
    last = ok(0) if then is None else ok(STATE_CHANGED, then)

    assert fed.take(packets(ok(MORE | STATE_CHANGED, info), last))

    assert fed.reply.restarted is restarted


async def test_result_that_ends_with_an_error_keeps_no_rows() -> None:
    fed = Fed()
    begun, failure = selected(b"1", b"2")[:-1], error(1317, "interrupted", "70100")
    assert not fed.take(packets(*begun))
    result = fed.reply.result
    assert len(result.rows) == 2

    assert fed.take(packets(failure, first=1 + len(begun)))

    assert (result.rows, fed.reply.results) == ([], [])
    assert isinstance(fed.reply.error, err.OperationalError) and result.error is None
    assert fed.reply.eventful


async def test_error_behind_a_result_is_left_in_its_place() -> None:
    fed = Fed()
    first = selected(b"1", status=AUTOCOMMIT | MORE)

    assert fed.take(packets(*first, error(1064, "no")))

    done, failed = fed.reply.results
    assert (done.rows, done.error, failed.rows, fed.reply.error) == ([(1,)], None, [], None)
    assert isinstance(failed.take_error(), err.ProgrammingError)
    assert failed.error is None


async def test_value_that_does_not_decode_leaves_no_rows() -> None:
    fed = Fed()
    begun = selected(b"1", b"none", b"3")

    assert not fed.take(packets(*begun[:4]))
    assert fed.reply.result.rows == [(1,)]
    assert fed.take(packets(*begun[4:], first=5))

    (result,) = fed.reply.results
    assert (result.rows, result.affected_rows) == ([], 0)
    assert isinstance(fed.reply.error, err.DataError) and fed.reply.error.args[0] == 0


@pytest.mark.parametrize("eofs", [True, False], ids=["with EOFs", "without EOFs"])
async def test_end_of_rows_tells_of_warnings_and_of_the_session(eofs: bool) -> None:
    fed = Fed(eofs=eofs)
    begun, status = selected(b"1", b"2")[:-1], (AUTOCOMMIT | STATE_CHANGED).to_bytes(2, "little")
    end = b"\xfe\5\0" + status if eofs else b"\xfe\0\0" + status + b"\5\0" + SCHEMA
    if not eofs:
        begun.remove(EOF)

    assert fed.take(packets(*begun, end))

    (result,) = fed.reply.results
    assert (result.rows, result.affected_rows, result.warning_count) == ([(1,), (2,)], 2, 5)
    assert fed.reply.status == AUTOCOMMIT | STATE_CHANGED
    assert (fed.reply.changes or {}) == ({} if eofs else {b"DATABASE()": b"abc"})


async def test_reply_for_nobody_keeps_nothing_of_what_comes() -> None:
    fed = Fed()
    first = selected(b"1", status=AUTOCOMMIT | MORE)
    assert not fed.take(packets(*first))

    fed.reply.abandon()

    assert fed.reply.results == []
    assert not fed.take(packets(*first, *selected(b"2"), first=1 + len(first))[:-1])
    assert (fed.reply.results, fed.reply.result.rows) == ([], [])


async def test_answer_of_more_than_the_most_rows_is_not_taken() -> None:
    just, many = Fed(1), Fed(1)

    assert just.take(packets(*selected(b"1")))
    assert just.reply.results[0].rows == [(1,)]
    with pytest.raises(MalformedPacket, match="expected 1 rows at most, got more"):
        many.take(packets(*selected(b"1", b"2")))


async def test_several_results_are_not_taken_for_one() -> None:
    fed = Fed(1)

    with pytest.raises(MalformedPacket, match="expected one result, got several"):
        fed.take(packets(ok(AUTOCOMMIT | MORE), ok(AUTOCOMMIT)))
