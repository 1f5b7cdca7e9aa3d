"""Isolation levels and READ ONLY: by the names that SQLAlchemy has for them."""

from __future__ import annotations

from ..exc import ArgumentError, InvalidRequestError

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
