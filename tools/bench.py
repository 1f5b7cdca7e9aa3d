"""`make bench`: every benchmark once, to see that it works; with arguments, asv and these.

One server serves them all. `make bench ARGS="run HEAD^!"` measures; benchmarks/README.md has more.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from environments import ROOT
from machine import fail, note, require_compiler, require_server, require_venv, run, start
from private_server import ServerError, database_server
from suite import MAIN

ONCE = "run --python=same --quick --show-stderr"  # its status is 2 where a benchmark fails


def main(arguments: list[str]) -> int:
    require_venv()
    require_compiler()
    require_server()
    MAIN.install()
    try:
        with database_server() as server:
            note(f"server {server}")
            os.environ["AIOMYSQLX_TEST_URL"] = server.url()
            return measure(arguments) if arguments else try_out()
    except ServerError as error:
        fail(str(error))


def measure(arguments: list[str]) -> int:
    """Run asv with *arguments*."""
    return run(["env", f"--chdir={ROOT}", MAIN.program("asv"), *arguments])


def try_out() -> int:
    """Run every benchmark of both builds once, and keep nothing of it in the user's home."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["HOME"] = home
        register = [MAIN.program("asv"), "machine", "--yes"]
        subprocess.run(register, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return measure(ONCE.split())


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
