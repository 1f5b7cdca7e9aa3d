"""Packets: what those of one command hold, their length-encoded integers, and their faults."""

from __future__ import annotations

from collections.abc import Iterator

NULL = 0xFB  # in the place of a value's length
MAX_PIECE = 0xFFFFFF  # a wire packet this long is continued by the next one
CAPACITY = 1 << 16  # of a reader's buffer, to begin with
IDLE_CAPACITY = 1 << 20  # an empty buffer larger than this goes back to CAPACITY
_LENGTH_SIZES = {0xFC: 2, 0xFD: 3, 0xFE: 8}


class MalformedPacket(Exception):  # noqa: N818 - names what came, not what failed
    """The bytes received do not follow the protocol: nothing after them can be trusted."""


class PacketTooLarge(MalformedPacket):
    """More bytes are announced for one packet than the reader's limit allows."""


class UndecodableValue(Exception):  # noqa: N818 - likewise
    """One value does not decode; the packets around it are whole."""


def payloads(packets: bytes) -> Iterator[bytes]:
    """Return what wire packets hold, one after the other."""
    position = 0
    while position < len(packets):
        end = position + 4 + int.from_bytes(packets[position : position + 3], "little")
        yield packets[position + 4 : end]
        position = end


def length(size: int) -> bytes:
    """Return *size* as a length-encoded integer."""
    if size < NULL:
        return bytes((size,))
    if size < 1 << 16:
        return b"\xfc" + size.to_bytes(2, "little")
    if size < 1 << 24:
        return b"\xfd" + size.to_bytes(3, "little")
    return b"\xfe" + size.to_bytes(8, "little")


def read_length(payload: bytes, position: int) -> tuple[int, int]:
    """Return the length-encoded integer at *position*, and the position after it."""
    if position >= len(payload):
        raise MalformedPacket("packet is cut short")
    first = payload[position]
    position += 1
    if first < NULL:
        return first, position
    size = _LENGTH_SIZES.get(first)
    if size is None:
        raise MalformedPacket(f"invalid length prefix {first:#x}")
    end = position + size
    if end > len(payload):
        raise MalformedPacket("packet is cut short")
    return int.from_bytes(payload[position:end], "little"), end
