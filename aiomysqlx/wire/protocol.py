"""The protocol: what goes out over a connection and what comes in, in order.

Every command written to a connection adds a `Reply` to its `Protocol`; the packets that come in
belong to the oldest one. That order is all that ties an answer to its question, so a stream that
cannot be trusted ends the connection, and a reply nobody waits for is still read to its end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, cast

from pymysql import err
from pymysql.constants import COMMAND, CR

from ..runtime.awaitable import copy_error
from ..runtime.timers import Timers
from ..runtime.waiter import Waiter
from ._impl import Reader, frame
from .columns import Describe
from .command import Command
from .outcome import MOST_LOOKED_AT, leaves_nothing, parse_refusal
from .packets import MalformedPacket, PacketTooLarge
from .preparing import Prepare, Preparing
from .reply import Reply
from .session_state import SessionState

# How long the parsing of an answer may go on before the event loop gets its turn.
SLICE_SECONDS = 0.004
_LONG_READ = 1 << 12
_MOST_IN_PACKET = 0xFFFFFF
_CODE = 4  # where a packet has its command's
_PREPARE: int = COMMAND.COM_STMT_PREPARE
_QUERY: int = COMMAND.COM_QUERY
# An error's message has 512 bytes at most.
_MOST_UNASKED = 1 << 12
# Nor does a login have more in one packet, or in the definitions of one result.
_MOST_AT_LOGIN = 1 << 16


def wire_packets(packet: bytes) -> int:
    """Return how many packets of the wire a command's *packet* consists of."""
    return len(packet) // (_MOST_IN_PACKET + 4) + 1


