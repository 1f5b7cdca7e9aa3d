"""Getting in: from an address to the server's welcome.

aiomysql opens the socket. What follows, this package does: it greets, encrypts and logs in. Once
the server has welcomed the client, the transport is for whoever takes it over.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from typing import Any

import aiomysql
from aiomysql import connection as opened
from aiomysql.connection import DEFAULT_USER, _StreamReader
from pymysql import err
from pymysql.constants import CLIENT, CR

from ..exc import ArgumentError
from . import auth
from ._impl import frame, parse_ok
from .addresses import RANDOM, Address
from .charset import DEFAULT_CHARSET, collation_id, python_encoding
from .dialing import addresses_of, dial
from .greeting import (
    BULK,
    DEPRECATE_EOF,
    SESSION_TRACK,
    TLS,
    Greeting,
    agreed,
    check_user,
    opening,
    parse_greeting,
    parse_switch,
    response,
)
from .option import check_text
from .options import ConnectOptions
from .outcome import parse_refusal
from .packets import MalformedPacket

# No packet of a handshake, a public key or an error message at most, comes near it.
_MOST_IN_HANDSHAKE = 1 << 16
_MOST_ATTRIBUTES = (1 << 16) - 1  # bytes, that a server takes
_MOST_MILLISECONDS = (1 << 31) - 1
_LOST = "Lost connection to MySQL server during the handshake"
# What a packet begins with.
_OK, _SWITCH, _ERROR = b"\x00", b"\xfe", b"\xff"


class Login:
    """One way into a server: its handshake, up to the welcome.

    `enter()` may be called again once the connection of before is gone.
    """

    greeting: Greeting | None = None
    # The flags of the session's state, NO_BACKSLASH_ESCAPES among them, and the plugin used.
    status: int
    plugin: str
    reader: Any = None
    writer: Any = None
    # In no variable of a function, which a traceback would show.
    password: str | None = None
    # Whether nobody wants to come in any more.
    given_up: bool = False

    def __init__(
        self, options: ConnectOptions, loop: asyncio.AbstractEventLoop, address: Address
    ) -> None:
        # Where the server is; the address that its name has led to, and the only one that it may.
        self.address: Address = address
        self.peer: str | None = None
        self.only: str | None = None
        # Whether the name has others, and which of them are not wanted.
        self.has_more: bool = False
        self._left_out: set[str | None] = set()
        self.user: str = options.user or DEFAULT_USER
        self.host_info: str = "Not connected"
        # What both sides have agreed on; before that, what this one would like.
        self._wanted: int = _wanted_flags(options)
        self.flags: int = self._wanted
        self.extended: int = 0  # of MariaDB's own flags, see `greeting`
        self.secure: bool = False
        self.sequence: int = 0
        self._options = options
        self._loop = loop
        self._charset = options.charset or DEFAULT_CHARSET
        self._encoding = python_encoding(self._charset)
        self._attributes = _attributes(options.program_name)

    async def enter(self) -> None:
        """Open a socket and log in with `password`.

        Raises the server's error, `OperationalError`, `MalformedPacket` or what the socket raises.
        """
        try:
            self._check_wanted()
            await self._open_socket()
            self.sequence = 0
            self.greeting = greeting = parse_greeting(await self._read())
            await self._log_in(greeting)
        except BaseException as error:
            self.abort()  # not politely, which TLS may wait 30 seconds for
            # Without the frames that have the password in a variable.
            raise error.with_traceback(None)  # noqa: B904 - it is the same

    @property
    def where(self) -> tuple[Address, str | None]:
        """The address, and which one of those that its name has the connection leads to."""
        return self.address, self.peer

    def go_to(self, address: Address) -> None:
        """Have `enter()` go to another server."""
        self.address, self.peer, self.has_more, self._left_out = address, None, False, set()

    def leave_out(self) -> None:
        """Have `enter()` go to another address of the same name than before."""
        self._left_out.add(self.peer)
        self.has_more = False  # until one of them is reached

    def abort(self) -> None:
        """Close the transport at once, if there is one and nobody has taken it over."""
        writer, self.reader, self.writer = self.writer, None, None
        if writer is not None and not self._loop.is_closed():
            writer.transport.abort()

    def give_up(self) -> None:
        """Have `enter()` raise that the connection is lost, if it is under way or about to be."""
        self.given_up = True
        if self.writer is not None and not self._loop.is_closed():
            self.writer.transport.abort()

    def _check_wanted(self) -> None:
        if self.given_up:
            raise err.OperationalError(CR.CR_SERVER_LOST, f"{_LOST}: it was closed")

    async def _open_socket(self) -> None:
        address = self.address
        # A connection of before may have been encrypted.
        self.secure = bool(address.unix_socket)
        if address.unix_socket:
            self.reader, self.writer = await opened._open_unix_connection(address.unix_socket)
            self.host_info = f"Localhost via UNIX socket: {address.unix_socket}"
            return
        found = [self.only] if self.only else await addresses_of(address.host, address.port)
        if self._options.load_balance_hosts == RANDOM:
            random.shuffle(found)
        wanted = [each for each in found if each not in self._left_out]
        if not wanted:
            raise OSError("the name has no other address any more")
        self.reader, self.writer, self.peer = await dial(wanted, address.port)  # tries all of them
        self.has_more = len(wanted) > 1
        keep_alive(self.writer.transport.get_extra_info("socket"), self._options.tcp_keepalive)
        self.host_info = f"socket {address.host}:{address.port}"

    async def _log_in(self, greeting: Greeting) -> None:
        """Respond to the server's greeting, and to its plugins until it welcomes the client."""
        options = self._options
        collation = await self._agree(greeting)
        check_user(self.user, greeting.version)
        plugin = options.auth_plugin or greeting.plugin
        if plugin not in auth.PLUGINS:
            plugin = auth.NATIVE  # from which the server switches to the user's
        exchange = self._exchange(plugin, greeting.nonce)
        self._write(
            response(
                *(self.flags, self.extended, collation, self.user.encode(self._encoding)),
                *(next(exchange) or b"", (options.db or "").encode(self._encoding)),
                *(plugin, self._attributes),
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
                if b"\0" not in packet or not self.flags & CLIENT.PLUGIN_AUTH:
                    raise _old_password()  # what names no plugin means the oldest
                plugin, nonce = parse_switch(packet)
                exchange = self._exchange(plugin, nonce)
                answer = next(exchange)
            if answer is not None:
                self._write(answer)
        self.status = parse_ok(packet)[2]
        self.plugin = plugin

    async def _agree(self, greeting: Greeting) -> int:
        """Agree on flags, and encrypt if TLS is wanted; return the collation's number."""
        tls = self._options.ssl
        assert tls is None or isinstance(tls, TLS)
        context = tls and tls.for_server(bool(greeting.capabilities & CLIENT.SSL))
        wanted = self._wanted | (CLIENT.SSL if context else 0)
        self.flags = agreed(wanted, greeting.capabilities)
        self.extended = greeting.extended & BULK
        collation = collation_id(self._charset, self._options.collation, greeting.version)
        if tls and context:
            self._write(opening(self.flags, self.extended, collation))
            await self._encrypt(context, tls.own)
        return collation

    def _exchange(self, plugin: str, nonce: bytes) -> auth.Exchange:
        """Return what answers the server for a plugin."""
        if plugin == "mysql_old_password":
            raise _old_password()
        if plugin == auth.CLEAR:
            self._check_clear_password()
        make = auth.PLUGINS.get(plugin)
        if make is None:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                f"the server asks for authentication plugin {plugin[:64]!r}, which is not one of"
                f" {', '.join(auth.PLUGINS)}",
            )
        options = self._options
        secret = check_text("password", self.password or "").encode()
        key, may_ask = options.server_public_key, options.get_server_public_key
        return make(auth.Login(secret, self.secure, key, may_ask), nonce)

    def _check_clear_password(self) -> None:
        """Raise `OperationalError` unless the password may be sent as it is."""
        if self._options.auth_plugin != auth.CLEAR:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the server asks for the password in clear text: allow it with"
                " auth_plugin='mysql_clear_password'",
            )
        if not self.secure:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the password is sent in clear text over TLS or a Unix socket only",
            )

    async def _encrypt(self, context: ssl.SSLContext, own: bool) -> None:
        """Go on with TLS; nobody reads what came before it. *own*: the context is the user's."""
        host = self.address.host
        self.reader = reader = _StreamReader(loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        try:
            transport = await self._loop.start_tls(
                self.writer.transport, protocol, context, server_hostname=host
            )
        except ssl.SSLError as error:
            from .tls_errors import failure  # most have no use for it: 0.4 ms of an import

            # Without its frames: one of asyncio's holds it, and all this login.
            raise failure(error, host, own) from error.with_traceback(None)
        assert transport is not None
        protocol.connection_made(transport)
        # Not a writer of its own: the other would close the transport below when it is forgotten.
        self.writer._transport = transport
        self.secure = True

    def _write(self, payload: bytes) -> None:
        """Write a packet of the handshake."""
        if len(payload) > _MOST_IN_HANDSHAKE:
            raise err.OperationalError(
                CR.CR_NET_PACKET_TOO_LARGE,
                f"the login takes {len(payload)} bytes, limit {_MOST_IN_HANDSHAKE}",
            )
        self._check_wanted()
        self.writer.write(frame(payload, self.sequence))
        self.sequence += 1

    async def _read(self) -> bytes:
        """Return the next packet of the handshake; raise the server's error if it is one."""
        header = await self._read_bytes(4)
        size, number = int.from_bytes(header[:3], "little"), header[3]
        if not self.sequence and header.isascii() and header.decode("ascii").isprintable():
            raise err.OperationalError(
                CR.CR_VERSION_ERROR,
                f"expected a MySQL server {self.address.place}, got what begins with"
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
        if number != self.sequence:
            raise err.OperationalError(
                CR.CR_MALFORMED_PACKET,
                f"packet sequence number wrong during the handshake: got {number},"
                f" expected {self.sequence}",
            )
        self.sequence = number + 1
        return packet

    def _where(self) -> str:
        """Return the words for a loss before the greeting, as by a proxy that has no server."""
        if self.sequence:
            return ""
        return f" (before a greeting: {self.address.place} may be a proxy that has no server)"

    async def _read_bytes(self, size: int) -> bytes:
        self._check_wanted()
        try:
            data: bytes = await self.reader.readexactly(size)
        except asyncio.IncompleteReadError as error:
            self._check_wanted()
            raise err.OperationalError(CR.CR_SERVER_LOST, f"{_LOST}{self._where()}") from error
        except OSError as error:
            lost = f"{_LOST}: {error}{self._where()}"
            raise err.OperationalError(CR.CR_SERVER_LOST, lost) from error
        self._check_wanted()
        return data


def _wanted_flags(options: ConnectOptions) -> int:
    """Return the flags of what a client with these options would like to use."""
    flags: int = options.client_flag | CLIENT.CAPABILITIES
    if options.found_rows:
        flags |= CLIENT.FOUND_ROWS
    if options.multi_statements:
        flags |= CLIENT.MULTI_STATEMENTS
    elif not options.client_flag & CLIENT.MULTI_STATEMENTS:
        flags &= ~CLIENT.MULTI_STATEMENTS
    if options.local_infile:
        flags |= CLIENT.LOCAL_FILES
    if options.db:
        flags |= CLIENT.CONNECT_WITH_DB
    return flags | SESSION_TRACK | DEPRECATE_EOF


def _attributes(program_name: str) -> dict[str, str]:
    """Return what the server shows of the client; raise `ArgumentError` if it is too long."""
    attributes = {
        "_client_name": "aiomysql",
        "_pid": str(os.getpid()),
        "_client_version": aiomysql.__version__,
    }
    if program_name:
        attributes["program_name"] = program_name
    size = sum(6 + len(name) + len(value.encode()) for name, value in attributes.items())
    if size > _MOST_ATTRIBUTES:
        raise ArgumentError(
            "argument 'program_name' is too long: the attributes of a connection have"
            f" {_MOST_ATTRIBUTES} bytes at most, got {size}"
        )
    return attributes


def keep_alive(sock: socket.socket, probing: tuple[int, int, int] | None) -> None:
    """Have the kernel probe a peer that is silent, and end its connection after a time.

    *probing* is seconds of silence, seconds between probes and a number of probes; unacknowledged
    data is given the same time. Without it the kernel's own hold. What the platform has no option
    for is left as it is.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if probing is None:
        return
    idle, interval, probes = probing
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


def _old_password() -> err.OperationalError:
    return err.OperationalError(
        CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
        "the server asks for a password hash from before MySQL 4.1: give the user another plugin",
    )
