"""`make docs`: the documentation site in build/docs, without warnings and without dead links.

With arguments, MkDocs and these: `make docs ARGS=serve` shows the pages as they are edited.
"""

from __future__ import annotations

import sys

from environments import ROOT, Environment
from machine import note, require_venv, run, start
from site_links import Site

# The reference is read from the sources, so the package as it is installed here matters little.
DOCS = Environment("docs", implementation="python", extras="docs")
BUILT = ROOT / "build" / "docs"
# What Material for MkDocs prints about the next MkDocs is none of this site's.
QUIET = {"NO_MKDOCS_2_WARNING": "1"}


def main(arguments: list[str]) -> int:
    require_venv()
    DOCS.install()
    if arguments:
        return mkdocs(arguments)
    # Not --quiet, with which no warning is counted either.
    status = mkdocs(["build", "--strict", f"--site-dir={BUILT}"])
    return status or checked()


def mkdocs(arguments: list[str]) -> int:
    """Run MkDocs with *arguments*."""
    return run(["env", f"--chdir={ROOT}", DOCS.program("mkdocs"), *arguments], **QUIET)


def checked() -> int:
    """Check the links of the built site, and tell where it is."""
    site = Site(BUILT)
    problems = list(site.problems())
    for problem in problems:
        note(f"docs: {problem}")
    links = sum(len(page.references) for page in site.pages.values())
    note(f"docs: {len(site.pages)} pages, {links} links, {len(problems)} of them bad")
    if not problems:
        note(f"docs: open {BUILT / 'index.html'}")
    return 1 if problems else 0


if __name__ == "__main__":
    start(lambda: main(sys.argv[1:]))
