"""Each fault against the corpus, case by case, until one convicts it."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from torch_impl.execution.catalogue import exclusion_reason, path_named
from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks

from ..cases.case import Case, draw
from ..implementations.responses import respond
from ..judging.deviations import known_ids
from ..judging.invalid_calls import has_invalid_calls
from ..judging.judge import judge
from ..judging.truth import Expected, expect
from .fault import FAULTS, Fault, results, wrapped


class Conviction(NamedTuple):
    """The first case that convicts a fault; `cases` counts the corpus up to it, 0 for never."""

    fault: str
    cell: str
    dtype: str
    cases: int
    case: str
    tensor: str
    check: str
    R: float
    seconds: float  # the truth not counted, which all faults share


class Court:
    """The cases of a corpus with their truth, each computed when first asked for."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.problems: dict[int, Problem] = {}
        self.truths: dict[tuple[int, str], tuple[list[np.ndarray], Expected]] = {}

    def problem(self, index: int) -> Problem:
        """What the case computes."""
        if index not in self.problems:
            self.problems[index] = draw(self.cases[index])
        return self.problems[index]

    def truth(self, index: int, dtype: str) -> tuple[list[np.ndarray], Expected]:
        """Its dropout masks and its expected."""
        if (index, dtype) not in self.truths:
            problem = self.problem(index)
            masks = dropout_masks(problem, dtype)
            self.truths[index, dtype] = masks, expect(problem, dtype, masks=masks)
        return self.truths[index, dtype]

    def try_(self, planted: Fault, cell: str, dtype: str) -> Conviction:
        """Go through the cases that the fault is made in until one convicts it."""
        seconds = 0.0
        for index, case in enumerate(self.cases):
            if case.cell != cell or not planted.where(case):
                continue
            if planted.kind == "N" and not has_invalid_calls(case):
                continue
            if exclusion_reason(path_named(planted.path), self.problem(index), dtype):
                continue
            if planted.kind != "N":
                self.truth(index, dtype)
            start = time.perf_counter()
            found = self._accepted(planted, index) or self._judged(planted, index, dtype)
            seconds += time.perf_counter() - start
            if found:
                tensor, check, R = found
                return Conviction(
                    planted.id, cell, dtype, index + 1, case.id, tensor, check, R, seconds
                )
        return Conviction(planted.id, cell, dtype, 0, "", "", "", 0, seconds)

    def _accepted(self, planted: Fault, index: int) -> tuple[str, str, float] | None:
        """The first refusal that is no longer one."""
        if planted.kind != "N":
            return None
        case = self.cases[index]
        for name, exception in respond(self.problem(index), wrapped(planted, case)):
            if not exception and not known_ids(case, "cpu-invalid-calls", "float32", name):
                return name, "refusal", np.inf
        return None

    def _judged(self, planted: Fault, index: int, dtype: str) -> tuple[str, str, float] | None:
        """The judge's word on the case's numbers."""
        if planted.kind == "N":
            return None
        masks, measured = self.truth(index, dtype)
        wrong = results(planted, self.cases[index], self.problem(index), dtype, masks)
        exact = self.cases[index].regime == "exact" and measured.exact
        verdict = judge(wrong, measured, exact)
        if verdict.word != "fault":
            return None
        worst = verdict.worst
        check = "gradient" if worst.tensor.startswith("d_") else "value"
        if not np.isfinite(worst.R):
            check += ", not bitwise" if np.isfinite(wrong[worst.tensor]).all() else ", not finite"
        return worst.tensor, check, worst.R


def trials(court: Court, chosen: Sequence[str] = ()) -> Iterator[Conviction]:
    """Every fault in every cell and type it can be made in."""
    for name in chosen or FAULTS:
        planted = FAULTS[name]
        for cell in planted.cells:
            for dtype in planted.dtypes:
                yield court.try_(planted, cell, dtype)
