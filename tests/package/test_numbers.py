"""The figures in the pages are those that the comparison has measured."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
COMPARE = ROOT / "benchmarks" / "compare"
RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
PAGES = ("README.md", "docs/numbers.md", "docs/async-engine.md")
WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import pages
pages.write(Path(sys.argv[2]), Path(sys.argv[3]))
"""
BLOCK = r"<!-- figures: \S+ -->\n.*?<!-- end of figures -->"
# What no measurement of this machine's gives: a size or a time, a share, a number of times.
FIGURE = r"\b\d[\d,]*(?:\.\d+)? (?:ms|µs|s|MiB|KiB|%|times|of the)\b|\b0\.\d+\b"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Copies of the pages, to be written."""
    for page in PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    return tmp_path


def write(source: Path, root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITE, str(COMPARE), str(source), str(root)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("page", PAGES)
def test_pages_have_the_figures_of_the_file(copied: Path, page: str) -> None:
    done = write(RESULTS, copied)

    assert done.returncode == 0, done.stderr
    assert re.search(BLOCK, (ROOT / page).read_text(), re.DOTALL)
    assert (copied / page).read_text() == (ROOT / page).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_other_figures_are_written_into_the_blocks_alone(copied: Path, page: str) -> None:
    document = json.loads(RESULTS.read_text())
    for each in document["figures"]:
        for spread in each.values():
            if isinstance(spread, dict):
                spread["median"] += 1000
    other = copied / "other.json"
    other.write_text(json.dumps(document))

    done = write(other, copied)

    assert done.returncode == 0, done.stderr
    before, after = (ROOT / page).read_text(), (copied / page).read_text()
    assert re.sub(BLOCK, "", after, flags=re.DOTALL) == re.sub(BLOCK, "", before, flags=re.DOTALL)
    rows = document["figures"][0]
    assert f"{rows['cpu']['median']:.1f}" not in before
    for block in re.findall(BLOCK, after, re.DOTALL):
        if "| 10,000 rows" in block:
            assert re.search(r"^\| 10,000 rows of 10 mixed columns \| 10\d\d\.\d \|", block, re.M)


def test_place_for_figures_that_there_are_not_fails(copied: Path) -> None:
    page = copied / "README.md"
    page.write_text("<!-- figures: nope -->\n<!-- end of figures -->\n")

    done = write(RESULTS, copied)

    assert done.returncode != 0
    assert "KeyError: 'nope'" in done.stderr
    assert page.read_text() == "<!-- figures: nope -->\n<!-- end of figures -->\n"


@pytest.mark.parametrize("page", ["README.md", "docs/numbers.md"])
def test_no_figure_of_a_measurement_stands_outside_of_the_blocks(page: str) -> None:
    prose = re.sub(BLOCK, "", (ROOT / page).read_text(), flags=re.DOTALL)
    prose = re.sub(r"```.*?```|^    .*$|`[^`\n]*`", "", prose, flags=re.DOTALL | re.MULTILINE)

    assert re.findall(FIGURE, prose) == []
