"""Run workloads of one contender while valgrind counts: `counted.py CONTENDER LOOP URL NAME…`.

Each is run twice, and the second run is counted: getsid() is called before and after it, and by
nobody else. callgrind writes what it has counted at each call (`--dump-before=getsid`). The garbage
collector is off, because when it runs depends on what was done before.

`PIECES` is a workload of aiomysqlx alone: the parts of a select by primary key. Prints the versions
as JSON.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from child import check, run, versions
from contenders import CONTENDERS, SaEngine, address
from samples import BEFORE, BY_KEY, POINTS
from workloads import Contender

ROOT = str(Path(__file__).resolve().parents[2])
PIECES = "pieces"
RUNGS = (
    *("pingpong", "looked up", "rendered", "run", "executed", "fetched"),
    *("built", "shaped", "fetched anew"),
)
"""The pieces, in the order in which they are counted."""


async def count(work: Callable[[], Awaitable[Any]]) -> Any:
    """Do the work between two marks, and return what it returns."""
    gc.collect()
    os.getsid(0)
    found = await work()
    os.getsid(0)
    return found


async def count_workload(contender: Contender, name: str) -> None:
    work = getattr(contender, name)
    await prepare(contender, name)
    await work()
    await prepare(contender, name)
    found = await count(work)
    if name not in BEFORE:
        check(name, found)


async def prepare(contender: Contender, name: str) -> None:
    if name in BEFORE:
        await contender.sql(BEFORE[name])


async def count_pieces(contender: Contender, build: str, url: str) -> None:
    """Count each piece of a select by primary key, done as often as that workload does it."""
    assert isinstance(contender, SaEngine)
    sys.path.append(ROOT)  # behind the place of the package
    pieces, pingpong = import_module("benchmarks.pieces"), import_module("benchmarks.pingpong")
    pymysql = import_module("pymysql")
    table = contender.table
    works = await pieces.execution(
        build,
        contender.conn,
        contender.by_key,
        {"wanted": POINTS},
        lambda: table.select().where(table.c.id == POINTS),
    )
    options = address(url)
    options["database"] = options.pop("db")
    with pymysql.connect(**options, autocommit=True) as connection:
        bare = await pingpong.open_pingpong(connection, BY_KEY % POINTS)
        await bare.ask(POINTS)
        await count(partial(bare.ask, POINTS))
    for name in RUNGS[1:]:
        await repeat(works[name])
        await count(partial(repeat, works[name]))


async def repeat(work: Callable[[], Any]) -> None:
    """Do a piece again and again, and await what is to be awaited."""
    if inspect.isawaitable(first := work()):
        await first
        for _ in range(POINTS - 1):
            await work()
    else:
        for _ in range(POINTS - 1):
            work()


async def main(name: str, url: str, workloads: list[str]) -> None:
    entry = CONTENDERS[name]
    contender = entry.kind(entry.module, entry.options)
    await contender.open(url)
    gc.disable()
    try:
        for workload in workloads:
            if workload == PIECES:
                build = "py" if entry.implementation == "python" else "cy"
                await count_pieces(contender, build, url)
            else:
                await count_workload(contender, workload)
    finally:
        await contender.close()
    print(json.dumps(versions()))


if __name__ == "__main__":
    run(main(sys.argv[1], sys.argv[3], sys.argv[4:]), sys.argv[2])
