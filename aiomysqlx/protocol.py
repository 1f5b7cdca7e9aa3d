"""Replies: the packets a server answers with, put together into results.

Every command written to a connection adds a `Reply` to its `Protocol`; the packets that come in
belong to the oldest one. That order is all that ties an answer to its question, so a stream that
cannot be trusted ends the connection, and a reply nobody waits for is still read to its end.
"""

from __future__ import annotations

import asyncio
import contextvars
import struct
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from pymysql import err
from pymysql.constants import CR, FIELD_TYPE, FLAG, SERVER_STATUS

from ._impl import (
    BaseMetadata,
    BaseRow,
    Decoder,
    MalformedPacket,
    Reader,
    UndecodableValue,
    frame,
    make_rows,
    parse_eof,
    parse_ok,
)
from ._packet_py import BYTES, DATE, DATETIME, DECIMAL, FLOAT, INT, TEXT, TIME, read_length

_BINARY_CHARSET = 63
_MOST_IN_PACKET = 0xFFFFFF
_LONG_READ = 1 << 12

# How long the parsing of an answer may go on before the event loop gets its turn.
SLICE_SECONDS = 0.004
_CONVERSIONS = {
    FIELD_TYPE.TINY: INT,
    FIELD_TYPE.SHORT: INT,
    FIELD_TYPE.INT24: INT,
    FIELD_TYPE.LONG: INT,
    FIELD_TYPE.LONGLONG: INT,
    FIELD_TYPE.YEAR: INT,
    FIELD_TYPE.FLOAT: FLOAT,
    FIELD_TYPE.DOUBLE: FLOAT,
    FIELD_TYPE.DECIMAL: DECIMAL,
    FIELD_TYPE.NEWDECIMAL: DECIMAL,
    FIELD_TYPE.DATE: DATE,
    FIELD_TYPE.NEWDATE: DATE,
    FIELD_TYPE.TIME: TIME,
    FIELD_TYPE.DATETIME: DATETIME,
    FIELD_TYPE.TIMESTAMP: DATETIME,
    FIELD_TYPE.BIT: BYTES,
    FIELD_TYPE.JSON: TEXT,
    FIELD_TYPE.NULL: TEXT,
}
# Text, unless the column's character set says that its bytes are no text.
_STRINGS = frozenset(
    (
        FIELD_TYPE.VARCHAR,
        FIELD_TYPE.VAR_STRING,
        FIELD_TYPE.STRING,
        FIELD_TYPE.ENUM,
        FIELD_TYPE.SET,
        FIELD_TYPE.TINY_BLOB,
        FIELD_TYPE.MEDIUM_BLOB,
        FIELD_TYPE.LONG_BLOB,
        FIELD_TYPE.BLOB,
    )
)
_FIXED_FIELDS = struct.Struct("<BHIBHBxx")


class Column(NamedTuple):
    """One column definition, as the server sent it."""

    schema: str
    table: str
    org_table: str
    name: str
    org_name: str
    charset: int
    length: int
    type_code: int
    flags: int
    decimals: int

    @property
    def conversion(self) -> int:
        """The code of the value conversion, see `_packet_py`."""
        if self.type_code in _STRINGS:
            return BYTES if self.charset == _BINARY_CHARSET else TEXT
        return _CONVERSIONS.get(self.type_code, BYTES)

    @property
    def description(self) -> tuple[Any, ...]:
        """The DB-API's seven items: name, type code, sizes, precision, scale, nullable."""
        return (
            self.name,
            self.type_code,
            None,
            self.length,
            self.length,
            self.decimals,
            self.flags & FLAG.NOT_NULL == 0,
        )


class Columns:
    """What is known of a result's columns: their definitions and how to decode a row."""

    __slots__ = (
        "decoder",
        "definitions",
        "description",
        "encoding",
        "head",
        "metadata",
        "runs_user_code",
    )

    def __init__(
        self,
        raw: bytes,
        definitions: list[Column],
        conversions: list[int],
        processors: list[Callable[[Any], Any] | None],
        encoding: str,
        metadata: Any = None,
    ) -> None:
        names = [column.name for column in definitions]
        # What a result of these columns begins with, if it is the first one of its reply.
        self.head = frame(_length(len(definitions)), 1) + raw
        self.encoding = encoding
        self.definitions = definitions
        self.description = tuple(column.description for column in definitions)
        self.decoder = Decoder(names, conversions, processors, encoding)
        self.metadata = metadata
        self.runs_user_code = any(processor is not None for processor in processors)


def _length(number: int) -> bytes:
    """Give *number* as a length-encoded integer; no result has more than 65,535 columns."""
    return bytes((number,)) if number < 0xFB else b"\xfc" + number.to_bytes(2, "little")


