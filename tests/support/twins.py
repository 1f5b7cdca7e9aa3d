"""The twins of a piece (`binary`, `escape`, `packet`, `row`) that can be tested here."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType


def implementations(piece: str) -> list[str]:
    """Give `py` and `cy`; `py` alone in a pure install, unless AIOMYSQLX_IMPL=cython."""
    required = os.environ.get("AIOMYSQLX_IMPL") == "cython"
    if required or importlib.util.find_spec(f"aiomysqlx.wire._{piece}_cy"):
        return ["py", "cy"]
    return ["py"]


def load(piece: str, implementation: str) -> ModuleType:
    """Import one implementation; an extension that is absent or broken is an error."""
    return importlib.import_module(f"aiomysqlx.wire._{piece}_{implementation}")


def twins(piece: str) -> list[ModuleType]:
    """Give the modules of every implementation, for tests that compare them."""
    return [load(piece, implementation) for implementation in implementations(piece)]
