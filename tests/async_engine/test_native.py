"""`native()`: this package's own connection, in the transaction of SQLAlchemy's."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any, ClassVar

import pytest
import sqlalchemy
from programs import RunProgram
from pymysql import err
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    event,
    func,
    select,
    text,
)
from sqlalchemy import exc as sa_exc
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn
from watch import cancelled_at, kill, until

import aiomysqlx
from aiomysqlx import InvalidRequestError, ResourceClosedError, SAConnection, native

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    __table_args__: ClassVar = {"mysql_engine": "InnoDB"}

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(50))


users = User.__table__
assert isinstance(users, Table)
insert = users.insert()
by_id = select(users).where(users.c.id == bindparam("wanted"))
Open = Callable[[AsyncEngine], Any]


@pytest.fixture
async def engine(async_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine of two connections, with a table."""
    engine = create_async_engine(async_url, pool_size=2, max_overflow=0, pool_timeout=5)
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture
async def session(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """A session of the engine."""
    async with AsyncSession(engine) as session:
        yield session


async def ids(engine: AsyncEngine) -> list[int]:
    """Return what is committed."""
    async with engine.connect() as conn:
        return list(await conn.scalars(select(users.c.id).order_by(users.c.id)))


def lent(engine: AsyncEngine) -> int:
    """Return how many connections of an engine are lent."""
    assert isinstance(engine.pool, QueuePool)
    return engine.pool.checkedout()


async def driver_connection(thing: Any) -> aiomysqlx.Connection:
    """Return the driver's connection of a session or connection."""
    if isinstance(thing, AsyncSession):
        thing = await thing.connection()
    raw = (await thing.get_raw_connection()).driver_connection
    assert isinstance(raw, aiomysqlx.Connection)
    return raw


owners = pytest.mark.parametrize(
    "owner", [AsyncSession, AsyncEngine.connect], ids=["session", "connection"]
)


# -- one connection, one transaction


@owners
async def test_both_sides_are_in_one_transaction(engine: AsyncEngine, owner: Open) -> None:
    async with owner(engine) as thing:
        await thing.execute(insert, {"id": 1, "name": "theirs"})
        async with native(thing) as conn:
            assert type(conn).__mro__[1] is SAConnection
            assert (await (await conn.execute(by_id, wanted=1)).first()).name == "theirs"
            await conn.execute(insert, {"id": 2, "name": "ours"})
            found = await thing.execute(select(users.c.name).order_by(users.c.id))
            assert found.scalars().all() == ["theirs", "ours"]
            assert await conn.scalar(select(func.connection_id())) == (
                await thing.scalar(select(func.connection_id()))
            )
        assert await ids(engine) == []
        await thing.commit()

    assert await ids(engine) == [1, 2]


@owners
async def test_entering_begins_the_transaction(engine: AsyncEngine, owner: Open) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            assert thing.in_transaction()
            assert conn.in_transaction
            await conn.execute(insert, {"id": 1, "name": "a"})
        await thing.commit()

    assert await ids(engine) == [1]


@owners
async def test_rollback_takes_what_was_written_natively(engine: AsyncEngine, owner: Open) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
        await thing.rollback()
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 2, "name": "b"})

    assert await ids(engine) == []


