"""What options are read from text by, and what single values are checked by.

A check raises `ArgumentError` that says what is wrong with a value of the right type.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from ..exc import ArgumentError
from ..runtime.words import brief
from .codes import ZONES_DROPPED, ZONES_TO_UTC

AUTOCOMMIT = "AUTOCOMMIT"
LEVELS = ("READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE")
"""The isolation levels, by the names that SQLAlchemy has for them."""

_LEAST_PACKET = 1024  # the smallest value of the server's `max_allowed_packet`
_MOST_KEEPALIVE = 32767, 32767, 127  # as Linux has it

AWARE_DATETIMES = {"refuse": 0, "utc": ZONES_TO_UTC, "drop": ZONES_DROPPED}
"""What `aware_datetimes` takes, and the flag of `render` that it means."""

# -- reading --------------------------------------------------------------------------------------

_TRUTH = {"true": True, "1": True, "yes": True, "on": True}
_TRUTH |= {"false": False, "0": False, "no": False, "off": False}


def truth(text: str) -> bool:
    """Return what *text* says of something that is or is not; raises `ValueError`."""
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


def number_or_truth(text: str) -> float | bool:
    """Return the number in *text*, or what it says of something that is or is not."""
    try:
        return float(text)
    except ValueError:
        return truth(text)


def truth_or_text(text: str) -> bool | str:
    """Return what *text* says of something that is or is not, or else itself."""
    try:
        return truth(text)
    except ValueError:
        return text


def number_or_none(text: str) -> int | None:
    """Return the whole number in *text*, or `None` if it says so; raises `ValueError`."""
    return None if text.lower() == "none" else int(text)


def content(path: str) -> bytes:
    """Return what is in a regular file; raises `ValueError`."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError(path)
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        raise ValueError(path) from None


# -- checking -------------------------------------------------------------------------------------


def check_port(port: int) -> None:
    """Refuse what is no port of TCP."""
    if not 0 < port < 65536:
        raise ArgumentError(f"argument 'port' must be from 1 to 65535, got {port}")


def check_socket(path: str) -> None:
    """Refuse a NUL in a path; an abstract socket's name begins with one."""
    if "\0" in path[1:]:
        raise ArgumentError("argument 'unix_socket' has a NUL character")


def check_timeout(seconds: float) -> None:
    """Refuse a `connect_timeout` that has passed at once."""
    if not seconds > 0:
        raise ArgumentError(f"argument 'connect_timeout' must be positive, got {seconds!r}")


def check_echo(echo: bool | str) -> None:
    """Refuse a text other than the one that there is."""
    if echo not in (False, True, "values"):
        raise ArgumentError(
            f"argument 'echo' does not take {echo!r}: expected True, False or 'values'"
        )


def check_function(hook: Callable[..., object]) -> None:
    """Refuse what would have to be awaited: nobody waits for a hook of this sort."""
    if iscoroutinefunction(hook) or iscoroutinefunction(getattr(hook, "__call__", None)):  # noqa: B004
        raise ArgumentError(
            "argument 'on_query' takes a plain function, got a coroutine function: one may put what"
            " it is told into a queue"
        )


def check_slow_query(seconds: float) -> None:
    """Refuse less than no time."""
    if not seconds >= 0:
        raise ArgumentError(f"argument 'slow_query' must be 0 or more seconds, got {seconds!r}")


def check_telemetry(wanted: bool) -> None:
    """Refuse it without OpenTelemetry's API."""
    if not wanted:
        return
    try:
        from . import spans  # noqa: F401 - which imports it
    except ImportError as error:
        missing = error.name or "opentelemetry"
    else:
        return
    raise ArgumentError(
        f"argument 'telemetry' needs OpenTelemetry's API, and there is no module {missing!r}:"
        ' pip install "aiomysqlx[otel]"'
    )


def check_local_infile(allowed: object) -> None:
    """Refuse an empty folder, which may be of a variable that is not set."""
    if allowed == "":
        raise ArgumentError("argument 'local_infile' takes a folder, True or a function, got ''")


def check_plugin(plugin: str) -> None:
    """Refuse a plugin that there is not."""
    from . import auth

    if plugin and plugin not in auth.PLUGINS:
        raise ArgumentError(
            f"argument 'auth_plugin' does not take {brief(plugin)}: expected one of"
            f" {', '.join(auth.PLUGINS)}"
        )


def check_max_packet(size: int) -> None:
    """Refuse less than a server would."""
    if size < _LEAST_PACKET:
        raise ArgumentError(f"argument 'max_packet' must be {_LEAST_PACKET} or more, got {size}")


def check_threshold(count: int | None) -> None:
    """Refuse a number of executions that there cannot be."""
    if count is not None and count < 0:
        raise ArgumentError(f"argument 'prepare_threshold' must be 0 or more, got {count}")


def check_prepared_max(count: int) -> None:
    """Refuse to have no statement prepared: there is an option for that."""
    if count < 1:
        raise ArgumentError(
            f"argument 'prepared_max' must be 1 or more, got {count}: prepare_threshold=None"
            " prepares none"
        )


def check_aware_datetimes(what: str) -> None:
    """Refuse what there is no flag for."""
    if what not in AWARE_DATETIMES:
        raise ArgumentError(
            f"argument 'aware_datetimes' takes 'refuse', 'utc' or 'drop', got {what!r}"
        )


def check_level(level: object, *, autocommit: bool) -> str | None:
    """Return the name of an isolation level; raises `ArgumentError` if it is none.

    *autocommit* tells whether AUTOCOMMIT is one.
    """
    if level is None:
        return None
    name = level.replace("_", " ").replace("-", " ").upper() if isinstance(level, str) else ""
    known = (*LEVELS, AUTOCOMMIT) if autocommit else LEVELS
    if name not in known:
        expected = ", ".join(map(repr, known))
        raise ArgumentError(f"argument 'isolation_level' takes one of {expected}, got {level!r}")
    return name


def check_read_only(read_only: object) -> bool | None:
    """Return *read_only*; raises `ArgumentError` if it is not true, false or `None`."""
    if not isinstance(read_only, (bool, type(None))):
        raise ArgumentError(f"argument 'read_only' takes True or False, got {read_only!r}")
    return read_only


def check_isolation_level(level: str) -> None:
    """Refuse a level that there is not; AUTOCOMMIT is one."""
    check_level(level, autocommit=True)


def check_keepalive(given: tuple[Any, ...]) -> None:
    """Raise `ArgumentError` if *given* is not what `tcp_keepalive` takes."""
    if len(given) != 3 or not all(type(value) is int for value in given):
        raise ArgumentError(
            "argument 'tcp_keepalive' takes seconds of silence, seconds between probes and a"
            f" number of probes, got {given!r}"
        )
    for value, most in zip(given, _MOST_KEEPALIVE, strict=True):
        if not 0 < value <= most:
            raise ArgumentError(
                "argument 'tcp_keepalive' takes up to 32,767 seconds of silence, as many between"
                f" probes and up to 127 probes, got {given!r}"
            )


def check_seconds(name: str, value: Any) -> float:
    """Return *value*, a number of seconds; raises `ArgumentError` if it is none or not positive."""
    if type(value) not in (int, float) or not value > 0:
        raise ArgumentError(
            f"argument {name!r} takes a positive number of seconds, got {brief(value)}"
        )
    seconds: float = value
    return seconds
