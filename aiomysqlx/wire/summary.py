"""What is shown of SQL: its text without literals, and a summary of what it does and to what.

Both are for names and groups of statements, so they are made of the beginning of a long text. The
summary is that of OpenTelemetry's conventions: the operations and their targets, in their order.
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from ..runtime.record import Record

MOST_TEXT = 8192
"""How many characters of a statement are shown at most."""

MOST_SUMMARY = 255
"""How many a summary has at most."""

BATCH = "BATCH "
"""What is before the summary of a statement that is executed many times in one batch."""

_MOST_CACHED = 512

# A comment that the server executes is text to it.
_COMMENTS = r"/\*(?!!|M!|\+).*?(?:\*/|\Z)|--(?:[\x00-\x09\x0b-\x20\x7f][^\n]*)?(?=\n|\Z)|\#[^\n]*"
_NUMBER = r"(?:0x[0-9a-f]+|0b[01]+|(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)(?![\w$])"
_PREFIX = r"(?:(?<![\w$@])(?:[xbn]|_\w+\s*))?"


@cache
def _pattern(backslashes: bool) -> re.Pattern[str]:
    """Return what finds comments, identifiers in backticks, and literals."""
    strings = "|".join(_QUOTED[backslashes].replace("Q", quote) for quote in "'\"")
    return re.compile(
        rf"(?P<comment>{_COMMENTS})"
        r"|`(?:[^`]|``)*(?:`|\Z)"
        rf"|(?P<literal>{_PREFIX}(?:{strings})|(?<![\w$.@`]){_NUMBER}"
        r"|(?<![\w$.@`])(?:true|false)(?![\w$]))",
        re.IGNORECASE | re.DOTALL,
    )


# What is not closed goes to the end.
_QUOTED = {True: r"Q(?:[^Q\\]|\\.|QQ)*(?:Q|\\?\Z)", False: r"Q(?:[^Q]|QQ)*(?:Q|\Z)"}
_PLACEHOLDER = r"%\(\w+\)s|%s"
_LIST = r"\bIN\s*\(\s*\?(?:\s*,\s*\?)+\s*\)"
_NAME = r"(?:`(?:[^`]|``)*`|[^\W\d][\w$]*)"
_TOKEN = rf"{_NAME}(?:\.{_NAME})*|[(),;?]"


class Read(Record):
    """What is shown of a statement."""

    text: str
    summary: str


def shortened(sql: str) -> str:
    """Return SQL, or its beginning."""
    return sql if len(sql) <= MOST_TEXT else f"{sql[:MOST_TEXT]}…"


def read(sql: str, backslashes: bool) -> Read:
    """Return what is shown of *sql*, in whose literals *backslashes* escape or do not."""
    return _read(sql[:MOST_TEXT], len(sql) > MOST_TEXT, backslashes)


@lru_cache(_MOST_CACHED)
def _read(sql: str, is_cut: bool, backslashes: bool) -> Read:
    text = _pattern(backslashes).sub(_without_value, sql).strip()
    shown = re.sub(_LIST, "IN (?)", f"{text}…" if is_cut else text, flags=re.IGNORECASE)
    return Read(shown, _summary(re.sub(_PLACEHOLDER, "?", text)))


def _without_value(match: re.Match[str]) -> str:
    if match["comment"] is not None:
        return " "
    return "?" if match["literal"] is not None else match[0]


# -- the summary -------------------------------------------------------------------------------

# fmt: off
_FIRST = frozenset(("INSERT", "REPLACE", "UPDATE", "DELETE", "CALL"))  # of a statement's words
# What another statement may follow.
_BEFORE = frozenset(("", "EXPLAIN", "DESCRIBE", "DESC", "ANALYZE", "WITH"))
_DEFINES = frozenset(("CREATE", "ALTER", "DROP", "TRUNCATE", "RENAME"))
_KINDS = frozenset((
    "DATABASE", "EVENT", "FUNCTION", "INDEX", "PROCEDURE", "ROLE",
    "SCHEMA", "SEQUENCE", "TABLE", "TRIGGER", "USER", "VIEW",
))
_NAMELESS = frozenset(("USER", "ROLE"))
_OF_QUERIES = frozenset(("TABLE", "VIEW"))  # which may be defined by a SELECT
_OF_TWO_WORDS = frozenset(("LOCK", "RELEASE", "SHOW", "START", "UNLOCK", "XA"))
_FROM = frozenset(("FROM", "JOIN", "STRAIGHT_JOIN"))
# What may stand between an operation and its target.
_MODIFIERS = frozenset((
    "DELAYED", "EXISTS", "HIGH_PRIORITY", "IF", "IGNORE", "INTO",
    "LATERAL", "LOW_PRIORITY", "NOT", "ONLY", "QUICK", "TABLE",
))
_ENDS_TARGETS = frozenset((
    "FOR", "GROUP", "HAVING", "INTO", "LIMIT", "ORDER", "SET", "UNION", "VALUES", "WHERE",
))
# fmt: on


def _summary(text: str) -> str:
    """Return as many of the parts of a summary as there is room for."""
    size, parts = -1, []
    for part in _Parts(re.findall(_TOKEN, text)).found:
        size += 1 + len(part)
        if size > MOST_SUMMARY:
            break
        parts.append(part)
    return " ".join(parts)


class _Level:
    """What is outside of all parentheses, or between two of them."""

    def __init__(self) -> None:
        self.operation = ""
        self.lists_targets = False  # so that a comma leads to another one


class _Parts:
    """The operations and targets that are `found` in the tokens of a statement, in their order."""

    def __init__(self, tokens: list[str]) -> None:
        self.found: list[str] = []
        self._tokens = tokens
        self._levels = [_Level()]
        self._expects = False  # a target
        self._next = 0
        while self._next < len(tokens):
            token = tokens[self._next]
            self._next += 1
            if token in "(),;":
                self._punctuation(token)
            elif token.upper() == "SELECT":  # which is reserved
                self._operation(token)
            elif self._expects:
                self._target(token)
            else:
                self._word(token)

    @property
    def _following(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _punctuation(self, token: str) -> None:
        self._expects = token == "," and self._levels[-1].lists_targets
        if token == "(":
            self._levels.append(_Level())
        elif token == ";":
            self._levels = [_Level()]
        elif token == ")" and len(self._levels) > 1:
            self._levels.pop()

    def _target(self, token: str) -> None:
        if token.upper() in _MODIFIERS:
            return
        self._expects = False
        of_function = self._following == "(" and self._levels[-1].operation == "SELECT"
        if token != "?" and not of_function:
            self.found.append(token)

    def _operation(self, token: str) -> None:
        level, word = self._levels[-1], token.upper()
        self.found.append(token)
        level.operation = word
        level.lists_targets = word == "UPDATE"
        self._expects = word in ("INSERT", "REPLACE", "UPDATE", "CALL")

    def _word(self, token: str) -> None:
        level, word = self._levels[-1], token.upper()
        if word in _FROM:
            self._expects = level.operation in ("SELECT", "UPDATE", "DELETE")
            level.lists_targets = level.lists_targets or self._expects
        elif level.operation not in _BEFORE:
            level.lists_targets = level.lists_targets and word not in _ENDS_TARGETS
        elif len(self._levels) == 1:
            self._begin(token)

    def _begin(self, token: str) -> None:
        """Take a word outside of parentheses, which may be a statement's first."""
        level, word = self._levels[0], token.upper()
        if word in _FIRST:
            self._operation(token)
        elif level.operation:  # it is explained, or named by a WITH
            return
        elif word in _DEFINES:
            self._definition(token)
        elif token != "?":
            level.operation = word if word != "UNION" else ""
            if word not in ("UNION", "WITH"):
                self.found.append(token)
            if word in _OF_TWO_WORDS and self._following.isalpha():
                self.found.append(self._following)

    def _definition(self, verb: str) -> None:
        """Take what is created, altered or dropped."""
        level = self._levels[0]
        level.operation = verb.upper()
        self.found.append(verb)
        rest = self._tokens[self._next :]
        kind = next((each for each in rest[:10] if each.upper() in _KINDS), "")
        if kind:
            self._next += rest.index(kind) + 1
            self.found[-1] += f" {kind}"
        if kind.upper() not in _NAMELESS:
            self._expects = True
            level.lists_targets = verb.upper() == "DROP"
        if kind and kind.upper() not in _OF_QUERIES:  # it may have a body of other statements
            while self._expects and self._next < len(self._tokens):
                self._target(self._following)
                self._next += 1
            self._next = len(self._tokens)