async def test_session_begin_commits_and_an_error_rolls_back(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        async with session.begin(), native(session) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
        with pytest.raises(ZeroDivisionError):
            async with session.begin(), native(session) as conn:
                await conn.execute(insert, {"id": 2, "name": "b"})
                raise ZeroDivisionError

    assert await ids(engine) == [1]


async def test_autobegin_that_is_off_is_respected(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, autobegin=False) as session:
        with pytest.raises(sa_exc.InvalidRequestError, match="Autobegin is disabled"):
            async with native(session):
                pass


async def test_scoped_session_is_that_of_its_scope(engine: AsyncEngine) -> None:
    scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    async with native(scoped) as conn:
        await conn.execute(insert, {"id": 1, "name": "a"})
    await scoped.commit()
    await scoped.remove()

    assert await ids(engine) == [1]


async def test_bind_arguments_choose_the_engine(engine: AsyncEngine) -> None:
    chosen = {"bind": engine.sync_engine}
    async with AsyncSession(binds={}) as session:
        with pytest.raises(sa_exc.UnboundExecutionError):
            async with native(session):
                pass
        async with native(session, bind_arguments=chosen) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
        await session.commit()

    assert await ids(engine) == [1]
    assert chosen == {"bind": engine.sync_engine}


async def test_session_may_choose_its_engine_at_random(engine: AsyncEngine) -> None:
    binds = [engine.sync_engine, create_async_engine(engine.url).sync_engine]

    class Routing(sqlalchemy.orm.Session):
        def get_bind(self, *_: Any, **__: Any) -> Any:
            binds.reverse()
            return binds[0]

    async with AsyncSession(sync_session_class=Routing) as session:
        for number in range(4):
            async with native(session) as conn:
                await conn.execute(insert, {"id": number, "name": "a"})
        await session.commit()
    for bind in binds:
        if bind is not engine.sync_engine:
            await AsyncEngine(bind).dispose()

    assert await ids(engine) == [0, 1, 2, 3]


async def test_native_may_be_awaited_and_closed(session: AsyncSession) -> None:
    conn = await native(session)
    assert await conn.scalar("SELECT 1") == 1
    await conn.close()

    with pytest.raises(ResourceClosedError, match="has been left"):
        await conn.execute("SELECT 1")


async def test_block_within_a_block_shares_the_transaction(
    engine: AsyncEngine, session: AsyncSession
) -> None:
    async with native(session) as outer, outer.begin_nested():
        await outer.execute(insert, {"id": 1, "name": "a"})
        async with native(session) as inner:
            async with inner.begin_nested():
                await inner.execute(insert, {"id": 2, "name": "b"})
            with pytest.raises(ZeroDivisionError):
                async with inner.begin_nested():
                    await inner.execute(insert, {"id": 3, "name": "c"})
                    raise ZeroDivisionError
        await outer.execute(insert, {"id": 4, "name": "d"})
    await session.commit()

    assert await ids(engine) == [1, 2, 4]


# -- the unit of work


async def test_pending_objects_are_flushed_on_entering(session: AsyncSession) -> None:
    session.add(User(id=1, name="new"))
    async with native(session) as conn:
        assert await conn.scalar(select(users.c.name)) == "new"


@pytest.mark.parametrize("how", ["option", "block"])
async def test_nothing_is_flushed_without_autoflush(engine: AsyncEngine, how: str) -> None:
    async with AsyncSession(engine, autoflush=how != "option") as session:
        session.add(User(id=1, name="new"))
        with session.no_autoflush:
            async with native(session) as conn:
                assert await conn.scalar(select(users.c.name)) is None


async def test_flush_that_fails_is_raised_on_entering(session: AsyncSession) -> None:
    session.add_all([User(id=1, name="a")])
    await session.commit()
    session.add(User(id=1, name="b"))

    with pytest.raises(sa_exc.IntegrityError):
        async with native(session):
            pass
    with pytest.raises(sa_exc.PendingRollbackError):
        async with native(session):
            pass
    await session.rollback()
    async with native(session) as conn:
        assert await conn.scalar("SELECT 1") == 1


async def test_objects_see_what_was_written_once_they_are_expired(session: AsyncSession) -> None:
    user = User(id=1, name="old")
    session.add(user)
    async with native(session) as conn:
        await conn.execute(users.update().values(name="new"))

    assert user.name == "old"
    session.expire(user)
    await session.refresh(user)
    assert user.name == "new"


async def test_savepoint_of_a_session_begins_before_what_is_written_in_it(
    engine: AsyncEngine, session: AsyncSession
) -> None:
    async with native(session) as conn:
        async with session.begin_nested():
            await conn.execute(insert, {"id": 1, "name": "a"})
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                async with conn.begin_nested():
                    await conn.execute(insert, {"id": 2, "name": "b"})
                raise ZeroDivisionError
        await conn.execute(insert, {"id": 3, "name": "c"})
    await session.commit()

    assert await ids(engine) == [1, 3]


# -- whose the transaction is


@owners
@pytest.mark.parametrize("begin", ["begin", "begin_twophase"])
async def test_transaction_is_not_ours_to_begin(
    engine: AsyncEngine, owner: Open, begin: str
) -> None:
    async with owner(engine) as thing, native(thing) as conn:
        await conn.execute(insert, {"id": 1, "name": "a"})
        with pytest.raises(InvalidRequestError, match="belongs to the AsyncSession or AsyncConn"):
            async with getattr(conn, begin)():
                pass
        assert await conn.scalar(select(users.c.name)) == "a"


@pytest.mark.parametrize("name", ["commit", "rollback"])
async def test_commit_and_rollback_are_where_they_belong(session: AsyncSession, name: str) -> None:
    async with native(session) as conn:
        with pytest.raises(AttributeError, match="the AsyncSession or AsyncConnection"):
            getattr(conn, name)


@owners
@pytest.mark.parametrize("sql", ["COMMIT", "ROLLBACK", "CREATE TABLE made (id INT)"])
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "beginning"])
async def test_end_by_a_statement_is_refused_from_then_on(
    engine: AsyncEngine, owner: Open, sql: str, begun: bool
) -> None:
    async with owner(engine) as thing:
        if begun:
            await thing.execute(insert, {"id": 1, "name": "a"})
        with pytest.raises(InvalidRequestError, match=rf"^'{sql[:6]}.* call the rollback\(\)"):
            async with native(thing) as conn:
                await conn.execute(insert, {"id": 2, "name": "a"})
                await conn.execute(sql)
                with pytest.raises(InvalidRequestError, match=f"^'{sql[:6]}"):
                    await conn.execute("SELECT 1")
                with pytest.raises(sa_exc.ProgrammingError, match=f"'{sql[:6]}"):
                    await thing.execute(text("SELECT 1"))
        await thing.rollback()
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 3, "name": "a"})
        await thing.commit()

    assert (await ids(engine))[-1] == 3


