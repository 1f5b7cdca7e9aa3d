"""Transactions, as `SAConnection.begin()` and its siblings return them."""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pymysql import err
from pymysql.constants import SERVER_STATUS

from .blocks import (
    ANY_KIND,
    BEING_ENDED,
    INACTIVE,
    LOST,
    OVER,
    UNKNOWN,
    Block,
    Blocks,
    Kind,
    is_refusal,
    leaves_open,
    prepared,
)
from .exc import SERVER_ERRORS, InvalidRequestError
from .runtime.awaitable import Asynchronous, AwaitableContext
from .runtime.record import Generic
from .runtime.words import logger, printable
from .wire.claims import over
from .wire.ending import cancelled, commit, roll_back
from .wire.leaving import check_left, is_lost
from .wire.outcome import Ending, of_commit, of_savepoint
from .wire.session import Session

if TYPE_CHECKING:  # TypeVar has defaults from Python 3.13 on
    from typing_extensions import TypeVar

    Owner = TypeVar("Owner", default=Any)
else:
    from typing import TypeVar

    Owner = TypeVar("Owner")

T = TypeVar("T", bound="Transaction")
_IN_TRANSACTION: int = SERVER_STATUS.SERVER_STATUS_IN_TRANS


class Transaction(Block, Asynchronous, Generic[Owner]):
    """A transaction within another one: its end does nothing, its rollback ends the outer one.

    Used with `async with`, a transaction is committed at the end of the block and rolled back
    if the block raises. A block that has ended its transaction itself executes nothing more.
    """

    _usage = "async with conn.begin()"

    def __init__(self, connection: Owner, blocks: Blocks, outer: Block | None) -> None:
        self._connection = connection
        self._blocks = blocks
        self._outer = outer
        self._is_active = True
        self._is_lost = False  # ended by an error, with or without what was done in it
        self._over = None
        self._has_ended_itself = False
        self._is_leaving = False

    @property
    def _parent(self) -> Block:
        """The transaction around this one; the outermost itself."""
        return self if self._outer is None else self._outer

    @property
    def connection(self) -> Owner:
        """The connection of the transaction."""
        return self._connection

    async def close(self) -> None:
        """Roll back if this is the outermost transaction; otherwise do nothing but end."""
        if self._parent is self:
            await self.rollback()
        else:
            self._is_active = False

    async def rollback(self) -> None:
        """Roll back; do nothing if the outermost transaction has ended.

        Raises `InvalidRequestError` while another task's statement is in progress.
        """
        if not self._parent.is_active:
            return
        await self._do_rollback(self)

    async def commit(self) -> None:
        """Commit; raise `InvalidRequestError` if the outermost transaction has ended.

        Raises it too while another task's statement is in progress.
        """
        if not (self._outer or self).is_active:
            raise InvalidRequestError(INACTIVE)
        await self._do_commit()

    async def _do_rollback(self, asked: Block) -> None:
        """Roll back because *asked*, this transaction or one within it, is rolled back."""
        await self._parent._do_rollback(asked)
        self._is_active = False

    async def _do_commit(self) -> None:
        await self._blocks.check_transaction()
        self._is_active = False

    async def __aenter__(self) -> Transaction[Owner]:
        self._blocks.enter(self)
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
                    await self._blocks.undo(self)
        finally:
            self._blocks.leave(self)

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
                    await self._blocks.undo(self)
                raise


class Begin(AwaitableContext[T]):
    """What `SAConnection.begin()` and its siblings return."""

    __slots__ = ()
    _usage = "async with conn.begin(), or transaction = await conn.begin()"

    async def __aenter__(self) -> T:
        transaction: T = await self._coroutine
        self._value = transaction
        transaction._blocks.enter(transaction)
        return transaction

    def _leave(self, value: T, error: BaseException | None) -> Coroutine[Any, Any, None]:
        return value._leave(error)


