"""Many rows at a time: the packets of what is executed with many groups of parameters.

An INSERT of values is written with many rows in each packet, whether it comes as text or as a
construct; of any other construct there is a packet for each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import Any, TypeVar

from sqlalchemy.sql.elements import ClauseElement

from ..exc import ArgumentError, InvalidRequestError
from ..wire._impl import escape, frame, has_lists, render, render_rows, take_values
from ..wire.charset import encode_sql
from ..wire.codes import Syntax
from ..wire.dialogue import BATCH_BYTES
from ..wire.packets import payloads
from ..wire.reply import ResultSet
from ..wire.session import Session
from ..wire.turns import STEP, Turns, each_group, in_group
from ..wire.windows import WINDOW, Window, may_be_joined, windows_of
from .keys import Given
from .plan import Plan
from .planner import Known, Planner
from .slots import Extracted, Parameters
from .statements import by_name, resolved, writes
from .template import RowTemplate, TextStatement, check_values

T = TypeVar("T")
Values = Sequence[Any]
Around = tuple[bytes, bytes]
"""An INSERT's text before and after its VALUES groups."""

_BY_POSITION = (tuple, list)


class TextInsert:
    """An INSERT given as text."""

    def __init__(self, template: RowTemplate, syntax: Syntax) -> None:
        encoding, self._mode = syntax
        self._template = template.row
        self._around = encode_sql(template.head, encoding), encode_sql(template.tail, encoding)
        self.group: list[bytes] = [
            encode_sql(fragment, encoding) for fragment in template.row.fragments
        ]
        self._checked = [True] * (len(self.group) - 1)

    @property
    def labels(self) -> Sequence[object]:
        """What the parameters are called in messages: the placeholders' names or positions."""
        return self._template.keys

    async def add_values(
        self, turns: Turns, groups: Sequence[Any], rows: list[Values], first: int
    ) -> None:
        """Add to *rows* the values of *groups*, the number *first* and what follows.

        Raises an `ArgumentError` for an empty list that would be written as a NULL.
        """
        while len(rows) < len(groups):
            rows += take_values(groups[len(rows) :], self._template.names, self._checked, None)
            await turns.each(groups[len(rows) : len(rows) + 1], self._values, rows, first)

    def _values(self, group: Any) -> Values:
        values = self._template.values(group)
        self._template.check_lists(values, self._mode)
        return values

    def parts(self, rows: Sequence[Values]) -> Iterable[tuple[Around, Sequence[Values]]]:
        """Return the rows as they are, and the text around them."""
        return [(self._around, rows)]


