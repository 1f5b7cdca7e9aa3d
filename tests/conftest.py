"""Fixtures of the whole suite: the twins, the event loops and a database server."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import platform
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import clusters
import pymysql
import pytest
import sqlalchemy
import uvloop
from clusters import Cluster, Galera, Group, Replicas
from faults import FaultyProxy, faulty_proxy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import Oracle
from pair import Pair, pair
from private_server import (
    Certificates,
    MortalServer,
    Server,
    ServerError,
    database_server,
    find_flavour,
    find_server,
    mortal_server,
    server_at,
)
from programs import RunProgram, programs
from sqlalchemy import Table
from sqlalchemy.schema import CreateTable
from twins import implementations, load

import aiomysqlx

DATABASE = "test_aiomysqlx"
OTHER_DATABASE = "test_aiomysqlx_other"
STARTED = itertools.count()
LOOP_PARAMETER = "_asyncio_loop_factory"  # by which pytest-asyncio has a test run on each loop
LoopFactory = Callable[[], asyncio.AbstractEventLoop]
LOOPS: dict[str, LoopFactory] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--loop",
        choices=(*LOOPS, "both"),
        default="asyncio",
        help="event loop that the asynchronous tests run on (default: asyncio)",
    )


def pytest_configure(config: pytest.Config) -> None:
    # The machine and the server may be busy; a fixture made once serves all its examples.
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    settings.register_profile("suite", deadline=None, suppress_health_check=slow)
    settings.load_profile("suite")
    if config.getoption("numprocesses", None) and os.environ.get("AIOMYSQLX_TEST_URL"):
        raise pytest.UsageError("each process needs a server of its own: unset AIOMYSQLX_TEST_URL")
    check_builds()
    # A terminated run stops its server in order, as an interrupted one does.
    signal.signal(signal.SIGTERM, interrupt)
    if hasattr(config, "workerinput"):
        # So pytest-xdist ends a process of its. What was started in the background ignores it.
        signal.signal(signal.SIGINT, interrupt)


def pytest_collection_finish() -> None:
    # Hypothesis asks the collector about what it draws from, before a test has that look away.
    draw_once()


@given(st.none())
def draw_once(_nothing: None) -> None:
    """Have Hypothesis make what it makes for the first example of a thread."""


def check_builds() -> None:
    """Raise a `UsageError` if what is compiled in the source folder is older than its text."""
    folder = Path(aiomysqlx.__file__).parent
    texts = [path for types in folder.rglob("*.pxd") for path in (types, types.with_suffix(".py"))]
    sources = [path for path in [*texts, *folder.rglob("*.pyx")] if path.exists()]
    newest = max((path.stat().st_mtime for path in sources), default=0)
    for library in folder.rglob("*.so"):
        if library.parent.name != "runtime":
            raise pytest.UsageError(f"{library} is of another build, and in the way: remove it")
        if library.stat().st_mtime < newest:
            raise pytest.UsageError(
                f"{library.name} is older than its source: pip install --no-deps -e . builds it"
            )


def interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def pytest_report_header(config: pytest.Config) -> list[str]:
    try:
        server = find_server()
    except ServerError as error:
        server = f"none: {error}"
    versions = ", ".join(
        f"{name} {version(name)}" for name in ("SQLAlchemy", "PyMySQL", "aiomysql")
    )
    return [
        f"implementation: {aiomysqlx.IMPLEMENTATION}, in {aiomysqlx.__path__[0]}",
        f"versions: {versions}, Python {platform.python_version()}",
        f"loop: {config.getoption('--loop')}",
        f"server: {server}",
    ]


def pytest_asyncio_loop_factories(config: pytest.Config) -> dict[str, LoopFactory]:
    wanted = config.getoption("--loop")
    return {name: factory for name, factory in LOOPS.items() if wanted in (name, "both")}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have tests that run event loops of their own do so with each that is asked for."""
    if "loop_name" in metafunc.fixturenames:
        metafunc.parametrize("loop_name", list(pytest_asyncio_loop_factories(metafunc.config)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of what the server at hand has not, and of what is not installed."""
    unavailable, both = unavailable_fixtures(), config.getoption("--loop") == "both"
    left_out = [
        item
        for item in items
        if unavailable & set(getattr(item, "fixturenames", ()))
        or missing_packages(item)
        or (both and is_said_twice(item))
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        out = set(left_out)
        items[:] = [item for item in items if item not in out]


def is_said_twice(item: pytest.Item) -> bool:
    """Tell whether a test says on this event loop what it has said on the other one."""
    if item.get_closest_marker("any_loop") is None:
        return False
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get(LOOP_PARAMETER) is LOOPS["uvloop"]


def missing_packages(item: pytest.Item) -> list[str]:
    wanted = [name for mark in item.iter_markers("needs") for name in mark.args]
    return [name for name in wanted if not is_installed(name)]


@functools.cache
def is_installed(name: str) -> bool:
    """Tell whether a module can be imported, which may be within a package that is not there."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def pytest_runtest_logstart() -> None:
    """Keep what pytest holds of earlier tests from the collector, which hundreds of tests call."""
    if next(STARTED) % 50 == 0:
        gc.collect()
        gc.freeze()


def unavailable_fixtures() -> set[str]:
    try:
        flavour = find_flavour()
    except ServerError:
        return set()  # every test that needs a server fails
    of_mariadb, of_mysql = {"mariadb", "replicas", "galera"}, {"mysql_only", "group"}
    names = of_mysql if flavour == "mariadb" else of_mariadb
    url = os.environ.get("AIOMYSQLX_TEST_URL")
    if url:
        names.add("tls")  # the certificates of a private server are the only ones known
        names |= {"mortal", "servers", "replicas", "galera", "group"}  # servers of the test's own
        if server_at(url).unix_socket is None:
            names.add("unix_socket")
    return names


@pytest.fixture
def new_loop(loop_name: str) -> LoopFactory:
    """What makes an event loop, for a test that runs its own."""
    return LOOPS[loop_name]


@pytest.fixture(params=implementations("binary"))
def binary(request: pytest.FixtureRequest) -> ModuleType:
    """One twin of `_binary`."""
    return load("binary", request.param)


@pytest.fixture(params=implementations("escape"))
def escape(request: pytest.FixtureRequest) -> ModuleType:
    """One twin of `_escape`."""
    return load("escape", request.param)


@pytest.fixture(params=implementations("packet"))
def packet(request: pytest.FixtureRequest) -> ModuleType:
    """One twin of `_packet`."""
    return load("packet", request.param)


@pytest.fixture(params=implementations("row"))
def row(request: pytest.FixtureRequest) -> ModuleType:
    """One twin of `_row`."""
    return load("row", request.param)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server at AIOMYSQLX_TEST_URL, else a private one; without a server the test fails."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(database_server(tls=True))
        except ServerError as error:
            pytest.fail(str(error), pytrace=False)
        yield server


@pytest.fixture(scope="session")
def tls(server: Server) -> Certificates:
    """The certificate files of the server and of a client, made for localhost and 127.0.0.1."""
    if server.certificates is None:
        pytest.fail("the certificates of the server at AIOMYSQLX_TEST_URL are not known")
    return server.certificates


@pytest.fixture
def unix_socket(server: Server) -> str:
    """The path of the server's Unix socket."""
    if server.unix_socket is None:
        pytest.fail("the Unix socket of the server at AIOMYSQLX_TEST_URL is not known")
    return server.unix_socket


@pytest.fixture(scope="session")
def own_server() -> Iterator[MortalServer]:
    """A private server besides the one that every test uses."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(mortal_server(durable=True))
        except ServerError as error:
            pytest.fail(str(error), pytrace=False)
        yield server


@pytest.fixture
def mortal(own_server: MortalServer) -> MortalServer:
    """A private server that runs, and that a test may kill; it loses nothing committed then."""
    own_server.revive()
    return own_server


def running(cluster: contextlib.AbstractContextManager[Cluster]) -> Iterator[Any]:
    """Keep a cluster running; a test that needs it fails where it does not start."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(cluster)
        except ServerError as error:
            pytest.fail(str(error), pytrace=False)
        yield started


def as_new(cluster: Any) -> Any:
    """Have every node of a cluster serve, the first be the primary, and the database be empty."""
    cluster.restore()
    cluster.empty()
    cluster.level()
    return cluster


@pytest.fixture(scope="session")
def own_replicas() -> Iterator[Replicas]:
    """A primary and its replicas, as the tests before have left them."""
    yield from running(clusters.replicas())


@pytest.fixture
def replicas(own_replicas: Replicas) -> Replicas:
    """A MariaDB primary with two replicas that a test may kill, stop, pause and promote."""
    return as_new(own_replicas)


@pytest.fixture(scope="session")
def own_galera() -> Iterator[Galera]:
    """Nodes of Galera, as the tests before have left them."""
    yield from running(clusters.galera())


@pytest.fixture
def galera(own_galera: Galera) -> Galera:
    """Three nodes of Galera that a test may kill, stop, pause and cut off."""
    return as_new(own_galera)


@pytest.fixture(scope="session")
def own_group() -> Iterator[Group]:
    """Members of Group Replication, as the tests before have left them."""
    yield from running(clusters.group())


@pytest.fixture
def group(own_group: Group) -> Group:
    """Three members of Group Replication, one of them the primary, that a test may kill."""
    return as_new(own_group)


@pytest.fixture(scope="session")
def admin(server: Server) -> Iterator[pymysql.Connection[Any]]:
    """A synchronous connection, PyMySQL's own, to prepare and look after what a test needs."""
    with pymysql.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        autocommit=True,
        ssl_disabled=True,
        init_command="SET SESSION lock_wait_timeout = 10",
    ) as connection:
        yield connection


def create_database(cursor: pymysql.cursors.Cursor, name: str) -> None:
    """Create a database, in the place of one that a test has not dropped."""
    create = f"CREATE DATABASE {name} CHARACTER SET utf8mb4"
    try:
        cursor.execute(create)
    except pymysql.ProgrammingError:  # 1007
        cursor.execute(f"DROP DATABASE {name}")
        cursor.execute(create)


@pytest.fixture
def database(admin: pymysql.Connection[Any]) -> Iterator[str]:
    """The name of an empty database, dropped after the test."""
    with admin.cursor() as cursor:
        create_database(cursor, DATABASE)
        yield DATABASE
        # A SLEEP takes seconds to notice that its client has gone, and keeps its tables until then.
        # Each test asks: this takes a tenth of the time of the information schema's table.
        cursor.execute("SHOW PROCESSLIST")
        for session, _, _, db, _, _, _, running, *_ in cursor.fetchall():
            if db == DATABASE and running is not None and session != admin.thread_id():
                with contextlib.suppress(pymysql.Error):  # it has ended by itself
                    cursor.execute(f"KILL {session}")
        cursor.execute(f"DROP DATABASE {DATABASE}")


@pytest.fixture
def other_database(admin: pymysql.Connection[Any], database: str) -> Iterator[str]:
    """The name of a second database, dropped after the test."""
    with admin.cursor() as cursor:
        create_database(cursor, OTHER_DATABASE)
        yield OTHER_DATABASE
        cursor.execute(f"DROP DATABASE IF EXISTS {OTHER_DATABASE}")


@pytest.fixture
def url(server: Server, database: str) -> str:
    """The URL of the test's database."""
    return server.url(database)


@pytest.fixture
def connect_kwargs(server: Server, database: str) -> dict[str, Any]:
    """The keyword arguments that connect to the test's database over TCP."""
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "db": database,
    }


