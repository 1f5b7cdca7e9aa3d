"""Transactions: what is sent when, and what becomes of a connection when something fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pymysql
import pytest
from pymysql import err

import aiomysqlx as sa
from aiomysqlx.driver import Connection

pytestmark = pytest.mark.server

INACTIVE = "This transaction is inactive"
IN_PROGRESS = "Cannot start a two phase transaction when a transaction is already in progress."
SLOW = "SELECT SLEEP(60)"


class Sent(list[str]):
    """The statements that a connection sends."""

    def __init__(self, raw: Connection) -> None:
        super().__init__()
        protocol = raw._session.protocol
        self._transport: Any = protocol._transport
        protocol._transport = cast(asyncio.Transport, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.append(data[5:].decode().replace("aiomysqlx_savepoint_", "S"))
        self._transport.write(data)

    def take(self) -> list[str]:
        taken = list(self)
        self.clear()
        return taken


@pytest.fixture
async def sent(conn: sa.SAConnection) -> Sent:
    """What the connection sends, without BEGIN's and COMMIT's surroundings."""
    assert conn.connection is not None
    return Sent(conn.connection)


@pytest.fixture
async def auto(connect_kwargs: dict[str, Any]) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode, with a table t of one row, (1, 'a')."""
    engine = await sa.create_engine(**connect_kwargs, autocommit=True, maxsize=3)
    async with engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(10)) ENGINE=InnoDB")
        await conn.execute("INSERT INTO t VALUES (1, 'a')")
    yield engine
    engine.terminate()
    await engine.wait_closed()


async def names(engine: sa.Engine) -> list[str]:
    async with engine.acquire() as conn:
        return [row.name async for row in conn.execute("SELECT name FROM t ORDER BY id")]


# -- what is sent ----------------------------------------------------------------------------------

