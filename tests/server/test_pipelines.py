"""Pipelines: statements that are sent without waiting for those before them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from faults import faulty_proxy
from meter import Meter
from pymysql import err
from sqlalchemy import (
    DDL,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    insert,
    select,
    update,
)
from watch import kill

import aiomysqlx

pytestmark = pytest.mark.server

MODELS = MetaData()
THINGS = Table(
    "things",
    MODELS,
    Column("id", Integer, primary_key=True),
    Column("name", String(20)),
    Column("data", LargeBinary(2_000_000)),
)
RENAME = update(THINGS).where(THINGS.c.id == bindparam("key")).values(name=bindparam("new"))
ROWS = 50
AUTOCOMMIT = pytest.mark.parametrize("autocommit", [False, True], ids=["off", "on"])


@pytest.fixture
async def pool(connect_kwargs: dict[str, Any]) -> AsyncIterator[aiomysqlx.Engine]:
    engine = await aiomysqlx.create_engine(**connect_kwargs, maxsize=3)
    yield engine
    engine.terminate()
    await engine.wait_closed()


async def fill(conn: aiomysqlx.SAConnection) -> None:
    await conn.drop_all(MODELS)
    await conn.create_all(MODELS)
    async with conn.begin():
        await conn.execute(insert(THINGS), [{"id": i, "name": f"n{i}"} for i in range(1, ROWS + 1)])


async def names(conn: aiomysqlx.SAConnection) -> dict[int, str]:
    rows = await (await conn.execute(select(THINGS.c.id, THINGS.c.name))).fetchall()
    return {row.id: row.name for row in rows}


async def test_statements_have_their_results(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        await fill(conn)

        async with conn.pipeline() as pipe:
            one = pipe.execute(select(THINGS.c.name).where(THINGS.c.id == 7))
            changed = pipe.execute(RENAME, key=7, new="seven")
            two = pipe.execute("SELECT name FROM things WHERE id = %s", 7)
            added = pipe.execute(insert(THINGS).values(id=99, name="x"))
            assert await (await one).scalar() == "n7"

        assert (await changed).rowcount == 1
        assert [row.name for row in await (await two).fetchall()] == ["seven"]
        assert (await added).inserted_primary_key == (99,)
        assert await two is await two


async def test_thousands_of_statements_come_in_order(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        async with conn.pipeline() as pipe:
            asked = [pipe.execute("SELECT %s", i) for i in range(3000)]

        assert [await (await each).scalar() for each in asked] == list(range(3000))


async def test_few_round_trips(connect_kwargs: dict[str, Any]) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        aiomysqlx.create_engine(**proxy.kwargs, warnings=False, pipelining=True) as engine,
        engine.acquire() as conn,
    ):
        proxy.hold()
        async with conn.pipeline() as pipe:
            for i in range(300):
                pipe.execute("SELECT %s", i)
            await asyncio.sleep(0.3)

            assert len(conn.connection._session.protocol.replies) == 200
            proxy.flow()


async def test_each_has_its_own_error(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        await conn.connection.autocommit(True)
        await fill(conn)

        with pytest.raises(err.OperationalError, match="nope") as caught:
            async with conn.pipeline() as pipe:
                before = pipe.execute(RENAME, key=1, new="a")
                wrong = pipe.execute("SELECT nope")
                unfit = pipe.execute("SELECT %s", float("nan"))
                behind = pipe.execute(RENAME, key=2, new="b")

        assert caught.value.args[0] == 1054
        assert (await before).rowcount == (await behind).rowcount == 1
        with pytest.raises(err.OperationalError):
            await wrong
        with pytest.raises(aiomysqlx.ArgumentError, match="nan"):
            await unfit
        assert (await names(conn))[2] == "b"


async def test_awaited_error_is_not_raised_again(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn, conn.pipeline() as pipe:
        wrong = pipe.execute("SELECT nope")
        with pytest.raises(err.OperationalError):
            await wrong


async def test_words_of_a_syntax_error_are_those_of_one_by_one(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(err.ProgrammingError) as alone:
            await conn.execute("SELEC 1")
        async with conn.pipeline() as pipe:
            wrong = pipe.execute("SELEC 1")
            with pytest.raises(err.ProgrammingError) as piped:
                await wrong

        assert piped.value.args == alone.value.args


async def test_warnings_are_issued_for_each(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with conn.pipeline() as pipe:
                for i in range(5):
                    pipe.execute(f"SELECT CAST('x{i}' AS SIGNED)")

        assert [f"x{i}" in str(each.message) for i, each in enumerate(caught)] == [True] * 5


async def test_nothing_is_sent_behind_what_may_change_how_text_is_read(
    connect_kwargs: dict[str, Any],
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        aiomysqlx.create_engine(**proxy.kwargs, pipelining=True) as engine,
        engine.acquire() as conn,
    ):
        commands = proxy.passages[-1].commands
        commands.clear()
        value = "é\\' OR 1"
        async with conn.pipeline() as pipe:
            proxy.hold()
            pipe.execute("SELECT 1")
            pipe.execute("SET sql_mode = 'NO_BACKSLASH_ESCAPES'")
            pipe.execute("SET NAMES latin1")
            read = pipe.execute("SELECT %s", value)
            await asyncio.sleep(0.1)
            sent = [each[1:] for each in commands if not each.endswith(b"WARNINGS")]
            proxy.flow()

        assert sent == [b"SELECT 1", b"SET sql_mode = 'NO_BACKSLASH_ESCAPES'"]
        assert await (await read).scalar() == value


async def test_other_statements_are_refused_meanwhile(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        async with conn.pipeline() as pipe:
            slow = pipe.execute("SELECT SLEEP(0.1)")
            with pytest.raises(aiomysqlx.InvalidRequestError, match="another statement is in"):
                await conn.execute("SELECT 1")
            with pytest.raises(aiomysqlx.InvalidRequestError, match="another statement is in"):
                await conn.begin()
            await slow
            assert await conn.scalar("SELECT 2") == 2
        with pytest.raises(aiomysqlx.InvalidRequestError, match="within its block alone"):
            pipe.execute("SELECT 1")


async def test_what_is_used_without_await_or_a_block_says_so(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        async with conn.pipeline() as pipe:
            statement = pipe.execute("SELECT 1")
            with pytest.raises(aiomysqlx.InvalidRequestError, match="before 'scalar' is used"):
                statement.scalar()  # type: ignore[attr-defined]
        with pytest.raises(aiomysqlx.InvalidRequestError, match="within its block alone: async"):
            conn.pipeline().execute("SELECT 1")


async def test_many_groups_are_refused(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn, conn.pipeline() as pipe:
        with pytest.raises(aiomysqlx.ArgumentError, match="executes a statement once, got 2"):
            await pipe.execute(RENAME, [{"key": 1, "new": "a"}, {"key": 2, "new": "b"}])


async def test_full_in_both_directions(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        big = "x" * 100_000

        async with conn.pipeline() as pipe:
            asked = [pipe.execute("SELECT %s, %s", (i, big)) for i in range(500)]

        for i, each in enumerate(asked):
            assert (await (await each).first()).as_tuple() == (i, big)


async def test_huge_result_amid_others(pool: aiomysqlx.Engine) -> None:
    async with pool.acquire() as conn:
        async with conn.pipeline() as pipe:
            first = pipe.execute("SELECT 1")
            huge = pipe.execute("SELECT REPEAT('y', 5000000)")
            last = pipe.execute("SELECT 3")

        assert len(await (await huge).scalar()) == 5_000_000
        assert await (await first).scalar() == 1
        assert await (await last).scalar() == 3


class TestTransaction:
    @AUTOCOMMIT
    async def test_commits_all(self, pool: aiomysqlx.Engine, autocommit: bool) -> None:
        async with pool.acquire() as conn, pool.acquire() as other:
            await fill(conn)
            await conn.connection.autocommit(autocommit)

            async with conn.pipeline(transaction=True) as pipe:
                for i in range(1, ROWS):
                    pipe.execute(RENAME, key=i, new="all")
                await pipe.execute(select(THINGS))
                assert "all" not in (await names(other)).values()
                await other.connection.rollback()

            await other.connection.rollback()
            assert list((await names(other)).values()).count("all") == ROWS - 1
            assert not conn.in_transaction
            assert conn.connection.get_autocommit() == autocommit

    @AUTOCOMMIT
    async def test_commits_none(self, pool: aiomysqlx.Engine, autocommit: bool) -> None:
        async with pool.acquire() as conn:
            await fill(conn)
            await conn.connection.autocommit(autocommit)

            with pytest.raises(err.OperationalError, match="nope"):
                async with conn.pipeline(transaction=True) as pipe:
                    pipe.execute(RENAME, key=1, new="a")
                    wrong = pipe.execute("UPDATE things SET nope = 1")
                    pipe.execute(RENAME, key=2, new="b")
                    with pytest.raises(err.OperationalError, match="nope"):
                        await wrong

            assert await names(conn) == {i: f"n{i}" for i in range(1, ROWS + 1)}
            assert conn.connection.get_autocommit() == autocommit

    @AUTOCOMMIT
    async def test_is_a_savepoint_within_another(
        self, pool: aiomysqlx.Engine, autocommit: bool
    ) -> None:
        async with pool.acquire() as conn:
            await fill(conn)
            await conn.connection.autocommit(autocommit)

            async with conn.begin():
                await conn.execute(RENAME, key=1, new="outer")
                with pytest.raises(err.OperationalError, match="nope"):
                    async with conn.pipeline(transaction=True) as pipe:
                        pipe.execute(RENAME, key=2, new="inner")
                        pipe.execute("UPDATE things SET nope = 1")

            assert await names(conn) == {**{i: f"n{i}" for i in range(1, ROWS + 1)}, 1: "outer"}
            assert conn.connection.get_autocommit() == autocommit

    async def test_body_that_raises_commits_none(self, pool: aiomysqlx.Engine) -> None:
        async with pool.acquire() as conn:
            await fill(conn)

            with pytest.raises(ZeroDivisionError):
                async with conn.pipeline(transaction=True) as pipe:
                    pipe.execute(RENAME, key=1, new="a")
                    1 / 0  # noqa: B018

            assert (await names(conn))[1] == "n1"

    async def test_takes_one_round_trip_and_the_commit(
        self, connect_kwargs: dict[str, Any]
    ) -> None:
        async with (
            faulty_proxy(connect_kwargs) as proxy,
            aiomysqlx.create_engine(**proxy.kwargs, warnings=False, pipelining=True) as engine,
            engine.acquire() as conn,
        ):
            await conn.scalar("SELECT 0")
            before = len(proxy.passages[-1].commands)
            proxy.hold()
            async with conn.pipeline(transaction=True) as pipe:
                pipe.execute("SELECT 1")
                pipe.execute("SELECT 2")
                await asyncio.sleep(0.1)
                sent = [bytes(each[1:]) for each in proxy.passages[-1].commands[before:]]
                proxy.flow()

            assert sent == [b"BEGIN", b"SAVEPOINT aiomysqlx_pipeline", b"SELECT 1", b"SELECT 2"]


@AUTOCOMMIT
@pytest.mark.parametrize("whole", [False, True], ids=["in a block", "transaction=True"])
async def test_nothing_stays_of_what_was_behind_a_deadlock(
    pool: aiomysqlx.Engine, autocommit: bool, whole: bool
) -> None:
    async with pool.acquire() as conn, pool.acquire() as other:
        await fill(other)
        await conn.connection.autocommit(autocommit)
        theirs = await other.begin()
        await other.execute(update(THINGS).where(THINGS.c.id > 10).values(name="theirs"))

        async def run(enter: Callable[[], Any]) -> list[Any]:
            async with enter() as pipe:
                first = pipe.execute(RENAME, key=1, new="ours")
                lock = pipe.execute(RENAME, key=20, new="ours")
                behind = [pipe.execute(RENAME, key=i, new="behind") for i in (2, 3)]
                await first
                await asyncio.sleep(0.3)
                task = asyncio.ensure_future(other.execute(RENAME, key=1, new="theirs")._coroutine)
                with pytest.raises(err.OperationalError) as caught:
                    await lock
                assert caught.value.args[0] == 1213
                outcomes: list[Any] = [caught.value]
                for each in behind:
                    try:
                        await each
                    except aiomysqlx.InvalidRequestError as error:
                        outcomes.append(error)
                await task
                return outcomes

        if whole:
            with pytest.raises(err.OperationalError, match="Deadlock"):
                await run(lambda: conn.pipeline(transaction=True))
        else:
            with pytest.raises(aiomysqlx.InvalidRequestError, match="deadlock, error 1213"):
                async with conn.begin():
                    outcomes = await run(conn.pipeline)
                    assert len(outcomes) == 3
                    assert "rolled back" in str(outcomes[1])
                    with pytest.raises(aiomysqlx.InvalidRequestError, match="deadlock"):
                        await conn.execute("SELECT 1")
        await theirs.rollback()

        assert await names(other) == {i: f"n{i}" for i in range(1, ROWS + 1)}
        assert conn.connection.get_autocommit() == autocommit
        assert await conn.scalar("SELECT 1") == 1


@AUTOCOMMIT
async def test_block_goes_on_after_an_error_that_has_not_ended_it(
    pool: aiomysqlx.Engine, autocommit: bool
) -> None:
    async with pool.acquire() as conn:
        await fill(conn)
        await conn.connection.autocommit(autocommit)

        async with conn.begin():
            async with conn.pipeline() as pipe:
                pipe.execute(RENAME, key=1, new="a")
                wrong = pipe.execute("UPDATE things SET nope = 1")
                behind = [pipe.execute(RENAME, key=i, new="b") for i in range(2, 30)]
                with pytest.raises(err.OperationalError):
                    await wrong
                assert [(await each).rowcount for each in behind] == [1] * 28
                pipe.execute(RENAME, key=40, new="c")
            await conn.execute(RENAME, key=41, new="d")

        left = await names(conn)
        assert (left[1], left[2], left[40], left[41]) == ("a", "b", "c", "d")
        assert conn.connection.get_autocommit() == autocommit


@AUTOCOMMIT
async def test_ddl_in_a_block_ends_it(pool: aiomysqlx.Engine, autocommit: bool) -> None:
    async with pool.acquire() as conn:
        await fill(conn)
        await conn.connection.autocommit(autocommit)

        transaction = await conn.begin()
        async with conn.pipeline() as pipe:
            pipe.execute(RENAME, key=1, new="a")
            pipe.execute(DDL("CREATE TABLE more (id INT)"))
            behind = pipe.execute(RENAME, key=2, new="b")
            with pytest.raises(aiomysqlx.InvalidRequestError, match="has ended this transaction"):
                await behind
        await transaction.rollback()

        left = await names(conn)
        assert (left[1], left[2]) == ("a", "n2")


async def test_time_limit_is_for_each(connect_kwargs: dict[str, Any]) -> None:
    async with (
        aiomysqlx.create_engine(**connect_kwargs, statement_timeout=0.4) as engine,
        engine.acquire() as conn,
    ):
        async with conn.pipeline() as pipe:
            for _ in range(6):
                pipe.execute("SELECT SLEEP(0.1)")

        with pytest.raises(aiomysqlx.StatementTimeoutError):
            async with conn.pipeline() as pipe:
                first = pipe.execute("SELECT 1")
                pipe.execute("SELECT SLEEP(1.5)")
                never = [pipe.execute("SELECT 2") for _ in range(300)]

        assert await (await first).scalar() == 1
        with pytest.raises(aiomysqlx.StatementTimeoutError):
            await never[-1]
        result = await conn.execute("SELECT 3", timeout=10)  # once the rest has come
        assert await result.scalar() == 3


@pytest.mark.parametrize("kill", [False, True], ids=["drained", "killed"])
@pytest.mark.parametrize("where", ["outside", "block", "whole"])
async def test_cancelled_at_any_moment(
    connect_kwargs: dict[str, Any], kill: bool, where: str
) -> None:
    chance = random.Random(7)
    async with aiomysqlx.create_engine(
        **connect_kwargs, kill_on_cancel=kill, maxsize=1, autocommit=True
    ) as engine:
        async with engine.acquire() as conn:
            await fill(conn)

        async def work(conn: aiomysqlx.SAConnection) -> None:
            if where == "block":
                async with conn.begin(), conn.pipeline() as pipe:
                    await run(pipe)
            else:
                async with conn.pipeline(transaction=where == "whole") as pipe:
                    await run(pipe)

        async def run(pipe: Any) -> None:
            asked = [pipe.execute("SELECT %s", i) for i in range(400)]
            pipe.execute(RENAME, key=1, new="x")
            await asked[chance.randrange(400)]
            for i in range(2, 40):
                pipe.execute(RENAME, key=i, new="x")

        for _ in range(40):
            async with engine.acquire() as conn:
                task = asyncio.ensure_future(work(conn))
                await asyncio.sleep(chance.random() * 0.03)
                task.cancel()
                await asyncio.wait([task])
                assert task.cancelled() or task.exception() is None

                token = chance.randrange(1 << 30)
                if not conn.closed:  # as it is if its COMMIT is cut off
                    assert await conn.scalar("SELECT %s", token) == token
            async with engine.acquire() as conn:
                left = list((await names(conn)).values())
                assert where == "outside" or left.count("x") in (0, 39)
                assert task.cancelled() or left.count("x") == 39
                await conn.execute(update(THINGS).values(name="n"))


@pytest.mark.parametrize("wrong", ["SELECT nothing", "SELECT FROM"], ids=["name", "syntax"])
async def test_refused_after_it_was_cut_off(pool: aiomysqlx.Engine, wrong: str) -> None:
    async with pool.acquire() as conn:

        async def work() -> None:
            async with conn.pipeline() as pipe:
                pipe.execute("SELECT SLEEP(0.2)")
                pipe.execute(wrong)

        task = asyncio.ensure_future(work())
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])

        assert task.cancelled()
        assert await conn.scalar("SELECT 7") == 7


async def test_connection_given_back_amid_a_pipeline(pool: aiomysqlx.Engine) -> None:
    conn = await pool.acquire()

    with pytest.raises((err.OperationalError, aiomysqlx.ResourceClosedError)):
        async with conn.pipeline() as pipe:
            slow = pipe.execute("SELECT SLEEP(0.5)")
            pipe.execute("SET @a = 1")
            pipe.execute("SELECT 1")
            pool.release(conn)
            with pytest.raises(aiomysqlx.ResourceClosedError):
                pipe.execute("SELECT 2")

    with pytest.raises((err.OperationalError, aiomysqlx.ResourceClosedError)):
        await slow


@pytest.mark.parametrize("kind", ["fin", "reset"])
@pytest.mark.parametrize("whole", [False, True])
async def test_connection_lost_amid_a_pipeline(
    connect_kwargs: dict[str, Any], kind: Any, whole: bool
) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        aiomysqlx.create_engine(**proxy.kwargs, pipelining=True) as engine,
    ):
        for at in range(1, 9000, 900):
            async with engine.acquire() as conn:
                proxy.fault(at, kind)
                with pytest.raises(err.OperationalError) as caught:
                    async with conn.pipeline(transaction=whole) as pipe:
                        asked = [pipe.execute("SELECT %s", i) for i in range(1000)]
                assert caught.value.args[0] in (2013, 2006)
                for i, each in enumerate(asked):
                    assert each.done
                    with contextlib.suppress(err.OperationalError):
                        assert await (await each).scalar() == i
            proxy.clear()


async def test_nothing_more_is_written_once_the_connection_is_lost(
    pool: aiomysqlx.Engine, admin: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with pool.acquire() as conn:
        async with conn.pipeline():
            pass  # which has tried whether there may be one
        kill(admin, conn.connection)
        with pytest.raises(err.OperationalError):
            async with conn.pipeline() as pipe:
                asked = [pipe.execute("SELECT %s", i) for i in range(20)]

    assert all(each.done for each in asked)
    assert caplog.messages == []  # asyncio tells of those who go on writing


async def test_pipeline_of_a_native_block(url: str) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    engine = create_async_engine(url.replace("mysql:", "mysql+aiomysqlx:"))
    async with engine.begin() as sql:
        await sql.run_sync(MODELS.drop_all)
        await sql.run_sync(MODELS.create_all)
    async with AsyncSession(engine) as session:
        async with aiomysqlx.native(session) as conn, conn.pipeline() as pipe:
            for i in range(100):
                pipe.execute(insert(THINGS).values(id=i + 1, name="x"))
        assert len((await session.execute(select(THINGS))).all()) == 100
        await session.rollback()
        assert (await session.execute(select(THINGS))).all() == []
    await engine.dispose()


async def test_statement_costs_the_same_behind_few_and_behind_many(pool: aiomysqlx.Engine) -> None:
    costs = []
    async with pool.acquire() as conn:
        for before in (300, 1200):  # as many as may be under way do not make a difference
            async with conn.pipeline(transaction=True) as pipe:
                for _ in range(before):
                    pipe.execute("DO 0")
                with Meter() as meter:
                    pipe.execute("DO 0")
            costs.append(meter.instructions)
    assert 0 < costs[1] <= costs[0] + 50
