"""Many statements in one command: the same outcome as one by one."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import AsyncIterator
from typing import Any

import pytest
from faults import faulty_proxy
from pymysql import err
from sqlalchemy import (
    Column,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    insert,
    select,
    text,
    update,
)

import aiomysqlx

pytestmark = pytest.mark.server

MODELS = MetaData()
THINGS = Table(
    "things",
    MODELS,
    Column("id", Integer, primary_key=True),
    Column("name", String(20)),
    Column("n", Integer, unique=True),
)
RENAME = update(THINGS).where(THINGS.c.id == bindparam("key")).values(name=bindparam("new"))
RENUMBER = update(THINGS).where(THINGS.c.id == bindparam("key")).values(n=bindparam("new"))
ROWS = 700


@pytest.fixture
async def both(connect_kwargs: dict[str, Any]) -> AsyncIterator[list[aiomysqlx.Engine]]:
    """An engine that executes one by one, and one that pipelines."""
    engines = [
        await aiomysqlx.create_engine(**connect_kwargs, pipelining=pipelining)
        for pipelining in (False, True)
    ]
    yield engines
    for engine in engines:
        engine.terminate()
        await engine.wait_closed()


async def fill(conn: aiomysqlx.SAConnection) -> None:
    await conn.drop_all(MODELS)
    await conn.create_all(MODELS)
    async with conn.begin():
        await conn.execute(
            insert(THINGS), [{"id": i, "name": f"n{i}", "n": i} for i in range(1, ROWS + 1)]
        )


def groups(**wrong: Any) -> list[dict[str, Any]]:
    """Return parameters of all rows, but for those of the numbers that *wrong* gives."""
    made = [{"key": i, "new": f"é'\\;\n{i}"} for i in range(1, ROWS + 1)]
    for name, value in wrong.items():
        made[int(name[1:])]["new"] = value
    return made


async def outcome(conn: aiomysqlx.SAConnection, statement: Any, given: Any) -> tuple[Any, ...]:
    """Return all that an execution brings: its result, error and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = await conn.execute(statement, given)
        except (err.MySQLError, aiomysqlx.ArgumentError) as error:
            told: tuple[Any, ...] = (type(error), error.args)
        else:
            rows = [row.as_tuple() for row in await result.fetchall()] if result.returns_rows else 0
            told = (result.rowcount, result.lastrowid, rows)
    return (*told, [str(warning.message) for warning in caught])


