"""Cases for `fuzz.py`: a byte of flags, a byte that says how the rest is cut, and what came in."""

from __future__ import annotations

import random
from collections.abc import Iterator

from replies import BINARY_ROWS, REPLIES

# What the first byte of a case says.
DEPRECATE_EOF, UNCHECKED, SHAPED, KNOWN, DROPPED, REPAIRED, SMALL, HANDSHAKE = (
    1 << bit for bit in range(8)
)
# An answer to the preparation of a statement.
PREPARED = HANDSHAKE | REPAIRED
# The answers to many statements in one command; an odd cut: a question is behind each of them.
ALIKE = SHAPED | KNOWN
# Rows of a prepared statement.
BINARY = HANDSHAKE | KNOWN
OK = b"\0\0\0\x02\0\0\0"
REFUSED = b"\xff\x28\4#HY000refused"
KEY = b"\x01-----BEGIN PUBLIC KEY-----"
GREETING = (
    b"\x0a8.0.0\0\x07\0\0\x0012345678\0\xff\xf7\x2d\x02\0\xff\x81\x15"
    + bytes(10)
    + b"abcdefghijkl\0"
)
PLUGINS = (
    b"mysql_native_password",
    b"caching_sha2_password",
    b"sha256_password",
    b"mysql_clear_password",
    b"client_ed25519",
    b"parsec",
    b"mysql_old_password",
    b"",
)


def chunks(stream: bytes, cut: int) -> Iterator[bytes]:
    """Give *stream* in pieces: whole for 0, else of *cut* bytes."""
    size = cut or max(len(stream), 1)
    return (stream[start : start + size] for start in range(0, len(stream), size))


def packets_of(stream: bytes, most: int = 1 << 30) -> list[bytes]:
    found: list[bytes] = []
    while stream and len(found) < most:
        size = 4 + int.from_bytes(stream[:3], "little")
        found.append(stream[:size])
        stream = stream[size:]
    return found


def repaired(stream: bytes) -> bytes:
    """Give *stream* with the lengths that there are, and the sequence ids that are expected."""
    return numbered([packet[4:] for packet in packets_of(stream)], 1)


def seeds() -> list[bytes]:
    """Give the cases to begin with: what a server said, in all the ways to take it."""
    replies = list(REPLIES.items())
    cases = []
    for index, ((name, deprecated), stream) in enumerate(replies):
        for flags in (0, UNCHECKED, SHAPED | REPAIRED, KNOWN, DROPPED, SMALL | SHAPED):
            more = replies[(index + 2) % len(replies)][1] if name != "file" else b""
            head = bytes((flags | (DEPRECATE_EOF if deprecated else 0), 7 * (flags % 3)))
            cases += [head + stream, head + stream + more]
    definition = packets_of(REPLIES["long", True])[1][4:]
    values = b"\x0816777216\x07utf8mb4\x0butf8mb4_bin"
    session = numbered([b"\x03", *[definition] * 3, values, b"\xfe" + OK[1:]], 1)
    for plugin in PLUGINS:
        switch = b"\xfe" + plugin + b"\0" + b"saltsaltsaltsaltsalt\0"
        long_switch = b"\xfe" + plugin + b"\0" + bytes(range(32))
        for answers in (
            *([OK], [switch, OK], [b"\x01\x04", KEY, OK], [switch, b"\x01\x04", KEY, OK]),
            *([long_switch, OK], [long_switch, b"P\0" + bytes(18), OK]),
        ):
            said = numbered([GREETING + plugin + b"\0"], 0) + numbered(answers, 2, 2)
            for flags in (HANDSHAKE, HANDSHAKE | UNCHECKED, HANDSHAKE | UNCHECKED | SHAPED):
                cases.append(bytes((flags, len(said))) + said + session)
    return [*cases, *_prepared(definition), *_binary(), *_many(definition)]


