"""What a user's type checker makes of the package."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import aiomysql
import pytest

import aiomysqlx
from aiomysqlx.argument_types import ConnectArguments, ServerArguments
from aiomysqlx.engine_types import EngineArguments
from aiomysqlx.settings import POSITIONAL, PoolOptions
from aiomysqlx.wire.option import Option
from aiomysqlx.wire.options import CONNECT

PROGRAM = """\
import asyncio

from sqlalchemy import Column, Integer, MetaData, Table, select
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncSession

import aiomysqlx as sa

tbl = Table("tbl", MetaData(), Column("id", Integer, primary_key=True))


async def engines(url: URL) -> None:
    reveal_type(await sa.create_engine("mysql://root@localhost/test", maxsize=5))  # R: Engine
    reveal_type(await sa.create_engine(url, 1, 5, charset="utf8mb4"))  # R: Engine
    reveal_type(await sa.create_engine(url=url, autocommit=True))  # R: Engine
    reveal_type(await sa.create_engine(2, 3, None, host="localhost", db="test"))  # R: Engine
    sa.create_engine(hots="localhost")  # E: Unexpected keyword argument "hots"
    sa.create_engine(port="3306")  # E: No overload variant
    sa.create_engine("mysql://localhost", url=url)  # E: No overload variant
    async with sa.create_engine(host="localhost") as engine, engine.acquire() as conn:
        reveal_type(engine)  # R: Engine
        reveal_type(conn)  # R: SAConnection
        reveal_type(engine.maxsize)  # R: int | None
        engine.release(conn)


async def driver() -> None:
    reveal_type(await sa.connect(host="localhost", connect_timeout=1.5))  # R: Connection
    sa.connect(hots="localhost")  # E: Unexpected keyword argument "hots"
    async with sa.connect(db="test") as raw, raw.cursor() as cursor:
        reveal_type(await cursor.execute("SELECT %s", (1,)))  # R: int
        reveal_type(await cursor.fetchone())  # R: tuple[Any, ...] | None


async def within(session: AsyncSession, raw: sa.Connection) -> None:
    async with sa.native(session) as conn:
        reveal_type(conn)  # R: SAConnection
    reveal_type(await sa.native(raw))  # R: SAConnection
    sa.native("mysql://localhost")  # E: Argument 1 to "native" has incompatible type "str"


async def results(conn: sa.SAConnection) -> None:
    result = await conn.execute(select(tbl))
    reveal_type(result)  # R: ResultProxy
    reveal_type(await result.fetchone())  # R: RowProxy | None
    reveal_type(await result.fetchall())  # R: list[RowProxy]
    reveal_type(await result.mappings().one())  # R: RowMapping
    reveal_type(result.keys())  # R: tuple[str, ...]
    reveal_type(await conn.scalar("SELECT 1"))  # R: Any
    async with conn.execute("SELECT %s", 1) as result:
        async for row in result:
            reveal_type(row)  # R: RowProxy
    async for row in conn.execute(tbl.insert(), [{"id": 1}, {"id": 2}]):
        reveal_type(row)  # R: RowProxy
    await asyncio.gather(conn.execute("SELECT 1"))
    await asyncio.create_task(conn.execute("SELECT 1"))


def rows(row: sa.RowProxy) -> None:
    reveal_type(row.id)  # R: Any
    reveal_type(row["id"])  # R: Any
    reveal_type(row[0])  # R: Any
    reveal_type(row[tbl.c.id])  # R: Any
    reveal_type(row.as_tuple())  # R: tuple[Any, ...]
    row.id = 2  # E: "RowProxy" has no attribute "id"


async def transactions(engine: sa.Engine, conn: sa.SAConnection) -> None:
    reveal_type(await conn.begin())  # R: Transaction[SAConnection]
    async with conn.begin() as transaction, conn.begin_nested() as savepoint:
        reveal_type(transaction)  # R: Transaction[SAConnection]
        reveal_type(savepoint)  # R: Transaction[SAConnection]
        reveal_type(transaction.connection)  # R: SAConnection
        outer: sa.Transaction = transaction
        reveal_type(outer.connection)  # R: Any
        await savepoint.rollback()
    reveal_type(await conn.begin_twophase())  # R: TwoPhaseTransaction[SAConnection]
    async with engine.begin() as begun:
        reveal_type(begun)  # R: SAConnection
"""


def expected() -> dict[int, str]:
    """Give what mypy has to say, by line: the rest of a revealed type's name, or of an error."""
    comments = {
        number: re.search(r"# ([RE]): (.*)$", line)
        for number, line in enumerate(PROGRAM.splitlines(), 1)
    }
    return {
        number: f'"{found[2]}"' if found[1] == "R" else found[2]
        for number, found in comments.items()
        if found
    }


def messages(report: str) -> dict[int, str]:
    """Give mypy's first message for each line, without the modules of the types."""
    said: dict[int, str] = {}
    for number, text in re.findall(r"^.*program\.py:(\d+): \w+: (.*)$", report, re.MULTILINE):
        said.setdefault(int(number), re.sub(r"\b(?:aiomysqlx|builtins)\.(?:\w+\.)*", "", text))
    return said


@pytest.mark.once
def test_program_of_a_user_is_typed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    check = [sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(program)]

    report = subprocess.run(check, capture_output=True, text=True)

    assert not report.stderr
    said = messages(report.stdout)
    wanted = expected()
    assert {number: text for number, text in said.items() if number not in wanted} == {}
    assert {n: said.get(n) for n, text in wanted.items() if text not in said.get(n, "")} == {}


def names(options: Mapping[str, Option]) -> set[str]:
    return {name for option in options.values() for name in (option.name, *option.aliases)}


def test_connect_arguments_are_the_same_wherever_they_are_listed() -> None:
    constructor = list(inspect.signature(aiomysqlx.Connection).parameters)

    assert constructor == list(CONNECT)
    assert ConnectArguments.__optional_keys__ == names(CONNECT)


def test_engine_arguments_are_the_same_wherever_they_are_listed() -> None:
    own = EngineArguments.__optional_keys__ - ServerArguments.__optional_keys__

    assert own | set(POSITIONAL) == names(PoolOptions.fields) | {"loop"}


def test_connect_arguments_come_in_the_order_of_aiomysql() -> None:
    ours = list(inspect.signature(aiomysqlx.Connection).parameters)
    theirs = list(inspect.signature(aiomysql.Connection).parameters)

    assert ours[: len(theirs)] == theirs
