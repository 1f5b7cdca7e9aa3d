"""The examples of the pages run as they stand, and print what the pages say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from private_server import Certificates
from programs import RunProgram

import aiomysqlx

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# A heading, or a program with what it prints where the page says so directly behind it.
PART = re.compile(
    r"^#+ (?P<heading>.*?)$"
    r"|^```python\n(?P<program>(?:# (?P<file>\w+\.py)\n)?.*?)^```$"
    r"(?:\n\nIt prints:\n\n```text\n(?P<printed>.*?)^```$)?",
    re.M | re.S,
)
PYTEST = (
    *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"),
    *("-o", "asyncio_mode=auto"),
    *("-o", "asyncio_default_fixture_loop_scope=function"),
)


class Example(NamedTuple):
    """A program of a page, the file that it says it is, and what it prints, as far as told."""

    title: str
    program: str
    file: str | None
    printed: str | None


def examples() -> Iterator[Example]:
    for page in PAGES:
        heading = ""
        for part in PART.finditer(page.read_text()):
            heading = part["heading"] or heading
            if part["program"]:
                title = f"{page.stem}, {heading}"
                yield Example(title, part["program"], part["file"], part["printed"])


EXAMPLES = list(examples())
FILES = {example.file: example.program for example in EXAMPLES if example.file}
# A page that needs certificates says so in the environment.
ENCRYPTED = [one for one in EXAMPLES if "AIOMYSQLX_CA" in one.program]
# And one that needs OpenTelemetry imports it.
TRACED = [one for one in EXAMPLES if "from opentelemetry" in one.program]
PLAIN = [one for one in EXAMPLES if not one.file and one not in (*ENCRYPTED, *TRACED)]

one_each = {"argnames": "example", "ids": lambda example: example.title}


# The page's file, alone in the folder where it runs, as the program that Python was started for.
RUN = """
import os, runpy, sys
folder, environment = {folder!r}, {environment!r}
os.chdir(folder)
os.environ.update(environment)
runpy.run_path("example.py", run_name="__main__")
"""


def check(run_program: RunProgram, example: Example, folder: Path, **environment: str) -> None:
    Path(folder, "example.py").write_text(example.program)

    program = RUN.format(folder=str(folder), environment=environment)
    ended = run_program(program, options=("-W", "error"))

    assert ended.stderr == ""
    if example.printed is not None:
        assert ended.stdout.replace(f"{folder}/", "") == example.printed


def test_examples_name_a_server_by_themselves() -> None:
    demanding = [example.title for example in EXAMPLES if "environ[" in example.program]

    assert demanding == [] and "environ[" not in (ROOT / "examples/quickstart.py").read_text()


@pytest.mark.server
@pytest.mark.long
@pytest.mark.parametrize(argvalues=PLAIN, **one_each)
def test_example_runs_as_it_stands(
    run_program: RunProgram, example: Example, url: str, tmp_path: Path
) -> None:
    check(run_program, example, tmp_path, AIOMYSQLX_URL=url)


@pytest.mark.server
@pytest.mark.needs("opentelemetry.sdk")
@pytest.mark.parametrize(argvalues=TRACED, **one_each)
def test_example_of_opentelemetry_runs_as_it_stands(
    run_program: RunProgram, example: Example, url: str, tmp_path: Path
) -> None:
    check(run_program, example, tmp_path, AIOMYSQLX_URL=url)


@pytest.mark.server
@pytest.mark.parametrize(argvalues=ENCRYPTED, **one_each)
def test_example_of_tls_runs_as_it_stands(
    run_program: RunProgram, example: Example, url: str, tls: Certificates, tmp_path: Path
) -> None:
    check(run_program, example, tmp_path, AIOMYSQLX_URL=url, AIOMYSQLX_CA=str(tls.ca))


def check_tests(folder: Path, url: str, *names: str) -> None:
    for name in names:
        Path(folder, name).write_text(FILES[name])

    done = subprocess.run(
        [sys.executable, "-W", "error", *PYTEST, names[-1]],
        env={**os.environ, "AIOMYSQLX_URL": url, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        cwd=folder,  # away from the sources, which would be imported in place of the package
        capture_output=True,
        text=True,
    )

    assert re.search(r"^\d+ passed in ", done.stdout, re.M), done.stdout


@pytest.mark.server
def test_tests_of_a_function_pass_as_they_stand(url: str, tmp_path: Path) -> None:
    check_tests(tmp_path, url, "test_function.py")


@pytest.mark.server
@pytest.mark.needs("fastapi")
@pytest.mark.parametrize("name", ["app.py", "session_app.py"])
def test_fastapi_application_passes_its_tests(name: str, url: str, tmp_path: Path) -> None:
    Path(tmp_path, "app.py").write_text(FILES[name])

    check_tests(tmp_path, url, "test_app.py")


@pytest.mark.server
@pytest.mark.needs("fastapi")
def test_fastapi_application_of_native_passes_its_tests(url: str, tmp_path: Path) -> None:
    check_tests(tmp_path, url, "native_app.py", "test_native_app.py")


@pytest.mark.server
@pytest.mark.needs("aiohttp")
def test_aiohttp_application_passes_its_tests(url: str, tmp_path: Path) -> None:
    check_tests(tmp_path, url, "aiohttp_app.py", "test_aiohttp_app.py")


def test_build_is_found_out_as_told(run_program: RunProgram) -> None:
    (example,) = (one for one in EXAMPLES if "IMPLEMENTATION" in one.program)

    assert run_program(example.program).stdout == f"{aiomysqlx.IMPLEMENTATION}\n"
