"""Transfers between accounts on a cluster that breaks, and what must hold of them afterwards.

Tasks move money between accounts while faults happen, one after the other, chosen at random. Each
operation has a number of its own, and what its task was told of it is compared with what every
node has in the end: what was acknowledged is there once, what nobody knows at most once, and what
has failed is not there.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TextIO

from clusters import Cluster, Node
from pymysql import err

import aiomysqlx as sa

ACCOUNTS = 20
EACH = 1000
# What one operation may take at most: a wait for a connection, for the answer to a statement and
# for what is left of it, and one more of each on the way.
DEADLINE = 20.0
ACQUIRE_SECONDS = 5.0
STATEMENT_SECONDS = 3.0
QUIET_SECONDS = 1.0  # of undisturbed service between two faults
SERVICE_SECONDS = 90.0  # how long a fault may keep everybody from the service
SCHEMA = (
    "CREATE TABLE accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL) ENGINE=InnoDB",
    (
        "CREATE TABLE operations (id INT PRIMARY KEY, source INT NOT NULL, target INT NOT NULL,"
        " amount INT NOT NULL) ENGINE=InnoDB"
    ),
)
MOVE = "UPDATE accounts SET balance = balance + %s WHERE id = %s"
NOTE = "INSERT INTO operations VALUES (%s, %s, %s, %s)"
TOTAL = "SELECT CAST(SUM(balance) AS SIGNED) FROM accounts"

NOT_BEGUN, ACKNOWLEDGED, UNKNOWN, FAILED = range(4)
WORDS = ("not begun", "acknowledged", "unknown", "failed")


@dataclass(frozen=True)
class Transfer:
    """One operation."""

    number: int
    source: int
    target: int
    amount: int

    @property
    def row(self) -> tuple[int, int, int, int]:
        return self.number, self.source, self.target, self.amount


@dataclass
class Ledger:
    """What tasks were told of their operations: a byte for each, and errors in a file."""

    log: TextIO
    fates: bytearray = field(default_factory=bytearray)
    errors: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    # When an operation was acknowledged last, and the longest time in which none was.
    latest: float = field(default_factory=time.monotonic)
    gap: float = 0.0

    def begin(self) -> int:
        """Give the number of a new operation."""
        self.fates.append(NOT_BEGUN)
        return len(self.fates) - 1

    def end(self, number: int, fate: int, error: BaseException | None = None) -> None:
        """Take note of what a task was told."""
        self.fates[number] = fate
        if fate == ACKNOWLEDGED:
            now = time.monotonic()
            self.gap = max(self.gap, now - self.latest)
            self.latest = now
        if error is not None:
            code = error.args[0] if isinstance(error, err.MySQLError) and error.args else ""
            self.errors[f"{WORDS[fate]}: {type(error).__name__} {code}".rstrip()] += 1
            print(f"{number}: {WORDS[fate]} at {time.monotonic():.3f}, {error!r}", file=self.log)

    def count(self, fate: int) -> int:
        return self.fates.count(fate)

    def check(self, there: set[int], where: str) -> list[str]:
        """Give what one node has otherwise than it was told."""
        wrong = []
        for number, fate in enumerate(self.fates):
            if (fate == ACKNOWLEDGED) != (number in there) and fate != UNKNOWN:
                state = "there" if number in there else "not there"
                wrong.append(f"{where}: operation {number}, {WORDS[fate]}, is {state}")
        return wrong


@dataclass
class Service:
    """The tasks that transfer, and readers that look after them."""

    cluster: Cluster
    seed: str
    ledger: Ledger
    violations: list[str] = field(default_factory=list)
    stopped: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def engine(self, **more: Any) -> Any:
        """Create an engine as such a service has it."""
        return sa.create_engine(
            host=self.cluster.hosts,
            user="app",
            db="test",
            target_session_attrs="read-write",
            autocommit=True,
            track_gtids=True,
            connect_timeout=3,
            acquire_timeout=ACQUIRE_SECONDS,
            statement_timeout=STATEMENT_SECONDS,
            minsize=2,
            **more,
        )

    def start(self, engine: sa.Engine, count: int, name: str) -> None:
        """Have so many tasks transfer by an engine, and one look at the total."""
        for number in range(count):
            chance = random.Random(f"{self.seed} {name} {number}")
            self.tasks.append(asyncio.ensure_future(self._transfer(engine, chance)))
        self.tasks.append(asyncio.ensure_future(self._watch_total(engine)))

    async def stop(self) -> None:
        """Have all tasks end, in time."""
        self.stopped = True
        _, hung = await asyncio.wait(self.tasks, timeout=2 * DEADLINE)
        for task in hung:
            self.violations.append(f"a task does not end: {task!r}")
            task.cancel()
        for task in self.tasks:
            if task.done() and not task.cancelled() and task.exception() is not None:
                self.violations.append(f"a task ended with {task.exception()!r}")
        self.tasks.clear()

    async def _transfer(self, engine: sa.Engine, chance: random.Random) -> None:
        ways = [in_block, by_hand, retried, in_pipeline, beside_savepoint, by_itself]
        loop = asyncio.get_running_loop()
        while not self.stopped:
            source, target = chance.sample(range(ACCOUNTS), 2)
            transfer = Transfer(self.ledger.begin(), source, target, chance.randint(1, 9))
            way = chance.choice(ways)
            began = time.monotonic()
            told: dict[str, Any] = {}
            task = asyncio.ensure_future(self._attempt(engine, way, transfer, told))
            if chance.random() < 0.05:
                loop.call_later(chance.uniform(0, 0.02), task.cancel)
            await asyncio.wait([task], timeout=DEADLINE)
            if not task.done():
                self.violations.append(f"{way.__name__} of {transfer} hangs: {task!r}")
                task.cancel()
                await asyncio.wait([task], timeout=DEADLINE)
            self.ledger.slowest = max(self.ledger.slowest, time.monotonic() - began)
            if self.ledger.fates[transfer.number] == ACKNOWLEDGED:
                if chance.random() < 0.2:
                    await self._read_back(engine, transfer, told["gtid"])
                await asyncio.sleep(chance.uniform(0, 0.03))
            else:
                await asyncio.sleep(chance.uniform(0.02, 0.1))

    async def _attempt(
        self, engine: sa.Engine, way: Way, transfer: Transfer, told: dict[str, Any]
    ) -> None:
        """Do an operation, and write down what was told of it."""
        number = transfer.number
        self.ledger.fates[number] = FAILED  # unless more is told
        print(
            f"{number}: {way.__name__} {transfer} at {time.monotonic():.3f}", file=self.ledger.log
        )
        try:
            told["gtid"] = await way(engine, transfer)
        except sa.CommitUnknownError as error:
            self.ledger.end(number, UNKNOWN, error)
        except asyncio.CancelledError as error:
            unknown = isinstance(error.__cause__, sa.CommitUnknownError) or way is by_itself
            self.ledger.end(number, UNKNOWN if unknown else FAILED, error)
        except err.MySQLError as error:
            # Of what commits by itself nobody knows but by its answer.
            lost = way is by_itself and not getattr(error, "sqlstate", None)
            waited = isinstance(error, sa.AcquireTimeoutError)
            self.ledger.end(number, UNKNOWN if lost and not waited else FAILED, error)
        except sa.Error as error:
            self.ledger.end(number, FAILED, error)
        except Exception as error:
            self.ledger.end(number, UNKNOWN, error)
            self.violations.append(f"{way.__name__} of {transfer} raised {error!r}")
        else:
            self.ledger.end(number, ACKNOWLEDGED)

    async def _read_back(self, engine: sa.Engine, transfer: Transfer, gtid: str | None) -> None:
        """See that a transaction that reads elsewhere, after one's own, sees it."""
        try:
            async with engine.acquire(read_only=True, after=gtid or True) as conn:
                found = await conn.scalar(
                    "SELECT COUNT(*) FROM operations WHERE id = %s", transfer.number
                )
        except (err.MySQLError, sa.Error) as error:
            self.ledger.reads[f"not served: {type(error).__name__}"] += 1
            return
        self.ledger.reads["after one's own"] += 1
        if found != 1:
            self.violations.append(f"operation {transfer.number} read after {gtid}: {found} times")

    async def _watch_total(self, engine: sa.Engine) -> None:
        while not self.stopped:
            try:
                async with engine.acquire(read_only=True) as conn:
                    total = await conn.scalar(TOTAL)
            except (err.MySQLError, sa.Error) as error:
                self.ledger.reads[f"not served: {type(error).__name__}"] += 1
            else:
                self.ledger.reads["total"] += 1
                if total != ACCOUNTS * EACH and not self.violations:
                    self.violations.append(f"a reader has seen {total} in all accounts")
            await asyncio.sleep(0.05)


