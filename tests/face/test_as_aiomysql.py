"""Code for aiomysql's driver, run with aiomysql and with this package: both do the same."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import decimal
import enum
import importlib
import inspect
import itertools
import pathlib
import sys
import tempfile
import uuid
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import aiomysql
import aiomysql.cursors
import pytest
from pymysql import err
from pymysql.constants import CLIENT

import aiomysqlx

pytestmark = pytest.mark.server

Kwargs = dict[str, Any]
# With the module, how to connect by it, and what keeps what is seen.
Script = Callable[[Any, Kwargs, list[Any]], Awaitable[None]]
SCRIPTS: dict[str, Script] = {}


def script(function: Script) -> Script:
    """Have a function be run with each of the two modules."""
    SCRIPTS[function.__name__.replace("_", " ")] = function
    return function


async def outcome(work: Any) -> Any:
    """Give the value of something that may be awaited, or the name of its error's known class."""
    try:
        value = work()
        return await value if inspect.isawaitable(value) else value
    except Exception as error:
        return next(kind.__name__ for kind in KNOWN if isinstance(error, kind))


# Of PyMySQL and of Python, the particular before the general.
KNOWN = (
    *(err.ProgrammingError, err.OperationalError, err.NotSupportedError, err.InterfaceError),
    *(RuntimeError, TypeError, IndexError, err.Error),
)


@contextlib.asynccontextmanager
async def connected(module: Any, kwargs: Kwargs, **more: Any) -> Any:
    connection = await module.connect(**{**kwargs, "autocommit": True, **more})
    try:
        yield connection
    finally:
        connection.close()


TABLE = "CREATE TEMPORARY TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, a VARCHAR(20), n INT)"


def state(cursor: Any) -> tuple[Any, ...]:
    return cursor.rowcount, cursor.lastrowid, cursor.rownumber, cursor.description


