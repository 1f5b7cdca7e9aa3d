"""What MySQL has and MariaDB has not: its authentication, time-outs, types and statements."""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from fakes import proxy
from private_server import Certificates
from pymysql import err
from sqlalchemy import (
    JSON,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.dialects import mysql

import aiomysqlx

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("mysql_only")]

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
Conn = aiomysqlx.SAConnection
Create = Callable[..., Awaitable[None]]
Fetch = Callable[..., Awaitable[list[Any]]]

USER = "aiomysqlx_sha2"
PASSWORD = "it's sécret"
# What the server sends after the client's first answer.
FAST_PATH, FULL_AUTHENTICATION, KEY = b"\x01\x03", b"\x01\x04", b"\x01-----BEGIN PUBLIC KEY-----"

# -- caching_sha2_password


@pytest.fixture
def account(admin: Admin, connect_kwargs: Kwargs) -> Iterator[Kwargs]:
    """The arguments that connect as a user whose password the server has not seen yet."""
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")
        cursor.execute(
            f"CREATE USER {USER}@'%%' IDENTIFIED WITH caching_sha2_password BY %s", (PASSWORD,)
        )
        cursor.execute(f"GRANT ALL ON {connect_kwargs['db']}.* TO {USER}@'%'")
        yield {**connect_kwargs, "user": USER, "password": PASSWORD}
        cursor.execute(f"DROP USER {USER}@'%'")


@pytest.fixture(params=["plain TCP", "TLS", "Unix socket"])
def transport(request: pytest.FixtureRequest) -> Kwargs:
    """The arguments that choose a transport."""
    if request.param == "TLS":
        tls: Certificates = request.getfixturevalue("tls")
        return {"ssl": ssl.create_default_context(cafile=str(tls.ca))}
    if request.param == "Unix socket":
        return {"unix_socket": request.getfixturevalue("unix_socket")}
    return {}


@pytest.fixture
async def watched(account: Kwargs) -> AsyncIterator[tuple[Kwargs, list[bytes]]]:
    """The account behind a proxy, and what the server has sent through it so far."""
    sent: list[bytes] = []

    def watch(data: bytes) -> bytes:
        sent.append(data[4:])
        return data

    async with proxy(account, watch) as kwargs:
        yield kwargs, sent


async def current_user(kwargs: Kwargs) -> str:
    async with aiomysqlx.connect(**kwargs) as connection, connection.cursor() as cursor:
        await cursor.execute("SELECT CURRENT_USER()")
        (user,) = await cursor.fetchone()
        return str(user)


async def test_password_that_the_server_does_not_know_yet_authenticates(
    account: Kwargs, transport: Kwargs
) -> None:
    assert await current_user({**account, **transport}) == f"{USER}@%"


async def test_password_that_the_server_remembers_authenticates(
    account: Kwargs, transport: Kwargs
) -> None:
    await current_user({**account, **transport})

    assert await current_user({**account, **transport}) == f"{USER}@%"


@pytest.mark.parametrize("known", [False, True], ids=["full authentication", "fast path"])
async def test_wrong_password_is_refused(account: Kwargs, transport: Kwargs, known: bool) -> None:
    kwargs = {**account, **transport}
    if known:
        await current_user(kwargs)

    with pytest.raises(err.OperationalError, match=f"1045, .*denied for user '{USER}'"):
        await aiomysqlx.connect(**{**kwargs, "password": "wrong"})


async def test_public_key_is_asked_for_at_the_first_connect_only(
    watched: tuple[Kwargs, list[bytes]],
) -> None:
    kwargs, sent = watched

    await current_user(kwargs)

    assert FULL_AUTHENTICATION in sent
    assert any(payload.startswith(KEY) for payload in sent)

    sent.clear()
    await current_user(kwargs)

    assert FAST_PATH in sent
    assert not any(payload.startswith(KEY) for payload in sent)


async def test_password_is_told_anew_once_the_server_has_forgotten_it(
    watched: tuple[Kwargs, list[bytes]], admin: Admin
) -> None:
    kwargs, sent = watched
    await current_user(kwargs)
    with admin.cursor() as cursor:
        cursor.execute("FLUSH PRIVILEGES")
    sent.clear()

    assert await current_user(kwargs) == f"{USER}@%"

    assert FULL_AUTHENTICATION in sent


