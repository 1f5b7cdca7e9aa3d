"""What may be on the server of one borrower's work: every state that the answers so far allow.

A step of the borrower takes each `World` that is possible to those that its outcome leaves
possible. If there is none, the outcome is wrong; if none is what the server shows, the server's
rows are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pymysql import err
from pymysql.constants import ER

import aiomysqlx as sa

Writes = Mapping[int, int]  # the value of each row that is written, by its number
NOTHING: Writes = {}
# What the server answers in an XA transaction to what would end it, and in any other to XA.
XA_CODES = {1399, 1400, 1402, 1613, 1614}
# KILL QUERY, in MySQL's words and MariaDB's.
INTERRUPTED = {ER.QUERY_INTERRUPTED, 1969}
# How a transaction ends that the program has not ended itself: it must be told.
TOLD = {"deadlock", "lost", "refused"}


class OwnError(Exception):
    """A program's own error, which leaves so many blocks."""

    def __init__(self, levels: int = 1) -> None:
        super().__init__(levels)
        self.levels = levels


class Kind(Enum):
    """How a call has ended."""

    OK = "done"
    REFUSED = "refused by this package"
    SERVER = "refused by the server"
    LOST = "lost with its connection"
    LATE = "late"
    CUT = "cancelled"
    OWN = "the program's own error"


@dataclass(frozen=True)
class Outcome:
    """How a call has ended, and with what."""

    kind: Kind
    code: int = 0
    value: Any = None
    error: BaseException | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return self.kind.name if self.error is None else f"{self.kind.name} {self.error!r}"


def classify(error: BaseException) -> Outcome:
    """Give the outcome that *error* is; raise one that no user should see."""
    if isinstance(error, OwnError):
        return Outcome(Kind.OWN, error=error)
    if isinstance(error, asyncio.CancelledError):
        return Outcome(Kind.CUT, error=error)
    if isinstance(error, sa.StatementTimeoutError):
        return Outcome(Kind.LATE, error=error)
    if isinstance(error, sa.InvalidRequestError):
        return Outcome(Kind.REFUSED, error=error)
    if sa.is_disconnect(error):
        return Outcome(Kind.LOST, error=error)
    if isinstance(error, err.MySQLError):
        return Outcome(Kind.SERVER, error.args[0], error=error)
    raise error


async def outcome_of(call: Awaitable[Any]) -> Outcome:
    """Await *call* and give how it has ended; a cancellation passes."""
    try:
        return Outcome(Kind.OK, value=await call)
    except Exception as error:
        return classify(error)


@dataclass(frozen=True)
class Job:
    """What a statement does: rows to write, one execution after the other, and what then."""

    sql: str
    parts: tuple[Writes, ...] = ()
    ends: str = ""  # how it ends the transaction: "committed" or "rolled back"
    codes: tuple[int, ...] = ()  # the error with which it fails, on one server or the other
    autocommit: bool | None = None  # what it sets
    begins: Writes = field(default_factory=dict)  # what is written in a transaction it leaves begun


@dataclass(frozen=True)
class May:
    """What else may be the matter with a connection than what it is asked."""

    crowded: bool = False  # another task uses it
    fragile: bool = False  # something was cut off, is late or was killed
    over: bool = False  # it was given back


@dataclass(frozen=True)
class Block:
    """A transaction that the borrower has begun and not ended."""

    id: int
    kind: str  # "root", "twophase", "savepoint" or "emulated"
    held: bool  # as an object, not by an `async with`
    writes: Writes = field(default_factory=dict)

    @property
    def real(self) -> bool:
        """Whether the server knows of it."""
        return self.kind != "emulated"


@dataclass(frozen=True)
class Orphan:
    """A prepared transaction whose connection is gone."""

    xid: str
    writes: Writes
    locks: frozenset[int] = field(compare=False)


