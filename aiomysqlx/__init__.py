"""SQLAlchemy on MySQL and MariaDB for asyncio, with the API of `aiomysql.sa`."""

from ._impl import IMPLEMENTATION
from .connection import SAConnection
from .cursor import Cursor
from .driver import Connection, connect
from .engine import Engine, create_engine
from .exc import (
    ArgumentError,
    Error,
    InvalidRequestError,
    NoSuchColumnError,
    ResourceClosedError,
)
from .result import ResultProxy, RowProxy
from .transaction import (
    NestedTransaction,
    RootTransaction,
    Transaction,
    TwoPhaseTransaction,
)

__version__ = "0.1.0"

__all__ = (
    "IMPLEMENTATION",
    "ArgumentError",
    "Connection",
    "Cursor",
    "Engine",
    "Error",
    "InvalidRequestError",
    "NestedTransaction",
    "NoSuchColumnError",
    "ResourceClosedError",
    "ResultProxy",
    "RootTransaction",
    "RowProxy",
    "SAConnection",
    "Transaction",
    "TwoPhaseTransaction",
    "connect",
    "create_engine",
)
