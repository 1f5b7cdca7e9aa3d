"""Statements to results, all but the sockets: the server is in memory."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from . import wire, workloads
from .builds import Bench
from .recorded import mixed, recording
from .tables import to_insert


class Wired(Bench):
    """Benchmarks whose statements are answered from memory."""

    def connect(self, impl: str, reply: bytes) -> None:
        self.loop, self.conn = wire.connect(impl)
        self.loop.reply = reply

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        self.loop.run_until_complete(work)


class Select(Wired):
    """Selects of one row of 10 mixed columns."""

    def setup(self, impl: str) -> None:
        self.connect(impl, recording(1, mixed(10)).reply)

    def time_1000_reused(self, impl: str) -> None:
        self.run(workloads.points_reused(self.conn, 1000))

    def time_1000_built_anew(self, impl: str) -> None:
        self.run(workloads.points_anew(self.conn, 1000))

    def time_1000_of_text(self, impl: str) -> None:
        self.run(workloads.points_text(self.conn, 1000))

    def time_100_with_in_of_100(self, impl: str) -> None:
        self.run(workloads.select_in(self.conn, 100, 100))


class Insert(Wired):
    """An INSERT of 1,000 rows of five values."""

    def setup(self, impl: str) -> None:
        self.connect(impl, wire.DONE)
        self.values = to_insert(1000)

    def time_insert(self, impl: str) -> None:
        self.run(workloads.insert(self.conn, self.values))


class Parameters(Wired):
    """2,000 parameters, so many to a statement: linear cost gives a level line."""

    params = (("py", "cy"), (1, 10, 100, 1000))
    param_names = ("impl", "parameters")

    def setup(self, impl: str, count: int) -> None:
        self.connect(impl, recording(1, mixed(10)).reply)

    def time_in(self, impl: str, count: int) -> None:
        self.run(workloads.select_in(self.conn, count, 2_000 // count))


class Size(Wired):
    """10 MB of text, so much to a statement: linear cost gives a level line."""

    params = (("py", "cy"), (1_000, 100_000, 10_000_000))
    param_names = ("impl", "bytes")

    def setup(self, impl: str, size: int) -> None:
        self.connect(impl, wire.DONE)
        self.text = "it's " * (size // 5)

    def time_insert(self, impl: str, size: int) -> None:
        self.run(workloads.insert_texts(self.conn, self.text, 10_000_000 // size))
