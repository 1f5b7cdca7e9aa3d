"""Rows: made, read, compared, pickled."""

from __future__ import annotations

import pickle
from functools import cache
from typing import Any

from . import pieces, wire, workloads
from .builds import Bench
from .recorded import MIXED, mixed, recording
from .tables import EVERYTHING, SAMPLES


@cache
def fetched(impl: str) -> Any:
    """Give 1,000 rows of 10 mixed columns."""
    loop, conn = wire.connect(impl)
    loop.reply = recording(1000, mixed(10)).reply
    return loop.run_until_complete(workloads.fetch(conn, EVERYTHING))


class Make(Bench):
    """100,000 rows, so many to a result: linear cost gives a level line."""

    params = (("py", "cy"), (1_000, 10_000, 100_000))
    param_names = ("impl", "rows")

    def setup(self, impl: str, rows: int) -> None:
        tuples = [(index,) * len(MIXED) for index in range(rows)]
        make = pieces.making_rows(impl, list(MIXED), tuples)
        self.works = [make] * (100_000 // rows)

    def time_make_rows(self, impl: str, rows: int) -> None:
        [make() for make in self.works]


class Access(Bench):
    """One value of each of 1,000 rows."""

    def setup(self, impl: str) -> None:
        self.rows = fetched(impl)
        self.column = SAMPLES.c.made

    def time_attribute(self, impl: str) -> None:
        [row.made for row in self.rows]

    def time_name(self, impl: str) -> None:
        [row["made"] for row in self.rows]

    def time_position(self, impl: str) -> None:
        [row[6] for row in self.rows]

    def time_column(self, impl: str) -> None:
        [row[self.column] for row in self.rows]


class Whole(Bench):
    """All of each of 1,000 rows of 10 columns."""

    def setup(self, impl: str) -> None:
        self.rows = fetched(impl)
        self.pairs = [(row, row.as_tuple()) for row in self.rows]
        self.pickled = pickle.dumps(self.rows)

    def time_keys(self, impl: str) -> None:
        [list(row) for row in self.rows]

    def time_values(self, impl: str) -> None:
        [list(row.values()) for row in self.rows]

    def time_as_tuple(self, impl: str) -> None:
        [row.as_tuple() for row in self.rows]

    def time_asdict(self, impl: str) -> None:
        [row._asdict() for row in self.rows]

    def time_equal(self, impl: str) -> None:
        [row == other for row, other in self.pairs]

    def time_pickle(self, impl: str) -> None:
        pickle.dumps(self.rows)

    def time_unpickle(self, impl: str) -> None:
        pickle.loads(self.pickled)
