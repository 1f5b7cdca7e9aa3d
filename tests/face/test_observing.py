"""What users' code and the log are told of statements: `on_query`, `slow_query`."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from watch import until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
METADATA = MetaData()
NOTES = Table(
    "notes",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("text", String(40), unique=True),
)
BY_ID = select(NOTES).where(NOTES.c.id == bindparam("wanted"))


def raw_of(conn: sa.SAConnection) -> sa.Connection:
    raw = conn.connection
    assert raw is not None
    return raw


class Events(list[sa.QueryEvent]):
    """What a hook was told."""

    def hook(self, event: sa.QueryEvent) -> None:
        self.append(event)

    def brief(self) -> list[tuple[str, int]]:
        """Return the statements, and the rows of each; none of them from now on."""
        told = [(event.statement, event.rows) for event in self]
        self.clear()
        return told


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def hooked(connect_kwargs: Kwargs, events: Events) -> AsyncIterator[sa.SAConnection]:
    """A connection whose statements a hook is told of, and a table with three rows."""
    async with (
        sa.create_engine(**connect_kwargs, on_query=events.hook, maxsize=1) as engine,
        engine.acquire() as conn,
    ):
        await conn.create_all(METADATA)
        async with conn.begin():
            await conn.execute(NOTES.insert(), [{"text": word} for word in ("a", "b", "c")])
        events.clear()
        yield conn


# -- what a hook is told ---------------------------------------------------------------------------


async def test_hook_is_told_of_a_statement(hooked: sa.SAConnection, events: Events) -> None:
    await hooked.execute(BY_ID, wanted=2)

    (event,) = events
    assert event.statement.endswith("WHERE notes.id = %(wanted)s")
    assert event.rows == event.executions == 1 and event.error is None
    assert 0 < event.duration < 10
    assert event.connection_id == raw_of(hooked).thread_id()


async def _cursor(conn: sa.SAConnection, method: str, *args: Any) -> None:
    async with raw_of(conn).cursor() as cursor:
        await getattr(cursor, method)(*args)


async def _stream(conn: sa.SAConnection) -> None:
    async for _ in conn.stream("SELECT id FROM notes"):
        pass


async def _stream_left(conn: sa.SAConnection) -> None:
    result = await conn.stream("SELECT id FROM notes", yield_per=1)
    await result.fetchone()
    await result.close()


async def _pipeline(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        pipe.execute("SELECT %s", 1)
        pipe.execute(BY_ID, wanted=1)


async def _savepoint(conn: sa.SAConnection) -> None:
    async with conn.begin(), conn.begin_nested():
        pass


SELECTED = "SELECT notes.id, notes.text \nFROM notes \nWHERE notes.id = %(wanted)s"
TOLD: dict[str, tuple[Callable[[sa.SAConnection], Any], list[tuple[str, int]]]] = {
    "text": (lambda conn: conn.execute("SELECT %s, 's3cret'", 1), [("SELECT %s, 's3cret'", 1)]),
    "text with literals": (lambda conn: conn.execute("SELECT 's3cret', 5"), [("SELECT ?, ?", 1)]),
    "construct": (lambda conn: conn.execute(BY_ID, wanted=7), [(SELECTED, 0)]),
    "text of SQLAlchemy's": (
        lambda conn: conn.execute(text("SELECT 's3cret' FROM notes")),
        [("SELECT ? FROM notes", 3)],
    ),
    "rows affected": (
        lambda conn: conn.execute("UPDATE notes SET text = CONCAT(text, '!')"),
        [("UPDATE notes SET text = CONCAT(text, ?)", 3)],
    ),
    "many": (
        lambda conn: conn.execute(NOTES.insert(), [{"text": "d"}, {"text": "e"}]),
        [("INSERT INTO notes (text) VALUES (%(text)s)", 2)],
    ),
    "executemany": (
        lambda conn: _cursor(
            conn, "executemany", "INSERT INTO notes (text) VALUES (%s)", ["d", "e"]
        ),
        [("INSERT INTO notes (text) VALUES (%s)", 2)],
    ),
    "executemany one by one": (
        lambda conn: _cursor(conn, "executemany", "DELETE FROM notes WHERE id = %s", [1, 2]),
        [("DELETE FROM notes WHERE id = %s", 2)],
    ),
    "stream": (_stream, [("SELECT id FROM notes", 3)]),
    "stream that is left": (_stream_left, [("SELECT id FROM notes", 1)]),
    "pipeline": (_pipeline, [("SELECT %s", 1), (SELECTED, 1)]),
    "transaction": (
        _savepoint,
        [
            ("BEGIN", 0),
            ("SAVEPOINT aiomysqlx_savepoint_1", 0),
            ("RELEASE SAVEPOINT aiomysqlx_savepoint_1", 0),
            ("COMMIT", 0),
        ],
    ),
    "level": (
        lambda conn: conn.execution_options(isolation_level="SERIALIZABLE"),
        [("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", 0)],
    ),
}


@pytest.mark.parametrize(("execute", "told"), TOLD.values(), ids=TOLD)
@pytest.mark.parametrize("options", [{}, {"prepare_threshold": 0}, {"pipelining": True}], ids=str)
async def test_hook_is_told_once_of_each_statement_whichever_way_it_goes(
    connect_kwargs: Kwargs, events: Events, options: Kwargs, execute: Any, told: Any
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, **options, on_query=events.hook) as engine,
        engine.acquire() as conn,
    ):
        await conn.create_all(METADATA)
        async with conn.begin():
            await conn.execute(NOTES.insert(), [{"text": word} for word in ("a", "b", "c")])
        events.clear()
        await execute(conn)

        seen = events.brief()

    if options == {"pipelining": True} and told == TOLD["transaction"][1]:
        assert sorted(seen) == sorted(told)  # BEGIN is answered with what rides behind it
    else:
        assert seen == told


async def test_hook_is_told_of_an_error(hooked: sa.SAConnection, events: Events) -> None:
    with pytest.raises(err.IntegrityError) as raised:
        await hooked.execute(NOTES.insert().values(text="a"))

    (event,) = events
    assert event.error is not None and event.error.args == raised.value.args
    assert (event.rows, event.executions) == (0, 1)


async def test_hook_is_told_of_an_error_of_a_batch(hooked: sa.SAConnection, events: Events) -> None:
    with pytest.raises(err.IntegrityError):
        await hooked.execute(NOTES.insert(), [{"text": "d"}, {"text": "a"}])

    (event,) = events
    assert isinstance(event.error, err.IntegrityError) and event.executions == 2


async def test_hook_is_told_of_a_cancellation_and_of_a_time_limit(
    hooked: sa.SAConnection, events: Events
) -> None:
    with pytest.raises(sa.StatementTimeoutError):
        await hooked.execute("SELECT SLEEP(0.3)", timeout=0.05)
    await until(lambda: not raw_of(hooked).busy)
    task = asyncio.ensure_future(hooked.execute("SELECT SLEEP(0.2)"))
    await until(lambda: raw_of(hooked).busy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    kinds = [type(event.error) for event in events]
    assert kinds == [sa.StatementTimeoutError, asyncio.CancelledError]
    assert events[0].duration > 0.04


async def test_hook_is_told_of_the_error_amid_a_stream(
    hooked: sa.SAConnection, events: Events
) -> None:
    statement = "SELECT id, (SELECT 1 FROM notes n WHERE notes.id = 3) FROM notes ORDER BY id"
    with pytest.raises(err.OperationalError):
        async for _ in hooked.stream(statement):
            pass

    (event,) = events
    assert event.error is not None and event.error.args[0] == 1242


async def test_time_between_two_rows_of_a_stream_is_not_the_servers(
    hooked: sa.SAConnection, events: Events
) -> None:
    async for _ in hooked.stream("SELECT id FROM notes"):
        await asyncio.sleep(0.3)

    (event,) = events
    assert event.rows == 3 and event.duration < 0.8


async def test_hook_is_told_of_a_stream_that_is_dropped_or_given_back(
    connect_kwargs: Kwargs, events: Events
) -> None:
    async with sa.create_engine(**connect_kwargs, on_query=events.hook) as engine:
        async with engine.acquire() as conn:
            result = await conn.stream("SELECT 1 UNION SELECT 2")
            assert events == []
            del result
            gc.collect()
            assert len(events) == 1
            result = await conn.stream("SELECT 1 UNION SELECT 2")
        assert len(events) == 2
        with pytest.raises(sa.ResourceClosedError):
            await result.fetchone()

    assert len(events) == 2


async def test_statement_that_is_prepared_anew_is_told_once_more(
    connect_kwargs: Kwargs, events: Events
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, prepare_threshold=0, on_query=events.hook) as engine,
        engine.acquire() as conn,
    ):
        await conn.create_all(METADATA)
        events.clear()
        for _ in range(3):
            await conn.execute(BY_ID, wanted=1)

    assert events.brief() == [(SELECTED, 0)] * 3


async def test_what_the_package_does_for_itself_is_not_told(
    connect_kwargs: Kwargs, events: Events
) -> None:
    secret = "SET @a = 's3cret'"
    async with sa.create_engine(
        **connect_kwargs, on_query=events.hook, maxsize=1, init_command=secret, sql_mode="ANSI"
    ) as engine:
        async with engine.acquire() as conn:
            await conn.execute("SET NAMES latin1")
            await conn.execute("SELECT 1 FROM information_schema.tables LIMIT 1")
        async with engine.acquire() as conn:
            await raw_of(conn).reset()
            await raw_of(conn).ping()

    assert [event.statement for event in events] == [
        "SET NAMES latin1",
        "SELECT ? FROM information_schema.tables LIMIT ?",
    ]


async def test_hooks_are_told_of_what_init_and_reset_execute(
    connect_kwargs: Kwargs, events: Events
) -> None:
    async def begin(conn: sa.SAConnection) -> None:
        await conn.execute("SELECT 'init'")

    async with sa.create_engine(**connect_kwargs, on_query=events.hook, init=begin, maxsize=1):
        pass

    assert events.brief() == [("SELECT ?", 1)]


async def test_backslash_is_no_escape_where_the_session_has_it_so(
    hooked: sa.SAConnection, events: Events
) -> None:
    await hooked.execute("SET sql_mode = CONCAT(@@sql_mode, ',NO_BACKSLASH_ESCAPES')")
    await hooked.execute("SELECT 'a\\', 's3cret', 'b'")

    assert events[-1].statement == "SELECT ?, ?, ?"


# -- what becomes of a hook's errors ---------------------------------------------------------------


async def test_error_of_a_hook_is_logged_once_and_harms_nothing(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: sa.QueryEvent) -> None:
        raise LookupError("nope")

    async with sa.create_engine(**connect_kwargs, on_query=fail, minsize=2) as engine:
        for _ in range(2):
            async with engine.acquire() as one, engine.acquire() as other:
                assert await one.scalar("SELECT 1") == await other.scalar("SELECT 1") == 1
                async with one.pipeline() as pipe:
                    pipe.execute("SELECT 2")

    (record,) = caplog.records
    assert "on_query has failed" in record.message and f"{__name__}" not in record.message
    assert f"{Path(__file__).name}" in record.message
    assert record.exc_info is not None and "nope" in str(record.exc_info[1])


async def test_coroutine_function_is_refused_as_a_hook() -> None:
    async def hook(event: sa.QueryEvent) -> None: ...

    class Hook:
        async def __call__(self, event: sa.QueryEvent) -> None: ...

    for wrong in (hook, Hook()):
        with pytest.raises(sa.ArgumentError, match="'on_query' takes a plain function, got a coro"):
            sa.create_engine(on_query=wrong)
    with pytest.raises(sa.ArgumentError, match="'on_query' does not take 5"):
        sa.create_engine(on_query=5)  # type: ignore[call-overload]


async def test_hook_is_told_by_its_other_name_what_to_be_called(connect_kwargs: Kwargs) -> None:
    with pytest.raises(sa.ArgumentError, match="did you mean 'on_query'"):
        await sa.connect(**connect_kwargs, query_callback=print)


# -- slow statements -------------------------------------------------------------------------------


async def _slow(conn: sa.SAConnection) -> None:
    await conn.execute("SELECT SLEEP(%s), %s", 0.01, "s3cret")


async def _slow_in_a_block(conn: sa.SAConnection) -> None:
    async with conn.execute("SELECT SLEEP(0.01), 's3cret'"):
        pass


async def _slow_in_a_pipeline(conn: sa.SAConnection) -> None:
    async with conn.pipeline() as pipe:
        pipe.execute("SELECT SLEEP(0.01), 's3cret'")


async def _slow_in_a_function(conn: sa.SAConnection) -> None:
    def send() -> None:
        pipe.execute("SELECT SLEEP(0.01), 's3cret'")

    async with conn.pipeline() as pipe:
        send()


async def _slow_in_a_generator(conn: sa.SAConnection) -> None:
    async def rows() -> AsyncIterator[Any]:
        yield await conn.execute("SELECT SLEEP(0.01), 's3cret'")

    await asyncio.ensure_future(rows().__anext__())


async def _slow_stream(conn: sa.SAConnection) -> None:
    async with conn.stream("SELECT SLEEP(0.01), 's3cret'"):
        pass


async def _slow_session(session: AsyncSession) -> None:
    await session.execute(text("SELECT SLEEP(:seconds)"), {"seconds": 0.01})


async def _slow_commit(engine: sa.Engine) -> None:
    async with engine.begin():
        pass


def line_of(function: Any, number: int = 1) -> str:
    """Return a line of a function's body, as the log has it."""
    return f"{__file__}:{function.__code__.co_firstlineno + number}"


