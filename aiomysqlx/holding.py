"""Who holds a connection of an engine for long, as the log tells with `held_warning`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from .connection import SAConnection
from .pool.home import Home, Timer
from .runtime.words import shown

logger: logging.Logger = logging.getLogger("aiomysqlx.pool")

# How often those are looked at who hold a connection, in the time after which it is told.
_LOOKS = 4


class Holders:
    """Makes the connections that an engine lends, and warns of those that are held too long.

    Only a timer looks at them, so no time is measured as they are lent: it counts from the first
    time that a connection is seen in use. Nothing is looked at while none is.
    """

    def __init__(self, seconds: float, home: Home) -> None:
        self._seconds = seconds
        self._now: Callable[[], float] = home.loop.time
        self._timer = Timer(home)
        # When each was seen in use first, if it was.
        self._seen: WeakKeyDictionary[SAConnection, float | None] = WeakKeyDictionary()

    def lend(self, *arguments: Any) -> SAConnection:
        """Return a connection that is about to be lent."""
        conn = SAConnection(*arguments)
        self._seen[conn] = None
        self._timer.start(self._seconds / _LOOKS, self._look)
        return conn

    def _look(self) -> None:
        now = self._now()
        for conn, since in list(self._seen.items()):
            if conn._released:
                del self._seen[conn]
            elif conn._session is None:
                continue  # it waits for one
            elif since is None:
                self._seen[conn] = now
            elif now - since >= self._seconds:
                del self._seen[conn]
                self._tell(conn)
        if self._seen:
            self._timer.start(self._seconds / _LOOKS, self._look)

    def _tell(self, conn: SAConnection) -> None:
        where = "" if conn._place is None else f" acquired at {shown(conn._place)}"
        logger.warning(
            "a connection%s is held for more than %s seconds: others may wait for it",
            where,
            self._seconds,
        )
