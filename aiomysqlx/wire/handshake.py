"""The opening of a connection, up to the server's welcome.

aiomysql opens the socket and sets the session up. What is between, this package does: it greets,
encrypts and logs in.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiomysql
from aiomysql import connection as opened
from aiomysql.connection import _StreamReader
from pymysql import err
from pymysql.constants import CLIENT, CR

from ..exc import ArgumentError
from ..runtime.absent import Absent, Lacking
from ..runtime.awaitable import in_time, without_context
from ..runtime.printable import printable, type_name
from . import auth
from ._impl import MalformedPacket, frame, parse_ok
from .charset import collation_id
from .greeting import (
    Greeting,
    agreed,
    check_user,
    opening,
    parse_greeting,
    parse_switch,
    response,
)
from .option import check_text
from .refusal import add_way_in, parse_refusal
from .tls import TLS, failure

_HOW_TO_SEND = "query() and cursors send statements and give their results"
_HOW_TO_LOG_IN = "connect() answers what a server asks for at a login"

# No packet of a handshake, a public key or an error message at most, comes near it.
_MOST_IN_HANDSHAKE = 1 << 16
_MOST_MILLISECONDS = (1 << 31) - 1
# What a packet begins with.
_OK, _SWITCH, _ERROR = b"\x00", b"\xfe", b"\xff"


class Handshake(Lacking, aiomysql.Connection):
    """The opening of a connection, up to the server's welcome."""

    # aiomysql's own would read and write beside the protocol that does so here.
    next_result = Absent("cursor.nextset() goes to the next result")
    write_packet = Absent(_HOW_TO_SEND)
    caching_sha2_password_auth = Absent(_HOW_TO_LOG_IN)
    sha256_password_auth = Absent(_HOW_TO_LOG_IN)
    _execute_command = Absent(_HOW_TO_SEND)
    _process_auth = Absent(_HOW_TO_LOG_IN)
    _read_ok_packet = Absent(_HOW_TO_SEND)
    _read_packet = Absent(_HOW_TO_SEND)
    _read_query_result = Absent(_HOW_TO_SEND)
    _write_bytes = Absent(_HOW_TO_SEND)

    _status = 0
    _collation = ""  # empty: the server's default for the charset
    _greeting: Greeting
    # What of the protocol is used where the server offers it, too.
    _wanted_flags: int
    _may_ask_for_key = True
    # aiomysql's own, which has no types
    _charset: str
    _db: str | None
    autocommit_mode: bool | None
    sql_mode: str | None
    _password: str | None
    _password_source: Callable[[], str | Awaitable[str]] | None = None
    # aiomysql's own is None: its `asyncio.wait_for()` may lose a cancellation.
    _connect_timeout: float | None = None
    _tcp_keepalive: tuple[int, int, int] | None = None
    _tls: TLS | None = None
    _next_seq_id: int
    _reader: Any
    _writer: Any

    async def _connect(self) -> None:
        try:
            await in_time(self._open(), self._connect_timeout, self._late)
        except BaseException:
            self._abort()
            raise

    def _late(self) -> err.OperationalError:
        return err.OperationalError(
            CR.CR_CONN_HOST_ERROR,
            f"Can't connect to MySQL server {self._place}"
            f" (timed out after {self._connect_timeout} seconds)",
        )

    @property
    def _place(self) -> str:
        if self._unix_socket:
            return f"through socket {self._unix_socket!r}"
        return f"on {self._host!r}, port {self._port}"

    async def _open(self) -> None:
        if self._password_source is not None:
            self._password = await _ask(self._password_source)
        await without_context(self._greet())

    async def _greet(self) -> None:
        try:
            await self._come_in()
        except MalformedPacket as error:
            raise _malformed(error) from error.with_traceback(None)
        except (OSError, asyncio.TimeoutError) as error:
            raise err.OperationalError(
                CR.CR_CONN_HOST_ERROR,
                f"Can't connect to MySQL server {self._place} ({_reason(error)})",
            ) from error.with_traceback(None)
        except Exception as error:
            add_way_in(error)
            # Without the frames that have the password, or init_command.
            raise error.with_traceback(None)  # noqa: B904 - it is the same

    async def _come_in(self) -> None:
        await self._open_socket()
        self._next_seq_id = 0
        await self._get_server_information()
        await self._request_authentication()
        self.connected_time = self._loop.time()

    async def _open_socket(self) -> None:
        if self._unix_socket:
            self._reader, self._writer = await opened._open_unix_connection(self._unix_socket)
            self.host_info = f"Localhost via UNIX socket: {self._unix_socket}"
            return
        self._reader, self._writer = await opened._open_connection(self._host, self._port)
        self._set_keep_alive()
        self.host_info = f"socket {self._host}:{self._port}"

    def _set_keep_alive(self) -> None:
        super()._set_keep_alive()
        if self._tcp_keepalive is not None:
            keep_alive(self._writer.transport.get_extra_info("socket"), *self._tcp_keepalive)

    async def _get_server_information(self) -> None:
        self._greeting = greeting = parse_greeting(await self._read())
        self.protocol_version = greeting.protocol
        self.server_version = greeting.version
        self.server_thread_id = (greeting.thread_id,)
        self.server_capabilities = greeting.capabilities
        self.server_language = greeting.collation

    async def _request_authentication(self) -> None:
        try:
            await self._log_in(self._greeting)
        except BaseException as error:
            self._abort()  # not politely, which TLS may wait 30 seconds for
            # Without the frames that have the password in a variable.
            raise error.with_traceback(None)  # noqa: B904 - it is the same
        await self._take_over()

    async def _log_in(self, greeting: Greeting) -> None:
        """Respond to the server's greeting, and to its plugins until it welcomes the client."""
        context = self._tls and self._tls.for_server(bool(greeting.capabilities & CLIENT.SSL))
        wanted = self._wanted_flags | (CLIENT.SSL if context else 0)
        self.client_flag = flags = agreed(wanted, greeting.capabilities)
        collation = collation_id(self._charset, self._collation, greeting.version)
        # A connection of before may have been encrypted.
        self._secure = bool(self._unix_socket)
        if context:
            self._write(opening(flags, collation))
            await self._encrypt(context)
        user = self._user or ""
        check_user(user, greeting.version)
        plugin = self._client_auth_plugin or greeting.plugin
        if plugin not in auth.PLUGINS:
            plugin = auth.NATIVE  # from which the server switches to the user's
        exchange = self._exchange(plugin, greeting.nonce, auth.PLUGINS[plugin])
        self._write(
            response(
                *(flags, collation, user.encode(self._encoding)),
                *(next(exchange) or b"", (self._db or "").encode(self._encoding)),
                *(plugin, self._connect_attrs),
            )
        )
        switched = False
        while (packet := await self._read())[:1] != _OK:
            if packet[:1] != _SWITCH:
                answer = _send(exchange, plugin, packet)
            elif switched:
                raise MalformedPacket("a server switches to another plugin twice")
            else:
                switched = True
                if b"\0" not in packet or not flags & CLIENT.PLUGIN_AUTH:
                    raise _old_password()  # what names no plugin means the oldest
                plugin, nonce = parse_switch(packet)
                exchange = self._exchange(plugin, nonce, auth.PLUGINS.get(plugin))
                answer = next(exchange)
            if answer is not None:
                self._write(answer)
        # The session's state, NO_BACKSLASH_ESCAPES in it.
        self._status = parse_ok(packet)[2]
        self._auth_plugin_used = plugin

    def _exchange(self, plugin: str, nonce: bytes, make: auth.Plugin | None) -> auth.Exchange:
        if plugin == "mysql_old_password":
            raise _old_password()
        if plugin == auth.CLEAR:
            self._check_clear_password(self._secure)
        if make is None:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                f"the server asks for authentication plugin {plugin[:64]!r}, which is not one of"
                f" {', '.join(auth.PLUGINS)}",
            )
        password = check_text("password", self._password or "").encode()
        return make(
            auth.Login(password, self._secure, self.server_public_key, self._may_ask_for_key), nonce
        )

    def _check_clear_password(self, encrypted: bool) -> None:
        if self._client_auth_plugin != auth.CLEAR:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the server asks for the password in clear text: allow it with"
                " auth_plugin='mysql_clear_password'",
            )
        if not encrypted:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the password is sent in clear text over TLS or a Unix socket only",
            )

    async def _encrypt(self, context: ssl.SSLContext) -> None:
        """Go on with TLS; what came before it is read by nobody."""
        self._reader = reader = _StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        try:
            transport = await self._loop.start_tls(
                self._writer.transport, protocol, context, server_hostname=self._host
            )
        except ssl.SSLError as error:
            # Without its frames: one of asyncio's holds it, and all this connection.
            raise failure(error, self._host) from error.with_traceback(None)
        assert transport is not None
        protocol.connection_made(transport)
        # Not a writer of its own: the other would close the transport below when it is forgotten.
        self._writer._transport = transport
        self._secure = True

    def _write(self, payload: bytes) -> None:
        """Write a packet of the handshake."""
        if len(payload) > _MOST_IN_HANDSHAKE:
            raise err.OperationalError(
                CR.CR_NET_PACKET_TOO_LARGE,
                f"the login takes {len(payload)} bytes, limit {_MOST_IN_HANDSHAKE}",
            )
        self._writer.write(frame(payload, self._next_seq_id))
        self._next_seq_id += 1

    async def _read(self) -> bytes:
        """Return the next packet of the handshake; raises the server's error if it is one."""
        header = await self._read_bytes(4)
        size, number = int.from_bytes(header[:3], "little"), header[3]
        if not self._next_seq_id and header.isascii() and header.decode("ascii").isprintable():
            raise err.OperationalError(
                CR.CR_VERSION_ERROR,
                f"expected a MySQL server {self._place}, got what begins with"
                f" {header.decode('ascii')!r}",
            )
        if size > _MOST_IN_HANDSHAKE:
            raise err.OperationalError(
                CR.CR_NET_PACKET_TOO_LARGE,
                f"packet of {size} bytes during the handshake, limit {_MOST_IN_HANDSHAKE}",
            )
        packet = await self._read_bytes(size)
        if packet[:1] == _ERROR:  # whatever its number: a server that ends starts over
            raise parse_refusal(packet).error()
        if number != self._next_seq_id:
            raise err.OperationalError(
                CR.CR_MALFORMED_PACKET,
                f"packet sequence number wrong during the handshake: got {number},"
                f" expected {self._next_seq_id}",
            )
        self._next_seq_id = number + 1
        return packet

    async def _read_bytes(self, num_bytes: int) -> bytes:
        lost = "Lost connection to MySQL server during the handshake"
        try:
            data: bytes = await self._reader.readexactly(num_bytes)
        except asyncio.IncompleteReadError as error:
            raise err.OperationalError(CR.CR_SERVER_LOST, lost) from error
        except OSError as error:
            raise err.OperationalError(CR.CR_SERVER_LOST, f"{lost}: {error}") from error
        return data

    async def _take_over(self) -> None:
        """Go on with the transport of a connection that the server has welcomed."""
        raise NotImplementedError

    def _abort(self) -> None:
        """Close the transport at once."""
        raise NotImplementedError


