"""The kill matrix: fault by cell, which tensor told, by which check, after how many cases."""

from collections.abc import Sequence
from itertools import groupby

import torch
from rich.console import Console
from rich.table import Table

from ..cases.case import CELLS
from ..reports.console import plural
from .detect import Conviction
from .fault import FAULTS, KINDS

HEAD = ("fault", *CELLS, "told by", "seconds")
TOLD = """\
A row is a mistake put around a correct module; an entry is the tensor that told first, and after
how many cases of the corpus it did so in float32 and in float64: `h_n 3 7`. One number stands for
both. An empty entry is a cell that the mistake does not concern. Seconds are the most that any
of the row's trials took, truth not counted, which all trials share.

    value         output, h_n or c_n lies off the truth by more than rounding can
    gradient      a gradient does
    not bitwise   in a case where no operation rounds, a bit differs
    not finite    NaN or infinity where the truth has none
    refusal       a call that must be refused is answered
"""


def rows(convictions: Sequence[Conviction]) -> list[tuple[str, ...]]:
    """The matrix, a row for each fault, in the order of the trials."""
    return [_row(fault, list(some)) for fault, some in groupby(convictions, lambda c: c.fault)]


def _row(fault: str, convictions: list[Conviction]) -> tuple[str, ...]:
    checks = dict.fromkeys(c.check for c in convictions if c.check)
    seconds = max(c.seconds for c in convictions)
    entries = [_entry([c for c in convictions if c.cell == cell]) for cell in CELLS]
    return fault, *entries, "; ".join(checks), f"{seconds:.2f}"


def _entry(convictions: list[Conviction]) -> str:
    """One cell's: the tensor, and the number of cases in each dtype."""
    if not convictions:
        return ""
    if not all(c.cases for c in convictions):
        return "SURVIVES"
    counts = dict.fromkeys(str(c.cases) for c in convictions)
    return f"{convictions[0].tensor} {' '.join(counts)}"


def print_matrix(console: Console, convictions: Sequence[Conviction]) -> None:
    """The matrix, and the sum of it."""
    table = Table(*HEAD)
    for row in rows(convictions):
        style = "bold red" if "SURVIVES" in row else None
        table.add_row(*row, style=style)
    console.print(table)
    console.print(summary(convictions))


def summary(convictions: Sequence[Conviction]) -> str:
    """How many of how many, and how late the last."""
    convicted = [c for c in convictions if c.cases]
    faults = plural(len({c.fault for c in convictions}), "fault")
    sentence = f"{faults}, {len(convictions)} in cells and types; convicted: {len(convicted)}"
    if convicted:
        last = max(convicted, key=lambda c: c.cases)
        first = sum(c.cases <= 8 for c in convicted)
        sentence += (
            f", {first} of them within 8 cases, the last after {last.cases} "
            f"({last.fault}, {last.cell} in {last.dtype})"
        )
    return sentence


def markdown(convictions: Sequence[Conviction], command: str) -> str:
    """The page: every fault's symptom and source, and the matrix, kind by kind."""
    parts = [
        "# Faults and their convictions",
        f"Written by `{command}` with torch {torch.__version__}.",
        "Bugs that recurrent modules have had, most of them silent, re-created around a correct "
        "module on the CPU, and others of their kinds. As re-created none raises. The corpus is "
        "that of `bptt-oracle check`.",
        f"**{summary(convictions)}.**",
        TOLD.rstrip(),
    ]
    for kind, meaning in KINDS.items():
        some = [c for c in convictions if FAULTS[c.fault].kind == kind]
        if some:
            names = dict.fromkeys(c.fault for c in some)
            parts.append(f"## {kind}: {meaning}")
            parts.append(_table(("fault", "symptom", "known from"), [_told(n) for n in names]))
            parts.append(_table(HEAD, rows(some)))
    return "\n\n".join(parts) + "\n"


def _told(name: str) -> tuple[str, str, str]:
    fault = FAULTS[name]
    threads = [thread.strip() for thread in fault.source.split(",") if thread]
    return name, fault.symptom, ", ".join(map(_link, threads))


def _link(thread: str) -> str:
    repository, number = thread.split("#")
    return f"[{thread}](https://github.com/{repository}/issues/{number})"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