@owners
async def test_second_begin_is_refused_where_the_server_tells_of_it(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing:
        # MySQL tells without being asked.
        await thing.execute(text("SET SESSION session_track_transaction_info = 'CHARACTERISTICS'"))
        with pytest.raises(InvalidRequestError, match=r"^'BEGIN' has ended this transaction"):
            async with native(thing) as conn:
                await conn.execute(insert, {"id": 1, "name": "a"})
                await conn.execute("BEGIN")
        await thing.rollback()

    assert await ids(engine) == [1]


@owners
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_block_executes_nothing_once_its_owner_has_ended_the_transaction(
    engine: AsyncEngine, owner: Open, end: str
) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
            result = await conn.execute(by_id, wanted=1)
            await getattr(thing, end)()
            if owner is AsyncSession or end == "close":
                async with engine.connect() as other:  # it has the same connection from the pool
                    with pytest.raises(ResourceClosedError, match="ended by its AsyncSession"):
                        await conn.execute(insert, {"id": 2, "name": "b"})
                    await other.commit()
            with pytest.raises(ResourceClosedError, match="ended by its AsyncSession"):
                await conn.execute(insert, {"id": 2, "name": "b"})
            assert (await result.first()).name == "a"
        if end != "close":
            async with native(thing) as conn:
                assert await conn.scalar("SELECT 1") == 1

    assert await ids(engine) == ([1] if end == "commit" else [])


@owners
async def test_savepoint_of_a_block_whose_transaction_has_ended_says_so(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            with pytest.raises(ResourceClosedError):
                async with conn.begin_nested():
                    await conn.execute(insert, {"id": 1, "name": "a"})
                    await thing.rollback()
        assert await thing.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_session_within_the_transaction_of_a_connection_ends_its_blocks(
    engine: AsyncEngine, end: str
) -> None:
    async with (
        engine.begin() as outer,
        AsyncSession(outer, join_transaction_mode="create_savepoint") as session,
        native(session) as conn,
    ):
        await conn.execute(insert, {"id": 1, "name": "a"})
        await getattr(session, end)()
        for _ in range(2):
            with pytest.raises(ResourceClosedError, match="ended by its AsyncSession"):
                await conn.execute(insert, {"id": 2, "name": "b"})
        async with native(session) as again:
            await again.execute(insert, {"id": 3, "name": "c"})
        await session.commit()

    assert await ids(engine) == ([1, 3] if end == "commit" else [3])


async def test_select_of_a_class_gives_its_columns(session: AsyncSession) -> None:
    session.add(User(id=1, name="a"))
    async with native(session) as conn:
        row = await (await conn.execute(select(User))).one()

    assert (row.id, row.name) == (1, "a")


async def test_block_that_is_left_executes_nothing_more(session: AsyncSession) -> None:
    async with native(session) as conn:
        result = await conn.execute("SELECT 1 AS n")
    assert (await result.first()).n == 1

    for use in (
        conn.execute,
        conn.scalar,
    ):
        with pytest.raises(ResourceClosedError, match=r"native\(\) block has been left"):
            await use("SELECT 1")
    for begin in (conn.begin, conn.begin_nested, conn.begin_twophase, conn.invalidate):
        with pytest.raises(ResourceClosedError, match=r"native\(\) block has been left"):
            await begin()
    assert conn.closed


async def test_tables_are_not_created_in_the_transaction(session: AsyncSession) -> None:
    async with native(session) as conn:
        with pytest.raises(InvalidRequestError, match="CREATE and DROP commit the transaction"):
            await conn.create_all(Base.metadata)


async def test_options_of_the_transaction_are_its_owners(session: AsyncSession) -> None:
    async with native(session) as conn:
        with pytest.raises(InvalidRequestError, match="set them on the AsyncSession"):
            await conn.execution_options(isolation_level="SERIALIZABLE")
        with pytest.raises(InvalidRequestError, match="set them on the AsyncSession"):
            await conn.execution_options(read_only=True)
        assert await conn.execution_options(warnings=True) is conn
        with pytest.warns(aiomysqlx.ServerWarning):
            await conn.execute("SELECT 1 / 0")


async def test_autocommit_has_no_transaction(engine: AsyncEngine) -> None:
    async with engine.connect() as thing:
        await thing.execution_options(isolation_level="AUTOCOMMIT")
        async with native(thing) as conn:
            assert not conn.in_transaction
            await conn.execute(insert, {"id": 1, "name": "a"})
            assert await ids(engine) == [1]
            with pytest.raises(InvalidRequestError, match="AUTOCOMMIT"):
                await conn.begin_nested()
            with pytest.raises(InvalidRequestError, match="belongs to"):
                await conn.begin()
            await conn.execute("COMMIT")
        await thing.rollback()

    assert await ids(engine) == [1]


async def test_two_phase_session_ends_what_shares_it(engine: AsyncEngine) -> None:
    async with AsyncSession(engine, twophase=True) as session:
        async with native(session) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
            with pytest.raises(ZeroDivisionError):
                async with conn.begin_nested():
                    await conn.execute(insert, {"id": 2, "name": "b"})
                    raise ZeroDivisionError
        async with native(session) as conn:
            await conn.execute(insert, {"id": 3, "name": "c"})
            await session.commit()
            with pytest.raises(ResourceClosedError, match="ended by its AsyncSession"):
                await conn.execute(insert, {"id": 4, "name": "d"})

    assert await ids(engine) == [1, 3]


# -- savepoints


@owners
async def test_savepoints_are_released_and_rolled_back(engine: AsyncEngine, owner: Open) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            async with conn.begin_nested():
                await conn.execute(insert, {"id": 1, "name": "a"})
                with pytest.raises(err.IntegrityError):
                    async with conn.begin_nested():
                        await conn.execute(insert, {"id": 2, "name": "b"})
                        await conn.execute(insert, {"id": 1, "name": "again"})
            nested = await conn.begin_nested()
            await conn.execute(insert, {"id": 3, "name": "c"})
            await nested.rollback()
            assert conn.in_transaction
        await thing.commit()

    assert await ids(engine) == [1]


@owners
async def test_savepoint_that_is_left_open_is_rolled_back_and_told(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing:
        await thing.execute(insert, {"id": 1, "name": "a"})
        with pytest.raises(InvalidRequestError, match="left open"):
            async with native(thing) as conn:
                await conn.begin_nested()
                await conn.begin_nested()
                await conn.execute(insert, {"id": 2, "name": "b"})
        await thing.commit()

    assert await ids(engine) == [1]


@owners
async def test_savepoints_of_the_owner_are_around_the_block_and_in_it(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing:
        with pytest.raises(ZeroDivisionError):
            async with thing.begin_nested():
                async with native(thing) as conn:
                    await conn.execute(insert, {"id": 1, "name": "a"})
                raise ZeroDivisionError
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 2, "name": "b"})
            async with conn.begin_nested(), thing.begin_nested(), conn.begin_nested():
                await conn.execute(insert, {"id": 3, "name": "c"})
            nested = await thing.begin_nested()
            await conn.execute(insert, {"id": 4, "name": "d"})
            await nested.rollback()
            await conn.execute(insert, {"id": 5, "name": "e"})
        await thing.commit()

    assert await ids(engine) == [2, 3, 5]


CUT_OFF = "this savepoint has ended with the one of the AsyncSession or AsyncConnection in which"


@owners
@pytest.mark.parametrize("end", ["commit", "rollback"])
async def test_savepoint_whose_outer_one_has_ended_executes_nothing_more(
    engine: AsyncEngine, owner: Open, end: str
) -> None:
    async with owner(engine) as thing:
        await thing.execute(insert, {"id": 1, "name": "a"})
        outer = await thing.begin_nested()
        async with native(thing) as conn:
            with pytest.raises(InvalidRequestError, match=CUT_OFF):
                async with conn.begin_nested():
                    await conn.execute(insert, {"id": 2, "name": "b"})
                    await getattr(outer, end)()
                    with pytest.raises(InvalidRequestError, match=CUT_OFF):
                        await conn.execute(insert, {"id": 3, "name": "c"})
            await conn.execute(insert, {"id": 4, "name": "d"})
        await thing.commit()

    assert await ids(engine) == ([1, 2, 4] if end == "commit" else [1, 4])


@owners
@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("way", ["commit", "rollback", "left open"])
@pytest.mark.parametrize("executes", [False, True], ids=["at once", "after a statement"])
async def test_end_of_a_savepoint_whose_outer_one_has_ended_says_so(
    engine: AsyncEngine, owner: Open, end: str, way: str, executes: bool
) -> None:
    async with owner(engine) as thing:
        outer = await thing.begin_nested()
        with pytest.raises(InvalidRequestError, match=CUT_OFF):
            async with native(thing) as conn:
                nested = await conn.begin_nested()
                await conn.execute(insert, {"id": 1, "name": "a"})
                await getattr(outer, end)()
                if executes:
                    await conn.execute(insert, {"id": 2, "name": "b"})
                if way != "left open":
                    await getattr(nested, way)()
        await thing.commit()

    assert await ids(engine) == [1] * (end == "commit") + [2] * executes


@owners
@pytest.mark.parametrize("end", ["commit", "rollback"])
@pytest.mark.parametrize("way", ["commit", "rollback"])
@pytest.mark.parametrize("depth", [1, 2])
async def test_savepoint_of_the_owner_that_outlives_the_one_around_it_says_what_has_ended_it(
    engine: AsyncEngine, owner: Open, end: str, way: str, depth: int
) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            outer = await conn.begin_nested()
            await conn.execute(insert, {"id": 1, "name": "a"})
            nested = [await thing.begin_nested() for _ in range(depth)]
            await thing.execute(insert, {"id": 2, "name": "b"})
            await getattr(outer, end)()
        for each in reversed(nested):
            with pytest.raises(sa_exc.InvalidRequestError, match="ended with the one of native"):
                await getattr(each, way)()
            if way == "commit":
                await each.rollback()
        async with thing.begin_nested():  # of a name that there has been
            await thing.execute(insert, {"id": 3, "name": "c"})
        await thing.commit()
        async with thing.begin_nested():
            await thing.execute(insert, {"id": 4, "name": "d"})
        await thing.commit()

    assert await ids(engine) == [1, 2] * (end == "commit") + [3, 4]


@owners
async def test_savepoint_of_the_owner_ends_as_before_within_one_that_was_left(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
            around = await thing.begin_nested()
            async with conn.begin_nested(), thing.begin_nested():
                await conn.execute(insert, {"id": 2, "name": "b"})
            open_yet = await conn.begin_nested()
            inner = await thing.begin_nested()
            await conn.execute(insert, {"id": 3, "name": "c"})
            await open_yet.close()  # which tells the server nothing
            await inner.rollback()
            await around.commit()
        await thing.commit()

    assert await ids(engine) == [1, 2]


# -- errors


@owners
async def test_error_of_the_server_leaves_the_transaction(engine: AsyncEngine, owner: Open) -> None:
    async with owner(engine) as thing:
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
            with pytest.raises(err.IntegrityError):
                await conn.execute(insert, {"id": 1, "name": "again"})
            await conn.execute(insert, {"id": 2, "name": "b"})
        await thing.execute(insert, {"id": 3, "name": "c"})
        await thing.commit()

    assert await ids(engine) == [1, 2, 3]


@owners
async def test_deadlock_ends_the_block_until_its_owner_rolls_back(
    engine: AsyncEngine, owner: Open
) -> None:
    async with engine.begin() as conn:
        await conn.execute(insert, [{"id": number, "name": "-"} for number in (1, 2)])
    met = asyncio.Event()
    arrived: list[int] = []

    async def lock(mine: int, other: int) -> str:
        async with owner(engine) as thing:
            try:
                async with native(thing) as conn:
                    await conn.execute(users.update().where(users.c.id == mine).values(name="x"))
                    arrived.append(mine)
                    if len(arrived) == 2:
                        met.set()
                    await asyncio.wait_for(met.wait(), 10)
                    try:
                        await conn.execute(
                            users.update().where(users.c.id == other).values(name="y")
                        )
                    except err.OperationalError:
                        with pytest.raises(InvalidRequestError, match="deadlock, error 1213"):
                            await conn.execute(insert, {"id": mine + 10, "name": "lost"})
                        with pytest.raises(sa_exc.ProgrammingError, match="deadlock, error 1213"):
                            await thing.execute(insert, {"id": mine + 10, "name": "lost"})
            except InvalidRequestError as error:
                await thing.rollback()
                await thing.execute(insert, {"id": mine + 20, "name": "again"})
                await thing.commit()
                return str(error)
            await thing.commit()
            return "committed"

    outcomes = await asyncio.wait_for(asyncio.gather(lock(1, 2), lock(2, 1)), 30)

    told, committed = sorted(outcomes, reverse=True)
    assert committed == "committed"
    assert "deadlock, error 1213" in told
    assert len(await ids(engine)) == 3


@owners
async def test_commit_after_a_deadlock_that_was_swallowed_is_refused(
    engine: AsyncEngine, owner: Open
) -> None:
    deadlock = "SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = 1213"
    async with engine.begin() as conn:
        await conn.execute(text(f"CREATE PROCEDURE fail() BEGIN ROLLBACK; {deadlock}; END"))
    async with owner(engine) as thing:
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "lost"})
            with pytest.raises(err.OperationalError):
                await conn.execute("CALL fail()")
            with pytest.raises(sa_exc.ProgrammingError, match="committed or not, with error 1213"):
                await thing.commit()
            await thing.rollback()
        await thing.execute(insert, {"id": 2, "name": "kept"})
        await thing.commit()

    assert await ids(engine) == [2]


@owners
@pytest.mark.parametrize("when", ["in the block", "after it"])
async def test_connection_that_is_lost_is_invalidated(
    engine: AsyncEngine, admin: Any, owner: Open, when: str
) -> None:
    async with owner(engine) as thing:
        raw = await driver_connection(thing)
        number = raw.thread_id()
        with pytest.raises(err.OperationalError):
            async with native(thing) as conn:
                await conn.execute(insert, {"id": 1, "name": "a"})
                kill(admin, raw)
                with pytest.raises(err.OperationalError) as caught:
                    await conn.execute("SELECT 1")
                assert aiomysqlx.is_disconnect(caught.value)
                if when == "in the block":
                    with pytest.raises(sa_exc.PendingRollbackError):
                        await thing.execute(text("SELECT 1"))
                    await thing.rollback()
                raise caught.value
        if when == "after it":
            with pytest.raises(sa_exc.PendingRollbackError):
                await thing.execute(text("SELECT 1"))
            await thing.rollback()
        async with native(thing) as conn:
            assert await conn.scalar(select(func.connection_id())) != number
        assert raw.closed

    assert lent(engine) == 0
    assert await ids(engine) == []


@owners
async def test_loss_before_the_block_is_found_by_its_first_statement(
    engine: AsyncEngine, admin: Any, owner: Open
) -> None:
    async with engine.connect() as thing:
        raw = await driver_connection(thing)
    kill(admin, raw)
    await until(lambda: raw.closed)

    async with owner(engine) as thing:
        with pytest.raises(err.OperationalError) as caught:
            async with native(thing) as conn:
                await conn.execute("SELECT 1")
        assert aiomysqlx.is_disconnect(caught.value)
        await thing.rollback()
        async with native(thing) as conn:
            assert await conn.scalar("SELECT 1") == 1


async def test_loss_has_the_others_of_the_pool_replaced(engine: AsyncEngine, admin: Any) -> None:
    async with engine.connect() as one_of_them, engine.connect() as other:
        raws = [await driver_connection(each) for each in (one_of_them, other)]
    for raw in raws:
        kill(admin, raw)

    async with engine.connect() as thing:
        with pytest.raises(err.OperationalError):
            async with native(thing) as conn:
                await conn.execute("SELECT 1")
    async with engine.connect() as one_of_them, engine.connect() as other:
        for each in (one_of_them, other):
            assert await each.scalar(text("SELECT 1")) == 1


async def test_server_that_only_reads_is_not_lent_again(
    engine: AsyncEngine, admin: Any, mariadb: None
) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("CREATE USER IF NOT EXISTS reader IDENTIFIED BY 'pw'"))
        await conn.execute(text("GRANT SELECT, INSERT ON *.* TO reader"))
    url = engine.url.set(username="reader", password="pw")
    reader = create_async_engine(url)
    with admin.cursor() as cursor:
        cursor.execute("SET GLOBAL read_only = 1")
    try:
        async with reader.connect() as thing:
            raw = await driver_connection(thing)
            with pytest.raises(err.OperationalError, match="1290"):
                async with native(thing) as conn:
                    await conn.execute(insert, {"id": 1, "name": "a"})
            assert thing.invalidated
            assert raw.closed
    finally:
        with admin.cursor() as cursor:
            cursor.execute("SET GLOBAL read_only = 0")
            cursor.execute("DROP USER reader")
        await reader.dispose()


