"""Preparing a statement on the server: the command, its answer, and what closes a statement."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from pymysql.constants import COMMAND

from .command import Command, packet_of
from .packets import MalformedPacket
from .reply import Reply, ResultSet

if TYPE_CHECKING:
    from ._impl import Reader
    from .outcome import Refusal

# The statement's number, its columns and parameters, a filler, its warnings.
_HEAD = struct.Struct("<xIHHxH")
_NUMBER = struct.Struct("<I")


class Statement:
    """A statement that is prepared on the server, or about to be.

    `number` is the server's for it, `None` until it has answered. `parameters` counts what is to be
    given. `columns` are the definitions of its result, as received; empty if it gives no rows.
    `refused` is the server's error, if it has not prepared it.
    """

    __slots__ = ("columns", "number", "parameters", "refused")

    def __init__(self) -> None:
        self.number: int | None = None
        self.parameters = 0
        self.columns = b""
        self.refused: Refusal | None = None


class Prepare(Command):
    """The command that prepares *sql*, encoded; its answer goes into *statement*.

    It does so whoever waits, so that the server's statement is known and can be closed.
    """

    __slots__ = ("statement",)

    def __init__(self, sql: bytes, statement: Statement) -> None:
        super().__init__(packet_of(COMMAND.COM_STMT_PREPARE, sql))
        self.statement = statement


def closing(number: int) -> bytes:
    """Return the packet that closes a statement; the server does not answer it."""
    return packet_of(COMMAND.COM_STMT_CLOSE, _NUMBER.pack(number))


class Preparing(Reply):
    """The answer to a `Prepare`: a head, then the definitions of its parameters and its columns.

    It ends with one result, without rows, or with the error that the server sent.
    """

    __slots__ = ("_due", "_ending", "_number", "_statement")

    def __init__(self, command: Prepare, *arguments: Any) -> None:
        super().__init__(command, *arguments)
        self._statement = command.statement
        self._number: int | None = None  # once the head is there
        # How many definitions are still to come of each kind, the parameters' first.
        self._due: list[int] = []
        self._ending = False  # whether an EOF packet is to come

    def feed(self, reader: Reader, deprecate_eof: bool) -> bool:
        """Take what has come in; true once the reply is complete."""
        if self._number is None:
            payload = reader.packet()
            if payload is None:
                return False
            if payload[0] == 0xFF:
                self._fail(payload)
                self._statement.refused = self.refused
                return True
            self._begin_definitions(payload)
        while self._due:
            if self._ending:
                payload = reader.packet()
                if payload is None:
                    return False
                if payload[0] != 0xFE or len(payload) > 8:
                    raise MalformedPacket("expected the end of a prepared statement's definitions")
                self._ending = False
                self._due.pop(0)
                continue
            raw = reader.definitions(self._due[0]) if self._due[0] else b""
            if raw is None:
                return False
            if len(self._due) == 1:
                self._statement.columns = raw
            if raw and not deprecate_eof:
                self._ending = True
            else:
                self._due.pop(0)
        self._statement.number = self._number
        self.results.append(self.result)
        return True

    def _begin_definitions(self, payload: bytes) -> None:
        if payload[0] != 0x00 or len(payload) < _HEAD.size:
            raise MalformedPacket(f"expected a prepared statement, got {payload[:64]!r}")
        self._number, columns, parameters, warnings = _HEAD.unpack_from(payload)
        self._statement.parameters = parameters
        self._due = [parameters, columns]
        self.result = ResultSet()
        self.result.warning_count = warnings
