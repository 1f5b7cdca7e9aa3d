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

if _TYPE_CHECKING:
    from .connection import SAConnection
    from .cursor import Cursor
    from .cursors import DeserializationCursor, DictCursor, SSCursor, SSDictCursor
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
    from .lender import Pool, create_pool
    from .pool.stats import PoolStats
    from .result import ResultProxy, RowProxy
    from .sharing import native
    from .stream import StreamResult
    from .transaction import (
        NestedTransaction,
        RootTransaction,
        Transaction,
        TwoPhaseTransaction,
    )
    from .wire.observing import QueryEvent

__version__ = "0.1.0"

# Whoever takes a name imports its module then. So each door loads its own part: connect() and
# AsyncEngine have no use for the engine, its pool and the planner, which are half of the package.
_NAMES_OF = {
    "connection": ("SAConnection",),
    "cursor": ("Cursor",),
    "cursors": ("DeserializationCursor", "DictCursor", "SSCursor", "SSDictCursor"),
    "customs": ("escape_dict", "escape_sequence", "escape_string"),
    "driver": ("Connection", "connect"),
    "engine": ("Engine", "create_engine"),
    "exc": (
        "AcquireTimeoutError",
        "ArgumentError",
        "CommitUnknownError",
        "InvalidRequestError",
        "NoHostError",
        "NoSuchColumnError",
        "ResourceClosedError",
        "ServerWarning",
        "StatementTimeoutError",
        "TooManyWaitingError",
        "is_disconnect",
    ),
    "lender": ("Pool", "create_pool"),
    "pool": (),
    "pool.stats": ("PoolStats",),
    "result": ("ResultProxy", "RowProxy"),
    "sa": (),
    "sharing": ("native",),
    "stream": ("StreamResult",),
    "transaction": (
        "NestedTransaction",
        "RootTransaction",
        "Transaction",
        "TwoPhaseTransaction",
    ),
    "url": (),
    "wire.observing": ("QueryEvent",),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}


def __getattr__(name: str) -> _Any:
    if name in _NAMES_OF:  # as modules that nobody has imported by themselves
        return _import_module(f".{name}", __name__)
    if name in _MODULE_OF:
        value = getattr(_import_module(f".{_MODULE_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMES_OF, *_MODULE_OF})


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