@owners
async def test_invalidate_ends_one_connection_of_the_pool(engine: AsyncEngine, owner: Open) -> None:
    async with engine.connect() as one, engine.connect() as two:
        both = {(await driver_connection(each)).thread_id() for each in (one, two)}
    async with owner(engine) as thing:
        async with native(thing) as conn:
            ours = asyncio.ensure_future(conn.execute("SELECT SLEEP(5)"))
            await until(lambda: conn.connection is not None and conn.connection.busy)
            conn.invalidate()
            with pytest.raises(err.OperationalError, match="invalidated"):
                await ours
        await thing.rollback()
        async with native(thing) as conn:
            assert await conn.scalar("SELECT 1") == 1
    async with engine.connect() as one, engine.connect() as two:
        still = {(await driver_connection(each)).thread_id() for each in (one, two)}

    assert lent(engine) == 0
    assert len(both & still) == 1


# -- cancellation, time limits


@owners
@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_statement_cut_off_leaves_the_connection_in_order(
    engine: AsyncEngine, admin: Any, owner: Open, how: str
) -> None:
    async with owner(engine) as thing:
        raw = await driver_connection(thing)
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
            with pytest.raises(asyncio.TimeoutError):
                if how == "timeout":
                    await conn.execute("SELECT 'late', SLEEP(0.2)", timeout=0.05)
                else:
                    await asyncio.wait_for(conn.execute("SELECT 'late', SLEEP(0.2)"), 0.05)
            assert await thing.scalar(text("SELECT 'theirs'")) == "theirs"
            assert await conn.scalar("SELECT 'ours'") == "ours"
        await thing.commit()
        assert await driver_connection(thing) is raw

    assert await ids(engine) == [1]


