"""Write the tables of options in docs/connecting.md from their fields."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aiomysqlx.settings import PoolOptions
from aiomysqlx.wire.option import Option
from aiomysqlx.wire.options import CONNECT, MAX_PACKET

PAGE = Path(__file__).resolve().parents[1] / "docs" / "connecting.md"
BEGIN, END = "<!-- tools/options.py writes this -->", "<!-- to here -->"
HEADING = "| option | other names | in option files | takes | default | |\n" + "| --- " * 6 + "|"


def table(options: Iterable[Option]) -> str:
    """Return a table of options, a line each."""
    return "\n".join([HEADING, *map(_line, options)])


def _line(option: Option) -> str:
    takes = option.expected.partition(";")[0]
    cells = [
        f"`{option.name}`{'' if option.parse else ' ¹'}",
        ", ".join(f"`{name}`" for name in option.aliases),
        ", ".join(f"`{name}`" for name in option.in_files),
        takes,
        _default(option),
        _marked(option.doc),
    ]
    return f"| {' | '.join(cells)} |"


def _default(option: Option) -> str:
    if option.name == "dialect":  # which is made with the first engine
        return ""
    if option.default == MAX_PACKET:
        return "1 GiB"
    return f"`{option.default!r}`"


def _marked(doc: str) -> str:
    """Return a line of a field as Markdown: *name* stands for another option there."""
    parts = doc.split("*")
    return "".join(f"`{part}`" if index % 2 else part for index, part in enumerate(parts))


def written(page: str) -> str:
    """Return the page with the tables as the fields have them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end
    both = (
        f"{table(CONNECT.values())}\n\nOf an engine only:\n\n{table(PoolOptions.fields.values())}"
    )
    return f"{before}{BEGIN}\n\n{both}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
