"""The books of a state machine whose borrowers share a pool: who has done what for certain.

After each step the machine waits until nothing goes on any more, takes what the borrowers have been
through, and compares the rows on the server, committed and not, with the worlds that are possible.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from borrowers import Borrower, Event, Style
from faults import FaultyProxy
from hypothesis.stateful import RuleBasedStateMachine
from overseer import SEEDS, TWICE, Overseer
from pymysql.constants import ER, SERVER_STATUS
from watch import spawn, steps
from worlds import (
    Block,
    Job,
    Kind,
    May,
    Orphan,
    Outcome,
    OwnError,
    World,
    Writes,
    begun,
    deadlocked,
    distinct,
    ended,
    executed,
    executed_late,
    left_by_error,
    merged,
    prepared,
    recovered,
    released,
    settled,
)

IN_TRANSACTION = SERVER_STATUS.SERVER_STATUS_IN_TRANS
# How long nothing may go on before something hangs.
SECONDS = 10


@dataclass
class Gate:
    """A statement under way that waits to be let go."""

    name: str
    job: Job
    block: int | None  # in which it is executed
    bare: bool  # it commits by itself
    abandoned: bool = False  # nobody is told how it ends
    shut: bool = True
    killed: bool = False


@dataclass
class Session:
    """A borrower, and what may be on the server of its work."""

    borrower: Borrower
    worlds: list[World]
    gate: Gate | None = None
    crowded: bool = False
    fragile: bool = False
    over: bool = False
    uncounted: bool = False
    lost: bool = False
    ids: set[int] = field(default_factory=set)
    xids: set[str] = field(default_factory=set)
    folded: int = 0

    @property
    def may(self) -> May:
        return May(self.crowded, self.fragile, self.over)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the likeliest world."""
        return self.worlds[0].blocks

    @property
    def certain(self) -> bool:
        return len(self.worlds) == 1

    @property
    def outside(self) -> bool:
        """Whether it is certain that no transaction is in progress on its connection."""
        world = self.worlds[0]
        idle = self.certain and world.open and world.autocommit and self.borrower.idle
        busy = self.over or self.gate is not None or self.borrower.sibling is not None
        return idle and not (busy or world.blocks or world.loose)

    def extend(self, change: Callable[[World], list[World]]) -> None:
        self.worlds = distinct([after for world in self.worlds for after in change(world)])


