"""What has become of a statement: its error, what it has set of the session, its transaction's end.

That a transaction has ended, the status flags say. The words for it, and whether the work is
committed, are taken from the statement: only where it is one for certain, and known to commit.

What has been set of a session stands at the end of an OK packet. Of the transaction MySQL tells
there always when one begins or ends; more of it, and MariaDB anything, with
`session_track_transaction_info`.
"""

from __future__ import annotations

import re
from typing import Any

from pymysql import err
from pymysql.constants import COMMAND, ER

from ..exc import (
    CLIENT_INTERACTION_TIMEOUT,
    DISCONNECTS,
    ERROR_DURING_COMMIT,
    USERS_SQLSTATE,
    is_leaving,
)
from ..runtime.record import Record
from .packets import MalformedPacket, read_length

MUST_CHANGE_PASSWORD = 1820
"""What a session is refused with that may change its user's password, which has expired, only."""

_MUST_CHANGE_PASSWORD_LOGIN = 1862

_SQLSTATE_SIZE = 5

_READ_ONLY_MODE = 1836
_READ_ONLY_TRANSACTION = 1792
_INNODB_READ_ONLY = 1874
# What a primary of Group Replication says to everybody while another takes its place.
_QUERIES_BLOCKED = 4094
_TRANSACTION_ROLLBACK_DURING_COMMIT = 3101
# What a node answers that only reads, which is no fault where nothing else is wanted of it.
_READS_ONLY = frozenset({ER.OPTION_PREVENTS_STATEMENT, _READ_ONLY_MODE, _INNODB_READ_ONLY})
# What a node answers that cannot do the work for anybody: in read-only mode, out of its cluster.
_OF_THE_NODE = frozenset(
    {
        ER.OPTION_PREVENTS_STATEMENT,
        ER.UNKNOWN_COM_ERROR,  # of Galera, see `is_of_the_node`
        _READ_ONLY_MODE,
        _INNODB_READ_ONLY,
        _QUERIES_BLOCKED,
    }
)
# What it answers besides, or for other reasons too: another connection may be better off.
_DOUBTFUL = frozenset(
    {_READ_ONLY_TRANSACTION, _TRANSACTION_ROLLBACK_DURING_COMMIT, ERROR_DURING_COMMIT}
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
        if self.code == ER.UNKNOWN_COM_ERROR and "WSREP" not in self.message:
            return False  # a command that the server lacks, or a proxy does not take
        if self._is_signal:
            return False
        return self.code in _OF_THE_NODE or is_leaving(self.code, self.message)

    def retires(self, reads_only: bool, in_read_only_transaction: bool) -> bool:
        """Tell whether the connection had better be replaced.

        A transaction that was begun READ ONLY refuses to write on any server, and a session that
        *reads_only* is as well off on one that does so.
        """
        if self.code == _READ_ONLY_TRANSACTION and (reads_only or in_read_only_transaction):
            return False
        if reads_only and self.code in _READS_ONLY:
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


# The SQLSTATE of an error that has rolled the whole transaction back.
ROLLED_BACK = "40001"
_MOST_SHOWN = 60
_COM_STMT_BULK_EXECUTE = 0xFA  # MariaDB's
_HEADER = 5  # of a packet: length, sequence id and the command's code
# Blanks and comments, each matched in one way only: that something else follows is soon found out.
_GAP = (
    r"(?:\s|/\*(?!M?!)[^*]*\*+(?:[^*/][^*]*\*+)*/"
    r"|--(?=[\0-\x20\x7f]|\Z)[^\n]*(?:\n|\Z)|\#[^\n]*(?:\n|\Z))*"
)
_WORD = rf"{_GAP}([A-Za-z]+)"
_LEAVES_NOTHING = (
    rf"{_GAP}(?i:BEGIN(?:\s+WORK)?[\s;]*\Z|START\s+TRANSACTION\b|COMMIT\b"
    r"|ROLLBACK\s+(?:WORK\s+)?AND\b|XA\s+PREPARE\b)"
).encode()
_SETS_MODE = (
    rb"\x03\s*(?i:SET\s+(?:(?:SESSION|LOCAL)\s+|@@(?:(?:SESSION|LOCAL)\.)?)?sql_mode)"
    rb"\s*:?=\s*'[\w, ]*'[\s;]*"
)
# What sets nothing else, and begins no transaction.
SETS_THE_SAME = b"SET sql_mode = @@sql_mode"
_COMMON = frozenset({b"SEL", b"INS", b"UPD", b"DEL"})  # found without a pattern, 1 us each time
# fmt: off
# What commits, be it the last thing that a statement does or the first.
_COMMITS = frozenset(
    {
        "ALTER", "ANALYZE", "CACHE", "CHANGE", "CHECK", "CHECKSUM",
        "COMMIT", "CREATE", "DROP", "FLUSH", "GRANT", "IMPORT",
        "INSTALL", "LOCK", "OPTIMIZE", "RENAME", "REPAIR", "RESET",
        "REVOKE", "SET", "START", "STOP", "TRUNCATE", "UNINSTALL",
        "UNLOCK",
    }
)
# fmt: on
_XA = {"XA COMMIT": True, "XA ROLLBACK": False}
# What surely commits nothing, with the programs that it may call, triggers and functions.
_STAYS = frozenset(
    {
        *("SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "DO", "SHOW"),
        *("SAVEPOINT", "RELEASE", "ROLLBACK", "SIGNAL"),
    }
)
# What is one statement, or one with the triggers and functions that it calls, and no program.
_SINGLE = frozenset(
    {
        *(*_STAYS, *_COMMITS),
        *("DEALLOCATE", "DESC", "DESCRIBE", "EXPLAIN", "HANDLER", "HELP", "KILL", "LOAD"),
        *("PREPARE", "TABLE", "USE", "XA"),
    }
)
# What is unknown of a session: some settings, or the character set of statements, too. A procedure
# leaves that as it was.
_UNTOLD_SETTINGS, UNTOLD_SYNTAX = 1, 2
_PREPARED = frozenset({COMMAND.COM_STMT_PREPARE, COMMAND.COM_STMT_EXECUTE, _COM_STMT_BULK_EXECUTE})
MOST_LOOKED_AT = 256
"""How much of a packet is looked at for what its statement may have committed."""


class Ending(Record):
    """The end of a transaction that nobody has asked `commit()` or `rollback()` for."""

    words: str
    committed: bool | None  # its work; `None`: nobody knows


WITH_A_BEGIN = Ending("'BEGIN' has ended this transaction and committed its work", True)
CUT_OFF = Ending("a pipeline in this transaction was cut off", False)
WITH_ITS_SESSION = Ending(
    "the loss of the connection has rolled this transaction back, and there is a new one", False
)


def of_statement(packet: bytes, encoding: str, several: bool) -> Ending:
    """Return the end by a command that the server has not refused.

    *several* results mean several statements, or those of a procedure.
    """
    code = packet[_HEADER - 1]
    if code in _PREPARED:
        how = "has ended this transaction, its work committed or rolled back"
        return Ending(f"a prepared statement {how}", None)
    if code != COMMAND.COM_QUERY:
        return Ending("a reset of the session has rolled this transaction back", False)
    text = packet[_HEADER : _HEADER + 1000].decode(encoding, "replace")
    committed = None if several else _fate(text)
    if committed is None:
        how = "has ended this transaction, its work committed or rolled back"
    elif committed:
        how = "has ended this transaction and committed its work"
    else:
        how = "has rolled this transaction back"
    return Ending(f"{_shown(text)!r} {how}", committed)


def may_commit(packet: bytes, encoding: str) -> bool:
    """Tell whether a command may commit what was done before it.

    What is prepared is a statement of SQLAlchemy's that reads or writes rows.
    """
    code = packet[_HEADER - 1]
    if code == COMMAND.COM_QUERY:
        return _verb(packet, encoding) not in _STAYS
    return code not in _PREPARED and code not in (COMMAND.COM_PING, COMMAND.COM_INIT_DB)


def left_untold(packet: bytes, encoding: str) -> int:
    """Return what a command may have set of the session all the same that was refused; 0: nothing.

    A program may have, a procedure or MariaDB's compound statements, before a statement of it has
    failed. An assignment that fails sets nothing.
    """
    if packet[_HEADER - 1] != COMMAND.COM_QUERY or packet[_HEADER : _HEADER + 3] in _COMMON:
        return 0
    words = [word.upper() for word in _words_of(packet, encoding, 2)]
    if words[:1] == ["CALL"]:
        return _UNTOLD_SETTINGS
    if words and words[0] in _SINGLE and words != ["SET", "STATEMENT"]:
        return 0
    return UNTOLD_SYNTAX


def sets_mode(packet: bytes) -> bool:
    """Tell whether a command does nothing but set the SQL mode, which is what the flags show then.

    What a program sets of it, or a function in an assignment, is undone, and the flag is not.
    """
    return re.compile(_SETS_MODE).fullmatch(packet, _HEADER - 1) is not None


def leaves_nothing(packet: bytes) -> bool:
    """Tell whether a statement has left nothing to be rolled back, whatever the status shows.

    It has begun a transaction as it ended another, or prepared one, as MariaDB shows it.
    """
    if packet[_HEADER - 1] != COMMAND.COM_QUERY or packet[_HEADER : _HEADER + 3] in _COMMON:
        return False
    return re.compile(_LEAVES_NOTHING).match(packet, _HEADER, MOST_LOOKED_AT) is not None


def of_refusal(refused: Refusal, packet: bytes, encoding: str) -> Ending:
    """Return the end with an error, of a command; DDL commits, and may fail after that."""
    kept = may_commit(packet, encoding) and _verb(packet, encoding) != "COMMIT"
    if refused.sqlstate == ROLLED_BACK and not kept:
        return _rolled_back(refused.code)
    how = f"committed or not, with error {refused.code}"
    return Ending(f"the server has ended this transaction, {how}", None)


def _rolled_back(code: int) -> Ending:
    words = f"the server has rolled this transaction back (deadlock, error {code})"
    return Ending(words, False)


def of_commit(code: int) -> Ending:
    """Return the end by a COMMIT that was refused, and all rolled back."""
    what = "the server has refused to commit this transaction"
    return Ending(f"{what} (error {code}), and nothing of it is kept", False)


def of_savepoint(code: int, sqlstate: str | None) -> Ending:
    """Return the end that shows by a savepoint's absence: another transaction has taken over.

    Or a conflict in its cluster has rolled all back.
    """
    if sqlstate == ROLLED_BACK:
        return _rolled_back(code)
    what = f"its savepoint is gone (error {code})"
    how = "its work committed or rolled back"
    return Ending(f"a statement has ended this transaction, {how}: {what}", None)


def _fate(text: str) -> bool | None:
    """Tell whether a statement that has ended a transaction commits; `None`: nobody knows."""
    words = [word.upper() for word in _words(text, 2)]
    if not words:
        return None
    if words[0] == "ROLLBACK":
        return False
    if words == ["SET", "STATEMENT"]:  # MariaDB's way to execute another statement
        return None
    if words[0] in _COMMITS:
        return True
    return _XA.get(" ".join(words))


def _verb(packet: bytes, encoding: str) -> str:
    """Return the word that a statement begins with; empty if there is none for certain."""
    words = _words_of(packet, encoding, 1)
    return words[0].upper() if words else ""


def _words_of(packet: bytes, encoding: str, most: int) -> list[str]:
    return _words(packet[_HEADER:MOST_LOOKED_AT].decode(encoding, "replace"), most)


def _words(text: str, most: int) -> list[str]:
    words: list[str] = []
    position = 0
    while len(words) < most:
        match = re.compile(_WORD).match(text, position)
        if match is None:
            break
        words.append(match[1])
        position = match.end()
    return words


def _shown(text: str) -> str:
    """Return the beginning of a statement, without what may be secret: its string literals."""
    line = " ".join(text.split())
    literal = re.search("['\"]", line)
    end = min(_MOST_SHOWN, len(line) if literal is None else literal.start())
    return line if end == len(line) else f"{line[:end].rstrip()} …"


# By what name the current schema is among the changes of a session, that tables are locked, and
# what is set of the next transaction; no variable has it.
SCHEMA = b"DATABASE()"
TABLE_LOCKS = b"LOCK TABLES"
NEXT_TRANSACTION = b"SET TRANSACTION"
# The id of what was committed, which is no setting; MariaDB tells it as a variable of that name.
GTID = b"last_gtid"
# How the names of the character sets begin.
CHARSET = b"character_set_"

# A server has less than a thousand variables, and what is set of them is kept as long as a session
# is not put back.
TOO_MANY = "more is set of the session, by the server's word, than a server has"
_MOST_CHANGED = 1 << 12
_MOST_CHANGED_BYTES = 1 << 20

# The types of what is told: SESSION_TRACK_….
_SYSTEM_VARIABLES = 0
_SCHEMA = 1
_GTIDS = 3
_TRANSACTION_CHARACTERISTICS = 4
_TRANSACTION_STATE = 5

# The state of the transaction, and nothing besides: what MySQL sends with every BEGIN and COMMIT.
# And where another one has begun in the same step, whose state is the same.
STATE_HEAD = b"\x00\x0b\x05\x09\x08"
SAME_STATE = b"\x00\x00"
# A letter, or "_", for what the transaction is and has done.
_LETTERS = 8
_BEGUN = b"T"
_WROTE, _LOCKED = 4, 7
STATE_ALONE = len(STATE_HEAD) + _LETTERS
NO_TRANSACTION = b"_" * _LETTERS
# What MySQL tells unasked: that there is none, or one that was begun.
PLAIN = frozenset({NO_TRANSACTION, b"T_______"})


def goes_on(before: bytes, after: bytes) -> bool:
    """Tell whether a state may be of the transaction that was begun before another state.

    Then it has all that it had, and more perhaps. That there is none, or none that was begun,
    proves nothing while the status shows one: MySQL tells so after CREATE TEMPORARY TABLE. Tables
    are locked outside of a transaction only.
    """
    if locked(after):
        return False
    if after[:1] != _BEGUN:
        return True
    if before[:1] != _BEGUN:
        return False
    return all(old in (new, ord("_")) for old, new in zip(before, after, strict=True))


def wrote(state: bytes) -> bool:
    """Tell whether rows were written in the transaction, in a table that can roll them back."""
    return state[_WROTE] != NO_TRANSACTION[_WROTE]


def locked(state: bytes) -> bool:
    """Tell whether the session has tables locked, by LOCK TABLES."""
    return state[_LOCKED] != NO_TRANSACTION[_LOCKED]


def read_changes(info: bytes) -> tuple[dict[bytes, bytes], list[bytes], bool]:
    """Return what the end of an OK packet tells.

    These are the system variables, and the schema, that were set, with the GTID of what was
    committed; the states of the transaction; whether another one may have begun. A proxy may hand
    the server's flag on and no state with it.
    """
    changed: dict[bytes, bytes] = {}
    states: list[bytes] = []
    restarted = False
    try:
        _, position = _read_text(info, 0)
        state, _ = _read_text(info, position)
    except MalformedPacket:
        if CHARSET in info:
            raise
        return changed, states, restarted
    position = 0
    while position < len(state):
        kind = state[position]
        entry, position = _read_text(state, position + 1)
        if kind == _SCHEMA:
            changed[SCHEMA], _ = _read_text(entry, 0)
        elif kind == _GTIDS:
            changed[GTID], _ = _read_text(entry, 1)  # behind the number of its encoding
        elif kind == _TRANSACTION_STATE:
            letters, _ = _read_text(entry, 0)
            if len(letters) == _LETTERS:
                states.append(letters)
        elif kind == _TRANSACTION_CHARACTERISTICS:
            # They are told as a transaction begins; none are, where MySQL takes it to have ended.
            restarted = restarted or entry != b"\x00"
            changed[NEXT_TRANSACTION], _ = _read_text(entry, 0)
        start = 0
        while kind == _SYSTEM_VARIABLES and start < len(entry):
            name, start = _read_text(entry, start)
            changed[name], start = _read_text(entry, start)
    return changed, states, restarted


def are_too_many(changes: dict[bytes, bytes]) -> bool:
    """Tell whether *changes* are more than a server has to tell of settings: `TOO_MANY`."""
    if len(changes) > _MOST_CHANGED:
        return True
    size = sum(len(name) + len(value) for name, value in changes.items() if name != GTID)
    return size > _MOST_CHANGED_BYTES


def _read_text(payload: bytes, position: int) -> tuple[bytes, int]:
    """Return the length-encoded text at *position*, and the position after it."""
    length, start = read_length(payload, position)
    end = start + length
    if end > len(payload):
        raise MalformedPacket("packet is cut short")
    return payload[start:end], end
