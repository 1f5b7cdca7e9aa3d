"""The pool: lends connections, has borrowers wait, and counts."""

from importlib import import_module as _import_module
from typing import Any as _Any


def __getattr__(name: str) -> _Any:
    # What aiomysql's module of this name has. Those who use it stand above this room.
    if name in ("Pool", "create_pool"):
        return getattr(_import_module("aiomysqlx.lender"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
