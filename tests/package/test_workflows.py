"""What the workflows run is what was looked at."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Of the files of the repository alone, which every run has the same.
pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]


def test_workflows_name_actions_by_their_commits() -> None:
    workflows = [path.read_text() for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    actions = re.findall(r"uses: (\S+)", "".join(workflows))

    assert len(actions) > 5
    assert [one for one in actions if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one)] == []