def parse_columns(raw: bytes, encoding: str) -> list[Column]:
    """Give the column definitions in *raw*, whole packets one after the other."""
    columns = []
    position = 0
    while position < len(raw):
        end = position + 4 + int.from_bytes(raw[position : position + 3], "little")
        columns.append(_parse_column(raw[position + 4 : end], encoding))
        position = end
    return columns


def _parse_column(payload: bytes, encoding: str) -> Column:
    texts = []
    position = 0
    for _ in range(6):  # catalog, schema, table, org_table, name, org_name
        length, position = read_length(payload, position)
        if length > len(payload) - position:
            raise MalformedPacket("column definition ends inside a name")
        texts.append(payload[position : position + length].decode(encoding, "replace"))
        position += length
    if position >= len(payload) or len(payload) < position + 1 + _FIXED_FIELDS.size - 1:
        raise MalformedPacket("column definition ends before its type")
    fixed, charset, length, type_code, flags, decimals = _FIXED_FIELDS.unpack_from(
        payload.ljust(position + _FIXED_FIELDS.size, b"\0"), position
    )
    if fixed != 0x0C:
        raise MalformedPacket(f"column definition has {fixed} bytes of fixed fields, expected 12")
    _, schema, table, org_table, name, org_name = texts
    return Column(
        *(schema, table, org_table, name, org_name), charset, length, type_code, flags, decimals
    )


class ResultSet:
    """One result of a command: rows and their columns, or counts.

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
        "warning_count",
    )

    def __init__(self) -> None:
        self.columns: Columns | None = None
        self.error: BaseException | None = None
        self.rows: list[Any] = []
        self.shaped = False
        self.position = 0
        self.affected_rows = 0
        self.insert_id = 0
        self.warning_count = 0
        self.info = b""

    def take(self, size: int) -> list[Any]:
        """Give the next *size* rows."""
        chunk = self.rows[self.position : self.position + size]
        self.position += len(chunk)
        return chunk

    def take_tuples(self, size: int) -> list[tuple[Any, ...]]:
        """Give the next *size* rows as tuples."""
        chunk = self.take(size)
        return [row.as_tuple() for row in chunk] if self.shaped else chunk

    def give_all(self) -> list[Any]:
        """Give the rows that are left, and keep none."""
        rows, self.rows = self.rows, []
        return rows[self.position :] if self.position else rows


Describe = Callable[[bytes, str], Columns]
"""Gives the columns of a result from its definitions as received and the text's encoding."""

Shape = Callable[[Columns], "tuple[type[BaseRow], BaseMetadata]"]
"""Gives the class of a result's rows, and their metadata."""

_HEADER, _DEFINITIONS, _DEFINITIONS_END, _ROWS = range(4)


