"""The session: what it says of itself, and one command at a time, with what limits it."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import OK, Peer, connected, error, one_row, packet, packets, result
from pymysql import err
from pymysql.constants import CLIENT, COMMAND
from watch import passed, steps, until
from wires import Wire

import aiomysqlx
from aiomysqlx import StatementTimeoutError
from aiomysqlx.exc import InvalidRequestError, ResourceClosedError
from aiomysqlx.wire import closing as closing_module
from aiomysqlx.wire import kill, stopping
from aiomysqlx.wire._impl import frame
from aiomysqlx.wire.columns import Columns, describe_bytes
from aiomysqlx.wire.command import PING, Command, Duty, SetNames, packet_of
from aiomysqlx.wire.dialogue import BATCH_BYTES
from aiomysqlx.wire.kept import Kept
from aiomysqlx.wire.options import ConnectOptions
from aiomysqlx.wire.outcome import Refusal, of_commit
from aiomysqlx.wire.protocol import Protocol
from aiomysqlx.wire.session import Session

pytestmark = pytest.mark.usefixtures("quiet")

IN_TRANSACTION, AUTOCOMMIT, NO_INDEX_USED = 1, 2, 32  # SERVER_STATUS


def command(code: int, text: bytes) -> Command:
    return Command(packet_of(code, text))


SELECT = command(COMMAND.COM_QUERY, b"SELECT 1")
SET = command(COMMAND.COM_QUERY, b"SET @a = 1")
FAILED = Refusal(1205, "HY000", "lock wait timeout")
FINE = packet(OK)
WARNED = packet(b"\0\0\0\2\0\1\0")
NO = packet(error(1064, "no"))
NEXT = result(b"next")


def like(one: Command, **how: Any) -> Command:
    """A command as another one, but for something."""
    return (Duty if "always" in how else Command)(one.packet, **how)


class Server:
    """A server that notes the commands of its one client, and has the test answer them."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self.answers: deque[bytes] = deque()
        self.peer: Peer | None = None

    async def serve(self, peer: Peer) -> None:
        self.peer = peer
        while True:
            self.commands.append(await peer.read())
            if self.answers:
                peer.write(self.answers.popleft())

    async def has(self, number: int) -> None:
        """Wait until so many commands have come."""
        await until(lambda: len(self.commands) >= number)

    def write(self, data: bytes) -> None:
        assert self.peer is not None
        self.peer.write(data)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def connection(server: Server) -> AsyncIterator[Session]:
    async with connected(server.serve) as one:
        connection = one._session
        wire(connection).changes.clear()
        kept = connection.kept
        connection.kept = Kept(AUTOCOMMIT, kept.names, kept.values)
        server.commands.clear()
        yield connection


def wire(connection: Session) -> Protocol:
    assert connection.protocol is not None
    return connection.protocol


def unopened() -> Session:
    return aiomysqlx.Connection(host="127.0.0.1", port=1, user="u")._session


async def _never(session: Any, where: Any) -> Session:
    raise AssertionError("nothing is opened beside it")


async def works(server: Server, connection: Session) -> None:
    """See that the next statement gets its own answer."""
    server.answers.append(NEXT)
    (found,) = await asyncio.wait_for(connection.run(SELECT), 5)
    assert found.rows == [("next",)]


# -- what it says of itself ------------------------------------------------------------------------


async def test_connection_that_is_not_open_says_so() -> None:
    connection = unopened()

    assert connection.closed is True and connection.loss is None
    assert connection.busy is connection.is_unsettled() is connection.awaited is False
    assert connection.at_rest is connection.in_transaction is False
    with pytest.raises(err.InterfaceError, match="it has not been opened yet"):
        connection.start(SELECT)
    await connection.ready()
    await connection.quiet()
    connection.check_free()
    assert await connection.settled() is False
    await connection.ensure_closed()


async def test_open_connection_has_nothing_under_way(connection: Session) -> None:
    assert connection.closed is False and connection.loss is None
    assert connection.busy is connection.is_unsettled() is connection.awaited is False
    assert connection.at_rest is True


async def test_connection_that_was_closed_here_is_not_lost(connection: Session) -> None:
    connection.close()

    assert connection.closed is True and connection.loss is None
    assert connection.at_rest is connection.busy is False
    for refused in (lambda: connection.start(SELECT),):
        with pytest.raises(err.InterfaceError, match="called: ping.. connects anew") as caught:
            refused()
        assert caught.value.args[0] == 0


async def test_connection_of_an_engine_is_to_be_released_once_it_is_closed(
    connection: Session,
) -> None:
    connection.pooled = True
    connection.close()

    with pytest.raises(err.InterfaceError, match="called: release it and acquire another"):
        connection.start(SELECT)


async def test_connection_is_told_why_it_was_closed(connection: Session) -> None:
    connection.close("it was tired: let it sleep")

    with pytest.raises(err.InterfaceError, match="Not connected: it was tired: let it sleep"):
        connection.start(SELECT)


@pytest.mark.parametrize("reason", [None, "because"])
async def test_statement_in_progress_is_told_that_its_connection_is_closed(
    server: Server, connection: Session, reason: str | None
) -> None:
    reply = connection.start(SELECT)
    connection.close(reason)

    with pytest.raises(err.OperationalError) as caught:
        await connection.finish(reply, SELECT)

    tail = "" if reason is None else f": {reason}"
    assert caught.value.args == (2013, f"the connection was closed during query{tail}")
    assert connection.closed and connection.loss is None
    with pytest.raises(err.InterfaceError, match="Not connected"):
        connection.start(SELECT)


async def test_lost_connection_tells_its_loss_anew_each_time(
    server: Server, connection: Session
) -> None:
    assert server.peer is not None
    server.peer.reset()
    await until(lambda: connection.closed)

    first, second = connection.loss, connection.loss

    assert isinstance(first, err.OperationalError) and first.args[0] == 2013
    assert first is not second and connection.at_rest is False
    with pytest.raises(err.OperationalError, match="2013") as caught:
        connection.start(SELECT)
    assert caught.value is not wire(connection).lost
    connection.close()
    assert isinstance(connection.loss, err.OperationalError)


Change = Callable[[Session, Protocol], Any]
RESTLESS: dict[str, Change] = {
    "in a transaction": lambda _, wire: setattr(wire, "status", AUTOCOMMIT | IN_TRANSACTION),
    "no autocommit": lambda _, wire: setattr(wire, "status", 0),
    "a statement": lambda connection, _: connection.start(SELECT).future.cancel(),
    "a change": lambda _, wire: wire.changes.update({b"sql_mode": b""}),
    "a doubt": lambda _, wire: setattr(wire, "doubt", FAILED),
    "lost": lambda _, wire: wire.fail(err.OperationalError(2013, "gone")),
    "unfit": lambda _, wire: setattr(wire, "unfit", FAILED),
    "a kill": lambda connection, _: setattr(connection, "_killing", asyncio.Future()),
    "closed": lambda connection, _: connection.close(),
    "no writer": lambda connection, _: setattr(connection, "writer", None),
}


