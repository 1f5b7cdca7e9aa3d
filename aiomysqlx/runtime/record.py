"""Objects of some fields."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Any, ClassVar, NoReturn

from typing_extensions import dataclass_transform


@dataclass_transform(frozen_default=True)
class Record:
    """An object of the fields that its class declares, which cannot be set anew.

    As a frozen dataclass or a NamedTuple, but each of those takes ten times as long to define:
    all of them together 3 ms of an import.
    """

    _fields: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *values: Any, **named: Any) -> None:
        fields = dict(zip(self._fields, values, strict=False), **named)
        if fields.keys() != set(self._fields) or len(fields) != len(values) + len(named):
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}")
        vars(self).update(fields)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"
