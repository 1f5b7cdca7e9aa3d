"""A session on one of several hosts: they are tried in turn, until one is as it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from pymysql import err
from pymysql.constants import CR

from ..exc import SERVER_ERRORS, ArgumentError, NoHostError
from ..runtime.awaitable import in_time
from .addresses import ANY, PREFER_STANDBY, READ_ONLY, READ_WRITE, Address
from .hosts import misfit, why

if TYPE_CHECKING:
    from .session import Session

# What a host has, while there are others to try, without a limit; and at most where it has failed
# before and one of the others has not.
_SECONDS = 10.0
_SECONDS_AGAIN = 1.0

_LACKING = {
    ANY: "no host lets a session in",
    READ_WRITE: "no host is read-write",
    READ_ONLY: "no host is read-only",
    PREFER_STANDBY: "no host lets a session in",
}


class Choice:
    """The hosts that are tried for one session, and why they are not taken.

    *come_in* has the session log in at its address, and learn its role.
    """

    def __init__(
        self, session: Session, come_in: Callable[[Session], Coroutine[Any, Any, None]]
    ) -> None:
        self._session = session
        self._come_in = come_in
        seconds = session.options.connect_timeout
        self._end = None if seconds is None else session.loop.time() + seconds
        self._trying: Address | None = None
        self._errors: dict[Address, err.MySQLError] = {}
        self._misfits: dict[Address, str] = {}

    async def make(self) -> None:
        """Open the session on the best host; raises `NoHostError` if there is none."""
        tries = self._session.hosts.order(self._session.want)
        for number, (address, wanted) in enumerate(tries, 1):
            if address in self._errors and address not in self._misfits:
                continue
            others = {each for each, _ in tries[number:]} - self._errors.keys() - {address}
            if await self._is_taken(address, wanted, others):
                return
        raise self._failure()

    async def _is_taken(self, address: Address, wanted: str, others: set[Address]) -> bool:
        """Tell whether the session is open on a host, and that is as it is *wanted*.

        Each address of its name may lead to another server.
        """
        session = self._session
        login, hosts = session.login, session.hosts
        login.go_to(address)
        self._trying = address
        seconds = self._share(address, others)
        end = None if seconds is None else session.loop.time() + seconds
        while True:
            rest = None if end is None else max(0.0, end - session.loop.time())
            try:
                await in_time(self._come_in(session), rest, partial(_late, seconds))
            except SERVER_ERRORS as error:
                if login.given_up or isinstance(error, ArgumentError):
                    raise
                login.abort()
                session.abort()
                self._errors[address] = error
                hosts.failed(address, error)
            else:
                why_not = misfit(wanted, session.role)
                is_last = not others and not login.has_more and session.want == PREFER_STANDBY
                if why_not is None or is_last:
                    return True
                self._misfits[address] = why_not
                hosts.passed_over(address, session.role)
                session.close()
                login.given_up = False
            session.start_over()
            if not login.has_more:
                return False
            login.leave_out()

    def _share(self, address: Address, others: set[Address]) -> float | None:
        """Return the seconds that a host has, so that the *others* still have theirs."""
        if not others:
            return None  # the rest of the time, which is limited for all of them
        if self._end is None:
            share = _SECONDS
        else:
            share = max(0.0, self._end - self._session.loop.time()) / (len(others) + 1)
        has_failed = self._session.hosts.has_failed
        spared = has_failed(address) and not all(map(has_failed, others))
        return min(share, _SECONDS_AGAIN) if spared else share

    def late(self) -> err.OperationalError:
        """Return the error for all hosts, once the time for all of them is over."""
        seconds = self._session.options.connect_timeout
        error = _late(seconds)
        if self._trying is None:  # what gives the password has taken it all
            return error
        self._errors.setdefault(self._trying, error)
        self._session.hosts.failed(self._trying, error)
        return self._failure()

    def _failure(self) -> NoHostError:
        session = self._session
        reasons = [
            f"{address}: {reason}"
            for address in session.hosts.addresses
            for reason in self._reasons(address)
        ]
        codes = tuple(error.args[0] for error in self._errors.values())
        only = set(codes) if not self._misfits else ()
        code = codes[0] if len(only) == 1 else CR.CR_CONN_HOST_ERROR
        error = NoHostError(code, f"{_LACKING[session.want]}: {'; '.join(reasons)}")
        error.want, error.codes, error.some_misfit = session.want, codes, bool(self._misfits)
        return error

    def _reasons(self, address: Address) -> Iterator[str]:
        if address in self._misfits:
            yield self._misfits[address]
        if address in self._errors:
            yield why(self._errors[address])


def _late(seconds: float | None) -> err.OperationalError:
    return err.OperationalError(CR.CR_CONN_HOST_ERROR, f"timed out after {seconds:.3g} seconds")