@pytest.mark.parametrize("change", RESTLESS.values(), ids=RESTLESS)
async def test_connection_is_not_lent_as_it_is(connection: Session, change: Change) -> None:
    writer = connection.writer
    wire(connection).status |= NO_INDEX_USED
    assert connection.at_rest is True

    change(connection, wire(connection))

    assert connection.at_rest is False
    connection.writer, connection._killing = writer, None


UNSETTLED: dict[str, tuple[Change, bool]] = {
    "a statement": (RESTLESS["a statement"], True),
    "a doubt": (RESTLESS["a doubt"], False),
    "a mode in doubt": (lambda _, wire: setattr(wire, "unsure", True), False),
    "a kill": (RESTLESS["a kill"], True),
}


@pytest.mark.parametrize(("change", "busy"), UNSETTLED.values(), ids=UNSETTLED)
async def test_connection_has_something_to_see_to(
    connection: Session, change: Change, busy: bool
) -> None:
    change(connection, wire(connection))

    assert connection.is_unsettled() is True
    assert connection.busy is busy
    connection._killing = None


async def test_answer_is_awaited_until_nobody_waits(connection: Session) -> None:
    reply = connection.start(SELECT)
    assert connection.awaited is True

    reply.future.set_exception(StatementTimeoutError(3024, "late"))
    assert connection.awaited is False

    reply.infile = b"asked for, and being sent"
    assert connection.awaited is True

    reply.abandoned = True
    assert connection.awaited is False
    reply.future.exception()


async def test_connection_that_is_not_open_has_no_transaction() -> None:
    connection = unopened()

    connection.watch()
    assert connection.wrote is connection.in_doubt is False
    assert connection.as_begun is True and connection.ended is connection.unfit is None
    connection.note_write()
    connection.unwatch()
    await connection.learn_transaction()
    connection.on_killed(list)
    connection.disown()
    assert connection.ended is None and connection.closed


async def test_transaction_is_what_the_server_and_its_answers_say(connection: Session) -> None:
    protocol = wire(connection)
    connection.note_write()
    assert connection.wrote is connection.in_transaction is False

    protocol.status |= IN_TRANSACTION
    assert connection.in_transaction is True and connection.wrote is False
    connection.note_write()
    assert connection.wrote is True
    connection.watch()
    assert connection.wrote is False
    assert connection.ended is None
    connection.end_with(ending := of_commit(1290))
    assert connection.ended is ending
    connection.unwatch()
    assert connection.ended is None
    protocol.unfit = FAILED
    assert connection.unfit is FAILED


async def test_session_is_as_begun_unless_something_was_set(connection: Session) -> None:
    protocol = wire(connection)
    assert connection.as_begun is True

    protocol.status |= IN_TRANSACTION | NO_INDEX_USED
    assert connection.as_begun is True
    protocol.changes[b"sql_mode"] = b""
    assert connection.as_begun is False
    protocol.changes.clear()
    protocol.status = 0
    assert connection.as_begun is False


async def test_syntax_and_status_are_those_of_the_session(connection: Session) -> None:
    closed = unopened()
    assert closed.server_status == 0 and closed.syntax[0] == "utf8"
    assert int(closed.syntax[1]) == 0
    assert closed.no_backslash_escapes is False

    wire(connection).status |= NO_INDEX_USED
    assert connection.server_status == wire(connection).status == AUTOCOMMIT | NO_INDEX_USED
    assert connection.syntax is wire(connection).syntax and connection.encoding == "utf8"
    assert connection.no_backslash_escapes is False
    wire(connection).assume_no_escapes(True)
    assert connection.no_backslash_escapes is True


# -- one command at a time -------------------------------------------------------------------------


async def test_command_is_refused_while_another_is_in_progress(
    server: Server, connection: Session
) -> None:
    reply = connection.start(SELECT)

    for refused in (connection.check_free, lambda: connection.start(SELECT)):
        with pytest.raises(InvalidRequestError, match="another statement is in progress"):
            refused()
    with pytest.raises(InvalidRequestError, match="another statement is in progress"):
        await connection.ready()

    await server.has(1)
    server.write(NEXT)
    (found,) = await connection.finish(reply, SELECT)
    assert found.rows == [("next",)] and server.commands == [SELECT.packet[4:]]
    connection.check_free()


async def test_command_is_refused_while_a_statement_is_written(
    server: Server, connection: Session
) -> None:
    connection.begin_work(claim := connection.claim)

    for refused in (connection.check_free, lambda: connection.start(PING)):
        with pytest.raises(InvalidRequestError, match="another statement is in progress"):
            refused()

    connection.end_work((*claim,))  # another's
    connection.end_work((claim[0], -1))
    with pytest.raises(InvalidRequestError):
        connection.check_free()
    connection.end_work(claim)
    connection.check_free()
    await works(server, connection)


@pytest.mark.parametrize("what", ["lease", "undone"])
async def test_work_of_who_has_the_connection_no_more_bars_nobody(
    server: Server, connection: Session, what: str
) -> None:
    connection.begin_work(claim := connection.claim)
    setattr(connection, what, getattr(connection, what) + 1)

    connection.check_free()
    await works(server, connection)
    with pytest.raises(InvalidRequestError):
        connection.check_claim(claim)


async def test_claim_is_void_once_what_it_was_for_is_over(connection: Session) -> None:
    claim = connection.claim
    connection.check_claim(claim)

    connection.undone += 1
    with pytest.raises(InvalidRequestError, match="is being ended: begin another"):
        connection.check_claim(claim)

    connection.lease += 1
    with pytest.raises(ResourceClosedError, match="it has been released, acquire another"):
        connection.check_claim(claim)
    connection.check_claim(connection.claim)


def barred() -> InvalidRequestError:
    return InvalidRequestError("it is barred")


@pytest.mark.parametrize("how", ["ended", "barred"])
async def test_nothing_but_a_ping_and_what_is_always_sent_passes_a_bar(
    server: Server, connection: Session, how: str
) -> None:
    if how == "barred":
        connection.barred = barred
    else:
        connection.end_with(of_commit(1290))
    connection.check_free()

    for refused in (
        connection.check_bar,
        lambda: connection.begin_work(connection.claim),
        lambda: connection.start(SELECT),
    ):
        with pytest.raises(InvalidRequestError, match=r"it is barred|roll it back"):
            refused()
    assert not connection.busy

    server.answers += [FINE, FINE]
    await connection.run(PING)
    await connection.run(like(SET, always=True))
    assert server.commands == [PING.packet[4:], SET.packet[4:]]
    connection.barred = None


async def test_connection_is_as_new_until_something_is_executed(
    server: Server, connection: Session
) -> None:
    server.answers += [FINE, FINE]
    assert connection.pristine is True
    connection._last_usage = 0.0

    await connection.run(PING)
    assert connection.pristine is True and connection.last_usage > 0

    await connection.run(SET)
    assert connection.pristine is False


