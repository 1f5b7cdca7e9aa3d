"""Memory: the most that a process takes, and what a row takes."""

from __future__ import annotations

import tracemalloc
from typing import Any

from . import server, wire, workloads
from .recorded import mixed, recording
from .tables import EVERYTHING, to_insert


class Peak:
    """What the whole process takes at its peak; with hardly a row, that is before the work."""

    params: Any = (("py", "cy"), (1, 100_000))
    param_names = ("impl", "rows")
    timeout = 300

    def setup(self, impl: str, rows: int) -> None:
        self.loop, self.conn = server.connect(impl)
        server.fill(rows)
        server.empty()

    def peakmem_fetch(self, impl: str, rows: int) -> None:
        self.loop.run_until_complete(workloads.fetch(self.conn, EVERYTHING.limit(rows)))

    def peakmem_insert(self, impl: str, rows: int) -> None:
        self.loop.run_until_complete(workloads.insert(self.conn, to_insert(rows)))


class Held:
    """Bytes for each of 10,000 rows of 10 mixed columns that are kept."""

    params: Any = ("py", "cy")
    param_names = ("impl",)
    unit = "bytes"

    def setup(self, impl: str) -> None:
        self.loop, self.conn = wire.connect(impl)
        self.loop.reply = recording(10_000, mixed(10)).reply
        self.fetch()  # plans and metadata are there, whatever is kept

    def fetch(self) -> Any:
        return self.loop.run_until_complete(workloads.fetch(self.conn, EVERYTHING))

    def track_row(self, impl: str) -> float:
        tracemalloc.start()
        rows = self.fetch()
        return tracemalloc.get_traced_memory()[0] / len(rows)
