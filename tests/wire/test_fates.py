"""What a statement that has ended a transaction is said to have done with its work."""

from __future__ import annotations

import pytest
from pymysql.constants import COMMAND

from aiomysqlx.wire.outcome import (
    MOST_LOOKED_AT,
    Ending,
    leaves_nothing,
    may_commit,
    of_commit,
    of_refusal,
    of_savepoint,
    of_statement,
    parse_refusal,
)

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
    "XA COMMIT X'7831' ONE PHASE": True,
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


@pytest.mark.parametrize(("size", "committed"), [(992, True), (993, None)])
def test_no_more_than_the_beginning_of_a_statement_is_read(
    size: int, committed: bool | None
) -> None:
    text = b"/*" + b"x" * (size - 2) + b"*/COMMIT"

    assert of_statement(query(text), "utf-8", False).committed is committed


# What MySQL and MariaDB say commits: "Statements That Cause an Implicit Commit".
COMMITTING = (
    "ALTER TABLE t ADD b INT",
    "ANALYZE TABLE t",
    "CACHE INDEX t IN hot",
    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'h'",
    "CHECK TABLE t",
    "CHECKSUM TABLE t",
    "CREATE VIEW v AS SELECT 1",
    "DROP TABLE t",
    "FLUSH TABLES",
    "GRANT SELECT ON t TO u",
    "IMPORT TABLE FROM 'f'",
    "INSTALL PLUGIN p SONAME 's'",
    "LOCK TABLES t READ",
    "OPTIMIZE TABLE t",
    "RENAME TABLE t TO u",
    "REPAIR TABLE t",
    "RESET REPLICA",
    "REVOKE SELECT ON t FROM u",
    "START TRANSACTION",
    "STOP REPLICA",
    "TRUNCATE t",
    "UNINSTALL PLUGIN p",
    "UNLOCK TABLES",
)


@pytest.mark.parametrize("text", COMMITTING, ids=lambda text: text.split()[0])
def test_statement_that_commits_by_itself_is_known_to(text: str) -> None:
    assert of_statement(query(text.encode()), "utf-8", False).committed is True


SHOWN = {
    "COMMIT": "'COMMIT'",
    "commit  and\n\tchain": "'commit and chain'",
    "SET PASSWORD = 'secret'": "'SET PASSWORD = …'",
    'CREATE USER "secret"': "'CREATE USER …'",
    "x" * 60: f"'{'x' * 60}'",
    "x" * 61: f"'{'x' * 60} …'",
    f"{'x' * 59} y": f"'{'x' * 59} …'",
    f"{'x' * 58} 'secret'": f"'{'x' * 58} …'",
}


@pytest.mark.parametrize(("text", "shown"), SHOWN.items(), ids=map(str, range(len(SHOWN))))
def test_statement_is_shown_by_its_beginning_and_without_its_literals(
    text: str, shown: str
) -> None:
    words = of_statement(query(text.encode()), "utf-8", False).words

    assert words.startswith(f"{shown} has ")