async def test_packet_that_the_server_would_not_take_is_not_sent(
    server: Server, connection: Session
) -> None:
    connection.max_allowed_packet = BATCH_BYTES
    longest = command(COMMAND.COM_QUERY, b"x" * (BATCH_BYTES - 2))
    batch = command(COMMAND.COM_QUERY, b"x" * (BATCH_BYTES - 5))
    longer = command(COMMAND.COM_QUERY, b"x" * (BATCH_BYTES - 1))

    with pytest.raises(err.OperationalError, match=f"1153.*has {BATCH_BYTES} bytes"):
        connection.start(longer)

    server.answers.append(FINE)
    await connection.run(longest)
    assert [len(sent) for sent in server.commands] == [BATCH_BYTES - 1]

    connection.max_allowed_packet = 1000
    server.answers.append(NO)  # the server's own word for it
    with pytest.raises(err.ProgrammingError, match="1064"):
        await connection.run(batch)


async def test_counts_are_those_of_the_last_result(server: Server, connection: Session) -> None:
    server.answers.append(packets(b"\0\7\6\x0a\0\5\0", b"\0\3\2\2\0\1\0"))

    assert len(await connection.run(SET)) == 2

    assert connection.counts == (1, 3, 2)


async def test_error_behind_a_result_is_raised_unless_the_results_are_asked_for(
    server: Server, connection: Session
) -> None:
    answer = packets(b"\0\7\0\x0a\0\0\0", error(1064, "no"))
    server.answers += [answer, answer]

    with pytest.raises(err.ProgrammingError, match="no"):
        await connection.run(SET)
    first, second = await connection.run(like(SET, partial=True))

    assert (first.affected_rows, first.error) == (7, None)
    assert isinstance(second.error, err.ProgrammingError)


async def test_question_has_one_row_for_an_answer(server: Server, connection: Session) -> None:
    connection.barred = barred
    server.answers += [NEXT, result(), NEXT]

    assert await connection.ask(SELECT.packet) == ("next",)
    with pytest.raises(err.DataError, match="expected a row, got none") as caught:
        await connection.ask(SELECT.packet)
    assert caught.value.args[0] == 0
    assert await connection.ask(SELECT.packet, describe_bytes) == (b"next",)
    connection.barred = None


@pytest.mark.parametrize(("told", "number"), [(b"12", 12), (b"no number", None), (b"", None)])
async def test_server_is_known_by_what_it_answers(
    server: Server, connection: Session, told: bytes, number: int | None
) -> None:
    server.answers.append(one_row(told, b"host", b"3306"))

    assert await connection.identify() == number
    assert connection.identity == (b"host", b"3306")
    assert server.commands[0].startswith(b"\3SELECT CONNECTION_ID(), @@hostname, @@port")


async def test_question_with_two_rows_for_an_answer_ends_the_connection(
    server: Server, connection: Session
) -> None:
    server.answers.append(result(b"one", b"two"))

    with pytest.raises(err.OperationalError, match="expected 1 rows at most, got more"):
        await connection.ask(SELECT.packet)


async def test_question_waits_for_what_was_cancelled(server: Server, connection: Session) -> None:
    task = asyncio.ensure_future(connection.run(SET))
    await server.has(1)
    task.cancel()
    await asyncio.wait([task])
    asking = asyncio.ensure_future(connection.ask(SELECT.packet))
    await steps()
    assert len(server.commands) == 1

    server.answers.append(NEXT)
    server.write(FINE)

    assert await asking == ("next",)


@pytest.mark.parametrize("what", ["ask", "resolve_doubt"])
async def test_answer_is_nobodys_once_the_connection_is_given_back(
    server: Server, connection: Session, what: str
) -> None:
    asking = asyncio.ensure_future(
        connection.ask(SELECT.packet) if what == "ask" else connection.resolve_doubt()
    )
    await server.has(1)
    connection.lease += 1
    server.write(NEXT if what == "ask" else FINE)

    with pytest.raises(ResourceClosedError):
        await asking


@pytest.mark.parametrize(("size", "taken"), [(98, True), (99, False)])
async def test_packet_is_shorter_than_the_limit(
    connection: Session, size: int, taken: bool
) -> None:
    connection.max_allowed_packet = 100
    packet = packet_of(COMMAND.COM_QUERY, b"x" * size)

    with nullcontext() if taken else pytest.raises(err.OperationalError, match="has 100 bytes"):
        connection.check_length(packet)


@pytest.mark.parametrize("taken", [True, False], ids=["taken", "not taken"])
async def test_packets_of_the_wire_are_no_part_of_a_statement(
    connection: Session, taken: bool
) -> None:
    long = packet_of(COMMAND.COM_QUERY, bytes(0xFFFFFF))
    connection.max_allowed_packet = (1 << 24) + taken

    with nullcontext() if taken else pytest.raises(err.OperationalError, match="16777216 bytes"):
        connection.check_length(long)


# -- one behind the other --------------------------------------------------------------------------


async def test_command_behind_a_setting_gives_its_own_results(
    server: Server, connection: Session
) -> None:
    server.answers += [FINE, NEXT]

    (found,) = await connection.run_behind(SET, SELECT)

    assert found.rows == [("next",)] and server.commands == [SET.packet[4:], SELECT.packet[4:]]


@pytest.mark.parametrize("second", [NEXT, NO], ids=["answered", "refused"])
async def test_setting_that_is_refused_is_told_of_once_both_are_answered(
    server: Server, connection: Session, second: bytes
) -> None:
    wire(connection).runs_ahead = True
    task = asyncio.ensure_future(connection.run_behind(SET, SELECT))
    await server.has(2)
    server.write(packet(error(1193, "unknown variable")))
    await until(lambda: len(wire(connection).replies) == 1)
    assert not task.done()
    server.write(second)

    with pytest.raises(err.OperationalError, match="1193"):
        await task

    assert not connection.busy
    await works(server, connection)


async def test_nothing_goes_out_before_the_answer_to_what_went_before(
    server: Server, connection: Session
) -> None:
    task = asyncio.ensure_future(connection.run_behind(SET, SELECT))
    await server.has(1)
    await steps(20)
    assert len(server.commands) == 1
    server.write(FINE)
    await server.has(2)
    server.write(NEXT)

    assert (await task)[0].rows == [("next",)]


async def test_what_waits_for_its_turn_is_lost_with_the_connection(
    server: Server, connection: Session
) -> None:
    task = asyncio.ensure_future(connection.run_behind(SET, SELECT))
    await server.has(1)
    assert server.peer is not None
    server.peer.reset()

    with pytest.raises(err.OperationalError, match="Lost connection"):
        await task

    assert not connection.busy and len(server.commands) == 1


