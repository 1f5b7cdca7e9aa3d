"""SQLAlchemy on MySQL and MariaDB for asyncio, with the API of `aiomysql.sa`."""

from importlib import import_module as _import_module
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
    CommitUnknownError,
    Error,
    InvalidRequestError,
    NoHostError,
    NoSuchColumnError,
    ResourceClosedError,
    ServerWarning,
    StatementTimeoutError,
    TooManyWaitingError,
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
from .wire.observing import QueryEvent

if _TYPE_CHECKING:
    from .cursors import DictCursor, SSCursor, SSDictCursor
    from .sharing import native
    from .stream import StreamResult

__version__ = "0.1.0"


# Which few have use for: `native` takes 0.4 ms of an import.
_LATE = {
    "DictCursor": ".cursors",
    "SSCursor": ".cursors",
    "SSDictCursor": ".cursors",
    "StreamResult": ".stream",
    "native": ".sharing",
}


def __getattr__(name: str) -> _Any:
    if name in _LATE:
        return getattr(_import_module(_LATE[name], __name__), name)
    hint = ": create_engine() makes a pool of connections" if "pool" in name.lower() else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}")


__all__ = (
    "IMPLEMENTATION",
    "AcquireTimeoutError",
    "ArgumentError",
    "CommitUnknownError",
    "Connection",
    "Cursor",
    "DictCursor",
    "Engine",
    "Error",
    "InvalidRequestError",
    "NestedTransaction",
    "NoHostError",
    "NoSuchColumnError",
    "PoolStats",
    "QueryEvent",
    "ResourceClosedError",
    "ResultProxy",
    "RootTransaction",
    "RowProxy",
    "SAConnection",
    "SSCursor",
    "SSDictCursor",
    "ServerWarning",
    "StatementTimeoutError",
    "StreamResult",
    "TooManyWaitingError",
    "Transaction",
    "TwoPhaseTransaction",
    "connect",
    "create_engine",
    "is_disconnect",
    "native",
)
