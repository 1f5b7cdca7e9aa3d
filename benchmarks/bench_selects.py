"""Client CPU of selects beside bare aiomysql: `python benchmarks/bench_selects.py`.

Runs the compiled build, the pure one and aiomysql's cursor in turn, each in a child process, on a
private server (or the one at AIOMYSQLX_TEST_URL), and prints the median of all rounds and the
ratio to aiomysql. Ours goes through SQLAlchemy Core and reads rows by attribute; aiomysql sends
the same SQL and reads tuples by index.
"""

from __future__ import annotations

import asyncio
import datetime
import decimal
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

ROUNDS = 3
REPEATS = 9
ROWS = 10_000
POINTS = 1_000
SQL = "SELECT id, a, b, n, d, f, dt, da, bo, nt FROM bench"


async def median_cpu(work: Callable[[], Awaitable[None]]) -> float:
    """Give the median milliseconds of client CPU that *work* takes."""
    await work()
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        await work()
        times.append((time.process_time() - started) * 1e3)
    return statistics.median(times)


async def measure_ours(url: str) -> dict[str, float]:
    from sqlalchemy import (
        Boolean,
        Column,
        Date,
        DateTime,
        Double,
        Integer,
        MetaData,
        Numeric,
        String,
        Table,
        bindparam,
        select,
    )
    from sqlalchemy.schema import CreateTable, DropTable

    import aiomysqlx

    table = Table(
        "bench",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("a", String(50)),
        Column("b", String(50)),
        Column("n", Integer),
        Column("d", Numeric(12, 4)),
        Column("f", Double),
        Column("dt", DateTime),
        Column("da", Date),
        Column("bo", Boolean),
        Column("nt", String(100)),
    )
    everything = select(table)
    by_id = select(table).where(table.c.id == bindparam("wanted"))
    async with (
        aiomysqlx.create_engine(url, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute(DropTable(table, if_exists=True))
        await conn.execute(CreateTable(table))
        await conn.execute(table.insert(), [sample(index) for index in range(ROWS)])

        async def rows() -> None:
            for row in await (await conn.execute(everything)).fetchall():
                row.id  # noqa: B018

        async def points() -> None:
            for index in range(POINTS):
                row = await (await conn.execute(by_id, wanted=index + 1)).first()
                row.a  # noqa: B018

        return {"10,000 rows": await median_cpu(rows), "1,000 points": await median_cpu(points)}


async def measure_aiomysql(url: str) -> dict[str, float]:
    import aiomysql
    from sqlalchemy import make_url

    parts = make_url(url)
    connection = await aiomysql.connect(
        host=parts.host,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        db=parts.database,
        autocommit=True,
    )
    cursor = await connection.cursor()

    async def rows() -> None:
        await cursor.execute(SQL)
        for row in await cursor.fetchall():
            row[0]

    async def points() -> None:
        for index in range(POINTS):
            await cursor.execute(SQL + " WHERE id = %s", (index + 1,))
            row = await cursor.fetchone()
            row[1]

    try:
        return {"10,000 rows": await median_cpu(rows), "1,000 points": await median_cpu(points)}
    finally:
        await connection.ensure_closed()


def sample(index: int) -> dict[str, object]:
    """Give a row of mixed columns."""
    return {
        "id": index + 1,
        "a": f"name {index}",
        "b": "x" * 20,
        "n": index * 7,
        "d": decimal.Decimal("123.4567") + index,
        "f": index * 1.1,
        "dt": datetime.datetime(2020, 1, 2, 3, 4, index % 60),
        "da": datetime.date(2020, 1, 1 + index % 28),
        "bo": index % 2 == 0,
        "nt": None if index % 3 else f"text {index}",
    }


def in_child(contender: str, url: str) -> dict[str, float]:
    """Give the figures of a contender, measured in a process of its own."""
    environment = {**os.environ, "AIOMYSQLX_IMPL": contender if contender != "aiomysql" else ""}
    answer = subprocess.run(
        [sys.executable, __file__, contender, url],
        env=environment,
        capture_output=True,
        check=True,
    )
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
    from private_server import database_server

    contenders = ("cython", "python", "aiomysql")
    with database_server() as server:
        rounds = [
            {name: in_child(name, server.url()) for name in contenders} for _ in range(ROUNDS)
        ]
    for workload in rounds[0]["aiomysql"]:
        medians = {
            name: statistics.median(each[name][workload] for each in rounds) for name in contenders
        }
        for name, median in medians.items():
            ratio = median / medians["aiomysql"]
            print(f"{workload:12} {name:8} {median:7.1f} ms of client CPU, ratio {ratio:.2f}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure = measure_aiomysql if sys.argv[1] == "aiomysql" else measure_ours
        print(json.dumps(asyncio.run(measure(sys.argv[2]))))
    else:
        main()
