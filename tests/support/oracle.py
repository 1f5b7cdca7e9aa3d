"""SQLAlchemy's own engine over PyMySQL, asked the same as ours: what both answer is right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy

import aiomysqlx

Answer = tuple[Any, ...]


class Oracle:
    """One database, asked through SQLAlchemy and through this package."""

    def __init__(self, sync: sqlalchemy.Engine, conn: aiomysqlx.SAConnection) -> None:
        self._sync = sync
        self.conn = conn

    def run(self, *scripts: str) -> None:
        """Execute texts, to make what the statements need."""
        with self._sync.begin() as connection:
            for sql in scripts:
                connection.exec_driver_sql(sql)

    def forget(self) -> None:
        """Have SQLAlchemy compile each statement anew: its own cache takes types for others."""
        self._sync = self._sync.execution_options(compiled_cache=None)

    def create(self, *tables: sqlalchemy.Table) -> None:
        """Create tables anew."""
        for table in tables:
            table.drop(self._sync, checkfirst=True)
            table.create(self._sync)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Give the rows of a text, as PyMySQL does."""
        with self._sync.begin() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(sql)]

    def theirs(self, statement: Any, *parameters: Any) -> Answer:
        """Give what SQLAlchemy answers: keys and rows, a number of rows, or that it refuses."""
        try:
            with self._sync.begin() as connection:
                result = connection.execute(statement, *parameters)
                if result.returns_rows:
                    return _given(result.keys(), result.fetchall())
                return ("wrote", result.rowcount)
        except Exception:
            return ("refused",)

    async def ours(self, statement: Any, *parameters: Any) -> Answer:
        """Give what this package answers, in the same form."""
        try:
            result = await self.conn.execute(statement, *parameters)
        except Exception:
            return ("refused",)
        if result.returns_rows:
            return _given(result.keys(), await result.fetchall())
        return ("wrote", result.rowcount)


def _given(keys: Any, rows: Sequence[Any]) -> Answer:
    """Give keys and rows, each value with its type: 1 is not True."""
    return tuple(keys), [tuple((type(value), value) for value in tuple(row[:])) for row in rows]
