"""A primary and its replica, of either vendor, that a test may pause, stop and have lag behind."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
from private_server import (
    FIRST_STATEMENTS,
    PREFIX,
    create_data_directory,
    free_port,
    is_mariadb,
    memory,
    own,
    remove_leftovers,
    server_options,
    server_program,
    stop,
    wait_until_ready,
)

DATABASE = "test_pair"
# Root writes on a replica.
APP = f"""\
SET SESSION sql_log_bin = 0;
{FIRST_STATEMENTS}\
CREATE USER IF NOT EXISTS app@'127.0.0.1';
GRANT ALL PRIVILEGES ON {DATABASE}.* TO app@'127.0.0.1';
"""
SECONDS = 20.0
_BOTH = ("--log-bin=binlog", "--binlog-format=ROW")
_MARIADB = ("--log-slave-updates=ON", "--gtid-strict-mode=ON")
_MYSQL = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON", "--loose-mysqlx=OFF")


class Member:
    """One of the two servers, always at the same address."""

    def __init__(self, program: list[str], folder: Path, number: int) -> None:
        self.mariadb = is_mariadb(program)
        self.port = free_port()
        self._folder = folder
        options = [*server_options(folder, self.port, None), *_BOTH, f"--server-id={number}"]
        self._command = [*program, *options, *(_MARIADB if self.mariadb else _MYSQL)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """Its host and port."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        with open(self._folder / "log", "wb") as log:
            nothing = subprocess.DEVNULL
            self._process = subprocess.Popen(
                self._command, stdin=nothing, stdout=log, stderr=log, start_new_session=True
            )
        wait_until_ready(self._process, self.port)

    def kill(self) -> None:
        """End it as a crash does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order, if it runs."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            stop(self._process)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Have it do nothing for the block, as its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def ask(self, *statements: str) -> Any:
        """Execute statements as root and return the first value of the last one's answer."""
        arguments: dict[str, Any] = {"host": "127.0.0.1", "port": self.port, "user": "root"}
        with (
            pymysql.connect(
                **arguments, autocommit=True, read_timeout=SECONDS, ssl_disabled=True
            ) as connection,
            connection.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement)
            row = cursor.fetchone()
            return None if row is None else row[0]

    def connections(self) -> int:
        """Count the connections of `app`."""
        sql = "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'app'"
        return int(self.ask(sql))


class Pair:
    """A primary and its replica, which is read only and begins by having all of it."""

    database = DATABASE

    def __init__(self, primary: Member, replica: Member) -> None:
        self.primary = primary
        self.replica = replica
        self.mariadb = primary.mariadb

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments of an engine for both."""
        return {**self.alone, "host": [self.primary.address, self.replica.address]}

    @property
    def alone(self) -> dict[str, Any]:
        """The arguments of an engine for the primary only."""
        return {"host": "127.0.0.1", "port": self.primary.port, "user": "app", "db": DATABASE}

    @property
    def _replica(self) -> str:
        return "SLAVE" if self.mariadb else "REPLICA"

    def begin(self) -> None:
        """Start both, the one behind the other."""
        self.primary.start()
        self.replica.start()
        self.follow()
        self.replica.ask("SET GLOBAL read_only = 1")
        self.primary.ask(f"CREATE DATABASE {DATABASE}")
        self.catch_up()

    def follow(self) -> None:
        """Have the replica replicate."""
        port = self.primary.port
        if self.mariadb:
            source = f"MASTER_HOST = '127.0.0.1', MASTER_PORT = {port}, MASTER_USER = 'root'"
            change = f"CHANGE MASTER TO {source}, MASTER_USE_GTID = slave_pos"
        else:
            source = f"SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {port}, SOURCE_USER = 'root'"
            change = (
                f"CHANGE REPLICATION SOURCE TO {source}, SOURCE_AUTO_POSITION = 1,"
                " GET_SOURCE_PUBLIC_KEY = 1, SOURCE_CONNECT_RETRY = 1"
            )
        self.replica.ask(change, f"START {self._replica}")

    @contextlib.contextmanager
    def lag(self) -> Iterator[None]:
        """Have the replica apply nothing during the block, and all of it at its end."""
        self.replica.ask(f"STOP {self._replica} SQL_THREAD")
        try:
            yield
        finally:
            self.replica.ask(f"START {self._replica} SQL_THREAD")
            self.catch_up()

    def catch_up(self) -> None:
        """Wait until the replica has all that the primary has."""
        if self.mariadb:
            position = self.primary.ask("SELECT @@gtid_binlog_pos")
            late = self.replica.ask(f"SELECT MASTER_GTID_WAIT('{position}', {SECONDS})")
        else:
            position = self.primary.ask("SELECT @@gtid_executed")
            late = self.replica.ask(f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{position}', {SECONDS})")
        assert late == 0, f"the replica has not caught up within {SECONDS} seconds"

    def revive(self) -> None:
        """Start a replica that was killed."""
        self.replica.start()
        self.replica.ask("SET GLOBAL read_only = 1")
        if self.mariadb:  # which begins to replicate by itself otherwise
            with contextlib.suppress(pymysql.err.MySQLError):
                self.replica.ask("START SLAVE")
        self.catch_up()


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Start a primary and its replica, and remove them at the end."""
    program = server_program()
    parent = memory() or Path(tempfile.gettempdir())
    remove_leftovers(parent)
    with (
        tempfile.TemporaryDirectory("", PREFIX, parent, ignore_cleanup_errors=True) as name,
        own(Path(name)),
    ):
        folders = [Path(name) / each for each in ("primary", "replica")]
        for folder in folders:
            folder.mkdir()
            (folder / "first.sql").write_text(APP)
        create_data_directory(program, folders[0])
        shutil.copytree(folders[0] / "data", folders[1] / "data")
        (folders[1] / "data" / "auto.cnf").unlink(missing_ok=True)  # by which MySQL knows a server
        members = [Member(program, folder, number) for number, folder in enumerate(folders, 1)]
        try:
            both = Pair(*members)
            both.begin()
            yield both
        finally:
            for member in members:
                member.stop()
