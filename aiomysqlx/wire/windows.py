"""Windows: many statements in one command, with the outcome that they have one by one.

While MULTI_STATEMENTS is on, a server executes the statements of a command in their order, answers
each, and stops at the first that it refuses: what is behind that one does not run, in a transaction
or not. It is on for the command of a window only, and only what surely is one statement of a sort
that leaves the session as it was comes into a window.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from pymysql.constants import COMMAND, ER

from ..exc import InvalidRequestError
from ._impl import render, render_rows
from .codes import Syntax
from .columns import Columns, Describe
from .command import Command, Duty, packet_of
from .dialogue import BATCH_BYTES, OTHER_SYNTAX, Dialogue
from .pipelining import is_calm, run_together
from .reply import Alike, Reply, ResultSet

WINDOW = 200
"""How many statements go out at a time."""

Values = Sequence[Any]
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


class Window:
    """Statements of the same *fragments*, one for each of *rows*, which are its values."""

    __slots__ = ("_fragments", "_syntax", "packet", "rows")

    def __init__(
        self, packet: bytes, fragments: Sequence[bytes], rows: Sequence[Values], syntax: Syntax
    ) -> None:
        self.packet: bytes = packet
        self.rows: Sequence[Values] = rows
        self._fragments = fragments
        self._syntax = syntax

    def commands(self, first: int, describe: Describe | None) -> list[Command]:
        """Return the commands that execute its statements one by one, from the *first* on."""
        return [
            Command(render(self._fragments, row, *self._syntax), describe)
            for row in self.rows[first:]
        ]


def windows_of(
    dialogue: Dialogue,
    fragments: Sequence[bytes],
    rows: Sequence[Values],
    syntax: Syntax,
    asks: bool,
) -> list[Window]:
    """Return the windows of statements with these *rows* as values, if they may be in windows.

    For what comes behind each the server is asked, if its warnings are wanted. Raises
    `ArgumentError` for a value that has no literal.
    """
    between = _WITH_WARNINGS if asks else _BETWEEN
    limit = min(BATCH_BYTES, dialogue.max_allowed_packet - 1)
    windows = []
    start = 0
    while start < len(rows):
        page = rows if len(rows) - start <= WINDOW else rows[: start + WINDOW]
        tail = between if asks and len(page) - start > 1 else b""
        packet, stop = render_rows(b"", fragments, page, tail, *syntax, start, limit, between)
        windows.append(Window(packet, fragments, page[start:stop], syntax))
        start = stop
    return windows


async def run_windows(
    dialogue: Dialogue,
    windows: Iterable[Window],
    describe: Describe | None,
    told: list[tuple[Any, ...]] | None,
) -> list[ResultSet]:
    """Do what `Dialogue.run_each()` does with the statements of *windows*.

    The first window had better be of one statement: most of what is refused is refused there.
    """
    claim, syntax = dialogue.claim, dialogue.syntax
    results: list[ResultSet] = []
    for window in windows:
        dialogue.check_claim(claim)
        if dialogue.is_unsettled():
            await dialogue.ready()
            dialogue.check_claim(claim)
        if dialogue.syntax is not syntax:
            raise InvalidRequestError(OTHER_SYNTAX)
        done = 0
        if len(window.rows) > 1 and results:
            done = await _run(dialogue, window, describe, results, told)
        if done < len(window.rows):
            dialogue.check_claim(claim)
            results += await dialogue.run_each(window.commands(done, describe), told)
    return results


async def _run(
    dialogue: Dialogue,
    window: Window,
    described: Describe | None,
    results: list[ResultSet],
    told: list[tuple[Any, ...]] | None,
) -> int:
    """Execute a window, add to *results* and *told*, and return how many were executed.

    That is not all of them if the rest is to be executed one by one: where the server does not take
    windows, or does not take the syntax of a statement, and would quote what is behind it.
    """
    describe: Describe = described or dialogue.describe
    if told is not None:
        describe = _Alternately(results[0].columns is not None, describe, dialogue.describe)
    many = Command(window.packet, describe, partial=True)
    commands = [Duty(_ON), many, Duty(_OFF)]
    switched, outcome, _ = await run_together(
        dialogue, commands, _check_off, Alike(told is not None)
    )
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
    return sum(answer.statements for answer in answers)


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
