"""The true results of a problem, and the noise that a careful evaluation makes.

Truth is the reference in a wider type (`wide`). The inputs are cast to the tested type first, then
up, which is exact; results are never cast down.

The noise is made of the errors of several evaluations of the same problem (`noise`), all of which
sum the gradients of parameters as a loop of steps does (`rounding`):

    narrow       the reference in the tested type
    renumbered   the same with hidden units and input features in another order (`renumbering`)
    moved        a wide run in which every input, every value of an activation and every sum over
                 steps is moved by one unit roundoff up or down
    bent         for relu nets: runs that let all net inputs pass that rounding may have made
                 positive or negative, none of them, or some of them at random; for gates: a run
                 in which those are 0 that are too small for some kernels

Where a gate saturates, 1 − z has noise of absolute size u, and only the moved activations show it.
Rounding within one product shows in the renumbered runs. A moved run for float64 computes in
float64 with a larger roundoff, and its errors are scaled down. The size of what rounding decides is
no multiple of the roundoff, and cannot be scaled: in the moved runs every net input of relu stays
on its side of 0, and the bent runs show what happens where it does not.

Where the reference in the tested type overflows in one tensor, or truth lies beyond what the type
holds, the noise of all is infinite, because what is computed from an infinity is arbitrary. NumPy
has no bfloat16 to run the reference in. There it runs in float32, which has the same range, so that
an overflow shows; its errors do not count.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reference.arithmetic import NUMPY, Arithmetic
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.execution.problem import Problem, is_tied

from ..processes.stages import current_stages
from .evaluation import Results, evaluate, evaluate_cast
from .large import keep
from .noise import Deviation, ElementNoise, Floors, deviation_of, element_noise, tensor_noise
from .renumbering import evaluate_renumbered
from .rounding import (
    NEXT_TO_ZERO,
    hold_relu,
    move_activations,
    random_factors,
    record_net_inputs,
    record_smallest_gate,
    shut_gates,
    sum_step_by_step,
)
from .sliced_products import sliced, sum_sliced
from .wide import LARGEST_MULTIPRECISION, difference, narrow, wide_arithmetic, wide_dtype, widen

OUTPUTS = ("output", "h_n", "c_n")
MOVED_RUNS = 4
RENUMBERED_RUNS = 2
RANDOM_BENDS = 2
NEAR_ZERO = 16  # times the largest error of a net input in the moved runs
SHUT = 2  # smallest normal numbers; oneDNN's σ in float32 is 0 below √2 of them
ENLARGED_ROUNDOFF = 2.0**-36  # of moved runs for float64


class Expected(NamedTuple):
    """Truth by name, and the noise of each tensor: of its largest error, and root mean square."""

    truth: Results
    noise: dict[str, tuple[float, float]]
    exact: bool  # the evaluation in the tested type made no error at all
    untrusted: str = ""  # why there is no truth; empty if there is one
    elements: dict[str, ElementNoise] = {}
    u: float = 0.0  # unit roundoff of the products

    def of(self, names: Iterable[str]) -> "Expected":
        """The same without truth of other tensors: these alone are judged. Raises KeyError."""
        return self._replace(truth={name: self.truth[name] for name in names})


def expect(
    problem: Problem,
    dtype: str,
    u: float | None = None,
    masks: Sequence[np.ndarray] = (),
    product_dtype: str = "",
    effort: int = 1,
) -> Expected:
    """Truth and noise of a problem in a tested dtype.

    `u` is the unit roundoff of its products, that of the dtype unless given; `product_dtype` is the
    narrower dtype in which autocast computes them. `effort` multiplies the number of renumbered,
    moved and random bent runs that make the noise.
    """
    wide, tested = wide_dtype(dtype), product_dtype or dtype
    if wide.kind == "O" and products_of(problem) > LARGEST_MULTIPRECISION:
        return _without_truth(problem, masks)
    u = UNIT_ROUNDOFF[tested] if u is None else u
    numpy_dtype = "float32" if tested == "bfloat16" else tested
    limits = np.finfo(numpy_dtype)
    floors = floors_of(tested, u)

    def store(value: np.ndarray) -> np.ndarray:
        return widen(stored(value, dtype), wide)

    as_rounded = tested != "bfloat16" and u <= UNIT_ROUNDOFF[tested]
    renumbered = effort * RENUMBERED_RUNS if as_rounded and not is_tied(problem) else 0
    if stages := current_stages():
        stages.begin(dtype, 3 + renumbered + effort * MOVED_RUNS)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        truth = keep(_evaluate_truth(problem, wide, store, masks))
        errors = [_errors(evaluate(problem, numpy_dtype, masks, sum_step_by_step(NUMPY)), truth)]
        for k in range(renumbered):
            rng = np.random.default_rng([problem.seed, 1, k])
            arithmetic = sum_step_by_step(NUMPY)
            run = evaluate_renumbered(problem, numpy_dtype, masks, arithmetic, rng)
            errors.append(_errors(run, truth))
        overflow = any(np.isinf(e).any() for e in errors[0].values()) or any(
            largest_of(value) > limits.max for value in truth.values()
        )
        no_error = as_rounded and not any(e.any() for e in errors[0].values())
        if not as_rounded:
            errors = []
        roundoffs = u, UNIT_ROUNDOFF[tested]
        moved, bent = _moved_errors(problem, dtype, masks, roundoffs, effort)
        errors += moved + bent
        noise: dict[str, tuple[float, float]] = {}
        deviations: dict[str, Deviation] = {}
        for name, exact in truth.items():
            own, value = [e[name] for e in errors], narrow(exact)
            noise[name] = tensor_noise(own, value, floors, len(bent))
            overflow |= math.isinf(noise[name][0])
            if not overflow:
                deviations[name] = deviation_of(own, value, floors, len(bent))
        if overflow:
            noise = dict.fromkeys(noise, (np.inf, np.inf))
            return Expected(truth, noise, no_error)
        ratios = {name: d.ratio for name, d in deviations.items()}
        for prefix in ("", "t_"):
            forward = [f"{prefix}{name}" for name in OUTPUTS if f"{prefix}{name}" in ratios]
            ratios |= dict.fromkeys(forward, max((ratios[name] for name in forward), default=1.0))
        elements = {name: element_noise(d, ratios[name]) for name, d in deviations.items()}
    return Expected(truth, noise, no_error, "", elements, u)


def _evaluate_truth(
    problem: Problem,
    wide: np.dtype,
    store: Callable[[np.ndarray], np.ndarray],
    masks: Sequence[np.ndarray],
) -> Results:
    """The problem in the wide type; in longdouble with large products as products of slices."""
    arithmetic = wide_arithmetic(wide, NUMPY)
    if wide != np.longdouble:
        return evaluate_cast(problem, store, masks, arithmetic)
    return evaluate_cast(problem, lambda value: sliced(store(value)), masks, sum_sliced(arithmetic))


def floors_of(dtype: str, u: float) -> Floors:
    """What limits the precision of every evaluation in a dtype whose products have roundoff u."""
    limits = np.finfo("float32" if dtype == "bfloat16" else dtype)
    if dtype == "float16":  # flushed nowhere: rounded to a multiple of the smallest number
        return Floors(u, float(limits.smallest_subnormal) / 2, float(limits.tiny) / 8)
    return Floors(u, float(limits.tiny), float(limits.tiny))


def _errors(run: Results, truth: Results) -> Results:
    """run − truth by name, float64; infinite where only the run overflows, 0 where truth does."""
    errors = {}
    for name, exact in truth.items():
        error, known = difference(run[name], exact), np.isfinite(narrow(exact))
        error = np.where(np.isfinite(error), error, np.inf)
        errors[name] = np.where(known, error, 0.0)
    return keep(errors)


def _moved_errors(
    problem: Problem,
    dtype: str,
    masks: Sequence[np.ndarray],
    roundoffs: tuple[float, float],
    effort: int,
) -> tuple[list[Results], list[Results]]:
    """The errors of the moved runs and of the bent runs.

    `roundoffs` are those of products and of sums.
    """
    scale = ENLARGED_ROUNDOFF / UNIT_ROUNDOFF["float64"] if dtype == "float64" else 1.0
    u, u_of_sums = (roundoff * scale for roundoff in roundoffs)

    def store(value: np.ndarray) -> np.ndarray:
        return stored(value, dtype).astype(np.float64)

    inputs: list[np.ndarray] = []
    gates: list[float] = []
    recording = record_smallest_gate(record_net_inputs(NUMPY, inputs), gates)
    still = keep(evaluate_cast(problem, store, masks, recording))
    sides = [~(a <= 0) for a in inputs]  # NaN passes
    above_zero = [NEXT_TO_ZERO] * len(sides)
    moved, moved_inputs = [], []
    for k in range(effort * MOVED_RUNS):
        recorded: list[np.ndarray] = []
        arithmetic = record_net_inputs(hold_relu(NUMPY, sides, above_zero), recorded)
        run = _moved_run(problem, store, masks, arithmetic, (u, u_of_sums), k)
        moved.append(keep({name: e / scale for name, e in _errors(run, still).items()}))
        moved_inputs.append(recorded)
    errors = [
        np.max([np.abs(m[i] - a) for m in moved_inputs], axis=0) / scale
        for i, a in enumerate(inputs)
    ]
    near = [
        (error > 0) & (np.abs(a) <= NEAR_ZERO * error)
        for a, error in zip(inputs, errors, strict=True)
    ]
    rng = np.random.default_rng([problem.seed, 2])
    sizes = [np.maximum(error, NEXT_TO_ZERO) for error in errors]
    bends = [hold_relu(NUMPY, bent, sizes) for bent in _bent_sides(sides, near, rng, effort)]
    shut = SHUT * float(np.finfo("float64" if dtype == "float64" else "float32").tiny)
    if any(smallest < shut for smallest in gates):
        bends.append(shut_gates(NUMPY, shut))
    if stages := current_stages():
        stages.add(len(bends))
    return moved, [_errors(evaluate_cast(problem, store, masks, bend), still) for bend in bends]


def _bent_sides(
    sides: Sequence[np.ndarray],
    near: Sequence[np.ndarray],
    rng: np.random.Generator,
    effort: int,
) -> Iterator[list[np.ndarray]]:
    """The sides of all net inputs with none of the undecided passing, all, or a random half: if
    all change sides together, their effects may cancel. Nothing if none is undecided."""
    if not any(undecided.any() for undecided in near):
        return
    pairs = list(zip(sides, near, strict=True))
    yield [side & ~undecided for side, undecided in pairs]
    yield [side | undecided for side, undecided in pairs]
    for _ in range(effort * RANDOM_BENDS):
        yield [side ^ (undecided & (rng.random(side.shape) < 0.5)) for side, undecided in pairs]


def _moved_run(
    problem: Problem,
    store: Callable[[np.ndarray], np.ndarray],
    masks: Sequence[np.ndarray],
    exact: Arithmetic,
    roundoffs: tuple[float, float],
    k: int,
) -> Results:
    """The problem with all that rounds moved by the unit roundoff of products, and of sums; run k
    of several."""
    u, u_of_sums = roundoffs
    rng = np.random.default_rng([problem.seed, k])
    factors = random_factors(rng, u, np.dtype(np.float64))
    sum_factors = random_factors(rng, u_of_sums, np.dtype(np.float64))

    def moved(value: np.ndarray) -> np.ndarray:
        wide = store(value)
        product: np.ndarray = wide * factors(wide.shape)
        return product

    def round_sum(total: np.ndarray) -> np.ndarray:
        product: np.ndarray = total * sum_factors(total.shape)
        return product

    arithmetic = move_activations(exact, factors)
    return evaluate_cast(problem, moved, masks, sum_step_by_step(arithmetic, round_sum))


def largest_of(value: np.ndarray) -> float:
    """The magnitude of the largest of the finite elements."""
    value = narrow(value)
    largest = np.abs(value).max(initial=0)
    if not np.isfinite(largest):
        largest = np.abs(value[np.isfinite(value)]).max(initial=0)
    return float(largest)


def products_of(problem: Problem) -> int:
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
