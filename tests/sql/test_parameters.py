"""Parameters: each name is taken once, as SQLAlchemy takes it, or refused; none is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from oracle import Oracle
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    lambda_stmt,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import aiomysqlx
from aiomysqlx.sql.groups import Execution
from aiomysqlx.sql.statements import by_name

Build = Callable[[], Any]
pytestmark = [pytest.mark.server, pytest.mark.any_loop]

MAKE = (
    "create table t (id int primary key auto_increment, a varchar(20), b varchar(20))",
    "insert into t values (1, 'x', 'y'), (2, 'p', 'q')",
)
EMPTY = "truncate table t"

t = Table(
    "t",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("a", String(20)),
    Column("b", String(20)),
)
keyed = Table(
    "t",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("a", String(20), key="aa"),
    Column("b", String(20), key="bb"),
)
swapped = Table(
    "t",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("a", String(20), key="b"),
    Column("b", String(20), key="a"),
)


touched = Table(
    "t",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("a", String(20)),
    Column("b", String(20), key="bb", onupdate="touched"),
)


class Base(DeclarativeBase):
    """The mapped classes of this file."""


class Model(Base):
    """A class whose attributes have other names than its columns."""

    __tablename__ = "t"
    id: Mapped[int] = mapped_column(primary_key=True)
    alpha: Mapped[str] = mapped_column("a", String(20))
    beta: Mapped[str] = mapped_column("b", String(20))


captured = "z"


def linked() -> Any:
    statement = lambda_stmt(lambda: update(t))
    statement += lambda each: each.where(t.c.id == 1)
    return statement


def upsert(**values: Any) -> Any:
    return mysql.insert(t).on_duplicate_key_update(**values)


def case(build: Build, *parameters: Any, name: str) -> Any:
    return pytest.param(build, parameters, id=name)


TAKEN = [
    case(lambda: insert(t), {"a": "1"}, name="insert"),
    case(lambda: insert(t), {}, name="insert of nothing"),
    case(lambda: insert(t), [{}], name="insert of one nothing"),
    case(lambda: insert(t), [{}, {}], name="insert of two nothings"),
    case(lambda: insert(t).values(a="1"), {"b": "2"}, name="values and more"),
    case(lambda: insert(t).values(a="1"), {"a": "2"}, name="values overridden"),
    case(lambda: insert(t).values(a="1"), [{"a": "2"}, {"a": "3"}], name="overridden in many"),
    case(lambda: insert(t).values(a=bindparam("x")), {"x": "2", "b": "3"}, name="own and column"),
    case(lambda: insert(t).values(a=bindparam("a")), {"a": "2"}, name="own named like its column"),
    case(
        lambda: insert(t).from_select(["a"], select(bindparam("a"))), {"a": "2"}, name="from select"
    ),
    case(lambda: insert(keyed), {"aa": "1", "bb": "2"}, name="keys"),
    case(lambda: insert(keyed).values({"aa": "1"}), {"bb": "2"}, name="keys in both"),
    case(lambda: insert(swapped), {"a": "1", "b": "2"}, name="swapped keys"),
    case(lambda: update(swapped), {"a": "1"}, name="update of a swapped key"),
    case(lambda: insert(Model), {"a": "1"}, name="model by column"),
    case(lambda: insert(Model).values(alpha="1"), {"b": "2"}, name="model by attribute and column"),
    case(lambda: update(Model).where(Model.id == 1), {"a": "1"}, name="update of a model"),
    case(lambda: upsert(b="z"), {"id": 1, "a": "1"}, name="upsert"),
    case(lambda: upsert(b=bindparam("bb")), {"id": 1, "a": "1", "bb": "2"}, name="upsert own"),
    case(lambda: lambda_stmt(lambda: insert(t)), {"a": "1"}, name="lambda insert"),
    case(lambda: lambda_stmt(lambda: insert(t)), [{"a": "1"}, {"a": "2"}], name="lambda many"),
    case(
        lambda: lambda_stmt(lambda: insert(t).values(a=captured)), {"b": "1"}, name="lambda values"
    ),
    case(
        lambda: lambda_stmt(lambda: insert(t).values(a=captured)),
        [{"b": "1"}, {"b": "2"}],
        name="lambda values of many",
    ),
    case(lambda: lambda_stmt(lambda: insert(Model)), {"a": "1"}, name="lambda model"),
    case(
        lambda: lambda_stmt(lambda: update(t).where(t.c.id == bindparam("i"))),
        {"i": 1, "a": "5"},
        name="lambda update",
    ),
    case(
        lambda: lambda_stmt(lambda: update(t).where(t.c.id == bindparam("i"))),
        [{"i": 1, "a": "5"}, {"i": 2, "a": "6"}],
        name="lambda update of many",
    ),
    case(linked, {"a": "5"}, name="linked lambda"),
    case(
        lambda: lambda_stmt(lambda: delete(t).where(t.c.id == bindparam("i"))),
        {"i": 1},
        name="lambda delete",
    ),
    case(
        lambda: lambda_stmt(lambda: select(t.c.a).where(t.c.id == bindparam("i"))),
        {"i": 1},
        name="lambda select",
    ),
    case(lambda: update(t).values(b=bindparam("x")), {"x": "1", "a": "2"}, name="update own"),
    case(
        lambda: update(t).ordered_values((t.c.a, "r")), {"b": "5"}, name="ordered values and more"
    ),
    case(lambda: select(t.c.a).where(t.c.id == bindparam("i")), {"i": 1, "no": 2}, name="select"),
    case(lambda: select(t.c.a).where(t.c.id == 1), {"id_1": 2}, name="anonymous name"),
    case(lambda: text("select a from t where id = :i"), {"i": 1, "no": 2}, name="text"),
    case(lambda: text("insert into t (a) values (:a)"), [{"a": "1", "no": 2}], name="text insert"),
]


@pytest.mark.parametrize(("build", "parameters"), TAKEN)
async def test_parameters_are_taken_as_sqlalchemy_takes_them(
    oracle: Oracle, build: Build, parameters: Any
) -> None:
    oracle.run(*MAKE)
    theirs = oracle.theirs(build(), *parameters), oracle.rows("select * from t")
    # Twice, since what is known of a statement object is taken another way.
    statement = build()
    for _ in range(2):
        oracle.run(EMPTY, MAKE[1])
        ours = await oracle.ours(statement, *parameters), oracle.rows("select * from t")

        assert ours == theirs
    assert theirs[0] != ("refused",)


REFUSED = [
    pytest.param(lambda: insert(t), {"nope": "1"}, "nope", id="no column"),
    pytest.param(lambda: insert(t), {"a": "1", "nope": "2"}, "nope", id="one no column"),
    pytest.param(lambda: insert(t), {"A": "1"}, "A", id="other case"),
    pytest.param(lambda: insert(keyed), {"a": "1"}, "a", id="name of a keyed column"),
    pytest.param(lambda: insert(keyed), {"aa": "1", "b": "2"}, "b", id="key and name"),
    pytest.param(lambda: insert(Model), {"alpha": "1"}, "alpha", id="attribute"),
    pytest.param(lambda: insert(Model), {"a": "1", "beta": "1"}, "beta", id="column, attribute"),
    pytest.param(lambda: insert(Model).values(alpha="1"), {"beta": "1"}, "beta", id="attributes"),
    pytest.param(lambda: update(Model), {"a": "1", "beta": "1"}, "beta", id="update attribute"),
    pytest.param(lambda: upsert(b="z"), {"id": 1, "nope": "1"}, "nope", id="upsert"),
    pytest.param(lambda: lambda_stmt(lambda: insert(t)), {"nope": "1"}, "nope", id="lambda"),
    pytest.param(lambda: insert(t).values(a=func.now()), {"a": "2"}, "a", id="set already"),
    pytest.param(
        lambda: insert(t).values(a=bindparam("x")), {"x": "1", "a": "2"}, "a", id="set by own"
    ),
    pytest.param(
        lambda: insert(t).values([{"a": "1"}, {"a": "2"}]), {"a": "3"}, "a", id="many values"
    ),
    pytest.param(
        lambda: insert(t).from_select(["a"], select(literal("s"))), {"b": "2"}, "b", id="select"
    ),
    pytest.param(lambda: update(t).where(t.c.id == 1), {"a": "1", "no": 1}, "no", id="update"),
    pytest.param(lambda: delete(t), {"id": 1}, "id", id="delete"),
    pytest.param(
        lambda: delete(t).where(t.c.id == bindparam("i")), {"i": 1, "a": 1}, "a", id="delete own"
    ),
    pytest.param(
        lambda: upsert(b=bindparam("b")), {"id": 9, "a": "1", "b": "2"}, "b", id="upsert doubled"
    ),
    pytest.param(
        lambda: upsert(b=func.concat(bindparam("b"), "x")),
        {"id": 1, "a": "1", "b": "2"},
        "b",
        id="upsert doubled in a function",
    ),
    pytest.param(lambda: insert(t).values(a=bindparam("b")), {"b": "2"}, "b", id="insert doubled"),
    pytest.param(
        lambda: insert(t).values(a=func.lower(bindparam("b"))), {"b": "2"}, "b", id="in a function"
    ),
    pytest.param(lambda: update(t).values(a=bindparam("b")), {"b": "2"}, "b", id="update doubled"),
]


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize(("build", "group", "name"), REFUSED)
async def test_name_without_one_meaning_is_refused(
    oracle: Oracle,
    build: Build,
    group: dict[str, Any],
    name: str,
    many: bool,
) -> None:
    oracle.run(*MAKE)
    statement = build()

    for _ in range(3):
        with pytest.raises(aiomysqlx.ArgumentError, match=rf"column names: {name}\b|'{name}'"):
            await oracle.conn.execute(statement, [group, group] if many else group)

    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


@pytest.mark.parametrize(
    ("build", "groups", "name"),
    [
        pytest.param(lambda: insert(t), [{"a": "1"}, {"a": "2", "b": "3"}], "b", id="more"),
        pytest.param(lambda: insert(t), [{"a": "1"}, {"a": "2", "no": "3"}], "no", id="no column"),
        pytest.param(lambda: insert(t), [{}, {"a": "2"}], "a", id="more than nothing"),
        pytest.param(lambda: insert(t).values(a="1"), [{"a": "3"}, {"b": "3"}], "b", id="another"),
        pytest.param(
            lambda: lambda_stmt(lambda: insert(t)),
            [{"a": "1"}, {"a": "2", "b": "3"}],
            "b",
            id="lambda",
        ),
        pytest.param(
            lambda: update(t).where(t.c.id == bindparam("i")),
            [{"i": 1, "a": "1"}, {"i": 2, "a": "2", "b": "3"}],
            "b",
            id="update",
        ),
        pytest.param(
            lambda: delete(t).where(t.c.id == bindparam("i")),
            [{"i": 1}, {"i": 2, "a": "2"}],
            "a",
            id="delete",
        ),
    ],
)
async def test_group_with_a_name_that_the_first_lacks_is_refused(
    oracle: Oracle,
    build: Build,
    groups: list[dict[str, Any]],
    name: str,
) -> None:
    oracle.run(*MAKE)

    with pytest.raises(aiomysqlx.ArgumentError, match=rf"column names: {name}:.*group 1"):
        await oracle.conn.execute(build(), groups)

    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


async def test_group_that_lacks_a_name_is_refused_another_if_a_like_statement_requires_both(
    oracle: Oracle,
) -> None:
    oracle.run(*MAKE)

    def build(**default: Any) -> Any:
        return update(t).where(t.c.id == bindparam("i", type_=Integer, **default))

    await oracle.conn.execute(build(), [{"i": 8, "a": "1"}, {"i": 9, "a": "2"}])
    with pytest.raises(aiomysqlx.ArgumentError, match=r"column names: typo:.*group 1"):
        await oracle.conn.execute(build(value=2), [{"i": 1, "a": "1"}, {"typo": 1, "a": "2"}])

    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


EMPTY_REFUSED = {
    "insert": lambda: insert(t),
    "lambda insert": lambda: lambda_stmt(lambda: insert(t)),
    "insert of a model": lambda: insert(Model),
    "upsert": lambda: upsert(b="z"),
    "update": lambda: update(touched),
    "update of no values": lambda: update(touched).values({}),
    "update with a where": lambda: update(touched).where(touched.c.id == 1),
    "update by a parameter": lambda: update(touched).where(touched.c.id == bindparam("i", 1)),
    "lambda update": lambda: lambda_stmt(lambda: update(touched)),
}
EMPTY_EXECUTED = {
    "insert": lambda: insert(t).values(a="1"),
    "inserts": lambda: insert(t).values([{"a": "1"}, {"a": "2"}]),
    "insert from select": lambda: insert(t).from_select(["a"], select(literal("s"))),
    "update": lambda: update(touched).values(a="1"),
    "ordered update": lambda: update(touched).ordered_values((touched.c.a, "1")),
    "delete": lambda: delete(t).where(t.c.id == 1),
    "delete of all": lambda: delete(t),
    "select": lambda: select(t),
    "text": lambda: text("update t set a = 'n'"),
}


@pytest.mark.parametrize("build", EMPTY_REFUSED.values(), ids=EMPTY_REFUSED)
async def test_empty_list_of_what_to_write_is_refused(oracle: Oracle, build: Build) -> None:
    oracle.run(*MAKE)

    for empty in ([], ()):
        with pytest.raises(aiomysqlx.ArgumentError, match="expected .*, got an empty list"):
            await oracle.conn.execute(build(), empty)

    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


@pytest.mark.filterwarnings("ignore:Empty parameter sequence")
@pytest.mark.parametrize("build", EMPTY_EXECUTED.values(), ids=EMPTY_EXECUTED)
async def test_empty_list_for_what_is_complete_is_as_none(oracle: Oracle, build: Build) -> None:
    oracle.run(*MAKE)
    theirs = oracle.theirs(build(), []), oracle.rows("select * from t")
    oracle.run(EMPTY, MAKE[1])

    assert (await oracle.ours(build(), []), oracle.rows("select * from t")) == theirs


@pytest.mark.parametrize(
    "statement",
    [
        insert(t).values(a=bindparam("x")),
        update(t).values(a=bindparam("x")),
        delete(t).where(t.c.a == bindparam("x")),
        text("delete from t where a = :x"),
    ],
)
async def test_empty_list_for_what_needs_parameters_is_refused(
    oracle: Oracle, statement: Any
) -> None:
    oracle.run(*MAKE)

    with pytest.raises(aiomysqlx.ArgumentError, match="required for .*'x'"):
        await oracle.conn.execute(statement, [])

    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


BESIDE_KEYWORDS: dict[str, tuple[Any, ...]] = {
    "dict": (update(t).where(t.c.id == 1), {"a": "n"}),
    "values": (insert(t), 7, "n"),
    "tuple": (insert(t), (7, "n")),
    "tuples": (insert(t), [(7, "n"), (8, "n")]),
    "dicts": (insert(t), {"id": 7}, {"id": 8}),
    "empty dict": (update(t).where(t.c.id == 1), {}),
    "empty list": (update(t).where(t.c.id == 1), []),
    "str": ("update t set a = %s", "n"),
    "str by name": ("update t set a = %(a)s", {"a": "n"}),
}


@pytest.mark.parametrize("call", BESIDE_KEYWORDS.values(), ids=BESIDE_KEYWORDS)
async def test_keywords_beside_other_parameters_are_refused(
    oracle: Oracle, call: tuple[Any, ...]
) -> None:
    oracle.run(*MAKE)

    with pytest.raises(aiomysqlx.ArgumentError) as caught:
        await oracle.conn.execute(*call, b="lost", timeout=10)

    assert str(caught.value) == (
        "expected parameters behind the statement or as keywords, got both: give 'b' in the same"
        " way as the others"
    )
    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


async def test_lambdas_take_positional_parameters(
    oracle: Oracle,
) -> None:
    oracle.run(*MAKE)

    await oracle.conn.execute(lambda_stmt(lambda: insert(t)), (7, "r", "s"))

    assert oracle.rows("select * from t where id = 7") == [(7, "r", "s")]


async def test_name_in_a_where_is_no_column_to_write(
    oracle: Oracle,
) -> None:
    oracle.run(*MAKE)
    statement = update(t).where(t.c.id == bindparam("id"))

    await oracle.conn.execute(statement, {"id": 1, "a": "one"})
    await oracle.conn.execute(statement, [{"id": 1, "b": "1"}, {"id": 2, "b": "2"}])

    assert oracle.rows("select * from t") == [(1, "one", "1"), (2, "p", "2")]


# Nothing of the statement says what to set, so that the name may be meant for that.
NOTHING_TO_SET = {
    "column": (update(touched).where(touched.c.a == bindparam("a")), {"a": "x"}, "a"),
    "key": (update(touched).where(touched.c.id == bindparam("id")), {"id": 1}, "id"),
    "written by itself": (
        update(touched).where(touched.c.bb == bindparam("bb")),
        {"bb": "y"},
        "bb",
    ),
    "two": (
        update(touched).where(touched.c.a == bindparam("a"), touched.c.id == bindparam("i")),
        {"a": "x", "i": 1},
        "a",
    ),
    "subquery": (
        update(touched).where(touched.c.id.in_(select(t.c.id).where(t.c.a == bindparam("a")))),
        {"a": "x"},
        "a",
    ),
    "no values": (update(touched).where(touched.c.a == bindparam("a")).values({}), {"a": "x"}, "a"),
    "no onupdate": (update(t).where(t.c.a == bindparam("a")), {"a": "x"}, "a"),
    "lambda": (
        lambda_stmt(lambda: update(touched).where(touched.c.a == bindparam("a"))),
        {"a": "x"},
        "a",
    ),
    "onupdate's name beside values": (
        update(touched).where(touched.c.bb == bindparam("bb")).values(a="n"),
        {"bb": "y"},
        "bb",
    ),
}


@pytest.mark.parametrize("many", [False, True], ids=["one", "many"])
@pytest.mark.parametrize(
    ("statement", "group", "name"), NOTHING_TO_SET.values(), ids=NOTHING_TO_SET
)
async def test_update_that_sets_nothing_of_its_own_takes_no_columns_name(
    oracle: Oracle, statement: Any, group: dict[str, Any], name: str, many: bool
) -> None:
    oracle.run(*MAKE)
    parameters = [group, group] if many else group
    assert oracle.theirs(statement, parameters) == ("refused",)

    for _ in range(3):
        with pytest.raises(
            aiomysqlx.ArgumentError, match=rf"bindparam\(\) name '{name}' is reserved"
        ):
            await oracle.conn.execute(statement, parameters)

    assert oracle.rows("select * from t") == [(1, "x", "y"), (2, "p", "q")]


async def test_update_takes_a_name_in_its_where_beside_what_it_sets(oracle: Oracle) -> None:
    oracle.run(*MAKE)
    where = update(touched).where(touched.c.a == bindparam("a"))

    await oracle.conn.execute(where.values(id=bindparam("i")), {"a": "x", "i": 7})
    await oracle.conn.execute(where.ordered_values((touched.c.id, 8)), {"a": "p"})

    assert oracle.rows("select * from t") == [(7, "x", "touched"), (8, "p", "touched")]


async def test_update_by_its_own_name_may_leave_all_to_onupdate(oracle: Oracle) -> None:
    oracle.run(*MAKE)

    await oracle.conn.execute(update(touched).where(touched.c.a == bindparam("found")), found="x")

    assert oracle.rows("select * from t") == [(1, "x", "touched"), (2, "p", "q")]


# -- what it costs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [10, 100])
def test_positional_values_look_at_their_own_columns_only(
    monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    wide = Table("wide", MetaData(), *(Column(f"c{number}", Integer) for number in range(columns)))
    looked_at: list[Any] = []
    collection = type(wide.c)
    find = collection.__getitem__
    monkeypatch.setattr(
        collection, "__getitem__", lambda self, key: looked_at.append(key) or find(self, key)
    )
    monkeypatch.setattr(collection, "__iter__", lambda self: pytest.fail("all were looked at"))

    assert by_name(insert(wide), (5, 6)) == {"c0": 5, "c1": 6}
    assert looked_at == [0, 1]


@pytest.mark.parametrize("groups", [10, 100])
async def test_groups_of_the_same_names_are_not_looked_through(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch, groups: int
) -> None:
    oracle.run(*MAKE)
    looked_at: list[Any] = []
    values = Execution._values

    def recorded(self: Execution, group: Any) -> Any:
        looked_at.append(group)
        return values(self, group)

    monkeypatch.setattr(Execution, "_values", recorded)

    await oracle.conn.execute(insert(t), [{"a": str(n), "b": "x"} for n in range(groups)])

    assert len(looked_at) <= 1
