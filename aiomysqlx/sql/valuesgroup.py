"""Where the VALUES group of an INSERT stands in its SQL."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

# An INSERT's tokens: blanks, comments, quoted text, placeholders, words, and single characters.
_TOKEN = (
    r"(?P<blank>[ \t-\r]+)"
    r"|(?P<comment>/\*(?!M?!).*?\*/|--(?=[\0-\x20\x7f]|\Z)[^\n]*|\#[^\n]*)"
    r"|(?P<text>'(?:[^']|'')*')"
    r'|(?P<name>`(?:[^`]|``)*`|"(?:[^"]|"")*")'
    r"|(?P<placeholder>%s|%\([^)]*\)s|__\[POSTCOMPILE_[^\]]+\])"
    r"|(?P<word>[\w$]+)"
    r"|."
)
# What is left of the tokens, each with a space behind it, has to have one of these forms.
_NAME = (
    r"(?!(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|IGNORE|INTO|SELECT|SET|VALUES|ON|AS) )(?:[\w$]+|`) "
)
_NAMES = rf"\( (?:{_NAME}(?:\. {_NAME})?(?:, {_NAME}(?:\. {_NAME})?)*)?\) "
_HEAD = (
    r"(?:INSERT|REPLACE) (?:(?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY) )?(?:IGNORE )?(?:INTO )?"
    rf"{_NAME}(?:\. {_NAME})?(?:PARTITION {_NAMES})?(?:{_NAMES})?VALUES? \( "
)
_TAIL = (
    rf"(?:AS {_NAME}(?:{_NAMES})?)?(?:ON DUPLICATE KEY UPDATE [^;]*)?(?:RETURNING [^;]*)?(?:; )?"
)
# What may answer otherwise in a later row of one INSERT than in an INSERT of its own.
_READS_ROWS = frozenset(
    ("SELECT", "TABLE", "VALUES", "WITH", "LAST_INSERT_ID", "ROW_COUNT", "FOUND_ROWS")
)
_READS_ROWS_AFTER = r"\b(?:SELECT|ROW_COUNT|FOUND_ROWS|LAST_INSERT_ID \( \)) "


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return a pattern, compiled when it is first used: all would take 2 ms of an import."""
    return re.compile(text, re.DOTALL)


def find_values(sql: str) -> tuple[int, int] | None:
    """Return the span of the one VALUES group of an INSERT or REPLACE; `None` if in doubt.

    In doubt is whatever the pattern of such a statement does not cover, and what depends on the
    server's version or sql_mode: comments with code, backslashes, subqueries in the group.
    """
    kinds: list[str] = []
    spans: list[tuple[int, int]] = []
    for match in _pattern(_TOKEN).finditer(sql):
        kind, token = match.lastgroup, match.group()
        if kind in ("comment", "text", "name") and (
            "\\" in token or "%" in token.replace("%%", "")
        ):
            return None
        if kind in ("blank", "comment"):
            continue
        if kind is None and (token in "'\"`\\" or sql.startswith("/*", match.start())):
            return None
        kinds.append({"text": "'", "name": "`", "placeholder": "%"}.get(kind or "", token.upper()))
        spans.append(match.span())
    head = _pattern(_HEAD).match(_joined(kinds))
    if head is None:
        return None
    start = head.group().count(" ") - 1
    stop = _end_of_group(kinds, start)
    tail = _joined(kinds[stop:])
    if stop == start or not _pattern(_TAIL).fullmatch(tail):
        return None
    if re.search(_READS_ROWS_AFTER, tail) or not _READS_ROWS.isdisjoint(kinds[start:stop]):
        return None
    return spans[start][0], spans[stop - 1][1]


def _joined(kinds: Sequence[str]) -> str:
    return "".join(f"{kind} " for kind in kinds)


def _end_of_group(kinds: Sequence[str], start: int) -> int:
    """Return the index behind the parenthesis that closes the one at *start*; else *start*."""
    depth = 0
    for index in range(start, len(kinds)):
        depth += {"(": 1, ")": -1}.get(kinds[index], 0)
        if depth == 0:
            return index + 1
    return start
