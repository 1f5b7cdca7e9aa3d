"""`make mutants`: change one operator, constant or statement at a time, and see a test notice.

Without more, it tries the twins: each against the other and against what their tests expect.
`make mutants ARGS="--only pool"` tries what needs a server, seconds for each change: take a sample.
What was found is kept in `.mutants` until the function changes, or a test for what has survived.
`equivalents.py` has the reasons for those that no test can notice, or need not.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from environments import ROOT
from equivalents import KNOWN
from machine import (
    fail,
    note,
    require_compiler,
    require_openssl,
    require_server,
    require_venv,
    start,
)
from mutations import Mutant, Source
from suite import MAIN

WORK = ROOT / ".mutants"
AT_ONCE = min(2, os.cpu_count() or 1)
# Tests with these fixtures start a server of their own, again for each mutant.
LEFT_OUT = ("own_server", "mortal")
PYTEST = ("-p", "mutant_runs", "-p", "no:cacheprovider", "-p", "no:faulthandler", "--capture=no")
VERDICTS = ("killed", "survived", "equivalent", "not compiled", "not tried")
Case = tuple[str, float, float]


@dataclass(frozen=True)
class Target:
    """Sources, and the tests that hold them."""

    sources: tuple[str, ...]
    tests: tuple[str, ...]  # names of their files, or a room of them: `pool/*`
    needs_server: bool = False
    functions: str = ""  # a pattern of their names and those of the functions to try

    def test_files(self) -> list[Path]:
        patterns = [name if "/" in name else f"*/test_{name}" for name in self.tests]
        return sorted({path for name in patterns for path in ROOT.glob(f"tests/{name}.py")})


TWINS = {
    "binary": Target(("wire/_binary_py.py", "wire/_binary_cy.pyx"), ("binary*",)),
    "escape": Target(("wire/_escape_py.py", "wire/_escape_cy.pyx"), ("escape*",)),
    "packet": Target(
        ("wire/_packet_py.py", "wire/_packet_cy.pyx", "wire/packets.py"), ("packet*", "fuzz")
    ),
    "row": Target(("wire/_row_py.py", "wire/_row_cy.pyx"), ("rows*",)),
}
TRANSACTION_TESTS = (
    *("transactions", "endings", "fates", "twophase", "aftermath", "connection"),
    *("ownership", "kill", "retirement", "timeouts", "lifetimes", "isolation", "tracking"),
    *("reconnect", "bars", "hooks", "way_back", "turns"),
)
TARGETS = {
    **TWINS,
    "charset": Target(
        ("wire/charset.py",), ("escape*",), functions="is_utf8|keeps_quotes|reads_as|_harmless"
    ),
    "pool": Target(
        (
            *("pool/pool.py", "pool/stock.py", "pool/supply.py", "pool/holdings.py"),
            *("pool/home.py", "pool/waiters.py", "pool/stats.py", "upkeep.py", "hooks.py"),
        ),
        (
            *("pool/*", "pool_machine", "leaks", "lifetimes", "reconnect", "not_connected"),
            *("aftermath", "docs"),
        ),
        True,
    ),
    "transaction": Target(
        ("transaction.py", "begin.py", "blocks.py", "xa.py"),
        TRANSACTION_TESTS,
        True,
    ),
    "connection": Target(
        ("connection.py", "sending.py"),
        TRANSACTION_TESTS,
        True,
        r"begin|prepared|twophase|transaction|_open|_blocks|_detach|_give_|close|invalidate",
    ),
    "protocol": Target(
        (
            *("wire/protocol.py", "wire/session_state.py"),
            *("wire/claims.py", "wire/stopping.py", "wire/dialogue.py"),
            *("wire/standing.py", "wire/closing.py", "wire/session.py"),
            *("wire/reply.py", "wire/outcome.py"),
        ),
        (
            *(
                "answers",
                "protocol",
                "session",
                "reply",
                "hostile_servers",
                "cancellation",
                "faults",
            ),
            *(
                "collations",
                "endings",
                "way_back",
                "kill",
                "timeouts",
                "driver",
                "injection",
                "turns",
            ),
            *("lifetimes", "infile", "users_code", "loop_end", "ownership", "tracking", "bars"),
            *("server_errors", "refusals", "fates", "docs"),
        ),
        True,
    ),
    "handshake": Target(
        ("wire/login.py", "wire/greeting.py", "wire/auth.py"),
        (
            *("auth*", "greeting", "handshake", "security", "driver", "fuzz", "hostile_servers"),
            *("collations", "arguments", "lifetimes", "timeouts"),
        ),
        True,
    ),
    "keys": Target(("wire/ed25519.py",), ("auth*", "handshake", "security"), True),
    "session": Target(
        ("wire/kept.py", "wire/command.py"),
        (
            *("way_back", "hooks", "pool", "collations", "aftermath", "driver", "tracking"),
            *("isolation", "session", "bars", "endings", "turns", "cancellation"),
        ),
        True,
    ),
}


@dataclass(frozen=True)
class Settings:
    """How a run goes."""

    programs: Path  # the folder of the environment's programs
    until: float
    seconds: float
    sample: int
    seed: int


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(TWINS), help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--minutes", type=float, default=60, help="at most, about (60)")
    parser.add_argument("--sample", type=int, default=0, help="of each source, so many mutants")
    parser.add_argument("--seed", type=int, default=0, help="which those are, and in what order")
    parser.add_argument("--seconds", type=float, default=60, help="of tests for a mutant, at most")
    parser.add_argument("--here", action="store_true", help="in the environment of this Python")
    given = parser.parse_args(arguments)
    chosen = given.only.split(",")
    if unknown := {*chosen} - {*TARGETS}:
        fail(f"expected some of {', '.join(TARGETS)}, got {', '.join(sorted(unknown))}")
    require_compiler()
    if any(TARGETS[name].needs_server for name in chosen):
        require_server()
        require_openssl()
    programs = Path(sys.executable).parent
    if not given.here:
        require_venv()
        MAIN.install()
        programs = MAIN.folder / "bin"
    until = time.time() + 60 * given.minutes
    settings = Settings(programs, until, given.seconds, given.sample, given.seed)
    targets = [TARGETS[name] for name in chosen]
    trials = [
        Trial(name, target.test_files(), settings, target.functions)
        for target in targets
        for name in target.sources
    ]
    for trial in trials:
        trial.run_together()
    for trial in trials:
        trial.run_alone()
    show(trials)
    return 1 if any(trial.survivors for trial in trials) else 0


def show(trials: list[Trial]) -> None:
    """Print what became of all."""
    for trial in trials:
        for mutant in trial.survivors:
            note(f"survived: {described(trial.name, mutant)}")
        for known in trial.stale:
            note(f"a reason without a mutant: {known.source} {known.function}: {known.code}")
    print(f"{'':18}", *(f"{verdict:>13}" for verdict in VERDICTS))
    for trial in trials:
        counts = trial.counts()
        print(f"{trial.name:18}", *(f"{counts[verdict]:>13}" for verdict in VERDICTS))


class Trial:
    """All that is tried of one source."""

    def __init__(
        self, name: str, tests: list[Path], settings: Settings, functions: str = ""
    ) -> None:
        self.name = name
        self.label = name.replace("/", ".")
        self.tests = tests
        self.settings = settings
        self.path = ROOT / "aiomysqlx" / name
        # Twins say the same. What others say may be worded anew.
        is_twin = any(name in target.sources for target in TWINS.values())
        self.source = Source(self.path.suffix, self.path.read_text(), messages=is_twin)
        mutants, reasons = self.source.mutants, [known for known in KNOWN if known.source == name]
        self.known = [
            mutant for mutant in mutants if any(known.covers(mutant) for known in reasons)
        ]
        self.stale = [
            known for known in reasons if not any(known.covers(mutant) for mutant in self.known)
        ]
        others = [
            mutant
            for mutant in mutants
            if mutant not in self.known and re.search(functions, f"{name} {mutant.function}")
        ]
        random.Random(settings.seed).shuffle(others)
        self.mutants = others[: settings.sample or None]
        self.cases: list[Case] = []
        self.without: set[int] = set()  # what one build for all does not serve
        self.functions = {
            name: digest_of("\n".join(codes)) for name, codes in self.source.functions.items()
        }
        self.tested = f"{digest(tests)}, for {settings.seconds} seconds"
        self.results = self.remembered()
        self._remembering = Lock()

    @property
    def survivors(self) -> list[Mutant]:
        return [mutant for mutant in self.mutants if self.verdict(mutant) == "survived"]

    def counts(self) -> Counter[str]:
        return Counter(
            [*map(self.verdict, self.mutants), *("equivalent" for _ in self.known)],
        )

    def verdict(self, mutant: Mutant) -> str:
        if mutant.key not in self.results:
            return "not tried"
        killer = self.results[mutant.key]
        if killer is None:
            return "survived"
        return "not compiled" if killer == "compiling" else "killed"

    # -- what earlier runs found -----------------------------------------------------------------

    @property
    def record(self) -> Path:
        return WORK / f"{self.label}.json"

    def remembered(self) -> dict[str, str | None]:
        """Give what an earlier run found that still holds, by the mutants' keys."""
        try:
            record = json.loads(self.record.read_text())
        except FileNotFoundError:
            return {}
        return {
            key: killer
            for key, killer in record["results"].items()
            if record["functions"].get(name := key.split(": ")[0]) == self.functions.get(name)
            and (killer is not None or record["tests"] == self.tested)
        }

    def keep(self, mutant: Mutant, killer: str | None) -> None:
        with self._remembering:
            self.results[mutant.key] = killer
            if killer is None:
                note(f"survived: {described(self.name, mutant)}")
            WORK.mkdir(exist_ok=True)
            record = {"functions": self.functions, "tests": self.tested, "results": self.results}
            self.record.write_text(json.dumps(record, indent=1))

    @property
    def unchanged(self) -> Path:
        return WORK / f"{self.label}.unchanged.json"

    def remembered_unchanged(self, text: str) -> list[dict[str, Any]]:
        """Give what the tests do without a change, but for those of files that have changed."""
        try:
            record = json.loads(self.unchanged.read_text())
        except FileNotFoundError:
            return []
        if record["text"] != digest_of(text):
            return []
        digests = self.digests_of_tests()
        return [
            case
            for case in record["cases"]
            if record["tests"].get(path := case["case"].split("::")[0]) == digests.get(path)
        ]

    def keep_unchanged(self, text: str, cases: list[dict[str, Any]]) -> None:
        WORK.mkdir(exist_ok=True)
        record = {"text": digest_of(text), "tests": self.digests_of_tests(), "cases": cases}
        self.unchanged.write_text(json.dumps(record))

    def digests_of_tests(self) -> dict[str, str]:
        """Give the digest of each test file, with what it shares with others."""
        shared = [ROOT / "tests/conftest.py", *ROOT.glob("tests/support/*.py")]
        return {
            str(path.relative_to(ROOT)): digest([path, *sorted(shared)])
            for path in self.tests
            if path.is_relative_to(ROOT)
        }

    # -- trying ----------------------------------------------------------------------------------

    def run_together(self) -> None:
        """Try those that one build serves."""
        waiting = self.waiting()
        note(f"mutants: {self.name}, {len(waiting)} of {len(self.source.mutants)} to try")
        if waiting and time.time() < self.settings.until:
            with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
                self.without = self.try_together(
                    [mutant for mutant in waiting if not mutant.alone], Path(folder)
                )

    def run_alone(self) -> None:
        """Try those that take a build, and a run of pytest, each."""
        waiting = self.waiting()
        alone = [mutant for mutant in waiting if mutant.alone or mutant.number in self.without]
        if alone and self.cases:
            note(f"mutants: {self.name}, {len(alone)} alone")
            with (
                tempfile.TemporaryDirectory(prefix="mutants-") as folder,
                ThreadPoolExecutor(AT_ONCE) as pool,
            ):
                folders = [Path(folder, str(mutant.number)) for mutant in alone]
                list(pool.map(self.try_alone, alone, folders))

    def waiting(self) -> list[Mutant]:
        return [mutant for mutant in self.mutants if mutant.key not in self.results]

    def try_together(self, mutants: list[Mutant], folder: Path) -> set[int]:
        """Try those that one build serves; give those that it does not serve."""
        package = self.copy_package(folder)
        without: set[int] = set()
        while True:
            text, lines = self.source.switched(without)
            (package / self.name).write_text(text)
            errors = self.build(package)
            if not errors:
                break
            if not errors & {*lines}:
                fail(f"{self.name} with its mutants does not compile: lines {sorted(errors)}")
            without |= {lines[line] for line in errors if line in lines}
        groups = self.source.groups(without)
        numbered = {mutant.number: mutant for mutant in mutants if mutant.number not in without}
        asked = [(number, groups[number], one.function) for number, one in numbered.items()]
        unchanged: list[dict[str, Any]] = []
        for result in self.pytest(folder, asked, None, self.remembered_unchanged(text)):
            if "mutant" in result and unchanged:
                self.keep_unchanged(text, unchanged)
                unchanged = []
            if result.get("alone"):
                without.add(result["mutant"])
            elif "mutant" in result:
                self.keep(numbered[result["mutant"]], result["killed"])
            elif result["failed"]:
                note(f"left out, for it fails without any change: {result['case']}")
            else:
                unchanged.append(result)
                self.cases.append((result["case"], result["seconds"], result["cpu"]))
        if not self.cases:
            fail(f"the tests of {self.name} do not run: {(folder / 'log').read_text()[-2000:]}")
        self.cases.sort(key=lambda case: case[1])
        return without

    def try_alone(self, mutant: Mutant, folder: Path) -> None:
        """Try one that takes a build of its own."""
        if time.time() > self.settings.until:
            return
        package = self.copy_package(folder)
        (package / self.name).write_text(self.source.changed(mutant))
        if self.build(package):
            self.keep(mutant, "compiling")
        else:
            results = [*self.pytest(folder, [], self.cases)]
            self.keep(mutant, results[0]["killed"] if results else "importing")
        shutil.rmtree(folder)

    def copy_package(self, folder: Path) -> Path:
        """Copy the package into *folder*: as it is installed, or with all that it is built of."""
        if self.path.suffix == ".pyx":
            shutil.copytree(self.built_sources(), folder, dirs_exist_ok=True)
            return folder / "aiomysqlx"
        command = [self.program("python"), "-c", "import aiomysqlx; print(aiomysqlx.__path__[0])"]
        installed = subprocess.check_output(command, text=True, cwd=WORK.anchor).strip()
        package = folder / "aiomysqlx"
        shutil.copytree(installed, package, ignore=shutil.ignore_patterns("__pycache__"))
        return package

    def built_sources(self) -> Path:
        """Build the package as it is, if that has not been done; give the folder, to be copied."""
        folder = WORK / "built"
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder)
        ignored = shutil.ignore_patterns("__pycache__", "*.so")
        shutil.copytree(
            ROOT / "aiomysqlx", folder / "aiomysqlx", ignore=ignored, dirs_exist_ok=True
        )
        done = self.build_in(folder)
        if done.returncode:
            fail(f"the package does not compile: {done.stderr[-2000:]}")
        return folder

    def build_in(self, folder: Path) -> subprocess.CompletedProcess[str]:
        """Compile what has changed in a folder, and link it with the rest."""
        command = [self.program("python"), "setup.py", "-q", "build_ext", "--inplace"]
        variables = {**os.environ, "AIOMYSQLX_IMPL": "cython", "CFLAGS": "-O0 -w"}
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)

    def build(self, package: Path) -> set[int]:
        """Compile the source where that is needed; give the lines that do not compile."""
        if self.path.suffix == ".py":
            return set()
        done = self.build_in(package.parent)
        if not done.returncode:
            return set()
        return {int(line) for line in re.findall(r"^\S+\.pyx:(\d+):", done.stderr, re.M)} or {0}

    def pytest(
        self,
        folder: Path,
        mutants: list[tuple[int, int, str]],
        cases: list[Case] | None,
        unchanged: list[dict[str, Any]] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Run pytest with the plugin on the package in *folder*, and give what it tells."""
        job, results = folder / "job.json", folder / "results"
        results.touch()
        wanted = {
            "module": ".".join(("aiomysqlx", *Path(self.name).with_suffix("").parts)),
            "mutants": mutants,
            "cases": cases,
            "unchanged": unchanged or [],
            "left_out": LEFT_OUT,
            "at_once": AT_ONCE if cases is None else 1,
            "seconds": self.settings.seconds,
            "until": self.settings.until,
            "results": str(results),
        }
        job.write_text(json.dumps(wanted))
        command = [self.program("pytest"), *PYTEST, *map(str, self.tests)]
        variables = {
            "AIOMYSQLX_MUTANTS": str(job),
            "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT / "tools"))),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with open(folder / "log", "w") as log, open(results) as lines:
            process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                ended = False
                while not ended:
                    ended = process.poll() is not None
                    yield from map(json.loads, lines)
                    time.sleep(0 if ended else 0.05)
            finally:
                process.terminate()
                process.wait()  # it may have servers to stop

    def program(self, name: str) -> str:
        return str(self.settings.programs / name)


def described(name: str, mutant: Mutant) -> str:
    return f"aiomysqlx/{name}:{mutant.line} {mutant.function}: `{mutant.code}`: {mutant.change}"


def digest_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in paths:
        total.update(path.read_bytes())
    return total.hexdigest()


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
