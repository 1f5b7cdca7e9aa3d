"""Creating and dropping tables: SQLAlchemy's own schema generator and dropper, on our connections.

They are synchronous and ask the server as they go, as do the listeners of their events. So they run
in a thread of their own, whose every statement is executed by the task that waits for it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from contextvars import copy_context
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from pymysql.constants import ER
from sqlalchemy import MetaData, Table
from sqlalchemy.engine import IteratorResult, Result
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.sql.base import Executable

from .exc import SERVER_ERRORS, ArgumentError, InvalidRequestError
from .result import ResultProxy
from .runtime.words import brief, type_name
from .sql.template import quoted

if TYPE_CHECKING:
    Map = Mapping[str | None, str | None]

# What DESCRIBE answers for a table that is not there.
_NO_TABLE = (ER.NO_SUCH_TABLE, ER.BAD_DB_ERROR, ER.BAD_TABLE_ERROR)
_SEQUENCES = (
    "SELECT 1 FROM information_schema.TABLES WHERE TABLE_TYPE = 'SEQUENCE'"
    " AND TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s"
)
_INDEXES = (
    "SELECT 1 FROM information_schema.STATISTICS"
    " WHERE TABLE_SCHEMA = COALESCE(%s, DATABASE()) AND TABLE_NAME = %s AND INDEX_NAME = %s"
)

Request = tuple[Any, tuple[Any, ...], "Future[Any]"]


class Executor(Protocol):
    """What is needed of a connection to create and drop tables on it."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is in progress."""

    @property
    def _engine(self) -> object:
        """What lends the connection."""

    def _server_dialect(self) -> Dialect:
        """Return the dialect that knows the server."""

    def execute(self, query: Any, *multiparams: Any) -> Awaitable[ResultProxy]:
        """Execute a statement."""


async def run(
    conn: Executor,
    how: Literal["create_all", "drop_all"],
    metadata: MetaData,
    tables: Sequence[Table] | None,
    checkfirst: Any,
    translate: Map | None,
) -> None:
    """Create or drop the tables of *metadata*, as its own method named *how* does."""
    _check(conn, metadata)
    work = getattr(metadata, how)
    await _run(conn, translate, lambda bind: work(bind, tables, checkfirst))


def refuse() -> NoReturn:
    """Raise the error for `metadata.create_all(engine)`, and the like, of SQLAlchemy's."""
    raise InvalidRequestError(
        "SQLAlchemy creates and drops on its own engines only: await engine.create_all(metadata) or"
        " engine.drop_all(metadata), or those of a connection, with tables=[…] for some"
    )


def _check(conn: Executor, metadata: object) -> None:
    if not isinstance(metadata, MetaData):
        raise ArgumentError(f"expected a MetaData, got {brief(metadata)}")
    if conn.in_transaction:
        raise InvalidRequestError(
            "CREATE and DROP commit the transaction that they are executed in:"
            " create and drop tables outside of begin(), or with the engine's own methods"
        )


async def _run(conn: Executor, translate: Map | None, work: Callable[[Any], None]) -> None:
    """Run *work* in a thread, and execute what it asks for."""
    loop = asyncio.get_running_loop()
    requests: asyncio.Queue[Request | Future[None]] = asyncio.Queue()

    def put(request: Request | Future[None]) -> None:
        loop.call_soon_threadsafe(requests.put_nowait, request)

    bind = Bind(conn, put, translate)
    threading.Thread(
        target=copy_context().run, args=(_work, bind, work, put), name="aiomysqlx-ddl", daemon=True
    ).start()
    request: Request | Future[None] | None = None
    try:
        while isinstance(request := await requests.get(), tuple):
            await _serve(conn, *request)
        request.result()
    finally:
        bind.stop()
        del request  # or it would hold an error whose traceback holds this frame


async def _serve(
    conn: Executor, statement: Any, parameters: tuple[Any, ...], answer: Future[Any]
) -> None:
    try:
        result = await conn.execute(statement, *parameters)
        answer.set_result(_Result(result, await result.fetchall() if result.returns_rows else []))
    except Exception as error:
        answer.set_exception(error)
    finally:
        del answer  # likewise


def _work(bind: Bind, work: Callable[[Any], None], put: Callable[[Future[None]], None]) -> None:
    done: Future[None] = Future()
    try:
        work(bind)
    except BaseException as error:
        done.set_exception(error)
    else:
        done.set_result(None)
    with suppress(RuntimeError):  # the event loop is closed, and nobody waits
        put(done)
    del done  # likewise


