"""Clusters of private servers whose nodes can be killed, paused, stopped, switched and cut off.

`replicas()` is a MariaDB primary with two replicas (GTID, semi-synchronous: what a primary has
acknowledged is on a replica), `galera()` three nodes of Galera, `group()` three members of MySQL's
Group Replication with one primary. All listen on loopback; each node's data are in a folder of its
own, in memory where there is room, and removed at the end. Debian's package galera-4 has Galera;
Group Replication comes with MySQL's server.

Clients log in as `app`, without a password, who has all rights in the database `test` and in those
that begin with `test_`, and none on a server: root writes on a replica, and gets in past limits.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pymysql
from debian_mysql import mysql_program
from machine import GALERA, GALERA_PACKAGE
from private_server import (
    DATABASE,
    FIRST_STATEMENTS,
    PREFIX,
    ServerError,
    create_data_directory,
    find_program,
    free_port,
    is_mariadb,
    launch,
    memory,
    own,
    remove_leftovers,
    server_program,
    stop,
    wait_until_ready,
)
from pymysql.cursors import DictCursor

SIZE = 3
ADDRESS = "127.0.0.1"
USER = "app"
SECONDS = 60.0
ACCOUNTS = f"""\
CREATE USER {USER}@'127.0.0.1';
GRANT ALL PRIVILEGES ON {DATABASE}.* TO {USER}@'127.0.0.1';
GRANT ALL PRIVILEGES ON `{DATABASE}\\_%`.* TO {USER}@'127.0.0.1';
"""
# What a commit has acknowledged stays when its server is killed.
LASTING = "--innodb-flush-log-at-trx-commit=1"
# MariaDB turns read only once no statement waits for a row, which may be one of a transaction whose
# COMMIT waits for that: by default they wait for each other for 50 seconds.
BRIEF = "--innodb-lock-wait-timeout=2"
# MariaDB lets this be changed only where there is some limit.
CONNECTIONS_OF_A_USER = 1000
# Servers of Galera run such a program where one has missed something, before they know whether it
# needs all data or what their peers keep of the latest. This one agrees to the latter alone.
NO_TRANSFER = """\
#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in
        --role) role=$2 ;;
        --address) address=$2 ;;
        --gtid) gtid=$2 ;;
        --bypass) bypass=yes ;;
    esac
    shift
