"""SQLAlchemy on MySQL and MariaDB for asyncio, with the API of `aiomysql.sa`."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from . import _aiomysql as _aiomysql  # first: before PyMySQL is imported
from .wire._impl import IMPLEMENTATION  # second: before what may be compiled is imported

# isort: split
from pymysql.err import (
    DatabaseError,
    DataError,
    Error,
    IntegrityError,
    InterfaceError,
    InternalError,
    MySQLError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    Warning,  # noqa: A004 - as aiomysql has it
)

from .connection import SAConnection
from .cursor import Cursor
from .customs import escape_dict, escape_sequence, escape_string
from .driver import Connection, connect
from .engine import Engine, create_engine
from .exc import (
    AcquireTimeoutError,
    ArgumentError,
    CommitUnknownError,
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
    from .cursors import DeserializationCursor, DictCursor, SSCursor, SSDictCursor
    from .lender import Pool, create_pool
    from .sharing import native
    from .stream import StreamResult

__version__ = "0.1.0"


# Which few have use for: `native` takes 0.4 ms of an import.
_LATE = {
    "DeserializationCursor": ".cursors",
    "DictCursor": ".cursors",
    "Pool": ".lender",
    "SSCursor": ".cursors",
    "SSDictCursor": ".cursors",
    "StreamResult": ".stream",
    "create_pool": ".lender",
    "native": ".sharing",
}


def __getattr__(name: str) -> _Any:
    if name == "cursors":  # as a module that is not imported by itself either
        return _import_module(".cursors", __name__)
    if name in _LATE:
        return getattr(_import_module(_LATE[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = (
    "IMPLEMENTATION",
    "AcquireTimeoutError",
    "ArgumentError",
    "CommitUnknownError",
    "Connection",
    "Cursor",
    "DataError",
    "DatabaseError",
    "DeserializationCursor",
    "DictCursor",
    "Engine",
    "Error",
    "IntegrityError",
    "InterfaceError",
    "InternalError",
    "InvalidRequestError",
    "MySQLError",
    "NestedTransaction",
    "NoHostError",
    "NoSuchColumnError",
    "NotSupportedError",
    "OperationalError",
    "Pool",
    "PoolStats",
    "ProgrammingError",
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
    "Warning",
    "connect",
    "create_engine",
    "create_pool",
    "escape_dict",
    "escape_sequence",
    "escape_string",
    "is_disconnect",
    "native",
)
