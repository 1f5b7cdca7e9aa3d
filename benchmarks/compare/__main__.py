"""`make compare`: aiomysqlx beside the other ways from asyncio to MySQL, and its goals.

Every contender works in processes of its own, the same for each, on a private server or the one at
AIOMYSQLX_TEST_URL. In a round, each workload is run by one contender after the other, several times
over, so that whatever else the machine does falls on all alike; the next round starts new
processes. Printed are medians and quartiles of all rounds, and medians of the ratios of runs that
followed one another. The goals are about stock asyncio on the first server.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

import pages
from contenders import CONTENDERS, ENGINE, NATIVE, members
from environments import ROOT
from machine import fail, note, require_compiler, require_server, require_venv, run, start
from peers import ENVIRONMENT, OLD_ENVIRONMENT, python_of
from private_server import Server, ServerError, database_server, server_at
from report import (
    COMPILED,
    IMPORTS,
    MEMORY,
    OURS,
    WORKLOADS,
    Key,
    Results,
    goal_table,
    workload_table,
)

FOLDER = ROOT / "benchmarks" / "compare"

BUSY = 0.5
LOOPS = ("asyncio", "uvloop")
SECTIONS = {NATIVE: "each library by itself", ENGINE: "each driver under AsyncEngine"}
NEW = "all but aiomysql.sa"
FILLER = "asyncmy, text"  # any bare cursor will do
TIME_OF_IMPORT = """
import sqlalchemy, aiomysql, json, time
cpu, wall = time.process_time(), time.perf_counter()
{statement}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps(dict(cpu=cpu * 1e3, wall=wall * 1e3)))
"""


@dataclass
class Plan:
    """What is measured how often."""

    rounds: int
    repeats: int
    loops: tuple[str, ...]
    imports: int
    sections: tuple[str, ...]
    results: Results = field(default_factory=Results)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)


class Child:
    """A process that measures a contender."""

    def __init__(self, name: str, loop: str, url: str) -> None:
        entry = CONTENDERS[name]
        self.name = name
        self.process = subprocess.Popen(
            [python_of(name), str(FOLDER / "child.py"), name, loop, url],
            env={**os.environ, "AIOMYSQLX_IMPL": entry.implementation},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for this process, which ends the others
        )

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            fail(f"{self.name} ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, request: str) -> dict[str, float]:
        assert self.process.stdin
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            print(request, file=self.process.stdin, flush=True)
        return self.receive()

    def close(self) -> None:
        """Let the process close its connections and end."""
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def children(names: list[str], loop: str, server: Server) -> Iterator[list[Child]]:
    """Give connected processes of these contenders."""
    started: list[Child] = []
    try:
        for name in names:
            started.append(Child(name, loop, server.url()))
        yield started
        for child in started:
            child.close()
    finally:
        for child in started:
            child.kill()


def label(server: Server) -> str:
    """Give what tells a server from the others, the same in each run."""
    return server.version if server.private else f"{server.version} at {server.host}:{server.port}"


def measure(plan: Plan, servers: list[Server]) -> None:
    load = os.getloadavg()[0]
    if load > BUSY:
        note(f"the machine is busy, its load is {load:.1f}: the figures will scatter")
    for number in range(plan.rounds):
        for server in servers:
            for loop in plan.loops:
                for section in plan.sections:
                    note(f"round {number + 1} of {plan.rounds}: {section}, {loop}, {label(server)}")
                    measure_times(plan, server, loop, members(section))
        if NATIVE in plan.sections:
            measure_memory(plan, servers[0])
    if NATIVE in plan.sections:
        measure_import(plan, servers[0])


def measure_times(plan: Plan, server: Server, loop: str, names: list[str]) -> None:
    """Run every workload by every contender, in turn, once to warm up and then for the record."""
    with children(names, loop, server) as contenders:
        for child in contenders:
            whose = child.name if CONTENDERS[child.name].old else NEW
            plan.versions.setdefault(whose, child.receive()["versions"])
        for workload in WORKLOADS:
            able = [each for each in contenders if hasattr(CONTENDERS[each.name].kind, workload)]
            for repeat in range(plan.repeats + 1):
                for child in (*able[repeat:], *able[:repeat]):
                    figures = child.ask(workload)
                    if repeat:
                        plan.results.add(Key(label(server), loop, workload, child.name), figures)


def measure_memory(plan: Plan, server: Server) -> None:
    """Measure each contender in a process that has done nothing else."""
    for name in members(NATIVE):
        with children([name], LOOPS[0], server) as (child,):
            child.receive()
            key = Key(label(server), LOOPS[0], MEMORY, name)
            plan.results.add(key, child.ask(MEMORY))


def measure_import(plan: Plan, server: Server) -> None:
    for _ in range(plan.imports):
        for name in OURS:
            environment = {**os.environ, "AIOMYSQLX_IMPL": CONTENDERS[name].implementation}
            for workload, statement in IMPORTS.items():
                program = TIME_OF_IMPORT.format(statement=statement)
                command = [python_of(name), "-c", program]
                times = json.loads(subprocess.check_output(command, env=environment, cwd="/"))
                plan.results.add(Key(label(server), LOOPS[0], workload, name), times)


@contextlib.contextmanager
def tables(servers: list[Server]) -> Iterator[None]:
    """Make the tables on each server, and drop them at the end."""
    try:
        for server in servers:
            order(server, "create")
        yield
    finally:
        for server in servers:
            order(server, "drop")


def order(server: Server, request: str) -> None:
    with children([FILLER], LOOPS[0], server) as (child,):
        child.receive()
        child.ask(request)


def print_results(plan: Plan) -> None:
    heading: tuple[str, ...] = ()
    for server, loop, section, workload in plan.results.tables():
        if heading != (server, loop, section):
            heading = (server, loop, section)
            where = f"{SECTIONS[section]}, {loop} on {server}"
            print(f"\n{where}: medians, and what compiled aiomysqlx takes of each")
        print("", *workload_table(plan.results, server, loop, section, workload), sep="\n")


def save(plan: Plan, servers: list[Server], target: Path) -> None:
    """Write all that was found as JSON, and draw it beside."""
    verdicts = plan.results.verdicts(label(servers[0]), LOOPS[0])
    document = {
        "rounds": plan.rounds,
        "repeats": plan.repeats,
        "machine": machine(),
        "versions": plan.versions,
        "goals": [{**each.goal._asdict(), "found": each.found} for each in verdicts],
        "figures": plan.results.summary(),
    }
    target.parent.mkdir(exist_ok=True)
    target.write_text(as_lines(document))
    if NATIVE not in plan.sections:
        note(f"written: {target}")
        return
    picture = target.with_suffix(".svg")
    chart = [python_of(COMPILED), str(FOLDER / "chart.py"), str(target), str(picture)]
    if run(chart):
        fail("the chart could not be drawn")
    note(f"written: {target} and {picture.name}")


def as_lines(document: dict[str, Any]) -> str:
    """Give JSON with a line for each item, for differences that can be read."""
    parts = []
    for name, value in document.items():
        text = json.dumps(value)
        if isinstance(value, list):
            text = "[\n  " + ",\n  ".join(map(json.dumps, value)) + "\n ]"
        parts.append(f"{json.dumps(name)}: {text}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "architecture": platform.machine(),
        "system": platform.system(),
    }


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    require_venv()
    require_compiler()
    require_server()
    with ThreadPoolExecutor(2) as pool:
        for made in [pool.submit(each.install) for each in (ENVIRONMENT, OLD_ENVIRONMENT)]:
            made.result()
    sections = (options.only,) if options.only else (NATIVE, ENGINE)
    plan = Plan(options.rounds, 4, LOOPS, 21, sections)
    if options.quick:
        plan = Plan(1, 1, LOOPS[:1], 3, sections)
    try:
        with database_server() as private:
            servers = [private, *map(server_at, options.also)]
            with tables(servers):
                measure(plan, servers)
    except ServerError as error:
        fail(str(error))
    conclude(plan, servers, options)
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make compare ARGS=…", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how many (3)")
    parser.add_argument(
        "--also", action="append", default=[], metavar="URL", help="measure on this server too"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="try it all, on asyncio alone: too short to say anything, the goals do not count",
    )
    parser.add_argument(
        "--only",
        choices=list(SECTIONS),
        help="measure the libraries by themselves, or the drivers under SQLAlchemy's AsyncEngine",
    )
    return parser.parse_args(arguments)


def conclude(plan: Plan, servers: list[Server], options: argparse.Namespace) -> None:
    print_results(plan)
    print(f"\nversions, on {os.cpu_count()} cores:")
    for name, versions in plan.versions.items():
        print(f"  {name}: {', '.join(' '.join(pair) for pair in versions.items())}")
    verdicts = plan.results.verdicts(label(servers[0]), LOOPS[0])
    print("\ngoals:", *goal_table(verdicts), sep="\n")
    target = pages.RESULTS
    if options.quick or options.only:
        target = ROOT / "build" / f"{'quick' if options.quick else options.only}.json"
    save(plan, servers, target)
    if target == pages.RESULTS:
        pages.write()
        note(f"written: {', '.join(pages.PAGES)}")
    missed = [each for each in verdicts if not each.reached]
    note(f"{len(missed)} of {len(verdicts)} goals missed" if missed else "every goal reached")


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
