"""What a dialect is taught of its server: the version, and what follows from it."""

from __future__ import annotations

import copy
import inspect
import re
import threading
from functools import cache
from typing import Any

from sqlalchemy import exc
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.util import memoized_property

from ..exc import ArgumentError
from ..runtime.record import Record

# The dialect's attribute that holds it: elsewhere it would keep the dialect in memory.
_LESSON = "_aiomysqlx_lesson"
_MISSING = object()
_OLDEST = {"": "5.7.0", "-MariaDB": "10.2.9-MariaDB"}
# Engines of several threads may share a dialect.
_learning = threading.RLock()


class _Lesson(Record):
    """Which server a dialect knows, and the attributes that it had before by their names."""

    server_version: str
    before: dict[str, Any]


def known_server(dialect: Dialect) -> str | None:
    """Return the version of the server that *dialect* knows, if it knows one."""
    lesson: _Lesson | None = vars(dialect).get(_LESSON)
    return None if lesson is None else lesson.server_version


def learn(dialect: Any, server_version: str) -> None:
    """Set what *dialect* has to know of the server, from the version that its greeting gave.

    What it knew of another server is forgotten: SQLAlchemy sets what a server has, and leaves as it
    is what the server before had.
    """
    with _learning:
        if known_server(dialect) == server_version:
            return
        _unlearn(dialect)
        before = dict(vars(dialect))
        try:
            _learn(dialect, server_version)
        finally:
            changed = {
                name: before.get(name, _MISSING)
                for name, value in vars(dialect).items()
                if value is not before.get(name, _MISSING)
            }
            vars(dialect)[_LESSON] = _Lesson(server_version, changed)


def taught(dialect: Dialect, server_version: str) -> Dialect:
    """Return a copy of *dialect* that knows the server, and nothing of another one."""
    with _learning:
        copied: Dialect = _copied(dialect)
        _teach(copied, server_version)
    return copied


def tuned(dialect: Dialect, server_version: str, no_backslash_escapes: bool) -> Any:
    """Return a copy of *dialect* that knows the server and marks parameters as `cut` reads them."""
    with _learning:
        copied = _copied(dialect)
        copied.statement_compiler = _compiler(copied.statement_compiler)
        copied.paramstyle = "pyformat"
        copied.positional = False
        # As the decoder gives them; SQLAlchemy would have them pass through a float.
        copied.supports_native_decimal = True
        _teach(copied, server_version)
        copied._backslash_escapes = not no_backslash_escapes
    return copied


def _copied(dialect: Dialect) -> Any:
    copied = copy.copy(dialect)
    _unlearn(copied)
    return copied


def _teach(copied: Any, server_version: str) -> None:
    # These belong to the dialect that they were made for.
    copied.identifier_preparer = copied.preparer(copied)
    copied.type_compiler_instance = copied.type_compiler = copied.type_compiler_cls(copied)
    learn(copied, server_version)


@cache
def _compiler(compiler: Any) -> type[SQLCompiler]:
    """Return a subclass of *compiler* in whose SQL no two parameters have the same name.

    SQLAlchemy 2.0 escapes `a b` and `a.b` alike, to `a_b`, and they get each other's values.
    """
    escapes = {character: chr(0xE000 + ord(character)) for character in "%():.[] ~"}
    return type("_Compiler", (compiler,), {"bindname_escape_characters": escapes})


def _unlearn(dialect: Any) -> None:
    """Remove what *dialect* knows of its server, and what SQLAlchemy has memoized since."""
    attributes = vars(dialect)
    lesson = attributes.pop(_LESSON, None)
    for name, value in lesson.before.items() if lesson is not None else ():
        if value is _MISSING:
            attributes.pop(name, None)
        else:
            attributes[name] = value
    for name in list(attributes):
        if isinstance(inspect.getattr_static(type(dialect), name, None), memoized_property):
            del attributes[name]


def _parse_version(dialect: Any, server_version: str) -> tuple[int, ...]:
    """Return the numbers of a version, or those of the oldest server that SQLAlchemy is at home on.

    Servers that only speak the protocol have versions of their own.
    """
    # MariaDB's greeting starts with a version for clients that know MySQL only.
    text = re.sub(r"^[^0-9]+", "", server_version.removeprefix("5.5.5-"))
    suffix = "-MariaDB" if "MariaDB" in server_version else ""
    try:
        try:
            version: tuple[int, ...] = dialect._parse_server_version(text)
        except (NotImplementedError, ValueError):  # too old, or a number of thousands of digits
            version = dialect._parse_server_version(_OLDEST[suffix])
    except exc.InvalidRequestError as error:
        raise ArgumentError(f"argument 'dialect' is for another server: {error}") from None
    return version


def _learn(dialect: Any, server_version: str) -> None:
    version = _parse_version(dialect, server_version)
    dialect.server_version_info = version
    if hasattr(dialect, "_dispatch_for_vendor"):  # SQLAlchemy 2.1
        dialect._casing = 0
        dialect._dispatch_for_vendor(dialect._initialize_mysql, dialect._initialize_mariadb, None)
        return
    mariadb = dialect.is_mariadb
    dialect.supports_sequences = mariadb and version >= (10, 3)
    dialect.supports_for_update_of = not mariadb and version >= (8,)
    dialect.use_mysql_for_share = not mariadb and version >= (8, 0, 1)
    dialect.delete_returning = mariadb and version >= (10, 0, 5)
    dialect.insert_returning = mariadb and version >= (10, 5)
    dialect._requires_alias_for_on_duplicate_key = not mariadb and version >= (8, 0, 20)
    dialect._warn_for_known_db_issues()
