"""Many rows at a time: the packets of an INSERT, and the results of a statement's packets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..exc import InvalidRequestError
from ..wire._impl import frame, render_rows
from ..wire.channel import BATCH_BYTES
from ..wire.turns import Turns

if TYPE_CHECKING:
    from ..wire.reply import ResultSet


def packet_at_once(
    turns: Turns,
    head: bytes,
    group: Sequence[bytes],
    rows: Sequence[Sequence[Any]],
    tail: bytes,
) -> bytes | None:
    """Give the packet of *head*, few *rows* and *tail*; `None` if it would be a long one."""
    encoding, mode = turns.connection.syntax
    limit = _limit(turns)
    packet, stop = render_rows(head, group, rows, tail, encoding, mode, 0, limit)
    return packet if stop == len(rows) and len(packet) - 4 <= limit else None


def _limit(turns: Turns) -> int:
    return min(BATCH_BYTES, turns.connection.max_allowed_packet - 1)


class RowPackets:
    """The packets of an INSERT, each of as many rows as fit, and of *most* rows at most.

    Each row is written through the fragments *group*.
    """

    def __init__(self, turns: Turns, group: Sequence[bytes], most: int | None = None) -> None:
        self._turns = turns
        self._group = group
        self._most = most
        self._limit = _limit(turns)
        self._around = b"", b""
        self._packets: list[bytes] = []
        self._begin()

    def _begin(self) -> None:
        """Begin a packet: its rows' texts, how many they are, and its size if a row is added."""
        self._texts: list[bytes] = []
        self._count = 0
        self._size = 1 + sum(map(len, self._around))

    async def add(self, head: bytes, rows: Sequence[Sequence[Any]], tail: bytes) -> None:
        """Write *rows*, behind those before if *head* and *tail* are the same."""
        if (head, tail) != self._around:
            self._end()
            self._around = head, tail
            self._begin()
        encoding, mode = self._turns.connection.syntax
        start = 0
        while start < len(rows):
            if self._turns.over:
                await self._turns.pause()
            page = rows if self._most is None else rows[: start + self._most - self._count]
            room = self._limit - self._size + 1  # COM_QUERY is counted twice
            piece, stop = render_rows(b"", self._group, page, b"", encoding, mode, start, room)
            text = b"".join(payloads(piece))[1:] if len(piece) >= 1 << 24 else piece[5:]
            if self._size + len(text) > self._limit and self._texts:
                self._end()
            self._texts.append(text)
            self._size += len(text) + 2
            self._count += stop - start
            if self._count == self._most:
                self._end()
            start = stop

    def _end(self) -> None:
        """End a packet, if it has rows, and begin another."""
        if self._texts:
            head, tail = self._around
            self._packets.append(frame(b"".join((b"\x03", head, b", ".join(self._texts), tail))))
            self._begin()

    def finished(self) -> list[bytes]:
        """Give the packets.

        Raises an error if the server would not take one of them, so that nothing is half done.
        """
        self._end()
        for packet in self._packets:
            if len(packet) - 4 > self._limit:
                self._turns.connection.check_length(packet)
        return self._packets


def payloads(packet: bytes) -> Iterable[bytes]:
    """Give what the wire packets of one command hold."""
    position = 0
    while position < len(packet):
        end = position + 4 + int.from_bytes(packet[position : position + 3], "little")
        yield packet[position + 4 : end]
        position = end


def merged(batches: list[ResultSet]) -> ResultSet:
    """Give the results of one statement sent in several packets, as if it had been one.

    Raises `InvalidRequestError` where their rows do not fit together, as those of a procedure may.
    """
    whole = batches[0]
    for batch in batches[1:]:
        if batch.columns is not None:
            whole.columns = whole.columns or batch.columns
            if len(whole.columns.definitions) != len(batch.columns.definitions):
                raise InvalidRequestError(
                    f"one execution gave rows of {len(whole.columns.definitions)} columns, another"
                    f" of {len(batch.columns.definitions)}: execute the statement by itself for"
                    " each group of parameters"
                )
        whole.rows.extend(batch.rows)
        whole.affected_rows += batch.affected_rows
        whole.insert_id = whole.insert_id or batch.insert_id
        whole.warning_count += batch.warning_count
    return whole
