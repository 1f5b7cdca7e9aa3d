"""Two-phase transactions (XA): how the server is asked to prepare, end and list them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pymysql.constants import COMMAND

from .blocks import BEING_ENDED, OVER, UNKNOWN, Block, Blocks, is_refusal, leaves_open, prepared
from .exc import SERVER_ERRORS, ArgumentError, InvalidRequestError
from .runtime.words import brief
from .wire.claims import refused
from .wire.columns import describe_bytes
from .wire.command import Duty, packet_of
from .wire.ending import LOOK, PREPARED, commit
from .wire.leaving import check_left
from .wire.session import Session

_RECOVER = Duty(packet_of(COMMAND.COM_QUERY, b"XA RECOVER"), describe_bytes)
_IN_TRANSACTION = packet_of(COMMAND.COM_QUERY, b"SELECT @@in_transaction")  # MariaDB's
# The format id and the length of the branch qualifier that XA START gives to `X'…'` alone.
_OUR_XID = (b"1", b"0")


def start_statement(xid: str | bytes) -> str:
    """Return the statement that begins a two-phase transaction."""
    return f"XA START {_literal(xid)}"


async def prepare(blocks: Blocks, transaction: Block) -> None:
    """Prepare the transaction in progress."""
    assert transaction._xid is not None
    xid = _literal(transaction._xid)
    raw = blocks.connected()
    with blocks.limit(raw), blocks.ending_as(BEING_ENDED):
        if raw.is_unsettled():
            await raw.ready()
        check_left(raw)
        if raw.ended is not None:
            raise refused(raw.ended)
        if transaction._is_prepared:
            raise prepared()
        await raw.query(f"XA END {xid}", always=True)
        # Or about to be: if that is cut off, XA END is done.
        transaction._is_prepared = True
        raw.unwatch()
        await raw.query(f"XA PREPARE {xid}", always=True)


async def end(raw: Session, how: str, xid: str | bytes, is_prepared: bool) -> None:
    """End the two-phase transaction in progress: *how* is COMMIT or ROLLBACK."""
    statements = _end_statements(how, xid, is_prepared)
    if len(statements) > 1:
        try:
            await raw.query(statements[0], always=True)
        except SERVER_ERRORS as error:  # after a deadlock there is nothing but a ROLLBACK
            if how == "COMMIT" or not is_refusal(error):
                raise
    await _end_with(raw, how, statements[-1], is_prepared)


async def recover(blocks: Blocks) -> list[str | bytes]:
    """Return the ids of the server's prepared transactions, without those of other programs."""
    raw = blocks.connected()
    with blocks.limit(raw):
        results = await raw.run(_RECOVER)
    return [_recovered(row) for row in results[0].rows if (row[0], row[2]) == _OUR_XID]


async def end_prepared(blocks: Blocks, how: str, xid: str | bytes, is_prepared: bool) -> None:
    """End a prepared transaction, this connection's or another's."""
    statements = _end_statements(how, xid, is_prepared)
    raw = blocks.connected()
    switched = is_ended = False
    lease = raw.lease
    try:
        with blocks.limit(raw), blocks.ending_as("a prepared transaction is being ended"):
            if raw.busy:
                await raw.ready()
            if blocks.root is None or blocks.root._xid is None:
                await _check_outside(blocks, raw)
                # Without autocommit, MariaDB takes a session to be in a transaction at all times.
                switched = raw.is_mariadb and not raw.autocommits
            if switched:
                await raw.query("SET autocommit = 1", always=True)
            for sql in statements[:-1]:
                raw.check_lease(lease)
                await raw.query(sql, always=True)
            raw.check_lease(lease)
            await _end_with(raw, how, statements[-1], is_prepared)
            is_ended = True
            if switched:
                raw.check_lease(lease)
                await raw.query("SET autocommit = 0", always=True)
    except BaseException as error:
        if switched:
            await _restore_autocommit(blocks, raw, error)
        if leaves_open(error) and _own(blocks, xid) is not None:
            blocks.give_up(raw)
            blocks.lose(True, UNKNOWN)
        if not (is_ended and isinstance(error, Exception)):
            raise
    root = _own(blocks, xid)
    if root is not None:
        raw.unwatch()
        blocks.finish(root, OVER[how], root)


def _own(blocks: Blocks, xid: str | bytes) -> Block | None:
    """Return the two-phase transaction in progress, if that is its id."""
    root = blocks.root
    if root is None or root._xid is None or _literal(root._xid) != _literal(xid):
        return None
    return root


async def _end_with(raw: Session, how: str, sql: str, is_prepared: bool) -> None:
    """Execute the last of the statements that end a two-phase transaction."""
    if how == "COMMIT":
        await commit(raw, sql, PREPARED if is_prepared else LOOK, always=True)
    else:
        await raw.query(sql, always=True)


async def _check_outside(blocks: Blocks, raw: Session) -> None:
    """Raise `InvalidRequestError` in a transaction, which the end of another would commit."""
    if raw.in_doubt:
        await raw.resolve_doubt()
    inside = blocks.current is not None or raw.in_transaction
    if not inside and raw.is_mariadb and not raw.autocommits:
        # A proxy may not show it.
        inside = int((await raw.ask(_IN_TRANSACTION))[0]) != 0
    if inside:
        raise InvalidRequestError(
            "the connection is in a transaction: commit it or roll it back before a prepared one is"
            " ended"
        )


async def _restore_autocommit(blocks: Blocks, raw: Session, error: BaseException) -> None:
    """Switch autocommit off again, or close the connection, after *error*."""
    if blocks.raw is None:  # whoever lends it sees to that
        return
    try:
        if not is_refusal(error):
            blocks.give_up(raw)  # nobody knows which mode it is in
        elif raw.autocommits:
            await raw.query("SET autocommit = 0", always=True)
    except BaseException as failure:
        blocks.give_up(raw)
        if not isinstance(failure, Exception):
            raise


def _end_statements(how: str, xid: str | bytes, is_prepared: bool) -> Sequence[str]:
    literal = _literal(xid)
    if is_prepared:
        return [f"XA {how} {literal}"]
    return [f"XA END {literal}", f"XA {how} {literal}{' ONE PHASE' if how == 'COMMIT' else ''}"]


def _literal(xid: str | bytes) -> str:
    """Return *xid* as a SQL literal, in any character set."""
    if not isinstance(xid, (str, bytes)):
        raise ArgumentError(f"expected an xid as str or bytes, got {brief(xid)}")
    data = _encode(xid) if isinstance(xid, str) else xid
    if not 0 < len(data) <= 64:
        raise ArgumentError(f"an xid has 1 to 64 bytes, got {len(data)}")
    return f"X'{data.hex()}'"


def _encode(xid: str) -> bytes:
    try:
        return xid.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(f"an xid has no utf-8 encoding: {error.reason}") from None


def _recovered(row: tuple[Any, ...]) -> str | bytes:
    _, gtrid_length, _, data = row
    gtrid: bytes = data[: int(gtrid_length)]
    try:
        return gtrid.decode()
    except UnicodeDecodeError:
        return gtrid
