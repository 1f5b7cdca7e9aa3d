"""The contenders: the same work on the same tables through each library, at its best settings.

All run with autocommit but for the workload of transactions, and what has a cache of statements has
it switched on; aiomysql.sa is also there without, as most use it, and so is asyncmy under an
AsyncEngine. The bare cursors send the SQL of
`samples` and read tuples by index, the others go through SQLAlchemy Core and read attributes of
rows.

Importing this needs only the standard library: a contender imports its library when it is made,
in an environment that has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

from samples import (
    BY_KEY,
    FILL,
    FILL_UPDATES,
    GETS,
    INSERT,
    LIST_LENGTH,
    POOL_SIZE,
    ROWS,
    SELECT,
    SELECT_ALL,
    STORED,
    UP_TO,
    UPDATE,
    inserts,
    sample,
    updates,
)
from workloads import Contender, Core, Evidence


class SaEngine(Core):
    """aiomysqlx and aiomysql.sa: one API, so the same code."""

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        super().__init__(module, options)
        self.module = import_module(module)

    async def open(self, url: str) -> None:
        self.engine = await self.module.create_engine(
            minsize=POOL_SIZE, maxsize=POOL_SIZE, autocommit=True, **address(url), **self.options
        )
        self.own_engine = await self.module.create_engine(
            autocommit=True, **address(url), **self.options
        )
        self.conn = await self.own_engine.acquire()

    async def close(self) -> None:
        await self.conn.close()
        for engine in (self.own_engine, self.engine):
            engine.close()
            await engine.wait_closed()

    async def sql(self, text: str) -> list[Evidence]:
        result = await self.conn.execute(text)
        rows = await result.fetchall() if result.returns_rows else []
        return [row.as_tuple() for row in rows]

    async def fetch(self, count: int) -> list[Any]:
        result = await self.conn.execute(self.up_to, {"wanted": count})
        rows: list[Any] = await result.fetchall()
        return rows

    async def point(self, key: int) -> Any:
        return await (await self.conn.execute(self.by_key, {"wanted": key})).first()

    async def first(self, statement: Any, *parameters: Any) -> Any:
        return await (await self.conn.execute(statement, *parameters)).first()

    async def transaction(self, key: int) -> Any:
        async with self.conn.begin():
            return await (await self.conn.execute(self.by_key, {"wanted": key})).first()

    async def pooled_point(self, key: int) -> Any:
        async with self.engine.acquire() as conn:
            return await (await conn.execute(self.by_key, {"wanted": key})).first()

    async def insert(self) -> None:
        # For aiomysql.sa the faster of its two ways: `insert().values(rows)` compiles all values.
        await self.conn.execute(self.insert_table.insert(), self.rows_to_insert)

    async def updates(self) -> None:
        async with self.conn.begin():
            await self.conn.execute(self.update, self.rows_to_update)


class Ours(SaEngine):
    """aiomysqlx, which also has what aiomysql.sa lacks."""

    async def streamed(self) -> Evidence:
        total, row = 0, None
        async with self.conn.stream(self.whole) as result:
            async for row in result:
                total += row.id
        return total, self.values(row)


class AsyncEngine(Core):
    """SQLAlchemy's own asyncio engine; by default it would roll back at each release."""

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        super().__init__(module, {"skip_autocommit_rollback": True, "connect_args": options})
        self.driver = module

    async def open(self, url: str) -> None:
        create = import_module("sqlalchemy.ext.asyncio").create_async_engine
        url = url.replace("mysql://", f"mysql+{self.driver}://", 1)
        self.engine = create(
            url,
            isolation_level="AUTOCOMMIT",
            pool_size=POOL_SIZE,
            max_overflow=0,
            **self.options,
        )
        connections = [await self.engine.connect() for _ in range(POOL_SIZE)]
        for conn in connections:
            await conn.close()
        self.own_engine = create(url, isolation_level="AUTOCOMMIT", **self.options)
        self.conn = await self.own_engine.connect()
        # In autocommit mode its begin() and commit() would send nothing.
        self.transaction_engine = create(url)
        self.transaction_conn = await self.transaction_engine.connect()

    async def close(self) -> None:
        await self.conn.close()
        await self.transaction_conn.close()
        for engine in (self.own_engine, self.transaction_engine, self.engine):
            await engine.dispose()

    async def sql(self, text: str) -> list[Evidence]:
        result = await self.conn.exec_driver_sql(text)
        return [tuple(row) for row in result.fetchall()] if result.returns_rows else []

    async def fetch(self, count: int) -> list[Any]:
        rows: list[Any] = (await self.conn.execute(self.up_to, {"wanted": count})).fetchall()
        return rows

    async def point(self, key: int) -> Any:
        return (await self.conn.execute(self.by_key, {"wanted": key})).first()

    async def first(self, statement: Any, *parameters: Any) -> Any:
        return (await self.conn.execute(statement, *parameters)).first()

    async def transaction(self, key: int) -> Any:
        conn = self.transaction_conn
        async with conn.begin():
            return (await conn.execute(self.by_key, {"wanted": key})).first()

    async def pooled_point(self, key: int) -> Any:
        async with self.engine.connect() as conn:
            return (await conn.execute(self.by_key, {"wanted": key})).first()

    async def insert(self) -> None:
        await self.conn.execute(self.insert_table.insert(), self.rows_to_insert)

    async def updates(self) -> None:
        async with self.transaction_conn.begin():
            await self.transaction_conn.execute(self.update, self.rows_to_update)

    async def streamed(self) -> Evidence:
        total, row = 0, None
        async with self.conn.stream(self.whole) as result:
            async for row in result:
                total += row.id
        return total, self.values(row)


