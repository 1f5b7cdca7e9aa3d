"""What goes wrong where several of the pool's and the driver's duties meet."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from fakes import EOF, OK, connected, error, fake_server, one_row, packet, result
from faults import faulty_proxy
from pymysql import err
from watch import at_rest, check_capacity, kill, passed, spawn, steps, until

import aiomysqlx as sa
from aiomysqlx.wire.command import PING

pytestmark = [pytest.mark.server]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
quiet = pytest.mark.usefixtures("quiet")


# -- leaks -----------------------------------------------------------------------------------------


async def test_connection_dropped_by_the_error_of_its_loss_is_a_leak(
    connect_kwargs: Kwargs, admin: Admin
) -> None:
    async with sa.create_engine(**connect_kwargs, minsize=1, maxsize=1) as engine:

        async def borrow() -> None:
            conn = await engine.acquire()
            task = spawn(conn.execute("SELECT SLEEP(5)"))
            await until(lambda: conn.connection.busy)
            kill(admin, conn.connection)
            await task

        async def borrow_and_drop() -> None:
            with pytest.raises(err.OperationalError):
                await borrow()
            await steps()  # until the loop does not hold the task that failed any more
            gc.collect()

        with pytest.warns(ResourceWarning, match="never released"):
            await borrow_and_drop()
        await check_capacity(engine, 1)


async def test_connection_dropped_by_a_deadlock_is_a_leak(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, autocommit=True, maxsize=3) as engine:
        async with engine.acquire() as other:
            await other.execute("CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
            await other.execute("INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0)")

            async def borrow() -> None:
                conn = await engine.acquire()
                await conn.begin()
                await conn.execute("UPDATE t SET n = 1 WHERE id = 1")
                async with other.begin():
                    for number in (2, 3, 4):
                        await other.execute(f"UPDATE t SET n = 7 WHERE id = {number}")
                    waiting = spawn(other.execute("UPDATE t SET n = 7 WHERE id = 1"))
                    await until(lambda: other.connection.busy)
                    try:
                        await conn.execute("UPDATE t SET n = 1 WHERE id = 2")
                    finally:
                        await waiting

            async def borrow_and_drop() -> None:
                with pytest.raises(err.OperationalError, match="1213"):
                    await borrow()
                await steps()
                gc.collect()

            with pytest.warns(ResourceWarning, match="never released"):
                await borrow_and_drop()
        await check_capacity(engine, 3)


async def test_place_of_a_leak_is_free_where_warnings_are_errors(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: seen.append(unraisable.exc_type))
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        lent = [await engine.acquire()]

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            lent.clear()
            gc.collect()

        assert seen == [ResourceWarning]
        await check_capacity(engine, 1)


# -- the pool --------------------------------------------------------------------------------------


@quiet
async def test_minsize_is_restored_after_somebody_else_has_found_the_server(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aiomysqlx.pool.supply.RETRY_SECONDS", 5.0)
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, minsize=3, maxsize=3) as engine,
    ):
        proxy.refuse()
        proxy.drop()
        await until(lambda: engine.size == 0 and engine._pool.stock._retry.handle is not None)
        await proxy.accept()

        async with engine.acquire():
            await until(lambda: engine.size == 3, 2)


@quiet
@pytest.mark.parametrize("late", [TimeoutError("mine"), asyncio.TimeoutError("mine")])
async def test_time_out_that_init_raises_goes_to_whoever_asked(
    connect_kwargs: Kwargs, late: Exception
) -> None:
    async def init(conn: sa.SAConnection) -> None:
        raise late

    with pytest.raises(type(late), match="mine"):
        await sa.create_engine(**connect_kwargs, init=init)


@quiet
async def test_statement_time_out_of_init_goes_to_whoever_asked(connect_kwargs: Kwargs) -> None:
    async def init(conn: sa.SAConnection) -> None:
        await conn.execute("SELECT SLEEP(3)", timeout=0.1)

    with pytest.raises(sa.StatementTimeoutError):
        await sa.create_engine(**connect_kwargs, init=init)


@quiet
async def test_cancellation_that_init_raises_cancels_nobody_else(connect_kwargs: Kwargs) -> None:
    async def init(conn: sa.SAConnection) -> None:
        if calls:
            raise asyncio.CancelledError
        calls.append(conn)

    calls: list[Any] = []
    async with (
        sa.create_engine(**connect_kwargs, maxsize=2, init=init) as engine,
        engine.acquire(),
    ):
        with pytest.raises(sa.InvalidRequestError, match="cancelled"):
            await engine.acquire()
    with pytest.raises(sa.InvalidRequestError, match="cancelled"):
        await sa.create_engine(**connect_kwargs, init=init)


@quiet
@pytest.mark.parametrize("before", ["DO 0", "BEGIN"])
async def test_init_that_closes_the_connection_fails(connect_kwargs: Kwargs, before: str) -> None:
    calls: list[Any] = []

    async def init(conn: sa.SAConnection) -> None:
        calls.append(conn)
        await conn.execute(before)
        assert conn.connection is not None
        conn.connection.close()

    with pytest.raises(sa.InvalidRequestError, match="init has closed"):
        await sa.create_engine(**connect_kwargs, init=init)
    await passed(0.2)
    assert len(calls) == 1


@quiet
async def test_a_connection_lost_under_init_raises_what_it_was_lost_with(
    connect_kwargs: Kwargs,
) -> None:
    async def init(conn: sa.SAConnection) -> None:
        with contextlib.suppress(err.OperationalError):
            await conn.execute("KILL CONNECTION_ID()")
        await until(lambda: conn.closed)

    with pytest.raises(err.OperationalError) as caught:
        await sa.create_engine(**connect_kwargs, init=init)
    assert sa.exc.is_disconnect(caught.value)


async def test_error_of_a_hook_that_was_given_up_is_not_told(
    connect_kwargs: Kwargs, monkeypatch: pytest.MonkeyPatch, quiet: None
) -> None:
    monkeypatch.setattr("aiomysqlx.upkeep.HOOK_SECONDS", 0.05)

    async def reset(conn: sa.SAConnection) -> None:
        try:
            await asyncio.sleep(10)
        finally:
            await conn.execute("SELECT 1")  # on a connection that is closed by then

    async with sa.create_engine(**connect_kwargs, reset=reset) as engine:
        async with engine.acquire():
            pass
        await until(lambda: engine.stats().closed.get("reset"))
        await until(lambda: at_rest(engine))
        await steps()
        gc.collect()


@quiet
async def test_wrong_timeout_leaves_nobody_in_the_queue(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire():
            with pytest.raises(OverflowError):
                await engine.acquire(timeout=10**400)
        await check_capacity(engine, 1)


@quiet
@pytest.mark.parametrize("timeout", [0, -1, "1", float("nan")])
async def test_timeout_is_checked_though_a_connection_is_idle(
    connect_kwargs: Kwargs, timeout: Any
) -> None:
    async with sa.create_engine(**connect_kwargs) as engine:
        with pytest.raises(sa.ArgumentError, match="timeout"):
            await engine.acquire(timeout=timeout)


@quiet
async def test_check_cut_off_by_the_close_is_none_that_failed(connect_kwargs: Kwargs) -> None:
    async with faulty_proxy(connect_kwargs) as proxy:
        engine = await sa.create_engine(**proxy.kwargs, pool_pre_ping=True, maxsize=1)
        proxy.hold()
        task = spawn(engine.acquire())
        await steps(10)

        engine.close()

        with pytest.raises(RuntimeError):
            await task
        proxy.flow()
        await engine.wait_closed()
        assert engine.stats().closed == {"engine": 1}


# -- KILL ------------------------------------------------------------------------------------------


@quiet
async def test_side_connection_without_a_password_changes_nothing_else(
    connect_kwargs: Kwargs,
) -> None:
    calls = 0

    def password() -> str:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ValueError("no password")
        return str(connect_kwargs["password"])

    arguments = {**connect_kwargs, "password": password}
    async with sa.connect(**arguments, kill_on_cancel=True) as raw:
        task = spawn(raw.query("SELECT SLEEP(0.3)"))
        await steps()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        await asyncio.wait_for(raw.query("SELECT 1"), 5)
        assert calls == 2


@quiet
async def test_kill_that_is_cancelled_before_it_begins_holds_nobody_up(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.connect(**connect_kwargs, kill_on_cancel=True) as raw:

        async def cut_off() -> None:
            try:
                await raw.query("SELECT SLEEP(0.3)")
            finally:
                assert raw._session._killing is not None
                raw._session._killing.cancel()

        task = spawn(cut_off())
        await steps()
        task.cancel()
        await asyncio.wait([task])

        waiting = spawn(raw.query("SELECT 1"))
        done, _ = await asyncio.wait([waiting], timeout=3)
        if not done:
            raw._session._killing = None  # or it goes on forever
        assert done


@quiet
@pytest.mark.parametrize("answer", ["none", "an end", "a refusal", "ok"])
async def test_connection_is_given_up_if_nobody_knows_whether_its_statement_was_killed(
    monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.stopping.KILL_SECONDS", 0.5)
    peers: list[Any] = []
    commands: list[bytes] = []

    async def script(peer: Any) -> None:
        peers.append(peer)
        await peer.welcome()
        await peer.answer(one_row(b"5", b"host", b"3306", b"1"))  # which server it is
        command = await peer.read()
        if len(peers) == 1:
            await asyncio.sleep(0.2)
            peer.write(packet(OK))
            while True:
                commands.append(await peer.answer(packet(OK)))
        assert b"PROCESSLIST" in command
        peer.write(one_row(b"localhost", b"SELECT 1"))
        assert (await peer.read()).startswith(b"\x03KILL QUERY")
        if answer == "none":
            await peer.read()
        elif answer == "an end":
            peer.reset()
        elif answer == "a refusal":
            peer.write(packet(error(1095, "not yours")))
        else:
            peer.write(packet(OK))

    async with fake_server(script) as arguments:
        raw = await sa.connect(**arguments, kill_on_cancel=True)
        task = spawn(raw.query("SELECT 1"))
        await steps()
        task.cancel()
        await asyncio.wait([task])

        if answer in ("none", "an end"):
            with pytest.raises(err.OperationalError):
                await asyncio.wait_for(raw.query("SELECT 2"), 5)
            assert commands == []
        else:
            await asyncio.wait_for(raw.query("SELECT 2"), 5)
            assert commands[-1] == b"\x03SELECT 2"
        await raw.ensure_closed()


@quiet
async def test_connection_is_given_up_if_a_kill_does_not_end_its_statement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server may lose a KILL that comes just before its statement begins to wait."""
    monkeypatch.setattr("aiomysqlx.wire.stopping.KILL_SECONDS", 0.5)
    kills: list[bytes] = []

    async def script(peer: Any) -> None:
        await peer.welcome()
        await peer.answer(one_row(b"5", b"host", b"3306", b"1"))  # which server it is
        command = await peer.read()
        if b"PROCESSLIST" in command:
            peer.write(one_row(b"localhost", b"SELECT 1"))
            kills.append(await peer.answer(packet(OK)))
        await peer.read()

    async with fake_server(script) as arguments:
        raw = await sa.connect(**arguments, kill_on_cancel=True)
        task = spawn(raw.query("SELECT 1"))
        await steps()
        task.cancel()
        await asyncio.wait([task])
        start = asyncio.get_running_loop().time()

        with pytest.raises(err.OperationalError, match=r"was not answered within 0\.5 seconds"):
            await asyncio.wait_for(raw.query("SELECT 2"), 5)

        assert asyncio.get_running_loop().time() - start < 1
        assert len(kills) == 1 and kills[0].startswith(b"\x03KILL QUERY")
        assert raw.closed and not raw.busy


