"""What a server refuses: locks, limits, read-only mode, full tables; which errors mean a loss."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from private_server import MortalServer
from pymysql import err
from watch import at_rest, check_capacity, closed_in_time, kill, lend, one, spawn, until

import aiomysqlx as sa

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
USER = "aiomysqlx_limited"
ROLLED_BACK = r"the server has rolled this transaction back \(deadlock, error 1213\): "
server = pytest.mark.server
pytestmark = pytest.mark.usefixtures("quiet")


@pytest.fixture
async def auto(connect_kwargs: Kwargs) -> AsyncIterator[sa.Engine]:
    """An engine in autocommit mode, a table t of four rows."""
    made = sa.create_engine(
        **connect_kwargs,
        autocommit=True,
        maxsize=3,
        init_command="SET SESSION innodb_lock_wait_timeout = 1",
    )
    async with closed_in_time(made) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, n INT) ENGINE=InnoDB")
            await conn.execute("INSERT INTO t VALUES (1, 0), (2, 0), (3, 0), (4, 0)")
        yield engine


async def numbers(engine: sa.Engine) -> list[int]:
    async with engine.acquire() as conn:
        result = await conn.execute("SELECT n FROM t ORDER BY id")
        return [row[0] for row in await result.fetchall()]


def lock(number: int, n: int = 1) -> str:
    return f"UPDATE t SET n = {n} WHERE id = {number}"


# -- deadlocks and lock waits ----------------------------------------------------------------------


async def deadlock(victim: sa.SAConnection, other: sa.SAConnection) -> err.OperationalError:
    """Run *victim*, in a transaction that has locked row 1, into a deadlock; give its error."""
    async with other.begin():
        # The transaction that has changed more rows survives.
        for number in (2, 3, 4):
            await other.execute(lock(number, 7))
        waiting = spawn(other.execute(lock(1, 7)))
        await until(lambda: other.connection is not None and other.connection.busy)
        with pytest.raises(err.OperationalError, match="1213") as caught:
            await asyncio.wait_for(victim.execute(lock(2)), 10)
        await asyncio.wait_for(waiting, 10)
    assert caught.value.args[0] == 1213
    assert type(caught.value) is err.OperationalError
    return caught.value


@server
async def test_deadlock_is_the_servers_error_and_no_loss(auto: sa.Engine) -> None:
    async with auto.acquire() as victim, auto.acquire() as other:
        transaction = await victim.begin()
        await victim.execute(lock(1))

        error = await deadlock(victim, other)

        assert not sa.is_disconnect(error)
        await transaction.rollback()
        assert not victim.in_transaction
    assert await numbers(auto) == [7, 7, 7, 7]


@server
@pytest.mark.parametrize("action", ["execute", "begin", "begin_nested", "commit", "savepoint"])
async def test_nothing_goes_on_in_a_transaction_that_is_rolled_back(
    auto: sa.Engine, action: str
) -> None:
    async with auto.acquire() as victim, auto.acquire() as other:
        root = await victim.begin()
        nested = await victim.begin_nested()
        await victim.execute(lock(1))
        await deadlock(victim, other)

        for _ in range(2):
            with pytest.raises(sa.InvalidRequestError, match=ROLLED_BACK):
                if action == "execute":
                    await victim.execute("INSERT INTO t VALUES (9, 9)")
                elif action == "commit":
                    await root.commit()
                elif action == "savepoint":
                    await nested.commit()
                else:
                    await getattr(victim, action)()

        await root.rollback()
        assert not root.is_active and not nested.is_active and not victim.in_transaction
        async with victim.begin():
            await victim.execute(lock(1, 5))
    assert await numbers(auto) == [5, 7, 7, 7]


@server
async def test_savepoint_of_a_transaction_that_is_rolled_back_can_be_rolled_back(
    auto: sa.Engine,
) -> None:
    async with auto.acquire() as victim, auto.acquire() as other:
        root = await victim.begin()
        nested = await victim.begin_nested()
        await victim.execute(lock(1))
        await deadlock(victim, other)

        await nested.rollback()

        with pytest.raises(sa.InvalidRequestError):
            await root.commit()
        await root.rollback()
        async with victim.begin():
            assert await victim.scalar("SELECT 1") == 1


@server
async def test_blocks_around_a_deadlock_raise_it(auto: sa.Engine) -> None:
    async with auto.acquire() as victim, auto.acquire() as other:
        with pytest.raises(err.OperationalError, match="1213"):
            async with victim.begin(), victim.begin_nested():
                await victim.execute(lock(1))
                await deadlock(victim, other)
                raise err.OperationalError(1213, "as if it had not been caught")
        assert not victim.in_transaction

        async with victim.begin():
            await victim.execute(lock(1, 5))
    assert await numbers(auto) == [5, 7, 7, 7]


@server
async def test_deadlock_that_is_hidden_cannot_be_committed(auto: sa.Engine) -> None:
    async with auto.acquire() as victim, auto.acquire() as other:
        with pytest.raises(sa.InvalidRequestError, match=ROLLED_BACK):
            async with victim.begin():
                await victim.execute(lock(1))
                await deadlock(victim, other)  # and goes on as if nothing had happened

        assert not victim.in_transaction
    assert await numbers(auto) == [7, 7, 7, 7]
    await check_capacity(auto, 3)


@server
async def test_lock_that_is_waited_for_too_long_leaves_the_transaction(auto: sa.Engine) -> None:
    async with auto.acquire() as conn, auto.acquire() as other, other.begin() as blocking:
        await other.execute(lock(2, 7))
        async with conn.begin():
            await conn.execute(lock(1, 5))
            with pytest.raises(err.OperationalError, match="1205") as caught:
                async with conn.begin_nested():
                    await conn.execute(lock(3, 9))
                    await conn.execute(lock(2, 9))
            await conn.execute(lock(4, 5))
        await blocking.rollback()

    assert not sa.is_disconnect(caught.value)
    assert await numbers(auto) == [5, 0, 0, 5]


# -- limits ----------------------------------------------------------------------------------------


@pytest.fixture
def limited(admin: Admin, connect_kwargs: Kwargs) -> Iterator[Callable[[str], Kwargs]]:
    """Create a user with limits; give the arguments to connect as it."""

    def create(limits: str = "") -> Kwargs:
        with admin.cursor() as cursor:
            cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")
            cursor.execute(f"CREATE USER {USER}@'%' IDENTIFIED BY 'secret' {limits}")
            cursor.execute(f"GRANT ALL ON test_aiomysqlx.* TO {USER}@'%'")
        return {**connect_kwargs, "user": USER, "password": "secret"}

    yield create
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")


@pytest.fixture
def variable(admin: Admin) -> Iterator[Callable[[str, Any], None]]:
    """Set a global variable until the end of the test."""
    before: dict[str, Any] = {}

    def change(name: str, value: Any) -> None:
        before[name] = one(admin, f"SELECT @@GLOBAL.{name}")
        with admin.cursor() as cursor:
            cursor.execute(f"SET GLOBAL {name} = %s", (value,))

    yield change
    for name, value in before.items():
        with admin.cursor() as cursor:
            cursor.execute(f"SET GLOBAL {name} = %s", (value,))


async def check_limit(kwargs: Kwargs, limit: int, code: int) -> None:
    """A pool that may have more connections than the server allows lives with what it gets."""
    async with sa.create_engine(**kwargs, minsize=1, maxsize=limit + 3) as engine:
        lent = [await engine.acquire() for _ in range(limit)]
        for _ in range(3):
            with pytest.raises(sa.AcquireTimeoutError, match=str(code)) as caught:
                await engine.acquire(timeout=0.2)
            assert not sa.is_disconnect(caught.value)
        for number, conn in enumerate(lent):
            assert await conn.scalar("SELECT %s", number) == number
            await engine.release(conn)
        await check_capacity(engine, limit)


@server
async def test_user_may_have_too_few_connections(limited: Any) -> None:
    await check_limit(limited("WITH MAX_USER_CONNECTIONS 3"), 3, 1226)


@server
async def test_server_may_have_too_few_connections(
    limited: Any, admin: Admin, variable: Any
) -> None:
    kwargs = limited()
    await until(lambda: one(admin, "SELECT COUNT(*) FROM information_schema.processlist") < 6)
    others = one(
        admin,
        "SELECT COUNT(*) FROM information_schema.processlist WHERE command != 'Daemon'",
    )
    variable("max_connections", 12)

    # One more than the limit may connect, if it is an administrator.
    async with sa.create_engine(**kwargs, minsize=1, maxsize=15) as engine:
        lent = []
        with pytest.raises(sa.AcquireTimeoutError, match="1040") as caught:
            for _ in range(15):
                lent.append(await engine.acquire(timeout=0.5))
        assert not sa.is_disconnect(caught.value)
        assert len(lent) in (12 - others, 13 - others)
        for conn in lent:
            await engine.release(conn)
        await check_capacity(engine, len(lent))


@server
async def test_read_only_server_refuses_and_leaves_the_connection(
    limited: Any, variable: Any, auto: sa.Engine
) -> None:
    async with sa.create_engine(**limited(), maxsize=1) as engine, engine.acquire() as conn:
        variable("read_only", 1)

        with pytest.raises(err.MySQLError, match="1290") as caught:
            async with conn.begin():
                await conn.execute(lock(1, 5))

        assert not sa.is_disconnect(caught.value)
        assert await conn.scalar("SELECT n FROM t WHERE id = 1") == 0


@server
async def test_connections_that_met_a_read_only_server_are_not_lent_again(
    limited: Any, variable: Any, auto: sa.Engine
) -> None:
    async with sa.create_engine(**limited(), minsize=2, maxsize=2) as engine:
        before = await lend(engine, 2)
        variable("read_only", 1)
        async with engine.acquire() as conn:
            with pytest.raises(err.MySQLError, match="1290"):
                await conn.execute(lock(1, 5))

        await until(lambda: at_rest(engine, 2))
        assert not set(before) & set(await lend(engine, 2))


@server
async def test_read_only_transaction_of_ones_own_does_not_cost_the_connection(
    auto: sa.Engine,
) -> None:
    async with auto.acquire() as conn:
        raw = conn.connection
        await conn.execute("START TRANSACTION READ ONLY")
        with pytest.raises(err.MySQLError, match="1792"):
            await conn.execute(lock(1, 5))

    async with auto.acquire() as conn:
        assert conn.connection is raw
        with pytest.raises(err.MySQLError, match="1290"):
            await conn.execute("SELECT 1 INTO OUTFILE '/nowhere/at/all'")

    async with auto.acquire() as conn:
        assert conn.connection is raw


@server
async def test_full_tablespace_refuses_one_statement_and_leaves_the_transaction(
    mortal: MortalServer,
) -> None:
    own = mortal.server
    kwargs = {"host": own.host, "port": own.port, "user": own.user, "db": own.database}
    async with (
        sa.create_engine(**kwargs, autocommit=True, maxsize=1) as engine,
        engine.acquire() as conn,
    ):
        # In a file of which the server's options allow so many bytes, as a disk does.
        await conn.execute("SET GLOBAL innodb_file_per_table = OFF")
        await conn.execute(
            "CREATE TABLE filled (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(4000)) ENGINE=InnoDB"
        )
        await conn.execute("INSERT INTO filled (a) VALUES (REPEAT('x', 4000))")
        accepted = 1
        async with conn.begin():
            with pytest.raises(err.OperationalError, match="1114") as caught:
                while accepted < 1 << 16:  # a quarter of a gigabyte
                    await conn.execute("INSERT INTO filled (a) SELECT a FROM filled")
                    accepted *= 2
            assert not sa.is_disconnect(caught.value)
        assert 1 < await conn.scalar("SELECT COUNT(*) FROM filled") == accepted
        await conn.execute("DROP TABLE filled")
        await conn.execute("SET GLOBAL innodb_file_per_table = ON")


# -- is_disconnect() -------------------------------------------------------------------------------

LOSSES = [
    *(
        err.OperationalError(code, "gone")
        for code in (2002, 2003, 2006, 2013, 2014, 2055, 4031, 1053, 1927, 3032, 3100)
    ),
    err.OperationalError(1180, "(provider status: Not connected to Primary Component)"),
    sa.CommitUnknownError(2013, "gone: the COMMIT was sent"),
    sa.CommitUnknownError(3100, "gone: the COMMIT was sent"),
    err.OperationalError(3100),
    err.InterfaceError(0, "Not connected"),
    err.InterfaceError("(0, 'Not connected')"),
    ConnectionResetError(104, "reset"),
    BrokenPipeError(),
]
OTHERS = [
    *(err.OperationalError(code, "no") for code in (1213, 1205, 1040, 1226, 1290, 1045, 1114)),
    *(err.OperationalError(code, "no") for code in (1180, 3098, 3101, 1047)),
    sa.CommitUnknownError(1317, "Query execution was interrupted: the COMMIT was sent"),
    err.ProgrammingError(1064, "syntax"),
    err.IntegrityError(1062, "duplicate"),
    err.InternalError(1290, "read only"),
    err.DataError(1406, "too long"),
    err.NotSupportedError(),
    err.OperationalError(),
    err.OperationalError("no code"),
    sa.ArgumentError("2013"),
    sa.InvalidRequestError(2013),
    asyncio.TimeoutError(),
    asyncio.CancelledError(),
    RuntimeError("Cannot acquire connection after closing pool"),
    ValueError(2013),
    FileNotFoundError(2, "No such file or directory"),
    KeyError("2013"),
    None,
]


@pytest.mark.parametrize("error", LOSSES, ids=repr)
def test_lost_connection_is_a_disconnect(error: Any) -> None:
    assert sa.is_disconnect(error) is True
    assert sa.exc.is_disconnect is sa.is_disconnect


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_anything_else_is_no_disconnect(error: Any) -> None:
    assert sa.is_disconnect(error) is False


def test_time_outs_of_the_library_are_no_disconnects() -> None:
    assert sa.is_disconnect(sa.AcquireTimeoutError("no connection within 1 seconds")) is False
    timeout = sa.StatementTimeoutError(3024, "the statement took more than 1 seconds")
    assert sa.is_disconnect(timeout) is False
    assert sa.is_disconnect(sa.exc.CommitTimeoutError(3024, "the COMMIT was sent")) is False


@server
async def test_killed_connection_is_a_disconnect(engine: sa.Engine, admin: Admin) -> None:
    async with engine.acquire() as conn:
        task = spawn(conn.execute("SELECT SLEEP(30)"))
        running = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(3%'"
        await until(lambda: one(admin, running) == 2)  # and the question itself
        kill(admin, conn.connection)
        with pytest.raises((err.OperationalError, err.InterfaceError)) as first:
            await task
        with pytest.raises((err.OperationalError, err.InterfaceError)) as second:
            await conn.execute("SELECT 1")

    assert sa.is_disconnect(first.value) and sa.is_disconnect(second.value)
