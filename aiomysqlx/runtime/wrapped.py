"""A coroutine in an object that is awaited in its place."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import Any


class Wrapped:
    """What is awaited as the coroutine in it is, and has a coroutine's methods."""

    __slots__ = ("_coroutine", "_value")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._value: Any = None  # what an `async with` has of it

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Go on with the coroutine."""
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with the coroutine by an error."""
        try:
            return self._coroutine.throw(*error)
        finally:
            del error  # whose traceback holds this frame

    def close(self) -> None:
        """End the coroutine."""
        self._coroutine.close()
