"""What a problem's results truly are, and the noise that a careful evaluation makes.

Truth is the reference in a wider type: float64 for float32, longdouble for float64. The inputs
are cast to the tested type first, then up, which is exact; results are never cast down.

The noise of a tensor is the largest error, over four evaluations of the same case, that rounding
alone brings about: the reference run in the tested type, and three runs in the wide type in which
every number that goes in, every value of an activation and every sum over steps is moved by one
unit roundoff up or down (Monte Carlo arithmetic, Parker 1997). All four sum the gradients of
parameters as a loop of steps does, `sums`. Where a gate saturates, 1 − z is noise of absolute size
u, and only the moved activations show it. Where what comes to relu is zero but for rounding, its
slope may be 0 or 1: one moved run takes the one, the others the other. A tensor's noise is never
below u times its largest element, nor below half the smallest number of the type: no evaluation
stores it better. Where the reference in the tested type overflows in one tensor, the noise of all
is infinite: what comes after an infinity is anybody's guess.

NumPy has no bfloat16 to run the reference in. There it runs in float32, of the same range, so that
an overflow shows.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from reference import activations
from reference.sequences import packing
from torch_impl.execution.precision import UNIT_ROUNDOFF, stored
from torch_impl.execution.problem import Problem

from .sums import step_by_step

WIDER = {
    "float64": np.longdouble,
    "float32": np.float64,
    "float16": np.float64,
    "bfloat16": np.float64,
}
MOVED_RUNS = 3
KINK = 4  # in units of roundoff, as of the largest net input beside it


class Expected(NamedTuple):
    """Truth by name, and the noise of each tensor: of its largest error, and root mean square."""

    truth: dict[str, np.ndarray]
    noise: dict[str, tuple[float, float]]
    exact: bool  # the evaluation in the tested type made no error at all


def longdouble_is_wider() -> bool:
    """False where longdouble is double under another name: Windows, Apple silicon."""
    return bool(np.finfo(np.longdouble).eps < np.finfo(np.float64).eps)


def evaluate(problem: Problem, dtype: Any, masks: Sequence[np.ndarray] = ()) -> dict[str, Any]:
    """Outputs, final states and all gradients by the reference in one dtype, by torch_impl's
    names. `problem` is cast; packed batches are padded, in the order given."""

    def cast(value: Any) -> Any:
        return None if value is None else np.asarray(value, dtype)

    return _evaluate(problem, cast, masks)


def expect(
    problem: Problem,
    dtype: str,
    u: float | None = None,
    masks: Sequence[np.ndarray] = (),
    lower: str = "",
) -> Expected:
    """Truth and noise of a problem in a tested dtype, `u` the unit roundoff of its products;
    `lower` names the narrower type that autocast computes them in."""
    wide, narrow = WIDER[dtype], lower or dtype
    u = UNIT_ROUNDOFF[narrow] if u is None else u

    def up(value: np.ndarray | None) -> np.ndarray | None:
        return None if value is None else stored(value, dtype).astype(wide)

    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        truth = _evaluate(problem, up, masks)
        held = "float32" if narrow == "bfloat16" else narrow
        with step_by_step():
            runs = [evaluate(problem, held, masks)]
        least = float(np.finfo(held).smallest_subnormal) / 2
        for k in range(MOVED_RUNS):
            rng = np.random.default_rng([problem.seed, k])
            factors, of_sums = _factors(rng, u, wide), _factors(rng, UNIT_ROUNDOFF[narrow], wide)

            def moved(value: Any, factors: Factors = factors) -> Any:
                exact = up(value)
                return None if exact is None else exact * factors(exact.shape)

            def rounded(total: np.ndarray, factors: Factors = of_sums) -> np.ndarray:
                return total * factors(total.shape)

            with _moved_activations(factors, KINK * u, on=bool(k)), step_by_step(rounded):
                runs.append(_evaluate(problem, moved, masks))
        noise, exactly = {}, narrow != "bfloat16" and u <= UNIT_ROUNDOFF[narrow]
        for name, exact in truth.items():
            largest = largest_of(exact)
            floor = max(u * largest, least) if largest else 0.0
            sizes, means = _sizes([run[name] for run in runs], exact)
            mean_floor = floor / math.sqrt(max(exact.size, 1))
            noise[name] = max(floor, float(sizes.max())), max(mean_floor, float(means.max()))
            exactly &= not sizes[0]
        if any(np.isinf(largest) for largest, _ in noise.values()):
            noise = dict.fromkeys(noise, (np.inf, np.inf))
    return Expected(truth, noise, exactly)


def largest_of(value: np.ndarray) -> float:
    """The magnitude of the largest of the finite elements."""
    largest = np.abs(value).max(initial=0)
    if not np.isfinite(largest):
        largest = np.abs(value[np.isfinite(value)]).max(initial=0)
    return float(largest)


def _sizes(values: Sequence[np.ndarray], exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest and root mean square of the errors of each run; infinite where only it overflows."""
    errors = np.abs(np.array(values) - exact).reshape(len(values), -1)
    if not np.isfinite(errors).all():
        known = errors[:, np.isfinite(exact).ravel()]
        errors = np.where(np.isfinite(known), known, np.inf)
    sizes = errors.max(axis=1, initial=0)
    largest = sizes.max()
    if not largest or np.isinf(largest):
        return sizes, sizes
    scaled = errors / largest  # squares may not underflow
    return sizes, largest * np.sqrt((scaled * scaled).mean(axis=1))


