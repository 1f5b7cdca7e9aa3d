"""What a user's type checker makes of the package."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import aiomysql
import pytest

import aiomysqlx
from aiomysqlx.argument_types import ConnectArguments, ServerArguments
from aiomysqlx.engine_types import EngineArguments
from aiomysqlx.settings import POSITIONAL, PoolOptions
from aiomysqlx.wire.option import Option
from aiomysqlx.wire.options import CONNECT

PROGRAM = Path(__file__).parents[1] / "typed" / "program.py"
PAGE = Path(__file__).parents[2] / "docs" / "typing.md"
# Each checks the program as a user's, who has what it imports installed.
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--config-file="],
    "pyright": [sys.executable, "-m", "pyright", f"--pythonpath={sys.executable}"],
}


@pytest.mark.once
@pytest.mark.parametrize("checker", CHECKERS)
def test_program_of_a_user_is_typed(checker: str, tmp_path: Path) -> None:
    typed = shutil.copytree(PROGRAM.parent, tmp_path / "typed")
    (typed / "page.py").write_text(PAGE.read_text().split("```python\n")[1].split("```")[0])

    check = subprocess.run(
        [*CHECKERS[checker], PROGRAM.name, "page.py"], cwd=typed, capture_output=True, text=True
    )

    assert check.returncode == 0, check.stdout + check.stderr


@pytest.mark.once
def test_program_of_a_user_has_every_public_name() -> None:
    used = set(re.findall(r"\bsa\.(\w+)", PROGRAM.read_text()))

    assert set(aiomysqlx.__all__) - used == set()


def names(options: Mapping[str, Option]) -> set[str]:
    return {name for option in options.values() for name in (option.name, *option.aliases)}


def test_connect_arguments_are_the_same_wherever_they_are_listed() -> None:
    constructor = list(inspect.signature(aiomysqlx.Connection).parameters)

    assert constructor == list(CONNECT)
    assert ConnectArguments.__optional_keys__ == names(CONNECT)


def test_engine_arguments_are_the_same_wherever_they_are_listed() -> None:
    own = EngineArguments.__optional_keys__ - ServerArguments.__optional_keys__

    assert own | set(POSITIONAL) == names(PoolOptions.fields) | {"loop"}


def test_connect_arguments_come_in_the_order_of_aiomysql() -> None:
    ours = list(inspect.signature(aiomysqlx.Connection).parameters)
    theirs = list(inspect.signature(aiomysql.Connection).parameters)

    assert ours[: len(theirs)] == theirs
