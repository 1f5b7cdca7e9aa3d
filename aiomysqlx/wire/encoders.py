"""Encoders: what makes values of a user's types of those that have a literal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from time import struct_time
from typing import Any
from uuid import UUID

from ..exc import ArgumentError
from ..runtime.words import brief, type_name
from .codes import InList, Verbatim

Encoder = Callable[[Any], Any]

# What has a literal, in the order in which a subclass is asked what it is: members first, the
# particular before the general.
# fmt: off
BASES: tuple[type, ...] = (
    Enum, int, float, Decimal, str, Verbatim, bytes, bytearray, datetime, date, time, timedelta,
    UUID, InList, tuple, list, set, frozenset,
)
# fmt: on
_KNOWN = frozenset((*BASES, type(None), bool, memoryview, struct_time))
_MOST_FOUND = 1000  # types that are made all the time are looked for each time


class Encoders:
    """The encoders of a connection, by type.

    A subclass of what has a literal is taken for that, unless an encoder is nearer.
    """

    __slots__ = ("_found", "_functions")

    def __init__(self, functions: Mapping[type, Encoder]) -> None:
        self._functions = dict(functions)
        self._found: dict[type, Encoder | None] = {}

    def find(self, cls: type) -> Encoder | None:
        """Return the encoder of *cls*, or of the nearest of its bases that has one, or `None`."""
        if cls in self._found:
            return self._found[cls]
        # A member of an enumeration stands for its value, whatever else it is.
        known = frozenset[type]() if issubclass(cls, Enum) else _KNOWN
        for base in cls.__mro__:
            found = self._functions.get(base)
            if found is not None or base in known:
                break
        if len(self._found) < _MOST_FOUND:
            self._found[cls] = found
        return found


class Mode(int):
    """The flags of a mode, with the encoders that go with them."""

    encoders: Encoders

    def __new__(cls, flags: int, encoders: Encoders) -> Mode:
        """Return the flags with the encoders."""
        mode = super().__new__(cls, flags)
        mode.encoders = encoders
        return mode

    def __or__(self, flags: int) -> Mode:
        return Mode(int(self) | int(flags), self.encoders)

    def __ror__(self, flags: int) -> Mode:
        return self | flags

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mode):
            return False
        return int(self) == int(other) and self.encoders is other.encoders

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((int(self), id(self.encoders)))


class UnsendableError(ArgumentError):
    """A value's type has no literal."""

    def __init__(self, cls: type) -> None:
        name = cls.__name__
        remedy = "json.dumps" if issubclass(cls, dict) else "…"
        hint = f"; encoders={{{name}: {remedy}}} takes a function that makes a str or number of it"
        super().__init__(
            f"cannot send a value of type {type_name(cls)!r}"
            f"{'' if issubclass(cls, (list, tuple, set, frozenset)) else hint}"
        )
        self.cls: type = cls


def check_encoders(encoders: Any) -> None:
    """Raise an `ArgumentError` unless *encoders* is a mapping of types to functions."""
    for cls, function in encoders.items():
        if not isinstance(cls, type):
            raise ArgumentError(f"argument 'encoders' takes types for keys, got {brief(cls)}")
        if not callable(function):
            raise ArgumentError(
                f"argument 'encoders' takes a function for {type_name(cls)}, got {brief(function)}"
            )


def has_encoder(mode: int, cls: type) -> bool:
    """Tell whether there is an encoder of *cls* among those of a mode, if it has any."""
    return isinstance(mode, Mode) and mode.encoders.find(cls) is not None


def encoded(function: Encoder, value: Any) -> Any:
    """Return what an encoder makes of *value*; raises `ArgumentError` if it fails."""
    try:
        return function(value)
    except Exception as error:
        raise ArgumentError(
            f"the encoder of {type_name(type(value))} failed: {type(error).__name__}: {error}"
        ) from error


def misencoded(value: Any, error: ArgumentError) -> ArgumentError:
    """Return the error for what the encoder of *value* returned, which is refused by *error*."""
    encoder = f"the encoder of {type_name(type(value))} returned a value"
    if isinstance(error, UnsendableError):
        return ArgumentError(f"{encoder} of type {type_name(error.cls)!r}, which cannot be sent")
    return ArgumentError(f"{encoder} that cannot be sent: {error}")
