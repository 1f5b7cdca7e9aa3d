"""`make test`: the whole suite on every build, SQLAlchemy and Python that is supported and at hand.

`make test SERVER=mysql` runs both builds on MySQL instead. ARGS are handed to pytest, for example
`make test ARGS="-k pool --loop=uvloop"`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from debian_mysql import require_mysql
from environments import ROOT, Environment, oldest_versions
from machine import (
    fail,
    note,
    require_compiler,
    require_galera,
    require_openssl,
    require_server,
    require_venv,
    start,
)
from proxies import require_proxies
from pythons import others

MAIN = Environment(implementation="cython", extras="dev")
OLDER = Environment("sa20", implementation="cython", extras="test", pins=("SQLAlchemy<2.1",))
# What says the same in every run is in the first alone, which has tried both twins, too.
TRIED = ("-m", "not once and not twins")
# Another Python, SQLAlchemy or PyMySQL changes nothing of what the long ones look at.
SHORT = ("-m", "not once and not long")
# Two processes, with a server each: the longest run would otherwise be the last to end.
IN_TWO = () if os.environ.get("AIOMYSQLX_TEST_URL") else ("-n2", "--dist=worksteal")
# So many runs at a time keep two cores busy while some of the tests wait.
AT_ONCE = 3
# So few failures may be the busy machine's: they are told, and tried again with nothing beside.
FEW = 3
SERVERS = {"mariadb": require_server, "mysql": require_mysql}


@dataclass(frozen=True)
class Run:
    """One run of the suite, or of another program; *implementation* is its AIOMYSQLX_IMPL."""

    title: str
    environment: Environment
    implementation: str
    loop: str
    selection: tuple[str, ...] = ()
    program: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None  # where it is started, if that matters
    installing: Future[None] | None = None  # what makes its environment meanwhile

    @property
    def ready(self) -> bool:
        """Whether its environment is made; what went wrong in making it is raised."""
        making = self.installing
        return making is None or (making.done() and making.result() is None)

    def start(self, arguments: list[str], output: Path) -> subprocess.Popen[bytes]:
        """Start it; what it prints goes to a file, and what has failed beside that."""
        # The program, not `python -m pytest`, which would import the source folder.
        color = "yes" if sys.stdout.isatty() else "auto"
        options = [f"--loop={self.loop}", f"--color={color}"]
        options += ["-o", f"cache_dir={output.with_suffix('')}"]
        options += with_one_mark([*self.selection, *arguments])
        command = self.program or [self.environment.program("pytest"), *options]
        environment = {**os.environ, "AIOMYSQLX_IMPL": self.implementation, **self.variables}
        # All runs of a Python share the compiled tests, in which assert statements are rewritten.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with open(output, "wb") as file:
            return subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=file, stderr=subprocess.STDOUT
            )


def main(arguments: list[str]) -> int:
    server, arguments = chosen_server(arguments)
    require_all(server)
    # One core builds while the other tests what there is.
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as installer:
        folder = Path(name)
        try:
            runs = prepare(folder, installer) if server == "mariadb" else prepare_mysql()
            statuses = run_suite(runs, arguments, folder)
        except BaseException:
            installer.shutdown(cancel_futures=True)
            raise
    for one, status in zip(runs, statuses, strict=True):
        note(f"{'FAILED' if status else 'passed'}: {one.title}")
    return 1 if any(statuses) else 0


def require_all(server: str = "mariadb") -> None:
    """See that the machine has what the tests need with a server."""
    require_venv()
    require_compiler()
    SERVERS[server]()
    require_openssl()
    require_proxies()
    if server == "mariadb" and "AIOMYSQLX_TEST_URL" not in os.environ:
        require_galera()


def with_one_mark(options: Sequence[str]) -> list[str]:
    """Return pytest's *options* with one `-m` that says all: of several it takes the last."""
    rest, marks = list(options), []
    while "-m" in rest:
        at = rest.index("-m")
        marks.append(f"({rest[at + 1]})")
        del rest[at : at + 2]
    return [*rest, "-m", " and ".join(marks)] if marks else rest


def chosen_server(arguments: list[str]) -> tuple[str, list[str]]:
    """Give the server that `--server=` asks for, and the other arguments."""
    option = "--server="
    chosen = [text.removeprefix(option) for text in arguments if text.startswith(option)]
    server = chosen[-1] if chosen else "mariadb"
    if server not in SERVERS:
        fail(f"expected SERVER=mariadb or SERVER=mysql, got {server!r}")
    return server, [text for text in arguments if not text.startswith(option)]


