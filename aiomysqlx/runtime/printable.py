"""Text of others', values and types for a log, a warning or an error."""

_MOST_SHOWN = 100


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
