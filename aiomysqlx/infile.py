"""LOAD DATA LOCAL: the server asks for a file, and gets it or is refused."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

from pymysql import err
from pymysql.constants import CR

from ._impl import frame
from .protocol import again
from .reply import Reply

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


async def answer_infile(channel: Channel, reply: Reply) -> Any:
    """Send the local file that the server asks for, or nothing, and give the answer."""
    protocol = channel._protocol
    assert protocol is not None and reply.infile is not None
    if protocol.lost is not None:  # since it asked: nobody would end another future
        raise again(protocol.lost)
    name, reply.infile = reply.infile.decode(channel.encoding, "replace"), None
    sequence = protocol.reader.sequence
    # The number of packets on the way decides the answer's sequence id.
    protocol.reader.sequence = -1
    reply.future = channel._loop.create_future()
    error: Exception | None = None
    try:
        if channel._local_infile:
            sequence, error = await _send_file(channel, reply, name, sequence)
        else:
            error = LocalInfileRefusedError(
                _CR_LOCAL_INFILE_REJECTED,
                "Received LOAD_LOCAL packet but local_infile option is false:"
                f" the server asked for {name!r}",
            )
        if reply.future.done():  # the connection is lost, or the statement out of time
            reply.future.result()
    except BaseException:
        # Or the server would take what it has for the whole file.
        protocol.fail(err.OperationalError(CR.CR_SERVER_LOST, "LOAD DATA LOCAL was cut off"))
        reply.future.exception()
        raise
    if protocol.lost is None:
        channel._writer.transport.write(frame(b"", sequence))  # the file's end, if only of nothing
        protocol.buffer_updated(0)  # a server may answer what it has not read
    try:
        results = await reply.future
    except err.MySQLError:
        if error is None or protocol.lost is not None:
            raise
    if error is not None:
        raise error
    return results


async def _send_file(
    channel: Channel, reply: Reply, name: str, sequence: int
) -> tuple[int, Exception | None]:
    """Send what is in the file; give the next sequence id and what went wrong with the file."""
    protocol = channel._protocol
    assert protocol is not None
    file = _LocalFile(name)
    try:
        while not reply.future.done():
            chunk = await channel._loop.run_in_executor(None, file.read)
            if not chunk:
                break
            channel._writer.transport.write(frame(chunk, sequence))
            sequence = (sequence + 1) % 256
            await protocol.drain()
    except Exception as cause:
        if file.opened:
            error = _file_error(_ER_ERROR_ON_READ, f"Error reading file {name!r}", cause)
        else:
            error = _file_error(_ER_FILE_NOT_FOUND, f"Can't find file {name!r}", cause)
        return sequence, error
    finally:
        file.close()
    return sequence, None


class _LocalFile:
    """A file that is opened and read in threads, and closed without waiting for one of them.

    A read may take for ever, of a pipe say; whoever is last with the file closes it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: BinaryIO | None = None
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
            return self._file.read(_CHUNK)
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


def _file_error(code: int, message: str, cause: Exception) -> err.OperationalError:
    error = err.OperationalError(code, message)
    error.__cause__ = cause
    return error
