"""From a host's name to a socket: its addresses, tried as RFC 8305 says ("happy eyeballs").

Both event loops go this way: uvloop has none of its own. What counts is not that an address takes
the connection, which the kernel does for a server that hangs, but that the server says something,
as it does first in this protocol.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from itertools import zip_longest
from typing import Any

from aiomysql import connection as opened
from aiomysql.connection import _StreamReader

from ..runtime.awaitable import task_of

PATIENCE = 0.25
"""Seconds that an address has to connect, and then to say something, before the next is tried."""


Answer = tuple[Any, Any, str]
"""A reader, a writer, and the address that they lead to."""


class _Listener(_StreamReader):  # type: ignore[misc]
    """A reader that tells when something has come."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self.heard: asyncio.Future[None] = loop.create_future()

    def feed_data(self, data: bytes) -> None:
        super().feed_data(data)
        self._hear()

    def feed_eof(self) -> None:
        super().feed_eof()
        self._hear()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self._hear()

    def _hear(self) -> None:
        if not self.heard.done():
            self.heard.set_result(None)


class _Attempt:
    """One address that is tried."""

    def __init__(self, loop: asyncio.AbstractEventLoop, address: str, port: int) -> None:
        self._loop = loop
        self._since = loop.time()
        self.task = task_of(loop, self._connect(address, port))

    @property
    def patience(self) -> float:
        """How many seconds are left before the next address is tried besides."""
        return self._since + PATIENCE - self._loop.time()

    async def _connect(self, address: str, port: int) -> Answer:
        reader = _Listener(self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self._loop.create_connection(lambda: protocol, address, port)
        writer = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        self._since = self._loop.time()
        try:
            await reader.heard
        except BaseException:
            transport.abort()
            raise
        return reader, writer, address


async def addresses_of(host: str, port: int) -> list[str]:
    """Return the addresses of a name, asked for anew; what is an address stands for itself."""
    if not host or is_address(host):
        return [host]
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not infos:
        raise OSError(f"the name {host!r} has no address")
    found = list(dict.fromkeys((family, str(place[0])) for family, _, _, _, place in infos))
    first = [address for family, address in found if family == found[0][0]]
    rest = [address for family, address in found if family != found[0][0]]
    mixed = zip_longest(first, rest)  # so that a whole family that leads nowhere costs little
    return [address for pair in mixed for address in pair if address is not None]


def is_address(host: str) -> bool:
    """Tell whether *host* is an address of IPv4 or IPv6, and no name."""
    address = host.partition("%")[0]
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, address)
            return True
    return False


async def dial(addresses: list[str], port: int) -> Answer:
    """Return the first address that answers; raises `OSError`.

    Where none does, and one has closed the connection, that is what is returned.
    """
    if len(addresses) == 1:
        reader, writer = await opened._open_connection(addresses[0], port)
        return reader, writer, addresses[0]
    loop = asyncio.get_running_loop()
    waiting = iter(addresses)
    latest: _Attempt | None = None
    tasks: set[asyncio.Task[Answer]] = set()
    ended: list[asyncio.Task[Answer]] = []
    chosen = None
    try:
        while chosen is None:
            if latest is None or latest.patience <= 0:
                address = next(waiting, None)
                latest = None if address is None else _Attempt(loop, address, port)
                if latest is not None:
                    tasks.add(latest.task)
            if not tasks:
                break
            patience = None if latest is None else max(0, latest.patience)
            done, tasks = await asyncio.wait(
                tasks, timeout=patience, return_when=asyncio.FIRST_COMPLETED
            )
            ended += done
            chosen = next((task for task in done if _says_something(task)), None)
            if latest is not None and latest.task in done:
                latest = None
        if chosen is None:
            chosen = next((task for task in ended if task.exception() is None), None)
        if chosen is None:
            raise _none_answers([task.exception() for task in ended])
        return chosen.result()
    finally:
        for task in (*tasks, *ended):
            if task is not chosen:
                task.cancel()
                task.add_done_callback(_leave)
        del latest, chosen, ended, tasks  # or they would hold an error whose traceback holds this


def _says_something(task: asyncio.Task[Answer]) -> bool:
    return task.exception() is None and bool(task.result()[0]._buffer)


def _leave(task: asyncio.Task[Answer]) -> None:
    """Close the connection of an address that is not wanted any more, if it has led to one."""
    if not task.cancelled() and task.exception() is None:
        task.result()[1].transport.abort()


def _none_answers(errors: list[BaseException | None]) -> BaseException:
    """Return the error of all addresses: the first, unless there are several kinds."""
    error = errors[0]
    assert error is not None
    kinds = {getattr(each, "errno", None): each for each in errors}
    if len(kinds) == 1 or not all(isinstance(each, OSError) for each in errors):
        return error.with_traceback(None)
    return OSError("; ".join(str(each) for each in kinds.values()))
