"""The DB-API cursor, with coroutines where it waits."""

from __future__ import annotations

import warnings
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pymysql import err

from .exc import ArgumentError, InvalidRequestError
from .fetching import Fetching, Row
from .runtime.words import user_level
from .sql.template import (
    RowTemplate,
    Template,
    TextStatement,
    parse_rows,
    quoted,
    text_packet,
    text_statement,
)
from .wire.codes import HEX_BYTES
from .wire.columns import Shape, describe
from .wire.command import Command
from .wire.observing import LOG, Observation
from .wire.packets import payloads
from .wire.reply import ResultSet
from .wire.session import Session
from .wire.warning import issue, wants_warnings, warn

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Self


class Errors:
    """The errors of PEP 249, for `except connection.IntegrityError`."""

    __slots__ = ()

    Warning = err.Warning
    Error = err.Error
    InterfaceError = err.InterfaceError
    DatabaseError = err.DatabaseError
    DataError = err.DataError
    OperationalError = err.OperationalError
    IntegrityError = err.IntegrityError
    InternalError = err.InternalError
    ProgrammingError = err.ProgrammingError
    NotSupportedError = err.NotSupportedError


def leave_unbuffered(session: Session) -> None:
    """Read what is left of an unbuffered cursor's rows for nobody, as something else is executed.

    A cursor's alone: rows of `SAConnection.stream()` stay, and what is executed is refused.
    """
    replies = session.protocol.replies
    if not replies or not replies[0].stream:
        return
    flow = None if replies[0].flow is None else replies[0].flow()
    if flow is not None and flow.is_a_cursors and not flow.awaited:
        warnings.warn("Previous unbuffered result was left incomplete", stacklevel=user_level())
        flow.end()


