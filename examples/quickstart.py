"""Create a table, fill it and query it: the package in two minutes.

Run it with `make demo`, or against a server of yours, where it makes and drops two tables:

    AIOMYSQLX_URL=mysql://root@127.0.0.1:3306/test python examples/quickstart.py
"""

from __future__ import annotations

import asyncio
import os
import time
from decimal import Decimal

from sqlalchemy import Column, Integer, MetaData, Numeric, String, Table, func, select

import aiomysqlx as sa

metadata = MetaData()

customers = Table(
    "quickstart_customers",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(40), nullable=False),
)

orders = Table(
    "quickstart_orders",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("customer_id", Integer, nullable=False, index=True),
    Column("amount", Numeric(10, 2), nullable=False),
    Column("state", String(10), nullable=False, default="open"),
)


async def insert(conn: sa.SAConnection) -> None:
    names = ["Ada", "Grace", "Edsger", "Barbara"]
    await conn.execute(
        customers.insert(), [{"id": key, "name": name} for key, name in enumerate(names, 1)]
    )

    started = time.perf_counter()
    values = [
        {"id": key, "customer_id": 1 + key % 4, "amount": Decimal(key) / 4}
        for key in range(1, 10_001)
    ]
    result = await conn.execute(orders.insert(), values)
    milliseconds = (time.perf_counter() - started) * 1000
    print(f"inserted {result.rowcount} rows in {milliseconds:.0f} ms")


async def query(conn: sa.SAConnection) -> None:
    row = await (await conn.execute(orders.select().where(orders.c.id == 42))).one()
    print(
        f"order 42: amount {row.amount}, state {row['state']}, customer {row[orders.c.customer_id]}"
    )

    result = await conn.execute(select(customers.c.name).where(customers.c.id.in_([1, 3])))
    print("customers 1 and 3:", ", ".join([row.name async for row in result]))

    totals = (
        select(
            customers.c.name, func.count().label("orders"), func.sum(orders.c.amount).label("sum")
        )
        .select_from(customers.join(orders, customers.c.id == orders.c.customer_id))
        .group_by(customers.c.name)
        .order_by(customers.c.name)
    )
    async for row in conn.execute(totals):
        print(f"  {row.name:8} {row.orders} orders, {row.sum} in total")


async def change(conn: sa.SAConnection) -> None:
    async with conn.begin():
        await conn.execute(orders.update().where(orders.c.id <= 100).values(state="paid"))
        savepoint = await conn.begin_nested()
        await conn.execute(orders.delete())
        await savepoint.rollback()
    paid = await conn.scalar(select(func.count()).where(orders.c.state == "paid"))
    left = await conn.scalar(select(func.count()).select_from(orders))
    print(f"after the transaction {paid} orders are paid, and all {left} are still there")


async def stream(conn: sa.SAConnection) -> None:
    async with conn.execute(orders.select().order_by(orders.c.id)) as result:
        first = await result.fetchmany(3)
        others = 0
        async for _ in result:
            others += 1
    for row in first:
        print(" ", row.as_tuple())
    print(f"  and {others} more")


async def main() -> None:
    print(f"aiomysqlx {sa.__version__}, implementation: {sa.IMPLEMENTATION}")
    url = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")
    async with sa.create_engine(url) as engine, engine.acquire() as conn:
        try:
            await conn.create_all(metadata)
            async with conn.begin():
                await insert(conn)
            await query(conn)
            await change(conn)
            await stream(conn)
        finally:
            await conn.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
