"""LOAD DATA LOCAL: the server asks for a file, and gets it or is refused.

A server can ask for any file, in answer to anything. It gets only what the statement names, if the
user allows it, and if that is a regular file.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import BinaryIO

from pymysql import err
from pymysql.constants import COMMAND, CR

from ..runtime.awaitable import copy_error, forget
from ..runtime.waiter import Waiter
from ._impl import frame
from .codes import NO_BACKSLASH_ESCAPES
from .filenames import named_files
from .options import LocalInfile
from .outcome import CHARSET
from .protocol import Protocol
from .reply import Reply, ResultSet

_CR_LOCAL_INFILE_REJECTED = 2068
_ER_FILE_NOT_FOUND = 1017
_ER_ERROR_ON_READ = 1024
_CHUNK = 1 << 16
_COM_QUERY = bytes((COMMAND.COM_QUERY,))
_HEADER = 4  # of a packet
# A file of a disk that hangs keeps its thread. The event loop's own threads resolve host names.
_MOST_READERS = 8
# None of these matters to a regular file without links in its path. Whatever else has come in its
# place meanwhile is not followed, and holds nobody up.
_FLAGS = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _flag, 0)


class LocalInfileRefusedError(err.OperationalError, RuntimeError):
    """The server asked for a local file that it does not get.

    aiomysql raises a `RuntimeError` here.
    """


@cache
def _readers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_READERS, "aiomysqlx-infile")


if hasattr(os, "register_at_fork"):  # a child has none of the threads
    os.register_at_fork(after_in_child=_readers.cache_clear)


async def answer_infiles(
    protocol: Protocol, reply: Reply, allows: LocalInfile, several: bool
) -> list[ResultSet]:
    """Answer the server's questions for local files, and return the results of *reply*.

    *allows* tells which are sent, *several* whether it may be of several statements.
    """
    names = iter(_named(protocol, reply, several))
    results = None
    while results is None:
        results = await _answer_infile(protocol, reply, allows, next(names, None))
    return results


def _named(protocol: Protocol, reply: Reply, several: bool) -> list[str]:
    """Return the names of the files that the statement of *reply* may be asked for."""
    sql = reply.packet[_HEADER:]
    # What the server has said since it had the statement does not tell how it reads that.
    if sql[:1] != _COM_QUERY or any(name.startswith(CHARSET) for name in reply.changes or ()):
        return []
    backslashes = None if protocol.unsure else not protocol.syntax[1] & NO_BACKSLASH_ESCAPES
    return named_files(sql[1:], protocol.encoding, backslashes=backslashes, several=several)


async def _answer_infile(
    protocol: Protocol, reply: Reply, allows: LocalInfile, named: str | None
) -> list[ResultSet] | None:
    """Send the local file that the server asks for, or nothing, and give the answer.

    None if the server goes on to ask for another file. A file that is refused or cannot be opened
    is an empty one to the server, which has no word for it: the error comes with the answer.
    """
    if protocol.lost is not None:  # since it asked: nobody would end another future
        raise copy_error(protocol.lost)
    sequence = protocol.reader.sequence
    if sequence < 0:  # it has not waited for the file before
        out_of_turn = "Malformed packet: a local file is asked for out of turn"
        malformed = err.OperationalError(CR.CR_MALFORMED_PACKET, out_of_turn)
        protocol.fail(malformed)
        raise copy_error(malformed)
    asked = reply.infile or b""
    reply.infile = None
    # The number of packets on the way decides the answer's sequence id.
    protocol.reader.sequence = -1
    reply.future = Waiter(asyncio.get_running_loop())
    try:
        try:
            path = await _allowed(protocol.encoding, asked, allows, named)
        except Exception as error:  # of the user's function, too
            reply.error = reply.error or error
        else:
            sequence = await _send_file(protocol, reply, path, sequence)
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


async def _allowed(encoding: str, asked: bytes, allows: LocalInfile, named: str | None) -> str:
    """Return the path of the file to send; raises an error if it is to be none."""
    shown = repr(asked.decode(encoding, "replace"))
    if not allows:
        raise _refused(
            "Received LOAD_LOCAL packet but local_infile option is false:"
            f" the server asked for {shown}; local_infile= allows a folder, or all that are named"
        )
    if named is None or asked not in _spellings(named, encoding):
        raise _refused(
            f"the server asked for {shown}, and the statement does not name it:"
            " what is sent is the file that LOAD DATA LOCAL INFILE names"
        )
    if callable(allows):
        decision = allows(named)
        if inspect.isawaitable(decision):
            decision = await decision
        if decision is not True:
            raise _refused(
                f"the server asked for {shown}, which local_infile does not allow:"
                f" it gave {decision!r}, not True"
            )
    if "\0" in named:
        return named  # it cannot be opened
    run = asyncio.get_running_loop().run_in_executor
    path: str = await run(_readers(), os.path.realpath, named)
    if callable(allows) or allows is True:
        return path
    folder: str = await run(_readers(), os.path.realpath, allows)
    if os.path.commonpath((path, folder)) != folder:
        raise _refused(
            f"the server asked for {shown}, which is not in the folder that local_infile allows,"
            f" {os.fspath(allows)!r}"
        )
    return path


def _spellings(name: str, encoding: str) -> Iterator[bytes]:
    """Return what a server may make of a file's name, by its `character_set_filesystem`."""
    for codec in (encoding, "utf8"):
        try:
            spelt = name.encode(codec)
        except UnicodeEncodeError:
            continue
        yield spelt
        yield spelt.partition(b"\0")[0]  # to C, a NUL is the end


def _refused(why: str) -> LocalInfileRefusedError:
    return LocalInfileRefusedError(_CR_LOCAL_INFILE_REJECTED, why)


async def _send_file(protocol: Protocol, reply: Reply, name: str, sequence: int) -> int:
    """Send what is in the file; give the next sequence id.

    Raises an error once the server has a part of a file that does not come to its end.
    """
    file = _LocalFile(name)
    run = asyncio.get_running_loop().run_in_executor
    sent = False
    try:
        while not reply.future.done():
            chunk = await run(_readers(), file.read)
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
            reply.error = err.OperationalError(code, f"{what} {name!r}: {_reason(cause)}")
            reply.error.__cause__ = cause
    finally:
        file.close()
    return sequence


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


class _LocalFile:
    """A file that is opened and read in threads, and closed without waiting for one of them.

    A read may take for ever, of a disk that hangs; whoever is last with the file closes it.
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
        """Return the next bytes, none at the end."""
        with self._lock:
            self._reading = True
        try:
            if self._file is None:
                self._file, self._size = _open(self._name)
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


def _open(name: str) -> tuple[BinaryIO, int]:
    """Open a regular file and give its size: a pipe may not come, and a device not end."""
    _check_regular(os.lstat(name))  # before: to open a device may do something
    file = open(os.open(name, _FLAGS), "rb")  # noqa: SIM115 - see _LocalFile.close()
    try:
        status = os.fstat(file.fileno())
        _check_regular(status)
    except BaseException:
        file.close()
        raise
    return file, status.st_size


def _check_regular(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is not a regular file")
