"""The documentation site: the files that it shows, where their links lead, what is a bad link."""

from __future__ import annotations

from pathlib import Path

import pytest
from site_files import DOCS, ROOT, gathered, linked, place, text
from site_links import Site
from site_reference import cited, public_names

# Of the files of the repository alone, which every run has the same.
pytestmark = pytest.mark.once

PLACES = {
    "README.md": "index.md",
    "docs/quickstart.md": "quickstart.md",
    "docs/reference/engine.md": "reference/engine.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "examples/README.md": "examples/README.md",
    "examples/fastapi/app.py": "examples/fastapi/app.py.md",
    "benchmarks/results/compare.svg": "benchmarks/results/compare.svg",
}


@pytest.mark.parametrize(("file", "expected"), PLACES.items(), ids=PLACES)
def test_file_has_its_place(file: str, expected: str) -> None:
    assert place(ROOT / file) == expected
    assert gathered()[expected] == ROOT / file


def test_every_page_is_shown() -> None:
    pages = {place(page) for page in DOCS.rglob("*.md")}

    assert pages
    assert pages <= set(gathered())


LINKS = {
    "to a page beside it": ("docs/quickstart.md", "numbers.md", "numbers.md"),
    "to a part of a page": ("docs/quickstart.md", "numbers.md#cpu", "numbers.md#cpu"),
    "out of docs": ("docs/quickstart.md", "../examples/README.md", "examples/README.md"),
    "into docs": ("README.md", "docs/quickstart.md#rules", "quickstart.md#rules"),
    "to the home page": ("docs/quickstart.md", "../README.md#doors", "index.md#doors"),
    "from one folder into another": (
        "examples/README.md",
        "../docs/quickstart.md",
        "../quickstart.md",
    ),
    "to a source": ("examples/README.md", "fastapi/app.py", "fastapi/app.py.md"),
    "to a picture": (
        "docs/numbers.md",
        "../benchmarks/results/compare.svg",
        "benchmarks/results/compare.svg",
    ),
    "within the page": ("docs/quickstart.md", "#rules", "#rules"),
    "to another site": ("docs/quickstart.md", "https://example.com/a", "https://example.com/a"),
    "to no file": ("docs/quickstart.md", "nothing.md", "nothing.md"),
}


@pytest.mark.parametrize(("page", "target", "expected"), LINKS.values(), ids=LINKS)
def test_link_leads_to_the_place_in_the_site(page: str, target: str, expected: str) -> None:
    assert linked(f"see [it]({target}).", ROOT / page) == f"see [it]({expected})."


def test_code_has_no_links() -> None:
    code = "```python\nhandlers[0](../examples/README.md)\n```\n"

    assert linked(code, DOCS / "quickstart.md") == code


def test_source_is_shown_as_code() -> None:
    file = ROOT / "examples" / "quickstart.py"

    assert text(file) == f"# examples/quickstart.py\n\n```python\n{file.read_text()}```\n"


# -- links between the reference and the other pages

NAMES = {"Engine": "aiomysqlx.Engine", "connect": "aiomysqlx.connect", "AError": "aiomysqlx.AError"}
CITATIONS = {
    "an exception": ("guide.md", "<code>AError</code>", "aiomysqlx.AError"),
    "a function": ("guide.md", "<code>connect()</code>", "aiomysqlx.connect"),
    "a class within the reference": (
        "reference/engine.md",
        "<code>Engine</code>",
        "aiomysqlx.Engine",
    ),
}
NO_CITATIONS = {
    "a class, which may be another's": ("guide.md", "<code>Engine</code>"),
    "a name that is not public": ("reference/engine.md", "<code>Other()</code>"),
    "what is a link already": ("guide.md", '<a href="x.html">of <code>AError</code></a>'),
    "a heading": ("guide.md", "<h2><code>connect()</code></h2>"),
    "lines of code": ("guide.md", "<pre><code>connect()</code></pre>"),
    "a page's name outside of the reference": ("guide.md", "see docs/numbers.md"),
}


@pytest.mark.parametrize(("page", "html", "target"), CITATIONS.values(), ids=CITATIONS)
def test_name_leads_to_the_reference(page: str, html: str, target: str) -> None:
    expected = f'<p>see <autoref identifier="{target}">{html}</autoref></p>'

    assert cited(f"<p>see {html}</p>", page, NAMES) == expected


@pytest.mark.parametrize(("page", "html"), NO_CITATIONS.values(), ids=NO_CITATIONS)
def test_what_is_no_such_name_leads_nowhere(page: str, html: str) -> None:
    assert cited(html, page, NAMES) == html


def test_docstring_leads_to_a_page() -> None:
    shown = cited("see docs/connecting.md#tls.", "reference/driver.md", NAMES)

    assert shown == 'see <a href="../connecting.html#tls">docs/connecting.md#tls</a>.'


def test_names_of_the_reference_are_public() -> None:
    names = public_names(DOCS / "reference")

    assert names["Engine"] == "aiomysqlx.Engine"
    assert names["Pipeline"] == "aiomysqlx.pipeline.Pipeline"


# -- the links of the built site

OTHER = '<h1 id="top">Other</h1>'
GOOD = {
    "a page": '<a href="sub/other.html">',
    "a part of a page": '<a href="sub/other.html#top">',
    "a part of this page": '<p id="here"><a href="#here">',
    "a file with spaces": '<img src="a%20picture.svg">',
    "another site": '<a href="https://example.com/">',
    "a mail address": '<a href="mailto:someone@example.com">',
    "data": '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">',
    "where the page is published": '<link rel="canonical" href="https://example.com/page.html">',
}
BAD = {
    "no file": ('<a href="none.html">', "leads to no file"),
    "a folder": ('<a href="sub/">', "leads to no file"),
    "outside": ('<a href="../beside.html">', "leads out of the site"),
    "no part": ('<a href="sub/other.html#none">', "leads to no part of that page"),
    "no part of this page": ('<a href="#none">', "leads to no part of that page"),
    "a missing picture": ('<img src="none.svg">', "leads to no file"),
    "the root": ('<a href="/sub/other.html">', "is absolute"),
    "a script of others": ('<script src="https://example.com/a.js">', "would be fetched"),
    "a font of others": ('<link rel="stylesheet" href="//example.com/a.css">', "would be fetched"),
    "a picture of others": ('<img src="https://example.com/a.png">', "would be fetched"),
    "a program": ('<a href="javascript:alert()">', "no reader expects: 'javascript'"),
    "no host": ('<a href="https:///path">', "names no host"),
    "half a host": ('<a href="https://example">', "names no host"),
    "a broken address": ('<a href="http://[::1">', "is no address"),
}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "site"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "other.html").write_text(OTHER)
    (folder / "a picture.svg").write_text("<svg/>")
    (tmp_path / "beside.html").write_text(OTHER)
    return Site(folder)


@pytest.mark.parametrize("html", GOOD.values(), ids=GOOD)
def test_good_link_is_no_problem(site: Site, html: str) -> None:
    (site.folder / "page.html").write_text(html)

    assert list(site.problems()) == []


@pytest.mark.parametrize(("html", "problem"), BAD.values(), ids=BAD)
def test_bad_link_is_told_with_its_page(site: Site, html: str, problem: str) -> None:
    (site.folder / "page.html").write_text(html)

    (told,) = site.problems()

    assert told.startswith("page.html: ")
    assert problem in told


def test_page_of_what_is_not_there_may_have_absolute_links(site: Site) -> None:
    (site.folder / "404.html").write_text('<a href="/sub/other.html">')

    assert list(site.problems()) == []
