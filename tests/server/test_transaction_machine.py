"""Any order of what borrowers do in transactions: the server has what they were told, and no more.

A machine of hypothesis drives borrowers of a pool; after each step the rows on the server,
committed and not, are what the model says. AIOMYSQLX_MACHINE_EXAMPLES is the number of sequences.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from books import Books, Gate, Session, chosen
from borrowers import Borrower, Style
from faults import FaultyProxy
from footprint import MEGABYTE, resident_bytes
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test
from overseer import DATABASE, SEEDS, TWICE, Overseer
from pymysql import err
from pymysql.constants import ER, SERVER_STATUS
from sqlalchemy import Column, Integer, MetaData, Table, bindparam
from worlds import Block, Job, Kind, OwnError, outcome_of

import aiomysqlx as sa

pytestmark = [pytest.mark.server, pytest.mark.long]

GIVEN = os.environ.get("AIOMYSQLX_MACHINE_EXAMPLES")
EXAMPLES = int(GIVEN or "20")
CHARSET = "utf8mb4"
# With another one MySQL locks the gap where a row was that is rolled back to a savepoint: who
# inserts there waits for the end of the transaction.
ISOLATION = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
# To NOWAIT: MariaDB has the lock wait timeout's number, MySQL one of its own.
LOCKED = (ER.LOCK_WAIT_TIMEOUT, 3572)

rows = Table(
    "numbers",
    MetaData(schema=DATABASE),
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("v", Integer),
)


class Machine(Books):
    """What the borrowers, the server and the line between them may do."""

    @initialize(
        maxsize=st.integers(1, 3),
        autocommit=st.booleans(),
        more=st.fixed_dictionaries(
            {},
            optional={
                "kill_on_cancel": st.just(True),
                "reset": st.sampled_from(("as new", "hook")),
                "init": st.just("hook"),
            },
        ),
        proxied=st.sampled_from((False, False, True)),
    )
    def begin(self, maxsize: int, autocommit: bool, more: dict[str, Any], proxied: bool) -> None:
        self.autocommit = autocommit
        self.maxsize = maxsize
        self.history.append(f"maxsize={maxsize}, autocommit={autocommit}, {more}, {proxied}")
        arguments = {n: True if how == "as new" else self.hook for n, how in more.items()}
        if "kill_on_cancel" in more:
            arguments["kill_on_cancel"] = True

        async def create() -> sa.Engine:
            kwargs = self.overseer.kwargs
            if proxied:
                self.proxy = FaultyProxy(kwargs)
                await self.proxy.accept()
                kwargs = self.proxy.kwargs
            return await sa.create_engine(
                **kwargs,
                maxsize=maxsize,
                autocommit=autocommit,
                charset=CHARSET,
                init_command=ISOLATION,
                **arguments,
            )

        self.engine = self.run(create())
        self.reached["sequences"] += 1

    # -- the rules: borrowing

    @rule(style=st.sampled_from(("block", "close", "release")), probes=st.booleans())
    def borrow(self, style: Style, probes: bool) -> None:
        if len(self.sessions) >= self.maxsize + 2:
            return
        session = self.lend(style)
        if probes and session.borrower.idle:
            self.probe(session)

    def probe(self, session: Session) -> None:
        """See that nothing of the borrower before is there."""
        expected = [(DATABASE, int(self.autocommit), CHARSET, False)]

        async def look(borrower: Borrower) -> None:
            async def asked() -> Any:
                sql = "SELECT DATABASE(), @@autocommit, @@character_set_client"
                result = await borrower.conn.execute(sql)
                (row,) = await result.fetchall()
                return [(*row.as_tuple(), borrower.raw.in_transaction)]

            await borrower.call("probed", asked(), expected)

        session.borrower.tell(look)
        self.step("probe", session)

    @rule(turns=st.integers(0, 3))
    def give_up(self, turns: int) -> None:
        session = chosen([s for s in self.sessions if s.borrower.waits], turns)
        if session is None:
            return

        def start() -> None:
            session.borrower.task.cancel()

        self.step("give up", session, start=start)

    @rule(
        who=st.integers(0, 9), cut=st.sampled_from(((), (), (0,), (1,), (2,), (3,), (1, 1), (2, 2)))
    )
    def leave(self, who: int, cut: tuple[int, ...]) -> None:
        """Leave the innermost block, or give the connection back."""
        session = self.one(who, self.may_leave)
        if session is None:
            return
        session.borrower.tell(None)
        self.step("leave", session, cut=cut, let_go=4)

    @rule(
        who=st.integers(0, 9),
        levels=st.sampled_from((1, 1, 1, 2, 3)),
        cut=st.sampled_from(((), (), (1,), (2,), (1, 2))),
    )
    def fail(self, who: int, levels: int, cut: tuple[int, ...]) -> None:
        """Leave blocks by an error, and the connection's too if there are no more."""
        session = self.one(who, self.may_leave)
        if session is None:
            return

        async def fail(_: Borrower) -> None:
            raise OwnError(levels)

        session.borrower.tell(fail)
        self.step(f"fail: {levels}", session, cut=cut, let_go=4)

    @rule(who=st.integers(0, 9), again=st.integers(0, 4), twice=st.booleans())
    def cancel(self, who: int, again: int, twice: bool) -> None:
        """Cancel a borrower, once or twice, while its own task waits for nothing of ours."""
        session = self.one(who, self.may_leave)
        if session is None:
            return

        def start() -> None:
            session.borrower.task.cancel()

        self.step(
            "cancel",
            session,
            start=start,
            cut=(again + 1,) if twice else (),
            caught=False,
            let_go=4,
        )

    # -- the rules: statements

    def execute(self, session: Session, job: Job, cut: tuple[int, ...] = (), **more: Any) -> None:
        session.ids.update(*job.parts)
        session.ids.update(job.begins)

        async def order(borrower: Borrower) -> None:
            await borrower.call("executed", borrower.conn.execute(job.sql), job, ())

        session.borrower.tell(order)
        self.step(job.sql, session, cut=cut, let_go=more.pop("let_go", 4), **more)

    CUTS = st.sampled_from(((),) * 9 + ((0,), (1,), (2,), (3,), (4,)))

    @rule(who=st.integers(0, 9), cut=CUTS, caught=st.booleans())
    def insert(self, who: int, cut: tuple[int, ...], caught: bool) -> None:
        session = self.one(who)
        if session is None:
            return
        n = self.fresh()
        job = Job(f"INSERT INTO {DATABASE}.numbers VALUES ({n}, {n})", ({n: n},))
        self.execute(session, job, cut, caught=caught)

    @rule(who=st.integers(0, 9), which=st.integers(0, 99), cut=CUTS)
    def update(self, who: int, which: int, cut: tuple[int, ...]) -> None:
        session = self.one(who)
        if session is None:
            return
        known = self.unlocked()
        if session.certain:
            known |= set(session.worlds[0].pending)
        if not known:
            return
        n, v = sorted(known)[which % len(known)], self.fresh()
        job = Job(f"UPDATE {DATABASE}.numbers SET v = {v} WHERE id = {n}", ({n: v},))
        self.execute(session, job, cut)

    @rule(who=st.integers(0, 9), count=st.integers(1, 3), updates=st.booleans(), cut=CUTS)
    def many(self, who: int, count: int, updates: bool, cut: tuple[int, ...]) -> None:
        """Insert rows at once, or update some one after the other."""
        session = self.one(who)
        if session is None:
            return
        numbers = [self.fresh() for _ in range(count)]
        if updates:
            known = sorted(self.unlocked())[:count]
            writes = {n: self.fresh() for n in known}
            if not writes:
                return
            statement: Any = (
                rows.update().where(rows.c.id == bindparam("n")).values(v=bindparam("x"))
            )
            values = [{"n": n, "x": v} for n, v in writes.items()]
            job = Job("updates", tuple({n: v} for n, v in writes.items()))
        else:
            statement = rows.insert()
            values = [{"id": n, "v": n} for n in numbers]
            job = Job("inserts", ({n: n for n in numbers},))
        session.ids.update(*job.parts)

        async def order(borrower: Borrower) -> None:
            await borrower.call("executed", borrower.conn.execute(statement, values), job, ())

        session.borrower.tell(order)
        self.step(f"{job.sql}: {values}", session, cut=cut, let_go=4)

    @rule(who=st.integers(0, 9))
    def look(self, who: int) -> None:
        """See that a borrower sees its own rows."""
        session = self.one(who)
        if session is None:
            return
        seen = {n for world in session.worlds for n in world.pending} or {0}
        listed = ", ".join(map(str, seen))
        job = Job(f"SELECT id, v FROM {DATABASE}.numbers WHERE id IN ({listed})")

        async def order(borrower: Borrower) -> None:
            async def asked() -> Any:
                result = await borrower.conn.execute(job.sql)
                return [row.as_tuple() for row in await result.fetchall()]

            await borrower.call("executed", asked(), job, frozenset(seen))

        session.borrower.tell(order)
        self.step(job.sql, session, let_go=4)

    FAILING = (
        ("SELECT nonsense", 1054, ""),
        (f"INSERT INTO {{db}}.numbers VALUES ({TWICE}, 1)", 1062, ""),
        ("CALL {db}.pretends()", 1213, ""),
        ("CREATE TABLE {db}.numbers (id INT)", 1050, "committed"),
        ("this is no SQL", 1064, ""),
    )

    @rule(who=st.integers(0, 9), which=st.sampled_from(FAILING))
    def mistake(self, who: int, which: tuple[str, int, str]) -> None:
        sql, code, ends = which
        session = self.one(who)
        if session is not None:
            self.execute(session, Job(sql.format(db=DATABASE), codes=(code,), ends=ends))

    ENDING = (
        ("COMMIT", "committed"),
        ("ROLLBACK", "rolled back"),
        ("ALTER TABLE {db}.spare COMMENT = 'changed'", "committed"),
    )

    @rule(who=st.integers(0, 9), which=st.sampled_from(ENDING), cut=CUTS)
    def end_by_text(self, who: int, which: tuple[str, str], cut: tuple[int, ...]) -> None:
        sql, ends = which
        session = self.one(who)
        if session is not None:
            self.execute(session, Job(sql.format(db=DATABASE), ends=ends), cut)

    @rule(who=st.integers(0, 9), name=st.sampled_from(("commits", "rolls_back")), cut=CUTS)
    def call(self, who: int, name: str, cut: tuple[int, ...]) -> None:
        """Have a procedure end the transaction."""
        session = self.one(who, lambda session: not session.worlds[0].xa)  # there it fails half-way
        if session is None:
            return
        n = self.fresh()
        how = "committed" if name == "commits" else "rolled back"
        job = Job(f"CALL {DATABASE}.{name}({n}, {n})", ({n: n},), ends=how)
        if session.worlds[0].autocommit and not (session.blocks or session.worlds[0].loose):
            job = replace(job, ends="committed")  # as each statement of it
        self.execute(session, job, cut)

    @rule(who=st.integers(0, 9), fails=st.booleans(), cut=CUTS)
    def begin_by_text(self, who: int, fails: bool, cut: tuple[int, ...]) -> None:
        """Have a procedure leave a transaction begun, outside of any block."""
        session = self.one(who, lambda session: not session.blocks)
        if session is None:
            return
        n = self.fresh()
        name, codes = ("begins_and_fails", (1644,)) if fails else ("begins", ())
        sql = f"CALL {DATABASE}.{name}({n}, {n})"
        self.execute(session, Job(sql, ends="committed", codes=codes, begins={n: n}), cut)

    @rule(who=st.integers(0, 9), which=st.integers(0, 9))
    def meet_a_lock(self, who: int, which: int) -> None:
        """Want a row that another one has locked."""
        session = self.one(who)
        if session is None:
            return
        others = [s for s in self.sessions if s is not session and s.certain and s.gate is None]
        locked = sorted({n for s in others if s.worlds[0].open for n in s.worlds[0].pending})
        n = chosen([n for n in locked if n in self.committed], which)
        if n is None:
            return
        sql = f"SELECT v FROM {DATABASE}.numbers WHERE id = {n} FOR UPDATE NOWAIT"
        self.execute(session, Job(sql, codes=LOCKED))

    @rule(who=st.integers(0, 9), on=st.booleans())
    def set_autocommit(self, who: int, on: bool) -> None:
        session = self.one(who)
        if session is None:
            return
        if session.worlds[0].xa:
            return
        self.execute(session, Job(f"SET autocommit = {int(on)}", autocommit=on))

    @rule(who=st.integers(0, 9), sql=st.sampled_from(("USE {other}", "SET NAMES latin1")))
    def change_session(self, who: int, sql: str) -> None:
        session = self.one(who)
        if session is not None:
            self.execute(session, Job(sql.format(other=self.overseer.other)))

    # -- the rules: what goes on beside

    @rule(
        who=st.integers(0, 9),
        how=st.sampled_from(("beside", "late", "cut", "caught")),
        turns=st.integers(1, 4),
    )
    def insert_behind_a_gate(self, who: int, how: str, turns: int) -> None:
        """Have an INSERT hang: in a task beside, or in the borrower's own, which gives it up."""
        session = self.one(who)
        if session is None:
            return
        borrower = session.borrower
        if session.gate is not None or borrower.sibling is not None:
            return
        n = self.fresh()
        gate = f"gate{n}"
        job = Job(
            f"INSERT INTO {DATABASE}.numbers VALUES ({n}, {DATABASE}.gate('{gate}', {n}))",
            ({n: n},),
        )
        session.ids.add(n)
        world = session.worlds[0]
        inner = [block.id for block in world.blocks if block.real]
        self.overseer.shut(gate)
        session.gate = Gate(
            gate,
            job,
            inner[-1] if inner else None,
            not inner and world.autocommit and not world.loose,
        )
        session.fragile = True
        assert borrower.conn is not None
        conn = borrower.conn
        if how == "beside":
            self.step(
                job.sql,
                session,
                start=lambda: borrower.beside("executed", conn.execute(job.sql), job, ()),
            )
        else:
            limit = {"timeout": 0.004} if how == "late" else {}

            async def order(borrower: Borrower) -> None:
                await borrower.call("executed", conn.execute(job.sql, **limit), job, ())

            borrower.tell(order)
            self.step(
                f"{job.sql}, {how}",
                session,
                cut=() if how == "late" else (turns,),
                caught=how == "caught",
            )

    @rule(who=st.integers(0, 9))
    def let_go(self, who: int) -> None:
        while self.hook_gates:
            self.overseer.let_go(self.hook_gates.pop())
        session = chosen([s for s in (*self.sessions, *self.ghosts) if s.gate], who)
        if session is None:
            return
        gate = session.gate
        self.step("let go", session, start=lambda: self.open(gate))

    @rule(
        who=st.integers(0, 9),
        what=st.sampled_from(("insert", "begin", "begin_nested", "begin_twophase")),
    )
    def beside(self, who: int, what: str) -> None:
        """Have a task of the borrower's use the connection too."""
        session = self.one(who)
        if session is None:
            return
        borrower = session.borrower
        if borrower.sibling is not None:
            return
        conn: Any = borrower.conn
        if what == "insert":
            n = self.fresh()
            job = Job(f"INSERT INTO {DATABASE}.numbers VALUES ({n}, {n})", ({n: n},))
            session.ids.add(n)
            start = lambda: borrower.beside("executed", conn.execute(job.sql), job, ())  # noqa: E731
        else:
            block, begin = self.new_block(session, conn, what, held=True)
            start = lambda: borrower.beside("begun", begin(), block)  # noqa: E731
        self.step(f"beside: {what}", session, start=start)

    @rule(who=st.integers(0, 9))
    def cancel_sibling(self, who: int) -> None:
        session = chosen([s for s in self.sessions if s.borrower.sibling], who)
        if session is None:
            return
        sibling = session.borrower.sibling
        session.fragile = True
        self.step("cancel the sibling", session, start=sibling.cancel)

    # -- the rules: transactions

    def new_block(
        self, session: Session, conn: Any, what: str, held: bool
    ) -> tuple[Block, Callable[[], Any]]:
        self.blocks += 1
        kind = {"begin": "emulated", "begin_nested": "savepoint", "begin_twophase": "twophase"}[
            what
        ]
        block = Block(self.blocks, kind, held)
        if kind == "twophase":
            xid = f"x{block.id}"
            session.xids.add(xid)
            return block, lambda: conn.begin_twophase(xid)
        return block, getattr(conn, what)

    KINDS = st.sampled_from(("begin", "begin", "begin_nested", "begin_nested", "begin_twophase"))

    @rule(who=st.integers(0, 9), what=KINDS, held=st.booleans(), cut=CUTS, caught=st.booleans())
    def enter(self, who: int, what: str, held: bool, cut: tuple[int, ...], caught: bool) -> None:
        """Begin a transaction, as an object or as a block."""
        session = self.one(who)
        if session is None:
            return
        block, begin = self.new_block(session, session.borrower.conn, what, held)

        async def order(borrower: Borrower) -> None:
            if not held:
                await borrower.enter(begin, block)
                return

            async def begun() -> None:
                borrower.transactions[block.id] = await begin()

            await borrower.call("begun", begun(), block)

        session.borrower.tell(order)
        self.step(f"{what}: {block.id} {held}", session, cut=cut, caught=caught, let_go=4)

    @rule(
        who=st.integers(0, 9),
        which=st.integers(0, 9),
        how=st.sampled_from(("commit", "rollback", "close")),
        cut=CUTS,
    )
    def end_object(self, who: int, which: int, how: str, cut: tuple[int, ...]) -> None:
        """Call commit(), rollback() or close(), of a transaction that may be over."""
        session = self.one(who, lambda session: session.borrower.transactions)
        if session is None:
            return
        transactions = session.borrower.transactions
        block_id = sorted(transactions)[which % len(transactions)]

        async def order(borrower: Borrower) -> None:
            call = getattr(transactions[block_id], how)
            await borrower.call("ended", call(), block_id, how, False)

        session.borrower.tell(order)
        self.step(f"{how}: {block_id}", session, cut=cut, let_go=4)

    @rule(who=st.integers(0, 9), cut=CUTS)
    def prepare(self, who: int, cut: tuple[int, ...]) -> None:
        session = self.one(who, lambda session: session.worlds[0].xa)
        if session is None:
            return
        block = session.worlds[0].blocks[0]

        async def order(borrower: Borrower) -> None:
            call = borrower.transactions[block.id].prepare
            await borrower.call("prepared", call(), block.id, f"x{block.id}")

        session.borrower.tell(order)
        self.step(f"prepare: x{block.id}", session, cut=cut, let_go=4)

    @rule(
        who=st.integers(0, 9),
        how=st.sampled_from(("recover", "commit", "rollback")),
        which=st.integers(0, 9),
        known=st.booleans(),
    )
    def settle_prepared(self, who: int, how: str, which: int, known: bool) -> None:
        """Ask for prepared transactions, or end one that lost its connection, or none."""
        session = self.one(who)
        if session is None:
            return
        xid = sorted(self.orphans)[which % len(self.orphans)] if known and self.orphans else "x0"

        async def order(borrower: Borrower) -> None:
            conn: Any = borrower.conn
            if how == "recover":
                await borrower.call("recovered", conn.recover_twophase())
            else:
                await borrower.call("settled", getattr(conn, f"{how}_prepared")(xid), how, xid)

        session.borrower.tell(order)
        self.step(f"{how} prepared: {xid}", session, let_go=4)

    # -- the rules: hooks, and the line

    async def hook(self, conn: sa.SAConnection) -> None:
        """Be the hook of new connections, or of those that come back."""
        what, self.hook_does = self.hook_does, "nothing"
        n = self.fresh()
        if what == "fails":
            raise OwnError
        if what in ("begins", "lingers"):
            await conn.execute("BEGIN")
        if what == "begins":
            await conn.execute(f"INSERT INTO {DATABASE}.numbers VALUES ({n}, {n})")
        if what == "lingers":
            gate = f"hook{n}"
            self.hook_gates.append(gate)
            self.overseer.shut(gate)
            with contextlib.suppress(sa.StatementTimeoutError):
                sql = f"INSERT INTO {DATABASE}.numbers VALUES ({n}, {DATABASE}.gate('{gate}', {n}))"
                await conn.execute(sql, timeout=0.002)

    @rule(what=st.sampled_from(("nothing", "begins", "lingers", "fails")))
    def set_hook(self, what: str) -> None:
        self.history.append(f"hook: {what}")
        self.hook_does = what

    @rule(
        at=st.integers(0, 12),
        kind=st.sampled_from(("fin", "reset")),
        way=st.sampled_from(("up", "down")),
    )
    def cut_the_line(self, at: int, kind: Any, way: Any) -> None:
        """Have a connection end in the midst of what is asked or answered next."""
        if self.proxy is not None:
            self.history.append(f"line: {at} {kind} {way}")
            self.armed = at, kind, way

    # -- the rules: what the server does by itself

    @rule(who=st.integers(0, 9), what=st.sampled_from(("QUERY", "QUERY", "CONNECTION")))
    def kill(self, who: int, what: str) -> None:
        session = chosen([s for s in self.sessions if s.borrower.conn], who)
        if session is None:
            return
        if what == "CONNECTION":
            session.fragile = True
            session.extend(lambda world: [world.lose()])
        if session.gate is not None:
            session.gate.killed = True
        self.step(
            f"kill: {what}",
            session,
            start=lambda: self.overseer.kill(session.borrower.thread, what),
        )

    @rule(who=st.integers(0, 9), other=st.integers(0, 9))
    def deadlock(self, who: int, other: int) -> None:
        """Have two borrowers wait for each other's rows."""
        able = [
            s
            for s in self.free()
            if s.certain
            and s.gate is None
            and s.worlds[0].blocks
            and s.worlds[0].open
            and not s.worlds[0].refuses
            and not s.worlds[0].prepared
            and s.borrower.sibling is None
        ]
        known = sorted(self.unlocked())
        if len(able) < 2 or len(known) < 2:
            return
        first = able.pop(who % len(able))
        second = able[other % len(able)]
        a, b = known[:2]
        u, v, w, x = (self.fresh() for _ in range(4))
        for session, n, value in ((first, a, u), (second, b, v)):
            self.execute(
                session,
                Job(f"UPDATE {DATABASE}.numbers SET v = {value} WHERE id = {n}", ({n: value},)),
            )
        for session, n in ((first, a), (second, b)):
            if not session.certain or not session.worlds[0].able:
                return
            if n not in session.worlds[0].pending:
                return
        for session, n, value in ((first, b, w), (second, a, x)):
            session.ids |= {a, b}
            job = Job(f"UPDATE {DATABASE}.numbers SET v = {value} WHERE id = {n}", ({n: value},))

            async def order(borrower: Borrower, job: Job = job) -> None:
                await borrower.call("deadlocked", borrower.conn.execute(job.sql), job)

            session.borrower.tell(order)
        self.step("deadlock")

    @rule(which=st.integers(0, 99), what=st.sampled_from(("insert", "begin", "end", "recover")))
    def use_after(self, which: int, what: str) -> None:
        """Use a connection that was given back, or a transaction on it."""
        borrower = chosen(self.gone, which)
        if borrower is None:
            return
        conn: Any = borrower.conn

        async def use() -> None:
            n = self.fresh()
            if what == "insert":
                call = conn.execute(f"INSERT INTO {DATABASE}.numbers VALUES ({n}, {n})")
            elif what == "end" and borrower.transactions:
                found = list(borrower.transactions.values())
                call = found[which % len(found)].commit()
            elif what == "recover":
                call = conn.commit_prepared("x0")
            else:
                call = conn.begin()
            outcome = await outcome_of(call)
            assert outcome.kind is Kind.REFUSED, self.told(f"{what} after its end: {outcome}")

        self.step(f"use after: {what}", start=lambda: self.loop.create_task(use()))

    @rule(who=st.integers(0, 9), kinds=st.lists(KINDS, min_size=1, max_size=3), held=st.booleans())
    def work(self, who: int, kinds: list[str], held: bool) -> None:
        """Be in the midst of work: transactions in each other, with a row in each."""
        for what in kinds:
            self.enter(who=who, what=what, held=held, cut=(), caught=True)
            self.insert(who=who, cut=(), caught=True)

    @rule(
        who=st.integers(0, 9),
        held=st.booleans(),
        how=st.sampled_from(("commit", "rollback", "leave", "fail", "nothing")),
        cut=CUTS,
    )
    def go_through_two_phases(self, who: int, held: bool, how: str, cut: tuple[int, ...]) -> None:
        """Have work prepared, and end it, or leave that to what comes."""
        self.enter(who=who, what="begin_twophase", held=held, cut=(), caught=True)
        self.insert(who=who, cut=(), caught=True)
        self.prepare(who=who, cut=())
        if how in ("commit", "rollback"):
            self.end_object(who=who, which=-1, how=how, cut=cut)
        elif how == "leave":
            self.leave(who=who, cut=cut)
        elif how == "fail":
            self.fail(who=who, levels=1, cut=cut)

    # What more often leads somewhere is tried more often.
    work_2, work_3, work_4, work_5 = work, work, work, work
    insert_2, insert_3, enter_2, enter_3 = insert, insert, enter, enter
    fail_2, fail_3, leave_2, end_object_2 = fail, fail, leave, end_object
    gate_2, many_2, phases_2 = insert_behind_a_gate, many, go_through_two_phases


