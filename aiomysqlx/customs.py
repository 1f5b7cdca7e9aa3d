"""What a connection of the driver has by itself that one of an engine has not: aiomysql's customs.

Code that was written for aiomysql's driver goes on as it did; whoever wants it otherwise says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any

from pymysql import converters
from pymysql.constants import CLIENT

from .runtime.words import type_name

if TYPE_CHECKING:
    from .wire.option import Option


def as_text(value: Any) -> Any:
    """Return the text that stands for a value of a type that has no literal.

    Raises `TypeError` for what surely is a mistake: a dictionary, a coroutine, or an object whose
    text would be its address.
    """
    if isinstance(value, Enum):
        return value.value if isinstance(value, (str, int)) else str(value)
    if isinstance(value, (Mapping, Awaitable)):
        raise TypeError(f"{type(value).__name__} can not be used as parameter")
    kind: Any = type(value)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        raise TypeError(f"{type_name(kind)} has no text of its own: encoders= takes one")
    return str(value)


CUSTOMS: dict[str, Any] = {
    "found_rows": False,
    "multi_statements": True,
    "encoders": {object: as_text},
}
"""The options that have another default with the driver."""


def with_customs(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a connection of the driver, by the options' own names.

    `None` in the place of a text, and 0 or 1 in that of a truth, are what aiomysql takes too.
    """
    from .wire.options import CONNECT, ConnectOptions  # with the first connection, as in driver

    found = {
        name: _as_truth(CONNECT[name], value)
        for name, value in ConnectOptions.named(given).items()
        if value is not None or type(None) in CONNECT[name].types
    }
    if isinstance(found.get("client_flag"), int) and not found.get("local_infile"):
        found["client_flag"] &= ~CLIENT.LOCAL_FILES  # by which aiomysql lets no file go either
    for name, value in CUSTOMS.items():
        if name == "encoders":
            own = found.get(name) or {}
            found[name] = {**value, **own} if isinstance(own, Mapping) else own
        else:
            found.setdefault(name, value)
    return found


def _as_truth(option: Option, value: Any) -> Any:
    takes_truth = bool in option.types and int not in option.types
    return bool(value) if takes_truth and type(value) is int and value in (0, 1) else value


def escape_string(value: str, mapping: Any = None) -> str:
    """Return the inside of a SQL literal for *value*.

    For a server that reads backslashes: `Connection.escape_string()` knows whether it does.
    """
    escaped: str = converters.escape_string(value, mapping)
    return escaped


def escape_sequence(val: Iterable[Any], charset: str | None = None, mapping: Any = None) -> str:
    """Return the values as SQL literals, as PyMySQL writes them, with commas in parentheses."""
    literals = [converters.escape_item(value, charset, mapping) for value in val]
    return f"({','.join(literals)})"


def escape_dict(
    val: Mapping[str, Any], charset: str | None = None, mapping: Any = None
) -> dict[str, str]:
    """Return the same keys with the values as SQL literals, as PyMySQL writes them."""
    return {key: converters.escape_item(value, charset, mapping) for key, value in val.items()}
