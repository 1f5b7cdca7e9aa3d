"""`make soak`: what the suite does briefly, at length, to see that nothing grows or breaks.

A million statements, ten thousand connects, a hundred thousand cancellations; any order of events
in the pool; hostile bytes; a server that goes and comes back under load. All of it on loopback,
against private servers, two parts at a time, in about ten minutes.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from machine import note, require_compiler, require_openssl, require_server, require_venv, start
from suite import MAIN, Run, run_all

MINUTES = 10.0
# By this the counts of `make test` are multiplied in ten minutes: to a million statements.
SCALE = 100.0
LEAKS = ("--quiet", "tests/test_leaks.py")
MACHINE = ("--quiet", "tests/test_pool_machine.py")


@dataclass(frozen=True)
class Part(Run):
    """One part: a selection of the tests with its counts multiplied, or another program."""

    scale: float = 1
    seconds: float = 60  # which all of its tests may take
    program: tuple[str, ...] = ()

    def start(self, arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
        """Start it; what it prints goes to a file."""
        pytest = (self.environment.program("pytest"), f"--loop={self.loop}", *self.selection)
        environment = {
            **os.environ,
            "AIOMYSQLX_IMPL": self.implementation,
            "AIOMYSQLX_SOAK": str(self.scale),
            "AIOMYSQLX_SOAK_SECONDS": str(self.seconds),
            "AIOMYSQLX_MACHINE_EXAMPLES": str(max(1, round(self.scale))),
        }
        with open(output, "wb") as file:
            return subprocess.Popen(
                [*(self.program or pytest), *arguments],
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
            )


def parts(share: float) -> list[Part]:
    """Give the parts that take that share of ten minutes."""
    seconds = 60 * MINUTES * share
    fuzz = (MAIN.program("python"), "tools/fuzz.py", "--seconds", str(round(seconds / 6)))
    scale = SCALE * share
    events = "any order of events in the pool: compiled, uvloop"
    return [
        Part(
            "leaks: compiled, asyncio", MAIN, "cython", "asyncio", LEAKS, 0.8 * scale, 0.8 * seconds
        ),
        Part(
            "leaks: compiled, uvloop", MAIN, "cython", "uvloop", LEAKS, 0.2 * scale, 0.3 * seconds
        ),
        Part("leaks: pure, uvloop", MAIN, "python", "uvloop", LEAKS, 0.05 * scale, 0.15 * seconds),
        Part(events, MAIN, "cython", "uvloop", MACHINE, max(20, 10 * scale)),
        Part("hostile bytes, both twins", MAIN, "", "", program=fuzz),
    ]


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all, about (10)")
    share = parser.parse_args(arguments).minutes / MINUTES
    require_venv()
    require_compiler()
    require_server()
    require_openssl()
    MAIN.install()
    began = time.monotonic()
    runs = parts(share)
    with tempfile.TemporaryDirectory() as folder:
        statuses = run_all(runs, [], Path(folder))
        logs = [Path(folder, f"{number}.log").read_text() for number in range(len(runs))]
    note(f"soaked for {(time.monotonic() - began) / 60:.1f} minutes")
    for done, status, log in zip(runs, statuses, logs, strict=True):
        note(f"{'FAILED' if status else 'passed'}: {done.title}")
        for line in measured(log):
            note(f"    {line}")
    return 1 if any(statuses) else 0


def measured(log: str) -> list[str]:
    """Give the lines of a part's output that say what it did."""
    return re.findall(r"^(?:.* in \S+ s; resident .*|\d+ cases.*|\d+ passed.*)$", log, re.M)


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
