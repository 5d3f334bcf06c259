"""Judge each planted fault on the cases of a corpus until one case detects it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from torch_impl.execution.problem import Problem
from torch_impl.execution.run import dropout_masks
from torch_impl.roads.catalogue import ROADS, exclusion_reason, path_named

from ..cases.case import Case, draw
from ..implementations.responses import respond
from ..judging.deviations import known_ids
from ..judging.invalid_calls import has_invalid_calls
from ..judging.judge import judge
from ..judging.truth import Expected, expect
from .fault import FAULTS, Fault, plant, run_with_fault

Constrain = Callable[[Problem], Problem] | None


class Detection(NamedTuple):
    """One fault in one cell and dtype, and the first case that detects it, if any does."""

    fault: str
    cell: str
    dtype: str
    cases: int  # of the corpus, up to and including the detecting one; 0: the fault survives
    case: str
    tensor: str  # the one with the largest R, or the name of the invalid call
    check: str
    R: float  # error in units of rounding noise
    seconds: float  # without the expected results, which all faults share

    @property
    def survived(self) -> bool:
        """Whether no case detects the fault."""
        return self.cases == 0


class PreparedCases:
    """The cases of a corpus with their problems and expected results, each computed once."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self._problems: dict[tuple[int, Constrain], Problem] = {}
        self._expected: dict[tuple[int, str, Constrain], tuple[list[np.ndarray], Expected]] = {}

    def problem(self, index: int, constrain: Constrain = None) -> Problem:
        """The problem that the case describes, as a road constrains it."""
        key = index, constrain
        if key not in self._problems:
            drawn = draw(self.cases[index])
            self._problems[key] = drawn if constrain is None else constrain(drawn)
        return self._problems[key]

    def expected(
        self, index: int, dtype: str, constrain: Constrain = None
    ) -> tuple[list[np.ndarray], Expected]:
        """The case's dropout masks, and its truth with the rounding noise around it."""
        key = index, dtype, constrain
        if key not in self._expected:
            problem = self.problem(index, constrain)
            masks = dropout_masks(problem, dtype)
            self._expected[key] = masks, expect(problem, dtype, masks=masks)
        return self._expected[key]


def detect(prepared: PreparedCases, planted: Fault, cell: str, dtype: str) -> Detection:
    """Judge the cases that the fault applies to, in order, until one detects it."""
    seconds, constrain = 0.0, _constraint(planted)
    for index, case in enumerate(prepared.cases):
        if case.cell != cell or not planted.applies_to(case):
            continue
        if planted.kind == "N" and not has_invalid_calls(case):
            continue
        problem = prepared.problem(index, constrain)
        if exclusion_reason(path_named(planted.path), problem, dtype):
            continue
        if planted.kind != "N":
            prepared.expected(index, dtype, constrain)
        start = time.perf_counter()
        if planted.kind == "N":
            evidence = _accepted_call(prepared, planted, index)
        else:
            evidence = _wrong_tensor(prepared, planted, index, dtype)
        seconds += time.perf_counter() - start
        if evidence:
            return Detection(planted.id, cell, dtype, index + 1, case.id, *evidence, seconds)
    return Detection(planted.id, cell, dtype, 0, "", "", "", 0, seconds)


def _constraint(planted: Fault) -> Constrain:
    """What the path of a fault, if it is a road, makes of a problem."""
    return ROADS[planted.path].constrain if planted.path in ROADS else None


def detect_all(prepared: PreparedCases, names: Sequence[str] = ()) -> Iterator[Detection]:
    """Detect every fault (or those named) in every cell and dtype that it applies to."""
    for name in names or FAULTS:
        planted = FAULTS[name]
        for cell in planted.cells:
            for dtype in planted.dtypes:
                yield detect(prepared, planted, cell, dtype)


def _accepted_call(
    prepared: PreparedCases, planted: Fault, index: int
) -> tuple[str, str, float] | None:
    """The first invalid call that is no longer rejected: its name, the check, and R."""
    case = prepared.cases[index]
    for name, exception in respond(prepared.problem(index), plant(planted, case)):
        if not exception and not known_ids(case, "cpu-invalid-calls", "float32", name):
            return name, "invalid call", np.inf
    return None


def _wrong_tensor(
    prepared: PreparedCases, planted: Fault, index: int, dtype: str
) -> tuple[str, str, float] | None:
    """The worst tensor of a case judged to be a fault: its name, the check, and R."""
    case, constrain = prepared.cases[index], _constraint(planted)
    masks, expected = prepared.expected(index, dtype, constrain)
    problem = prepared.problem(index, constrain)
    results = run_with_fault(planted, case, problem, dtype, masks)
    verdict = judge(results, expected.of(results), case.regime == "exact" and expected.exact)
    if verdict.word != "fault":
        return None
    worst = verdict.worst
    check = "gradient" if worst.tensor.startswith(("d_", "hv_")) else "value"
    if not np.isfinite(worst.R):
        check += ", not bitwise" if np.isfinite(results[worst.tensor]).all() else ", not finite"
    return worst.tensor, check, worst.R