async def test_setting_is_barred_as_any_statement_is(server: Server, connection: Session) -> None:
    connection.barred = barred
    server.answers += [FINE, NEXT]

    with pytest.raises(InvalidRequestError, match="it is barred"):
        await connection.run_behind(SET, SELECT)
    assert len(await connection.run_behind(like(SET, always=True), SELECT)) == 1
    connection.barred = None


async def test_columns_are_described_as_the_caller_says(
    server: Server, connection: Session
) -> None:
    server.answers += [NEXT, FINE, NEXT, NEXT]

    (alone,) = await connection.run(like(SELECT, describe=describe_bytes))
    (behind,) = await connection.run_behind(SET, like(SELECT, describe=describe_bytes))
    (each,) = await connection.run_each([like(SELECT, describe=describe_bytes)])

    assert alone.rows == behind.rows == each.rows == [(b"next",)]


async def test_command_behind_a_setting_may_be_refused(server: Server, connection: Session) -> None:
    server.answers += [FINE, NO]

    with pytest.raises(err.ProgrammingError, match="1064"):
        await connection.run_behind(SET, SELECT)

    await works(server, connection)


@pytest.mark.parametrize("answer", [NEXT, NO], ids=["rows", "an error"])
@pytest.mark.parametrize("answered", [0, 1])
async def test_answers_to_both_are_for_nobody_once_they_are_cancelled(
    server: Server, connection: Session, answered: int, answer: bytes
) -> None:
    wire(connection).runs_ahead = True
    task = asyncio.ensure_future(connection.run_behind(SET, SELECT))
    await server.has(2)
    if answered:
        server.write(FINE)
        await until(lambda: len(wire(connection).replies) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert connection.busy and not connection.awaited
    assert all(reply.abandoned and reply.deadline for reply in wire(connection).replies)
    server.write(FINE * (1 - answered) + answer)
    await works(server, connection)


async def test_answers_to_both_are_for_nobody_once_the_coroutine_is_closed(
    server: Server, connection: Session
) -> None:
    wire(connection).runs_ahead = True
    coroutine = connection.run_behind(SET, SELECT)
    coroutine.send(None)

    coroutine.close()

    assert connection.busy and not connection.awaited
    await server.has(2)
    server.write(FINE + NO)
    await works(server, connection)


async def test_limit_is_for_the_command_behind_a_setting_too(
    server: Server, connection: Session
) -> None:
    wire(connection).runs_ahead = True
    with connection.limit(0.02):
        task = asyncio.ensure_future(connection.run_behind(SET, SELECT))
    await server.has(2)
    server.write(FINE)

    with pytest.raises(StatementTimeoutError, match=r"more than 0.02 seconds"):
        await asyncio.wait_for(task, 5)

    server.write(result(b"late"))
    await works(server, connection)


async def test_results_of_commands_one_after_the_other_are_the_first_ones(
    server: Server, connection: Session
) -> None:
    server.answers += [packets(b"\0\1\0\x0a\0\0\0", b"\0\2\0\2\0\0\0"), FINE]

    results = await connection.run_each([SET, SET])

    assert [each.affected_rows for each in results] == [1, 0]


async def test_warnings_are_asked_for_behind_each_command_that_has_some(
    server: Server, connection: Session
) -> None:
    server.answers += [WARNED, result(b"one"), FINE, WARNED, result(b"two")]
    told: list[tuple[Any, ...]] = []

    results = await connection.run_each([SET, SET, SET], told=told)

    assert [each.warning_count for each in results] == [1, 0, 1]
    assert told == [("one",), ("two",)]
    assert [sent == SET.packet[4:] for sent in server.commands] == [True, False, True, True, False]

    server.answers += [WARNED]
    await connection.run_each([SET])
    assert server.commands[5:] == [SET.packet[4:]]


@pytest.mark.parametrize("what", ["lease", "undone"])
async def test_nothing_more_is_sent_once_the_claim_is_void(
    server: Server, connection: Session, what: str
) -> None:
    def commands() -> Any:
        yield SET
        setattr(connection, what, getattr(connection, what) + 1)
        yield SET

    server.answers += [FINE, FINE]

    with pytest.raises(InvalidRequestError):
        await connection.run_each(commands())

    assert server.commands == [SET.packet[4:]]


@pytest.mark.parametrize("what", ["lease", "undone"])
async def test_warnings_are_not_asked_for_once_the_claim_is_void(
    server: Server, connection: Session, what: str
) -> None:
    task = asyncio.ensure_future(connection.run_each([SET], told=[]))
    await server.has(1)
    setattr(connection, what, getattr(connection, what) + 1)
    server.answers.append(FINE)
    server.write(WARNED)

    with pytest.raises(InvalidRequestError):
        await task

    assert server.commands == [SET.packet[4:]]


async def test_nothing_more_is_sent_once_values_are_written_otherwise(
    server: Server, connection: Session
) -> None:
    commands = like(SET, always=False, effect=SetNames("latin1")), SET
    server.answers += [FINE, FINE]

    with pytest.raises(InvalidRequestError, match="changed the SQL mode or the character set"):
        await connection.run_each(commands)

    assert server.commands == [SET.packet[4:]]


async def test_commands_one_after_the_other_wait_for_what_was_cancelled(
    server: Server, connection: Session
) -> None:
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    task.cancel()
    await asyncio.wait([task])
    task = asyncio.ensure_future(connection.run_each([SET]))
    await asyncio.sleep(0)
    assert not task.done() and len(server.commands) == 1

    server.answers.append(FINE)
    server.write(NEXT)

    assert len(await task) == 1


async def test_command_that_is_written_as_the_cancelled_one_has_it_no_more_is_not_sent(
    server: Server, connection: Session
) -> None:
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    task.cancel()
    await asyncio.wait([task])
    task = asyncio.ensure_future(connection.run_each([SET]))
    await asyncio.sleep(0)

    no_backslashes = 1 << 9
    server.answers += [FINE, FINE]
    server.write(packet(b"\0\0\0" + (AUTOCOMMIT | no_backslashes).to_bytes(2, "little") + b"\0\0"))

    with pytest.raises(InvalidRequestError, match="changed the SQL mode or the character set"):
        await task
    assert SET.packet[4:] not in server.commands


async def test_command_is_refused_in_another_event_loop(
    server: Server, connection: Session
) -> None:
    own, connection.loop = connection.loop, asyncio.new_event_loop()

    with pytest.raises(RuntimeError, match="belongs to another event loop"):
        connection.start(SELECT)

    connection.loop.close()
    connection.loop = own
    await works(server, connection)

    connection.close()
    connection.loop = asyncio.new_event_loop()
    connection.check_loop()  # what it says of a closed one comes first
    connection.loop.close()
    connection.loop = own


# -- errors ----------------------------------------------------------------------------------------


async def test_reply_that_is_complete_is_not_waited_for(
    server: Server, connection: Session
) -> None:
    reply = connection.start(SELECT)
    await server.has(1)
    server.write(NO)

    with pytest.raises(err.ProgrammingError):
        await connection.finish(reply, SELECT)

    assert reply.deadline is None and not reply.abandoned


async def test_syntax_error_has_a_hint(server: Server, connection: Session) -> None:
    near = "to use near 'DELIMITER //' at line 1"
    server.answers += [packet(error(code, near)) for code in (1064, 1149)]

    with pytest.raises(err.ProgrammingError, match="a command of the clients"):
        await connection.run(command(COMMAND.COM_QUERY, b"DELIMITER //"))
    with pytest.raises(err.MySQLError, match=r"at line 1\W*$"):
        await connection.run(command(COMMAND.COM_QUERY, b"DELIMITER //"))


@pytest.mark.parametrize("several", [False, True], ids=["", "MULTI_STATEMENTS"])
@pytest.mark.parametrize("sql", [b"SELECT 1; SELECT 2", b";SELECT 2"])
async def test_second_statement_has_a_hint_where_the_server_takes_one(
    server: Server, connection: Any, several: bool, sql: bytes
) -> None:
    connection.login.flags &= ~CLIENT.MULTI_STATEMENTS
    connection.login.flags |= CLIENT.MULTI_STATEMENTS * several
    server.answers.append(packet(error(1064, "to use near 'SELECT 2' at line 1")))

    with pytest.raises(err.ProgrammingError) as caught:
        await connection.run(command(COMMAND.COM_QUERY, sql))

    assert ("several statements in one string" in caught.value.args[1]) is not several


async def test_statement_that_is_no_text_has_a_hint_too(
    server: Server, connection: Session
) -> None:
    server.answers.append(packet(error(1064, "to use near 'DELIMITER' at line 1")))

    with pytest.raises(err.ProgrammingError, match="a command of the clients"):
        await connection.run(command(COMMAND.COM_QUERY, b"DELIMITER \xff"))


@pytest.mark.parametrize(
    ("code", "length", "hint"),
    [
        (COMMAND.COM_INIT_DB, 10, False),
        (COMMAND.COM_QUERY, (1 << 20) - 4, False),
        (COMMAND.COM_QUERY, (1 << 20) - 5, True),
    ],
    ids=["another command", "too long", "long"],
)
async def test_statement_that_is_not_too_long_has_a_hint(
    server: Server, connection: Session, code: int, length: int, hint: bool
) -> None:
    server.answers.append(packet(error(1064, "to use near 'DELIMITER' at line 1")))

    with pytest.raises(err.ProgrammingError) as caught:
        await connection.run(command(code, b"DELIMITER".ljust(length)))

    assert ("command of the clients" in caught.value.args[1]) is hint


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("how", ["refused", "late", "lost"])
async def test_error_is_gone_once_it_is_dealt_with_and_what_was_asked_with_it(
    server: Server, connection: Session, how: str
) -> None:
    async def fail() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        def describe(raw: bytes, encoding: str) -> Columns:
            raise AssertionError("there is nothing to describe")

        try:
            with connection.limit(0.01 if how == "late" else 60):
                await connection.run(like(SELECT, describe=describe))
        except err.MySQLError as error:
            return weakref.ref(error), weakref.ref(describe)
        raise AssertionError("it has not failed")

    failing = asyncio.ensure_future(fail())
    await server.has(1)
    assert server.peer is not None
    if how == "refused":
        server.write(NO)
    elif how == "lost":
        server.peer.reset()
    error, describe = await failing
    del failing
    if how == "late":
        server.write(NEXT)
    if how != "lost":
        await works(server, connection)
    await steps()

    assert error() is describe() is None


async def test_error_of_the_users_is_raised_as_it_is(server: Server, connection: Session) -> None:
    mine = err.DataError("mine")

    def describe(raw: bytes, encoding: str) -> Columns:
        raise mine

    server.answers.append(NEXT)

    with pytest.raises(err.DataError) as caught:
        await connection.run(like(SELECT, describe=describe))

    assert caught.value is mine and caught.traceback[-1].name == "describe"
    await works(server, connection)


# -- limits ----------------------------------------------------------------------------------------


async def test_limit_is_for_its_own_connection(server: Server, connection: Session) -> None:
    other = unopened()
    started = asyncio.get_running_loop().time()

    with other.limit(0):
        assert connection.deadline() is None
        connection.check_deadline()
        await works(server, connection)
    with connection.limit(5):
        deadline = connection.deadline()
        connection.check_deadline()
        with other.limit(7):
            assert connection.deadline() is None
    with connection.limit(0), pytest.raises(StatementTimeoutError, match="more than 0 seconds"):
        connection.check_deadline()

    assert deadline is not None and 5 <= deadline[0] - started < 6 and deadline[1] == 5
    assert connection.deadline() is None
    connection.check_deadline()


async def test_limit_is_reached_with_its_last_moment(
    connection: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "loop", SimpleNamespace(time=lambda: 5.0))

    with connection.limit(0), pytest.raises(StatementTimeoutError):
        connection.check_deadline()

    monkeypatch.undo()


async def test_limit_of_a_statement_ends_with_it(server: Server, connection: Session) -> None:
    with connection.limit(60):
        task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    timer = wire(connection).replies[0].deadline
    assert timer is not None
    task.cancel()
    await asyncio.wait([task])

    assert timer.cancelled() and wire(connection).replies[0].deadline is not timer
    server.write(NEXT)
    await works(server, connection)


async def test_limit_that_ends_with_a_cancellation_is_none(
    server: Server, connection: Session
) -> None:
    with connection.limit(0):
        reply = connection.start(SELECT)
    reply.future.cancel()
    await server.has(1)
    await passed(0.01)

    with pytest.raises(asyncio.CancelledError):
        await connection.finish(reply, SELECT)

    server.write(NEXT)
    await works(server, connection)


async def test_statement_out_of_time_is_given_up(server: Server, connection: Session) -> None:
    with connection.limit(0.01), pytest.raises(StatementTimeoutError, match=r"than 0.01 seconds"):
        await asyncio.wait_for(connection.run(SELECT), 5)

    assert connection.busy and not connection.awaited
    server.write(result(b"late"))
    await works(server, connection)


@pytest.mark.parametrize("limit", [None, 60, 0.01], ids=["", "far limit", "near limit"])
async def test_limit_is_for_the_local_files_of_a_statement(
    server: Server, connection: Session, limit: float | None
) -> None:
    asked: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def allows(name: str) -> bool:
        return await asked

    given = {**vars(connection.options), "local_infile": allows}
    connection.options = ConnectOptions(**given)
    server.answers += [packet(b"\xfbf"), packet(OK, 3)]
    load = command(COMMAND.COM_QUERY, b"LOAD DATA LOCAL INFILE 'f' INTO TABLE t")
    with connection.limit(limit) if limit else nullcontext():
        sending = asyncio.ensure_future(connection.run(load))
    await server.has(1)

    if limit == 0.01:
        with pytest.raises(StatementTimeoutError, match=r"more than 0.01 seconds"):
            await asyncio.wait_for(sending, 20)
        assert connection.closed  # the server would take what it has for the whole file
        return
    asked.set_result(False)
    with pytest.raises(err.MySQLError, match="which local_infile does not allow"):
        await sending
    await works(server, connection)


@pytest.mark.parametrize("wait", ["ready", "quiet"])
async def test_limit_is_for_what_comes_before_a_statement(
    server: Server, connection: Session, wait: str
) -> None:
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    task.cancel()
    await asyncio.wait([task])

    with connection.limit(0.01), pytest.raises(StatementTimeoutError, match=r"than 0.01 seconds"):
        await asyncio.wait_for(getattr(connection, wait)(), 20)

    server.write(result(b"late"))
    await works(server, connection)


@pytest.mark.parametrize("wait", ["ready", "quiet", "_answer_infiles"])
async def test_nothing_is_waited_for_once_the_limit_is_over(
    server: Server, connection: Session, wait: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float] = []

    async def in_time(coroutine: Any, seconds: float, late: Callable[[], Exception]) -> None:
        coroutine.close()
        times.append(seconds)
        raise late()

    monkeypatch.setattr(stopping, "in_time", in_time)
    reply = connection.start(SELECT)
    reply.abandoned = True
    await server.has(1)

    with (
        connection.limit(-1),
        pytest.raises(StatementTimeoutError, match="than -1 seconds"),
    ):
        await getattr(connection, wait)(*[reply] * (wait == "_answer_infiles"))

    assert times == [0]
    server.write(NEXT)
    await reply.future


@pytest.mark.parametrize("kills", [False, True], ids=["", "kill_on_cancel"])
async def test_answer_for_nobody_is_waited_for_within_a_bound(
    server: Server, connection: Session, kills: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 60.0 if kills else 0.01)
    monkeypatch.setattr(stopping, "KILL_SECONDS", 0.01 if kills else 60.0)
    connection.open_beside = _never if kills else None
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    task.cancel()
    await asyncio.wait([task])

    with pytest.raises(err.OperationalError, match=r"was not answered within 0.01 seconds"):
        await asyncio.wait_for(connection.run(SELECT), 5)


@pytest.mark.parametrize("limit", [None, 60], ids=["", "far limit"])
@pytest.mark.parametrize("kills", [False, True], ids=["", "kill_on_cancel"])
async def test_statement_of_another_is_waited_for_within_a_bound(
    server: Server,
    connection: Session,
    kills: bool,
    limit: float | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 60.0 if kills else 0.01)
    monkeypatch.setattr(stopping, "KILL_SECONDS", 0.01 if kills else 60.0)
    connection.open_beside = _never if kills else None
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)

    with (
        connection.limit(limit) if limit else nullcontext(),
        pytest.raises(err.OperationalError, match=r"not answered within 0.01 seconds, and"),
    ):
        await asyncio.wait_for(connection.quiet(), 20)

    server.write(NEXT)
    assert len(await task) == 1


