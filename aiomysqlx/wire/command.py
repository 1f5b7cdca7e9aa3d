"""Commands: what goes out, how its answer is read, and what it does to the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from ._impl import frame
from .columns import Columns, Describe, Shape
from .effects import Effect

if TYPE_CHECKING:  # the standard library has it from Python 3.11 on
    from typing_extensions import Unpack


class Seldom(TypedDict, total=False):
    """What few commands have."""

    partial: bool
    always: bool
    most_rows: int | None
    log: str | bytes | None
    effect: Effect | None


class Command:
    """One thing to send.

    *describe* gives the columns of its results, *known* are those that are likely to come, and
    *shape* makes the first result's rows; without it they are tuples. With *partial* an error that
    comes after some results is left in the last one. *always* is for what ends a transaction or
    looks after the session: nothing bars it. There are *most_rows* rows in its answer at most.
    *log* is its text, if it is to be logged.
    """

    # What is seldom anything else costs a command nothing: 1,500 instructions of 110,000.
    partial = always = False
    most_rows: int | None = None
    log: str | bytes | None = None
    effect: Effect | None = None

    def __init__(
        self,
        packet: bytes,
        describe: Describe | None = None,
        known: Columns | None = None,
        shape: Shape | None = None,
        **seldom: Unpack[Seldom],
    ) -> None:
        self.packet = packet
        self.describe = describe
        self.known = known
        self.shape = shape
        if seldom:
            vars(self).update(seldom)


def packet_of(code: int, text: bytes = b"") -> bytes:
    """Return the packet of a command by its code, see `pymysql.constants.COMMAND`."""
    packet: bytes = frame(bytes((code,)) + text)
    return packet
