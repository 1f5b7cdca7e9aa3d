"""Hosts as they are given: names and addresses, with ports, and in what order they are tried."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..exc import ArgumentError
from ..runtime.record import Record
from ..runtime.words import brief, type_name
from .dialing import is_address

ANY = "any"
READ_WRITE = "read-write"
READ_ONLY = "read-only"
PREFER_STANDBY = "prefer-standby"
TARGETS = (ANY, READ_WRITE, READ_ONLY, PREFER_STANDBY)
"""What `target_session_attrs` takes, in libpq's words."""

RANDOM = "random"
ORDERS = ("disable", RANDOM)
"""What `load_balance_hosts` takes, likewise."""


class Address(Record):
    """Where a server is: a host and its port, or a Unix socket in place of them."""

    host: str
    port: int
    unix_socket: str | None

    def __str__(self) -> str:
        if self.unix_socket:
            return self.unix_socket
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def place(self) -> str:
        """The address in words."""
        if self.unix_socket:
            return f"through socket {self.unix_socket!r}"
        return f"on {self.host!r}, port {self.port}"


def split_hosts(host: str | Sequence[str]) -> list[tuple[str, int | None]]:
    """Return the hosts that are given, each with the port that is given with it.

    Raises `ArgumentError`, which does not show them: what a URL has left there may be a part of its
    password.
    """
    if isinstance(host, str):
        host = host.split(",")
    elif not host:
        raise ArgumentError("argument 'host' is an empty list")
    for each in host:
        if not isinstance(each, str):
            raise ArgumentError(
                f"argument 'host' has a {type_name(type(each))}, not a str: write each as"
                " 'name:port'"
            )
        if not each and len(host) > 1:
            raise ArgumentError("argument 'host' has an empty name between its commas")
    return [_split(each) for each in host]


def _split(host: str) -> tuple[str, int | None]:
    """Return a host without its port and brackets, and the port if there is one."""
    found = re.fullmatch(r"\[([^\[\]]*:[^\[\]]*)\](?::([0-9]+))?|([^:]+):([0-9]+)", host)
    if found is None:
        return host, None
    name, port = found[1] or found[3], found[2] or found[4]
    return name, None if port is None else int(port)


def check_hosts(host: str | Sequence[str]) -> None:
    """Refuse what cannot be names or addresses, with or without a port, without showing it."""
    for name, port in split_hosts(host):
        _check_name(name)
        if port is not None and not 0 < port < 65536:
            raise ArgumentError("argument 'host' has a port that is not from 1 to 65535")


def _check_name(host: str) -> None:
    expected = "argument 'host' takes a name or an address"
    if "://" in host:
        raise ArgumentError(f"{expected}; create_engine() takes a URL")
    if "@" in host:
        raise ArgumentError(
            f"{expected}, without '@': in a URL, one in a password is written %40, and user and"
            " password once for all hosts"
        )
    found = re.search(r"[\x00-\x20\x7f/&;#?=,\[\]]", host) or (
        ":" not in host and re.search("%", host)
    )
    if found:
        raise ArgumentError(f"{expected}, without {found[0]!r}")
    if ":" in host and not is_address(host):
        raise ArgumentError(f"{expected}, with a port that is a number: 'h1:3307', '[::1]:3307'")
    try:
        host.encode("idna")
    except UnicodeError:
        wrong = True
    else:
        wrong = False
    if wrong:  # not from within: that error may show the host
        raise ArgumentError(f"{expected}, with 1 to 63 letters between its dots")


def check_target(target: str) -> None:
    """Refuse what a server cannot be asked to be."""
    _check_word("target_session_attrs", target, TARGETS)


def check_load_balance(order: str) -> None:
    """Refuse an order that there is not."""
    _check_word("load_balance_hosts", order, ORDERS)


def _check_word(name: str, word: str, known: tuple[str, ...]) -> None:
    if word not in known:
        expected = ", ".join(map(repr, known))
        raise ArgumentError(f"argument {name!r} takes one of {expected}, got {brief(word)}")