@owners
async def test_first_write_that_is_cut_off_is_rolled_back_with_its_owner(
    engine: AsyncEngine, owner: Open
) -> None:
    slow = "INSERT INTO users SELECT 1, SLEEP(0.2)"
    async with owner(engine) as thing:
        with pytest.raises(asyncio.TimeoutError):
            async with native(thing) as conn:
                await asyncio.wait_for(conn.execute(slow), 0.05)
        await thing.rollback()
        await thing.commit()
    async with engine.connect() as conn_after:
        assert not (await driver_connection(conn_after)).in_transaction
        await conn_after.commit()

    assert await ids(engine) == []


async def test_cancelled_tasks_get_nobody_elses_rows(engine: AsyncEngine) -> None:
    async def ask(number: int) -> int:
        async with AsyncSession(engine) as session, native(session) as conn:
            for _ in range(3):
                assert await conn.scalar(f"SELECT {number} FROM (SELECT SLEEP(0.002)) AS s") == (
                    number
                )
                assert await session.scalar(text(f"SELECT {number}")) == number
        return number

    async def some(number: int) -> int:
        try:
            return await asyncio.wait_for(ask(number), 0.004 + number % 9 / 500)
        except asyncio.TimeoutError:
            return -1

    done = await asyncio.gather(*(some(number) for number in range(60)))

    assert set(done) - {-1} <= set(range(60))
    assert lent(engine) == 0
    assert await ask(7) == 7


