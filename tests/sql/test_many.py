"""Executing a text for many items: the same as executing it for each, however it is sent."""

from __future__ import annotations

from typing import Any

import pytest
from oracle import Oracle
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    func,
    insert,
    literal_column,
    select,
)
from sqlalchemy.dialects import mysql

import aiomysqlx

pytestmark = pytest.mark.server

MAKE = (
    "create table kl (id int primary key auto_increment, a int, b varchar(50))",
    "create table kv (n int, value int)",
    "insert into kv values (1, 10), (2, 20), (3, 5)",
    "create table `values` (value int, `values` int)",
    "create table `value` (value int)",
    "create table u (k int primary key, v int)",
)
TABLES = ("kl", "`values`", "`value`", "u")
PAIRS = [(1, 1), (1, 2), (2, 3)]

TEXTS = [
    pytest.param("insert into kl (a) select n from kv order by value, (%s)", "", id="order by"),
    pytest.param("insert into kl (a) select n from kv where value in (%s)", "", id="in"),
    pytest.param("insert into kl (a) select n from kv where value = (%s)", "", id="equals"),
    pytest.param("insert into kl (a) select value from kv as value where (n=%s)", "", id="alias"),
    pytest.param("insert into kl (a) (select n from kv where value = %s)", "", id="in parentheses"),
    pytest.param("insert into kl (a) select n from kv union all select %s", "", id="union"),
    pytest.param("insert into kl (a) values (%s)", "", id="values"),
    pytest.param("insert into kl (a) value (%s)", "", id="value"),
    pytest.param("insert into kl (a) values (%s), (7)", "", id="two groups"),
    pytest.param("insert into kl (a) values (7), (%s)", "", id="the second of two groups"),
    pytest.param("insert into kl set a = %s", "", id="set"),
    pytest.param("insert into `value` values (%s)", "", id="table value"),
    pytest.param("insert into `value` (value) value (%s)", "", id="column value"),
    pytest.param("insert into `values` (value, `values`) values (%s, 1)", "", id="quoted"),
    pytest.param("insert into kl (a, b) values (%s, 'values (')", "", id="string"),
    pytest.param("insert into kl (a, b) values (%s, 'a'')b')", "", id="doubled quote"),
    pytest.param("insert into kl (a, b) values (%s, 'a\\')b')", "", id="backslash"),
    pytest.param(
        "insert into kl (a, b) values (%s, '\\')", "NO_BACKSLASH_ESCAPES", id="plain backslash"
    ),
    pytest.param('insert into kl ("a") values (%s)', "ANSI_QUOTES", id="ansi name"),
    pytest.param('insert into "value" values (%s)', "ANSI_QUOTES", id="ansi table"),
    pytest.param('insert into kl (a, b) values (%s, "a)b")', "", id="double quotes"),
    pytest.param("insert into kl (a) values /*! (100), */ (%s)", "", id="code before"),
    pytest.param("insert into kl (a) values (%s) /*! , (100) */", "", id="code behind"),
    pytest.param("insert /* values (1) */ into kl (a) values (%s) -- x", "", id="comments"),
    pytest.param("insert into kl (a) values (%s) # values (2)", "", id="hash comment"),
    pytest.param("insert into kl (a) values (5--%s)", "", id="two minus signs"),
    pytest.param("insert into kl (a, b) values (last_insert_id(), %s)", "", id="last id"),
    pytest.param("insert into kl (a, b) values (%s, row_count())", "", id="row count"),
    pytest.param("insert into kl (a, b) values (%s, (select count(*) from u))", "", id="subquery"),
    pytest.param("insert ignore into u (k, v) values (%s, 1)", "", id="ignore"),
    pytest.param("insert low_priority ignore into u values (%s, 1)", "", id="low priority"),
    pytest.param("replace into u values (%s, 1)", "", id="replace"),
    pytest.param("replace u (k, v) values (%s, 1);", "", id="semicolon"),
    pytest.param("insert kl (a) values (abs(%s))", "", id="function"),
    pytest.param(
        "insert into u (k, v) values (%s, 1) on duplicate key update v = values(v) + 1",
        "",
        id="on duplicate",
    ),
    pytest.param("delete from kv where value in (%s)", "", id="delete"),
    pytest.param("update kv set value = n where value in (%s)", "", id="update"),
]


