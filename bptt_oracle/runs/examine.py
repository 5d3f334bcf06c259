"""Run a case on implementations and judge the results.

Imports no torch, so that other implementations are judged without it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from torch_impl.execution.path import WrongKernel
from torch_impl.execution.precision import UNIT_ROUNDOFF
from torch_impl.execution.problem import Problem

from ..cases.case import Case, draw
from ..cases.masks import draw_masks
from ..implementations.compute import compute, review
from ..implementations.fitting import lacking_in
from ..implementations.implementation import Answer, Implementation
from ..implementations.loading import describe
from ..judging.confirmation import judge_and_confirm
from ..judging.deviation_entries import Deviation
from ..judging.deviations import deviations_in, mark_known
from ..judging.judge import Score
from ..judging.location import location
from ..judging.truth import Expected, expect
from ..processes.failures import first_line, lacks_resources
from ..processes.stages import current_stages
from .results import OUT_OF_RESOURCES, Result, blank_result


class JudgedOutcome(NamedTuple):
    """A result, and what it was judged from.

    masks      dropout masks that torch drew
    answer     reviewed; None if an exception was raised or nothing ran
    expected   the truth and noise that it was judged by; None if nothing ran
    """

    result: Result
    masks: list[np.ndarray] = []
    answer: Answer | None = None
    expected: Expected | None = None

    @property
    def tensors(self) -> dict[str, np.ndarray]:
        """Those that were judged."""
        return {} if self.answer is None else self.answer.results


def examine(case: Case, dtype: str, implementations: Sequence[Implementation]) -> list[Result]:
    """Judge a case on each implementation. Known deviations are marked as such."""
    return [
        mark_known(outcome.result, case, deviations_of(implementation))
        for implementation, outcome in zip(
            implementations, judge_implementations(case, dtype, implementations), strict=True
        )
    ]


def judge_implementations(
    case: Case, dtype: str, implementations: Sequence[Implementation]
) -> Iterator[JudgedOutcome]:
    """Run a case on each implementation and judge it; truth is computed once for each precision. An
    exception that an implementation raises is a fault, except WrongKernel, which is raised again,
    and except a lack of memory: the verdict is then OUT_OF_RESOURCES, also of the implementations
    that it prevents."""
    remaining = list(implementations)
    try:
        for outcome in _judge(case, dtype, implementations):
            remaining.pop(0)
            yield outcome
    except Exception as error:
        if isinstance(error, WrongKernel) or not lacks_resources(error):
            raise
        for implementation in remaining:
            unfinished = blank_result(case, implementation.name, dtype)._replace(
                verdict=OUT_OF_RESOURCES, R=float("inf"), note=first_line(error)
            )
            yield JudgedOutcome(unfinished)


def _judge(
    case: Case, dtype: str, implementations: Sequence[Implementation]
) -> Iterator[JudgedOutcome]:
    drawn = draw(case)
    masks = draw_masks(drawn, dtype)
    expectations: dict[Any, Expected] = {}  # by precision and constraint
    for implementation in implementations:
        problem = drawn
        if implementation.constrain is not None:
            problem = implementation.constrain(drawn)
        note = exclusion_reason_of(implementation, case, problem, dtype)
        blank = blank_result(case, implementation.name, dtype, note)
        if note:
            yield JudgedOutcome(blank, masks)
            continue
        precision = implementation.product_precision(dtype)
        key = precision, implementation.constrain
        if key not in expectations:
            expectations[key] = expect_in_precision(problem, dtype, precision, masks)
        expected = expectations[key]
        if stages := current_stages():
            stages.show(f"{dtype} {implementation.name}", at_once=True)
        start = time.perf_counter()
        try:
            answer = compute(implementation, problem, dtype)
        except WrongKernel:
            raise
        except Exception as error:  # the case is valid, so any other exception is a fault
            word = OUT_OF_RESOURCES if lacks_resources(error) else "fault"
            raised = blank._replace(verdict=word, R=float("inf"), note=describe(error))
            yield JudgedOutcome(raised, masks, None, expected)
            continue
        seconds = time.perf_counter() - start
        answer = review(implementation, answer, expected.truth, dtype)
        expect_with = partial(expect_in_precision, problem, dtype, precision, masks)
        judged, used = _judged(blank, case, answer, expected, expect_with)
        judged = judged._replace(seconds=seconds)
        yield JudgedOutcome(judged, masks, answer, used)


def _judged(
    blank: Result,
    case: Case,
    answer: Answer,
    expected: Expected,
    expect_with: Callable[[int], Expected],
) -> tuple[Result, Expected]:
    """The result of a reviewed answer, and the truth and noise by which its tensors were judged. A
    tensor with an error is a fault, whatever the numbers."""
    exact = case.regime == "exact" and expected.exact
    wrong = {name: float("inf") for name in answer.errors}
    common = blank._replace(kernel=answer.kernel, not_returned=answer.not_returned)
    if not answer.results:
        name = min(wrong, default="output")
        note = "; ".join(answer.errors.values()) or "no tensor was returned"
        failed = common._replace(
            verdict="fault", R=float("inf"), tensor=name, note=note, tensors=wrong
        )
        return failed, expected
    verdict, used = judge_and_confirm(
        answer.results,
        expected.of(answer.results),
        exact,
        lambda effort: expect_with(effort).of(answer.results),
    )
    word, worst, scores = verdict
    result = common._replace(
        verdict=word,
        R=worst.R,
        tensor=worst.tensor,
        place=_place(case, worst, used),
        note=expected.untrusted,
        tensors={s.tensor: s.R for s in scores if not s.ill} | wrong,
        offsets={s.tensor: s.offset for s in scores if not s.ill},
    )
    if wrong:
        note = "; ".join(answer.errors.values())
        result = result._replace(
            verdict="fault", R=float("inf"), tensor=min(wrong), place="", note=note
        )
    return result, used


def _place(case: Case, worst: Score, expected: Expected) -> str:
    """Where the worst element lies, and whether its truth is 0: its R may then be of any size."""
    zero = bool(worst.at) and expected.truth[worst.tensor][worst.at] == 0
    return location(case, worst.tensor, worst.at) + ", where the truth is 0" * bool(zero)


def exclusion_reason_of(
    implementation: Implementation, case: Case, problem: Problem, dtype: str
) -> str:
    """Why an implementation cannot compute a problem of a case in a dtype; empty if it can."""
    if implementation.exclusion_reason is None and (lacking := lacking_in(implementation, case)):
        return lacking
    if dtype not in implementation.dtypes:
        return f"it has no {dtype}"
    if implementation.exclusion_reason is None:
        return ""
    return implementation.exclusion_reason(problem, dtype)


def deviations_of(implementation: Implementation) -> tuple[Deviation, ...]:
    """The deviations expected of an implementation in its installed version."""
    listed = implementation.deviations
    if isinstance(listed, Path):
        return deviations_in(listed, implementation.version())
    return tuple(listed)


def expect_in_precision(
    problem: Problem, dtype: str, precision: str, masks: Sequence[np.ndarray], effort: int = 1
) -> Expected:
    """Truth and noise of a problem in `dtype` whose matrix products are computed in `precision`."""
    lower = precision if precision not in (dtype, "tf32") else ""
    return expect(problem, dtype, UNIT_ROUNDOFF[precision], masks, lower, effort)
