"""The server's warnings as Python's."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from ..exc import ArgumentError, ServerWarning
from ..runtime.words import brief, user_level
from .session import Session


def check_warnings(wanted: object) -> None:
    """Raise `ArgumentError` if *wanted* is not true, false or `None`."""
    if not isinstance(wanted, (bool, type(None))):
        raise ArgumentError(f"warnings: expected True or False, got {brief(wanted)}")


def wants_warnings(session: Session, wanted: bool | None) -> bool:
    """Tell whether warnings are *wanted*; `None`: as the session has it."""
    return session.warnings if wanted is None else wanted


async def warn(session: Session, wanted: bool | None = None) -> None:
    """Issue what the server has to say of the latest statement, unless it is not *wanted*.

    `None`: as the session has it. What is not wanted is not asked for.
    """
    if wants_warnings(session, wanted):
        issue(await session.show_warnings())


def issue(rows: Iterable[tuple[Any, ...]]) -> None:
    """Issue the rows of SHOW WARNINGS, with the code that executes as their place."""
    for level, code, message in rows:
        # In no variable: as an error it would hold, by its traceback, the frame that holds it.
        warnings.warn(
            ServerWarning(int(code), _text(message), _text(level)), stacklevel=user_level()
        )


def _text(value: Any) -> str:
    """Return *value* as text: a session may have text come as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
