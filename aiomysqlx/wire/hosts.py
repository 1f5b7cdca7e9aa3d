"""The hosts that a session may be opened on: which is tried first, and what is known of each."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pymysql.constants import CR

from ..runtime.words import printable, type_name
from .addresses import ANY, PREFER_STANDBY, RANDOM, READ_ONLY, READ_WRITE, Address, split_hosts

if TYPE_CHECKING:
    from .options import ConnectOptions

PRIMARY = "primary"
STANDBY = "standby"
_NOT_TOLD = "it does not tell whether it is read-only"
_MISFITS = {
    (READ_WRITE, STANDBY): "it is read-only",
    (READ_ONLY, PRIMARY): "it is not read-only",
}

# How long a host that failed is tried last, the first time and at most; half of it is chance, so
# that not all clients come back together.
_FIRST_SECONDS = 1.0
_MOST_SECONDS = 60.0
# How long whoever tries it again has for it; until then it is last for the others.
_TRIAL_SECONDS = 5.0
# How long a role is taken for a host's, which nobody tells of when it changes.
_ROLE_SECONDS = 30.0


def why(error: BaseException) -> str:
    """Return why nobody got into a host, in words without the host."""
    if len(error.args) != 2:  # it is of a function that gives the password
        return printable(error) or type_name(type(error))
    cause = error.__cause__
    code, message = error.args[0], printable(error.args[-1])
    if code != CR.CR_CONN_HOST_ERROR:
        return f"{message} ({code})"
    return reason(cause) if isinstance(cause, (OSError, asyncio.TimeoutError)) else message


def reason(error: Exception) -> str:
    """Return what an operating system's *error* says, with its number if it has one."""
    number = getattr(error, "errno", None)
    if number is None:
        closed = isinstance(error, ConnectionError)  # asyncio's own has no text
        return printable(error) or ("the server closed the connection" if closed else "timed out")
    # asyncio's own text has the address in place of it; that of a resolver is no errno's.
    reason = os.strerror(number) if number > 0 else printable(getattr(error, "strerror", ""))
    return f"[Errno {number}] {reason}"


def misfit(wanted: str, role: str | None) -> str | None:
    """Return why a server of that role is not as it is *wanted*, if it is not."""
    if wanted == ANY:
        return None
    return _NOT_TOLD if role is None else _MISFITS.get((wanted, role))


class HostState:
    """What is known of one host, and what was counted there."""

    def __init__(self) -> None:
        self.opened = 0
        self.failed: int = 0
        self.passed_over = 0
        # The latest failure, in words, since it has let a session in.
        self.error: str | None = None
        self.role: str | None = None
        self._role_until = 0.0
        # Until when it is tried last, and for how long after the next failure.
        self._last_until = 0.0
        self._seconds = _FIRST_SECONDS
        self._on_trial = False

    @property
    def is_last(self) -> bool:
        """Whether it is tried after the others, as it failed lately."""
        return time.monotonic() < self._last_until

    def is_known_as(self, role: str) -> bool:
        """Tell whether that was its role lately."""
        return self.role == role and time.monotonic() < self._role_until

    def try_again(self) -> bool:
        """Tell whether it is tried last; if it was for long enough, whoever asks first tries it."""
        if self.error is None or self._on_trial:
            return self.is_last
        if self.is_last:
            return True
        self._on_trial, self._last_until = True, time.monotonic() + _TRIAL_SECONDS
        return False

    def note_failure(self, error: BaseException) -> None:
        """Take note that it lets no session in."""
        self.failed += 1
        self.error = why(error)
        self.role = None
        if self._on_trial or not self.is_last:  # else it has failed others at the same time
            self._on_trial = False
            self._last_until = time.monotonic() + self._seconds * (0.5 + random.random() / 2)
            self._seconds = min(2 * self._seconds, _MOST_SECONDS)

    def note_answer(self, role: str | None) -> None:
        """Take note that it lets sessions in, and of its role."""
        self.error, self.role = None, role
        self._role_until = time.monotonic() + _ROLE_SECONDS
        self._last_until, self._seconds, self._on_trial = 0.0, _FIRST_SECONDS, False


class Hosts:
    """The hosts of an engine, or of one connection.

    A host that failed is tried last for a growing time. When that is over, one session tries it in
    its place, and the others do so once it has answered.
    """

    def __init__(
        self, addresses: Iterable[Address], target: str = ANY, shuffled: bool = False
    ) -> None:
        self.states: dict[Address, HostState] = {address: HostState() for address in addresses}
        self.addresses: tuple[Address, ...] = tuple(self.states)
        self.target = target
        self._shuffled = shuffled

    @classmethod
    def of(cls, options: ConnectOptions) -> Hosts:
        """Return those that the options of a connection name."""
        port, path = options.port, options.unix_socket or None
        return cls(
            [Address(name, own or port, path) for name, own in split_hosts(options.host)],
            options.target_session_attrs,
            options.load_balance_hosts == RANDOM,
        )

    @property
    def key(self) -> object:
        """What is equal for the same hosts, tried for the same purpose."""
        return self.addresses, self.target, self._shuffled

    def asks_role(self, want: str) -> bool:
        """Whether a new session is asked what its server's role is."""
        return want != ANY or len(self.addresses) > 1

    def order(self, want: str) -> list[tuple[Address, str]]:
        """Return the addresses to try, and what each has to be then.

        Those are last that failed lately, and before them those whose role did not fit lately. For
        a standby, if there is one, they come twice.
        """
        order = list(self.addresses)
        if self._shuffled:
            random.shuffle(order)
        last = {each for each in order if self.states[each].try_again()}
        unwanted = STANDBY if want == READ_WRITE else PRIMARY
        misfits = {each for each in order if self.states[each].is_known_as(unwanted)}
        if want == ANY:
            misfits.clear()
        order.sort(key=lambda each: (each in last, each in misfits))
        if want != PREFER_STANDBY:
            return [(each, want) for each in order]
        standbys = [(each, READ_ONLY) for each in order if each not in last | misfits]
        return standbys + [(each, ANY) for each in order]

    def stats(self, connections: Mapping[Address, int]) -> dict[str, dict[str, Any]]:
        """Return what is known of each host, with the *connections* that there are to it."""
        return {
            str(address): {
                "connections": connections.get(address, 0),
                "opened": state.opened,
                "failed": state.failed,
                "passed_over": state.passed_over,
                "role": state.role,
                "error": state.error,
            }
            for address, state in self.states.items()
        }

    def has_failed(self, address: Address) -> bool:
        """Tell whether a host has let no session in since it failed the last time."""
        return self.states[address].error is not None

    def has_standby_beside(self, address: Address) -> bool:
        """Tell whether a host is a primary, by what is known, and another one may be a standby."""
        if self.states[address].role != PRIMARY:
            return False
        return any(state.role != PRIMARY for state in self.states.values())

    def failed(self, address: Address, error: BaseException) -> None:
        """Take note that a host lets no session in: it is tried last for a time."""
        self.states[address].note_failure(error)

    def answered(self, address: Address, role: str | None) -> None:
        """Take note that a session was opened on a host of that role, if it tells."""
        self.states[address].opened += 1
        self.states[address].note_answer(role)

    def passed_over(self, address: Address, role: str | None) -> None:
        """Take note that a host would let a session in, whose role is not the one wanted."""
        self.states[address].passed_over += 1
        self.states[address].note_answer(role)
