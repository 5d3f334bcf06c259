"""The true results of a problem, and the noise that a careful evaluation makes.

Truth is the reference in a wider type (`wide`). The inputs are cast to the tested type first, then
up, which is exact; results are never cast down.

The noise of a tensor is the largest error that rounding causes over four evaluations of the same
case: the reference in the tested type, and three runs in the wide type in which every input, every
value of an activation and every sum over steps is moved by one unit roundoff up or down
(`rounding`). All four sum the gradients of parameters as a loop of steps does. Where a gate
saturates, 1 − z has noise of absolute size u, and only the moved activations show it. Where a net
input of relu is zero but for rounding, one moved run lets it pass, the others do not. A tensor's
noise is never below u times its largest element, nor below half the smallest number of the type,
because no evaluation stores it better. Where the reference in the tested type overflows in one
tensor, the noise of all is infinite, because what is computed from an infinity is arbitrary.

NumPy has no bfloat16 to run the reference in. There it runs in float32, which has the same range,
so that an overflow shows.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reference.arithmetic import NUMPY, Arithmetic
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.execution.problem import Problem

from .evaluation import Results, evaluate, evaluate_cast
from .rounding import move_activations, random_factors, sum_step_by_step
from .wide import (
    LARGEST_MULTIPRECISION,
    absolute_difference,
    narrow,
    wide_arithmetic,
    wide_dtype,
    widen,
)

MOVED_RUNS = 3
KINK = 4  # in units of roundoff, as of the largest net input beside it


class Expected(NamedTuple):
    """Truth by name, and the noise of each tensor: of its largest error, and root mean square."""

    truth: Results
    noise: dict[str, tuple[float, float]]
    exact: bool  # the evaluation in the tested type made no error at all
    untrusted: str = ""  # why there is no truth to judge by; empty where there is one


def expect(
    problem: Problem,
    dtype: str,
    u: float | None = None,
    masks: Sequence[np.ndarray] = (),
    product_dtype: str = "",
) -> Expected:
    """Truth and noise of a problem in a tested dtype.

    `u` is the unit roundoff of its products, that of the dtype unless given; `product_dtype` is the
    narrower dtype in which autocast computes them.
    """
    wide, tested = wide_dtype(dtype), product_dtype or dtype
    if wide.kind == "O" and _products(problem) > LARGEST_MULTIPRECISION:
        return _without_truth(problem, masks)
    exact_arithmetic = wide_arithmetic(wide, NUMPY)
    u = UNIT_ROUNDOFF[tested] if u is None else u

    def stored_wide(value: np.ndarray) -> np.ndarray:
        return widen(stored(value, dtype), wide)

    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        truth = evaluate_cast(problem, stored_wide, masks, exact_arithmetic)
        numpy_dtype = "float32" if tested == "bfloat16" else tested
        runs = [evaluate(problem, numpy_dtype, masks, sum_step_by_step(NUMPY))]
        runs += [
            _moved_run(problem, stored_wide, masks, exact_arithmetic, (u, UNIT_ROUNDOFF[tested]), k)
            for k in range(MOVED_RUNS)
        ]
        least = float(np.finfo(numpy_dtype).smallest_subnormal) / 2
        noise, no_error = {}, tested != "bfloat16" and u <= UNIT_ROUNDOFF[tested]
        for name, exact in truth.items():
            largest = largest_of(exact)
            floor = max(u * largest, least) if largest else 0.0
            sizes, means = error_sizes([run[name] for run in runs], exact)
            mean_floor = floor / math.sqrt(max(exact.size, 1))
            noise[name] = max(floor, float(sizes.max())), max(mean_floor, float(means.max()))
            no_error &= not sizes[0]
        if any(np.isinf(largest) for largest, _ in noise.values()):
            noise = dict.fromkeys(noise, (np.inf, np.inf))
    return Expected(truth, noise, no_error)


def _moved_run(
    problem: Problem,
    stored_wide: Callable[[np.ndarray], np.ndarray],
    masks: Sequence[np.ndarray],
    exact: Arithmetic,
    roundoffs: tuple[float, float],
    k: int,
) -> Results:
    """The problem in the wide type, with all that rounds moved by the unit roundoff of products,
    and of sums; run k of MOVED_RUNS."""
    u, u_of_sums = roundoffs
    rng = np.random.default_rng([problem.seed, k])
    dtype = stored_wide(problem.x[:0]).dtype
    factors, sum_factors = random_factors(rng, u, dtype), random_factors(rng, u_of_sums, dtype)

    def moved(value: np.ndarray) -> np.ndarray:
        wide = stored_wide(value)
        product: np.ndarray = wide * factors(wide.shape)
        return product

    def round_sum(total: np.ndarray) -> np.ndarray:
        product: np.ndarray = total * sum_factors(total.shape)
        return product

    arithmetic = move_activations(exact, factors, KINK * u, open_kink=bool(k))
    return evaluate_cast(problem, moved, masks, sum_step_by_step(arithmetic, round_sum))


def largest_of(value: np.ndarray) -> float:
    """The magnitude of the largest of the finite elements."""
    value = narrow(value)
    largest = np.abs(value).max(initial=0)
    if not np.isfinite(largest):
        largest = np.abs(value[np.isfinite(value)]).max(initial=0)
    return float(largest)


def error_sizes(runs: Sequence[np.ndarray], exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest and root mean square of the errors of each run; infinite where only it overflows."""
    errors = np.array([absolute_difference(run, exact).ravel() for run in runs])
    if not np.isfinite(errors).all():
        known = errors[:, np.isfinite(narrow(exact)).ravel()]
        errors = np.where(np.isfinite(known), known, np.inf)
    sizes = errors.max(axis=1, initial=0)
    largest = sizes.max()
    if not largest or np.isinf(largest):
        return sizes, sizes
    scaled = errors / largest  # squares may not underflow
    return sizes, largest * np.sqrt((scaled * scaled).mean(axis=1))


def _products(problem: Problem) -> int:
    """How many products of weights a forward pass takes, roughly."""
    rows = math.prod(problem.x.shape[:-1])
    return rows * sum(p.size for name, p in problem.params.items() if name.startswith("weight"))


def _without_truth(problem: Problem, masks: Sequence[np.ndarray]) -> Expected:
    """What is left where truth would take too long: the reference in float64, and no judgment."""
    results = evaluate(problem, np.float64, masks)
    reason = (
        "longdouble is no wider than double on this machine, and the case is too large for mpmath"
    )
    return Expected(results, dict.fromkeys(results, (np.inf, np.inf)), False, reason)
