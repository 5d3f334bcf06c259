"""The noise of a tensor and of each of its elements, from the errors of honest evaluations.

    e_k   the error of run k of n, an array; every run is the same problem, careful and rounded
    s     √(Σ e_k² / n), element by element

Of the tensor: the largest error of all runs, and the largest root mean square.

Of an element: 4 s. What is small beside its neighbours is measured by its own noise; a limit of 16
is then 64 standard deviations, so that a few runs suffice to know s well enough.

Of the sum: with z = Σ e/s / √N over the N elements that take part, four times the root mean square
of the z of the runs, and never below 4. An offset of one sign adds up in z, where rounding cancels.
An element whose s is 0 takes no part, nor one whose 4 s is less than what flushing makes.

The runs judge each other first: what ratio would a run have if the others were its noise? In a
regular case that is about 1. Where rounding is amplified until a gate flips here and there, the
flips of one run are not those of another; each run is far off by the noise of the others, and so is
any correct result. So the noise is multiplied by the ratio of the worst run. The states after the
last step are elements of the same sequence as the output, and share its ratio. Runs that were bent
on purpose, at the kink of relu or where a gate is nearly 0, are not judged.

Floors: a noise is never below u times the element, because no evaluation stores it better, nor
below the smallest normal number: a kernel may flush a smaller product to 0, and what was flushed
may be multiplied by a weight.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .large import slices_of

ELEMENT_FACTOR = 4.0


class Floors(NamedTuple):
    """What limits the precision of every evaluation in a type."""

    u: float  # unit roundoff of the products
    tensor: float  # of the largest error, the root mean square and the sum
    element: float


class ElementNoise(NamedTuple):
    """The noise of each element, and of the standardised sum of all."""

    sizes: np.ndarray
    deviation: np.ndarray  # s, by which the sum is standardised
    total: float
    least: float = 0.0  # an element takes part in the sum if its s is larger


def tensor_noise(
    errors: Sequence[np.ndarray], truth: np.ndarray, floors: Floors, bent: int = 0
) -> tuple[float, float]:
    """The noise of the largest error of a tensor, and of the root mean square.

    `errors` are those of the runs, infinite where only the run overflows; the last `bent` of them
    were bent on purpose.
    """
    sizes, means = error_sizes(errors)
    largest = float(np.abs(truth[np.isfinite(truth)]).max(initial=0))
    stored = floors.u * largest
    floor = max(stored, floors.tensor) if largest else 0.0
    mean_floor = max(stored / math.sqrt(truth.size), floors.tensor) if largest else 0.0
    return tuple(
        max(low, float(values.max()) * _largest_over_next(values[: len(values) - bent]))
        for values, low in ((sizes, floor), (means, mean_floor))
    )  # type: ignore[return-value]


class Deviation(NamedTuple):
    """s of every element, the floor of its noise, and how the runs judge each other."""

    s: np.ndarray
    floor: np.ndarray
    least: float  # an element takes part in the sum if its s is larger
    ratio: float  # the largest that a run has by the noise of the others
    spread: float  # root mean square of the standardised sums of the runs


def deviation_of(
    errors: Sequence[np.ndarray], truth: np.ndarray, floors: Floors, bent: int = 0
) -> Deviation:
    """The deviation of every element of a tensor over the runs; arguments as in `tensor_noise`."""
    floor = np.maximum(floors.u * np.abs(truth), floors.element)
    least = floors.tensor / ELEMENT_FACTOR
    scale = max(float(np.abs(e).max(initial=0)) for e in errors) or 1.0  # squares may not underflow
    s, n = np.empty(truth.shape), len(errors)
    flat, flat_s, flat_floor = [np.ravel(e) for e in errors], s.reshape(-1), np.ravel(floor)
    ratio, sums, count = 1.0, np.zeros(n), 0
    for block in slices_of(truth.size):
        stacked = np.array([e[block] for e in flat], dtype=np.float64)
        squares = (stacked / scale) ** 2
        total = squares.sum(axis=0)
        flat_s[block] = scale * np.sqrt(total / n)
        for run in range(n - bent):
            others = scale * np.sqrt(np.maximum(total - squares[run], 0) / max(n - 1, 1))
            noise = np.maximum(ELEMENT_FACTOR * others, flat_floor[block])
            ratio = max(ratio, float((np.abs(stacked[run]) / noise).max(initial=0)))
        moved = flat_s[block] > least
        count += int(moved.sum())
        sums += [(e[moved] / flat_s[block][moved]).sum() for e in stacked]
    spread = max(1.0, math.sqrt(sum(z * z for z in sums / math.sqrt(max(count, 1))) / n))
    return Deviation(s, floor, least, ratio, spread)


def element_noise(deviation: Deviation, ratio: float) -> ElementNoise:
    """The noise of every element, and of their sum; `ratio` is the largest that a run has."""
    s, floor, least, _, spread = deviation
    sizes = np.maximum(ELEMENT_FACTOR * s, floor) * ratio
    return ElementNoise(sizes, s, ELEMENT_FACTOR * spread * ratio, least)


def standardised_sum(error: np.ndarray, deviation: np.ndarray, least: float = 0.0) -> float:
    """z = Σ e/s / √N over the elements whose s is larger than `least`."""
    moved = deviation > least
    count = int(moved.sum())
    return float((error[moved] / deviation[moved]).sum()) / math.sqrt(count) if count else 0.0


def error_sizes(errors: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Largest and root mean square of the errors of each run."""
    sizes = np.array([np.abs(e).max(initial=0) for e in errors])
    largest = sizes.max()
    if not largest or np.isinf(largest):
        return sizes, sizes
    means = []
    for e in errors:
        scaled = np.ravel(e) / largest  # squares may not underflow
        means.append((scaled * scaled).mean())
    return sizes, largest * np.sqrt(means)


def _largest_over_next(values: np.ndarray) -> float:
    """The largest of some numbers over the next; 1 where that is not a finite ratio above 1."""
    if len(values) < 2:
        return 1.0
    *_, following, largest = np.sort(values)
    return float(largest / following) if following and np.isfinite(largest) else 1.0
