"""The cursors of the DB-API by aiomysql's names: rows as dictionaries, and results unbuffered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from pymysql import err
from pymysql.constants import FIELD_TYPE

from .cursor import Cursor as Cursor
from .cursor import leave_unbuffered
from .fetching import Row
from .runtime.words import brief
from .wire.columns import Columns, Shape
from .wire.command import Command
from .wire.flow import MAX_BUFFER, Flow
from .wire.session import Session
from .wire.warning import warn

_UNKNOWN = (1 << 64) - 1  # PyMySQL's number for a result whose rows are not counted yet


class _DictRows(Cursor[dict[str, Any]]):
    """What makes dictionaries of rows, buffered or not."""

    dict_type: Any = dict
    """What a row is made by, of pairs; a subclass may have another one."""

    _makes_rows = True
    _sequence = list
    _of: Columns | None = None
    _fields: tuple[str, ...] = ()

    def _made(self, columns: Columns | None, rows: list[Any]) -> list[Any]:
        rows = super()._made(columns, rows)
        if columns is None:
            return rows
        if columns is not self._of:
            self._of, self._fields = columns, _fields(columns)
        fields, dict_type = self._fields, self.dict_type
        return [dict_type(zip(fields, row, strict=False)) for row in rows]


class DictCursor(_DictRows):
    """A cursor whose rows are dictionaries."""


def _fields(columns: Columns) -> tuple[str, ...]:
    """Return the columns' names; one that comes again has its table's name before it."""
    fields: list[str] = []
    for column in columns.definitions:
        name = column.name
        fields.append(f"{column.table}.{name}" if name in fields else name)
    return tuple(fields)


class DeserializationCursor(Cursor[tuple[Any, ...]]):
    """A cursor that reads JSON columns into Python's values, where the server tells of them.

    MySQL does. MariaDB has no such type: its columns are text, and stay so.
    """

    _makes_rows = True

    def _made(self, columns: Columns | None, rows: list[Any]) -> list[Any]:
        places = () if columns is None else _json_places(columns)
        return super()._made(columns, [_read(row, places) for row in rows] if places else rows)


def _json_places(columns: Columns) -> list[int]:
    codes = [column.type_code for column in columns.definitions]
    return [place for place, code in enumerate(codes) if code == FIELD_TYPE.JSON]


def _read(row: tuple[Any, ...], places: list[int]) -> tuple[Any, ...]:
    values = list(row)
    for place in places:
        if values[place] is not None:
            with suppress(ValueError):  # of a charset or converters of one's own: it stays as it is
                values[place] = json.loads(values[place])
    return tuple(values)


class SSCursor(Cursor[Row]):
    """A cursor whose rows are read from the server as they are fetched.

    What is executed on the connection before the last one is fetched ends this: the rows that are
    left are dropped, with a warning.
    `rowcount` is not known before, and is PyMySQL's 18446744073709551615 until then. There is no
    way back in a result.
    """

    rowcount: int
    _flow: Flow | None = None

    # -- executing -------------------------------------------------------------------------------

    async def execute_shaped(self, query: str, args: Any, shape: Shape | None) -> int:
        """Execute *query*, and read the columns of its first result."""
        session = self._alive()
        self._leave()
        if session.is_unsettled():
            leave_unbuffered(session)
            await session.ready()
        session.raise_later()
        await self._stream(session, self.command(session, query, args, shape))
        return self.rowcount

    async def _answer(self, session: Session, command: Command) -> None:
        await self._stream(session, command)

    async def _stream(self, session: Session, command: Command) -> None:
        command.stream = MAX_BUFFER
        results = await session.run(command)
        flow = Flow(session, command)
        flow.warnings, flow.is_a_cursors = self.warnings, True
        flow.begin(results)
        if results[-1].warning_count:
            session.check_lease(self._lease)
            await warn(session, self.warnings)
        self._flow = flow
        self._show(flow)

    def _show(self, flow: Flow) -> None:
        self.load([flow.result])
        if flow.result.columns is not None:
            self.rowcount = _UNKNOWN

    async def executemany(self, query: str, args: Iterable[Any]) -> int | None:
        """Execute *query* once for each item of *args*; return the sum of affected rows.

        The rows of all executions are read before it returns.
        """
        groups = list(args)
        if groups:
            self._leave()
        return await super().executemany(query, groups)

    async def _execute_one(self, query: str, group: Any) -> None:
        await super().execute_shaped(query, group, None)

    # -- results ---------------------------------------------------------------------------------

    @property
    def rownumber(self) -> int:
        """The position in the current result."""
        flow = self._flow
        return super().rownumber if flow is None else flow.result.position - len(flow.buffer)

    def buffered(self, size: int) -> list[Row]:
        """Return the next *size* rows at most of those that are decoded, without waiting."""
        flow = self._flow
        if flow is None:
            return []
        buffer = flow.buffer
        return self._made(
            flow.result.columns, [buffer.popleft() for _ in range(min(size, len(buffer)))]
        )

    async def _next(self, size: int | None) -> list[Row]:
        """Return the next *size* rows, or those that are left."""
        flow = self._flow
        if flow is None:  # of many executions
            return super().take(size)
        self._alive()
        rows: list[Row] = []
        while size is None or len(rows) < size:
            try:
                if not flow.buffer and not await flow.fill():
                    if flow.result.columns is not None:
                        self.rowcount = flow.result.position
                    break
            except Exception as error:
                if not rows or size is None:
                    raise
                flow.fail(error)  # behind the rows before it
                break
            rows += self.buffered(len(flow.buffer) if size is None else size - len(rows))
        return rows

    async def nextset(self) -> bool | None:
        """Go to the next result; `None` if there is none. Rows that are left are dropped.

        Raises the error of the statement whose result it would be.
        """
        flow = self._flow
        self._alive()
        if flow is None:
            return self.advance()
        if await flow.advance() is None:
            return None
        self._show(flow)
        return True

    async def fetchone(self) -> Row | None:
        """Return the next row, `None` at the end."""
        rows = await self._next(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[Row]:
        """Return the next *size* rows (default: `arraysize`)."""
        return await self._next(self.arraysize if size is None else size)

    async def fetchall(self) -> Sequence[Row]:
        """Return the rows that are left."""
        return await self._next(None)

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Skip *value* rows (`relative`), or those up to *value* (`absolute`)."""
        if mode not in ("relative", "absolute"):
            raise err.ProgrammingError(
                f"unknown scroll mode {brief(mode)}: expected 'relative' or 'absolute'"
            )
        count = value if mode == "relative" else value - self.rownumber
        if count < 0:
            raise err.NotSupportedError("Backwards scrolling not supported by this cursor")
        while count and (rows := await self._next(min(count, MAX_BUFFER >> 10))):
            count -= len(rows)

    def take(self, size: int | None = None) -> list[Row]:
        """Raise `NotSupportedError`: to take rows, the server is waited for."""
        raise err.NotSupportedError("rows of an unbuffered cursor are awaited: await fetchmany()")

    def take_all(self) -> list[Row]:
        """Raise `NotSupportedError`, as `take()` does."""
        return self.take()

    def raise_later(self) -> None:
        """Raise the error of what came last of many executions; any other is raised as it comes."""
        if self._flow is None:
            super().raise_later()

    # -- ending ----------------------------------------------------------------------------------

    def detach(self) -> None:
        """Close the cursor, without a coroutine; what is still to come is read for nobody."""
        self._leave()
        super().detach()

    def _leave(self) -> None:
        flow, self._flow = self._flow, None
        if flow is not None:
            flow.end()

    async def __anext__(self) -> Row:
        rows = self.buffered(1) or await self._next(1)
        if not rows:
            raise StopAsyncIteration
        return rows[0]


class SSDictCursor(_DictRows, SSCursor[dict[str, Any]]):
    """An `SSCursor` whose rows are dictionaries."""
