"""The versions of the tools are written down, for every Python and with what the tools need."""

from __future__ import annotations

import re
from importlib.metadata import requires

import lock
import pytest
from environments import LOCK
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Of the files of the repository alone, which every run has the same.
pytestmark = pytest.mark.once

PINS = [
    Requirement(line) for line in LOCK.read_text().splitlines() if line and not line.startswith("#")
]
TOOLS = [
    requirement
    for requirement in map(Requirement, requires("aiomysqlx") or [])
    if requirement.name != "aiomysqlx" and canonicalize_name(requirement.name) not in lock.OPEN
]
EXTRAS = {
    extra
    for requirement in TOOLS
    for extra in re.findall(r'extra == "(\w+)"', str(requirement.marker))
}


def applies(requirement: Requirement, python: str, extra: str = "") -> bool:
    environment = {
        **default_environment(),
        "python_version": python,
        "python_full_version": f"{python}.9",
        "extra": extra,
    }
    return requirement.marker is None or requirement.marker.evaluate(environment)


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"])
def test_each_tool_has_one_version_on_each_python(python: str) -> None:
    pins = {canonicalize_name(pin.name): str(pin.specifier) for pin in PINS if applies(pin, python)}
    wanted = [tool for tool in TOOLS if any(applies(tool, python, extra) for extra in EXTRAS)]

    assert len(wanted) > 20
    assert sorted(pins) == sorted(
        canonicalize_name(pin.name) for pin in PINS if applies(pin, python)
    )
    for tool in wanted:
        pinned = pins[canonicalize_name(tool.name)]  # else: make lock
        assert pinned.startswith("==") and tool.specifier.contains(pinned[2:]), tool.name


def test_what_the_package_depends_on_is_left_to_its_own_bounds() -> None:
    own = [Requirement(text) for text in requires("aiomysqlx") or [] if "extra ==" not in text]

    assert {canonicalize_name(requirement.name) for requirement in own} == set(lock.OPEN)
    assert not {canonicalize_name(pin.name) for pin in PINS} & set(lock.OPEN)
