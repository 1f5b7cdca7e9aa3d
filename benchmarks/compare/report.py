"""What the comparison found: its samples, the goals they are held against, and the tables."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from contenders import CONTENDERS, ENGINE, NATIVE, members
from samples import (
    GETS,
    INSERT_COLUMNS,
    INSERTS,
    LIST_LENGTH,
    LISTS,
    POINTS,
    POINTS_PER_TASK,
    POOL_SIZE,
    ROWS,
    STORED,
    TASKS,
    TRANSACTIONS,
    UPDATES,
)

COMPILED = "aiomysqlx, compiled"
PREPARED = "aiomysqlx, prepared"
PIPELINING = "aiomysqlx, pipelining"
PURE = "aiomysqlx, pure"
OURS = (COMPILED, PURE)
DRIVER = "+aiomysqlx, compiled"
FIRST = {NATIVE: COMPILED, ENGINE: DRIVER}  # what the others of a section are compared with

WORKLOADS = {
    "rows": f"{ROWS:,} rows of 10 mixed columns, one column read of each",
    "reused": f"{POINTS:,} selects by primary key, one statement used again",
    "anew": f"{POINTS:,} selects by primary key, each statement built anew",
    "in_lists": f"{LISTS} selects with an IN of {LIST_LENGTH} keys, each statement built anew",
    "transactions": f"{TRANSACTIONS} times begin, select by primary key, commit",
    "insert": f"{INSERTS:,} rows of {len(INSERT_COLUMNS)} columns, inserted by one call",
    "updates": f"{UPDATES:,} rows updated one by one, by one call in a transaction",
    "streamed": f"{STORED:,} rows of 10 mixed columns streamed, one column read of each",
    "pool": (
        f"{TASKS} tasks of {POINTS_PER_TASK} selects by primary key,"
        f" each on a connection from a pool of {POOL_SIZE}"
    ),
    "get": f"{GETS} times session.get() in a session of its own",
    "orm": f"{ROWS:,} objects loaded by a session",
    "add_all": f"{INSERTS:,} objects added to a session, and committed",
}
MEMORY = "memory"
# What is imported, SQLAlchemy and aiomysql being imported already, by the name of its row.
IMPORTS = {
    "import": "import aiomysqlx",
    "engine import": "from aiomysqlx import create_engine",
}
TITLES = {
    **WORKLOADS,
    MEMORY: f"{STORED:,} rows of 10 mixed columns, fetched and held",
    **{
        name: f"{statement}, SQLAlchemy and aiomysql being imported already"
        for name, statement in IMPORTS.items()
    },
}
UNITS = {"memory": "MiB"}  # all else is in milliseconds
PERCENTILES = ("p50", "p99")  # of the single statements of a run


class Goal(NamedTuple):
    """The most that a figure of ours may be, as a ratio to another's, or in milliseconds alone."""

    workload: str
    figure: str
    against: str
    at_most: float
    ours: str = COMPILED


GOALS = (
    Goal("rows", "cpu", "asyncmy, text", 1.0),
    Goal("rows", "wall", "asyncmy, text", 1.0),
    Goal("rows", "cpu", "AsyncEngine + asyncmy", 0.5),
    Goal("rows", "cpu", "aiomysql.sa", 0.08),
    Goal("rows", "cpu", "asyncmy, text", 0.7),
    Goal("rows", "cpu", "asyncmy, prepared", 0.9, PREPARED),
    Goal("reused", "cpu", "asyncmy, prepared", 0.85, PREPARED),
    Goal("reused", "wall", "asyncmy, prepared", 0.95, PREPARED),
    Goal("reused", "cpu", "asyncmy, text", 0.85),
    Goal("reused", "cpu", "AsyncEngine + asyncmy", 0.33),
    Goal("reused", "cpu", "aiomysql.sa", 0.16),
    Goal("anew", "cpu", "AsyncEngine + asyncmy", 0.33),
    Goal("in_lists", "cpu", "AsyncEngine + asyncmy", 0.33),
    Goal("transactions", "cpu", "asyncmy, text", 0.9),
    Goal("transactions", "cpu", "asyncmy, prepared", 0.8, PIPELINING),
    Goal("transactions", "wall", "asyncmy, prepared", 0.8, PIPELINING),
    Goal("insert", "cpu", "asyncmy, text", 0.6),
    Goal("insert", "cpu", "asyncmy, prepared", 0.35, PREPARED),
    Goal("updates", "cpu", "asyncmy, prepared", 1.0, PREPARED),
    Goal("updates", "cpu", "asyncmy, prepared", 1.0, PIPELINING),
    Goal("streamed", "cpu", "asyncmy, text", 0.8),
    Goal("pool", "wall", "asyncmy, text", 0.9),
    Goal("pool", "cpu", "asyncmy, prepared", 0.9, PREPARED),
    *(Goal(workload, "cpu", "aiomysql.sa, cached", 0.75, PURE) for workload in WORKLOADS),
    *(
        Goal(workload, "cpu", "+asyncmy", at_most, DRIVER)
        for at_most, workloads in (
            (0.75, ("rows", "reused", "anew", "transactions", "pool")),
            (0.5, ("insert",)),
            (0.85, ("get", "orm", "add_all")),  # most of it is SQLAlchemy's own
        )
        for workload in workloads
    ),
    Goal(MEMORY, "memory", "asyncmy, text", 1.1),
    *(Goal(name, "cpu", "", 15.0) for name in IMPORTS),
)