class Bind:
    """A connection as SQLAlchemy and the listeners of its events expect it."""

    def __init__(
        self, conn: Executor, put: Callable[[Request], None], translate: Map | None
    ) -> None:
        self.engine: object = conn._engine
        self.dialect: Any = _asking(conn._server_dialect())
        self._put = put
        self._translate = dict(translate or {})
        self._asked: Future[Any] | None = None
        self._stopped = False

    def stop(self) -> None:
        """Stop executing; called by the waiting task."""
        self._stopped = True
        asked = self._asked
        if asked is not None:
            asked.cancel()

    def execute(
        self,
        statement: Executable,
        parameters: Any = None,
        *,
        execution_options: Mapping[str, Any] | None = None,
    ) -> Result[Any]:
        """Execute a construct and return its whole result."""
        if isinstance(statement, str) or not isinstance(statement, Executable):
            raise ArgumentError(
                "expected a SQLAlchemy construct, as text() makes of a str, got"
                f" {type_name(type(statement))}"
            )
        if self._translate:
            statement = statement.execution_options(schema_translate_map=self._translate)
        if execution_options:
            statement = statement.execution_options(**execution_options)
        return self._ask(statement, () if parameters is None else (parameters,))

    def exec_driver_sql(
        self,
        statement: str,
        parameters: Any = None,
        execution_options: Mapping[str, Any] | None = None,
    ) -> Result[Any]:
        """Execute SQL text as it stands and return its whole result."""
        return self._ask(statement, () if parameters is None else (parameters,))

    def scalar(self, statement: Executable, parameters: Any = None, **options: Any) -> Any:
        """Execute a construct and return the first column of the first row, or `None`."""
        return self.execute(statement, parameters, **options).scalar()

    def scalars(self, statement: Executable, parameters: Any = None, **options: Any) -> Any:
        """Execute a construct and return the first column of its rows."""
        return self.execute(statement, parameters, **options).scalars()

    def schema_for_object(self, obj: Any) -> str | None:
        """Return the schema of a table or a sequence."""
        name: str | None = obj.schema
        return self._translate.get(name, name) if obj._use_schema_map else name

    def get_execution_options(self) -> Mapping[str, Any]:
        """Return the options of every statement."""
        return {"schema_translate_map": self._translate} if self._translate else {}

    def _run_ddl_visitor(self, visitor: Any, element: Any, **arguments: Any) -> None:
        visitor(dialect=self.dialect, connection=self, **arguments).traverse_single(element)

    def _ask(self, statement: Any, parameters: tuple[Any, ...]) -> Result[Any]:
        self._asked = answer = Future[Any]()
        if self._stopped:
            raise CancelledError
        try:
            self._put((statement, parameters, answer))
            result: Result[Any] = answer.result()
        finally:
            self._asked = None
            del answer  # likewise
        return result


class _Result(IteratorResult[Any]):
    """A result whose rows have all been read."""

    def __init__(self, result: ResultProxy, rows: Sequence[Any]) -> None:
        keys = SimpleResultMetaData(result.keys())
        super().__init__(keys, iter([row.as_tuple() for row in rows]))
        self.rowcount = result.rowcount
        self.lastrowid = result.lastrowid
        self.returns_rows = result.returns_rows


def _asking(dialect: Dialect) -> Any:
    """Return a copy of *dialect* that asks whether there is a table, an index or a sequence."""
    asking: Any = copy(dialect)

    def has_table(bind: Bind, name: str, schema: str | None = None, **_: Any) -> bool:
        # No table of the information schema has the temporary ones, on all servers.
        names = (schema, name) if schema else (name,)
        try:
            bind.exec_driver_sql(f"DESCRIBE {'.'.join(map(quoted, names))}")
        except SERVER_ERRORS as error:
            if error.args[0] not in _NO_TABLE:
                raise
            return False
        return True

    def has_sequence(bind: Bind, name: str, schema: str | None = None, **_: Any) -> bool:
        return bind.exec_driver_sql(_SEQUENCES, (schema, name)).first() is not None

    def has_index(
        bind: Bind, table_name: str, name: str, schema: str | None = None, **_: Any
    ) -> bool:
        return bind.exec_driver_sql(_INDEXES, (schema, table_name, name)).first() is not None

    asking.has_table, asking.has_sequence, asking.has_index = has_table, has_sequence, has_index
    return asking