@owners
@pytest.mark.parametrize("late", [False, True], ids=["in time", "late"])
async def test_block_that_is_cancelled_anywhere_leaves_all_or_nothing(
    engine: AsyncEngine, owner: Open, late: bool
) -> None:
    async def work() -> None:
        async with owner(engine) as thing, thing.begin():
            await thing.execute(insert, {"id": 1, "name": "theirs"})
            async with native(thing) as conn:
                await conn.execute(insert, {"id": 2, "name": "ours"})
                async with conn.begin_nested():
                    await conn.execute(insert, {"id": 3, "name": "ours"})
                    async with thing.begin_nested():
                        await conn.execute(insert, {"id": 4, "name": "ours"})
                await thing.execute(insert, {"id": 5, "name": "theirs"})

    turn = 1
    while await cancelled_at(work(), turn, late=late):
        assert lent(engine) == 0
        async with engine.begin() as conn:
            assert not (await driver_connection(conn)).in_transaction
            found = list(await conn.scalars(select(users.c.id).order_by(users.c.id)))
            assert found in ([], [1, 2, 3, 4, 5])
            await conn.execute(users.delete())
        turn += 1

    assert turn > 10
    assert await ids(engine) == [1, 2, 3, 4, 5]


@owners
@pytest.mark.parametrize("how", ["invalidated", "cancelled"])
async def test_connection_that_its_owner_gives_up_is_given_up_natively(
    engine: AsyncEngine, owner: Open, how: str
) -> None:
    async with owner(engine) as thing:
        raw = await driver_connection(thing)
        with pytest.raises(InvalidRequestError, match="left open"):
            async with native(thing) as conn:
                await conn.begin_nested()
                await conn.execute(insert, {"id": 1, "name": "a"})
                if how == "invalidated":
                    await thing.invalidate()
                else:
                    with pytest.raises(asyncio.TimeoutError):
                        await asyncio.wait_for(thing.execute(select(func.sleep(5))), 0.05)
                with pytest.raises(ResourceClosedError, match="ended by its AsyncSession"):
                    await conn.execute("SELECT 1")
        assert raw.closed
        await thing.rollback()
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 2, "name": "b"})
        await thing.commit()

    assert await ids(engine) == [2]


# -- both sides at once


