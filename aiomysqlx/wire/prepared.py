"""The statements that a session has prepared: which, since when, and what makes them void."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pymysql.constants import COMMAND, FIELD_TYPE

from ..exc import ArgumentError
from ._impl import execute
from .codes import NO_DECIMALS
from .columns import BINARY_CHARSET, Column
from .outcome import CHARSET, SCHEMA, Refusal

TRACKED = b"session_track_system_variables"
SCHEMA_TRACKED = b"session_track_schema"
# What a statement is prepared with, and keeps to: the server is asked to tell when they are set.
FROZEN = frozenset(
    (
        *(b"sql_mode", b"collation_connection", b"div_precision_increment"),
        *(b"default_week_format", b"group_concat_max_len", b"sql_auto_is_null"),
    )
)
# Besides, whether the schema is told of.
TOLD = FROZEN | {SCHEMA_TRACKED}
# Reasons for sending a statement as text that might have been prepared, as `Engine.stats()` has it.
_REASONS = {
    1295: "unsupported",  # not in the protocol of prepared statements
    1390: "unsupported",  # too many parameters
    1461: "too_many",  # statements on the server
    1243: "forgotten",
    1615: "changed",  # its tables, while it is being executed
}
# What changes the definition of no table, of texts: by their first words.
_KEEPS_TABLES = (
    rb"(?i)(SELECT|INSERT|UPDATE|DELETE|REPLACE|SET|SHOW|BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE"
    rb"|START|USE|DO|XA|WITH|KILL|EXPLAIN|DESCRIBE|LOCK|UNLOCK)\b"
)
_TEXT = 5  # where it begins in a packet
_MOST = 100  # of a text that is looked at for its first word
_FIRST_WORD = 10  # the longest of them, and what shows that it ends there
_LONGEST = 1 << 20  # of packets, as of those of a batch
_MOST_COUNTED = 10  # statements that are not prepared yet, for each that may be
_WITHOUT_METADATA = FIELD_TYPE.NULL


class Kind:
    """What a parameter takes: the classes of values, and the types that a server may give it.

    If it *is_binary*, they are those of bytes: of a text, which bytes may be none of, MySQL refuses
    them as a literal, and compares them as a parameter.
    """

    __slots__ = ("classes", "codes", "is_binary")

    def __init__(
        self, classes: frozenset[type], codes: frozenset[int], is_binary: bool = False
    ) -> None:
        self.classes: frozenset[type] = classes
        self.codes: frozenset[int] = codes
        self.is_binary: bool = is_binary


class Statement:
    """A statement that is prepared on the server, or may be.

    `number` is the server's for it, `None` until it has answered. `parameters` counts what is to be
    given. `taken` are the definitions of that, `columns` those of its result; empty if there are
    none. `refused` is the server's error, if it has not prepared it. `uses` counts its executions,
    `latest` tells which of two was executed last, `asked` whether the server was asked to prepare
    it, `fits` whether it was found to be answered as text is, and `as_text` whether it stays text.
    """

    __slots__ = (
        "as_text",
        "asked",
        "columns",
        "fits",
        "latest",
        "number",
        "parameters",
        "refused",
        "taken",
        "uses",
    )

    def __init__(self) -> None:
        self.number: int | None = None
        self.parameters: int = 0
        self.taken: list[Column] = []
        self.columns: list[Column] = []
        self.refused: Refusal | None = None
        self.uses: int = 0
        self.latest: int = 0
        self.asked: bool = False
        self.fits: bool = False
        self.as_text: bool = False


class Statements:
    """Those of one session, by what they are made of; the least used make place for others."""

    def __init__(self, threshold: int, most: int, as_text: Counter[str]) -> None:
        self.threshold = threshold
        self.most = most
        self.known: dict[Any, Statement] = {}
        # What is to be closed on the server, before another one is prepared.
        self.closing: list[Statement] = []
        # How often statements went as text that might have been prepared, by reasons.
        self.as_text = as_text
        # Whether the server tells what is set of the session; `None` until it was asked.
        self.told: bool | None = None
        # What of that it tells because this side has asked for it.
        self.asked_for: frozenset[bytes] = frozenset()
        # The statement that was executed last; `None`: it was text.
        self.latest: Statement | None = None
        # Whether the next execution is text, whichever statement it is of.
        self.text_next: bool = False
        self._uses = 0

    def find(self, key: Any) -> Statement | None:
        """Return the statement of *key* if it is to be prepared, or is; count its execution."""
        return self._find(key)

    def _find(self, key: Any) -> Statement | None:
        statement = self.known.get(key)
        if statement is None:
            if len(self.known) > self.most * _MOST_COUNTED:
                self._forget_uses()
            statement = self.known[key] = Statement()
        self._uses += 1
        statement.uses += 1
        statement.latest = self._uses
        if self.text_next:
            self.text_next = False
            return None
        if statement.as_text or statement.uses < self.threshold or self.told is False:
            return None
        return statement

    def _forget_uses(self) -> None:
        self.known = {key: each for key, each in self.known.items() if each.asked}

    def make_place(self) -> list[int]:
        """Have one more be prepared; return the numbers of those to be closed before."""
        prepared = {key: each for key, each in self.known.items() if each.number is not None}
        while len(prepared) >= self.most:
            oldest = min(prepared, key=lambda key: prepared[key].latest)
            self.closing.append(prepared.pop(oldest))
            del self.known[oldest]
        return self.take_closing()

    def take_closing(self) -> list[int]:
        """Return the numbers of those that are to be closed on the server, once."""
        numbers = [each.number for each in self.closing if each.number is not None]
        self.closing.clear()
        return numbers

    def forget(self) -> None:
        """Have nothing be prepared: what is set of the session makes it void."""
        if self.known:
            self.closing += [each for each in self.known.values() if each.asked]
            self.known = {}

    def drop(self) -> None:
        """Take note that the server has reset the session, and has none any more."""
        self.known = {}
        self.closing.clear()
        self.told = None
        self.asked_for = frozenset()

    def refuse(self, statement: Statement, code: int) -> None:
        """Have a statement be text from here on, for the reason that the error *code* is."""
        statement.as_text = True
        reason = _REASONS.get(code)
        if reason is not None:
            self.as_text[reason] += 1
        if reason in ("too_many", "forgotten"):
            self.forget()
            self.told = False

    def see(self, packet: bytes) -> None:
        """Forget all if a text may change the definition of a table.

        MySQL keeps to the types that it gave their parameters by the columns as they were.
        """
        if self.known:
            text = packet[_TEXT : _TEXT + _MOST].lstrip()
            if not _keeps_tables(text[:_FIRST_WORD]):
                self.forget()

    def learn_refusal(self, command: int) -> None:
        """See to what a *command* may have set before it failed: its error does not tell.

        That of a text may be a procedure's, of which MariaDB never tells. What a trigger has set,
        MySQL tells with the next answer, which is that of a text then.
        """
        if command == COMMAND.COM_QUERY:
            self.forget()
        elif command == COMMAND.COM_STMT_EXECUTE:
            self.text_next = True

    def follow(self, changes: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Forget what is void by what was set; return what others are to know of that."""
        if TRACKED in changes:
            self.told = tells(changes[TRACKED])
        if SCHEMA_TRACKED in changes:
            self.told = None  # it is asked again
            self.forget()
        if not FROZEN.isdisjoint(changes) or SCHEMA in changes or any(map(_is_charset, changes)):
            self.forget()
        if self.asked_for.isdisjoint(changes):
            return changes
        return {name: value for name, value in changes.items() if name not in self.asked_for}


