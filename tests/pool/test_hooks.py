"""What is run on connections as they are opened and as they come back, and nothing besides."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable
from typing import Any

import pytest
from faults import QUERY, RESET, FaultyProxy
from private_server import Server
from pymysql import err
from pymysql.constants import ER
from watch import at_rest, check_capacity, lend, passed, spawn, steps, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]


class Hook:
    """A function for `init` or `reset` that notes its calls and does as it is told."""

    def __init__(self, sql: str = "SET @hook = 'run'") -> None:
        self.sql = sql
        self.calls: list[Any] = []
        self.error: Exception | None = None
        self.hangs = False
        self.hung = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, conn: sa.SAConnection) -> None:
        self.calls.append(conn.connection)
        await conn.execute(self.sql)
        if self.error is not None:
            raise self.error
        if self.hangs:
            self.hung.set()
            await self.let_go.wait()


# -- init ------------------------------------------------------------------------------------------


async def test_init_is_run_once_on_every_new_connection(connect_kwargs: Kwargs) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, minsize=2, maxsize=4, init=hook) as engine:
        lent = [await engine.acquire() for _ in range(4)]

        assert [await conn.scalar("SELECT @hook") for conn in lent] == ["run"] * 4
        for conn in lent:
            await engine.release(conn)
        assert set(await lend(engine, 4)) == set(hook.calls)
        assert len(hook.calls) == 4


async def test_what_init_sets_of_the_raw_connection_lasts_as_long_as_its_session(
    connect_kwargs: Kwargs,
) -> None:
    class Own(sa.Cursor):
        pass

    async def init(conn: sa.SAConnection) -> None:
        raw: Any = conn.connection
        raw.cursorclass = Own
        raw.labels = {"init"}

    async with sa.create_engine(**connect_kwargs, init=init) as engine:
        async with engine.acquire() as conn:
            raw: Any = conn.connection
            raw.labels.add("borrower")
        del raw, conn
        async with engine.acquire() as conn:
            raw = conn.connection
            cursor = await raw.cursor()

            assert type(cursor) is Own
            assert raw.labels == {"init", "borrower"}
            assert not raw.closed


async def test_failing_init_of_the_first_connections_fails_the_engine(
    connect_kwargs: Kwargs,
) -> None:
    hook = Hook("SELECT nonsense")

    with pytest.raises(err.OperationalError, match="1054"):
        await sa.create_engine(**connect_kwargs, minsize=2, init=hook)

    assert all(raw.closed for raw in hook.calls)


@pytest.mark.parametrize("error", [ValueError("no good"), err.InternalError(1, "no good")])
async def test_error_of_init_goes_to_whoever_asked(
    connect_kwargs: Kwargs, error: Exception
) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=2, init=hook) as engine:
        async with engine.acquire():
            hook.error = error
            for _ in range(3):
                with pytest.raises(type(error), match="no good"):
                    await asyncio.wait_for(engine.acquire(), 10)
            assert all(raw.closed for raw in hook.calls[1:])
            assert engine.stats().closed["init"] == 3
            hook.error = None
        await check_capacity(engine, 2)


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ValueError({"a": 1}), id="mapping"),
        pytest.param(ValueError(ER.CON_COUNT_ERROR), id="number-of-too-many-connections"),
        pytest.param(err.OperationalError(["a"], "b"), id="of-the-driver-without-a-number"),
    ],
)
async def test_error_of_init_goes_to_whoever_asked_whatever_its_arguments(
    connect_kwargs: Kwargs, error: Exception
) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, maxsize=2, init=hook) as engine:
        async with engine.acquire():
            hook.error = error

            with pytest.raises(type(error)) as caught:
                await asyncio.wait_for(engine.acquire(), 10)

        assert caught.value.args == error.args


async def test_time_limit_of_acquire_is_for_init_too(connect_kwargs: Kwargs) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=2, init=hook) as engine:
        async with engine.acquire():
            hook.hangs = True
            with pytest.raises(sa.AcquireTimeoutError):
                await asyncio.wait_for(engine.acquire(timeout=0.1), 10)
        hook.hangs = False


async def test_init_that_hangs_ends_with_the_connection(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.1)
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=2, init=hook) as engine:
        async with engine.acquire():
            hook.hangs = True
            with pytest.raises(sa.AcquireTimeoutError, match="init did not end within 0.1 seconds"):
                await asyncio.wait_for(engine.acquire(), 10)
            assert hook.calls[1].closed
            assert engine.stats().closed == {"init": 1}
            hook.hangs = False
        await check_capacity(engine, 2)


async def test_connection_whose_acquire_was_cancelled_in_init_is_kept(
    connect_kwargs: Kwargs,
) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=2, init=hook) as engine:
        async with engine.acquire():
            hook.hangs = True
            task = spawn(engine.acquire())
            await until(lambda: len(hook.calls) == 2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            hook.let_go.set()
            await until(lambda: engine.freesize == 1)
        await check_capacity(engine, 2)
        assert len(hook.calls) == 2


async def test_init_is_run_on_what_is_opened_unasked(proxy: FaultyProxy) -> None:
    hook = Hook()
    async with sa.create_engine(**proxy.kwargs, minsize=1, maxsize=1, init=hook) as engine:
        proxy.drop()
        await until(lambda: len(hook.calls) == 2)

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @hook") == "run"


# -- reset -----------------------------------------------------------------------------------------

STATE = {
    "a user variable": ("SET @leak = 1", "SELECT @leak"),
    "the isolation level": ("SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "{isolation}"),
    "a session variable": ("SET SESSION wait_timeout = 77", "SELECT @@wait_timeout"),
    "the sql_mode": ("SET SESSION sql_mode = ''", "SELECT @@sql_mode"),
    "the charset": ("SET NAMES latin1", "SELECT @@character_set_client, @@collation_connection"),
    "autocommit": ("SET SESSION autocommit = 1", "SELECT @@autocommit"),
    "a lock": ("SELECT GET_LOCK('leak', 0)", "SELECT IS_USED_LOCK('leak')"),
    "init_command": ("SET @command = 'gone'", "SELECT @command"),
    "init": ("SET @hook = 'gone'", "SELECT @hook"),
}


@pytest.mark.parametrize(("change", "question"), STATE.values(), ids=STATE)
async def test_session_is_as_new_after_a_reset(
    connect_kwargs: Kwargs, change: str, question: str
) -> None:
    async with sa.create_engine(
        **connect_kwargs,
        maxsize=1,
        reset=True,
        init=Hook(),
        init_command="SET @command = 'run'",
        sql_mode="ANSI_QUOTES",
    ) as engine:

        async def state(conn: sa.SAConnection) -> Any:
            name = "tx_isolation" if "MariaDB" in version else "transaction_isolation"
            result = await conn.execute(question.format(isolation=f"SELECT @@{name}"))
            return list((await result.fetchall())[0].values())

        async with engine.acquire() as conn:
            version = await conn.scalar("SELECT VERSION()")
            raw, before = conn.connection, await state(conn)
            await conn.execute(change)
            assert await state(conn) != before

        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert await state(conn) == before
            assert await conn.scalar("SELECT %s", "zoë€") == "zoë€"


async def test_temporary_tables_are_gone_after_a_reset(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=True) as engine:
        for _ in range(2):
            async with engine.acquire() as conn:
                await conn.execute("CREATE TEMPORARY TABLE leak (id INT)")


async def test_isolation_level_of_one_transaction_does_not_leak(connect_kwargs: Kwargs) -> None:
    async with (
        sa.create_engine(**connect_kwargs, maxsize=1, reset=True, autocommit=True) as engine,
        sa.create_engine(**connect_kwargs, autocommit=True) as other,
    ):
        async with other.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        async with engine.acquire() as conn:
            await conn.execute("SET TRANSACTION READ ONLY")  # of the next one, never begun

        async with engine.acquire() as conn, conn.begin():
            await conn.execute("INSERT INTO t VALUES (1)")
        async with other.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 1


async def test_uncommitted_rows_are_gone_after_a_reset(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
            await conn.execute("INSERT INTO t VALUES (1)")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 0


async def test_every_return_is_one_reset(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, reset=True) as engine:
        for _ in range(3):
            await lend(engine, 1)
        await until(lambda: at_rest(engine, 1))

        assert proxy.commands.count(RESET) == 3


async def test_reset_ends_a_transaction_that_has_only_read_but_on_mariadb(
    proxy: FaultyProxy, server: Server
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, reset=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute("BEGIN")
        await until(lambda: at_rest(engine, 1))

        assert (QUERY + b"ROLLBACK" in proxy.commands) is (server.flavour == "mariadb")
        assert proxy.commands.count(RESET) == 1


async def test_release_does_not_wait_for_the_reset_but_acquire_does(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, reset=True) as engine:
        conn = await engine.acquire()
        await conn.execute("SET @leak = 1")
        proxy.hold()
        engine.release(conn)
        waiter = spawn(engine.acquire())
        await until(lambda: RESET in proxy.commands)
        await steps()
        assert not waiter.done() and engine.stats().idle == 0
        proxy.flow()

        async with await asyncio.wait_for(waiter, 10) as conn:
            assert await conn.scalar("SELECT @leak") is None


@pytest.mark.parametrize("kind", ["fin", "reset"])
async def test_connection_lost_in_its_reset_is_replaced_without_a_word(
    proxy: FaultyProxy, kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**proxy.kwargs, maxsize=1, reset=True) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        proxy.fault(0, kind)
        engine.release(conn)

        async with await asyncio.wait_for(engine.acquire(), 10) as conn:
            assert conn.connection is not raw and raw.closed
            assert await conn.scalar("SELECT 1") == 1
        assert engine.stats().closed == {"lost": 1}
        assert caplog.records == []


async def test_own_reset_is_run_instead(proxy: FaultyProxy) -> None:
    hook = Hook()
    async with sa.create_engine(**proxy.kwargs, maxsize=1, reset=hook) as engine:
        raws = await lend(engine, 1) + await lend(engine, 1)

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @hook") == "run"
        assert hook.calls[:2] == raws
        assert RESET not in proxy.commands


async def test_own_reset_sees_no_transaction_and_leaves_none(connect_kwargs: Kwargs) -> None:
    hook = Hook("INSERT INTO t VALUES (2)")
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=hook) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
            await conn.execute("INSERT INTO t VALUES (1)")

        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 0


async def test_connection_whose_reset_fails_is_closed(connect_kwargs: Kwargs) -> None:
    hook = Hook()
    hook.error = ValueError("no good")
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=hook) as engine:
        (raw,) = await lend(engine, 1)
        await until(lambda: raw.closed)
        hook.error = None

        assert await lend(engine, 1) != [raw]
        assert engine.stats().closed["reset"] == 1
        await until(lambda: at_rest(engine, 1))


async def test_connection_whose_reset_hangs_is_closed(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.2)
    hook = Hook()
    hook.hangs = True
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=hook) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        engine.release(conn)
        await asyncio.wait_for(hook.hung.wait(), 10)
        hook.hangs = False

        async with engine.acquire(timeout=7) as conn:
            assert raw.closed and conn.connection is not raw
        assert engine.stats().closed == {"reset": 1}


async def test_engine_that_closes_does_not_wait_for_a_reset_that_hangs(
    connect_kwargs: Kwargs,
) -> None:
    hook = Hook()
    hook.hangs = True
    before = asyncio.all_tasks()
    engine = await sa.create_engine(**connect_kwargs, maxsize=1, reset=hook)
    engine.release(await engine.acquire())
    await until(lambda: hook.calls)
    engine.close()

    await asyncio.wait_for(engine.wait_closed(timeout=0.1), 3)

    assert hook.calls[0].closed
    await until(lambda: asyncio.all_tasks() <= before)


# -- what hooks leave behind -----------------------------------------------------------------------

LOGGER = "aiomysqlx.pool"


class Armed:
    """A hook that does something bad to the connections it gets while it is armed."""

    def __init__(self, bad: Callable[[sa.SAConnection], Any]) -> None:
        self.bad = bad
        self.armed = False
        self.calls: list[Any] = []
        self.tasks: list[asyncio.Future[Any]] = []

    async def __call__(self, conn: sa.SAConnection) -> None:
        if self.armed:
            self.calls.append(conn.connection)
            done = await self.bad(conn)
            if done is not None:
                self.tasks.append(done)

    async def meet(self, engine: sa.Engine, kind: str) -> None:
        """Have the hook called once, as *kind*, on a connection that nobody else uses then."""
        first = await engine.acquire()
        self.armed = True
        if "init" in kind and "reset" not in kind:
            with contextlib.suppress(LookupError, sa.Error, err.MySQLError):
                engine.release(await asyncio.wait_for(engine.acquire(), 10))
            self.armed = False
            await engine.release(first)
        else:
            await engine.release(first)
            self.armed = False
        assert len(self.calls) == 1


async def give_up(conn: sa.SAConnection, sql: str) -> None:
    """Execute a statement that takes longer, and go on without it."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(conn.execute(sql), 0.05)