# Each step: the call, what it sends (or the message it raises), in_transaction after it.
Step = tuple[str, "list[str] | str", bool]
TRACES: dict[str, list[Step]] = {
    "commit": [
        ("t1=begin", ["BEGIN"], True),
        ("t1.commit", ["COMMIT"], False),
        ("t1.commit", INACTIVE, False),
        ("t1.rollback", [], False),
        ("t1.close", [], False),
    ],
    "rollback": [
        ("t1=begin", ["BEGIN"], True),
        ("t1.rollback", ["ROLLBACK"], False),
        ("t1.rollback", [], False),
        ("t1.commit", INACTIVE, False),
    ],
    "close": [
        ("t1=begin", ["BEGIN"], True),
        ("t1.close", ["ROLLBACK"], False),
        ("t1.close", [], False),
        ("t1.commit", INACTIVE, False),
    ],
    "second-begin-commit": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t2.commit", [], True),
        ("t2.commit", [], True),
        ("t1.commit", ["COMMIT"], False),
        ("t2.commit", INACTIVE, False),
    ],
    "second-begin-outer-commit-first": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t1.commit", ["COMMIT"], False),
        ("t2.commit", INACTIVE, False),
        ("t2.rollback", [], False),
        ("t2.close", [], False),
    ],
    "second-begin-rollback": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t2.rollback", ["ROLLBACK"], False),
        ("t1.commit", INACTIVE, False),
        ("t1.rollback", [], False),
    ],
    "second-begin-outer-rollback-first": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t1.rollback", ["ROLLBACK"], False),
        ("t2.commit", INACTIVE, False),
        ("t2.rollback", [], False),
    ],
    "second-begin-close": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t2.close", [], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "second-begin-commit-then-rollback": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t2.commit", [], True),
        ("t2.rollback", ["ROLLBACK"], False),
        ("t1.commit", INACTIVE, False),
    ],
    "three-begins": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("t3=begin", [], True),
        ("t3.rollback", ["ROLLBACK"], False),
        ("t2.commit", INACTIVE, False),
        ("t1.commit", INACTIVE, False),
    ],
    "begin-again-after-the-end": [
        ("t1=begin", ["BEGIN"], True),
        ("t1.commit", ["COMMIT"], False),
        ("t2=begin", ["BEGIN"], True),
        ("t1.rollback", [], True),
        ("t2.commit", ["COMMIT"], False),
    ],
    "first-nested-is-a-root": [
        ("t1=begin_nested", ["BEGIN"], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-commit": [
        ("t1=begin_nested", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t2.commit", ["RELEASE SAVEPOINT S1"], True),
        ("t2.commit", [], True),
        ("t2.rollback", [], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-rollback": [
        ("t1=begin_nested", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t2.rollback", ["ROLLBACK TO SAVEPOINT S1"], True),
        ("t2.rollback", [], True),
        ("t2.commit", [], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-outer-commit-first": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t1.commit", ["COMMIT"], False),
        ("t2.commit", INACTIVE, False),
        ("t2.rollback", [], False),
    ],
    "nested-outer-rollback-first": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t1.rollback", ["ROLLBACK"], False),
        ("t2.commit", INACTIVE, False),
        ("t2.rollback", [], False),
    ],
    "nested-close": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t2.close", [], True),
        ("t3=begin_nested", ["SAVEPOINT S2"], True),
        ("t3.commit", ["RELEASE SAVEPOINT S2"], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-middle-rollback": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t3=begin_nested", ["SAVEPOINT S2"], True),
        ("t2.rollback", ["ROLLBACK TO SAVEPOINT S1"], True),
        ("t3.commit", INACTIVE, True),
        ("t3.rollback", [], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-middle-commit": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t3=begin_nested", ["SAVEPOINT S2"], True),
        ("t2.commit", ["RELEASE SAVEPOINT S1"], True),
        ("t3.commit", INACTIVE, True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-inside-out": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t3=begin_nested", ["SAVEPOINT S2"], True),
        ("t3.commit", ["RELEASE SAVEPOINT S2"], True),
        ("t2.commit", ["RELEASE SAVEPOINT S1"], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "nested-outermost-rollback": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t3=begin_nested", ["SAVEPOINT S2"], True),
        ("t1.rollback", ["ROLLBACK"], False),
        ("t3.rollback", [], False),
        ("t2.rollback", [], False),
        ("t3.close", [], False),
    ],
    "begin-inside-nested": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t3=begin", [], True),
        ("t3.rollback", ["ROLLBACK TO SAVEPOINT S1"], True),
        ("t1.commit", ["COMMIT"], False),
    ],
    "connection-closed-in-nested": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("c.close", ["ROLLBACK"], False),
        ("t2.rollback", [], False),
        ("t1.commit", INACTIVE, False),
    ],
    "connection-closed-in-second-begin": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin", [], True),
        ("c.close", ["ROLLBACK"], False),
    ],
    "twophase": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.prepare", ["XA END X'7831'", "XA PREPARE X'7831'"], True),
        ("t1.commit", ["XA COMMIT X'7831'"], False),
        ("t1.commit", INACTIVE, False),
        ("t1.rollback", [], False),
        ("t1.prepare", INACTIVE, False),
        ("t2=begin", ["BEGIN"], True),
        ("t2.commit", ["COMMIT"], False),
    ],
    "twophase-without-prepare": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.commit", ["XA END X'7831'", "XA COMMIT X'7831' ONE PHASE"], False),
        ("t2=begin_twophase", ["XA START X'7831'"], True),
        ("t2.rollback", ["XA END X'7831'", "XA ROLLBACK X'7831'"], False),
    ],
    "twophase-rollback": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.rollback", ["XA END X'7831'", "XA ROLLBACK X'7831'"], False),
        ("t1.rollback", [], False),
        ("t1.commit", INACTIVE, False),
    ],
    "twophase-prepared-rollback": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.prepare", ["XA END X'7831'", "XA PREPARE X'7831'"], True),
        ("t1.rollback", ["XA ROLLBACK X'7831'"], False),
    ],
    "twophase-close": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.close", ["XA END X'7831'", "XA ROLLBACK X'7831'"], False),
    ],
    "begin-inside-twophase": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t2=begin", [], True),
        ("t2.commit", [], True),
        ("t1.prepare", ["XA END X'7831'", "XA PREPARE X'7831'"], True),
        ("t1.commit", ["XA COMMIT X'7831'"], False),
    ],
    "rollback-inside-twophase": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t2=begin", [], True),
        ("t2.rollback", ["XA END X'7831'", "XA ROLLBACK X'7831'"], False),
    ],
    "nested-inside-twophase": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t2=begin_nested", ["SAVEPOINT S1"], True),
        ("t2.rollback", ["ROLLBACK TO SAVEPOINT S1"], True),
        ("t1.rollback", ["XA END X'7831'", "XA ROLLBACK X'7831'"], False),
    ],
    "twophase-in-transaction": [
        ("t1=begin", ["BEGIN"], True),
        ("t2=begin_twophase", IN_PROGRESS, True),
        ("t1.rollback", ["ROLLBACK"], False),
    ],
    "twophase-in-twophase": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t2=begin_twophase", IN_PROGRESS, True),
        ("t1.rollback", ["XA END X'7831'", "XA ROLLBACK X'7831'"], False),
    ],
    "committed-by-its-xid": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.prepare", ["XA END X'7831'", "XA PREPARE X'7831'"], True),
        ("c.commit_prepared", ["XA COMMIT X'7831'"], False),
        ("t1.commit", INACTIVE, False),
    ],
    "rolled-back-by-its-xid": [
        ("t1=begin_twophase", ["XA START X'7831'"], True),
        ("t1.prepare", ["XA END X'7831'", "XA PREPARE X'7831'"], True),
        ("c.rollback_prepared", ["XA ROLLBACK X'7831'"], False),
        ("t1.rollback", [], False),
    ],
}


