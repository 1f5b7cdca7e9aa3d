"""What OpenTelemetry is told, by its conventions: spans of statements, and metrics."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import RunProgram
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from watch import until

import aiomysqlx as sa

pytestmark = [
    pytest.mark.server,
    pytest.mark.needs("opentelemetry.sdk"),
    pytest.mark.usefixtures("quiet"),
]

Kwargs = dict[str, Any]
METADATA = MetaData()
NOTES = Table(
    "notes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String(40), unique=True),
)
BY_ID = select(NOTES).where(NOTES.c.id == bindparam("wanted"))
SELECTED = "SELECT notes.id, notes.text \nFROM notes \nWHERE notes.id = %(wanted)s"


class Seen:
    """What the SDK has been told, by exporters in memory."""

    def __init__(self) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def spans(self) -> list[Any]:
        """Return the spans that have ended; none of them from now on."""
        spans = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return spans

    def names(self) -> list[str]:
        return [span.name for span in self.spans()]

    def metrics(self) -> dict[str, Any]:
        """Return all metrics by name."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def points(self, name: str) -> list[Any]:
        metric = self.metrics().get(name)
        return [] if metric is None else list(metric.data.data_points)

    def values(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Return the numbers of a metric, or their counts, with attributes."""
        return [
            (dict(point.attributes), point.count if hasattr(point, "count") else point.value)
            for point in self.points(name)
        ]


@pytest.fixture
def seen() -> Iterator[Seen]:
    from aiomysqlx.telemetry import AiomysqlxInstrumentor

    seen = Seen()
    AiomysqlxInstrumentor().instrument(tracer_provider=seen.tracers, meter_provider=seen.meters)
    yield seen
    AiomysqlxInstrumentor().uninstrument()
    seen.tracers.shutdown()
    seen.meters.shutdown()


@pytest.fixture
async def conn(seen: Seen, connect_kwargs: Kwargs) -> Any:
    """A connection that OpenTelemetry is told of, and a table with three rows."""
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire() as conn:
        await conn.create_all(METADATA)
        async with conn.begin():
            await conn.execute(NOTES.insert(), [{"text": word} for word in ("a", "b", "c")])
        seen.spans()
        yield conn


# -- spans -----------------------------------------------------------------------------------------


async def test_span_of_a_statement_is_as_the_conventions_have_it(
    conn: sa.SAConnection, seen: Seen, connect_kwargs: Kwargs, server: Any
) -> None:
    from opentelemetry.trace import SpanKind, StatusCode

    await conn.execute(BY_ID, wanted=2)

    (span,) = seen.spans()
    assert (span.name, span.kind) == ("SELECT notes", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET and not span.events
    assert dict(span.attributes) == {
        "db.system.name": server.flavour,
        "db.namespace": connect_kwargs["db"],
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT notes",
        "db.query.text": SELECTED,
        "db.response.returned_rows": 1,
        "server.address": connect_kwargs["host"],
        "server.port": connect_kwargs["port"],
    }
    scope = span.instrumentation_scope
    assert (scope.name, scope.version) == ("aiomysqlx", sa.__version__)
    assert scope.schema_url == "https://opentelemetry.io/schemas/1.33.0"


async def _cursor(conn: sa.SAConnection, method: str, *args: Any) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await getattr(cursor, method)(*args)


async def _stream(conn: sa.SAConnection) -> None:
    async for _ in conn.stream("SELECT id FROM notes WHERE id > %s", 1):
        pass


async def _pipeline(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        pipe.execute("SELECT %s FROM notes", 1)


INSERT = "INSERT INTO notes (text) VALUES (%s)"
ATTRIBUTES: dict[str, tuple[Callable[[sa.SAConnection], Any], dict[str, Any]]] = {
    "text": (
        lambda conn: conn.execute("SELECT id FROM notes WHERE text = %s AND id > 0", "s3cret"),
        {
            "name": "SELECT notes",
            "db.query.text": "SELECT id FROM notes WHERE text = %s AND id > 0",
            "db.response.returned_rows": 0,
        },
    ),
    "text with literals": (
        lambda conn: conn.execute("SELECT id FROM notes WHERE text = 's3cret' AND id > 0"),
        {
            "name": "SELECT notes",
            "db.query.text": "SELECT id FROM notes WHERE text = ? AND id > ?",
            "db.response.returned_rows": 0,
        },
    ),
    "change": (
        lambda conn: conn.execute(NOTES.update().values(text="s3cret").where(NOTES.c.id == 1)),
        {
            "name": "UPDATE notes",
            "db.operation.name": "UPDATE",
            "db.query.text": "UPDATE notes SET text=%(text)s WHERE notes.id = %(id_1)s",
        },
    ),
    "many": (
        lambda conn: conn.execute(NOTES.insert(), [{"text": "s3cret"}, {"text": "e"}]),
        {
            "name": "BATCH INSERT notes",
            "db.operation.name": "BATCH INSERT",
            "db.operation.batch.size": 2,
            "db.query.summary": "BATCH INSERT notes",
            "db.query.text": "INSERT INTO notes (text) VALUES (%(text)s)",
        },
    ),
    "executemany": (
        lambda conn: _cursor(conn, "executemany", INSERT, ["s3cret", "e", "f"]),
        {
            "name": "BATCH INSERT notes",
            "db.operation.batch.size": 3,
            "db.query.summary": "BATCH INSERT notes",
            "db.query.text": INSERT,
        },
    ),
    "executemany of one": (
        lambda conn: _cursor(conn, "executemany", INSERT, ["s3cret"]),
        {"name": "INSERT notes", "db.query.text": INSERT},
    ),
    "stream": (
        _stream,
        {
            "name": "SELECT notes",
            "db.query.text": "SELECT id FROM notes WHERE id > %s",
            "db.response.returned_rows": 2,
        },
    ),
    "pipeline": (
        _pipeline,
        {
            "name": "SELECT notes",
            "db.query.text": "SELECT %s FROM notes",
            "db.response.returned_rows": 3,
        },
    ),
    "definition": (
        lambda conn: conn.execute("CREATE TABLE more (a VARCHAR(9) DEFAULT 's3cret')"),
        {
            "name": "CREATE TABLE more",
            "db.query.text": "CREATE TABLE more (a VARCHAR(?) DEFAULT ?)",
        },
    ),
}


@pytest.mark.parametrize(("execute", "expected"), ATTRIBUTES.values(), ids=ATTRIBUTES)
@pytest.mark.parametrize("options", [{}, {"prepare_threshold": 0}], ids=["text", "prepared"])
async def test_span_says_what_was_executed_and_no_value(
    seen: Seen, connect_kwargs: Kwargs, options: Kwargs, execute: Any, expected: dict[str, Any]
) -> None:
    async with sa.create_engine(**connect_kwargs, **options) as engine, engine.acquire() as conn:
        await conn.create_all(METADATA)
        await conn.execute(NOTES.insert(), [{"text": word} for word in ("a", "b", "c")])
        seen.spans()
        await execute(conn)
        (span,) = seen.spans()

    told = {name: span.attributes.get(name) for name in expected if name != "name"}
    assert {"name": span.name, **told} == {**expected}
    for name in ("db.operation.name", "db.operation.batch.size", "db.response.returned_rows"):
        assert (name in span.attributes) == (name in expected)
    assert "s3cret" not in span.to_json()


async def test_transactions_have_spans_too(conn: sa.SAConnection, seen: Seen) -> None:
    async with conn.begin(), conn.begin_nested():
        await conn.execute("SELECT 1")
    transaction = await conn.begin()
    await transaction.rollback()

    spans = seen.spans()
    assert [span.name for span in spans] == [
        *("BEGIN", "SAVEPOINT", "SELECT", "RELEASE SAVEPOINT", "COMMIT", "BEGIN", "ROLLBACK"),
    ]
    assert spans[0].attributes["db.operation.name"] == "BEGIN"


async def test_begin_that_rides_has_a_span_of_its_own(seen: Seen, connect_kwargs: Kwargs) -> None:
    async with (
        sa.create_engine(**connect_kwargs, pipelining=True) as engine,
        engine.begin() as conn,
    ):
        await conn.execute("SELECT 1")

    assert sorted(seen.names()) == ["BEGIN", "COMMIT", "SELECT"]


async def test_span_names_the_current_database(
    conn: sa.SAConnection, seen: Seen, other_database: str
) -> None:
    await conn.execute(f"USE {other_database}")
    await conn.execute("SELECT 1")

    assert seen.spans()[-1].attributes["db.namespace"] == other_database


async def test_span_names_the_socket_of_a_server(
    seen: Seen, connect_kwargs: Kwargs, unix_socket: str
) -> None:
    given = {**connect_kwargs, "unix_socket": unix_socket}
    del given["host"], given["port"]
    async with sa.connect(**given) as connection:
        await connection.query("SELECT 1")

    (span,) = seen.spans()
    assert span.attributes["server.address"] == unix_socket
    assert "server.port" not in span.attributes


# -- errors ----------------------------------------------------------------------------------------


def check_failed(span: Any, kind: str, code: str | None, description: str) -> None:
    from opentelemetry.trace import StatusCode

    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == description
    assert span.attributes["error.type"] == kind
    assert span.attributes.get("db.response.status_code") == code
    assert "db.response.returned_rows" not in span.attributes
    assert span.events == ()


async def test_error_of_the_server_is_its_number_without_its_text(
    conn: sa.SAConnection, seen: Seen
) -> None:
    await conn.execute(NOTES.insert().values(text="s3cret"))
    with pytest.raises(err.IntegrityError, match="s3cret"):
        await conn.execute(NOTES.insert().values(text="s3cret"))

    _, span = seen.spans()
    check_failed(span, "1062", "1062", "pymysql.err.IntegrityError")
    assert "s3cret" not in span.to_json()


async def test_span_ends_with_a_time_limit_and_with_a_cancellation(
    conn: sa.SAConnection, seen: Seen
) -> None:
    with pytest.raises(sa.StatementTimeoutError):
        await conn.execute("SELECT SLEEP(0.5)", timeout=0.03)
    raw = conn.connection
    assert raw is not None
    await until(lambda: not raw.busy)
    task = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.1)"))
    await until(lambda: raw.busy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    late, cancelled = seen.spans()
    name = "aiomysqlx.exc.StatementTimeoutError"
    check_failed(late, name, None, name)
    name = "asyncio.exceptions.CancelledError"
    check_failed(cancelled, name, None, name)


async def test_span_ends_with_the_connection(conn: sa.SAConnection, seen: Seen, admin: Any) -> None:
    assert conn.connection is not None
    task = asyncio.ensure_future(conn.execute("SELECT SLEEP(5)"))
    await until(lambda: conn.connection is not None and conn.connection.busy)
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {conn.connection.thread_id()}")
    with pytest.raises(err.MySQLError) as raised:
        await task

    (span,) = seen.spans()
    code = str(raised.value.args[0])
    check_failed(span, code, code, f"pymysql.err.{type(raised.value).__name__}")


@pytest.mark.parametrize("how", ["close", "cancel", "drop"])
async def test_span_of_a_stream_ends_as_it_is_left(
    conn: sa.SAConnection, seen: Seen, how: str
) -> None:
    many = "SELECT a.id FROM notes a, notes b, notes c, notes d, notes e, notes f, notes g, notes h"
    result = await conn.stream(many, yield_per=10)
    await result.fetchone()
    assert seen.spans() == []

    if how == "close":
        await result.close()
    elif how == "drop":
        del result
    else:
        task = asyncio.ensure_future(_read_slowly(conn, result))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await result.close()

    (span,) = seen.spans()
    assert span.attributes["db.response.returned_rows"] >= 10


async def _read_slowly(conn: sa.SAConnection, result: sa.StreamResult) -> None:
    async for _ in result:
        await asyncio.sleep(60)


async def test_no_secret_is_in_any_span(seen: Seen, connect_kwargs: Kwargs) -> None:
    given = {**connect_kwargs, "init_command": "SET @a = 's3cret'", "sql_mode": "ANSI"}
    async with sa.create_engine(**given) as engine, engine.acquire() as conn:
        await conn.execute("SELECT @a")

    assert seen.names() == ["SELECT"]


# -- parents ---------------------------------------------------------------------------------------


async def test_each_tasks_statements_are_in_the_span_of_the_task(
    seen: Seen, connect_kwargs: Kwargs
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:

        async def request(number: int) -> None:
            with seen.tracer.start_as_current_span(f"request {number}"):
                async with engine.begin() as conn:
                    await conn.execute(f"SELECT 1 AS n{number}")
                    async with conn.pipeline() as pipe:
                        pipe.execute(f"SELECT 2 AS n{number}")
                    async for _ in conn.stream(f"SELECT 3 AS n{number}"):
                        pass

        await asyncio.gather(*(request(number) for number in range(8)))

    spans = seen.spans()
    parents = {span.context.span_id: span for span in spans if span.name.startswith("request")}
    assert len(parents) == 8 and len(spans) == 8 * 6
    for span in spans:
        if span.name == "SELECT":
            parent = parents[span.parent.span_id]
            number = parent.name.rpartition(" ")[2]
            assert span.attributes["db.query.text"].endswith(f"AS n{number}")
            assert parent.start_time <= span.start_time <= span.end_time <= parent.end_time
        elif not span.name.startswith("request"):
            assert span.parent.span_id in parents


async def test_statements_without_a_span_around_them_have_no_parent(
    conn: sa.SAConnection, seen: Seen
) -> None:
    await conn.execute("SELECT 1")

    (span,) = seen.spans()
    assert span.parent is None


async def test_span_of_a_session_is_in_that_of_its_task(seen: Seen, url: str) -> None:
    engine = create_async_engine(url.replace("mysql:", "mysql+aiomysqlx:"))
    async with AsyncSession(engine) as session:
        await session.execute(text("SELECT 1"))
        seen.spans()
        with seen.tracer.start_as_current_span("request"):
            await session.execute(text("SELECT :a"), {"a": "s3cret"})
    await engine.dispose()

    span, request, *_ = seen.spans()
    assert span.parent.span_id == request.context.span_id
    assert span.attributes["db.query.text"] == "SELECT %s"


async def test_what_is_suppressed_has_no_span(conn: sa.SAConnection, seen: Seen) -> None:
    from opentelemetry import context

    key = context._SUPPRESS_INSTRUMENTATION_KEY
    token = context.attach(context.set_value(key, True))
    await conn.execute("SELECT 1")
    context.detach(token)

    assert seen.spans() == []


# -- switching -------------------------------------------------------------------------------------


async def test_engine_may_be_left_out(seen: Seen, connect_kwargs: Kwargs) -> None:
    async with (
        sa.create_engine(**connect_kwargs, telemetry=False) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("SELECT 1")

    assert seen.spans() == [] and seen.metrics() == {}


async def test_nothing_is_told_once_it_is_uninstrumented(
    conn: sa.SAConnection, seen: Seen, connect_kwargs: Kwargs
) -> None:
    from aiomysqlx.telemetry import AiomysqlxInstrumentor

    instrumentor = AiomysqlxInstrumentor()
    assert instrumentor.is_instrumented_by_opentelemetry
    assert instrumentor.instrumentation_dependencies() == ()
    before = seen.values("db.client.operation.duration")
    instrumentor.uninstrument()
    instrumentor.uninstrument()

    await conn.execute("SELECT 1")
    async with sa.connect(**connect_kwargs) as connection:
        await connection.query("SELECT 1")

    assert not instrumentor.is_instrumented_by_opentelemetry
    assert seen.spans() == [] and connection._session.observer is None
    assert seen.values("db.client.operation.duration") == before
    assert seen.values("db.client.connection.count") == []


async def test_statement_under_way_as_it_is_uninstrumented_ends_its_span(
    conn: sa.SAConnection, seen: Seen
) -> None:
    from aiomysqlx.telemetry import AiomysqlxInstrumentor

    task = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
    await until(lambda: conn.connection is not None and conn.connection.busy)
    AiomysqlxInstrumentor().uninstrument()
    await task

    assert seen.names() == ["SELECT"]


PROGRAM = """
import asyncio, sys
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
import aiomysqlx

exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()

async def main():
    async with aiomysqlx.create_engine({url!r}, telemetry=True) as engine:
        provider = TracerProvider()  # later: a service may configure it at any time
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([reader]))
        async with engine.acquire() as conn:
            await conn.execute("SELECT 1")
        data = reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics
        print(*sorted(metric.name for scope in scopes for metric in scope.metrics))
    print(*(span.name for span in exporter.get_finished_spans()))

