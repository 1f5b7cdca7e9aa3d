"""`make test-matrix`: the suite on every Python, with the oldest and the newest dependencies.

A Python runs both builds, and takes two runs for that instead of the 24 that all combinations would
be. In these each Python, each build, each SQLAlchemy, PyMySQL and aiomysql meets all of the others;
each Python meets two of the three SQLAlchemys. It takes some two hours, and less with ARGS, for
example `make test-matrix ARGS="--python 3.14 --build pure tests/pool"`: pytest takes what is not
known here. A table says at the end what has run on what.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from environments import Environment, oldest_versions
from machine import fail, start
from private_server import ServerError
from pythons import interpreter
from suite import SHORT, Run, first_of, require_all, run_suite

PURE = ("-m", "not once and not long and not twins")  # the compiled run has both twins
BUILDS = {"cython": "compiled", "python": "pure"}
DEPENDENCIES = ("SQLAlchemy", "PyMySQL", "aiomysql")
VERSIONS = """
import importlib.metadata, platform, sys
print(platform.python_version(), *map(importlib.metadata.version, sys.argv[1:]))
"""


@dataclass(frozen=True)
class Case:
    """One run: the versions are `oldest`, `newest`, or the newest of a series such as `2.0`."""

    python: str
    implementation: str
    sqlalchemy: str
    pymysql: str
    aiomysql: str
    loop: str

    @property
    def title(self) -> str:
        versions = ", ".join(f"{name} {version}" for name, version in self.versions)
        return f"Python {self.python}, {BUILDS[self.implementation]}, {self.loop}, {versions}"

    @property
    def versions(self) -> list[tuple[str, str]]:
        """The dependencies, each with the version that is wanted."""
        return [*zip(DEPENDENCIES, (self.sqlalchemy, self.pymysql, self.aiomysql), strict=True)]

    @property
    def pins(self) -> tuple[str, ...]:
        """What pip is told of the dependencies; where that is nothing, it takes the newest."""
        oldest = oldest_versions()
        return tuple(
            f"{name}=={oldest[name] if version == 'oldest' else version + '.*'}"
            for name, version in self.versions
            if version != "newest"
        )

    @property
    def run(self) -> Run:
        """The run of the suite, in an environment of its own."""
        compiled = self.implementation == "cython"
        environment = Environment(
            f"matrix-{self.python}-{BUILDS[self.implementation]}",
            interpreter(self.python),
            self.implementation,
            extras="test",
            pins=self.pins,
            cflags="-O0" if compiled else "",  # tried for what it does, not for how fast
        )
        selection = SHORT if compiled else PURE
        return Run(self.title, environment, self.implementation, self.loop, selection)


CASES = (
    Case("3.10", "cython", "oldest", "oldest", "oldest", "uvloop"),
    Case("3.10", "python", "newest", "newest", "newest", "asyncio"),
    Case("3.11", "cython", "2.0", "newest", "oldest", "uvloop"),
    Case("3.11", "python", "oldest", "oldest", "newest", "asyncio"),
    Case("3.12", "cython", "newest", "oldest", "newest", "asyncio"),
    Case("3.12", "python", "2.0", "newest", "oldest", "uvloop"),
    Case("3.13", "cython", "oldest", "newest", "newest", "asyncio"),
    Case("3.13", "python", "newest", "oldest", "oldest", "uvloop"),
    Case("3.14", "cython", "2.0", "oldest", "newest", "asyncio"),
    Case("3.14", "python", "newest", "newest", "oldest", "uvloop"),
    Case("3.15", "cython", "newest", "newest", "newest", "uvloop"),
    Case("3.15", "python", "2.0", "oldest", "oldest", "asyncio"),
)
PYTHONS = tuple(dict.fromkeys(case.python for case in CASES))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="these alone")
    parser.add_argument("--build", choices=BUILDS.values(), help="this one alone")
    given, for_pytest = parser.parse_known_args(arguments)
    cases = [
        case
        for case in CASES
        if case.python in (given.python or PYTHONS)
        and given.build in (None, BUILDS[case.implementation])
    ]
    require_all()
    try:
        runs = [case.run for case in cases]
    except ServerError as error:
        fail(str(error))
    # One core builds while the other tests what there is.
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as installer:
        folder = Path(name)
        try:
            runs = [
                replace(one, installing=installer.submit(one.environment.install)) for one in runs
            ]
            statuses = run_suite(runs, for_pytest, folder)
        except BaseException:
            installer.shutdown(cancel_futures=True)
            raise
        counts = [count(folder / f"{number}.log") for number in range(len(runs))]
    print(table(cases, runs, statuses, counts))
    return 1 if any(statuses) else 0


def table(
    cases: Sequence[Case], runs: Sequence[Run], statuses: Sequence[int], counts: Sequence[str]
) -> str:
    """Return what has run on what, a line each."""
    lines = [["Python", "build", "event loop", *DEPENDENCIES, "tests", ""]]
    for case, one, status, tests in zip(cases, runs, statuses, counts, strict=True):
        told = [one.environment.program("python"), "-c", VERSIONS, *DEPENDENCIES]
        python, *versions = subprocess.check_output(told, text=True).split()
        ended = "FAILED" if status else "passed"
        lines.append([python, BUILDS[case.implementation], case.loop, *versions, tests, ended])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def count(output: Path) -> str:
    """Return how many tests have passed and failed, as pytest's last line says."""
    first = first_of(output)
    text = (first if first.exists() else output).read_text()
    counts = re.findall(r"\d+ (?:passed|failed|errors?)\b", text.rstrip().rpartition("\n")[2])
    return ", ".join(counts) or "none"


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
