"""The control of a run: mistakes are planted in answers that agree, and must be detected.

A green run says little if the harness compared nothing. So after each run of an implementation, a
few of its own answers are changed, and judged again.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ..cases.case import Case, parse
from ..implementations.answer_faults import ANSWER_FAULTS, plant_in_answer
from ..implementations.compute import compute, review
from ..implementations.fitting import problem_for
from ..implementations.implementation import Implementation
from ..judging.judge import Verdict, judge
from ..judging.truth import expect
from ..processes.failures import lacks_resources
from .results import Result

ANSWERS = 6  # agreeing answers that are changed


class Control(NamedTuple):
    """How many mistakes were planted and detected, and which were not."""

    planted: int
    detected: int
    missed: tuple[str, ...]  # the mistake, the case and the dtype


def control(implementation: Implementation, results: Iterable[Result]) -> Control:
    """Plant every mistake that applies in the answers of `choose_answers`."""
    agreeing = [r for r in results if r.verdict == "agree" and r.path == implementation.name]
    planted = detected = 0
    missed = []
    for result in choose_answers(agreeing):
        case = parse(result.case)
        for fault, found in plant_all(implementation, case, result.dtype):
            planted, detected = planted + 1, detected + found
            if not found:
                missed.append(f"{fault} in {result.case} --dtype {result.dtype}")
    return Control(planted, detected, tuple(missed))


def choose_answers(agreeing: Sequence[Result]) -> list[Result]:
    """Some of the results, from the last cases on, which have the most options. Only results of
    generic numbers, if there are any: where gates are saturated, a gradient can be so small that
    a mistake in it is smaller than rounding."""
    generic = [r for r in agreeing if parse(r.case).regime == "generic"]
    candidates = generic or agreeing
    step = max(len(candidates) // ANSWERS, 1)
    return list(candidates[::-step][:ANSWERS])


class Detection(NamedTuple):
    """One mistake in the answers of one cell in one dtype."""

    fault: str
    cell: str
    dtype: str
    planted: int  # in how many cases it was planted until it was detected
    detected: bool


def detect_answer_faults(
    implementation: Implementation, cases: Sequence[Case], dtype: str
) -> list[Detection]:
    """Plant each mistake in the answers to the cases of each cell, in order, until one case detects
    it. A mistake that applies to no case of a cell has planted = 0."""
    detections = []
    for cell in implementation.cells:
        planted = dict.fromkeys(ANSWER_FAULTS, 0)
        open_faults = set(ANSWER_FAULTS)
        for case in cases:
            if case.cell != cell or not open_faults:
                continue
            for fault, found in plant_all(implementation, case, dtype):
                if fault in open_faults:
                    planted[fault] += 1
                    open_faults -= {fault} if found else set()
        detections += [
            Detection(fault, cell, dtype, count, fault not in open_faults)
            for fault, count in planted.items()
        ]
    return detections


def plant_all(implementation: Implementation, case: Case, dtype: str) -> Iterator[tuple[str, bool]]:
    """Each mistake that applies to the implementation's answer to a case, and whether it is
    detected. A mistake in a tensor that is ill-conditioned, or whose noise is infinite, does not
    apply; nothing is planted in an answer that does not agree."""
    problem = problem_for(implementation, case)
    expected = expect(problem, dtype)
    try:
        answer = compute(implementation, problem, dtype)
    except Exception as error:  # no answer, so none that agrees
        if lacks_resources(error):
            raise
        return
    answer = review(implementation, answer, expected.truth, dtype)
    returned = expected.of(answer.results)
    verdict = judge(answer.results, returned)
    if verdict.word != "agree" or answer.errors:
        return
    clear = clear_tensors(verdict)
    for name in ANSWER_FAULTS:
        wrong = plant_in_answer(name, answer.results, dtype)
        changed = {t for t in wrong if wrong[t] is not answer.results[t]}
        if changed and changed <= clear:
            yield name, judge(wrong, returned).word == "fault"


def clear_tensors(verdict: Verdict) -> set[str]:
    """The tensors in which a mistake shows: zeros would not agree as well."""
    return {s.tensor for s in verdict.scores if not s.ill}
