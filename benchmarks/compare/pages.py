"""Write the comparison's figures into the pages, as `make compare` does when it has measured all.

By itself, `pages.py` writes those of `benchmarks/results/compare.json` anew. A page says where:
what stands between `<!-- figures: NAME -->` and `<!-- end of figures -->` is made by the function
of `BLOCKS` that has this name. All is about the first server, on asyncio.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from contenders import ENGINE, NATIVE, members
from environments import ROOT
from report import COMPILED, DRIVER, MEMORY, PERCENTILES, PREPARED, PURE
from samples import (
    GETS,
    INSERTS,
    LIST_LENGTH,
    LISTS,
    POINTS,
    POINTS_PER_TASK,
    POOL_SIZE,
    ROWS,
    STORED,
    TASKS,
    TRANSACTIONS,
    UPDATES,
)

RESULTS = ROOT / "benchmarks" / "results" / "compare.json"
PAGES = ("README.md", "docs/numbers.md", "docs/async-engine.md")
BLOCK = re.compile(r"(?<=<!-- figures: )(\S+)( -->\n).*?(?=<!-- end of figures -->)", re.DOTALL)
NONE = "\N{EN DASH}"
LESS = 0.95  # what is above is level, as far as can be measured

LINES = {
    "rows": f"{ROWS:,} rows of 10 mixed columns",
    "reused": f"{POINTS:,} selects by key, one statement reused",
    "anew": f"{POINTS:,} selects by key, each built anew",
    "in_lists": f"{LISTS} selects, `IN` of {LIST_LENGTH} keys, built anew",
    "transactions": f"{TRANSACTIONS} times begin, select, commit",
    "insert": f"{INSERTS:,} rows inserted by one call",
    "updates": f"{UPDATES:,} rows updated by one call, in a transaction",
    "streamed": f"{STORED:,} rows streamed",
    "pool": f"{TASKS} tasks \N{MULTIPLICATION SIGN} {POINTS_PER_TASK} selects, pool of {POOL_SIZE}",
    "get": f"{GETS} times `session.get()`",
    "orm": f"{ROWS:,} objects loaded",
    "add_all": f"{INSERTS:,} objects added, and committed",
    MEMORY: f"{STORED:,} rows held",
}
# The README's, and what it shows of them.
SHORT = ("rows", "reused", "transactions", "insert")
SHORT_OF = (
    *(COMPILED, PURE, "aiomysql.sa"),
    *("AsyncEngine + asyncmy", "asyncmy, text", "asyncmy, prepared"),
)
# The contenders under SQLAlchemy's AsyncEngine, as one gives them.
DRIVERS = {
    DRIVER: "`+aiomysqlx`",
    "+aiomysqlx, pure": "its pure build",
    "+asyncmy": "`+asyncmy`",
    "+asyncmy, prepared": "`+asyncmy`, `stmt_cache_size=64`",
    "+aiomysql": "`+aiomysql`",
}
NAMES = ("Python", "SQLAlchemy", "asyncmy", "aiomysql", "PyMySQL")


class Figures(NamedTuple):
    """What was measured: for a workload and a contender, the spread of each figure."""

    document: dict[str, Any]
    spreads: dict[tuple[str, str], dict[str, dict[str, float]]]

    def median(self, workload: str, contender: str, figure: str) -> float | None:
        """Give a median; None for what was not measured."""
        spread = self.spreads.get((workload, contender), {}).get(figure)
        return None if spread is None else spread["median"]


def figures_of(document: dict[str, Any]) -> Figures:
    """Give what a document of `make compare` has of its first server and loop."""
    first = document["figures"][0]
    return Figures(
        document,
        {
            (each["workload"], each["contender"]): {
                name: value for name, value in each.items() if isinstance(value, dict)
            }
            for each in document["figures"]
            if (each["server"], each["loop"]) == (first["server"], first["loop"])
        },
    )


def table(head: list[str], lines: Iterable[list[str]], words: int = 1) -> str:
    """Give a table, whose columns have numbers but for the first *words*."""
    rule = [*["---"] * words, *["---:"] * (len(head) - words)]
    return "".join(
        f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in (head, rule, *lines)
    )


def shown(value: float | None, digits: int = 1) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def medians(
    figures: Figures, figure: str, workloads: Iterable[str], contenders: Iterable[str]
) -> list[list[str]]:
    """Give a line for each workload that some contender has such a figure of."""
    contenders = list(contenders)
    lines = []
    for workload in workloads:
        found = [figures.median(workload, name, figure) for name in contenders]
        if any(value is not None for value in found):
            lines.append([LINES[workload], *map(shown, found)])
    return lines


def cpu(figures: Figures) -> str:
    """Give the processor's time of every library."""
    names = members(NATIVE)
    return table(["", *names], medians(figures, "cpu", LINES, names))


