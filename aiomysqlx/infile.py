"""LOAD DATA LOCAL: the server asks for a file, and gets it or is refused."""

from __future__ import annotations

import asyncio
import os
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

from pymysql import err
from pymysql.constants import CR

from ._impl import frame
from .protocol import again
from .reply import Reply, ResultSet

if TYPE_CHECKING:  # the channel answers through this module
    from .channel import Channel

_CR_LOCAL_INFILE_REJECTED = 2068
_ER_FILE_NOT_FOUND = 1017
_ER_ERROR_ON_READ = 1024
_CHUNK = 1 << 16


class LocalInfileRefusedError(err.OperationalError, RuntimeError):
    """The server asked for a local file, and `local_infile` is not set.

    aiomysql raises a `RuntimeError` here.
    """


async def answer_infile(channel: Channel, reply: Reply) -> list[ResultSet] | None:
    """Send the local file that the server asks for, or nothing, and give the answer.

    None if the server goes on to ask for another file. A file that is refused or cannot be opened
    is an empty one to the server, which has no word for it: the error comes with the answer.
    """
    protocol = channel._protocol
    assert protocol is not None
    if protocol.lost is not None:  # since it asked: nobody would end another future
        raise again(protocol.lost)
    sequence = protocol.reader.sequence
    if sequence < 0:  # it has not waited for the file before
        out_of_turn = "Malformed packet: a local file is asked for out of turn"
        malformed = err.OperationalError(CR.CR_MALFORMED_PACKET, out_of_turn)
        protocol.fail(malformed)
        raise again(malformed)
    name = (reply.infile or b"").decode(channel.encoding, "replace")
    reply.infile = None
    # The number of packets on the way decides the answer's sequence id.
    protocol.reader.sequence = -1
    reply.future = channel._loop.create_future()
    try:
        if channel._local_infile:
            sequence = await _send_file(channel, reply, name, sequence)
        elif reply.error is None:
            reply.error = LocalInfileRefusedError(
                _CR_LOCAL_INFILE_REJECTED,
                "Received LOAD_LOCAL packet but local_infile option is false:"
                f" the server asked for {name!r}",
            )
        if reply.future.done():  # the connection is lost, or the statement out of time
            reply.future.result()
        protocol.end_file(reply, sequence)
    except BaseException:
        # Or the server would take what it has for the whole file.
        protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, "LOAD DATA LOCAL was cut off"))
        forget(reply.future)
        raise
    results: list[ResultSet] | None = await reply.future
    return results


def forget(future: asyncio.Future[Any]) -> None:
    """Have nobody wait for *future*, whose error asyncio would log if nobody asked for it."""
    if not future.done() and not future.get_loop().is_closed():
        future.cancel()
    if future.done() and not future.cancelled():
        future.exception()


async def _send_file(channel: Channel, reply: Reply, name: str, sequence: int) -> int:
    """Send what is in the file; give the next sequence id.

    Raises an error once the server has a part of a file that does not come to its end.
    """
    protocol = channel._protocol
    assert protocol is not None
    file = _LocalFile(name)
    sent = False
    try:
        while not reply.future.done():
            chunk = await channel._loop.run_in_executor(None, file.read)
            if not chunk:
                break
            protocol.write(frame(chunk, sequence))
            sequence = (sequence + 1) % 256
            sent = True
            await protocol.drain()
    except Exception as cause:
        if sent:
            raise err.OperationalError(
                _ER_ERROR_ON_READ,
                f"Error reading file {name!r}: the connection is closed, so that a table with"
                " transactions keeps nothing of it",
            ) from cause
        if reply.error is None:
            what = "Error reading file" if file.opened else "Can't find file"
            code = _ER_ERROR_ON_READ if file.opened else _ER_FILE_NOT_FOUND
            reply.error = err.OperationalError(code, f"{what} {name!r}")
            reply.error.__cause__ = cause
    finally:
        file.close()
    return sequence


class _LocalFile:
    """A file that is opened and read in threads, and closed without waiting for one of them.

    A read may take for ever, of a pipe say; whoever is last with the file closes it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: BinaryIO | None = None
        self._size = 0  # when it was opened
        self._lock = Lock()  # never held while the file is waited for
        self._reading = False
        self._ended = False

    @property
    def opened(self) -> bool:
        """Whether there is such a file."""
        return self._file is not None

    def read(self) -> bytes:
        """Give the next bytes, none at the end."""
        with self._lock:
            self._reading = True
        try:
            if self._file is None:
                self._file = open(self._name, "rb")  # noqa: SIM115 - see close()
                self._size = os.fstat(self._file.fileno()).st_size
            data = self._file.read(_CHUNK)
            if not data and os.fstat(self._file.fileno()).st_size < self._size:
                raise OSError("the file was cut off while it was read")
            return data
        finally:
            with self._lock:
                self._reading = False
                self._close_if_ended()

    def close(self) -> None:
        """Close the file, or have the thread that reads it do so."""
        with self._lock:
            self._ended = True
            self._close_if_ended()

    def _close_if_ended(self) -> None:
        if self._ended and not self._reading and self._file is not None:
            self._file.close()