async def _ask(source: Callable[[], str | Awaitable[str]]) -> str | None:
    """Give the password that *source* has at the moment."""
    password = source()
    if inspect.isawaitable(password):
        password = await password
    try:
        if not isinstance(password, str):
            raise ArgumentError(
                f"argument 'password' gave a {type_name(type(password))}, not a str"
            )
        return check_text("password", password)
    except ArgumentError as error:
        raise error.with_traceback(None)  # noqa: B904 - it is the same
    finally:
        del password  # no traceback is to show it


def keep_alive(sock: socket.socket, idle: int, interval: int, probes: int) -> None:
    """Have the kernel end a connection whose peer has been silent for too long.

    Probes go out after *idle* seconds, every *interval* seconds; unacknowledged data is given the
    same time. What the platform has no option for is left as it is.
    """
    options = {
        "TCP_KEEPIDLE": idle,
        "TCP_KEEPINTVL": interval,
        "TCP_KEEPCNT": probes,
        "TCP_USER_TIMEOUT": min((idle + interval * probes) * 1000, _MOST_MILLISECONDS),
    }
    for name, value in options.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _send(exchange: auth.Exchange, plugin: str, packet: bytes) -> bytes | None:
    """Return what to answer the *packet* for a plugin."""
    try:
        return exchange.send(packet)
    except StopIteration:
        pass
    what = f"Received extra packet for authentication plugin {plugin!r}"
    if packet[:1] != auth.MORE:
        what = "Malformed packet at the end of the handshake"
    raise err.OperationalError(CR.CR_MALFORMED_PACKET, what)


def _malformed(error: MalformedPacket) -> err.OperationalError:
    what = f"Malformed packet during the handshake: {printable(error)}"
    return err.OperationalError(CR.CR_MALFORMED_PACKET, what)


def _reason(error: Exception) -> str:
    """Return what an operating system's *error* says, with its number if it has one."""
    number = getattr(error, "errno", None)
    if number is None:
        closed = isinstance(error, ConnectionError)  # asyncio's own has no text
        return printable(error) or ("the server closed the connection" if closed else "timed out")
    # asyncio's own text has the address in place of it; that of a resolver is no errno's.
    reason = os.strerror(number) if number > 0 else printable(getattr(error, "strerror", ""))
    return f"[Errno {number}] {reason}"


def _old_password() -> err.OperationalError:
    return err.OperationalError(
        CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
        "the server asks for a password hash from before MySQL 4.1: give the user another plugin",
    )
