"""Filling in the facts, within a time limit: whatever does not come in time is left out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from pymysql import err
from pymysql.constants import CLIENT

from ..engine import Engine, create_engine
from ..exc import Error
from ..settings import Settings as EngineSettings
from ..wire.addresses import PREFER_STANDBY, Address
from ..wire.greeting import TLS
from ..wire.hosts import Hosts, why
from ..wire.opening import opened_session
from ..wire.options import ConnectOptions
from ..wire.session import Session as Connected
from .advice import advice
from .facts import Facts, Host, PoolTest, Settings, Timings
from .local import this_side
from .masking import Mask
from .server import Interview
from .timing import look_up, milliseconds, released, repeated, tried_pool

T = TypeVar("T")

FAILURES = (err.MySQLError, Error, OSError, asyncio.TimeoutError)
"""What may go wrong with a connection."""

# The most connections of the pool's test, and how often the rest is done.
_CONNECTIONS = 4
_TIMES = 200
_MOST_HOSTS = 10
# How long what is out of time has to end.
_CANCEL_SECONDS = 0.1
# The parts of the time that each measurement may take.
_PART = 0.08
# What a diagnosis does without: what is told of it, and what the server warns of.
_QUIET = {"warnings": False, "telemetry": False, "echo": False, "slow_query": None}


class _OutOfTimeError(Exception):
    """The time for the diagnosis is over."""


class Gathering:
    """The facts so far, and the time that is left for more."""

    def __init__(
        self, given: Mapping[str, Any], settings: EngineSettings, seconds: float, mask: Mask
    ) -> None:
        self._given = given
        self._options = settings.connect
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._mask = mask
        self.facts: Facts = Facts(this_side(), asked_for(settings))

    async def run(self) -> Facts:
        """Return all that can be found out."""
        try:
            await self._connect()
        except _OutOfTimeError:
            text = f"no connection within {self._seconds:g} seconds"
            self._add(error=text, advice=advice(asyncio.TimeoutError()))
        except FAILURES as error:
            self._add(error=self._mask(error), advice=advice(error))
        return self.facts

    def _add(self, **found: Any) -> None:
        self.facts = replace(self.facts, **found)

    async def _in_time(self, work: Awaitable[T]) -> T:
        """Return what is awaited; raises `_OutOfTimeError`."""
        task = asyncio.ensure_future(work)
        done, _ = await asyncio.wait([task], timeout=max(0.0, self._end - time.monotonic()))
        if done:
            return task.result()
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=_CANCEL_SECONDS)
        if ended and not task.cancelled():
            task.exception()  # or asyncio would log it
        raise _OutOfTimeError

    async def _part(self, name: str, work: Awaitable[T]) -> T | None:
        """Return what is awaited, or note that the time was over."""
        try:
            return await self._in_time(work)
        except _OutOfTimeError:
            self._add(out_of_time=(*self.facts.out_of_time, name))
            return None

    async def _connect(self) -> None:
        options = self._options.but(connect_timeout=self._login_seconds(), **_QUIET)
        hosts = Hosts.of(options)
        lookup = None
        if not hosts.addresses[0].unix_socket:
            lookup = await self._in_time(_looked_up(hosts))
        started = time.perf_counter()
        session = await self._in_time(opened_session(options, hosts))
        took = milliseconds(time.perf_counter() - started)
        self._add(timings=Timings(lookup, took, None, None, None, None))
        try:
            await self._ask(session, options)
        finally:
            session.close()
        if len(hosts.addresses) > 1:
            await self._part("hosts", self._visit(options, hosts))
        await self._time_pool()

    def _login_seconds(self) -> float:
        return min(self._options.connect_timeout or self._seconds, self._seconds)

    async def _ask(self, session: Connected, options: ConnectOptions) -> None:
        interview = Interview(session)
        await self._part("server", self._fill_in(interview, options))
        self._add(not_visible=tuple(interview.not_visible))
        if session.closed:
            raise _lost(session)
        ping = await self._part("ping", repeated(session.ping, _TIMES, self._seconds * _PART))
        self._time(ping=ping)

    async def _fill_in(self, interview: Interview, options: ConnectOptions) -> None:
        await interview.begin()
        self._add(limits=interview.limits(), route=await interview.route())
        self._add(server=await interview.server())
        self._add(security=await interview.security(bool(options.password)))
        self._add(session=await interview.session_facts())
        self._add(capabilities=await interview.capabilities(await _pipelines(interview, options)))

    def _time(self, **found: Any) -> None:
        assert self.facts.timings is not None
        self._add(timings=replace(self.facts.timings, **found))

    async def _visit(self, options: ConnectOptions, hosts: Hosts) -> None:
        """Ask each host for its role."""
        seconds = min(options.connect_timeout or self._seconds, self._seconds / 3)
        one = options.but(connect_timeout=seconds)
        visits = [self._host(one, address) for address in hosts.addresses[:_MOST_HOSTS]]
        found = await asyncio.gather(*visits)
        assert self.facts.route is not None
        self._add(route=replace(self.facts.route, hosts=tuple(found)))

    async def _host(self, options: ConnectOptions, address: Address) -> Host:
        try:
            session = await opened_session(options, Hosts((address,)), PREFER_STANDBY)
        except FAILURES as error:
            reason = why(error) if isinstance(error, err.MySQLError) else error
            return Host(str(address), None, self._mask(reason))
        session.close()
        return Host(str(address), session.role, None)

    # -- the pool --------------------------------------------------------------------------------

    async def _time_pool(self) -> None:
        most = min(self.facts.settings.maxsize or _CONNECTIONS, _CONNECTIONS)
        try:
            engine = await self._part("pool", self._new_engine(most))
            if engine is None:
                return
            try:
                await self._measure(engine)
            finally:
                engine.terminate()
                await engine.wait_closed()
        except FAILURES as error:
            self._add(pool_test=PoolTest(0, most, 0, 0.0, 0, 0, 0.0, self._mask(error)))

    async def _new_engine(self, most: int) -> Engine:
        own = {
            "minsize": 1,
            "maxsize": most,
            "connect_timeout": self._login_seconds(),
            "held_warning": None,
            **_QUIET,
        }
        return await create_engine(**{**self._given, **own})

    async def _measure(self, engine: Engine) -> None:
        seconds = self._seconds * _PART

        async def borrow() -> None:
            await engine.release(await engine.acquire())

        async with engine.acquire() as conn:
            work = repeated(lambda: conn.scalar("SELECT 1"), _TIMES, seconds)
            self._time(select=await self._part("select", work))
        self._time(acquire=await self._part("acquire", repeated(borrow, _TIMES, seconds)))
        self._time(release=await self._part("release", released(engine, _TIMES // 4, seconds)))
        test: PoolTest | None = await self._part("pool", tried_pool(engine, 2 * seconds))
        if test is not None and test.error is not None:
            test = replace(test, error=self._mask(test.error))
        self._add(pool_test=test)


async def _looked_up(hosts: Hosts) -> float | None:
    """Return how long the slowest of the hosts' names takes, in milliseconds."""
    took = await asyncio.gather(*(look_up(each.host, each.port) for each in hosts.addresses))
    return max((each for each in took if each is not None), default=None)