asyncio.run(main())
"""


def test_engine_uses_the_providers_of_the_program(run_program: RunProgram, url: str) -> None:
    done = run_program(PROGRAM.format(url=url), imports="asyncio, sqlalchemy")

    assert done.stderr == ""
    counts, spans = done.stdout.splitlines()
    assert spans == "SELECT"
    assert counts.replace("db.client.", "").split() == [
        *("connection.count", "connection.idle.min", "connection.max"),
        *("connection.pending_requests", "connection.timeouts"),
        *("connection.use_time", "connection.wait_time", "operation.duration"),
    ]


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
import aiomysqlx
for make in (aiomysqlx.create_engine, aiomysqlx.Connection):
    try:
        make(telemetry=True)
    except aiomysqlx.ArgumentError as error:
        print(error)
"""


def test_missing_package_is_named_with_what_installs_it(run_program: RunProgram) -> None:
    done = run_program(WITHOUT, imports="asyncio, sqlalchemy")

    told = (
        "argument 'telemetry' needs OpenTelemetry's API, and there is no module 'opentelemetry':"
        ' pip install "aiomysqlx[otel]"\n'
    )
    assert done.stdout == 2 * told


UNAWARE = """
import asyncio, sys, aiomysqlx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
trace.set_tracer_provider(TracerProvider())  # as a distribution of OpenTelemetry does
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
async def main():
    async with aiomysqlx.create_engine(sys.argv[1]) as engine, engine.acquire() as conn:
        await conn.execute("SELECT 1")
asyncio.run(main())
"""
# What the program `opentelemetry-instrument` is.
INSTRUMENT = "from opentelemetry.instrumentation.auto_instrumentation import run; run()"


