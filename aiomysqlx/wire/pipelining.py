"""Pipelining: the proof that commands are answered in their order, and a few that go out at once.

What is between this side and the server may mix the answers up. And nothing may be sent behind a
statement that might change how text is read, or end a transaction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR

from ..exc import SERVER_ERRORS
from ..runtime.awaitable import in_time
from ..runtime.words import logger
from .columns import describe_bytes
from .command import Command, Question, packet_of
from .dialogue import Dialogue
from .reply import Alike, Reply, ResultSet

Outcome = list[ResultSet] | BaseException

_PROVE_SECONDS = 5.0
_NUMBERS = range(10, 42)
# Of one length, which what mixes them up answers one for another.
_PROBES = [
    Question(packet_of(COMMAND.COM_QUERY, b"SELECT %d" % number), describe_bytes, most_rows=1)
    for number in _NUMBERS
]
# A program that such a statement calls, a trigger or function, leaves the character set and the
# SQL mode that text is read in as they were, and cannot end a transaction.
_CALM = re.compile(rb"\s*(SELECT|INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


def is_calm(text: bytes, dialogue: Dialogue) -> bool:
    """Tell whether *text* surely neither ends a transaction nor changes how the next is read."""
    return not dialogue.flags & CLIENT.MULTI_STATEMENTS and _CALM.match(text) is not None


async def prove(dialogue: Dialogue) -> None:
    """Try whether commands may go out before the answers to those before them; once for a session.

    MySQL Router executes some twice then and others not at all, and ProxySQL mixes up the answers.
    If that is found, each waits for its turn from here on. Raises `OperationalError` if the
    connection is lost, or nothing is answered.
    """
    protocol = dialogue.protocol
    if protocol.runs_ahead is not None:
        return
    protocol.runs_ahead = False
    replies = _started(dialogue, _PROBES)
    protocol.run_ahead()
    try:
        work = _outcomes(dialogue, replies, _PROBES)
        outcomes = await in_time(work, _PROVE_SECONDS, _no_answer)
    except err.OperationalError as error:
        if protocol.lost is None:
            protocol.fail(error)
        raise _no_answer() from error
    answers = [None if isinstance(each, BaseException) else each[0].rows for each in outcomes]
    protocol.runs_ahead = answers == [[(b"%d" % number,)] for number in _NUMBERS]
    if not protocol.runs_ahead:
        logger.warning(
            "pipelining is off on a connection %s: what is between executes other commands than"
            " those that are sent, as MySQL Router does",
            dialogue.login.address.place,
        )


def _no_answer() -> err.OperationalError:
    return err.OperationalError(
        CR.CR_SERVER_LOST,
        "commands that are sent before the answers to those before them are not answered: what is"
        " between this and the server does not take pipelining, leave it out",
    )


async def run_together(
    dialogue: Dialogue,
    commands: Sequence[Command],
    then: Callable[[Dialogue, Reply], object] | None = None,
    alike: Alike | None = None,
) -> list[Outcome]:
    """Send *commands* at once, and return the results of each, or the error it is refused with.

    *then* is called as the last one is answered, whether or not somebody still waits for it. The
    second one has answers *alike*.
    """
    replies = _started(dialogue, commands)
    replies[1].alike = alike
    if then is not None:
        replies[-1].then = partial(then, dialogue)
    return await _outcomes(dialogue, replies, commands)


def _started(dialogue: Dialogue, commands: Sequence[Command]) -> list[Reply]:
    first, *others = commands
    return [dialogue.start(first), *(dialogue.start(each, behind=True) for each in others)]


async def _outcomes(
    dialogue: Dialogue, replies: Sequence[Reply], commands: Sequence[Command]
) -> list[Outcome]:
    outcomes: list[Outcome] = []
    try:
        for reply, command in zip(replies, commands, strict=True):
            try:
                outcomes.append(await dialogue.finish(reply, command))
            except SERVER_ERRORS as error:
                if reply.refused is None:  # a loss, or a limit's
                    raise
                outcomes.append(error)
    except BaseException:  # or cancelled, or its coroutine closed
        for reply in replies:
            dialogue._abandon(reply)
        raise
    return outcomes
