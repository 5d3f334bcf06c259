"""A failing case made smaller while it still fails, so that a person can follow it by hand."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from ..cases.case import Case, contradiction

TRIALS = 200
SECONDS = 30.0


def shrink(case: Case, fails: Callable[[Case], bool]) -> Case:
    """A smallest case that fails, reached by simplifying one field at a time. `fails` is called at
    most TRIALS times, and no more after SECONDS."""
    trials, smaller, end = 0, True, time.monotonic() + SECONDS
    while smaller:
        smaller = False
        for simpler in simplifications(case):
            if trials == TRIALS or time.monotonic() > end:
                return case
            trials += 1
            if fails(simpler):
                case, smaller = simpler, True
                break
    return case


def simplifications(case: Case) -> Iterator[Case]:
    """Cases with one field simpler, the greatest simplification first."""
    plain = {
        "layers": 1,
        "bidirectional": False,
        "P": 0,
        "tied": False,
        "dropout": 0.0,
        "strided": False,
        "state": False,
        "bias": False,
        "regime": "generic",
    }
    for field, value in plain.items():
        changed = {field: value} | ({"dropout": 0.0} if field == "layers" else {})
        if getattr(case, field) != value:
            yield from _possible(case, changed)
    if case.layout != "time":
        yield from _possible(case, {"layout": "time", "lengths": (), "rule": ""})
    for name in case.cotangents:
        if len(case.cotangents) > 1:
            yield from _possible(case, {"cotangents": (name,)})
    if case.layers > 2:
        yield from _possible(case, {"layers": 2})
    for field in ("T", "B", "I", "H"):
        size = getattr(case, field)
        for value in sorted({1, 2, size // 2, size - 1}):
            if 0 < value < size:
                yield from _possible(case, {field: value, **_lengths(case, field, value)})


def _lengths(case: Case, field: str, value: int) -> dict[str, Any]:
    """The lengths of a packed case with fewer steps or rows; the longest stays T."""
    if not case.lengths or field not in ("T", "B"):
        return {}
    if field == "T":
        return {"lengths": tuple(min(n, value) for n in case.lengths), "rule": ""}
    longest = case.lengths.index(case.T)
    kept = sorted({longest, *range(case.B)}, key=lambda row: row != longest)[:value]
    return {"lengths": tuple(case.lengths[row] for row in sorted(kept)), "rule": ""}


def _possible(case: Case, changes: dict[str, object]) -> Iterator[Case]:
    simpler = case._replace(**changes)  # type: ignore[arg-type]
    if not contradiction(simpler):
        yield simpler
