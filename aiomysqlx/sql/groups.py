"""What is executed with many groups of parameters, and how the values of each group are taken."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from sys import intern
from typing import Any

from sqlalchemy.sql.elements import ClauseElement

from ..wire._impl import escape, has_lists, take_values
from ..wire.charset import encode_sql
from ..wire.codes import Syntax
from ..wire.turns import Turns, each_group
from .keys import Given
from .plan import Plan
from .planner import Known, Planner
from .slots import Extracted, Parameters
from .statements import by_name, resolved, writes
from .template import RowTemplate

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
