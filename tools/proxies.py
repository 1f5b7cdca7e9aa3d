"""HAProxy and MySQL Router in front of private servers, on free loopback ports.

Both come from Debian's unstable release, into a folder beside the environments: the packages would
start services of the machine.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from debian import command, fetch
from environments import ROOT
from machine import fail
from private_server import START_TIMEOUT, ServerError, find_program, free_port, stop

FOLDER = ROOT / ".proxies"
PACKAGES = ("haproxy", "mysql-router")
REMEDY = "install haproxy and mysql-router"
ADDRESS = "127.0.0.1"
CHECK_USER = "haproxy"
"""Whom HAProxy logs in as, without a password, to see whether a server answers."""


def require_proxies() -> None:
    """See that there are HAProxy and MySQL Router."""
    try:
        haproxy_program()
        router_program()
    except ServerError as error:
        fail(str(error))


def haproxy_program() -> list[str]:
    """Give the command of HAProxy: the one on PATH, else Debian's."""
    return _program("haproxy", "usr/sbin/haproxy")


def router_program() -> list[str]:
    """Give the command of MySQL Router: the one on PATH, else Debian's."""
    return _program("mysqlrouter", "usr/bin/mysqlrouter", "usr/lib/mysql-router")


def _program(name: str, path: str, *libraries: str) -> list[str]:
    found = find_program(name)
    if found:
        return [found]
    if not FOLDER.exists():
        fetch(FOLDER, PACKAGES, REMEDY)
    return command(FOLDER, path, *libraries)


class HAProxy:
    """A running HAProxy, in TCP mode; `ports` has those of its listeners by their names."""

    def __init__(self, folder: Path, ports: dict[str, int]) -> None:
        self.ports = ports
        self._folder = folder

    def ask(self, line: str) -> str:
        """Give what it answers to a command on its admin socket."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self._folder / "admin"))
            connection.sendall(line.encode() + b"\n")
            with connection.makefile("rb") as file:
                return file.read().decode()


HAPROXY = """\
global
    stats socket {folder}/admin level admin
    maxconn 500

defaults
    mode tcp
    timeout connect 2s
    timeout client 1h
    timeout server 1h
    # A server of a busy machine may take its time; one that has gone refuses at once.
    timeout check 5s
    # What a check finds ends the sessions on a server; the next goes to another one.
    default-server check inter 100ms fall 1 rise 1 on-marked-down shutdown-sessions

{listeners}
"""


@contextlib.contextmanager
def haproxy(listeners: dict[str, Sequence[str]]) -> Iterator[HAProxy]:
    """Start HAProxy with *listeners*, the lines of which say where they lead, and how."""
    ports = {name: free_port() for name in listeners}
    with tempfile.TemporaryDirectory(prefix="aiomysqlx-haproxy-") as name:
        folder = Path(name)
        blocks = [
            "\n    ".join([f"listen {name}", f"bind {ADDRESS}:{ports[name]}", *lines])
            for name, lines in listeners.items()
        ]
        configuration = HAPROXY.format(folder=folder, listeners="\n\n".join(blocks))
        (folder / "haproxy.cfg").write_text(configuration)
        with _running(
            [*haproxy_program(), "-db", "-f", str(folder / "haproxy.cfg")], folder, ports
        ):
            yield HAProxy(folder, ports)


ROUTER = """\
[DEFAULT]
logging_folder =
runtime_folder = {folder}
data_folder = {folder}
{plugins}

[logger]
level = WARNING

{routes}
"""


@contextlib.contextmanager
def router(routes: dict[str, Sequence[str]]) -> Iterator[dict[str, int]]:
    """Start MySQL Router with *routes*, and give their ports; the lines say where they lead."""
    ports = {name: free_port() for name in routes}
    program = router_program()
    with tempfile.TemporaryDirectory(prefix="aiomysqlx-router-") as made:
        folder = Path(made)
        blocks = []
        for name, lines in routes.items():
            bind = f"bind_address = {ADDRESS}", f"bind_port = {ports[name]}"
            blocks.append("\n".join((f"[routing:{name}]", *bind, *lines)))
        # One with its own loader has its plugins where it was unpacked.
        plugins = FOLDER / "usr/lib/mysqlrouter/plugin" if len(program) > 1 else ""
        (folder / "router.conf").write_text(
            ROUTER.format(
                folder=folder,
                plugins=f"plugin_folder = {plugins}" if plugins else "",
                routes="\n\n".join(blocks),
            )
        )
        with _running([*program, "-c", str(folder / "router.conf")], folder, ports):
            yield ports


@contextlib.contextmanager
def _running(command: list[str], folder: Path, ports: dict[str, int]) -> Iterator[None]:
    """Run a proxy for the block, once all its ports answer."""
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not all(map(_answers, ports.values())):
            if process.poll() is not None or time.monotonic() > deadline:
                words = (folder / "log").read_text(errors="replace")[-2000:]
                raise ServerError(f"{Path(command[-3]).name} does not answer:\n{words}")
            time.sleep(0.02)
        yield
    finally:
        stop(process)


def _answers(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), timeout=5).close()
    except OSError:
        return False
    return True
