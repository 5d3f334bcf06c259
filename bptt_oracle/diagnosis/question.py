"""A problem in a dtype, and what the right and the mistaken equations answer.

Mistaken equations have truth and noise as right ones have (`judging.truth`): truth in the wide
type, noise from a run in the tested type and from runs in which the result of every operation is
moved by one unit roundoff. The judge's rules then apply to them unchanged.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from reference.arithmetic import NUMPY
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.execution.problem import Problem

from ..cases.masks import draw_masks
from ..judging.evaluation import Results
from ..judging.noise import deviation_of, element_noise, tensor_noise
from ..judging.rounding import random_factors
from ..judging.truth import ENLARGED_ROUNDOFF, Expected, expect, floors_of
from ..judging.wide import difference, narrow, wide_arithmetic, wide_dtype, widen
from .equations import RIGHT, Equations
from .mistake import Change, same_results
from .net import evaluate_equations

MOVED_RUNS = 3


class Question:
    """A problem in a dtype, with the dropout masks that torch draws for it; truth and noise of any
    equations, each computed once."""

    def __init__(self, problem: Problem, dtype: str) -> None:
        self.problem, self.dtype = problem, dtype
        self.masks = draw_masks(problem, dtype)
        self._right: dict[int, Expected] = {}
        self._truths: dict[tuple[Equations, Any, bool], Results] = {}
        self._runs: dict[tuple[Equations, Any], Runs] = {}
        self._expected: dict[Change, Expected] = {}

    def right(self, effort: int = 1) -> Expected:
        """Truth and noise of the right equations, from the reference."""
        if effort not in self._right:
            self._right[effort] = expect(self.problem, self.dtype, masks=self.masks, effort=effort)
        return self._right[effort]

    def truth(self, change: Change, gradients: bool = True) -> Results:
        """Truth of the mistaken equations; without `gradients` perhaps only the values."""
        key = change.equations, change.problem
        if (*key, True) not in self._truths and (*key, gradients) not in self._truths:
            self._truths[*key, gradients] = self._evaluate_wide(change, gradients)
        found = self._truths.get((*key, True)) or self._truths[*key, gradients]
        return change.results(found, self.problem)

    def expected(self, change: Change) -> Expected:
        """Truth and noise of the mistaken equations."""
        if change not in self._expected:
            self._expected[change] = self._expect(change)
        return self._expected[change]

    def _evaluate_wide(self, change: Change, gradients: bool) -> Results:
        wide = wide_dtype(self.dtype)
        return evaluate_change(
            self.problem,
            change._replace(results=same_results),
            lambda value: widen(stored(value, self.dtype), wide),
            gradients=gradients,
            wide=wide,
            masks=self.masks,
        )

    def _expect(self, change: Change) -> Expected:
        """Runs are shared by all mistakes that differ only in what they make of the results."""
        key = change.equations, change.problem
        if key not in self._runs:
            bare = change._replace(results=same_results)
            self._runs[key] = moved_runs(self, bare, UNIT_ROUNDOFF[self.dtype])
        runs, truth = self._runs[key], self.truth(change)
        changed = runs._replace(
            still=change.results(runs.still, self.problem),
            moved=[change.results(run, self.problem) for run in runs.moved],
        )
        errors = errors_of(changed)
        if self.dtype != "bfloat16":
            narrow_run = evaluate_change(
                self.problem, change, lambda value: value.astype(self.dtype), masks=self.masks
            )
            errors.append(_finite_errors(narrow_run, truth))
        return expected_from(truth, errors, self.dtype)


class Runs(NamedTuple):
    """Runs with every result moved by one unit roundoff, and the same run with none moved."""

    still: Results
    moved: list[Results]
    scale: float  # of the roundoff, by which the errors are divided


def errors_of(runs: Runs) -> list[Results]:
    """The errors of the moved runs."""
    return [
        {name: e / runs.scale for name, e in _finite_errors(run, runs.still).items()}
        for run in runs.moved
    ]


def expected_from(truth: Results, errors: Sequence[Results], dtype: str) -> Expected:
    """Truth, and the noise that the errors of some runs make, by the rules of `judging.noise`."""
    u = UNIT_ROUNDOFF[dtype]
    floors = floors_of(dtype, u)
    noise, elements = {}, {}
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for name, exact in truth.items():
            own, value = [e[name] for e in errors], narrow(exact)
            noise[name] = tensor_noise(own, value, floors)
            if not np.isfinite(noise[name]).all():
                return Expected(truth, dict.fromkeys(truth, (np.inf, np.inf)), False)
            deviation = deviation_of(own, value, floors)
            # of a product of few numbers all moves may cancel in all of the few runs
            least = np.maximum(deviation.s, u / 4 * np.abs(value))
            deviation = deviation._replace(s=least)
            elements[name] = element_noise(deviation, deviation.ratio)
    return Expected(truth, noise, False, "", elements, u)


def evaluate_change(
    problem: Problem,
    change: Change,
    store: Callable[[np.ndarray], np.ndarray],
    round: Callable[[np.ndarray], np.ndarray] | None = None,
    gradients: bool = True,
    wide: np.dtype | None = None,
    masks: Sequence[np.ndarray] = (),
) -> Results:
    """The results of a problem with a mistake; `wide` is their dtype if it is not NumPy's own."""
    arithmetic = NUMPY if wide is None else wide_arithmetic(wide, NUMPY)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        results = evaluate_equations(
            change.problem(problem), change.equations, store, arithmetic, round, gradients, masks
        )
        return change.results(results, problem)


def moved_runs(
    question: Question,
    change: Change,
    u: float,
    equations: Callable[[np.random.Generator, float], Equations] | None = None,
) -> Runs:
    """Runs in which every result is moved by one unit roundoff, up or down.

    `equations(rng, u)` replaces the equations in the moved runs. For float64 a roundoff of
    its own size is enlarged and the errors are scaled down, because the runs compute in float64.
    """
    problem, dtype, masks = question.problem, question.dtype, question.masks
    scale = max(1.0, ENLARGED_ROUNDOFF / u) if dtype == "float64" else 1.0

    def store(value: np.ndarray) -> np.ndarray:
        return stored(value, dtype).astype(np.float64)

    def run(k: int) -> Results:
        rng = np.random.default_rng([problem.seed, 2, k])
        factors = random_factors(rng, u * scale, np.dtype(np.float64))

        def move(value: np.ndarray) -> np.ndarray:
            moved: np.ndarray = value * factors(value.shape)
            return moved

        own = change if equations is None else Change(equations(rng, u * scale))
        return evaluate_change(problem, own, lambda value: move(store(value)), move, masks=masks)

    still = evaluate_change(problem, change, store, masks=masks)
    return Runs(still, [run(k) for k in range(MOVED_RUNS)], scale)


def _finite_errors(run: Results, truth: Results) -> Results:
    """run − truth by name; infinite where only the run is not finite."""
    with np.errstate(over="ignore", invalid="ignore"):
        errors = {name: difference(run[name], exact) for name, exact in truth.items()}
    for name, exact in truth.items():
        error = np.where(np.isfinite(errors[name]), errors[name], np.inf)
        errors[name] = np.where(np.isfinite(narrow(exact)), error, 0.0)
    return errors


RIGHT_EQUATIONS = Change(RIGHT)
