"""Commands: what goes out, how its answer is read, until when, and what it does to the session."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pymysql.constants import COMMAND

from ..exc import StatementTimeoutError
from ..runtime.timers import Timers
from ._impl import frame
from .columns import Columns, Describe, Shape
from .outcome import SCHEMA, WITH_A_BEGIN

if TYPE_CHECKING:
    from .observing import Observation


Fate = Callable[[Any, Any, BaseException], BaseException]
"""Takes the session, the reply and the error."""


class Effect:
    """What a command does to a session, of which not every server tells."""

    # What is set of the session once the server has executed the command, by the names that
    # servers use. It is learned as the answer comes in: whoever waits for that sees it later, by
    # when others may have the session.
    changes: dict[bytes, bytes] | None = None

    def begin(self, session: Any) -> None:
        """Note it as the command is sent."""

    def end(self, session: Any) -> None:
        """Note it once whoever waits has the answer."""

    def cut_off(self, session: Any) -> None:
        """Note that nobody waits for the answer any more."""


class Use(Effect):
    """Makes *db* the current database."""

    def __init__(self, db: str) -> None:
        self._db = db
        self.changes: dict[bytes, bytes] | None = {SCHEMA: db.encode()}

    def end(self, session: Any) -> None:
        session.db = self._db


class SetNames(Effect):
    """Makes *charset* the session's character set."""

    def __init__(self, charset: str) -> None:
        self._charset = charset
        name = charset.encode()
        self.changes: dict[bytes, bytes] | None = {
            b"character_set_client": name,
            b"character_set_results": name,
        }

    def begin(self, session: Any) -> None:
        self._lease = session.lease

    def end(self, session: Any) -> None:
        session.charset = self._charset

    def cut_off(self, session: Any) -> None:
        # Nobody knows which character set the server reads now; or others have it since.
        if self._lease == session.lease:
            session.close(f"a change of its character set was cut off: {session.remedy}")


class Begin(Effect):
    """Begins a transaction by text: within a block this commits the block's, which is over then."""

    def begin(self, session: Any) -> None:
        self._in_block = session.in_block

    def end(self, session: Any) -> None:
        # Not of a block that was left since the answer came: it would bar what follows.
        if self._in_block and session.in_block:
            session.end_with(WITH_A_BEGIN)


class Command:
    """A statement to send.

    *describe* gives the columns of its results, *known* are those that are likely to come, and
    *shape* makes the first result's rows; without it they are tuples. *observed* is whoever is
    told of it, if anybody is. With *partial* an error that comes after some results is left in the
    last one.
    """

    __slots__ = (
        "always",
        "describe",
        "effect",
        "ends",
        "fate",
        "known",
        "most_rows",
        "observed",
        "packet",
        "partial",
        "shape",
        "stream",
    )

    def __init__(
        self,
        packet: bytes,
        describe: Describe | None = None,
        known: Columns | None = None,
        shape: Shape | None = None,
        observed: Observation | None = None,
        partial: bool = False,
    ) -> None:
        self.packet: bytes = packet
        self.describe: Describe | None = describe
        self.known: Columns | None = known
        self.shape: Shape | None = shape
        self.observed: Observation | None = observed
        self.partial: bool = partial
        # What a `Duty` may have otherwise.
        self.always: bool = False
        # Whether it leaves nothing of a transaction; `None`: it leaves all as it was.
        self.ends: bool | None = False
        self.effect: Effect | None = None
        # Returns what is raised for an error that came once it was sent; `None`: that error.
        self.fate: Fate | None = None
        self.most_rows: int | None = None
        # Of a result that is read as its rows are asked for: how many bytes of it may wait.
        self.stream: int = 0


class Duty(Command):
    """A command that looks after the session, or changes what is known of it.

    *always* is for what ends a transaction or belongs to the session itself: nothing bars it. Its
    answer has *most_rows* rows at most.
    """

    __slots__ = ()

    def __init__(
        self,
        packet: bytes,
        describe: Describe | None = None,
        *,
        observed: Observation | None = None,
        always: bool = True,
        effect: Effect | None = None,
        most_rows: int | None = None,
    ) -> None:
        super().__init__(packet, describe, observed=observed)
        self.always = always
        self.effect = effect
        self.most_rows = most_rows


class End(Duty):
    """A COMMIT or ROLLBACK, which leaves nothing of a transaction."""

    __slots__ = ()

    def __init__(self, packet: bytes, *, observed: Observation | None = None, always: bool) -> None:
        super().__init__(packet, observed=observed, always=always)
        self.ends: bool | None = True


class Question(Duty):
    """A question of our own, which takes no lock and leaves the session as it was."""

    __slots__ = ()

    def __init__(
        self, packet: bytes, describe: Describe | None = None, most_rows: int | None = None
    ) -> None:
        super().__init__(packet, describe, most_rows=most_rows)
        self.ends: bool | None = None


def packet_of(code: int, text: bytes = b"") -> bytes:
    """Return the packet of a command by its code, see `pymysql.constants.COMMAND`."""
    packet: bytes = frame(bytes((code,)) + text)
    return packet


# What begins and ends transactions, the same in every charset of a client.
READY: dict[tuple[str, bool], Duty] = {
    (sql, always): kind(packet_of(COMMAND.COM_QUERY, sql.encode()), always=always)
    for sql, kind in (
        ("BEGIN", Duty),
        ("COMMIT", End),
        ("ROLLBACK", End),
        ("ROLLBACK AND NO CHAIN", End),
    )
    for always in (False, True)
}
PING = Question(packet_of(COMMAND.COM_PING))

# -- time limits -------------------------------------------------------------------------------

_ER_QUERY_TIMEOUT = 3024

Deadline = tuple[float, float]
"""When the time is over, by the event loop's clock, and the seconds that were given."""

# The session that a task's time limit is for, when it ends, and how many seconds it gives.
_limit_of_task: ContextVar[tuple[weakref.ref[Any], float, float] | None]
_limit_of_task = ContextVar("limit", default=None)

any_limit: Callable[[], tuple[weakref.ref[Any], float, float] | None] = _limit_of_task.get
"""Returns what limits this task, for whichever session; `None` in most tasks."""


class Limit:
    """Raises `StatementTimeoutError` in its block once that has taken *seconds*.

    Statements of other tasks have limits of their own.
    """

    __slots__ = ("_limited", "_token")

    def __init__(self, session: Any, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._limited = weakref.ref(session), loop.time() + seconds, seconds

    def __enter__(self) -> None:
        self._token = _limit_of_task.set(self._limited)

    def __exit__(self, *exc: object) -> None:
        try:
            _limit_of_task.reset(self._token)
        except ValueError:
            return  # a coroutine that another task closes


def deadline_of(session: Any) -> Deadline | None:
    """Return until when what this task executes on *session* is to be answered."""
    found = _limit_of_task.get()
    return None if found is None or found[0]() is not session else found[1:]


def limit_reply(reply: Any, deadline: Deadline | None, timers: Timers) -> None:
    """Have a reply end with an error when the time is over."""
    if deadline is not None:
        when, seconds = deadline
        reply.deadline = timers.call_at(when, _expire, reply, seconds)


def _expire(reply: Any, seconds: float) -> None:
    if not reply.future.done():
        reply.future.set_exception(too_slow(seconds))


def too_slow(seconds: float) -> StatementTimeoutError:
    """Return the error for what has taken longer than *seconds*."""
    return StatementTimeoutError(
        _ER_QUERY_TIMEOUT, f"the statement took more than {seconds} seconds"
    )