SLOW = {
    _slow: 1,
    _slow_in_a_block: 1,
    _slow_in_a_pipeline: 2,
    _slow_in_a_function: 2,
    _slow_in_a_generator: 2,
    _slow_stream: 1,
}


@pytest.mark.parametrize(("execute", "number"), SLOW.items())
async def test_slow_statement_is_logged_with_its_place_and_without_values(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture, execute: Any, number: int
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, slow_query=0.01) as engine,
        engine.acquire() as conn,
    ):
        connection = raw_of(conn).thread_id()
        await conn.execute("SELECT 1")
        await execute(conn)

    slow = [each for each in caplog.records if "slow statement" in each.message]
    (record,) = [each for each in slow if "SLEEP" in each.message]  # on a busy machine all are
    assert record.levelname == "WARNING" and record.name == "aiomysqlx"
    place = line_of(execute, number)
    assert f" s on connection {connection}, {place}: SELECT SLEEP(" in record.message
    assert "s3cret" not in record.message


async def test_commit_of_a_block_is_logged_with_the_place_of_the_block(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, slow_query=0) as engine:
        await _slow_commit(engine)

    messages = [record.message for record in caplog.records]
    assert [message.rpartition(": ")[2] for message in messages] == ["BEGIN", "COMMIT"]
    assert all(f"{line_of(_slow_commit)}: " in message for message in messages)


