"""A page of many small queries at one round trip, and writes that are all kept or none.

python examples/pipelining.py
"""

import asyncio
import os
import time

from pymysql.err import IntegrityError
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, func, select

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")

metadata = MetaData()
visits = Table(
    "pipeline_visits",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("page", String(20), nullable=False, index=True),
)
how_many = select(func.count()).where(visits.c.page == bindparam("wanted"))
pages = [f"page {number}" for number in range(50)]


async def one_by_one(conn: sa.SAConnection) -> list[int | None]:
    return [await conn.scalar(how_many, wanted=page) for page in pages]


async def together(conn: sa.SAConnection) -> list[int | None]:
    async with conn.pipeline() as pipe:
        answers = [pipe.execute(how_many, wanted=page) for page in pages]
        return [await (await answer).scalar() for answer in answers]


async def main() -> None:
    # Warnings would be asked for with every statement.
    async with (
        sa.create_engine(URL, autocommit=True, pipelining=True, warnings=False) as engine,
        engine.acquire() as conn,
    ):
        await conn.drop_all(metadata)  # what a run before this one has left
        await conn.create_all(metadata)
        await conn.execute(visits.insert(), [{"page": page} for page in pages for _ in page])

        counts = []
        for way in (one_by_one, together):
            started = time.perf_counter()
            counts.append(await way(conn))
            milliseconds = (time.perf_counter() - started) * 1000
            print(f"{way.__name__}: {sum(filter(None, counts[-1]))} visits, {milliseconds:.1f} ms")

        try:
            async with conn.pipeline(transaction=True) as pipe:
                pipe.execute(visits.insert(), {"id": 10_000, "page": "new"})
                pipe.execute(visits.insert(), {"id": 1, "page": "new"})  # which there is
        except IntegrityError as error:
            print("refused:", error.args[0])
        print("kept of both:", await conn.scalar(how_many, wanted="new"))
        await conn.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
