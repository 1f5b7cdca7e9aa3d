"""Ending a statement that nobody waits for: KILL, from a connection beside its own.

The number of a session may be a proxy's own, and that of somebody else's session on the server. So
what the server shows of it decides. A *session* is a `Session`, which stands above, and so is the
*side* that ends a statement of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR, ER

from ..exc import SERVER_ERRORS, is_disconnect
from ..runtime.awaitable import in_time
from ..runtime.words import logger, printable
from ._impl import frame
from .columns import describe_bytes
from .command import Command
from .protocol import Protocol
from .reply import Reply

# Until then the server may have room for one more connection.
_ROOM_SECONDS = 0.1
# Until then a statement that is on its way may have begun.
_BEGIN_SECONDS = 0.05
# So often its thread may be seen without it, where something between might execute it elsewhere.
_MOST_IDLE = 10
_COM_QUERY = bytes((COMMAND.COM_QUERY,))
# So many connections are opened in search of the server that executes the statement.
_MOST_SIDES = 8
_TEXT = 5  # where it begins in a packet
_LONG_TEXT = 1 << 15  # of which a server may show the beginning only
_SHOW = (
    "SELECT p.HOST, p.INFO FROM information_schema.PROCESSLIST p WHERE p.ID = {}"
    " AND CONCAT(p.USER, '@') = LEFT(USER(), CHAR_LENGTH(p.USER) + 1)"
)
_NO_ROOM = frozenset(
    {ER.CON_COUNT_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED},
)


class Thread(NamedTuple):
    """What the server knows a session by."""

    number: int
    renumbered: bool  # whether something between has numbers of its own
    peer: bytes  # what the server shows as its client, or the end of that, if nothing is between

    @classmethod
    def of(cls, number: int, renumbered: bool, socket_name: Any) -> Thread:
        """Return that of the session *number*, with this name of its socket."""
        over_tcp = isinstance(socket_name, tuple)
        peer = f":{socket_name[1]}".encode() if over_tcp else b"localhost"
        return cls(number, renumbered, peer)

    async def runs(self, side: Any, reply: Reply, texts: frozenset[bytes]) -> bool:
        """Tell whether the server shows the statement of *reply* in this session.

        If not, it has been answered, or the session has ended. Raises `InterfaceError` if the
        session is another one's.
        """
        idle = 0
        while not reply.answered:
            question = frame(_COM_QUERY + _SHOW.format(self.number).encode())
            rows = (await side.run(Command(question, describe_bytes)))[0].rows
            if not rows and not self.renumbered:
                return False
            host, shown = rows[0] if rows else (b"", b"")
            if shown is not None:
                direct = (host or b"").endswith(self.peer) or _is_of_program(texts)
                if rows and (_is_of(shown, texts) or (direct and not self.renumbered)):
                    return True
                what = "runs another statement" if rows else "is not this user's"
                raise err.InterfaceError(0, f"the server's thread {self.number} {what}")
            if self.renumbered and (idle := idle + 1) > _MOST_IDLE:
                what = "is idle: the proxy executes the statement elsewhere"
                raise err.InterfaceError(0, f"the server's thread {self.number} {what}")
            await asyncio.sleep(_BEGIN_SECONDS)
        return False

    async def kill(self, side: Any, what: str) -> None:
        """Kill this session, or what it executes (`QUERY `)."""
        target = str(self.number)
        if self.renumbered:
            # What gives numbers of its own may take a KILL to be for one of them.
            await side.query(f"SET @aiomysqlx_thread = {self.number}")
            target = "@aiomysqlx_thread"
        await side.query(f"KILL {what}{target}")


def _texts(session: Any, protocol: Protocol, reply: Reply) -> frozenset[bytes]:
    """Return the statements of *reply*, as a server may show them."""
    if reply.packet[_TEXT - 1 : _TEXT] != _COM_QUERY:
        return frozenset()
    text = reply.packet[_TEXT:].decode(protocol.encoding, "replace")
    several = session.flags & CLIENT.MULTI_STATEMENTS
    parts = [text, *text.split(";")] if several else [text]
    return frozenset(part.strip(" \t\r\n;").encode() for part in parts)


def _is_of(shown: bytes, texts: frozenset[bytes]) -> bool:
    shown = shown.strip(b" \t\r\n;")
    if shown in texts:
        return True
    return len(shown) >= _LONG_TEXT and any(text.startswith(shown) for text in texts)


def _is_of_program(texts: frozenset[bytes]) -> bool:
    """Whether what is executed has statements of its own, which a server shows in its place."""
    return any(text[:7].upper().startswith((b"CALL", b"EXECUTE", b"BEGIN N")) for text in texts)


class Target(NamedTuple):
    """What is ended, in the session in use: another one, on another server, may follow at once."""

    protocol: Protocol
    reply: Reply
    thread: Thread | None
    identity: object  # of the server
    where: tuple[Any, str | None]


def end_surely(
    session: Any, protocol: Protocol, reply: Reply, seconds: float
) -> Coroutine[Any, Any, None]:
    """End the statement of *reply* on the server within *seconds*; a cancellation begins it again.

    Its connection may be closed meanwhile: the server would go on with the statement, and with its
    locks. Whoever ends the event loop cancels every task, and waits for them.
    """
    target = Target(protocol, reply, session.thread, session.identity, session.login.where)
    return _end_surely(session, target, seconds)


async def _end_surely(session: Any, target: Target, seconds: float) -> None:
    try:
        await _end(session, target, seconds)
    except asyncio.CancelledError:
        await _end(session, target, seconds)
        raise


async def _end(session: Any, target: Target, seconds: float) -> None:
    protocol, reply, thread, identity, where = target
    loose = False  # whether a KILL may end what comes next
    texts = _texts(session, protocol, reply)

    async def kill() -> None:
        nonlocal loose
        sides: list[Any] = []
        try:
            side = await _open_on_same_server(session, where, identity, sides)
            if thread is None:
                raise err.InterfaceError(0, "the server does not tell its thread's number")
            if not await thread.runs(side, reply, texts):
                return
            # The session of a connection that is closed is nobody's: all of it may end.
            loose = protocol.lost is None
            await thread.kill(side, "QUERY " if loose else "")
        finally:
            for each in sides:
                each.close()

    def late() -> err.OperationalError:
        return err.OperationalError(CR.CR_SERVER_LOST, f"no answer within {seconds} seconds")

    try:
        await in_time(kill(), seconds, late)
        if loose:
            await session.absorb_kill(protocol)
            loose = False
    except Exception as error:  # also what a password's callable raises
        if isinstance(error, SERVER_ERRORS) and not is_disconnect(error):
            loose = False  # the server has refused it
        if error.args[:1] != (ER.NO_SUCH_THREAD,):  # which has ended by itself
            logger.warning("a cancelled statement could not be killed: %s", printable(error))
    finally:
        if loose:
            unsure = "nobody knows whether KILL QUERY is still to come"
            protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, unsure))


def keep_until_done(task: asyncio.Task[None]) -> None:
    """Have the end of the event loop wait for *task*, which may have begun with it.

    `asyncio.run()` cancels all tasks, and what these abandon is ended by tasks that come after.
    """
    end = _wait_at_end(task)
    with suppress(StopIteration):  # it is begun, so that the loop knows of it
        end.__anext__().send(None)
    task.add_done_callback(partial(_forget_end, end))


async def _wait_at_end(task: asyncio.Task[None]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if not task.done():
            await asyncio.wait([task])


def _forget_end(end: AsyncGenerator[None, None], _: asyncio.Task[None]) -> None:
    with suppress(StopIteration, RuntimeError):  # the loop is ending, and waits for it already
        end.aclose().send(None)


async def _open_on_same_server(
    session: Any, where: tuple[Any, str | None], identity: object, sides: list[Any]
) -> Any:
    """Open a session on the same server; a balancer may lead to others, one after the other.

    Those that it opens go into *sides*, and stay open: else it would lead to the same again.
    """
    for _ in range(_MOST_SIDES):
        side = await _open_beside(session, where)
        sides.append(side)
        await side.identify()
        if side.identity == identity:
            return side
    raise err.InterfaceError(0, f"each of {_MOST_SIDES} connections led to another server")


async def _open_beside(session: Any, where: tuple[Any, str | None]) -> Any:
    """Open a session on the server that is there; wait if it has too many."""
    assert session.open_beside is not None
    while True:
        try:
            return await session.open_beside(session, where)
        except SERVER_ERRORS as error:
            if not _NO_ROOM.intersection(error.args[:1]):
                raise
        await asyncio.sleep(_ROOM_SECONDS)
