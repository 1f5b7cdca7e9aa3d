"""Look through a built site for links that lead nowhere and for what it would fetch from others."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

# What leads a reader elsewhere; every other reference is fetched to show the page.
LEADING = {"a", "area"}
# Of <link>, what names an address and is not fetched.
NAMING = {"canonical", "next", "prev", "alternate", "edit"}


@dataclass
class Reference:
    """An address in a page, and whether a browser fetches it to show the page."""

    address: str
    fetched: bool


@dataclass
class Page(HTMLParser):
    """What a page refers to, and the names of its parts."""

    references: list[Reference] = field(default_factory=list)
    anchors: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the addresses and names of one element."""
        of = dict(attrs)
        self.anchors |= {name for name in (of.get("id"), tag == "a" and of.get("name")) if name}
        named = tag == "link" and NAMING & set((of.get("rel") or "").split())
        for attribute in ("href", "src", "data", "poster"):
            address = of.get(attribute)
            if address is not None:
                self.references.append(Reference(address, tag not in LEADING and not named))


@dataclass
class Site:
    """A built site in a folder."""

    folder: Path

    @cached_property
    def pages(self) -> dict[str, Page]:
        """The pages by their paths within the site."""
        found = {}
        for file in sorted(self.folder.rglob("*.html")):
            page = found[file.relative_to(self.folder).as_posix()] = Page()
            page.feed(file.read_text())
        return found

    def problems(self) -> Iterator[str]:
        """Yield a line for each link that leads nowhere, and for what others would have to give."""
        for path, page in self.pages.items():
            for reference in page.references:
                problem = self.problem(path, reference)
                if problem:
                    yield f"{path}: {reference.address!r} {problem}"

    def problem(self, path: str, reference: Reference) -> str:
        """Return what is wrong with a reference of a page, or nothing."""
        try:
            address = urlsplit(reference.address)
        except ValueError as error:
            return f"is no address: {error}"
        if address.scheme in {"data", "mailto"}:
            return ""
        if address.scheme or address.netloc:
            return elsewhere(address, reference.fetched)
        return self.within(path, address)

    def within(self, path: str, address: SplitResult) -> str:
        """Return what is wrong with a reference into the site."""
        if address.path.startswith("/"):
            # Of the page that a server shows in the place of one that is not there, it is allowed.
            return "" if path == "404.html" else "is absolute: the site may stand below any path"
        target = posixpath.normpath(
            posixpath.join(posixpath.dirname(path), unquote(address.path)) if address.path else path
        )
        if target.startswith("../"):
            return "leads out of the site"
        if not (self.folder / target).is_file():
            return "leads to no file"
        anchor = unquote(address.fragment)
        if anchor and target in self.pages and anchor not in self.pages[target].anchors:
            return "leads to no part of that page"
        return ""


def elsewhere(address: SplitResult, fetched: bool) -> str:
    """Return what is wrong with a reference to another site, as far as it can be told from here."""
    if fetched:
        return "would be fetched from another site"
    if address.scheme not in {"http", "https"}:
        return f"is of a scheme that no reader expects: {address.scheme!r}"
    if not address.hostname or "." not in address.hostname.strip("."):
        return "names no host"
    return ""