@pytest.mark.parametrize("limit", [None, 60], ids=["", "near limit"])
async def test_quiet_is_there_with_the_last_answer(
    server: Server, connection: Session, limit: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 600.0)
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    with connection.limit(limit) if limit else nullcontext():
        quiet = asyncio.ensure_future(connection.quiet())
    await asyncio.sleep(0)
    assert not quiet.done()
    server.write(NEXT)

    await asyncio.wait_for(quiet, 5)
    await task
    await connection.quiet()


@pytest.mark.parametrize("wait", ["ready", "quiet"])
async def test_connection_given_back_meanwhile_is_not_waited_for(
    server: Server, connection: Session, wait: str
) -> None:
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    task.cancel()
    await asyncio.wait([task])
    waits = asyncio.ensure_future(getattr(connection, wait)())
    await asyncio.sleep(0)
    connection.lease += 1
    server.write(NEXT)

    with pytest.raises(ResourceClosedError):
        await waits


# -- doubts ----------------------------------------------------------------------------------------


async def test_doubt_in_a_block_is_cleared_by_a_ping(server: Server, connection: Session) -> None:
    wire(connection).status |= IN_TRANSACTION
    connection.watch()
    wire(connection).doubt = FAILED
    server.answers.append(packet(b"\0\0\0\3\0\0\0"))
    assert connection.in_doubt

    await connection.ready()

    assert server.commands == [PING.packet[4:]] and not connection.in_doubt
    await connection.ready()
    assert len(server.commands) == 1
    connection.unwatch()


