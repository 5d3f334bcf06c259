"""A comparison as one page of HTML that needs no network, no library and no other file."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from ..runs.compare import WORDS, Change, environment_changes
from ..runs.run_file import Run
from .compare_tables import count_table, format_R, summary, torch_version

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
    undefined=jinja2.StrictUndefined,
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
)
EDGES = [10 ** (k / 4) for k in range(-8, 9)]  # R from a hundredth to a hundred, four a decade
WIDTH, HEIGHT = 640, 160


class Bar(NamedTuple):
    """A bar of the drawing, in its units, and its tooltip."""

    x: float
    y: float
    width: float
    height: float
    run: str
    tooltip: str


def html(old: Run, new: Run, changes: Sequence[Change]) -> str:
    """The page of a comparison."""
    dtypes = sorted({c.dtype for c in changes})
    head, rows = count_table(changes)
    return _TEMPLATES.get_template("compare.html.j2").render(
        versions=(torch_version(old), torch_version(new)),
        fault=new.limit,
        words=WORDS,
        present=[word for word in WORDS if any(c.word == word for c in changes)],
        changes=sorted(changes, key=lambda c: list(WORDS).index(c.word)),
        summary=summary(old, new, changes),
        environment=environment_changes(old, new),
        head=head,
        rows=rows,
        drawings=[(dtype, drawing(old, new, dtype)) for dtype in dtypes],
        width=WIDTH,
        height=HEIGHT,
        marks=[(mark, _position(mark) * WIDTH) for mark in (0.01, 0.1, 1, 10, 100)],
        limit=_position(new.limit) * WIDTH,
        R=format_R,
    )


def drawing(old: Run, new: Run, dtype: str) -> dict[str, Any]:
    """The distribution of R over all tensors of a dtype: bars over log R, old next to new."""
    heights = {"old": _histogram(old, dtype), "new": _histogram(new, dtype)}
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


def _histogram(run: Run, dtype: str) -> list[int]:
    """The number of tensors in each bin between EDGES; the first and the last bin are open."""
    numbers = [0] * (len(EDGES) + 1)
    for value in _ratios(run, dtype):
        numbers[sum(edge < value for edge in EDGES)] += 1
    return numbers


def _ratios(run: Run, dtype: str) -> Iterable[float]:
    """R of every tensor of a dtype; of the result where torch raised and there is no tensor."""
    for row in run.rows:
        if row.dtype == dtype:
            yield from (t.R for t in row.tensors.values() if t.R is not None)
            if not row.tensors:
                yield row.R


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
