"""Whoever uses a connection that this side has closed is told what happened, and what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymysql import err
from watch import cancelled_at, spawn, until

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
Close = Callable[[sa.Engine, Any], Awaitable[None]]

ENGINE_IS_GONE = "its engine has been terminated, or closed: create another engine"
ANOTHER = "release it and acquire another"


async def terminates(engine: sa.Engine, conn: Any) -> None:
    engine.terminate()


async def loses_patience(engine: sa.Engine, conn: Any) -> None:
    engine.close()
    await engine.wait_closed(0.01)


async def invalidates(engine: sa.Engine, conn: Any) -> None:
    conn.invalidate()


async def closes(engine: sa.Engine, conn: Any) -> None:
    conn.connection.close()


async def cuts_a_commit_off(engine: sa.Engine, conn: Any) -> None:
    transaction = await conn.begin()
    assert await cancelled_at(transaction.commit(), 1)


async def cuts_a_charset_off(engine: sa.Engine, conn: Any) -> None:
    assert await cancelled_at(conn.connection.set_charset("latin1"), 1)


async def cuts_a_reset_off(engine: sa.Engine, conn: Any) -> None:
    assert await cancelled_at(conn.connection.reset(), 1)


CLOSES: dict[str, tuple[Close, str]] = {
    "terminate": (terminates, ENGINE_IS_GONE),
    "wait_closed": (loses_patience, ENGINE_IS_GONE),
    "invalidate": (invalidates, f"the connection has been invalidated: {ANOTHER}"),
    "close": (closes, f"close() was called: {ANOTHER}"),
    "commit": (cuts_a_commit_off, f"the end of a transaction failed or was cut off: {ANOTHER}"),
    "charset": (cuts_a_charset_off, f"a change of its character set was cut off: {ANOTHER}"),
    "reset": (cuts_a_reset_off, f"a reset of its session failed or was cut off: {ANOTHER}"),
}


@pytest.mark.parametrize(("close", "words"), CLOSES.values(), ids=CLOSES)
async def test_borrower_is_told_why_its_connection_is_closed(
    connect_kwargs: Kwargs, close: Close, words: str
) -> None:
    engine = await sa.create_engine(**connect_kwargs, autocommit=True, maxsize=1)
    conn: Any = await engine.acquire()
    raw: Any = conn.connection
    await close(engine, conn)

    uses: tuple[Callable[[], Any], ...] = (
        lambda: conn.execute("SELECT 1"),
        conn.begin,
        lambda: raw.query("SELECT 1"),
        raw.commit,
        raw.cursor,
    )
    for use in uses:
        with pytest.raises(err.InterfaceError) as caught:
            await use()
        assert caught.value.args == (0, f"Not connected: {words}")
        assert sa.is_disconnect(caught.value)
    engine.terminate()
    await engine.wait_closed()


async def test_statement_under_way_is_told_why_its_connection_is_closed(
    connect_kwargs: Kwargs,
) -> None:
    engine = await sa.create_engine(**connect_kwargs, autocommit=True, maxsize=1)
    conn: Any = await engine.acquire()
    task = spawn(conn.execute("SELECT SLEEP(5)"))
    await until(lambda: conn.connection.busy)
    engine.terminate()

    with pytest.raises(err.OperationalError) as caught:
        await task
    assert caught.value.args == (2013, f"the connection was closed during query: {ENGINE_IS_GONE}")
    await engine.wait_closed()


async def test_connection_that_its_engine_has_replaced_says_so(connect_kwargs: Kwargs) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        raw: Any = conn.connection
        engine.clear()
        await engine.release(conn)

        with pytest.raises(err.InterfaceError) as caught:
            await raw.query("SELECT 1")
        words = "Not connected: its engine has replaced it: acquire another"
        assert caught.value.args == (0, words)


async def test_owner_of_a_connection_is_told_how_to_go_on(connect_kwargs: Kwargs) -> None:
    raw = await sa.connect(**connect_kwargs)
    raw.close()

    with pytest.raises(err.InterfaceError) as caught:
        await raw.query("SELECT 1")
    assert caught.value.args == (0, "Not connected: close() was called: ping() connects anew")

    await raw.ping()  # so it does
    assert await raw.query("SELECT 1") == 1
    await raw.ensure_closed()


async def test_connection_that_was_never_opened_is_told_how_to_be(connect_kwargs: Kwargs) -> None:
    raw = sa.Connection(**connect_kwargs)

    with pytest.raises(err.InterfaceError, match=r"not been opened yet: use connect\(\)"):
        await raw.query("SELECT 1")


async def test_connection_that_was_never_opened_has_nothing_to_tell(connect_kwargs: Kwargs) -> None:
    raw = sa.Connection(**connect_kwargs)

    assert (raw.warning_count, raw.affected_rows(), raw.insert_id()) == (0, 0, 0)
    assert raw.max_allowed_packet == 0


@pytest.mark.parametrize(
    "ask",
    [
        *(lambda raw: raw.thread_id(), lambda raw: raw.get_server_info()),
        *(lambda raw: raw.get_proto_info(), lambda raw: raw.server_version),
        *(lambda raw: raw.protocol_version, lambda raw: raw.server_capabilities),
    ],
)
async def test_connection_that_was_never_opened_knows_no_server(
    connect_kwargs: Kwargs, ask: Callable[[Any], Any]
) -> None:
    raw = sa.Connection(**connect_kwargs)

    with pytest.raises(err.InterfaceError, match=r"not been opened yet: use connect\(\)"):
        ask(raw)