@pytest.mark.parametrize("always", [True, False], ids=["always", ""])
async def test_doubt_in_a_block_is_cleared_before_a_statement_of_the_users(
    server: Server, connection: Session, always: bool
) -> None:
    wire(connection).status |= IN_TRANSACTION
    connection.watch()
    wire(connection).doubt = FAILED
    in_it = packet(b"\0\0\0\3\0\0\0")
    server.answers += [in_it, in_it]

    await connection.run(like(SET, always=always))

    assert server.commands == ([SET.packet[4:]] if always else [PING.packet[4:], SET.packet[4:]])
    connection.unwatch()


async def test_doubt_outside_of_a_block_is_left(server: Server, connection: Session) -> None:
    wire(connection).doubt = FAILED

    await connection.ready()

    assert server.commands == [] and connection.in_doubt


async def test_doubt_of_a_block_that_is_over_is_left(server: Server, connection: Session) -> None:
    wire(connection).status |= IN_TRANSACTION
    connection.watch()
    wire(connection).doubt = FAILED
    connection.end_with(of_commit(1290))

    await connection.ready()

    assert server.commands == []
    connection.unwatch()


@pytest.mark.parametrize(
    ("doubt", "shows", "asks"),
    [(FAILED, True, True), (FAILED, False, False), (None, True, False)],
    ids=["doubt", "does not show", "no doubt"],
)
async def test_transaction_of_a_failed_procedure_is_learnt_by_a_ping(
    server: Server, connection: Session, doubt: Any, shows: bool, asks: bool
) -> None:
    wire(connection).doubt, wire(connection).shows = doubt, shows
    server.answers.append(FINE)

    await connection.learn_transaction()

    assert server.commands == ([PING.packet[4:]] if asks else [])


async def test_mode_in_doubt_is_set_to_itself(server: Server, connection: Session) -> None:
    wire(connection).unsure = True
    connection.barred = barred  # which bars the user's statements
    server.answers.append(FINE)

    await connection.ready()

    assert server.commands == [b"\3SET sql_mode = @@sql_mode"]
    assert wire(connection).unsure is False
    await connection.ready()
    assert len(server.commands) == 1
    connection.barred = None


SETTINGS = (
    b"\3SET sql_mode = @@sql_mode, character_set_client = @@character_set_client,"
    b" character_set_results = @@character_set_results, time_zone = @@time_zone"
)


