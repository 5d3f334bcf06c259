"""Which mistake gives the results that an implementation gave.

The results of each cell and dtype are compared with the truth of every mistaken net of the list. A
mistake is named if it agrees, by the judge's rules, in every tensor of every case, those included
in which the implementation is right. Most mistakes are ruled out by a glance at the smallest wrong
case: their truth is far from the results by more than rounding makes anywhere. Only the others are
judged.

    wrong values and gradients     mistakes whose gradients follow the mistaken equations
    wrong values                   the same mistakes by their values alone, where no gradients fit
    wrong gradients only           mistakes of the backward pass
    none of these                  a lower precision, or else the place where the error starts

Page: docs/diagnosis/diagnosis.md
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF

from ..judging.evaluation import Results
from ..judging.judge import LIMIT, score
from ..judging.truth import largest_of
from ..judging.wide import absolute_difference
from .equations import CELLS
from .evidence import Evidence, Item, choose, examine_evidence, in_order, is_readable
from .factor import factors
from .mistake import Change, Mistake
from .mistakes import mistakes
from .precision import Judged, inaccurate_function, lower_precision, score_of
from .question import RIGHT_EQUATIONS
from .start import start_of

GLANCE = 4096  # units of roundoff, of the largest element of a tensor
COARSEST = 0.25  # of the largest element, for types of few digits
VALUES = ("output", "h_n", "c_n")


class Diagnosis(NamedTuple):
    """Which mistakes agree with the results, in a sentence, and where the error starts.

    `names` is empty if all results are right, or if no mistake of the list agrees; more than one
    name means that these cases cannot tell the mistakes apart.
    """

    names: tuple[str, ...]
    sentence: str
    start: str  # empty if all results are right
    values_only: bool = False  # the values agree with the mistakes, and the gradients do not


def diagnose_results(evidence: Iterable[Evidence]) -> Diagnosis:
    """The mistake by name. Cells that the list does not have are left out."""
    possible = [e for e in evidence if e.case.cell in CELLS]
    items = [item for item in map(examine_evidence, possible) if item.tensors]
    wrong = [item for item in items if item.wrong]
    if not items:
        return Diagnosis((), "nothing was judged: no case has results", "")
    if not wrong:
        return Diagnosis((), f"no mistake: {len(items)} of {len(items)} cases agree", "")
    findings = {}
    for cell in CELLS:
        groups = [
            [item for item in items if (item.evidence.case.cell, item.evidence.dtype) == (cell, d)]
            for d in dict.fromkeys(item.evidence.dtype for item in items)
        ]
        found = _merge([_diagnose_group(g) for g in groups if any(item.wrong for item in g)])
        if found is not None:
            findings[cell] = found
    names = tuple(dict.fromkeys(name for found in findings.values() for name in found.names))
    start = start_of(
        [
            (i.evidence.case, i.evidence.dtype, i.evidence.results, i.question.right())
            for i in in_order(wrong)
        ]
    )
    values_only = any(found.values_only for found in findings.values())
    return Diagnosis(names, _sentence(findings), start, values_only)


class Finding(NamedTuple):
    """The mistakes that explain a group of cases, and how much of them."""

    names: tuple[str, ...]
    cases: int
    values_only: bool = False  # the gradients do not agree


def _merge(findings: Sequence[Finding]) -> Finding | None:
    """The findings of a cell in several dtypes: the mistakes that explain all of them."""
    if not findings:
        return None
    common = [n for n in findings[0].names if all(n in f.names for f in findings)]
    return Finding(
        tuple(common),
        sum(f.cases for f in findings),
        any(f.values_only for f in findings),
    )


def _diagnose_group(group: Sequence[Item]) -> Finding:
    """The mistakes that explain the results of one cell and dtype."""
    wrong = choose([item for item in group if item.wrong])
    right = choose([item for item in group if not item.wrong])
    items = [*wrong, *right]
    if not all(map(is_readable, items)):
        return Finding((), len(items))
    in_values = any(name in VALUES for item in wrong for name in item.wrong)
    judged_values = any(name in item.evidence.results for item in wrong for name in VALUES)
    cell = wrong[0].evidence.case.cell
    candidates = [
        (mistake, change)
        for mistake in mistakes()
        if cell in mistake.cells and (mistake.in_values in (in_values, None) or not judged_values)
        for change in mistake.changes
    ]
    names = _fitting(candidates, items, values_only=False)
    if names:
        return Finding(names, len(items))
    if not in_values:
        first = wrong[0]
        results, truth = first.evidence.results, first.question.right().truth
        scaled = [(m, m.changes[0]) for m in factors(results, truth, first.wrong)]
        names = _fitting(scaled, items, values_only=False)
        if names:
            return Finding(names[:1], len(items))
    judged = [
        Judged(i.question, i.evidence.results, bool(i.wrong), i.evidence.case.regime == "generic")
        for i in items
    ]
    lower = lower_precision(judged)
    if lower:
        return Finding((lower,), len(items))
    names = tuple(inaccurate_function(judged))
    if not names and in_values:
        names = _fitting(candidates, items, values_only=True)
        return Finding(names, len(items), values_only=True)
    return Finding(names, len(items))


def _fitting(
    candidates: Sequence[tuple[Mistake, Change]], items: Sequence[Item], values_only: bool
) -> tuple[str, ...]:
    """The names of the mistakes that agree with all items."""
    for item in items:
        if candidates:
            candidates = [c for c in candidates if _may_agree(*c, item, values_only)]
    fitting = [
        mistake.name
        for mistake, change in candidates
        if all(_agrees(change, item, values_only) for item in items)
    ]
    names = tuple(dict.fromkeys(fitting))
    both = "weight_ih and weight_hh "
    if any(n.startswith(("weight_ih ", "weight_hh ")) and not n.startswith(both) for n in names):
        return tuple(n for n in names if not n.startswith(both))  # one of the two is enough
    return names


def _may_agree(mistake: Mistake, change: Change, item: Item, values_only: bool) -> bool:
    """Whether a mistake's truth is near the results; always, where rounding may be amplified."""
    if item.evidence.case.regime != "generic":
        return True
    results = item.evidence.results
    relative = min(GLANCE * UNIT_ROUNDOFF[item.evidence.dtype], COARSEST)
    stages = (False,) if values_only else (False, True) if mistake.in_values else (True,)
    for gradients in stages:
        truth = item.question.truth(change, gradients)
        for name, exact in truth.items():
            if name not in results or (values_only and name not in VALUES):
                continue
            error = absolute_difference(results[name], exact).max(initial=0)
            if not error <= relative * largest_of(exact):
                return False
    return True


