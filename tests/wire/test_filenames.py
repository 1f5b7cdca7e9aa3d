"""Which local files a text names, for every server and SQL mode that might read it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymysql.converters import escape_string

from aiomysqlx.wire.filenames import named_files


def names(
    text: str | bytes,
    backslashes: bool | None = True,
    several: bool = True,
    encoding: str = "utf8",
) -> list[str]:
    sql = text if isinstance(text, bytes) else text.encode(encoding)
    return named_files(sql, encoding, backslashes=backslashes, several=several)


NAMED = {
    "plain": ("LOAD DATA LOCAL INFILE 'a' INTO TABLE t", ["a"]),
    "lower case": ("load data local infile 'a' into table t", ["a"]),
    "nothing behind": ("LOAD DATA LOCAL INFILE 'a'", ["a"]),
    "no space": ("LOAD DATA LOCAL INFILE'a'INTO TABLE t", ["a"]),
    "xml": ("LOAD XML LOCAL INFILE 'a' INTO TABLE t", ["a"]),
    "low priority": ("LOAD DATA LOW_PRIORITY LOCAL INFILE 'a' INTO TABLE t", ["a"]),
    "concurrent": ("LOAD DATA CONCURRENT LOCAL INFILE 'a' INTO TABLE t", ["a"]),
    "from": ("LOAD DATA LOW_PRIORITY FROM LOCAL INFILE 'a' INTO TABLE t", ["a"]),
    "double quotes": ('LOAD DATA LOCAL INFILE "a" INTO TABLE t', ["a"]),
    "lines": ("\n\tLOAD\r\nDATA\vLOCAL\fINFILE\n'a'\nINTO TABLE t", ["a"]),
    "comments": ("/* x */ LOAD -- ' x\nDATA # ' x\nLOCAL/**/INFILE/* ' */'a'", ["a"]),
    "hint": ("/*+ x */ LOAD DATA LOCAL INFILE 'a'", ["a"]),
    "quote doubled": ("LOAD DATA LOCAL INFILE 'it''s' INTO TABLE t", ["it's"]),
    "other quote": ("LOAD DATA LOCAL INFILE 'a\"b`c' INTO TABLE t", ['a"b`c']),
    "escapes": (r"LOAD DATA LOCAL INFILE 'a\\b\'c\"d\n\t\r\b\Z\q'", ["a\\b'c\"d\n\t\r\b\x1aq"]),
    "kept escapes": (r"LOAD DATA LOCAL INFILE 'a\%b\_c'", [r"a\%b\_c"]),
    "windows": (r"LOAD DATA LOCAL INFILE 'C:\\new\\table.csv'", [r"C:\new\table.csv"]),
    "unicode": ("LOAD DATA LOCAL INFILE '/tmp/ä 日本.csv'", ["/tmp/ä 日本.csv"]),
    "newline": ("LOAD DATA LOCAL INFILE 'a\nb'", ["a\nb"]),
    "empty": ("LOAD DATA LOCAL INFILE ''", [""]),
    "several": ("LOAD DATA LOCAL INFILE 'a'; LOAD XML LOCAL INFILE 'b'", ["a", "b"]),
    "between others": (
        "SELECT ';', `;`, \";\", 'it''s', 'it\\'s'; LOAD DATA LOCAL INFILE 'a' INTO TABLE t; DO 0",
        ["a"],
    ),
    "behind nothing": (";; ; LOAD DATA LOCAL INFILE 'a'", ["a"]),
    "set statement": (
        "SET STATEMENT max_statement_time = 1, sql_mode = '' FOR LOAD DATA LOCAL INFILE 'a'",
        ["a"],
    ),
    "same twice": ("LOAD DATA LOCAL INFILE 'a'; LOAD DATA LOCAL INFILE 'a'", ["a", "a"]),
    "raw bytes before": (
        b"INSERT INTO t VALUES (_binary'\xe0'); LOAD DATA LOCAL INFILE 'a'",
        ["a"],
    ),
    "minus minus": ("SELECT 1--1; LOAD DATA LOCAL INFILE 'a'", ["a"]),
    "comment at the end": ("LOAD DATA LOCAL INFILE 'a' --", ["a"]),
}


@pytest.mark.parametrize("name", NAMED)
def test_file_of_a_load_is_named(name: str) -> None:
    text, expected = NAMED[name]

    assert names(text) == expected


UNNAMED = {
    "select": "SELECT 1",
    "nothing": "",
    "of the server": "LOAD DATA INFILE 'a' INTO TABLE t",
    "in a string": "SELECT 'LOAD DATA LOCAL INFILE ''a'' '",
    "in a name": "SELECT `LOAD DATA LOCAL INFILE 'a'` FROM t",
    "in a comment": "SELECT 1 /* ; LOAD DATA LOCAL INFILE 'a' */",
    "in a comment to the end of a line": "SELECT 1 -- ; LOAD DATA LOCAL INFILE 'a'\n",
    "in a comment behind a number sign": "SELECT 1 # ; LOAD DATA LOCAL INFILE 'a'\n",
    "in an executable comment": "/*! LOAD DATA LOCAL INFILE 'a' INTO TABLE t */",
    "in a comment for MariaDB": "/*M! LOAD DATA LOCAL INFILE 'a' INTO TABLE t */",
    "local in an executable comment": "LOAD DATA /*!99999 LOCAL */ INFILE 'a' INTO TABLE t",
    "behind an executable comment": "LOAD DATA LOCAL INFILE /*! 'a' */ 'b' INTO TABLE t",
    "behind one in another statement": "/*!99999 ' */; LOAD DATA LOCAL INFILE 'a'; SELECT '",
    "comment without an end": "SELECT 1 /* ; LOAD DATA LOCAL INFILE 'a'",
    "string without an end": "SELECT 'x ; LOAD DATA LOCAL INFILE 'a",
    "string without an end but a doubled quote": "LOAD DATA LOCAL INFILE 'a'' x",
    "escaped quote": "LOAD DATA LOCAL INFILE 'a\\' x",
    "other string of it": "LOAD DATA LOCAL INFILE FIELDS 'a'",
    "introducer": "LOAD DATA LOCAL INFILE _utf8'a'",
    "national": "LOAD DATA LOCAL INFILE N'a'",
    "hexadecimal": "LOAD DATA LOCAL INFILE X'61'",
    "variable": "LOAD DATA LOCAL INFILE @'a'",
    "backticks": "LOAD DATA LOCAL INFILE `a`",
    "number": "LOAD DATA LOCAL INFILE 1",
    "words run together": "LOADDATA LOCAL INFILE 'a'",
    "not at the beginning": "EXPLAIN LOAD DATA LOCAL INFILE 'a'",
    "in parentheses": "(LOAD DATA LOCAL INFILE 'a')",
    "no-break space": "LOAD\u00a0DATA LOCAL INFILE 'a'",
    "immediate": "EXECUTE IMMEDIATE 'LOAD DATA LOCAL INFILE ''a'' INTO TABLE t'",
    "dollars": "SELECT $$ ' $$; LOAD DATA LOCAL INFILE 'a'; SELECT $$ ' $$",
    "ansi quotes or not": 'SELECT "\\"; LOAD DATA LOCAL INFILE \'a\'; SELECT "',
    "ansi quotes in the name": 'LOAD DATA LOCAL INFILE "a\\" x" y"',
}


@pytest.mark.parametrize("name", UNNAMED)
def test_what_may_be_read_otherwise_names_no_file(name: str) -> None:
    assert names(UNNAMED[name]) == []


def test_second_statement_does_not_count_where_there_may_be_one_only() -> None:
    text = "LOAD DATA LOCAL INFILE 'a'; LOAD DATA LOCAL INFILE 'b'"

    assert names(text, several=False) == ["a"]


def test_backslash_stands_for_itself_where_it_does_not_escape() -> None:
    assert names(r"LOAD DATA LOCAL INFILE 'a\n'", backslashes=False) == [r"a\n"]
    assert names(r"LOAD DATA LOCAL INFILE 'a\'; SELECT 'b'", backslashes=False) == ["a\\"]


def test_name_that_depends_on_the_mode_is_none_where_nobody_knows_the_mode() -> None:
    load = "LOAD DATA LOCAL INFILE 'a'"

    assert names(load, None) == ["a"]
    assert names(rf"SELECT '\n'; {load}", None) == ["a"]
    assert names(rf"{load}; SELECT '\'; LOAD DATA LOCAL INFILE 'b'; SELECT '", None) == ["a"]
    assert names(r"LOAD DATA LOCAL INFILE 'a\n'; LOAD DATA LOCAL INFILE 'b'", None) == []


@pytest.mark.parametrize("encoding", ["gbk", "big5", "cp932", "euc_jp", "gb18030"])
def test_byte_of_a_character_is_no_quote_or_backslash(encoding: str) -> None:
    characters = {"gbk": "縗誠", "big5": "許功蓋", "cp932": "ソ表能", "gb18030": "縗誠"}
    name = characters.get(encoding, "日本")

    assert names(f"LOAD DATA LOCAL INFILE '{name}'", encoding=encoding) == [name]
    assert names(f"SELECT '{name}'; LOAD DATA LOCAL INFILE 'a'", encoding=encoding) == ["a"]


def test_text_that_is_none_in_its_encoding_names_no_file() -> None:
    assert names(b"SELECT _binary'\xff'; LOAD DATA LOCAL INFILE 'a'", encoding="gbk") == []


def test_end_of_a_long_text_names_no_file() -> None:
    load = "LOAD DATA LOCAL INFILE 'a';"

    assert names(f"{load} SELECT '{'x' * 100_000}'; {load}") == ["a"]


@given(st.text(st.characters(exclude_categories=("Cs",)), max_size=30))
def test_any_name_comes_back_as_it_was_escaped(name: str) -> None:
    assert names(f"LOAD DATA LOCAL INFILE '{escape_string(name)}' INTO TABLE t") == [name]
    doubled = name.replace("'", "''")
    assert names(f"LOAD DATA LOCAL INFILE '{doubled}' INTO TABLE t", False) == [name]


@given(st.text(st.sampled_from("'\"`\\;-#/*!$ \na\0"), max_size=40), st.booleans())
def test_value_that_is_escaped_names_no_file(value: str, backslashes: bool) -> None:
    text = escape_string(value) if backslashes else value.replace("'", "''")

    assert names(f"SELECT '{text}'; LOAD DATA LOCAL INFILE 'a'", backslashes) == ["a"]
    assert names(f"SELECT '{text}; LOAD DATA LOCAL INFILE ''a'''", backslashes) == []