async def take_step(call: str, conn: sa.SAConnection, known: dict[str, Any]) -> None:
    target, _, begin = call.partition("=")
    if begin:
        known[target] = await getattr(conn, begin)(*(["x1"] if begin == "begin_twophase" else []))
        return
    name, method = call.split(".")
    arguments = ["x1"] if method.endswith("_prepared") else []
    await getattr(known[name], method)(*arguments)


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
async def test_transactions_send_what_aiomysql_sa_sends(
    conn: sa.SAConnection, sent: Sent, trace: list[Step]
) -> None:
    known: dict[str, Any] = {"c": conn}

    for call, outcome, in_transaction in trace:
        if isinstance(outcome, str):
            with pytest.raises(sa.InvalidRequestError) as caught:
                await take_step(call, conn, known)
            assert (call, caught.value.args) == (call, (outcome,))
            assert sent.take() == []
        else:
            await take_step(call, conn, known)
            assert (call, sent.take()) == (call, outcome)
        assert (call, conn.in_transaction) == (call, in_transaction)


async def test_kinds_of_transactions(conn: sa.SAConnection) -> None:
    root = await conn.begin()
    nested = await conn.begin_nested()
    inner = await conn.begin()

    assert [type(root), type(nested), type(inner)] == [
        sa.RootTransaction,
        sa.NestedTransaction,
        sa.Transaction,
    ]
    assert root.connection is nested.connection is inner.connection is conn
    assert conn._transaction is nested
    await root.rollback()
    assert conn._transaction is None
    assert not any(each.is_active for each in (root, nested, inner))


# -- async with ------------------------------------------------------------------------------------

BEGINS: dict[str, tuple[Callable[[sa.SAConnection], Any], list[str], list[str], list[str]]] = {
    "begin": (lambda conn: conn.begin(), ["BEGIN"], ["COMMIT"], ["ROLLBACK"]),
    "begin_nested": (lambda conn: conn.begin_nested(), ["BEGIN"], ["COMMIT"], ["ROLLBACK"]),
    "begin_twophase": (
        lambda conn: conn.begin_twophase("x1"),
        ["XA START X'7831'"],
        ["XA END X'7831'", "XA COMMIT X'7831' ONE PHASE"],
        ["XA END X'7831'", "XA ROLLBACK X'7831'"],
    ),
}


