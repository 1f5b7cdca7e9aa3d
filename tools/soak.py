"""`make soak`: what the suite does briefly, at length, to see that nothing grows or breaks.

A million statements, ten thousand connects, a hundred thousand cancellations; any order of events
in the pool and in transactions; hostile bytes; a server that goes and comes back under load. All of
it on loopback, against private servers, two parts at a time, in about ten minutes. `make soak
SERVER=mysql` does it on MySQL.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from machine import note, require_compiler, require_openssl, require_venv, start, succeeds
from suite import MAIN, SERVERS, Run, run_all

MINUTES = 10.0
# By this the counts of `make test` are multiplied in ten minutes.
SCALE = 100.0
# What that comes to, by the first word of what is counted; half of it on each loop.
WANTED = {
    "statements": 1_000_000,
    "connects": 10_000,
    "cancellations": 100_000,
    "sequences": 600,
}
LEAKS = ("--quiet", "tests/server/test_leaks.py", "-k")
CONNECTIONS = "connects or connections"
CUT_SHORT = "cancellations or time_outs or restarts"
MACHINE = ("--quiet", "tests/server/test_pool_machine.py")
SHAPES = ("--quiet", "tests/sql/test_shapes.py", "-k", "one_shape")
TRANSACTIONS = ("--quiet", "tests/server/test_transaction_machine.py")
STREAMS = ("--quiet", "tests/face/test_streaming.py", "-k", "memory_is_bounded")
COUNTED = r"^((\w+)\b.*): ([\d,]+) in \S+ s; resident .*?(?:; out of time, ([\d,]+) wanted)?$"
DONE = r"^(?:\d+ cases.*|\d+ passed.*|Done \d+ runs.*)$"


def leaks(which: str, build: str, loop: str, scale: float, seconds: float) -> Run:
    """Give the run of those leak tests with their counts multiplied, in at most *seconds*."""
    implementation = "python" if build == "pure" else "cython"
    selection = (*LEAKS, which)
    limits = {"AIOMYSQLX_SOAK": str(scale), "AIOMYSQLX_SOAK_SECONDS": str(seconds)}
    title = f"leaks of {which or 'all'}: {build}, {loop}"
    return Run(title, MAIN, implementation, loop, selection, variables=limits)


def parts(share: float) -> list[Run]:
    """Give the parts that take that share of ten minutes; none can take the time of another."""
    seconds = 60 * MINUTES * share
    half = SCALE * share / 2
    examples = round(max(20, 20 * half))
    events = f"any order of events in the pool, {examples} of them: compiled, uvloop"
    many = {"AIOMYSQLX_MACHINE_EXAMPLES": str(examples)}
    sequences = {"AIOMYSQLX_MACHINE_EXAMPLES": str(round(max(20, WANTED["sequences"] * share / 2)))}
    generated = {"AIOMYSQLX_SHAPES_EXAMPLES": str(round(100_000 * share))}
    fuzz = (MAIN.program("python"), "tools/fuzz.py", "--seconds", str(round(seconds / 6)))
    limits = {"statements": seconds / 2, CONNECTIONS: seconds / 4, CUT_SHORT: seconds / 3}
    return [
        *(
            leaks(which, "compiled", loop, half, limit)
            for which, limit in limits.items()
            for loop in ("asyncio", "uvloop")
        ),
        leaks("", "pure", "uvloop", half / 10, seconds / 6),
        Run(events, MAIN, "cython", "uvloop", MACHINE, variables=many),
        *(
            Run(
                f"any order of events in transactions: {build}, {loop}",
                MAIN,
                "python" if build == "pure" else "cython",
                loop,
                TRANSACTIONS,
                variables=sequences,
            )
            for build, loop in (("compiled", "uvloop"), ("pure", "asyncio"))
        ),
        Run(
            "shapes beside SQLAlchemy's keys",
            MAIN,
            "cython",
            "asyncio",
            SHAPES,
            variables=generated,
        ),
        Run(
            "memory of long streams",
            MAIN,
            "cython",
            "asyncio",
            STREAMS,
            variables={"AIOMYSQLX_STREAM_ROWS": "1000000"},
        ),
        Run("hostile bytes, both twins", MAIN, "cython", "", program=fuzz),
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all, about (10)")
    parser.add_argument("--server", choices=SERVERS, default="mariadb", help="what it runs on")
    given = parser.parse_args(arguments)
    share = given.minutes / MINUTES
    require_venv()
    require_compiler()
    SERVERS[given.server]()
    require_openssl()
    MAIN.install()
    install_atheris()
    began = time.monotonic()
    runs = parts(share)
    with tempfile.TemporaryDirectory() as folder:
        statuses = run_all(runs, [], Path(folder))
        logs = [Path(folder, f"{number}.log").read_text() for number in range(len(runs))]
    note(f"soaked on {given.server} for {(time.monotonic() - began) / 60:.1f} minutes")
    for done, status, log in zip(runs, statuses, logs, strict=True):
        note(f"{'FAILED' if status else 'passed'}: {done.title}")
        for line in measured(log):
            note(f"    {line}")
    titles = [one.title for one in runs]
    for line in totals(dict(zip(titles, logs, strict=True)), share):
        note(line)
    return 1 if any(statuses) else 0


def install_atheris() -> None:
    """Install what leads the fuzzing by coverage, if it has a wheel for this Python."""
    python = MAIN.program("python")
    if succeeds([python, "-c", "import atheris"]):
        return
    # The package is there already: pip adds only what its extra asks for.
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    if subprocess.run([*pip, "--only-binary=:all:", "aiomysqlx[fuzz]"]).returncode:
        note("no wheel of atheris for this Python: hostile bytes are made at random instead")


def measured(log: str) -> list[str]:
    """Give the lines of a part's output that say what it did."""
    return [found.group() for found in re.finditer(f"{COUNTED}|{DONE}", log, re.M)]


def totals(logs: dict[str, str], share: float) -> list[str]:
    """Give what ended before its count, and what all came to beside what is promised."""
    reached: Counter[str] = Counter()
    lines = []
    for title, log in logs.items():
        for what, kind, count, wanted in re.findall(COUNTED, log, re.M):
            reached[kind] += int(count.replace(",", ""))
            if wanted:
                lines.append(f"OUT OF TIME: {what}, {count} of {wanted} ({title})")
    for kind, promised in WANTED.items():
        verdict = "reached" if reached[kind] >= promised * share else "NOT REACHED"
        lines.append(f"{verdict}: {reached[kind]:,} of {promised * share:,.0f} {kind}")
    return lines


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
