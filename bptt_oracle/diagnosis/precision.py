"""Mistakes of precision: the equations are right, and the noise is that of fewer digits.

    products or all of a net in float32, TF32, float16 or bfloat16     u of that type
    tanh without relative accuracy near zero, as 2σ(2x) − 1            tanh a ± u
    σ that is zero where it is small, as ½ tanh(a/2) + ½               σ(a) ± u

A lower precision is named only if the errors are spread as rounding spreads them: over at least
half of the elements of every wrong tensor, and about as large as that noise.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from torch_impl.execution.precision import UNIT_ROUNDOFF

from ..judging.evaluation import Results
from ..judging.judge import LIMIT, score
from ..judging.truth import Expected, expect
from ..judging.wide import absolute_difference
from .net import Equations, Tape, Var
from .question import RIGHT_EQUATIONS, Question, expected_from, moved_errors

LOWER_PRECISIONS = {
    "float32 precision inside float64": ("float64", "float32"),
    "TF32 or float16 precision inside float64": ("float64", "tf32"),
    "bfloat16 precision inside float64": ("float64", "bfloat16"),
    "TF32 or float16 precision inside float32": ("float32", "tf32"),
    "bfloat16 precision inside float32": ("float32", "bfloat16"),
    "bfloat16 precision inside float16": ("float16", "bfloat16"),
}
SPREAD = 0.5  # of the elements of a wrong tensor, at least, have an error above their noise
LEAST_SIZE = 1 / 64  # of the root mean square of errors, in units of the noise: below it is finer
NEAR_ZERO = "no relative accuracy of tanh near zero, as in 2σ(2x) − 1"
SMALL_SIGMA = "zero where σ is small, as in ½ tanh(a/2) + ½"


class Fit(NamedTuple):
    """How well the noise of a precision explains the wrong tensors of some cases."""

    name: str
    distance: float  # of the size of the errors from that of the noise, in powers of two


def lower_precision(
    questions: list[tuple[Question, Mapping[str, np.ndarray], bool]],
) -> str:
    """The precision whose noise explains all results; empty if none does.

    Each question comes with the results, and whether they are wrong.
    """
    fits = []
    for name, (dtype, lower) in LOWER_PRECISIONS.items():
        if all(question.dtype == dtype for question, _, _ in questions):
            sizes = [
                size
                for question, results, wrong in questions
                if wrong
                for size in _sizes(question, results, lower)
            ]
            if sizes and all(sizes):
                mean = math.exp(math.fsum(map(math.log, sizes)) / len(sizes))
                fits.append(Fit(name, abs(math.log2(mean))))
    best = min(fits, key=lambda fit: fit.distance, default=None)
    return best.name if best and best.distance <= -math.log2(LEAST_SIZE) else ""


def _sizes(question: Question, results: Mapping[str, np.ndarray], lower: str) -> list[float]:
    """The size of the error of each wrong tensor by the noise of a lower precision; 0 where that
    does not explain it."""
    right = question.right()
    u = UNIT_ROUNDOFF[lower]
    product_dtype = lower if lower in ("float32", "bfloat16") else ""
    expected = expect(question.problem, question.dtype, u, product_dtype=product_dtype)
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
        sizes.append(rms / expected.noise[name][1] if above[known].mean() >= SPREAD else 0.0)
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
            shift = 2 * u * rng.choice([-1.0, 1.0], a.value.shape)
            y = exact.value + shift
            slope = y * (1 - y) if function == "sigmoid" else 1 - y * y
            return tape.elementwise(a, y, slope)

        return Equations(sigmoid=shaken) if function == "sigmoid" else Equations(tanh=shaken)

    u = UNIT_ROUNDOFF[question.dtype]
    truth: Results = question.truth(RIGHT_EQUATIONS)
    errors = moved_errors(question.problem, question.dtype, RIGHT_EQUATIONS, u, equations)
    return expected_from(truth, errors, question.dtype)


def inaccurate_function(
    questions: list[tuple[Question, Mapping[str, np.ndarray], bool]],
) -> list[str]:
    """Which of NEAR_ZERO and SMALL_SIGMA explain all results.

    At least three wrong elements in two tensors are needed, because one could be anything.
    """
    wrong_elements = wrong_tensors = 0
    for question, results, wrong in questions:
        right = question.right()
        for name in results if wrong else ():
            value = results[name]
            if name in right.truth and score_of(name, value, right) > LIMIT:
                error = absolute_difference(value, right.truth[name])
                wrong_elements += int((error > LIMIT * right.elements[name].sizes).sum())
                wrong_tensors += 1
    if wrong_elements < 3 or wrong_tensors < 2:
        return []
    names = []
    for name, function in ((NEAR_ZERO, "tanh"), (SMALL_SIGMA, "sigmoid")):
        if all(
            score_of(tensor, results[tensor], expected) <= LIMIT
            for question, results, _ in questions
            for expected in [absolute_accuracy(question, function)]
            for tensor in results
            if tensor in expected.truth
        ):
            names.append(name)
    return names