@pytest.mark.parametrize(("begin", "first", "good", "bad"), BEGINS.values(), ids=BEGINS)
async def test_block_commits_at_its_end(
    conn: sa.SAConnection, sent: Sent, begin: Any, first: list[str], good: list[str], bad: list[str]
) -> None:
    async with begin(conn) as transaction:
        assert transaction.is_active
        assert sent.take() == first

    assert sent.take() == good
    assert not transaction.is_active and not conn.in_transaction


@pytest.mark.parametrize(("begin", "first", "good", "bad"), BEGINS.values(), ids=BEGINS)
async def test_block_rolls_back_when_it_raises(
    conn: sa.SAConnection, sent: Sent, begin: Any, first: list[str], good: list[str], bad: list[str]
) -> None:
    with pytest.raises(ValueError, match="body"):
        async with begin(conn):
            raise ValueError("body")

    assert sent.take() == first + bad
    assert not conn.in_transaction


@pytest.mark.parametrize(("begin", "first", "good", "bad"), BEGINS.values(), ids=BEGINS)
async def test_awaited_transaction_is_a_block_too(
    conn: sa.SAConnection, sent: Sent, begin: Any, first: list[str], good: list[str], bad: list[str]
) -> None:
    async with await begin(conn):
        pass

    assert sent.take() == first + good


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_block_ended_inside_sends_nothing_more(
    conn: sa.SAConnection, sent: Sent, end: str
) -> None:
    async with conn.begin() as transaction:
        await getattr(transaction, end)()

    assert sent.take() == ["BEGIN", "COMMIT" if end == "commit" else "ROLLBACK"]


async def test_block_committed_inside_keeps_its_error(conn: sa.SAConnection, sent: Sent) -> None:
    with pytest.raises(ValueError, match="body"):
        async with conn.begin() as transaction:
            await transaction.commit()
            raise ValueError("body")

    assert sent.take() == ["BEGIN", "COMMIT"]


async def test_nested_block_rolls_back_to_its_savepoint(auto: sa.Engine) -> None:
    async with auto.acquire() as conn, conn.begin():
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
        with pytest.raises(ValueError, match="body"):
            async with conn.begin_nested():
                await conn.execute("INSERT INTO t VALUES (3, 'c')")
                raise ValueError("body")
        await conn.execute("INSERT INTO t VALUES (4, 'd')")

    assert await names(auto) == ["a", "b", "d"]


@pytest.mark.parametrize("schedule", ["create_task", "wait_for", "gather"])
async def test_begin_runs_as_a_task(conn: sa.SAConnection, schedule: str) -> None:
    if schedule == "create_task":
        transaction = await asyncio.create_task(conn.begin())
    elif schedule == "wait_for":
        transaction = await asyncio.wait_for(conn.begin(), 10)
    else:
        (transaction,) = await asyncio.gather(conn.begin())

    assert conn.in_transaction
    await transaction.rollback()


async def test_begin_twice_on_the_same_object_is_refused(conn: sa.SAConnection) -> None:
    begin = conn.begin()
    transaction = await begin

    with pytest.raises(RuntimeError, match="already awaited"):
        await begin
    await transaction.rollback()


# -- engine.begin() --------------------------------------------------------------------------------


async def test_engine_begin_commits(auto: sa.Engine) -> None:
    async with auto.begin() as conn:
        assert conn.in_transaction
        await conn.execute("INSERT INTO t VALUES (2, 'b')")

    assert await names(auto) == ["a", "b"]
    assert conn.closed and auto.freesize == auto.size


async def test_engine_begin_rolls_back(auto: sa.Engine) -> None:
    with pytest.raises(ValueError, match="body"):
        async with auto.begin() as conn:
            await conn.execute("INSERT INTO t VALUES (2, 'b')")
            raise ValueError("body")

    assert await names(auto) == ["a"]
    assert auto.freesize == auto.size


