"""Shapes: statements built anew find their plans without SQLAlchemy's cache key, and never wrongly.

AIOMYSQLX_SHAPES_EXAMPLES is the number of generated statements.
"""

from __future__ import annotations

import gc
import os
from enum import Enum
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.ext.compiler import compiles
from statements import Maker

from aiomysqlx.exc import ArgumentError
from aiomysqlx.sql import shapes
from aiomysqlx.sql.plan import Plan
from aiomysqlx.sql.planner import Planner
from aiomysqlx.sql.shapes import Recent, shape_of

EXAMPLES = int(os.environ.get("AIOMYSQLX_SHAPES_EXAMPLES", "3000"))
SEED = int(os.environ.get("AIOMYSQLX_SHAPES_SEED", "16"))
SYNTAX = ("utf-8", 0)


def new_table(name: str = "t", *columns: Any) -> sa.Table:
    """Return a table in metadata of its own."""
    return sa.Table(
        name,
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20)),
        *columns,
    )


t = new_table()


def new_planner() -> Planner:
    return Planner(MySQLDialect_pymysql(paramstyle="pyformat"), "11.4.2-MariaDB", False)


@pytest.fixture
def planner() -> Planner:
    """A planner of its own, which needs no server."""
    return new_planner()


def planned(planner: Planner, statement: Any, parameters: Any = None) -> Plan:
    return planner.plan(statement, parameters, False, planner.known(statement))[0]


def has_key(statement: Any) -> bool:
    """Tell whether SQLAlchemy's key of a statement was asked for."""
    return "_generate_cache_key" in vars(statement)


def same(left: Any, right: Any) -> bool:
    left_shape, right_shape = shape_of(left), shape_of(right)
    assert left_shape is not None
    assert right_shape is not None
    return bool(left_shape[0] == right_shape[0])


# -- generated -------------------------------------------------------------------------------------