async def compare(
    both: list[aiomysqlx.Engine], statement: Any, given: Any, autocommit: bool = False
) -> tuple[Any, ...]:
    """Execute on both engines, and return the outcome: it and the table are to be the same."""
    outcomes = []
    for engine in both:
        async with engine.acquire() as conn:
            await fill(conn)
            if autocommit:
                await conn.connection.autocommit(True)
                told = await outcome(conn, statement, given)
            else:
                transaction = await conn.begin()
                told = await outcome(conn, statement, given)
                await transaction.commit()
            left = await (await conn.execute(select(THINGS).order_by(THINGS.c.id))).fetchall()
            outcomes.append((told, [row.as_tuple() for row in left]))
    assert outcomes[0] == outcomes[1]
    return outcomes[1][0]


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
class TestOutcome:
    async def test_update_changes_every_row(self, both: Any, autocommit: bool) -> None:
        told = await compare(both, RENAME, groups(), autocommit)

        assert told == (ROWS, 0, 0, [])

    @pytest.mark.parametrize("at", [0, 1, 2, 199, 200, 201, 202, 400, ROWS - 1])
    async def test_refused_row_leaves_what_is_before_it(
        self, both: Any, autocommit: bool, at: int
    ) -> None:
        given = groups(**{f"r{at}": "x" * 30})

        told = await compare(both, RENAME, given, autocommit)

        assert told[1][0] == 1406

    async def test_warnings_are_those_of_each_row(self, both: Any, autocommit: bool) -> None:
        ignoring = RENAME.prefix_with("IGNORE")
        given = groups(r3="y" * 30, r250="z" * 30, r699="z" * 40)

        told = await compare(both, ignoring, given, autocommit)

        assert len(told[-1]) == 3

    async def test_duplicate_in_the_second_window(self, both: Any, autocommit: bool) -> None:
        given = [{"key": i, "new": 10_000 + i} for i in range(1, ROWS + 1)]
        given[333]["new"] = 10_001

        told = await compare(both, RENUMBER, given, autocommit)

        assert told[1][0] == 1062

    async def test_text_of_a_cursor_in_windows(self, both: Any, autocommit: bool) -> None:
        given = [(f"a;b'{i}", i) for i in range(1, ROWS + 1)]
        given[500] = ("x" * 30, 501)

        told = await compare(both, "UPDATE things SET name = %s WHERE id = %s", given, autocommit)

        assert told[1][0] == 1406

    async def test_value_that_has_no_literal(self, both: Any, autocommit: bool) -> None:
        given: list[Any] = [(f"a{i}", i) for i in range(1, ROWS + 1)]
        given[450] = (float("nan"), 451)

        told = await compare(both, "UPDATE things SET name = %s WHERE id = %s", given, autocommit)

        assert "in parameter group 450" in told[1][0]

    async def test_syntax_error_of_one_group_quotes_that_alone(
        self, both: Any, autocommit: bool
    ) -> None:
        given: list[Any] = [(f"a{i}", 1) for i in range(1, 300)]
        given[250] = ("a", "x")

        told = await compare(both, "UPDATE things SET name = %s LIMIT %s", given, autocommit)

        assert told[1][0] == 1064
        assert "UPDATE" not in told[1][1]

    async def test_rows_are_counted_however_many_each_statement_has(
        self, both: Any, autocommit: bool
    ) -> None:
        behind = update(THINGS).where(THINGS.c.id > bindparam("key")).values(name=bindparam("new"))
        keys = [*range(ROWS - 5, ROWS + 300), 0, 1, ROWS - 250, ROWS - 251, ROWS, 0]

        told = await compare(both, behind, [{"key": i, "new": f"m{i}"} for i in keys], autocommit)

        assert told == (15 + 2 * ROWS + ROWS - 1 + 250 + 251, 0, 0, [])

    async def test_id_is_that_of_the_first_row_that_has_one(
        self, both: Any, autocommit: bool
    ) -> None:
        single = "INSERT IGNORE INTO things SET name = %s, n = %s"
        given = [(f"i{i}", i % 450 + ROWS - 5) for i in range(900)]

        outcomes = []
        for engine in both:
            async with engine.acquire() as conn:
                await fill(conn)
                await conn.connection.autocommit(autocommit)
                outcomes.append(await outcome(conn, single, given))
                await conn.connection.rollback()

        assert outcomes[0] == outcomes[1]
        assert outcomes[0][0] == 444

    async def test_delete_with_its_rows(self, both: Any, autocommit: bool, mariadb: None) -> None:
        statement = delete(THINGS).where(THINGS.c.id == bindparam("key")).returning(THINGS.c.name)

        given = [{"key": i} for i in range(1, ROWS + 1)]
        told = await compare(both, statement, given, autocommit)

        assert told[2][699] == ("n700",)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE things SET name = 'a;b' WHERE name = %s AND id = %s",
            "UPDATE things SET name = %s WHERE id = %s -- and more",
            "UPDATE things SET name = %s /* ; */ WHERE id = %s",
            "UPDATE things SET name = %s WHERE id = %s # and more",
            "UPDATE things SET name = %s WHERE id = %s;",
            "UPDATE things SET name = %s WHERE id = %s; DELETE FROM things",
            "UPDATE things SET name = 'a\\'b' WHERE name = %s AND id = %s",
            "UPDATE things SET name = '%s' WHERE id = %s",
            "UPDATE things SET name = %s WHERE id = '%s",
            "UPDATE things SET name = CONCAT(%s, ROW_COUNT()) WHERE id = %s",
            "UPDATE things SET name = CONCAT(%s, @@warning_count) WHERE id = %s",
            "/* UPDATE */ DELETE FROM things WHERE name = %s AND id = %s",
        ],
    )
    async def test_text_of_any_sort(self, both: Any, autocommit: bool, statement: str) -> None:
        given = [(f"n{i}", i) for i in range(1, 30)]

        await compare(both, statement, given, autocommit)


async def test_windows_take_few_round_trips(connect_kwargs: dict[str, Any]) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        aiomysqlx.create_engine(**proxy.kwargs, pipelining=True) as engine,
        engine.acquire() as conn,
    ):
        await fill(conn)
        proxy.passages[-1].commands.clear()

        await conn.execute(RENAME, groups())

        sent = [command[:1] for command in proxy.passages[-1].commands]
        assert sent.count(b"\x1b") == 8
        assert sent.count(b"\x03") == 5


async def test_several_statements_are_refused_again(both: list[aiomysqlx.Engine]) -> None:
    async with both[1].acquire() as conn:
        await fill(conn)

        await conn.execute(RENAME, groups())

        with pytest.raises(err.ProgrammingError, match="SELECT 2"):
            await conn.execute("SELECT 1; SELECT 2")