@dataclass(frozen=True)
class World:
    """One state that a borrower's session may be in."""

    autocommit: bool
    blocks: tuple[Block, ...] = ()
    loose: Writes = field(default_factory=dict)  # not committed, and in no block
    done: Writes = field(default_factory=dict)  # committed since the server was looked at
    ended: str = ""  # what became of the blocks' transaction on the server, if it is gone
    # Blocks of the program that are not left yet, though it has ended their transactions itself:
    # by their own objects, or by another's, after which nothing is executed before they are left.
    over: tuple[int, ...] = ()
    barred: tuple[int, ...] = ()
    prepared: str = ""  # the xid
    orphan: Orphan | None = None
    open: bool = True
    # The rows that the transaction in progress may have locked: InnoDB keeps a row's lock beyond
    # the savepoint in which it was written, and beyond a statement that has failed.
    locks: frozenset[int] = field(default=frozenset(), compare=False)

    @property
    def pending(self) -> Writes:
        """What is written and neither committed nor rolled back."""
        return {**self.loose, **merged(block.writes for block in self.blocks)}

    @property
    def refuses(self) -> bool:
        """Whether a statement must be refused: it would not be in its block's transaction."""
        return self.ended != "" or bool(self.barred)

    @property
    def able(self) -> bool:
        """Whether a statement is executed for certain."""
        return self.open and not (self.refuses or self.over or self.prepared)

    @property
    def xa(self) -> bool:
        """Whether the session is in a two-phase transaction."""
        return bool(self.blocks) and self.blocks[0].kind == "twophase"

    def index(self, block_id: int) -> int | None:
        """Give where a block stands; `None` once its transaction has ended."""
        found = [number for number, block in enumerate(self.blocks) if block.id == block_id]
        return found[0] if found else None

    # -- what changes it

    def write(self, writes: Writes) -> World:
        """Write rows where a statement is executed."""
        if self.blocks and not self.ended:
            return self.write_in(self._real(len(self.blocks)), writes)
        if self.autocommit and not self.loose:
            return replace(self, done={**self.done, **writes})
        return replace(self, loose={**self.loose, **writes})

    def lock(self, parts: Iterable[Writes]) -> World:
        """Lock the rows of a statement, executed or not, until the transaction ends."""
        if not (self.blocks or self.loose) and self.autocommit:
            return self
        return replace(self, locks=self.locks.union(*parts))

    def write_in(self, at: int, writes: Writes) -> World:
        """Write rows in one of the blocks."""
        written = replace(self.blocks[at], writes={**self.blocks[at].writes, **writes})
        return replace(self, blocks=(*self.blocks[:at], written, *self.blocks[at + 1 :]))

    def _real(self, below: int) -> int:
        """Give where the innermost block stands that the server knows of, below another."""
        return max(number for number in range(below) if self.blocks[number].real)

    def end(self, how: str) -> World:
        """Have the server end the transaction, in the midst of its blocks."""
        done = {**self.done, **self.pending} if how == "committed" else self.done
        blocks = tuple(replace(block, writes=NOTHING) for block in self.blocks)
        ended = self.ended or how if blocks else ""
        return replace(
            self,
            done=done,
            loose=NOTHING,
            blocks=blocks,
            ended=ended,
            prepared="",
            locks=frozenset(),
        )

    def lose(self) -> World:
        """Lose the connection: what is prepared stays, all else that is pending does not."""
        orphan = self.orphan
        if self.prepared:
            orphan = Orphan(self.prepared, self.pending, self.locks)
        return replace(self.end("lost"), orphan=orphan, open=False)

    def close_block(self, at: int, how: str, leaving: bool) -> World:
        """End a block, *how* is "committed" or "rolled back", and all that the server has in it."""
        block = self.blocks[at]
        over = () if leaving or block.held else (block.id,)
        if block.kind == "emulated":
            # Its object can roll back what is around it also once it has committed.
            stays = (replace(block, held=True),) if how == "committed" else ()
            rest = (*self.blocks[:at], *stays, *self.blocks[at + 1 :])
            world = replace(self, blocks=rest, over=(*self.over, *over))
            return world if stays else world._close_outer(self._real(at))
        below, inside = self.blocks[:at], self.blocks[at + 1 :]
        barred = tuple(one.id for one in inside if not one.held)
        left = replace(self, over=(*self.over, *over), barred=(*self.barred, *barred))
        if not at:
            return replace(left.end(how), blocks=(), ended="")
        outer = replace(left, blocks=below)
        if how != "committed":
            return outer
        writes = merged(one.writes for one in self.blocks[at:])
        return outer.write_in(outer._real(at), writes)

    def _close_outer(self, at: int) -> World:
        """Roll back what is around an emulated block, which bars it."""
        block = self.blocks[at]
        barred = () if block.held else (block.id,)
        world = self.close_block(at, "rolled back", True)
        return replace(world, barred=(*world.barred, *barred))

    def leave(self, block_id: int) -> World:
        """Leave a block whose transaction is over."""
        over = tuple(each for each in self.over if each != block_id)
        return replace(self, over=over, barred=tuple(n for n in self.barred if n != block_id))

    def give_back(self) -> World:
        """Give the connection back, which ends what is in progress."""
        return replace(self.end("rolled back"), blocks=(), over=(), barred=(), ended="")


def merged(writes: Iterable[Writes]) -> dict[int, int]:
    """Give what was written, the last value of each row."""
    return {n: v for each in writes for n, v in each.items()}


