"""Pipelining: commands that are sent before the answers to those before them are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from pymysql import err

from .command import Command
from .dialogue import Dialogue
from .reply import Reply, ResultSet

Outcome = list[ResultSet] | BaseException


async def run_together(
    dialogue: Dialogue,
    commands: Sequence[Command],
    then: Callable[[Dialogue, Reply], object] | None = None,
) -> list[Outcome]:
    """Send *commands* at once, and return the results of each, or the error it is refused with.

    *then* is called as the last one is answered, whether or not somebody still waits for it.
    """
    replies = [dialogue.start(commands[0])]
    replies += [dialogue.start(command, behind=True) for command in commands[1:]]
    if then is not None:
        replies[-1].then = partial(then, dialogue)
    outcomes: list[Outcome] = []
    try:
        for reply, command in zip(replies, commands, strict=True):
            try:
                outcomes.append(await dialogue.finish(reply, command))
            except err.MySQLError as error:
                if reply.refused is None:  # a loss, or a limit's
                    raise
                outcomes.append(error)
    except BaseException:  # or cancelled, or its coroutine closed
        for reply in replies:
            dialogue._abandon(reply)
        raise
    return outcomes
