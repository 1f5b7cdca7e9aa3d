"""What a pool has done so far, in numbers."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ..runtime.record import OfDataclass, Record


class PoolStats(Record):
    """A pool at one moment, as `Engine.stats()` returns it.

    `size` counts every connection: `idle`, `in_use`, and those being opened, checked or cleaned.
    `waiting` is the number of acquires that have none yet. All else counts from the engine's
    start: connections `opened` and, by cause, `closed`; connections lent (`acquired`), how many
    acquires found none idle and had to wait until one came back or was opened (`waited`), for how
    many seconds in all (`wait_seconds`) and at most (`longest_wait`), and how many gave up
    (`timeouts`) or were refused at once (`turned_away`, by *max_waiting*).

    `refused` counts what could not be opened for reasons that pass: the server had too many
    connections, or no host was fit. Those who wait go on waiting then; `held_back` tells whether
    nothing is opened at the moment, as it was refused a moment ago.

    The causes: `lost` (by the server, the network, a failed statement or `invalidate()`), `unfit`
    (an error said that the server can no longer do the work), `cleared` (`clear()`, or another
    connection that was unfit), `recycle` (*pool_recycle*), `lifetime` (*max_lifetime*), `idle`
    (*max_idle*), `ping`, `init` and `reset` (which failed, the latter with all that puts a
    connection back), `leaked` (never given back), `engine` (which has been closed).

    `sent_as_text` counts, by cause, how often the server did not have a statement prepared, so that
    it is text from there on: `unsupported`, `too_many` (by its `max_prepared_stmt_count`),
    `forgotten` (it, or a proxy, has it no more), `changed` (its tables were, as it was executed).

    `hosts` has for each of the server's hosts, as `host:port`, a dictionary: its `connections`,
    whoever has them; how many were `opened` there, how many openings `failed` and how many found
    that it did not fit (`passed_over`), by its `role` (`"primary"`, `"standby"` or, where nobody
    asked or it does not tell, `None`); the `error` for which it is tried after the others, if so.

    `read_only` has the same of the connections that only read, of `acquire(read_only=True)`, which
    are a pool of their own; `None` if there was no such acquire.
    """

    size: int
    idle: int
    in_use: int
    waiting: int
    opened: int
    closed: dict[str, int]
    acquired: int
    waited: int
    wait_seconds: float
    longest_wait: float
    timeouts: int
    turned_away: int
    refused: int
    held_back: bool
    sent_as_text: dict[str, int]
    hosts: dict[str, dict[str, Any]]
    read_only: PoolStats | None

    __dataclass_fields__ = OfDataclass()  # for who reports them by `dataclasses.asdict()`
    if not TYPE_CHECKING:  # annotated, it would be a field
        __dataclass_params__ = OfDataclass()


class Counts:
    """The part of `PoolStats` that only grows."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed: Counter[str] = Counter()
        self.acquired = 0
        self.waited: int = 0
        self.wait_seconds: float = 0.0
        self.longest_wait: float = 0.0
        self.timeouts = 0
        self.turned_away = 0
        self.refused = 0

    def add_wait(self, seconds: float) -> None:
        """Count an acquire that has waited."""
        self.waited += 1
        self.wait_seconds += seconds
        if seconds > self.longest_wait:
            self.longest_wait = seconds

    def at(
        self,
        sent_as_text: dict[str, int],
        hosts: dict[str, dict[str, Any]],
        read_only: PoolStats | None,
        **state: Any,
    ) -> PoolStats:
        """Return these counts together with the state of the pool, as it is at the moment."""
        return PoolStats(
            opened=self.opened,
            closed=dict(self.closed),
            acquired=self.acquired,
            waited=self.waited,
            wait_seconds=self.wait_seconds,
            longest_wait=self.longest_wait,
            timeouts=self.timeouts,
            turned_away=self.turned_away,
            refused=self.refused,
            sent_as_text=sent_as_text,
            hosts=hosts,
            read_only=read_only,
            **state,
        )