@pytest.mark.parametrize(
    ("sql", "mariadb", "sent"),
    [
        (b"CALL p()", True, SETTINGS),
        (b"-- a\n/* b */ call p()", True, SETTINGS),
        (b"CALL p()", False, PING.packet[4:]),
        (b"BEGIN NOT ATOMIC SET NAMES gbk; SIGNAL SQLSTATE '45000'; END", True, SETTINGS),
        (b"EXECUTE s", False, SETTINGS),
        (b"SET STATEMENT time_zone = '+01:00' FOR CALL p()", True, SETTINGS),
        (b"/*!50000 CALL p() */", False, SETTINGS),
        (b"SET NAMES gbk, @a = f()", True, None),
        (b"SELECT f()", True, None),
        (b"insert into t values (1)", True, None),
        (b"DROP TABLE t", True, None),
    ],
)
async def test_what_a_failed_program_has_set_is_told_before_the_next_statement(
    server: Server, connection: Session, sql: bytes, mariadb: bool, sent: bytes | None
) -> None:
    wire(connection)._mariadb = mariadb
    server.answers += [packet(b"\xff\x6c\6#45000no"), FINE]
    with pytest.raises(err.MySQLError):
        await connection.query(sql.decode())

    await connection.ready()

    assert server.commands == [b"\3" + sql, *([] if sent is None else [sent])]
    assert connection.at_rest is (sent is not None)  # else the error itself is in doubt
    await connection.ready()
    assert len(server.commands) <= 2


@pytest.mark.parametrize("what", ["lease", "undone"])
@pytest.mark.parametrize("doubt", ["doubt", "unsure"])
async def test_claim_is_looked_at_behind_what_clears_a_doubt(
    server: Server, connection: Session, doubt: str, what: str
) -> None:
    wire(connection).status |= IN_TRANSACTION
    connection.watch()
    setattr(wire(connection), doubt, FAILED if doubt == "doubt" else True)
    ready = asyncio.ensure_future(connection.ready())
    await server.has(1)
    setattr(connection, what, getattr(connection, what) + 1)
    server.write(packet(b"\0\0\0\3\0\0\0"))

    with pytest.raises(InvalidRequestError):
        await ready
    connection.unwatch()


# -- the end of a transaction, and of the connection -----------------------------------------------


@pytest.mark.parametrize(
    ("status", "shows", "doubt", "sent"),
    [
        (AUTOCOMMIT | IN_TRANSACTION, True, True, b"\3ROLLBACK"),
        (AUTOCOMMIT | IN_TRANSACTION, False, True, b"\3ROLLBACK"),
        (AUTOCOMMIT, True, True, PING.packet[4:]),
        (AUTOCOMMIT, False, True, b"\3ROLLBACK"),
        (0, True, False, b"\3ROLLBACK"),
        (0, True, True, PING.packet[4:]),
    ],
    ids=["in one", "in one, first", "none", "may not show", "lock", "lock or none"],
)
async def test_session_is_rolled_back_unless_an_error_hides_whether_it_began_work(
    server: Server, connection: Session, status: int, shows: bool, doubt: bool, sent: bytes
) -> None:
    wire(connection).status, wire(connection).shows = status, shows
    wire(connection).doubt = FAILED if doubt else None
    server.answers.append(FINE)

    future = connection.start_rollback()

    assert connection.busy and not connection.awaited
    await asyncio.wait_for(future, 5)
    assert server.commands == [sent]


async def test_rollback_is_due_within_a_bound(
    server: Server, connection: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 0.01)

    with pytest.raises(err.OperationalError, match=r"was not answered within 0.01 seconds"):
        await asyncio.wait_for(connection.start_rollback(), 5)


async def test_kill_that_came_too_late_is_absorbed(server: Server, connection: Session) -> None:
    absorbing = asyncio.ensure_future(connection.absorb_kill(wire(connection)))
    await server.has(1)
    assert connection.busy and not connection.awaited and not absorbing.done()
    ready = asyncio.ensure_future(connection.ready())
    await asyncio.sleep(0)
    server.write(packet(error(1317, "interrupted")))

    await asyncio.gather(absorbing, ready)

    assert server.commands == [b"\3DO 0"]
    await works(server, connection)


async def test_nothing_absorbs_a_kill_before_the_statement_is_answered(
    server: Server, connection: Session
) -> None:
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    absorbing = asyncio.ensure_future(connection.absorb_kill(wire(connection)))
    await asyncio.sleep(0.01)
    assert len(server.commands) == 1

    server.answers.append(FINE)
    server.write(NEXT)

    await asyncio.gather(task, absorbing)


async def test_nothing_absorbs_a_kill_on_a_lost_connection(connection: Session) -> None:
    protocol = wire(connection)
    connection.close()

    await connection.absorb_kill(protocol)

    assert not protocol.replies


async def test_absorber_is_due_within_a_bound(
    connection: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "DRAIN_SECONDS", 0.01)

    await asyncio.wait_for(connection.absorb_kill(wire(connection)), 5)

    assert connection.closed and isinstance(connection.loss, err.OperationalError)


async def test_server_is_taken_leave_of_where_nothing_is_under_way(
    server: Server, connection: Session
) -> None:
    connection.close()
    assert isinstance(wire(connection).lost, err.InterfaceError)
    connection.close("another reason")

    await server.has(1)
    assert server.commands == [b"\1"]
    with pytest.raises(err.InterfaceError, match="close.. was called"):
        connection.start(SELECT)
    protocol = wire(connection)
    await connection.ensure_closed()
    assert protocol.closed.done()


async def test_connection_is_closed_behind_the_kill_of_its_statement(connection: Session) -> None:
    killing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection._killing = killing  # type: ignore[assignment]  # what it waits for
    closing = asyncio.ensure_future(connection.ensure_closed())
    await until(wire(connection).closed.done)
    await steps()
    assert not closing.done()

    killing.set_result(None)
    await closing
    connection._killing = None


@pytest.mark.parametrize("running", [True, False], ids=["open loop", "closed loop"])
async def test_transport_is_closed_in_a_loop_that_is_open(running: bool) -> None:
    loop = asyncio.new_event_loop()
    fake = Wire()
    connection: Any = unopened()
    connection.loop = asyncio.get_running_loop() if running else loop
    connection.protocol, connection.connected_at = fake.protocol, 0.0
    connection.writer = SimpleNamespace(transport=fake.transport)
    loop.close()
    assert connection.closed is False

    connection.close("of this")

    assert connection.closed is True and fake.transport.closing is running
    with pytest.raises(err.InterfaceError, match="Not connected: of this"):
        connection.start(SELECT)
    assert fake.protocol.closed_here is running
    assert not fake.transport.aborted  # the server is to get what is written
    assert fake.transport.written == ([frame(b"\1")] if running else [])
    fake.transport.closing = False
    connection.close()
    assert fake.transport.closing is False


