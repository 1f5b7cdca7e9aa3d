"""Many rows at a time: the packets of what is executed with many groups of parameters.

An INSERT of values is written with many rows in each packet, whether it comes as text or as a
construct; of any other construct there is a packet for each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from sqlalchemy.sql.elements import ClauseElement

from ..exc import ArgumentError, InvalidRequestError
from ..wire._impl import frame, render, render_rows
from ..wire.codes import Syntax
from ..wire.dialogue import BATCH_BYTES
from ..wire.packets import payloads
from ..wire.reply import ResultSet
from ..wire.session import Session
from ..wire.turns import STEP, Turns, each_group, in_group
from ..wire.windows import WINDOW, Window, may_be_joined, windows_of
from .groups import Execution, TextInsert, Values
from .statements import resolved
from .template import TextStatement, check_values

T = TypeVar("T")


async def packets_of(
    turns: Turns, execution: Execution, statement: ClauseElement, groups: Sequence[Any]
) -> list[bytes]:
    """Return the packets of an execution for *groups*."""
    in_order = getattr(resolved(statement), "_sort_by_parameter_order", False)
    if execution.plan.rows is None or in_order:
        return await packets_of_each(turns, execution, groups)
    options = statement.get_execution_options()  # type: ignore[attr-defined]
    most = options.get("insertmanyvalues_page_size")
    return await packets_of_rows(turns, execution, groups, most)


async def packets_of_each(turns: Turns, execution: Execution, groups: Sequence[Any]) -> list[bytes]:
    """Return a packet for each of *groups*."""
    packets: list[bytes] = []
    rendered = partial(_rendered, execution, turns.session.syntax)
    for first in range(0, len(groups), STEP):
        rows: list[Values] = []
        try:
            await execution.add_values(turns, groups[first : first + STEP], rows, first)
        except Exception:
            each_group(rows, rendered, first)  # the first group that is at fault is named
            raise
        await turns.each(rows, rendered, packets, 0)
    return packets


def _rendered(execution: Execution, syntax: Syntax, row: Values) -> bytes:
    try:
        return render(execution.plan.text(syntax[0]).fragments, row, *syntax)
    except ArgumentError:
        check_values(execution.labels, row, syntax)
        raise


async def take_windows(
    turns: Turns,
    execution: Execution,
    statement: ClauseElement,
    groups: Sequence[Any],
    warnings: bool,
) -> list[Window] | None:
    """Return the windows of an execution for *groups*; `None` if it does not go out in windows.

    The first one is of one statement.
    """
    session, syntax = turns.session, turns.session.syntax
    in_order = getattr(resolved(statement), "_sort_by_parameter_order", False)
    fragments = execution.plan.text(syntax[0]).fragments
    if (execution.plan.rows is not None and not in_order) or not may_be_joined(fragments, session):
        return None
    windows: list[Window] = []
    first = 0
    while first < len(groups):
        if turns.over:
            await turns.pause()
        rows: list[Values] = []
        some = groups[first : first + WINDOW] if first else groups[:1]
        try:
            await execution.add_values(turns, some, rows, first)
            windows += windows_of(session, fragments, rows, syntax, warnings)
        except Exception:
            each_group(rows, partial(_rendered, execution, syntax), first)
            raise
        first += len(some)
    return windows


async def packets_of_rows(
    turns: Turns, insert: TextInsert | Execution, groups: Sequence[Any], most: int | None = None
) -> list[bytes]:
    """Return the packets of an INSERT with *groups* as rows, *most* in each at most.

    Rows that differ outside of their VALUES group go separately.
    """
    packets: RowPackets | None = None
    for first in range(0, len(groups), STEP):
        if first and turns.over:
            await turns.pause()
        rows: list[Values] = []
        try:
            await insert.add_values(turns, groups[first : first + STEP], rows, first)
            for (head, tail), inside in insert.parts(rows):
                if packets is None:
                    if len(inside) == len(groups) and most is None:
                        packet = packet_at_once(turns, head, insert.group, inside, tail)
                        if packet is not None:
                            return [packet]
                    packets = RowPackets(turns, insert.group, most)
                await packets.add(head, inside, tail)
        except Exception:  # name the parameter and its group, the first that is at fault
            check = partial(check_values, insert.labels, syntax=turns.session.syntax)
            each_group(rows, check, first)
            raise
    assert packets is not None
    return packets.finished()


def packet_at_once(
    turns: Turns, head: bytes, group: Sequence[bytes], rows: Sequence[Values], tail: bytes
) -> bytes | None:
    """Return the packet of *head*, few *rows* and *tail*; `None` if it would be a long one."""
    encoding, mode = turns.session.syntax
    limit = packet_limit(turns)
    packet, stop = render_rows(head, group, rows, tail, encoding, mode, 0, limit)
    return packet if stop == len(rows) and len(packet) - 4 <= limit else None


def packet_limit(turns: Turns) -> int:
    """Return how many bytes a packet of many rows has at most."""
    return min(BATCH_BYTES, turns.session.max_allowed_packet - 1)


class TextWindows:
    """The windows of a text for *groups*, up to the first one that does not fit it.

    The first window is of one statement. They are made as they are asked for: what comes before a
    group that does not fit is executed.
    """

    def __init__(
        self, session: Session, statement: TextStatement, groups: Sequence[Any], warnings: bool
    ) -> None:
        self._session = session
        self._syntax = session.syntax
        self._statement = statement
        self._groups = groups
        self._warnings = warnings
        self._error: ArgumentError | None = None

    def __iter__(self) -> Iterator[Window]:
        first = 0
        while first < len(self._groups) and self._error is None:
            some = self._groups[first : first + WINDOW] if first else self._groups[:1]
            rows = self._rows(some, self._values, first)
            try:
                windows = self._windows(rows)
            except ArgumentError:
                rows = rows[: len(self._rows(rows, self._check, first))]
                windows = self._windows(rows)
            yield from windows
            first += len(some)

    def raise_error(self) -> None:
        """Raise the error of the group that does not fit, if there is one."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # whose traceback holds this frame

    def _values(self, group: Any) -> Values:
        return tuple(self._statement.values(group, self._syntax[1]))

    def _check(self, row: Values) -> None:
        check_values(self._statement.template.keys, row, self._syntax)

    def _windows(self, rows: Sequence[Values]) -> list[Window]:
        fragments = self._statement.fragments
        return windows_of(self._session, fragments, rows, self._syntax, self._warnings)

    def _rows(self, groups: Sequence[Any], call: Callable[[Any], T], first: int) -> list[T]:
        """Return what *call* makes of *groups*, up to one that it refuses."""
        made: list[T] = []
        try:
            for group in groups:
                made.append(call(group))
        except ArgumentError as error:
            self._error = in_group(error, first + len(made))
            self._error.__cause__ = error.__cause__
        return made


