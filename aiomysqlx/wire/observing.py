"""Who is told of statements, and what: the log, users' hooks, and OpenTelemetry.

A session has an `Observer` if anybody is to be told, and each of its statements an `Observation`
then. Nothing is observed otherwise: a command without an observation takes a shorter way.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ..runtime.record import Record
from ..runtime.words import Place, calling_place, defined, logger, shown

if TYPE_CHECKING:
    from .spans import Telemetry

# What `AiomysqlxInstrumentor().instrument()` has set.
instrumented: Telemetry | None = None
# One for all sessions that have the same options: what fails at each of them is told once.
_observers: WeakKeyDictionary[Any, Observer] = WeakKeyDictionary()


class QueryEvent(Record):
    """A statement that was executed, as `on_query` is told of it.

    `statement` is its text with placeholders: never a value, and with `?` for the literals of a
    text that was given without parameters. It was executed `executions` times in one batch, in
    `duration` seconds, on the connection that the server knows as `connection_id`. `rows` is how
    many were returned, or else affected; `error` is what is raised, if something is.
    """

    statement: str
    duration: float
    rows: int
    error: BaseException | None
    connection_id: int | None
    executions: int


Hook = Callable[[QueryEvent], object]
Results = Sequence[Any]  # of `ResultSet`


class Observer:
    """Who is told of the statements of a session, or of all that have the same options."""

    def __init__(
        self,
        echo: bool | str = False,
        hook: Hook | None = None,
        slow: float | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.echo = echo
        self.telemetry = telemetry
        self._hook = hook
        self._slow = slow
        self._has_failed = False  # the hook
        # Whether anybody is told where a statement was executed.
        self.wants_place: bool = slow is not None

    @property
    def tells(self) -> bool:
        """Whether there is anybody."""
        others = (self._hook, self._slow, self.telemetry)
        return bool(self.echo) or others != (None, None, None)

    @property
    def log_alone(self) -> Observer | None:
        """Who is told of statements that are none of the user's: the log that `echo` asks for."""
        return Observer(self.echo) if self.echo else None

    def with_echo(self, echo: bool | str) -> Observer:
        """Return the same with another `echo`."""
        return Observer(echo, self._hook, self._slow, self.telemetry)

    def observe(
        self,
        session: Any,
        sql: str | bytes,
        *,
        parameterized: bool = False,
        executions: int = 1,
        operation: str | None = None,
        token: str | None = None,
    ) -> Observation:
        """Return the observation of a statement that is about to be sent.

        A text that is not *parameterized* may have values in it. *operation* is what it does, where
        that is known without reading it; *token* is for the log.
        """
        return Observation(self, session, sql, parameterized, executions, operation, token)

    def tell(self, observation: Observation, rows: int, error: BaseException | None) -> None:
        """Tell of a statement that has ended."""
        seconds = observation.seconds
        if self.echo:
            how = "failed, " if error is not None else ""
            logger.info("%s [%s%.1f ms]", observation.logged, how, seconds * 1e3)
        if self._slow is not None and seconds >= self._slow:
            logger.warning(
                "slow statement: %.3f s on connection %s, %s: %s",
                *(seconds, observation.session.thread_id, observation.place, observation.text),
            )
        if self._hook is not None:
            self._call(self._hook, observation, rows, error)

    def _call(
        self, hook: Hook, observation: Observation, rows: int, error: BaseException | None
    ) -> None:
        event = QueryEvent(
            *(observation.text, observation.seconds, rows, error),
            *(observation.session.thread_id, observation.executions),
        )
        try:
            hook(event)
        except Exception as failure:
            if not self._has_failed:
                self._has_failed = True
                logger.error(
                    "on_query has failed, whose next errors are not logged: %s",
                    defined(hook),
                    exc_info=failure,
                )