async def test_engine_begin_cancelled_rolls_back_and_returns(auto: sa.Engine) -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with auto.begin() as conn:
            await conn.execute("INSERT INTO t VALUES (2, 'b')")
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.wait_for(started.wait(), 10)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert auto.freesize == auto.size
    assert await names(auto) == ["a"]


# -- failures --------------------------------------------------------------------------------------


def kill(admin: pymysql.Connection[Any], conn: sa.SAConnection) -> None:
    """End a connection from the server's side."""
    assert conn.connection is not None
    with admin.cursor() as cursor:
        cursor.execute(f"KILL {conn.connection.thread_id()}")


async def test_error_of_commit_closes_the_connection(
    auto: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    conn = await auto.acquire()
    transaction = await conn.begin()
    kill(admin, conn)

    with pytest.raises(err.OperationalError):
        await transaction.commit()

    assert conn.closed and not conn.in_transaction and not transaction.is_active
    auto.release(conn)
    assert await names(auto) == ["a"]


async def test_error_of_begin_leaves_no_transaction(
    auto: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    conn = await auto.acquire()
    kill(admin, conn)

    with pytest.raises(err.OperationalError):
        await conn.begin()

    assert not conn.in_transaction
    auto.release(conn)


async def test_failing_rollback_does_not_replace_the_error_of_the_block(
    auto: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    with pytest.raises(ValueError, match="body"):
        async with auto.acquire() as conn, conn.begin():
            kill(admin, conn)
            raise ValueError("body")

    assert conn.closed
    assert await names(auto) == ["a"]


async def test_failing_rollback_to_a_savepoint_does_not_replace_the_error(
    auto: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    with pytest.raises(ValueError, match="body"):
        async with auto.acquire() as conn, conn.begin(), conn.begin_nested():
            kill(admin, conn)
            raise ValueError("body")

    assert await names(auto) == ["a"]


async def test_unfinished_statement_of_another_task_does_not_replace_the_error(
    auto: sa.Engine, admin: pymysql.Connection[Any]
) -> None:
    with pytest.raises(ValueError, match="body"):
        async with auto.acquire() as conn, conn.begin():
            raw = conn.connection
            assert raw is not None
            other = asyncio.ensure_future(conn.execute(SLOW))
            while not raw.busy:
                await asyncio.sleep(0)
            raise ValueError("body")

    with admin.cursor() as cursor:
        cursor.execute(f"KILL QUERY {raw.thread_id()}")
    with pytest.raises((err.MySQLError, sa.Error)):
        result = await asyncio.wait_for(other, 10)
        await result.fetchall()
        raise sa.ResourceClosedError
    assert await names(auto) == ["a"]


async def test_commit_during_a_statement_is_refused_and_can_be_done_again(
    auto: sa.Engine,
) -> None:
    async with auto.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
        raw = conn.connection
        assert raw is not None
        other = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
        while not raw.busy:
            await asyncio.sleep(0)

        with pytest.raises(sa.InvalidRequestError, match="in progress"):
            await transaction.commit()
        await other
        assert transaction.is_active
        await transaction.commit()

    assert await names(auto) == ["a", "b"]


async def test_deadlock_is_what_a_nested_block_raises(auto: sa.Engine) -> None:
    async with auto.acquire() as first:
        await first.execute("INSERT INTO t VALUES (2, 'b')")
    arrived: list[int] = []
    both = asyncio.Event()

    async def lock(mine: int, other: int) -> str:
        try:
            async with auto.begin() as conn, conn.begin_nested():
                await conn.execute("UPDATE t SET name = 'x' WHERE id = %s", mine)
                arrived.append(mine)
                if len(arrived) == 2:
                    both.set()
                await asyncio.wait_for(both.wait(), 10)
                await conn.execute("UPDATE t SET name = 'x' WHERE id = %s", other)
        except err.OperationalError as error:
            return str(error.args[0])
        return "committed"

    outcomes = await asyncio.wait_for(asyncio.gather(lock(1, 2), lock(2, 1)), 30)

    assert sorted(outcomes) == ["1213", "committed"]
    assert auto.freesize == auto.size


@pytest.mark.usefixtures("mariadb")  # MySQL tells of the other transaction at once
async def test_savepoint_that_is_gone_ends_the_whole_transaction(conn: sa.SAConnection) -> None:
    root = await conn.begin()
    nested = await conn.begin_nested()
    await conn.execute("ROLLBACK AND CHAIN")

    with pytest.raises(err.OperationalError, match="1305"):
        await nested.rollback()

    assert not nested.is_active
    for _ in range(2):
        with pytest.raises(sa.InvalidRequestError, match="has ended this transaction"):
            await conn.execute("SELECT 1")
    with pytest.raises(sa.InvalidRequestError, match="has ended this transaction"):
        await root.commit()
    await root.rollback()
    assert await conn.scalar("SELECT 1") == 1


async def test_block_of_a_savepoint_that_is_gone_is_not_left_in_silence(
    conn: sa.SAConnection,
) -> None:
    with pytest.raises(sa.InvalidRequestError, match=r"savepoint is gone \(error 1305\)"):
        async with conn.begin():
            with pytest.raises(sa.InvalidRequestError, match="ended by an error"):
                async with conn.begin_nested() as nested:
                    await conn.execute(f"RELEASE SAVEPOINT {nested._savepoint}")
                    with pytest.raises(err.OperationalError, match="1305"):
                        await nested.rollback()


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_cancelled_end_closes_the_connection_or_ends_the_transaction(
    auto: sa.Engine, end: str
) -> None:
    async with auto.acquire() as conn:
        transaction = await conn.begin()
        task = asyncio.ensure_future(getattr(transaction, end)())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert not conn.in_transaction
        assert not transaction.is_active

    assert (await names(auto)) == ["a"]


async def test_cancelled_begin_leaves_no_transaction_open(auto: sa.Engine) -> None:
    conn = await auto.acquire()
    task = asyncio.ensure_future(conn.begin())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    # Nobody would commit what came after: the connection is closed, not quietly in a transaction.
    with pytest.raises(err.MySQLError):
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
    auto.release(conn)
    assert await names(auto) == ["a"]


async def test_begin_whose_coroutine_is_closed_leaves_no_transaction_open(auto: sa.Engine) -> None:
    conn = await auto.acquire()
    beginning = conn.begin().__await__()
    next(beginning)
    beginning.close()

    with pytest.raises(err.MySQLError):
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
    auto.release(conn)
    assert await names(auto) == ["a"]


async def test_statement_cancelled_in_a_transaction_rolls_back(auto: sa.Engine) -> None:
    async with auto.acquire() as conn:
        with pytest.raises(asyncio.TimeoutError):
            async with conn.begin():
                await conn.execute("INSERT INTO t VALUES (2, 'b')")
                await asyncio.wait_for(conn.execute("SELECT SLEEP(0.5)"), 0.05)

        assert not conn.in_transaction
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 1


# -- two-phase, what test_twophase.py does not look at ---------------------------------------------


@pytest.mark.parametrize(
    ("xid", "message"),
    [
        pytest.param("", "1 to 64 bytes, got 0", id="empty"),
        pytest.param("x" * 65, "1 to 64 bytes, got 65", id="too-long"),
        pytest.param("é" * 33, "1 to 64 bytes, got 66", id="too-long-encoded"),
        pytest.param(5, "got 5", id="int"),
        pytest.param("\ud800", "xid", id="surrogate"),
    ],
)
async def test_xid_that_is_none_is_refused(
    conn: sa.SAConnection, sent: Sent, xid: Any, message: str
) -> None:
    with pytest.raises(sa.ArgumentError, match=message):
        await conn.begin_twophase(xid)

    assert sent == []
    assert not conn.in_transaction


async def test_commit_prepared_in_one_phase(conn: sa.SAConnection, sent: Sent) -> None:
    await conn.begin_twophase("one")
    await conn.commit_prepared("one", is_prepared=False)

    assert sent.take()[1:] == ["XA END X'6f6e65'", "XA COMMIT X'6f6e65' ONE PHASE"]
    assert not conn.in_transaction
    assert await conn.scalar("SELECT 1") == 1


# -- what has ended --------------------------------------------------------------------------------


async def test_inner_transaction_that_is_committed_is_not_active(conn: sa.SAConnection) -> None:
    outer = await conn.begin()
    inner = await conn.begin()

    await inner.commit()

    assert (outer.is_active, inner.is_active) == (True, False)
    await outer.rollback()


async def test_inner_transaction_that_is_closed_leaves_the_outer_one(conn: sa.SAConnection) -> None:
    outer = await conn.begin()
    inner = await conn.begin()

    await inner.close()

    assert (outer.is_active, inner.is_active) == (True, False)
    await outer.close()
    assert not outer.is_active
    await inner.close()
    await outer.close()
    assert not conn.in_transaction


async def test_end_of_a_savepoint_that_has_ended_waits_for_nobody(conn: sa.SAConnection) -> None:
    outer = await conn.begin()
    nested = await conn.begin_nested()
    await nested.rollback()
    running = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
    await asyncio.sleep(0)

    await nested.rollback()
    await nested.commit()
    await nested.close()

    await running
    await outer.rollback()


async def test_block_of_a_savepoint_that_was_closed_waits_for_nobody(conn: sa.SAConnection) -> None:
    async with conn.begin():
        with pytest.raises(ZeroDivisionError):
            async with conn.begin_nested() as nested:
                running = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
                await asyncio.sleep(0)
                await nested.close()
                raise ZeroDivisionError

        assert not running.done()
        await running


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_savepoint_that_is_closed_while_its_end_waits_keeps_its_work(
    auto: sa.Engine, end: str
) -> None:
    async with auto.acquire() as conn, conn.begin():
        nested = await conn.begin_nested()
        await conn.execute("INSERT INTO t VALUES (2, 'b')")
        with pytest.raises(sa.StatementTimeoutError):
            await conn.execute("SELECT SLEEP(0.1)", timeout=0.01)
        ending = asyncio.ensure_future(getattr(nested, end)())
        await asyncio.sleep(0)
        await nested.close()

        if end == "commit":
            with pytest.raises(sa.InvalidRequestError, match="inactive"):
                await ending
        else:
            await ending
        assert await conn.scalar("SELECT COUNT(*) FROM t WHERE id = 2") == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_end_of_a_savepoint_that_is_refused_can_be_done_again(
    auto: sa.Engine, end: str
) -> None:
    async with auto.acquire() as conn, conn.begin():
        async with conn.begin_nested() as nested:
            running = asyncio.ensure_future(conn.execute("SELECT SLEEP(0.05)"))
            await asyncio.sleep(0)
            with pytest.raises(sa.InvalidRequestError, match="in progress"):
                await getattr(nested, end)()
            await running

            await conn.execute("INSERT INTO t VALUES (2, 'b')")
            await getattr(nested, end)()
        kept = await conn.scalar("SELECT COUNT(*) FROM t WHERE id = 2")
        assert kept == (1 if end == "commit" else 0)


async def test_savepoint_that_has_ended_closes_no_other(conn: sa.SAConnection) -> None:
    outer = await conn.begin()
    ended = await conn.begin_nested()
    await ended.rollback()
    second = await conn.begin_nested()

    await ended.close()

    third = await conn.begin_nested()
    await second.rollback()
    assert (outer.is_active, second.is_active, third.is_active) == (True, False, False)
    await outer.rollback()


async def test_savepoint_that_is_closed_keeps_its_work_and_is_not_active(auto: sa.Engine) -> None:
    async with auto.acquire() as conn:
        outer = await conn.begin()
        nested = await conn.begin_nested()
        await conn.execute("INSERT INTO t VALUES (2, 'b')")

        await nested.close()

        assert (outer.is_active, nested.is_active) == (True, False)
        after = await conn.begin_nested()
        await nested.rollback()
        assert (outer.is_active, after.is_active) == (True, True)
        await outer.commit()
    assert await names(auto) == ["a", "b"]
