"""What each plugin answers a server, step by step, without one."""

from __future__ import annotations

from hashlib import pbkdf2_hmac, sha256, sha512
from typing import Any

import pytest
from pymysql import err

from aiomysqlx.exc import PublicKeyError
from aiomysqlx.wire.auth import PLUGINS, Login
from aiomysqlx.wire.ed25519 import sign
from aiomysqlx.wire.packets import MalformedPacket

NONCE = bytes(range(65, 85))
LONG_NONCE = bytes(range(65, 97))
SECRET = b"secret"


def login(password: bytes = SECRET, secure: bool = False, may_ask: bool = True) -> Login:
    return Login(password, secure, None, may_ask)


def answers(plugin: str, who: Login, nonce: bytes, *said: bytes) -> list[bytes | None]:
    """Give all that a plugin answers to the nonce and to what the server says after it."""
    exchange: Any = PLUGINS[plugin](who, nonce)
    given = [next(exchange)]
    try:
        for each in (*said, b"\0welcome"):
            given.append(exchange.send(each))
    except StopIteration:
        return given
    raise AssertionError("there is more to come")


def fast(password: bytes = SECRET, nonce: bytes = NONCE) -> bytes:
    stage = sha256(password).digest()
    mask = sha256(sha256(stage).digest() + nonce).digest()
    return bytes(a ^ b for a, b in zip(stage, mask, strict=True))


WITHOUT_PASSWORD = {
    "mysql_native_password": b"",
    "caching_sha2_password": b"",
    "sha256_password": b"\0",
    "mysql_clear_password": b"\0",
}


@pytest.mark.parametrize(("plugin", "expected"), WITHOUT_PASSWORD.items())
def test_user_without_a_password_needs_no_nonce(plugin: str, expected: bytes) -> None:
    assert answers(plugin, login(b""), b"") == [expected]


def test_caching_sha2_is_over_once_the_server_knows_the_password() -> None:
    assert answers("caching_sha2_password", login(), NONCE + b"\0", b"\x01\x03") == [fast(), None]


def test_caching_sha2_sends_the_password_where_nobody_reads_it() -> None:
    sent = answers("caching_sha2_password", login(secure=True), NONCE, b"\x01\x04")

    assert sent == [fast(), SECRET + b"\0"]


def test_sha256_sends_the_password_where_nobody_reads_it() -> None:
    assert answers("sha256_password", login(secure=True), NONCE) == [SECRET + b"\0"]


QUESTIONS = {"caching_sha2_password": b"\x02", "sha256_password": b"\x01"}


@pytest.mark.parametrize(("plugin", "question"), QUESTIONS.items())
def test_key_is_asked_for_before_the_password_is_encrypted(plugin: str, question: bytes) -> None:
    exchange: Any = PLUGINS[plugin](login(), NONCE)
    asked = next(exchange)
    if plugin == "caching_sha2_password":
        asked = exchange.send(b"\x01\x04")

    assert asked == question
    with pytest.raises(MalformedPacket, match="sends no public RSA key"):
        exchange.send(b"\x01")


@pytest.mark.parametrize("said", [b"\x01\x05", b"\x01", b"\x01\x03\x04"])
def test_caching_sha2_knows_two_words(said: bytes) -> None:
    with pytest.raises(MalformedPacket, match="expected 3 or 4"):
        answers("caching_sha2_password", login(), NONCE, said)


@pytest.mark.parametrize("said", [b"", b"\x00\x03", b"\x02\x03", b"\xfe"])
def test_what_is_for_no_plugin_is_refused(said: bytes) -> None:
    with pytest.raises(MalformedPacket, match="expected a packet for the authentication plugin"):
        answers("caching_sha2_password", login(), NONCE, said)


@pytest.mark.parametrize("plugin", QUESTIONS)
def test_nonce_is_needed(plugin: str) -> None:
    with pytest.raises(MalformedPacket, match="has no random bytes"):
        answers(plugin, login(), b"")


@pytest.mark.parametrize("password", [b"\0", b"a\0", b"\0b"])
def test_password_with_a_nul_is_not_sent_in_clear(password: bytes) -> None:
    with pytest.raises(err.OperationalError, match="the password has a NUL"):
        answers("mysql_clear_password", login(password), NONCE)


def test_given_key_takes_no_question() -> None:
    Login(SECRET, secure=False, key=b"key", may_ask=False).check_key()
    login(may_ask=True).check_key()
    with pytest.raises(err.OperationalError, match="give server_public_key, or use TLS"):
        login(may_ask=False).check_key()


def test_key_that_is_none_is_blamed_on_who_gave_it() -> None:
    with pytest.raises(PublicKeyError, match="argument 'server_public_key'"):
        Login(SECRET, secure=False, key=b"no key", may_ask=False).encrypted(NONCE, None)
    with pytest.raises(MalformedPacket, match="the server sends no public RSA key"):
        login().encrypted(NONCE, b"no key")


@pytest.mark.parametrize("size", [0, 20, 31, 33])
def test_ed25519_waits_for_its_own_nonce(size: int) -> None:
    assert answers("client_ed25519", login(), bytes(size)) == [b""]


@pytest.mark.parametrize("more", [b"", b"\x01"])
@pytest.mark.parametrize("salt", [b"s", b"salt" * 4])
@pytest.mark.parametrize("doubled", [0, 3])
def test_parsec_derives_its_key_as_it_is_told_to(more: bytes, salt: bytes, doubled: int) -> None:
    begun, answer = answers("parsec", login(), LONG_NONCE, more + bytes((80, doubled)) + salt)

    assert begun == b"" and answer is not None
    seed = pbkdf2_hmac("sha512", SECRET, salt, 1024 << doubled, 32)
    ours = answer[:32]
    assert answer[32:] == sign(sha512(seed).digest(), LONG_NONCE + ours)


@pytest.mark.parametrize("said", [b"", b"P", b"P\0", b"Q\0salt", b"P\x04salt", b"\x01\x01P\0salt"])
def test_parsec_of_another_sort_is_refused(said: bytes) -> None:
    with pytest.raises(MalformedPacket, match="expected PBKDF2 of 1,024"):
        answers("parsec", login(), LONG_NONCE, said)


@pytest.mark.parametrize("size", [20, 31, 33])
def test_parsec_needs_32_random_bytes(size: int) -> None:
    with pytest.raises(MalformedPacket, match=f"parsec sends {size} random bytes"):
        answers("parsec", login(), bytes(size), b"P\0salt")
