"""The packets that open a session, at and around each of their bounds."""

from __future__ import annotations

import pytest
from fakes import CAPABILITIES, OK, Peer, fake_server, greeting, packet, session
from pymysql import err
from pymysql.constants import CLIENT

import aiomysqlx
from aiomysqlx.exc import ArgumentError
from aiomysqlx.wire.greeting import (
    BULK,
    Greeting,
    agreed,
    check_client_flag,
    check_user,
    opening,
    parse_greeting,
    parse_switch,
    response,
    with_length,
)
from aiomysqlx.wire.packets import MalformedPacket

OLD = CLIENT.PROTOCOL_41
SECURE = OLD | CLIENT.SECURE_CONNECTION
PLUGINS = SECURE | CLIENT.PLUGIN_AUTH
NONCE = b"12345678abcdefghijkl"
START = 1 + len(b"8.0.0-fake\0")  # of what has a place of its own

# -- what a server says of itself


def test_greeting_says_who_the_server_is() -> None:
    assert parse_greeting(greeting(PLUGINS, b"plugin")) == Greeting(
        protocol=10,
        version="8.0.0-fake",
        thread_id=7,
        nonce=NONCE + b"\0",
        capabilities=PLUGINS,
        collation=45,
        status=2,
        plugin="plugin",
        extended=0,
    )


CUT = {
    "nothing": 0,
    "in the version": START - 1,
    "before the capabilities": START + 14,
    "within the capabilities": START + 16,
    "before their end": START + 30,
    "before the random bytes": START + 31,
    "within the random bytes": START + 31 + 11,
}


@pytest.mark.parametrize("size", CUT.values(), ids=CUT)
def test_greeting_that_is_cut_short_is_refused(size: int) -> None:
    with pytest.raises(MalformedPacket):
        parse_greeting(greeting(PLUGINS)[:size])


def test_greeting_of_old_ends_with_its_capabilities() -> None:
    whole = greeting(OLD)

    shortest, longer = parse_greeting(whole[: START + 15]), parse_greeting(whole[: START + 31])

    assert shortest == Greeting(10, "8.0.0-fake", 7, NONCE[:8], OLD & 0xFFFF, 0, 0, "", 0)
    assert longer == Greeting(10, "8.0.0-fake", 7, NONCE[:8], OLD, 45, 2, "", 0)
    with pytest.raises(MalformedPacket, match="within its capabilities"):
        parse_greeting(whole[: START + 30])


def test_version_ends_with_a_nul() -> None:
    assert parse_greeting(greeting(version=b"")).version == ""
    with pytest.raises(MalformedPacket, match="has no version"):
        parse_greeting(b"\x0a" + b"8" * 60)


def test_random_bytes_may_lack_their_nul_and_the_plugin() -> None:
    found = parse_greeting(greeting(PLUGINS)[: START + 31 + 12])

    assert (found.nonce, found.plugin) == (NONCE, "")


def test_random_bytes_are_as_many_as_is_said() -> None:
    whole = bytearray(greeting(PLUGINS, b"plugin"))
    whole[START + 20] = 8 + 15

    found = parse_greeting(bytes(whole))

    assert (found.nonce, found.plugin) == (NONCE + b"\0pl", "ugin")


@pytest.mark.parametrize("said", [0, 8 + 12, 8 + 13])
def test_random_bytes_are_thirteen_at_least(said: int) -> None:
    whole = bytearray(greeting(PLUGINS, b"plugin"))
    whole[START + 20] = said

    found = parse_greeting(bytes(whole))

    assert (found.nonce, found.plugin) == (NONCE + b"\0", "plugin")


def test_plugin_is_named_where_the_server_has_plugins() -> None:
    assert parse_greeting(greeting(SECURE, b"plugin")).plugin == ""
    assert parse_greeting(greeting(PLUGINS, b"plugin")[:-1]).plugin == "plugin"  # without a NUL


OTHER_PROTOCOLS = {9: "", 11: "; port 33060 is that of the X Protocol, try 3306"}


@pytest.mark.parametrize(("protocol", "words"), OTHER_PROTOCOLS.items())
def test_greeting_of_another_protocol_is_refused(protocol: int, words: str) -> None:
    with pytest.raises(err.OperationalError) as caught:
        parse_greeting(greeting(protocol=protocol))
    said = f"protocol version of the server is {protocol}, expected 10{words}"
    assert caught.value.args == (2007, said)


EXTENDED = {"MariaDB": (PLUGINS, 0x8000001D), "MySQL": (PLUGINS | CLIENT.LONG_PASSWORD, 0)}


@pytest.mark.parametrize(("capabilities", "found"), EXTENDED.values(), ids=EXTENDED)
def test_own_capabilities_are_those_of_who_does_not_say_it_were_mysql(
    capabilities: int, found: int
) -> None:
    assert parse_greeting(greeting(capabilities, extended=0x8000001D)).extended == found


def test_version_is_ascii() -> None:
    with pytest.raises(MalformedPacket, match="has no version"):
        parse_greeting(greeting(version=b"8.0\xff"))


# -- what a user may ask for


@pytest.mark.parametrize("flags", [0, 1, CLIENT.FOUND_ROWS, CLIENT.MULTI_STATEMENTS, 1 << 22])
def test_flags_that_change_no_packets_are_the_users_to_ask_for(flags: int) -> None:
    check_client_flag(flags)


@pytest.mark.parametrize("bit", [3, 5, 11, *range(23, 32)])
def test_flags_that_change_packets_are_not(bit: int) -> None:
    with pytest.raises(ArgumentError, match=r"does not take CLIENT\.[A-Z_]+"):
        check_client_flag(1 << bit | CLIENT.FOUND_ROWS)


