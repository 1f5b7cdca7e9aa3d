"""`make lock`: the versions that the tools install, newest first, into tools/lock.txt.

They are for every Python and system at once. Only what the package itself depends on is left open,
by which its own bounds are tested: a new release of a linter changes nothing until this is run.
"""

from __future__ import annotations

from environments import LOCK, ROOT, Environment
from machine import MIN_PYTHON, require_venv, run, start

UV = Environment("lock", pins=("uv>=0.9",), package=False)
OPEN = ("aiomysql", "pymysql", "sqlalchemy")


def main() -> int:
    require_venv()
    UV.install()
    command = [
        *(UV.program("uv"), "pip", "compile", str(ROOT / "pyproject.toml"), "--all-extras"),
        *("--universal", f"--python-version={MIN_PYTHON[0]}.{MIN_PYTHON[1]}", "--upgrade"),
        *("--no-annotate", "--custom-compile-command=make lock", "--quiet"),
        *(f"--no-emit-package={name}" for name in OPEN),
        f"--output-file={LOCK}",
    ]
    return run(command)


if __name__ == "__main__":
    start(main)