@owners
async def test_statement_of_the_owner_is_refused_while_a_native_one_is_in_progress(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing, native(thing) as conn:
        ours = asyncio.ensure_future(conn.scalar("SELECT 'ours' FROM (SELECT SLEEP(0.1)) AS s"))
        await until(lambda: conn.connection is not None and conn.connection.busy)

        with pytest.raises(sa_exc.ProgrammingError, match=r"native\(\) block shares with its As"):
            await thing.execute(text("SELECT 'theirs'"))
        assert await ours == "ours"
        assert await thing.scalar(text("SELECT 'theirs'")) == "theirs"


@owners
async def test_native_statement_is_refused_while_one_of_the_owner_is_in_progress(
    engine: AsyncEngine, owner: Open
) -> None:
    async with owner(engine) as thing, native(thing) as conn:
        slow = text("SELECT 'theirs' FROM (SELECT SLEEP(0.1)) AS s")
        theirs = asyncio.ensure_future(thing.scalar(slow))
        await until(lambda: conn.connection is not None and conn.connection.busy)

        with pytest.raises(InvalidRequestError, match=r"native\(\) block shares with its AsyncSes"):
            await conn.execute("SELECT 'ours'")
        with pytest.raises(InvalidRequestError, match=r"native\(\) block shares with its AsyncSes"):
            await conn.begin_nested()
        assert await theirs == "theirs"
        assert await conn.scalar("SELECT 'ours'") == "ours"


@owners
@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
async def test_end_of_the_transaction_waits_for_the_native_statement_in_progress(
    engine: AsyncEngine, owner: Open, end: str
) -> None:
    async with owner(engine) as thing, native(thing) as conn:
        await conn.execute(insert, {"id": 1, "name": "a"})
        ours = asyncio.ensure_future(conn.execute("INSERT INTO users SELECT 2, SLEEP(0.1)"))
        await until(lambda: conn.connection is not None and conn.connection.busy)
        await asyncio.gather(getattr(thing, end)(), ours)
        with pytest.raises(ResourceClosedError, match="ended by its AsyncSession"):
            await conn.execute(insert, {"id": 3, "name": "c"})

    assert lent(engine) == 0
    assert await ids(engine) == ([1, 2] if end == "commit" else [])


@owners
async def test_statement_of_many_packets_does_not_go_on_after_the_transaction(
    engine: AsyncEngine, owner: Open
) -> None:
    rows = [{"id": number, "name": "n" * 50} for number in range(50_000)]
    async with owner(engine) as thing, native(thing) as conn:
        await conn.execute(insert, {"id": -1, "name": "a"})
        ours = asyncio.ensure_future(conn.execute(insert, rows))
        await until(lambda: conn.connection is not None and conn.connection.busy)
        await thing.rollback()
        with pytest.raises(InvalidRequestError, match="is being ended|has been ended"):
            await ours

    assert await ids(engine) == []


@owners
async def test_end_of_the_transaction_stops_what_is_being_written(
    engine: AsyncEngine, owner: Open
) -> None:
    rows = [{"id": number, "name": "n" * 50} for number in range(50_000)]
    async with owner(engine) as thing, native(thing) as conn:
        await conn.execute(insert, {"id": -1, "name": "a"})
        ours = asyncio.ensure_future(conn.execute(insert, rows))
        await asyncio.sleep(0)  # it writes its rows in turns, and has sent nothing
        await thing.commit()
        with pytest.raises(InvalidRequestError, match="is being ended"):
            await ours

    assert await ids(engine) == [-1]


# -- raw connections


@pytest.mark.parametrize("which", ["pooled", "adapted", "driver"])
async def test_raw_connection_is_lent_as_it_is(engine: AsyncEngine, which: str) -> None:
    async with engine.connect() as thing:
        pooled: Any = await thing.get_raw_connection()
        given = {
            "pooled": pooled,
            "adapted": pooled.dbapi_connection,
            "driver": pooled.driver_connection,
        }[which]
        async with native(given) as conn:
            assert not conn.in_transaction
            async with conn.begin():
                await conn.execute(insert, {"id": 1, "name": "a"})
            with pytest.raises(ZeroDivisionError):
                async with conn.begin(), conn.begin_nested():
                    await conn.execute(insert, {"id": 2, "name": "b"})
                    raise ZeroDivisionError
        with pytest.raises(ResourceClosedError):
            await conn.execute("SELECT 1")
        assert not pooled.driver_connection.closed

    assert await ids(engine) == [1]


async def test_connection_of_connect_needs_no_engine(connect_kwargs: dict[str, Any]) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as raw:
        async with native(raw) as conn:
            assert await conn.scalar(select(func.database())) == connect_kwargs["db"]
        assert not raw.closed
        raw.close()
        with pytest.raises(err.InterfaceError, match="Not connected"):
            async with native(raw):
                pass


async def test_connection_that_went_back_to_its_pool_is_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as thing:
        pooled = await thing.get_raw_connection()
        async with native(pooled) as conn:
            await thing.close()
            with pytest.raises(ResourceClosedError):
                await conn.execute("SELECT 1")

    with pytest.raises(ResourceClosedError, match="given back to its pool"):
        async with native(pooled):
            pass


# -- what is no such thing


async def test_other_things_are_refused(engine: AsyncEngine, session: AsyncSession) -> None:
    other = sqlalchemy.create_engine("sqlite://")
    refusals = {
        5: r"takes an AsyncSession, an AsyncConnection or .*, got int$",
        engine: r"got sqlalchemy.ext.asyncio.engine.AsyncEngine: async with engine.connect\(\)",
        other: r"got sqlalchemy.engine.base.Engine",
        session.sync_session: r"give it the AsyncSession, outside of run_sync\(\)",
    }
    for thing, words in refusals.items():
        with pytest.raises(aiomysqlx.ArgumentError, match=words):
            async with native(thing):  # type: ignore[arg-type]
                pass
    async with native(session) as conn:
        with pytest.raises(aiomysqlx.ArgumentError, match="it is native already"):
            async with native(conn):  # type: ignore[arg-type]
                pass
    async with engine.connect() as thing:
        with pytest.raises(aiomysqlx.ArgumentError, match="bind_arguments are for an AsyncSession"):
            async with native(thing, bind_arguments={}):
                pass


async def test_other_driver_is_named(url: str) -> None:
    engine = create_async_engine(url.replace("mysql:", "mysql+aiomysql:"))
    async with AsyncSession(engine) as session:
        with pytest.raises(aiomysqlx.ArgumentError, match=r"got one on mysql\+aiomysql://"):
            async with native(session):
                pass
    await engine.dispose()


async def test_closed_ones_are_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as thing:
        pass
    with pytest.raises(sa_exc.ResourceClosedError, match="This Connection is closed"):
        async with native(thing):
            pass
    with pytest.raises(sa_exc.InvalidRequestError, match="has not been started"):
        async with native(engine.connect()):
            pass
    async with AsyncSession(engine, close_resets_only=False) as session:
        pass
    with pytest.raises(sa_exc.InvalidRequestError, match="permanently closed"):
        async with native(session):
            pass


async def test_transaction_that_has_failed_is_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as thing:
        await thing.execute(text("SELECT 1"))
        event.listen(engine.sync_engine, "commit", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await thing.commit()
        with pytest.raises(InvalidRequestError, match=r"call its rollback\(\)"):
            async with native(thing):
                pass
        await thing.rollback()
        async with native(thing) as conn:
            assert await conn.scalar("SELECT 1") == 1


async def test_block_whose_transaction_is_over_is_refused(engine: AsyncEngine) -> None:
    async with engine.connect() as thing, thing.begin():
        await thing.rollback()
        with pytest.raises(sa_exc.InvalidRequestError, match="closed transaction inside context"):
            async with native(thing):
                pass


# -- what is kept


async def test_plans_are_kept_for_each_engine(engine: AsyncEngine) -> None:
    planners = []
    for _ in range(2):
        async with AsyncSession(engine) as session, native(session) as conn:
            for _ in range(2):
                await conn.execute(by_id, wanted=1)
            planners.append(conn._planner)
    assert planners[0] is planners[1]
    assert planners[0] is not None and planners[0].known(by_id) is not None

    other = create_async_engine(engine.url)
    async with AsyncSession(other) as session, native(session) as conn:
        await conn.execute(by_id, wanted=1)
        assert conn._planner is not planners[0]
    await other.dispose()
    kept = weakref.ref(conn._planner)
    del other, session, conn
    gc.collect()
    assert kept() is None


async def test_values_are_those_of_the_engine(async_url: str) -> None:
    engine = create_async_engine(
        async_url, json_serializer=lambda _: '"as told"', json_deserializer=lambda text: [text]
    )
    documents = Table("documents", MetaData(), Column("id", Integer), Column("body", JSON))
    async with engine.connect() as thing:
        await thing.run_sync(documents.create)
        async with native(thing) as conn:
            await conn.execute(documents.insert(), {"id": 1, "body": {}})
            ours = await conn.scalar(select(documents.c.body))
        assert ours == ['"as told"']
        assert ours == await thing.scalar(select(documents.c.body))
    await engine.dispose()


@pytest.mark.usefixtures("mariadb")
@pytest.mark.parametrize("name", ["mysql", "mariadb"])
async def test_either_name_of_the_dialect_knows_the_server(async_url: str, name: str) -> None:
    engine = create_async_engine(async_url.replace("mysql+", f"{name}+"))
    async with engine.connect() as thing:
        await thing.run_sync(Base.metadata.create_all)
        async with native(thing) as conn:
            added = await conn.execute(insert.returning(users.c.name), {"id": 1, "name": "a"})
            assert await added.scalar() == "a"
    await engine.dispose()


@owners
async def test_engine_may_be_disposed_of_in_the_middle(engine: AsyncEngine, owner: Open) -> None:
    pool = engine.pool
    async with owner(engine) as thing:
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "a"})
            await engine.dispose()
            await conn.execute(insert, {"id": 2, "name": "b"})
        await thing.commit()
    await greenlet_spawn(pool.dispose)  # the connection went back to that one

    assert await ids(engine) == [1, 2]


