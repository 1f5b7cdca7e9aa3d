"""The private server of the tests: what a run leaves that was killed is removed by the next."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import private_server
import pytest

SERVING = """
from pathlib import Path
import private_server
private_server.MEMORY = Path("/nonexistent")
with private_server.mortal_server() as mortal:
    print(mortal._folder, mortal._process.pid, flush=True)
    input()
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder for those of servers: a short name, as those of Unix sockets are."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def started(parent: Path) -> tuple[subprocess.Popen[str], Path, int]:
    """Start a process that has a server; give it, the server's folder and its process's number."""
    tools = str(Path(private_server.__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVING],
        env={**os.environ, "TMPDIR": str(parent), "PYTHONPATH": tools},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    folder, pid = process.stdout.readline().split()
    return process, Path(folder), int(pid)


def runs(pid: int, folder: Path) -> bool:
    try:
        return bytes(folder) in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


@pytest.mark.server
def test_server_of_a_killed_process_is_ended_and_its_folder_removed(parent: Path) -> None:
    process, folder, pid = started(parent)
    with process:
        private_server.remove_leftovers(parent)
        assert runs(pid, folder) and (folder / "data").is_dir()

        process.kill()
        process.wait()
        assert runs(pid, folder)
        private_server.remove_leftovers(parent)

    assert not runs(pid, folder)
    assert list(parent.iterdir()) == []


def test_folder_without_a_known_owner_is_left_alone(parent: Path) -> None:
    (parent / "aiomysqlx-being-made").mkdir()
    owned = parent / "aiomysqlx-mine"
    owned.mkdir()

    with private_server.own(owned):
        private_server.remove_leftovers(parent)
        assert owned.is_dir()
    private_server.remove_leftovers(parent)

    assert [folder.name for folder in parent.iterdir()] == ["aiomysqlx-being-made"]
