"""What a process holds, and that work leaves it as it was.

AIOMYSQLX_SOAK multiplies how often the work is done; AIOMYSQLX_SOAK_SECONDS is what all of it may
take, and one piece half of that: what has not been done so often by then ends early.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType

SOAK = float(os.environ.get("AIOMYSQLX_SOAK", "1"))
SECONDS = float(os.environ.get("AIOMYSQLX_SOAK_SECONDS", "100"))
PAGE = os.sysconf("SC_PAGE_SIZE")
MEGABYTE = 1 << 20

# What else a process allocates meanwhile: caches, the loop's timers, the allocator's own room.
MOST_BLOCKS = 2000
MOST_OBJECTS = 100
MOST_BYTES = 8 * MEGABYTE
# Of what is remembered of statements and results, in caches of a bounded size.
CACHED = (".Columns", ".Column", ".Decoder", ".ResultMetaData")


@dataclass(frozen=True)
class Footprint:
    """What the process holds."""

    resident: int
    blocks: int
    files: int
    tasks: int
    objects: Counter[str]  # by class, of those that the collector knows

    @classmethod
    def now(cls) -> Footprint:
        gc.collect()
        return cls(
            resident_bytes(),
            sys.getallocatedblocks(),
            len(os.listdir("/proc/self/fd")),
            len(asyncio.all_tasks()),
            Counter(class_name(thing) for thing in gc.get_objects() if not is_of_abc(thing)),
        )

    def excess(self, before: Footprint) -> dict[str, int]:
        """Give what is more than before, beyond what a process takes by itself."""
        more = {
            "resident bytes": (self.resident - before.resident, MOST_BYTES),
            "blocks": (self.blocks - before.blocks, MOST_BLOCKS),
            "files": (self.files - before.files, 0),
            "tasks": (self.tasks - before.tasks, 0),
        }
        for name, count in self.objects.items():
            own = name.startswith(("aiomysqlx.", "pymysql.", "uvloop.", "_asyncio.", "asyncio."))
            # The loop keeps cancelled timers for a while.
            own = own and not name.endswith(("TimerHandle", *CACHED))
            more[name] = count - before.objects[name], 0 if own else MOST_OBJECTS
        return {what: by for what, (by, most) in more.items() if by > most}


@cache
def began() -> float:
    """Give the time of the first call: how long a server took to start is not for the work."""
    return time.monotonic()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def class_name(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__name__}"


def is_of_abc(thing: object) -> bool:
    """Tell whether an abstract class remembers a class by this, which it was asked about.

    Each of its subclasses remembers it too: one question makes a hundred where the other tests, and
    what they import, have defined many.
    """
    callback = thing.__callback__ if isinstance(thing, weakref.ref) else thing
    return isinstance(callback, BuiltinFunctionType) and callback.__name__ == "_destroy"


async def settled(before: Footprint | None = None, seconds: float = 8) -> Footprint:
    """Give the footprint once nothing is under way any more."""
    deadline = time.monotonic() + seconds
    while True:
        await asyncio.sleep(0.05)
        footprint = Footprint.now()
        if before is None or not footprint.excess(before) or time.monotonic() > deadline:
            return footprint


async def check_flat(
    what: str, work: Callable[[int], Awaitable[int]], count: float, warm_up: int = 3
) -> str:
    """Do the work until *count* are done, times AIOMYSQLX_SOAK; see that it leaves nothing behind.

    *work* is called with a number, and gives how many it has done. Give a line that says what was
    measured.
    """
    began()
    for number in range(warm_up):
        await work(number)
    await asyncio.sleep(0.2)
    before, start, done, number = await settled(), time.monotonic(), 0, warm_up
    first = resident = before.resident
    collected = start
    end = start + 60 if SOAK == 1 else min(start + SECONDS / 2, began() + SECONDS)
    while done < count * SOAK and (not done or time.monotonic() < end):
        done += await work(number)
        number += 1
        if done <= count * SOAK / 2:
            resident = resident_bytes()
        if time.monotonic() > collected + 0.5:
            # By itself the collector comes the more rarely the more a process holds, and what it
            # has not found yet would look like growth.
            gc.collect()
            collected = time.monotonic()
    seconds = time.monotonic() - start
    # What is freed in pieces is not given back to the system: the first half finds how much.
    before = replace(before, resident=max(resident, before.resident))
    after = await settled(before)
    line = (
        f"{what}: {done:,} in {seconds:.1f} s;"
        f" resident {first / MEGABYTE:.1f}, {resident / MEGABYTE:.1f} halfway,"
        f" {after.resident / MEGABYTE:.1f} MB in the end,"
        f" blocks {after.blocks - before.blocks:+},"
        f" files {before.files} to {after.files}, tasks {before.tasks} to {after.tasks}"
    )
    excess = after.excess(before)
    assert not excess, f"{line}; more than before: {excess}"
    return line if done >= count * SOAK else f"{line}; out of time, {count * SOAK:,.0f} wanted"
