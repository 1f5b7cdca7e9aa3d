"""`make release-check`: what must hold of the checkout and of dist/ before a version is tagged.

`make wheels` makes dist/. Every check is made, whatever has failed before it, and named with what
is wrong. Nothing is uploaded or tagged.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import fresh_debian
from debian_mysql import mysql_program
from environments import ROOT, Environment
from machine import (
    fail,
    note,
    require_compiler,
    require_openssl,
    require_server,
    require_venv,
    run,
    start,
)
from private_server import program_version
from wheels import DIST, RELEASE, build_compiled, build_sdist, build_wheel

# What a user has: the wheel of dist/, with what the examples need, in an environment made anew.
FRESH = Environment("fresh", implementation="cython", extras="dev")
EXAMPLES = ("package/test_examples.py", "ecosystem")
Check = Callable[[], Iterator[str]]


def main() -> int:
    require_venv()
    require_compiler()
    require_server()
    require_openssl()
    RELEASE.install()
    if not list(DIST.glob("*")):
        fail("nothing in dist/: make wheels")
    failed = [name for name, check in CHECKS.items() if not passes(name, check)]
    note(f"release-check: {'; '.join(failed)} failed" if failed else "release-check: all passed")
    return 1 if failed else 0


def passes(name: str, check: Check) -> bool:
    """Make a check, tell what is wrong, and whether nothing is."""
    note(f"release-check: {name}")
    problems = list(check())
    for problem in problems:
        note(f"release-check: {name}: {problem}")
    return not problems


def version() -> str:
    """Return the version of the checkout."""
    text = (ROOT / "aiomysqlx" / "__init__.py").read_text()
    (found,) = re.findall(r'^__version__ = "(.*)"$', text, re.M)
    return str(found)


def versions() -> Iterator[str]:
    """Yield where package, changelog, tag and pages do not agree."""
    headings = re.findall(r"^## \[(.*?)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    first, date = headings[0]
    if first != version():
        yield f"__version__ is {version()}, CHANGELOG.md begins with {first}"
    git = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD"]
    for tag in subprocess.run(git, capture_output=True, text=True).stdout.split():
        if tag != f"v{version()}":
            yield f"the tag is {tag}, __version__ is {version()}"
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
            yield f"the tag is {tag}, CHANGELOG.md says {date!r} in the place of its date"
    mysql = re.search(r"(?<!Py)MySQL (\d+\.\d+)", (ROOT / "README.md").read_text())
    tested = program_version(mysql_program())
    if not (mysql and f"Ver {mysql[1]}." in tested):
        yield f"README.md says {mysql and mysql[0]}, the tests run on {tested}"


def archives() -> Iterator[str]:
    """Yield which archives are not there, or of another version."""
    stem = f"aiomysqlx-{version()}"
    for pattern in (f"{stem}.tar.gz", f"{stem}-py3-none-any.whl", f"{stem}-cp3*-manylinux*.whl"):
        if not list(DIST.glob(pattern)):
            yield f"no {pattern}: make wheels"
    for path in DIST.iterdir():
        if not path.name.startswith(stem):
            yield f"{path.name} is not of version {version()}"


def contents() -> Iterator[str]:
    """Yield what is in a wheel and should not be, or is missing from it."""
    for path in DIST.glob("*.whl"):
        with zipfile.ZipFile(path) as wheel:
            files = {name: wheel.read(name) for name in wheel.namelist()}
        licence = f"aiomysqlx-{version()}.dist-info/licenses/LICENSE"
        needed = {"aiomysqlx/py.typed", "aiomysqlx/wire/_impl.pyi", licence}
        for name in sorted(needed - files.keys()):
            yield f"{path.name} has no {name}"
        libraries = {name: data for name, data in files.items() if name.endswith((".so", ".pyd"))}
        wanted = 0 if path.name.endswith("-none-any.whl") else 1
        if len(libraries) != wanted:
            yield f"{path.name} has {len(libraries)} shared objects, not {wanted}"
        for name, data in files.items():
            if name.endswith((".pyx", ".pxd", ".c")):
                yield f"{path.name} has {name}"
            if name in libraries and b".symtab" in data:
                yield f"{path.name}: {name} is not stripped"
            if name in libraries and runpath(data):
                yield f"{path.name}: {name} looks for libraries in {runpath(data)}"


def runpath(library: bytes) -> str:
    """Return the folders in which a shared library looks for others; empty if in none."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(library)
        file.flush()
        command = [RELEASE.program("patchelf"), "--print-rpath", file.name]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def repeatable() -> Iterator[str]:
    """Yield which archives have other bytes when they are made again."""
    with tempfile.TemporaryDirectory() as name:
        again = Path(name)
        sdist = build_sdist(again)
        build_wheel(sdist, RELEASE.program("python"), again, "python")
        compiled = f"*-cp3{sys.version_info[1]}-cp3{sys.version_info[1]}-*.whl"
        if list(DIST.glob(compiled)):
            build_compiled(sdist, sys.executable, again)
        for path in again.iterdir():
            first = DIST / path.name
            if not first.exists() or first.read_bytes() != path.read_bytes():
                yield f"{path.name} has other bytes the second time"


def examples() -> Iterator[str]:
    """Yield what does not run from the wheel for this Python, in an environment made anew."""
    tag = f"cp3{sys.version_info[1]}"
    wheel = next(DIST.glob(f"*-{tag}-{tag}-*.whl"), None)
    if wheel is None:
        yield f"no wheel in dist/ is for this Python, {tag}"
        return
    shutil.rmtree(FRESH.folder, ignore_errors=True)
    FRESH.install(wheel)
    tests = [str(ROOT / "tests" / name) for name in EXAMPLES]
    # Away from the sources, which Python would import in place of the wheel.
    program = ["env", f"--chdir={FRESH.folder}", FRESH.program("pytest"), "-q"]
    options = [f"--config-file={ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}"]
    if run([*program, *options, "-p", "no:cacheprovider", *tests], AIOMYSQLX_IMPL="cython"):
        yield "a test of the examples failed"


def tool(*command: str) -> Check:
    """Return the check that a program of the release's environment ends well."""

    def check() -> Iterator[str]:
        name, *arguments = command
        files = [str(path) for word in arguments for path in expanded(word)]
        done = subprocess.run(
            [RELEASE.program(name), *files],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            yield done.stdout.strip()

    return check


def expanded(word: str) -> list[str]:
    """Return the files that a word stands for, or the word if for none."""
    return sorted(str(path) for path in ROOT.glob(word)) if "*" in word else [word]


def docs() -> Iterator[str]:
    """Yield whether the site has warnings or dead links."""
    if run([sys.executable, str(ROOT / "tools" / "docs.py")]):
        yield "make docs failed"


CHECKS: dict[str, Check] = {
    "version, changelog, tag": versions,
    "archives": archives,
    "metadata": tool("validate-pyproject", "pyproject.toml"),
    "index page": tool("twine", "check", "--strict", "dist/*"),
    # All that it misses is an address of the authors.
    "manners": tool("pyroma", "--min=8", "dist/*.tar.gz"),
    "wheels": tool("check-wheel-contents", "dist/*.whl"),
    "contents": contents,
    "workflows": tool("zizmor", "--offline", "--quiet", ".github"),
    "links": docs,
    "same bytes again": repeatable,
    "examples": examples,
    "fresh Debian": lambda: iter(fresh_debian.try_out()),
}


if __name__ == "__main__":
    start(main)