class Wire(SessionState):
    """A connection's receiving end: bytes in, replies out, in the order of their commands."""

    wrote: bool

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        deprecate_eof: bool,
        status: int,
        encoding: str = "utf8",
        max_packet: int = 1 << 30,
        mode: int = 0,
        mariadb: bool = False,
    ) -> None:
        super().__init__(status, encoding, mode)
        self.reader: Reader = Reader(max_packet)
        self.most_rows: int | None = None  # of each answer
        self._max_packet = max_packet
        self.replies: list[Reply] = []
        # Whether a command goes out before the one before it is answered; `None`: nobody has tried
        # whether it comes to no harm, which MySQL Router and ProxySQL would do to it.
        self.runs_ahead: bool | None = None
        # The packets that wait for their turn.
        self._later: list[bytes] = []
        # What waits for those that are complete, and is to be woken yet.
        self._settled: list[Waiter] = []
        self.lost: BaseException | None = None
        # The beginnings of the commands that were under way then, but for those that begin a block:
        # how many of the replies are to those.
        self.unanswered: tuple[bytes, ...] = ()
        self.led = 0
        self.closed_here = False  # by this side, which had not lost it
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._debug = loop.get_debug()
        self.timers: Timers = Timers(loop)
        self._deprecate_eof = deprecate_eof
        self._mariadb = mariadb
        self._transport: asyncio.Transport | None = None
        self._writable: asyncio.Future[None] | None = None
        self._idle: asyncio.Future[None] | None = None
        self._paused = False
        self._spent = 0.0
        # Since when nothing is read, because the rows of a stream wait; 0: it is read.
        self._stalled_since = 0.0
        self.longest_stall: float = 0.0
        # How much of what nobody waits for may come yet, and what is called if it is more.
        self._spare = 0
        self._on_excess: Callable[[], object] | None = None
        # What a local file was sent for, while nothing has come since.
        self._after_file: Reply | None = None

    @property
    def is_ending(self) -> bool:
        """Whether the connection is about to be lost: what is under way will be told so."""
        return self._transport is not None and self._transport.is_closing()

    def attach(self, transport: asyncio.Transport) -> None:
        """Take over *transport*, whose peer has nothing to say until it is asked."""
        self._transport = transport
        transport.set_protocol(cast(asyncio.BaseProtocol, self))

    def send(self, command: Command, describe: Describe, encoding: str) -> Reply:
        """Write the packet of a command and return its reply."""
        return self._send(command, describe, encoding)

    def _send(self, command: Command, describe: Describe, encoding: str) -> Reply:
        assert self._transport is not None
        packet = command.packet
        # A command of 16 MiB and more is several packets, and the answer counts on from the last.
        sequence = 1 if len(packet) <= _MOST_IN_PACKET else wire_packets(packet) % 256
        future = Waiter(self._loop)
        reply: Reply
        if packet[_CODE] == _PREPARE:
            prepare = cast(Prepare, command)
            reply = Preparing(prepare, sequence, future, describe, encoding, self.most_rows)
        else:
            reply = Reply(command, sequence, future, describe, encoding, self.most_rows)
            if self.statements is not None and packet[_CODE] == _QUERY:
                self.statements.see(packet)
        if not self.replies:
            self.reader.sequence = sequence
        elif not self.runs_ahead:
            self.replies.append(reply)
            self._later.append(packet)
            return reply
        self.replies.append(reply)
        try:
            self._transport.write(packet)
        except Exception as error:  # RuntimeError: uvloop's way to say that the peer is gone
            self.fail(_lost(error), error)
        return reply

    def run_ahead(self) -> None:
        """Have each command go out at once from here on, and those that wait in one piece."""
        self.runs_ahead = True
        later, self._later = self._later, []
        self.write(b"".join(later))

    def begin_login(self) -> None:
        """Take small answers only: the questions are ours, each has one result and one row."""
        self.most_rows = 1
        self.reader.limit = min(_MOST_AT_LOGIN, self._max_packet)

    def end_login(self) -> None:
        """Take answers of any size: what is asked is the user's."""
        self.most_rows = None
        self.reader.limit = self._max_packet

    def write(self, data: bytes) -> None:
        """Write *data*; what cannot be written ends the connection."""
        if self._transport is None:
            return
        try:
            self._transport.write(data)
        except Exception as error:  # RuntimeError: uvloop's way to say that the peer is gone
            self.fail(_lost(error), error)

    def buffer_updated(self, nbytes: int) -> None:
        """Take *nbytes* that have been put into the buffer, as a callback of the event loop."""
        started = time.monotonic() if nbytes >= _LONG_READ else 0.0
        self.reader.buffer_updated(nbytes)
        self._parse()
        if not self.replies:
            self._spent = 0.0
        else:
            if started:
                self.yield_after(time.monotonic() - started)
            if self._on_excess is not None:
                self._count_spare(nbytes)
        if self._settled:
            self._wake_tasks()

    def _wake_tasks(self) -> None:
        """Go on with the tasks whose replies are complete, each until it waits again.

        In debug mode at the event loop's next turn: what takes long is named there by what the loop
        has called.
        """
        settled, self._settled = self._settled, []
        try:
            if not self._debug:
                while settled:
                    waiter = settled.pop(0)
                    waiter.wake()
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt(error)  # a task's
        finally:
            for waiter in settled:
                waiter.announce()

    def _tell_tasks(self) -> None:
        """Have those tasks go on at the event loop's next turn."""
        settled, self._settled = self._settled, []
        for waiter in settled:
            waiter.announce()

    def _settle(self, reply: Reply) -> None:
        reply.finish()
        self._settled.append(reply.future)
        if reply.then is not None:
            reply.then(reply)

    def _parse(self) -> None:
        """Take what has come in; whatever goes wrong ends the connection, and who waits is told."""
        try:
            try:
                self._dispatch()
            except MalformedPacket:
                if not (self._is_early() or self._is_cut_short()):
                    raise
                self._dispatch()
        except MalformedPacket as error:
            self.fail(self._reason() or _refused(error))
        except BaseException as error:  # a row is lost, and what follows it stays unparsed
            if not isinstance(error, Exception):
                self._interrupt(error)
            self.fail(_lost(f"its answer was not taken: {type(error).__name__}"), error)

    def _interrupt(self, error: BaseException) -> None:
        """End the event loop at its next turn: uvloop keeps what a transport's callback raises."""
        self._loop.call_soon(_raise, error)

    def yield_after(self, seconds: float) -> None:
        """Pass the event loop on to others, once enough time has gone into a long answer.

        Not each read is followed by a turn of the loop: uvloop reads up to 32 times in a row.
        """
        self._spent += seconds
        if self._spent > SLICE_SECONDS and self._transport is not None:
            self._spent = 0.0
            self._transport.pause_reading()
            self._loop.call_soon(self._resume_reading)

    def _resume_reading(self) -> None:
        if self._stalled_since == 0.0:
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _hold(self, reply: Reply) -> None:
        """Wake whoever waits for a stream, if it has come to a halt.

        If nobody does, and enough of it waits, read no more.
        """
        if not reply.held:
            return
        if not reply.future.done():
            if reply.deadline is not None:
                reply.deadline.cancel()
            self._settle(reply)
        elif self.reader.buffered > reply.stream and self._stalled_since == 0.0:
            assert self._transport is not None
            self._stalled_since = time.monotonic()
            self._transport.pause_reading()

    def pull(self, reply: Reply, wanted: int) -> None:
        """Take *wanted* rows of a stream at most, or go on to its next result, if it is there."""
        reply.wanted = wanted
        if self.lost is None:
            self._parse()
            reply.wanted = 0
            self._tell_tasks()
            if 2 * self.reader.buffered <= reply.stream:
                self.flow()
        else:  # what had come before that
            with suppress(MalformedPacket):
                reply.feed(self.reader, self._deprecate_eof)

    def flow(self) -> None:
        """Have more of a stream come in."""
        if self._stalled_since:
            stall = time.monotonic() - self._stalled_since
            self.longest_stall = max(self.longest_stall, stall)
            self._stalled_since = 0.0
            self._read_on()

    def spare(self, size: int, on_excess: Callable[[], object]) -> None:
        """Have *on_excess* called once more than *size* bytes have come for nobody."""
        self._spare = size
        self._on_excess = on_excess

    def _count_spare(self, nbytes: int) -> None:
        call = self._on_excess
        if not self.replies[0].abandoned:
            self._on_excess = None
        elif nbytes < self._spare:
            self._spare -= nbytes
        elif call is not None:
            self._on_excess = None
            call()

    def _reason(self) -> BaseException | None:
        """Return the error that came, numbered from 0, before anything of the reply expected."""
        if not self.replies or self.reader.sequence != self.replies[0].sequence:
            return None
        with suppress(MalformedPacket):
            return self._farewell()
        return None

    def _dispatch(self) -> None:
        replies = self.replies
        while replies:
            reply = replies[0]
            if reply.infile is not None:
                if not reply.abandoned:
                    return  # what follows is the answer to the file, which nobody has begun to send
                self._refuse_file(reply)
            if not reply.feed(self.reader, self._deprecate_eof) or self.lost is not None:
                if reply.stream and self.lost is None:
                    self._hold(reply)
                return  # lost: a result processor may close its connection
            if reply.eventful or reply.status != self.status or self.doubt is not None:
                unknown = self._learn(reply)
                if unknown is not None:
                    self.fail(unknown)
                    return
            elif self.wrote:
                self.wrote = not leaves_nothing(reply.packet)
            if reply.infile is not None:
                self._settle(reply)
                continue
            replies.pop(0)
            if reply.deadline is not None:
                reply.deadline.cancel()
            later = None
            if replies:
                self.reader.sequence = replies[0].sequence
                if self._later:
                    later = self._later.pop(0)
            self._settle(reply)
            if reply.refused is not None and reply.refused.ends_session(self._mariadb):
                self.fail(reply.refused.error())
                return
            if later is not None and self.lost is None:  # as when a transaction is not begun
                self.write(later)
        if self.reader.buffered:
            farewell = self._farewell()
            if farewell is not None:
                self.fail(farewell)
        if self._idle is not None:
            self._end_idle()

    def end_file(self, reply: Reply, sequence: int) -> None:
        """Send the end of a file in a packet of that number; take what has come in since."""
        self._end_file(reply, sequence)
        self._parse()
        self._tell_tasks()

    def _refuse_file(self, reply: Reply) -> None:
        """Send the end of a file that nobody is there to send."""
        reply.infile = None
        self._end_file(reply, self.reader.sequence)

    def _end_file(self, reply: Reply, sequence: int) -> None:
        if self.lost is not None:
            return
        if sequence < 0:
            raise MalformedPacket("a local file is asked for out of turn")
        self.write(frame(b"", sequence))
        if reply.infile is None and reply in self.replies:  # it is still to be answered
            self.reader.sequence = reply.sequence = (sequence + 1) & 0xFF
            self._after_file = reply

    def _is_early(self) -> bool:
        """Tell whether what has come may be the answer to a file that the server did not wait for.

        Its number is then no count of the file's packets: take any.
        """
        reply, self._after_file = self._after_file, None
        if reply is None or not self.replies or self.replies[0] is not reply:
            return False
        early = self.reader.sequence == reply.sequence
        if early:
            self.reader.sequence = -1
        return early

    def _is_cut_short(self) -> bool:
        """Tell whether what has come may be the next command's answer, though more is due before.

        MySQL ends a command without a word that a KILL meets between two of its statements.
        """
        if len(self.replies) < 2 or not self.replies[0].is_between_results:
            return False
        reply = self.replies[0]
        if not reply.abandoned:
            return False
        self.replies.pop(0)
        if reply.deadline is not None:
            reply.deadline.cancel()
        self.reader.sequence = self.replies[0].sequence
        if self._later:
            self.write(self._later.pop(0))
        self._settle(reply)
        return True

    def _farewell(self) -> BaseException | None:
        """Return the error that nobody asked for: the reason why the server ends the connection."""
        if not self.reader.may_be_error(_MOST_UNASKED):
            raise MalformedPacket("the server sent a packet nobody asked for")
        self.reader.sequence = -1
        payload = self.reader.packet()
        if payload is None:
            return None
        error: BaseException = parse_refusal(payload).error()
        return error

    def drop(self, reply: Reply) -> None:
        """Read the rest of *reply* for nobody."""
        streamed = reply.stream != 0
        reply.abandon()
        if reply.infile is not None or streamed:
            self.flow()
            self._parse()
            self._tell_tasks()

    async def idle(self) -> None:
        """Wait until every reply has been read; by then another may be under way."""
        if self.replies and self.lost is None:
            if self._idle is None:
                self._idle = self._loop.create_future()
            await asyncio.shield(self._idle)

    async def drain(self) -> None:
        """Wait until the transport takes more."""
        if self._paused and self.lost is None:
            if self._writable is None:
                self._writable = self._loop.create_future()
            await asyncio.shield(self._writable)

    def pause_writing(self) -> None:
        """Take note that the transport takes no more for now."""
        self._paused = True

    def resume_writing(self) -> None:
        """Take note that the transport takes more again."""
        self._paused = False
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set_result(None)

    def eof_received(self) -> bool:
        """Take the server's end of the connection for its loss."""
        self.fail(_lost())
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the transport is closed."""
        lost = _lost(exc)
        lost.__cause__ = exc
        self.fail(lost)
        self.timers.close()
        self._transport = None
        if not self.closed.done():
            self.closed.set_result(None)

    async def wait_closed(self, timeout: float) -> None:
        """Wait until the transport is closed; after *timeout* seconds close it by force."""
        if self._transport is not None:
            await asyncio.wait([self.closed], timeout=timeout)
        if self._transport is not None:
            self._transport.abort()

    def fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        """End the connection: every reply, and whoever waits, gets *error*.

        *cause* is what it is raised from for who waits for a reply. It is not kept: its traceback
        holds this object.
        """
        if self.lost is None:
            self.lost = error
            behind = self.replies[self.led :]
            self.unanswered = tuple([reply.packet[:MOST_LOOKED_AT] for reply in behind])
        for reply in self.replies:
            if reply.deadline is not None:
                reply.deadline.cancel()
            reply.infile = None
            if reply.error is None:
                reply.error = copy_error(self.lost)
                reply.error.__cause__ = cause or reply.error.__cause__
            self._settle(reply)
        self.replies.clear()
        self._later.clear()
        self._tell_tasks()
        self._end_idle()
        self.resume_writing()
        if self._transport is not None:
            self._transport.abort()

    def _end_idle(self) -> None:
        idle, self._idle = self._idle, None
        if idle is not None:
            idle.set_result(None)


class Protocol(Wire, asyncio.BufferedProtocol):
    """A `Wire` as asyncio's transports know it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        vars(self)["get_buffer"] = self.reader.get_buffer  # one call less


def _raise(error: BaseException) -> NoReturn:
    try:
        raise error
    finally:
        del error  # whose traceback holds this frame


def _refused(error: MalformedPacket) -> err.OperationalError:
    """Return the error that callers see for *error*."""
    if isinstance(error, PacketTooLarge):
        return err.OperationalError(
            CR.CR_NET_PACKET_TOO_LARGE, f"Got packet bigger than 'max_packet' bytes: {error}"
        )
    return err.OperationalError(CR.CR_MALFORMED_PACKET, f"Malformed packet: {error}")


def _lost(cause: BaseException | str | None = None) -> err.OperationalError:
    detail = f" ({cause})" if cause is not None else ""
    return err.OperationalError(
        CR.CR_SERVER_LOST, f"Lost connection to MySQL server during query{detail}"
    )
