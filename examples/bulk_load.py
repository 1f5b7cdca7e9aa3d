"""Load rows from a file, batch by batch, and again: what is there is brought up to date.

python examples/bulk_load.py [FILE.csv]
"""

import asyncio
import csv
import os
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import islice
from typing import Any

from sqlalchemy import Column, MetaData, Numeric, String, Table, func, select
from sqlalchemy.dialects.mysql import insert

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")
BATCH = 2000  # rows, and so much of the file is in memory

metadata = MetaData()
prices = Table(
    "load_prices",
    metadata,
    Column("article", String(20), primary_key=True),
    Column("price", Numeric(10, 2), nullable=False),
)


def upsert() -> Any:
    statement = insert(prices)
    return statement.on_duplicate_key_update(price=statement.inserted.price)


def batches(lines: Iterable[str]) -> Iterator[list[dict[str, Any]]]:
    rows = csv.DictReader(lines)
    while batch := list(islice(rows, BATCH)):
        yield [{"article": row["article"], "price": Decimal(row["price"])} for row in batch]


async def load(engine: sa.Engine, lines: Iterable[str]) -> int:
    count = 0
    for batch in batches(lines):
        async with engine.begin() as conn:  # one transaction each, so that none is too long
            await conn.execute(upsert(), batch)  # as few INSERTs as max_allowed_packet allows
        count += len(batch)
    return count


def sample(factor: int) -> list[str]:
    return ["article,price", *(f"A{number},{number * factor / 4}" for number in range(5000))]


async def main() -> None:
    async with sa.create_engine(URL) as engine:
        await engine.drop_all(metadata)  # what a run before this one has left
        await engine.create_all(metadata)
        if len(sys.argv) > 1:
            with open(sys.argv[1], newline="") as file:  # noqa: ASYNC230 - nobody else waits
                print(await load(engine, file), "rows")
        else:
            for factor in (1, 2):
                read = await load(engine, sample(factor))
                async with engine.acquire() as conn:
                    row = await (
                        await conn.execute(select(func.count(), func.sum(prices.c.price)))
                    ).one()
                print(f"read {read} rows; the table has {row[0]}, worth {row[1]}")
        await engine.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
