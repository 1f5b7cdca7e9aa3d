"""Database URLs to the arguments of `create_engine()`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError as URLError

from .exc import ArgumentError
from .settings import EngineOptions
from .wire.option import Options

# Drivers whose URLs are taken too, for they say the same.
_DRIVERS = ("", "aiomysql", "aiomysqlx", "asyncmy", "mysqldb", "pymysql")
# An option of TLS behind anything but the '?' and '&' that would make it one.
_MISPLACED = r"[;#?](ssl|tls)[\w-]*(=|&|$)|,(ssl|tls)[\w-]*="
# Or in a path, a first option behind anything but the '?'.
_MISPLACED_IN_PATH = rf"{_MISPLACED}|^/[^?]*[;#&,]([\w-]+=|(ssl|tls)\b)"
# A URL as SQLAlchemy reads it, up to what follows the host: a user without ':' and '/', a password
# without '@'.
_PARTS = (
    r"[\w+]+://(?:(?P<user>[^:/]*)(?::(?P<password>[^@]*))?@)?(?P<host>[^?/]*)(?P<path>/[^?]*)?"
    r"(?:\?(?P<query>.*))?"
)
# What SQLAlchemy takes for 'user:password' where each of several hosts has a user of its own.
_REPEATED = r"[^@]*@[^,:]*(:[0-9]+(/[^,]*)?)?,.*"
# What may be in the place of a host. SQLAlchemy leaves out what follows on another ']'.
_HOST = r"[^\[\]]*|\[[^\[\]]*\](:[0-9]*)?"


def from_url(
    text: str | URL,
    options: type[Options] = EngineOptions,
    engines: type[Options] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a URL, which are *options*; *engines*: as `named()` has them."""
    hosts: list[str] = []
    if isinstance(text, str):
        text, hosts = _without_hosts(text)
    url = _parsed(text)
    if url is None:
        raise ArgumentError(
            "argument 'url' is not a URL like mysql://user@host/db, or mysql://user@h1,h2/db"
        )
    backend, _, driver = url.drivername.partition("+")
    if backend not in ("mysql", "mariadb") or driver not in _DRIVERS:
        raise ArgumentError(f"argument 'url' is for {url.drivername!r}, not for 'mysql'")
    query = _query(text) if isinstance(text, str) else _entries(url, options)
    parts = {
        "host": hosts or _hosts(url),
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "db": url.database,
    }
    arguments: dict[str, Any] = {
        name: value for name, value in parts.items() if value not in (None, "")
    }
    for name, value in options.named(_once(query), engines).items():
        if name in arguments:
            raise ArgumentError(f"argument {name!r} is given twice in the URL")
        if value == "":  # maybe of a variable that is not set
            raise ArgumentError(f"argument {name!r} has no value in the URL")
        arguments[name] = value if name == "host" else options.from_text(name, value)
    return arguments


def _without_hosts(text: str) -> tuple[str, list[str]]:
    """Return a URL without its hosts, if it has several, and those; SQLAlchemy reads one only."""
    parts = re.match(_PARTS, text, re.DOTALL)
    if parts is None or "," not in parts["host"]:
        return text, []
    hosts = parts["host"].split(",")
    if not all(re.fullmatch(_HOST, host) for host in hosts):
        raise _bracket_refusal()
    return text[: parts.start("host")] + text[parts.end("host") :], [*map(_address, hosts)]


def _hosts(url: URL) -> str | None:
    """Return the host of a URL that SQLAlchemy has read, or several, if it has no port then."""
    host = url.host and _address(url.host)
    if host and "," in host and url.port is not None:
        raise ArgumentError(
            "argument 'url' has several hosts and one port: give ?host=h1:3306&host=h2:3307"
        )
    return host


def _parsed(text: str | URL) -> URL | None:
    """Return the parts of a URL; the error of one that is none may quote a password's."""
    try:
        return make_url(text)
    except (URLError, ValueError):  # a port that is no number
        return None


def _query(text: str) -> list[tuple[str, str]]:
    """Return what the query of a URL gives, also without a value, which SQLAlchemy leaves out.

    Raises `ArgumentError` where a part of a user or password may have become another part.
    """
    parts = re.match(_PARTS, text, re.DOTALL)
    assert parts is not None  # SQLAlchemy has read it
    user = parts["user"] or ""
    login = user if parts["password"] is None else f"{user}:{parts['password']}"
    repeated = "@" in user and re.fullmatch(_REPEATED, login, re.DOTALL)
    if repeated or "?" in user or "@" in (parts["path"] or ""):
        raise ArgumentError(
            "argument 'url' has an '@' where none is expected: write one in a user, a password or"
            " an argument as %40, and user and password once for all hosts"
        )
    if not re.fullmatch(_HOST, parts["host"]):
        raise _bracket_refusal()
    _refuse_misplaced(parts["path"], [parts["query"]])
    return parse_qsl(parts["query"] or "", keep_blank_values=True)


def _bracket_refusal() -> ArgumentError:
    return ArgumentError(
        "argument 'url' has a '[' or ']' where none is expected: write one in a password as %5B or"
        " %5D, and nothing but a port behind an address in brackets"
    )


def _entries(url: URL, options: type[Options]) -> list[tuple[str, str]]:
    """Return what the query of a URL gives that SQLAlchemy has read."""
    query = [(name, value) for name, values in url.normalized_query.items() for value in values]
    fields = {name: options.find(name) for name, _ in query}
    # A password may look like anything.
    secret = {name for name, field in fields.items() if field is not None and field.secret}
    _refuse_misplaced(f"/{url.database}", [value for name, value in query if name not in secret])
    return query


def _refuse_misplaced(path: str | None, texts: Iterable[str | None]) -> None:
    """Raise `ArgumentError` if an option was meant in the path, or in another one's text."""
    if re.search(_MISPLACED_IN_PATH, path or "", re.I) or any(
        re.search(_MISPLACED, text or "", re.I) for text in texts
    ):
        raise ArgumentError(
            "argument 'url' has an option that would be left out: they begin with '?', with '&'"
            " between them; db= takes a name with such a character"
        )


def _once(query: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return what a query gives; of hosts there may be several."""
    found: dict[str, Any] = {}
    for name, value in query:
        if name == "host" and name in found:
            given = found[name]
            found[name] = [*given, value] if isinstance(given, list) else [given, value]
        elif name in found:
            raise ArgumentError(f"argument {name!r} is given twice in the URL")
        else:
            found[name] = value
    return found


def _address(host: str) -> str:
    """Return a host, the '%' before the zone of an IPv6 address as it is."""
    return host.replace("%25", "%", 1) if ":" in host else host
