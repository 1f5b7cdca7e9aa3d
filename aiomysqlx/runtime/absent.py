"""Names that are looked for in a class, as another one has them, and that it has not."""

from __future__ import annotations

from inspect import getattr_static
from typing import NoReturn


class Absent:
    """What stands in the place of such a name: to ask for it raises an `AttributeError`.

    A `__getattr__` would say the same, but with one each attribute of an object is read slowly.
    """

    __slots__ = ("_name", "_words")

    def __init__(self, words: str) -> None:
        self._words = words

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}: {self._words}"
        )


class Lacking:
    """What has `Absent` names, of which `dir()` knows nothing."""

    __slots__ = ()

    def __dir__(self) -> list[str]:
        cls = type(self)
        names = super().__dir__()
        return [name for name in names if type(getattr_static(cls, name, None)) is not Absent]