@pytest.mark.parametrize("flags", [-1, 1 << 32])
def test_flags_have_32_bits(flags: int) -> None:
    with pytest.raises(ArgumentError, match=f"has flags of 32 bits, got {flags}"):
        check_client_flag(flags)


LONGEST = {"8.0.36": 32, "9.7.0-log": 32, "11.4.2-MariaDB-log": 128, "5.7.25-TiDB-v8": 128}


@pytest.mark.parametrize(("version", "most"), LONGEST.items())
def test_user_is_as_long_as_the_server_takes(version: str, most: int) -> None:
    check_user("u" * most, version)
    with pytest.raises(ArgumentError, match=f"{most + 1} characters, of which .* takes {most}$"):
        check_user("u" * (most + 1), version)


# -- what the client responds


@pytest.mark.parametrize("bit", [22, 23, 24])
async def test_client_asks_for_what_a_server_offers(bit: int) -> None:
    responses: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(CAPABILITIES | 1 << bit), 0))
        responses.append(await peer.read())
        peer.write(packet(OK, 2))
        await peer.read()
        peer.write(session(CAPABILITIES | 1 << bit))

    async with fake_server(script) as kwargs:
        raw = await aiomysqlx.connect(**kwargs, client_flag=1 << 22)
        await raw.ensure_closed()

    assert int.from_bytes(responses[0][:4], "little") & 0b111 << 22 == 1 << bit


ANNOUNCED = {
    "all": (CAPABILITIES & ~1, 0xFFFFFFFF, BULK),
    "MariaDB 10.11": (CAPABILITIES & ~1, 0x1D, BULK),
    "all others": (CAPABILITIES & ~1, 0xFFFFFFFF & ~BULK, 0),
    "none": (CAPABILITIES & ~1, 0, 0),
    "MySQL": (CAPABILITIES, 0xFFFFFFFF, 0),
}


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("capabilities", "extended", "asked"), ANNOUNCED.values(), ids=list(ANNOUNCED)
)
async def test_of_its_own_capabilities_a_server_is_asked_for_what_is_used(
    capabilities: int, extended: int, asked: int
) -> None:
    responses = []

    async def script(peer: Peer) -> None:
        responses.append(await peer.welcome(capabilities, extended=extended))
        await peer.read()

    async with fake_server(script) as address:
        conn = await aiomysqlx.connect(**address)
        await conn.ensure_closed()

    flags, own = responses[0][:4], responses[0][28:32]
    assert int.from_bytes(own, "little") == asked
    assert int.from_bytes(flags, "little") & 1 == capabilities & 1


def test_flags_are_those_of_both() -> None:
    assert agreed(SECURE | 1 << 30, PLUGINS) == SECURE
    with pytest.raises(err.OperationalError, match="before MySQL 4.1"):
        agreed(SECURE, CLIENT.SECURE_CONNECTION)


def test_response_begins_with_flags_packet_limit_and_collation() -> None:
    begin = b"\x04\x03\x02\x01\xff\xff\xff\x00\x2d" + b"\0" * 19

    assert opening(0x01020304, 0, 45) == begin + b"\0" * 4
    assert opening(0x01020304, 0x05060708, 45) == begin + b"\x08\x07\x06\x05"


def fields(flags: int, answer: bytes = b"answer") -> bytes:
    """Give what follows the opening of a response."""
    whole = response(flags, 4, 45, b"user", answer, b"db", "plugin", {"a": "1", "bc": "é"})
    assert whole.startswith(opening(flags, 4, 45) + b"user\0")
    return whole[len(opening(flags, 4, 45)) + 5 :]


FIELDS = {
    "of old": (OLD, b"answer\0"),
    "secure": (SECURE, b"\x06answer"),
    "any length": (OLD | CLIENT.PLUGIN_AUTH_LENENC_CLIENT_DATA, b"\x06answer"),
    "database": (SECURE | CLIENT.CONNECT_WITH_DB, b"\x06answerdb\0"),
    "plugin": (PLUGINS, b"\x06answerplugin\0"),
    "attributes": (SECURE | CLIENT.CONNECT_ATTRS, b"\x06answer\x0a\x01a\x011\x02bc\x02\xc3\xa9"),
}


@pytest.mark.parametrize(("flags", "expected"), FIELDS.values(), ids=FIELDS)
def test_response_has_the_fields_that_its_flags_tell(flags: int, expected: bytes) -> None:
    assert fields(flags) == expected


def test_answer_has_255_bytes_at_most_where_its_length_is_one_byte() -> None:
    assert fields(SECURE, b"x" * 255) == b"\xff" + b"x" * 255
    with pytest.raises(err.OperationalError, match=r"255 bytes at most, and plugin has one of 256"):
        fields(SECURE, b"x" * 256)


LENGTHS = {
    0: b"\x00",
    250: b"\xfa",
    251: b"\xfc\xfb\x00",
    65535: b"\xfc\xff\xff",
    65536: b"\xfd\x00\x00\x01",
}


@pytest.mark.parametrize(("size", "prefix"), LENGTHS.items())
def test_length_takes_one_byte_or_three_or_four(size: int, prefix: bytes) -> None:
    assert with_length(b"x" * size) == prefix + b"x" * size


# -- a switch


def test_switch_names_a_plugin_and_gives_random_bytes() -> None:
    assert parse_switch(b"\xfeplugin\0" + NONCE + b"\0") == ("plugin", NONCE + b"\0")
    assert parse_switch(b"\xfepl\xe9\0") == ("plé", b"")
