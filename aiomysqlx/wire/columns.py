"""Columns: the definitions that a result begins with, and what follows from them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

from pymysql.constants import FIELD_TYPE
from pymysql.converters import decoders as default_decoders
from pymysql.converters import through

from ..runtime.record import Record
from ._impl import BaseMetadata, BaseRow, Decoder, frame
from .codes import (
    BYTES,
    CALENDAR,
    CLOCK,
    DATE,
    DATETIME,
    DECIMAL,
    FLOAT,
    FLOAT32,
    FLOAT64,
    INT,
    INT8,
    INT16,
    INT32,
    INT64,
    KIND_BITS,
    SIZED,
    TEXT,
    TIME,
    UINT8,
    UINT16,
    UINT32,
    UINT64,
)
from .packets import MalformedPacket, length, payloads, read_length

MOST_COLUMNS = 0xFFFF  # sixteen times what a server takes
# Definitions of more bytes are not kept to be compared with: no server fills the caches at will.
MOST_REMEMBERED = 1 << 16
BINARY_CHARSET = 63
# Among a column's flags.
_NOT_NULL = 1
_UNSIGNED = 32
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
# How the values of a type stand in a binary row, without and with a sign; the others have a length.
_WIRES = {
    FIELD_TYPE.TINY: (UINT8, INT8),
    FIELD_TYPE.SHORT: (UINT16, INT16),
    FIELD_TYPE.INT24: (UINT32, INT32),
    FIELD_TYPE.LONG: (UINT32, INT32),
    FIELD_TYPE.LONGLONG: (UINT64, INT64),
    FIELD_TYPE.YEAR: (UINT16, UINT16),
    FIELD_TYPE.FLOAT: (FLOAT32, FLOAT32),
    FIELD_TYPE.DOUBLE: (FLOAT64, FLOAT64),
    FIELD_TYPE.DATE: (CALENDAR, CALENDAR),
    FIELD_TYPE.NEWDATE: (CALENDAR, CALENDAR),
    FIELD_TYPE.DATETIME: (CALENDAR, CALENDAR),
    FIELD_TYPE.TIMESTAMP: (CALENDAR, CALENDAR),
    FIELD_TYPE.TIME: (CLOCK, CLOCK),
}
_FIXED_FIELDS = struct.Struct("<BHIBHBxx")


class Column(Record):
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
        """The code of the value conversion, see `codes`."""
        if self.type_code in _STRINGS:
            return BYTES if self.charset == BINARY_CHARSET else TEXT
        return _CONVERSIONS.get(self.type_code, BYTES)

    @property
    def wire(self) -> int:
        """The code of how a value stands in a binary row, see `codes`."""
        unsigned, signed = _WIRES.get(self.type_code, (SIZED, SIZED))
        return (unsigned if self.flags & _UNSIGNED else signed) | self.decimals << KIND_BITS

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
            self.flags & _NOT_NULL == 0,
        )


class Columns:
    """What is known of a result's columns: their definitions and how to decode a row.

    Its rows are those of a prepared statement if it is *binary*.
    """

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
        binary: bool = False,
    ) -> None:
        names = [column.name for column in definitions]
        # What a result of these columns begins with, if it is the first one of its reply.
        self.head: bytes = frame(length(len(definitions)), 1) + raw
        # What its texts were sent in, of which the bytes above may say nothing.
        self.encoding: str = encoding
        self.definitions: list[Column] = definitions
        self.description: tuple[tuple[Any, ...], ...] = tuple(
            column.description for column in definitions
        )
        wire = [column.wire for column in definitions] if binary else None
        self.decoder: Decoder = Decoder(names, conversions, processors, encoding, wire)
        self.metadata: Any = metadata
        self.runs_user_code: bool = any(processor is not None for processor in processors)


def parse_columns(raw: bytes, encoding: str) -> list[Column]:
    """Return the column definitions in *raw*, whole packets one after the other."""
    return [_parse_column(payload, encoding) for payload in payloads(raw)]


def describe_bytes(raw: bytes, encoding: str) -> Columns:
    """Return columns whose values are the bytes received."""
    definitions = parse_columns(raw, encoding)
    return Columns(
        raw, definitions, [BYTES] * len(definitions), [None] * len(definitions), encoding
    )


def _parse_column(payload: bytes, encoding: str) -> Column:
    texts = []
    position = 0
    for _ in range(6):  # catalog, schema, table, org_table, name, org_name
        size, position = read_length(payload, position)
        if size > len(payload) - position:
            raise MalformedPacket("column definition ends inside a name")
        texts.append(payload[position : position + size].decode(encoding, "replace"))
        position += size
    if position >= len(payload) or len(payload) < position + 1 + _FIXED_FIELDS.size - 1:
        raise MalformedPacket("column definition ends before its type")
    fixed, charset, size, type_code, flags, decimals = _FIXED_FIELDS.unpack_from(
        payload.ljust(position + _FIXED_FIELDS.size, b"\0"), position
    )
    if fixed != 0x0C:
        raise MalformedPacket(f"column definition has {fixed} bytes of fixed fields, expected 12")
    _, schema, table, org_table, name, org_name = texts
    return Column(
        *(schema, table, org_table, name, org_name), charset, size, type_code, flags, decimals
    )


Describe = Callable[[bytes, str], Columns]
"""Gives the columns of a result from its definitions as received and the text's encoding."""

