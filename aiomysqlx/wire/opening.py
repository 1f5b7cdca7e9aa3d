"""How a session is opened, reset, and opened anew."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from pymysql import err
from pymysql.constants import COMMAND, CR

from ..exc import SERVER_ERRORS, ArgumentError, InvalidRequestError
from ..runtime.awaitable import in_time, without_context
from ..runtime.words import printable, type_name
from . import kept
from .addresses import Address
from .command import PING, Command, packet_of
from .hosts import Hosts, reason
from .option import check_text
from .options import ConnectOptions
from .outcome import SCHEMA, add_way_in
from .packets import MalformedPacket
from .session import Session
from .session_setup import set_up, set_up_again
from .stopping import DRAIN_SECONDS

_COM_RESET_CONNECTION = 0x1F
_RESET = Command(packet_of(_COM_RESET_CONNECTION))
_NO_RESET = (
    "the server, or a proxy before it, does not take COM_RESET_CONNECTION: have a function be"
    " 'reset', which undoes what is set of the session"
)
# Each server, where it has roles, executes the comment meant for it.
_LASTING = packet_of(
    COMMAND.COM_QUERY,
    b"SELECT DATABASE() /*!80000 , CURRENT_ROLE() */ /*M!100005 , CURRENT_ROLE() */",
)
# What a session that ends another one's statement has of its options: how to log in, and nothing
# that the server might refuse, as a database that has been dropped.
_LOGIN_OPTIONS = (
    *("user", "password", "ssl", "auth_plugin"),
    *("server_public_key", "get_server_public_key", "program_name", "tcp_keepalive", "echo"),
)


def new_session(
    options: ConnectOptions,
    loop: asyncio.AbstractEventLoop,
    hosts: Hosts,
    want: str | None = None,
) -> Session:
    """Return a session with these options, not opened yet; *want* as `opened_session()` has it."""
    session = Session(options, loop, hosts, want)
    if options.kill_on_cancel:
        session.open_beside = _open_beside
    return session


async def opened_session(
    options: ConnectOptions,
    hosts: Hosts,
    want: str | None = None,
    *,
    sent_as_text: Counter[str] | None = None,
) -> Session:
    """Return a session with these options, open, which counts in *sent_as_text*.

    It is on one of the *hosts*, which is as *want* says, or else as those are wanted: one of
    `hosts.TARGETS`.
    """
    session = new_session(options, asyncio.get_running_loop(), hosts, want)
    if sent_as_text is not None:
        session.sent_as_text = sent_as_text
    await open_session(session)
    return session


async def _open_beside(session: Session, where: tuple[Address, str | None]) -> Session:
    address, peer = where
    options = {name: getattr(session.options, name) for name in _LOGIN_OPTIONS}
    beside = ConnectOptions(
        **options, connect_timeout=DRAIN_SECONDS, autocommit=None, telemetry=False
    )
    side = Session(beside, session.loop, Hosts((address,)))
    side.login.only = peer
    await open_session(side)
    return side


async def open_session(session: Session) -> None:
    """Log in, and make the session what its options say; raises what `connect()` raises."""
    hosts, login = session.hosts, session.login
    login.given_up = False
    come_in: Callable[[], Coroutine[Any, Any, None]] = partial(_come_in, session)
    late: Callable[[], Exception] = partial(_late, session)
    several = hosts.asks_role(session.want)
    if several:
        from .choosing import Choice  # few have several: 0.4 ms of an import

        choice = Choice(session, _come_in)
        come_in, late = choice.make, choice.late
    try:
        with session.observed_by_log_alone():
            await in_time(_open(session, come_in), session.options.connect_timeout, late)
    except BaseException as error:
        login.abort()
        session.abort()
        if isinstance(error, SERVER_ERRORS) and not (several or login.given_up):
            hosts.failed(session.address, error)
        raise
    hosts.answered(session.address, session.role)
    session.pristine = True


def _late(session: Session) -> err.OperationalError:
    return err.OperationalError(
        CR.CR_CONN_HOST_ERROR,
        f"Can't connect to MySQL server {session.address.place}"
        f" (timed out after {session.options.connect_timeout} seconds)",
    )


async def _open(session: Session, come_in: Callable[[], Coroutine[Any, Any, None]]) -> None:
    source = session.options.password
    session.login.password = await _ask_password(source) if callable(source) else source
    del source  # no traceback is to show it
    await without_context(come_in())


async def _ask_password(source: Callable[[], str | Awaitable[str]]) -> str | None:
    """Return the password that *source* has at the moment."""
    password = source()
    if inspect.isawaitable(password):
        password = await password
    try:
        if not isinstance(password, str):
            raise ArgumentError(
                f"argument 'password' gave a {type_name(type(password))}, not a str"
            )
        return check_text("password", password)
    except ArgumentError as error:
        raise error.with_traceback(None)  # noqa: B904 - it is the same
    finally:
        del password  # no traceback is to show it


async def _come_in(session: Session) -> None:
    login = session.login
    try:
        await login.enter()
        session.take_over(login)
        await set_up(session)
    except MalformedPacket as error:
        raise _malformed(error) from error.with_traceback(None)
    except (OSError, asyncio.TimeoutError) as error:
        raise _cannot_connect(login.address.place, error) from error.with_traceback(None)
    except Exception as error:
        add_way_in(error)
        # Without the frames that have the password, or init_command.
        raise error.with_traceback(None)  # noqa: B904 - it is the same


def _cannot_connect(place: str, error: Exception) -> err.OperationalError:
    """Return the error for an *error* of the socket's, or a time-out, where nobody got in."""
    return err.OperationalError(
        CR.CR_CONN_HOST_ERROR, f"Can't connect to MySQL server {place} ({reason(error)})"
    )


