"""Preparing a statement on the server: the command, its answer, and what closes a statement."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pymysql.constants import CLIENT, COMMAND

from ..exc import SERVER_ERRORS
from .codes import Syntax
from .columns import Describe, Shape, describe_bytes, parse_columns
from .command import Command, packet_of
from .packets import MalformedPacket
from .prepared import (
    TOLD,
    TRACKED,
    Kind,
    Statement,
    Statements,
    judge,
    may_be_text,
    tells,
    written,
)
from .reply import Reply, ResultSet

if TYPE_CHECKING:
    from ._impl import Reader
    from .observing import Observation

# The statement's number, its columns and parameters, a filler, its warnings.
_HEAD = struct.Struct("<xIHHxH")
_NUMBER = struct.Struct("<I")
# The server has no such statement; it is to be prepared anew, as often as a server does that by
# itself; a value is of characters that the column's charset lacks, for which text has other words.
_UNKNOWN, _TO_BE_PREPARED, _UNCONVERTED = 1243, 1615, 3988
_WORDS = {
    _UNKNOWN: r".*\({number}\).*",
    _TO_BE_PREPARED: "Prepared statement needs to be re-prepared",
    _UNCONVERTED: r"Conversion from collation \S+ into \S+ impossible for parameter",
}


class Prepare(Command):
    """The command that prepares *sql*, encoded; its answer goes into *statement*.

    It does so whoever waits, so that the server's statement is known and can be closed.
    """

    __slots__ = ("statement",)

    def __init__(self, sql: bytes, statement: Statement) -> None:
        super().__init__(packet_of(COMMAND.COM_STMT_PREPARE, sql))
        self.statement: Statement = statement


def closing(number: int) -> bytes:
    """Return the packet that closes a statement; the server does not answer it."""
    return packet_of(COMMAND.COM_STMT_CLOSE, _NUMBER.pack(number))


class Preparing(Reply):
    """The answer to a `Prepare`: a head, then the definitions of its parameters and its columns.

    It ends with one result, without rows, or with the error that the server sent.
    """

    __slots__ = ("_due", "_ending", "_number", "_statement")

    result: ResultSet  # a reply's

    def __init__(self, command: Any, *arguments: Any) -> None:
        super().__init__(command, *arguments)
        self._statement = command.statement
        self._number: int | None = None  # once the head is there
        # How many definitions are still to come of each kind, the parameters' first.
        self._due: list[int] = []
        self._ending = False  # whether an EOF packet is to come

    @property
    def answered(self) -> bool:
        """Whether the server has prepared the statement, or refused to."""
        return self._number is not None or self.refused is not None

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
            definitions = parse_columns(raw, self._encoding)
            if len(self._due) == 1:
                self._statement.columns = definitions
            else:
                self._statement.taken = definitions
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


# -- executing ---------------------------------------------------------------------------

_TRACKED = packet_of(
    COMMAND.COM_QUERY, b"SELECT @@session_track_system_variables, @@session_track_schema"
)


class First:
    """The first execution of a statement: its values, and how its answer is read."""

    def __init__(
        self,
        values: list[Any],
        syntax: Syntax,
        describe: Describe,
        shape: Shape,
        observed: Observation | None,
    ) -> None:
        self._values, self._syntax = values, syntax
        self._reading = describe, None, shape, observed

    def command(self, number: int) -> Command | None:
        """Return the command that executes it, if it is not to be text."""
        packet = written(number, self._values, *self._syntax)
        if packet is None:
            return None
        return Command(packet, *self._reading)


async def _prepare(session: Any, protocol: Any, statement: Statement, sql: bytes) -> None:
    """Have the server prepare *sql*; note its refusal, if the statement may be text then."""
    statements = protocol.statements
    for number in statements.make_place():
        protocol.write(closing(number))
    statement.asked = True
    try:
        await session.run(Prepare(sql, statement))
    except SERVER_ERRORS:
        refused = statement.refused
        if refused is None or session.closed:
            raise
        if not may_be_text(refused.code, refused.sqlstate):
            raise
        statements.refuse(statement, refused.code)
        for number in statements.take_closing():  # others wait for their places, it may be
            protocol.write(closing(number))


async def execute_first(
    session: Any,
    statement: Statement,
    sql: bytes,
    kinds: Sequence[Kind],
    first: First,
    text: Command,
) -> list[ResultSet]:
    """Prepare *sql*, unless that is done, and execute it.

    What the server does not prepare is executed as *text*, which has not run yet; so is what it
    would answer otherwise.
    """
    claim, protocol = session.claim, session.protocol
    statements = protocol.statements
    if statements.told is None:
        await _have_told(session, statements)
        session.check_claim(claim)
    if statements.told and statement.number is None:
        await _prepare(session, protocol, statement, sql)
        session.check_claim(claim)
    command = None
    if statement.number is not None and not statement.as_text and judge(statement, kinds):
        command = first.command(statement.number)
    if command is None or protocol is not session.protocol:
        command = text
    else:
        statements.latest = statement
    results: list[ResultSet] = await session.run(command)
    return results


def is_void(session: Any, error: BaseException, writes: bool) -> bool:
    """Tell whether a prepared statement is to be executed again, as the server has it no more.

    It is text from here on; or for once, if the server did not take a value. One that *writes* is
    not executed again unless it surely was not: with the same number a trigger may have raised an
    error of its own, or one that a statement of it was refused with, after others of it had run.
    """
    statements = session.protocol.statements
    if statements is None or statements.latest is None:
        return False
    code, message = error.args[0], error.args[-1]
    if code not in _WORDS or getattr(error, "sqlstate", None) != "HY000":
        return False
    statement, statements.latest = statements.latest, None
    is_servers = re.fullmatch(_WORDS[code].replace("{number}", str(statement.number)), message)
    if code != _UNCONVERTED and is_servers:
        statements.refuse(statement, code)
    elif code != _UNCONVERTED:
        statement.as_text = True
    if session.closed or (writes and (not is_servers or code == _TO_BE_PREPARED)):
        return False
    statements.text_next = True
    return True


async def _have_told(session: Any, statements: Statements) -> None:
    """Have the server tell what is set of the session that its statements keep to.

    Without that nothing is prepared; nor where a statement could not be killed as text can.
    """
    statements.told = False
    thread = session.thread
    if not session.flags & CLIENT.SESSION_TRACK or (thread is not None and thread.renumbered):
        return
    try:
        names, schema = await session.ask(_TRACKED, describe_bytes)
        if schema != b"1" or names is None:
            return
        if not tells(names):
            statements.told = None
            asked_for = (TOLD | {TRACKED}).difference(names.split(b","))
            every = b",".join((*filter(None, (names,)), *sorted(asked_for))).decode()
            statements.asked_for = asked_for
            with session.observed_by_log_alone():
                tracks = f"SET session_track_system_variables = '{every}'"
                await session.query(tracks, always=True)
        else:
            statements.told = True
    except SERVER_ERRORS:
        if session.closed:
            raise
    if statements.told is None:
        statements.told = False
