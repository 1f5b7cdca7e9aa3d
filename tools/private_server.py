"""A database server for the demo, the tests and the benchmarks; needs only the standard library.

`database_server()` gives the server at AIOMYSQLX_TEST_URL when that is set, else a private one: its
data live in a temporary folder, in memory where there is room, it listens on a Unix socket and a
free loopback port, and it is stopped and removed at the end. AIOMYSQLX_MYSQLD names the server
program, with arguments if need be, when it is not the `mariadbd` or `mysqld` on PATH.

`pytest-mysql` is not used: it serves neither the demo nor the benchmarks, makes no TLS
certificates, and does not start as root.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
START_ATTEMPTS = 3
DATABASE = "test"
# Creating and dropping a table takes a tenth of the time there, and a third of the processor's.
MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # for several servers, of some 200 MB each
PREFIX = "aiomysqlx-"
OWNER = "owner"  # a file in the folder, which its process has locked for as long as it lives
DEBIAN_PACKAGES = ("mariadb-server-core", "mariadb-client-core")
MARIADB_TOOLS = ("mariadb-install-db", "my_print_defaults")
REMEDY = f"install {' and '.join(DEBIAN_PACKAGES)}, or set AIOMYSQLX_TEST_URL"
# MySQL itself makes root@localhost only, which is the Unix socket's user.
FIRST_STATEMENTS = f"""\
CREATE USER IF NOT EXISTS root@'127.0.0.1';
GRANT ALL PRIVILEGES ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
CREATE DATABASE IF NOT EXISTS {DATABASE};
"""

# A private server otherwise writes its log now and then: the data are nobody's.
DURABLE = "SET GLOBAL innodb_flush_log_at_trx_commit = 1;\n"


class ServerError(Exception):
    """No database server can be had."""


@dataclass(frozen=True)
class Certificates:
    """Files of a TLS server and of a client that it accepts; one authority signs both."""

    ca: Path
    cert: Path
    key: Path
    client_cert: Path
    client_key: Path


@dataclass(frozen=True)
class Server:
    """A running server and how to reach it."""

    host: str
    port: int
    user: str
    password: str
    version: str
    unix_socket: str | None = None
    database: str = ""
    private: bool = False
    certificates: Certificates | None = None

    @property
    def flavour(self) -> str:
        """`mariadb` or `mysql`."""
        return "mariadb" if "mariadb" in self.version.lower() else "mysql"

    def url(self, database: str | None = None) -> str:
        """Give the URL of *database*, by default the one that this server was named with."""
        credentials = quote(self.user, safe="")
        if self.password:
            credentials += ":" + quote(self.password, safe="")
        host = f"[{self.host}]" if ":" in self.host else self.host
        name = self.database if database is None else database
        return f"mysql://{credentials}@{host}:{self.port}/{name}"

    def __str__(self) -> str:
        kind = "private" if self.private else "AIOMYSQLX_TEST_URL"
        return f"{self.version} ({kind}, {self.host}:{self.port})"


@contextlib.contextmanager
def database_server(*, tls: bool = False) -> Iterator[Server]:
    """Give the server at AIOMYSQLX_TEST_URL if that is set, else a private one."""
    url = os.environ.get("AIOMYSQLX_TEST_URL")
    if url:
        yield server_at(url)
        return
    with private_server(tls=tls) as server:
        yield server


def find_server() -> str:
    """Tell, without starting one, which server database_server() gives."""
    url = os.environ.get("AIOMYSQLX_TEST_URL")
    return str(server_at(url)) if url else f"private, {program_version(server_program())}"


def find_flavour() -> str:
    """Tell, without starting it, whether that server is `mariadb` or `mysql`."""
    url = os.environ.get("AIOMYSQLX_TEST_URL")
    if url:
        return server_at(url).flavour
    return "mariadb" if is_mariadb(server_program()) else "mysql"


def server_at(url: str) -> Server:
    """Give the running server that *url* names; raise ServerError if none answers there."""
    parts = urlsplit(url)
    if not parts.scheme.startswith(("mysql", "mariadb")) or not parts.hostname:
        raise ServerError("expected a URL like mysql://root@127.0.0.1:3306/test")
    host, port = parts.hostname, parts.port or 3306
    unix_socket = parse_qs(parts.query).get("unix_socket", [None])[0]
    try:
        version = greeting(host, port)
    except OSError as error:
        raise ServerError(f"no server at {host}:{port}: {error}") from None
    return Server(
        host,
        port,
        unquote(parts.username or "root"),
        unquote(parts.password or ""),
        version,
        unix_socket,
        parts.path.lstrip("/") or DATABASE,
    )


@contextlib.contextmanager
def private_server(*, tls: bool = False) -> Iterator[Server]:
    """Start a throw-away server, with TLS certificates if asked for, and remove it at the end."""
    with mortal_server(tls=tls) as mortal:
        yield mortal.server


class MortalServer:
    """A private server that can be killed and started again, on the same port and data."""

    def __init__(self, program: list[str], folder: Path, certificates: Certificates | None) -> None:
        self._program = program
        self._folder = folder
        self._certificates = certificates
        self._process, port, version = start(program, folder, certificates)
        self.server = Server(
            "127.0.0.1",
            port,
            "root",
            "",
            version,
            str(folder / "socket"),
            DATABASE,
            private=True,
            certificates=certificates,
        )

    @property
    def runs(self) -> bool:
        """Whether it has been started and not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        stop(self._process)

    def launch(self) -> None:
        """Start it again and return at once: it answers after a while."""
        self._process = launch(self._program, self._folder, self.server.port, self._certificates)

    def crash(self) -> None:
        """Kill it, start it again and wait until it answers."""
        self.kill()
        self.revive()

    def revive(self) -> None:
        """Start it again if it does not run, and wait until it answers."""
        if not self.runs:
            self.launch()
        wait_until_ready(self._process, self.server.port)


