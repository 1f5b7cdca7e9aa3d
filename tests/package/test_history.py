"""Which commits `make bench ARGS=history` measures."""

from __future__ import annotations

import subprocess
from pathlib import Path

import bench
import pytest

pytestmark = pytest.mark.once

WHO = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]


def git(folder: Path, *command: str) -> str:
    done = subprocess.run(
        ["git", *WHO, *command], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those of a repository that the command is used in, the oldest first."""
    git(tmp_path, "init", "-q", "-b", "main")
    for number in range(4):
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", str(number))
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    return git(tmp_path, "rev-list", "--reverse", "HEAD").split()


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        pytest.param(["HEAD~2", "HEAD"], [1, 3], id="two"),
        pytest.param(["HEAD", "--quick", "HEAD~3"], [3], id="before-options"),
        pytest.param(["HEAD~2..HEAD"], [3, 2], id="range"),
    ],
)
def test_named_revisions_are_measured(
    commits: list[str], arguments: list[str], places: list[int]
) -> None:
    assert bench.commits_of(arguments) == [commits[place] for place in places]


def test_last_tags_are_measured_where_nothing_is_named(commits: list[str], tmp_path: Path) -> None:
    for place in (0, 2):
        git(tmp_path, "tag", f"v{place}", commits[place])

    assert sorted(bench.commits_of(["--quick"])) == sorted([commits[0], commits[2]])


@pytest.mark.usefixtures("commits")
def test_lack_of_tags_says_what_to_name() -> None:
    with pytest.raises(SystemExit, match="there are no tags yet: name revisions"):
        bench.commits_of([])


@pytest.mark.usefixtures("commits")
def test_unknown_revision_ends_the_command() -> None:
    with pytest.raises(SystemExit, match="git rev-list --no-walk nope failed"):
        bench.commits_of(["nope"])


def test_what_is_behind_the_revisions_is_asvs() -> None:
    assert bench.options_of(["HEAD~2", "HEAD", "-b", "bench_row"]) == ["-b", "bench_row"]
    assert bench.options_of(["HEAD"]) == []
    assert bench.options_of(["--quick"]) == ["--quick"]
