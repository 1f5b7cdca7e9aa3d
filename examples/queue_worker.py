"""An outbox: messages are queued with the work itself, and workers send them, each just once.

    python examples/queue_worker.py

`FOR UPDATE SKIP LOCKED` gives each worker messages that no other one has. It needs MySQL 8.0 or
MariaDB 10.6.
"""

import asyncio
import os
from collections import Counter

from sqlalchemy import Column, DateTime, Integer, MetaData, String, Table, bindparam, func, select

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")
WORKERS, AT_A_TIME = 4, 5

metadata = MetaData()
orders = Table("outbox_orders", metadata, Column("id", Integer, primary_key=True))
outbox = Table(
    "outbox_messages",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("text", String(200), nullable=False),
    Column("queued", DateTime, nullable=False, server_default=func.current_timestamp()),
)
next_ones = (
    select(outbox.c.id, outbox.c.text)
    .order_by(outbox.c.id)
    .limit(AT_A_TIME)
    .with_for_update(skip_locked=True)
)
# By its key alone: what looks at other rows on its way would wait for other workers.
remove = outbox.delete().where(outbox.c.id == bindparam("sent"))
sent: Counter[str] = Counter()


async def order(engine: sa.Engine) -> None:
    async with engine.begin() as conn:  # both or none
        result = await conn.execute(orders.insert())
        await conn.execute(outbox.insert(), {"text": f"order {result.lastrowid}"})


async def send(text: str) -> None:
    await asyncio.sleep(0.001)
    sent[text] += 1


async def work(engine: sa.Engine) -> int:
    """Send messages until there are none, and return how many."""
    count = 0
    while True:
        async with engine.begin() as conn:
            messages = await (await conn.execute(next_ones)).fetchall()
            if not messages:
                return count  # a service would wait here, and look again
            await asyncio.gather(*(send(message.text) for message in messages))
            # If this is not committed, the messages are sent again: receivers must bear that.
            await conn.execute(remove, [{"sent": message.id} for message in messages])
        count += len(messages)


async def main() -> None:
    # READ COMMITTED locks the rows that are taken and no gaps, at which new orders would wait.
    async with sa.create_engine(URL, isolation_level="READ COMMITTED") as engine:
        await engine.drop_all(metadata)  # what a run before this one has left
        await engine.create_all(metadata)
        await asyncio.gather(*(order(engine) for _ in range(100)))
        counts = await asyncio.gather(*(work(engine) for _ in range(WORKERS)))
        print(f"{sum(counts)} messages sent by {len(counts)} workers")
        print("each just once:", set(sent.values()) == {1} and len(sent) == 100)
        await engine.drop_all(metadata)


if __name__ == "__main__":
    asyncio.run(main())
