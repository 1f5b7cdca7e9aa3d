"""The dialect behind `mysql+aiomysqlx://`: its connections, errors and transactions."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest
import sqlalchemy
from private_server import Server
from pymysql import err
from sqlalchemy import Column, Integer, MetaData, String, Table, func, select, text
from sqlalchemy.exc import (
    IntegrityError,
    InvalidRequestError,
    MissingGreenlet,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import aiomysqlx

pytestmark = pytest.mark.server

metadata = MetaData()
users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(50), nullable=False),
    mysql_engine="InnoDB",
)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "mapped_users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


@pytest.fixture
async def tables(async_engine: AsyncEngine) -> None:
    """The tables of this module."""
    async with async_engine.begin() as conn:
        await conn.run_sync(metadata.create_all)
        await conn.run_sync(Base.metadata.create_all)


@pytest.mark.parametrize("name", ["mysql", "mariadb"])
async def test_url_needs_no_import(async_url: str, name: str) -> None:
    url = async_url.replace("mysql+", f"{name}+")
    engine = create_async_engine(url)

    assert engine.dialect.name == name
    assert engine.dialect.driver == "aiomysqlx"
    await engine.dispose()


@pytest.mark.usefixtures("tables")
async def test_sessions_write_and_read(async_engine: AsyncEngine) -> None:
    async with AsyncSession(async_engine) as session:
        session.add_all([User(name="Ann"), User(name="Bob")])
        await session.commit()

    async with AsyncSession(async_engine) as session:
        found = (await session.scalars(select(User).order_by(User.id))).all()

    assert [(user.id, user.name) for user in found] == [(1, "Ann"), (2, "Bob")]


@pytest.mark.usefixtures("tables")
async def test_rows_can_be_streamed(async_engine: AsyncEngine) -> None:
    async with async_engine.begin() as conn:
        await conn.execute(users.insert(), [{"name": f"{n}"} for n in range(25)])
        stream = await conn.stream(
            select(users.c.id).order_by(users.c.id), execution_options={"yield_per": 10}
        )
        sizes = [len(part) async for part in stream.partitions()]

    assert sizes == [10, 10, 5]


@pytest.mark.usefixtures("tables")
async def test_block_left_by_an_error_is_rolled_back(async_engine: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with async_engine.begin() as conn:
            await conn.execute(users.insert().values(name="Ann"))
            raise ZeroDivisionError

    async with async_engine.connect() as conn:
        assert await conn.scalar(select(func.count()).select_from(users)) == 0


@pytest.mark.usefixtures("tables")
async def test_reading_leaves_no_transaction_to_the_next(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as conn:
        await conn.execute(select(users))

    async with async_engine.connect() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
        assert isinstance(raw, aiomysqlx.Connection)
        assert not raw.in_transaction


async def test_unsendable_value_is_an_error_of_the_driver(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as conn:
        with pytest.raises(ProgrammingError, match="expected a finite float, got nan") as caught:
            await conn.execute(text("SELECT :x"), {"x": float("nan")})

    assert isinstance(caught.value.orig, aiomysqlx.ArgumentError)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"no_such_option": 1}, "unknown argument 'no_such_option'"),
        ({"maxsize": 1}, r"unknown argument 'maxsize': aiomysqlx.create_engine\(\) takes it"),
    ],
)
async def test_wrong_connect_args_are_an_error_of_the_driver(
    async_url: str, options: dict[str, object], words: str
) -> None:
    engine = create_async_engine(async_url, connect_args=options)

    with pytest.raises(ProgrammingError, match=words) as caught:
        await engine.connect()

    assert isinstance(caught.value.orig, aiomysqlx.ArgumentError)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("no_such_option=1", "unknown argument 'no_such_option'"),
        ("charset=nope", "unknown charset 'nope'"),
        ("isolation_level=LOOSE", "argument 'isolation_level' takes one of"),
        ("connect_timeout=-1", "argument 'connect_timeout' must be positive"),
        ("pool_size=3", "'pool_size' in the URL: give it to create_async_engine"),
        ("pool_pre_ping=true", "itself, as pool_pre_ping=…"),
        ("max-overflow=3", "'max-overflow' in the URL.* itself, as max_overflow=…"),
    ],
)
def test_wrong_argument_of_a_url_is_refused_at_once(async_url: str, query: str, words: str) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=words):
        create_async_engine(f"{async_url}?{query}")


@pytest.mark.parametrize(
    "rest",
    [
        *("/d;ssl_mode=REQUIRED", "/d#ssl", "/d?program_name=x;ssl_mode=VERIFY_IDENTITY"),
        *("/d?program_name=x,ssl=true", "/d?program_name=x#tls_version=TLSv1.3"),
        "/d?program_name=x%3Fssl_ca=/x",
    ],
)
def test_option_in_the_wrong_place_is_refused(rest: str) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match="'url' has an option that would be left out"):
        create_async_engine(f"mysql+aiomysqlx://h{rest}")


@pytest.mark.parametrize(
    "rest", ["/a;b", "/a%26b", "?password=x%3Bssl=y", "?tls_version=TLSv1.2,TLSv1.3"]
)
def test_sign_elsewhere_in_a_url_is_taken(rest: str) -> None:
    assert create_async_engine(f"mysql+aiomysqlx://h{rest}").url.host == "h"


async def test_arguments_of_a_url_have_their_types(async_url: str) -> None:
    engine = create_async_engine(f"{async_url}?autocommit=true&connect_timeout=7")
    async with engine.connect() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
        assert raw is not None
        assert raw.get_autocommit()
    await engine.dispose()


def test_version_of_the_driver_is_that_of_this_package(async_url: str) -> None:
    dialect = create_async_engine(async_url).dialect

    # SQLAlchemy 2.1 makes `dialect.dbapi_version` of it.
    assert dialect.dbapi is not None
    version = dialect.dbapi.VERSION_STRING
    assert version == aiomysqlx.__version__


def test_synchronous_engine_says_what_to_use(async_url: str) -> None:
    engine = sqlalchemy.create_engine(async_url)

    with pytest.raises(MissingGreenlet, match="create_async_engine"):
        engine.connect()


async def test_lost_connection_is_replaced_after_one_error(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as other:
        async with async_engine.connect() as conn:
            number = await conn.scalar(select(func.connection_id()))
        await other.execute(text(f"KILL {number}"))

        async with async_engine.connect() as conn:
            with pytest.raises(OperationalError) as caught:
                await conn.execute(text("SELECT 1"))
            assert caught.value.connection_invalidated

    async with async_engine.connect() as conn:
        assert await conn.scalar(select(func.connection_id())) != number


async def test_tasks_on_one_connection_wait_for_each_other(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as conn:
        found = await asyncio.gather(*(conn.scalar(text(f"SELECT {n}")) for n in range(5)))

    assert found == [0, 1, 2, 3, 4]


@pytest.mark.usefixtures("tables")
async def test_tasks_wait_for_what_one_writes_in_turns(async_engine: AsyncEngine) -> None:
    rows = [{"id": n, "name": "x" * 50} for n in range(1, 20_001)]
    async with async_engine.connect() as conn:
        written, *found = await asyncio.gather(
            conn.execute(users.insert(), rows),
            *(conn.scalar(text(f"SELECT {n}")) for n in range(5)),
        )
        await conn.commit()

    assert (written.rowcount, found) == (20_000, [0, 1, 2, 3, 4])


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("natively", [False, True], ids=["sqlalchemy", "native"])
async def test_refusal_of_a_read_only_transaction_costs_no_connection(
    async_engine: AsyncEngine, natively: bool
) -> None:
    async with async_engine.connect() as conn:
        await conn.execute(text("SET SESSION TRANSACTION READ ONLY"))
        number = await conn.scalar(select(func.connection_id()))
        await conn.rollback()

        with pytest.raises((OperationalError, err.OperationalError), match="1792") as caught:
            if natively:
                async with aiomysqlx.native(conn) as native:
                    await native.execute(users.insert().values(id=1, name="x"))
            else:
                await conn.execute(users.insert().values(id=1, name="x"))

        assert not getattr(caught.value, "connection_invalidated", False)
        assert await conn.scalar(select(func.connection_id())) == number


async def test_cursor_has_no_rows_of_an_earlier_statement_after_an_error(
    async_engine: AsyncEngine,
) -> None:
    def rows(conn: Any) -> list[Any]:
        cursor = conn.connection.cursor()
        cursor.execute("SELECT 1 UNION SELECT 2")
        with pytest.raises(err.ProgrammingError):
            cursor.execute("SELEKT")
        return [cursor.rowcount, cursor.description, *cursor.fetchall()]

    async with async_engine.connect() as conn:
        assert await conn.run_sync(rows) == [0, None]


async def test_error_of_the_server_is_wrapped(async_engine: AsyncEngine) -> None:
    async with async_engine.connect() as conn:
        with pytest.raises(ProgrammingError) as caught:
            await conn.execute(text("SELECT * FROM no_such_table"))

    assert type(caught.value.orig) is err.ProgrammingError
    assert caught.value.orig.args[0] == 1146


@pytest.mark.parametrize("empty", [[], (), set()], ids=["list", "tuple", "set"])
@pytest.mark.parametrize("how", ["once", "many", "text", "native"])
async def test_empty_list_is_not_written_as_null(
    async_engine: AsyncEngine, tables: None, how: str, empty: Any
) -> None:
    row = {"id": 1, "name": empty}
    insert: Any = text("INSERT INTO users VALUES (:id, :name)")
    async with async_engine.connect() as conn:
        await conn.execute(text("ALTER TABLE users MODIFY name VARCHAR(50)"))

        with pytest.raises(
            (ProgrammingError, aiomysqlx.ArgumentError), match=r"cannot send an empt"
        ):
            if how == "native":
                async with aiomysqlx.native(conn) as native:
                    await native.execute(insert, row)
            elif how == "text":
                await conn.execute(insert, row)
            else:
                await conn.execute(users.insert(), [{"id": 2, "name": ""}, row][how == "once" :])

        await conn.rollback()
        assert (await conn.execute(select(users))).all() == []
        assert (await conn.execute(text("SELECT 1 IN :ids"), {"ids": empty})).scalar() in (0, None)


@pytest.mark.parametrize("how", ["text", "native"])
async def test_texts_are_read_in_the_charset_of_their_own_session(
    async_engine: AsyncEngine, how: str
) -> None:
    async def read(conn: AsyncConnection) -> str:
        if how == "text":
            return (await conn.execute(query)).scalar_one()
        async with aiomysqlx.native(conn) as native:
            return await native.scalar(query)

    query = text("SELECT name FROM charsets")
    async with async_engine.connect() as conn, async_engine.connect() as other:
        await conn.exec_driver_sql("CREATE TABLE charsets (name VARCHAR(9) CHARACTER SET latin1)")
        await conn.execute(text("INSERT INTO charsets VALUES (:name)"), {"name": "Ã©"})
        await conn.commit()
        # As the column has it, in definitions that are those of the other session's result.
        await conn.exec_driver_sql("SET character_set_results = NULL")
        await read(conn)
        await other.exec_driver_sql("SET character_set_results = latin1")

        assert await read(other) == "Ã©"


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("many", [False, True], ids=["once", "many"])
async def test_error_after_a_result_is_raised(
    async_engine: AsyncEngine, tables: None, streamed: bool, many: bool
) -> None:
    procedure = (
        "CREATE PROCEDURE add_user(id INT) BEGIN SELECT id; INSERT INTO users VALUES (id, 'a'); END"
    )
    async with async_engine.begin() as conn:
        await conn.exec_driver_sql(procedure)
        await conn.execute(users.insert().values(id=1, name="first"))
    groups = [{"id": 2}, {"id": 1}] if many else {"id": 1}

    with pytest.raises(IntegrityError):
        async with async_engine.begin() as conn:
            execute = conn.stream if streamed else conn.execute
            await execute(text("CALL add_user(:id)"), groups)

    async with async_engine.connect() as conn:
        assert (await conn.execute(select(users))).all() == [(1, "first")]


@pytest.mark.parametrize("wanted", [False, True])
async def test_warnings_of_the_server_are_issued_if_wanted(async_url: str, wanted: bool) -> None:
    args = {"warnings": True} if wanted else {}
    engine = create_async_engine(async_url, connect_args=args)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with engine.connect() as conn:
            await conn.execute(text("SELECT CAST('x' AS SIGNED)"))
    await engine.dispose()

    assert [each.category for each in caught] == [aiomysqlx.ServerWarning] * wanted


async def test_creator_of_the_users_own_makes_the_connections(
    async_url: str, connect_kwargs: dict[str, Any]
) -> None:
    made: list[aiomysqlx.Connection] = []

    async def connect() -> aiomysqlx.Connection:
        made.append(await aiomysqlx.connect(**connect_kwargs))
        return made[-1]

    engine = create_async_engine(async_url, async_creator=connect)
    async with engine.connect() as conn:
        raw = await conn.get_raw_connection()
        assert raw.driver_connection is made[0]
    await engine.dispose()

    assert made[0].closed


async def test_mariadb_alone_is_let_in_by_its_own_name(async_url: str, server: Server) -> None:
    engine = create_async_engine(async_url.replace("mysql+", "mariadb+"))

    if "MariaDB" in server.version:
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT 1")) == 1
    else:
        with pytest.raises(InvalidRequestError, match="not a MariaDB variant"):
            await engine.connect()
    await engine.dispose()


@pytest.mark.usefixtures("tables")
async def test_commit_is_not_refused_while_rows_are_being_written(async_url: str) -> None:
    engine = create_async_engine(async_url, pool_size=1, max_overflow=0)
    rows = [{"name": "n" * 50} for _ in range(50_000)]
    async with engine.connect() as conn:
        await conn.execute(users.insert().values(name="Ann"))
        writing = asyncio.ensure_future(conn.execute(users.insert(), rows))
        await asyncio.sleep(0)  # nothing of it is sent yet
        await conn.commit()
        with pytest.raises(ProgrammingError, match="is being ended"):
            await writing

    async with engine.connect() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
        assert raw is not None
        assert not raw.in_transaction
        assert await conn.scalar(select(func.count()).select_from(users)) == 1
    await engine.dispose()


def test_isolation_level_in_another_loop_is_refused_as_by_any_driver(async_url: str) -> None:
    engine = create_async_engine(async_url, pool_reset_on_return=None)
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()

    async def connect(level: str | None) -> None:
        async with engine.connect() as conn:
            if level is not None:
                await conn.execution_options(isolation_level=level)

    first.run_until_complete(connect(None))
    # SQLAlchemy wraps no error of this.
    with pytest.raises(err.ProgrammingError, match="belongs to another event loop") as caught:
        second.run_until_complete(connect("AUTOCOMMIT"))
    first.run_until_complete(engine.dispose())
    first.close()
    second.close()

    assert isinstance(caught.value, aiomysqlx.InvalidRequestError)