done
mark=$(dirname "$0")/${address##*:}
if [ "$role" = joiner ]; then
    rm -f "$mark"
    echo "ready $address"
    until [ -e "$mark" ]; do sleep 0.05; done
    cat "$mark"
else
    [ "$bypass" ] || exit 22
    echo "$gtid" >"$mark.new"
    mv "$mark.new" "$mark"
    echo "done $gtid"
fi
"""
C = TypeVar("C", bound="Cluster")


class Node:
    """A server of a cluster, always at the same address."""

    def __init__(self, program: list[str], folder: Path, number: int) -> None:
        self.number = number
        self.port = free_port()
        self.folder = folder
        self.options: list[str] = []
        self.paused = False
        self.program = program
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Node {self.number} {self.address}>"

    @property
    def address(self) -> str:
        """Its host and port, as engines take it."""
        return f"{ADDRESS}:{self.port}"

    @property
    def runs(self) -> bool:
        """Whether its process is there, perhaps paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def answers(self) -> bool:
        """Whether its process is there, and not paused."""
        return self.runs and not self.paused

    def launch(self, *more: str) -> None:
        """Start its process, and wait until that answers."""
        limit = f"--max-user-connections={CONNECTIONS_OF_A_USER}"
        options = [LASTING, BRIEF, limit, *self.options, *more]
        self._process = launch(self.program, self.folder, self.port, None, options)
        try:
            wait_until_ready(self._process, self.port)
        except ServerError as error:
            self.kill()
            tail = (self.folder / "log").read_text(errors="replace")[-2000:]
            raise ServerError(f"{self!r}: {error}; its log ends with:\n{tail}") from None

    def kill(self) -> None:
        """End it as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.paused = False

    def pause(self) -> None:
        """Stop it where it is: the kernel goes on to accept connections for it."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)
        self.paused = False

    def stop(self) -> None:
        """End it in order."""
        self.resume()
        if self._process is not None:
            stop(self._process)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def ask(self, sql: str, *args: Any) -> list[tuple[Any, ...]]:
        """Execute a statement as root and return its rows."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(sql, args or None)
            return list(cursor.fetchall())

    def connect(self) -> pymysql.Connection[Any]:
        """Connect as root."""
        connection = pymysql.connect(
            unix_socket=str(self.folder / "socket"),
            user="root",
            autocommit=True,
            read_timeout=SECONDS,
            ssl_disabled=True,  # certificates of authorities take long to read
        )
        with contextlib.suppress(pymysql.OperationalError):  # 1049: it comes from another yet
            connection.select_db(DATABASE)
        return connection

    def row(self, sql: str) -> dict[str, Any]:
        """Execute a statement as root and return its first row, by the names of its columns."""
        with self.connect() as connection, connection.cursor(DictCursor) as cursor:
            cursor.execute(sql)
            return dict(cursor.fetchone())

    def run(self, *options: str) -> list[str]:
        """Run its program with more options until that ends by itself; return what it says."""
        process = launch(self.program, self.folder, self.port, None, [*self.options, *options])
        process.wait(SECONDS)
        return (self.folder / "log").read_text(errors="replace").splitlines()

    def status(self, name: str) -> str:
        """Return a status variable; "" if the server does not have it."""
        rows = self.ask("SHOW GLOBAL STATUS LIKE %s", name)
        return str(rows[0][1]) if rows else ""

    def put_off(self) -> None:
        """Have a replica receive what is written elsewhere, and not apply it: it gets stale."""
        self.ask("STOP SLAVE SQL_THREAD")

    def catch_up(self) -> None:
        """Have a replica apply what it has put off."""
        self.ask("START SLAVE SQL_THREAD")

    def copy(self, source: Node) -> None:
        """Take the data of another node, as a crash of that would have left them."""
        paused = source.paused
        if source.runs:
            source.pause()
        try:
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            shutil.copytree(source.folder / "data", self.folder / "data")
        finally:
            if not paused:
                source.resume()
        for name in ("auto.cnf", "gvwstate.dat"):  # who a server is, in MySQL and in Galera
            (self.folder / "data" / name).unlink(missing_ok=True)


class Cluster(ABC):
    """Three nodes that replicate."""

    vendor = "mariadb"

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes
        self._isolated: list[Node] = []

    @property
    def hosts(self) -> list[str]:
        """The addresses of the nodes, in the order of their numbers."""
        return [node.address for node in self.nodes]

    @property
    @abstractmethod
    def primary(self) -> Node:
        """The node that takes writes; in Galera the first that does."""

    @property
    def others(self) -> list[Node]:
        """The nodes that are not the primary."""
        primary = self.primary
        return [node for node in self.nodes if node is not primary]

    @abstractmethod
    def begin(self) -> None:
        """Start all of it for the first time."""

    @abstractmethod
    def serves(self, node: Node) -> bool:
        """Tell whether a node is a healthy part of the cluster."""

    def kill(self, node: Node) -> None:
        """End a node as a crash does."""
        node.kill()

    def pause(self, node: Node) -> None:
        """Stop a node where it is: connections to it stay open, and nothing answers."""
        node.pause()

    def resume(self, node: Node) -> None:
        """Let a paused node go on."""
        node.resume()

    def stop(self, node: Node) -> None:
        """End a node in order."""
        node.stop()

    @abstractmethod
    def start(self, node: Node) -> None:
        """Start a node that was killed or stopped, and wait until it is a part of the cluster."""

    @abstractmethod
    def promote(self, node: Node) -> None:
        """Make a node the primary, whether the one that was answers or not."""

    @abstractmethod
    def partition(self, node: Node) -> None:
        """Cut a node off from the other nodes; clients reach it."""

    @abstractmethod
    def heal(self, node: Node) -> None:
        """End the partition of a node."""

    def mend(self) -> None:
        """Have every node serve again."""
        for node in self.nodes:
            if node.paused:
                self.resume(node)
        for node in list(self._isolated):
            self.heal(node)
        for node in self.nodes:
            if not node.runs:
                self.start(node)
        for node in self.nodes:
            self.wait_for(node)

    def restore(self) -> None:
        """Have every node serve again, and the first be the primary."""
        self.mend()
        if self.primary is not self.nodes[0]:
            self.promote(self.nodes[0])

    def empty(self) -> None:
        """Drop what is in the database."""
        with self.primary.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {DATABASE}")
            cursor.execute(f"CREATE DATABASE {DATABASE}")

    @abstractmethod
    def level(self) -> None:
        """Wait until every node has what the primary has."""

    def wait_for(self, node: Node) -> None:
        """Wait until a node serves."""
        wait_until(lambda: self.serves(node), f"{node!r} to serve")


class Replicas(Cluster):
    """A MariaDB primary and its replicas, one of which has all that the primary acknowledges."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__(nodes)
        self._primary = nodes[0]
        self._strayed: set[Node] = set()  # they may have what no other node has
        for node in nodes:
            node.options = [
                *("--log-bin=binlog", "--log-slave-updates=ON", "--binlog-format=ROW"),
                *(f"--server-id={node.number}", "--gtid-strict-mode=ON", "--read-only=ON"),
                *("--rpl-semi-sync-slave-enabled=ON", "--slave-net-timeout=4"),
                # A primary that no replica hears acknowledges nothing: it is fenced.
                "--rpl-semi-sync-master-timeout=86400000",
            ]

    @property
    def primary(self) -> Node:
        return self._primary

    def begin(self) -> None:
        for node in self.nodes:
            node.launch()
        for node in self.others:
            self._follow(node, self._primary)
        self._lead()
        for node in self.nodes:
            self.wait_for(node)

    def serves(self, node: Node) -> bool:
        if not node.answers:
            return False
        if node is self._primary:
            return node.ask("SELECT @@read_only") == [(0,)]
        return (
            node.status("Slave_running") == "ON"
            and node.status("Rpl_semi_sync_slave_status") == "ON"
        )

    def kill(self, node: Node) -> None:
        self._note_end(node)
        node.kill()

    def stop(self, node: Node) -> None:
        self._note_end(node)
        node.stop()

    def _note_end(self, node: Node) -> None:
        if node is self._primary:
            self._strayed.add(node)

    def start(self, node: Node) -> None:
        if node is self._primary:
            node.launch()
            self._lead()
        else:
            if node in self._strayed:
                node.copy(next(other for other in self.others if other.answers))
            node.launch()
            self._follow(node, self._primary)
        self._strayed.discard(node)
        self.wait_for(node)

    def promote(self, node: Node) -> None:
        old = self._primary
        if old is node:
            return
        if old.answers:
            old.ask("SET GLOBAL read_only = 1")
            self._wait_until_level(node, old)
            old.ask("SET GLOBAL rpl_semi_sync_master_enabled = 0")
        else:
            self.kill(old)  # one that is paused would take writes once it is resumed
            self._gather(node)
        self._primary = node
        for other in self.others:
            if other.answers:
                self._follow(other, node)
        self._lead()

    def level(self) -> None:
        for node in self.others:
            self._wait_until_level(node, self._primary)

    def partition(self, node: Node) -> None:
        """Cut a node off from the other nodes; what a primary commits then waits."""
        self._isolated.append(node)
        for replica in self.others if node is self._primary else [node]:
            if replica.answers:
                replica.ask("STOP SLAVE IO_THREAD")

    def heal(self, node: Node) -> None:
        self._isolated.remove(node)
        for replica in self.others:
            if replica.answers:
                replica.ask("START SLAVE IO_THREAD")

    def _lead(self) -> None:
        """Have the primary take writes."""
        node = self._primary
        node.ask("STOP SLAVE")
        node.ask("RESET SLAVE ALL")
        node.ask("SET GLOBAL rpl_semi_sync_master_enabled = 1")
        node.ask("SET GLOBAL read_only = 0")

    def _follow(self, node: Node, source: Node) -> None:
        """Make a node a replica of another, from where it stands."""
        node.ask("STOP SLAVE")
        node.ask("SET GLOBAL rpl_semi_sync_master_enabled = 0")
        node.ask("SET GLOBAL gtid_slave_pos = @@gtid_binlog_pos")
        node.ask(
            "CHANGE MASTER TO MASTER_HOST = %s, MASTER_PORT = %s, MASTER_USER = 'root',"
            " MASTER_USE_GTID = slave_pos, MASTER_CONNECT_RETRY = 1",
            ADDRESS,
            source.port,
        )
        node.ask("START SLAVE")

    def _gather(self, node: Node) -> None:
        """See that a replica has all that any replica has of a primary that is gone."""
        replicas = [other for other in self.others if other.answers]
        for replica in replicas:
            received = replica.row("SHOW SLAVE STATUS")["Gtid_IO_Pos"]
            replica.ask("START SLAVE SQL_THREAD")  # if it has put off what it received
            replica.ask("SELECT MASTER_GTID_WAIT(%s, %s)", received, SECONDS)
        furthest = max(replicas, key=written)
        if written(furthest) > written(node):
            self._follow(node, furthest)
            self._wait_until_level(node, furthest)

    @staticmethod
    def _wait_until_level(node: Node, source: Node) -> None:
        position = source.ask("SELECT @@gtid_binlog_pos")[0][0]
        if node.ask("SELECT MASTER_GTID_WAIT(%s, %s)", position, SECONDS) != [(0,)]:
            raise ServerError(f"{node!r} has not got to {position} of {source!r} in {SECONDS} s")


def written(node: Node) -> int:
    """Return the number of the last transaction that a MariaDB server has, of its only domain."""
    return int(node.ask("SELECT @@gtid_binlog_pos")[0][0].rpartition("-")[2] or 0)


class Galera(Cluster):
    """Three nodes of Galera, each of which takes writes."""

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__(nodes)
        transfer = nodes[0].folder / "wsrep_sst_latest"
        transfer.write_text(NO_TRANSFER)
        transfer.chmod(0o755)
        groups = [free_port() for _ in nodes]
        members = ",".join(f"{ADDRESS}:{port}" for port in groups)
        for node, port in zip(nodes, groups, strict=True):
            provider = {
                "gmcast.listen_addr": f"tcp://{ADDRESS}:{port}",
                "base_port": port,
                "ist.recv_addr": f"{ADDRESS}:{free_port()}",
                "gcache.size": "128M",  # what a node that comes back has missed
                "gcache.recover": "yes",
            }
            node.program = ["env", f"PATH={transfer.parent}:{os.defpath}", *node.program]
            node.options = [
                *("--wsrep-on=ON", f"--wsrep-provider={GALERA}", "--binlog-format=ROW"),
                *(f"--wsrep-cluster-address=gcomm://{members}", "--innodb-autoinc-lock-mode=2"),
                f"--wsrep-provider-options={';'.join(f'{k}={v}' for k, v in provider.items())}",
                *(f"--wsrep-node-address={ADDRESS}", f"--wsrep-node-name={node.number}"),
                *("--wsrep-sst-method=latest", f"--wsrep-sst-receive-address={node.address}"),
            ]

    @property
    def primary(self) -> Node:
        for node in self.nodes:
            if self.serves(node):
                return node
        raise ServerError("no node of the cluster takes writes")

    def begin(self) -> None:
        first, *others = self.nodes
        first.launch("--wsrep-new-cluster")
        self.wait_for(first)
        for node in others:
            node.copy(first)
            self.start(node)

    def serves(self, node: Node) -> bool:
        with contextlib.suppress(pymysql.Error):  # it is starting or ending
            return (
                node.answers
                and node.status("wsrep_ready") == "ON"
                and node.status("wsrep_local_state") == "4"
            )
        return False

    def start(self, node: Node) -> None:
        try:
            self._join(node)
        except ServerError:  # it ends if the others do not agree on its coming in time
            self._join(node)

    def _join(self, node: Node) -> None:
        at = recovered(node)
        more = []
        if not any(other.runs for other in self.nodes):
            more.append("--wsrep-new-cluster")
        elif behind(at, self.primary):
            node.copy(self.primary)
            at = recovered(node)
        node.launch(f"--wsrep-start-position={at}", *more)
        self.wait_for(node)

    def promote(self, node: Node) -> None:
        """Do nothing: all nodes take writes."""

    def level(self) -> None:
        last = max(map(committed, self.nodes))
        wait_until(lambda: min(map(committed, self.nodes)) >= last, "the nodes to be level")

    def partition(self, node: Node) -> None:
        """Cut a node off from the other nodes: it gets to be without a quorum."""
        self._isolated.append(node)
        node.ask("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")

    def heal(self, node: Node) -> None:
        self._isolated.remove(node)
        if node.answers:
            node.ask("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")

    def bootstrap(self, node: Node) -> None:
        """Have a node that is without a quorum go on alone."""
        node.ask("SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'")


def committed(node: Node) -> int:
    """Return the number of the last transaction that a node of Galera has."""
    return int(node.status("wsrep_last_committed"))


def recovered(node: Node) -> str:
    """Return the identity of the cluster and the number of the last transaction in the data."""
    said = node.run("--wsrep-recover")
    found = [line.rpartition(" ")[2] for line in said if "Recovered position: " in line]
    return found[-1]


def behind(position: str, donor: Node) -> bool:
    """Tell whether a node at that position has missed more than another one keeps."""
    last = int(position.rpartition(":")[2])
    return last + 1 < int(donor.status("wsrep_local_cached_downto"))


STATE = (
    "SELECT member_state FROM performance_schema.replication_group_members"
    " WHERE member_id = @@server_uuid"
)
PRIMARY_PORT = (
    "SELECT member_port FROM performance_schema.replication_group_members"
    " WHERE member_role = 'PRIMARY'"
)


class Group(Cluster):
    """Three members of MySQL's Group Replication, one of which is the primary."""

    vendor = "mysql"

    def __init__(self, nodes: list[Node]) -> None:
        super().__init__(nodes)
        name = uuid.uuid4()
        ports = [free_port() for _ in nodes]
        seeds = ",".join(f"{ADDRESS}:{port}" for port in ports)
        for node, port in zip(nodes, ports, strict=True):
            node.options = [
                *("--log-bin=binlog", "--gtid-mode=ON", "--enforce-gtid-consistency=ON"),
                *(f"--server-id={node.number}", "--performance-schema=ON"),
                *(f"--plugin-dir={plugins(node.program)}", f"--report-host={ADDRESS}"),
                *("--plugin-load-add=group_replication.so", f"--report-port={node.port}"),
                *(
                    f"--loose-group-replication-{option}"
                    for option in (
                        f"group-name={name}",
                        "start-on-boot=OFF",
                        f"local-address={ADDRESS}:{port}",
                        f"group-seeds={seeds}",
                        "recovery-get-public-key=ON",
                    )
                ),
            ]

    @property
    def primary(self) -> Node:
        for node in self.nodes:
            if self.serves(node):
                port = node.ask(PRIMARY_PORT)[0][0]
                return next(node for node in self.nodes if node.port == port)
        raise ServerError("no member of the group knows of a primary")

    def elected(self) -> bool:
        """Tell whether there is a primary that takes writes."""
        with contextlib.suppress(ServerError, pymysql.Error):
            return self.primary.ask("SELECT @@super_read_only") == [(0,)]
        return False

    def begin(self) -> None:
        for node in self.nodes:
            # The lowest of these is elected.
            name = f"{node.number:08}-0000-4000-8000-000000000000"
            (node.folder / "data/auto.cnf").write_text(f"[auto]\nserver-uuid={name}\n")
            node.launch()
        for node in self.nodes:
            self._join(node, new=node is self.nodes[0])

    def serves(self, node: Node) -> bool:
        with contextlib.suppress(pymysql.Error):  # it is starting or ending
            return (
                node.answers and node.ask(STATE) == [("ONLINE",)] and bool(node.ask(PRIMARY_PORT))
            )
        return False

    def start(self, node: Node) -> None:
        node.launch()
        self._join(node, new=not any(self.serves(other) for other in self.nodes))

    def _join(self, node: Node, new: bool) -> None:
        node.ask(
            "CHANGE REPLICATION SOURCE TO SOURCE_USER = 'root'"
            " FOR CHANNEL 'group_replication_recovery'"
        )
        node.ask("SET GLOBAL group_replication_bootstrap_group = %s", new)
        node.ask("START GROUP_REPLICATION")
        node.ask("SET GLOBAL group_replication_bootstrap_group = 0")
        super().wait_for(node)

    def mend(self) -> None:
        super().mend()
        wait_until(self.elected, "a primary that takes writes")

    def wait_for(self, node: Node) -> None:
        """Wait until a member is in the group; one that stays outside is started once more."""
        with contextlib.suppress(ServerError):
            wait_until(lambda: self.serves(node), f"{node!r} to serve", SECONDS / 3)
            return
        node.kill()
        self.start(node)

    def promote(self, node: Node, seconds: int | None = None) -> None:
        """Make a member the primary; after those seconds open transactions are ended by force."""
        more = "" if seconds is None else f", {seconds}"
        node.ask(f"SELECT group_replication_set_as_primary(@@server_uuid{more})")

    def level(self) -> None:
        executed = self.primary.ask("SELECT @@gtid_executed")[0][0]
        for node in self.nodes:
            sql = "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)"
            if node.ask(sql, executed, SECONDS) != [(0,)]:
                raise ServerError(f"{node!r} has not got to {executed} in {SECONDS} s")

    def partition(self, node: Node) -> None:
        """Have a member leave the group; it goes on to serve reads."""
        self._isolated.append(node)
        node.ask("STOP GROUP_REPLICATION")

    def heal(self, node: Node) -> None:
        self._isolated.remove(node)
        if node.answers:
            node.ask("START GROUP_REPLICATION")
            self.wait_for(node)


def plugins(program: list[str]) -> Path:
    """Return the folder of the plugins that belong to a MySQL server's program."""
    return Path(program[-1]).parent.parent / "lib/mysql/plugin"


@contextlib.contextmanager
def replicas() -> Iterator[Replicas]:
    """Start a MariaDB primary with two replicas, and remove them at the end."""
    with cluster(Replicas, mariadb_program()) as started:
        yield started


@contextlib.contextmanager
def galera() -> Iterator[Galera]:
    """Start three nodes of Galera, and remove them at the end."""
    if not GALERA.exists():
        raise ServerError(f"no {GALERA}: install {GALERA_PACKAGE}")
    with cluster(Galera, mariadb_program()) as started:
        yield started


@contextlib.contextmanager
def group() -> Iterator[Group]:
    """Start three members of Group Replication, and remove them at the end."""
    with cluster(Group, group_program()) as started:
        yield started


@contextlib.contextmanager
def cluster(kind: Callable[[list[Node]], C], program: list[str]) -> Iterator[C]:
    """Start three nodes of a kind of cluster, and remove them at the end."""
    with contextlib.ExitStack() as stack:
        parent = memory() or Path(tempfile.gettempdir())
        remove_leftovers(parent)
        nodes = []
        for number in range(1, SIZE + 1):
            folder = Path(stack.enter_context(new_folder(parent)))
            nodes.append(Node(program, folder, number))
            stack.callback(nodes[-1].kill)
        prepare_data(program, nodes)
        started = kind(nodes)
        started.begin()
        yield started


@contextlib.contextmanager
def new_folder(parent: Path) -> Iterator[Path]:
    """Make a folder that is removed at the end, or by the next process if this one is killed."""
    with (
        tempfile.TemporaryDirectory("", PREFIX, parent, ignore_cleanup_errors=True) as name,
        own(Path(name)),
    ):
        yield Path(name)


def prepare_data(program: list[str], nodes: list[Node]) -> None:
    """Give all nodes the same data: the accounts, and the database."""
    first, *others = nodes
    create_data_directory(program, first.folder)
    statements = first.folder / "first.sql"
    statements.write_text(FIRST_STATEMENTS + ACCOUNTS)
    first.launch()
    first.stop()
    statements.write_text("")
    for node in others:
        node.copy(first)
        (node.folder / "first.sql").write_text("")


def mariadb_program() -> list[str]:
    """Give the command of MariaDB's server."""
    program = server_program()
    if is_mariadb(program):
        return program
    found = find_program("mariadbd")
    if found is None:
        raise ServerError("no mariadbd: install mariadb-server-core")
    return [found]


def group_program() -> list[str]:
    """Give the command of a MySQL server that has Group Replication."""
    program = server_program() if "AIOMYSQLX_MYSQLD" in os.environ else mysql_program()
    if is_mariadb(program):
        program = mysql_program()
    if not (plugins(program) / "group_replication.so").exists():
        raise ServerError(f"no group_replication.so in {plugins(program)}")
    return program


def wait_until(condition: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    """Wait until something holds; raise ServerError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ServerError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(0.05)