class Key(NamedTuple):
    """Where and what was measured."""

    server: str
    loop: str
    workload: str
    contender: str


class Spread(NamedTuple):
    """The median of samples, and the quartiles around it."""

    median: float
    first_quartile: float
    third_quartile: float
    samples: int

    def rounded(self) -> dict[str, float]:
        return {name: round(value, 4) for name, value in self._asdict().items()}


class Verdict(NamedTuple):
    """A goal, and what was found."""

    goal: Goal
    found: float

    @property
    def reached(self) -> bool:
        return self.found <= self.goal.at_most


class Results:
    """All samples: for each key those of each figure (cpu, wall, p50, p99, memory)."""

    def __init__(self) -> None:
        self.samples: dict[Key, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def add(self, key: Key, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.samples[key][name].append(value)

    def spreads(self, key: Key) -> dict[str, Spread]:
        """Give the spread of each figure; nothing for what was not measured."""
        return {name: spread(values) for name, values in self.samples.get(key, {}).items()}

    def summary(self) -> list[dict[str, object]]:
        """Give the spreads of all that was measured, for JSON."""
        return [
            {
                **key._asdict(),
                **{name: spread(values).rounded() for name, values in figures.items()},
            }
            for key, figures in self.samples.items()
        ]

    def tables(self) -> Iterator[tuple[str, str, str, str]]:
        """Give server, loop, section and workload of each table, in the order of the workloads."""
        found = {
            (*key[:2], CONTENDERS[key.contender].section, key.workload) for key in self.samples
        }
        for server, loop, section in dict.fromkeys(
            (*key[:2], CONTENDERS[key.contender].section) for key in self.samples
        ):
            tables = ((server, loop, section, name) for name in TITLES)
            yield from (table for table in tables if table in found)

    def verdicts(self, server: str, loop: str) -> list[Verdict]:
        """Give every goal with what was found there."""
        return [
            Verdict(goal, found)
            for goal in GOALS
            if (found := self.found(goal, server, loop)) is not None
        ]

    def found(self, goal: Goal, server: str, loop: str) -> float | None:
        """Give what a goal is about; None where it was not measured."""
        ours = Key(server, loop, goal.workload, goal.ours)
        theirs = ours._replace(contender=goal.against) if goal.against else ours
        if ours not in self.samples or theirs not in self.samples:
            return None
        if goal.against:
            return self.ratio(ours, theirs, goal.figure)
        return self.spreads(ours)[goal.figure].median

    def ratio(self, ours: Key, theirs: Key, figure: str) -> float:
        """Give the median of what ours took of theirs, each time that they ran in turn.

        The machine is the same for both then: where other work slows it down for a while, this
        scatters half as much as the ratio of the medians.
        """
        pairs = zip(self.samples[ours][figure], self.samples[theirs][figure], strict=True)
        return statistics.median(our / their for our, their in pairs)


def spread(values: list[float]) -> Spread:
    if len(values) == 1:
        return Spread(values[0], values[0], values[0], 1)
    first, median, third = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, first, third, len(values))


def workload_table(
    results: Results, server: str, loop: str, section: str, workload: str
) -> list[str]:
    """Give the lines of a table: the spreads of each contender, and what ours take of theirs."""
    ours = Key(server, loop, workload, FIRST[section])
    header = [""]
    for figure in results.spreads(ours):
        header += heading(figure)
    lines = [header]
    for name in members(section):
        theirs = ours._replace(contender=name)
        figures = results.spreads(theirs)
        if figures:
            line = [name]
            for figure, its in figures.items():
                line += cells(figure, its, results.ratio(ours, theirs, figure))
            lines.append(line)
    return [f"{TITLES[workload]}:", *aligned(lines)]


def heading(figure: str) -> list[str]:
    title = f"{figure}, {UNITS.get(figure, 'ms')}"
    return [title, "ratio"] if figure in PERCENTILES else [title, "quartiles", "ratio"]


def cells(figure: str, its: Spread, ratio: float) -> list[str]:
    digits = 1 if its.median >= 1 else 3
    median = f"{its.median:.{digits}f}"
    if figure in PERCENTILES:
        return [median, f"{ratio:.2f}"]
    quartiles = f"{its.first_quartile:.{digits}f} to {its.third_quartile:.{digits}f}"
    return [median, quartiles, f"{ratio:.2f}"]


def goal_table(verdicts: Iterable[Verdict]) -> list[str]:
    lines = [["workload", "ours", "figure", "against", "found", "at most", ""]]
    for verdict in verdicts:
        goal, found = verdict
        lines.append(
            [
                goal.workload,
                goal.ours.removeprefix("aiomysqlx, "),
                goal.figure,
                goal.against or "milliseconds",
                f"{found:.3f}",
                f"{goal.at_most:g}",
                "" if verdict.reached else "missed",
            ]
        )
    return aligned(lines)


def aligned(lines: list[list[str]]) -> list[str]:
    """Give the lines with their cells below one another, numbers at the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return ["  " + "  ".join(map(padded, line, widths)).rstrip() for line in lines]


def padded(cell: str, width: int) -> str:
    return cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
