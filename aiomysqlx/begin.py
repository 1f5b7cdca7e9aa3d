"""How transactions begin: what is sent, and what is refused instead."""

from __future__ import annotations

from typing import Any

from .blocks import ANY_KIND, Blocks, Kind, closed, is_refusal
from .exc import SERVER_ERRORS, InvalidRequestError
from .runtime.words import logger, shown
from .transaction import (
    NestedTransaction,
    Owner,
    RootTransaction,
    Transaction,
    TwoPhaseTransaction,
)
from .wire.checks import check_level, check_read_only
from .wire.command import Command
from .wire.kept import characteristics
from .wire.session import Session

_SAME = "this is not the outermost transaction, which has its own isolation level and access mode"


def checked_kind(isolation_level: object, read_only: object) -> Kind:
    """Return what a transaction is to be; raise `ArgumentError` if there is no such thing."""
    if isolation_level is None and read_only is None:
        return ANY_KIND
    return check_level(isolation_level, autocommit=False), check_read_only(read_only)


async def begin_transaction(
    connection: Owner,
    blocks: Blocks,
    isolation_level: str | None,
    read_only: bool | None,
    rides: bool = False,
) -> Transaction[Owner]:
    """Begin a transaction; an emulated one within another.

    If it *rides*, or that is the connection's way, its begin is sent with its first statement.
    """
    kind = ANY_KIND
    if isolation_level is not None or read_only is not None:
        kind = checked_kind(isolation_level, read_only)
    if blocks.current is not None:
        _check_inner(*kind, blocks.current._root._kind)
        raw = blocks.open()
        if raw.in_doubt:
            with blocks.limit(raw):
                await raw.ready()
            blocks.open()
        raw.check_bar()
        return Transaction(connection, blocks, blocks.current)
    if _may_ride(blocks, rides):
        _ride(blocks, kind)
    elif kind is ANY_KIND:
        await blocks.limited(_begin_with(blocks, "BEGIN"))
    else:
        setting = characteristics(kind[0], None)
        await blocks.limited(_begin_with(blocks, _begin_statement(kind[1]), setting))
    blocks.current = transaction = RootTransaction(connection, blocks, kind)
    return transaction


def _may_ride(blocks: Blocks, rides: bool) -> bool:
    """Tell whether the begin of a transaction may be sent with its first statement."""
    raw = blocks.open()
    if not (rides or raw.options.pipelining):
        return False
    raw.check_loop()
    return not (raw.closed or raw.is_unsettled() or raw.in_transaction or raw.in_block)


def _ride(blocks: Blocks, kind: Kind) -> None:
    raw = blocks.open()
    raw.check_free()
    raw.forget_left()  # a stream of before, maybe of another borrower's
    setting = characteristics(kind[0], None)
    commands = [raw.text(_begin_statement(kind[1]))]
    if setting is not None:
        commands.insert(0, raw.text(setting))
    raw.lead(commands)


async def begin_savepoint(
    connection: Owner,
    blocks: Blocks,
    isolation_level: str | None,
    read_only: bool | None,
    savepoints: type[NestedTransaction[Any]] = NestedTransaction,
) -> Transaction[Owner]:
    """Begin a savepoint, or a transaction if there is none."""
    if blocks.current is None:
        return await begin_transaction(connection, blocks, isolation_level, read_only)
    _check_inner(*checked_kind(isolation_level, read_only), blocks.current._root._kind)
    raw = blocks.open()
    raw.savepoints += 1
    savepoint = f"aiomysqlx_savepoint_{raw.savepoints}"
    with blocks.limit(raw):
        await raw.query(f"SAVEPOINT {savepoint}")
    blocks.connected()  # raises if the connection was given back as the answer came
    nested = savepoints(connection, blocks, blocks.current, savepoint)
    blocks.current = nested
    return nested


async def begin_twophase(
    connection: Owner, blocks: Blocks, xid: str | bytes, kind: Kind
) -> TwoPhaseTransaction[Owner]:
    """Begin a two-phase transaction."""
    if blocks.current is not None:
        raise InvalidRequestError(
            "Cannot start a two phase transaction when a transaction is already in progress."
        )
    from . import xa  # which few have use for: 0.2 ms of an import

    start = _begin_with(blocks, xa.start_statement(xid), characteristics(*kind))
    await blocks.limited(start)
    blocks.current = transaction = TwoPhaseTransaction(connection, blocks, xid, kind)
    return transaction


async def _begin_with(blocks: Blocks, sql: str, setting: str | None = None) -> None:
    """Begin a transaction with *sql*; *setting* is a statement for it, sent before."""
    raw = blocks.open()
    if raw.is_unsettled():
        await _settle(raw, setting)
    if blocks.current is not None:
        raise InvalidRequestError(
            "another task has begun a transaction meanwhile: use a connection for each task"
        )
    if setting is not None and raw.in_transaction:
        raise InvalidRequestError(
            "the server is in a transaction, whose isolation level stays as it is:"
            " commit it or roll it back before"
        )
    wrote = raw.wrote
    try:
        if setting is None:
            await raw.run(raw.text(sql))
        else:
            await _begin_behind(blocks, raw, setting, sql)
    except BaseException as error:
        if not is_refusal(error):
            # The server may have begun a transaction that nobody would end.
            blocks.give_up(raw)
        raise
    if blocks.raw is None:  # given back as the answer came
        raise closed()
    raw.watch()
    if wrote:
        where = "" if blocks.place is None else f" acquired at {shown(blocks.place)}"
        logger.warning(
            "begin() has committed what was written before it, outside of any begin(), on a"
            " connection%s",
            where,
        )


def _check_inner(level: str | None, read_only: bool | None, root: tuple[object, object]) -> None:
    """Raise `InvalidRequestError` if a transaction within *root*'s is to be another sort."""
    if level not in (None, root[0]) or read_only not in (None, root[1]):
        raise InvalidRequestError(_SAME)


def _begin_statement(read_only: bool | None) -> str:
    """Return the statement that begins a transaction."""
    if read_only is None:
        return "BEGIN"
    return f"START TRANSACTION {'READ ONLY' if read_only else 'READ WRITE'}"


async def _settle(raw: Session, setting: str | None) -> None:
    if raw.busy:
        await raw.ready()
    if raw.in_doubt:
        await (raw.learn_transaction() if setting is None else raw.resolve_doubt())


async def _begin_behind(blocks: Blocks, raw: Session, setting: str, sql: str) -> None:
    """Send *setting*, which is for the next transaction, and the *sql* that begins it."""
    try:
        observed = None
        if raw.observer is not None:
            observed = raw.observer.observe(raw, f"{setting}; {sql}")
        command = Command(raw.rendered(sql), observed=observed)
        await raw.run_behind(Command(raw.rendered(setting)), command)
    except SERVER_ERRORS as error:
        if is_refusal(error) and blocks.raw is not None:
            # One may have begun without it, or the next one would be of that sort.
            try:
                await raw.query("BEGIN", always=True)
                await raw.query("ROLLBACK", always=True)
            except SERVER_ERRORS:  # as in a two-phase one, whose error is not the one to tell
                blocks.give_up(raw)
        raise
