"""What commands do to a session: to its database, its character set, its transaction."""

from __future__ import annotations

from typing import Protocol as Shape

from .command import Effect
from .ending import WITH_A_BEGIN, Ending
from .protocol import Protocol
from .tracking import SCHEMA


class Affected(Shape):
    """A session, as far as commands have effects on it."""

    protocol: Protocol | None
    db: str | None
    charset: str
    lease: int

    @property
    def in_block(self) -> bool:
        """Whether there is a block, though its transaction may have ended."""

    @property
    def remedy(self) -> str:
        """What to do once the session is closed."""

    def end_with(self, ending: Ending) -> None:
        """Take note that the transaction of the block in progress has ended."""

    def close(self, reason: str | None = None) -> None:
        """Close the socket."""


class Use(Effect):
    """Makes *db* the current database."""

    def __init__(self, db: str) -> None:
        self._db = db

    def end(self, session: Affected) -> None:
        session.db = self._db
        if session.protocol is not None:
            session.protocol.changes[SCHEMA] = self._db.encode()

    def cut_off(self, session: Affected) -> None:
        if session.protocol is not None:  # it is executed
            session.protocol.changes.setdefault(SCHEMA, self._db.encode())


class SetNames(Effect):
    """Makes *charset*, whose Python codec is *encoding*, the session's character set."""

    def __init__(self, charset: str, encoding: str) -> None:
        self._charset = charset
        self._encoding = encoding

    def begin(self, session: Affected) -> None:
        self._lease = session.lease
        if session.protocol is not None:  # before it is given back meanwhile
            session.protocol.changes[b"character_set_client"] = self._charset.encode()

    def end(self, session: Affected) -> None:
        session.charset = self._charset
        if session.protocol is not None:
            session.protocol.set_encoding(self._encoding)

    def cut_off(self, session: Affected) -> None:
        # Nobody knows which character set the server reads now; or others have it since.
        if self._lease == session.lease:
            session.close(f"a change of its character set was cut off: {session.remedy}")


class Begin(Effect):
    """Begins a transaction by text: within a block this commits the block's, which is over then."""

    def begin(self, session: Affected) -> None:
        self._in_block = session.in_block

    def end(self, session: Affected) -> None:
        if self._in_block:
            session.end_with(WITH_A_BEGIN)
