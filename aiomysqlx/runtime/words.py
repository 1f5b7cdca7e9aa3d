"""What is said of things: values and places in words, and the log."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterable
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE
from types import CodeType, FrameType
from typing import Any

_MOST_SHOWN = 100
_MOST_LISTED = 10


def printable(text: object) -> str:
    """Return *text* on one line: what is not printable is escaped.

    A server, or whoever names a host, could forge lines of the log with it, or steer a terminal.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in shown
    )


def type_name(cls: type) -> str:
    """Return the name of a type, with its module unless it is built in."""
    module = cls.__module__
    return cls.__name__ if module == "builtins" else f"{module}.{cls.__name__}"


def brief(value: object) -> str:
    """Return a value as a message shows it: by its type if its own text may be of any length."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…")
    return type_name(value if isinstance(value, type) else type(value))


def counted(number: int, what: str) -> str:
    """Return *number* and what it counts."""
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[object]) -> str:
    """Return *names*, the first of them if they are many."""
    shown = [repr(name) for name in dict.fromkeys(names)]
    more = [f"{len(shown) - _MOST_LISTED} more"] if len(shown) > _MOST_LISTED else []
    *others, last = [*shown[:_MOST_LISTED], *more] or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


_PACKAGE = __package__.partition(".")[0]
# Who may stand between the package and its user, and where the stack of a task ends.
_BETWEEN = frozenset(("asyncio", "contextlib", "sqlalchemy"))
_OF_THE_LOOP = frozenset(("asyncio.base_events", "asyncio.events", "asyncio.runners"))
# What a task may be made of.
_ASYNCHRONOUS = CO_COROUTINE | CO_ASYNC_GENERATOR

Place = tuple[CodeType, int]
"""The code and the instruction in it; the line is looked up when it is asked for."""


def place_of_block(frame: FrameType) -> Place:
    """Return where a block begins, from the frame that resumes its function by `contextlib`."""
    while frame.f_back is not None and frame.f_globals.get("__name__") == "contextlib":
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


def shown(place: Place) -> str:
    """Return file and line of a place."""
    return f"{place[0].co_filename}:{_line(place)}"


def warn_at(place: Place, message: str, source: object) -> None:
    """Issue a `ResourceWarning` about what was made at a place, from wherever that is found out."""
    warnings.warn_explicit(
        message, ResourceWarning, place[0].co_filename, _line(place), source=source
    )


def _line(place: Place) -> int:
    code, instruction = place
    line = next((line for start, end, line in code.co_lines() if start <= instruction < end), None)
    return line or code.co_firstlineno


def user_level() -> int:
    """Return the stack level, as its caller sees it, of the first code outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and (_imports(frame) or _is_ours(frame)):
        frame = frame.f_back
        level += not _imports(frame)  # which warnings.warn() does not count either
    return level


def calling_place() -> Place | None:
    """Return where the code that uses this package is, in the running task; `None` if nowhere.

    It is in a coroutine, or in a function that one has called: uvloop has no frame of its own, so
    what runs the event loop may be next on the stack. What SQLAlchemy, asyncio and context managers
    do for that code is none of it.
    """
    place: Place | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name in _OF_THE_LOOP:  # a task was made of an awaitable of ours
            return None
        if place is None and not (_is_ours(frame) or name.partition(".")[0] in _BETWEEN):
            place = frame.f_code, frame.f_lasti
        if place is not None and frame.f_code.co_flags & _ASYNCHRONOUS:
            return place
        frame = frame.f_back
    return None


def _is_ours(frame: FrameType) -> bool:
    name: str = frame.f_globals.get("__name__", "")
    return name == _PACKAGE or name.startswith(f"{_PACKAGE}.")


def _imports(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    return "importlib" in file and "_bootstrap" in file


def defined(function: Any) -> str:
    """Return the name of a function, or of what is called like one, and where it stands."""
    while hasattr(function, "func"):  # a functools.partial
        function = function.func
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    name = function.__qualname__
    code = getattr(function, "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


logger: logging.Logger = logging.getLogger("aiomysqlx")
