"""Many executions in one command of MariaDB's: the outcome that they have as text."""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fakes import CAPABILITIES, OK, Peer, error, fake_server, packet, packets
from pymysql import err
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    String,
    Table,
    Time,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.dialects import mysql

import aiomysqlx
from aiomysqlx.wire.greeting import BULK

pytestmark = pytest.mark.server

MODELS = MetaData()
THINGS = Table(
    "things",
    MODELS,
    Column("id", Integer, primary_key=True),
    Column("name", String(20)),
    Column("n", Integer, unique=True),
)
PARTS = Table("parts", MODELS, Column("thing", Integer, primary_key=True))
VALUES = Table(
    "every_value",
    MODELS,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("whole", mysql.BIGINT(unsigned=True)),
    Column("ratio", Double),
    Column("price", Numeric(65, 30)),
    Column("text", String(1000)),
    Column("data", LargeBinary(1000)),
    Column("made", DateTime),
    Column("day", Date),
    Column("done", Boolean),
    Column("exact", mysql.DATETIME(fsp=6)),
)
OTHERS = Table(
    "other_values",
    MODELS,
    Column("id", Integer, primary_key=True),
    Column("kind", Enum("a", "b")),
    Column("data", JSON),
    Column("bits", mysql.BIT(8)),
    Column("ratio", Float),
    Column("year", mysql.YEAR),
    Column("hour", Time),
)
ROWS = 1100
RENAME = update(THINGS).where(THINGS.c.id == bindparam("key")).values(name=bindparam("new"))
RENUMBER = update(THINGS).where(THINGS.c.id == bindparam("key")).values(n=bindparam("new"))
DELETE = delete(THINGS).where(THINGS.c.id == bindparam("key"))


@pytest.fixture
async def both(connect_kwargs: dict[str, Any]) -> AsyncIterator[list[aiomysqlx.Engine]]:
    """An engine that sends text, and one that does not."""
    engines = [
        await aiomysqlx.create_engine(**connect_kwargs, prepare_threshold=threshold)
        for threshold in (None, 5)
    ]
    yield engines
    for engine in engines:
        engine.terminate()
        await engine.wait_closed()


async def fill(conn: aiomysqlx.SAConnection) -> None:
    """Create the tables, and rows in one of them."""
    await conn.drop_all(MODELS)
    await conn.create_all(MODELS)
    async with conn.begin():
        await conn.execute(
            insert(THINGS), [{"id": i, "name": f"n{i}", "n": i} for i in range(1, ROWS + 1)]
        )
        await conn.execute(insert(PARTS), [{"thing": 300}])


async def bulk_commands(conn: aiomysqlx.SAConnection) -> int:
    """Return how many statements this session has executed in bulk."""
    row = await (await conn.execute("SHOW SESSION STATUS LIKE 'Com_stmt_execute'")).first()
    assert row is not None
    return int(row[1])


