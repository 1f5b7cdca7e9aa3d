"""A connection that executes in the transaction of an `AsyncSession` or `AsyncConnection`."""

from __future__ import annotations

import weakref
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.pool import PoolProxiedConnection

from .begin import begin_savepoint
from .blocks import Block, Blocks
from .connection import SAConnection
from .driver import Connection
from .exc import SERVER_ERRORS, InvalidRequestError, ResourceClosedError
from .runtime.awaitable import Done
from .runtime.record import Absent
from .runtime.words import Place
from .sql.statements import executable
from .transaction import Begin, NestedTransaction, Transaction, TwoPhaseTransaction
from .wire.outcome import Ending
from .wire.session import Session

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection as SyncConnection
    from sqlalchemy.ext.asyncio import AsyncSession
    from sqlalchemy.orm import Session as SyncSession
    from sqlalchemy.orm import SessionTransaction

USAGE = "async with aiomysqlx.native(session) as conn"
_LEFT = "This connection is closed: its native() block has been left, enter another"
_ENDED = (
    "the transaction that this connection shares has been ended by its AsyncSession or"
    " AsyncConnection: leave the native() block, and enter another"
)
_UNFINISHED = (
    "a transaction or savepoint of the native() block was left open, and has been rolled back:"
    " commit it, or use it with async with"
)
_CUT_OFF = (
    "this savepoint has ended with the one of the AsyncSession or AsyncConnection in which it was"
    " begun: end the inner one first"
)
_END_IT = "call the rollback() of the AsyncSession or AsyncConnection that it belongs to"
_OWNED = (
    "the transaction belongs to the AsyncSession or AsyncConnection, whose commit() and rollback()"
    " end it: begin_nested() begins a savepoint in it"
)
_NO_TRANSACTION = (
    "the connection commits each statement by itself, and has no transaction for a savepoint: its"
    " isolation level is AUTOCOMMIT"
)
_OPTIONS_OWNED = (
    "isolation_level and read_only are of the whole transaction: set them on the AsyncSession or"
    " AsyncConnection, before it begins"
)


class Loan:
    """What lends a connection that stays its owner's."""

    __slots__ = ("dialect",)
    _tracks_gtids = True  # as far as whoever was lent to knows: it is the owner who commits

    def __init__(self, dialect: Dialect) -> None:
        self.dialect: Dialect = dialect

    def release(self, conn: SAConnection) -> None:
        """Leave the connection to its owner."""
        conn._detach()

    def _reclaim(self, conn: SAConnection, raw: Session, place: Place) -> None:
        """Do nothing: what is lent has no place where it was acquired."""


class _Owners(Block):
    """A transaction that belongs to an `AsyncSession` or `AsyncConnection`."""

    _outer = None
    _is_active = True
    _over = None
    _has_ended_itself = _is_leaving = False


class SharedSavepoint(NestedTransaction["SharedConnection"]):
    """A savepoint of a `native()` block, which may be within one of SQLAlchemy's own."""

    def __init__(
        self, connection: SharedConnection, blocks: Blocks, outer: Block, savepoint: str
    ) -> None:
        super().__init__(connection, blocks, outer, savepoint)
        owner = connection._owner
        self._around = None if owner is None else owner.get_nested_transaction()
        # Whether that one has ended before this one, which the server ends with it.
        self._is_cut_off = False

    async def _do_rollback(self, asked: Block) -> None:
        self._check()
        await super()._do_rollback(asked)
        self._cut_off_inner()

    async def _do_commit(self) -> None:
        self._check()
        await super()._do_commit()
        self._cut_off_inner()

    def _check(self) -> None:
        self._connection._end_cut_off()
        if self._is_cut_off:
            raise InvalidRequestError(_CUT_OFF)

    def _cut_off_inner(self) -> None:
        """Note which savepoints of the owner's were begun in this one: they have ended with it."""
        owner, raw = self._connection._owner, self._connection._own()
        nested = None if owner is None else owner.get_nested_transaction()
        while nested is not None and nested is not self._around and raw is not None:
            raw.cut_off |= {nested._savepoint}
            nested = nested._previous_nested