@pytest.mark.needs("opentelemetry.instrumentation")
@pytest.mark.once
def test_program_is_instrumented_without_a_word_of_its_own(url: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(UNAWARE)

    done = subprocess.run(
        [sys.executable, "-c", INSTRUMENT, sys.executable, str(program), url],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )

    assert done.returncode == 0, done.stderr
    assert '"name": "SELECT"' in done.stdout and '"db.query.text": "SELECT ?"' in done.stdout


# -- metrics ---------------------------------------------------------------------------------------


async def test_durations_are_counted_by_what_was_done_and_how_it_ended(
    conn: sa.SAConnection, seen: Seen, connect_kwargs: Kwargs, server: Any
) -> None:
    for wanted in range(3):
        await conn.execute(BY_ID, wanted=wanted)
    with pytest.raises(err.ProgrammingError):
        await conn.execute("SELECT nope FROM nope")

    metric = seen.metrics()["db.client.operation.duration"]
    shared = {
        "db.system.name": server.flavour,
        "db.namespace": connect_kwargs["db"],
        "server.address": connect_kwargs["host"],
        "server.port": connect_kwargs["port"],
    }
    values = seen.values("db.client.operation.duration")
    assert metric.unit == "s"
    selected = {"db.query.summary": "SELECT notes", "db.operation.name": "SELECT"}
    assert ({**shared, **selected}, 3) in values
    failed = {"db.query.summary": "SELECT nope", "error.type": "1146"}
    assert ({**shared, **failed, "db.response.status_code": "1146"}, 1) in values
    bounds = metric.data.data_points[0].explicit_bounds
    assert tuple(bounds) == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)


