"""`make sanitize`: the compiled code under AddressSanitizer and UBSan, in some three minutes.

The extensions are built for it in an environment of their own. What runs them without a server
does so then: the tests of the twins, and `fuzz.py` for a while. The first report ends a part.
`make sanitize ARGS=--valgrind` runs `fuzz.py` on the ordinary build under valgrind instead.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from environments import Environment
from machine import fail, note, require_compiler, require_valgrind, require_venv, run, start
from suite import MAIN, Run, run_all

# Signed overflow is reported too: Python's own -fwrapv is not among these.
CFLAGS = (
    "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
)
SANITIZED = Environment("sanitize", implementation="cython", cflags=CFLAGS, extras="test")
TESTS = (
    (
        *("wire/test_escape.py", "wire/test_escape_aware.py", "wire/test_escape_bounds.py"),
        *("wire/test_escape_bytes.py", "wire/test_packet.py", "wire/test_packet_binary.py"),
        *("wire/test_binary.py", "sql/test_template.py"),
    ),
    (
        *("wire/test_rows.py", "wire/test_fuzz.py", "wire/test_hostile_servers.py"),
        *("wire/test_protocol.py", "wire/test_refleaks.py"),
    ),
)
OPTIONS = (
    *("--quiet", "--capture=sys", "-m", "not server"),  # a report goes to file descriptor 2
    # Nothing is in Python's own blocks here.
    "--deselect=tests/wire/test_refleaks.py::test_leak_of_each_sort_is_seen",
)
FUZZ = ("tools/fuzz.py", "--random", "--seconds")
OURS = "/aiomysqlx/wire/_"
NEAR = 3  # so many frames from where an error is, it is still the caller's


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="for fuzz.py (30)")
    parser.add_argument("--valgrind", action="store_true", help="fuzz.py under valgrind alone")
    given = parser.parse_args(arguments)
    require_venv()
    if given.valgrind:
        return under_valgrind(given.seconds)
    os.environ["CC"] = "gcc"  # whose sanitizers these are
    require_compiler()
    variables = {
        "LD_PRELOAD": runtime(),
        "PYTHONMALLOC": "malloc",
        "PYTHONFAULTHANDLER": "1",
        # Python leaves things to the end of the process. Aborting tells the test that did it.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
    }
    SANITIZED.install()
    fuzz = (SANITIZED.program("python"), *FUZZ, str(given.seconds))
    runs = [
        Run(
            f"sanitized: {', '.join(names)}",
            SANITIZED,
            "cython",
            "asyncio",
            (*OPTIONS, *(f"tests/{name}" for name in names)),
            variables=variables,
        )
        for names in TESTS
    ]
    runs.append(Run("sanitized: fuzz.py", SANITIZED, "cython", "", (), fuzz, variables))
    with tempfile.TemporaryDirectory() as folder:
        statuses = run_all(runs, [], Path(folder))
    for one, status in zip(runs, statuses, strict=True):
        note(f"{'FAILED' if status else 'passed'}: {one.title}")
    return 1 if any(statuses) else 0


def runtime() -> str:
    """Give the path of AddressSanitizer's library, which must be loaded first."""
    command = ["gcc", "-print-file-name=libasan.so"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not os.path.isabs(path):
        fail("gcc has no libasan.so: install libasan")
    return path


def under_valgrind(seconds: float) -> int:
    """Fuzz under valgrind, and show what it reports of the extensions.

    Python and other extensions have reports of their own, whatever is run.
    """
    require_compiler()
    require_valgrind()
    MAIN.install()
    with tempfile.TemporaryDirectory() as folder:
        reports = Path(folder, "reports.xml")
        valgrind = ["valgrind", "--quiet", "--num-callers=30", "--xml=yes"]
        fuzz = [MAIN.program("python"), *FUZZ, str(seconds)]
        command = [*valgrind, f"--xml-file={reports}", *fuzz]
        status = run(command, PYTHONMALLOC="malloc", AIOMYSQLX_IMPL="cython")
        errors = errors_in(reports)
    ours = [error for error in errors if any(OURS in frame for frame in [*frames(error)][:NEAR])]
    for error in ours:
        what = error.findtext("what") or error.findtext("xwhat/text")
        print(error.findtext("kind"), what, *frames(error), sep="\n    ")
    note(f"valgrind: {len(ours)} reports of the extensions, {len(errors)} in all")
    return 1 if status or ours else 0


def errors_in(reports: Path) -> list[ElementTree.Element]:
    """Give what valgrind reports but leaks, which Python has at its end."""
    errors = ElementTree.parse(reports).getroot().iter("error")
    return [error for error in errors if not error.findtext("kind", "").startswith("Leak_")]


def frames(error: ElementTree.Element) -> Iterator[str]:
    """Give where an error is and what has called that, innermost first."""
    for frame in error.iterfind("stack[1]/frame"):
        names = ("fn", "file", "line", "obj")
        yield " ".join(frame.findtext(name) or "?" for name in names)


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