async def _pipelines(interview: Interview, options: ConnectOptions) -> bool | None:
    """Return whether commands may go out before the answers to others, as a session tries that."""
    session = interview.session
    try:
        other = await opened_session(
            options.but(pipelining=True), Hosts((session.address,)), session.want
        )
    except err.MySQLError as error:
        return False if "pipelining" in str(error) else None
    runs_ahead: bool | None = other.protocol.runs_ahead
    other.close()
    return runs_ahead


def _lost(session: Connected) -> BaseException:
    return session.loss or OSError("the connection was closed")


def asked_for(settings: EngineSettings) -> Settings:
    """Return what an engine's settings are, as far as they are judged."""
    options = settings.connect
    tls = options.ssl
    assert tls is None or isinstance(tls, TLS)
    return Settings(
        hosts=len(Hosts.of(options).addresses),
        target_session_attrs=options.target_session_attrs,
        minsize=settings.minsize,
        maxsize=settings.maxsize,
        pool_recycle=settings.recycle,
        max_idle=settings.max_idle,
        max_lifetime=settings.max_lifetime,
        pool_pre_ping=settings.pre_ping is not None,
        acquire_timeout=settings.acquire_timeout,
        statement_timeout=settings.statement_timeout,
        connect_timeout=options.connect_timeout,
        autocommit=options.autocommit,
        local_infile=_files(options.local_infile),
        multi_statements=bool(options.client_flag & CLIENT.MULTI_STATEMENTS),
        track_gtids=options.track_gtids,
        tls="off" if tls is None else "required" if tls.required else "preferred",
    )


def _files(local_infile: object) -> str:
    return "off" if not local_infile else "all" if local_infile is True else "some"