class Books(RuleBasedStateMachine):
    """A pool, its borrowers and the server, one step after the other."""

    def __init__(
        self, overseer: Overseer, new_loop: Callable[[], Any], reached: Counter[str]
    ) -> None:
        super().__init__()
        self.overseer = overseer
        self.reached = reached
        self.loop = new_loop()
        self.noise: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.noise.append(context))
        self.sessions: list[Session] = []
        self.ghosts: list[Session] = []  # given back, and not certain yet
        self.gone: list[Borrower] = []
        self.committed: dict[int, int] = dict.fromkeys(SEEDS, 0)
        self.orphans: dict[str, Orphan] = {}
        self.number = max(SEEDS)
        self.blocks = 0
        self.engine: Any = None
        self.proxy: FaultyProxy | None = None
        self.armed: tuple[int, Any, Any] | None = None  # what happens on the line in the next step
        self.hook_does = "nothing"
        self.hook_gates: list[str] = []
        self.unwritten = 0
        self.history: list[str] = []
        self.failed = False
        overseer.start_anew()

    # -- who can do something

    def run(self, awaitable: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(awaitable, 60)

        return self.loop.run_until_complete(bounded())

    def free(self) -> list[Session]:
        """Those who can be told something."""
        return [s for s in self.sessions if s.borrower.idle]

    def one(self, who: int, able: Callable[[Session], Any] = lambda _: True) -> Session | None:
        """Choose one of those who can be told something; the first borrows for it."""
        for session in self.free():
            # Once it has been seen that nothing can be done with it, it goes back.
            if not any(world.open for world in session.worlds) and session.lost:
                session.borrower.tell(_leave_all)
                self.step("leave what is lost", session)
        if not self.sessions:
            self.lend("block")
        return chosen([s for s in self.free() if able(s)], who)

    def may_leave(self, session: Session) -> bool:
        """Whether it is in a block, or has done something."""
        return bool(session.borrower.open_blocks) or len(session.borrower.events) > 5

    def fresh(self) -> int:
        self.number += 1
        return self.number

    def unlocked(self) -> set[int]:
        """The committed rows that nobody can have locked."""
        taken = {TWICE}  # who fails to insert a row once more keeps a lock on it
        for session in (*self.sessions, *self.ghosts):
            taken.update(session.ids, *(world.locks for world in session.worlds))
        for orphan in self.orphans.values():
            taken.update(orphan.writes, orphan.locks)
        return set(self.committed) - taken

    def lend(self, style: Style) -> Session:
        """Have somebody borrow a connection, or wait for one."""

        def start() -> None:
            borrower = Borrower(self.engine, style)
            self.sessions.append(Session(borrower, [World(self.autocommit)]))
            started.append(self.sessions[-1])

        started: list[Session] = []
        self.step(f"borrow: {style}", start=start)
        return started[0]

    # -- steps

    def step(
        self,
        what: str,
        session: Session | None = None,
        *,
        cut: tuple[int, ...] = (),
        caught: bool = True,
        let_go: int | None = None,
        start: Callable[[], Any] | None = None,
    ) -> None:
        """Do something, cut it off so many turns later, and see what has come of it.

        The gate that it may wait behind opens *let_go* turns later.
        """
        number = None if session is None else (*self.sessions, *self.ghosts).index(session)
        self.history.append(f"{number}: {what}" + (f", cut {cut} {caught}" if cut else ""))
        self.reached["steps"] += 1
        for each in self.sessions:
            each.crowded = each.borrower.sibling is not None or each.gate is not None

        async def go() -> None:
            if self.armed is not None and self.proxy is not None:
                self.proxy.fault(*self.armed)
                for each in self.sessions:
                    each.fragile = True
            if start is not None:
                start()
            if session is not None:
                await self.cut(session, cut, caught)
                if let_go is not None and session.gate is not None:
                    await steps(let_go)
                    self.open(session.gate)
            await self.settle()
            if self.armed is not None and self.proxy is not None:
                self.proxy.clear()
                self.armed = None

        self.failed = True
        self.run(go())
        self.failed = False

    async def cut(self, session: Session, cut: tuple[int, ...], caught: bool) -> None:
        borrower = session.borrower
        for turns in cut:
            await steps(turns)
            if borrower.idle or borrower.task.done():
                return
            session.fragile = True
            borrower.catching = caught and len(cut) == 1
            borrower.task.cancel()

    def open(self, gate: Gate) -> None:
        if gate.shut:
            gate.shut = False
            self.overseer.let_go(gate.name)

    # -- what has come of it

    async def settle(self) -> None:
        """Wait until nothing goes on any more, and compare what is there with the model."""
        deadline = time.monotonic() + SECONDS
        problem = ""
        while True:
            await steps(3)
            self.fold()
            if self.armed is not None:
                for session in (*self.sessions, *self.ghosts):
                    session.extend(lambda world: [world, world.lose()])
            running = self.overseer.running()
            problem = self.unrest(running)
            if not problem:
                self.resolve(running)
                problem = self.compare(running)
                if not problem:
                    break
            if time.monotonic() > deadline:
                raise AssertionError(self.told(problem))
            await asyncio.sleep(0.0005)
        self.adopt()
        warned = self.overseer.warnings.count
        assert warned >= self.unwritten, self.told(f"{self.unwritten} unwritten, {warned} told")

    def told(self, problem: str) -> str:
        lines = [problem, *self.history]
        for number, session in enumerate((*self.sessions, *self.ghosts)):
            lines += [f"{number}: gate {session.gate}, over {session.over}"]
            lines += [f"    {event}" for event in session.borrower.events]
            lines += [f"    {world}" for world in session.worlds]
        return "\n".join(lines)

    def unrest(self, running: dict[int, str]) -> str:
        """Give what still goes on."""
        for thread, state in running.items():
            if state not in ("idle", "gated"):
                return f"thread {thread} is at {state}"
        for session in (*self.sessions, *self.ghosts):
            borrower = session.borrower
            state = running.get(borrower.thread, "gone")
            if borrower.conn is None:
                continue
            if state == "gated":
                if session.gate is not None and not session.gate.shut:
                    return "what was let go has not gone on yet"
                if session.gate is not None and session.gate.killed:
                    return "what was killed has not ended yet"
                continue
            if borrower.raw.busy:
                return "an answer is on its way"
            if borrower.raw.closed and state != "gone":
                return "a closed connection is there"
            if not borrower.task.done() and not borrower.idle:
                return "a borrower is at something"
            if borrower.sibling is not None and not borrower.sibling.done():
                return "a sibling is at something"
        for session in self.sessions:
            if not session.borrower.waits and not (
                session.borrower.idle or session.borrower.task.done()
            ):
                return "a borrower is at something"
        lent = [s for s in self.sessions if s.borrower.conn is not None]
        if len(lent) < self.maxsize and any(s.borrower.waits for s in self.sessions):
            return "nobody serves who waits for a connection"
        assert len({s.borrower.raw for s in lent}) == len(lent) <= self.maxsize, self.told("lent")
        return ""

    def fold(self) -> None:
        """Take what borrowers have been through since the last time."""
        for session in (*self.sessions, *self.ghosts):
            borrower = session.borrower
            while session.folded < len(borrower.events):
                event = borrower.events[session.folded]
                session.folded += 1
                before = session.worlds
                self.take(session, event)
                if not session.worlds:
                    session.worlds = before
                    raise AssertionError(self.told(f"this cannot be: {event}"))
            if borrower.sibling is not None and borrower.sibling.done():
                borrower.sibling = None

    def take(self, session: Session, event: Event) -> None:
        outcome, details, may = event.outcome, event.details, session.may
        self.count(session, event)
        if outcome.kind in (Kind.CUT, Kind.LATE, Kind.LOST):
            session.fragile = True
        session.lost |= outcome.kind is Kind.LOST
        if session.gate is not None and session.gate.abandoned and outcome.kind is not Kind.REFUSED:
            # What came after it was sent once it was over.
            self.expand(session, session.gate)
        if event.name == "executed":
            self.take_job(session, event)
        elif event.name == "begun":
            session.extend(lambda world: begun(world, outcome, details[0], may))
        elif event.name == "ended":
            session.extend(lambda world: ended(world, outcome, *details, may))
        elif event.name == "left":
            session.extend(lambda world: left_by_error(world, outcome, details[0], may))
        elif event.name == "prepared":
            session.extend(lambda world: prepared(world, outcome, *details, may))
        elif event.name == "recovered":
            session.extend(lambda world: recovered(world, outcome, may))
            if outcome.kind is Kind.OK:
                assert set(outcome.value) == self.overseer.xids(), self.told("XA RECOVER")
        elif event.name == "settled":
            self.take_settled(session, event)
        elif event.name == "probed":
            assert outcome.kind is not Kind.OK or outcome.value == details[0], self.told(
                f"borrowed as {outcome.value}, expected {details[0]}"
            )
            session.extend(lambda world: executed(world, outcome, Job("SELECT"), may))
        elif event.name == "deadlocked":
            session.extend(lambda world: deadlocked(world, outcome, details[0], may))
            if outcome.code == ER.LOCK_DEADLOCK:
                self.reached["deadlocks"] += 1
                session.ids.clear()  # the rows are the other one's
        elif event.name in ("released", "not served"):
            if event.name == "released":
                self.unwritten += _left_unwritten(session, outcome)
                session.extend(lambda world: released(world, outcome, may))
            session.over = True
            self.sessions.remove(session)
            self.ghosts.append(session)

    def count(self, session: Session, event: Event) -> None:
        """Count what is worth being reached."""
        kind, world = event.outcome.kind, session.worlds[0]
        if event.name in ("left", "ended", "released"):
            rows = "with rows" if world.pending else "without rows"
            busy = " beside a task" if session.crowded else ""
            self.reached[f"{event.name} {rows}{busy}, {kind.value}"] += 1
        elif world.refuses and kind is Kind.REFUSED:
            self.reached["refused after an end"] += 1
        else:
            self.reached[f"{event.name}, {kind.value}"] += 1

    def take_job(self, session: Session, event: Event) -> None:
        outcome, (job, seen), gate = event.outcome, event.details, session.gate
        if gate is not None and gate.job is job and outcome.kind not in (Kind.OK, Kind.REFUSED):
            if outcome.kind is Kind.SERVER:
                session.gate = None
            else:
                # It may go on, for nobody.
                gate.abandoned = True
                session.extend(lambda world: [world, world.lose()])
                return
        elif gate is not None and gate.job is job:
            session.gate = None
        session.extend(lambda world: executed(world, outcome, job, session.may))
        # An error does not count the rows of what it leaves begun: no warning will be due.
        session.uncounted |= bool(job.begins) and outcome.kind is not Kind.OK
        if seen and outcome.kind is Kind.OK:
            found = dict(outcome.value)
            session.worlds = [
                world
                for world in session.worlds
                if {n: v for n, v in world.pending.items() if n in seen}
                == {n: v for n, v in found.items() if n in world.pending}
            ]

    def take_settled(self, session: Session, event: Event) -> None:
        """Take the end of a prepared transaction that another session has left."""
        how, xid = event.details
        outcome = event.outcome
        known = xid in self.orphans
        if outcome.kind is Kind.OK:
            assert known and not session.over, self.told(f"{how} of an unknown xid")
        session.extend(lambda world: settled(world, outcome, known, session.may))
        if not known or outcome.kind in (Kind.REFUSED, Kind.SERVER):
            return
        there = xid in self.overseer.xids()
        assert not (outcome.kind is Kind.OK and there), self.told("prepared yet")
        if not there:
            orphan = self.orphans.pop(xid)
            if how == "commit":
                self.committed.update(orphan.writes)

    def resolve(self, running: dict[int, str]) -> None:
        """Let what nobody was told about have been executed or not, once it is over."""
        for session in (*self.sessions, *self.ghosts):
            gate = session.gate
            if gate is None or not gate.abandoned:
                continue
            if running.get(session.borrower.thread) == "gated":
                continue
            session.gate = None
            self.open(gate)
            self.expand(session, gate)

    def expand(self, session: Session, gate: Gate) -> None:
        session.extend(
            lambda world: [world, *executed_late(world, gate.job, gate.block, gate.bare)]
        )

    def compare(self, running: dict[int, str]) -> str:
        """Tell what is there otherwise than in any of the worlds."""
        overseer = self.overseer
        committed, dirty = overseer.rows(overseer.committed), overseer.rows(overseer.dirty)
        xids = overseer.xids()
        ours: set[int] = set()
        for session in (*self.sessions, *self.ghosts):
            for world in session.worlds:
                session.ids.update(world.pending, world.done, *_orphaned(world))
            ours |= session.ids

            there = session.borrower.thread in running and not session.borrower.raw.closed

            def fits(world: World, session: Session = session, there: bool = there) -> bool:
                as_open = session.over or session.borrower.waits or world.open == there
                return as_open and self.fits(session, world, committed, dirty, xids)

            fitting = [world for world in session.worlds if fits(world)]
            if not fitting:
                return (
                    f"the server has {_only(committed, session.ids)} committed,"
                    f" {_only(dirty, session.ids)} in all, {xids} prepared; connected: {there}"
                )
            if session.gate is None:
                session.worlds = fitting
            raw = session.borrower.raw
            # An error carries no status: the latest is from before it, and may be over.
            if session.outside and not raw._session.in_doubt and raw.server_status & IN_TRANSACTION:
                return "a transaction was begun by nobody"
        orphaned = merged(orphan.writes for orphan in self.orphans.values())
        for found, model in ((committed, self.committed), (dirty, {**self.committed, **orphaned})):
            rest = {n: v for n, v in found.items() if n not in ours}
            expected = {n: v for n, v in model.items() if n not in ours}
            if rest != expected:
                return f"the server has {rest}, not {expected}"
        return ""

    def fits(
        self,
        session: Session,
        world: World,
        committed: dict[int, int],
        dirty: dict[int, int],
        xids: set[str],
    ) -> bool:
        saved = {**self.committed, **world.done}
        if _only(committed, session.ids) != _only(saved, session.ids):
            return False
        if session.gate is not None:
            return True
        orphaned = world.orphan.writes if world.orphan else {}
        pending = {**saved, **orphaned, **world.pending}
        if _only(dirty, session.ids) != _only(pending, session.ids):
            return False
        known = {world.prepared} | ({world.orphan.xid} if world.orphan else set())
        return all((xid in xids) == (xid in known) for xid in session.xids - self.orphans.keys())

    def adopt(self) -> None:
        """Make what is certain the model."""
        for session in (*self.sessions, *self.ghosts):
            if session.over:  # whether it was closed, or what it set, is the same to its rows
                worlds = [replace(w, open=True, autocommit=True) for w in session.worlds]
                session.worlds = distinct(worlds)
            if not session.certain or session.gate is not None:
                continue
            (world,) = session.worlds
            self.committed.update(world.done)
            if world.orphan:
                self.orphans[world.orphan.xid] = world.orphan
            session.worlds = [replace(world, done={}, orphan=None)]
            session.ids = set(world.pending)
            if session.over and session.borrower.sibling is None:
                self.ghosts.remove(session)
                if session.borrower.conn is not None:
                    self.gone.append(session.borrower)

    # -- the end

    def teardown(self) -> None:
        try:
            if self.engine is not None and not self.failed:
                self.finish()
        finally:
            self.clean_up()

    def finish(self) -> None:
        """Give everything back; nothing is left on the server but what was prepared."""
        for session in (*self.sessions, *self.ghosts):
            if session.gate is not None:
                self.open(session.gate)
        while self.hook_gates:
            self.overseer.let_go(self.hook_gates.pop())
        self.hook_does = "nothing"
        self.step("at last: gates")
        while self.sessions:
            for session in list(self.sessions):
                if session.borrower.idle:
                    session.borrower.tell(None)
            self.step("at last: leave")
        assert not self.ghosts, self.told("somebody is not done")

        async def end() -> None:
            self.engine.close()
            await asyncio.wait_for(self.engine.wait_closed(), SECONDS)
            if self.proxy is not None:
                await self.proxy.finish()
            gc.collect()
            # A KILL from a connection beside may be under way.
            until_then = time.monotonic() + SECONDS
            while len(asyncio.all_tasks()) > 2:  # this one, and what waits for it
                assert time.monotonic() < until_then, self.told(f"tasks: {asyncio.all_tasks()}")
                await asyncio.sleep(0.001)
            while found := self.overseer.left():
                assert time.monotonic() < until_then, self.told(f"left on the server: {found}")
                await asyncio.sleep(0.001)

        self.run(end())
        assert self.compare({}) == "", self.told(self.compare({}))
        assert self.overseer.xids() == self.orphans.keys(), self.told("prepared transactions")
        stats = self.engine.stats()
        assert stats.opened == sum(stats.closed.values()), self.told(repr(stats))
        assert self.noise == [], self.told(repr(self.noise))

    def clean_up(self) -> None:
        for session in (*self.sessions, *self.ghosts):
            if session.gate is not None:
                self.open(session.gate)

        async def end() -> None:
            self.engine.terminate()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.wait([*tasks, spawn(steps(20))], timeout=5)
            await self.engine.wait_closed()
            if self.proxy is not None:
                await self.proxy.finish()

        if self.engine is not None:
            self.loop.run_until_complete(end())
        self.loop.close()
        for thread in self.overseer.running():
            self.overseer.kill(thread, "CONNECTION")
        while self.overseer.running():
            time.sleep(0.002)


def chosen(among: list[Any], which: int) -> Any:
    """Choose one of those; `None` if there is none.

    Rules do without preconditions: what is there depends on when the server answers, and
    hypothesis wants to draw the same again.
    """
    return among[which % len(among)] if among else None


def _only(found: Writes, numbers: set[int]) -> dict[int, int]:
    return {n: v for n, v in found.items() if n in numbers}


def _orphaned(world: World) -> list[Writes]:
    return [world.orphan.writes] if world.orphan else []


async def _leave_all(borrower: Borrower) -> None:
    raise OwnError(1 + len(borrower.open_blocks))


def _left_unwritten(session: Session, outcome: Outcome) -> bool:
    """Whether a connection was given back for certain with work that nobody has ended."""
    world = session.worlds[0]
    plain = session.certain and not session.fragile and session.gate is None and world.open
    return plain and bool(world.loose) and not (session.crowded or session.uncounted)
