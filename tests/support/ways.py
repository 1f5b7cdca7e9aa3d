"""The ways in which a statement travels, and what is seen of its answer: the same by each of them.

A way is the options of its connection, and how a statement is executed there. A script is executed
by each way in turn, in a database of its own, and what it has seen is compared with what it has
seen as text.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import sqlalchemy

import aiomysqlx as sa

Outcome = tuple[Any, ...]
Execute = Callable[..., Awaitable[Any]]
# In a transaction, autocommit, NO_BACKSLASH_ESCAPES, in one that is READ ONLY. An error leaves the
# rest of the status as the latest command had it, which may be one of this package's own.
_STATUS = 1 | 2 | 512 | 8192
DATABASES = ("aiomysqlx_way", "aiomysqlx_other_way")


async def executed(conn: sa.SAConnection, statement: Any, *parameters: Any) -> Any:
    """Execute a statement as it is."""
    return await conn.execute(statement, *parameters)


# A new way is a line here.
WAYS: dict[str, tuple[dict[str, Any], Execute]] = {
    "text": ({"prepare_threshold": None}, executed),
    "prepared": ({"prepare_threshold": 0, "prepared_max": 5}, executed),
}


class Traveller:
    """One way to execute statements, and all that was seen of their answers."""

    def __init__(self, conn: sa.SAConnection, execute: Execute) -> None:
        self.conn = conn
        self.seen: list[Outcome] = []
        self._execute = execute

    async def __call__(self, statement: Any, *parameters: Any) -> Outcome:
        """Execute a statement; what is seen of its answer is compared."""
        if isinstance(statement, str):
            statement = sqlalchemy.text(statement)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", sa.ServerWarning)
            try:
                result = await self._execute(self.conn, statement, *parameters)
                outcome = await _seen(result)
            except Exception as error:
                outcome = ("refused", type(error), re.sub("0x[0-9a-f]+", "…", str(error)))
        raw = self.conn.connection
        assert raw is not None
        status = raw.server_status & _STATUS
        outcome += ([str(one.message) for one in told], raw.in_transaction, status)
        self.seen.append(outcome)
        return outcome

    async def count(self, name: str) -> int:
        """Return a status variable of the session."""
        row = await (await self.conn.execute(f"SHOW SESSION STATUS LIKE '{name}'")).first()
        return int(row[1])


async def _seen(result: Any) -> Outcome:
    if not result.returns_rows:
        key = getattr(result, "is_insert", False) and result.inserted_primary_key
        return ("wrote", result.rowcount, result.lastrowid, key)
    keys, rows = result.keys(), await result.fetchall()
    values = [[(type(value), value) for value in row.as_tuple()] for row in rows]
    return ("rows", list(keys), [[shown(*each) for each in row] for row in values], result.rowcount)


def _in_order(outcome: Any) -> list[Any]:
    if outcome[0] != "rows":
        return list(outcome)
    kind, keys, rows, *others = outcome
    return [kind, keys, sorted(rows, key=repr), *others]


def shown(kind: type, value: Any) -> tuple[type, Any]:
    """Return a value as it is compared: floats and decimals to the last digit."""
    return kind, repr(value) if kind is not bytes else value


Script = Callable[[Traveller], Awaitable[None]]


async def compare(
    connect_kwargs: dict[str, Any], script: Script, in_any_order: bool = False
) -> dict[str, Traveller]:
    """Execute a script by each way, and compare what it has seen.

    With *in_any_order* the rows of a result may come in another order.
    """
    told = _in_order if in_any_order else list
    travellers = {}
    for name, (options, execute) in WAYS.items():
        arguments = {**connect_kwargs, **options, "db": None, "autocommit": True, "maxsize": 1}
        async with sa.create_engine(**arguments) as engine, engine.acquire() as conn:
            for database in DATABASES:
                drop = sqlalchemy.text(f"DROP DATABASE IF EXISTS {database}")
                await conn.execute(drop.execution_options(warnings=False))
                await conn.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
            await conn.execute(f"USE {DATABASES[0]}")
            traveller = travellers[name] = Traveller(conn, execute)
            try:
                await script(traveller)
                if name == "prepared":
                    assert await traveller.count("Com_stmt_execute") > 0, "nothing was prepared"
            finally:
                await conn.execute("ROLLBACK")
                for database in DATABASES:
                    await conn.execute(f"DROP DATABASE {database}")
    expected = travellers["text"].seen
    for name, traveller in travellers.items():
        for number, (seen, as_text) in enumerate(zip(traveller.seen, expected, strict=True)):
            assert told(seen) == told(as_text), f"{name}, statement {number}"
    return travellers