DEADLOCK = b"\xff\xbd\x04#40001Deadlock"
LOCK_WAIT = b"\xff\xb5\x04#HY000Lock wait"
ROLLED_BACK = Ending("the server has rolled this transaction back (deadlock, error 1213)", False)
OPEN = "the server has ended this transaction, committed or not, with error"
# What may have committed before it was refused, and what cannot have.
COMMANDS = {
    "select": (query(b"SELECT 1 FOR UPDATE"), False),
    "lower case": (query(b" insert into t values (1)"), False),
    "comment": (query(b"/* why */ UPDATE t SET a = 1"), False),
    "dashes alone": (query(b"--\n-- why\n--\tso\nSELECT 1"), False),
    "stars": (query(b"/**//***//* * / ** */ SELECT 1"), False),
    "common table": (query(b"WITH c AS (SELECT 1) SELECT * FROM c"), False),
    "savepoint": (query(b"SAVEPOINT s"), False),
    "release": (query(b"RELEASE SAVEPOINT s"), False),
    "rollback to": (query(b"ROLLBACK TO SAVEPOINT s"), False),
    "commit": (query(b"COMMIT"), False),
    "signal": (query(b"SIGNAL SQLSTATE '40001'"), False),
    "ping": (b"\0\0\0\0\x0e", False),
    "prepared": (b"\0\0\0\0\x17\1\0\0\0", False),
    "prepare": (b"\0\0\0\0\x16SELECT ?", False),
    "bulk": (b"\0\0\0\0\xfa\1\0\0\0", False),
    "another schema": (b"\0\0\0\0\x02test", False),
    "DDL": (query(b"ALTER TABLE t ADD b INT"), True),
    "procedure": (query(b"CALL p()"), True),
    "begin": (query(b"BEGIN"), True),
    "xa": (query(b"XA COMMIT 'x' ONE PHASE"), True),
    "executable comment": (query(b"/*!CALL p() */"), True),
    "nothing": (query(b""), True),
    "reset": (b"\0\0\0\0\x1f", True),
    "long comment": (query(b"/*" + b"x" * MOST_LOOKED_AT + b"*/ SELECT 1"), True),
}


@pytest.mark.parametrize(("command", "may_commit"), COMMANDS.values(), ids=COMMANDS)
def test_deadlock_rolls_back_unless_its_statement_may_have_committed(
    command: bytes, may_commit: bool
) -> None:
    ending = of_refusal(parse_refusal(DEADLOCK), command, "utf-8")

    assert ending == (Ending(f"{OPEN} 1213", None) if may_commit else ROLLED_BACK)


# As many ways to read these as there are to divide them would keep the event loop for years.
GAPS = [
    b" ",
    b"\n",
    b"/*a*/",
    b"/***/",
    b"-- a\n",
    b"--\n",
    b"#a\n",
    b"# -- /* a\n",
    b"-- */\n/*\n#*/",
]


@pytest.mark.parametrize("gap", GAPS, ids=repr)
@pytest.mark.parametrize(
    "end", [b"", b"(SELECT 1)", b"/* SELECT 1", b"*/ COMMIT", b"/*!SELECT 1*/"]
)
def test_many_blanks_and_comments_are_read_at_once(gap: bytes, end: bytes) -> None:
    packet = query(gap * 5000 + end)
    beginning = query(gap * (200 // len(gap)) + end)

    assert of_statement(packet, "utf-8", False).committed is None
    assert may_commit(packet, "utf-8") and may_commit(beginning, "utf-8")
    assert not leaves_nothing(packet) and not leaves_nothing(beginning)
    assert leaves_nothing(query(gap * (200 // len(gap)) + b"COMMIT"))


def test_other_end_with_an_error_leaves_open_what_became_of_the_work() -> None:
    ending = of_refusal(parse_refusal(LOCK_WAIT), query(b"SELECT 1"), "utf-8")

    assert ending == Ending(f"{OPEN} 1205", None)


def test_commit_that_was_refused_has_kept_nothing() -> None:
    words = (
        "the server has refused to commit this transaction (error 1290), and nothing of it is kept"
    )

    assert of_commit(1290) == Ending(words, False)


def test_absent_savepoint_tells_of_an_end_that_nobody_saw() -> None:
    ending = of_savepoint(1305, "42000")

    assert ending.words.endswith("its savepoint is gone (error 1305)")
    assert ending.committed is None


def test_savepoint_that_a_conflict_has_taken_tells_of_that() -> None:
    assert of_savepoint(1213, "40001") == ROLLED_BACK


def test_reset_of_the_session_rolls_back() -> None:
    ending = of_statement(b"\0\0\0\0\x1f", "utf-8", False)

    assert ending == Ending("a reset of the session has rolled this transaction back", False)