@script
async def the_attributes_of_a_cursor(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        seen += [cursor.connection is conn, cursor.echo, cursor.closed, cursor.arraysize]
        seen.append(state(cursor))
        for sql, args in (
            (TABLE, None),
            ("INSERT INTO t (a, n) VALUES (%s, %s)", ("x", 1)),
            ("INSERT INTO t (a, n) VALUES (%(a)s, %(n)s)", {"a": "%", "n": None}),
            ("SELECT a, n FROM t WHERE a = %s OR 1", ["it's"]),
            ("UPDATE t SET n = n", None),
            ("UPDATE t SET n = 5", ()),
            ("DELETE FROM t", None),
            ("SELECT 5 AS five, '%%' AS percent, %s", 7),
        ):
            seen.append(await outcome(lambda sql=sql, args=args: cursor.execute(sql, args)))
            seen += [state(cursor), cursor._last_executed]
            seen += [await cursor.fetchone(), await cursor.fetchone(), await cursor.fetchall()]
        seen += [await cursor.execute(b"SELECT 'bytes'"), await cursor.fetchone()]
        await conn.set_charset("latin1")
        seen += [await cursor.execute("SELECT 'caf\xe9'"), await cursor.fetchone()]
        await conn.set_charset("utf8mb4")
        seen.append(cursor._last_executed)
        seen += [await cursor.close(), await cursor.close(), cursor.closed, cursor.connection]
        seen.append(await outcome(lambda: cursor.execute("SELECT 1")))


@script
async def what_is_asked_of_a_cursor_too_early(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        for call in (
            cursor.fetchone,
            cursor.fetchmany,
            cursor.fetchall,
            cursor.nextset,
            lambda: cursor.scroll(1),
            lambda: cursor.executemany("SELECT 1", []),
        ):
            seen.append(await outcome(call))


@script
async def scrolling_and_fetching(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        for kind in (module.Cursor, module.DictCursor):
            cursor = await conn.cursor(kind)
            await cursor.execute("SELECT 1 AS a UNION SELECT 2 UNION SELECT 3 ORDER BY a")
            for call in (
                cursor.fetchone,
                lambda cursor=cursor: cursor.scroll(1),
                cursor.fetchone,
                lambda cursor=cursor: cursor.scroll(0, mode="absolute"),
                lambda cursor=cursor: cursor.fetchmany(2),
                lambda cursor=cursor: cursor.scroll(9),
                lambda cursor=cursor: cursor.scroll(-9),
                lambda cursor=cursor: cursor.scroll(1, mode="sideways"),
                cursor.fetchall,
                cursor.fetchone,
                cursor.fetchall,
            ):
                seen += [await outcome(call), cursor.rownumber]
            await cursor.execute("SELECT 1 AS a UNION SELECT 2")
            seen.append([row async for row in cursor])


@script
async def many_rows(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        await cursor.execute(TABLE)
        pairs = [("x", 1), ("y", 2), ("z", 3)]
        named = [{"a": "x", "n": 1}, {"a": "y", "n": 2}]
        for sql, rows in (
            ("INSERT INTO t (a,n) VALUES (%s,%s)", pairs),
            ("insert\ninto t (a,\nn)\nvalues (\n%s,\n%s )\n ", pairs),
            ("INSERT INTO t (a, n) VALUES (%s, %s)", pairs[:1]),
            ("INSERT INTO t (a, n) VALUES (%(a)s, %(n)s)", named),
            ("INSERT INTO t (a, n) VALUES (%s, %s) ON DUPLICATE KEY UPDATE n=VALUES(n)", pairs),
            ("REPLACE INTO t (a, n) VALUES (%s, %s)", pairs),
            ("UPDATE t SET n = %s WHERE a = %s", [(7, "x"), (8, "y")]),
            ("DELETE FROM t WHERE a = %s", ["x", "y"]),
        ):
            seen.append(await cursor.executemany(sql, rows))
            seen += [cursor._last_executed, cursor.rowcount]
            seen.append(conn.affected_rows())
        await cursor.execute("SELECT a, n FROM t ORDER BY id")
        seen.append(await cursor.fetchall())


@script
async def several_results(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        for kind in (module.Cursor, module.DictCursor):
            cursor = await conn.cursor(kind)
            await cursor.execute("SELECT 1 AS a; SELECT 2 AS b; SELECT 3 AS c")
            seen.append(list(await cursor.fetchall()))
            while await cursor.nextset():
                seen.append(list(await cursor.fetchall()))
            seen.append(await cursor.nextset())
            await cursor.execute("SELECT 4 AS a; SELECT 5 AS b")
            seen.append(await cursor.nextset())
            seen.append(list(await cursor.fetchall()))
            await cursor.close()
        cursor = await conn.cursor()
        await cursor.execute("SELECT 1; SELECT 2")
        other = await conn.cursor()
        await other.execute("SELECT 3")
        seen.append(await other.fetchall())


@script
async def procedures(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        await cursor.execute("DROP PROCEDURE IF EXISTS doubled")
        await cursor.execute(
            "CREATE PROCEDURE doubled (INOUT n INT) BEGIN SELECT n; SET n = 2 * n; END"
        )
        seen += [await cursor.callproc("doubled", (4,)), await cursor.fetchall()]
        seen += [await cursor.nextset(), await cursor.nextset()]
        await cursor.execute("SELECT @_doubled_0")
        seen.append(await cursor.fetchone())
        await cursor.execute("DROP PROCEDURE doubled")
        seen.append(await outcome(lambda: cursor.callproc("absent", (1,))))


class Colour(enum.Enum):
    RED = "red"


class Size(str, enum.Enum):
    SMALL = "small"


VALUES: list[Any] = [
    *(None, True, 0, -5, 1 << 63, 1.5, 1e300, decimal.Decimal("1.50"), "", "it's \\ \0 ♥", "%s"),
    *(uuid.UUID(int=5), pathlib.PurePosixPath("/x"), Colour.RED, Size.SMALL, range(3), object),
    *(datetime.date(2020, 2, 29), datetime.datetime(2020, 2, 29, 1, 2, 3, 4), datetime.time(1, 2)),
    datetime.timedelta(days=1, seconds=5),
]


@script
async def emoji_in_what_is_called_utf8(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    for charset in ("utf8", "utf8mb4"):
        async with connected(module, kwargs, charset=charset) as conn, conn.cursor() as cursor:
            await cursor.execute("SET sql_mode = ''")
            await cursor.execute("CREATE TEMPORARY TABLE e (a VARCHAR(9) CHARACTER SET utf8mb4)")
            await cursor.execute("INSERT INTO e VALUES (%s)", ("a\N{DOG FACE}b",))
            await cursor.execute("SELECT a, @@character_set_client, @@character_set_results FROM e")
            seen.append(await cursor.fetchall())
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "my.cnf")
        file.write_text("[client]\ndefault-character-set=utf8\n")
        read = connected(module, kwargs, read_default_file=str(file))
        async with read as conn, conn.cursor() as cursor:
            await cursor.execute("SELECT @@character_set_client")
            seen.append(await cursor.fetchall())
    pools = module.create_pool(**kwargs, charset="utf8")
    async with pools as pool, pool.acquire() as conn, conn.cursor() as cursor:
        await cursor.execute("SELECT @@character_set_client")
        seen.append(await cursor.fetchall())


@script
async def values_of_many_types(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        for value in VALUES:
            await cursor.execute("SELECT %s", (value,))
            (row,) = await cursor.fetchall()
            seen.append((repr(value), type(row[0]), row[0]))
        seen += [conn.escape("it's"), conn.literal("\\"), conn.escape(None), conn.escape(5)]
        seen.append(conn.escape_string("a'b\\c"))
        for value in (None, 12, b"it's", datetime.date(2020, 1, 2)):
            with pytest.raises((TypeError, AttributeError, module.Error)):
                conn.escape_string(value)
        seen.append(cursor.mogrify("SELECT %s, %s, '%%'", ("a'b", None)))
        seen.append(cursor.mogrify("SELECT '%'"))


@script
async def errors(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        await cursor.execute(TABLE)
        await cursor.execute("INSERT INTO t VALUES (1, 'x', 1)")
        for sql in (
            "SELEKT",
            "SELECT * FROM absent",
            "SELECT absent FROM t",
            "INSERT INTO t VALUES (1, 'x', 1)",
            "INSERT INTO t VALUES (2, 'x', 99999999999999)",
        ):
            with pytest.raises(module.Error) as caught:
                await cursor.execute(sql)
            seen += [type(caught.value), caught.value.args[0]]
            for name in ("ProgrammingError", "DatabaseError", "MySQLError", "InterfaceError"):
                seen.append(isinstance(caught.value, getattr(module, name)))
        seen.append(await cursor.execute("SELECT 1"))
        seen.append(await outcome(lambda: conn.select_db("absent")))
        seen.append(await outcome(lambda: conn.kill(1 << 30)))
        seen.append(await outcome(lambda: conn.cursor(int)))
        for name in ("Error", "Warning", "IntegrityError", "NotSupportedError"):
            seen.append(getattr(conn, name) is getattr(cursor, name) is getattr(module, name))


@script
async def what_a_cursor_has_after_an_error(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        for kind in (module.Cursor, module.DictCursor):
            cursor = await conn.cursor(kind)
            with pytest.raises(module.Error):
                await cursor.execute("SELEKT")
            seen += [state(cursor), await outcome(cursor.fetchall)]
            for failing in (
                lambda c: c.execute("SELEKT"),
                lambda c: c.execute("SELECT %s, %s", (1,)),
                lambda c: c.callproc("absent"),
                lambda c: c.executemany("INSERT INTO absent VALUES (%s)", [(1,), (2,)]),
                lambda c: c.executemany("UPDATE absent SET n = %s", [(1,), (2,)]),
                lambda c: c.executemany("SELECT %s", [(1, 2), (2, 3)]),
            ):
                await cursor.execute("SELECT 1 AS one UNION SELECT 2")
                with pytest.raises((module.Error, TypeError)):
                    await failing(cursor)
                seen += [state(cursor), list(await cursor.fetchall()), await cursor.fetchone()]


@script
async def what_a_connection_tells(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs, autocommit=False, program_name="mine") as conn:
        seen += [conn.host, conn.port, conn.user, conn.db, conn.unix_socket, conn.charset]
        seen += [conn.echo, conn.closed, conn.get_autocommit(), conn.autocommit_mode]
        seen += [conn.loop is asyncio.get_running_loop(), type(conn.last_usage)]
        seen += [conn.get_host_info().partition(":")[0], conn.get_proto_info()]
        seen += [conn.get_server_info(), conn.character_set_name(), type(conn.thread_id())]
        seen += [conn.get_transaction_status(), conn.insert_id(), conn.affected_rows()]
        cursor = await conn.cursor()
        await cursor.execute("CREATE TABLE told (id INT PRIMARY KEY AUTO_INCREMENT) ENGINE=InnoDB")
        await cursor.execute("INSERT INTO told VALUES (NULL), (NULL)")
        seen += [conn.insert_id(), conn.affected_rows(), conn.get_transaction_status()]
        await conn.rollback()
        seen += [conn.get_transaction_status(), await conn.begin(), conn.get_transaction_status()]
        seen += [await conn.commit(), conn.get_transaction_status()]
        await conn.autocommit(True)
        seen += [conn.get_autocommit(), await conn.query("SELECT 1"), conn.affected_rows()]
        await conn.set_charset("latin1")
        seen += [conn.charset, conn.encoding, await conn.ping(), conn.closed]
        await cursor.execute("DROP TABLE told")


@script
async def what_the_latest_statement_has_counted(
    module: Any, kwargs: Kwargs, seen: list[Any]
) -> None:
    async with connected(module, kwargs) as conn, connected(module, kwargs) as other:
        cursor = await conn.cursor()
        await cursor.execute(TABLE)
        for call in (
            conn.begin,
            conn.commit,
            conn.rollback,
            conn.ping,
            lambda: conn.ping(reconnect=False),
            lambda: conn.autocommit(False),
            lambda: conn.autocommit(True),
            lambda: conn.select_db(kwargs["db"]),
            lambda: conn.set_charset("utf8mb4"),
            lambda: conn.kill(other.thread_id()),
            lambda: conn.kill(0),
            lambda: conn.query("SELECT nonsense"),
            lambda: cursor.execute("nonsense"),
            lambda: conn.query("COMMIT"),
            lambda: cursor.execute("COMMIT"),
        ):
            await cursor.execute("INSERT INTO t (a) VALUES ('x'), ('y')")
            await outcome(call)
            seen += [conn.affected_rows(), conn.insert_id()]


@script
async def warnings_of_the_server(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            await cursor.execute("SELECT CAST('abc' AS SIGNED)")
        seen += [str(each.message) for each in caught]
        seen += [issubclass(each.category, module.Warning) for each in caught]
        seen.append(await conn.show_warnings())
        await cursor.execute("SELECT 1")
        seen.append(await conn.show_warnings())


@script
async def a_connection_that_is_closed(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        cursor = await conn.cursor()
        conn.close()
        seen += [conn.closed, conn.close()]
        for call in (
            conn.cursor,
            lambda: cursor.execute("SELECT 1"),
            conn.commit,
            lambda: conn.ping(reconnect=False),
            conn.ping,
        ):
            seen += [await outcome(call), conn.closed]
        await cursor.execute("SELECT 5")
        seen += [await cursor.fetchone(), await conn.ensure_closed(), conn.closed]
        seen.append(await conn.ensure_closed())


@script
async def unbuffered_cursors(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    numbers = "SELECT 1 AS a UNION SELECT 2 UNION SELECT 3"
    async with connected(module, kwargs) as conn:
        for kind in (module.SSCursor, module.SSDictCursor):
            cursor = await conn.cursor(kind)
            await cursor.execute(numbers)
            seen += [cursor.rowcount, cursor.rownumber, await cursor.fetchone()]
            seen += [await cursor.fetchmany(1), cursor.rownumber, await cursor.fetchall()]
            seen += [await cursor.fetchone(), await cursor.fetchall(), await cursor.fetchmany(2)]
            await cursor.execute(numbers)
            seen += [await cursor.scroll(1), await cursor.fetchone()]
            seen.append(await outcome(lambda cursor=cursor: cursor.scroll(-1)))
            seen.append(await outcome(lambda cursor=cursor: cursor.scroll(0, mode="absolute")))
            seen.append([row async for row in cursor])
            await cursor.execute(numbers)
            other = await conn.cursor()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                await other.execute("SELECT 5")
            seen += [str(each.message) for each in caught]
            seen += [await other.fetchone(), await cursor.fetchone()]


@script
async def several_classes_of_cursors(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with connected(module, kwargs) as conn:
        for kind in ("DeserializationCursor", "DictCursor"):
            cursor = await conn.cursor(getattr(module.cursors, kind))
            await cursor.execute("SELECT '[1]' AS a, NULL AS b")
            seen += [await cursor.fetchone(), list(await cursor.fetchall())]
        cursor = await conn.cursor(module.cursors.DeserializationCursor, module.DictCursor)
        await cursor.execute("SELECT '[1]' AS a, NULL AS b")
        seen.append(await cursor.fetchone())
        names = ("DictCursor", "SSCursor", "SSDictCursor", "DeserializationCursor")
        for some in (*itertools.permutations(names, 2), *itertools.permutations(names, 3)):
            kinds = [getattr(module.cursors, name) for name in some]
            if (made := await outcome(lambda kinds=kinds: conn.cursor(*kinds))) == "TypeError":
                seen.append(made)
                continue
            await made.execute("SELECT JSON_ARRAY(1) AS a UNION ALL SELECT JSON_ARRAY(2)")
            seen += [type(made).__name__, await made.fetchone(), list(await made.fetchall())]
    dicts = connected(module, kwargs, cursorclass=module.DictCursor)
    async with dicts as conn, conn.cursor() as cursor:
        await cursor.execute("SELECT 1 AS a, 2 AS a")
        seen.append(await cursor.fetchall())


@script
async def odd_arguments_of_connect(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    for more in (
        *({"password": None}, {"charset": None}, {"autocommit": 1}, {"echo": 0}, {"db": ""}),
        *({"user": None}, {"unix_socket": ""}, {"local_infile": 1}),
        *({"program_name": None}, {"auth_plugin": None}, {"use_unicode": True}),
        *({"client_flag": CLIENT.LOCAL_FILES}, {"client_flag": CLIENT.FOUND_ROWS}),
        *({"sql_mode": "ANSI"}, {"init_command": "SET @a = 1"}, {"connect_timeout": 5}),
        {"loop": asyncio.get_running_loop()},
    ):
        try:
            async with connected(module, kwargs, **more) as conn, conn.cursor() as cursor:
                await cursor.execute("SELECT @@sql_mode, @a, @@autocommit")
                seen.append(await cursor.fetchone())
        except err.OperationalError as error:
            seen.append(error.args[0])


@script
async def a_pool(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    pool = await module.create_pool(minsize=2, maxsize=3, **kwargs)

    def look() -> None:
        seen.append((pool.size, pool.freesize, len(pool._free), len(pool._used), pool.closed))

    seen += [pool.minsize, pool.maxsize, pool.echo, isinstance(pool, module.Pool)]
    look()
    first = await pool.acquire()
    seen += [isinstance(first, module.Connection), pool._used == {first}]
    look()
    second, third = await asyncio.gather(pool.acquire(), pool.acquire())
    look()
    waiting = asyncio.ensure_future(pool.acquire())
    await asyncio.sleep(0)
    seen.append(waiting.done())
    await pool.release(first)
    seen.append(await waiting is first)
    for conn in (first, second, third):
        pool.release(conn)
    look()
    again = await pool.acquire()
    seen.append(again is first)
    pool.release(again)
    async with pool.acquire() as conn:
        look()
        async with conn.cursor() as cursor:
            await cursor.execute("SELECT 1")
            seen.append(await cursor.fetchone())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # aiomysql's
        with await pool as conn:
            seen.append(isinstance(conn, module.Connection))
            look()
    seen.append(await outcome(pool.__enter__))
    seen.append(await outcome(pool.wait_closed))
    held = await pool.acquire()
    seen += [pool.close(), pool.closed]
    seen.append(await outcome(pool.acquire))
    pool.release(held)
    seen += [held.closed, await pool.wait_closed(), await pool.wait_closed()]
    look()


@script
async def a_pool_without_connections_at_first(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    async with module.create_pool(minsize=0, maxsize=0, echo=True, **kwargs) as pool:
        seen += [pool.minsize, pool.maxsize, pool.size, pool.freesize, pool.echo]
        conn = await pool.acquire()
        seen += [pool.size, pool.freesize, conn.echo]
        await pool.release(conn)
        seen += [pool.size, pool.freesize, await pool.clear(), pool.size, pool.freesize]
        conn = await pool.acquire()
        conn.close()
        await pool.release(conn)
        seen += [pool.size, pool.freesize]
    seen += [pool.closed, pool.size]


@script
async def a_pool_that_is_terminated(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    pool = await module.create_pool(**kwargs)
    conn = await pool.acquire()
    pool.terminate()
    seen += [conn.closed, await pool.wait_closed(), pool.closed]
    pool.release(conn)
    seen.append(await outcome(pool.acquire))


@script
async def wrong_sizes_of_a_pool(module: Any, kwargs: Kwargs, seen: list[Any]) -> None:
    for sizes in ((-1, 10), (5, 2), (1, -1)):
        with pytest.raises(ValueError, match="should be") as caught:
            await module.create_pool(*sizes, **kwargs)
        seen.append(isinstance(caught.value, ValueError))


@pytest.mark.filterwarnings("ignore::aiomysqlx.ServerWarning", "ignore::pymysql.err.Warning")
@pytest.mark.parametrize("run", SCRIPTS.values(), ids=SCRIPTS)
async def test_both_do_the_same(run: Script, connect_kwargs: Kwargs) -> None:
    theirs: list[Any] = []
    ours: list[Any] = []

    await run(aiomysql, connect_kwargs, theirs)
    await run(aiomysqlx, connect_kwargs, ours)

    assert len(theirs) == len(ours)
    for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        assert our == their, f"step {number}"
        assert type(our) is type(their) or isinstance(our, type), f"step {number}"


def test_every_name_of_aiomysql_is_there() -> None:
    assert set(aiomysql.__all__) <= set(aiomysqlx.__all__)
    for name in aiomysql.__all__:
        theirs, ours = getattr(aiomysql, name), getattr(aiomysqlx, name)
        if name.endswith(("Error", "Warning")):
            assert ours is theirs


def test_texts_are_escaped_as_in_aiomysql() -> None:
    assert aiomysqlx.escape_string("a'b\\") == aiomysql.escape_string("a'b\\")
    # Newer versions of PyMySQL have taken these away.
    assert aiomysqlx.escape_sequence([1, "a'"]) == "(1,'a\\'')"
    assert aiomysqlx.escape_dict({"a": None}, "utf8mb4") == {"a": "NULL"}


CLASSES = ["Connection", "Pool", "Cursor", "DictCursor", "SSCursor", "SSDictCursor"]
# What is of asyncio's servers, which a pool of aiomysql's is one of, and what is of its inside.
BESIDES = {*dir(asyncio.AbstractServer)} - {"close", "wait_closed"}
BESIDES |= {
    "write_packet",
    "max_stmt_length",
    "caching_sha2_password_auth",
    "sha256_password_auth",
    "next_result",
}


@pytest.mark.parametrize("name", [*CLASSES, "cursors.DeserializationCursor"])
def test_every_public_method_takes_what_aiomysqls_takes(name: str) -> None:
    theirs, ours = aiomysql, aiomysqlx
    for part in name.split("."):
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    methods = {each for each in dir(theirs) if not each.startswith("_")} - BESIDES
    assert methods <= {
        *dir(ours),
        "connection",
        "description",
        "lastrowid",
        "rowcount",
        "arraysize",
    }
    for method in methods:
        member = inspect.getattr_static(theirs, method)
        if inspect.isfunction(member):
            wanted = list(inspect.signature(member).parameters)
            got = list(inspect.signature(getattr(ours, method)).parameters)
            assert got[: len(wanted)] == wanted, method


@pytest.mark.parametrize("name", ["connect", "create_pool"])
def test_functions_take_what_aiomysqls_take_in_their_order(name: str) -> None:
    theirs = inspect.signature(getattr(aiomysql, name)).parameters.values()
    there = aiomysqlx.Connection if name == "connect" else aiomysqlx.create_pool
    ours = list(inspect.signature(there).parameters.values())
    by_name = {each.name: each for each in ours}
    assert [each.name for each in theirs] == [each.name for each in ours[: len(theirs)]]
    for each in theirs:
        if each.kind is not each.VAR_KEYWORD and each.name not in (
            *("conv", "cursorclass", "connect_timeout"),
        ):
            assert by_name[each.name].default == each.default, each.name


@pytest.mark.parametrize(
    ("module", "name"),
    [
        *(("", "Connection"), ("", "Pool"), ("cursors", "DictCursor"), ("pool", "Pool")),
        *(("pool", "create_pool"), ("connection", "Connection"), ("connection", "connect")),
        *(("sa", "create_engine"), ("sa.engine", "Engine"), ("sa.result", "RowProxy")),
        *(("sa.connection", "SAConnection"), ("sa.transaction", "RootTransaction")),
        ("sa.exc", "ResourceClosedError"),
    ],
)
def test_module_has_the_name_that_aiomysqls_has(module: str, name: str) -> None:
    path = ".".join(filter(None, ("aiomysqlx", module)))

    found = getattr(importlib.import_module(path), name)

    assert found is not None and path in sys.modules
