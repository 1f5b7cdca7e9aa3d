"""The workloads, the same for every contender: base classes that `contenders` fills in.

What a workload found goes to its caller, who sees whether it is what the samples say.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from samples import (
    COLUMNS,
    INSERT_COLUMNS,
    INSERT_TABLE,
    POINTS,
    POINTS_PER_TASK,
    ROWS,
    TABLE,
    TASKS,
    TRANSACTIONS,
    UPDATE_COLUMNS,
    UPDATE_TABLE,
    inserts,
    key_lists,
    updates,
)

Evidence = tuple[object, ...]


class Contender(ABC):
    """One library with one connection for itself, and a pool."""

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        self.options = options
        self.marks: list[float] = []  # the times before and after each statement of `reused()`
        self.key_lists = key_lists()

    @abstractmethod
    async def open(self, url: str) -> None:
        """Connect."""

    @abstractmethod
    async def close(self) -> None:
        """Close every connection."""

    @abstractmethod
    async def sql(self, text: str) -> list[Evidence]:
        """Execute a statement that is a string and give its rows, for what is not measured."""

    @abstractmethod
    async def fetch(self, count: int) -> list[Any]:
        """Give the first *count* rows, fetched at once."""

    @abstractmethod
    async def point(self, key: int) -> Any:
        """Give the row with this key, by a statement made before."""

    @abstractmethod
    async def transaction(self, key: int) -> Any:
        """Begin a transaction, get the row with this key, and commit."""

    @abstractmethod
    async def pooled_point(self, key: int) -> Any:
        """Give the row with this key, on a connection taken out of the pool for it."""

    @abstractmethod
    async def insert(self) -> None:
        """Insert the rows of `inserts()`."""

    @abstractmethod
    async def updates(self) -> None:
        """Update the rows of `updates()` by one call, in a transaction."""

    @abstractmethod
    def read_ids(self, rows: Iterable[Any]) -> int:
        """Read the id of each row, and give their sum."""

    @abstractmethod
    def values(self, row: Any) -> Evidence:
        """Give all the values of a row."""

    def evidence(self, rows: list[Any]) -> Evidence:
        return self.read_ids(rows), self.values(rows[-1])

    async def rows(self) -> Evidence:
        return self.evidence(await self.fetch(ROWS))

    async def reused(self) -> Evidence:
        found = []
        marks = [time.perf_counter()]
        for key in range(1, POINTS + 1):
            found.append(await self.point(key))
            marks.append(time.perf_counter())
        self.marks = marks
        return self.evidence(found)

    async def transactions(self) -> Evidence:
        return self.evidence([await self.transaction(key) for key in range(1, TRANSACTIONS + 1)])

    async def borrowed(self) -> Evidence:
        return self.evidence([await self.pooled_point(key) for key in range(1, POINTS + 1)])

    async def pool(self) -> Evidence:
        return (sum(await asyncio.gather(*[self.task() for _ in range(TASKS)])),)

    async def task(self) -> int:
        keys = range(1, POINTS_PER_TASK + 1)
        return self.read_ids([await self.pooled_point(key) for key in keys])


class Core(Contender):
    """A contender that executes statements of SQLAlchemy Core."""

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        super().__init__(module, options)
        sa = import_module("sqlalchemy")
        types = {
            "id": sa.Integer,
            "a": sa.String(50),
            "b": sa.String(50),
            "n": sa.Integer,
            "d": sa.Numeric(12, 4),
            "f": sa.Double() if hasattr(sa, "Double") else sa.Float(53),  # 1.3 has no Double
            "dt": sa.DateTime,
            "da": sa.Date,
            "bo": sa.Boolean,
            "nt": sa.String(100),
        }

        def table(name: str, columns: Iterable[str]) -> Any:
            made = [sa.Column(key, types[key], primary_key=key == "id") for key in columns]
            return sa.Table(name, sa.MetaData(), *made)

        self.table = table(TABLE, COLUMNS)
        self.insert_table = table(INSERT_TABLE, INSERT_COLUMNS)
        # `table.select()` is the one way to write it that SQLAlchemy 1.3 and 2.x share.
        self.up_to = self.table.select().where(self.table.c.id <= sa.bindparam("wanted"))
        self.by_key = self.table.select().where(self.table.c.id == sa.bindparam("wanted"))
        self.in_one = self.table.select().where(
            self.table.c.id.in_(sa.bindparam("wanted", expanding=True))
        )
        self.rows_to_insert = inserts()
        to_update = table(UPDATE_TABLE, UPDATE_COLUMNS)
        self.update = (
            to_update.update()
            .where(to_update.c.id == sa.bindparam("wanted"))
            .values(n=sa.bindparam("number"))
        )
        self.rows_to_update = updates()
        self.whole = self.table.select()

    @abstractmethod
    async def first(self, statement: Any, *parameters: Any) -> Any:
        """Execute a statement and give its first row."""

    async def anew(self) -> Evidence:
        table = self.table
        found = [
            await self.first(table.select().where(table.c.id == key))
            for key in range(1, POINTS + 1)
        ]
        return self.evidence(found)

    async def in_lists(self) -> Evidence:
        table = self.table
        found = [
            await self.first(table.select().where(table.c.id.in_(keys))) for keys in self.key_lists
        ]
        return self.evidence(found)

    async def in_reused(self) -> Evidence:
        found = [await self.first(self.in_one, {"wanted": keys}) for keys in self.key_lists]
        return self.evidence(found)

    def read_ids(self, rows: Iterable[Any]) -> int:
        total = 0
        for row in rows:
            total += row.id
        return total

    def values(self, row: Any) -> Evidence:
        return tuple([getattr(row, name) for name in COLUMNS])
