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
UPDATES = 1_000
GETS = 300
INSERTS = 5_000
TASKS = 32
POINTS_PER_TASK = 40
POOL_SIZE = 8
STORED = 100_000  # what the memory is measured with, and what is streamed

TABLE = "aiomysqlx_compare_rows"
INSERT_TABLE = "aiomysqlx_compare_inserts"
UPDATE_TABLE = "aiomysqlx_compare_updates"
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
UPDATE_COLUMNS = ("id", "n")

SELECT = f"SELECT {', '.join(COLUMNS)} FROM {TABLE} WHERE id"
SELECT_ALL = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"
UP_TO = f"{SELECT} <= %s"
BY_KEY = f"{SELECT} = %s"
INSERT = (
    f"INSERT INTO {INSERT_TABLE} ({', '.join(INSERT_COLUMNS)}) VALUES"
    f" ({', '.join(['%s'] * len(INSERT_COLUMNS))})"
)
FILL = f"INSERT INTO {TABLE} VALUES ({', '.join(['%s'] * len(COLUMNS))})"
INSERTED = f"SELECT COUNT(*), SUM(n), MAX(a), MAX(dt) FROM {INSERT_TABLE}"
UPDATE = f"UPDATE {UPDATE_TABLE} SET n = %s WHERE id = %s"
UPDATED = f"SELECT COUNT(*), SUM(n), MAX(n) FROM {UPDATE_TABLE}"
TRUNCATE = f"TRUNCATE TABLE {INSERT_TABLE}"
# What goes before each workload that writes, and how it is seen what it has written.
BEFORE = {
    "insert": TRUNCATE,
    "add_all": TRUNCATE,
    "updates": f"UPDATE {UPDATE_TABLE} SET n = 0",
}
WRITTEN = {"insert": INSERTED, "add_all": INSERTED, "updates": UPDATED}
DROP = (
    "SET sql_notes = 0",
    f"DROP TABLE IF EXISTS {TABLE}, {INSERT_TABLE}, {UPDATE_TABLE}",
)
CREATE = [
    f"CREATE TABLE {table} ({', '.join(f'{name} {TYPES[name]}' for name in columns)})"
    for table, columns in (
        (TABLE, COLUMNS),
        (INSERT_TABLE, INSERT_COLUMNS),
        (UPDATE_TABLE, UPDATE_COLUMNS),
    )
]
FILL_UPDATES = f"INSERT INTO {UPDATE_TABLE} SELECT id, 0 FROM {TABLE} WHERE id <= {UPDATES}"


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


def updates() -> list[dict[str, int]]:
    """Give the keys of the rows to update, and the numbers that they get."""
    return [{"wanted": key, "number": 7 * key} for key in range(1, UPDATES + 1)]


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
    "streamed": read(STORED),
    "updates": (UPDATES, 7 * UPDATES * (UPDATES + 1) // 2, 7 * UPDATES),
}