async def test_slow_statement_of_a_session_is_logged_with_the_line_of_the_session(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = create_async_engine(
        url.replace("mysql:", "mysql+aiomysqlx:"), connect_args={"slow_query": 0.01}
    )
    async with AsyncSession(engine) as session:
        await _slow_session(session)
    await engine.dispose()

    (record,) = [each for each in caplog.records if "SLEEP" in each.message]
    assert f"{line_of(_slow_session)}: SELECT SLEEP(%s)" in record.message


async def test_slow_statement_of_a_task_of_its_own_is_logged_with_the_task(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, slow_query=0) as engine,
        engine.acquire() as conn,
    ):
        task = asyncio.ensure_future(conn.execute("SELECT 1"))
        task.set_name("of its own")  # type: ignore[attr-defined]
        await task

    (record,) = caplog.records
    assert "in task 'of its own': SELECT ?" in record.message


@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_place_of_a_task_of_its_own_is_not_the_line_that_runs_the_event_loop(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture, new_loop: Any
) -> None:
    async def execute() -> None:
        async with (
            sa.create_engine(**connect_kwargs, slow_query=0) as engine,
            engine.acquire() as conn,
        ):
            await asyncio.ensure_future(conn.execute("SELECT 1"))

    loop = new_loop()
    loop.run_until_complete(execute())
    loop.close()

    (record,) = caplog.records
    assert ", in task 'Task-" in record.message


