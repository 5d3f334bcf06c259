"""Mistakes of precision: the equations are right, and the noise is that of fewer digits.

    products or all of a net in float32, TF32, float16 or bfloat16     u of that type
    tanh without relative accuracy near zero, as 2σ(2x) − 1            tanh a ± u
    σ that is zero where it is small, as ½ tanh(a/2) + ½               σ(a) ± u

A lower precision is named only if the errors are spread as rounding spreads them: over at least
half of the elements of every wrong tensor, about as large as that noise, and as often towards zero
as away from it. A function that is approximated badly makes its values too large or too small.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF

from ..judging.evaluation import Results
from ..judging.judge import LIMIT, score
from ..judging.truth import Expected
from ..judging.wide import absolute_difference, difference, narrow
from .equations import Equations
from .question import RIGHT_EQUATIONS, Question, errors_of, expected_from, moved_runs
from .tape import Tape, Var

LOWER_PRECISIONS = {
    "float32 precision inside float64": ("float64", "float32"),
    "TF32 or float16 precision inside float64": ("float64", "tf32"),
    "bfloat16 precision inside float64": ("float64", "bfloat16"),
    "TF32 or float16 precision inside float32": ("float32", "tf32"),
    "bfloat16 precision inside float32": ("float32", "bfloat16"),
    "bfloat16 precision inside float16": ("float16", "bfloat16"),
}
MOST_BIASED = 4.0  # standard deviations of the count of errors away from zero less those towards it
SPREAD = 0.5  # of the elements of a wrong tensor, at least, have an error above their noise
USUAL_SIZE = 1 / 6  # of the root mean square of errors, where products alone are rounded
FARTHEST = 3.0  # from that size, in powers of two: the noise of TF32 and bfloat16 differ by three
NEAR_ZERO = "no relative accuracy of tanh near zero, as in 2σ(2x) − 1"
SMALL_SIGMA = "zero where σ is small, as in ½ tanh(a/2) + ½"


class Judged(NamedTuple):
    """The results of one case."""

    question: Question
    results: Mapping[str, np.ndarray]
    wrong: bool
    generic: bool  # its numbers are those of the generic regime


class Fit(NamedTuple):
    """How well the noise of a precision explains the wrong tensors of some cases."""

    name: str
    distance: float  # of the size of the errors from that of the noise, in powers of two


def lower_precision(cases: Sequence[Judged]) -> str:
    """The precision whose noise explains the wrong results; empty if none does.

    Only cases of the generic regime are compared, because elsewhere rounding may be amplified.
    """
    fits = []
    decisive = [case for case in cases if case.wrong and case.generic]
    if not decisive or _is_biased(decisive):
        return ""
    for name, (dtype, lower) in LOWER_PRECISIONS.items():
        if all(case.question.dtype == dtype for case in decisive):
            sizes = [size for case in decisive for size in _sizes(case, lower)]
            if sizes and all(sizes):
                mean = math.exp(math.fsum(map(math.log, sizes)) / len(sizes))
                fits.append(Fit(name, abs(math.log2(mean / USUAL_SIZE))))
    best = min(fits, key=lambda fit: fit.distance, default=None)
    return best.name if best and best.distance <= FARTHEST else ""


def _is_biased(cases: Sequence[Judged]) -> bool:
    """Whether the errors of the output point away from zero, or towards it, too often. True if
    there are so few that all of them may do so by chance."""
    balance = count = 0
    for case in cases:
        if "output" in case.results:
            truth = case.question.right().truth["output"]
            signs = np.sign(difference(case.results["output"], truth)) * np.sign(narrow(truth))
            balance += int(signs.sum())
            count += int(np.count_nonzero(signs))
    return count <= MOST_BIASED**2 or abs(balance) > MOST_BIASED * math.sqrt(count)


def _sizes(case: Judged, lower: str) -> list[float]:
    """The size of the error of each wrong tensor by the noise of a lower precision; 0 where that
    does not explain it."""
    question, results = case.question, case.results
    right, dtype = question.right(), question.dtype
    runs = moved_runs(question, RIGHT_EQUATIONS, UNIT_ROUNDOFF[lower])
    expected = expected_from(question.truth(RIGHT_EQUATIONS), errors_of(runs), dtype)
    sizes = []
    for name, value in results.items():
        if name not in right.truth:
            continue
        if score_of(name, value, expected) > LIMIT:
            return [0.0]
        if score_of(name, value, right) <= LIMIT:
            continue
        error = absolute_difference(value, right.truth[name])
        above = error > right.elements[name].sizes
        rms = math.sqrt(float((error * error).mean()))
        known = right.truth[name] != 0
        spread = known.any() and above[known].mean() >= SPREAD
        sizes.append(rms / expected.noise[name][1] if spread else 0.0)
    return sizes


def score_of(name: str, value: np.ndarray, expected: Expected) -> float:
    """R of one tensor."""
    return score(
        name,
        value,
        expected.truth[name],
        expected.noise[name],
        elements=expected.elements.get(name),
    ).R


def absolute_accuracy(question: Question, function: str) -> Expected:
    """Truth and noise of a net whose σ or tanh is accurate to the roundoff of 1, not of itself."""

    def equations(rng: np.random.Generator, u: float) -> Equations:
        def shaken(tape: Tape, a: Var, gate: str) -> Var:
            exact = tape.sigmoid(a) if function == "sigmoid" else tape.tanh(a)
            shifted = exact.value + 2 * u * rng.choice([-1.0, 1.0], a.value.shape)
            if function == "sigmoid":
                return tape.elementwise(a, shifted, lambda y: y * (1 - y))
            return tape.elementwise(a, shifted, lambda y: 1 - y * y)

        return Equations(sigmoid=shaken) if function == "sigmoid" else Equations(tanh=shaken)

    u = UNIT_ROUNDOFF[question.dtype]
    truth: Results = question.truth(RIGHT_EQUATIONS)
    runs = moved_runs(question, RIGHT_EQUATIONS, u, equations)
    return expected_from(truth, errors_of(runs), question.dtype)


def inaccurate_function(cases: Sequence[Judged]) -> list[str]:
    """Which of NEAR_ZERO and SMALL_SIGMA explain all results.

    At least three wrong elements in two tensors are needed, because one could be anything.
    """
    wrong_elements = wrong_tensors = 0
    for case in cases:
        right = case.question.right()
        for name in case.results if case.wrong else ():
            value = case.results[name]
            if name in right.truth and score_of(name, value, right) > LIMIT:
                error = absolute_difference(value, right.truth[name])
                wrong_elements += int((error > LIMIT * right.elements[name].sizes).sum())
                wrong_tensors += 1
    if wrong_elements < 3 or wrong_tensors < 2:
        return []
    functions = (NEAR_ZERO, "tanh"), (SMALL_SIGMA, "sigmoid")
    return [
        name for name, function in functions if all(_explains(function, case) for case in cases)
    ]


def _explains(function: str, case: Judged) -> bool:
    expected = absolute_accuracy(case.question, function)
    if not all(np.isfinite(noise).all() for noise in expected.noise.values()):
        return False
    known = [name for name in case.results if name in expected.truth]
    return all(score_of(name, case.results[name], expected) <= LIMIT for name in known)
