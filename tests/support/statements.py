"""Statements of Core at random: what code is mostly made of, and what it seldom has."""

from __future__ import annotations

import enum
import operator
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql


class Mood(enum.Enum):
    """Members of a type that two tables have under one name."""

    GLAD = 1
    SAD = 2


class Taste(enum.Enum):
    """What a key of SQLAlchemy's does not tell from `Mood`."""

    SWEET = 1
    SOUR = 2


class Padded(sa.TypeDecorator[str]):
    """A user's type."""

    impl = sa.String
    cache_ok = True


class Loose(sa.TypeDecorator[str]):
    """A user's type that has no key."""

    impl = sa.String
    cache_ok = False


def tables(schema: str | None = None) -> list[sa.Table]:
    """Return new tables, one of which refers to another."""
    metadata = sa.MetaData(schema=schema)
    first = sa.Table(
        "first",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20)),
        sa.Column("qty", sa.BigInteger, default=3, onupdate=4),
        sa.Column("price", sa.Numeric(10, 2), key="cost"),
        sa.Column("mood", sa.Enum(Mood, name="kind")),
        sa.Column("at", sa.DateTime),
        sa.Column("pad", Padded(10)),
        sa.Column("tags", mysql.SET("a", "b")),
    )
    second = sa.Table(
        "second",
        metadata,
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("first_id", sa.ForeignKey(first.c.id)),
        sa.Column("name", sa.Text),
        sa.Column("mood", sa.Enum(Taste, name="kind")),
        sa.Column("loose", Loose(10)),
    )
    return [first, second]


_COMPARISONS = (operator.eq, operator.ne, operator.gt, operator.le)

# What SQLAlchemy says to parts that do not fit, or are not there in all of its versions.
_REFUSED = (AssertionError, AttributeError, NotImplementedError, sa.exc.SQLAlchemyError)


class Draws(random.Random):
    """Random numbers that can be drawn again, with another in the place of one."""

    _drawn = _other = 0

    def again(self, state: Any, other: int = 0) -> None:
        """Go back to a *state*; the draw of the number *other* from there is to be another."""
        self.setstate(state)
        self._drawn, self._other = 0, other

    @property
    def drawn(self) -> int:
        """How many numbers were drawn since then."""
        return self._drawn

    def random(self) -> float:
        """Return a number from 0 to 1."""
        number = super().random()
        return super().random() if self._is_other() else number

    def getrandbits(self, k: int, /) -> int:
        """Return a number of *k* bits."""
        number = super().getrandbits(k)
        return super().getrandbits(k) if self._is_other() else number

    def _is_other(self) -> bool:
        self._drawn += 1
        return self._drawn == self._other