async def test_slow_statement_that_fails_is_logged(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, slow_query=0.03) as engine,
        engine.acquire() as conn,
    ):
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("SELECT SLEEP(0.5)", timeout=0.05)

    (record,) = caplog.records
    assert "SELECT SLEEP(?)" in record.message


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_slow_query_takes_seconds(seconds: float) -> None:
    with pytest.raises(sa.ArgumentError, match="'slow_query' must be 0 or more seconds"):
        sa.create_engine(slow_query=seconds)


# -- together with the log, and through the dialect ------------------------------------------------


async def test_echo_goes_on_beside_a_hook_and_can_be_switched(
    connect_kwargs: Kwargs, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "aiomysqlx")
    async with aiomysqlx_connection(connect_kwargs, events) as connection:
        assert connection.echo is False
        connection.echo = True
        await connection.query("SELECT 1")
        connection.echo = False
        await connection.query("SELECT 2")

    assert [record.message.partition(" [")[0] for record in caplog.records] == ["SELECT 1"]
    assert len(events) == 2


def aiomysqlx_connection(connect_kwargs: Kwargs, events: Events) -> Any:
    return sa.connect(**connect_kwargs, on_query=events.hook)


async def test_connection_without_anybody_to_tell_observes_nothing(raw: sa.Connection) -> None:
    assert raw._session.observer is None
    raw.echo = True
    assert raw._session.observer is not None
    raw.echo = False
    assert raw._session.observer is None


