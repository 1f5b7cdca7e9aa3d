"""What a connection gives away, and to whom: TLS, passwords in clear text, secrets in messages."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import logging
import socket
import ssl
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fakes import CAPABILITIES, OK, Peer, error, fake_server, greeting, packet, session
from pymysql import err
from pymysql.constants import CLIENT
from watch import until

import aiomysqlx
from aiomysqlx.wire.options import ConnectOptions
from aiomysqlx.wire.warning import issue

pytestmark = pytest.mark.usefixtures("quiet")

CLEAR = packet(b"\xfemysql_clear_password\0", 3)
DENIED = packet(error(1045, "Access denied"), 3)
DAY = datetime.timedelta(days=1)
SECRETS: dict[str, Any] = {
    "password": "s3cret-1",
    "init_command": "SET @key = 's3cret-2'",
    "server_public_key": b"s3cret-3",
}

Answer = Callable[[ssl.SSLSocket], None]


# -- TLS


class Authority:
    """An authority whose certificates a client's context takes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "aiomysqlx tests")])
        certificate = self._certificate(self.name, self.key, -1, 1, ca=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _certificate(self, name: Any, key: Any, start: int, end: int, ca: bool) -> Any:
        now = datetime.datetime.now(datetime.timezone.utc)
        # Python 3.13 insists on these extensions.
        usage = dict.fromkeys(
            ("data_encipherment", "key_agreement", "content_commitment", "key_encipherment"), False
        ) | {"encipher_only": False, "decipher_only": False, "crl_sign": ca, "key_cert_sign": ca}
        builder = x509.CertificateBuilder(self.name, name, key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now + start * DAY).not_valid_after(now + end * DAY)
        for extension, critical in (
            (x509.BasicConstraints(ca=ca, path_length=None), True),
            (x509.KeyUsage(digital_signature=not ca, **usage), True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False),
        ):
            builder = builder.add_extension(extension, critical)
        if not ca:
            address = x509.IPAddress(ipaddress.ip_address(name.rfc4514_string()[3:]))
            builder = builder.add_extension(x509.SubjectAlternativeName([address]), False)
        return builder.sign(self.key, hashes.SHA256())

    def server(self, host: str = "127.0.0.1", start: int = -1, end: int = 1) -> ssl.SSLContext:
        """Give the context of a server of that address, valid from *start* to *end*, in days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._certificate(name, key, start, end, ca=False)
        file = self.folder / "server.pem"
        plain = serialization.NoEncryption()
        pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        file.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, pkcs8, plain))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.file))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


class TLSServer:
    """A server for one client. In a thread, on a socket: it reads no byte too many before TLS."""

    def __init__(self, context: ssl.SSLContext | None, answer: Answer, plain: bytes) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(10)
        self.context = context
        self.answer = answer
        self.plain = plain
        self.clear = b""  # what came unencrypted
        self.arguments = {
            "host": "127.0.0.1",
            "port": self.listener.getsockname()[1],
            "user": "somebody",
            "password": "s3cret",
            "autocommit": None,
        }

    def run(self) -> None:
        with contextlib.suppress(OSError), self.listener.accept()[0] as client:
            client.settimeout(10)
            client.sendall(packet(greeting(CAPABILITIES | CLIENT.SSL), 0) + self.plain)
            self.clear = read(client)
            if self.context is None:
                client.sendall(packet(OK, 2))
                while data := client.recv(1 << 12):
                    self.clear += data
                return
            with self.context.wrap_socket(client, server_side=True) as encrypted:
                self.answer(encrypted)


def read(client: socket.socket) -> bytes:
    """Give the payload of the next packet."""
    header = receive(client, 4)
    return receive(client, int.from_bytes(header[:3], "little"))


def receive(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = client.recv(size - len(data))
        if not more:
            raise ConnectionError
        data += more
    return data


def deny(client: ssl.SSLSocket) -> None:
    read(client)
    client.sendall(DENIED)


@contextlib.contextmanager
def tls_server(
    context: ssl.SSLContext | None, answer: Answer = deny, plain: bytes = b""
) -> Iterator[TLSServer]:
    server = TLSServer(context, answer, plain)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server
    finally:
        thread.join()
        server.listener.close()


async def refused(server: TLSServer, **kwargs: Any) -> err.OperationalError:
    with pytest.raises(err.OperationalError) as caught:
        await asyncio.wait_for(aiomysqlx.connect(**{**server.arguments, **kwargs}), 10)
    return caught.value


async def test_password_goes_out_under_a_certificate_that_holds(authority: Authority) -> None:
    with tls_server(authority.server()) as server:
        failure = await refused(server, ssl=authority.client())

    assert failure.args == (1045, "Access denied")
    assert len(server.clear) == 32  # the request of TLS names nobody


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        pytest.param({"start": -9, "end": -2}, "certificate has expired", id="expired"),
        pytest.param({"start": 2, "end": 9}, "not yet valid", id="not yet valid"),
        pytest.param({"host": "127.0.0.9"}, "IP address mismatch", id="another host"),
    ],
)
async def test_certificate_that_does_not_hold_is_refused(
    authority: Authority, certificate: dict[str, Any], reason: str
) -> None:
    with tls_server(authority.server(**certificate)) as server:
        failure = await refused(server, ssl=authority.client())

    assert failure.args[0] == 2026
    assert isinstance(failure.__cause__, ssl.SSLCertVerificationError)
    assert reason in failure.__cause__.verify_message
    assert b"somebody" not in server.clear and b"s3cret" not in server.clear


@pytest.mark.parametrize("context", [True, None], ids=["True", "default context"])
async def test_certificate_of_an_unknown_authority_is_refused(
    authority: Authority, context: Any
) -> None:
    with tls_server(authority.server()) as server:
        failure = await refused(server, ssl=context or ssl.create_default_context())

    assert failure.args[0] == 2026
    assert isinstance(failure.__cause__, ssl.SSLCertVerificationError)


async def test_server_that_goes_on_in_clear_text_is_refused(authority: Authority) -> None:
    with tls_server(None) as server:
        failure = await refused(server, ssl=authority.client())

    assert failure.args[0] == 2026
    assert isinstance(failure.__cause__, ssl.SSLError)
    assert b"somebody" not in server.clear and b"s3cret" not in server.clear


async def test_server_that_leaves_within_an_encrypted_login_is_lost_without_a_word(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with tls_server(authority.server(), answer=lambda client: read(client) and None) as server:
        failure = await refused(server, ssl=authority.client())

    assert failure.args[0] == 2013
    assert caplog.records == []


async def test_what_comes_before_the_encryption_is_not_taken_for_the_servers(
    authority: Authority,
) -> None:
    # Put in on the way: it would end the handshake.
    with tls_server(authority.server(), plain=packet(OK, 3)) as server:
        failure = await refused(server, ssl=authority.client())

    assert failure.args[0] in (1045, 2003, 2026)


# -- passwords in clear text


@pytest.mark.parametrize("allowed", [True, False])
async def test_clear_password_goes_out_over_tls_if_allowed(
    authority: Authority, allowed: bool
) -> None:
    heard: list[bytes] = []

    def answer(client: ssl.SSLSocket) -> None:
        heard.append(read(client))
        client.sendall(CLEAR)
        heard.append(read(client))
        client.sendall(packet(error(1045, "Access denied"), 5))

    plugin = "mysql_clear_password" if allowed else ""
    with tls_server(authority.server(), answer) as server:
        failure = await refused(server, ssl=authority.client(), auth_plugin=plugin)

    assert b"s3cret" not in server.clear
    if allowed:
        assert failure.args[0] == 1045
        assert heard[1] == b"s3cret\0"
    else:
        assert failure.args[0] == 2059 and "allow it with auth_plugin=" in failure.args[1]
        assert b"s3cret" not in b"".join(heard)


@contextlib.asynccontextmanager
async def socket_server(script: Any, path: str) -> AsyncIterator[None]:
    """Serve clients by *script* on a Unix socket."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await script(Peer(reader, writer))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("allowed", [True, False])
async def test_clear_password_goes_out_over_a_unix_socket_if_allowed(
    tmp_path: Path, allowed: bool
) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        heard.append(await peer.answer(packet(b"\xfemysql_clear_password\0", 2)))
        heard.append(await peer.answer(packet(error(1045, "Access denied"), 4)))

    path = str(tmp_path / "socket")
    plugin = "mysql_clear_password" if allowed else ""
    async with socket_server(script, path):
        with pytest.raises(err.OperationalError, match="1045" if allowed else "allow it with"):
            await aiomysqlx.connect(unix_socket=path, password="s3cret", auth_plugin=plugin)

    assert (b"s3cret\0" in heard) is allowed
    assert allowed or b"s3cret" not in b"".join(heard)


@pytest.mark.parametrize(
    "plugin",
    ["mysql_native_password", "caching_sha2_password", "sha256_password", "mysql_clear_password"],
)
@pytest.mark.parametrize("switched", [True, False], ids=["switched to", "greeted with"])
@pytest.mark.parametrize("extra", [b"\x01\x04", b"\x01\x03", b"\x01key", OK, b"\x02"], ids=repr)
async def test_no_server_gets_the_password_over_plain_tcp(
    plugin: str, switched: bool, extra: bytes
) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        name = plugin.encode()
        peer.write(packet(greeting(plugin=b"" if switched else name), 0))
        number = 2
        if switched:
            heard.append(await peer.answer(packet(b"\xfe" + name + b"\0" + b"s" * 20, 2)))
            number = 4
        for _ in range(3):
            answer = packet(extra, number)
            if extra == b"\x01\x03":  # which the client does not answer
                answer += packet(b"\x01\x04", number + 1)
            heard.append(await peer.answer(answer))
            number += 2

    async with fake_server(script) as arguments:
        with pytest.raises(err.MySQLError):
            await asyncio.wait_for(aiomysqlx.connect(**arguments, password="s3cret"), 5)

    assert b"s3cret" not in b"".join(heard)


# -- secrets in messages


def messages(failure: BaseException | None) -> str:
    """Give what a traceback shows of an exception and of those it comes from."""
    shown = ""
    while failure is not None:
        shown += f"{failure!r} {failure}\n"
        failure = failure.__cause__ or failure.__context__
    return shown


async def serve_one(peer: Peer) -> None:
    """Let a client in, take its first commands, answer a statement, and leave."""
    await peer.welcome()
    await peer.answer(packet(OK))  # init_command
    await peer.answer(packet(OK))  # COMMIT
    await peer.answer(packet(error(1064, "no")))
    await peer.read()


async def test_no_secret_is_in_what_is_logged_shown_or_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async with fake_server(serve_one) as arguments:
        connection = await aiomysqlx.connect(**arguments, **SECRETS, echo=True)
        with pytest.raises(err.ProgrammingError) as denied:
            await connection.query("SELECT 1")
        with pytest.raises(err.OperationalError) as lost:
            await connection.query("SELECT 2")

    assert "SELECT 1" in caplog.text and "(init_command)" in caplog.text
    shown = [repr(connection), str(connection), messages(denied.value), messages(lost.value)]
    assert "s3cret" not in "\n".join([caplog.text, *shown])
    connection.close()


async def test_no_secret_is_in_what_an_engine_shows(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async with fake_server(serve_one) as arguments:
        engine = await aiomysqlx.create_engine(**arguments, **SECRETS, echo="values")
        async with engine.acquire() as conn:
            with pytest.raises(err.ProgrammingError) as denied:
                await conn.execute("SELECT 1")
            shown = [repr(engine), repr(conn), repr(conn.connection), messages(denied.value)]
        engine.terminate()
        await engine.wait_closed()

    assert "s3cret" not in "\n".join([caplog.text, *shown])


async def test_no_secret_is_in_what_a_failed_connect_raises(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    scripts: list[Any] = []
    for answer in (b"\x01\x04", b"\x01", b"\xfe", b"\xfewhat\0", b"", error(1045, "denied"), b"\0"):

        async def script(peer: Peer, answer: bytes = answer) -> None:
            peer.write(packet(greeting(plugin=b"caching_sha2_password"), 0))
            await peer.answer(packet(answer, 2))
            await peer.read()

        scripts.append(script)

    for script in scripts:
        async with fake_server(script) as arguments:
            with pytest.raises(err.MySQLError) as caught:
                await aiomysqlx.connect(**arguments, **SECRETS, echo=True)

        assert "s3cret" not in messages(caught.value)
    assert "s3cret" not in caplog.text


SURROGATE = "s3cret\udcff"
ONES: dict[str, dict[str, Any]] = {
    "a password": {"password": SURROGATE},
    "a password that is asked for": {"password": lambda: SURROGATE},
    "a password of another type": {"password": lambda: b"s3cret"},
    "a user": {"user": SURROGATE},
    "a user in latin1": {"user": "s3cret→", "charset": "latin1"},
    "a database": {"db": SURROGATE},
    "a database in latin1": {"db": "s3cret→", "charset": "latin1"},
    "an init_command": {"init_command": f"SET @a = '{SURROGATE}'"},
    "an sql_mode": {"sql_mode": SURROGATE},
    "a program": {"program_name": SURROGATE},
    "bytes": {"password": b"s3cret"},
    "a key": {"server_public_key": "s3cret"},
    "a context": {"ssl": "s3cret"},
    "a key's text": {"ssl": {"key": "s3cret"}},
}


def everything(failure: BaseException | None) -> str:
    """Give all that an exception shows, and those it comes from: attributes and variables."""
    shown = ""
    while failure is not None:
        named = [getattr(failure, name, None) for name in ("object", "doc", "msg", "filename")]
        shown += f"{failure!r} {failure} {failure.args!r} {vars(failure)!r} {named!r}\n"
        for frame, _ in traceback.walk_tb(failure.__traceback__):
            if frame.f_code.co_filename != __file__:
                shown += f"{frame.f_code.co_name} {frame.f_locals!r}\n"
        failure = failure.__cause__ or failure.__context__
    return shown


@pytest.mark.parametrize("make", [aiomysqlx.connect, aiomysqlx.create_engine])
@pytest.mark.parametrize("given", ONES.values(), ids=ONES)
async def test_no_secret_is_in_what_a_refused_argument_raises(
    given: dict[str, Any], make: Any
) -> None:
    with pytest.raises(aiomysqlx.ArgumentError, match=f"argument '{next(iter(given))}'") as caught:
        await make(host="localhost", **given)

    assert caught.value.__cause__ is caught.value.__context__ is None
    assert "s3cret" not in everything(caught.value)


URLS = [
    "mysql://u@h:s3cret/db",
    "s3cret",
    "http://u:s3cret@h",
    "mysql://u:s3cret@[::1/db",
    "mysql://h/?password=s3cret&password=s3cret",
    "mysql://h/?server_public_key=s3cret",
    "mysql://u:s3cret@h/?nothing=1",
    "mysql://u:s3cret@h/?ssl_ca=/nonexistent",
]


@pytest.mark.parametrize("url", URLS)
def test_no_secret_is_in_what_a_wrong_url_raises(url: str) -> None:
    with pytest.raises(aiomysqlx.ArgumentError) as caught:
        aiomysqlx.create_engine(url)

    assert "s3cret" not in everything(caught.value)


ANSWERS = [b"\x01\x04", b"\x01", b"\xfewhat\0", b"", error(1045, "denied"), b"\0"]


@pytest.mark.parametrize("plugin", [b"caching_sha2_password", b"sha256_password"])
@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("make", [aiomysqlx.connect, aiomysqlx.create_engine])
async def test_no_secret_is_in_a_variable_of_a_failed_connect(
    make: Any, answer: bytes, plugin: bytes
) -> None:
    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=plugin), 0))
        await peer.answer(packet(answer, 2))
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.MySQLError) as caught:
            await make(**arguments, **SECRETS)

    assert "s3cret" not in everything(caught.value)