class Outermost(Transaction[Owner]):
    """A transaction that is in no other one."""

    # Whether the server begins another one as it ends, with completion_type=CHAIN.
    _chains = True
    # Whether the connection is used on if the server refuses the COMMIT, after a ROLLBACK.
    _may_be_refused = False

    def __init__(self, connection: Owner, blocks: Blocks, kind: Kind = ANY_KIND) -> None:
        super().__init__(connection, blocks, None)
        self._kind = kind

    def _do_rollback(self, asked: Block) -> Coroutine[Any, Any, None]:
        return self._blocks.limited(self._end("ROLLBACK", asked))

    def _do_commit(self) -> Coroutine[Any, Any, None]:
        return self._blocks.limited(self._end("COMMIT", self))

    async def _end(self, how: str, asked: Block) -> None:
        """End the transaction: *how* is COMMIT or ROLLBACK, of *asked*."""
        raw = self._blocks.connected()
        raw.check_loop()
        commits = how == "COMMIT"
        refusal: err.MySQLError | None = None
        try:
            if raw.is_unsettled():
                await _settle(raw, commits)
            ending = raw.ended
            if self._is_done(raw, commits, ending):
                return
            raw.unwatch()
            if _has_to_be_told(raw, ending):
                try:
                    await self._send_end(raw, how)
                except SERVER_ERRORS as error:
                    if not (commits and self._may_be_refused and is_refusal(error)):
                        raise
                    refusal = error
                if refusal is not None:
                    await _leave_no_doubt(raw, refusal)
            chained = self._chains and raw.server_status & _IN_TRANSACTION != 0
            if chained or raw.suspended or ending is not None:
                await self._tidy(raw, OVER[how], ending, chained)
        except InvalidRequestError:  # nothing was sent
            raise
        except BaseException as error:
            refusal = None  # whose traceback holds this frame
            # Nobody knows what became of the transaction: the connection must not be used again.
            self._blocks.give_up(raw)
            self._blocks.lose(commits, UNKNOWN if leaves_open(error) else LOST)
            raise
        if refusal is None:
            self._blocks.finish(self, OVER[how] if ending is None else over(ending), asked)
            return
        self._blocks.finish(self, over(of_commit(refusal.args[0])), None)
        try:
            raise refusal
        finally:
            del refusal  # whose traceback holds this frame

    def _is_done(self, raw: Session, commits: bool, ending: Ending | None) -> bool:
        """Check that the transaction may end so; tell whether nothing is left to be done."""
        if raw.left is not None or raw.later is not None:
            if commits:
                check_left(raw)
            elif is_lost(raw):  # which has rolled back, and is raised by what comes next
                self._blocks.lose(False)
                return True
        if commits:
            self._blocks.check_commit(self, ending)
        elif not self.is_active:  # another task was first
            return True
        elif ending is not None:
            _warn_if_late(ending)
        raw.check_free()  # or it would be refused, and the transaction go on unwatched
        return False

    async def _tidy(self, raw: Session, words: str, ending: Ending | None, chained: bool) -> None:
        """Leave nothing else of the transaction, which is over: or close the connection.

        Nobody is to be told by an error of this that there was no COMMIT.
        """
        try:
            if chained:  # with completion_type=CHAIN another one has begun
                await raw.query("ROLLBACK AND NO CHAIN", always=True)
            if raw.suspended:
                raw.suspended = False
                await raw.query("SET autocommit = 1", always=True)
            if ending is not None and ending.committed is not False:
                # A LOCK TABLES commits, and its locks would reach the next borrower.
                await raw.query("UNLOCK TABLES", always=True)
        except Exception:
            self._blocks.give_up(raw)
        except BaseException as error:  # cancelled, or its coroutine closed
            self._blocks.lose(False, words)
            if words == OVER["COMMIT"]:
                error.__cause__ = cancelled()
            raise

    def _send_end(self, raw: Session, how: str) -> Awaitable[object]:
        raise NotImplementedError


class RootTransaction(Outermost[Owner]):
    """The outermost transaction of a connection."""

    _may_be_refused = True

    def _send_end(self, raw: Session, how: str) -> Awaitable[object]:
        # Also what a statement has begun in the place of what it has committed.
        return roll_back(raw) if how == "ROLLBACK" else commit(raw, always=True)


async def _settle(raw: Session, commits: bool) -> None:
    """Wait for what is under way, and learn whether a transaction that *commits* goes on."""
    raw.leave_stream()
    if raw.busy:
        await raw.ready()
    if commits and raw.in_doubt:  # a ROLLBACK is right in any case
        await raw.resolve_doubt()