async def test_public_key_that_is_given_is_not_asked_for(
    watched: tuple[Kwargs, list[bytes]], admin: Admin
) -> None:
    kwargs, sent = watched
    with admin.cursor() as cursor:
        cursor.execute("SHOW STATUS LIKE 'Caching_sha2_password_rsa_public_key'")
        (_, key) = cursor.fetchone() or ("", "")

    assert await current_user({**kwargs, "server_public_key": key.encode()}) == f"{USER}@%"

    assert FULL_AUTHENTICATION in sent
    assert not any(payload.startswith(KEY) for payload in sent)


async def test_password_that_the_server_remembers_is_known_after_a_switch_too(
    watched: tuple[Kwargs, list[bytes]],
) -> None:
    kwargs, sent = watched
    await current_user(kwargs)
    sent.clear()

    assert await current_user({**kwargs, "auth_plugin": "mysql_native_password"}) == f"{USER}@%"

    assert any(payload.startswith(b"\xfecaching_sha2_password\0") for payload in sent)
    assert FAST_PATH in sent and FULL_AUTHENTICATION not in sent


@pytest.mark.parametrize("named", ["", "sha256_password"])
async def test_public_key_that_is_given_saves_sha256_a_round_trip(
    watched: tuple[Kwargs, list[bytes]], admin: Admin, named: str
) -> None:
    kwargs, sent = watched
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER {USER}@'%'")
        cursor.execute(
            f"CREATE USER {USER}@'%%' IDENTIFIED WITH sha256_password BY %s", (PASSWORD,)
        )
        cursor.execute("SHOW STATUS LIKE 'Rsa_public_key'")
        (_, key) = cursor.fetchone() or ("", "")
    kwargs = {**kwargs, "db": None, "server_public_key": key.encode(), "auth_plugin": named}

    assert await current_user(kwargs) == f"{USER}@%"

    assert not any(payload.startswith(KEY) for payload in sent)


async def test_public_key_of_another_server_is_refused(account: Kwargs) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    with pytest.raises(err.OperationalError, match="1045"):
        await aiomysqlx.connect(**account, server_public_key=pem)


# -- the idle time-out


async def time_out(conn: Conn) -> aiomysqlx.Connection:
    """Have the server close the connection once it is idle; give the driver's."""
    raw = conn.connection
    assert raw is not None
    await conn.execute("SET SESSION wait_timeout = 1")
    return raw


async def lost(raw: aiomysqlx.Connection) -> None:
    while not raw.closed:
        await asyncio.sleep(0.02)


async def test_connection_that_timed_out_while_lent_says_so(engine: aiomysqlx.Engine) -> None:
    async with engine.acquire() as conn:
        raw = await time_out(conn)
        await asyncio.wait_for(lost(raw), 20)

        with pytest.raises(err.OperationalError, match="4031"):
            await conn.execute("SELECT 1")

    async with engine.acquire() as conn:
        assert conn.connection is not raw
        assert await conn.scalar("SELECT 1") == 1


async def test_connection_that_timed_out_in_the_pool_is_replaced(engine: aiomysqlx.Engine) -> None:
    async with engine.acquire() as conn:
        raw = await time_out(conn)
    await asyncio.wait_for(lost(raw), 20)

    async with engine.acquire() as conn:
        assert conn.connection is not raw
        assert await conn.scalar("SELECT 1") == 1
    assert engine.size == 1


# -- SELECT

fruits = Table(
    "fruits",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("name", String(20)),
    Column("kind", String(20)),
    Column("extra", JSON),
)
f = fruits.c
FRUITS = [(1, "apple", "pome", None), (2, "pear", "pome", None), (3, "fig", "syconium", None)]


@pytest.fixture
async def filled(create: Create, conn: Conn) -> None:
    """The table `fruits` with three rows."""
    await create(fruits)
    await conn.execute(insert(fruits), FRUITS)
    await conn.execute("COMMIT")


@pytest.mark.usefixtures("filled")
async def test_column_that_is_not_grouped_by_is_refused(conn: Conn) -> None:
    with pytest.raises(err.OperationalError, match="1055"):
        await conn.execute(select(f.kind, f.name).group_by(f.kind))

    assert await conn.scalar("SELECT 1") == 1


@pytest.mark.usefixtures("filled")
async def test_any_value_of_a_group_is_given(fetch: Fetch) -> None:
    statement = select(f.kind, func.any_value(f.name).label("name"), func.count())

    rows = await fetch(statement.group_by(f.kind).order_by(f.kind))

    assert [(row.kind, row[2]) for row in rows] == [("pome", 2), ("syconium", 1)]
    assert rows[0].name in ("apple", "pear")
    assert rows[1].name == "fig"


