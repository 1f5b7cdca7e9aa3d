"""The columns of results: their keys, their types, and what finds them, as SQLAlchemy's engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from oracle import Oracle
from sqlalchemy import (
    LABEL_STYLE_NONE,
    LABEL_STYLE_TABLENAME_PLUS_COL,
    Boolean,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    column,
    func,
    lambda_stmt,
    literal_column,
    select,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

import aiomysqlx
from aiomysqlx.sql import rows as rows_module

pytestmark = [pytest.mark.server, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")]
Build = Callable[[], Any]

MAKE = (
    "create table rc (id int primary key, x int, y varchar(20), b bool)",
    "insert into rc values (1, 10, 'a', 1), (2, 20, 'b', 0)",
)
t = Table(
    "rc",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("x", Integer),
    Column("y", String(20)),
    Column("b", Boolean),
)
c = t.c
a = t.alias("a")
b = t.alias("b")
sub = select(t).subquery("sub")
cte = select(t).cte("cte")
computed = select(c.id, (c.x * 2).label("x")).subquery("computed")
by_id = c.id


class Base(DeclarativeBase):
    """The mapped classes of this file."""


class Model(Base):
    """A class over the table."""

    __tablename__ = "rc"
    id: Mapped[int] = mapped_column(primary_key=True)
    x: Mapped[int]


other = aliased(Model, name="other")

STATEMENTS = {
    "named": lambda: text("select 1 as a").columns(x=Integer),
    "named, type": lambda: text("select 1 as a").columns(a=Boolean),
    "named, swapped": lambda: text("select 1 as a, 1 as b").columns(b=Boolean, a=Integer),
    "named, fewer": lambda: text("select 1 as a, 1 as b").columns(b=Boolean),
    "named, more": lambda: text("select 1 as a").columns(a=Boolean, z=Integer),
    "named, other case": lambda: text("select 1 as A").columns(a=Boolean),
    "named, twice": lambda: text("select 1 as a, 1 as a").columns(a=Boolean),
    "positional": lambda: text("select 1 as a, 2 as b").columns(column("x", Boolean), column("y")),
    "positional, fewer": lambda: text("select 1 as a, 1 as b").columns(column("x", Boolean)),
    "positional, more": lambda: text("select 1 as a").columns(column("x", Boolean), column("z")),
    "positional, swapped": lambda: text("select b, id from rc order by id").columns(c.id, c.b),
    "positional, label": lambda: text("select 1 as a").columns(column("q", Boolean).label("z")),
    "mixed": lambda: text("select 1 as a, 1 as b").columns(column("b", Boolean), a=Integer),
    "mixed, by label": lambda: text("select b as rc_b, id from rc").columns(c.b, id=Integer),
    "mixed, by key": lambda: text("select b as k from rc").columns(
        Column("z", Boolean, key="k"), id=Integer
    ),
    "subquery": lambda: select(text("select 1 as a").columns(a=Boolean).subquery()),
    "text as": lambda: select(text("x + 1 as n")).select_from(t).order_by(c.id),
    "text": lambda: select(text("x")).select_from(t).order_by(c.id),
    "text of two": lambda: select(text("x, y")).select_from(t).order_by(c.id),
    "text of two, column": lambda: select(text("x, y"), c.b).order_by(c.id),
    "column, text of two": lambda: select(c.b, text("x, y")).order_by(c.id),
    "text between": lambda: select(c.id, text("x as n"), c.b).order_by(c.id),
    "text of the same name": lambda: select(c.id, text("y as id"), c.b).order_by(c.id),
    "texts of one name": lambda: select(text("x"), text("x")).select_from(t).order_by(c.id),
    "texts without a name": lambda: select(text("1 + 1"), text("'a'"), text("null")),
    "text with a parameter": lambda: select(text(":q as z").bindparams(q=5), c.b).order_by(c.id),
    "text and typed": lambda: select(text("b as n"), c.b, c.b.label("m")).order_by(c.id),
    "text and expression": lambda: select(text("x"), c.x + 1, func.lower(c.y)).order_by(c.id),
    "text and columns twice": lambda: select(text("x"), c.id, c.id).order_by(c.id),
    "text and labels": lambda: (
        select(text("x"), t).order_by(c.id).set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL)
    ),
    "text and no labels": lambda: (
        select(text("x"), t).order_by(c.id).set_label_style(LABEL_STYLE_NONE)
    ),
    "percent": lambda: select(text("x as `a%b`"), c.b).order_by(c.id),
    "star": lambda: select(text("*")).select_from(t).order_by(c.id),
    "column and star": lambda: select(c.b, text("rc.*")).order_by(c.id),
    "literal_column": lambda: select(literal_column("x"), literal_column("b", Boolean), c.id),
    "literal_column as": lambda: select(literal_column("x as n")).select_from(t),
    "literal_columns of one name": lambda: select(literal_column("1"), literal_column("1")),
    "union of texts": lambda: (
        select(text("x")).select_from(t).union_all(select(text("id")).select_from(t))
    ),
    "expressions": lambda: select(c.x + 1, c.x + 2, func.abs(c.x)).order_by(c.id),
    "lambda": lambda: lambda_stmt(lambda: select(text("x as n"), c.b).order_by(by_id)),
}


@pytest.mark.parametrize("name", list(STATEMENTS))
async def test_keys_and_types_are_those_of_sqlalchemy(oracle: Oracle, name: str) -> None:
    oracle.run(*MAKE)
    build = STATEMENTS[name]
    theirs = oracle.theirs(build())

    assert theirs != ("refused",)
    for statement in (build(), build()):  # compiled, and found in the cache
        assert await oracle.ours(statement) == theirs


async def row_of(oracle: Oracle, statement: Any) -> Any:
    result = await oracle.conn.execute(statement)
    return await result.first()


# -- a column that was not selected ----------------------------------------------------------------

JOINS = {
    "alias": (lambda: select(c.id, b.c.x).where(c.id == b.c.id), [c.x, b.c.id, a.c.x]),
    "two aliases": (
        lambda: select(a.c.id, b.c.x).where(a.c.id == b.c.id),
        [a.c.x, b.c.id, c.x, c.id],
    ),
    "alias, joined": (
        lambda: select(c.id, b.c.x).select_from(t.join(b, c.id == b.c.id)),
        [c.x, b.c.id],
    ),
    "table, joined": (
        lambda: select(c.x, b.c.id).select_from(t.join(b, c.id == b.c.id)),
        [c.id, b.c.x],
    ),
    "alias, all of the table's": (
        lambda: select(c.x).where(c.id == b.c.id),
        [b.c.x, sub.c.x, c.id],
    ),
    "the alias alone, joined": (lambda: select(b.c.x).where(c.id == b.c.id), [c.x]),
    "table_column labels": (
        lambda: (
            select(c.id, b.c.x)
            .where(c.id == b.c.id)
            .set_label_style(LABEL_STYLE_TABLENAME_PLUS_COL)
        ),
        [c.x, b.c.id],
    ),
    "label": (lambda: select(c.y.label("x"), c.id), [c.x, a.c.x]),
    "label of the alias": (
        lambda: select(b.c.x.label("x"), c.id).where(c.id == b.c.id),
        [c.x, b.c.id],
    ),
    "function's label": (lambda: select(func.max(c.y).label("x")), [c.x]),
    "text": (lambda: select(c.id, text("b.x")).where(c.id == b.c.id), [c.x, b.c.x]),
    "subquery": (lambda: select(sub.c.x, c.id).where(sub.c.id == c.id), [c.x, sub.c.id]),
    "cte": (lambda: select(cte.c.x, c.id).where(cte.c.id == c.id), [c.x, cte.c.id]),
    "computed": (lambda: select(computed.c.x), [c.x, sub.c.x]),
    "mapped alias": (
        lambda: select(Model.id, other.x).where(Model.id == other.id),
        [c.x, a.c.x, Model.__table__.c.x],
    ),
}


@pytest.mark.parametrize("again", [False, True], ids=["compiled", "cached"])
@pytest.mark.parametrize("name", list(JOINS))
async def test_column_that_was_not_selected_is_not_found(
    oracle: Oracle, name: str, again: bool
) -> None:
    oracle.run(*MAKE)
    build, missing = JOINS[name]
    if again:
        await row_of(oracle, build())

    row = await row_of(oracle, build())

    for key in missing:
        with pytest.raises(aiomysqlx.NoSuchColumnError):
            row[key]
        assert key not in row


async def test_selected_columns_of_a_self_join_are_found(oracle: Oracle) -> None:
    oracle.run(*MAKE)

    for _ in range(2):
        row = await row_of(oracle, select(c.id, b.c.x, b.c.y).where(c.id == 1, b.c.id == 2))

        assert (row[c.id], row[b.c.x], row[b.c.y]) == (1, 20, "b")


@pytest.mark.parametrize(
    ("build", "key", "value"),
    [
        pytest.param(lambda: select(a.c.x), c.x, 10, id="alias"),
        pytest.param(lambda: select(sub.c.x), c.x, 10, id="subquery"),
        pytest.param(lambda: select(cte.c.x), c.x, 10, id="cte"),
        pytest.param(lambda: select(func.max(c.x).label("x")), c.x, 20, id="function"),
        pytest.param(lambda: select(text("x")).select_from(t), c.x, 10, id="text column"),
        pytest.param(lambda: text("select x from rc"), c.x, 10, id="text"),
        pytest.param(lambda: "select x from rc", c.x, 10, id="str"),
    ],
)
async def test_column_is_found_in_what_is_made_of_it(
    oracle: Oracle, build: Build, key: Any, value: int
) -> None:
    oracle.run(*MAKE)

    row = await row_of(oracle, build())

    assert (row[key], key in row) == (value, True)


# -- what it costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [10, 100])
async def test_columns_selected_are_counted_once_for_all_rows(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    wide = Table("wide", MetaData(), *(Column(f"c{n}", Integer) for n in range(columns)))
    oracle.create(wide)
    alias = wide.alias("w")
    await oracle.conn.execute(wide.insert(), [{"c0": n} for n in range(20)])
    await row_of(oracle, select(wide.alias("w")))  # whose plan is found by the next one
    result = await oracle.conn.execute(select(alias))
    rows = await result.fetchall()
    looked_at: list[Any] = []
    find = rows_module.ResultMetaData._selected_columns
    monkeypatch.setattr(
        rows_module.ResultMetaData,
        "_selected_columns",
        lambda self: looked_at.append(self) or find(self),
    )

    assert [row[alias.c.c0] for row in rows] == list(range(20))
    assert len(looked_at) == 1
