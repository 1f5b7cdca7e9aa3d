"""Transfer money in transactions that are run again after a deadlock: `engine.run()`.

python examples/transfer.py
"""

import asyncio
import os
import random

from sqlalchemy import Column, Integer, MetaData, Table, bindparam, func, select

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")

metadata = MetaData()
accounts = Table(
    "transfer_accounts",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("cents", Integer, nullable=False),
)
locked = select(accounts.c.cents).where(accounts.c.id == bindparam("account")).with_for_update()
change = (
    accounts.update()
    .where(accounts.c.id == bindparam("account"))
    .values(cents=accounts.c.cents + bindparam("more"))
)


class OverdrawnError(Exception):
    """An account has less than was to be taken from it."""


async def transfer(engine: sa.Engine, source: int, target: int, cents: int) -> None:
    async def work(conn: sa.SAConnection) -> None:
        # Whoever locks two accounts the other way round meets us in a deadlock, sooner or later.
        if (await conn.scalar(locked, account=source) or 0) < cents:
            raise OverdrawnError(source)  # rolls back, and is not run again
        await conn.execute(change, account=source, more=-cents)
        await conn.execute(change, account=target, more=cents)

    # What may have been committed is never run again: that is a CommitUnknownError.
    await engine.run(work, retries=20, timeout=30)


async def main() -> None:
    async with sa.create_engine(URL, maxsize=8) as engine:
        await engine.drop_all(metadata)  # what a run before this one has left
        await engine.create_all(metadata)
        async with engine.begin() as conn:
            await conn.execute(accounts.insert(), [{"id": key, "cents": 1000} for key in range(4)])

        pairs = [random.sample(range(4), 2) for _ in range(60)]
        transfers = [transfer(engine, source, target, 300) for source, target in pairs]
        outcomes = await asyncio.gather(*transfers, return_exceptions=True)
        other = [error for error in outcomes if error and not isinstance(error, OverdrawnError)]
        print("failed otherwise than for want of money:", other)

        async with engine.acquire() as conn:
            total = await conn.scalar(select(func.sum(accounts.c.cents)))
            least = await conn.scalar(select(func.min(accounts.c.cents)))
        print(f"{total} cents in all, nobody is overdrawn: {least >= 0}")
        await engine.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
