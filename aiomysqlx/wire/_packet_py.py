"""Bytes to rows: framing of the bytes received, and decoding of text and binary rows.

This is the specification; `_packet_cy` is its compiled twin. Every length that comes from the wire
is checked before it is used, and no memory is spent on bytes that have not arrived. A binary row, a
prepared statement's, gives the values that the same row gives as text.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from math import isfinite
from operator import methodcaller
from struct import Struct
from typing import Any, final

from .codes import (
    BOOL,
    CLOCK,
    DATE,
    FLOAT32,
    FLOAT64,
    FLOAT_DIGITS,
    INT,
    INT8,
    INT16,
    INT32,
    INT64,
    KIND_BITS,
    NO_DECIMALS,
    SIZED,
    TEXT,
    WIDTHS,
    check_wire,
)
from .packets import (
    CAPACITY,
    IDLE_CAPACITY,
    MAX_PIECE,
    NULL,
    MalformedPacket,
    PacketTooLarge,
    UndecodableValue,
    read_length,
)

_EXPECTED = (
    "text",
    "bytes",
    "an integer",
    "a float",
    "a decimal",
    "a datetime",
    "a date",
    "a time",
    "a boolean",
    "a decimal",
)

# A value has the shape of a date when it is equal to this one after its digits have become zeros.
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_DATE = b"0000-00-00"
_DATETIME = b"0000-00-00 00:00:00.000000"
_DATETIMES = frozenset(_DATETIME[:size] for size in (19, *range(21, 27)))
_TIME = b"00:00:00.000000"
_TIMES = frozenset(
    hours + _TIME[:size] for hours in (b"", b"0", b"-", b"-0") for size in (8, *range(10, 16))
)


@final
class Decoder:
    """Decode the rows of one result.

    They are binary rows if there is a code in *wire* for each column.
    """

    __slots__ = ("_conversions", "_convert", "_encoding", "_names", "_processors", "_widths")

    def __init__(
        self,
        names: Sequence[str],
        conversions: Sequence[int],
        processors: Sequence[Callable[[Any], Any] | None],
        encoding: str,
        wire: Sequence[int] | None = None,
    ) -> None:
        names, conversions, processors = tuple(names), tuple(conversions), tuple(processors)
        if not len(names) == len(conversions) == len(processors):
            raise ValueError(
                "expected as many names as conversions and processors, "
                f"got {len(names)}, {len(conversions)} and {len(processors)}"
            )
        for conversion in conversions:
            if conversion not in range(len(_CONVERTERS)):
                raise ValueError(f"unknown conversion {conversion!r}")
        wire = None if wire is None else tuple(wire)
        if wire is not None:
            if len(wire) != len(names):
                raise ValueError(f"expected {len(names)} wire codes, got {len(wire)}")
            for code, conversion in zip(wire, conversions, strict=True):
                check_wire(code, conversion)
        self._names = names
        self._conversions = bytes(conversions)
        self._processors = [
            (column, processor)
            for column, processor in enumerate(processors)
            if processor is not None
        ]
        self._encoding = codecs.lookup(encoding).name
        self._convert = [
            _decode_text(self._encoding) if conversion == TEXT else _CONVERTERS[conversion]
            for conversion in self._conversions
        ]
        self._widths: list[int] | None = None  # of a binary row's values, 0 where a length tells
        if wire is not None:
            self._widths = [WIDTHS[code & _KIND] for code in wire]
            self._convert = [
                _binary_converter(code & _KIND, code >> KIND_BITS, conversion) or convert
                for code, conversion, convert in zip(
                    wire, self._conversions, self._convert, strict=True
                )
            ]

    def row(self, payload: bytes) -> tuple[Any, ...]:
        """Decode one row packet."""
        if self._widths is not None:
            return self._binary_row(payload, self._widths)
        values: list[Any] = []
        size = len(payload)
        position = 0
        value = b""
        try:
            for convert in self._convert:
                length = payload[position]
                position += 1
                if length == NULL:
                    values.append(None)
                    continue
                if length > NULL:
                    length, position = read_length(payload, position - 1)
                end = position + length
                if end > size:
                    raise MalformedPacket("row packet is cut short")
                value = payload[position:end]
                values.append(convert(value))
                position = end
        except IndexError:
            raise MalformedPacket("row packet is cut short") from None
        except ValueError:
            column = len(values)
            raise undecodable(
                self._names[column], self._conversions[column], value, self._encoding
            ) from None
        if position != size or self._processors:
            self._process(values, size - position)
        return tuple(values)

    def _binary_row(self, payload: bytes, widths: list[int]) -> tuple[Any, ...]:
        """Decode a 0x00, a bit for each column that is NULL, from the third on, and the others."""
        values: list[Any] = []
        size = len(payload)
        position = 1 + (len(widths) + 9 >> 3)
        if size < position:
            raise MalformedPacket("row packet is cut short")
        if payload[0] != 0:
            raise MalformedPacket(f"row packet begins with {payload[0]:#04x}, expected 0x00")
        nulls = int.from_bytes(payload[1:position], "little") >> 2
        value = b""
        try:
            for column, (width, convert) in enumerate(zip(widths, self._convert, strict=True)):
                if nulls >> column & 1:
                    values.append(None)
                    continue
                if not width:
                    width, position = read_length(payload, position)
                end = position + width
                if end > size:
                    raise MalformedPacket("row packet is cut short")
                value = payload[position:end]
                values.append(convert(value))
                position = end
        except ValueError:
            column = len(values)
            raise undecodable(
                self._names[column], self._conversions[column], value, self._encoding
            ) from None
        if position != size or self._processors:
            self._process(values, size - position)
        return tuple(values)

    def _process(self, values: list[Any], left: int) -> None:
        if left:
            raise MalformedPacket(f"row packet has {left} bytes left over")
        # Last, so that they run on rows known to be sound.
        for column, processor in self._processors:
            values[column] = processor(values[column])


class Reader:
    """The bytes received on one connection, framed into packets and decoded in place."""

    __slots__ = (
        "_buffer",
        "_end",
        "_held",
        "_lent",
        "_limit",
        "_pieces",
        "_seen",
        "_start",
        "sequence",
    )

    sequence: int

    def __init__(self, limit: int = 1 << 30) -> None:
        self._limit = limit
        self._buffer = bytearray(CAPACITY)
        self._start = self._end = 0
        self._lent = False  # a view of the free space is out, and may be being filled
        self._pieces: list[bytes] = []  # taken out of the buffer, waiting for what completes them
        self._held = 0  # bytes in the pieces
        self._seen = 0  # definitions among the pieces
        self.sequence = -1

    @property
    def limit(self) -> int:
        """The most bytes that a packet may have."""
        return self._limit

    @limit.setter
    def limit(self, limit: int) -> None:
        self._limit = limit

    @property
    def buffered(self) -> int:
        """The number of bytes received and not yet given out."""
        return self._end - self._start + self._held

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the free space to receive into, never empty."""
        size = CAPACITY
        if self._end:  # else it is empty, and small
            self._make_room()
            size = self._missing()
        self._lent = True
        return memoryview(self._buffer)[self._end : self._end + size]

    def buffer_updated(self, nbytes: int) -> None:
        """Count *nbytes* written to the space that `get_buffer` gave."""
        if not 0 <= nbytes <= len(self._buffer) - self._end:
            raise ValueError(f"expected 0 to {len(self._buffer) - self._end} bytes, got {nbytes}")
        self._lent = False
        self._end += nbytes

    def feed(self, data: bytes) -> None:
        """Take *data* as received."""
        position = 0
        while position < len(data):
            self._make_room()
            taken = data[position : position + len(self._buffer) - self._end]
            self._buffer[self._end : self._end + len(taken)] = taken
            self._end += len(taken)
            position += len(taken)

    def skip(self, packets: bytes, count: int) -> bool:
        """Leave *packets*, *count* of them with their headers, behind if they come next."""
        stop = self._start + len(packets)
        if self._pieces or stop > self._end or self._buffer[self._start : stop] != packets:
            return False
        if self.sequence >= 0:
            if packets[3:4] != bytes((self.sequence,)):
                return False
            self.sequence = (self.sequence + count) & 0xFF
        self._start = stop
        if stop == self._end and not self._lent:
            self._rewind()
        return True

    def oks(self, status: int, behind: bytes) -> tuple[int, int, int, int, int]:
        """Leave plain OK packets of *status* behind, each with the packets *behind* it.

        Plain is one that counts at most 250 rows and has no insert id. Return how many there were,
        the rows and the warnings of all but the last of them, and its own. *behind* are packets
        with their headers, whose sequence ids do not count.
        """
        count = rows = warnings = last_rows = last_warnings = 0
        while (stop := self._ok_end(status, behind)) > 0:
            rows += last_rows
            warnings += last_warnings
            ok = self._buffer[self._start + 4 : stop]
            last_rows, last_warnings = ok[1], ok[5] | ok[6] << 8
            count += 1
            self._start = stop
            if stop == self._end and not self._lent:
                self._rewind()
        return count, rows, warnings, last_rows, last_warnings

    def _ok_end(self, status: int, behind: bytes) -> int:
        """Return where the next plain OK packet ends, with those behind it; 0 if there is none."""
        buffer, start, sequence = self._buffer, self._start, self.sequence
        length = self._end - start - 4
        if self._pieces or length < 7:
            return 0
        length = buffer[start] | buffer[start + 1] << 8 | buffer[start + 2] << 16
        ok = buffer[start + 4 : start + 4 + length]
        if not 7 <= length < MAX_PIECE or length > self._limit or ok[:1] != b"\x00":
            return 0
        if start + 4 + length > self._end or ok[1] > 250 or ok[2] != 0:
            return 0
        if ok[3] | ok[4] << 8 != status or sequence not in (-1, buffer[start + 3]):
            return 0
        stop = start + 4 + length
        position = 0
        count = 1
        while position < len(behind):
            head = behind[position : position + 4]
            size = 4 + int.from_bytes(head[:3], "little")
            packet = behind[position : position + size]
            if len(packet) < max(4, size) or stop + size > self._end:
                return 0
            if buffer[stop : stop + 3] != head[:3] or buffer[stop + 4 : stop + size] != packet[4:]:
                return 0
            if sequence >= 0 and buffer[stop + 3] != (sequence + count) & 0xFF:
                return 0
            position += size
            stop += size
            count += 1
        if sequence >= 0:
            self.sequence = (sequence + count) & 0xFF
        return stop

    def may_be_error(self, most: int) -> bool:
        """Tell whether what has come may be an error packet of up to *most* bytes, or begin one."""
        header = self._buffer[self._start : min(self._end, self._start + 5)]
        if len(header) < 4:
            return True
        length = header[0] | header[1] << 8 | header[2] << 16
        return 0 < length <= most and (len(header) == 4 or header[4] == 0xFF)

    def packet(self) -> bytes | None:
        """Return the next whole payload, or None if it is not all there."""
        while (length := self._arrived()) >= 0:
            payload = self._consume(4, length)
            if length == MAX_PIECE or self._pieces:
                self._pieces.append(payload)
                self._held += length
                if length == MAX_PIECE:
                    continue
                payload = self._join()
            if not payload:
                raise MalformedPacket("empty packet")
            return payload
        return None

    def definitions(self, count: int) -> bytes | None:
        """Return the next *count* packets, headers included, or None if they are not all there."""
        while self._seen < count:
            length = self._arrived()
            if length < 0:
                return None
            if length == 0 or length == MAX_PIECE:
                raise MalformedPacket(f"column definition of {length} bytes")
            if self._buffer[self._start + 4] == 0xFF:
                # The server gives up and sends no more definitions.
                error = self._consume(4, length)
                raise MalformedPacket(f"expected a column definition, got {error[:64]!r}")
            self._pieces.append(self._consume(0, 4 + length))
            self._held += 4 + length
            self._seen += 1
        self._seen = 0
        return self._join()

    def rows(
        self,
        decoder: Decoder | None,
        out: list[tuple[Any, ...]],
        deprecate_eof: bool,
        most: int = 0,
    ) -> bytes | None:
        """Decode every row that is there into *out*; give the packet that ends the rows, or None.

        Without a decoder the rows are thrown away. A row that raises has been consumed. With *most*
        no row is taken once *out* has as many.
        """
        longest_end = MAX_PIECE - 1 if deprecate_eof else 8
        while (payload := self.packet()) is not None:
            header = payload[0]
            if header == 0xFF or (header == 0xFE and len(payload) <= longest_end):
                return payload
            if decoder is not None:
                out.append(decoder.row(payload))
                if len(out) == most:
                    return None
        return None

    def _arrived(self) -> int:
        """Return the payload length of the next wire packet if it is all there, else -1."""
        start = self._start
        available = self._end - start - 4
        if available < 0:
            return -1
        buffer = self._buffer
        length = buffer[start] | buffer[start + 1] << 8 | buffer[start + 2] << 16
        if self.sequence >= 0 and buffer[start + 3] != self.sequence:
            raise MalformedPacket(f"packet sequence {buffer[start + 3]}, expected {self.sequence}")
        if self._held + length > self._limit:
            raise PacketTooLarge(f"packet of {self._held + length} bytes, limit {self._limit}")
        return length if length <= available else -1

    def _consume(self, skip: int, length: int) -> bytes:
        """Take *length* bytes, the rest of one wire packet, from *skip* bytes on."""
        start = self._start + skip
        stop = start + length
        data = bytes(memoryview(self._buffer)[start:stop])
        self._start = stop
        if self.sequence >= 0:
            self.sequence = (self.sequence + 1) & 0xFF
        if stop == self._end and not self._lent:
            self._start = self._end = 0  # as _rewind() has it, without a call for each packet
            if len(self._buffer) > IDLE_CAPACITY:
                self._rewind()
        return data

    def _join(self) -> bytes:
        """Return the pieces as one, and forget them."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return whole

    def _missing(self) -> int:
        """Return how much to receive at once: `CAPACITY`, or what completes a longer packet."""
        header = self._buffer[self._start : min(self._end, self._start + 4)]
        if len(header) < 4:
            return CAPACITY
        length = header[0] | header[1] << 8 | header[2] << 16
        return max(CAPACITY, length - (self._end - self._start - 4))

    def _make_room(self) -> None:
        """Have at least a quarter of the buffer free: each byte is moved a bounded number of times.

        The old buffer is left as it is for the views that are out: it never changes its size.
        """
        if self._start == self._end:
            self._rewind()
        capacity = len(self._buffer)
        if capacity - self._end >= capacity >> 2:
            return
        unread = self._buffer[self._start : self._end]
        if len(unread) > capacity >> 1:
            self._buffer = bytearray(2 * capacity)
        self._buffer[: len(unread)] = unread
        self._start, self._end = 0, len(unread)

    def _rewind(self) -> None:
        """Start over with the empty buffer, or with a small one."""
        self._start = self._end = 0
        if len(self._buffer) > IDLE_CAPACITY:
            self._buffer = bytearray(CAPACITY)


def parse_ok(payload: bytes) -> tuple[int, int, int, int, bytes]:
    """Return affected rows, insert id, server status, warning count and info of an OK packet."""
    if payload[:1] not in (b"\x00", b"\xfe"):
        raise MalformedPacket(f"expected an OK packet, got {payload[:64]!r}")
    if payload[1:3] == b"\0\0":  # of rows, mostly
        affected_rows, last_insert_id, position = 0, 0, 3
    else:
        affected_rows, position = read_length(payload, 1)
        last_insert_id, position = read_length(payload, position)
    if len(payload) < position + 4:
        raise MalformedPacket("packet is cut short")
    status = int.from_bytes(payload[position : position + 2], "little")
    warnings = int.from_bytes(payload[position + 2 : position + 4], "little")
    return affected_rows, last_insert_id, status, warnings, payload[position + 4 :]


def parse_eof(payload: bytes) -> tuple[int, int]:
    """Return warning count and server status of an EOF packet."""
    if payload[:1] != b"\xfe":
        raise MalformedPacket(f"expected an EOF packet, got {payload[:64]!r}")
    if len(payload) < 5:
        raise MalformedPacket("packet is cut short")
    return int.from_bytes(payload[1:3], "little"), int.from_bytes(payload[3:5], "little")


def undecodable(name: str, conversion: int, value: bytes, encoding: str) -> UndecodableValue:
    """Return the error that says why *value* does not decode."""
    reason = f"expected {_EXPECTED[conversion]}, got {value[:64]!r}"
    if conversion == TEXT:
        try:
            value.decode(encoding)
        except ValueError as error:
            reason = str(error)
    return UndecodableValue(f"column {name!r}: {reason}")


# The converters raise ValueError on text that the server does not send. What Python's own
# constructors take besides (blanks, underscores, other scripts' digits, "nan") is refused first.


def _decode_text(encoding: str) -> Callable[[bytes], str]:
    return bytes.decode if encoding == "utf-8" else methodcaller("decode", encoding)


def _decode_int(value: bytes) -> int:
    if value.isdigit() or (value[:1] == b"-" and value[1:].isdigit()):
        return int(value)
    raise ValueError


def _decode_bool(value: bytes) -> bool:
    return _decode_int(value) != 0


def _decode_float(value: bytes) -> float:
    if value.translate(None, b"0123456789+-.eE"):
        raise ValueError
    return float(value)


def _decode_decimal(value: bytes) -> Decimal:
    if value.removeprefix(b"-").replace(b".", b"", 1).isdigit():
        return Decimal(value.decode())
    raise ValueError


def _decode_date(value: bytes) -> date | str:
    if value.translate(_ZEROS) != _DATE:
        raise ValueError
    text = value.decode()
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text  # a zero or partial date


def _decode_datetime(value: bytes) -> date | str:
    if len(value) == len(_DATE):
        return _decode_date(value)
    if value.translate(_ZEROS) not in _DATETIMES:
        raise ValueError
    text = value.decode()
    if text[11:13] == "24":
        return text  # which some versions of fromisoformat() take
    try:
        return datetime.fromisoformat(text if len(text) == 19 else text.ljust(26, "0"))
    except ValueError:
        return text


def _decode_time(value: bytes) -> timedelta | str:
    if value.translate(_ZEROS) not in _TIMES:
        raise ValueError
    text = value.decode()
    hours, minutes, seconds = text.removeprefix("-").split(":")
    if minutes > "59" or seconds[:2] > "59":
        return text
    interval = timedelta(
        hours=int(hours),
        minutes=int(minutes),
        seconds=int(seconds[:2]),
        microseconds=int(seconds[3:].ljust(6, "0")),
    )
    return -interval if text[0] == "-" else interval


_CONVERTERS: tuple[Callable[[bytes], Any], ...] = (
    bytes.decode,
    bytes,
    _decode_int,
    _decode_float,
    _decode_decimal,
    _decode_datetime,
    _decode_date,
    _decode_time,
    _decode_bool,
    _decode_float,
)


# The converters of a binary value. What is no Python value they write as text has it, for the
# text's converter to judge.

_KIND = (1 << KIND_BITS) - 1
_SIGNED = (INT8, INT16, INT32, INT64)
_FLOATS = {FLOAT32: Struct("<f"), FLOAT64: Struct("<d")}
_CALENDAR = Struct("<HBBBBBI")  # what is zero may be left out at the end
_CLOCK = Struct("<BIBBBI")


def _binary_converter(kind: int, decimals: int, conversion: int) -> Callable[[bytes], Any] | None:
    """Return what converts a value of a kind; `None` where the text's converter does."""
    if kind == SIZED:
        return None
    if conversion == BOOL:
        return any
    if conversion == INT:
        return partial(int.from_bytes, byteorder="little", signed=kind in _SIGNED)
    if kind in _FLOATS:
        return partial(_binary_float, kind, decimals)
    if kind == CLOCK:
        return partial(_binary_time, decimals)
    return _binary_date if conversion == DATE else partial(_binary_datetime, decimals)


