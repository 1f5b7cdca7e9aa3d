"""Virtual environments with the package installed, made anew only when something has changed."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from machine import fail, have_compiler, note, run

ROOT = Path(__file__).resolve().parent.parent
LOCK = Path(__file__).resolve().with_name("lock.txt")
# For what is installed, and for what a build is isolated with; pip splits paths at their spaces.
LOCKED = {"PIP_CONSTRAINT": LOCK.as_uri(), "PIP_BUILD_CONSTRAINT": LOCK.as_uri()}
PROJECT_FILES = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"]
PACKAGE_FILES = ["*.py", "*.pyi", "*.pyx", "*.pxd", "py.typed"]


@dataclass(frozen=True)
class Environment:
    """A virtual environment: `.venv`, or `.venv-NAME`, beside the package."""

    name: str = ""
    python: str = sys.executable
    implementation: str = ""  # AIOMYSQLX_IMPL when the package is built
    extras: str = ""
    pins: tuple[str, ...] = ()
    package: bool = True  # False: the pins alone, without aiomysqlx
    cflags: str = ""  # CFLAGS when the package is built; the linker is given them too

    @property
    def folder(self) -> Path:
        return ROOT / (f".venv-{self.name}" if self.name else ".venv")

    def program(self, name: str) -> str:
        """Give the path of a program of this environment."""
        return str(self.folder / "bin" / name)

    @property
    def wheel(self) -> Path | None:
        """The wheel of the package that was built for this environment; others may install it."""
        return next((self.folder / "wheel").glob("*.whl"), None)

    def install(self, archive: Path | None = None) -> None:
        """See that all is installed, the package as it is now, which *archive* is of, if given."""
        wanted = self.contents()
        if self.holds(wanted):
            return
        note(f"installing into {self.folder.name}")
        self.stamp.unlink(missing_ok=True)
        if Path(self.program("python")).exists():
            self.pip("uninstall", "--yes", "aiomysqlx")  # a wheel of its version stays otherwise
        else:
            self.check(run([self.python, "-m", "venv", "--clear", str(self.folder)]))
        with tempfile.TemporaryDirectory() as folder:
            targets = [*self.pins]
            if self.package:
                source = archive or self.build(copy_sources(Path(folder, "aiomysqlx")))
                targets += [f"{source}[{self.extras}]" if self.extras else str(source)]
            self.pip("install", *targets)
        self.stamp.write_text(json.dumps(wanted))

    def build(self, sources: Path) -> Path:
        """Build the wheel and return its path."""
        folder = self.folder / "wheel"
        shutil.rmtree(folder, ignore_errors=True)
        self.pip("wheel", "--no-deps", f"--wheel-dir={folder}", str(sources))
        (wheel,) = folder.iterdir()
        return wheel

    def pip(self, *arguments: str) -> None:
        pip = [self.program("python"), "-m", "pip", "--quiet", "--disable-pip-version-check"]
        build = {"AIOMYSQLX_IMPL": self.implementation}
        if self.extras:  # which the tools are; what has pins alone is to be as they say
            build |= LOCKED
        if self.cflags:
            build["CFLAGS"] = self.cflags
        self.check(run([*pip, *arguments], **build))

    def check(self, status: int) -> None:
        if status:
            fail(f"{self.folder.name} could not be made")

    @property
    def stamp(self) -> Path:
        return self.folder / "aiomysqlx.json"

    def contents(self) -> dict[str, str]:
        """Give what decides what is installed here."""
        return {
            "sources": digest() if self.package else "",
            "lock": LOCK.read_text() if self.package else "",
            "implementation": self.implementation or ("cython" if have_compiler() else "python"),
            "cflags": self.cflags,
            "extras": self.extras,
            "pins": " ".join(self.pins),
        }

    def holds(self, wanted: dict[str, str]) -> bool:
        """Tell whether all that is wanted is installed; any extras serve where none are wanted."""
        try:
            found = json.loads(self.stamp.read_text())
        except FileNotFoundError:
            return False
        return bool(found == ({**wanted, "extras": found["extras"]} if not self.extras else wanted))


def sources() -> list[Path]:
    """Give the files that the package is built from."""
    package = ROOT / "aiomysqlx"
    found = [path for pattern in PACKAGE_FILES for path in package.rglob(pattern)]
    return sorted([*found, *(ROOT / name for name in PROJECT_FILES)])


def oldest_versions() -> dict[str, str]:
    """Give the oldest version of each package that this one says it runs with."""
    text = (ROOT / "pyproject.toml").read_text()
    found = re.search(r"^dependencies = \[$(.*?)^\]$", text, re.DOTALL | re.MULTILINE)
    assert found
    return dict(re.findall(r'^ *"([\w.-]+)>=([\d.]+)', found[1], re.MULTILINE))


def digest() -> str:
    """Give a fingerprint of the package's sources."""
    total = hashlib.sha256()
    for path in sources():
        total.update(bytes(path.relative_to(ROOT)) + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def copy_sources(folder: Path) -> Path:
    """Copy the sources, so that no build folder of an earlier time can leave anything in them."""
    for path in sources():
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return folder
