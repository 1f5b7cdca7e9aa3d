"""SQL text with DB-API placeholders, cut into the fragments between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from typing import Any, NamedTuple, TypeVar

from .exc import ArgumentError

T = TypeVar("T")

_PLACEHOLDER = re.compile(r"%(?:\((?P<name>[^)]*)\))?(?P<kind>.|\Z)", re.DOTALL)
# What may hold a parenthesis or the word VALUES without meaning it, then what does mean it.
_TOKEN = re.compile(
    r"'(?:[^'\\]|\\.|'')*'|\"(?:[^\"\\]|\\.|\"\")*\"|`[^`]*`"
    r"|/\*.*?\*/|--\s[^\n]*|\#[^\n]*|\bVALUES?\b|[()]",
    re.DOTALL | re.IGNORECASE,
)
_VALUES = re.compile(r"\s*VALUES?\b", re.IGNORECASE)
_INSERT = re.compile(r"\s*(?:INSERT|REPLACE)\b", re.IGNORECASE)
_CACHED_LENGTH = 10_000


class Template(NamedTuple):
    """SQL fragments, one more than placeholders, and the placeholders' names if they have any."""

    fragments: tuple[str, ...]
    names: tuple[str, ...] | None

    def values(self, args: Any) -> Sequence[Any]:
        """Give the values of *args* in the placeholders' order.

        A mapping serves named placeholders, a sequence the others; a value alone is a sequence of
        one. Raises `ArgumentError` where they do not fit.
        """
        if isinstance(args, Mapping):
            return self._named(args)
        values = args if isinstance(args, (tuple, list)) else (args,)
        if self.names is not None:
            raise ArgumentError(
                f"expected a mapping for named parameters, got {len(values)} values"
            )
        if len(values) != len(self.fragments) - 1:
            raise ArgumentError(f"expected {len(self.fragments) - 1} parameters, got {len(values)}")
        return values

    def _named(self, args: Mapping[str, Any]) -> Sequence[Any]:
        if self.names is None:
            if len(self.fragments) == 1:
                return ()
            raise ArgumentError(
                f"expected {len(self.fragments) - 1} positional parameters, got a mapping"
            )
        missing = [name for name in self.names if name not in args]
        if missing:
            raise ArgumentError(f"a value is required for parameter {missing[0]!r}")
        return [args[name] for name in self.names]


class RowTemplate(NamedTuple):
    """An INSERT cut around its one VALUES group: the text before, the group, the text after."""

    head: str
    row: Template
    tail: str


def _cached(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Remember what *parse* gives for the SQL it is called with, unless that is long."""
    remembered = lru_cache(maxsize=512)(parse)

    @wraps(parse)
    def parse_once(sql: str) -> T:
        return remembered(sql) if len(sql) <= _CACHED_LENGTH else parse(sql)

    return parse_once


@_cached
def parse(sql: str) -> Template:
    """Cut *sql* at `%s` and `%(name)s`; `%%` stands for a percent sign."""
    fragments = []
    names: list[str] = []
    unnamed = 0
    text = ""
    start = 0
    for match in _PLACEHOLDER.finditer(sql):
        text += sql[start : match.start()]
        start = match.end()
        name, kind = match.group("name", "kind")
        if kind == "%" and name is None:
            text += "%"
            continue
        if kind != "s":
            raise ArgumentError(
                f"placeholder {match.group()!r} is not %s or %(name)s; a percent sign is %%"
            )
        fragments.append(text)
        text = ""
        if name is None:
            unnamed += 1
        else:
            names.append(name)
    if unnamed and names:
        raise ArgumentError("the statement mixes %s with %(name)s")
    fragments.append(text + sql[start:])
    return Template(tuple(fragments), tuple(names) if names else None)


@_cached
def parse_rows(sql: str) -> RowTemplate | None:
    """Cut an INSERT around its VALUES group; `None` if *sql* is not an INSERT of one such group.

    The group is repeated for each row by `executemany`, so every placeholder must be inside it.
    """
    span = find_values(sql) if _INSERT.match(sql) else None
    if span is None:
        return None
    start, end = span
    head, row, tail = parse(sql[:start]), parse(sql[start:end]), parse(sql[end:])
    if len(head.fragments) > 1 or len(tail.fragments) > 1 or tail.fragments[0].lstrip()[:1] == ",":
        return None
    return RowTemplate(head.fragments[0], row, tail.fragments[0])


def find_values(sql: str) -> tuple[int, int] | None:
    """Give the span of the first parenthesised group behind VALUES, outside of any other group."""
    depth = 0
    start = None
    seen_values = False
    for match in _TOKEN.finditer(sql):
        token = match.group()
        if token == "(":
            if depth == 0 and seen_values:
                start = match.start()
            depth += 1
        elif token == ")":
            depth -= 1
            if depth == 0 and start is not None:
                if not _VALUES.match(sql, match.end()):
                    return start, match.end()
                start = None  # the columns of a table called value
        elif depth == 0 and token.upper() in ("VALUES", "VALUE"):
            seen_values = True
    return None
