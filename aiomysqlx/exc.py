"""Exceptions raised by this package.

Errors that come from the server or the network are PyMySQL's own (`pymysql.err`); the classes
here say that the package was used in a way it cannot serve, or that a time limit has passed.
"""

from __future__ import annotations

import asyncio

from pymysql import err
from pymysql.constants import CR, ER

# What PyMySQL has no names for: MariaDB's and MySQL's word for KILL, and MySQL's for a time-out.
_CONNECTION_KILLED = 1927
_SESSION_WAS_KILLED = 3169
CLIENT_INTERACTION_TIMEOUT = 4031
# MySQL's words for a hook of Group Replication that fails, and for having been taken offline.
_RUN_HOOK_ERROR = 3100
_SERVER_OFFLINE_MODE = 3032
# What a Galera node says, with other words for other causes, that has lost its cluster.
ERROR_DURING_COMMIT: int = ER.ERROR_DURING_COMMIT
_OUT_OF_CLUSTER = "Primary Component"
# The class of SQLSTATE in which a program of the user's raises its own errors, with any code.
USERS_SQLSTATE = "45"
DISCONNECTS = frozenset(
    {
        CR.CR_CONNECTION_ERROR,
        CR.CR_CONN_HOST_ERROR,
        CR.CR_SERVER_GONE_ERROR,
        CR.CR_SERVER_LOST,
        CR.CR_COMMANDS_OUT_OF_SYNC,
        CR.CR_MALFORMED_PACKET,
        CR.CR_SERVER_LOST_EXTENDED,
        ER.NORMAL_SHUTDOWN,
        ER.SERVER_SHUTDOWN,
        ER.FORCING_CLOSE,
        ER.ABORTING_CONNECTION,
        ER.NEW_ABORTING_CONNECTION,
        ER.NET_READ_ERROR_FROM_PIPE,
        ER.NET_FCNTL_ERROR,
        ER.NET_PACKETS_OUT_OF_ORDER,
        ER.NET_UNCOMPRESS_ERROR,
        ER.NET_READ_ERROR,
        ER.NET_READ_INTERRUPTED,
        ER.NET_ERROR_ON_WRITE,
        ER.NET_WRITE_INTERRUPTED,
        _CONNECTION_KILLED,
        _SESSION_WAS_KILLED,
        CLIENT_INTERACTION_TIMEOUT,
        _SERVER_OFFLINE_MODE,
    }
)


def is_leaving(code: int, message: str) -> bool:
    """Tell whether an error says that its node is about to leave its cluster, or has left it."""
    if code == ERROR_DURING_COMMIT:
        return _OUT_OF_CLUSTER in message
    return code == _RUN_HOOK_ERROR


SERVER_ERRORS = err.InterfaceError, err.DatabaseError, err.Warning
"""What comes from the server or the network, and those of ours that are about such an error."""


class Error(err.Error):
    """Base class of every exception defined by this package.

    It is one of the DB-API's, so that `except aiomysqlx.Error`, or `connection.Error`, catches all.
    """

    sqlstate: str | None = None  # also of those that another base initializes


class ArgumentError(Error):
    """A function or statement was given arguments that it does not take."""


class SizeError(ArgumentError, ValueError):
    """The sizes of a pool do not fit; aiomysql and aiomysql.sa raise a `ValueError` here."""


class InvalidRequestError(ArgumentError):
    """An operation was asked for in a state that does not allow it."""


class NoSuchColumnError(KeyError, InvalidRequestError):
    """A row was asked for a column that it does not have."""

    def __str__(self) -> str:
        return str(self.args[0]) if len(self.args) == 1 else str(self.args)  # not as of a KeyError


class ResourceClosedError(InvalidRequestError):
    """A result, transaction or connection was used after it had been closed."""


class NotAwaitedError(InvalidRequestError, AttributeError, TypeError):
    """Something was asked of what is not there before it is awaited, or used without `async`."""


class NotAsyncError(NotAwaitedError, RuntimeError):
    """An engine was used without `async`; aiomysql.sa raises a `RuntimeError` here."""


class TransactionPreparedError(InvalidRequestError, err.OperationalError):
    """A statement was executed in a two-phase transaction that is prepared.

    MariaDB refuses it with this number; MySQL would execute it outside of the transaction.
    """


class PublicKeyError(ArgumentError, err.OperationalError):
    """`server_public_key` is no public key, which a login finds that needs it."""


class ArgumentProgrammingError(ArgumentError, err.ProgrammingError):
    """An `ArgumentError`, as SQLAlchemy takes the errors of a driver."""


class InvalidRequestProgrammingError(InvalidRequestError, err.ProgrammingError):
    """An `InvalidRequestError`, as SQLAlchemy takes the errors of a driver."""


class AcquireTimeoutError(Error, asyncio.TimeoutError):
    """No connection could be had within the time given."""


class NoHostError(Error, err.OperationalError):
    """None of several hosts lets a session in, or is as `target_session_attrs` wants it.

    Its text has each host with its reason. The number is that of the hosts' errors where they all
    have the same, else 2003; `codes` has those of all that have failed. `some_misfit` tells that
    some host would let a session in, but is read-only, or is not; `want` is what was wanted.
    """

    want = "any"
    codes: tuple[int, ...] = ()
    some_misfit = False


class TooManyWaitingError(Error):
    """As many as *max_waiting* wait for a connection already."""


class StatementTimeoutError(Error, err.OperationalError, asyncio.TimeoutError):
    """A statement was not answered within the time given; the server may yet execute it."""

    def __str__(self) -> str:
        return str(self.args)  # not as of an OSError, which it is from Python 3.11 on


class CommitUnknownError(Error, err.OperationalError):
    """The answer to a COMMIT was lost: whether the server has executed it, nobody knows.

    What was to be committed may be there: look for it before it is done again. `args` are those of
    the error that the answer was lost with, the message with these words behind it.
    """


class CommitTimeoutError(CommitUnknownError, StatementTimeoutError):
    """A `CommitUnknownError`: the answer to a COMMIT did not come within the time given."""


class ServerWarning(err.Warning):
    """A warning of the server's about a statement that it has executed.

    Its text is the server's message, on one line, and `args` have it as it came; `code` is the
    server's number and `level` how it ranks it: `"Note"`, `"Warning"` or `"Error"`.
    """

    def __init__(self, code: int, message: str, level: str = "Warning") -> None:
        super().__init__(code, message)
        self.code = code
        self.level = level

    def __str__(self) -> str:
        # As printable() has it, which stands above this.
        characters = str(self.args[1])
        return "".join(each if each.isprintable() else repr(each)[1:-1] for each in characters)


def is_disconnect(error: BaseException) -> bool:
    """Tell whether *error* says that the connection is lost, or that no server can be reached.

    So it does of a server that is about to leave its cluster. What was asked for can then be tried
    again on another connection, once, as far as it may be done twice: nobody knows how far the
    server got with it. False for any other error, one of the server's about the statement or a
    time limit among them.
    """
    if isinstance(error, asyncio.TimeoutError):
        return False
    if isinstance(error, (err.InternalError, err.OperationalError)):
        if (getattr(error, "sqlstate", None) or "").startswith(USERS_SQLSTATE):
            return False
        if not error.args:
            return False
        code, message = error.args[0], error.args[-1]
        return code in DISCONNECTS or is_leaving(code, str(message))
    return isinstance(error, (err.InterfaceError, ConnectionError))
