"""The server's warnings: issued as Python's, with their code, unless they are not wanted."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pymysql import err
from pymysql.constants import CLIENT
from sqlalchemy import Column, Integer, MetaData, String, Table, text
from sqlalchemy.schema import DropTable

import aiomysqlx

pytestmark = pytest.mark.server

Execute = Callable[[aiomysqlx.SAConnection], Awaitable[Any]]
CAST = "SELECT CAST('1x' AS SIGNED)"
_CAST = text("SELECT CAST(:value AS SIGNED)")
short = Table("short", MetaData(), Column("id", Integer, primary_key=True), Column("s", String(2)))


async def _with_cursor(conn: aiomysqlx.SAConnection) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await cursor.execute(CAST)


async def _many_with_cursor(conn: aiomysqlx.SAConnection) -> None:
    assert conn.connection is not None
    async with conn.connection.cursor() as cursor:
        await cursor.executemany("INSERT INTO short (s) VALUES (%s)", [("long",), ("ok",)])


EXECUTES: dict[str, Execute] = {
    "text": lambda conn: conn.execute(CAST),
    "construct": lambda conn: conn.execute(_CAST, value="1x"),
    "construct for many": lambda conn: conn.execute(_CAST, [{"value": "1"}, {"value": "1x"}]),
    "insert": lambda conn: conn.execute(short.insert(), {"s": "long"}),
    "insert of many": lambda conn: conn.execute(short.insert(), [{"s": "ok"}, {"s": "long"}]),
    "DDL": lambda conn: conn.execute(DropTable(Table("none", MetaData()), if_exists=True)),
    "cursor": _with_cursor,
    "cursor for many": _many_with_cursor,
}


@pytest.fixture
async def conn(conn: aiomysqlx.SAConnection) -> aiomysqlx.SAConnection:
    """A connection with a table, whose columns cut what is too long."""
    await conn.execute("CREATE TABLE short (id INT PRIMARY KEY AUTO_INCREMENT, s VARCHAR(2))")
    await conn.execute("SET sql_mode = ''")
    return conn


async def asked(conn: aiomysqlx.SAConnection) -> int:
    """Give how often the session was asked for its warnings."""
    result = await conn.execute("SHOW SESSION STATUS LIKE 'Com_show_warnings'")
    return int((await result.fetchall())[0][1])


SEVERAL = {
    "text": lambda sql: sql,
    "construct": text,
}


@pytest.mark.parametrize("construct", SEVERAL.values(), ids=SEVERAL)
async def test_last_of_several_results_is_the_one_that_is_warned_of(
    connect_kwargs: dict[str, Any], construct: Callable[[str], Any]
) -> None:
    flag = CLIENT.MULTI_STATEMENTS
    async with (
        aiomysqlx.create_engine(**connect_kwargs, client_flag=flag) as engine,
        engine.acquire() as conn,
    ):
        before = await asked(conn)
        with pytest.warns(err.Warning, match="Truncated.*'1x'") as issued:
            await conn.execute(construct(f"SELECT 1; {CAST}"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await conn.execute(construct(f"{CAST}; SELECT 1"))  # of which nobody can ask

        assert len(issued) == 1
        assert await asked(conn) == before + 1


async def test_warning_has_code_level_and_message(conn: aiomysqlx.SAConnection) -> None:
    with pytest.warns(err.Warning) as issued:
        await conn.execute(CAST)

    (warning,) = [each.message for each in issued]
    assert isinstance(warning, aiomysqlx.ServerWarning)
    assert (warning.code, warning.level) == (1292, "Warning")
    assert str(warning) == "Truncated incorrect INTEGER value: '1x'"
    assert warning.args == (1292, str(warning))


async def test_note_is_a_warning_of_that_level(conn: aiomysqlx.SAConnection) -> None:
    with pytest.warns(aiomysqlx.ServerWarning, match="Unknown table") as issued:
        await conn.execute("DROP TABLE IF EXISTS missing")

    (warning,) = [each.message for each in issued]
    assert isinstance(warning, aiomysqlx.ServerWarning)
    assert (warning.code, warning.level) == (1051, "Note")


def test_warning_is_pickled_whole() -> None:
    warning = pickle.loads(pickle.dumps(aiomysqlx.ServerWarning(1051, "no", "Note")))

    assert (warning.code, warning.level, str(warning)) == (1051, "Note", "no")


async def test_warning_made_an_error_tells_its_code(conn: aiomysqlx.SAConnection) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", aiomysqlx.ServerWarning)
        with pytest.raises(aiomysqlx.ServerWarning) as raised:
            await conn.execute(CAST)

    assert raised.value.code == 1292


async def test_warnings_come_as_text_in_a_binary_session(conn: aiomysqlx.SAConnection) -> None:
    assert conn.connection is not None
    await conn.connection.set_charset("binary")

    with pytest.warns(aiomysqlx.ServerWarning, match="^Truncated") as issued:
        await conn.execute(CAST)

    assert [each.message.level for each in issued] == ["Warning"]  # type: ignore[union-attr]


@pytest.mark.parametrize("execute", EXECUTES.values(), ids=EXECUTES)
async def test_every_way_to_execute_warns(conn: aiomysqlx.SAConnection, execute: Execute) -> None:
    with pytest.warns(aiomysqlx.ServerWarning):
        await execute(conn)

    assert await asked(conn) == 1


@pytest.mark.parametrize("execute", EXECUTES.values(), ids=EXECUTES)
async def test_warnings_that_are_not_wanted_are_not_asked_for(
    conn: aiomysqlx.SAConnection, execute: Execute
) -> None:
    assert conn.connection is not None
    conn.connection.warnings = False

    await execute(conn)

    assert await asked(conn) == 0


async def test_argument_switches_warnings_off(connect_kwargs: dict[str, Any]) -> None:
    async with (
        aiomysqlx.create_engine(**connect_kwargs, warnings=False) as engine,
        engine.acquire() as conn,
    ):
        await conn.execute(CAST)

        assert await asked(conn) == 0


async def test_url_switches_warnings_off(url: str) -> None:
    async with (
        aiomysqlx.create_engine(f"{url}?warnings=false") as engine,
        engine.acquire() as conn,
    ):
        await conn.execute(CAST)

        assert await asked(conn) == 0


OPTIONAL = {
    "one": (_CAST, {"value": "1x"}),
    "many": (_CAST, [{"value": "1x"}, {"value": "2x"}]),
    "insert of many": (short.insert(), [{"s": "long"}, {"s": "longer"}]),
    "DDL": (DropTable(Table("none", MetaData()), if_exists=True),),
}


@pytest.mark.parametrize("arguments", OPTIONAL.values(), ids=OPTIONAL)
async def test_statement_switches_its_warnings_off_and_on(
    conn: aiomysqlx.SAConnection, arguments: tuple[Any, ...]
) -> None:
    statement, *parameters = arguments
    assert conn.connection is not None

    await conn.execute(statement.execution_options(warnings=False), *parameters)
    assert await asked(conn) == 0

    conn.connection.warnings = False
    with pytest.warns(aiomysqlx.ServerWarning):
        await conn.execute(statement.execution_options(warnings=True), *parameters)


async def test_warnings_of_each_packet_of_many_rows_are_issued(
    conn: aiomysqlx.SAConnection,
) -> None:
    statement = short.insert().execution_options(insertmanyvalues_page_size=2)
    rows = [{"s": "long"}, {"s": "ok"}, {"s": "ok"}, {"s": "ok"}, {"s": "longer"}]

    with pytest.warns(aiomysqlx.ServerWarning, match="truncated") as issued:
        await conn.execute(statement, rows)

    assert len(issued) == 2
    assert await conn.scalar("SELECT count(*) FROM short") == 5


async def test_warning_of_many_rows_made_an_error_comes_when_all_are_sent(
    conn: aiomysqlx.SAConnection,
) -> None:
    statement = short.insert().execution_options(insertmanyvalues_page_size=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error", aiomysqlx.ServerWarning)
        with pytest.raises(aiomysqlx.ServerWarning):
            await conn.execute(statement, [{"s": "long"}, {"s": "ok"}])

    assert await conn.scalar("SELECT count(*) FROM short") == 2


async def test_switch_takes_truth_values_only(connect_kwargs: dict[str, Any]) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="argument 'warnings' does not take 'no'"):
        await aiomysqlx.connect(**connect_kwargs, warnings="no")  # type: ignore[typeddict-item]


async def test_option_takes_truth_values_only(conn: aiomysqlx.SAConnection) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="warnings: expected True or False, got 0"):
        await conn.execute(_CAST.execution_options(warnings=0), value="1")


OF_CONNECTION = {name: EXECUTES[name] for name in EXECUTES if not name.startswith("cursor")}


@pytest.mark.parametrize("execute", OF_CONNECTION.values(), ids=OF_CONNECTION)
async def test_connection_has_a_switch_until_it_is_given_back(
    engine: aiomysqlx.Engine, conn: aiomysqlx.SAConnection, execute: Execute
) -> None:
    assert await conn.execution_options(warnings=False) is conn
    await execute(conn)
    assert await asked(conn) == 0

    async with conn.begin():  # is no obstacle, as it is to an isolation level
        await conn.execution_options(warnings=True)
    with pytest.warns(aiomysqlx.ServerWarning):
        await execute(conn)

    await conn.execution_options(warnings=False)
    await conn.close()
    async with engine.acquire() as another:
        with pytest.warns(aiomysqlx.ServerWarning):
            await another.execute(CAST)


async def test_switch_of_a_connection_takes_truth_values_only(conn: aiomysqlx.SAConnection) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="warnings: expected True or False, got 'n'"):
        await conn.execution_options(warnings="n")  # type: ignore[arg-type]
