"""Many executions in one command: MariaDB's bulk execution, where its outcome is that of text.

The rows of an INSERT are one statement, as they are in one text: all of them are written or none.
But each takes the next AUTO_INCREMENT value by itself, and other sessions may take theirs between.
So only rows that bring their keys go this way.

The executions of an UPDATE or DELETE are statements of their own, one after the other, up to the
first that fails: as text. But those that are transactions of their own share a number in the binary
log, by which a server recovers, and a cancellation would not stop what has been sent. So they go
this way within a transaction, and few at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql.elements import ClauseElement

from ..exc import SERVER_ERRORS, ArgumentError, InvalidRequestError
from ..wire._impl import bulk, frame
from ..wire.command import Command
from ..wire.dialogue import OTHER_SYNTAX
from ..wire.greeting import BULK
from ..wire.prepared import Kind, Statement
from ..wire.preparing import Prepare, closing
from ..wire.reply import ResultSet
from ..wire.session import Session
from ..wire.turns import Turns, each_group
from .batch import packet_limit, packets_of_each, packets_of_rows
from .groups import Execution, Values
from .plan import Plan
from .preparable import compares
from .template import check_values

WINDOW = 500
"""How many executions of an UPDATE or DELETE go out at a time."""

# From how many on it gains more than it costs to prepare the statement.
_FEWEST_ROWS = 100
_FEWEST_EXECUTIONS = 3
# How many rows are taken, and written, between two looks at the clock.
_PIECE = 256
_HEAD = 11  # what a packet begins with: its header, the command, the statement's number, flags
_TYPE = 2  # the size of a parameter's type
_NULL = b"\x06\x00"
_INTEGERS = (b"\x08\x00", b"\x08\x80")
_TEXT = (b"\xfd\x00",)
# The types that values of a class are written with.
_WRITTEN_AS: dict[type, tuple[bytes, ...]] = {
    type(None): (_NULL,),
    int: _INTEGERS,
    bool: _INTEGERS,
    float: (b"\x05\x00",),
    Decimal: (b"\xf6\x00",),
    bytes: (b"\xfc\x00",),
    **dict.fromkeys((str, datetime, date, time, timedelta), _TEXT),
}
Told = list[tuple[Any, ...]]
"""The server's warnings."""
# What an INSERT's VALUES group consists of where all of its values are parameters.
_PLAIN_GROUP = frozenset(("(", ", ", ")"))
# What a server refuses before it has executed anything: a command that it does not know, a
# statement that it does not execute so or not any more, and all while its binary log has statements
# in place of rows.
_NOT_TAKEN = frozenset((1047, 1243, 1295, 4033))


async def take_bulk(
    turns: Turns, execution: Execution, statement: ClauseElement, groups: Sequence[Any]
) -> Bulk | None:
    """Return the values of *groups*, if their executions may go out as bulk commands."""
    if not _may_go(turns.session, execution.plan, statement, len(groups)):
        return None
    plan = execution.plan
    if not plan.is_decided:
        plan.decide()
    if plan.kinds is None:
        return None
    # Which are integers or not, as their literals are; a parameter has one type in a bulk.
    if plan.rows is None and compares(plan, plan.kinds, Decimal):
        return None
    values = Bulk(execution, plan.kinds)
    await values.take(turns, groups)
    return values


def _may_go(session: Session, plan: Plan, statement: ClauseElement, count: int) -> bool:
    if plan.returning:
        return False
    if plan.compiled.isinsert:
        paged = "insertmanyvalues_page_size" in statement.get_execution_options()  # type: ignore[attr-defined]
        return count >= _FEWEST_ROWS and not paged and _brings_keys(plan)
    if count < _FEWEST_EXECUTIONS or not _is_of_one_table(plan.compiled):
        return False
    return session.in_transaction or not session.autocommits


def _brings_keys(plan: Plan) -> bool:
    """Tell whether an INSERT is of parameters only, with all of its table's primary key."""
    place, keys = plan.rows, plan.keys
    if place is None or keys is None or not _PLAIN_GROUP.issuperset(place.group):
        return False
    return place.stop - place.start == len(plan.slots) and keys.are_given


def _is_of_one_table(compiled: Any) -> bool:
    """Tell whether an UPDATE or DELETE is of one table, and generates no value to be told of."""
    state = compiled.compile_state
    if not (compiled.isupdate or compiled.isdelete) or state is None or state.is_multitable:
        return False
    return isinstance(state.statement.table, Table) and "last_insert_id" not in compiled.string


