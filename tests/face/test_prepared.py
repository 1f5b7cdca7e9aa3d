"""Statements that a connection has prepared: from when, how many, until when, and what if not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from pymysql import err

import aiomysqlx
from aiomysqlx.wire.preparing import closing

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("quiet")]

Kwargs = dict[str, Any]
table = sa.Table(
    "t",
    sa.MetaData(),
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20)),
)
BY_ID = sa.select(table).where(table.c.id == sa.bindparam("wanted"))


@asynccontextmanager
async def connected(kwargs: Kwargs, **options: Any) -> AsyncIterator[aiomysqlx.SAConnection]:
    options = {"maxsize": 1, "autocommit": True, "prepare_threshold": 0, **options}
    async with (
        aiomysqlx.create_engine(**kwargs, **options) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))")
        await conn.execute("INSERT INTO t VALUES (1, 'one'), (2, 'two')")
        yield conn


async def named(conn: aiomysqlx.SAConnection, wanted: int = 1) -> str:
    row = await (await conn.execute(BY_ID, wanted=wanted)).one()
    name: str = row.name
    return name


async def counted(conn: aiomysqlx.SAConnection, what: str) -> int:
    row = await (await conn.execute(f"SHOW SESSION STATUS LIKE 'Com_stmt_{what}'")).one()
    return int(row[1])


def store(conn: aiomysqlx.SAConnection) -> Any:
    return conn.connection._session.protocol.statements  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(None, [0] * 4), (0, [1, 2, 3, 4]), (1, [1, 2, 3, 4]), (3, [0, 0, 1, 2])],
)
async def test_statement_is_prepared_from_an_execution_on(
    connect_kwargs: Kwargs, threshold: int | None, expected: list[int]
) -> None:
    async with connected(connect_kwargs, prepare_threshold=threshold) as conn:
        executed = []
        for _ in range(4):
            assert await named(conn) == "one"
            executed.append(await counted(conn, "execute"))

        assert executed == expected
        assert await counted(conn, "prepare") == (1 if expected[-1] else 0)


async def test_least_used_statement_is_closed_for_another(connect_kwargs: Kwargs) -> None:
    statements = [sa.select(table.c.name.label(f"x{i}")).where(table.c.id == 1) for i in range(4)]
    async with connected(connect_kwargs, prepared_max=2) as conn:
        for number in (0, 1, 0, 2, 3):
            assert await conn.scalar(statements[number]) == "one"
        await conn.scalar(statements[2])

        assert await counted(conn, "prepare") == 4
        assert await counted(conn, "close") == 2


async def test_definitions_of_a_prepared_statement_are_not_kept(connect_kwargs: Kwargs) -> None:
    as_text = sa.select(sa.func.avg(table.c.id, type_=sa.Float)).where(table.c.id == 1)
    async with connected(connect_kwargs) as conn:
        for _ in range(2):
            await named(conn)
            await conn.scalar(as_text)

        prepared = [each for each in store(conn).known.values() if each.number is not None]
        assert prepared != []
        assert all(each.taken == each.columns == [] for each in prepared)


async def test_value_of_another_type_is_text(connect_kwargs: Kwargs) -> None:
    async with connected(connect_kwargs) as conn:
        await named(conn)
        assert await (await conn.execute(BY_ID, wanted="2")).fetchall() != []

        assert await counted(conn, "execute") == 1


async def test_reset_forgets_and_prepares_anew(connect_kwargs: Kwargs) -> None:
    async with connected(connect_kwargs) as conn:
        await named(conn)

        await conn.connection.reset()  # type: ignore[union-attr]

        assert store(conn).known == {} and store(conn).told is None
        assert await named(conn) == "one" and store(conn).told
        assert len(store(conn).known) == 1


async def test_what_was_set_is_not_a_reason_to_replace_the_connection(
    connect_kwargs: Kwargs,
) -> None:
    arguments = {**connect_kwargs, "maxsize": 1, "autocommit": True, "prepare_threshold": 0}
    async with aiomysqlx.create_engine(**arguments) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE t (id INT PRIMARY KEY, name VARCHAR(20))")
            await (await conn.execute(BY_ID, wanted=1)).fetchall()
            assert store(conn).told
            await conn.execute("SET collation_connection = utf8mb4_bin")

        async with engine.acquire() as conn:
            pass

        assert engine.stats().opened == 1 and engine.stats().closed == {}


async def test_preparation_that_is_cancelled_leaves_nothing_behind(connect_kwargs: Kwargs) -> None:
    async with connected(connect_kwargs) as conn:
        await named(conn)
        for delay in range(30):
            statement = sa.select(table.c.name.label(f"y{delay}")).where(table.c.id == 2)
            task = asyncio.ensure_future(conn.scalar(statement))
            for _ in range(delay % 6):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

            assert await named(conn, 1) == "one"
            assert await conn.scalar(statement) == "two"
        prepared = await counted(conn, "prepare")
        assert prepared == 31 == len(store(conn).known)


async def test_cancelled_preparation_is_judged_before_its_statement_is_executed(
    connect_kwargs: Kwargs,
) -> None:
    async with connected(connect_kwargs) as conn:
        await named(conn)
        await conn.execute("CREATE TABLE rough (id INT, size FLOAT)")
        rough = sa.Table(
            "rough", sa.MetaData(), sa.Column("id", sa.Integer), sa.Column("size", sa.Float)
        )
        for turns in range(6):
            statement = sa.select(rough.c.size.label(f"y{turns}")).where(rough.c.id == 2)
            task = asyncio.ensure_future(conn.scalar(statement))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

            await conn.scalar(statement)

        assert await counted(conn, "execute") == 1  # that of the names


async def test_schema_that_the_server_does_not_tell_is_not_another_one(
    connect_kwargs: Kwargs,
) -> None:
    async with connected(connect_kwargs) as conn:
        assert await named(conn) == "one"
        await conn.execute("CREATE DATABASE untold")
        try:
            await conn.execute("CREATE TABLE untold.t SELECT 1 AS id, 'other' AS name")
            await conn.execute("SET session_track_schema = OFF")
            await conn.execute("USE untold")

            assert [await named(conn) for _ in range(3)] == ["other"] * 3
        finally:
            await conn.execute("DROP DATABASE untold")


async def test_what_a_failing_trigger_has_set_holds_for_the_next_statement(
    connect_kwargs: Kwargs,
) -> None:
    quotient = sa.select(table.c.id / table.c.id).where(table.c.id == sa.bindparam("wanted"))
    async with connected(connect_kwargs) as conn:
        assert str(await conn.scalar(quotient, wanted=1)) == "1.0000"
        await conn.execute(
            "CREATE TRIGGER setting BEFORE INSERT ON t FOR EACH ROW BEGIN"
            " SET SESSION div_precision_increment = 6; SIGNAL SQLSTATE '45000'; END"
        )
        assert str(await conn.scalar(quotient, wanted=1)) == "1.0000"  # prepared anew for that
        with pytest.raises(err.MySQLError):
            await conn.execute(table.insert(), id=3, name="three")

        assert str(await conn.scalar(quotient, wanted=1)) == "1.000000"


async def test_kill_of_a_preparation_waits_for_nothing_once_it_is_answered(
    connect_kwargs: Kwargs,
) -> None:
    async with connected(connect_kwargs, kill_on_cancel=True) as conn:
        await named(conn)
        for turns in range(6):
            statement = sa.select(table.c.name.label(f"y{turns}")).where(table.c.id == 2)
            task = asyncio.ensure_future(conn.scalar(statement))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

            assert await asyncio.wait_for(conn.scalar(statement), 4) == "two"


async def test_statement_that_the_server_has_forgotten_is_text(connect_kwargs: Kwargs) -> None:
    async with connected(connect_kwargs) as conn:
        await named(conn)
        (statement,) = store(conn).known.values()
        conn.connection._session.protocol.write(closing(statement.number))  # type: ignore[union-attr]

        assert [await named(conn, 2) for _ in range(3)] == ["two"] * 3

        assert conn._engine.stats().sent_as_text == {"forgotten": 1}
        assert await counted(conn, "prepare") == 1


async def test_insert_that_the_server_has_forgotten_is_executed_once(
    connect_kwargs: Kwargs,
) -> None:
    async with connected(connect_kwargs) as conn:
        await conn.execute(table.insert(), {"id": 3, "name": "three"})
        (statement,) = store(conn).known.values()
        conn.connection._session.protocol.write(closing(statement.number))  # type: ignore[union-attr]

        async with conn.begin():
            await conn.execute(table.insert(), {"id": 4, "name": "four"})

        assert await conn.scalar("SELECT COUNT(*) FROM t") == 4


async def test_statement_for_which_the_server_has_no_place_is_text(
    connect_kwargs: Kwargs, admin: Any
) -> None:
    with admin.cursor() as cursor:
        cursor.execute("SELECT @@max_prepared_stmt_count")
        (most,) = cursor.fetchone()
        cursor.execute("SET GLOBAL max_prepared_stmt_count = 0")
        try:
            async with connected(connect_kwargs) as conn, conn.begin():
                assert [await named(conn) for _ in range(3)] == ["one"] * 3

                assert conn._engine.stats().sent_as_text == {"too_many": 1}
        finally:
            cursor.execute(f"SET GLOBAL max_prepared_stmt_count = {most}")


async def test_connection_that_finds_no_place_leaves_its_own(
    connect_kwargs: Kwargs, admin: Any
) -> None:
    statements = [sa.select(table.c.name.label(f"x{i}")).where(table.c.id == 1) for i in range(4)]
    with admin.cursor() as cursor:
        cursor.execute("SELECT @@max_prepared_stmt_count")
        (most,) = cursor.fetchone()
        cursor.execute("SET GLOBAL max_prepared_stmt_count = 3")
        try:
            async with connected(connect_kwargs) as conn:
                assert [await conn.scalar(each) for each in statements] == ["one"] * 4
                assert [await conn.scalar(each) for each in statements] == ["one"] * 4

                assert conn._engine.stats().sent_as_text == {"too_many": 1}
                assert await counted(conn, "prepare") == await counted(conn, "close") == 3
        finally:
            cursor.execute(f"SET GLOBAL max_prepared_stmt_count = {most}")


async def test_statements_that_fail_before_they_are_prepared_are_not_kept(
    connect_kwargs: Kwargs,
) -> None:
    async with connected(connect_kwargs, prepare_threshold=3) as conn:
        for _ in range(20):
            with pytest.raises(err.IntegrityError):
                await conn.execute(table.insert(), {"id": 1, "name": "one"})

        assert len(store(conn).known) + len(store(conn).closing) <= 1


async def test_time_limit_holds_for_the_preparation_and_the_execution(
    connect_kwargs: Kwargs,
) -> None:
    update = table.update().where(table.c.id == 1).values(name=sa.bindparam("new"))
    async with (
        connected(connect_kwargs) as conn,
        aiomysqlx.connect(**connect_kwargs) as other,
        other.cursor() as cursor,
    ):
        await cursor.execute("UPDATE t SET name = 'locked' WHERE id = 1")

        for _ in range(2):
            with pytest.raises(aiomysqlx.StatementTimeoutError):
                await conn.execute(update, {"new": "x"}, timeout=0.2)
            await other.rollback()
            await cursor.execute("UPDATE t SET name = 'locked' WHERE id = 1")
        await other.rollback()

        assert await named(conn, 2) == "two"


@pytest.mark.parametrize(
    "options", [{"prepare_threshold": -1}, {"prepared_max": 0}, {"prepare_threshold": "5"}]
)
def test_senseless_numbers_are_refused(options: Kwargs) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=f"argument '{next(iter(options))}'"):
        aiomysqlx.create_engine(**options)


async def test_error_of_a_statement_is_that_of_its_text(connect_kwargs: Kwargs) -> None:
    missing = sa.select(sa.Table("none", sa.MetaData(), sa.Column("id", sa.Integer)))
    async with connected(connect_kwargs) as conn:
        with pytest.raises(err.ProgrammingError, match="none' doesn't exist"):
            await conn.execute(missing)

        assert await named(conn) == "one"


# The last is what the server itself would say.
RAISED = [
    *((code, "mine") for code in (1243, 1295, 1461, 1615, 3988)),
    (1615, "Prepared statement needs to be re-prepared"),
]


@pytest.mark.parametrize(("code", "words"), RAISED)
async def test_error_that_a_trigger_raises_executes_nothing_again(
    connect_kwargs: Kwargs, code: int, words: str
) -> None:
    async with connected(connect_kwargs) as conn:
        await conn.execute("CREATE TABLE written (id INT) ENGINE=MyISAM")
        await conn.execute(
            "CREATE TRIGGER raising AFTER INSERT ON t FOR EACH ROW BEGIN INSERT INTO written VALUES"
            f" (1); SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {code}, MESSAGE_TEXT = '{words}'; END"
        )
        for number in (1, 2, 3):
            with pytest.raises(err.MySQLError) as caught:
                await conn.execute(table.insert(), {"id": 3, "name": "three"})

            assert caught.value.args == (code, words)
            assert await conn.scalar("SELECT COUNT(*) FROM written") == number
        assert await counted(conn, "execute") >= 1
        assert await named(conn) == "one"
