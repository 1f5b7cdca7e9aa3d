"""Text of others', values, types and lists for a log, a warning or an error."""

from collections.abc import Iterable

_MOST_SHOWN = 100
_MOST_LISTED = 10


def printable(text: object) -> str:
    """Return *text* on one line: what is not printable is escaped.

    A server, or whoever names a host, could forge lines of the log with it, or steer a terminal.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in shown
    )


def type_name(cls: type) -> str:
    """Return the name of a type, with its module unless it is built in."""
    module = cls.__module__
    return cls.__name__ if module == "builtins" else f"{module}.{cls.__name__}"


def brief(value: object) -> str:
    """Return a value as a message shows it: by its type if its own text may be of any length."""
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    if isinstance(value, str):
        return repr(value if len(value) <= _MOST_SHOWN else f"{value[:_MOST_SHOWN]}…")
    return type_name(value if isinstance(value, type) else type(value))


def counted(number: int, what: str) -> str:
    """Return *number* and what it counts."""
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def listed(names: Iterable[object]) -> str:
    """Return *names*, the first of them if they are many."""
    shown = [repr(name) for name in dict.fromkeys(names)]
    more = [f"{len(shown) - _MOST_LISTED} more"] if len(shown) > _MOST_LISTED else []
    *others, last = [*shown[:_MOST_LISTED], *more] or ["none"]
    return f"{', '.join(others)} and {last}" if others else last
