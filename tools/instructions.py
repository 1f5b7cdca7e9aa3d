"""`make instructions`: how many instructions each operation of a client takes, in user space.

valgrind counts them, for the workloads of `make compare` and for the pieces that a select by
primary key is made of. Counts hardly change with the load of the machine, as times do. They leave
out the work of the kernel and of the server, and cache misses: a tenth of the instructions need not
take a tenth of the time.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from environments import ROOT
from machine import (
    fail,
    note,
    require_compiler,
    require_server,
    require_valgrind,
    require_venv,
    start,
)
from private_server import Server, ServerError, database_server

COMPARE = ROOT / "benchmarks" / "compare"
sys.path.insert(0, str(COMPARE))

from contenders import CONTENDERS  # noqa: E402
from counted import PIECES, RUNGS  # noqa: E402
from peers import ENVIRONMENT  # noqa: E402
from report import COMPILED, DRIVER, OURS, PIPELINING, PREPARED, PURE  # noqa: E402
from samples import (  # noqa: E402
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

RESULTS = ROOT / "benchmarks" / "results"
LOOPS = ("asyncio", "uvloop")
COUNTED = {
    **{
        name: name
        for name in (COMPILED, PREPARED, PIPELINING, PURE, "asyncmy, text", "asyncmy, prepared")
    },
    "AsyncEngine + asyncmy": "AsyncEngine + asyncmy",
    DRIVER: "AsyncEngine + aiomysqlx, compiled",
}
"""Who is counted, and how that is called here."""

FILLER = "asyncmy, text"  # any bare cursor will do

WORKLOADS = {
    "reused": (POINTS, "select by primary key, one statement used again"),
    "anew": (POINTS, "select by primary key, the statement built anew"),
    "in_reused": (LISTS, f"select with an IN of {LIST_LENGTH} keys, one statement used again"),
    "in_lists": (LISTS, f"select with an IN of {LIST_LENGTH} keys, the statement built anew"),
    "transactions": (TRANSACTIONS, "begin, select by primary key, commit"),
    "borrowed": (POINTS, "acquire a connection, select by primary key, release it"),
    "pool": (TASKS * POINTS_PER_TASK, f"the same by {TASKS} tasks with {POOL_SIZE} connections"),
    "rows": (1, f"{ROWS:,} rows of 10 mixed columns, one column read of each"),
    "insert": (1, f"{INSERTS:,} rows of {len(INSERT_COLUMNS)} columns, inserted by one call"),
    "updates": (1, f"{UPDATES:,} rows updated one by one, by one call"),
    "streamed": (1, f"{STORED:,} rows of 10 mixed columns streamed, one column read of each"),
}
"""How many operations a run of each does, and what one is."""

EVERYTHING = [*WORKLOADS, PIECES]
EVERYBODY = [""]  # which is a part of every name

Counts = dict[str, float]
"""Thousands of instructions, by what they are for."""

Columns = dict[str, Counts]
"""What was counted, of each contender with each Python."""


def operations(columns: Columns) -> list[str]:
    """Return the lines of the table of workloads; none if there were none."""
    names = [name for name in WORKLOADS if any(name in counts for counts in columns.values())]
    return table(
        {
            label: {WORKLOADS[name][1]: counts[name] for name in names if name in counts}
            for label, counts in columns.items()
        }
    )


def pieces(columns: Columns) -> list[str]:
    """Return the lines of the table of a select's pieces; none if they were not counted."""
    return table({label: parts(its) for label, its in columns.items() if RUNGS[0] in its})


def table(columns: Columns) -> list[str]:
    rows = list(dict.fromkeys(name for counts in columns.values() for name in counts))
    if not rows:
        return []
    return [
        row("", *columns),
        f"| --- |{' ---: |' * len(columns)}",
        *(row(name, *(cell(counts.get(name)) for counts in columns.values())) for name in rows),
    ]


def parts(counts: Counts) -> Counts:
    """Return the pieces of a select without what is counted in each other."""
    pingpong, looked_up, rendered, run, executed, fetched, built, shaped, anew = (
        counts[name] for name in RUNGS
    )
    return {
        "turns of the event loop, its future and transport (a bare ping-pong)": pingpong,
        "session, protocol, reply, decoding of the row, less a turn of the loop": run - pingpong,
        "look-up of the plan": looked_up,
        "values, escaping and packet": rendered,
        "`execute()`: checks, the result and its row": executed - run - looked_up - rendered,
        "`first()`": fetched - executed,
        "**together, one statement used again**": fetched,
        "SQLAlchemy's making of the statement": built,
        "its shape": shaped - built,
        "look-up of the plan by that, and of what was seen before": anew - fetched - shaped,
        "**together, the statement built anew**": anew,
    }


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def cell(count: float | None) -> str:
    return "" if count is None else f"{count:,.1f}"


# -- counting ------------------------------------------------------------------------------------


