"""Replies: the packets a server answers a command with, put together into results."""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from typing import Any

from pymysql import err
from pymysql.constants import COMMAND, SERVER_STATUS

from ..runtime.timers import Timer
from ..runtime.waiter import Waiter
from ._impl import (
    BaseMetadata,
    BaseRow,
    Decoder,
    Reader,
    frame,
    make_rows,
    parse_eof,
    parse_ok,
)
from .columns import MOST_COLUMNS, Columns, Describe
from .command import Command
from .outcome import (
    SAME_STATE,
    STATE_ALONE,
    STATE_HEAD,
    TOO_MANY,
    Refusal,
    are_too_many,
    parse_refusal,
    read_changes,
)
from .packets import MalformedPacket, UndecodableValue, read_length

_HEADER, _DEFINITIONS, _DEFINITIONS_END, _ROWS = range(4)
_MORE_RESULTS: int = SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS
_IN_TRANSACTION: int = SERVER_STATUS.SERVER_STATUS_IN_TRANS
_STATE_CHANGED = 1 << 14  # SERVER_SESSION_STATE_CHANGED
_MORE_TO_TELL = _MORE_RESULTS | _STATE_CHANGED
_EOF_SIZE = 5
_SET_OPTION: int = COMMAND.COM_SET_OPTION
_INTERRUPTS = (KeyboardInterrupt, SystemExit)  # which end the event loop
# What a result processor does not raise: it is passed on at once.
_PASSED_ON = (MalformedPacket, *_INTERRUPTS)


class ResultSet:
    """One result of a command: rows and their columns, or counts.

    `statements` tells of how many statements it has the counts, if they are those of several.
    `position` is the number of rows already taken. `error` is what the server sent in the
    result's place, after the results of earlier statements. Rows are tuples, or what a `Shape`
    made of them: then `shaped` is set, and they have an `as_tuple()`.
    """

    __slots__ = (
        "affected_rows",
        "columns",
        "error",
        "info",
        "insert_id",
        "position",
        "rows",
        "shaped",
        "statements",
        "warning_count",
    )

    def __init__(self) -> None:
        self.statements: int = 1
        self.columns: Columns | None = None
        self.error: BaseException | None = None
        self.rows: list[Any] = []
        self.shaped: bool = False
        self.position: int = 0
        self.affected_rows: int = 0
        self.insert_id: int = 0
        self.warning_count: int = 0
        self.info: bytes = b""

    def take_error(self) -> BaseException:
        """Return the error, to be raised: its traceback would hold who holds this result."""
        error, self.error = self.error, None
        assert error is not None
        return error

    def take(self, size: int) -> list[Any]:
        """Return the next *size* rows."""
        size = min(size, len(self.rows))  # which the compiled code counts in a machine's word
        chunk = self.rows[self.position : self.position + size]
        self.position += len(chunk)
        return chunk

    def take_tuples(self, size: int) -> list[tuple[Any, ...]]:
        """Return the next *size* rows as tuples."""
        chunk = self.take(size)
        return [row.as_tuple() for row in chunk] if self.shaped else chunk

    def give_all(self) -> list[Any]:
        """Return the rows that are left, and keep none."""
        rows, self.rows = self.rows, []
        return rows[self.position :] if self.position else rows


class Alike:
    """What the answers to many statements in one command are compared with.

    Those that are like one before are not parsed one by one. `behind` are the packets that answer
    what is asked behind each statement, `None` until they are known; `status` that of an OK.
    """

    __slots__ = ("behind", "coming", "status")

    def __init__(self, asks: bool) -> None:
        self.behind: bytes | None = None if asks else b""
        self.coming: bytes = b""
        self.status: int = 0

    def learn(self, end: bytes, rows: bool) -> None:
        """Take what has come for what is behind each, if it has no *rows*; *end* is its last."""
        if self.behind is None and not rows:
            self.behind = self.coming + frame(end)


