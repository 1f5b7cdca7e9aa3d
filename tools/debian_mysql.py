"""MySQL's server from Debian's unstable release, unpacked beside the environments.

Debian's stable releases have MariaDB only. apt fetches the server and the libraries that it needs
into a folder of their own, with Debian's signatures checked, and installs nothing: that takes
neither root nor a chroot, since the server runs with its own loader and its own libraries.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from environments import ROOT
from machine import fail, note
from private_server import ServerError, find_flavour, find_program, find_server, is_mariadb

# Beside .venv, so that `make clean` removes it and nothing is left in the user's home.
FOLDER = ROOT / ".mysql"
PACKAGE = "mysql-server-core"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCE = "deb [arch={arch} signed-by={keyring}] http://deb.debian.org/debian sid main\n"
REMEDY = "install MySQL's server, or set AIOMYSQLX_MYSQLD or AIOMYSQLX_TEST_URL"


def require_mysql() -> None:
    """See that the server to test against is MySQL."""
    try:
        if not (os.environ.get("AIOMYSQLX_TEST_URL") or os.environ.get("AIOMYSQLX_MYSQLD")):
            os.environ["AIOMYSQLX_MYSQLD"] = shlex.join(mysql_program())
        if find_flavour() != "mysql":
            fail(f"expected a MySQL server, got {find_server()}")
    except ServerError as error:
        fail(str(error))


def mysql_program() -> list[str]:
    """Give the command of MySQL's server: the one on PATH, else Debian's."""
    path = find_program("mysqld")
    if path and not is_mariadb([path]):
        return [path]
    if not FOLDER.exists():
        fetch()
    (loader,) = FOLDER.glob("usr/lib/*-linux-gnu/ld-linux*.so.*")
    libraries = f"{loader.parent}:{FOLDER / 'usr/lib/mysql/private'}"
    return [str(loader), "--library-path", libraries, str(FOLDER / "usr/sbin/mysqld")]


def fetch() -> None:
    """Make the folder; it gets its name once all is in it."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and KEYRING.exists()):
        raise ServerError(f"no mysqld of MySQL, and this is not Debian: {REMEDY}")
    note(f"fetching MySQL from Debian's unstable release into {FOLDER.name}")
    with tempfile.TemporaryDirectory(prefix=f"{FOLDER.name}-", dir=FOLDER.parent) as name:
        folder = Path(name)
        apt = apt_command(folder)
        call([*apt, "update"])
        call([*apt, "install", "--download-only", "--no-install-recommends", "-y", PACKAGE])
        for package in sorted(folder.glob("archives/*.deb")):
            call(["dpkg-deb", "--extract", str(package), str(folder / "root")])
        (folder / "root").rename(FOLDER)


def apt_command(folder: Path) -> list[str]:
    """Give the apt-get that knows of nothing but *folder* and Debian's unstable release."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # no package is installed
    arch = call(["dpkg", "--print-architecture"]).strip()
    (folder / "sources.list").write_text(SOURCE.format(arch=arch, keyring=KEYRING))
    options = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Acquire::Languages": "none",
        "APT::Sandbox::User": "root",  # the user _apt may not write here
        "APT::Update::Error-Mode": "any",
    }
    return ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]


def call(command: list[str]) -> str:
    """Run a command and give what it prints; raise ServerError with its first line if it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"status {done.returncode}").splitlines()[0]
        raise ServerError(f"MySQL could not be fetched ({command[0]}: {reason}): {REMEDY}")
    return done.stdout