class RowPackets:
    """The packets of an INSERT, each of as many rows as fit, and of *most* rows at most.

    Each row is written through the fragments *group*.
    """

    def __init__(self, turns: Turns, group: Sequence[bytes], most: int | None = None) -> None:
        self._turns = turns
        self._group = group
        self._most = most
        self._limit = packet_limit(turns)
        self._around = b"", b""
        self._packets: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        """Begin a packet: its rows' texts, how many they are, and its size if a row is added."""
        self._texts: list[bytes] = []
        self._count = 0
        self._size = 1 + sum(map(len, self._around))

    async def add(self, head: bytes, rows: Sequence[Values], tail: bytes) -> None:
        """Write *rows*, behind those before if *head* and *tail* are the same."""
        if (head, tail) != self._around:
            self._end()
            self._around = head, tail
            self._begin()
        encoding, mode = self._turns.session.syntax
        start = 0
        while start < len(rows):
            if self._turns.over:
                await self._turns.pause()
            page = rows if self._most is None else rows[: start + self._most - self._count]
            room = self._limit - self._size + 1  # COM_QUERY is counted twice
            piece, stop = render_rows(b"", self._group, page, b"", encoding, mode, start, room)
            text = b"".join(payloads(piece))[1:] if len(piece) >= 1 << 24 else piece[5:]
            if self._size + len(text) > self._limit and self._texts:
                self._end()
            self._texts.append(text)
            self._size += len(text) + 1
            self._count += stop - start
            if self._count == self._most:
                self._end()
            start = stop

    def _end(self) -> None:
        """End a packet, if it has rows, and begin another."""
        if self._texts:
            head, tail = self._around
            self._packets.append(frame(b"".join((b"\x03", head, b",".join(self._texts), tail))))
            self._begin()

    def finished(self) -> list[bytes]:
        """Return the packets.

        Raises an error if the server would not take one of them, so that nothing is half done.
        """
        self._end()
        for packet in self._packets:
            if len(packet) - 4 > self._limit:
                self._turns.session.check_length(packet)
        return self._packets


def merged(batches: list[ResultSet]) -> ResultSet:
    """Return the results of one statement sent in several packets, as if it had been one.

    Raises `InvalidRequestError` where their rows do not fit together, as those of a procedure may.
    """
    whole = batches[0]
    for batch in batches[1:]:
        if batch.columns is not None:
            whole.columns = whole.columns or batch.columns
            if len(whole.columns.definitions) != len(batch.columns.definitions):
                raise InvalidRequestError(
                    f"one execution gave rows of {len(whole.columns.definitions)} columns, another"
                    f" of {len(batch.columns.definitions)}: execute the statement by itself for"
                    " each group of parameters"
                )
        whole.rows.extend(batch.rows)
        whole.affected_rows += batch.affected_rows
        whole.insert_id = whole.insert_id or batch.insert_id
        whole.warning_count += batch.warning_count
    return whole
