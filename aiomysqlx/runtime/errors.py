"""Errors that are raised later, by whoever they are for."""

from __future__ import annotations

from pymysql import err

from .. import exc


def copy_error(error: BaseException) -> BaseException:
    """Give a fresh copy of *error*.

    An error that was raised holds, by its traceback, all that its callers had at hand: nothing
    that outlives them may hold it.
    """
    copy = type(error)(*error.args)
    copy.__dict__.update(error.__dict__)
    copy.__cause__ = error.__cause__
    return copy


def set_free(error: BaseException) -> BaseException:
    """Return what to raise in the place of *error*, which a future has raised: a copy if it can be.

    The event loop has that future until its turn is over, and with it all that its callers had.
    """
    if type(error).__module__ not in (err.__name__, exc.__name__):  # a user's own, say
        return error
    return copy_error(error.with_traceback(None))
