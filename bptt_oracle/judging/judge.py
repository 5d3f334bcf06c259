"""What "agrees" means: errors in units of what a careful evaluation would make.

    R = |framework − truth| / noise        one number for a tensor, ≈ 1 where all is well

It is the largest of four ratios, each measured by its own noise (`noise`):

    of the largest error          detects one wrong element among many
    of the root mean square       a small error of all elements
    of every element              an error of what is small beside its neighbours
    of the standardised sum       an offset of one sign

Verdicts
    agree      R ≤ LIMIT in every tensor, and NaN and infinities where truth has them
    fault      otherwise
    untrusted  the case cannot decide: nothing finite to compare, or zeros would agree as well

Elements of which zeros would agree as well are counted in every tensor. They are not judged by
themselves, but take part in the rules for the whole tensor.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .noise import ElementNoise, standardised_sum
from .truth import Expected, largest_of
from .wide import absolute_difference, difference, narrow

LIMIT = 16.0  # honest results stay well below; a fault of 32 is always detected


class Score(NamedTuple):
    """One tensor's measure: R, and the index of its worst element."""

    tensor: str
    R: float
    at: tuple[int, ...]
    ill: bool  # R decides nothing: zeros would agree as well
    untrusted: int = 0  # elements of which zeros would agree as well
    offset: float = 0.0  # the standardised sum, in units of those of honest evaluations


class Verdict(NamedTuple):
    """The verdict on one run, and the tensor that decided it."""

    word: str
    worst: Score
    scores: tuple[Score, ...]


def judge(results: Mapping[str, np.ndarray], expected: Expected, exact: bool = False) -> Verdict:
    """Compare a run's results with truth. `exact` says that no operation of the case rounds, so
    that any difference is a fault. Raises KeyError when a tensor is missing."""
    scores = tuple(
        score(
            name,
            results[name],
            truth,
            expected.noise[name],
            exact,
            expected.elements.get(name),
        )
        for name, truth in expected.truth.items()
    )
    decisive = [s for s in scores if not s.ill]
    if not decisive:
        return Verdict("untrusted", scores[0], scores)
    worst = max(decisive, key=lambda s: s.R)
    return Verdict("agree" if worst.R <= LIMIT else "fault", worst, scores)


def score(
    name: str,
    value: np.ndarray,
    truth: np.ndarray,
    noise: tuple[float, float],
    exact: bool = False,
    elements: ElementNoise | None = None,
) -> Score:
    """The measure of one tensor.

    `value` and `truth` are arrays [...] of one shape, of a floating-point dtype or of objects. R is
    infinite if `value` is anything else, if it has NaN or an infinity where truth has another
    value, and, if `exact`, for any difference.
    """
    if type(value) is not np.ndarray or value.dtype.kind not in "fO" or value.shape != truth.shape:
        return Score(name, np.inf, (), False)
    if not truth.size:
        return Score(name, 0.0, (), False)
    with np.errstate(over="ignore", invalid="ignore"):
        signed, error = difference(value, truth), absolute_difference(value, truth)
        truth = narrow(truth)
        at = int(error.argmax())  # of NaN the first
        if not math.isfinite(error.flat[at]):
            known = np.isfinite(truth) & np.isfinite(value)
            same = known | (value == truth) | (np.isnan(value) & np.isnan(truth))
            error = np.where(known, error, np.where(same, 0, np.inf))
            at = int(error.argmax())
    index = tuple(map(int, np.unravel_index(at, error.shape)))
    largest = float(error[index])
    if exact:
        return Score(name, np.inf if largest else 0.0, index, False)
    if not math.isfinite(largest):  # rounding makes no NaN, unless the careful evaluation did too
        return Score(name, np.inf, index, math.isinf(noise[0]))
    R = _ratio(largest, error, noise) if largest else 0.0
    ill = _zeros_agree(R, truth, noise)
    if elements is None:
        return Score(name, R, index, ill)
    ratios = error / elements.sizes
    untrusted = (np.abs(truth) <= LIMIT * elements.sizes) & (truth != 0)
    worst = tuple(map(int, np.unravel_index(int(ratios.argmax()), ratios.shape)))
    signed = np.where(np.isfinite(signed), signed, 0)
    offset = standardised_sum(signed, elements.deviation, elements.least) / elements.total
    if not ill:
        index = worst if ratios[worst] > R else index
        R = max(R, float(ratios[worst]), abs(offset))
    return Score(name, R, index, ill, int(untrusted.sum()), offset)


def _ratio(largest: float, error: np.ndarray, noise: tuple[float, float]) -> float:
    """R of an error whose largest element is not zero: that and the root mean square are each
    measured by their own noise."""
    scaled = (error / error.dtype.type(largest)).ravel()  # squares may not underflow
    mean = largest * math.sqrt(scaled.dot(scaled) / scaled.size)
    return max(largest / noise[0] if noise[0] else np.inf, mean / noise[1] if noise[1] else np.inf)


def _zeros_agree(R: float, truth: np.ndarray, noise: tuple[float, float]) -> bool:
    """Whether the noise exceeds the values, or R is small and that of zeros as well."""
    largest = largest_of(truth)
    if noise[0] == 0 or largest <= noise[0]:
        return noise[0] > 0
    if max(R, largest / noise[0]) > LIMIT:
        return False
    return _ratio(largest, truth[np.isfinite(truth)], noise) <= LIMIT
