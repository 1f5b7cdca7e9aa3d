"""Export a table of any size as CSV: rows are written as they arrive, and few are in memory.

python examples/export_csv.py > measurements.csv
"""

import asyncio
import csv
import os
import sys
from datetime import datetime, timedelta

from sqlalchemy import Column, DateTime, Float, Integer, MetaData, Table, select

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")

metadata = MetaData()
measurements = Table(
    "export_measurements",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("taken", DateTime, nullable=False),
    Column("celsius", Float, nullable=False),
)


async def export(conn: sa.SAConnection) -> int:
    writer = csv.writer(sys.stdout)
    statement = select(measurements).order_by(measurements.c.id)
    # A reader that is slower than the server has it wait, with yield_per rows in memory.
    async with conn.stream(statement, yield_per=1000) as result:
        writer.writerow(result.keys())
        count = 0
        async for rows in result.partitions():
            writer.writerows(row.as_tuple() for row in rows)
            count += len(rows)
    return count


async def main() -> None:
    async with sa.create_engine(URL, autocommit=True) as engine:
        await engine.drop_all(metadata)  # what a run before this one has left
        await engine.create_all(metadata)
        async with engine.acquire() as conn:
            start = datetime(2026, 1, 1)
            values = [
                {"taken": start + timedelta(minutes=minute), "celsius": minute % 400 / 10}
                for minute in range(10_000)
            ]
            await conn.execute(measurements.insert(), values)
            print(f"{await export(conn)} rows", file=sys.stderr)
        await engine.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