@pytest.fixture
async def proxy(connect_kwargs: dict[str, Any]) -> AsyncIterator[FaultyProxy]:
    """A proxy in front of the test's server."""
    async with faulty_proxy(connect_kwargs) as proxy:
        yield proxy


@pytest.fixture
async def engine(connect_kwargs: dict[str, Any]) -> AsyncIterator[aiomysqlx.Engine]:
    """An engine of one to five connections."""
    engine = await aiomysqlx.create_engine(**connect_kwargs, minsize=1, maxsize=5)
    yield engine
    # A test that failed may not have returned its connections: close() would wait for them.
    engine.terminate()
    await engine.wait_closed()


@pytest.fixture
async def conn(engine: aiomysqlx.Engine) -> AsyncIterator[aiomysqlx.SAConnection]:
    """A connection of the engine."""
    async with engine.acquire() as conn:
        yield conn


@pytest.fixture
async def raw(connect_kwargs: dict[str, Any]) -> AsyncIterator[aiomysqlx.Connection]:
    """A driver connection without an engine."""
    raw = await aiomysqlx.connect(**connect_kwargs)
    yield raw
    raw.close()


@pytest.fixture
async def oracle(connect_kwargs: dict[str, Any], url: str) -> AsyncIterator[Oracle]:
    """The test's database, asked through SQLAlchemy's own engine and through ours."""
    sync = sqlalchemy.create_engine(
        url.replace("mysql:", "mysql+pymysql:"),
        # The prefix is for bytes in place of text; certificates of authorities take long to read.
        connect_args={"binary_prefix": True, "ssl_disabled": True},
    )
    async with (
        aiomysqlx.create_engine(**connect_kwargs, autocommit=True) as engine,
        engine.acquire() as conn,
    ):
        yield Oracle(sync, conn)
    sync.dispose()


