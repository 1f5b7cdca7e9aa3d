"""The wheels of dist/ on Debian with nothing but Python: no compiler, no network, no checkout.

Debian's packages of Python are unpacked into a folder, a copy of which becomes the root directory.
There pip has the choice of all the wheels, and the quick start runs on a server of the machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from debian import fetch
from environments import ROOT
from machine import note
from private_server import database_server
from wheels import DIST, RELEASE, call

RELEASES = ("bookworm", "trixie", "sid")
PACKAGES = ("base-files", "python3", "python3-venv")
QUICKSTART = ROOT / "examples" / "quickstart.py"
PRINT_TAG = "import sys; print('cp%d%d' % sys.version_info[:2])"


def try_out() -> list[str]:
    """Try each release of Debian for whose Python there is a wheel, and return what went wrong."""
    problems, tried = [], 0
    for release in RELEASES:
        folder = ROOT / f".debian-{release}"
        if not folder.exists():
            fetch(folder, PACKAGES, "fresh Debian cannot be tried", release)
        with tempfile.TemporaryDirectory() as name:
            root = Path(name, "root")
            shutil.copytree(folder, root, symlinks=True)
            tag = inside(root, "/usr/bin/python3", "-c", PRINT_TAG).strip()
            if not list(DIST.glob(f"*-{tag}-{tag}-*.whl")):
                note(f"Debian {release}: left out, no wheel in dist/ is for its Python, {tag}")
                continue
            tried += 1
            try:
                problems += [f"Debian {release}: {problem}" for problem in quick_start(root, tag)]
            except subprocess.CalledProcessError as error:
                problems.append(f"Debian {release}: {error}: {error.stdout[-2000:]}")
    return problems or ([] if tried else ["no wheel in dist/ is for the Python of a Debian"])


def quick_start(root: Path, tag: str) -> list[str]:
    """Install from the wheel files into a root directory, run the quick start, judge its words."""
    compilers = [name for name in ("cc", "gcc", "clang") if (root / "usr/bin" / name).exists()]
    if compilers:
        return [f"expected no compiler, found {', '.join(compilers)}"]
    wheels = root / "wheels"
    shutil.copytree(DIST, wheels)
    needed = next(wheels.glob(f"*-{tag}-{tag}-*.whl"))
    download(needed, tag, wheels)
    shutil.copy(QUICKSTART, root)
    configure(root)
    inside(root, "/usr/bin/python3", "-m", "venv", "/app")
    pip = ["/app/bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    inside(root, *pip, "install", "--no-index", "--find-links=/wheels", "aiomysqlx")
    with database_server() as server:
        program = ["/app/bin/python", "-W", "error", "/quickstart.py"]
        printed = inside(root, *program, AIOMYSQLX_URL=server.url())
    first = printed.splitlines()[0]
    note(f"Debian, {tag}: {first}")
    good = "implementation: cython" in first and "are still there" in printed
    return [] if good else [f"the quick start printed {printed!r}"]


def configure(root: Path) -> None:
    """Do what installing Debian's packages does beyond unpacking them, as far as pip needs it."""
    for name in ("dev", "tmp", "etc/ssl/certs"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "dev" / "null").touch()  # a file will do
    authorities = sorted(root.glob("usr/share/ca-certificates/mozilla/*.crt"))
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.write_bytes(b"".join(path.read_bytes() for path in authorities))


def download(wheel: Path, tag: str, folder: Path) -> None:
    """Fetch what the package depends on, as wheels for a Python, into a folder."""
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 28)]
    command = [RELEASE.program("python"), "-m", "pip", "download", "--quiet", f"--dest={folder}"]
    version = f"--python-version={tag.removeprefix('cp')}"
    call([*command, "--only-binary=:all:", *platforms, version, str(wheel)])


def inside(root: Path, *command: str, **environment: str) -> str:
    """Run a command whose root directory is a folder, and return what it prints."""
    administrator = [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]
    done = subprocess.run(
        [*administrator, "/usr/sbin/chroot", str(root), *command],
        env={"PATH": "/usr/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout
