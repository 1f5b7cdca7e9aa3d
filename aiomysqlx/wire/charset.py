"""Character sets: their names, their codecs, and which texts are safe in them.

Whether SQL means to the server what it means here depends on the charset of the session. All of
that is decided here, and nowhere else.
"""

from __future__ import annotations

import codecs
import re
from contextlib import suppress
from functools import lru_cache

from pymysql.charset import charset_by_id, charset_by_name

from ..exc import ArgumentError

DEFAULT_CHARSET = "utf8mb4"

# What people try, as codecs or elsewhere, and what servers call it.
_CHARSETS = {"utf-8": "utf8mb4", "iso8859-1": "latin1", "cp1252": "latin1", "ascii": "ascii"}


# Where the codec of that name is missing or, as shift_jis does, reads a backslash as a yen sign.
_ENCODINGS = {"binary": "utf8", "sjis": "cp932", "ujis": "euc_jp", "eucjpms": "euc_jp"}

_UTF8MB4_0900_AI_CI = 255


def python_encoding(charset: str) -> str:
    """Return the Python codec of a MySQL character set."""
    encoding: str = _ENCODINGS.get(charset) or charset_by_name(charset).encoding
    return encoding


def check_charset(charset: str) -> str:
    """Return *charset*; raises `ArgumentError` if MySQL or Python does not know it."""
    if charset:
        try:
            codecs.lookup(python_encoding(charset))
        except (KeyError, LookupError, AttributeError):
            raise ArgumentError(f"unknown charset {charset!r}{_meant(charset)}") from None
    return charset


def _meant(charset: str) -> str:
    """Return a hint at the charset that somebody means by the name of a codec or collation."""
    owner = charset.partition("_")[0]
    with suppress(KeyError, LookupError, AttributeError):
        codecs.lookup(python_encoding(owner))
        return f"; did you mean charset={owner!r} and collation={charset!r}?"
    with suppress(LookupError, ValueError):
        known = _CHARSETS.get(codecs.lookup(charset).name)
        if known:
            return f"; did you mean {known!r}?"
    if charset.lower().startswith(("utf", "ucs")):  # in most of which no statement can be sent
        return "; did you mean 'utf8mb4'?"
    return ""


def check_collation(collation: str, charset: str) -> str:
    """Return *collation*; raises `ArgumentError` if it is not one of *charset*."""
    if collation:
        name, owner = current_name(collation), current_name(charset)
        if not (name == owner == "binary" or re.fullmatch(rf"{owner}_[a-z0-9_]+", name)):
            raise ArgumentError(
                f"argument 'collation' takes a collation of charset {charset!r}, got {collation!r}"
            )
    return collation


def current_name(name: str) -> str:
    """Return what servers call the charset or collation *name* today: utf8 is utf8mb3."""
    return re.sub(r"^utf8(?=_|$)", "utf8mb3", name.lower())


def collation_id(charset: str, collation: str, server_version: str) -> int:
    """Return the id to name in the handshake for *collation*, or for the server's default.

    That of another collation of *charset* where it has no id that fits into the handshake's byte.
    MySQL has its own default for utf8mb4 since version 8. MariaDB takes the default of old for
    whatever is its default.
    """
    if collation:
        for known in range(1, 256):
            with suppress(KeyError):
                if charset_by_id(known).collation == current_name(collation):
                    return known
    number: int = charset_by_name(current_name(charset)).id
    if current_name(charset) == DEFAULT_CHARSET and "MariaDB" not in server_version:
        return _UTF8MB4_0900_AI_CI if re.match(r"[89]\.|\d\d", server_version) else number
    return number


# -- what is safe --------------------------------------------------------------------------------

SIMPLE = frozenset({"utf8", "ascii", "latin1", "cp1252"})
"""The codecs in whose texts each ASCII byte is an ASCII character."""

# The codecs of charsets in which the bytes of ' and the backslash are never part of another
# character, so that a literal of any bytes ends where it should. In big5, cp932, gb18030 and gbk
# 0x81 and a backslash are one character: the quote that it escapes would end the literal.
_KEEP_QUOTES = frozenset(
    (
        *("ascii", "utf-8"),
        *("cp1250", "cp1251", "cp1252", "cp1256", "cp1257", "cp850", "cp852", "cp866"),
        *("iso8859-1", "iso8859-2", "iso8859-7", "iso8859-8", "iso8859-9", "iso8859-13"),
        *("koi8-r", "koi8-u", "mac-roman", "tis-620"),
        *("euc_jp", "euc_kr", "gb2312"),
    )
)

_ASCII = "".join(map(chr, range(128)))


@lru_cache(maxsize=64)
def is_utf8(encoding: str) -> bool:
    """Tell whether *encoding* is a name of UTF-8; refuse one that SQL cannot be written in."""
    try:
        keeps_ascii = _ASCII.encode(encoding) == bytes(range(128))
    except UnicodeError:
        keeps_ascii = False
    except (LookupError, ValueError):
        raise ArgumentError(f"unknown encoding {encoding!r}") from None
    if not keeps_ascii:
        raise ArgumentError(f"expected an encoding that keeps ASCII, got {encoding!r}")
    return codecs.lookup(encoding).name == "utf-8"


@lru_cache(maxsize=64)
def keeps_quotes(encoding: str) -> bool:
    """Tell whether the server finds the end of a literal of any bytes in *encoding*."""
    return codecs.lookup(encoding).name in _KEEP_QUOTES


def reads_as(read: str, text: str) -> bool:
    """Tell whether *text*, *read* back from its encoding, has no ASCII that was not there.

    In shift_jis and euc_jp the yen sign is the byte of the backslash: the server would see an
    escape that no escaping of characters can prevent. Some characters of cp932 read back as
    look-alikes, which are harmless.
    """
    if read == text:
        return True
    return len(read) == len(text) and all(map(_harmless, text, read))


def _harmless(character: str, read: str) -> bool:
    return character == read or not read.isascii()


def encode_sql(sql: str, encoding: str) -> bytes:
    """Encode *sql* strictly; raises `ArgumentError` where it has no bytes in *encoding*.

    Nor has what euc_jp writes as ASCII: its yen sign is the byte of the backslash, which would
    escape the quote behind it.
    """
    try:
        text = sql.encode(encoding)
    except UnicodeEncodeError as error:
        position, reason = error.start, error.reason
    else:
        if encoding != "utf8" and not sql.isascii():
            _check_reading(sql, text, encoding)
        return text
    # Not from within: that error would be the context, and holds the text, maybe with a secret.
    raise _unencodable(encoding, position, reason)


def _check_reading(sql: str, text: bytes, encoding: str) -> None:
    pairs = zip(sql, text.decode(encoding, "replace"), strict=False)
    for position, (character, read) in enumerate(pairs):
        if not _harmless(character, read):
            raise _unencodable(encoding, position, f"it would be read as {read!r}")


def is_encodable(text: str | None, encoding: str) -> bool:
    """Tell whether *text* has bytes in *encoding*."""
    try:
        (text or "").encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _unencodable(encoding: str, position: int, reason: str) -> ArgumentError:
    return ArgumentError(
        f"the statement has no {encoding} encoding at character {position}: {reason}"
    )