@pytest.mark.usefixtures("filled")
async def test_locked_row_is_refused_with_an_error_of_its_own(
    conn: Conn, engine: aiomysqlx.Engine
) -> None:
    statement = select(f.id).where(f.id == 1).with_for_update(nowait=True)

    async with conn.begin(), engine.acquire() as other:
        await conn.execute(statement)

        with pytest.raises(err.OperationalError, match="3572"):
            await other.execute(statement)


@pytest.mark.usefixtures("filled")
async def test_one_table_of_several_is_locked(conn: Conn, engine: aiomysqlx.Engine) -> None:
    other = fruits.alias("other")
    statement = select(f.id, other.c.id).join(other, other.c.id == f.id + 1).where(f.id == 1)
    one = select(f.id).with_for_update(nowait=True)

    async with conn.begin(), engine.acquire() as second:
        assert len(await (await conn.execute(statement.with_for_update(of=fruits))).fetchall()) == 1

        assert await second.scalar(one.where(f.id == 2)) == 2
        with pytest.raises(err.OperationalError, match="3572"):
            await second.execute(one.where(f.id == 1))


# -- INSERT … AS new ON DUPLICATE KEY UPDATE


def upsert() -> Any:
    """Give the statement that replaces the name, but appends to the kind."""
    statement = mysql.insert(fruits)
    return statement.on_duplicate_key_update(
        name=statement.inserted.name, kind=func.concat(f.kind, "+", statement.inserted.kind)
    )


def changed(*ids: int) -> list[dict[str, Any]]:
    """Give new values for rows that may be there."""
    return [{"id": n, "name": f"it's {n}%s", "kind": "new"} for n in ids]


async def test_upsert_names_the_new_row(engine: aiomysqlx.Engine) -> None:
    assert "AS new ON DUPLICATE KEY UPDATE" in str(upsert().compile(dialect=engine.dialect))


@pytest.mark.usefixtures("filled")
async def test_upsert_takes_some_rows_from_the_new_and_some_from_the_old(
    conn: Conn, fetch: Fetch
) -> None:
    await conn.execute(upsert(), changed(2, 3, 4))

    assert await fetch(select(f.id, f.name, f.kind).order_by(f.id)) == [
        (1, "apple", "pome"),
        (2, "it's 2%s", "pome+new"),
        (3, "it's 3%s", "syconium+new"),
        (4, "it's 4%s", "new"),
    ]


@pytest.mark.usefixtures("filled")
async def test_upsert_counts_a_changed_row_twice(conn: Conn) -> None:
    result = await conn.execute(upsert(), changed(2, 3, 4))

    assert result.rowcount == 2 + 2 + 1


async def statements(fetch: Fetch) -> int:
    """Tell how many INSERTs the session has sent."""
    (row,) = await fetch("SHOW SESSION STATUS LIKE 'Com_insert'")
    return int(row["Value"])


@pytest.mark.usefixtures("filled")
async def test_upsert_of_many_rows_is_one_statement_without_a_warning(
    conn: Conn, fetch: Fetch
) -> None:
    before = await statements(fetch)

    await conn.execute(upsert(), changed(*range(1, 1001)))

    assert await fetch("SHOW WARNINGS") == []
    assert await statements(fetch) - before == 1
    assert await conn.scalar(select(func.count()).select_from(fruits)) == 1000


@pytest.mark.usefixtures("filled")
async def test_upsert_of_many_rows_has_its_own_parameters_per_row(conn: Conn, fetch: Fetch) -> None:
    statement = mysql.insert(fruits)
    statement = statement.on_duplicate_key_update(
        name=func.concat(statement.inserted.name, bindparam("mark"))
    )

    await conn.execute(statement, [{"id": n, "name": "n", "mark": f"!{n}"} for n in (1, 2, 9)])

    rows = await fetch(select(f.id, f.name).where(f.id != 3).order_by(f.id))
    assert rows == [(1, "n!1"), (2, "n!2"), (9, "n")]


async def test_textual_upsert_of_many_rows_is_one_statement(
    conn: Conn, create: Create, fetch: Fetch
) -> None:
    await create(fruits)
    sql = "INSERT INTO fruits (id, name) VALUES (%s, %s) AS new ON DUPLICATE KEY UPDATE name = 'x'"
    before = await statements(fetch)

    await conn.execute(sql, [(1, "a"), (2, "b"), (1, "c")])

    assert await statements(fetch) - before == 1
    assert await fetch(select(f.id, f.name).order_by(f.id)) == [(1, "x"), (2, "b")]


# -- VECTOR

VECTOR = struct.pack("<3f", 1, -2.5, 0.125)


