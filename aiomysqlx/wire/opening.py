"""How a session begins: its login, what it is asked and set to; its reset, its opening anew."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any

from pymysql import err
from pymysql.constants import CLIENT, COMMAND, CR

from ..exc import SERVER_ERRORS, InvalidRequestError, is_disconnect
from ..runtime.awaitable import in_time, without_context
from . import kept
from .addresses import Address
from .charset import DEFAULT_CHARSET, current_name
from .columns import describe, describe_bytes
from .command import PING, Command, Duty, packet_of
from .dialogue import DRAIN_SECONDS
from .greeting import (
    BACKSLASHES,
    EXPIRED,
    MOST_ASSUMED,
    Learned,
    is_not_understood,
    learned_from,
    question,
)
from .hosts import PRIMARY, STANDBY, Hosts
from .login import ask_password, cannot_connect, malformed
from .options import ConnectOptions, quoted_mode
from .outcome import MUST_CHANGE_PASSWORD, SCHEMA, Refusal, add_way_in, concealed
from .packets import MalformedPacket
from .session import Session

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
# `SELECT VERSION()` itself a proxy may answer.
_VERSION = packet_of(COMMAND.COM_QUERY, b"SELECT CONCAT(VERSION())")
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
    session.login.password = await ask_password(source) if callable(source) else source
    del source  # no traceback is to show it
    await without_context(come_in())


async def _come_in(session: Session) -> None:
    login = session.login
    try:
        await login.enter()
        session.take_over(login)
        await _begin(session)
    except MalformedPacket as error:
        raise malformed(error) from error.with_traceback(None)
    except (OSError, asyncio.TimeoutError) as error:
        raise cannot_connect(login.address.place, error) from error.with_traceback(None)
    except Exception as error:
        add_way_in(error)
        # Without the frames that have the password, or init_command.
        raise error.with_traceback(None)  # noqa: B904 - it is the same


# -- what is asked and set ---------------------------------------------------------------------


async def _begin(session: Session) -> None:
    try:
        await _set_up(session)
    except SERVER_ERRORS as error:
        if error.args[:1] != (MUST_CHANGE_PASSWORD,) or not session.flags & EXPIRED:
            raise
        _begin_sandbox(session, error)


async def _set_up(session: Session) -> None:
    """Make the session what it is asked for to be; others are barred, if there are some."""
    options, protocol = session.options, session.protocol
    if session.db and not session.flags & CLIENT.CONNECT_WITH_DB:  # of which it does not know
        await session.use(session.db, True)
    if options.sql_mode is not None:  # before the question that tells what it makes of backslashes
        await session.query(f"SET sql_mode={quoted_mode(options.sql_mode)}", always=True)
    if options.track_gtids:
        from .gtids import track  # which few have use for

        await track(session)
    await _learn(session)
    if options.pipelining:
        from .pipelining import prove  # which few have use for

        await prove(session)
    if options.init_command is not None:
        protocol.end_login()  # what it is answered is the user's
        await _initialize(session)
        await session.query("COMMIT", always=True)
    if session.autocommit_mode is not None:
        await session.autocommit(session.autocommit_mode, always=True)
    await _ask_backslashes(session)
    protocol.end_login()


def _begin_sandbox(session: Session, error: err.MySQLError) -> None:
    """Take a session that only changes the user's password: nothing is set of it.

    Nor is it ever lent.
    """
    session.protocol.end_login()
    session.protocol.unfit = Refusal(error.args[0], None, error.args[1])
    session.max_allowed_packet = MOST_ASSUMED
    kept.begin(session)


async def _learn(session: Session) -> None:
    """Learn what the session takes, and set charset and collation right where they are not.

    A server may choose others than it was told. Escaping for one charset is an injection in
    another.
    """
    first = session.first
    learned = await _ask(session, session.hosts.asks_role(session.want))
    session.max_allowed_packet = learned.limit or MOST_ASSUMED
    collation = current_name(first.collation) if first.collation else learned.default
    if learned.charset is None:
        await _insist_on_charset(session)
    elif learned.charset != current_name(first.charset) or collation not in (
        None,
        learned.collation,
    ):
        await session.set_names(first.charset, first.collation, True)
    kept.begin(session, learned.time_zone)
    _learn_backslashes(session, learned.backslashes)
    if learned.is_read_only is not None:
        session.role = STANDBY if learned.is_read_only else PRIMARY
    if learned.thread_id is not None:
        session.thread_id = learned.thread_id
        session.renumbered = session.greeting.thread_id != learned.thread_id & 0xFFFFFFFF
    if session.renumbered:
        await _learn_version(session)
    if session.open_beside is not None:
        await _learn_thread(session)


async def _learn_version(session: Session) -> None:
    """Learn what the server calls itself: what greets in its place may give another version."""
    try:
        (version,) = await session.ask(_VERSION, describe_bytes)
    except SERVER_ERRORS as error:
        if not _is_of_the_question(session, error):
            raise
    else:
        session.told_version = version.decode("latin1")
        session.protocol._mariadb = session.is_mariadb


async def _learn_thread(session: Session) -> None:
    """Learn what it takes to end a statement of this session, where the server tells."""
    from .kill import Thread  # which few have use for: 0.4 ms of an import

    try:
        number = await session.identify()
    except SERVER_ERRORS as error:
        if not _is_of_the_question(session, error):
            raise
        return
    if number is not None:
        session.thread_id = number
        socket_name = session.writer.transport.get_extra_info("sockname")
        session.thread = Thread.of(number, session.renumbered, socket_name)


async def _ask(session: Session, roles: bool) -> Learned:
    """Ask what the session takes, and its server's role; not every server understands that."""
    try:
        asked = Duty(question(session.first.charset, roles), describe)
        if session.characteristics is None:
            answer = await session.run(asked)
        else:
            setting = session.text(session.characteristics, always=True)
            answer = await session.run_behind(setting, asked)
        rows = answer[0].rows
    except SERVER_ERRORS as error:
        if not _is_of_the_question(session, error):
            raise
        if roles:
            return await _ask(session, False)
        if session.characteristics is not None:
            # raises the error if it was of this
            await session.query(session.characteristics, always=True)
        rows = []
    return learned_from(rows)


