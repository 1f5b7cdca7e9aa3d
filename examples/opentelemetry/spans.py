"""OpenTelemetry: a span for each statement, with its text, its server, and its error."""

import asyncio
import os

from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

URL = os.environ.get("AIOMYSQLX_URL", "mysql+aiomysqlx://root@127.0.0.1:3306/test")


async def main() -> None:
    spans = InMemorySpanExporter()  # a service has an OTLPSpanExporter in this place
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    tracer = provider.get_tracer("example")

    engine = create_async_engine(URL)
    SQLAlchemyInstrumentor().instrument(
        engine=engine.sync_engine,
        tracer_provider=provider,
        enable_commenter=True,  # the server's logs name the trace
        skip_dep_check=True,  # 0.66 declares SQLAlchemy below 2.1, and works with 2.1
    )

    async with AsyncSession(engine) as session:
        with tracer.start_as_current_span("request"):
            running = "SELECT info FROM information_schema.processlist WHERE id = CONNECTION_ID()"
            print("the server sees", await session.scalar(text(running)))
            await session.execute(text("SELECT :n + 1"), {"n": 41})
            try:
                await session.execute(text("SELECT * FROM no_such_table"))
            except ProgrammingError:
                await session.rollback()
    await engine.dispose()

    for span in spans.get_finished_spans():
        attributes = span.attributes or {}
        print(f"{span.name}: {attributes.get('db.statement')}, {span.status.status_code.name}")
        if span.status.description:
            print("  ", span.status.description)


if __name__ == "__main__":
    asyncio.run(main())