def wall(figures: Figures) -> str:
    """Give the time on the clock of every library, and of single statements."""
    names = members(NATIVE)
    lines = medians(figures, "wall", LINES, names)
    for figure in PERCENTILES:
        label = (
            f"one select by key, reused, {figure}" if figure == PERCENTILES[0] else f"… {figure}"
        )
        lines.append([label, *(shown(figures.median("reused", each, figure), 3) for each in names)])
    return table(["", *names], lines)


def memory(figures: Figures) -> str:
    """Give the memory of every library."""
    names = members(NATIVE)
    return table(["", *names], medians(figures, "memory", (MEMORY,), names))


def short(figures: Figures) -> str:
    """Give the few figures of the README."""
    return table(["", *SHORT_OF], medians(figures, "cpu", SHORT, SHORT_OF))


def drivers(figures: Figures) -> str:
    """Give the processor's time of each driver under an AsyncEngine."""
    assert list(DRIVERS) == members(ENGINE)
    lines = medians(figures, "cpu", LINES, DRIVERS)
    return table(["CPU of the client, ms", *DRIVERS.values()], lines)


def behind(figures: Figures) -> str:
    """Give what others take of ours where that is less: prepared, beside ours prepared."""
    lines = []
    for workload in LINES:
        for name in members(NATIVE):
            ours = PREPARED if "prepared" in name else COMPILED
            shares = [
                share(figures, workload, name, ours, each) for each in ("cpu", "wall", "memory")
            ]
            if not name.startswith("aiomysqlx") and any(
                each is not None and each < LESS for each in shares
            ):
                lines.append([LINES[workload], name, ours, *(shown(each, 2) for each in shares)])
    head = ["", "who", "beside", "of its CPU", "of its time", "of its memory"]
    return table(head, lines, words=3)


def share(figures: Figures, workload: str, name: str, ours: str, figure: str) -> float | None:
    theirs, own = (figures.median(workload, each, figure) for each in (name, ours))
    return None if theirs is None or own is None else theirs / own


def measured(figures: Figures) -> str:
    """Tell with what it was measured, and how far a figure scatters that does so most."""
    new, old = (
        figures.document["versions"][name] for name in ("all but aiomysql.sa", "aiomysql.sa")
    )
    versions = [
        f"{name} {new[name]}" + (f" ({old[name]} for aiomysql.sa)" if name == "SQLAlchemy" else "")
        for name in NAMES
    ]
    first = figures.document["figures"][0]["server"]
    version, product = (
        first.split("-")[:2] if "MariaDB" in first else (first.split("-")[0], "MySQL")
    )
    spreads = {
        key: spreads["cpu"]
        for key, spreads in figures.spreads.items()
        if "cpu" in spreads and key[0] in LINES and key[1] in members(NATIVE)
    }
    (workload, name), widest = max(spreads.items(), key=lambda item: width(item[1]))
    low, high = widest["first_quartile"], widest["third_quartile"]
    cores = figures.document["machine"]["cores"]
    return (
        f"{', '.join(versions)}, {product} {version},\n"
        f"{cores} cores shared with the server and with little else. The widest quartiles are those"
        f" of *{name}*,\n{LINES[workload]}: {low:.1f} to {high:.1f} ms of CPU.\n"
    )


def width(spread: dict[str, float]) -> float:
    return (spread["third_quartile"] - spread["first_quartile"]) / spread["median"]


BLOCKS: dict[str, Callable[[Figures], str]] = {
    each.__name__: each for each in (cpu, wall, memory, short, drivers, behind, measured)
}


def written(text: str, figures: Figures) -> str:
    """Give a page's text with the figures in their places."""
    return BLOCK.sub(lambda found: f"{found[1]}{found[2]}\n{BLOCKS[found[1]](figures)}\n", text)


def write(source: Path = RESULTS, root: Path = ROOT) -> None:
    """Write the figures of a document into the pages below *root*."""
    figures = figures_of(json.loads(source.read_text()))
    for page in PAGES:
        path = root / page
        path.write_text(written(path.read_text(), figures))


if __name__ == "__main__":
    write()
