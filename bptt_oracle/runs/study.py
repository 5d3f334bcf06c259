"""What is found out about an implementation after its cases were judged: the smallest failing case,
the mistake that it looks like, and the control.

`study` runs in a process of its own, because the implementation may end its process.
"""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from ..cases.case import Case, parse
from ..diagnosis.cases import diagnostic_cases, dropout_cases
from ..diagnosis.diagnose import Diagnosis, diagnose_results
from ..diagnosis.evidence import Evidence
from ..implementations.compute import compute, review
from ..implementations.fitting import fit, fit_all, problem_for
from ..implementations.implementation import Implementation
from ..implementations.loading import as_implementation, describe, implementation_named
from ..judging.evaluation import evaluate
from ..processes.failures import lacks_resources
from .control import Control, control
from .examine import examine
from .results import Result
from .shrink import shrink

FAILING = 4  # cases of a run that are evidence, beside the diagnostic ones


class Study(NamedTuple):
    """What was found out."""

    control: Control
    smallest: str = ""  # the id of the smallest failing case
    dtype: str = ""  # in which it fails
    diagnosis: Diagnosis | None = None


def study(results: Sequence[Result], name: str) -> Study:
    """The control of a run, and if a case failed its smallest form and the diagnosis."""
    implementation = implementation_named(name)
    checked = control(implementation, results)
    failed = [r for r in results if r.verdict == "fault"]
    if not failed:
        return Study(checked)
    first = failed[0]
    smallest = shrink_failure(implementation, parse(first.case), first.dtype)
    return Study(checked, smallest.id, first.dtype, diagnose_results_of(failed, [smallest]))


def shrink_failure(implementation: Implementation, case: Case, dtype: str) -> Case:
    """A smallest case that the implementation gets wrong, from one that it gets wrong."""

    def fails(simpler: Case) -> bool:
        if fit(implementation, simpler) != simpler:
            return False
        return examine(simpler, dtype, [implementation])[0].verdict == "fault"

    return shrink(case, fails)


def diagnose_results_of(failed: Sequence[Result], more: Sequence[Case] = ()) -> Diagnosis | None:
    """The diagnosis of the implementation that failed first, from `more` cases and its failing
    ones; None if an exception or a wrong form, which a note states, is all that is wrong."""
    wrong = [r for r in failed if not r.note and r.path == failed[0].path]
    if not wrong:
        return None
    cases = [*more, *(parse(r.case) for r in wrong[:FAILING])]
    dtypes = tuple(dict.fromkeys(r.dtype for r in wrong))
    return diagnose(implementation_named(failed[0].path), cases, dtypes)


def diagnose(
    implementation: Implementation,
    cases: Sequence[Case] = (),
    dtypes: Sequence[str] = ("float32",),
) -> Diagnosis:
    """The mistake that explains an implementation's answers: to these cases, which it must be able
    to compute, and to those of their cells that tell mistakes apart; without cases, of all its
    cells. The sentence also says which answers are exceptions or lack tensors. Raises CommandError
    for what is not an Implementation."""
    implementation = as_implementation(implementation, "the object")
    cells = dict.fromkeys(case.cell for case in cases) or implementation.cells
    known = [case for cell in cells for case in diagnostic_cases(cell)]
    if implementation.dropout:
        known += [case for cell in cells for case in dropout_cases(cell)]
    more = fit_all(implementation, known)
    excluded = implementation.exclusion_reason or (lambda problem, dtype: "")
    evidence, faults, count = [], [], 0
    for case, dtype in product(dict.fromkeys([*cases, *more]), dtypes):
        if excluded(problem_for(implementation, case), dtype):
            continue
        count += 1
        try:
            results, errors = collect_evidence(implementation, case, dtype)
        except Exception as error:  # an answer to one case may be an exception
            if lacks_resources(error):
                raise
            faults.append(describe(error))
            continue
        evidence.append(results)
        faults += ["; ".join(errors)] if errors else []
    found = diagnose_results(evidence)
    if not faults:
        return found
    sentence = f"{faults[0]}, in {len(faults)} of {count} cases"
    if found.start:
        sentence = f"{found.sentence}; {sentence}"
    return found._replace(
        sentence=sentence, start=found.start or "starts in the form of the answer"
    )


def collect_evidence(
    implementation: Implementation, case: Case, dtype: str
) -> tuple[Evidence, tuple[str, ...]]:
    """The implementation's answer to a case without tensors that have the wrong form, and what is
    wrong with these."""
    problem = problem_for(implementation, case)
    forms = evaluate(problem, np.float64)  # names and shapes; the diagnosis computes the truth
    answer = review(implementation, compute(implementation, problem, dtype), forms, dtype)
    own = None if implementation.constrain is None else problem
    return Evidence(case, dtype, answer.results, own), tuple(answer.errors.values())
