"""SQL text with DB-API placeholders: cut into the fragments between them, and sent with values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, wraps
from typing import Any, TypeVar

from ..exc import ArgumentError
from ..runtime.record import Record
from ..runtime.words import brief, counted, listed
from ..wire._impl import escape, has_lists, render
from ..wire.charset import encode_sql
from ..wire.codes import Syntax
from ..wire.columns import MOST_REMEMBERED, Columns, describe
from ..wire.encoders import has_encoder

T = TypeVar("T")

LISTS = (list, tuple, set, frozenset)

_PLACEHOLDER = r"%(?:\((?P<name>[^)]*)\))?(?P<kind>.|\Z)"
_CACHED_LENGTH = 10_000
_BEFORE_LIST = r"\b[Ii][Nn]\s*\(?\s*$"


class Template(Record):
    """SQL fragments, one more than placeholders, and the placeholders' names if they have any."""

    fragments: tuple[str, ...]
    names: tuple[str, ...] | None

    @property
    def keys(self) -> Sequence[object]:
        """The placeholders' names, or else their positions, from 1 on."""
        return self.names or range(1, len(self.fragments))

    def check_lists(self, values: Sequence[Any], mode: int) -> None:
        """Raise an `ArgumentError` for an empty list that would be written as a NULL."""
        if has_lists(values):
            for key, before, value in zip(self.keys, self.fragments[:-1], values, strict=True):
                check_empty(key, before, value, mode)

    def values(self, args: Any) -> Sequence[Any]:
        """Return the values of *args* in the placeholders' order.

        A mapping serves named placeholders, a sequence the others; a value alone is a sequence of
        one. Raises `ArgumentError` where they do not fit.
        """
        if type(args) is not tuple and isinstance(args, Mapping):
            return self._named(args)
        values = args if isinstance(args, (tuple, list)) else (args,)
        if self.names is not None:
            raise ArgumentError(
                f"expected a mapping for the parameters {listed(self.names)}, got"
                f" {counted(len(values), 'value')}: the statement takes them by name"
            )
        if len(values) != len(self.fragments) - 1:
            raise self._miscounted(len(values))
        return values

    def _named(self, args: Mapping[str, Any]) -> Sequence[Any]:
        if self.names is None:
            if len(self.fragments) == 1:
                return ()
            raise ArgumentError(
                f"expected {counted(len(self.fragments) - 1, 'positional parameter')}, one for each"
                " %s, got a mapping: by name the statement takes them as %(name)s"
            )
        missing = [name for name in self.names if name not in args]
        if missing:
            raise ArgumentError(
                f"a value is required for parameter {missing[0]!r}, got {listed(args)}"
            )
        return [args[name] for name in self.names]

    def _miscounted(self, got: int) -> ArgumentError:
        expected = len(self.fragments) - 1
        if not expected:
            why = "the statement has no %s"
        elif got < expected:
            why = f"a value is required for parameter {got + 1}, as for each %s"
        else:
            why = "each %s takes one value"
            if any(re.search(_BEFORE_LIST, text) for text in self.fragments[:-1]):
                why += "; a list goes by name, as in ('… IN %(ids)s', {'ids': [1, 2]})"
        return ArgumentError(f"expected {counted(expected, 'parameter')}, got {got}: {why}")


class RowTemplate(Record):
    """An INSERT cut around its one VALUES group: the text before, the group, the text after."""

    head: str
    row: Template
    tail: str


