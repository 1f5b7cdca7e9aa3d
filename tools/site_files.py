"""Which files of the repository the documentation site shows, and under which names.

Its pages are those of docs/, and whatever else of the repository they lead to: the changelog,
pictures, the sources of the examples. So the links are those that GitHub has, too.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
BEGIN = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]
# Shown as they are; any other file that is no page is shown as text.
AS_THEY_ARE = {".svg", ".png", ".json"}
LANGUAGES = {".py": "python", ".sh": "sh", ".toml": "toml", ".yml": "yaml"}
# A link, or a fence with all that is in it, where nothing is one.
LINK = re.compile(
    r"^```.*?^```$|\]\((?!\w+:|#)(?P<target>[^)\s#]+)(?P<anchor>#[^)]*)?\)", re.M | re.S
)


def place(file: Path) -> str:
    """Return the path of a file among the sources of the site."""
    if file.is_relative_to(DOCS):
        return file.relative_to(DOCS).as_posix()
    if file == ROOT / "README.md":
        return "index.md"
    path = file.relative_to(ROOT).as_posix()
    return path if file.suffix in {".md", *AS_THEY_ARE} else f"{path}.md"


def targets(file: Path) -> Iterator[Path]:
    """Yield the files of the repository that a page leads to."""
    for link in LINK.finditer(file.read_text()):
        if link["target"]:
            target = (file.parent / link["target"]).resolve()
            if target.is_file() and target.is_relative_to(ROOT):
                yield target


def gathered() -> dict[str, Path]:
    """Return all files that the site shows, by their paths among its sources."""
    found: dict[str, Path] = {}
    waiting = [*sorted(DOCS.rglob("*.md")), *BEGIN]
    while waiting:
        file = waiting.pop()
        if place(file) not in found:
            found[place(file)] = file
            waiting += targets(file) if file.suffix == ".md" else []
    return found


def text(file: Path) -> str:
    """Return what a page shows of a file: a Markdown file's text, the source of any other."""
    if file.suffix == ".md":
        return file.read_text()
    language = LANGUAGES.get(file.suffix, "text")
    return f"# {file.relative_to(ROOT)}\n\n```{language}\n{file.read_text().rstrip()}\n```\n"


def linked(markdown: str, file: Path) -> str:
    """Return a page's text with its links as the site has them."""

    def moved(link: re.Match[str]) -> str:
        target = (file.parent / (link["target"] or "")).resolve()
        if not link["target"] or not target.is_file() or not target.is_relative_to(ROOT):
            return link[0]
        path = posixpath.relpath(place(target), posixpath.dirname(place(file)) or ".")
        return f"]({path}{link['anchor'] or ''})"

    return LINK.sub(moved, markdown)
