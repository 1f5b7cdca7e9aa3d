"""A server as those see it who look after it, and who decide when a statement goes on."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Any

import pymysql
from pymysql import err

Admin = Any  # PyMySQL's connection
DATABASE = "test_aiomysqlx"
# The rows that are there at first.
SEEDS = range(7)
TWICE = 0  # the one that is inserted once more, in vain
SCHEMA = """
CREATE TABLE numbers (id INT PRIMARY KEY, v INT) ENGINE=InnoDB;;
CREATE TABLE spare (id INT) ENGINE=InnoDB;;
CREATE FUNCTION gate(name VARCHAR(20), v INT) RETURNS INT NO SQL
BEGIN
  DECLARE got INT;
  SET got = GET_LOCK(name, 20);
  DO RELEASE_LOCK(name);
  RETURN v;
END;;
CREATE PROCEDURE commits(n INT, v INT)
BEGIN
  INSERT INTO numbers VALUES (n, v);
  COMMIT;
END;;
CREATE PROCEDURE rolls_back(n INT, v INT)
BEGIN
  INSERT INTO numbers VALUES (n, v);
  ROLLBACK;
END;;
CREATE PROCEDURE begins(n INT, v INT)
BEGIN
  START TRANSACTION;
  INSERT INTO numbers VALUES (n, v);
END;;
CREATE PROCEDURE begins_and_fails(n INT, v INT)
BEGIN
  CALL begins(n, v);
  SIGNAL SQLSTATE '45000';
END;;
CREATE PROCEDURE pretends()
  SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = 1213, MESSAGE_TEXT = 'no deadlock'
"""
RUNNING = (
    "SELECT id, command, state, info FROM information_schema.processlist"
    " WHERE db IN (%s, %s) AND id <> CONNECTION_ID()"
)


class Warnings(logging.Handler):
    """Counts what borrowers are told to have left unwritten."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += "left uncommitted" in record.getMessage()


@dataclass
class Overseer:
    """The server as administrators see it, and hold its gates."""

    kwargs: dict[str, Any]
    other: str
    committed: Admin = None
    dirty: Admin = None
    keeper: Admin = None
    warnings: Warnings = field(default_factory=lambda: Warnings())

    def __post_init__(self) -> None:
        # Certificates of authorities take long to read.
        kwargs = {**self.kwargs, "database": None, "autocommit": True, "ssl_disabled": True}
        kwargs.pop("db", None)
        isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ "
        self.committed = pymysql.connect(**kwargs, init_command=isolation + "COMMITTED")
        self.dirty = pymysql.connect(**kwargs, init_command=isolation + "UNCOMMITTED")
        self.keeper = pymysql.connect(**kwargs)
        self.committed.select_db(DATABASE)
        logging.getLogger("aiomysqlx.pool").addHandler(self.warnings)
        for sql in SCHEMA.split(";;"):
            self.ask(sql)

    def close(self) -> None:
        logging.getLogger("aiomysqlx.pool").removeHandler(self.warnings)
        for connection in (self.committed, self.dirty, self.keeper):
            connection.close()

    def ask(self, sql: str, *args: Any, over: Admin = None) -> list[tuple[Any, ...]]:
        with (over or self.committed).cursor() as cursor:
            cursor.execute(sql, args or None)
            return list(cursor.fetchall())

    def start_anew(self) -> None:
        """Have nothing but the first rows there."""
        self.warnings.count = 0
        self.ask("SELECT RELEASE_ALL_LOCKS()", over=self.keeper)
        for xid in self.xids():
            with contextlib.suppress(err.OperationalError):  # that it was rolled back, 1402
                self.ask(f"XA ROLLBACK '{xid}'")
        self.ask("DELETE FROM numbers")
        self.ask("INSERT INTO numbers VALUES " + ", ".join(f"({n}, 0)" for n in SEEDS))

    def rows(self, over: Admin) -> dict[int, int]:
        return dict(self.ask(f"SELECT id, v FROM {DATABASE}.numbers", over=over))

    def xids(self) -> set[str]:
        found = [row[3] for row in self.ask("XA RECOVER")]
        return {xid.decode() if isinstance(xid, bytes) else xid for xid in found}

    def running(self) -> dict[int, str]:
        """Give what each thread is at: "idle", "gated" or something else."""
        found = {}
        for thread, command, state, sql in self.ask(RUNNING, DATABASE, self.other):
            # MariaDB shows a KILL QUERY that has met no statement until the next one comes.
            idle = command == "Sleep" or (command == "Killed" and not state and sql is None)
            gated = state == "User lock"
            found[thread] = "gated" if gated else "idle" if idle else f"{command} {state}"
        return found

    def left(self) -> list[Any]:
        """Give the connections that are there, and the transactions that are not prepared."""
        own = ", ".join(str(c.thread_id()) for c in (self.committed, self.dirty, self.keeper))
        begun = self.ask(
            "SELECT trx_mysql_thread_id, trx_query FROM information_schema.innodb_trx"
            f" WHERE trx_mysql_thread_id NOT IN (0, {own})"
        )
        return [*self.running().items(), *begun]

    def kill(self, thread: int, what: str) -> None:
        with contextlib.suppress(err.MySQLError):  # it may be gone
            self.ask(f"KILL {what} {thread}")

    def shut(self, gate: str) -> None:
        self.ask("SELECT GET_LOCK(%s, 0)", gate, over=self.keeper)

    def let_go(self, gate: str) -> None:
        self.ask("SELECT RELEASE_LOCK(%s)", gate, over=self.keeper)
