"""Turns: long work of one statement, between whose slices the event loop serves others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

from ..exc import ArgumentError
from .session import Session

T = TypeVar("T")

SLICE_SECONDS = 0.004
"""How long a slice takes before the event loop has its turn."""

STEP = 64
"""How many rows are worked on between two looks at the clock."""


class Turns:
    """The turns of work on a statement that nothing has been sent of.

    Meanwhile nothing else is executed in the session: values are escaped for what it is now.
    """

    __slots__ = ("_claim", "_until", "session")

    def __init__(self, session: Session) -> None:
        self.session: Session = session
        self._claim = session.claim

    def __enter__(self) -> Turns:
        self.session.begin_work(self._claim)
        self._until = perf_counter() + SLICE_SECONDS
        return self

    def __exit__(self, *error: object) -> None:
        self.session.end_work(self._claim)

    @property
    def over(self) -> bool:
        """Whether the slice is over: then `pause()` is to be awaited."""
        return perf_counter() >= self._until

    async def pause(self) -> None:
        """Wait for the event loop to serve others.

        Raises `InvalidRequestError` if the connection was given back or its transaction is being
        rolled back, and `StatementTimeoutError` if the statement is out of time.
        """
        await asyncio.sleep(0)
        self.session.check_claim(self._claim)
        self.session.check_deadline()
        self._until = perf_counter() + SLICE_SECONDS

    async def each(
        self, groups: Sequence[Any], call: Callable[[Any], T], results: list[T], first: int
    ) -> None:
        """Do what `each_group()` does, in turns, and add to *results*.

        The result of the group whose number is *first* is the first one of them.
        """
        for group in groups:
            if self.over:
                await self.pause()
            try:
                results.append(call(group))
            except ArgumentError as error:
                raise in_group(error, first + len(results)) from error.__cause__


def each_group(groups: Sequence[Any], call: Callable[[Any], T], first: int = 0) -> list[T]:
    """Call a function with each of *groups*; an `ArgumentError` tells which one it was.

    *first* is the number of the first one.
    """
    results: list[T] = []
    try:
        for group in groups:  # not in a map(), which a StopIteration of the user's would end
            results.append(call(group))
    except ArgumentError as error:
        raise in_group(error, first + len(results)) from error.__cause__
    return results


def in_group(error: ArgumentError, number: int) -> ArgumentError:
    """Return *error* with the number of the parameters that it is about."""
    return ArgumentError(f"{error}, in parameter group {number}")
