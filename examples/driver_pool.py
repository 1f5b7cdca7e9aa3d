"""The driver alone, as aiomysql has it: a pool, cursors and SQL as text.

    python examples/driver_pool.py

Where it says `aiomysqlx`, the program was written with `aiomysql`.
"""

import asyncio
import os
from typing import Any

from sqlalchemy import make_url

import aiomysqlx

URL = make_url(os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test"))


async def add(pool: aiomysqlx.Pool, names: list[str]) -> int:
    async with pool.acquire() as conn:
        async with conn.cursor() as cursor:
            rows = [(name, len(name)) for name in names]
            await cursor.executemany("INSERT INTO driver_names (name, size) VALUES (%s, %s)", rows)
        await conn.commit()  # or the release rolls it back
        count: int = cursor.rowcount
        return count


async def longest(pool: aiomysqlx.Pool, most: int) -> list[dict[str, Any]]:
    async with pool.acquire() as conn, conn.cursor(aiomysqlx.DictCursor) as cursor:
        await cursor.execute("SELECT * FROM driver_names ORDER BY size DESC LIMIT %s", (most,))
        return list(await cursor.fetchall())


async def main() -> None:
    async with aiomysqlx.create_pool(
        host=URL.host or "localhost",
        port=URL.port or 3306,
        user=URL.username,
        password=URL.password or "",
        db=URL.database,
        maxsize=4,
    ) as pool:
        async with pool.acquire() as conn, conn.cursor() as cursor:
            await cursor.execute("CREATE TABLE driver_names (name VARCHAR(20), size INT)")
        counts = await asyncio.gather(
            add(pool, ["Ada", "Grace"]), add(pool, ["Edsger", "Barbara", "Alan"])
        )
        print("added:", sum(counts))
        print("longest:", await longest(pool, 2))
        async with pool.acquire() as conn, conn.cursor() as cursor:
            await cursor.execute("DROP TABLE driver_names")
        print("connections:", pool.size, "idle:", pool.freesize)


if __name__ == "__main__":
    asyncio.run(main())
