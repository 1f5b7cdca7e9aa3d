"""What to do about an error that keeps a session from being opened."""

from __future__ import annotations

import asyncio
import errno
import socket

from pymysql.constants import CR, ER

_ENCODE = (
    "check user and password, and whether that user may come from this host; in a URL, characters"
    " other than letters, digits and -._~ are written as %40 and the like"
)
_BY_NUMBER: dict[int, str] = {
    ER.ACCESS_DENIED_ERROR: _ENCODE,
    1698: "this account logs in by the operating system's user: connect by ?unix_socket= as that"
    " user, or make an account with a password",
    ER.DBACCESS_DENIED_ERROR: "GRANT the user the database, or name another one",
    ER.BAD_DB_ERROR: "create the database, or correct its name in the URL",
    ER.CON_COUNT_ERROR: "the server is full: make the pools smaller, or raise max_connections",
    ER.TOO_MANY_USER_CONNECTIONS: "this user has all the connections that it may have: make the"
    " pools smaller, or raise max_user_connections",
    1226: "this user has used up what its account allows: see max_user_connections and the limits"
    " by hour in SHOW CREATE USER",
    ER.HOST_NOT_PRIVILEGED: "make an account for this user at this host: CREATE USER user@host",
    ER.HOST_IS_BLOCKED: "unblock this host with FLUSH HOSTS, and look for what connects and goes",
    3159: "the server insists on TLS: add ?ssl_mode=REQUIRED, or better VERIFY_IDENTITY and ssl_ca",
    3118: "the account is locked: ALTER USER … ACCOUNT UNLOCK",
    CR.CR_SSL_CONNECTION_ERROR: "see docs/tls.md for its options; ?ssl_mode=REQUIRED"
    " takes any certificate, ?ssl_mode=DISABLED does without TLS",
    CR.CR_AUTH_PLUGIN_CANNOT_LOAD: "give the account another plugin: ALTER USER … IDENTIFIED WITH"
    " caching_sha2_password (MySQL), IDENTIFIED VIA ed25519 (MariaDB)",
    CR.CR_SERVER_LOST: "something listens there, and hangs up: see the server's error log, and"
    " whether it is a proxy without a server, or a port of something else",
    CR.CR_VERSION_ERROR: "something else listens there: check the port",
}
_RUNS = "check that the server runs, and listens at this address: bind_address, skip_networking"
_BY_ERRNO = {
    errno.ECONNREFUSED: f"{_RUNS}, and the port",
    errno.ENOENT: "check the path of the socket: SELECT @@socket tells it",
    errno.EACCES: "this user of the operating system may not open the socket",
    errno.EHOSTUNREACH: "check the route to the host, and firewalls",
    errno.ENETUNREACH: "check the route to the host, and firewalls",
}
_NO_NAME = "check the host's name, and that this machine finds it: getent hosts NAME"
_LATE = "check address, port and firewalls, and whether the server is at work; --timeout gives more"
_SEVERAL = "see the reason of each host; target_session_attrs says what a host has to be"


def advice(error: BaseException) -> str:
    """Return what to do about an error."""
    cause = error.__cause__
    if isinstance(cause, socket.gaierror):
        return _NO_NAME
    number = getattr(cause, "errno", None)
    if number in _BY_ERRNO:
        return _BY_ERRNO[number]
    code: int = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    if hasattr(error, "some_misfit"):
        return _BY_NUMBER.get(code, _SEVERAL) if code != CR.CR_CONN_HOST_ERROR else _SEVERAL
    if code in _BY_NUMBER:
        return _BY_NUMBER[code]
    late = isinstance(error, asyncio.TimeoutError) or code == CR.CR_CONN_HOST_ERROR
    return _LATE if late else "see docs/errors.md, and the server's error log"
