"""What is kept of an answer: its rows, each given once, and whether it has come."""

from __future__ import annotations

import asyncio
import weakref
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from fakes import EOF, column, error, packets, text
from pymysql import err
from pymysql.constants import FIELD_TYPE

from aiomysqlx.result import ResultMetaData, RowProxy
from aiomysqlx.runtime.waiter import Waiter
from aiomysqlx.wire._impl import Reader
from aiomysqlx.wire.codes import INT
from aiomysqlx.wire.columns import Columns, parse_columns
from aiomysqlx.wire.columns import describe as _describe
from aiomysqlx.wire.command import Command
from aiomysqlx.wire.outcome import parse_refusal
from aiomysqlx.wire.packets import MalformedPacket
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
    future = Waiter(asyncio.get_running_loop())
    reply = Reply(Command(b""), 1, future, describe, "utf8", None)
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
        future = Waiter(asyncio.get_running_loop())
        self.reply = Reply(Command(b""), 1, future, _describe, "utf-8", most_rows)
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


STATES = {
    "one alone": (BEGUN, (b"T_______",)),
    "with more behind it": (BEGUN + b"x", (b"T_______",)),
    "cut short": (BEGUN[:-1], ()),
    "with what else is told": (
        b"\x00\x0e\x05\x09\x08T___W___\x04\x01\x00",
        (b"T___W___",),
    ),
    "as long, of another kind": (b"\x00\x0b\x01\x09\x08T_______", ()),
}


@pytest.mark.parametrize("earlier", [False, True], ids=["", "behind another"])
@pytest.mark.parametrize(("info", "states"), STATES.values(), ids=STATES)
async def test_states_that_are_told_are_kept_in_their_order(
    info: bytes, states: tuple[bytes, ...], earlier: bool
) -> None:
    fed = Fed()
    first = [ok(MORE | STATE_CHANGED, WROTE)] if earlier else []

    assert fed.take(packets(*first, ok(STATE_CHANGED, info)))

    assert fed.reply.states == ((b"T___W___",) if earlier else ()) + states


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


async def test_columns_for_nobody_are_not_described() -> None:
    fed = Fed()
    fed.reply.abandon()

    assert fed.take(packets(*selected(b"1", b"2")))

    (result,) = fed.reply.results
    assert (result.columns, result.rows) == (None, [])


async def test_reply_for_nobody_lets_go_of_what_makes_its_rows() -> None:
    class Shape:
        def __call__(self, columns: Columns) -> Any:
            return RowProxy, ResultMetaData([each.name for each in columns.definitions])

    fed, shape = Fed(), Shape()
    fed.reply._shape = shape
    assert not fed.take(packets(*selected(b"1")[:-1]))
    assert type(fed.reply.result.rows[0]) is RowProxy
    gone = weakref.ref(shape)
    del shape

    fed.reply.abandon()

    assert gone() is None
    assert fed.take(packets(selected()[-1], first=5))
    assert fed.reply.results[0].rows == []


USER: ContextVar[str] = ContextVar("user")


async def test_processors_run_in_the_context_of_who_asked() -> None:
    def describe(raw: bytes, encoding: str) -> Columns:
        definitions = parse_columns(raw, encoding)
        return Columns(raw, definitions, [INT], [lambda value: (USER.get(), value)], encoding)

    asker, other = copy_context(), copy_context()
    asker.run(USER.set, "asker")
    other.run(USER.set, "other")
    fed = asker.run(Fed)
    fed.reply._describe = describe

    assert other.run(fed.take, packets(*selected(b"1")))

    assert fed.reply.results[0].rows == [(("asker", 1),)]


async def test_result_that_fails_has_no_counts() -> None:
    fed = Fed()

    assert fed.take(packets(ok(MORE, b"", 1, 2), error(1064, "no")))

    failed = fed.reply.results[1]
    assert (failed.affected_rows, failed.insert_id, failed.warning_count) == (0, 0, 0)
    assert (failed.columns, failed.position, failed.shaped) == (None, 0, False)


async def test_error_is_let_go_with_its_future() -> None:
    fed = Fed()
    assert fed.take(packets(error(1064, "no")))
    fed.reply.finish()
    raised = fed.reply.future.exception()
    assert raised is fed.reply.error

    fed.reply.let_go()

    assert fed.reply.error is None and fed.reply.future.cancelled()


async def test_answer_is_handed_over_once() -> None:
    fed = Fed()
    assert fed.take(packets(ok(AUTOCOMMIT, b"", 3)))

    fed.reply.finish()
    fed.reply.error = ValueError("too late")
    fed.reply.finish()

    assert fed.reply.future.result() == fed.reply.results


async def test_question_for_a_file_comes_before_an_error_of_its_statement() -> None:
    fed = Fed()
    fed.reply.error = ValueError("for later")
    assert fed.take(packets(b"\xfbname"))
    assert fed.reply.infile == b"name" and fed.reply.results == []

    fed.reply.finish()

    assert fed.reply.future.result() is None


COUNTS = {
    "none": (b"\xfc\0\0", "does not begin with a number"),
    "a tail": (b"\1\1", "does not begin with a number"),
    "too many": (b"\xfd\0\0\1", "result of 65536 columns, limit 65535"),
}


@pytest.mark.parametrize(("head", "message"), COUNTS.values(), ids=COUNTS)
async def test_result_of_no_such_number_of_columns_is_not_taken(head: bytes, message: str) -> None:
    with pytest.raises(MalformedPacket, match=message):
        Fed().take(packets(head))


async def test_result_may_have_as_many_columns_as_the_limit() -> None:
    assert not Fed().take(packets(b"\xfc\xff\xff"))


@pytest.mark.parametrize("raised", [StopIteration, asyncio.CancelledError, GeneratorExit])
async def test_error_of_the_users_that_would_end_somebody_else_is_the_cause_of_another(
    raised: type[BaseException],
) -> None:
    def fail(raw: bytes, encoding: str) -> Columns:
        raise raised("one")

    fed = Fed()
    fed.reply._describe = fail
    assert fed.take(packets(*selected(b"1", status=AUTOCOMMIT | MORE), *selected(b"2")))

    error = fed.reply.error
    assert isinstance(error, RuntimeError) and isinstance(error.__cause__, raised)
    assert str(error) == f"a result processor raised {raised.__name__}"
    assert [result.rows for result in fed.reply.results] == [[], []]


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, MalformedPacket])
async def test_interrupt_in_code_of_the_users_passes(raised: type[BaseException]) -> None:
    def fail(raw: bytes, encoding: str) -> Columns:
        raise raised

    fed = Fed()
    fed.reply._describe = fail
    with pytest.raises(raised):
        fed.take(packets(*selected(b"1")))
    assert fed.reply.error is None


async def test_first_error_of_the_users_is_the_one_that_is_told() -> None:
    numbers = iter(range(9))

    def fail(raw: bytes, encoding: str) -> Columns:
        raise ValueError(next(numbers))

    fed = Fed()
    fed.reply._describe = fail
    assert fed.take(packets(*selected(b"1", status=AUTOCOMMIT | MORE), *selected(b"2")))

    assert isinstance(fed.reply.error, ValueError) and fed.reply.error.args == (0,)
    fed = Fed()
    fed.reply.error = ValueError("first")
    assert fed.take(packets(error(1064, "no")))
    assert isinstance(fed.reply.error, ValueError) and fed.reply.refused is not None
