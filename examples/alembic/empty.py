"""End in an error if a database has tables: Alembic drops what no model has."""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import Connection, inspect
from sqlalchemy.ext.asyncio import create_async_engine


def tables(connection: Connection) -> list[str]:
    names = inspect(connection).get_table_names()
    return [name for name in names if name != "alembic_version"]  # of an earlier run


async def main(url: str) -> None:
    engine = create_async_engine(url)
    async with engine.connect() as conn:
        found = await conn.run_sync(tables)
    await engine.dispose()
    if found:
        sys.exit(
            f"the database has tables that would be dropped, as {found[0]!r}: use an empty one"
        )


asyncio.run(main(sys.argv[1]))
