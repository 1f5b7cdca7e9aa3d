"""What has ended a transaction on the server, and what became of its work.

That it has ended, the status flags say. The words for it, and whether the work is committed, are
taken from the statement: only where it is one for certain, and known to commit.
"""

from __future__ import annotations

import re

from pymysql.constants import COMMAND

from ..runtime.record import Record
from .refusal import Refusal

# The SQLSTATE of an error that has rolled the whole transaction back.
ROLLED_BACK = "40001"
_MOST_SHOWN = 60
_HEADER = 5  # of a packet: length, sequence id and the command's code
_WORD = r"(?s:\s+|/\*(?!!|M!).*?\*/|--\s.*?(?:\n|$)|#.*?(?:\n|$))*([A-Za-z]+)"
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


class Ending(Record):
    """The end of a transaction that nobody has asked `commit()` or `rollback()` for."""

    words: str
    committed: bool | None  # its work; `None`: nobody knows


WITH_A_BEGIN = Ending("'BEGIN' has ended this transaction and committed its work", True)
WITH_ITS_SESSION = Ending(
    "the loss of the connection has rolled this transaction back, and there is a new one", False
)


def of_statement(packet: bytes, encoding: str, several: bool) -> Ending:
    """Return the end by a command that the server has not refused.

    *several* results mean several statements, or those of a procedure.
    """
    if packet[_HEADER - 1 : _HEADER] != bytes((COMMAND.COM_QUERY,)):
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


def of_refusal(refused: Refusal) -> Ending:
    """Return the end with an error; DDL commits, and may fail after that."""
    if refused.sqlstate == ROLLED_BACK:
        what = f"deadlock, error {refused.code}"
        return Ending(f"the server has rolled this transaction back ({what})", False)
    how = f"committed or not, with error {refused.code}"
    return Ending(f"the server has ended this transaction, {how}", None)


def of_savepoint(code: int) -> Ending:
    """Return the end that shows by a savepoint's absence: another transaction has taken over."""
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
