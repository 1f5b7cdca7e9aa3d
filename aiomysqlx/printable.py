"""Text of others' for a log or a warning."""


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