@pytest.mark.timeout(120 + EXAMPLES // 100)
@pytest.mark.filterwarnings("ignore")
def test_statements_of_one_shape_have_one_key_and_its_parameters() -> None:
    keys: dict[Any, Any] = {}
    taken = again = 0

    for statement in Maker(SEED).statements(EXAMPLES):
        shape = shape_of(statement)
        key = statement._generate_cache_key()
        if shape is None or key is None:
            continue
        taken += 1
        assert list(map(id, shape[1])) == list(map(id, key.bindparams)), statement
        place = tuple(shape[0])
        again += place in keys
        assert keys.setdefault(place, key.key) == key.key, statement

    print(f"{EXAMPLES} statements, {taken} of {len(keys)} shapes, {again} of them again")
    assert taken > EXAMPLES * 0.4
    assert again > taken * 0.15


@pytest.mark.timeout(120 + EXAMPLES // 100)
@pytest.mark.filterwarnings("ignore")
def test_plans_by_shape_are_those_by_key() -> None:
    planner, other = new_planner(), new_planner()
    by_shape = 0

    for statement in Maker(SEED + 1).statements(EXAMPLES // 3):
        first, second = statement._generate(), statement._generate()
        try:
            wanted = other.plan(statement, None)
        except sa.exc.SQLAlchemyError:
            continue
        planner.plan(first, None)
        found = planner.plan(second, None)
        by_shape += not has_key(second)
        assert found[0].sql == wanted[0].sql
        assert found[2] == wanted[2]
        assert repr(values(*found)) == repr(values(*wanted)), statement

    assert by_shape > EXAMPLES // 3 * 0.4


def values(plan: Plan, binds: Any, parameters: Any) -> Any:
    """Return what is sent for the parameters, or what is raised instead."""
    try:
        return [plan.values(parameters, binds, SYNTAX)]
    except (ArgumentError, sa.exc.SQLAlchemyError, AttributeError, LookupError, TypeError) as error:
        return error


# -- what is taken ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda x: select(t).where(t.c.id == x), id="by key"),
        pytest.param(lambda x: select(t.c.id).where(sa.or_(t.c.id < x, t.c.name == "a")), id="or"),
        pytest.param(lambda x: select(t).where(t.c.id.in_([x, 2])), id="in"),
        pytest.param(lambda x: select(t).where(t.c.name.is_(None), t.c.id > x), id="null"),
        pytest.param(lambda x: select(t).where(t.c.name.like(f"{x}%")), id="like"),
        pytest.param(lambda x: select(t).where(t.c.id.between(x, 9)), id="between"),
        pytest.param(lambda x: select(t).order_by(t.c.id.desc()).limit(x).offset(x), id="page"),
        pytest.param(lambda x: select(sa.func.count()).where(t.c.id > x), id="count"),
        pytest.param(lambda x: select(t.c.id.label("a")).where(t.c.id > x), id="label"),
        pytest.param(lambda x: select(t).where(t.c.id == x).with_for_update(), id="for update"),
        pytest.param(lambda x: select(sa.literal(x)), id="literal"),
        pytest.param(lambda x: t.insert().values(id=x, name="a"), id="insert"),
        pytest.param(lambda x: t.update().where(t.c.id == x).values(name="a"), id="update"),
        pytest.param(lambda x: t.delete().where(t.c.id == x), id="delete"),
        pytest.param(
            lambda x: select(t.c.id).join(a := t.alias(), a.c.id == t.c.id).where(a.c.id == x),
            id="join of an alias",
        ),
        pytest.param(
            lambda x: select(t).where(t.c.id == x).execution_options(timeout=x), id="options"
        ),
    ],
)
def test_statement_built_anew_needs_no_cache_key(planner: Planner, make: Any) -> None:
    first = planned(planner, make(3))
    statement = make(4)

    plan, binds, _ = planner.plan(statement, None)

    assert plan is first
    assert not has_key(statement)
    wanted, expected, _ = planner._plan_by_key(statement, None, False, None, None)
    assert wanted is first
    assert binds is not None
    assert list(map(id, binds)) == list(map(id, expected or ()))


def test_names_of_parameters_are_part_of_what_a_write_is_planned_for(planner: Planner) -> None:
    plans = [planned(planner, t.insert(), {name: 1}) for name in ("id", "name", "id")]

    assert plans[0] is plans[2]
    assert plans[0].sql != plans[1].sql


def test_statement_executed_again_becomes_known(planner: Planner) -> None:
    planned(planner, select(t).where(t.c.id == 1))
    statement = select(t).where(t.c.id == 2)

    planned(planner, statement)
    assert planner.known(statement) is None
    planned(planner, statement)

    known = planner.known(statement)
    assert known is not None
    assert [bind.value for bind in known.extracted] == [2]


def test_statement_in_the_place_of_one_that_is_gone_is_not_known(planner: Planner) -> None:
    for number in range(50):
        statement = select(t).where(t.c.id == number)
        planned(planner, statement)
        assert planner.known(statement) is None
        del statement


# -- what is not -----------------------------------------------------------------------------------

STATEMENTS = {
    "select": select(t).where(t.c.id == 1),
    "insert": t.insert().values(name="a"),
    "update": t.update().values(name="a"),
    "delete": t.delete(),
}


def in_keys(cls: Any) -> list[str]:
    """Return the attributes that SQLAlchemy's keys of a class are made of."""
    traversed = getattr(cls, "_cache_key_traversal", None)
    if not isinstance(traversed, list):
        traversed = cls._traverse_internals
    return [name for name, _ in traversed]


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS.keys())
def test_every_attribute_of_a_statement_is_known_or_leaves_it_to_sqlalchemy(statement: Any) -> None:
    cls = type(statement)
    assert shape_of(statement) is not None

    for name in {*in_keys(cls), "_new_in_the_next_version"}.difference(shapes._ATTRIBUTES[cls]):
        copy = statement._generate()
        assert shape_of(copy) is not None
        vars(copy)[name] = ("anything",)
        assert shape_of(copy) is None, name


@pytest.mark.parametrize("cls", shapes._PARTS, ids=lambda cls: cls.__name__)
def test_class_with_one_more_attribute_in_its_key_is_left_to_sqlalchemy(cls: Any) -> None:
    known = shapes._PARTS[cls]
    internals = getattr(cls, "_traverse_internals", [])
    more = type("More", (), {"_traverse_internals": [*internals, ("_more", None)]})

    assert shapes._is_covered(cls, known)
    assert not shapes._is_covered(more, known)