@lru_cache(maxsize=256)  # the match takes as long as all else that a COMMIT takes of a client
def _keeps_tables(first_word: bytes) -> bool:
    return re.match(_KEEPS_TABLES, first_word) is not None


def _is_charset(name: bytes) -> bool:
    return name.startswith(CHARSET)


def tells(tracked: bytes) -> bool:
    """Tell whether all that a statement keeps to is among the variables that are told of."""
    names = frozenset(tracked.replace(b" ", b"").split(b","))
    return b"*" in names or names >= TOLD


def takes(kinds: tuple[Kind, ...], values: list[Any]) -> bool:
    """Tell whether each parameter takes its value."""
    for number in range(len(kinds)):  # a zip() costs more than all the rest of it
        kind = kinds[number]
        if type(values[number]) not in kind.classes:
            return False
    return True


def written(number: int, values: Sequence[Any], encoding: str, mode: int) -> bytes | None:
    """Return the packet that executes a statement; `None` of what text is to refuse, or is long.

    How long a packet may be, text decides: its error is the same then.
    """
    try:
        packet: bytes = execute(number, values, encoding, mode)
    except ArgumentError:
        return None
    return packet if len(packet) <= _LONGEST else None


def is_as_text(statement: Statement, kinds: Sequence[Kind]) -> bool:
    """Tell whether the server answers a statement as it does text, by what it says of it.

    MySQL has decided on the types of its parameters; MariaDB has not. A FLOAT is as long as its
    column is wide in text, and so is a DOUBLE of so many digits.
    """
    if statement.parameters != len(kinds):
        return False
    for kind, type_ in zip(kinds, statement.taken, strict=True):
        if type_.type_code == _WITHOUT_METADATA:
            continue
        if type_.type_code not in kind.codes:
            return False
        if kind.is_binary and type_.charset != BINARY_CHARSET:
            return False
    return not any(
        column.type_code == FIELD_TYPE.FLOAT
        or (column.type_code == FIELD_TYPE.DOUBLE and column.decimals < NO_DECIMALS)
        for column in statement.columns
    )


def judge(statement: Statement, kinds: Sequence[Kind]) -> bool:
    """Decide once whether a prepared statement stays text; true if it is to be executed.

    None of its definitions is kept, of which there may be 131,070.
    """
    if not statement.fits:
        statement.fits = is_as_text(statement, kinds)
        statement.as_text = not statement.fits
        statement.taken, statement.columns = [], []
    return statement.fits


def may_be_text(code: int, sqlstate: str | None) -> bool:
    """Tell whether an error is of the preparation alone: as text the statement has not run yet."""
    return code in _REASONS or (sqlstate is not None and sqlstate.startswith("42"))
