"""Places in the code, as messages show them."""

from __future__ import annotations

from types import CodeType
from typing import Any

Place = tuple[CodeType, int]
"""The code and the instruction in it; the line is looked up when it is asked for."""


def shown(place: Place) -> str:
    """Return file and line of a place."""
    code, instruction = place
    line = next((line for start, end, line in code.co_lines() if start <= instruction < end), None)
    return f"{code.co_filename}:{line or code.co_firstlineno}"


def defined(function: Any) -> str:
    """Return the name of a function, or of what is called like one, and where it stands."""
    while hasattr(function, "func"):  # a functools.partial
        function = function.func
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    name = function.__qualname__
    code = getattr(function, "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"