class Maker:
    """Makes statements over a few tables, each anew."""

    def __init__(self, seed: int) -> None:
        self._random = Draws(seed)
        self._others = random.Random(seed)
        self._tables = [tables(), tables(), tables("other")]
        self._reused: list[Any] = []

    def statements(self, number: int) -> Iterator[Any]:
        """Make some statements, each followed by four that differ from it in a choice at most."""
        for _ in range(number // 5):
            reused, state = self._reused, self._random.getstate()
            self._random.again(state)
            yield self.statement()
            drawn, following = self._random.drawn, self._random.getstate()
            for _ in range(4):
                self._reused = reused
                self._random.again(state, self._others.randint(1, drawn))
                yield self.statement()
            self._random.again(following)

    def statement(self) -> Any:
        """Return a new statement."""
        while True:
            try:
                return self._statement()
            except _REFUSED:
                continue

    def _statement(self) -> Any:
        pick = self._random.random()
        self._first, self._second = self._random.choice(self._tables)
        if pick < 0.7:
            return self._odd(self._select())
        if pick < 0.82:
            return self._odd(self._insert())
        if pick < 0.92:
            return self._odd(self._update())
        return self._odd(self._where(sa.delete(self._first)))

    def _odds(self, share: float) -> bool:
        return self._random.random() < share

    def _one_of(self, *makers: Callable[[], Any]) -> Any:
        return self._random.choice(makers)()

    # -- statements ------------------------------------------------------------------------------

    def _select(self) -> Any:
        first, second = self._first, self._second
        source: Any = first
        if self._odds(0.15):
            source = first.alias(self._random.choice([None, "a", "b"]))
        c = source.c
        columns = self._one_of(
            lambda: [source],
            lambda: [c.id],
            lambda: [c.id, c.name],
            lambda: [c.id, self._column(source).label(self._random.choice(["x", "y", "id"]))],
            lambda: [sa.func.count()],
            lambda: [sa.func.count(), self._function(source)],
            lambda: [self._expression(source)],
            lambda: [source, second],
            lambda: [sa.literal(self._value()), c.id],
            lambda: [c.id, first.alias().c.id],
        )
        made = sa.select(*columns)
        if self._odds(0.25):
            made = self._join(made, source)
        made = self._where(made, source)
        if self._odds(0.3):
            made = made.order_by(*[self._order(source) for _ in range(self._random.randint(1, 2))])
        if self._odds(0.3):
            made = made.limit(self._random.randint(1, 9))
        if self._odds(0.2):
            made = made.offset(self._random.randint(1, 9))
        if self._odds(0.1):
            made = made.group_by(self._column(source), "id")
            if self._odds(0.5):
                made = made.having(sa.func.count() > self._random.randint(1, 3))
        if self._odds(0.1):
            made = made.distinct()
        if self._odds(0.1):
            made = made.with_for_update(
                **self._random.choice([{}, {"nowait": True}, {"read": True}, {"of": first}]),
                skip_locked=self._odds(0.5),
            )
        if self._odds(0.1):
            made = made.set_label_style(
                self._random.choice([sa.LABEL_STYLE_TABLENAME_PLUS_COL, sa.LABEL_STYLE_NONE])
            )
        if self._odds(0.2):  # in another order: after what comes later in the SQL
            made = self._where(made, source)
        return made

    def _join(self, made: Any, source: Any) -> Any:
        second = self._second
        on = source.c.id == second.c.first_id
        return self._one_of(
            lambda: made.select_from(source.join(second, on)),
            lambda: made.select_from(
                source.join(second, on, isouter=self._odds(0.5), full=self._odds(0.5))
            ),
            lambda: made.join(second, on, isouter=self._odds(0.5), full=self._odds(0.5)),
            lambda: made.join(second),
            lambda: made.join_from(source, second, on),
            lambda: made.join(second, sa.and_(on, second.c.name == "n")),
            lambda: made.join(second.alias(), sa.true()),
        )

    def _insert(self) -> Any:
        first = self._first
        make = self._random.choice([sa.insert, sa.insert, mysql.insert])
        made = make(first)
        made = self._one_of(
            lambda: made,
            lambda: made.values(name=self._word()),
            lambda: made.values(name=self._word(), qty=self._random.randint(1, 9)),
            lambda: made.values({first.c.qty: 3, first.c.mood: self._random.choice(list(Mood))}),
            lambda: made.values({"qty": first.c.id + self._random.randint(1, 9)}),
            lambda: made.values({"cost": Decimal("1.5"), first.c.name: None}),
            lambda: made.values(name=sa.bindparam(self._random.choice(["n", "m"]))),
            lambda: made.values([{"name": "a"}, {"name": "b"}]),
            lambda: made.from_select(["id"], sa.select(self._second.c.id)),
            lambda: made.values(name=sa.func.upper(self._word())),
        )
        if make is mysql.insert and self._odds(0.6) and made.select is None:
            made = self._one_of(
                lambda: made.on_duplicate_key_update(name=self._word()),
                lambda: made.on_duplicate_key_update(name=made.inserted.name, qty=4),
                lambda: made.on_duplicate_key_update([("qty", 4), ("name", self._word())]),
            )
        if self._odds(0.1):
            made = made.inline()
        if self._odds(0.1):
            made = made.returning(first.c.id)
        return made

    def _update(self) -> Any:
        first = self._first
        made = self._where(sa.update(first))
        made = self._one_of(
            lambda: made.values(name=self._word()),
            lambda: made.values({first.c.qty: first.c.qty + self._random.randint(1, 9)}),
            lambda: made.values(name=self._word(), mood=Mood.SAD),
            lambda: made.ordered_values((first.c.qty, 3), (first.c.name, self._word())),
            lambda: made,
            lambda: made.values(name=sa.bindparam("new")),
        )
        return self._where(made) if self._odds(0.2) else made

    def _odd(self, made: Any) -> Any:
        """Return the statement with something that few have."""
        if self._odds(0.8):
            return made
        first = self._first
        return self._one_of(
            lambda: made.prefix_with("SQL_NO_CACHE") if hasattr(made, "prefix_with") else made,
            lambda: made.suffix_with("x") if hasattr(made, "suffix_with") else made,
            lambda: made.with_hint(first, "USE INDEX (x)") if hasattr(made, "with_hint") else made,
            lambda: made.execution_options(timeout=self._random.randint(1, 9)),
            lambda: made.execution_options(schema_translate_map={None: "x"}),
            lambda: made.params(x=self._random.randint(1, 9)),
            lambda: made.add_cte(sa.select(first.c.id).cte("c")),
            lambda: made.correlate(first) if hasattr(made, "correlate") else made,
            lambda: made.subquery().select() if hasattr(made, "subquery") else made,
            lambda: sa.union(made, made) if hasattr(made, "union") else made,
            lambda: made._annotate({"x": 1}) if hasattr(made, "_annotate") else made,
        )

    # -- conditions ------------------------------------------------------------------------------

    def _where(self, made: Any, source: Any = None) -> Any:
        for _ in range(self._random.choice([0, 1, 1, 1, 2])):
            made = made.where(self._condition(self._first if source is None else source))
        return made

    def _condition(self, source: Any, depth: int = 0) -> Any:
        if self._reused and self._odds(0.05):  # one object in several statements, or in one
            return self._random.choice(self._reused)
        condition = self._nested(source, depth) if depth < 2 and self._odds(0.25) else None
        if condition is None:
            condition = self._comparison(source)
        if self._odds(0.03):
            self._reused = [*self._reused[-4:], condition]
        return condition

    def _nested(self, source: Any, depth: int) -> Any:
        parts = [self._condition(source, depth + 1) for _ in range(self._random.randint(2, 3))]
        if self._odds(0.1):
            parts.append(parts[0])
        return self._one_of(
            lambda: sa.or_(*parts),
            lambda: sa.and_(*parts),
            lambda: sa.not_(sa.or_(*parts)),
            lambda: ~parts[0],
        )

    def _comparison(self, source: Any) -> Any:
        c, value = source.c, self._random.randint(0, 9)
        column = self._column(source)
        other = self._column(self._random.choice([source, self._second]))
        return self._one_of(
            lambda: c.id == value,
            lambda: c.id == value,
            lambda: self._random.choice(_COMPARISONS)(c.qty, value),
            lambda: self._random.choice(_COMPARISONS)(column, None),
            lambda: self._random.choice(_COMPARISONS)(c.name, self._value()),
            lambda: c.name == self._word(),
            lambda: c.mood == self._random.choice(list(Mood)),
            lambda: self._second.c.mood == self._random.choice(list(Taste)),
            lambda: c.cost >= self._random.choice([value, Decimal(value), 1.5]),
            lambda: c.at < self._random.choice([datetime(2020, 1, 1), date(2020, 1, 1)]),
            lambda: c.pad == self._word(),
            lambda: c.id.in_([value] * self._random.randint(0, 3)),
            lambda: c.id.not_in([value]),
            lambda: c.id.in_(sa.bindparam("x", expanding=True)),
            lambda: c.id.in_([other, value]),
            lambda: c.id.in_(sa.select(self._second.c.id)),
            lambda: sa.tuple_(c.id, c.name).in_([(1, "a")]),
            lambda: column == other,
            lambda: c.id == sa.bindparam(self._random.choice(["x", "y"])),
            lambda: c.id == sa.bindparam("x", value, unique=self._odds(0.5)),
            lambda: c.id == sa.bindparam("x", value, literal_execute=self._odds(0.5)),
            lambda: c.id == sa.bindparam(self._random.choice(["x", "y"]), value, unique=True),
            lambda: c.id == sa.bindparam("x", type_=sa.Numeric(10, self._random.randint(1, 3))),
            lambda: c.id == sa.bindparam(None, value),
            lambda: c.qty.between(value, value + 1),
            lambda: c.qty.between(value, value + 1, symmetric=self._odds(0.5)),
            lambda: c.name.like(self._word(), escape=self._random.choice([None, "/", "+"])),
            lambda: c.name.ilike(self._word()),
            lambda: c.name.startswith(self._word(), autoescape=self._odds(0.5)),
            lambda: c.name.contains(self._word()),
            lambda: c.name.regexp_match(self._word()),
            lambda: c.name.op(self._random.choice(["RLIKE", "REGEXP"]))(self._word()),
            lambda: c.name.collate("utf8mb4_bin") == self._word(),
            lambda: (c.id + value) * 2 == c.qty,
            lambda: -c.id < value,
            lambda: c.id == sa.literal(value, sa.Numeric(10, self._random.randint(1, 3))),
            lambda: c.mood == sa.literal("x", sa.Enum("x", self._random.choice(["y", "z"]))),
            lambda: c.id == self._function(source),
            lambda: c.name == sa.cast(c.id, sa.String(self._random.randint(3, 5))),
            lambda: sa.case((c.id == value, "x"), else_="y") == "x",
            lambda: sa.text("1 = 1"),
            lambda: sa.text("first.id = :x").bindparams(x=value),
            lambda: sa.exists().where(self._second.c.first_id == c.id),
            lambda: sa.true(),
            lambda: c.tags == {"a"},
            lambda: self._second.c.loose == self._word(),
            lambda: c.id == sa.literal_column(self._random.choice(["1", "2"])),
            lambda: c.id == value,
        )

    def _function(self, source: Any) -> Any:
        column, word = self._column(source), self._word()
        return self._one_of(
            lambda: sa.func.count(column),
            lambda: sa.func.count(sa.distinct(column)),
            lambda: sa.func.max(column),
            lambda: sa.func.sum(column),
            lambda: sa.func.coalesce(column, word),
            lambda: sa.func.now(),
            lambda: sa.func.lower(column),
            lambda: sa.func.concat(column, word),
            lambda: sa.func.abs(self._random.randint(1, 9), type_=sa.Numeric(10, 2)),
            lambda: sa.func.pack.age(column),
            lambda: sa.func.row_number().over(order_by=column),
        )

    def _expression(self, source: Any) -> Any:
        column = self._column(source)
        return self._one_of(
            lambda: source.c.id + self._random.randint(1, 9),
            lambda: column.label(None),
            lambda: (source.c.id + source.c.qty).label("sum"),
            lambda: sa.literal(self._value()).label("x"),
            lambda: sa.null().label("x"),
            lambda: sa.type_coerce(column, sa.String(5)),
            lambda: sa.column(self._random.choice(["p", "q"])),
            lambda: sa.select(sa.func.count()).select_from(self._second).scalar_subquery(),
            lambda: sa.extract("year", source.c.at),
        )

    def _order(self, source: Any) -> Any:
        column = self._column(source)
        return self._one_of(
            lambda: column,
            lambda: column.desc(),
            lambda: column.asc().nulls_last(),
            lambda: self._random.choice(["id", "x"]),
            lambda: sa.text(self._random.choice(["1", "2"])),
            lambda: column.label("x"),
            lambda: sa.func.rand(),
            lambda: sa.desc("id"),
        )

    def _column(self, source: Any) -> Any:
        return self._random.choice(list(source.c))

    def _word(self) -> str:
        return self._random.choice(["a", "b", "ä"])

    def _value(self) -> Any:
        values = [1, "a", "ä", None, 1.5, Decimal(1), b"x", True, date(2020, 1, 1), Mood.SAD]
        return self._random.choice(values)
