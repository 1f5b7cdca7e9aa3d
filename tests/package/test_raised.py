"""What functions keep of the errors that they raise: nothing, by the package's text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

# Of the sources in the repository, which every run has the same.
pytestmark = pytest.mark.once

SOURCES = Path(__file__).resolve().parent.parent.parent / "aiomysqlx"
Function = ast.FunctionDef | ast.AsyncFunctionDef
KEEPING = """
def give_up(error):
    raise error
"""
LETTING_GO = """
def give_up(self):
    try:
        self.end()
    except LookupError as error:
        raise error
    failure = self.failure
    try:
        raise failure
    finally:
        del failure
"""


def kept(text: str) -> Iterator[str]:
    """Give the variables that are raised and still there when their function is left."""
    for function in ast.walk(ast.parse(text)):
        if not isinstance(function, Function):
            continue
        inner = list(ast.walk(function))
        gone = {each.name for each in inner if isinstance(each, ast.ExceptHandler)}
        for each in inner:
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Del):
                gone.add(each.id)
        for each in inner:
            raised = each.exc if isinstance(each, ast.Raise) else None
            if isinstance(raised, ast.Name) and raised.id.islower() and raised.id not in gone:
                yield f"{function.name}: {raised.id}, line {raised.lineno}"


def test_variable_that_is_raised_is_deleted_as_its_function_is_left() -> None:
    """The error's traceback has the function's frame, and that would have the error: a cycle."""
    found = [
        f"{path.relative_to(SOURCES)}: {each}"
        for path in sorted(SOURCES.rglob("*.py"))
        for each in kept(path.read_text())
    ]

    assert not found


def test_variable_that_is_kept_is_found() -> None:
    assert list(kept(KEEPING)) == ["give_up: error, line 3"]
    assert not list(kept(LETTING_GO))
