"""Prometheus: the pool and the durations of statements, to be scraped from /metrics."""

import asyncio
import os

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import REGISTRY, start_http_server
from pymysql.err import ProgrammingError

import aiomysqlx as sa

URL = os.environ.get("AIOMYSQLX_URL", "mysql://root@127.0.0.1:3306/test")
PORT = int(os.environ.get("METRICS_PORT", "9464"))


async def work(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        await conn.execute("SELECT table_name FROM information_schema.tables LIMIT %s", 3)


async def main() -> None:
    set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    server, _ = start_http_server(PORT, "127.0.0.1")  # in a thread of its own

    # With autocommit a connection is idle as soon as it is given back: there is no rollback.
    async with sa.create_engine(
        URL, autocommit=True, minsize=2, maxsize=2, telemetry=True
    ) as engine:
        await asyncio.gather(*(work(engine) for _ in range(10)))
        async with engine.acquire() as conn:
            try:
                await conn.execute("SELECT * FROM no_such_table")
            except ProgrammingError:
                print("scrape", f"http://127.0.0.1:{server.server_port}/metrics")
            show()
    server.shutdown()
    server.server_close()


def show() -> None:
    """Print the names of what Prometheus gets of the database, and the numbers of two."""
    for family in REGISTRY.collect():
        if family.name.startswith("db_"):
            print(family.name, family.type)
    for family in REGISTRY.collect():
        for sample in family.samples:
            if sample.name == "db_client_connection_count":
                print(sample.labels["db_client_connection_state"], int(sample.value))
            if sample.name == "db_client_operation_duration_seconds_count":
                labels = sample.labels
                print(labels["db_query_summary"], labels["error_type"] or "ok", int(sample.value))


if __name__ == "__main__":
    asyncio.run(main())
