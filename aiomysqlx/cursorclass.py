"""What is taken for a class of cursors, and what is none."""

from __future__ import annotations

import pymysql
from aiomysql import DictCursor, SSCursor

from .cursor import Cursor
from .runtime.printable import type_name


def is_cursor_class(cls: object) -> bool:
    """Tell whether *cls* is a class of cursors."""
    return isinstance(cls, type) and issubclass(cls, Cursor)


def no_cursor_class(cls: object) -> str:
    """Return what something is that is taken for a class of cursors, and what to do."""
    if not isinstance(cls, type):
        return type_name(type(cls))
    name = type_name(cls)
    if issubclass(cls, (SSCursor, pymysql.cursors.SSCursor)):
        return f"{name}: results are read whole, without it"
    if issubclass(cls, (DictCursor, pymysql.cursors.DictCursor)):
        return f"{name}: SAConnection.execute() gives rows that are mappings"
    return name
