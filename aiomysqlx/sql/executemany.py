"""The packets of a construct that is executed with many groups of parameters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy.sql.elements import ClauseElement

from ..exc import ArgumentError
from ..wire._impl import escape, render
from ..wire.turns import STEP, Turns, each_group, in_group
from .batch import RowPackets, packet_at_once
from .plan import Parameters, Plan, Text
from .planner import by_name, writes
from .template import check_values

Extracted = Sequence[Any] | None
Values = Sequence[Any]


class Execution(NamedTuple):
    """A statement that is executed many times."""

    statement: ClauseElement
    plan: Plan
    extracted: Extracted
    collected: Parameters | None
    """The parameters that stand for what a group leaves out."""
    syntax: tuple[str, int]
    given: list[tuple[Any, ...]]
    """What each group gives of the primary key that it writes."""

    def named(self, groups: Sequence[Any], first: int) -> list[Parameters]:
        """Give the parameters of *groups*, the number *first* and what follows, by name."""
        plan, statement = self.plan, self.statement
        if {*map(type, groups)} == {dict}:
            chunk = list(groups)
        else:
            chunk = each_group(groups, lambda group: by_name(statement, group), first)
        if self.collected:
            chunk = [{**self.collected, **group} for group in chunk]
        # As many names as are required are just those, or one of them is missing.
        if writes(statement) and set(map(len, chunk)) != {len(plan.required)}:
            each_group(chunk, plan.check_names, first)
        if not plan.prefetch:
            return chunk
        return each_group(
            chunk, lambda group: plan.completed(group, self.extracted, statement), first
        )

    def values(self, groups: Sequence[Any], first: int) -> list[Values]:
        """Give the values of *groups* for the slots of the plan."""
        _, plan, extracted, _, (encoding, mode), given = self
        chunk = self.named(groups, first)
        rows: list[Values]
        rows = each_group(chunk, lambda group: plan.values(group, extracted, encoding, mode), first)
        if plan.keys is not None:
            given += plan.keys.given_in(rows, chunk, extracted)
        return rows

    def check_rows(self, rows: Sequence[Values], first: int) -> None:
        """Raise an `ArgumentError` that names the parameter, and its group, that is refused."""
        each_group(rows, lambda row: check_slots(self.plan, row, self.syntax), first)


async def packets_of_each(turns: Turns, execution: Execution, groups: Sequence[Any]) -> list[bytes]:
    """Give a packet for each of *groups*."""
    _, plan, extracted, _, syntax, given = execution
    text = plan.text(syntax[0])
    packets: list[bytes] = []
    for first in range(0, len(groups), STEP):
        for parameters in execution.named(groups[first : first + STEP], first):
            if turns.over:
                await turns.pause()
            try:
                packet = render_plan(plan, text, parameters, extracted, syntax)
            except ArgumentError as error:
                raise in_group(error, len(packets)) from error.__cause__
            packets.append(packet)
            if plan.keys is not None:
                given.append(plan.keys.given(parameters, extracted))
    return packets


async def packets_of_rows(
    turns: Turns, execution: Execution, groups: Sequence[Any], most: int | None
) -> list[bytes]:
    """Give the packets of an INSERT with *groups* as rows, *most* in each at most.

    Rows that differ outside of their VALUES group go separately.
    """
    text = execution.plan.text(execution.syntax[0])
    packets: RowPackets | None = None
    for first in range(0, len(groups), STEP):
        if first and turns.over:
            await turns.pause()
        rows = execution.values(groups[first : first + STEP], first)
        try:
            for (head, tail), inside in _parts(execution, text, rows):
                if packets is None:
                    if len(inside) == len(groups) and most is None:
                        packet = packet_at_once(turns, head, text.group, inside, tail)
                        if packet is not None:
                            return [packet]
                    packets = RowPackets(turns, text.group, most)
                await packets.add(head, inside, tail)
        except ArgumentError:
            execution.check_rows(rows, first)
            raise
    assert packets is not None
    return packets.finished()


def _parts(
    execution: Execution, text: Text, rows: Sequence[Values]
) -> Iterator[tuple[tuple[bytes, bytes], Sequence[Values]]]:
    """Give for each INSERT its text before and after the VALUES groups, and their values."""
    assert execution.plan.rows is not None
    start, stop, *_ = execution.plan.rows
    if stop - start == len(execution.plan.slots):
        yield (text.head[0], text.tail[0]), rows
        return

    def around(row: Values) -> tuple[bytes, bytes]:
        syntax = execution.syntax
        return _join(text.head, row[:start], syntax), _join(text.tail, row[stop:], syntax)

    for texts, alike in groupby([(around(row), row) for row in rows], itemgetter(0)):
        yield texts, [row[start:stop] for _, row in alike]


def _join(fragments: Sequence[bytes], values: Values, syntax: tuple[str, int]) -> bytes:
    if not values:
        return fragments[0]
    literals = [escape(value, *syntax) for value in values]
    return b"".join(part for pair in zip(fragments, [*literals, b""], strict=True) for part in pair)


def render_plan(
    plan: Plan,
    text: Text,
    parameters: Parameters | None,
    extracted: Extracted,
    syntax: tuple[str, int],
) -> bytes:
    """Give the packet of one execution."""
    encoding, mode = syntax
    values = plan.values(parameters, extracted, encoding, mode)
    try:
        return render(text.fragments, values, encoding, mode)
    except ArgumentError:
        check_slots(plan, values, syntax)
        raise


def check_slots(plan: Plan, values: Values, syntax: tuple[str, int]) -> None:
    """Raise an `ArgumentError` that names the parameter whose value cannot be sent."""
    check_values([slot.label for slot in plan.slots], values, syntax)
