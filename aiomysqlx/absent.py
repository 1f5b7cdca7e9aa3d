"""Names that a base class has, and a class made of it has not."""

from __future__ import annotations

from typing import NoReturn


class Absent:
    """What stands in the place of such a name: to ask for it raises an `AttributeError`."""

    __slots__ = ("_name", "_words")

    def __init__(self, words: str) -> None:
        self._words = words

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(f"{owner.__name__!r} has no attribute {self._name!r}: {self._words}")
