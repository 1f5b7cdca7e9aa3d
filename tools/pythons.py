"""Every Python that the package runs on: by its version, from PATH, from pyenv, or from Debian.

What a stable machine has no package of comes from Debian's unstable release, into a folder beside
`.venv`: a program of it runs with the loader and the libraries of that folder, the compiler of the
machine builds extensions for it, and virtual environments are made from it as from any other.
`python3 tools/pythons.py 3.14 3.15` prints a line for each: its version, and its interpreter.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from debian import command, fetch
from environments import ROOT
from machine import MIN_PYTHON, compiles, fail, makes_venvs, note, start
from private_server import ServerError

# What Debian's unstable release has, and its stable one has not.
UNSTABLE = ("3.14", "3.15")
# A wheel with C++ in it, such as greenlet's, has no libstdc++ of its own.
PACKAGES = ("python{version}-venv", "libpython{version}-dev", "libstdc++6")
LAUNCHER = """\
#!/bin/sh
# A virtual environment links to this file; its Python knows it by the name it was called by.
exec {loader} --argv0 "$0" {program} "$@"
"""


def interpreter(version: str) -> str:
    """Return the path of the interpreter of a version, such as `3.14`, which makes environments.

    Raises `ServerError` if it is not at hand and cannot be fetched.
    """
    for found, path in candidates():
        if found == version and builds(path):
            return path
    if version in UNSTABLE:
        return unstable(version)
    raise ServerError(f"no Python {version} on PATH or by pyenv: pyenv install {version}")


def others() -> list[str]:
    """Return the oldest Python at hand, and the newest that there is, beside this one."""
    found: dict[int, str] = {}
    for version, path in candidates():
        minor = int(version.removeprefix("3."))
        if minor not in (*found, sys.version_info[1]) and (3, minor) >= MIN_PYTHON and builds(path):
            found[minor] = path
    newest = int(UNSTABLE[-1].removeprefix("3."))
    if max(sys.version_info[1], *found, 0) < newest:
        try:
            found[newest] = unstable(UNSTABLE[-1])
        except ServerError as error:
            note(f"without Python {UNSTABLE[-1]}: {error}")
    return [found[minor] for minor in sorted({min(found), max(found)})] if found else []


def candidates() -> Iterator[tuple[str, str]]:
    """Yield the version and the path of each interpreter on PATH and by pyenv."""
    folders = [Path(name) for name in os.get_exec_path()]
    folders += Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob("versions/*/bin")
    for folder in folders:
        for path in folder.glob("python3.[0-9]*"):
            version = path.name.removeprefix("python")
            if re.fullmatch(r"3\.\d+", version):
                yield version, str(path)


def builds(python: str) -> bool:
    """Tell whether the package can be built and installed with an interpreter."""
    return makes_venvs(python) and compiles(python)


def unstable(version: str) -> str:
    """Return the interpreter of a version from Debian's unstable release, fetched if need be."""
    folder = ROOT / f".python-{version}"
    if not folder.exists():
        packages = [name.format(version=version) for name in PACKAGES]
        fetch(folder, packages, f"install Python {version} with its venv and its headers")
    launcher = folder / "usr/bin" / f"python{version}"
    if not launcher.with_name(f"{launcher.name}.elf").exists():
        use_own_wheels(folder, version)
        use_own_headers(folder, version)
        launcher.rename(launcher.with_name(f"{launcher.name}.elf"))
    write_launcher(folder.resolve(), launcher)
    return str(launcher)


def write_launcher(folder: Path, launcher: Path) -> None:
    """Write the script that runs Python with the loader and the libraries of its folder."""
    *loader, program = command(folder, f"usr/bin/{launcher.name}.elf")
    script = LAUNCHER.format(loader=shlex.join(loader), program=shlex.quote(program))
    if not launcher.exists() or launcher.read_text() != script:  # it may be starting right now
        launcher.write_text(script)
        launcher.chmod(0o755)


def use_own_wheels(folder: Path, version: str) -> None:
    """Have ensurepip install the pip of its folder, not that of the machine, which is older."""
    (build,) = folder.glob(f"usr/lib/python{version}/_sysconfigdata__linux_*.py")
    text = build.read_text()
    wheels = "/usr/share/python-wheels"
    build.write_text(text.replace(f"'{wheels}", f"'{folder.resolve()}{wheels}"))


def use_own_headers(folder: Path, version: str) -> None:
    """Have Python.h include the file that Debian keeps apart for each architecture."""
    (own,) = folder.glob(f"usr/include/*-linux-gnu/python{version}/pyconfig.h")
    shared = folder / f"usr/include/python{version}/pyconfig.h"
    # Not by -I: the headers of the C library in this folder are newer than the machine's.
    shared.unlink()
    shared.write_bytes(own.read_bytes())


def main(arguments: list[str]) -> int:
    for version in arguments:
        try:
            print(version, interpreter(version))
        except ServerError as error:
            fail(str(error))
    return 0


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