class Lower(sa.Column[Any]):
    """A column of a user's class."""

    inherit_cache = True


class Shout(sa.sql.functions.GenericFunction[str]):
    """A function of a user's class."""

    inherit_cache = True
    name = "shout"
    type = sa.String()


class Twice(sa.sql.elements.ColumnElement[int]):
    """An element of a user's class."""

    inherit_cache = True
    type = sa.Integer()

    def __init__(self, element: Any) -> None:
        self.element = element


@compiles(Twice)
def _twice(element: Any, compiler: Any, **kw: Any) -> str:
    return f"2 * {compiler.process(element.element, **kw)}"


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(select(new_table("l", Lower("low", sa.Integer)).c.low), id="column's class"),
        pytest.param(select(Shout("a")), id="function's class"),
        pytest.param(select(Twice(t.c.id)), id="element's class"),
        pytest.param(select(t).where(t.c.id.op("%%")(2) == 1), id="custom operator"),
        pytest.param(select(t).prefix_with("SQL_NO_CACHE"), id="prefix"),
        pytest.param(select(t).with_hint(t, "USE INDEX (x)"), id="hint"),
        pytest.param(select(t).params(x=1), id="params"),
        pytest.param(select(sa.func.abs(1).params(x=1)), id="params of a part"),
        pytest.param(select(t).correlate(None), id="correlated"),
        pytest.param(select(select(t).subquery()), id="subquery"),
        pytest.param(select(select(t).cte()), id="cte"),
        pytest.param(select(t).where(sa.exists().where(t.c.id == 1)), id="exists"),
        pytest.param(select(sa.text("x").columns(t.c.id).subquery()), id="text's columns"),
        pytest.param(t.insert().values([{"id": 1}, {"id": 2}]), id="rows"),
        pytest.param(t.insert().from_select(["id"], select(t.c.id)), id="from select"),
        pytest.param(t.update().ordered_values((t.c.id, 1), (t.c.name, "a")), id="ordered values"),
        pytest.param(select(sa.table("t", sa.column("id"))), id="light table"),
        pytest.param(select(t)._annotate({"x": 1}), id="annotated"),
        pytest.param(select(t.c.id._annotate({"x": 1})), id="annotated column"),
        pytest.param(
            select(t).execution_options(schema_translate_map={None: "x"}), id="map of schemas"
        ),
        pytest.param(sa.union(select(t), select(t)), id="union"),
        pytest.param(sa.lambda_stmt(lambda: select(t)), id="lambda"),
        pytest.param(sa.text("SELECT 1"), id="text"),
    ],
)
def test_what_is_not_known_has_no_shape(statement: Any) -> None:
    assert shape_of(statement) is None


def test_huge_and_deep_statements_have_no_shape() -> None:
    wide = select(t).where(sa.or_(*(t.c.id == number for number in range(200))))
    deep: Any = t.c.id
    for number in range(300):
        deep = (deep + number) * 2

    assert shape_of(wide) is None
    assert shape_of(select(deep)) is None


# -- what differs ----------------------------------------------------------------------------------

p = sa.literal(1)
condition = t.c.id == t.c.name


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(t.c.name.like("a"), t.c.name.like("a", escape="/"), id="escape"),
        pytest.param(t.c.id == 1, t.c.id != 1, id="operator"),
        pytest.param(t.c.id == 1, t.c.id == "1", id="type of a value"),
        pytest.param(t.c.id == 1, t.c.name == 1, id="column"),
        pytest.param(t.c.id == sa.bindparam("x"), t.c.id == sa.bindparam("y"), id="name"),
        pytest.param(
            t.c.id == sa.bindparam("x", 1), t.c.id == sa.bindparam("x", 1, unique=True), id="unique"
        ),
        pytest.param(
            t.c.id == sa.bindparam("x", 1),
            t.c.id == sa.bindparam("x", 1, literal_execute=True),
            id="literal",
        ),
        pytest.param(
            t.c.id == sa.literal(1, sa.Numeric(10, 2)),
            t.c.id == sa.literal(1, sa.Numeric(10, 3)),
            id="scale",
        ),
        pytest.param(
            t.c.name == sa.literal("a", sa.Enum("a", "b", name="e")),
            t.c.name == sa.literal("a", sa.Enum("a", "c", name="e")),
            id="members of an enum",
        ),
        pytest.param(
            sa.or_(condition, condition),
            sa.or_(t.c.id == t.c.name, t.c.id == t.c.name),
            id="one part twice",
        ),
        pytest.param(sa.text("a"), sa.text("b"), id="text"),
    ],
)
def test_conditions_that_differ_differ_in_shape(left: Any, right: Any) -> None:
    assert not same(select(t).where(left), select(t).where(right))
    assert same(select(t).where(left), select(t).where(left))


