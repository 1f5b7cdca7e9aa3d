"""The page on reliability: its example is taken, and the tests that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import aiomysqlx

TESTS = Path(__file__).resolve().parents[1]
PAGE = (TESTS.parent / "docs" / "reliability.md").read_text()
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))


def test_page_names_tests() -> None:
    assert len(NAMED) > 50


@pytest.mark.parametrize("name", NAMED)
def test_named_test_is_there(name: str) -> None:
    pattern = re.compile(rf"^(async )?def {name}\(", re.M)

    assert any(pattern.search(path.read_text()) for path in TESTS.rglob("test_*.py"))


def test_arguments_of_the_example_are_taken() -> None:
    (example,) = re.findall(r"^engine = await (.*?^\))", PAGE, re.M | re.S)

    # `create_engine()` checks its arguments at the call.
    eval(example, {"aiomysqlx": aiomysqlx}).close()