async def swallow(conn: sa.SAConnection) -> None:
    await conn.execute("BEGIN")
    await conn.scalar("SELECT id FROM t WHERE id = 1 FOR UPDATE")
    await give_up(conn, "SELECT SLEEP(0.3) FROM t FOR UPDATE")


async def swallow_for_long(conn: sa.SAConnection) -> None:
    await conn.scalar("SELECT id FROM t WHERE id = 1 FOR UPDATE")
    await give_up(conn, "SELECT SLEEP(4) FROM t FOR UPDATE")


async def begin(conn: sa.SAConnection) -> None:
    await conn.begin()
    await conn.scalar("SELECT id FROM t WHERE id = 1 FOR UPDATE")


async def write(conn: sa.SAConnection) -> None:
    await conn.execute("UPDATE t SET id = 2")


async def switch(conn: sa.SAConnection) -> None:
    await conn.execute("SET autocommit = 0")
    await conn.scalar("SELECT id FROM t WHERE id = 1 FOR UPDATE")


async def lock_and_fail(conn: sa.SAConnection) -> None:
    await begin(conn)
    raise LookupError("no good")


async def leave_a_task(conn: sa.SAConnection) -> asyncio.Future[Any]:
    task = spawn(conn.execute("SELECT SLEEP(0.2) FROM t FOR UPDATE"))
    await steps()
    return task