class AsyncOrm(AsyncEngine):
    """SQLAlchemy's own asyncio engine, and sessions of its ORM."""

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        super().__init__(module, options)
        self.session = import_module("sqlalchemy.ext.asyncio").AsyncSession
        registry = import_module("sqlalchemy.orm").registry()
        self.row_class, self.insert_class = type("Row", (), {}), type("Insert", (), {})
        registry.map_imperatively(self.row_class, self.table)
        registry.map_imperatively(self.insert_class, self.insert_table)
        sa = import_module("sqlalchemy")
        self.objects = sa.select(self.row_class).where(self.table.c.id <= sa.bindparam("wanted"))

    async def get(self) -> Evidence:
        return self.evidence([await self.get_one(key) for key in range(1, GETS + 1)])

    async def get_one(self, key: int) -> Any:
        async with self.session(self.transaction_engine) as session:
            return await session.get(self.row_class, key)

    async def orm(self) -> Evidence:
        async with self.session(self.transaction_engine) as session:
            found = await session.scalars(self.objects, {"wanted": ROWS})
            return self.evidence(found.all())

    async def add_all(self) -> None:
        async with self.session(self.transaction_engine) as session:
            session.add_all([self.insert_class(**row) for row in self.rows_to_insert])
            await session.commit()


class Cursor(Contender):
    """A driver's own cursor, kept open."""

    in_one = SELECT + " IN %s"  # the driver makes a list of SQL out of a tuple

    def __init__(self, module: str, options: dict[str, Any]) -> None:
        super().__init__(module, options)
        self.driver = import_module(module)
        self.rows_to_insert = [tuple(row.values()) for row in inserts()]
        self.rows_to_update = [(row["number"], row["wanted"]) for row in updates()]
        self.unbuffered = import_module(f"{module}.cursors").SSCursor

    async def open(self, url: str) -> None:
        options = {**address(url), "autocommit": True, **self.options}
        self.engine = await self.driver.create_pool(minsize=POOL_SIZE, maxsize=POOL_SIZE, **options)
        self.conn = await self.driver.connect(**options)
        self.cursor = await self.conn.cursor()

    async def close(self) -> None:
        await self.conn.ensure_closed()
        self.engine.close()
        await self.engine.wait_closed()

    async def sql(self, text: str) -> list[Evidence]:
        await self.cursor.execute(text)
        return list(await self.cursor.fetchall())

    async def fetch(self, count: int) -> list[Any]:
        await self.cursor.execute(UP_TO, (count,))
        rows: list[Any] = await self.cursor.fetchall()
        return rows

    async def point(self, key: int) -> Any:
        await self.cursor.execute(BY_KEY, (key,))
        return await self.cursor.fetchone()

    async def in_lists(self) -> Evidence:
        found = []
        for keys in self.key_lists:
            await self.cursor.execute(self.in_one, (tuple(keys),))
            found.append(await self.cursor.fetchone())
        return self.evidence(found)

    async def in_reused(self) -> Evidence:
        return await self.in_lists()  # which builds nothing

    async def transaction(self, key: int) -> Any:
        await self.conn.begin()
        await self.cursor.execute(BY_KEY, (key,))
        row = await self.cursor.fetchone()
        await self.conn.commit()
        return row

    async def pooled_point(self, key: int) -> Any:
        async with self.engine.acquire() as conn, conn.cursor() as cursor:
            await cursor.execute(BY_KEY, (key,))
            return await cursor.fetchone()

    async def insert(self) -> None:
        await self.cursor.executemany(INSERT, self.rows_to_insert)

    async def updates(self) -> None:
        await self.conn.begin()
        await self.cursor.executemany(UPDATE, self.rows_to_update)
        await self.conn.commit()

    async def streamed(self) -> Evidence:
        total, rows = 0, []
        async with self.conn.cursor(self.unbuffered) as cursor:
            await cursor.execute(SELECT_ALL)
            while found := await cursor.fetchmany(AT_ONCE):
                rows = found
                total += self.read_ids(rows)
        return total, self.values(rows[-1])

    async def fill(self) -> None:
        """Store the rows that all contenders read."""
        await self.cursor.executemany(FILL, [tuple(sample(n).values()) for n in range(STORED)])
        await self.sql(FILL_UPDATES)

    def read_ids(self, rows: Iterable[Any]) -> int:
        total = 0
        for row in rows:
            total += row[0]
        return total

    def values(self, row: Any) -> Evidence:
        return tuple(row)


