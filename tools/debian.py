"""Programs from Debian, by default its unstable release, unpacked beside the environments.

apt fetches packages and the libraries that they need into a folder of their own, with Debian's
signatures checked, and installs nothing: that takes neither root nor a chroot, since the programs
run with their own loader and their own libraries, and no service of the machine is started.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from machine import note
from private_server import ServerError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SOURCE = "deb [arch={arch} signed-by={keyring}] http://deb.debian.org/debian {release} main\n"


def command(folder: Path, program: str, *libraries: str) -> list[str]:
    """Give the command of a program in a folder that was fetched; *libraries* are private ones."""
    (loader,) = folder.glob("usr/lib/*-linux-gnu/ld-linux*.so.*")
    paths = [str(loader.parent), *(str(folder / name) for name in libraries)]
    return [str(loader), "--library-path", ":".join(paths), str(folder / program)]


def fetch(folder: Path, packages: Sequence[str], remedy: str, release: str = "sid") -> None:
    """Make a folder of packages, which gets its name once all is in it.

    Raises `ServerError` with its *remedy* if that cannot be.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and KEYRING.exists()):
        raise ServerError(f"no {packages[0]}, and this is not Debian: {remedy}")
    note(f"fetching {' and '.join(packages)} from Debian {release} into {folder.name}")
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-", dir=folder.parent) as name:
        new = Path(name)
        try:
            apt = _apt_command(new, release)
            _call([*apt, "update"])
            _call([*apt, "install", "--download-only", "--no-install-recommends", "-y", *packages])
            for package in sorted(new.glob("archives/*.deb")):
                _call(["dpkg-deb", "--extract", str(package), str(new / "root")])
        except subprocess.CalledProcessError as error:
            reason = (error.stderr.strip() or f"status {error.returncode}").splitlines()[0]
            failed = f"{packages[0]} could not be fetched ({error.cmd[0]}: {reason})"
            raise ServerError(f"{failed}: {remedy}") from None
        (new / "root").rename(folder)


def _apt_command(folder: Path, release: str) -> list[str]:
    """Give the apt-get that knows of nothing but *folder* and a release of Debian."""
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()  # no package is installed
    arch = _call(["dpkg", "--print-architecture"]).strip()
    (folder / "sources.list").write_text(SOURCE.format(arch=arch, keyring=KEYRING, release=release))
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


def _call(command: list[str]) -> str:
    """Run a command and give what it prints."""
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout
