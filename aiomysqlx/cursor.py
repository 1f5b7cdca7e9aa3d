"""The DB-API cursor, with coroutines where it waits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import pymysql
from aiomysql import DictCursor, SSCursor
from pymysql import err

from .exc import ArgumentError, InvalidRequestError
from .runtime.awaitable import AsynchronousRows
from .runtime.log import Logged
from .runtime.printable import brief, type_name
from .sql import template
from .sql.batch import RowPackets, merged, payloads
from .sql.template import check_values, quoted
from .wire._escape_py import HEX_BYTES
from .wire._impl import render
from .wire.turns import STEP, Turns, each_group, in_group
from .wire.warning import issue, wants_warnings, warn

if TYPE_CHECKING:  # the connection makes its cursors
    from .driver import Connection
    from .wire.columns import Shape
    from .wire.reply import ResultSet

T = TypeVar("T")


class Cursor(AsynchronousRows):
    """Executes SQL text and gives the rows of its results as tuples.

    Results are read whole before `execute()` returns; the fetch methods never wait for the
    server, they are coroutines because the DB-API's asyncio dialect has them so.

    The attributes are those of PEP 249: `description`, for each column its name, type code
    (`pymysql.constants.FIELD_TYPE`), `None`, length in bytes twice, number of decimals and whether
    it may be NULL; `rowcount`, the rows returned or affected, -1 before any; `rownumber`, the
    position in the result; `lastrowid`, the first AUTO_INCREMENT value generated; `arraysize`, how
    many rows `fetchmany()` gives unless told.

    What has been read stays readable after the connection was given back to its engine, but then
    nothing is executed any more.
    """

    warnings: bool | None = None
    """Whether the server's warnings are asked for and issued; `None`: as the connection has it."""

    _usage = "async for row in cursor, or rows = await cursor.fetchall()"

    def __init__(self, connection: Connection | None, echo: bool = False) -> None:
        self._connection = connection
        self._lease = 0 if connection is None else connection.lease
        self._results: list[ResultSet] = []
        self._echo = echo
        self.arraysize = 1
        self.description: tuple[tuple[Any, ...], ...] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    @property
    def connection(self) -> Connection | None:
        """The connection, `None` once the cursor is closed."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether the cursor is closed."""
        return self._connection is None and not self._results

    @property
    def echo(self) -> bool:
        """Whether statements are logged."""
        return self._echo

    @property
    def rownumber(self) -> int:
        """The position in the current result."""
        return self._results[0].position if self._results else 0

    @property
    def warning_count(self) -> int:
        """The number of warnings of the current result."""
        return self._results[0].warning_count if self._results else 0

    @property
    def results(self) -> list[ResultSet]:
        """The current result and those that `nextset()` goes on to."""
        return self._results

    # -- executing -------------------------------------------------------------------------------

    async def execute(self, query: str, args: Any = None) -> int:
        """Execute *query* and give the number of affected (or returned) rows.

        With *args* `None` the text is sent as it stands; else its placeholders, `%s` or
        `%(name)s`, take the values of a sequence, a mapping, or a single value.
        """
        return await self.execute_shaped(query, args, None)

    async def execute_shaped(self, query: str, args: Any, shape: Shape | None) -> int:
        """Execute *query*, with the first result's rows as *shape* makes them."""
        connection = self._alive()
        if connection.is_unsettled():
            await connection.ready()
        connection.check_bar()
        self.raise_later()
        packet = self._render(connection, query, args)
        lease = connection.lease
        with Logged(self._echo, query):
            results = await connection.send(packet, shape=shape, partial=True)
        self.load(results)
        if results[-1].warning_count:
            connection.check_lease(lease)
            await warn(connection, self.warnings)
        return self.rowcount

    async def executemany(self, query: str, args: Iterable[Any]) -> int | None:
        """Execute *query* once for each item of *args*; give the sum of affected rows.

        An INSERT or REPLACE of values, `VALUES (%s, …)`, is sent with many rows at a time, in
        packets that the server takes; whatever is not surely one is executed for each item.
        `lastrowid` is the id generated for the first row. The rows are those of all executions.
        """
        sequences = list(args)
        connection = self._alive()
        if not sequences:
            return None
        await connection.ready()
        claim = connection.claim
        rows = template.parse_rows(query)
        if rows is None:
            whole: ResultSet | None = None
            done = 0
            try:
                for item in sequences:
                    connection.check_claim(claim)
                    await self.execute(query, item)
                    whole = merged([*([whole] if whole is not None else []), self._results[0]])
                    done += 1
            except InvalidRequestError:  # of the connection, not of what is executed
                raise
            except ArgumentError as error:
                raise in_group(error, done) from error.__cause__
            assert whole is not None
            self.load([whole, *self._results[1:]])
        else:
            with Turns(connection) as turns:
                packets = await _insert_packets(turns, rows, sequences)
            told: list[tuple[Any, ...]] | None
            told = [] if wants_warnings(connection, self.warnings) else None
            with Logged(self._echo, query):
                results = await connection.send_each(packets, told=told)
            self.load([merged(results)])
            issue(told or ())
        return self.rowcount

    async def callproc(self, procname: str, args: Sequence[Any] = ()) -> Sequence[Any]:
        """Call a stored procedure and give back *args*.

        The arguments travel in the session variables `@_procname_0`, `@_procname_1`, …, where
        OUT parameters can be read afterwards. The procedure's result sets follow one another
        through `nextset()`.
        """
        connection = self._alive()
        await connection.ready()
        claim = connection.claim
        variables = [quoted(f"_{procname}_{index}", "@") for index in range(len(args))]
        if args:
            texts = [f"{', ' if index else 'SET '}{v} = " for index, v in enumerate(variables)]
            assignment = template.Template((*texts, ""), None)
            await connection.send(_render_template(connection, assignment, tuple(args)))
            connection.check_claim(claim)
        name = ".".join(quoted(part) for part in procname.split("."))
        sql = f"CALL {name}({', '.join(variables)})"
        with Logged(self._echo, sql):
            results = await connection.send(self._render(connection, sql, None), partial=True)
        self.load(results)
        return args

    def mogrify(self, query: str, args: Any = None) -> str:
        """Give the text that `execute()` would send, but for bytes: they are written as `X'…'`."""
        connection = self._alive()
        packet = self._render(connection, query, args, HEX_BYTES)
        # Text shorter than a packet's 16 MiB stands behind the header in one piece.
        body = b"".join(payloads(packet))
        return body[1:].decode(connection.encoding)

    def _render(self, connection: Connection, query: str, args: Any, mode: int = 0) -> bytes:
        if not isinstance(query, str):
            raise ArgumentError(f"expected a statement as str, got {brief(query)}")
        if args is None:
            return render((connection.encode(query),), (), connection.encoding, 0)
        return _render_template(connection, template.parse(query), args, mode)

    # -- results ---------------------------------------------------------------------------------

    def load(self, results: list[ResultSet]) -> None:
        """Take the results of a command; the first one becomes the current."""
        self._results = results
        result = results[0]
        self.rowcount = result.affected_rows
        if result.columns is None:
            self.lastrowid = result.insert_id
            self.description = None
        else:
            self.lastrowid = None
            self.description = result.columns.description

    async def nextset(self) -> bool | None:
        """Go to the next result; `None` if there is none.

        Raises the error of the statement whose result it would be.
        """
        if not self._results:
            self._alive()
        if len(self._results) < 2:
            return None
        if self._results[1].error is not None:
            self.raise_later()
        self.load(self._results[1:])
        return True

    def raise_later(self) -> None:
        """Raise the server's error that came in the place of the last result; once."""
        if self._results and self._results[-1].error is not None:
            latest = self._results[-1]
            self._results = self._results[:1]
            raise latest.take_error()

    async def fetchone(self) -> tuple[Any, ...] | None:
        """Give the next row, `None` at the end."""
        rows = self._fetchable().take_tuples(1)
        return rows[0] if rows else None

    async def fetchmany(self, size: int | None = None) -> Sequence[tuple[Any, ...]]:
        """Give the next *size* rows (default: `arraysize`), as a tuple.

        After a statement without rows: an empty list.
        """
        rows = self._fetchable().take_tuples(self.arraysize if size is None else size)
        return rows if self.description is None else tuple(rows)

    async def fetchall(self) -> Sequence[tuple[Any, ...]]:
        """Give the rows that are left, as a tuple.

        After a statement without rows: an empty list.
        """
        result = self._fetchable()
        rows = result.take_tuples(len(result.rows))
        return rows if self.description is None else tuple(rows)

    async def scroll(self, value: int, mode: str = "relative") -> None:
        """Move the position in the result by (`relative`) or to (`absolute`) *value* rows."""
        result = self._fetchable()
        if mode not in ("relative", "absolute"):
            raise err.ProgrammingError(
                f"unknown scroll mode {brief(mode)}: expected 'relative' or 'absolute'"
            )
        position = value + (result.position if mode == "relative" else 0)
        if not 0 <= position < len(result.rows):
            raise IndexError(
                f"out of range: the result has {len(result.rows)} rows, got position {position}"
            )
        result.position = position

    def setinputsizes(self, *args: Any) -> None:
        """Do nothing; the DB-API requires it."""

    def setoutputsizes(self, *args: Any) -> None:
        """Do nothing; the DB-API requires it."""

    def _alive(self) -> Connection:
        if self._connection is None:
            raise err.ProgrammingError("Cursor closed: make another with connection.cursor()")
        self._connection.check_lease(self._lease)
        return self._connection

    def _fetchable(self) -> ResultSet:
        if not self._results:
            self._alive()
            raise err.ProgrammingError("execute() first: there is no result")
        return self._results[0]

    # -- ending ----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Forget the results; the cursor cannot be used any more.

        Raises the error of a later statement that `nextset()` has not been called for.
        """
        try:
            self.raise_later()
        finally:
            self.detach()

    def detach(self) -> None:
        """Close the cursor, without a coroutine."""
        self._connection = None
        self._results = []

    async def __aenter__(self) -> Cursor:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if exc is None:
            await self.close()
        else:
            self.detach()

    def __aiter__(self) -> AsyncIterator[tuple[Any, ...]]:
        return self

    async def __anext__(self) -> tuple[Any, ...]:
        rows = self._fetchable().take_tuples(1)
        if not rows:
            raise StopAsyncIteration
        return rows[0]


def is_cursor_class(cls: object) -> bool:
    """Tell whether *cls* is a class of cursors."""
    return isinstance(cls, type) and issubclass(cls, Cursor)


def no_cursor_class(cls: object) -> str:
    """Return what something is that is taken for a class of cursors, and what to do."""
    if not isinstance(cls, type):
        return type_name(type(cls))
    name = type_name(cls)
    if issubclass(cls, (SSCursor, pymysql.cursors.SSCursor)):
        return f"{name}: results are read whole, without it"
    if issubclass(cls, (DictCursor, pymysql.cursors.DictCursor)):
        return f"{name}: SAConnection.execute() gives rows that are mappings"
    return name


async def _insert_packets(
    turns: Turns, insert: template.RowTemplate, sequences: Sequence[Any]
) -> list[bytes]:
    encode, syntax = turns.connection.encode, turns.connection.syntax
    head, tail = encode(insert.head), encode(insert.tail)
    packets = RowPackets(turns, tuple(map(encode, insert.row.fragments)))
    for first in range(0, len(sequences), STEP):
        if turns.over:
            await turns.pause()
        rows = each_group(sequences[first : first + STEP], insert.row.values, first)
        try:
            await packets.add(head, rows, tail)
        except ArgumentError:
            # Name the parameter and its group.
            each_group(rows, lambda row: check_values(insert.row.keys, row, syntax), first)
            raise
    return packets.finished()


def _render_template(
    connection: Connection, text: template.Template, args: Any, mode: int = 0
) -> bytes:
    fragments = tuple(connection.encode(fragment) for fragment in text.fragments)
    values = text.values(args)
    encoding, own_mode = connection.syntax
    try:
        return render(fragments, values, encoding, mode | own_mode)
    except ArgumentError:
        check_values(text.keys, values, connection.syntax)
        raise
