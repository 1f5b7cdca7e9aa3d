"""Database URLs to the arguments of `create_engine()`."""

from __future__ import annotations

import ssl as ssl_module
from collections.abc import Callable
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError as URLError

from .arguments import ARGUMENTS
from .exc import ArgumentError

# Drivers whose URLs are taken too, for they say the same.
_DRIVERS = ("", "aiomysql", "asyncmy", "mysqldb", "pymysql")


def from_url(text: str | URL) -> dict[str, Any]:
    """Give the connect arguments of a URL."""
    url = _parsed(text)
    if url is None:
        raise ArgumentError("argument 'url' is not a URL like mysql://user@host/db")
    backend, _, driver = url.drivername.partition("+")
    if backend not in ("mysql", "mariadb") or driver not in _DRIVERS:
        raise ArgumentError(f"argument 'url' is for {url.drivername!r}, not for 'mysql'")
    parts = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "db": url.database,
    }
    arguments: dict[str, Any] = {
        name: value for name, value in parts.items() if value not in (None, "")
    }
    tls: dict[str, str] = {}
    for name, value in url.query.items():
        if not isinstance(value, str):
            raise ArgumentError(f"argument {name!r} is given twice in the URL")
        if name.startswith("ssl_"):
            tls[name] = value
        elif name in arguments:
            raise ArgumentError(f"argument {name!r} is given twice in the URL")
        else:
            arguments[name] = _from_text(name, value)
    if tls:
        if "ssl" in arguments:
            raise ArgumentError("argument 'ssl' contradicts the URL's other ssl_ arguments")
        arguments["ssl"] = _context(tls)
    return arguments


def _parsed(text: str | URL) -> URL | None:
    """Return the parts of a URL; the error of one that is none may quote a password's."""
    try:
        return make_url(text)
    except (URLError, ValueError):  # a port that is no number
        return None


def _from_text(name: str, value: str) -> Any:
    types = _POOL_TYPES.get(name) or ARGUMENTS.get(name, (str,))
    for type_, parse in _PARSERS:
        if type_ in types:
            try:
                return parse(value)
            except (KeyError, ValueError):
                if str not in types:
                    raise ArgumentError(f"argument {name!r} does not take {value!r}") from None
    if str not in types:
        raise ArgumentError(f"argument {name!r} cannot be given in a URL")
    return value


# Objects cannot be given as text.
_POOL_TYPES: dict[str, tuple[type, ...]] = {
    "minsize": (int,),
    "maxsize": (int,),
    "pool_recycle": (int, float),
    "loop": (object,),
    "dialect": (object,),
    "compiled_cache": (object,),
    "acquire_timeout": (float,),
    "pool_pre_ping": (bool, float),
    "max_lifetime": (float,),
    "max_idle": (float,),
    "statement_timeout": (float,),
    "init": (object,),
    "reset": (bool,),
}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_PARSERS: tuple[tuple[type, Callable[[str], Any]], ...] = (
    (float, float),
    (bool, lambda text: _TRUTH[text.lower()]),
    (int, int),
)


def _context(given: dict[str, str]) -> ssl_module.SSLContext:
    """Give the TLS context of a URL's `ssl_ca`, `ssl_cert`, `ssl_key`, `ssl_check_hostname`."""
    unknown = given.keys() - {"ssl_ca", "ssl_cert", "ssl_key", "ssl_check_hostname"}
    if unknown:
        raise ArgumentError(f"unknown argument {min(unknown)!r}")
    if "ssl_key" in given and "ssl_cert" not in given:
        raise ArgumentError("argument 'ssl_key' needs 'ssl_cert'")
    check_hostname = given.get("ssl_check_hostname", "true")
    if check_hostname.lower() not in _TRUTH:
        raise ArgumentError(f"argument 'ssl_check_hostname' does not take {check_hostname!r}")
    name = "ssl_ca"
    try:
        context = ssl_module.create_default_context(cafile=given.get("ssl_ca"))
        name = "ssl_cert"
        if "ssl_cert" in given:
            context.load_cert_chain(given["ssl_cert"], given.get("ssl_key"))
    except OSError as error:
        raise ArgumentError(f"argument {name!r} does not load: {error}") from error
    context.check_hostname = _TRUTH[check_hostname.lower()]
    return context
