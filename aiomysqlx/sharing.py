"""`native()`: this package's own way to execute, on a connection that SQLAlchemy has."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy.engine import AdaptedConnection
from sqlalchemy.pool import PoolProxiedConnection

from .connection import SAConnection
from .driver import Connection
from .exc import ArgumentError, InvalidRequestError, ResourceClosedError
from .runtime.awaitable import AwaitableContext, CallbackContext
from .runtime.words import type_name
from .settings import default_dialect
from .shared_connection import USAGE, Loan, SharedConnection

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection as SyncConnection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_scoped_session
    from sqlalchemy.orm import Session as SyncSession

    Shareable = (
        AsyncSession
        | async_scoped_session[Any]
        | AsyncConnection
        | Connection
        | PoolProxiedConnection
        | AdaptedConnection
    )


def native(
    thing: Shareable, *, bind_arguments: Mapping[str, Any] | None = None
) -> AwaitableContext[SAConnection]:
    """Lend the connection of an `AsyncSession` or `AsyncConnection` as an `SAConnection`.

    For the block of `async with`: what is executed in it is in the transaction of the session,
    which begins if need be, after a flush unless its `autoflush` is off. Only the session commits
    or rolls it back. It has to be on `mysql+aiomysqlx://`.

    *bind_arguments* choose among the engines of a session, as in `AsyncSession.connection()`.

    A connection of `connect()`, or what `get_raw_connection()` gives, is lent as it is: no
    transaction begins, and `begin()` may begin one.

    Raises `ArgumentError` for anything else, and what SQLAlchemy raises for a session or
    connection that is closed or whose transaction has failed.
    """
    return CallbackContext(_enter(thing, bind_arguments), _leave, USAGE)


async def _enter(thing: Any, bind_arguments: Mapping[str, Any] | None) -> SAConnection:
    asynchronous: Any = sys.modules.get("sqlalchemy.ext.asyncio")  # else it is nothing of that
    if asynchronous is not None and isinstance(thing, asynchronous.async_scoped_session):
        thing = thing()
    if asynchronous is not None and isinstance(thing, asynchronous.AsyncSession):
        return await _enter_session(thing, bind_arguments)
    if bind_arguments is not None:
        raise ArgumentError(
            f"bind_arguments are for an AsyncSession, got {type_name(type(thing))}: leave them out"
        )
    if asynchronous is not None and isinstance(thing, asynchronous.AsyncConnection):
        owner = thing.sync_connection
        if owner is not None and owner.in_transaction() and not owner.invalidated:
            return _of_connection(owner)
        return cast("SAConnection", await thing.run_sync(_of_connection))
    if isinstance(thing, Connection):
        return SAConnection(_opened(thing), Loan(default_dialect()))
    if isinstance(thing, PoolProxiedConnection) and not thing.is_valid:
        raise ResourceClosedError("the connection has been given back to its pool: get another")
    if isinstance(thing, (PoolProxiedConnection, AdaptedConnection)):
        pooled = thing if isinstance(thing, PoolProxiedConnection) else None
        return SharedConnection(
            _opened(_driven(thing, thing)), Loan(default_dialect()), None, pooled
        )
    raise ArgumentError(
        "native() takes an AsyncSession, an AsyncConnection or a connection of this package's"
        f" connect(), got {type_name(type(thing))}{_remedy(thing)}"
    )


async def _enter_session(
    session: AsyncSession, bind_arguments: Mapping[str, Any] | None
) -> SAConnection:
    owner = _at_hand(session.sync_session, bind_arguments or {})
    if owner is not None:
        shared = _of_connection(owner)
    else:
        shared = await session.run_sync(_of_session, bind_arguments)
    shared._follow(session)
    return shared


def _at_hand(session: SyncSession, bind_arguments: Mapping[str, Any]) -> SyncConnection | None:
    """Return a session's connection, if nothing has to be flushed or begun before.

    It needs no greenlet then, which would cost as much as half of a statement.
    """
    transaction = session.get_nested_transaction() or session.get_transaction()
    connections = getattr(transaction, "_connections", None)
    if not connections:
        return None
    bind = session.get_bind(**bind_arguments)
    if bind not in connections:
        return None
    if session.autoflush and (session.new or session.dirty or session.deleted):
        return None
    return session.connection({"bind": bind})  # as a session may choose at random


def _of_session(session: SyncSession, bind_arguments: Mapping[str, Any] | None) -> SharedConnection:
    """Flush, as before any statement of the session, and return what shares its connection."""
    if session.autoflush:
        session.flush()
    # A copy: it is changed there.
    given = None if bind_arguments is None else dict(bind_arguments)
    return _of_connection(session.connection(given))


def _of_connection(owner: SyncConnection) -> SharedConnection:
    """Begin a transaction, as any statement would, and return what shares it."""
    transaction, savepoint = owner.get_transaction(), owner.get_nested_transaction()
    if transaction is None:
        owner.begin()
    elif not transaction.is_active or not (savepoint is None or savepoint.is_active):
        raise InvalidRequestError(
            "the transaction of the AsyncConnection is not active any more: call its rollback()"
        )
    pooled = owner.connection
    return SharedConnection(_driven(pooled, owner), Loan(owner.dialect), owner, pooled)


def _driven(managed: PoolProxiedConnection | AdaptedConnection, thing: Any) -> Connection:
    """Return the driver's connection, if it is this package's; raise `ArgumentError`."""
    connection = managed.driver_connection
    if not isinstance(connection, Connection):
        name = thing.dialect.driver if hasattr(thing, "dialect") else None
        raise ArgumentError(
            "native() takes what is on mysql+aiomysqlx://, got"
            f" {f'one on mysql+{name}://' if name else type_name(type(connection))}"
        )
    return connection


def _opened(connection: Connection) -> Connection:
    """Return *connection*, if it is open; raise what it is closed with."""
    session = connection._session
    if session.closed:
        raise session.loss or session.not_connected()
    return connection


def _remedy(thing: object) -> str:
    if isinstance(thing, SAConnection):
        return ": it is native already"
    if hasattr(thing, "connect"):
        return ": async with engine.connect() as conn, and native(conn)"
    name = f"Async{type(thing).__name__}"
    if hasattr(sys.modules.get("sqlalchemy.ext.asyncio"), name):
        return f": give it the {name}, outside of run_sync()"
    return ""


async def _leave(conn: SAConnection, error: BaseException | None) -> None:
    if isinstance(conn, SharedConnection):
        await conn._leave(error)
    else:
        await conn.close()
