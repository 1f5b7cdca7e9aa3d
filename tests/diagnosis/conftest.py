"""What runs the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from programs import Ended, RunProgram

PROGRAM = """\
import json, os, runpy, sys
os.environ.pop("AIOMYSQLX_URL", None)
os.environ.update(json.loads(sys.argv.pop(1)))
runpy.run_module("aiomysqlx", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def diagnose(run_program: RunProgram) -> Callable[..., Ended]:
    """What runs the command with arguments, and with an environment."""

    def run(*arguments: str, **environment: str) -> Ended:
        return run_program(PROGRAM, json.dumps(environment), *arguments, options=("-W", "error"))

    return run


@pytest.fixture
def found(diagnose: Callable[..., Ended]) -> Callable[..., dict[str, Any]]:
    """What gives the facts, and the problems, that the command finds."""

    def find(*arguments: str, **environment: str) -> dict[str, Any]:
        ended = diagnose("--json", *arguments, **environment)
        assert (ended.returncode, ended.stderr) == (0, "")
        facts: dict[str, Any] = json.loads(ended.stdout)
        return facts

    return find
