"""Isolation levels and READ ONLY: of an engine, a connection and a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakes import CAPABILITIES, OK, Peer, error, fake_server, greeting, packet, session
from faults import faulty_proxy
from pymysql import err
from watch import closed_in_time, passed, until

import aiomysqlx as sa

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")

LEVELS = ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]
ALL = "SELECT id FROM t ORDER BY id"
CONNECTION_ID = "SELECT CONNECTION_ID()"


@pytest.fixture
async def engine(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine of two connections, and a table t with a row."""
    made = sa.create_engine(**connect_kwargs, maxsize=2, autocommit=True)
    async with closed_in_time(made) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT PRIMARY KEY) ENGINE=InnoDB")
            await conn.execute("INSERT INTO t VALUES (1)")
        yield engine


async def shown(conn: sa.SAConnection, what: str = "isolation") -> Any:
    """Give the session's own level, or whether it reads only, by the server's variable."""
    assert conn.connection is not None
    mariadb = "MariaDB" in conn.connection.server_version
    return await conn.scalar(f"SELECT @@SESSION.{'tx' if mariadb else 'transaction'}_{what}")


async def sees(conn: sa.SAConnection, engine: sa.Engine, number: int) -> list[str]:
    """Tell what a transaction sees of what another one does, by which a level is known."""
    seen = []
    async with engine.acquire() as other:
        await conn.scalar("SELECT COUNT(*) FROM t")
        async with other.begin():
            try:
                await other.execute("INSERT INTO t VALUES (%s)", number, timeout=0.5)
            except sa.StatementTimeoutError:
                return ["locks"]
            if await conn.scalar("SELECT COUNT(*) FROM t WHERE id = %s", number, timeout=2):
                seen.append("uncommitted")
        if await conn.scalar("SELECT COUNT(*) FROM t WHERE id = %s", number):
            seen.append("committed")
    return seen


SEEN = {
    "READ UNCOMMITTED": ["uncommitted", "committed"],
    "READ COMMITTED": ["committed"],
    "REPEATABLE READ": [],
}


@server
@pytest.mark.parametrize("level", SEEN)
@pytest.mark.parametrize("how", ["begin", "nested", "engine", "connection", "twophase"])
async def test_transaction_has_its_isolation_level(
    engine: sa.Engine, connect_kwargs: Kwargs, level: str, how: str
) -> None:
    kwargs = {**connect_kwargs, "autocommit": True}
    if how == "engine":
        async with (
            sa.create_engine(**kwargs, isolation_level=level) as other,
            other.begin() as conn,
        ):
            assert await sees(conn, engine, 2) == SEEN[level]
        return
    async with engine.acquire() as conn:
        if how == "connection":
            assert await conn.execution_options(isolation_level=level) is conn
            begun: Any = conn.begin()
        elif how == "begin":
            begun = conn.begin(isolation_level=level)
        elif how == "nested":
            begun = conn.begin_nested(isolation_level=level)
        else:
            begun = conn.begin_twophase(isolation_level=level)
        async with begun:
            assert await sees(conn, engine, 2) == SEEN[level]