async def test_duration_is_that_of_the_span(conn: sa.SAConnection, seen: Seen) -> None:
    await conn.execute("SELECT SLEEP(0.05)")

    (span,) = seen.spans()
    (sum_,) = [
        point.sum
        for point in seen.points("db.client.operation.duration")
        if point.attributes.get("db.query.summary") == "SELECT"
    ]
    assert 0.05 <= sum_ <= (span.end_time - span.start_time) / 1e9 + 0.01


def name_of(connect_kwargs: Kwargs) -> str:
    return "{host}:{port}/{db}".format(**connect_kwargs)


async def test_connections_are_counted_by_their_state(seen: Seen, connect_kwargs: Kwargs) -> None:
    pool = {"db.client.connection.pool.name": name_of(connect_kwargs)}
    state = "db.client.connection.state"
    async with sa.create_engine(**connect_kwargs, minsize=2, maxsize=3) as engine:
        async with engine.acquire(), engine.acquire(), engine.acquire():
            task = asyncio.ensure_future(engine.acquire(timeout=0.05))
            await until(lambda: engine.stats().waiting == 1)
            pending = seen.values("db.client.connection.pending_requests")
            with pytest.raises(sa.AcquireTimeoutError):
                await task
        async with engine.acquire():
            counts = seen.values("db.client.connection.count")
            limits = [seen.values(f"db.client.connection.{name}") for name in ("max", "idle.min")]
            timeouts = seen.metrics()["db.client.connection.timeouts"]
        uses, waits, openings = (
            seen.values(f"db.client.connection.{name}")
            for name in ("use_time", "wait_time", "create_time")
        )

    assert pending == [(pool, 1)]
    assert sorted(counts, key=str) == [({**pool, state: "idle"}, 2), ({**pool, state: "used"}, 1)]
    assert limits == [[(pool, 3)], [(pool, 2)]]
    assert timeouts.data.is_monotonic and timeouts.unit == "{timeout}"
    assert [point.value for point in timeouts.data.data_points] == [1]
    assert uses == [(pool, 4)] and waits == [(pool, 4)] and openings == [(pool, 3)]