async def leave_a_waiting_task(conn: sa.SAConnection) -> asyncio.Future[Any]:
    await give_up(conn, "SELECT SLEEP(0.3)")
    task = spawn(conn.execute("SELECT id FROM t FOR UPDATE"))
    await steps()
    return task


BAD_HOOKS = {
    each.__name__: each
    for each in (
        *(swallow, swallow_for_long, begin, write, switch, lock_and_fail),
        *(leave_a_task, leave_a_waiting_task),
    )
}
KINDS = pytest.mark.parametrize("kind", ["init", "reset", "init and reset=True"])


def given(kind: str, hook: Any) -> dict[str, Any]:
    """Give the arguments of an engine that has the hook."""
    return {"init": hook, "reset": True} if "and" in kind else {kind: hook}


@pytest.fixture
async def rows(admin: Any, database: str) -> None:
    """A table `t` with a row to be locked."""
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {database}.t (id INT PRIMARY KEY) ENGINE=InnoDB")
        cursor.execute(f"INSERT INTO {database}.t VALUES (1)")


@pytest.mark.usefixtures("rows")
@KINDS
@pytest.mark.parametrize("bad", BAD_HOOKS.values(), ids=BAD_HOOKS)
async def test_borrower_has_nothing_of_what_a_hook_left(
    connect_kwargs: Kwargs, admin: Any, database: str, kind: str, bad: Any
) -> None:
    hook = Armed(bad)
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)

        lent = [await engine.acquire(timeout=8) for _ in range(2)]
        for conn in lent:
            raw: Any = conn.connection
            assert not (raw.busy or raw.in_transaction)
            assert await conn.scalar("SELECT 1") == 1
        with admin.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 8")
            assert cursor.execute(f"UPDATE {database}.t SET id = 3 WHERE id = 1") == 1
        for task in hook.tasks:
            with pytest.raises((sa.InvalidRequestError, err.MySQLError)):
                await asyncio.wait_for(task, 5)
        for conn in lent:
            await engine.release(conn)
        await check_capacity(engine, 2)


