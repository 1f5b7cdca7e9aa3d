"""What is known of a session: charset, SQL mode, transaction, and what has been set of it.

All of it is what the server has told, in the status and the session track of its answers. A
statement's own text is looked at only to say what has ended a transaction.
"""

from __future__ import annotations

from collections.abc import Callable

from pymysql import err
from pymysql.constants import COMMAND, CR, SERVER_STATUS

from ..exc import ArgumentError
from .charset import check_charset, python_encoding
from .codes import NO_BACKSLASH_ESCAPES
from .outcome import (
    GTID,
    MOST_LOOKED_AT,
    NEXT_TRANSACTION,
    NO_TRANSACTION,
    PLAIN,
    ROLLED_BACK,
    SETS_THE_SAME,
    TABLE_LOCKS,
    TOO_MANY,
    UNTOLD_SYNTAX,
    Ending,
    Refusal,
    are_too_many,
    goes_on,
    leaves_nothing,
    left_untold,
    locked,
    of_refusal,
    of_statement,
    sets_mode,
    wrote,
)
from .prepared import Statements
from .reply import Reply

_CLIENT = b"character_set_client"
_CODE = 4  # where a packet has its command's
_IN_TRANSACTION: int = SERVER_STATUS.SERVER_STATUS_IN_TRANS
_READ_ONLY = 1 << 13  # SERVER_STATUS_IN_TRANS_READONLY
_STATUS_NO_BACKSLASH_ESCAPES: int = SERVER_STATUS.SERVER_STATUS_NO_BACKSLASH_ESCAPES