# -- the ways in which a service transfers --------------------------------------------------------

Way = Callable[[sa.Engine, Transfer], Awaitable[str | None]]


async def write(conn: Any, transfer: Transfer) -> None:
    await conn.execute(MOVE, -transfer.amount, transfer.source)
    await conn.execute(MOVE, transfer.amount, transfer.target)
    await conn.execute(NOTE, *transfer.row)


async def in_block(engine: sa.Engine, transfer: Transfer) -> str | None:
    async with engine.begin() as conn:
        await write(conn, transfer)
    return conn.last_gtid


async def by_hand(engine: sa.Engine, transfer: Transfer) -> str | None:
    async with engine.acquire() as conn:
        transaction = await conn.begin()
        try:
            await write(conn, transfer)
        except BaseException:
            await transaction.rollback()
            raise
        await transaction.commit()
        return conn.last_gtid


async def retried(engine: sa.Engine, transfer: Transfer) -> str | None:
    used: list[sa.SAConnection] = []

    async def transact(conn: sa.SAConnection) -> None:
        used.append(conn)
        await write(conn, transfer)

    await engine.run(transact, timeout=10)
    return used[-1].last_gtid


async def in_pipeline(engine: sa.Engine, transfer: Transfer) -> str | None:
    async with engine.acquire() as conn:
        async with conn.pipeline(transaction=True) as pipe:
            pipe.execute(MOVE, -transfer.amount, transfer.source)
            pipe.execute(MOVE, transfer.amount, transfer.target)
            pipe.execute(NOTE, *transfer.row)
        return conn.last_gtid