@quiet
async def test_nothing_goes_on_after_the_engine_is_closed(connect_kwargs: Kwargs) -> None:
    engine = await sa.create_engine(**connect_kwargs, kill_on_cancel=True)
    conn = await engine.acquire()
    task = spawn(conn.execute("SELECT SLEEP(0.2)"))
    await steps()
    task.cancel()
    await asyncio.wait([task])

    engine.terminate()
    await engine.wait_closed()

    assert asyncio.all_tasks() == {asyncio.current_task()}


# -- time limits -----------------------------------------------------------------------------------


@quiet
async def test_time_limit_holds_while_a_local_file_is_sent(
    connect_kwargs: Kwargs, tmp_path: Path, admin: Admin
) -> None:
    file = tmp_path / "rows"
    file.write_text("".join(f"{number},{'x' * 200}\n" for number in range(100_000)))
    admin.cursor().execute("SET GLOBAL local_infile = 1")
    async with sa.create_engine(**connect_kwargs, local_infile=True, autocommit=True) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, s TEXT) ENGINE=InnoDB")
            await conn.execute(
                "CREATE TRIGGER slow BEFORE INSERT ON t FOR EACH ROW"
                " SET @x = SLEEP(2 * (NEW.id = 0))"
            )
            start = asyncio.get_running_loop().time()
            with pytest.raises(sa.StatementTimeoutError):
                await conn.execute(
                    "LOAD DATA LOCAL INFILE %s INTO TABLE t FIELDS TERMINATED BY ','",
                    str(file),
                    timeout=0.5,
                )
            assert asyncio.get_running_loop().time() < start + 1.5
        await check_capacity(engine, 1)