@pytest.fixture
def create(conn: aiomysqlx.SAConnection) -> Callable[..., Awaitable[None]]:
    """Create tables in the test's database, which is dropped with them."""

    async def create(*tables: Table) -> None:
        for table in tables:
            await conn.execute(CreateTable(table))

    return create


@pytest.fixture
def fetch(conn: aiomysqlx.SAConnection) -> Callable[..., Awaitable[list[aiomysqlx.RowProxy]]]:
    """Execute a statement and give its rows."""

    async def fetch(*args: Any, **kwargs: Any) -> list[aiomysqlx.RowProxy]:
        result = await conn.execute(*args, **kwargs)
        return await result.fetchall()

    return fetch


@pytest.fixture
async def quiet() -> AsyncIterator[None]:
    """Fail the test if something went wrong where nobody waits for it."""
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    yield
    gc.collect()
    assert noise == []


@pytest.fixture(scope="session")
def run_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunProgram]:
    """What runs a program in a process of its own and gives what it said."""
    with programs(tmp_path_factory.mktemp("programs")) as run:
        yield run


@pytest.fixture(scope="module")
def servers() -> Iterator[Pair]:
    """A primary and its replica."""
    with pair() as both:
        yield both


@pytest.fixture
def both(servers: Pair) -> Pair:
    """The two, with an empty table t."""
    table = f"{servers.database}.t"
    servers.primary.ask(f"DROP TABLE IF EXISTS {table}")
    servers.primary.ask(f"CREATE TABLE {table} (id INT PRIMARY KEY) ENGINE=InnoDB")
    servers.catch_up()
    return servers


@pytest.fixture
def mariadb(server: Server) -> None:
    """Run the test on MariaDB only, for what MySQL does not have."""
    assert server.flavour == "mariadb"


@pytest.fixture
def mysql_only(server: Server) -> None:
    """Run the test on MySQL only, for what MariaDB does not have."""
    assert server.flavour == "mysql"
