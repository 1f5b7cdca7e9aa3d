"""Read on replicas, and see one's own writes there: `acquire(read_only=True, after=…)`.

    python tools/serve_cluster.py replicas       # prints a URL of three hosts
    AIOMYSQLX_URL=… python examples/replica_reads.py

With one host, everything is read there.
"""

import asyncio
import os

from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, func, select

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")

metadata = MetaData()
posts = Table(
    "replica_posts",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(200), nullable=False),
)
how_many = select(func.count()).select_from(posts)
by_id = select(posts.c.text).where(posts.c.id == bindparam("wanted"))


async def write(engine: sa.Engine, text: str) -> tuple[int | None, str | None]:
    """Write a post; return its key, and which transaction that was, for the user's session."""
    async with engine.begin() as conn:
        result = await conn.execute(posts.insert(), {"text": text})
    return result.lastrowid, conn.last_gtid


async def read_own(engine: sa.Engine, key: int | None, after: str | None) -> str | None:
    # On a replica that has the transaction, or on the primary if none has it in time.
    async with engine.acquire(read_only=True, after=after, timeout=2) as conn:
        return await conn.scalar(by_id, wanted=key)


async def main() -> None:
    async with sa.create_engine(
        URL,
        autocommit=True,
        target_session_attrs="read-write",  # for what writes
        load_balance_hosts="random",  # for what reads
        track_gtids=True,
    ) as engine:
        await engine.drop_all(metadata)  # what a run before this one has left
        await engine.create_all(metadata)
        found = [
            await read_own(engine, *await write(engine, f"post {number}")) for number in range(20)
        ]
        print("own writes that were read:", found == [f"post {number}" for number in range(20)])

        async with engine.acquire(read_only=True) as conn:  # as old as the replica is
            print("posts:", (await conn.scalar(how_many) or 0) <= 20)
        reads = engine.stats().read_only
        print("reads on connections of their own:", reads is not None and reads.acquired)
        await engine.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