class Cursor(Errors, Fetching[Row]):
    """Executes SQL text and returns the rows of its results as tuples.

    Results are read whole before `execute()` returns; the fetch methods never wait for the
    server, they are coroutines because the DB-API's asyncio dialect has them so.

    The attributes are those of PEP 249: `description`, for each column its name, type code
    (`pymysql.constants.FIELD_TYPE`), `None`, length in bytes twice, number of decimals and whether
    it may be NULL; `rowcount`, the rows returned or affected, -1 before any; `rownumber`, the
    position in the result; `lastrowid`, the first AUTO_INCREMENT value generated; `arraysize`, how
    many rows `fetchmany()` returns unless told.

    What has been read stays readable after the connection was given back to its engine, but then
    nothing is executed any more.
    """

    warnings: bool | None = None
    """Whether the server's warnings are asked for and issued; `None`: as the connection has it."""

    # Whether each statement is one of a batch, which is observed as a whole.
    _is_in_batch = False

    def __init__(self, connection: Any, echo: bool = False) -> None:
        super().__init__(connection)
        self._echo = echo
        # The packet of the statement that was sent last, whose text some ask for, and its encoding.
        self._sent = b""
        self._sent_in = "utf-8"
        self._sent_many = False

    @property
    def connection(self) -> Any:
        """The connection, of `connect()`; `None` once the cursor is closed."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether the cursor is closed."""
        return self._connection is None and not self._results

    @property
    def echo(self) -> bool:
        """Whether statements are logged."""
        return self._echo

    # -- executing -------------------------------------------------------------------------------

    async def execute(self, query: str | bytes, args: Any = None) -> int:
        """Execute *query* and return the number of affected (or returned) rows.

        With *args* `None` the text is sent as it stands; else its placeholders, `%s` or
        `%(name)s`, take the values of a sequence, a mapping, or a single value.
        """
        if isinstance(query, (bytes, bytearray)):
            query = query.decode(self._alive().encoding)
        return await self.execute_shaped(query, args, None)

    async def execute_shaped(self, query: str, args: Any, shape: Shape | None) -> int:
        """Execute *query*, with the first result's rows as *shape* makes them."""
        session = self._alive()
        if session.is_unsettled():
            leave_unbuffered(session)
            await session.ready()
        if session.later is not None:  # or another cursor's
            self.raise_later()
            session.raise_later()
        lease = session.lease
        sent = self.send(session, query, args, shape)
        try:
            results = await sent
        except BaseException as error:
            self.forget(error)
            raise
        self.load(results)
        if results[-1].warning_count:
            session.check_lease(lease)
            await warn(session, self.warnings)
        return self.rowcount

    def send(
        self, session: Session, query: str, args: Any, shape: Shape | None = None
    ) -> Coroutine[Any, Any, list[ResultSet]]:
        """Send *query*; return what is to be awaited at once, and gives its results."""
        return session.run(self.command(session, query, args, shape))

    def command(self, session: Session, query: str, args: Any, shape: Shape | None) -> Command:
        """Return what executes *query*."""
        self.raise_later()
        syntax = session.syntax
        statement = text_statement(query, args, syntax[0])
        self._sent = packet = statement.packet(() if args is None else args, syntax)
        self._sent_in, self._sent_many = syntax[0], False
        observed = None
        if (session.observer is not None or self._echo) and not self._is_in_batch:
            observed = self._observe(session, query, parameterized=bool(args))
        if session.describe is not describe:
            return Command(packet, None, None, shape, observed, True)
        return Command(packet, statement.describe, statement.columns, shape, observed, True)

    def _observe(self, session: Session, query: str, **described: Any) -> Observation:
        return (session.observer or LOG).observe(session, query, **described)

    async def executemany(self, query: str, args: Iterable[Any]) -> int | None:
        """Execute *query* once for each item of *args*; return the sum of affected rows.

        An INSERT or REPLACE of values, `VALUES (%s, …)`, is sent with many rows at a time, in
        packets that the server takes; whatever is not surely one is executed for each item.
        `lastrowid` is the id generated for the first row. The rows are those of all executions.
        """
        groups = list(args)
        session = self._alive()
        if not groups:
            return None
        leave_unbuffered(session)
        await session.ready()
        self.raise_later()
        session.raise_later()
        try:
            await self._execute_observed(session, query, groups)
        except BaseException as error:
            self.forget(error)
            raise
        return self.rowcount

    async def _execute_observed(self, session: Session, query: str, groups: list[Any]) -> None:
        if session.observer is None and not self._echo:
            await self._execute_all(session, query, groups)
            return
        self._is_in_batch = True
        try:
            with self._observe(
                session, query, parameterized=True, executions=len(groups)
            ) as observed:
                await self._execute_all(session, query, groups)
                observed.take(self._results)
        finally:
            self._is_in_batch = False

    async def _execute_all(self, session: Session, query: str, groups: list[Any]) -> None:
        template = parse_rows(query)
        if template is not None:
            await self._insert(session, query, template, groups)
        elif session.options.pipelining and all(group is not None for group in groups):
            await self._execute_in_windows(session, query, groups)
        else:
            await self._execute_each(session, query, groups)

    async def _execute_each(self, session: Session, query: str, groups: list[Any]) -> None:
        from .sql.batch import merged  # which few have use for: 0.6 ms of an import
        from .wire.turns import in_group

        claim = session.claim
        whole: ResultSet | None = None
        done = 0
        try:
            for group in groups:
                session.check_claim(claim)
                await self._execute_one(query, group)
                whole = merged([*([whole] if whole is not None else []), self._results[0]])
                done += 1
        except InvalidRequestError:  # of the session, not of what is executed
            raise
        except ArgumentError as error:
            raise in_group(error, done) from error.__cause__
        assert whole is not None
        self.load([whole, *self._results[1:]])

    async def _execute_one(self, query: str, group: Any) -> None:
        """Execute one of many, and read its results whole."""
        await self.execute(query, group)

    async def _execute_in_windows(self, session: Session, query: str, groups: list[Any]) -> None:
        """Execute *query* for each of *groups*, many at a time where its text is fit for that."""
        from .sql.batch import TextWindows, merged
        from .wire.windows import may_be_joined, run_windows

        statement = text_statement(query, groups[0], session.syntax[0])
        if not may_be_joined(statement.fragments, session):
            await self._execute_each(session, query, groups)
            return
        told: list[tuple[Any, ...]] | None
        told = [] if wants_warnings(session, self.warnings) else None
        windows = TextWindows(session, statement, groups, told is not None)
        results = await run_windows(session, windows, None, told)
        windows.raise_error()
        self.load([merged(results)])
        issue(told or ())

    async def _insert(
        self, session: Session, query: str, template: RowTemplate, groups: list[Any]
    ) -> None:
        from .sql.batch import merged, packets_of_rows
        from .sql.groups import TextInsert
        from .wire.turns import Turns

        with Turns(session) as turns:
            syntax = session.syntax
            insert = TextInsert(template, syntax)
            packets = await packets_of_rows(turns, insert, groups)
        self._sent, self._sent_in, self._sent_many = packets[-1], syntax[0], True
        told: list[tuple[Any, ...]] | None
        told = [] if wants_warnings(session, self.warnings) else None
        results = await session.run_each(map(Command, packets), told)
        self.load([merged(results)])
        issue(told or ())

    async def callproc(self, procname: str, args: Sequence[Any] = ()) -> Sequence[Any]:
        """Call a stored procedure and return *args*.

        The arguments travel in the session variables `@_procname_0`, `@_procname_1`, …, where
        OUT parameters can be read afterwards. The procedure's result sets follow one another
        through `nextset()`.
        """
        session = self._alive()
        leave_unbuffered(session)
        await session.ready()
        self.raise_later()
        session.raise_later()
        claim = session.claim
        variables = [quoted(f"_{procname}_{index}", "@") for index in range(len(args))]
        if args:
            texts = [f"{', ' if index else 'SET '}{v} = " for index, v in enumerate(variables)]
            assignment = Template((*texts, ""), None)
            syntax = session.syntax
            packet = TextStatement(assignment, syntax[0]).packet(tuple(args), syntax)
            await session.run(Command(packet))
            session.check_claim(claim)
        name = ".".join(quoted(part) for part in procname.split("."))
        sql = f"CALL {name}({', '.join(variables)})"
        self._sent = packet = text_packet(sql, None, session.syntax)
        self._sent_in, self._sent_many = session.encoding, False
        observed = None
        if session.observer is not None or self._echo:
            observed = self._observe(session, sql, parameterized=True, operation="CALL")
        await self._answer(session, Command(packet, partial=True, observed=observed))
        return args

    async def _answer(self, session: Session, command: Command) -> None:
        try:
            results = await session.run(command)
        except BaseException as error:
            self.forget(error)
            raise
        self.load(results)

    def mogrify(self, query: str, args: Any = None) -> str:
        """Return the text that `execute()` would send, with bytes written as `X'…'`."""
        session = self._alive()
        encoding, mode = session.syntax
        statement = text_statement(query, args, encoding)
        syntax = encoding, session.sure_mode(mode | HEX_BYTES)
        text = _text_of(statement.packet(() if args is None else args, syntax))
        return session.sure(text, b"".join(statement.fragments)).decode(encoding)

    @property
    def last_executed(self) -> str | None:
        """The statement that was sent last, with its values, and `None` before any.

        Of many rows it is that of the last packet. Bytes that are no text are shown as `\\xff`.
        """
        if not self._sent:
            return None
        return _text_of(self._sent).decode(self._sent_in, "backslashreplace")

    @property
    def _last_executed(self) -> str | bytearray | None:
        """What aiomysql has by that name."""
        return bytearray(_text_of(self._sent)) if self._sent_many else self.last_executed

    def setinputsizes(self, *args: Any) -> None:
        """Do nothing; the DB-API requires it."""

    def setoutputsizes(self, *args: Any) -> None:
        """Do nothing; the DB-API requires it."""

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

    async def __aenter__(self) -> Self:
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


def is_cursor_class(cls: object) -> bool:
    """Tell whether *cls* is a class of cursors."""
    return isinstance(cls, type) and issubclass(cls, Cursor)


def _text_of(packet: bytes) -> bytes:
    """Return the SQL in the packets of a statement that is sent as text."""
    # Shorter than a packet's 16 MiB it stands behind the header in one piece.
    return b"".join(payloads(packet))[1:]
