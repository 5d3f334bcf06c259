"""A comparison as one page of HTML that needs no network, no library and no other file."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from ..runs.compare import WORDS, Change, Comparison, environment_changes
from ..runs.ratios import count_ratios
from ..runs.run import Run
from .compare_tables import count_table, environment_table, format_R, summary, torch_version

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
EDGES = [10 ** (k / 4) for k in range(-8, 9)]  # R from a hundredth to a hundred, four a decade
WIDTH, HEIGHT = 640, 160
MOST_CHANGES = 5000  # a browser is slow with more


class Bar(NamedTuple):
    """A bar of the drawing, in its units, and its tooltip."""

    x: float
    y: float
    width: float
    height: float
    run: str
    tooltip: str


def html(old: Run, new: Run, comparison: Comparison, changes: Iterable[Change]) -> str:
    """The page of a comparison. It lists at most MOST_CHANGES of the changes."""
    head, rows = count_table(comparison)
    listed = first_changes(changes)
    return _TEMPLATES.get_template("compare.html.j2").render(
        versions=(torch_version(old), torch_version(new)),
        fault=new.limit,
        words=WORDS,
        present=[word for word in WORDS if comparison.total[word]],
        changes=listed,
        left_out=comparison.total.total() - len(listed),
        summary=summary(comparison),
        environment=environment_changes(old, new),
        environments=environment_table(old, new, comparison) if comparison.environments else None,
        head=head,
        rows=rows,
        drawings=drawings(old, new),
        width=WIDTH,
        height=HEIGHT,
        marks=[(mark, _position(mark) * WIDTH) for mark in (0.01, 0.1, 1, 10, 100)],
        limit=_position(new.limit) * WIDTH,
        R=format_R,
    )


def first_changes(changes: Iterable[Change]) -> list[Change]:
    """The first MOST_CHANGES changes, by word in the order of WORDS."""
    by_word: dict[str, list[Change]] = {word: [] for word in WORDS}
    for one in changes:
        if len(by_word[one.word]) < MOST_CHANGES:
            by_word[one.word].append(one)
    return [one for found in by_word.values() for one in found][:MOST_CHANGES]


def drawings(old: Run, new: Run) -> list[tuple[str, dict[str, Any]]]:
    """The distribution of R for each dtype."""
    edges = np.array(EDGES)
    counts = {name: count_ratios(run, edges) for name, run in (("old", old), ("new", new))}
    none = np.zeros(len(EDGES) + 1, int)
    return [
        (dtype, drawing(counts["old"].get(dtype, none), counts["new"].get(dtype, none)))
        for dtype in sorted({*counts["old"], *counts["new"]})
    ]


def drawing(old: np.ndarray, new: np.ndarray) -> dict[str, Any]:
    """The distribution of R over all tensors of a dtype: bars over log R, old next to new. The
    numbers are those between EDGES; the first and the last bin are open."""
    heights = {"old": old.tolist(), "new": new.tolist()}
    most = max(map(max, heights.values()))
    step = WIDTH / (len(EDGES) + 1)
    bars = [
        Bar(
            x=i * step + (step / 2 if run == "new" else 1),
            y=HEIGHT * (1 - n / most),
            width=step / 2 - 1,
            height=HEIGHT * n / most,
            run=run,
            tooltip=f"{run}: {n} tensors with R {_between(i)}",
        )
        for run, numbers in heights.items()
        for i, n in enumerate(numbers)
        if n
    ]
    return {"bars": bars, "old": sum(heights["old"]), "new": sum(heights["new"])}


def _position(value: float) -> float:
    """The position of a value of R on the axis, from 0 to 1."""
    steps = (math.log10(value) - math.log10(EDGES[0])) * 4
    return min(max((1 + steps) / (len(EDGES) + 1), 0), 1)


def _between(i: int) -> str:
    """The range of bin i in words."""
    if i == 0:
        return f"below {EDGES[0]:g}"
    if i == len(EDGES):
        return f"above {EDGES[-1]:g}"
    return f"from {EDGES[i - 1]:.2g} to {EDGES[i]:.2g}"