class SharedConnection(SAConnection):
    """A connection that executes in the transaction of SQLAlchemy's own; `native()` gives one."""

    if not TYPE_CHECKING:
        commit = Absent("the AsyncSession or AsyncConnection commits")
        rollback = Absent("the AsyncSession or AsyncConnection rolls back")

    _usage = USAGE
    _why_closed = _LEFT

    def __init__(
        self,
        connection: Connection,
        loan: Loan,
        owner: SyncConnection | None = None,
        pooled: PoolProxiedConnection | None = None,
    ) -> None:
        super().__init__(connection, loan)
        raw = connection._session
        self._owner, self._pooled = owner, pooled
        self._translate: Mapping[str | None, str | None] | None = None
        self._root: _Owners | None = None
        if owner is not None:
            self._translate = owner.get_execution_options().get("schema_translate_map")
            if raw.in_transaction or not raw.autocommits:
                self._root = _Owners()
        self._blocks = Blocks(raw, None, None)
        self._blocks.current = self._root
        # The session, if it is one's, its transaction, and its savepoint as far as it has begun.
        self._unit: AsyncSession | None = None
        self._orm: SyncSession | None = None
        self._whole: SessionTransaction | None = None
        self._savepoint: SessionTransaction | None = None
        if self._root is not None:
            raw.join()
        # Not by a reference of its own: the pool would keep whoever was dropped without a close.
        self._told = partial(_tell, weakref.ref(self))
        raw.sharers = (*raw.sharers, self._told)

    def _follow(self, unit: AsyncSession) -> None:
        """Take part in the savepoints of a session, which begin no sooner than they are needed."""
        self._unit = unit
        self._orm = orm = unit.sync_session
        self._whole, self._savepoint = orm.get_transaction(), orm.get_nested_transaction()

    def _is_behind(self) -> bool:
        """Return whether the session has begun or ended a transaction since the last statement."""
        orm = self._orm
        return orm is not None and (
            orm.get_nested_transaction() is not self._savepoint
            or orm.get_transaction() is not self._whole
        )

    async def _catch_up(self) -> None:
        """Have the session's savepoint begin on the connection."""
        self._open()
        assert self._orm is not None and self._unit is not None and self._owner is not None
        if self._orm.get_transaction() is not self._whole:  # within another one, of a connection
            self._end_with_owner()
            raise ResourceClosedError(_ENDED)
        savepoint = self._orm.get_nested_transaction()
        await self._unit.connection({"bind": self._owner})
        self._savepoint = savepoint

    # -- executing -------------------------------------------------------------------------------

    async def _execute(
        self, query: Any, multiparams: Sequence[Any], params: dict[str, Any], stream: Any = None
    ) -> Any:
        if self._translate and not isinstance(query, str):
            statement: Any = executable(query)
            query = statement.execution_options(schema_translate_map=self._translate)
        if self._is_behind():
            await self._catch_up()
        raw = self._session
        try:
            return await super()._execute(query, multiparams, params, stream)
        except BaseException as error:
            if raw is not None:
                self._tell_of_loss(raw, error)
            raise

    def _open(self) -> Session:
        raw = self._raw()
        if self._pooled is not None and not self._pooled.is_valid:
            raise ResourceClosedError(_ENDED)
        if raw.protocol.replies:
            raw.check_turn()
        blocks = self._blocks
        if blocks is not None and blocks.current is not self._root:
            self._end_cut_off(held=False)
        return super()._open()

    def _raw(self) -> Session:
        raw = self._own()
        if raw is None:
            raise ResourceClosedError(self._why_closed)
        return raw

    def _tell_of_loss(self, raw: Session, error: BaseException | None) -> None:
        """Have SQLAlchemy take a connection that is lost for lost, as after an error of its own.

        After an error, the others of its pool, older than that, are replaced as they are asked for.
        """
        owner, pooled = self._owner, self._pooled
        if owner is None or pooled is None or not pooled.is_valid:
            return
        if raw.useless:
            if isinstance(error, SERVER_ERRORS):
                owner.engine.pool._invalidate(pooled, error, _checkin=False)
            owner.invalidate(error)

    # -- transactions ----------------------------------------------------------------------------

    def begin(
        self, *, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Begin[Transaction[SAConnection]]:
        """Raise `InvalidRequestError`: the transaction is not this one's to begin."""
        if self._owner is not None:
            self._refuse_to_begin()
        return super().begin(isolation_level=isolation_level, read_only=read_only)

    def begin_nested(
        self, *, isolation_level: str | None = None, read_only: bool | None = None
    ) -> Begin[Transaction[SAConnection]]:
        """Begin a savepoint in the transaction that is shared."""
        self._open()
        if self._owner is not None and self._root is None:
            raise InvalidRequestError(_NO_TRANSACTION)
        return Begin(self._begin_nested(isolation_level, read_only))

    async def _begin_nested(
        self, isolation_level: str | None, read_only: bool | None
    ) -> Transaction[SAConnection]:
        if self._is_behind():
            await self._catch_up()
        return await begin_savepoint(
            self, self._use_blocks(), isolation_level, read_only, SharedSavepoint
        )

    def begin_twophase(
        self,
        xid: str | bytes | None = None,
        *,
        isolation_level: str | None = None,
        read_only: bool | None = None,
    ) -> Begin[TwoPhaseTransaction[SAConnection]]:
        """Raise `InvalidRequestError`: the transaction is not this one's to begin."""
        if self._owner is not None:
            self._refuse_to_begin()
        return super().begin_twophase(xid, isolation_level=isolation_level, read_only=read_only)

    def _refuse_to_begin(self) -> NoReturn:
        self._open()
        raise InvalidRequestError(_OWNED)

    def _set_options(
        self, isolation_level: str | None, read_only: bool | None, warnings: bool | None
    ) -> Coroutine[Any, Any, SAConnection]:
        if self._owner is not None and (isolation_level is not None or read_only is not None):
            raise InvalidRequestError(_OPTIONS_OWNED)
        return super()._set_options(isolation_level, read_only, warnings)

    # -- ending ----------------------------------------------------------------------------------

    def invalidate(self) -> Done:
        """Close the DB-API connection at once; SQLAlchemy replaces it once its owner rolls back."""
        raw = self._raw()
        done = super().invalidate()
        self._tell_of_loss(raw, None)
        return done

    async def close(self) -> None:
        """Roll back the savepoints that are left open, and leave the connection to its owner."""
        raw = self._own()
        try:
            await super().close()
        finally:
            if raw is not None:
                self._tell_of_loss(raw, None)

    def _unfinished(self) -> Block | None:
        """Return the outermost of the transactions begun here that has not ended."""
        block = None if self._blocks is None else self._blocks.current
        if block is self._root:
            return None
        while block is not None and block._outer is not self._root:
            block = block._outer
        return block

    def _end_cut_off(self, held: bool = True) -> bool:
        """End the savepoints begun in one of the owner's that has ended; tell if there are some.

        Those that are *held* as objects may stay: there is no block in which nothing is executed.
        """
        blocks = self._use_blocks()
        block, cut_off = blocks.current, False
        while isinstance(block, SharedSavepoint):
            if block._around is not None and not block._around.is_active:
                block._is_cut_off = cut_off = True
                if held or blocks.has_entered(block):
                    blocks.finish(block, _CUT_OFF, None)
            block = block._outer
        return cut_off

    async def _leave(self, error: BaseException | None) -> None:
        cut_off = self._end_cut_off()
        unfinished = self._unfinished() is not None
        ending = None
        try:
            if error is None:
                ending = await self._ending()
        finally:
            await self.close()
        if error is None and (cut_off or unfinished):
            raise InvalidRequestError(_CUT_OFF if cut_off else _UNFINISHED)
        if ending is not None:
            raise InvalidRequestError(f"{ending.words}: {_END_IT}")

    async def _ending(self) -> Ending | None:
        """Return what has ended the transaction that is shared, if something in the block has."""
        raw = self._own()
        if raw is None or raw.closed or self._root is None:
            return None
        if raw.in_doubt and not raw.busy:
            await raw.resolve_doubt()
        return raw.ended

    def _end_with_owner(self) -> None:
        """Execute nothing more: the transaction is about to be ended by whom it belongs to."""
        self._why_closed = _ENDED
        self._give_back()

    def __del__(self) -> None:
        self._detach()

    def _detach(self) -> Session | None:
        raw = super()._detach()
        if raw is not None:
            raw.sharers = tuple(each for each in raw.sharers if each is not self._told)
            if self._root is not None:
                raw.part()
        return raw


def _tell(sharer: weakref.ref[SharedConnection]) -> None:
    """Tell what shares a transaction of its end, if it is still there."""
    conn = sharer()
    if conn is not None:
        conn._end_with_owner()
