"""The data of the comparison: tables, rows, keys, and what each workload has to find.

Needs only the standard library; every contender works on the same.
"""

from __future__ import annotations

import datetime
import decimal

ROWS = 10_000
POINTS = 1_000
LISTS = 200
LIST_LENGTH = 100
TRANSACTIONS = 300
GETS = 300
INSERTS = 5_000
TASKS = 32
POINTS_PER_TASK = 40
POOL_SIZE = 8
STORED = 100_000  # what the memory is measured with

TABLE = "aiomysqlx_compare_rows"
INSERT_TABLE = "aiomysqlx_compare_inserts"
TYPES = {
    "id": "INTEGER PRIMARY KEY",
    "a": "VARCHAR(50)",
    "b": "VARCHAR(50)",
    "n": "INTEGER",
    "d": "NUMERIC(12, 4)",
    "f": "DOUBLE",
    "dt": "DATETIME",
    "da": "DATE",
    "bo": "BOOL",
    "nt": "VARCHAR(100)",
}
COLUMNS = tuple(TYPES)
INSERT_COLUMNS = ("id", "a", "n", "d", "dt")

SELECT = f"SELECT {', '.join(COLUMNS)} FROM {TABLE} WHERE id"
UP_TO = f"{SELECT} <= %s"
BY_KEY = f"{SELECT} = %s"
INSERT = (
    f"INSERT INTO {INSERT_TABLE} ({', '.join(INSERT_COLUMNS)}) VALUES"
    f" ({', '.join(['%s'] * len(INSERT_COLUMNS))})"
)
FILL = f"INSERT INTO {TABLE} VALUES ({', '.join(['%s'] * len(COLUMNS))})"
INSERTED = f"SELECT COUNT(*), SUM(n), MAX(a), MAX(dt) FROM {INSERT_TABLE}"
TRUNCATE = f"TRUNCATE TABLE {INSERT_TABLE}"
DROP = ("SET sql_notes = 0", f"DROP TABLE IF EXISTS {TABLE}, {INSERT_TABLE}")
CREATE = [
    f"CREATE TABLE {table} ({', '.join(f'{name} {TYPES[name]}' for name in columns)})"
    for table, columns in ((TABLE, COLUMNS), (INSERT_TABLE, INSERT_COLUMNS))
]


def sample(index: int) -> dict[str, object]:
    """Give a row of mixed columns; its id is *index* + 1."""
    return {
        "id": index + 1,
        "a": f"name {index}",
        "b": "x" * 20,
        "n": index * 7,
        "d": decimal.Decimal("123.4567") + index,
        "f": index * 1.1,
        "dt": datetime.datetime(2020, 1, 2, 3, 4, index % 60),
        "da": datetime.date(2020, 1, 1 + index % 28),
        "bo": index % 2 == 0,
        "nt": None if index % 3 else f"text {index}",
    }


def inserts() -> list[dict[str, object]]:
    """Give the rows to insert."""
    rows = [sample(index) for index in range(INSERTS)]
    return [{name: row[name] for name in INSERT_COLUMNS} for row in rows]


def key_lists() -> list[list[int]]:
    """Give the keys of each `IN`: one that exists, last, and others that do not."""
    return [
        [*range(STORED + count, STORED + count + LIST_LENGTH - 1), count]
        for count in range(1, LISTS + 1)
    ]


def read(count: int) -> tuple[int, tuple[object, ...]]:
    """Give what reading the first *count* rows gives: the sum of the ids, and the last row."""
    return count * (count + 1) // 2, tuple(sample(count - 1).values())


STORED_INSERTS = (
    INSERTS,
    7 * INSERTS * (INSERTS - 1) // 2,
    max(f"name {index}" for index in range(INSERTS)),
    datetime.datetime(2020, 1, 2, 3, 4, 59),
)
EXPECTED: dict[str, tuple[object, ...]] = {
    "rows": read(ROWS),
    "reused": read(POINTS),
    "anew": read(POINTS),
    "in_lists": read(LISTS),
    "in_reused": read(LISTS),
    "transactions": read(TRANSACTIONS),
    "insert": STORED_INSERTS,
    "get": read(GETS),
    "orm": read(ROWS),
    "add_all": STORED_INSERTS,
    "borrowed": read(POINTS),
    "pool": (TASKS * read(POINTS_PER_TASK)[0],),
    "memory": read(STORED),
}