async def test_no_secret_is_in_a_variable_of_a_failed_init_command() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(packet(error(1064, "no")))

    async with fake_server(script) as arguments:
        with pytest.raises(err.ProgrammingError) as caught:
            await aiomysqlx.connect(**arguments, **SECRETS)

    assert "s3cret" not in everything(caught.value)


REFUSED = {
    "a mistake": ("SET PASSWORD s3cret", 1064),
    "a variable": ("SET @@s3cret = 1", 1193),
    "a value": ("SET SESSION sql_mode = 's3cret'", 1231),
    "a column": ("SELECT s3cret", 1054),
    "a signal": ("SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 's3cret'", 1644),
}


@pytest.mark.server
@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
async def test_server_that_refuses_init_command_is_not_quoted(
    connect_kwargs: dict[str, Any],
    text: str,
    code: int,
    echo: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(
        err.MySQLError, match=f"init_command was refused with error {code}"
    ) as caught:
        await aiomysqlx.connect(**connect_kwargs, init_command=text, echo=echo)

    assert caught.value.args[0] == code
    assert "s3cret" not in everything(caught.value)
    assert "s3cret" not in caplog.text


@pytest.mark.server
async def test_init_command_that_is_refused_later_is_not_quoted(
    connect_kwargs: dict[str, Any],
) -> None:
    command = "SET @s3cret = IF(@s3cret IS NULL, 1, (SELECT 1 FROM s3cret))"
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        session = connection._session
        session.options = ConnectOptions(**{**vars(session.options), "init_command": command})

        with pytest.raises(err.ProgrammingError, match=r"error 1146 \(NO_SUCH_TABLE\)") as caught:
            await connection.reset()

    assert "s3cret" not in everything(caught.value)


@pytest.mark.server
async def test_init_command_that_is_cancelled_later_is_in_no_traceback(
    connect_kwargs: dict[str, Any],
) -> None:
    async with aiomysqlx.connect(**connect_kwargs) as connection:
        session = connection._session
        command = "DO SLEEP(60), 's3cret'"
        session.options = ConnectOptions(**{**vars(session.options), "init_command": command})
        resetting = asyncio.ensure_future(connection.reset())
        protocol = session.protocol
        assert protocol is not None
        await until(lambda: any(b"s3cret" in reply.packet for reply in protocol.replies))

        resetting.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await resetting

    assert "s3cret" not in everything(caught.value)


async def test_lost_connection_object_shows_no_secret() -> None:
    async def script(peer: Peer) -> None:
        await peer.welcome()
        await peer.answer(packet(OK))
        await peer.answer(packet(OK))
        await peer.read()

    async with fake_server(script) as arguments:
        connection = await aiomysqlx.connect(**arguments, **SECRETS)

        with pytest.warns(ResourceWarning) as issued:
            del connection

    assert "s3cret" not in "".join(str(warning.message) for warning in issued)


# -- what must not forge the lines of a log


RAW = "a\n2026-01-01 CRITICAL forged\r\x1b[31m\u2028b"
ESCAPED = r"a\n2026-01-01 CRITICAL forged\r\x1b[31m\u2028b"


async def test_warning_of_a_servers_is_issued_on_one_line() -> None:
    with pytest.warns(aiomysqlx.ServerWarning) as issued:
        issue([("Warning", 1287, RAW)])

    (warning,) = issued
    assert str(warning.message) == ESCAPED
    assert warning.message.args == (1287, RAW)  # type: ignore[union-attr]


async def test_error_in_a_hook_is_logged_on_one_line(
    connect_kwargs: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(conn: aiomysqlx.SAConnection) -> None:
        raise ValueError(RAW)

    async with aiomysqlx.create_engine(**connect_kwargs, reset=fail) as engine:
        await engine.release(await engine.acquire())

    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"a connection could not be put back: {ESCAPED}"]


# -- what must not come back as it was sent


async def test_local_file_asked_for_in_the_handshake_is_refused() -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(), 0))
        await peer.answer(packet(OK, 2))
        await peer.answer(packet(b"\xfb/etc/passwd"))
        heard.append(await peer.answer(packet(OK, 3)))

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError, match="2068, .*asked for '/etc/passwd'"):
            await asyncio.wait_for(aiomysqlx.connect(**arguments), 5)

    assert heard == [b""]


