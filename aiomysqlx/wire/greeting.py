"""What opens a session: the server's greeting, the response to it, and a first question."""

from __future__ import annotations

import re
import ssl
import struct
from collections.abc import Mapping
from itertools import chain, islice, repeat
from typing import Any

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR, ER

from ..exc import ArgumentError
from ..runtime.record import Record
from ._impl import frame
from .charset import DEFAULT_CHARSET, current_name
from .outcome import MUST_CHANGE_PASSWORD
from .packets import MalformedPacket, length

EXPIRED = 1 << 22  # CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS
SESSION_TRACK = 1 << 23
DEPRECATE_EOF = 1 << 24

# MariaDB's own capabilities: of a server that does not say it were MySQL by the first flag of all.
_IS_MYSQL = 1
BULK = 1 << 2  # MARIADB_CLIENT_STMT_BULK_OPERATIONS
# Not MARIADB_CLIENT_CACHE_METADATA, 1 << 4, by which column definitions are sent once: the query
# cache gives what it has kept for such a session to others, who then lose rows without a word.

# What decides how packets look, and what to give instead where a user may decide.
_NOT_TO_ASK_FOR = {
    CLIENT.CONNECT_WITH_DB: "CONNECT_WITH_DB: give 'db'",
    CLIENT.COMPRESS: "COMPRESS: there is no compression",
    CLIENT.SSL: "SSL: give 'ssl'",
    SESSION_TRACK: "SESSION_TRACK: it is used where the server has it",
    DEPRECATE_EOF: "DEPRECATE_EOF: it is used where the server has it",
    1 << 25: "OPTIONAL_RESULTSET_METADATA",
    1 << 26: "ZSTD_COMPRESSION_ALGORITHM: there is no compression",
    1 << 27: "QUERY_ATTRIBUTES",
    1 << 28: "MULTI_FACTOR_AUTHENTICATION",
    1 << 29: "CAPABILITY_EXTENSION",
    1 << 30: "SSL_VERIFY_SERVER_CERT: give 'ssl'",
    1 << 31: "REMEMBER_OPTIONS",
}

# As it is, and as distributions name it.
_MYSQL = r"[0-9]+\.[0-9]+\.[0-9]+(-([0-9][0-9a-z.+~-]*|log|debug|enterprise[a-z-]*))?"

_PROTOCOL = 10
_X_NOTICE = 11  # what a server of the X Protocol begins with
_MAX_PACKET = (1 << 24) - 1


class TLS:
    """TLS as a connection uses it."""

    __slots__ = ("context", "own", "required")

    def __init__(self, context: ssl.SSLContext, required: bool = True, own: bool = False) -> None:
        self.context: ssl.SSLContext = context
        self.required: bool = required
        self.own: bool = own  # the context is the user's: beside it no other option is taken

    def for_server(self, offered: bool) -> ssl.SSLContext | None:
        """Return the context for a server that offers TLS or not; `None`: go on in clear text."""
        if offered:
            return self.context
        if self.required:
            raise err.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR,
                "TLS was asked for, but the server does not offer it: switch it on there, or do not"
                " ask for it",
            )
        return None


class Greeting(Record):
    """What a server says of itself."""

    protocol: int
    version: str
    thread_id: int
    nonce: bytes  # with the NUL that is behind it
    capabilities: int
    collation: int
    status: int
    plugin: str
    extended: int  # MariaDB's own capabilities


