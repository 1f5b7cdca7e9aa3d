"""Places in the code, as messages show them."""

from __future__ import annotations

import sys
import warnings
from types import CodeType, FrameType
from typing import Any

_PACKAGE = __package__.partition(".")[0]

Place = tuple[CodeType, int]
"""The code and the instruction in it; the line is looked up when it is asked for."""


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
