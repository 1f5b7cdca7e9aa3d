"""The transactions of one connection, and what may be executed in their `async with` blocks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from .exc import (
    SERVER_ERRORS,
    CommitUnknownError,
    InvalidRequestError,
    ResourceClosedError,
    StatementTimeoutError,
    TransactionPreparedError,
    is_disconnect,
)
from .runtime.words import Place
from .wire.claims import RELEASED, refused
from .wire.outcome import Ending
from .wire.session import Session

T = TypeVar("T")
# The isolation level and whether it only reads, where that was said.
Kind = tuple[str | None, bool | None]
ANY_KIND: Kind = (None, None)

INACTIVE = "This transaction is inactive"
BEING_ENDED = "this transaction is being ended: nothing is executed in it any more"
LOST = "This transaction was ended by an error or with its connection, not committed"
UNKNOWN = "This transaction's COMMIT was sent, and its answer lost: it is committed or not"
_PREPARED = "this transaction is prepared: commit it, or roll it back"
# What is not executed in a block whose transaction has been ended by such a statement, and why.
OVER = {
    "COMMIT": "this transaction has been committed: leave its block, and begin again",
    "RELEASE": "this savepoint has been released: leave its block",
    "ROLLBACK": "this transaction has been rolled back: leave its block, and begin again",
    "ROLLBACK TO": "this savepoint has been rolled back: leave its block",
}
_ER_XAER_RMFAIL = 1399
_UNLIMITED = nullcontext()


class Block:
    """A transaction, with what `Blocks` has to know of it."""

    # Of the outermost, as it was begun.
    _kind: Kind = ANY_KIND
    # Of a two-phase one: its id, and whether it is prepared or about to be.
    _xid: str | bytes | None = None
    _is_prepared = False

    # None for the outermost: a cycle would keep the connection until the collector comes by.
    _outer: Block | None
    _is_active: bool
    # What has become of it though its block is not left yet, by its own end or another one's.
    _over: str | None
    _has_ended_itself: bool
    _is_leaving: bool

    @property
    def is_active(self) -> bool:
        """Whether neither the transaction nor the one around it has ended."""
        return self._is_active and (self._outer is None or self._outer.is_active)

    @property
    def _can_roll_back(self) -> bool:
        return (self._outer or self).is_active

    @property
    def _root(self) -> Block:
        """The outermost transaction, which this one is in or is itself."""
        return self if self._outer is None else self._outer._root

    def _is_within(self, other: Block) -> bool:
        """Return whether this is *other* or, however deep, in it."""
        inner: Block | None = self
        while inner is not None and inner is not other:
            inner = inner._outer
        return inner is not None

    async def rollback(self) -> None:
        """Roll back."""
        raise NotImplementedError

    async def _do_rollback(self, asked: Block) -> None:
        raise NotImplementedError


class Blocks:
    """The transactions of one connection, and their `async with` blocks."""

    __slots__ = ("_endings", "_entered", "_timeout", "current", "place", "raw")

    def __init__(self, raw: Session | None, timeout: float | None, place: Place | None) -> None:
        self.raw = raw
        """The connection; `None` once it was given back."""
        self.current: Block | None = None
        """The innermost transaction in progress."""
        self.place: Place | None = place
        """Where the connection was acquired, if an engine lends it."""
        self._timeout = timeout
        # The blocks that are not left yet.
        self._entered: tuple[Block, ...] = ()
        # What is being ended in several steps, by two tasks perhaps.
        self._endings: tuple[str, ...] = ()

    # -- the connection --------------------------------------------------------------------------

    def connected(self) -> Session:
        """Return the connection; raise `ResourceClosedError` if it was given back."""
        if self.raw is None:
            raise closed()
        return self.raw

    def open(self) -> Session:
        """Return the connection if something may be executed; raise an error that says why not."""
        raw = self.raw
        if raw is None:
            raise closed()
        if raw.barred is not None:
            raise raw.barred()
        return raw

    def limit(self, raw: Session) -> AbstractContextManager[None]:
        """Limit what begins or ends a transaction to the engine's `statement_timeout`."""
        return _UNLIMITED if self._timeout is None else raw.limit(self._timeout)

    def limited(self, coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
        """Return what runs *coroutine* in the time limit of `limit()`."""
        return coroutine if self._timeout is None else self._in_time(coroutine)

    async def _in_time(self, coroutine: Coroutine[Any, Any, T]) -> T:
        if self.raw is None:  # as it says itself
            return await coroutine
        with self.limit(self.raw):
            return await coroutine

    def give_up(self, raw: Session) -> None:
        """Close the connection, unless it was given back meanwhile: others may have it."""
        if self.raw is raw:
            raw.close(f"the end of a transaction failed or was cut off: {raw.remedy}")

    def detach(self) -> None:
        """Leave the connection to whoever has it next."""
        raw, self.raw = self.raw, None
        if raw is not None and (self.current is not None or self._entered or self._endings):
            raw.barred = raw.leading = None  # else they are not this one's
            raw.unwatch()

    # -- the blocks ------------------------------------------------------------------------------

    @property
    def root(self) -> Block | None:
        """The outermost transaction in progress."""
        return None if self.current is None else self.current._root

    @property
    def is_prepared(self) -> bool:
        """Whether the transaction in progress is a prepared one."""
        return self.current is not None and self.current._root._is_prepared

    def enter(self, transaction: Block) -> None:
        """Enter a transaction's block."""
        if not transaction.is_active:
            raise InvalidRequestError(INACTIVE)
        if self.has_entered(transaction):  # its end would leave the outer one without transaction
            raise InvalidRequestError(
                "this transaction has its block: begin() another one within, or begin_nested()"
            )
        self._entered = (*self._entered, transaction)

    def has_entered(self, transaction: Block) -> bool:
        """Return whether a transaction has a block that is not left yet."""
        return transaction in self._entered

    def leave(self, transaction: Block) -> None:
        """Leave a transaction's block."""
        if self._entered == (transaction,):
            self._entered = ()
        else:
            self._entered = tuple(block for block in self._entered if block is not transaction)
        if self.raw is not None and self.raw.barred is not None:
            self._update_bar()

    def finish(self, ended: Block, words: str, asked: Block | None) -> None:
        """End a transaction; blocks in it that are not left yet execute nothing more.

        That is what *words* say. The block of *asked*, which has ended the transaction, does not
        raise as it is left.
        """
        ended._is_active = False
        self.current = ended._outer
        over = False
        for block in self._entered:
            if not block._is_leaving and block._is_within(ended):
                block._over = words
                block._has_ended_itself = block is asked
                over = True
        if over or (self.raw is not None and self.raw.barred is not None):
            self._update_bar()

    def lose(self, work: bool, words: str = LOST) -> None:
        """End the transactions of a closed connection; blocks raise *words*, if *work* is lost.

        It may be connected anew, by ping(): they execute nothing then.
        """
        transaction, self.current = self.current, None
        while transaction is not None:
            transaction._is_active = False
            transaction = transaction._outer
        if self.raw is not None:
            self.raw.leading = None
            self.raw.unwatch()
        for block in self._entered:
            if not block._is_leaving and block._over is None:
                block._over = words
                block._has_ended_itself = not work
        self._update_bar()

    async def undo(self, transaction: Block) -> None:
        """Roll back, though a statement of another task may be under way; or close the connection.

        Nothing else is executed meanwhile, nor does another task's statement of several packets go
        on.
        """
        raw = self.raw
        if raw is None or not transaction._can_roll_back:
            return
        raw.undone += 1
        try:
            with self.ending_as(BEING_ENDED):
                with self.limit(raw):
                    await raw.quiet()
                await transaction.rollback()
        except BaseException:
            if transaction._can_roll_back:  # else its rollback has done what there is to do
                self.give_up(raw)
                self.lose(True)
            raise

    # -- what is executed ------------------------------------------------------------------------

    @contextmanager
    def ending_as(self, what: str) -> Iterator[None]:
        """Refuse, with the words *what*, what others would execute between the steps of a block."""
        self._endings = (*self._endings, what)
        self._update_bar()
        try:
            yield
        finally:
            # Not what there was before: another task may have begun, or ended, meanwhile.
            left = list(self._endings)
            left.remove(what)
            self._endings = tuple(left)
            self._update_bar()

    def check_commit(self, transaction: Block, ending: Ending | None) -> None:
        """Raise `InvalidRequestError` if there is nothing to commit."""
        if self._endings:
            raise InvalidRequestError(self._endings[-1])
        if ending is not None and not ending.committed:
            raise refused(ending)
        if not transaction.is_active:
            raise InvalidRequestError(INACTIVE)

    async def check_transaction(self) -> None:
        """Raise `InvalidRequestError` if the server has ended the transaction and not committed."""
        raw = self.connected()
        if raw.in_doubt and not raw.busy:
            with self.limit(raw):
                await raw.resolve_doubt()
        if raw.ended is not None and not raw.ended.committed:
            raise refused(raw.ended)

    def _update_bar(self) -> None:
        """Set why nothing is executed, by whatever way to the server, if that is so."""
        raw = self.raw
        if raw is None:
            return
        words = next((block._over for block in self._entered if block._over), None)
        if self._endings:
            raw.barred = partial(InvalidRequestError, self._endings[-1])
        elif self.is_prepared:
            raw.barred = prepared
        else:
            raw.barred = None if words is None else partial(InvalidRequestError, words)


def prepared() -> TransactionPreparedError:
    """Return the error for what is to be executed in a prepared transaction."""
    return TransactionPreparedError(_ER_XAER_RMFAIL, _PREPARED)


def closed() -> ResourceClosedError:
    """Return the error for what is to be executed on a connection that was given back."""
    return ResourceClosedError(RELEASED)


def leaves_open(error: BaseException) -> bool:
    """Return whether *error* says that nobody knows what became of a COMMIT."""
    return any(isinstance(each, CommitUnknownError) for each in (error, error.__cause__))


def is_refusal(error: BaseException) -> bool:
    """Return whether *error* is the server's, or ours before anything was sent."""
    if isinstance(error, (StatementTimeoutError, CommitUnknownError, asyncio.CancelledError)):
        return False
    return isinstance(error, InvalidRequestError) or (
        isinstance(error, SERVER_ERRORS) and not is_disconnect(error)
    )