async def test_hook_is_told_of_what_a_session_executes(url: str, events: Events) -> None:
    engine = create_async_engine(
        url.replace("mysql:", "mysql+aiomysqlx:"), connect_args={"on_query": events.hook}
    )
    async with AsyncSession(engine) as session:
        await session.connection()  # and what SQLAlchemy asks a new one
        events.clear()
        await session.execute(text("SELECT :n"), {"n": 1})
        await session.execute(text("SELECT 's3cret'"))
        await session.commit()
        result = await session.stream(text("SELECT 1 UNION SELECT 2"))
        assert await result.all() == [(1,), (2,)]
    await engine.dispose()

    assert events.brief() == [
        ("SELECT %s", 1),
        ("SELECT ?", 1),
        ("COMMIT", 0),
        ("SELECT ? UNION SELECT ?", 2),
        ("ROLLBACK", 0),
    ]


async def test_statements_of_several_tasks_are_told_apart(
    connect_kwargs: Kwargs, events: Events
) -> None:
    async with sa.create_engine(**connect_kwargs, on_query=events.hook, maxsize=4) as engine:

        async def ask(number: int) -> None:
            async with engine.acquire() as conn:
                await conn.execute(f"SELECT %s AS n{number}", number)

        await asyncio.gather(*(ask(number) for number in range(20)))

    assert sorted(event.statement for event in events) == sorted(
        f"SELECT %s AS n{number}" for number in range(20)
    )


async def test_pipeline_that_is_cut_off_is_told_of(hooked: sa.SAConnection, events: Events) -> None:
    async def work(sql: str) -> None:
        async with hooked.pipeline() as pipe:
            await pipe.execute(sql)

    await work("DO 0")  # before the first one it is tried whether the server takes pipelining
    events.clear()
    task = asyncio.ensure_future(work("SELECT SLEEP(0.1)"))
    await until(lambda: raw_of(hooked).busy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    (event,) = events
    assert isinstance(event.error, sa.InvalidRequestError)
