"""Arguments of create_engine() about the pool, and passwords that are asked for."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults import faulty_proxy
from pymysql import err
from watch import at_rest, check_capacity, kill, lend, passed, until

import aiomysqlx as sa

Kwargs = dict[str, Any]
Admin = Any  # PyMySQL's connection
USER = "aiomysqlx_rotating"
SECRET = "s3cret"


# -- wrong values ----------------------------------------------------------------------------------

WRONG_SECONDS = [-1, "1", float("nan"), True, b"1"]
WRONG = {
    **{
        f"{name}-{value!r}": {name: value}
        for name in ("acquire_timeout", "max_lifetime", "max_idle", "statement_timeout")
        for value in WRONG_SECONDS
    },
    "statement_timeout-0": {"statement_timeout": 0},
    "ping-negative": {"pool_pre_ping": -1},
    "ping-text": {"pool_pre_ping": "yes"},
    "ping-nan": {"pool_pre_ping": float("nan")},
    "ping-none": {"pool_pre_ping": None},
    "init": {"init": "SET NAMES utf8mb4"},
    "reset": {"reset": "yes"},
    "reset-none": {"reset": None},
    "kill": {"kill_on_cancel": "yes"},
    "password-bytes": {"password": b"s3cret"},
    "password-number": {"password": 5},
    "keepalive-number": {"tcp_keepalive": 5},
    "keepalive-short": {"tcp_keepalive": (5, 5)},
    "keepalive-zero": {"tcp_keepalive": (0, 5, 5)},
    "keepalive-text": {"tcp_keepalive": ("5", "5", "5")},
}


@pytest.mark.parametrize("kwargs", WRONG.values(), ids=WRONG)
def test_wrong_argument_is_named_at_the_call(kwargs: Kwargs) -> None:
    (name,) = kwargs

    with pytest.raises(sa.ArgumentError, match=f"'{name}'") as caught:
        sa.create_engine(**kwargs)

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["kill_on_cancel", "tcp_keepalive", "password"])
async def test_wrong_argument_of_connect_is_named(name: str) -> None:
    with pytest.raises(sa.ArgumentError, match=f"'{name}'") as caught:
        wrong: Kwargs = {name: {SECRET: SECRET}}
        await sa.connect(**wrong)

    assert SECRET not in str(caught.value)


# -- passwords -------------------------------------------------------------------------------------


@pytest.fixture
def set_password(admin: Admin) -> Iterator[Callable[[str], None]]:
    """Create a user; give what changes its password."""

    def change(password: str) -> None:
        with admin.cursor() as cursor:
            cursor.execute(f"ALTER USER {USER}@'%%' IDENTIFIED BY %s", (password,))

    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")
        cursor.execute(f"CREATE USER {USER}@'%' IDENTIFIED BY 'first'")
        cursor.execute(f"GRANT ALL ON test_aiomysqlx.* TO {USER}@'%'")
    yield change
    with admin.cursor() as cursor:
        cursor.execute(f"DROP USER IF EXISTS {USER}@'%'")


@pytest.fixture
def user_kwargs(connect_kwargs: Kwargs, set_password: Callable[[str], None]) -> Kwargs:
    """The arguments that connect as that user, but for its password."""
    return {name: connect_kwargs[name] for name in ("host", "port", "db")} | {"user": USER}


class Vault:
    """Something to ask for a password, at once or in a while."""

    def __init__(self) -> None:
        self.password: Any = "first"
        self.error: BaseException | None = None
        self.asked = 0

    def __call__(self) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.password

    async def later(self) -> Any:
        await asyncio.sleep(0)
        return self()


@pytest.fixture(params=["sync", "async"])
def vault(request: pytest.FixtureRequest) -> tuple[Vault, Callable[[], Any]]:
    """A vault and how it is asked."""
    vault = Vault()
    return vault, vault if request.param == "sync" else vault.later


Asked = tuple[Vault, Any]


@pytest.mark.server
async def test_password_is_asked_for_at_every_new_connection(
    user_kwargs: Kwargs, vault: Asked, set_password: Callable[[str], None]
) -> None:
    safe, ask = vault
    async with sa.create_engine(**user_kwargs, password=ask, minsize=2, maxsize=4) as engine:
        await lend(engine, 2)
        assert safe.asked == 2
        safe.password = "zweites ♥"
        set_password(safe.password)

        await check_capacity(engine, 4)

        assert safe.asked == 4


@pytest.mark.server
async def test_connect_asks_for_the_password(user_kwargs: Kwargs, vault: Asked) -> None:
    async with (
        sa.connect(**user_kwargs, password=vault[1]) as connection,
        connection.cursor() as cursor,
    ):
        await cursor.execute("SELECT USER()")
        row = await cursor.fetchone()
        assert row is not None and row[0].startswith(USER)


@pytest.mark.server
async def test_password_in_the_arguments_is_not_asked_for_by_create_engine() -> None:
    vault = Vault()

    sa.create_engine(password=vault).close()

    assert vault.asked == 0


@pytest.mark.server
async def test_error_of_the_password_goes_to_whoever_asked(
    user_kwargs: Kwargs, vault: Asked
) -> None:
    safe, ask = vault
    async with sa.create_engine(**user_kwargs, password=ask, minsize=1, maxsize=2) as engine:
        async with engine.acquire():
            safe.error = LookupError("vault sealed")
            with pytest.raises(LookupError, match="vault sealed"):
                await asyncio.wait_for(engine.acquire(), 10)
            safe.error = None
        await check_capacity(engine, 2)


ERRORS = [
    TimeoutError("vault"),
    asyncio.TimeoutError("vault"),
    asyncio.CancelledError("vault"),
    ConnectionError("vault"),
    UnicodeEncodeError("ascii", "", 0, 0, "vault"),
    ValueError("vault"),
    err.OperationalError(2013, "vault"),
]


@pytest.mark.server
@pytest.mark.parametrize("limit", [10, None], ids=["limited", "unlimited"])
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
async def test_error_of_the_password_passes_as_it_is(
    user_kwargs: Kwargs, vault: Asked, error: BaseException, limit: float | None
) -> None:
    safe, ask = vault
    safe.error = error

    with pytest.raises(type(error)) as caught:
        await sa.connect(**user_kwargs, password=ask, connect_timeout=limit)

    # Python 3.10 makes another CancelledError of the one that ends a task.
    assert caught.value is error or isinstance(error, asyncio.CancelledError)
    assert caught.value.__cause__ is None


@pytest.mark.server
async def test_password_that_does_not_come_is_waited_for_within_the_limit(
    user_kwargs: Kwargs,
) -> None:
    async def ask() -> str:
        try:
            return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]
        finally:
            ended.append(True)

    ended: list[bool] = []
    with pytest.raises(err.OperationalError, match=r"timed out after 0\.05 seconds"):
        await sa.connect(**user_kwargs, password=ask, connect_timeout=0.05)
    await until(lambda: ended == [True])


@pytest.mark.server
async def test_wrong_password_is_the_servers_error_and_not_shown(
    user_kwargs: Kwargs, vault: Asked
) -> None:
    safe, ask = vault
    async with sa.create_engine(**user_kwargs, password=ask, minsize=1, maxsize=2) as engine:
        async with engine.acquire():
            safe.password = SECRET
            with pytest.raises(err.OperationalError, match="1045") as caught:
                await asyncio.wait_for(engine.acquire(), 10)
            assert SECRET not in str(caught.value) + repr(engine)
            assert not sa.is_disconnect(caught.value)
            safe.password = "first"
        await check_capacity(engine, 2)


@pytest.mark.server
@pytest.mark.parametrize("password", [None, SECRET.encode(), {SECRET: SECRET}])
async def test_what_is_no_password_is_refused_and_not_shown(
    user_kwargs: Kwargs, vault: Asked, password: Any
) -> None:
    safe, ask = vault
    safe.password = password

    with pytest.raises((sa.ArgumentError, err.OperationalError)) as caught:
        await sa.create_engine(**user_kwargs, password=ask)

    assert SECRET not in str(caught.value)


@pytest.mark.server
@pytest.mark.usefixtures("quiet")
async def test_password_that_cannot_be_had_in_the_background_is_asked_for_again(
    user_kwargs: Kwargs, vault: Asked, admin: Admin
) -> None:
    safe, ask = vault
    async with sa.create_engine(**user_kwargs, password=ask, minsize=1) as engine:
        (raw,) = await lend(engine, 1)
        safe.error = LookupError("vault sealed")
        kill(admin, raw)
        await until(lambda: safe.asked > 2)
        safe.error = None

        await until(lambda: at_rest(engine, 1))


# -- keepalive -------------------------------------------------------------------------------------


@pytest.mark.server
async def test_silent_peer_is_probed_as_asked_for(connect_kwargs: Kwargs) -> None:
    async with (
        faulty_proxy(connect_kwargs) as proxy,
        sa.connect(**proxy.kwargs, tcp_keepalive=(7, 3, 2)) as connection,
    ):
        # The library's own socket is not public: whatever socket leads to the proxy is it.
        found = [
            [tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
            + [
                tcp.getsockopt(socket.IPPROTO_TCP, option)
                for option in (
                    *(socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT),
                    socket.TCP_USER_TIMEOUT,
                )
            ]
            for tcp in sockets_to(proxy.kwargs["port"])
        ]
        assert found == [[1, 7, 3, 2, 13_000]]
        await passed(0.01)
        assert not connection.closed


def sockets_to(port: int) -> Iterator[Any]:
    """Give the process's sockets that are connected to a port."""
    for name in os.listdir("/proc/self/fd"):
        try:
            tcp = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with tcp:
            try:
                found = tcp.family == socket.AF_INET and tcp.getpeername()[1] == port
            except OSError:
                found = False
            if found:
                yield tcp
