"""Fixtures of the examples, which are written with other packages."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """What imports an example, for which AIOMYSQLX_URL names the test's database."""
    monkeypatch.setenv("AIOMYSQLX_URL", url.replace("mysql:", "mysql+aiomysqlx:"))

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("example", EXAMPLES / path)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, "example", module)
        spec.loader.exec_module(module)
        return module

    return load