class Reply:
    """The answer to one command, while it comes in.

    `future` ends with the finished list of `ResultSet`, or with the error that the server sent,
    a value that did not decode, what a result processor raised or the loss of the connection. It
    ends early, with `None`, when the server asks for a local file: `infile` then holds the name,
    and another future takes what comes after it. `eventful` tells whether there is more to learn
    of it than its last status: `changes` are the variables of the session, and its schema, that
    have been set, by the server's word or that of `expect()`; `wrote`, whether it counts rows that
    are not those of a result.

    With *most_rows* there is one result, of no more rows: else the stream is not to be trusted.

    *known* are the columns that are likely to come: a result that begins with the same bytes, in
    the same encoding, has them, and nothing of it is parsed. With a *shape*, the first result's
    rows are made while they come in, so that those of a long result do not hold the event loop at
    its end.

    One that is a *stream* takes no row before it is *wanted*: it holds at the rows of a result, and
    at its end if another one follows. Its future ends there, with the results so far.
    """

    __slots__ = (
        "_count",
        "_describe",
        "_encoding",
        "_known",
        "_row",
        "_shape",
        "_state",
        "abandoned",
        "alike",
        "changes",
        "context",
        "deadline",
        "error",
        "eventful",
        "flow",
        "future",
        "infile",
        "left",
        "most_rows",
        "packet",
        "refused",
        "restarted",
        "result",
        "results",
        "sequence",
        "several",
        "states",
        "status",
        "stream",
        "then",
        "wanted",
        "wrote",
    )

    _count: int  # of columns, once it is known

    def __init__(
        self,
        command: Command,
        sequence: int,
        future: Waiter,
        describe: Describe,
        encoding: str,
        most_rows: int | None,
    ) -> None:
        self.packet: bytes = command.packet
        self.stream: int = command.stream  # how many bytes of it may wait; 0: it is no stream
        self._known = command.known
        self._shape = command.shape
        self.sequence: int = sequence
        self.most_rows: int | None = most_rows
        self.future: Waiter = future
        self.results: list[ResultSet] = []
        self.status: int | None = None
        self.eventful: bool = False
        self.several: bool = False  # whether there are several results, kept or not
        self.left: bool = False  # whether an earlier one has shown no transaction
        self.states: tuple[bytes, ...] = ()  # those of the transaction that the server tells
        self.restarted: bool = False  # whether it may have told of another transaction
        self.error: BaseException | None = None
        self.infile: bytes | None = None
        self.refused: Refusal | None = None
        self.abandoned: bool = False
        self.alike: Alike | None = None  # if it is the answer to many statements
        self.wrote: bool = False
        self.changes: dict[bytes, bytes] | None = None
        # What is called with it once it is settled, before anything of the next one is taken.
        self.then: Callable[[Reply], object] | None = None
        self.wanted: int = 0  # how many rows of it
        self.flow: weakref.ref[Any] | None = None  # what asks for them
        self.deadline: Timer | None = None
        self.context: contextvars.Context = contextvars.copy_context()
        self.result: ResultSet = ResultSet()
        self._row: tuple[type[BaseRow], BaseMetadata] | None = None
        self._describe = describe
        self._encoding = encoding
        self._state = _HEADER

    def expect(self, changes: dict[bytes, bytes] | None) -> None:
        """Have *changes* be what the command sets, unless it is refused or the server says more."""
        self.changes = changes
        self.eventful = True

    @property
    def answered(self) -> bool:
        """Whether the server has executed the command, or refused to."""
        if self.status is None or self.status & _MORE_RESULTS:
            return self.refused is not None
        return True

    @property
    def is_between_results(self) -> bool:
        """Whether there were results, and the server has announced another one."""
        return self.several and self._state == _HEADER

    def feed(self, reader: Reader, deprecate_eof: bool) -> bool:
        """Take what has come in; true once the reply is complete."""
        known, self._known = self._known, None
        if (
            known is not None
            and known.encoding == self._encoding
            and reader.skip(known.head, len(known.definitions) + 1)
        ):
            self._take_columns(known)
            self._state = _ROWS if deprecate_eof else _DEFINITIONS_END
        while True:
            if self.stream and self._holds():
                return False
            if self._state == _ROWS:
                payload = self._read_rows(reader, deprecate_eof)
                if payload is None:
                    return False
                if self._end_rows(payload, deprecate_eof):
                    return True
            elif self._state == _DEFINITIONS:
                raw = reader.definitions(self._count)
                if raw is None:
                    return False
                if not self.abandoned:
                    self._take_columns(None, raw)
                if self.alike is not None:
                    self.alike.coming += raw
                self._state = _ROWS if deprecate_eof else _DEFINITIONS_END
            else:
                if self.alike is not None and self._state == _HEADER:
                    self._take_alike(reader)
                payload = reader.packet()
                if payload is None:
                    return False
                if self._state == _DEFINITIONS_END:
                    parse_eof(payload)
                    if self.alike is not None:
                        self.alike.coming += frame(payload)
                    self._state = _ROWS
                elif self._begin(payload):
                    return True

    @property
    def held(self) -> bool:
        """Whether it is a stream that goes on once its rows, or its next result, are wanted."""
        return self.stream != 0 and self._holds()

    def _holds(self) -> bool:
        if self._state == _HEADER:
            return self.wanted == 0 and bool(self.results)
        return self._state == _ROWS and (self.wanted == 0 or self.error is not None)

    def _begin(self, payload: bytes) -> bool:
        """Take a result's first packet; true if it ends the reply (or asks for a file)."""
        first = payload[0]  # the reader gives no empty packet
        if first == 0x00:
            result = self.result
            (
                result.affected_rows,
                result.insert_id,
                self.status,
                result.warning_count,
                result.info,
            ) = parse_ok(payload)
            if result.affected_rows or result.insert_id:
                self.wrote = self.eventful = True
            if self.alike is not None:
                self.alike.status = self.status
            return self._end_result()
        if first == 0xFF:
            self._fail(payload)
            return True
        if first == 0xFB:
            self.infile = payload[1:]
            return True
        if first == 0xFE and self.packet[4] == _SET_OPTION:  # which has an EOF for its OK
            if len(payload) > _EOF_SIZE:
                _, _, self.status, self.result.warning_count, self.result.info = parse_ok(payload)
            else:
                self.result.warning_count, self.status = parse_eof(payload)
            return self._end_result()
        self._count, end = read_length(payload, 0)
        if self._count == 0 or end != len(payload):
            raise MalformedPacket("a result does not begin with a number of columns")
        if self._count > MOST_COLUMNS:
            raise MalformedPacket(f"result of {self._count} columns, limit {MOST_COLUMNS}")
        if self.alike is not None:
            self.alike.coming = frame(payload)
        self._state = _DEFINITIONS
        return False

    def _take_alike(self, reader: Reader) -> None:
        """Take the answers that have come and are like one before: their sums, and the last one."""
        alike = self.alike
        assert alike is not None
        status, behind = alike.status, alike.behind
        if behind is None or status & _MORE_TO_TELL != _MORE_RESULTS:
            return
        count, rows, warnings, last_rows, last_warnings = reader.oks(status, behind)
        if rows or last_rows:
            self.wrote = True
        if count == 0 or self.abandoned:
            return
        if count > 1:
            self._add(count - 1, rows, warnings, behind)
        self._add(1, last_rows, last_warnings, behind)

    def _add(self, statements: int, rows: int, warnings: int, behind: bytes) -> None:
        result = ResultSet()
        result.statements = statements
        result.affected_rows = rows
        result.warning_count = warnings
        self.results.append(result)
        if behind:
            self.results.append(ResultSet())

    def _take_columns(self, columns: Columns | None, raw: bytes = b"") -> None:
        """Take the columns that are known, or those of the definitions *raw*.

        Describing them may be code of the user's, a type's processor factory: its error is kept.
        """
        try:
            if columns is None:
                columns = self._describe(raw, self._encoding)
            self.result.columns = columns
            if self._shape is not None and not self.results:
                self._row = self._shape(columns)
                self.result.shaped = True
        except _PASSED_ON:
            raise
        except BaseException as error:
            self._keep(error)

    def _keep(self, error: BaseException) -> None:
        """Keep what code of the user's has raised: the rest of the answer has to be read yet.

        A future does not take StopIteration. Whoever were raised a CancelledError or GeneratorExit
        would take it for his own.
        """
        if isinstance(error, (StopIteration, asyncio.CancelledError, GeneratorExit)):
            cause = error
            error = RuntimeError(f"a result processor raised {type(cause).__name__}")
            error.__cause__ = cause
        self.error = self.error or error

    def _read_rows(self, reader: Reader, deprecate_eof: bool) -> bytes | None:
        columns, rows = self.result.columns, self.result.rows
        while columns is not None and self.error is None and not self.abandoned:
            start = len(rows)
            try:
                if columns.runs_user_code:
                    eof, wanted = deprecate_eof, self.wanted
                    end = self.context.run(_read, reader, columns.decoder, rows, eof, wanted)
                else:
                    end = reader.rows(columns.decoder, rows, deprecate_eof, self.wanted)
                if self.most_rows is not None and len(rows) > self.most_rows:
                    raise MalformedPacket(f"expected {self.most_rows} rows at most, got more")
                self._make_rows(rows, start)
                return end
            except _PASSED_ON:
                raise
            except UndecodableValue as error:
                self.error = err.DataError(0, str(error))
            except BaseException as error:
                self._keep(error)
            if self.stream:  # the error is raised behind the rows before it
                self._make_rows(rows, start)
                return None
        rows.clear()
        return reader.rows(None, rows, deprecate_eof)

    def _make_rows(self, rows: list[Any], start: int) -> None:
        if self._row is not None:
            row_class, metadata = self._row
            make_rows(row_class, metadata, rows, start)

    def _end_rows(self, payload: bytes, deprecate_eof: bool) -> bool:
        if payload[0] == 0xFF:
            self._fail(payload)
            return True
        result = self.result
        if deprecate_eof:
            _, _, self.status, result.warning_count, result.info = parse_ok(payload)
        else:
            result.warning_count, self.status = parse_eof(payload)
        if self.alike is not None and self.status & _MORE_TO_TELL == _MORE_RESULTS:
            self.alike.learn(payload, bool(result.rows))
        result.affected_rows = result.position + len(result.rows)
        return self._end_result()

    def _end_result(self) -> bool:
        self.results.append(self.result)
        assert self.status is not None
        if not self.status & _MORE_TO_TELL:
            return True
        self.eventful = True
        if self.status & _STATE_CHANGED:
            self._take_state(self.result.info)
        if not self.status & _MORE_RESULTS:
            return True
        if self.most_rows is not None:
            raise MalformedPacket("expected one result, got several")
        if self.abandoned:
            self.results.clear()
        self.several = True
        self.wanted = 0
        self.left = self.left or not self.status & _IN_TRANSACTION
        self.result = ResultSet()
        self._row = None
        self._state = _HEADER
        return False

    def _take_state(self, info: bytes) -> None:
        if len(info) == STATE_ALONE and info.startswith(STATE_HEAD):
            self.states = (*self.states, info[len(STATE_HEAD) :])
        elif info == SAME_STATE:
            self.restarted = True
        else:
            changes, states, restarted = read_changes(info)
            self.changes = {**(self.changes or {}), **changes}
            if are_too_many(self.changes):
                raise MalformedPacket(TOO_MANY)
            self.states = (*self.states, *states)
            self.restarted = self.restarted or restarted

    def _fail(self, payload: bytes) -> None:
        self.refused = parse_refusal(payload)
        self.eventful = True
        if not self.stream:
            self.result.rows.clear()
        error = self.refused.error()
        if self.results:
            self.result.error = error
            self.results.append(self.result)
        else:
            self.error = self.error or error
            self.changes = None

    def abandon(self) -> None:
        """Keep nothing of what has come in, nor what the caller made rows with."""
        self.abandoned = True
        self.stream = 0
        self.result.rows.clear()
        self.results.clear()
        self._shape = self._row = None

    def let_go(self) -> None:
        """Keep no error that was raised: its traceback holds the frames that hold this reply."""
        self.error = None
        self.future.let_go()

    def finish(self) -> None:
        """Settle the outcome for whoever waits, who is to be woken yet."""
        if self.future.done():
            return
        if self.infile is not None:
            self.future.settle(None)
        elif self.error is not None:
            self.future.settle(None, self.error)
        elif self.stream and self._state == _ROWS:
            self.future.settle([*self.results, self.result])
        else:
            self.future.settle(self.results)


def _read(
    reader: Reader, decoder: Decoder, rows: list[Any], deprecate_eof: bool, most: int
) -> bytes | None:
    return reader.rows(decoder, rows, deprecate_eof, most)