@quiet
async def test_deadlock_of_a_cancelled_statement_is_not_the_next_transactions() -> None:
    async def script(peer: Any) -> None:
        await peer.read()  # UPDATE
        await asyncio.sleep(0.2)
        peer.write(packet(error(1213, "Deadlock found", "40001")))
        for _ in range(3):  # BEGIN, UPDATE, COMMIT
            await peer.answer(packet(OK))
        await peer.read()

    async with connected(script) as raw:
        conn = sa.SAConnection(raw, fake_engine())
        task = spawn(conn.execute("UPDATE t SET n = 1"))
        await steps()
        task.cancel()
        await asyncio.wait([task])

        async with conn.begin():
            await conn.execute("UPDATE t SET n = 2")
        conn._released = True


@quiet
@pytest.mark.parametrize("action", ["execute", "commit", "savepoint", "rollback"])
async def test_deadlock_of_a_cancelled_statement_ends_its_transaction(action: str) -> None:
    commands: list[bytes] = []

    async def script(peer: Any) -> None:
        await peer.answer(packet(OK))  # BEGIN
        await peer.answer(packet(OK))  # SAVEPOINT
        await peer.read()  # UPDATE
        await asyncio.sleep(0.2)
        peer.write(packet(error(1213, "Deadlock found", "40001")))
        while True:
            commands.append(await peer.answer(packet(OK)))

    async with connected(script) as raw:
        conn = sa.SAConnection(raw, fake_engine())
        root = await conn.begin()
        nested = await conn.begin_nested()
        task = spawn(conn.execute("UPDATE t SET n = 1"))
        await steps()
        task.cancel()
        await asyncio.wait([task])

        if action == "rollback":
            await nested.rollback()
        else:
            with pytest.raises(sa.InvalidRequestError, match="deadlock"):
                if action == "execute":
                    await conn.execute("UPDATE t SET n = 2")
                elif action == "commit":
                    await root.commit()
                else:
                    await nested.commit()
        assert commands == []
        await root.rollback()
        assert commands == [b"\x03ROLLBACK"]
        conn._released = True


