"""How a session stands: with which server, in which transaction, and what is set of it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING

from pymysql.constants import SERVER_STATUS

from ..runtime.awaitable import copy_error
from .codes import NO_BACKSLASH_ESCAPES
from .dialogue import Dialogue
from .observing import LOG
from .outcome import NEXT_TRANSACTION, SCHEMA, Ending, Refusal

if TYPE_CHECKING:
    from .addresses import Address
    from .greeting import Greeting
    from .kill import Thread

_AUTOCOMMIT: int = SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT


class Standing(Dialogue):
    """A session as this side knows it, by what the server has told of it."""

    # What the server calls itself, if its greeting is not its own.
    told_version: str | None = None
    # What the server knows this session by, if it has told.
    thread: Thread | None = None
    # What is called once a transaction is over, by whom it belongs to: for those who share it.
    sharers: tuple[Callable[[], object], ...] = ()

    @property
    def address(self) -> Address:
        """Where its server is; before it is opened, where that is tried."""
        return self.login.address

    @property
    def node(self) -> Hashable:
        """What tells its server from others, as far as this side knows."""
        return self.login.address, self.login.peer

    @property
    def echo(self) -> bool | str:
        """Whether statements are logged; `"values"`: with their values."""
        return False if self.observer is None else self.observer.echo

    @echo.setter
    def echo(self, value: bool | str) -> None:
        self.observer = (self.observer or LOG).with_echo(value)
        if not self.observer.tells:
            self.observer = None

    @property
    def loss(self) -> BaseException | None:
        """The error with which the connection was lost, if not this side has closed it."""
        protocol = self.protocol
        if protocol.lost is None or protocol.closed_here:
            return None
        return copy_error(protocol.lost)

    @property
    def unfit(self) -> Refusal | None:
        """The error after which the connection is not to be lent again, if there was one."""
        return self.protocol.unfit

    @property
    def useless(self) -> bool:
        """Whether the connection is closed, its loop too, or its server works for nobody."""
        if self.closed or self.loop.is_closed():
            return True
        return self.unfit is not None and self.unfit.is_of_the_node

    @property
    def server_status(self) -> int:
        """The status flags of the server's latest reply, see `pymysql.constants.SERVER_STATUS`."""
        return self.protocol.status

    @property
    def no_backslash_escapes(self) -> bool:
        """Whether a backslash stands for itself in a string literal (an SQL mode)."""
        return self.syntax[1] & NO_BACKSLASH_ESCAPES != 0

    @property
    def in_transaction(self) -> bool:
        """Whether the server is in a transaction, or may be since the latest error."""
        return self.protocol.in_transaction

    @property
    def surely_ended(self) -> bool:
        """Whether there is surely nothing that ROLLBACK would end, and nothing under way.

        It is not enough that the status shows no transaction. A proxy's may never show one, MySQL
        keeps the locks of what has read a table without transactions, or was refused, if it does
        not autocommit, and a SET TRANSACTION is for the next one, whoever begins it.
        """
        if self.busy or self.in_transaction or self.closed:
            return False
        return self.pristine or self.just_ended

    @property
    def owes_rollback(self) -> bool:
        """Whether there may be something to roll back before others have the session."""
        if not self.autocommits:
            return not self.surely_ended
        return self.in_transaction or NEXT_TRANSACTION in self.protocol.changes

    @property
    def wrote(self) -> bool:
        """Whether rows were written in the transaction, as far as the server counts them."""
        return self.protocol.wrote

    @property
    def last_gtid(self) -> str | None:
        """What the server calls the latest transaction that it has committed, if it has told."""
        return self.protocol.last_gtid

    def forget_gtid(self) -> None:
        """Have nothing been committed yet: what was is not the next borrower's."""
        self.protocol.last_gtid = None

    def note_write(self) -> None:
        """Have the transaction in progress, if one is, be one in which rows were written."""
        if self.in_transaction:
            self.protocol.wrote = True

    @property
    def as_begun(self) -> bool:
        """Whether nothing is set of the session but what was when it was kept."""
        protocol = self.protocol
        if protocol.untold or protocol.changes:
            return False
        return protocol.status & _AUTOCOMMIT == self.kept.status

    def watch(self) -> None:
        """Begin to see whether the transaction goes on that BEGIN has just begun."""
        self.forget_left()
        self.protocol.watch()

    def unwatch(self) -> None:
        """Let the transaction end: the block is over, or about to be."""
        self.protocol.unwatch()

    def join(self) -> None:
        """Begin to see whether another's transaction goes on, which may not have begun yet."""
        self.protocol.join()

    def part(self) -> None:
        """Leave the transaction to whom it belongs."""
        self.protocol.part()

    def end_sharing(self) -> None:
        """Have nobody share the transaction any more: whom it belongs to is about to end it."""
        self.undone += 1
        for sharer in self.sharers:
            sharer()

    def end_with(self, ending: Ending) -> None:
        """Take note that the transaction of the block in progress has ended."""
        self.protocol.ended = ending

    async def learn_transaction(self) -> None:
        """Learn, after an error, if a failed procedure has left a transaction begun."""
        if self.protocol.doubt is not None and self.protocol.shows:
            await self.resolve_doubt()

    @property
    def greeting(self) -> Greeting:
        """What the server says of itself at a login."""
        greeting = self.login.greeting
        if greeting is None:
            raise self.not_connected()
        return greeting

    @property
    def server_version(self) -> str:
        """What the server calls itself."""
        return self.told_version or self.greeting.version

    @property
    def is_mariadb(self) -> bool:
        """Whether the server is MariaDB."""
        return "MariaDB" in self.server_version

    @property
    def takes_bulk(self) -> bool:
        """Whether the server takes many executions of a statement in one command.

        Not where it could not be ended as text can, which a server shows as it is; nor where
        nothing is to be prepared.
        """
        from .greeting import BULK

        if self.options.prepare_threshold is None:
            return False
        renumbered = self.thread is not None and self.thread.renumbered
        return self.login.extended & BULK != 0 and not renumbered

    @property
    def autocommits(self) -> bool:
        """Whether the server is in autocommit mode."""
        return self.server_status & _AUTOCOMMIT != 0

    @property
    def in_block(self) -> bool:
        """Whether there is a block, though its transaction may have ended."""
        return self.protocol.watched is not None or self.protocol.ended is not None

    @property
    def schema(self) -> str:
        """The current database, as far as the server tells; empty if there is none."""
        name: bytes = self.protocol.changes.get(SCHEMA, self.kept.values[SCHEMA])
        return name.decode(self.encoding)