async def test_connection_is_aborted_at_once(server: Server, connection: Session) -> None:
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)

    connection.abort()
    connection.abort()

    with pytest.raises(err.OperationalError, match="2013.*connection aborted"):
        await task
    assert connection.closed and connection.loss is None
    await asyncio.wait_for(wire(connection).closed, 5)
    assert len(server.commands) == 1


async def test_loss_goes_before_the_abort_of_the_connection(connection: Session) -> None:
    wire(connection).fail(err.OperationalError(2013, "gone"))

    connection.abort()

    assert connection.loss is not None and connection.loss.args == (2013, "gone")


async def test_end_of_the_connection_and_of_a_kill_are_told(connection: Session) -> None:
    told: list[str] = []
    killing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection._killing = killing  # type: ignore[assignment]
    connection.on_killed(lambda: told.append("killed"))
    connection.on_lost(lambda: told.append("lost"))
    await steps()
    assert told == []

    killing.set_result(None)
    await steps()
    assert told == ["killed"]
    connection._killing = None
    connection.close()
    await until(lambda: told == ["killed", "lost"])


async def test_connection_is_settled_once_its_answer_and_its_kill_are_there(
    server: Server, connection: Session
) -> None:
    assert await connection.settled() is True
    task = asyncio.ensure_future(connection.run(SELECT))
    await server.has(1)
    killing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    connection._killing = killing  # type: ignore[assignment]
    settled = asyncio.ensure_future(connection.settled())
    await steps()
    server.write(NEXT)
    await task
    await steps()
    assert not settled.done()

    killing.set_result(None)
    assert await asyncio.wait_for(settled, 5) is True
    connection._killing = None


async def test_connection_of_another_process_is_left_alone() -> None:
    fake = Wire()
    connection: Any = unopened()
    connection.loop = asyncio.get_running_loop()
    connection.protocol = fake.protocol
    connection.writer = writer = SimpleNamespace(transport=fake.transport)
    reply = fake.send()
    fake.transport.written.clear()

    connection.disown()

    assert not fake.transport.closing and fake.transport.written == []
    assert (fake.protocol, writer) in closing_module._inherited
    closing_module._inherited.remove((fake.protocol, writer))
    with pytest.raises(err.InterfaceError, match="belongs to the process that opened it"):
        connection.start(SELECT)
    connection.close()
    assert not fake.transport.closing
    assert isinstance(fake.protocol.lost, err.InterfaceError) and not fake.protocol.replies
    assert fake.protocol.lost.args[0] == 0
    reply.future.cancel()


@pytest.mark.parametrize("running", [True, False], ids=["open loop", "closed loop"])
async def test_transport_is_aborted_in_a_loop_that_is_open(running: bool) -> None:
    loop = asyncio.new_event_loop()
    fake = Wire()
    connection: Any = unopened()
    connection.loop = asyncio.get_running_loop() if running else loop
    connection.writer = SimpleNamespace(transport=fake.transport)
    loop.close()

    connection.abort()

    assert fake.transport.closing is running and connection.closed


async def test_nothing_is_waited_for_in_a_loop_that_is_closed() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    fake = Wire()
    connection: Any = unopened()
    connection.loop, connection.protocol = loop, fake.protocol
    reply = fake.send()

    connection._abandon(reply)

    assert reply.deadline is None and not reply.abandoned


KILLS: dict[str, tuple[Change, bool]] = {
    "a statement under way": (lambda *_: None, True),
    "no kill_on_cancel": (lambda c, _: setattr(c, "open_beside", None), False),
    "no identity": (lambda c, _: setattr(c, "identity", None), False),
    "an answer": (lambda _, wire: setattr(wire.replies[0], "status", AUTOCOMMIT), False),
    "nobody who waits": (lambda _, wire: setattr(wire.replies[0], "abandoned", True), False),
    "nothing": (lambda _, wire: wire.replies.clear(), False),
}


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize(("change", "kills"), KILLS.values(), ids=KILLS)
async def test_statement_under_way_is_killed_once_with_its_connection(
    server: Server,
    connection: Any,
    change: Change,
    kills: bool,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed: list[Any] = []
    kept: list[Any] = []

    async def end(*arguments: Any) -> None:
        killed.append(arguments)

    monkeypatch.setattr(kill, "end_surely", end)
    monkeypatch.setattr(kill, "keep_until_done", kept.append)
    connection.open_beside, connection.identity = _never, object()
    reply = connection.start(SELECT)
    protocol = wire(connection)
    change(connection, protocol)

    getattr(connection, how)()
    assert kept == [connection._killing] * kills and (connection._killing is not None) is kills
    if kills:
        connection._kill(protocol, reply)

    assert kept == [connection._killing] * kills
    await steps()
    assert killed == [(connection, protocol, reply, stopping.KILL_SECONDS)] * kills
    assert connection._killing is None
    reply.future.cancel()
    if reply.future.done() and not reply.future.cancelled():
        reply.future.exception()


async def test_nothing_is_killed_where_the_loop_does_not_run() -> None:
    loop = asyncio.new_event_loop()
    fake = Wire()
    connection: Any = unopened()
    connection.loop, connection._side_arguments, connection.identity = loop, {}, object()

    connection._kill(fake.protocol, fake.send())

    assert connection._killing is None
    loop.close()


UNCLOSED = "Unclosed connection on '127.0.0.1', port 1, user 'u'"


@pytest.mark.parametrize("running", [True, False], ids=["open loop", "closed loop"])
@pytest.mark.parametrize("placed", [True, False], ids=["opened somewhere", "opened anywhere"])
async def test_connection_that_nobody_closed_is_warned_of_once(placed: bool, running: bool) -> None:
    loop = asyncio.new_event_loop()
    fake = Wire()
    connection: Any = unopened()
    connection.loop = asyncio.get_running_loop() if running else loop
    connection.protocol = fake.protocol
    connection.writer = SimpleNamespace(transport=fake.transport)
    connection.opened_at = (unopened.__code__, 0) if placed else None
    loop.close()
    shown = f", opened at {__file__}:\\d+" if placed else ""

    with pytest.warns(ResourceWarning, match=f"^{UNCLOSED}{shown}$") as caught:
        del connection

    assert len(caught) == 1 and (caught[0].filename == __file__) is placed
    await steps()
    assert fake.transport.aborted is running


async def test_connection_that_is_closed_is_not_warned_of() -> None:
    fake = Wire()
    lost: Any = unopened()
    lost._loop, lost._protocol = asyncio.get_running_loop(), fake.protocol
    lost._writer = SimpleNamespace(transport=fake.transport)
    fake.protocol.fail(err.OperationalError(2013, "gone"))
    fake.transport.aborted = False

    del lost
    gc.collect()
    await steps()

    assert fake.transport.aborted is False


def test_connection_that_was_never_made_is_not_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    noise: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", noise.append)

    Session.__new__(Session)
    gc.collect()

    assert noise == []