@server
async def test_level_of_a_transaction_is_for_that_one_only(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        before = await shown(conn)
        async with conn.begin(isolation_level="READ UNCOMMITTED"):
            assert await sees(conn, engine, 2) == SEEN["READ UNCOMMITTED"]
            assert await shown(conn) == before
        async with conn.begin():
            assert await sees(conn, engine, 3) == SEEN["REPEATABLE READ"]


@server
@pytest.mark.parametrize(
    "how", ["begin", "nested", "twophase", "engine.begin", "engine", "session"]
)
async def test_transaction_that_only_reads_writes_nothing(
    engine: sa.Engine, connect_kwargs: Kwargs, how: str
) -> None:
    async def work(conn: sa.SAConnection, begun: Any) -> None:
        async with begun:
            assert await conn.scalar("SELECT COUNT(*) FROM t") == 1
            with pytest.raises(err.OperationalError, match="1792"):
                await conn.execute("INSERT INTO t VALUES (2)")

    if how == "engine.begin":
        async with engine.begin(read_only=True) as conn:
            with pytest.raises(err.OperationalError, match="1792"):
                await conn.execute("INSERT INTO t VALUES (2)")
    elif how == "engine":
        async with sa.create_engine(**connect_kwargs, read_only=True, maxsize=1) as other:
            for _ in range(2):
                async with other.acquire() as conn:
                    with pytest.raises(err.OperationalError, match="1792"):
                        await conn.execute("INSERT INTO t VALUES (2)")
                    async with conn.begin(read_only=False):
                        await conn.execute("DELETE FROM t WHERE id = 7")
            assert other.stats().closed == {}
        return
    else:
        async with engine.acquire() as conn:
            if how == "session":
                await conn.execution_options(read_only=True)
                begun: Any = conn.begin()
            else:
                begun = {
                    "begin": conn.begin,
                    "nested": conn.begin_nested,
                    "twophase": conn.begin_twophase,
                }[how](read_only=True)
            await work(conn, begun)
    async with engine.begin() as conn:
        await conn.execute("INSERT INTO t VALUES (2)")
    assert engine.stats().closed == {}


@server
async def test_connection_whose_level_was_set_twice_goes_back_to_the_first(
    connect_kwargs: Kwargs,
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        async with engine.acquire() as conn:
            first = await conn.get_isolation_level()
            await conn.execution_options(isolation_level="READ COMMITTED")
            await conn.execution_options(isolation_level="SERIALIZABLE")

        async with engine.acquire() as conn:
            assert await conn.get_isolation_level() == first == "REPEATABLE READ"
        assert engine.stats().closed == {}


@pytest.mark.parametrize(
    ("of_engine", "of_connection"),
    [
        pytest.param({}, {"read_only": True}, id="connection"),
        pytest.param({"read_only": True}, {"isolation_level": "SERIALIZABLE"}, id="engine"),
    ],
)
async def test_connection_that_only_reads_is_lent_again_after_a_write_was_refused(
    connect_kwargs: Kwargs, of_engine: Kwargs, of_connection: Kwargs
) -> None:
    arguments = {**connect_kwargs, **of_engine, "maxsize": 1, "autocommit": True}
    async with sa.create_engine(**arguments) as engine:
        conn = await engine.acquire()
        await conn.execution_options(**of_connection)
        with pytest.raises(err.OperationalError, match="1792"):
            await conn.execute("CREATE TABLE written (id INT)")
        await engine.release(conn)

        assert engine.stats().closed == {}


async def test_both_may_be_given(engine: sa.Engine) -> None:
    kind: Any = {"isolation_level": "READ COMMITTED", "read_only": True}
    async with engine.begin(**kind) as conn:
        assert await sees(conn, engine, 2) == SEEN["READ COMMITTED"]
        with pytest.raises(err.OperationalError, match="1792"):
            await conn.execute("INSERT INTO t VALUES (3)")
        async with conn.begin(**kind), conn.begin_nested(**kind):
            pass


@server
@pytest.mark.parametrize("kind", [{"isolation_level": "SERIALIZABLE"}, {"read_only": False}])
@pytest.mark.parametrize("how", ["begin", "begin_nested"])
async def test_transaction_within_another_has_its_sort(
    engine: sa.Engine, kind: Any, how: str
) -> None:
    async with engine.begin(isolation_level="READ COMMITTED", read_only=True) as conn:
        with pytest.raises(sa.InvalidRequestError, match="not the outermost transaction"):
            await getattr(conn, how)(**kind)

        assert await conn.scalar("SELECT 1") == 1


@server
async def test_level_goes_out_together_with_the_begin(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1, pipelining=True) as engine,
        engine.acquire() as conn,
    ):
        sent = proxy.passages[0].commands
        known = len(sent)
        proxy.hold("down")
        task = asyncio.ensure_future(conn.begin_twophase(isolation_level="READ COMMITTED"))
        await until(lambda: len(sent) == known + 2)  # and nothing was answered
        proxy.flow()
        transaction = await task
        await transaction.rollback()


@server
async def test_level_goes_out_before_the_begin(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.create_engine(**proxy.kwargs, maxsize=1) as engine,
        engine.acquire() as conn,
    ):
        sent = proxy.passages[0].commands
        known = len(sent)
        proxy.hold("down")
        task = asyncio.ensure_future(conn.begin(isolation_level="READ COMMITTED"))
        await until(lambda: len(sent) == known + 1)
        await passed(0.05)
        assert len(sent) == known + 1
        proxy.flow()
        await (await task).rollback()

        assert sent[known + 1 :] == [b"\x03BEGIN", b"\x03ROLLBACK"]


async def test_level_of_an_engine_goes_out_before_the_login_s_question() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(OK, 2))
        assert await peer.read() == b"\x03SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        assert not peer.reader._buffer  # type: ignore[attr-defined]
        peer.write(packet(OK))
        assert b"@@max_allowed_packet" in await peer.read()
        peer.write(session(CAPABILITIES))
        await peer.read()

    async with fake_server(script) as arguments:
        raw = await asyncio.wait_for(sa.connect(**arguments, isolation_level="READ COMMITTED"), 5)
        raw.close()


# -- what is set of a connection -------------------------------------------------------------------