def _cached(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Remember what *parse* returns for each SQL, unless that is long."""
    remembered = lru_cache(maxsize=512)(parse)

    @wraps(parse)
    def parse_once(sql: str) -> T:
        return remembered(sql) if len(sql) <= _CACHED_LENGTH else parse(sql)

    return parse_once


def parse(sql: str) -> Template:
    """Cut *sql* at `%s` and `%(name)s`; `%%` stands for a percent sign."""
    if sql.count("%") == sql.count("%s"):  # a batch of SQLAlchemy's has thousands
        return Template(tuple(sql.split("%s")), None)
    fragments = []
    names: list[str] = []
    unnamed = 0
    text = ""
    start = 0
    for match in re.finditer(_PLACEHOLDER, sql, re.DOTALL):
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
    span = find_values(sql)
    if span is None:
        return None
    start, end = span
    head, row, tail = parse(sql[:start]), parse(sql[start:end]), parse(sql[end:])
    if len(head.fragments) > 1 or len(tail.fragments) > 1:
        return None
    return RowTemplate(head.fragments[0], row, tail.fragments[0])


class TextStatement:
    """A statement given as text: its fragments in one encoding, and its latest result's columns."""

    __slots__ = ("columns", "fragments", "template")

    def __init__(self, template: Template, encoding: str) -> None:
        self.template: Template = template
        self.fragments: tuple[bytes, ...] = tuple(
            encode_sql(fragment, encoding) for fragment in template.fragments
        )
        self.columns: Columns | None = None

    def values(self, args: Any, mode: int) -> Sequence[Any]:
        """Return the values of *args* in the placeholders' order."""
        values = self.template.values(args)
        self.template.check_lists(values, mode)
        return values

    def packet(self, args: Any, syntax: Syntax) -> bytes:
        """Return the packet with the values of *args*."""
        encoding, mode = syntax
        values = self.values(args, mode)
        try:
            return render(self.fragments, values, encoding, mode)
        except ArgumentError:
            check_values(self.template.keys, values, syntax)
            raise

    def describe(self, raw: bytes, encoding: str) -> Columns:
        """Return the columns of a result whose definitions are *raw*, and remember them."""
        columns = describe(raw, encoding)
        self.columns = columns if len(raw) <= MOST_REMEMBERED else None
        return columns


def text_statement(query: str, args: Any, encoding: str) -> TextStatement:
    """Return the statement of *query*, as it stands if *args* is `None`."""
    if not isinstance(query, str):
        raise ArgumentError(f"expected a statement as str, got {brief(query)}")
    if args is None:
        return TextStatement(Template((query,), None), encoding)
    if len(query) > _CACHED_LENGTH:
        return TextStatement(parse(query), encoding)
    return _remembered(query, encoding)


@lru_cache(maxsize=512)
def _remembered(query: str, encoding: str) -> TextStatement:
    return TextStatement(parse(query), encoding)


def text_packet(query: str, args: Any, syntax: Syntax) -> bytes:
    """Return the packet of *query*: as it stands if *args* is `None`, else with their values."""
    statement = text_statement(query, args, syntax[0])
    return statement.packet(() if args is None else args, syntax)


def check_values(keys: Sequence[object], values: Sequence[Any], syntax: Syntax) -> None:
    """Raise an `ArgumentError` that names the parameter whose value cannot be sent."""
    for key, value in zip(keys, values, strict=True):
        try:
            escape(value, *syntax)
        except ArgumentError as error:
            raise ArgumentError(f"parameter {key!r}: {error}") from error.__cause__


def check_empty(key: object, before: str, value: Any, mode: int) -> None:
    """Raise an `ArgumentError` for an empty list, unless it is behind IN or has an encoder.

    *before* is the SQL up to it. It is written as a subquery without rows, which is NULL elsewhere.
    """
    if not isinstance(value, LISTS) or value or re.search(_BEFORE_LIST, before):
        return
    if not has_encoder(mode, type(value)):
        raise ArgumentError(
            f"parameter {key!r}: cannot send an empty {type(value).__name__} but as the values of"
            " an IN; for NULL give None"
        )


def quoted(name: str, prefix: str = "") -> str:
    """Return *name* as SQL writes it, behind a *prefix*."""
    return f"{prefix}`{name.replace('`', '``')}`"


# -- the VALUES group of an INSERT -----------------------------------------------------------------

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
