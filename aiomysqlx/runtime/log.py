"""The log of statements, as `echo` asks for it, and of what users should know."""

from __future__ import annotations

import logging
import time
from types import TracebackType

logger = logging.getLogger("aiomysqlx")


class Logged:
    """Logs a statement and how long it took, whether it succeeds or not, if *echo* is set."""

    __slots__ = ("_echo", "_sql", "_started")

    def __init__(self, echo: object, sql: str | bytes) -> None:
        self._echo = echo
        self._sql = sql

    def __enter__(self) -> None:
        if self._echo:
            self._started = time.perf_counter()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if self._echo:
            how = "failed, " if exc is not None else ""
            milliseconds = (time.perf_counter() - self._started) * 1e3
            logger.info("%s [%s%.1f ms]", self._sql, how, milliseconds)


class NotLogged:
    """Stands in the place of `Logged` where not even the text for it is to be made."""

    __slots__ = ()

    def __enter__(self) -> None: ...

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None: ...


NOT_LOGGED = NotLogged()
