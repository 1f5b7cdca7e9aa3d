"""SQLAlchemy on MySQL and MariaDB for asyncio, with the API of `aiomysql.sa`."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import _aiomysql as _aiomysql  # first: before PyMySQL is imported
from .wire._impl import IMPLEMENTATION  # second: before what may be compiled is imported

# isort: split
from .connection import SAConnection
from .cursor import Cursor
from .driver import Connection, connect
from .engine import Engine, create_engine
from .exc import (
    AcquireTimeoutError,
    ArgumentError,
    Error,
    InvalidRequestError,
    NoSuchColumnError,
    ResourceClosedError,
    ServerWarning,
    StatementTimeoutError,
    is_disconnect,
)
from .pool.stats import PoolStats
from .result import ResultProxy, RowProxy
from .transaction import (
    NestedTransaction,
    RootTransaction,
    Transaction,
    TwoPhaseTransaction,
)

if _TYPE_CHECKING:
    from .sharing import native

__version__ = "0.1.0"


def __getattr__(name: str) -> _Any:
    if name == "native":  # which few have use for: 0.4 ms of an import
        from .sharing import native

        return native
    hint = ": create_engine() makes a pool of connections" if "pool" in name.lower() else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


__all__ = (
    "IMPLEMENTATION",
    "AcquireTimeoutError",
    "ArgumentError",
    "Connection",
    "Cursor",
    "Engine",
    "Error",
    "InvalidRequestError",
    "NestedTransaction",
    "NoSuchColumnError",
    "PoolStats",
    "ResourceClosedError",
    "ResultProxy",
    "RootTransaction",
    "RowProxy",
    "SAConnection",
    "ServerWarning",
    "StatementTimeoutError",
    "Transaction",
    "TwoPhaseTransaction",
    "connect",
    "create_engine",
    "is_disconnect",
    "native",
)
