"""The state of a session: what a connection is to be lent with, and how to go back to it.

What is set of a session is known from the server, at no round trip: autocommit from the flags of
every answer; schema, character sets and time zone from those that say what has been set. A
*session* is a `Session`, which stands above.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pymysql import err
from pymysql.constants import COMMAND, ER, SERVER_STATUS

from ..runtime.record import Record
from ._impl import frame
from .checks import AUTOCOMMIT
from .columns import describe_bytes
from .outcome import CHARSET, SCHEMA, TABLE_LOCKS

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


class First(Record):
    """What a session is asked for, and goes back to when it is reset."""

    charset: str
    collation: str  # empty: the server's default for the charset
    db: str | None
    autocommit: bool | None


class Kept(Record):
    """What a session is to be lent with."""

    status: int  # the flag of autocommit
    # The character set, its collation, and the character set of results.
    names: tuple[str, str, str | None]
    # The schema, and variables as far as the server has told their values.
    values: dict[bytes, bytes]


def begin(session: Any, time_zone: str | None = None) -> None:
    """Have nothing set of a session that is as it was asked for."""
    protocol, first = session.protocol, session.first
    names = first.charset, first.collation, first.charset
    values = {SCHEMA: (first.db or "").encode()}
    if time_zone is not None:
        values[_TIME_ZONE] = time_zone.encode()
    session.kept = Kept(0, names, values)
    protocol.changes.clear()


def forget(session: Any) -> None:
    """Have all that a session was kept with be set to something else, but the schema: its reset."""
    protocol, kept = session.protocol, session.kept.values
    schema = protocol.changes.get(SCHEMA, kept[SCHEMA])
    if protocol.statements is not None:
        protocol.statements.drop()
    protocol.changes = {**dict.fromkeys(kept, _UNKNOWN), SCHEMA: schema}


def accept(session: Any) -> None:
    """Have nothing set of a session but what is set again whenever it comes back."""
    protocol = session.protocol
    status = protocol.status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
    session.kept = Kept(status, session.kept.names, session.kept.values)
    protocol.changes.clear()


async def keep(session: Any) -> None:
    """Have `put_back()` go back to the session as it is."""
    protocol, kept = session.protocol, session.kept
    names = kept.names
    if _has_charset(protocol.changes):  # which does not tell the collation
        client, collation, results = (
            name.decode() if isinstance(name, bytes) else name for name in await session.ask(_NAMES)
        )
        names = client, collation, results
    status = protocol.status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT
    session.kept = Kept(status, names, {**kept.values, **protocol.changes})
    protocol.changes.clear()


async def put_back(session: Any) -> bool:
    """Undo what has been set of the session since `keep()`; false if that cannot be.

    It is for a session that owes no ROLLBACK: switching autocommit on commits.
    """
    protocol, names, kept = session.protocol, session.kept.names, session.kept.values
    if protocol.untold:
        await session.ready()
    changes = protocol.changes
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
        await session.query("UNLOCK TABLES")
    if _has_charset(changes):  # first: all else is written in it
        charset, collation, results = names
        await session.set_names(charset, collation)
        if results != charset:
            assignments.append(f"character_set_results = {results or 'NULL'}")
    if schema != kept[SCHEMA]:
        await _put_schema_back(session, kept[SCHEMA].decode(), dropped=not schema)
    assignments += [f"{name.decode()} = {_literal(session, kept[name])}" for name in others]
    if assignments:
        await session.query(f"SET {', '.join(assignments)}")
    await session.autocommit(session.kept.status != 0)
    protocol.changes.clear()
    session.just_ended = True  # what was sent since takes no lock
    protocol.reads_only = session.options.read_only
    return True


async def _put_schema_back(session: Any, schema: str, dropped: bool) -> None:
    try:
        await session.use(schema)
    except err.OperationalError as error:
        # Whoever has dropped it leaves the session without one, as the server has it.
        if error.args[0] != ER.BAD_DB_ERROR or not dropped:
            raise
        await session.resolve_doubt()


def _has_charset(names: Iterable[bytes]) -> bool:
    return any(name.startswith(CHARSET) for name in names)


def _literal(session: Any, value: bytes) -> str:
    """Return the value of a variable, as the server tells it, as a SQL literal."""
    text = value.decode()
    return text if re.fullmatch(r"-?\d+(\.\d+)?", text) else session.literal(text)


async def current_level(session: Any) -> str:
    """Ask for the isolation level of the session."""
    level, _ = _variables(session)
    return (await _values(session, (level,)))[0].decode().replace("-", " ")


def characteristics(level: str | None, read_only: bool | None, scope: str = "") -> str | None:
    """Return the statement that sets them for the next transaction, or for a *scope*."""
    parts = [] if level is None else [f"ISOLATION LEVEL {level}"]
    if read_only is not None:
        parts.append("READ ONLY" if read_only else "READ WRITE")
    return f"SET {scope}TRANSACTION {', '.join(parts)}" if parts else None


async def set_of_session(session: Any, level: str | None, read_only: bool | None) -> None:
    """Set them until the connection is given back."""
    if level == AUTOCOMMIT:
        await session.autocommit(True)
        level = None
    statement = characteristics(level, read_only, "SESSION ")
    if statement is None:
        return
    protocol = session.protocol
    names, kept = _variables(session), session.kept.values
    if not all(name in kept for name in names):
        kept.update(zip(names, await _values(session, names), strict=True))
    # Before: if it is cut off, nobody knows, and both are put back.
    if level is not None:
        protocol.changes[names[0]] = level.replace(" ", "-").encode()
    if read_only is not None:
        protocol.changes[names[1]] = str(int(read_only)).encode()
    await session.query(statement)
    if read_only is not None:
        protocol.reads_only = read_only


def _variables(session: Any) -> tuple[bytes, bytes]:
    if session.is_mariadb:
        return b"tx_isolation", b"tx_read_only"
    return b"transaction_isolation", b"transaction_read_only"


async def _values(session: Any, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    variables = ", ".join(f"@@SESSION.{name.decode()}" for name in names)
    packet = session.rendered(f"SELECT {variables}")
    values: tuple[bytes, ...] = await session.ask(packet, describe_bytes)
    return values