def _has_to_be_told(raw: Session, ending: Ending | None) -> bool:
    """Tell whether the server has to be sent the end of a transaction."""
    if ending is not None and ending.committed and not raw.in_transaction:
        return False
    if raw.leading is None:
        return True
    raw.leading = None  # nothing was executed in it
    return False


async def _leave_no_doubt(raw: Session, refusal: err.MySQLError) -> None:
    """Roll back what the server has refused to commit; raise the refusal if that fails."""
    try:
        await roll_back(raw)
    except Exception:
        try:
            raise refusal from None
        finally:
            del refusal  # whose traceback holds this frame


class NestedTransaction(Transaction[Owner]):
    """A savepoint within a transaction."""

    def __init__(self, connection: Owner, blocks: Blocks, outer: Block, savepoint: str) -> None:
        super().__init__(connection, blocks, outer)
        self._savepoint = savepoint

    @property
    def _can_roll_back(self) -> bool:
        return self.is_active

    async def close(self) -> None:
        """End without a word to the server: what was done stays in the transaction around it."""
        if self.is_active:
            self._blocks.finish(self, OVER["RELEASE"], self)

    async def _do_rollback(self, asked: Block) -> None:
        if self._is_active:
            await self._end("ROLLBACK TO", asked)

    async def _do_commit(self) -> None:
        if self._is_active:
            await self._end("RELEASE", self)

    async def _end(self, how: str, asked: Block) -> None:
        """End the savepoint: *how* is RELEASE or ROLLBACK TO, of *asked*."""
        raw = self._blocks.connected()
        try:
            with self._blocks.limit(raw):
                raw.leave_stream()
                if raw.busy:
                    await raw.ready()
                if raw.in_doubt:
                    await raw.resolve_doubt()
                if raw.left is not None and how != "RELEASE" and is_lost(raw):
                    self._blocks.lose(True)  # all of the transaction
                    return
                ending = raw.ended
                if how == "RELEASE":
                    self._blocks.check_commit(self, ending)
                elif not self.is_active:  # another task was first
                    return
                is_prepared = self._blocks.is_prepared
                if is_prepared and how != "RELEASE":  # it is all or nothing
                    raise prepared()
                if is_prepared and raw.closed:
                    await raw.resolve_doubt()  # which raises the loss
                # Else the savepoint is gone with the transaction.
                if ending is None and not is_prepared:
                    await raw.query(f"{how} SAVEPOINT {self._savepoint}", always=True)
        except InvalidRequestError:  # nothing was sent
            raise
        except BaseException as error:
            self._fail(raw, how, error)
            raise
        self._blocks.finish(self, OVER[how] if ending is None else over(ending), asked)

    def _fail(self, raw: Session, how: str, error: BaseException) -> None:
        if is_refusal(error):
            # There is none: a statement has put another transaction in the place of this one.
            raw.end_with(of_savepoint(error.args[0], getattr(error, "sqlstate", None)))
            self._is_lost = True
            self._blocks.finish(self, OVER[how], self)
        else:
            self._blocks.give_up(raw)
            self._blocks.lose(True)


class TwoPhaseTransaction(Outermost[Owner]):
    """A transaction that is prepared before it is committed (XA)."""

    _chains = False

    def __init__(
        self, connection: Owner, blocks: Blocks, xid: str | bytes, kind: Kind = ANY_KIND
    ) -> None:
        super().__init__(connection, blocks, kind)
        self._xid: str | bytes = xid

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
        from . import xa  # which few have use for: 0.2 ms of an import

        await xa.prepare(self._blocks, self)

    async def _send_end(self, raw: Session, how: str) -> None:  # a refusal ends the connection
        from . import xa

        with self._blocks.ending_as(BEING_ENDED):
            await xa.end(raw, how, self.xid, self._is_prepared)


def _warn_if_late(ending: Ending) -> None:
    """Warn of a rollback of what the server has committed, or may have."""
    if ending.committed is not False:
        came = "came" if ending.committed else "may have come"
        logger.warning("a rollback %s too late: %s", came, printable(ending.words))
