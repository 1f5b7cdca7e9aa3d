"""The names of `aiomysql.sa`, for `from aiomysqlx import sa` and `from aiomysqlx.sa import …`."""

from __future__ import annotations

import sys

from . import connection, engine, exc, result, transaction
from .connection import SAConnection
from .engine import Engine, create_engine
from .exc import (
    ArgumentError,
    Error,
    InvalidRequestError,
    NoSuchColumnError,
    ResourceClosedError,
)

# The modules of aiomysql.sa, for `from aiomysqlx.sa.result import RowProxy`.
for _module in (connection, engine, exc, result, transaction):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module

__all__ = (
    "ArgumentError",
    "Engine",
    "Error",
    "InvalidRequestError",
    "NoSuchColumnError",
    "ResourceClosedError",
    "SAConnection",
    "create_engine",
)