def _malformed(error: MalformedPacket) -> err.OperationalError:
    """Return the error that callers see for *error*."""
    what = f"Malformed packet during the handshake: {printable(error)}"
    return err.OperationalError(CR.CR_MALFORMED_PACKET, what)


async def _run_reset(session: Session) -> None:
    try:
        await session.run(_RESET)
    except SERVER_ERRORS as error:
        if not session.closed:
            code, message = error.args
            error.args = code, f"{message} ({_NO_RESET})"
        raise


async def reset(session: Session) -> None:
    """Set a session back to the state of a new one: `COM_RESET_CONNECTION`, then its set-up.

    An open transaction is rolled back; temporary tables, user variables, locks and whatever was
    `SET` are gone. The role stays, and so does the current database unless one was given.
    """
    lease = session.lease
    if session.busy:
        await session.ready()
    session.check_free()
    session.check_bar()
    try:
        with session.observed_by_log_alone():
            await _run_reset(session)
            session.check_lease(lease)
            kept.forget(session)
            for step in set_up_again(session):
                await step()
                session.check_lease(lease)
    except BaseException:
        if lease == session.lease:
            # Half of it is done, at most.
            session.close(f"a reset of its session failed or was cut off: {session.remedy}")
        raise
    session.just_ended = True
    # A database that was chosen meanwhile stays.
    session.pristine = bool(session.first.db) or not session.protocol.changes.get(SCHEMA)


async def lasting(session: Session) -> tuple[Any, ...]:
    """Return what `reset()` leaves as it is: the current database and the role."""
    return await session.ask(_LASTING)


async def ping(session: Session, reconnect: bool) -> None:
    """Check that the server answers; with *reconnect*, open the session anew if it does not.

    One that is lost is opened anew if that loses nothing, see `Connection.ping()`.
    """
    if not reconnect:
        await session.ping()
        return
    if session.writer is not None or session.pooled:
        try:
            await session.run(PING)
        except (*SERVER_ERRORS, OSError) as error:
            if not session.closed:
                raise
            if session.pooled or not session.pristine:
                raise _not_replaced(session, error) from error
        else:
            return
    await _open_anew(session)


def _not_replaced(session: Session, error: BaseException) -> err.OperationalError:
    """Return what to raise for the loss of a session, and close it."""
    if session.pooled:
        why = "it belongs to an engine or a pool: release it and acquire another"
    elif session.in_transaction:
        why = "its transaction is lost: ping again to connect"
    else:
        why = (
            "its session may have held variables, temporary tables or locks: ping again to connect"
        )
    session.close(f"it was lost: {session.remedy}")
    code = error.args[0] if len(error.args) == 2 else CR.CR_SERVER_LOST
    return err.OperationalError(code, f"{error.args[-1]}; not connected anew, as {why}")


async def _open_anew(session: Session) -> None:
    """Open a session as at first, whatever it was set to since."""
    if session.barred is _opening:
        raise _opening()
    session.close(f"it could not be connected anew: {session.remedy}")
    session.start_over()
    barred, session.barred = session.barred, _opening
    try:
        await open_session(session)
    finally:
        if session.barred is _opening:  # else there is another reason by now
            session.barred = barred


def _opening() -> InvalidRequestError:
    return InvalidRequestError("the connection is being made anew by a ping(): await that first")