u = new_table("u")
on = t.c.id == u.c.id
label = t.c.id.label("x")
other = t.c.id.label("y")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        pytest.param(select(t).join(u, on), select(t).join(u, on, isouter=True), id="outer"),
        pytest.param(select(t).join(u, on), select(t).join(u, on, full=True), id="full"),
        pytest.param(select(t).join(u, on), select(t).join(u), id="no condition"),
        pytest.param(
            select(t).select_from(t.join(u, on)),
            select(t).select_from(t.outerjoin(u, on)),
            id="join",
        ),
        pytest.param(
            select(t).select_from(t.outerjoin(u, on)),
            select(t).select_from(t.outerjoin(u, on, full=True)),
            id="full join",
        ),
        pytest.param(
            select(t).with_for_update(), select(t).with_for_update(nowait=True), id="nowait"
        ),
        pytest.param(
            select(t).with_for_update(read=True),
            select(t).with_for_update(skip_locked=True),
            id="skip locked",
        ),
        pytest.param(select(t), select(t).distinct(), id="distinct"),
        pytest.param(select(t).limit(1), select(t).offset(1), id="offset"),
        pytest.param(select(t.c.id.label("x")), select(t.c.id.label("y")), id="label"),
        pytest.param(
            select(t).order_by(t.c.id.asc()), select(t).order_by(t.c.id.desc()), id="desc"
        ),
        pytest.param(select(t).order_by("id"), select(t).order_by("name"), id="name"),
        pytest.param(select(t).order_by(t.c.id), select(t).group_by(t.c.id), id="group"),
        pytest.param(
            select(label).order_by(label), select(label).order_by(t.c.id.label("x")), id="one label"
        ),
        pytest.param(select(sa.func.max(t.c.id)), select(sa.func.min(t.c.id)), id="function"),
        pytest.param(select(sa.func.a(t.c.id)), select(sa.func.b(t.c.id)), id="function's name"),
        pytest.param(
            select(sa.func.a(1, type_=sa.Numeric(10, 2))),
            select(sa.func.a(1, type_=sa.Numeric(10, 3))),
            id="function's type",
        ),
        pytest.param(select(sa.literal_column("a")), select(sa.column("a")), id="literal column"),
        pytest.param(
            select(sa.column("a", sa.Integer)), select(sa.column("a", sa.String)), id="free type"
        ),
        pytest.param(select(t.c.id), select(t.c.id, t.c.name), id="columns"),
        pytest.param(select(t.alias("a")), select(t.alias("b")), id="alias"),
        pytest.param(select(t.alias("a")), select(t.alias()), id="alias's name"),
        pytest.param(select(t.alias()), select(u.alias()), id="alias's table"),
        pytest.param(
            select(t), select(t).set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL), id="labels"
        ),
        pytest.param(
            select(t).set_label_style(sa.LABEL_STYLE_NONE),
            select(t).set_label_style(sa.LABEL_STYLE_TABLENAME_PLUS_COL),
            id="styles of labels",
        ),
        pytest.param(select(t.c.name), select(u.c.name), id="column alike"),
        pytest.param(select(sa.null()), select(sa.true()), id="constant"),
        pytest.param(
            select(sa.func.a(sa.func.b(t.c.id), t.c.name)),
            select(sa.func.a(sa.func.b(t.c.id, t.c.name))),
            id="depth",
        ),
        pytest.param(
            select(label, other).order_by(label), select(label, other).order_by(other), id="which"
        ),
        pytest.param(
            select(sa.bindparam("x", 1, unique=True)),
            select(sa.bindparam("y", 1, unique=True)),
            id="made-up name",
        ),
        pytest.param(t.insert().values(id=1), t.insert().values(name=1), id="value"),
        pytest.param(t.insert(), t.insert().inline(), id="inline"),
        pytest.param(t.delete(), u.delete(), id="table"),
        pytest.param(t.delete(), t.delete().returning(t.c.id), id="returning"),
    ],
)
def test_statements_that_differ_differ_in_shape(left: Any, right: Any) -> None:
    assert not same(left, right)


