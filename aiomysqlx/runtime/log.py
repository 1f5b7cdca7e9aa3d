"""The log of statements, as `echo` asks for it, and of what users should know."""

from __future__ import annotations

import logging
import time
from types import TracebackType

logger = logging.getLogger("aiomysqlx")


class Logged:
    """Logs a statement and how long it took, whether it succeeds or not, if *echo* is set.

    Used with `with`, or with `write()` where a statement that is not logged must cost nothing.
    """

    __slots__ = ("_echo", "_sql", "_started")

    def __init__(self, echo: object, sql: str | bytes) -> None:
        self._echo = echo
        self._sql = sql
        self._started = time.perf_counter() if echo else 0.0

    def write(self, failed: bool) -> None:
        """Write the entry of a statement that is done, or has *failed*."""
        how = "failed, " if failed else ""
        milliseconds = (time.perf_counter() - self._started) * 1e3
        logger.info("%s [%s%.1f ms]", self._sql, how, milliseconds)

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._echo:
            self.write(exc is not None)
