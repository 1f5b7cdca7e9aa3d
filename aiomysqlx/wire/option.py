"""What an option is, whichever way it is given: as an argument, in a URL or in an option file.

All that is said of one stands in its field: see `ConnectOptions` for how they are declared.
"""

from __future__ import annotations

import inspect
import os
import re
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError
from ssl import SSLContext
from typing import Any, ClassVar, NoReturn, TypeVar

from ..exc import ArgumentError
from ..runtime.words import type_name
from .checks import truth

_WORDS: dict[Any, str] = {
    str: "a str",
    bytes: "bytes",
    os.PathLike: "a path",
    Callable: "a function",
    int: "an int",
    float: "a float",
    tuple: "a tuple",
    list: "a list",
    Mapping: "a mapping",
    type: "a class",
    SSLContext: "an ssl.SSLContext",
    AbstractEventLoop: "an event loop",
    bool: "a bool",
    type(None): "None",
}
# What is expected where a value is read by these.
_TEXTS: dict[Any, str] = {
    truth: "true or false",
    str: "text",
    int: "a whole number",
    float: "a number",
}


class Option:
    """One option, which a class of options declares by `option()`.

    *doc* is its line in the docs. *types* are those of its values, *parse* makes one of text
    (raises `ValueError`; without it the option cannot be given as text), *check* raises
    `ArgumentError` for a value that is wrong by itself. *aliases* are taken too, *meant_by* are
    names that others have for it and *in_files* those in option files. The value of a *secret*
    is in no message. *as_text* says what text is expected, where the types do not; *hint* is put
    behind what is expected.
    """

    __slots__ = (
        *("_as_text", "_check", "_hint", "aliases", "annotation", "default", "doc", "in_files"),
        *("may_have_nul", "meant_by", "name", "parse", "secret", "types"),
    )

    name: str
    annotation: str

    def __init__(
        self,
        doc: str,
        default: Any,
        types: type | tuple[Any, ...],
        parse: Callable[[str], Any] | None = None,
        *,
        check: Callable[[Any], object] | None = None,
        aliases: tuple[str, ...] = (),
        meant_by: tuple[str, ...] = (),
        in_files: str | tuple[str, ...] = (),
        secret: bool = False,
        may_have_nul: bool = False,
        as_text: str = "",
        hint: str = "",
    ) -> None:
        self.doc = doc
        self.default = default
        self.types: tuple[Any, ...] | tuple[type] = types if isinstance(types, tuple) else (types,)
        self.parse = parse
        self._check = check
        self.aliases = aliases
        self.meant_by = meant_by
        self.in_files: tuple[str, ...] | tuple[str] = (
            in_files if isinstance(in_files, tuple) else (in_files,)
        )
        self.secret = secret
        self.may_have_nul = may_have_nul
        self._as_text = as_text
        self._hint = hint

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.annotation = owner.__annotations__[name]

    @property
    def expected(self) -> str:
        """What it takes, in words."""
        words = [word for type_, word in _WORDS.items() if type_ in self.types]
        *others, last = words or [type_name(self.types[0])]
        expected = f"{', '.join(others)} or {last}" if others else last
        return f"{expected}{self._hint}"

    @property
    def expected_text(self) -> str:
        """What it takes in a URL or an option file, in words."""
        text = self._as_text or _TEXTS.get(self.parse)
        return f"{text}{self._hint}" if text else self.expected

    def check(self, value: Any) -> None:
        """Raise `ArgumentError` if the option does not take *value* by itself."""
        if not isinstance(value, self.types) or (
            isinstance(value, bool) and bool not in self.types
        ):
            raise ArgumentError(
                f"argument {self.name!r} does not take {self._shown(value)}:"
                f" expected {self.expected}"
            )
        if isinstance(value, str):
            check_text(self.name, value)
            if "\0" in value and not self.may_have_nul:
                raise ArgumentError(f"argument {self.name!r} has a NUL character")
        if self._check is not None and value is not None:
            self._check(value)

    def _shown(self, value: Any) -> str:
        """Return *value* for a message, unless it may hold a secret."""
        scalar = isinstance(value, (str, int, float, type(None)))
        return repr(value) if scalar and not self.secret else f"a {type_name(type(value))}"


