"""The isolation level and access mode of a session's transactions."""

from __future__ import annotations

from .columns import describe_bytes
from .isolation import AUTOCOMMIT, characteristics
from .session import Session


async def current_level(session: Session) -> str:
    """Ask for the isolation level of the session."""
    level, _ = _variables(session)
    return (await _values(session, (level,)))[0].decode().replace("-", " ")


async def set_of_session(session: Session, level: str | None, read_only: bool | None) -> None:
    """Set them until the connection is given back."""
    if level == AUTOCOMMIT:
        await session.autocommit(True)
        level = None
    statement = characteristics(level, read_only, "SESSION ")
    if statement is None:
        return
    protocol = session.protocol
    assert protocol is not None
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


def _variables(session: Session) -> tuple[bytes, bytes]:
    if session.is_mariadb:
        return b"tx_isolation", b"tx_read_only"
    return b"transaction_isolation", b"transaction_read_only"


async def _values(session: Session, names: tuple[bytes, ...]) -> tuple[bytes, ...]:
    variables = ", ".join(f"@@SESSION.{name.decode()}" for name in names)
    packet = session.rendered(f"SELECT {variables}")
    return await session.ask(packet, describe_bytes)