async def test_sessions_are_strangers_to_each_other(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as one, AsyncSession(engine) as two:
        async with native(one) as first, native(two) as second:
            await first.execute(insert, {"id": 1, "name": "a"})
            await second.execute(insert, {"id": 2, "name": "b"})
            assert await second.scalar(select(users.c.id)) == 2
            await two.rollback()
            assert await first.scalar(select(users.c.id)) == 1
        await one.commit()

    assert await ids(engine) == [1]


async def test_schemas_are_translated_as_the_owner_has_it(
    engine: AsyncEngine, other_database: str
) -> None:
    elsewhere = engine.execution_options(schema_translate_map={None: other_database})
    async with elsewhere.connect() as thing:
        await thing.run_sync(Base.metadata.create_all)
        async with native(thing) as conn:
            await conn.execute(insert, {"id": 1, "name": "there"})
            assert await conn.scalar(by_id.with_only_columns(users.c.name), wanted=1) == "there"
            assert await conn.scalar(f"SELECT name FROM {other_database}.users") == "there"
        assert await thing.scalar(select(users.c.name)) == "there"
        await thing.commit()

    assert await ids(engine) == []


async def test_nothing_is_left_of_a_block(session: AsyncSession) -> None:
    raw = (await driver_connection(session))._session
    async with native(session) as conn:
        await conn.execute("SELECT 1")
        gone = weakref.ref(conn)
    assert raw.sharers == ()
    assert not raw.in_block
    gc.collect()
    gc.disable()
    try:
        del conn
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("keep", ["owner", "nothing"])
async def test_dropped_connection_keeps_nothing_of_its_owner(
    engine: AsyncEngine, keep: str
) -> None:
    thing: AsyncConnection | None = await engine.connect()
    conn: SAConnection | None = await native(thing)  # type: ignore[arg-type]
    assert conn is not None and thing is not None
    await conn.execute(insert, {"id": 1, "name": "a"})
    raw = (await driver_connection(thing))._session
    conn = None
    gc.collect()
    assert raw.sharers == ()
    assert not raw.in_block

    if keep == "owner":
        await thing.close()
    else:
        conn = await native(thing)
        conn = thing = None
        with pytest.warns(Warning, match="garbage collector"):
            gc.collect()
    assert (conn, lent(engine)) == (None, 0)
    assert await ids(engine) == []


def test_native_brings_nothing_of_asyncio_along(run_program: RunProgram) -> None:
    code = """
import asyncio, sys
import aiomysqlx
async def main():
    try:
        async with aiomysqlx.native(5): pass
    except aiomysqlx.ArgumentError:
        print("sqlalchemy.ext.asyncio" in sys.modules)
asyncio.run(main())
"""
    assert run_program(code).stdout == "False\n"
