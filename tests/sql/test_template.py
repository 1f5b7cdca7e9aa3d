"""DB-API placeholders: where SQL text is cut, and which values fit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiomysqlx.exc import ArgumentError
from aiomysqlx.sql.template import Template, find_values, parse, parse_rows


@pytest.mark.parametrize(
    ("sql", "fragments", "names"),
    [
        pytest.param("", ("",), None, id="empty"),
        pytest.param("SELECT 1", ("SELECT 1",), None, id="none"),
        pytest.param("%s", ("", ""), None, id="alone"),
        pytest.param("a %s b %s", ("a ", " b ", ""), None, id="positional"),
        pytest.param("%s%s", ("", "", ""), None, id="side by side"),
        pytest.param("a %(x)s %(y z)s", ("a ", " ", ""), ("x", "y z"), id="named"),
        pytest.param("%(x)s%(x)s", ("", "", ""), ("x", "x"), id="twice"),
        pytest.param("LIKE 'a%%' %s", ("LIKE 'a%' ", ""), None, id="percent"),
        pytest.param("%%s %%%s", ("%s %", ""), None, id="percent and s"),
        pytest.param("é\n%s\n", ("é\n", "\n"), None, id="lines"),
    ],
)
def test_text_is_cut_at_its_placeholders(
    sql: str, fragments: tuple[str, ...], names: tuple[str, ...] | None
) -> None:
    assert parse(sql) == Template(fragments, names)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        pytest.param("LIKE 'a%'", r"placeholder \"%'\" is not %s", id="lone percent"),
        pytest.param("%d", "placeholder '%d' is not %s", id="d"),
        pytest.param("100%", "placeholder '%' is not %s", id="at the end"),
        pytest.param("%(x)d", r"placeholder '%\(x\)d'", id="named d"),
        pytest.param("%(x)%", r"placeholder '%\(x\)%'", id="named percent"),
        pytest.param("%s %(x)s", "mixes %s with", id="mixed"),
    ],
)
def test_other_placeholders_are_refused(sql: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        parse(sql)


@pytest.mark.parametrize(
    ("sql", "args", "values"),
    [
        pytest.param("%s %s", (1, 2), [1, 2], id="tuple"),
        pytest.param("%s %s", [1, 2], [1, 2], id="list"),
        pytest.param("%s", 1, [1], id="value alone"),
        pytest.param("%s", "ab", ["ab"], id="text alone"),
        pytest.param("%s", {1, 2}, [{1, 2}], id="set alone"),
        pytest.param("%(x)s %(y)s", {"y": 2, "x": 1, "z": 3}, [1, 2], id="mapping"),
        pytest.param("none", {"x": 1}, [], id="mapping for nothing"),
        pytest.param("none", (), [], id="nothing for nothing"),
    ],
)
def test_values_are_in_the_placeholders_order(sql: str, args: Any, values: list[Any]) -> None:
    assert list(parse(sql).values(args)) == values


@pytest.mark.parametrize(
    ("sql", "args", "message"),
    [
        pytest.param(
            "%s %s",
            (1,),
            "expected 2 parameters, got 1: a value is required for parameter 2, as for each %s",
            id="too few",
        ),
        pytest.param(
            "%s",
            (),
            "expected 1 parameter, got 0: a value is required for parameter 1, as for each %s",
            id="none",
        ),
        pytest.param(
            "%s",
            (1, 2),
            "expected 1 parameter, got 2: each %s takes one value",
            id="too many",
        ),
        pytest.param(
            "none",
            (1,),
            "expected no parameters, got 1: the statement has no %s",
            id="for nothing",
        ),
        pytest.param(
            "%(x)s %(y)s %(x)s",
            (1,),
            "expected a mapping for the parameters 'x' and 'y', got 1 value: the statement takes"
            " them by name",
            id="no mapping",
        ),
        pytest.param(
            "%s",
            {"x": 1},
            "expected 1 positional parameter, one for each %s, got a mapping: by name the statement"
            " takes them as %(name)s",
            id="a mapping",
        ),
        pytest.param(
            "%(x)s", {"y": 1}, "a value is required for parameter 'x', got 'y'", id="missing"
        ),
        pytest.param("%(x)s", {}, "a value is required for parameter 'x', got none", id="empty"),
        pytest.param(
            "%(x)s",
            dict.fromkeys("abcdefghijkl"),
            "a value is required for parameter 'x', got 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h',"
            " 'i', 'j' and 2 more",
            id="missing of many",
        ),
    ],
)
def test_values_that_do_not_fit_are_refused(sql: str, args: Any, message: str) -> None:
    with pytest.raises(ArgumentError) as caught:
        parse(sql).values(args)

    assert str(caught.value) == message


@given(st.text(max_size=50))
def test_text_with_its_percent_signs_doubled_is_itself(sql: str) -> None:
    assert parse(sql.replace("%", "%%")).fragments == (sql,)


@given(st.lists(st.text(max_size=10), min_size=1, max_size=6))
def test_placeholders_join_what_they_cut(texts: list[str]) -> None:
    sql = "%s".join(text.replace("%", "%%") for text in texts)

    assert parse(sql).fragments == tuple(texts)


# -- the VALUES group of an INSERT


@pytest.mark.parametrize(
    ("sql", "cut"),
    [
        pytest.param(
            "INSERT INTO t VALUES (%s)", ("INSERT INTO t VALUES ", "(%s)", ""), id="plain"
        ),
        pytest.param("replace t value (1,%s);", ("replace t value ", "(1,%s)", ";"), id="replace"),
        pytest.param(
            "INSERT INTO t (a, b) VALUES (f(%s), (%s)) ON DUPLICATE KEY UPDATE a = VALUES(a)",
            (
                "INSERT INTO t (a, b) VALUES ",
                "(f(%s), (%s))",
                " ON DUPLICATE KEY UPDATE a = VALUES(a)",
            ),
            id="upsert",
        ),
        pytest.param(
            "INSERT INTO `values (` VALUES (')', %s) -- )",
            ("INSERT INTO `values (` VALUES ", "(')', %s)", " -- )"),
            id="quoted",
        ),
        pytest.param(
            "INSERT INTO value (a) VALUES (%s)",
            ("INSERT INTO value (a) VALUES ", "(%s)", ""),
            id="table named value",
        ),
        pytest.param(
            "INSERT /* VALUES ( */ INTO t VALUES (%s)",
            ("INSERT /* VALUES ( */ INTO t VALUES ", "(%s)", ""),
            id="comment",
        ),
        pytest.param(
            "INSERT INTO t VALUES (%s) AS new ON DUPLICATE KEY UPDATE a = new.a",
            ("INSERT INTO t VALUES ", "(%s)", " AS new ON DUPLICATE KEY UPDATE a = new.a"),
            id="alias",
        ),
        pytest.param(
            "\n insert ignore into t values\n(%s,\n%s)\n",
            ("\n insert ignore into t values\n", "(%s,\n%s)", "\n"),
            id="lines",
        ),
    ],
)
def test_insert_is_cut_around_its_values(sql: str, cut: tuple[str, str, str]) -> None:
    rows = parse_rows(sql)

    assert rows is not None
    assert (rows.head, "%s".join(rows.row.fragments), rows.tail) == cut


@pytest.mark.parametrize(
    "sql",
    [
        pytest.param("SELECT %s", id="select"),
        pytest.param("UPDATE t SET a = VALUES (%s)", id="update"),
        pytest.param("INSERT INTO t SELECT %s", id="insert from select"),
        pytest.param("INSERT INTO t SET a = %s", id="set"),
        pytest.param("INSERT INTO t VALUES (%s), (%s)", id="two groups"),
        pytest.param("INSERT INTO t VALUES (1) ON DUPLICATE KEY UPDATE a = %s", id="outside"),
        pytest.param("INSERT INTO t VALUES (%s", id="unclosed"),
        pytest.param("INSERT INTO t (%s) VALUES (1)", id="before"),
        pytest.param("INSERT INTO t SELECT a FROM u ORDER BY value, (%s)", id="column value"),
        pytest.param("INSERT INTO t SELECT a FROM u WHERE value IN (%s)", id="value in"),
        pytest.param("INSERT INTO t VALUES ROW(%s)", id="row"),
        pytest.param("INSERT INTO t VALUES (%s) UNION SELECT 1", id="union"),
        pytest.param("INSERT INTO t VALUES (%s); DELETE FROM t", id="two statements"),
        pytest.param("INSERT INTO t VALUES (%s) /*! , (1) */", id="code for MySQL"),
        pytest.param("INSERT INTO t VALUES (%s) /*M! , (1) */", id="code for MariaDB"),
        pytest.param("INSERT INTO t VALUES ('%s')", id="in quotes"),
        pytest.param("INSERT INTO t VALUES (%s /* %s */)", id="in a comment"),
        pytest.param(r"INSERT INTO t VALUES ('\', %s)", id="backslash"),
        pytest.param("INSERT INTO t VALUES (%s, (SELECT 1))", id="subquery"),
        pytest.param("INSERT INTO t VALUES (%s, LAST_INSERT_ID())", id="last id"),
        pytest.param(
            "INSERT INTO t VALUES (%s) ON DUPLICATE KEY UPDATE a = LAST_INSERT_ID()", id="id behind"
        ),
        pytest.param("WITH a AS (SELECT 1) INSERT INTO t VALUES (%s)", id="with"),
        pytest.param("INSERT INTO t VALUES (%s) 'x", id="open quote"),
        pytest.param("INSERT INTO t VALUES (%s) /* x", id="open comment"),
    ],
)
def test_statement_of_any_other_shape_is_not_cut(sql: str) -> None:
    assert parse_rows(sql) is None


@given(st.text("()'\"`\\/*-# \nVALUESvalues%s,", max_size=60))
def test_group_found_is_in_parentheses(sql: str) -> None:
    span = find_values(sql)

    assert span is None or sql[span[0]] + sql[span[1] - 1] == "()"