@server
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("own", [None, "READ COMMITTED"], ids=["server's", "engine's"])
async def test_level_of_a_connection_is_put_back_at_its_release(
    connect_kwargs: Kwargs, reset: bool, own: Any
) -> None:
    kwargs = {**connect_kwargs, "maxsize": 1, "reset": reset, "isolation_level": own}
    async with sa.create_engine(**kwargs) as engine:
        async with engine.acquire() as conn:
            raw = conn.connection
            before = await shown(conn), await shown(conn, "read_only")
            assert own is None or before == ("READ-COMMITTED", 0)
            await conn.execution_options(isolation_level="SERIALIZABLE", read_only=True)
            assert (await shown(conn), await shown(conn, "read_only")) == ("SERIALIZABLE", 1)
            assert await conn.get_isolation_level() == "SERIALIZABLE"
        async with engine.acquire() as conn:
            assert conn.connection is raw
            assert (await shown(conn), await shown(conn, "read_only")) == before


@server
async def test_level_of_a_connection_is_put_back_if_setting_it_is_cut_off(
    connect_kwargs: Kwargs,
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as gate,
        sa.create_engine(**gate.kwargs, maxsize=1) as engine,
    ):
        async with engine.acquire() as conn:
            level, number = await conn.get_isolation_level(), await conn.scalar(CONNECTION_ID)
            setting = asyncio.create_task(
                conn.execution_options(isolation_level="SERIALIZABLE", read_only=True)
            )
            while not any(b"SET SESSION" in command for command in gate.commands):
                await asyncio.sleep(0)  # not longer: it is on its way to the server then
            setting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await setting

        async with engine.acquire() as conn:
            assert await conn.scalar(CONNECTION_ID) == number
            assert await conn.get_isolation_level() == level
            assert not await shown(conn, "read_only")