@KINDS
async def test_connection_on_which_a_hook_gave_up_a_statement_is_kept(
    connect_kwargs: Kwargs, kind: str
) -> None:
    hook = Armed(lambda conn: give_up(conn, "SELECT SLEEP(0.1)"))
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)

        await check_capacity(engine, 2)
        assert engine.stats().closed == {}


@pytest.mark.usefixtures("rows")
async def test_statement_that_a_hook_gave_up_is_killed(
    connect_kwargs: Kwargs, admin: Any, database: str
) -> None:
    hook = Armed(swallow_for_long)
    async with sa.create_engine(
        **connect_kwargs, maxsize=1, kill_on_cancel=True, reset=hook
    ) as engine:
        await hook.meet(engine, "reset")

        async with engine.acquire(timeout=8) as conn:
            assert conn.connection is hook.calls[0]
            with admin.cursor() as cursor:
                cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
                cursor.execute(f"UPDATE {database}.t SET id = 3")


async def fail_within_a_procedure(conn: sa.SAConnection) -> None:
    await conn.execute(
        "CREATE PROCEDURE fail()"
        " BEGIN START TRANSACTION; UPDATE t SET id = 2; SIGNAL SQLSTATE '45000'; END"
    )
    async with conn.begin():  # the server is seen to show transactions
        pass
    with contextlib.suppress(err.MySQLError):
        await conn.execute("CALL fail()")


