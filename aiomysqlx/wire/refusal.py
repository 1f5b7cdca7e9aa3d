"""The server's errors: what an error packet holds, and what it means for the connection."""

from __future__ import annotations

from typing import Any

from pymysql import err
from pymysql.constants import ER

from ..exc import CLIENT_INTERACTION_TIMEOUT, DISCONNECTS, USERS_SQLSTATE
from ..runtime.record import Record
from .packets import MalformedPacket

MUST_CHANGE_PASSWORD = 1820
"""What a session is refused with that may change its user's password, which has expired, only."""

_MUST_CHANGE_PASSWORD_LOGIN = 1862

_SQLSTATE_SIZE = 5

_READ_ONLY_MODE = 1836
_ERROR_DURING_COMMIT: int = ER.ERROR_DURING_COMMIT
_READ_ONLY_TRANSACTION = 1792
_INNODB_READ_ONLY = 1874
_RUN_HOOK_ERROR = 3100
_TRANSACTION_ROLLBACK_DURING_COMMIT = 3101
# What a node answers that cannot do the work for anybody: in read-only mode, out of its cluster.
_OF_THE_NODE = frozenset(
    {
        ER.OPTION_PREVENTS_STATEMENT,
        ER.UNKNOWN_COM_ERROR,  # "WSREP has not yet prepared node for application use"
        _READ_ONLY_MODE,
        _INNODB_READ_ONLY,
        _RUN_HOOK_ERROR,
    }
)
# What it answers besides, or for other reasons too: another connection may be better off.
_DOUBTFUL = frozenset(
    {_READ_ONLY_TRANSACTION, _TRANSACTION_ROLLBACK_DURING_COMMIT, _ERROR_DURING_COMMIT}
)


class Refusal(Record):
    """What an error packet says."""

    code: int
    sqlstate: str | None
    message: str

    def error(self) -> Any:
        """Return the error of PyMySQL's class for the code, with its `sqlstate`."""
        kind = err.error_map.get(self.code)
        if kind is None:
            kind = err.InternalError if self.code < 1000 else err.OperationalError
        error = kind(self.code, self.message)
        error.sqlstate = self.sqlstate  # which PyMySQL knows from 1.2 on
        return error

    @property
    def _is_signal(self) -> bool:
        """Whether the SQLSTATE says that a program of the user's has raised the error."""
        return self.sqlstate is not None and self.sqlstate.startswith(USERS_SQLSTATE)

    def ends_session(self, mariadb: bool) -> bool:
        """Tell whether the session has ended on the server."""
        if mariadb and self.code == CLIENT_INTERACTION_TIMEOUT:
            return False  # there the number means an absent trigger
        return self.code in DISCONNECTS and not self._is_signal

    @property
    def is_of_the_node(self) -> bool:
        """Whether the server cannot do the work for any of its connections."""
        if self.code == ER.OPTION_PREVENTS_STATEMENT and "read-only" not in self.message:
            return False  # --secure-file-priv, say
        return self.code in _OF_THE_NODE and not self._is_signal

    def retires(self, in_read_only_transaction: bool) -> bool:
        """Tell whether the connection had better be replaced.

        A transaction that was begun READ ONLY refuses to write on any server.
        """
        if self.code == _READ_ONLY_TRANSACTION and in_read_only_transaction:
            return False
        return self.is_of_the_node or (self.code in _DOUBTFUL and not self._is_signal)


def add_way_in(error: Exception) -> None:
    """Say in the error of an expired password how to change it."""
    if error.args[:1] in ((MUST_CHANGE_PASSWORD,), (_MUST_CHANGE_PASSWORD_LOGIN,)):
        code, message = error.args
        way = "ALTER USER or SET PASSWORD, by connect(client_flag=CLIENT.HANDLE_EXPIRED_PASSWORDS)"
        error.args = code, f"{message} (to change it: {way})"


def parse_refusal(payload: bytes) -> Refusal:
    """Return what an error packet says; raises `MalformedPacket` if it is cut short.

    A server that has not greeted its client yet sends no SQLSTATE.
    """
    if len(payload) < 3:
        raise MalformedPacket("an error packet ends before its code")
    code = int.from_bytes(payload[1:3], "little")
    if payload[3:4] != b"#":
        return Refusal(code, None, payload[3:].decode("utf-8", "replace"))
    state = payload[4 : 4 + _SQLSTATE_SIZE]
    if len(state) < _SQLSTATE_SIZE or not state.isascii():
        raise MalformedPacket(f"an error packet has the SQLSTATE {state!r}")
    message = payload[4 + _SQLSTATE_SIZE :].decode("utf-8", "replace")
    return Refusal(code, state.decode("ascii"), message)


def concealed(error: err.MySQLError, hint: str = "") -> err.MySQLError:
    """Return an error like the server's without its text, which may repeat the statement's."""
    code = error.args[0]
    name = next((f" ({name})" for name, number in vars(ER).items() if number == code), "")
    like = type(error)(
        code,
        f"init_command was refused with error {code}{name}; what the server says of it is not"
        f" shown, as it may repeat a secret{hint}",
    )
    like.sqlstate = getattr(error, "sqlstate", None)
    return like
