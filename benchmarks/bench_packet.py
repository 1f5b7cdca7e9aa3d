"""Bytes received to rows."""

from __future__ import annotations

from . import pieces
from .builds import Bench
from .recorded import KINDS, mixed, recording


class Types(Bench):
    """1,000 rows of 10 columns of one kind."""

    params = (("py", "cy"), list(KINDS))
    param_names = ("impl", "kind")

    def setup(self, impl: str, kind: str) -> None:
        self.work = pieces.decoding(impl, recording(1000, (kind,) * 10), 1)

    def time_decode(self, impl: str, kind: str) -> None:
        self.work()


class Rows(Bench):
    """100,000 rows of 10 mixed columns, so many to a result: linear cost gives a level line."""

    params = (("py", "cy"), (1_000, 10_000, 100_000))
    param_names = ("impl", "rows")

    def setup(self, impl: str, rows: int) -> None:
        self.work = pieces.decoding(impl, recording(rows, mixed(10)), 100_000 // rows)

    def time_decode(self, impl: str, rows: int) -> None:
        self.work()


class Columns(Bench):
    """100,000 values of mixed kinds, so many to a row: linear cost gives a level line."""

    params = (("py", "cy"), (1, 10, 50, 200))
    param_names = ("impl", "columns")

    def setup(self, impl: str, columns: int) -> None:
        rows = 100_000 // columns
        self.decode = pieces.decoding(impl, recording(rows, mixed(columns)), 1)
        definitions = recording(0, mixed(columns))
        self.describe = pieces.describing(impl, definitions, 1000 // columns)

    def time_decode(self, impl: str, columns: int) -> None:
        self.decode()

    def time_describe_1000(self, impl: str, columns: int) -> None:
        self.describe()


class Replies(Bench):
    """1,000 short answers."""

    def setup(self, impl: str) -> None:
        self.point = pieces.reading(impl, recording(1, mixed(10)), 1000)
        self.done = pieces.acknowledging(impl, 1000)

    def time_point_select(self, impl: str) -> None:
        self.point()

    def time_parse_ok(self, impl: str) -> None:
        self.done()