@server
@pytest.mark.parametrize("shows", [False, True], ids=["as new", "after a transaction"])
@pytest.mark.parametrize("how", ["begin", "connection"])
async def test_level_is_taken_after_an_error(connect_kwargs: Kwargs, how: str, shows: bool) -> None:
    async with (
        sa.create_engine(**connect_kwargs, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        if shows:
            async with conn.begin():
                pass
        with pytest.raises(err.ProgrammingError):
            await conn.execute("SELECT 1 FROM nowhere")

        if how == "begin":
            async with conn.begin(isolation_level="SERIALIZABLE"):
                assert conn.in_transaction
        else:
            await conn.execution_options(isolation_level="SERIALIZABLE")
            assert await conn.get_isolation_level() == "SERIALIZABLE"


@server
async def test_level_that_init_sets_is_the_one_put_back(connect_kwargs: Kwargs) -> None:
    async def init(conn: sa.SAConnection) -> None:
        await conn.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED")

    async with sa.create_engine(**connect_kwargs, maxsize=1, init=init) as engine:
        async with engine.acquire() as conn:
            await conn.execution_options(isolation_level="READ COMMITTED")
        async with engine.acquire() as conn:
            assert await conn.get_isolation_level() == "READ UNCOMMITTED"


@server
async def test_new_session_of_a_connection_has_its_level(connect_kwargs: Kwargs) -> None:
    async with sa.connect(**connect_kwargs, isolation_level="read-committed") as raw:
        conn = sa.SAConnection(raw, await sa.create_engine(**connect_kwargs))
        assert await conn.get_isolation_level() == "READ COMMITTED"
        await raw.reset()
        assert await conn.get_isolation_level() == "READ COMMITTED"
        raw.close()
        await raw.ping()
        assert await conn.get_isolation_level() == "READ COMMITTED"
        conn._engine.close()
        await conn._engine.wait_closed()


@server
async def test_autocommit_is_a_level(connect_kwargs: Kwargs) -> None:
    kwargs = {**connect_kwargs, "maxsize": 1}
    async with (
        sa.create_engine(**kwargs, isolation_level="AUTOCOMMIT") as engine,
        engine.acquire() as conn,
    ):
        assert conn.connection is not None and conn.connection.get_autocommit()
    async with sa.create_engine(**kwargs) as engine:
        async with engine.acquire() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            assert conn.connection is not None and conn.connection.get_autocommit()
        async with engine.acquire() as conn:
            assert conn.connection is not None and not conn.connection.get_autocommit()


@server
@pytest.mark.parametrize("of", ["block", "server"])
async def test_level_is_not_set_within_a_transaction(connect_kwargs: Kwargs, of: str) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine, engine.acquire() as conn:
        await conn.execute("CREATE TABLE t (id INT) ENGINE=InnoDB")
        if of == "block":
            transaction = await conn.begin()
        await conn.execute("INSERT INTO t VALUES (1)")

        with pytest.raises(sa.InvalidRequestError, match="a transaction is in progress"):
            await conn.execution_options(isolation_level="SERIALIZABLE")
        if of == "block":
            await transaction.commit()
            return
        with pytest.raises(sa.InvalidRequestError, match="the server is in a transaction"):
            await conn.begin(isolation_level="SERIALIZABLE")
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 1
        await conn.execute("ROLLBACK")
        assert await conn.scalar("SELECT COUNT(*) FROM t") == 0
        await conn.execute("COMMIT")
        async with conn.begin(isolation_level="SERIALIZABLE"):
            pass


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "level", ["", "SNAPSHOT", "READ", 1, b"SERIALIZABLE", "SERIALIZABLE; DROP"]
)
def test_other_levels_are_refused(level: Any) -> None:
    with pytest.raises(sa.ArgumentError, match="argument 'isolation_level'"):
        sa.create_engine(isolation_level=level)


@server
@pytest.mark.parametrize("how", ["begin", "begin_nested", "begin_twophase", "execution_options"])
@pytest.mark.parametrize(
    "kind",
    [{"isolation_level": "nope"}, {"isolation_level": 5}, {"read_only": "yes"}, {"read_only": 1}],
)
async def test_other_sorts_of_transactions_are_refused(
    engine: sa.Engine, how: str, kind: Any
) -> None:
    async with engine.acquire() as conn:
        with pytest.raises(sa.ArgumentError, match="argument '(isolation_level|read_only)' takes"):
            await getattr(conn, how)(**kind)
        assert not conn.in_transaction


@server
async def test_autocommit_is_no_level_of_a_transaction(engine: sa.Engine) -> None:
    async with engine.acquire() as conn:
        with pytest.raises(sa.ArgumentError, match="'SERIALIZABLE', got 'AUTOCOMMIT'"):
            await conn.begin(isolation_level="AUTOCOMMIT")


@pytest.mark.parametrize("refused", ["level", "begin", "both"])
async def test_transaction_without_its_level_is_not_begun(refused: str) -> None:
    """Nor is the next one of a level that was meant for this one."""
    commands: list[bytes] = []
    failure = error(1227, "Access denied", "42000")

    async def script(peer: Peer) -> None:
        await peer.welcome()
        while True:
            command = await peer.read()
            commands.append(command[1:])
            fails = (command.startswith(b"\x03SET TRANS") and refused != "begin") or (
                len(commands) == 2 and refused != "level"
            )
            peer.write(packet(failure if fails else OK))

    async with (
        fake_server(script) as arguments,
        sa.create_engine(**arguments) as engine,
        engine.acquire() as conn,
    ):
        with pytest.raises(err.OperationalError, match="1227"):
            await conn.begin(isolation_level="SERIALIZABLE", read_only=True)

        assert not conn.in_transaction
        await conn.execute("DO 0")
    assert commands[:5] == [
        b"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        b"START TRANSACTION READ ONLY",
        b"BEGIN",
        b"ROLLBACK",
        b"DO 0",
    ]


async def test_two_phase_transaction_without_its_level_leaves_no_connection() -> None:
    """It has begun, and whatever ends it is refused."""

    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(packet(error(1227, "Access denied", "42000")))
        await peer.answer(packet(OK))
        await peer.answer(packet(error(1399, "XAER_RMFAIL", "XAE07")))

    async with (
        fake_server(script) as arguments,
        sa.create_engine(**arguments) as engine,
        engine.acquire() as conn,
    ):
        with pytest.raises(err.OperationalError, match="1227"):
            await conn.begin_twophase(isolation_level="SERIALIZABLE")

        assert conn.closed


async def test_login_whose_level_is_refused_fails() -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.read()
        peer.write(packet(OK, 2))
        await peer.read()
        peer.write(packet(error(1231, "cannot be set")))
        await peer.read()
        peer.write(session(CAPABILITIES))
        await peer.answer(packet(error(1231, "cannot be set")))

    async with fake_server(script) as arguments:
        with pytest.raises(err.MySQLError, match="1231"):
            await sa.connect(**arguments, isolation_level="SERIALIZABLE")


@server
@pytest.mark.parametrize("turn", [1, 2, 3])
async def test_begin_that_is_cancelled_leaves_no_transaction(
    connect_kwargs: Kwargs, turn: int
) -> None:
    async with sa.create_engine(**connect_kwargs, maxsize=1) as engine:
        conn = await engine.acquire()
        task = asyncio.ensure_future(conn.begin(isolation_level="SERIALIZABLE"))
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():  # the server was faster
            await task.result().rollback()
        await engine.release(conn)

        async with await asyncio.wait_for(engine.acquire(), 5) as conn:
            assert await conn.scalar("SELECT 1") == 1
            assert not conn.in_transaction