@pytest.mark.parametrize("kind", ["elliptic", "short"])
async def test_public_key_that_cannot_encrypt_fails_the_connect(kind: str) -> None:
    pem, info = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    key = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(pem, info)
    key = key if kind == "elliptic" else key[:60]

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(plugin=b"caching_sha2_password"), 0))
        await peer.answer(packet(b"\x01\x04", 2))
        await peer.answer(packet(b"\x01" + key, 4))
        await peer.read()

    async with fake_server(script) as arguments:
        with pytest.raises(err.OperationalError, match=r"2027, 'Malformed packet during the hand"):
            await aiomysqlx.connect(**arguments, password="s3cret")


@pytest.mark.parametrize("capabilities", [CAPABILITIES, CAPABILITIES & ~CLIENT.PLUGIN_AUTH])
@pytest.mark.parametrize("switch", [b"\xfe", b"\xfesalt", b"\xfemysql_native_password\0salt"])
async def test_switch_to_the_oldest_passwords_is_refused(capabilities: int, switch: bytes) -> None:
    heard: list[bytes] = []

    async def script(peer: Peer) -> None:
        peer.write(packet(greeting(capabilities), 0))
        heard.append(await peer.answer(packet(switch, 2)))
        heard.append(await peer.answer(packet(OK, 4)))
        await peer.answer(session(capabilities))

    async with fake_server(script) as arguments:
        if capabilities & CLIENT.PLUGIN_AUTH and b"\0" in switch:
            async with aiomysqlx.connect(**arguments, password="s3cret"):
                assert len(heard) == 2
            return
        with pytest.raises(err.OperationalError, match="hash from before MySQL 4.1"):
            await aiomysqlx.connect(**arguments, password="s3cret")

    assert len(heard) == 1
