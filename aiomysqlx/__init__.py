"""SQLAlchemy on MySQL and MariaDB for asyncio, with the API of `aiomysql.sa`."""

from . import _aiomysql as _aiomysql  # first: before PyMySQL is imported
from . import inspection as inspection
from ._impl import IMPLEMENTATION
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
from .result import ResultProxy, RowProxy
from .stats import PoolStats
from .transaction import (
    NestedTransaction,
    RootTransaction,
    Transaction,
    TwoPhaseTransaction,
)

__version__ = "0.1.0"

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
)
