"""Transactions, as `SAConnection.begin()` and its siblings give them."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .exc import InvalidRequestError

if TYPE_CHECKING:  # the connection makes its transactions
    from .connection import SAConnection


class Transaction:
    """A transaction within another one: its end does nothing, its rollback ends the outer one.

    Used with `async with`, a transaction is committed at the end of the block and rolled back
    if the block raises.
    """

    def __init__(self, connection: SAConnection, parent: Transaction | None) -> None:
        self._connection = connection
        # None for the outermost: a cycle would keep the connection until the collector comes by.
        self._outer = parent
        self._is_active = True
        self._is_lost = False  # ended by an error, with or without what was done in it
        self._is_prepared = False

    @property
    def is_active(self) -> bool:
        """Whether neither the transaction nor the one around it has ended."""
        return self._is_active and (self._outer is None or self._outer.is_active)

    @property
    def _parent(self) -> Transaction:
        """The transaction around this one; the outermost itself."""
        return self if self._outer is None else self._outer

    @property
    def connection(self) -> SAConnection:
        """The connection of the transaction."""
        return self._connection

    async def close(self) -> None:
        """Roll back if this is the outermost transaction; otherwise do nothing but end."""
        if not self._parent.is_active:
            return
        if self._parent is self:
            await self.rollback()
        else:
            self._is_active = False

    async def rollback(self) -> None:
        """Roll back; does nothing if the outermost transaction has ended."""
        if not self._parent.is_active:
            return
        await self._do_rollback()

    async def commit(self) -> None:
        """Commit; raises `InvalidRequestError` if the outermost transaction has ended."""
        if not self._parent.is_active:
            raise InvalidRequestError("This transaction is inactive")
        await self._do_commit()

    async def _do_rollback(self) -> None:
        self._is_active = False
        await self._parent.rollback()

    async def _do_commit(self) -> None:
        self._is_active = False

    async def __aenter__(self) -> Transaction:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self._leave(exc)

    async def _leave(self, error: BaseException | None) -> None:
        if error is None:
            if self._is_lost:
                raise InvalidRequestError("This transaction was ended by an error, not committed")
            if self._is_active:
                try:
                    await self.commit()
                except InvalidRequestError:  # after a deadlock there is nothing to commit
                    with suppress(Exception):
                        await self.rollback()
                    raise
            return
        # The body's error is the one to tell; a connection that cannot roll back is closed.
        with suppress(Exception):
            await self.rollback()


class RootTransaction(Transaction):
    """The outermost transaction of a connection."""

    def __init__(self, connection: SAConnection) -> None:
        super().__init__(connection, None)

    def _do_rollback(self) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "ROLLBACK")

    def _do_commit(self) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "COMMIT")


class NestedTransaction(Transaction):
    """A savepoint within a transaction."""

    def __init__(self, connection: SAConnection, parent: Transaction, savepoint: str) -> None:
        super().__init__(connection, parent)
        self._savepoint = savepoint

    async def close(self) -> None:
        """End without a word to the server: what was done stays in the transaction around it."""
        if self._is_active and self._parent.is_active:
            self._connection._leave_nested(self)

    def _do_rollback(self) -> Coroutine[Any, Any, None]:
        return self._leave_savepoint("ROLLBACK TO SAVEPOINT")

    def _do_commit(self) -> Coroutine[Any, Any, None]:
        return self._leave_savepoint("RELEASE SAVEPOINT")

    async def _leave_savepoint(self, how: str) -> None:
        if self._is_active:
            await self._connection._end_savepoint(self, f"{how} {self._savepoint}")


class TwoPhaseTransaction(Transaction):
    """A transaction that is prepared before it is committed (XA)."""

    def __init__(self, connection: SAConnection, xid: str | bytes) -> None:
        super().__init__(connection, None)
        self._xid = xid

    @property
    def xid(self) -> str | bytes:
        """The transaction's id."""
        return self._xid

    async def prepare(self) -> None:
        """Prepare: from now on the transaction survives a loss of the connection, under its xid.

        Raises `InvalidRequestError` if the transaction has ended.
        """
        if not self._is_active:
            raise InvalidRequestError("This transaction is inactive")
        await self._connection._prepare_twophase(self)

    def _do_rollback(self) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "ROLLBACK")

    def _do_commit(self) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "COMMIT")
