"""Connections that are only pretended, and answer when they are told to; and a pool of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pymysql import err
from pymysql.constants import CR, SERVER_STATUS

from aiomysqlx.pool.home import Ages
from aiomysqlx.pool.pool import Pool
from aiomysqlx.settings import Hook
from aiomysqlx.upkeep import Upkeep
from aiomysqlx.wire.addresses import ANY, Address
from aiomysqlx.wire.hosts import Hosts
from aiomysqlx.wire.outcome import Refusal

HOSTS = Hosts((Address("pretended", 3306, None),))
OF_THE_NODE = Refusal(1047, "08S01", "WSREP has not yet prepared node for application use")


class FakeConnection:
    """What the pool sees of a connection."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.closed = False
        self.awaited = False
        self.lease = 0
        self.unfit: Refusal | None = None
        self.generation = 0
        self.loss = None
        self.node = "a"
        self.hosts, self.want = HOSTS, ANY
        self.address = HOSTS.addresses[0]
        self.overdue = self.silent = False
        self.server_status = 0
        self.wrote = False
        self.protocol = SimpleNamespace(replies=(), untold=0)
        self.as_begun = True
        self.connected_at = self.last_usage = asyncio.get_running_loop().time()
        self.rollbacks = self.proofs = 0
        # The pool's own first, which tests call.
        self.when_closed: list[Callable[[], object]] = []
        self.rest: asyncio.Future[None] | None = None
        self.rolling_back: asyncio.Future[None] | None = None

    def leave_stream(self) -> None:
        pass

    def __repr__(self) -> str:
        return f"<connection {self.number}>"

    @property
    def busy(self) -> bool:
        return self.rest is not None and not self.rest.done()

    @property
    def in_transaction(self) -> bool:
        return self.server_status & SERVER_STATUS.SERVER_STATUS_IN_TRANS != 0

    @property
    def owes_rollback(self) -> bool:
        return self.in_transaction

    @property
    def at_rest(self) -> bool:
        return not (self.closed or self.busy or self.in_transaction) and self.as_begun

    def leave_unread(self) -> None:
        self.rest = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        if self.rest is not None and not self.rest.done():
            self.rest.set_result(None)
        if self.rolling_back is not None and not self.rolling_back.done():
            self.server_status = 0
            self.rolling_back.set_result(None)

    async def settled(self) -> bool:
        if self.rest is not None:
            await asyncio.shield(self.rest)
        return not self.closed

    async def ping(self) -> None:
        if self.closed:
            raise err.Error("Already closed")

    async def prove(self) -> None:
        self.proofs += 1
        if self.silent:
            raise asyncio.TimeoutError
        await self.ping()

    def refuse_work(self) -> None:
        """Answer that its node does not do the work for anybody."""
        self.unfit = OF_THE_NODE
        self.when_unfit()

    def on_lost(self, call: Callable[[], object]) -> None:
        self.when_closed.append(call)
        if len(self.when_closed) == 1:
            self.when_lost = call

    def on_unfit(self, call: Callable[[], object]) -> None:
        self.when_unfit = call

    def start_rollback(self) -> asyncio.Future[None]:
        self.rollbacks += 1
        self.rolling_back = asyncio.get_running_loop().create_future()
        return self.rolling_back

    async def learn_transaction(self) -> None:
        """Learn nothing."""

    def observed_by_log_alone(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def forget_gtid(self) -> None:
        """Do nothing: there is none."""

    async def query(self, sql: str, *, always: bool = False) -> None:
        if sql == "ROLLBACK":
            self.server_status = 0

    async def keep(self) -> None:
        self.as_begun = True

    async def put_back(self) -> bool:
        self.as_begun = True
        return True

    def close(self, reason: str | None = None) -> None:
        self.closed = True
        self.finish()
        for call in self.when_closed[1:]:
            call()

    async def ensure_closed(self) -> None:
        self.close()


class FakeServer:
    """Opens connections, at once or when it is told to."""

    def __init__(self, kind: type[FakeConnection] = FakeConnection) -> None:
        self.kind = kind
        self.opened: list[FakeConnection] = []
        self.attempts: list[asyncio.Future[None]] = []
        self.slow = False
        self.refuses = False
        self.node = "a"  # of what is opened
        self.code: int = CR.CR_CONN_HOST_ERROR  # of what it refuses with

    async def connect(self) -> Any:
        if self.slow:
            attempt = asyncio.get_running_loop().create_future()
            self.attempts.append(attempt)
            await attempt
        if self.refuses:
            raise refusal(self.code)
        connection = self.kind(len(self.opened))
        connection.node = self.node
        self.opened.append(connection)
        return connection

    @property
    def pending(self) -> list[asyncio.Future[None]]:
        return [attempt for attempt in self.attempts if not attempt.done()]

    def accept(self) -> None:
        self.pending[0].set_result(None)

    def refuse(self) -> None:
        self.pending[0].set_exception(refusal(self.code))


def refusal(code: int) -> err.OperationalError:
    """Return what opening a connection raises."""
    return err.OperationalError(code, "Refused")


def pool_of(
    server: FakeServer,
    minsize: int,
    maxsize: int | None,
    recycle: float = -1,
    *,
    init: Hook | None = None,
    reset: Hook | None = None,
    max_waiting: int = 0,
    patience: float = 0,
    **times: Any,
) -> Pool[Any]:
    """Make a pool of a server's connections, not opened yet."""
    upkeep = Upkeep(server.connect, init=init, reset=reset)
    ages = Ages(asyncio.get_running_loop(), recycle, **times)
    return Pool(upkeep, minsize, maxsize, ages, max_waiting, patience)