@pytest.fixture
def overseer(connect_kwargs: dict[str, Any], other_database: str) -> Iterator[Overseer]:
    """The server, with what the machine needs of it."""
    overseer = Overseer(connect_kwargs, other_database)
    yield overseer
    overseer.close()


@pytest.mark.timeout(120 + 4 * EXAMPLES)
def test_server_has_what_borrowers_were_told_and_no_more(
    overseer: Overseer,
    new_loop: Callable[[], Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("aiomysqlx.wire.stopping.DRAIN_SECONDS", 0.2)
    monkeypatch.setattr("aiomysqlx.wire.stopping.KILL_SECONDS", 0.5)
    reached: Counter[str] = Counter()
    started = time.monotonic()

    run_state_machine_as_test(
        lambda: Machine(overseer, new_loop, reached),
        settings=settings(
            max_examples=EXAMPLES,
            derandomize=GIVEN is None,  # when servers answer still differs
            stateful_step_count=50,
            suppress_health_check=list(HealthCheck),
        ),
    )

    if GIVEN:
        with capsys.disabled():
            print(f"\n{summary(reached, time.monotonic() - started)}", flush=True)


@contextlib.contextmanager
def replayed(machine: Machine, maxsize: int) -> Iterator[None]:
    """Have so many borrowers of the machine, who give everything back in the end."""
    try:
        machine.begin(maxsize=maxsize, autocommit=True, more={}, proxied=False)
        for _ in range(maxsize):
            machine.borrow(style="block", probes=False)
        yield
    finally:
        machine.teardown()


def test_status_from_before_an_error_tells_of_no_transaction(
    overseer: Overseer, new_loop: Callable[[], Any]
) -> None:
    """A refused statement commits what a procedure has begun, and carries no status."""
    machine = Machine(overseer, new_loop, Counter())
    with replayed(machine, 1):
        machine.begin_by_text(who=0, fails=False, cut=())
        (refused,) = (each for each in Machine.FAILING if each[2] == "committed")

        machine.mistake(who=0, which=refused)

        status = machine.sessions[0].borrower.raw.server_status
        assert status & SERVER_STATUS.SERVER_STATUS_IN_TRANS
        assert overseer.rows(overseer.committed)[7] == 7


def test_row_rolled_back_to_a_savepoint_may_be_locked(
    overseer: Overseer, new_loop: Callable[[], Any]
) -> None:
    """Another one who wanted it would wait until the transaction ends."""
    machine = Machine(overseer, new_loop, Counter())
    with replayed(machine, 2):
        # The server rolls all back, locks and all, if nothing was written before the savepoint.
        machine.work(who=0, kinds=["begin", "begin_nested"], held=True)
        before = machine.unlocked()
        machine.update(who=0, which=0, cut=())
        wanted = f"SELECT v FROM numbers WHERE id = {min(before)} FOR UPDATE NOWAIT"

        machine.end_object(who=0, which=1, how="rollback", cut=())

        with pytest.raises(err.OperationalError) as caught:
            overseer.ask(wanted)
        assert caught.value.args[0] in LOCKED
        assert machine.unlocked() == before - {min(before)}
        machine.update(who=1, which=0, cut=())
        machine.end_object(who=0, which=0, how="commit", cut=())
        assert overseer.ask(wanted) == [(0,)]
        assert machine.unlocked() >= before


def test_nobody_waits_to_insert_where_a_row_was_that_is_rolled_back_to_a_savepoint(
    overseer: Overseer, new_loop: Callable[[], Any]
) -> None:
    machine = Machine(overseer, new_loop, Counter())
    with replayed(machine, 2):
        machine.work(who=0, kinds=["begin", "begin_nested"], held=True)
        machine.end_object(who=0, which=1, how="rollback", cut=())

        machine.insert(who=1, cut=(), caught=True)

        assert overseer.rows(overseer.committed)[9] == 9


@pytest.mark.parametrize("what", ["QUERY", "CONNECTION"])
@pytest.mark.parametrize(
    "kinds",
    [
        [],
        ["begin"],
        ["begin", "begin_nested"],
        ["begin_twophase"],
        ["begin_twophase", "begin"],
        ["begin_twophase", "begin_nested"],
    ],
    ids=lambda kinds: "-".join(kinds) or "outside",
)
def test_kill_ends_the_statement_under_way_in_every_transaction(
    overseer: Overseer, new_loop: Callable[[], Any], kinds: list[str], what: str
) -> None:
    machine = Machine(overseer, new_loop, Counter())
    with replayed(machine, 1):
        for kind in kinds:
            machine.enter(who=0, what=kind, held=True, cut=(), caught=True)
        (session,) = machine.sessions

        machine.insert_behind_a_gate(who=0, how="beside", turns=1)
        machine.kill(who=0, what=what)

        assert session.gate is None
        outcome = session.borrower.events[-1].outcome
        assert outcome.kind is (Kind.SERVER if what == "QUERY" else Kind.LOST)
        assert overseer.rows(overseer.dirty).keys() == set(SEEDS)
        machine.insert(who=0, cut=(), caught=True)
        assert overseer.rows(overseer.dirty).keys() == {*SEEDS, machine.number}


def test_kill_that_meets_no_statement_is_nothing_that_goes_on(
    overseer: Overseer, new_loop: Callable[[], Any]
) -> None:
    """MariaDB shows the thread as killed until its next statement, which it executes."""
    machine = Machine(overseer, new_loop, Counter())
    with replayed(machine, 1):
        (session,) = machine.sessions
        thread = session.borrower.thread

        machine.step("kill", session, start=lambda: overseer.kill(thread, "QUERY"))

        assert overseer.running()[thread] == "idle"
        machine.insert(who=0, cut=(), caught=True)
        assert overseer.rows(overseer.committed)[7] == 7


def summary(reached: Counter[str], seconds: float) -> str:
    """Give the line that says how many sequences there were, and what they came by."""
    sequences = reached.pop("sequences")
    counts = ", ".join(f"{count:,} {what}" for what, count in sorted(reached.items()))
    return (
        f"sequences in transactions: {sequences:,} in {seconds:.1f} s;"
        f" resident {resident_bytes() / MEGABYTE:.1f} MB in the end; {counts}"
    )
