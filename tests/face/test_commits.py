"""COMMITs whose answer is lost, or a refusal: what their caller is told, and what is kept."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from fakes import OK, Peer, error, fake_server, packet, result
from faults import FaultyProxy
from pymysql import err
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from watch import cause_of, kill, one, prepared, spawn, until

import aiomysqlx as sa

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Work = Callable[[sa.SAConnection], Awaitable[Any]]
UNKNOWN = "COMMIT was sent, and may have been executed or not"
USER = "aiomysqlx_plain"
IN_TRANSACTION = b"\x00\x00\x00\x03\x00\x00\x00"
INSERT = "INSERT INTO paid VALUES (1)"
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
def table(admin: Admin, database: str) -> Iterator[str]:
    """The name of an empty table of one column, its key."""
    with admin.cursor() as cursor:
        cursor.execute(f"CREATE TABLE {database}.paid (id INT PRIMARY KEY) ENGINE=InnoDB")
    yield f"{database}.paid"
    # What is prepared would keep it from being dropped, also if the server has yet to see the end
    # of its connection.
    deadline = time.monotonic() + 10
    while prepared(admin):
        assert time.monotonic() < deadline, "it is not to be rolled back"


@contextlib.asynccontextmanager
async def pool(kwargs: Kwargs, **more: Any) -> AsyncIterator[sa.Engine]:
    """Give an engine of one connection at most."""
    engine = await sa.create_engine(
        **{"minsize": 0, "maxsize": 1, "autocommit": True, **kwargs, **more}
    )
    try:
        yield engine
    finally:
        engine.terminate()
        await engine.wait_closed()


def count(admin: Admin, table: str) -> int:
    return int(one(admin, f"SELECT COUNT(*) FROM {table}"))


# -- the ways to commit ----------------------------------------------------------------------------


async def commit(conn: sa.SAConnection) -> None:
    transaction = await conn.begin()
    await conn.execute(INSERT)
    await transaction.commit()


async def block(conn: sa.SAConnection) -> None:
    async with conn.begin():
        await conn.execute(INSERT)


async def inner_block(conn: sa.SAConnection) -> None:
    async with conn.begin(), conn.begin_nested():
        await conn.execute(INSERT)


async def piped(conn: sa.SAConnection) -> None:
    async with conn.pipeline(transaction=True) as pipe:
        pipe.execute(INSERT)


async def piped_in_block(conn: sa.SAConnection) -> None:
    async with conn.begin(), conn.pipeline() as pipe:
        pipe.execute(INSERT)


async def by_xid_of_another(conn: sa.SAConnection) -> None:
    assert conn.connection is not None
    async with conn._engine.acquire() as other:
        assert other.connection is not None
        thread = other.connection.thread_id()
        transaction = await other.begin_twophase()
        await other.execute(INSERT)
        await transaction.prepare()
        other.invalidate()
    await conn.connection.rollback()  # of what it has read
    with pytest.raises(err.OperationalError, match="1094"):  # the server has seen the other's end
        while True:
            await conn.connection.kill(thread)
    await conn.commit_prepared(transaction.xid)


async def driver(conn: sa.SAConnection) -> None:
    assert conn.connection is not None
    await conn.connection.begin()
    await conn.execute(INSERT)
    await conn.connection.commit()


async def one_phase(conn: sa.SAConnection) -> None:
    async with conn.begin_twophase():
        await conn.execute(INSERT)


async def two_phases(conn: sa.SAConnection) -> None:
    async with conn.begin_twophase() as transaction:
        await conn.execute(INSERT)
        await transaction.prepare()


async def by_xid(conn: sa.SAConnection) -> None:
    transaction = await conn.begin_twophase()
    await conn.execute(INSERT)
    await transaction.prepare()
    await conn.commit_prepared(transaction.xid)


WAYS: dict[str, Work] = {
    "commit()": commit,
    "block": block,
    "inner block": inner_block,
    "pipeline": piped,
    "driver": driver,
    "one phase": one_phase,
    "two phases": two_phases,
    "by xid": by_xid,
}
ways = pytest.mark.parametrize("work", WAYS.values(), ids=WAYS)
CUTS: dict[str, tuple[Any, Any]] = {
    "before": ("reset", "up"),
    "behind": ("reset", "down"),
    "behind, in order": ("fin", "down"),
}
cuts = pytest.mark.parametrize(("kind", "way"), CUTS.values(), ids=CUTS)


@server
@ways
@cuts
@pytest.mark.parametrize("autocommit", [True, False], ids=["autocommit", "without"])
async def test_commit_whose_answer_is_lost_is_unknown(
    proxy: FaultyProxy, admin: Admin, table: str, work: Work, kind: Any, way: Any, autocommit: bool
) -> None:
    async with pool(proxy.kwargs, autocommit=autocommit) as engine:
        conn = await engine.acquire()
        raw = conn.connection
        proxy.fault_at(b"COMMIT", kind, way)

        with pytest.raises(sa.CommitUnknownError, match=UNKNOWN) as caught:
            await work(conn)

        assert isinstance(caught.value, err.OperationalError)
        code, message = caught.value.args
        assert code == 2013 and message.startswith("Lost connection to MySQL server")
        assert sa.is_disconnect(caught.value)
        assert raw is not None and raw.closed and not conn.in_transaction
        await conn.close()
    if work in (two_phases, by_xid) and way == "up":
        assert "XA RECOVER lists" in message
        await until(lambda: len(prepared(admin)) == 1)
    assert count(admin, table) == (way == "down")
    commits = (b"COMMIT", b"XA COMMIT")
    assert sum(command[1:].startswith(commits) for command in proxy.commands) == 1


@server
@pytest.mark.parametrize(
    ("end", "text"),
    [(lambda raw: raw.begin(), b"BEGIN"), (lambda raw: raw.autocommit(True), b"SET AUTOCOMMIT")],
    ids=["begin()", "autocommit(True)"],
)
@cuts
async def test_loss_of_what_commits_in_passing_is_unknown_too(
    proxy: FaultyProxy, admin: Admin, table: str, end: Any, text: bytes, kind: Any, way: Any
) -> None:
    async with sa.connect(**proxy.kwargs) as raw:
        await raw.query(INSERT)
        proxy.fault_at(text, kind, way)

        with pytest.raises(sa.CommitUnknownError, match="was sent, and may have been executed"):
            await end(raw)

    assert count(admin, table) == (way == "down")


@server
@pytest.mark.parametrize("end", ["begin", "autocommit"])
async def test_loss_of_what_has_nothing_to_commit_is_known(proxy: FaultyProxy, end: str) -> None:
    async with sa.connect(**proxy.kwargs) as raw:
        await raw.query("DO 1")
        proxy.fault_at(b"BEGIN" if end == "begin" else b"SET AUTOCOMMIT", "reset")

        with pytest.raises(err.OperationalError) as caught:
            await (raw.begin() if end == "begin" else raw.autocommit(True))

    assert type(caught.value) is err.OperationalError


@server
@ways
async def test_commit_that_was_not_sent_is_not_unknown(
    proxy: FaultyProxy, admin: Admin, table: str, work: Work
) -> None:
    async with pool(proxy.kwargs) as engine:
        conn = await engine.acquire()
        proxy.fault_at(b"INSERT", "reset", "up")

        with pytest.raises(err.OperationalError) as caught:
            await work(conn)

        assert not isinstance(caught.value, sa.CommitUnknownError)
        assert sa.is_disconnect(caught.value)
        await conn.close()
    assert count(admin, table) == 0


@server
async def test_commit_as_text_is_a_statement_as_others_also_after_a_commit(
    proxy: FaultyProxy,
) -> None:
    async with sa.connect(**proxy.kwargs) as connection:
        await connection.commit()
        proxy.fault_at(b"COMMIT", "reset", "up")

        with pytest.raises(err.OperationalError) as caught:
            await connection.query("COMMIT")

    assert type(caught.value) is err.OperationalError


@server
async def test_commit_on_a_connection_that_is_known_to_be_lost_is_not_unknown(
    proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    async with pool(proxy.kwargs) as engine, engine.acquire() as conn:
        transaction = await conn.begin()
        await conn.execute(INSERT)
        proxy.drop()
        await until(lambda: conn.closed)

        with pytest.raises(err.OperationalError) as caught:
            await transaction.commit()

        assert not isinstance(caught.value, sa.CommitUnknownError)
    assert count(admin, table) == 0


@server
async def test_block_that_goes_on_after_a_lost_commit_says_that_nobody_knows(
    proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    async with pool(proxy.kwargs) as engine, engine.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match="its answer lost: it is committed or not"):
            async with conn.begin() as transaction:
                await conn.execute(INSERT)
                proxy.fault_at(b"COMMIT", "reset")
                with pytest.raises(sa.CommitUnknownError):
                    await transaction.commit()
    assert count(admin, table) == 1


BEHIND = {
    "another transaction": (block, b"ROLLBACK AND NO CHAIN", {}),
    "pipeline": (piped_in_block, b"SET autocommit = 1", {"init_command": None}),
    "by xid": (
        by_xid_of_another,
        b"SET autocommit = 0",
        {"init_command": None, "autocommit": False},
    ),
}


@server
@pytest.mark.parametrize(("work", "what", "more"), BEHIND.values(), ids=BEHIND)
async def test_what_is_lost_behind_a_commit_does_not_hide_that_it_was_done(
    proxy: FaultyProxy, admin: Admin, table: str, work: Work, what: bytes, more: Kwargs
) -> None:
    if work is by_xid_of_another and "MariaDB" not in admin.get_server_info():
        what = b"XA RECOVER"  # nothing is sent behind it there
    more = {"init_command": "SET completion_type = 'CHAIN'", **more}
    async with pool(proxy.kwargs, maxsize=2, **more) as engine, engine.acquire() as conn:
        await conn.execute("SELECT 1")
        proxy.fault_at(what, "reset", "up")

        await work(conn)

        if what != b"XA RECOVER":
            await until(lambda: conn.closed)
    assert count(admin, table) == 1


@server
@pytest.mark.parametrize("work", [block, one_phase, two_phases], ids=["block", "one", "two"])
async def test_commit_out_of_time_is_unknown_and_a_time_out(
    proxy: FaultyProxy, admin: Admin, table: str, work: Work
) -> None:
    async with pool(proxy.kwargs, statement_timeout=1) as engine, engine.acquire() as conn:
        proxy.fault_at(b"COMMIT", "hang")

        with pytest.raises(sa.CommitUnknownError, match=UNKNOWN) as caught:
            await work(conn)

        assert isinstance(caught.value, sa.StatementTimeoutError)
        assert caught.value.args[0] == 3024 and str(caught.value) == str(caught.value.args)
        assert not sa.is_disconnect(caught.value)
        assert conn.closed
    assert count(admin, table) == 1


@server
@ways
async def test_cancelled_commit_is_the_cause_of_the_cancellation(
    proxy: FaultyProxy, admin: Admin, table: str, work: Work
) -> None:
    async with pool(proxy.kwargs) as engine:
        conn = await engine.acquire()
        proxy.fault_at(b"COMMIT", "hang")
        task = spawn(work(conn))
        await until(lambda: any(b"COMMIT" in command for command in proxy.commands))
        task.cancel()

        with pytest.raises(asyncio.CancelledError) as caught:
            await task

        cause = cause_of(caught.value)
        assert isinstance(cause, sa.CommitUnknownError) and UNKNOWN in str(cause)
        await conn.close()
    await until(lambda: count(admin, table) == 1)


@server
async def test_task_cancelled_behind_its_commit_is_told_of_that(
    proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    async with pool(proxy.kwargs) as engine:
        conn = await engine.acquire()
        behind = b"SET autocommit = 1"  # which the pipeline has switched off
        proxy.fault_at(behind, "hang")
        task = spawn(piped(conn))
        await until(lambda: any(behind in command for command in proxy.commands))
        task.cancel()

        with pytest.raises(asyncio.CancelledError) as caught:
            await task

        assert isinstance(cause_of(caught.value), sa.CommitUnknownError)
        await conn.close()
    assert count(admin, table) == 1


@server
async def test_commit_of_an_engine_that_is_terminated_is_unknown(
    proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    async with pool(proxy.kwargs) as engine:
        conn = await engine.acquire()
        proxy.fault_at(b"COMMIT", "hang")
        task = spawn(block(conn))
        await until(lambda: any(b"COMMIT" in command for command in proxy.commands))

        engine.terminate()

        with pytest.raises(sa.CommitUnknownError, match="its engine has been terminated"):
            await task
    await until(lambda: count(admin, table) == 1)


@pytest.fixture
def halted(admin: Admin, table: str) -> Iterator[Callable[[], None]]:
    """Have every COMMIT of rows wait on the server, until the end of the test."""

    def halt() -> None:
        with admin.cursor() as cursor:
            cursor.execute("FLUSH TABLES WITH READ LOCK")

    yield halt
    with admin.cursor() as cursor:
        cursor.execute("UNLOCK TABLES")


WAITING = "SELECT COUNT(*) FROM information_schema.processlist WHERE state LIKE 'Waiting for %lock'"


@server
@pytest.mark.parametrize("what", ["CONNECTION", "QUERY"])
@pytest.mark.parametrize("way", ["transaction", "driver"])
async def test_commit_that_a_kill_meets_is_unknown(
    connect_kwargs: Kwargs, admin: Admin, halted: Callable[[], None], way: str, what: str
) -> None:
    async with pool(connect_kwargs) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        transaction = await conn.begin() if way == "transaction" else raw
        if way == "driver":
            await raw.begin()
        await conn.execute(INSERT)
        halted()
        task = spawn(transaction.commit())
        await until(lambda: one(admin, WAITING) == 1 or task.done())
        kill(admin, raw, what)

        with pytest.raises(sa.CommitUnknownError, match=UNKNOWN) as caught:
            await task

        assert caught.value.args[0] in ((1317,) if what == "QUERY" else (2013, 1053, 1927))
        await conn.close()


# -- AsyncEngine -----------------------------------------------------------------------------------


async def opened(proxy: FaultyProxy) -> AsyncEngine:
    """Give an engine that has connected, whose connections go through the proxy."""
    kwargs = proxy.kwargs
    password = f":{kwargs['password']}" if kwargs.get("password") else ""
    address = f"{kwargs['host']}:{kwargs['port']}/{kwargs['db']}"
    engine = create_async_engine(f"mysql+aiomysqlx://{kwargs['user']}{password}@{address}")
    async with engine.connect():
        return engine


@server
@cuts
@pytest.mark.parametrize("how", ["connection", "session", "two phases", "recovered"])
async def test_lost_commit_of_an_async_engine_is_unknown(
    proxy: FaultyProxy, admin: Admin, table: str, kind: Any, way: Any, how: str
) -> None:
    engine = await opened(proxy)
    proxy.fault_at(b"COMMIT", kind, way)
    with pytest.raises(OperationalError, match=UNKNOWN) as caught:
        if how == "session":
            async with AsyncSession(engine) as session, session.begin():
                await session.execute(text(INSERT))
        elif how == "connection":
            async with engine.begin() as conn:
                await conn.execute(text(INSERT))
        else:
            async with engine.connect() as conn:
                await in_two_phases(conn, how == "recovered")

    assert isinstance(caught.value.orig, sa.CommitUnknownError)
    assert caught.value.orig.args[0] == 2013
    assert caught.value.connection_invalidated
    if "phases" in how or how == "recovered":
        assert "XA RECOVER lists its xid" in str(caught.value)
        if way == "up":
            await until(lambda: len(prepared(admin)) == 1)
    assert count(admin, table) == (way == "down")
    await engine.dispose()


async def in_two_phases(conn: AsyncConnection, recovers: bool) -> None:
    def work(sync: Any) -> None:
        transaction = sync.begin_twophase()
        sync.execute(text(INSERT))
        transaction.prepare()
        if recovers:
            sync.commit_prepared(transaction.xid)
        else:
            transaction.commit()

    await conn.run_sync(work)


@server
async def test_xa_start_that_is_cut_off_is_not_a_lost_commit(
    proxy: FaultyProxy, admin: Admin, table: str
) -> None:
    engine = await opened(proxy)
    proxy.fault_at(b"XA PREPARE", "reset")
    with pytest.raises(OperationalError) as caught:
        async with engine.connect() as conn:
            await conn.run_sync(prepare_and_commit)

    assert not isinstance(caught.value.orig, sa.CommitUnknownError)
    await until(lambda: len(prepared(admin)) == 1)
    assert count(admin, table) == 0
    await engine.dispose()


def prepare_and_commit(sync: Any) -> None:
    transaction = sync.begin_twophase()
    sync.execute(text(INSERT))
    transaction.commit()


# -- refusals --------------------------------------------------------------------------------------


@pytest.fixture
def plain_user(admin: Admin, connect_kwargs: Kwargs, table: str) -> Iterator[Kwargs]:
    """The arguments to connect as a user whom a read-only server refuses to write."""
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")
        cursor.execute(f"CREATE USER {USER}@'%' IDENTIFIED BY 'secret'")
        cursor.execute(f"GRANT ALL ON {table.partition('.')[0]}.* TO {USER}@'%'")
    yield {**connect_kwargs, "user": USER, "password": "secret"}
    with admin.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 0")
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")


def make_read_only(admin: Admin) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")


@server
async def test_commit_that_a_read_only_server_refuses_keeps_nothing_and_says_so(
    plain_user: Kwargs, admin: Admin, table: str
) -> None:
    async with pool(plain_user) as engine, engine.acquire() as conn:
        with pytest.raises(sa.InvalidRequestError, match=r"\(error 1290\), and nothing of it is"):
            async with conn.begin() as transaction:
                await conn.execute(INSERT)
                make_read_only(admin)
                with pytest.raises(err.MySQLError, match="1290") as caught:
                    await transaction.commit()
                assert not isinstance(caught.value, sa.CommitUnknownError)
                assert not conn.in_transaction and not transaction.is_active
                with pytest.raises(sa.InvalidRequestError, match="nothing of it is kept"):
                    await conn.execute("SELECT 1")
        raw = conn.connection
        assert await conn.scalar("SELECT COUNT(*) FROM paid") == 0
        assert raw is not None and not raw.in_transaction
        await conn.close()
        async with engine.acquire() as other:
            assert other.connection is not raw
    assert count(admin, table) == 0


class Cluster:
    """A server that answers as scripted: by the words that a statement begins with."""

    def __init__(self, **answers: bytes | list[bytes]) -> None:
        self.asked: list[str] = []
        self._answers = answers

    async def __call__(self, peer: Peer) -> None:
        """Serve a client."""
        await peer.welcome()
        while True:
            command = await peer.read()
            sql = "PING" if command[:1] == b"\x0e" else command[1:].decode()
            self.asked.append(sql)
            word, _, rest = sql.partition(" ")
            if word == "SELECT" and rest.isdigit() and len(rest) == 2:  # pipelining is tried
                peer.write(result(rest.encode()))
                continue
            answer = self._answers.get(word, OK)
            if isinstance(answer, list):
                answer = answer.pop(0) if answer else OK
            peer.write(packet(answer))


@contextlib.asynccontextmanager
async def served(cluster: Cluster) -> AsyncIterator[sa.Engine]:
    """Give an engine for that server."""
    async with fake_server(cluster) as kwargs, pool(kwargs, autocommit=None) as engine:
        yield engine


DEADLOCK = error(1213, "Deadlock found when trying to get lock; try restarting", "40001")
CONFLICT = error(3101, "Plugin instructed the server to rollback the current transaction.", "40000")
HOOK = error(3100, "Error on observer while running replication hook 'before_commit'.")
STATUS = "provider status: Not connected to Primary Component"
FRAGMENT = error(1180, f"Error while appending streaming replication fragment({STATUS})")
NO_SPACE = error(1180, 'Got error 28 "No space left on device" during COMMIT')
NOT_READY = error(1047, "WSREP has not yet prepared node for application use", "08S01")
REPEAT: dict[str, Any] = dict.fromkeys(("BEGIN", "INSERT", "UPDATE"), IN_TRANSACTION)


async def test_conflict_that_is_told_where_warnings_are_asked_for_commits_nothing() -> None:
    gone = error(1305, "SAVEPOINT aiomysqlx_pipeline does not exist", "42000")
    answers = {**REPEAT, "SAVEPOINT": IN_TRANSACTION, "RELEASE": gone}
    cluster = Cluster(**answers, SHOW=[DEADLOCK, IN_TRANSACTION])
    async with served(cluster) as engine, engine.acquire() as conn:
        with pytest.raises(err.OperationalError, match="1213"):
            async with conn.pipeline(transaction=True) as pipe:
                lost = pipe.execute("UPDATE paid SET id = 1")
                behind = pipe.execute("UPDATE paid SET id = 2")

        with pytest.raises(err.OperationalError, match="1213"):
            await lost
        with pytest.raises(sa.InvalidRequestError, match="has been rolled back"):
            await behind
    assert "COMMIT" not in cluster.asked


@pytest.mark.parametrize(
    ("answer", "code", "lent_again"),
    [(DEADLOCK, 1213, True), (CONFLICT, 3101, False), (NO_SPACE, 1180, False)],
    ids=["Galera", "Group Replication", "no space"],
)
async def test_commit_that_a_cluster_refuses_is_rolled_back_and_leaves_the_connection(
    answer: bytes, code: int, lent_again: bool
) -> None:
    cluster = Cluster(**REPEAT, COMMIT=answer)
    async with served(cluster) as engine:
        conn = await engine.acquire()
        raw = conn.connection
        with pytest.raises(err.OperationalError) as caught:
            await block(conn)

        assert caught.value.args[0] == code
        assert not isinstance(caught.value, sa.CommitUnknownError)
        assert cluster.asked[-2:] == ["COMMIT", "ROLLBACK"]
        assert raw is not None and not conn.closed and not raw.in_transaction
        await conn.execute("INSERT INTO paid VALUES (2)")
        await conn.close()
        async with engine.acquire() as other:
            assert (other.connection is raw) is lent_again


@pytest.mark.parametrize(
    ("answer", "code"), [(HOOK, 3100), (FRAGMENT, 1180)], ids=["Group Replication", "Galera"]
)
async def test_commit_in_a_node_that_leaves_its_cluster_is_unknown(
    answer: bytes, code: int
) -> None:
    cluster = Cluster(**REPEAT, COMMIT=answer)
    async with served(cluster) as engine:
        conn = await engine.acquire()
        with pytest.raises(sa.CommitUnknownError, match=UNKNOWN) as caught:
            await block(conn)

        assert caught.value.args[0] == code and sa.is_disconnect(caught.value)
        assert conn.closed and not conn.in_transaction
        await conn.close()


async def test_node_that_refuses_even_a_rollback_loses_its_connection_and_tells_of_the_commit() -> (
    None
):
    cluster = Cluster(**REPEAT, COMMIT=NOT_READY, ROLLBACK=error(1047, "not that either", "08S01"))
    async with served(cluster) as engine:
        conn = await engine.acquire()
        with pytest.raises(err.OperationalError, match="WSREP has not yet prepared") as caught:
            await block(conn)

        assert not isinstance(caught.value, sa.CommitUnknownError)
        assert conn.closed and not conn.in_transaction
        await conn.close()


async def test_rollback_that_a_conflict_has_come_before_is_sent_again() -> None:
    cluster = Cluster(**REPEAT, ROLLBACK=[DEADLOCK])
    async with served(cluster) as engine, engine.acquire() as conn:
        with pytest.raises(ZeroDivisionError):
            async with conn.begin():
                await conn.execute(INSERT)
                raise ZeroDivisionError
        assert cluster.asked[-2:] == ["ROLLBACK", "ROLLBACK"]
        assert not conn.closed


@pytest.mark.parametrize("sql", ["SELECT", "INSERT", "RELEASE", "SAVEPOINT"])
async def test_conflict_between_two_statements_ends_the_block(sql: str) -> None:
    cluster = Cluster(**{**REPEAT, "SAVEPOINT": IN_TRANSACTION, sql: DEADLOCK}, PING=OK)
    async with served(cluster) as engine, engine.acquire() as conn:
        rolled_back = r"the server has rolled this transaction back \(deadlock, error 1213\)"
        with pytest.raises(sa.InvalidRequestError, match=rolled_back):
            async with conn.begin():
                await conn.execute("UPDATE paid SET id = 2")
                with pytest.raises(err.OperationalError, match="1213"):
                    if sql in ("SELECT", "INSERT"):
                        await conn.execute(f"{sql} 1")
                    else:
                        async with conn.begin_nested():
                            pass
                asked = len(cluster.asked)
                with pytest.raises(sa.InvalidRequestError, match=rolled_back):
                    await conn.execute("UPDATE paid SET id = 3")
        assert not any("id = 3" in each for each in cluster.asked[asked:])
        assert "COMMIT" not in cluster.asked


async def test_statement_that_a_plugin_refuses_leaves_the_transaction_and_the_connection() -> None:
    refusal = error(3098, "The table does not comply with the requirements by an external plugin.")
    cluster = Cluster(**{**REPEAT, "UPDATE": refusal}, PING=IN_TRANSACTION)
    async with served(cluster) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            async with conn.begin():
                await conn.execute(INSERT)
                with pytest.raises(err.OperationalError, match="3098") as caught:
                    await conn.execute("UPDATE keyless SET a = 1")
                assert not sa.is_disconnect(caught.value)
                await conn.execute("INSERT INTO paid VALUES (2)")
            assert cluster.asked[-1] == "COMMIT"
        async with engine.acquire() as other:
            assert other.connection is raw


@pytest.mark.parametrize(
    ("answer", "code"), [(HOOK, 3100), (FRAGMENT, 1180)], ids=["Group Replication", "Galera"]
)
async def test_node_that_leaves_its_cluster_is_a_disconnect_and_has_its_connection_replaced(
    answer: bytes, code: int
) -> None:
    cluster = Cluster(**{**REPEAT, "UPDATE": answer})
    async with served(cluster) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            with pytest.raises(err.OperationalError, match=str(code)) as caught:
                async with conn.begin():
                    await conn.execute("UPDATE paid SET id = 2")
            assert sa.is_disconnect(caught.value)
            assert not isinstance(caught.value, sa.CommitUnknownError)
            assert cluster.asked[-1] == "ROLLBACK"
        async with engine.acquire() as other:
            assert other.connection is not raw


async def test_two_phase_block_that_the_server_refuses_executes_nothing() -> None:
    words = "This version of MariaDB doesn't yet support 'XA transactions with Galera replication'"
    cluster = Cluster(XA=error(1235, words, "42000"))
    async with served(cluster) as engine:
        async with engine.acquire() as conn:
            with pytest.raises(err.MySQLError, match="1235"):
                async with conn.begin_twophase():
                    await conn.execute(INSERT)
            assert not conn.in_transaction
            await conn.execute("UPDATE paid SET id = 2")
        assert INSERT not in cluster.asked