def _prepared(definition: bytes) -> Iterator[bytes]:
    """Give answers to the preparation of statements with parameters and columns, or without."""
    eof = b"\xfe\0\0\2\0"
    for deprecated in (0, DEPRECATE_EOF):
        for columns, parameters in ((0, 0), (2, 0), (0, 3), (3, 2)):
            head = b"\0\7\0\0\0" + bytes((columns, 0, parameters, 0, 0, 1, 0))
            payloads = [head]
            for count in filter(None, (parameters, columns)):
                payloads += [definition] * count + ([] if deprecated else [eof])
            said = numbered(payloads, 1)
            for flags in (0, UNCHECKED, DROPPED, SMALL):
                yield bytes((PREPARED | deprecated | flags, 7 * (flags % 3))) + said
                yield bytes((PREPARED | deprecated | flags, 0)) + said + numbered([OK], 1)


def _many(definition: bytes) -> Iterator[bytes]:
    """Give the answers to many statements in one command, and to a question behind each."""
    ok, last = b"\0\1\0\x0a\0\0\0", b"\0\1\0\2\0\0\0"
    other = b"\0\1\7\x0a\0\1\0"
    for deprecated in (0, DEPRECATE_EOF):
        eof = b"\xfe\0\0\x0a\0" + (b"\0\0" if deprecated else b"")
        empty = [b"\1", definition, *([] if deprecated else [eof]), eof]
        for oks in ([ok] * 9, [ok, ok, other, ok, ok, ok], [ok, other] * 3):
            for cut in (0, 20):
                head = bytes((ALIKE | deprecated, cut))
                yield head + numbered([*oks, last], 1)
                yield head + numbered([*oks, REFUSED, last], 1)
            for cut in (1, 33):
                head = bytes((ALIKE | deprecated, cut))
                yield head + numbered([*(each for one in oks for each in (one, *empty)), last], 1)


def _binary() -> Iterator[bytes]:
    """Give binary rows of many columns, and of each column alone."""
    *head, eof = [packet[4:] for packet in packets_of(BINARY_ROWS, 19)]
    *rows, end = [packet[4:] for packet in packets_of(BINARY_ROWS)[19:]]
    for flags in (0, UNCHECKED, SHAPED, SMALL, DROPPED):
        yield bytes((BINARY | flags, 7 * (flags % 3))) + BINARY_ROWS
        without = numbered([*head, *rows, b"\xfe" + OK[1:]], 1)
        yield bytes((BINARY | DEPRECATE_EOF | flags, 7 * (flags % 3))) + without
    for definition in head[1:]:
        for value in (b"", bytes(8), b"\x0b" + bytes(11), b"\x0c" + bytes(12), b"\4\xe8\7\2\x1d"):
            payloads = [b"\1", definition, eof, b"\0\0" + value, b"\0\4", end]
            yield bytes((BINARY, 0)) + numbered(payloads, 1)


def numbered(payloads: list[bytes], first: int, step: int = 1) -> bytes:
    """Give *payloads* as packets, their sequence ids counted on from *first*."""
    return b"".join(
        len(payload).to_bytes(3, "little") + bytes((first + step * index & 0xFF,)) + payload
        for index, payload in enumerate(payloads)
    )


def mutated(case: bytes, chance: random.Random) -> bytes:
    """Give *case* with a few bytes changed, put in or taken out."""
    data = bytearray(case)
    for _ in range(chance.randrange(5)):
        position = chance.randrange(2, len(data) + 1)
        length = chance.choice((0, 1, 1, 1, 2, 5))
        new = bytes(
            chance.choice((0, 1, 0x7F, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF, chance.randrange(256)))
            for _ in range(chance.choice((0, 1, 1, 1, 2, 9)))
        )
        data[position : position + length] = new
    if chance.random() < 0.3:
        data[0] ^= 1 << chance.randrange(7)
    if chance.random() < 0.3:
        data[1] = chance.choice((0, 1, 2, 3, 5, 17, 255)) if not data[0] & HANDSHAKE else data[1]
    return bytes(data)