async def beside_savepoint(engine: sa.Engine, transfer: Transfer) -> str | None:
    async with engine.begin() as conn:
        savepoint = await conn.begin_nested()
        await conn.execute(MOVE, 1, transfer.target)
        await savepoint.rollback()
        await write(conn, transfer)
    return conn.last_gtid


async def by_itself(engine: sa.Engine, transfer: Transfer) -> str | None:
    """Note an operation that moves nothing, which the server commits by itself."""
    async with engine.acquire() as conn:
        await conn.execute(NOTE, transfer.number, transfer.source, transfer.target, 0)
        return conn.last_gtid


# -- what happens to the cluster ------------------------------------------------------------------

Does = Callable[[Any, random.Random], None]


@dataclass(frozen=True)
class Fault:
    """Something that happens to a cluster, in a thread; what it leaves broken is mended later."""

    words: str
    does: Does


@dataclass
class Weather:
    """The faults that happen, and how long each kept everybody from the service."""

    service: Service
    faults: list[Fault]
    gaps: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def rage(self, seconds: float) -> None:
        """Have each fault happen once, and go on until the time is over."""
        chance = random.Random(self.service.seed)
        end = time.monotonic() + seconds
        while True:
            for fault in chance.sample(self.faults, len(self.faults)):
                if self.service.violations or (seconds > 0 and time.monotonic() > end):
                    return
                await self.strike(fault, chance)
            if time.monotonic() > end:
                return

    async def strike(self, fault: Fault, chance: random.Random) -> None:
        """Have a fault happen, wait until the service is back, and mend what is broken."""
        ledger = self.service.ledger
        await self._served(QUIET_SECONDS)
        ledger.gap = 0.0
        self.note(f"{fault.words}, {len(ledger.fates)} operations begun")
        await asyncio.to_thread(fault.does, self.service.cluster, chance)
        self.note("done")
        await self._served(QUIET_SECONDS)
        self.gaps[fault.words].append(ledger.gap)
        self.note(f"served again, {ledger.gap:.1f} s without")
        await asyncio.to_thread(self.service.cluster.mend)
        self.note("mended")

    def note(self, words: str) -> None:
        print(f"at {time.monotonic():.3f}: {words}", file=self.service.ledger.log)

    async def _served(self, seconds: float) -> None:
        """Wait until operations were acknowledged for so long without a pause."""
        ledger = self.service.ledger
        deadline = time.monotonic() + SERVICE_SECONDS
        since = None
        while since is None or time.monotonic() < since + seconds:
            now = time.monotonic()
            if now > ledger.latest + 0.5:
                since = None
            elif since is None:
                since = now
            if now > deadline:
                self.service.violations.append(f"no service for {SERVICE_SECONDS} s")
            if self.service.violations:
                return
            await asyncio.sleep(0.02)


