"""`make chaos`: a service on clusters whose nodes are killed, paused, stopped, switched, cut off.

A primary with two replicas, three nodes of Galera and three members of Group Replication, one after
the other, on loopback, in about ten minutes; with the compiled and the pure build, on asyncio and
uvloop. What each operation was told is compared with what every node has in the end.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
import tempfile
import time
from pathlib import Path

from debian_mysql import mysql_program
from machine import note, require_compiler, require_galera, require_server, require_venv, start
from private_server import ServerError
from suite import MAIN, Run, run_all

MINUTES = 10.0
# The shares of the time that what happens to each kind takes; a group takes long to notice.
SHARES = {"replicas": 0.25, "galera": 0.3, "group": 0.45}
BUILDS = (("cython", "uvloop"), ("python", "asyncio"))
SAID = r"^(?:chaos of|resident:|operations:|reads:|without service:|told|\d+ passed|FAILED).*$"


def parts(minutes: float, kinds: list[str], seed: str) -> list[Run]:
    """Give the runs, which take so many minutes together."""
    total = sum(SHARES[kind] for kind in kinds)
    runs = []
    for kind in kinds:
        seconds = 60 * minutes * SHARES[kind] / total / len(BUILDS)
        variables = {"AIOMYSQLX_CHAOS_SECONDS": f"{seconds:.0f}", "AIOMYSQLX_CHAOS_SEED": seed}
        if kind == "group":
            variables["AIOMYSQLX_MYSQLD"] = shlex.join(mysql_program())
        for build, loop in BUILDS:
            title = f"{kind}: {'compiled' if build == 'cython' else 'pure'}, {loop}"
            selection = ("--quiet", "tests/server/test_chaos.py", "-k", kind)
            runs.append(Run(title, MAIN, build, loop, selection, variables=variables))
    return runs


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="in all, about (10)")
    parser.add_argument("--seed", default="", help="what faults are chosen by; else by chance")
    parser.add_argument("kinds", nargs="*", help=f"some of {', '.join(SHARES)}")
    given = parser.parse_args(arguments)
    kinds = given.kinds or list(SHARES)
    if not set(kinds) <= SHARES.keys():
        parser.error(f"expected some of {', '.join(SHARES)}, got {' '.join(kinds)}")
    require_venv()
    require_compiler()
    require_server()
    require_galera()
    MAIN.install()
    began = time.monotonic()
    try:
        runs = parts(given.minutes, kinds, given.seed)
    except ServerError as error:
        note(str(error))
        return 1
    with tempfile.TemporaryDirectory() as folder:
        # One at a time: what a fault costs is measured.
        statuses = run_all(runs, [], Path(folder), at_once=1)
        logs = [Path(folder, f"{number}.log").read_text() for number in range(len(runs))]
    note(f"chaos for {(time.monotonic() - began) / 60:.1f} minutes")
    for one, status, log in zip(runs, statuses, logs, strict=True):
        note(f"{'FAILED' if status else 'passed'}: {one.title}")
        for found in re.finditer(SAID, log, re.M):
            note(f"    {found.group()}")
    return 1 if any(statuses) else 0


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