class PlaceholderCursor(Cursor):
    """A cursor that takes no list, but a placeholder for each key."""

    in_one = f"{SELECT} IN ({', '.join(['%s'] * LIST_LENGTH)})"

    async def in_lists(self) -> Evidence:
        found = []
        for keys in self.key_lists:
            await self.cursor.execute(self.in_one, keys)
            found.append(await self.cursor.fetchone())
        return self.evidence(found)


AT_ONCE = 1_000  # rows of a stream
NATIVE = "native"  # each library by itself
ENGINE = "engine"  # each driver under SQLAlchemy's own asyncio engine


@dataclass(frozen=True)
class Entry:
    """How a contender is made, with arguments of its class; *implementation* is AIOMYSQLX_IMPL."""

    kind: type[Contender]
    module: str
    options: dict[str, Any] = field(default_factory=dict)
    implementation: str = ""
    old: bool = False  # whether it needs SQLAlchemy 1.3

    @property
    def section(self) -> str:
        """The part of the comparison that it belongs to."""
        return ENGINE if self.kind is AsyncOrm else NATIVE


CONTENDERS = {
    "aiomysqlx, compiled": Entry(Ours, "aiomysqlx", implementation="cython"),
    "aiomysqlx, prepared": Entry(Ours, "aiomysqlx", {"prepare_threshold": 0}, "cython"),
    "aiomysqlx, pipelining": Entry(Ours, "aiomysqlx", {"pipelining": True}, "cython"),
    "aiomysqlx, pure": Entry(Ours, "aiomysqlx", implementation="python"),
    "asyncmy, text": Entry(Cursor, "asyncmy"),
    "asyncmy, prepared": Entry(PlaceholderCursor, "asyncmy", {"stmt_cache_size": 64}),
    "AsyncEngine + asyncmy": Entry(AsyncEngine, "asyncmy"),
    "AsyncEngine + aiomysql": Entry(AsyncEngine, "aiomysql"),
    "aiomysql": Entry(PlaceholderCursor, "aiomysql"),
    # Without its cache it compiles a statement each time, also one that is used again.
    "aiomysql.sa": Entry(SaEngine, "aiomysql.sa", old=True),
    "aiomysql.sa, cached": Entry(SaEngine, "aiomysql.sa", {"compiled_cache": {}}, old=True),
    "+aiomysqlx, compiled": Entry(AsyncOrm, "aiomysqlx", implementation="cython"),
    "+aiomysqlx, pure": Entry(AsyncOrm, "aiomysqlx", implementation="python"),
    "+asyncmy": Entry(AsyncOrm, "asyncmy"),
    "+asyncmy, prepared": Entry(AsyncOrm, "asyncmy", {"stmt_cache_size": 64}),
    "+aiomysql": Entry(AsyncOrm, "aiomysql"),
}


def members(section: str) -> list[str]:
    """Give the names of the contenders of a section."""
    return [name for name, entry in CONTENDERS.items() if entry.section == section]


def address(url: str) -> dict[str, Any]:
    """Give the connect arguments that all the drivers share."""
    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "db": parts.path.lstrip("/"),
    }
