"""The tables, statements and values of the benchmarks.

Only ever added to: what is changed here cannot be compared with earlier figures.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    bindparam,
    select,
)

_metadata = MetaData()

# The columns are those of `recorded.MIXED`.
SAMPLES = Table(
    "samples",
    _metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", String(50)),
    Column("code", String(50)),
    Column("number", Integer),
    Column("price", Numeric(12, 4)),
    Column("ratio", Double),
    Column("made", DateTime),
    Column("day", Date),
    Column("done", Boolean),
    Column("note", String(100)),
)

INSERTED = Table(
    "inserted",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50)),
    Column("number", Integer),
    Column("price", Numeric(12, 4)),
    Column("made", DateTime),
    Column("note", Text),
)

EVERYTHING = select(SAMPLES)
POINT = EVERYTHING.where(SAMPLES.c.id == bindparam("wanted"))
INSERT = INSERTED.insert()

DIGIT = "(SELECT 0 AS d" + "".join(f" UNION ALL SELECT {digit}" for digit in range(1, 10)) + ")"

# Gives the rows of `samples` from %s to %s.
FILL = f"""
INSERT INTO samples
SELECT n, CONCAT('name ', n), REPEAT('x', 20), n * 7, 123.4567 + n, n * 1.1e0,
    TIMESTAMP('2020-01-02 03:04:00') + INTERVAL n %% 60 SECOND,
    DATE('2020-01-01') + INTERVAL n %% 28 DAY, n %% 2, IF(n %% 3, NULL, CONCAT('text ', n))
FROM (
    SELECT 1 + a.d + 10 * b.d + 100 * c.d + 1000 * e.d + 10000 * f.d AS n
    FROM {DIGIT} a, {DIGIT} b, {DIGIT} c, {DIGIT} e, {DIGIT} f
) numbers
WHERE n BETWEEN %s AND %s
"""

VALUES: dict[str, Callable[[int], Any]] = {
    "None": lambda _: None,
    "bool": lambda index: index % 2 == 0,
    "int": lambda index: index * 7,
    "float": lambda index: index * 1.1,
    "Decimal": lambda index: decimal.Decimal("123.4567") + index,
    "str": lambda index: f"name {index}",
    "quoted str": lambda index: f'it\'s "{index}"\n',
    "long str": lambda _: "x" * 1000,
    "unicode str": lambda index: f"naïve 名前 {index}",
    "bytes": lambda index: index.to_bytes(16, "big"),
    "datetime": lambda index: datetime.datetime(2020, 1, 2, 3, 4, index % 60),
    "date": lambda index: datetime.date(2020, 1, 1 + index % 28),
    "time": lambda index: datetime.time(index % 24, index % 60, 5),
    "timedelta": lambda index: datetime.timedelta(seconds=index),
}
"""Makers of values to escape, by the name of their type."""


def to_insert(count: int) -> list[dict[str, Any]]:
    """Give *count* rows of five values for `INSERTED`."""
    return [
        {
            "name": f"name {index}",
            "number": index * 7,
            "price": decimal.Decimal("123.4567") + index,
            "made": datetime.datetime(2020, 1, 2, 3, 4, index % 60),
            "note": None if index % 3 else f"text {index}",
        }
        for index in range(count)
    ]
