"""What classes are made with: fields, and names that are looked for and not there."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, make_dataclass
from inspect import getattr_static
from types import GenericAlias
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from typing_extensions import dataclass_transform

if TYPE_CHECKING:
    from typing import Generic as Generic
else:

    class Generic:
        """As typing has it, which takes 0.05 ms for each class that is made of one."""

        __slots__ = ()
        __class_getitem__ = classmethod(GenericAlias)


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
        fields = self._fields
        if named:
            values += tuple([named.pop(each) for each in fields[len(values) :] if each in named])
        if named or len(values) != len(fields):
            raise TypeError(f"{type(self).__name__} takes {', '.join(fields)}")
        vars(self).update(zip(fields, values, strict=True))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({fields})"


class OfDataclass:
    """What `dataclasses` looks for in a class, made when it does: for `asdict()` of a record."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        made = make_dataclass(owner.__name__, owner.__annotations__.items(), frozen=True)
        value = getattr(made, self._name)
        setattr(owner, self._name, value)
        return value


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


class Single:
    """What cannot be copied: two would use one connection or coroutine, unknown to each other."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__!r} object cannot be copied or pickled: pass it on as it is"
        )
