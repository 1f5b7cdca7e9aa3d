"""Links between the reference, whose docstrings have none, and the other pages."""

from __future__ import annotations

import re
from pathlib import Path

SHOWN = re.compile(r"^::: ((?:\w+\.)+(\w+))$", re.M)
# Where no link is made: in one that is there, in a heading, in code of several lines.
LEFT = r"<(?P<element>a|h\d|pre|autoref)\b.*?</(?P=element)>"
NAME = r"<code>(?P<name>\w+)(?P<called>\(\))?</code>"
PAGE = r"\bdocs/(?P<page>[\w-]+)\.md(?P<anchor>#[\w-]+)?"
CITATION = re.compile(f"{LEFT}|{NAME}|{PAGE}", re.S)
REFERENCE = "reference/"


def public_names(folder: Path) -> dict[str, str]:
    """Return the names that the reference shows, each with its place there."""
    pages = "\n".join(page.read_text() for page in sorted(folder.glob("*.md")))
    return {name: path for path, name in SHOWN.findall(pages)}


def cited(html: str, page: str, names: dict[str, str]) -> str:
    """Return a page's HTML with links from the names of *names* to the reference.

    Outside of it only of functions and exceptions: a `Connection` may be that of another package.
    Within it, what a docstring says of a page of docs/ leads there.
    """

    def link(found: re.Match[str]) -> str:
        if found["page"]:
            return page_link(found) if page.startswith(REFERENCE) else found[0]
        name = found["name"] or ""
        clear = found["called"] or name.endswith(("Error", "Warning"))
        if name not in names or not (clear or page.startswith(REFERENCE)):
            return found[0]
        return f'<autoref identifier="{names[name]}">{found[0]}</autoref>'

    return CITATION.sub(link, html)


def page_link(found: re.Match[str]) -> str:
    """Return a link from the reference to a page of docs/."""
    return f'<a href="../{found["page"]}.html{found["anchor"] or ""}">{found[0]}</a>'