option: Callable[..., Any] = Option
"""Makes the field of an option, of whichever type its values are."""


T = TypeVar("T", bound="Options")


class Options:
    """Options that belong together: an object has the values given, else the defaults.

    A subclass adds the fields that it declares. A frozen dataclass but for what that compiles,
    which would take 2 ms of an import.
    """

    fields: ClassVar[dict[str, Option]] = {}
    by_name: ClassVar[dict[str, Option]] = {}
    """The fields by all the names that are taken."""

    def __init_subclass__(cls) -> None:
        fields: dict[str, Option] = {}
        for base in reversed(cls.__mro__[1:]):
            fields |= vars(base).get("fields", {})
        own = {name: field for name, field in vars(cls).items() if isinstance(field, Option)}
        cls.fields = fields | own
        cls.by_name = {
            name: field for field in cls.fields.values() for name in (field.name, *field.aliases)
        }
        for name, field in own.items():
            setattr(cls, name, field.default)

    def __init__(self, **given: Any) -> None:
        unknown = given.keys() - self.fields.keys()
        assert not unknown, unknown
        vars(self).update(given)

    @classmethod
    def signature(cls, defaults: Mapping[str, Any]) -> inspect.Signature:
        """Return the signature of what takes these options, some with *defaults* of its own."""
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [
                inspect.Parameter(
                    name,
                    kind,
                    default=defaults.get(name, field.default),
                    annotation=field.annotation,
                )
                for name, field in cls.fields.items()
            ]
        )

    def but(self: T, **others: Any) -> T:
        """Return the same options, but for *others*."""
        return type(self)(**{**vars(self), **others})

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    @classmethod
    def find(cls, name: str) -> Option | None:
        """Return the option of that name, with hyphens or underscores, if there is one."""
        return cls.by_name.get(name.replace("-", "_"))

    @classmethod
    def named(
        cls, given: Mapping[str, Any], engines: type[Options] | None = None
    ) -> dict[str, Any]:
        """Return what is given by the options' own names; raises `ArgumentError`.

        *engines* are those that only an engine takes.
        """
        result: dict[str, Any] = {}
        for name, value in given.items():
            field = cls.find(name)
            if field is None:
                from .meant import MAKES_ENGINES, hint  # which few need: 0.4 ms of an import

                if engines is not None and engines.find(name) is not None:
                    raise ArgumentError(f"unknown argument {name!r}: {MAKES_ENGINES} takes it")
                meant = hint(name, cls.fields, {} if engines is None else engines.fields)
                raise ArgumentError(f"unknown argument{_shown_name(name)}{meant}")
            if field.name in result:
                raise ArgumentError(f"argument {field.name!r} is given twice")
            result[field.name] = value
        return result

    @classmethod
    def from_text(cls, name: str, text: str) -> Any:
        """Return the value of an option that is given as text; raises `ArgumentError`."""
        field = cls.by_name[name]
        if field.parse is None:
            raise ArgumentError(
                f"argument {name!r} cannot be given in a URL: give it as an argument"
            )
        try:
            return field.parse(text)
        except ValueError:
            shown = "this value" if field.secret else repr(text)
        raise ArgumentError(
            f"argument {name!r} does not take {shown}: expected {field.expected_text}"
        )


def _shown_name(name: str) -> str:
    """Return *name* to be shown, unless it may be a part of a URL's password."""
    return f" {name!r}" if re.fullmatch(r"[\w.-]+", name) else ""


def check_text(name: str, text: str) -> str:
    """Return *text*; raises `ArgumentError`, which does not show it, if it has a surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        start = error.start
    else:
        return text
    # Not from within: that error has the text.
    raise ArgumentError(f"argument {name!r} has no utf8 encoding: a surrogate at character {start}")