def distinct(worlds: Iterable[World]) -> list[World]:
    """Give each world once, with all that may be locked in it."""
    found: list[World] = []
    for world in worlds:
        if world in found:
            at = found.index(world)
            found[at] = replace(world, locks=found[at].locks | world.locks)
        else:
            found.append(world)
    return found


# -- statements ------------------------------------------------------------------------------------


def executed(world: World, outcome: Outcome, job: Job, may: May) -> list[World]:
    """Give what a statement's outcome leaves possible."""
    kind = outcome.kind
    if kind is Kind.REFUSED:
        return [world] if may.over or may.crowded or not world.able else []
    world = world.lock(job.parts)
    if kind is Kind.LOST:
        return _cut_short(world, job) if may.fragile or not world.open else []
    if kind in (Kind.LATE, Kind.CUT):
        return _cut_short(world, job)
    if may.over or not world.open or world.refuses:
        return []
    if world.prepared:
        return [world] if outcome.code in XA_CODES else []
    if kind is Kind.SERVER:
        if outcome.code in job.codes:
            return [_finish(world, job)]
        known = (world.xa and outcome.code in XA_CODES) or (
            may.fragile and outcome.code in INTERRUPTED
        )
        return [world] if known else []
    if job.codes or (world.xa and (job.ends or job.begins)):
        return []
    for part in job.parts:
        world = world.write(part)
    return [_finish(world, job)]


def _finish(world: World, job: Job) -> World:
    if job.ends:
        world = world.end(job.ends)
    if job.autocommit and not world.autocommit:
        world = world.end("committed")
    if job.autocommit is not None:
        world = replace(world, autocommit=job.autocommit)
    return replace(world, loose=job.begins) if job.begins else world


def _cut_short(world: World, job: Job) -> list[World]:
    """Give how far a statement may have come; its connection may be closed."""
    if not world.open or world.refuses or world.prepared:
        return [world, world.lose()]
    worlds = [world]
    for part in job.parts:
        worlds.append(worlds[-1].write(part))
    if not (world.xa and job.ends):
        worlds.append(_finish(worlds[-1], job))
    return [*worlds, *(each.lose() for each in worlds)]


def executed_late(world: World, job: Job, block_id: int | None, bare: bool) -> list[World]:
    """Give the world in which a statement was executed that nobody waited for.

    It was begun in a block, or in none; *bare* is one that commits by itself.
    """
    (writes,) = job.parts
    if bare:
        return [replace(world, done={**world.done, **writes})]
    if not world.open or world.ended:
        return []
    if block_id is None:
        return [] if world.blocks else [world.write(writes)]
    at = world.index(block_id)
    return [] if at is None else [world.write_in(at, writes)]


def deadlocked(world: World, outcome: Outcome, job: Job, may: May) -> list[World]:
    """Give what is possible after a statement that may meet a deadlock."""
    if outcome.kind is Kind.SERVER and outcome.code == ER.LOCK_DEADLOCK:
        return [world.end("deadlock")]
    return executed(world, outcome, job, may)


def recovered(world: World, outcome: Outcome, may: May) -> list[World]:
    """Give what recover_twophase() leaves possible, which may be asked in any transaction."""
    if outcome.kind is Kind.OK:
        return [world] if world.open and not may.over else []
    return executed(world, outcome, Job("XA RECOVER"), may)


def settled(world: World, outcome: Outcome, known: bool, may: May) -> list[World]:
    """Give what commit_prepared() or rollback_prepared() leaves possible of the session's own."""
    if outcome.kind is Kind.OK:
        return [world] if known and world.open and not may.over else []
    if outcome.kind in (Kind.SERVER, Kind.REFUSED):
        return [world]
    if outcome.kind is Kind.LOST and world.open and not may.fragile:
        return []
    return [world, world.lose()]


# -- transactions ----------------------------------------------------------------------------------


def begun(world: World, outcome: Outcome, block: Block, may: May) -> list[World]:
    """Give what the outcome of a begin, of whichever kind, leaves possible."""
    twophase = block.kind == "twophase"
    inner = bool(world.blocks)
    if outcome.kind is Kind.REFUSED:
        allowed = may.over or may.crowded or not world.able or (twophase and inner)
        return [world] if allowed else []
    if outcome.kind in (Kind.LOST, Kind.LATE, Kind.CUT):
        if outcome.kind is Kind.LOST and world.open and not may.fragile:
            return []
        # BEGIN commits what there was.
        return [world, world.lose(), (world if inner else world.end("committed")).lose()]
    # An emulated one asks nobody.
    asks = not (inner and block.kind == "emulated")
    if may.over or (asks and (world.refuses or not world.open)):
        return []
    if outcome.kind is Kind.SERVER:
        outside = twophase and (world.loose or not world.autocommit)
        return [world] if (outside or world.xa) and outcome.code in XA_CODES else []
    if inner:
        fits = not twophase and not (world.prepared and block.real)
        return [replace(world, blocks=(*world.blocks, block))] if fits else []
    if twophase and world.loose:
        return []
    first = block if twophase else replace(block, kind="root")
    return [replace(world.end("committed"), blocks=(first,), ended="")]