class Bulk:
    """The values of many executions, which go out as bulk commands, or as text if they cannot."""

    def __init__(self, execution: Execution, kinds: Sequence[Kind]) -> None:
        self._execution = execution
        self._plan = execution.plan
        self._types = [_types_of(kind) for kind in kinds]
        self._rows: list[Values] = []

    async def take(self, turns: Turns, groups: Sequence[Any]) -> None:
        """Take the values of the groups; raise what text would, which is written as they are."""
        execution = self._execution
        for first in range(0, len(groups), _PIECE):
            rows: list[Values] = []
            try:
                await execution.add_values(turns, groups[first : first + _PIECE], rows, first)
            except Exception:  # the first group that is at fault is named
                check = partial(check_values, execution.labels, syntax=turns.session.syntax)
                each_group(self._rows + rows, check)
                raise
            self._rows += rows

    async def run(self, session: Session, told: Told | None) -> list[ResultSet]:
        """Execute them and return their results, as `Dialogue.run_each()` does."""
        keys = self._plan.keys
        if keys is not None and not keys.are_in(self._rows):
            return await self._run_text(session, 0, told)
        claim, statement = session.claim, Statement()
        fragments = self._plan.text(session.encoding).fragments
        try:
            try:
                await session.run(Prepare(b"?".join(fragments), statement))
            except SERVER_ERRORS:
                if statement.refused is None:
                    raise
            session.check_claim(claim)
            packets = await self._packets(session, statement)
            results = await self._run_packets(session, packets, told)
            if results is not None:
                return results
        finally:
            if statement.number is not None:
                session.protocol.write(closing(statement.number))
        session.check_claim(claim)
        return await self._run_text(session, 0, told)

    async def _run_packets(
        self, session: Session, packets: list[tuple[int, bytes]], told: Told | None
    ) -> list[ResultSet] | None:
        """Execute *packets*, if there are any."""
        claim, syntax = session.claim, session.syntax
        results: list[ResultSet] = []
        refused_at = None
        for start, packet in packets:
            session.check_claim(claim)
            if session.syntax is not syntax:
                raise InvalidRequestError(OTHER_SYNTAX)
            try:
                results += await session.run_each([Command(packet, self._plan.describe)], told)
            except SERVER_ERRORS as error:
                if error.args[0] not in _NOT_TAKEN:
                    raise
                refused_at = start
                break
        if refused_at is None:
            return results or None
        session.login.extended &= ~BULK
        session.check_claim(claim)
        return results + await self._run_text(session, refused_at, told)

    async def _run_text(self, session: Session, start: int, told: Told | None) -> list[ResultSet]:
        """Execute those from *start* on as text."""
        taken = _Taken(self._execution)
        rows = self._rows[start:]
        with Turns(session) as turns:
            if self._plan.rows is None:
                packets = await packets_of_each(turns, taken, rows)
            else:
                packets = await packets_of_rows(turns, taken, rows)
        commands = [Command(packet, self._plan.describe) for packet in packets]
        return await session.run_each(commands, told)

    async def _packets(self, session: Session, statement: Statement) -> list[tuple[int, bytes]]:
        """Return the packets, each with the number of its first row; none if it is to be text."""
        number = statement.number
        if number is None or statement.parameters != len(self._types):
            return []
        with Turns(session) as turns:
            try:
                if self._plan.rows is None:
                    return await self._windows(turns, number)
                return await self._whole(turns, number)
            except ArgumentError:  # text says which group and parameter it is about, or writes it
                return []

    async def _windows(self, turns: Turns, number: int) -> list[tuple[int, bytes]]:
        """Return packets of a few executions each."""
        limit = packet_limit(turns)
        packets: list[tuple[int, bytes]] = []
        start = 0
        while start < len(self._rows):
            if turns.over:
                await turns.pause()
            window = self._rows[start : start + WINDOW]
            packet, stop = bulk(number, window, *turns.session.syntax, 0, limit)
            if len(packet) - 4 > limit or not self._take(packet[_HEAD:]):
                return []
            packets.append((start, packet))
            start += stop
        return packets

    async def _whole(self, turns: Turns, number: int) -> list[tuple[int, bytes]]:
        """Return one packet of all rows; none if they do not fit into one, nor have their types."""
        limit = packet_limit(turns)
        size = 0
        types: list[bytes] = []
        pieces: list[bytes] = []
        for start in range(0, len(self._rows), _PIECE):
            if turns.over:
                await turns.pause()
            rows = self._rows[start : start + _PIECE]
            packet, stop = bulk(number, rows, *turns.session.syntax, 0, limit)
            size += len(packet)
            if stop < len(rows) or size > limit:
                return []
            end = _HEAD + _TYPE * len(self._types)
            types.append(packet[_HEAD:end])
            pieces.append(packet[end:])
        common = _common(types)
        if common is None or not self._take(common):
            return []
        return [(0, frame(b"".join((packet[4:_HEAD], common, *pieces))))]

    def _take(self, types: bytes) -> bool:
        """Tell whether the parameters take values of the *types* that a packet begins with."""
        return all(
            types[_TYPE * column : _TYPE * (column + 1)] in taken
            for column, taken in enumerate(self._types)
        )


def _types_of(kind: Kind) -> frozenset[bytes]:
    """Return the types of values that are to a parameter of this kind what they are in text."""
    return frozenset(chain((_NULL,), *(_WRITTEN_AS[each] for each in kind.classes)))


def _common(types: Sequence[bytes]) -> bytes | None:
    """Return the types that the parameters have in all pieces; `None` if one has several."""
    if len(set(types)) == 1:
        return types[0]
    common = b""
    for column in range(0, len(types[0]), _TYPE):
        found = {each[column : column + _TYPE] for each in types}
        if len(found) > 1:
            found.discard(_NULL)
        if len(found) > 1:
            return None
        common += found.pop()
    return common


class _Taken(Execution):
    """An execution whose groups are values that have been taken already."""

    def __init__(self, execution: Execution) -> None:
        vars(self).update(vars(execution))

    async def add_values(
        self, turns: Turns, groups: Sequence[Values], rows: list[Values], first: int
    ) -> None:
        """Add *groups* to *rows*."""
        rows += groups
