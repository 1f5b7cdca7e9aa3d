"""The values of many groups are those of each group, whether they are just taken or looked for."""

from __future__ import annotations

import asyncio
import enum
import uuid
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Enum,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    bindparam,
    literal,
    text,
)
from sqlalchemy.dialects import mysql

from aiomysqlx.sql.batch import packets_of
from aiomysqlx.sql.groups import Execution, plan_many
from aiomysqlx.sql.planner import Planner
from aiomysqlx.wire.turns import Turns


class Size(enum.Enum):
    S = 1
    L = 2


def _twice(context: Any) -> Any:
    return context.get_current_parameters()["a"] * 2


metadata = MetaData()
plain = Table(
    "plain", metadata, Column("a", Integer, primary_key=True), Column("b", String(9)), Column("c")
)
typed = Table(
    "typed",
    metadata,
    Column("a", Uuid, primary_key=True),
    Column("b", JSON),
    Column("c", Enum(Size)),
    Column("d", Boolean),
)
scalar = Table(
    "scalar",
    metadata,
    Column("a", Integer, primary_key=True),
    Column("b", String(9)),
    Column("d", Boolean, default=True),
    Column("e", JSON, default={"x": 1}),
)
called = Table(
    "called",
    metadata,
    Column("a", Integer, primary_key=True),
    Column("b", String(9)),
    Column("d", Integer, default=_twice),
    Column("e", Boolean, default=False, onupdate=True),
)
STATEMENTS: dict[str, Any] = {
    "insert": plain.insert(),
    "constant": plain.insert().values(c=literal(1) + bindparam("d", 5)),
    "typed": typed.insert(),
    "scalar defaults": scalar.insert(),
    "called defaults": called.insert(),
    "upsert": mysql.insert(plain).on_duplicate_key_update(c=bindparam("d")),
    "update": called.update().where(called.c.a == bindparam("d")).values(b=bindparam("b")),
    "delete": plain.delete().where(plain.c.a == bindparam("a"), plain.c.c == 7),
    "expanding": plain.delete().where(plain.c.a.in_(bindparam("a", expanding=True))),
    "text": text("DO :a, :b").bindparams(b=5),
    "params": text("DO :a, :b").params(b=5),
}
USUAL = {"a": 1, "b": "x", "c": None, "d": 4}


class _Room:
    """What rows are written for."""

    schema = ""
    syntax = "utf8", 0
    max_allowed_packet = 1 << 20
    claim = 0, 0

    def begin_work(self, claim: tuple[int, int]) -> None:
        pass

    end_work = check_claim = begin_work

    def check_deadline(self) -> None:
        pass


values = st.one_of(
    st.integers(-5, 5),
    st.sampled_from(
        [None, "x", True, Size.L, uuid.UUID(int=5), [1], [], {"k": [2]}, (1, 2), object(), "\ud800"]
    ),
)


@st.composite
def shaped(draw: st.DrawFn) -> list[Any]:
    """Groups that are nearly all alike."""
    names = draw(st.sampled_from(["a", "ab", "abc", "abd", "abcd", "ad"]))
    groups = [
        {name: draw(values) if draw(st.integers(0, 3)) == 0 else USUAL[name] for name in names}
        for _ in range(draw(st.integers(2, 6)))
    ]
    made: list[Any] = groups
    if draw(st.integers(0, 3)) == 0:
        made = [tuple(group.values()) for group in groups]
    for _ in range(draw(st.integers(0, 1))):
        other = draw(st.dictionaries(st.sampled_from("abcdz"), values, max_size=5))
        odd = draw(st.sampled_from([other, tuple(other.values()), [*other.values()], None, 5]))
        made.insert(draw(st.integers(0, len(made))), odd)
    return made


async def _written(planner: Planner, statement: Any, groups: list[Any]) -> Any:
    with Turns(_Room()) as turns:  # type: ignore[arg-type]
        execution = plan_many(turns, planner, statement, groups, None)
        packets = await packets_of(turns, execution, statement, groups)
    return packets, [*(execution.given or ())]


def _outcome(planner: Planner, statement: Any, groups: list[Any]) -> Any:
    try:
        return asyncio.run(_written(planner, statement, groups))
    except Exception as error:
        return type(error), str(error)


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
@settings(max_examples=60)
@given(groups=shaped())
def test_values_taken_are_those_looked_for(statement: Any, groups: list[Any]) -> None:
    planner = Planner(mysql.dialect(paramstyle="pyformat"), "8.0.0", False)

    taken = _outcome(planner, statement, groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Execution, "_taken", lambda *_: [])
        looked_for = _outcome(planner, statement, groups)

    assert taken == looked_for


def test_values_are_taken_of_most_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    planner = Planner(mysql.dialect(paramstyle="pyformat"), "8.0.0", False)
    looked_for: list[Any] = []
    monkeypatch.setattr(Execution, "_values", lambda _, group: looked_for.append(group))
    cases: dict[str, list[Any]] = {
        "insert": [{"a": 1, "b": "x"}, {"b": "y", "a": 2}],
        "constant": [{"a": 1}, {"a": 2}],
        "typed": [{"a": uuid.UUID(int=n), "b": [1], "c": Size.S, "d": True} for n in (1, 2)],
        "scalar defaults": [{"a": 1}, {"a": 2}],
        "called defaults": [{"a": 1}, {"a": 2}],
        "upsert": [{"a": 1, "d": 2}, {"a": 3, "d": 4}],
        "update": [{"b": "x", "d": 1}, {"b": "y", "d": 2}],
        "delete": [{"a": 1}, {"a": 2}],
        "text": [{"a": 1}, {"a": 2}],
    }

    for name, groups in cases.items():
        packets, _ = asyncio.run(_written(planner, STATEMENTS[name], groups))
        assert packets
    packets, _ = asyncio.run(_written(planner, plain.insert(), [(1, "x"), [2, "y"]]))

    assert packets
    assert looked_for == []