class Observation:
    """One statement, or one batch, from when it is sent until its outcome is there.

    It begins with `begin()` and ends with `end()` or `fail()`, once; or as a block of `with`, which
    is told of the results by `take()`. A stream is observed beyond its block: `pause()` leaves it
    open, and only the time in which the server is waited for counts.
    """

    __slots__ = (
        *("_is_open", "_is_paused", "_observer", "_place", "_results", "_sql", "_since", "_span"),
        *("_task", "_token", "executions", "operation", "parameterized", "seconds", "session"),
    )

    def __init__(
        self,
        observer: Observer,
        session: Any,
        sql: str | bytes,
        parameterized: bool,
        executions: int,
        operation: str | None,
        token: str | None,
    ) -> None:
        self._observer = observer
        self._sql = sql if isinstance(sql, str) else sql.decode(session.encoding, "replace")
        self._token = token
        self._is_open = self._is_paused = False
        self._results: Results = ()
        self._place: Place | None = None
        self._span: Any = None
        self.session = session
        self.parameterized = parameterized
        self.executions = executions
        self.operation = operation
        self.seconds: float = 0.0

    # -- what it is of ---------------------------------------------------------------------------

    @property
    def logged(self) -> str:
        """The statement as the log has it."""
        return self._sql if self._token is None else f"[{self._token}] {self._sql}"

    @property
    def text(self) -> str:
        """The statement without any value, as far as it is shown."""
        from .summary import read, shortened  # few look: 0.2 ms of an import

        if self.parameterized:
            return shortened(self._sql)
        return read(self._sql, not self.session.no_backslash_escapes).text

    @property
    def summary(self) -> str:
        """What the statement does and to which tables, in a few words; empty if that is unknown."""
        from .summary import BATCH, read

        summary = read(self._sql, not self.session.no_backslash_escapes).summary
        return f"{BATCH}{summary}" if self.executions != 1 and summary else summary

    @property
    def place(self) -> str:
        """Where it was executed, in words."""
        if self._place is None:
            return f"in task {self._task!r}"  # which may have a name that tells more
        return shown(self._place)

    # -- its course ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to count the time, in the task that executes it."""
        self._is_open = True
        observer = self._observer
        if observer.wants_place:
            self._place = calling_place()
            task = asyncio.current_task()
            self._task = "" if task is None else task.get_name()
        if observer.telemetry is not None:
            self._span = observer.telemetry.begin(self)
        self._since = time.perf_counter()

    def take(self, results: Results) -> None:
        """Take the results that the block will have ended with."""
        self._results = results

    def pause(self) -> None:
        """Have it go on beyond its block; the time does not, until `resume()`."""
        self._is_paused = True
        self.seconds += time.perf_counter() - self._since

    def resume(self) -> None:
        """Have the time go on: the server is waited for."""
        self._is_paused = False
        self._since = time.perf_counter()

    def end(self, results: Results) -> None:
        """End it with its results."""
        rows, returned = 0, None
        for result in results:
            rows += result.affected_rows
            if result.columns is not None:
                returned = (returned or 0) + result.affected_rows
        self.finish(rows, returned, None)

    def fail(self, error: BaseException) -> None:
        """End it with an error, or a cancellation."""
        self.finish(0, None, error)

    def finish(self, rows: int, returned: int | None, error: BaseException | None) -> None:
        """End it: so many *rows* were *returned*, or only affected."""
        if not self._is_open:
            return
        self._is_open = False
        if not self._is_paused:
            self.seconds += time.perf_counter() - self._since
        span, self._span = self._span, None
        if span is not None:
            span.end(self, returned, error)
        self._observer.tell(self, rows if returned is None else returned, error)

    def __enter__(self) -> Observation:
        self.begin()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        results, self._results = self._results, ()
        if exc is not None:
            self.fail(exc)
        elif not self._is_paused:
            self.end(results)


class Unobserved:
    """What stands for the observation of a batch that nobody is told of."""

    def take(self, results: Results) -> None:
        """Forget the results."""

    def __enter__(self) -> Unobserved:
        return self

    def __exit__(self, *error: object) -> None: ...


UNOBSERVED = Unobserved()
LOG = Observer(echo=True)
"""Who is told of the statements of a cursor that is made with `echo`."""


def observer_of(options: Any) -> Observer | None:
    """Return who is told of the statements of sessions with these options, if anybody is."""
    telemetry = None
    if options.telemetry is not False:
        telemetry = instrumented
        if telemetry is None and options.telemetry:
            from .spans import of_everybody  # which imports OpenTelemetry

            telemetry = of_everybody()
    observer = Observer(options.echo, options.on_query, options.slow_query, telemetry)
    if not observer.tells:
        return None
    return _observers.setdefault(options, observer)