async def outcome(conn: aiomysqlx.SAConnection, statement: Any, given: Any) -> tuple[Any, ...]:
    """Return all that an execution brings: its result, error and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = await conn.execute(statement, given)
        except (err.MySQLError, aiomysqlx.ArgumentError) as error:
            told: tuple[Any, ...] = (type(error), error.args)
        else:
            told = (result.rowcount, result.lastrowid, result.returns_rows)
            if result.returns_rows:
                told += ([row.as_tuple() for row in await result.fetchall()],)
            elif statement.is_insert:
                told += (list(result.inserted_primary_key_rows),)
    return (*told, [str(warning.message) for warning in caught])


async def rows_of(conn: aiomysqlx.SAConnection, table: Table) -> list[Any]:
    rows = await (await conn.execute(select(table).order_by(*table.primary_key))).fetchall()
    return [row.as_tuple() for row in rows]


async def compare(
    both: list[aiomysqlx.Engine],
    statement: Any,
    given: Any,
    *,
    autocommit: bool = False,
    setup: tuple[str, ...] = (),
) -> tuple[tuple[Any, ...], int]:
    """Execute on both engines; return the outcome, which is to be the same, and how many in bulk.

    So are the rows of all tables, whether the transaction goes on, and what a trigger has noted.
    """
    outcomes = []
    for engine in both:
        async with engine.acquire() as conn:
            await fill(conn)
            for sql in setup:
                await conn.execute(text(sql))
            transaction = None
            if autocommit:
                await conn.connection.autocommit(True)
            else:
                transaction = await conn.begin()
                await conn.execute(insert(THINGS), {"id": 10_000, "name": "before"})
            before = await bulk_commands(conn)
            told = await outcome(conn, statement, given)
            count = await bulk_commands(conn) - before
            goes_on = conn.connection._session.in_transaction
            noted = await conn.scalar(text("SELECT @noted"))
            if transaction is not None and goes_on:
                await transaction.commit()
            left = [await rows_of(conn, table) for table in MODELS.sorted_tables]
            outcomes.append((told, goes_on, noted, left))
            if transaction is not None:
                await transaction.close()
            if engine is both[0]:
                assert count == 0
    assert outcomes[0] == outcomes[1]
    return outcomes[1][0], count


def things(**other: Any) -> list[dict[str, Any]]:
    """Return new rows, but for the numbers whose `n` *other* gives."""
    made = [{"id": 2000 + i, "name": f"é'\\;{i}", "n": 2000 + i} for i in range(ROWS)]
    for name, values in other.items():
        made[int(name[1:])].update(values)
    return made


def changes(**other: Any) -> list[dict[str, Any]]:
    """Return parameters for all rows, but for those of the numbers that *other* gives."""
    made: list[dict[str, Any]] = [{"key": i, "new": f"é'\\;{i}"} for i in range(1, ROWS + 1)]
    for name, values in other.items():
        made[int(name[1:])].update(values)
    return made


INSERTS = {
    "new rows": (insert(THINGS), things()),
    "NULLs": (insert(THINGS), things(r3={"name": None}, r4={"n": None})),
    "a duplicate": (insert(THINGS), things(r333={"n": 5})),
    "a duplicate first": (insert(THINGS), things(r0={"id": 5})),
    "a text too long": (insert(THINGS), things(r400={"name": "x" * 30})),
    "two errors": (insert(THINGS), things(r100={"n": 5}, r101={"name": "x" * 30})),
    "ignored duplicates": (
        insert(THINGS).prefix_with("IGNORE"),
        things(r7={"n": 5}, r8={"name": "x" * 30}),
    ),
    "upserts": (
        mysql.insert(THINGS).on_duplicate_key_update(name=text("VALUES(name)")),
        things(r7={"id": 5, "n": 5}, r8={"id": 6, "n": 6, "name": "n6"}),
    ),
}


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
@pytest.mark.parametrize(("statement", "given"), INSERTS.values(), ids=INSERTS)
async def test_insert_of_rows_with_keys(
    both: Any, statement: Any, given: Any, autocommit: bool, mariadb: None
) -> None:
    await compare(both, statement, given, autocommit=autocommit)


async def test_rows_of_an_insert_are_one_command(both: Any, mariadb: None) -> None:
    told, count = await compare(both, insert(THINGS), things())

    assert (told[0], told[-2][-1], count) == (ROWS, (2000 + ROWS - 1,), 1)


def every_value(**other: Any) -> list[dict[str, Any]]:
    made = [
        {
            "id": i - 3,
            "whole": i * 2**63 // ROWS,
            "ratio": (i - 7) / 3,
            "price": Decimal(i) / 7 * (-1) ** i,
            "text": "日本語'\"\\\0" * (i % 50),
            "data": bytes(range(256)) * (i % 4),
            "made": datetime(2020, 1, 2, 3, 4, i % 60),
            "day": date(1000 + i, 2, 3),
            "done": i % 2 == 0,
            "exact": datetime(2020, 1, 2, 3, 4, 5, i * 907),
        }
        for i in range(ROWS)
    ]
    for name, values in other.items():
        made[int(name[1:])].update(values)
    return made


NULLS = dict.fromkeys([column.name for column in VALUES.columns if not column.primary_key])
TYPES = {
    "every type": every_value(),
    "NULL in every place": every_value(r0=NULLS, r200=NULLS, r1099=NULLS),
    "NULL everywhere": [{"id": i, **NULLS} for i in range(ROWS)],
    "numbers without a sign": every_value(r7={"whole": 2**64 - 1}),
    "an int among floats": every_value(r7={"ratio": 3}),
    "a text among dates": every_value(r7={"made": "2020-01-02 03:04:05", "day": "2020-01-02"}),
    "an int in place of a text": every_value(r7={"text": 5}),
    "a float in place of a decimal": every_value(r7={"price": 0.5}),
    "what is not finite": every_value(r7={"ratio": float("nan")}, r3={"text": "x" * 2000}),
    "a surrogate": every_value(r7={"text": "\ud800"}),
    "a number that is too large": every_value(r7={"whole": 2**64}),
    "a number that is negative": every_value(r7={"whole": -1}),
    "a list": every_value(r1099={"text": ["x"]}),
}


@pytest.mark.parametrize("given", TYPES.values(), ids=TYPES)
async def test_values_of_every_type_are_inserted(both: Any, given: Any, mariadb: None) -> None:
    await compare(both, insert(VALUES), given)


@pytest.mark.parametrize("given", TYPES.values(), ids=TYPES)
async def test_values_of_every_type_are_set(both: Any, given: Any, mariadb: None) -> None:
    statement = (
        update(VALUES)
        .where(VALUES.c.id == bindparam("key"))
        .values({name: bindparam(f"new_{name}", type_=VALUES.c[name].type) for name in NULLS})
    )
    changed = [
        {f"new_{name}": value for name, value in row.items() if name != "id"} | {"key": row["id"]}
        for row in given
    ]

    await compare(
        both,
        statement,
        changed,
        setup=tuple(f"INSERT INTO every_value (id) VALUES ({i - 3})" for i in range(ROWS)),
    )


@pytest.mark.parametrize("given", list(TYPES.values())[:3], ids=list(TYPES)[:3])
async def test_rows_of_any_type_are_one_command(both: Any, given: Any, mariadb: None) -> None:
    _, count = await compare(both, insert(VALUES), given)

    assert count == 1


async def test_values_that_may_be_read_otherwise_go_as_text(both: Any, mariadb: None) -> None:
    given = [
        {"id": i, "kind": "b", "data": {"a": i}, "bits": b"\1", "ratio": i / 3, "year": 2000}
        | {"hour": timedelta(hours=i)}
        for i in range(1, ROWS)
    ]

    _, count = await compare(both, insert(OTHERS), given)

    assert count == 0


CHANGES = {
    "all rows": (RENAME, changes()),
    "none": (RENAME, [{"key": -i, "new": "x"} for i in range(1, ROWS)]),
    "one row often": (RENAME, [{"key": 7, "new": f"x{i}"} for i in range(ROWS)]),
    "to what they are": (RENUMBER, [{"key": i, "new": i} for i in range(1, ROWS)]),
    "NULLs": (RENAME, changes(r7={"new": None}, r8={"key": None})),
    "duplicate": (RENUMBER, [{"key": i, "new": 5000 if i > 333 else -i} for i in range(1, ROWS)]),
    "warnings": (
        RENAME.prefix_with("IGNORE"),
        changes(r3={"new": "y" * 30}, r750={"new": "z" * 30}, r1099={"new": "z" * 40}),
    ),
    "an int in place of a text": (RENAME, changes(r300={"new": 5})),
    "a text in place of a key": (RENAME, changes(r300={"key": "5"})),
    "no value": (RENAME, changes(r300={"new": [1]}, r301={"new": float("nan")})),
    "a missing name": (RENAME, [*changes()[:70], {"key": 3}, *changes()]),
    "rows deleted": (DELETE, [{"key": i} for i in range(1, ROWS) if i != 300]),
    "a row that is referred to": (DELETE, [{"key": i} for i in range(1, ROWS)]),
    **{
        f"too long at {at}": (RENAME, changes(**{f"r{at}": {"new": "x" * 30}}))
        for at in (0, 1, 499, 500, 501, ROWS - 1)
    },
}
TRIGGERS = (
    (
        "CREATE TRIGGER before_update BEFORE UPDATE ON things FOR EACH ROW"
        " SET @noted = CONCAT(IFNULL(@noted, ''), NEW.id, ' ')"
    ),
    (
        "CREATE TRIGGER before_delete BEFORE DELETE ON things FOR EACH ROW BEGIN"
        " SET @noted = CONCAT(IFNULL(@noted, ''), OLD.id, ' ');"
        " IF EXISTS (SELECT 1 FROM parts WHERE thing = OLD.id) THEN"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'is referred to'; END IF; END"
    ),
)


@pytest.mark.parametrize("autocommit", [False, True], ids=["transaction", "autocommit"])
@pytest.mark.parametrize(("statement", "given"), CHANGES.values(), ids=CHANGES)
async def test_changes_have_the_outcome_of_one_by_one(
    both: Any, statement: Any, given: Any, autocommit: bool, mariadb: None
) -> None:
    _, count = await compare(both, statement, given, autocommit=autocommit, setup=TRIGGERS)

    assert not (autocommit and count)


@pytest.mark.parametrize("given", [things(r333={"name": "日本"}), changes(r333={"new": "日本"})])
async def test_text_that_a_column_has_no_characters_for(
    both: Any, given: Any, mariadb: None
) -> None:
    statement = RENAME if "key" in given[0] else insert(THINGS)
    latin1 = "ALTER TABLE things MODIFY name VARCHAR(20) CHARACTER SET latin1"

    told, count = await compare(both, statement, given, setup=(latin1,))

    assert told[1][0] == 1366
    assert count


async def test_changes_within_a_transaction_are_a_few_commands(both: Any, mariadb: None) -> None:
    told, count = await compare(both, RENAME, changes())

    assert (told[0], count) == (ROWS, ROWS)


AS_TEXT = {
    "generated keys": (insert(THINGS), [{"name": "x", "n": 2000 + i} for i in range(ROWS)]),
    "a key that is NULL": (insert(THINGS), things(r7={"id": None})),
    "a key that is 0": (insert(THINGS), things(r7={"id": 0})),
    "few rows": (insert(THINGS), things()[:10]),
    "pages": (insert(THINGS).execution_options(insertmanyvalues_page_size=100), things()),
    "an expression": (insert(THINGS).values(name=func.upper(bindparam("name"))), things()),
    "rows returned": (insert(THINGS).returning(THINGS.c.id), things()),
    "more than a packet": (
        insert(VALUES),
        [{"id": i, **NULLS, "text": "x" * 1000, "data": b"x" * 1000} for i in range(600)],
    ),
    "generated value": (
        update(THINGS)
        .where(THINGS.c.id == bindparam("key"))
        .values(n=func.last_insert_id(THINGS.c.n + 5000)),
        [{"key": i} for i in range(1, 10)],
    ),
    "decimals compared": (
        delete(THINGS).where(THINGS.c.name == bindparam("price", type_=Numeric)),
        [{"price": Decimal(each)} for each in ("5", "5.0", "9007199254740993")],
    ),
    "two tables": (
        update(THINGS)
        .where(THINGS.c.id == PARTS.c.thing, PARTS.c.thing == bindparam("key"))
        .values(name="x"),
        [{"key": i} for i in range(290, 310)],
    ),
}


@pytest.mark.parametrize(("statement", "given"), AS_TEXT.values(), ids=AS_TEXT)
async def test_what_may_differ_goes_as_text(
    both: Any, statement: Any, given: Any, mariadb: None
) -> None:
    _, count = await compare(both, statement, given)

    assert count == 0


async def test_statement_is_closed_whatever_becomes_of_it(
    both: list[aiomysqlx.Engine], mariadb: None
) -> None:
    async with both[1].acquire() as conn:
        await fill(conn)
        async with conn.begin():
            await conn.execute(RENAME, changes())
            with pytest.raises(err.DataError):
                await conn.execute(RENAME, changes(r5={"new": "x" * 30}))
            await conn.execute(insert(THINGS), things())
        sql = "SHOW SESSION STATUS WHERE Variable_name IN ('Com_stmt_close', 'Com_stmt_prepare')"
        counts = dict([tuple(row.as_tuple()) async for row in conn.execute(sql)])

    assert counts == {"Com_stmt_close": "4", "Com_stmt_prepare": "4"}


async def test_change_that_is_cut_off_leaves_the_connection_to_others(
    both: list[aiomysqlx.Engine], mariadb: None
) -> None:
    async with both[1].acquire() as conn, both[0].acquire() as other:
        await fill(conn)
        theirs = await other.begin()
        await other.execute(update(THINGS).where(THINGS.c.id == 250).values(name="theirs"))
        ours = await conn.begin()

        with pytest.raises(aiomysqlx.StatementTimeoutError):
            await conn.execute(RENAME, changes(), timeout=0.3)

        await theirs.rollback()
        assert await conn.scalar(select(func.count()).where(THINGS.c.name.like("é%"))) == 500
        await ours.rollback()
        assert await conn.scalar(select(func.count()).where(THINGS.c.name.like("é%"))) == 0


@pytest.mark.parametrize("code", [1047, 1243, 1295, 4033])
@pytest.mark.parametrize("window", [0, 1, 2])
async def test_server_that_takes_no_bulk_gets_text(code: int, window: int) -> None:
    commands: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.welcome(CAPABILITIES & ~1, version=b"10.11.0-MariaDB", extended=BULK)
        bulks = 0
        while True:
            command = await peer.read()
            commands.append(command)
            if command[:1] == b"\x16":
                parameter = b"\x03def\0\0\0\1?\0\x0c\x3f\0\0\0\0\0\x06\0\0\0\0\0"
                head = b"\0\7\0\0\0\0\0\2\0\0\0\0"
                peer.write(packets(head, parameter, parameter, b"\xfe\0\0\2\0"))
            elif command[:1] == b"\xfa":
                bulks += 1
                taken = b"\0\xfc\xf4\1\0\3\0\0\0"
                peer.write(packet(taken if bulks <= window else error(code, "no")))
            elif command[:7] == b"\x03UPDATE":
                peer.write(packet(b"\0\1\0\3\0\0\0"))
            elif command[:6] == b"\x03BEGIN" or command[:1] == b"\x0e":
                peer.write(packet(b"\0\0\0\3\0\0\0"))
            elif command[:1] == b"\x03":
                peer.write(packet(OK))

    given = [{"key": i, "new": "x"} for i in range(ROWS)]
    async with (
        fake_server(script) as address,
        aiomysqlx.create_engine(**address, prepare_threshold=5) as engine,
        engine.acquire() as conn,
        conn.begin(),
    ):
        del commands[:]
        first = await conn.execute(RENAME, given)
        texts = [command for command in commands if command[:7] == b"\x03UPDATE"]
        again = await conn.execute(RENAME, given)

    sent = [command[:1] for command in commands]
    assert first.rowcount == again.rowcount == ROWS
    assert len(texts) == ROWS - 500 * window
    # Once it was refused, it is not tried again; and the statement is closed.
    assert (sent.count(b"\x16"), sent.count(b"\xfa"), sent.count(b"\x19")) == (1, window + 1, 1)
