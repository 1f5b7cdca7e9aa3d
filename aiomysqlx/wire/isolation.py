"""Isolation levels and READ ONLY: by the names that SQLAlchemy has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exc import ArgumentError, InvalidRequestError
from .columns import describe_bytes

if TYPE_CHECKING:  # the connection sets them through this module
    from ..driver import Connection

AUTOCOMMIT = "AUTOCOMMIT"
LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
_SAME = "this is not the outermost transaction, which has its own isolation level and access mode"


def check_level(level: object, *, autocommit: bool) -> str | None:
    """Return the name of an isolation level; raises `ArgumentError` if it is none.

    *autocommit* tells whether AUTOCOMMIT is one.
    """
    if level is None:
        return None
    name = level.replace("_", " ").replace("-", " ").upper() if isinstance(level, str) else ""
    known = (*LEVELS, AUTOCOMMIT) if autocommit else LEVELS
    if name not in known:
        expected = ", ".join(map(repr, known))
        raise ArgumentError(f"argument 'isolation_level' takes one of {expected}, got {level!r}")
    return name


def check_read_only(read_only: object) -> bool | None:
    """Return *read_only*; raises `ArgumentError` if it is not true, false or `None`."""
    if not isinstance(read_only, (bool, type(None))):
        raise ArgumentError(f"argument 'read_only' takes True or False, got {read_only!r}")
    return read_only


def check_inner(level: str | None, read_only: bool | None, root: tuple[object, object]) -> None:
    """Raise `InvalidRequestError` if a transaction within *root*'s is to be another sort."""
    if level not in (None, root[0]) or read_only not in (None, root[1]):
        raise InvalidRequestError(_SAME)


def characteristics(level: str | None, read_only: bool | None, scope: str = "") -> str | None:
    """Return the statement that sets them for the next transaction, or for a *scope*."""
    parts = [] if level is None else [f"ISOLATION LEVEL {level}"]
    if read_only is not None:
        parts.append("READ ONLY" if read_only else "READ WRITE")
    return f"SET {scope}TRANSACTION {', '.join(parts)}" if parts else None


def begin_statement(read_only: bool | None) -> str:
    """Return the statement that begins a transaction."""
    if read_only is None:
        return "BEGIN"
    return f"START TRANSACTION {'READ ONLY' if read_only else 'READ WRITE'}"


async def current_level(connection: Connection) -> str:
    """Ask for the isolation level of the session."""
    level, _ = _variables(connection)
    return (await _values(connection, (level,)))[0].decode().replace("-", " ")


async def set_of_session(connection: Connection, level: str | None, read_only: bool | None) -> None:
    """Set them until the connection is given back."""
    if level == AUTOCOMMIT:
        await connection.autocommit(True)
        level = None
    statement = characteristics(level, read_only, "SESSION ")
    if statement is None:
        return
    protocol = connection._protocol
    assert protocol is not None
    names, kept = _variables(connection), connection.session.values
    if not all(name in kept for name in names):
        kept.update(zip(names, await _values(connection, names), strict=True))
    # Before: if it is cut off, nobody knows, and both are put back.
    if level is not None:
        protocol.changes[names[0]] = level.replace(" ", "-").encode()
    if read_only is not None:
        protocol.changes[names[1]] = str(int(read_only)).encode()
    await connection.query(statement)
    if read_only is not None:
        protocol.reads_only = read_only


def _variables(connection: Connection) -> tuple[bytes, bytes]:
    if "MariaDB" in connection.server_version:
        return b"tx_isolation", b"tx_read_only"
    return b"transaction_isolation", b"transaction_read_only"


async def _values(connection: Connection, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    variables = ", ".join(f"@@SESSION.{name.decode()}" for name in names)
    packet = connection.rendered(f"SELECT {variables}")
    return await connection.ask(packet, describe_bytes)