def prepare_mysql() -> list[Run]:
    """Give the runs on MySQL; other environments are tried on MariaDB alone."""
    MAIN.install()
    return [
        Run("compiled build, MySQL", MAIN, "cython", "asyncio"),
        Run("compiled build, forced pure, MySQL", MAIN, "python", "uvloop", TRIED),
    ]


def prepare(folder: Path, installer: Executor) -> list[Run]:
    """Return the runs, once the first environment is made; *installer* makes the others."""
    # What is compiled for another Python is tried for what it does, not for how fast.
    elder, *newest = (
        Environment(Path(python).name, python, "cython", extras="test", cflags="-O0")
        for python in others() or [sys.executable]
    )
    # One run may differ from the first in all that there is: what fails there tells by which.
    oldest = tuple(f"{name}=={version}" for name, version in oldest_versions().items())
    elder = replace(elder, pins=oldest)
    made = {one.name: installer.submit(one.install) for one in (elder, *newest)}
    MAIN.install()
    pure = Environment("pure", implementation="python", extras="test")
    # Before the tests, one of which copies the folder that it is built in.
    made["pure"] = installer.submit(pure.install, make_sdist(folder))
    runs = [
        Run("compiled build", MAIN, "cython", "both", IN_TWO),
        Run("pure install from the sdist", pure, "", "uvloop", TRIED),
        Run(
            f"compiled build, {elder.name}, oldest dependencies", elder, "cython", "asyncio", SHORT
        ),
        *(Run(f"compiled build, {one.name}", one, "cython", "uvloop", SHORT) for one in newest),
    ]
    return [replace(run, installing=made.get(run.environment.name)) for run in runs]


def run_suite(runs: Sequence[Run], arguments: list[str], folder: Path) -> list[int]:
    """Run the suite in each way and what has failed once more; give their statuses."""
    statuses = run_all(runs, arguments, folder, AT_ONCE)
    for number, one in enumerate(runs):
        if statuses[number]:
            statuses[number] = run_failed(one, arguments, folder / f"{number}.log")
    return statuses


def run_all(runs: Sequence[Run], arguments: list[str], folder: Path, at_once: int = 2) -> list[int]:
    """Run some at a time, show what they print one after the other, give their statuses."""
    # A server at AIOMYSQLX_TEST_URL is for one at a time: all make the same database.
    if os.environ.get("AIOMYSQLX_TEST_URL"):
        at_once = 1
    started: dict[int, subprocess.Popen[bytes]] = {}
    try:
        for number, one in enumerate(runs):
            note(f"suite: {one.title}")
            output = folder / f"{number}.log"
            shown, ended = 0, False
            while not ended:
                for index, waiting in enumerate(runs):
                    going = sum(process.poll() is None for process in started.values())
                    if index not in started and going < at_once and waiting.ready:
                        started[index] = waiting.start(arguments, folder / f"{index}.log")
                ended = number in started and started[number].poll() is not None
                shown += show(output, shown) if number in started else 0
                time.sleep(0 if ended else 0.1)
        return [started[number].wait() for number in range(len(runs))]
    except BaseException:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.wait()  # it may have a server to stop
        raise


def run_failed(one: Run, arguments: list[str], output: Path) -> int:
    """Tell which tests of a run have failed; give the status of trying them alone, if few."""
    record = output.with_suffix("") / "v" / "cache" / "lastfailed"
    failed = list(json.loads(record.read_text())) if record.exists() else []
    for name in failed:
        note(f"failed: {one.title}: {name}")
    if not 0 < len(failed) <= FEW:
        return 1
    note(f"suite: {one.title}, what has failed alone")
    again = [*arguments, "-p", "no:xdist", "--last-failed", "--last-failed-no-failures=none"]
    output.rename(first_of(output))
    alone = replace(one, selection=without(one.selection, IN_TWO))
    status = alone.start(again, output).wait()
    show(output, 0)
    return status


def first_of(output: Path) -> Path:
    """Return where what a run has printed is kept if what failed in it is tried again."""
    return output.with_suffix(".first")


def without(options: tuple[str, ...], absent: tuple[str, ...]) -> tuple[str, ...]:
    """Give *options* without some of them."""
    return tuple(option for option in options if option not in absent)


def show(output: Path, start: int) -> int:
    """Print what has come into a file behind *start* and give its length."""
    with open(output, "rb") as file:
        file.seek(start)
        text = file.read()
    sys.stdout.buffer.write(text)
    sys.stdout.flush()
    return len(text)


def make_sdist(folder: Path) -> Path:
    """Build the sdist and give its path."""
    build = [MAIN.program("python"), "-m", "build", "--sdist", "--no-isolation", "--outdir"]
    subprocess.run([*build, str(folder), str(ROOT)], check=True, stdout=subprocess.DEVNULL)
    return next(folder.glob("*.tar.gz"))


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