Shape = Callable[[Columns], "tuple[type[BaseRow], BaseMetadata]"]
"""Gives the class of a result's rows, and their metadata."""


class Converters:
    """PyMySQL's `conv` and `use_unicode`: what a user has values made of, column by column.

    It equals any other of the same `conv` object.
    """

    __slots__ = ("_as_text", "_by_type")

    def __init__(self, by_type: Mapping[int, Callable[[Any], Any]], as_text: bool) -> None:
        self._by_type = by_type
        self._as_text = as_text

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Converters)
            and self._by_type is other._by_type
            and self._as_text is other._as_text
        )

    def __hash__(self) -> int:
        return hash((id(self._by_type), self._as_text))

    def reading(self, column: Column) -> tuple[int, Callable[[Any], Any] | None]:
        """Return how a column's values are decoded, and what is to be called with each of them.

        The user's own function expects text or bytes, as PyMySQL passes them, and no NULL.
        """
        conversion = column.conversion
        converter = self._by_type.get(column.type_code)
        if converter is not default_decoders.get(column.type_code):
            conversion = BYTES if conversion == BYTES else TEXT
        if conversion == TEXT and not self._as_text:
            conversion = BYTES
        if conversion not in (TEXT, BYTES) or converter is None or converter is through:
            return conversion, None
        return conversion, _skip_null(converter)


def converters_of(
    converters: Mapping[int, Callable[[Any], Any]] | None, use_unicode: bool | None
) -> Converters | None:
    """Return what reads values as a user has asked for; `None` if they are those of their types."""
    if converters is None:
        converters = default_decoders
    as_text = use_unicode is not False
    if converters is default_decoders and as_text:
        return None
    return Converters(converters, as_text)


def describe_with(
    converters: Mapping[int, Callable[[Any], Any]] | None, use_unicode: bool | None
) -> Describe:
    """Return what describes results whose values *converters*, PyMySQL's by type, convert."""
    own = converters_of(converters, use_unicode)
    return describe if own is None else partial(_describe_custom, converters=own)


def describe(raw: bytes, encoding: str, binary: bool = False) -> Columns:
    """Return columns whose values are Python's of their types."""
    parse = _parsed if len(raw) <= MOST_REMEMBERED else _parsed.__wrapped__
    return parse(raw, encoding, binary)


@lru_cache(maxsize=256)
def _parsed(raw: bytes, encoding: str, binary: bool) -> Columns:
    definitions = parse_columns(raw, encoding)
    conversions = [column.conversion for column in definitions]
    processors: list[Callable[[Any], Any] | None] = [None] * len(definitions)
    return Columns(raw, definitions, conversions, processors, encoding, binary=binary)


def _describe_custom(raw: bytes, encoding: str, converters: Converters) -> Columns:
    definitions = parse_columns(raw, encoding)
    readings = [converters.reading(column) for column in definitions]
    conversions = [conversion for conversion, _ in readings]
    return Columns(raw, definitions, conversions, [own for _, own in readings], encoding)


def _skip_null(converter: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else converter(value)
