"""Windows: many statements in one command, with the outcome that they have one by one.

While MULTI_STATEMENTS is on, a server executes the statements of a command in their order, answers
each, and stops at the first that it refuses: what is behind that one does not run, in a transaction
or not. It is on for the command of a window only, and only what surely is one statement of a sort
that leaves the session as it was comes into a window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from pymysql.constants import COMMAND, ER

from ..exc import InvalidRequestError
from ._impl import frame
from .columns import Columns, Describe
from .command import Command, Duty, packet_of
from .dialogue import BATCH_BYTES, OTHER_SYNTAX, Dialogue
from .pipeline import is_calm, run_together
from .reply import Reply, ResultSet

WINDOW = 200
"""How many statements go out at a time."""

_TEXT = 5  # where it begins in a packet
_BETWEEN = b";\n"
_WITH_WARNINGS = b";\nSHOW WARNINGS;\n"
_ON, _OFF = (packet_of(COMMAND.COM_SET_OPTION, option) for option in (b"\0\0", b"\1\0"))
_QUOTED = re.compile(rb"'[^'\\]*'|\"[^\"\\]*\"|`[^`\\]*`")
# What may end a statement, begin a comment, or reach over the end of a fragment. And what asks for
# the statement before, which is that for its warnings.
_OPEN = re.compile(rb"[;#'\"`\\]|--|/\*|\*/|@@|\b(ROW_COUNT|FOUND_ROWS)\b", re.IGNORECASE)


def may_be_joined(fragments: Sequence[bytes], dialogue: Dialogue) -> bool:
    """Tell whether statements of these *fragments*, with literals between, may be in windows.

    Each fragment has to be whole: then so is the statement, whatever the literals are.
    """
    if not is_calm(fragments[0], dialogue):
        return False
    text = b"\0".join(fragments)
    if not text.isascii() and dialogue.encoding not in ("utf8", "latin1", "cp1252", "ascii"):
        return False  # the second byte of a character may look like a quote
    return not any(_OPEN.search(_QUOTED.sub(b"", each)) for each in fragments)


async def run_many(
    dialogue: Dialogue,
    fragments: Sequence[bytes],
    commands: Iterator[Command],
    told: list[tuple[Any, ...]] | None,
) -> list[ResultSet]:
    """Do what `Dialogue.run_each()` does, in windows if *commands* of these *fragments* may be.

    The first one goes by itself: most of what is refused is refused there. An error that *commands*
    raises is raised once what came before is executed.
    """
    if not may_be_joined(fragments, dialogue):
        return await dialogue.run_each(commands, told)
    claim, syntax = dialogue.claim, dialogue.syntax
    results: list[ResultSet] = []
    windows = _Windows(
        commands, min(BATCH_BYTES, dialogue.max_allowed_packet - 1), told is not None
    )
    while window := windows.following(WINDOW if results else 1):
        dialogue.check_claim(claim)
        if dialogue.is_unsettled():
            await dialogue.ready()
            dialogue.check_claim(claim)
        if dialogue.syntax is not syntax:
            raise InvalidRequestError(OTHER_SYNTAX)
        done = 0
        if len(window) > 1:
            done = await _run(dialogue, window, results, told)
        if done < len(window):
            dialogue.check_claim(claim)
            results += await dialogue.run_each(window[done:], told)
    windows.raise_error()
    return results


class _Windows:
    """The windows of commands that are made as they are asked for."""

    def __init__(self, commands: Iterator[Command], limit: int, warnings: bool) -> None:
        self._commands = commands
        self._limit = limit
        self._between = len(_WITH_WARNINGS if warnings else _BETWEEN)
        self._error: BaseException | None = None

    def following(self, most: int) -> list[Command]:
        """Return the next *most* commands, or as many as fit into a packet; none at the end."""
        window: list[Command] = []
        size = 0
        while len(window) < most and self._error is None:
            try:
                command = next(self._commands, None)
            except Exception as error:  # of a value, say
                self._error = error
                break
            if command is None:
                break
            size += len(command.packet) + self._between
            if size > self._limit and window:
                self._commands = chain((command,), self._commands)
                break
            window.append(command)
        return window

    def raise_error(self) -> None:
        """Raise the error that a command could not be made for, if there is one."""
        error, self._error = self._error, None
        if error is not None:
            raise error


async def _run(
    dialogue: Dialogue,
    window: list[Command],
    results: list[ResultSet],
    told: list[tuple[Any, ...]] | None,
) -> int:
    """Execute a window, add to *results* and *told*, and return how many were executed.

    That is not all of them if the rest is to be executed one by one: where the server does not take
    windows, or does not take the syntax of a statement, and would quote what is behind it.
    """
    texts = [command.packet[_TEXT:] for command in window]
    between = _BETWEEN if told is None else _WITH_WARNINGS
    text = between.join([*texts, b""]) if told is not None else between.join(texts)
    describe: Describe = window[0].describe or dialogue.describe
    if told is not None:
        describe = _Alternately(results[0].columns is not None, describe, dialogue.describe)
    many = Command(frame(b"\x03" + text), describe, partial=True)
    switched, outcome, _ = await run_together(dialogue, [Duty(_ON), many, Duty(_OFF)], _check_off)
    error: BaseException | None = None
    answers: list[ResultSet]
    if isinstance(outcome, BaseException):
        error, answers = outcome, []
        if isinstance(switched, BaseException) and error.args[:1] == (ER.PARSE_ERROR,):
            return 0  # it takes one statement at a time, and has executed none
    else:
        answers = outcome
        if answers[-1].error is not None:
            error = answers.pop().take_error()
    if told is not None:
        for shown in answers[1::2]:
            told += shown.rows
        answers = answers[::2]
    results += answers
    latest = results[-1]
    dialogue.counts = latest.warning_count, latest.affected_rows, latest.insert_id
    if error is not None and error.args[:1] != (ER.PARSE_ERROR,):
        try:
            raise error
        finally:
            del error  # whose traceback holds this frame
    return len(answers)


def _check_off(dialogue: Dialogue, reply: Reply) -> None:
    """Close the connection if it would go on taking several statements in one command."""
    if reply.refused is not None:
        dialogue.protocol.fail(reply.refused.error())


class _Alternately:
    """Describes the results of a window whose statements are followed by SHOW WARNINGS."""

    def __init__(self, rows: bool, describe: Describe, describe_warnings: Describe) -> None:
        self._rows = rows  # whether the statements have rows, too
        self._describe = describe
        self._describe_warnings = describe_warnings
        self._is_next = not rows
        self._raw = b""
        self._columns: Columns | None = None

    def __call__(self, raw: bytes, encoding: str) -> Columns:
        of_warnings = self._is_next
        self._is_next = not self._rows or not of_warnings
        if not of_warnings:
            return self._describe(raw, encoding)
        if self._columns is None or raw != self._raw:
            self._raw, self._columns = raw, self._describe_warnings(raw, encoding)
        return self._columns