@contextlib.contextmanager
def mortal_server(*, tls: bool = False, durable: bool = False) -> Iterator[MortalServer]:
    """Start a throw-away server that a test may kill, and remove it at the end.

    If *durable* it loses nothing committed or prepared when it is killed.
    """
    program = server_program()
    parent = memory() or Path(tempfile.gettempdir())
    remove_leftovers(parent)
    with (
        tempfile.TemporaryDirectory("", PREFIX, parent, ignore_cleanup_errors=True) as name,
        own(Path(name)),
    ):
        folder = Path(name)
        certificates = make_certificates(folder) if tls else None
        create_data_directory(program, folder)
        (folder / "first.sql").write_text(FIRST_STATEMENTS + (DURABLE if durable else ""))
        mortal = MortalServer(program, folder, certificates)
        try:
            yield mortal
        finally:
            mortal.stop()


@contextlib.contextmanager
def own(folder: Path) -> Iterator[None]:
    """Mark a folder as that of this process, until it ends or the block does."""
    with open(folder / f"{OWNER}.new", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # Not before: who finds the file, and can lock it, takes the folder for a leftover.
        os.rename(file.name, folder / OWNER)
        yield


def remove_leftovers(parent: Path) -> None:
    """End the servers that killed processes have left, and remove their folders."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), open(folder / OWNER) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            end_server_of(folder)
            shutil.rmtree(folder, ignore_errors=True)


def end_server_of(folder: Path) -> None:
    """End the server whose data are in a folder, if it runs: it would write there meanwhile."""
    with contextlib.suppress(OSError, ValueError):
        pid = int((folder / "pid").read_text())
        deadline = time.monotonic() + STOP_TIMEOUT
        while bytes(folder) in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            if time.monotonic() > deadline:
                break
            time.sleep(0.01)


def memory() -> Path | None:
    """Return the folder of files in memory; None if there is none, or little room in it."""
    with contextlib.suppress(OSError):
        if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
            return MEMORY
    return None


def server_program() -> list[str]:
    """Give the command of the server program; raise ServerError if there is none that can start."""
    command = os.environ.get("AIOMYSQLX_MYSQLD")
    found = shlex.split(command) if command else []
    for name in ("mariadbd", "mysqld"):
        path = find_program(name)
        if path and not found:
            found = [path]
    if not found:
        raise ServerError(f"no mariadbd or mysqld: {REMEDY}")
    if is_mariadb(found):
        for tool in MARIADB_TOOLS:
            if find_program(tool) is None:
                raise ServerError(f"no {tool}, which mariadbd needs: {REMEDY}")
    return found


def find_program(name: str) -> str | None:
    """Give the path of a program; Debian leaves /usr/sbin out of an ordinary user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin"])
    return shutil.which(name, path=path)


def is_mariadb(program: list[str]) -> bool:
    return "mariadb" in program_version(program).lower()


def program_version(program: list[str]) -> str:
    """Give what the server program says of its version."""
    return run([*program, "--no-defaults", "--version"]).strip()


def create_data_directory(program: list[str], folder: Path) -> None:
    """Fill folder/data with the system tables of a server whose root has no password."""
    options = ["--no-defaults", f"--datadir={folder / 'data'}", *run_as()]
    if not is_mariadb(program):
        run([*program, *options, f"--secure-file-priv={folder}", "--initialize-insecure"])
        return
    run(
        [
            *("mariadb-install-db", *options),
            # A server removes what it takes for its own leftovers there, also another one's tables.
            f"--tmpdir={folder}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]
    )


def run_as() -> list[str]:
    """Give the option without which root may not start a server."""
    return ["--user=root"] if os.geteuid() == 0 else []


def start(
    program: list[str], folder: Path, certificates: Certificates | None
) -> tuple[subprocess.Popen[bytes], int, str]:
    """Start the server on a free port and give its process, port and version once it answers."""
    for attempt in range(1, START_ATTEMPTS + 1):
        port = free_port()
        process = launch(program, folder, port, certificates)
        try:
            return process, port, wait_until_ready(process, port)
        except ServerError as error:
            ended = process.poll() is not None
            stop(process)
            # Another process may have taken the port meanwhile: try the next one.
            if not ended or attempt == START_ATTEMPTS:
                tail = (folder / "log").read_text(errors="replace")[-2000:]
                raise ServerError(f"{error}; its log ends with:\n{tail}") from None
        except BaseException:
            stop(process)
            raise
    raise AssertionError("the last attempt returns or raises")


def launch(
    program: list[str],
    folder: Path,
    port: int,
    certificates: Certificates | None,
    more: Sequence[str] = (),
) -> subprocess.Popen[bytes]:
    """Run the server program, with *more* options; it answers after a while."""
    with open(folder / "log", "wb") as log:
        # A session of its own keeps the terminal's Ctrl-C from it: it is stopped in order.
        return subprocess.Popen(
            [*program, *server_options(folder, port, certificates), *more],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def server_options(folder: Path, port: int, certificates: Certificates | None) -> list[str]:
    """Give the options of a server that is quick to start and whose data nobody will miss."""
    options = [
        "--no-defaults",
        *run_as(),
        f"--datadir={folder / 'data'}",
        f"--tmpdir={folder}",
        f"--init-file={folder / 'first.sql'}",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'pid'}",
        f"--port={port}",
        "--bind-address=127.0.0.1",
        "--skip-name-resolve",
        "--skip-log-bin",
        "--performance-schema=OFF",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-flush-method=nosync",  # a killed server's writes are kept, as the machine goes on
        "--loose-sync-frm=OFF",
        "--innodb-buffer-pool-size=64M",
        "--innodb-data-file-path=ibdata1:12M:autoextend:max:128M",
        "--character-set-server=utf8mb4",
        "--max-allowed-packet=64M",
        "--max-connections=500",
        "--max-connect-errors=1000000",
        "--local-infile=ON",
        "--loose-mysqlx=OFF",
        f"--secure-file-priv={folder}",
    ]
    if certificates:
        options += [
            f"--ssl-ca={certificates.ca}",
            f"--ssl-cert={certificates.cert}",
            f"--ssl-key={certificates.key}",
        ]
    return options


def free_port() -> int:
    """Give a loopback port that nothing listens on, and that stays free while its server is down.

    It is none of those that the system gives to sockets that connect: one may be given the very
    port before the server has it; and one that tries to reach a server that is down may be given
    that, and then is connected to itself.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(lowest // 2, lowest)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def wait_until_ready(process: subprocess.Popen[bytes], port: int) -> str:
    """Give the server's version once it greets; raise ServerError if it ends or takes too long."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        if process.poll() is not None:
            raise ServerError(f"the server ended with status {process.returncode}")
        try:
            return greeting("127.0.0.1", port)
        except OSError as error:
            if time.monotonic() > deadline:
                raise ServerError(f"no answer in {START_TIMEOUT:.0f} s: {error}") from None
        time.sleep(0.02)


def greeting(host: str, port: int) -> str:
    """Give the version that the server at this address greets with; raise OSError if none does."""
    with socket.create_connection((host, port), timeout=5) as connection:
        packet = connection.makefile("rb").read1(1024)
    # 4 bytes of header, the protocol number 10, the version, a zero byte
    if len(packet) < 6 or packet[4] != 10:
        raise ConnectionError(f"expected the greeting of MySQL or MariaDB, got {packet[4:]!r}")
    version = packet[5:].split(b"\0", 1)[0].decode("ascii", "replace")
    if "mariadb" in version.lower():
        return version.removeprefix("5.5.5-")
    return f"MySQL {version}"


def stop(process: subprocess.Popen[bytes]) -> None:
    """End the server, politely first."""
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def make_certificates(folder: Path) -> Certificates:
    """Make an authority and a server's and a client's certificate, for localhost and 127.0.0.1."""
    if shutil.which("openssl") is None:
        raise ServerError("no openssl found: install openssl")
    ca, ca_key = folder / "ca.pem", folder / "ca-key.pem"
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]  # RSA takes long
    self_signed = ["openssl", "req", "-x509", "-nodes", "-days", "30", *new_key]
    run(
        [
            *self_signed,
            *("-subj", "/CN=aiomysqlx test authority"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),  # Python 3.13 insists on it
            *("-keyout", ca_key, "-out", ca),
        ]
    )
    for name in ("server", "client"):
        run(
            [
                *self_signed,
                *("-subj", f"/CN={name}", "-CA", ca, "-CAkey", ca_key),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-addext", "basicConstraints=critical,CA:FALSE"),
                *("-keyout", folder / f"{name}-key.pem", "-out", folder / f"{name}.pem"),
            ]
        )
    return Certificates(
        ca,
        folder / "server.pem",
        folder / "server-key.pem",
        folder / "client.pem",
        folder / "client-key.pem",
    )


def run(command: list[str | Path]) -> str:
    """Run a command and give what it prints; raise ServerError with its last words if it fails."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError as error:
        raise ServerError(f"{command[0]} cannot be run: {error.strerror}") from None
    if done.returncode:
        words = (done.stdout + done.stderr)[-2000:]
        raise ServerError(f"{command[0]} ended with status {done.returncode}:\n{words}")
    return done.stdout
