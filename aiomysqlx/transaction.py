"""Transactions, as `SAConnection.begin()` and its siblings give them."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from .exc import InvalidRequestError
from .runtime.awaitable import Asynchronous, AwaitableContext

if TYPE_CHECKING:  # the connection makes its transactions
    from .connection import SAConnection

T = TypeVar("T", bound="Transaction")
# The isolation level and whether it only reads, where that was said.
Kind = tuple[str | None, bool | None]
INACTIVE = "This transaction is inactive"
LOST = "This transaction was ended by an error or with its connection, not committed"


class Transaction(Asynchronous):
    """A transaction within another one: its end does nothing, its rollback ends the outer one.

    Used with `async with`, a transaction is committed at the end of the block and rolled back
    if the block raises. A block that has ended its transaction itself executes nothing more.
    """

    # Of the outermost, as it was begun.
    _kind: Kind = (None, None)

    _usage = "async with conn.begin()"

    def __init__(self, connection: SAConnection, parent: Transaction | None) -> None:
        self._connection = connection
        # None for the outermost: a cycle would keep the connection until the collector comes by.
        self._outer = parent
        self._is_active = True
        self._is_lost = False  # ended by an error, with or without what was done in it
        # What has become of it though its block is not left yet, by its own end or another one's.
        self._over: str | None = None
        self._has_ended_itself = False
        self._is_leaving = False

    @property
    def is_active(self) -> bool:
        """Whether neither the transaction nor the one around it has ended."""
        return self._is_active and (self._outer is None or self._outer.is_active)

    @property
    def _parent(self) -> Transaction:
        """The transaction around this one; the outermost itself."""
        return self if self._outer is None else self._outer

    @property
    def _can_roll_back(self) -> bool:
        return (self._outer or self).is_active

    @property
    def connection(self) -> SAConnection:
        """The connection of the transaction."""
        return self._connection

    @property
    def _root(self) -> Transaction:
        """The outermost transaction, which this one is in or is itself."""
        return self if self._outer is None else self._outer._root

    def _is_within(self, other: Transaction) -> bool:
        """Whether this is *other* or, however deep, in it."""
        inner: Transaction | None = self
        while inner is not None and inner is not other:
            inner = inner._outer
        return inner is not None

    async def close(self) -> None:
        """Roll back if this is the outermost transaction; otherwise do nothing but end."""
        if self._parent is self:
            await self.rollback()
        else:
            self._is_active = False

    async def rollback(self) -> None:
        """Roll back; does nothing if the outermost transaction has ended.

        Raises `InvalidRequestError` while another task's statement is in progress.
        """
        if not self._parent.is_active:
            return
        await self._do_rollback(self)

    async def commit(self) -> None:
        """Commit; raises `InvalidRequestError` if the outermost transaction has ended.

        So it does while another task's statement is in progress.
        """
        if not (self._outer or self).is_active:
            raise InvalidRequestError(INACTIVE)
        await self._do_commit()

    async def _do_rollback(self, asked: Transaction) -> None:
        """Roll back because *asked*, this transaction or one within it, is rolled back."""
        await self._parent._do_rollback(asked)
        self._is_active = False

    async def _do_commit(self) -> None:
        await self._connection._check_transaction()
        self._is_active = False

    def _enter(self) -> None:
        self._connection._enter_block(self)

    async def __aenter__(self) -> Transaction:
        self._enter()
        return self

    def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Coroutine[Any, Any, None]:
        return self._leave(exc)

    async def _leave(self, error: BaseException | None) -> None:
        self._is_leaving = True
        try:
            if error is None:
                await self._end_block()
            else:
                # The body's error is the one to tell; a connection that cannot roll back is closed.
                with suppress(Exception):
                    await self._connection._undo(self)
        finally:
            self._connection._leave_block(self)

    async def _end_block(self) -> None:
        if self._over is not None and not self._has_ended_itself:
            raise InvalidRequestError(self._over)
        if self._is_lost:
            raise InvalidRequestError(LOST)
        if self._is_active:
            try:
                await self.commit()
            except BaseException:  # nothing of a block may stay that did not end
                with suppress(Exception):
                    await self._connection._undo(self)
                raise


class Begin(AwaitableContext[T]):
    """What `SAConnection.begin()` and its siblings give."""

    __slots__ = ()
    _usage = "async with conn.begin(), or transaction = await conn.begin()"

    async def __aenter__(self) -> T:
        self._value = transaction = await self._coroutine
        transaction._enter()
        return transaction

    def _leave(self, value: T, error: BaseException | None) -> Coroutine[Any, Any, None]:
        return value._leave(error)


class RootTransaction(Transaction):
    """The outermost transaction of a connection."""

    def __init__(self, connection: SAConnection, kind: Kind = (None, None)) -> None:
        super().__init__(connection, None)
        self._kind = kind

    def _do_rollback(self, asked: Transaction) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "ROLLBACK", asked)

    def _do_commit(self) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "COMMIT", self)


class NestedTransaction(Transaction):
    """A savepoint within a transaction."""

    def __init__(self, connection: SAConnection, parent: Transaction, savepoint: str) -> None:
        super().__init__(connection, parent)
        self._savepoint = savepoint

    @property
    def _can_roll_back(self) -> bool:
        return self.is_active

    async def close(self) -> None:
        """End without a word to the server: what was done stays in the transaction around it."""
        if self.is_active:
            self._connection._leave_nested(self)

    async def _do_rollback(self, asked: Transaction) -> None:
        if self._is_active:
            await self._connection._end_savepoint(self, "ROLLBACK TO", asked)

    async def _do_commit(self) -> None:
        if self._is_active:
            await self._connection._end_savepoint(self, "RELEASE", self)


class TwoPhaseTransaction(Transaction):
    """A transaction that is prepared before it is committed (XA)."""

    def __init__(
        self, connection: SAConnection, xid: str | bytes, kind: Kind = (None, None)
    ) -> None:
        super().__init__(connection, None)
        self._kind = kind
        self._xid = xid
        self._is_prepared = False

    @property
    def xid(self) -> str | bytes:
        """The transaction's id."""
        return self._xid

    async def prepare(self) -> None:
        """Prepare: from now on the transaction survives a loss of the connection, under its xid.

        Nothing is executed in it any more. Raises `InvalidRequestError` if it has ended.
        """
        if not self._is_active:
            raise InvalidRequestError(INACTIVE)
        await self._connection._prepare_twophase(self)

    def _do_rollback(self, asked: Transaction) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "ROLLBACK", asked)

    def _do_commit(self) -> Coroutine[Any, Any, None]:
        return self._connection._end_transaction(self, "COMMIT", self)
