"""Names that are looked for in a class, as another one has them, and that it has not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn


class Absent:
    """What stands in the place of a base class's name: to ask for it raises an `AttributeError`."""

    __slots__ = ("_name", "_words")

    def __init__(self, words: str) -> None:
        self._words = words

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise missing(owner, self._name, {self._name: self._words})


def missing(owner: type, name: str, elsewhere: Mapping[str, str]) -> AttributeError:
    """Return the error for a name that *owner* lacks, with what there is of it *elsewhere*."""
    hint = f": {elsewhere[name]}" if name in elsewhere else ""
    return AttributeError(f"{owner.__name__!r} object has no attribute {name!r}{hint}")
