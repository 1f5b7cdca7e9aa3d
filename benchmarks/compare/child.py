"""Measure one contender in this process: `child.py CONTENDER LOOP URL`, in its environment.

Connects, then answers each line of standard input, the name of a workload, with a line of JSON:
how long it took, in milliseconds. Nothing is switched off for it, the garbage collector neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.metadata
import itertools
import json
import re
import signal
import statistics
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from contenders import CONTENDERS, Cursor
from samples import BEFORE, CREATE, DROP, EXPECTED, ROWS, STORED, WRITTEN
from workloads import Contender, Evidence

PACKAGES = ("aiomysqlx", "SQLAlchemy", "aiomysql", "PyMySQL", "asyncmy", "greenlet", "uvloop")
TIME_LIMIT = 120  # seconds for a workload; a process that hangs is ended


async def measure(contender: Contender, workload: str) -> dict[str, float]:
    """Run a workload once, see that it did what it should, and give its times."""
    if workload in BEFORE:
        await contender.sql(BEFORE[workload])
    work = getattr(contender, workload)
    cpu, wall = time.process_time(), time.perf_counter()
    evidence = await work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if workload in WRITTEN:
        (evidence,) = await contender.sql(WRITTEN[workload])
    check(workload, evidence)
    times = {"cpu": cpu * 1e3, "wall": wall * 1e3}
    if workload == "reused":
        times.update(latencies(contender.marks))
    return times


def check(workload: str, evidence: Evidence) -> None:
    if evidence != EXPECTED[workload]:
        raise SystemExit(f"{workload}: expected {EXPECTED[workload]}, got {evidence}")


def latencies(marks: list[float]) -> dict[str, float]:
    """Give percentiles of what single statements took, in milliseconds."""
    each = [(end - begin) * 1e3 for begin, end in itertools.pairwise(marks)]
    percentiles = statistics.quantiles(each, n=100)
    return {"p50": percentiles[49], "p99": percentiles[98]}


async def measure_memory(contender: Contender) -> dict[str, float]:
    """Give by how many MiB the process grows at most while it fetches many rows and reads each.

    That is the peak of its resident memory until all rows are read, still held, less what it had
    before: connected, and with other rows held, which fill what imports have left free. The peak
    is Linux's VmHWM, which writing 5 to clear_refs sets back; where that is forbidden, the peak
    before is deducted instead.
    """
    held = await contender.fetch(ROWS)
    contender.read_ids(held)
    gc.collect()
    reset_peak_memory()
    before = peak_memory()
    rows = await contender.fetch(STORED)
    evidence = contender.evidence(rows)
    growth = peak_memory() - before
    check("memory", evidence)
    return {"memory": growth}


def reset_peak_memory() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> float:
    """Give the peak of this process's resident memory in MiB."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise SystemExit("no VmHWM in /proc/self/status")
    return int(found[1]) / 1024


async def create_tables(contender: Contender) -> None:
    assert isinstance(contender, Cursor)
    await drop_tables(contender)
    for statement in CREATE:
        await contender.sql(statement)
    await contender.fill()


async def drop_tables(contender: Contender) -> None:
    for statement in DROP:
        await contender.sql(statement)


async def answer(contender: Contender, request: str) -> dict[str, float]:
    """Do what the parent asks for."""
    if request == "create":
        await create_tables(contender)
    elif request == "drop":
        await drop_tables(contender)
    elif request == "memory":
        return await measure_memory(contender)
    else:
        return await measure(contender, request)
    return {}


async def serve(name: str, url: str) -> None:
    """Answer the requests of the parent until it closes the pipe."""
    entry = CONTENDERS[name]
    contender = entry.kind(entry.module, entry.options)
    await contender.open(url)
    try:
        say({"versions": versions()})
        for line in sys.stdin:
            signal.alarm(TIME_LIMIT)
            say(await answer(contender, line.strip()))
            signal.alarm(0)
    finally:
        await contender.close()


def say(message: dict[str, Any]) -> None:
    print(json.dumps(message), flush=True)


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages of this environment."""
    found = {"Python": sys.version.split()[0]}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    if loop == "asyncio":
        asyncio.run(main)
    else:
        import uvloop

        uvloop.run(main)


if __name__ == "__main__":
    run(serve(sys.argv[1], sys.argv[3]), sys.argv[2])
