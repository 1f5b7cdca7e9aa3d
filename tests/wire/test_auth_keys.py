"""Passwords under a public key: whose key it is, and what does not fit; MariaDB's signatures."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys
from hashlib import pbkdf2_hmac, sha512
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fakes import CAPABILITIES, OK, Peer, error, fake_server, greeting, packet, session
from pymysql import err

import aiomysqlx
from aiomysqlx.wire import ed25519

pytestmark = pytest.mark.usefixtures("quiet")

Kwargs = dict[str, Any]

PASSWORD = "s3cret"
SECRET = PASSWORD.encode()
GREETED = b"12345678abcdefghijkl"
NONCE = bytes(range(65, 85))
NONCE_32 = bytes(range(32))
FULL = b"\x01\x04"
DENIED = error(1045, "Access denied")
PLUGINS = ["caching_sha2_password", "sha256_password"]


class Key:
    """A server's key."""

    def __init__(self, size: int = 2048) -> None:
        self._key = rsa.generate_private_key(65537, size)
        pem, info = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        self.pem = self._key.public_key().public_bytes(pem, info)

    def decrypt(self, data: bytes, nonce: bytes) -> bytes | None:
        """Give the password in *data*, as a server does; `None` if there is none."""
        mgf = padding.MGF1(hashes.SHA1())
        try:
            text = self._key.decrypt(data, padding.OAEP(mgf, hashes.SHA1(), None))
        except ValueError:
            return None
        mask = nonce * (len(text) // len(nonce) + 1)
        return bytes(a ^ b for a, b in zip(text, mask, strict=False))


@pytest.fixture(scope="module")
def key() -> Key:
    return Key()


@pytest.fixture(scope="module")
def other_key() -> Key:
    return Key()


class Thief:
    """A server that asks for the password in every way there is, and offers a key of its own."""

    def __init__(self, key: Key, plugin: str, way: str) -> None:
        self.key = key
        self.plugin = plugin.encode()
        self.way = way
        self.heard: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        greeted = self.plugin if self.way == "greeting" else b"mysql_native_password"
        peer.write(packet(greeting(plugin=greeted), 0))
        self.heard.append(await peer.read())
        number = 2
        if self.way != "greeting":
            peer.write(packet(b"\xfe" + self.plugin + b"\0" + GREETED + b"\0", number))
            self.heard.append(await peer.read())
            number += 2
        says = [FULL, b"\x01" + self.key.pem, b"\x01" + self.key.pem, DENIED]
        for said in says[self.plugin == b"sha256_password" :]:
            peer.write(packet(said, number))
            self.heard.append(await peer.read())
            number += 2

    @property
    def stolen(self) -> bool:
        """Whether the server knows the password."""
        found = SECRET in b"".join(self.heard)
        for data in self.heard:
            found |= any(
                self.key.decrypt(data[start : start + 256], GREETED) is not None
                for start in range(max(1, len(data) - 255))
            )
        return found


async def connect(script: Any, **kwargs: Any) -> None:
    async with fake_server(script) as arguments:
        connection = await asyncio.wait_for(
            aiomysqlx.connect(**{**arguments, "password": PASSWORD, **kwargs}), 5
        )
        await connection.ensure_closed()


# -- whose key it is


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("way", ["greeting", "switch"])
@pytest.mark.parametrize("first", ["", *PLUGINS, "mysql_native_password"])
async def test_pinned_key_is_the_only_key(
    key: Key, other_key: Key, plugin: str, way: str, first: str
) -> None:
    thief = Thief(key, plugin, way)

    with pytest.raises(err.MySQLError):
        await connect(thief, server_public_key=other_key.pem, auth_plugin=first)

    assert thief.heard and not thief.stolen


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("way", ["greeting", "switch"])
@pytest.mark.parametrize("first", ["", *PLUGINS, "mysql_native_password"])
async def test_key_is_not_asked_for_if_that_is_forbidden(
    key: Key, plugin: str, way: str, first: str
) -> None:
    thief = Thief(key, plugin, way)

    with pytest.raises(err.OperationalError) as caught:
        await connect(thief, get_server_public_key=False, auth_plugin=first)

    assert not thief.stolen
    if way == "switch" or first in ("", plugin):
        assert caught.value.args[0] == 2061
        assert "give server_public_key, or use TLS" in caught.value.args[1]


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("way", ["greeting", "switch"])
@pytest.mark.parametrize(
    "line",
    ["server-public-key-path=key.pem", "get_server_public_key=0", "skip-get-server-public-key"],
)
async def test_option_file_protects_the_password_as_it_does_the_clients(
    key: Key,
    other_key: Key,
    plugin: str,
    way: str,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("key.pem").write_bytes(other_key.pem)
    Path("my.cnf").write_text(f"[client]\n{line}\n")
    thief = Thief(key, plugin, way)

    with pytest.raises(err.MySQLError):
        await connect(thief, read_default_file="my.cnf")

    assert not thief.stolen


@pytest.mark.parametrize("name", ["missing.pem", "folder", "pipe"])
def test_key_that_an_option_file_names_has_to_be_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("my.cnf").write_text(f"[client]\nserver_public_key_path={name}\n")

    message = "line 2: option 'server-public-key-path' does not take its value"
    with pytest.raises(aiomysqlx.ArgumentError, match=message):
        aiomysqlx.create_engine(read_default_file="my.cnf")


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_thief_of_these_tests_steals_what_nothing_protects(key: Key, plugin: str) -> None:
    thief = Thief(key, plugin, "greeting")

    with pytest.raises(err.MySQLError):
        await connect(thief)

    assert thief.stolen


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("way", ["greeting", "switch"])
@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "asked for"])
async def test_password_goes_out_under_the_servers_key(
    key: Key, plugin: str, way: str, pinned: bool
) -> None:
    name = plugin.encode()
    told: list[bytes | None] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=name if way == "greeting" else b"other"), 0))
        response = await peer.read()
        # Behind it come the plugin's name and the attributes.
        answer, number, nonce = response.rpartition(name + b"\0")[0], 2, GREETED
        if way == "switch":
            peer.write(packet(b"\xfe" + name + b"\0" + NONCE + b"\0", number))
            answer, number, nonce = await peer.read(), 4, NONCE
        if plugin == "caching_sha2_password":
            peer.write(packet(FULL, number))
            answer, number = await peer.read(), number + 2
        if not pinned:
            assert answer.endswith(b"\x02" if plugin == "caching_sha2_password" else b"\x01")
            peer.write(packet(b"\x01" + key.pem, number))
            answer, number = await peer.read(), number + 2
        told.append(key.decrypt(answer[-256:], nonce))
        peer.write(packet(OK, number))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    await connect(script, server_public_key=key.pem if pinned else None)

    assert told == [SECRET + b"\0"]


