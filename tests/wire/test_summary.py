"""What is shown of SQL: its text without literals, and a summary of what it does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomysqlx.wire.summary import MOST_SUMMARY, MOST_TEXT, read, shortened

TEXTS = {
    "a string": ("SELECT 'secret'", "SELECT ?"),
    "a doubled quote": ("SELECT 'it''s secret', 1", "SELECT ?, ?"),
    "a quote after a backslash": (r"SELECT 'a\' secret', 'b'", "SELECT ?, ?"),
    "a backslash at the end": (r"SELECT 'a\\', secret", "SELECT ?, secret"),
    "double quotes": ('SELECT "secret" FROM t', "SELECT ? FROM t"),
    "a quote in double quotes": ('SELECT "a\'b", c', "SELECT ?, c"),
    "a string with its charset": ("SELECT _utf8mb4 'secret', N'secret'", "SELECT ?, ?"),
    "a string in hexadecimal": ("SELECT X'AB', 0xAB, b'01', 0b01", "SELECT ?, ?, ?, ?"),
    "a date": ("SELECT DATE '2026-01-01'", "SELECT DATE ?"),
    "numbers": ("SELECT 1, -2.5, .5, 1e10, 1.5E-3", "SELECT ?, -?, ?, ?, ?"),
    "a truth": ("SELECT TRUE, false", "SELECT ?, ?"),
    "numbers in names": ("SELECT t1.c2, `t 3`.4d FROM t1", "SELECT t1.c2, `t 3`.4d FROM t1"),
    "a name with a quote": ("SELECT `it's`, 1", "SELECT `it's`, ?"),
    "a name with a backtick": ("SELECT `a``b'c`, 1", "SELECT `a``b'c`, ?"),
    "a string without an end": ("SELECT 'secret, 1", "SELECT ?"),
    "a string that ends in a backslash": ("SELECT 'secret\\", "SELECT ?"),
    "a comment": ("SELECT /* secret */ 1", "SELECT   ?"),
    "a comment to the end of the line": ("SELECT 1 -- secret\n, 2 # secret", "SELECT ?  \n, ?"),
    "a comment behind another space": ("SELECT 1, --\fit's\n 'secret'", "SELECT ?,  \n ?"),
    "a comment without an end": ("SELECT 1 /* secret", "SELECT ?"),
    "no comment": ("SELECT 5--3", "SELECT ?--?"),
    "a comment that is executed": ("SELECT /*!80000 'secret' */ 1", "SELECT /*!? ? */ ?"),
    "a hint": ("SELECT /*+ MAX_EXECUTION_TIME(5) */ 1", "SELECT /*+ MAX_EXECUTION_TIME(?) */ ?"),
    "a list": ("a IN (1, 'b', 3) AND c in ( 4,5 )", "a IN (?) AND c IN (?)"),
    "a password": ("CREATE USER 'u'@'h' IDENTIFIED BY 's'", "CREATE USER ?@? IDENTIFIED BY ?"),
    "nothing": ("", ""),
}


@pytest.mark.parametrize(("sql", "text"), TEXTS.values(), ids=TEXTS)
def test_literals_and_comments_are_left_out(sql: str, text: str) -> None:
    assert read(sql, True).text == text


def test_backslashes_stand_for_themselves_where_the_session_has_it_so() -> None:
    sql = r"SELECT 'a\', 'secret', 'b'"

    assert read(sql, False).text == "SELECT ?, ?, ?"
    assert read(r"SELECT 'a\' secret'", False).text == "SELECT ? secret?"


def test_long_text_is_cut_and_says_so() -> None:
    start = "SELECT " + "a, " * MOST_TEXT

    assert read(start + "'secret'", True).text == f"{start[:MOST_TEXT].rstrip()}…"
    assert shortened("a" * (MOST_TEXT + 1)) == "a" * MOST_TEXT + "…"
    assert shortened("a" * MOST_TEXT) == "a" * MOST_TEXT


def test_string_that_is_cut_is_left_out_as_a_whole() -> None:
    assert read(f"SELECT '{'secret ' * MOST_TEXT}'", True).text == "SELECT ?…"


@given(st.text(st.sampled_from("secret'\"\\`#-/*! 1_$@,()x\n")), st.booleans())
def test_any_text_is_read(sql: str, backslashes: bool) -> None:
    assert len(read(sql, backslashes).text) <= 2 * len(sql) + 1


@given(st.text(st.sampled_from("s3'\"\\`#-/*n\n ,")))
def test_no_string_is_shown_that_is_written_as_a_literal(value: str) -> None:
    literal = "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"

    assert read(f"SELECT a FROM t WHERE b = {literal} AND c", True).text == (
        "SELECT a FROM t WHERE b = ? AND c"
    )


SUMMARIES = {
    "SELECT * FROM users WHERE name = 'a'": "SELECT users",
    "select * from users": "select users",
    "SELECT * FROM songs, artists AS a WHERE songs.a = a.id": "SELECT songs artists",
    "SELECT a, b FROM t ORDER BY a, b": "SELECT t",
    "SELECT * FROM a JOIN b ON a.x = b.x, c LEFT JOIN `d e` USING (f, g)": "SELECT a b c `d e`",
    "SELECT * FROM (SELECT * FROM orders o JOIN db.t c) x, y": "SELECT SELECT orders db.t y",
    "SELECT EXTRACT(YEAR FROM d), TRIM('x' FROM y), REPLACE(a, 'b', 'c') FROM t": "SELECT t",
    "SELECT * FROM t FOR UPDATE": "SELECT t",
    "SELECT * FROM JSON_TABLE('[]', '$') j": "SELECT",
    "SELECT %(select)s, %(from_1)s FROM t WHERE a IN %(a_1)s": "SELECT t",
    "(SELECT 1 FROM a) UNION (SELECT 2 FROM b)": "SELECT a SELECT b",
    "SELECT 1 FROM a UNION ALL SELECT 2 FROM b": "SELECT a SELECT b",
    "WITH RECURSIVE x AS (SELECT 1 FROM a) SELECT * FROM x": "SELECT a SELECT x",
    "WITH x AS (SELECT 1 FROM a) UPDATE b JOIN x SET c = 1, d = 2": "SELECT a UPDATE b x",
    "INSERT INTO t (a, b) SELECT a, b FROM o": "INSERT t SELECT o",
    "INSERT IGNORE t VALUES (1) ON DUPLICATE KEY UPDATE a = 2, b = 3": "INSERT t",
    "REPLACE INTO t SET a = 1": "REPLACE t",
    "UPDATE LOW_PRIORITY a, b SET a.x = 1, b.y = 2": "UPDATE a b",
    "DELETE QUICK FROM t WHERE a IN (SELECT b FROM c)": "DELETE t SELECT c",
    "DELETE a FROM a JOIN b": "DELETE a b",
    "CALL proc(1, 'secret')": "CALL proc",
    "EXPLAIN SELECT * FROM t": "EXPLAIN SELECT t",
    "CREATE TABLE IF NOT EXISTS t (a INT, b INT)": "CREATE TABLE t",
    "CREATE TEMPORARY TABLE t AS SELECT * FROM u": "CREATE TABLE t SELECT u",
    "CREATE OR REPLACE PROCEDURE p(x INT) BEGIN DELETE FROM t; END": "CREATE PROCEDURE p",
    "CREATE UNIQUE INDEX i ON t (a)": "CREATE INDEX i",
    "CREATE USER bob IDENTIFIED BY 'secret'": "CREATE USER",
    "ALTER TABLE t ADD a INT, ADD b INT": "ALTER TABLE t",
    "DROP TABLE IF EXISTS a, b": "DROP TABLE a b",
    "TRUNCATE t": "TRUNCATE t",
    "BEGIN": "BEGIN",
    "START TRANSACTION READ ONLY": "START TRANSACTION",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; BEGIN": "SET BEGIN",
    "SAVEPOINT s_1": "SAVEPOINT",
    "RELEASE SAVEPOINT s_1": "RELEASE SAVEPOINT",
    "ROLLBACK TO SAVEPOINT s_1": "ROLLBACK",
    "XA START 'a'": "XA START",
    "SHOW TABLES": "SHOW TABLES",
    "SHOW 'x'": "SHOW",
    "KILL 5": "KILL",
    "": "",
    "'secret'": "",
    ")": "",
}


@pytest.mark.parametrize(("sql", "summary"), SUMMARIES.items(), ids=lambda text: text[:40])
def test_summary_has_operations_and_targets(sql: str, summary: str) -> None:
    assert read(sql, True).summary == summary


def test_long_summary_ends_with_a_whole_name() -> None:
    names = [f"table_{number:03}" for number in range(100)]

    summary = read(f"SELECT * FROM {', '.join(names)}", True).summary

    assert MOST_SUMMARY - len(" table_000") < len(summary) <= MOST_SUMMARY
    assert summary.split(" ")[1:] == names[: len(summary.split(" ")) - 1]
