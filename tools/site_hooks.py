"""What MkDocs calls as it builds the site, see `hooks` in mkdocs.yml."""

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from site_files import AS_THEY_ARE, DOCS, gathered, linked, text
from site_reference import cited, public_names

NAMES = public_names(DOCS / "reference")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that stand outside of docs/."""
    for place, file in gathered().items():
        if file.is_relative_to(DOCS):
            continue
        if file.suffix in AS_THEY_ARE:
            files.append(File.generated(config, place, abs_src_path=str(file)))
        else:
            files.append(File.generated(config, place, content=text(file)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have the links of a page lead to where the site has what they lead to in the repository.

    And have whoever searches find the pages first, and no sources of examples.
    """
    file = gathered()[page.file.src_uri]
    if not file.is_relative_to(DOCS):
        page.meta["search"] = {"boost": 0.5} if file.suffix == ".md" else {"exclude": True}
    return linked(markdown, file)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have the names of a page lead to the reference, and its docstrings to the pages."""
    return cited(html, page.file.src_uri, NAMES)
