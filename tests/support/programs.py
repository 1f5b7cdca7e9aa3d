"""Programs that run in processes of their own, forked from a Python that has imported what is slow.

A new Python takes half a second of the processor to import what they need; a fork of one that has
done so starts at once, and ends as a new one does.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiomysqlx

# The parent is told what to run, a line each, and answers with the exit status. A child leaves the
# loop, for it is to run at the top level of the main module, as a program does.
PARENT = """\
import contextlib, gc, json, os, signal, sys

for _line in sys.stdin:
    _given = json.loads(_line)
    if not (_child := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(_child, 0)[1]), flush=True)
for _name, _number in (("in", 0), ("out", 1), ("err", 2)):
    _file = os.open(_given[_name], os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(_file, _number)
    os.close(_file)
sys.argv[1:] = _given["arguments"]
exec(compile(_given["program"], "<string>", "exec"))
"""


@dataclass(frozen=True)
class Ended:
    """What a program said, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


RunProgram = Callable[..., Ended]
IMPORTS = "asyncio, pymysql, uvloop, aiomysqlx"


@contextlib.contextmanager
def programs(folder: Path) -> Iterator[RunProgram]:
    """Yield what runs a program with arguments, under options of Python's; *folder* is its own.

    A program that is about imports itself says which have come before it.
    """
    with contextlib.ExitStack() as stack:
        parents: dict[tuple[str, ...], subprocess.Popen[str]] = {}

        def run(
            program: str, *arguments: str, options: tuple[str, ...] = (), imports: str = IMPORTS
        ) -> Ended:
            command = (sys.executable, *options, "-c", f"import {imports}\n{PARENT}")
            if command not in parents:
                parents[command] = stack.enter_context(parent(command))
            files = {"in": "/dev/null", "out": str(folder / "out"), "err": str(folder / "err")}
            given = {"program": program, "arguments": arguments, **files}
            pipes = parents[command]
            assert pipes.stdin and pipes.stdout
            print(json.dumps(given), file=pipes.stdin, flush=True)
            status = int(pipes.stdout.readline())
            return Ended(status, (folder / "out").read_text(), (folder / "err").read_text())

        yield run


@contextlib.contextmanager
def parent(command: tuple[str, ...]) -> Iterator[subprocess.Popen[str]]:
    """Yield a Python that runs programs in its children."""
    folder = Path(aiomysqlx.__file__).parent.parent  # the package under test, not the sources
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder, stdin=pipe, stdout=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # with a child that has not ended
