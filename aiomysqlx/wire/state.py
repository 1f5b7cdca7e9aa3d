"""The state of a session: what a connection is to be lent with, and how to go back to it.

What is set of a session is known from the server, at no round trip: autocommit from the flags of
every answer; schema, character sets and time zone from those that say what has been set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from pymysql import err
from pymysql.constants import COMMAND, ER, SERVER_STATUS

from ..runtime.record import Record
from ._impl import frame
from .tracking import CHARSET, SCHEMA, TABLE_LOCKS

if TYPE_CHECKING:  # the connection is put back through this module
    from ..driver import Connection

_TIME_ZONE = b"time_zone"
# What the flags tell, and what every statement sets where all variables are tracked.
_NOT_COMPARED = (b"autocommit", b"statement_id")
# What is no variable.
_BY_ITSELF = (SCHEMA, TABLE_LOCKS)
# The value of what may have been set to anything.
_UNKNOWN = b"?"
_NAMES: bytes = frame(
    bytes((COMMAND.COM_QUERY,))
    + b"SELECT @@character_set_client, @@collation_connection, @@character_set_results"
)


class Session(Record):
    """What a session is to be lent with."""

    status: int  # the flag of autocommit
    # The character set, its collation, and the character set of results.
    names: tuple[str, str, str | None]
    # The schema, and variables as far as the server has told their values.
    values: dict[bytes, bytes]


def begin(connection: Connection, time_zone: str | None = None) -> None:
    """Have nothing set of a session that is as it was asked for."""
    protocol, first = connection._protocol, connection._first
    assert protocol is not None
    names = first.charset, first.collation, first.charset
    values = {SCHEMA: (first.db or "").encode()}
    if time_zone is not None:
        values[_TIME_ZONE] = time_zone.encode()
    connection.session = Session(0, names, values)
    protocol.changes.clear()


def forget(connection: Connection) -> None:
    """Have all that a session was kept with be set to something else, but the schema."""
    protocol, kept = connection._protocol, connection.session.values
    assert protocol is not None
    schema = protocol.changes.get(SCHEMA, kept[SCHEMA])
    protocol.changes = {**dict.fromkeys(kept, _UNKNOWN), SCHEMA: schema}


def accept(connection: Connection) -> None:
    """Have nothing set of a session but what is set again whenever it comes back."""
    protocol = connection._protocol
    assert protocol is not None
    status = protocol.status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
    session = connection.session
    connection.session = Session(status, session.names, session.values)
    protocol.changes.clear()


async def keep(connection: Connection) -> None:
    """Have `put_back()` go back to the session as it is."""
    protocol, session = connection._protocol, connection.session
    assert protocol is not None
    names = session.names
    if _has_charset(protocol.changes):  # which does not tell the collation
        client, collation, results = (
            name.decode() if isinstance(name, bytes) else name
            for name in await connection.ask(_NAMES)
        )
        names = client, collation, results
    status = protocol.status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
    connection.session = Session(status, names, {**session.values, **protocol.changes})
    protocol.changes.clear()


async def put_back(connection: Connection) -> bool:
    """Undo what has been set of the session since `keep()`; false if that cannot be.

    Within a transaction it would commit: switching autocommit on does.
    """
    protocol, session = connection._protocol, connection.session
    assert protocol is not None
    kept, changes = session.values, protocol.changes
    schema = changes.get(SCHEMA, kept[SCHEMA])
    others = [
        name
        for name, value in changes.items()
        if not (name in _BY_ITSELF or name.startswith(CHARSET) or name in _NOT_COMPARED)
        and value != kept.get(name)
    ]
    # No statement leaves a session without a schema, and the server tells what is set, not what
    # a session begins with.
    if (schema and not kept[SCHEMA]) or not all(name in kept for name in others):
        return False
    assignments = []
    if TABLE_LOCKS in changes:
        await connection.query("UNLOCK TABLES")
    if _has_charset(changes):  # first: all else is written in it
        charset, collation, results = session.names
        await connection._set_names(charset, collation)
        if results != charset:
            assignments.append(f"character_set_results = {results or 'NULL'}")
    if schema != kept[SCHEMA]:
        await _put_schema_back(connection, kept[SCHEMA].decode(), dropped=not schema)
    assignments += [f"{name.decode()} = {_literal(connection, kept[name])}" for name in others]
    if assignments:
        await connection.query(f"SET {', '.join(assignments)}")
    await connection.autocommit(session.status != 0)
    protocol.changes.clear()
    protocol.reads_only = connection._reads_only
    return True


async def _put_schema_back(connection: Connection, schema: str, dropped: bool) -> None:
    try:
        await connection.select_db(schema)
    except err.OperationalError as error:
        # Whoever has dropped it leaves the session without one, as the server has it.
        if error.args[0] != ER.BAD_DB_ERROR or not dropped:
            raise
        await connection.resolve_doubt()


def _has_charset(names: Iterable[bytes]) -> bool:
    return any(name.startswith(CHARSET) for name in names)


def _literal(connection: Connection, value: bytes) -> str:
    """Return the value of a variable, as the server tells it, as a SQL literal."""
    text = value.decode()
    return text if re.fullmatch(r"-?\d+(\.\d+)?", text) else connection.escape(text)
