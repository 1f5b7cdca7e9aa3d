"""The local files that a statement names, and may therefore be asked for.

Only what every server reads as `LOAD DATA LOCAL INFILE 'name'` counts. Where servers or SQL modes
differ in how they read a text, reading ends: a name that is missed costs an error, one too many
costs a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

from .charset import SIMPLE

# How much of a text is read. LOAD DATA names its file near the beginning.
_MOST_READ = 1 << 16
_MOST_WORDS = 6  # of a statement up to the name
_LOAD = re.compile(r"LOAD (DATA|XML) ((LOW_PRIORITY|CONCURRENT) )?(FROM )?LOCAL INFILE")
_SET_STATEMENT = ["SET", "STATEMENT"]  # MariaDB's, before FOR and another statement

# Doubtful: a comment that some servers execute or that has no end, and a string in dollars.
_TOKEN = re.compile(
    r"""
      (?P<space> [ \t\n\v\f\r]+ | \#[^\n]* | --(?=[\x00-\x20\x7f]|\Z)[^\n]* | /\*(?![Mm]?!).*?\*/ )
    | (?P<doubtful> /\* | \$ )
    | (?P<word> [A-Za-z0-9_$\u0080-\U0010ffff]+ )
    | (?P<end> ; )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_PLAIN = {
    quote: re.compile(rf"{quote}((?:[^{quote}]|{quote}{quote})*){quote}(?!{quote})")
    for quote in "'\"`"
}
_ESCAPED = {
    quote: re.compile(
        rf"{quote}((?:[^{quote}\\]|\\.|{quote}{quote})*){quote}(?!{quote})", re.DOTALL
    )
    for quote in "'\""
}
_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a"}
_ESCAPES |= {"%": "\\%", "_": "\\_"}  # with their backslash


def named_files(sql: bytes, encoding: str, *, backslashes: bool | None, several: bool) -> list[str]:
    """Return the names of the local files that the statements of *sql* load, in order.

    *backslashes* tells whether they escape (`None`: nobody knows), *several* whether there may be
    more than one statement.
    """
    try:
        errors = "surrogateescape" if encoding in SIMPLE else "strict"
        text = sql[:_MOST_READ].decode(encoding, errors)
    except UnicodeDecodeError:
        return []
    if backslashes is not None:
        return list(_names(text, backslashes, several))
    both = zip(_names(text, True, several), _names(text, False, several), strict=False)
    return [name for name, _ in takewhile(lambda names: names[0] == names[1], both)]


def _names(text: str, backslashes: bool, several: bool) -> Iterator[str]:
    words: list[str] = []
    position = 0
    while position < len(text):
        word = quote = text[position]
        if quote in "'\"`":
            found = _quoted(text, position, backslashes)
            if found is None:
                return
            inside, position = found
            if quote != "`" and _LOAD.fullmatch(" ".join(words)):
                yield inside
        else:
            token = _TOKEN.match(text, position)
            assert token is not None  # one of them is any character
            word, position = token[0].upper(), token.end()
            if token["space"]:
                continue
            if token["doubtful"] or (token["end"] and not several):
                return
            if token["end"] or (word == "FOR" and words[:2] == _SET_STATEMENT):
                words.clear()
                continue
        if len(words) <= _MOST_WORDS:
            words.append(word)


def _quoted(text: str, start: int, backslashes: bool) -> tuple[str, int] | None:
    """Return what is between quotes, and the position behind them; `None` if that is not sure."""
    quote = text[start]
    plain = _PLAIN[quote].match(text, start)
    if quote == "`" or not backslashes:
        return None if plain is None else (plain[1].replace(quote * 2, quote), plain.end())
    escaped = _ESCAPED[quote].match(text, start)
    if escaped is None:
        return None
    if quote == '"' and (plain is None or plain.end() != escaped.end()):
        return None  # with ANSI_QUOTES it is a name, in which nothing is escaped

    def meant(match: re.Match[str]) -> str:
        character = match[1] or quote
        return _ESCAPES.get(character, character)

    inside = re.sub(rf"\\(.)|{quote}{quote}", meant, escaped[1], flags=re.DOTALL)
    return inside, escaped.end()
