"""Draw the comparison: `chart.py compare.json compare.svg`, in an environment with matplotlib.

Bars of the medians on the first server and loop. The background is left out, the bars' grey is in
the middle and the text's goes with the reader's colours: it can be read on light and dark pages.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from contenders import NATIVE, members
from report import OURS
from samples import INSERTS, LIST_LENGTH, LISTS, POINTS, ROWS, STORED, TASKS, TRANSACTIONS

TEXT = "#57606a"
TEXT_ON_DARK = "@media (prefers-color-scheme: dark) {text {fill: #adbac7 !important}}"
THEIRS = "#8c959f"
COLOURS = dict(zip(OURS, ("#2da44e", "#6cc485"), strict=True))
PANELS = {
    "rows": ("cpu", f"{ROWS:,} rows", "ms of CPU"),
    "reused": ("cpu", f"{POINTS:,} selects by key", "one statement, ms of CPU"),
    "anew": ("cpu", f"{POINTS:,} selects by key", "built anew, ms of CPU"),
    "in_lists": ("cpu", f"{LISTS} selects by list", f"IN of {LIST_LENGTH}, ms of CPU"),
    "transactions": ("cpu", f"{TRANSACTIONS} transactions", "of one select, ms of CPU"),
    "insert": ("cpu", f"{INSERTS:,} rows inserted", "by one call, ms of CPU"),
    "pool": ("wall", f"{TASKS} tasks on a pool", "ms"),
    "memory": ("memory", f"{STORED:,} rows held", "MiB of memory"),
}
COLUMNS = 4
SETTINGS = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "svg.fonttype": "none",  # text, not outlines: small, and in the reader's font
    "svg.hashsalt": "aiomysqlx",  # the same names for the same picture
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "ytick.color": TEXT,
}


def medians(document: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Give for each workload what its panel shows of each contender."""
    first = document["figures"][0]
    found: dict[str, dict[str, float]] = {workload: {} for workload in PANELS}
    for each in document["figures"]:
        if (each["server"], each["loop"]) != (first["server"], first["loop"]):
            continue
        if each["workload"] in PANELS and each["contender"] in members(NATIVE):
            figure = PANELS[each["workload"]][0]
            found[each["workload"]][each["contender"]] = each[figure]["median"]
    return found


def draw(panel: Any, values: dict[str, float]) -> None:
    """Draw one bar for each contender that was measured, in the place of its name."""
    names = members(NATIVE)
    longest = max(values.values())
    for place, name in enumerate(names):
        if name not in values:
            panel.text(0, place, " not applicable", va="center")
            continue
        panel.barh(place, values[name], 0.7, color=COLOURS.get(name, THEIRS), clip_on=False)
        panel.text(values[name] + longest * 0.03, place, f"{values[name]:.0f}", va="center")
    panel.set_xlim(0, longest * 1.25)
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.set_xticks([])
    panel.set_yticks(range(len(names)), names)
    panel.tick_params(length=0)
    panel.spines[:].set_visible(False)


def footer(document: dict[str, Any]) -> str:
    """Give the line that says what was measured with what."""
    versions = next(iter(document["versions"].values()))
    first = document["figures"][0]
    return (
        f"less is better · {first['loop']}, Python {versions['Python']},"
        f" SQLAlchemy {versions['SQLAlchemy']} (aiomysql.sa: 1.3), {first['server']}"
    )


def main(source: str, target: str) -> None:
    matplotlib = import_module("matplotlib")
    matplotlib.use("svg")
    pyplot = import_module("matplotlib.pyplot")
    matplotlib.rcParams.update(SETTINGS)
    document = json.loads(Path(source).read_text())
    found = medians(document)
    rows = len(PANELS) // COLUMNS
    figure, panels = pyplot.subplots(rows, COLUMNS, figsize=(9.5, 2.4 * rows), sharey=True)
    for panel, (workload, (_, title, subtitle)) in zip(panels.flat, PANELS.items(), strict=True):
        draw(panel, found[workload])
        panel.set_title(f"{title}\n{subtitle}", fontsize=9, loc="left")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.text(0.99, 0.01, footer(document), ha="right", fontsize=8)
    picture = StringIO()
    figure.savefig(picture, format="svg", transparent=True, metadata={"Date": None})
    text = picture.getvalue()
    Path(target).write_text(text.replace("</style>", f"{TEXT_ON_DARK}</style>", 1))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