def ended(
    world: World, outcome: Outcome, block_id: int, how: str, leaving: bool, may: May
) -> list[World]:
    """Give what the outcome of commit(), rollback() or close() leaves possible.

    *leaving* is the normal end of a block of the program.
    """
    kind = outcome.kind
    at = world.index(block_id)
    if at is None:  # it is over
        idle = how != "commit" or leaving or bool(world.blocks)
        fits = kind in (Kind.REFUSED, Kind.CUT) or (kind is Kind.OK and idle)
        return [world.leave(block_id) if leaving else world] if fits else []
    block = world.blocks[at]
    if how == "close" and block.kind in ("savepoint", "emulated"):
        # What was done in it stays in the transaction around it.
        stays = world if world.ended else world.close_block(at, "committed", False)
        return [stays] if kind is Kind.OK else []
    over = world.close_block(at, "committed" if how == "commit" else "rolled back", leaving)
    if kind is Kind.OK:
        silent = how == "commit" and block.real and world.ended in TOLD
        return [] if silent else [over]
    dropped = [
        world.close_block(at, "rolled back", leaving),
        replace(world.end("lost"), prepared="").close_block(at, "rolled back", leaving),
    ]
    lost = [each.lose() for each in dropped]
    if world.prepared:  # and stays so, without its connection
        lost.append(world.lose().close_block(at, "rolled back", leaving))
    kept = [] if leaving else [world]
    if kind is Kind.REFUSED:
        if may.over or not world.open:
            gone = world.lose()
            return [gone.close_block(at, "rolled back", leaving), *([] if leaving else [gone])]
        allowed = may.crowded or world.refuses or world.prepared
        return [*kept, *dropped, *(lost if leaving else [])] if allowed else []
    if kind is Kind.SERVER:
        unprepared = world.xa and not world.prepared
        known = world.ended or unprepared or (may.fragile and outcome.code in INTERRUPTED)
        return [*dropped, *lost] if known else []
    if kind is Kind.LOST and world.open and not may.fragile:
        return []
    return [*kept, *dropped, *lost, over.lose()]


def left_by_error(world: World, outcome: Outcome, block_id: int, may: May) -> list[World]:
    """Give what is possible once a block was left by an error or a cancellation."""
    if outcome.kind not in (Kind.OWN, Kind.CUT):
        return []  # the block's own error passes
    at = world.index(block_id)
    if at is None:
        return [world.leave(block_id)]
    plain, whole, lost = (
        each.close_block(at, "rolled back", True)
        for each in (world, world.end("lost"), world.lose())
    )
    known = world.open and not (may.crowded or may.fragile)
    # What is prepared cannot be rolled back in part: its connection is closed.
    clean = outcome.kind is Kind.OWN and known and not (world.prepared and at)
    # What was prepared stays so without its connection, or was rolled back before that was lost.
    return [plain] if clean else [plain, whole, lost, whole.lose()]


def prepared(world: World, outcome: Outcome, block_id: int, xid: str, may: May) -> list[World]:
    """Give what the outcome of prepare() leaves possible."""
    live = world.index(block_id) == 0 and world.open and not world.ended
    ready = replace(world, prepared=xid)
    if outcome.kind is Kind.OK:
        return [ready] if live and not world.prepared else []
    if outcome.kind is Kind.REFUSED:
        return [world] if may.crowded or may.over or not (live and world.able) else []
    if outcome.kind is Kind.SERVER:
        return [world, world.end("refused")] if world.xa and not world.prepared else []
    if outcome.kind is Kind.LOST and world.open and not may.fragile:
        return []
    return [world, world.lose(), *([ready, ready.lose()] if live else [])]


def released(world: World, outcome: Outcome, may: May) -> list[World]:
    """Give what is possible once the connection was given back."""
    unfinished = bool(world.blocks or world.over or world.barred)
    if outcome.kind is Kind.REFUSED and not (unfinished or may.crowded):
        return []
    if outcome.kind in (Kind.SERVER, Kind.LATE):
        return []
    if outcome.kind is Kind.OK and not may.fragile:
        return [world.give_back()]
    return [world.give_back(), world.lose().give_back()]
