"""`make test-sqlalchemy`: SQLAlchemy's own tests on this package's dialect.

They come with SQLAlchemy's source release of the version that an environment has, which pip fetches
into `.sqlalchemy`. Run are, on MariaDB and MySQL, with SQLAlchemy 2.1 and 2.0, in both builds: the
tests for whoever writes a dialect; those of MySQL's dialects; those of engine, pool, reconnecting
and transactions; of the extension for asyncio; of the ORM and of Core whatever SQLAlchemy itself
runs on each driver. `sqlalchemy_exclusions.py` has what is left out.

All of it takes about an hour; `make test-sqlalchemy ARGS=--ci` is short, ARGS="--only asyncio
--server mysql" a part, and ARGS="--driver asyncmy" has the same tests run on another driver, to
compare. Other arguments are handed to pytest.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from environments import ROOT, Environment
from machine import fail, note, require_compiler, require_venv, run, start
from private_server import Server, find_flavour, private_server
from suite import MAIN, OLDER, SERVERS, Run, run_all

FOLDER = ROOT / ".sqlalchemy"
TOOLS = ROOT / "tools"
DRIVER = "aiomysqlx"
RELEASES = {"2.1": MAIN, "2.0": OLDER}
BUILDS = ("cython", "python")
# What SQLAlchemy runs on each driver, where the other tests ask no server, or not of its sort.
OF_DRIVERS = "--backend-only"
PARTS = {
    "dialect": ("test/dialect/test_suite.py",),
    "mysql": ("test/dialect/mysql",),
    "engine": ("test/engine", "test/base"),
    "asyncio": ("test/ext/asyncio",),
    "orm": ("test/orm", OF_DRIVERS),
    "core": ("test/sql", OF_DRIVERS),
    "ext": ("test/ext", "--ignore=test/ext/asyncio", OF_DRIVERS),
}
IN_CI = {"only": ("dialect", "mysql"), "sqlalchemy": ("2.1",), "build": ("cython",)}
# What another driver is installed with.
BESIDE = ("PyMySQL[rsa]<1.3", "pytest", "pytest-xdist")
# Instead of SQLAlchemy's own, which list each skipped test. Two processes, with databases each.
OPTIONS = (
    *("--override-ini=addopts=", "--strict-markers", "--tb=short", "-rfEX", "--maxfail=100"),
    *("--disable-warnings", "--quiet", "--numprocesses=2", "-pno:cacheprovider", "-pno:asyncio"),
)
COUNTED = r"^.*\d (?:passed|failed|skipped|errors?)\b.* in [\d.]+s"


def main(arguments: list[str]) -> int:
    given, others = parse(arguments)
    require_venv()
    require_compiler()
    os.environ.pop("AIOMYSQLX_TEST_URL", None)  # these tests are on servers of their own
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        servers = {flavour: stack.enter_context(server_of(flavour)) for flavour in given.server}
        runs = [
            run_of(part, servers[flavour], release, build, given.driver, others)
            for release in given.sqlalchemy
            for part in given.only
            for build in given.build
            for flavour in given.server
        ]
        statuses = run_all(runs, [], Path(name))
        for number, (one, status) in enumerate(zip(runs, statuses, strict=True)):
            log = Path(name, f"{number}.log").read_text(errors="replace")
            counted = re.findall(COUNTED, log, re.M)
            said = counted[-1] if counted else "no test was run"
            note(f"{'FAILED' if status else 'passed'}: {one.title}: {said}")
    return 1 if any(statuses) else 0


def parse(arguments: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Give what is asked for, and the arguments for pytest."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices: dict[str, Iterable[str]] = {
        "only": PARTS,
        "server": SERVERS,
        "sqlalchemy": RELEASES,
        "build": BUILDS,
    }
    for name, known in choices.items():
        parser.add_argument(f"--{name}", action="append", choices=known, help="(all)")
    parser.add_argument("--driver", default=DRIVER, help=f"({DRIVER})")
    parser.add_argument("--ci", action="store_true", help="what is run for each change")
    given, others = parser.parse_known_args(arguments)
    if given.ci:
        choices.update(IN_CI)
    elif given.driver != DRIVER:
        choices["build"] = BUILDS[:1]
    for name, known in choices.items():
        setattr(given, name, getattr(given, name) or list(known))
    return given, others


def server_of(flavour: str) -> AbstractContextManager[Server]:
    """Give a private server that is yet to start, of MariaDB or MySQL."""
    if os.environ.get("AIOMYSQLX_MYSQLD") and find_flavour() != flavour:
        del os.environ["AIOMYSQLX_MYSQLD"]
    SERVERS[flavour]()
    return private_server()


def run_of(
    part: str, server: Server, release: str, build: str, driver: str, others: list[str]
) -> Run:
    """Give the run of a part."""
    environment, version = environment_of(release, driver)
    ours = driver == DRIVER
    command = (
        *(environment.program("pytest"), *OPTIONS, *PARTS[part]),
        f"--dburi={server.flavour}+{driver}{server.url().removeprefix('mysql')}?charset=utf8mb4",
        *(("-psqlalchemy_plugin",) if ours else ()),
        *others,
    )
    variables = {
        "PYTHONPATH": str(TOOLS),
        "PYTHONNOUSERSITE": "1",  # the tests take the installed SQLAlchemy then, not that beside
    }
    title = f"{part}, {server.flavour}, SQLAlchemy {version}, {build if ours else driver}"
    folder = tests_of(version)
    return Run(title, environment, build, "", (), command, variables, folder)


@functools.cache
def environment_of(release: str, driver: str) -> tuple[Environment, str]:
    """Make the environment of a driver and one of SQLAlchemy's releases, and give the version."""
    environment = RELEASES[release]
    MAIN.install()
    environment.install(MAIN.wheel)
    print_version = "import sqlalchemy; print(sqlalchemy.__version__)"
    command = [environment.program("python"), "-c", print_version]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if driver != DRIVER:
        pins = (f"SQLAlchemy[asyncio]=={version}", driver, *BESIDE)
        environment = Environment(f"{driver}-{release}", pins=pins, package=False)
        environment.install()
    return environment, version


@functools.cache
def tests_of(version: str) -> Path:
    """Fetch the source release of a version, unless it is there, and give its folder."""
    name = f"sqlalchemy-{version}"
    if not (FOLDER / name).exists():
        note(f"fetching the source release of SQLAlchemy {version} into {FOLDER.name}")
        FOLDER.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            # pip makes the metadata, with what builds this package too.
            pip = [MAIN.program("python"), "-m", "pip", "--quiet", "download", "--no-deps"]
            options = ["--no-binary=SQLAlchemy", "--no-build-isolation", f"--dest={folder}"]
            if run([*pip, *options, f"SQLAlchemy=={version}"]):
                fail(f"the source release of SQLAlchemy {version} cannot be had")
            shutil.unpack_archive(next(Path(folder).glob("*.tar.gz")), folder)
            Path(folder, name).rename(FOLDER / name)
    return FOLDER / name


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