def _binary_float(kind: int, decimals: int, value: bytes) -> float:
    (number,) = _FLOATS[kind].unpack(value)
    if not isfinite(number):
        raise ValueError
    if decimals < NO_DECIMALS:
        return float(f"{number:.{decimals}f}")
    return float(f"{number:.{FLOAT_DIGITS}g}") if kind == FLOAT32 else number


def _binary_date(value: bytes) -> date | str:
    if len(value) not in (0, 4):
        raise ValueError
    year, month, day, *_ = _CALENDAR.unpack(value.ljust(11, b"\0"))
    try:
        return date(year, month, day)
    except ValueError:
        return _decode_date(f"{year:04}-{month:02}-{day:02}".encode())


def _binary_datetime(decimals: int, value: bytes) -> date | str:
    if len(value) not in (0, 4, 7, 11):
        raise ValueError
    fields = _CALENDAR.unpack(value.ljust(11, b"\0"))
    year, month, day, hour, minute, second, microsecond = fields
    microsecond = _cut(microsecond, decimals)
    try:
        return datetime(year, month, day, hour, minute, second, microsecond)
    except ValueError:
        text = f"{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}"
        return _decode_datetime((text + _fraction(microsecond, decimals)).encode())


def _binary_time(decimals: int, value: bytes) -> timedelta | str:
    if len(value) not in (0, 8, 12):
        raise ValueError
    negative, days, hour, minute, second, microsecond = _CLOCK.unpack(value.ljust(12, b"\0"))
    fraction = _fraction(_cut(microsecond, decimals), decimals)
    text = f"{'-' if negative else ''}{days * 24 + hour:02}:{minute:02}:{second:02}{fraction}"
    return _decode_time(text.encode())


def _cut(microsecond: int, decimals: int) -> int:
    """Return a microsecond without the digits that text has not."""
    if microsecond > 999_999:
        raise ValueError
    unit: int = 10 ** max(0, 6 - decimals)
    return microsecond - microsecond % unit


def _fraction(microsecond: int, decimals: int) -> str:
    """Return a microsecond as it stands behind the seconds."""
    if decimals > 6:
        decimals = 6 if microsecond else 0
    return f".{microsecond:06}"[: decimals + 1] if decimals else ""
