"""Exceptions raised by this package.

Errors that come from the server or the network are PyMySQL's own (`pymysql.err`); the classes
here say that the package was used in a way it cannot serve.
"""


class Error(Exception):
    """Base class of every exception defined by this package."""


class ArgumentError(Error):
    """A function or statement was given arguments that it does not take."""


class InvalidRequestError(ArgumentError):
    """An operation was asked for in a state that does not allow it."""


class NoSuchColumnError(KeyError, InvalidRequestError):
    """A row was asked for a column that it does not have."""


class ResourceClosedError(InvalidRequestError):
    """A result, transaction or connection was used after it had been closed."""
