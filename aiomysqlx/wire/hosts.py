"""The hosts that a session may be opened on: which is tried first, and what is known of each."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..runtime.record import Record

if TYPE_CHECKING:
    from .options import ConnectOptions

ANY = "any"
READ_WRITE = "read-write"
READ_ONLY = "read-only"
PREFER_STANDBY = "prefer-standby"
TARGETS = (ANY, READ_WRITE, READ_ONLY, PREFER_STANDBY)
"""What `target_session_attrs` takes, in libpq's words."""

PRIMARY = "primary"
STANDBY = "standby"

# How long a host that failed is tried last, the first time and at most; half of it is chance, so
# that not all clients come back together.
_FIRST_SECONDS = 1.0
_MOST_SECONDS = 60.0
# How long a role is taken for a host's, which nobody tells of when it changes.
_ROLE_SECONDS = 30.0


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


class HostCounts:
    """What is known of one host, and what was counted there."""

    def __init__(self) -> None:
        self.opened = 0
        self.failed = 0
        self.passed_over = 0
        self.error: BaseException | None = None
        self.role: str | None = None
        # How long it is tried last after the next failure, and until when it is.
        self.seconds = _FIRST_SECONDS
        self.last_until = 0.0
        self.role_until = 0.0


class Hosts:
    """The hosts of an engine, or of one connection: they are tried in an order.

    A host that failed is tried last for a growing time. When that is over, one session tries it in
    its place, and the others do so once it has answered.
    """

    def __init__(
        self, addresses: Iterable[Address], target: str = ANY, shuffled: bool = False
    ) -> None:
        self.addresses = tuple(addresses)
        self.target = target
        self.shuffled = shuffled
        self.counts = {address: HostCounts() for address in self.addresses}

    @classmethod
    def of(cls, options: ConnectOptions) -> Hosts:
        """Return those that the options of a connection name."""
        return cls((Address(options.host, options.port, options.unix_socket or None),))

    def asks_role(self, want: str) -> bool:
        """Whether a new session is asked what its server's role is."""
        return want != ANY or len(self.addresses) > 1

    def order(self, want: str) -> list[Address]:
        """Return the addresses to try, the best first.

        Those come last that failed lately, and before them those whose role does not fit.
        """
        now = time.monotonic()
        order = list(self.addresses)
        if self.shuffled:
            random.shuffle(order)
        ranks = {
            address: (self._is_last(address, now), not self._fits(address, want, now))
            for address in order
        }
        return sorted(order, key=ranks.__getitem__)

    def failed(self, address: Address, error: BaseException) -> None:
        """Take note that no session could be opened on a host: it is tried last for a time."""
        counts = self.counts[address]
        counts.failed += 1
        counts.error = error.with_traceback(None)
        counts.role = None
        now = time.monotonic()
        if now >= counts.last_until:  # else another one has failed for the same reason
            counts.last_until = now + counts.seconds * (0.5 + random.random() / 2)
            counts.seconds = min(2 * counts.seconds, _MOST_SECONDS)

    def answered(self, address: Address, role: str | None) -> None:
        """Take note that a host lets sessions in, and of its role as far as it tells."""
        counts = self.counts[address]
        counts.role, counts.role_until = role, time.monotonic() + _ROLE_SECONDS
        counts.seconds, counts.last_until, counts.error = _FIRST_SECONDS, 0.0, None

    def _is_last(self, address: Address, now: float) -> bool:
        return now < self.counts[address].last_until

    def _fits(self, address: Address, want: str, now: float) -> bool:
        """Tell whether a host may fit, by what was known of it last."""
        counts = self.counts[address]
        if want == ANY or counts.role is None or now >= counts.role_until:
            return True
        return (counts.role == PRIMARY) is (want == READ_WRITE)