def test_parameter_used_twice_is_one() -> None:
    copy = p._clone(maintain_key=True)

    assert not same(
        select(t).where(t.c.id == p, t.c.name == p),
        select(t).where(t.c.id == sa.literal(1), t.c.name == sa.literal(1)),
    )
    assert shape_of(select(t).where(t.c.id == p, t.c.name == copy)) is None


def test_types_made_anew_with_each_statement_share_a_plan(planner: Planner) -> None:
    def make() -> Any:
        return select(t).where(t.c.id == sa.literal(1, sa.Numeric(10, 2)))

    first = planned(planner, make())
    statement = make()

    assert planned(planner, statement) is first
    assert not has_key(statement)


class Mood(Enum):
    GLAD = 1


class Taste(Enum):
    SWEET = 1


def test_enums_of_one_name_keep_their_processors(planner: Planner) -> None:
    def make(members: type[Enum], value: Enum) -> Any:
        return select(t).where(t.c.name == sa.literal(value, sa.Enum(members, name="same")))

    for members, value in ((Mood, Mood.GLAD), (Taste, Taste.SWEET)) * 3:
        plan, binds, given = planner.plan(make(members, value), None)
        assert plan.values(given, binds, SYNTAX) == [value.name]


def test_type_that_a_foreign_key_sets_late_is_seen(planner: Planner) -> None:
    metadata = sa.MetaData()
    child = sa.Table("child", metadata, sa.Column("x", sa.ForeignKey("parent.x")))
    before = planned(planner, select(child.c.x))
    sa.Table("parent", metadata, sa.Column("x", sa.Boolean, primary_key=True))

    after = planned(planner, select(child.c.x))

    assert isinstance(child.c.x.type, sa.Boolean)
    assert after is not before


def test_table_defined_anew_has_plans_of_its_own(planner: Planner) -> None:
    narrow = planned(planner, select(new_table()))
    wide = planned(planner, select(new_table("t", sa.Column("more", sa.Integer))))

    assert "more" in wide.sql
    assert "more" not in narrow.sql


def test_table_that_is_gone_is_not_taken_for_another(planner: Planner) -> None:
    for number in range(300):
        table = new_table(f"t{number}")
        plans = [planned(planner, select(table).where(table.c.id == x)) for x in (1, 2)]
        del table
        if not number % 50:
            gc.collect()

        assert all(plan.sql.endswith(f"WHERE t{number}.id = %(id_1)s") for plan in plans)


def test_type_that_is_gone_is_not_taken_for_another(planner: Planner) -> None:
    for number in range(3000):
        values = [f"a{number}", f"b{number}"]
        statement = select(t).where(t.c.name == sa.literal(values[1], sa.Enum(*values)))
        shape = shape_of(statement)
        assert shape is not None
        if not number % 100:
            plan, binds, given = planner.plan(statement, None)
            assert plan.values(given, binds, SYNTAX) == [values[1]]


# -- what is kept ----------------------------------------------------------------------------------


def test_entries_that_were_used_last_are_kept() -> None:
    recent: Recent[int] = Recent(4)
    for number in range(100):
        recent.put(number, number)
        assert recent.get("always") in (None, -1)
        if number == 0:
            recent.put("always", -1)

        assert len(recent) <= 8
        assert all(recent.get(each) == each for each in range(max(0, number - 2), number + 1))

    assert recent.get("always") == -1
    assert recent.get(50) is None