class Reply:
    """The answer to one command, while it comes in.

    `future` ends with the finished list of `ResultSet`, or with the error that the server sent,
    a value that did not decode or the loss of the connection. It ends early, with `None`, when
    the server asks for a local file: `infile` then holds the name.

    *known* are the columns that are likely to come: a result that begins with the same bytes has
    them, and nothing of it is parsed. With a *shape*, the first result's rows are made while they
    come in, so that those of a long result do not hold the event loop at its end.
    """

    __slots__ = (
        "_count",
        "_describe",
        "_encoding",
        "_known",
        "_metadata",
        "_row_class",
        "_shape",
        "_state",
        "abandoned",
        "context",
        "deadline",
        "error",
        "future",
        "infile",
        "refused",
        "result",
        "results",
        "sequence",
        "status",
    )

    def __init__(
        self,
        future: asyncio.Future[Any],
        describe: Describe,
        encoding: str,
        known: Columns | None = None,
        shape: Shape | None = None,
        sequence: int = 1,
    ) -> None:
        self.future: asyncio.Future[Any] = future
        self.sequence = sequence
        self.results: list[ResultSet] = []
        self.status: int | None = None
        self.error: BaseException | None = None
        self.infile: bytes | None = None
        self.refused = False
        self.abandoned = False
        self.deadline: asyncio.TimerHandle | None = None
        self.context: contextvars.Context | None = None
        self.result = ResultSet()
        self._describe = describe
        self._encoding = encoding
        self._known = known
        self._shape = shape
        self._state = _HEADER
        self._count = 0

    def feed(self, reader: Reader, deprecate_eof: bool) -> bool:
        """Take what has come in; true once the reply is complete."""
        known, self._known = self._known, None
        if known is not None and reader.skip(known.head, len(known.definitions) + 1):
            self._take_columns(known)
            self._state = _ROWS if deprecate_eof else _DEFINITIONS_END
        while True:
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
                self._describe_columns(raw)
                self._state = _ROWS if deprecate_eof else _DEFINITIONS_END
            else:
                payload = reader.packet()
                if payload is None:
                    return False
                if self._state == _DEFINITIONS_END:
                    parse_eof(payload)
                    self._state = _ROWS
                elif self._begin(payload):
                    return True

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
            return self._end_result()
        if first == 0xFF:
            self._fail(payload)
            return True
        if first == 0xFB:
            self.infile = payload[1:]
            return True
        self._count, end = read_length(payload, 0)
        if self._count == 0 or end != len(payload):
            raise MalformedPacket("a result does not begin with a number of columns")
        self._state = _DEFINITIONS
        return False

    def _describe_columns(self, raw: bytes) -> None:
        if self.abandoned:
            return
        try:
            self._take_columns(self._describe(raw, self._encoding))
        except MalformedPacket:
            raise
        except Exception as error:
            # A type's processor factory is the user's code: the rows still have to be read.
            self.error = self.error or error

    def _take_columns(self, columns: Columns) -> None:
        self.result.columns = columns
        if self._shape is not None and not self.results:
            self._row_class, self._metadata = self._shape(columns)
            self.result.shaped = True

    def _read_rows(self, reader: Reader, deprecate_eof: bool) -> bytes | None:
        columns, rows = self.result.columns, self.result.rows
        while columns is not None and self.error is None and not self.abandoned:
            try:
                start = len(rows)
                if columns.runs_user_code and self.context is not None:
                    end = self.context.run(reader.rows, columns.decoder, rows, deprecate_eof)
                else:
                    end = reader.rows(columns.decoder, rows, deprecate_eof)
                if self.result.shaped:
                    make_rows(self._row_class, self._metadata, rows, start)
                return end
            except MalformedPacket:
                raise
            except UndecodableValue as error:
                self.error = err.DataError(0, str(error))
            except StopIteration as error:  # which a future does not take
                self.error = RuntimeError("a result processor raised StopIteration")
                self.error.__cause__ = error
            except Exception as error:
                self.error = error
        rows.clear()
        return reader.rows(None, rows, deprecate_eof)

    def _end_rows(self, payload: bytes, deprecate_eof: bool) -> bool:
        if payload[0] == 0xFF:
            self._fail(payload)
            return True
        result = self.result
        if deprecate_eof:
            _, _, self.status, result.warning_count, result.info = parse_ok(payload)
        else:
            result.warning_count, self.status = parse_eof(payload)
        result.affected_rows = len(result.rows)
        return self._end_result()

    def _end_result(self) -> bool:
        self.results.append(self.result)
        assert self.status is not None
        if not self.status & SERVER_STATUS.SERVER_MORE_RESULTS_EXISTS:
            return True
        self.result = ResultSet()
        self._state = _HEADER
        return False

    def _fail(self, payload: bytes) -> None:
        self.refused = True
        try:
            err.raise_mysql_exception(payload)
        except err.MySQLError as error:
            if self.results:
                self.result.error = error
                self.results.append(self.result)
            else:
                self.error = self.error or error
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            raise MalformedPacket("an error packet ends before its code") from error

    def finish(self) -> None:
        """Hand the outcome to whoever waits."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(None if self.infile is not None else self.results)


class Protocol(asyncio.BufferedProtocol):
    """A connection's receiving end: bytes in, replies out, in the order of their commands."""

    def __init__(self, loop: asyncio.AbstractEventLoop, deprecate_eof: bool, status: int) -> None:
        self.reader = Reader()
        self.replies: deque[Reply] = deque()
        self.status = status
        self.lost: BaseException | None = None
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._deprecate_eof = deprecate_eof
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._paused = False
        self._spent = 0.0
        self.get_buffer = self.reader.get_buffer  # type: ignore[method-assign]  # one call less per read

    def attach(self, transport: asyncio.Transport) -> None:
        """Take over *transport*, whose peer has nothing to say until it is asked."""
        self._transport = transport
        transport.set_protocol(self)

    def send(
        self,
        packet: bytes,
        describe: Describe,
        encoding: str,
        known: Columns | None = None,
        shape: Shape | None = None,
    ) -> Reply:
        """Write the packet of a command and give its reply."""
        assert self._transport is not None
        # A command of 16 MiB and more is several packets, and the answer counts on from the last.
        sequence = (len(packet) // (_MOST_IN_PACKET + 4) + 1) % 256
        reply = Reply(self._loop.create_future(), describe, encoding, known, shape, sequence)
        if known is None or known.runs_user_code:
            reply.context = contextvars.copy_context()
        if not self.replies:
            self.reader.sequence = sequence
        self.replies.append(reply)
        try:
            self._transport.write(packet)
        except RuntimeError as error:  # uvloop's way to say that the peer is gone
            lost = _lost(error)
            lost.__cause__ = error
            self.fail(lost)
        return reply

    def buffer_updated(self, nbytes: int) -> None:
        started = time.monotonic() if nbytes >= _LONG_READ else 0.0
        self.reader.buffer_updated(nbytes)
        try:
            self._dispatch()
        except MalformedPacket as error:
            malformed = err.OperationalError(CR.CR_MALFORMED_PACKET, f"Malformed packet: {error}")
            self.fail(self._reason() or malformed)
        if started and self.replies:
            self._yield_after(time.monotonic() - started)

    def _yield_after(self, seconds: float) -> None:
        """Let others have the event loop, once enough time has gone into a long answer.

        uvloop reads up to 32 times in a row.
        """
        self._spent += seconds
        if self._spent > SLICE_SECONDS and self._transport is not None:
            self._spent = 0.0
            self._transport.pause_reading()
            self._loop.call_soon(self._resume_reading)

    def _resume_reading(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _reason(self) -> BaseException | None:
        """Give the error that came, numbered from 0, before anything of the reply expected."""
        if not self.replies or self.reader.sequence != self.replies[0].sequence:
            return None
        with suppress(MalformedPacket):
            return self._farewell()
        return None

    def _dispatch(self) -> None:
        replies = self.replies
        while replies:
            reply = replies[0]
            if not reply.feed(self.reader, self._deprecate_eof):
                return
            if reply.status is not None:
                self.status = reply.status
            if reply.refused:
                self._assume_transaction()
            if reply.infile is not None:
                if reply.abandoned:
                    self._refuse_file(reply)
                reply.finish()
                return
            replies.popleft()
            if reply.deadline is not None:
                reply.deadline.cancel()
            if replies:
                self.reader.sequence = replies[0].sequence
            reply.finish()
        if self.reader.buffered:
            farewell = self._farewell()
            if farewell is not None:
                self.fail(farewell)
        if self._idle is not None:
            self._wake("_idle")

    def _assume_transaction(self) -> None:
        """Take it that a refused statement has begun a transaction: an error says nothing of it."""
        if not self.status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT:
            self.status |= SERVER_STATUS.SERVER_STATUS_IN_TRANS

    def _refuse_file(self, reply: Reply) -> None:
        """Send the end of a file that nobody is there to send."""
        assert self._transport is not None
        self._transport.write(frame(b"", self.reader.sequence))
        self.reader.sequence = (self.reader.sequence + 1) & 0xFF
        reply.infile = None

    def _farewell(self) -> BaseException | None:
        """Give the error that nobody asked for: the reason why the server ends the connection."""
        self.reader.sequence = -1
        payload = self.reader.packet()
        if payload is None:
            return None
        if payload[0] != 0xFF:
            raise MalformedPacket("the server sent a packet nobody asked for")
        farewell = Reply(self._loop.create_future(), _never, "ascii")
        farewell._fail(payload)
        return farewell.error

    def drop(self, reply: Reply) -> None:
        """Read the rest of *reply* for nobody."""
        reply.abandoned = True
        reply.result.rows.clear()
        reply.results.clear()
        if reply.infile is not None:
            self._refuse_file(reply)

    async def idle(self) -> None:
        """Wait until every reply has been read; by then another may be under way."""
        if self.replies and self.lost is None:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    async def drain(self) -> None:
        """Wait until the transport takes more."""
        if self._paused and self.lost is None:
            if self._writable is None:
                self._writable = self._loop.create_future()
            await asyncio.shield(self._writable)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._wake("_writable")

    def eof_received(self) -> bool:
        self.fail(_lost())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        lost = _lost(exc)
        lost.__cause__ = exc
        self.fail(lost)
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the transport is closed; after *timeout* seconds close it by force."""
        if not self.closed.done():
            await asyncio.wait([self.closed], timeout=timeout)
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: BaseException) -> None:
        """End the connection: every reply, and whoever waits, gets *error*."""
        if self.lost is None:
            self.lost = error
        for reply in self.replies:
            reply.error = reply.error or self.lost
            reply.finish()
        self.replies.clear()
        self._wake("_idle")
        self.resume_writing()
        if self._transport is not None:
            self._transport.abort()

    def _wake(self, name: str) -> None:
        waiter = getattr(self, name)
        setattr(self, name, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _lost(cause: BaseException | None = None) -> err.OperationalError:
    detail = f" ({cause})" if cause is not None else ""
    return err.OperationalError(
        CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query{detail}"
    )


def _never(raw: bytes, encoding: str) -> Columns:
    raise MalformedPacket("rows in the answer to nothing")
