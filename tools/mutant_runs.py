"""A pytest plugin for `mutants.py`: the tests are collected once, and a child is forked per mutant.

What it is to do comes in the JSON file that AIOMYSQLX_MUTANTS names, and what it finds goes to
another, a line for each. First a child runs every test on the unchanged code, which tells what each
test reaches and takes. A mutant is then tried by the tests that reach it, the quick ones first.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import hypothesis
import private_server
import pytest
from _pytest.runner import runtestprotocol
from _pytest.warnings import catch_warnings_for_item
from leftovers import end_what_is_left

JOB: dict[str, Any] = json.loads(Path(os.environ["AIOMYSQLX_MUTANTS"]).read_text())
# A test may take so many times what it takes on the unchanged code, and some seconds: few of the
# processor's time, and more by the clock, for there may be a load.
PATIENCE = 5
CPU_SECONDS = 2
SECONDS = 20
MOST_MEMORY = 3 << 30

hypothesis.settings.register_profile(
    "mutants",
    # What fails need not be shrunk, and all mutants are tried with the same examples.
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    database=None,
    derandomize=True,
    deadline=None,
)
hypothesis.settings.load_profile("mutants")

_servers: list[private_server.Server] = []
_slot = 0


@contextlib.contextmanager
def server_of_the_slot(**_options: Any) -> Iterator[private_server.Server]:
    """Give the server that no other child uses at the moment, started before the fork."""
    yield _servers[_slot]


start_server = private_server.database_server
private_server.database_server = server_of_the_slot  # which conftest.py imports after this


@dataclass(frozen=True)
class Case:
    """A test that passes on the unchanged code, what it takes, and where it gets to."""

    item: pytest.Item
    seconds: float
    cpu: float
    reached: frozenset[int]


@dataclass(frozen=True)
class Child:
    """A forked child, which says by a pipe what has failed."""

    pid: int
    pipe: int
    slot: int
    mutant: int
    function: str


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool:
    with contextlib.ExitStack() as stack:
        results = stack.enter_context(open(JOB["results"], "a"))
        if session.testsfailed:  # to be collected
            if JOB["cases"] is not None:
                print(json.dumps({"mutant": 0, "killed": "collecting the tests"}), file=results)
            return True
        items = [item for item in session.items if not names(item) & {*JOB["left_out"]}]
        if any("server" in names(item) for item in items):
            for _ in range(JOB["at_once"]):
                _servers.append(stack.enter_context(start_server(tls=True)))
        runner = Runner(items, lambda result: print(json.dumps(result), file=results, flush=True))
        stack.callback(runner.stop)
        if JOB["cases"] is None:
            runner.try_unchanged()
            runner.try_mutants()
        else:
            runner.try_this()
    return True


def names(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))


class Runner:
    """Tries the mutants that it was asked for."""

    def __init__(self, items: list[pytest.Item], tell: Callable[[dict[str, Any]], None]) -> None:
        self.items = items
        self.tell = tell
        self.module = importlib.import_module(JOB["module"])
        reached = [] if JOB["cases"] is not None else self.module._take_reached()
        self.at_import = frozenset(reached)
        # The collector, which tests call, is not to look at all of this in every child.
        gc.collect()
        gc.freeze()
        self.cases: list[Case] = []
        self.killers: dict[str, list[Case]] = defaultdict(list)
        self.children: list[Child] = []

    def try_unchanged(self) -> None:
        """Run every test once that has not been run yet, to keep those that pass."""
        by_id = {item.nodeid: item for item in self.items}
        known = [case for case in JOB["unchanged"] if case["case"] in by_id]
        names = {case["case"] for case in known}
        items = [item for item in self.items if item.nodeid not in names]
        pid, pipe = self.fork(0, 0, lambda out: self.run_all(items, out))
        try:
            with open(pipe) as lines:
                for case in (*known, *map(json.loads, lines)):
                    self.tell(case)
                    if not case["failed"]:
                        reached = frozenset(case["reached"])
                        item = by_id[case["case"]]
                        self.cases.append(Case(item, case["seconds"], case["cpu"], reached))
        finally:
            os.killpg(pid, signal.SIGKILL)  # with what it has started
            os.waitpid(pid, 0)
        self.cases.sort(key=lambda case: case.seconds)

    def run_all(self, items: list[pytest.Item], out: int) -> None:
        for item, following in pairwise([*items, None]):
            assert item is not None
            started, cpu = time.monotonic(), time.process_time()
            failed = fails(item, following)
            case = {
                "case": item.nodeid,
                "failed": failed,
                "seconds": round(time.monotonic() - started, 4),
                "cpu": round(time.process_time() - cpu, 4),
                "reached": self.module._take_reached(),
            }
            with open(out, "w", closefd=False) as file:
                print(json.dumps(case), file=file)

    def try_mutants(self) -> None:
        waiting = list(reversed(JOB["mutants"]))
        while waiting or self.children:
            free = {*range(JOB["at_once"])} - {child.slot for child in self.children}
            if free and waiting and time.time() < JOB["until"]:
                self.begin(free.pop(), *waiting.pop())
            elif not self.children:
                return
            else:
                self.look_after()

    def begin(self, slot: int, mutant: int, group: int, function: str) -> None:
        reaching = [case for case in self.cases if group in case.reached]
        if not reaching:
            # What runs while the module is imported has been run unchanged.
            self.tell({"mutant": mutant, "killed": None, "alone": group in self.at_import})
            return
        known = [case for case in reversed(self.killers[function]) if group in case.reached]
        cases = list({id(case): case for case in [*known, *reaching]}.values())
        self.start(slot, mutant, function, cases)

    def try_this(self) -> None:
        """Try the module as it is with the tests that are given."""
        by_id = {item.nodeid: item for item in self.items}
        cases = [
            Case(by_id[name], seconds, cpu, frozenset()) for name, seconds, cpu in JOB["cases"]
        ]
        self.start(0, 0, "", cases)
        while self.children:
            self.look_after()

    def start(self, slot: int, mutant: int, function: str, cases: list[Case]) -> None:
        total = 0.0
        chosen: list[Case] = []
        for case in cases:
            total += case.seconds
            if total > JOB["seconds"] and chosen:
                break
            chosen.append(case)

        def run(out: int) -> None:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, MOST_MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            items = [*(case.item for case in chosen[1:]), None]
            for case, following in zip(chosen, items, strict=True):
                limit = int(time.process_time() + PATIENCE * case.cpu) + CPU_SECONDS
                resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
                # Not pytest-timeout, which has a hook of a protocol that is not followed here.
                signal.setitimer(signal.ITIMER_REAL, PATIENCE * case.seconds + SECONDS)
                if fails(case.item, following):
                    os.write(out, case.item.nodeid.encode())
                    return
            os.write(out, b"nothing")

        pid, pipe = self.fork(slot, mutant, run)
        self.children.append(Child(pid, pipe, slot, mutant, function))

    def look_after(self) -> None:
        """See which children have ended."""
        time.sleep(0.002)
        for child in [*self.children]:
            ended, status = os.waitpid(child.pid, os.WNOHANG)
            if not ended:
                continue
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)  # what it has started
            self.children.remove(child)
            if _servers:
                end_what_is_left(_servers[child.slot])
            with open(child.pipe, "rb") as pipe:
                said = pipe.read().decode()
            number = os.waitstatus_to_exitcode(status)
            if number in (-signal.SIGXCPU, -signal.SIGALRM):
                said = "time"
            elif number:
                said = said or (f"signal {-number}" if number < 0 else f"status {number}")
            killed = None if said == "nothing" else said
            by = next((case for case in self.cases if case.item.nodeid == said), None)
            if by is not None:
                self.killers[child.function].append(by)
            self.tell({"mutant": child.mutant, "killed": killed, "alone": False})

    def stop(self) -> None:
        """End the children that are left when this is cut off."""
        for child in self.children:
            os.killpg(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)

    def fork(self, slot: int, mutant: int, run: Callable[[int], None]) -> tuple[int, int]:
        global _slot
        reading, writing = os.pipe()
        pid = os.fork()
        if pid:
            os.close(writing)
            return pid, reading
        status = 1
        try:
            os.setpgid(0, 0)
            nowhere = os.open(os.devnull, os.O_RDWR)
            for number in range(3):
                os.dup2(nowhere, number)
            _slot = slot
            os.environ["AIOMYSQLX_MUTANT"] = str(mutant)
            if JOB["cases"] is None:
                self.module._choose_mutant(mutant)
            run(writing)
            status = 0
        finally:
            os._exit(status)


def fails(item: pytest.Item, following: pytest.Item | None) -> bool:
    # As pytest does: a warning is an error, but where a test takes it for none.
    with catch_warnings_for_item(item.config, item.ihook, when="runtest", item=item):
        reports = runtestprotocol(item, log=False, nextitem=following)
    return any(report.failed for report in reports)