class Execution:
    """A construct that is executed many times, the first time with *group*.

    The values of groups that are like it are just taken. *collected* are the parameters that stand
    for what a group leaves out.
    """

    def __init__(
        self,
        statement: ClauseElement,
        plan: Plan,
        extracted: Extracted,
        group: Any,
        collected: Parameters | None,
        syntax: Syntax,
    ) -> None:
        self.plan = plan
        self.given: Given | None = None if plan.keys is None else plan.keys.of_many()
        self._statement = statement
        self._extracted = extracted
        self._collected = collected
        self._syntax = syntax
        self._writes = writes(statement)
        parameters = by_name(statement, group)
        self._size = len(parameters)
        # Asked of the statement at hand: one that the plan was made for may require others.
        self._required = {slot.bind.key for slot in plan.slots if slot.own(extracted).required}
        self._columns = tuple(parameters) if type(group) in _BY_POSITION else None
        self._takes = not collected and not any(slot.late for slot in plan.slots)
        # As the keys of most dictionaries are: a quoted_name would be looked up slowly.
        self._keys = [intern(str(slot.bind.key)) for slot in plan.slots]
        processed = {index for index, _ in plan.processors}
        self._checked = [index not in processed for index in range(len(plan.slots))]
        self._constants = self._constant(parameters)
        self._calls_defaults = any(is_callable for _, _, (_, _, is_callable, _) in plan.prefetch)

    def _constant(self, parameters: Parameters) -> dict[str, Any] | None:
        """Return the values that no such group has; `None` if it may have any others."""
        defaults = {name: arg for _, name, (arg, scalar, _, _) in self.plan.prefetch if scalar}
        constants = {}
        for slot in self.plan.slots:
            key, own = slot.bind.key, slot.own(self._extracted)
            if slot.name in defaults:
                constants[key] = defaults[slot.name]
            elif not (own.required or own.callable or key in parameters or slot.name in parameters):
                constants[key] = own.value
        return constants if constants or self._writes else None

    @property
    def group(self) -> Sequence[bytes]:
        """The fragments of an INSERT's VALUES group."""
        return self.plan.text(self._syntax[0]).group

    @property
    def labels(self) -> Sequence[object]:
        """The parameters' names."""
        return self.plan.labels

    async def add_values(
        self, turns: Turns, groups: Sequence[Any], rows: list[Values], first: int
    ) -> None:
        """Add to *rows* the values of *groups*, the number *first* and what follows."""
        if not self._takes:
            await turns.each(groups, self._values, rows, first)
        if self._columns is not None:
            groups = [self._named(group) for group in groups]
        while len(rows) < len(groups):
            taken = self._taken(groups[len(rows) :])
            if self.plan.processors or self._calls_defaults:
                await turns.each(taken, self._processed, rows, first)
            else:
                if self.given is not None:
                    self.given.add_from(taken)
                rows += taken
            await turns.each(groups[len(rows) : len(rows) + 1], self._values, rows, first)

    def _named(self, group: Any) -> Any:
        """Return a group of as many values as the first one by name, any other as it is."""
        columns = self._columns
        if columns is None or type(group) not in _BY_POSITION or len(group) != len(columns):
            return group
        return dict(zip(columns, group, strict=True))

    def _taken(self, groups: Sequence[Any]) -> list[Any]:
        """Return the values of *groups*, up to one that is not like the first of all."""
        return take_values(groups, self._keys, self._checked, self._constants)

    def _processed(self, row: Values) -> Values:
        """Return values as defaults complete them and types process them."""
        plan = self.plan
        values = list(row)
        if self._calls_defaults:
            values = plan.defaulted(values, self._statement)
        if self.given is not None:
            self.given.add_from([values])
        for index, process in plan.processors:
            values[index] = process(values[index])
        if has_lists(values):
            plan.check_lists(values, self._syntax[1])
        return values

    def _values(self, group: Any) -> Values:
        """Return the values of any group."""
        plan, extracted = self.plan, self._extracted
        parameters = by_name(self._statement, group)
        if self._collected:
            parameters = {**self._collected, **parameters}
        # As many names as are required are just those, or one of them is missing.
        if self._writes and not len(parameters) == self._size == len(self._required):
            plan.check_names(parameters)
        if plan.prefetch:
            parameters = plan.completed(parameters, extracted, self._statement)
        values = plan.values(parameters, extracted, self._syntax)
        if self.given is not None and plan.keys is not None:
            self.given.add(plan.keys.given(parameters, extracted))
        return values

    def parts(self, rows: Sequence[Values]) -> Iterable[tuple[Around, Sequence[Values]]]:
        """Return the rows, apart where they differ outside of their VALUES groups."""
        text, place = self.plan.text(self._syntax[0]), self.plan.rows
        assert place is not None
        start, stop = place.start, place.stop
        if stop - start == len(self.plan.slots):
            return [((text.head[0], text.tail[0]), rows)]

        def around(row: Values) -> Around:
            head = _join(text.head, row[:start], self._syntax)
            return head, _join(text.tail, row[stop:], self._syntax)

        alike = groupby([(around(row), row) for row in rows], itemgetter(0))
        return ((texts, [row[start:stop] for _, row in each]) for texts, each in alike)


def _join(fragments: Sequence[bytes], values: Values, syntax: Syntax) -> bytes:
    if not values:
        return fragments[0]
    literals = [escape(value, *syntax) for value in values]
    return b"".join(part for pair in zip(fragments, [*literals, b""], strict=True) for part in pair)


def plan_many(
    turns: Turns,
    planner: Planner,
    statement: ClauseElement,
    groups: Sequence[Any],
    known: Known | None,
) -> Execution:
    """Plan *statement* for *groups*."""
    in_order = getattr(resolved(statement), "_sort_by_parameter_order", False)
    (given,) = each_group(groups[:1], lambda group: by_name(statement, group))
    plan, extracted, first = planner.plan(statement, given, not in_order, known, turns.session)
    # What statement.params() gave stands for what a group leaves out.
    collected = None if first is given else first
    syntax = turns.session.syntax
    return Execution(statement, plan, extracted, groups[0], collected, syntax)


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
        if error is not None:
            raise error

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