@pytest.mark.parametrize("at", [1, 350], ids=["first row", "amid a window"])
async def test_trigger_that_sets_what_text_is_read_in(
    both: list[aiomysqlx.Engine], at: int
) -> None:
    for engine in both:
        async with engine.acquire() as conn:
            await fill(conn)
            await conn.execute(
                text(
                    "CREATE TRIGGER things_before BEFORE UPDATE ON things FOR EACH ROW"
                    f" IF NEW.id = {at} THEN SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES';"
                    " SET NAMES latin1; END IF"
                )
            )
            given = [{"key": i, "new": f"é\\'{i}"} for i in range(1, ROWS + 1)]

            await outcome(conn, RENAME, given)

            left = await (await conn.execute(select(THINGS.c.id, THINGS.c.name))).fetchall()
            written = {row.id for row in left if row.name == f"é\\'{row.id}"}
            assert set(range(1, at + 1)) <= written
            assert {row.id for row in left if row.name == f"n{row.id}"} | written == set(
                range(1, ROWS + 1)
            )


async def test_deadlock_amid_a_window_executes_nothing_behind_it(
    both: list[aiomysqlx.Engine],
) -> None:
    one, other = await both[1].acquire(), await both[1].acquire()
    await fill(one)
    await other.connection.autocommit(True)
    await one.connection.autocommit(True)
    theirs = await one.begin()
    await one.execute(update(THINGS).where(THINGS.c.id >= 300).values(name="theirs"))
    ours = await other.begin()
    await other.execute(update(THINGS).where(THINGS.c.id == 1).values(name="ours"))
    given = [{"key": i, "new": "ours"} for i in range(2, 600)]

    many = asyncio.ensure_future(other.execute(RENAME, given)._coroutine)
    await asyncio.sleep(0.3)
    first = asyncio.ensure_future(
        one.execute(update(THINGS).where(THINGS.c.id == 2).values(name="theirs"))._coroutine
    )
    outcomes = await asyncio.gather(many, first, return_exceptions=True)

    lost = [each for each in outcomes if isinstance(each, BaseException)]
    assert [error.args[0] for error in lost] == [1213]
    for transaction, mine in ((ours, outcomes[0]), (theirs, outcomes[1])):
        if isinstance(mine, BaseException):
            with pytest.raises(aiomysqlx.InvalidRequestError):
                await transaction.commit()
            await transaction.rollback()
        else:
            await transaction.rollback()
    left = await (await one.execute(select(THINGS.c.name).distinct())).fetchall()
    assert {row[0] for row in left} == {f"n{i}" for i in range(1, ROWS + 1)}
    await one.close()
    await other.close()


@pytest.mark.parametrize("kill", [False, True], ids=["drained", "killed"])
async def test_cancelled_window_is_read_to_its_end(
    connect_kwargs: dict[str, Any], kill: bool
) -> None:
    async with aiomysqlx.create_engine(
        **connect_kwargs, pipelining=True, kill_on_cancel=kill, maxsize=1
    ) as engine:
        async with engine.acquire() as conn:
            await fill(conn)
        for delay in [*range(0, 60, 3)]:
            async with engine.acquire() as conn:
                task = asyncio.ensure_future(conn.execute(RENAME, groups())._coroutine)
                await asyncio.sleep(delay / 1000)
                task.cancel()
                await asyncio.wait([task])

                assert await conn.scalar(text("SELECT 42")) == 42
                with pytest.raises(err.ProgrammingError):
                    await conn.execute("SELECT 1; SELECT 2")


@pytest.mark.parametrize("kind", ["fin", "reset"])
async def test_connection_lost_amid_a_window(connect_kwargs: dict[str, Any], kind: Any) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        aiomysqlx.create_engine(**proxy.kwargs, pipelining=True) as engine,
    ):
        async with engine.acquire() as conn:
            await fill(conn)
        for at in range(30, 3000, 400):
            async with engine.acquire() as conn:
                proxy.fault(at, kind)
                with pytest.raises(err.OperationalError) as caught:
                    await conn.execute(RENAME, groups())
                assert caught.value.args[0] in (2013, 2006)
                assert conn.closed
            proxy.clear()


async def test_time_limit_of_a_window(connect_kwargs: dict[str, Any]) -> None:
    async with (
        aiomysqlx.create_engine(**connect_kwargs, pipelining=True) as engine,
        engine.acquire() as conn,
    ):
        await fill(conn)

        with pytest.raises(aiomysqlx.StatementTimeoutError):
            await conn.execute(
                text("UPDATE things SET name = :name WHERE id = :id AND SLEEP(0.01) = 0"),
                [{"name": "x", "id": i} for i in range(1, 300)],
                timeout=0.4,
            )

        await conn.connection.ensure_closed()
