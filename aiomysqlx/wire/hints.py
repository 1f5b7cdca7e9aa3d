"""Hints at what is meant by a statement that the server does not understand."""

from __future__ import annotations

import re

from pymysql.constants import ER

# What a server quotes of a statement: from where it does not understand it, 80 bytes at most.
_NEAR = r"(?s)'(.+)'"
_STATEMENT = r"[A-Za-z(]"
_PLACEHOLDER = r"%s|%\(\w+\)s"
_COLON = r":[A-Za-z_]\w*"


_LIST_WITHIN = r"(?i)\bIN\s*\(\s*\("


def of_error(code: int, sql: str, message: str, several: bool) -> str:
    """Return a hint for the error *code* of *sql*, or "".

    *several* tells whether the server takes several statements at once.
    """
    if code == ER.PARSE_ERROR:
        return of_syntax(sql, message, several)
    if re.search(_LIST_WITHIN, sql):
        return " (a list brings its own parentheses: write IN %(name)s, or IN :name in text())"
    return ""


def of_syntax(sql: str, message: str, several: bool) -> str:
    """Return a hint for a syntax error in *sql*, of which *message* quotes the place; else ""."""
    quoted = re.search(_NEAR, message)
    near = "" if quoted is None else quoted[1].removesuffix("...")
    if near[:9].upper() == "DELIMITER":
        return " (DELIMITER is a command of the clients, not of the server: leave it out)"
    if not several and re.match(_STATEMENT, near) and _follows_semicolon(sql, near):
        return (
            " (several statements in one string take multi_statements=True, which is"
            " client_flag=CLIENT.MULTI_STATEMENTS: execute one at a time, or connect with it)"
        )
    if re.match(_PLACEHOLDER, near):
        return " (a placeholder takes a parameter, and none was given)"
    if near.startswith("?") or re.match(_COLON, near):
        return " (placeholders are %s or %(name)s in a str, :name in sqlalchemy.text())"
    return ""


def _follows_semicolon(sql: str, near: str) -> bool:
    """Tell whether what is quoted follows a semicolon somewhere in *sql*."""
    place = sql.find(near, 1)
    while place > 0:
        before = place - 1
        while before > 0 and sql[before].isspace():  # a copy of what is before may be a megabyte
            before -= 1
        if sql[before] == ";":
            return True
        place = sql.find(near, place + 1)
    return False