@pytest.fixture
async def vectors(conn: Conn) -> Table:
    """An empty table with a column of vectors."""
    await conn.execute("CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(3))")
    return Table(
        "vectors", MetaData(), Column("id", Integer, primary_key=True), Column("v", LargeBinary)
    )


async def test_vector_comes_back_as_its_bytes(conn: Conn, vectors: Table, fetch: Fetch) -> None:
    await conn.execute(insert(vectors), [{"id": 1, "v": VECTOR}, {"id": 2, "v": None}])

    assert await fetch(select(vectors.c.v).order_by(vectors.c.id)) == [(VECTOR,), (None,)]


async def test_vector_is_written_and_read_as_text(conn: Conn, vectors: Table, fetch: Fetch) -> None:
    await conn.execute(insert(vectors).values(id=1, v=func.string_to_vector("[1, -2.5, 0.125]")))

    (row,) = await fetch(select(vectors.c.v, func.vector_to_string(vectors.c.v).label("text")))

    assert row.v == VECTOR
    assert row.text == "[1.00000e+00,-2.50000e+00,1.25000e-01]"


async def test_bytes_that_are_no_vector_are_refused(conn: Conn, vectors: Table) -> None:
    with pytest.raises(err.MySQLError, match="vector"):
        await conn.execute(insert(vectors), {"id": 1, "v": b"12345"})


# -- JSON


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"a": [1, -2.5, None, True, {}]}, id="nested"),
        pytest.param({"ключ": 'it\'s \\ "x" ♥ 🍣'}, id="quotes"),
        pytest.param([2**63 - 1, 2**64 - 1, -(2**63)], id="big"),
        pytest.param("text", id="text"),
        pytest.param(JSON.NULL, id="null"),
    ],
)
async def test_json_value_comes_back(conn: Conn, create: Create, value: Any) -> None:
    await create(fruits)

    await conn.execute(insert(fruits), {"id": 1, "extra": value})

    assert await conn.scalar(select(f.extra)) == (None if value is JSON.NULL else value)
    assert await conn.scalar(select(func.json_valid(f.extra))) == 1


async def test_json_is_searched_by_path(conn: Conn, create: Create, fetch: Fetch) -> None:
    await create(fruits)
    values = [{"size": 1, "tags": ["a%", "b"]}, {"size": 2, "tags": []}, {"size": 3}]
    await conn.execute(insert(fruits), [{"extra": value} for value in values])

    by_size = select(f.id, f.extra["tags"].label("tags")).where(f.extra["size"].as_integer() > 1)
    by_member = select(f.id).where(text(":tag MEMBER OF (extra->'$.tags')").bindparams(tag="a%"))

    assert await fetch(by_size.order_by(f.id)) == [(2, []), (3, None)]
    assert await fetch(by_member) == [(1,)]


async def test_json_that_is_calculated_is_text_to_a_bare_cursor(raw: aiomysqlx.Connection) -> None:
    async with raw.cursor() as cursor:
        await cursor.execute("SELECT CAST(%s AS JSON), JSON_ARRAY(1, '♥')", ('{"b": 1, "a": "é"}',))

        assert await cursor.fetchall() == (('{"a": "é", "b": 1}', '[1, "♥"]'),)


# -- collations


async def test_collation_of_the_column_compares(conn: Conn, create: Create, fetch: Fetch) -> None:
    words = Table(
        "words",
        MetaData(),
        Column("id", Integer, primary_key=True),
        Column("word", String(20, collation="utf8mb4_0900_ai_ci")),
    )
    await create(words)
    await conn.execute(insert(words), [{"word": word} for word in ("Résumé", "🍣", "🍺", "pad ")])

    async def found(word: str) -> list[str]:
        rows = await fetch(select(words.c.word).where(words.c.word == word))
        return [row.word for row in rows]

    # utf8mb4_general_ci takes all emoji for the same, and ignores blanks at the end.
    assert await found("resume") == ["Résumé"]
    assert await found("🍺") == ["🍺"]
    assert await found("pad") == []


async def test_collation_of_the_connection_can_be_chosen(connect_kwargs: Kwargs) -> None:
    names = "SET NAMES utf8mb4 COLLATE utf8mb4_0900_ai_ci"

    connection = aiomysqlx.connect(**connect_kwargs, init_command=names)
    async with connection as raw, raw.cursor() as cursor:
        await cursor.execute("SELECT @@collation_connection, %s = %s", ("🍣", "🍺"))

        assert await cursor.fetchone() == ("utf8mb4_0900_ai_ci", 0)
