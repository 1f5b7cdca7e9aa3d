"""The command `python -m aiomysqlx`: its arguments, and what it ends with."""

from __future__ import annotations

import argparse
import asyncio
import io
import logging
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from ..exc import ArgumentError
from ..runtime.words import logger
from ..settings import Settings
from ..url import from_url
from .facts import Facts
from .gathering import Gathering
from .judging import judge
from .masking import mask_for
from .printing import as_json, as_text

OK, NOT_CONNECTED, USAGE = 0, 1, 2
"""The exit statuses."""
UNREAD = 128 + 13
"""That of a program whose reader has closed the pipe, as a shell has it: ended by SIGPIPE."""

_ENVIRONMENT = "AIOMYSQLX_URL"
_SECONDS = 10.0
_TAKES = "expected one URL, --json and --timeout SECONDS"
_DESCRIPTION = (
    "Print a diagnosis: what is installed, what a server and its network are like, and what is slow"
    " or unsafe. It has no password and no user's name in it. It only reads."
)
_STATUS = "Exit status: 0, 1 if there is no connection, 2 for a wrong argument."


class _UsageError(Exception):
    """The arguments are not those that the command takes."""


class _Parser(argparse.ArgumentParser):
    """A parser whose errors do not show what was given, which may be a password."""

    def error(self, message: str) -> NoReturn:
        raise _UsageError(f"{_TAKES}; what was given is not shown")


def main(arguments: Sequence[str]) -> int:
    """Print a diagnosis, and return the exit status."""
    try:
        try:
            return _diagnose(arguments)
        finally:  # also behind the text of --help
            sys.stdout.flush()
    except BrokenPipeError:
        # What could not be written is still there, and Python writes it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD


def _diagnose(arguments: Sequence[str]) -> int:
    try:
        given = _parsed(arguments)
        url = _url(given.url)
        options = from_url(url)
        settings = Settings(dict(options))
    except (_UsageError, ArgumentError) as error:
        print(f"python -m aiomysqlx: {error} (--help)", file=sys.stderr)
        return USAGE
    mask = mask_for(options, vars(settings.connect))
    logger.addHandler(logging.NullHandler())  # what is logged is in the diagnosis
    facts = asyncio.run(_gathered(options, settings, given.timeout, mask))
    if isinstance(sys.stdout, io.TextIOWrapper):  # which may not have every character
        sys.stdout.reconfigure(errors="backslashreplace")
    print((as_json if given.json else as_text)(facts, judge(facts)))
    return OK if facts.error is None else NOT_CONNECTED


async def _gathered(
    options: dict[str, Any], settings: Settings, seconds: float, mask: Any
) -> Facts:
    return await Gathering(options, settings, seconds, mask).run()


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="python -m aiomysqlx", description=_DESCRIPTION, epilog=_STATUS, allow_abbrev=False
    )
    parser.add_argument(
        "url",
        nargs="*",
        metavar="URL",
        help=f"as create_engine() takes it, mysql://user@host/db?…; left out: {_ENVIRONMENT} of the"
        " environment, which others do not see in the list of processes",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with the same content")
    parser.add_argument(
        "--timeout",
        type=_positive,
        default=_SECONDS,
        metavar="SECONDS",
        help=f"for all of it; {_SECONDS:g} if it is left out",
    )
    given, others = parser.parse_known_args(arguments)
    if others:
        parser.error("")
    return given


def _positive(text: str) -> float:
    seconds = float(text)
    if not (seconds > 0 and math.isfinite(seconds)):
        raise ValueError
    return seconds


def _url(given: list[str]) -> str:
    if len(given) > 1:
        raise _UsageError(f"{_TAKES}; what was given is not shown")
    url = given[0] if given else os.environ.get(_ENVIRONMENT)
    if not url:
        raise _UsageError(f"expected a URL, or {_ENVIRONMENT} in the environment")
    return url