def fake_engine() -> Any:
    from types import SimpleNamespace

    from aiomysqlx.settings import default_dialect

    return SimpleNamespace(dialect=default_dialect())


async def test_time_limit_of_a_lost_statement_keeps_nothing_alive() -> None:
    async def script(peer: Any) -> None:
        await peer.read()
        peer.reset()

    async with connected(script) as raw:
        with raw._session.limit(3600):
            reply = raw._session.start(PING)
        with pytest.raises(err.OperationalError):
            await raw._session.finish(reply, PING)

        assert reply.deadline is not None
        assert reply.deadline.cancelled()


# -- two-phase -------------------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("hidden", [False, True], ids=["told", "hidden by a cancellation"])
async def test_two_phase_transaction_is_rolled_back_after_a_deadlock(
    connect_kwargs: Kwargs, mariadb: None, hidden: bool
) -> None:
    async with (
        sa.create_engine(**connect_kwargs, autocommit=True, maxsize=3) as engine,
        engine.acquire() as other,
        engine.acquire() as victim,
    ):
        await other.execute("CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
        await other.execute("INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0)")
        transaction = await victim.begin_twophase()
        await victim.execute("UPDATE t SET n = 1 WHERE id = 1")
        async with other.begin():
            for number in (2, 3, 4):
                await other.execute(f"UPDATE t SET n = 7 WHERE id = {number}")
            asked = spawn(victim.execute("UPDATE t SET n = 1 WHERE id = 2"))
            await until(lambda: victim.connection.busy)
            if hidden:
                asked.cancel()
            await other.execute("UPDATE t SET n = 7 WHERE id = 1")
            if hidden:
                with pytest.raises(asyncio.CancelledError):
                    await asked
            else:
                with pytest.raises(err.OperationalError, match="1213"):
                    await asked

        await transaction.rollback()

        assert not victim.in_transaction
        assert not victim.closed
        assert await victim.scalar("SELECT COUNT(*) FROM t WHERE n = 1") == 0


@quiet
async def test_cancellation_is_not_replaced_while_a_prepared_transaction_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.stopping.DRAIN_SECONDS", 0.1)
    no_autocommit = b"\0" * 7

    async def script(peer: Any) -> None:
        await peer.welcome(version=b"5.5.5-10.11.6-MariaDB")
        await peer.answer(packet(no_autocommit))
        await peer.answer(result(b"0").replace(EOF, b"\xfe\0\0\0\0"))  # SELECT @@in_transaction
        await peer.answer(packet(no_autocommit))  # SET autocommit = 1
        await peer.read()  # XA COMMIT
        await peer.read()

    async with fake_server(script) as arguments, sa.connect(**arguments) as raw:
        await raw.query("DO 0")
        conn = sa.SAConnection(raw, fake_engine())
        task = spawn(conn.commit_prepared("x"))
        await passed(0.1)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        conn._released = True


# -- misuse ----------------------------------------------------------------------------------------


@quiet
async def test_statement_that_goes_on_after_the_release_is_not_mixed_into_the_next_borrowing(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        conn = await engine.acquire()
        many = spawn(conn.execute("UPDATE t SET id = %s + SLEEP(0.01)", [(n,) for n in range(20)]))
        await steps(10)
        engine.release(conn)
        async with engine.acquire() as other:
            for _ in range(20):
                await other.scalar("SELECT SLEEP(0.01)")
                await steps(2)
        await asyncio.wait([many])
        # In the midst of a packet, or between two of them.
        assert isinstance(many.exception(), (err.OperationalError, sa.ResourceClosedError))
