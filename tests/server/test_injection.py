"""Injection: every value, at every place, in every charset and sql_mode, on a real server.

What goes in comes back the same or is refused, and a marker statement never runs, though the
connections take several statements in one text.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NamedTuple, TypeVar

import pymysql
import pytest
import sqlalchemy
from hostile import MARK, QUOTE, REFUSED, Value, encoded, texts, values
from hypothesis import given, settings
from hypothesis import strategies as st
from private_server import Server
from pymysql import err
from pymysql.constants import CLIENT
from sqlalchemy import (
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    cast,
    func,
    select,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateTable, DropTable
from sqlalchemy.types import NullType

import aiomysqlx
from aiomysqlx.wire.charset import python_encoding

pytestmark = [
    pytest.mark.server,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::pymysql.err.Warning"),
]

DATABASE = "test_aiomysqlx_injection"
CHARSETS = ["utf8mb4", "latin1", "gbk", "sjis", "ujis", "binary"]
MODES = {
    "default": "",
    "NO_BACKSLASH_ESCAPES": "NO_BACKSLASH_ESCAPES",
    "ANSI_QUOTES": "ANSI_QUOTES",
    "NO_BACKSLASH_ESCAPES,ANSI_QUOTES": "NO_BACKSLASH_ESCAPES,ANSI_QUOTES",
    "PIPES_AS_CONCAT": "PIPES_AS_CONCAT",
    "ANSI": "ANSI",
}
T = TypeVar("T")
Marks = Callable[[], int]
box = Table(
    "box",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("v", NullType()),
)
TABLES = (
    "CREATE TABLE marker (n INT)",
    "CREATE TABLE box (id INT AUTO_INCREMENT PRIMARY KEY, v LONGBLOB) ENGINE=MyISAM",
    "CREATE PROCEDURE give(IN v LONGBLOB) SELECT v",
    "CREATE PROCEDURE set_names(IN name CHAR(9)) SET character_set_results = name",
)


class Session(NamedTuple):
    """A connection of one charset and sql_mode, for tests that are not coroutines."""

    loop: asyncio.AbstractEventLoop
    conn: aiomysqlx.SAConnection
    raw: aiomysqlx.Connection
    every: bool = True  # not only the text and bytes, which the sql_mode is about

    def run(self, coroutine: Awaitable[T]) -> T:
        return self.loop.run_until_complete(coroutine)

    async def cursor(self, sql: str, args: Any = None) -> Any:
        """Execute on a bare cursor and give the only row."""
        async with self.raw.cursor() as cursor:
            await cursor.execute(sql, args)
            (row,) = await cursor.fetchall()
            return row


async def only(cursor: Any) -> Any:
    ((value,),) = await cursor.fetchall()
    return value


@pytest.fixture(scope="module")
def module_kwargs(server: Server) -> dict[str, Any]:
    return {name: getattr(server, name) for name in ("host", "port", "user", "password")}


@pytest.fixture(scope="module")
def marks(module_kwargs: dict[str, Any]) -> Iterator[Marks]:
    """Make the tables; give what counts the rows of the marker."""
    with (
        pymysql.connect(**module_kwargs, autocommit=True, ssl_disabled=True) as admin,
        admin.cursor() as cursor,
    ):
        cursor.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
        cursor.execute(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4")
        cursor.execute(f"USE {DATABASE}")
        for sql in TABLES:
            cursor.execute(sql)

        def count() -> int:
            cursor.execute("SELECT COUNT(*) FROM marker")
            ((rows,),) = cursor.fetchall()
            return int(rows)

        yield count
        cursor.execute(f"DROP DATABASE {DATABASE}")


@pytest.fixture(scope="module", params=CHARSETS)
def charset(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=MODES)
def session(
    request: pytest.FixtureRequest,
    module_kwargs: dict[str, Any],
    marks: Marks,
    charset: str,
) -> Iterator[Session]:
    with connected(module_kwargs, charset=charset, sql_mode=MODES[request.param]) as session:
        assert session.raw.no_backslash_escapes is ("BACKSLASH" in request.param)
        yield session._replace(every=request.param in ("default", "NO_BACKSLASH_ESCAPES"))


@contextlib.contextmanager
def connected(kwargs: dict[str, Any], **more: Any) -> Iterator[Session]:
    """Connect, on an event loop of its own, with several statements in one text allowed."""
    flags = CLIENT.MULTI_STATEMENTS
    options = {**kwargs, "db": DATABASE, "autocommit": True, "client_flag": flags, **more}

    async def connect() -> aiomysqlx.Engine:
        return await aiomysqlx.create_engine(**options, minsize=1, maxsize=1)

    with contextlib.closing(asyncio.new_event_loop()) as loop:
        engine = loop.run_until_complete(connect())
        conn = loop.run_until_complete(_acquired(engine))
        assert conn.connection is not None
        try:
            yield Session(loop, conn, conn.connection)
        finally:
            engine.terminate()
            loop.run_until_complete(engine.wait_closed())


async def _acquired(engine: aiomysqlx.Engine) -> aiomysqlx.SAConnection:
    return await engine.acquire()


# -- places ----------------------------------------------------------------------------------------

# Each place takes values to the server and gives the bytes, or NULL, that came back from there.
Place = Callable[[Session, list[Any]], Coroutine[Any, Any, Any]]
AS_BYTES = "CAST(%s AS BINARY)"


def bound(value: Any) -> Any:
    return bindparam(None, value, type_=NullType())


def binary(value: Any) -> Any:
    return cast(bound(value), LargeBinary)


def selected(given: list[Any], item: str = AS_BYTES) -> str:
    return f"SELECT {', '.join([item] * len(given))}"


def named(given: list[Any], item: str) -> tuple[str, dict[str, Any]]:
    """Give a SELECT of named parameters, and them, with more that are not used."""
    columns = ", ".join(item.format(name=f"v{index}") for index in range(len(given)))
    parameters = {f"v{index}": value for index, value in enumerate(given)}
    return f"SELECT {columns}", {**parameters, f"v0)s{QUOTE}": QUOTE, QUOTE: given[0]}


async def executed(session: Session, *args: Any) -> Any:
    result = await session.conn.execute(*args)
    row = await result.first()
    assert row is not None
    return row.as_tuple()


async def cursor_positional(session: Session, given: list[Any]) -> Any:
    return await session.cursor(selected(given), given)


async def cursor_named(session: Session, given: list[Any]) -> Any:
    return await session.cursor(*named(given, "CAST(%({name})s AS BINARY)"))


async def cursor_in(session: Session, given: list[Any]) -> Any:
    item = "IF(%s IS NULL OR %s IN %s, CAST(%s AS BINARY), 'not in')"
    values = [each for value in given for each in (value, value, [value, value], value)]
    return await session.cursor(selected(given, item), values)


async def mogrify(session: Session, given: list[Any]) -> Any:
    async with session.raw.cursor() as cursor:
        return await session.cursor(cursor.mogrify(selected(given), given))


async def escaped_by_hand(session: Session, given: list[Any]) -> Any:
    literals = [f"CAST({session.raw.escape(value)} AS BINARY)" for value in given]
    return await executed(session, f"SELECT {', '.join(literals)}")


async def text_positional(session: Session, given: list[Any]) -> Any:
    return (await executed(session, f"{selected(given)}, %s", *given, 1))[:-1]


async def text_tuple(session: Session, given: list[Any]) -> Any:
    return (await executed(session, f"{selected(given)}, %s", (*given, 1)))[:-1]


async def text_named(session: Session, given: list[Any]) -> Any:
    return await executed(session, *named(given, "CAST(%({name})s AS BINARY)"))


async def text_construct(session: Session, given: list[Any]) -> Any:
    sql, parameters = named(given, "CAST(:{name} AS BINARY)")
    return await executed(session, sqlalchemy.text(sql), parameters)


async def text_construct_bound(session: Session, given: list[Any]) -> Any:
    sql, _ = named(given, "CAST(:{name} AS BINARY)")
    binds = [bindparam(f"v{i}", value, NullType()) for i, value in enumerate(given)]
    return await executed(session, sqlalchemy.text(sql).bindparams(*binds))


async def select_values(session: Session, given: list[Any]) -> Any:
    return await executed(session, select(*map(binary, given)))


async def function_argument(session: Session, given: list[Any]) -> Any:
    return await executed(session, select(*(func.coalesce(binary(v), None) for v in given)))


async def hostile_name(session: Session, given: list[Any]) -> Any:
    names = [f"{QUOTE}{index}" for index in range(len(given))]
    columns = [cast(bindparam(name, type_=NullType()), LargeBinary) for name in names]
    return await executed(session, select(*columns), dict(zip(names, given, strict=True)))


async def where(session: Session, given: list[Any]) -> Any:
    conditions = [binary(value).op("<=>")(binary(value)) for value in given]
    return await executed(session, select(*map(binary, given)).where(*conditions))


async def in_list(session: Session, given: list[Any]) -> Any:
    among = bindparam("among", [given[-1], *given], type_=NullType(), expanding=True)
    found = select(*map(binary, given)).where(binary(given[-1]).in_(among) | (bound(1) == 1))
    return await executed(session, found)


async def stored(session: Session, count: int) -> Any:
    """Give what the latest rows hold."""
    sql = "SELECT v FROM box ORDER BY id DESC LIMIT %s"
    async with session.raw.cursor() as cursor:
        await cursor.execute(sql, count)
        return tuple(value for (value,) in reversed(await cursor.fetchall()))


async def insert(session: Session, given: list[Any]) -> Any:
    for value in given:
        await session.conn.execute(box.insert().values(v=bound(value)))
    return await stored(session, len(given))


async def insert_rows(session: Session, given: list[Any]) -> Any:
    await session.conn.execute(box.insert(), [{"v": value} for value in [1, *given]])
    return await stored(session, len(given))


async def insert_values(session: Session, given: list[Any]) -> Any:
    rows = [{"v": bound(value)} for value in [1, *given]]
    await session.conn.execute(box.insert().values(rows))
    return await stored(session, len(given))


async def upsert(session: Session, given: list[Any]) -> Any:
    rows, chosen = await prepared(session, given)
    statement = mysql.insert(box).values(rows)
    await session.conn.execute(statement.on_duplicate_key_update(v=chosen))
    return await stored(session, len(given))


async def update(session: Session, given: list[Any]) -> Any:
    _, chosen = await prepared(session, given)
    await session.conn.execute(box.update().values(v=chosen))
    return await stored(session, len(given))


async def prepared(session: Session, given: list[Any]) -> Any:
    """Leave one row for each of *given* in the table; give the rows, and what chooses a value."""
    rows = [{"id": index, "v": 1} for index in range(1, len(given) + 1)]
    await session.conn.execute(box.delete())
    await session.conn.execute(box.insert(), rows)
    choices = {index: bound(value) for index, value in enumerate(given, 1)}
    return rows, sqlalchemy.case(choices, value=box.c.id, else_=bound(b""))


async def executemany_insert(session: Session, given: list[Any]) -> Any:
    async with session.raw.cursor() as cursor:
        rows = [(value,) for value in given]
        await cursor.executemany("INSERT INTO box (v) VALUES (%s)", rows)
    return await stored(session, len(given))


async def executemany_others(session: Session, given: list[Any]) -> Any:
    async with session.raw.cursor() as cursor:
        rows = [(value,) for value in given]
        await cursor.executemany("INSERT INTO box SET v = %s", rows)
    return await stored(session, len(given))


async def callproc(session: Session, given: list[Any]) -> Any:
    return tuple([await called(session, value) for value in given])


async def called(session: Session, value: Any) -> Any:
    async with session.raw.cursor() as cursor:
        await cursor.callproc("give", (value,))
        return await only(cursor)


PLACES: list[Place] = [
    cursor_positional,
    cursor_named,
    cursor_in,
    mogrify,
    escaped_by_hand,
    text_positional,
    text_tuple,
    text_named,
    text_construct,
    text_construct_bound,
    select_values,
    function_argument,
    hostile_name,
    where,
    in_list,
    insert,
    insert_rows,
    insert_values,
    upsert,
    update,
    executemany_insert,
    executemany_others,
    callproc,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_value_comes_back_the_same_or_is_refused(
    session: Session, marks: Marks, place: Place
) -> None:
    names = ("text", "bytes") if not session.every else ""
    every = [value for value in values(session.raw.encoding) if value.name.startswith(names)]
    taken = {value.name: value for value in every if value.expected is not REFUSED}
    refused = [value for value in every if value.expected is REFUSED]

    # Those that are taken at once, the others one by one.
    got = session.run(place(session, [value.given for value in taken.values()]))
    answers = {value.name: session.run(outcome(place, session, value)) for value in refused}

    assert dict(zip(taken, got, strict=True)) == {n: v.expected for n, v in taken.items()}
    assert {name: answer for name, answer in answers.items() if answer is not REFUSED} == {}
    assert marks() == 0


async def outcome(place: Place, session: Session, value: Value) -> Any:
    try:
        return await place(session, [value.given])
    except (aiomysqlx.ArgumentError, err.MySQLError):
        return REFUSED


# -- what SQLAlchemy writes into the SQL, and names ------------------------------------------------


def test_text_in_ddl_comes_back_the_same(session: Session, marks: Marks) -> None:
    # MySQL's sjis and ujis take a fullwidth backslash for an ordinary one.
    texts_there = texts(session.raw.encoding).values()
    wanted = [text for text in texts_there if len(text) < 60 and "＼" not in text]
    kind = mysql.VARCHAR(99, charset="utf8mb4")
    columns = [
        Column(f"c{index}", kind, server_default=text, comment=text.replace("😀", ""))
        for index, text in enumerate(wanted)
    ]
    table = Table("ddl", MetaData(), *columns, prefixes=["TEMPORARY"], comment=wanted[1])

    async def defaults() -> Any:
        await session.conn.execute(CreateTable(table))
        await session.conn.execute("INSERT INTO ddl () VALUES ()")
        row = await executed(session, select(*(cast(column, LargeBinary) for column in columns)))
        await session.conn.execute("DROP TEMPORARY TABLE ddl")
        return list(row)

    assert session.run(defaults()) == [text.encode() for text in wanted]
    assert marks() == 0


def literal_execute(given: list[str]) -> Any:
    binds = [bindparam(None, text, String(), literal_execute=True) for text in given]
    return select(*(cast(bind, LargeBinary) for bind in binds))


def autoescape(given: list[str]) -> Any:
    within = [sqlalchemy.literal(text).contains(text, autoescape=True) for text in given]
    return select(*map(binary, given)).where(*within)


def label(given: list[str]) -> Any:
    names = [f"{index} {text.strip(chr(0) + '😀')}".strip() for index, text in enumerate(given)]
    return select(*(binary(t).label(name) for t, name in zip(given, names, strict=True)))


@pytest.mark.parametrize("write", [literal_execute, autoescape, label], ids=lambda f: f.__name__)
def test_text_that_sqlalchemy_writes_comes_back_the_same(
    session: Session, marks: Marks, write: Callable[[list[str]], Any]
) -> None:
    encoding = session.raw.encoding
    wanted = [text for text in texts(encoding).values() if len(text) < 200]

    got = session.run(executed(session, write(wanted)))

    assert list(got) == [encoded(text, encoding) for text in wanted]
    assert marks() == 0


@pytest.mark.parametrize("text", ["¥'; " + MARK + "; -- ", "‾", "a¥"])
@pytest.mark.parametrize("write", [literal_execute, lambda given: f"SELECT '{given[0]}'"])
def test_text_that_the_server_would_read_as_another_is_refused_in_sql_too(
    module_kwargs: dict[str, Any], marks: Marks, text: str, write: Callable[[list[str]], Any]
) -> None:
    # The yen sign of euc_jp is the byte of the backslash.
    with (
        connected(module_kwargs, charset="ujis") as session,
        pytest.raises(aiomysqlx.ArgumentError, match="it would be read as|cannot encode"),
    ):
        session.run(session.conn.scalar(write([text])))

    assert marks() == 0


NO_PLACES = {
    "limit": lambda value: select(1).limit(bound(value)),
    "offset": lambda value: select(1).limit(1).offset(bound(value)),
    "json key": lambda value: select(
        sqlalchemy.type_coerce(bound("{}"), sqlalchemy.JSON)[sqlalchemy.literal(value, NullType())]
    ),
    "json path": lambda value: select(func.json_extract("{}", bound(value))),
    "like": lambda value: select(1).where(bound("a").like(bound(value))),
    "regexp": lambda value: select(1).where(bound("a").regexp_match(bound(value))),
    "order": lambda value: select(1).order_by(bound(value)),
    "interval": lambda value: "SELECT NOW() + INTERVAL %s DAY",
    "column of a string": lambda value: "SELECT %s FROM %s",
}


@pytest.mark.parametrize("write", NO_PLACES.values(), ids=NO_PLACES)
@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES", "ANSI"])
@pytest.mark.parametrize("connected_charset", ["utf8mb4", "gbk"])
def test_value_where_it_does_not_belong_runs_nothing(
    module_kwargs: dict[str, Any],
    marks: Marks,
    connected_charset: str,
    mode: str,
    write: Callable[[Any], Any],
) -> None:
    with connected(module_kwargs, charset=connected_charset, sql_mode=mode) as session:
        for value in list(values(session.raw.encoding))[::2]:
            with contextlib.suppress(aiomysqlx.ArgumentError, err.MySQLError, TypeError):
                statement = write(value.given)
                args = (value.given,) * statement.count("%s") if isinstance(statement, str) else ()
                session.run(session.conn.scalar(statement, *args))

        assert session.run(session.conn.scalar("SELECT 1")) == 1
    assert marks() == 0


NAMES = {
    "backtick": f"`; {MARK}; --",
    "two backticks": f"``; {MARK}; --",
    "quote": f"'; {MARK}; --",
    "double quote": f'"; {MARK}; --',
    "backslash": f"\\`; {MARK}; -- x\\",
    "dot": f"a`.`b; {MARK}",
    "comment": f"/* `*/; {MARK}",
    "percent": "%s %(v)s %% :name",
    "trail of a backtick": f"乣`; {MARK}; --",  # 0x81 0x60 in gbk
    "trail of a backslash": f"縗`; {MARK}; --",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("mode", ["", "ANSI", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize("names_charset", ["utf8mb4", "gbk"])
def test_name_is_quoted(
    module_kwargs: dict[str, Any], marks: Marks, name: str, mode: str, names_charset: str
) -> None:
    table = Table(name, MetaData(), Column(name, Integer), schema=DATABASE)
    elsewhere = Table("t", MetaData(), Column("a", Integer), schema=name)

    async def use(conn: aiomysqlx.SAConnection) -> Any:
        await conn.execute(CreateTable(table))
        await conn.execute(table.insert(), [{name: 1}, {name: 2}])
        await conn.execute(table.update().where(table.c[name] == 2), {name: 3})
        aliased = table.alias(name)
        rows = await (await conn.execute(select(aliased).order_by(aliased.c[name]))).fetchall()
        await conn.execute(DropTable(table))
        return [row[name] for row in rows]

    with connected(module_kwargs, charset=names_charset, sql_mode=mode) as session:
        assert session.run(use(session.conn)) == [1, 3]
        with pytest.raises(err.MySQLError, match="1049|1146|1102"):
            session.run(session.conn.scalar(select(elsewhere)))
        with pytest.raises(err.MySQLError, match="1305|1049|1102"):
            session.run(procedure(session, name))
        with pytest.raises(err.MySQLError, match="1049|1102"):
            session.run(session.raw.select_db(name))
        with pytest.raises(aiomysqlx.ArgumentError, match="unknown charset"):
            session.run(session.raw.set_charset(name))

    assert marks() == 0


async def procedure(session: Session, name: str) -> None:
    async with session.raw.cursor() as cursor:
        await cursor.callproc(name, (1,))


@pytest.mark.parametrize("name", ["\ud800", "\udcbf`", "é\udc5c"], ids=ascii)
def test_name_that_is_no_text_is_refused(module_kwargs: dict[str, Any], name: str) -> None:
    with connected(module_kwargs, charset="gbk") as session:
        for attempt in (
            procedure(session, name),
            session.raw.select_db(name),
            session.raw.set_charset(name),
            _awaited(session.conn.scalar(select(Column(name)))),
        ):
            with pytest.raises(aiomysqlx.ArgumentError):
                session.run(attempt)


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


# -- any text and bytes ----------------------------------------------------------------------------

ANY_TEXT = st.text(max_size=30) | st.text(
    st.sampled_from("'\"\\\0\n\x1a%;-/*`aé\xbf¥‾₩ソ能表縗誠許蓋😀\udcbf\udc5c"), max_size=12
)


@settings(max_examples=6)
@given(given_texts=st.lists(ANY_TEXT, min_size=1, max_size=10), data=st.binary(max_size=20))
def test_any_text_comes_back_or_is_refused(
    session: Session, marks: Marks, given_texts: list[str], data: bytes
) -> None:
    encoding = session.raw.encoding
    wanted = [encoded(text, encoding) for text in given_texts]

    got = [session.run(outcome(cursor_positional, session, Value("", t, b""))) for t in given_texts]
    together = [text for text, each in zip(given_texts, wanted, strict=True) if each is not REFUSED]

    assert [each if each is REFUSED else each[0] for each in got] == wanted
    assert session.run(select_values(session, [*together, data])) == (
        *(encoded(text, encoding) for text in together),
        data,
    )
    assert marks() == 0


# -- a charset that a statement sets ---------------------------------------------------------------

# In each of the charsets, the bytes of one of these in another end in what takes a backslash in.
TRAPS = [f"縗' UNION SELECT 1; {MARK}; -- ", f"\xbf' UNION SELECT 1; {MARK}; -- ", "縗\\"]
SETTINGS = {
    "SET NAMES": "SET NAMES {}",
    "SET CHARACTER SET": "SET CHARACTER SET {}",
    "variable": "SET character_set_client = {}",
    "variables": "SET SESSION character_set_client = {0}, @@SESSION.character_set_results = {0}",
    "with others": "SET NAMES {}; SELECT 1",
    "before an error": "SET NAMES {}; SELECT nothing",
    "in a procedure": "CALL set_names('{}')",
}


@pytest.mark.parametrize("how", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("after", ["gbk", "big5", "latin1", "utf8mb4"])
@pytest.mark.parametrize("before", ["utf8mb4", "latin1"])
def test_charset_that_a_statement_sets_is_escaped_for(
    module_kwargs: dict[str, Any], marks: Marks, before: str, after: str, how: str
) -> None:
    with connected(module_kwargs, charset=before) as session:
        with contextlib.suppress(err.MySQLError):
            session.run(session.conn.execute(how.format(after)))
        (client,) = session.run(session.cursor("SELECT @@character_set_client"))
        assert session.raw.encoding == python_encoding(client)
        for text in [*TRAPS, "é", "表"]:
            wanted = encoded(text, python_encoding(client)) is REFUSED
            for place in (cursor_positional, select_values, insert, executemany_insert, mogrify):
                got = session.run(outcome(place, session, Value("", text, b"")))
                assert (got is REFUSED) == wanted
                # The bytes that are stored are those of character_set_connection.
                assert "NAMES" not in how or wanted or got[0] == encoded(text, session.raw.encoding)

    assert marks() == 0


@pytest.mark.parametrize("after", ["latin1", "gbk", "utf8mb4"])
def test_charset_of_results_that_a_statement_sets_is_read(
    module_kwargs: dict[str, Any], after: str
) -> None:
    with connected(module_kwargs, charset="utf8mb4") as session:
        before = session.run(session.conn.scalar("SELECT 'é'"))
        session.run(session.conn.execute(f"SET character_set_results = {after}"))

        assert session.raw.encoding == "utf8"
        assert session.run(session.conn.scalar("SELECT 'é'")) == before == "é"
        assert session.run(session.conn.scalar(select(bound("é")))) == "é"


async def test_charset_that_python_lacks_closes_the_connection(
    connect_kwargs: dict[str, Any],
) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        with pytest.raises(err.OperationalError, match=r"2019.*unknown to Python: b'swe7'"):
            await connection.query("SET NAMES swe7")

        assert connection.closed


async def test_charset_that_a_cancelled_statement_sets_is_escaped_for(
    raw: aiomysqlx.Connection,
) -> None:
    task = asyncio.create_task(raw.query("SET NAMES gbk"))
    while not raw.busy:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await raw._session.ready()

    assert raw.encoding == "gbk"
    assert raw.escape("縗") == "'縗'"


async def test_charset_that_nobody_tells_of_is_for_set_charset(
    connect_kwargs: dict[str, Any],
) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        await connection.query("SET session_track_system_variables = ''")

        await connection.set_charset("gbk")

        assert connection.encoding == "gbk"
        async with connection.cursor() as cursor:
            await cursor.execute("SELECT %s", TRAPS[0])
            assert await cursor.fetchall() == ((TRAPS[0],),)


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize("inside", ["", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize("way", ["execute", "execute many", "cursor", "next borrower"])
async def test_value_is_escaped_for_the_mode_that_a_procedure_leaves(
    connect_kwargs: dict[str, Any], mode: str, inside: str, way: str
) -> None:
    value = "\\' or 1=1 -- \\ ', 'injected' -- "
    async with aiomysqlx.create_engine(**connect_kwargs, autocommit=True, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE kept (v VARCHAR(99))")
            await conn.execute(f"CREATE PROCEDURE p() SET SESSION sql_mode = '{inside}'")
            await conn.execute(f"SET sql_mode = '{mode}'")
            await conn.execute("CALL p()")
            if way == "execute":
                await conn.execute("INSERT INTO kept VALUES (%s)", value)
            elif way == "execute many":
                await conn.execute("INSERT INTO kept VALUES (%s)", [(value,), (value,)])
            elif way == "cursor":
                async with conn.connection.cursor() as cursor:
                    await cursor.execute("INSERT INTO kept VALUES (%s)", (value,))
        async with engine.acquire() as conn:
            if way == "next borrower":
                await conn.execute("INSERT INTO kept VALUES (%s)", value)
            assert await conn.scalar("SELECT @@sql_mode") == mode
            rows = await (await conn.execute("SELECT DISTINCT v FROM kept")).fetchall()
    assert rows == [(value,)]


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize("inside", ["", "NO_BACKSLASH_ESCAPES"])
async def test_literal_behind_a_procedure_is_not_written_for_its_mode(
    connect_kwargs: dict[str, Any], mode: str, inside: str
) -> None:
    value, plain = "\\' or 1=1 -- \\", "it's"
    async with aiomysqlx.connect(**connect_kwargs) as raw, raw.cursor() as cursor:
        await cursor.execute(f"CREATE PROCEDURE p() SET SESSION sql_mode = '{inside}'")
        await cursor.execute(f"SET sql_mode = '{mode}'")
        await cursor.execute("CALL p()")
        writes: list[Callable[[str], str]] = [
            lambda text: f"SELECT {raw.escape(text)}",
            lambda text: f"SELECT '{raw.escape_string(text)}'",
            lambda text: cursor.mogrify("SELECT %s", text),
        ]
        for write in writes:
            if mode != inside:
                with pytest.raises(
                    aiomysqlx.InvalidRequestError, match="how the server reads text"
                ):
                    write(value)
        for write in writes:
            await cursor.execute("CALL p()")
            await cursor.execute(write(plain))
            assert await cursor.fetchone() == (plain,)
            await cursor.execute(write(value))
            assert await cursor.fetchone() == (value,)


@pytest.mark.parametrize("mode", ["", "NO_BACKSLASH_ESCAPES"])
@pytest.mark.parametrize(
    "sets",
    ["SET sql_mode = '{}'", "set  SESSION SQL_MODE='{}' ;", "SET @@session.sql_mode := '{}'"],
)
async def test_literal_behind_a_mode_that_was_set_is_written_for_that(
    connect_kwargs: dict[str, Any], mode: str, sets: str
) -> None:
    value = "\\' or 1=1 -- \\"
    async with aiomysqlx.connect(**connect_kwargs) as raw, raw.cursor() as cursor:
        await cursor.execute(sets.format("NO_BACKSLASH_ESCAPES" if not mode else ""))
        await cursor.execute(sets.format(mode))
        await cursor.execute(f"SELECT {raw.escape(value)}, '{raw.escape_string(value)}'")
        assert await cursor.fetchone() == (value, value)


PROGRAMS = {
    "procedure": ("CREATE PROCEDURE p() BEGIN {}; SIGNAL SQLSTATE '45000'; END", "CALL p()"),
    "prepared": (
        "CREATE PROCEDURE p() BEGIN {}; SIGNAL SQLSTATE '45000'; END",
        ["PREPARE s FROM 'CALL p()'", "EXECUTE s"],
    ),
    "with rows": (
        "CREATE PROCEDURE p() BEGIN {}; SELECT 1; SIGNAL SQLSTATE '45000'; END",
        "/* of */ CALL p()",
    ),
}


@pytest.mark.parametrize("setting", ["SET NAMES latin1", "SET character_set_results = latin1"])
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("way", ["execute", "cursor", "stream", "pipeline", "next borrower"])
async def test_text_is_read_in_the_character_set_that_a_failed_program_leaves(
    connect_kwargs: dict[str, Any], setting: str, program: Any, way: str
) -> None:
    define, calls = program
    async with aiomysqlx.create_engine(**connect_kwargs, autocommit=True, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute(define.format(f"{setting}; SET time_zone = '+05:00'"))
            zone = await conn.scalar("SELECT @@time_zone")
            await run_to_its_error(conn, [calls] if isinstance(calls, str) else calls)
            if way == "execute":
                assert await conn.scalar("SELECT 'é'") == "é"
            elif way == "cursor":
                async with conn.connection.cursor() as cursor:
                    await cursor.execute("SELECT %s", "é")
                    assert await cursor.fetchone() == ("é",)
            elif way == "stream":
                async with conn.stream("SELECT 'é'") as stream:
                    assert await stream.scalar() == "é"
            elif way == "pipeline":
                async with conn.pipeline() as pipe:
                    assert await (await pipe.execute("SELECT 'é'")).scalar() == "é"
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT 'é'") == "é"
            names = "SELECT @@character_set_results, @@character_set_client, @@time_zone"
            row = await (await conn.execute(names)).one()
            assert tuple(row.as_tuple()) == ("utf8mb4", "utf8mb4", zone)


async def run_to_its_error(conn: aiomysqlx.SAConnection, calls: list[str]) -> None:
    for call in calls[:-1]:
        await conn.execute(call)
    with pytest.raises(err.OperationalError, match="1644"):
        await conn.execute(calls[-1])


async def test_value_is_escaped_for_the_charset_that_a_failed_block_leaves(
    connect_kwargs: dict[str, Any],
) -> None:
    block = "BEGIN NOT ATOMIC SET character_set_client = gbk; SIGNAL SQLSTATE '45000'; END"
    value = "日' or 1=1 -- "
    async with aiomysqlx.create_engine(**connect_kwargs, autocommit=True, maxsize=1) as engine:
        async with engine.acquire() as conn:
            with pytest.raises(err.MySQLError, match="1644|1064"):  # MySQL has no such blocks
                await conn.execute(block)
            assert await conn.scalar("SELECT %s", value) == value
        async with engine.acquire() as conn:
            assert await conn.scalar("SELECT @@character_set_client") == "utf8mb4"


SETS_AND_SELECTS = {
    "names": "SET NAMES gbk; SELECT 1",
    "charset": "SELECT 1; SET character_set_client = gbk; SELECT 2",
    "mode, too": "SET sql_mode = 'NO_BACKSLASH_ESCAPES'; SET NAMES gbk; SELECT 1; SELECT 2",
}


@pytest.mark.parametrize("body", SETS_AND_SELECTS.values(), ids=SETS_AND_SELECTS)
@pytest.mark.parametrize("way", ["execute", "cursor", "unbuffered", "execute many", "pipeline"])
async def test_value_is_written_in_the_charset_that_a_procedure_puts_back(
    connect_kwargs: dict[str, Any], body: str, way: str
) -> None:
    value = "é縗' or 1=1 -- "
    async with aiomysqlx.create_engine(**connect_kwargs, autocommit=True, maxsize=1) as engine:
        async with engine.acquire() as conn:
            await conn.execute("CREATE TABLE kept (v VARCHAR(99))")
            await conn.execute(f"CREATE PROCEDURE p() BEGIN {body}; END")
            raw = conn.connection
            assert raw is not None
            async with raw.cursor(*[aiomysqlx.SSCursor][way != "unbuffered" :]) as cursor:
                await cursor.execute("CALL p()")
                while await cursor.nextset():
                    pass
                with pytest.raises(aiomysqlx.InvalidRequestError, match="how the server reads"):
                    raw.escape("é")
                assert raw.escape("e") == "'e'"
                if way in ("cursor", "unbuffered"):
                    await cursor.execute("INSERT INTO kept VALUES (%s)", (value,))
                elif way == "execute many":
                    await cursor.executemany("INSERT INTO kept VALUES (%s)", [(value,), (value,)])
            if way == "execute":
                await conn.execute("INSERT INTO kept VALUES (%s)", value)
            elif way == "pipeline":
                async with conn.pipeline() as pipe:
                    pipe.execute("INSERT INTO kept VALUES (%s)", value)
            assert raw.escape(value) == "'é縗\\' or 1=1 -- '"
        async with engine.acquire() as conn:
            rows = await (await conn.execute("SELECT DISTINCT v FROM kept")).fetchall()
            assert await conn.scalar("SELECT @@character_set_results") == "utf8mb4"
    assert rows == [(value,)]


async def test_charset_that_one_of_several_statements_has_set_stays(
    connect_kwargs: dict[str, Any],
) -> None:
    async with (
        aiomysqlx.connect(**connect_kwargs, multi_statements=True) as raw,
        raw.cursor() as cursor,
    ):
        await cursor.execute("SET NAMES latin1; SELECT 1")
        while await cursor.nextset():
            pass
        await cursor.execute("SELECT %s, HEX(%s), @@character_set_client", ("é", "é"))
        assert await cursor.fetchone() == ("é", "E9", "latin1")


@pytest.mark.parametrize("way", ["execute", "show_warnings"])
async def test_warnings_of_a_failed_procedure_are_still_there(
    connect_kwargs: dict[str, Any], way: str
) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as raw, raw.cursor() as cursor:
        await cursor.execute("CREATE PROCEDURE p() SIGNAL SQLSTATE '45000'")
        with pytest.raises(err.OperationalError, match="1644"):
            await cursor.execute("CALL p()")
        if way == "execute":
            await cursor.execute("SHOW WARNINGS")
            rows = await cursor.fetchall()
        else:
            rows = tuple(await raw.show_warnings())
        assert rows[0][:2] == ("Error", 1644)


async def test_mode_that_has_not_changed_is_not_asked_for(conn: aiomysqlx.SAConnection) -> None:
    before = await conn.scalar("SHOW SESSION STATUS LIKE 'Com_set_option'")
    count = "SHOW SESSION STATUS LIKE 'Com_set_option'"
    assert before is not None
    first = (await (await conn.execute(count)).first())[1]
    await conn.scalar("SELECT %s", "\\'")
    assert (await (await conn.execute(count)).first())[1] == first