@pytest.mark.usefixtures("rows")
@KINDS
@pytest.mark.parametrize("leave", [write, fail_within_a_procedure])
async def test_work_that_a_hook_leaves_uncommitted_is_warned_of(
    connect_kwargs: Kwargs, kind: str, leave: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Armed(leave)
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)
        await until(lambda: at_rest(engine))

        (record,) = caplog.records
        assert (record.name, record.levelname) == (LOGGER, "WARNING")
        what = "init" if kind == "init" else "reset"
        assert record.getMessage() == f"rolled back what {what} has left uncommitted"
        assert engine.stats().closed == {}


async def test_connection_that_a_hook_keeps_with_its_transaction_may_be_closed(
    connect_kwargs: Kwargs,
) -> None:
    kept: list[sa.SAConnection] = []

    async def keep(conn: sa.SAConnection) -> None:
        await conn.begin()
        kept.append(conn)

    engine = sa.create_engine(**connect_kwargs, maxsize=1, init=keep)
    async with engine as lender, lender.acquire() as conn:
        await kept[0].close()

        assert kept[0].closed
        assert await conn.scalar("SELECT 1") == 1


@pytest.mark.usefixtures("rows")
@KINDS
async def test_transaction_that_a_hook_leaves_without_work_is_rolled_back_without_a_word(
    connect_kwargs: Kwargs, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Armed(begin)
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)
        await until(lambda: at_rest(engine))

        assert caplog.records == []
        assert engine.stats().closed == {}
        lent = [await engine.acquire() for _ in range(2)]
        for conn in lent:  # nor is what a borrower does taken for a part of it
            await conn.execute("UPDATE t SET id = %s WHERE id = %s", [(2, 9), (3, 9)])
            await engine.release(conn)