def lines(service: Service, weather: Weather) -> list[str]:
    """Give what was counted."""
    ledger = service.ledger
    done = ", ".join(f"{ledger.count(fate):,} {WORDS[fate]}" for fate in (1, 2, 3))
    said = [
        f"operations: {len(ledger.fates):,} ({done}); the slowest took {ledger.slowest:.1f} s",
        "reads: " + ", ".join(f"{count:,} {what}" for what, count in ledger.reads.most_common()),
    ]
    for words, gaps in sorted(weather.gaps.items()):
        said.append(
            f"without service: {words}: {len(gaps)} times, {median(gaps):.1f} s,"
            f" from {min(gaps):.1f} to {max(gaps):.1f}"
        )
    said += [f"told {count:,} times: {what}" for what, count in ledger.errors.most_common()]
    return said


# -- the end ---------------------------------------------------------------------------------------


def prepare(cluster: Cluster) -> None:
    """Make the tables, with money in every account."""
    for sql in SCHEMA:
        cluster.primary.ask(sql)
    values = ", ".join(f"({number}, {EACH})" for number in range(ACCOUNTS))
    cluster.primary.ask(f"INSERT INTO accounts VALUES {values}")
    cluster.level()


def audit(cluster: Cluster, ledger: Ledger) -> list[str]:
    """Give what any node has otherwise than the ledger says, once all of them are level."""
    cluster.level()
    wrong = []
    rows = {node: node.ask("SELECT * FROM operations ORDER BY id") for node in cluster.nodes}
    for node, found in rows.items():
        balances = dict.fromkeys(range(ACCOUNTS), EACH)
        for _, source, target, amount in found:
            balances[source] -= amount
            balances[target] += amount
        there = dict(node.ask("SELECT id, balance FROM accounts"))
        wrong += [
            f"{node!r}: account {account} has {there[account]}, by the operations it has {expected}"
            for account, expected in balances.items()
            if there[account] != expected
        ]
        wrong += ledger.check({row[0] for row in found}, repr(node))
    if len({tuple(found) for found in rows.values()}) != 1:
        wrong.append("the nodes have different operations")
    return wrong


def connections(node: Node) -> list[tuple[Any, ...]]:
    """Give the connections of the service that a node has."""
    sql = "SELECT id, command, time, state, info FROM information_schema.processlist"
    return node.ask(f"{sql} WHERE user = 'app'")


@contextlib.asynccontextmanager
async def closed_in_time(opened: Any, service: Service) -> AsyncIterator[sa.Engine]:
    """Open an engine, and close it at the end; it is to be closed in time."""
    engine = await opened
    try:
        yield engine
    finally:
        engine.close()
        try:
            await asyncio.wait_for(engine.wait_closed(), DEADLINE)
        except asyncio.TimeoutError:
            service.violations.append(f"the engine does not close: {engine.stats()}")
            engine.terminate()
            await engine.wait_closed()