def _agrees(change: Change, item: Item, values_only: bool) -> bool:
    """Whether a mistake's truth agrees, and differs from the right one where that does not."""
    results = item.evidence.results
    names = [n for n in results if not values_only or n in VALUES]
    right, truth = item.question.right(), item.question.truth(change)
    if not item.wrong and _same(truth, item.question.truth(RIGHT_EQUATIONS)):
        return True  # the mistake changes nothing here, and the results are right
    wrong = [name for name in item.wrong if name in names]
    if any(score_of(name, truth[name], right) <= LIMIT / 2 for name in wrong):
        return False
    expected = item.question.expected(change)
    known = [name for name in names if name in expected.truth]
    scores = [
        score(
            name,
            results[name],
            expected.truth[name],
            expected.noise[name],
            elements=expected.elements.get(name),
        )
        for name in known
    ]
    if any(s.R > LIMIT for s in scores):
        return False
    return not item.wrong or any(not s.ill for s in scores)


def _same(a: Results, b: Results) -> bool:
    return all(np.array_equal(a[name], b[name], equal_nan=a[name].dtype != object) for name in b)


def _sentence(findings: Mapping[str, Finding]) -> str:
    """What was found, cell by cell, or at once where all cells have the same mistakes."""
    same = len({(found.names, found.values_only) for found in findings.values()}) == 1
    if same:
        (first, *_), cases = findings.values(), sum(f.cases for f in findings.values())
        return _of_cell(first._replace(cases=cases))
    return "; ".join(f"{cell}: {_of_cell(found)}" for cell, found in findings.items())


def _of_cell(found: Finding) -> str:
    if not found.names:
        return "no mistake of the list agrees"
    what = "the values agree" if found.values_only else "agrees"
    cases = f"in {found.cases} of {found.cases} cases"
    only = ", but the gradients do not" * found.values_only
    if len(found.names) == 1:
        return f"{what} with {found.names[0]} {cases}{only}"
    names = listed(found.names)
    return f"{what} {cases} with mistakes that these cases cannot tell apart: {names}{only}"


def listed(names: Sequence[str]) -> str:
    """Six names, and how many more there are."""
    more = f", or one of {len(names) - 6} more" * (len(names) > 6)
    return ", or ".join(names[:6]) + more