async def test_key_of_one_server_is_not_used_at_another(key: Key, other_key: Key) -> None:
    keys = [key, other_key]

    async def script(peer: Peer) -> None:
        mine = keys.pop(0)
        peer.write(packet(greeting(plugin=b"caching_sha2_password"), 0))
        await peer.answer(packet(FULL, 2))
        assert await peer.answer(packet(b"\x01" + mine.pem, 4)) == b"\x02"
        assert mine.decrypt(await peer.answer(packet(OK, 6)), GREETED) == SECRET + b"\0"
        await peer.answer(session(CAPABILITIES))
        await peer.reader.read()

    async with fake_server(script) as arguments:
        connection = await aiomysqlx.connect(**arguments, password=PASSWORD)
        connection.close()

        await connection.ping()

        await connection.ensure_closed()
    assert not keys


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("kind", ["no PEM", "elliptic", "a file's name"])
async def test_pinned_key_that_is_none_is_an_argument_error(kind: str, plugin: str) -> None:
    pem, info = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    bad = {
        "no PEM": b"s3cret",
        "elliptic": ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(pem, info),
        "a file's name": b"/etc/mysql/public_key.pem",
    }[kind]

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=plugin.encode()), 0))
        await peer.answer(packet(FULL, 2))
        await peer.read()

    with pytest.raises(aiomysqlx.ArgumentError, match="'server_public_key' takes") as caught:
        await connect(script, server_public_key=bad)

    assert isinstance(caught.value, err.OperationalError)
    assert not aiomysqlx.is_disconnect(caught.value)


# -- what does not fit


@pytest.mark.parametrize("plugin", PLUGINS)
@pytest.mark.parametrize("size", [213, 214, 1500])
async def test_password_that_is_too_long_for_the_key_says_so(
    key: Key, plugin: str, size: int
) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=b"other"), 0))
        await peer.answer(packet(b"\xfe" + plugin.encode() + b"\0" + NONCE + b"\0", 2))
        number = 4
        if plugin == "caching_sha2_password":
            await peer.answer(packet(FULL, number))
            number += 2
        await peer.answer(packet(b"\x01" + key.pem, number))
        heard.append(await peer.answer(packet(OK, number + 2)))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    if size == 213:
        await connect(script, password="x" * size)
        assert key.decrypt(heard[0], NONCE) == b"x" * size + b"\0"
        return
    with pytest.raises(err.OperationalError, match=f"{size} bytes, .* 213 at most: use TLS"):
        await connect(script, password="x" * size)
    assert not heard


@pytest.mark.parametrize("plugin", [*PLUGINS, "mysql_clear_password"])
async def test_token_of_many_bytes_goes_out_over_a_unix_socket(tmp_path: Any, plugin: str) -> None:
    token = "t" * 1500
    heard: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer)
        peer.write(packet(greeting(plugin=plugin.encode()), 0))
        heard.append(await peer.read())
        if plugin == "caching_sha2_password":
            peer.write(packet(FULL, 2))
            heard.append(await peer.read())
        peer.write(packet(OK, 4 if plugin == "caching_sha2_password" else 2))
        await peer.answer(session(CAPABILITIES))
        await peer.read()
        writer.close()

    path = str(tmp_path / "socket")
    server = await asyncio.start_unix_server(script, path)
    async with server:
        connection = await aiomysqlx.connect(
            unix_socket=path, password=token, auth_plugin=plugin, autocommit=None
        )
        await connection.ensure_closed()

    assert token.encode() + b"\0" in heard[-1]