def parse_greeting(data: bytes) -> Greeting:
    """Return what a greeting says.

    Raises `MalformedPacket` if it is cut short, `OperationalError` if it is not of this protocol.
    """
    if len(data) < 2:
        raise MalformedPacket("a greeting has no version")
    if data[0] != _PROTOCOL:
        raise err.OperationalError(
            CR.CR_VERSION_ERROR,
            f"protocol version of the server is {data[0]}, expected {_PROTOCOL}"
            + ("; port 33060 is that of the X Protocol, try 3306" if data[0] == _X_NOTICE else ""),
        )
    end = data.find(b"\0", 1)
    version = data[1:end]
    if end < 0 or not version.isascii():
        raise MalformedPacket("a greeting has no version")
    fixed = data[end + 1 :]
    if len(fixed) < 15:
        raise MalformedPacket("a greeting ends before its capabilities")
    thread_id, nonce, capabilities = struct.unpack_from("<I8sxH", fixed)
    collation = status = extended = 0
    plugin = b""
    if len(fixed) > 15:
        if len(fixed) < 31:
            raise MalformedPacket("a greeting ends within its capabilities")
        collation, status, high, size = struct.unpack_from("<BHHB", fixed, 15)
        capabilities |= high << 16
        if not capabilities & _IS_MYSQL:
            (extended,) = struct.unpack_from("<I", fixed, 27)
        rest = fixed[31:]
        size = max(13, size - 8)
        if capabilities & CLIENT.SECURE_CONNECTION and len(rest) < size - 1:
            raise MalformedPacket("a greeting ends within its random bytes")
        nonce += rest[:size]
        if capabilities & CLIENT.PLUGIN_AUTH:  # servers of old end without a NUL
            plugin = rest[size:].partition(b"\0")[0]
    return Greeting(
        *(data[0], version.decode("ascii"), thread_id, nonce, capabilities, collation, status),
        *(plugin.decode("latin1"), extended),
    )


def check_client_flag(flags: int) -> None:
    """Raise `ArgumentError` if *flags* has one that is not the user's to ask for."""
    if not 0 <= flags < 1 << 32:
        raise ArgumentError(f"argument 'client_flag' has flags of 32 bits, got {flags}")
    for flag, name in _NOT_TO_ASK_FOR.items():
        if flags & flag:
            raise ArgumentError(f"argument 'client_flag' does not take CLIENT.{name}")


def check_user(user: str, version: str) -> None:
    """Raise `ArgumentError` if the server would cut the name *user*, to perhaps another user's.

    Others than MySQL itself and MariaDB, of which a version tells, have limits of their own.
    """
    most = 32 if re.fullmatch(_MYSQL, version) else 128
    if len(user) > most:
        raise ArgumentError(
            f"argument 'user' has {len(user)} characters, of which the server takes {most}"
        )


def agreed(wanted: int, offered: int) -> int:
    """Return the flags of what is *wanted* of the protocol, as far as the server has it."""
    if not offered & CLIENT.PROTOCOL_41:
        raise err.OperationalError(
            CR.CR_VERSION_ERROR, "the server speaks the protocol from before MySQL 4.1 only"
        )
    return wanted & offered


def opening(flags: int, extended: int, collation: int) -> bytes:
    """Return what a response begins with, which is a request for TLS by itself.

    *extended* are flags of MariaDB's own.
    """
    return struct.pack("<IIB19xI", flags, _MAX_PACKET, collation, extended)


def response(
    flags: int,
    extended: int,
    collation: int,
    user: bytes,
    answer: bytes,
    db: bytes,
    plugin: str,
    attributes: Mapping[str, str],
) -> bytes:
    """Return the response to a greeting: *flags* tell which of the fields it has."""
    parts = [opening(flags, extended, collation), user, b"\0"]
    if flags & CLIENT.PLUGIN_AUTH_LENENC_CLIENT_DATA:
        parts.append(with_length(answer))
    elif flags & CLIENT.SECURE_CONNECTION:
        if len(answer) > 0xFF:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_ERR,
                f"the server takes answers of 255 bytes at most, and {plugin} has one of"
                f" {len(answer)}",
            )
        parts += [bytes((len(answer),)), answer]
    else:
        parts += [answer, b"\0"]
    if flags & CLIENT.CONNECT_WITH_DB:
        parts += [db, b"\0"]
    if flags & CLIENT.PLUGIN_AUTH:
        parts += [plugin.encode("ascii"), b"\0"]
    if flags & CLIENT.CONNECT_ATTRS:
        pairs = (text.encode() for pair in attributes.items() for text in pair)
        parts.append(with_length(b"".join(map(with_length, pairs))))
    return b"".join(parts)


def with_length(data: bytes) -> bytes:
    """Return *data* behind its length, a length-encoded integer."""
    return length(len(data)) + data


def parse_switch(packet: bytes) -> tuple[str, bytes]:
    """Return the plugin that a server switches to, and its random bytes."""
    plugin, _, nonce = packet[1:].partition(b"\0")
    return plugin.decode("latin1"), nonce


