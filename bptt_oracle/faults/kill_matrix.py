"""The kill matrix: by fault and cell, the tensor that detects it, the check, the cases needed."""

from collections.abc import Sequence
from itertools import groupby

import torch
from rich.console import Console
from rich.table import Table

from ..cases.case import CELLS
from ..reports.console import plural
from .detect import Detection
from .fault import FAULTS, KINDS

HEAD = ("fault", *CELLS, "check", "seconds")
LEGEND = """\
Each row is one fault, planted in a correct module. An entry names the first tensor that detects
it, and the number of corpus cases judged up to and including that one, in float32 and in float64:
`h_n 3 7`. A single number holds for both dtypes. An empty entry is a cell to which the fault does
not apply. The seconds are the longest time that any entry of the row took, without computing the
expected results, which all faults share. The column `check` states what differed: a comma joins
what differed in one combination of cell and dtype, a semicolon separates combinations.

    value         output, h_n or c_n differs from the truth by more than rounding explains
    gradient      a gradient differs from the truth by more than rounding explains
    not bitwise   a bit differs in a case where no operation rounds
    not finite    NaN or infinity where the truth is finite
    invalid call  a call that must be rejected returns a result
"""


def rows(detections: Sequence[Detection]) -> list[tuple[str, ...]]:
    """The cells of the matrix as text: a row for each fault, a column for each of HEAD."""
    return [_row(fault, list(group)) for fault, group in groupby(detections, lambda d: d.fault)]


def _row(fault: str, detections: list[Detection]) -> tuple[str, ...]:
    checks = dict.fromkeys(d.check for d in detections if d.check)
    seconds = max(d.seconds for d in detections)
    entries = [_entry([d for d in detections if d.cell == cell]) for cell in CELLS]
    return fault, *entries, "; ".join(checks), f"{seconds:.2f}"


def _entry(detections: list[Detection]) -> str:
    """The entry of one cell: the tensor, and the number of cases in each dtype."""
    if not detections:
        return ""
    if any(d.survived for d in detections):
        return "SURVIVES"
    counts = dict.fromkeys(str(d.cases) for d in detections)
    return f"{detections[0].tensor} {' '.join(counts)}"


def print_matrix(console: Console, detections: Sequence[Detection]) -> None:
    """Print the matrix."""
    table = Table(*HEAD)
    for row in rows(detections):
        style = "bold red" if "SURVIVES" in row else None
        table.add_row(*row, style=style)
    console.print(table)


def summary(detections: Sequence[Detection]) -> str:
    """One line: how many faults, how many of them were killed, and after how many cases."""
    killed = [d for d in detections if not d.survived]
    faults = plural(len({d.fault for d in detections}), "fault")
    text = f"{faults} in {len(detections)} combinations with cell and dtype; killed: {len(killed)}"
    if killed:
        last = max(killed, key=lambda d: d.cases)
        early = sum(d.cases <= 8 for d in killed)
        text += (
            f", {early} of them within 8 cases, the last after {last.cases} "
            f"({last.fault}, {last.cell} in {last.dtype})"
        )
    return text


def markdown(detections: Sequence[Detection], command: str) -> str:
    """The page docs/faults/faults.md: for each kind, the symptoms and sources, and the matrix."""
    sections = [
        "# Planted faults",
        f"Written by `{command}` with torch {torch.__version__}.",
        "A fault with a source is a bug that a recurrent module has had; the others are mistakes "
        "of the same kinds. Each is re-created in a correct module on the CPU, and none raises an "
        "exception. The corpus is that of `bptt-oracle check`. A fault is *killed* in a cell and "
        "dtype if the judge detects it there.",
        f"**{summary(detections)}.**",
        LEGEND.rstrip(),
    ]
    for kind, meaning in KINDS.items():
        group = [d for d in detections if FAULTS[d.fault].kind == kind]
        if group:
            names = dict.fromkeys(d.fault for d in group)
            sections.append(f"## {kind}: {meaning}")
            sections.append(_table(("fault", "symptom", "source"), [_describe(n) for n in names]))
            sections.append(_table(HEAD, rows(group)))
    return "\n\n".join(sections) + "\n"


def _describe(name: str) -> tuple[str, str, str]:
    fault = FAULTS[name]
    threads = [thread.strip() for thread in fault.source.split(",") if thread]
    return name, fault.symptom, ", ".join(map(_link, threads))


def _link(thread: str) -> str:
    repository, number = thread.split("#")
    return f"[{thread}](https://github.com/{repository}/issues/{number})"


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
