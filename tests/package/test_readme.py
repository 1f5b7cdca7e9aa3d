"""The README's examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aiomysqlx

README = Path(__file__).resolve().parents[2] / "README.md"
EXAMPLE, KEYS, IMPLEMENTATION = re.findall(
    r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S
)


def run(program: str, **environment: str) -> tuple[str, str]:
    """Run a program, warnings being errors, and give its output and its complaints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, **environment},
        cwd="/",  # away from the sources, which would be imported in place of the package
        capture_output=True,
        text=True,
    )
    return done.stdout, done.stderr


@pytest.mark.server
def test_example_runs_as_pasted(url: str) -> None:
    assert run(EXAMPLE, AIOMYSQLX_URL=url) == ("1 Ada Ada\n2 Grace Grace\n", "")


@pytest.mark.server
def test_example_of_keys_encoders_and_warnings_runs_as_pasted(url: str) -> None:
    told = "1 2.50\n1292 Truncated incorrect INTEGER value: '1x'\n"

    assert run(KEYS, AIOMYSQLX_URL=url) == (told, "")


def test_implementation_is_found_out_as_told() -> None:
    assert run(IMPLEMENTATION) == (f"{aiomysqlx.IMPLEMENTATION}\n", "")
