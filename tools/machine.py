"""What the demo and the tests need from the machine, installed with apt where that is possible."""

from __future__ import annotations

import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from private_server import DEBIAN_PACKAGES, ServerError, server_program

MIN_PYTHON = (3, 10)
GALERA = Path("/usr/lib/galera/libgalera_smm.so")
GALERA_PACKAGE = "galera-4"

BUILD_SETTINGS = """
import json, sysconfig
settings = {"compiler": sysconfig.get_config_var("CC"), "include": sysconfig.get_path("include")}
print(json.dumps(settings))
"""


def fail(problem: str) -> NoReturn:
    """End the command with one line that says what is wrong."""
    raise SystemExit(f"aiomysqlx: {problem}")


def note(message: str) -> None:
    """Tell the user something, in order with what other programs print."""
    print(f"aiomysqlx: {message}", flush=True)


def start(main: Callable[[], int]) -> NoReturn:
    """Run a command's main function; Ctrl-C and SIGTERM end it in order and without a traceback."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)


def run(command: list[str], **environment: str) -> int:
    """Run a command with additional environment variables and give its exit status.

    On Ctrl-C, wait for the command to end in its own way: it may have a server to stop.
    """
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise


def require_server() -> None:
    """See that there is a server to test against."""
    if os.environ.get("AIOMYSQLX_TEST_URL"):
        return
    try:
        server_program()
    except ServerError:
        # The programs alone: the package mariadb-server starts a server for the whole machine.
        apt_install(*DEBIAN_PACKAGES)
    try:
        server_program()
    except ServerError as error:
        fail(str(error))


def require_galera() -> None:
    """See that MariaDB's servers can be nodes of Galera."""
    if not (GALERA.exists() or apt_install(GALERA_PACKAGE)):
        fail(f"no {GALERA}: install {GALERA_PACKAGE}")


def require_openssl() -> None:
    """See that certificates can be made for the private server's TLS."""
    if not (shutil.which("openssl") or apt_install("openssl")):
        fail("no openssl: install openssl")


def require_venv() -> None:
    """See that this Python is new enough and makes virtual environments."""
    if sys.version_info < MIN_PYTHON:
        fail(f"Python 3.10 or newer is needed, {sys.executable} is {sys.version.split()[0]}")
    package = f"python3.{sys.version_info[1]}-venv"
    if not (makes_venvs(sys.executable) or apt_install(package)):
        fail(f"{sys.executable} cannot make virtual environments: install {package}")


def makes_venvs(python: str) -> bool:
    """Tell whether this Python has what virtual environments need, which Debian packages apart."""
    return succeeds([python, "-c", "import ensurepip, venv"])


@functools.cache
def have_compiler() -> bool:
    """Tell whether extensions can be built for this Python, once apt has done what it may."""
    if compiles(sys.executable):
        return True
    apt_install("gcc", "libc6-dev", f"libpython3.{sys.version_info[1]}-dev")
    return compiles(sys.executable)


def require_compiler() -> None:
    """See that extensions can be built."""
    if not have_compiler():
        fail("no C compiler for the compiled build: install gcc, libc6-dev and python3-dev")


def require_valgrind() -> None:
    """See that there is valgrind."""
    if not (shutil.which("valgrind") or apt_install("valgrind", "libc6-dbg")):
        fail("no valgrind: apt-get install valgrind libc6-dbg")


def compiles(python: str) -> bool:
    """Tell whether a C file that includes this Python's header compiles."""
    build = json.loads(subprocess.check_output([python, "-c", BUILD_SETTINGS]))
    compiler = shlex.split(os.environ.get("CC") or build["compiler"] or "cc")
    command = [*compiler, "-fsyntax-only", f"-I{build['include']}", "-xc", "-"]
    return succeeds(command, "#include <Python.h>\n")


def succeeds(command: list[str], text: str = "") -> bool:
    """Tell whether a command ends well; what it prints does not matter."""
    try:
        return subprocess.run(command, input=text, capture_output=True, text=True).returncode == 0
    except OSError:
        return False


def apt_install(*packages: str) -> bool:
    """Install Debian packages and tell whether that worked; needs root, or sudo."""
    apt = administrator()
    if apt is None or not shutil.which("apt-get"):
        return False
    note(f"installing {' '.join(packages)} with apt")
    # Its standard output is a line per step of each package; problems go to standard error.
    quiet = ["sh", "-c", 'exec "$@" >/dev/null', "sh"]
    apt += [*quiet, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    apt_update(tuple(apt))
    return run([*apt, "install", "-y", "--no-install-recommends", *packages]) == 0


@functools.cache
def apt_update(apt: tuple[str, ...]) -> None:
    # A source that is out of reach need not be the one that has the package.
    run([*apt, "update"])


def administrator() -> list[str] | None:
    """Give the command prefix that makes one root; None if there is none."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        return None
    return ["sudo"] if sys.stdin and sys.stdin.isatty() else ["sudo", "-n"]
