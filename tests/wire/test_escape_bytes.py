"""Bytes to literals, by both implementations: as they stand, or in hex."""

from __future__ import annotations

from types import ModuleType

import pytest

pytestmark = pytest.mark.twins

NO_BACKSLASH_ESCAPES, HEX_BYTES = 1, 2
ESCAPED = {0x27: b"\\'", 0x5C: b"\\\\", 0x0D: b"\\r"}

# The codecs whose charsets have the byte of a quote or a backslash within a character, and some
# that the server does not have.
IN_HEX = ["gbk", "gb18030", "big5", "cp932", "shift_jis", "big5hkscs", "johab", "ptcp154", "cp949"]
AS_THEY_STAND = [
    *("utf8", "UTF-8", "ascii", "latin1", "cp1252", "euc_jp", "euc_kr", "gb2312"),
    *("cp1250", "cp1251", "cp1256", "cp1257", "cp850", "cp852", "cp866", "koi8_r", "koi8_u"),
    *("latin2", "greek", "hebrew", "latin5", "latin7", "macroman", "tis620"),
]


@pytest.mark.parametrize("encoding", AS_THEY_STAND)
def test_bytes_stand_for_themselves(escape: ModuleType, encoding: str) -> None:
    for byte in range(256):
        inside = ESCAPED.get(byte, bytes((byte,)))

        assert escape.escape(bytes((byte,)), encoding, 0) == b"_binary'" + inside + b"'"


@pytest.mark.parametrize("encoding", IN_HEX)
def test_bytes_are_hex_where_a_character_may_end_in_a_backslash(
    escape: ModuleType, encoding: str
) -> None:
    assert escape.escape(b"\x81\\'\xff\n", encoding, 0) == b"_binary X'815C27FF0A'"
    assert escape.escape(bytearray(b"\x81\\"), encoding, 0) == b"_binary X'815C'"
    assert escape.escape(memoryview(b"\x81\\"), encoding, 0) == b"_binary X'815C'"


@pytest.mark.parametrize("encoding", ["utf8", "utf-8", "cp1252", "gbk"])
@pytest.mark.parametrize("mode", [NO_BACKSLASH_ESCAPES, HEX_BYTES, 3], ids=["no", "hex", "both"])
def test_bytes_are_hex_where_the_mode_says_so(escape: ModuleType, encoding: str, mode: int) -> None:
    for value in (b"\x00'\\\xab", bytearray(b"\x00'\\\xab"), memoryview(b"\x00'\\\xab")):
        assert escape.escape(value, encoding, mode) == b"_binary X'00275CAB'"
        assert escape.escape([value], encoding, mode) == b"(_binary X'00275CAB')"


def test_every_byte_in_hex(escape: ModuleType) -> None:
    digits = "".join(f"{byte:02X}" for byte in range(256))

    assert escape.escape(bytes(range(256)), "utf8", HEX_BYTES) == f"_binary X'{digits}'".encode()


@pytest.mark.parametrize("size", [*range(1, 26), 1023, 1024, 1025, 5000])
@pytest.mark.parametrize("special", ESCAPED, ids="{:#x}".format)
def test_byte_is_escaped_wherever_it_stands(escape: ModuleType, special: int, size: int) -> None:
    for filler in (b"\x00", b"\xff", bytes((special ^ 1,)), bytes((special ^ 0x80,))):
        for position in {0, 1, size // 2, size - 8, size - 2, size - 1} & set(range(size)):
            before, after = filler * position, filler * (size - 1 - position)
            value = before + bytes((special,)) + after

            assert escape.escape(value, "utf8", 0) == (
                b"_binary'" + before + ESCAPED[special] + after + b"'"
            )
    assert escape.escape(bytes((special,)) * size, "utf8", 0) == (
        b"_binary'" + ESCAPED[special] * size + b"'"
    )


@pytest.mark.parametrize("count", [1, 2, 100])
def test_bytes_lie_in_the_statement_one_beside_the_other(escape: ModuleType, count: int) -> None:
    values = [bytes((0x80 + n,)) * (n * 37) + b"'" for n in range(count)]
    expected = b", ".join(b"_binary'" + value[:-1] + b"\\''" for value in values)

    packet = escape.render((b"", *[b", "] * (count - 1), b""), values, "utf8", 0)

    assert packet[4:] == b"\x03" + expected


def test_bytes_need_no_more_than_their_size(escape: ModuleType) -> None:
    for value in (bytes(1 << 20), b'\n\x1a"' * 100_000, bytes(range(0x80, 0x100)) * 8000):
        assert len(escape.escape(value, "utf8", 0)) == len(value) + len("_binary''")


def test_rows_are_counted_by_the_bytes_they_need(escape: ModuleType) -> None:
    rows = [(b"x" * 90,)] * 30  # of 101 bytes each, and one between them
    group = (b"(", b")")

    for limit, count in ((1 + 2 * 101 + 1, 2), (1 + 3 * 101 + 2 - 1, 2), (1 + 3 * 101 + 2, 3)):
        packet, stop = escape.render_rows(b"", group, rows, b"", "utf8", 0, 0, limit)

        assert (len(packet) - 4, stop) == (1 + count * 101 + (count - 1), count)