Factors = Callable[[tuple[int, ...]], np.ndarray]


def _factors(rng: np.random.Generator, u: float, wide: Any) -> Factors:
    """A function from a shape to as many factors, each 1 + u or 1 − u at random."""
    two, pool, used = np.array([1 - u, 1 + u], wide), np.empty(0, wide), 0

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        nonlocal pool, used
        size = math.prod(shape)
        if used + size > pool.size:  # many at once: a draw costs more than its numbers
            pool, used = two[rng.integers(0, 2, max(size, 4096), dtype=np.int8)], 0
        used += size
        return pool[used - size : used].reshape(shape)

    return draw


@contextmanager
def _moved_activations(factors: Factors, kink: float, on: bool) -> Iterator[None]:
    """Every value of σ, tanh and relu moved by one unit roundoff, up or down. What comes to relu
    smaller than `kink` times the largest beside it is let through, or not, as `on` says."""
    originals = {name: getattr(activations, name) for name in ("sigmoid", "tanh", "relu")}

    def one_side(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        size = np.abs(a)
        near = size <= kink * size.max(axis=-1, keepdims=True, initial=0)
        value: np.ndarray = originals["relu"](a, out=out)
        value[near] = size[near] * on
        return value

    def moving(activation: Any) -> Any:
        def moved(a: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            value = activation(a, out=out)
            return np.multiply(value, factors(value.shape), out=value)

        return moved

    for name, activation in originals.items():
        setattr(activations, name, moving(one_side if name == "relu" else activation))
    try:
        yield
    finally:
        for name, activation in originals.items():
            setattr(activations, name, activation)


def _evaluate(problem: Problem, cast: Any, masks: Sequence[np.ndarray]) -> dict[str, Any]:
    """The reference's results, each array cast on its way in."""
    net, lengths = problem.net, problem.lengths

    def rows(value: Any) -> Any:
        if value is None or lengths is None:
            return value
        return packing.pack_padded_sequence(value, lengths, enforce_sorted=problem.enforce_sorted)

    def padded(value: Any) -> np.ndarray:
        return value if lengths is None else packing.pad_packed_sequence(value)[0]

    state = None if problem.state is None else [cast(s) for s in problem.state]
    pair = net.mode == "LSTM"
    x = cast(problem.x)
    kept = [rows(mask.astype(x.dtype)) for mask in masks]
    output, final, tape = net.forward(
        {name: cast(p) for name, p in problem.params.items()},
        rows(x),
        state if state is None or pair else state[0],
        kept or None,
    )
    d_state = tuple(cast(d) for d in problem.d_state)
    grads = net.backward(tape, rows(cast(problem.d_output)), d_state if pair else d_state[0])
    results = {"output": padded(output), "d_x": padded(grads.x)}
    results |= dict(zip(("h_n", "c_n"), final if pair else (final,), strict=False))
    if state is not None:
        given = grads.state if pair else (grads.state,)
        results |= dict(zip(("d_h_0", "d_c_0"), given, strict=False))
    tied: dict[int, Any] = {}  # one array under two names is one parameter: its gradients add
    for name, d in grads.params.items():
        tied[id(problem.params[name])] = tied.get(id(problem.params[name]), 0) + d
    return results | {f"d_{name}": tied[id(problem.params[name])] for name in grads.params}