async def test_times_of_connections_are_seconds(seen: Seen, connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:

        async def use() -> None:
            async with engine.acquire() as conn:
                await conn.execute("SELECT SLEEP(0.05)")

        await asyncio.gather(use(), use())
        conn = await engine.acquire()
        await engine.release(conn)
        await engine.release(conn)

        (wait,) = seen.points("db.client.connection.wait_time")
        (use_,) = seen.points("db.client.connection.use_time")
        (create,) = seen.points("db.client.connection.create_time")

    assert 0.04 <= wait.sum < 5 and wait.count == use_.count == 3
    assert 0.09 <= use_.sum < 5
    assert 0 < create.sum < 5 and create.count == 1
    assert tuple(wait.explicit_bounds)[:2] == (0.001, 0.005)


async def test_engines_of_one_server_have_names_of_their_own(
    seen: Seen, connect_kwargs: Kwargs
) -> None:
    def names() -> list[str]:
        values = seen.values("db.client.connection.max")
        return sorted(attributes["db.client.connection.pool.name"] for attributes, _ in values)

    name = name_of(connect_kwargs)
    async with sa.create_engine(**connect_kwargs):
        async with sa.create_engine(**connect_kwargs):
            assert names() == [name, f"{name}#2"]
        assert names() == [name]
        async with sa.create_engine(**connect_kwargs):
            assert names() == [name, f"{name}#2"]
    assert names() == []


async def test_connections_that_only_read_are_a_pool_of_their_own(
    seen: Seen, connect_kwargs: Kwargs
) -> None:
    key, name = "db.client.connection.pool.name", name_of(connect_kwargs)
    async with sa.create_engine(**connect_kwargs, maxsize=2) as engine:
        async with engine.acquire(read_only=True) as conn, engine.acquire():
            await conn.execute("SELECT 1")
        values = seen.values("db.client.connection.use_time")

    assert {(each[key], count) for each, count in values} == {(name, 1), (f"{name} (reads)", 1)}


async def test_leaked_and_lost_connections_end_their_use(
    seen: Seen, connect_kwargs: Kwargs
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine:
        async with engine.acquire() as conn:
            conn.invalidate()
        with pytest.warns(ResourceWarning, match="was never released"):
            await engine.acquire()
        await until(lambda: engine.stats().closed.get("leaked") == 1)
        (use,) = seen.points("db.client.connection.use_time")

    assert use.count == 2


async def test_numbers_are_read_from_another_thread(seen: Seen, connect_kwargs: Kwargs) -> None:
    read: list[Any] = []
    async with sa.create_engine(**connect_kwargs) as engine, engine.acquire():
        thread = threading.Thread(
            target=lambda: read.append(seen.values("db.client.connection.count"))
        )
        thread.start()
        await until(lambda: not thread.is_alive())

    assert [value for _, value in read[0]] in ([0, 1], [1, 0])
