"""What clients do with a connection, a server's or the one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from .tables import INSERT, POINT, SAMPLES


async def fetch(conn: Any, statement: Any, **parameters: Any) -> Sequence[Any]:
    """Give all rows of a select."""
    rows: Sequence[Any] = await (await conn.execute(statement, **parameters)).fetchall()
    return rows


async def fetch_often(conn: Any, statement: Any, times: int, **parameters: Any) -> None:
    """Fetch all rows of a select again and again."""
    for _ in range(times):
        await fetch(conn, statement, **parameters)


async def points_reused(conn: Any, times: int) -> None:
    """Select rows by primary key, with one statement object."""
    for index in range(times):
        await (await conn.execute(POINT, wanted=index + 1)).first()


async def points_anew(conn: Any, times: int) -> None:
    """Select rows by primary key, with a statement built for each."""
    for index in range(times):
        statement = select(SAMPLES).where(SAMPLES.c.id == index + 1)
        await (await conn.execute(statement)).first()


async def points_text(conn: Any, times: int) -> None:
    """Select rows by primary key, with SQL text."""
    for index in range(times):
        await (await conn.execute("SELECT * FROM samples WHERE id = %s", index + 1)).first()


async def select_in(conn: Any, size: int, times: int) -> None:
    """Select the rows of *size* primary keys, with a statement built for each time."""
    for first in range(times):
        ids = range(first, first + size)
        await (await conn.execute(select(SAMPLES).where(SAMPLES.c.id.in_(ids)))).first()


async def insert(conn: Any, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows with one call."""
    await conn.execute(INSERT, rows)


async def insert_often(conn: Any, rows: Sequence[dict[str, Any]], times: int) -> None:
    """Insert the same rows again and again, with one call each time."""
    for _ in range(times):
        await insert(conn, rows)


async def texts(conn: Any, parameters: int, times: int) -> None:
    """Execute a text with so many parameters."""
    text = f"DO {', '.join(['%s'] * parameters)}"
    values = tuple(range(parameters))
    for _ in range(times):
        await conn.execute(text, values)


async def distinct(conn: Any, statements: int, times: int) -> None:
    """Select rows with *statements* distinct statements in turns, each built for its execution."""
    for index in range(times):
        statement = select(SAMPLES).prefix_with(f"/* {index % statements} */")
        await (await conn.execute(statement.where(SAMPLES.c.id == index))).first()


async def insert_texts(conn: Any, text: str, times: int) -> None:
    """Insert rows one by one, each with the same text."""
    for _ in range(times):
        await conn.execute(INSERT, {"note": text})


async def transactions(conn: Any, times: int) -> None:
    """Begin, select a row by primary key, commit."""
    for index in range(times):
        async with conn.begin():
            await (await conn.execute(POINT, wanted=index + 1)).first()


async def acquire(engine: Any, times: int) -> None:
    """Take a connection out of the pool and give it back."""
    for _ in range(times):
        async with engine.acquire():
            pass


async def take(engine: Any, count: int) -> list[Any]:
    """Take *count* connections out of the pool and give them."""
    return [await engine.acquire() for _ in range(count)]


async def wait(engine: Any, count: int) -> None:
    """Let *count* tasks take a connection at the same time, one after the other."""

    async def work() -> None:
        async with engine.acquire():
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(count)))


async def tasks(engine: Any, count: int, times: int) -> None:
    """Let *count* tasks select rows, each *times* times with a connection of its own."""

    async def work() -> None:
        for index in range(times):
            async with engine.acquire() as conn:
                await (await conn.execute(POINT, wanted=index + 1)).first()

    await asyncio.gather(*(work() for _ in range(count)))
