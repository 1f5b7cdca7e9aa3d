"""What the pages say is so: their links, the tests and runs they name, the figures they show."""

from __future__ import annotations

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import options
import pytest

import aiomysqlx
from aiomysqlx import exc, upkeep
from aiomysqlx.pool import nodes, supply, waiters
from aiomysqlx.wire import stopping
from aiomysqlx.wire.outcome import Refusal

# Of the files of the repository alone, which every run has the same.
pytestmark = pytest.mark.once

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
PAGES = {
    str(page.relative_to(ROOT)): page.read_text()
    for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md"))
}
RELIABILITY = PAGES["docs/reliability.md"]
# The tests, and whether the page says that they are long or for MariaDB only.
NAMED = sorted(set(re.findall(r"`(test_\w+)`( ?[¹²]?)", RELIABILITY)))
LINKS = [
    pytest.param(page, target, id=f"{page}: {target}")
    for page, text in PAGES.items()
    for target in sorted(set(re.findall(r"\]\((?!https?:)([^)]+)\)", text)))
]


def anchors(text: str) -> set[str]:
    """Return what leads to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_link_leads_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page

    assert file.exists()
    assert not anchor or anchor in anchors(file.read_text())


# -- the reference

REFERENCE = "".join(text for page, text in PAGES.items() if page.startswith("docs/reference/"))


def test_reference_has_every_public_name() -> None:
    shown = re.findall(r"^::: aiomysqlx\.(\w+)$", REFERENCE, re.M)

    assert sorted(shown) == sorted(aiomysqlx.__all__)


# -- how pages are made

GUIDES = {name: text for name, text in PAGES.items() if re.fullmatch(r"docs/[\w-]+\.md", name)}
# What is told of commands, or is no program.
WITHOUT_CODE = {"docs/architecture.md", "docs/diagnosis.md", "docs/install.md", "docs/numbers.md"}
LONG = {"docs/reliability.md"}


def test_page_begins_with_code() -> None:
    begins = {name: text.partition("\n## ")[0] for name, text in GUIDES.items()}

    assert len(begins) > 25
    without = {name for name, text in begins.items() if "```python\n" not in text}
    assert without - WITHOUT_CODE == set()


def test_page_is_short() -> None:
    lines = {name: text.count("\n") for name, text in GUIDES.items()}

    assert {name for name, count in lines.items() if count > 250} == LONG


def test_page_is_in_the_navigation_and_the_readme() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    names = {name.removeprefix("docs/") for name in GUIDES}

    assert {name for name in names if f": {name}\n" not in navigation} == set()
    linked = set(re.findall(r"\(docs/([\w-]+\.md)", PAGES["README.md"]))
    assert names - linked == set()


# -- the errors of the page on errors

ERRORS = PAGES["docs/errors.md"]
SERVERS = ERRORS.partition("## Errors of the server")[2]


def test_each_exception_of_the_package_has_a_row() -> None:
    of_package = {
        name
        for name, kind in vars(exc).items()
        if isinstance(kind, type) and kind.__module__ == exc.__name__
    }
    rows = set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\| (`\w+`.*?) \|", ERRORS, re.M))))

    assert len(of_package) > 15
    assert of_package - rows == set()


def test_numbers_of_errors_have_the_class_that_is_told() -> None:
    rows = re.findall(r"^\| (\d[^|]*) \| `(\w+)` \|", SERVERS, re.M)

    assert len(rows) > 30
    for numbers, kind in rows:
        for number in re.findall(r"\d{4}", numbers):
            error = Refusal(int(number), None, "").error()
            assert type(error).__name__ == kind, number


# -- the table of options


def test_table_of_options_is_what_their_fields_say() -> None:
    page = options.PAGE.read_text()

    assert options.written(page) == page  # else: python tools/options.py


def test_table_of_options_follows_the_fields() -> None:
    page = options.PAGE.read_text()

    assert options.written(page.replace("The server's TCP port.", "What?")) == page


# -- the tests and runs of the page on reliability


def definitions() -> dict[str, str]:
    """Return each test's decorators and parameters, with what holds for its whole file."""
    found = {}
    for path in TESTS.rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        marks = [
            ast.unparse(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark"
        ]
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                parts = [*marks, *map(ast.unparse, node.decorator_list), ast.unparse(node.args)]
                found[node.name] = "\n".join(parts)
    return found


def test_named_tests_are_there_and_run_where_told() -> None:
    defined = definitions()

    assert len(NAMED) > 200
    assert [name for name, _ in NAMED if name not in defined] == []
    for note, word in (("¹", r"\bmark\.long\b"), ("²", r"\bmariadb\b")):
        noted = [name for name, notes in NAMED if note in notes]
        assert noted == [name for name, _ in NAMED if re.search(word, defined[name])]


def test_runs_are_those_of_the_suite() -> None:
    suite = (ROOT / "tools" / "suite.py").read_text()
    titles = re.findall(r'\bRun\(\s*f?"([^"{]+)', suite)

    assert len(titles) > 5
    assert [title for title in titles if f"| {title}" not in RELIABILITY] == []


# -- the times of the page on reliability

NUMBERS = {"two": 2.0, "five": 5.0}
TIMES = {
    "a cancelled statement": (
        r"waits up to (\w+) seconds \((\w+) with `kill_on_cancel`\)",
        (stopping.DRAIN_SECONDS, stopping.KILL_SECONDS),
    ),
    "a block of two tasks": (
        r"waits for that statement \((\w+) seconds, (\w+) with `kill_on_cancel`\)",
        (stopping.DRAIN_SECONDS, stopping.KILL_SECONDS),
    ),
    "a failing connect": (
        r"attempts ([\d.]+) to ([\d.]+) seconds apart",
        (supply.RETRY_SECONDS, supply.MOST_RETRY_SECONDS),
    ),
    "a failover": (r"at most once in (\w+) seconds", (nodes.FAILOVER_SECONDS,)),
    "a way back": (r"otherwise after ([\d.]+) seconds", (waiters.BACK_SECONDS,)),
    "a hook": (r"`reset` and a ping may take (\w+) seconds each", (upkeep.HOOK_SECONDS,)),
}


@pytest.mark.parametrize(("promise", "seconds"), TIMES.values(), ids=TIMES)
def test_times_are_those_of_the_code(promise: str, seconds: tuple[float, ...]) -> None:
    told = re.search(promise, RELIABILITY)

    assert told is not None
    assert tuple(NUMBERS.get(word) or float(word) for word in told.groups()) == seconds


# -- the files and functions of the page on architecture

PACKAGE = ROOT / "aiomysqlx"
ARCHITECTURE = PAGES["docs/architecture.md"]
FILE = re.compile(r"[\w/]+\.pyi?x?")
NAME = re.compile(r"([A-Z]\w+\.)?\w+\(\)|[A-Z]\w*[a-z]\w*(\.\w+)?|_[A-Z_]+")


def defined_in(file: Path) -> set[str]:
    """Return the functions, classes and constants of a file, and what the classes have."""
    names = set()
    for node in ast.parse(file.read_text()).body:
        names.add(getattr(node, "name", ""))
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                target = member.target if isinstance(member, ast.AnnAssign) else member
                name = getattr(target, "name", getattr(target, "id", ""))
                names |= {f"{node.name}.{name}", name}
    return names


def named_places() -> Iterator[tuple[str, str]]:
    """Return each name of the page with the file that it stands behind, or none."""
    for part in re.split(r"\n\n|\n(?=[-|]|\d+\.)", ARCHITECTURE.partition("```\n")[2]):
        file = ""
        for span in re.findall(r"`([^`]+)`", part):
            if FILE.fullmatch(span):
                file = span
                yield file, ""
            elif file and NAME.fullmatch(span):
                yield file, span.removesuffix("()")


def test_named_files_and_functions_are_there() -> None:
    places = list(named_places())

    assert len(places) > 100
    for file, name in places:
        path = ROOT / file if file.startswith(("tests/", "tools/")) else PACKAGE / file
        assert path.exists(), file
        assert not name or name in defined_in(path), f"{name} in {file}"


# -- the figures of the comparison

COMPARED = json.loads((ROOT / "benchmarks" / "results" / "compare.json").read_text())
TABLES = [
    pytest.param(page, table, id=f"{page} {number}")
    for page, text in PAGES.items()
    for number, table in enumerate(
        re.findall(r"^\| \| .*\baiomysqlx, pure\b.*\n(?:\|.*\n)+", text, re.M)
    )
]


def measured() -> Iterator[dict[str, str]]:
    """Return the medians of each workload on asyncio, CPU and others, by contender."""
    found: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for one in COMPARED["figures"]:
        if one["loop"] != "asyncio":
            continue
        for figure in ("cpu", "wall", "memory", "p50", "p99"):
            if figure in one:
                digits = 3 if figure.startswith("p") else 1
                text = f"{one[figure]['median']:.{digits}f}"
                found[one["workload"], figure][one["contender"]] = text
    yield from found.values()


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


@pytest.mark.parametrize(("page", "table"), TABLES)
def test_figures_are_those_measured(page: str, table: str) -> None:
    head, _, *lines = table.splitlines()
    contenders = cells(head)[1:]
    rows = [[one.get(name, "–") for name in contenders] for one in measured()]

    assert [line for line in lines if cells(line)[1:] not in rows] == []