# -- what a new session takes, as the server tells it in one answer, or does not -------------------

MOST_ASSUMED = 1 << 24
"""The `max_allowed_packet` of a server that does not tell it: MySQL's own for a long time."""

_LEAST_PACKET = 1024
# Those that a client raises by itself.
_CLIENT_CODES = range(2000, 3000)
# What says that it is understood.
_UNDERSTOOD = frozenset({MUST_CHANGE_PASSWORD, ER.UNKNOWN_CHARACTER_SET, ER.USER_LIMIT_REACHED})
# Two, or an escaped one.
_BACKSLASHES = rb"CHAR_LENGTH('\\')"
# A replica's is 1; that of one of Aurora's readers is the second. MySQL's super_read_only sets the
# first. A node of Galera's without its cluster refuses to read any table, also this one, with error
# 1047, but nothing else that is asked here.
_ROLE = ", CONCAT(@@read_only, ',', @@innodb_read_only) FROM (SELECT 1) AS node"
ROLE: bytes = frame(bytes((COMMAND.COM_QUERY,)) + f"SELECT {_ROLE.removeprefix(', ')}".encode())
BACKSLASHES: bytes = frame(bytes((COMMAND.COM_QUERY,)) + b"SELECT " + _BACKSLASHES)


class Learned(Record):
    """What is known of a session; `None` is what is not."""

    limit: int | None
    charset: str | None
    collation: str | None
    default: str | None  # the server's own collation for the charset that was asked for
    time_zone: str | None
    backslashes: str | None
    thread_id: int | None  # a greeting's has 32 bits, and is a proxy's own
    is_read_only: bool | None


def question(charset: str, roles: bool = False) -> bytes:
    """Return the packet that asks for it; with *roles* also whether the server is read-only."""
    # An introducer has the default that a SET NAMES would have, also where a variable of
    # MySQL's sets another for utf8mb4; of other charsets the server may not know it.
    sample = "_utf8mb4''" if charset == DEFAULT_CHARSET else f"CONVERT('' USING {charset})"
    text = (
        "SELECT @@max_allowed_packet, @@character_set_client, @@collation_connection,"
        f" COLLATION({sample}), @@time_zone, {_BACKSLASHES.decode()}, CONNECTION_ID()"
        f"{_ROLE if roles else ''}"
    )
    packet: bytes = frame(bytes((COMMAND.COM_QUERY,)) + text.encode())
    return packet


def learned_from(rows: list[tuple[Any, ...]]) -> Learned:
    """Return what the answer's *rows* tell: one with a value for each, or anything else."""
    row = rows[0] if len(rows) == 1 and len(rows[0]) <= len(Learned._fields) else ()
    values = chain(map(_text, row), repeat(None))
    limit, charset, collation, default, time_zone, backslashes, thread, read_only = islice(
        values, len(Learned._fields)
    )
    return Learned(
        *(_size(limit), _name(charset), _name(collation), _name(default), time_zone, backslashes),
        number_of(thread),
        is_read_only(read_only),
    )


def is_not_understood(code: int) -> bool:
    """Tell whether an error may be that of a server which has no such question.

    Such servers have syntax errors of any number.
    """
    return code not in _UNDERSTOOD and code not in _CLIENT_CODES


def number_of(value: Any) -> int | None:
    """Return the number of a session, as an answer has it; `None` if it has none."""
    text = _text(value)
    return int(text) if text and re.fullmatch(r"[0-9]{1,20}", text) else None


def _text(value: Any) -> str | None:
    """Return a value as text: a binary session gives bytes."""
    if isinstance(value, bytes):
        return value.decode("utf8", "replace")
    return None if value is None else str(value)


def is_read_only(text: str | None) -> bool | None:
    """Tell what two variables of a server's mean, which are numbers or words."""
    if text is None or "," not in text:
        return None
    return not {"0", "OFF"}.issuperset(text.upper().split(","))


def _size(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"[0-9]{1,19}", text) or int(text) < _LEAST_PACKET:
        return None
    return int(text)


def _name(text: str | None) -> str | None:
    return current_name(text) if text else None
