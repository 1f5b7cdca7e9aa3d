"""`make lint`: the formatter, the linters and the type checkers, over the installed package."""

from __future__ import annotations

from environments import ROOT
from machine import note, require_compiler, require_venv, run, start
from suite import MAIN, OLDER

# What is compiled, and what is to be the same of it in both builds.
COMPILED = [
    "aiomysqlx.wire._impl",
    *sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "aiomysqlx").rglob("*.pxd")
        if path.with_suffix(".py").exists()
    ),
]
# Of classes that lay out their own instances, a stub marks the compiled and the Python ones apart.
STUBTEST = (
    "stubtest --mypy-config-file=pyproject.toml --ignore-disjoint-bases"
    " --allowlist=tools/stubtest.txt --ignore-unused-allowlist " + " ".join(COMPILED)
)
# Of a user who has the older SQLAlchemy; the tests check the same program with the newer.
PYTHON = OLDER.program("python")
MYPY = "mypy --strict --config-file= --cache-dir=/dev/null"
CHECKS = [
    "ruff format --check .",
    "ruff check .",
    "cython-lint aiomysqlx",
    "lint-imports --no-logo",
    "mypy",
    f"AIOMYSQLX_IMPL=python {STUBTEST}",
    f"AIOMYSQLX_IMPL=cython {STUBTEST}",
    # From there it finds the installed package, of which it tells a user nothing, not the sources.
    f"/usr/bin/env --chdir=tests/typed {MYPY} --python-executable={PYTHON} .",
    f"pyright --pythonpath={PYTHON} --project=tests/typed",
    "pyright --verifytypes aiomysqlx --ignoreexternal",
]


def passes(check: str) -> bool:
    """Run one check with the programs of the main environment."""
    note(f"lint: {check}")
    return run(["env", f"--chdir={ROOT}", f"PATH={MAIN.folder / 'bin'}", *check.split()]) == 0


def main() -> int:
    require_venv()
    require_compiler()
    MAIN.install()
    OLDER.install(MAIN.wheel)
    failed = [check for check in CHECKS if not passes(check)]
    note(f"lint: {'; '.join(failed)} failed" if failed else "lint: all passed")
    return 1 if failed else 0


if __name__ == "__main__":
    start(main)
