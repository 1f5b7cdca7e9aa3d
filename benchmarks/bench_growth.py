"""What grows, at five sizes each: the same total of work, so that linear cost gives a level line.

A line that falls pays something per statement; one that rises by more than half from left to right
looks at what it need not.
"""

from __future__ import annotations

from . import wire, workloads
from .bench_statement import Wired
from .builds import Bench
from .recorded import mixed, recording
from .tables import POINT, to_insert

TOTAL = 10_000
SIZES = (1, 10, 100, 1_000, 10_000)


class Rows(Wired):
    """10,000 rows of 10 mixed columns read, and as many of five values inserted."""

    params = (("py", "cy"), SIZES)
    param_names = ("impl", "rows")

    def setup(self, impl: str, rows: int) -> None:
        self.connect(impl, recording(rows, mixed(10)).reply)
        self.values = to_insert(rows)

    def time_fetch(self, impl: str, rows: int) -> None:
        self.run(workloads.fetch_often(self.conn, POINT, TOTAL // rows, wanted=1))

    def time_insert(self, impl: str, rows: int) -> None:
        self.loop.reply = wire.DONE
        self.run(workloads.insert_often(self.conn, self.values, TOTAL // rows))


class Parameters(Wired):
    """10,000 parameters of text, so many to a statement."""

    params = (("py", "cy"), SIZES)
    param_names = ("impl", "parameters")

    def setup(self, impl: str, parameters: int) -> None:
        self.connect(impl, wire.DONE)

    def time_text(self, impl: str, parameters: int) -> None:
        self.run(workloads.texts(self.conn, parameters, TOTAL // parameters))


class InValues(Wired):
    """10,000 values of `IN`, so many to a list."""

    params = (("py", "cy"), SIZES)
    param_names = ("impl", "values")

    def setup(self, impl: str, values: int) -> None:
        self.connect(impl, recording(1, mixed(10)).reply)

    def time_select(self, impl: str, values: int) -> None:
        self.run(workloads.select_in(self.conn, values, TOTAL // values))


class Statements(Wired):
    """2,000 statements built anew, of which so many are distinct; 500 plans are kept."""

    params = (("py", "cy"), (1, 5, 25, 100, 400))
    param_names = ("impl", "statements")

    def setup(self, impl: str, statements: int) -> None:
        self.connect(impl, recording(1, mixed(10)).reply)
        self.run(workloads.distinct(self.conn, statements, statements))

    def time_select(self, impl: str, statements: int) -> None:
        self.run(workloads.distinct(self.conn, statements, 2_000))


class Waiters(Bench):
    """20,000 connections lent out of a pool of 8, to so many tasks at a time.

    Where it rises, the garbage collector has more tasks to look through: without it it is level.
    """

    params = (("py", "cy"), (10, 100, 1_000, 5_000, 20_000))
    param_names = ("impl", "waiters")

    def setup(self, impl: str, waiters: int) -> None:
        self.loop, self.engine = wire.engine(impl, 8)

    def time_acquire(self, impl: str, waiters: int) -> None:
        for _ in range(20_000 // waiters):
            self.loop.run_until_complete(workloads.wait(self.engine, waiters))


class Connections(Bench):
    """2,000 connections lent out of a pool of so many, of which half are lent already."""

    params = (("py", "cy"), (1, 10, 100, 500, 2_000))
    param_names = ("impl", "connections")

    def setup(self, impl: str, connections: int) -> None:
        self.loop, self.engine = wire.engine(impl, connections)
        self.lent = self.loop.run_until_complete(workloads.take(self.engine, connections // 2))

    def teardown(self, impl: str, connections: int) -> None:
        for conn in self.lent:
            self.engine.release(conn)

    def time_acquire(self, impl: str, connections: int) -> None:
        self.loop.run_until_complete(workloads.acquire(self.engine, 2_000))
