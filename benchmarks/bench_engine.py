"""End to end: client CPU against a server."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from . import server, workloads
from .builds import Bench
from .tables import EVERYTHING, to_insert

SPARE_CONNECTIONS = 10  # for others, and to prepare what is measured


class Served(Bench):
    """Benchmarks against a server."""

    timeout = 300

    def connect(self, impl: str) -> None:
        self.loop, self.conn = server.connect(impl)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)


class Rows(Served):
    """100,000 rows of 10 mixed columns, so many to a result: linear cost gives a level line."""

    params = (("py", "cy"), (1_000, 10_000, 100_000))
    param_names = ("impl", "rows")

    def setup(self, impl: str, rows: int) -> None:
        self.connect(impl)
        server.fill(rows)
        self.statement = EVERYTHING.limit(rows)

    def time_fetch(self, impl: str, rows: int) -> None:
        self.run(workloads.fetch_often(self.conn, self.statement, 100_000 // rows))


class Statements(Served):
    """Short statements, one after the other."""

    def setup(self, impl: str) -> None:
        self.connect(impl)
        server.fill(1000)

    def time_1000_selects_reused(self, impl: str) -> None:
        self.run(workloads.points_reused(self.conn, 1000))

    def time_1000_selects_built_anew(self, impl: str) -> None:
        self.run(workloads.points_anew(self.conn, 1000))

    def time_100_transactions(self, impl: str) -> None:
        self.run(workloads.transactions(self.conn, 100))


class Insert(Served):
    """An INSERT of 5,000 rows of five values."""

    def setup(self, impl: str) -> None:
        self.connect(impl)
        server.empty()
        self.values = to_insert(5000)

    def time_insert(self, impl: str) -> None:
        self.run(workloads.insert(self.conn, self.values))


class Tasks(Served):
    """Connections out of a pool."""

    def setup(self, impl: str) -> None:
        self.loop, self.engine = server.engine(impl, 8)
        server.fill(1000)

    def time_1000_acquired(self, impl: str) -> None:
        self.run(workloads.acquire(self.engine, 1000))

    def time_32_tasks_of_40_selects(self, impl: str) -> None:
        self.run(workloads.tasks(self.engine, 32, 40))


class Pools(Served):
    """400 tasks for so many connections: the figure may not rise with their number."""

    params = (("py", "cy"), (1, 10, 200))
    param_names = ("impl", "connections")

    def setup(self, impl: str, size: int) -> None:
        if server.most_connections() < size + SPARE_CONNECTIONS:
            raise NotImplementedError(f"the server does not take {size} connections")
        self.loop, self.engine = server.engine(impl, size)
        server.fill(1000)

    def time_400_tasks(self, impl: str, size: int) -> None:
        self.run(workloads.tasks(self.engine, 400, 2))
