"""A borrower of a connection, who does one thing after the other, as it is told, in real blocks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

from watch import spawn
from worlds import Kind, Outcome, OwnError, classify, outcome_of

import aiomysqlx as sa

Style = Literal["block", "close", "release"]
Order = Callable[["Borrower"], Awaitable[None]]
Step = Callable[[Outcome], Any]


@dataclass(frozen=True)
class Event:
    """Something that a borrower, or a task of its own, has been through."""

    name: str
    outcome: Outcome
    details: tuple[Any, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} {self.details}: {self.outcome}"


class Borrower:
    """A task that borrows a connection and notes how each thing it is told to do has ended.

    *style* is how it gives the connection back: as its block ends, by `close()` or by `release()`.
    """

    def __init__(self, engine: sa.Engine, style: Style) -> None:
        self.engine = engine
        self.style = style
        self.events: list[Event] = []
        self.conn: sa.SAConnection | None = None
        self.raw: Any = None  # what it has borrowed
        self.thread = 0
        self.transactions: dict[int, Any] = {}
        self.open_blocks: list[int] = []
        self.catching = False  # of a cancellation, in the innermost block or call
        self.sibling: asyncio.Future[Any] | None = None
        self._told: asyncio.Future[Order | None] | None = None
        self.task = spawn(self._borrow())

    @property
    def idle(self) -> bool:
        """Whether it waits to be told something."""
        return self._told is not None and not self._told.done() and not self.task.done()

    @property
    def waits(self) -> bool:
        """Whether it waits for a connection."""
        return self.conn is None and not self.task.done()

    def tell(self, order: Order | None) -> None:
        """Have it do something; `None`: leave the innermost block, the connection's at last."""
        assert self._told is not None
        self._told.set_result(order)

    def note(self, name: str, outcome: Outcome, *details: Any) -> None:
        """Note how something has ended."""
        self.events.append(Event(name, outcome, details))

    async def call(self, name: str, awaitable: Awaitable[Any], *details: Any) -> None:
        """Do something, and note how it has ended; a cancellation passes unless it is caught."""
        try:
            self.note(name, await outcome_of(awaitable), *details)
        except asyncio.CancelledError as error:
            self.note(name, classify(error), *details)
            self._catch()

    def beside(self, name: str, awaitable: Awaitable[Any], *details: Any) -> None:
        """Do something in a task of its own."""
        self.sibling = spawn(self._beside(name, awaitable, *details))

    async def _beside(self, name: str, awaitable: Awaitable[Any], *details: Any) -> None:
        try:
            outcome = await outcome_of(awaitable)
        except asyncio.CancelledError as error:
            self.note(name, classify(error), *details)
            raise
        if name == "begun" and outcome.kind is Kind.OK:
            self.transactions[details[0].id] = outcome.value
        self.note(name, outcome, *details)

    async def enter(self, begin: Callable[[], Any], *details: Any) -> None:
        """Be in a block of a transaction until it is told to leave it."""
        block = details[0]
        entered = normal = False
        try:
            async with begin() as transaction:
                self.transactions[block.id] = transaction
                self.open_blocks.append(block.id)
                entered = True
                self.note("begun", Outcome(Kind.OK), *details)
                await self._serve()
                normal = True
            self._note_left(Outcome(Kind.OK), normal)
        except OwnError as error:
            self._note_left(classify(error), normal)
            if error.levels > 1:
                raise OwnError(error.levels - 1) from None
        except asyncio.CancelledError as error:
            if entered:
                self._note_left(classify(error), normal)
            else:
                self.note("begun", classify(error), *details)
            self._catch()
        except Exception as error:
            if entered:
                self._note_left(classify(error), normal)
            else:
                self.note("begun", classify(error), *details)

    def _note_left(self, outcome: Outcome, normal: bool) -> None:
        block_id = self.open_blocks.pop()
        if normal:
            self.note("ended", outcome, block_id, "commit", True)
        else:
            self.note("left", outcome, block_id)

    def _catch(self) -> None:
        if not self.catching:
            raise
        self.catching = False
        task = asyncio.current_task()
        if hasattr(task, "uncancel"):  # from Python 3.11 on
            task.uncancel()

    async def _serve(self) -> None:
        while True:
            self._told = asyncio.get_running_loop().create_future()
            order = await self._told
            if order is None:
                return
            await order(self)

    async def _borrow(self) -> None:
        outcome = Outcome(Kind.OK)
        try:
            if self.style == "block":
                async with self.engine.acquire() as conn:
                    await self._use(conn)
            else:
                await self._use_and_return(await self.engine.acquire())
        except (OwnError, asyncio.CancelledError, Exception) as error:
            outcome = classify(error)
        self.note("released" if self.conn is not None else "not served", outcome)

    async def _use(self, conn: sa.SAConnection) -> None:
        self.conn, self.raw = conn, conn.connection
        self.thread = self.raw.thread_id()
        self.note("acquired", Outcome(Kind.OK))
        await self._serve()

    async def _use_and_return(self, conn: sa.SAConnection) -> None:
        try:
            await self._use(conn)
        finally:
            if self.style == "release":
                with contextlib.suppress(sa.InvalidRequestError):  # within a transaction
                    self.engine.release(conn)
            await conn.close()
