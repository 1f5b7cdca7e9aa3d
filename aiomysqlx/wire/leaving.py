"""Leaving a stream early: what is still to come of it is read for nobody, within bounds."""

from __future__ import annotations

from functools import partial
from typing import Any

from pymysql import err
from pymysql.constants import CR, ER

from .protocol import Protocol
from .reply import Reply

MOST_DROPPED = 1 << 24
"""How many bytes are read for nobody, before the statement is ended otherwise."""

# For so long it goes on being read.
_SECONDS = 2.0
# So long a statement that is killed may take to end.
_KILL_SECONDS = 5.0
_TOO_MUCH = (
    "a stream was left early, and what the server still sends of it is too much, or takes too"
    " long, to be read for nobody: read it to its end, or have it killed by kill_on_cancel"
)


def leave(session: Any, reply: Reply) -> None:
    """Read the rest of a stream for nobody.

    If it takes too long, or is too much, the statement is killed where that is asked for, and the
    connection closed otherwise.
    """
    protocol: Protocol = session.protocol
    flow = None if reply.flow is None else reply.flow()
    if flow is not None:
        flow.let_go()
    if reply in protocol.replies:
        _drop(session, reply)


def leave_further(session: Any) -> None:
    """Leave the further results of a stream, once all rows of the current one have come.

    Those can be taken yet.
    """
    reply = session.protocol.replies[0]
    if reply.held and reply.is_between_results:
        _drop(session, reply)


def _drop(session: Any, reply: Reply) -> None:
    protocol: Protocol = session.protocol
    session.left = reply
    reply.then = partial(_forget, session)
    protocol.drop(reply)
    if reply in protocol.replies:
        end = partial(_end, session, protocol, reply)
        reply.deadline = protocol.timers.call_at(session.loop.time() + _SECONDS, end)
        protocol.spare(MOST_DROPPED, end)


def _forget(session: Any, reply: Reply) -> None:
    """Keep nothing of a stream whose rest has brought no error."""
    if session.left is reply and reply.refused is None and session.protocol.lost is None:
        session.left = None


def _end(session: Any, protocol: Protocol, reply: Reply) -> None:
    """End the statement of a stream that was left, or its connection."""
    if reply not in protocol.replies:
        return
    if session.open_beside is None or session.identity is None:
        _give_up(protocol, reply)
    else:
        session._expect(protocol, reply, _KILL_SECONDS)
        session._kill(protocol, reply)


def check_left(session: Any) -> None:
    """Raise the error that came in the rest of a stream that was left, but that of its KILL.

    Or behind the results of a cursor, if no one has gone on to it. A procedure may have failed
    after its rows: what it was to do is not to be committed.
    """
    session.raise_later()
    reply, session.left = session.left, None
    refused = None if reply is None else reply.refused
    if refused is not None and refused.code != ER.QUERY_INTERRUPTED:
        raise refused.error()


async def settle_left(session: Any) -> None:
    """Wait for the rest of a stream that was left, and raise the error in it."""
    if session.busy:
        await session.ready()
    check_left(session)


async def is_undone(session: Any) -> bool:
    """Wait for the rest of a stream that was left; tell whether the connection is lost over it.

    The loss has rolled everything back. It is raised by what is executed next, but not by a
    rollback: whoever has left the stream by an error is to get that error.
    """
    if session.busy:
        await session.ready()
    if is_lost(session):
        return True
    session.left = None
    return False


def is_lost(session: Any) -> bool:
    """Tell whether a connection was lost over the rest of a stream that was left."""
    return session.left is not None and session.protocol.lost is not None


def bound(protocol: Protocol, reply: Reply) -> None:
    """Close the connection if too much of an abandoned *reply* comes."""
    protocol.spare(MOST_DROPPED, partial(_give_up, protocol, reply))


def _give_up(protocol: Protocol, reply: Reply) -> None:
    if reply in protocol.replies:
        protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, _TOO_MUCH))
