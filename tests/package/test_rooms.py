"""What the modules of the package know of each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Of the sources in the repository, which every run has the same.
pytestmark = pytest.mark.once

SOURCES = Path(__file__).resolve().parent.parent.parent / "aiomysqlx"
PIECES = ["binary", "escape", "packet", "row"]
IMPORT = re.compile(r"^\s*(?:from|import|cimport)\b.*(?:\n {4}.*|\n\))*", re.MULTILINE)


def importers(piece: str) -> set[str]:
    """Give the modules that import a twin of a piece."""
    twin = re.compile(rf"\b_{piece}_(?:py|cy)\b")
    return {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py*")
        if path.suffix in (".py", ".pyx", ".pyi")
        and any(twin.search(found) for found in IMPORT.findall(path.read_text()))
    }


@pytest.mark.parametrize("piece", PIECES)
def test_only_the_compiled_twin_imports_the_python_one(piece: str) -> None:
    # A parameter is written with the parts of a literal.
    others = {"wire/_binary_py.py", "wire/_binary_cy.pyx"} if piece == "escape" else set()

    assert importers(piece) <= {f"wire/_{piece}_cy.pyx", *others}
