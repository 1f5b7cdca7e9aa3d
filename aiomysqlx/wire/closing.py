"""How a session ends: closed by this side, politely or at once, or left to its process."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from contextvars import Context
from typing import Any

from pymysql import err
from pymysql.constants import COMMAND, CR

from ..runtime.words import Place, shown, warn_at
from .command import packet_of
from .standing import Standing

_QUIT = packet_of(COMMAND.COM_QUIT)

# How long a polite close may take.
CLOSE_SECONDS = 1.0

# Connections of a parent process: kept, so that nothing ends them.
_inherited: list[object] = []


class Closing(Standing):
    """A session that is to be closed, and warns if it was forgotten."""

    writer: Any  # a dialogue's
    # The database that was asked for.
    db: str | None
    # Where it was opened, if somebody's code did.
    opened_at: Place | None = None

    def close(self, reason: str | None = None) -> None:
        """Take leave of the server and close the socket, without waiting.

        *reason* is told to whoever uses the connection afterwards, and what to do. In another
        thread than its event loop's, that loop is told to do it.
        """
        if self.loop.is_running() and asyncio._get_running_loop() is not self.loop:
            self.loop.call_soon_threadsafe(self.close, reason)
            return
        self.login.give_up()
        writer, protocol = self.writer, self.protocol
        self.writer = None
        if writer is None:
            return
        self.close_reason = reason
        if protocol.lost is None and not self.loop.is_closed():
            protocol.closed_here = True
            if not protocol.replies:
                protocol.write(_QUIT)
                writer.transport.close()
                protocol.lost = self.not_connected()
                return
            self._kill_first(protocol)
            during = "the connection was closed during query"
            if reason is not None:
                during = f"{during}: {reason}"
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, during))
        if not self.loop.is_closed():
            writer.transport.close()

    async def ensure_closed(self) -> None:
        """Take leave of the server, close the socket and wait until it is closed.

        In another event loop than its own nothing is waited for: what there is to come about would
        do so in that one.
        """
        protocol = self.protocol
        self.close()
        if asyncio.get_running_loop() is not self.loop:
            return
        if self._killing is not None:
            await asyncio.wait([self._killing])
        await protocol.wait_closed(CLOSE_SECONDS)

    def abort(self) -> None:
        """Close the socket at once."""
        writer = self.writer
        self.writer = None
        if self.protocol.lost is None:
            self.protocol.closed_here = True
            self._kill_first(self.protocol)
        self.protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, "connection aborted"))
        if writer is not None and not self.loop.is_closed():
            writer.transport.abort()

    def on_lost(self, call: Callable[[], object]) -> None:
        """Have *call* called once the connection has ended, by whichever side."""
        self.protocol.closed.add_done_callback(lambda _: call(), context=Context())

    def on_unfit(self, call: Callable[[], object]) -> None:
        """Have *call* called when an answer says that the connection is not to be lent again."""
        self.protocol.on_unfit = call

    def disown(self) -> None:
        """Leave the socket to the process that opened it, of which this one is a fork."""
        protocol = self.protocol
        # Even to unregister the socket would change what the parent waits for.
        _inherited.append((protocol, self.writer))
        self.writer = None
        self.close_reason = "the connection belongs to the process that opened it"
        protocol.lost = err.InterfaceError(0, self.close_reason)
        protocol.replies.clear()

    def __del__(self) -> None:
        writer = getattr(self, "writer", None)  # it has none if it was not made
        if writer is None or self.closed:
            return
        if not self.loop.is_closed():
            # The writer, kept alive until then, would warn too.
            self.loop.call_soon_threadsafe(lambda: writer.transport.abort())
        database = f", database {self.db!r}" if self.db else ""
        unclosed = f"Unclosed connection {self.address.place}, user {self.login.user!r}{database}"
        # Last: it may be an error.
        if self.opened_at is not None:
            where = shown(self.opened_at)
            warn_at(self.opened_at, f"{unclosed}, opened at {where}", self)
            return
        warnings.warn(unclosed, ResourceWarning, source=self, stacklevel=1)