async def test_password_with_a_nul_is_not_sent_where_it_would_end(key: Key) -> None:
    thief = Thief(key, "caching_sha2_password", "greeting")

    with pytest.raises(err.OperationalError, match="2061, 'the password has a NUL"):
        await connect(thief, password="s3\0cret")


WITHOUT = """
import asyncio, sys
sys.modules["cryptography"] = None
import aiomysqlx

async def main():
    try:
        await aiomysqlx.connect(host="127.0.0.1", port={port}, user="u", password="s3cret")
    except aiomysqlx.err.OperationalError as error:
        print(error.args)

asyncio.run(main())
""".replace("aiomysqlx.err", "__import__('pymysql').err")


async def test_package_that_is_missing_is_named(key: Key) -> None:
    thief = Thief(key, "caching_sha2_password", "greeting")
    async with fake_server(thief) as arguments:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WITHOUT.format(port=arguments["port"])),
            cwd=Path(aiomysqlx.__file__).parent.parent,  # the package under test, not the sources
            stdout=subprocess.PIPE,
        )
        printed, _ = await process.communicate()

    assert b'pip install "aiomysqlx[rsa]", or use TLS' in printed
    assert printed.startswith(b"(2061, ")


# -- MariaDB's signatures


def test_signature_is_that_of_the_standard() -> None:
    for _ in range(8):
        seed, message = os.urandom(32), os.urandom(64)

        signature = ed25519.sign(sha512(seed).digest(), message)

        assert signature == Ed25519PrivateKey.from_private_bytes(seed).sign(message)


@pytest.mark.parametrize(
    ("password", "kept"),
    [
        pytest.param("secret", "ZIgUREUg5PVgQ6LskhXmO+eZLS0nC8be6HPjYWR4YJY", id="a password"),
        pytest.param("", "4LH+dBF+G5W2CKTyId8xR3SyDqZoQjUNUVNxx8aWbG4", id="none"),
    ],
)
async def test_client_ed25519_signs_the_nonce_with_the_password(password: str, kept: str) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(b"\xfeclient_ed25519\0" + NONCE_32, 2))
        heard.append(await peer.answer(packet(OK, 4)))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    await connect(script, password=password)

    # MariaDB's own server keeps these.
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(f"{kept}="))
    public.verify(heard[0], NONCE_32)


async def test_client_ed25519_named_by_the_user_waits_for_its_nonce() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        heard.append(await peer.answer(packet(b"\xfeclient_ed25519\0" + NONCE_32, 2)))
        heard.append(await peer.answer(packet(OK, 4)))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    await connect(script, auth_plugin="client_ed25519")

    assert b"u\0\0client_ed25519\0" in heard[0]
    assert len(heard[1]) == 64


SALT = bytes(range(100, 118))


def parsec(said: bytes, heard: list[bytes], nonce: bytes = NONCE_32) -> Any:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(b"\xfeparsec\0" + nonce, 2))
        heard.append(await peer.answer(packet(said, 4)))
        heard.append(await peer.answer(packet(OK, 6)))
        await peer.answer(session(CAPABILITIES))
        await peer.read()

    return script


@pytest.mark.parametrize("wrapped", [b"", b"\x01"], ids=["bare", "wrapped"])
@pytest.mark.parametrize("doubled", [0, 3])
@pytest.mark.parametrize("password", ["", PASSWORD, "пароль"])
async def test_parsec_signs_both_nonces_with_the_derived_key(
    password: str, doubled: int, wrapped: bytes
) -> None:
    heard: list[bytes] = []

    await connect(parsec(wrapped + b"P" + bytes((doubled,)) + SALT, heard), password=password)

    seed = pbkdf2_hmac("sha512", password.encode(), SALT, 1024 << doubled, 32)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert heard[0] == b""
    ours, signature = heard[1][:32], heard[1][32:]
    public.verify(signature, NONCE_32 + ours)


@pytest.mark.parametrize(
    "said",
    [b"P\x04" + SALT, b"P\xff" + SALT, b"S\x00" + SALT, b"P\x00", b"P", b"\x01", b"\x01P"],
    ids=repr,
)
async def test_parsec_of_another_sort_is_refused(said: bytes) -> None:
    heard: list[bytes] = []

    with pytest.raises(err.OperationalError, match="2027"):
        await connect(parsec(said, heard))

    assert heard == [b""]


async def test_parsec_needs_a_nonce_of_32_bytes() -> None:
    with pytest.raises(err.OperationalError, match="2027"):
        await connect(parsec(b"P\x00" + SALT, [], NONCE))
