"""Which texts are safe in a charset is decided in one place."""

from __future__ import annotations

import codecs
from contextlib import suppress
from pathlib import Path

import pytest
from pymysql.charset import charset_by_id

import aiomysqlx
from aiomysqlx.wire.charset import keeps_quotes, python_encoding

PACKAGE = Path(aiomysqlx.__file__).parent
HOME = PACKAGE / "wire" / "charset.py"
SOURCES = sorted({*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyx")} - {HOME})
# What somebody would write who decides something by the charset.
SIGNS = [
    *(f'"{name}"' for name in ("big5", "cp932", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk")),
    *(f'"{name}"' for name in ("shift_jis", "sjis", "ujis", "eucjpms")),
    *("charset_by_name", "charset_by_id"),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_else_decides_by_the_charset(path: Path) -> None:
    text = path.read_text()

    assert [sign for sign in SIGNS if sign in text] == []


def known_charsets() -> dict[str, str]:
    """Return the codecs of the charsets that can be connected with, by their names."""
    found = {}
    for number in range(1, 256):
        with suppress(KeyError, LookupError, AttributeError):
            name = charset_by_id(number).name
            codecs.lookup(encoding := python_encoding(name))
            found[name] = encoding
    return found


@pytest.mark.parametrize(("name", "encoding"), sorted(known_charsets().items()))
def test_bytes_stand_as_they_are_where_no_character_has_a_quotes_byte(
    name: str, encoding: str
) -> None:
    characters = set()
    for lead in range(0x80, 0x100):
        for quote in b"'\\":
            with suppress(UnicodeDecodeError):
                characters.add(bytes((lead, quote)).decode(encoding))

    assert keeps_quotes(encoding) is all(len(character) == 2 for character in characters)
