"""The server of the benchmarks that talk to one.

It is the one at AIOMYSQLX_TEST_URL, else a private one for each benchmark's process, which goes
when the process ends, in whatever way.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import make_url
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable

from .builds import load
from .tables import FILL, INSERTED, SAMPLES

DATABASE = "bench_aiomysqlx"
_SERVE = Path(__file__).resolve().parents[1] / "tools" / "serve.py"


@cache
def _process() -> subprocess.Popen[str]:
    """Give the process that keeps the server; it lives as long as its standard input is open."""
    command = [sys.executable, str(_SERVE), DATABASE]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@cache
def url() -> str:
    """Give the URL of the benchmarks' database, which is made if it is not there."""
    output = _process().stdout
    assert output is not None
    url = output.readline().strip()
    if not url:
        raise RuntimeError("no database server")
    with _connect(url, None) as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4")
        cursor.execute(f"USE {DATABASE}")
        for table in (SAMPLES, INSERTED):
            create = CreateTable(table, if_not_exists=True)
            cursor.execute(str(create.compile(dialect=mysql.dialect())))
    return url


def _connect(url: str, database: str | None = DATABASE) -> Any:
    """Give a connection of PyMySQL's, to prepare what is measured."""
    parts = make_url(url)
    return pymysql.connect(
        host=parts.host,
        port=parts.port or 3306,
        user=parts.username,
        password=parts.password or "",
        database=database,
        autocommit=True,
    )


@cache
def fill(rows: int) -> None:
    """See that the table of samples has *rows* rows at least, numbered from 1."""
    with _connect(url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MAX(id), 0) FROM samples")
        ((there,),) = cursor.fetchall()
        if there < rows:
            cursor.execute(FILL, (there + 1, rows))


def empty() -> None:
    """Delete what has been inserted."""
    with _connect(url()) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE TABLE inserted")


@cache
def engine(impl: str, size: int = 8) -> tuple[asyncio.AbstractEventLoop, Any]:
    """Give a loop and an engine of *size* connections; they live as long as the process."""
    package = load(impl)
    loop = asyncio.new_event_loop()

    async def create() -> Any:
        return await package.create_engine(url(), minsize=size, maxsize=size, autocommit=True)

    return loop, loop.run_until_complete(create())


@cache
def connect(impl: str) -> tuple[asyncio.AbstractEventLoop, Any]:
    """Give a loop and a connection, an `SAConnection`."""
    loop, engine_ = engine(impl, 1)

    async def acquire() -> Any:
        return await engine_.acquire()

    return loop, loop.run_until_complete(acquire())


def most_connections() -> int:
    """Give how many connections the server takes."""
    with _connect(url()) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT @@max_connections")
        ((most,),) = cursor.fetchall()
        return int(most)
