"""`make demo`: run examples/quickstart.py, by default against a private server."""

from __future__ import annotations

import os

from environments import ROOT, Environment
from machine import (
    fail,
    have_compiler,
    note,
    require_compiler,
    require_server,
    require_venv,
    run,
    start,
)
from private_server import ServerError, database_server


def main() -> int:
    require_venv()
    require_server()
    wanted = os.environ.get("AIOMYSQLX_IMPL", "")
    if wanted == "cython":
        require_compiler()
    elif not wanted and not have_compiler():
        note(
            "no C compiler: the package is built pure (to compile it, install gcc and python3-dev)"
        )
    environment = Environment(implementation=wanted)
    environment.install()
    try:
        with database_server() as server:
            note(f"server {server}")
            example = str(ROOT / "examples" / "quickstart.py")
            return run([environment.program("python"), example], AIOMYSQLX_URL=server.url())
    except ServerError as error:
        fail(str(error))


if __name__ == "__main__":
    start(main)
