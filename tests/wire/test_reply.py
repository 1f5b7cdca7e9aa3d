"""What is kept of an answer: its rows, each given once, and whether it has come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from aiomysqlx.wire.columns import Columns
from aiomysqlx.wire.refusal import parse_refusal
from aiomysqlx.wire.reply import Reply, ResultSet

ROWS = [(1,), (2,), (3,)]
MORE = 8  # SERVER_MORE_RESULTS_EXISTS
AUTOCOMMIT = 2


def result(shaped: bool = False) -> ResultSet:
    whole = ResultSet()
    whole.rows = [*ROWS]
    whole.shaped = shaped
    return whole


def test_rows_are_taken_in_their_order_once() -> None:
    whole = result()

    assert [whole.take(size) for size in (2, 0, 2, 2)] == [ROWS[:2], [], ROWS[2:], []]
    assert whole.position == 3


def test_rows_that_are_left_are_given_and_not_kept() -> None:
    whole, begun = result(), result()
    begun.take(1)

    assert whole.give_all() == ROWS and whole.rows == []
    assert begun.give_all() == ROWS[1:] and begun.rows == []


def test_shaped_rows_are_given_as_tuples() -> None:
    class Row:
        def as_tuple(self) -> tuple[int, ...]:
            return (7,)

    shaped = result(shaped=True)
    shaped.rows = [Row()]

    assert shaped.take_tuples(1) == [(7,)]
    assert result().take_tuples(2) == ROWS[:2]


def describe(raw: bytes, encoding: str) -> Columns:
    raise AssertionError("there is nothing to describe")


STATUSES: dict[str, tuple[int | None, bool, bool]] = {
    "nothing": (None, False, False),
    "an error": (None, True, True),
    "the last result": (AUTOCOMMIT, False, True),
    "no flags": (0, False, True),
    "one of several": (AUTOCOMMIT | MORE, False, False),
    "an error behind one": (AUTOCOMMIT | MORE, True, True),
}


@pytest.mark.parametrize(("status", "fails", "expected"), STATUSES.values(), ids=STATUSES)
async def test_answer_is_there_with_its_last_result_or_an_error(
    status: int | None, fails: bool, expected: bool
) -> None:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    reply = Reply(b"", 1, future, describe, "utf8", None, None, None)
    reply.status = status
    if fails:
        reply.refused = parse_refusal(b"\xff\x28\x04#42000syntax")

    assert reply.answered is expected
