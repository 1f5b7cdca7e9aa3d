"""Ending a statement that nobody waits for: KILL, from a connection beside its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pymysql import err
from pymysql.constants import CR, ER

from ._awaitable import in_time
from .cursor import logger
from .exc import is_disconnect
from .printable import printable
from .protocol import Protocol
from .reply import Reply

if TYPE_CHECKING:  # the channel ends its statements through this module
    from .channel import Channel

# Until then the server may have room for one more connection.
_ROOM_SECONDS = 0.1
_NO_ROOM = frozenset(
    {ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED},
)


async def end_surely(channel: Channel, protocol: Protocol, reply: Reply, seconds: float) -> None:
    """End the statement of *reply* on the server within *seconds*; a cancellation begins it again.

    Its connection may be closed meanwhile: the server would go on with the statement, and with its
    locks. Whoever ends the event loop cancels every task, and waits for them.
    """
    thread = channel.thread_id()  # of the session in use: another one may follow
    try:
        await _end(channel, protocol, reply, thread, seconds)
    except asyncio.CancelledError:
        await _end(channel, protocol, reply, thread, seconds)
        raise


async def _end(
    channel: Channel, protocol: Protocol, reply: Reply, thread: int, seconds: float
) -> None:
    loose = False  # whether a KILL may end what comes next

    async def kill() -> None:
        nonlocal loose
        side = await _connect_beside(channel)
        try:
            await side.identify()
            if side._identity != channel._identity:
                raise err.InterfaceError(0, "the connection beside it led to another server")
            if reply.answered:  # meanwhile
                return
            # The session of a connection that is closed is nobody's: all of it may end.
            loose = protocol.lost is None
            await side.query(f"KILL {'QUERY ' if loose else ''}{thread}")
        finally:
            side.close()

    def late() -> err.OperationalError:
        return err.OperationalError(CR.CR_SERVER_LOST, f"no answer within {seconds} seconds")

    try:
        await in_time(kill(), seconds, late)
        if loose:
            await channel.absorb_kill(protocol)
            loose = False
    except Exception as error:  # also what a password's callable raises
        if isinstance(error, err.MySQLError) and not is_disconnect(error):
            loose = False  # the server has refused it
        if error.args[:1] != (ER.NO_SUCH_THREAD,):  # which has ended by itself
            logger.warning("a cancelled statement could not be killed: %s", printable(error))
    finally:
        if loose:
            unsure = "nobody knows whether KILL QUERY is still to come"
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, unsure))


async def _connect_beside(channel: Channel) -> Channel:
    """Open a connection to the same server; wait if it has too many."""
    while True:
        side = channel.beside()
        try:
            await side._connect()
            return side
        except err.MySQLError as error:
            if not _NO_ROOM.intersection(error.args[:1]):
                raise
        await asyncio.sleep(_ROOM_SECONDS)
