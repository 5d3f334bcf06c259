"""What "agrees" means: errors in units of what a careful evaluation would make.

    R = |framework − truth| / noise        one number for a tensor, ≈ 1 where all is well

taken twice, of the largest error and of its root mean square, and the worse of the two counts: one
wrong element cannot hide among many, nor a slight wrongness of all below the largest. Each tensor
is measured by its own noise; a large gradient does not excuse a small one.

Verdicts
    agree      R ≤ LIMIT in every tensor, and NaN and infinities where truth has them
    fault      otherwise
    untrusted  the case cannot tell: nothing finite to compare, or zeros would agree as well
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .truth import Expected, largest_of
from .wide import absolute_difference, narrow

LIMIT = 16.0  # rounding alone came to 9.6 in a million tensors; a fault of 32 is always seen


class Score(NamedTuple):
    """One tensor's measure: R, and the index of its worst element."""

    tensor: str
    R: float
    at: tuple[int, ...]
    ill: bool  # R tells nothing: zeros would agree as well


class Verdict(NamedTuple):
    """The judge's word on one run, and the tensor that decided it."""

    word: str
    worst: Score
    scores: tuple[Score, ...]


def judge(results: Mapping[str, np.ndarray], expected: Expected, exact: bool = False) -> Verdict:
    """Compare a run's results with truth. `exact` says that no operation of the case rounds, so
    that any difference is a fault. Raises KeyError when a tensor is missing."""
    scores = tuple(
        score(name, results[name], truth, expected.noise[name], exact)
        for name, truth in expected.truth.items()
    )
    telling = [s for s in scores if not s.ill]
    if not telling:
        return Verdict("untrusted", scores[0], scores)
    worst = max(telling, key=lambda s: s.R)
    return Verdict("agree" if worst.R <= LIMIT else "fault", worst, scores)


def score(
    name: str, value: np.ndarray, truth: np.ndarray, noise: tuple[float, float], exact: bool = False
) -> Score:
    """The measure of one tensor; R is inf for a wrong shape, or NaN where truth has none."""
    if value.shape != truth.shape:
        return Score(name, np.inf, (), False)
    if not truth.size:
        return Score(name, 0.0, (), False)
    with np.errstate(over="ignore", invalid="ignore"):
        error = absolute_difference(value, truth)
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
    return Score(name, R, index, _tells_nothing(R, truth, noise))


def _ratio(largest: float, error: np.ndarray, noise: tuple[float, float]) -> float:
    """R of an error whose largest element is not zero: that and the root mean square are each
    measured by their own noise."""
    scaled = (error / error.dtype.type(largest)).ravel()  # squares may not underflow
    mean = largest * math.sqrt(scaled.dot(scaled) / scaled.size)
    return max(largest / noise[0] if noise[0] else np.inf, mean / noise[1] if noise[1] else np.inf)


def _tells_nothing(R: float, truth: np.ndarray, noise: tuple[float, float]) -> bool:
    """Whether the noise exceeds the values, or R is small and that of zeros would be, too."""
    largest = largest_of(truth)
    if noise[0] == 0 or largest <= noise[0]:
        return noise[0] > 0
    if max(R, largest / noise[0]) > LIMIT:
        return False
    return _ratio(largest, truth[np.isfinite(truth)], noise) <= LIMIT