async def contents(conn: aiomysqlx.SAConnection) -> list[Any]:
    found: list[Any] = []
    for table in (*TABLES, "kv"):
        result = await conn.execute(f"select * from {table}")
        found.append(sorted((row.as_tuple() for row in await result.fetchall()), key=repr))
    return found


@pytest.mark.filterwarnings("ignore::pymysql.err.Warning")  # of the IGNORE
@pytest.mark.parametrize(("sql", "mode"), TEXTS)
async def test_text_for_many_is_the_text_for_each(oracle: Oracle, sql: str, mode: str) -> None:
    conn = oracle.conn
    values = (1,) if "order by" in sql else (10, 20, 10)

    for number in range(2):  # each alone, then all in one call
        oracle.run(*(f"drop table if exists {name}" for name in (*TABLES, "kv")), *MAKE)
        await conn.execute(f"set sql_mode = '{mode}'")
        await conn.execute("select last_insert_id(0)")
        if number == 0:
            results = [await conn.execute(sql, value) for value in values * (2 // len(values) or 1)]
            ids = [result.lastrowid for result in results if result.lastrowid]
            each = sum(r.rowcount for r in results), (ids or [0])[0], await contents(conn)
        else:
            groups = [(value,) for value in values * (2 // len(values) or 1)]
            result = await conn.execute(sql, groups)
            many = result.rowcount, result.lastrowid, await contents(conn)

    assert many == each


async def test_only_inserts_of_values_are_sent_together(oracle: Oracle) -> None:
    oracle.run(*MAKE)

    async def sent(sql: str) -> int:
        counts = []
        for _ in range(2):
            result = await oracle.conn.execute("show session status like 'Com_insert%'")
            counts.append(sum(int(row[1]) for row in await result.fetchall()))
            await oracle.conn.execute(sql, [(1,), (2,), (3,)])
        return counts[1] - counts[0]

    assert await sent("insert into kl (a) values (%s)") == 1
    assert await sent("insert into `value` value (abs(%s))") == 1
    assert await sent("insert into kl (a) values (%s) on duplicate key update a = 1") == 1
    assert await sent("insert into kl (a) select n from kv order by value, (%s+0)") == 3
    assert await sent("insert into kl (a, b) values (%s, '\\\\')") == 3


quoted = Table(
    "values",
    MetaData(),
    Column("value", Integer),
    Column("values", Integer, server_default="1"),
)
kl = Table(
    "kl",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("a", Integer),
    Column("b", String(50), default=func.concat("values (", ")")),
)
kv = Table("kv", MetaData(), Column("n", Integer), Column("value", Integer))


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        pytest.param(insert(quoted), "value", id="table values"),
        pytest.param(insert(quoted).values({"values": 5}), "value", id="column values"),
        pytest.param(insert(kl), "a", id="default with parentheses"),
        pytest.param(insert(kl).prefix_with("/* values ( */"), "a", id="prefix"),
        pytest.param(insert(kl).prefix_with("ignore"), "a", id="ignore"),
        pytest.param(
            insert(kl).values(b=select(func.max(kv.c.value)).scalar_subquery()), "a", id="subquery"
        ),
        pytest.param(
            insert(kl).values(b=literal_column(r"'\\'')'")), "a", id="literal with a backslash"
        ),
        pytest.param(
            mysql.insert(kl).values(id=1).on_duplicate_key_update(b="values (1)"), "a", id="upsert"
        ),
    ],
)
async def test_insert_of_many_writes_what_sqlalchemy_writes(
    oracle: Oracle, statement: Any, name: str
) -> None:
    groups = [{name: 1}, {name: 2}, {name: 3}]
    written = []
    for ask in (oracle.theirs, oracle.ours):
        oracle.run(*(f"drop table if exists {table}" for table in (*TABLES, "kv")), *MAKE)
        answer = ask(statement, groups)
        if ask == oracle.ours:
            await answer
        written.append([oracle.rows(f"select * from {table}") for table in ("kl", "`values`")])

    assert written[0] == written[1]
    assert any(written[0])
