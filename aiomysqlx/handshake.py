"""aiomysql's handshake, with its holes closed.

aiomysql opens the socket, negotiates TLS and authenticates; what it would accept or give away too
easily is refused here.
"""

from __future__ import annotations

import inspect
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any, NoReturn

from pymysql import err
from pymysql.connections import OKPacketWrapper
from pymysql.constants import CLIENT, CR

from ._aiomysql import MysqlPacket, aiomysql
from ._awaitable import in_time, without_context
from ._impl import MalformedPacket
from .arguments import collation_id, latin1_password
from .exc import ArgumentError
from .refusal import parse_refusal

SESSION_TRACK = 1 << 23
DEPRECATE_EOF = 1 << 24
# No packet of a handshake, a public key or an error message at most, comes near it.
_MOST_IN_HANDSHAKE = 1 << 16
# What aiomysql raises for other reasons than packets, or keys, that are not what they should be.
_EXPECTED = (err.MySQLError, OSError, RuntimeError)
_IF_OFFERED = SESSION_TRACK | DEPRECATE_EOF


class _Packet(MysqlPacket):
    """A packet of the handshake."""

    def raise_for_error(self) -> NoReturn:
        """Raise the server's error."""
        try:
            raise parse_refusal(self.get_all_data()).error()
        except MalformedPacket as error:
            raise _malformed() from error


class Handshake(aiomysql.Connection):
    """The opening of a connection, up to the server's welcome."""

    _status = 0
    _authenticating = False
    _welcome = False
    _collation = ""  # empty: the server's default for the charset
    _collation_id: int | None = None  # while the client introduces itself
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
            f"Can't connect to MySQL server on {self._host!r}"
            f" (timed out after {self._connect_timeout} seconds)",
        )

    async def _open(self) -> None:
        if self._password_source is not None:
            self._password = await _ask(self._password_source)
        await without_context(self._greet())

    async def _greet(self) -> None:
        try:
            await super()._connect()
        except (
            *(struct.error, IndexError, ValueError, TypeError, OverflowError, AssertionError),
        ) as error:
            raise _malformed() from error.with_traceback(None)
        except Exception as error:
            # Without the frames that have the password, or init_command.
            raise error.with_traceback(None)  # noqa: B904 - it is the same

    def _set_keep_alive(self) -> None:
        super()._set_keep_alive()
        if self._tcp_keepalive is not None:
            keep_alive(self._writer.transport.get_extra_info("socket"), *self._tcp_keepalive)

    async def _get_server_information(self) -> None:
        self._authenticating = False
        try:
            await super()._get_server_information()
        except UnboundLocalError as error:  # of a greeting that ends before its salt does
            raise _malformed() from error
        if self.protocol_version != 10:
            raise err.OperationalError(
                CR.CR_VERSION_ERROR,
                f"protocol version of the server is {self.protocol_version}, expected 10",
            )

    async def _request_authentication(self) -> None:
        if self._ssl_context and not self.server_capabilities & CLIENT.SSL:
            raise err.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR, "TLS was asked for, but the server does not offer it"
            )
        self.client_flag &= ~_IF_OFFERED
        self.client_flag |= self.server_capabilities & _IF_OFFERED
        plugin = self._client_auth_plugin or self._server_auth_plugin
        if plugin == "mysql_clear_password":
            self._check_clear_password(bool(self._ssl_context))
        self._authenticating = True
        self._welcome = False
        self._collation_id = collation_id(self._charset, self._collation, self.server_version)
        try:
            await super()._request_authentication()
        except BaseException as error:
            self._abort()  # aiomysql takes leave politely, which TLS may wait 30 seconds for
            # Without aiomysql's frames, some variables of which hold the password.
            error.with_traceback(None)
            if isinstance(error, Exception) and not isinstance(error, _EXPECTED):
                raise _malformed() from error
            raise error
        if not self._welcome:
            raise err.OperationalError(
                CR.CR_MALFORMED_PACKET, "Malformed packet at the end of the handshake"
            )
        await self._take_over()

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        if plugin_name == b"mysql_old_password":
            raise _old_password()
        if plugin_name == b"mysql_clear_password":
            self._check_clear_password(self._secure)
        return await super()._process_auth(plugin_name, auth_packet)

    def _check_clear_password(self, encrypted: bool) -> None:
        if self._client_auth_plugin != "mysql_clear_password":
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the server asks for the password in clear text: allow it with"
                " auth_plugin='mysql_clear_password'",
            )
        if not encrypted and not self._unix_socket:
            raise err.OperationalError(
                CR.CR_AUTH_PLUGIN_CANNOT_LOAD,
                "the password is sent in clear text over TLS or a Unix socket only",
            )

    def write_packet(self, payload: bytes) -> None:
        """Write a packet of the handshake; the first ones name the collation to begin with."""
        if self._collation_id is not None:  # a request for TLS, and the response to the greeting
            payload = payload[:8] + bytes((self._collation_id,)) + payload[9:]
        super().write_packet(payload)

    async def _read_packet(self, packet_type: type[MysqlPacket] = _Packet) -> MysqlPacket:
        self._collation_id = None
        packet = await super()._read_packet(packet_type)
        if self._authenticating and packet.is_auth_switch_request():
            # One that names no plugin means the oldest.
            named = b"\0" in packet.get_all_data()
            if not named or not self.server_capabilities & CLIENT.PLUGIN_AUTH:
                raise _old_password()
        # The OK that ends the handshake carries the session's state, NO_BACKSLASH_ESCAPES in it.
        if packet.is_ok_packet():
            self._welcome = True
            self._status = OKPacketWrapper(packet).server_status
            packet.rewind()
        return packet

    async def _read_bytes(self, num_bytes: int) -> bytes:
        if num_bytes > _MOST_IN_HANDSHAKE:
            raise err.OperationalError(
                CR.CR_NET_PACKET_TOO_LARGE,
                f"packet of {num_bytes} bytes during the handshake, limit {_MOST_IN_HANDSHAKE}",
            )
        data: bytes = await super()._read_bytes(num_bytes)
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
            raise ArgumentError(f"argument 'password' gave a {type(password).__name__}, not a str")
        return latin1_password(password)
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
        "TCP_USER_TIMEOUT": (idle + interval * probes) * 1000,
    }
    for name, value in options.items():
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _malformed() -> err.OperationalError:
    return err.OperationalError(CR.CR_MALFORMED_PACKET, "Malformed packet during the handshake")


def _old_password() -> err.OperationalError:
    return err.OperationalError(
        CR.CR_AUTH_PLUGIN_CANNOT_LOAD, "the server asks for a password hash from before MySQL 4.1"
    )