class SessionState:
    """A session as the server's answers show it."""

    def __init__(self, status: int, encoding: str, mode: int) -> None:
        self.status: int = status
        self.encoding: str = encoding  # of the session's statements
        self.results_encoding: str = encoding
        # How a statement is written: its codec and mode. The server has a flag of the mode.
        self._own_mode = mode
        # Where a proxy does not show it, the mode is what the server was found to do.
        self.assumes_no_escapes: bool = False
        self.syntax: tuple[str, int] = encoding, self._mode()
        # Whether that flag has changed: at the end of a procedure it may be wrong.
        self.unsure: bool = False
        # What no answer tells of what a program has set, and maybe set back, if there was one.
        self.untold: int = 0
        # Whether the status shows the transaction of the block that was begun; `None`: none was.
        self.watched: bool | None = None
        # How many watch a transaction that is another's: it may only begin while they do.
        self.joined: int = 0
        # What has ended it since, and the error, since the latest status, that may have.
        self.ended: Ending | None = None
        self.doubt: Refusal | None = None
        self.doubted: bytes = b""  # the beginning of the command that it has answered
        # What the server has told of a transaction's state, and whether it ever has.
        self._state = NO_TRANSACTION
        self._tracks = False
        # Whether the status has ever shown a transaction: a proxy's may not.
        self.shows: bool = False
        # Whether rows were written in the transaction, as far as the server counts them.
        self.wrote: bool = False
        # What has been set of the session since it was begun: variables, and the schema.
        self.changes: dict[bytes, bytes] = {}
        # What the server calls the latest transaction that it has committed, if it tells.
        self.last_gtid: str | None = None
        # The statements that are prepared; `None`: none are to be.
        self.statements: Statements | None = None
        # The error after which the connection is not to be lent again, if there was one.
        self.unfit: Refusal | None = None
        # What is called then.
        self.on_unfit: Callable[[], object] | None = None
        # Whether the session's transactions are READ ONLY, because this side has said so.
        self.reads_only = False

    def _learn(self, reply: Reply) -> err.OperationalError | None:
        """Take what an answer tells of the session; an error if that cannot be followed."""
        if reply.status is not None:
            self._learn_status(reply.status, reply)
        if reply.refused is not None:
            self._learn_refusal(reply.refused, reply.packet)
            if self.statements is not None:
                self.statements.learn_refusal(reply.packet[_CODE])
        if reply.several and reply.alike is None and self.statements is not None:
            self.statements.forget()  # any of several texts, or a procedure's, may have done it
        if self.status & _IN_TRANSACTION:
            if reply.wrote:
                self.wrote = True
            elif self.wrote and reply.refused is None and not reply.several:
                self.wrote = not leaves_nothing(reply.packet)
        if not reply.changes:
            return None
        if reply.several and _CLIENT in reply.changes:
            self.untold = UNTOLD_SYNTAX  # at its end a procedure sets that back without a word
        return self._follow(reply.changes)

    def _learn_status(self, status: int, reply: Reply) -> None:
        """Take the server's status, which tells what became of the transaction.

        An error carries none. It may come out of a procedure that has begun a transaction, or ended
        one; a lock wait timeout ends it if `innodb_rollback_on_timeout` is set.
        """
        restarted = reply.restarted
        if reply.states:
            if self.watched or reply.states[-1] not in PLAIN or self._state not in PLAIN:
                restarted = self._learn_states(reply.states) or restarted
            else:
                self._state = reply.states[-1]
            self._tracks = True
        if self.watched and self.ended is None:
            restarted = restarted and self._tracks  # a proxy may send that with anything
            if restarted or reply.left or not status & _IN_TRANSACTION:
                self.ended = self._end(reply)
        if not status & _IN_TRANSACTION:
            self.wrote = False
        else:
            self.shows = True
            if self.joined:
                self.watched = True
            if self.doubt is not None and not self.status & _IN_TRANSACTION and _tells(reply):
                self.wrote = True  # maybe: a procedure has begun a transaction, and failed
        self.doubt = None
        changed = self.status ^ status
        self.status = status
        if changed & _STATUS_NO_BACKSLASH_ESCAPES:
            self.unsure = not sets_mode(reply.packet)
            self.assumes_no_escapes = False
            self._learn_syntax()

    def _end(self, reply: Reply) -> Ending:
        """Return what has ended the transaction, as an answer shows."""
        if self.doubt is not None:
            return of_refusal(self.doubt, self.doubted, self.encoding)
        return of_statement(reply.packet, self.encoding, reply.several)

    def _learn_states(self, states: tuple[bytes, ...]) -> bool:
        """Take what the server tells of a transaction; true if another has taken its place."""
        restarted = False
        for state in states:
            restarted = restarted or not goes_on(self._state, state)
            self._state = state
        self.wrote = self.wrote or wrote(self._state)
        if locked(self._state):
            self.changes[TABLE_LOCKS] = self._state
        elif self.changes:
            self.changes.pop(TABLE_LOCKS, None)
        return restarted

    def _learn_refusal(self, refused: Refusal, packet: bytes) -> None:
        """Take what an error says of the transaction and of the connection."""
        self.doubt, self.doubted = refused, packet[:MOST_LOOKED_AT]
        self.untold = max(self.untold, left_untold(packet, self.encoding))
        if self.watched is False and refused.sqlstate == ROLLED_BACK:
            self.ended = of_refusal(refused, packet, self.encoding)  # the status would not tell
        if refused.retires(self.reads_only, self.status & _READ_ONLY != 0):
            self.retire(refused)

    def retire(self, reason: Refusal) -> None:
        """Have the connection not be lent again."""
        self.unfit = reason
        if self.on_unfit is not None:
            self.on_unfit()

    def watch(self) -> None:
        """See, from the answer to BEGIN on, whether the transaction goes on.

        A status that does not show it, a proxy's, proves nothing later on.
        """
        self.watched = self.status & _IN_TRANSACTION != 0
        self.ended = None
        self.wrote = False

    def unwatch(self) -> None:
        """Have the transaction end: the block is over, or about to be."""
        self.watched = self.ended = None

    def join(self) -> None:
        """See whether the transaction goes on that is in progress, or is about to begin."""
        if not self.joined:
            self.watched = self.status & _IN_TRANSACTION != 0
        self.joined += 1

    def part(self) -> None:
        """Leave the transaction to the others who watch it, and to whom it belongs."""
        self.joined -= 1
        if not self.joined:
            self.unwatch()

    @property
    def in_transaction(self) -> bool:
        """Whether the server is in a transaction, or may be since the latest error."""
        return self.status & _IN_TRANSACTION != 0 or self.doubt is not None

    def assume_no_escapes(self, found: bool) -> None:
        """Take whether backslashes were found to stand for themselves, where no flag shows it."""
        self.assumes_no_escapes = found and not self.status & _STATUS_NO_BACKSLASH_ESCAPES
        self._learn_syntax()

    def _learn_syntax(self) -> None:
        syntax = self.encoding, self._mode()
        if syntax != self.syntax:
            self.syntax = syntax

    def _mode(self) -> int:
        if self.status & _STATUS_NO_BACKSLASH_ESCAPES or self.assumes_no_escapes:
            return self._own_mode | NO_BACKSLASH_ESCAPES
        return self._own_mode

    def _follow(self, changes: dict[bytes, bytes]) -> err.OperationalError | None:
        """Take what a statement has set of the session.

        Text escaped for one charset is an injection in another, so it is an error if Python lacks a
        character set.
        """
        gtid = changes.pop(GTID, None)
        if gtid is not None:
            self.last_gtid = gtid.decode("ascii", "replace") or None
        if self.statements is not None:
            changes = self.statements.follow(changes)
        self.changes.update(changes)
        if changes and are_too_many(self.changes):
            return err.OperationalError(CR.CR_MALFORMED_PACKET, f"Malformed packet: {TOO_MANY}")
        # Nothing is set of it any more, or it has begun.
        if changes.get(NEXT_TRANSACTION) == b"" or self.status & _IN_TRANSACTION:
            self.changes.pop(NEXT_TRANSACTION, None)
        client = changes.get(_CLIENT)
        results = changes.get(b"character_set_results")
        try:
            if client:
                self.encoding = python_encoding(check_charset(client.decode()))
                self._learn_syntax()
            if results:  # empty: text comes in the charset of its column
                self.results_encoding = python_encoding(check_charset(results.decode()))
        except (ArgumentError, UnicodeDecodeError):
            unknown = f"the session's character set is unknown to Python: {client or results!r}"
            return err.OperationalError(CR.CR_CANT_READ_CHARSET, unknown)
        return None


def _tells(reply: Reply) -> bool:
    """Whether the answer shows a transaction that its own statement has not begun."""
    packet = reply.packet
    if packet[_CODE] == COMMAND.COM_PING or packet.startswith(SETS_THE_SAME, _CODE + 1):
        return True
    rows, status = reply.result.columns is not None, reply.status or 0
    return rows and status & SERVER_STATUS.SERVER_STATUS_AUTOCOMMIT != 0
