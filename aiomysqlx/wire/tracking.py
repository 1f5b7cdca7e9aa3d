"""What the end of an OK packet tells of the session: what has been set of it, its transaction.

Of the transaction MySQL tells always when one begins or ends; more of it, and MariaDB anything,
with `session_track_transaction_info`.
"""

from __future__ import annotations

from .packets import MalformedPacket, read_length

# By what name the current schema is among the changes of a session, and that tables are locked; no
# variable has it.
SCHEMA = b"DATABASE()"
TABLE_LOCKS = b"LOCK TABLES"
# How the names of the character sets begin.
CHARSET = b"character_set_"

# The types of what is told: SESSION_TRACK_….
_SYSTEM_VARIABLES = 0
_SCHEMA = 1
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

    These are the system variables, and the schema, that were set; the states of the transaction;
    whether another one may have begun. A proxy may hand the server's flag on and no state with it.
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
        elif kind == _TRANSACTION_STATE:
            letters, _ = _read_text(entry, 0)
            if len(letters) == _LETTERS:
                states.append(letters)
        elif kind == _TRANSACTION_CHARACTERISTICS:
            # They are told as a transaction begins; none are, where MySQL takes it to have ended.
            restarted = restarted or entry != b"\x00"
        start = 0
        while kind == _SYSTEM_VARIABLES and start < len(entry):
            name, start = _read_text(entry, start)
            changed[name], start = _read_text(entry, start)
    return changed, states, restarted


def _read_text(payload: bytes, position: int) -> tuple[bytes, int]:
    """Return the length-encoded text at *position*, and the position after it."""
    length, start = read_length(payload, position)
    end = start + length
    if end > len(payload):
        raise MalformedPacket("packet is cut short")
    return payload[start:end], end
