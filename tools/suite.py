"""`make test`: the whole suite on every build, SQLAlchemy and Python that is supported and at hand.

Arguments are handed to pytest, for example `make test ARGS="-k pool --loop=uvloop"`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from environments import ROOT, Environment
from machine import (
    note,
    other_pythons,
    require_compiler,
    require_openssl,
    require_server,
    require_venv,
    run,
    start,
)

MAIN = Environment(implementation="cython", extras="dev")
# The tests of building and of the types say the same in every run.
REPEATED = ("-m", "not build and not types")
FLOORS = """
import importlib.metadata, re
for requirement in importlib.metadata.requires("aiomysqlx"):
    if "extra ==" not in requirement:
        print(re.sub(r"^([\\w.-]+).*>=([\\d.]+).*", r"\\1==\\2", requirement))
"""


@dataclass(frozen=True)
class Run:
    """One run of the suite; *implementation* is its AIOMYSQLX_IMPL."""

    title: str
    environment: Environment
    implementation: str
    loop: str
    selection: tuple[str, ...] = ()

    def passes(self, arguments: list[str]) -> bool:
        note(f"suite: {self.title}")
        # The program, not `python -m pytest`, which would import the source folder.
        options = [f"--loop={self.loop}", *self.selection, *arguments]
        command = [self.environment.program("pytest"), *options]
        return run(command, AIOMYSQLX_IMPL=self.implementation) == 0


def main(arguments: list[str]) -> int:
    require_venv()
    require_compiler()
    require_server()
    require_openssl()
    with tempfile.TemporaryDirectory() as folder:
        runs = prepare(Path(folder))
        results = [one.passes(arguments) for one in runs]
    for one, passed in zip(runs, results, strict=True):
        note(f"{'passed' if passed else 'FAILED'}: {one.title}")
    return 0 if all(results) else 1


def prepare(folder: Path) -> list[Run]:
    """Make the environments, two at a time, and give the runs."""
    MAIN.install()
    pure = Environment("pure", implementation="python", extras="test", pins=lowest_versions())
    older = Environment("sa20", implementation="cython", extras="test", pins=("SQLAlchemy<2.1",))
    others = {
        Path(python).name: Environment(Path(python).name, python, "cython", "test")
        for python in other_pythons()
    }
    with ThreadPoolExecutor(2) as pool:
        made = [pool.submit(pure.install, make_sdist(folder))]
        made += [pool.submit(environment.install) for environment in (older, *others.values())]
    for install in made:
        install.result()
    # Every build and every SQLAlchemy on both loops, but not in each environment: time is short.
    return [
        Run("compiled build", MAIN, "cython", "both"),
        Run("compiled build, forced pure", MAIN, "python", "uvloop", REPEATED),
        Run("pure install from the sdist, oldest dependencies", pure, "", "asyncio", REPEATED),
        Run("compiled build, SQLAlchemy 2.0", older, "cython", "uvloop", REPEATED),
        *(
            Run(f"compiled build, {name}", other, "cython", loop, REPEATED)
            for (name, other), loop in zip(others.items(), ("asyncio", "uvloop"), strict=False)
        ),
    ]


def lowest_versions() -> tuple[str, ...]:
    """Give the pins of the oldest versions that the package says it runs on."""
    command = [MAIN.program("python"), "-c", FLOORS]
    return tuple(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def make_sdist(folder: Path) -> Path:
    """Build the sdist and give its path."""
    build = [MAIN.program("python"), "-m", "build", "--sdist", "--no-isolation", "--outdir"]
    subprocess.run([*build, str(folder), str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.tar.gz"))


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