async def _insist_on_charset(session: Session) -> None:
    """Set the charset of a session that does not tell which it has.

    A server that has no SET NAMES is taken to read UTF-8, which is what it is sent: no byte of
    another character is that of a quote there.
    """
    charset, collation = session.first.charset, session.first.collation
    try:
        await session.set_names(charset, collation, True)
    except SERVER_ERRORS as error:
        as_sent = charset == DEFAULT_CHARSET and not collation
        if not as_sent or not _is_of_the_question(session, error):
            raise


def _is_of_the_question(session: Session, error: err.MySQLError) -> bool:
    """Tell whether the server does not understand what it was asked, and goes on."""
    ended = session.closed or session.unfit is not None or is_disconnect(error)
    return not ended and is_not_understood(error.args[0])


def _learn_backslashes(session: Session, count: str | None) -> None:
    """Take how many characters two backslashes are: a proxy may not show the server's flag."""
    session.protocol.assume_no_escapes(count == "2")


async def _ask_backslashes(session: Session) -> None:
    """Learn what `init_command` may have made of backslashes, where no flag shows it."""
    text = (session.options.init_command or "").lower()
    assumed = session.protocol.assumes_no_escapes
    if text and (assumed or ("backslash" in text and not session.no_backslash_escapes)):
        (count,) = await session.ask(BACKSLASHES, describe)
        _learn_backslashes(session, str(count))


async def _initialize(session: Session) -> None:
    """Execute init_command, which may set a password or a key, and show nothing of it."""
    sql = session.options.init_command or ""
    with session.observe("(init_command)") as observed:
        try:
            observed.take(await session.run(Duty(session.rendered(sql))))
        except SERVER_ERRORS as error:
            if getattr(error, "sqlstate", None) is None and 2000 <= error.args[0] < 3000:
                raise  # it is not the server's
            from . import hints  # as late as the session does

            several = session.flags & CLIENT.MULTI_STATEMENTS != 0
            refused = concealed(error, hints.of_syntax(sql, error.args[1], several))
        else:
            return
    # Not from within: the server's error has the text around a mistake.
    try:
        raise refused
    finally:
        refused.__context__ = None  # which Python 3.10 has set to it nonetheless


# -- anew ---------------------------------------------------------------------------------------


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
            for step in _set_up_again(session):
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


def _set_up_again(session: Session) -> Iterator[Callable[[], Awaitable[Any]]]:
    """Return what makes a session that was reset as it was when it was opened."""
    first, options, query = session.first, session.options, partial(session.query, always=True)
    yield partial(session.set_names, first.charset, first.collation, True)
    if first.db:
        yield partial(session.use, first.db, True)
    if options.sql_mode is not None:
        yield partial(query, f"SET sql_mode={quoted_mode(options.sql_mode)}")
    if options.track_gtids:
        from .gtids import track

        yield partial(track, session)
    if session.characteristics is not None:
        yield partial(query, session.characteristics)
    if options.init_command is not None:
        yield partial(_initialize_again, session)
        yield partial(query, "COMMIT")
    if first.autocommit is not None:
        yield partial(session.autocommit, first.autocommit, always=True)


async def _initialize_again(session: Session) -> None:
    try:
        await _initialize(session)
    except BaseException as error:  # or cancelled
        # Without the frames that have its text.
        raise error.with_traceback(None)  # noqa: B904 - it is the same


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