@pytest.mark.parametrize("kind", ["init", "reset"])
async def test_statement_that_a_hook_leaves_in_progress_is_told_of(
    connect_kwargs: Kwargs, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def leave_a_statement(conn: sa.SAConnection) -> asyncio.Future[Any]:
        raw: Any = conn.connection
        task = spawn(raw.query("SELECT SLEEP(10)"))
        await steps(1)
        return task

    hook = Armed(leave_a_statement)
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)

        with pytest.raises(err.OperationalError, match="closed during query"):
            await asyncio.wait_for(hook.tasks[0], 5)
        (record,) = caplog.records
        assert record.getMessage().endswith(f": {kind} has left a statement in progress")


@pytest.mark.parametrize("kind", ["init", "reset"])
async def test_task_of_a_hook_that_waits_for_its_connection_is_refused(
    connect_kwargs: Kwargs, kind: str
) -> None:
    async def leave_a_task_that_waits(conn: sa.SAConnection) -> asyncio.Future[Any]:
        raw: Any = conn.connection
        leases.append(raw._session.lease)
        given_up = spawn(raw.query("SELECT SLEEP(0.05)"))
        await steps(1)
        given_up.cancel()
        await asyncio.wait([given_up])
        task = spawn(raw.query("SELECT 'not mine'"))
        await steps(1)
        return task

    leases: list[int] = []
    hook = Armed(leave_a_task_that_waits)
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)

        with pytest.raises(sa.ResourceClosedError, match="has been released"):
            await asyncio.wait_for(hook.tasks[0], 10)
        assert hook.calls[0]._session.lease > leases[0]  # and never the same again


@pytest.mark.usefixtures("rows")
@KINDS
async def test_error_of_a_hook_is_logged_with_its_place(
    connect_kwargs: Kwargs, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Armed(lock_and_fail)
    async with sa.create_engine(**connect_kwargs, maxsize=2, **given(kind, hook)) as engine:
        await hook.meet(engine, kind)

        (record,) = caplog.records
        assert (record.name, record.levelname) == (LOGGER, "ERROR")
        assert "no good" in record.getMessage()
        assert "in lock_and_fail" in caplog.text and "test_hooks.py" in caplog.text
        assert sum(engine.stats().closed.values()) == 1


async def test_hook_that_takes_too_long_is_logged_with_its_place(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.1)

    async def stay(conn: sa.SAConnection) -> None:
        await asyncio.Event().wait()

    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=stay) as engine:
        await lend(engine, 1)

        (message,) = (record.getMessage() for record in caplog.records)
        assert "reset did not end within 0.1 seconds" in message
        assert "stay" in message and "test_hooks.py" in message


