"""One statement as text and prepared, by raw packets: what comes of its rows either way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pymysql
from pymysql.constants import COMMAND

from aiomysqlx.wire.columns import Columns, describe
from aiomysqlx.wire.packets import MAX_PIECE

COM_STMT_PREPARE = 0x16
COM_STMT_CLOSE = 0x19


class Prepared:
    """A connection that asks as text or by prepared statements."""

    def __init__(self, **arguments: Any) -> None:
        self.driver = pymysql.connect(**arguments, ssl_disabled=True)
        self.encoding: str = self.driver.encoding

    def text(self, sql: str, **decoding: Any) -> list[tuple[Any, ...]]:
        """Give the rows of a statement sent as text."""
        self.driver._execute_command(COMMAND.COM_QUERY, sql)
        return self._rows(binary=False, **decoding)

    def prepare(self, sql: str) -> int:
        """Prepare a statement and give its id."""
        self.driver._execute_command(COM_STMT_PREPARE, sql)
        answer = self._packet()
        columns, parameters = (int.from_bytes(answer[at : at + 2], "little") for at in (5, 7))
        for count in (parameters, columns):
            for _ in range(count and count + 1):  # and the EOF packet behind them
                self._packet()
        return int.from_bytes(answer[1:5], "little")

    def send(self, packet: bytes, **decoding: Any) -> list[tuple[Any, ...]]:
        """Give the rows of a statement's execution; none if it has no rows."""
        # The answer goes on with the numbers of the packets that the command takes.
        self.driver._next_seq_id = 1 + len(packet) // (MAX_PIECE + 4) & 0xFF
        self.driver._write_bytes(packet)
        return self._rows(binary=True, **decoding)

    def close_statement(self, statement: int) -> None:
        """Close a prepared statement, which the server does not answer."""
        self.driver._execute_command(COM_STMT_CLOSE, statement.to_bytes(4, "little"))

    def _packet(self) -> bytes:
        return self.driver._read_packet().get_all_data()  # type: ignore[no-any-return]

    def _rows(self, binary: bool, describe: Any = describe) -> list[tuple[Any, ...]]:
        first = self._packet()
        if first[0] == 0:
            return []
        packets = []
        while (packet := self._packet())[0] != 0xFE or len(packet) > 8:
            packets.append(len(packet).to_bytes(3, "little") + b"\0" + packet)
        columns: Columns = describe(b"".join(packets), self.encoding, binary)
        rows = []
        while (packet := self._packet())[0] != 0xFE or len(packet) > 8:
            rows.append(columns.decoder.row(packet))
        return rows


@contextlib.contextmanager
def prepared(**arguments: Any) -> Iterator[Prepared]:
    """Give a connection for as long as the block."""
    session = Prepared(**arguments)
    with contextlib.closing(session.driver):
        yield session
