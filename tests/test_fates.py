"""What a statement that has ended a transaction is said to have done with its work."""

from __future__ import annotations

import pytest
from pymysql.constants import COMMAND

from aiomysqlx.ending import of_statement

FATES: dict[str, bool | None] = {
    "COMMIT": True,
    "commit and chain": True,
    "ROLLBACK": False,
    "/* why */ -- so\n # or so\n rollback": False,
    "CREATE TABLE t (a INT)": True,
    "SET autocommit = 1": True,
    "SET STATEMENT max_statement_time = 1 FOR COMMIT": None,
    "set statement max_statement_time = 1 for rollback": None,
    "XA COMMIT 'x'": True,
    "XA ROLLBACK 'x'": False,
    "XA END 'x'": None,
    "CALL p()": None,
    "/*! COMMIT */": None,
    "": None,
}
HOW = {
    True: "has ended this transaction and committed its work",
    False: "has rolled this transaction back",
    None: "has ended this transaction, its work committed or rolled back",
}


def query(text: bytes) -> bytes:
    return b"\0\0\0\0" + bytes((COMMAND.COM_QUERY,)) + text


@pytest.mark.parametrize(("text", "committed"), FATES.items(), ids=FATES)
def test_statement_says_what_became_of_the_work(text: str, committed: bool | None) -> None:
    ending = of_statement(query(text.encode()), "utf-8", False)

    assert ending.committed is committed
    assert ending.words.endswith(HOW[committed])


@pytest.mark.parametrize("text", ["COMMIT", "ROLLBACK"])
def test_one_of_several_statements_leaves_it_open(text: str) -> None:
    assert of_statement(query(text.encode()), "utf-8", True).committed is None


def test_statement_that_does_not_decode_is_read_as_far_as_it_does() -> None:
    assert of_statement(query(b"ROLLBACK /* \xff */"), "utf-8", False).committed is False


@pytest.mark.parametrize(("size", "committed"), [(988, True), (996, None)])
def test_no_more_than_the_beginning_of_a_statement_is_read(
    size: int, committed: bool | None
) -> None:
    text = b"/*" + b"x" * (size - 2) + b"*/COMMIT"

    assert of_statement(query(text), "utf-8", False).committed is committed


def test_reset_of_the_session_rolls_back() -> None:
    ending = of_statement(b"\0\0\0\0\x1f", "utf-8", False)

    assert ending == ("a reset of the session has rolled this transaction back", False)