async def test_connection_that_init_closes_after_a_reset_is_replaced_without_a_word(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    async def init(conn: sa.SAConnection) -> None:
        raw: Any = conn.connection
        calls.append(raw)
        if len(calls) == 2:
            raw.close()

    async with sa.create_engine(**connect_kwargs, maxsize=1, init=init, reset=True) as engine:
        await engine.release(await engine.acquire())
        async with engine.acquire() as conn:
            assert conn.connection is calls[2] is not calls[1]
    assert caplog.records == []


async def test_reset_of_the_session_that_takes_too_long_is_logged(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.1)
    async with sa.create_engine(**proxy.kwargs, minsize=0, maxsize=1, reset=True) as engine:
        conn = await engine.acquire()
        proxy.hang()
        await engine.release(conn)

        (message,) = (record.getMessage() for record in caplog.records)
        assert ": reset did not end within 0.1 seconds" in message


class NoHook:
    """An object that is called as a hook, and is none."""

    def __call__(self, conn: sa.SAConnection) -> None:
        """Do nothing."""


def no_hook(conn: sa.SAConnection) -> int:
    return 1


NO_HOOKS = {"function": no_hook, "object": NoHook(), "partial": functools.partial(no_hook)}


@pytest.mark.parametrize("hook", NO_HOOKS.values(), ids=NO_HOOKS)
async def test_plain_function_given_as_init_is_refused_with_its_place(
    connect_kwargs: Kwargs, hook: Any
) -> None:
    with pytest.raises(sa.ArgumentError, match=r"argument 'init' takes a coroutine .*hooks\.py:\d"):
        await sa.create_engine(**connect_kwargs, init=hook)
    with pytest.raises(TypeError):
        await sa.create_engine(**connect_kwargs, init=hook)


@pytest.mark.parametrize("hook", NO_HOOKS.values(), ids=NO_HOOKS)
async def test_plain_function_given_as_reset_is_logged_with_its_place(
    connect_kwargs: Kwargs, hook: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=hook) as engine:
        await lend(engine, 1)

        (record,) = caplog.records
        assert (record.name, record.levelname) == (LOGGER, "ERROR")
        assert "argument 'reset' takes a coroutine function" in record.getMessage()
        assert "test_hooks.py:" in record.getMessage()
        assert engine.stats().closed == {"reset": 1}


async def test_function_that_gives_a_coroutine_is_a_hook(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(
        **connect_kwargs, maxsize=1, init=lambda conn: conn.execute("SET @a = 1"), reset=Hook()
    ) as engine:
        await lend(engine, 1)
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT CONCAT(@a, @hook)") == "1run"


async def test_hook_of_an_engine_that_closes_is_not_complained_of(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook()
    hook.hangs = True
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=hook) as engine:
        engine.release(await engine.acquire())
        await asyncio.wait_for(hook.hung.wait(), 10)
        engine.terminate()
    assert caplog.records == []


async def test_reset_that_fails_as_its_engine_closes_is_not_complained_of(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    begun, closing = asyncio.Event(), asyncio.Event()

    async def reset(conn: sa.SAConnection) -> None:
        begun.set()
        await closing.wait()
        raise ZeroDivisionError

    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=reset) as engine:
        engine.release(await engine.acquire())
        await asyncio.wait_for(begun.wait(), 10)
        engine.close()
        closing.set()
        await engine.wait_closed()
    assert caplog.records == []


async def test_init_that_is_cancelled_is_not_complained_of(
    connect_kwargs: Kwargs, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, maxsize=2, init=hook) as engine:
        conn = await engine.acquire()
        hook.hangs = True
        known = asyncio.all_tasks()
        waiter = spawn(engine.acquire())
        await asyncio.wait_for(hook.hung.wait(), 10)
        for task in asyncio.all_tasks() - known - {waiter}:
            task.cancel()

        with pytest.raises(sa.InvalidRequestError, match="opening was cancelled"):
            await waiter
        assert caplog.records == []
        await engine.release(conn)


async def test_reset_is_not_run_on_what_is_to_be_closed(connect_kwargs: Kwargs) -> None:
    hook = Hook()
    async with sa.create_engine(**connect_kwargs, maxsize=1, reset=hook) as engine:
        conn = await engine.acquire()
        await give_up(conn, "SELECT SLEEP(0.2)")
        back = engine.release(conn)
        engine.clear()
        await back

        assert engine.stats().closed == {"cleared": 1}
        assert hook.calls == []


# -- neither ---------------------------------------------------------------------------------------


async def test_without_hooks_nothing_extra_is_sent(proxy: FaultyProxy) -> None:
    async with sa.create_engine(**proxy.kwargs, autocommit=True) as engine:
        await lend(engine, 1)
        known = len(proxy.commands)
        for number in range(3):
            async with engine.acquire() as conn:
                await conn.scalar(f"SELECT {number}")
        await passed(0.02)

        assert proxy.commands[known:] == [QUERY + b"SELECT %d" % number for number in range(3)]