@dataclass
class Counter:
    """Runs contenders under valgrind."""

    server: Server
    loop: str
    workloads: list[str]
    versions: dict[str, str] = field(default_factory=dict)

    def count(self, python: str, name: str) -> Counts:
        """Return what a contender takes for one operation of each workload that it has."""
        entry = CONTENDERS[name]
        able = [each for each in self.workloads if hasattr(entry.kind, each)]
        divisors = {each: WORKLOADS[each][0] for each in able}
        if PIECES in self.workloads and name in OURS:
            able.append(PIECES)
            divisors.update(dict.fromkeys(RUNGS, POINTS))
        if not able:
            return {}
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder, "counts")
            self.run(python, [name, self.loop, self.server.url(), *able], target)
            totals = read(target)
        if len(totals) != 2 * len(divisors):
            fail(f"{name}: expected {2 * len(divisors)} marks, got {len(totals)}")
        # Every second one is of what was done between the two marks around a run.
        return {
            each: total / divisor / 1e3
            for (each, divisor), total in zip(divisors.items(), totals[1::2], strict=True)
        }

    def run(self, python: str, arguments: list[str], target: Path) -> None:
        valgrind = ["nice", "valgrind", "--quiet", "--tool=callgrind", "--dump-before=getsid"]
        valgrind.append(f"--callgrind-out-file={target}")
        implementation = CONTENDERS[arguments[0]].implementation
        done = subprocess.run(
            [*valgrind, python, str(COMPARE / "counted.py"), *arguments],
            env={**os.environ, "AIOMYSQLX_IMPL": implementation, "PYTHONHASHSEED": "0"},
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            fail(f"{arguments[0]} ended with status {done.returncode}")
        self.versions.update(json.loads(done.stdout))


def read(target: Path) -> list[int]:
    """Return the totals of the files that callgrind has written, in their order."""
    files = sorted(target.parent.glob(f"{target.name}.*"), key=lambda path: int(path.suffix[1:]))
    found = [re.search(r"^summary: (\d+)", file.read_text(), re.MULTILINE) for file in files]
    return [int(match[1]) for match in found if match]


def order(server: Server, python: str, request: str) -> None:
    """Make the tables, or drop them."""
    command = [python, str(COMPARE / "child.py"), FILLER, LOOPS[0], server.url()]
    subprocess.run(command, input=request, stdout=subprocess.DEVNULL, text=True, check=True)


# -- the command ---------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    require_valgrind()
    require_server()
    if not options.python:
        require_venv()
        require_compiler()
        ENVIRONMENT.install()
    pythons = options.python or [ENVIRONMENT.program("python")]
    names = [name for name in COUNTED if any(part in COUNTED[name] for part in options.who)]
    if not names:
        fail(f"--who: expected a part of {'; '.join(COUNTED.values())}")
    try:
        with database_server() as server:
            counter = Counter(server, options.loop, options.only)
            order(server, pythons[0], "create")
            try:
                columns = count(counter, names, pythons)
            finally:
                order(server, pythons[0], "drop")
    except ServerError as error:
        fail(str(error))
    text = document(counter, columns)
    print(text)
    if (options.only, options.who) == (EVERYTHING, EVERYBODY) and len(pythons) == 1:
        target = RESULTS / f"instructions-{options.loop}.md"
        target.write_text(text)
        note(f"written: {target}")
    return 0


def count(counter: Counter, names: list[str], pythons: list[str]) -> Columns:
    columns = {}
    for name in names:
        for python in pythons:
            label = COUNTED[name] if len(pythons) == 1 else f"{COUNTED[name]}, {python}"
            columns[label] = found = counter.count(python, name)
            note(f"{label}: {', '.join(f'{each} {its:,.1f}' for each, its in found.items())}")
    return columns


def document(counter: Counter, columns: Columns) -> str:
    """Return what was found as a page."""
    versions = ", ".join(" ".join(pair) for pair in counter.versions.items())
    valgrind = subprocess.check_output(["valgrind", "--version"], text=True).strip()
    lines = [
        f"# Instructions, {counter.loop}",
        "",
        "Thousands of instructions in user space for one operation, as `make instructions` counts",
        "them: without the kernel's work, the server's and the garbage collector's.",
        "",
        f"{versions}; {valgrind}, {platform.machine()}; {counter.server.version}.",
    ]
    if found := operations(columns):
        lines += ["", *found]
    if found := pieces(columns):
        lines += ["", "A select by primary key, by piece:", "", *found]
    return "\n".join([*lines, ""])


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make instructions ARGS=…", description=__doc__)
    parser.add_argument(
        "--only",
        nargs="+",
        choices=EVERYTHING,
        default=EVERYTHING,
        metavar="WORKLOAD",
        help=f"count these alone, of {', '.join(EVERYTHING)}",
    )
    parser.add_argument(
        "--who",
        nargs="+",
        default=EVERYBODY,
        metavar="TEXT",
        help=f"count those alone with such a text in their name: {'; '.join(COUNTED.values())}",
    )
    parser.add_argument("--loop", choices=LOOPS, default=LOOPS[0])
    parser.add_argument(
        "--python",
        nargs="+",
        default=[],
        help="use these instead of an environment made for it; a column for each",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
