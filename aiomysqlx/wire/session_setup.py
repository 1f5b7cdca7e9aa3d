"""What a new session is asked and set to, and what one is set to again that was reset."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

from pymysql import err
from pymysql.constants import CLIENT, COMMAND

from ..exc import SERVER_ERRORS, is_disconnect
from . import kept
from .charset import DEFAULT_CHARSET, current_name
from .columns import describe, describe_bytes
from .command import Duty, packet_of
from .greeting import (
    BACKSLASHES,
    EXPIRED,
    MOST_ASSUMED,
    Learned,
    is_not_understood,
    learned_from,
    question,
)
from .hosts import PRIMARY, STANDBY
from .options import quoted_mode
from .outcome import MUST_CHANGE_PASSWORD, Refusal, concealed
from .session import Session

# `SELECT VERSION()` itself a proxy may answer.
_VERSION = packet_of(COMMAND.COM_QUERY, b"SELECT CONCAT(VERSION())")


async def set_up(session: Session) -> None:
    """Make a session that has logged in what its options say, and learn what it is."""
    try:
        await _ask_and_set(session)
    except SERVER_ERRORS as error:
        if error.args[:1] != (MUST_CHANGE_PASSWORD,) or not session.flags & EXPIRED:
            raise
        _begin_sandbox(session, error)


async def _ask_and_set(session: Session) -> None:
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
            refused = concealed(error, hints.of_error(error.args[0], sql, error.args[1], several))
        else:
            return
    # Not from within: the server's error has the text around a mistake.
    try:
        raise refused
    finally:
        refused.__context__ = None  # which Python 3.10 has set to it nonetheless
        del refused  # whose traceback holds this frame


def set_up_again(session: Session) -> Iterator[Callable[[], Awaitable[Any]]]:
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
