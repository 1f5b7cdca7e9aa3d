"""The server's warnings as Python's."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .exc import ArgumentError, ServerWarning

if TYPE_CHECKING:  # the connection's statements are warned about through this module
    from .driver import Connection


def check_warnings(wanted: object) -> None:
    """Raise `ArgumentError` if *wanted* is not true, false or `None`."""
    if not isinstance(wanted, (bool, type(None))):
        raise ArgumentError(f"warnings: expected True or False, got {wanted!r}")


def wants_warnings(connection: Connection, wanted: bool | None) -> bool:
    """Tell whether warnings are *wanted*; `None`: as the connection has it."""
    return connection.warnings if wanted is None else wanted


async def warn(connection: Connection, wanted: bool | None = None) -> None:
    """Issue what the server has to say of the latest statement, unless it is not *wanted*.

    `None`: as the connection has it. What is not wanted is not asked for.
    """
    if wants_warnings(connection, wanted):
        issue(await connection.show_warnings())


def issue(rows: Iterable[tuple[Any, ...]]) -> None:
    """Issue the rows of SHOW WARNINGS, with the code that executes as their place."""
    for level, code, message in rows:
        warning = ServerWarning(int(code), _text(message), _text(level))
        warnings.warn(warning, stacklevel=_user_level())


def _text(value: Any) -> str:
    """Return *value* as text: a session may have text come as bytes."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _user_level() -> int:
    """Give the stack level, as its caller sees it, of the first code outside of this package."""
    frame, level = sys._getframe(1), 1
    package = f"{__package__}."
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(package):
        frame, level = frame.f_back, level + 1
    return level
